/* micro_small_avx2.c: matrices times one to sixteen rows of activations, for processors with AVX2,
 * FMA and F16C.
 *
 * Owns the decoding of 256 columns of a row of any format into bytes, once for all rows of
 * activations, in the order of micro_small_x86.h, and the products with them. A format is one case
 * in `decode`. Refuses large batches: panels serve those. Only static functions and
 * micro_small_init_avx2. Invariant: the bits of micro_c.c.
 *
 * Sums are taken in 16 bits where they fit: 8 products of at most 31 * 127, or 4 of 63 * 127; one
 * multiply-add with the multiplier ends such a chain. Signed bytes are multiplied as their
 * magnitudes, the sign being moved to the activation.
 */
#include "kern/cpu/micro_small_x86.h"

/* Keeps a sum where it is written: compilers turn chains of additions into trees. */
#define KEEP(v) __asm__("" : "+x"(v))

#define SMALL_ROWS  2
#define SMALL_FETCH streams_fetch_once

/* 256 weights of a row, [piece][half], a dword for each block. */
struct row {
    __m256i v[4][2];
    struct scales s;
};

struct group {
    struct row r[SMALL_ROWS];
};

struct lanes {
    __m256 v[SMALL_ROWS];
};

INLINE __m256i and8(__m256i v, int mask) {
    return _mm256_and_si256(v, _mm256_set1_epi8((char)mask));
}

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
INLINE void two_bits(const uint8_t *q, struct row *o) {
    for (int h = 0; h < 2; h++) {
        __m256i x = two128(q + 16 * h, q + 32 + 16 * h);
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            o->v[k][h] = and8(right(twice(x, x, k), 0, 2, 4, 6), 3);
        }
    }
}

/* Bit b of byte c of h (column c of block b) moved to bit `to` of v, which has none there. Blocks
 * 0 to 3 come from h moved left: what a dword loses there are bits of later blocks. */
INLINE void one_bit(const uint8_t *bits, int to, struct row *o) {
    const int a = 4 - to;
    const __m256i by = _mm256_setr_epi32(0, 1, 2, 3, a, a + 1, a + 2, a + 3);
    for (int h = 0; h < 2; h++) {
        __m128i x = load128(bits + 16 * h);
        __m256i y = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_slli_epi32(x, to)), x, 1);
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            __m256i z = and8(_mm256_srlv_epi32(twice(y, y, k), by), 1 << to);
            o->v[k][h] = _mm256_or_si256(o->v[k][h], z);
        }
    }
}

/* Byte 32 i + c: column c of block 2 i, and of 2 i + 1 in the high nibble. */
INLINE void k4_nibbles(const uint8_t *q, struct row *o) {
    for (int h = 0; h < 2; h++, q += 16) {
        __m256i a = two128(q, q + 64), b = two128(q + 32, q + 96);
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            o->v[k][h] = and8(right(twice(a, b, k), 0, 4, 0, 4), 15);
        }
    }
}

INLINE void six_bits(const struct block_q6_k *s, struct row *o) {
    for (int h = 0; h < 2; h++) {
        const uint8_t *q = s->ql + 16 * h;
        __m256i a = two128(q, q + 64), b = two128(q + 32, q + 96);
        __m256i low[2] = {_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b)};
        __m256i x = two128(s->qh + 16 * h, s->qh + 32 + 16 * h), x4 = _mm256_slli_epi32(x, 4);
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            __m256i y = k % 2 ? _mm256_shuffle_epi32(low[k / 2], 0xee)
                              : _mm256_shuffle_epi32(low[k / 2], 0x44);
            y = and8(right(y, 0, 0, 4, 4), 15);
            __m256i z = and8(right(twice(x4, x, k), 0, 2, 0, 2), 48);
            o->v[k][h] = _mm256_or_si256(y, z);
        }
    }
}

/* Blocks of 16 bytes, `step` apart: low nibbles are half 0, high ones half 1. */
INLINE void half_nibbles(const uint8_t *q, int step, struct row *o) {
    __m256i x[4], y[4];
    for (int i = 0; i < 4; i++) {
        x[i] = two128(q + i * step, q + (4 + i) * step);
    }
    for (int i = 0; i < 2; i++) {
        y[i] = _mm256_unpacklo_epi32(x[2 * i], x[2 * i + 1]);
        y[2 + i] = _mm256_unpackhi_epi32(x[2 * i], x[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        x[2 * i] = _mm256_unpacklo_epi64(y[2 * i], y[2 * i + 1]);
        x[2 * i + 1] = _mm256_unpackhi_epi64(y[2 * i], y[2 * i + 1]);
    }
    for (int k = 0; k < 4; k++) {
        o->v[k][0] = and8(x[k], 15);
        o->v[k][1] = and8(_mm256_srli_epi16(x[k], 4), 15);
    }
}

/* Bit 16 h + c of each block's word is the fifth of column c of half h. */
INLINE void fifth(const uint8_t *bits, int step, struct row *o) {
    uint32_t word[8];
    for (int b = 0; b < 8; b++) {
        memcpy(&word[b], bits + b * step, sizeof word[b]);
    }
    const __m256i x = load256(word);
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        const int h = i / 4, k = i % 4, byte = (2 * h + k / 2) * 0x01010101;
        const __m256i spread = _mm256_broadcastsi128_si256(
            _mm_setr_epi32(byte, byte + 0x04040404, byte + 0x08080808, byte + 0x0c0c0c0c));
        const __m256i bit = _mm256_set1_epi32(k % 2 ? (int)0x80402010 : 0x08040201);
        __m256i y = _mm256_and_si256(_mm256_shuffle_epi8(x, spread), bit);
        y = and8(_mm256_cmpeq_epi8(y, bit), 16);
        o->v[k][h] = _mm256_or_si256(o->v[k][h], y);
    }
}

INLINE void iq4_values(struct row *o) {
    const __m256i table = _mm256_broadcastsi128_si256(load128(quant_iq4_values));
    for (int k = 0; k < 4; k++) {
        for (int h = 0; h < 2; h++) {
            o->v[k][h] = _mm256_shuffle_epi8(table, o->v[k][h]);
        }
    }
}

/* Eight blocks of 32 bytes, `step` apart: 8 x 8 dwords. */
INLINE void whole_bytes(const uint8_t *q, int step, __m256i v[4][2]) {
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
        v[k][0] = _mm256_permute2x128_si256(b[k], b[k + 4], 0x20);
        v[k][1] = _mm256_permute2x128_si256(b[k], b[k + 4], 0x31);
    }
}

/* A whole group of one row. */
INLINE void decode_row(int type, const uint8_t *g, struct row *o) {
    o->s = group_scales(type, g);
    switch (type) {
    case DT_Q2_K: two_bits(((const struct block_q2_k *)g)->q, o); break;
    case DT_Q3_K:
        two_bits(((const struct block_q3_k *)g)->q, o);
        one_bit(((const struct block_q3_k *)g)->h, 2, o);
        break;
    case DT_Q4_K: k4_nibbles(((const struct block_q4_k *)g)->q, o); break;
    case DT_Q5_K:
        k4_nibbles(((const struct block_q5_k *)g)->q, o);
        one_bit(((const struct block_q5_k *)g)->h, 4, o);
        break;
    case DT_Q6_K: six_bits((const struct block_q6_k *)g, o); break;
    case DT_Q8_K: whole_bytes((const uint8_t *)((const struct block_q8_k *)g)->q, 32, o->v); break;
    case DT_Q8_0: whole_bytes(g + 2, (int)sizeof(struct block_q8_0), o->v); break;
    case DT_Q4_0:
    case DT_IQ4_NL: half_nibbles(g + 2, fmt_bytes(type), o); break;
    case DT_Q4_1: half_nibbles(g + 4, fmt_bytes(type), o); break;
    case DT_Q5_0:
        half_nibbles(g + 6, fmt_bytes(type), o);
        fifth(g + 2, fmt_bytes(type), o);
        break;
    case DT_Q5_1:
        half_nibbles(g + 8, fmt_bytes(type), o);
        fifth(g + 4, fmt_bytes(type), o);
        break;
    default: half_nibbles(((const struct block_iq4_xs *)g)->q, 16, o); break;
    }
    if (type == DT_IQ4_NL || type == DT_IQ4_XS) {
        iq4_values(o);
    }
}

INLINE void decode(int type, const uint8_t *const g[SMALL_ROWS], struct group *o) {
    for (int r = 0; r < SMALL_ROWS; r++) {
        decode_row(type, g[r], &o->r[r]);
    }
}

/* ---- products ----------------------------------------------------------------------------- */

/* Half h of the rows and n_tok <= 2 rows of activations, as int32: multiplied by mul where the
 * bytes are unsigned. */
INLINE void half_dots(int type, const struct group *w, const struct small_group *const *x,
                      int n_tok, int h, __m256i dot[2][SMALL_ROWS]) {
    const int chain = fmt_bits(type) == 6 ? 2 : 4;
    const __m256i one = _mm256_set1_epi16(1);
    __m256i sum[2][SMALL_ROWS];
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        for (int t = 0; t < n_tok; t++) {
            __m256i q = load256(x[t]->q[k][h]);
            KEEP(q); /* in a register: loads are what limits */
            for (int r = 0; r < SMALL_ROWS; r++) {
                __m256i v = w->r[r].v[k][h], p;
                if (fmt_signed(type)) {
                    p = _mm256_maddubs_epi16(_mm256_abs_epi8(v), _mm256_sign_epi8(q, v));
                    p = _mm256_madd_epi16(p, one);
                    dot[t][r] = k == 0 ? p : _mm256_add_epi32(dot[t][r], p);
                    KEEP(dot[t][r]);
                    continue;
                }
                p = _mm256_maddubs_epi16(v, q);
                sum[t][r] = k % chain == 0 ? p : _mm256_add_epi16(sum[t][r], p);
                KEEP(sum[t][r]);
                if (k % chain == chain - 1) {
                    p = _mm256_madd_epi16(sum[t][r], load256(x[t]->mul[h]));
                    dot[t][r] = k < chain ? p : _mm256_add_epi32(dot[t][r], p);
                }
            }
        }
    }
}

/* One group of the rows and n_tok <= 2 rows of activations, added to acc[t]. */
INLINE void pair_add(int type, const struct group *w, const struct small_group *const *x, int n_tok,
                     struct lanes *acc) {
    const int bits = fmt_offset(type) != 0 ? __builtin_ctz((unsigned)fmt_offset(type)) : 0;
    __m256i dot[2][2][SMALL_ROWS];
    for (int h = 0; h < 2; h++) {
        half_dots(type, w, x, n_tok, h, dot[h]);
    }
    for (int t = 0; t < n_tok; t++) {
        for (int r = 0; r < SMALL_ROWS; r++) {
            const struct scales *s = &w->r[r].s;
            __m256i a = dot[0][t][r], b = dot[1][t][r];
            __m256 sum = acc[t].v[r];
            __m256i pa = load256(x[t]->prod[0]), pb = load256(x[t]->prod[1]);
            if (fmt_signed(type)) {
                __m256 f = _mm256_mul_ps(_mm256_cvtepi32_ps(a), _mm256_load_ps(x[t]->factor[0]));
                f = _mm256_fmadd_ps(_mm256_cvtepi32_ps(b), _mm256_load_ps(x[t]->factor[1]), f);
                sum = _mm256_fmadd_ps(f, s->d[0], sum);
            } else if (fmt_split(type)) {
                if (fmt_offset(type) != 0) {
                    a = _mm256_sub_epi32(a, _mm256_slli_epi32(pa, bits));
                    b = _mm256_sub_epi32(b, _mm256_slli_epi32(pb, bits));
                }
                sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(a), s->d[0], sum);
                sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(b), s->d[1], sum);
            } else {
                a = _mm256_add_epi32(a, b);
                if (fmt_offset(type) != 0) {
                    a = _mm256_sub_epi32(a, _mm256_slli_epi32(_mm256_add_epi32(pa, pb), bits));
                }
                sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(a), s->d[0], sum);
            }
            if (fmt_mins(type) == 1) {
                sum = _mm256_fmadd_ps(s->min[0], _mm256_load_ps(x[t]->s), sum);
            } else if (fmt_mins(type) == 2) {
                sum = _mm256_fmadd_ps(s->min[0], _mm256_cvtepi32_ps(pa), sum);
                sum = _mm256_fmadd_ps(s->min[1], _mm256_cvtepi32_ps(pb), sum);
            }
            acc[t].v[r] = sum;
        }
    }
}

/* Group i of the rows and n_tok rows of activations, added to acc[t]. */
INLINE void group_add(int type, const struct group *w, const void *const *x, int n_tok, int64_t i,
                      struct lanes *acc) {
    int t = 0;
    for (; t + 2 <= n_tok; t += 2) {
        const struct small_group *two[2] = {(const struct small_group *)x[t] + i,
                                            (const struct small_group *)x[t + 1] + i};
        pair_add(type, w, two, 2, acc + t);
    }
    if (t < n_tok) {
        const struct small_group *last = (const struct small_group *)x[t] + i;
        pair_add(type, w, &last, 1, acc + t);
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
        __m256i v[4][2];
        whole_bytes((const uint8_t *)x->q, MICRO_BLOCK, v);
        memcpy(o->q, v, sizeof o->q);
        for (int h = 0; h < 2; h++) {
            __m256i pair = half_of(x->pair, h);
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
    m->arrange = arrange_avx2;
    small_init(m, 2);
    m->fmt[DT_IQ4_NL].small_min = 1;
    m->fmt[DT_IQ4_XS].small_min = 1;
}
