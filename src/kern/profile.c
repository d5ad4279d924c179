/* profile.c: see profile.h.
 *
 * Owns the laps, and the table of the back end that laps: each entry is a lap before (what passed
 * was the scheduler's or forward's), the entry of the device inside, and a lap after.
 */
#include "kern/profile.h"

#include <string.h>

#include "base/mem.h"

/* ---- the clock ----------------------------------------------------------------------------- */

const char *profile_stage_name(enum profile_stage s) {
    static const char *const name[STAGE_N] = {
        [STAGE_EMBED] = "embed",
        [STAGE_NORM] = "norms",
        [STAGE_QKV] = "qkv",
        [STAGE_ROPE] = "rope",
        [STAGE_KV_STORE] = "kv store",
        [STAGE_ATTEND] = "attention",
        [STAGE_PROJECT] = "projection",
        [STAGE_FFN] = "ffn",
        [STAGE_MOE] = "experts",
        [STAGE_LOGITS] = "logits",
        [STAGE_SAMPLE] = "sampling",
        [STAGE_DETOKENIZE] = "detokenizing",
        [STAGE_SCHEDULE] = "scheduling",
        [STAGE_SYNC] = "synchronization",
        [STAGE_CALLER] = "caller",
    };
    return name[s];
}

static double waited(const struct profile *p) {
    return p->waited ? p->waited(p->dev) : 0;
}

void profile_begin(struct profile *p) {
    memset(p->seconds, 0, sizeof p->seconds);
    memset(p->n_step, 0, sizeof p->n_step);
    memset(p->n_tok, 0, sizeof p->n_tok);
    p->row = PHASE_N;
    p->waited_before = waited(p);
    p->at = p->now();
}

void profile_take(struct profile *p, enum profile_stage s) {
    double now = p->now(), all = waited(p), lost = all - p->waited_before;
    p->seconds[p->row][s] += now - p->at - lost;
    p->seconds[p->row][STAGE_SYNC] += lost;
    p->waited_before = all;
    p->at = now;
}

void profile_step(struct profile *p, enum profile_phase phase, int n_tok) {
    double *from = p->seconds[PHASE_N];
    for (int s = 0; s < STAGE_N; s++) {
        p->seconds[phase][s] += from[s];
        from[s] = 0;
    }
    p->row = phase;
    p->n_step[phase]++;
    p->n_tok[phase] += (uint64_t)n_tok;
}

void profile_step_end(struct profile *p) {
    p->row = PHASE_N;
}

/* ---- the table ----------------------------------------------------------------------------- */

struct profile_dev {
    const struct kern *k;
    struct kern_dev *d;
    struct profile *p;
};

/* The table's functions are given the device as the table's type. */
static struct profile_dev *inside(const struct kern_dev *d) {
    return (struct profile_dev *)d;
}

static const struct profile_dev *enter(struct kern_dev *d) {
    const struct profile_dev *t = inside(d);
    profile_take(t->p, STAGE_SCHEDULE);
    return t;
}

static void time_close(struct kern_dev *d) {
    struct profile_dev *t = inside(d);
    if (t) {
        t->k->close(t->d);
        mem_free(t);
    }
}

static const char *time_describe(const struct kern_dev *d) {
    return inside(d)->k->describe(inside(d)->d);
}

static enum err_code time_alloc(struct kern_dev *d, size_t n, kern_ref *r, struct err *e) {
    return inside(d)->k->alloc(inside(d)->d, n, r, e);
}

static enum err_code time_load(struct kern_dev *d, const struct kern_tensor *t, kern_weight *w,
                               struct err *e) {
    return inside(d)->k->load(inside(d)->d, t, w, e);
}

static enum err_code time_ready(struct kern_dev *d, struct err *e) {
    return inside(d)->k->ready(inside(d)->d, e);
}

static void time_write(struct kern_dev *d, kern_ref dst, const float *src, size_t n) {
    inside(d)->k->write(inside(d)->d, dst, src, n);
}

static void time_read(struct kern_dev *d, kern_ref src, float *dst, size_t n) {
    const struct profile_dev *t = enter(d);
    t->k->read(t->d, src, dst, n);
    profile_take(t->p, STAGE_SAMPLE);
}

static void time_argmax(struct kern_dev *d, kern_ref x, size_t n, size_t dim, int32_t *at) {
    const struct profile_dev *t = enter(d);
    t->k->argmax(t->d, x, n, dim, at);
    profile_take(t->p, STAGE_SAMPLE);
}

static enum err_code time_kv_open(struct kern_dev *d, const struct kern_kv *kv, struct err *e) {
    return inside(d)->k->kv_open(inside(d)->d, kv, e);
}

static void time_kv_copy_page(struct kern_dev *d, int dst, int src) {
    inside(d)->k->kv_copy_page(inside(d)->d, dst, src);
}

static void time_kv_read_page(struct kern_dev *d, int page, void *dst) {
    inside(d)->k->kv_read_page(inside(d)->d, page, dst);
}

static void time_kv_write_page(struct kern_dev *d, int page, const void *src) {
    inside(d)->k->kv_write_page(inside(d)->d, page, src);
}

static void time_begin(struct kern_dev *d, const struct step *s) {
    inside(d)->k->begin(inside(d)->d, s);
}

static enum err_code time_end(struct kern_dev *d, struct err *e) {
    return inside(d)->k->end(inside(d)->d, e);
}

static void time_embed(struct kern_dev *d, kern_ref x, kern_weight table, float scale) {
    const struct profile_dev *t = enter(d);
    t->k->embed(t->d, x, table, scale);
    profile_take(t->p, STAGE_EMBED);
}

static void time_gather(struct kern_dev *d, kern_ref y, kern_ref x, int dim) {
    const struct profile_dev *t = enter(d);
    t->k->gather(t->d, y, x, dim);
    profile_take(t->p, STAGE_LOGITS);
}

static void time_rmsnorm(struct kern_dev *d, kern_ref y, kern_ref x, kern_weight w,
                         enum kern_rows rows, int n, int dim, float eps) {
    const struct profile_dev *t = enter(d);
    t->k->rmsnorm(t->d, y, x, w, rows, n, dim, eps);
    profile_take(t->p, STAGE_NORM);
}

/* Of products on their own forward has two: attention's, and the one that gives logits. */
static void time_matmul(struct kern_dev *d, kern_ref y, kern_ref x, kern_weight w, kern_weight b,
                        enum kern_rows rows, bool add) {
    const struct profile_dev *t = enter(d);
    t->k->matmul(t->d, y, x, w, b, rows, add);
    profile_take(t->p, rows == ROWS_OUT ? STAGE_LOGITS : STAGE_PROJECT);
}

static void time_rope(struct kern_dev *d, kern_ref x, const struct kern_rope *r) {
    const struct profile_dev *t = enter(d);
    t->k->rope(t->d, x, r);
    profile_take(t->p, STAGE_ROPE);
}

static void time_kv_store(struct kern_dev *d, int layer, kern_ref k, kern_ref v) {
    const struct profile_dev *t = enter(d);
    t->k->kv_store(t->d, layer, k, v);
    profile_take(t->p, STAGE_KV_STORE);
}

static void time_attend(struct kern_dev *d, kern_ref y, kern_ref q, const struct kern_attend *a) {
    const struct profile_dev *t = enter(d);
    t->k->attend(t->d, y, q, a);
    profile_take(t->p, STAGE_ATTEND);
}

static void time_act_mul(struct kern_dev *d, kern_ref gate, kern_ref up, int dim,
                         enum kern_act act) {
    const struct profile_dev *t = enter(d);
    t->k->act_mul(t->d, gate, up, dim, act);
    profile_take(t->p, STAGE_FFN);
}

static void time_add(struct kern_dev *d, kern_ref y, kern_ref x, int dim) {
    const struct profile_dev *t = enter(d);
    t->k->add(t->d, y, x, dim);
    profile_take(t->p, STAGE_PROJECT);
}

static void time_softcap(struct kern_dev *d, kern_ref x, enum kern_rows rows, int dim, float cap) {
    const struct profile_dev *t = enter(d);
    t->k->softcap(t->d, x, rows, dim, cap);
    profile_take(t->p, STAGE_LOGITS);
}

static void time_embed_sum(struct kern_dev *d, kern_ref x, kern_weight token, kern_weight position,
                           kern_weight type) {
    const struct profile_dev *t = enter(d);
    t->k->embed_sum(t->d, x, token, position, type);
    profile_take(t->p, STAGE_EMBED);
}

static void time_layernorm(struct kern_dev *d, kern_ref y, kern_ref x, kern_weight w, kern_weight b,
                           int dim, float eps) {
    const struct profile_dev *t = enter(d);
    t->k->layernorm(t->d, y, x, w, b, dim, eps);
    profile_take(t->p, STAGE_NORM);
}

static void time_activate(struct kern_dev *d, kern_ref x, int dim, enum kern_act act) {
    const struct profile_dev *t = enter(d);
    t->k->activate(t->d, x, dim, act);
    profile_take(t->p, STAGE_FFN);
}

static void time_attend_all(struct kern_dev *d, const struct kern_attend_all *a) {
    const struct profile_dev *t = enter(d);
    t->k->attend_all(t->d, a);
    profile_take(t->p, STAGE_ATTEND);
}

static void time_route(struct kern_dev *d, kern_ref sel, kern_ref logit, int n_exp, int n_used) {
    const struct profile_dev *t = enter(d);
    t->k->route(t->d, sel, logit, n_exp, n_used);
    profile_take(t->p, STAGE_MOE);
}

static void time_matmul_exp(struct kern_dev *d, kern_ref y, kern_ref x, kern_weight w, kern_ref sel,
                            int n_used, bool per_choice) {
    const struct profile_dev *t = enter(d);
    t->k->matmul_exp(t->d, y, x, w, sel, n_used, per_choice);
    profile_take(t->p, STAGE_MOE);
}

static void time_mix_exp(struct kern_dev *d, kern_ref y, kern_ref x, kern_ref sel, int n_used,
                         int dim) {
    const struct profile_dev *t = enter(d);
    t->k->mix_exp(t->d, y, x, sel, n_used, dim);
    profile_take(t->p, STAGE_MOE);
}

/* The fused entries inside, or what is composed of entries inside: one lap for all. */
static void time_qkv(struct kern_dev *d, const struct kern_qkv *a) {
    const struct profile_dev *t = enter(d);
    kern_qkv(t->k, t->d, a);
    profile_take(t->p, STAGE_QKV);
}

static void time_store_attend(struct kern_dev *d, kern_ref y, kern_ref q, kern_ref k, kern_ref v,
                              const struct kern_attend *a) {
    if (inside(d)->k->store_attend == NULL) {
        time_kv_store(d, a->layer, k, v);
        time_attend(d, y, q, a);
        return;
    }
    const struct profile_dev *t = enter(d);
    t->k->store_attend(t->d, y, q, k, v, a);
    profile_take(t->p, STAGE_ATTEND);
}

static void time_ffn(struct kern_dev *d, const struct kern_ffn *a) {
    const struct profile_dev *t = enter(d);
    kern_ffn(t->k, t->d, a);
    profile_take(t->p, STAGE_FFN);
}

static void time_moe(struct kern_dev *d, const struct kern_moe *a) {
    const struct profile_dev *t = enter(d);
    kern_moe(t->k, t->d, a);
    profile_take(t->p, STAGE_MOE);
}

static double time_waited(struct kern_dev *d) {
    return inside(d)->k->waited ? inside(d)->k->waited(inside(d)->d) : 0;
}

/* What is asked of a back end before it is open is not asked of this one. */
static const struct kern timed = {
    .name = "profile",
    .close = time_close,
    .describe = time_describe,
    .alloc = time_alloc,
    .load = time_load,
    .ready = time_ready,
    .write = time_write,
    .read = time_read,
    .argmax = time_argmax,
    .kv_open = time_kv_open,
    .kv_copy_page = time_kv_copy_page,
    .kv_read_page = time_kv_read_page,
    .kv_write_page = time_kv_write_page,
    .begin = time_begin,
    .end = time_end,
    .embed = time_embed,
    .gather = time_gather,
    .rmsnorm = time_rmsnorm,
    .matmul = time_matmul,
    .rope = time_rope,
    .kv_store = time_kv_store,
    .attend = time_attend,
    .act_mul = time_act_mul,
    .add = time_add,
    .softcap = time_softcap,
    .embed_sum = time_embed_sum,
    .layernorm = time_layernorm,
    .activate = time_activate,
    .attend_all = time_attend_all,
    .route = time_route,
    .matmul_exp = time_matmul_exp,
    .mix_exp = time_mix_exp,
    .qkv = time_qkv,
    .store_attend = time_store_attend,
    .ffn = time_ffn,
    .moe = time_moe,
    .waited = time_waited,
};
_Static_assert(sizeof(struct kern) == 39 * sizeof(void *), "a new entry is timed here as well");

enum err_code profile_wrap(struct profile *p, const struct kern **k, struct kern_dev **d,
                           struct err *e) {
    struct profile_dev *t = mem_alloc(1, sizeof *t);
    if (!t) {
        return err_set(e, ERR_NOMEM, "out of memory for a profile");
    }
    *t = (struct profile_dev){.k = *k, .d = *d, .p = p};
    p->waited = t->k->waited;
    p->dev = t->d;
    *k = &timed;
    *d = (struct kern_dev *)t;
    return ERR_OK;
}
