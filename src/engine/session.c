/* session.c: one conversation: its tokens, pages and sampler, which fork and truncate together.
 *
 * Owns struct ign_session's life, the hand-over of a request from any thread to the owner's, and
 * the changes to an idle session. Refuses to compute: scheduler.c does.
 * Invariant: whoever changes a session has claimed it; a failed call leaves it as it was.
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/os.h"
#include "engine/engine.h"

_Static_assert(sizeof(ign_logit_bias) == sizeof(struct logit_bias) &&
                   offsetof(ign_logit_bias, bias) == offsetof(struct logit_bias, bias),
               "the interface's biases are the sampler's");

#define SECONDS_MAX 1e9

/* ---- sampling ----------------------------------------------------------------------------- */

void ign_sampling_default(ign_sampling *s) {
    *s = (ign_sampling){
        .temperature = 0.7f, .top_k = 40, .top_p = 0.9f, .typical = 1, .repeat_penalty = 1};
}

struct sampler_opts session_opts(const ign_sampling *o) {
    ign_sampling standard;
    if (!o) {
        ign_sampling_default(&standard);
        o = &standard;
    }
    return (struct sampler_opts){.temperature = o->temperature,
                                 .top_k = o->top_k,
                                 .top_p = o->top_p,
                                 .min_p = o->min_p,
                                 .typical = o->typical,
                                 .repeat_penalty = o->repeat_penalty,
                                 .presence_penalty = o->presence_penalty,
                                 .frequency_penalty = o->frequency_penalty,
                                 .seed = o->seed,
                                 .bias = (const struct logit_bias *)o->bias,
                                 .n_bias = o->n_bias};
}

/* The history is that of the tokens that are there. */
static void remember(struct sampler *p, const int32_t *tok, int n) {
    sampler_forget(p);
    for (int i = n > p->o.penalty_last ? n - p->o.penalty_last : 0; i < n; i++) {
        sampler_accept(p, tok[i]);
    }
}

/* ---- claiming ----------------------------------------------------------------------------- */

bool session_claim(ign_session *s) {
    int idle = SESSION_IDLE;
    return atomic_compare_exchange_strong(&s->state, &idle, SESSION_CLAIMED);
}

void session_release(ign_session *s) {
    atomic_store(&s->state, SESSION_IDLE);
}

static ign_status busy(ign_error *e) {
    struct err err = {0};
    err_set(&err, ERR_USAGE, "the session is busy");
    err_hint(&err, "wait for the last event of its request");
    return engine_fail(e, &err);
}

/* ---- life --------------------------------------------------------------------------------- */

/* Memory for n bytes of text, so that the token loop takes none. */
static enum err_code text_reserve(struct buf *b, size_t n, struct err *e) {
    static const char zeros[256];
    buf_reset(b);
    while (b->len < n && !b->failed) {
        buf_put(b, zeros, sizeof zeros);
    }
    enum err_code c = buf_check(b, e);
    buf_reset(b);
    return c;
}

static enum err_code session_init(ign_session *s, ign_model *m, int context,
                                  const struct sampler_opts *o, struct err *e) {
    int n_vocab = m->m->cfg.n_vocab;
    enum err_code c;
    s->model = m;
    s->context = context;
    s->row = -1;
    buf_init(&s->piece, (size_t)1 << 24);
    buf_init(&s->text, (size_t)1 << 24);
    s->tok = mem_alloc((size_t)context, sizeof *s->tok);
    s->logits = mem_alloc((size_t)n_vocab, sizeof *s->logits);
    if (!s->tok || !s->logits) {
        return err_set(e, ERR_NOMEM, "no memory for a session of %d positions", context);
    }
    if ((c = kv_seq_init(&s->kv, &m->pool, context, e)) ||
        (c = sampler_init(&s->sampler, o, n_vocab, e)) ||
        (c = text_reserve(&s->piece, m->piece_max, e)) ||
        (m->speculate && (c = lookup_init(&s->lookup, context, e)))) {
        return c;
    }
    return text_reserve(&s->text, m->piece_max, e);
}

/* Puts it on the model's list. */
static enum err_code session_join(ign_session *s, struct err *e) {
    ign_model *m = s->model;
    size_t n_page = (size_t)s->kv.cap;
    for (int i = 0; i < m->n_session; i++) {
        n_page += (size_t)m->session[i]->kv.cap;
    }
    ign_session **list = mem_realloc(m->session, (size_t)m->n_session + 1, sizeof *list);
    if (!list) {
        return err_set(e, ERR_NOMEM, "no memory for %d sessions", m->n_session + 1);
    }
    m->session = list;
    enum err_code c = plan_grow(&m->plan, m->n_session + 1, n_page, e);
    if (!c) {
        m->session[m->n_session++] = s;
    }
    return c;
}

static ign_session *session_new(ign_model *m, int context, const struct sampler_opts *o,
                                struct err *e) {
    ign_session *s = mem_zalloc(1, sizeof *s);
    if (!s) {
        err_set(e, ERR_NOMEM, "no memory for a session");
        return NULL;
    }
    if (session_init(s, m, context, o, e) || session_join(s, e)) {
        ign_session_free(s);
        return NULL;
    }
    return s;
}

ign_status ign_session_create(ign_model *m, int context, const ign_sampling *sampling,
                              ign_session **s, ign_error *e) {
    struct err err = {0};
    struct sampler_opts o = session_opts(sampling);
    *s = NULL;
    if (!m->loaded) {
        err_set(&err, ERR_USAGE, "the model was opened without its weights");
    } else if (!config_has_logits(&m->m->cfg)) {
        err_set(&err, ERR_UNSUPPORTED,
                "a model of the kind '%s' without an output matrix reads texts and writes none",
                m->m->cfg.arch);
        err_where(&err, "%s", m->m->file->path);
        err_hint(&err, "it is for `ign embed`; take a language model to generate text");
    } else if (context < 0 || context > m->context) {
        err_set(&err, ERR_RANGE, "session context is %d, not in 0..%d", context, m->context);
        err_hint(&err, "open the model with a longer context");
    } else {
        *s = session_new(m, context ? context : m->context, &o, &err);
    }
    return *s ? IGN_OK : engine_fail(e, &err);
}

void ign_session_free(ign_session *s) {
    if (!s) {
        return;
    }
    ign_model *m = s->model;
    for (int i = 0; i < m->n_session; i++) {
        if (m->session[i] == s) {
            memmove(m->session + i, m->session + i + 1,
                    (size_t)(m->n_session - i - 1) * sizeof(ign_session *));
            m->n_session--;
        }
    }
    stop_fini(&s->r.stop);
    buf_fini(&s->text);
    buf_fini(&s->piece);
    lookup_fini(&s->lookup);
    sampler_fini(&s->sampler);
    kv_seq_fini(&s->kv, &m->pool);
    mem_free(s->logits);
    mem_free(s->tok);
    mem_free(s);
}

/* ---- requests ----------------------------------------------------------------------------- */

static enum err_code check_request(const ign_session *s, const ign_request *r, struct err *e) {
    int n_vocab = s->model->m->cfg.n_vocab;
    if (r->n_ids > (size_t)(s->context - s->n_known)) {
        err_set(e, ERR_NOFIT, "%zu tokens after %d do not fit in a context of %d", r->n_ids,
                s->n_known, s->context);
        err_hint(e, "shorten the prompt or open the model with a longer context");
        return ERR_NOFIT;
    }
    if (r->n_ids == 0 && s->n_known == 0) {
        return err_set(e, ERR_USAGE, "no tokens to start from");
    }
    for (size_t i = 0; i < r->n_ids; i++) {
        if (r->ids[i] < 0 || r->ids[i] >= n_vocab) {
            return err_set(e, ERR_RANGE, "token %zu is %d, not in 0..%d", i, r->ids[i],
                           n_vocab - 1);
        }
    }
    if (r->max_tokens < 0) {
        return err_set(e, ERR_RANGE, "max_tokens is %d, less than 0", r->max_tokens);
    }
    if (!(r->seconds >= 0 && r->seconds <= SECONDS_MAX)) {
        return err_set(e, ERR_RANGE, "time limit is %g seconds, not in 0..%g", r->seconds,
                       SECONDS_MAX);
    }
    if (r->logprobs < -1 || r->logprobs > LOGPROBS_MAX || r->logprobs > n_vocab) {
        return err_set(e, ERR_RANGE, "logprobs is %d, not in -1..%d", r->logprobs, LOGPROBS_MAX);
    }
    return ERR_OK;
}

ign_status ign_session_submit(ign_session *s, const ign_request *r, ign_error *e) {
    struct err err = {0};
    struct stop stop = {0};
    if (!session_claim(s)) {
        return busy(e);
    }
    if (check_request(s, r, &err) || stop_init(&stop, r->stop, r->n_stop, &err) ||
        text_reserve(&s->text, s->model->piece_max + stop_held_max(&stop), &err)) {
        stop_fini(&stop);
        session_release(s);
        return engine_fail(e, &err);
    }
    if (r->n_ids) {
        memcpy(s->tok + s->n_known, r->ids, r->n_ids * sizeof *r->ids);
    }
    double now = os_now();
    stop_fini(&s->r.stop);
    s->r = (struct request){.n_ids = (int)r->n_ids,
                            .max_tokens = r->max_tokens,
                            .draft = -1,
                            .logprobs = r->logprobs,
                            .ignore_eos = r->ignore_eos,
                            .deadline = r->seconds > 0 ? now + r->seconds : 0,
                            .t_submit = now,
                            .stop = stop,
                            .on_event = r->on_event,
                            .on_logits = r->on_logits,
                            .arg = r->arg};
    atomic_store(&s->mark, MARK_NONE);
    atomic_store(&s->state, SESSION_QUEUED);
    return IGN_OK;
}

void ign_session_cancel(ign_session *s) {
    if (atomic_load(&s->state) == SESSION_IDLE) {
        return;
    }
    ign_model *m = s->model;
    if (atomic_exchange(&s->mark, MARK_CANCEL) == MARK_STEP && atomic_fetch_sub(&m->live, 1) == 1) {
        __atomic_store_n(&m->give_up, 1, __ATOMIC_RELEASE);
    }
}

/* ---- looking ------------------------------------------------------------------------------ */

const int32_t *ign_session_tokens(const ign_session *s, size_t *n) {
    int known = s->n_known;
    /* Only then is the request the owner's: another thread may be submitting the next one. */
    if (atomic_load(&s->state) == SESSION_RUNNING && s->r.n_new == 0) {
        known = s->kv.n_tok > s->r.first ? s->kv.n_tok : s->r.first;
    }
    *n = (size_t)known;
    return s->tok;
}

int ign_session_context(const ign_session *s) {
    return s->context;
}

/* Each time that somebody asks, for the session cannot note that it has them. */
static void read_logits(const ign_session *s) {
    const struct model *m = s->model->m;
    size_t n = (size_t)m->cfg.n_vocab;
    if (s->row >= 0) {
        m->kern->read(m->dev, m->b.logits + (kern_ref)s->row * n, s->logits, n);
    }
}

void session_keep_logits(ign_session *s) {
    read_logits(s);
    s->row = -1;
}

const float *ign_session_logits(const ign_session *s) {
    if (!s->has_logits) {
        return NULL;
    }
    read_logits(s);
    return s->logits;
}

void ign_session_get_timing(const ign_session *s, ign_timing *t) {
    const struct request *r = &s->r;
    *t = (ign_timing){.prompt_tokens = r->n_prompt,
                      .new_tokens = r->n_new,
                      .drafted_tokens = r->n_drafted,
                      .accepted_tokens = r->n_accepted,
                      .prefill_seconds = r->t_first > 0 ? r->t_first - r->t_submit : 0,
                      .decode_seconds = r->t_first > 0 ? r->t_last - r->t_first : 0};
}

/* ---- changing an idle session --------------------------------------------------------------- */

void session_cut(ign_session *s, int n) {
    if (n < s->kv.n_tok) {
        s->has_logits = false;
    }
    /* Drops pages that a step which came to nothing had reserved, too. */
    kv_seq_truncate(&s->kv, &s->model->pool, n < s->kv.n_tok ? n : s->kv.n_tok);
    s->n_known = n;
    lookup_forget(&s->lookup);
    remember(&s->sampler, s->tok, n);
}

ign_status ign_session_truncate(ign_session *s, size_t n, ign_error *e) {
    struct err err = {0};
    if (!session_claim(s)) {
        return busy(e);
    }
    if (n > (size_t)s->n_known) {
        err_set(&err, ERR_RANGE, "cannot keep %zu of %d tokens", n, s->n_known);
    } else {
        session_cut(s, (int)n);
    }
    session_release(s);
    return err.code ? engine_fail(e, &err) : IGN_OK;
}

static enum err_code repeat_pages(ign_session *s, int n, struct err *e) {
    ign_model *m = s->model;
    int full = s->kv.n_tok / m->pool.page_tok, from = full * m->pool.page_tok;
    if (full == 0 || n > s->context) {
        return err_set(e, full ? ERR_NOFIT : ERR_USAGE, "cannot make %d positions out of %d", n,
                       s->kv.n_tok);
    }
    session_cut(s, from);
    enum err_code c = kv_seq_reserve(&s->kv, &m->pool, n - from, e);
    if (c) {
        return c;
    }
    for (int i = full; i < s->kv.n_page; i++) {
        m->m->kern->kv_copy_page(m->m->dev, s->kv.page[i], s->kv.page[i % full]);
    }
    for (int i = from; i < n; i++) {
        s->tok[i] = s->tok[i % from];
    }
    s->kv.n_tok = s->n_known = n;
    return ERR_OK;
}

ign_status session_repeat(ign_session *s, int n, ign_error *e) {
    struct err err = {0};
    if (!session_claim(s)) {
        return busy(e);
    }
    if (n > s->n_known) {
        repeat_pages(s, n, &err);
    }
    session_release(s);
    return err.code ? engine_fail(e, &err) : IGN_OK;
}

ign_status ign_session_set_sampling(ign_session *s, const ign_sampling *sampling, ign_error *e) {
    struct err err = {0};
    struct sampler fresh;
    struct sampler_opts o = session_opts(sampling);
    if (!session_claim(s)) {
        return busy(e);
    }
    if (!sampler_init(&fresh, &o, s->model->m->cfg.n_vocab, &err)) {
        remember(&fresh, s->tok, s->n_known);
        sampler_fini(&s->sampler);
        s->sampler = fresh;
    }
    session_release(s);
    return err.code ? engine_fail(e, &err) : IGN_OK;
}

ign_status ign_session_fork(const ign_session *s, ign_session **copy, ign_error *e) {
    struct err err = {0};
    *copy = NULL;
    if (atomic_load(&s->state) != SESSION_IDLE) {
        return busy(e);
    }
    ign_session *c = session_new(s->model, s->context, &s->sampler.o, &err);
    if (!c || sampler_copy(&c->sampler, &s->sampler, &err) ||
        kv_seq_fork(&c->kv, &s->kv, &s->model->pool, &err)) {
        ign_session_free(c);
        return engine_fail(e, &err);
    }
    memcpy(c->tok, s->tok, (size_t)s->n_known * sizeof *s->tok);
    c->n_known = s->n_known;
    c->odds = s->odds;
    c->has_logits = s->has_logits;
    assert(s->row < 0); /* no request runs */
    if (s->has_logits) {
        memcpy(c->logits, s->logits, (size_t)s->model->m->cfg.n_vocab * sizeof *s->logits);
    }
    *copy = c;
    return IGN_OK;
}
