/* micro_rows_neon.c: float weights and rows of floats for every processor of aarch64.
 *
 * Owns instructions, not arithmetic: see micro_neon.c, which has the quantized weights. Eight lanes
 * are two registers. Refuses what compilers vectorize from micro_c.c as well: add and axpy.
 * Only static functions and micro_rows_init_neon.
 */
#include <math.h>

#include "kern/cpu/micro_bits_neon.h"

/* The first n < 4 floats, then zeros; and back. */
INLINE float32x4_t load_some(const float *p, int n) {
    float part[4] = {0};
    memcpy(part, p, (size_t)n * sizeof *p);
    return vld1q_f32(part);
}

INLINE void store_some(float *p, float32x4_t v, int n) {
    float part[4];
    vst1q_f32(part, v);
    memcpy(p, part, (size_t)n * sizeof *p);
}

INLINE float32x4_t load_up_to(const float *p, int64_t n) {
    return n >= 4 ? vld1q_f32(p) : n > 0 ? load_some(p, (int)n) : vdupq_n_f32(0);
}

INLINE void store_up_to(float *p, float32x4_t v, int64_t n) {
    if (n >= 4) {
        vst1q_f32(p, v);
    } else if (n > 0) {
        store_some(p, v, (int)n);
    }
}

/* ---- activations ----------------------------------------------------------------------- */

/* 16 activations: their bytes, and the sum of those. */
INLINE int quantize_half(const float32x4_t v[4], float inv, int8_t *q) {
    const int32x4_t most = vdupq_n_s32(127), least = vdupq_n_s32(-127);
    int16x4_t n[4];
    for (int i = 0; i < 4; i++) {
        int32x4_t u = vcvtnq_s32_f32(vmulq_n_f32(v[i], inv));
        n[i] = vmovn_s32(vmaxq_s32(vminq_s32(u, most), least));
    }
    int16x8_t low = vcombine_s16(n[0], n[1]), high = vcombine_s16(n[2], n[3]);
    vst1q_s8(q, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
    return vaddvq_s16(vaddq_s16(low, high));
}

/* Block b of a group: 32 activations at x, of a row whose largest is top > 0 and whose scale is d;
 * equal to micro_c.c's. */
INLINE void quantize_block(const float *x, int b, float top, float d, struct act_group *g) {
    int total = 0;
    for (int h = 0; h < 2; h++) {
        float32x4_t v[4];
        for (int i = 0; i < 4; i++) {
            v[i] = vld1q_f32(x + 16 * h + 4 * i);
        }
        float32x4_t a = vmaxq_f32(vabsq_f32(v[0]), vabsq_f32(v[1]));
        float most = vmaxvq_f32(vmaxq_f32(a, vmaxq_f32(vabsq_f32(v[2]), vabsq_f32(v[3]))));
        int mul = (int)ceilf(most * (MICRO_MUL / top));
        mul = mul < 1 ? 1 : mul > MICRO_MUL ? MICRO_MUL : mul;
        int sum = quantize_half(v, 1.0f / ((float)mul * d), g->q + b * MICRO_BLOCK + 16 * h);
        total += micro_put_half(g, b, h, mul, sum);
    }
    g->s[b] = (float)total;
}

static void quantize_neon(const float *x, int64_t n, struct act_group *out) {
    uint32x4_t most = vdupq_n_u32(0);
    for (int64_t i = 0; i < n; i += 4) {
        float32x4_t v = vabsq_f32(load_up_to(x + i, n - i));
        most = vmaxq_u32(most, vreinterpretq_u32_f32(v));
    }
    uint32_t bits = vmaxvq_u32(most);
    bool finite = bits < 0x7f800000u;
    float top = finite && f32_from_bits(bits) >= 1e-30f ? f32_from_bits(bits) : 0;
    float d = top / (127.0f * MICRO_MUL);
    for (int64_t at = 0; at < n; at += 256, out++) {
        out->d = finite ? d : NAN;
        for (int b = 0; b < MICRO_GROUP; b++) {
            int64_t left = n - at - b * MICRO_BLOCK;
            float part[MICRO_BLOCK] = {0};
            const float *from = x + at + b * MICRO_BLOCK;
            if (left < MICRO_BLOCK || top <= 0) {
                left = top > 0 && left > 0 ? left : 0;
                memcpy(part, left > 0 ? from : x, (size_t)left * sizeof *x);
                from = part;
            }
            quantize_block(from, b, top > 0 ? top : 1, top > 0 ? d : 1, out);
        }
    }
}

/* ---- rows -------------------------------------------------------------------------------- */

static void rmsnorm_neon(const float *x, const float *w, int n, float eps, float *y) {
    float32x4_t lane[2] = {vdupq_n_f32(0), vdupq_n_f32(0)};
    for (int i = 0; i < n; i += 8) {
        for (int k = 0; k < 2; k++) {
            float32x4_t v = load_up_to(x + i + 4 * k, n - i - 4 * k);
            lane[k] = vfmaq_f32(lane[k], v, v);
        }
    }
    float mean = sum8(lane[0], lane[1]) / (float)n;
    float scale = 1.0f / sqrtf(mean + eps);
    for (int i = 0; i < n; i += 4) {
        float32x4_t v = vmulq_n_f32(load_up_to(x + i, n - i), scale);
        store_up_to(y + i, vmulq_f32(v, load_up_to(w + i, n - i)), n - i);
    }
}

INLINE void rotate4(float32x4_t *u, float32x4_t *v, float32x4_t cos, float32x4_t sin) {
    float32x4_t a = vfmaq_f32(vnegq_f32(vmulq_f32(*v, sin)), *u, cos);
    *v = vfmaq_f32(vmulq_f32(*v, cos), *u, sin);
    *u = a;
}

static void rotate_neon(float *head, const float *cos, const float *sin, int half) {
    for (int i = 0; i < half; i += 4) {
        float32x4_t u = load_up_to(head + i, half - i);
        float32x4_t v = load_up_to(head + half + i, half - i);
        rotate4(&u, &v, load_up_to(cos + i, half - i), load_up_to(sin + i, half - i));
        store_up_to(head + i, u, half - i);
        store_up_to(head + half + i, v, half - i);
    }
}

static void rotate_pairs_neon(float *head, const float *cos, const float *sin, int half) {
    for (int i = 0; i < half; i += 4) {
        int n = half - i < 4 ? half - i : 4;
        float part[8] = {0};
        float *p = n < 4 ? part : head + 2 * i;
        if (n < 4) {
            memcpy(part, head + 2 * i, (size_t)(2 * n) * sizeof *part);
        }
        float32x4x2_t v = vld2q_f32(p);
        rotate4(&v.val[0], &v.val[1], load_up_to(cos + i, n), load_up_to(sin + i, n));
        vst2q_f32(p, v);
        if (n < 4) {
            memcpy(head + 2 * i, part, (size_t)(2 * n) * sizeof *part);
        }
    }
}

static void f32_to_f16_neon(const float *x, f16_t *y, int n) {
    for (int i = 0; i < n; i += 4) {
        uint16_t part[4];
        vst1_u16(part, vreinterpret_u16_f16(vcvt_f16_f32(load_up_to(x + i, n - i))));
        memcpy(y + i, part, n - i < 4 ? (size_t)(n - i) * 2 : 8);
    }
}

INLINE float32x4_t load_half(const f16_t *x, int64_t n) {
    uint16_t part[4] = {0};
    memcpy(part, x, n < 4 ? (size_t)n * 2 : 8);
    return half4(vld1_u16(part));
}

static void f16_to_f32_neon(const f16_t *x, float *y, int n) {
    for (int i = 0; i < n; i += 4) {
        store_up_to(y + i, load_half(x + i, n - i), n - i);
    }
}

/* ---- exponentials ------------------------------------------------------------------------ */

/* micro_exp, four at once. The two factors of 2^k may be any: products of normal numbers with
 * powers of two are exact. */
INLINE float32x4_t exp4(float32x4_t x) {
    uint32x4_t low = vcltq_f32(x, vdupq_n_f32(-87.0f)); /* not of NaN */
    x = vminq_f32(x, vdupq_n_f32(88.5f));               /* keeps NaN */
    float32x4_t k = vrndnq_f32(vmulq_n_f32(x, 1.44269504f));
    float32x4_t r = vfmaq_f32(x, k, vdupq_n_f32(-0.693145752f));
    r = vfmaq_f32(r, k, vdupq_n_f32(-1.42860677e-6f));
    float32x4_t p = vdupq_n_f32(1.0f / 5040);
    p = vfmaq_f32(vdupq_n_f32(1.0f / 720), p, r);
    p = vfmaq_f32(vdupq_n_f32(1.0f / 120), p, r);
    p = vfmaq_f32(vdupq_n_f32(1.0f / 24), p, r);
    p = vfmaq_f32(vdupq_n_f32(1.0f / 6), p, r);
    p = vfmaq_f32(vdupq_n_f32(0.5f), p, r);
    p = vfmaq_f32(vdupq_n_f32(1.0f), p, r);
    p = vfmaq_f32(vdupq_n_f32(1.0f), p, r);
    int32x4_t n = vcvtq_s32_f32(k), n0 = vshrq_n_s32(n, 1), n1 = vsubq_s32(n, n0);
    p = vmulq_f32(p, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n0, vdupq_n_s32(127)), 23)));
    p = vmulq_f32(p, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n1, vdupq_n_s32(127)), 23)));
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(p), low));
}

INLINE float32x4_t gelu_erf(float32x4_t x) {
    const float32x4_t one = vdupq_n_f32(1.0f);
    float32x4_t z = vmulq_n_f32(vabsq_f32(x), 0.707106781f);
    float32x4_t t = vdivq_f32(one, vfmaq_f32(one, vdupq_n_f32(0.3275911f), z));
    float32x4_t p = vdupq_n_f32(1.061405429f);
    p = vfmaq_f32(vdupq_n_f32(-1.453152027f), p, t);
    p = vfmaq_f32(vdupq_n_f32(1.421413741f), p, t);
    p = vfmaq_f32(vdupq_n_f32(-0.284496736f), p, t);
    p = vfmaq_f32(vdupq_n_f32(0.254829592f), p, t);
    p = vmulq_f32(vmulq_f32(p, t), exp4(vnegq_f32(vmulq_f32(z, z))));
    float32x4_t rest = vmulq_f32(vmulq_n_f32(x, 0.5f), p);
    return vbslq_f32(vcgeq_f32(x, vdupq_n_f32(0)), vsubq_f32(x, rest), rest);
}

INLINE float32x4_t activate(float32x4_t x, enum kern_act act) {
    const float32x4_t one = vdupq_n_f32(1.0f);
    if (act == ACT_GELU_ERF) {
        return gelu_erf(x);
    }
    if (act == ACT_SILU) {
        return vdivq_f32(x, vaddq_f32(one, exp4(vnegq_f32(x))));
    }
    float32x4_t cube = vmulq_f32(vmulq_n_f32(x, 0.044715f), x);
    float32x4_t u = vmulq_n_f32(vfmaq_f32(x, cube, x), 0.797884561f);
    float32x4_t e = vaddq_f32(exp4(vmulq_n_f32(u, 2.0f)), one);
    float32x4_t t = vsubq_f32(one, vdivq_f32(vdupq_n_f32(2.0f), e));
    return vmulq_f32(vmulq_n_f32(x, 0.5f), vaddq_f32(one, t));
}

static void activate_neon(float *x, int n, enum kern_act act) {
    for (int i = 0; i < n; i += 4) {
        store_up_to(x + i, activate(load_up_to(x + i, n - i), act), n - i);
    }
}

static void act_mul_neon(float *gate, const float *up, int n, enum kern_act act) {
    for (int i = 0; i < n; i += 4) {
        float32x4_t g = activate(load_up_to(gate + i, n - i), act);
        store_up_to(gate + i, vmulq_f32(g, load_up_to(up + i, n - i)), n - i);
    }
}

static void softcap_neon(float *x, int n, float cap) {
    const float32x4_t one = vdupq_n_f32(1.0f), two = vdupq_n_f32(2.0f);
    for (int i = 0; i < n; i += 4) {
        float32x4_t e = exp4(vmulq_n_f32(load_up_to(x + i, n - i), 2.0f / cap));
        float32x4_t t = vsubq_f32(one, vdivq_f32(two, vaddq_f32(e, one)));
        store_up_to(x + i, vmulq_n_f32(t, cap), n - i);
    }
}

/* vmaxq gives NaN where one of two is. */
static float largest_neon(const float *x, int n) {
    enum { LANES = 16 };
    const float32x4_t least = vdupq_n_f32(-INFINITY);
    float32x4_t top[4] = {least, least, least, least};
    int i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int k = 0; k < 4; k++) {
            top[k] = vmaxq_f32(top[k], vld1q_f32(x + i + 4 * k));
        }
    }
    float best = vmaxvq_f32(vmaxq_f32(vmaxq_f32(top[0], top[1]), vmaxq_f32(top[2], top[3])));
    for (; i < n; i++) {
        best = x[i] > best || isnan(x[i]) ? x[i] : best;
    }
    return best;
}

/* ---- sums of eight lanes ------------------------------------------------------------------- */

#define DOT_ROWS 4
#define DOT_TOKS 3

/* micro_sum8 of four pairs of registers. */
INLINE float32x4_t sum8x4(float32x4_t v[4][2]) {
    float32x4_t u[2];
    for (int i = 0; i < 2; i++) { /* l0 + l4, l1 + l5, l2 + l6, l3 + l7 of two */
        float64x2_t a = vreinterpretq_f64_f32(vaddq_f32(v[2 * i][0], v[2 * i][1]));
        float64x2_t b = vreinterpretq_f64_f32(vaddq_f32(v[2 * i + 1][0], v[2 * i + 1][1]));
        u[i] = vaddq_f32(vreinterpretq_f32_f64(vtrn1q_f64(a, b)),
                         vreinterpretq_f32_f64(vtrn2q_f64(a, b)));
    }
    return vpaddq_f32(u[0], u[1]);
}

/* Products of four rows w with n_tok rows x, eight columns at a time: those of w are w_step floats
 * apart and w_next further for the next eight columns; x likewise. */
INLINE void dots_x4(int n_tok, const float *w, int64_t w_step, int64_t w_next, const float *x,
                    int64_t x_step, int64_t x_next, int64_t n_col, float32x4_t out[DOT_TOKS]) {
    float32x4_t acc[DOT_TOKS][DOT_ROWS][2];
#pragma GCC unroll 3
    for (int t = 0; t < n_tok; t++) {
        for (int r = 0; r < DOT_ROWS; r++) {
            acc[t][r][0] = acc[t][r][1] = vdupq_n_f32(0);
        }
    }
    for (int64_t c = 0; c < n_col; c += 8, w += w_next, x += x_next) {
        float32x4_t u[DOT_TOKS][2];
#pragma GCC unroll 3
        for (int t = 0; t < n_tok; t++) {
            u[t][0] = vld1q_f32(x + t * x_step);
            u[t][1] = vld1q_f32(x + t * x_step + 4);
        }
#pragma GCC unroll 4
        for (int r = 0; r < DOT_ROWS; r++) {
            float32x4_t low = vld1q_f32(w + r * w_step), high = vld1q_f32(w + r * w_step + 4);
#pragma GCC unroll 3
            for (int t = 0; t < n_tok; t++) {
                acc[t][r][0] = vfmaq_f32(acc[t][r][0], low, u[t][0]);
                acc[t][r][1] = vfmaq_f32(acc[t][r][1], high, u[t][1]);
            }
        }
    }
#pragma GCC unroll 3
    for (int t = 0; t < n_tok; t++) {
        out[t] = sum8x4(acc[t]);
    }
}

/* ---- float weights ------------------------------------------------------------------------
 *
 * Four rows share the loads of activations, and are eight chains of sums. A panel is
 * [4 fours of rows][8 columns][4 rows][8], a tile [4 threes of tokens][8 columns][3 tokens][8]:
 * streams without a stride, which might be a power of two.
 */

#define ROWS_F 16
#define TOKS_F 12

/* Four columns from i on, of which `left` are there. */
INLINE float32x4_t load_float(int type, const uint8_t *p, int64_t i, int64_t left) {
    if (type == DT_F32) {
        return load_up_to((const float *)(const void *)p + i, left);
    }
    if (left <= 0) {
        return vdupq_n_f32(0);
    }
    const uint16_t *h = (const uint16_t *)(const void *)p + i;
    if (type == DT_F16) {
        return load_half(h, left);
    }
    uint16_t part[4] = {0};
    memcpy(part, h, left < 4 ? (size_t)left * 2 : 8);
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(part), 16));
}

/* n <= 4 rows; y[n]. */
INLINE void gemv_rows(int type, int n, const uint8_t *w, size_t row_bytes, const float *x,
                      int64_t n_col, float *y) {
    float32x4_t acc[4][2];
#pragma GCC unroll 4
    for (int r = 0; r < n; r++) {
        acc[r][0] = acc[r][1] = vdupq_n_f32(0);
    }
    int64_t c = 0;
    for (; c + 8 <= n_col; c += 8) {
        float32x4_t low = vld1q_f32(x + c), high = vld1q_f32(x + c + 4);
#pragma GCC unroll 4
        for (int r = 0; r < n; r++) {
            const uint8_t *p = w + (size_t)r * row_bytes;
            acc[r][0] = vfmaq_f32(acc[r][0], load_float(type, p, c, 4), low);
            acc[r][1] = vfmaq_f32(acc[r][1], load_float(type, p, c + 4, 4), high);
        }
    }
    for (int r = 0; r < n && c < n_col; r++) {
        const uint8_t *p = w + (size_t)r * row_bytes;
        for (int k = 0; k < 2; k++) {
            float32x4_t v = load_float(type, p, c + 4 * k, n_col - c - 4 * k);
            acc[r][k] = vfmaq_f32(acc[r][k], v, vld1q_f32(x + c + 4 * k));
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < n; r++) {
        y[r] = sum8(acc[r][0], acc[r][1]);
    }
}

INLINE void gemv_f(int type, const uint8_t *w, size_t row_bytes, int n_row, const float *x,
                   int64_t n_col, float *y) {
    int r = 0;
    for (; r + 4 <= n_row; r += 4) {
        gemv_rows(type, 4, w + (size_t)r * row_bytes, row_bytes, x, n_col, y + r);
    }
    for (; r < n_row; r++) {
        gemv_rows(type, 1, w + (size_t)r * row_bytes, row_bytes, x, n_col, y + r);
    }
}

/* Weights come from memory for the first row of activations, from cache for the others. */
INLINE void gemm_small_f(int type, const uint8_t *w, size_t row_bytes, int n_row,
                         const void *const *x, int n_tok, int64_t n_col, float *y) {
    for (int r = 0; r < n_row; r += 4) {
        int n = n_row - r < 4 ? n_row - r : 4;
        for (int t = 0; t < n_tok; t++) {
            gemv_f(type, w + (size_t)r * row_bytes, row_bytes, n, x[t], n_col, y + t * n_row + r);
        }
    }
}

INLINE void unpack_f(int type, const uint8_t *const *row, int64_t n_col, float *panel) {
    for (int r = 0; r < ROWS_F; r += DOT_ROWS) {
        for (int64_t c = 0; c < n_col; c += 8) {
            for (int i = 0; i < DOT_ROWS; i++, panel += 8) {
                vst1q_f32(panel, load_float(type, row[r + i], c, n_col - c));
                vst1q_f32(panel + 4, load_float(type, row[r + i], c + 4, n_col - c - 4));
            }
        }
    }
}

static void pack_f(const void *const *x, int n_tok, int64_t n_col, void *tile) {
    float *to = tile;
    for (int u = 0; u < n_tok; u += DOT_TOKS) {
        for (int64_t c = 0; c < n_col; c += 8) {
            for (int t = u; t < u + DOT_TOKS; t++, to += 8) {
                if (t < n_tok) {
                    memcpy(to, (const float *)x[t] + c, 8 * sizeof *to);
                }
            }
        }
    }
}

INLINE void tile_rows(int n_tok, const float *w, const float *x, int64_t step, float *y) {
    float32x4_t out[DOT_TOKS];
    dots_x4(n_tok, w, 8, 8 * DOT_ROWS, x, 8, 8 * DOT_TOKS, step, out);
    for (int t = 0; t < n_tok; t++) {
        vst1q_f32(y + t * ROWS_F, out[t]);
    }
}

static void tile_f(const void *panel, const void *tile, int n_tok, int64_t n_col,
                   const struct micro_wanted *next, float *y) {
    micro_fetch_more(next, 0);
    const int64_t step = micro_pad8(n_col);
    for (int t = 0; t < n_tok; t += DOT_TOKS) {
        const float *x = (const float *)tile + t * step;
        for (int r = 0; r < ROWS_F; r += DOT_ROWS) {
            const float *w = (const float *)panel + r * step;
            float *to = y + t * ROWS_F + r;
            switch (n_tok - t) {
            case 1: tile_rows(1, w, x, step, to); break;
            case 2: tile_rows(2, w, x, step, to); break;
            default: tile_rows(3, w, x, step, to); break;
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

/* ---- the table ------------------------------------------------------------------------------ */

#define ENTRY_F(type, name)                                                                        \
    m->fmt[type] = (struct micro_format) {                                                         \
        .act = MICRO_ACT_F32, .rows = ROWS_F, .toks = TOKS_F, .small_min = 2, .gemv = gemv_##name, \
        .gemm_small = gemm_small_##name, .unpack = unpack_##name, .pack = pack_f, .tile = tile_f,  \
        .panel_bytes = 256 * ROWS_F * sizeof(float), .tile_bytes = 256 * TOKS_F * sizeof(float),   \
    }

void micro_rows_init_neon(struct micro *m) {
    ENTRY_F(DT_F32, f32);
    ENTRY_F(DT_F16, f16);
    ENTRY_F(DT_BF16, bf16);
    m->quantize = quantize_neon;
    m->rmsnorm = rmsnorm_neon;
    m->activate = activate_neon;
    m->act_mul = act_mul_neon;
    m->softcap = softcap_neon;
    m->largest = largest_neon;
    m->rotate = rotate_neon;
    m->rotate_pairs = rotate_pairs_neon;
    m->f32_to_f16 = f32_to_f16_neon;
    m->f16_to_f32 = f16_to_f32_neon;
}
