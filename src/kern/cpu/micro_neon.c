/* micro_neon.c: products of quantized weights for every processor of aarch64.
 *
 * Owns instructions, not arithmetic: micro.h and micro_c.c define every result to the bit, and
 * kern_check compares. Bytes are multiplied to 16 bits, where two products are added before they
 * go to 32: 2 * 128 * 127 at most, for an activation is never -128. Refuses dot products, which
 * micro_dotprod_neon.c has; floats and rows are in micro_rows_neon.c.
 * Only static functions and micro_init_neon.
 */
#include "kern/cpu/micro_bits_neon.h"

INLINE int32x4_t dot16(int8x16_t w, int8x16_t x) {
    int16x8_t v = vmull_s8(vget_low_s8(w), vget_low_s8(x));
    return vpaddlq_s16(vmlal_high_s8(v, w, x));
}

/* Columns 4c.. and 4c + 4.. of rows 0 and 1 in `low`, 2 and 3 in `high`: pairs of sums. */
INLINE void two_quads(int8x16_t w0, int8x16_t w1, int8x16_t x0, int8x16_t x1, int16x8_t *low,
                      int16x8_t *high) {
    *low = vmlal_s8(vmull_s8(vget_low_s8(w0), vget_low_s8(x0)), vget_low_s8(w1), vget_low_s8(x1));
    *high = vmlal_high_s8(vmull_high_s8(w0, x0), w1, x1);
}

INLINE int32x4_t dot_rows(const int8x16_t w[4], int8x16_t x) {
    int32x4_t q = vreinterpretq_s32_s8(x);
    int8x16_t x0 = vreinterpretq_s8_s32(vdupq_laneq_s32(q, 0));
    int8x16_t x1 = vreinterpretq_s8_s32(vdupq_laneq_s32(q, 1));
    int8x16_t x2 = vreinterpretq_s8_s32(vdupq_laneq_s32(q, 2));
    int8x16_t x3 = vreinterpretq_s8_s32(vdupq_laneq_s32(q, 3));
    int16x8_t low, high, low2, high2;
    two_quads(w[0], w[1], x0, x1, &low, &high);
    two_quads(w[2], w[3], x2, x3, &low2, &high2);
    return vpaddq_s32(vpadalq_s16(vpaddlq_s16(low), low2), vpadalq_s16(vpaddlq_s16(high), high2));
}

#include "kern/cpu/micro_dots_neon.h"
#include "kern/cpu/micro_entries_neon.h"

#define ORDER BY_FOURS

FORMATS_NEON(VECTOR_NEON)
FORMATS_NEON(UNPACK_NEON)
SHARED_NEON

void micro_init_neon(struct micro *m) {
    m->name = "neon";
    m->gemm_min = 6;
    FORMATS_NEON(SET_VECTOR_NEON)
    FORMATS_NEON(SET_PANELS_NEON)
}
