/* sampler.c: the chain from logits to a token.
 *
 * Works on candidates {id, logit}: every stage changes logits (bias, mask, penalties) or keeps a
 * part of the candidates (top-k, typical, top-p, min-p) in front of the array; the last draws one.
 * Nothing is sorted whole: top-k keeps a heap of k, a mass of probability is popped off a heap of
 * all. Refuses to know tokens: ids are numbers here.
 * Invariant: candidates are compared by key and then by id, a total order, so that no result
 * depends on the order in which a heap happens to hold them; one rng_double per draw.
 */
#include "sample/sampler.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "sample/state_bytes.h"

#define PENALTY_LAST     64
#define PENALTY_LAST_MAX 32768

struct candidate {
    int32_t id;
    float logit;
    float key; /* what the stage at work orders or draws by */
};

/* ---- options and lifetime ---------------------------------------------------------------- */

static enum err_code check_float(const char *name, float v, float lo, float hi, struct err *e) {
    if (v >= lo && v <= hi) {
        return ERR_OK;
    }
    return err_set(e, ERR_RANGE, "%s is %g, not in %g..%g", name, (double)v, (double)lo,
                   (double)hi);
}

static enum err_code check_opts(const struct sampler_opts *o, int n_vocab, struct err *e) {
    const float eps = 1e-6f, big = 1e6f;
    enum err_code c;
    if ((c = check_float("temperature", o->temperature, 0, big, e)) ||
        (c = check_float("top-p", o->top_p, eps, 1, e)) ||
        (c = check_float("min-p", o->min_p, 0, 1, e)) ||
        (c = check_float("typical", o->typical, eps, 1, e)) ||
        (c = check_float("repeat penalty", o->repeat_penalty, eps, big, e)) ||
        (c = check_float("presence penalty", o->presence_penalty, -big, big, e)) ||
        (c = check_float("frequency penalty", o->frequency_penalty, -big, big, e))) {
        return c;
    }
    if (o->top_k < 0) {
        return err_set(e, ERR_RANGE, "top-k is %d, less than 0", o->top_k);
    }
    if (o->penalty_last < 0 || o->penalty_last > PENALTY_LAST_MAX) {
        return err_set(e, ERR_RANGE, "penalty window is %d, not in 0..%d", o->penalty_last,
                       PENALTY_LAST_MAX);
    }
    if (o->n_bias > (size_t)n_vocab) {
        return err_set(e, ERR_RANGE, "%zu logit biases for %d tokens", o->n_bias, n_vocab);
    }
    for (size_t i = 0; i < o->n_bias; i++) {
        if (o->bias[i].id < 0 || o->bias[i].id >= n_vocab) {
            return err_set(e, ERR_RANGE, "logit bias of token %d, not in 0..%d", o->bias[i].id,
                           n_vocab - 1);
        }
        if (o->bias[i].bias != -INFINITY &&
            (c = check_float("logit bias", o->bias[i].bias, -big, big, e))) {
            return c;
        }
    }
    return ERR_OK;
}

enum err_code sampler_init(struct sampler *s, const struct sampler_opts *o, int n_vocab,
                           struct err *e) {
    *s = (struct sampler){.o = *o, .n_vocab = n_vocab};
    enum err_code c = check_opts(o, n_vocab, e);
    if (c) {
        return c;
    }
    if (!s->o.penalty_last) {
        s->o.penalty_last = PENALTY_LAST;
    }
    s->recent = mem_alloc(s->o.penalty_last, sizeof *s->recent);
    s->seen = mem_zalloc(n_vocab, sizeof *s->seen);
    s->bias = mem_alloc(o->n_bias, sizeof *s->bias);
    s->cand = mem_alloc(n_vocab, sizeof *s->cand);
    if (!s->recent || !s->seen || !s->bias || !s->cand) {
        sampler_fini(s);
        return err_set(e, ERR_NOMEM, "no memory for a sampler over %d tokens", n_vocab);
    }
    if (o->n_bias) {
        memcpy(s->bias, o->bias, o->n_bias * sizeof *s->bias);
    }
    s->o.bias = s->bias;
    rng_seed(&s->rng, o->seed);
    return ERR_OK;
}

void sampler_fini(struct sampler *s) {
    mem_free(s->recent);
    mem_free(s->seen);
    mem_free(s->bias);
    mem_free(s->cand);
    *s = (struct sampler){0};
}

/* The i-th oldest token of the history. */
static int32_t recent_at(const struct sampler *s, int i) {
    return s->recent[(s->at + s->o.penalty_last - s->n_recent + i) % s->o.penalty_last];
}

enum err_code sampler_copy(struct sampler *dst, const struct sampler *src, struct err *e) {
    struct sampler s;
    enum err_code c = sampler_init(&s, &src->o, src->n_vocab, e);
    if (c) {
        return c;
    }
    s.rng = src->rng;
    for (int i = 0; i < src->n_recent; i++) {
        sampler_accept(&s, recent_at(src, i));
    }
    sampler_fini(dst);
    *dst = s;
    return ERR_OK;
}

void sampler_accept(struct sampler *s, int32_t id) {
    if (s->n_recent == s->o.penalty_last) {
        s->seen[s->recent[s->at]]--;
    } else {
        s->n_recent++;
    }
    s->recent[s->at] = id;
    s->seen[id]++;
    s->at = (s->at + 1) % s->o.penalty_last;
}

void sampler_forget(struct sampler *s) {
    memset(s->seen, 0, (size_t)s->n_vocab * sizeof *s->seen);
    s->n_recent = 0;
    s->at = 0;
}

/* ---- heaps ------------------------------------------------------------------------------ */

static bool cand_before(const struct candidate *a, const struct candidate *b) {
    return a->key > b->key || (a->key == b->key && a->id < b->id);
}

/* Sinks c[i] to its place in the heap c[0..n) with the best (or the worst) on top. */
static void heap_sink(struct candidate *c, int n, int i, bool best) {
    struct candidate x = c[i];
    for (int child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && cand_before(&c[child + 1], &c[child]) == best) {
            child++;
        }
        if (cand_before(&c[child], &x) != best) {
            break;
        }
        c[i] = c[child];
    }
    c[i] = x;
}

static void heap_make(struct candidate *c, int n, bool best) {
    for (int i = n / 2; i-- > 0;) {
        heap_sink(c, n, i, best);
    }
}

/* Keeps the k best of c[0..n) in front, k <= n: most candidates only look at the worst of them. */
static void keep_best(struct candidate *c, int n, int k) {
    heap_make(c, k, false);
    for (int i = k; i < n; i++) {
        if (cand_before(&c[i], &c[0])) {
            c[0] = c[i];
            heap_sink(c, k, 0, false);
        }
    }
}

/* Keeps the fewest best candidates whose probabilities reach `mass` of `total`, the sum of
 * exp(logit - max); returns their number. */
static int keep_mass(struct candidate *c, int n, double mass, double total, float max) {
    double sum = 0;
    int left = n;
    heap_make(c, n, true);
    while (left > 0 && sum < mass * total) {
        struct candidate best = c[0];
        sum += (double)expf(best.logit - max);
        c[0] = c[--left];
        heap_sink(c, left, 0, true);
        c[left] = best;
    }
    memmove(c, c + left, (size_t)(n - left) * sizeof *c);
    return n - left;
}

/* ---- stages ----------------------------------------------------------------------------- */

static float cand_max(const struct candidate *c, int n) {
    float max = -INFINITY;
    for (int i = 0; i < n; i++) {
        max = c[i].logit > max ? c[i].logit : max;
    }
    return max;
}

static double cand_total(const struct candidate *c, int n, float max) {
    double total = 0;
    for (int i = 0; i < n; i++) {
        total += (double)expf(c[i].logit - max);
    }
    return total;
}

/* Meister et al. 2023: the tokens whose surprise is nearest to the entropy come first. */
static int keep_typical(struct candidate *c, int n, float mass) {
    float max = cand_max(c, n);
    double total = cand_total(c, n, max), mean = 0;
    for (int i = 0; i < n; i++) {
        double p = (double)expf(c[i].logit - max);
        mean += p > 0 ? p * (double)(c[i].logit - max) : 0; /* 0 * -infinity would be NaN */
    }
    mean /= total; /* of log p, but for log(total), which the difference below does not see */
    for (int i = 0; i < n; i++) {
        c[i].key = -fabsf((float)((double)(c[i].logit - max) - mean));
    }
    return keep_mass(c, n, (double)mass, total, max);
}

static int keep_top_p(struct candidate *c, int n, float mass) {
    float max = cand_max(c, n);
    double total = cand_total(c, n, max);
    /* All candidates below this together weigh less than what top-p leaves out, so none of them
     * can be reached: only the others, a few of a large vocabulary, go into the heap. */
    double least = (1 - (double)mass) * total / n;
    int kept = 0;
    for (int i = 0; i < n; i++) {
        if ((double)expf(c[i].logit - max) >= least) {
            c[kept] = c[i];
            c[kept].key = c[kept].logit;
            kept++;
        }
    }
    return keep_mass(c, kept, (double)mass, total, max);
}

static int keep_min_p(struct candidate *c, int n, float min_p) {
    float least = cand_max(c, n) + logf(min_p);
    int kept = 0;
    for (int i = 0; i < n; i++) {
        if (c[i].logit >= least) {
            c[kept++] = c[i];
        }
    }
    return kept;
}

static int32_t cand_draw(struct candidate *c, int n, float temperature, struct rng *rng) {
    float max = cand_max(c, n);
    double total = 0;
    for (int i = 0; i < n; i++) {
        c[i].key = expf((c[i].logit - max) / temperature);
        total += (double)c[i].key;
    }
    double u = rng_double(rng) * total, sum = 0;
    int last = 0;
    for (int i = 0; i < n; i++) {
        if (c[i].key > 0) {
            sum += (double)c[i].key;
            last = i;
            if (u < sum) {
                break;
            }
        }
    }
    return c[last].id;
}

/* Keskar et al. 2019 for repetition; presence and frequency as in OpenAI's interface. */
static void apply_penalties(const struct sampler *s) {
    const struct sampler_opts *o = &s->o;
    if (o->repeat_penalty == 1 && o->presence_penalty == 0 && o->frequency_penalty == 0) {
        return;
    }
    for (int id = 0; id < s->n_vocab; id++) {
        if (s->seen[id]) {
            float *x = &s->cand[id].logit;
            *x = *x > 0 ? *x / o->repeat_penalty : *x * o->repeat_penalty;
            *x -= o->presence_penalty + (float)s->seen[id] * o->frequency_penalty;
        }
    }
}

/* Candidate i is id i, its logit changed by bias, mask and penalties. */
static enum err_code fill(struct sampler *s, const float *logits, sampler_mask mask,
                          struct err *e) {
    bool finite = false;
    for (int id = 0; id < s->n_vocab; id++) {
        if (!(logits[id] < INFINITY)) {
            return err_set(e, ERR_DEVICE, "non-finite logits (token %d: %g)", id,
                           (double)logits[id]);
        }
        finite |= logits[id] > -INFINITY;
        s->cand[id] = (struct candidate){.id = id, .logit = logits[id]};
    }
    if (!finite) {
        return err_set(e, ERR_DEVICE, "non-finite logits (all are -infinity)");
    }
    for (size_t i = 0; i < s->o.n_bias; i++) {
        s->cand[s->bias[i].id].logit += s->bias[i].bias;
    }
    for (int id = 0; mask && id < s->n_vocab; id++) {
        if (!(mask[id / 64] >> (id % 64) & 1)) {
            s->cand[id].logit = -INFINITY;
        }
    }
    apply_penalties(s);
    return ERR_OK;
}

/* Drops forbidden candidates. A penalty can take a large logit to infinity, which would give NaN as
 * expf(infinity - infinity). */
static int keep_allowed(struct candidate *c, int n) {
    int kept = 0;
    for (int i = 0; i < n; i++) {
        if (c[i].logit > -INFINITY) {
            c[kept] = c[i];
            c[kept].logit = fminf(c[kept].logit, FLT_MAX);
            c[kept].key = c[kept].logit;
            kept++;
        }
    }
    return kept;
}

bool sampler_is_greedy(const struct sampler *s) {
    const struct sampler_opts *o = &s->o;
    return o->temperature == 0 && o->n_bias == 0 && o->repeat_penalty == 1 &&
           o->presence_penalty == 0 && o->frequency_penalty == 0;
}

enum err_code sampler_pick(struct sampler *s, const float *logits, sampler_mask mask, int32_t *id,
                           struct err *e) {
    const struct sampler_opts *o = &s->o;
    struct candidate *c = s->cand;
    enum err_code code = fill(s, logits, mask, e);
    if (code) {
        return code;
    }
    int n = keep_allowed(c, s->n_vocab);
    if (!n) {
        return err_set(e, ERR_RANGE, "logit biases and mask leave no token to choose from");
    }
    if (o->temperature == 0) {
        keep_best(c, n, 1);
        *id = c[0].id;
        return ERR_OK;
    }
    if (o->top_k && o->top_k < n) {
        keep_best(c, n, o->top_k);
        n = o->top_k;
    }
    if (o->typical < 1) {
        n = keep_typical(c, n, o->typical);
    }
    if (o->top_p < 1) {
        n = keep_top_p(c, n, o->top_p);
    }
    if (o->min_p > 0) {
        n = keep_min_p(c, n, o->min_p);
    }
    *id = cand_draw(c, n, o->temperature, &s->rng);
    return ERR_OK;
}

void sampler_logprobs(const float *logits, int n_vocab, int32_t id, int k, struct token_prob *top,
                      float *own) {
    float max = -INFINITY;
    for (int i = 0; i < n_vocab; i++) {
        max = logits[i] > max ? logits[i] : max;
    }
    double total = 0;
    int n = 0;
    for (int i = 0; i < n_vocab; i++) {
        total += (double)expf(logits[i] - max);
        if (k && (n < k || logits[i] > top[n - 1].logprob)) {
            int at = n < k ? n++ : k - 1;
            for (; at > 0 && logits[i] > top[at - 1].logprob; at--) {
                top[at] = top[at - 1];
            }
            top[at] = (struct token_prob){i, logits[i]};
        }
    }
    double base = (double)max + log(total);
    for (int i = 0; i < n; i++) {
        top[i].logprob = (float)((double)top[i].logprob - base);
    }
    *own = (float)((double)logits[id] - base);
}

/* ---- state as bytes ---------------------------------------------------------------------- */

void sampler_save(const struct sampler *s, struct buf *out) {
    const struct sampler_opts *o = &s->o;
    const float f[] = {o->temperature,      o->top_p,          o->min_p,
                       o->typical,          o->repeat_penalty, o->presence_penalty,
                       o->frequency_penalty};
    for (size_t i = 0; i < sizeof f / sizeof *f; i++) {
        state_put_f32(out, f[i]);
    }
    state_put_u32(out, (uint32_t)o->top_k);
    state_put_u32(out, (uint32_t)o->penalty_last);
    state_put_u64(out, o->seed);
    for (int i = 0; i < 4; i++) {
        state_put_u64(out, s->rng.s[i]);
    }
    state_put_u32(out, (uint32_t)o->n_bias);
    for (size_t i = 0; i < o->n_bias; i++) {
        state_put_u32(out, (uint32_t)s->bias[i].id);
        state_put_f32(out, s->bias[i].bias);
    }
    state_put_u32(out, (uint32_t)s->n_recent);
    for (int i = 0; i < s->n_recent; i++) {
        state_put_u32(out, (uint32_t)recent_at(s, i));
    }
}

static enum err_code load_history(struct sampler *s, struct state_reader *r, struct err *e) {
    uint32_t n = state_get_u32(r);
    if (r->failed || n > (uint32_t)s->o.penalty_last) {
        return err_set(e, ERR_FORMAT, "sampler state: history of %u tokens", n);
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t id = state_get_u32(r);
        if (r->failed || id >= (uint32_t)s->n_vocab) {
            return err_set(e, ERR_FORMAT, "sampler state: token %u in the history", id);
        }
        sampler_accept(s, (int32_t)id);
    }
    return ERR_OK;
}

/* The fixed fields, and the biases into a block of their own (*bias, mem_free). */
static enum err_code load_opts(struct sampler_opts *o, struct rng *rng, struct logit_bias **bias,
                               struct state_reader *r, struct err *e) {
    float *f[] = {&o->temperature,      &o->top_p,          &o->min_p,
                  &o->typical,          &o->repeat_penalty, &o->presence_penalty,
                  &o->frequency_penalty};
    for (size_t i = 0; i < sizeof f / sizeof *f; i++) {
        *f[i] = state_get_f32(r);
    }
    o->top_k = (int)state_get_u32(r);
    o->penalty_last = (int)state_get_u32(r);
    o->seed = state_get_u64(r);
    for (int i = 0; i < 4; i++) {
        rng->s[i] = state_get_u64(r);
    }
    o->n_bias = state_get_u32(r);
    if (r->failed || o->n_bias > (r->n - r->at) / 8) {
        return err_set(e, ERR_FORMAT, "sampler state: cut off");
    }
    if (!(rng->s[0] | rng->s[1] | rng->s[2] | rng->s[3])) {
        return err_set(e, ERR_FORMAT, "sampler state: random state of zeros");
    }
    if (!(*bias = mem_alloc(o->n_bias, sizeof **bias))) {
        return err_set(e, ERR_NOMEM, "no memory for %zu logit biases", o->n_bias);
    }
    for (size_t i = 0; i < o->n_bias; i++) {
        (*bias)[i].id = (int32_t)state_get_u32(r);
        (*bias)[i].bias = state_get_f32(r);
    }
    o->bias = *bias;
    return ERR_OK;
}

enum err_code sampler_load(struct sampler *s, const void *p, size_t n, size_t *used,
                           struct err *e) {
    struct state_reader r = {.p = p, .n = n};
    struct sampler_opts o = {0};
    struct sampler new = {0};
    struct rng rng;
    struct logit_bias *bias = NULL;
    enum err_code c = load_opts(&o, &rng, &bias, &r, e);
    if (c || (c = sampler_init(&new, &o, s->n_vocab, e)) || (c = load_history(&new, &r, e))) {
        goto fail;
    }
    new.rng = rng;
    sampler_fini(s);
    *s = new;
    *used = r.at;
    mem_free(bias);
    return ERR_OK;
fail:
    sampler_fini(&new);
    mem_free(bias);
    return c;
}
