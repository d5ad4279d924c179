/* observe.c: see observe.h.
 *
 * Owns the two entries that look. Invariant: rows are handed over in order, before the product.
 */
#include "kern/observe.h"

#include "base/mem.h"
#include "kern/host.h"

/* Rows of x [n, n_col] for matrix 0 of w. */
static void look_matmul(struct kern_dev *d, kern_ref y, kern_ref x, kern_weight w, kern_weight b,
                        enum kern_rows rows, bool add) {
    struct observer *o = d->observer;
    const struct host_weight *t = host_weight(d, w);
    int n = host_rows(d, rows);
    for (int i = 0; i < n; i++) {
        host_peek(d, x, (size_t)i * (size_t)t->n_col, o->x, (size_t)t->n_col);
        o->row(o->arg, t->name, 0, t->n_mat, o->x, t->n_col);
    }
    o->inner->matmul(d, y, x, w, b, rows, add);
}

static void look_matmul_exp(struct kern_dev *d, kern_ref y, kern_ref x, kern_weight w, kern_ref sel,
                            int n_used, bool per_choice) {
    struct observer *o = d->observer;
    const struct host_weight *t = host_weight(d, w);
    int n = d->step->n_tok * n_used;
    for (int i = 0; i < n; i++) {
        struct host_choice c;
        size_t row = (size_t)(per_choice ? i : i / n_used);
        host_peek(d, sel, (size_t)i * 2, (float *)(void *)&c, 2);
        host_peek(d, x, row * (size_t)t->n_col, o->x, (size_t)t->n_col);
        o->row(o->arg, t->name, c.exp, t->n_mat, o->x, t->n_col);
    }
    o->inner->matmul_exp(d, y, x, w, sel, n_used, per_choice);
}

enum err_code observe_begin(struct observer *o, const struct kern **k, struct kern_dev *d,
                            struct err *e) {
    o->x = mem_alloc((size_t)d->widest, sizeof *o->x);
    if (!o->x) {
        return err_set(e, ERR_NOMEM, "no memory to observe a model");
    }
    o->inner = *k;
    o->table = **k;
    o->table.matmul = look_matmul;
    o->table.matmul_exp = look_matmul_exp;
    o->table.qkv = NULL;
    o->table.ffn = NULL;
    o->table.moe = NULL;
    d->observer = o;
    *k = &o->table;
    return ERR_OK;
}

void observe_end(struct observer *o, const struct kern **k, struct kern_dev *d) {
    if (o->inner) {
        *k = o->inner;
        d->observer = NULL;
    }
    mem_free(o->x);
    o->x = NULL;
    o->inner = NULL;
}
