/* verb_imatrix.c: how much each column of a model's layers matters on a text.
 *
 * Owns the walk over the text, which is that of llama.cpp's program: chunks of --context tokens,
 * each computed afresh, its first token replaced by BOS where the model uses one; every linear
 * layer of a block is observed, the one that gives logits is not. Refuses to judge the text.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "cli/answer.h"
#include "cli/open_model.h"
#include "cli/progress.h"
#include "cli/verbs.h"
#include "engine/engine.h"
#include "kern/observe.h"
#include "model/imatrix.h"

enum { TEXT_MAX = 256 << 20 };

static const struct knob own[] = {
    {.name = "file",
     .type = KNOB_STR,
     .unit = "FILE",
     .help = "the text; - is standard input, and the default"},
    {.name = "output",
     .type = KNOB_STR,
     .unit = "FILE",
     .help = "where the importance matrix goes; in the older form where it ends in .dat"},
    {.name = "context",
     .type = KNOB_INT,
     .flags = KNOB_MAY_PASS,
     .unit = "N",
     .def = "512",
     .min = 8,
     .max = 32768,
     .help = "tokens in a chunk"},
};

struct gathering {
    struct cli *c;
    ign_model *m;
    ign_session *s;
    struct answer a;
    struct observer watch;
    struct imatrix *im;
    bool failed; /* an entry could not be made */
    int32_t *ids;
    size_t n_ids, n_chunk;
    int context;
    int32_t bos; /* -1: none */
};

static void on_row(void *arg, const char *name, int m, int n_mat, const float *x, int64_t n_col) {
    struct gathering *g = arg;
    if (strncmp(name, "blk.", 4) != 0) {
        return;
    }
    struct imatrix_entry *t = imatrix_take(g->im, name, (uint32_t)n_mat, (uint32_t)n_col);
    if (t) {
        imatrix_add(t, (uint32_t)m, x);
    } else {
        g->failed = true;
    }
}

static int run_chunks(struct gathering *g) {
    struct err e = {0};
    ign_error why = {0};
    struct progress bar;
    progress_begin(&bar, g->c, "imatrix");
    int code = EXIT_DONE;
    for (size_t i = 0; i < g->n_chunk && code == EXIT_DONE; i++) {
        int32_t *ids = g->ids + i * (size_t)g->context, kept = ids[0];
        ign_request r = {.ids = ids, .n_ids = (size_t)g->context, .logprobs = -1};
        progress_draw(&bar, i, g->n_chunk);
        ids[0] = g->bos >= 0 ? g->bos : kept;
        ign_status rc = ign_session_truncate(g->s, 0, &why);
        rc = rc ? rc : answer_run(&g->a, g->m, g->s, &r, &why);
        ids[0] = kept;
        if (rc) {
            progress_end(&bar);
            code = cli_fail_ign(g->c, &why);
        } else if (g->a.stop == IGN_STOP_CANCELLED || g->failed) {
            progress_end(&bar);
            enum err_code what = g->failed ? ERR_NOMEM : ERR_CANCELLED;
            err_set(&e, what, g->failed ? "no memory for the sums of a layer" : "interrupted");
            code = cli_fail(g->c, &e);
        }
    }
    progress_end(&bar);
    return code;
}

static ign_status encode(struct gathering *g, const struct buf *text, ign_error *e) {
    int32_t *none = NULL;
    size_t n = 0;
    ign_status rc = ign_encode(g->m, "", 0, false, -1, &none, &n, e);
    if (!rc) {
        g->bos = n > 0 ? none[0] : -1;
        rc = ign_encode(g->m, text->p ? text->p : "", text->len, false, -1, &g->ids, &g->n_ids, e);
    }
    ign_free(none);
    return rc;
}

static int save(struct gathering *g, const char *file, const char *output, double seconds) {
    struct err e = {0};
    size_t n = strlen(output), tokens = g->n_chunk * (size_t)g->context;
    char *dataset = mem_strdup(file, strlen(file));
    if (!dataset) {
        err_set(&e, ERR_NOMEM, "out of memory");
        return cli_fail(g->c, &e);
    }
    mem_free(g->im->dataset);
    g->im->dataset = dataset;
    g->im->n_chunk = (uint32_t)g->n_chunk;
    g->im->chunk_tok = (uint32_t)g->context;
    if (imatrix_save(g->im, output, n > 4 && strcmp(output + n - 4, ".dat") == 0, &e)) {
        return cli_fail(g->c, &e);
    }
    if (g->c->json) {
        struct json_writer w;
        cli_json_begin(g->c, &w);
        json_member_uint(&w, "tokens", tokens);
        json_member_uint(&w, "chunks", g->n_chunk);
        json_member_uint(&w, "layers", g->im->n);
        json_member_real(&w, "seconds", seconds);
        cli_json_end(g->c, &w);
    } else {
        cli_printf(g->c, "%zu layers over %zu tokens in %.1f s\n", g->im->n, tokens, seconds);
    }
    return EXIT_DONE;
}

static int gather(struct gathering *g, const struct buf *text, const char *file,
                  const char *output) {
    struct err e = {0};
    ign_error why = {0};
    if (encode(g, text, &why)) {
        return cli_fail_data_ign(g->c, &why);
    }
    g->n_chunk = g->n_ids / (size_t)g->context;
    if (g->n_chunk == 0) {
        err_set(&e, ERR_USAGE, "the text has %zu tokens, less than one chunk of %d", g->n_ids,
                g->context);
        err_hint(&e, "take a longer text, or a smaller --context");
        return cli_fail(g->c, &e);
    }
    if (ign_session_create(g->m, 0, NULL, &g->s, &why)) {
        return cli_fail_ign(g->c, &why);
    }
    g->watch.row = on_row;
    g->watch.arg = g;
    if (imatrix_create(&g->im, &e) || observe_begin(&g->watch, &g->m->m->kern, g->m->m->dev, &e)) {
        return cli_fail(g->c, &e);
    }
    double start = os_now();
    int code = run_chunks(g);
    observe_end(&g->watch, &g->m->m->kern, g->m->m->dev);
    return code == EXIT_DONE ? save(g, file, output, os_now() - start) : code;
}

/* Without --context a model that was trained for less gets chunks of what it has. */
static int open_model(struct gathering *g) {
    g->context = (int)knobs_int(g->c->k, "context");
    int code = engine_model_open(g->c, g->context, &g->m);
    if (code == EXIT_DONE) {
        ign_model_info info;
        ign_model_get_info(g->m, &info);
        if (info.context_trained < g->context && !knobs_given(g->c->k, "context")) {
            g->context = info.context_trained;
        }
    }
    return code;
}

static int run(struct cli *c) {
    struct gathering g = {.c = c};
    struct err e = {0};
    struct buf text;
    const char *file = knobs_str(c->k, "file"), *output = knobs_str(c->k, "output");
    int code;
    if (!output) {
        err_set(&e, ERR_USAGE, "--output is missing");
        err_hint(&e, "say where the importance matrix is to go: --output FILE");
        return cli_fail(c, &e);
    }
    file = file ? file : "-";
    buf_init(&text, (size_t)2 * TEXT_MAX);
    answer_init(&g.a, c, false);
    code = cli_read(file, TEXT_MAX, &text, &e) ? cli_fail(c, &e) : open_model(&g);
    if (code == EXIT_DONE) {
        code = gather(&g, &text, file, output);
    }
    ign_session_free(g.s);
    ign_model_close(g.m);
    imatrix_free(g.im);
    ign_free(g.ids);
    answer_fini(&g.a);
    buf_fini(&text);
    return code;
}

const struct verb verb_imatrix = {
    .args = {.name = "imatrix",
             .operands = "",
             .about = "what matters in a model, for quantizing it",
             .groups = KNOB_MODEL | KNOB_RUN | KNOB_AUDIT,
             .own = own,
             .n_own = sizeof own / sizeof *own},
    .run = run,
    .acts = true,
};
