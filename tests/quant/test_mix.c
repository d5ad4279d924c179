/* test_mix.c: the types that tensors get, where a small real model would not tell.
 *
 * The choices are llama.cpp's (llama_tensor_get_type) but where the head's rows are no whole
 * super-blocks; files of both are compared elsewhere (tools/check_quantize.py).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/rng.h"
#include "quant/mix.h"

enum { LAYERS_MOST = 40, ROLES = 7, TENSORS_MOST = LAYERS_MOST * ROLES + 2 };

struct shape {
    uint64_t d_model, d_ff, kv, n_vocab;
    int n_layer;
    bool tied;
};

struct list {
    struct mix_tensor t[TENSORS_MOST];
    char name[TENSORS_MOST][48];
    size_t n;
};

static uint32_t below(struct rng *r, uint32_t n) {
    return (uint32_t)(rng_next(r) % n);
}

static void put(struct list *l, const char *name, uint64_t n_col, uint64_t n_row) {
    snprintf(l->name[l->n], sizeof l->name[0], "%s.weight", name);
    l->t[l->n] = (struct mix_tensor){
        .name = str_c(l->name[l->n]), .n_dim = 2, .n_col = n_col, .n_row = n_row, .from = DT_F16};
    l->n++;
}

static void put_layer(struct list *l, int layer, const struct shape *s) {
    const struct {
        const char *part;
        uint64_t n_col, n_row;
    } role[ROLES] = {
        {"attn_q", s->d_model, s->d_model}, {"attn_k", s->d_model, s->kv},
        {"attn_v", s->d_model, s->kv},      {"attn_output", s->d_model, s->d_model},
        {"ffn_gate", s->d_model, s->d_ff},  {"ffn_up", s->d_model, s->d_ff},
        {"ffn_down", s->d_ff, s->d_model},
    };
    for (int i = 0; i < ROLES; i++) {
        char name[32];
        snprintf(name, sizeof name, "blk.%d.%s", layer, role[i].part);
        put(l, name, role[i].n_col, role[i].n_row);
    }
}

static struct mix_model plan(struct list *l, const char *kind, const struct shape *s) {
    struct mix_model m = {.n_layer = s->n_layer, .n_group = 3, .tied = s->tied, .align = 32};
    l->n = 0;
    put(l, "token_embd", s->d_model, s->n_vocab);
    for (int i = 0; i < s->n_layer; i++) {
        put_layer(l, i, s);
    }
    if (!s->tied) {
        put(l, "output", s->d_model, s->n_vocab);
    }
    mix_plan(mix_find(kind), &m, l->t, l->n);
    return m;
}

static enum dtype type_of(const struct list *l, const char *name) {
    for (size_t i = 0; i < l->n; i++) {
        if (str_is(l->t[i].name, name)) {
            return l->t[i].to;
        }
    }
    fail_msg("no %s", name);
    return DT_MAX;
}

static uint64_t bytes_as(const struct mix_tensor *t, enum dtype type) {
    const struct dtype_info *d = dtype_info(type);
    return (t->n_col / d->block * d->bytes * t->n_row + 31) / 32 * 32;
}

static double bits(enum dtype type) {
    return 8.0 * dtype_info(type)->bytes / dtype_info(type)->block;
}

static enum dtype value_of(const char *kind, const struct mix_model *m, int layer) {
    char name[48];
    struct mix_tensor t = {.n_dim = 2, .n_col = 8192, .n_row = 1024, .from = DT_F16};
    snprintf(name, sizeof name, "blk.%d.attn_v.weight", layer);
    t.name = str_c(name);
    mix_plan(mix_find(kind), m, &t, 1);
    return t.to;
}

/* Of 70B the values' matrices are an eighth of the queries', and get five bits at least. */
static void test_70b(void **state) {
    (void)state;
    struct mix_model big = {.n_layer = 80, .n_group = 8, .is_70b = true, .align = 32}, other = big;
    other.is_70b = false;
    static const struct {
        const char *kind;
        int layer;
        enum dtype big, other;
    } want[] = {
        {"q4_k_m", 0, DT_Q6_K, DT_Q6_K},  {"q4_k_m", 11, DT_Q5_K, DT_Q4_K},
        {"q4_k_s", 0, DT_Q5_K, DT_Q5_K},  {"q4_k_s", 40, DT_Q5_K, DT_Q4_K},
        {"q3_k_m", 40, DT_Q5_K, DT_Q4_K}, {"q2_k", 40, DT_Q5_K, DT_Q4_K},
        {"q6_k", 40, DT_Q6_K, DT_Q6_K},   {"q8_0", 40, DT_Q8_0, DT_Q8_0},
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        assert_int_equal(value_of(want[i].kind, &big, want[i].layer), want[i].big);
        assert_int_equal(value_of(want[i].kind, &other, want[i].layer), want[i].other);
    }
}

/* Rows of 576 and 896: the head's bytes go to values, feed-forward outputs and attention. */
static void test_narrow_head(void **state) {
    (void)state;
    static struct list l;
    struct shape smol = {576, 1536, 192, 49152, 30, true}, qwen = {896, 4864, 128, 151936, 24, 0};
    plan(&l, "q4_k_m", &smol);
    assert_int_equal(type_of(&l, "token_embd.weight"), DT_Q5_1);
    assert_int_equal(type_of(&l, "blk.12.attn_v.weight"), DT_Q8_0);
    assert_int_equal(type_of(&l, "blk.12.ffn_down.weight"), DT_Q5_K);
    assert_int_equal(type_of(&l, "blk.12.ffn_gate.weight"), DT_Q5_0);
    plan(&l, "q4_0", &qwen);
    assert_int_equal(type_of(&l, "output.weight"), DT_Q5_0);
    assert_int_equal(type_of(&l, "token_embd.weight"), DT_Q4_0); /* read a row at a time */
    assert_int_equal(type_of(&l, "blk.12.attn_v.weight"), DT_Q8_0);
    assert_int_equal(type_of(&l, "blk.12.ffn_down.weight"), DT_Q5_0);
    assert_int_equal(type_of(&l, "blk.12.ffn_gate.weight"), DT_Q4_0);
    plan(&l, "q8_0", &qwen);
    assert_int_equal(type_of(&l, "output.weight"), DT_Q8_0);
}

/* Whole super-blocks: the head is Q6_K, as in llama.cpp's files, and so is all else. */
static void test_wide_head(void **state) {
    (void)state;
    static struct list l;
    struct shape s = {1024, 4864, 128, 32000, 24, false};
    plan(&l, "q4_0", &s);
    for (size_t i = 0; i < l.n; i++) {
        bool head = str_is(l.t[i].name, "output.weight");
        assert_int_equal(l.t[i].to, head ? DT_Q6_K : DT_Q4_0);
    }
}

/* No file is larger than with the head in Q8_0 and all else of the kind's type, nothing but the
 * head has fewer bits, and all of it has whole blocks. */
static void test_within_size(void **state) {
    (void)state;
    static struct list l;
    static const char *kinds[] = {"q4_0", "q4_1", "q5_0", "q5_1"};
    struct rng r;
    rng_seed(&r, 7);
    for (int i = 0; i < 200; i++) {
        const char *kind = kinds[i % 4];
        struct shape s = {.d_model = 32 * (1 + below(&r, 60)),
                          .d_ff = 32 * (1 + below(&r, 200)),
                          .kv = 8 * (1 + below(&r, 60)),
                          .n_vocab = 1 + below(&r, 1u << (8 + i % 10)),
                          .n_layer = 1 + (int)below(&r, LAYERS_MOST),
                          .tied = i / 4 % 2 != 0};
        struct mix_model m = plan(&l, kind, &s);
        const char *head = m.tied ? "token_embd.weight" : "output.weight";
        uint64_t sum = 0, most = 0;
        for (size_t j = 0; j < l.n; j++) {
            bool is_head = str_is(l.t[j].name, head);
            enum dtype was = !is_head               ? mix_find(kind)->type
                             : s.d_model % 256 == 0 ? DT_Q6_K
                                                    : DT_Q8_0;
            sum += bytes_as(&l.t[j], l.t[j].to);
            most += bytes_as(&l.t[j], was);
            assert_int_equal(l.t[j].n_col % dtype_info(l.t[j].to)->block, 0);
            assert_true(is_head || bits(l.t[j].to) >= bits(was));
        }
        assert_true(sum <= most);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_70b),
        cmocka_unit_test(test_narrow_head),
        cmocka_unit_test(test_wide_head),
        cmocka_unit_test(test_within_size),
    };
    return cmocka_run_group_tests_name("mix", tests, NULL, NULL);
}
