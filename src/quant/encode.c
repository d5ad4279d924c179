/* encode.c: chooses scales and codes for each block format.
 *
 * Owns the search: candidates for a block's scale (Gersho and Gray 1992 call the walk that follows
 * Lloyd's: nearest codes for a scale, least squares for these codes), and in super-blocks the whole
 * numbers that the sub-scales are rounded to, tried with their neighbours after d and dmin are
 * known, which are then fitted again. Refuses bits of layout that quant.c does not define.
 * Invariant: every float operation stands here or in quant_kernel.h, in one order, never fused.
 */
#include "quant/encode.h"

#include <assert.h>
#include <math.h>

#define F16_MAX 65504.0f
#define TINY    1e-15f /* a block below this is all zeros: no f16 scale reaches it */

/* One row that is being encoded. */
struct row {
    const struct quant_search *s;
    const float *importance; /* [n] or NULL */
    float spread;            /* mean square of the row, for weights by importance */
    double err;
};

/* Weights of the squares in x [n], n <= QK_K, into w [n]; NULL: all the same. Where importance is
 * known a large value counts for more, as in llama.cpp: the error of a code grows with it. */
static const float *weigh(const struct row *r, const float *x, size_t at, int n, float *w) {
    for (int i = 0; i < n && r->importance; i++) {
        w[i] = r->importance[at + i] * sqrtf(r->spread + x[i] * x[i]);
    }
    return r->importance ? w : NULL;
}

static f16_t f16_of(float d) {
    return f16_from_f32(d < -F16_MAX ? -F16_MAX : d > F16_MAX ? F16_MAX : d);
}

static float f16_value(float d) {
    return f32_from_f16(f16_of(d));
}

/* The value of largest magnitude in x [n]. */
static float peak_of(const struct row *r, const float *x, int n) {
    float low, high;
    r->s->range(x, n, &low, &high);
    return -low > high ? low : high;
}

/* ---- one scale ----------------------------------------------------------------------------- */

/* Inverse scales that bring `peak` near `top` (the magnitude of the lowest code) or, with the other
 * sign, near the highest. */
static void scale_candidates(float peak, float top, float inv[QUANT_LANES]) {
    static const float most[QUANT_LANES] = {1.0f,   0.875f, 0.9f,  0.925f, 0.95f, 0.975f,
                                            1.025f, 1.05f,  1.08f, 0.84f,  0.80f, 0};
    for (int k = 0; k < 11; k++) {
        inv[k] = -top * most[k] / peak;
    }
    for (int k = 11; k < QUANT_LANES; k++) {
        inv[k] = (top - 1) * (0.88f + 0.06f * (float)(k - 11)) / peak;
    }
}

/* x ~ d q with q in -top..top - 1, d a binary16 value. */
static f16_t encode_scale(struct row *r, const float *x, const float *w, int n, float top,
                          int8_t *q) {
    struct quant_sums sums, again;
    float peak = peak_of(r, x, n), inv[QUANT_LANES];
    int8_t other[QK];
    if (!(fabsf(peak) >= TINY)) {
        r->s->assign_scale(x, w, n, 0, -top, top - 1, q, &sums);
        r->err += sums.err;
        return 0;
    }
    scale_candidates(peak, top, inv);
    float d = f16_value(r->s->fit_scale(x, w, n, inv, -top, top - 1));
    r->s->assign_scale(x, w, n, d, -top, top - 1, q, &sums);
    for (int i = 0; i < 2 && sums.wqq > 0; i++) {
        float better = f16_value(sums.wqx / sums.wqq);
        if (better == d) {
            break;
        }
        r->s->assign_scale(x, w, n, better, -top, top - 1, other, &again);
        if (!(again.werr < sums.werr)) {
            break;
        }
        d = better;
        sums = again;
        memcpy(q, other, (size_t)n);
    }
    r->err += sums.err;
    return f16_of(d);
}

/* ---- a scale and a minimum ------------------------------------------------------------------ */

/* Inverse scales that spread low..high over 0..top, more and less. */
static void line_candidates(float low, float high, float top, float inv[QUANT_LANES]) {
    float step = top > 20 ? 0.25f : top > 8 ? 0.17f : 0.1f;
    for (int k = 0; k < QUANT_LANES; k++) {
        inv[k] = (top + step * (float)(k - 10)) / (high - low);
    }
}

/* The line of least squares through the sums: x ~ *scale q - *min. */
static bool line_of(const struct quant_sums *s, float *scale, float *min) {
    float det = s->w * s->wqq - s->wq * s->wq;
    if (!(det > 0)) {
        return false;
    }
    *scale = (s->w * s->wqx - s->wx * s->wq) / det;
    *min = (s->wq * s->wqx - s->wqq * s->wx) / det;
    return true;
}

/* x ~ d q + m with q in 0..top, d and m binary16 values. */
static void encode_line(struct row *r, const float *x, const float *w, int n, float top, int8_t *q,
                        f16_t *d, f16_t *m) {
    struct quant_sums sums, again;
    float low, high, inv[QUANT_LANES], scale = 0, min;
    int8_t other[QK];
    r->s->range(x, n, &low, &high);
    min = -low;
    if (high - low >= TINY) {
        line_candidates(low, high, top, inv);
        scale = r->s->fit_line(x, w, n, inv, low, top, false, &min);
    }
    scale = f16_value(scale);
    min = f16_value(min);
    r->s->assign_line(x, w, n, scale, min, top, q, &sums);
    float a, b;
    for (int i = 0; i < 2 && line_of(&sums, &a, &b); i++) {
        a = f16_value(a);
        b = f16_value(b);
        r->s->assign_line(x, w, n, a, b, top, other, &again);
        if (!(again.werr < sums.werr)) {
            break;
        }
        scale = a;
        min = b;
        sums = again;
        memcpy(q, other, (size_t)n);
    }
    r->err += sums.err;
    *d = f16_of(scale);
    *m = f16_of(-min);
}

/* ---- super-blocks with a scale -------------------------------------------------------------- */

struct scales {
    float d;    /* a binary16 value */
    int sc[16]; /* of each sub-block of 16 */
};

static int nearest(float v) {
    return (int)lrintf(v);
}

/* Weights of sub-block j of `len`, where there are any. */
static const float *part_of(const float *w, int at) {
    return w ? w + at : NULL;
}

/* The scale of each sub-block by itself, into fit [16]; returns the one of largest magnitude. */
static float fit_scales(const struct row *r, const float *x, const float *w, float top,
                        float *fit) {
    float inv[QUANT_LANES], largest = 0;
    for (int j = 0; j < 16; j++) {
        float peak = peak_of(r, x + 16 * j, 16);
        fit[j] = 0;
        if (fabsf(peak) >= TINY) {
            scale_candidates(peak, top, inv);
            fit[j] = r->s->fit_scale(x + 16 * j, part_of(w, 16 * j), 16, inv, -top, top - 1);
        }
        largest = fabsf(fit[j]) > fabsf(largest) ? fit[j] : largest;
    }
    return largest;
}

/* x [256] ~ d sc[j] q with q in -top..top - 1 and sc in -most..most - 1. */
static void encode_scales(struct row *r, const float *x, const float *w, float top, int most,
                          struct scales *b, int8_t *q) {
    struct quant_sums sums;
    float fit[16];
    b->d = f16_value(-fit_scales(r, x, w, top, fit) / (float)most);
    for (int j = 0; j < 16; j++) {
        b->sc[j] = b->d != 0 ? nearest(fit[j] / b->d) : 0;
    }
    for (int pass = 0; pass < 2 && b->d != 0; pass++) {
        double up = 0, down = 0;
        for (int j = 0; j < 16; j++) {
            const float *xj = x + 16 * j, *wj = part_of(w, 16 * j);
            b->sc[j] = r->s->try_scales(xj, wj, 16, b->d, b->sc[j], most, top);
            r->s->assign_scale(xj, wj, 16, b->d * (float)b->sc[j], -top, top - 1, q + 16 * j,
                               &sums);
            up += (double)b->sc[j] * sums.wqx;
            down += (double)b->sc[j] * b->sc[j] * sums.wqq;
        }
        b->d = down > 0 ? f16_value((float)(up / down)) : b->d;
    }
    for (int j = 0; j < 16; j++) {
        r->s->assign_scale(x + 16 * j, part_of(w, 16 * j), 16, b->d * (float)b->sc[j], -top,
                           top - 1, q + 16 * j, &sums);
        r->err += sums.err;
    }
}

/* ---- super-blocks with scales and minima ---------------------------------------------------- */

struct lines {
    float d, dmin; /* binary16 values */
    int sc[16], mn[16];
    int n_sub, len; /* sub-blocks, and elements in each */
    float top;      /* largest code */
    int most;       /* largest scale and minimum */
};

/* Least squares for d and dmin, the whole numbers and codes as they are. */
struct normal {
    double aa, ab, bb, ay, by;
};

static void normal_add(struct normal *n, const struct quant_sums *s, double sc, double mn) {
    n->aa += sc * sc * s->wqq;
    n->ab -= sc * mn * s->wq;
    n->bb += mn * mn * s->w;
    n->ay += sc * s->wqx;
    n->by -= mn * s->wx;
}

static void normal_solve(const struct normal *n, struct lines *b) {
    double det = n->aa * n->bb - n->ab * n->ab;
    if (det > 1e-9 * n->aa * n->bb) {
        double d = (n->bb * n->ay - n->ab * n->by) / det;
        double dmin = (n->aa * n->by - n->ab * n->ay) / det;
        if (d > 0 && dmin > 0) {
            b->d = f16_value((float)d);
            b->dmin = f16_value((float)dmin);
        }
    } else if (n->aa > 0 && n->bb == 0 && n->ay > 0) {
        b->d = f16_value((float)(n->ay / n->aa));
    }
}

static void fit_lines(struct row *r, const float *x, const float *w, struct lines *b, float *scale,
                      float *min) {
    float most_scale = 0, most_min = 0, inv[QUANT_LANES];
    for (int j = 0; j < b->n_sub; j++) {
        float low, high;
        r->s->range(x + j * b->len, b->len, &low, &high);
        low = low < 0 ? low : 0;
        scale[j] = 0;
        min[j] = -low;
        if (high - low >= TINY) {
            line_candidates(low, high, b->top, inv);
            scale[j] = r->s->fit_line(x + j * b->len, part_of(w, j * b->len), b->len, inv, low,
                                      b->top, true, &min[j]);
        }
        scale[j] = scale[j] > 0 ? scale[j] : 0;
        most_scale = scale[j] > most_scale ? scale[j] : most_scale;
        most_min = min[j] > most_min ? min[j] : most_min;
    }
    b->d = f16_value(most_scale / (float)b->most);
    b->dmin = f16_value(most_min / (float)b->most);
}

/* x [256] ~ d sc[j] q - dmin mn[j]. */
static void encode_lines(struct row *r, const float *x, const float *w, struct lines *b,
                         int8_t *q) {
    float scale[16], min[16];
    struct quant_sums sums;
    fit_lines(r, x, w, b, scale, min);
    for (int j = 0; j < b->n_sub; j++) {
        b->sc[j] = b->d > 0 ? nearest(scale[j] / b->d) : 0;
        b->mn[j] = b->dmin > 0 ? nearest(min[j] / b->dmin) : 0;
    }
    for (int pass = 0; pass < 2; pass++) {
        struct normal normal = {0};
        for (int j = 0; j < b->n_sub; j++) {
            const float *xj = x + j * b->len, *wj = part_of(w, j * b->len);
            r->s->try_lines(xj, wj, b->len, b->d, b->dmin, b->top, b->most, &b->sc[j], &b->mn[j]);
            r->s->assign_line(xj, wj, b->len, b->d * (float)b->sc[j], b->dmin * (float)b->mn[j],
                              b->top, q + j * b->len, &sums);
            normal_add(&normal, &sums, b->sc[j], b->mn[j]);
        }
        normal_solve(&normal, b);
    }
    for (int j = 0; j < b->n_sub; j++) {
        r->s->assign_line(x + j * b->len, part_of(w, j * b->len), b->len, b->d * (float)b->sc[j],
                          b->dmin * (float)b->mn[j], b->top, q + j * b->len, &sums);
        r->err += sums.err;
    }
}

/* ---- layouts: codes to bits, the inverse of quant.c ----------------------------------------- */

static void pack_nibbles(uint8_t *to, const int8_t *q) {
    for (int i = 0; i < 16; i++) {
        to[i] = (uint8_t)((q[i] & 15) | (q[i + 16] & 15) << 4);
    }
}

/* The fifth bit of each of 32 codes. */
static void pack_fifth(uint8_t h[4], const int8_t *q) {
    memset(h, 0, 4);
    for (int i = 0; i < QK; i++) {
        h[i / 8] = (uint8_t)(h[i / 8] | (q[i] >> 4 & 1) << (i % 8));
    }
}

static void shift_codes(int8_t *q, int n, int by) {
    for (int i = 0; i < n; i++) {
        q[i] = (int8_t)(q[i] + by);
    }
}

static void put_q4_0(struct row *r, const float *x, const float *w, struct block_q4_0 *b) {
    int8_t q[QK] = {0};
    b->d = encode_scale(r, x, w, QK, 8, q);
    shift_codes(q, QK, 8);
    pack_nibbles(b->q, q);
}

static void put_q4_1(struct row *r, const float *x, const float *w, struct block_q4_1 *b) {
    int8_t q[QK] = {0};
    encode_line(r, x, w, QK, 15, q, &b->d, &b->m);
    pack_nibbles(b->q, q);
}

static void put_q5_0(struct row *r, const float *x, const float *w, struct block_q5_0 *b) {
    int8_t q[QK] = {0};
    b->d = encode_scale(r, x, w, QK, 16, q);
    shift_codes(q, QK, 16);
    pack_nibbles(b->q, q);
    pack_fifth(b->h, q);
}

static void put_q5_1(struct row *r, const float *x, const float *w, struct block_q5_1 *b) {
    int8_t q[QK] = {0};
    encode_line(r, x, w, QK, 31, q, &b->d, &b->m);
    pack_nibbles(b->q, q);
    pack_fifth(b->h, q);
}

/* 255 codes are so many that the largest value alone says the scale; then it is fitted. */
static void put_q8_0(struct row *r, const float *x, const float *w, struct block_q8_0 *b) {
    struct quant_sums sums, again;
    int8_t other[QK];
    float d = f16_value(fabsf(peak_of(r, x, QK)) / 127);
    r->s->assign_scale(x, w, QK, d, -127, 127, b->q, &sums);
    if (sums.wqq > 0) {
        float better = f16_value(sums.wqx / sums.wqq);
        r->s->assign_scale(x, w, QK, better, -127, 127, other, &again);
        if (again.werr < sums.werr) {
            d = better;
            sums = again;
            memcpy(b->q, other, sizeof other);
        }
    }
    r->err += sums.err;
    b->d = f16_of(d);
}

/* Two bits of each of 256 codes, from bit `from` on, as q2_k and q3_k hold them. */
static void pack_pairs(uint8_t *to, const int8_t *q) {
    memset(to, 0, 64);
    for (int i = 0; i < QK_K; i++) {
        uint8_t *at = to + i / 128 * 32 + i % 32;
        *at = (uint8_t)(*at | (q[i] & 3) << (i % 128 / 32 * 2));
    }
}

static void put_q2_k(struct row *r, const float *x, const float *w, struct block_q2_k *b) {
    struct lines l = {.n_sub = 16, .len = 16, .top = 3, .most = 15};
    int8_t q[QK_K] = {0};
    encode_lines(r, x, w, &l, q);
    for (int j = 0; j < 16; j++) {
        b->sc[j] = (uint8_t)(l.sc[j] | l.mn[j] << 4);
    }
    b->d = f16_of(l.d);
    b->dmin = f16_of(l.dmin);
    pack_pairs(b->q, q);
}

static void put_q3_k(struct row *r, const float *x, const float *w, struct block_q3_k *b) {
    struct scales s;
    int8_t q[QK_K] = {0};
    encode_scales(r, x, w, 4, 32, &s, q);
    memset(b->sc, 0, sizeof b->sc);
    memset(b->h, 0, sizeof b->h);
    for (int j = 0; j < 16; j++) {
        int v = s.sc[j] + 32;
        b->sc[j % 8] = (uint8_t)(b->sc[j % 8] | (v & 15) << (j / 8 * 4));
        b->sc[8 + j % 4] = (uint8_t)(b->sc[8 + j % 4] | (v >> 4) << (j / 4 * 2));
    }
    shift_codes(q, QK_K, 4);
    pack_pairs(b->q, q);
    for (int i = 0; i < QK_K; i++) {
        b->h[i % 32] = (uint8_t)(b->h[i % 32] | (q[i] >> 2 & 1) << (i / 32));
    }
    b->d = f16_of(s.d);
}

/* The inverse of quant_k4_scale. */
static void pack_k4(uint8_t sc[12], const struct lines *l) {
    memset(sc, 0, 12);
    for (int j = 0; j < 8; j++) {
        int s = l->sc[j], m = l->mn[j];
        if (j < 4) {
            sc[j] = (uint8_t)(sc[j] | s);
            sc[j + 4] = (uint8_t)(sc[j + 4] | m);
        } else {
            sc[j + 4] = (uint8_t)((s & 15) | (m & 15) << 4);
            sc[j - 4] = (uint8_t)(sc[j - 4] | (s >> 4) << 6);
            sc[j] = (uint8_t)(sc[j] | (m >> 4) << 6);
        }
    }
}

static void pack_k4_codes(uint8_t *to, const int8_t *q) {
    for (int i = 0; i < QK_K / 2; i++) {
        const int8_t *at = q + i / 32 * 64 + i % 32;
        to[i] = (uint8_t)((at[0] & 15) | (at[32] & 15) << 4);
    }
}

static void put_q4_k(struct row *r, const float *x, const float *w, struct block_q4_k *b) {
    struct lines l = {.n_sub = 8, .len = 32, .top = 15, .most = 63};
    int8_t q[QK_K] = {0};
    encode_lines(r, x, w, &l, q);
    b->d = f16_of(l.d);
    b->dmin = f16_of(l.dmin);
    pack_k4(b->sc, &l);
    pack_k4_codes(b->q, q);
}

static void put_q5_k(struct row *r, const float *x, const float *w, struct block_q5_k *b) {
    struct lines l = {.n_sub = 8, .len = 32, .top = 31, .most = 63};
    int8_t q[QK_K] = {0};
    encode_lines(r, x, w, &l, q);
    b->d = f16_of(l.d);
    b->dmin = f16_of(l.dmin);
    pack_k4(b->sc, &l);
    pack_k4_codes(b->q, q);
    memset(b->h, 0, sizeof b->h);
    for (int i = 0; i < QK_K; i++) {
        b->h[i % 32] = (uint8_t)(b->h[i % 32] | (q[i] >> 4 & 1) << (i / 32));
    }
}

static void put_q6_k(struct row *r, const float *x, const float *w, struct block_q6_k *b) {
    struct scales s;
    int8_t q[QK_K] = {0};
    encode_scales(r, x, w, 32, 128, &s, q);
    shift_codes(q, QK_K, 32);
    memset(b->ql, 0, sizeof b->ql);
    memset(b->qh, 0, sizeof b->qh);
    for (int i = 0; i < QK_K; i++) {
        uint8_t *low = b->ql + i / 128 * 64 + i % 64, *high = b->qh + i / 128 * 32 + i % 32;
        *low = (uint8_t)(*low | (q[i] & 15) << (i % 128 / 64 * 4));
        *high = (uint8_t)(*high | (q[i] >> 4 & 3) << (i % 128 / 32 * 2));
    }
    for (int j = 0; j < 16; j++) {
        b->sc[j] = (int8_t)s.sc[j];
    }
    b->d = f16_of(s.d);
}

/* ---- rows ------------------------------------------------------------------------------------ */

bool quant_can_encode(enum dtype type) {
    switch (type) {
    case DT_F32:
    case DT_F16:
    case DT_BF16:
    case DT_Q4_0:
    case DT_Q4_1:
    case DT_Q5_0:
    case DT_Q5_1:
    case DT_Q8_0:
    case DT_Q2_K:
    case DT_Q3_K:
    case DT_Q4_K:
    case DT_Q5_K:
    case DT_Q6_K: return true;
    default: return false;
    }
}

#define PUT_BLOCKS(kind, elements)                                                                 \
    do {                                                                                           \
        struct block_##kind *b = dst;                                                              \
        for (size_t i = 0; i < n; i += (elements)) {                                               \
            put_##kind(r, x + i, weigh(r, x + i, i, (elements), w), b + i / (elements));           \
        }                                                                                          \
    } while (0)

static void put_half(struct row *r, const float *x, f16_t *h, size_t n) {
    r->s->to_f16(x, h, n);
    for (size_t i = 0; i < n; i++) {
        double d = (double)x[i] - (double)f32_from_f16(h[i]);
        r->err += d * d;
    }
}

static void put_bfloat(struct row *r, const float *x, bf16_t *h, size_t n) {
    for (size_t i = 0; i < n; i++) {
        h[i] = bf16_from_f32(x[i]);
        double d = (double)x[i] - (double)f32_from_bf16(h[i]);
        r->err += d * d;
    }
}

static void put_row(struct row *r, enum dtype type, const float *x, void *dst, size_t n) {
    float w[QK_K];
    switch (type) {
    case DT_F32: memcpy(dst, x, n * sizeof *x); break;
    case DT_F16: put_half(r, x, dst, n); break;
    case DT_BF16: put_bfloat(r, x, dst, n); break;
    case DT_Q4_0: PUT_BLOCKS(q4_0, QK); break;
    case DT_Q4_1: PUT_BLOCKS(q4_1, QK); break;
    case DT_Q5_0: PUT_BLOCKS(q5_0, QK); break;
    case DT_Q5_1: PUT_BLOCKS(q5_1, QK); break;
    case DT_Q8_0: PUT_BLOCKS(q8_0, QK); break;
    case DT_Q2_K: PUT_BLOCKS(q2_k, QK_K); break;
    case DT_Q3_K: PUT_BLOCKS(q3_k, QK_K); break;
    case DT_Q4_K: PUT_BLOCKS(q4_k, QK_K); break;
    case DT_Q5_K: PUT_BLOCKS(q5_k, QK_K); break;
    case DT_Q6_K: PUT_BLOCKS(q6_k, QK_K); break;
    default: assert(false);
    }
}

bool quant_encode(const struct quant_search *s, enum dtype type, const float *x,
                  const float *importance, void *dst, size_t n, double *err) {
    struct row r = {.s = s, .importance = importance};
    float most = s->most(x, n);
    assert(quant_can_encode(type) && n % dtype_info(type)->block == 0);
    if (!(most <= (type == DT_F32 || type == DT_BF16 ? 3.3895314e38f : F16_MAX))) {
        return false;
    }
    if (importance) {
        double sum = 0;
        for (size_t i = 0; i < n; i++) {
            sum += (double)x[i] * (double)x[i];
        }
        r.spread = (float)(sum / (double)n);
    }
    put_row(&r, type, x, dst, n);
    *err += r.err;
    return true;
}
