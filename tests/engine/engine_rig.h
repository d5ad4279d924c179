/* engine_rig.h: a tiny model on disk, sessions on it, and what their events said.
 *
 * For the tests of engine/. Every helper fails the test when the call does not succeed.
 */
#ifndef IGN_TESTS_ENGINE_ENGINE_RIG_H
#define IGN_TESTS_ENGINE_ENGINE_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/tiny_model.h"
#include "ign.h"

/* The back end that the tests run on; main() runs them all on each. */
static const char *rig_device = "cpu";

struct answer {
    int32_t ids[1024];
    float logprob[1024];
    int n, n_last, n_event;
    char text[8192];
    size_t n_text;
    ign_stop_reason stop;
    ign_error error;
};

static inline void rig_on_event(void *arg, const ign_event *ev) {
    struct answer *a = (struct answer *)arg;
    assert_int_equal(a->n_last, 0); /* nothing comes after the last event */
    a->n_event++;
    if (ev->id >= 0) {
        assert_true(a->n < 1024);
        a->logprob[a->n] = ev->logprob;
        a->ids[a->n++] = ev->id;
    }
    assert_true(a->n_text + ev->n_text < sizeof a->text);
    memcpy(a->text + a->n_text, ev->text, ev->n_text);
    a->n_text += ev->n_text;
    a->text[a->n_text] = '\0';
    a->stop = ev->stop;
    a->n_last += ev->stop != IGN_STOP_NONE;
    a->error = ev->error;
}

/* The path of a fresh temporary file. */
static inline void rig_path(char path[64]) {
    strcpy(path, "/tmp/ign_engine_XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
}

static inline ign_model *rig_open(const struct tiny_opts *t, const ign_model_options *options) {
    char path[64];
    ign_model_options o = options ? *options : (ign_model_options){0};
    ign_model *m = NULL;
    ign_error e = {0};
    rig_path(path);
    assert_true(tiny_model_write(path, t));
    o.device = rig_device;
    o.threads = o.threads ? o.threads : 1;
    if (ign_model_open(&m, path, &o, &e) != IGN_OK) {
        fail_msg("%s", e.text);
    }
    unlink(path); /* what is mapped stays */
    return m;
}

static inline ign_sampling rig_greedy(void) {
    ign_sampling s;
    ign_sampling_default(&s);
    s.temperature = 0;
    return s;
}

static inline ign_sampling rig_random(uint64_t seed) {
    ign_sampling s;
    ign_sampling_default(&s);
    s.temperature = 1;
    s.top_k = 0;
    s.top_p = 1;
    s.seed = seed;
    return s;
}

static inline ign_session *rig_session(ign_model *m, int context, ign_sampling sampling) {
    ign_session *s = NULL;
    ign_error e = {0};
    if (ign_session_create(m, context, &sampling, &s, &e) != IGN_OK) {
        fail_msg("%s", e.text);
    }
    return s;
}

static inline ign_request rig_request(const int32_t *ids, size_t n, int max_tokens,
                                      struct answer *a) {
    memset(a, 0, sizeof *a);
    return (ign_request){.ids = ids,
                         .n_ids = n,
                         .max_tokens = max_tokens,
                         .ignore_eos = true,
                         .logprobs = -1,
                         .on_event = rig_on_event,
                         .arg = a};
}

static inline void rig_submit(ign_session *s, const ign_request *r) {
    ign_error e = {0};
    if (ign_session_submit(s, r, &e) != IGN_OK) {
        fail_msg("%s", e.text);
    }
}

static inline int rig_step(ign_model *m) {
    ign_error e = {0};
    int busy = -1;
    if (ign_step(m, &busy, &e) != IGN_OK) {
        fail_msg("%s", e.text);
    }
    return busy;
}

static inline void rig_run(ign_model *m) {
    for (int i = 0; rig_step(m) > 0; i++) {
        assert_true(i < 100000);
    }
}

/* Submits and runs to the end. */
static inline void rig_ask(ign_model *m, ign_session *s, const int32_t *ids, size_t n,
                           int max_tokens, struct answer *a) {
    ign_request r = rig_request(ids, n, max_tokens, a);
    rig_submit(s, &r);
    rig_run(m);
    assert_int_equal(a->n_last, 1);
}

/* A prompt of n ids that depends on `seed`. */
static inline void rig_prompt(int32_t *ids, int n, uint64_t seed) {
    for (int i = 0; i < n; i++) {
        ids[i] = TINY_BYTE + (int32_t)(tiny_random(&seed) % 256);
    }
}

static inline void rig_same(const struct answer *a, const struct answer *b) {
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->ids, b->ids, (size_t)a->n * sizeof *a->ids);
    assert_int_equal(a->stop, b->stop);
    assert_int_equal(a->n_text, b->n_text);
    assert_memory_equal(a->text, b->text, a->n_text);
}

#endif
