/* test_speculate.c: guesses change the number of steps and nothing else: tokens, log probabilities,
 * text, events, ends, pages and what a session does next are those of a model that never guesses.
 *
 * The model's clock is the test's: a step takes one tick however many rows it has, so that every
 * promising guess is computed; or a tick a row, so that none should be. The vocabulary is cut down
 * to a few tokens, so that some guesses are right and others are not.
 */
#include "engine/engine.h"
#include "engine/engine_rig.h"

#define N_FEW 7 /* tokens of the small languages */

/* ---- two models, one of which guesses ---------------------------------------------------------
 */

static const ign_model *timed; /* tick_as_rows: the model whose steps are timed */
static double ticks;

static double tick(void) {
    return ticks += 1;
}

/* What a step of n rows costs, as measured on a CPU whose small batches are dear. */
static double cost_of_rows(int n) {
    static const double at[][2] = {{1, 1}, {2, 1.8}, {4, 3.7}, {8, 4.5}, {32, 8}, {64, 15}};
    int i = 1;
    while (n > at[i][0]) {
        i++;
    }
    double part = (n - at[i - 1][0]) / (at[i][0] - at[i - 1][0]);
    return at[i - 1][1] + part * (at[i][1] - at[i - 1][1]);
}

static double tick_as_rows(void) {
    return ticks += cost_of_rows(timed->plan.n_out);
}

struct pair {
    ign_model *on, *off;
};

static struct pair pair_open(ign_model_options o) {
    struct pair p;
    p.on = rig_open(NULL, &o);
    p.on->now = tick;
    o.no_speculation = true;
    p.off = rig_open(NULL, &o);
    return p;
}

static void pair_close(struct pair *p) {
    ign_model_close(p->on);
    ign_model_close(p->off);
}

/* A sampler that knows n_few tokens, from `first` on. `bias` has TINY_VOCAB places. */
static ign_sampling few_tokens(uint64_t seed, int first, int n_few, ign_logit_bias *bias) {
    ign_sampling s = rig_random(seed);
    s.bias = bias;
    for (int id = 0; id < TINY_VOCAB; id++) {
        if (id < first || id >= first + n_few) {
            bias[s.n_bias++] = (ign_logit_bias){id, -INFINITY};
        }
    }
    return s;
}

/* The settings that a token's choice can depend on, by number. */
static ign_sampling sampling_of(int i, uint64_t seed, ign_logit_bias *bias) {
    ign_sampling s = few_tokens(seed, TINY_BYTE + 60, N_FEW, bias);
    switch (i) {
    case 0: s = rig_greedy(); break;
    case 1: break;
    case 2: s.temperature = 0.5f, s.repeat_penalty = 1.1f; break;
    case 3: s.presence_penalty = 0.3f, s.frequency_penalty = 0.01f; break;
    case 4: s.top_k = 3, s.top_p = 0.8f; break;
    case 5: s.typical = 0.7f, s.min_p = 0.05f; break;
    default: s.temperature = 0, s.repeat_penalty = 1.2f;
    }
    return s;
}
#define N_SAMPLING 7

static void same_answers(const struct answer *a, const struct answer *b) {
    rig_same(a, b);
    assert_int_equal(a->n_event, b->n_event);
    assert_memory_equal(a->logprob, b->logprob, (size_t)a->n * sizeof *a->logprob);
}

static void same_tokens(const ign_session *a, const ign_session *b) {
    size_t n = 0, k = 0;
    const int32_t *x = ign_session_tokens(a, &n), *y = ign_session_tokens(b, &k);
    assert_int_equal(n, k);
    assert_memory_equal(x, y, n * sizeof *x);
}

struct count {
    int drafted, accepted;
};

static void add_count(struct count *c, const ign_session *s) {
    ign_timing t;
    ign_session_get_timing(s, &t);
    c->drafted += t.drafted_tokens;
    c->accepted += t.accepted_tokens;
}

/* That the guesses of a test were some right and some wrong, or it has shown nothing. */
static void check_count(const struct count *c) {
    if (c->accepted == 0 || c->accepted >= c->drafted) {
        fail_msg("%d tokens drafted, %d accepted", c->drafted, c->accepted);
    }
}

/* ---- one session ------------------------------------------------------------------------------
 */

static void test_every_sampler(void **state) {
    (void)state;
    ign_logit_bias bias[TINY_VOCAB];
    struct pair p = pair_open((ign_model_options){.context = 512});
    for (int i = 0; i < N_SAMPLING; i++) {
        struct count count = {0};
        for (uint64_t seed = 1; seed <= 2; seed++) {
            struct answer a, b;
            int32_t ids[40];
            ign_sampling sampling = sampling_of(i, seed, bias);
            rig_prompt(ids, 40, seed);
            ign_session *s = rig_session(p.on, 0, sampling), *t = rig_session(p.off, 0, sampling);
            ign_request r = rig_request(ids, 40, 150, &a);
            r.logprobs = 3;
            rig_submit(s, &r);
            r = rig_request(ids, 40, 150, &b);
            r.logprobs = 3;
            rig_submit(t, &r);
            rig_run(p.on);
            rig_run(p.off);
            same_answers(&a, &b);
            assert_int_equal(a.n_event, 150);
            same_tokens(s, t);
            add_count(&count, s);
            /* What the random state and the cache have become. */
            rig_ask(p.on, s, ids, 5, 60, &a);
            rig_ask(p.off, t, ids, 5, 60, &b);
            same_answers(&a, &b);
            ign_session_free(s);
            ign_session_free(t);
        }
        check_count(&count);
    }
    pair_close(&p);
}

/* Every place that an answer can end at, a guess's middle among them. */
static void test_every_end(void **state) {
    (void)state;
    ign_logit_bias bias[TINY_VOCAB];
    struct pair p = pair_open((ign_model_options){.context = 256});
    struct count count = {0};
    const char *const stop[] = {"=<=", "?>?", "@@A", "A=A", "BBB", "<?<", "=?=", ">>>"};
    int stops[IGN_STOP_ERROR + 1] = {0};
    for (int i = 0; i < 40; i++) {
        struct answer a, b;
        int32_t ids[9];
        /* From the end token's neighbours on, so that it is one of the few. */
        ign_sampling sampling =
            few_tokens((uint64_t)i, i % 3 ? TINY_BYTE + 60 : TINY_STOP, N_FEW, bias);
        sampling.temperature = 0.7f;
        rig_prompt(ids, 9, (uint64_t)i);
        int context = i % 2 ? 0 : 30 + i;
        ign_session *s = rig_session(p.on, context, sampling);
        ign_session *t = rig_session(p.off, context, sampling);
        ign_request r = rig_request(ids, 9, 10 + 3 * i, &a);
        r.ignore_eos = false;
        r.stop = stop;
        r.n_stop = i % 4 == 1 ? 8 : 0;
        rig_submit(s, &r);
        r.arg = memset(&b, 0, sizeof b);
        rig_submit(t, &r);
        rig_run(p.on);
        rig_run(p.off);
        same_answers(&a, &b);
        same_tokens(s, t);
        stops[a.stop]++;
        add_count(&count, s);
        ign_session_free(s);
        ign_session_free(t);
    }
    assert_true(stops[IGN_STOP_EOS] && stops[IGN_STOP_STRING] && stops[IGN_STOP_LENGTH] &&
                stops[IGN_STOP_CONTEXT]);
    check_count(&count);
    assert_int_equal(p.on->pool.n_free, p.on->pool.n_page);
    pair_close(&p);
}

/* ---- cancelling -------------------------------------------------------------------------------
 */

struct cancelling {
    struct answer a; /* first: rig_on_event's argument */
    ign_session *s;
    int at;
};

static void cancel_at(void *arg, const ign_event *ev) {
    struct cancelling *c = arg;
    rig_on_event(&c->a, ev);
    if (c->a.n == c->at) {
        ign_session_cancel(c->s);
    }
}

/* Cancelled after any token, that one is the last; then the session goes on as another would. */
static void test_cancel(void **state) {
    (void)state;
    ign_logit_bias bias[TINY_VOCAB];
    struct pair p = pair_open((ign_model_options){.context = 256});
    struct count count = {0};
    for (int at = 20; at < 60; at += 3) {
        struct cancelling c[2];
        ign_sampling sampling = few_tokens(5, TINY_BYTE + 60, 3, bias);
        int32_t ids[9];
        sampling.temperature = 0.6f;
        rig_prompt(ids, 9, 5);
        for (int i = 0; i < 2; i++) {
            ign_model *m = i ? p.off : p.on;
            ign_request r = rig_request(ids, 9, 100, &c[i].a);
            r.on_event = cancel_at;
            c[i].at = at;
            c[i].s = rig_session(m, 0, sampling);
            rig_submit(c[i].s, &r);
            rig_run(m);
        }
        same_answers(&c[0].a, &c[1].a);
        assert_int_equal(c[0].a.n, at);
        assert_int_equal(c[0].a.stop, IGN_STOP_CANCELLED);
        add_count(&count, c[0].s);
        rig_ask(p.on, c[0].s, ids, 3, 30, &c[0].a);
        rig_ask(p.off, c[1].s, ids, 3, 30, &c[1].a);
        same_answers(&c[0].a, &c[1].a);
        ign_session_free(c[0].s);
        ign_session_free(c[1].s);
    }
    check_count(&count);
    pair_close(&p);
}

/* ---- fork, truncate, save, load ----------------------------------------------------------------
 */

/* The same acts on a model's sessions; answers and the count of guesses. */
static void live(ign_model *m, struct answer a[6], struct count *count) {
    ign_logit_bias bias[TINY_VOCAB];
    ign_sampling sampling = few_tokens(3, TINY_BYTE + 60, 4, bias);
    ign_session *s, *copy = NULL, *other;
    ign_error e = {0};
    int32_t ids[20];
    char path[64];
    rig_path(path);
    rig_prompt(ids, 20, 7);
    sampling.temperature = 0.6f;
    sampling.frequency_penalty = 0.02f;
    s = rig_session(m, 0, sampling);
    rig_ask(m, s, ids, 20, 70, &a[0]);
    add_count(count, s);
    assert_int_equal(ign_session_fork(s, &copy, &e), IGN_OK);
    ign_request r = rig_request(NULL, 0, 60, &a[1]);
    rig_submit(s, &r);
    r = rig_request(ids, 2, 50, &a[2]); /* both write behind the page that they share */
    rig_submit(copy, &r);
    rig_run(m);
    add_count(count, copy);
    assert_int_equal(ign_session_save(copy, path, &e), IGN_OK);
    assert_int_equal(ign_session_truncate(copy, 45, &e), IGN_OK);
    rig_ask(m, copy, NULL, 0, 60, &a[3]); /* much of it is what was there */
    add_count(count, copy);
    other = rig_session(m, 0, sampling);
    rig_ask(m, other, ids + 5, 9, 40, &a[4]);
    assert_int_equal(ign_session_load(other, path, &e), IGN_OK);
    rig_ask(m, other, NULL, 0, 60, &a[5]);
    add_count(count, other);
    unlink(path);
    ign_session_free(s);
    ign_session_free(copy);
    ign_session_free(other);
}

static void test_a_session_s_life(void **state) {
    (void)state;
    struct answer *a = calloc(12, sizeof *a);
    struct count count = {0}, none = {0};
    struct pair p = pair_open((ign_model_options){.context = 1024});
    assert_non_null(a);
    live(p.on, a, &count);
    live(p.off, a + 6, &none);
    for (int i = 0; i < 6; i++) {
        same_answers(&a[i], &a[i + 6]);
    }
    check_count(&count);
    assert_int_equal(none.drafted, 0);
    assert_int_equal(p.on->pool.n_free, p.on->pool.n_page);
    pair_close(&p);
    free(a);
}

/* ---- others in the step ------------------------------------------------------------------------
 */

static void check_batch(int batch) {
    enum { N = 6 };
    ign_logit_bias bias[TINY_VOCAB];
    struct answer *a = calloc(2 * N, sizeof *a);
    struct count count = {0};
    struct pair p = pair_open((ign_model_options){.context = 1024, .batch = batch, .threads = 2});
    ign_session *s[N];
    int32_t ids[N][30];
    assert_non_null(a);
    for (int i = 0; i < N; i++) {
        ign_sampling sampling = sampling_of(i, (uint64_t)i, bias);
        rig_prompt(ids[i], 5 + 5 * i, (uint64_t)i);
        ign_session *alone = rig_session(p.off, 160, sampling);
        rig_ask(p.off, alone, ids[i], (size_t)(5 + 5 * i), 120, &a[N + i]);
        ign_session_free(alone);
        s[i] = rig_session(p.on, 160, sampling);
        ign_request r = rig_request(ids[i], (size_t)(5 + 5 * i), 120, &a[i]);
        rig_submit(s[i], &r);
        rig_step(p.on);
    }
    rig_run(p.on);
    for (int i = 0; i < N; i++) {
        rig_same(&a[i], &a[N + i]);
        add_count(&count, s[i]);
        ign_session_free(s[i]);
    }
    if (batch > N) {
        check_count(&count);
    }
    pair_close(&p);
    free(a);
}

static void test_batch(void **state) {
    (void)state;
    check_batch(0);
    check_batch(12);
    check_batch(3);
    check_batch(1);
}

/* Guesses take no page that another needs: where the memory is just enough, both come to an end. */
static void test_scarce_pages(void **state) {
    (void)state;
    ign_logit_bias bias[TINY_VOCAB];
    struct pair p = pair_open((ign_model_options){.context = 512});
    struct answer a[2], b;
    struct count count = {0};
    ign_session *s[2];
    int32_t ids[8];
    rig_prompt(ids, 8, 3);
    for (int i = 0; i < 2; i++) {
        ign_sampling sampling = few_tokens(9 + (uint64_t)i, TINY_BYTE + 60, 2, bias);
        sampling.temperature = 0.8f;
        s[i] = rig_session(p.on, 0, sampling);
        ign_request r = rig_request(ids, 8, 248, &a[i]);
        rig_submit(s[i], &r);
    }
    rig_run(p.on);
    for (int i = 0; i < 2; i++) {
        ign_sampling sampling = few_tokens(9 + (uint64_t)i, TINY_BYTE + 60, 2, bias);
        sampling.temperature = 0.8f;
        ign_session *alone = rig_session(p.off, 0, sampling);
        rig_ask(p.off, alone, ids, 8, 248, &b);
        rig_same(&a[i], &b);
        assert_int_equal(b.stop, IGN_STOP_LENGTH);
        add_count(&count, s[i]);
        ign_session_free(alone);
        ign_session_free(s[i]);
    }
    check_count(&count);
    pair_close(&p);
}

/* ---- gain --------------------------------------------------------------------------------------
 */

/* The cost of n_new tokens of a language of n_few, in steps of one row. */
static double cost_of_text(ign_model *m, int n_few, float temperature, uint64_t seed, int n_new) {
    ign_logit_bias bias[TINY_VOCAB];
    ign_sampling sampling = few_tokens(seed, TINY_BYTE + 60, n_few, bias);
    struct answer a;
    int32_t ids[8];
    double cost = 0;
    sampling.temperature = temperature;
    rig_prompt(ids, 8, 3);
    ign_session *s = rig_session(m, 0, sampling);
    ign_request r = rig_request(ids, 8, n_new, &a);
    rig_submit(s, &r);
    timed = m;
    do {
        cost += m->plan.n_out == m->plan.n_tok ? cost_of_rows(m->plan.n_out) : 1;
        /* What was wrong has given its pages back. */
        assert_int_equal(s->kv.n_page, (s->kv.n_tok + m->pool.page_tok - 1) / m->pool.page_tok);
    } while (rig_step(m) > 0);
    assert_int_equal(a.n, n_new);
    ign_session_free(s);
    return cost;
}

/* At the costs of a real machine: a loop, the easiest text, at 2.5 times the speed at least; texts
 * whose guesses mostly fail at 0.98 of it at least, of each kind from much to little repetition. */
static void test_gain_decides(void **state) {
    (void)state;
    enum { N = 600 };
    struct pair p = pair_open((ign_model_options){.context = 1024});
    p.on->now = tick_as_rows;
    for (int n_few = 3; n_few <= 200; n_few += 1 + n_few / 3) {
        for (uint64_t seed = 0; seed < 3; seed++) {
            p.on->costs = (struct costs){0}; /* finding out is part of the price */
            double speed = N / cost_of_text(p.on, n_few, 1, seed, N);
            if (speed < 0.98) {
                fail_msg("%d tokens, seed %d: speed %.3f", n_few, (int)seed, speed);
            }
        }
    }
    double loop = N / cost_of_text(p.on, 2, 0, 0, N), off = N / cost_of_text(p.off, 2, 0, 0, N);
    if (loop < 2.5 || off < 0.99 || off > 1.01) {
        fail_msg("a loop: speed %.3f, without guesses %.3f", loop, off);
    }
    pair_close(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_sampler), cmocka_unit_test(test_every_end),
        cmocka_unit_test(test_cancel),        cmocka_unit_test(test_a_session_s_life),
        cmocka_unit_test(test_batch),         cmocka_unit_test(test_scarce_pages),
        cmocka_unit_test(test_gain_decides),
    };
    rig_device = "plain";
    int bad = cmocka_run_group_tests_name("plain", tests, NULL, NULL);
    rig_device = "cpu";
    return bad + cmocka_run_group_tests_name("cpu", tests, NULL, NULL);
}
