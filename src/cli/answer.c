/* answer.c: stepping, streaming and the figures.
 *
 * Owns the callback. Invariant: a failure to write ends the generation; nobody computes for a
 * closed pipe.
 */
#include "cli/answer.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"

void answer_init(struct answer *a, struct cli *c, bool stream) {
    *a = (struct answer){.c = c, .stream = stream};
    buf_init(&a->text, (size_t)1 << 32);
    buf_init(&a->ids, (size_t)1 << 32);
    buf_init(&a->logprob, (size_t)1 << 32);
    buf_init(&a->top, (size_t)1 << 36);
}

void answer_fini(struct answer *a) {
    buf_fini(&a->text);
    buf_fini(&a->ids);
    buf_fini(&a->logprob);
    buf_fini(&a->top);
}

static void on_event(void *arg, const ign_event *ev) {
    struct answer *a = arg;
    buf_put(&a->text, ev->text, ev->n_text);
    if (ev->id >= 0) {
        a->n_ids++;
        buf_put(&a->ids, &ev->id, sizeof ev->id);
        buf_put(&a->logprob, &ev->logprob, sizeof ev->logprob);
        buf_put(&a->top, ev->top, ev->n_top * sizeof *ev->top);
    }
    if (ev->stop != IGN_STOP_NONE) {
        a->stop = ev->stop;
        a->error = ev->error;
    }
    if (a->stream && ev->n_text > 0) {
        cli_put_text(a->c, ev->text, ev->n_text);
        if (cli_flush(a->c)) {
            ign_session_cancel(a->s);
        }
    }
}

static void answer_reset(struct answer *a, ign_session *s) {
    buf_reset(&a->text);
    buf_reset(&a->ids);
    buf_reset(&a->logprob);
    buf_reset(&a->top);
    a->n_ids = 0;
    a->s = s;
    a->stop = IGN_STOP_NONE;
    a->timing = (ign_timing){0};
}

static ign_status check_result(const struct answer *a, ign_error *e) {
    struct err err = {0};
    if (a->stop == IGN_STOP_ERROR) {
        *e = a->error;
        return e->code;
    }
    const struct buf *all[] = {&a->text, &a->ids, &a->logprob, &a->top};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (buf_check(all[i], &err)) {
            e->code = (ign_status)err.code;
            err_line(&err, e->text, sizeof e->text);
            return e->code;
        }
    }
    return IGN_OK;
}

ign_status answer_run(struct answer *a, ign_model *m, ign_session *s, ign_request *r,
                      ign_error *e) {
    size_t before = 0, after = 0;
    answer_reset(a, s);
    ign_session_tokens(s, &before);
    r->on_event = on_event;
    r->arg = a;
    ign_status rc = ign_session_submit(s, r, e);
    if (rc) {
        return rc;
    }
    interrupt_cancels(a->c->intr, s);
    for (int busy = 1; busy > 0 && !rc;) {
        rc = ign_step(m, &busy, e);
    }
    interrupt_waits(a->c->intr);
    ign_session_get_timing(s, &a->timing);
    ign_session_tokens(s, &after);
    if (a->timing.new_tokens == 0) { /* stopped in the prompt: what was not reached is forgotten */
        a->timing.prompt_tokens -= (int)(before + r->n_ids - after);
    }
    action_count(a->c, a->timing.prompt_tokens, a->timing.new_tokens);
    return rc ? rc : check_result(a, e);
}

const char *answer_stop_name(ign_stop_reason stop) {
    switch (stop) {
    case IGN_STOP_EOS: return "eos";
    case IGN_STOP_STRING: return "stop";
    case IGN_STOP_LENGTH: return "length";
    case IGN_STOP_CONTEXT: return "context";
    case IGN_STOP_CANCELLED: return "interrupted";
    default: return "error";
    }
}

/* ---- figures ----------------------------------------------------------------------------------
 */

double answer_prefill_speed(const ign_timing *t) {
    return t->prefill_seconds > 0 ? t->prompt_tokens / t->prefill_seconds : 0;
}

/* The first new token belongs to the prefill: its logits are the prompt's. */
double answer_decode_speed(const ign_timing *t) {
    return t->decode_seconds > 0 && t->new_tokens > 1 ? (t->new_tokens - 1) / t->decode_seconds : 0;
}

void answer_note(const struct answer *a, uint64_t seed) {
    const ign_timing *t = &a->timing;
    char peak[32];
    cli_note(a->c,
             "ign: %d tokens (%s); prefill %d tokens in %.2f s (%.1f/s), decode in %.2f s "
             "(%.1f/s); peak memory %s; seed %llu",
             t->new_tokens, answer_stop_name(a->stop), t->prompt_tokens, t->prefill_seconds,
             answer_prefill_speed(t), t->decode_seconds, answer_decode_speed(t),
             cli_bytes(os_memory_peak(), peak, sizeof peak), (unsigned long long)seed);
}

/* ---- flags ------------------------------------------------------------------------------------
 */

/* A knob's number, if somebody has set it; else what the model has. */
static float real_or(const struct knobs *k, const char *name, float own) {
    return knobs_given(k, name) ? (float)knobs_real(k, name) : own;
}

void answer_sampling(struct cli *c, const ign_model *m, ign_sampling *o) {
    const struct knobs *k = c->k;
    ign_sampling own;
    ign_model_get_sampling(m, &own);
    o->temperature = real_or(k, "temperature", own.temperature);
    o->top_k = knobs_given(k, "top-k") ? (int)knobs_int(k, "top-k") : own.top_k;
    o->top_p = real_or(k, "top-p", own.top_p);
    o->min_p = real_or(k, "min-p", own.min_p);
    o->typical = real_or(k, "typical", own.typical);
    o->repeat_penalty = real_or(k, "repeat-penalty", own.repeat_penalty);
    o->presence_penalty = real_or(k, "presence-penalty", own.presence_penalty);
    o->frequency_penalty = real_or(k, "frequency-penalty", own.frequency_penalty);
    log_line(LOG_DEBUG, "sampling: temperature %g, top-k %d, top-p %g, min-p %g, repeat penalty %g",
             (double)o->temperature, o->top_k, (double)o->top_p, (double)o->min_p,
             (double)o->repeat_penalty);
}

/* "ID=X": X finite, or -inf to forbid the token. */
static bool parse_bias(const char *text, ign_logit_bias *b) {
    char *end;
    const char *eq = strchr(text, '=');
    if (!eq || eq == text || strspn(text, "0123456789") != (size_t)(eq - text) || eq - text > 9) {
        return false;
    }
    b->id = (int32_t)strtol(text, NULL, 10);
    if (strcmp(eq + 1, "-inf") == 0) {
        b->bias = -INFINITY;
        return true;
    }
    if (!eq[1] || eq[1 + strspn(eq + 1, "+-.0123456789eE")]) {
        return false;
    }
    b->bias = strtof(eq + 1, &end);
    return !*end && isfinite(b->bias);
}

enum err_code answer_biases(struct cli *c, struct buf *bias, struct err *e) {
    size_t n = knobs_count(c->k, "logit-bias");
    for (size_t i = 0; i < n; i++) {
        const char *text = knobs_item(c->k, "logit-bias", i);
        ign_logit_bias b;
        if (!parse_bias(text, &b)) {
            err_set(e, ERR_USAGE, "'%s' is not a token id, =, and a number", text);
            err_where(e, "--logit-bias");
            err_hint(e, "for example --logit-bias 2=-5, or 2=-inf to forbid the token");
            return ERR_USAGE;
        }
        buf_put(bias, &b, sizeof b);
    }
    return buf_check(bias, e);
}

/* The default of --top-k may be more than a small model has; what is asked for may not. */
enum err_code answer_check(struct cli *c, const ign_model *m, struct err *e) {
    ign_model_info info;
    ign_model_get_info(m, &info);
    int64_t k = knobs_int(c->k, "top-k");
    if (knobs_given(c->k, "top-k") && k > info.vocabulary) {
        err_set(e, ERR_RANGE, "%lld is not in 0..%d, the tokens of the model", (long long)k,
                info.vocabulary);
        err_where(e, "--top-k");
        err_hint(e, "take fewer, or 0 for all");
        return ERR_RANGE;
    }
    return ERR_OK;
}

enum err_code answer_rows(size_t n_tok, size_t n_vocab, const char *flag, float **raw,
                          struct err *e) {
    size_t bytes;
    if (!size_mul(n_tok, n_vocab * sizeof **raw, &bytes) || bytes > os_memory_available()) {
        err_set(e, ERR_NOFIT, "%zu x %zu logits do not fit in memory", n_tok, n_vocab);
        err_where(e, "%s", flag);
        err_hint(e, "take fewer tokens, or leave %s out", flag);
        return ERR_NOFIT;
    }
    *raw = mem_alloc(bytes, 1);
    return *raw ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory for %zu bytes", bytes);
}

/* A random seed is kept short: it is there to be typed again. */
uint64_t answer_seed(struct cli *c) {
    return knobs_given(c->k, "seed") ? knobs_uint64(c->k, "seed") : os_random_seed() & UINT32_MAX;
}

enum err_code answer_request(struct cli *c, ign_request *r, const char ***stop, struct err *e) {
    struct knobs *k = c->k;
    size_t n = knobs_count(k, "stop");
    *r = (ign_request){
        .max_tokens = (int)knobs_int(k, "max-tokens"),
        .seconds = knobs_given(k, "timeout") ? knobs_real(k, "timeout") : 0,
        .n_stop = n,
        .ignore_eos = knobs_bool(k, "ignore-eos"),
        .logprobs = -1,
    };
    if (knobs_bool(k, "unbounded") && !knobs_given(k, "max-tokens")) {
        r->max_tokens = INT_MAX;
    }
    *stop = mem_alloc(n, sizeof **stop);
    if (!*stop) {
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    for (size_t i = 0; i < n; i++) {
        (*stop)[i] = knobs_item(k, "stop", i);
    }
    r->stop = *stop;
    return ERR_OK;
}
