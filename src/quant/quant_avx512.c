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

INLINE float lanes_sum(struct lanes x) {
    __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(x.a), 1));
    __m256 v = _mm256_add_ps(_mm512_castps512_ps256(x.a), high);
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

INLINE int lanes_best(struct lanes x) {
    __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(x.a), 1));
    __m256 m = _mm256_max_ps(_mm512_castps512_ps256(x.a), high);
    m = _mm256_max_ps(m, _mm256_permute2f128_ps(m, m, 1));
    m = _mm256_max_ps(m, _mm256_permute_ps(m, 0x4e));
    m = _mm256_max_ps(m, _mm256_permute_ps(m, 0xb1));
    __m512 top = _mm512_broadcastss_ps(_mm256_castps256_ps128(m));
    return __builtin_ctz(_mm512_cmp_ps_mask(x.a, top, _CMP_EQ_OQ));
}

INLINE void lanes_codes(int8_t *q, struct lanes x) {
    _mm_storeu_si128((__m128i *)q, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x.a)));
}

#include "quant/quant_kernel.h"

void quant_search_init_avx512(struct quant_search *s) {
    fill_kernels(s);
    s->name = "avx512";
}
