/* cpu_ops.c: the operations on rows: embed, gather, norms, activation, sums, routing, the largest.
 *
 * Owns how they are split among threads: by rows, a row's largest by shares, where there is enough
 * to pay for waking the pool. Invariant: the split leaves no trace: what is rounded of a row is
 * computed by one thread.
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "kern/cpu/device.h"
#include "quant/quant.h"

struct row_job {
    struct cpu_dev *d;
    void (*fn)(const struct row_job *j, int row);
    int n;
    const float *x, *w, *b;
    float *y;
    size_t dim;
    int n_vec; /* vectors of a row that are normalized each by itself */
    float eps, scale, cap;
    enum kern_act act;
    const struct host_weight *table, *position;
    const struct host_choice *sel;
    int n_used;
};

static void row_item(void *arg, int item, int thread) {
    const struct row_job *j = arg;
    (void)thread;
    if (!host_cancelled(&j->d->host)) {
        j->fn(j, item);
    }
}

static void run_rows(const struct row_job *j) {
    if (j->n > 1 && (size_t)j->n * j->dim > SERIAL_FLOATS) {
        pool_run(j->d->host.pool, row_item, (void *)j, j->n);
        return;
    }
    for (int i = 0; i < j->n; i++) {
        j->fn(j, i);
    }
}

static void embed_row(const struct row_job *j, int t) {
    int32_t id = j->d->host.step->tok[t];
    assert(id >= 0 && id < j->table->n_row);
    float *y = j->y + (size_t)t * j->dim;
    quant_decode(j->table->type, j->table->mat[0] + (size_t)id * j->table->row_bytes, y, j->dim);
    for (size_t i = 0; j->scale != 1 && i < j->dim; i++) {
        y[i] *= j->scale;
    }
}

void cpu_embed(struct kern_dev *d, kern_ref x, kern_weight table, float scale) {
    const struct host_weight *w = host_weight(d, table);
    size_t n = (size_t)d->step->n_tok, dim = (size_t)w->n_col;
    run_rows(&(struct row_job){.d = (struct cpu_dev *)d,
                               .fn = embed_row,
                               .n = (int)n,
                               .y = host_at(d, x, n * dim),
                               .dim = dim,
                               .scale = scale,
                               .table = w});
}

static void embed_sum_row(const struct row_job *j, int t) {
    enum { PART = 1024 }; /* a multiple of every block */
    const struct host_weight *p = j->position;
    int32_t pos = j->d->host.step->pos[t];
    float *y = j->y + (size_t)t * j->dim, part[PART];
    assert(pos >= 0 && pos < p->n_row);
    embed_row(j, t);
    for (size_t at = 0; at < j->dim; at += PART) {
        size_t n = j->dim - at < PART ? j->dim - at : PART, skip = 0;
        dtype_row_bytes(p->type, at, &skip);
        quant_decode(p->type, p->mat[0] + (size_t)pos * p->row_bytes + skip, part, n);
        j->d->micro.add(y + at, part, (int)n);
    }
    if (j->w != NULL) {
        j->d->micro.add(y, j->w, (int)j->dim);
    }
}

void cpu_embed_sum(struct kern_dev *d, kern_ref x, kern_weight token, kern_weight position,
                   kern_weight type) {
    const struct host_weight *w = host_weight(d, token);
    size_t n = (size_t)d->step->n_tok, dim = (size_t)w->n_col;
    run_rows(&(struct row_job){.d = (struct cpu_dev *)d,
                               .fn = embed_sum_row,
                               .n = (int)n,
                               .w = host_vec(d, type),
                               .y = host_at(d, x, n * dim),
                               .dim = dim,
                               .scale = 1,
                               .table = w,
                               .position = host_weight(d, position)});
}

void cpu_gather(struct kern_dev *d, kern_ref y, kern_ref x, int dim) {
    const struct step *s = d->step;
    float *out = host_at(d, y, (size_t)s->n_out * (size_t)dim);
    const float *in = host_at(d, x, (size_t)s->n_tok * (size_t)dim);
    for (int i = 0; i < s->n_out; i++) {
        memcpy(out + (size_t)i * (size_t)dim, in + (size_t)s->out[i] * (size_t)dim,
               (size_t)dim * sizeof *out);
    }
}

static void rmsnorm_row(const struct row_job *j, int t) {
    size_t at = (size_t)t * j->dim, dim = j->dim / (size_t)j->n_vec;
    for (int i = 0; i < j->n_vec; i++, at += dim) {
        j->d->micro.rmsnorm(j->x + at, j->w, (int)dim, j->eps, j->y + at);
    }
}

void cpu_rmsnorm(struct kern_dev *d, kern_ref y, kern_ref x, kern_weight w, enum kern_rows rows,
                 int n, int dim, float eps) {
    size_t n_row = (size_t)host_rows(d, rows), width = (size_t)n * (size_t)dim;
    run_rows(&(struct row_job){.d = (struct cpu_dev *)d,
                               .fn = rmsnorm_row,
                               .n = (int)n_row,
                               .x = host_at(d, x, n_row * width),
                               .w = host_vec(d, w),
                               .y = host_at(d, y, n_row * width),
                               .dim = width,
                               .n_vec = n,
                               .eps = eps});
}

static void layernorm_row(const struct row_job *j, int t) {
    size_t at = (size_t)t * j->dim;
    j->d->micro.layernorm(j->x + at, j->w, j->b, (int)j->dim, j->eps, j->y + at);
}

void cpu_layernorm(struct kern_dev *d, kern_ref y, kern_ref x, kern_weight w, kern_weight b,
                   int dim, float eps) {
    size_t n = (size_t)d->step->n_tok * (size_t)dim;
    run_rows(&(struct row_job){.d = (struct cpu_dev *)d,
                               .fn = layernorm_row,
                               .n = d->step->n_tok,
                               .x = host_at(d, x, n),
                               .w = host_vec(d, w),
                               .b = host_vec(d, b),
                               .y = host_at(d, y, n),
                               .dim = (size_t)dim,
                               .eps = eps});
}

static void activate_row(const struct row_job *j, int t) {
    j->d->micro.activate(j->y + (size_t)t * j->dim, (int)j->dim, j->act);
}

void cpu_activate(struct kern_dev *d, kern_ref x, int dim, enum kern_act act) {
    run_rows(&(struct row_job){.d = (struct cpu_dev *)d,
                               .fn = activate_row,
                               .n = d->step->n_tok,
                               .y = host_at(d, x, (size_t)d->step->n_tok * (size_t)dim),
                               .dim = (size_t)dim,
                               .act = act});
}

static void act_mul_row(const struct row_job *j, int t) {
    size_t at = (size_t)t * j->dim;
    j->d->micro.act_mul(j->y + at, j->x + at, (int)j->dim, j->act);
}

void cpu_act_mul(struct kern_dev *d, kern_ref gate, kern_ref up, int dim, enum kern_act act) {
    size_t n = (size_t)d->step->n_tok * (size_t)dim;
    run_rows(&(struct row_job){.d = (struct cpu_dev *)d,
                               .fn = act_mul_row,
                               .n = d->step->n_tok,
                               .x = host_at(d, up, n),
                               .y = host_at(d, gate, n),
                               .dim = (size_t)dim,
                               .act = act});
}

static void add_row(const struct row_job *j, int t) {
    size_t at = (size_t)t * j->dim;
    j->d->micro.add(j->y + at, j->x + at, (int)j->dim);
}

void cpu_add(struct kern_dev *d, kern_ref y, kern_ref x, int dim) {
    size_t n = (size_t)d->step->n_tok * (size_t)dim;
    run_rows(&(struct row_job){.d = (struct cpu_dev *)d,
                               .fn = add_row,
                               .n = d->step->n_tok,
                               .x = host_at(d, x, n),
                               .y = host_at(d, y, n),
                               .dim = (size_t)dim});
}

static void softcap_row(const struct row_job *j, int t) {
    j->d->micro.softcap(j->y + (size_t)t * j->dim, (int)j->dim, j->cap);
}

void cpu_softcap(struct kern_dev *d, kern_ref x, enum kern_rows rows, int dim, float cap) {
    size_t n = (size_t)host_rows(d, rows);
    run_rows(&(struct row_job){.d = (struct cpu_dev *)d,
                               .fn = softcap_row,
                               .n = (int)n,
                               .y = host_at(d, x, n * (size_t)dim),
                               .dim = (size_t)dim,
                               .cap = cap});
}

/* ---- the largest of a row ---------------------------------------------------------------- */

enum { TOP_ROWS = 16, TOP_SHARES = 32 }; /* rows looked at together; shares of each */

struct top_job {
    struct cpu_dev *d;
    const float *x; /* [TOP_ROWS at most, dim] */
    size_t dim, share;
    float top[TOP_ROWS * TOP_SHARES]; /* of each share */
};

static void top_part(void *arg, int item, int n, int thread) {
    struct top_job *j = arg;
    (void)thread;
    for (int end = item + n; item < end; item++) {
        size_t from = (size_t)(item % TOP_SHARES) * j->share;
        size_t to = from + j->share < j->dim ? from + j->share : j->dim;
        const float *row = j->x + (size_t)(item / TOP_SHARES) * j->dim;
        j->top[item] = from < to ? j->d->micro.largest(row + from, (int)(to - from)) : -INFINITY;
    }
}

/* The place of the largest of a row whose shares' largest are known. */
static int32_t top_place(const struct top_job *j, int row) {
    const float *top = j->top + row * TOP_SHARES, *x = j->x + (size_t)row * j->dim;
    int best = 0;
    for (int i = 0; i < TOP_SHARES; i++) {
        if (!(top[i] < INFINITY)) {
            return -1;
        }
        best = top[i] > top[best] ? i : best;
    }
    if (top[best] == -INFINITY) {
        return -1;
    }
    size_t at = (size_t)best * j->share;
    while (x[at] != top[best]) {
        at++;
    }
    return (int32_t)at;
}

void cpu_argmax(struct kern_dev *d, kern_ref x, size_t n, size_t dim, int32_t *at) {
    struct top_job j = {.d = (struct cpu_dev *)d,
                        .x = host_at(d, x, n * dim),
                        .dim = dim,
                        .share = (dim + TOP_SHARES - 1) / TOP_SHARES};
    while (n > 0) {
        int rows = n < TOP_ROWS ? (int)n : TOP_ROWS;
        size_t n_float = (size_t)rows * dim;
        if (n_float > SERIAL_FLOATS) {
            bool brief = n_float * sizeof(float) <= BRIEF_BYTES;
            pool_run_parts(d->pool, top_part, &j, rows * TOP_SHARES, brief);
        } else {
            top_part(&j, 0, rows * TOP_SHARES, 0);
        }
        for (int i = 0; i < rows; i++) {
            *at++ = top_place(&j, i);
        }
        n -= (size_t)rows;
        j.x += n_float;
    }
}

/* ---- experts --------------------------------------------------------------------------- */

static struct host_choice *choices(const struct kern_dev *d, kern_ref sel, int n_used) {
    return (struct host_choice *)host_at(d, sel, (size_t)d->step->n_tok * (size_t)n_used * 2);
}

void cpu_route(struct kern_dev *d, kern_ref sel, kern_ref logit, int n_exp, int n_used) {
    float *l = host_at(d, logit, (size_t)d->step->n_tok * (size_t)n_exp);
    struct host_choice *c = choices(d, sel, n_used);
    for (int t = 0; t < d->step->n_tok; t++, l += n_exp, c += n_used) {
        float total = 0;
        for (int u = 0; u < n_used; u++) {
            int best = -1;
            for (int i = 0; i < n_exp; i++) {
                bool taken = false;
                for (int v = 0; v < u && !taken; v++) {
                    taken = c[v].exp == i;
                }
                if (!taken && (best < 0 || l[i] > l[best])) {
                    best = i;
                }
            }
            c[u].exp = best;
            c[u].weight = micro_exp(l[best] - l[c[0].exp]);
            total += c[u].weight;
        }
        for (int u = 0; u < n_used; u++) {
            c[u].weight /= total;
        }
    }
}

static void mix_row(const struct row_job *j, int t) {
    const struct host_choice *c = j->sel + (size_t)t * (size_t)j->n_used;
    for (int u = 0; u < j->n_used; u++) {
        j->d->micro.axpy(j->y + (size_t)t * j->dim, c[u].weight,
                         j->x + ((size_t)t * (size_t)j->n_used + (size_t)u) * j->dim, (int)j->dim);
    }
}

void cpu_mix_exp(struct kern_dev *d, kern_ref y, kern_ref x, kern_ref sel, int n_used, int dim) {
    size_t n = (size_t)d->step->n_tok;
    run_rows(&(struct row_job){.d = (struct cpu_dev *)d,
                               .fn = mix_row,
                               .n = (int)n,
                               .x = host_at(d, x, n * (size_t)n_used * (size_t)dim),
                               .y = host_at(d, y, n * (size_t)dim),
                               .dim = (size_t)dim,
                               .sel = choices(d, sel, n_used),
                               .n_used = n_used});
}
