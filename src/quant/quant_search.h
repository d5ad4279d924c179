/* quant_search.h: the table of kernels that look for scales; C first, better code overwrites.
 *
 * Owns what each kernel computes, to the bit: all levels run one source (quant_kernel.h) over
 * lanes of 16 floats, each operation rounded by itself, sums in one order. Sixteen blocks are
 * searched side by side, one in each lane: no operation is across lanes, so that nothing waits for
 * a sum over a block. Refuses formats: encode.c knows them.
 */
#ifndef IGN_QUANT_QUANT_SEARCH_H
#define IGN_QUANT_QUANT_SEARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/half.h"

enum { QUANT_LANES = 16, QUANT_MOST = 32 };
#define QUANT_TINY 1e-15f /* a block below this is all zeros: no binary16 scale reaches it */

/* Sixteen blocks of n elements, turned: element i of block k is x[i][k]. n is 16 or 32. */
struct quant_blocks {
    int n;
    float x[QUANT_MOST][QUANT_LANES];   /* [n][16] */
    float w[QUANT_MOST][QUANT_LANES];   /* [n][16] of the squares of errors, >= 0, */
    int8_t q[QUANT_LANES * QUANT_MOST]; /* [16][n], not turned: codes, once they are chosen */
    float scale[QUANT_LANES], min[QUANT_LANES]; /* of each block: x ~ scale q - min */
    float err[QUANT_LANES]; /* sum (x - scale q + min)^2, once codes are chosen */
    /* Of each block with the codes of the last try_: sum w, w x, w q, w q^2, w q x. */
    float sw[QUANT_LANES], swx[QUANT_LANES], swq[QUANT_LANES], swqq[QUANT_LANES], swqx[QUANT_LANES];
};

struct quant_search {
    const char *name; /* "c", "avx2", "avx512" */

    /* x [16][n], block after block, into to [n][16]. */
    void (*turn)(const float *x, int n, float (*to)[QUANT_LANES]);
    /* The sum of x^2, n a multiple of 16. */
    float (*squares)(const float *x, size_t n);
    /* w = spread[k] + x^2; with `importance` what w holds times the root of that. */
    void (*weigh)(struct quant_blocks *b, const float *spread, bool importance);
    /* The best scale of each block, min 0, for codes -top..top - 1: of some candidates the one
     * whose nearest codes and best scale for these, sum w q x / sum w q^2, leave the least error; 0
     * for a block of zeros. */
    void (*fit_scales)(struct quant_blocks *b, float top);
    /* The best line of each block for codes 0..top; with `down` min >= 0. */
    void (*fit_lines)(struct quant_blocks *b, float top, bool down);
    /* From that scale to one that is a binary16 value and fitted to its nearest codes once more;
     * and likewise scale and min. */
    void (*settle_scales)(struct quant_blocks *b, float lo, float hi);
    void (*settle_lines)(struct quant_blocks *b, float top);
    /* Scales d[k] s for whole numbers s up to `reach` from s[k], within -most..most - 1: those
     * whose nearest codes in -top..top - 1 leave the least error, and swqq, swqx of them. */
    void (*try_scales)(struct quant_blocks *b, const float *d, int reach, int most, float top,
                       int *s);
    /* Lines d[k] s q - dmin[k] m, q in 0..top, for the first `n_try` (at most 16) pairs around
     * (s[k], m[k]) within 0..most; and all sums. */
    void (*try_lines)(struct quant_blocks *b, const float *d, const float *dmin, int n_try,
                      int most, float top, int *s, int *m);
    /* The nearest codes lo..hi for scale and min as they are; q and err. */
    void (*assign)(struct quant_blocks *b, float lo, float hi);
    /* x [n] = the values of h [n], and h [n] = those of x rounded; any n. */
    void (*from_f16)(const f16_t *h, float *x, size_t n);
    void (*to_f16)(const float *x, f16_t *h, size_t n);
    /* The largest magnitude of x [n], any n: infinite or not a number where a value is. */
    float (*most)(const float *x, size_t n);
};

/* The best kernels of this machine, or those of a level of --cpu ("c", "avx2", "avx512", "amx"; on
 * ARM "neon", "dotprod", "i8mm"). ERR_UNSUPPORTED: the machine lacks them. */
enum err_code quant_search_choose(struct quant_search *s, const char *level, struct err *e);

void quant_search_init_c(struct quant_search *s);
void quant_search_init_avx2(struct quant_search *s);
void quant_search_init_avx512(struct quant_search *s);

#endif
