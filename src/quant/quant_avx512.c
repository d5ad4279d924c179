/* quant_avx512.c: the searching kernels for processors with AVX-512.
 *
 * Owns the lanes as one register; quant_kernel.h has the arithmetic, quant_avx2.c the conversions,
 * which memory bounds. This file alone is compiled with -mavx512f: static functions and one init.
 */
#include <immintrin.h>
#include <math.h>
#include <stdbool.h>

#include "quant/quant_search.h"

struct lanes {
    __m512 a;
};

#define INLINE static inline __attribute__((always_inline))
#define LANES_OP(name, op)                                                                         \
    INLINE struct lanes lanes_##name(struct lanes x, struct lanes y) {                             \
        return (struct lanes){op(x.a, y.a)};                                                       \
    }
LANES_OP(add, _mm512_add_ps)
LANES_OP(sub, _mm512_sub_ps)
LANES_OP(mul, _mm512_mul_ps)
LANES_OP(div, _mm512_div_ps)
LANES_OP(min, _mm512_min_ps)
LANES_OP(max, _mm512_max_ps)

INLINE struct lanes lanes_set(float x) {
    return (struct lanes){_mm512_set1_ps(x)};
}

INLINE struct lanes lanes_load(const float *p) {
    return (struct lanes){_mm512_loadu_ps(p)};
}

INLINE void lanes_store(float *p, struct lanes x) {
    _mm512_storeu_ps(p, x.a);
}

INLINE struct lanes lanes_above(struct lanes p, struct lanes q, struct lanes x, struct lanes y) {
    return (struct lanes){_mm512_mask_blend_ps(_mm512_cmp_ps_mask(p.a, q.a, _CMP_GT_OQ), y.a, x.a)};
}

INLINE struct lanes lanes_half(struct lanes x) {
    return (struct lanes){_mm512_cvtph_ps(_mm512_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT))};
}

/* By twos and fours within quarters of a register, then the quarters. */
INLINE void lanes_turn(struct lanes x[16]) {
    __m512 t[16], u[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(x[i].a, x[i + 1].a);
        t[i + 1] = _mm512_unpackhi_ps(x[i].a, x[i + 1].a);
    }
    for (int i = 0; i < 16; i += 4) {
        u[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
        u[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xee);
        u[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        u[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_f32x4(u[i], u[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_f32x4(u[i], u[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_f32x4(u[i + 8], u[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_f32x4(u[i + 8], u[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; i++) {
        x[i].a = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
        x[i + 4].a = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0x88);
        x[i + 8].a = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
        x[i + 12].a = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0xdd);
    }
}

INLINE struct lanes lanes_sqrt(struct lanes x) {
    return (struct lanes){_mm512_sqrt_ps(x.a)};
}

INLINE void lanes_codes(int8_t *q, struct lanes x) {
    _mm_storeu_si128((__m128i *)q, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x.a)));
}

#include "quant/quant_kernel.h"

void quant_search_init_avx512(struct quant_search *s) {
    fill_kernels(s);
    s->name = "avx512";
}
