/* encoder_forward.h: a model that reads whole texts and gives a vector for each of their tokens:
 * BERT.
 *
 * Owns its weights as data, and its step. Post-norm, learned positions, no cache: each token
 * attends to all of its own text. Refuses pooling, which makes one vector of many: engine/embed.c.
 * Source: Devlin et al. 2019.
 */
#ifndef IGN_MODEL_ENCODER_FORWARD_H
#define IGN_MODEL_ENCODER_FORWARD_H

#include "model/model.h"

struct encoder_norm {
    kern_weight w, b; /* [d_model] */
};

struct encoder_layer {
    kern_weight wq, wk, wv, wo;     /* [d_model, d_model] */
    kern_weight bq, bk, bv, bo;     /* [d_model] */
    struct encoder_norm attn_norm;  /* after attention and its residual */
    kern_weight w_up, b_up;         /* [d_ff, d_model], [d_ff] */
    kern_weight w_down, b_down;     /* [d_model, d_ff], [d_model] */
    struct encoder_norm layer_norm; /* after feed-forward and its residual */
};

struct encoder {
    kern_weight position; /* [n_pos, d_model], n_pos >= n_ctx; the tokens' table is w.embed */
    kern_weight type;     /* [d_model] of texts that stand alone; 0 where there is none */
    struct encoder_norm embed_norm;
    struct encoder_layer *layer; /* [n_layer] */
};

/* Computes one step: whole texts, each a sequence of s from position 0 on. The vectors of all
 * tokens are then in m->b.x [n_tok, d_model]. s->n_tok <= max_tok, no text longer than kv.n_all.
 * ERR_CANCELLED, ERR_IO, ERR_DEVICE. */
enum err_code encoder_forward(struct model *m, const struct step *s, struct err *e);

#endif
