/* micro_panel_avx2.h: eight rows of quantized weights as half of a panel of micro_avx2.c, which
 * alone includes it and says what a panel is.
 *
 * Owns the way of a group of 256 columns from eight rows side by side into a panel: bytes are
 * transposed as they lie in memory, so that all blocks that share bytes share that, and so that a
 * scale's bits are taken apart for eight rows at once. Refuses products. A new format is one case
 * in unpack_scales and one in unpack_group. Invariant: the values and scales are those of
 * micro_bits_avx2.h; nothing behind a group is read.
 */
#ifndef IGN_KERN_CPU_MICRO_PANEL_AVX2_H
#define IGN_KERN_CPU_MICRO_PANEL_AVX2_H

#include <stddef.h>

#include "kern/cpu/micro_bits_avx2.h"

INLINE int panel_scales(int type) { /* where they begin in a block, minimums behind them */
    return fmt_signed(type) ? 1024 : 512;
}

INLINE int panel_block(int type) {
    return panel_scales(type) + 64 * (fmt_scales(type) + fmt_mins(type));
}

INLINE void store256(void *p, __m256i v) {
    _mm256_storeu_si256((__m256i *)p, v);
}

INLINE __m256i and32(__m256i v, int mask) {
    return _mm256_and_si256(v, _mm256_set1_epi32(mask));
}

/* ---- rows to columns ---------------------------------------------------------------------- */

/* 16 bytes of eight rows: v[r] = [row r | row r + 4]. */
INLINE void rows16(const uint8_t *const g[8], int at, __m256i v[4]) {
    for (int r = 0; r < 4; r++) {
        v[r] = two128(g[r] + at, g[r + 4] + at);
    }
}

/* v[r] = four dwords of [row r | row r + 4] to v[i] = dword i of all eight rows. */
INLINE void transpose8x4(__m256i v[4]) {
    __m256i a = _mm256_unpacklo_epi32(v[0], v[1]), b = _mm256_unpackhi_epi32(v[0], v[1]);
    __m256i c = _mm256_unpacklo_epi32(v[2], v[3]), d = _mm256_unpackhi_epi32(v[2], v[3]);
    v[0] = _mm256_unpacklo_epi64(a, c);
    v[1] = _mm256_unpackhi_epi64(a, c);
    v[2] = _mm256_unpacklo_epi64(b, d);
    v[3] = _mm256_unpackhi_epi64(b, d);
}

/* v[0..3] and v[4..7] have 16 bytes of both halves, as rows16 gives them: to v[g] = columns 2g,
 * 2g + 1 of half 0 and of half 1 of all rows. */
INLINE void transpose_pairs(__m256i v[8]) {
    for (int r = 0; r < 4; r++) {
        __m256i a = v[r], b = v[4 + r];
        v[r] = _mm256_unpacklo_epi16(a, b);
        v[4 + r] = _mm256_unpackhi_epi16(a, b);
    }
    transpose8x4(v);
    transpose8x4(v + 4);
}

/* 32 bytes of eight rows as a block lies in a panel; of signed ones in the order of the columns,
 * four in v[i]. */
INLINE void transpose_block(int type, const uint8_t *const g[8], int at, __m256i v[8]) {
    rows16(g, at, v);
    rows16(g, at + 16, v + 4);
    if (fmt_split(type) || fmt_signed(type)) {
        transpose8x4(v);
        transpose8x4(v + 4);
    } else {
        transpose_pairs(v);
    }
}

/* The word at each g[r] + at. */
INLINE __m128i words(const uint8_t *const g[8], int at) {
    uint16_t w[8];
    for (int r = 0; r < 8; r++) {
        memcpy(&w[r], g[r] + at, sizeof w[r]);
    }
    return _mm_setr_epi16((short)w[0], (short)w[1], (short)w[2], (short)w[3], (short)w[4],
                          (short)w[5], (short)w[6], (short)w[7]);
}

/* The dword at each g[r] + at. */
INLINE __m256i dwords(const uint8_t *const g[8], int at) {
    int32_t w[8];
    for (int r = 0; r < 8; r++) {
        memcpy(&w[r], g[r] + at, sizeof w[r]);
    }
    return _mm256_setr_epi32(w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]);
}

/* ---- scales ------------------------------------------------------------------------------- */

/* The f16 in the low words of x, and what is added for a minimum of 1: that in the high ones, or
 * its negative where minimums are subtracted. */
INLINE void scale_and_min(__m256i x, bool minus, __m256 *d, __m256 *min) {
    if (minus) {
        x = _mm256_xor_si256(x, _mm256_set1_epi32((int)0x80000000));
    }
    x = _mm256_packus_epi32(and32(x, 0xffff), _mm256_srli_epi32(x, 16));
    x = _mm256_permute4x64_epi64(x, 0xd8);
    *d = _mm256_cvtph_ps(_mm256_castsi256_si128(x));
    *min = _mm256_cvtph_ps(_mm256_extracti128_si256(x, 1));
}

INLINE void put_scale(uint8_t *to, __m256 d, __m256i v) {
    _mm256_storeu_ps((float *)(void *)to, _mm256_mul_ps(d, _mm256_cvtepi32_ps(v)));
}

/* Six-bit scales and minimums of Q4_K and Q5_K, block by block. */
INLINE void unpack_k4_scales(int type, const uint8_t *const g[8], uint8_t *to) {
    const int low = 0x0f0f0f0f, high = 0x30303030, six = 0x3f3f3f3f;
    __m256i v[4], x[4];
    __m256 d, min;
    rows16(g, 0, v);
    transpose8x4(v);
    scale_and_min(v[0], true, &d, &min);
    x[0] = and32(v[1], six);
    x[1] = _mm256_or_si256(and32(v[3], low), and32(_mm256_srli_epi32(v[1], 2), high));
    x[2] = and32(v[2], six);
    x[3] = _mm256_or_si256(and32(_mm256_srli_epi32(v[3], 4), low),
                           and32(_mm256_srli_epi32(v[2], 2), high));
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++, to += panel_block(type)) {
        put_scale(to, d, and32(_mm256_srli_epi32(x[j / 4], j % 4 * 8), 255));
        put_scale(to + 64, min, and32(_mm256_srli_epi32(x[2 + j / 4], j % 4 * 8), 255));
    }
}

/* Six-bit scales of Q3_K, and its f16, which end a super-block. */
INLINE __m256 q3_columns(const uint8_t *const g[8], __m256i x[4]) {
    const int low = 0x0f0f0f0f, high = 0x30303030;
    __m256i v[4];
    __m256 d, none;
    rows16(g, (int)sizeof(struct block_q3_k) - 16, v);
    for (int r = 0; r < 4; r++) {
        v[r] = _mm256_srli_si256(v[r], 2);
    }
    transpose8x4(v);
    scale_and_min(v[3], false, &d, &none);
    x[0] = _mm256_or_si256(and32(v[0], low), and32(_mm256_slli_epi32(v[2], 4), high));
    x[1] = _mm256_or_si256(and32(v[1], low), and32(_mm256_slli_epi32(v[2], 2), high));
    x[2] = _mm256_or_si256(and32(_mm256_srli_epi32(v[0], 4), low), and32(v[2], high));
    x[3] = _mm256_or_si256(and32(_mm256_srli_epi32(v[1], 4), low),
                           and32(_mm256_srli_epi32(v[2], 2), high));
    return d;
}

/* Formats with a scale for each half: byte 2j + h is that of half h of block j. */
INLINE void unpack_split_scales(int type, const uint8_t *const g[8], uint8_t *to) {
    __m256i x[4];
    __m256 d, min = _mm256_setzero_ps();
    if (type == DT_Q3_K) {
        d = q3_columns(g, x);
    } else if (type == DT_Q2_K) {
        rows16(g, (int)offsetof(struct block_q2_k, sc), x);
        transpose8x4(x);
        scale_and_min(dwords(g, (int)offsetof(struct block_q2_k, d)), true, &d, &min);
    } else {
        rows16(g, (int)offsetof(struct block_q6_k, sc), x);
        transpose8x4(x);
        d = _mm256_cvtph_ps(words(g, (int)offsetof(struct block_q6_k, d)));
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
        const int k = i % 4 * 8;
        uint8_t *at = to + i / 2 * panel_block(type) + i % 2 * 64;
        __m256i v = x[i / 4];
        if (type == DT_Q6_K) {
            v = _mm256_srai_epi32(_mm256_slli_epi32(v, 24 - k), 24);
        } else if (type == DT_Q3_K) {
            v = _mm256_sub_epi32(and32(_mm256_srli_epi32(v, k), 63), _mm256_set1_epi32(32));
        } else {
            put_scale(at + 128, min, and32(_mm256_srli_epi32(v, k + 4), 15));
            v = and32(_mm256_srli_epi32(v, k), 15);
        }
        put_scale(at, d, v);
    }
}

INLINE void unpack_iq4_scales(int type, const uint8_t *const g[8], uint8_t *to) {
    __m256i v[4];
    __m256 d, none;
    rows16(g, 0, v);
    transpose8x4(v);
    scale_and_min(v[0], false, &d, &none);
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++, to += panel_block(type)) {
        __m256i low = and32(_mm256_srli_epi32(v[1], 4 * j), 15);
        __m256i high = and32(_mm256_srli_epi32(v[0], 12 + 2 * j), 48);
        put_scale(to, d, _mm256_sub_epi32(_mm256_or_si256(low, high), _mm256_set1_epi32(32)));
    }
}

/* Scales, then minimums of n blocks of eight rows. */
INLINE void unpack_scales(int type, const uint8_t *const g[8], int n, uint8_t *to) {
    to += panel_scales(type);
    switch (type) {
    case DT_Q4_K:
    case DT_Q5_K: unpack_k4_scales(type, g, to); return;
    case DT_Q2_K:
    case DT_Q3_K:
    case DT_Q6_K: unpack_split_scales(type, g, to); return;
    case DT_IQ4_XS: unpack_iq4_scales(type, g, to); return;
    }
    for (int j = 0; j < n; j++, to += panel_block(type)) {
        __m256i d;
        if (type == DT_Q8_K) {
            d = dwords(g, (int)offsetof(struct block_q8_k, d));
        } else if (fmt_mins(type) == 1) {
            __m256 scale, min;
            scale_and_min(dwords(g, j * fmt_bytes(type)), false, &scale, &min);
            store256(to + 64, _mm256_castps_si256(min));
            d = _mm256_castps_si256(scale);
        } else {
            d = _mm256_castps_si256(_mm256_cvtph_ps(words(g, j * fmt_bytes(type))));
        }
        store256(to, d);
    }
}

/* ---- bytes -------------------------------------------------------------------------------- */

/* Signed bytes in the order of the columns, four in v[i], as int16: columns 4i and 4i + 2, then
 * 4i + 1 and 4i + 3. */
INLINE void put_signed(uint8_t *to, const __m256i *v, int n) {
    for (int i = 0; i < n; i++) {
        store256(to + 128 * i, _mm256_srai_epi16(_mm256_slli_epi16(v[i], 8), 8));
        store256(to + 128 * i + 64, _mm256_srai_epi16(v[i], 8));
    }
}

/* Nibbles that index quant_iq4_values, 16 bytes a block: low ones are half 0. */
INLINE void unpack_values(const uint8_t *const g[8], int at, uint8_t *to) {
    const __m256i table = _mm256_broadcastsi128_si256(load128(quant_iq4_values));
    __m256i v[4], low[4], high[4];
    rows16(g, at, v);
    transpose8x4(v);
    for (int i = 0; i < 4; i++) {
        low[i] = _mm256_shuffle_epi8(table, shift_mask(v[i], 0, 15));
        high[i] = _mm256_shuffle_epi8(table, shift_mask(v[i], -4, 15));
    }
    put_signed(to, low, 4);
    put_signed(to + 512, high, 4);
}

/* Bit 16 h + c of each row's word is the fifth of column c of half h: 16 where it is set, for v[i]
 * of transpose_pairs. */
INLINE __m256i fifth_pairs(__m256i word, int i) {
    const int at = i / 4, four = 0x04040404, first = 0x02020000 + at * 0x01010101;
    const __m256i spread =
        _mm256_setr_epi32(first, first + four, first + 2 * four, first + 3 * four, first,
                          first + four, first + 2 * four, first + 3 * four);
    const __m256i bit = _mm256_set1_epi16((short)(0x0201 << (i % 4 * 2)));
    __m256i y = _mm256_and_si256(_mm256_shuffle_epi8(word, spread), bit);
    return _mm256_and_si256(_mm256_cmpeq_epi8(y, bit), _mm256_set1_epi8(16));
}

/* Blocks of 32 columns with a scale each. */
INLINE void unpack_small(int type, const uint8_t *const g[8], int j, uint8_t *to) {
    const int at = j * fmt_bytes(type), q = at + fmt_bytes(type) - 16;
    __m256i v[8];
    if (type == DT_IQ4_NL) {
        unpack_values(g, q, to);
        return;
    }
    if (type == DT_Q8_0) {
        transpose_block(type, g, at + (int)offsetof(struct block_q8_0, q), v);
        put_signed(to, v, 8);
        return;
    }
    rows16(g, q, v);
    for (int r = 0; r < 4; r++) {
        v[4 + r] = shift_mask(v[r], -4, 15);
        v[r] = shift_mask(v[r], 0, 15);
    }
    transpose_pairs(v);
    if (fmt_bits(type) == 5) {
        __m256i word = dwords(g, q - 4);
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            v[i] = _mm256_or_si256(v[i], fifth_pairs(word, i));
        }
    }
    for (int i = 0; i < 8; i++) {
        store256(to + 64 * i, v[i]);
    }
}

/* Where the bits of a super-block lie: 32 bytes at low + 32 s have the low `bits` of 32 columns of
 * 8 / bits blocks; what goes above them begins at `high`, -1 where nothing does. */
struct super {
    int bits, low, high;
};

INLINE struct super super_of(int type) {
    switch (type) {
    case DT_Q2_K: return (struct super){2, offsetof(struct block_q2_k, q), -1};
    case DT_Q3_K:
        return (struct super){2, offsetof(struct block_q3_k, q), offsetof(struct block_q3_k, h)};
    case DT_Q4_K: return (struct super){4, offsetof(struct block_q4_k, q), -1};
    case DT_Q5_K:
        return (struct super){4, offsetof(struct block_q5_k, q), offsetof(struct block_q5_k, h)};
    default:
        return (struct super){4, offsetof(struct block_q6_k, ql), offsetof(struct block_q6_k, qh)};
    }
}

/* What goes above the low bits of block j, whose 32 bytes are h. */
INLINE __m256i super_high(int type, __m256i h, int j) {
    return type == DT_Q3_K   ? shift_mask(h, 2 - j, 4)
           : type == DT_Q5_K ? shift_mask(h, 4 - j, 16)
                             : shift_mask(h, 4 - j % 4 * 2, 48);
}

INLINE void unpack_super(int type, const uint8_t *const g[8], uint8_t *to) {
    const struct super p = super_of(type);
    const int share = 8 / p.bits;
    __m256i low[8], high[8];
#pragma GCC unroll 4
    for (int s = 0; s < 8 / share; s++) {
        transpose_block(type, g, p.low + 32 * s, low);
        if (p.high >= 0 && (type == DT_Q6_K ? s % 2 == 0 : s == 0)) {
            transpose_block(type, g, p.high + s / 2 * 32, high); /* Q6_K: 32 bytes for 4 blocks */
        }
#pragma GCC unroll 4
        for (int k = 0; k < share; k++) {
            /* Q6_K: low nibbles of 64 bytes are blocks 0 and 1 of four, high ones 2 and 3 */
            const int j = type == DT_Q6_K ? s / 2 * 4 + k * 2 + s % 2 : s * share + k;
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++) {
                __m256i v = shift_mask(low[i], -k * p.bits, (1 << p.bits) - 1);
                v = p.high >= 0 ? _mm256_or_si256(v, super_high(type, high[i], j)) : v;
                store256(to + j * panel_block(type) + 64 * i, v);
            }
        }
    }
}

/* A group of eight rows, of which n blocks of 32 are there: nothing behind them is read. */
INLINE void unpack_group(int type, const uint8_t *const g[8], int n, uint8_t *to) {
    unpack_scales(type, g, n, to);
    if (!fmt_signed(type) && !fmt_small(type)) {
        unpack_super(type, g, to);
        return;
    }
    for (int j = 0; j < n; j++, to += panel_block(type)) {
        if (fmt_small(type)) {
            unpack_small(type, g, j, to);
        } else if (type == DT_IQ4_XS) {
            unpack_values(g, (int)offsetof(struct block_iq4_xs, q) + 16 * j, to);
        } else {
            __m256i v[8];
            transpose_block(type, g, (int)offsetof(struct block_q8_k, q) + 32 * j, v);
            put_signed(to, v, 8);
        }
    }
}

#endif
