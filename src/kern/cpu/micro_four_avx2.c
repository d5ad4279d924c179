/* micro_four_avx2.c: quantized matrices times one row of activations, four rows of weights side by
 * side, for processors with AVX2, FMA and F16C.
 *
 * Owns the formats whose decoding costs more than reading them: what ends a block's sum is done for
 * four rows at once. Refuses formats that rows by themselves take as fast (micro_avx2.c), and
 * several rows of activations (micro_small_avx2.c). Only static functions and micro_four_init_avx2.
 * Invariant: the bits of micro_c.c; nothing behind a row is read.
 *
 * The unit is a pair: two blocks of 32 columns of four rows. A register of a row has 16 columns of
 * a block in each 128-bit lane, one set in some bits of its bytes and another in others, its two
 * parts. The octets of two rows are laid in turn, so that multiply-adds leave each row four words
 * in a lane:
 *   before  row 0: o0 o1   row 1: o0 o1        after  o0 of rows 0, 1   o1 of rows 0, 1
 * Words of four rows are added to one register, two of them a row, sums of eight products each:
 * less than six bits fit, six do when their offset is off. The results, scales and minimums are
 * [block][row].
 */
#include "kern/cpu/micro_bits_avx2.h"

#define ROWS STREAMS

/* A pair of activations: as few bytes as there can be, since all of a row pass for each four rows
 * of weights. VMOVDDUP doubles a qword of each lane as it loads. */
struct pair_act {
    int8_t q[2][2][16]; /* [part][lane] */
    int64_t mul[2][2];  /* [lane][part]: four times as int16 */
    /* What is added: an offset of the words' sums, [lane][part], of even and odd words, twice; or,
     * twice as int32 or float, [block][half] behind them, [0] alone where not split; or what
     * minimums are multiplied by. */
    int64_t more[2][2];
};

/* What is doubled is loaded 16 bytes at a time: of a pair's last number eight bytes behind it, too,
 * which here are never behind the group. */
struct vector_group {
    _Alignas(32) struct pair_act pair[4];
    float d; /* of the row */
};

/* ---- places ---------------------------------------------------------------------------------- */

/* Blocks have 16 bytes of nibbles each, the low ones half 0, the high ones half 1: a lane is a
 * block, a part is a half. In the other formats the bits of a byte belong to several blocks, and a
 * lane is a half of one. */
INLINE bool by_block(int type) {
    return fmt_small(type);
}

/* Blocks of a pair are not neighbours. */
INLINE bool across(int type) {
    return type == DT_Q3_K || type == DT_Q6_K;
}

/* Block j of pair k's sums; part j, where a lane is a half. */
INLINE int pair_block(int type, int k, int j) {
    return across(type) ? 4 * (k / 2) + k % 2 + 2 * j : 2 * k + j;
}

/* Block j of a pair has its bits two places further to the left than their value says. */
INLINE bool by_four(int type, int j) {
    return (type == DT_Q2_K || type == DT_Q3_K) && j == 1;
}

/* ---- activations ----------------------------------------------------------------------------- */

INLINE int64_t twice32(int32_t v) {
    return (int64_t)((uint64_t)(uint32_t)v | (uint64_t)(uint32_t)v << 32);
}

INLINE int64_t twice_float(float v) {
    return twice32((int32_t)f32_bits(v));
}

/* -offset times the sums of columns 0, 1, 4, 5, 8, 9, 12, 13 and of the others, as two words,
 * twice: what each other word of the products' sums lacks. */
INLINE int64_t center(int type, const int8_t q[16]) {
    __m128i sum = _mm_maddubs_epi16(_mm_set1_epi8(1), load128(q));
    sum = _mm_add_epi16(sum, _mm_shuffle_epi32(sum, 0x4e));
    sum = _mm_add_epi16(sum, _mm_shuffle_epi32(sum, 0xb1));
    sum = _mm_mullo_epi16(sum, _mm_set1_epi16((short)-fmt_offset(type)));
    return _mm_cvtsi128_si64(sum);
}

/* What belongs to block j of the sums. */
INLINE void act_block(int type, const struct act_group *x, int k, int j, struct pair_act *o) {
    const int b = pair_block(type, k, j), off = fmt_offset(type) * (by_four(type, j) ? 4 : 1);
    const int32_t prod[2] = {x->prod[micro_half(b, 0)], x->prod[micro_half(b, 1)]};
    for (int h = 0; h < 2; h++) {
        if (fmt_mins(type) == 2) {
            o->more[j][h] = twice_float((float)prod[h]);
        } else if (fmt_mins(type) == 1) {
            o->more[j][h] = twice_float(x->s[b]);
        } else {
            o->more[j][h] = twice32(-off * (fmt_split(type) ? prod[h] : prod[0] + prod[1]));
        }
    }
}

INLINE void act_pair(int type, const struct act_group *x, int k, struct pair_act *o) {
    for (int j = 0; j < 2 && type != DT_Q6_K; j++) {
        act_block(type, x, k, j, o);
    }
    for (int p = 0; p < 2; p++) {
        for (int l = 0; l < 2; l++) {
            const int block = pair_block(type, k, by_block(type) ? l : p);
            const int half = by_block(type) ? p : l;
            memcpy(o->q[p][l], x->q + MICRO_BLOCK * block + 16 * half, 16);
            o->mul[l][p] = twice32(x->pair[micro_half(block, half)]);
            if (type == DT_Q6_K) {
                o->more[l][p] = center(type, o->q[p][l]);
            }
        }
    }
}

INLINE void act_group_four(int type, const struct act_group *x, struct vector_group *o) {
    for (int k = 0; k < 4; k++) {
        act_pair(type, x, k, &o->pair[k]);
    }
    o->d = x->d;
}

/* ---- bits ------------------------------------------------------------------------------------ */

INLINE __m256i or8(__m256i a, __m256i b) {
    return _mm256_or_si256(a, b);
}

/* Octets of two rows, each loaded once: without KEEP each of two instructions would load it. */
INLINE void octets(__m256i a, __m256i b, __m256i o[2]) {
    KEEP(a);
    KEEP(b);
    o[0] = _mm256_unpacklo_epi64(a, b);
    o[1] = _mm256_unpackhi_epi64(a, b);
}

INLINE void octets_at(const uint8_t *const g[2], size_t at, __m256i o[2]) {
    octets(load256(g[0] + at), load256(g[1] + at), o);
}

/* Qword 0 of each lane, twice. */
INLINE __m256i twice(const void *p) {
    return _mm256_castpd_si256(_mm256_movedup_pd(_mm256_loadu_pd(p)));
}

/* ---- words ----------------------------------------------------------------------------------- */

/* Octets of two rows: of nibbles or pairs of bits, and of what is above them. */
struct bits {
    __m256i v[2], h[2];
};

/* Those of pair k of a super-block, as far as it does not share them with the one before. */
INLINE void super_bits(int type, const uint8_t *const g[2], int k, struct bits *o) {
    const size_t two = (size_t)k / 2;
    switch (type) {
    case DT_Q4_K: octets_at(g, offsetof(struct block_q4_k, q) + 32 * (size_t)k, o->v); break;
    case DT_Q5_K:
        octets_at(g, offsetof(struct block_q5_k, q) + 32 * (size_t)k, o->v);
        if (k == 0) {
            octets_at(g, offsetof(struct block_q5_k, h), o->h);
        }
        break;
    case DT_Q6_K:
        octets_at(g, offsetof(struct block_q6_k, ql) + 32 * (size_t)k, o->v);
        if (k % 2 == 0) {
            octets_at(g, offsetof(struct block_q6_k, qh) + 32 * two, o->h);
        }
        break;
    case DT_Q2_K:
        if (k % 2 == 0) {
            octets_at(g, offsetof(struct block_q2_k, q) + 32 * two, o->v);
        }
        break;
    default:
        if (k % 2 == 0) {
            octets_at(g, offsetof(struct block_q3_k, q) + 32 * two, o->v);
        }
        if (k == 0) {
            octets_at(g, offsetof(struct block_q3_k, h), o->h);
        }
    }
}

/* The bytes of both parts of pair k. */
INLINE void part_bytes(int type, int k, __m256i v, __m256i h, __m256i w[2]) {
    if (type == DT_Q2_K) {
        v = k % 2 == 1 ? _mm256_srli_epi16(v, 4) : v;
        w[0] = shift_mask(v, 0, 3), w[1] = shift_mask(v, 0, 12);
        return;
    }
    if (type == DT_Q3_K) {
        const int low = k % 2 == 0 ? 0 : 2, high = k == 0 ? 2 : k == 1 ? 1 : k == 2 ? -2 : -3;
        h = high > 0 ? _mm256_slli_epi16(h, high) : _mm256_srli_epi16(h, -high);
        w[0] = or8(shift_mask(v, -low, 3), shift_mask(h, 0, 4));
        w[1] = or8(shift_mask(v, -2 - low, 12), shift_mask(h, 0, 16));
        return;
    }
    w[0] = shift_mask(v, 0, 15), w[1] = shift_mask(v, -4, 15);
    if (type == DT_Q5_K) {
        w[0] = or8(w[0], shift_mask(h, 4 - 2 * k, 16));
        w[1] = or8(w[1], shift_mask(h, 3 - 2 * k, 16));
    } else if (type == DT_Q6_K) {
        w[0] = or8(w[0], shift_mask(h, k % 2 == 0 ? 4 : 2, 48));
        w[1] = or8(w[1], shift_mask(h, k % 2 == 0 ? 0 : -2, 48));
    }
}

/* Adds octet i of the parts to the words of two rows. */
INLINE void octet_add(const __m256i w[2], const struct pair_act *x, int i, __m256i sum[2]) {
    for (int p = 0; p < 2; p++) {
        __m256i v = _mm256_maddubs_epi16(w[p], twice(x->q[p][0] + 8 * i));
        sum[p] = i == 0 ? v : _mm256_add_epi16(sum[p], v);
    }
}

/* The words of pair k of two rows: [lane][row][4] of each part. */
INLINE void super_words(int type, const struct bits *b, int k, const struct pair_act *x,
                        __m256i sum[2]) {
    for (int i = 0; i < 2; i++) {
        __m256i w[2];
        part_bytes(type, k, b->v[i], b->h[i], w);
        octet_add(w, x, i, sum);
    }
}

/* ---- scales ---------------------------------------------------------------------------------- */

/* What four rows of a super-block share. */
struct super {
    /* Bytes of scales and minimums as dwords [row]: of Q4_K and Q5_K [block / 4], in both lanes,
     * [block % 4] in each dword; of Q2_K [block / 2], in both lanes, [block % 2][half]; of others
     * [block / 4], [block % 4 / 2] the lane, [block % 2][half]. */
    __m256i byte[4], less[4];
    __m256 d, min; /* [any block][row] */
};

/* Scales and minimums of a pair: [0] alone where not split. */
struct pair_scales {
    __m256 d[2], min[2];
};

/* Sixteen bytes of each row, of which dwords 0 and 1, then 2 and 3, are [lane][dword][row % 2],
 * rows 0 and 1 in lane 0; the first `from` bytes are left out. */
INLINE void row_dwords(const uint8_t *const g[ROWS], size_t at, int from, __m256i d[2]) {
    __m256i a = two128(g[0] + at, g[2] + at), b = two128(g[1] + at, g[3] + at);
    a = from == 2 ? _mm256_srli_si256(a, 2) : a;
    b = from == 2 ? _mm256_srli_si256(b, 2) : b;
    d[0] = _mm256_unpacklo_epi32(a, b);
    d[1] = _mm256_unpackhi_epi32(a, b);
}

/* Dwords of such: [dword of the two][row], or one for both lanes. */
#define BOTH_DWORDS(v)  _mm256_permute4x64_epi64(v, 0xd8)
#define FIRST_DWORDS(v) _mm256_permute4x64_epi64(v, 0x88)
#define LAST_DWORDS(v)  _mm256_permute4x64_epi64(v, 0xdd)

/* The f16 in dwords [row], one or two: [any block][row]. */
INLINE void super_halves(__m256i v, struct super *s) {
    const __m128i apart = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    __m256 f = _mm256_cvtph_ps(_mm_shuffle_epi8(_mm256_castsi256_si128(v), apart));
    s->d = _mm256_permute2f128_ps(f, f, 0x00);
    s->min = _mm256_permute2f128_ps(f, f, 0x11);
}

/* See k4_scales. */
INLINE void load_k4(const uint8_t *const g[ROWS], struct super *s) {
    const __m256i low4 = _mm256_set1_epi32(0x0f0f0f0f);
    __m256i d[2];
    row_dwords(g, 0, 0, d);
    super_halves(FIRST_DWORDS(d[0]), s);
    __m256i ab, low, high;
    ab = _mm256_alignr_epi8(d[1], d[0], 8);
    low = _mm256_and_si256(ab, _mm256_set1_epi32(0x3f3f3f3f));
    high = _mm256_and_si256(_mm256_srli_epi32(ab, 2), _mm256_set1_epi32(0x30303030));
    __m256i c = _mm256_unpackhi_epi64(d[1], d[1]);
    c = _mm256_and_si256(_mm256_srlv_epi32(c, _mm256_setr_epi32(0, 0, 4, 4, 0, 0, 4, 4)), low4);
    high = _mm256_or_si256(high, c);
    s->byte[0] = FIRST_DWORDS(low);
    s->byte[1] = FIRST_DWORDS(high);
    s->less[0] = LAST_DWORDS(low);
    s->less[1] = LAST_DWORDS(high);
}

/* See q3_scales. The scale of d makes up for bytes in the highest places. */
INLINE void load_q3(const uint8_t *const g[ROWS], struct super *s) {
    const __m256i low4 = _mm256_set1_epi32(0x0f0f0f0f), high2 = _mm256_set1_epi32(0x30303030);
    const __m256i off = _mm256_set1_epi8(32);
    __m256i d[2];
    row_dwords(g, sizeof(struct block_q3_k) - 16, 2, d);
    __m256i t = _mm256_unpacklo_epi64(d[1], d[1]);
    __m256i h0 = _mm256_sllv_epi32(t, _mm256_setr_epi32(4, 4, 2, 2, 4, 4, 2, 2));
    __m256i h1 = _mm256_srlv_epi32(t, _mm256_setr_epi32(0, 0, 2, 2, 0, 0, 2, 2));
    __m256i l0 = _mm256_and_si256(d[0], low4);
    __m256i l1 = _mm256_and_si256(_mm256_srli_epi32(d[0], 4), low4);
    l0 = _mm256_or_si256(l0, _mm256_and_si256(h0, high2));
    l1 = _mm256_or_si256(l1, _mm256_and_si256(h1, high2));
    s->byte[0] = BOTH_DWORDS(_mm256_sub_epi8(l0, off));
    s->byte[1] = BOTH_DWORDS(_mm256_sub_epi8(l1, off));
    __m128i half = _mm256_castsi256_si128(LAST_DWORDS(d[1]));
    const float one = 0x1p-24f, four = 0x1p-26f;
    s->d = _mm256_mul_ps(_mm256_cvtph_ps(_mm_packus_epi32(half, half)),
                         _mm256_setr_ps(one, one, one, one, four, four, four, four));
}

INLINE void load_q6(const uint8_t *const g[ROWS], struct super *s) {
    const size_t at = sizeof(struct block_q6_k) - 16;
    __m256i d[2];
    row_dwords(g, offsetof(struct block_q6_k, sc), 0, d);
    s->byte[0] = BOTH_DWORDS(d[0]);
    s->byte[1] = BOTH_DWORDS(d[1]);
    __m256i a = two128(g[0] + at, g[2] + at), b = two128(g[1] + at, g[3] + at);
    a = _mm256_permutevar8x32_epi32(_mm256_unpackhi_epi16(a, b),
                                    _mm256_setr_epi32(3, 7, 3, 7, 3, 7, 3, 7));
    s->d = _mm256_mul_ps(_mm256_cvtph_ps(_mm256_castsi256_si128(a)), _mm256_set1_ps(0x1p-24f));
}

INLINE void load_q2(const uint8_t *const g[ROWS], struct super *s) {
    __m256i d[2];
    row_dwords(g, sizeof(struct block_q2_k) - 16, 0, d);
    super_halves(LAST_DWORDS(d[1]), s);
    row_dwords(g, offsetof(struct block_q2_k, sc), 0, d);
    for (int i = 0; i < 2; i++) {
        const __m256i low = shift_mask(d[i], 0, 15),
                      high = shift_mask(d[i], 0, 0xf0); /* 16 times the minimum */
        s->byte[2 * i] = FIRST_DWORDS(low);
        s->byte[2 * i + 1] = LAST_DWORDS(low);
        s->less[2 * i] = FIRST_DWORDS(high);
        s->less[2 * i + 1] = LAST_DWORDS(high);
    }
    s->d = _mm256_mul_ps(s->d, _mm256_setr_ps(1, 1, 1, 1, 0.25f, 0.25f, 0.25f, 0.25f));
    s->min = _mm256_mul_ps(s->min, _mm256_set1_ps(0x1p-4f));
}

INLINE void load_super(int type, const uint8_t *const g[ROWS], struct super *s) {
    switch (type) {
    case DT_Q2_K: load_q2(g, s); break;
    case DT_Q3_K: load_q3(g, s); break;
    case DT_Q6_K: load_q6(g, s); break;
    default: load_k4(g, s);
    }
}

/* Bytes a and b of each dword, in the low and the high lane, to place `to` of it; as floats. */
INLINE __m256 spread_bytes(__m256i v, int a, int b, int to) {
    const __m256i at = _mm256_setr_epi32(a, a + 4, a + 8, a + 12, b, b + 4, b + 8, b + 12);
    const __m256i none = _mm256_set1_epi32((int)(to == 3 ? 0x00808080 : 0x80808000));
    const __m256i place = _mm256_or_si256(to == 3 ? _mm256_slli_epi32(at, 24) : at, none);
    return _mm256_cvtepi32_ps(_mm256_shuffle_epi8(v, place));
}

INLINE void super_scales(int type, const struct super *s, int k, struct pair_scales *o) {
    if (!fmt_split(type)) {
        const int at = 2 * (k % 2);
        o->d[0] = _mm256_mul_ps(s->d, spread_bytes(s->byte[k / 2], at, at + 1, 0));
        o->min[0] = _mm256_mul_ps(s->min, spread_bytes(s->less[k / 2], at, at + 1, 0));
        return;
    }
    for (int h = 0; h < 2; h++) {
        if (type == DT_Q2_K) {
            o->d[h] = _mm256_mul_ps(s->d, spread_bytes(s->byte[k], h, 2 + h, 0));
            o->min[h] = _mm256_mul_ps(s->min, spread_bytes(s->less[k], h, 2 + h, 0));
        } else {
            const int at = 2 * (k % 2) + h;
            o->d[h] = _mm256_mul_ps(s->d, spread_bytes(s->byte[k / 2], at, at, 3));
        }
    }
}

/* ---- blocks of 32 ---------------------------------------------------------------------------- */

/* 16 bytes of two blocks, the second of which may not be there. */
INLINE __m256i two_blocks(int type, const uint8_t *g, int at, int there) {
    return there == 1 ? _mm256_zextsi128_si256(load128(g + at))
                      : two128(g + at, g + at + fmt_bytes(type));
}

/* The scales of a pair; fifth: its rows' fifth bits, 16 to a word, [half] the words [row]. */
INLINE void small_scales4(int type, const uint8_t *const g[ROWS], int there, struct pair_scales *o,
                          __m256i fifth[2]) {
    __m256i h[ROWS], d;
    for (int r = 0; r < ROWS; r++) {
        h[r] = two_blocks(type, g[r], 0, there);
    }
    if (fmt_mins(type) == 0) {
        __m256i a = _mm256_unpacklo_epi16(h[0], h[1]), b = _mm256_unpacklo_epi16(h[2], h[3]);
        d = _mm256_unpacklo_epi32(a, b);
        fifth[0] = _mm256_unpackhi_epi64(d, d);
        fifth[1] = _mm256_unpackhi_epi32(a, b);
        d = _mm256_permute4x64_epi64(d, 0x08);
        o->d[0] = _mm256_cvtph_ps(_mm256_castsi256_si128(d));
        return;
    }
    const __m256i apart = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
    __m256i a = _mm256_unpacklo_epi32(h[0], h[1]), b = _mm256_unpacklo_epi32(h[2], h[3]);
    d = _mm256_shuffle_epi8(_mm256_unpacklo_epi64(a, b), apart);
    d = _mm256_permute4x64_epi64(d, 0xd8);
    o->d[0] = _mm256_cvtph_ps(_mm256_castsi256_si128(d));
    o->min[0] = _mm256_cvtph_ps(_mm256_extracti128_si256(d, 1));
    d = _mm256_shuffle_epi8(_mm256_unpackhi_epi64(a, b), apart);
    fifth[0] = d;
    fifth[1] = _mm256_unpackhi_epi64(d, d);
}

/* 16 in every byte of octet i of rows r and r + 1 whose bit is set. */
INLINE __m256i fifth_of(__m256i words, int r, int i) {
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    const __m256i at = _mm256_broadcastsi128_si256(
        _mm_unpacklo_epi64(_mm_set1_epi8((char)(2 * r + i)), _mm_set1_epi8((char)(2 * r + 2 + i))));
    __m256i v = _mm256_and_si256(_mm256_shuffle_epi8(words, at), bit);
    return shift_mask(_mm256_cmpeq_epi8(v, bit), 0, 16);
}

/* The words of rows r and r + 1. */
INLINE void small_words(int type, const struct bits *b, int r, const __m256i fifth[2],
                        const struct pair_act *x, __m256i sum[2]) {
    for (int i = 0; i < 2; i++) {
        __m256i w[2];
        part_bytes(type, 0, b->v[i], b->v[i], w);
        for (int p = 0; p < 2 && fmt_bits(type) == 5; p++) {
            w[p] = or8(w[p], fifth_of(fifth[p], r, i));
        }
        octet_add(w, x, i, sum);
    }
}

INLINE void small_bits(int type, const uint8_t *const g[2], int there, struct bits *o) {
    const int at = type == DT_Q4_1 ? 4 : type == DT_Q5_0 ? 6 : type == DT_Q5_1 ? 8 : 2;
    octets(two_blocks(type, g[0], at, there), two_blocks(type, g[1], at, there), o->v);
}

/* ---- sums ------------------------------------------------------------------------------------ */

/* Words of rows 0 and 1, and of 2 and 3, of a part, to dwords times their multiplier: [lane][row].
 */
INLINE __m256i part_sum(int type, __m256i a, __m256i b, const struct pair_act *x, int p) {
    const __m256 u = _mm256_castsi256_ps(a), v = _mm256_castsi256_ps(b);
    __m256i s = _mm256_add_epi16(_mm256_castps_si256(_mm256_shuffle_ps(u, v, 0x88)),
                                 _mm256_castps_si256(_mm256_shuffle_ps(u, v, 0xdd)));
    if (type == DT_Q6_K) {
        s = _mm256_add_epi16(s, twice(&x->more[0][p]));
    }
    return _mm256_madd_epi16(s, twice(&x->mul[0][p]));
}

/* Both parts of a pair, [row / 2][part]. */
INLINE void pair_sum(int type, __m256i word[2][2], const struct pair_act *x, __m256i sum[2]) {
    for (int p = 0; p < 2; p++) {
        sum[p] = part_sum(type, word[0][p], word[1][p], x, p);
    }
}

INLINE __m256 more_ps(const struct pair_act *x, int h) {
    return _mm256_castsi256_ps(twice(&x->more[0][h]));
}

/* Adds a pair, whose part_sum of each part is m. */
INLINE __m256 pair_add(int type, const __m256i m[2], const struct pair_scales *w,
                       const struct pair_act *x, __m256 acc) {
    if (fmt_split(type)) {
        __m256i v[2] = {_mm256_inserti128_si256(m[0], _mm256_castsi256_si128(m[1]), 1),
                        _mm256_permute2x128_si256(m[0], m[1], 0x31)};
        for (int h = 0; h < 2; h++) {
            v[h] = type == DT_Q3_K ? _mm256_add_epi32(v[h], twice(&x->more[0][h])) : v[h];
            acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(v[h]), w->d[h], acc);
        }
        for (int h = 0; h < fmt_mins(type); h++) {
            acc = _mm256_fnmadd_ps(w->min[h], more_ps(x, h), acc);
        }
        return acc;
    }
    __m256i v = by_block(type) ? _mm256_add_epi32(m[0], m[1])
                               : _mm256_add_epi32(_mm256_blend_epi32(m[0], m[1], 0xf0),
                                                  _mm256_permute2x128_si256(m[0], m[1], 0x21));
    v = fmt_offset(type) != 0 ? _mm256_add_epi32(v, twice(&x->more[0][0])) : v;
    acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(v), w->d[0], acc);
    if (fmt_mins(type) == 0) {
        return acc;
    }
    return fmt_small(type) ? _mm256_fmadd_ps(w->min[0], more_ps(x, 0), acc)
                           : _mm256_fnmadd_ps(w->min[0], more_ps(x, 0), acc);
}

/* micro_sum8 of each row. */
INLINE __m128 rows_sum(int type, const __m256 acc[4]) {
    __m256 a = _mm256_add_ps(acc[0], acc[2]), b = _mm256_add_ps(acc[1], acc[3]);
    if (across(type)) { /* blocks 0 2, 1 3, 4 6, 5 7 */
        __m128 u = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
        __m128 v = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
        return _mm_add_ps(u, v);
    }
    a = _mm256_add_ps(a, b);
    return _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* A pair of small blocks, the second of which may not be there. */
INLINE __m256 small_add(int type, const uint8_t *const g[ROWS], int there, const struct pair_act *x,
                        __m256 acc) {
    struct pair_scales s;
    __m256i fifth[2], word[2][2], sum[2];
    small_scales4(type, g, there, &s, fifth);
    for (int r = 0; r < 2; r++) {
        struct bits b;
        small_bits(type, g + 2 * r, there, &b);
        small_words(type, &b, 2 * r, fifth, x, word[r]);
    }
    pair_sum(type, word, x, sum);
    return pair_add(type, sum, &s, x, acc);
}

INLINE __m128 four_small(int type, const uint8_t *g[ROWS], const struct vector_group *x,
                         int64_t n_block) {
    const int bytes = fmt_bytes(type);
    __m256 acc[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                     _mm256_setzero_ps()};
    int64_t i = 0;
    for (; i + 8 <= n_block; i += 8, x++) {
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++, stream_move(g, 2 * bytes)) {
            stream_fetch(g[k] - 2 * k * bytes, 8 * bytes);
            acc[k] = small_add(type, g, 2, &x->pair[k], acc[k]);
        }
    }
    streams_fetch(g, (int)(n_block - i) * bytes);
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++, i += 2, stream_move(g, 2 * bytes)) {
        if (n_block - i >= 2) {
            acc[k] = small_add(type, g, 2, &x->pair[k], acc[k]);
        } else if (n_block - i == 1) {
            acc[k] = small_add(type, g, 1, &x->pair[k], acc[k]);
        }
    }
    return rows_sum(type, acc);
}

/* Keeps what v comes of behind what w comes from: a pair ends while the next one begins, as
 * processors do not look so far ahead that they would find enough to do in one pair alone. */
#define BEHIND(v, w) __asm__("" : "+x"(v), "+x"(w))

/* A super-block. */
INLINE void super_add(int type, const uint8_t *const g[ROWS], const struct vector_group *x,
                      __m256 acc[4]) {
    struct super s;
    struct bits b[2] = {{.h = {_mm256_setzero_si256()}}};
    __m256i word[2][2][2], sum[2]; /* [pair % 2][row / 2][part] */
#pragma GCC unroll 5
    for (int k = 0; k < 5; k++) {
        const int old = k - 1;
        struct pair_scales d;
        if (k < 4) {
            stream_fetch(g[k], fmt_bytes(type));
            super_bits(type, g, k, &b[0]);
            super_bits(type, g + 2, k, &b[1]);
            if (k == 0) {
                load_super(type, g, &s);
            }
            super_words(type, &b[0], k, &x->pair[k], word[k % 2][0]);
        }
        if (k > 0) {
            for (int p = 0; p < 2 && k < 4; p++) {
                BEHIND(word[old % 2][1][p], word[k % 2][0][p]);
            }
            pair_sum(type, word[old % 2], &x->pair[old], sum);
            for (int p = 0; p < 2 && k < 4; p++) {
                BEHIND(b[1].v[p], sum[p]);
            }
        }
        if (k < 4) {
            super_words(type, &b[1], k, &x->pair[k], word[k % 2][1]);
        }
        if (k > 0) {
            for (int p = 0; p < 2 && k < 4; p++) {
                BEHIND(sum[p], word[k % 2][1][p]);
            }
            super_scales(type, &s, old, &d);
            acc[old] = pair_add(type, sum, &d, &x->pair[old], acc[old]);
        }
    }
}

INLINE __m128 four_super(int type, const uint8_t *g[ROWS], const struct vector_group *x,
                         int64_t n_group) {
    const int bytes = fmt_bytes(type);
    __m256 acc[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                     _mm256_setzero_ps()};
    for (int64_t i = 0; i < n_group; i++, x++, stream_move(g, bytes)) {
        super_add(type, g, x, acc);
    }
    return rows_sum(type, acc);
}

/* Nothing behind a row is read, so that the matrix's end is as good as any. */
INLINE __m128 four_rows(int type, const uint8_t *g[ROWS], bool end, const struct vector_group *x,
                        int64_t n_col) {
    (void)end;
    __m128 sum = fmt_small(type) ? four_small(type, g, x, n_col / MICRO_BLOCK)
                                 : four_super(type, g, x, n_col / 256);
    return _mm_mul_ps(_mm_set1_ps(x->d), sum);
}

#include "kern/cpu/micro_four_rows.h"

UNSIGNED_FORMATS(GEMV_FOUR)

void micro_four_init_avx2(struct micro *m) {
    UNSIGNED_FORMATS(FOUR_ENTRY)
}
