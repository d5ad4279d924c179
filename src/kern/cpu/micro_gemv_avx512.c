/* micro_gemv_avx512.c: quantized matrices times one row of activations, for processors with AVX-512
 * (F, BW, VL, DQ, VBMI) and VNNI.
 *
 * Owns instructions, not arithmetic: micro.h and micro_c.c define every result to the bit. One row
 * of weights passes after the other, in the order of memory: that is what a single thread reads
 * fastest. Refuses several rows of activations: micro_small_avx512.c has those.
 * Only static functions and micro_gemv_init_avx512. Invariant: nothing behind a row is read.
 */
#include "kern/cpu/micro_bits_avx512.h"

/* Six-bit scales and minimums of Q4_K and Q5_K, both times their factors, as k4_scales has them. */
INLINE struct scales pair_scales(const uint8_t *g) {
    const __m128i place = _mm_set1_epi64x(0x3830282018100800);
    const __m128i low = _mm_setr_epi8(0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 8, 9, 10, 11);
    const __m128i high = _mm_setr_epi8(-1, -1, -1, -1, 0, 1, 2, 3, -1, -1, -1, -1, 4, 5, 6, 7);
    const __m128i mask = _mm_setr_epi32(0x3f3f3f3f, 0x0f0f0f0f, 0x3f3f3f3f, 0x0f0f0f0f);
    const __m128i shift = _mm_setr_epi32(0, 0, 0, 0x04040404);
    __m128i x = _mm_srli_si128(load128(g), 4); /* the twelve bytes behind d and dmin */
    __m128i a = _mm_multishift_epi64_epi8(_mm_add_epi8(place, shift), _mm_shuffle_epi8(x, low));
    __m128i b =
        _mm_multishift_epi64_epi8(_mm_add_epi8(place, _mm_set1_epi8(2)), _mm_shuffle_epi8(x, high));
    b = _mm_and_si128(b, _mm_set1_epi8(0x30));
    a = _mm_ternarylogic_epi32(a, mask, b, 0xea); /* (a & mask) | b */
    __m512 v = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(a));
    const __m256i factor = _mm256_set_m128i(_mm_set1_epi16(1), _mm_setzero_si128());
    int32_t d;
    memcpy(&d, g, sizeof d);
    d ^= (int32_t)0x80000000; /* minimums are taken off */
    __m256i f = _mm256_permutexvar_epi16(factor, _mm256_castsi128_si256(_mm_cvtsi32_si128(d)));
    v = _mm512_mul_ps(v, _mm512_cvtph_ps(f));
    struct scales s;
    s.d[0] = _mm512_castps512_ps256(v);
    s.min[0] = _mm512_extractf32x8_ps(v, 1);
    return s;
}

/* ---- matrix times vector, quantized ---------------------------------------------------------
 *
 * 256 columns of a row are four registers of bytes, two blocks in each: 2k and 2k + 1, or, where
 * the nibbles of a byte belong to neighbouring blocks (Q4_K, Q5_K), 0 and 2, 1 and 3, 4 and 6, 5
 * and 7. Signed bytes get 128 added. One VPDPBUSD with the activations leaves four dwords for each
 * half of a block: sums of 16 products of at most 255 * 127, exact.
 */

INLINE bool fmt_pairs(int type) { /* the second order */
    return type == DT_Q4_K || type == DT_Q5_K;
}

/* A byte for all of each 128-bit lane. */
INLINE __m512i lanes(int a, int b, int c, int d) {
    return join(_mm256_set_m128i(_mm_set1_epi8((char)b), _mm_set1_epi8((char)a)),
                _mm256_set_m128i(_mm_set1_epi8((char)d), _mm_set1_epi8((char)c)));
}

/* Each byte and those above it in its eight rotated right by so many bits, lane by lane. */
INLINE __m512i rotate(__m512i v, __m512i by) {
    const __m512i place = _mm512_set1_epi64(0x3830282018100800);
    return _mm512_multishift_epi64_epi8(_mm512_add_epi8(place, by), v);
}

INLINE __m512i twice256(const void *p) {
    return _mm512_broadcast_i64x4(load256(p));
}

INLINE __m512i iq4_bytes(__m512i nibble) {
    __m128i table = _mm_xor_si128(load128(quant_iq4_values), _mm_set1_epi8((char)128));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), nibble);
}

/* A super-block's bytes. */
INLINE void super_bytes(int type, const uint8_t *g, __m512i v[4]) {
    switch (type) {
    case DT_Q4_K:
    case DT_Q5_K: {
        const uint8_t *q =
            type == DT_Q4_K ? ((const struct block_q4_k *)g)->q : ((const struct block_q5_k *)g)->q;
        for (int i = 0; i < 2; i++) {
            __m512i x = load512(q + 64 * i);
            v[2 * i] = and8(x, 15);
            v[2 * i + 1] = and8(_mm512_srli_epi16(x, 4), 15);
        }
        if (type == DT_Q5_K) {
            __m512i h = twice256(((const struct block_q5_k *)g)->h);
            v[0] = merge(v[0], rotate(h, lanes(-4, -4, -2, -2)), 16);
            v[1] = merge(v[1], rotate(h, lanes(-3, -3, -1, -1)), 16);
            v[2] = merge(v[2], rotate(h, lanes(0, 0, 2, 2)), 16);
            v[3] = merge(v[3], rotate(h, lanes(1, 1, 3, 3)), 16);
        }
        break;
    }
    case DT_Q6_K: {
        const struct block_q6_k *s = (const struct block_q6_k *)g;
        for (int i = 0; i < 2; i++) {
            __m512i x = load512(s->ql + 64 * i), h = twice256(s->qh + 32 * i);
            v[2 * i] = merge(and8(x, 15), rotate(h, lanes(-4, -4, -2, -2)), 48);
            x = and8(_mm512_srli_epi16(x, 4), 15);
            v[2 * i + 1] = merge(x, rotate(h, lanes(0, 0, 2, 2)), 48);
        }
        break;
    }
    case DT_Q2_K:
    case DT_Q3_K: {
        const uint8_t *q =
            type == DT_Q2_K ? ((const struct block_q2_k *)g)->q : ((const struct block_q3_k *)g)->q;
        for (int i = 0; i < 2; i++) {
            __m512i x = twice256(q + 32 * i);
            v[2 * i] = and8(rotate(x, lanes(0, 0, 2, 2)), 3);
            v[2 * i + 1] = and8(rotate(x, lanes(4, 4, 6, 6)), 3);
        }
        if (type == DT_Q3_K) {
            __m512i h = twice256(((const struct block_q3_k *)g)->h);
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) {
                const int a = 2 * i - 2, b = 2 * i - 1;
                v[i] = merge(v[i], rotate(h, lanes(a, a, b, b)), 4);
            }
        }
        break;
    }
    case DT_Q8_K:
        for (int i = 0; i < 4; i++) {
            v[i] = _mm512_xor_si512(load512(((const struct block_q8_k *)g)->q + 64 * i),
                                    _mm512_set1_epi8((char)128));
        }
        break;
    default: {
        const __m512i both = _mm512_setr_epi64(0, 1, 0, 1, 2, 3, 2, 3);
        const struct block_iq4_xs *s = (const struct block_iq4_xs *)g;
        for (int i = 0; i < 4; i++) {
            __m512i x = _mm512_castsi256_si512(load256(s->q + 32 * i));
            x = _mm512_permutexvar_epi64(both, x);
            v[i] = iq4_bytes(and8(rotate(x, lanes(0, 4, 0, 4)), 15));
        }
    }
    }
}

/* Where the 16 bytes of nibbles, and the fifth bits, are in a block of 32. */
INLINE int small_nibbles(int type) {
    return type == DT_Q4_1 ? 4 : type == DT_Q5_0 ? 6 : type == DT_Q5_1 ? 8 : 2;
}

/* Bytes, scales and minimums of `left` <= 8 blocks of 32 with nibbles; the others are zeros. What
 * lies behind the last of them is not read. */
INLINE void small_bytes(int type, const uint8_t *g, int left, __m512i v[4], struct scales *s) {
    const int bytes = fmt_bytes(type) & 31, at = small_nibbles(type); /* 18 to 24 */
    const __m512i row =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    const __m512i place = _mm512_add_epi8(row, lanes(at, at, bytes + at, bytes + at));
    __m512i raw[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        int n = left - 2 * i;
        __mmask64 there = (UINT64_C(1) << (2 * bytes)) - 1;
        there = n >= 2 ? there : n == 1 ? (UINT64_C(1) << bytes) - 1 : 0;
        raw[i] = _mm512_maskz_loadu_epi8(there, g + 2 * i * bytes);
        v[i] = and8(rotate(_mm512_permutexvar_epi8(place, raw[i]), lanes(0, 4, 0, 4)), 15);
        if (type == DT_IQ4_NL) {
            v[i] = iq4_bytes(v[i]);
        }
        if (fmt_bits(type) == 5) {
            uint32_t h[2] = {0, 0};
            for (int k = 0; k < 2 && k < n; k++) {
                memcpy(&h[k], g + (2 * i + k) * bytes + at - 4, sizeof h[k]);
            }
            __mmask64 fifth = (uint64_t)h[1] << 32 | h[0];
            v[i] = _mm512_mask_add_epi8(v[i], fifth, v[i], _mm512_set1_epi8(16));
        }
    }
    for (int m = 0; m < 1 + fmt_mins(type); m++) {
        /* words m and bytes / 2 + m of a pair, then four from two pairs, then eight */
        const short w = (short)m, u = (short)(bytes / 2 + m);
        const __m512i words = _mm512_castsi128_si512(
            _mm_setr_epi16(w, u, (short)(32 + w), (short)(32 + u), 0, 0, 0, 0));
        __m128i low = _mm512_castsi512_si128(_mm512_permutex2var_epi16(raw[0], words, raw[1]));
        __m128i high = _mm512_castsi512_si128(_mm512_permutex2var_epi16(raw[2], words, raw[3]));
        __m256 f = _mm256_cvtph_ps(_mm_unpacklo_epi64(low, high));
        if (m == 0) {
            s->d[0] = f;
        } else {
            s->min[0] = f;
        }
    }
}

/* The same of Q8_0. */
INLINE void q8_bytes(const uint8_t *g, int left, __m512i v[4], struct scales *s) {
    const struct block_q8_0 *b = (const struct block_q8_0 *)g;
    f16_t d[8] = {0};
    for (int j = 0; j < 8 && j < left; j++) {
        d[j] = b[j].d;
    }
    s->d[0] = _mm256_cvtph_ps(load128(d));
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m256i low = 2 * i < left ? load256(b[2 * i].q) : _mm256_setzero_si256();
        __m256i high = 2 * i + 1 < left ? load256(b[2 * i + 1].q) : _mm256_setzero_si256();
        v[i] = _mm512_xor_si512(join(low, high), _mm512_set1_epi8((char)128));
    }
}

/* The sums of four registers' lanes, each of four dwords, in micro_half's order. */
INLINE __m512i sum_halves(int type, const __m512i v[4]) {
    const __m512i order =
        fmt_pairs(type) ? _mm512_setr_epi32(0, 1, 8, 9, 4, 5, 12, 13, 2, 3, 10, 11, 6, 7, 14, 15)
                        : _mm512_setr_epi32(0, 8, 1, 9, 4, 12, 5, 13, 2, 10, 3, 11, 6, 14, 7, 15);
    __m512i a[2];
    for (int i = 0; i < 2; i++) {
        a[i] = _mm512_add_epi32(_mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]),
                                _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]));
    }
    a[0] = _mm512_add_epi32(_mm512_unpacklo_epi64(a[0], a[1]), _mm512_unpackhi_epi64(a[0], a[1]));
    return _mm512_permutexvar_epi32(order, a[0]);
}

/* Half h of the eight blocks, from micro_half's order. */
INLINE __m256 half_ps(__m512 v, int h) {
    return _mm512_castps512_ps256(h ? _mm512_shuffle_f32x4(v, v, 0x0d)
                                    : _mm512_shuffle_f32x4(v, v, 0x08));
}

/* Adds the products of one group, of which `left` blocks are there, to the eight lanes. */
INLINE __m256 group_add(int type, const uint8_t *g, int left, const struct act_group *x,
                        __m256 acc) {
    struct scales s;
    __m512i v[4], q[4];
    if (type == DT_Q8_0) {
        q8_bytes(g, left, v, &s);
    } else if (fmt_small(type)) {
        small_bytes(type, g, left, v, &s);
    } else {
        super_bytes(type, g, v);
        s = fmt_pairs(type) ? pair_scales(g)
                            : group_scales(type, (const uint8_t *const[2]){g, NULL});
    }
    for (int i = 0; i < 4; i++) {
        q[i] = load512(x->q + 64 * i);
    }
    for (int i = 0; i < 4 && fmt_pairs(type); i += 2) {
        __m512i a = q[i], b = q[i + 1];
        q[i] = _mm512_shuffle_i64x2(a, b, 0x44);
        q[i + 1] = _mm512_shuffle_i64x2(a, b, 0xee);
    }
    for (int i = 0; i < 4; i++) {
        v[i] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), v[i], q[i]);
    }
    __m512i dot = sum_halves(type, v), mul = load512(x->mul), sum = load512(x->sum);
    if (fmt_signed(type) || fmt_offset(type) != 0) {
        int bits = fmt_signed(type) ? 7 : __builtin_ctz((unsigned)fmt_offset(type));
        dot = _mm512_sub_epi32(dot, _mm512_slli_epi32(sum, (unsigned)bits));
    }
    if (fmt_signed(type)) {
        __m512 f = _mm512_cvtepi32_ps(dot), m = _mm512_cvtepi32_ps(mul);
        __m256 t = _mm256_mul_ps(half_ps(f, 0), half_ps(m, 0));
        t = _mm256_fmadd_ps(half_ps(f, 1), half_ps(m, 1), t);
        return _mm256_fmadd_ps(t, s.d[0], acc);
    }
    dot = _mm512_mullo_epi32(dot, mul);
    if (fmt_split(type)) {
        __m512 f = _mm512_cvtepi32_ps(dot);
        acc = _mm256_fmadd_ps(half_ps(f, 0), s.d[0], acc);
        acc = _mm256_fmadd_ps(half_ps(f, 1), s.d[1], acc);
    } else {
        dot = _mm512_add_epi32(dot, _mm512_shuffle_i32x4(dot, dot, 0xb1));
        dot = _mm512_shuffle_i32x4(dot, dot, 0x08);
        __m256 f = _mm256_cvtepi32_ps(_mm512_castsi512_si256(dot));
        acc = _mm256_fmadd_ps(f, s.d[0], acc);
    }
    if (fmt_mins(type) == 1) {
        acc = _mm256_fmadd_ps(s.min[0], _mm256_load_ps(x->s), acc);
    } else if (fmt_mins(type) == 2) {
        __m512 f = _mm512_cvtepi32_ps(_mm512_mullo_epi32(mul, sum));
        acc = _mm256_fmadd_ps(s.min[0], half_ps(f, 0), acc);
        acc = _mm256_fmadd_ps(s.min[1], half_ps(f, 1), acc);
    }
    return acc;
}

INLINE void gemv_q(int type, const uint8_t *w, size_t row_bytes, int n_row,
                   const struct act_group *x, int64_t n_col, float *y) {
    const int step = fmt_small(type) ? 8 * fmt_bytes(type) : fmt_bytes(type);
    int64_t n_group = n_col / 256;
    int left = (int)(n_col % 256) / MICRO_BLOCK;
    for (int r = 0; r < n_row; r++, w += row_bytes) {
        const uint8_t *g = w;
        __m256 acc = _mm256_setzero_ps();
        for (int64_t i = 0; i < n_group; i++, g += step) {
            fetch_row(g, step);
            acc = group_add(type, g, 8, x + i, acc);
        }
        if (fmt_small(type) && left > 0) {
            acc = group_add(type, g, left, x + n_group, acc);
        }
        y[r] = x->d * sum8(acc);
    }
}

#define GEMV_Q(name, type)                                                                         \
    static void gemv_##name(const uint8_t *w, size_t row_bytes, int n_row, const void *x,          \
                            int64_t n_col, float *y) {                                             \
        gemv_q(type, w, row_bytes, n_row, x, n_col, y);                                            \
    }

GEMV_Q(q4_0, DT_Q4_0)
GEMV_Q(q4_1, DT_Q4_1)
GEMV_Q(q5_0, DT_Q5_0)
GEMV_Q(q5_1, DT_Q5_1)
GEMV_Q(q8_0, DT_Q8_0)
GEMV_Q(q2_k, DT_Q2_K)
GEMV_Q(q3_k, DT_Q3_K)
GEMV_Q(q4_k, DT_Q4_K)
GEMV_Q(q5_k, DT_Q5_K)
GEMV_Q(q6_k, DT_Q6_K)
GEMV_Q(q8_k, DT_Q8_K)
GEMV_Q(iq4_nl, DT_IQ4_NL)
GEMV_Q(iq4_xs, DT_IQ4_XS)

void micro_gemv_init_avx512(struct micro *m) {
    m->fmt[DT_Q4_0].gemv = gemv_q4_0;
    m->fmt[DT_Q4_1].gemv = gemv_q4_1;
    m->fmt[DT_Q5_0].gemv = gemv_q5_0;
    m->fmt[DT_Q5_1].gemv = gemv_q5_1;
    m->fmt[DT_Q8_0].gemv = gemv_q8_0;
    m->fmt[DT_Q2_K].gemv = gemv_q2_k;
    m->fmt[DT_Q3_K].gemv = gemv_q3_k;
    m->fmt[DT_Q4_K].gemv = gemv_q4_k;
    m->fmt[DT_Q5_K].gemv = gemv_q5_k;
    m->fmt[DT_Q6_K].gemv = gemv_q6_k;
    m->fmt[DT_Q8_K].gemv = gemv_q8_k;
    m->fmt[DT_IQ4_NL].gemv = gemv_iq4_nl;
    m->fmt[DT_IQ4_XS].gemv = gemv_iq4_xs;
}
