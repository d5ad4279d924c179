/* load.c: from a path to a model that can compute, and what that takes, said beforehand.
 *
 * One of the two places where text/ and format/ meet: the vocabulary and the chat template come
 * out of the same file as the weights. Owns the order of opening and closing. Refuses to choose
 * a smaller context or another file when something does not fit: it says the numbers.
 * Invariant: nothing is allocated before a plan has said that all of it fits.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "device/sys_root.h"
#include "model/config.h"
#include "model/model.h"
#include "model/need.h"
#include "model/source.h"
#include "model/vocab_load.h"
#include "model/weights.h"

enum { OPTION_MAX = 1 << 24 };

/* ---- options and limits ------------------------------------------------------------------- */

static enum err_code check_options(const struct model_opts *o, struct err *e) {
    const struct {
        const char *name;
        int v;
    } bounded[] = {{"context", o->n_ctx},
                   {"tokens in a step", o->max_tok},
                   {"rows with logits", o->max_out},
                   {"positions in a KV page", o->page_tok}};
    for (size_t i = 0; i < sizeof bounded / sizeof *bounded; i++) {
        if (bounded[i].v < 1 || bounded[i].v > OPTION_MAX) {
            return err_set(e, ERR_RANGE, "%s: %d is outside of 1 to %d", bounded[i].name,
                           bounded[i].v, OPTION_MAX);
        }
    }
    if (o->page_tok & (o->page_tok - 1)) {
        return err_set(e, ERR_RANGE, "positions in a KV page: %d is not a power of two",
                       o->page_tok);
    }
    if (dtype_kv_bytes(o->kv_type, 1) == 0) {
        return err_set(e, ERR_RANGE, "the KV cache is f16, f32 or int8");
    }
    return ERR_OK;
}

#define SETTLE_SHARE 8 /* of a step's time that moving weights may take after it */
/* Seconds after one step at most: the next token waits, and an eighth of the step that computes a
 * prompt of an 8B model is more than one. */
#define SETTLE_MOST 0.025

/* Times what all pages take: reading is a tenth to a third faster from then on, so that moving has
 * paid for itself when about as much has been computed again. */
#define SETTLE_AFTER 8
#define SETTLE_BELOW 0.5 /* a file of which as much lies in large pages stays as it is */
#define SETTLE_LOOK  16  /* large pages between two looks at the memory that is left */

/* Memory of the process's own cannot be taken back when others need it, as a file's pages can: so
 * much has to stay free beside all that was planned. */
static enum err_code may_settle(struct model *m, const struct model_opts *o,
                                const struct plan_row *row, uint64_t available, struct err *e) {
    const uint64_t least = (uint64_t)2 << 30;
    const char *root = o->system_root ? o->system_root : "";
    struct settling *s = &m->settling;
    uint64_t spare = available / 4 > least ? available / 4 : least;
    s->wanted = !o->no_mmap && !o->no_large_pages && !o->mlock &&
                (o->duty == 0 || o->duty == 100) && available != UINT64_MAX &&
                row->total < available && available - row->total >= spare;
    s->pages = (double)row->weights / OS_LARGE;
    s->reserve = spare + (row->total - row->weights);
    if (s->wanted) {
        s->root = arena_strdup(&m->mem, root, strlen(root));
        s->text = arena_alloc(&m->mem, SYS_TEXT_MAX, 1);
    }
    return !s->wanted || (s->root && s->text)
               ? ERR_OK
               : err_set(e, ERR_NOMEM, "out of memory for what the machine says of itself");
}

/* Weights may be mapped and shared, and their pages count as available while nobody uses them; but
 * a machine that cannot hold them reads the disk for every token: that is refused, too. */
static enum err_code check_fits(struct model *m, struct model_opts *o, struct err *e) {
    struct plan_model need;
    struct plan_choice plan;
    struct machine machine;
    struct plan_opts want = {
        .context = o->n_ctx,
        .threads = o->n_thread,
        .batch = o->max_tok,
        .quant = -1,
        .device = o->device,
        .kv_bytes = o->kv_type == DT_F32   ? 4
                    : o->kv_type == DT_F16 ? 2
                                           : 1,
        .kv_shrink = o->kv_shrink,
        .page_tok = o->page_tok,
        .max_memory = o->max_memory,
    };
    machine_read(&machine, o->system_root);
    enum err_code rc = need_of_file(&need, m->file, &m->cfg, o, e);
    if (rc || (rc = plan_make(&plan, &need, &machine, &want, e))) {
        return rc;
    }
    o->n_thread = o->n_thread ? o->n_thread : plan.threads;
    m->plan = plan.row;
    if (!plan.row.fits) {
        rc = plan_refuse(&plan, e);
        err_where(e, "%s", m->file->path);
        return rc;
    }
    if ((rc = may_settle(m, o, &plan.row, plan.available, e))) {
        return rc;
    }
    o->kv_type = plan.row.kv_bytes == 1 ? DT_I8 : o->kv_type;
    const double mb = 1e6;
    if (plan.row.kv_bytes < want.kv_bytes) {
        log_line(LOG_WARN,
                 "the KV cache is int8, which costs quality: with f16 the model would not fit");
    }
    log_line(LOG_INFO,
             "%s: %.1f MB: weights %.1f, KV cache %.1f, scratch %.1f, program and text %.1f",
             m->file->path, (double)m->plan.total / mb, (double)m->plan.weights / mb,
             (double)m->plan.kv / mb, (double)m->plan.scratch / mb, (double)m->plan.program / mb);
    return ERR_OK;
}

/* ---- opening ------------------------------------------------------------------------------ */

/* Where the time of opening goes, for who asks with --verbose. */
static void tell_stage(const char *what, double *since) {
    double now = os_now();
    log_line(LOG_DEBUG, "%s: %.1f ms", what, 1e3 * (now - *since));
    *since = now;
}

static struct str piece_or_empty(const struct vocab *v, int32_t id) {
    return id < 0 ? str_of("", 0) : vocab_piece(v, id);
}

static enum err_code open_text(struct model *m, struct err *e) {
    const char *key = "tokenizer.chat_template";
    double since = os_now();
    enum err_code rc = vocab_load(&m->vocab, m->file, e);
    tell_stage("vocabulary", &since);
    if (rc || (rc = tokenizer_create(&m->tok, m->vocab, e))) {
        return rc;
    }
    tell_stage("tokenizer", &since);
    if ((rc = gguf_find(m->file, key) ? gguf_get_str(m->file, key, &m->tmpl, e) : ERR_OK)) {
        return rc;
    }
    rc = chat_create(&m->chat, m->tmpl, piece_or_empty(m->vocab, vocab_bos(m->vocab)),
                     piece_or_empty(m->vocab, vocab_eos(m->vocab)), &m->chat_err);
    tell_stage("chat template", &since);
    if (rc == ERR_NOMEM) {
        *e = m->chat_err;
        return rc;
    }
    return ERR_OK;
}

static enum err_code open_config(struct model *m, struct err *e) {
    if (m->file->n_tensor == 0) {
        return ERR_OK;
    }
    char key[64];
    enum err_code rc = config_read(&m->cfg, m->file, e);
    if (!rc) {
        snprintf(key, sizeof key, "%s.ign.prompt", m->cfg.arch);
        rc = gguf_find(m->file, key) ? gguf_get_str(m->file, key, &m->prompt, e) : ERR_OK;
    }
    if (!rc && vocab_size(m->vocab) != (uint32_t)m->cfg.n_vocab) {
        rc = err_set(e, ERR_FORMAT, "the tokenizer has %u tokens, 'token_embd.weight' %d",
                     vocab_size(m->vocab), m->cfg.n_vocab);
        err_where(e, "%s", m->file->path);
    }
    return rc;
}

/* Reading the whole file into memory is decided on its directory: the mapping comes first. */
static enum err_code open_file(struct model *m, const char *path, bool copy, struct err *e) {
    enum err_code rc = source_open(&m->file, path, false, e);
    if (rc || !copy) {
        return rc;
    }
    uint64_t bytes = 0, available = os_memory_available();
    for (size_t i = 0; i < m->file->n_part; i++) {
        bytes += m->file->part[i].size;
    }
    if (bytes > available) {
        rc = err_set(e, ERR_NOFIT, "reading the file takes %.2f GB of memory, %.2f are available",
                     (double)bytes / 1e9, (double)available / 1e9);
        err_where(e, "%s", path);
        err_hint(e, "leave out --no-mmap");
        return rc;
    }
    gguf_close(m->file);
    m->file = NULL;
    return source_open(&m->file, path, true, e);
}

enum err_code model_open(struct model **out, const char *path, const struct model_opts *o,
                         struct err *e) {
    enum err_code rc;
    struct model *m = mem_zalloc(1, sizeof *m);
    *out = NULL;
    if (!m) {
        return err_set(e, ERR_NOMEM, "no memory to open '%s'", path);
    }
    arena_init(&m->mem, 0);
    double since = os_now();
    if ((rc = open_file(m, path, o->no_mmap, e))) {
        goto fail;
    }
    tell_stage("file", &since);
    if ((rc = open_text(m, e)) || (rc = open_config(m, e))) {
        goto fail;
    }
    *out = m;
    return ERR_OK;
fail:
    model_close(m);
    return rc;
}

void model_close(struct model *m) {
    if (!m) {
        return;
    }
    if (m->kern) {
        m->kern->close(m->dev);
    }
    arena_fini(&m->mem);
    chat_free(m->chat);
    tokenizer_free(m->tok);
    vocab_free(m->vocab);
    gguf_close(m->file);
    mem_free(m);
}

/* ---- loading ------------------------------------------------------------------------------ */

static enum err_code prepare_file(struct model *m, const struct model_opts *o, struct err *e) {
    for (size_t i = 0; i < m->file->n_part; i++) {
        struct os_map *part = &m->file->part[i];
        if (!part->copied) {
            os_map_willneed(part);
        }
        enum err_code rc = o->mlock ? os_map_lock(part, e) : ERR_OK;
        if (rc) {
            return rc;
        }
    }
    return ERR_OK;
}

static enum err_code alloc_buffers(struct model *m, const struct model_opts *o, struct err *e) {
    struct need_buffer w[NEED_BUFFER];
    need_buffers(w, &m->b, &m->cfg, o);
    for (int i = 0; i < NEED_BUFFER; i++) {
        enum err_code rc = w[i].n ? m->kern->alloc(m->dev, w[i].n, w[i].ref, e) : ERR_OK;
        if (rc) {
            return rc;
        }
    }
    m->b.q = m->b.gate;
    m->b.att = m->b.up;
    m->max_tok = o->max_tok;
    m->max_out = o->max_out;
    return ERR_OK;
}

static void count_weights(struct weights *w, const struct gguf *g) {
    for (size_t i = 0; i < g->n_tensor; i++) {
        const uint64_t *d = g->tensor[i].dim;
        w->n_param += d[0] * d[1] * d[2] * d[3];
        w->bytes += g->tensor[i].bytes;
    }
}

/* Others may have come since the model was loaded, other programs of this kind among them. */
static bool memory_is_left(struct settling *s) {
    if (s->looked == 0) {
        s->looked = SETTLE_LOOK;
        s->wanted = machine_memory_usable(s->root, s->text) >= s->reserve + SETTLE_LOOK * OS_LARGE;
    }
    s->looked--;
    return s->wanted;
}

/* A page takes from 0.3 ms to 5, where a virtual machine has to be given the memory first. Who has
 * computed for SETTLE_AFTER times what all of them take is likely to stay for longer. */
void model_settle(struct model *m, double computed) {
    struct settling *s = &m->settling;
    double cost = s->moved ? s->spent / s->moved : 0;
    s->computed += computed;
    if (s->wanted && !s->moved) {
        s->wanted = os_map_large(&m->file->part[s->part]) < SETTLE_BELOW;
    }
    if (s->computed > SETTLE_AFTER * s->pages * cost) {
        double share = computed / SETTLE_SHARE;
        s->credit += share < SETTLE_MOST ? share : SETTLE_MOST;
    }
    while (s->wanted && (!s->moved || s->credit > cost)) {
        double start = os_now();
        if (!memory_is_left(s)) {
            break;
        }
        if (os_map_settle(&m->file->part[s->part], &s->at)) {
            double took = os_now() - start;
            s->spent += took;
            s->credit -= took;
            cost = s->spent / ++s->moved;
            s->pages--;
        } else {
            s->at = 0;
            s->wanted = ++s->part < m->file->n_part;
        }
    }
}

double model_large_pages(const struct model *m) {
    double large = 0, all = 0;
    for (size_t i = 0; i < m->file->n_part; i++) {
        const struct os_map *part = &m->file->part[i];
        double share = os_map_large(part);
        if (share < 0) {
            return -1;
        }
        large += share * (double)part->size;
        all += (double)part->size;
    }
    return all > 0 ? large / all : -1;
}

enum err_code model_load(struct model *m, const struct model_opts *o, struct err *e) {
    assert(!m->kern);
    if (m->cfg.n_layer == 0) {
        enum err_code rc = err_set(e, ERR_UNSUPPORTED, "the file has a vocabulary but no weights");
        err_where(e, "%s", m->file->path);
        return rc;
    }
    struct model_opts r = need_settle(&m->cfg, o);
    const struct kern *k;
    double since = os_now();
    enum err_code rc;
    if ((rc = check_options(&r, e)) || (rc = need_device(&k, r.device, e)) ||
        (rc = check_fits(m, &r, e))) {
        return rc;
    }
    tell_stage("plan", &since);
    if ((rc = prepare_file(m, &r, e))) {
        return rc;
    }
    tell_stage("read ahead", &since);
    struct kern_opts ko = {.n_thread = r.n_thread,
                           .duty = r.duty,
                           .max_tok = r.max_tok,
                           .max_out = r.max_out,
                           .level = r.cpu_level};
    if ((rc = k->open(&m->dev, &ko, e))) {
        return rc;
    }
    m->kern = k; /* from here on model_close closes the device */
    m->kv = need_kv(&m->cfg, &r);
    if ((rc = weights_bind(m, e)) || (rc = alloc_buffers(m, &r, e)) ||
        (rc = k->kv_open(m->dev, &m->kv, e)) || (rc = k->ready(m->dev, e))) {
        return rc;
    }
    tell_stage("weights, buffers, KV cache", &since);
    count_weights(&m->w, m->file);
    log_line(LOG_INFO, "%s", k->describe(m->dev));
    return ERR_OK;
}
