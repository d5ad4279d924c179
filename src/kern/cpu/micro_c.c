/* micro_c.c: every micro-kernel in portable C: the definition that the ISA files must equal.
 *
 * Owns the order of each sum and the place of each rounding. Refuses speed beyond what a compiler
 * finds by itself. fmaf is one rounding; the build turns off contraction everywhere, so that a
 * product and a sum written apart stay apart. Invariant: micro.h's arithmetic, to the bit.
 */
#include <math.h>
#include <string.h>

#include "kern/cpu/micro.h"

/* ---- activations ----------------------------------------------------------------------- */

static uint32_t abs_bits(float x) {
    return f32_bits(x) & 0x7fffffffu;
}

static int round_clamp(float x) {
    long v = lrintf(x);
    return v > 127 ? 127 : v < -127 ? -127 : (int)v;
}

/* One block of n <= 32 activations, zeros after them. top: the row's largest, or 0 for a row that
 * is all zeros or not finite; d: its scale. */
static void quantize_block(const float *x, int n, int b, float top, float d, struct act_group *g) {
    int8_t *q = g->q + b * MICRO_BLOCK;
    int total = 0;
    memset(q, 0, MICRO_BLOCK);
    for (int h = 0; h < 2; h++) {
        int mul = 1, sum = 0, end = n < h * 16 + 16 ? n : h * 16 + 16;
        if (top > 0) {
            float most = 0;
            for (int i = h * 16; i < end; i++) {
                most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
            }
            mul = (int)ceilf(most * (MICRO_MUL / top));
            mul = mul < 1 ? 1 : mul > MICRO_MUL ? MICRO_MUL : mul;
            float inv = 1.0f / ((float)mul * d);
            for (int i = h * 16; i < end; i++) {
                q[i] = (int8_t)round_clamp(x[i] * inv);
                sum += q[i];
            }
        }
        total += micro_put_half(g, b, h, mul, sum);
    }
    g->s[b] = (float)total;
}

static void quantize_c(const float *x, int64_t n, struct act_group *out) {
    uint32_t bits = 0;
    for (int64_t i = 0; i < n; i++) {
        bits = abs_bits(x[i]) > bits ? abs_bits(x[i]) : bits;
    }
    bool finite = bits < 0x7f800000u;
    float top = finite && f32_from_bits(bits) >= 1e-30f ? f32_from_bits(bits) : 0;
    float d = top / (127.0f * MICRO_MUL);
    for (int64_t b = 0; b < micro_groups(n) * MICRO_GROUP; b++) {
        int64_t left = n - b * MICRO_BLOCK;
        int len = left > MICRO_BLOCK ? MICRO_BLOCK : left > 0 ? (int)left : 0;
        struct act_group *g = out + b / MICRO_GROUP;
        g->d = finite ? d : NAN;
        quantize_block(len > 0 ? x + b * MICRO_BLOCK : x, len, (int)(b % MICRO_GROUP), top, d, g);
    }
}

/* ---- quantized weights ------------------------------------------------------------------- */

/* Adds the product of block b to its lane. */
static void lane_add(float lane[8], const struct micro_block *w, enum micro_kind kind, int b,
                     const struct act_group *x) {
    const int8_t *q = x->q + b * MICRO_BLOCK;
    int32_t dot[2] = {0, 0};
    for (int i = 0; i < 16; i++) {
        dot[0] += w->w[i] * q[i];
        dot[1] += w->w[i + 16] * q[i + 16];
    }
    const int mul[2] = {micro_mul(x, b, 0), micro_mul(x, b, 1)};
    if (kind == MICRO_WIDE) {
        float sum = (float)dot[0] * (float)mul[0];
        sum = fmaf((float)dot[1], (float)mul[1], sum);
        lane[b] = fmaf(sum, w->d[0], lane[b]);
    } else if (kind == MICRO_SPLIT || kind == MICRO_SPLIT_MINS) {
        lane[b] = fmaf((float)(dot[0] * mul[0]), w->d[0], lane[b]);
        lane[b] = fmaf((float)(dot[1] * mul[1]), w->d[1], lane[b]);
    } else {
        int32_t sum = dot[0] * mul[0] + dot[1] * mul[1];
        lane[b] = fmaf((float)sum, w->d[0], lane[b]);
    }
    if (kind == MICRO_NARROW_MIN) {
        lane[b] = fmaf(w->min[0], x->s[b], lane[b]);
    } else if (kind == MICRO_SPLIT_MINS) {
        lane[b] = fmaf(w->min[0], (float)x->prod[micro_half(b, 0)], lane[b]);
        lane[b] = fmaf(w->min[1], (float)x->prod[micro_half(b, 1)], lane[b]);
    }
}

static void gemv_q(enum dtype type, const uint8_t *w, size_t row_bytes, int n_row,
                   const struct act_group *x, int64_t n_col, float *y) {
    enum micro_kind kind;
    micro_block_fn block = micro_block(type, &kind);
    for (int r = 0; r < n_row; r++, w += row_bytes) {
        float lane[8] = {0};
        for (int64_t b = 0; b < n_col / MICRO_BLOCK; b++) {
            struct micro_block o;
            block(w, b, &o);
            lane_add(lane, &o, kind, (int)(b % 8), x + b / 8);
        }
        y[r] = x->d * micro_sum8(lane);
    }
}

static void gemm_small_q(enum dtype type, const uint8_t *w, size_t row_bytes, int n_row,
                         const void *const *x, int n_tok, int64_t n_col, float *y) {
    enum micro_kind kind;
    micro_block_fn block = micro_block(type, &kind);
    for (int r = 0; r < n_row; r++, w += row_bytes) {
        float lane[MICRO_SMALL][8] = {{0}};
        for (int64_t b = 0; b < n_col / MICRO_BLOCK; b++) {
            struct micro_block o;
            block(w, b, &o);
            for (int t = 0; t < n_tok; t++) {
                const struct act_group *g = (const struct act_group *)x[t] + b / 8;
                lane_add(lane[t], &o, kind, (int)(b % 8), g);
            }
        }
        for (int t = 0; t < n_tok; t++) {
            y[t * n_row + r] = ((const struct act_group *)x[t])->d * micro_sum8(lane[t]);
        }
    }
}

#define ROWS_C 16 /* rows in a panel */
#define TOKS_C 6  /* rows in a tile */

/* A panel in C: struct micro_block [block][row]. A tile: struct act_group [token][group]. */
static void unpack_q(enum dtype type, const uint8_t *const *row, int64_t n_col, void *panel) {
    enum micro_kind kind;
    micro_block_fn block = micro_block(type, &kind);
    struct micro_block *o = panel;
    for (int64_t b = 0; b < n_col / MICRO_BLOCK; b++) {
        for (int r = 0; r < ROWS_C; r++) {
            block(row[r], b, o++);
        }
    }
}

static void pack_q(const void *const *x, int n_tok, int64_t n_col, void *tile) {
    size_t bytes = micro_act_bytes(MICRO_ACT_Q8, n_col);
    for (int t = 0; t < n_tok; t++) {
        memcpy((uint8_t *)tile + (size_t)t * bytes, x[t], bytes);
    }
}

static void tile_q(enum dtype type, const struct micro_block *panel, const struct act_group *x,
                   int n_tok, int64_t n_col, float *y) {
    enum micro_kind kind;
    micro_block(type, &kind);
    for (int t = 0; t < n_tok; t++, x += micro_groups(n_col)) {
        for (int r = 0; r < ROWS_C; r++) {
            float lane[8] = {0};
            for (int64_t b = 0; b < n_col / MICRO_BLOCK; b++) {
                lane_add(lane, &panel[b * ROWS_C + r], kind, (int)(b % 8), x + b / 8);
            }
            y[t * ROWS_C + r] = x->d * micro_sum8(lane);
        }
    }
}

#define FORMAT_Q(name, type)                                                                       \
    static void gemv_##name(const uint8_t *w, size_t row_bytes, int n_row, const void *x,          \
                            int64_t n_col, float *y) {                                             \
        gemv_q(type, w, row_bytes, n_row, x, n_col, y);                                            \
    }                                                                                              \
    static void gemm_small_##name(const uint8_t *w, size_t row_bytes, int n_row,                   \
                                  const void *const *x, int n_tok, int64_t n_col, float *y) {      \
        gemm_small_q(type, w, row_bytes, n_row, x, n_tok, n_col, y);                               \
    }                                                                                              \
    static void unpack_##name(const uint8_t *const *row, int64_t n_col, void *panel) {             \
        unpack_q(type, row, n_col, panel);                                                         \
    }                                                                                              \
    static void tile_##name(const void *panel, const void *tile, int n_tok, int64_t n_col,         \
                            const struct micro_wanted *next, float *y) {                           \
        (void)next;                                                                                \
        tile_q(type, panel, tile, n_tok, n_col, y);                                                \
    }

MICRO_FORMATS(FORMAT_Q)

/* ---- float weights ------------------------------------------------------------------------ */

static void load_f32(const uint8_t *row, int64_t n, float *out) {
    memcpy(out, row, (size_t)n * sizeof *out);
}

static void load_f16(const uint8_t *row, int64_t n, float *out) {
    for (int64_t i = 0; i < n; i++) {
        out[i] = f32_from_f16(((const f16_t *)row)[i]);
    }
}

static void load_bf16(const uint8_t *row, int64_t n, float *out) {
    for (int64_t i = 0; i < n; i++) {
        out[i] = f32_from_bf16(((const bf16_t *)row)[i]);
    }
}

typedef void (*load_fn)(const uint8_t *row, int64_t n, float *out);

static float dot_f32(const float *w, const float *x, int64_t n) {
    float lane[8] = {0};
    for (int64_t i = 0; i < n; i++) {
        lane[i % 8] = fmaf(w[i], x[i], lane[i % 8]);
    }
    return micro_sum8(lane);
}

static void gemv_f(load_fn load, size_t size, const uint8_t *w, size_t row_bytes, int n_row,
                   const float *x, int64_t n_col, float *y) {
    enum { PART = 512 };
    for (int r = 0; r < n_row; r++, w += row_bytes) {
        float lane[8] = {0}, part[PART];
        for (int64_t i = 0; i < n_col; i += PART) {
            int64_t n = n_col - i < PART ? n_col - i : PART;
            load(w + (size_t)i * size, n, part);
            for (int64_t j = 0; j < n; j++) {
                lane[j % 8] = fmaf(part[j], x[i + j], lane[j % 8]);
            }
        }
        y[r] = micro_sum8(lane);
    }
}

static void gemm_small_f(load_fn load, size_t size, const uint8_t *w, size_t row_bytes, int n_row,
                         const void *const *x, int n_tok, int64_t n_col, float *y) {
    for (int r = 0; r < n_row; r++, w += row_bytes) { /* a row stays in cache while x passes */
        for (int t = 0; t < n_tok; t++) {
            gemv_f(load, size, w, row_bytes, 1, x[t], n_col, y + t * n_row + r);
        }
    }
}

/* A panel of floats: [row][micro_pad8(n_col)]; a tile likewise. */
static void unpack_f(load_fn load, const uint8_t *const *row, int64_t n_col, float *panel) {
    int64_t step = micro_pad8(n_col);
    for (int r = 0; r < ROWS_C; r++, panel += step) {
        load(row[r], n_col, panel);
        memset(panel + n_col, 0, (size_t)(step - n_col) * sizeof *panel);
    }
}

static void pack_f(const void *const *x, int n_tok, int64_t n_col, void *tile) {
    size_t bytes = micro_act_bytes(MICRO_ACT_F32, n_col);
    for (int t = 0; t < n_tok; t++) {
        memcpy((uint8_t *)tile + (size_t)t * bytes, x[t], bytes);
    }
}

static void tile_f(const void *panel, const void *tile, int n_tok, int64_t n_col,
                   const struct micro_wanted *next, float *y) {
    (void)next;
    int64_t step = micro_pad8(n_col);
    for (int t = 0; t < n_tok; t++) {
        for (int r = 0; r < ROWS_C; r++) {
            y[t * ROWS_C + r] =
                dot_f32((const float *)panel + r * step, (const float *)tile + t * step, step);
        }
    }
}

#define FORMAT_F(name, size)                                                                       \
    static void gemv_##name(const uint8_t *w, size_t row_bytes, int n_row, const void *x,          \
                            int64_t n_col, float *y) {                                             \
        gemv_f(load_##name, size, w, row_bytes, n_row, x, n_col, y);                               \
    }                                                                                              \
    static void gemm_small_##name(const uint8_t *w, size_t row_bytes, int n_row,                   \
                                  const void *const *x, int n_tok, int64_t n_col, float *y) {      \
        gemm_small_f(load_##name, size, w, row_bytes, n_row, x, n_tok, n_col, y);                  \
    }                                                                                              \
    static void unpack_##name(const uint8_t *const *row, int64_t n_col, void *panel) {             \
        unpack_f(load_##name, row, n_col, panel);                                                  \
    }

FORMAT_F(f32, 4)
FORMAT_F(f16, 2)
FORMAT_F(bf16, 2)

/* ---- rows ---------------------------------------------------------------------------------- */

static void rmsnorm_c(const float *x, const float *w, int n, float eps, float *y) {
    float mean = dot_f32(x, x, n) / (float)n;
    float scale = 1.0f / sqrtf(mean + eps);
    for (int i = 0; i < n; i++) {
        y[i] = x[i] * scale * w[i];
    }
}

static void layernorm_c(const float *x, const float *w, const float *b, int n, float eps,
                        float *y) {
    float sum[8] = {0}, square[8] = {0};
    for (int i = 0; i < n; i++) {
        sum[i % 8] += x[i];
    }
    float mean = micro_sum8(sum) / (float)n;
    for (int i = 0; i < n; i++) {
        float d = x[i] - mean;
        square[i % 8] = fmaf(d, d, square[i % 8]);
    }
    float scale = 1.0f / sqrtf(micro_sum8(square) / (float)n + eps);
    for (int i = 0; i < n; i++) {
        y[i] = fmaf((x[i] - mean) * scale, w[i], b[i]);
    }
}

/* 2^k e^r with k the nearest integer to x / ln 2, ln 2 taken off in two parts, and e^r by its
 * Taylor polynomial of degree 7 on |r| <= ln 2 / 2. */
float micro_exp(float x) {
    if (isnan(x)) {
        return x;
    }
    if (x < -87.0f) {
        return 0.0f;
    }
    x = x > 88.5f ? 88.5f : x;
    float k = nearbyintf(x * 1.44269504f);
    float r = fmaf(k, -0.693145752f, x);
    r = fmaf(k, -1.42860677e-6f, r);
    float p = 1.0f / 5040;
    p = fmaf(p, r, 1.0f / 720);
    p = fmaf(p, r, 1.0f / 120);
    p = fmaf(p, r, 1.0f / 24);
    p = fmaf(p, r, 1.0f / 6);
    p = fmaf(p, r, 0.5f);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    /* 2^k in two factors: k reaches 128 at the top of the range. */
    int k0 = (int)k / 2, k1 = (int)k - k0;
    return p * f32_from_bits((uint32_t)(k0 + 127) << 23) *
           f32_from_bits((uint32_t)(k1 + 127) << 23);
}

static float silu(float x) {
    return x / (1.0f + micro_exp(-x));
}

/* tanh(u) = 1 - 2 / (e^2u + 1) */
static float gelu(float x) {
    float u = 0.797884561f * fmaf(0.044715f * x * x, x, x);
    float t = 1.0f - 2.0f / (micro_exp(2.0f * u) + 1.0f);
    return 0.5f * x * (1.0f + t);
}

/* x (1 + erf(x / sqrt(2))) / 2 by what is left of erf to 1, within 1.5e-7 (Abramowitz and Stegun,
 * 7.1.26): small results lose nothing, for nothing is taken from one. */
static float gelu_erf(float x) {
    float z = fabsf(x) * 0.707106781f, t = 1.0f / fmaf(0.3275911f, z, 1.0f);
    float p = 1.061405429f;
    p = fmaf(p, t, -1.453152027f);
    p = fmaf(p, t, 1.421413741f);
    p = fmaf(p, t, -0.284496736f);
    p = fmaf(p, t, 0.254829592f);
    float rest = 0.5f * x * (p * t * micro_exp(-(z * z)));
    return x >= 0 ? x - rest : rest;
}

static float activate(float x, enum kern_act act) {
    return act == ACT_SILU ? silu(x) : act == ACT_GELU ? gelu(x) : gelu_erf(x);
}

static void activate_c(float *x, int n, enum kern_act act) {
    for (int i = 0; i < n; i++) {
        x[i] = activate(x[i], act);
    }
}

static void act_mul_c(float *gate, const float *up, int n, enum kern_act act) {
    for (int i = 0; i < n; i++) {
        gate[i] = activate(gate[i], act) * up[i];
    }
}

static void softcap_c(float *x, int n, float cap) {
    float k = 2.0f / cap;
    for (int i = 0; i < n; i++) {
        x[i] = cap * (1.0f - 2.0f / (micro_exp(k * x[i]) + 1.0f));
    }
}

static void add_c(float *y, const float *x, int n) {
    for (int i = 0; i < n; i++) {
        y[i] += x[i];
    }
}

static float largest_c(const float *x, int n) {
    float top = x[0];
    for (int i = 1; i < n; i++) {
        top = x[i] > top || isnan(x[i]) ? x[i] : top; /* nothing is above NaN */
    }
    return top;
}

static void axpy_c(float *y, float a, const float *x, int n) {
    for (int i = 0; i < n; i++) {
        y[i] = fmaf(a, x[i], y[i]);
    }
}

static void rotate_c(float *head, const float *cos, const float *sin, int half) {
    for (int i = 0; i < half; i++) {
        float u = head[i], v = head[i + half];
        head[i] = fmaf(u, cos[i], -(v * sin[i]));
        head[i + half] = fmaf(u, sin[i], v * cos[i]);
    }
}

static void rotate_pairs_c(float *head, const float *cos, const float *sin, int half) {
    for (int i = 0; i < half; i++) {
        float u = head[2 * i], v = head[2 * i + 1];
        head[2 * i] = fmaf(u, cos[i], -(v * sin[i]));
        head[2 * i + 1] = fmaf(u, sin[i], v * cos[i]);
    }
}

static void f32_to_f16_c(const float *x, f16_t *y, int n) {
    for (int i = 0; i < n; i++) {
        y[i] = f16_from_f32(x[i]);
    }
}

static void f16_to_f32_c(const f16_t *x, float *y, int n) {
    for (int i = 0; i < n; i++) {
        y[i] = f32_from_f16(x[i]);
    }
}

/* ---- the table ---------------------------------------------------------------------------------
 */

#define GROUP_BLOCKS (MICRO_GROUP * ROWS_C * sizeof(struct micro_block))
#define GROUP_ACTS   (TOKS_C * sizeof(struct act_group))
#define ENTRY_Q(name)                                                                              \
    (struct micro_format) {                                                                        \
        .act = MICRO_ACT_Q8, .rows = ROWS_C, .toks = TOKS_C, .small_min = 2, .gemv = gemv_##name,  \
        .gemm_small = gemm_small_##name, .unpack = unpack_##name, .pack = pack_q,                  \
        .tile = tile_##name, .panel_bytes = GROUP_BLOCKS, .tile_bytes = GROUP_ACTS,                \
    }
#define SET_Q(name, type) m->fmt[type] = ENTRY_Q(name);
#define ENTRY_F(name)                                                                              \
    (struct micro_format) {                                                                        \
        .act = MICRO_ACT_F32, .rows = ROWS_C, .toks = TOKS_C, .small_min = 2, .gemv = gemv_##name, \
        .gemm_small = gemm_small_##name, .unpack = unpack_##name, .pack = pack_f, .tile = tile_f,  \
        .panel_bytes = 256 * ROWS_C * sizeof(float), .tile_bytes = 256 * TOKS_C * sizeof(float),   \
    }

void micro_init_c(struct micro *m) {
    *m = (struct micro){
        .name = "c",
        .gemm_min = 4,
        .quantize = quantize_c,
        .rmsnorm = rmsnorm_c,
        .layernorm = layernorm_c,
        .activate = activate_c,
        .act_mul = act_mul_c,
        .add = add_c,
        .softcap = softcap_c,
        .largest = largest_c,
        .axpy = axpy_c,
        .rotate = rotate_c,
        .rotate_pairs = rotate_pairs_c,
        .f32_to_f16 = f32_to_f16_c,
        .f16_to_f32 = f16_to_f32_c,
    };
    micro_att_init_c(m);
    MICRO_FORMATS(SET_Q)
    m->fmt[DT_F32] = ENTRY_F(f32);
    m->fmt[DT_F16] = ENTRY_F(f16);
    m->fmt[DT_BF16] = ENTRY_F(bf16);
}
