/* micro_neon.c: products of quantized weights for every processor of aarch64.
 *
 * Owns instructions, not arithmetic: micro.h and micro_c.c define every result to the bit, and
 * kern_check compares. Bytes are multiplied to 16 bits, where two products are added before they
 * go to 32, or four where weights are of six bits at most: 2 * 128 * 127 and 4 * 63 * 127 fit, for
 * an activation is never -128. Refuses dot products, which
 * micro_dotprod_neon.c has; floats and rows are in micro_rows_neon.c.
 * Only static functions and micro_init_neon.
 */
#include "kern/cpu/micro_bits_neon.h"

INLINE int32x4_t dot16(int8x16_t w, int8x16_t x) {
    int16x8_t v = vmull_s8(vget_low_s8(w), vget_low_s8(x));
    return vpaddlq_s16(vmlal_high_s8(v, w, x));
}

INLINE int8x16_t quad_of(int32x4_t x, int c) {
    switch (c) {
    case 0: return vreinterpretq_s8_s32(vdupq_laneq_s32(x, 0));
    case 1: return vreinterpretq_s8_s32(vdupq_laneq_s32(x, 1));
    case 2: return vreinterpretq_s8_s32(vdupq_laneq_s32(x, 2));
    default: return vreinterpretq_s8_s32(vdupq_laneq_s32(x, 3));
    }
}

INLINE int32x4_t dot_rows(int type, const int8x16_t w[4], int8x16_t x) {
    const int once = fmt_signed(type) ? 2 : 4; /* products that are added in 16 bits */
    int32x4_t sum[2] = {vdupq_n_s32(0), vdupq_n_s32(0)};
#pragma GCC unroll 2
    for (int c = 0; c < 4; c += once) {
        int8x16_t q = quad_of(vreinterpretq_s32_s8(x), c);
        int16x8_t low = vmull_s8(vget_low_s8(w[c]), vget_low_s8(q)); /* rows 0 and 1 */
        int16x8_t high = vmull_high_s8(w[c], q);
#pragma GCC unroll 3
        for (int i = c + 1; i < c + once; i++) {
            q = quad_of(vreinterpretq_s32_s8(x), i);
            low = vmlal_s8(low, vget_low_s8(w[i]), vget_low_s8(q));
            high = vmlal_high_s8(high, w[i], q);
        }
        sum[0] = c == 0 ? vpaddlq_s16(low) : vpadalq_s16(sum[0], low);
        sum[1] = c == 0 ? vpaddlq_s16(high) : vpadalq_s16(sum[1], high);
    }
    return vpaddq_s32(sum[0], sum[1]);
}

#define RUN_TOKS 2

#include "kern/cpu/micro_dots_neon.h"
#include "kern/cpu/micro_entries_neon.h"

#define ORDER BY_FOURS

MICRO_FORMATS(VECTOR_NEON)
MICRO_FORMATS(UNPACK_NEON)
SHARED_NEON

void micro_init_neon(struct micro *m) {
    m->name = "neon";
    m->gemm_min = 6;
    MICRO_FORMATS(SET_VECTOR_NEON)
    MICRO_FORMATS(SET_PANELS_NEON)
}
