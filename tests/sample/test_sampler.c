/* test_sampler.c: the sampler against a reference in Python, by chi-square over many draws; then
 * its order, errors, memory and saved state.
 *
 * "test_sampler full" draws 1,000,000 tokens for each setting, else 60,000. Seeds are fixed: a
 * passing build passes always.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "sample/sampler.h"

struct golden_case {
    const char *name;
    const float *logits;
    const double *p; /* [n] */
    int n, mask;     /* mask: tokens whose id is a multiple of it are forbidden; 0: none */
    struct sampler_opts o;
};

#include "sample/sampler_golden.h"

static int n_draw = 60000;

static const struct sampler_opts off = {
    .temperature = 1, .top_p = 1, .typical = 1, .repeat_penalty = 1, .seed = 11};

static void make(struct sampler *s, const struct sampler_opts *o, int n_vocab) {
    struct err e = {0};
    assert_int_equal(sampler_init(s, o, n_vocab, &e), ERR_OK);
}

static int32_t pick(struct sampler *s, const float *logits) {
    struct err e = {0};
    int32_t id = -1;
    assert_int_equal(sampler_pick(s, logits, NULL, &id, &e), ERR_OK);
    return id;
}

/* ---- distributions ------------------------------------------------------------------------- */

/* The value that chi-square with df degrees exceeds once in a million (Wilson and Hilferty). */
static double chi2_bound(int df) {
    double k = 2.0 / (9.0 * df), x = 1 - k + 4.7534 * sqrt(k);
    return df * x * x * x;
}

/* Tokens that are expected less than five times are counted together. */
static void check_counts(const struct golden_case *c, const int *count) {
    double chi2 = 0, rest_expected = 0, rest = 0;
    int df = -1;
    for (int i = 0; i < c->n; i++) {
        double expected = c->p[i] * n_draw;
        if (expected == 0) {
            assert_int_equal(count[i], 0);
        } else if (expected < 5) {
            rest_expected += expected;
            rest += count[i];
        } else {
            chi2 += (count[i] - expected) * (count[i] - expected) / expected;
            df++;
        }
    }
    if (rest_expected >= 5) {
        chi2 += (rest - rest_expected) * (rest - rest_expected) / rest_expected;
        df++;
    } else {
        assert_true(rest < 5 + 10 * sqrt(rest_expected));
    }
    if (df > 0 && chi2 > chi2_bound(df)) {
        fail_msg("%s: chi-square %.1f with %d degrees, bound %.1f", c->name, chi2, df,
                 chi2_bound(df));
    }
}

static void test_distributions(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof golden_cases / sizeof *golden_cases; k++) {
        const struct golden_case *c = &golden_cases[k];
        int *count = calloc((size_t)c->n, sizeof *count);
        uint64_t mask[16] = {0};
        struct sampler s;
        struct err e = {0};
        assert_non_null(count);
        for (int i = 0; i < c->n; i++) {
            mask[i / 64] |= (uint64_t)(c->mask && i % c->mask != 0) << (i % 64);
        }
        struct sampler_opts o = c->o;
        o.seed = 1000 + k;
        make(&s, &o, c->n);
        for (size_t i = 0; i < sizeof golden_history / sizeof *golden_history; i++) {
            sampler_accept(&s, golden_history[i]);
        }
        size_t allocations = mem_count();
        for (int i = 0; i < n_draw; i++) {
            int32_t id = -1;
            assert_int_equal(sampler_pick(&s, c->logits, c->mask ? mask : NULL, &id, &e), ERR_OK);
            assert_in_range(id, 0, c->n - 1);
            count[id]++;
        }
        assert_int_equal(mem_count(), allocations);
        check_counts(c, count);
        sampler_fini(&s);
        free(count);
    }
}

/* The test above can fail: a wrong temperature is noticed. */
static void test_chi_square_notices(void **state) {
    (void)state;
    const struct golden_case *c = &golden_cases[0];
    int count[64] = {0};
    struct sampler s;
    struct sampler_opts o = c->o;
    o.temperature = 1.1f;
    make(&s, &o, c->n);
    for (int i = 0; i < n_draw; i++) {
        count[pick(&s, c->logits)]++;
    }
    double chi2 = 0;
    for (int i = 0; i < c->n; i++) {
        double expected = c->p[i] * n_draw;
        chi2 += (count[i] - expected) * (count[i] - expected) / expected;
    }
    assert_true(chi2 > chi2_bound(c->n - 1));
    sampler_fini(&s);
}

/* ---- order ---------------------------------------------------------------------------------- */

static void test_greedy_is_said(void **state) {
    (void)state;
    const struct logit_bias nothing = {0, 0};
    struct sampler_opts o[] = {off, off, off, off, off, off};
    for (int i = 0; i < 5; i++) {
        o[i].temperature = 0;
    }
    o[1].bias = &nothing;
    o[1].n_bias = 1;
    o[2].repeat_penalty = 1.1f;
    o[3].presence_penalty = 0.5f;
    o[4].frequency_penalty = 0.5f;
    o[5].temperature = 1;
    for (int i = 0; i < 6; i++) {
        struct sampler s;
        make(&s, &o[i], 8);
        assert_int_equal(sampler_is_greedy(&s), i == 0);
        sampler_fini(&s);
    }
}

static void test_ties_go_to_the_lower_id(void **state) {
    (void)state;
    const float logits[] = {1, 3, 2, 3, 3, -INFINITY, 0, 1};
    struct sampler s;
    struct sampler_opts o = off;
    o.temperature = 0;
    make(&s, &o, 8);
    assert_int_equal(pick(&s, logits), 1);
    sampler_fini(&s);
    o.temperature = 1;
    o.top_k = 2;
    make(&s, &o, 8);
    for (int i = 0; i < 200; i++) {
        int32_t id = pick(&s, logits);
        assert_true(id == 1 || id == 3);
    }
    sampler_fini(&s);
}

/* Against a whole sort: top-k keeps exactly the k largest of a large vocabulary. */
static const float *sorted_by;

static int by_logit(const void *a, const void *b) {
    float x = sorted_by[*(const int *)a], y = sorted_by[*(const int *)b];
    return x != y ? (x < y) - (x > y) : *(const int *)a - *(const int *)b;
}

static void test_top_k_of_a_large_vocabulary(void **state) {
    (void)state;
    enum { N = 20000 };
    static float logits[N];
    static int order[N];
    static bool drawn[N];
    struct rng rng;
    rng_seed(&rng, 5);
    for (int i = 0; i < N; i++) {
        logits[i] = (float)(rng_next(&rng) % 4000) / 1e4f; /* many ties, all about as likely */
        order[i] = i;
    }
    sorted_by = logits;
    qsort(order, N, sizeof *order, by_logit);
    const int ks[] = {1, 2, 3, 40, 100};
    for (size_t j = 0; j < sizeof ks / sizeof *ks; j++) {
        struct sampler s;
        struct sampler_opts o = off;
        o.top_k = ks[j];
        make(&s, &o, N);
        memset(drawn, 0, sizeof drawn);
        for (int i = 0; i < 30 * ks[j]; i++) {
            drawn[pick(&s, logits)] = true;
        }
        for (int i = 0; i < N; i++) {
            assert_int_equal(drawn[order[i]], i < ks[j]);
        }
        sampler_fini(&s);
    }
}

/* ---- errors -----------------------------------------------------------------------------------
 */

static void expect_pick(enum err_code want, const float *logits, sampler_mask mask,
                        const struct logit_bias *bias, size_t n_bias, float temperature) {
    struct err e = {0};
    struct sampler s;
    int32_t id = -1;
    struct sampler_opts o = off;
    o.temperature = temperature;
    o.bias = bias;
    o.n_bias = n_bias;
    make(&s, &o, 4);
    assert_int_equal(sampler_pick(&s, logits, mask, &id, &e), want);
    assert_int_equal(e.code, want);
    sampler_fini(&s);
}

static void test_bad_logits(void **state) {
    (void)state;
    const float inf = INFINITY, nan = NAN;
    const float good[] = {1, -inf, 2, 0};
    const float bad[][4] = {{1, nan, 2, 0}, {1, inf, 2, 0}, {-inf, -inf, -inf, -inf}};
    const struct logit_bias all[] = {{0, -inf}, {2, -inf}, {3, -inf}};
    const uint64_t none = 0, second = 2, ids = ~(uint64_t)0;
    for (int t = 0; t < 2; t++) {
        for (int i = 0; i < 3; i++) {
            expect_pick(ERR_DEVICE, bad[i], NULL, NULL, 0, (float)t);
        }
        expect_pick(ERR_OK, good, &ids, NULL, 0, (float)t);
        expect_pick(ERR_OK, good, NULL, all, 2, (float)t);
        expect_pick(ERR_RANGE, good, NULL, all, 3, (float)t);
        expect_pick(ERR_RANGE, good, &none, NULL, 0, (float)t);
        expect_pick(ERR_RANGE, good, &second, NULL, 0, (float)t);
    }
}

static void test_extreme_logits(void **state) {
    (void)state;
    const float logits[] = {3e38f, -3e38f, 0, 3.4e38f};
    const struct sampler_opts list[] = {
        {.temperature = 1e-6f, .top_p = 1, .typical = 1, .repeat_penalty = 1},
        {.temperature = 1, .top_p = 0.5f, .typical = 0.5f, .repeat_penalty = 1e-6f},
        {.temperature = 1e6f, .top_p = 1, .min_p = 1, .typical = 1, .repeat_penalty = 1e6f}};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        struct sampler s;
        make(&s, &list[i], 4);
        for (int j = 0; j < 100; j++) {
            int32_t id = pick(&s, logits);
            assert_in_range(id, 0, 3);
            sampler_accept(&s, id);
        }
        sampler_fini(&s);
    }
}

/* A penalty below one takes a large logit to infinity: it is the largest, and not NaN. */
static void test_penalty_overflows(void **state) {
    (void)state;
    const float logits[] = {0, 1e38f, 1};
    struct sampler s;
    struct sampler_opts o = off;
    o.repeat_penalty = 1e-6f;
    make(&s, &o, 3);
    sampler_accept(&s, 1);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(pick(&s, logits), 1);
    }
    sampler_fini(&s);
}

/* Half of the probability is in two of four equal tokens, the lower ids, however far the fifth is:
 * so far that its logit less the others' is -infinity. */
static void test_typical_of_extreme_logits(void **state) {
    (void)state;
    const float logits[] = {3e38f, 3e38f, 3e38f, 3e38f, -3e38f};
    struct sampler s;
    struct sampler_opts o = off;
    bool drawn[5] = {false};
    o.typical = 0.5f;
    make(&s, &o, 5);
    for (int i = 0; i < 200; i++) {
        drawn[pick(&s, logits)] = true;
    }
    for (int i = 0; i < 5; i++) {
        assert_int_equal(drawn[i], i < 2);
    }
    sampler_fini(&s);
}

static void test_options_out_of_range(void **state) {
    (void)state;
    static const struct logit_bias low = {-1, 0}, high = {8, 0}, nan = {0, NAN},
                                   inf = {0, INFINITY};
    struct sampler_opts bad[24];
    size_t n = 0;
    for (n = 0; n < sizeof bad / sizeof *bad; n++) {
        bad[n] = off;
    }
    n = 0;
    bad[n++].temperature = -1;
    bad[n++].temperature = NAN;
    bad[n++].temperature = INFINITY;
    bad[n++].top_k = -1;
    bad[n++].top_p = 0;
    bad[n++].top_p = 1.5f;
    bad[n++].top_p = NAN;
    bad[n++].min_p = -0.1f;
    bad[n++].min_p = 1.1f;
    bad[n++].typical = 0;
    bad[n++].typical = NAN;
    bad[n++].repeat_penalty = 0;
    bad[n++].repeat_penalty = INFINITY;
    bad[n++].presence_penalty = NAN;
    bad[n++].frequency_penalty = 1e30f;
    bad[n++].penalty_last = -1;
    bad[n++].penalty_last = 32769;
    const struct logit_bias *biases[] = {&low, &high, &nan, &inf};
    for (int i = 0; i < 4; i++, n++) {
        bad[n].bias = biases[i];
        bad[n].n_bias = 1;
    }
    bad[n].bias = &low;
    bad[n++].n_bias = 100000;
    size_t live = mem_live();
    for (size_t i = 0; i < n; i++) {
        struct err e = {0};
        struct sampler s;
        assert_int_equal(sampler_init(&s, &bad[i], 8, &e), ERR_RANGE);
        assert_true(e.what[0] != '\0');
        sampler_fini(&s);
    }
    assert_int_equal(mem_live(), live);
}

/* ---- the stream -------------------------------------------------------------------------------
 */

/* Samplers with the same state go the same way; each token is accepted. */
static void assert_same_stream(struct sampler *a, struct sampler *b) {
    for (int i = 0; i < 200; i++) {
        int32_t x = pick(a, golden_logits_1), y = pick(b, golden_logits_1);
        assert_int_equal(x, y);
        sampler_accept(a, x);
        sampler_accept(b, y);
    }
}

static void make_used(struct sampler *s) {
    static const struct logit_bias bias[] = {{3, 2}, {590, -INFINITY}};
    struct sampler_opts o = off;
    o.top_p = 0.95f;
    o.repeat_penalty = 1.2f;
    o.frequency_penalty = 0.1f;
    o.penalty_last = 16;
    o.bias = bias;
    o.n_bias = 2;
    make(s, &o, 600);
    for (int i = 0; i < 41; i++) {
        sampler_accept(s, pick(s, golden_logits_1));
    }
}

static void test_copy_save_and_load_keep_the_stream(void **state) {
    (void)state;
    size_t live = mem_live(), used = 0;
    struct sampler a, b, c;
    struct err e = {0};
    struct buf bytes;
    buf_init(&bytes, SIZE_MAX);
    make_used(&a);
    make(&b, &off, 600);
    make(&c, &off, 600);
    sampler_save(&a, &bytes);
    assert_int_equal(buf_check(&bytes, &e), ERR_OK);
    assert_int_equal(sampler_copy(&b, &a, &e), ERR_OK);
    assert_same_stream(&a, &b);
    assert_int_equal(sampler_load(&c, bytes.p, bytes.len, &used, &e), ERR_OK);
    assert_int_equal(used, bytes.len);
    assert_int_equal(sampler_load(&a, bytes.p, bytes.len, &used, &e), ERR_OK);
    assert_same_stream(&a, &c);
    sampler_forget(&a);
    sampler_forget(&c);
    assert_same_stream(&a, &c);
    sampler_fini(&a);
    sampler_fini(&b);
    sampler_fini(&c);
    buf_fini(&bytes);
    assert_int_equal(mem_live(), live);
}

static void test_hostile_state(void **state) {
    (void)state;
    struct sampler a, b;
    struct buf bytes;
    size_t used = 0, live = mem_live();
    buf_init(&bytes, SIZE_MAX);
    make_used(&a);
    make_used(&b);
    sampler_save(&a, &bytes);
    for (size_t n = 0; n < bytes.len; n++) { /* cut off */
        struct err e = {0};
        assert_int_not_equal(sampler_load(&b, bytes.p, n, &used, &e), ERR_OK);
    }
    for (size_t i = 0; i < bytes.len * 8; i++) { /* a flipped bit is refused or is another state */
        struct err e = {0};
        struct sampler c;
        make(&c, &off, 600);
        bytes.p[i / 8] = (char)(bytes.p[i / 8] ^ 1 << i % 8);
        if (sampler_load(&c, bytes.p, bytes.len, &used, &e) == ERR_OK) {
            assert_true(used <= bytes.len);
            sampler_accept(&c, pick(&c, golden_logits_1));
        }
        bytes.p[i / 8] = (char)(bytes.p[i / 8] ^ 1 << i % 8);
        sampler_fini(&c);
    }
    assert_same_stream(&a, &b);
    sampler_fini(&a);
    sampler_fini(&b);
    buf_fini(&bytes);
    assert_int_equal(mem_live(), live);
}

static void test_logprobs(void **state) {
    (void)state;
    struct token_prob top[20];
    float own = 0;
    double total = 0;
    for (int i = 0; i < 600; i++) {
        total += exp((double)golden_logits_1[i]);
    }
    sampler_logprobs(golden_logits_1, 600, 77, 20, top, &own);
    assert_true(fabs((double)own - ((double)golden_logits_1[77] - log(total))) < 1e-5);
    for (int i = 0; i < 20; i++) {
        double want = (double)golden_logits_1[top[i].id] - log(total);
        assert_true(fabs((double)top[i].logprob - want) < 1e-5);
        int above = 0;
        for (int j = 0; j < 600; j++) {
            above += golden_logits_1[j] > golden_logits_1[top[i].id];
        }
        assert_int_equal(above, i);
    }
    const float ties[] = {0, 1, -INFINITY, 1};
    sampler_logprobs(ties, 4, 2, 3, top, &own);
    assert_true(own == -INFINITY);
    assert_int_equal(top[0].id, 1);
    assert_int_equal(top[1].id, 3);
    assert_int_equal(top[2].id, 0);
    sampler_logprobs(ties, 4, 1, 0, NULL, &own);
    assert_true(fabs((double)own + log(2 + exp(-1.0))) < 1e-6);
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "full")) {
        n_draw = 1000000;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_distributions),
        cmocka_unit_test(test_chi_square_notices),
        cmocka_unit_test(test_greedy_is_said),
        cmocka_unit_test(test_ties_go_to_the_lower_id),
        cmocka_unit_test(test_top_k_of_a_large_vocabulary),
        cmocka_unit_test(test_bad_logits),
        cmocka_unit_test(test_extreme_logits),
        cmocka_unit_test(test_penalty_overflows),
        cmocka_unit_test(test_typical_of_extreme_logits),
        cmocka_unit_test(test_options_out_of_range),
        cmocka_unit_test(test_copy_save_and_load_keep_the_stream),
        cmocka_unit_test(test_hostile_state),
        cmocka_unit_test(test_logprobs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
