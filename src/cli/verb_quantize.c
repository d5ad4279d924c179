/* verb_quantize.c: a model into a file of another type.
 *
 * Owns what the person is asked and told: the type's name, the progress, and at the end what was
 * lost, tensor by tensor. Refuses the work itself: model/quantize.h.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cli/open_model.h"
#include "cli/progress.h"
#include "cli/verbs.h"
#include "device/machine.h"
#include "device/plan.h"
#include "model/imatrix.h"
#include "model/quantize.h"
#include "model/source.h"

static const struct knob own[] = {
    {.name = "type",
     .type = KNOB_CHOICE,
     .unit = "TYPE",
     .choices = "f32|f16|bf16|q8_0|q4_0|q4_1|q5_0|q5_1|q2_k|q3_k_m|q4_k_s|q4_k_m|q5_k_m|q6_k|int8|"
                "int4",
     .help = "what the weights become; int8 and int4 are the best of about 8.5 and 4.8 bits"},
    {.name = "imatrix",
     .type = KNOB_STR,
     .unit = "FILE",
     .help = "an importance matrix: what matters more is kept more exactly"},
    {.name = "threads",
     .type = KNOB_INT,
     .unit = "N",
     .min = 1,
     .max = 1024,
     .help = "threads that compute; one for each physical core when not given"},
    {.name = "cpu",
     .type = KNOB_CHOICE,
     .unit = "LEVEL",
     .choices = "c|avx2|avx512|amx|neon|dotprod|i8mm",
     .help = "use no better instructions than these; the best that there are when not given"},
};

struct quantizing {
    struct cli *c;
    struct gguf *in;
    struct imatrix *importance;
    struct pool *pool;
    struct quant_search search;
    struct quantize_job job;
    struct progress bar;
    double seconds;
};

static void on_progress(void *arg, uint64_t done, uint64_t total) {
    struct quantizing *q = arg;
    progress_draw(&q->bar, (size_t)(done >> 20), (size_t)(total >> 20));
}

static void put_json(struct quantizing *q) {
    struct json_writer w;
    cli_json_begin(q->c, &w);
    json_member_uint(&w, "bytes_in", q->job.bytes_in);
    json_member_uint(&w, "bytes_out", q->job.bytes_out);
    json_member_real(&w, "bits_per_weight", (double)q->job.bytes_out * 8 / (double)q->job.n_param);
    json_member_real(&w, "seconds", q->seconds);
    json_key(&w, "tensors");
    json_open(&w, '[');
    for (size_t i = 0; i < q->in->n_tensor; i++) {
        const struct quantize_tensor *t = &q->job.tensor[i];
        json_open(&w, '{');
        json_key(&w, "name");
        json_put_str(&w, t->name);
        json_member_z(&w, "from", dtype_info(t->from)->name);
        json_member_z(&w, "to", dtype_info(t->to)->name);
        json_member_real(&w, "rmse", t->rmse);
        json_close(&w, '}');
    }
    json_close(&w, ']');
    cli_json_end(q->c, &w);
}

/* A line for each pair of types. */
static void print_types(struct quantizing *q) {
    for (uint32_t from = 0; from < DT_MAX; from++) {
        for (uint32_t to = 0; to < DT_MAX; to++) {
            uint64_t n = 0, tensors = 0;
            double sum = 0;
            for (size_t i = 0; i < q->in->n_tensor; i++) {
                const struct quantize_tensor *t = &q->job.tensor[i];
                if ((uint32_t)t->from == from && (uint32_t)t->to == to) {
                    n += t->n;
                    sum += t->rmse * t->rmse * (double)t->n;
                    tensors++;
                }
            }
            if (tensors > 0) {
                cli_printf(q->c, "%-5s -> %-5s %5llu tensors, %8.1f million weights, rmse %.3g\n",
                           dtype_info(from)->name, dtype_info(to)->name,
                           (unsigned long long)tensors, (double)n / 1e6, sqrt(sum / (double)n));
            }
        }
    }
}

static void print_summary(struct quantizing *q) {
    char in[32], out[32];
    print_types(q);
    cli_printf(q->c, "%s -> %s (%.2f bits a weight) in %.1f s\n",
               cli_bytes(q->job.bytes_in, in, sizeof in),
               cli_bytes(q->job.bytes_out, out, sizeof out),
               (double)q->job.bytes_out * 8 / (double)q->job.n_param, q->seconds);
}

static enum err_code start_threads(struct quantizing *q, struct err *e) {
    struct machine m;
    int n = knobs_given(q->c->k, "threads") ? (int)knobs_int(q->c->k, "threads") : 0;
    machine_read(&m, NULL);
    return pool_create(&q->pool, plan_threads(&m.cpu, n), e);
}

static enum err_code prepare(struct quantizing *q, const char *name, struct err *e) {
    const char *importance = knobs_str(q->c->k, "imatrix");
    char *path = NULL;
    enum err_code rc = model_path_find(q->c, name, &path, e);
    if (!rc) {
        action_model(q->c, path);
        rc = source_open(&q->in, path, false, e);
    }
    mem_free(path);
    if (!rc && q->in->n_tensor == 0) {
        rc = err_set(e, ERR_UNSUPPORTED, "the file has no weights to quantize");
        err_where(e, "%s", q->in->path);
    }
    if (!rc && importance) {
        rc = imatrix_read(&q->importance, importance, e);
    }
    if (!rc) {
        rc = quant_search_choose(&q->search, knobs_str(q->c->k, "cpu"), e);
    }
    return rc ? rc : start_threads(q, e);
}

/* The model must not be replaced by what is made of it, under whichever name. */
static enum err_code check_output(const struct quantizing *q, const char *out, struct err *e) {
    struct os_file_info from, to;
    if (os_file_info(q->in->path, &from, NULL) || os_file_info(out, &to, NULL) ||
        from.device != to.device || from.inode != to.inode) {
        return ERR_OK;
    }
    err_set(e, ERR_USAGE, "OUT is the model itself");
    err_where(e, "%s", out);
    err_hint(e, "name another file");
    return ERR_USAGE;
}

static int quantize(struct quantizing *q, const char *out, const struct mix_kind *kind) {
    struct err e = {0};
    double start = os_now();
    if (check_output(q, out, &e)) {
        return cli_fail(q->c, &e);
    }
    q->job = (struct quantize_job){.in = q->in,
                                   .out = out,
                                   .kind = kind,
                                   .importance = q->importance,
                                   .search = &q->search,
                                   .pool = q->pool,
                                   .cancel = interrupt_count(q->c->intr),
                                   .progress = on_progress,
                                   .arg = q};
    interrupt_waits(q->c->intr);
    progress_begin(&q->bar, q->c, "quantize");
    enum err_code rc = quantize_run(&q->job, &e);
    progress_end(&q->bar);
    q->seconds = os_now() - start;
    if (rc) {
        return cli_fail(q->c, &e);
    }
    if (q->c->json) {
        put_json(q);
    } else {
        print_summary(q);
    }
    return EXIT_DONE;
}

static int run(struct cli *c) {
    struct quantizing q = {.c = c};
    struct err e = {0};
    const char *type = knobs_str(c->k, "type");
    if (!type) {
        err_set(&e, ERR_USAGE, "--type is missing");
        err_hint(&e, "say what the weights are to become: --type q4_k_m, for example");
        return cli_fail(c, &e);
    }
    int code = prepare(&q, knobs_operand(c->k, 0), &e)
                   ? cli_fail_data(c, &e)
                   : quantize(&q, knobs_operand(c->k, 1), mix_find(type));
    mem_free(q.job.tensor);
    pool_free(q.pool);
    imatrix_free(q.importance);
    gguf_close(q.in);
    return code;
}

const struct verb verb_quantize = {
    .args = {.name = "quantize",
             .operands = "IN OUT",
             .min_operand = 2,
             .max_operand = 2,
             .about = "a model into a smaller file",
             .groups = KNOB_STORE | KNOB_AUDIT,
             .own = own,
             .n_own = sizeof own / sizeof *own},
    .run = run,
    .acts = true,
};
