/* encoder_forward.c: one step of the encoder, over a batch of whole texts laid end to end.
 *
 * Reads like the paper (Devlin et al. 2019; Vaswani et al. 2017): sum the embeddings; attend, add,
 * normalize; feed forward, add, normalize. Owns the order of the operations and no number.
 */
#include "model/encoder_forward.h"

#include <assert.h>

/* x = norm(x) */
static void normalize(const struct model *m, const struct encoder_norm *n) {
    m->kern->layernorm(m->dev, m->b.x, m->b.x, n->w, n->b, m->cfg.d_model, m->cfg.norm_eps);
}

static void attention(const struct model *m, const struct encoder_layer *l) {
    const struct config *c = &m->cfg;
    const struct buffers *b = &m->b;
    kern_qkv(m->kern, m->dev,
             &(struct kern_qkv){.x = b->x,
                                .q = b->q,
                                .k = b->k,
                                .v = b->v,
                                .wq = l->wq,
                                .wk = l->wk,
                                .wv = l->wv,
                                .bq = l->bq,
                                .bk = l->bk,
                                .bv = l->bv});
    m->kern->attend_all(m->dev, &(struct kern_attend_all){.q = b->q,
                                                          .k = b->k,
                                                          .v = b->v,
                                                          .y = b->att,
                                                          .n_head = c->n_head,
                                                          .d_head = c->d_head,
                                                          .scale = c->attn_scale});
    m->kern->matmul(m->dev, b->x, b->att, l->wo, l->bo, ROWS_TOK, true);
    normalize(m, &l->attn_norm);
}

static void feed_forward(const struct model *m, const struct encoder_layer *l) {
    const struct buffers *b = &m->b;
    m->kern->matmul(m->dev, b->up, b->x, l->w_up, l->b_up, ROWS_TOK, false);
    m->kern->activate(m->dev, b->up, m->cfg.d_ff, m->cfg.act);
    m->kern->matmul(m->dev, b->x, b->up, l->w_down, l->b_down, ROWS_TOK, true);
    normalize(m, &l->layer_norm);
}

enum err_code encoder_forward(struct model *m, const struct step *s, struct err *e) {
    const struct encoder *enc = m->enc;
    assert(enc && s->n_tok > 0 && s->n_tok <= m->max_tok);
    m->kern->begin(m->dev, s);
    m->kern->embed_sum(m->dev, m->b.x, m->w.embed, enc->position, enc->type);
    normalize(m, &enc->embed_norm);
    for (int i = 0; i < m->cfg.n_layer; i++) {
        attention(m, &enc->layer[i]);
        feed_forward(m, &enc->layer[i]);
    }
    return model_end(m, e);
}
