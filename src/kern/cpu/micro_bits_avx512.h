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

#endif
