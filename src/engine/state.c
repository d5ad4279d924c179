/* state.c: a session as a file: tokens, sampler and KV pages.
 *
 * Owns the format, version 5, all little-endian: the head (magic, version, identity of the model,
 * shape of its KV pages, counts), tokens u32 [n_known], the sampler's state, the pages that hold
 * computed positions, and a checksum of all of it. Written whole or not at all. Refuses files of
 * another model, another KV type or another version by name.
 * Invariant: a file is read as hostile: every count is compared with the bytes that are there
 * before it is used, the checksum before anything is believed, and the session is touched only
 * when nothing can fail any more.
 */
#include <assert.h>
#include <string.h>

#include "base/os.h"
#include "engine/engine.h"
#include "sample/state_bytes.h"

#define STATE_MAGIC    "IGNSTATE"
#define STATE_VERSION  5
#define STATE_CHECKSUM 8
#define TENSOR_SAMPLE  64 /* bytes of each tensor that identify a model, beside its directory */

/* ---- hashes --------------------------------------------------------------------------------- */

/* Every step is invertible in h and in the word, so one changed word always changes the result.
 * Against accidents and fuzzing, not against a forger: what a forger can write is checked too. */
static uint64_t hash_word(uint64_t h, uint64_t w) {
    h = (h ^ w) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

static uint64_t hash_bytes(uint64_t h, const void *p, size_t n) {
    const unsigned char *c = p;
    h = hash_word(h, n);
    for (; n >= 8; c += 8, n -= 8) {
        uint64_t w;
        memcpy(&w, c, 8);
        h = hash_word(h, w);
    }
    uint64_t w = 0;
    for (size_t i = 0; i < n; i++) {
        w |= (uint64_t)c[i] << (8 * i);
    }
    return hash_word(h, w);
}

/* The same for the same weights under the same numbers (a RoPE scaling changes the keys in the
 * cache, and no weight), wherever their file lies. */
static uint64_t model_identity(const struct model *m) {
    const struct gguf *g = m->file;
    size_t n_arch = strlen(m->cfg.arch);
    uint64_t h = 0;
    for (size_t i = 0; i < g->n_kv; i++) { /* "llama.block_count" and its like */
        const struct gguf_kv *kv = &g->kv[i];
        if (kv->key.n > n_arch && kv->key.p[n_arch] == '.' &&
            memcmp(kv->key.p, m->cfg.arch, n_arch) == 0) {
            h = hash_bytes(h, kv->key.p, kv->key.n);
            h = hash_bytes(h, kv->data, (size_t)kv->bytes);
        }
    }
    for (size_t i = 0; i < g->n_tensor; i++) {
        const struct gguf_tensor *t = &g->tensor[i];
        h = hash_bytes(h, t->name.p, t->name.n);
        h = hash_word(h, t->type);
        h = hash_word(h, t->bytes);
        size_t n = gguf_matrix_bytes(t);
        h = hash_bytes(h, gguf_matrix(t, 0), n < TENSOR_SAMPLE ? n : TENSOR_SAMPLE);
    }
    return h;
}

/* ---- the head ---------------------------------------------------------------------------------
 */

struct head {
    uint64_t identity;
    uint32_t type, n_layer, n_kv, d_head, page_tok;
    uint32_t n_known, n_computed;
    uint64_t sampler_bytes;
};

static struct head head_of(const ign_session *s) {
    const struct kern_kv *kv = &s->model->m->kv;
    return (struct head){.identity = model_identity(s->model->m),
                         .type = (uint32_t)kv->type,
                         .n_layer = (uint32_t)kv->n_layer,
                         .n_kv = (uint32_t)kv->n_kv,
                         .d_head = (uint32_t)kv->d_head,
                         .page_tok = (uint32_t)kv->page_tok,
                         .n_known = (uint32_t)s->n_known,
                         .n_computed = (uint32_t)s->kv.n_tok};
}

static void head_put(struct buf *out, const struct head *h) {
    buf_put(out, STATE_MAGIC, 8);
    state_put_u32(out, STATE_VERSION);
    state_put_u64(out, h->identity);
    state_put_u32(out, h->type);
    state_put_u32(out, h->n_layer);
    state_put_u32(out, h->n_kv);
    state_put_u32(out, h->d_head);
    state_put_u32(out, h->page_tok);
    state_put_u32(out, h->n_known);
    state_put_u32(out, h->n_computed);
    state_put_u64(out, h->sampler_bytes);
}

static enum err_code head_get(struct state_reader *r, struct head *h, struct err *e) {
    const unsigned char *magic = state_get(r, 8);
    if (!magic || memcmp(magic, STATE_MAGIC, 8) != 0) {
        return err_set(e, ERR_FORMAT, "not a saved session");
    }
    uint32_t version = state_get_u32(r);
    h->identity = state_get_u64(r);
    h->type = state_get_u32(r);
    h->n_layer = state_get_u32(r);
    h->n_kv = state_get_u32(r);
    h->d_head = state_get_u32(r);
    h->page_tok = state_get_u32(r);
    h->n_known = state_get_u32(r);
    h->n_computed = state_get_u32(r);
    h->sampler_bytes = state_get_u64(r);
    if (r->failed) {
        return err_set(e, ERR_FORMAT, "a saved session that is cut off in its head");
    }
    if (version != STATE_VERSION) {
        return err_set(e, ERR_UNSUPPORTED, "a saved session of version %u, not %d", version,
                       STATE_VERSION);
    }
    return ERR_OK;
}

/* Whether the session `s` could be what the head says. */
static enum err_code head_check(const struct head *h, const ign_session *s, struct err *e) {
    struct head own = head_of(s);
    if (h->identity != own.identity) {
        return err_set(e, ERR_USAGE, "the saved session belongs to another model");
    }
    if (h->type != own.type) {
        err_set(e, ERR_UNSUPPORTED, "the saved session's KV cache is %s, this one %s",
                dtype_kv_name(h->type), dtype_kv_name(own.type));
        err_hint(e, "open the model with the device and KV type that it was saved with");
        return ERR_UNSUPPORTED;
    }
    if (h->n_layer != own.n_layer || h->n_kv != own.n_kv || h->d_head != own.d_head ||
        h->page_tok != own.page_tok) {
        err_set(e, ERR_UNSUPPORTED, "the saved session's KV cache has another shape");
        err_hint(e, "open the model with the device that it was saved with");
        return ERR_UNSUPPORTED;
    }
    if (h->n_known > (uint32_t)s->context) {
        return err_set(e, ERR_NOFIT, "the saved session has %u tokens, this one room for %d",
                       h->n_known, s->context);
    }
    if (h->n_computed > h->n_known) {
        return err_set(e, ERR_FORMAT, "%u of %u tokens are computed", h->n_computed, h->n_known);
    }
    return ERR_OK;
}

static size_t pages_for(const ign_model *m, size_t n_tok) {
    return (n_tok + (size_t)m->pool.page_tok - 1) / (size_t)m->pool.page_tok;
}

/* ---- save -------------------------------------------------------------------------------------
 */

static enum err_code put_pages(const ign_session *s, struct buf *out, struct err *e) {
    const ign_model *m = s->model;
    size_t n = kern_kv_page_bytes(&m->m->kv);
    void *page = mem_alloc(n, 1);
    if (!page) {
        return err_set(e, ERR_NOMEM, "no memory for a KV page of %zu bytes", n);
    }
    for (size_t i = 0; i < pages_for(m, (size_t)s->kv.n_tok); i++) {
        m->m->kern->kv_read_page(m->m->dev, s->kv.page[i], page);
        buf_put(out, page, n);
    }
    mem_free(page);
    return ERR_OK;
}

ign_status ign_session_save(const ign_session *s, const char *path, ign_error *e) {
    struct err err = {0};
    struct buf out, sampler;
    struct head h;
    buf_init(&out, SIZE_MAX);
    buf_init(&sampler, SIZE_MAX);
    if (atomic_load(&s->state) != SESSION_IDLE) {
        err_set(&err, ERR_USAGE, "the session is busy");
        goto done;
    }
    h = head_of(s);
    if (gguf_lost(s->model->m->file)) {
        err_set(&err, ERR_IO, "the model's file can no longer be read");
        goto done;
    }
    sampler_save(&s->sampler, &sampler);
    h.sampler_bytes = sampler.len;
    head_put(&out, &h);
    for (int i = 0; i < s->n_known; i++) {
        state_put_u32(&out, (uint32_t)s->tok[i]);
    }
    buf_put(&out, sampler.p, sampler.len);
    if (put_pages(s, &out, &err)) {
        goto done;
    }
    if (out.p) {
        state_put_u64(&out, hash_bytes(0, out.p, out.len));
    }
    if (buf_check(&sampler, &err) || buf_check(&out, &err)) {
        goto done;
    }
    os_write_file(path, out.p, out.len, &err);
done:
    buf_fini(&sampler);
    buf_fini(&out);
    return err.code ? engine_fail(e, &err) : IGN_OK;
}

/* ---- load -------------------------------------------------------------------------------------
 */

/* What a file has brought, not yet the session's. */
struct loaded {
    struct head h;
    int32_t *tok; /* [context] */
    struct sampler sampler;
    const unsigned char *pages;
};

static void loaded_fini(struct loaded *l) {
    mem_free(l->tok);
    sampler_fini(&l->sampler);
}

static enum err_code get_tokens(struct loaded *l, const ign_session *s, struct state_reader *r,
                                struct err *e) {
    l->tok = mem_alloc((size_t)s->context, sizeof *l->tok);
    if (!l->tok) {
        return err_set(e, ERR_NOMEM, "no memory for %d tokens", s->context);
    }
    for (uint32_t i = 0; i < l->h.n_known; i++) {
        uint32_t id = state_get_u32(r);
        if (r->failed || id >= (uint32_t)s->model->m->cfg.n_vocab) {
            return err_set(e, ERR_FORMAT, "token %u is %u, not in the vocabulary", i, id);
        }
        l->tok[i] = (int32_t)id;
    }
    return ERR_OK;
}

static enum err_code get_sampler(struct loaded *l, const ign_session *s, struct state_reader *r,
                                 struct err *e) {
    struct sampler_opts plain = session_opts(NULL);
    size_t used = 0;
    const unsigned char *p = state_get(r, (size_t)l->h.sampler_bytes);
    if (!p) {
        return err_set(e, ERR_FORMAT, "a sampler state of %llu bytes",
                       (unsigned long long)l->h.sampler_bytes);
    }
    enum err_code c;
    if ((c = sampler_init(&l->sampler, &plain, s->model->m->cfg.n_vocab, e)) ||
        (c = sampler_load(&l->sampler, p, (size_t)l->h.sampler_bytes, &used, e))) {
        return c;
    }
    if (used != l->h.sampler_bytes) {
        return err_set(e, ERR_FORMAT, "a sampler state of %llu bytes, of which %zu are known",
                       (unsigned long long)l->h.sampler_bytes, used);
    }
    return ERR_OK;
}

static enum err_code state_parse(struct loaded *l, const ign_session *s, const void *p, size_t n,
                                 struct err *e) {
    struct state_reader r = {.p = p, .n = n};
    struct state_reader sum = {.p = p, .n = n, .at = n < STATE_CHECKSUM ? 0 : n - STATE_CHECKSUM};
    enum err_code c = head_get(&r, &l->h, e);
    if (c) {
        return c;
    }
    if (state_get_u64(&sum) != hash_bytes(0, p, n - STATE_CHECKSUM)) {
        return err_set(e, ERR_FORMAT, "a saved session whose checksum is wrong");
    }
    if ((c = head_check(&l->h, s, e)) || (c = get_tokens(l, s, &r, e)) ||
        (c = get_sampler(l, s, &r, e))) {
        return c;
    }
    size_t bytes = pages_for(s->model, l->h.n_computed) * kern_kv_page_bytes(&s->model->m->kv);
    l->pages = state_get(&r, bytes);
    if (!l->pages || r.n - r.at != STATE_CHECKSUM) {
        return err_set(e, ERR_FORMAT, "KV pages of %zu bytes, not %zu", n - r.at, bytes);
    }
    return ERR_OK;
}

/* Pages that are free, or will be when this session has given up its own. */
static size_t pages_within_reach(const ign_session *s) {
    const struct kv_pool *pool = &s->model->pool;
    size_t n = (size_t)pool->n_free;
    for (int i = 0; i < s->kv.n_page; i++) {
        n += pool->owners[s->kv.page[i]] == 1;
    }
    return n;
}

/* The session becomes what was loaded; nothing fails here. */
static void state_apply(ign_session *s, struct loaded *l) {
    ign_model *m = s->model;
    size_t page_bytes = kern_kv_page_bytes(&m->m->kv);
    kv_seq_truncate(&s->kv, &m->pool, 0);
    enum err_code c = kv_seq_reserve(&s->kv, &m->pool, (int)l->h.n_computed, NULL);
    assert(c == ERR_OK); /* pages_within_reach has counted */
    (void)c;
    for (int i = 0; i < s->kv.n_page; i++) {
        m->m->kern->kv_write_page(m->m->dev, s->kv.page[i], l->pages + (size_t)i * page_bytes);
    }
    s->kv.n_tok = (int)l->h.n_computed;
    s->n_known = (int)l->h.n_known;
    s->has_logits = false;
    lookup_forget(&s->lookup);
    int32_t *tok = s->tok;
    struct sampler sampler = s->sampler;
    s->tok = l->tok;
    s->sampler = l->sampler;
    l->tok = tok;
    l->sampler = sampler;
}

/* No file that this session could have written is longer. */
static size_t state_max(const ign_session *s) {
    size_t n_vocab = (size_t)s->model->m->cfg.n_vocab;
    return 4096 + (size_t)s->context * 4 + n_vocab * 8 + 4 * 32768 +
           (size_t)s->kv.cap * kern_kv_page_bytes(&s->model->m->kv);
}

ign_status ign_session_load(ign_session *s, const char *path, ign_error *e) {
    struct err err = {0};
    struct loaded l = {0};
    char *p = NULL;
    size_t n = 0;
    if (!session_claim(s)) {
        err_set(&err, ERR_USAGE, "the session is busy");
        return engine_fail(e, &err);
    }
    if (os_read_file(path, state_max(s), &p, &n, &err)) {
        goto done;
    }
    if (state_parse(&l, s, p, n, &err)) {
        err_where(&err, "%s", path);
        goto done;
    }
    if (pages_for(s->model, l.h.n_computed) > pages_within_reach(s)) {
        err_set(&err, ERR_NOFIT, "%u positions do not fit in the free KV memory", l.h.n_computed);
        goto done;
    }
    state_apply(s, &l);
done:
    loaded_fini(&l);
    mem_free(p);
    session_release(s);
    return err.code ? engine_fail(e, &err) : IGN_OK;
}
