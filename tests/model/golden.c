/* golden.c: the golden file in memory, and the distance of logits from it. */
#include "model/golden.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"

bool golden_open(struct golden *g, const char *path) {
    size_t n;
    *g = (struct golden){0};
    if (os_read_file(path, 1 << 20, &g->bytes, &n, NULL) || n < 32 ||
        memcmp(g->bytes, "igngold1", 8) != 0) {
        golden_close(g);
        return false;
    }
    memcpy(g, g->bytes + 8, 6 * sizeof(int32_t));
    const int32_t *p = (const int32_t *)(const void *)(g->bytes + 32);
    g->tok = p;
    g->fixed = g->tok + g->n_tok;
    g->greedy = g->fixed + g->n_fixed;
    g->row = (const char *)(g->greedy + g->n_greedy);
    g->row_bytes = 4 * (1 + 2 * (size_t)g->n_top + (size_t)g->n_fixed);
    if ((size_t)(g->row - g->bytes) + (size_t)g->n_tok * g->row_bytes != n) {
        golden_close(g);
        return false;
    }
    return true;
}

void golden_close(struct golden *g) {
    mem_free(g->bytes);
    g->bytes = NULL;
}

struct golden_row golden_at(const struct golden *g, int pos) {
    const char *p = g->row + (size_t)pos * g->row_bytes;
    struct golden_row r;
    memcpy(&r.lse, p, 4);
    r.top_id = (const int32_t *)(const void *)(p + 4);
    r.top = (const float *)(const void *)(r.top_id + g->n_top);
    r.fixed = r.top + g->n_top;
    return r;
}

static double log_sum_exp(const float *x, int n) {
    double max = -INFINITY, sum = 0;
    for (int i = 0; i < n; i++) {
        max = x[i] > max ? x[i] : max;
    }
    for (int i = 0; i < n; i++) {
        sum += exp(x[i] - max);
    }
    return max + log(sum);
}

struct golden_diff golden_compare(const struct golden *g, int pos, const float *logits) {
    struct golden_row r = golden_at(g, pos);
    struct golden_diff d = {0};
    double lse = log_sum_exp(logits, g->n_vocab), p_rest = 1, q_rest = 1;
    for (int i = 0; i < g->n_fixed; i++) {
        d.max_abs = fmax(d.max_abs, fabs((double)logits[g->fixed[i]] - r.fixed[i]));
    }
    /* Without a top list the fixed ids are all ids. */
    bool whole = g->n_top == 0;
    int n = whole ? g->n_fixed : g->n_top;
    const int32_t *id = whole ? g->fixed : r.top_id;
    const float *top = whole ? r.fixed : r.top;
    double lse_p = whole ? log_sum_exp(r.fixed, n) : (double)r.lse; /* f64 where we can */
    for (int i = 0; i < n; i++) {
        double lp = top[i] - lse_p, lq = logits[id[i]] - lse;
        d.max_abs = fmax(d.max_abs, fabs((double)logits[id[i]] - top[i]));
        d.kl += exp(lp) * (lp - lq);
        p_rest -= exp(lp);
        q_rest -= exp(lq);
    }
    /* What is left of a whole list is rounding. */
    if (!whole && p_rest > 1e-6 && q_rest > 1e-9) {
        d.kl += p_rest * log(p_rest / q_rest);
    }
    return d;
}
