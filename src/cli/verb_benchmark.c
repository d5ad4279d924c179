/* verb_benchmark.c: how fast a model is here, and how fast it could be.
 *
 * Owns the order: the ceilings, the model, the requests, the ceilings again, and then what is said
 * of it; and the file with the last result, for `status` and the plan. Refuses figures of its own:
 * see benchmark.h. Invariant: the peak of memory is that of the model and its requests.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "cli/benchmark.h"
#include "cli/look.h"
#include "cli/open_model.h"
#include "cli/verbs.h"
#include "device/plan.h"
#include "model/config.h"
#include "model/source.h"
#include "observe/instance.h"

enum { AGAINST_MAX = 1 << 20 };
#define CEILING_SECONDS 1.0
#define AGAIN_SECONDS   0.5

static const struct knob own[] = {
    {.name = "prompt-tokens",
     .type = KNOB_INT,
     .unit = "N",
     .def = "512",
     .min = 1,
     .max = 1000000,
     .help = "tokens in each request's prompt"},
    {.name = "new-tokens",
     .type = KNOB_INT,
     .unit = "N",
     .def = "64",
     .min = 2,
     .max = 1000000,
     .help = "tokens that each request generates"},
    {.name = "depth",
     .type = KNOB_INT,
     .unit = "N",
     .def = "0",
     .min = 0,
     .max = 1000000,
     .help = "positions that are in the KV cache before each request; filled by repeating the keys "
             "and values of 512 tokens"},
    {.name = "repeat",
     .type = KNOB_INT,
     .unit = "N",
     .def = "3",
     .min = 1,
     .max = 1000,
     .help = "requests, one after the other; what is done without --duration and "
             "--concurrent-requests"},
    {.name = "duration",
     .type = KNOB_REAL,
     .unit = "SECONDS",
     .def = "60",
     .min = 0.001,
     .max = 86400,
     .help = "begin requests for this long, and finish those; in place of --repeat"},
    {.name = "concurrent-requests",
     .type = KNOB_INT,
     .unit = "N",
     .def = "1",
     .min = 1,
     .max = 256,
     .help = "requests side by side, for --duration"},
    {.name = "profile",
     .type = KNOB_BOOL,
     .help = "time each stage of the steps, and show where the time goes"},
    {.name = "compare",
     .type = KNOB_STR,
     .unit = "FILE",
     .help = "set the figures beside those of an earlier --json result"},
};

/* ---- before ---------------------------------------------------------------------------------- */

/* As many as the model will be opened with. */
static enum err_code plan_thread_count(struct benchmark *b, struct err *e) {
    struct machine m;
    enum err_code rc = look_machine(b->c, &m, false, e);
    if (!rc) {
        b->plan.threads = plan_threads(&m.cpu, (int)knobs_int(b->c->k, "threads"));
    }
    return rc;
}

/* With either flag of the timed way, that way. */
static enum err_code read_plan(struct benchmark *b, struct err *e) {
    struct knobs *k = b->c->k;
    bool timed = knobs_given(k, "duration") || knobs_given(k, "concurrent-requests");
    b->plan = (struct benchmark_plan){
        .n_prompt = (int)knobs_int(k, "prompt-tokens"),
        .n_new = (int)knobs_int(k, "new-tokens"),
        .depth = (int)knobs_int(k, "depth"),
        .n_request = timed ? 0 : (int)knobs_int(k, "repeat"),
        .seconds = timed ? knobs_real(k, "duration") : 0,
        .n_session = (int)knobs_int(k, "concurrent-requests"),
        .batch = (int)knobs_int(k, "batch"),
        .duty = (int)knobs_int(k, "duty"),
        .profile = knobs_bool(k, "profile"),
    };
    if (timed && knobs_given(k, "repeat")) {
        err_set(e, ERR_USAGE, "--repeat does not go with --duration and --concurrent-requests");
        err_hint(e, "give a number of requests, or a time");
        return ERR_USAGE;
    }
    const char *file = knobs_str(k, "compare");
    enum err_code rc = plan_thread_count(b, e);
    if (rc || !file) {
        return rc;
    }
    rc = os_read_file(file, AGAINST_MAX, &b->against, &b->n_against, e);
    return rc ? rc : benchmark_compare_check(b, e);
}

/* The context that all requests together need, where the default is less. A page more for each:
 * sessions do not share pages. */
static enum err_code plan_context(struct benchmark *b, const struct config *cfg, struct err *e) {
    enum { DEFAULT = 4096, PAGE = 32 };
    struct knobs *k = b->c->k;
    int64_t each = (int64_t)b->plan.depth + b->plan.n_prompt + b->plan.n_new;
    int64_t need = b->plan.n_session * ((each + PAGE - 1) / PAGE * PAGE);
    if (knobs_given(k, "context") && need > knobs_int(k, "context")) {
        err_set(e, ERR_RANGE, "%d x %lld tokens in requests take a context of %lld, not %lld",
                b->plan.n_session, (long long)each, (long long)need,
                (long long)knobs_int(k, "context"));
        err_where(e, "--context");
        err_hint(e, "take fewer or shorter requests, or leave --context out");
        return ERR_RANGE;
    }
    int usual = cfg->n_ctx < DEFAULT ? cfg->n_ctx : DEFAULT;
    b->plan.context = knobs_given(k, "context") || need <= usual ? 0 : (int)need;
    return ERR_OK;
}

/* What the file says, before anything is measured: a file that is no model takes no time. */
static int look_at_model(struct benchmark *b) {
    struct err e = {0};
    struct gguf *g = NULL;
    struct config cfg = {0};
    char *path = NULL;
    int code = model_path_ready(b->c, knobs_str(b->c->k, "model"), &path);
    if (code != EXIT_DONE) {
        return code;
    }
    if (source_open(&g, path, false, &e)) {
        code = cli_fail_data(b->c, &e);
    } else if (g->n_tensor == 0) {
        err_set(&e, ERR_UNSUPPORTED, "the file has a vocabulary but no weights");
        err_where(&e, "%s", path);
        code = cli_fail(b->c, &e);
    } else if (config_read(&cfg, g, &e)) {
        code = cli_fail_data(b->c, &e);
    } else if (plan_context(b, &cfg, &e)) {
        code = cli_fail(b->c, &e);
    } else {
        struct model_opts o;
        engine_plan_options(b->c, &o);
        model_cost(&b->cost, g, &cfg, o.kv_type);
        b->kv_bytes_int8 = model_cost_kv(&cfg, DT_I8);
    }
    gguf_close(g);
    mem_free(path);
    return code;
}

/* ---- measuring ------------------------------------------------------------------------------- */

static int measure_ceilings(struct benchmark *b, struct ceilings *c, double seconds) {
    struct err e = {0};
    enum err_code rc = ceilings_measure(c, knobs_str(b->c->k, "cpu"), b->plan.threads, seconds,
                                        interrupt_count(b->c->intr), &e);
    if (rc == ERR_CANCELLED) { /* what there is, is said */
        b->result.interrupted = true;
        return EXIT_DONE;
    }
    return rc ? cli_fail(b->c, &e) : EXIT_DONE;
}

static int open_model(struct benchmark *b) {
    struct err e = {0};
    os_memory_peak_reset();
    int code = engine_model_open(b->c, b->plan.context, &b->model);
    if (code == EXIT_DONE) {
        ign_model_get_info(b->model, &b->info);
        if (strcmp(b->info.kv_type, "int8") == 0) { /* which the plan may have chosen */
            b->cost.kv_bytes = b->kv_bytes_int8;
        }
        if (b->against && benchmark_compare_same(b, &e)) {
            code = cli_fail(b->c, &e);
        }
    }
    return code;
}

static int run_requests(struct benchmark *b) {
    struct machine_load from, to;
    struct err e = {0};
    ign_error why = {0};
    machine_load_read(&from, NULL);
    if (benchmark_run(b, &why)) {
        return cli_fail_ign(b->c, &why);
    }
    machine_load_read(&to, NULL);
    if (b->result.n_done + b->result.n_failed == 0) {
        err_set(&e, ERR_CANCELLED, "interrupted before the first request had its answer");
        return cli_fail(b->c, &e);
    }
    int code = measure_ceilings(b, &b->after, AGAIN_SECONDS);
    benchmark_judge(b, &from, &to);
    return code;
}

/* ---- after ----------------------------------------------------------------------------------- */

static enum err_code make_document(struct benchmark *b, struct buf *doc, struct err *e) {
    struct json_writer w;
    json_writer_init(&w, doc);
    json_open(&w, '{');
    benchmark_put_json(b, &w);
    json_close(&w, '}');
    return buf_check(doc, e);
}

/* For who looks later; a folder that cannot be written is no reason to fail. */
static void keep(struct benchmark *b, const struct buf *doc) {
    struct err e = {0};
    struct buf folder, path;
    char line[896];
    buf_init(&folder, 65536);
    buf_init(&path, 65536);
    const char *at = state_folder(b->c, &folder);
    if (at) {
        buf_printf(&path, "%s/%s", at, INSTANCE_BENCHMARK);
        if (buf_check(&path, &e) || os_mkdirs(at, &e) ||
            os_write_file(path.p, doc->p, doc->len, &e)) {
            cli_note(b->c, "ign: the result is not kept: %s", err_line(&e, line, sizeof line));
        }
    }
    buf_fini(&path);
    buf_fini(&folder);
}

static enum err_code put_all(struct benchmark *b, const struct buf *doc, struct err *e) {
    struct str now = str_of(doc->p, doc->len);
    enum err_code rc = ERR_OK;
    if (b->c->json) {
        struct json_writer w;
        cli_json_begin(b->c, &w);
        benchmark_put_json(b, &w);
        rc = b->against ? benchmark_compare_json(b, now, &w, e) : ERR_OK;
        cli_json_end(b->c, &w);
    } else {
        benchmark_put_text(b);
        rc = b->against ? benchmark_compare_text(b, now, e) : ERR_OK;
    }
    return rc;
}

/* The document is made and stays: what went wrong is said on standard error alone. */
static int fail_beside(struct benchmark *b, struct err *e) {
    b->c->json = false;
    return cli_fail(b->c, e);
}

static int report(struct benchmark *b) {
    const struct benchmark_result *r = &b->result;
    struct err e = {0};
    struct buf doc;
    buf_init(&doc, 1 << 20);
    enum err_code rc = make_document(b, &doc, &e);
    rc = rc ? rc : put_all(b, &doc, &e);
    if (!rc && r->n_failed == 0 && !r->interrupted) {
        keep(b, &doc);
    }
    buf_fini(&doc);
    if (rc) {
        return cli_fail(b->c, &e);
    }
    if (r->n_failed > 0) {
        err_set(&e, ERR_DEVICE, "%zu of %zu requests failed: %s", r->n_failed,
                r->n_done + r->n_failed, r->why);
        return fail_beside(b, &e);
    }
    if (r->interrupted) {
        err_set(&e, ERR_CANCELLED, "interrupted after %zu requests", r->n_done);
        return fail_beside(b, &e);
    }
    return EXIT_DONE;
}

static int run(struct cli *c) {
    struct benchmark b = {.c = c, .time = os_wall_time()};
    struct err e = {0};
    int code = read_plan(&b, &e) ? cli_fail(c, &e) : look_at_model(&b);
    if (code == EXIT_DONE) {
        cli_note(c, "ign: measuring the ceilings of this machine");
        code = measure_ceilings(&b, &b.ceiling, CEILING_SECONDS);
    }
    if (code == EXIT_DONE) {
        code = open_model(&b);
    }
    if (code == EXIT_DONE) {
        code = run_requests(&b);
    }
    if (code == EXIT_DONE) {
        code = report(&b);
    }
    benchmark_result_fini(&b.result);
    benchmark_profile_fini(&b.profile);
    ign_model_close(b.model);
    mem_free(b.against);
    return code;
}

const struct verb verb_benchmark = {
    .args = {.name = "benchmark",
             .operands = "",
             .about = "how fast a model is here, and how fast it could be",
             .groups = KNOB_MODEL | KNOB_RUN | KNOB_AUDIT,
             .own = own,
             .n_own = sizeof own / sizeof *own},
    .run = run,
    .acts = true,
};
