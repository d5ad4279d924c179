/* quant_search.h: the table of kernels that look for scales; C first, better code overwrites.
 *
 * Owns what each kernel computes, to the bit: all levels run one source (quant_kernel.h) over
 * lanes of 16 floats, each operation rounded by itself, sums in one order. A kernel tries 16
 * candidates at once, one in each lane, and walks the elements of a block from first to last.
 * Refuses formats: encode.c knows them.
 */
#ifndef IGN_QUANT_QUANT_SEARCH_H
#define IGN_QUANT_QUANT_SEARCH_H

#include <stdbool.h>

#include "base/err.h"
#include "base/half.h"

enum { QUANT_LANES = 16, QUANT_MOST = 32 };

/* Of a block x [n] with weights w [n], after codes q [n] were chosen. */
struct quant_sums {
    float w, wx;        /* sum w, sum w x */
    float wq, wqq, wqx; /* sum w q, sum w q^2, sum w q x */
    float werr, err;    /* sum w e^2 and sum e^2, where e = x - (scale q - min) */
};

struct quant_search {
    const char *name; /* "c", "avx2", "avx512" */

    /* In all: x [n], n a multiple of 16 and at most QUANT_MOST; w [n] its weights, NULL: all 1. */

    /* Smallest and largest value. */
    void (*range)(const float *x, int n, float *low, float *high);
    /* For each inverse scale inv [16]: q = round(x inv) within lo..hi and the best scale for these
     * codes, sum w q x / sum w q^2. Returns the one that leaves the least error; 0 if none fits. */
    float (*fit_scale)(const float *x, const float *w, int n, const float *inv, float lo, float hi);
    /* For each inv [16]: q = round((x - base) inv) within 0..hi, and the best line scale q - *min;
     * with `down` *min >= 0. Returns the scale of the line that leaves the least error. */
    float (*fit_line)(const float *x, const float *w, int n, const float *inv, float base, float hi,
                      bool down, float *min);
    /* Scales d k for 16 whole numbers k around `near` within -most..most - 1: the k whose nearest
     * codes within -top..top - 1 leave the least error sum w (x - d k q)^2. */
    int (*try_scales)(const float *x, const float *w, int n, float d, int near, int most,
                      float top);
    /* Lines d s q - dmin m, q in 0..top, for 16 pairs around (*s, *m) within 0..most: puts the pair
     * with the least error there. */
    void (*try_lines)(const float *x, const float *w, int n, float d, float dmin, float top,
                      int most, int *s, int *m);
    /* The nearest codes q [n] within lo..hi for x ~ scale q, and wqq, wqx, werr, err. */
    void (*assign_scale)(const float *x, const float *w, int n, float scale, float lo, float hi,
                         int8_t *q, struct quant_sums *s);
    /* The same within 0..hi for x ~ scale q - min, and all sums. */
    void (*assign_line)(const float *x, const float *w, int n, float scale, float min, float hi,
                        int8_t *q, struct quant_sums *s);
    /* x [n] = the values of h [n], and h [n] = those of x rounded; any n. */
    void (*from_f16)(const f16_t *h, float *x, size_t n);
    void (*to_f16)(const float *x, f16_t *h, size_t n);
    /* The largest magnitude of x [n], any n: infinite or not a number where a value is. */
    float (*most)(const float *x, size_t n);
};

/* The best level of this machine, or the one that is named: "c", "avx2", "avx512". ERR_UNSUPPORTED:
 * the machine lacks it. */
enum err_code quant_search_choose(struct quant_search *s, const char *level, struct err *e);

void quant_search_init_c(struct quant_search *s);
void quant_search_init_avx2(struct quant_search *s);
void quant_search_init_avx512(struct quant_search *s);

#endif
