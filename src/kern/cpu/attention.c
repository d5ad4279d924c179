/* attention.c: rotary positions, the KV cache, and softmax attention over its pages.
 *
 * Owns the walk: positions in tiles of ATT_TILE from 0, with a running maximum and sum (Milakov
 * and Gimelshein 2018; Dao et al. 2022). Query heads that share a KV head, and neighbouring tokens
 * of a sequence, go through a tile together, so that it is fetched and widened once.
 * Invariant: what is added to a query's sums, and in which order, depends on its position only:
 * a query whose window leaves a tile out multiplies by one and adds zeros there.
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "kern/cpu/device.h"

#define ATT_TILE  32 /* positions */
#define ATT_QUERY 32 /* query heads that go through a tile together, at most */

/* ---- rotation -------------------------------------------------------------------------- */

/* Sine and cosine of every angle of the step, once for all layers. */
static void rope_fill(struct cpu_dev *d, const struct kern_rope *r) {
    const struct step *s = d->host.step;
    const float *freq = host_vec(&d->host, r->freq);
    int half = r->n_rot / 2;
    assert((size_t)s->n_tok * (size_t)half <= d->rope_cap);
    for (int t = 0; t < s->n_tok; t++) {
        for (int i = 0; i < half; i++) {
            float angle = (float)s->pos[t] * freq[i];
            d->rope_cos[t * half + i] = (float)cos(angle) * r->scale;
            d->rope_sin[t * half + i] = (float)sin(angle) * r->scale;
        }
    }
    d->rope_freq = r->freq;
    d->rope_scale = r->scale;
}

struct rope_job {
    const struct cpu_dev *d;
    const struct kern_rope *r;
    float *x;
};

static void rope_token(void *arg, int t, int thread) {
    const struct rope_job *j = arg;
    const struct kern_rope *r = j->r;
    const struct micro *m = &j->d->micro;
    int half = r->n_rot / 2;
    const float *c = j->d->rope_cos + t * half, *s = j->d->rope_sin + t * half;
    float *row = j->x + (size_t)t * (size_t)r->n_head * (size_t)r->d_head;
    (void)thread;
    for (int h = 0; h < r->n_head; h++, row += r->d_head) {
        (r->halves ? m->rotate : m->rotate_pairs)(row, c, s, half);
    }
}

void cpu_rope(struct kern_dev *dev, kern_ref x, const struct kern_rope *r) {
    struct cpu_dev *d = (struct cpu_dev *)dev;
    int n = dev->step->n_tok;
    if (d->rope_freq != r->freq || d->rope_scale != r->scale) {
        rope_fill(d, r);
    }
    size_t width = (size_t)r->n_head * (size_t)r->d_head;
    struct rope_job job = {d, r, host_at(dev, x, (size_t)n * width)};
    if ((size_t)n * width > SERIAL_FLOATS) {
        pool_run(dev->pool, rope_token, &job, n);
        return;
    }
    for (int t = 0; t < n; t++) {
        rope_token(&job, t, 0);
    }
}

/* ---- the cache ------------------------------------------------------------------------- */

struct store_job {
    struct cpu_dev *d;
    int layer;
    const float *k, *v;
};

static void store_token(void *arg, int t, int thread) {
    const struct store_job *j = arg;
    const struct kern_dev *d = &j->d->host;
    const struct step *s = d->step;
    int dh = d->kv.d_head, page = host_page(d, s->seq[t], s->pos[t]);
    size_t at = (size_t)(s->pos[t] % d->kv.page_tok) * (size_t)dh;
    (void)thread;
    for (int h = 0; h < d->kv.n_kv; h++) {
        size_t from = ((size_t)t * (size_t)d->kv.n_kv + (size_t)h) * (size_t)dh;
        void *k = host_kv_at(d, j->layer, 0, h, page), *v = host_kv_at(d, j->layer, 1, h, page);
        if (d->kv.type == DT_F32) {
            memcpy((float *)k + at, j->k + from, (size_t)dh * sizeof(float));
            memcpy((float *)v + at, j->v + from, (size_t)dh * sizeof(float));
        } else {
            j->d->micro.f32_to_f16(j->k + from, (f16_t *)k + at, dh);
            j->d->micro.f32_to_f16(j->v + from, (f16_t *)v + at, dh);
        }
    }
}

void cpu_kv_store(struct kern_dev *dev, int layer, kern_ref k, kern_ref v) {
    int n = dev->step->n_tok;
    size_t width = (size_t)dev->kv.n_kv * (size_t)dev->kv.d_head;
    struct store_job job = {(struct cpu_dev *)dev, layer, host_at(dev, k, (size_t)n * width),
                            host_at(dev, v, (size_t)n * width)};
    if ((size_t)n * width > SERIAL_FLOATS) {
        pool_run(dev->pool, store_token, &job, n);
        return;
    }
    for (int t = 0; t < n; t++) {
        store_token(&job, t, 0);
    }
}

/* ---- attention ------------------------------------------------------------------------- */

/* A thread's scratch, all rows padded to a multiple of 8 floats with zeros. */
struct att_scratch {
    float *q, *y;              /* [ATT_QUERY, dim] */
    float *k, *v;              /* [ATT_TILE, dim] */
    float *s;                  /* [ATT_QUERY, ATT_TILE] */
    float *top, *total, *keep; /* [ATT_QUERY] */
};

static size_t att_floats(int dim) {
    size_t row = (size_t)micro_pad8(dim);
    return row * (2 * ATT_QUERY + 2 * ATT_TILE) + ATT_QUERY * (ATT_TILE + 3);
}

static struct att_scratch att_scratch(float *p, int dim) {
    struct att_scratch a;
    size_t row = (size_t)micro_pad8(dim);
    a.q = p;
    a.y = a.q + row * ATT_QUERY;
    a.k = a.y + row * ATT_QUERY;
    a.v = a.k + row * ATT_TILE;
    a.s = a.v + row * ATT_TILE;
    a.top = a.s + ATT_QUERY * ATT_TILE;
    a.total = a.top + ATT_QUERY;
    a.keep = a.total + ATT_QUERY;
    return a;
}

enum { N_PART = 4 };

/* The one list of scratch, for telling and for taking. */
static uint64_t list_parts(struct cpu_dev *d, const struct kern_kv *kv,
                           struct cpu_part part[N_PART]) {
    size_t n_tok = (size_t)d->host.max_tok;
    d->rope_cap = n_tok * (size_t)kv->d_head / 2;
    d->att_bytes = (att_floats(kv->d_head) * sizeof(float) + 63) / 64 * 64;
    const struct cpu_part list[N_PART] = {
        {(void **)&d->rope_cos, d->rope_cap * sizeof(float)},
        {(void **)&d->rope_sin, d->rope_cap * sizeof(float)},
        {(void **)&d->att, (size_t)d->host.n_thread * d->att_bytes},
        {(void **)&d->span, (n_tok + 1) * sizeof *d->span},
    };
    memcpy(part, list, sizeof list);
    return cpu_parts_bytes(part, N_PART);
}

uint64_t cpu_attention_bytes(struct cpu_dev *d, const struct kern_kv *kv) {
    struct cpu_part part[N_PART];
    return list_parts(d, kv, part);
}

enum err_code cpu_attention_ready(struct cpu_dev *d, const struct kern_kv *kv, struct err *e) {
    struct cpu_part part[N_PART];
    list_parts(d, kv, part);
    return cpu_parts_take(part, N_PART, "attention", e);
}

struct attend_job {
    const struct cpu_dev *d;
    const struct kern_attend *a;
    const float *q;
    float *y;
    int n_span; /* runs of tokens that attend together: d->span[i]..d->span[i + 1] */
    int n_part; /* parts of a KV head's query heads */
    int n_head; /* query heads in a part */
};

/* What one item works on: tokens t0..t1 and query heads h0..h1 of one KV head. Query i of the
 * item is head h0 + i % heads of token t0 + i / heads. */
struct att_item {
    int t0, t1, h0, h1, kv_head;
    int n_q, dim; /* dim: padded */
};

static struct att_item item_of(const struct attend_job *j, int item) {
    const struct kern_attend *a = j->a;
    int per_span = a->n_kv * j->n_part, group = a->n_head / a->n_kv;
    int span = j->n_span - 1 - item / per_span; /* the longest walks first */
    int kv_head = item % per_span / j->n_part, part = item % j->n_part;
    struct att_item it = {.t0 = j->d->span[span], .t1 = j->d->span[span + 1], .kv_head = kv_head};
    it.h0 = kv_head * group + part * j->n_head;
    it.h1 = it.h0 + j->n_head < (kv_head + 1) * group ? it.h0 + j->n_head : (kv_head + 1) * group;
    it.n_q = (it.t1 - it.t0) * (it.h1 - it.h0);
    it.dim = (int)micro_pad8(a->d_head);
    return it;
}

/* The place in q and y of query i. */
static size_t query_at(const struct attend_job *j, const struct att_item *it, int i) {
    int heads = it->h1 - it->h0;
    size_t token = (size_t)(it->t0 + i / heads), head = (size_t)(it->h0 + i % heads);
    return (token * (size_t)j->a->n_head + head) * (size_t)j->a->d_head;
}

/* Widens n rows of a page, from place `at` on, into rows of dim floats. */
static void rows_widen(const struct attend_job *j, const void *page, size_t at, int n, int dim,
                       float *to) {
    int dh = j->a->d_head;
    if (j->d->host.kv.type == DT_F16 && dim == dh) { /* no padding: all at once */
        j->d->micro.f16_to_f32((const f16_t *)page + at, to, n * dh);
        return;
    }
    for (int i = 0; i < n; i++, at += (size_t)dh, to += dim) {
        if (j->d->host.kv.type == DT_F32) {
            memcpy(to, (const float *)page + at, (size_t)dh * sizeof *to);
        } else {
            j->d->micro.f16_to_f32((const f16_t *)page + at, to, dh);
        }
    }
}

/* Widens positions p0..p0+n of the cache into k and v, a page's at a time. */
static void tile_fetch(const struct attend_job *j, const struct att_item *it, int p0, int n,
                       const struct att_scratch *s) {
    const struct kern_dev *d = &j->d->host;
    int seq = d->step->seq[it->t0], run;
    for (int p = p0; p < p0 + n; p += run) {
        int page = host_page(d, seq, p), place = p % d->kv.page_tok;
        size_t at = (size_t)place * (size_t)j->a->d_head, to = (size_t)(p - p0) * (size_t)it->dim;
        run = d->kv.page_tok - place < p0 + n - p ? d->kv.page_tok - place : p0 + n - p;
        for (int value = 0; value < 2; value++) {
            const void *from = host_kv_at(d, j->a->layer, value, it->kv_head, page);
            rows_widen(j, from, at, run, it->dim, (value ? s->v : s->k) + to);
        }
    }
}

/* Scores of one tile to weights: sets s, and how much of the sums so far is kept. */
static void tile_softmax(const struct attend_job *j, const struct att_item *it, int p0, int n,
                         const struct att_scratch *s) {
    const struct micro *m = &j->d->micro;
    int heads = it->h1 - it->h0, window = j->a->window;
    for (int i = 0; i < it->n_q; i++) {
        int pos = j->d->host.step->pos[it->t0 + i / heads];
        int first = window > 0 && pos + 1 > window ? pos + 1 - window : 0;
        int from = first > p0 ? first - p0 : 0, to = pos + 1 - p0 < n ? pos + 1 - p0 : n;
        float *row = s->s + i * ATT_TILE;
        s->keep[i] = 1.0f;
        if (from >= to) { /* nothing here for this query */
            memset(row, 0, (size_t)n * sizeof *row);
            continue;
        }
        for (int p = 0; p < from; p++) {
            row[p] = -INFINITY;
        }
        for (int p = to; p < n; p++) {
            row[p] = -INFINITY;
        }
        float top = m->max(row, n);
        if (top > s->top[i]) {
            s->keep[i] = micro_exp(s->top[i] - top);
            s->top[i] = top;
        }
        float sum = m->exp_sum(row, n, s->top[i]);
        s->total[i] = s->total[i] * s->keep[i] + sum;
    }
}

static void attend_item(void *arg, int item, int thread) {
    const struct attend_job *j = arg;
    const struct micro *m = &j->d->micro;
    const struct step *step = j->d->host.step;
    struct att_item it = item_of(j, item);
    struct att_scratch s =
        att_scratch((float *)(j->d->att + (size_t)thread * j->d->att_bytes), j->a->d_head);
    int dh = j->a->d_head, window = j->a->window;
    /* Padding must be zero: what is there is left from another model's shape at worst. */
    memset(s.q, 0, (size_t)it.dim * (2 * ATT_QUERY + 2 * ATT_TILE) * sizeof(float));
    for (int i = 0; i < it.n_q; i++) {
        memcpy(s.q + i * it.dim, j->q + query_at(j, &it, i), (size_t)dh * sizeof(float));
        s.top[i] = -INFINITY;
        s.total[i] = 0;
    }
    int end = step->pos[it.t1 - 1] + 1, low = step->pos[it.t0] + 1 - window;
    int p = window > 0 && low > 0 ? low / ATT_TILE * ATT_TILE : 0;
    for (; p < end && !host_cancelled(&j->d->host); p += ATT_TILE) {
        int n = end - p < ATT_TILE ? end - p : ATT_TILE;
        tile_fetch(j, &it, p, n, &s);
        m->scores(s.q, it.n_q, s.k, n, it.dim, j->a->scale, s.s, ATT_TILE);
        for (int i = 0; j->a->cap > 0 && i < it.n_q; i++) {
            m->softcap(s.s + i * ATT_TILE, n, j->a->cap);
        }
        tile_softmax(j, &it, p, n, &s);
        m->mix(s.y, it.dim, it.n_q, s.keep, s.s, ATT_TILE, s.v, n, it.dim);
    }
    for (int i = 0; i < it.n_q; i++) {
        float *y = j->y + query_at(j, &it, i), inv = 1.0f / s.total[i];
        for (int k = 0; k < dh; k++) {
            y[k] = s.y[i * it.dim + k] * inv;
        }
    }
}

void cpu_attend(struct kern_dev *dev, kern_ref y, kern_ref q, const struct kern_attend *a) {
    struct cpu_dev *d = (struct cpu_dev *)dev;
    const struct step *s = dev->step;
    size_t n = (size_t)s->n_tok * (size_t)a->n_head * (size_t)a->d_head;
    int group = a->n_head / a->n_kv;
    struct attend_job j = {.d = d, .a = a, .q = host_at(dev, q, n), .y = host_at(dev, y, n)};
    j.n_head = group < ATT_QUERY ? group : ATT_QUERY;
    j.n_part = (group + j.n_head - 1) / j.n_head;
    int most = ATT_QUERY / j.n_head;
    for (int t = 0; t < s->n_tok; t++) { /* spans: neighbours in one sequence, at most `most` */
        if (t == 0 || s->seq[t] != s->seq[t - 1] || t - d->span[j.n_span - 1] == most) {
            d->span[j.n_span++] = t;
        }
    }
    d->span[j.n_span] = s->n_tok;
    pool_run(dev->pool, attend_item, &j, j.n_span * a->n_kv * j.n_part);
}
