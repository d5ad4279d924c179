/* cost.h: what one token costs: multiply-adds by format, and bytes that are read.
 *
 * Owns the counting, from a file's tensors and configuration alone, so that a measured speed can be
 * set against what the machine could do. Counted are products with matrices and attention; norms
 * and the like are not. Invariant: experts that a token does not use cost it nothing.
 */
#ifndef IGN_MODEL_COST_H
#define IGN_MODEL_COST_H

#include "base/dtype.h"
#include "format/gguf.h"
#include "model/model.h"

struct model_cost {
    double mac[DT_MAX];   /* multiply-adds of a token, by format; without the output matrix */
    enum dtype out_type;  /* the output matrix, needed once for each row of logits: */
    double out_mac;       /* its multiply-adds */
    double weights_bytes; /* read for a new token with logits, alone in its step */
    double kv_bytes;      /* of one position in the cache, keys and values of all layers */
    double att_mac;       /* multiply-adds of a token's attention for each position looked at */
    int window;           /* positions that a token looks back to at most; 0: all */
};

/* From an open file that has tensors; kv_type: see dtype_kv_bytes. A tensor that no model of this
 * program has is counted as a matrix of its own, as if it were used. */
void model_cost(struct model_cost *cost, const struct gguf *g, const struct config *c,
                enum dtype kv_type);

/* Bytes of one position in a cache of this type. */
double model_cost_kv(const struct config *c, enum dtype kv_type);

/* Bytes read for a new token that comes after n_past others. */
double model_cost_bytes(const struct model_cost *cost, int n_past);
/* Multiply-adds of the attention of n tokens that come after n_past others. */
double model_cost_attention(const struct model_cost *cost, int n_past, int n);

#endif
