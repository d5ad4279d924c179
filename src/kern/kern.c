/* kern.c: the list of back ends, and the fused entries for those that leave them out.
 *
 * Owns the one composition of qkv, store_attend, ffn and moe from simpler operations, so that model
 * code never asks what a back end has. Refuses arithmetic: that is the back ends'.
 */
#include "kern/kern.h"

#include <string.h>

#include "kern/cpu/cpu.h"
#include "kern/plain/plain.h"

const struct kern *const kern_list[] = {&kern_cpu, &kern_plain, NULL};

const struct kern *kern_find(const char *name) {
    for (int i = 0; kern_list[i] != NULL; i++) {
        if (strcmp(kern_list[i]->name, name) == 0) {
            return kern_list[i];
        }
    }
    return NULL;
}

void kern_qkv(const struct kern *k, struct kern_dev *d, const struct kern_qkv *a) {
    if (k->qkv != NULL) {
        k->qkv(d, a);
        return;
    }
    k->matmul(d, a->q, a->x, a->wq, a->bq, ROWS_TOK, false);
    k->matmul(d, a->k, a->x, a->wk, a->bk, ROWS_TOK, false);
    k->matmul(d, a->v, a->x, a->wv, a->bv, ROWS_TOK, false);
}

void kern_store_attend(const struct kern *k, struct kern_dev *d, kern_ref y, kern_ref q,
                       kern_ref key, kern_ref value, const struct kern_attend *a) {
    if (k->store_attend != NULL) {
        k->store_attend(d, y, q, key, value, a);
        return;
    }
    k->kv_store(d, a->layer, key, value);
    k->attend(d, y, q, a);
}

void kern_ffn(const struct kern *k, struct kern_dev *d, const struct kern_ffn *a) {
    if (k->ffn != NULL) {
        k->ffn(d, a);
        return;
    }
    k->matmul(d, a->gate, a->x, a->w_gate, 0, ROWS_TOK, false);
    k->matmul(d, a->up, a->x, a->w_up, 0, ROWS_TOK, false);
    k->act_mul(d, a->gate, a->up, a->d_ff, a->act);
    k->matmul(d, a->y, a->gate, a->w_down, 0, ROWS_TOK, a->add);
}

/* Shazeer et al. 2017 as in Jiang et al. 2024: a gated FFN per choice, mixed by the router. */
void kern_moe(const struct kern *k, struct kern_dev *d, const struct kern_moe *a) {
    if (k->moe != NULL) {
        k->moe(d, a);
        return;
    }
    k->matmul(d, a->logit, a->x, a->w_route, 0, ROWS_TOK, false);
    k->route(d, a->sel, a->logit, a->n_exp, a->n_used);
    k->matmul_exp(d, a->gate, a->x, a->w_gate, a->sel, a->n_used, false);
    k->matmul_exp(d, a->up, a->x, a->w_up, a->sel, a->n_used, false);
    k->act_mul(d, a->gate, a->up, a->n_used * a->d_ff, a->act);
    k->matmul_exp(d, a->down, a->gate, a->w_down, a->sel, a->n_used, true);
    k->mix_exp(d, a->y, a->down, a->sel, a->n_used, a->d_model);
}

size_t kern_kv_head_bytes(const struct kern_kv *kv, int layer, int value) {
    enum dtype part = dtype_kv_part(kv->type, layer, value);
    return (size_t)kv->page_tok * dtype_kv_bytes(part, kv->d_head);
}

size_t kern_kv_page_bytes(const struct kern_kv *kv) {
    return (size_t)kv->page_tok * dtype_kv_position(kv->type, kv->n_layer, kv->n_kv, kv->d_head);
}
