/* verb_compare.c: what one file of a model costs and gives beside another, in one table.
 *
 * Owns the order: the first model is asked the text, its logits are kept in memory, and it is
 * timed; then it makes room for the second, which is asked the same, compared with them, and timed.
 * Then both are timed again, in turns, so that what else the machine does falls on both. Memory
 * holds one model at a time. Refuses measures of its own: benchmark.h, chunks.h and score.h have
 * them. Invariant: both were asked the same tokens.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "cli/benchmark.h"
#include "cli/chunks.h"
#include "cli/open_model.h"
#include "cli/sample_text.h"
#include "cli/score.h"
#include "cli/verbs.h"
#include "model/config.h"
#include "model/source.h"

enum { NEW_MOST = 64, TURNS = 3, REQUESTS = 2 }; /* requests of each in each turn */

static const struct knob own[] = {
    {.name = "file",
     .type = KNOB_STR,
     .unit = "FILE",
     .help = "the text that both are asked; - is standard input; a mixed text of 3,000 words and "
             "signs that the program brings when not given"},
    CHUNKS_CONTEXT_KNOB,
};

/* One of the two. */
struct side {
    char *path; /* mem_free */
    const char *name;
    uint64_t bytes, n_param;
    int n_vocab;
    struct score score;
    double perplexity, error;
    struct benchmark_result timed; /* of all turns */
};

struct comparison {
    struct cli *c;
    struct chunks text;
    struct side side[2];
    int32_t *ids; /* [n_ids] that the first was asked */
    size_t n_ids;
    int context;
    float *raw; /* f32 [scored, n_vocab] of the first */
    double *kl;
    struct score_apart apart;
};

/* ---- before ---------------------------------------------------------------------------------- */

/* The numbers that the file tells without being loaded. */
static enum err_code look_at(struct cli *c, struct side *s, const char *name, struct err *e) {
    struct gguf *g = NULL;
    struct config cfg = {0};
    enum err_code rc = model_path_find(c, name, &s->path, e);
    if (rc || (rc = source_open(&g, s->path, false, e))) {
        return rc;
    }
    s->name = name;
    if (g->n_tensor == 0) {
        rc = err_set(e, ERR_UNSUPPORTED, "the file has a vocabulary but no weights");
        err_where(e, "%s", s->path);
    } else if (!(rc = config_read(&cfg, g, e))) {
        s->n_vocab = cfg.n_vocab;
    }
    for (size_t i = 0; i < g->n_part; i++) {
        s->bytes += g->part[i].size;
    }
    for (size_t i = 0; i < g->n_tensor; i++) {
        const struct gguf_tensor *t = &g->tensor[i];
        s->n_param += t->dim[0] * t->dim[1] * t->dim[2] * t->dim[3];
    }
    gguf_close(g);
    return rc;
}

static enum err_code not_one_model(struct err *e) {
    err_set(e, ERR_USAGE, "the two models do not make the same tokens of the text");
    err_hint(e, "compare files of one model; 'ign perplexity' and 'ign benchmark' take any");
    return ERR_USAGE;
}

static int look(struct comparison *p) {
    struct err e = {0};
    struct knobs *k = p->c->k;
    for (size_t i = 0; i < 2; i++) {
        static const char *const other_ways[2] = {"model", "quantization"};
        if (knobs_origin(k, other_ways[i]) == KNOB_FLAG) {
            err_set(&e, ERR_USAGE, "--%s does not go with compare", other_ways[i]);
            err_hint(&e, "name two files as they are: ign compare A B");
            return cli_fail(p->c, &e);
        }
    }
    for (size_t i = 0; i < 2; i++) {
        if (look_at(p->c, &p->side[i], knobs_operand(k, i), &e)) {
            return cli_fail_data(p->c, &e);
        }
    }
    if (p->side[0].n_vocab != p->side[1].n_vocab) {
        not_one_model(&e);
        return cli_fail(p->c, &e);
    }
    if (!knobs_str(k, "file")) {
        buf_put(&p->text.text, sample_text, sample_text_size);
        return buf_check(&p->text.text, &e) ? cli_fail(p->c, &e) : EXIT_DONE;
    }
    return chunks_read(&p->text);
}

/* ---- one model ------------------------------------------------------------------------------- */

/* One turn, as `ign benchmark` times requests, which fit into a chunk. */
static int time_model(struct comparison *p, struct side *s) {
    struct benchmark b = {.c = p->c, .model = p->text.m, .result = s->timed};
    struct err e = {0};
    ign_error why = {0};
    int quarter = p->context / 4;
    b.plan = (struct benchmark_plan){.n_prompt = 2 * quarter,
                                     .n_new = quarter < NEW_MOST ? quarter : NEW_MOST,
                                     .n_request = REQUESTS,
                                     .n_session = 1};
    ign_model_get_info(b.model, &b.info);
    int code = benchmark_run(&b, &why) ? cli_fail_ign(p->c, &why) : EXIT_DONE;
    if (code == EXIT_DONE && (b.result.interrupted || b.result.n_failed > 0)) {
        if (b.result.interrupted) {
            err_set(&e, ERR_CANCELLED, "interrupted");
        } else {
            err_set(&e, ERR_DEVICE, "a request failed: %s", b.result.why);
        }
        code = cli_fail(p->c, &e);
    }
    s->timed = b.result;
    return code;
}

/* The first keeps ids and logits, the second is set against them. */
static enum err_code join(struct comparison *p, size_t which, struct err *e) {
    struct chunks *t = &p->text;
    struct side *s = &p->side[which];
    size_t n = chunks_scored(t);
    if (which == 0) {
        p->ids = mem_alloc(t->n_ids, sizeof *p->ids);
        p->kl = mem_alloc(n, sizeof *p->kl);
        if (!p->ids || !p->kl) {
            return err_set(e, ERR_NOMEM, "out of memory for a text of %zu tokens", t->n_ids);
        }
        memcpy(p->ids, t->ids, t->n_ids * sizeof *p->ids);
        p->n_ids = t->n_ids;
        p->context = t->context;
        enum err_code rc = answer_rows(n, t->n_vocab, "a shorter --file", &p->raw, e);
        s->score.raw = p->raw;
        return rc;
    }
    if (t->n_ids != p->n_ids || t->context != p->context ||
        memcmp(p->ids, t->ids, p->n_ids * sizeof *p->ids) != 0) {
        return not_one_model(e);
    }
    s->score.other = p->raw;
    s->score.kl = p->kl;
    return ERR_OK;
}

static int measure(struct comparison *p, size_t which) {
    static const char *const what[2] = {"first model", "second model"};
    struct side *s = &p->side[which];
    struct err e = {0};
    int code = chunks_open(&p->text, s->path);
    if (code == EXIT_DONE && join(p, which, &e)) {
        code = cli_fail(p->c, &e);
    }
    if (code == EXIT_DONE) {
        p->text.row = score_row;
        p->text.arg = &s->score;
        code = chunks_run(&p->text, what[which]);
    }
    if (code == EXIT_DONE) {
        s->perplexity = score_perplexity(&s->score, &s->error);
        ign_session_free(p->text.s); /* its positions are wanted */
        p->text.s = NULL;
        code = time_model(p, s);
    }
    chunks_close(&p->text);
    return code;
}

/* Opens a model that was open before: what is to be said of it was said then. */
static int open_again(struct comparison *p, const struct side *s) {
    struct cli *c = p->c;
    if (c->verbose) {
        return engine_file_open(c, s->path, p->context, 0, &p->text.m);
    }
    bool quiet = c->quiet;
    enum log_level level = log_set_level(LOG_ERROR);
    c->quiet = true;
    int code = engine_file_open(c, s->path, p->context, 0, &p->text.m);
    c->quiet = quiet;
    log_set_level(level);
    return code;
}

static int time_again(struct comparison *p, size_t which) {
    struct side *s = &p->side[which];
    int code = open_again(p, s);
    if (code == EXIT_DONE) {
        code = time_model(p, s);
    }
    chunks_close(&p->text);
    return code;
}

/* ---- after ----------------------------------------------------------------------------------- */

static double bits(const struct side *s) {
    return 8 * (double)s->bytes / (double)s->n_param;
}

/* Median and range, tokens a second. */
static void put_speed(struct json_writer *w, const char *name, const char *range,
                      struct series *s) {
    json_member_real(w, name, series_quantile(s, 0.5));
    json_key(w, range);
    json_open(w, '[');
    json_put_real(w, series_quantile(s, 0));
    json_put_real(w, series_quantile(s, 1));
    json_close(w, ']');
}

static void put_json(struct comparison *p) {
    struct json_writer w;
    const char *file = knobs_str(p->c->k, "file");
    cli_json_begin(p->c, &w);
    json_key(&w, "models");
    json_open(&w, '[');
    for (struct side *s = p->side; s < p->side + 2; s++) {
        json_open(&w, '{');
        json_member_z(&w, "model", s->name);
        json_member_uint(&w, "bytes", s->bytes);
        json_member_real(&w, "bits_per_weight", bits(s));
        json_member_real(&w, "perplexity", s->perplexity);
        json_member_real(&w, "standard_error", s->error);
        put_speed(&w, "prefill_tokens_per_second", "prefill_range", &s->timed.prefill);
        put_speed(&w, "decode_tokens_per_second", "decode_range", &s->timed.decode);
        json_close(&w, '}');
    }
    json_close(&w, ']');
    json_member_real(&w, "kl_mean", p->apart.mean);
    json_member_real(&w, "kl_standard_error", p->apart.error);
    json_member_real(&w, "kl_p99", p->apart.p99);
    json_member_real(&w, "top1_agreement", p->apart.agreement);
    json_member_uint(&w, "tokens", p->side[1].score.n);
    json_member_int(&w, "context", p->context);
    json_member_or_null(&w, "file", file ? file : "");
    cli_json_end(p->c, &w);
}

/* The table: a row of two values and what the second is of the first. */
enum { LABEL = 18, CELL_LEAST = 22, CELL = 64, ROWS = 5 };
struct row {
    const char *what;
    char value[2][CELL];
    double part;
};

static void fill_speeds(struct row *r, const char *what, struct series *a, struct series *b) {
    struct series *both[2] = {a, b};
    *r = (struct row){.what = what, .part = series_quantile(b, 0.5) / series_quantile(a, 0.5)};
    for (size_t i = 0; i < 2; i++) {
        snprintf(r->value[i], CELL, "%.1f (%.0f-%.0f)", series_quantile(both[i], 0.5),
                 series_quantile(both[i], 0), series_quantile(both[i], 1));
    }
}

static void fill_rows(struct comparison *p, struct row row[ROWS]) {
    struct side *a = &p->side[0], *b = &p->side[1]; /* series are sorted */
    row[0] = (struct row){.what = "size", .part = (double)b->bytes / (double)a->bytes};
    row[1] = (struct row){.what = "bits a weight", .part = bits(b) / bits(a)};
    row[2] = (struct row){.what = "perplexity", .part = b->perplexity / a->perplexity};
    for (size_t i = 0; i < 2; i++) {
        const struct side *s = &p->side[i];
        cli_bytes(s->bytes, row[0].value[i], CELL);
        snprintf(row[1].value[i], CELL, "%.2f", bits(s));
        if (s->perplexity < 1e7) {
            snprintf(row[2].value[i], CELL, "%.4f +/- %.4f", s->perplexity, s->error);
        } else { /* of a broken model */
            snprintf(row[2].value[i], CELL, "%.4g +/- %.4g", s->perplexity, s->error);
        }
    }
    fill_speeds(&row[3], "prefill, tokens/s", &a->timed.prefill, &b->timed.prefill);
    fill_speeds(&row[4], "decode, tokens/s", &a->timed.decode, &b->timed.decode);
}

static void put_text(struct comparison *p) {
    struct cli *c = p->c;
    struct row row[ROWS];
    int width[2] = {CELL_LEAST, CELL_LEAST};
    fill_rows(p, row);
    for (size_t i = 0; i < 2; i++) {
        cli_printf(c, "%-*s ", LABEL, i ? "B" : "A");
        cli_put_text(c, p->side[i].name, strlen(p->side[i].name));
        cli_puts(c, "\n");
        for (size_t k = 0; k < ROWS; k++) {
            int n = (int)strlen(row[k].value[i]);
            width[i] = n > width[i] ? n : width[i];
        }
    }
    cli_printf(c, "%-*s %*s %*s %9s\n", LABEL, "", width[0], "A", width[1], "B", "B / A");
    for (size_t k = 0; k < ROWS; k++) {
        cli_printf(c, row[k].part < 1e5 ? "%-*s %*s %*s %9.3f\n" : "%-*s %*s %*s %9.3g\n", LABEL,
                   row[k].what, width[0], row[k].value[0], width[1], row[k].value[1], row[k].part);
    }
    cli_printf(c, "%-*s %.6f +/- %.6f, 99 of 100 positions below %.4f\n", LABEL, "divergence of B",
               p->apart.mean, p->apart.error, p->apart.p99);
    cli_printf(c, "%-*s %.2f %% of %zu positions\n", LABEL, "same best token",
               100 * p->apart.agreement, p->side[1].score.n);
}

static int run(struct cli *c) {
    struct comparison p = {.c = c};
    chunks_init(&p.text, c);
    int code = look(&p);
    for (size_t i = 0; i < 2 && code == EXIT_DONE; i++) {
        code = measure(&p, i);
    }
    for (size_t i = 2; i < (size_t)2 * TURNS && code == EXIT_DONE; i++) {
        code = time_again(&p, i % 2);
    }
    if (code == EXIT_DONE) {
        p.apart = score_apart(&p.side[1].score);
        if (c->json) {
            put_json(&p);
        } else {
            put_text(&p);
        }
    }
    chunks_fini(&p.text);
    for (size_t i = 0; i < 2; i++) {
        mem_free(p.side[i].path);
        benchmark_result_fini(&p.side[i].timed);
    }
    mem_free(p.ids);
    mem_free(p.raw);
    mem_free(p.kl);
    return code;
}

const struct verb verb_compare = {
    .args = {.name = "compare",
             .operands = "A B",
             .min_operand = 2,
             .max_operand = 2,
             .about = "two files of a model: size, quality and speed in one table",
             .groups = KNOB_MODEL | KNOB_RUN | KNOB_AUDIT,
             .own = own,
             .n_own = sizeof own / sizeof *own},
    .run = run,
    .acts = true,
};
