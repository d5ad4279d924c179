/* attend_all.c: attention of encoders: whole texts, each token over all of its own, without a
 * cache.
 *
 * Owns the cut into items: a head of one sequence, whose keys are turned so that positions lie side
 * by side; values are read where they are. Up to QUERIES tokens go through each tile of positions
 * together. The arithmetic is that of attention.c, by the same micro-kernels. Invariant: a token's
 * sums depend on its sequence alone, and not on what else is in the step.
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "kern/cpu/device.h"

#define QUERIES 32

/* A thread's scratch, for sequences of n positions; dim is d_head padded with zeros. */
struct all_scratch {
    float *row, *y;           /* [dim] a query, [QUERIES, dim] */
    float *k, *v;             /* [dim, tiles of n], [tiles of n, dim] */
    float *s;                 /* [QUERIES, MICRO_ATT_TILE] */
    float *lane;              /* [QUERIES, 16] */
    float *top, *keep, *step; /* [QUERIES] */
    float *q_scale;           /* [QUERIES, groups] */
    struct micro_tile kt, vt; /* a tile as integers */
    int16_t *q, *w;           /* [QUERIES, dim], [QUERIES, MICRO_ATT_TILE] */
    int *from, *to;           /* [QUERIES] */
    size_t floats;            /* all of it */
};

static int up_tile(int n) {
    return (n + MICRO_ATT_TILE - 1) / MICRO_ATT_TILE * MICRO_ATT_TILE;
}

static struct all_scratch all_scratch(float *at, int d_head, int n) {
    size_t dim = (size_t)cpu_up16(d_head), pos = (size_t)up_tile(n);
    size_t groups = (size_t)host_kv_groups(d_head);
    struct all_scratch s = {.row = at};
    s.y = s.row + dim;
    s.k = s.y + QUERIES * dim;
    s.v = s.k + dim * pos;
    s.s = s.v + dim * pos;
    s.lane = s.s + QUERIES * MICRO_ATT_TILE;
    s.top = s.lane + QUERIES * 16;
    s.keep = s.top + QUERIES;
    s.step = s.keep + QUERIES;
    s.q_scale = s.step + QUERIES;
    s.kt.scale = s.q_scale + QUERIES * groups;
    s.vt.scale = s.kt.scale + groups * MICRO_ATT_TILE;
    s.kt.v = (int16_t *)(void *)(s.vt.scale + MICRO_ATT_TILE);
    s.vt.v = s.kt.v + dim * MICRO_ATT_TILE;
    s.q = s.vt.v + dim * MICRO_ATT_TILE;
    s.w = s.q + QUERIES * dim;
    s.from = (int *)(void *)(s.w + QUERIES * MICRO_ATT_TILE);
    s.to = s.from + QUERIES;
    s.floats = (size_t)((float *)(void *)(s.to + QUERIES) - at);
    return s;
}

enum { N_PART = 2 };

/* The one list of scratch, for telling and for taking. */
static uint64_t list_parts(struct cpu_dev *d, const struct kern_kv *kv,
                           struct cpu_part part[N_PART]) {
    static float origin[1];
    size_t n = all_scratch(origin, kv->d_head, kv->n_all).floats * sizeof(float);
    d->att_bytes = (n + 63) / 64 * 64;
    const struct cpu_part list[N_PART] = {
        {(void **)&d->att, (size_t)d->host.n_thread * d->att_bytes},
        {(void **)&d->span, ((size_t)d->host.max_tok + 1) * sizeof *d->span},
    };
    memcpy(part, list, sizeof list);
    return cpu_parts_bytes(part, N_PART);
}

uint64_t cpu_attend_all_bytes(struct cpu_dev *d, const struct kern_kv *kv) {
    struct cpu_part part[N_PART];
    return list_parts(d, kv, part);
}

enum err_code cpu_attend_all_ready(struct cpu_dev *d, const struct kern_kv *kv, struct err *e) {
    struct cpu_part part[N_PART];
    list_parts(d, kv, part);
    return cpu_parts_take(part, N_PART, "attention", e);
}

struct all_job {
    const struct cpu_dev *d;
    const struct kern_attend_all *a;
    const float *q, *k, *v;
    float *y;
    size_t width; /* of a token's row in all four */
};

/* Tokens first..end of one sequence: keys side by side, and values, padded with zeros. */
static void load_sequence(const struct all_job *j, int first, int end, size_t head,
                          const struct all_scratch *s) {
    int dh = j->a->d_head, dim = cpu_up16(dh), step = up_tile(end - first);
    const float *k = j->k + (size_t)first * j->width + head;
    const float *v = j->v + (size_t)first * j->width + head;
    memset(s->k, 0, (size_t)(dim * step) * sizeof *s->k);
    memset(s->v, 0, (size_t)(dim * step) * sizeof *s->v);
    for (int d = 0; d < dh; d++) {
        for (int p = 0; p < end - first; p++) {
            s->k[d * step + p] = k[(size_t)p * j->width + (size_t)d];
        }
    }
    for (int p = 0; p < end - first; p++) {
        memcpy(s->v + p * dim, v + (size_t)p * j->width, (size_t)dh * sizeof *v);
    }
}

/* Queries t..t+n_q of a loaded sequence. */
static void attend_queries(const struct all_job *j, int first, int end, int t, int n_q, size_t head,
                           const struct all_scratch *s) {
    const struct micro *m = &j->d->micro;
    const struct micro_att *att = &m->att;
    int dh = j->a->d_head, dim = cpu_up16(dh), n = end - first, groups = host_kv_groups(dh);
    float scale = j->a->scale * CPU_LOG2_E; /* e^x = 2^(x / ln 2) */
    for (int i = 0; i < n_q; i++) {
        const float *q = j->q + (size_t)(t + i) * j->width + head;
        for (int d = 0; d < dim; d++) {
            s->row[d] = d < dh ? q[d] * scale : 0;
        }
        att->query(s->row, dim, s->q + i * dim, s->q_scale + i * groups);
        s->top[i] = -INFINITY;
        s->from[i] = 0;
    }
    memset(s->lane, 0, (size_t)n_q * 16 * sizeof *s->lane);
    memset(s->y, 0, (size_t)(n_q * dim) * sizeof *s->y);
    for (int p = 0; p < n; p += MICRO_ATT_TILE) {
        int here = n - p < MICRO_ATT_TILE ? n - p : MICRO_ATT_TILE;
        const struct micro_rows k = {.v = s->k + p, .step = up_tile(n)};
        const struct micro_rows v = {.v = s->v + p * dim, .step = dim};
        for (int i = 0; i < n_q; i++) {
            s->to[i] = here;
        }
        att->keys[MICRO_KV_F32](&k, dim, cpu_up16(here), 0, &s->kt);
        att->values[MICRO_KV_F32](&v, dim, cpu_up16(here), 0, &s->vt);
        att->scores(s->q, s->q_scale, n_q, dim, &s->kt, s->s);
        att->weigh(s->s, n_q, cpu_up16(here), s->from, s->to, s->vt.scale, s->top, s->lane, s->keep,
                   s->w, s->step);
        att->mix(s->y, n_q, dim, s->keep, s->w, s->step, &s->vt, cpu_up16(here));
    }
    for (int i = 0; i < n_q; i++) {
        float *y = j->y + (size_t)(t + i) * j->width + head;
        float inv = 1.0f / micro_sum16(s->lane + i * 16);
        for (int d = 0; d < dh; d++) {
            y[d] = s->y[i * dim + d] * inv;
        }
    }
}

/* A head of one sequence. */
static void attend_all_item(void *arg, int item, int thread) {
    const struct all_job *j = arg;
    int first = j->d->span[item / j->a->n_head], end = j->d->span[item / j->a->n_head + 1];
    size_t head = (size_t)(item % j->a->n_head) * (size_t)j->a->d_head;
    float *at = (float *)(void *)(j->d->att + (size_t)thread * j->d->att_bytes);
    struct all_scratch s = all_scratch(at, j->a->d_head, end - first);
    load_sequence(j, first, end, head, &s);
    for (int t = first; t < end && !host_cancelled(&j->d->host); t += QUERIES) {
        attend_queries(j, first, end, t, end - t < QUERIES ? end - t : QUERIES, head, &s);
    }
}

void cpu_attend_all(struct kern_dev *dev, const struct kern_attend_all *a) {
    struct cpu_dev *d = (struct cpu_dev *)dev;
    const struct step *s = dev->step;
    size_t width = (size_t)a->n_head * (size_t)a->d_head, n = (size_t)s->n_tok * width;
    struct all_job j = {.d = d,
                        .a = a,
                        .q = host_at(dev, a->q, n),
                        .k = host_at(dev, a->k, n),
                        .v = host_at(dev, a->v, n),
                        .y = host_at(dev, a->y, n),
                        .width = width};
    int n_span = 0;
    for (int t = 0; t < s->n_tok; t++) {
        if (t == 0 || s->seq[t] != s->seq[t - 1]) {
            d->span[n_span++] = t;
        }
        assert(t - d->span[n_span - 1] < dev->kv.n_all);
    }
    d->span[n_span] = s->n_tok;
    pool_run(dev->pool, attend_all_item, &j, n_span * a->n_head);
}
