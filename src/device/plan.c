/* plan.c: the arithmetic of memory, and the choice by it. See plan.h.
 *
 * Owns the sums, the limits and the wording of a no. What is preferred where is plan_table.c's.
 */
#include "device/plan.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/dtype.h"
#include "device/plan_table.h"

/* Resident memory of the program before it opens anything: code, libraries, tables, stacks. */
#define PROGRAM_BYTES ((uint64_t)5 << 20)
/* The largest context that may be asked for, and the least that is worth having. */
enum { CONTEXT_MAX = 1 << 24, CONTEXT_LEAST = 512, CONTEXT_STEP = 512, THREAD_MAX = 1024 };

/* The part of the ceilings that runs reached, the worst and the best: decode of the read bandwidth
 * (small models have little to read and much to wait for), prefill of the multiply-adds. */
static const double decode_share[2] = {0.2, 0.9}, prefill_share[2] = {0.2, 0.8};

static const char *const quant_names[PLAN_QUANT_N] = {"fp32", "fp16", "int8", "int4"};

const char *plan_quant_name(enum plan_quant q) {
    return quant_names[q];
}

int plan_quant_find(const char *name) {
    for (int q = 0; name && q < PLAN_QUANT_N; q++) {
        if (strcmp(quant_names[q], name) == 0) {
            return q;
        }
    }
    return -1;
}

/* ---- sums --------------------------------------------------------------------------------------
 */

static uint64_t kv_of_one(const struct plan_model *m, const struct plan_opts *o) {
    enum dtype type = o->kv_bytes == 4 ? DT_F32 : o->kv_bytes == 1 ? DT_I8 : DT_F16;
    return dtype_kv_position(type, m->n_layer, m->n_kv, m->d_head);
}

/* Positions come in whole pages. */
static uint64_t positions(const struct plan_opts *o, int context) {
    uint64_t page = o->page_tok ? (uint64_t)o->page_tok : 32;
    return ((uint64_t)context + page - 1) / page * page;
}

struct plan_row plan_row_of(enum plan_where where, const struct plan_model *m,
                            const struct plan_opts *o, enum plan_quant q, int context, int threads,
                            int batch) {
    const struct plan_scratch *s = &m->scratch[q];
    struct plan_row r = {
        .quant = q,
        .context = context,
        .kv_bytes = o->kv_bytes ? o->kv_bytes : 2,
        .weights = m->weights_bytes[q],
        .kv = positions(o, context) * kv_of_one(m, o),
        .scratch = s->fixed + s->per_tok * (uint64_t)batch +
                   (uint64_t)threads * (s->per_thread + s->per_thread_pos * positions(o, context)),
        .program = where == PLAN_CUDA ? 0 : PROGRAM_BYTES + m->text_bytes,
    };
    r.total = r.weights + r.kv + r.scratch + r.program;
    return r;
}

/* The ceilings are those of the fast back end: of the definition nothing is estimated. */
static void estimate(struct plan_row *r, const struct plan_model *m, const struct plan_opts *o) {
    if (o->device && strcmp(o->device, "plain") == 0) {
        return;
    }
    /* A prompt needs the logits of its last token only. */
    uint64_t active = m->active_bytes[PLAN_FP32] / sizeof(float);
    uint64_t output = (uint64_t)m->n_vocab * (uint64_t)m->d_model;
    double read = (double)m->active_bytes[r->quant] + (double)r->kv / 2;
    double mac = active > output ? (double)(active - output) : (double)active;
    for (int i = 0; i < 2; i++) {
        if (o->read_gb_per_s > 0) {
            r->tokens_per_s[i] = decode_share[i] * o->read_gb_per_s * 1e9 / read;
        }
        if (o->gmac_per_s > 0) {
            r->prefill_tokens_per_s[i] = prefill_share[i] * o->gmac_per_s * 1e9 / mac;
        }
    }
}

/* ---- limits ------------------------------------------------------------------------------------
 */

uint64_t plan_available(const struct machine_memory *m, uint64_t max_memory, char *by, size_t n) {
    uint64_t least = UINT64_MAX;
    snprintf(by, n, "nothing known");
    if (m->available > 0) {
        least = m->available;
        snprintf(by, n, "available memory");
    }
    if (m->limit_from[0] && m->limit_left < least) {
        least = m->limit_left;
        snprintf(by, n, "%s", m->limit_from);
    }
    if (max_memory > 0 && max_memory < least) {
        least = max_memory;
        snprintf(by, n, "--max-memory");
    }
    return least;
}

int plan_threads(const struct machine_cpu *c, int asked) {
    int n = c->budget > 1 ? c->budget : 1;
    if (asked > 0) {
        return asked < n ? asked : n;
    }
    return c->usable_cores > 0 && c->usable_cores < n ? c->usable_cores : n;
}

/* ---- choosing ----------------------------------------------------------------------------------
 */

struct maker {
    struct plan_choice *p;
    const struct plan_model *model;
    const struct machine *m;
    const struct plan_opts *o;
};

static double gb(uint64_t bytes) {
    return (double)bytes / 1e9;
}

/* "5.62 GB"; below a tenth of that "28.4 MB". */
struct amount {
    char text[24];
};
static struct amount amount(uint64_t bytes) {
    struct amount a;
    bool small = bytes < 100000000;
    snprintf(a.text, sizeof a.text, small ? "%.1f MB" : "%.2f GB", gb(bytes) * (small ? 1e3 : 1));
    return a;
}

/* Cut where it is too long: a file's name can be. */
static void say(char *out, size_t n, const char *fmt, ...) IGN_PRINTF(3, 4);
static void say(char *out, size_t n, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(out, n, fmt, ap);
    va_end(ap);
}

static char *next_warning(struct plan_choice *p) {
    return p->warning[p->n_warning++];
}

/* A row with its verdict. */
static struct plan_row judge(const struct maker *k, enum plan_quant q, int context) {
    const struct plan_choice *p = k->p;
    struct plan_row r = plan_row_of(PLAN_CPU, k->model, k->o, q, context, p->threads, p->batch);
    if (k->model->is_file && q != k->model->file_quant) {
        say(r.why, sizeof r.why, "the file is %s", plan_quant_name(k->model->file_quant));
    } else if (r.total > p->available) {
        say(r.why, sizeof r.why, "needs %s, %s too much for %s", amount(r.total).text,
            amount(r.total - p->available).text, p->limited_by);
    } else if (context > k->model->n_ctx) {
        r.fits = true;
        say(r.why, sizeof r.why, "trained for %d", k->model->n_ctx);
    } else {
        r.fits = true;
    }
    estimate(&r, k->model, k->o);
    return r;
}

static void fill_table(const struct maker *k) {
    static const int contexts[] = {512, 1024, 2048, 4096, 8192, 16384, 32768};
    enum { N = sizeof contexts / sizeof *contexts };
    struct plan_choice *p = k->p;
    int own = p->row.context;
    for (int q = 0; q < PLAN_QUANT_N; q++) {
        bool done = false;
        for (int i = 0; i <= N; i++) {
            int context = i < N ? contexts[i] : own;
            if (!done && own <= context) { /* in its place among the others, and only once */
                p->table[p->n_row++] = judge(k, (enum plan_quant)q, own);
                done = true;
            }
            if (i < N && context != own) {
                p->table[p->n_row++] = judge(k, (enum plan_quant)q, context);
            }
        }
    }
}

/* The longest context that fits with a quantization, in steps that a person would type; 0: none. */
static int longest(const struct maker *k, enum plan_quant q) {
    uint64_t one =
        kv_of_one(k->model, k->o) + k->model->scratch[q].per_thread_pos * (uint64_t)k->p->threads;
    struct plan_row none = plan_row_of(PLAN_CPU, k->model, k->o, q, 0, k->p->threads, k->p->batch);
    if (none.total > k->p->available || one == 0) {
        return 0;
    }
    uint64_t n = (k->p->available - none.total) / one / CONTEXT_STEP * CONTEXT_STEP;
    uint64_t most = (uint64_t)k->p->row.context;
    return n < CONTEXT_LEAST ? 0 : (int)(n < most ? n : most);
}

/* A shorter context first, then fewer bits at the context that was asked for, then both. */
static struct plan_row find_nearest(const struct maker *k) {
    enum plan_quant asked = k->p->row.quant;
    int context = longest(k, asked);
    if (context > 0) {
        return judge(k, asked, context);
    }
    for (int q = (int)asked + 1; q < PLAN_QUANT_N && !k->model->is_file; q++) {
        if ((context = longest(k, (enum plan_quant)q)) > 0) {
            return judge(k, (enum plan_quant)q, context);
        }
    }
    return (struct plan_row){0};
}

/* The longest context that an int8 cache would make fit, up to what is wanted; 0: it is no help. */
static int int8_context(const struct maker *k, int wanted) {
    struct plan_opts o = *k->o;
    struct maker with = *k;
    if (k->p->row.kv_bytes == 1) {
        return 0;
    }
    o.kv_bytes = 1;
    with.o = &o;
    int own = k->p->row.context;
    k->p->row.context = wanted; /* longest() looks no further */
    int n = longest(&with, k->p->row.quant), now = longest(k, k->p->row.quant);
    k->p->row.context = own;
    return n > now && (n > own || !k->p->row.fits) ? n : 0;
}

/* What was asked for, or without that the least that is usual: a longer one is no help unwanted. */
static int context_wanted(const struct maker *k) {
    enum { USUAL = 4096 };
    int usual = k->model->n_ctx < USUAL ? k->model->n_ctx : USUAL;
    int n = k->o->context ? k->o->context : usual;
    return n > k->p->row.context ? n : k->p->row.context;
}

static void choose(const struct maker *k) {
    struct plan_choice *p = k->p;
    uint64_t room = p->available == UINT64_MAX ? PLAN_UNKNOWN : p->available;
    struct plan_pick pick =
        plan_pick(PLAN_CPU, k->model, k->o, room, k->m->cpu.usable_cores, p->threads);
    p->batch = pick.batch;
    p->row = judge(k, pick.row.quant, pick.row.context);
    p->int8_context = int8_context(k, context_wanted(k));
    if (!p->row.fits) {
        p->nearest = find_nearest(k);
        p->least = judge(k, k->model->is_file ? k->model->file_quant : PLAN_INT4, CONTEXT_LEAST);
    }
}

/* ---- words -------------------------------------------------------------------------------------
 */

static void say_why(const struct maker *k) {
    struct plan_choice *p = k->p;
    const struct plan_row *r = &p->row;
    const char *how = k->model->is_file  ? "as the file is"
                      : k->o->quant >= 0 ? "as asked for"
                                         : "the best that leaves room for others";
    if (r->fits) {
        say(p->why, sizeof p->why, "%s, %s; %d positions: %.2f of %.2f GB (%s)",
            plan_quant_name(r->quant), how, r->context, gb(r->total), gb(p->available),
            p->limited_by);
    } else if (p->nearest.total > 0) {
        say(p->why, sizeof p->why, "%s; %s with --context %d would fit (%.2f GB)", r->why,
            plan_quant_name(p->nearest.quant), p->nearest.context, gb(p->nearest.total));
    } else {
        say(p->why, sizeof p->why, "%s; no context and no quantization of it fits", r->why);
    }
}

/* The accelerator with the most memory, and what the table would give it: a plan for a back end
 * that is to come, and no more. */
static void look_at_gpus(const struct maker *k) {
    const struct machine_gpu *best = NULL;
    struct plan_choice *p = k->p;
    for (int i = 0; i < k->m->n_gpu; i++) {
        const struct machine_gpu *g = &k->m->gpu[i];
        if (g->usable && g->kind != GPU_OPENCL && (!best || g->memory_free > best->memory_free)) {
            best = g;
        }
    }
    if (!best) {
        return;
    }
    const char *name = machine_gpu_kind_name(best->kind);
    struct plan_pick pick = plan_pick(best->kind == GPU_CUDA ? PLAN_CUDA : PLAN_METAL, k->model,
                                      k->o, best->memory_free, k->m->cpu.usable_cores, p->threads);
    if (pick.fits) {
        say(p->gpu, sizeof p->gpu,
            "%s:%d (%.1f GB free) could take %s with %d positions, but this program has no %s back "
            "end yet: the processor computes",
            name, best->index, gb(best->memory_free), plan_quant_name(pick.row.quant),
            pick.row.context, name);
    } else {
        say(p->gpu, sizeof p->gpu, "%s:%d has %.1f GB free, too little for this model", name,
            best->index, gb(best->memory_free));
    }
}

/* ---- the decision ------------------------------------------------------------------------------
 */

static enum err_code check(const struct plan_model *model, const struct plan_opts *o,
                           struct err *e) {
    const struct {
        const char *name;
        int v, max;
    } bounded[] = {{"context", o->context, CONTEXT_MAX},
                   {"threads", o->threads, THREAD_MAX},
                   {"batch", o->batch, CONTEXT_MAX}};
    for (size_t i = 0; i < sizeof bounded / sizeof *bounded; i++) {
        if (bounded[i].v < 0 || bounded[i].v > bounded[i].max) {
            return err_set(e, ERR_RANGE, "%s: %d is outside of 1 to %d", bounded[i].name,
                           bounded[i].v, bounded[i].max);
        }
    }
    if (model->is_file && o->quant >= 0 && (enum plan_quant)o->quant != model->file_quant) {
        enum err_code rc =
            err_set(e, ERR_USAGE, "the file is %s (%s), not %s", plan_quant_name(model->file_quant),
                    model->file_type, plan_quant_name((enum plan_quant)o->quant));
        err_where(e, "--quantization");
        err_hint(e, "leave it out, or take a file of this model in %s",
                 plan_quant_name((enum plan_quant)o->quant));
        return rc;
    }
    return ERR_OK;
}

static void settle_threads(const struct maker *k) {
    struct plan_choice *p = k->p;
    p->threads = plan_threads(&k->m->cpu, k->o->threads);
    if (p->threads < k->o->threads) {
        say(next_warning(p), sizeof *p->warning,
            "%d threads are more than the %d that this process may use: %d %s", k->o->threads,
            p->threads, p->threads, p->threads == 1 ? "is started" : "are started");
    }
}

enum err_code plan_make(struct plan_choice *p, const struct plan_model *model,
                        const struct machine *m, const struct plan_opts *o, struct err *e) {
    struct maker k = {p, model, m, o};
    memset(p, 0, sizeof *p);
    enum err_code rc = check(model, o, e);
    if (rc) {
        return rc;
    }
    bool any = !o->device || strcmp(o->device, "auto") == 0;
    snprintf(p->device, sizeof p->device, "%s", any ? "cpu" : o->device);
    snprintf(p->precision, sizeof p->precision, "fp32");
    p->available = plan_available(&m->memory, o->max_memory, p->limited_by, sizeof p->limited_by);
    settle_threads(&k);
    if (p->available == UINT64_MAX) {
        say(next_warning(p), sizeof *p->warning,
            "how much memory can be taken is not known: --max-memory says it");
    }
    choose(&k);
    struct plan_opts shrunk = *o;
    if (o->kv_shrink && !p->row.fits && p->row.kv_bytes == 2) {
        struct plan_row f16 = p->row;
        shrunk.kv_bytes = 1;
        k.o = &shrunk;
        choose(&k);
        if (p->row.fits) {
            say(next_warning(p), sizeof *p->warning,
                "the KV cache is int8: with f16 the model would need %s for %d positions, there "
                "are "
                "%s",
                amount(f16.total).text, f16.context, amount(p->available).text);
        }
    } else if (p->row.fits && p->int8_context > 0) {
        say(next_warning(p), sizeof *p->warning,
            "%d positions fit with f16 in the KV cache; with --kv-type int8 %d would",
            p->row.context, p->int8_context);
    }
    if (p->row.context > model->n_ctx) {
        say(next_warning(p), sizeof *p->warning,
            "a context of %d is more than the %d that the model was trained for", p->row.context,
            model->n_ctx);
    }
    fill_table(&k);
    say_why(&k);
    look_at_gpus(&k);
    return ERR_OK;
}

enum err_code plan_refuse(const struct plan_choice *p, struct err *e) {
    const struct plan_row *r = &p->row, *near = &p->nearest;
    enum err_code rc = err_set(
        e, ERR_NOFIT,
        "the model needs %.2f GB (weights %.2f, KV cache %.2f, buffers %.2f, program %.2f), there "
        "are %s (%s)",
        gb(r->total), gb(r->weights), gb(r->kv), gb(r->scratch), gb(r->program),
        amount(p->available).text, p->limited_by);
    if (p->int8_context >= r->context) {
        err_hint(e, "--kv-type int8 would fit");
    } else if (near->total == 0) {
        err_hint(e, "take a smaller model: the least of this one, %s with --context %d, needs %s",
                 plan_quant_name(p->least.quant), p->least.context, amount(p->least.total).text);
    } else if (near->quant == r->quant) {
        err_hint(e, "--context %d would fit", near->context);
    } else {
        err_hint(e, "%s with --context %d would fit", plan_quant_name(near->quant), near->context);
    }
    return rc;
}
