/* verb_initialize.c: from a machine and a model's name to a model that answers.
 *
 * Owns the order (look, plan, read, load, test) and the time of each stage. What fits is plan.h's,
 * whether the model is one self_test.h's. Invariant: nothing is read or loaded that does not fit.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "cli/answer.h"
#include "cli/look.h"
#include "cli/open_model.h"
#include "cli/plan_show.h"
#include "cli/progress.h"
#include "cli/quantized.h"
#include "cli/self_test.h"
#include "cli/verbs.h"
#include "config/folders.h"
#include "kern/ceiling.h"
#include "model/config.h"
#include "model/need.h"
#include "model/source.h"
#include "observe/instance.h"

/* What the predecessor took where no model was named. */
#define MODEL "llama3.1-8b"
/* A quick look at the ceilings, where no benchmark has been run here. */
#define CEILING_SECONDS 0.6

static const struct knob own[] = {
    {.name = "model-name",
     .type = KNOB_STR,
     .unit = "MODEL",
     .help = "the same as --model; for a plan, the name of a known model will do"},
    {.name = "max-context",
     .type = KNOB_INT,
     .flags = KNOB_MAY_PASS,
     .unit = "N",
     .min = 512,
     .max = 32768,
     .help = "the same as --context; chosen by what fits when not given"},
    {.name = "test-prompt",
     .type = KNOB_STR,
     .flags = KNOB_TEXT,
     .unit = "TEXT",
     .def = "Hello, this is a test.",
     .help = "what the self-test asks"},
    {.name = "dry-run",
     .type = KNOB_BOOL,
     .help = "only plan: say what would fit, and load nothing"},
};

enum stage { LOOK, PLAN, QUANTIZE, READ, LOAD, TEST, N_STAGE };
static const char *const stage_names[N_STAGE] = {"look", "plan", "quantize",
                                                 "read", "load", "test"};

struct job {
    struct cli *c;
    char *path;     /* of the file; NULL: a known name */
    struct gguf *g; /* until the model is loaded */
    struct machine machine;
    struct plan_model need;
    struct plan_choice plan;
    ign_model *model;
    struct answer answer;
    double since, seconds[N_STAGE];
    double accepted; /* seconds from the start until the first request could be taken */
};

static void stage_end(struct job *j, enum stage stage) {
    double now = os_now();
    j->seconds[stage] += now - j->since;
    j->since = now;
}

/* ---- what was asked for ------------------------------------------------------------------------
 */

/* Of two flags that say the same, one. */
static enum err_code both(const char *one, const char *other, struct err *e) {
    err_set(e, ERR_USAGE, "--%s and --%s exclude each other", one, other);
    err_hint(e, "they mean the same: give one");
    return ERR_USAGE;
}

static enum err_code name_of(struct job *j, const char **name, struct err *e) {
    struct knobs *k = j->c->k;
    if (knobs_given(k, "model-name") && knobs_given(k, "model")) {
        return both("model-name", "model", e);
    }
    *name = knobs_str(k, knobs_given(k, "model-name") ? "model-name" : "model");
    return ERR_OK;
}

static enum err_code context_of(struct job *j, int *context, struct err *e) {
    struct knobs *k = j->c->k;
    bool max = knobs_given(k, "max-context"), own_name = knobs_given(k, "context");
    if (max && own_name) {
        return both("max-context", "context", e);
    }
    const char *flag = max ? "max-context" : "context";
    *context = max || own_name ? (int)knobs_int(k, flag) : 0;
    if (*context > CONTEXT_FREE && *context > j->need.n_ctx) {
        return context_refuse(*context, j->need.n_ctx, flag, e);
    }
    return ERR_OK;
}

/* ---- a file, or a name --------------------------------------------------------------------------
 */

/* The class of --quantization; -1: none was asked for. */
static int quant_asked(const struct job *j) {
    const char *asked = knobs_str(j->c->k, "quantization");
    const struct mix_kind *kind = mix_find(asked);
    int q = plan_quant_find(asked);
    return q < 0 && kind ? (int)need_quant(kind->type) : q;
}

static enum err_code not_here(struct job *j, const char *name, struct err *e) {
    enum plan_quant q = PLAN_INT4;
    int asked = quant_asked(j);
    q = asked >= 0 ? (enum plan_quant)asked : q;
    *e = (struct err){0};
    err_set(e, ERR_NOTFOUND, "%s is known, but no file of it is in the store", j->need.name);
    err_where(e, "%s", name);
    err_hint(e,
             "copy its GGUF file (%s: %.1f GB) there as %s.gguf, or give its path with --model; "
             "--dry-run plans without one",
             plan_quant_name(q), (double)j->need.weights_bytes[q] / 1e9, name);
    return ERR_NOTFOUND;
}

/* What --quantization will make of the file, in place of what it is. */
static enum err_code plan_quantized(struct job *j, struct err *e) {
    const struct mix_kind *kind;
    uint64_t bytes;
    enum err_code rc = quantized_wanted(j->c, j->g, &kind, &bytes, e);
    if (!rc && kind) {
        enum plan_quant q = need_quant(kind->type);
        j->need.weights_bytes[q] = bytes;
        j->need.file_quant = q;
        snprintf(j->need.file_type, sizeof j->need.file_type, "%s", dtype_info(kind->type)->name);
    }
    return rc;
}

/* Fills j->need from the file that a name leads to, or from the table of known models. */
static enum err_code find_model(struct job *j, struct err *e) {
    struct model_opts o;
    struct config cfg = {0};
    const char *name = NULL;
    bool dry = knobs_bool(j->c->k, "dry-run");
    engine_plan_options(j->c, &o);
    enum err_code rc = name_of(j, &name, e);
    if (rc) {
        return rc;
    }
    rc = model_path_find(j->c, name, &j->path, e);
    if (rc == ERR_NOTFOUND && (name || dry)) {
        if (need_of_name(&j->need, name ? name : MODEL, &o, NULL)) {
            return rc; /* the store's error lists what it has */
        }
        return dry ? ERR_OK : not_here(j, name, e);
    }
    if (rc || (rc = source_open(&j->g, j->path, false, e)) || (rc = config_read(&cfg, j->g, e))) {
        return rc;
    }
    return need_of_file(&j->need, j->g, &cfg, &o, e);
}

/* ---- the plan -----------------------------------------------------------------------------------
 */

/* The last benchmark's ceilings, if there was one and it can be read. */
static bool read_ceilings(struct cli *c, struct plan_opts *o) {
    enum { FILE_MAX = 1 << 20 };
    struct buf b;
    struct json *root = NULL;
    char *text = NULL, path[4096];
    size_t n = 0;
    buf_init(&b, 65536);
    const char *given = knobs_str(c->k, "state");
    const char *folder = given ? given : folder_path(&b, FOLDER_STATE, NULL);
    snprintf(path, sizeof path, "%s/" INSTANCE_BENCHMARK, folder ? folder : "");
    if (folder && !os_read_file(path, FILE_MAX, &text, &n, NULL) &&
        !json_parse(text, n, &root, NULL)) {
        const struct json *all = json_find(root, "ceilings");
        const struct json *read = all ? json_find(all, "read_gb_per_s") : NULL;
        const struct json *mac = all ? json_find(all, "int8_gmac_per_s") : NULL;
        o->read_gb_per_s = read ? json_num(read) : 0;
        o->gmac_per_s = mac ? json_num(mac) : 0;
    }
    json_free(root);
    mem_free(text);
    buf_fini(&b);
    return o->read_gb_per_s > 0 && o->gmac_per_s > 0;
}

static enum err_code find_ceilings(struct job *j, struct plan_opts *o, struct err *e) {
    struct ceilings top;
    if (read_ceilings(j->c, o)) {
        return ERR_OK;
    }
    enum err_code rc =
        ceilings_measure(&top, knobs_str(j->c->k, "cpu"), plan_threads(&j->machine.cpu, o->threads),
                         CEILING_SECONDS, interrupt_count(j->c->intr), e);
    o->read_gb_per_s = top.read_gb_per_s;
    o->gmac_per_s = top.int8_gmac_per_s;
    return rc;
}

static enum err_code make_plan(struct job *j, struct err *e) {
    struct knobs *k = j->c->k;
    struct model_opts mo;
    engine_plan_options(j->c, &mo);
    struct plan_opts o = {
        .threads = (int)knobs_int(k, "threads"),
        .batch = knobs_given(k, "batch") ? (int)knobs_int(k, "batch") : 0,
        .quant = quant_asked(j),
        .device = mo.device,
        .kv_bytes = mo.kv_type == DT_F32   ? 4
                    : mo.kv_type == DT_F16 ? 2
                                           : 1,
        .kv_shrink = mo.kv_shrink,
        .max_memory = knobs_size(k, "max-memory"),
    };
    enum err_code rc = context_of(j, &o.context, e);
    /* A measured speed follows where the model is loaded; an estimate is for who only plans. */
    if (!rc && knobs_bool(k, "dry-run") && !knobs_str(k, "system-root")) {
        rc = find_ceilings(j, &o, e);
    }
    return rc ? rc : plan_make(&j->plan, &j->need, &j->machine, &o, e);
}

/* ---- reading ------------------------------------------------------------------------------------
 */

/* A file that is not in memory is read from its beginning to its end, which a disk does fastest.
 * False if a signal ended it. */
static bool read_file(struct job *j) {
    enum { STEP = 16 << 20 };
    volatile unsigned sum = 0;
    uint64_t total = 0, done = 0;
    double least = 1;
    struct progress bar;
    for (size_t i = 0; i < j->g->n_part; i++) {
        total += j->g->part[i].size;
        double here = os_map_resident(&j->g->part[i]);
        least = here < least ? here : least;
    }
    if (least > 0.98) {
        return true;
    }
    progress_begin(&bar, j->c, "reading, MB");
    for (size_t i = 0; i < j->g->n_part; i++) {
        const struct os_map *part = &j->g->part[i];
        for (size_t at = 0; at < part->size && !interrupt_seen(j->c->intr); at += os_page_size()) {
            sum += part->data[at];
            if (at % STEP == 0) {
                progress_draw(&bar, (size_t)((done + at) >> 20), (size_t)(total >> 20));
            }
        }
        done += part->size;
    }
    (void)sum;
    progress_end(&bar);
    return !interrupt_seen(j->c->intr);
}

/* ---- the report ---------------------------------------------------------------------------------
 */

static void put_stages(const struct job *j, struct json_writer *w) {
    json_key(w, "stages");
    json_open(w, '{');
    for (int i = 0; i < N_STAGE; i++) {
        char key[32];
        snprintf(key, sizeof key, "%s_seconds", stage_names[i]);
        json_key(w, key);
        json_put_real(w, j->seconds[i]);
    }
    json_key(w, "accepted_seconds");
    json_put_real(w, j->accepted);
    json_close(w, '}');
}

static void put_test(const struct job *j, struct json_writer *w) {
    const struct answer *a = &j->answer;
    json_key(w, "test");
    json_open(w, '{');
    json_key(w, "text");
    json_put_str(w, str_of(a->text.p, a->text.len));
    json_key(w, "new_tokens");
    json_put_int(w, a->timing.new_tokens);
    json_key(w, "decode_tokens_per_second");
    json_put_real(w, answer_decode_speed(&a->timing));
    json_key(w, "prefill_tokens_per_second");
    json_put_real(w, answer_prefill_speed(&a->timing));
    json_close(w, '}');
}

static void put_json(struct job *j) {
    struct json_writer w;
    cli_json_begin(j->c, &w);
    json_key(&w, "model");
    json_put_z(&w, j->need.name);
    json_key(&w, "file");
    json_put_z(&w, j->path);
    plan_put(&w, &j->plan);
    look_put_warnings(&w, &j->machine);
    if (j->model) {
        json_key(&w, "load_seconds");
        json_put_real(&w, j->seconds[LOAD]);
        put_test(j, &w);
        json_key(&w, "peak_rss_bytes");
        json_put_uint(&w, os_memory_peak());
    }
    put_stages(j, &w);
    cli_json_end(j->c, &w);
}

static void print_end(struct job *j) {
    struct cli *c = j->c;
    const struct answer *a = &j->answer;
    char peak[32];
    cli_printf(c, "%-14s ", "Self-test");
    cli_put_text(c, a->text.p ? a->text.p : "", a->text.len);
    cli_printf(c, "\n%-14s %d tokens, %.1f per second\n", "", a->timing.new_tokens,
               answer_decode_speed(&a->timing));
    cli_printf(c, "%-14s accepted after %.3f s (", "Times", j->accepted);
    for (int i = 0; i < N_STAGE; i++) {
        cli_printf(c, "%s%s %.3f", i ? ", " : "", stage_names[i], j->seconds[i]);
    }
    cli_printf(c, "); peak memory %s\n", cli_bytes(os_memory_peak(), peak, sizeof peak));
}

/* ---- the order ----------------------------------------------------------------------------------
 */

/* What does not fit is refused; a dry run's answer is the plan, with the same exit code. */
static int refuse(struct job *j) {
    struct err e = {0};
    if (j->c->json && knobs_bool(j->c->k, "dry-run")) {
        put_json(j);
        cli_flush(j->c);
        j->c->json = false;
    }
    plan_refuse(&j->plan, &e);
    err_where(&e, "%s", j->path ? j->path : j->need.name);
    return cli_fail(j->c, &e);
}

/* From here on the file is the one that --quantization asks for. */
static int use_quantized(struct job *j) {
    struct err e = {0};
    const struct mix_kind *kind;
    uint64_t bytes;
    if (quantized_wanted(j->c, j->g, &kind, &bytes, &e)) {
        return cli_fail(j->c, &e);
    }
    if (!kind) {
        return EXIT_DONE;
    }
    gguf_close(j->g);
    j->g = NULL;
    int code = quantized_path(j->c, &j->path);
    if (code == EXIT_DONE && source_open(&j->g, j->path, false, &e)) {
        code = cli_fail_data(j->c, &e);
    }
    stage_end(j, QUANTIZE);
    return code;
}

static int load_and_test(struct job *j) {
    struct cli *c = j->c;
    struct err e = {0};
    ign_error why = {0};
    int code = use_quantized(j);
    double before = j->since;
    if (code != EXIT_DONE || !j->g) {
        return code;
    }
    if (!read_file(j)) {
        err_set(&e, ERR_CANCELLED, "interrupted while the file was read");
        return cli_fail(c, &e);
    }
    stage_end(j, READ);
    if (self_test_weights(j->g, &e)) {
        return cli_fail(c, &e);
    }
    gguf_close(j->g); /* the model maps it for itself */
    j->g = NULL;
    stage_end(j, TEST);
    code = engine_file_open(c, j->path, j->plan.row.context, j->plan.batch, &j->model);
    if (code != EXIT_DONE) {
        return code;
    }
    stage_end(j, LOAD);
    j->accepted += j->since - before;
    if (self_test_answer(c, j->model, knobs_str(c->k, "test-prompt"), &j->answer, &why)) {
        return cli_fail_ign(c, &why);
    }
    stage_end(j, TEST);
    if (j->answer.stop == IGN_STOP_CANCELLED) {
        err_set(&e, ERR_CANCELLED, "interrupted during the self-test");
        return cli_fail(c, &e);
    }
    return EXIT_DONE;
}

static int work(struct job *j) {
    struct cli *c = j->c;
    struct err e = {0};
    double start = j->since = os_now();
    /* No accelerator can be chosen yet: their drivers, which take their time, are asked only for a
     * plan. */
    if (look_machine(c, &j->machine, knobs_bool(c->k, "dry-run"), &e)) {
        return cli_fail(c, &e);
    }
    stage_end(j, LOOK);
    if (find_model(j, &e)) {
        return j->g ? cli_fail_data(c, &e) : cli_fail(c, &e);
    }
    if ((j->g && plan_quantized(j, &e)) || make_plan(j, &e)) {
        return cli_fail(c, &e);
    }
    stage_end(j, PLAN);
    j->accepted = j->since - start;
    for (int i = 0; i < j->machine.n_warning; i++) {
        cli_note(c, "ign: warning: %s", j->machine.warning[i]);
    }
    bool dry = knobs_bool(c->k, "dry-run");
    if (!c->json) {
        plan_print(c, &j->need, &j->plan);
        if (dry || !j->plan.row.fits || c->verbose) {
            plan_print_table(c, &j->plan);
        }
        cli_flush(c);
    }
    if (!j->plan.row.fits) {
        return refuse(j);
    }
    int code = dry ? EXIT_DONE : load_and_test(j);
    if (code == EXIT_DONE && c->json) {
        put_json(j);
    } else if (code == EXIT_DONE && !dry) {
        print_end(j);
    }
    return code;
}

static int run(struct cli *c) {
    struct job *j = mem_zalloc(1, sizeof *j);
    struct err e = {0};
    if (!j) {
        err_set(&e, ERR_NOMEM, "out of memory");
        return cli_fail(c, &e);
    }
    j->c = c;
    answer_init(&j->answer, c, false);
    int code = work(j);
    answer_fini(&j->answer);
    ign_model_close(j->model);
    gguf_close(j->g);
    mem_free(j->path);
    mem_free(j);
    return code;
}

const struct verb verb_initialize = {
    .args = {.name = "initialize",
             .operands = "",
             .about = "plan what fits, load a model, and test it",
             .groups = KNOB_MODEL | KNOB_RUN | KNOB_DEVICE | KNOB_TEMPLATE | KNOB_AUDIT,
             .own = own,
             .n_own = sizeof own / sizeof *own},
    .run = run,
    .acts = true,
};
