/* micro_bits_avx512.h: what the AVX-512 files share, beside micro_bits_avx2.h: operations on bytes.
 *
 * Owns no format: micro_bits_avx2.h and the files themselves do. Invariant: no memory beyond what
 * is named is read.
 */
#ifndef IGN_KERN_CPU_MICRO_BITS_AVX512_H
#define IGN_KERN_CPU_MICRO_BITS_AVX512_H

#include "kern/cpu/micro_bits_avx2.h"

INLINE __m512i load512(const void *p) {
    return _mm512_loadu_si512(p);
}

INLINE __m512i join(__m256i low, __m256i high) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

INLINE __m512i and8(__m512i v, int mask) {
    return _mm512_and_si512(v, _mm512_set1_epi8((char)mask));
}

/* low | (high & mask) */
INLINE __m512i merge(__m512i low, __m512i high, int mask) {
    return _mm512_ternarylogic_epi64(low, high, _mm512_set1_epi8((char)mask), 0xf8);
}

INLINE __m512 load512_ps(const void *p) {
    return _mm512_loadu_ps(p);
}

INLINE void store512(void *p, __m512i v) {
    _mm512_storeu_si512(p, v);
}

/* Sixteen rows of eight dwords, v[r] with row r in its low half and r + 8 in its high half, to
 * eight columns of sixteen. */
INLINE void transpose16x8(__m512i v[8]) {
    const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
    const __m512i high = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
    __m512i a[8], b[8];
    for (int i = 0; i < 4; i++) {
        a[2 * i] = _mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
        a[2 * i + 1] = _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        b[4 * i] = _mm512_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
        b[4 * i + 1] = _mm512_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
        b[4 * i + 2] = _mm512_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
        b[4 * i + 3] = _mm512_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        v[i] = _mm512_permutex2var_epi64(b[i], low, b[i + 4]);
        v[i + 4] = _mm512_permutex2var_epi64(b[i], high, b[i + 4]);
    }
}

/* ---- formats ------------------------------------------------------------------------------- */

INLINE bool fmt_narrow(int type) {
    return !fmt_signed(type) && !fmt_split(type);
}

INLINE int fmt_scales(int type) {
    return fmt_split(type) ? 2 : 1;
}

#endif
