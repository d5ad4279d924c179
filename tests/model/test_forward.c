/* test_forward.c: one step gives the same bits however the work is cut.
 *
 *     test_forward MODEL.gguf...
 *
 * For each model, on both devices, and on cpu at every level that the processor has: any chunking
 * of a sequence, any company in a batch, any number of threads, a fork and a truncation give bit
 * for bit the logits of one sequence fed whole. The engine's promise of equal greedy tokens rests
 * on this. A step allocates nothing.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "kern/cpu/micro.h"
#include "kern/observe.h"
#include "model/runner.h"

enum { N_TOK = 40, N_VOCAB = 256 };

static char **model_path;
static int n_model;
static const char *const device[] = {"plain", "cpu"};

struct text {
    int32_t tok[N_TOK];
    float logits[N_TOK * N_VOCAB];
};

static void text_make(struct text *t, uint64_t seed) {
    struct rng r;
    rng_seed(&r, seed);
    for (int i = 0; i < N_TOK; i++) {
        t->tok[i] = (int32_t)(rng_next(&r) % N_VOCAB);
    }
}

static void open_at(struct runner *r, const char *path, const char *dev, const char *level,
                    int n_thread) {
    struct model_opts o = {.device = dev,
                           .cpu_level = level,
                           .n_thread = n_thread,
                           .n_ctx = 1024,
                           .max_tok = 128,
                           .max_out = 128,
                           .page_tok = 16,
                           .kv_type = strcmp(dev, "plain") ? DT_F16 : DT_F32};
    runner_open(r, path, &o);
    assert_int_equal(r->m->cfg.n_vocab, N_VOCAB);
}

static void open_on(struct runner *r, const char *path, const char *dev, int n_thread) {
    open_at(r, path, dev, NULL, n_thread);
}

static void same_bits(const float *a, const float *b, int n_tok, const char *what) {
    for (int i = 0; i < n_tok; i++) {
        if (memcmp(a + i * N_VOCAB, b + i * N_VOCAB, N_VOCAB * sizeof *a) != 0) {
            fail_msg("%s: position %d differs", what, i);
        }
    }
}

static void empty(struct runner *r) {
    for (int i = 0; i < RUNNER_SEQ; i++) {
        kv_seq_truncate(&r->seq[i], &r->pool, 0);
    }
}

static void any_chunking(struct runner *r, const struct text *whole) {
    static const int chunk[] = {1, 2, 3, 7, 16, 33};
    static float out[N_TOK * N_VOCAB];
    for (size_t i = 0; i < sizeof chunk / sizeof *chunk; i++) {
        empty(r);
        runner_feed(r, 0, whole->tok, N_TOK, chunk[i], out);
        same_bits(out, whole->logits, N_TOK, "chunks");
    }
}

/* Three texts at three paces: every step has another mix of sequences, lengths and places. */
static void any_batch(struct runner *r, const struct text whole[3]) {
    static float out[3][N_TOK * N_VOCAB];
    const int pace[3] = {1, 5, 11};
    int at[3] = {0, 0, 0};
    empty(r);
    for (bool more = true; more;) {
        struct feed f[3];
        int n = 0;
        for (int i = 0; i < 3; i++) {
            int left = N_TOK - at[i], k = left < pace[i] ? left : pace[i];
            if (k > 0) {
                f[n++] = (struct feed){i, whole[i].tok + at[i], k, out[i] + at[i] * N_VOCAB};
                at[i] += k;
            }
        }
        more = n > 0;
        if (more) {
            runner_step(r, f, n);
        }
    }
    for (int i = 0; i < 3; i++) {
        same_bits(out[i], whole[i].logits, N_TOK, "batch");
    }
}

/* A fork in the middle of a page goes another way; the first goes on, is cut and goes again. */
static void fork_and_truncate(struct runner *r, const struct text whole[2]) {
    static float out[N_TOK * N_VOCAB], other[N_TOK * N_VOCAB];
    const int cut = 21;
    int32_t mixed[N_TOK];
    memcpy(mixed, whole[0].tok, sizeof mixed);
    memcpy(mixed + cut, whole[1].tok, (N_TOK - cut) * sizeof *mixed);
    empty(r);
    runner_feed(r, 2, mixed, N_TOK, N_TOK, other); /* the other way, without a fork */
    runner_feed(r, 0, whole[0].tok, cut, 9, out);
    assert_int_equal(kv_seq_fork(&r->seq[1], &r->seq[0], &r->pool, NULL), ERR_OK);
    runner_feed(r, 0, whole[0].tok + cut, N_TOK - cut, 4, out + cut * N_VOCAB);
    same_bits(out, whole[0].logits, N_TOK, "forked from");
    runner_feed(r, 1, mixed + cut, N_TOK - cut, 3, out);
    same_bits(out, other + cut * N_VOCAB, N_TOK - cut, "fork");
    kv_seq_truncate(&r->seq[0], &r->pool, 5);
    runner_feed(r, 0, whole[0].tok + 5, N_TOK - 5, N_TOK, out);
    same_bits(out, whole[0].logits + 5 * N_VOCAB, N_TOK - 5, "truncated");
}

/* One device or level; the whole texts are left in `whole`. */
static void cut_in_all_ways(const char *path, const char *dev, const char *level,
                            struct text whole[3]) {
    struct runner r;
    open_at(&r, path, dev, level, 2);
    printf("%s on %s\n", path, r.m->kern->describe(r.m->dev));
    for (int k = 0; k < 3; k++) {
        text_make(&whole[k], (uint64_t)k + 1);
        empty(&r);
        runner_feed(&r, 0, whole[k].tok, N_TOK, N_TOK, whole[k].logits);
    }
    any_chunking(&r, &whole[0]);
    any_batch(&r, whole);
    fork_and_truncate(&r, whole);
    runner_close(&r);
}

static void same_bits_however_it_is_cut(void **state) {
    (void)state;
    static struct text whole[3], first[3];
    for (int i = 0; i < n_model; i++) {
        cut_in_all_ways(model_path[i], "plain", NULL, whole);
        cut_in_all_ways(model_path[i], "cpu", "c", first);
        for (int l = 1; micro_level(l) != NULL; l++) {
            struct micro m;
            if (micro_choose(&m, micro_level(l), NULL) != ERR_OK) {
                continue;
            }
            cut_in_all_ways(model_path[i], "cpu", micro_level(l), whole);
            for (int k = 0; k < 3; k++) {
                same_bits(whole[k].logits, first[k].logits, N_TOK, micro_level(l));
            }
        }
    }
    assert_int_equal(mem_live(), 0);
}

static void same_bits_with_any_number_of_threads(void **state) {
    (void)state;
    static struct text whole;
    static float out[N_TOK * N_VOCAB];
    text_make(&whole, 4);
    for (int i = 0; i < n_model * 2; i++) {
        struct runner r;
        for (int n_thread = 1; n_thread <= 5; n_thread += 2) {
            open_on(&r, model_path[i / 2], device[i % 2], n_thread);
            runner_feed(&r, 0, whole.tok, N_TOK, 13, n_thread == 1 ? whole.logits : out);
            runner_close(&r);
            if (n_thread > 1) {
                same_bits(out, whole.logits, N_TOK, "threads");
            }
        }
    }
}

struct seen {
    int output, down, wrong; /* rows of attention's output and of ffn_down */
};

static void see_row(void *arg, const char *name, int m, int n_mat, const float *x, int64_t n_col) {
    struct seen *s = arg;
    s->output += strstr(name, "attn_output.weight") != NULL;
    s->down += strstr(name, "ffn_down") != NULL;
    s->wrong += m < 0 || m >= n_mat;
    for (int64_t i = 0; i < n_col; i++) {
        s->wrong += !isfinite(x[i]);
    }
}

/* Who looks at the inputs of linear layers sees each row once, and changes no bit. */
static void same_bits_while_observed(void **state) {
    (void)state;
    static struct text whole;
    static float out[N_TOK * N_VOCAB];
    text_make(&whole, 6);
    for (int i = 0; i < n_model * 2; i++) {
        struct runner r;
        struct seen seen = {0};
        struct observer o = {.row = see_row, .arg = &seen};
        open_on(&r, model_path[i / 2], device[i % 2], 2);
        runner_feed(&r, 0, whole.tok, N_TOK, 13, whole.logits);
        empty(&r);
        assert_int_equal(observe_begin(&o, &r.m->kern, r.m->dev, NULL), ERR_OK);
        runner_feed(&r, 0, whole.tok, N_TOK, 13, out);
        observe_end(&o, &r.m->kern, r.m->dev);
        same_bits(out, whole.logits, N_TOK, "observed");
        int layers = r.m->cfg.n_layer, used = r.m->cfg.n_used > 0 ? r.m->cfg.n_used : 1;
        assert_int_equal(seen.output, layers * N_TOK);
        assert_int_equal(seen.down, layers * N_TOK * used);
        assert_int_equal(seen.wrong, 0);
        empty(&r);
        runner_feed(&r, 0, whole.tok, N_TOK, 13, out);
        same_bits(out, whole.logits, N_TOK, "observed no longer");
        runner_close(&r);
    }
    assert_int_equal(mem_live(), 0);
}

static void a_step_allocates_nothing(void **state) {
    (void)state;
    struct runner r;
    struct text t;
    for (int i = 0; i < n_model * 2; i++) {
        open_on(&r, model_path[i / 2], device[i % 2], 2);
        text_make(&t, 5);
        size_t before = mem_count();
        runner_feed(&r, 0, t.tok, N_TOK, 16, t.logits);
        runner_feed(&r, 0, t.tok, 3, 1, t.logits);
        assert_int_equal(mem_count(), before);
        runner_close(&r);
    }
}

static void ids_are_checked_and_a_step_can_be_cancelled(void **state) {
    (void)state;
    const int32_t bad[] = {-1, N_VOCAB, INT32_MAX, INT32_MIN};
    struct runner r;
    for (int i = 0; i < 2; i++) {
        int32_t zero = 0, page = 0, start[2] = {0, 1};
        volatile int cancel = 1;
        struct step s = {
            .n_tok = 1, .n_seq = 1, .pos = &zero, .seq = &zero, .page = &page, .page_start = start};
        open_on(&r, model_path[0], device[i], 1);
        for (int k = 0; k < 4; k++) {
            struct err e = {0};
            s.tok = &bad[k];
            assert_int_equal(model_forward(r.m, &s, &e), ERR_RANGE);
            assert_non_null(strstr(e.what, "255"));
        }
        s.tok = &zero;
        s.cancel = &cancel;
        assert_int_equal(model_forward(r.m, &s, NULL), ERR_CANCELLED);
        s.cancel = NULL;
        assert_int_equal(model_forward(r.m, &s, NULL), ERR_OK);
        runner_close(&r);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits_however_it_is_cut),
        cmocka_unit_test(same_bits_with_any_number_of_threads),
        cmocka_unit_test(same_bits_while_observed),
        cmocka_unit_test(a_step_allocates_nothing),
        cmocka_unit_test(ids_are_checked_and_a_step_can_be_cancelled),
    };
    model_path = argv + 1;
    n_model = argc - 1;
    if (n_model < 1) {
        fprintf(stderr, "usage: test_forward MODEL.gguf...\n");
        return 2;
    }
    return cmocka_run_group_tests_name("forward", tests, NULL, NULL);
}
