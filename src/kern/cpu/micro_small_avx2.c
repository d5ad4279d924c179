/* micro_small_avx2.c: matrices times one to sixteen rows of activations, for processors with AVX2,
 * FMA and F16C.
 *
 * Owns the decoding of 256 columns of a row of any format into bytes, once for all rows of
 * activations, in the order of micro_small_x86.h, and the products with them. A format is a case
 * in `decode_row`, in `half_bytes`, or in both. Refuses large batches: panels serve those. Only
 * static functions and micro_small_init_avx2. Invariant: the bits of micro_c.c.
 *
 * Sums of 8 products are taken in 16 bits, where they fit: of at most 31 * 127, or, once their
 * offset is off, of -32 * 127, however additions wrap before. One multiply-add with the multiplier
 * ends such a chain. Signed bytes are multiplied as their magnitudes, the sign being moved to the
 * activation.
 */
#include "kern/cpu/micro_small_x86.h"

#define SMALL_ROWS 2

/* 256 weights of a row. Bits of super-blocks are taken apart half by half; of others what is not
 * done for one half alone is here. */
struct row {
    const uint8_t *g;
    __m256i v[2][4]; /* [half][piece], a dword for each block; [0] alone has both nibbles */
    __m256i fifth;   /* a word of fifth bits for each block */
    struct scales s;
};

struct group {
    struct row r[SMALL_ROWS];
};

struct lanes {
    __m256 v[SMALL_ROWS];
};

/* Right by a, b, c, d bits in each 128. */
INLINE __m256i right(__m256i v, int a, int b, int c, int d) {
    return _mm256_srlv_epi32(v, _mm256_setr_epi32(a, b, c, d, a, b, c, d));
}

/* Dword k of a, twice, and of b, twice. */
INLINE __m256i twice(__m256i a, __m256i b, int k) {
    __m256 x = _mm256_castsi256_ps(a), y = _mm256_castsi256_ps(b);
    return _mm256_castps_si256(k == 0   ? _mm256_shuffle_ps(x, y, 0x00)
                               : k == 1 ? _mm256_shuffle_ps(x, y, 0x55)
                               : k == 2 ? _mm256_shuffle_ps(x, y, 0xaa)
                                        : _mm256_shuffle_ps(x, y, 0xff));
}

/* ---- bytes ------------------------------------------------------------------------------- */

/* Bits 2t, 2t + 1 of byte 32 i + c are column c of block 4 i + t. */
INLINE void two_bits(const uint8_t *q, int h, __m256i v[4]) {
    __m256i x = two128(q + 16 * h, q + 32 + 16 * h);
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        v[k] = shift_mask(right(twice(x, x, k), 0, 2, 4, 6), 0, 3);
    }
}

/* Bit b of byte c of h (column c of block b) moved to bit `to` of v, which has none there. Blocks
 * 0 to 3 come from h moved left: what a dword loses there are bits of later blocks. */
INLINE void one_bit(const uint8_t *bits, int h, int to, __m256i v[4]) {
    const int a = 4 - to;
    const __m256i by = _mm256_setr_epi32(0, 1, 2, 3, a, a + 1, a + 2, a + 3);
    __m128i x = load128(bits + 16 * h);
    __m256i y = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_slli_epi32(x, to)), x, 1);
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        __m256i z = shift_mask(_mm256_srlv_epi32(twice(y, y, k), by), 0, 1 << to);
        v[k] = _mm256_or_si256(v[k], z);
    }
}

/* Byte 32 i + c: column c of block 2 i, and of 2 i + 1 in the high nibble. */
INLINE void k4_nibbles(const uint8_t *q, int h, __m256i v[4]) {
    q += 16 * h;
    __m256i a = two128(q, q + 64), b = two128(q + 32, q + 96);
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        v[k] = shift_mask(right(twice(a, b, k), 0, 4, 0, 4), 0, 15);
    }
}

/* Dwords of four blocks in each lane, [block][piece], to [piece][block]. */
INLINE void turn(const __m256i x[4], __m256i v[4]) {
    __m256i y[4];
    for (int i = 0; i < 2; i++) {
        y[i] = _mm256_unpacklo_epi32(x[2 * i], x[2 * i + 1]);
        y[2 + i] = _mm256_unpackhi_epi32(x[2 * i], x[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        v[2 * i] = _mm256_unpacklo_epi64(y[2 * i], y[2 * i + 1]);
        v[2 * i + 1] = _mm256_unpackhi_epi64(y[2 * i], y[2 * i + 1]);
    }
}

/* Of each 128 columns, byte 32 i + c of the nibbles: column c of block i, and of i + 2 in the high
 * one; bits 2 t, 2 t + 1 of byte c of the others: column c of block t. */
INLINE void six_bits(const struct block_q6_k *s, int h, __m256i v[4]) {
    const uint8_t *q = s->ql + 16 * h;
    const __m256i a = two128(q, q + 64), b = two128(q + 32, q + 96);
    const __m256i x = two128(s->qh + 16 * h, s->qh + 32 + 16 * h);
    const __m256i block[4] = {
        _mm256_or_si256(shift_mask(a, 0, 15), shift_mask(x, 4, 48)),
        _mm256_or_si256(shift_mask(b, 0, 15), shift_mask(x, 2, 48)),
        _mm256_or_si256(shift_mask(a, -4, 15), shift_mask(x, 0, 48)),
        _mm256_or_si256(shift_mask(b, -4, 15), shift_mask(x, -2, 48)),
    };
    turn(block, v);
}

/* Blocks of 16 bytes, `step` apart: low nibbles are half 0, high ones half 1. */
INLINE void half_nibbles(const uint8_t *q, int step, struct row *o) {
    __m256i x[4];
    for (int i = 0; i < 4; i++) {
        x[i] = two128(q + i * step, q + (4 + i) * step);
    }
    turn(x, o->v[0]);
}

/* The fifth bits of eight blocks, `step` apart. */
INLINE __m256i fifth_words(const uint8_t *bits, int step) {
    uint32_t word[8];
    for (int b = 0; b < 8; b++) {
        memcpy(&word[b], bits + b * step, sizeof word[b]);
    }
    return load256(word);
}

/* Bit 16 h + c of each block's word is the fifth of column c of half h. */
INLINE void fifth(__m256i words, int h, __m256i v[4]) {
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        const int byte = (2 * h + k / 2) * 0x01010101;
        const __m256i spread = _mm256_broadcastsi128_si256(
            _mm_setr_epi32(byte, byte + 0x04040404, byte + 0x08080808, byte + 0x0c0c0c0c));
        const __m256i bit = _mm256_set1_epi32(k % 2 ? (int)0x80402010 : 0x08040201);
        __m256i y = _mm256_and_si256(_mm256_shuffle_epi8(words, spread), bit);
        v[k] = _mm256_or_si256(v[k], shift_mask(_mm256_cmpeq_epi8(y, bit), 0, 16));
    }
}

INLINE void iq4_values(__m256i v[4]) {
    const __m256i table = _mm256_broadcastsi128_si256(load128(quant_iq4_values));
    for (int k = 0; k < 4; k++) {
        v[k] = _mm256_shuffle_epi8(table, v[k]);
    }
}

/* Eight blocks of 32 bytes, `step` apart: 8 x 8 dwords. */
INLINE void whole_bytes(const uint8_t *q, int step, __m256i v[2][4]) {
    __m256i a[8], b[8];
    for (int i = 0; i < 4; i++) {
        __m256i x = load256(q + 2 * i * step), y = load256(q + (2 * i + 1) * step);
        a[2 * i] = _mm256_unpacklo_epi32(x, y);
        a[2 * i + 1] = _mm256_unpackhi_epi32(x, y);
    }
    for (int i = 0; i < 2; i++) {
        b[4 * i] = _mm256_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
        b[4 * i + 1] = _mm256_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
        b[4 * i + 2] = _mm256_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
        b[4 * i + 3] = _mm256_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
    }
    for (int k = 0; k < 4; k++) {
        v[0][k] = _mm256_permute2x128_si256(b[k], b[k + 4], 0x20);
        v[1][k] = _mm256_permute2x128_si256(b[k], b[k + 4], 0x31);
    }
}

/* What both halves of a row share. */
INLINE void decode_row(int type, const uint8_t *g, struct row *o) {
    const int bytes = fmt_bytes(type);
    o->g = g;
    o->s = group_scales(type, g);
    switch (type) {
    case DT_Q8_K: whole_bytes((const uint8_t *)((const struct block_q8_k *)g)->q, 32, o->v); break;
    case DT_Q8_0: whole_bytes(g + 2, bytes, o->v); break;
    case DT_Q4_0:
    case DT_IQ4_NL: half_nibbles(g + 2, bytes, o); break;
    case DT_Q4_1: half_nibbles(g + 4, bytes, o); break;
    case DT_Q5_0:
        half_nibbles(g + 6, bytes, o);
        o->fifth = fifth_words(g + 2, bytes);
        break;
    case DT_Q5_1:
        half_nibbles(g + 8, bytes, o);
        o->fifth = fifth_words(g + 4, bytes);
        break;
    case DT_IQ4_XS: half_nibbles(((const struct block_iq4_xs *)g)->q, 16, o); break;
    default: break;
    }
}

/* The bytes of half h, [piece]. */
INLINE void half_bytes(int type, const struct row *w, int h, __m256i v[4]) {
    switch (type) {
    case DT_Q2_K: two_bits(((const struct block_q2_k *)w->g)->q, h, v); break;
    case DT_Q3_K:
        two_bits(((const struct block_q3_k *)w->g)->q, h, v);
        one_bit(((const struct block_q3_k *)w->g)->h, h, 2, v);
        break;
    case DT_Q4_K: k4_nibbles(((const struct block_q4_k *)w->g)->q, h, v); break;
    case DT_Q5_K:
        k4_nibbles(((const struct block_q5_k *)w->g)->q, h, v);
        one_bit(((const struct block_q5_k *)w->g)->h, h, 4, v);
        break;
    case DT_Q6_K: six_bits((const struct block_q6_k *)w->g, h, v); break;
    case DT_Q8_0:
    case DT_Q8_K:
        for (int k = 0; k < 4; k++) {
            v[k] = w->v[h][k];
        }
        break;
    default:
        for (int k = 0; k < 4; k++) {
            v[k] = shift_mask(w->v[0][k], -4 * h, 15);
        }
    }
    if (fmt_small(type) && fmt_bits(type) == 5) {
        fifth(w->fifth, h, v);
    }
    if (type == DT_IQ4_NL || type == DT_IQ4_XS) {
        iq4_values(v);
    }
}

INLINE void decode(int type, const uint8_t *const g[SMALL_ROWS], struct group *o) {
    for (int r = 0; r < SMALL_ROWS; r++) {
        decode_row(type, g[r], &o->r[r]);
    }
}

/* ---- products ----------------------------------------------------------------------------- */

/* Half h of the rows and of a row of activations, as int32: multiplied by mul where the bytes are
 * unsigned. */
INLINE void half_dots(int type, const __m256i w[SMALL_ROWS][4], const struct small_group *x, int h,
                      __m256i dot[SMALL_ROWS]) {
    const __m256i one = _mm256_set1_epi16(1);
    __m256i sum[SMALL_ROWS];
    for (int r = 0; r < SMALL_ROWS && fmt_bits(type) == 6; r++) {
        sum[r] = load256(x->minus[h]);
    }
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        __m256i q = load256(x->q[k][h]);
        KEEP(q); /* in a register: loads are what limits */
        for (int r = 0; r < SMALL_ROWS; r++) {
            __m256i p;
            if (fmt_signed(type)) {
                p = _mm256_maddubs_epi16(_mm256_abs_epi8(w[r][k]), _mm256_sign_epi8(q, w[r][k]));
                p = _mm256_madd_epi16(p, one);
                dot[r] = k == 0 ? p : _mm256_add_epi32(dot[r], p);
                KEEP(dot[r]);
                continue;
            }
            p = _mm256_maddubs_epi16(w[r][k], q);
            sum[r] = k == 0 && fmt_bits(type) != 6 ? p : _mm256_add_epi16(sum[r], p);
            KEEP(sum[r]);
            if (k == 3) {
                dot[r] = _mm256_madd_epi16(sum[r], load256(x->mul[h]));
            }
        }
    }
}

/* Adds half h of the eight blocks, whose sum is dot, to acc; what half 0 leaves for half 1, where
 * one scale has both, is in part. */
INLINE __m256 half_end(int type, const struct scales *s, const struct small_group *x, int h,
                       __m256i dot, __m256i *part, __m256 acc) {
    const int late = fmt_bits(type) == 6 ? 0 : fmt_offset(type); /* what is not in the sums */
    const int bits = late != 0 ? __builtin_ctz((unsigned)late) : 0;
    const __m256i prod[2] = {load256(x->prod[0]), load256(x->prod[1])};
    if (fmt_split(type)) {
        if (late != 0) {
            dot = _mm256_sub_epi32(dot, _mm256_slli_epi32(prod[h], bits));
        }
        acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), s->d[h], acc);
        for (int i = 0; i < 2 && h == 1 && fmt_mins(type) != 0; i++) {
            acc = _mm256_fmadd_ps(s->min[i], _mm256_cvtepi32_ps(prod[i]), acc);
        }
        return acc;
    }
    if (fmt_signed(type)) {
        __m256 f = _mm256_cvtepi32_ps(dot), factor = _mm256_load_ps(x->factor[h]);
        if (h == 0) {
            *part = _mm256_castps_si256(_mm256_mul_ps(f, factor));
            return acc;
        }
        return _mm256_fmadd_ps(_mm256_fmadd_ps(f, factor, _mm256_castsi256_ps(*part)), s->d[0],
                               acc);
    }
    if (h == 0) {
        *part = dot;
        return acc;
    }
    dot = _mm256_add_epi32(dot, *part);
    if (late != 0) {
        dot = _mm256_sub_epi32(dot, _mm256_slli_epi32(_mm256_add_epi32(prod[0], prod[1]), bits));
    }
    acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), s->d[0], acc);
    return fmt_mins(type) != 0 ? _mm256_fmadd_ps(s->min[0], _mm256_load_ps(x->s), acc) : acc;
}

/* Group i of the rows and n_tok rows of activations, added to acc[t]: half by half, so that the
 * bytes of a half stay in registers while all rows of activations pass. */
INLINE void group_add(int type, const struct group *g, const void *const *x, int n_tok, int64_t i,
                      struct lanes *acc) {
    __m256i part[MICRO_SMALL][SMALL_ROWS];
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        __m256i w[SMALL_ROWS][4];
        for (int r = 0; r < SMALL_ROWS; r++) {
            half_bytes(type, &g->r[r], h, w[r]);
        }
        for (int t = 0; t < n_tok; t++) {
            const struct small_group *xg = (const struct small_group *)x[t] + i;
            __m256i dot[SMALL_ROWS];
            half_dots(type, w, xg, h, dot);
            for (int r = 0; r < SMALL_ROWS; r++) {
                acc[t].v[r] = half_end(type, &g->r[r].s, xg, h, dot[r], &part[t][r], acc[t].v[r]);
            }
        }
    }
}

INLINE struct lanes lanes_zero(void) {
    return (struct lanes){{_mm256_setzero_ps(), _mm256_setzero_ps()}};
}

/* The first `left` of the eight lanes of each row. */
INLINE void lanes_take(struct lanes *to, const struct lanes *from, int left) {
    const __m256i place = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256 first = _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(left), place));
    for (int r = 0; r < SMALL_ROWS; r++) {
        to->v[r] = _mm256_blendv_ps(to->v[r], from->v[r], first);
    }
}

/* The rows' sums for two rows of activations, in the order of micro_sum8, times their scales. */
INLINE void lanes_put(const struct lanes *a, const struct lanes *b, const float d[2], float *va,
                      float *vb) {
    __m256 x = _mm256_add_ps(_mm256_permute2f128_ps(a->v[0], a->v[1], 0x20),
                             _mm256_permute2f128_ps(a->v[0], a->v[1], 0x31));
    __m256 y = _mm256_add_ps(_mm256_permute2f128_ps(b->v[0], b->v[1], 0x20),
                             _mm256_permute2f128_ps(b->v[0], b->v[1], 0x31));
    x = _mm256_add_ps(_mm256_shuffle_ps(x, y, 0x44), _mm256_shuffle_ps(x, y, 0xee));
    x = _mm256_add_ps(x, _mm256_permute_ps(x, 0xb1)); /* [row][activation, twice] */
    __m128 row[SMALL_ROWS] = {_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1)};
    for (int r = 0; r < SMALL_ROWS; r++) {
        va[r] = d[0] * _mm_cvtss_f32(row[r]);
        vb[r] = d[1] * _mm_cvtss_f32(_mm_movehl_ps(row[r], row[r]));
    }
}

#include "kern/cpu/micro_small_rows.h"

static void arrange_avx2(const struct act_group *x, int64_t n_col, void *to) {
    struct small_group *o = to;
    for (int64_t i = 0; i < micro_groups(n_col); i++, x++, o++) {
        __m256i v[2][4];
        whole_bytes((const uint8_t *)x->q, MICRO_BLOCK, v);
        for (int h = 0; h < 2; h++) {
            __m256i pair = half_of(x->pair, h), sum = _mm256_setzero_si256();
            for (int k = 0; k < 4; k++) {
                _mm256_storeu_si256((__m256i *)o->q[k][h], v[h][k]);
                sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(_mm256_set1_epi8(32), v[h][k]));
            }
            sum = _mm256_sub_epi16(_mm256_setzero_si256(), sum);
            _mm256_storeu_si256((__m256i *)o->minus[h], sum);
            _mm256_storeu_si256((__m256i *)o->mul[h], pair);
            _mm256_storeu_si256((__m256i *)o->prod[h], half_of(x->prod, h));
            _mm256_storeu_ps(o->factor[h], _mm256_cvtepi32_ps(_mm256_srli_epi32(pair, 16)));
        }
        memcpy(o->s, x->s, sizeof o->s);
        o->d = x->d;
    }
}

void micro_small_init_avx2(struct micro *m) {
    m->gemm_min = 16;
    small_init(m, (struct micro_order){arrange_avx2, sizeof(struct small_group)});
    m->fmt[DT_IQ4_NL].small_min = 1;
    m->fmt[DT_IQ4_XS].small_min = 1;
}
