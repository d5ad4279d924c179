/* micro_four_avx512.c: quantized matrices times one row of activations, four rows of weights side
 * by side, for processors with AVX-512 (F, BW, VL, DQ, VBMI), VNNI and GFNI.
 *
 * Owns the formats whose decoding costs more than reading them: what ends a block's sum is done for
 * four rows at once. Refuses formats that rows by themselves take as fast as memory gives them
 * (micro_gemv_avx512.c), and several rows of activations (micro_small_avx512.c). Only static
 * functions and micro_four_init_avx512. Invariant: the bits of micro_c.c; nothing behind the matrix
 * is read, and what is read behind a row has scales of zero.
 *
 * The unit is a quad: four blocks of 32 columns of four rows. A register of a row has 16 columns of
 * a block in each 128-bit lane, one set in the low bits of its bytes and another in those above,
 * its two parts. The octets of two rows are laid in turn, so that two multiply-adds leave each row
 * only two sums in a lane:
 *   before  row 0: o0 o1   row 1: o0 o1        after  o0 of rows 0, 1   o1 of rows 0, 1
 * Sums of eight products of less than six bits, or of six less their offset, fit in 16 bits: those
 * of four rows are packed into one register, multiplied and added by one instruction. The results,
 * scales and minimums are [block][row].
 */
#include "kern/cpu/micro_bits_avx512.h"

#define ROWS STREAMS

/* A quad of four rows. */
struct quad {
    __m512i v[2][4];     /* [part][2 * (row / 2) + octet]; signed bytes plus 128 */
    __m512 d[2], min[2]; /* [0] alone where not split */
};

/* A quad of activations: as few bytes as there can be, since all of a row pass for each four rows
 * of weights, and from L2 where they are many. */
struct quad_act {
    _Alignas(64) int8_t q[2][4][16]; /* [part][lane] */
    int32_t mul[2][4];               /* [half][block]: twice as int16, or as float (signed) */
    /* What is added: an offset of the products before they are summed, [part][lane][dword]; or
     * [half][block] afterwards, [0] alone where not split; or what minimums are multiplied by. */
    int32_t more[2][8];
    float d; /* of the row */
};

struct vector_group {
    struct quad_act quad[2];
};

/* ---- places ---------------------------------------------------------------------------------- */

/* Blocks have 16 bytes of nibbles each, the low ones half 0, the high ones half 1: a lane is a
 * block, a part is a half. In the other formats the bits of a byte belong to several blocks, and a
 * lane is a half of one. */
INLINE bool by_block(int type) {
    return fmt_small(type) || type == DT_IQ4_XS;
}

/* The block of lane l of a part of quad k. */
INLINE int lane_block(int type, int k, int part, int l) {
    return by_block(type)                       ? 4 * k + l
           : type == DT_Q2_K || type == DT_Q3_K ? 4 * (l / 2) + 2 * k + part
           : type == DT_Q6_K                    ? 4 * k + 2 * part + l / 2
                                                : 4 * k + 2 * (l / 2) + part;
}

/* Block j of a quad's sums. */
INLINE int sum_block(int type, int k, int j) {
    return by_block(type) ? 4 * k + j : lane_block(type, k, j / 2, j % 2 * 2);
}

/* An offset that is taken off the bytes before their sums are packed, or could not be. */
INLINE int early_offset(int type) {
    return fmt_signed(type) ? 128 : type == DT_Q6_K ? 32 : 0;
}

INLINE int late_offset(int type) {
    return type == DT_Q6_K ? 0 : fmt_offset(type);
}

/* ---- activations ----------------------------------------------------------------------------- */

/* What belongs to block j of the sums. */
INLINE void act_block(int type, const struct act_group *x, int k, int j, struct quad_act *o) {
    const int b = sum_block(type, k, j);
    const int32_t prod[2] = {x->prod[micro_half(b, 0)], x->prod[micro_half(b, 1)]};
    for (int h = 0; h < 2; h++) {
        const int mul = micro_mul(x, b, h);
        o->mul[h][j] = fmt_signed(type) ? (int32_t)f32_bits((float)mul) : mul * 0x10001;
        if (fmt_split(type) && late_offset(type) != 0) {
            o->more[h][j] = -late_offset(type) * prod[h];
        } else if (fmt_mins(type) == 2) {
            o->more[h][j] = (int32_t)f32_bits((float)prod[h]);
        }
    }
    if (!fmt_split(type) && late_offset(type) != 0) {
        o->more[0][j] = -late_offset(type) * (prod[0] + prod[1]);
    } else if (fmt_mins(type) == 1) {
        o->more[0][j] = (int32_t)f32_bits(x->s[b]);
    }
}

INLINE void act_quad(int type, const struct act_group *x, int k, struct quad_act *o) {
    for (int p = 0; p < 2; p++) {
        __m128i q[4];
        for (int l = 0; l < 4; l++) {
            const int half = by_block(type) ? p : l % 2;
            q[l] = load128(x->q + MICRO_BLOCK * lane_block(type, k, p, l) + 16 * half);
        }
        const __m512i v = four128(q[0], q[1], q[2], q[3]);
        store512(o->q[p], v);
        if (early_offset(type) != 0) { /* of columns 4 i to + 3 and + 8 to + 11 of each lane */
            const __m512i low = _mm512_setr_epi64(0, 2, 4, 6, 0, 2, 4, 6);
            __m512i sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), v);
            sum = _mm512_add_epi32(sum, _mm512_shuffle_epi32(sum, 0x4e));
            sum = _mm512_mullo_epi32(sum, _mm512_set1_epi32(-early_offset(type)));
            sum = _mm512_permutexvar_epi64(low, sum);
            _mm256_storeu_si256((__m256i *)(void *)o->more[p], _mm512_castsi512_si256(sum));
        }
    }
    for (int j = 0; j < 4; j++) {
        act_block(type, x, k, j, o);
    }
    o->d = x->d;
}

INLINE void act_group_four(int type, const struct act_group *x, struct vector_group *o) {
    act_quad(type, x, 0, &o->quad[0]);
    act_quad(type, x, 1, &o->quad[1]);
}

/* ---- bits ------------------------------------------------------------------------------------ */

/* The matrix that moves n bits of each byte from bit `from` on to bit `to` on, and clears the
 * others. */
INLINE int64_t moved(int n, int from, int to) {
    uint64_t m = 0;
    for (int i = 0; i < n; i++) {
        m |= UINT64_C(1) << (from + i) << (8 * (7 - to - i));
    }
    return (int64_t)m;
}

INLINE __m512i move_bits(__m512i v, int n, int from, int to) {
    return _mm512_gf2p8affine_epi64_epi8(v, _mm512_set1_epi64(moved(n, from, to)), 0);
}

/* From bit a in lanes 0 and 1, b in the others. */
INLINE __m512i move_two(__m512i v, int n, int a, int b, int to) {
    const int64_t low = moved(n, a, to), high = moved(n, b, to);
    return _mm512_gf2p8affine_epi64_epi8(
        v, _mm512_setr_epi64(low, low, low, low, high, high, high, high), 0);
}

/* Of each row's lanes of two octets: octets of rows 0 and 1, then of 2 and 3. */
INLINE void octets(const __m512i row[ROWS], __m512i o[4]) {
    for (int r = 0; r < ROWS; r += 2) {
        o[r] = _mm512_unpacklo_epi64(row[r], row[r + 1]);
        o[r + 1] = _mm512_unpackhi_epi64(row[r], row[r + 1]);
    }
}

INLINE void nibbles512(const __m512i o[4], struct quad *q) {
    for (int i = 0; i < 4; i++) {
        q->v[0][i] = and8(o[i], 15);
        q->v[1][i] = move_bits(o[i], 4, 4, 0);
    }
}

INLINE void iq4_values(struct quad *q) {
    for (int i = 0; i < 8; i++) {
        q->v[i / 4][i % 4] = iq4_bytes(q->v[i / 4][i % 4]);
    }
}

/* ---- blocks of 32 ---------------------------------------------------------------------------- */

/* A quad's bytes as two registers, which may overlap: its first 64, and its last 32 or 64. A load
 * that crosses a line of the cache takes as long as two. */
struct ends {
    __m512i first, last;
};

INLINE int last_bytes(int type) {
    return fmt_bits(type) == 5 ? 64 : 32;
}

/* Where `last` begins. */
INLINE int last_at(int type) {
    return 4 * fmt_bytes(type) - last_bytes(type);
}

/* All four blocks are read. */
INLINE struct ends load_ends(int type, const uint8_t *g) {
    const uint8_t *last = g + last_at(type);
    return (struct ends){
        load512(g), last_bytes(type) == 64 ? load512(last) : _mm512_castsi256_si512(load256(last))};
}

/* The first `there` of them, as zeros the others. */
INLINE struct ends load_some(int type, const uint8_t *g, int there) {
    const int n = there * fmt_bytes(type), behind = n - last_at(type);
    const __mmask64 first = n >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1;
    const __mmask64 last = behind > 0 ? (UINT64_C(1) << behind) - 1 : 0;
    return (struct ends){_mm512_maskz_loadu_epi8(first, g),
                         _mm512_maskz_loadu_epi8(last, g + last_at(type))};
}

/* Sixteen bytes of each block, which begin at byte `at` of it, one block a lane. Those of blocks 0,
 * 1 and perhaps 2 are whole in the first register. */
INLINE __m512i lanes_at(int type, struct ends e, int at) {
    const int bytes = fmt_bytes(type), off = last_at(type);
    const bool second = 2 * bytes + at + 16 > 64; /* block 2 is whole in the last only */
    const uint64_t last = second ? UINT64_C(0xffffffff00000000) : UINT64_C(0xffff000000000000);
    const __m512i row =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    __m512i place =
        lane_bytes(at, bytes + at, 2 * bytes + at - (second ? off : 0), 3 * bytes + at - off);
    place = _mm512_add_epi8(place, row);
    return _mm512_mask_permutexvar_epi8(_mm512_permutexvar_epi8(place, e.first), last, place,
                                        e.last);
}

/* Row r's f16 at bytes 0 and 2 of each block, to words [block][row] of each half of `to`; of blocks
 * of four bits, whose heads are all in the first register. */
INLINE __m512i heads(int type, struct ends e, int r, __m512i to) {
    const int bytes = fmt_bytes(type);
#define PAIR(b, k) (((b)*bytes + (k) + 1) << 8 | ((b)*bytes + (k)))
#define FOUR(b, k) _mm_set1_epi16((short)PAIR(b, k))
    const __m512i place = four128(
        _mm_unpacklo_epi64(FOUR(0, 0), FOUR(1, 0)), _mm_unpacklo_epi64(FOUR(2, 0), FOUR(3, 0)),
        _mm_unpacklo_epi64(FOUR(0, 2), FOUR(1, 2)), _mm_unpacklo_epi64(FOUR(2, 2), FOUR(3, 2)));
#undef PAIR
#undef FOUR
    const __mmask64 mine = UINT64_C(0x0303030303030303) << (2 * r);
    return _mm512_mask_permutexvar_epi8(to, mine, place, e.first);
}

/* The first octet of each of `there` blocks of two rows, [block][row]. */
INLINE __m512i block_octets(int type, const uint8_t *a, const uint8_t *b, int there) {
    __m128i v[4];
    for (int i = 0; i < 4; i++) {
        v[i] = _mm_setzero_si128();
        if (i < there) {
            __m128i low = _mm_loadl_epi64((const __m128i *)(const void *)(a + i * fmt_bytes(type)));
            __m128i high =
                _mm_loadl_epi64((const __m128i *)(const void *)(b + i * fmt_bytes(type)));
            v[i] = _mm_unpacklo_epi64(low, high);
        }
    }
    return four128(v[0], v[1], v[2], v[3]);
}

/* Word i of each block's first octet, rows 0 and 1 in a, 2 and 3 in b, as f16: [block][row]. */
INLINE __m256i octet_words(__m512i a, __m512i b, int i) {
    const __m256i each =
        _mm256_setr_epi16(0, 4, 32, 36, 8, 12, 40, 44, 16, 20, 48, 52, 24, 28, 56, 60);
    __m512i place = _mm512_castsi256_si512(_mm256_add_epi16(each, _mm256_set1_epi16((short)i)));
    return _mm512_castsi512_si256(_mm512_permutex2var_epi16(a, place, b));
}

/* Bit `from` + c of a block's first octet is the fifth of column c. */
INLINE void fifth_bits512(const __m512i octet[2], int from, struct quad *q) {
    const __m512i place = _mm512_set1_epi64(0x0706050403020100);
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        const int first = from + 16 * (i / 4) + 8 * (i % 2) - 4;
        __m512i at = _mm512_add_epi8(place, _mm512_set1_epi8((char)first));
        __m512i bit = _mm512_multishift_epi64_epi8(at, octet[i % 4 / 2]);
        q->v[i / 4][i % 4] = merge(q->v[i / 4][i % 4], bit, 16);
    }
}

/* What begins the blocks: scales and minimums, as f16, and fifth bits. */
INLINE void five_heads(int type, const uint8_t *const g[ROWS], int there, struct quad *q,
                       __m256i head[2]) {
    const __m512i octet[2] = {block_octets(type, g[0], g[1], there),
                              block_octets(type, g[2], g[3], there)};
    head[0] = octet_words(octet[0], octet[1], 0);
    head[1] = octet_words(octet[0], octet[1], 1);
    fifth_bits512(octet, type == DT_Q5_1 ? 32 : 16, q);
}

/* `there` of the four blocks, the others with scales of zero. They are read, too, since another row
 * of four blocks at least follows, but not where this is the matrix's end. */
INLINE void small_quad(int type, const uint8_t *const g[ROWS], int there, bool end,
                       struct quad *q) {
    const int at = type == DT_Q4_1 ? 4 : type == DT_Q5_0 ? 6 : type == DT_Q5_1 ? 8 : 2;
    const __mmask16 some = (__mmask16)((1u << (there * ROWS)) - 1);
    __m512i all = _mm512_setzero_si512(), row[ROWS], o[4];
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; r++) {
        struct ends e = end ? load_some(type, g[r], there) : load_ends(type, g[r]);
        row[r] = lanes_at(type, e, at);
        all = fmt_bits(type) == 5 ? all : heads(type, e, r, all);
    }
    __m256i head[2] = {_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1)};
    octets(row, o);
    nibbles512(o, q);
    if (fmt_bits(type) == 5) {
        five_heads(type, g, end ? there : 4, q, head);
    }
    if (type == DT_IQ4_NL) {
        iq4_values(q);
    }
    q->d[0] = _mm512_maskz_cvtph_ps(some, head[0]);
    if (fmt_mins(type) != 0) {
        q->min[0] = _mm512_maskz_cvtph_ps(some, head[1]);
    }
}

/* ---- super-blocks ---------------------------------------------------------------------------- */

/* What both quads of four rows share. */
struct super {
    __m512i byte;            /* scales, one row to a lane */
    __m512 d, min;           /* [any block][row] */
    __m512i low[4], high[4]; /* octets of bits that belong to both quads */
};

/* Sixteen bytes of each row. */
INLINE __m512i four_lanes(const uint8_t *const g[ROWS], size_t at) {
    __m512i v = _mm512_castsi128_si512(load128(g[0] + at));
    v = _mm512_mask_broadcast_i32x4(v, 0x00f0, load128(g[1] + at));
    v = _mm512_mask_broadcast_i32x4(v, 0x0f00, load128(g[2] + at));
    return _mm512_mask_broadcast_i32x4(v, 0xf000, load128(g[3] + at));
}

/* An f16 of each row. */
INLINE __m512 four_halves(const uint8_t *const g[ROWS], size_t at) {
    uint64_t all = 0;
    for (int r = 0; r < ROWS; r++) {
        f16_t h;
        memcpy(&h, g[r] + at, sizeof h);
        all |= (uint64_t)h << (16 * r);
    }
    return _mm512_broadcast_f32x4(_mm_cvtph_ps(_mm_cvtsi64_si128((long long)all)));
}

INLINE __m512i lanes512(int a, int b, int c, int d) { /* a dword for all of each lane */
    return _mm512_setr_epi32(a, a, a, a, b, b, b, b, c, c, c, c, d, d, d, d);
}

/* Scales and minimums of Q4_K and Q5_K, of six bits: eight bytes each. See k4_scales. */
INLINE __m512i k4_bytes(__m512i x) {
    const __m512i low = _mm512_broadcast_i32x4(
        _mm_setr_epi8(4, 5, 6, 7, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15));
    const __m512i high = _mm512_broadcast_i32x4(
        _mm_setr_epi8(-1, -1, -1, -1, 4, 5, 6, 7, -1, -1, -1, -1, 8, 9, 10, 11));
    const __m512i mask =
        _mm512_broadcast_i32x4(_mm_setr_epi32(0x3f3f3f3f, 0x0f0f0f0f, 0x3f3f3f3f, 0x0f0f0f0f));
    const __m512i shift = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0, 0, 0x04040404));
    __m512i u = rotate(_mm512_shuffle_epi8(x, low), shift);
    __m512i v = move_bits(_mm512_shuffle_epi8(x, high), 2, 6, 4);
    return _mm512_ternarylogic_epi32(u, mask, v, 0xea); /* (u & mask) | v */
}

/* The f16 at words i and i + 8, i + 16, i + 24 of x: [any block][row]. */
INLINE __m512 word_halves(__m512i x, int i) {
    const __m256i at = _mm256_set1_epi64x(0x0018001000080000);
    __m512i place = _mm512_castsi256_si512(_mm256_add_epi16(at, _mm256_set1_epi16((short)i)));
    return _mm512_cvtph_ps(_mm512_castsi512_si256(_mm512_permutexvar_epi16(place, x)));
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

/* Octets of 32 bytes of each row, in lanes 0 and 1 and again in the others. */
INLINE void octets_twice(const uint8_t *const g[ROWS], size_t at, __m512i o[4]) {
    __m512i row[ROWS];
    for (int r = 0; r < ROWS; r++) {
        row[r] = _mm512_broadcast_i64x4(load256(g[r] + at));
    }
    octets(row, o);
}

INLINE void octets_at(const uint8_t *const g[ROWS], size_t at, __m512i o[4]) {
    __m512i row[ROWS];
    for (int r = 0; r < ROWS; r++) {
        row[r] = load512(g[r] + at);
    }
    octets(row, o);
}

INLINE void load_super(int type, const uint8_t *const g[ROWS], struct super *o) {
    switch (type) {
    case DT_Q2_K:
        o->byte = four_lanes(g, offsetof(struct block_q2_k, sc));
        o->d = four_halves(g, offsetof(struct block_q2_k, d));
        o->min = four_halves(g, offsetof(struct block_q2_k, dmin));
        octets_at(g, offsetof(struct block_q2_k, q), o->low);
        break;
    case DT_Q3_K:
        o->byte = q3_bytes(g);
        o->d = four_halves(g, offsetof(struct block_q3_k, d));
        octets_at(g, offsetof(struct block_q3_k, q), o->low);
        octets_twice(g, offsetof(struct block_q3_k, h), o->high);
        break;
    case DT_Q6_K:
        o->byte = four_lanes(g, offsetof(struct block_q6_k, sc));
        o->d = four_halves(g, offsetof(struct block_q6_k, d));
        break;
    default: {
        __m512i x = four_lanes(g, 0);
        o->byte = k4_bytes(x);
        o->d = word_halves(x, 0);
        o->min = word_halves(x, 1);
        if (type == DT_Q5_K) {
            octets_twice(g, offsetof(struct block_q5_k, h), o->high);
        }
    }
    }
}

/* Bytes of the quad's blocks, `step` apart from `first` on, as floats [block][row]; two's
 * complement, if they are signed. */
INLINE __m512 spread_bytes(int type, __m512i v, int k, int first, int step, bool sign) {
    const __m512i row = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 16, 32, 48));
    __m512i at = lanes512(sum_block(type, k, 0), sum_block(type, k, 1), sum_block(type, k, 2),
                          sum_block(type, k, 3));
    at = _mm512_mullo_epi32(at, _mm512_set1_epi32(step));
    at = _mm512_add_epi32(at, _mm512_add_epi32(row, _mm512_set1_epi32(first)));
    if (sign) {
        at = _mm512_slli_epi32(at, 24);
        v = _mm512_maskz_permutexvar_epi8(UINT64_C(0x8888888888888888), at, v);
        return _mm512_cvtepi32_ps(_mm512_srai_epi32(v, 24));
    }
    v = _mm512_maskz_permutexvar_epi8(UINT64_C(0x1111111111111111), at, v);
    return _mm512_cvtepi32_ps(v);
}

INLINE void super_scales(int type, const struct super *s, int k, struct quad *q) {
    if (!fmt_split(type)) {
        q->d[0] = _mm512_mul_ps(s->d, spread_bytes(type, s->byte, k, 0, 1, false));
        q->min[0] = _mm512_mul_ps(s->min, spread_bytes(type, s->byte, k, 8, 1, false));
        return;
    }
    __m512i byte = s->byte;
    if (type == DT_Q3_K) {
        byte = _mm512_sub_epi8(byte, _mm512_set1_epi8(32));
    } else if (type == DT_Q2_K) {
        byte = and8(byte, 15);
    }
    for (int h = 0; h < 2; h++) {
        q->d[h] = _mm512_mul_ps(s->d, spread_bytes(type, byte, k, h, 2, type != DT_Q2_K));
    }
    for (int h = 0; h < fmt_mins(type); h++) {
        __m512i less = and8(_mm512_srli_epi16(s->byte, 4), 15);
        q->min[h] = _mm512_mul_ps(s->min, spread_bytes(type, less, k, h, 2, false));
    }
}

INLINE void super_quad(int type, const uint8_t *const g[ROWS], const struct super *s, int k,
                       struct quad *q) {
    const size_t at = type == DT_Q4_K   ? offsetof(struct block_q4_k, q)
                      : type == DT_Q5_K ? offsetof(struct block_q5_k, q)
                                        : offsetof(struct block_q6_k, ql);
    __m512i o[4], h[4];
    if (type == DT_Q2_K || type == DT_Q3_K) {
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            const int t = 2 * k + i / 4; /* lanes 0 and 1: block t, the others: t + 4 */
            __m512i v = s->low[i % 4];
            v = t == 0 && type == DT_Q2_K ? and8(v, 3) : move_bits(v, 2, 2 * t, 0);
            if (type == DT_Q3_K) {
                v = _mm512_or_si512(v, move_two(s->high[i % 4], 1, t, t + 4, 2));
            }
            q->v[i / 4][i % 4] = v;
        }
        return;
    }
    octets_at(g, at + 64 * (size_t)k, o);
    if (type == DT_Q4_K) {
        nibbles512(o, q);
        return;
    }
    if (type == DT_Q6_K) {
        octets_twice(g, offsetof(struct block_q6_k, qh) + 32 * (size_t)k, h);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m512i high[2];
        for (int p = 0; p < 2; p++) {
            high[p] = type == DT_Q6_K ? move_two(h[i], 2, 4 * p, 4 * p + 2, 4)
                                      : move_two(s->high[i], 1, 4 * k + p, 4 * k + 2 + p, 4);
        }
        q->v[0][i] = merge(high[0], o[i], 15);
        q->v[1][i] = _mm512_or_si512(move_bits(o[i], 4, 4, 0), high[1]);
    }
}

/* Quad k of IQ4_XS. See iq4_scales. */
INLINE void iq4_quad(const uint8_t *const g[ROWS], int k, struct quad *q) {
    int32_t low[ROWS], high[ROWS];
    __m512i o[4];
    for (int r = 0; r < ROWS; r++) {
        const struct block_iq4_xs *b = (const struct block_iq4_xs *)g[r];
        memcpy(&low[r], b->sc_l, sizeof low[r]);
        high[r] = b->sc_h << 4;
    }
    octets_at(g, offsetof(struct block_iq4_xs, q) + 64 * (size_t)k, o);
    nibbles512(o, q);
    iq4_values(q);
    const int b = 4 * k;
    __m512i l = _mm512_srlv_epi32(_mm512_broadcast_i32x4(load128(low)),
                                  lanes512(4 * b, 4 * b + 4, 4 * b + 8, 4 * b + 12));
    __m512i h = _mm512_srlv_epi32(_mm512_broadcast_i32x4(load128(high)),
                                  lanes512(2 * b, 2 * b + 2, 2 * b + 4, 2 * b + 6));
    l = _mm512_and_si512(l, _mm512_set1_epi32(15));
    h = _mm512_and_si512(h, _mm512_set1_epi32(48));
    l = _mm512_sub_epi32(_mm512_or_si512(l, h), _mm512_set1_epi32(32));
    q->d[0] =
        _mm512_mul_ps(four_halves(g, offsetof(struct block_iq4_xs, d)), _mm512_cvtepi32_ps(l));
}

/* ---- sums ------------------------------------------------------------------------------------ */

INLINE __m512i pick(__m512i a, __m512i b, bool odd) { /* even or odd dwords of each lane of both */
    __m512 u = _mm512_castsi512_ps(a), v = _mm512_castsi512_ps(b);
    return _mm512_castps_si512(odd ? _mm512_shuffle_ps(u, v, 0xdd) : _mm512_shuffle_ps(u, v, 0x88));
}

/* Octet i of each lane, for both rows: as doubles, since no operation on integers does both at
 * once. */
INLINE __m512i octet_twice(const int8_t q[4][16], int i) {
    __m512d v = _mm512_loadu_pd(q);
    return _mm512_castpd_si512(i ? _mm512_permute_pd(v, 0xff) : _mm512_movedup_pd(v));
}

/* A dword for all of each lane, in one operation on floats. */
INLINE __m512 lanes_of(const int32_t v[4]) {
    __m512 all = _mm512_castsi512_ps(_mm512_broadcast_i32x4(load128(v)));
    return _mm512_permutevar_ps(all, lanes512(0, 1, 2, 3));
}

/* Two dwords for both rows of each lane. */
INLINE __m512i pairs_of(const int32_t v[8]) {
    const __m512i twice = _mm512_setr_epi64(0, 0, 1, 1, 2, 2, 3, 3);
    return _mm512_permutexvar_epi64(twice, _mm512_castsi256_si512(load256(v)));
}

/* Two sums for each row of a lane: dwords of rows 0 and 1, and of 2 and 3. */
INLINE void part_dots(int type, const struct quad *w, const struct quad_act *x, int p,
                      __m512i dot[2]) {
    const __m512i q[2] = {octet_twice(x->q[p], 0), octet_twice(x->q[p], 1)};
    const __m512i start = early_offset(type) != 0 ? pairs_of(x->more[p]) : _mm512_setzero_si512();
    for (int i = 0; i < 2; i++) {
        dot[i] = _mm512_dpbusd_epi32(start, w->v[p][2 * i], q[0]);
        dot[i] = _mm512_dpbusd_epi32(dot[i], w->v[p][2 * i + 1], q[1]);
    }
}

/* Signed bytes, whose sums do not fit in 16 bits. */
INLINE __m512 wide_add(const struct quad *w, const struct quad_act *x, __m512i dot[2][2],
                       __m512 acc) {
    __m512 f[2];
    for (int h = 0; h < 2; h++) {
        __m512i even = pick(dot[h][0], dot[h][1], false), odd = pick(dot[h][0], dot[h][1], true);
        f[h] = _mm512_cvtepi32_ps(_mm512_add_epi32(even, odd));
    }
    __m512 t = _mm512_mul_ps(f[0], lanes_of(x->mul[0]));
    return _mm512_fmadd_ps(_mm512_fmadd_ps(f[1], lanes_of(x->mul[1]), t), w->d[0], acc);
}

INLINE __m512 quad_add(int type, const struct quad *w, const struct quad_act *x, __m512 acc) {
    __m512i dot[2][2], pack[2], half[2];
    for (int p = 0; p < 2; p++) {
        part_dots(type, w, x, p, dot[p]);
        pack[p] = _mm512_packs_epi32(dot[p][0], dot[p][1]);
    }
    if (fmt_signed(type)) {
        return wide_add(w, x, dot, acc);
    }
    half[0] = by_block(type) ? pack[0] : _mm512_shuffle_i64x2(pack[0], pack[1], 0x88);
    half[1] = by_block(type) ? pack[1] : _mm512_shuffle_i64x2(pack[0], pack[1], 0xdd);
    __m512i v = _mm512_setzero_si512();
    for (int h = 0; h < 2; h++) {
        const bool first = h == 0 || fmt_split(type);
        const __m512i mul = _mm512_castps_si512(lanes_of(x->mul[h]));
        v = !first ? _mm512_dpwssd_epi32(v, half[h], mul)
            : late_offset(type) != 0
                ? _mm512_dpwssd_epi32(_mm512_castps_si512(lanes_of(x->more[h])), half[h], mul)
                : _mm512_madd_epi16(half[h], mul);
        if (fmt_split(type)) {
            acc = _mm512_fmadd_ps(_mm512_cvtepi32_ps(v), w->d[h], acc);
        }
    }
    if (!fmt_split(type)) {
        acc = _mm512_fmadd_ps(_mm512_cvtepi32_ps(v), w->d[0], acc);
    }
    for (int h = 0; h < fmt_mins(type); h++) { /* super-blocks have them with the sign turned */
        acc = fmt_small(type) ? _mm512_fmadd_ps(w->min[h], lanes_of(x->more[h]), acc)
                              : _mm512_fnmadd_ps(w->min[h], lanes_of(x->more[h]), acc);
    }
    return acc;
}

/* micro_sum8 of each row. */
INLINE __m128 rows_sum(int type, __m512 a, __m512 b) {
    __m512 v;
    if (sum_block(type, 0, 1) == 4) { /* blocks 0 4 1 5, 2 6 3 7 */
        v = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
    } else {
        v = _mm512_add_ps(a, b);
        v = sum_block(type, 0, 1) == 2 ? _mm512_shuffle_f32x4(v, v, 0xd8) : v; /* 0 2 1 3 */
    }
    __m256 u = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    return _mm_add_ps(_mm256_castps256_ps128(u), _mm256_extractf128_ps(u, 1));
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* g: a row of each stream, of which `end` says that the matrix may end with one of them. */
INLINE __m128 four_small(int type, const uint8_t *g[ROWS], bool end, const struct vector_group *x,
                         int64_t n_block) {
    const int bytes = fmt_bytes(type);
    __m512 acc[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    struct quad q;
    int64_t i = 0;
    for (; i + 8 <= n_block; i += 8, x++) {
        streams_fetch(g, 8 * bytes);
        for (int k = 0; k < 2; k++, stream_move(g, 4 * bytes)) {
            small_quad(type, g, 4, false, &q);
            acc[k] = quad_add(type, &q, &x->quad[k], acc[k]);
        }
    }
    streams_fetch(g, (int)(n_block - i) * bytes);
    if (n_block - i >= 4) {
        small_quad(type, g, 4, false, &q);
        acc[0] = quad_add(type, &q, &x->quad[0], acc[0]);
        stream_move(g, 4 * bytes);
    }
    if (n_block % 4 != 0) {
        const bool second = n_block % 8 > 4; /* an index would send the sums through memory */
        if (end || n_block < 4) {
            small_quad(type, g, (int)(n_block % 4), true, &q);
        } else {
            small_quad(type, g, (int)(n_block % 4), false, &q);
        }
        __m512 sum = quad_add(type, &q, &x->quad[second], second ? acc[1] : acc[0]);
        acc[0] = second ? acc[0] : sum;
        acc[1] = second ? sum : acc[1];
    }
    return rows_sum(type, acc[0], acc[1]);
}

INLINE __m128 four_super(int type, const uint8_t *g[ROWS], const struct vector_group *x,
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
            if (type == DT_IQ4_XS) {
                iq4_quad(g, k, &q);
            } else {
                super_scales(type, &s, k, &q);
                super_quad(type, g, &s, k, &q);
            }
            acc[k] = quad_add(type, &q, &x->quad[k], acc[k]);
        }
    }
    return rows_sum(type, acc[0], acc[1]);
}

INLINE __m128 four_rows(int type, const uint8_t *g[ROWS], bool end, const struct vector_group *x,
                        int64_t n_col) {
    __m128 sum = fmt_small(type) ? four_small(type, g, end, x, n_col / MICRO_BLOCK)
                                 : four_super(type, g, x, n_col / 256);
    return _mm_mul_ps(_mm_set1_ps(x->quad[0].d), sum);
}

#include "kern/cpu/micro_four_rows.h"

#define FOUR_FORMATS(DO)                                                                           \
    UNSIGNED_FORMATS(DO)                                                                           \
    DO(iq4_nl, DT_IQ4_NL)                                                                          \
    DO(iq4_xs, DT_IQ4_XS)

FOUR_FORMATS(GEMV_FOUR)

void micro_four_init_avx512(struct micro *m) {
    FOUR_FORMATS(FOUR_ENTRY)
}
