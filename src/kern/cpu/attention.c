/* attention.c: rotary positions, the KV cache, and softmax attention over its pages.
 *
 * Owns the walk: positions in tiles of MICRO_ATT_TILE from 0, with a running maximum and sum
 * (Milakov and Gimelshein 2018; Dao et al. 2022), begun anew at each part of ATT_PART, and the
 * parts merged in their order. The queries of an item (a picture before struct attend_job shows
 * what that is) go through a tile together, which is turned into integers for them once
 * (micro_att.h says what is lost). Where no two items walk the same positions of a KV head, each
 * first stores the step's keys and values there; else all are stored before. Where there are too
 * few items for the threads, parts are walked side by side.
 * Invariant: what is added to a query's sums, and in which order, depends on its position only:
 * a query whose window leaves a tile out multiplies by one and adds zeros there.
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "kern/cpu/device.h"

#define ATT_TILE  MICRO_ATT_TILE
#define ATT_PART  512 /* positions whose sums are made by themselves, then merged */
#define ATT_QUERY 256 /* slots of an item, at most */
#define ATT_BLOCK 24  /* queries whose scores and weights are in cache together */
#define ATT_SPLIT 32  /* slots for each thread, at most, where parts are walked side by side */
#define ATT_ITEMS 16  /* items, or their parts, for each thread: with 8, threads wait at the end */

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
    for (int h = 0; h < r->n_head; h++) {
        (r->halves ? m->rotate : m->rotate_pairs)(row + h * r->d_head, c, s, half);
    }
    host_rope_less(&j->d->host, r, row);
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

/* ---- scratch --------------------------------------------------------------------------- */

/* A thread's scratch. dim: d_head, padded to a multiple of 16 with zeros; groups of 32 in it. */
struct att_scratch {
    float *y, *sum;               /* [ATT_QUERY, dim] a part's mixed values, all parts' */
    float *q_scale;               /* [ATT_QUERY, groups] */
    struct micro_tile k, v;       /* the tile as integers */
    float *s;                     /* [ATT_BLOCK, ATT_TILE] */
    float *lane;                  /* [ATT_QUERY, 16] */
    float *top, *total, *all_top; /* [ATT_QUERY]; top of a part, total and all_top of all parts */
    float *keep, *step;           /* [ATT_BLOCK] */
    int *from, *to;               /* [ATT_QUERY] */
    float *row;                   /* [dim] a query, or what is stored */
    void *raw;                    /* [dim, ATT_TILE] numbers of a cache without whole registers */
    bf16_t *raw_scale;            /* [groups, ATT_TILE] */
    int16_t *q;                   /* [ATT_QUERY, dim] */
    int16_t *w;                   /* [ATT_BLOCK, ATT_TILE] */
};

/* Lays the scratch out from `at` on and gives its bytes. */
static size_t att_layout(struct att_scratch *a, int d_head, uint8_t *at) {
    const size_t dim = (size_t)cpu_up16(d_head), groups = (size_t)host_kv_groups(d_head),
                 f = sizeof(float);
    const size_t tile = dim * ATT_TILE;
    struct {
        void *to;
        size_t bytes;
    } part[] = {{&a->y, ATT_QUERY * dim * f},
                {&a->sum, ATT_QUERY * dim * f},
                {&a->q_scale, ATT_QUERY * groups * f},
                {&a->k.v, tile * sizeof(int16_t)},
                {&a->k.scale, groups * ATT_TILE * f},
                {&a->v.v, tile * sizeof(int16_t)},
                {&a->v.scale, ATT_TILE * f},
                {&a->s, ATT_BLOCK * ATT_TILE * f},
                {&a->lane, ATT_QUERY * 16 * f},
                {&a->top, ATT_QUERY * f},
                {&a->total, ATT_QUERY * f},
                {&a->all_top, ATT_QUERY * f},
                {&a->keep, ATT_BLOCK * f},
                {&a->step, ATT_BLOCK * f},
                {&a->from, ATT_QUERY * sizeof(int)},
                {&a->to, ATT_QUERY * sizeof(int)},
                {&a->row, dim * f},
                {&a->raw, tile * f},
                {&a->raw_scale, groups * ATT_TILE * sizeof(bf16_t)},
                {&a->q, ATT_QUERY * dim * sizeof(int16_t)},
                {&a->w, ATT_BLOCK * ATT_TILE * sizeof(int16_t)}};
    size_t bytes = 0;
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        void *here = at == NULL ? NULL : at + bytes;
        memcpy(part[i].to, &here, sizeof here);
        bytes += (part[i].bytes + 63) / 64 * 64;
    }
    return bytes;
}

static struct att_scratch att_scratch(const struct cpu_dev *d, int thread) {
    struct att_scratch a;
    att_layout(&a, d->host.kv.d_head, d->att + (size_t)thread * d->att_bytes);
    return a;
}

/* Where parts are walked side by side: sums [item, part, slot] of the floats below. */
static size_t split_floats(const struct kern_kv *kv) {
    return (size_t)cpu_up16(kv->d_head) + 2; /* mixed values, top, total */
}

static size_t split_parts(const struct kern_kv *kv) {
    return (size_t)kv->n_page * (size_t)kv->page_tok / ATT_PART + 1;
}

enum { N_PART = 5 };

/* The one list of scratch, for telling and for taking. */
static uint64_t list_parts(struct cpu_dev *d, const struct kern_kv *kv,
                           struct cpu_part part[N_PART]) {
    size_t n_tok = (size_t)d->host.max_tok, n_thread = (size_t)d->host.n_thread;
    d->rope_cap = n_tok * (size_t)kv->d_head / 2;
    d->att_bytes = att_layout(&(struct att_scratch){0}, kv->d_head, NULL);
    const struct cpu_part list[N_PART] = {
        {(void **)&d->rope_cos, d->rope_cap * sizeof(float)},
        {(void **)&d->rope_sin, d->rope_cap * sizeof(float)},
        {(void **)&d->att, n_thread * d->att_bytes},
        {(void **)&d->span, (n_tok + 1) * sizeof *d->span},
        {(void **)&d->split,
         n_thread * ATT_SPLIT * split_parts(kv) * split_floats(kv) * sizeof(float)},
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

/* ---- the cache ------------------------------------------------------------------------- */

struct store_job {
    struct cpu_dev *d;
    int layer;
    const float *x[2]; /* [n_tok, n_kv * d_head] keys, values */
};

/* Writes n numbers from place `at` on, `step` apart. */
static void put_f16(const f16_t *x, int n, f16_t *to, int step) {
    for (int i = 0; i < n; i++) {
        to[(size_t)i * (size_t)step] = x[i];
    }
}

/* One token's keys (value = 0) or values of one head, by way of scratch. */
static void store_row(const struct cpu_dev *d, const struct host_kv *to, int value, int place,
                      const float *x, const struct att_scratch *s) {
    int dh = d->host.kv.d_head, page_tok = d->host.kv.page_tok, groups = host_kv_groups(dh);
    void *row = s->raw;
    bf16_t *scale = s->raw_scale;
    size_t at = value ? (size_t)place * (size_t)dh : (size_t)place;
    int step = value ? 1 : page_tok;
    if (to->type == DT_F32) {
        for (int i = 0; i < dh; i++) {
            ((float *)to->v)[at + (size_t)i * (size_t)step] = x[i];
        }
    } else if (to->type == DT_F16) {
        d->micro.f32_to_f16(x, row, dh);
        put_f16(row, dh, (f16_t *)to->v + at, step);
    } else {
        memcpy(s->row, x, (size_t)dh * sizeof *x);
        host_kv_turn(s->row, dh, host_kv_block(dh));
        host_kv_quantize(s->row, dh, row, scale);
        for (int i = 0; i < dh; i++) {
            ((int8_t *)to->v)[at + (size_t)i * (size_t)step] = ((int8_t *)row)[i];
        }
        for (int g = 0; g < groups; g++) {
            to->scale[value ? place * groups + g : g * page_tok + place] = scale[g];
        }
    }
}

/* Tokens t0..t1 of one head. */
static void store_tokens(const struct store_job *j, int value, int head, int t0, int t1,
                         const struct att_scratch *scratch) {
    const struct kern_dev *d = &j->d->host;
    const struct step *s = d->step;
    for (int t = t0; t < t1; t++) {
        size_t from = ((size_t)t * (size_t)d->kv.n_kv + (size_t)head) * (size_t)d->kv.d_head;
        int page = host_page(d, s->seq[t], s->pos[t]);
        struct host_kv to = host_kv_at(d, j->layer, value, head, page);
        store_row(j->d, &to, value, s->pos[t] % d->kv.page_tok, j->x[value] + from, scratch);
    }
}

/* All tokens of one head: neighbours share cache lines, which two threads would fight for. */
static void store_head(void *arg, int index, int thread) {
    const struct store_job *j = arg;
    const int n_kv = j->d->host.kv.n_kv;
    struct att_scratch scratch = att_scratch(j->d, thread);
    store_tokens(j, index / n_kv, index % n_kv, 0, j->d->host.step->n_tok, &scratch);
}

static struct store_job store_job(struct kern_dev *dev, int layer, kern_ref k, kern_ref v) {
    size_t n = (size_t)dev->step->n_tok * (size_t)dev->kv.n_kv * (size_t)dev->kv.d_head;
    return (struct store_job){
        (struct cpu_dev *)dev, layer, {host_at(dev, k, n), host_at(dev, v, n)}};
}

static void store_all(struct kern_dev *dev, struct store_job *job) {
    int n = 2 * dev->kv.n_kv;
    if ((size_t)dev->step->n_tok * (size_t)dev->kv.n_kv * (size_t)dev->kv.d_head > SERIAL_FLOATS) {
        pool_run(dev->pool, store_head, job, n);
        return;
    }
    for (int i = 0; i < n; i++) {
        store_head(job, i, 0);
    }
}

void cpu_kv_store(struct kern_dev *dev, int layer, kern_ref k, kern_ref v) {
    struct store_job job = store_job(dev, layer, k, v);
    store_all(dev, &job);
}

/* ---- the walk -------------------------------------------------------------------------- */

/* How a step's work is cut, by an example. A query is what one query head has of one token. There
 * are 8 query heads, four to each of 2 KV heads; tokens 0 and 1 are of one sequence, at positions
 * 599 and 600, token 2 is of another, at 40; and two threads. The numbers in the boxes are slots.
 *
 *   KV head                    0                 1
 *   query head           0   1   2   3     4   5   6   7      position 0            512    600
 *                     +-----------------+-----------------+            +-------------+------+
 *             token 0 |  0   1   2   3  |  0   1   2   3  |            |             |      |
 *   span 0    token 1 |  4   5   6   7  |  4   5   6   7  |            |   part 0    |part 1|
 *                     |     item 2      |     item 3      |            |             |      |
 *                     +-----------------+-----------------+            +-+-----------+------+
 *   span 1    token 2 |  0   1   2   3  |  0   1   2   3  |            | | part 0, which ends
 *                     |     item 0      |     item 1      |            | | with position 40
 *                     +-----------------+-----------------+            +-+
 *                           set 0             set 1
 *                          share 0           share 0
 *
 *   span   tokens next to each other in one sequence, ATT_QUERY / share_head of them at most
 *   set    set_kv KV heads next to each other, which pass a tile one after the other
 *   share  share_head of the query heads of a KV head: all of them, or ATT_QUERY if they are more
 *   item   a span, a set, and of each of its KV heads the same share: what a thread works on
 *   slot   the place of a query in its item: KV head by KV head, in each token by token, n_slot at
 *          most. One thread would take both KV heads as one set: KV head 1 then has slots 8 to 15
 *          of the item of span 0, 4 to 7 of that of span 1
 *   part   positions from a multiple of ATT_PART to the next, or to the span's last. Here 4 items
 *          are too few for two threads: n_part = 2, and threads work on single parts of items
 */
struct attend_job {
    const struct cpu_dev *d;
    const struct kern_attend *a;
    const struct store_job *own; /* what an item stores before it attends; or NULL */
    const float *q;
    float *y;
    enum micro_kv type[2]; /* of keys, of values */
    int block[2];          /* of what is turned of them; 1: nothing is */
    float scale;           /* of q: scores are exponents of two */
    float cap;             /* of such scores; 0: none */
    bool whole;     /* heads and pages are whole registers: micro-kernels may read the pages */
    int n_span;     /* span i is tokens d->span[i]..d->span[i + 1] */
    int set_kv;     /* KV heads in a set */
    int n_set;      /* of all KV heads */
    int n_share;    /* of the query heads of each KV head */
    int share_head; /* query heads in a share */
    int n_part;     /* walked side by side; 0: each item walks all of its parts */
    int n_slot;     /* of the largest item */
};

/* An item. Query i of one KV head is head h0 + i % (h1 - h0) of token t0 + i / (h1 - h0). */
struct att_item {
    int t0, t1;     /* its span: tokens t0..t1 */
    int kv0, kv1;   /* its set: KV heads kv0..kv1 */
    int h0, h1;     /* its share: query heads h0..h1, counted from each KV head's first */
    int kv_head;    /* the one that is walked now */
    int n_q, dim;   /* n_q: of one KV head; dim: padded */
    int first, end; /* positions that any of them attends to, from a tile's start */
};

static int item_count(const struct attend_job *j) {
    return j->n_span * j->n_set * j->n_share;
}

static struct att_item item_of(const struct attend_job *j, int item) {
    const struct kern_attend *a = j->a;
    const struct step *s = j->d->host.step;
    int per_span = j->n_set * j->n_share, group = a->n_head / a->n_kv;
    int span = j->n_span - 1 - item / per_span; /* the longest walks first */
    int set = item % per_span / j->n_share, share = item % j->n_share;
    struct att_item it = {.t0 = j->d->span[span], .t1 = j->d->span[span + 1]};
    it.kv_head = it.kv0 = set * j->set_kv;
    it.kv1 = it.kv0 + j->set_kv < a->n_kv ? it.kv0 + j->set_kv : a->n_kv;
    it.h0 = share * j->share_head;
    it.h1 = it.h0 + j->share_head < group ? it.h0 + j->share_head : group;
    it.n_q = (it.t1 - it.t0) * (it.h1 - it.h0);
    it.dim = cpu_up16(a->d_head);
    it.end = s->pos[it.t1 - 1] + 1;
    int low = a->window > 0 ? s->pos[it.t0] + 1 - a->window : 0;
    it.first = low > 0 ? low / ATT_TILE * ATT_TILE : 0;
    return it;
}

/* Queries of the item, of all KV heads of its set. */
static int queries_of(const struct att_item *it) {
    return it->n_q * (it->kv1 - it->kv0);
}

/* Where the query in slot i lies in q and y. */
static size_t query_at(const struct attend_job *j, const struct att_item *it, int i) {
    int heads = it->h1 - it->h0, first = (it->kv0 + i / it->n_q) * (j->a->n_head / j->a->n_kv);
    i %= it->n_q;
    size_t token = (size_t)(it->t0 + i / heads), head = (size_t)(first + it->h0 + i % heads);
    return (token * (size_t)j->a->n_head + head) * (size_t)j->a->d_head;
}

static size_t number_bytes(enum dtype type) {
    return type == DT_F32 ? 4 : type == DT_F16 ? 2 : 1;
}

/* Keys (value = 0) or values from position p on, as they lie in its page. */
static struct micro_rows rows_of(const struct attend_job *j, const struct att_item *it, int value,
                                 int p) {
    const struct kern_dev *d = &j->d->host;
    int dh = d->kv.d_head, place = p % d->kv.page_tok;
    struct host_kv kv =
        host_kv_at(d, j->a->layer, value, it->kv_head, host_page(d, d->step->seq[it->t0], p));
    size_t at = value ? (size_t)place * (size_t)dh : (size_t)place;
    size_t size = number_bytes(kv.type);
    size_t scale_at = (size_t)(value ? place * host_kv_groups(dh) : place);
    return (struct micro_rows){.v = (const char *)kv.v + at * size,
                               .scale = kv.scale ? kv.scale + scale_at : NULL,
                               .step = value ? dh : d->kv.page_tok};
}

/* Positions from p on that lie in one page, up to `end`. */
static int run_of(const struct attend_job *j, int p, int end) {
    int left = j->d->host.kv.page_tok - p % j->d->host.kv.page_tok;
    return left < end - p ? left : end - p;
}

/* Keys (value = 0) or values of positions p0..p0+n, number by number, as a page of whole registers
 * would have them: for pages and heads that have none. */
static struct micro_rows gather(const struct attend_job *j, const struct att_item *it, int value,
                                int p0, int n, const struct att_scratch *s) {
    const size_t dim = (size_t)it->dim;
    const size_t size = number_bytes(dtype_kv_part(j->d->host.kv.type, j->a->layer, value));
    const int dh = j->a->d_head, groups = host_kv_groups(dh);
    memset(s->raw, 0, dim * ATT_TILE * size);
    memset(s->raw_scale, 0, (size_t)groups * ATT_TILE * sizeof *s->raw_scale);
    for (int i = 0; i < n; i++) {
        struct micro_rows r = rows_of(j, it, value, p0 + i);
        for (int d = 0; d < dh; d++) {
            size_t to = value ? (size_t)i * dim + (size_t)d : (size_t)(d * ATT_TILE + i);
            size_t from = (size_t)d * (size_t)(value ? 1 : r.step);
            memcpy((char *)s->raw + to * size, (const char *)r.v + from * size, size);
        }
        for (int g = 0; g < groups && r.scale; g++) {
            s->raw_scale[value ? i * groups + g : g * ATT_TILE + i] =
                r.scale[value ? g : g * r.step];
        }
    }
    return (struct micro_rows){
        .v = s->raw, .scale = s->raw_scale, .step = value ? it->dim : ATT_TILE};
}

/* The streams of the next tile, which begins at p: of each page of the cache the head's keys and
 * its values, in two halves each, so that no stream is longer than a page of memory. All are as
 * long as half the values: of larger keys (f16 beside int8) the rest is left out. */
static void tile_ahead(const struct attend_job *j, const struct att_item *it, int p,
                       struct micro_ahead *a) {
    const int page_tok = j->d->host.kv.page_tok;
    const struct kern_kv *shape = &j->d->host.kv;
    size_t bytes = kern_kv_head_bytes(shape, j->a->layer, 1) / 2;
    int n = 0;
    for (int end = p + ATT_TILE; p < end && p < it->end && n + 4 <= MICRO_AHEAD; p += page_tok) {
        for (int value = 0; value < 2; value++) {
            struct host_kv kv = host_kv_at(&j->d->host, j->a->layer, value, it->kv_head,
                                           host_page(&j->d->host, j->d->host.step->seq[it->t0], p));
            const char *start = kv.scale ? (const char *)kv.scale : kv.v;
            a->stream[n++] = start;
            a->stream[n++] = start + kern_kv_head_bytes(shape, j->a->layer, value) / 2;
        }
    }
    a->log_n = 2;
    while (1 << a->log_n < n) {
        a->log_n++;
    }
    for (int i = n; n > 0 && i < 1 << a->log_n; i++) { /* twice does no harm */
        a->stream[i] = a->stream[i - n];
    }
    a->next = 0;
    a->end = n > 0 ? (uint32_t)(bytes / 64) << a->log_n : 0;
}

/* Positions p0..p0+n as integers, a page's at a time. What lies past n counts for nothing. */
static void tile_fill(const struct attend_job *j, const struct att_item *it, int p0, int n,
                      const struct att_scratch *s) {
    micro_tile_fn keys = j->d->micro.att.keys[j->type[0]];
    micro_tile_fn values = j->d->micro.att.values[j->type[1]];
    if (!j->whole) {
        struct micro_rows k = gather(j, it, 0, p0, n, s);
        keys(&k, it->dim, cpu_up16(n), 0, &s->k);
        struct micro_rows v = gather(j, it, 1, p0, n, s);
        values(&v, it->dim, cpu_up16(n), 0, &s->v);
        return;
    }
    for (int p = p0, run; p < p0 + n; p += run) {
        run = run_of(j, p, p0 + n);
        struct micro_rows k = rows_of(j, it, 0, p), v = rows_of(j, it, 1, p);
        keys(&k, it->dim, cpu_up16(run), p - p0, &s->k);
        values(&v, it->dim, cpu_up16(run), p - p0, &s->v);
    }
}

/* Where the keys and values of the tile at p0 lie, and what is read after them. */
static void runs_of(const struct attend_job *j, const struct att_item *it, int p0, int n,
                    struct micro_runs *k, struct micro_runs *v) {
    const int page_tok = j->d->host.kv.page_tok;
    struct att_item next = *it;
    bool last = ++next.kv_head == it->kv1;
    next.kv_head = last ? it->kv0 : next.kv_head;
    k->each = v->each = page_tok < ATT_TILE ? page_tok : ATT_TILE;
    for (int p = 0, i = 0; p < n; p += k->each, i++) {
        int then = last && p0 + p + ATT_TILE < it->end ? p0 + p + ATT_TILE : p0 + p;
        k->run[i] = rows_of(j, it, 0, p0 + p);
        v->run[i] = rows_of(j, it, 1, p0 + p);
        k->near[i] = v->run[i].v;
        v->near[i] = rows_of(j, &next, 0, then).v;
    }
}

/* Which positions of the tile at p0 count for each query. */
static void tile_bounds(const struct attend_job *j, const struct att_item *it, int p0, int n,
                        const struct att_scratch *s) {
    int heads = it->h1 - it->h0, window = j->a->window;
    for (int t = it->t0, i = 0; t < it->t1; t++) {
        int pos = j->d->host.step->pos[t];
        int first = window > 0 && pos + 1 > window ? pos + 1 - window : 0;
        for (int end = i + heads; i < end; i++) {
            s->from[i] = first > p0 ? first - p0 : 0;
            s->to[i] = pos + 1 - p0 < n ? pos + 1 - p0 : n;
        }
    }
}

/* Queries i..i+n_q go through the tile. */
static void tile_block(const struct attend_job *j, const struct att_item *it, int i, int n_q, int n,
                       const struct att_scratch *s) {
    const struct micro *m = &j->d->micro;
    const int groups = host_kv_groups(j->a->d_head), n_pos = cpu_up16(n);
    m->att.scores(s->q + i * it->dim, s->q_scale + i * groups, n_q, it->dim, &s->k, s->s);
    for (int k = 0; j->cap > 0 && k < n_q; k++) {
        m->softcap(s->s + k * ATT_TILE, n, j->cap);
    }
    m->att.weigh(s->s, n_q, n_pos, s->from + i, s->to + i, s->v.scale, s->top + i, s->lane + i * 16,
                 s->keep, s->w, s->step);
    m->att.mix(s->y + i * it->dim, n_q, it->dim, s->keep, s->w, s->step, &s->v, n_pos);
}

/* Queries i..i+n_q, which are few, go through positions p0..p0+n where they lie. */
static void tile_few(const struct attend_job *j, const struct att_item *it, int p0, int n, int i,
                     int n_q, const struct att_scratch *s) {
    const struct micro *m = &j->d->micro;
    const int groups = host_kv_groups(j->a->d_head), n_pos = cpu_up16(n);
    struct micro_runs k, v;
    runs_of(j, it, p0, n, &k, &v);
    k.ahead = v.ahead = s->k.ahead;
    m->att.scores_few[j->type[0]](&k, s->q + i * it->dim, s->q_scale + i * groups, n_q, it->dim,
                                  n_pos, s->s);
    for (int c = 0; j->cap > 0 && c < n_q; c++) {
        m->softcap(s->s + c * ATT_TILE, n, j->cap);
    }
    m->att.value_scales[j->type[1]](&v, it->dim, n_pos, s->v.scale, s->v.v);
    m->att.weigh(s->s, n_q, n_pos, s->from + i, s->to + i, s->v.scale, s->top + i, s->lane + i * 16,
                 s->keep, s->w, s->step);
    m->att.mix_few[j->type[1]](s->y + i * it->dim, n_q, it->dim, s->keep, s->w, s->step, &v, s->v.v,
                               n_pos);
}

/* What of the scratch belongs to the queries of the KV head that is walked now. */
static struct att_scratch scratch_of(const struct attend_job *j, const struct att_item *it,
                                     const struct att_scratch *all) {
    struct att_scratch s = *all;
    const int first = (it->kv_head - it->kv0) * it->n_q;
    s.y += first * it->dim;
    s.q += first * it->dim;
    s.q_scale += first * host_kv_groups(j->a->d_head);
    s.lane += first * 16;
    s.top += first;
    return s;
}

/* Queries of one KV head go through positions p..p+n. */
static void walk_tile(const struct attend_job *j, const struct att_item *it, int p, int n,
                      const struct att_scratch *s) {
    const struct micro_att *m = &j->d->micro.att;
    int i = 0;
    while (s->to[i] <= 0) { /* of tokens before the tile */
        i++;
    }
    if (j->whole && it->n_q <= m->few && m->scores_few[j->type[0]] && m->mix_few[j->type[1]]) {
        tile_few(j, it, p, n, i, it->n_q - i, s);
        return;
    }
    tile_fill(j, it, p, n, s);
    for (; i < it->n_q; i += ATT_BLOCK) {
        int n_q = it->n_q - i < ATT_BLOCK ? it->n_q - i : ATT_BLOCK;
        tile_block(j, it, i, n_q, n, s);
    }
}

/* One part, by itself: y, top and the lanes of the total. All KV heads of the set pass a tile
 * before the next one, for they lie side by side in a page. */
static void walk_part(const struct attend_job *j, const struct att_item *item, int part,
                      const struct att_scratch *all) {
    const int n_q = queries_of(item);
    int p = part * ATT_PART, end = p + ATT_PART < item->end ? p + ATT_PART : item->end;
    memset(all->y, 0, (size_t)n_q * (size_t)item->dim * sizeof(float));
    memset(all->lane, 0, (size_t)n_q * 16 * sizeof(float));
    for (int i = 0; i < n_q; i++) {
        all->top[i] = -INFINITY;
    }
    struct att_item it = *item;
    struct micro_ahead ahead;
    for (p = it.first > p ? it.first : p; p < end; p += ATT_TILE) {
        int n = end - p < ATT_TILE ? end - p : ATT_TILE;
        tile_bounds(j, &it, p, n, all);
        for (it.kv_head = it.kv0; it.kv_head < it.kv1; it.kv_head++) {
            if (host_cancelled(&j->d->host)) {
                return;
            }
            struct att_scratch s = scratch_of(j, &it, all);
            struct att_item next = it;
            bool last = ++next.kv_head == it.kv1;
            next.kv_head = last ? it.kv0 : next.kv_head;
            s.k.ahead = s.v.ahead = j->whole ? &ahead : NULL;
            tile_ahead(j, &next, last ? p + n : p, &ahead);
            walk_tile(j, &it, p, n, &s);
        }
    }
}

/* The item's own keys and values at positions p0..p1, by the thread that reads them next. They lie
 * between its first position and its end, so that no part that is left out has any; heads and parts
 * are its own, so that no two threads write a line. */
static void store_own(const struct attend_job *j, const struct att_item *it, int p0, int p1,
                      const struct att_scratch *s) {
    const int32_t *pos = j->d->host.step->pos;
    int t0 = it->t0, t1 = it->t1;
    if (j->own == NULL) {
        return;
    }
    while (t0 < t1 && pos[t0] < p0) {
        t0++;
    }
    while (t0 < t1 && pos[t1 - 1] >= p1) {
        t1--;
    }
    for (int head = it->kv0; head < it->kv1; head++) {
        store_tokens(j->own, 0, head, t0, t1, s);
        store_tokens(j->own, 1, head, t0, t1, s);
    }
}

static void load_queries(const struct attend_job *j, const struct att_item *it,
                         const struct att_scratch *s) {
    const int dh = j->a->d_head, groups = host_kv_groups(dh);
    for (int i = 0; i < queries_of(it); i++) {
        const float *q = j->q + query_at(j, it, i);
        for (int d = 0; d < dh; d++) {
            s->row[d] = q[d] * j->scale;
        }
        memset(s->row + dh, 0, (size_t)(it->dim - dh) * sizeof *s->row);
        host_kv_turn(s->row, dh, j->block[0]);
        j->d->micro.att.query(s->row, it->dim, s->q + i * it->dim, s->q_scale + i * groups);
    }
}

/* Adds a part's sums to those of the parts before it. A part without positions, whose total is
 * zero, leaves no trace, and the first with some is taken as it is. */
static void merge(float *y, float *top, float *total, const float *part_y, float part_top,
                  float part_total, int dim) {
    if (part_total == 0) {
        return;
    }
    if (*total == 0) {
        memcpy(y, part_y, (size_t)dim * sizeof *y);
        *top = part_top;
        *total = part_total;
        return;
    }
    float most = part_top > *top ? part_top : *top;
    float a = micro_exp2(*top - most), b = micro_exp2(part_top - most);
    for (int i = 0; i < dim; i++) {
        y[i] = y[i] * a + part_y[i] * b;
    }
    *top = most;
    *total = *total * a + part_total * b;
}

static void put_result(const struct attend_job *j, const struct att_item *it, int i,
                       const float *sum, float total) {
    float *y = j->y + query_at(j, it, i), inv = 1.0f / total / (float)j->block[1];
    for (int k = 0; k < j->a->d_head; k++) {
        y[k] = sum[k] * inv;
    }
    host_kv_turn(y, j->a->d_head, j->block[1]);
}

/* All parts of an item, one after the other. */
static void attend_item(void *arg, int item, int thread) {
    const struct attend_job *j = arg;
    struct att_item it = item_of(j, item);
    struct att_scratch s = att_scratch(j->d, thread);
    const int n_q = queries_of(&it);
    store_own(j, &it, 0, it.end, &s);
    load_queries(j, &it, &s);
    memset(s.total, 0, (size_t)n_q * sizeof(float));
    for (int part = it.first / ATT_PART; part * ATT_PART < it.end; part++) {
        walk_part(j, &it, part, &s);
        for (int i = 0; i < n_q; i++) {
            size_t at = (size_t)i * (size_t)it.dim;
            merge(s.sum + at, &s.all_top[i], &s.total[i], s.y + at, s.top[i],
                  micro_sum16(s.lane + i * 16), it.dim);
        }
    }
    for (int i = 0; i < n_q; i++) {
        put_result(j, &it, i, s.sum + (size_t)i * (size_t)it.dim, s.total[i]);
    }
}

/* ---- parts side by side ---------------------------------------------------------------- */

static float *split_at(const struct attend_job *j, int item, int part, int slot) {
    size_t at =
        ((size_t)item * (size_t)j->n_part + (size_t)part) * (size_t)j->n_slot + (size_t)slot;
    return j->d->split + at * split_floats(&j->d->host.kv);
}

/* One part of an item. */
static void split_item(void *arg, int index, int thread) {
    const struct attend_job *j = arg;
    int item = index % item_count(j), part = index / item_count(j); /* of one page together */
    struct att_item it = item_of(j, item);
    struct att_scratch s = att_scratch(j->d, thread);
    if (part * ATT_PART >= it.end || (part + 1) * ATT_PART <= it.first) {
        return;
    }
    store_own(j, &it, part * ATT_PART, (part + 1) * ATT_PART, &s);
    load_queries(j, &it, &s);
    walk_part(j, &it, part, &s);
    for (int i = 0; i < queries_of(&it); i++) {
        float *to = split_at(j, item, part, i);
        memcpy(to + 2, s.y + (size_t)i * (size_t)it.dim, (size_t)it.dim * sizeof *to);
        to[0] = s.top[i];
        to[1] = micro_sum16(s.lane + i * 16);
    }
}

/* A query's parts, merged in their order. */
static void merge_query(void *arg, int index, int thread) {
    const struct attend_job *j = arg;
    int item = index / j->n_slot, slot = index % j->n_slot;
    struct att_item it = item_of(j, item);
    struct att_scratch s = att_scratch(j->d, thread);
    float top = 0, total = 0;
    if (slot >= queries_of(&it)) {
        return;
    }
    for (int part = it.first / ATT_PART; part * ATT_PART < it.end; part++) {
        const float *from = split_at(j, item, part, slot);
        merge(s.sum, &top, &total, from + 2, from[0], from[1], it.dim);
    }
    put_result(j, &it, slot, s.sum, total);
}

/* Chooses set_kv and n_part: as many KV heads in a set as still leave enough items for the threads.
 * Where slots are few enough for parts to be walked side by side, parts count for this like items,
 * and are walked so if items alone are too few. */
static void cut_items(struct attend_job *j) {
    const struct cpu_dev *d = j->d;
    const int n_thread = d->host.n_thread;
    const int want = n_thread > 1 ? ATT_ITEMS * n_thread : 1;
    int n_part = 0, walked = 0, n_q = 1;
    j->n_set = j->set_kv = 1;
    for (int i = 0; i < j->n_span; i++) {
        struct att_item it = item_of(j, i * j->n_share);
        int n = (it.end + ATT_PART - 1) / ATT_PART;
        n_part = n > n_part ? n : n_part;
        n -= it.first / ATT_PART;
        walked = n > walked ? n : walked;
        n_q = it.n_q > n_q ? it.n_q : n_q;
    }
    int most = ATT_QUERY / n_q < j->a->n_kv ? ATT_QUERY / n_q : j->a->n_kv;
    bool split;
    for (j->set_kv = most;; j->set_kv = (j->set_kv + 1) / 2) {
        j->n_set = (j->a->n_kv + j->set_kv - 1) / j->set_kv;
        j->n_slot = n_q * j->set_kv;
        split = n_thread > 1 && walked > 1 && item_count(j) * j->n_slot <= n_thread * ATT_SPLIT;
        if (j->set_kv == 1 || item_count(j) * (split ? walked : 1) >= want) {
            break;
        }
    }
    j->n_part = split && item_count(j) < want ? n_part : 0;
}

/* own: what is to be stored before; or NULL. */
static void attend(struct kern_dev *dev, kern_ref y, kern_ref q, const struct kern_attend *a,
                   struct store_job *own) {
    struct cpu_dev *d = (struct cpu_dev *)dev;
    const struct step *s = dev->step;
    size_t n = (size_t)s->n_tok * (size_t)a->n_head * (size_t)a->d_head;
    int group = a->n_head / a->n_kv;
    assert(a->d_head == dev->kv.d_head && a->n_kv == dev->kv.n_kv);
    struct attend_job j = {.d = d, .a = a, .q = host_at(dev, q, n), .y = host_at(dev, y, n)};
    for (int value = 0; value < 2; value++) {
        enum dtype type = dtype_kv_part(dev->kv.type, a->layer, value);
        j.type[value] = type == DT_F32 ? MICRO_KV_F32 : type == DT_F16 ? MICRO_KV_F16 : MICRO_KV_I8;
        j.block[value] = host_kv_block_of(dev, a->layer, value);
    }
    j.scale = a->scale * CPU_LOG2_E / (float)j.block[0]; /* e^x = 2^(x / ln 2) */
    j.cap = a->cap * CPU_LOG2_E;
    j.whole = a->d_head % 16 == 0 && dev->kv.page_tok % 16 == 0;
    j.share_head = group < ATT_QUERY ? group : ATT_QUERY;
    j.n_share = (group + j.share_head - 1) / j.share_head;
    int most = ATT_QUERY / j.share_head;
    for (int t = 0; t < s->n_tok; t++) { /* spans: neighbours in one sequence, at most `most` */
        if (t == 0 || s->seq[t] != s->seq[t - 1] || t - d->span[j.n_span - 1] == most) {
            d->span[j.n_span++] = t;
        }
    }
    d->span[j.n_span] = s->n_tok;
    cut_items(&j);
    /* no two items walk the same KV head's positions */
    if (j.n_span == s->n_seq && j.n_share == 1) {
        j.own = own;
    } else if (own) {
        store_all(dev, own);
    }
    if (j.n_part > 0) {
        pool_run(dev->pool, split_item, &j, item_count(&j) * j.n_part);
        pool_run(dev->pool, merge_query, &j, item_count(&j) * j.n_slot);
        return;
    }
    pool_run(dev->pool, attend_item, &j, item_count(&j));
}

void cpu_attend(struct kern_dev *d, kern_ref y, kern_ref q, const struct kern_attend *a) {
    attend(d, y, q, a, NULL);
}

void cpu_store_attend(struct kern_dev *d, kern_ref y, kern_ref q, kern_ref k, kern_ref v,
                      const struct kern_attend *a) {
    struct store_job own = store_job(d, a->layer, k, v);
    attend(d, y, q, a, &own);
}
