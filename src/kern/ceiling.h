/* ceiling.h: the most that this machine could do, measured, so that a speed can be a percentage.
 *
 * Owns what is measured and in which unit; the back end's ISA files own the loops (cpu/peak.h), at
 * the level that is in use. Refuses models: callers weigh the integer rates by the formats of their
 * file. Every figure is measured in CEILING_REPEAT turns, all figures once in each turn. A turn's
 * rate is that of its best short run, since other processes spoil some; of reading, the mean of the
 * turn, since the last-level cache speeds up some.
 * Invariant: every figure is the best turn of several of one call, on all threads asked for.
 */
#ifndef IGN_KERN_CEILING_H
#define IGN_KERN_CEILING_H

#include "base/dtype.h"
#include "base/err.h"

enum { CEILING_REPEAT = 5 };

enum ceiling {
    CEILING_READ, /* GB/s; all others GMAC/s */
    CEILING_F32,
    CEILING_BF16,
    CEILING_INT8,
    CEILING_INT4, /* the best integer way for weights of up to 4 bits, of 5, of 6 */
    CEILING_INT5,
    CEILING_INT6,
    CEILING_INT16, /* of pairs of 16 bits, as attention multiplies */
    CEILING_N
};

struct ceilings {
    char level[16]; /* "avx2" */
    int threads;
    double read_gb_per_s;            /* plain reading of memory larger than the caches */
    double f32_gmac_per_s;           /* multiply-adds of f32 in registers */
    double bf16_gmac_per_s;          /* of bf16; 0 where the processor has none */
    double int8_gmac_per_s;          /* of bytes, the usual way of this level, full range */
    double quant_gmac_per_s[DT_MAX]; /* the best integer way for weights of a format; 0: a float */
    double turn[CEILING_N][CEILING_REPEAT]; /* each figure in the order of measuring */
    double spread_of[CEILING_N];            /* largest minus smallest turn over the median */
    double spread;                          /* of the worst figure */
};

/* Takes `seconds` in all, about. level NULL: the best; threads 0: one per CPU. ERR_UNSUPPORTED,
 * ERR_RANGE, ERR_NOMEM, ERR_CANCELLED (*stop is not 0; may be NULL). */
enum err_code ceilings_measure(struct ceilings *c, const char *level, int threads, double seconds,
                               const volatile int *stop, struct err *e);

const char *ceiling_name(enum ceiling which); /* "read", "f32", ... */
double ceiling_rate(const struct ceilings *c, enum ceiling which);
/* Which figure bounds products with weights of a type: CEILING_F32 for floats. */
enum ceiling ceiling_of(enum dtype type);

#endif
