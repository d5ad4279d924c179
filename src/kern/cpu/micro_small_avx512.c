/* micro_small_avx512.c: matrices times one to sixteen rows of activations, for processors with
 * AVX-512 (F, BW, VL, DQ, VBMI) and VNNI.
 *
 * Owns the decoding of 256 columns of a row of any format into registers, once for all rows of
 * activations, in the order of micro_small_x86.h, and the products with them. A format is one case
 * in `decode`; a product is one function over the kind. Refuses large batches: panels serve those.
 * Only static functions and micro_small_init_avx512. Invariant: the bits of micro_c.c.
 */
#include "kern/cpu/micro_bits_avx512.h"
#include "kern/cpu/micro_small_x86.h"

/* 256 weights as unsigned bytes, dword (h, b) of piece k in v[k]; signed ones plus 128. */
struct group {
    __m512i v[4];
    struct scales s;
};

/* Eight values, one for each block, for both halves, and `more` for the second. */
#define EACH(a, b, c, d, e, f, g, h, more)                                                         \
    _mm512_setr_epi32((a), (b), (c), (d), (e), (f), (g), (h), (a) + (more), (b) + (more),          \
                      (c) + (more), (d) + (more), (e) + (more), (f) + (more), (g) + (more),        \
                      (h) + (more))

INLINE __m512i plus(__m512i v, int k) {
    return _mm512_add_epi32(v, _mm512_set1_epi32(k));
}

/* Fields of `mask` in 64 bytes of a format with four fields in a byte: bits 2t, 2t + 1 of byte
 * 32 i + c are column c of block 4 i + t. */
INLINE void two_bits(const uint8_t *q, __m512i v[4]) {
    const __m512i from = EACH(0, 0, 0, 0, 8, 8, 8, 8, 4), by = EACH(0, 2, 4, 6, 0, 2, 4, 6, 0);
    __m512i x = load512(q);
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        v[k] = and8(_mm512_srlv_epi32(_mm512_permutexvar_epi32(plus(from, k), x), by), 3);
    }
}

/* Bit b of byte c of h (column c of block b) moved to bit `to` of v, which has none there. */
INLINE void one_bit(const uint8_t *h, int to, __m512i v[4]) {
    const __m512i from = EACH(0, 0, 0, 0, 0, 0, 0, 0, 4);
    const __m512i by = EACH(to, to - 1, to - 2, to - 3, to - 4, to - 5, to - 6, to - 7, 0);
    __m512i x = _mm512_castsi256_si512(load256(h));
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        __m512i y = _mm512_permutexvar_epi32(plus(from, k), x);
        v[k] = merge(v[k], _mm512_rolv_epi32(y, by), 1 << to);
    }
}

/* Nibbles: dword from[..] + k of lo and hi, moved right. */
INLINE void four_bits(__m512i lo, __m512i hi, __m512i from, __m512i by, __m512i v[4]) {
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        __m512i x = _mm512_permutex2var_epi32(lo, plus(from, k), hi);
        v[k] = and8(_mm512_srlv_epi32(x, by), 15);
    }
}

INLINE void k4_nibbles(const uint8_t *q, __m512i v[4]) {
    four_bits(load512(q), load512(q + 64), EACH(0, 0, 8, 8, 16, 16, 24, 24, 4),
              EACH(0, 4, 0, 4, 0, 4, 0, 4, 0), v);
}

INLINE void six_bits(const struct block_q6_k *s, __m512i v[4]) {
    const __m512i from = EACH(0, 0, 0, 0, 8, 8, 8, 8, 4), by = EACH(4, 2, 0, -2, 4, 2, 0, -2, 0);
    __m512i x = load512(s->qh);
    four_bits(load512(s->ql), load512(s->ql + 64), EACH(0, 8, 0, 8, 16, 24, 16, 24, 4),
              EACH(0, 0, 4, 4, 0, 0, 4, 4, 0), v);
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        __m512i y = _mm512_permutexvar_epi32(plus(from, k), x);
        v[k] = merge(v[k], _mm512_rolv_epi32(y, by), 48);
    }
}

/* Blocks of 16 bytes, `step` apart: low nibbles are half 0, high ones half 1. */
INLINE void half_nibbles(const uint8_t *q, int step, __m512i v[4]) {
    __m512i x[2];
    for (int i = 0; i < 2; i++, q += 4 * step) {
        if (step == 16) {
            x[i] = load512(q);
            continue;
        }
        x[i] = _mm512_castsi128_si512(load128(q));
        x[i] = _mm512_mask_broadcast_i32x4(x[i], 0x00f0, load128(q + step));
        x[i] = _mm512_mask_broadcast_i32x4(x[i], 0x0f00, load128(q + 2 * step));
        x[i] = _mm512_mask_broadcast_i32x4(x[i], 0xf000, load128(q + 3 * step));
    }
    const __m512i by = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 4, 4, 4, 4, 4, 4, 4, 4);
    four_bits(x[0], x[1], EACH(0, 4, 8, 12, 16, 20, 24, 28, 0), by, v);
}

INLINE void iq4_values(__m512i v[4]) {
    __m128i table = _mm_xor_si128(load128(quant_iq4_values), _mm_set1_epi8((char)128));
    for (int k = 0; k < 4; k++) {
        v[k] = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), v[k]);
    }
}

/* Bit 16 h + c of each block's word is the fifth of column c of half h. */
INLINE void fifth_bits512(const uint8_t *h, int step, __m512i v[4]) {
    uint32_t word[8];
    for (int b = 0; b < 8; b++) {
        memcpy(&word[b], h + b * step, sizeof word[b]);
    }
    __m512i x = _mm512_broadcast_i64x4(load256(word));
    x = _mm512_srlv_epi32(x, EACH(0, 0, 0, 0, 0, 0, 0, 0, 16)); /* a half's sixteen bits */
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        const int byte = k / 2 * 0x01010101;
        const __m512i spread = _mm512_broadcast_i32x4(
            _mm_setr_epi32(byte, byte + 0x04040404, byte + 0x08080808, byte + 0x0c0c0c0c));
        const __m512i bit = _mm512_set1_epi32(k % 2 ? (int)0x80402010 : 0x08040201);
        __mmask64 there = _mm512_test_epi8_mask(_mm512_shuffle_epi8(x, spread), bit);
        v[k] = _mm512_mask_add_epi8(v[k], there, v[k], _mm512_set1_epi8(16));
    }
}

/* Eight blocks of 32 bytes, `step` apart. */
INLINE void whole_bytes(const uint8_t *q, int step, __m512i v[4]) {
    const __m512i low = _mm512_setr_epi32(0, 8, 16, 24, 4, 12, 20, 28, 1, 9, 17, 25, 5, 13, 21, 29);
    const __m512i even = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    __m512i a[2][2];
    for (int i = 0; i < 2; i++) {
        __m512i x[2];
        for (int j = 0; j < 2; j++, q += 2 * step) {
            x[j] = step == 32 ? load512(q)
                              : _mm512_inserti64x4(_mm512_castsi256_si512(load256(q)),
                                                   load256(q + step), 1);
            x[j] = _mm512_xor_si512(x[j], _mm512_set1_epi8((char)128));
        }
        a[0][i] = _mm512_permutex2var_epi32(x[0], low, x[1]);
        a[1][i] = _mm512_permutex2var_epi32(x[0], plus(low, 2), x[1]);
    }
    for (int k = 0; k < 4; k++) {
        v[k] = _mm512_permutex2var_epi32(a[k / 2][0], plus(even, k % 2 * 8), a[k / 2][1]);
    }
}

/* Integers in bytes [half][block] times a scale. */
INLINE void both_halves(__m512i v, f16_t d, __m256 out[2]) {
    __m512 x = _mm512_mul_ps(_mm512_cvtepi32_ps(v), _mm512_broadcast_f32x8(half1(d)));
    out[0] = _mm512_castps512_ps256(x);
    out[1] = _mm512_extractf32x8_ps(x, 1);
}

INLINE struct scales decode_scales(int type, const uint8_t *g) {
    struct scales s;
    switch (type) {
    case DT_Q4_K:
    case DT_Q5_K: return pair_scales(g);
    case DT_Q2_K: {
        const struct block_q2_k *b = (const struct block_q2_k *)g;
        __m512i x = _mm512_cvtepu8_epi32(by_half(load128(b->sc)));
        both_halves(_mm512_and_si512(x, _mm512_set1_epi32(15)), b->d, s.d);
        both_halves(_mm512_srli_epi32(x, 4), b->dmin ^ 0x8000, s.min);
        return s;
    }
    case DT_Q3_K: {
        const struct block_q3_k *b = (const struct block_q3_k *)g;
        both_halves(_mm512_cvtepi8_epi32(by_half(q3_scales(b->sc))), b->d, s.d);
        return s;
    }
    case DT_Q6_K: {
        const struct block_q6_k *b = (const struct block_q6_k *)g;
        both_halves(_mm512_cvtepi8_epi32(by_half(load128(b->sc))), b->d, s.d);
        return s;
    }
    default:
        return group_scales(
            type, (const uint8_t *const[2]){g, fmt_small(type) ? g + 4 * fmt_bytes(type) : NULL});
    }
}

/* A whole group. */
INLINE void decode(int type, const uint8_t *g, struct group *o) {
    o->s = decode_scales(type, g);
    switch (type) {
    case DT_Q2_K: two_bits(((const struct block_q2_k *)g)->q, o->v); break;
    case DT_Q3_K:
        two_bits(((const struct block_q3_k *)g)->q, o->v);
        one_bit(((const struct block_q3_k *)g)->h, 2, o->v);
        break;
    case DT_Q4_K: k4_nibbles(((const struct block_q4_k *)g)->q, o->v); break;
    case DT_Q5_K:
        k4_nibbles(((const struct block_q5_k *)g)->q, o->v);
        one_bit(((const struct block_q5_k *)g)->h, 4, o->v);
        break;
    case DT_Q6_K: six_bits((const struct block_q6_k *)g, o->v); break;
    case DT_Q8_K: whole_bytes((const uint8_t *)((const struct block_q8_k *)g)->q, 32, o->v); break;
    case DT_Q8_0: whole_bytes(g + 2, (int)sizeof(struct block_q8_0), o->v); break;
    case DT_Q4_0:
    case DT_IQ4_NL: half_nibbles(g + 2, fmt_bytes(type), o->v); break;
    case DT_Q4_1: half_nibbles(g + 4, fmt_bytes(type), o->v); break;
    case DT_Q5_0:
        half_nibbles(g + 6, fmt_bytes(type), o->v);
        fifth_bits512(g + 2, fmt_bytes(type), o->v);
        break;
    case DT_Q5_1:
        half_nibbles(g + 8, fmt_bytes(type), o->v);
        fifth_bits512(g + 4, fmt_bytes(type), o->v);
        break;
    default: half_nibbles(g + offsetof(struct block_iq4_xs, q), 16, o->v); break;
    }
    if (type == DT_IQ4_NL || type == DT_IQ4_XS) {
        iq4_values(o->v);
    }
}

INLINE __m256 upper(__m512 v) {
    return _mm512_extractf32x8_ps(v, 1);
}

/* Adds the products of one group of `rows` rows and one row of activations to their eight lanes. */
INLINE void row_add(int type, int rows, const struct group *w, const struct small_group *x,
                    __m256 acc[2]) {
    const __m512i zero = _mm512_setzero_si512();
    __m512i q[4], mul = load512(x->mul);
    for (int k = 0; k < 4; k++) {
        q[k] = load512(x->q[k]);
    }
    for (int r = 0; r < rows; r++, w++) {
        __m512i dot = zero, more = zero;
        if (fmt_signed(type) || fmt_offset(type) != 0) {
            int bits = fmt_signed(type) ? 7 : __builtin_ctz((unsigned)fmt_offset(type));
            dot = _mm512_slli_epi32(load512(x->minus), (unsigned)bits);
        }
        dot = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(dot, w->v[0], q[0]), w->v[1], q[1]);
        more = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(more, w->v[2], q[2]), w->v[3], q[3]);
        dot = _mm512_add_epi32(dot, more);
        if (fmt_signed(type)) {
            __m512 f = _mm512_cvtepi32_ps(dot), m = _mm512_cvtepi32_ps(mul);
            __m256 t = _mm256_mul_ps(_mm512_castps512_ps256(f), _mm512_castps512_ps256(m));
            t = _mm256_fmadd_ps(upper(f), upper(m), t);
            acc[r] = _mm256_fmadd_ps(t, w->s.d[0], acc[r]);
            continue;
        }
        dot = _mm512_mullo_epi32(dot, mul);
        if (fmt_split(type)) {
            __m512 f = _mm512_cvtepi32_ps(dot);
            acc[r] = _mm256_fmadd_ps(_mm512_castps512_ps256(f), w->s.d[0], acc[r]);
            acc[r] = _mm256_fmadd_ps(upper(f), w->s.d[1], acc[r]);
        } else {
            __m256i both =
                _mm256_add_epi32(_mm512_castsi512_si256(dot), _mm512_extracti64x4_epi64(dot, 1));
            acc[r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(both), w->s.d[0], acc[r]);
        }
        if (fmt_mins(type) == 1) {
            acc[r] = _mm256_fmadd_ps(w->s.min[0], _mm256_load_ps(x->s), acc[r]);
        } else if (fmt_mins(type) == 2) {
            __m512 f = _mm512_cvtepi32_ps(load512(x->prod));
            acc[r] = _mm256_fmadd_ps(w->s.min[0], _mm512_castps512_ps256(f), acc[r]);
            acc[r] = _mm256_fmadd_ps(w->s.min[1], upper(f), acc[r]);
        }
    }
}

/* Group i of `rows` rows and n_tok rows of activations, added to acc[t][row]. */
INLINE void group_add(int type, int rows, const struct group *w, const void *const *x, int n_tok,
                      int64_t i, __m256 (*acc)[2]) {
    for (int t = 0; t < n_tok; t++) {
        row_add(type, rows, w, (const struct small_group *)x[t] + i, acc[t]);
    }
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
        __m512i mul = _mm512_permutexvar_epi32(half, load512(x->mul));
        __m512i sum = _mm512_permutexvar_epi32(half, load512(x->sum));
        _mm512_storeu_si512(o->mul, mul);
        _mm512_storeu_si512(o->minus, _mm512_sub_epi32(_mm512_setzero_si512(), sum));
        _mm512_storeu_si512(o->pair, _mm512_or_si512(mul, _mm512_slli_epi32(mul, 16)));
        _mm512_storeu_si512(o->prod, _mm512_mullo_epi32(mul, sum));
        _mm256_storeu_ps(o->s, _mm256_loadu_ps(x->s));
        o->d = x->d;
    }
}

void micro_small_init_avx512(struct micro *m) {
    m->gemm_min = 8;
    m->arrange = arrange_avx512;
    small_init(m);
    m->fmt[DT_Q2_K].small_min = 1;
    m->fmt[DT_Q3_K].small_min = 1;
    m->fmt[DT_Q5_K].small_min = 1;
    m->fmt[DT_IQ4_NL].small_min = 1;
    m->fmt[DT_IQ4_XS].small_min = 1;
}
