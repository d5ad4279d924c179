/* encode.c: chooses scales and codes for each block format.
 *
 * Owns the search: candidates for a block's scale (Gersho and Gray 1992 call the walk that follows
 * Lloyd's: nearest codes for a scale, least squares for these codes), and in super-blocks the whole
 * numbers that the sub-scales are rounded to, tried with their neighbours after d and dmin are
 * known, which are then fitted again. Sixteen blocks are searched at once, whatever rows they are
 * of. Refuses bits of layout that quant.c does not define.
 * Invariant: every float operation stands here or in quant_kernel.h, in one order, never fused.
 */
#include "quant/encode.h"

#include <assert.h>
#include <math.h>

#define F16_MAX 65504.0f

/* What is being encoded: rows as one long list of blocks. */
struct run {
    const struct quant_search *s;
    const float *x;          /* [n_row, n] */
    const float *importance; /* [n] or NULL */
    size_t n, n_row;
    size_t row; /* the one whose mean square `spread` is; SIZE_MAX: none */
    float spread;
    double err;
    struct quant_blocks b; /* in hand */
    int n_block;           /* of these, how many are not filling */
};

static f16_t f16_of(float d) {
    return f16_from_f32(d < -F16_MAX ? -F16_MAX : d > F16_MAX ? F16_MAX : d);
}

static float f16_value(float d) {
    return f32_from_f16(f16_of(d));
}

/* The next 16 times `len` elements of a list [n] that is repeated row after row, as the kernels
 * take them; zeros after the last row. */
static void turn_next(struct run *r, const float *list, size_t n, size_t at, int len,
                      float (*to)[QUANT_LANES]) {
    float some[QUANT_LANES * QUANT_MOST];
    size_t all = (size_t)(QUANT_LANES * len), end = r->n * r->n_row;
    size_t first = at % n, straight = n - first < all ? n - first : all;
    if (straight == all && at + all <= end) {
        r->s->turn(list + first, len, to);
        return;
    }
    for (size_t i = 0; i < all; i++) {
        some[i] = at + i < end ? list[(at + i) % n] : 0;
    }
    r->s->turn(some, len, to);
}

/* The mean square of a row; that of the last one asked for is kept. */
static float spread_of(struct run *r, size_t row) {
    if (row != r->row) {
        r->row = row;
        r->spread = r->s->squares(r->x + row * r->n, r->n) / (float)r->n;
    }
    return r->spread;
}

/* Takes the next 16 blocks of `len` elements, from element `at` on, and weighs them. A large
 * value's error counts for more: what multiplies it is no smaller for its being large, and a row's
 * sum is mostly made of such (measured: docs/speed/QUANTIZING.md). Where importance is known, that
 * says most of it, and the weight is llama.cpp's. */
static void load_blocks(struct run *r, size_t at, int len) {
    float spread[QUANT_LANES] = {0};
    size_t left = (r->n * r->n_row - at) / (size_t)len;
    r->b.n = len;
    r->n_block = left < QUANT_LANES ? (int)left : QUANT_LANES;
    turn_next(r, r->x, r->n * r->n_row, at, len, r->b.x);
    if (r->importance) {
        turn_next(r, r->importance, r->n, at, len, r->b.w);
    }
    for (int k = 0; k < r->n_block; k++) {
        spread[k] = spread_of(r, (at + (size_t)(k * len)) / r->n);
    }
    r->s->weigh(&r->b, spread, r->importance != NULL);
}

/* Codes for scales and minima as they are. */
static void finish_blocks(struct run *r, float lo, float hi) {
    r->s->assign(&r->b, lo, hi);
    for (int k = 0; k < r->n_block; k++) {
        r->err += (double)r->b.err[k];
    }
}

/* ---- blocks of 32 --------------------------------------------------------------------------- */

/* x ~ d q with q in -top..top - 1, d a binary16 value. */
static void encode_scale(struct run *r, float top) {
    r->s->fit_scales(&r->b, top);
    r->s->settle_scales(&r->b, -top, top - 1);
    finish_blocks(r, -top, top - 1);
}

/* x ~ d q + m with q in 0..top, d and m binary16 values. */
static void encode_line(struct run *r, float top) {
    r->s->fit_lines(&r->b, top, false);
    r->s->settle_lines(&r->b, top);
    finish_blocks(r, 0, top);
}

/* 255 codes are so many that the largest value alone says the scale; then it is fitted. */
static void encode_bytes(struct run *r) {
    for (int k = 0; k < QUANT_LANES; k++) {
        float most = 0;
        for (int i = 0; i < QK; i++) {
            float v = fabsf(r->b.x[i][k]);
            most = v > most ? v : most;
        }
        r->b.scale[k] = most / 127;
        r->b.min[k] = 0;
    }
    r->s->settle_scales(&r->b, -127, 127);
    finish_blocks(r, -127, 127);
}

/* ---- super-blocks with a scale -------------------------------------------------------------- */

static int nearest(float v) {
    return (int)lrintf(v);
}

/* x [256] ~ d sc[j] q with q in -top..top - 1 and sc in -most..most - 1, the sub-blocks side by
 * side. Returns d, a binary16 value. */
static float encode_scales(struct run *r, float top, int most, int sc[QUANT_LANES]) {
    struct quant_blocks *b = &r->b;
    float d[QUANT_LANES], largest = 0, whole;
    r->s->fit_scales(b, top);
    for (int j = 0; j < QUANT_LANES; j++) {
        largest = fabsf(b->scale[j]) > fabsf(largest) ? b->scale[j] : largest;
    }
    whole = f16_value(-largest / (float)most);
    for (int j = 0; j < QUANT_LANES; j++) {
        sc[j] = whole != 0 ? nearest(b->scale[j] / whole) : 0;
    }
    for (int pass = 0; pass < 2 && whole != 0; pass++) {
        double up = 0, down = 0;
        for (int j = 0; j < QUANT_LANES; j++) {
            d[j] = whole;
        }
        r->s->try_scales(b, d, 2 - pass, most, top, sc);
        for (int j = 0; j < QUANT_LANES; j++) {
            up += (double)sc[j] * (double)b->swqx[j];
            down += (double)sc[j] * sc[j] * (double)b->swqq[j];
        }
        whole = down > 0 ? f16_value((float)(up / down)) : whole;
    }
    for (int j = 0; j < QUANT_LANES; j++) {
        b->scale[j] = whole * (float)sc[j];
    }
    finish_blocks(r, -top, top - 1);
    return whole;
}

/* ---- super-blocks with scales and minima ---------------------------------------------------- */

/* One super-block of 16 sub-blocks, or two of 8, side by side. */
struct lines {
    int n_sub;                               /* sub-blocks of a super-block */
    float top;                               /* largest code */
    int most;                                /* largest scale and minimum */
    float d[QUANT_LANES], dmin[QUANT_LANES]; /* binary16 values, the same in a super-block */
    int sc[QUANT_LANES], mn[QUANT_LANES];
};

/* Least squares for d and dmin of the super-block from lane `at` on, the whole numbers and codes as
 * they are. */
static void solve_lines(const struct quant_blocks *b, struct lines *l, int at) {
    double aa = 0, ab = 0, bb = 0, ay = 0, by = 0, d = (double)l->d[at], m = (double)l->dmin[at];
    for (int j = at; j < at + l->n_sub; j++) {
        double sc = l->sc[j], mn = l->mn[j];
        aa += sc * sc * (double)b->swqq[j];
        ab -= sc * mn * (double)b->swq[j];
        bb += mn * mn * (double)b->sw[j];
        ay += sc * (double)b->swqx[j];
        by -= mn * (double)b->swx[j];
    }
    double det = aa * bb - ab * ab;
    if (det > 1e-9 * aa * bb) {
        double x = (bb * ay - ab * by) / det, y = (aa * by - ab * ay) / det;
        d = x > 0 && y > 0 ? x : d;
        m = x > 0 && y > 0 ? y : m;
    } else if (aa > 0 && bb == 0 && ay > 0) {
        d = ay / aa;
    }
    for (int j = at; j < at + l->n_sub; j++) {
        l->d[j] = f16_value((float)d);
        l->dmin[j] = f16_value((float)m);
    }
}

/* d and dmin so that the largest scale and minimum have the largest whole numbers. */
static void begin_lines(const struct quant_blocks *b, struct lines *l, int at) {
    float most_scale = 0, most_min = 0;
    for (int j = at; j < at + l->n_sub; j++) {
        most_scale = b->scale[j] > most_scale ? b->scale[j] : most_scale;
        most_min = b->min[j] > most_min ? b->min[j] : most_min;
    }
    float d = f16_value(most_scale / (float)l->most), m = f16_value(most_min / (float)l->most);
    for (int j = at; j < at + l->n_sub; j++) {
        l->d[j] = d;
        l->dmin[j] = m;
        l->sc[j] = d > 0 && b->scale[j] > 0 ? nearest(b->scale[j] / d) : 0;
        l->mn[j] = m > 0 ? nearest(b->min[j] / m) : 0;
    }
}

/* x [256] ~ d sc[j] q - dmin mn[j]. */
static void encode_lines(struct run *r, struct lines *l) {
    static const int tries[2] = {16, 7};
    struct quant_blocks *b = &r->b;
    r->s->fit_lines(b, l->top, true);
    for (int at = 0; at < QUANT_LANES; at += l->n_sub) {
        begin_lines(b, l, at);
    }
    for (int pass = 0; pass < 2; pass++) {
        r->s->try_lines(b, l->d, l->dmin, tries[pass], l->most, l->top, l->sc, l->mn);
        for (int at = 0; at < QUANT_LANES; at += l->n_sub) {
            solve_lines(b, l, at);
        }
    }
    for (int j = 0; j < QUANT_LANES; j++) {
        b->scale[j] = l->d[j] * (float)l->sc[j];
        b->min[j] = l->dmin[j] * (float)l->mn[j];
    }
    finish_blocks(r, 0, l->top);
}

/* ---- layouts: codes to bits, the inverse of quant.c ----------------------------------------- */

static void pack_nibbles(uint8_t *to, const int8_t *q) {
    for (int i = 0; i < 16; i++) {
        to[i] = (uint8_t)((q[i] & 15) | (q[i + 16] & 15) << 4);
    }
}

/* The fifth bit of each of 32 codes. */
static void pack_fifth(uint8_t h[4], const int8_t *q) {
    uint32_t bits = 0;
    for (int i = 0; i < QK; i++) {
        bits |= (uint32_t)(q[i] >> 4 & 1) << i;
    }
    for (int i = 0; i < 4; i++) {
        h[i] = (uint8_t)(bits >> (8 * i));
    }
}

static void shift_codes(int8_t *q, int n, int by) {
    for (int i = 0; i < n; i++) {
        q[i] = (int8_t)(q[i] + by);
    }
}

/* Each takes what the next 16 blocks, or as many as are left, need of `dst`. */

static void put_q4_0(struct run *r, struct block_q4_0 *b) {
    int8_t *q = r->b.q;
    encode_scale(r, 8);
    shift_codes(q, QUANT_LANES * QK, 8);
    for (int k = 0; k < r->n_block; k++) {
        b[k].d = f16_of(r->b.scale[k]);
        pack_nibbles(b[k].q, q + QK * k);
    }
}

static void put_q4_1(struct run *r, struct block_q4_1 *b) {
    encode_line(r, 15);
    for (int k = 0; k < r->n_block; k++) {
        b[k].d = f16_of(r->b.scale[k]);
        b[k].m = f16_of(-r->b.min[k]);
        pack_nibbles(b[k].q, r->b.q + QK * k);
    }
}

static void put_q5_0(struct run *r, struct block_q5_0 *b) {
    int8_t *q = r->b.q;
    encode_scale(r, 16);
    shift_codes(q, QUANT_LANES * QK, 16);
    for (int k = 0; k < r->n_block; k++) {
        b[k].d = f16_of(r->b.scale[k]);
        pack_nibbles(b[k].q, q + QK * k);
        pack_fifth(b[k].h, q + QK * k);
    }
}

static void put_q5_1(struct run *r, struct block_q5_1 *b) {
    encode_line(r, 31);
    for (int k = 0; k < r->n_block; k++) {
        b[k].d = f16_of(r->b.scale[k]);
        b[k].m = f16_of(-r->b.min[k]);
        pack_nibbles(b[k].q, r->b.q + QK * k);
        pack_fifth(b[k].h, r->b.q + QK * k);
    }
}

static void put_q8_0(struct run *r, struct block_q8_0 *b) {
    encode_bytes(r);
    for (int k = 0; k < r->n_block; k++) {
        b[k].d = f16_of(r->b.scale[k]);
        memcpy(b[k].q, r->b.q + QK * k, QK);
    }
}

/* Two bits of each of 256 codes, from bit `from` on, as q2_k and q3_k hold them. */
static void pack_pairs(uint8_t *to, const int8_t *q) {
    for (int half = 0; half < 2; half++, q += 128, to += 32) {
        for (int i = 0; i < 32; i++) {
            to[i] = (uint8_t)((q[i] & 3) | (q[i + 32] & 3) << 2 | (q[i + 64] & 3) << 4 |
                              (q[i + 96] & 3) << 6);
        }
    }
}

/* Bit `bit` of each of 256 codes. */
static void pack_plane(uint8_t h[32], const int8_t *q, int bit) {
    for (int i = 0; i < 32; i++) {
        unsigned v = 0;
        for (int j = 0; j < 8; j++) {
            v |= (unsigned)(q[i + 32 * j] >> bit & 1) << j;
        }
        h[i] = (uint8_t)v;
    }
}

static void put_q2_k(struct run *r, struct block_q2_k *b) {
    struct lines l = {.n_sub = 16, .top = 3, .most = 15};
    encode_lines(r, &l);
    for (int j = 0; j < 16; j++) {
        b->sc[j] = (uint8_t)(l.sc[j] | l.mn[j] << 4);
    }
    b->d = f16_of(l.d[0]);
    b->dmin = f16_of(l.dmin[0]);
    pack_pairs(b->q, r->b.q);
}

static void put_q3_k(struct run *r, struct block_q3_k *b) {
    int sc[16];
    int8_t *q = r->b.q;
    b->d = f16_of(encode_scales(r, 4, 32, sc));
    memset(b->sc, 0, sizeof b->sc);
    for (int j = 0; j < 16; j++) {
        int v = sc[j] + 32;
        b->sc[j % 8] = (uint8_t)(b->sc[j % 8] | (v & 15) << (j / 8 * 4));
        b->sc[8 + j % 4] = (uint8_t)(b->sc[8 + j % 4] | (v >> 4) << (j / 4 * 2));
    }
    shift_codes(q, QK_K, 4);
    pack_pairs(b->q, q);
    pack_plane(b->h, q, 2);
}

/* The inverse of quant_k4_scale. */
static void pack_k4(uint8_t sc[12], const int *scale, const int *min) {
    memset(sc, 0, 12);
    for (int j = 0; j < 8; j++) {
        int s = scale[j], m = min[j];
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

static void put_q4_k(struct run *r, struct block_q4_k *b) {
    struct lines l = {.n_sub = 8, .top = 15, .most = 63};
    encode_lines(r, &l);
    for (int k = 0; 8 * k < r->n_block; k++, b++) {
        b->d = f16_of(l.d[8 * k]);
        b->dmin = f16_of(l.dmin[8 * k]);
        pack_k4(b->sc, l.sc + 8 * k, l.mn + 8 * k);
        pack_k4_codes(b->q, r->b.q + QK_K * k);
    }
}

static void put_q5_k(struct run *r, struct block_q5_k *b) {
    struct lines l = {.n_sub = 8, .top = 31, .most = 63};
    encode_lines(r, &l);
    for (int k = 0; 8 * k < r->n_block; k++, b++) {
        const int8_t *q = r->b.q + QK_K * k;
        b->d = f16_of(l.d[8 * k]);
        b->dmin = f16_of(l.dmin[8 * k]);
        pack_k4(b->sc, l.sc + 8 * k, l.mn + 8 * k);
        pack_k4_codes(b->q, q);
        pack_plane(b->h, q, 4);
    }
}

static void put_q6_k(struct run *r, struct block_q6_k *b) {
    int sc[16];
    int8_t *q = r->b.q;
    b->d = f16_of(encode_scales(r, 32, 128, sc));
    shift_codes(q, QK_K, 32);
    for (int half = 0; half < 2; half++, q += 128) {
        for (int i = 0; i < 64; i++) {
            b->ql[64 * half + i] = (uint8_t)((q[i] & 15) | (q[i + 64] & 15) << 4);
        }
        for (int i = 0; i < 32; i++) {
            b->qh[32 * half + i] = (uint8_t)((q[i] >> 4 & 3) | (q[i + 32] >> 4 & 3) << 2 |
                                             (q[i + 64] >> 4 & 3) << 4 | (q[i + 96] >> 4 & 3) << 6);
        }
    }
    for (int j = 0; j < 16; j++) {
        b->sc[j] = (int8_t)sc[j];
    }
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

/* `len`: of the blocks that lie side by side. */
#define PUT_BLOCKS(kind, len)                                                                      \
    do {                                                                                           \
        struct block_##kind *b = dst;                                                              \
        size_t step = (size_t)(QUANT_LANES * (len)), each = dtype_info(type)->block;               \
        for (size_t at = 0; at < n; at += step) {                                                  \
            load_blocks(r, at, len);                                                               \
            put_##kind(r, b + at / each);                                                          \
        }                                                                                          \
    } while (0)

static void put_half(struct run *r, const float *x, f16_t *h, size_t n) {
    r->s->to_f16(x, h, n);
    for (size_t i = 0; i < n; i++) {
        double d = (double)x[i] - (double)f32_from_f16(h[i]);
        r->err += d * d;
    }
}

static void put_bfloat(struct run *r, const float *x, bf16_t *h, size_t n) {
    for (size_t i = 0; i < n; i++) {
        h[i] = bf16_from_f32(x[i]);
        double d = (double)x[i] - (double)f32_from_bf16(h[i]);
        r->err += d * d;
    }
}

static void put_rows(struct run *r, enum dtype type, void *dst) {
    const float *x = r->x;
    size_t n = r->n * r->n_row;
    switch (type) {
    case DT_F32: memcpy(dst, x, n * sizeof *x); break;
    case DT_F16: put_half(r, x, dst, n); break;
    case DT_BF16: put_bfloat(r, x, dst, n); break;
    case DT_Q4_0: PUT_BLOCKS(q4_0, QK); break;
    case DT_Q4_1: PUT_BLOCKS(q4_1, QK); break;
    case DT_Q5_0: PUT_BLOCKS(q5_0, QK); break;
    case DT_Q5_1: PUT_BLOCKS(q5_1, QK); break;
    case DT_Q8_0: PUT_BLOCKS(q8_0, QK); break;
    case DT_Q2_K: PUT_BLOCKS(q2_k, 16); break;
    case DT_Q3_K: PUT_BLOCKS(q3_k, 16); break;
    case DT_Q4_K: PUT_BLOCKS(q4_k, 32); break;
    case DT_Q5_K: PUT_BLOCKS(q5_k, 32); break;
    case DT_Q6_K: PUT_BLOCKS(q6_k, 16); break;
    default: assert(false);
    }
}

bool quant_encode(const struct quant_search *s, enum dtype type, const float *x,
                  const float *importance, void *dst, size_t n, size_t n_row, double *err) {
    struct run r = {.s = s, .x = x, .importance = importance, .n = n, .n_row = n_row};
    float most = s->most(x, n * n_row);
    r.row = SIZE_MAX;
    assert(quant_can_encode(type) && n % dtype_info(type)->block == 0);
    if (!(most <= (type == DT_F32 || type == DT_BF16 ? 3.3895314e38f : F16_MAX))) {
        return false;
    }
    put_rows(&r, type, dst);
    *err += r.err;
    return true;
}
