/* micro_dotprod_neon.c: products of quantized weights for processors with SDOT (ARMv8.2 and its
 * extension for dot products: Cortex-A76 and later, Neoverse, Apple M).
 *
 * Owns instructions, not arithmetic, as micro_neon.c does. An SDOT adds four products of bytes to
 * each of four sums, exactly. Refuses to be called where the processor lacks it.
 * Only static functions and micro_init_dotprod; this file alone is compiled with +dotprod.
 */
#include "kern/cpu/micro_bits_neon.h"

INLINE int32x4_t dot16(int8x16_t w, int8x16_t x) {
    return vdotq_s32(vdupq_n_s32(0), w, x);
}

INLINE int32x4_t dot_rows(int type, const int8x16_t w[4], int8x16_t x) {
    (void)type;
    int32x4_t v = vdotq_laneq_s32(vdupq_n_s32(0), w[0], x, 0);
    v = vdotq_laneq_s32(v, w[1], x, 1);
    v = vdotq_laneq_s32(v, w[2], x, 2);
    return vdotq_laneq_s32(v, w[3], x, 3);
}

#define RUN_TOKS 4

#include "kern/cpu/micro_dots_neon.h"
#include "kern/cpu/micro_entries_neon.h"

#define ORDER BY_FOURS

MICRO_FORMATS(VECTOR_NEON)
MICRO_FORMATS(UNPACK_NEON)
SHARED_NEON

void micro_init_dotprod(struct micro *m) {
    m->name = "dotprod";
    m->gemm_min = 4;
    MICRO_FORMATS(SET_VECTOR_NEON)
    MICRO_FORMATS(SET_PANELS_NEON)
}
