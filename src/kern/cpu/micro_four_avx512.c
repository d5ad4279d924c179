/* micro_four_avx512.c: quantized matrices times one row of activations, four rows of weights side
 * by side, for processors with AVX-512 (F, BW, VL, DQ, VBMI) and VNNI.
 *
 * Owns the formats whose decoding costs more than reading them: what ends a block's sum is done for
 * four rows at once. Sums of four and of eight products of less than six bits fit in 16 bits, so
 * two registers of them are packed into one before they are added further. Refuses formats that
 * rows by themselves take as fast as memory gives them (micro_gemv_avx512.c), and several rows
 * of activations (micro_small_avx512.c). Only static functions and micro_four_init_avx512.
 * Invariant: the bits of micro_c.c; nothing behind a row is read.
 *
 * The unit is a quad: four blocks of 32 columns of four rows. Its sums, scales and minimums lie in
 * registers of 16 dwords, in one of two orders. In [block][row] a 128-bit lane is a block: that of
 * formats whose blocks have 16 bytes of nibbles each, the low ones half 0, the high ones half 1. In
 * [row / 2][block / 2][row % 2][block % 2] a lane was a half of a block before halves were added:
 * that of formats where the bits of a byte belong to several blocks.
 */
#include "kern/cpu/micro_bits_avx512.h"

#define ROWS STREAMS

/* Constants f(lane, place in the lane), as dwords or 16-bit words. */
#define DWORD_LANE(f, l) _mm_setr_epi32(f(l, 0), f(l, 1), f(l, 2), f(l, 3))
#define WORD_LANE(f, l)                                                                            \
    _mm_setr_epi16(f(l, 0), f(l, 1), f(l, 2), f(l, 3), f(l, 4), f(l, 5), f(l, 6), f(l, 7))
#define DWORDS(f) four128(DWORD_LANE(f, 0), DWORD_LANE(f, 1), DWORD_LANE(f, 2), DWORD_LANE(f, 3))
#define WORDS(f)  four128(WORD_LANE(f, 0), WORD_LANE(f, 1), WORD_LANE(f, 2), WORD_LANE(f, 3))

/* A quad of four rows. */
struct quad {
    __m512i low[ROWS], high[ROWS]; /* bytes; signed ones plus 128 */
    __m512 d[2], min[2];           /* in the order of the sums; [0] alone where not split */
};

/* A quad of activations. */
struct quad_act {
    __m512i low, high; /* q, as the weights lie */
    __m512i mul;       /* int16, as packed sums lie */
    __m512i less[2];   /* what an offset adds to the sums of each half; [0] alone: of both */
    __m512 factor[2];  /* mul of each half, where sums are not packed */
    __m512 s[2];       /* mul * sum of each half; [0] alone: of both */
};

INLINE bool by_block(int type) { /* the first of the two orders */
    return fmt_small(type) || type == DT_IQ4_XS;
}

/* ---- activations --------------------------------------------------------------------------- */

/* The place in act_group.pair, whose order is micro_half's, for word w of lane l. */
#define MUL_BLOCK(l, w) (2 * ((w) % 4 / 2 * 4 + (l)))
#define MUL_HALF(l, w)  (2 * ((l) % 2 * 4 + (l) / 2 * 2 + (w) % 4 / 2))
/* The block of dword i of lane l. */
#define BLOCK_BLOCK(l, i) (l)
#define BLOCK_HALF(l, i)  ((l) % 2 * 2 + (i) % 2)

/* Of 16 numbers those of four from `first` on, in the order of the sums. */
INLINE __m512i in_order(int type, __m512i v, int first) {
    __m512i at = by_block(type) ? DWORDS(BLOCK_BLOCK) : DWORDS(BLOCK_HALF);
    return _mm512_permutexvar_epi32(_mm512_add_epi32(at, _mm512_set1_epi32(first)), v);
}

/* Quad i of x. */
INLINE void act_quad(int type, const struct act_group *x, int i, struct quad_act *o) {
    const __m512i place = by_block(type) ? WORDS(MUL_BLOCK) : WORDS(MUL_HALF);
    __m512i a = load512(x->q + 128 * i), b = load512(x->q + 128 * i + 64);
    __m512i pair = load512(x->pair);
    if (by_block(type)) {
        o->low = _mm512_shuffle_i64x2(a, b, 0x88);
        o->high = _mm512_shuffle_i64x2(a, b, 0xdd);
    } else {
        o->low = _mm512_shuffle_i64x2(a, b, 0x44);
        o->high = _mm512_shuffle_i64x2(a, b, 0xee);
    }
    if (fmt_signed(type)) {
        const __m512i mul = _mm512_srli_epi32(pair, 16), sum = load512(x->sum);
        for (int h = 0; h < 2; h++) {
            o->less[h] = _mm512_slli_epi32(in_order(type, sum, 8 * i + 4 * h), 7);
            o->factor[h] = _mm512_cvtepi32_ps(in_order(type, mul, 8 * i + 4 * h));
        }
        return;
    }
    __m512i at = _mm512_add_epi16(place, _mm512_set1_epi16((short)(16 * i)));
    o->mul = _mm512_permutexvar_epi16(at, pair);
    if (fmt_mins(type) == 1) {
        __m512i s = _mm512_castsi256_si512(load256(x->s));
        o->s[0] = _mm512_castsi512_ps(in_order(type, s, 4 * i));
    }
    if (fmt_offset(type) != 0 || fmt_mins(type) == 2) {
        const unsigned shift =
            fmt_offset(type) != 0 ? __builtin_ctz((unsigned)fmt_offset(type)) : 0;
        __m512i both = load512(x->prod);
        for (int h = 0; h < 2; h++) {
            __m512i v = in_order(type, both, 8 * i + 4 * h);
            o->s[h] = _mm512_cvtepi32_ps(v);
            o->less[h] = _mm512_slli_epi32(v, shift);
        }
        if (!fmt_split(type)) {
            o->less[0] = _mm512_add_epi32(o->less[0], o->less[1]);
        }
    }
}

/* ---- blocks of 32 -------------------------------------------------------------------------- */

/* A quad's bytes as two registers, which overlap: its first 64 and its last. */
struct ends {
    __m512i first, last;
};

/* `there` of the quad's blocks are loaded, the others zeros. */
INLINE struct ends load_ends(int type, const uint8_t *g, int there) {
    const int bytes = fmt_bytes(type) & 31; /* 18 to 24 */
    if (there == 4) {
        return (struct ends){load512(g), load512(g + 4 * bytes - 64)};
    }
    int n = there * bytes, behind = n - (4 * bytes - 64);
    __mmask64 first = n >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1;
    __mmask64 last = behind > 0 ? (UINT64_C(1) << behind) - 1 : 0;
    return (struct ends){_mm512_maskz_loadu_epi8(first, g),
                         _mm512_maskz_loadu_epi8(last, g + 4 * bytes - 64)};
}

/* Sixteen bytes of each block, which begin at byte `at` of it: two blocks are whole in either
 * register. `again`: the first four of them, four times. */
INLINE __m512i lanes_at(int type, struct ends e, int at, bool again) {
    const int bytes = fmt_bytes(type) & 31, off = 4 * bytes - 64;
    const __m512i row = _mm512_broadcast_i32x4(
        again ? _mm_set1_epi32(0x03020100)
              : _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    __m512i place = lane_bytes(at, bytes + at, 2 * bytes + at - off, 3 * bytes + at - off);
    place = _mm512_add_epi8(place, row);
    __m512i v = _mm512_permutexvar_epi8(place, e.first);
    return _mm512_mask_permutexvar_epi8(v, UINT64_C(0xffffffff00000000), place, e.last);
}

/* Row r's f16 at bytes 0 and 2 of each block, to words [block][row] of each half of `to`. */
INLINE __m512i heads(int type, struct ends e, int r, __m512i to) {
    const int bytes = fmt_bytes(type) & 31, off = 4 * bytes - 64;
#define HEAD(b, k) ((b)*bytes - (3 * bytes + 4 > 64 && (b) > 1 ? off : 0) + (k))
#define PAIR(b, k) ((HEAD(b, k) + 1) << 8 | HEAD(b, k))
#define FOUR(b, k) _mm_set1_epi16((short)PAIR(b, k))
    const __m512i place = four128(
        _mm_unpacklo_epi64(FOUR(0, 0), FOUR(1, 0)), _mm_unpacklo_epi64(FOUR(2, 0), FOUR(3, 0)),
        _mm_unpacklo_epi64(FOUR(0, 2), FOUR(1, 2)), _mm_unpacklo_epi64(FOUR(2, 2), FOUR(3, 2)));
#undef HEAD
#undef PAIR
#undef FOUR
    const __mmask64 mine = UINT64_C(0x0303030303030303) << (2 * r);
    if (3 * bytes + 4 <= 64) {
        return _mm512_mask_permutexvar_epi8(to, mine, place, e.first);
    }
    const uint64_t second = UINT64_C(0xffff0000ffff0000); /* blocks 2 and 3 */
    to = _mm512_mask_permutexvar_epi8(to, mine & ~second, place, e.first);
    return _mm512_mask_permutexvar_epi8(to, mine & second, place, e.last);
}

INLINE __m512i iq4_bytes(__m512i nibble) {
    __m128i table = _mm_xor_si128(load128(quant_iq4_values), _mm_set1_epi8((char)128));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), nibble);
}

INLINE void nibbles512(__m512i x, struct quad *o, int r) {
    o->low[r] = and8(x, 15);
    o->high[r] = and8(_mm512_srli_epi16(x, 4), 15);
}

INLINE void small_quad(int type, const uint8_t *const g[ROWS], int there, struct quad *o) {
    const int at = type == DT_Q4_1 ? 4 : type == DT_Q5_0 ? 6 : type == DT_Q5_1 ? 8 : 2;
    const __m512i low =
        _mm512_broadcast_i32x4(_mm_setr_epi8(60, 61, 62, 63, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11));
    const __m512i high = _mm512_add_epi8(low, _mm512_set1_epi8(16));
    __m512i head = _mm512_setzero_si512();
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; r++) {
        struct ends e = load_ends(type, g[r], there);
        head = heads(type, e, r, head);
        nibbles512(lanes_at(type, e, at, false), o, r);
        if (fmt_bits(type) == 5) { /* bit c of four bytes is the fifth of column c */
            __m512i h = lanes_at(type, e, at - 4, true);
            o->low[r] = merge(o->low[r], _mm512_multishift_epi64_epi8(low, h), 16);
            o->high[r] = merge(o->high[r], _mm512_multishift_epi64_epi8(high, h), 16);
        }
        if (type == DT_IQ4_NL) {
            o->low[r] = iq4_bytes(o->low[r]);
            o->high[r] = iq4_bytes(o->high[r]);
        }
    }
    o->d[0] = _mm512_cvtph_ps(_mm512_castsi512_si256(head));
    if (fmt_mins(type) != 0) {
        o->min[0] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(head, 1));
    }
}

/* ---- super-blocks -------------------------------------------------------------------------- */

/* Byte scales of the four rows, one row to a lane, and two factors for each row. */
struct super {
    __m512i byte;
    __m128 d, min; /* [row] */
};

/* Sixteen bytes of each row. */
INLINE __m512i four_lanes(const uint8_t *const g[ROWS], size_t at) {
    __m512i v = _mm512_castsi128_si512(load128(g[0] + at));
    v = _mm512_mask_broadcast_i32x4(v, 0x00f0, load128(g[1] + at));
    v = _mm512_mask_broadcast_i32x4(v, 0x0f00, load128(g[2] + at));
    return _mm512_mask_broadcast_i32x4(v, 0xf000, load128(g[3] + at));
}

/* An f16 of each row, their signs turned if asked for. */
INLINE __m128 four_halves(const uint8_t *const g[ROWS], size_t at, bool turn) {
    uint64_t all = turn ? UINT64_C(0x8000800080008000) : 0;
    for (int r = 0; r < ROWS; r++) {
        f16_t h;
        memcpy(&h, g[r] + at, sizeof h);
        all ^= (uint64_t)h << (16 * r);
    }
    return _mm_cvtph_ps(_mm_cvtsi64_si128((long long)all));
}

INLINE __m512i lanes512(int a, int b, int c, int d) { /* a dword for all of each lane */
    return _mm512_setr_epi32(a, a, a, a, b, b, b, b, c, c, c, c, d, d, d, d);
}

/* Scales and minimums of Q4_K and Q5_K, of six bits: eight bytes each. See k4_scales. */
INLINE __m512i k4_bytes(const uint8_t *const g[ROWS]) {
    const __m512i low = _mm512_broadcast_i32x4(
        _mm_setr_epi8(4, 5, 6, 7, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15));
    const __m512i high = _mm512_broadcast_i32x4(
        _mm_setr_epi8(-1, -1, -1, -1, 4, 5, 6, 7, -1, -1, -1, -1, 8, 9, 10, 11));
    const __m512i mask =
        _mm512_broadcast_i32x4(_mm_setr_epi32(0x3f3f3f3f, 0x0f0f0f0f, 0x3f3f3f3f, 0x0f0f0f0f));
    const __m512i shift = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0, 0, 0x04040404));
    __m512i x = four_lanes(g, 0);
    __m512i u = rotate(_mm512_shuffle_epi8(x, low), shift);
    __m512i v = rotate(_mm512_shuffle_epi8(x, high), _mm512_set1_epi8(2));
    return _mm512_ternarylogic_epi32(u, mask, and8(v, 0x30), 0xea); /* (u & mask) | v */
}

/* Scales of Q3_K, [block][half], plus 32. See q3_scales. */
INLINE __m512i q3_bytes(const uint8_t *const g[ROWS]) {
    const __m512i low =
        _mm512_broadcast_i32x4(_mm_setr_epi8(2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5, 6, 7, 8, 9));
    const __m512i high = _mm512_broadcast_i32x4(
        _mm_setr_epi8(10, 11, 12, 13, 10, 11, 12, 13, 10, 11, 12, 13, 10, 11, 12, 13));
    const __m512i nibble = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0, 0x04040404, 0x04040404));
    const __m512i bits = _mm512_broadcast_i32x4(
        _mm_setr_epi32((int)0xfcfcfcfc, (int)0xfefefefe, 0, 0x02020202)); /* -4, -2, 0, 2 */
    __m512i x = four_lanes(g, sizeof(struct block_q3_k) - 16);
    __m512i u = rotate(_mm512_shuffle_epi8(x, low), nibble);
    __m512i v = rotate(_mm512_shuffle_epi8(x, high), bits);
    return _mm512_ternarylogic_epi32(u, _mm512_set1_epi8(15), and8(v, 0x30), 0xea);
}

INLINE void load_super(int type, const uint8_t *const g[ROWS], struct super *o) {
    switch (type) {
    case DT_Q2_K:
        o->byte = four_lanes(g, 0);
        o->d = four_halves(g, offsetof(struct block_q2_k, d), false);
        o->min = four_halves(g, offsetof(struct block_q2_k, dmin), true);
        break;
    case DT_Q3_K:
        o->byte = q3_bytes(g);
        o->d = four_halves(g, offsetof(struct block_q3_k, d), false);
        break;
    default:
        o->byte = k4_bytes(g);
        o->d = four_halves(g, 0, false);
        o->min = four_halves(g, 2, true);
    }
}

/* The byte of dword i of lane l, of one for each block or of two. */
#define BYTE_EACH(l, i)   (16 * ((l) / 2 * 2 + (i) / 2) + BLOCK_HALF(l, i))
#define BYTE_HALVES(l, i) (16 * ((l) / 2 * 2 + (i) / 2) + 2 * BLOCK_HALF(l, i))
#define ROW_HALF(l, i)    ((l) / 2 * 2 + (i) / 2)

/* Bytes from `first` on as dwords in the order of the sums. */
INLINE __m512i spread_bytes(int type, __m512i v, int first) {
    __m512i at = fmt_split(type) ? DWORDS(BYTE_HALVES) : DWORDS(BYTE_EACH);
    at = _mm512_add_epi32(at, _mm512_set1_epi32(first));
    return _mm512_maskz_permutexvar_epi8(UINT64_C(0x1111111111111111), at, v);
}

INLINE __m512 scaled(__m512i v, __m128 factor) {
    __m512 f = _mm512_permutexvar_ps(DWORDS(ROW_HALF), _mm512_castps128_ps512(factor));
    return _mm512_mul_ps(f, _mm512_cvtepi32_ps(v));
}

INLINE void super_scales(int type, const struct super *s, int i, struct quad *o) {
    if (fmt_split(type)) {
        __m512i low = and8(s->byte, 15), high = and8(_mm512_srli_epi16(s->byte, 4), 15);
        for (int h = 0; h < 2; h++) {
            if (type == DT_Q3_K) {
                __m512i v = spread_bytes(type, s->byte, 8 * i + h);
                o->d[h] = scaled(_mm512_sub_epi32(v, _mm512_set1_epi32(32)), s->d);
            } else {
                o->d[h] = scaled(spread_bytes(type, low, 8 * i + h), s->d);
                o->min[h] = scaled(spread_bytes(type, high, 8 * i + h), s->min);
            }
        }
        return;
    }
    o->d[0] = scaled(spread_bytes(type, s->byte, 4 * i), s->d);
    o->min[0] = scaled(spread_bytes(type, s->byte, 8 + 4 * i), s->min);
}

INLINE void super_row(int type, const uint8_t *g, int i, struct quad *o, int r) {
    if (type == DT_Q2_K || type == DT_Q3_K) {
        const uint8_t *q =
            type == DT_Q2_K ? ((const struct block_q2_k *)g)->q : ((const struct block_q3_k *)g)->q;
        __m512i x = _mm512_broadcast_i64x4(load256(q + 32 * i));
        o->low[r] = and8(_mm512_srlv_epi32(x, lanes512(0, 0, 4, 4)), 3);
        o->high[r] = and8(_mm512_srlv_epi32(x, lanes512(2, 2, 6, 6)), 3);
        if (type == DT_Q3_K) {
            const int b = 4 * i;
            __m512i h = _mm512_broadcast_i64x4(load256(((const struct block_q3_k *)g)->h));
            o->low[r] = merge(o->low[r], rotate(h, lane_bytes(b - 2, b - 2, b, b)), 4);
            o->high[r] = merge(o->high[r], rotate(h, lane_bytes(b - 1, b - 1, b + 1, b + 1)), 4);
        }
        return;
    }
    const uint8_t *q =
        type == DT_Q4_K ? ((const struct block_q4_k *)g)->q : ((const struct block_q5_k *)g)->q;
    nibbles512(load512(q + 64 * i), o, r);
    if (type == DT_Q5_K) {
        const int b = 4 * i - 4;
        __m512i h = _mm512_broadcast_i64x4(load256(((const struct block_q5_k *)g)->h));
        o->low[r] = merge(o->low[r], rotate(h, lane_bytes(b, b, b + 2, b + 2)), 16);
        o->high[r] = merge(o->high[r], rotate(h, lane_bytes(b + 1, b + 1, b + 3, b + 3)), 16);
    }
}

/* Quad i of IQ4_XS, whose order is that of blocks. See iq4_scales. */
INLINE void iq4_quad(const uint8_t *const g[ROWS], int i, struct quad *o) {
    int32_t low[ROWS], high[ROWS];
    for (int r = 0; r < ROWS; r++) {
        const struct block_iq4_xs *b = (const struct block_iq4_xs *)g[r];
        memcpy(&low[r], b->sc_l, sizeof low[r]);
        high[r] = b->sc_h << 4;
        nibbles512(load512(b->q + 64 * i), o, r);
        o->low[r] = iq4_bytes(o->low[r]);
        o->high[r] = iq4_bytes(o->high[r]);
    }
    const int b = 4 * i;
    __m512i l = _mm512_srlv_epi32(_mm512_broadcast_i32x4(load128(low)),
                                  lanes512(4 * b, 4 * b + 4, 4 * b + 8, 4 * b + 12));
    __m512i h = _mm512_srlv_epi32(_mm512_broadcast_i32x4(load128(high)),
                                  lanes512(2 * b, 2 * b + 2, 2 * b + 4, 2 * b + 6));
    l = _mm512_and_si512(l, _mm512_set1_epi32(15));
    h = _mm512_and_si512(h, _mm512_set1_epi32(48));
    l = _mm512_sub_epi32(_mm512_or_si512(l, h), _mm512_set1_epi32(32));
    __m512 d = _mm512_broadcast_f32x4(four_halves(g, offsetof(struct block_iq4_xs, d), false));
    o->d[0] = _mm512_mul_ps(d, _mm512_cvtepi32_ps(l));
}

/* ---- sums ---------------------------------------------------------------------------------- */

INLINE __m512i pick(__m512i a, __m512i b, bool odd) { /* even or odd dwords of each lane of both */
    __m512 u = _mm512_castsi512_ps(a), v = _mm512_castsi512_ps(b);
    return _mm512_castps_si512(odd ? _mm512_shuffle_ps(u, v, 0xdd) : _mm512_shuffle_ps(u, v, 0x88));
}

/* Two rows' products: [row][low, high] in each lane, times mul where sums are packed. */
INLINE __m512i two_rows(int type, const struct quad *w, const struct quad_act *x, int r) {
    const __m512i ones = _mm512_set1_epi16(1), zero = _mm512_setzero_si512();
    __m512i v[2];
#pragma GCC unroll 2
    for (int k = 0; k < 2; k++) {
        __m512i low = _mm512_dpbusd_epi32(zero, w->low[r + k], x->low);
        __m512i high = _mm512_dpbusd_epi32(zero, w->high[r + k], x->high);
        v[k] = fmt_signed(type) ? _mm512_add_epi32(_mm512_unpacklo_epi64(low, high),
                                                   _mm512_unpackhi_epi64(low, high))
                                : _mm512_madd_epi16(_mm512_packs_epi32(low, high), ones);
    }
    return fmt_signed(type) ? _mm512_add_epi32(pick(v[0], v[1], false), pick(v[0], v[1], true))
                            : _mm512_madd_epi16(_mm512_packs_epi32(v[0], v[1]), x->mul);
}

INLINE __m512 quad_add(int type, const struct quad *w, const struct quad_act *x, __m512 acc) {
    __m512i a = two_rows(type, w, x, 0), b = two_rows(type, w, x, 2), half[2];
    half[0] = by_block(type) ? pick(a, b, false) : _mm512_shuffle_i64x2(a, b, 0x88);
    half[1] = by_block(type) ? pick(a, b, true) : _mm512_shuffle_i64x2(a, b, 0xdd);
    if (fmt_signed(type)) {
        __m512 f = _mm512_cvtepi32_ps(_mm512_sub_epi32(half[1], x->less[1])), t;
        t = _mm512_cvtepi32_ps(_mm512_sub_epi32(half[0], x->less[0]));
        t = _mm512_fmadd_ps(f, x->factor[1], _mm512_mul_ps(t, x->factor[0]));
        return _mm512_fmadd_ps(t, w->d[0], acc);
    }
    if (fmt_split(type)) {
        for (int h = 0; h < 2; h++) {
            __m512i v = half[h];
            v = fmt_offset(type) != 0 ? _mm512_sub_epi32(v, x->less[h]) : v;
            acc = _mm512_fmadd_ps(_mm512_cvtepi32_ps(v), w->d[h], acc);
        }
    } else {
        __m512i v = _mm512_add_epi32(half[0], half[1]);
        v = fmt_offset(type) != 0 ? _mm512_sub_epi32(v, x->less[0]) : v;
        acc = _mm512_fmadd_ps(_mm512_cvtepi32_ps(v), w->d[0], acc);
    }
    for (int h = 0; h < fmt_mins(type); h++) {
        acc = _mm512_fmadd_ps(w->min[h], x->s[h], acc);
    }
    return acc;
}

/* micro_sum8 of each row, from its first four lanes and its last. */
INLINE __m128 rows_sum(int type, __m512 first, __m512 last) {
#define FROM_HALF(l, i) ((i) / 2 * 8 + (l) / 2 * 4 + (i) % 2 * 2 + (l) % 2)
    __m512 v = _mm512_add_ps(first, last);
    if (!by_block(type)) {
        v = _mm512_permutexvar_ps(DWORDS(FROM_HALF), v);
    }
    __m256 u = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    return _mm_add_ps(_mm256_castps256_ps128(u), _mm256_extractf128_ps(u, 1));
#undef FROM_HALF
}

/* ---- rows ---------------------------------------------------------------------------------- */

/* g: a row of each stream. */
INLINE __m128 four_small(int type, const uint8_t *g[ROWS], const struct act_group *x,
                         int64_t n_block) {
    const int bytes = fmt_bytes(type);
    __m512 acc[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    struct quad q;
    struct quad_act a;
    int64_t i = 0;
    for (; i + 8 <= n_block; i += 8, x++) {
        streams_fetch(g, 8 * bytes);
        for (int k = 0; k < 2; k++, stream_move(g, 4 * bytes)) {
            small_quad(type, g, 4, &q);
            act_quad(type, x, k, &a);
            acc[k] = quad_add(type, &q, &a, acc[k]);
        }
    }
    streams_fetch(g, (int)(n_block - i) * bytes);
    if (n_block - i >= 4) {
        small_quad(type, g, 4, &q);
        act_quad(type, x, 0, &a);
        acc[0] = quad_add(type, &q, &a, acc[0]);
        stream_move(g, 4 * bytes);
    }
    if (n_block % 4 != 0) {
        small_quad(type, g, (int)(n_block % 4), &q);
        act_quad(type, x, n_block % 8 > 4, &a);
        acc[n_block % 8 > 4] = quad_add(type, &q, &a, acc[n_block % 8 > 4]);
    }
    return rows_sum(type, acc[0], acc[1]);
}

INLINE __m128 four_super(int type, const uint8_t *g[ROWS], const struct act_group *x,
                         int64_t n_group) {
    const int bytes = fmt_bytes(type);
    __m512 acc[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    for (int64_t i = 0; i < n_group; i++, x++, stream_move(g, bytes)) {
        struct super s;
        streams_fetch(g, bytes);
        if (type != DT_IQ4_XS) {
            load_super(type, g, &s);
        }
#pragma GCC unroll 2
        for (int k = 0; k < 2; k++) {
            struct quad q;
            struct quad_act a;
            act_quad(type, x, k, &a);
            if (type == DT_IQ4_XS) {
                iq4_quad(g, k, &q);
            } else {
                super_scales(type, &s, k, &q);
#pragma GCC unroll 4
                for (int r = 0; r < ROWS; r++) {
                    super_row(type, g[r], k, &q, r);
                }
            }
            acc[k] = quad_add(type, &q, &a, acc[k]);
        }
    }
    return rows_sum(type, acc[0], acc[1]);
}

INLINE void gemv_four(int type, const uint8_t *w, size_t row_bytes, int n_row,
                      const struct act_group *x, int64_t n_col, float *y) {
    const int apart = stream_apart(row_bytes, n_row);
    for (int i = 0; i * STREAMS < n_row; i++) {
        const int row = stream_first(apart, i);
        const uint8_t *g[ROWS];
        float v[ROWS];
        stream_at(w, row_bytes, n_row, apart, row, g);
        __m128 sum = fmt_small(type) ? four_small(type, g, x, n_col / MICRO_BLOCK)
                                     : four_super(type, g, x, n_col / 256);
        _mm_storeu_ps(v, _mm_mul_ps(_mm_set1_ps(x->d), sum));
        stream_put(v, n_row, apart, row, y);
    }
}

#define GEMV_FOUR(name, type)                                                                      \
    static void gemv_##name(const uint8_t *w, size_t row_bytes, int n_row, const void *x,          \
                            int64_t n_col, float *y) {                                             \
        gemv_four(type, w, row_bytes, n_row, x, n_col, y);                                         \
    }

#define FOUR_FORMATS(DO)                                                                           \
    DO(q4_0, DT_Q4_0)                                                                              \
    DO(q4_1, DT_Q4_1)                                                                              \
    DO(q5_0, DT_Q5_0)                                                                              \
    DO(q5_1, DT_Q5_1)                                                                              \
    DO(q2_k, DT_Q2_K)                                                                              \
    DO(q3_k, DT_Q3_K)                                                                              \
    DO(q4_k, DT_Q4_K)                                                                              \
    DO(q5_k, DT_Q5_K)                                                                              \
    DO(iq4_nl, DT_IQ4_NL)                                                                          \
    DO(iq4_xs, DT_IQ4_XS)

FOUR_FORMATS(GEMV_FOUR)

#define FOUR_ENTRY(name, type) m->fmt[type].gemv = gemv_##name;

void micro_four_init_avx512(struct micro *m) {
    FOUR_FORMATS(FOUR_ENTRY)
}
