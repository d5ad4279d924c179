/* request.c: what one request makes of its logits: tokens, text, events, an end.
 *
 * Owns the order of questions after each token: end token, stop string, number of tokens, room in
 * the context. Runs on the owner's thread, outside any lock, and allocates nothing.
 * Invariant: each request has exactly one event with a stop reason, its last; the session becomes
 * idle when that event's callback has returned.
 */
#include <assert.h>

#include "base/os.h"
#include "engine/engine.h"

_Static_assert(sizeof(ign_token_logprob) == sizeof(struct token_prob) &&
                   offsetof(ign_token_logprob, logprob) == offsetof(struct token_prob, logprob),
               "the interface's logprobs are the sampler's");

void request_begin(ign_session *s) {
    struct request *r = &s->r;
    bool ready = s->has_logits && s->kv.n_tok == s->n_known && r->n_ids == 0;
    r->first = s->n_known;
    s->n_known += r->n_ids;
    for (int i = r->first; i < s->n_known; i++) {
        sampler_accept(&s->sampler, s->tok[i]);
    }
    if (!ready && s->kv.n_tok == s->n_known) {
        /* Nothing is left to compute, but the logits are gone: the last token brings them back. */
        kv_seq_truncate(&s->kv, &s->model->pool, s->n_known - 1);
    }
    r->n_prompt = s->n_known - s->kv.n_tok;
    detok_init_continue(&s->detok, s->model->m->tok, false);
    atomic_store(&s->state, SESSION_RUNNING);
}

static void emit(ign_session *s, int32_t id, ign_stop_reason stop, const struct err *why) {
    struct request *r = &s->r;
    struct token_prob top[LOGPROBS_MAX];
    ign_event ev = {.id = id, .text = s->text.p, .n_text = s->text.len, .stop = stop};
    if (id >= 0 && r->logprobs >= 0) {
        session_keep_logits(s);
        sampler_logprobs(s->logits, s->model->m->cfg.n_vocab, id, r->logprobs, top, &ev.logprob);
        ev.top = (const ign_token_logprob *)top;
        ev.n_top = (size_t)r->logprobs;
    }
    if (why) {
        engine_fail(&ev.error, why);
    }
    profile_lap(s->model->profile, STAGE_SAMPLE);
    if (r->on_event) {
        r->on_event(r->arg, &ev);
    }
    profile_lap(s->model->profile, STAGE_CALLER);
    buf_reset(&s->text);
}

/* The last event, with token `id` or -1. */
static void finish(ign_session *s, int32_t id, ign_stop_reason stop, const struct err *why) {
    struct request *r = &s->r;
    if (r->n_new == 0 && s->kv.n_tok < s->n_known) {
        /* Prompt tokens that were not reached are forgotten; those known before stay. */
        session_cut(s, s->kv.n_tok > r->first ? s->kv.n_tok : r->first);
    }
    if (r->t_first == 0) {
        r->t_first = r->t_last = os_now();
    }
    if (stop != IGN_STOP_STRING) {
        buf_reset(&s->piece);
        detok_end(&s->detok, &s->piece);
        if (!stop_put(&r->stop, s->piece.p, s->piece.len, &s->text)) {
            stop_flush(&r->stop, &s->text);
        }
    }
    session_keep_logits(s);
    emit(s, id, stop, why);
    session_release(s);
}

void request_end(ign_session *s, ign_stop_reason stop, const struct err *why) {
    finish(s, -1, stop, why);
}

bool request_check(ign_session *s) {
    if (atomic_load(&s->mark) == MARK_CANCEL) {
        request_end(s, IGN_STOP_CANCELLED, NULL);
        return false;
    }
    if (s->r.deadline > 0 && os_now() >= s->r.deadline) {
        request_end(s, IGN_STOP_LENGTH, NULL);
        return false;
    }
    return true;
}

/* The text of a new token into s->text; whether it ends the request, and why. */
static enum err_code take_token(ign_session *s, int32_t id, ign_stop_reason *stop, struct err *e) {
    struct request *r = &s->r;
    if (!r->ignore_eos && vocab_is_end(s->model->m->vocab, id)) {
        *stop = IGN_STOP_EOS;
        return ERR_OK;
    }
    buf_reset(&s->piece);
    enum err_code c = detok_put(&s->detok, id, &s->piece, e);
    if (c) {
        return c;
    }
    if (stop_put(&r->stop, s->piece.p, s->piece.len, &s->text)) {
        *stop = IGN_STOP_STRING;
    } else if (r->n_new == r->max_tokens) {
        *stop = IGN_STOP_LENGTH;
    } else if (s->n_known == s->context) {
        *stop = IGN_STOP_CONTEXT;
    }
    return buf_check(&s->text, e);
}

/* The largest logit of the session's row, found in the device for all rows of the step at once the
 * first time that one is asked for; -1 where it takes a closer look. */
static int32_t best_of(ign_session *s) {
    const struct model *m = s->model->m;
    struct plan *p = &s->model->plan;
    if (s->row < 0) {
        return -1;
    }
    if (!p->has_best) {
        m->kern->argmax(m->dev, m->b.logits, (size_t)p->n_out, (size_t)m->cfg.n_vocab, p->best);
        p->has_best = true;
    }
    return p->best[s->row];
}

static enum err_code pick(ign_session *s, int32_t *id, struct err *e) {
    *id = sampler_is_greedy(&s->sampler) ? best_of(s) : -1;
    if (*id >= 0) {
        return ERR_OK;
    }
    session_keep_logits(s);
    return sampler_pick(&s->sampler, s->logits, NULL, id, e);
}

void request_advance(ign_session *s) {
    struct request *r = &s->r;
    struct err err = {0};
    ign_stop_reason stop = IGN_STOP_NONE;
    int32_t id;
    assert(s->has_logits && s->kv.n_tok == s->n_known);
    if (r->max_tokens == 0) {
        request_end(s, IGN_STOP_LENGTH, NULL);
        return;
    }
    if (s->n_known == s->context) {
        request_end(s, IGN_STOP_CONTEXT, NULL);
        return;
    }
    profile_lap(s->model->profile, STAGE_SCHEDULE);
    if (pick(s, &id, &err)) {
        request_end(s, IGN_STOP_ERROR, &err);
        return;
    }
    sampler_accept(&s->sampler, id);
    s->tok[s->n_known++] = id;
    r->n_new++;
    r->n_accepted += id == r->draft;
    r->t_last = os_now();
    r->t_first = r->t_first > 0 ? r->t_first : r->t_last;
    profile_lap(s->model->profile, STAGE_SAMPLE);
    enum err_code c = take_token(s, id, &stop, &err);
    profile_lap(s->model->profile, STAGE_DETOKENIZE);
    if (c) {
        finish(s, id, IGN_STOP_ERROR, &err);
    } else if (stop != IGN_STOP_NONE) {
        finish(s, id, stop, NULL);
    } else {
        emit(s, id, IGN_STOP_NONE, NULL);
    }
}
