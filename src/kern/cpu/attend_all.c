/* attend_all.c: attention of encoders: whole texts, each token over all of its own, without a
 * cache.
 *
 * Owns the cut into items: a head of one sequence, whose keys are turned so that positions lie side
 * by side; values are read where they are. Up to QUERIES tokens go through with all of their scores
 * at once. The arithmetic is that of attention.c, by the same micro-kernels. Invariant: a token's
 * sums depend on its sequence alone, and not on what else is in the step.
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "kern/cpu/device.h"

#define QUERIES 32
#define LOG2_E  1.44269504f

static int up16(int n) {
    return (n + 15) / 16 * 16;
}

/* A thread's scratch, for sequences of n positions; dim is d_head padded with zeros. */
struct all_scratch {
    float *q, *y;      /* [QUERIES, dim] */
    float *k;          /* [dim, up16(n)] */
    float *v;          /* [n, dim]; only where heads are no whole registers */
    float *s;          /* [QUERIES, up16(n)] */
    float *lane;       /* [QUERIES, 16] */
    float *top, *keep; /* [QUERIES] */
    int *from, *to;    /* [QUERIES] */
    size_t floats;     /* all of it */
};

static struct all_scratch all_scratch(float *at, int d_head, int n) {
    size_t dim = (size_t)up16(d_head), pos = (size_t)up16(n);
    struct all_scratch s = {.q = at};
    s.y = s.q + QUERIES * dim;
    s.k = s.y + QUERIES * dim;
    s.v = s.k + dim * pos;
    s.s = s.v + (d_head % 16 ? dim * pos : 0);
    s.lane = s.s + QUERIES * pos;
    s.top = s.lane + QUERIES * 16;
    s.keep = s.top + QUERIES;
    s.from = (int *)(void *)(s.keep + QUERIES);
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

/* Tokens first..end of one sequence: keys side by side, and values where they must be padded. */
static void load_sequence(const struct all_job *j, int first, int end, size_t head,
                          const struct all_scratch *s) {
    int dh = j->a->d_head, dim = up16(dh), step = up16(end - first);
    const float *k = j->k + (size_t)first * j->width + head;
    for (int d = 0; d < dim; d++) {
        float *to = s->k + d * step;
        for (int p = 0; p < end - first; p++) {
            to[p] = d < dh ? k[(size_t)p * j->width + (size_t)d] : 0;
        }
        memset(to + end - first, 0, (size_t)(step - (end - first)) * sizeof *to);
    }
    const float *v = j->v + (size_t)first * j->width + head;
    for (int p = 0; dh % 16 && p < end - first; p++) {
        memset(s->v + p * dim, 0, (size_t)dim * sizeof *v);
        memcpy(s->v + p * dim, v + (size_t)p * j->width, (size_t)dh * sizeof *v);
    }
}

static float total_of(const float lane[16]) {
    float sum[8];
    for (int i = 0; i < 8; i++) {
        sum[i] = lane[i] + lane[i + 8];
    }
    return micro_sum8(sum);
}

/* Queries t..t+n_q of a loaded sequence. */
static void attend_queries(const struct all_job *j, int first, int end, int t, int n_q, size_t head,
                           const struct all_scratch *s) {
    const struct micro *m = &j->d->micro;
    const struct micro_att *f32 = &m->att[MICRO_KV_F32];
    int dh = j->a->d_head, dim = up16(dh), n = end - first, step = up16(n);
    float scale = j->a->scale * LOG2_E; /* e^x = 2^(x / ln 2) */
    for (int i = 0; i < n_q; i++) {
        const float *q = j->q + (size_t)(t + i) * j->width + head;
        for (int d = 0; d < dim; d++) {
            s->q[i * dim + d] = d < dh ? q[d] * scale : 0;
        }
        s->top[i] = -INFINITY;
        s->from[i] = 0;
        s->to[i] = n;
    }
    memset(s->lane, 0, (size_t)n_q * 16 * sizeof *s->lane);
    memset(s->y, 0, (size_t)(n_q * dim) * sizeof *s->y);
    const struct micro_rows k = {.v = s->k, .step = step};
    struct micro_rows v = {.v = s->v, .step = dim};
    if (dh % 16 == 0) {
        v = (struct micro_rows){.v = j->v + (size_t)first * j->width + head, .step = (int)j->width};
    }
    f32->scores(s->q, n_q, dim, &k, step, s->s, step);
    m->softmax(s->s, step, n_q, step, s->from, s->to, s->top, s->lane, s->keep);
    f32->mix(s->y, n_q, dim, NULL, s->s, step, &v, n);
    for (int i = 0; i < n_q; i++) {
        float *y = j->y + (size_t)(t + i) * j->width + head;
        float inv = 1.0f / total_of(s->lane + i * 16);
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
