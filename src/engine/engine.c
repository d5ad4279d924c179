/* engine.c: models: from a file and options to something that ign_step can drive.
 *
 * Owns struct ign_model's life and the translation of errors to the interface. Refuses to know
 * what a step does (scheduler.c) and what a conversation is (session.c).
 * Invariant: two models share nothing; there is no variable outside the handles.
 */
#include "engine/engine.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/os.h"
#include "model/sampling.h"

#define CONTEXT_MAX (1 << 24)
#define BATCH_MAX   (1 << 16)
#define THREADS_MAX 1024

_Static_assert(IGN_NOMEM == (int)ERR_NOMEM && IGN_IO == (int)ERR_IO &&
                   IGN_NOTFOUND == (int)ERR_NOTFOUND && IGN_FORMAT == (int)ERR_FORMAT &&
                   IGN_UNSUPPORTED == (int)ERR_UNSUPPORTED && IGN_USAGE == (int)ERR_USAGE &&
                   IGN_RANGE == (int)ERR_RANGE && IGN_NOFIT == (int)ERR_NOFIT &&
                   IGN_DEVICE == (int)ERR_DEVICE && IGN_LIMIT == (int)ERR_LIMIT &&
                   IGN_CANCELLED == (int)ERR_CANCELLED && ERR_CANCELLED + 1 == ERR_N,
               "the interface's codes are the library's");

const char *ign_version(void) {
    return IGN_VERSION;
}

ign_status engine_fail(ign_error *e, const struct err *from) {
    if (e) {
        e->code = (ign_status)from->code;
        err_line(from, e->text, sizeof e->text);
    }
    return (ign_status)from->code;
}

void ign_free(void *p) {
    mem_free(p);
}

static enum err_code check_bound(const char *name, int v, int max, struct err *e) {
    if (v < 0 || v > max) {
        return err_set(e, ERR_RANGE, "%s is %d, not in 0..%d", name, v, max);
    }
    return ERR_OK;
}

static enum err_code read_options(struct model_opts *to, const ign_model_options *o,
                                  struct err *e) {
    enum err_code c;
    if ((c = check_bound("context", o->context, CONTEXT_MAX, e)) ||
        (c = check_bound("batch", o->batch, BATCH_MAX, e)) ||
        (c = check_bound("threads", o->threads, THREADS_MAX, e))) {
        return c;
    }
    enum dtype kv = !o->kv_type || strcmp(o->kv_type, "f16") == 0 ? DT_F16
                    : strcmp(o->kv_type, "f32") == 0              ? DT_F32
                                                                  : DT_I8;
    if (kv == DT_I8 && strcmp(o->kv_type, "int8") != 0) {
        return err_set(e, ERR_RANGE, "KV type '%s' is not one of f16, f32, int8", o->kv_type);
    }
    if (o->duty && (o->duty < 5 || o->duty > 100)) {
        return err_set(e, ERR_RANGE, "duty is %d, not in 5..100", o->duty);
    }
    *to = (struct model_opts){.device = o->device,
                              .cpu_level = o->cpu_level,
                              .n_thread = o->threads,
                              .duty = o->duty,
                              .n_ctx = o->context,
                              .max_tok = o->batch,
                              .kv_type = kv,
                              .kv_shrink = !o->kv_type,
                              .no_mmap = o->no_mmap,
                              .no_large_pages = o->no_large_pages,
                              .mlock = o->mlock,
                              .max_memory = o->max_memory,
                              .system_root = o->system_root};
    return ERR_OK;
}

/* The model's own name, or its file's. */
static char *model_name(const struct gguf *g) {
    struct str name = {0};
    if (gguf_get_str(g, "general.name", &name, NULL) == ERR_OK && name.n) {
        return mem_strdup(name.p, name.n);
    }
    const char *slash = strrchr(g->path, '/');
    const char *base = slash ? slash + 1 : g->path;
    return mem_strdup(base, strlen(base));
}

/* A byte that is no UTF-8 comes out as three; a sequence held back may come on top. */
static size_t piece_max(const struct vocab *v) {
    size_t max = 0;
    for (uint32_t id = 0; id < vocab_size(v); id++) {
        struct str piece = vocab_piece(v, (int32_t)id);
        max = piece.n > max ? piece.n : max;
    }
    return 3 * max + 16;
}

static enum err_code load_weights(ign_model *m, const struct model_opts *o, struct err *e) {
    enum err_code c;
    if ((c = model_load(m->m, o, e)) ||
        (!m->m->cfg.encoder && (c = kv_pool_init(&m->pool, m->m->kern, m->m->dev, &m->m->kv, e))) ||
        (c = plan_init(&m->plan, m->m->max_tok, m->m->max_out, e))) {
        return c;
    }
    m->context = m->m->cfg.encoder ? m->m->kv.n_all : m->pool.n_page * m->pool.page_tok;
    if (o->n_ctx > 0 && o->n_ctx < m->context) {
        m->context = o->n_ctx;
    }
    m->piece_max = piece_max(m->m->vocab);
    m->loaded = true;
    return ERR_OK;
}

ign_status ign_model_open(ign_model **out, const char *path, const ign_model_options *o,
                          ign_error *e) {
    static const ign_model_options plain;
    struct err err = {0};
    struct model_opts opts;
    double start = os_now();
    ign_model *m = NULL;
    *out = NULL;
    o = o ? o : &plain;
    if (!path) {
        err_set(&err, ERR_USAGE, "no path to a model was given");
        goto fail;
    }
    if (read_options(&opts, o, &err)) {
        goto fail;
    }
    m = mem_zalloc(1, sizeof *m);
    if (!m) {
        err_set(&err, ERR_NOMEM, "no memory for a model");
        goto fail;
    }
    m->clock = o->clock;
    m->speculate = !o->no_speculation;
    m->now = os_now;
    if (model_open(&m->m, path, &opts, &err)) {
        goto fail;
    }
    m->name = model_name(m->m->file);
    if (!m->name) {
        err_set(&err, ERR_NOMEM, "no memory for a model's name");
        goto fail;
    }
    if (!o->tokenizer_only && load_weights(m, &opts, &err)) {
        goto fail;
    }
    m->load_seconds = os_now() - start;
    *out = m;
    return IGN_OK;
fail:
    ign_model_close(m);
    return engine_fail(e, &err);
}

void ign_model_close(ign_model *m) {
    if (!m) {
        return;
    }
    plan_fini(&m->plan);
    kv_pool_fini(&m->pool);
    mem_free(m->session);
    mem_free(m->name);
    model_close(m->m);
    mem_free(m->profile);
    mem_free(m);
}

ign_status ign_profile_begin(ign_model *m, ign_error *e) {
    struct err err = {0};
    if (!m->loaded) {
        err_set(&err, ERR_USAGE, "a model without weights has no steps to profile");
        return engine_fail(e, &err);
    }
    if (!m->profile) {
        struct profile *p = mem_zalloc(1, sizeof *p);
        if (!p) {
            err_set(&err, ERR_NOMEM, "out of memory for a profile");
            return engine_fail(e, &err);
        }
        p->now = m->now;
        if (profile_wrap(p, &m->m->kern, &m->m->dev, &err)) {
            mem_free(p);
            return engine_fail(e, &err);
        }
        m->profile = p;
    }
    profile_begin(m->profile);
    return IGN_OK;
}

size_t ign_profile_get(const ign_model *m, ign_profile *prefill, ign_profile *decode) {
    ign_profile *const to[PHASE_N] = {[PHASE_PREFILL] = prefill, [PHASE_DECODE] = decode};
    _Static_assert((int)STAGE_CALLER == IGN_STAGES, "all stages but the caller's own have a place");
    for (int phase = 0; phase < PHASE_N; phase++) {
        *to[phase] = (ign_profile){0};
        for (int s = 0; m->profile && s < IGN_STAGES; s++) {
            to[phase]->stage[s] = profile_stage_name((enum profile_stage)s);
            to[phase]->seconds[s] = m->profile->seconds[phase][s];
        }
        to[phase]->steps = m->profile ? m->profile->n_step[phase] : 0;
        to[phase]->tokens = m->profile ? m->profile->n_tok[phase] : 0;
    }
    return m->profile ? IGN_STAGES : 0;
}

void ign_model_get_info(const ign_model *m, ign_model_info *info) {
    const struct config *cfg = &m->m->cfg;
    *info =
        (ign_model_info){.name = m->name,
                         .architecture = cfg->arch ? cfg->arch : "",
                         .device = m->loaded ? m->m->kern->describe(m->m->dev) : "",
                         .parameters = m->m->w.n_param,
                         .weights_bytes = m->m->plan.weights,
                         .kv_bytes = m->m->plan.kv,
                         .kv_type = m->loaded && !cfg->encoder ? dtype_kv_name(m->m->kv.type) : "",
                         .scratch_bytes = m->m->plan.scratch,
                         .layers = cfg->n_layer,
                         .vocabulary = (int)vocab_size(m->m->vocab),
                         .context_trained = cfg->n_ctx,
                         .context = m->context,
                         .load_seconds = m->load_seconds,
                         .dimension = cfg->d_model,
                         .embeds_only = !config_has_logits(cfg)};
}

double ign_model_large_pages(const ign_model *m) {
    return model_large_pages(m->m);
}

void ign_model_get_sampling(const ign_model *m, ign_sampling *s) {
    struct sampling_own own;
    ign_sampling_default(s);
    sampling_read(&own, m->m->file);
    const double *v = own.value;
    s->temperature =
        own.said[SAMPLING_TEMPERATURE] ? (float)v[SAMPLING_TEMPERATURE] : s->temperature;
    s->top_k = own.said[SAMPLING_TOP_K] ? (int)v[SAMPLING_TOP_K] : s->top_k;
    s->top_p = own.said[SAMPLING_TOP_P] ? (float)v[SAMPLING_TOP_P] : s->top_p;
    s->min_p = own.said[SAMPLING_MIN_P] ? (float)v[SAMPLING_MIN_P] : s->min_p;
    s->repeat_penalty =
        own.said[SAMPLING_REPEAT_PENALTY] ? (float)v[SAMPLING_REPEAT_PENALTY] : s->repeat_penalty;
}
