/* bench.c: see bench.h. Weights come from a buffer larger than the caches for matrix-vector rates
 * (GB/s against what plain reading gives), and from a panel in cache for matrix-matrix rates
 * (GMAC/s against the best products in registers for that format). kern/ceiling.h measures both.
 */
#include "bench.h"

#include <stdint.h>

#include "base/mem.h"
#include "base/os.h"
#include "blocks.h"
#include "kern/ceiling.h"
#include "kern/cpu/cpu.h"
#include "kern/cpu/micro.h"

enum { BIG = 192 << 20, PART = 4 << 20, COLS = 4096 };
enum { BATCH_ROWS = 256 }; /* that matmul.c has a small batch pass at once, at most */

/* The best of many short runs: a neighbour that takes the processor away spoils some of them. */
static double best_of(double (*fn)(void *), void *arg) {
    double best = 0;
    for (int i = 0; i < 60; i++) {
        double rate = fn(arg);
        best = rate > best ? rate : best;
    }
    return best;
}

/* Where the next short run reads: each byte comes from memory, as the buffer is walked in turn. */
static size_t next_part(void) {
    static size_t at;
    at = at + 2 * PART > BIG ? 0 : at + PART;
    return at;
}

/* ---- kernels
 * -------------------------------------------------------------------------------------- */

struct bench_case {
    const struct micro_format *f;
    size_t row_bytes;
    int n_row;
    size_t small_bytes; /* of one row in `small` */
    const uint8_t *w;
    uint8_t *x, *vector, *small, *panel, *tile; /* vector: x as gemv reads it */
    float *y;
    int n_tok;     /* of a small batch */
    int tiles_min; /* from which it goes in tiles; 0: never */
};

static double rate_gemv(void *arg) {
    const struct bench_case *c = arg;
    const uint8_t *w = c->w + next_part() / c->row_bytes * c->row_bytes;
    double start = os_now();
    c->f->gemv(w, c->row_bytes, c->n_row, c->vector, COLS, c->y);
    return (double)c->row_bytes * c->n_row / (os_now() - start) * 1e-9;
}

/* A small batch, as the matrix path calls it: GB/s of weights. */
static double rate_small(void *arg) {
    const struct bench_case *c = arg;
    const uint8_t *w = c->w + next_part() / c->row_bytes * c->row_bytes;
    const bool tiles = c->tiles_min > 0 && c->n_tok >= c->tiles_min;
    const void *x[MICRO_SMALL];
    for (int t = 0; t < c->n_tok; t++) {
        x[t] = tiles ? c->tile : c->small + (size_t)t * c->small_bytes;
    }
    int n = c->n_row / 2 / MICRO_ROWS * MICRO_ROWS;
    double start = os_now();
    for (int r = 0; r < n; r += BATCH_ROWS) {
        (tiles ? c->f->gemm_tiles : c->f->gemm_small)(w + (size_t)r * c->row_bytes, c->row_bytes,
                                                      n - r < BATCH_ROWS ? n - r : BATCH_ROWS, x,
                                                      c->n_tok, COLS, c->y);
    }
    return (double)c->row_bytes * n / (os_now() - start) * 1e-9;
}

static double rate_tile(void *arg) {
    const struct bench_case *c = arg;
    int n = 20;
    double start = os_now();
    for (int i = 0; i < n; i++) {
        c->f->tile(c->panel, c->tile, c->f->toks, COLS, NULL, c->y);
    }
    return (double)n * c->f->toks * c->f->rows * COLS / (os_now() - start) * 1e-9;
}

/* One panel unpacked for 512 tokens: the whole cost of a product. */
static double rate_panel(void *arg) {
    const struct bench_case *c = arg;
    const uint8_t *row[MICRO_ROWS];
    int tiles = (512 + c->f->toks - 1) / c->f->toks;
    for (int r = 0; r < c->f->rows; r++) {
        row[r] = c->w + next_part() / c->row_bytes * c->row_bytes;
    }
    double start = os_now();
    c->f->unpack(row, COLS, c->panel);
    for (int t = 0; t < tiles; t++) {
        c->f->tile(c->panel, c->tile, c->f->toks, COLS, NULL, c->y);
    }
    return (double)tiles * c->f->toks * c->f->rows * COLS / (os_now() - start) * 1e-9;
}

static void bench_format(const struct micro *m, enum dtype type, uint8_t *big,
                         const struct ceilings *top) {
    struct bench_case c = {.f = &m->fmt[type], .row_bytes = blocks_size(type, 1, COLS), .w = big};
    struct rng g;
    const void *x[MICRO_TOKS];
    bool q8 = c.f->act == MICRO_ACT_Q8, slow = strcmp(m->name, "c") == 0;
    double peak = ceiling_rate(top, ceiling_of(type));
    float in[COLS];
    c.tiles_min = c.f->gemm_tiles != NULL ? m->tiles_min : 0;
    c.n_row = (int)((slow ? PART / 64 : PART) / c.row_bytes);
    c.x = mem_aligned(micro_act_bytes(c.f->act, COLS), 1);
    c.panel = mem_aligned((size_t)micro_groups(COLS), c.f->panel_bytes);
    c.tile = mem_aligned((size_t)micro_groups(COLS), c.f->tile_bytes);
    const struct micro_order vector = c.f->vector, small = c.f->small;
    c.small_bytes =
        small.arrange != NULL ? micro_groups(COLS) * small.group : micro_act_bytes(c.f->act, COLS);
    c.small = mem_aligned(MICRO_SMALL, c.small_bytes);
    c.y = mem_aligned((size_t)c.n_row + MICRO_SMALL * BATCH_ROWS, sizeof *c.y);
    rng_seed(&g, 1);
    for (int i = 0; i < COLS; i++) {
        in[i] = blocks_uniform(&g, -1, 1);
    }
    if (q8) {
        m->quantize(in, COLS, (struct act_group *)c.x);
    } else {
        memcpy(c.x, in, sizeof in);
    }
    for (int t = 0; t < MICRO_SMALL; t++) {
        uint8_t *to = c.small + (size_t)t * c.small_bytes;
        if (small.arrange != NULL) {
            small.arrange((struct act_group *)c.x, COLS, to);
        } else {
            memcpy(to, c.x, c.small_bytes);
        }
    }
    c.vector = c.x;
    if (vector.arrange != NULL) {
        c.vector = mem_aligned((size_t)micro_groups(COLS), vector.group);
        vector.arrange((struct act_group *)c.x, COLS, c.vector);
    }
    for (int t = 0; t < MICRO_TOKS; t++) {
        x[t] = c.x;
    }
    blocks_fill(&g, type, BLOCKS_RANDOM, 64, COLS, big);
    size_t made = 64 * c.row_bytes; /* the rest repeats these rows */
    for (size_t at = made; at < BIG; at += made) {
        size_t left = BIG - at;
        memcpy(big + at, big, left < made ? left : made);
    }
    const uint8_t *row[MICRO_ROWS];
    for (int r = 0; r < MICRO_ROWS; r++) {
        row[r] = big + (size_t)r * c.row_bytes;
    }
    c.f->unpack(row, COLS, c.panel);
    c.f->pack(x, c.f->toks, COLS, c.tile);
    double gemv = best_of(rate_gemv, &c), tile = best_of(rate_tile, &c);
    double panel = slow ? tile : best_of(rate_panel, &c);
    printf("%-6s %-7s gemv %6.2f GB/s %3.0f %%   tile %6.1f GMAC/s %3.0f %%   unpacked for 512 "
           "%6.1f %3.0f %%\n",
           m->name, dtype_info(type)->name, gemv, 100 * gemv / top->read_gb_per_s, tile,
           100 * tile / peak, panel, 100 * panel / peak);
    if (!slow) {
        printf("               small batch, steps of one row:");
        for (c.n_tok = 1; c.n_tok <= MICRO_SMALL;
             c.n_tok += 1 + (c.n_tok >= 4) + 2 * (c.n_tok >= 8)) {
            double rate = best_of(rate_small, &c);
            printf("  %d: %.2f (%.1f GB/s)", c.n_tok, top->read_gb_per_s / rate, rate);
        }
        printf("\n");
    }
    if (c.vector != c.x) {
        mem_free(c.vector);
    }
    mem_free(c.x);
    mem_free(c.small);
    mem_free(c.panel);
    mem_free(c.tile);
    mem_free(c.y);
}

/* Operations on rows, in cache: a billion elements a second. */
struct row_case {
    const struct micro *m;
    const char *name;
    float *x, *u;
    int n;
};

static double rate_row(void *arg) {
    const struct row_case *c = arg;
    int n = c->n, rounds = 20;
    double start = os_now();
    for (int i = 0; i < rounds; i++) {
        if (strcmp(c->name, "rmsnorm") == 0) {
            c->m->rmsnorm(c->u, c->x, n, 1e-5f, c->u);
        } else if (strcmp(c->name, "rmsnorm of heads") == 0) {
            for (int h = 0; h < n; h += 128) {
                c->m->rmsnorm(c->u + h, c->x, 128, 1e-5f, c->u + h);
            }
        } else if (strcmp(c->name, "softcap") == 0) {
            c->m->softcap(c->u, n, 30);
        } else if (strcmp(c->name, "largest") == 0) {
            c->x[i] = c->m->largest(c->u, n);
        } else {
            c->m->act_mul(c->u, c->x, n, strcmp(c->name, "silu") == 0 ? ACT_SILU : ACT_GELU);
        }
    }
    return (double)n * rounds / (os_now() - start) * 1e-9;
}

static void bench_rows(const struct micro *m) {
    static const char *const names[] = {"rmsnorm", "rmsnorm of heads", "silu",
                                        "gelu",    "softcap",          "largest"};
    static float x[COLS], u[COLS];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        for (int k = 0; k < COLS; k++) {
            x[k] = 1;
            u[k] = (float)(k % 17) - 8;
        }
        struct row_case c = {m, names[i], x, u, COLS};
        printf("%-6s %-16s %6.2f Gelem/s\n", m->name, names[i], best_of(rate_row, &c));
    }
}

/* ---- attention
 * -------------------------------------------------------------------------------------- */

/* An 8B model's heads at 8,192 positions; more layers than caches hold. */
enum { ATT_HEADS = 32, ATT_KV = 8, ATT_DIM = 128, ATT_POS = 8192, ATT_LAYERS = 4, ATT_TOK = 512 };

struct att_bench {
    struct kern_dev *d;
    kern_ref q, y;
    struct step step;
    int32_t pos[ATT_TOK], seq[ATT_TOK], page[ATT_POS / 32], page_start[2];
    struct kern_kv kv;
};

static bool att_open(struct att_bench *b, const char *level, enum dtype type) {
    struct kern_opts o = {.n_thread = 1, .max_tok = ATT_TOK, .max_out = 1, .level = level};
    struct err e = {0};
    size_t n = (size_t)ATT_TOK * ATT_HEADS * ATT_DIM;
    struct rng g;
    b->kv = (struct kern_kv){ATT_LAYERS, ATT_KV, ATT_DIM, 32, ATT_POS / 32, type, 0};
    size_t bytes = kern_kv_page_bytes(&b->kv);
    float *x = mem_alloc(n, sizeof *x);
    uint16_t *page = mem_alloc(bytes, 1);
    bool ok = x && page && !kern_cpu.open(&b->d, &o, &e) && !kern_cpu.ready(b->d, &e) &&
              !kern_cpu.kv_open(b->d, &b->kv, &e) && !kern_cpu.alloc(b->d, n, &b->q, &e) &&
              !kern_cpu.alloc(b->d, n, &b->y, &e);
    rng_seed(&g, 1);
    for (size_t i = 0; ok && i < n; i++) {
        x[i] = blocks_uniform(&g, -1, 1);
    }
    for (size_t i = 0; ok && i < bytes / 2; i++) { /* as f16, as bf16 scales, as bytes: small */
        page[i] = f16_from_f32(blocks_uniform(&g, -1, 1)) & 0xbfff;
    }
    if (ok) {
        kern_cpu.write(b->d, b->q, x, n);
        for (int i = 0; i < b->kv.n_page; i++) {
            b->page[i] = i;
            kern_cpu.kv_write_page(b->d, i, page);
        }
    }
    mem_free(x);
    mem_free(page);
    return ok;
}

/* Seconds for n_tok tokens that end at the last position, all layers. */
static double att_seconds(struct att_bench *b, int n_tok) {
    struct kern_attend a = {.n_head = ATT_HEADS, .n_kv = ATT_KV, .d_head = ATT_DIM, .scale = 0.09f};
    struct err e = {0};
    b->page_start[1] = b->kv.n_page;
    for (int t = 0; t < n_tok; t++) {
        b->pos[t] = ATT_POS - n_tok + t;
    }
    b->step = (struct step){.n_tok = n_tok,
                            .n_seq = 1,
                            .pos = b->pos,
                            .seq = b->seq,
                            .page = b->page,
                            .page_start = b->page_start};
    kern_cpu.begin(b->d, &b->step);
    double start = os_now();
    for (a.layer = 0; a.layer < ATT_LAYERS; a.layer++) {
        kern_cpu.attend(b->d, b->y, b->q, &a);
    }
    double seconds = os_now() - start;
    kern_cpu.end(b->d, &e);
    return seconds;
}

static double att_best(struct att_bench *b, int n_tok, int times) {
    double best = 1e9;
    for (int i = 0; i < times; i++) {
        double seconds = att_seconds(b, n_tok);
        best = seconds < best ? seconds : best;
    }
    return best;
}

static void bench_attention(const char *level, const struct ceilings *top, const char *function) {
    static const enum dtype types[] = {DT_F16, DT_I8, DT_F32};
    static struct att_bench b;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        char row[64];
        snprintf(row, sizeof row, "attention_%s_%s", dtype_info(types[i])->name, level);
        if (strcmp(level, "c") == 0 || (function && !strstr(row, function))) {
            continue;
        }
        memset(&b, 0, sizeof b);
        if (att_open(&b, level, types[i])) {
            double bytes = (double)kern_kv_page_bytes(&b.kv) * b.kv.n_page;
            double mac =
                2.0 * ATT_HEADS * ATT_DIM * ATT_LAYERS * ATT_TOK * (ATT_POS - ATT_TOK / 2.0);
            double read = bytes / att_best(&b, 1, 40) * 1e-9;
            double rate = mac / att_best(&b, ATT_TOK, 4) * 1e-9;
            printf("%-6s attention %-4s decode %6.2f GB/s %3.0f %%   prefill %6.1f GMAC/s %3.0f %% "
                   "of int16\n",
                   level, dtype_info(types[i])->name, read, 100 * read / top->read_gb_per_s, rate,
                   100 * rate / ceiling_rate(top, CEILING_INT16));
        }
        kern_cpu.close(b.d);
    }
}

void bench_all(const char *function) {
    uint8_t *big = mem_aligned(BIG, 1);
    if (big == NULL) {
        printf("not enough memory to measure\n");
        return;
    }
    memset(big, 1, BIG);
    char name[96];
    os_cpu_name(name, sizeof name);
    printf("%s, one thread\n", name);
    for (int l = 0; micro_level(l) != NULL; l++) {
        struct micro m;
        struct ceilings top;
        struct err e = {0};
        if (micro_choose(&m, micro_level(l), &e) != ERR_OK) {
            continue;
        }
        if (ceilings_measure(&top, m.name, 1, 2, NULL, &e) != ERR_OK) {
            printf("%s\n", e.what);
            break;
        }
        printf("%-5s ceilings: read %.1f GB/s, GMAC/s:", m.name, top.read_gb_per_s);
        for (int i = CEILING_F32; i < CEILING_N; i++) {
            printf(" %s %.1f", ceiling_name(i), ceiling_rate(&top, i));
        }
        printf("; spread %.0f %%\n", 100 * top.spread);
        char rows[32];
        snprintf(rows, sizeof rows, "elementwise_%s", m.name);
        if (function == NULL || strstr(rows, function) != NULL) {
            bench_rows(&m);
        }
        bench_attention(m.name, &top, function);
        for (int i = 0; i < BLOCKS_TYPES; i++) {
            char row[64];
            snprintf(row, sizeof row, "matrix_%s_%s", dtype_info(blocks_types[i])->name, m.name);
            if (function == NULL || strstr(row, function) != NULL) {
                bench_format(&m, blocks_types[i], big, &top);
            }
        }
    }
    mem_free(big);
}
