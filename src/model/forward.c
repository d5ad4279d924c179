/* forward.c: one step of the transformer, over a batch of tokens of any sequences.
 *
 * Reads like the papers (Vaswani et al. 2017; Touvron et al. 2023): normalize, attend, add;
 * normalize, feed forward, add; then the rows whose logits are wanted. Owns the order of the
 * operations and no number: what differs between models is in `struct config`, how it is computed
 * is behind `struct kern`.
 */
#include <assert.h>

#include "model/model.h"

/* x += norm(h) */
static void add_normalized(const struct model *m, kern_weight norm) {
    const struct config *c = &m->cfg;
    const struct buffers *b = &m->b;
    m->kern->rmsnorm(m->dev, b->h, b->h, norm, ROWS_TOK, 1, c->d_model, c->norm_eps);
    m->kern->add(m->dev, b->x, b->h, c->d_model);
}

static void attention(const struct model *m, int i) {
    const struct config *c = &m->cfg;
    const struct layer *l = &m->w.layer[i];
    const struct buffers *b = &m->b;
    const struct kern *k = m->kern;
    const struct rotation *turn = &m->w.rope[c->local[i]];
    struct kern_rope rope = {.n_head = c->n_head,
                             .d_head = c->d_head,
                             .n_rot = c->n_rot,
                             .halves = c->rope_halves,
                             .freq = turn->freq,
                             .scale = turn->scale};

    k->rmsnorm(m->dev, b->h, b->x, l->attn_norm, ROWS_TOK, 1, c->d_model, c->norm_eps);
    kern_qkv(k, m->dev,
             &(struct kern_qkv){.x = b->h,
                                .q = b->q,
                                .k = b->k,
                                .v = b->v,
                                .wq = l->wq,
                                .wk = l->wk,
                                .wv = l->wv,
                                .bq = l->bq,
                                .bk = l->bk,
                                .bv = l->bv});
    if (c->qk_norm) {
        k->rmsnorm(m->dev, b->q, b->q, l->q_norm, ROWS_TOK, c->n_head, c->d_head, c->norm_eps);
        k->rmsnorm(m->dev, b->k, b->k, l->k_norm, ROWS_TOK, c->n_kv, c->d_head, c->norm_eps);
    }
    k->rope(m->dev, b->q, &rope);
    rope.n_head = c->n_kv;
    if (!c->qk_norm && c->attn_cap == 0) {
        rope.less = l->bk; /* which can be a hundred times what varies, and would set the scales */
    }
    k->rope(m->dev, b->k, &rope);
    kern_store_attend(k, m->dev, b->att, b->q, b->k, b->v,
                      &(struct kern_attend){.layer = i,
                                            .n_head = c->n_head,
                                            .n_kv = c->n_kv,
                                            .d_head = c->d_head,
                                            .scale = c->attn_scale,
                                            .window = c->local[i] ? c->window : 0,
                                            .cap = c->attn_cap});
    if (c->post_norm) {
        k->matmul(m->dev, b->h, b->att, l->wo, l->bo, ROWS_TOK, false);
        add_normalized(m, l->attn_post);
    } else {
        k->matmul(m->dev, b->x, b->att, l->wo, l->bo, ROWS_TOK, true);
    }
}

static void feed_forward(const struct model *m, int i) {
    const struct config *c = &m->cfg;
    const struct layer *l = &m->w.layer[i];
    const struct buffers *b = &m->b;
    const struct kern *k = m->kern;

    k->rmsnorm(m->dev, b->h, b->x, l->ffn_norm, ROWS_TOK, 1, c->d_model, c->norm_eps);
    if (c->n_exp) {
        kern_moe(k, m->dev,
                 &(struct kern_moe){.x = b->h,
                                    .y = b->x,
                                    .logit = b->exp_logit,
                                    .sel = b->exp_sel,
                                    .gate = b->gate,
                                    .up = b->up,
                                    .down = b->exp_down,
                                    .w_route = l->w_route,
                                    .w_gate = l->w_gate,
                                    .w_up = l->w_up,
                                    .w_down = l->w_down,
                                    .n_exp = c->n_exp,
                                    .n_used = c->n_used,
                                    .d_model = c->d_model,
                                    .d_ff = c->d_ff,
                                    .act = c->act});
    } else {
        kern_ffn(k, m->dev,
                 &(struct kern_ffn){.x = b->h,
                                    .y = c->post_norm ? b->h : b->x,
                                    .gate = b->gate,
                                    .up = b->up,
                                    .w_gate = l->w_gate,
                                    .w_up = l->w_up,
                                    .w_down = l->w_down,
                                    .d_ff = c->d_ff,
                                    .act = c->act,
                                    .add = !c->post_norm});
    }
    if (c->post_norm) {
        add_normalized(m, l->ffn_post);
    }
}

/* The step up to the residual stream after the last layer. */
static enum err_code run_layers(const struct model *m, const struct step *s, struct err *e) {
    const struct config *c = &m->cfg;
    assert(s->n_tok > 0 && s->n_tok <= m->max_tok);
    for (int i = 0; i < s->n_tok; i++) {
        if (s->tok[i] < 0 || s->tok[i] >= c->n_vocab) {
            return err_set(e, ERR_RANGE, "token id %d is outside of 0 to %d", (int)s->tok[i],
                           c->n_vocab - 1);
        }
    }
    m->kern->begin(m->dev, s);
    m->kern->embed(m->dev, m->b.x, m->w.embed, c->embed_scale);
    for (int i = 0; i < c->n_layer; i++) {
        attention(m, i);
        feed_forward(m, i);
    }
    return ERR_OK;
}

enum err_code model_end(struct model *m, struct err *e) {
    enum err_code rc = m->kern->end(m->dev, e);
    /* The device watches one part of the file for each weight; experts may lie in several. */
    return rc || !gguf_lost(m->file)
               ? rc
               : err_set(e, ERR_IO, "%s could not be read while it was in use", m->file->path);
}

enum err_code model_hidden(struct model *m, const struct step *s, struct err *e) {
    const struct config *c = &m->cfg;
    enum err_code rc = run_layers(m, s, e);
    if (rc) {
        return rc;
    }
    m->kern->rmsnorm(m->dev, m->b.h, m->b.x, m->w.out_norm, ROWS_TOK, 1, c->d_model, c->norm_eps);
    return model_end(m, e);
}

enum err_code model_forward(struct model *m, const struct step *s, struct err *e) {
    const struct config *c = &m->cfg;
    const struct buffers *b = &m->b;
    const struct kern *k = m->kern;
    assert(s->n_out >= 0 && s->n_out <= m->max_out && (s->n_out == 0 || !c->headless));
    enum err_code rc = run_layers(m, s, e);
    if (rc) {
        return rc;
    }
    if (s->n_out > 0) {
        k->gather(m->dev, b->xo, b->x, c->d_model);
        k->rmsnorm(m->dev, b->xo, b->xo, m->w.out_norm, ROWS_OUT, 1, c->d_model, c->norm_eps);
        k->matmul(m->dev, b->logits, b->xo, m->w.out, 0, ROWS_OUT, false);
        if (c->logit_cap > 0) {
            k->softcap(m->dev, b->logits, ROWS_OUT, c->n_vocab, c->logit_cap);
        }
    }
    return model_end(m, e);
}
