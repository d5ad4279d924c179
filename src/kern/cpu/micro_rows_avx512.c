/* micro_rows_avx512.c: float weights and rows of floats for processors with AVX-512.
 *
 * Owns instructions, not arithmetic: see micro_avx512.c, which has the quantized weights. Sums keep
 * the definition's eight lanes: a register of sixteen holds those of two rows, or takes its two
 * halves one after the other. What moves less than a hundredth of a real run stays in 256 bits.
 * Only static functions and micro_rows_init_avx512.
 */
#include <math.h>

#include "kern/cpu/micro_bits_avx2.h"

/* The first n lanes of sixteen; all of them from 16 on. */
INLINE __mmask16 first(int64_t n) {
    return n >= 16 ? (__mmask16)0xffff : (__mmask16)((1u << n) - 1);
}

/* ---- activations ----------------------------------------------------------------------- */

/* The maximum of each of sixteen registers: pairs are joined until one is left. */
INLINE __m512 max16x16(__m512 v[16]) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        v[i] = _mm512_max_ps(_mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]),
                             _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]));
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m512d a = _mm512_castps_pd(v[2 * i]), b = _mm512_castps_pd(v[2 * i + 1]);
        v[i] = _mm512_max_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)),
                             _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
    }
#pragma GCC unroll 2
    for (int n = 2; n > 0; n--) {
        for (int i = 0; i < n; i++) {
            v[i] = _mm512_max_ps(_mm512_shuffle_f32x4(v[2 * i], v[2 * i + 1], 0x88),
                                 _mm512_shuffle_f32x4(v[2 * i], v[2 * i + 1], 0xdd));
        }
    }
    return v[0];
}

/* Sums of sixteen bytes each of q[256], element 4 i + k that of half 4 k + i. */
INLINE __m512i sum16x16(const int8_t *q) {
    __m512i v[4];
    for (int i = 0; i < 4; i++) {
        v[i] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1),
                                   _mm512_load_si512(q + 64 * i));
    }
    for (int i = 0; i < 2; i++) {
        v[i] = _mm512_add_epi32(_mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]),
                                _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]));
    }
    return _mm512_add_epi32(_mm512_unpacklo_epi64(v[0], v[1]), _mm512_unpackhi_epi64(v[0], v[1]));
}

/* 256 activations, those of mask[half] there; equal to micro_c.c's, block by block. */
INLINE void quantize_group(const float *x, const __mmask16 mask[16], float top, float d,
                           struct act_group *g) {
    /* where micro_half wants them: from their order, and from that of sum16x16 */
    const __m512i by_half = _mm512_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
    const __m512i by_sum = _mm512_setr_epi32(0, 8, 1, 9, 4, 12, 5, 13, 2, 10, 3, 11, 6, 14, 7, 15);
    const __m512i most = _mm512_set1_epi32(127), least = _mm512_set1_epi32(-127);
    __m512 v[16];
    float inv[16];
#pragma GCC unroll 16
    for (int h = 0; h < 16; h++) {
        v[h] = _mm512_abs_ps(_mm512_maskz_loadu_ps(mask[h], x + 16 * h));
    }
    __m512 scale = _mm512_set1_ps(top > 0 ? MICRO_MUL / top : 0);
    __m512 ceiled = _mm512_roundscale_ps(_mm512_mul_ps(max16x16(v), scale),
                                         _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC);
    ceiled = _mm512_max_ps(_mm512_min_ps(ceiled, _mm512_set1_ps(MICRO_MUL)), _mm512_set1_ps(1));
    __m512 step = _mm512_mul_ps(ceiled, _mm512_set1_ps(d));
    __mmask16 any = top > 0 ? 0xffff : 0;
    _mm512_storeu_ps(inv, _mm512_maskz_div_ps(any, _mm512_set1_ps(1), step));
    for (int h = 0; h < 16; h++) {
        __m512 u =
            _mm512_mul_ps(_mm512_maskz_loadu_ps(mask[h], x + 16 * h), _mm512_set1_ps(inv[h]));
        __m512i i = _mm512_max_epi32(_mm512_min_epi32(_mm512_cvtps_epi32(u), most), least);
        _mm_store_si128((__m128i *)(g->q + 16 * h), _mm512_cvtepi32_epi8(i));
    }
    __m512i mul = _mm512_permutexvar_epi32(by_half, _mm512_cvtps_epi32(ceiled));
    __m512i sum = _mm512_permutexvar_epi32(by_sum, sum16x16(g->q));
    __m512i prod = _mm512_mullo_epi32(mul, sum);
    _mm512_store_si512(g->sum, sum);
    _mm512_store_si512(g->prod, prod);
    _mm512_store_si512(g->pair, _mm512_or_si512(mul, _mm512_slli_epi32(mul, 16)));
    __m512i total = _mm512_add_epi32(prod, _mm512_shuffle_i32x4(prod, prod, 0xb1));
    total = _mm512_shuffle_i32x4(total, total, 0x08);
    _mm256_store_ps(g->s, _mm256_cvtepi32_ps(_mm512_castsi512_si256(total)));
}

/* Meanwhile fetches what follows the row, which mostly is the next one. */
static void quantize_avx512(const float *x, int64_t n, struct act_group *out) {
    __m512i most[4] = {_mm512_setzero_si512()};
    int64_t i = 0;
    for (; i + 64 <= n; i += 64) {
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            __m512 v = _mm512_abs_ps(_mm512_loadu_ps(x + i + 16 * k));
            most[k] = _mm512_max_epu32(most[k], _mm512_castps_si512(v));
        }
    }
    for (; i < n; i += 16) {
        __m512 v = _mm512_abs_ps(_mm512_maskz_loadu_ps(first(n - i), x + i));
        most[0] = _mm512_max_epu32(most[0], _mm512_castps_si512(v));
    }
    most[0] =
        _mm512_max_epu32(_mm512_max_epu32(most[0], most[1]), _mm512_max_epu32(most[2], most[3]));
    uint32_t bits = _mm512_reduce_max_epu32(most[0]);
    bool finite = bits < 0x7f800000u;
    float top = finite && f32_from_bits(bits) >= 1e-30f ? f32_from_bits(bits) : 0;
    float d = top / (127.0f * MICRO_MUL);
    static const __mmask16 whole[16] = {0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff,
                                        0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff,
                                        0xffff, 0xffff, 0xffff, 0xffff};
    for (int64_t at = 0; at < n; at += 256, out++) {
        for (int h = 0; h < 16; h++) {
            _mm_prefetch((const char *)(x + n + at + 16 * h), _MM_HINT_T1);
        }
        out->d = finite ? d : NAN;
        if (n - at >= 256 && top > 0) {
            quantize_group(x + at, whole, top, d, out);
            continue;
        }
        __mmask16 mask[16];
        for (int h = 0; h < 16; h++) {
            int64_t left = n - at - 16 * h;
            mask[h] = left > 0 && top > 0 ? first(left) : 0;
        }
        quantize_group(x + at, mask, top, d, out);
    }
}

/* ---- exponentials ------------------------------------------------------------------------ */

/* micro_exp, sixteen at once. Its results are normal numbers, so that multiplying by 2^k at once is
 * as exact as by two factors. */
INLINE __m512 exp16(__m512 x) {
    __mmask16 high = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-87.0f), _CMP_NLT_UQ);
    x = _mm512_min_ps(_mm512_set1_ps(88.5f), x); /* this order keeps NaN */
    __m512 k = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)),
                                    _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fmadd_ps(k, _mm512_set1_ps(-0.693145752f), x);
    r = _mm512_fmadd_ps(k, _mm512_set1_ps(-1.42860677e-6f), r);
    __m512 p = _mm512_set1_ps(1.0f / 5040);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 720));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_maskz_scalef_ps(high, p, k);
}

INLINE __m512 gelu_erf(__m512 x) {
    const __m512 one = _mm512_set1_ps(1.0f);
    __m512 z = _mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(0.707106781f));
    __m512 t = _mm512_div_ps(one, _mm512_fmadd_ps(_mm512_set1_ps(0.3275911f), z, one));
    __m512 p = _mm512_set1_ps(1.061405429f);
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(-1.453152027f));
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(1.421413741f));
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(-0.284496736f));
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(0.254829592f));
    __m512 minus = _mm512_xor_ps(_mm512_mul_ps(z, z), _mm512_set1_ps(-0.0f));
    p = _mm512_mul_ps(_mm512_mul_ps(p, t), exp16(minus));
    __m512 rest = _mm512_mul_ps(_mm512_mul_ps(_mm512_set1_ps(0.5f), x), p);
    __mmask16 high = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GE_OQ);
    return _mm512_mask_sub_ps(rest, high, x, rest);
}

INLINE __m512 activate(__m512 x, enum kern_act act) {
    const __m512 one = _mm512_set1_ps(1.0f);
    if (act == ACT_GELU_ERF) {
        return gelu_erf(x);
    }
    if (act == ACT_SILU) {
        __m512 minus = _mm512_xor_ps(x, _mm512_set1_ps(-0.0f));
        return _mm512_div_ps(x, _mm512_add_ps(one, exp16(minus)));
    }
    __m512 cube = _mm512_mul_ps(_mm512_mul_ps(_mm512_set1_ps(0.044715f), x), x);
    __m512 u = _mm512_mul_ps(_mm512_set1_ps(0.797884561f), _mm512_fmadd_ps(cube, x, x));
    __m512 e = _mm512_add_ps(exp16(_mm512_mul_ps(_mm512_set1_ps(2.0f), u)), one);
    __m512 t = _mm512_sub_ps(one, _mm512_div_ps(_mm512_set1_ps(2.0f), e));
    return _mm512_mul_ps(_mm512_mul_ps(_mm512_set1_ps(0.5f), x), _mm512_add_ps(one, t));
}

static void softcap_avx512(float *x, int n, float cap) {
    const __m512 one = _mm512_set1_ps(1.0f), two = _mm512_set1_ps(2.0f);
    const __m512 k = _mm512_set1_ps(2.0f / cap), c = _mm512_set1_ps(cap);
    for (int i = 0; i < n; i += 16) {
        __mmask16 m = first(n - i);
        __m512 e = _mm512_add_ps(exp16(_mm512_mul_ps(k, _mm512_maskz_loadu_ps(m, x + i))), one);
        __m512 t = _mm512_sub_ps(one, _mm512_div_ps(two, e));
        _mm512_mask_storeu_ps(x + i, m, _mm512_mul_ps(c, t));
    }
}

static float largest_avx512(const float *x, int n) {
    enum { LANES = 64 };
    const __m512 least = _mm512_set1_ps(-INFINITY);
    __m512 top[4] = {least, least, least, least};
    __mmask16 odd = 0;
    int i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int k = 0; k < 4; k++) {
            __m512 v = _mm512_loadu_ps(x + i + 16 * k);
            top[k] = _mm512_max_ps(v, top[k]);
            odd |= _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
        }
    }
    for (; i < n; i += 16) {
        __m512 v = _mm512_mask_loadu_ps(least, first(n - i), x + i);
        top[0] = _mm512_max_ps(v, top[0]);
        odd |= _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    }
    __m512 all = _mm512_max_ps(_mm512_max_ps(top[0], top[1]), _mm512_max_ps(top[2], top[3]));
    return odd ? NAN : _mm512_reduce_max_ps(all);
}

INLINE void activate_all(float *x, int n, enum kern_act act) {
    for (int i = 0; i < n; i += 16) {
        __mmask16 m = first(n - i);
        _mm512_mask_storeu_ps(x + i, m, activate(_mm512_maskz_loadu_ps(m, x + i), act));
    }
}

static void activate_avx512(float *x, int n, enum kern_act act) {
    switch (act) { /* constant inside of the loops */
    case ACT_SILU: activate_all(x, n, ACT_SILU); break;
    case ACT_GELU: activate_all(x, n, ACT_GELU); break;
    default: activate_all(x, n, ACT_GELU_ERF); break;
    }
}

INLINE void act_mul_all(float *gate, const float *up, int n, enum kern_act act) {
    for (int i = 0; i < n; i += 16) {
        __mmask16 m = first(n - i);
        __m512 g = activate(_mm512_maskz_loadu_ps(m, gate + i), act);
        _mm512_mask_storeu_ps(gate + i, m, _mm512_mul_ps(g, _mm512_maskz_loadu_ps(m, up + i)));
    }
}

static void act_mul_avx512(float *gate, const float *up, int n, enum kern_act act) {
    switch (act) {
    case ACT_SILU: act_mul_all(gate, up, n, ACT_SILU); break;
    case ACT_GELU: act_mul_all(gate, up, n, ACT_GELU); break;
    default: act_mul_all(gate, up, n, ACT_GELU_ERF); break;
    }
}

/* ---- half floats ------------------------------------------------------------------------- */

static void f16_to_f32_avx512(const f16_t *x, float *y, int n) {
    for (int i = 0; i < n; i += 16) {
        __mmask16 m = first(n - i);
        _mm512_mask_storeu_ps(y + i, m, _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(m, x + i)));
    }
}

static void f32_to_f16_avx512(const float *x, f16_t *y, int n) {
    for (int i = 0; i < n; i += 16) {
        __mmask16 m = first(n - i);
        __m256i h = _mm512_cvtps_ph(_mm512_maskz_loadu_ps(m, x + i), 0);
        _mm256_mask_storeu_epi16(y + i, m, h);
    }
}

/* Sums of eight lanes of eight rows, two rows in a register, in the order of micro_sum8. */
INLINE __m256 sum8x8(const __m512 v[4]) {
    __m512 x[2];
    for (int i = 0; i < 2; i++) { /* l0 + l4, l1 + l5, l2 + l6, l3 + l7 of four rows */
        x[i] = _mm512_add_ps(_mm512_shuffle_f32x4(v[2 * i], v[2 * i + 1], 0x88),
                             _mm512_shuffle_f32x4(v[2 * i], v[2 * i + 1], 0xdd));
    }
    __m512 y =
        _mm512_add_ps(_mm512_shuffle_ps(x[0], x[1], 0x44), _mm512_shuffle_ps(x[0], x[1], 0xee));
    y = _mm512_add_ps(y, _mm512_permute_ps(y, 0xb1));
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 4, 8, 12, 2, 6, 10, 14);
    return _mm512_castps512_ps256(_mm512_permutexvar_ps(order, y));
}

/* ---- float weights ------------------------------------------------------------------------
 *
 * A panel holds 16 rows as [8 pairs][8 columns][2 rows][8]: a register has the eight lanes of two
 * rows, and an activation's eight are repeated in both halves. A tile is C's: rows of floats.
 */

#define ROWS_F 16
#define TOKS_F 6

INLINE __m256 load_float(int type, const uint8_t *p, int64_t i, __mmask8 mask) {
    __m128i h = _mm_maskz_loadu_epi16(mask, p + (type == DT_F32 ? 0 : 2 * i));
    switch (type) {
    case DT_F32: return _mm256_maskz_loadu_ps(mask, p + 4 * i);
    case DT_F16: return _mm256_cvtph_ps(h);
    default: return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
    }
}

INLINE void unpack_f(int type, const uint8_t *const *row, int64_t n_col, float *panel) {
    for (int r = 0; r < ROWS_F; r += 2) {
        for (int64_t i = 0; i < n_col; i += 8, panel += 16) {
            __mmask8 mask = n_col - i >= 8 ? 0xff : (__mmask8)((1u << (n_col - i)) - 1);
            _mm256_storeu_ps(panel, load_float(type, row[r], i, mask));
            _mm256_storeu_ps(panel + 8, load_float(type, row[r + 1], i, mask));
        }
    }
}

/* Four pairs of rows times n_tok tokens. */
INLINE void tile_pairs(int n_tok, const float *w, const float *x, int64_t step, float *y) {
    __m512 acc[TOKS_F][4];
#pragma GCC unroll 6
    for (int t = 0; t < n_tok; t++) {
        for (int k = 0; k < 4; k++) {
            acc[t][k] = _mm512_setzero_ps();
        }
    }
    for (int64_t c = 0; c < step; c += 8) {
        __m512 v[4];
        for (int k = 0; k < 4; k++) {
            v[k] = _mm512_loadu_ps(w + 2 * k * step + 2 * c);
        }
#pragma GCC unroll 6
        for (int t = 0; t < n_tok; t++) {
            __m512 u = _mm512_broadcast_f32x8(_mm256_loadu_ps(x + t * step + c));
            for (int k = 0; k < 4; k++) {
                acc[t][k] = _mm512_fmadd_ps(v[k], u, acc[t][k]);
            }
        }
    }
#pragma GCC unroll 6
    for (int t = 0; t < n_tok; t++) {
        _mm256_storeu_ps(y + t * ROWS_F, sum8x8(acc[t]));
    }
}

static void tile_f(const void *panel, const void *tile, int n_tok, int64_t n_col,
                   const struct micro_wanted *next, float *y) {
    const int64_t step = micro_pad8(n_col);
    micro_fetch_more(next, 0);
    for (int r = 0; r < ROWS_F; r += 8) {
        const float *w = (const float *)panel + r * step;
        for (int t = 0; t < n_tok; t += TOKS_F) {
            const float *x = (const float *)tile + t * step;
            float *to = y + t * ROWS_F + r;
            switch (n_tok - t) {
            case 1: tile_pairs(1, w, x, step, to); break;
            case 2: tile_pairs(2, w, x, step, to); break;
            case 3: tile_pairs(3, w, x, step, to); break;
            case 4: tile_pairs(4, w, x, step, to); break;
            case 5: tile_pairs(5, w, x, step, to); break;
            default: tile_pairs(6, w, x, step, to); break;
            }
        }
    }
}

#define UNPACK_F(name, type)                                                                       \
    static void unpack_##name(const uint8_t *const *row, int64_t n_col, void *panel) {             \
        unpack_f(type, row, n_col, panel);                                                         \
    }

UNPACK_F(f32, DT_F32)
UNPACK_F(f16, DT_F16)
UNPACK_F(bf16, DT_BF16)

#define ENTRY_F(type, name)                                                                        \
    m->fmt[type].rows = ROWS_F;                                                                    \
    m->fmt[type].toks = TOKS_F;                                                                    \
    m->fmt[type].unpack = unpack_##name;                                                           \
    m->fmt[type].tile = tile_f

void micro_rows_init_avx512(struct micro *m) {
    ENTRY_F(DT_F32, f32);
    ENTRY_F(DT_F16, f16);
    ENTRY_F(DT_BF16, bf16);
    m->quantize = quantize_avx512;
    m->activate = activate_avx512;
    m->act_mul = act_mul_avx512;
    m->softcap = softcap_avx512;
    m->largest = largest_avx512;
    m->f32_to_f16 = f32_to_f16_avx512;
    m->f16_to_f32 = f16_to_f32_avx512;
}
