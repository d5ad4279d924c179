/* micro_rows_avx2.c: float weights and rows of floats for processors with AVX2, FMA and F16C.
 *
 * Owns instructions, not arithmetic: see micro_avx2.c, which has the quantized weights. Only static
 * functions and micro_rows_init_avx2.
 */
#include <math.h>

#include "kern/cpu/micro_bits_avx2.h"

#define ROWS_F 16 /* in a panel: as micro_c.c has it, whose tiles these take */

/* ---- float weights
 * ------------------------------------------------------------------------------- */

INLINE int float_bytes(int type) {
    return type == DT_F32 ? 4 : 2;
}

INLINE __m256 load_float(int type, const uint8_t *p) {
    switch (type) {
    case DT_F32: return _mm256_loadu_ps((const float *)(const void *)p);
    case DT_F16: return _mm256_cvtph_ps(load128(p));
    default: return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load128(p)), 16));
    }
}

/* The last n < 8 elements of a row, zeros after them. */
INLINE __m256 load_tail(int type, const uint8_t *p, int n) {
    uint8_t part[32] = {0};
    memcpy(part, p, (size_t)(n * float_bytes(type)));
    return load_float(type, part);
}

/* One step of eight columns from column i on. */
INLINE void gemv_step(int type, int rows, int n_tok, const uint8_t *w, size_t step,
                      const void *const *x, int64_t i, __m256 (*acc)[4]) {
    __m256 v[3];
    for (int t = 0; t < n_tok; t++) {
        v[t] = _mm256_loadu_ps((const float *)x[t] + i);
    }
    for (int r = 0; r < rows; r++) {
        __m256 u = load_float(type, w + (size_t)r * step + i * float_bytes(type));
        for (int t = 0; t < n_tok; t++) {
            acc[t][r] = _mm256_fmadd_ps(u, v[t], acc[t][r]);
        }
    }
}

/* y[t * n_row + r * apart] of `rows` <= 4 rows, each `apart` rows behind the one before, and n_tok
 * <= 3 rows of activations. */
INLINE void gemv_rows(int type, int rows, int n_tok, const uint8_t *w, size_t row_bytes, int apart,
                      int n_row, const void *const *x, int64_t n_col, float *y) {
    const int line = 64 / float_bytes(type);
    const size_t step = row_bytes * (size_t)apart;
    __m256 acc[3][4];
    int64_t i = 0;
    for (int t = 0; t < n_tok; t++) {
        for (int r = 0; r < rows; r++) {
            acc[t][r] = _mm256_setzero_ps();
        }
    }
    for (; i + line <= n_col; i += line) {
        for (int r = 0; r < rows; r++) {
            stream_fetch(w + (size_t)r * step + i * float_bytes(type), 64);
        }
#pragma GCC unroll 4
        for (int k = 0; k < line; k += 8) {
            gemv_step(type, rows, n_tok, w, step, x, i + k, acc);
        }
    }
    for (; i + 8 <= n_col; i += 8) {
        gemv_step(type, rows, n_tok, w, step, x, i, acc);
    }
    for (int r = 0; r < rows; r++) {
        __m256 u = _mm256_setzero_ps();
        if (i < n_col) {
            u = load_tail(type, w + (size_t)r * step + i * float_bytes(type), (int)(n_col - i));
        }
        for (int t = 0; t < n_tok; t++) {
            if (i < n_col) {
                acc[t][r] = _mm256_fmadd_ps(u, _mm256_loadu_ps((const float *)x[t] + i), acc[t][r]);
            }
            y[t * n_row + r * apart] = sum8(acc[t][r]);
        }
    }
}

INLINE void gemv_f(int type, const uint8_t *w, size_t row_bytes, int n_row, const void *x,
                   int64_t n_col, float *y) {
    const int part = n_row / STREAMS;
    for (int r = 0; r < part; r++) {
        gemv_rows(type, STREAMS, 1, w + (size_t)r * row_bytes, row_bytes, part, n_row, &x, n_col,
                  y + r);
    }
    for (int r = part * STREAMS; r < n_row; r++) {
        gemv_rows(type, 1, 1, w + (size_t)r * row_bytes, row_bytes, 1, n_row, &x, n_col, y + r);
    }
}

INLINE void gemm_small_f(int type, const uint8_t *w, size_t row_bytes, int n_row,
                         const void *const *x, int n_tok, int64_t n_col, float *y) {
    const int part = n_row / STREAMS;
    for (int r = 0; r < part; r++, w += row_bytes) {
        for (int t = 0; t < n_tok;) { /* four rows stay in cache while activations pass */
            float *to = y + t * n_row + r;
            switch (n_tok - t) {
            case 1:
                gemv_rows(type, STREAMS, 1, w, row_bytes, part, n_row, x + t, n_col, to);
                t++;
                break;
            case 2:
            case 4:
                gemv_rows(type, STREAMS, 2, w, row_bytes, part, n_row, x + t, n_col, to);
                t += 2;
                break;
            default:
                gemv_rows(type, STREAMS, 3, w, row_bytes, part, n_row, x + t, n_col, to);
                t += 3;
                break;
            }
        }
    }
    w += (size_t)part * (STREAMS - 1) * row_bytes;
    for (int r = part * STREAMS; r < n_row; r++, w += row_bytes) {
        for (int t = 0; t < n_tok; t++) {
            gemv_rows(type, 1, 1, w, row_bytes, 1, n_row, x + t, n_col, y + t * n_row + r);
        }
    }
}

INLINE void unpack_f(int type, const uint8_t *const *row, int64_t n_col, float *panel) {
    for (int r = 0; r < ROWS_F; r++) {
        int64_t i = 0;
        for (; i + 8 <= n_col; i += 8, panel += 8) {
            _mm256_storeu_ps(panel, load_float(type, row[r] + i * float_bytes(type)));
        }
        if (i < n_col) {
            _mm256_storeu_ps(panel,
                             load_tail(type, row[r] + i * float_bytes(type), (int)(n_col - i)));
            panel += 8;
        }
    }
}

/* The order of micro_sum8, for four sums at once. */
INLINE __m128 sum8x4(const __m256 v[4]) {
    __m128 x[4];
    for (int i = 0; i < 4; i++) {
        x[i] = _mm_add_ps(_mm256_castps256_ps128(v[i]), _mm256_extractf128_ps(v[i], 1));
    }
    __m128 a = _mm_add_ps(_mm_movelh_ps(x[0], x[1]), _mm_movehl_ps(x[1], x[0]));
    __m128 b = _mm_add_ps(_mm_movelh_ps(x[2], x[3]), _mm_movehl_ps(x[3], x[2]));
    return _mm_add_ps(_mm_shuffle_ps(a, b, 0x88), _mm_shuffle_ps(a, b, 0xdd));
}

/* Products of n_a <= 3 rows and 4 rows of `dim` floats (a multiple of 8): out[i] has the four. */
INLINE void dots_x4(int n_a, const float *a, int64_t a_step, const float *b, int64_t b_step,
                    int64_t dim, __m128 *out) {
    __m256 acc[3][4];
    for (int i = 0; i < n_a; i++) {
        for (int k = 0; k < 4; k++) {
            acc[i][k] = _mm256_setzero_ps();
        }
    }
    for (int64_t c = 0; c < dim; c += 8) {
        __m256 v[3];
        for (int i = 0; i < n_a; i++) {
            v[i] = _mm256_loadu_ps(a + i * a_step + c);
        }
        for (int k = 0; k < 4; k++) {
            __m256 u = _mm256_loadu_ps(b + k * b_step + c);
            for (int i = 0; i < n_a; i++) {
                acc[i][k] = _mm256_fmadd_ps(u, v[i], acc[i][k]);
            }
        }
    }
    for (int i = 0; i < n_a; i++) {
        out[i] = sum8x4(acc[i]);
    }
}

static void tile_f(const void *panel, const void *tile, int n_tok, int64_t n_col,
                   const struct micro_wanted *next, float *y) {
    const int64_t step = micro_pad8(n_col);
    const float *w = panel, *x = tile;
    micro_fetch_more(next, 0);
    for (int t = 0; t < n_tok; t += 3) {
        int n = n_tok - t < 3 ? n_tok - t : 3;
        for (int r = 0; r < ROWS_F; r += 4) {
            __m128 out[3];
            if (n == 3) {
                dots_x4(3, x + t * step, step, w + r * step, step, step, out);
            } else if (n == 2) {
                dots_x4(2, x + t * step, step, w + r * step, step, step, out);
            } else {
                dots_x4(1, x + t * step, step, w + r * step, step, step, out);
            }
            for (int i = 0; i < n; i++) {
                _mm_storeu_ps(y + (t + i) * ROWS_F + r, out[i]);
            }
        }
    }
}

#define FORMAT_F(name, type)                                                                       \
    static void gemv_##name(const uint8_t *w, size_t row_bytes, int n_row, const void *x,          \
                            int64_t n_col, float *y) {                                             \
        gemv_f(type, w, row_bytes, n_row, x, n_col, y);                                            \
    }                                                                                              \
    static void gemm_small_##name(const uint8_t *w, size_t row_bytes, int n_row,                   \
                                  const void *const *x, int n_tok, int64_t n_col, float *y) {      \
        gemm_small_f(type, w, row_bytes, n_row, x, n_tok, n_col, y);                               \
    }                                                                                              \
    static void unpack_##name(const uint8_t *const *row, int64_t n_col, void *panel) {             \
        unpack_f(type, row, n_col, panel);                                                         \
    }

FORMAT_F(f32, DT_F32)
FORMAT_F(f16, DT_F16)
FORMAT_F(bf16, DT_BF16)

/* ---- rows
 * ------------------------------------------------------------------------------------------ */

/* All ones in the first n < 8 lanes. */
INLINE __m256i first_lanes(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static void rmsnorm_avx2(const float *x, const float *w, int n, float eps, float *y) {
    __m256 acc = _mm256_setzero_ps();
    __m256i tail = first_lanes(n % 8);
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 v = _mm256_loadu_ps(x + i);
        acc = _mm256_fmadd_ps(v, v, acc);
    }
    if (i < n) {
        __m256 v = _mm256_maskload_ps(x + i, tail);
        acc = _mm256_fmadd_ps(v, v, acc);
    }
    float mean = sum8(acc) / (float)n;
    __m256 scale = _mm256_set1_ps(1.0f / sqrtf(mean + eps));
    for (i = 0; i + 8 <= n; i += 8) {
        __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), scale);
        _mm256_storeu_ps(y + i, _mm256_mul_ps(v, _mm256_loadu_ps(w + i)));
    }
    if (i < n) {
        __m256 v = _mm256_mul_ps(_mm256_maskload_ps(x + i, tail), scale);
        _mm256_maskstore_ps(y + i, tail, _mm256_mul_ps(v, _mm256_maskload_ps(w + i, tail)));
    }
}

static void layernorm_avx2(const float *x, const float *w, const float *b, int n, float eps,
                           float *y) {
    __m256 sum = _mm256_setzero_ps(), square = _mm256_setzero_ps();
    __m256i tail = first_lanes(n % 8);
    int whole = n / 8 * 8;
    for (int i = 0; i < whole; i += 8) {
        sum = _mm256_add_ps(sum, _mm256_loadu_ps(x + i));
    }
    sum = _mm256_add_ps(sum, _mm256_maskload_ps(x + whole, tail));
    __m256 mean = _mm256_set1_ps(sum8(sum) / (float)n);
    for (int i = 0; i < whole; i += 8) {
        __m256 d = _mm256_sub_ps(_mm256_loadu_ps(x + i), mean);
        square = _mm256_fmadd_ps(d, d, square);
    }
    __m256 d = _mm256_sub_ps(_mm256_maskload_ps(x + whole, tail), mean);
    d = _mm256_and_ps(d, _mm256_castsi256_ps(tail));
    square = _mm256_fmadd_ps(d, d, square);
    __m256 scale = _mm256_set1_ps(1.0f / sqrtf(sum8(square) / (float)n + eps));
    for (int i = 0; i < whole; i += 8) {
        __m256 v = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(x + i), mean), scale);
        v = _mm256_fmadd_ps(v, _mm256_loadu_ps(w + i), _mm256_loadu_ps(b + i));
        _mm256_storeu_ps(y + i, v);
    }
    __m256 v = _mm256_mul_ps(_mm256_sub_ps(_mm256_maskload_ps(x + whole, tail), mean), scale);
    v = _mm256_fmadd_ps(v, _mm256_maskload_ps(w + whole, tail),
                        _mm256_maskload_ps(b + whole, tail));
    _mm256_maskstore_ps(y + whole, tail, v);
}

/* micro_exp, eight at once. */
INLINE __m256 exp8(__m256 x) {
    __m256 low = _mm256_cmp_ps(x, _mm256_set1_ps(-87.0f), _CMP_LT_OQ);
    x = _mm256_min_ps(_mm256_set1_ps(88.5f), x); /* this order keeps NaN */
    __m256 k = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)),
                               _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fmadd_ps(k, _mm256_set1_ps(-0.693145752f), x);
    r = _mm256_fmadd_ps(k, _mm256_set1_ps(-1.42860677e-6f), r);
    __m256 p = _mm256_set1_ps(1.0f / 5040);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 720));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 120));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 24));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 6));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    __m256i ki = _mm256_cvtps_epi32(k);
    __m256i k0 = _mm256_srai_epi32(_mm256_add_epi32(ki, _mm256_srli_epi32(ki, 31)), 1);
    __m256i k1 = _mm256_sub_epi32(ki, k0), bias = _mm256_set1_epi32(127);
    __m256 e0 = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(k0, bias), 23));
    __m256 e1 = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(k1, bias), 23));
    return _mm256_andnot_ps(low, _mm256_mul_ps(_mm256_mul_ps(p, e0), e1));
}

INLINE __m256 gelu_erf(__m256 x) {
    const __m256 sign = _mm256_set1_ps(-0.0f), one = _mm256_set1_ps(1.0f);
    __m256 z = _mm256_mul_ps(_mm256_andnot_ps(sign, x), _mm256_set1_ps(0.707106781f));
    __m256 t = _mm256_div_ps(one, _mm256_fmadd_ps(_mm256_set1_ps(0.3275911f), z, one));
    __m256 p = _mm256_set1_ps(1.061405429f);
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(-1.453152027f));
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(1.421413741f));
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(-0.284496736f));
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(0.254829592f));
    p = _mm256_mul_ps(_mm256_mul_ps(p, t), exp8(_mm256_xor_ps(_mm256_mul_ps(z, z), sign)));
    __m256 rest = _mm256_mul_ps(_mm256_mul_ps(_mm256_set1_ps(0.5f), x), p);
    __m256 high = _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_GE_OQ);
    return _mm256_blendv_ps(rest, _mm256_sub_ps(x, rest), high);
}

INLINE __m256 activate(__m256 x, enum kern_act act) {
    if (act == ACT_GELU_ERF) {
        return gelu_erf(x);
    }
    const __m256 one = _mm256_set1_ps(1.0f);
    if (act == ACT_SILU) {
        __m256 minus = _mm256_xor_ps(x, _mm256_set1_ps(-0.0f));
        return _mm256_div_ps(x, _mm256_add_ps(one, exp8(minus)));
    }
    __m256 cube = _mm256_mul_ps(_mm256_mul_ps(_mm256_set1_ps(0.044715f), x), x);
    __m256 u = _mm256_mul_ps(_mm256_set1_ps(0.797884561f), _mm256_fmadd_ps(cube, x, x));
    __m256 e = _mm256_add_ps(exp8(_mm256_mul_ps(_mm256_set1_ps(2.0f), u)), one);
    __m256 t = _mm256_sub_ps(one, _mm256_div_ps(_mm256_set1_ps(2.0f), e));
    return _mm256_mul_ps(_mm256_mul_ps(_mm256_set1_ps(0.5f), x), _mm256_add_ps(one, t));
}

INLINE void activate_all(float *x, int n, enum kern_act act) {
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        _mm256_storeu_ps(x + i, activate(_mm256_loadu_ps(x + i), act));
    }
    if (i < n) {
        __m256i m = first_lanes(n - i);
        _mm256_maskstore_ps(x + i, m, activate(_mm256_maskload_ps(x + i, m), act));
    }
}

static void activate_avx2(float *x, int n, enum kern_act act) {
    switch (act) { /* constant inside of the loops */
    case ACT_SILU: activate_all(x, n, ACT_SILU); break;
    case ACT_GELU: activate_all(x, n, ACT_GELU); break;
    default: activate_all(x, n, ACT_GELU_ERF); break;
    }
}

INLINE void act_mul_all(float *gate, const float *up, int n, enum kern_act act) {
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 g = activate(_mm256_loadu_ps(gate + i), act);
        _mm256_storeu_ps(gate + i, _mm256_mul_ps(g, _mm256_loadu_ps(up + i)));
    }
    if (i < n) {
        __m256i m = first_lanes(n - i);
        __m256 g = activate(_mm256_maskload_ps(gate + i, m), act);
        _mm256_maskstore_ps(gate + i, m, _mm256_mul_ps(g, _mm256_maskload_ps(up + i, m)));
    }
}

static void act_mul_avx2(float *gate, const float *up, int n, enum kern_act act) {
    switch (act) {
    case ACT_SILU: act_mul_all(gate, up, n, ACT_SILU); break;
    case ACT_GELU: act_mul_all(gate, up, n, ACT_GELU); break;
    default: act_mul_all(gate, up, n, ACT_GELU_ERF); break;
    }
}

INLINE __m256 cap8(__m256 x, float cap) {
    const __m256 one = _mm256_set1_ps(1.0f), two = _mm256_set1_ps(2.0f);
    __m256 e = _mm256_add_ps(exp8(_mm256_mul_ps(_mm256_set1_ps(2.0f / cap), x)), one);
    return _mm256_mul_ps(_mm256_set1_ps(cap), _mm256_sub_ps(one, _mm256_div_ps(two, e)));
}

static void softcap_avx2(float *x, int n, float cap) {
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        _mm256_storeu_ps(x + i, cap8(_mm256_loadu_ps(x + i), cap));
    }
    if (i < n) {
        __m256i m = first_lanes(n - i);
        _mm256_maskstore_ps(x + i, m, cap8(_mm256_maskload_ps(x + i, m), cap));
    }
}

static void add_avx2(float *y, const float *x, int n) {
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        _mm256_storeu_ps(y + i, _mm256_add_ps(_mm256_loadu_ps(y + i), _mm256_loadu_ps(x + i)));
    }
    for (; i < n; i++) {
        y[i] += x[i];
    }
}

static float largest_avx2(const float *x, int n) {
    enum { LANES = 32 };
    __m256 top[4], odd = _mm256_setzero_ps();
    int i = 0;
    for (int k = 0; k < 4; k++) {
        top[k] = _mm256_set1_ps(-INFINITY);
    }
    for (; i + LANES <= n; i += LANES) {
        for (int k = 0; k < 4; k++) {
            __m256 v = _mm256_loadu_ps(x + i + 8 * k);
            top[k] = _mm256_max_ps(v, top[k]);
            odd = _mm256_or_ps(odd, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
        }
    }
    float lane[8], best = -INFINITY;
    _mm256_storeu_ps(lane,
                     _mm256_max_ps(_mm256_max_ps(top[0], top[1]), _mm256_max_ps(top[2], top[3])));
    bool nan = _mm256_movemask_ps(odd) != 0;
    for (int k = 0; k < 8; k++) {
        best = lane[k] > best ? lane[k] : best;
    }
    for (; i < n; i++) {
        best = x[i] > best ? x[i] : best;
        nan = nan || isnan(x[i]);
    }
    return nan ? NAN : best;
}

static void axpy_avx2(float *y, float a, const float *x, int n) {
    __m256 v = _mm256_set1_ps(a);
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        _mm256_storeu_ps(y + i, _mm256_fmadd_ps(v, _mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i)));
    }
    for (; i < n; i++) {
        y[i] = fmaf(a, x[i], y[i]);
    }
}

static void rotate_avx2(float *head, const float *cos, const float *sin, int half) {
    int i = 0;
    for (; i + 8 <= half; i += 8) {
        __m256 u = _mm256_loadu_ps(head + i), v = _mm256_loadu_ps(head + i + half);
        __m256 c = _mm256_loadu_ps(cos + i), s = _mm256_loadu_ps(sin + i);
        _mm256_storeu_ps(head + i, _mm256_fmsub_ps(u, c, _mm256_mul_ps(v, s)));
        _mm256_storeu_ps(head + i + half, _mm256_fmadd_ps(u, s, _mm256_mul_ps(v, c)));
    }
    for (; i < half; i++) {
        float u = head[i], v = head[i + half];
        head[i] = fmaf(u, cos[i], -(v * sin[i]));
        head[i + half] = fmaf(u, sin[i], v * cos[i]);
    }
}

static void rotate_pairs_avx2(float *head, const float *cos, const float *sin, int half) {
    int i = 0;
    for (; i + 4 <= half; i += 4) {
        __m128 c = _mm_loadu_ps(cos + i), s = _mm_loadu_ps(sin + i);
        __m256 cs = _mm256_set_m128(_mm_unpackhi_ps(c, s), _mm_unpacklo_ps(c, s));
        __m256 sc = _mm256_set_m128(_mm_unpackhi_ps(s, c), _mm_unpacklo_ps(s, c));
        __m256 x = _mm256_loadu_ps(head + 2 * i);
        __m256 v = _mm256_mul_ps(_mm256_movehdup_ps(x), sc);
        _mm256_storeu_ps(head + 2 * i, _mm256_fmaddsub_ps(_mm256_moveldup_ps(x), cs, v));
    }
    for (; i < half; i++) {
        float u = head[2 * i], v = head[2 * i + 1];
        head[2 * i] = fmaf(u, cos[i], -(v * sin[i]));
        head[2 * i + 1] = fmaf(u, sin[i], v * cos[i]);
    }
}

static void f32_to_f16_avx2(const float *x, f16_t *y, int n) {
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        _mm_storeu_si128((__m128i *)(y + i), _mm256_cvtps_ph(_mm256_loadu_ps(x + i), 0));
    }
    for (; i < n; i++) {
        y[i] = f16_from_f32(x[i]);
    }
}

static void f16_to_f32_avx2(const f16_t *x, float *y, int n) {
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        _mm256_storeu_ps(y + i, _mm256_cvtph_ps(load128(x + i)));
    }
    for (; i < n; i++) {
        y[i] = f32_from_f16(x[i]);
    }
}

void micro_rows_init_avx2(struct micro *m) {
    m->fmt[DT_F32].gemv = gemv_f32;
    m->fmt[DT_F32].gemm_small = gemm_small_f32;
    m->fmt[DT_F32].unpack = unpack_f32;
    m->fmt[DT_F32].tile = tile_f;
    m->fmt[DT_F16].gemv = gemv_f16;
    m->fmt[DT_F16].gemm_small = gemm_small_f16;
    m->fmt[DT_F16].unpack = unpack_f16;
    m->fmt[DT_F16].tile = tile_f;
    m->fmt[DT_BF16].gemv = gemv_bf16;
    m->fmt[DT_BF16].gemm_small = gemm_small_bf16;
    m->fmt[DT_BF16].unpack = unpack_bf16;
    m->fmt[DT_BF16].tile = tile_f;
    m->rmsnorm = rmsnorm_avx2;
    m->layernorm = layernorm_avx2;
    m->activate = activate_avx2;
    m->act_mul = act_mul_avx2;
    m->add = add_avx2;
    m->softcap = softcap_avx2;
    m->largest = largest_avx2;
    m->axpy = axpy_avx2;
    m->rotate = rotate_avx2;
    m->rotate_pairs = rotate_pairs_avx2;
    m->f32_to_f16 = f32_to_f16_avx2;
    m->f16_to_f32 = f16_to_f32_avx2;
}
