/* scheduler.c: continuous batching: one step over all sessions with work.
 *
 * Owns ign_step. Each step takes one token of every session that generates, first, and fills the
 * rest with prompt chunks in equal shares; who is asked first turns by one with each step. Where no
 * prompt waits, guesses of what comes next take room that is left, if that pays (gain.h). Refuses
 * to know what a request wants from its logits (request.c). Invariant: a session's result does not
 * depend on who else is in its steps: the kernels promise that for numbers, and nothing else of
 * another session is read here.
 */
#include <assert.h>
#include <string.h>

#include "engine/engine.h"

#define CHUNK 512 /* prompt tokens of one session in one step, at most */

static bool running(const ign_session *s) {
    return atomic_load(&s->state) == SESSION_RUNNING;
}

static ign_session *session_at(const ign_model *m, int i) {
    return m->session[(m->turn + i) % m->n_session];
}

/* Tokens to compute before there are logits to pick from; 0 if there are. */
static int needs(const ign_session *s) {
    return s->n_known - s->kv.n_tok;
}

/* ---- what goes into a step ------------------------------------------------------------------- */

/* Rows whose logits this part of a session wants: the last one if it completes what is known, those
 * of guesses, which come after it, and with on_logits every position of the request's ids. */
static bool wants_row(const ign_session *s, int pos) {
    return pos >= s->n_known - 1 || (s->r.on_logits && pos >= s->r.first && s->r.n_new == 0);
}

/* Takes up to n tokens of `s`, fewer where rows for logits run out. */
static void plan_take(ign_model *m, ign_session *s, int n) {
    struct plan *p = &m->plan;
    struct err err = {0};
    int room = m->m->max_out - p->n_out, n_out = 0, n_tok = 0;
    while (n_tok < n && n_out + wants_row(s, s->kv.n_tok + n_tok) <= room) {
        n_out += wants_row(s, s->kv.n_tok + n_tok);
        n_tok++;
    }
    if (n_tok == 0) {
        return;
    }
    if (kv_seq_reserve(&s->kv, &m->pool, n_tok, &err)) {
        err_hint(&err, "close or shorten other sessions, or open the model with a longer context");
        request_end(s, IGN_STOP_CONTEXT, &err);
        return;
    }
    p->part[p->n_part++] = (struct part){.s = s, .n_tok = n_tok, .n_out = n_out};
    p->n_tok += n_tok;
    p->n_out += n_out;
}

static int min_int(int a, int b) {
    return a < b ? a : b;
}

/* Adds a guess to a part with the last known token, if it is worth its rows and there is room for
 * them: *expected tokens come of the step without it. */
static void plan_guess(ign_model *m, struct part *t, double *expected) {
    struct plan *p = &m->plan;
    ign_session *s = t->s;
    const struct request *r = &s->r;
    enum lookup_kind kind;
    int room = min_int(m->m->max_tok - p->n_tok, m->m->max_out - p->n_out);
    /* One more token comes after a guess that is right to its end. */
    int most = min_int(s->context - s->n_known, r->max_tokens - r->n_new) - 1;
    int n = lookup_guess(&s->lookup, s->tok, s->n_known, min_int(LOOKUP_MAX, most), &kind);
    if (n <= 0) {
        return;
    }
    odds_watch(&s->odds, kind, s->tok + s->n_known, n);
    n = gain_choose(&m->costs, &s->odds, kind, min_int(n, room), p->n_tok, expected);
    if (n > 0 && kv_seq_reserve(&s->kv, &m->pool, t->n_tok + n, NULL) == ERR_OK) {
        t->n_tok += n;
        t->n_out += n;
        t->n_draft = n;
        p->n_tok += n;
        p->n_out += n;
    }
}

/* Only where all parts generate: a step that works on a prompt has better uses for its room. */
static void plan_speculate(ign_model *m) {
    struct plan *p = &m->plan;
    double expected = p->n_part;
    for (int i = 0; i < p->n_part; i++) {
        if (p->part[i].s->r.n_new == 0) {
            return;
        }
    }
    for (int i = 0; i < p->n_part; i++) {
        plan_guess(m, &p->part[i], &expected);
    }
}

static void plan_lay(struct plan *p) {
    int row = 0, out = 0;
    p->page_start[0] = 0;
    for (int i = 0; i < p->n_part; i++) {
        const struct part *t = &p->part[i];
        const ign_session *s = t->s;
        for (int k = 0; k < t->n_tok; k++, row++) {
            int pos = s->kv.n_tok + k;
            if (wants_row(s, pos)) {
                p->out[out++] = row;
            }
            p->tok[row] = s->tok[pos];
            p->pos[row] = pos;
            p->seq[row] = i;
        }
        memcpy(p->page + p->page_start[i], s->kv.page, (size_t)s->kv.n_page * sizeof *p->page);
        p->page_start[i + 1] = p->page_start[i] + s->kv.n_page;
    }
    assert(row == p->n_tok && out == p->n_out);
}

static void plan_fill(ign_model *m) {
    struct plan *p = &m->plan;
    int n_prefill = 0;
    p->n_tok = p->n_out = p->n_part = 0;
    for (int i = 0; i < m->n_session; i++) {
        n_prefill += running(session_at(m, i)) && needs(session_at(m, i)) > 1;
    }
    /* However many generate, prompts get a quarter of the step, or they would never start: of the
     * smallest step all of it, for prompts end. */
    int left = m->m->max_tok - (n_prefill ? (m->m->max_tok + 3) / 4 : 0);
    for (int i = 0; i < m->n_session && p->n_tok < left; i++) {
        ign_session *s = session_at(m, i);
        if (running(s) && needs(s) == 1) {
            plan_take(m, s, 1);
        }
    }
    for (int i = 0; i < m->n_session && n_prefill > 0; i++) {
        ign_session *s = session_at(m, i);
        if (running(s) && needs(s) > 1) {
            left = m->m->max_tok - p->n_tok;
            int share = (left + n_prefill - 1) / n_prefill;
            n_prefill--;
            plan_take(m, s, min_int(min_int(needs(s), share), CHUNK));
        }
    }
    if (p->n_part > 0) {
        if (m->speculate) {
            plan_speculate(m);
        }
        plan_lay(p);
    }
}

/* ---- the step and what comes of it ------------------------------------------------------------
 */

/* From here on a cancelled session counts down; the last one to go ends the step. The scheduler
 * counts as one while it is still arming, so that this cannot happen half-way. */
static void arm(ign_model *m) {
    __atomic_store_n(&m->give_up, 0, __ATOMIC_RELAXED);
    atomic_store(&m->live, 1);
    for (int i = 0; i < m->plan.n_part; i++) {
        int none = MARK_NONE;
        atomic_fetch_add(&m->live, 1);
        if (!atomic_compare_exchange_strong(&m->plan.part[i].s->mark, &none, MARK_STEP)) {
            atomic_fetch_sub(&m->live, 1);
        }
    }
    if (atomic_fetch_sub(&m->live, 1) == 1) {
        __atomic_store_n(&m->give_up, 1, __ATOMIC_RELEASE);
    }
}

static void disarm(ign_model *m) {
    for (int i = 0; i < m->plan.n_part; i++) {
        int step = MARK_STEP;
        atomic_compare_exchange_strong(&m->plan.part[i].s->mark, &step, MARK_NONE);
    }
}

/* The next token of a session that has logits. */
static void advance(ign_model *m, ign_session *s, int32_t draft) {
    int n = s->n_known;
    s->r.draft = draft;
    request_advance(s);
    if (m->speculate && s->n_known > n) {
        odds_see(&s->odds, s->tok[n]);
        lookup_learn(&s->lookup, s->tok, n + 1);
    }
}

/* The n rows of one part that come first, which begin at `row` of the step's logits. */
static void take_rows(ign_model *m, ign_session *s, int n, int row) {
    int n_vocab = m->m->cfg.n_vocab, first = s->kv.n_tok, k = 0;
    s->kv.n_tok += n;
    s->has_logits = false;
    for (int pos = first; pos < s->kv.n_tok; pos++) {
        if (!wants_row(s, pos)) {
            continue;
        }
        s->row = row + k++;
        s->has_logits = pos == s->n_known - 1;
        if (s->r.on_logits && pos >= s->r.first && s->r.n_new == 0) {
            session_keep_logits(s);
            s->r.on_logits(s->r.arg, pos, s->logits, n_vocab);
        }
    }
}

/* A token from what is known, then one from each guess while the guess before it was right: their
 * rows are what a step of their own would have computed. The others are as if they had never been:
 * their positions are written again. */
static void take_part(ign_model *m, const struct part *t, int row) {
    ign_session *s = t->s;
    take_rows(m, s, t->n_tok - t->n_draft, row);
    row += t->n_out - t->n_draft;
    s->r.n_drafted += t->n_draft;
    for (int left = t->n_draft; request_check(s) && needs(s) == 0; left--) {
        int32_t draft = left > 0 ? s->tok[s->n_known] : -1;
        advance(m, s, draft);
        if (draft < 0 || !running(s) || s->tok[s->n_known - 1] != draft) {
            break;
        }
        take_rows(m, s, 1, row++);
    }
    if (t->n_draft > 0) {
        kv_seq_truncate(&s->kv, &m->pool, s->kv.n_tok);
    }
}

/* A step overwrites the logits of the one before it: of those that run, who takes part gets others,
 * and who has no room in it keeps its own. */
static void leave_rows(ign_model *m) {
    m->plan.has_best = false;
    for (int i = 0; i < m->plan.n_part; i++) {
        m->plan.part[i].s->has_logits = false;
        m->plan.part[i].s->row = -1;
    }
    for (int i = 0; i < m->n_session; i++) {
        if (running(m->session[i])) {
            session_keep_logits(m->session[i]);
        }
    }
}

static void take_results(ign_model *m) {
    for (int i = 0, row = 0; i < m->plan.n_part; i++) {
        take_part(m, &m->plan.part[i], row);
        row += m->plan.part[i].n_out;
    }
}

/* The step came to nothing: what it wrote to the pages is void, and is written again. */
static void drop_results(ign_model *m) {
    for (int i = 0; i < m->plan.n_part; i++) {
        ign_session *s = m->plan.part[i].s;
        kv_seq_truncate(&s->kv, &m->pool, s->kv.n_tok);
        if (running(s)) {
            request_check(s);
        }
    }
}

static void end_all(ign_model *m, const struct err *why) {
    for (int i = 0; i < m->n_session; i++) {
        ign_session *s = m->session[i];
        if (atomic_load(&s->state) == SESSION_QUEUED) {
            request_begin(s);
        }
        if (running(s)) {
            request_end(s, IGN_STOP_ERROR, why);
        }
    }
}

/* Of a step that works on any prompt the time is the prompt's. */
static enum profile_phase plan_phase(const struct plan *p) {
    for (int i = 0; i < p->n_part; i++) {
        if (p->part[i].s->r.n_new == 0) {
            return PHASE_PREFILL;
        }
    }
    return PHASE_DECODE;
}

static enum err_code plan_run(ign_model *m, struct err *e) {
    const struct plan *p = &m->plan;
    struct step step = {.n_tok = p->n_tok,
                        .n_seq = p->n_part,
                        .n_out = p->n_out,
                        .tok = p->tok,
                        .pos = p->pos,
                        .seq = p->seq,
                        .out = p->out,
                        .page = p->page,
                        .page_start = p->page_start,
                        .cancel = &m->give_up};
    double start = m->now();
    if (m->profile) {
        profile_step(m->profile, plan_phase(p), p->n_tok);
    }
    leave_rows(m);
    arm(m);
    enum err_code c = model_forward(m->m, &step, e);
    disarm(m);
    if (c == ERR_OK) {
        if (p->n_out == p->n_tok) {
            costs_see(&m->costs, p->n_out, m->now() - start);
        }
        take_results(m);
        return ERR_OK;
    }
    drop_results(m);
    if (c == ERR_CANCELLED) {
        return ERR_OK;
    }
    end_all(m, e);
    return c;
}

ign_status ign_step(ign_model *m, int *n_busy, ign_error *e) {
    struct err err = {0};
    *n_busy = 0;
    profile_lap(m->profile, STAGE_CALLER);
    for (int i = 0; i < m->n_session; i++) {
        ign_session *s = m->session[i];
        if (atomic_load(&s->state) == SESSION_QUEUED) {
            request_begin(s);
        }
        if (running(s) && request_check(s) && needs(s) == 0) {
            advance(m, s, -1);
        }
    }
    plan_fill(m);
    m->turn = m->n_session ? (m->turn + 1) % m->n_session : 0;
    double start = os_now();
    enum err_code c = m->plan.n_tok ? plan_run(m, &err) : ERR_OK;
    double took = os_now() - start;
    for (int i = 0; i < m->n_session; i++) {
        int state = atomic_load(&m->session[i]->state);
        *n_busy += state == SESSION_QUEUED || state == SESSION_RUNNING;
    }
    if (m->profile) {
        profile_take(m->profile, STAGE_SCHEDULE);
        profile_step_end(m->profile);
    }
    model_settle(m->m, took);
    return c ? engine_fail(e, &err) : IGN_OK;
}
