/* open_model.c: flags to options, names to files.
 *
 * Owns the choice of the store's folder and the check of --context against the file, which is cheap
 * to make before anything is loaded. Invariant: on an error nothing stays open.
 */
#include "cli/open_model.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "cli/look.h"
#include "cli/quantized.h"
#include "cli/verbs.h"
#include "config/folders.h"
#include "model/config.h"
#include "model/source.h"
#include "model/vocab_load.h"
#include "observe/instance.h"
#include "store/store.h"

/* ---- paths ------------------------------------------------------------------------------ */

const char *store_folder(struct cli *c, struct buf *b) {
    const char *given = knobs_str(c->k, "store");
    if (given && !given[0]) {
        return NULL; /* it would be the root of all folders */
    }
    return given ? given : folder_path(b, FOLDER_DATA, "models");
}

const char *state_folder(struct cli *c, struct buf *b) {
    const char *given = knobs_str(c->k, "state");
    return given ? given : folder_path(b, FOLDER_STATE, NULL);
}

enum err_code model_path_find(struct cli *c, const char *name, char **path, struct err *e) {
    struct buf b;
    buf_init(&b, 65536);
    enum err_code rc = store_resolve(store_folder(c, &b), name, path, e);
    buf_fini(&b);
    return rc;
}

int model_path_ready(struct cli *c, const char *name, char **path) {
    struct err e = {0};
    if (model_path_find(c, name, path, &e)) {
        return cli_fail(c, &e);
    }
    int code = quantized_path(c, path);
    if (code != EXIT_DONE) {
        mem_free(*path);
        *path = NULL;
    }
    return code;
}

/* ---- a tokenizer --------------------------------------------------------------------------------
 */

int text_model_open(struct cli *c, struct text_model *t) {
    struct err e = {0};
    char *path = NULL;
    *t = (struct text_model){0};
    if (model_path_find(c, knobs_str(c->k, "model"), &path, &e)) {
        return cli_fail(c, &e);
    }
    if (source_open(&t->file, path, knobs_bool(c->k, "no-mmap"), &e) ||
        vocab_load(&t->vocab, t->file, &e) || tokenizer_create(&t->tok, t->vocab, &e)) {
        text_model_close(t);
        mem_free(path);
        return cli_fail_data(c, &e);
    }
    mem_free(path);
    return EXIT_DONE;
}

void text_model_close(struct text_model *t) {
    tokenizer_free(t->tok);
    vocab_free(t->vocab);
    gguf_close(t->file);
    *t = (struct text_model){0};
}

/* ---- a model --------------------------------------------------------------------------- */

enum err_code context_refuse(int64_t asked, int n_ctx, const char *flag, struct err *e) {
    int most = n_ctx > CONTEXT_FREE ? n_ctx : CONTEXT_FREE;
    err_set(e, ERR_RANGE, "a context of %lld is more than %d, the most for this model",
            (long long)asked, most);
    err_where(e, "--%s", flag);
    err_hint(e, "it was trained for %d: take that, or leave --%s out", n_ctx, flag);
    return ERR_RANGE;
}

/* Any model may be given up to CONTEXT_FREE positions, and what it was trained for where that is
 * more. Past its training a model still answers, only worse: the user is told and decides. */
static int check_context(struct cli *c, const char *path) {
    struct err e = {0};
    struct gguf *g = NULL;
    struct config cfg = {0};
    int64_t asked = knobs_int(c->k, "context");
    int code = EXIT_DONE;
    if (source_open(&g, path, false, &e) || (g->n_tensor > 0 && config_read(&cfg, g, &e))) {
        code = cli_fail_data(c, &e);
    } else if (g->n_tensor > 0 && asked > cfg.n_ctx) {
        if (asked > CONTEXT_FREE) {
            context_refuse(asked, cfg.n_ctx, "context", &e);
            code = cli_fail(c, &e);
        } else if (cfg.encoder) { /* its positions are a table: there are no more */
            cli_note(c, "ign: warning: the model sees no more than %d tokens of a text, not %lld",
                     cfg.n_ctx, (long long)asked);
        } else {
            cli_note(c,
                     "ign: warning: a context of %lld is more than the %d that the model was "
                     "trained for; expect worse answers past that",
                     (long long)asked, cfg.n_ctx);
        }
    }
    gguf_close(g);
    return code;
}

/* What is correct is not rounded on its way to being compared, unless that was asked for. */
const char *kv_type_wanted(const struct cli *c) {
    const struct knobs *k = c->k;
    if (!knobs_given(k, "kv-type")) {
        return strcmp(knobs_str(k, "device"), "plain") == 0 ? "f32" : NULL;
    }
    return knobs_str(k, "kv-type");
}

/* Threads past what the process may use only take turns with each other. */
static int threads_of(struct cli *c, const struct machine *m, bool planned) {
    int asked = (int)knobs_int(c->k, "threads"), n = plan_threads(&m->cpu, asked);
    if (n < asked && !planned) { /* a plan has said so */
        char why[160] = "";
        if (m->cpu.quota > 0 && n < m->cpu.usable) {
            snprintf(why, sizeof why, " (%s grants it %g)", m->cpu.quota_from, m->cpu.quota);
        }
        cli_note(c,
                 "ign: warning: %d threads are more than the %d that this process may use%s: %d %s",
                 asked, n, why, n, n == 1 ? "is started" : "are started");
    }
    return n;
}

void engine_plan_options(struct cli *c, struct model_opts *o) {
    const char *kv = kv_type_wanted(c);
    *o = (struct model_opts){
        .device = knobs_str(c->k, "device"),
        .cpu_level = knobs_str(c->k, "cpu"),
        .kv_type = !kv || strcmp(kv, "f16") == 0 ? DT_F16
                   : strcmp(kv, "f32") == 0      ? DT_F32
                                                 : DT_I8,
        .kv_shrink = !kv,
    };
}

/* Who times steps: guesses that come true would look like speed, unless they are asked for. */
static bool speculates(const struct cli *c) {
    const char *verb = c->verb->args.name;
    bool times = strcmp(verb, "benchmark") == 0 || strcmp(verb, "compare") == 0;
    if (times && !knobs_given(c->k, "speculate")) {
        return false;
    }
    return strcmp(knobs_str(c->k, "speculate"), "off") != 0;
}

static ign_model_options options_of(struct cli *c, const struct machine *m, int context,
                                    int batch) {
    struct knobs *k = c->k;
    bool planned = batch > 0;
    if (context == 0 && knobs_given(k, "context")) {
        context = (int)knobs_int(k, "context");
    }
    return (ign_model_options){
        .device = knobs_str(k, "device"),
        .cpu_level = knobs_str(k, "cpu"),
        .threads = threads_of(c, m, planned),
        .duty = (int)knobs_int(k, "duty"),
        .context = context,
        .batch = planned ? batch : (int)knobs_int(k, "batch"),
        .kv_type = kv_type_wanted(c),
        .no_speculation = !speculates(c),
        .no_mmap = knobs_bool(k, "no-mmap"),
        .no_large_pages = knobs_bool(k, "no-large-pages"),
        .mlock = knobs_bool(k, "mlock"),
        .max_memory = knobs_size(k, "max-memory"),
        .system_root = knobs_str(k, "system-root"),
        .clock = c->verb->args.groups & KNOB_TEMPLATE ? knobs_int(k, "clock") : 0,
    };
}

struct loading {
    const char *path;
    ign_model_options options;
    ign_model *m;
    ign_error why;
};

static void load(void *arg) {
    struct loading *l = arg;
    ign_model_open(&l->m, l->path, &l->options, &l->why);
}

/* Loads in a thread of its own: a signal is taken by the first thread, and that one must not be
 * inside of a system call that reads or locks gigabytes. */
static int load_model(struct cli *c, const char *path, int context, int batch, ign_model **m) {
    struct machine machine;
    struct os_thread *thread = NULL;
    struct err e = {0};
    if (look_machine(c, &machine, false, &e)) {
        return cli_fail(c, &e);
    }
    struct loading l = {.path = path, .options = options_of(c, &machine, context, batch)};
    if (os_thread_start(&thread, load, &l, &e)) {
        return cli_fail(c, &e);
    }
    os_thread_join(thread);
    *m = l.m;
    return l.m ? EXIT_DONE : cli_fail_data_ign(c, &l.why);
}

/* Says that this program runs, for others to see; no reason to fail where that cannot be. */
static void instance_begin(struct cli *c, const ign_model *m) {
    struct instance_info what = {0};
    struct err e = {0};
    ign_model_info info;
    struct buf b;
    buf_init(&b, 65536);
    const char *folder = state_folder(c, &b);
    if (folder && !c->instance) {
        ign_model_get_info(m, &info);
        snprintf(what.verb, sizeof what.verb, "%s", c->verb->args.name);
        snprintf(what.model, sizeof what.model, "%s", info.name);
        snprintf(what.device, sizeof what.device, "%s", info.device);
        what.memory = info.weights_bytes + info.kv_bytes + info.scratch_bytes;
        if (instance_enter(&c->instance, folder, &what, &e)) {
            char line[896];
            log_line(knobs_given(c->k, "state") ? LOG_WARN : LOG_DEBUG,
                     "not listed among running programs: %s", err_line(&e, line, sizeof line));
        }
    }
    buf_fini(&b);
}

/* What has no output matrix is for one verb; the others are told before they ask it for text. */
static int check_kind(struct cli *c, const char *path, ign_model **m) {
    struct err e = {0};
    ign_model_info info;
    ign_model_get_info(*m, &info);
    if (!info.embeds_only || c->verb == &verb_embed) {
        return EXIT_DONE;
    }
    err_set(&e, ERR_UNSUPPORTED,
            "a model of the kind '%s' without an output matrix reads texts and writes none",
            info.architecture);
    err_where(&e, "%s", path);
    err_hint(&e, "it is for ign embed; give ign %s a language model", c->verb->args.name);
    ign_model_close(*m);
    *m = NULL;
    return cli_fail(c, &e);
}

int engine_file_open(struct cli *c, const char *path, int context, int batch, ign_model **m) {
    *m = NULL;
    action_model(c, path);
    int code = load_model(c, path, context, batch, m);
    code = code == EXIT_DONE ? check_kind(c, path, m) : code;
    if (code == EXIT_DONE) {
        instance_begin(c, *m);
    }
    return code;
}

int engine_model_open(struct cli *c, int context, ign_model **m) {
    char *path = NULL;
    int code = model_path_ready(c, knobs_str(c->k, "model"), &path);
    *m = NULL;
    if (code == EXIT_DONE && knobs_given(c->k, "context")) {
        code = check_context(c, path);
    }
    if (code == EXIT_DONE) {
        code = engine_file_open(c, path, context, 0, m);
    }
    mem_free(path);
    return code;
}
