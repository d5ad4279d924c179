/* runner.c: steps over a model, with the errors of the library as failed assertions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "model/runner.h"

static void demand(enum err_code rc, const struct err *e) {
    char line[1024];
    if (rc) {
        fail_msg("%s", err_line(e, line, sizeof line));
    }
}

void runner_open(struct runner *r, const char *path, const struct model_opts *o) {
    struct err e = {0};
    *r = (struct runner){0};
    demand(model_open(&r->m, path, o, &e), &e);
    demand(model_load(r->m, o, &e), &e);
    demand(kv_pool_init(&r->pool, r->m->kern, r->m->dev, &r->m->kv, &e), &e);
    for (int i = 0; i < RUNNER_SEQ; i++) {
        int room = r->m->kv.n_page * r->m->kv.page_tok;
        demand(kv_seq_init(&r->seq[i], &r->pool, room, &e), &e);
    }
    r->logits = mem_alloc((size_t)r->m->max_out * (size_t)r->m->cfg.n_vocab, sizeof(float));
    assert_non_null(r->logits);
}

void runner_close(struct runner *r) {
    for (int i = 0; i < RUNNER_SEQ; i++) {
        kv_seq_fini(&r->seq[i], &r->pool);
    }
    kv_pool_fini(&r->pool);
    mem_free(r->logits);
    model_close(r->m);
}

enum { STEP_MAX = 512, PAGE_MAX = 4096 };

void runner_step(struct runner *r, const struct feed *f, int n_feed) {
    static int32_t tok[STEP_MAX], pos[STEP_MAX], seq[STEP_MAX], out[STEP_MAX], page[PAGE_MAX];
    int32_t start[RUNNER_SEQ + 1] = {0};
    struct err e = {0};
    struct step s = {.n_seq = n_feed,
                     .tok = tok,
                     .pos = pos,
                     .seq = seq,
                     .out = out,
                     .page = page,
                     .page_start = start};
    size_t n_vocab = (size_t)r->m->cfg.n_vocab;
    for (int i = 0; i < n_feed; i++) {
        struct kv_seq *kv = &r->seq[f[i].seq];
        demand(kv_seq_reserve(kv, &r->pool, f[i].n, &e), &e);
        for (int j = 0; j < f[i].n; j++) {
            tok[s.n_tok] = f[i].tok[j];
            pos[s.n_tok] = kv->n_tok + j;
            seq[s.n_tok] = i;
            if (f[i].out) {
                out[s.n_out++] = s.n_tok;
            }
            s.n_tok++;
        }
        for (int j = 0; j < kv->n_page; j++) {
            page[start[i] + j] = kv->page[j];
        }
        start[i + 1] = start[i] + kv->n_page;
    }
    demand(model_forward(r->m, &s, &e), &e);
    if (s.n_out) {
        r->m->kern->read(r->m->dev, r->m->b.logits, r->logits, (size_t)s.n_out * n_vocab);
    }
    const float *from = r->logits;
    for (int i = 0; i < n_feed; i++) {
        r->seq[f[i].seq].n_tok += f[i].n;
        if (f[i].out) {
            memcpy(f[i].out, from, (size_t)f[i].n * n_vocab * sizeof *from);
            from += (size_t)f[i].n * n_vocab;
        }
    }
}

void runner_feed(struct runner *r, int seq, const int32_t *tok, int n, int chunk, float *out) {
    for (int i = 0; i < n; i += chunk) {
        int k = n - i < chunk ? n - i : chunk;
        struct feed f = {seq, tok + i, k, out ? out + (size_t)i * (size_t)r->m->cfg.n_vocab : NULL};
        runner_step(r, &f, 1);
    }
}

static int32_t largest(const float *x, int n) {
    int32_t best = 0;
    for (int i = 1; i < n; i++) {
        best = x[i] > x[best] ? i : best;
    }
    return best;
}

void runner_greedy(struct runner *r, int seq, const int32_t *tok, int n_tok, int32_t *out, int n) {
    int n_vocab = r->m->cfg.n_vocab;
    float *row = mem_alloc((size_t)n_vocab, sizeof *row);
    assert_non_null(row);
    kv_seq_truncate(&r->seq[seq], &r->pool, 0);
    if (n_tok > 1) {
        runner_feed(r, seq, tok, n_tok - 1, 16, NULL);
    }
    for (int i = 0; i < n; i++) {
        runner_feed(r, seq, i ? &out[i - 1] : &tok[n_tok - 1], 1, 1, row);
        out[i] = largest(row, n_vocab);
    }
    mem_free(row);
}
