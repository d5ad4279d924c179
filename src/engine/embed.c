/* embed.c: texts to vectors: ign_embed.
 *
 * Owns the cutting of long texts, the laying of whole texts end to end into steps, and pooling.
 * An encoder takes as many texts in a step as fit; a decoder one text at a time, in as many steps
 * as it needs, through the ordinary forward and pages of the KV pool that are its own meanwhile.
 * Invariant: a text's vector does not depend on the texts beside it, and on any error nothing of
 * the pool is kept.
 */
#include <math.h>
#include <string.h>

#include "engine/engine.h"
#include "model/encoder_forward.h"

/* One call of ign_embed. */
struct embedding {
    ign_model *m;
    const ign_embed_request *r;
    enum model_pooling pooling;
    int dim;
    struct ids ids; /* of all texts */
    size_t *at;     /* [n_text + 1] where each text's begin */
    float *row;     /* [max_tok, dim] vectors of a step's tokens, on their way out of the device */
    double *sum;    /* [dim] of one text */
    double count;   /* vectors in it */
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

static enum err_code encode_texts(struct embedding *x, struct err *e) {
    const ign_embed_request *r = x->r;
    const struct model *m = x->m->m;
    for (size_t i = 0; i < r->n_text; i++) {
        size_t n = r->n_bytes ? r->n_bytes[i] : strlen(r->text[i]);
        x->at[i] = x->ids.n;
        enum err_code rc =
            tokenizer_encode(m->tok, r->text[i], n, NULL, false, BOS_AUTO, 0, &x->ids, e);
        if (rc) {
            return rc;
        }
        int cut = cut_text(&x->ids, x->at[i], (size_t)x->m->context, m->vocab);
        if (r->cut) {
            r->cut[i] = cut;
        }
        if (r->tokens) {
            r->tokens[i] = (int)(x->ids.n - x->at[i]);
        }
    }
    x->at[r->n_text] = x->ids.n;
    return ERR_OK;
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
    p->n_part++;
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

/* As many whole texts from *next on as fit; at least one does. */
static enum err_code encoder_step(struct embedding *x, size_t *next, struct err *e) {
    struct plan *p = &x->m->plan;
    size_t first = *next, i = first;
    p->n_tok = p->n_part = 0;
    for (; i < x->r->n_text && p->n_tok + text_tokens(x, i) <= x->m->m->max_tok; i++) {
        lay_text(x, i, 0, text_tokens(x, i));
    }
    struct step s = step_of(x);
    enum err_code rc = s.n_tok ? encoder_forward(x->m->m, &s, e) : ERR_OK;
    for (int row = 0; !rc && first < i; first++) {
        int n = text_tokens(x, first);
        pool_begin(x);
        pool_rows(x, x->m->m->b.x, row, n, true, true);
        pool_end(x, x->r->vector + first * (size_t)x->dim);
        row += n;
    }
    *next = i;
    return rc;
}

static enum err_code decode_text(struct embedding *x, size_t i, struct kv_seq *kv, struct err *e) {
    ign_model *m = x->m;
    int n = text_tokens(x, i);
    pool_begin(x);
    for (int pos = 0, k; pos < n; pos += k) {
        k = n - pos < m->m->max_tok ? n - pos : m->m->max_tok;
        enum err_code rc = kv_seq_reserve(kv, &m->pool, k, e);
        if (rc) {
            err_hint(e, "close or shorten sessions, or open the model with a longer context");
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

static enum err_code decoder_step(struct embedding *x, size_t *next, struct err *e) {
    struct kv_seq kv = {0};
    enum err_code rc = kv_seq_init(&kv, &x->m->pool, x->m->context, e);
    rc = rc ? rc : decode_text(x, *next, &kv, e);
    kv_seq_fini(&kv, &x->m->pool);
    ++*next;
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
    if (!x->at || !x->sum || !x->row) {
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
    mem_free(x.row);
    mem_free(x.sum);
    return rc ? engine_fail(e, &err) : IGN_OK;
}
