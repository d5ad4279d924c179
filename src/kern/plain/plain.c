/* plain.c: the life of the plain back end, and its table.
 *
 * Owns scratch memory. In builds with IGN_TORTURE its memory is unreadable outside of a step and
 * of write/read, so that model code which peeks past the table faults at once.
 * Invariant: weights are decoded row by row, on the fly, by quant_decode: the definition.
 */
#include "kern/plain/plain.h"

#include <stdio.h>

#include "base/mem.h"
#include "kern/plain/plain_ops.h"

#ifdef IGN_TORTURE
#define PLAIN_GUARD true
#else
#define PLAIN_GUARD false
#endif

static void plain_close(struct kern_dev *dev) {
    struct plain_dev *d = (struct plain_dev *)dev;
    if (d == NULL) {
        return;
    }
    mem_free(d->row);
    mem_free(d->score);
    host_fini(dev);
    mem_free(d);
}

static enum err_code plain_open(struct kern_dev **out, const struct kern_opts *o, struct err *e) {
    *out = NULL;
    struct plain_dev *d = mem_zalloc(1, sizeof *d);
    if (d == NULL) {
        return err_set(e, ERR_NOMEM, "out of memory for the plain back end");
    }
    d->host.guard = PLAIN_GUARD;
    enum err_code code = host_open(&d->host, o, e);
    if (code != ERR_OK) {
        plain_close(&d->host);
        return code;
    }
    snprintf(d->host.line, sizeof d->host.line, "plain: scalar f32, %d thread%s", d->host.n_thread,
             d->host.n_thread == 1 ? "" : "s");
    *out = &d->host;
    return ERR_OK;
}

static enum err_code plain_ready(struct kern_dev *dev, struct err *e) {
    struct plain_dev *d = (struct plain_dev *)dev;
    size_t n;
    if (!size_mul((size_t)dev->n_thread, (size_t)dev->widest, &n) ||
        (d->row = mem_alloc(n, sizeof *d->row)) == NULL) {
        return err_set(e, ERR_NOMEM, "out of memory to decode rows of %lld weights",
                       (long long)dev->widest);
    }
    return ERR_OK;
}

/* The longest sequence that a query may attend to. */
static size_t positions(const struct kern_kv *kv) {
    return kv->n_page > 0 ? (size_t)kv->n_page * (size_t)kv->page_tok : (size_t)kv->n_all;
}

static enum err_code plain_kv_open(struct kern_dev *dev, const struct kern_kv *kv, struct err *e) {
    struct plain_dev *d = (struct plain_dev *)dev;
    size_t n;
    d->n_score = positions(kv);
    if (!size_mul((size_t)dev->n_thread, d->n_score, &n) ||
        (d->score = mem_alloc(n, sizeof *d->score)) == NULL) {
        return err_set(e, ERR_NOMEM, "out of memory for attention over %zu positions", d->n_score);
    }
    return host_kv_open(dev, kv, e);
}

static uint64_t plain_scratch_bytes(const struct kern_opts *o, const struct kern_tensor *t,
                                    size_t n, const struct kern_kv *kv) {
    struct kern_dev d = {0};
    int64_t widest = 0;
    host_size(&d, o);
    for (size_t i = 0; i < n; i++) {
        widest = t[i].n_col > widest ? t[i].n_col : widest;
    }
    uint64_t a_thread = (uint64_t)widest + (uint64_t)positions(kv);
    return host_scratch_bytes(t, n) + (uint64_t)d.n_thread * a_thread * sizeof(float);
}

const struct kern kern_plain = {
    .name = "plain",
    .scratch_bytes = plain_scratch_bytes,
    .open = plain_open,
    .close = plain_close,
    .describe = host_describe,
    .alloc = host_alloc,
    .load = host_load,
    .ready = plain_ready,
    .write = host_write,
    .read = host_read,
    .argmax = plain_argmax,
    .kv_open = plain_kv_open,
    .kv_copy_page = host_kv_copy_page,
    .kv_read_page = host_kv_read_page,
    .kv_write_page = host_kv_write_page,
    .begin = host_begin,
    .end = host_end,
    .embed = plain_embed,
    .gather = plain_gather,
    .rmsnorm = plain_rmsnorm,
    .matmul = plain_matmul,
    .rope = plain_rope,
    .kv_store = plain_kv_store,
    .attend = plain_attend,
    .act_mul = plain_act_mul,
    .add = plain_add,
    .softcap = plain_softcap,
    .embed_sum = plain_embed_sum,
    .layernorm = plain_layernorm,
    .activate = plain_activate,
    .attend_all = plain_attend_all,
    .route = plain_route,
    .matmul_exp = plain_matmul_exp,
    .mix_exp = plain_mix_exp,
};
