/* verb_imatrix.c: how much each column of a model's layers matters on a text.
 *
 * Owns what is observed while the text is walked over (chunks.h): every linear layer of a block, as
 * in llama.cpp's program; the one that gives logits is not. Refuses to judge the text.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cli/chunks.h"
#include "cli/verbs.h"
#include "engine/engine.h"
#include "kern/observe.h"
#include "model/imatrix.h"

static const struct knob own[] = {
    CHUNKS_FILE_KNOB,
    {.name = "output",
     .type = KNOB_STR,
     .unit = "FILE",
     .help = "where the importance matrix goes; in the older form where it ends in .dat"},
    CHUNKS_CONTEXT_KNOB,
};

struct gathering {
    struct chunks text;
    struct observer watch;
    struct imatrix *im;
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
        err_set(&g->text.failed, ERR_NOMEM, "no memory for the sums of a layer");
    }
}

static int save(struct gathering *g, const char *output) {
    struct cli *c = g->text.c;
    struct err e = {0};
    const char *file = knobs_str(c->k, "file") ? knobs_str(c->k, "file") : "-";
    size_t n = strlen(output), tokens = g->text.n_chunk * (size_t)g->text.context;
    char *dataset = mem_strdup(file, strlen(file));
    if (!dataset) {
        err_set(&e, ERR_NOMEM, "out of memory");
        return cli_fail(c, &e);
    }
    mem_free(g->im->dataset);
    g->im->dataset = dataset;
    g->im->n_chunk = (uint32_t)g->text.n_chunk;
    g->im->chunk_tok = (uint32_t)g->text.context;
    if (imatrix_save(g->im, output, n > 4 && strcmp(output + n - 4, ".dat") == 0, &e)) {
        return cli_fail(c, &e);
    }
    if (c->json) {
        struct json_writer w;
        cli_json_begin(c, &w);
        json_member_uint(&w, "tokens", tokens);
        json_member_uint(&w, "chunks", g->text.n_chunk);
        json_member_uint(&w, "layers", g->im->n);
        json_member_real(&w, "seconds", g->text.seconds);
        cli_json_end(c, &w);
    } else {
        cli_printf(c, "%zu layers over %zu tokens in %.1f s\n", g->im->n, tokens, g->text.seconds);
    }
    return EXIT_DONE;
}

static int gather(struct gathering *g, const char *output) {
    struct model *m = g->text.m->m;
    struct err e = {0};
    g->watch.row = on_row;
    g->watch.arg = g;
    if (imatrix_create(&g->im, &e) || observe_begin(&g->watch, &m->kern, m->dev, &e)) {
        return cli_fail(g->text.c, &e);
    }
    int code = chunks_run(&g->text, "imatrix");
    observe_end(&g->watch, &m->kern, m->dev);
    return code == EXIT_DONE ? save(g, output) : code;
}

static int run(struct cli *c) {
    struct gathering g = {0};
    struct err e = {0};
    const char *output = knobs_str(c->k, "output");
    if (!output) {
        err_set(&e, ERR_USAGE, "--output is missing");
        err_hint(&e, "say where the importance matrix is to go: --output FILE");
        return cli_fail(c, &e);
    }
    chunks_init(&g.text, c);
    int code = chunks_output(c, output);
    if (code == EXIT_DONE) {
        code = chunks_read(&g.text);
    }
    if (code == EXIT_DONE) {
        code = chunks_open(&g.text, NULL);
    }
    if (code == EXIT_DONE) {
        code = gather(&g, output);
    }
    chunks_fini(&g.text);
    imatrix_free(g.im);
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
