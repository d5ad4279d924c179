/* observe.h: looks at the inputs of every linear layer while a model runs.
 *
 * Owns the table that is put in a back end's place: it hands each row to the observer and then to
 * the back end's own product; fused entries are left out, so that kern.c composes them of products.
 * Refuses to change anything: what is computed is what was computed without. Where nobody observes
 * nothing of this is there. For back ends whose memory is the host's, which compute at once.
 */
#ifndef IGN_KERN_OBSERVE_H
#define IGN_KERN_OBSERVE_H

#include "kern/kern.h"

struct observer {
    /* x [n_col] is about to be multiplied with matrix m of n_mat of the weight `name`. */
    void (*row)(void *arg, const char *name, int m, int n_mat, const float *x, int64_t n_col);
    void *arg;

    /* observe_begin's */
    const struct kern *inner;
    struct kern table;
    float *x; /* [widest] a row */
};

/* From now on *k is the observer's table for the same device. ERR_NOMEM: nothing has changed. The
 * observer outlives the device, or observe_end comes first. */
enum err_code observe_begin(struct observer *o, const struct kern **k, struct kern_dev *d,
                            struct err *e);
void observe_end(struct observer *o, const struct kern **k, struct kern_dev *d);

#endif
