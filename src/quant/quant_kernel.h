/* quant_kernel.h: the kernels of quant_search.h, written once over lanes of 16 floats.
 *
 * Included by one file for each level, which has defined `struct lanes` and its operations before:
 * lanes_set, _load, _store, _add, _sub, _mul, _div; _min and _max (a < b ? a : b and a > b ? a : b,
 * as the instructions do); _above (a > b ? x : y); _sum (of all lanes in pairs: 0 + 8, 1 + 9, ...,
 * then 0 + 4, ...); _best (the place of the largest, the first of equals; no lane is NaN); _codes
 * (whole numbers to int8_t). Invariant: no operation here is fused or reordered, so that every
 * level gives the same bits.
 */
#ifndef IGN_QUANT_QUANT_KERNEL_H
#define IGN_QUANT_QUANT_KERNEL_H

#include <float.h>
#include <math.h>
#include <stddef.h>

#include "quant/quant_search.h"

#define LANES_IN static inline __attribute__((always_inline))

/* Adding and taking off 1.5 * 2^23 rounds to the nearest integer, ties to even, below 2^22. */
LANES_IN struct lanes lanes_round(struct lanes v) {
    const struct lanes magic = lanes_set(12582912.0f);
    return lanes_sub(lanes_add(v, magic), magic);
}

LANES_IN struct lanes lanes_code(struct lanes v, struct lanes lo, struct lanes hi) {
    return lanes_min(lanes_max(lanes_round(v), lo), hi);
}

/* v, or w v where there are weights. */
LANES_IN struct lanes weighted(const float *w, int i, struct lanes v) {
    return w ? lanes_mul(lanes_set(w[i]), v) : v;
}

LANES_IN struct lanes lanes_weigh(const float *w, int i, struct lanes v) {
    return w ? lanes_mul(lanes_load(w + i), v) : v;
}

/* The place of the largest; NaN counts as the least. */
LANES_IN int lanes_most(struct lanes v) {
    return lanes_best(lanes_max(v, lanes_set(-FLT_MAX)));
}

LANES_IN float lanes_get(struct lanes v, int k) {
    float a[QUANT_LANES];
    lanes_store(a, v);
    return a[k];
}

/* 1 / v, and something large for v = 0, whose products with a value can be clamped. */
LANES_IN struct lanes lanes_inverse(struct lanes v) {
    const struct lanes most = lanes_set(1e30f), least = lanes_set(-1e30f);
    return lanes_min(lanes_max(lanes_div(lanes_set(1), v), least), most);
}

static void range(const float *x, int n, float *low, float *high) {
    struct lanes lo = lanes_load(x), hi = lo;
    for (int i = QUANT_LANES; i < n; i += QUANT_LANES) {
        struct lanes v = lanes_load(x + i);
        lo = lanes_min(v, lo);
        hi = lanes_max(v, hi);
    }
    *high = lanes_get(hi, lanes_most(hi));
    *low = lanes_get(lo, lanes_most(lanes_sub(lanes_set(0), lo)));
}

LANES_IN float fit_scale_of(const float *x, const float *w, int n, const float *inv, float lo,
                            float hi) {
    struct lanes num = lanes_set(0), den = num, vi = lanes_load(inv);
    struct lanes vlo = lanes_set(lo), vhi = lanes_set(hi);
    for (int i = 0; i < n; i++) {
        struct lanes v = lanes_set(x[i]), q = lanes_code(lanes_mul(v, vi), vlo, vhi);
        struct lanes wq = weighted(w, i, q);
        num = lanes_add(num, lanes_mul(wq, v));
        den = lanes_add(den, lanes_mul(wq, q));
    }
    struct lanes scale = lanes_div(num, den);
    int best = lanes_most(lanes_mul(scale, num));
    return lanes_get(den, best) > 0 ? lanes_get(scale, best) : 0;
}

static float fit_scale(const float *x, const float *w, int n, const float *inv, float lo,
                       float hi) {
    return w ? fit_scale_of(x, w, n, inv, lo, hi) : fit_scale_of(x, NULL, n, inv, lo, hi);
}

/* Sums of the candidates of fit_line over y = x - base: of w q, w q^2, w q y; and of w, w y. */
struct line_sums {
    struct lanes q, qq, qy;
    struct lanes w, y, yy; /* the same in all lanes */
};

/* Least squares of y against q and a constant b <= top, for all lanes. Where all codes are the same
 * there is no line, and b = top is taken, unless top is not bounded. */
LANES_IN float solve_line(const struct line_sums *s, float top, float *shift) {
    const struct lanes zero = lanes_set(0), vtop = lanes_set(top), two = lanes_set(2);
    const struct lanes least = lanes_mul(lanes_set(1e-5f), lanes_mul(s->w, s->qq));
    struct lanes det = lanes_sub(lanes_mul(s->w, s->qq), lanes_mul(s->q, s->q));
    struct lanes a = lanes_sub(lanes_mul(s->w, s->qy), lanes_mul(s->y, s->q));
    struct lanes b = lanes_sub(lanes_mul(s->qq, s->y), lanes_mul(s->q, s->qy));
    a = lanes_div(a, det);
    b = lanes_div(b, det);
    struct lanes held = lanes_div(lanes_sub(s->qy, lanes_mul(vtop, s->q)), s->qq);
    b = lanes_above(det, least, lanes_min(b, vtop), vtop);
    a = lanes_above(vtop, b, a, held);
    /* what is left, but for the sum of y^2: a^2 qq + 2 a b q + b^2 w - 2 a qy - 2 b y */
    struct lanes e = lanes_mul(a, lanes_sub(lanes_mul(a, s->qq), lanes_mul(two, s->qy)));
    e = lanes_add(e, lanes_mul(b, lanes_sub(lanes_mul(b, s->w), lanes_mul(two, s->y))));
    e = lanes_add(e, lanes_mul(lanes_mul(two, lanes_mul(a, b)), s->q));
    struct lanes none = lanes_set(-FLT_MAX);
    struct lanes usable = top < FLT_MAX ? s->qq : lanes_sub(det, least);
    int best = lanes_most(lanes_above(usable, zero, lanes_sub(zero, e), none));
    if (!(lanes_get(usable, best) > 0)) {
        *shift = 0;
        return 0;
    }
    *shift = lanes_get(b, best);
    return lanes_get(a, best);
}

LANES_IN float fit_line_of(const float *x, const float *w, int n, const float *inv, float base,
                           float hi, bool down, float *min) {
    const struct lanes zero = lanes_set(0), vlo = zero, vhi = lanes_set(hi), vi = lanes_load(inv);
    struct line_sums s = {zero, zero, zero, zero, zero, zero};
    float y[QUANT_MOST], shift;
    for (int i = 0; i < n; i += QUANT_LANES) {
        struct lanes v = lanes_sub(lanes_load(x + i), lanes_set(base));
        lanes_store(y + i, v);
        s.w = lanes_add(s.w, lanes_weigh(w, i, lanes_set(1)));
        s.y = lanes_add(s.y, lanes_weigh(w, i, v));
    }
    for (int i = 0; i < n; i++) {
        struct lanes v = lanes_set(y[i]), q = lanes_code(lanes_mul(v, vi), vlo, vhi);
        struct lanes wq = weighted(w, i, q);
        s.q = lanes_add(s.q, wq);
        s.qq = lanes_add(s.qq, lanes_mul(wq, q));
        s.qy = lanes_add(s.qy, lanes_mul(wq, v));
    }
    s.w = lanes_set(lanes_sum(s.w));
    s.y = lanes_set(lanes_sum(s.y));
    float scale = solve_line(&s, down ? -base : FLT_MAX, &shift);
    *min = -(shift + base);
    return scale;
}

static float fit_line(const float *x, const float *w, int n, const float *inv, float base, float hi,
                      bool down, float *min) {
    return w ? fit_line_of(x, w, n, inv, base, hi, down, min)
             : fit_line_of(x, NULL, n, inv, base, hi, down, min);
}

/* The middle first, so that it wins among equals. */
static const float scale_step[QUANT_LANES] = {0,  1, -1, 2, -2, 3, -3, 4,
                                              -4, 5, -5, 6, -6, 7, -7, 8};

LANES_IN int try_scales_of(const float *x, const float *w, int n, float d, int near, int most,
                           float top) {
    struct lanes k = lanes_add(lanes_set((float)near), lanes_load(scale_step));
    k = lanes_min(lanes_max(k, lanes_set((float)-most)), lanes_set((float)(most - 1)));
    struct lanes scale = lanes_mul(lanes_set(d), k), inv = lanes_inverse(scale);
    struct lanes lo = lanes_set(-top), hi = lanes_set(top - 1), err = lanes_set(0);
    for (int i = 0; i < n; i++) {
        struct lanes v = lanes_set(x[i]), q = lanes_code(lanes_mul(v, inv), lo, hi);
        struct lanes e = lanes_sub(v, lanes_mul(q, scale));
        err = lanes_add(err, weighted(w, i, lanes_mul(e, e)));
    }
    return (int)lanes_get(k, lanes_most(lanes_sub(lanes_set(0), err)));
}

static int try_scales(const float *x, const float *w, int n, float d, int near, int most,
                      float top) {
    return w ? try_scales_of(x, w, n, d, near, most, top)
             : try_scales_of(x, NULL, n, d, near, most, top);
}

/* A larger scale goes with a larger minimum: the diagonal is walked farthest. */
static const float line_step[2][QUANT_LANES] = {
    {0, 0, 0, 1, -1, 1, -1, 1, -1, 0, 0, 1, -1, 2, 2, -2},
    {0, 1, -1, 0, 0, 1, -1, -1, 1, 2, -2, 2, -2, 2, 1, -2},
};

LANES_IN void try_lines_of(const float *x, const float *w, int n, float d, float dmin, float top,
                           int most, int *s, int *m) {
    const struct lanes zero = lanes_set(0), vmost = lanes_set((float)most), hi = lanes_set(top);
    struct lanes ks = lanes_add(lanes_set((float)*s), lanes_load(line_step[0]));
    struct lanes km = lanes_add(lanes_set((float)*m), lanes_load(line_step[1]));
    ks = lanes_min(lanes_max(ks, zero), vmost);
    km = lanes_min(lanes_max(km, zero), vmost);
    struct lanes scale = lanes_mul(lanes_set(d), ks), min = lanes_mul(lanes_set(dmin), km);
    struct lanes inv = lanes_inverse(scale), err = zero;
    for (int i = 0; i < n; i++) {
        struct lanes v = lanes_add(lanes_set(x[i]), min);
        struct lanes q = lanes_code(lanes_mul(v, inv), zero, hi);
        struct lanes e = lanes_sub(v, lanes_mul(q, scale));
        err = lanes_add(err, weighted(w, i, lanes_mul(e, e)));
    }
    int best = lanes_most(lanes_sub(zero, err));
    *s = (int)lanes_get(ks, best);
    *m = (int)lanes_get(km, best);
}

static void try_lines(const float *x, const float *w, int n, float d, float dmin, float top,
                      int most, int *s, int *m) {
    if (w) {
        try_lines_of(x, w, n, d, dmin, top, most, s, m);
    } else {
        try_lines_of(x, NULL, n, d, dmin, top, most, s, m);
    }
}

LANES_IN void assign_scale_of(const float *x, const float *w, int n, float scale, float lo,
                              float hi, int8_t *q, struct quant_sums *s) {
    const struct lanes zero = lanes_set(0), vlo = lanes_set(lo), vhi = lanes_set(hi);
    struct lanes vs = lanes_set(scale), vi = lanes_set(scale != 0 ? 1 / scale : 0);
    struct lanes qq = zero, qx = zero, we = zero, ee = zero;
    for (int i = 0; i < n; i += QUANT_LANES) {
        struct lanes v = lanes_load(x + i), c = lanes_code(lanes_mul(v, vi), vlo, vhi);
        struct lanes wc = lanes_weigh(w, i, c), e = lanes_sub(v, lanes_mul(vs, c));
        e = lanes_mul(e, e);
        qq = lanes_add(qq, lanes_mul(wc, c));
        qx = lanes_add(qx, lanes_mul(wc, v));
        we = w ? lanes_add(we, lanes_weigh(w, i, e)) : we;
        ee = lanes_add(ee, e);
        lanes_codes(q + i, c);
    }
    s->wqq = lanes_sum(qq);
    s->wqx = lanes_sum(qx);
    s->err = lanes_sum(ee);
    s->werr = w ? lanes_sum(we) : s->err;
}

static void assign_scale(const float *x, const float *w, int n, float scale, float lo, float hi,
                         int8_t *q, struct quant_sums *s) {
    if (w) {
        assign_scale_of(x, w, n, scale, lo, hi, q, s);
    } else {
        assign_scale_of(x, NULL, n, scale, lo, hi, q, s);
    }
}

LANES_IN void assign_line_of(const float *x, const float *w, int n, float scale, float min,
                             float hi, int8_t *q, struct quant_sums *s) {
    const struct lanes zero = lanes_set(0), vhi = lanes_set(hi), vm = lanes_set(min);
    struct lanes vs = lanes_set(scale), vi = lanes_set(scale != 0 ? 1 / scale : 0);
    struct lanes sw = zero, swx = zero, sq = zero, qq = zero, qx = zero, we = zero, ee = zero;
    for (int i = 0; i < n; i += QUANT_LANES) {
        struct lanes v = lanes_load(x + i);
        struct lanes c = lanes_code(lanes_mul(lanes_add(v, vm), vi), zero, vhi);
        struct lanes wc = lanes_weigh(w, i, c);
        struct lanes e = lanes_sub(v, lanes_sub(lanes_mul(vs, c), vm));
        e = lanes_mul(e, e);
        sw = lanes_add(sw, lanes_weigh(w, i, lanes_set(1)));
        swx = lanes_add(swx, lanes_weigh(w, i, v));
        sq = lanes_add(sq, wc);
        qq = lanes_add(qq, lanes_mul(wc, c));
        qx = lanes_add(qx, lanes_mul(wc, v));
        we = w ? lanes_add(we, lanes_weigh(w, i, e)) : we;
        ee = lanes_add(ee, e);
        lanes_codes(q + i, c);
    }
    s->w = lanes_sum(sw);
    s->wx = lanes_sum(swx);
    s->wq = lanes_sum(sq);
    s->wqq = lanes_sum(qq);
    s->wqx = lanes_sum(qx);
    s->err = lanes_sum(ee);
    s->werr = w ? lanes_sum(we) : s->err;
}

static void assign_line(const float *x, const float *w, int n, float scale, float min, float hi,
                        int8_t *q, struct quant_sums *s) {
    if (w) {
        assign_line_of(x, w, n, scale, min, hi, q, s);
    } else {
        assign_line_of(x, NULL, n, scale, min, hi, q, s);
    }
}

static void fill_kernels(struct quant_search *s) {
    s->range = range;
    s->fit_scale = fit_scale;
    s->fit_line = fit_line;
    s->try_scales = try_scales;
    s->try_lines = try_lines;
    s->assign_scale = assign_scale;
    s->assign_line = assign_line;
}

#endif
