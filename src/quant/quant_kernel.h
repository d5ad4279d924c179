/* quant_kernel.h: the kernels of quant_search.h, written once over lanes of 16 floats.
 *
 * Included by one file for each level, which has defined `struct lanes` and its operations before:
 * lanes_set, _load, _store, _add, _sub, _mul, _div; _min and _max (a < b ? a : b and a > b ? a : b,
 * as the instructions do); _above (a > b ? x : y); _half (rounded to binary16 and back); _turn (16
 * of them, as a matrix, transposed); _sqrt; _codes (whole numbers to int8_t). Invariant: no
 * operation here is fused or reordered, so that every level gives the same bits.
 */
#ifndef IGN_QUANT_QUANT_KERNEL_H
#define IGN_QUANT_QUANT_KERNEL_H

#include <float.h>
#include <stddef.h>

#include "quant/quant_search.h"

#define LANES_IN static inline __attribute__((always_inline))

enum { PAIR = 2 }; /* candidates side by side, so that none waits for its own sums */

/* Adding and taking off 1.5 * 2^23 rounds to the nearest integer, ties to even, below 2^22. */
LANES_IN struct lanes lanes_round(struct lanes v) {
    const struct lanes magic = lanes_set(12582912.0f);
    return lanes_sub(lanes_add(v, magic), magic);
}

LANES_IN struct lanes lanes_code(struct lanes v, struct lanes lo, struct lanes hi) {
    return lanes_min(lanes_max(lanes_round(v), lo), hi);
}

LANES_IN struct lanes lanes_neg(struct lanes v) {
    return lanes_sub(lanes_set(0), v);
}

LANES_IN struct lanes times_w(const struct quant_blocks *b, int i, struct lanes v) {
    return lanes_mul(lanes_load(b->w[i]), v);
}

/* 1 / v, and something large for v = 0, whose products with a value can be clamped. */
LANES_IN struct lanes lanes_inverse(struct lanes v) {
    const struct lanes most = lanes_set(1e30f), least = lanes_set(-1e30f);
    return lanes_min(lanes_max(lanes_div(lanes_set(1), v), least), most);
}

/* A binary16 value near v, never infinite. */
LANES_IN struct lanes lanes_binary16(struct lanes v) {
    return lanes_half(lanes_min(lanes_max(v, lanes_set(-65504.0f)), lanes_set(65504.0f)));
}

LANES_IN void range_of(const struct quant_blocks *b, struct lanes *low, struct lanes *high) {
    *low = *high = lanes_load(b->x[0]);
    for (int i = 1; i < b->n; i++) {
        struct lanes v = lanes_load(b->x[i]);
        *low = lanes_min(v, *low);
        *high = lanes_max(v, *high);
    }
}

static void turn(const float *x, int n, float (*to)[QUANT_LANES]) {
    for (int j = 0; j < n; j += QUANT_LANES) {
        struct lanes t[QUANT_LANES];
        for (int k = 0; k < QUANT_LANES; k++) {
            t[k] = lanes_load(x + (size_t)(k * n + j));
        }
        lanes_turn(t);
        for (int k = 0; k < QUANT_LANES; k++) {
            lanes_store(to[j + k], t[k]);
        }
    }
}

/* ---- weights ----------------------------------------------------------------------------------
 */

static float squares(const float *x, size_t n) {
    struct lanes sum = lanes_set(0);
    float part[QUANT_LANES], all = 0;
    for (size_t i = 0; i < n; i += QUANT_LANES) {
        struct lanes v = lanes_load(x + i);
        sum = lanes_add(sum, lanes_mul(v, v));
    }
    lanes_store(part, sum);
    for (int k = 0; k < QUANT_LANES; k++) {
        all += part[k];
    }
    return all;
}

static void weigh(struct quant_blocks *b, const float *spread, bool importance) {
    struct lanes s = lanes_load(spread);
    for (int i = 0; i < b->n; i++) {
        struct lanes v = lanes_load(b->x[i]);
        struct lanes w = lanes_add(s, lanes_mul(v, v));
        lanes_store(b->w[i], importance ? times_w(b, i, lanes_sqrt(w)) : w);
    }
}

/* ---- a scale --------------------------------------------------------------------------------- */

/* Each brings the peak to this part of the lowest code, or of the highest one (negative). */
static const float scale_part[] = {1.0f,  0.94f,  0.9f,   0.86f, 1.04f,
                                   0.98f, -0.96f, -1.02f, -1.1f, -0.9f};
enum { SCALE_PARTS = sizeof scale_part / sizeof *scale_part };

static void fit_scales(struct quant_blocks *b, float top) {
    const struct lanes zero = lanes_set(0), lo = lanes_set(-top), hi = lanes_set(top - 1);
    struct lanes low, high, best = zero, best_num = zero, best_den = lanes_set(1);
    range_of(b, &low, &high);
    struct lanes peak = lanes_above(lanes_neg(low), high, low, high);
    struct lanes size = lanes_max(lanes_neg(low), high);
    struct lanes one = lanes_div(lanes_set(-1), peak);
    for (int c = 0; c < SCALE_PARTS; c += PAIR) {
        struct lanes inv[PAIR], num[PAIR], den[PAIR];
        for (int p = 0; p < PAIR; p++) {
            float part = scale_part[c + p];
            inv[p] = lanes_mul(one, lanes_set(part > 0 ? top * part : (top - 1) * part));
            num[p] = den[p] = zero;
        }
        for (int i = 0; i < b->n; i++) {
            struct lanes v = lanes_load(b->x[i]);
            for (int p = 0; p < PAIR; p++) {
                struct lanes q = lanes_code(lanes_mul(v, inv[p]), lo, hi);
                struct lanes wq = times_w(b, i, q);
                num[p] = lanes_add(num[p], lanes_mul(wq, v));
                den[p] = lanes_add(den[p], lanes_mul(wq, q));
            }
        }
        for (int p = 0; p < PAIR; p++) {
            struct lanes won = lanes_div(lanes_mul(num[p], num[p]), den[p]);
            best_num = lanes_above(won, best, num[p], best_num);
            best_den = lanes_above(won, best, den[p], best_den);
            best = lanes_above(won, best, won, best);
        }
    }
    struct lanes scale = lanes_div(best_num, best_den);
    lanes_store(b->scale, lanes_above(size, lanes_set(QUANT_TINY), scale, zero));
    lanes_store(b->min, zero);
}

/* The inverse of a scale; 0 of 0. */
LANES_IN struct lanes inverse_of(struct lanes scale) {
    const struct lanes zero = lanes_set(0);
    struct lanes some = lanes_max(scale, lanes_neg(scale));
    return lanes_above(some, zero, lanes_inverse(scale), zero);
}

static void settle_scales(struct quant_blocks *b, float lo, float hi) {
    const struct lanes zero = lanes_set(0), vlo = lanes_set(lo), vhi = lanes_set(hi);
    struct lanes scale = lanes_binary16(lanes_load(b->scale)), inv = inverse_of(scale);
    struct lanes num = zero, den = zero;
    for (int i = 0; i < b->n; i++) {
        struct lanes v = lanes_load(b->x[i]), q = lanes_code(lanes_mul(v, inv), vlo, vhi);
        struct lanes wq = times_w(b, i, q);
        num = lanes_add(num, lanes_mul(wq, v));
        den = lanes_add(den, lanes_mul(wq, q));
    }
    struct lanes better = lanes_binary16(lanes_div(num, den));
    lanes_store(b->scale, lanes_above(den, zero, better, scale));
}

/* ---- a line ---------------------------------------------------------------------------------- */

/* Sums over y = x - base of w q, w q^2, w q y; and of w, w y. */
struct line_sums {
    struct lanes q, qq, qy, w, y;
};

/* Least squares of y against q and a constant b <= top: y ~ a q + b; *left is what is left of the
 * error but for the sum of y^2. Where all codes are the same there is no line, and b = top is
 * taken, or with a top that does not bound, nothing (*left is 0). */
LANES_IN void solve_line(const struct line_sums *s, struct lanes top, struct lanes *a,
                         struct lanes *b, struct lanes *left) {
    const struct lanes zero = lanes_set(0), two = lanes_set(2);
    const struct lanes least = lanes_mul(lanes_set(1e-5f), lanes_mul(s->w, s->qq));
    struct lanes det = lanes_sub(lanes_mul(s->w, s->qq), lanes_mul(s->q, s->q));
    struct lanes slope = lanes_sub(lanes_mul(s->w, s->qy), lanes_mul(s->y, s->q));
    struct lanes shift = lanes_sub(lanes_mul(s->qq, s->y), lanes_mul(s->q, s->qy));
    slope = lanes_div(slope, det);
    shift = lanes_div(shift, det);
    struct lanes held = lanes_div(lanes_sub(s->qy, lanes_mul(top, s->q)), s->qq);
    shift = lanes_above(det, least, lanes_min(shift, top), top);
    slope = lanes_above(top, shift, slope, held);
    /* a^2 qq + 2 a b q + b^2 w - 2 a qy - 2 b y */
    struct lanes e = lanes_mul(slope, lanes_sub(lanes_mul(slope, s->qq), lanes_mul(two, s->qy)));
    e = lanes_add(e, lanes_mul(shift, lanes_sub(lanes_mul(shift, s->w), lanes_mul(two, s->y))));
    e = lanes_add(e, lanes_mul(lanes_mul(two, lanes_mul(slope, shift)), s->q));
    struct lanes usable = lanes_above(lanes_set(FLT_MAX), top, s->qq, lanes_sub(det, least));
    *left = lanes_above(usable, zero, e, zero);
    *a = slope;
    *b = shift;
}

/* What the highest value becomes: `top` codes and this many steps more. */
static const float line_more[] = {0, -1, -2, -4, 1, -3, -6, 2, -5, -8};
enum { LINE_MORES = sizeof line_more / sizeof *line_more };

static void fit_lines(struct quant_blocks *b, float top, bool down) {
    const struct lanes zero = lanes_set(0), hi = lanes_set(top);
    const float step = top > 20 ? 0.25f : top > 8 ? 0.17f : 0.1f;
    struct line_sums all = {zero, zero, zero, zero, zero};
    struct lanes low, high, y[QUANT_MOST];
    range_of(b, &low, &high);
    low = down ? lanes_min(low, zero) : low;
    struct lanes span = lanes_sub(high, low), one = lanes_div(lanes_set(1), span);
    struct lanes best = zero, scale = zero, shift = zero;
    struct lanes bound = down ? lanes_neg(low) : lanes_set(FLT_MAX);
    for (int i = 0; i < b->n; i++) {
        y[i] = lanes_sub(lanes_load(b->x[i]), low);
        all.w = lanes_add(all.w, lanes_load(b->w[i]));
        all.y = lanes_add(all.y, times_w(b, i, y[i]));
    }
    for (int c = 0; c < LINE_MORES; c += PAIR) {
        struct line_sums s[PAIR];
        struct lanes inv[PAIR];
        for (int p = 0; p < PAIR; p++) {
            s[p] = all;
            inv[p] = lanes_mul(one, lanes_set(top + step * line_more[c + p]));
        }
        for (int i = 0; i < b->n; i++) {
            for (int p = 0; p < PAIR; p++) {
                struct lanes q = lanes_code(lanes_mul(y[i], inv[p]), zero, hi);
                struct lanes wq = times_w(b, i, q);
                s[p].q = lanes_add(s[p].q, wq);
                s[p].qq = lanes_add(s[p].qq, lanes_mul(wq, q));
                s[p].qy = lanes_add(s[p].qy, lanes_mul(wq, y[i]));
            }
        }
        for (int p = 0; p < PAIR; p++) {
            struct lanes a, v, left;
            solve_line(&s[p], bound, &a, &v, &left);
            scale = lanes_above(best, left, a, scale);
            shift = lanes_above(best, left, v, shift);
            best = lanes_above(best, left, left, best);
        }
    }
    const struct lanes tiny = lanes_set(QUANT_TINY);
    lanes_store(b->scale, lanes_above(span, tiny, scale, zero));
    lanes_store(b->min, lanes_neg(lanes_add(lanes_above(span, tiny, shift, zero), low)));
}

/* Sums of a line's codes over x, not y. */
LANES_IN void sum_line(const struct quant_blocks *b, struct lanes scale, struct lanes min,
                       struct lanes hi, struct line_sums *s) {
    const struct lanes zero = lanes_set(0), inv = inverse_of(scale);
    *s = (struct line_sums){zero, zero, zero, zero, zero};
    for (int i = 0; i < b->n; i++) {
        struct lanes v = lanes_load(b->x[i]);
        struct lanes q = lanes_code(lanes_mul(lanes_add(v, min), inv), zero, hi);
        struct lanes wq = times_w(b, i, q);
        s->q = lanes_add(s->q, wq);
        s->qq = lanes_add(s->qq, lanes_mul(wq, q));
        s->qy = lanes_add(s->qy, lanes_mul(wq, v));
        s->w = lanes_add(s->w, lanes_load(b->w[i]));
        s->y = lanes_add(s->y, times_w(b, i, v));
    }
}

static void settle_lines(struct quant_blocks *b, float top) {
    struct line_sums s;
    struct lanes scale = lanes_binary16(lanes_load(b->scale));
    struct lanes min = lanes_binary16(lanes_load(b->min));
    sum_line(b, scale, min, lanes_set(top), &s);
    struct lanes whole = lanes_mul(s.w, s.qq), det = lanes_sub(whole, lanes_mul(s.q, s.q));
    struct lanes least = lanes_mul(lanes_set(1e-5f), whole);
    struct lanes a = lanes_sub(lanes_mul(s.w, s.qy), lanes_mul(s.y, s.q));
    struct lanes m = lanes_sub(lanes_mul(s.q, s.qy), lanes_mul(s.qq, s.y));
    a = lanes_binary16(lanes_div(a, det));
    m = lanes_binary16(lanes_div(m, det));
    lanes_store(b->scale, lanes_above(det, least, a, scale));
    lanes_store(b->min, lanes_above(det, least, m, min));
}

/* ---- whole numbers of super-blocks ----------------------------------------------------------- */

LANES_IN struct lanes lanes_of_ints(const int *v) {
    float f[QUANT_LANES];
    for (int k = 0; k < QUANT_LANES; k++) {
        f[k] = (float)v[k];
    }
    return lanes_load(f);
}

LANES_IN void lanes_to_ints(int *v, struct lanes a) {
    float f[QUANT_LANES];
    lanes_store(f, a);
    for (int k = 0; k < QUANT_LANES; k++) {
        v[k] = (int)f[k];
    }
}

static void try_scales(struct quant_blocks *b, const float *d, int reach, int most, float top,
                       int *s) {
    const struct lanes lo = lanes_set(-top), hi = lanes_set(top - 1), vd = lanes_load(d);
    const struct lanes zero = lanes_set(0);
    struct lanes near = lanes_of_ints(s), best = near, least = lanes_set(FLT_MAX);
    for (int c = 0; c <= 2 * reach; c++) { /* the middle first, so that it wins among equals */
        float off = (float)(c % 2 ? (c + 1) / 2 : -(c / 2));
        struct lanes k = lanes_add(near, lanes_set(off));
        k = lanes_min(lanes_max(k, lanes_set((float)-most)), lanes_set((float)(most - 1)));
        struct lanes scale = lanes_mul(vd, k), inv = lanes_inverse(scale), err = zero;
        for (int i = 0; i < b->n; i++) {
            struct lanes v = lanes_load(b->x[i]), q = lanes_code(lanes_mul(v, inv), lo, hi);
            struct lanes e = lanes_sub(v, lanes_mul(q, scale));
            err = lanes_add(err, times_w(b, i, lanes_mul(e, e)));
        }
        best = lanes_above(least, err, k, best);
        least = lanes_above(least, err, err, least);
    }
    struct lanes inv = inverse_of(lanes_mul(vd, best)), num = zero, den = zero;
    for (int i = 0; i < b->n; i++) {
        struct lanes v = lanes_load(b->x[i]), q = lanes_code(lanes_mul(v, inv), lo, hi);
        struct lanes wq = times_w(b, i, q);
        num = lanes_add(num, lanes_mul(wq, v));
        den = lanes_add(den, lanes_mul(wq, q));
    }
    lanes_to_ints(s, best);
    lanes_store(b->swqx, num);
    lanes_store(b->swqq, den);
}

/* A larger scale goes with a larger minimum: the diagonal is walked farthest. */
static const float line_step[2][QUANT_LANES] = {
    {0, 1, -1, 0, 0, 1, -1, 1, -1, 1, -1, 0, 0, 2, 2, -2},
    {0, 1, -1, 1, -1, 0, 0, 2, -2, -1, 1, 2, -2, 2, 1, -2},
};

static void try_lines(struct quant_blocks *b, const float *d, const float *dmin, int n_try,
                      int most, float top, int *s, int *m) {
    const struct lanes zero = lanes_set(0), vmost = lanes_set((float)most), hi = lanes_set(top);
    const struct lanes vd = lanes_load(d), vm = lanes_load(dmin);
    struct lanes near_s = lanes_of_ints(s), near_m = lanes_of_ints(m);
    struct lanes best_s = near_s, best_m = near_m, least = lanes_set(FLT_MAX);
    for (int c = 0; c < n_try; c++) {
        struct lanes ks = lanes_add(near_s, lanes_set(line_step[0][c]));
        struct lanes km = lanes_add(near_m, lanes_set(line_step[1][c]));
        ks = lanes_min(lanes_max(ks, zero), vmost);
        km = lanes_min(lanes_max(km, zero), vmost);
        struct lanes scale = lanes_mul(vd, ks), min = lanes_mul(vm, km), err = zero;
        struct lanes inv = lanes_inverse(scale);
        for (int i = 0; i < b->n; i++) {
            struct lanes v = lanes_add(lanes_load(b->x[i]), min);
            struct lanes q = lanes_code(lanes_mul(v, inv), zero, hi);
            struct lanes e = lanes_sub(v, lanes_mul(q, scale));
            err = lanes_add(err, times_w(b, i, lanes_mul(e, e)));
        }
        best_s = lanes_above(least, err, ks, best_s);
        best_m = lanes_above(least, err, km, best_m);
        least = lanes_above(least, err, err, least);
    }
    struct line_sums sums;
    sum_line(b, lanes_mul(vd, best_s), lanes_mul(vm, best_m), hi, &sums);
    lanes_to_ints(s, best_s);
    lanes_to_ints(m, best_m);
    lanes_store(b->sw, sums.w);
    lanes_store(b->swx, sums.y);
    lanes_store(b->swq, sums.q);
    lanes_store(b->swqq, sums.qq);
    lanes_store(b->swqx, sums.qy);
}

/* ---- codes ----------------------------------------------------------------------------------- */

static void assign(struct quant_blocks *b, float lo, float hi) {
    const struct lanes vlo = lanes_set(lo), vhi = lanes_set(hi), min = lanes_load(b->min);
    struct lanes scale = lanes_load(b->scale), inv = inverse_of(scale), err = lanes_set(0);
    for (int j = 0; j < b->n; j += QUANT_LANES) {
        struct lanes t[QUANT_LANES];
        for (int i = 0; i < QUANT_LANES; i++) {
            struct lanes v = lanes_add(lanes_load(b->x[j + i]), min);
            t[i] = lanes_code(lanes_mul(v, inv), vlo, vhi);
            struct lanes e = lanes_sub(v, lanes_mul(t[i], scale));
            err = lanes_add(err, lanes_mul(e, e));
        }
        lanes_turn(t);
        for (int k = 0; k < QUANT_LANES; k++) {
            lanes_codes(b->q + (size_t)(k * b->n + j), t[k]);
        }
    }
    lanes_store(b->err, err);
}

static void fill_kernels(struct quant_search *s) {
    s->turn = turn;
    s->squares = squares;
    s->weigh = weigh;
    s->fit_scales = fit_scales;
    s->fit_lines = fit_lines;
    s->settle_scales = settle_scales;
    s->settle_lines = settle_lines;
    s->try_scales = try_scales;
    s->try_lines = try_lines;
    s->assign = assign;
}

#endif
