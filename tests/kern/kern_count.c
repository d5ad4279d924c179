/* kern_count.c: each AVX2 kernel once, in a function by which a tool finds and counts it.
 *
 * Owns the list of what is counted and the sizes: some rows of 2,048 columns, a tile of a head's
 * attention. Refuses to count: tools/count_instructions.py does, with callgrind, and expects on
 * standard output the compiler's version and then a line for each call of `counted`.
 * Ends with status 77 where the processor has no AVX2.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "blocks.h"
#include "kern/cpu/micro.h"

enum { COLS = 2048, ROWS = 64, QUERIES = 4, POSITIONS = MICRO_ATT_TILE, HEAD = 64 };

static struct {
    struct micro m;
    const struct micro_format *f;
    size_t row_bytes;
    uint8_t *w;
    const uint8_t *row[MICRO_ROWS];
    struct act_group *act;
    const void *x[MICRO_SMALL];
    uint8_t *panel, *tile;
    const struct micro_order *order; /* in which a row is arranged next */
    uint8_t *ordered;
    float *in, *out; /* [ROWS * COLS] each, which is more than any kernel takes here */
    f16_t *half;
    /* attention: a cache's type and numbers, a tile of them, and what a walk keeps of each query */
    enum micro_kv kv;
    struct micro_rows rows;
    struct micro_tile kv_tile;
    int16_t *q, *weight;
    int from[QUERIES], to[QUERIES];
    float top[QUERIES], total[QUERIES * 16], keep[QUERIES], step[QUERIES];
} s;

/* The tool counts what happens from here to the return; never merged into its callers. */
void counted(void (*fn)(void));
__attribute__((noinline)) void counted(void (*fn)(void)) {
    fn();
    __asm__ volatile("" ::: "memory");
}

static void count(const char *kernel, const char *format, void (*fn)(void)) {
    printf("%s%s%s\n", kernel, format ? " " : "", format ? format : "");
    counted(fn);
}

static void *room(size_t n) {
    void *p = mem_aligned(n, 1);
    if (!p) {
        exit(1);
    }
    memset(p, 0, n);
    return p;
}

static void do_gemv(void) {
    s.f->gemv(s.w, s.row_bytes, ROWS, s.x[0], COLS, s.out);
}
static void do_small(void) {
    s.f->gemm_small(s.w, s.row_bytes, s.f->rows, s.x, 4, COLS, s.out);
}
static void do_tiles(void) {
    const void *tile[1] = {s.tile};
    s.f->gemm_tiles(s.w, s.row_bytes, s.f->rows, tile, s.f->toks, COLS, s.out);
}
static void do_unpack(void) {
    s.f->unpack(s.row, COLS, s.panel);
}
static void do_pack(void) {
    s.f->pack(s.x, s.f->toks, COLS, s.tile);
}
static void do_tile(void) {
    s.f->tile(s.panel, s.tile, s.f->toks, COLS, NULL, s.out);
}
static void do_quantize(void) {
    s.m.quantize(s.in, COLS, s.act);
}
static void do_arrange(void) {
    s.order->arrange(s.act, COLS, s.ordered);
}
static void do_rmsnorm(void) {
    s.m.rmsnorm(s.in, s.in + COLS, COLS, 1e-5f, s.out);
}
static void do_silu(void) {
    s.m.act_mul(s.out, s.in, COLS, ACT_SILU);
}
static void do_gelu(void) {
    s.m.act_mul(s.out, s.in, COLS, ACT_GELU);
}
static void do_largest(void) {
    s.out[0] = s.m.largest(s.in, COLS);
}
static void do_rotate(void) {
    s.m.rotate(s.out, s.in, s.in, HEAD / 2);
}
static void do_scores(void) {
    s.m.att.scores(s.q, s.in, QUERIES, HEAD, &s.kv_tile, s.out);
}
static void do_weigh(void) {
    s.m.att.weigh(s.out, QUERIES, POSITIONS, s.from, s.to, s.in, s.top, s.total, s.keep, s.weight,
                  s.step);
}
static void do_mix(void) {
    s.m.att.mix(s.out, QUERIES, HEAD, s.in, s.weight, s.in, &s.kv_tile, POSITIONS);
}
static void do_keys(void) {
    s.m.att.keys[s.kv](&s.rows, HEAD, POSITIONS, 0, &s.kv_tile);
}
static void do_values(void) {
    s.m.att.values[s.kv](&s.rows, HEAD, POSITIONS, 0, &s.kv_tile);
}
static void do_query(void) {
    for (int i = 0; i < QUERIES; i++) {
        s.m.att.query(s.in + i * HEAD, HEAD, s.q + i * HEAD, s.out + i * HEAD / 32);
    }
}
static void do_widen(void) {
    s.m.f16_to_f32(s.half, s.out, COLS);
}
static void do_narrow(void) {
    s.m.f32_to_f16(s.in, s.half, COLS);
}

/* Brings a row into an order, which is counted as `what`, or not (NULL), and leaves it in s.x. */
static void count_order(const char *what, const char *format, const struct micro_order *order) {
    s.order = order;
    if (order->arrange != NULL) {
        mem_free(s.ordered);
        s.ordered = room((size_t)micro_groups(COLS) * order->group);
        if (what != NULL) {
            count(what, format, do_arrange);
        } else {
            do_arrange();
        }
    }
    for (int i = 0; i < MICRO_SMALL; i++) {
        s.x[i] = order->arrange != NULL     ? s.ordered
                 : s.f->act == MICRO_ACT_Q8 ? (void *)s.act
                                            : s.in;
    }
}

static void count_format(enum dtype type) {
    const char *name = dtype_info(type)->name;
    struct rng g;
    s.f = &s.m.fmt[type];
    s.row_bytes = blocks_size(type, 1, COLS);
    s.w = room(ROWS * s.row_bytes);
    rng_seed(&g, 1);
    blocks_fill(&g, type, BLOCKS_RANDOM, ROWS, COLS, s.w);
    for (int i = 0; i < MICRO_ROWS; i++) {
        s.row[i] = s.w + (size_t)i * s.row_bytes;
    }
    s.panel = room((size_t)micro_groups(COLS) * s.f->panel_bytes);
    s.tile = room((size_t)micro_groups(COLS) * s.f->tile_bytes);
    const struct micro_order none = {0};
    count_order("vector", name, &s.f->vector);
    count("gemv", name, do_gemv);
    count_order(NULL, NULL, &none);
    count("unpack", name, do_unpack);
    count("pack", name, do_pack);
    count("tile", name, do_tile);
    if (s.f->gemm_tiles != NULL) {
        count("tiles", name, do_tiles);
    }
    count_order(NULL, NULL, &s.f->small);
    count("small", name, do_small);
    mem_free(s.w);
    mem_free(s.panel);
    mem_free(s.tile);
}

static void count_attention(void) {
    static const char *const names[] = {"F32", "F16", "I8"};
    uint8_t *numbers = room((size_t)POSITIONS * HEAD * sizeof(float));
    bf16_t *scales = room((size_t)POSITIONS * HEAD / 32 * sizeof *scales);
    s.kv_tile.v = room((size_t)POSITIONS * HEAD * sizeof *s.kv_tile.v);
    s.kv_tile.scale = room((size_t)POSITIONS * HEAD / 32 * sizeof *s.kv_tile.scale);
    s.q = room((size_t)QUERIES * HEAD * sizeof *s.q);
    s.weight = room((size_t)QUERIES * POSITIONS * sizeof *s.weight);
    for (int i = 0; i < MICRO_KV_N; i++) {
        s.kv = (enum micro_kv)i;
        s.rows = (struct micro_rows){.v = numbers, .scale = scales, .step = POSITIONS};
        count("keys", names[i], do_keys);
        s.rows.step = HEAD;
        count("values", names[i], do_values);
    }
    for (int i = 0; i < QUERIES; i++) {
        s.to[i] = POSITIONS;
        s.top[i] = -1e30f;
    }
    count("query", NULL, do_query);
    count("scores", NULL, do_scores);
    count("weigh", NULL, do_weigh);
    count("mix", NULL, do_mix);
    mem_free(numbers);
    mem_free(scales);
    mem_free(s.kv_tile.v);
    mem_free(s.kv_tile.scale);
    mem_free(s.q);
    mem_free(s.weight);
}

int main(void) {
    struct rng g;
    if (micro_choose(&s.m, "avx2", NULL)) {
        printf("this processor has no AVX2\n");
        return 77;
    }
    printf("compiler %s\n", __VERSION__);
    size_t floats = (size_t)ROWS * COLS;
    s.act = room(micro_act_bytes(MICRO_ACT_Q8, COLS));
    s.in = room(floats * sizeof *s.in);
    s.out = room(floats * sizeof *s.out);
    s.half = room(COLS * sizeof *s.half);
    rng_seed(&g, 1);
    for (size_t i = 0; i < floats; i++) {
        s.in[i] = blocks_uniform(&g, -1, 1);
    }
    count("quantize", NULL, do_quantize);
    s.f = &s.m.fmt[DT_Q8_0];
    count_order("arrange", NULL, &s.f->small); /* all formats have the same one */
    for (int i = 0; i < BLOCKS_TYPES; i++) {
        count_format(blocks_types[i]);
    }
    count("rmsnorm", NULL, do_rmsnorm);
    count("act_mul", "silu", do_silu);
    count("act_mul", "gelu", do_gelu);
    count("largest", NULL, do_largest);
    count("rotate", NULL, do_rotate);
    count_attention();
    count("f16_to_f32", NULL, do_widen);
    count("f32_to_f16", NULL, do_narrow);
    return 0;
}
