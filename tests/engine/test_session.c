/* test_session.c: sessions: the same tokens alone and in a batch, forked, cut back, continued;
 * limits; and no allocation between submit and the last event. Runs on each back end.
 */
#include <math.h>

#include "base/mem.h"
#include "engine/engine_rig.h"

enum { N_SESSION = 9, N_NEW = 24 };

/* ---- batching ------------------------------------------------------------------------------- */

/* Prompts of different lengths that begin at different steps, more of them than a step takes. */
static void check_batch(const ign_model_options *o, bool greedy) {
    ign_model *m = rig_open(NULL, o);
    struct answer *solo = calloc(N_SESSION, sizeof *solo),
                  *batch = calloc(N_SESSION, sizeof *batch);
    ign_session *s[N_SESSION];
    int32_t ids[N_SESSION][64];
    assert_true(solo && batch);
    for (int i = 0; i < N_SESSION; i++) {
        ign_sampling sampling = greedy ? rig_greedy() : rig_random((uint64_t)i);
        rig_prompt(ids[i], 1 + 7 * i, (uint64_t)i);
        ign_session *one = rig_session(m, 0, sampling);
        rig_ask(m, one, ids[i], (size_t)(1 + 7 * i), N_NEW, &solo[i]);
        assert_int_equal(solo[i].n, N_NEW);
        assert_int_equal(solo[i].stop, IGN_STOP_LENGTH);
        ign_session_free(one);
    }
    for (int i = 0; i < N_SESSION; i++) {
        s[i] = rig_session(m, 96, greedy ? rig_greedy() : rig_random((uint64_t)i));
        ign_request r = rig_request(ids[i], (size_t)(1 + 7 * i), N_NEW, &batch[i]);
        rig_submit(s[i], &r);
        rig_step(m);
    }
    rig_run(m);
    for (int i = 0; i < N_SESSION; i++) {
        rig_same(&solo[i], &batch[i]);
        ign_session_free(s[i]);
    }
    free(solo);
    free(batch);
    ign_model_close(m);
}

static void test_batch_equals_solo(void **state) {
    (void)state;
    const int batches[] = {0, 16, 3, 1};
    for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
        check_batch(&(ign_model_options){.context = 1024, .batch = batches[i], .threads = 2}, true);
        check_batch(&(ign_model_options){.context = 1024, .batch = batches[i]}, false);
    }
}

/* However many generate, a prompt gets on. */
static void check_starving(int batch) {
    enum { N = 12 };
    ign_model *m = rig_open(NULL, &(ign_model_options){.context = 1024, .batch = batch});
    struct answer *a = calloc(N + 1, sizeof *a);
    ign_session *s[N + 1];
    int32_t ids[20];
    rig_prompt(ids, 20, 1);
    for (int i = 0; i <= N; i++) {
        s[i] = rig_session(m, 64, rig_greedy());
        ign_request r = rig_request(ids, i < N ? 1 : 20, 40, &a[i]);
        rig_submit(s[i], &r);
    }
    while (a[N].n == 0) {
        assert_true(rig_step(m) > 0);
    }
    for (int i = 0; i < N; i++) { /* and all of the others have got about as far as each other */
        assert_in_range(a[i].n + 2, a[0].n, a[0].n + 4);
        assert_true(a[i].n_last == 0);
    }
    rig_run(m);
    for (int i = 0; i <= N; i++) {
        assert_int_equal(a[i].n, 40);
        ign_session_free(s[i]);
    }
    free(a);
    ign_model_close(m);
}

static void test_prompts_are_not_starved(void **state) {
    (void)state;
    check_starving(8);
    check_starving(2);
    check_starving(1);
}

/* ---- fork, truncate, continue ------------------------------------------------------------------
 */

static void test_fork(void **state) {
    (void)state;
    ign_model *m = rig_open(NULL, &(ign_model_options){.context = 1024});
    struct answer first, a, b, c;
    int32_t ids[37];
    ign_error e = {0};
    ign_session *copy = NULL, *copy2 = NULL;
    rig_prompt(ids, 37, 4);
    ign_sampling sampling = rig_random(8);
    sampling.repeat_penalty = 1.3f;
    ign_session *s = rig_session(m, 200, sampling);
    rig_ask(m, s, ids, 37, 10, &first);
    assert_int_equal(ign_session_fork(s, &copy, &e), IGN_OK);
    assert_int_equal(ign_session_fork(copy, &copy2, &e), IGN_OK);
    /* Pages, random state and penalties went along: three go on alike, together and after. */
    ign_request ra = rig_request(NULL, 0, 60, &a), rb = rig_request(NULL, 0, 60, &b);
    rig_submit(s, &ra);
    rig_submit(copy, &rb);
    rig_run(m);
    rig_same(&a, &b);
    rig_ask(m, copy2, NULL, 0, 60, &c);
    rig_same(&a, &c);
    /* Another token makes the copies differ and leaves the original alone. */
    size_t n = 0;
    ign_session_free(copy2);
    assert_int_equal(ign_session_truncate(s, 30, &e), IGN_OK);
    assert_int_equal(ign_session_truncate(copy, 30, &e), IGN_OK);
    assert_int_equal(ign_session_fork(s, &copy2, &e), IGN_OK);
    rig_ask(m, copy2, ids, 2, 5, &c);
    rig_ask(m, s, NULL, 0, 20, &a);
    rig_ask(m, copy, NULL, 0, 20, &b);
    rig_same(&a, &b);
    assert_memory_equal(ign_session_tokens(s, &n), ids, 30 * sizeof *ids);
    assert_int_equal(n, 50);
    ign_session_free(s);
    ign_session_free(copy);
    ign_session_free(copy2);
    ign_model_close(m);
}

static void test_truncate_and_again(void **state) {
    (void)state;
    ign_model *m = rig_open(NULL, NULL);
    struct answer whole, a;
    int32_t ids[50];
    ign_error e = {0};
    rig_prompt(ids, 50, 9);
    ign_session *s = rig_session(m, 0, rig_greedy());
    rig_ask(m, s, ids, 50, 20, &whole);
    const size_t cuts[] = {70, 69, 51, 50, 49, 33, 32, 31, 1, 0};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        size_t n = 0, cut = cuts[i], left = cut < 50 ? 50 - cut : 0;
        assert_int_equal(ign_session_truncate(s, cut, &e), IGN_OK);
        ign_session_tokens(s, &n);
        assert_int_equal(n, cut);
        int again = cut > 50 ? (int)(70 - cut) : 20;
        rig_ask(m, s, ids + 50 - left, left, again, &a);
        assert_int_equal(a.n, again);
        assert_memory_equal(a.ids, whole.ids + 20 - again, (size_t)again * sizeof *a.ids);
    }
    assert_int_equal(ign_session_truncate(s, 71, &e), IGN_RANGE);
    ign_session_free(s);
    ign_model_close(m);
}

/* A prompt in any chunks, with requests for no token between, is the prompt at once. */
static void test_any_chunking(void **state) {
    (void)state;
    ign_model *m = rig_open(&(struct tiny_opts){.window = 20}, NULL);
    struct answer whole, a;
    int32_t ids[100];
    rig_prompt(ids, 100, 3);
    ign_session *s = rig_session(m, 0, rig_greedy());
    rig_ask(m, s, ids, 100, 20, &whole);
    float *logits = malloc(TINY_VOCAB * sizeof *logits);
    for (int chunk = 1; chunk < 60; chunk += 13) {
        ign_error e = {0};
        assert_int_equal(ign_session_truncate(s, 0, &e), IGN_OK);
        assert_null(ign_session_logits(s));
        for (int at = 0; at < 100; at += chunk) {
            rig_ask(m, s, ids + at, (size_t)(at + chunk < 100 ? chunk : 100 - at), 0, &a);
            assert_int_equal(a.stop, IGN_STOP_LENGTH);
            assert_int_equal(a.n, 0);
            assert_non_null(ign_session_logits(s));
        }
        rig_ask(m, s, NULL, 0, 20, &a);
        rig_same(&whole, &a);
    }
    free(logits);
    ign_session_free(s);
    ign_model_close(m);
}

/* A second turn computes its new tokens, and the one that ended the first, no more. */
static void test_second_turn_computes_only_new_tokens(void **state) {
    (void)state;
    ign_model *m = rig_open(NULL, NULL);
    struct answer a;
    ign_timing t;
    int32_t ids[40];
    rig_prompt(ids, 40, 2);
    ign_session *s = rig_session(m, 0, rig_greedy());
    rig_ask(m, s, ids, 40, 10, &a);
    ign_session_get_timing(s, &t);
    assert_int_equal(t.prompt_tokens, 40);
    assert_int_equal(t.new_tokens, 10);
    assert_true(t.prefill_seconds > 0 && t.decode_seconds > 0);
    rig_ask(m, s, ids, 5, 10, &a);
    ign_session_get_timing(s, &t);
    assert_int_equal(t.prompt_tokens, 6);
    assert_int_equal(t.new_tokens, 10);
    ign_session_free(s);
    ign_model_close(m);
}

/* ---- limits -----------------------------------------------------------------------------------
 */

static void test_context_full(void **state) {
    (void)state;
    ign_model *m = rig_open(NULL, NULL);
    struct answer a;
    ign_error e = {0};
    int32_t ids[65];
    rig_prompt(ids, 65, 2);
    ign_session *s = rig_session(m, 64, rig_greedy());
    assert_int_equal(ign_session_context(s), 64);
    ign_request r = rig_request(ids, 65, 10, &a);
    assert_int_equal(ign_session_submit(s, &r, &e), IGN_NOFIT);
    rig_ask(m, s, ids, 60, 10, &a);
    assert_int_equal(a.stop, IGN_STOP_CONTEXT);
    assert_int_equal(a.n, 4);
    assert_int_equal(a.error.code, IGN_OK);
    rig_ask(m, s, NULL, 0, 10, &a);
    assert_int_equal(a.stop, IGN_STOP_CONTEXT);
    assert_int_equal(a.n, 0);
    assert_int_equal(ign_session_truncate(s, 0, &e), IGN_OK);
    rig_ask(m, s, ids, 64, 10, &a);
    assert_int_equal(a.stop, IGN_STOP_CONTEXT);
    assert_int_equal(a.n, 0);
    assert_non_null(ign_session_logits(s));
    assert_int_equal(ign_session_truncate(s, 0, &e), IGN_OK);
    rig_ask(m, s, ids, 64, 0, &a);
    assert_int_equal(a.stop, IGN_STOP_LENGTH);
    ign_session_free(s);
    ign_model_close(m);
}

/* Two sessions of which each could have all memory: one ends with an error, the other goes on. */
static void test_kv_memory_full(void **state) {
    (void)state;
    ign_model *m = rig_open(NULL, &(ign_model_options){.context = 128});
    struct answer a, b, alone;
    int32_t ids[100];
    rig_prompt(ids, 100, 2);
    ign_session *s = rig_session(m, 0, rig_greedy()), *t = rig_session(m, 0, rig_greedy());
    rig_ask(m, s, ids, 64, 0, &a);
    rig_ask(m, t, ids, 100, 10, &b);
    assert_int_equal(b.stop, IGN_STOP_CONTEXT);
    assert_int_equal(b.error.code, IGN_NOFIT);
    rig_ask(m, s, NULL, 0, 20, &a);
    assert_int_equal(a.stop, IGN_STOP_LENGTH);
    ign_session_free(s);
    rig_ask(m, t, ids, 64, 20, &alone);
    rig_same(&a, &alone);
    ign_session_free(t);
    ign_model_close(m);
}

static void expect_submit(ign_session *s, ign_status want, ign_request r) {
    ign_error e = {0};
    assert_int_equal(ign_session_submit(s, &r, &e), want);
    assert_int_equal(e.code, want);
    assert_true(e.text[0] != '\0');
}

static void test_bad_requests(void **state) {
    (void)state;
    ign_model *m = rig_open(NULL, NULL);
    ign_session *s = rig_session(m, 0, rig_greedy()), *none = NULL;
    ign_error e = {0};
    const int32_t one = 5, low = -1, high = TINY_VOCAB;
    const char *empty[] = {""}, *broken[] = {"\xff"};
    const char *many[65];
    char *longer = calloc(1, 4098);
    memset(longer, 'a', 4097);
    const char *too_long[] = {longer};
    for (int i = 0; i < 65; i++) {
        many[i] = "x";
    }
    expect_submit(s, IGN_USAGE, (ign_request){.max_tokens = 1});
    expect_submit(s, IGN_RANGE, (ign_request){.ids = &low, .n_ids = 1});
    expect_submit(s, IGN_RANGE, (ign_request){.ids = &high, .n_ids = 1});
    expect_submit(s, IGN_RANGE, (ign_request){.ids = &one, .n_ids = 1, .max_tokens = -1});
    expect_submit(s, IGN_RANGE, (ign_request){.ids = &one, .n_ids = 1, .seconds = -1});
    expect_submit(s, IGN_RANGE, (ign_request){.ids = &one, .n_ids = 1, .seconds = NAN});
    expect_submit(s, IGN_RANGE, (ign_request){.ids = &one, .n_ids = 1, .logprobs = 21});
    expect_submit(s, IGN_RANGE, (ign_request){.ids = &one, .n_ids = 1, .logprobs = -2});
    expect_submit(s, IGN_RANGE, (ign_request){.ids = &one, .n_ids = 1, .stop = empty, .n_stop = 1});
    expect_submit(s, IGN_RANGE,
                  (ign_request){.ids = &one, .n_ids = 1, .stop = broken, .n_stop = 1});
    expect_submit(s, IGN_RANGE, (ign_request){.ids = &one, .n_ids = 1, .stop = many, .n_stop = 65});
    expect_submit(s, IGN_RANGE,
                  (ign_request){.ids = &one, .n_ids = 1, .stop = too_long, .n_stop = 1});
    rig_submit(s, &(ign_request){.ids = &one, .n_ids = 1, .max_tokens = 3}); /* and still usable */
    expect_submit(s, IGN_USAGE, (ign_request){.ids = &one, .n_ids = 1});
    assert_int_equal(ign_session_truncate(s, 0, &e), IGN_USAGE);
    assert_int_equal(ign_session_fork(s, &none, &e), IGN_USAGE);
    assert_int_equal(ign_session_set_sampling(s, NULL, &e), IGN_USAGE);
    assert_int_equal(ign_session_save(s, "/tmp/none", &e), IGN_USAGE);
    assert_int_equal(ign_session_load(s, "/tmp/none", &e), IGN_USAGE);
    rig_run(m);
    assert_int_equal(ign_session_create(m, 100000, NULL, &none, &e), IGN_RANGE);
    assert_int_equal(ign_session_create(m, -1, NULL, &none, &e), IGN_RANGE);
    ign_sampling bad = rig_greedy();
    bad.top_p = -1;
    assert_int_equal(ign_session_create(m, 0, &bad, &none, &e), IGN_RANGE);
    assert_int_equal(ign_session_set_sampling(s, &bad, &e), IGN_RANGE);
    assert_null(none);
    free(longer);
    ign_session_free(s);
    ign_model_close(m);
}

static void test_models(void **state) {
    (void)state;
    ign_model *m = NULL;
    ign_session *s = NULL;
    ign_error e = {0};
    char path[64];
    assert_int_equal(ign_model_open(&m, "/nowhere/x.gguf", NULL, &e), IGN_NOTFOUND);
    assert_int_equal(ign_model_open(&m, NULL, NULL, &e), IGN_USAGE);
    assert_null(m);
    rig_path(path);
    assert_true(tiny_model_write(path, NULL));
    assert_int_equal(ign_model_open(&m, path, &(ign_model_options){.context = -1}, &e), IGN_RANGE);
    assert_int_equal(ign_model_open(&m, path, &(ign_model_options){.device = "abacus"}, &e),
                     IGN_USAGE);
    assert_int_equal(ign_model_open(&m, path, &(ign_model_options){.tokenizer_only = true}, &e),
                     IGN_OK);
    assert_int_equal(ign_session_create(m, 0, NULL, &s, &e), IGN_USAGE);
    ign_model_info info;
    ign_model_get_info(m, &info);
    assert_string_equal(info.name, "tiny");
    assert_string_equal(info.architecture, "llama");
    assert_string_equal(info.device, "");
    assert_int_equal(info.vocabulary, TINY_VOCAB);
    ign_model_close(m);
    ign_model_close(NULL);
    ign_session_free(NULL);
    unlink(path);
}

/* Two models in one process, stepped in turn, do not hear of each other. */
static void test_two_models(void **state) {
    (void)state;
    ign_model *m[2] = {rig_open(NULL, NULL), rig_open(&(struct tiny_opts){.seed = 77}, NULL)};
    struct answer solo[2], both[2];
    ign_session *s[2];
    int32_t ids[30];
    ign_error e = {0};
    rig_prompt(ids, 30, 6);
    for (int i = 0; i < 2; i++) {
        s[i] = rig_session(m[i], 0, rig_greedy());
        rig_ask(m[i], s[i], ids, 30, 20, &solo[i]);
        assert_int_equal(ign_session_truncate(s[i], 0, &e), IGN_OK);
        ign_request r = rig_request(ids, 30, 20, &both[i]);
        rig_submit(s[i], &r);
    }
    assert_true(memcmp(solo[0].ids, solo[1].ids, sizeof(int32_t) * 20) != 0);
    while (rig_step(m[0]) + rig_step(m[1]) > 0) {
    }
    for (int i = 0; i < 2; i++) {
        rig_same(&solo[i], &both[i]);
        ign_session_free(s[i]);
        ign_model_close(m[i]);
    }
}

/* ---- logits -----------------------------------------------------------------------------------
 */

struct rows {
    float *row;
    int n, first;
};

static void on_logits(void *arg, int position, const float *logits, int n_vocab) {
    struct rows *r = ((void **)arg)[1];
    assert_int_equal(n_vocab, TINY_VOCAB);
    assert_int_equal(position, r->first + r->n);
    memcpy(r->row + (size_t)r->n++ * TINY_VOCAB, logits, TINY_VOCAB * sizeof *logits);
}

static void rows_on_event(void *arg, const ign_event *ev) {
    rig_on_event(((void **)arg)[0], ev);
}

/* The logits of all 150 positions, more than a step has rows for, are those that each beginning of
 * the prompt ends with. */
static void test_logits_of_every_position(void **state) {
    (void)state;
    enum { N = 150 };
    ign_model *m = rig_open(NULL, &(ign_model_options){.context = 512});
    struct answer a, other;
    struct rows rows = {malloc(sizeof(float) * N * TINY_VOCAB), 0, 0};
    int32_t ids[N];
    ign_error e = {0};
    rig_prompt(ids, N, 12);
    ign_session *s = rig_session(m, 200, rig_greedy()), *t = rig_session(m, 200, rig_greedy());
    ign_request r = rig_request(ids, N, 3, &a);
    void *args[] = {&a, &rows};
    r.arg = args;
    r.on_event = rows_on_event;
    r.on_logits = on_logits;
    rig_submit(s, &r);
    r = rig_request(ids, N, 3, &other); /* company in the batch */
    rig_submit(t, &r);
    rig_run(m);
    assert_int_equal(rows.n, N);
    assert_int_equal(a.n, 3);
    for (int n = 1; n <= N; n += 37) {
        struct answer b;
        assert_int_equal(ign_session_truncate(t, 0, &e), IGN_OK);
        rig_ask(m, t, ids, (size_t)n, 0, &b);
        assert_memory_equal(ign_session_logits(t), rows.row + (size_t)(n - 1) * TINY_VOCAB,
                            TINY_VOCAB * sizeof(float));
    }
    /* After tokens are there already, positions go on. */
    assert_int_equal(ign_session_truncate(s, 100, &e), IGN_OK);
    rows.n = 0;
    rows.first = 100;
    memset(&a, 0, sizeof a);
    r = rig_request(ids + 100, 50, 1, &a);
    r.arg = args;
    r.on_event = rows_on_event;
    r.on_logits = on_logits;
    rig_submit(s, &r);
    rig_run(m);
    assert_int_equal(rows.n, 50);
    /* A step has rows for 64 of them, all of which it fills. */
    assert_int_equal(ign_session_truncate(s, 0, &e), IGN_OK);
    rows.n = rows.first = 0;
    memset(&a, 0, sizeof a);
    r = rig_request(ids, 64, 0, &a);
    r.arg = args;
    r.on_event = rows_on_event;
    r.on_logits = on_logits;
    rig_submit(s, &r);
    assert_int_equal(rig_step(m), 0);
    assert_int_equal(rows.n, 64);
    free(rows.row);
    ign_session_free(s);
    ign_session_free(t);
    ign_model_close(m);
}

/* The largest logit is found in the device; with a bias of nothing the sampler finds it. */
static void test_greedy_both_ways(void **state) {
    (void)state;
    ign_model *m = rig_open(&(struct tiny_opts){0}, NULL);
    ign_logit_bias nothing = {TINY_BYTE, 0};
    ign_sampling biased = rig_greedy();
    biased.bias = &nothing;
    biased.n_bias = 1;
    ign_session *s[3] = {rig_session(m, 0, rig_greedy()), rig_session(m, 0, biased),
                         rig_session(m, 0, rig_greedy())};
    struct answer a[3];
    ign_request r[3];
    int32_t ids[40];
    rig_prompt(ids, 40, 9);
    for (int i = 0; i < 3; i++) { /* side by side, the last one with other tokens */
        r[i] = rig_request(ids, i == 2 ? 25 : 40, 60, &a[i]);
        rig_submit(s[i], &r[i]);
    }
    rig_run(m);
    rig_same(&a[0], &a[1]);
    assert_memory_not_equal(a[0].ids, a[2].ids, 60 * sizeof *ids);
    for (int i = 0; i < 3; i++) {
        ign_session_free(s[i]);
    }
    ign_model_close(m);
}

/* What the events of one session see of its logits, and what it has when others go on: those after
 * its last computed token, as a session has them that is given the same tokens. */
struct logits_seen {
    ign_session *s;
    float row[TINY_VOCAB];
    int n;
};

static void see_logits(void *arg, const ign_event *ev) {
    struct logits_seen *l = arg;
    l->n++;
    assert_true(ev->stop != IGN_STOP_ERROR);
    assert_non_null(ign_session_logits(l->s));
    memcpy(l->row, ign_session_logits(l->s), sizeof l->row);
}

static void test_logits_stay(void **state) {
    (void)state;
    ign_model *m = rig_open(&(struct tiny_opts){0}, NULL);
    ign_session *s = rig_session(m, 0, rig_greedy()), *other = rig_session(m, 0, rig_greedy());
    struct logits_seen seen = {.s = s};
    struct answer a, b;
    int32_t ids[40];
    rig_prompt(ids, 40, 9);
    rig_ask(m, other, ids, 40, 12, &a);
    ign_request r = rig_request(ids, 30, 6, &b);
    r.on_event = see_logits;
    r.arg = &seen;
    rig_submit(s, &r);
    ign_request go_on = rig_request(NULL, 0, 12, &a);
    rig_submit(other, &go_on);
    rig_run(m);
    assert_int_equal(seen.n, 6);
    assert_memory_equal(ign_session_logits(s), seen.row, sizeof seen.row);
    size_t n;
    const int32_t *tok = ign_session_tokens(s, &n);
    assert_int_equal(n, 36);
    ign_session *again = rig_session(m, 0, rig_greedy());
    rig_ask(m, again, tok, n - 1, 0, &a);
    assert_memory_equal(ign_session_logits(s), ign_session_logits(again), sizeof seen.row);
    ign_session_free(again);
    ign_session_free(other);
    ign_session_free(s);
    ign_model_close(m);
}

/* Of two sessions one at a time finds room in a step of one token: the other keeps its logits. */
static void test_logits_stay_without_room(void **state) {
    (void)state;
    ign_model *m = rig_open(&(struct tiny_opts){0}, &(ign_model_options){.batch = 1});
    ign_session *s[2] = {rig_session(m, 0, rig_greedy()), rig_session(m, 0, rig_greedy())};
    float row[TINY_VOCAB];
    size_t before = 0, n;
    struct answer a[2];
    int32_t ids[12];
    int stayed = 0;
    rig_prompt(ids, 12, 9);
    for (int i = 0; i < 2; i++) {
        ign_request r = rig_request(ids + 6 * i, 6, 8, &a[i]);
        rig_submit(s[i], &r);
    }
    while (rig_step(m) > 0) {
        const float *now = ign_session_logits(s[0]);
        ign_session_tokens(s[0], &n);
        if (now != NULL && n == before) {
            assert_memory_equal(now, row, sizeof row);
            stayed++;
        }
        before = 0;
        if (now != NULL) {
            before = n;
            memcpy(row, now, sizeof row);
        }
    }
    assert_true(stayed > 3);
    ign_session_free(s[0]);
    ign_session_free(s[1]);
    ign_model_close(m);
}

/* ---- memory ------------------------------------------------------------------------------------
 */

static void test_the_token_loop_allocates_nothing(void **state) {
    (void)state;
    ign_model *m = rig_open(NULL, &(ign_model_options){.context = 1024, .batch = 32});
    struct answer *a = calloc(3, sizeof *a);
    ign_session *s[3];
    int32_t ids[100];
    const char *stop[] = {"never in the text", "\xe2\x82\xac\xe2\x82\xac"};
    rig_prompt(ids, 100, 1);
    for (int i = 0; i < 3; i++) {
        ign_sampling sampling = rig_random((uint64_t)i);
        sampling.repeat_penalty = 1.1f;
        sampling.top_k = 50;
        sampling.top_p = 0.95f;
        sampling.typical = 0.99f;
        s[i] = rig_session(m, 256, sampling);
        ign_request r = rig_request(ids, (size_t)(20 + 40 * i), 100, &a[i]);
        r.stop = stop;
        r.n_stop = 2;
        r.logprobs = 5;
        rig_submit(s[i], &r);
    }
    size_t count = mem_count();
    rig_run(m);
    assert_int_equal(mem_count(), count);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(a[i].n, 100);
        ign_session_free(s[i]);
    }
    free(a);
    ign_model_close(m);
}

static void test_no_growth(void **state) {
    (void)state;
    size_t live = mem_live();
    int32_t ids[40];
    rig_prompt(ids, 40, 1);
    for (int i = 0; i < 100; i++) {
        struct answer a;
        ign_session *copy = NULL;
        ign_error e = {0};
        ign_model *m = rig_open(NULL, NULL);
        ign_session *s = rig_session(m, 0, rig_greedy());
        rig_ask(m, s, ids, 40, 4, &a);
        assert_int_equal(ign_session_fork(s, &copy, &e), IGN_OK);
        ign_session_free(s);
        ign_session_free(copy);
        ign_model_close(m);
        assert_int_equal(mem_live(), live);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch_equals_solo),
        cmocka_unit_test(test_prompts_are_not_starved),
        cmocka_unit_test(test_fork),
        cmocka_unit_test(test_truncate_and_again),
        cmocka_unit_test(test_any_chunking),
        cmocka_unit_test(test_second_turn_computes_only_new_tokens),
        cmocka_unit_test(test_context_full),
        cmocka_unit_test(test_kv_memory_full),
        cmocka_unit_test(test_bad_requests),
        cmocka_unit_test(test_models),
        cmocka_unit_test(test_two_models),
        cmocka_unit_test(test_logits_of_every_position),
        cmocka_unit_test(test_greedy_both_ways),
        cmocka_unit_test(test_logits_stay),
        cmocka_unit_test(test_logits_stay_without_room),
        cmocka_unit_test(test_the_token_loop_allocates_nothing),
        cmocka_unit_test(test_no_growth),
    };
    rig_device = "plain";
    int failed = cmocka_run_group_tests_name("plain", tests, NULL, NULL);
    rig_device = "cpu";
    return failed + cmocka_run_group_tests_name("cpu", tests, NULL, NULL);
}
