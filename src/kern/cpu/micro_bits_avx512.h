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

/* A 128-bit lane of each. */
INLINE __m512i four128(__m128i a, __m128i b, __m128i c, __m128i d) {
    return join(_mm256_set_m128i(b, a), _mm256_set_m128i(d, c));
}

/* A byte for all of each 128-bit lane. */
INLINE __m512i lane_bytes(int a, int b, int c, int d) {
    return four128(_mm_set1_epi8((char)a), _mm_set1_epi8((char)b), _mm_set1_epi8((char)c),
                   _mm_set1_epi8((char)d));
}

/* Byte i of each 64 bits becomes the low eight bits of those 64 rotated right by 8 i + by[i]. */
INLINE __m512i rotate(__m512i v, __m512i by) {
    const __m512i place = _mm512_set1_epi64(0x3830282018100800);
    return _mm512_multishift_epi64_epi8(_mm512_add_epi8(place, by), v);
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

/* ---- sixteen rows of a panel ---------------------------------------------------------------- */

/* Scales, then minimums of a group of each row, as transpose16x8 takes them: v[fmt_scales +
 * fmt_mins]. */
INLINE void gather_scales(int type, const uint8_t *const g[16], __m512i v[4][8]) {
    const int n_d = fmt_scales(type), quad = fmt_small(type) ? 4 * fmt_bytes(type) : 0;
#pragma GCC unroll 8
    for (int r = 0; r < 8; r++) {
        struct scales a = group_scales(type, (const uint8_t *const[2]){g[r], g[r] + quad});
        struct scales b = group_scales(type, (const uint8_t *const[2]){g[r + 8], g[r + 8] + quad});
        for (int i = 0; i < n_d; i++) {
            v[i][r] = join(_mm256_castps_si256(a.d[i]), _mm256_castps_si256(b.d[i]));
        }
        for (int i = 0; i < fmt_mins(type); i++) {
            v[n_d + i][r] = join(_mm256_castps_si256(a.min[i]), _mm256_castps_si256(b.min[i]));
        }
    }
}

/* Sixteen rows at a time are more streams than the processor's own prefetcher follows. */
#define UNPACK_AHEAD 512

/* A group's rows, at + their beginnings, to g. Where less than its eight blocks are there, n, they
 * are copies in `part`, zeros behind them: nothing is read past a row's end. */
INLINE void group_rows(int type, const uint8_t *const row[16], int64_t at, int n,
                       uint8_t part[16][8 * sizeof(struct block_q8_0)], const uint8_t *g[16]) {
    const int bytes = fmt_small(type) ? 8 * fmt_bytes(type) : fmt_bytes(type);
    for (int r = 0; r < 16; r++) {
        g[r] = row[r] + at;
        for (int i = 0; i < bytes; i += 64) {
            _mm_prefetch((const char *)g[r] + UNPACK_AHEAD + i, _MM_HINT_T0);
        }
        if (n < 8) {
            memset(part[r], 0, sizeof part[r]);
            memcpy(part[r], g[r], (size_t)(n * fmt_bytes(type)));
            g[r] = part[r];
        }
    }
}

#endif
