/* quant_avx2.c: the searching kernels for processors with AVX2 and F16C.
 *
 * Owns the lanes as two registers; quant_kernel.h has the arithmetic. This file alone is compiled
 * with -mavx2 -mf16c: it has static functions and one init.
 */
#include <immintrin.h>
#include <math.h>
#include <stdbool.h>

#include "quant/quant_search.h"

struct lanes {
    __m256 a, b;
};

#define INLINE static inline __attribute__((always_inline))
#define LANES_OP(name, op)                                                                         \
    INLINE struct lanes lanes_##name(struct lanes x, struct lanes y) {                             \
        return (struct lanes){op(x.a, y.a), op(x.b, y.b)};                                         \
    }
LANES_OP(add, _mm256_add_ps)
LANES_OP(sub, _mm256_sub_ps)
LANES_OP(mul, _mm256_mul_ps)
LANES_OP(div, _mm256_div_ps)
LANES_OP(min, _mm256_min_ps)
LANES_OP(max, _mm256_max_ps)

INLINE struct lanes lanes_set(float x) {
    return (struct lanes){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}

INLINE struct lanes lanes_load(const float *p) {
    return (struct lanes){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}

INLINE void lanes_store(float *p, struct lanes x) {
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}

INLINE struct lanes lanes_above(struct lanes p, struct lanes q, struct lanes x, struct lanes y) {
    __m256 a = _mm256_cmp_ps(p.a, q.a, _CMP_GT_OQ), b = _mm256_cmp_ps(p.b, q.b, _CMP_GT_OQ);
    return (struct lanes){_mm256_blendv_ps(y.a, x.a, a), _mm256_blendv_ps(y.b, x.b, b)};
}

INLINE __m256 half_eight(__m256 v) {
    return _mm256_cvtph_ps(_mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}

INLINE struct lanes lanes_half(struct lanes x) {
    return (struct lanes){half_eight(x.a), half_eight(x.b)};
}

/* Eight rows of eight. */
INLINE void turn_eight(__m256 r[8]) {
    __m256 t[8], u[8];
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        u[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        u[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        u[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        u[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x20);
        r[i + 4] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x31);
    }
}

INLINE void lanes_turn(struct lanes x[16]) {
    __m256 m[4][8]; /* the quarters: rows 0 and 8, columns 0 and 8 */
    for (int i = 0; i < 8; i++) {
        m[0][i] = x[i].a;
        m[1][i] = x[i].b;
        m[2][i] = x[i + 8].a;
        m[3][i] = x[i + 8].b;
    }
    for (int k = 0; k < 4; k++) {
        turn_eight(m[k]);
    }
    for (int i = 0; i < 8; i++) {
        x[i] = (struct lanes){m[0][i], m[2][i]};
        x[i + 8] = (struct lanes){m[1][i], m[3][i]};
    }
}

INLINE struct lanes lanes_sqrt(struct lanes x) {
    return (struct lanes){_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)};
}

INLINE void lanes_codes(int8_t *q, struct lanes x) {
    __m256i w = _mm256_packs_epi32(_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b));
    w = _mm256_permute4x64_epi64(w, 0xd8);
    __m128i c = _mm_packs_epi16(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));
    _mm_storeu_si128((__m128i *)q, c);
}

#include "quant/quant_kernel.h"

static void from_f16(const f16_t *h, float *x, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        _mm256_storeu_ps(x + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(h + i))));
    }
    for (; i < n; i++) {
        x[i] = f32_from_f16(h[i]);
    }
}

static void to_f16(const float *x, f16_t *h, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i v = _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT);
        _mm_storeu_si128((__m128i *)(h + i), v);
    }
    for (; i < n; i++) {
        h[i] = f16_from_f32(x[i]);
    }
}

static float most(const float *x, size_t n) {
    const __m256i mask = _mm256_set1_epi32(0x7fffffff);
    __m256i top = _mm256_setzero_si256();
    uint32_t lane[8], bits = 0;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(x + i));
        top = _mm256_max_epu32(top, _mm256_and_si256(v, mask));
    }
    _mm256_storeu_si256((__m256i *)lane, top);
    for (int k = 0; k < 8; k++) {
        bits = lane[k] > bits ? lane[k] : bits;
    }
    for (; i < n; i++) {
        uint32_t v = f32_bits(x[i]) & 0x7fffffffu;
        bits = v > bits ? v : bits;
    }
    return f32_from_bits(bits);
}

void quant_search_init_avx2(struct quant_search *s) {
    fill_kernels(s);
    s->name = "avx2";
    s->from_f16 = from_f16;
    s->to_f16 = to_f16;
    s->most = most;
}
