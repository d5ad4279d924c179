/* micro_bits_avx512.h: what the AVX-512 files share, beside micro_bits_avx2.h: operations on bytes,
 * and panels' weights: bytes of two rows in a register, scales of sixteen.
 *
 * A new format is one case in two_blocks, as in block_bytes; its scales may come by way of
 * group_scales. Invariants: no memory beyond what is named is read; the values and scales are those
 * of micro_bits_avx2.h, to the bit.
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

/* The values of IQ4 nibbles plus 128. */
INLINE __m512i iq4_bytes(__m512i nibble) {
    __m128i table = _mm_xor_si128(load128(quant_iq4_values), _mm_set1_epi8((char)128));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), nibble);
}

INLINE __m512 load512_ps(const void *p) {
    return _mm512_loadu_ps(p);
}

INLINE void store512(void *p, __m512i v) {
    _mm512_storeu_si512(p, v);
}

/* Four dwords of four registers in each 128-bit lane: dword i of register k to dword k of i. */
INLINE void turn512(const __m512i u[4], __m512i v[4]) {
    __m512i w[4];
    for (int i = 0; i < 2; i++) {
        w[i] = _mm512_unpacklo_epi32(u[2 * i], u[2 * i + 1]);
        w[2 + i] = _mm512_unpackhi_epi32(u[2 * i], u[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        v[2 * i] = _mm512_unpacklo_epi64(w[2 * i], w[2 * i + 1]);
        v[2 * i + 1] = _mm512_unpackhi_epi64(w[2 * i], w[2 * i + 1]);
    }
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

/* ---- bytes of two rows ---------------------------------------------------------------------- */

/* One place in both. */
struct two {
    const uint8_t *a, *b;
};

INLINE struct two two_at(struct two g, size_t offset) {
    return (struct two){g.a + offset, g.b + offset};
}

/* 32 bytes of each, b's above a's. */
INLINE __m512i two_bytes(struct two g) {
    return join(load256(g.a), load256(g.b));
}

/* shift_mask of these. */
INLINE __m512i two_parts(struct two g, int n, int mask) {
    __m512i x = two_bytes(g);
    x = n > 0 ? _mm512_slli_epi16(x, (unsigned)n) : n < 0 ? _mm512_srli_epi16(x, (unsigned)-n) : x;
    return and8(x, mask);
}

/* 16 bytes of each to 32: low nibbles, then high nibbles. */
INLINE __m512i two_nibbles(struct two g) {
    const __m512i by = _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4);
    __m512i x = _mm512_broadcast_i32x4(load128(g.a));
    x = _mm512_mask_broadcast_i32x4(x, 0xff00, load128(g.b));
    return and8(_mm512_srlv_epi64(x, by), 15);
}

/* 16 in every byte whose bit of the dwords is set. */
INLINE __m512i two_fifth_bits(struct two g) {
    uint32_t a, b;
    memcpy(&a, g.a, sizeof a);
    memcpy(&b, g.b, sizeof b);
    return _mm512_maskz_set1_epi8((uint64_t)b << 32 | a, 16);
}

INLINE __m512i two_iq4(struct two g) {
    __m512i table = _mm512_broadcast_i32x4(load128(quant_iq4_values));
    return _mm512_shuffle_epi8(table, two_nibbles(g));
}

/* block_bytes of both. */
INLINE __m512i two_blocks(int type, struct two g, int j) {
    const size_t k = (size_t)j, small = k * (size_t)fmt_bytes(type);
    switch (type) {
    case DT_Q4_0: return two_nibbles(two_at(g, small + offsetof(struct block_q4_0, q)));
    case DT_Q4_1: return two_nibbles(two_at(g, small + offsetof(struct block_q4_1, q)));
    case DT_Q5_0:
        return _mm512_or_si512(two_nibbles(two_at(g, small + offsetof(struct block_q5_0, q))),
                               two_fifth_bits(two_at(g, small + offsetof(struct block_q5_0, h))));
    case DT_Q5_1:
        return _mm512_or_si512(two_nibbles(two_at(g, small + offsetof(struct block_q5_1, q))),
                               two_fifth_bits(two_at(g, small + offsetof(struct block_q5_1, h))));
    case DT_Q8_0: return two_bytes(two_at(g, small + offsetof(struct block_q8_0, q)));
    case DT_Q2_K: {
        struct two q = two_at(g, offsetof(struct block_q2_k, q) + k / 4 * 32);
        return two_parts(q, -(j % 4 * 2), 3);
    }
    case DT_Q3_K: {
        struct two q = two_at(g, offsetof(struct block_q3_k, q) + k / 4 * 32);
        struct two h = two_at(g, offsetof(struct block_q3_k, h));
        return _mm512_or_si512(two_parts(q, -(j % 4 * 2), 3), two_parts(h, 2 - j, 4));
    }
    case DT_Q4_K: {
        struct two q = two_at(g, offsetof(struct block_q4_k, q) + k / 2 * 32);
        return two_parts(q, -(j % 2 * 4), 15);
    }
    case DT_Q5_K: {
        struct two q = two_at(g, offsetof(struct block_q5_k, q) + k / 2 * 32);
        struct two h = two_at(g, offsetof(struct block_q5_k, h));
        return _mm512_or_si512(two_parts(q, -(j % 2 * 4), 15), two_parts(h, 4 - j, 16));
    }
    case DT_Q6_K: {
        struct two q = two_at(g, offsetof(struct block_q6_k, ql) + k / 4 * 64 + k % 2 * 32);
        struct two h = two_at(g, offsetof(struct block_q6_k, qh) + k / 4 * 32);
        return _mm512_or_si512(two_parts(q, -(j % 4 / 2 * 4), 15), two_parts(h, 4 - j % 4 * 2, 48));
    }
    case DT_Q8_K: return two_bytes(two_at(g, offsetof(struct block_q8_k, q) + k * 32));
    case DT_IQ4_NL: return two_iq4(two_at(g, small + offsetof(struct block_iq4_nl, q)));
    default: return two_iq4(two_at(g, offsetof(struct block_iq4_xs, q) + k * 16));
    }
}

/* ---- scales of sixteen rows ----------------------------------------------------------------- */

/* The f16 at `at` of each row. */
INLINE __m512 row_halves(const uint8_t *const g[16], size_t at) {
    f16_t h[16];
    for (int r = 0; r < 16; r++) {
        memcpy(&h[r], g[r] + at, sizeof h[r]);
    }
    return _mm512_cvtph_ps(load256(h));
}

/* The four dwords at `at` of each row. */
INLINE void row_dwords(const uint8_t *const g[16], size_t at, __m512i v[4]) {
    __m512i u[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) { /* lane l: row 4 l + i */
        u[i] = _mm512_castsi128_si512(load128(g[i] + at));
        u[i] = _mm512_mask_broadcast_i32x4(u[i], 0x00f0, load128(g[4 + i] + at));
        u[i] = _mm512_mask_broadcast_i32x4(u[i], 0x0f00, load128(g[8 + i] + at));
        u[i] = _mm512_mask_broadcast_i32x4(u[i], 0xf000, load128(g[12 + i] + at));
    }
    turn512(u, v);
}

INLINE __m512 negative(__m512 v) {
    return _mm512_xor_ps(v, _mm512_set1_ps(-0.0F));
}

/* Byte i of each dword times d. */
INLINE __m512 times_byte(__m512 d, __m512i v, int i) {
    v = _mm512_and_si512(_mm512_srli_epi32(v, 8 * (unsigned)i), _mm512_set1_epi32(255));
    return _mm512_mul_ps(d, _mm512_cvtepi32_ps(v));
}

INLINE __m512 times_signed_byte(__m512 d, __m512i v, int i) {
    v = _mm512_srai_epi32(_mm512_slli_epi32(v, 24 - 8 * (unsigned)i), 24);
    return _mm512_mul_ps(d, _mm512_cvtepi32_ps(v));
}

/* See k4_scales. */
INLINE void k4_rows(const uint8_t *const g[16], __m512 d[8], __m512 min[8]) {
    __m512i v[4], scale[2], less[2];
    row_dwords(g, 0, v);
    __m512 by = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v[0]));
    __m512 min_by = negative(_mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(v[0], 16))));
    scale[0] = and8(v[1], 63);
    scale[1] = merge(and8(v[3], 15), _mm512_srli_epi32(v[1], 2), 48);
    less[0] = and8(v[2], 63);
    less[1] = merge(and8(_mm512_srli_epi32(v[3], 4), 15), _mm512_srli_epi32(v[2], 2), 48);
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        d[j] = times_byte(by, scale[j / 4], j % 4);
        min[j] = times_byte(min_by, less[j / 4], j % 4);
    }
}

/* Signed bytes [block][half] times `by`. */
INLINE void half_rows(__m512 by, const __m512i scale[4], __m512 (*d)[8]) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        d[0][j] = times_signed_byte(by, scale[j / 2], j % 2 * 2);
        d[1][j] = times_signed_byte(by, scale[j / 2], j % 2 * 2 + 1);
    }
}

INLINE void q2_rows(const uint8_t *const g[16], __m512 (*d)[8]) {
    __m512i v[4], scale[4], less[4];
    row_dwords(g, offsetof(struct block_q2_k, sc), v);
    for (int i = 0; i < 4; i++) {
        scale[i] = and8(v[i], 15);
        less[i] = and8(_mm512_srli_epi32(v[i], 4), 15);
    }
    half_rows(row_halves(g, offsetof(struct block_q2_k, d)), scale, d);
    half_rows(negative(row_halves(g, offsetof(struct block_q2_k, dmin))), less, d + 2);
}

/* See q3_scales. */
INLINE void q3_rows(const uint8_t *const g[16], __m512 (*d)[8]) {
    __m512i v[4], x[3], scale[4];
    row_dwords(g, offsetof(struct block_q3_k, sc) - 2, v); /* sixteen bytes end where it does */
    for (int i = 0; i < 3; i++) {
        x[i] = _mm512_or_si512(_mm512_srli_epi32(v[i], 16), _mm512_slli_epi32(v[i + 1], 16));
    }
    scale[0] = merge(and8(x[0], 15), _mm512_slli_epi32(x[2], 4), 48);
    scale[1] = merge(and8(x[1], 15), _mm512_slli_epi32(x[2], 2), 48);
    scale[2] = merge(and8(_mm512_srli_epi32(x[0], 4), 15), x[2], 48);
    scale[3] = merge(and8(_mm512_srli_epi32(x[1], 4), 15), _mm512_srli_epi32(x[2], 2), 48);
    for (int i = 0; i < 4; i++) {
        scale[i] = _mm512_sub_epi8(scale[i], _mm512_set1_epi8(32));
    }
    half_rows(row_halves(g, offsetof(struct block_q3_k, d)), scale, d);
}

INLINE void q6_rows(const uint8_t *const g[16], __m512 (*d)[8]) {
    __m512i scale[4];
    row_dwords(g, offsetof(struct block_q6_k, sc), scale);
    half_rows(row_halves(g, offsetof(struct block_q6_k, d)), scale, d);
}

/* Row by row, then columns. */
INLINE void other_rows(int type, const uint8_t *const g[16], __m512 (*d)[8]) {
    __m512i v[2][8];
#pragma GCC unroll 8
    for (int r = 0; r < 8; r++) {
        struct scales a = group_scales(type, g[r]), b = group_scales(type, g[r + 8]);
        v[0][r] = join(_mm256_castps_si256(a.d[0]), _mm256_castps_si256(b.d[0]));
        v[1][r] = join(_mm256_castps_si256(a.min[0]), _mm256_castps_si256(b.min[0]));
    }
    for (int i = 0; i < 1 + fmt_mins(type); i++) {
        transpose16x8(v[i]);
        for (int j = 0; j < 8; j++) {
            d[i][j] = _mm512_castsi512_ps(v[i][j]);
        }
    }
}

/* A group's scales, then its minimums: [fmt_scales + fmt_mins][block], of each row. */
INLINE void rows_scales(int type, const uint8_t *const g[16], __m512 d[4][8]) {
    switch (type) {
    case DT_Q2_K: q2_rows(g, d); break;
    case DT_Q3_K: q3_rows(g, d); break;
    case DT_Q4_K:
    case DT_Q5_K: k4_rows(g, d[0], d[1]); break;
    case DT_Q6_K: q6_rows(g, d); break;
    default: other_rows(type, g, d);
    }
}

#endif
