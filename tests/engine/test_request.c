/* test_request.c: what a request's events say: text, stop strings, end tokens, log-probabilities,
 * cancelling within a step, time, and errors of the model. Runs on each back end.
 */
#include <math.h>

#include "base/os.h"
#include "base/utf8.h"
#include "engine/engine_rig.h"

/* ---- text -------------------------------------------------------------------------------------
 */

/* Only these bytes can be generated. */
static ign_sampling only(ign_sampling s, const char *bytes, ign_logit_bias bias[TINY_VOCAB]) {
    int n = 0;
    for (int id = 0; id < TINY_VOCAB; id++) {
        bool wanted = false;
        for (const char *p = bytes; *p; p++) {
            wanted |= id == TINY_BYTE + (unsigned char)*p;
        }
        if (!wanted) {
            bias[n++] = (ign_logit_bias){id, -INFINITY};
        }
    }
    s.bias = bias;
    s.n_bias = (size_t)n;
    return s;
}

/* The text of the events is the text of the tokens, never half a character at a time. */
static void test_text(void **state) {
    (void)state;
    static const char *const alphabets[] = {"abc ", "\xe2\x82\xac", "\xe2\x82\xac\x61",
                                            "\xf0\x9f\x98\x80\xff\xc3\xa9 x"};
    ign_model *m = rig_open(NULL, NULL);
    ign_logit_bias bias[TINY_VOCAB];
    for (int i = 0; i < 4; i++) {
        struct answer a;
        char *text = NULL;
        size_t n = 0;
        ign_error e = {0};
        const int32_t start = TINY_START;
        ign_session *s = rig_session(m, 0, only(rig_random((uint64_t)i), alphabets[i], bias));
        rig_ask(m, s, &start, 1, 100, &a);
        assert_int_equal(ign_decode(m, a.ids, (size_t)a.n, false, &text, &n, &e), IGN_OK);
        assert_int_equal(n, a.n_text);
        assert_memory_equal(text, a.text, n);
        assert_true(utf8_valid(a.text, a.n_text));
        ign_free(text);
        ign_session_free(s);
    }
    ign_model_close(m);
}

static void each_is_utf8(void *arg, const ign_event *ev) {
    assert_true(utf8_valid(ev->text, ev->n_text));
    rig_on_event(arg, ev);
}

/* For many strings that occur in the text, and some that do not: the text ends before the first of
 * them, or is whole. */
static void test_stop_strings(void **state) {
    (void)state;
    ign_model *m = rig_open(NULL, NULL);
    ign_logit_bias bias[TINY_VOCAB];
    struct answer whole, a;
    const int32_t start = TINY_START;
    ign_error e = {0};
    ign_sampling sampling = only(rig_random(5), "ab\xc3\xa9", bias);
    ign_session *s = rig_session(m, 0, sampling);
    rig_ask(m, s, &start, 1, 120, &whole);
    assert_int_equal(whole.stop, IGN_STOP_LENGTH);
    for (size_t at = 0; at + 12 < whole.n_text; at += 5) {
        for (size_t len = 1; len <= 9; len += 4) {
            char str[16] = "";
            const char *stop[] = {"not in the text", str};
            memcpy(str, whole.text + at, len);
            if (!utf8_valid(str, len)) {
                continue;
            }
            size_t want = (size_t)(strstr(whole.text, str) - whole.text);
            assert_int_equal(ign_session_truncate(s, 0, &e), IGN_OK);
            assert_int_equal(ign_session_set_sampling(s, &sampling, &e), IGN_OK);
            ign_request r = rig_request(&start, 1, 120, &a);
            r.stop = stop;
            r.n_stop = 2;
            r.on_event = each_is_utf8;
            rig_submit(s, &r);
            rig_run(m);
            assert_int_equal(a.stop, IGN_STOP_STRING);
            assert_int_equal(a.n_text, want);
            assert_memory_equal(a.text, whole.text, want);
        }
    }
    /* A beginning of a stop string at the very end is text after all. */
    char str[16] = "";
    const char *stop[] = {str};
    size_t last = whole.n_text - 1;
    while (!utf8_valid(whole.text + last, whole.n_text - last)) {
        last--;
    }
    snprintf(str, sizeof str, "%sc", whole.text + last);
    assert_int_equal(ign_session_truncate(s, 0, &e), IGN_OK);
    assert_int_equal(ign_session_set_sampling(s, &sampling, &e), IGN_OK);
    ign_request r = rig_request(&start, 1, 120, &a);
    r.stop = stop;
    r.n_stop = 1;
    rig_submit(s, &r);
    rig_run(m);
    rig_same(&whole, &a);
    ign_session_free(s);
    ign_model_close(m);
}

static void test_end_tokens(void **state) {
    (void)state;
    ign_model *m = rig_open(NULL, NULL);
    ign_sampling sampling = rig_random(1);
    const ign_logit_bias bias = {TINY_STOP, 1000};
    const int32_t start = TINY_START;
    struct answer a;
    sampling.bias = &bias;
    sampling.n_bias = 1;
    ign_session *s = rig_session(m, 0, sampling);
    ign_request r = rig_request(&start, 1, 5, &a);
    r.ignore_eos = false;
    rig_submit(s, &r);
    rig_run(m);
    assert_int_equal(a.stop, IGN_STOP_EOS);
    assert_int_equal(a.n, 1);
    assert_int_equal(a.ids[0], TINY_STOP);
    assert_int_equal(a.n_text, 0);
    size_t n = 0;
    assert_int_equal(ign_session_tokens(s, &n)[1], TINY_STOP);
    assert_int_equal(n, 2);
    rig_ask(m, s, NULL, 0, 5, &a); /* ignore_eos */
    assert_int_equal(a.stop, IGN_STOP_LENGTH);
    assert_int_equal(a.n, 5);
    assert_int_equal(a.n_text, 0); /* control tokens have no text */
    ign_session_free(s);
    ign_model_close(m);
}

static void check_top(void *arg, const ign_event *ev) {
    struct answer *a = arg;
    if (ev->id >= 0) {
        double sum = 0;
        assert_int_equal(ev->n_top, 20);
        for (size_t i = 0; i < ev->n_top; i++) {
            sum += exp((double)ev->top[i].logprob);
            assert_true(i == 0 || ev->top[i].logprob <= ev->top[i - 1].logprob);
        }
        assert_true(sum > 0.05 && sum < 1.0001);
        assert_int_equal(ev->top[0].id, ev->id); /* greedy */
        assert_true(ev->top[0].logprob == ev->logprob);
    }
    rig_on_event(a, ev);
}

static void test_logprobs(void **state) {
    (void)state;
    ign_model *m = rig_open(NULL, NULL);
    ign_session *s = rig_session(m, 0, rig_greedy());
    struct answer a;
    int32_t ids[10];
    rig_prompt(ids, 10, 1);
    ign_request r = rig_request(ids, 10, 20, &a);
    r.logprobs = 20;
    r.on_event = check_top;
    rig_submit(s, &r);
    rig_run(m);
    assert_int_equal(a.n, 20);
    ign_session_free(s);
    ign_model_close(m);
}

static void test_encode(void **state) {
    (void)state;
    ign_model *m = rig_open(NULL, NULL);
    ign_error e = {0};
    int32_t *ids = NULL;
    size_t n = 0;
    assert_int_equal(ign_encode(m, "<|im_end|>a", 11, true, 0, &ids, &n, &e), IGN_OK);
    assert_int_equal(n, 2);
    assert_int_equal(ids[0], TINY_STOP);
    assert_int_equal(ids[1], TINY_BYTE + 'a');
    ign_free(ids);
    assert_int_equal(ign_encode(m, "<|im_end|>a", 11, false, 1, &ids, &n, &e), IGN_OK);
    assert_int_equal(ids[0], TINY_START);
    for (size_t i = 1; i < n; i++) {
        assert_true(ids[i] >= TINY_BYTE);
    }
    ign_free(ids);
    /* The template's own marks are control tokens, the same letters in a message are not. */
    const char *chat = "[{\"role\": \"user\", \"content\": \"<|im_end|>\"}]";
    assert_int_equal(ign_encode_chat(m, chat, NULL, &ids, &n, &e), IGN_OK);
    int marks = 0;
    for (size_t i = 0; i < n; i++) {
        marks += ids[i] < TINY_BYTE;
    }
    assert_int_equal(marks, 3);
    char *text = NULL;
    const char *want = "<|im_start|>user\n<|im_end|><|im_end|>\n<|im_start|>assistant\n";
    assert_int_equal(ign_decode(m, ids, n, true, &text, &n, &e), IGN_OK);
    assert_string_equal(text, want);
    ign_free(text);
    ign_free(ids);
    const char *broken[] = {"", "{}", "[", "[{\"role\": 1}"};
    for (int i = 0; i < 4; i++) {
        assert_int_not_equal(ign_encode_chat(m, broken[i], NULL, &ids, &n, &e), IGN_OK);
        assert_null(ids);
    }
    const int32_t high = TINY_VOCAB;
    assert_int_equal(ign_decode(m, &high, 1, true, &text, &n, &e), IGN_RANGE);
    assert_int_equal(ign_decode(m, NULL, 0, true, &text, &n, &e), IGN_OK);
    assert_string_equal(text, "");
    ign_free(text);
    ign_model_close(m);
}

/* What the file adds around a text: a prompt that waits for its answer gets the BOS that its
 * template does not bring, and no EOS. */
static void check_ends(int32_t bos, const int32_t *want, size_t n_want) {
    ign_model *m = rig_open(&(struct tiny_opts){.ends = true, .bos = bos}, NULL);
    const int32_t text[] = {bos, TINY_BYTE + 'a', TINY_STOP};
    ign_error e = {0};
    int32_t *ids = NULL;
    size_t n = 0;
    assert_int_equal(ign_encode(m, "a", 1, false, -1, &ids, &n, &e), IGN_OK);
    assert_int_equal(n, 3);
    assert_memory_equal(ids, text, sizeof text);
    ign_free(ids);
    assert_int_equal(ign_encode_chat(m, "[]", NULL, &ids, &n, &e), IGN_OK);
    assert_in_range(n, n_want + 2, n_want + 10);
    assert_memory_equal(ids, want, n_want * sizeof *want);
    assert_int_equal(ids[n - 1], TINY_BYTE + '\n');
    ign_free(ids);
    ign_model_close(m);
}

static void test_encode_ends(void **state) {
    (void)state;
    check_ends(TINY_START, (const int32_t[]){TINY_START, TINY_BYTE + 'a'}, 2);
    check_ends(TINY_END, (const int32_t[]){TINY_END, TINY_START, TINY_BYTE + 'a'}, 3);
}

/* ---- cancelling and time ------------------------------------------------------------------------
 */

struct canceller {
    struct answer a;
    ign_session *whom;
    int after; /* events */
};

static void cancel_on_event(void *arg, const ign_event *ev) {
    struct canceller *c = arg;
    rig_on_event(&c->a, ev);
    if (c->a.n_event == c->after) {
        ign_session_cancel(c->whom);
    }
}

static void test_cancel_between_steps(void **state) {
    (void)state;
    ign_model *m = rig_open(NULL, &(ign_model_options){.batch = 16});
    ign_session *s = rig_session(m, 0, rig_greedy());
    struct canceller c = {.whom = s, .after = 5};
    struct answer a;
    int32_t ids[100];
    size_t n = 0;
    rig_prompt(ids, 100, 1);
    ign_session_cancel(s); /* idle: nothing */
    ign_request r = rig_request(ids, 100, 50, &c.a);
    r.on_event = cancel_on_event;
    r.arg = &c;
    rig_submit(s, &r);
    rig_run(m);
    assert_int_equal(c.a.stop, IGN_STOP_CANCELLED);
    assert_int_equal(c.a.n, 5);
    /* In a prompt: what was computed of it stays, the rest is gone. */
    ign_error e = {0};
    assert_int_equal(ign_session_truncate(s, 0, &e), IGN_OK);
    r = rig_request(ids, 100, 50, &a);
    rig_submit(s, &r);
    assert_int_equal(rig_step(m), 1);
    assert_int_equal(rig_step(m), 1);
    ign_session_tokens(s, &n);
    assert_int_equal(n, 32);
    ign_session_cancel(s);
    assert_int_equal(rig_step(m), 0);
    assert_int_equal(a.stop, IGN_STOP_CANCELLED);
    ign_session_tokens(s, &n);
    assert_int_equal(n, 32);
    rig_ask(m, s, ids + 32, 68, 5, &a);
    assert_memory_equal(a.ids, c.a.ids, 5 * sizeof *a.ids);
    /* Before it began. */
    r = rig_request(ids, 10, 50, &a);
    rig_submit(s, &r);
    ign_session_cancel(s);
    assert_int_equal(rig_step(m), 0);
    assert_int_equal(a.stop, IGN_STOP_CANCELLED);
    assert_int_equal(a.n, 0);
    ign_session_free(s);
    ign_model_close(m);
}

static void cancel_soon(void *arg) {
    os_sleep(0.02);
    ign_session_cancel(arg);
}

/* A step over a long prompt, given up in the middle: far sooner than it would have ended. */
static void test_cancel_within_a_step(void **state) {
    (void)state;
    enum { N = 4000 };
    ign_model *m = rig_open(&(struct tiny_opts){.d_model = 256, .context = N},
                            &(ign_model_options){.batch = 512, .context = N});
    ign_session *s = rig_session(m, 0, rig_greedy());
    struct answer whole, a;
    struct err err = {0};
    ign_error e = {0};
    int32_t *ids = malloc(N * sizeof *ids);
    size_t n = 0;
    rig_prompt(ids, N, 1);
    rig_ask(m, s, ids, 600, 3, &whole);
    for (int i = 0; i < 3; i++) {
        struct os_thread *t = NULL;
        assert_int_equal(ign_session_truncate(s, 0, &e), IGN_OK);
        ign_request r = rig_request(ids, N - 10, 5, &a);
        rig_submit(s, &r);
        assert_int_equal(os_thread_start(&t, cancel_soon, s, &err), ERR_OK);
        rig_run(m);
        os_thread_join(t);
        assert_int_equal(a.stop, IGN_STOP_CANCELLED);
        ign_session_tokens(s, &n);
        assert_int_equal(n % 512, 0); /* whole steps */
        assert_true(n < N - 10);
    }
    assert_int_equal(ign_session_truncate(s, n < 500 ? n : 500, &e), IGN_OK);
    ign_session_tokens(s, &n);
    rig_ask(m, s, ids + n, 600 - n, 3, &a);
    rig_same(&whole, &a); /* what a step that was given up wrote is not seen */
    free(ids);
    ign_session_free(s);
    ign_model_close(m);
}

/* One of two is cancelled: the other does not notice. */
static void test_cancel_one_of_two(void **state) {
    (void)state;
    ign_model *m = rig_open(NULL, &(ign_model_options){.context = 512});
    ign_session *s = rig_session(m, 200, rig_greedy()), *t = rig_session(m, 200, rig_greedy());
    struct canceller c = {.whom = t, .after = 3};
    struct answer solo, a;
    ign_error e = {0};
    int32_t ids[50];
    rig_prompt(ids, 50, 1);
    rig_ask(m, s, ids, 50, 20, &solo);
    assert_int_equal(ign_session_truncate(s, 0, &e), IGN_OK);
    ign_request r = rig_request(ids, 50, 20, &a);
    ign_request rc = rig_request(ids, 20, 20, &c.a);
    rc.on_event = cancel_on_event;
    rc.arg = &c;
    rig_submit(s, &r);
    rig_submit(t, &rc);
    rig_run(m);
    rig_same(&solo, &a);
    assert_int_equal(c.a.stop, IGN_STOP_CANCELLED);
    assert_int_equal(c.a.n, 3);
    ign_session_free(s);
    ign_session_free(t);
    ign_model_close(m);
}

static void test_time_limit(void **state) {
    (void)state;
    ign_model *m = rig_open(NULL, &(ign_model_options){.batch = 4});
    ign_session *s = rig_session(m, 0, rig_greedy());
    struct answer a;
    int32_t ids[100];
    rig_prompt(ids, 100, 1);
    ign_request r = rig_request(ids, 100, 100, &a);
    r.seconds = 1; /* a busy machine, too, takes its first step in that */
    rig_submit(s, &r);
    assert_int_equal(rig_step(m), 1); /* in the prompt */
    os_sleep(1.01);
    assert_int_equal(rig_step(m), 0);
    assert_int_equal(a.stop, IGN_STOP_LENGTH);
    assert_int_equal(a.n, 0);
    r = rig_request(ids, 1, 100, &a);
    r.seconds = 0.05;
    rig_submit(s, &r);
    while (a.n < 2 && rig_step(m) > 0) {
    }
    os_sleep(0.06);
    rig_run(m);
    assert_int_equal(a.stop, IGN_STOP_LENGTH);
    assert_true(a.n < 100);
    ign_session_free(s);
    ign_model_close(m);
}

/* ---- a broken model
 * ------------------------------------------------------------------------------ */

static void test_non_finite_logits(void **state) {
    (void)state;
    ign_model *m = rig_open(&(struct tiny_opts){.nan = true}, NULL);
    struct answer a;
    const int32_t start = TINY_START;
    ign_session *s = rig_session(m, 0, rig_greedy()), *t = rig_session(m, 0, rig_random(1));
    rig_ask(m, s, &start, 1, 5, &a);
    assert_int_equal(a.stop, IGN_STOP_ERROR);
    assert_int_equal(a.error.code, IGN_DEVICE);
    assert_non_null(strstr(a.error.text, "non-finite logits"));
    rig_ask(m, t, &start, 1, 5, &a);
    assert_int_equal(a.stop, IGN_STOP_ERROR);
    rig_ask(m, t, &start, 1, 0, &a); /* nothing is picked */
    assert_int_equal(a.stop, IGN_STOP_LENGTH);
    ign_session_free(s);
    ign_session_free(t);
    ign_model_close(m);
}

/* The file is cut off while the model is in use: an error for everybody, no SIGBUS. */
static void test_lost_file(void **state) {
    (void)state;
    char path[64];
    ign_model *m = NULL;
    ign_error e = {0};
    struct answer a, b;
    int32_t ids[20];
    int busy = -1;
    rig_path(path);
    rig_prompt(ids, 20, 1);
    assert_true(tiny_model_write(path, &(struct tiny_opts){.d_model = 128}));
    ign_model_options o = {.device = rig_device, .threads = 2};
    assert_int_equal(ign_model_open(&m, path, &o, &e), IGN_OK);
    ign_session *s = rig_session(m, 100, rig_greedy()), *t = rig_session(m, 100, rig_greedy());
    rig_ask(m, s, ids, 5, 3, &a);
    ign_request ra = rig_request(ids, 20, 50, &a), rb = rig_request(ids, 20, 50, &b);
    rig_submit(s, &ra);
    rig_step(m);
    assert_int_equal(truncate(path, 4096), 0);
    rig_submit(t, &rb);
    while (ign_step(m, &busy, &e) == IGN_OK) {
        assert_true(busy > 0);
    }
    assert_int_equal(e.code, IGN_IO);
    assert_int_equal(busy, 0);
    assert_int_equal(a.stop, IGN_STOP_ERROR);
    assert_int_equal(a.error.code, IGN_IO);
    assert_int_equal(b.stop, IGN_STOP_ERROR);
    assert_int_equal(ign_session_save(s, "/tmp/ign_never", &e), IGN_IO);
    rig_submit(t, &rb); /* and it stays so */
    b = (struct answer){0};
    assert_int_equal(ign_step(m, &busy, &e), IGN_IO);
    assert_int_equal(b.stop, IGN_STOP_ERROR);
    ign_session_free(s);
    ign_session_free(t);
    ign_model_close(m);
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_stop_strings),
        cmocka_unit_test(test_end_tokens),
        cmocka_unit_test(test_logprobs),
        cmocka_unit_test(test_encode),
        cmocka_unit_test(test_encode_ends),
        cmocka_unit_test(test_cancel_between_steps),
        cmocka_unit_test(test_cancel_within_a_step),
        cmocka_unit_test(test_cancel_one_of_two),
        cmocka_unit_test(test_time_limit),
        cmocka_unit_test(test_non_finite_logits),
        cmocka_unit_test(test_lost_file),
    };
    rig_device = "plain";
    int failed = cmocka_run_group_tests_name("plain", tests, NULL, NULL);
    rig_device = "cpu";
    return failed + cmocka_run_group_tests_name("cpu", tests, NULL, NULL);
}
