/* touch_all.c: opens a model with the options of its plan, uses all of it, and compares the memory
 * that was planned with the memory that it took.
 *
 * Usage: touch_all MODEL CONTEXT [PERCENT]
 * Every page of the weights is read, every page of the KV cache written, and a step of a full batch
 * computed with as many rows of logits as there can be, and one of a single token; of an encoder, a
 * step of texts as long as it takes, and one of the shortest. Prints a line of
 * JSON; fails if the peak is further from the plan than PERCENT (5). 77: the file is not there.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/os.h"
#include "model/encoder_forward.h"
#include "model/model.h"
#include "model/need.h"

static volatile unsigned sink;

static int give_up(const struct err *e) {
    char line[1024];
    fprintf(stderr, "touch_all: %s\n", err_line(e, line, sizeof line));
    return e->code == ERR_NOTFOUND ? 77 : 1;
}

static void read_weights(const struct gguf *g) {
    for (size_t i = 0; i < g->n_part; i++) {
        for (size_t at = 0; at < g->part[i].size; at += os_page_size()) {
            sink += g->part[i].data[at];
        }
    }
}

static enum err_code write_cache(struct model *m, struct err *e) {
    size_t bytes = kern_kv_page_bytes(&m->kv);
    void *page = mem_zalloc(bytes, 1);
    if (!page) {
        return err_set(e, ERR_NOMEM, "no memory for a page of the cache");
    }
    for (int i = 0; i < m->kv.n_page; i++) {
        m->kern->kv_write_page(m->dev, i, page);
    }
    mem_free(page);
    return ERR_OK;
}

/* n tokens 0, 1, 2, ... of one sequence from position 0, at most n_ctx; of an encoder all n, in
 * sequences of n_ctx. */
static enum err_code compute(struct model *m, int n, int n_ctx, struct err *e) {
    n_ctx = n_ctx < m->cfg.n_ctx ? n_ctx : m->cfg.n_ctx;
    n = m->cfg.encoder || n < n_ctx ? n : n_ctx;
    int32_t *v = mem_alloc((size_t)n * 4, sizeof *v), start[2] = {0, m->kv.n_page};
    int32_t *page = mem_alloc((size_t)m->kv.n_page + 1, sizeof *page);
    if (!v || !page) {
        mem_free(v);
        mem_free(page);
        return err_set(e, ERR_NOMEM, "no memory for a step");
    }
    for (int i = 0; i < n; i++) {
        v[i] = i % m->cfg.n_vocab;
        v[n + i] = i % n_ctx;
        v[2 * n + i] = i / n_ctx;
        v[3 * n + i] = i;
    }
    for (int i = 0; i < m->kv.n_page; i++) {
        page[i] = i;
    }
    struct step s = {.n_tok = n,
                     .n_seq = (n + n_ctx - 1) / n_ctx,
                     .n_out = n < m->max_out ? n : m->max_out,
                     .tok = v,
                     .pos = v + n,
                     .seq = v + 2 * n,
                     .out = v + 3 * n,
                     .page = page,
                     .page_start = start};
    enum err_code rc = m->cfg.encoder ? encoder_forward(m, &s, e) : model_forward(m, &s, e);
    mem_free(v);
    mem_free(page);
    return rc;
}

static int compare(const struct plan_choice *p, const struct plan_model *need, double percent) {
    const struct plan_row *r = &p->row;
    uint64_t peak = os_memory_peak();
    double off = 100.0 * ((double)r->total - (double)peak) / (double)peak;
    printf("{\"context\": %d, \"weights\": %llu, \"kv\": %llu, \"scratch\": %llu, "
           "\"program\": %llu, \"text\": %llu, \"predicted\": %llu, \"measured\": %llu, "
           "\"percent\": %.2f}\n",
           r->context, (unsigned long long)r->weights, (unsigned long long)r->kv,
           (unsigned long long)r->scratch, (unsigned long long)r->program,
           (unsigned long long)need->text_bytes, (unsigned long long)r->total,
           (unsigned long long)peak, off);
    return fabs(off) <= percent ? 0 : 1;
}

int main(int argc, char **argv) {
    struct model *m = NULL;
    struct err e = {0};
    struct machine machine;
    struct plan_model need;
    struct plan_choice p;
    if (argc < 3) {
        fprintf(stderr, "usage: touch_all MODEL CONTEXT [PERCENT]\n");
        return 2;
    }
    struct plan_opts want = {.context = atoi(argv[2]), .quant = -1, .kv_bytes = 2};
    struct model_opts o = {.kv_type = DT_F16, .n_ctx = want.context};
    machine_read(&machine, NULL);
    if (model_open(&m, argv[1], &o, &e) || need_of_file(&need, m->file, &m->cfg, &o, &e) ||
        plan_make(&p, &need, &machine, &want, &e) || (!p.row.fits && plan_refuse(&p, &e))) {
        model_close(m);
        return give_up(&e);
    }
    o.n_thread = p.threads;
    o.max_tok = p.batch;
    if (model_load(m, &o, &e) || write_cache(m, &e) || compute(m, p.batch, want.context, &e) ||
        compute(m, 1, want.context, &e)) {
        model_close(m);
        return give_up(&e);
    }
    read_weights(m->file);
    int status = compare(&p, &need, argc > 3 ? atof(argv[3]) : 5);
    model_close(m);
    return status;
}
