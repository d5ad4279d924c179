/* micro_small_avx512.c: matrices times one to sixteen rows of activations, for processors with
 * AVX-512 (F, BW, VL, DQ, VBMI) and VNNI.
 *
 * Owns the decoding of 256 columns of four rows of any format into registers, once for all rows of
 * activations, in the order of micro_small_x86.h, and the products with them. A format is one case
 * in `decode`; a product is one function over the kind. Refuses large batches: panels serve those.
 * Only static functions and micro_small_init_avx512. Invariant: the bits of micro_c.c.
 *
 * A register holds eight blocks of two rows, a dword for each: what ends a block's sum, its
 * scales and its lane are then full registers, too, and no sum crosses one.
 */
#include "kern/cpu/micro_bits_avx512.h"
#include "kern/cpu/micro_small_x86.h"

#define SMALL_ROWS STREAMS

/* 256 weights of two rows as unsigned bytes, [piece][half], [row][block] in each; signed ones plus
 * 128. */
struct pair {
    __m512i v[4][2];
    __m512 d[2], min[2];
};

struct group {
    struct pair p[2];
};

struct lanes {
    __m512 v[2]; /* of each pair: [row][block] */
};

/* Eight values, one for each block, for both rows, and `more` for the second. */
#define EACH(a, b, c, d, e, f, g, h, more)                                                         \
    _mm512_setr_epi32((a), (b), (c), (d), (e), (f), (g), (h), (a) + (more), (b) + (more),          \
                      (c) + (more), (d) + (more), (e) + (more), (f) + (more), (g) + (more),        \
                      (h) + (more))

INLINE __m512i plus(__m512i v, int k) {
    return _mm512_add_epi32(v, _mm512_set1_epi32(k));
}

/* ---- bytes ------------------------------------------------------------------------------- */

/* Piece k of half h of 64 bytes that have, for each of two quads of blocks, a byte a column. */
INLINE __m512i quad_piece(__m512i a, __m512i b, int k, int h) {
    const __m512i from = EACH(0, 0, 0, 0, 8, 8, 8, 8, 16);
    return _mm512_permutex2var_epi32(a, plus(from, 4 * h + k), b);
}

/* Bits 2t, 2t + 1 of byte 32 i + c are column c of block 4 i + t. */
INLINE void two_bits(const uint8_t *a, const uint8_t *b, struct pair *o) {
    const __m512i by = EACH(0, 2, 4, 6, 0, 2, 4, 6, 0);
    __m512i x = load512(a), y = load512(b);
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        o->v[i / 2][i % 2] = and8(_mm512_srlv_epi32(quad_piece(x, y, i / 2, i % 2), by), 3);
    }
}

/* Bit b of byte c (column c of block b) moved to bit `to` of v, which has none there. */
INLINE void one_bit(const uint8_t *a, const uint8_t *b, int to, struct pair *o) {
    const __m512i from = EACH(0, 0, 0, 0, 0, 0, 0, 0, 8);
    const __m512i by = EACH(to, to - 1, to - 2, to - 3, to - 4, to - 5, to - 6, to - 7, 0);
    __m512i x = _mm512_inserti64x4(_mm512_castsi256_si512(load256(a)), load256(b), 1);
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        const int k = i / 2, h = i % 2;
        __m512i y = _mm512_permutexvar_epi32(plus(from, 4 * h + k), x);
        o->v[k][h] = merge(o->v[k][h], _mm512_rolv_epi32(y, by), 1 << to);
    }
}

/* 128 bytes of nibbles in four chunks of 32 columns: block b has chunk from[b] / 4 of each row,
 * moved right. */
INLINE void four_bits(const uint8_t *a, const uint8_t *b, __m512i from, __m512i by,
                      struct pair *o) {
    __m512i x[2] = {load512(a), load512(a + 64)}, y[2] = {load512(b), load512(b + 64)};
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) { /* sixteen columns of each chunk */
        __m512i u =
            h ? _mm512_shuffle_i32x4(x[0], x[1], 0xdd) : _mm512_shuffle_i32x4(x[0], x[1], 0x88);
        __m512i v =
            h ? _mm512_shuffle_i32x4(y[0], y[1], 0xdd) : _mm512_shuffle_i32x4(y[0], y[1], 0x88);
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            __m512i z = _mm512_permutex2var_epi32(u, plus(from, k), v);
            o->v[k][h] = and8(_mm512_srlv_epi32(z, by), 15);
        }
    }
}

INLINE void k4_nibbles(const uint8_t *a, const uint8_t *b, struct pair *o) {
    four_bits(a, b, EACH(0, 0, 4, 4, 8, 8, 12, 12, 16), EACH(0, 4, 0, 4, 0, 4, 0, 4, 0), o);
}

INLINE void six_bits(const struct block_q6_k *a, const struct block_q6_k *b, struct pair *o) {
    const __m512i by = EACH(4, 2, 0, -2, 4, 2, 0, -2, 0);
    __m512i x = load512(a->qh), y = load512(b->qh);
    four_bits(a->ql, b->ql, EACH(0, 4, 0, 4, 8, 12, 8, 12, 16), EACH(0, 0, 4, 4, 0, 0, 4, 4, 0), o);
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        const int k = i / 2, h = i % 2;
        __m512i z = _mm512_rolv_epi32(quad_piece(x, y, k, h), by);
        o->v[k][h] = merge(o->v[k][h], z, 48);
    }
}

/* Sixteen bytes of each block, `step` apart, of two rows: piece k of all in z[k]. */
INLINE void pieces(const uint8_t *a, const uint8_t *b, int step, __m512i z[4]) {
    __m512i u[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        u[i] = _mm512_castsi128_si512(load128(a + i * step));
        u[i] = _mm512_mask_broadcast_i32x4(u[i], 0x00f0, load128(a + (4 + i) * step));
        u[i] = _mm512_mask_broadcast_i32x4(u[i], 0x0f00, load128(b + i * step));
        u[i] = _mm512_mask_broadcast_i32x4(u[i], 0xf000, load128(b + (4 + i) * step));
    }
    turn512(u, z);
}

/* Blocks of 16 bytes, `step` apart: low nibbles are half 0, high ones half 1. */
INLINE void half_nibbles(const uint8_t *a, const uint8_t *b, int step, struct pair *o) {
    __m512i z[4];
    pieces(a, b, step, z);
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        o->v[k][0] = and8(z[k], 15);
        o->v[k][1] = and8(_mm512_srli_epi16(z[k], 4), 15);
    }
}

/* Blocks of 32 signed bytes, `step` apart. */
INLINE void whole_bytes(const uint8_t *a, const uint8_t *b, int step, struct pair *o) {
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        __m512i z[4];
        pieces(a + 16 * h, b + 16 * h, step, z);
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            o->v[k][h] = _mm512_xor_si512(z[k], _mm512_set1_epi8((char)128));
        }
    }
}

INLINE void iq4_values(struct pair *o) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        o->v[i / 2][i % 2] = iq4_bytes(o->v[i / 2][i % 2]);
    }
}

/* Bit 16 h + c of each block's word is the fifth of column c of half h. */
INLINE void fifth_bits512(const uint8_t *a, const uint8_t *b, int step, struct pair *o) {
    const __m512i place = _mm512_set1_epi64(0x2322212003020100); /* a bit of its dword for each */
    uint32_t word[16];
    for (int i = 0; i < 8; i++) {
        memcpy(&word[i], a + i * step, sizeof word[i]);
        memcpy(&word[8 + i], b + i * step, sizeof word[i]);
    }
    __m512i x = load512(word);
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        const int k = i / 2, h = i % 2;
        __m512i from = _mm512_add_epi8(place, _mm512_set1_epi8((char)(16 * h + 4 * k - 4)));
        o->v[k][h] = merge(o->v[k][h], _mm512_multishift_epi64_epi8(from, x), 16);
    }
}

/* ---- scales ------------------------------------------------------------------------------ */

INLINE __m512 two256(__m256 a, __m256 b) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(a), b, 1);
}

/* Numbers i and j of four, one for all of each row. */
INLINE __m512 spread(__m128 v, int i, int j) {
    return _mm512_permutexvar_ps(EACH(i, i, i, i, i, i, i, i, j - i), _mm512_castps128_ps512(v));
}

INLINE __m512 row_factors(f16_t a, f16_t b) {
    return spread(_mm_cvtph_ps(_mm_cvtsi32_si128((int)((uint32_t)b << 16 | a))), 0, 1);
}

/* d and dmin of both rows, the latter with its sign turned: d, min, d, min. */
INLINE __m128 mins_off(const void *a, const void *b) {
    uint32_t u, v;
    memcpy(&u, a, sizeof u);
    memcpy(&v, b, sizeof v);
    uint64_t all = ((uint64_t)v << 32 | u) ^ 0x8000000080000000;
    return _mm_cvtph_ps(_mm_cvtsi64_si128((long long)all));
}

/* Bytes 0..7 (h = 0) or 8..15 of both rows, as floats. */
INLINE __m512 bytes_ps(__m256i v, int h, bool sign) {
    v = _mm256_permute4x64_epi64(v, 0xd8);
    __m128i x = h ? _mm256_extracti128_si256(v, 1) : _mm256_castsi256_si128(v);
    return _mm512_cvtepi32_ps(sign ? _mm512_cvtepi8_epi32(x) : _mm512_cvtepu8_epi32(x));
}

/* Bytes [block][half] to [half][block], both rows. */
INLINE __m256i both_by_half(__m256i v) {
    return _mm256_shuffle_epi8(v, _mm256_broadcastsi128_si256(_mm_setr_epi8(
                                      0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15)));
}

/* Six-bit scales and minimums of Q4_K and Q5_K; see k4_scales. */
INLINE void k4_scales512(const uint8_t *a, const uint8_t *b, struct pair *o) {
    const __m256i place = _mm256_set1_epi64x(0x3830282018100800);
    const __m256i low = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(4, 5, 6, 7, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15));
    const __m256i high = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(-1, -1, -1, -1, 4, 5, 6, 7, -1, -1, -1, -1, 8, 9, 10, 11));
    const __m256i mask =
        _mm256_broadcastsi128_si256(_mm_setr_epi32(0x3f3f3f3f, 0x0f0f0f0f, 0x3f3f3f3f, 0x0f0f0f0f));
    const __m256i shift = _mm256_broadcastsi128_si256(_mm_setr_epi32(0, 0, 0, 0x04040404));
    __m256i x = two128(a, b);
    __m256i u =
        _mm256_multishift_epi64_epi8(_mm256_add_epi8(place, shift), _mm256_shuffle_epi8(x, low));
    __m256i v = _mm256_multishift_epi64_epi8(_mm256_add_epi8(place, _mm256_set1_epi8(2)),
                                             _mm256_shuffle_epi8(x, high));
    v = _mm256_and_si256(v, _mm256_set1_epi8(0x30));
    u = _mm256_ternarylogic_epi32(u, mask, v, 0xea); /* (u & mask) | v */
    __m128 f = mins_off(a, b);
    o->d[0] = _mm512_mul_ps(bytes_ps(u, 0, false), spread(f, 0, 2));
    o->min[0] = _mm512_mul_ps(bytes_ps(u, 1, false), spread(f, 1, 3));
}

INLINE void q2_scales512(const struct block_q2_k *a, const struct block_q2_k *b, struct pair *o) {
    const __m256i low = _mm256_set1_epi8(15);
    __m256i x = both_by_half(two128(a->sc, b->sc));
    __m256i d = _mm256_and_si256(x, low), min = _mm256_and_si256(_mm256_srli_epi16(x, 4), low);
    __m128 f = mins_off(&a->d, &b->d);
    for (int h = 0; h < 2; h++) {
        o->d[h] = _mm512_mul_ps(bytes_ps(d, h, false), spread(f, 0, 2));
        o->min[h] = _mm512_mul_ps(bytes_ps(min, h, false), spread(f, 1, 3));
    }
}

/* See q3_scales. What is loaded ends with the block: the scales are bytes 2 to 13 of it. */
INLINE __m256i q3_scales512(const struct block_q3_k *a, const struct block_q3_k *b) {
    const __m256i low =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5, 6, 7, 8, 9));
    const __m256i high = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(10, 11, 12, 13, 10, 11, 12, 13, 10, 11, 12, 13, 10, 11, 12, 13));
    const __m256i place = _mm256_set1_epi64x(0x3830282018100800);
    const __m256i nibble =
        _mm256_broadcastsi128_si256(_mm_setr_epi32(0, 0, 0x04040404, 0x04040404));
    const __m256i bits = _mm256_broadcastsi128_si256(
        _mm_setr_epi32((int)0xfcfcfcfc, (int)0xfefefefe, 0, 0x02020202)); /* -4, -2, 0, 2 */
    __m256i x = two128((const uint8_t *)(a + 1) - 16, (const uint8_t *)(b + 1) - 16);
    __m256i u =
        _mm256_multishift_epi64_epi8(_mm256_add_epi8(place, nibble), _mm256_shuffle_epi8(x, low));
    __m256i v =
        _mm256_multishift_epi64_epi8(_mm256_add_epi8(place, bits), _mm256_shuffle_epi8(x, high));
    v = _mm256_and_si256(v, _mm256_set1_epi8(0x30));
    u = _mm256_ternarylogic_epi32(u, _mm256_set1_epi8(15), v, 0xea);
    return _mm256_sub_epi8(u, _mm256_set1_epi8(32));
}

/* Signed scales for halves, [block][half], times one factor a row. */
INLINE void half_scales(__m256i v, f16_t a, f16_t b, struct pair *o) {
    v = both_by_half(v);
    for (int h = 0; h < 2; h++) {
        o->d[h] = _mm512_mul_ps(bytes_ps(v, h, true), row_factors(a, b));
    }
}

INLINE void decode_scales(int type, const uint8_t *a, const uint8_t *b, struct pair *o) {
    switch (type) {
    case DT_Q4_K:
    case DT_Q5_K: k4_scales512(a, b, o); break;
    case DT_Q2_K:
        q2_scales512((const struct block_q2_k *)a, (const struct block_q2_k *)b, o);
        break;
    case DT_Q3_K: {
        const struct block_q3_k *u = (const struct block_q3_k *)a,
                                *v = (const struct block_q3_k *)b;
        half_scales(q3_scales512(u, v), u->d, v->d, o);
        break;
    }
    case DT_Q6_K: {
        const struct block_q6_k *u = (const struct block_q6_k *)a,
                                *v = (const struct block_q6_k *)b;
        half_scales(two128(u->sc, v->sc), u->d, v->d, o);
        break;
    }
    default: {
        struct scales u = group_scales(type, a), v = group_scales(type, b);
        o->d[0] = two256(u.d[0], v.d[0]);
        if (fmt_mins(type) != 0) {
            o->min[0] = two256(u.min[0], v.min[0]);
        }
    }
    }
}

/* A whole group of two rows. */
INLINE void decode_pair(int type, const uint8_t *a, const uint8_t *b, struct pair *o) {
    const int bytes = fmt_bytes(type);
    decode_scales(type, a, b, o);
    switch (type) {
    case DT_Q2_K:
        two_bits(((const struct block_q2_k *)a)->q, ((const struct block_q2_k *)b)->q, o);
        break;
    case DT_Q3_K:
        two_bits(((const struct block_q3_k *)a)->q, ((const struct block_q3_k *)b)->q, o);
        one_bit(((const struct block_q3_k *)a)->h, ((const struct block_q3_k *)b)->h, 2, o);
        break;
    case DT_Q4_K:
        k4_nibbles(((const struct block_q4_k *)a)->q, ((const struct block_q4_k *)b)->q, o);
        break;
    case DT_Q5_K:
        k4_nibbles(((const struct block_q5_k *)a)->q, ((const struct block_q5_k *)b)->q, o);
        one_bit(((const struct block_q5_k *)a)->h, ((const struct block_q5_k *)b)->h, 4, o);
        break;
    case DT_Q6_K: six_bits((const struct block_q6_k *)a, (const struct block_q6_k *)b, o); break;
    case DT_Q8_K: {
        const size_t at = offsetof(struct block_q8_k, q);
        whole_bytes(a + at, b + at, 32, o);
        break;
    }
    case DT_Q8_0: whole_bytes(a + 2, b + 2, bytes, o); break;
    case DT_Q4_0:
    case DT_IQ4_NL: half_nibbles(a + 2, b + 2, bytes, o); break;
    case DT_Q4_1: half_nibbles(a + 4, b + 4, bytes, o); break;
    case DT_Q5_0:
        half_nibbles(a + 6, b + 6, bytes, o);
        fifth_bits512(a + 2, b + 2, bytes, o);
        break;
    case DT_Q5_1:
        half_nibbles(a + 8, b + 8, bytes, o);
        fifth_bits512(a + 4, b + 4, bytes, o);
        break;
    default: {
        const size_t at = offsetof(struct block_iq4_xs, q);
        half_nibbles(a + at, b + at, 16, o);
    }
    }
    if (type == DT_IQ4_NL || type == DT_IQ4_XS) {
        iq4_values(o);
    }
}

INLINE void decode(int type, const uint8_t *const g[SMALL_ROWS], struct group *o) {
    decode_pair(type, g[0], g[1], &o->p[0]);
    decode_pair(type, g[2], g[3], &o->p[1]);
}

/* ---- products ---------------------------------------------------------------------------- */

/* The same eight for both rows. */
INLINE __m512i twice(const void *p) {
    return _mm512_broadcast_i64x4(load256(p));
}

INLINE __m512 twice_ps(const float *p) {
    return _mm512_broadcast_f32x8(_mm256_load_ps(p));
}

/* Taken off each byte within the sums, as a power of two; 0: nothing. In a narrow format the sums
 * of a half then fit in 16 bits: 16 * 15 * 127 does, and 16 * (-16..15) * 127. */
INLINE int center_bits(int type) {
    return fmt_signed(type)        ? 7
           : fmt_offset(type) != 0 ? __builtin_ctz((unsigned)fmt_offset(type))
           : fmt_bits(type) == 5   ? 4
                                   : 0;
}

/* v times 2^(bits - 5), of which it is a multiple */
INLINE __m512i centered(__m512i v, int bits) {
    return bits > 5   ? _mm512_slli_epi32(v, (unsigned)(bits - 5))
           : bits < 5 ? _mm512_srai_epi32(v, (unsigned)(5 - bits))
                      : v;
}

/* What ends the sums of a block's halves, for two rows and one row of activations. */
INLINE __m512 pair_end(int type, const struct pair *w, const struct small_group *x,
                       const __m512i dot[2], __m512 acc) {
    if (fmt_signed(type)) {
        __m512 f = _mm512_mul_ps(_mm512_cvtepi32_ps(dot[0]), twice_ps(x->factor[0]));
        f = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[1]), twice_ps(x->factor[1]), f);
        return _mm512_fmadd_ps(f, w->d[0], acc);
    }
    if (fmt_split(
            type)) { /* both factors are exact, so this rounds as their integer product does */
        for (int h = 0; h < 2; h++) {
            __m512 f = _mm512_mul_ps(_mm512_cvtepi32_ps(dot[h]), twice_ps(x->factor[h]));
            acc = _mm512_fmadd_ps(f, w->d[h], acc);
        }
        for (int h = 0; h < fmt_mins(type); h++) {
            acc = _mm512_fmadd_ps(w->min[h], _mm512_cvtepi32_ps(twice(x->prod[h])), acc);
        }
        return acc;
    }
    __m512i sum = _mm512_setzero_si512(); /* what was taken off and has no business there */
    if (fmt_offset(type) == 0 && center_bits(type) != 0) {
        sum = _mm512_add_epi32(twice(x->prod[0]), twice(x->prod[1]));
        sum = _mm512_slli_epi32(sum, (unsigned)center_bits(type));
    }
    /* the upper 16 bits of mul are zeros: sums of 16 bits times mul */
    sum = _mm512_dpwssd_epi32(sum, dot[0], twice(x->mul[0]));
    sum = _mm512_dpwssd_epi32(sum, dot[1], twice(x->mul[1]));
    acc = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), w->d[0], acc);
    if (fmt_mins(type) != 0) {
        acc = _mm512_fmadd_ps(w->min[0], twice_ps(x->s), acc);
    }
    return acc;
}

/* Group i of four rows and n_tok rows of activations, added to acc[t]. */
INLINE void group_add(int type, const struct group *w, const void *const *x, int n_tok, int64_t i,
                      struct lanes *acc) {
    for (int t = 0; t < n_tok; t++) {
        const struct small_group *g = (const struct small_group *)x[t] + i;
        __m512i dot[2][2];
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            __m512i start = _mm512_setzero_si512();
            if (center_bits(type) != 0) {
                start = centered(twice(g->minus[h]), center_bits(type));
            }
            dot[0][h] = dot[1][h] = start;
        }
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++) {
            __m512i q = twice(g->q[k / 2][k % 2]);
            for (int p = 0; p < 2; p++) {
                dot[p][k % 2] = _mm512_dpbusd_epi32(dot[p][k % 2], w->p[p].v[k / 2][k % 2], q);
            }
        }
        for (int p = 0; p < 2; p++) {
            acc[t].v[p] = pair_end(type, &w->p[p], g, dot[p], acc[t].v[p]);
        }
    }
}

INLINE struct lanes lanes_zero(void) {
    return (struct lanes){{_mm512_setzero_ps(), _mm512_setzero_ps()}};
}

/* The first `left` of the eight lanes of each row. */
INLINE void lanes_take(struct lanes *to, const struct lanes *from, int left) {
    const __mmask16 first = (__mmask16)(((1 << left) - 1) * 0x101);
    for (int p = 0; p < 2; p++) {
        to->v[p] = _mm512_mask_mov_ps(to->v[p], first, from->v[p]);
    }
}

/* The rows' sums for two rows of activations, in the order of micro_sum8, times their scales. */
INLINE void lanes_put(const struct lanes *a, const struct lanes *b, const float d[2], float *va,
                      float *vb) {
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 4, 8, 12, 2, 6, 10, 14);
    __m512 x = _mm512_add_ps(_mm512_shuffle_f32x4(a->v[0], a->v[1], 0x88),
                             _mm512_shuffle_f32x4(a->v[0], a->v[1], 0xdd));
    __m512 y = _mm512_add_ps(_mm512_shuffle_f32x4(b->v[0], b->v[1], 0x88),
                             _mm512_shuffle_f32x4(b->v[0], b->v[1], 0xdd));
    x = _mm512_add_ps(_mm512_shuffle_ps(x, y, 0x44), _mm512_shuffle_ps(x, y, 0xee));
    x = _mm512_add_ps(x, _mm512_permute_ps(x, 0xb1));
    x = _mm512_permutexvar_ps(order, x);
    _mm_storeu_ps(va, _mm_mul_ps(_mm512_castps512_ps128(x), _mm_set1_ps(d[0])));
    _mm_storeu_ps(vb, _mm_mul_ps(_mm512_extractf32x4_ps(x, 1), _mm_set1_ps(d[1])));
}

#include "kern/cpu/micro_small_rows.h"

/* Order of micro_small_x86.h: 8 x 8 dwords [block][half, piece] to [piece][half][block]. */
static void arrange_avx512(const struct act_group *x, int64_t n_col, void *to) {
    const __m512i low = _mm512_setr_epi32(0, 8, 16, 24, 4, 12, 20, 28, 1, 9, 17, 25, 5, 13, 21, 29);
    const __m512i even = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    const __m512i half = _mm512_setr_epi32(0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15);
    struct small_group *o = to;
    for (int64_t i = 0; i < micro_groups(n_col); i++, x++, o++) {
        __m512i a[2][2];
        for (int j = 0; j < 2; j++) {
            __m512i p = load512(x->q + 128 * j), q = load512(x->q + 128 * j + 64);
            a[0][j] = _mm512_permutex2var_epi32(p, low, q);
            a[1][j] = _mm512_permutex2var_epi32(p, plus(low, 2), q);
        }
        for (int k = 0; k < 4; k++) {
            __m512i v = _mm512_permutex2var_epi32(a[k / 2][0], plus(even, k % 2 * 8), a[k / 2][1]);
            _mm512_storeu_si512(o->q[k], v);
        }
        __m512i mul = _mm512_permutexvar_epi32(half, _mm512_srli_epi32(load512(x->pair), 16));
        __m512i sum = _mm512_permutexvar_epi32(half, load512(x->sum));
        _mm512_storeu_si512(o->mul, mul);
        _mm512_storeu_ps(o->factor, _mm512_cvtepi32_ps(mul));
        __m512i more = _mm512_slli_epi32(sum, 5);
        _mm512_storeu_si512(o->minus, _mm512_sub_epi32(_mm512_setzero_si512(), more));
        _mm512_storeu_si512(o->prod, _mm512_permutexvar_epi32(half, load512(x->prod)));
        _mm256_storeu_ps(o->s, _mm256_loadu_ps(x->s));
        o->d = x->d;
    }
}

void micro_small_init_avx512(struct micro *m) {
    m->gemm_min = MICRO_SMALL + 1;
    small_init(m, (struct micro_order){arrange_avx512, sizeof(struct small_group)});
}
