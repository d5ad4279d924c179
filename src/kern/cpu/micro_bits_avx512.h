/* micro_bits_avx512.h: what the AVX-512 files share of a format's bits, beside micro_bits_avx2.h.
 *
 * Owns scales of 256 columns that take 512 bits to decode, and the operations on bytes behind them.
 * Invariant: the scales are those of micro_block.c, to the bit.
 */
#ifndef IGN_KERN_CPU_MICRO_BITS_AVX512_H
#define IGN_KERN_CPU_MICRO_BITS_AVX512_H

#include "kern/cpu/micro_bits_avx2.h"

INLINE __m512i load512(const void *p) {
    return _mm512_loadu_si512(p);
}

INLINE __m512i and8(__m512i v, int mask) {
    return _mm512_and_si512(v, _mm512_set1_epi8((char)mask));
}

/* low | (high & mask) */
INLINE __m512i merge(__m512i low, __m512i high, int mask) {
    return _mm512_ternarylogic_epi64(low, high, _mm512_set1_epi8((char)mask), 0xf8);
}

/* Six-bit scales and minimums of Q4_K and Q5_K, both times their factors, as k4_scales has them. */
INLINE struct scales pair_scales(const uint8_t *g) {
    const __m128i place = _mm_set1_epi64x(0x3830282018100800);
    const __m128i low = _mm_setr_epi8(0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 8, 9, 10, 11);
    const __m128i high = _mm_setr_epi8(-1, -1, -1, -1, 0, 1, 2, 3, -1, -1, -1, -1, 4, 5, 6, 7);
    const __m128i mask = _mm_setr_epi32(0x3f3f3f3f, 0x0f0f0f0f, 0x3f3f3f3f, 0x0f0f0f0f);
    const __m128i shift = _mm_setr_epi32(0, 0, 0, 0x04040404);
    __m128i x = _mm_srli_si128(load128(g), 4); /* the twelve bytes behind d and dmin */
    __m128i a = _mm_multishift_epi64_epi8(_mm_add_epi8(place, shift), _mm_shuffle_epi8(x, low));
    __m128i b =
        _mm_multishift_epi64_epi8(_mm_add_epi8(place, _mm_set1_epi8(2)), _mm_shuffle_epi8(x, high));
    b = _mm_and_si128(b, _mm_set1_epi8(0x30));
    a = _mm_ternarylogic_epi32(a, mask, b, 0xea); /* (a & mask) | b */
    __m512 v = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(a));
    const __m256i factor = _mm256_set_m128i(_mm_set1_epi16(1), _mm_setzero_si128());
    int32_t d;
    memcpy(&d, g, sizeof d);
    d ^= (int32_t)0x80000000; /* minimums are taken off */
    __m256i f = _mm256_permutexvar_epi16(factor, _mm256_castsi128_si256(_mm_cvtsi32_si128(d)));
    v = _mm512_mul_ps(v, _mm512_cvtph_ps(f));
    struct scales s;
    s.d[0] = _mm512_castps512_ps256(v);
    s.min[0] = _mm512_extractf32x8_ps(v, 1);
    return s;
}

#endif
