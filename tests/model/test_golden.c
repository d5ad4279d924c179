/* test_golden.c: logits against PyTorch, through committed golden files.
 *
 *     test_golden DEVICE[:CONTEXT[:int8]] MAX_ABS MAX_KL GREEDY SHARE MODEL.gguf GOLDEN...
 *
 * (MODEL may begin with "$IGN_TEST_MODEL_DIR/") loads the model on a device, with a KV cache of f32
 * on plain, of f16 elsewhere, or of int8 where that is said, feeds the first SHARE positions of
 * each golden file (0: all) in uneven chunks, and reports the largest absolute logit difference,
 * the mean KL over all positions (the first included) and how many tokens of the greedy
 * continuation are equal. It fails past MAX_ABS or MAX_KL (0: only reported), or where fewer than
 * GREEDY tokens are equal. Exit code 77 (skipped) if the model is not there. A program of its own
 * rather than a cmocka group: a person runs it by hand, too (docs/TESTING.md).
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/os.h"
#include "model/golden.h"
#include "model/runner.h"

enum { SKIPPED = 77, CHUNK = 27 };

static struct {
    const char *device, *model;
    double max_abs, max_kl;
    int greedy, share, context;
    bool int8;
    char **golden;
    int n_golden;
} arg;

struct total {
    double max_abs, kl, kl_first;
    int n;
};

static void compare_positions(struct runner *r, const struct golden *g, struct total *t) {
    int n = arg.share && arg.share < g->n_tok ? arg.share : g->n_tok;
    size_t n_vocab = (size_t)g->n_vocab;
    float *logits = mem_alloc(CHUNK * n_vocab, sizeof *logits);
    assert_non_null(logits);
    kv_seq_truncate(&r->seq[0], &r->pool, 0);
    for (int i = 0; i < n; i += CHUNK) {
        int k = n - i < CHUNK ? n - i : CHUNK;
        runner_feed(r, 0, g->tok + i, k, CHUNK, logits);
        for (int j = 0; j < k; j++) {
            struct golden_diff d = golden_compare(g, i + j, logits + (size_t)j * n_vocab);
            t->max_abs = fmax(t->max_abs, d.max_abs);
            t->kl += d.kl;
            t->kl_first += i + j == 0 ? d.kl : 0;
            t->n++;
        }
    }
    mem_free(logits);
}

static int equal_greedy(struct runner *r, const struct golden *g) {
    int32_t out[256];
    int n = g->n_greedy, same = 0;
    assert_in_range(n, 1, 256);
    runner_greedy(r, 0, g->tok, g->n_greedy_from, out, n);
    while (same < n && out[same] == g->greedy[same]) {
        same++;
    }
    return same;
}

static void logits_are_near_pytorch(void **state) {
    (void)state;
    struct runner r;
    struct model_opts o = {.device = arg.device,
                           .n_ctx = arg.context,
                           .max_tok = 64,
                           .max_out = CHUNK,
                           .kv_type = arg.int8                      ? DT_I8
                                      : strcmp(arg.device, "plain") ? DT_F16
                                                                    : DT_F32};
    struct total all = {0};
    int greedy = 1 << 20;
    runner_open(&r, arg.model, &o);
    for (int i = 0; i < arg.n_golden; i++) {
        struct golden g;
        struct total one = {0};
        assert_true(golden_open(&g, arg.golden[i]));
        assert_int_equal(g.n_vocab, r.m->cfg.n_vocab);
        compare_positions(&r, &g, &one);
        int same = arg.greedy ? equal_greedy(&r, &g) : 0;
        printf("%s: %d positions, max abs %.2e, mean KL %.2e (first %.2e), greedy %d of %d\n",
               arg.golden[i], one.n, one.max_abs, one.kl / one.n, one.kl_first, same,
               arg.greedy ? g.n_greedy : 0);
        all.max_abs = fmax(all.max_abs, one.max_abs);
        all.kl += one.kl;
        all.n += one.n;
        greedy = same < greedy ? same : greedy;
        golden_close(&g);
    }
    printf("%s on %s: max abs %.3e, mean KL %.3e\n", arg.model, arg.device, all.max_abs,
           all.kl / all.n);
    runner_close(&r);
    assert_int_equal(mem_live(), 0);
    /* Written so that a NaN fails. */
    assert_true(arg.max_abs == 0 || all.max_abs <= arg.max_abs);
    assert_true(arg.max_kl == 0 || all.kl / all.n <= arg.max_kl);
    assert_true(greedy >= arg.greedy);
}

/* The path with the variable replaced; NULL if it is not set. Lives as long as the program. */
static const char *expand(const char *path) {
    static const char name[] = "$IGN_TEST_MODEL_DIR";
    static char whole[4096];
    const char *folder = getenv(name + 1);
    if (strncmp(path, name, sizeof name - 1) != 0) {
        return path;
    }
    snprintf(whole, sizeof whole, "%s%s", folder ? folder : "", path + sizeof name - 1);
    return folder ? whole : NULL;
}

int main(int argc, char **argv) {
    if (argc < 8) {
        fprintf(stderr, "usage: test_golden DEVICE[:CONTEXT[:int8]] MAX_ABS MAX_KL GREEDY SHARE "
                        "MODEL GOLDEN...\n");
        return 2;
    }
    char *colon = strchr(argv[1], ':');
    arg.device = argv[1];
    arg.context = colon ? atoi(colon + 1) : 512;
    arg.int8 = colon && strstr(colon, ":int8");
    if (colon) {
        *colon = 0;
    }
    arg.max_abs = atof(argv[2]);
    arg.max_kl = atof(argv[3]);
    arg.greedy = atoi(argv[4]);
    arg.share = atoi(argv[5]);
    arg.model = expand(argv[6]);
    arg.golden = argv + 7;
    arg.n_golden = argc - 7;
    if (!arg.model || !os_file_exists(arg.model)) {
        printf("skipped: %s is not there\n", argv[6]);
        return SKIPPED;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(logits_are_near_pytorch)};
    return cmocka_run_group_tests_name("golden", tests, NULL, NULL);
}
