/* embed.c: texts to vectors: ign_embed.
 *
 * Owns the cutting of long texts, the laying of whole texts end to end into steps, and pooling.
 * A step takes as many whole texts as fit; a decoder, through the ordinary forward, takes pages of
 * the KV pool for each, which are its own meanwhile, and a text longer than a step takes several.
 * Invariant: a text's vector does not depend on the texts beside it, and on any error nothing of
 * the pool is kept.
 */
#include <math.h>
#include <string.h>

#include "base/os.h"
#include "engine/engine.h"
#include "model/encoder_forward.h"

/* One call of ign_embed. */
struct embedding {
    ign_model *m;
    const ign_embed_request *r;
    enum model_pooling pooling;
    int dim;
    struct ids ids;      /* of all texts */
    size_t *at;          /* [n_text + 1] where each text's begin */
    int32_t *page_start; /* [max_tok + 1] where each part's pages begin; a decoder's */
    float *row;   /* [max_tok, dim] vectors of a step's tokens, on their way out of the device */
    double *sum;  /* [dim] of one text */
    double count; /* vectors in it */
};

/* ---- texts to ids ------------------------------------------------------------------------ */

/* Keeps `most` ids of the text that begins at `at`, the end token among them where it has one. */
static int cut_text(struct ids *ids, size_t at, size_t most, const struct vocab *v) {
    size_t n = ids->n - at;
    if (n <= most) {
        return 0;
    }
    int32_t last = ids->id[ids->n - 1];
    if (last == vocab_eos(v)) {
        ids->id[at + most - 1] = last;
    }
    ids->n = at + most;
    return (int)(n - most);
}

/* Bytes from the front of text[0..n) that are looked at first, so that a line as long as a book is
 * not tokenized whole for its first page: enough for `most` ids of common text; what is cut off in
 * the middle of a word is far behind them. */
enum { SPARE_IDS = 128, BYTES_PER_ID = 16 };

/* The ids of a text, at most x->m->context, or what the model's folder says. What lies behind `end`
 * bytes can change the ids of the last words before it, and no others. */
static enum err_code encode_text(struct embedding *x, const char *text, size_t n, int *cut,
                                 struct err *e) {
    const struct model *m = x->m->m;
    size_t at = x->ids.n, most = (size_t)x->m->context, own = (size_t)m->cfg.text_max;
    most = own && own < most ? own : most;
    size_t end = (most + SPARE_IDS) * BYTES_PER_ID;
    for (;; end *= 2) {
        end = end < n ? end : n;
        while (end < n && ((unsigned char)text[end] & 0xc0) == 0x80) {
            end++; /* not in the middle of a character */
        }
        x->ids.n = at;
        enum err_code rc =
            tokenizer_encode(m->tok, text, end, NULL, false, BOS_AUTO, 0, &x->ids, e);
        if (rc || os_stopped(x->r->cancel)) {
            return rc ? rc : err_set(e, ERR_CANCELLED, "interrupted");
        }
        if (end == n || x->ids.n - at >= most + SPARE_IDS) {
            *cut = cut_text(&x->ids, at, most, m->vocab);
            return ERR_OK;
        }
    }
}

static enum err_code encode_texts(struct embedding *x, struct err *e) {
    const ign_embed_request *r = x->r;
    struct str prompt = r->prompt ? str_c(r->prompt) : x->m->m->prompt;
    struct buf both;
    enum err_code rc = ERR_OK;
    buf_init(&both, SIZE_MAX);
    for (size_t i = 0; i < r->n_text && !rc; i++) {
        int cut = 0;
        struct str text = str_of(r->text[i], r->n_bytes ? r->n_bytes[i] : strlen(r->text[i]));
        x->at[i] = x->ids.n;
        if (prompt.n) {
            buf_reset(&both);
            buf_put(&both, prompt.p, prompt.n);
            buf_put(&both, text.p, text.n);
            rc = buf_check(&both, e);
            text = str_of(both.p, both.len);
        }
        rc = rc ? rc : encode_text(x, text.p, text.n, &cut, e);
        if (r->cut) {
            r->cut[i] = cut;
        }
        if (r->tokens) {
            r->tokens[i] = (int)(x->ids.n - x->at[i]);
        }
    }
    x->at[r->n_text] = x->ids.n;
    buf_fini(&both);
    return rc;
}

/* ---- vectors of tokens to one ------------------------------------------------------------- */

static void pool_begin(struct embedding *x) {
    memset(x->sum, 0, (size_t)x->dim * sizeof *x->sum);
    x->count = 0;
}

/* Adds those of n tokens, from `row` of the step's on, that count; `first` and `last`: whether
 * these are the first and the last of the text. */
static void pool_rows(struct embedding *x, kern_ref from, int row, int n, bool first, bool last) {
    struct model *m = x->m->m;
    int begin = x->pooling == POOL_LAST ? n - 1 : 0, end = x->pooling == POOL_CLS ? 1 : n;
    if ((x->pooling == POOL_CLS && !first) || (x->pooling == POOL_LAST && !last)) {
        return;
    }
    size_t dim = (size_t)x->dim;
    m->kern->read(m->dev, from + (size_t)(row + begin) * dim, x->row, (size_t)(end - begin) * dim);
    for (int t = 0; t < end - begin; t++) {
        for (size_t i = 0; i < dim; i++) {
            x->sum[i] += x->row[(size_t)t * dim + i];
        }
    }
    x->count += end - begin;
}

/* Of no token at all the vector is zero. */
static void pool_end(const struct embedding *x, float *to) {
    double square = 0;
    for (int i = 0; i < x->dim; i++) {
        double v = x->count > 0 ? x->sum[i] / x->count : 0;
        to[i] = (float)v;
        square += v * v;
    }
    double scale = !x->r->unscaled && square > 0 ? 1 / sqrt(square) : 1;
    for (int i = 0; i < x->dim; i++) {
        to[i] = (float)(to[i] * scale);
    }
}

/* ---- steps --------------------------------------------------------------------------------- */

/* n ids of text i, from its position `pos` on, behind what is in the step. */
static void lay_text(struct embedding *x, size_t i, int pos, int n) {
    struct plan *p = &x->m->plan;
    for (int k = 0; k < n; k++, p->n_tok++) {
        p->tok[p->n_tok] = x->ids.id[x->at[i] + (size_t)(pos + k)];
        p->pos[p->n_tok] = pos + k;
        p->seq[p->n_tok] = p->n_part;
    }
    p->n_part += n > 0;
}

static struct step step_of(const struct embedding *x) {
    const struct plan *p = &x->m->plan;
    return (struct step){.n_tok = p->n_tok,
                         .n_seq = p->n_part,
                         .tok = p->tok,
                         .pos = p->pos,
                         .seq = p->seq,
                         .cancel = x->r->cancel};
}

static int text_tokens(const struct embedding *x, size_t i) {
    return (int)(x->at[i + 1] - x->at[i]);
}

/* Lays whole texts from `first` on while they fit, an encoder's first one always; returns the one
 * behind them. A decoder's have pages of their own, of those that are free. */
static size_t lay_texts(struct embedding *x, size_t first) {
    struct plan *p = &x->m->plan;
    const struct kv_pool *pool = &x->m->pool;
    size_t i = first;
    p->n_tok = p->n_part = 0;
    x->page_start[0] = 0;
    for (; i < x->r->n_text; i++) {
        int n = text_tokens(x, i);
        int page = x->m->m->cfg.encoder ? 0 : (n + pool->page_tok - 1) / pool->page_tok;
        int in_use = x->page_start[p->n_part];
        if (p->n_tok + n > x->m->m->max_tok || (p->n_part > 0 && page > pool->n_free - in_use)) {
            break;
        }
        lay_text(x, i, 0, n);
        x->page_start[p->n_part] = in_use + page;
    }
    return i;
}

/* The vectors of texts first..end, whose tokens' are the rows of `from`. */
static void pool_texts(struct embedding *x, kern_ref from, size_t first, size_t end) {
    for (int row = 0; first < end; first++) {
        int n = text_tokens(x, first);
        pool_begin(x);
        if (n > 0) {
            pool_rows(x, from, row, n, true, true);
        }
        pool_end(x, x->r->vector + first * (size_t)x->dim);
        row += n;
    }
}

static enum err_code encoder_step(struct embedding *x, size_t *next, struct err *e) {
    size_t end = lay_texts(x, *next);
    struct step s = step_of(x);
    enum err_code rc = s.n_tok ? encoder_forward(x->m->m, &s, e) : ERR_OK;
    if (!rc) {
        pool_texts(x, x->m->m->b.x, *next, end);
    }
    *next = end;
    return rc;
}

static enum err_code reserve(struct embedding *x, struct kv_seq *kv, int n, struct err *e) {
    enum err_code rc = kv_seq_reserve(kv, &x->m->pool, n, e);
    if (rc) {
        err_hint(e, "close or shorten sessions, or open the model with a longer context");
    }
    return rc;
}

/* Text i, in as many steps as it needs. */
static enum err_code decode_text(struct embedding *x, size_t i, struct kv_seq *kv, struct err *e) {
    ign_model *m = x->m;
    int n = text_tokens(x, i);
    pool_begin(x);
    for (int pos = 0, k; pos < n; pos += k) {
        k = n - pos < m->m->max_tok ? n - pos : m->m->max_tok;
        enum err_code rc = reserve(x, kv, k, e);
        if (rc) {
            return rc;
        }
        m->plan.n_tok = m->plan.n_part = 0;
        lay_text(x, i, pos, k);
        struct step s = step_of(x);
        int32_t page_start[2] = {0, kv->n_page};
        s.page = kv->page;
        s.page_start = page_start;
        if ((rc = model_hidden(m->m, &s, e))) {
            return rc;
        }
        kv->n_tok += k;
        pool_rows(x, m->m->b.h, 0, k, pos == 0, pos + k == n);
    }
    pool_end(x, x->r->vector + i * (size_t)x->dim);
    return ERR_OK;
}

/* Texts first..end, which have been laid: their pages are parts of one table. */
static enum err_code decode_texts(struct embedding *x, size_t first, size_t end, struct kv_seq *kv,
                                  struct err *e) {
    struct step s = step_of(x);
    enum err_code rc = reserve(x, kv, x->page_start[s.n_seq] * x->m->pool.page_tok, e);
    s.page = kv->page;
    s.page_start = x->page_start;
    if (!rc && s.n_tok > 0) {
        rc = model_hidden(x->m->m, &s, e);
    }
    if (!rc) {
        pool_texts(x, x->m->m->b.h, first, end);
    }
    return rc;
}

static enum err_code decoder_step(struct embedding *x, size_t *next, struct err *e) {
    struct kv_seq kv = {0};
    size_t first = *next, end = lay_texts(x, first);
    enum err_code rc = kv_seq_init(&kv, &x->m->pool, x->m->pool.n_page * x->m->pool.page_tok, e);
    if (!rc) {
        rc = end > first ? decode_texts(x, first, end, &kv, e) : decode_text(x, first, &kv, e);
    }
    kv_seq_fini(&kv, &x->m->pool);
    *next = end > first ? end : first + 1;
    return rc;
}

/* ---- the call ------------------------------------------------------------------------------ */

static enum err_code choose_pooling(struct embedding *x, struct err *e) {
    static const enum model_pooling of[] = {
        [IGN_POOL_MEAN] = POOL_MEAN, [IGN_POOL_CLS] = POOL_CLS, [IGN_POOL_LAST] = POOL_LAST};
    const struct config *c = &x->m->m->cfg;
    unsigned asked = (unsigned)x->r->pooling;
    if (asked >= sizeof of / sizeof *of) {
        return err_set(e, ERR_RANGE, "pooling is %u, not in 0..3", asked);
    }
    if (asked == IGN_POOL_AUTO && c->pooling == POOL_RANK) {
        err_set(e, ERR_UNSUPPORTED, "the model ranks texts: it has no vector for one");
        err_where(e, "%s", x->m->m->file->path);
        err_hint(e, "take a model for embeddings");
        return ERR_UNSUPPORTED;
    }
    x->pooling = asked ? of[asked] : c->pooling ? c->pooling : POOL_MEAN;
    return ERR_OK;
}

static enum err_code prepare(struct embedding *x, struct err *e) {
    const struct model *m = x->m->m;
    size_t n = 0;
    x->dim = m->cfg.d_model;
    if (!x->m->loaded) {
        return err_set(e, ERR_USAGE, "the model was opened without its weights");
    }
    if (x->r->n_text > 0 && (!x->r->text || !x->r->vector)) {
        return err_set(e, ERR_USAGE, "no texts, or no room for their vectors");
    }
    enum err_code rc = choose_pooling(x, e);
    if (rc) {
        return rc;
    }
    x->at = x->r->n_text < SIZE_MAX ? mem_alloc(x->r->n_text + 1, sizeof *x->at) : NULL;
    x->sum = mem_alloc((size_t)x->dim, sizeof *x->sum);
    x->row = size_mul((size_t)m->max_tok, (size_t)x->dim, &n) ? mem_alloc(n, sizeof *x->row) : NULL;
    x->page_start = mem_alloc((size_t)m->max_tok + 1, sizeof *x->page_start);
    if (!x->at || !x->sum || !x->row || !x->page_start) {
        return err_set(e, ERR_NOMEM, "no memory to embed %zu texts", x->r->n_text);
    }
    return encode_texts(x, e);
}

ign_status ign_embed(ign_model *m, const ign_embed_request *r, ign_error *e) {
    struct err err = {0};
    struct embedding x = {.m = m, .r = r};
    enum err_code rc = prepare(&x, &err);
    for (size_t i = 0; !rc && i < r->n_text;) {
        rc = m->m->cfg.encoder ? encoder_step(&x, &i, &err) : decoder_step(&x, &i, &err);
    }
    ids_fini(&x.ids);
    mem_free(x.at);
    mem_free(x.page_start);
    mem_free(x.row);
    mem_free(x.sum);
    return rc ? engine_fail(e, &err) : IGN_OK;
}
