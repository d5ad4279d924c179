/* self_test.c: see self_test.h.
 *
 * Scores are looked at in two short sequences that end alike and begin differently: a model that
 * attends to anything scores their ends differently.
 */
#include "cli/self_test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cli/conversation.h"

/* ---- weights -----------------------------------------------------------------------------------
 */

static bool is_zero(const uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (p[i] != 0) {
            return false;
        }
    }
    return true;
}

enum err_code self_test_weights(const struct gguf *g, struct err *e) {
    for (size_t i = 0; i < g->n_tensor; i++) {
        const struct gguf_tensor *t = &g->tensor[i];
        bool zero = t->n_dim > 1;
        for (uint64_t m = 0; zero && m < t->dim[2]; m++) {
            zero = is_zero(gguf_matrix(t, m), gguf_matrix_bytes(t));
        }
        if (zero) {
            enum err_code rc = err_set(e, ERR_FORMAT, "the matrix '%.*s' holds nothing but zeros",
                                       (int)t->name.n, t->name.p);
            err_where(e, "%s, offset %llu", g->path, (unsigned long long)t->offset);
            err_hint(e, "the file is damaged or was never finished; get it again");
            return rc;
        }
    }
    return ERR_OK;
}

/* ---- scores ------------------------------------------------------------------------------------
 */

struct scores {
    float *last; /* [n_vocab] of the last position */
    bool finite, flat;
    size_t n_vocab;
};

static void on_logits(void *arg, int position, const float *logits, int n_vocab) {
    struct scores *s = ((struct answer *)arg)->user;
    float least = INFINITY, most = -INFINITY;
    (void)position;
    for (int i = 0; i < n_vocab; i++) {
        s->finite = s->finite && isfinite(logits[i]);
        least = logits[i] < least ? logits[i] : least;
        most = logits[i] > most ? logits[i] : most;
    }
    s->flat = s->flat && n_vocab > 1 && most - least < 1e-6f;
    memcpy(s->last, logits, (size_t)n_vocab * sizeof *logits);
}

static ign_status score(struct cli *c, ign_model *m, const int32_t *ids, size_t n, struct scores *s,
                        ign_error *e) {
    ign_session *session = NULL;
    ign_request r = {.ids = ids, .n_ids = n, .logprobs = -1, .on_logits = on_logits};
    ign_sampling sampling;
    struct answer a;
    answer_init(&a, c, false);
    a.user = s;
    ign_sampling_default(&sampling);
    ign_status rc = ign_session_create(m, 0, &sampling, &session, e);
    rc = rc ? rc : answer_run(&a, m, session, &r, e);
    if (!rc && a.stop == IGN_STOP_CANCELLED) {
        *e = (ign_error){IGN_CANCELLED, "interrupted (ign initialize); let it run to its end"};
        rc = IGN_CANCELLED;
    }
    ign_session_free(session);
    answer_fini(&a);
    return rc;
}

static ign_status sick(ign_error *e, const char *sign) {
    e->code = IGN_DEVICE;
    snprintf(e->text, sizeof e->text,
             "the model fails its self-test: %s (ign initialize); get the file again, or take "
             "another one",
             sign);
    return e->code;
}

/* ids, then ids with all but the last one in the opposite order. */
static ign_status check_scores(struct cli *c, ign_model *m, const int32_t *ids, size_t n,
                               ign_error *e) {
    ign_model_info info;
    ign_model_get_info(m, &info);
    size_t n_vocab = (size_t)info.vocabulary;
    struct scores a = {.finite = true, .flat = true}, b = a;
    int32_t *turned = mem_alloc(n, sizeof *turned);
    ign_status rc = IGN_NOMEM;
    a.last = mem_alloc(n_vocab, sizeof *a.last);
    b.last = mem_alloc(n_vocab, sizeof *b.last);
    if (!turned || !a.last || !b.last) {
        *e = (ign_error){IGN_NOMEM, "out of memory"};
        goto done;
    }
    for (size_t i = 0; i < n; i++) {
        turned[i] = i + 1 < n ? ids[n - 2 - i] : ids[i];
    }
    if ((rc = score(c, m, ids, n, &a, e)) || (rc = score(c, m, turned, n, &b, e))) {
        goto done;
    }
    bool other = memcmp(ids, turned, n * sizeof *ids) != 0;
    if (!a.finite || !b.finite) {
        rc = sick(e, "its scores are not finite numbers (NaN)");
    } else if (a.flat && b.flat) {
        rc = sick(e, "it gives every token the same score");
    } else if (other && memcmp(a.last, b.last, n_vocab * sizeof *a.last) == 0) {
        rc = sick(e, "its scores do not depend on what came before");
    }
done:
    mem_free(turned);
    mem_free(a.last);
    mem_free(b.last);
    return rc;
}

/* ---- the answer --------------------------------------------------------------------------------
 */

static ign_status encode(ign_model *m, const char *prompt, int32_t **ids, size_t *n, ign_error *e) {
    struct conversation v;
    struct buf json;
    struct err err = {0};
    ign_status rc = IGN_NOMEM;
    conversation_init(&v);
    buf_init(&json, (size_t)1 << 30);
    if (conversation_add(&v, ROLE_USER, str_c(prompt), &err) ||
        conversation_json(&v, true, &json, &err)) {
        *e = (ign_error){IGN_NOMEM, "out of memory"};
    } else {
        rc = ign_encode_chat(m, json.p, NULL, ids, n, e);
    }
    conversation_fini(&v);
    buf_fini(&json);
    if (rc == IGN_UNSUPPORTED || rc == IGN_NOTFOUND) { /* it has no template */
        *e = (ign_error){0};
        rc = ign_encode(m, prompt, strlen(prompt), false, -1, ids, n, e);
    }
    return rc;
}

/* From EOS to one token for ever: too few tokens to say so are looked at again, past the end. */
static ign_status generate(ign_model *m, const int32_t *ids, size_t n, bool past_end,
                           struct answer *a, ign_error *e) {
    ign_sampling sampling;
    ign_session *session = NULL;
    ign_request r = {.ids = ids,
                     .n_ids = n,
                     .max_tokens = SELF_TEST_TOKENS,
                     .seconds = SELF_TEST_SECONDS,
                     .logprobs = -1,
                     .ignore_eos = past_end};
    ign_sampling_default(&sampling);
    sampling.seed = 1;
    ign_status rc = ign_session_create(m, 0, &sampling, &session, e);
    rc = rc ? rc : answer_run(a, m, session, &r, e);
    ign_session_free(session);
    return rc;
}

/* One token for ever, from the first or the second on. */
static bool repeats(const struct answer *a) {
    const int32_t *id = (const int32_t *)a->ids.p;
    for (size_t i = 1; i < a->n_ids; i++) {
        if (id[i] != id[a->n_ids - 1]) {
            return false;
        }
    }
    return a->n_ids > 0;
}

static ign_status check_answer(struct cli *c, ign_model *m, const int32_t *ids, size_t n,
                               struct answer *a, ign_error *e) {
    enum { FEW = 8 };
    struct answer more;
    ign_status rc = generate(m, ids, n, false, a, e);
    if (rc || a->stop == IGN_STOP_CANCELLED || !(a->n_ids < FEW || repeats(a))) {
        return rc;
    }
    if (a->n_ids >= FEW) {
        return sick(e, "it answers with one token, repeated");
    }
    answer_init(&more, c, false);
    rc = generate(m, ids, n, true, &more, e);
    if (!rc && more.n_ids >= FEW && repeats(&more)) {
        rc = sick(e, "it answers with one token, repeated");
    }
    answer_fini(&more);
    return rc;
}

ign_status self_test_answer(struct cli *c, ign_model *m, const char *prompt, struct answer *a,
                            ign_error *e) {
    int32_t *ids = NULL;
    size_t n = 0;
    ign_status rc = encode(m, prompt, &ids, &n, e);
    if (!rc && n == 0) {
        *e = (ign_error){IGN_USAGE, "the prompt is empty, and this model has no token to begin "
                                    "with (--test-prompt); give at least one character"};
        rc = IGN_USAGE;
    }
    rc = rc ? rc : check_scores(c, m, ids, n, e);
    rc = rc ? rc : check_answer(c, m, ids, n, a, e);
    ign_free(ids);
    return rc;
}
