/* kern_check.c: every micro-kernel of every level against C, C against exact arithmetic, and all
 * of them against the clock.
 *
 *   kern_check [--function=TEXT] [--seed=N] [--bench]
 *
 * Owns buffers that end (or begin) at an unreadable page, so that one byte too many is a fault.
 * Levels must equal C to the bit: what they share is integers and a fixed order of float sums.
 * C must lie within a bound derived from the sum of |w x|. --bench prints each kernel's rate beside
 * the ceilings measured in the same run. Ends with the number of checks and exits 1 if any failed.
 */
#include <inttypes.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/os.h"
#include "bench.h"
#include "blocks.h"
#include "kern/cpu/micro.h"

/* ---- counting -------------------------------------------------------------------------------- */

static struct {
    long passed, failed;
    const char *function; /* only those whose name contains this */
    uint64_t seed;
    struct rng rng;
    struct micro c, isa;
} run;

static void check(bool ok, const char *function, const char *format, const char *what) {
    if (ok) {
        run.passed++;
        return;
    }
    run.failed++;
    printf("FAILED %s %s (%s): %s, seed %" PRIu64 "\n", function, format, run.isa.name, what,
           run.seed);
}

static bool wanted(const char *function, const char *format) {
    char name[64];
    snprintf(name, sizeof name, "%s_%s", function, format);
    return run.function == NULL || strstr(name, run.function) != NULL;
}

static int64_t any(int64_t low, int64_t high) {
    return low + (int64_t)(rng_next(&run.rng) % (uint64_t)(high - low + 1));
}

/* ---- guarded memory ---------------------------------------------------------------------------
 */

enum { GUARD_MAX = 96 };

static struct {
    void *page;
    size_t bytes;
} guarded[GUARD_MAX];
static int n_guarded;

/* n bytes between two unreadable pages, touching the one behind (or, by chance, before). */
static void *guard(size_t n) {
    size_t page = os_page_size(), inner = (n + page - 1) / page * page;
    uint8_t *p = os_pages(inner + 2 * page);
    if (p == NULL || n_guarded == GUARD_MAX) {
        fprintf(stderr, "out of memory\n");
        exit(2);
    }
    os_pages_protect(p, page, false);
    os_pages_protect(p + page + inner, page, false);
    guarded[n_guarded].page = p;
    guarded[n_guarded++].bytes = inner + 2 * page;
    memset(p + page, 0xa5, inner);
    return p + page + (n % 4 == 0 && any(0, 3) == 0 ? 0 : inner - n);
}

static void guard_drop(void) {
    while (n_guarded > 0) {
        n_guarded--;
        size_t page = os_page_size();
        os_pages_protect(guarded[n_guarded].page, page, true);
        os_pages_free(guarded[n_guarded].page, guarded[n_guarded].bytes);
    }
}

static float *guard_floats(int64_t n) {
    return guard((size_t)n * sizeof(float));
}

/* ---- comparing ---------------------------------------------------------------------------------
 */

static bool same_float(float a, float b) {
    return f32_bits(a) == f32_bits(b) || (isnan(a) && isnan(b)) || (a == 0 && b == 0);
}

static bool same_floats(const float *a, const float *b, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (!same_float(a[i], b[i])) {
            return false;
        }
    }
    return true;
}

/* ---- activations
 * ---------------------------------------------------------------------------------- */

enum act_kind {
    ACT_PLAIN,
    ACT_TOP,
    ACT_BOTTOM,
    ACT_STRIPES,
    ACT_ZERO,
    ACT_OUTLIER,
    ACT_TINY,
    ACT_TIES, /* at half steps of their halves, whose largest are near multiples of the row's */
    ACT_BROKEN,
    ACT_KINDS
};

static void activations(float *x, int64_t n, enum act_kind kind) {
    static const float broken[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f};
    float most = 3;
    for (int64_t i = 0; i < n; i++) {
        float v = blocks_uniform(&run.rng, -3, 3);
        if (i > 0 && i % 16 == 0) {
            most = 3.0f * (float)any(1, MICRO_MUL) / MICRO_MUL;
            most = f32_from_bits(f32_bits(most) + (uint32_t)any(0, 4) - 2);
        }
        x[i] = kind == ACT_TOP       ? 1.75f
               : kind == ACT_BOTTOM  ? -1.75f
               : kind == ACT_STRIPES ? (i % 2 ? 1.5f : -1.5f)
               : kind == ACT_ZERO    ? 0.0f
               : kind == ACT_OUTLIER ? (any(0, 40) == 0 ? v * 5000 : v)
               : kind == ACT_TINY    ? v * 1e-31f
               : kind == ACT_TIES    ? most * (i % 16 ? (float)any(-254, 254) / 254 : 1)
                                     : v;
    }
    if (kind == ACT_BROKEN) {
        x[any(0, n - 1)] = broken[any(0, 4)];
    }
}

static bool same_groups(const struct act_group *a, const struct act_group *b, int64_t n) {
    for (int64_t i = 0; i < n; i++, a++, b++) {
        if (memcmp(a->q, b->q, sizeof a->q) != 0 || memcmp(a->sum, b->sum, sizeof a->sum) != 0 ||
            memcmp(a->prod, b->prod, sizeof a->prod) != 0 ||
            memcmp(a->pair, b->pair, sizeof a->pair) != 0 || !same_float(a->d, b->d) ||
            !same_floats(a->s, b->s, 8)) {
            return false;
        }
    }
    return true;
}

/* The value that an activation has after rounding to int8. */
static double act_value(const struct act_group *g, int64_t i) {
    const struct act_group *o = g + i / 256;
    int b = (int)(i % 256 / 32), h = (int)(i % 32 / 16);
    return (double)o->d * micro_mul(o, b, h) * o->q[i % 256];
}

/* Within `steps` of their own. */
static bool groups_are_close(const float *x, const struct act_group *g, int64_t n, double steps) {
    for (int64_t i = 0; i < n; i++) {
        const struct act_group *o = g + i / 256;
        int b = (int)(i % 256 / 32), h = (int)(i % 32 / 16);
        double step = (double)o->d * micro_mul(o, b, h);
        if (!(fabs(act_value(g, i) - (double)x[i]) <= steps * step + 1e-30)) {
            return false;
        }
    }
    return true;
}

static void check_quantize(void) {
    for (int round = 0; round < 200; round++) {
        int64_t n = any(1, 700), n_group = micro_groups(n);
        enum act_kind kind = (enum act_kind)(round % ACT_KINDS);
        float *x = guard_floats(n);
        struct act_group *a = guard((size_t)n_group * sizeof *a);
        struct act_group *b = guard((size_t)n_group * sizeof *b);
        activations(x, n, kind);
        run.c.quantize(x, n, a);
        run.isa.quantize(x, n, b);
        check(same_groups(a, b, n_group), "quantize", "f32", "differs from C");
        if (kind != ACT_BROKEN) {
            /* a tie at 126.5 steps is off by six roundings more */
            double steps = kind == ACT_TIES ? 0.50005 : 0.50001;
            check(groups_are_close(x, a, n, steps), "quantize", "f32",
                  "C is off by more than half a step");
        }
        guard_drop();
    }
}

/* ---- matrices
 * ------------------------------------------------------------------------------------------ */

struct mat_case {
    enum dtype type;
    enum blocks_kind wkind;
    enum act_kind xkind;
    int64_t n_col;
    int n_row, n_tok;
    size_t row_bytes;
    uint8_t *w;
    const void *x[MICRO_SMALL]; /* prepared rows */
};

static void case_init(struct mat_case *m, enum dtype type, int round) {
    const struct micro_format *f = &run.c.fmt[type];
    int64_t block = dtype_info(type)->block;
    memset(m, 0, sizeof *m);
    m->type = type;
    m->n_col = block * any(1, block == 1 ? 600 : block == 32 ? 40 : 6);
    m->n_row = (int)any(1, MICRO_ROWS);
    m->n_tok = (int)any(1, MICRO_SMALL);
    m->wkind = block == 1 ? BLOCKS_RANDOM : (enum blocks_kind)(round % BLOCKS_KINDS);
    m->xkind = (enum act_kind)(round / BLOCKS_KINDS % ACT_KINDS);
    m->row_bytes = blocks_size(type, 1, m->n_col);
    m->w = guard(m->row_bytes * (size_t)m->n_row);
    blocks_fill(&run.rng, type, m->wkind, m->n_row, m->n_col, m->w);
    for (int t = 0; t < m->n_tok; t++) {
        size_t bytes = micro_act_bytes(f->act, m->n_col);
        float *x = guard_floats(m->n_col), *to = guard(bytes);
        activations(x, m->n_col, m->xkind);
        if (f->act == MICRO_ACT_Q8) {
            run.c.quantize(x, m->n_col, (struct act_group *)to);
        } else {
            memset(to, 0, bytes);
            memcpy(to, x, (size_t)m->n_col * sizeof *x);
        }
        m->x[t] = to;
    }
}

/* C against the sum in double of decoded weights times rounded activations. */
static bool gemv_is_close(const struct mat_case *m, const float *y) {
    bool ok = true;
    float *w = mem_alloc((size_t)m->n_col, sizeof *w);
    for (int r = 0; r < m->n_row; r++) {
        double sum = 0, bound = 0;
        quant_decode(m->type, m->w + (size_t)r * m->row_bytes, w, (size_t)m->n_col);
        for (int64_t i = 0; i < m->n_col; i++) {
            double x = run.c.fmt[m->type].act == MICRO_ACT_Q8 ? act_value(m->x[0], i)
                                                              : (double)((const float *)m->x[0])[i];
            sum += w[i] * x;
            /* a product with a minimum is the difference of two, each up to 64 times as large */
            bound += fabs(w[i] * x) + 0.125 * fabs(x);
        }
        bool finite = isfinite(sum) && isfinite(bound * 1e3) && fabs(bound) < 1e30;
        ok = ok && (!finite || fabs(sum - (double)y[r]) <= 4e-6 * bound + 1e-30);
    }
    mem_free(w);
    return ok;
}

/* Row t of the activations in a kernel's order. */
static const void *ordered(const struct mat_case *m, struct micro_order order, int t) {
    if (order.arrange == NULL) {
        return m->x[t];
    }
    void *to = guard((size_t)micro_groups(m->n_col) * order.group);
    order.arrange(m->x[t], m->n_col, to);
    return to;
}

/* A small batch equals its rows one by one. */
static void check_small(const struct mat_case *m, const struct micro *level, bool isa,
                        float yc[MICRO_SMALL][MICRO_ROWS]) {
    const struct micro_format *f = &level->fmt[m->type]; /* of rows of any length */
    const void *x[MICRO_SMALL];
    for (int t = 0; t < m->n_tok; t++) {
        x[t] = ordered(m, f->small, t);
    }
    float *out = guard_floats(m->n_tok * m->n_row);
    f->gemm_small(m->w, m->row_bytes, m->n_row, x, m->n_tok, m->n_col, out);
    bool ok = true;
    for (int t = 0; t < m->n_tok; t++) {
        ok = ok && same_floats(yc[t], out + t * m->n_row, m->n_row);
    }
    check(ok, isa ? "gemm_small" : "gemm_small of C", dtype_info(m->type)->name,
          "differs from matrix-vector");
}

/* So does one in tiles. */
static void check_tiles(const struct mat_case *m, float yc[MICRO_SMALL][MICRO_ROWS]) {
    const struct micro_format *f = &run.isa.fmt[m->type];
    const void *tile[MICRO_SMALL];
    for (int t = 0; t < m->n_tok; t += f->toks) {
        void *to = guard((size_t)micro_groups(m->n_col) * f->tile_bytes);
        f->pack(m->x + t, m->n_tok - t < f->toks ? m->n_tok - t : f->toks, m->n_col, to);
        tile[t / f->toks] = to;
    }
    float *out = guard_floats(m->n_tok * m->n_row);
    f->gemm_tiles(m->w, m->row_bytes, m->n_row, tile, m->n_tok, m->n_col, out);
    bool ok = true;
    for (int t = 0; t < m->n_tok; t++) {
        ok = ok && same_floats(yc[t], out + t * m->n_row, m->n_row);
    }
    check(ok, "gemm_tiles", dtype_info(m->type)->name, "differs from matrix-vector");
}

static void check_matrix(enum dtype type) {
    const char *name = dtype_info(type)->name;
    for (int round = 0; round < BLOCKS_KINDS * ACT_KINDS; round++) {
        struct mat_case m;
        float yc[MICRO_SMALL][MICRO_ROWS];
        case_init(&m, type, round);
        const struct micro_format *both[2] = {&run.c.fmt[type], &run.isa.fmt[type]};
        float *y = guard_floats(m.n_row);
        for (int t = 0; t < m.n_tok; t++) {
            both[0]->gemv(m.w, m.row_bytes, m.n_row, m.x[t], m.n_col, yc[t]);
            both[1]->gemv(m.w, m.row_bytes, m.n_row, ordered(&m, both[1]->vector, t), m.n_col, y);
            check(same_floats(yc[t], y, m.n_row), "gemv", name, "differs from C");
        }
        if (m.xkind != ACT_BROKEN && m.wkind != BLOCKS_WILD) {
            check(gemv_is_close(&m, yc[0]), "gemv", name, "C is further from the truth than f32");
        }
        check_small(&m, &run.c, false, yc);
        check_small(&m, &run.isa, true, yc);
        if (run.isa.fmt[type].gemm_tiles != NULL) {
            check_tiles(&m, yc);
        }
        const uint8_t *row[MICRO_ROWS];
        for (int r = 0; r < MICRO_ROWS; r++) {
            row[r] = m.w + (size_t)(r < m.n_row ? r : m.n_row - 1) * m.row_bytes;
        }
        for (int i = 0; i < 2; i++) {
            const struct micro_format *f = both[i];
            int rows = f->rows, toks = m.n_tok < f->toks ? m.n_tok : f->toks;
            size_t n_group = (size_t)micro_groups(m.n_col);
            void *panel = guard(n_group * f->panel_bytes), *tile = guard(n_group * f->tile_bytes);
            float *out = guard_floats(toks * rows);
            f->unpack(row, m.n_col, panel);
            f->pack(m.x, toks, m.n_col, tile);
            f->tile(panel, tile, toks, m.n_col, NULL, out);
            bool ok = true;
            for (int t = 0; t < toks; t++) {
                ok = ok && same_floats(yc[t], out + t * rows, m.n_row < rows ? m.n_row : rows);
            }
            check(ok, i == 0 ? "tile of C" : "tile", name, "differs from matrix-vector");
        }
        guard_drop();
    }
}

/* ---- rows
 * ---------------------------------------------------------------------------------------------- */

static void fill(float *x, int64_t n, float top) {
    for (int64_t i = 0; i < n; i++) {
        x[i] = blocks_uniform(&run.rng, -top, top);
    }
}

static float *copy(const float *x, int64_t n) {
    float *y = guard_floats(n);
    memcpy(y, x, (size_t)n * sizeof *y);
    return y;
}

static void check_rmsnorm(void) {
    for (int n = 1; n < 80; n++) {
        float *x = guard_floats(n), *w = guard_floats(n), *a = guard_floats(n);
        fill(x, n, 4);
        fill(w, n, 2);
        float *b = copy(x, n);
        run.c.rmsnorm(x, w, n, 1e-5f, a);
        run.isa.rmsnorm(b, w, n, 1e-5f, b); /* in place */
        check(same_floats(a, b, n), "rmsnorm", "f32", "differs from C");
        double sum = 0;
        for (int i = 0; i < n; i++) {
            sum += (double)x[i] * x[i];
        }
        bool ok = true;
        for (int i = 0; i < n; i++) {
            double want = x[i] / sqrt(sum / n + 1e-5) * w[i];
            ok = ok && fabs(want - (double)a[i]) <= 1e-6 * fabs(want) + 1e-30;
        }
        check(ok, "rmsnorm", "f32", "C is inexact");
        guard_drop();
    }
}

static void check_layernorm(void) {
    for (int n = 1; n < 80; n++) {
        float *x = guard_floats(n), *w = guard_floats(n), *bias = guard_floats(n);
        float *a = guard_floats(n);
        fill(x, n, 4);
        fill(w, n, 2);
        fill(bias, n, 2);
        float *b = copy(x, n);
        run.c.layernorm(x, w, bias, n, 1e-5f, a);
        run.isa.layernorm(b, w, bias, n, 1e-5f, b); /* in place */
        check(same_floats(a, b, n), "layernorm", "f32", "differs from C");
        double mean = 0, square = 0;
        for (int i = 0; i < n; i++) {
            mean += (double)x[i] / n;
        }
        for (int i = 0; i < n; i++) {
            square += (x[i] - mean) * (x[i] - mean);
        }
        double scale = 1 / sqrt(square / n + 1e-5);
        bool ok = true;
        for (int i = 0; i < n; i++) {
            double want = (x[i] - mean) * scale * w[i] + bias[i];
            ok = ok && fabs(want - (double)a[i]) <= 1e-6 * (4 * scale * fabs((double)w[i]) + 2);
        }
        check(ok, "layernorm", "f32", "C is inexact");
        guard_drop();
    }
}

static void check_exp(void) {
    double worst = 0;
    for (int i = 0; i < 2000000; i++) {
        float x = -87.0f + 175.0f * (float)i / 2000000;
        double want = exp((double)x);
        double error = fabs((double)micro_exp(x) - want) / want;
        worst = error > worst ? error : worst;
    }
    check(worst < 2e-7, "exp", "f32", "relative error of 2e-7 exceeded");
    check(micro_exp(-INFINITY) == 0 && micro_exp(-100) == 0 && isnan(micro_exp(NAN)) &&
              micro_exp(0) == 1 && micro_exp(INFINITY) > 2e38f,
          "exp", "f32", "special values");
}

static double activated(double v, enum kern_act act) {
    double t = tanh(0.7978845608028654 * (v + 0.044715 * v * v * v));
    return act == ACT_SILU   ? v / (1 + exp(-v))
           : act == ACT_GELU ? 0.5 * v * (1 + t)
                             : 0.5 * v * (1 + erf(v * 0.7071067811865476));
}

static void check_elementwise(void) {
    static const float odd[] = {NAN, INFINITY, -INFINITY, 0, -0.0f, 90, -90, 1e30f, -1e30f, 88.6f};
    for (int n = 1; n < 60; n++) {
        float *x = guard_floats(n), *u = guard_floats(n);
        fill(x, n, n % 2 ? 5 : 120);
        fill(u, n, 3);
        if (n % 4 == 0) {
            x[any(0, n - 1)] = odd[any(0, 9)];
        }
        for (enum kern_act act = ACT_SILU; act <= ACT_GELU_ERF; act++) {
            static const char *const names[] = {"silu", "gelu", "gelu_erf"};
            float *a = copy(x, n), *b = copy(x, n), *c = copy(x, n), *d = copy(x, n);
            run.c.act_mul(a, u, n, act);
            run.isa.act_mul(b, u, n, act);
            check(same_floats(a, b, n), "act_mul", names[act], "differs from C");
            run.c.activate(c, n, act);
            run.isa.activate(d, n, act);
            check(same_floats(c, d, n), "activate", names[act], "differs from C");
            bool ok = true;
            for (int i = 0; i < n; i++) {
                double want = activated(x[i], act), size = fabs((double)x[i]);
                double off = fabs(want - (double)c[i]), scaled = fabs(u[i] * want - (double)a[i]);
                double product = size * fabs((double)u[i]);
                ok = ok && (!(size < 1e6) || off <= 4e-6 * size + 1e-30);
                ok = ok && (!(product < 1e6) || scaled <= 4e-6 * product + 1e-30);
            }
            check(ok, "activate", names[act], "C is inexact");
        }
        float *a = copy(x, n), *b = copy(x, n);
        run.c.softcap(a, n, 30);
        run.isa.softcap(b, n, 30);
        check(same_floats(a, b, n), "softcap", "f32", "differs from C");
        bool ok = true;
        for (int i = 0; i < n; i++) {
            double want = 30 * tanh((double)x[i] / 30);
            ok = ok && (isnan(x[i]) ? isnan(a[i]) : fabs(want - (double)a[i]) <= 30 * 4e-7);
        }
        check(ok, "softcap", "f32", "C is inexact");
        float want = -INFINITY, top[2] = {run.c.largest(x, n), run.isa.largest(x, n)};
        for (int i = 0; i < n; i++) {
            want = isnan(x[i]) || isnan(want) ? NAN : fmaxf(want, x[i]);
        }
        check(top[0] == want || (isnan(top[0]) && isnan(want)), "largest", "f32", "C is wrong");
        check(top[0] == top[1] || (isnan(top[0]) && isnan(top[1])), "largest", "f32",
              "differs from C");
        a = copy(x, n);
        b = copy(x, n);
        run.c.add(a, u, n);
        run.isa.add(b, u, n);
        check(same_floats(a, b, n), "add", "f32", "differs from C");
        run.c.axpy(a, 0.3f, u, n);
        run.isa.axpy(b, 0.3f, u, n);
        check(same_floats(a, b, n), "axpy", "f32", "differs from C");
        guard_drop();
    }
}

static void check_rotate(void) {
    for (int half = 1; half < 40; half++) {
        float *x = guard_floats(2 * half), *c = guard_floats(half), *s = guard_floats(half);
        fill(x, 2 * half, 4);
        for (int i = 0; i < half; i++) {
            float angle = blocks_uniform(&run.rng, -9, 9);
            c[i] = cosf(angle);
            s[i] = sinf(angle);
        }
        float *a = copy(x, 2 * half), *b = copy(x, 2 * half);
        run.c.rotate(a, c, s, half);
        run.isa.rotate(b, c, s, half);
        check(same_floats(a, b, 2 * half), "rotate", "halves", "differs from C");
        a = copy(x, 2 * half);
        b = copy(x, 2 * half);
        run.c.rotate_pairs(a, c, s, half);
        run.isa.rotate_pairs(b, c, s, half);
        check(same_floats(a, b, 2 * half), "rotate", "pairs", "differs from C");
        bool ok = true;
        for (int i = 0; i < half; i++) { /* a rotation keeps lengths */
            double before = hypot((double)x[2 * i], (double)x[2 * i + 1]);
            double after = hypot((double)a[2 * i], (double)a[2 * i + 1]);
            ok = ok && fabs(before - after) <= 1e-6 * before;
        }
        check(ok, "rotate", "pairs", "changes lengths");
        guard_drop();
    }
}

static void check_half(void) {
    for (int n = 1; n < 50; n++) {
        float *x = guard_floats(n), *fa = guard_floats(n), *fb = guard_floats(n);
        f16_t *a = guard((size_t)n * 2), *b = guard((size_t)n * 2);
        for (int i = 0; i < n; i++) {
            x[i] = f32_from_bits((uint32_t)rng_next(&run.rng));
            x[i] = isnan(x[i]) ? 1e-7f : any(0, 1) ? x[i] : blocks_uniform(&run.rng, -70000, 70000);
        }
        run.c.f32_to_f16(x, a, n);
        run.isa.f32_to_f16(x, b, n);
        check(memcmp(a, b, (size_t)n * 2) == 0, "f32_to_f16", "f16", "differs from C");
        for (int i = 0; i < n; i++) {
            a[i] = (f16_t)rng_next(&run.rng);
        }
        run.c.f16_to_f32(a, fa, n);
        run.isa.f16_to_f32(a, fb, n);
        check(same_floats(fa, fb, n), "f16_to_f32", "f16", "differs from C");
        guard_drop();
    }
}

/* Numbers of a KV cache: random, or all largest, all least, alternating, with NaN and infinity. */
/* Spikes: the largest of a row or group is at one place, whose number no other is near. */
enum kv_kind { KV_RANDOM, KV_TOP, KV_BOTTOM, KV_STRIPES, KV_SPIKES, KV_BROKEN, KV_KINDS };

static float spike(void) {
    return any(0, 40) == 0 ? exp2f((float)any(3, 10)) : 1;
}

/* n numbers with n_scale scales, between guards. */
static struct micro_rows kv_rows(enum micro_kv type, enum kv_kind kind, int64_t n, int64_t n_scale,
                                 int step) {
    size_t size = type == MICRO_KV_F32 ? 4 : type == MICRO_KV_F16 ? 2 : 1;
    uint8_t *v = guard((size_t)n * size);
    bf16_t *scale = type == MICRO_KV_I8 ? guard((size_t)n_scale * 2) : NULL;
    for (int64_t i = 0; i < n; i++) {
        float x = kind == KV_TOP       ? 4
                  : kind == KV_BOTTOM  ? -4
                  : kind == KV_STRIPES ? (float)(4 - 8 * (i % 2))
                                       : blocks_uniform(&run.rng, -4, 4);
        x *= kind == KV_SPIKES && type != MICRO_KV_I8 ? spike() : 1;
        if (kind == KV_BROKEN && any(0, 300) == 0) {
            x = any(0, 1) ? NAN : -INFINITY;
        }
        if (type == MICRO_KV_F32) {
            ((float *)v)[i] = x;
        } else if (type == MICRO_KV_F16) {
            ((f16_t *)v)[i] = f16_from_f32(x);
        } else {
            ((int8_t *)v)[i] = (int8_t)(isfinite(x) ? (int)lrintf(x * 31.75f) : 1);
        }
    }
    for (int64_t i = 0; scale && i < n_scale; i++) {
        float x = kind == KV_BROKEN && any(0, 30) == 0 ? NAN : blocks_uniform(&run.rng, 0, 2);
        scale[i] = bf16_from_f32(kind == KV_SPIKES ? x * spike() : x);
    }
    return (struct micro_rows){.v = v, .scale = scale, .step = step};
}

struct att_case {
    enum micro_kv type;
    enum kv_kind kind;
    const char *name;
    int n_q, n_pos, dim, groups;
    float *x;       /* [n_q, dim] */
    int16_t *q, *w; /* [n_q, dim], [n_q, MICRO_ATT_TILE] */
    float *q_scale; /* [n_q, groups] */
};

/* Room for one level's tile, its integers anything. */
static struct micro_tile tile_room(const struct att_case *c, int groups) {
    size_t n = (size_t)c->dim * MICRO_ATT_TILE;
    static struct micro_ahead ahead;
    struct micro_tile t = {guard(n * sizeof *t.v), guard_floats((int64_t)groups * MICRO_ATT_TILE),
                           any(0, 1) ? &ahead : NULL};
    ahead = (struct micro_ahead){.stream = {(char *)t.v, (char *)t.scale}, .end = 4, .log_n = 1};
    memset(t.v, (int)any(0, 255), n * sizeof *t.v);
    fill(t.scale, groups * MICRO_ATT_TILE, 1);
    return t;
}

/* What a page holds at (d, p) of keys, (j, p) of values. */
static double number_at(const struct att_case *c, const struct micro_rows *r, int value, int d,
                        int p) {
    size_t at = value ? (size_t)p * (size_t)r->step + (size_t)d : (size_t)(d * r->step + p);
    if (c->type != MICRO_KV_I8) {
        return (double)(c->type == MICRO_KV_F32 ? ((const float *)r->v)[at]
                                                : f32_from_f16(((const f16_t *)r->v)[at]));
    }
    bf16_t scale = r->scale[value ? p * c->groups + d / 32 : d / 32 * r->step + p];
    return (double)((const int8_t *)r->v)[at] * (double)f32_from_bf16(scale);
}

/* The same rows in runs, `by` numbers from one position to the next, scale_by scales. */
static struct micro_runs runs_room(const struct att_case *c, const struct micro_rows *r, size_t by,
                                   size_t scale_by) {
    static struct micro_ahead ahead;
    struct micro_runs runs = {.each = 16 << any(0, 2), .ahead = &ahead};
    size_t size = c->type == MICRO_KV_F32 ? 4 : c->type == MICRO_KV_F16 ? 2 : 1;
    ahead = (struct micro_ahead){
        .stream = {r->v, r->v, r->v, r->v}, .end = any(0, 1) ? 8 : 0, .log_n = 2};
    for (int p = 0, i = 0; p < c->n_pos; p += runs.each, i++) {
        runs.run[i] = *r;
        runs.run[i].v = runs.near[i] = (const char *)r->v + (size_t)p * by * size;
        runs.run[i].scale = r->scale ? r->scale + (size_t)p * scale_by : NULL;
    }
    return runs;
}

/* Whether this level has kernels for so few queries of the case. */
static bool are_few(const struct att_case *c) {
    return c->n_q <= run.isa.att.few && run.isa.att.scores_few[c->type] != NULL;
}

/* Scores, of which the definition must be near the sum in double. The tile is filled in two runs.
 */
static void check_scores(const struct att_case *c) {
    int step = c->n_pos + 16 * (int)any(0, 2), n = c->n_q * MICRO_ATT_TILE;
    int64_t n_key = (int64_t)(c->dim - 1) * step + c->n_pos; /* up to the last one */
    int64_t n_scale = (int64_t)(c->groups - 1) * step + c->n_pos;
    struct micro_rows k = kv_rows(c->type, c->kind, n_key, n_scale, step);
    struct micro_tile a = tile_room(c, c->groups), b = tile_room(c, c->groups);
    float *sa = guard_floats(n), *sb = guard_floats(n);
    size_t size = c->type == MICRO_KV_F32 ? 4 : c->type == MICRO_KV_F16 ? 2 : 1;
    int cut = 16 * (int)any(0, c->n_pos / 16);
    struct micro_rows rest = k;
    rest.v = (const char *)k.v + (size_t)cut * size;
    rest.scale = k.scale ? k.scale + cut : NULL;
    run.c.att.keys[c->type](&k, c->dim, c->n_pos, 0, &a);
    run.isa.att.keys[c->type](&k, c->dim, cut, 0, &b);
    run.isa.att.keys[c->type](&rest, c->dim, c->n_pos - cut, cut, &b);
    run.c.att.scores(c->q, c->q_scale, c->n_q, c->dim, &a, sa);
    run.isa.att.scores(c->q, c->q_scale, c->n_q, c->dim, &b, sb);
    bool same = true, ok = true;
    for (int i = 0; i < c->n_q; i++) {
        const float *row = sa + i * MICRO_ATT_TILE;
        same = same && same_floats(row, sb + i * MICRO_ATT_TILE, c->n_pos);
        for (int p = 0; p < c->n_pos && c->kind != KV_BROKEN; p++) {
            double sum = 0, size_q = 0, size_k = 0;
            for (int d = 0; d < c->dim; d++) {
                double x = (double)c->x[i * c->dim + d], y = number_at(c, &k, 0, d, p);
                sum += x * y;
                size_q = fmax(size_q, fabs(x));
                size_k = fmax(size_k, fabs(y));
            }
            ok = ok && fabs(sum - (double)row[p]) <= 2.5e-4 * size_q * size_k * c->dim;
        }
    }
    check(same, "scores", c->name, "differs from C");
    if (are_few(c)) {
        struct micro_runs runs = runs_room(c, &k, 1, 1);
        float *few = guard_floats(n);
        run.isa.att.scores_few[c->type](&runs, c->q, c->q_scale, c->n_q, c->dim, c->n_pos, few);
        for (int i = 0; i < c->n_q; i++) {
            same = same && same_floats(sa + i * MICRO_ATT_TILE, few + i * MICRO_ATT_TILE, c->n_pos);
        }
        check(same, "scores of few", c->name, "differs from C");
    }
    check(ok, "scores", c->name, "C is inexact");
}

static void check_mix(const struct att_case *c) {
    int n = (int)any(1, c->n_pos), up = (n + 15) / 16 * 16;
    int step = c->type == MICRO_KV_I8 ? c->dim : c->dim + 8 * (int)any(0, 2);
    int64_t n_value = (int64_t)(up - 1) * step + c->dim;
    struct micro_rows v = kv_rows(c->type, c->kind, n_value, (int64_t)up * c->groups, step);
    struct micro_tile ta = tile_room(c, 1), tb = tile_room(c, 1);
    float *keep = guard_floats(c->n_q), *size = guard_floats(c->n_q);
    float *y = guard_floats(c->n_q * c->dim);
    fill(keep, c->n_q, 1);
    fill(size, c->n_q, 1);
    fill(y, c->n_q * c->dim, 1);
    float *a = copy(y, c->n_q * c->dim), *b = copy(y, c->n_q * c->dim);
    run.c.att.values[c->type](&v, c->dim, up, 0, &ta);
    run.isa.att.values[c->type](&v, c->dim, up, 0, &tb);
    check(same_floats(ta.scale, tb.scale, up), "values", c->name, "scales differ from C");
    run.c.att.mix(a, c->n_q, c->dim, keep, c->w, size, &ta, up);
    run.isa.att.mix(b, c->n_q, c->dim, keep, c->w, size, &tb, up);
    check(same_floats(a, b, c->n_q * c->dim), "mix", c->name, "differs from C");
    if (are_few(c)) {
        struct micro_runs runs = runs_room(c, &v, (size_t)step, (size_t)c->groups);
        struct micro_tile own = tile_room(c, 1);
        float *few = copy(y, c->n_q * c->dim);
        run.isa.att.value_scales[c->type](&runs, c->dim, up, own.scale, own.v);
        run.isa.att.mix_few[c->type](few, c->n_q, c->dim, keep, c->w, size, &runs, own.v, up);
        check(same_floats(ta.scale, own.scale, up) && same_floats(a, few, c->n_q * c->dim),
              "mix of few", c->name, "differs from C");
    }
    bool ok = true;
    for (int i = 0; i < c->n_q; i++) { /* one position alone is its value */
        int16_t *one = guard(MICRO_ATT_TILE * sizeof *one);
        int p = (int)any(0, n - 1);
        float zero = 0, s = ta.scale[p];
        memset(one, 0, MICRO_ATT_TILE * sizeof *one);
        one[p] = 1;
        run.c.att.mix(a, 1, c->dim, &zero, one, &s, &ta, up);
        double most = c->type == MICRO_KV_I8 ? 127 * 32 * (double)ta.scale[p] : 0; /* at most */
        for (int d = 0; d < c->dim; d++) {
            most = fmax(most, fabs(number_at(c, &v, 1, d, p)));
        }
        for (int d = 0; d < c->dim && c->kind != KV_BROKEN; d++) {
            ok = ok && fabs((double)a[d] - number_at(c, &v, 1, d, p)) <= 2.6e-4 * most;
        }
    }
    check(ok, "values", c->name, "C is inexact");
}

/* Queries as they are, with a number that is not finite among them, and all too small to count. */
static void check_queries(const struct att_case *c) {
    int16_t *a = guard((size_t)c->dim * sizeof *a), *b = guard((size_t)c->dim * sizeof *b);
    float *x = guard_floats(c->dim), *sa = guard_floats(c->groups), *sb = guard_floats(c->groups);
    bool same = true;
    for (int i = 0; i < 3 * c->n_q; i++) {
        for (int d = 0; d < c->dim; d++) {
            x[d] = c->x[i / 3 * c->dim + d] * (i % 3 == 2 ? 1e-38f : 1);
        }
        if (i % 3 == 1) {
            x[any(0, c->dim - 1)] = any(0, 1) ? NAN : -INFINITY;
        }
        run.c.att.query(x, c->dim, a, sa);
        run.isa.att.query(x, c->dim, b, sb);
        same =
            same && memcmp(a, b, (size_t)c->dim * sizeof *a) == 0 && same_floats(sa, sb, c->groups);
    }
    check(same, "query", c->name, "differs from C");
}

static void check_attention(void) {
    static const char *const names[] = {"f32", "f16", "i8"};
    for (int round = 0; round < 360; round++) {
        struct att_case c = {.type = (enum micro_kv)(round % MICRO_KV_N),
                             .kind = (enum kv_kind)(round / MICRO_KV_N % KV_KINDS),
                             .n_q = (int)any(1, 20),
                             .n_pos = 16 * (int)any(1, 4),
                             .dim = any(0, 2) ? 16 * (int)any(1, 9) : 64 << any(0, 1)};
        c.name = names[c.type];
        c.groups = (c.dim + MICRO_ATT_GROUP - 1) / MICRO_ATT_GROUP;
        c.x = guard_floats(c.n_q * c.dim);
        c.q = guard((size_t)(c.n_q * c.dim) * sizeof *c.q);
        c.q_scale = guard_floats(c.n_q * c.groups);
        c.w = guard((size_t)c.n_q * MICRO_ATT_TILE * sizeof *c.w);
        fill(c.x, c.n_q * c.dim, 2);
        for (int i = 0; i < c.n_q; i++) { /* some as large as can be, all of one sign or two */
            for (int d = 0; i % 3 == 1 && d < c.dim; d++) {
                c.x[i * c.dim + d] = d % 2 && i % 2 ? -1.9999999f : 1.9999999f;
            }
            micro_att_query(c.x + i * c.dim, c.dim, c.q + i * c.dim, c.q_scale + i * c.groups);
        }
        check_queries(&c);
        for (int i = 0; i < c.n_q * MICRO_ATT_TILE; i++) {
            c.w[i] = (int16_t)(any(0, 1) ? MICRO_ATT_INT : any(0, MICRO_ATT_INT));
        }
        check_scores(&c);
        check_mix(&c);
        guard_drop();
    }
}

static void check_exp2(void) {
    double worst = 0;
    for (int i = 0; i < 2000000; i++) {
        float x = -125.0f * (float)i / 2000000;
        double want = exp2((double)x), error = fabs((double)micro_exp2(x) - want) / want;
        worst = error > worst ? error : worst;
    }
    check(worst < 2e-7, "exp2", "f32", "relative error of 2e-7 exceeded");
    check(micro_exp2(-INFINITY) == 0 && micro_exp2(-126) == 0 && isnan(micro_exp2(NAN)) &&
              micro_exp2(0) == 1,
          "exp2", "f32", "special values");
}

/* Scores as they come: far apart, equal, infinite, not a number; ranges empty, whole and cut;
 * values whose scales are far apart, too, or not finite. */
static void check_weigh(void) {
    static const float odd[] = {NAN, INFINITY, -INFINITY, 0, -0.0f, 3e38f, -3e38f, -124.9f};
    const int tile = MICRO_ATT_TILE;
    for (int round = 0; round < 400; round++) {
        int n_q = (int)any(1, 9), n_pos = 16 * (int)any(1, 4);
        float *a = guard_floats(n_q * tile), *top = guard_floats(n_q), *size = guard_floats(n_pos);
        float *total = guard_floats(n_q * 16), *keep = guard_floats(n_q);
        float *other_keep = guard_floats(n_q), *step = guard_floats(n_q);
        float *other_step = guard_floats(n_q);
        size_t bytes = (size_t)(n_q * tile) * sizeof(int16_t);
        int16_t *w = guard(bytes), *other_w = guard(bytes);
        int *from = guard((size_t)n_q * sizeof *from), *to = guard((size_t)n_q * sizeof *to);
        memset(w, 0x55, bytes); /* what is not written differs, where it should have been */
        memset(other_w, 0x55, bytes);
        fill(a, n_q * tile, round % 3 == 0 ? 200 : 4);
        fill(total, n_q * 16, 3);
        for (int p = 0; p < n_pos; p++) {
            size[p] = round % 5 == 0 ? 0 : exp2f((float)any(0, 12) - (round % 7 == 0 ? 110 : 0));
            size[p] = round % 4 == 3 && any(0, 40) == 0 ? NAN : size[p];
        }
        for (int i = 0; i < n_q; i++) {
            from[i] = any(0, 2) ? (int)any(0, 1) : (int)any(0, n_pos + 3);
            to[i] = any(0, 2) ? n_pos - (int)any(0, 1) : (int)any(-3, n_pos);
            if (any(0, 1)) { /* the largest scores are those that do not count */
                a[i * tile] = from[i] == 1 ? 300 : a[i * tile];
                a[i * tile + n_pos - 1] = to[i] == n_pos - 1 ? 300 : a[i * tile + n_pos - 1];
            }
            top[i] = any(0, 1) ? -INFINITY : blocks_uniform(&run.rng, -3, 3);
            if (round % 4 == 3) {
                a[i * tile + any(0, n_pos - 1)] = odd[any(0, 7)];
            }
        }
        float *b = copy(a, n_q * tile), *in = copy(a, n_q * tile), *other_top = copy(top, n_q);
        float *other_total = copy(total, n_q * 16);
        run.c.att.weigh(a, n_q, n_pos, from, to, size, top, total, keep, w, step);
        run.isa.att.weigh(b, n_q, n_pos, from, to, size, other_top, other_total, other_keep,
                          other_w, other_step);
        check(memcmp(w, other_w, bytes) == 0 && same_floats(top, other_top, n_q) &&
                  same_floats(total, other_total, n_q * 16) && same_floats(keep, other_keep, n_q) &&
                  same_floats(step, other_step, n_q),
              "weigh", "f32", "differs from C");
        bool ok = true;
        for (int i = 0; i < n_q * n_pos && round % 4 != 3; i++) {
            int r = i / n_pos, p = i % n_pos;
            float x = in[r * tile + p] - top[r]; /* the difference is rounded by definition */
            double want = p >= from[r] && p < to[r] && x >= -125 ? exp2((double)x) : 0;
            want *= (double)size[p];
            double got = (double)w[r * tile + p] * (double)step[r];
            double near = fmax((double)step[r], 0x1p-76);
            ok = ok && fabs(want - got) <= 0.51 * near + 1e-6 * want;
        }
        check(ok, "weigh", "f32", "C is inexact");
        guard_drop();
    }
}

static void check_level(const char *level) {
    static const struct {
        const char *name;
        void (*fn)(void);
    } rows[] = {
        {"quantize", check_quantize},       {"rmsnorm", check_rmsnorm}, {"exp", check_exp},
        {"elementwise", check_elementwise}, {"rotate", check_rotate},   {"half", check_half},
        {"attention", check_attention},     {"exp2", check_exp2},       {"weigh", check_weigh},
        {"layernorm", check_layernorm}};
    struct err e = {0};
    rng_seed(&run.rng, run.seed);
    if (micro_choose(&run.c, "c", &e) != ERR_OK || micro_choose(&run.isa, level, &e) != ERR_OK) {
        printf("%s: not on this processor\n", level);
        return;
    }
    long before = run.passed + run.failed;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (wanted(rows[i].name, "f32")) {
            rows[i].fn();
        }
    }
    for (int i = 0; i < BLOCKS_TYPES; i++) {
        if (wanted("matrix", dtype_info(blocks_types[i])->name)) {
            check_matrix(blocks_types[i]);
        }
    }
    printf("%s: %ld checks\n", level, run.passed + run.failed - before);
}

int main(int argc, char **argv) {
    bool bench = false;
    run.seed = os_random_seed();
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--function=", 11) == 0) {
            run.function = argv[i] + 11;
        } else if (strncmp(argv[i], "--seed=", 7) == 0) {
            run.seed = strtoull(argv[i] + 7, NULL, 10);
        } else if (strcmp(argv[i], "--bench") == 0) {
            bench = true;
        } else {
            fprintf(stderr, "usage: kern_check [--function=TEXT] [--seed=N] [--bench]\n");
            return 2;
        }
    }
    for (int i = 0; micro_level(i) != NULL; i++) {
        check_level(micro_level(i));
    }
    printf("%ld checks passed, %ld failed (seed %" PRIu64 ")\n", run.passed, run.failed, run.seed);
    if (bench) {
        bench_all(run.function);
    } else if (run.passed + run.failed == 0) {
        fprintf(stderr, "kern_check: no function has \"%s\" in its name\n", run.function);
        return 2;
    }
    return run.failed > 0 ? 1 : 0;
}
