/* plain_ops.h: what plain.c (life, table) and plain_ops.c (arithmetic) share.
 * One invariant: scratch is per thread, so that no operation depends on the number of threads.
 */
#ifndef IGN_KERN_PLAIN_PLAIN_OPS_H
#define IGN_KERN_PLAIN_PLAIN_OPS_H

#include "kern/host.h"

struct plain_dev {
    struct kern_dev host; /* first: the table's functions cast */
    float *row;           /* [n_thread, widest]: one decoded row of a weight */
    float *score;         /* [n_thread, n_score]: one query's attention */
    size_t n_score;       /* positions that a query can attend to */
};

void plain_argmax(struct kern_dev *d, kern_ref x, size_t n, size_t dim, int32_t *at);
void plain_embed(struct kern_dev *d, kern_ref x, kern_weight table, float scale);
void plain_gather(struct kern_dev *d, kern_ref y, kern_ref x, int dim);
void plain_rmsnorm(struct kern_dev *d, kern_ref y, kern_ref x, kern_weight w, enum kern_rows rows,
                   int n, int dim, float eps);
void plain_matmul(struct kern_dev *d, kern_ref y, kern_ref x, kern_weight w, kern_weight b,
                  enum kern_rows rows, bool add);
void plain_rope(struct kern_dev *d, kern_ref x, const struct kern_rope *r);
void plain_kv_store(struct kern_dev *d, int layer, kern_ref k, kern_ref v);
void plain_attend(struct kern_dev *d, kern_ref y, kern_ref q, const struct kern_attend *a);
void plain_act_mul(struct kern_dev *d, kern_ref gate, kern_ref up, int dim, enum kern_act act);
void plain_add(struct kern_dev *d, kern_ref y, kern_ref x, int dim);
void plain_softcap(struct kern_dev *d, kern_ref x, enum kern_rows rows, int dim, float cap);
void plain_embed_sum(struct kern_dev *d, kern_ref x, kern_weight token, kern_weight position,
                     kern_weight type);
void plain_layernorm(struct kern_dev *d, kern_ref y, kern_ref x, kern_weight w, kern_weight b,
                     int dim, float eps);
void plain_activate(struct kern_dev *d, kern_ref x, int dim, enum kern_act act);
void plain_attend_all(struct kern_dev *d, const struct kern_attend_all *a);
void plain_route(struct kern_dev *d, kern_ref sel, kern_ref logit, int n_exp, int n_used);
void plain_matmul_exp(struct kern_dev *d, kern_ref y, kern_ref x, kern_weight w, kern_ref sel,
                      int n_used, bool per_choice);
void plain_mix_exp(struct kern_dev *d, kern_ref y, kern_ref x, kern_ref sel, int n_used, int dim);

#endif
