/* verb_logits.c: what the model says after given ids, as numbers.
 *
 * Owns the two forms: the largest logits of one or all positions, and a raw file of all of them.
 * Ids are taken as they are: no BOS is added. The raw file is held in memory first, so that it is
 * written whole; what does not fit there is refused before anything is computed.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "cli/answer.h"
#include "cli/open_model.h"
#include "cli/verbs.h"

static const struct knob own[] = {
    {.name = "ids",
     .type = KNOB_STR,
     .flags = KNOB_TEXT,
     .unit = "\"1 2 3\"",
     .help = "token ids with blanks between; from standard input when not given"},
    {.name = "top",
     .type = KNOB_INT,
     .unit = "K",
     .def = "10",
     .min = 1,
     .max = 1000000,
     .help = "how many of the largest logits to print"},
    {.name = "all", .type = KNOB_BOOL, .help = "print those of every position, not only the last"},
    {.name = "output",
     .type = KNOB_STR,
     .unit = "FILE",
     .help = "write the logits of every position as little-endian f32 [n_tok, n_vocab]"},
};

struct scored {
    float logit;
    int32_t id;
};

struct logits {
    struct cli *c;
    size_t n_tok;
    size_t n_vocab, top;
    bool all;
    float *raw;          /* [n_tok, n_vocab], for --output */
    struct scored *best; /* [top] */
    struct json_writer w;
};

/* Larger first, ties by id; what is no number comes last. */
static int compare(const void *a, const void *b) {
    const struct scored *x = a, *y = b;
    if (isnan(x->logit) || isnan(y->logit)) {
        return !isnan(y->logit) - !isnan(x->logit);
    }
    return x->logit > y->logit ? -1 : x->logit < y->logit ? 1 : x->id < y->id ? -1 : x->id > y->id;
}

/* heap[0..n): the worst of them on top; what lies at i may be too good for its place. */
static void sift_down(struct scored *heap, size_t n, size_t i) {
    for (size_t kid = 2 * i + 1; kid < n; kid = 2 * i + 1) {
        kid += kid + 1 < n && compare(&heap[kid], &heap[kid + 1]) < 0;
        if (compare(&heap[i], &heap[kid]) >= 0) {
            return;
        }
        struct scored t = heap[i];
        heap[i] = heap[kid];
        heap[kid] = t;
        i = kid;
    }
}

/* The g->top best of logit [n_vocab] into g->best, in order. */
static void find_best(struct logits *g, const float *logit) {
    for (size_t i = 0; i < g->top; i++) {
        g->best[i] = (struct scored){logit[i], (int32_t)i};
    }
    for (size_t i = g->top / 2; i-- > 0;) {
        sift_down(g->best, g->top, i);
    }
    for (size_t i = g->top; i < g->n_vocab; i++) {
        struct scored s = {logit[i], (int32_t)i};
        if (compare(&s, &g->best[0]) < 0) {
            g->best[0] = s;
            sift_down(g->best, g->top, 0);
        }
    }
    qsort(g->best, g->top, sizeof *g->best, compare);
}

static void put_position(struct logits *g, size_t position, const float *logit) {
    find_best(g, logit);
    if (!g->c->json) {
        cli_printf(g->c, "%zu:", position);
        for (size_t i = 0; i < g->top; i++) {
            cli_printf(g->c, " %d=%.9g", g->best[i].id, (double)g->best[i].logit);
        }
        cli_puts(g->c, "\n");
        return;
    }
    json_open(&g->w, '{');
    json_key(&g->w, "position");
    json_put_uint(&g->w, position);
    json_key(&g->w, "top");
    json_open(&g->w, '[');
    for (size_t i = 0; i < g->top; i++) {
        json_open(&g->w, '{');
        json_key(&g->w, "id");
        json_put_int(&g->w, g->best[i].id);
        json_key(&g->w, "logit");
        json_put_real(&g->w, (double)g->best[i].logit);
        json_close(&g->w, '}');
    }
    json_close(&g->w, ']');
    json_close(&g->w, '}');
}

static void on_logits(void *arg, int position, const float *logit, int n_vocab) {
    struct answer *a = arg;
    struct logits *g = a->user;
    (void)n_vocab;
    size_t p = (size_t)position;
    if (g->raw) {
        memcpy(g->raw + p * g->n_vocab, logit, g->n_vocab * sizeof *logit);
    }
    if (g->all || p + 1 == g->n_tok) {
        put_position(g, p, logit);
    }
}

static enum err_code prepare(struct logits *g, struct err *e) {
    g->best = mem_alloc(g->top, sizeof *g->best);
    if (!g->best) {
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    if (!knobs_str(g->c->k, "output")) {
        return ERR_OK;
    }
    return answer_rows(g->n_tok, g->n_vocab, "--output", &g->raw, e);
}

static int compute(struct logits *g, ign_model *m, ign_session *s, const struct buf *ids) {
    struct cli *c = g->c;
    struct answer a;
    struct err e = {0};
    ign_error why = {0};
    ign_request r = {
        .ids = (const int32_t *)ids->p, .n_ids = g->n_tok, .logprobs = -1, .on_logits = on_logits};
    int code = EXIT_DONE;
    answer_init(&a, c, false);
    a.user = g;
    if (c->json) {
        cli_json_begin(c, &g->w);
        json_key(&g->w, "positions");
        json_open(&g->w, '[');
    }
    if (answer_run(&a, m, s, &r, &why)) {
        code = cli_fail_ign(c, &why);
    } else if (a.stop == IGN_STOP_CANCELLED) {
        err_set(&e, ERR_CANCELLED, "interrupted");
        code = cli_fail(c, &e);
    } else if (c->json) {
        json_close(&g->w, ']');
        cli_json_end(c, &g->w);
    }
    const char *path = knobs_str(c->k, "output");
    if (code == EXIT_DONE && path &&
        os_write_file(path, g->raw, g->n_tok * g->n_vocab * sizeof *g->raw, &e)) {
        cli_drop(c);
        code = cli_fail(c, &e);
    }
    answer_fini(&a);
    return code;
}

static int logits_of(struct cli *c, ign_model *m, const struct buf *ids) {
    struct logits g = {.c = c, .n_tok = ids->len / sizeof(int32_t)};
    struct err e = {0};
    ign_error why = {0};
    ign_session *s = NULL;
    ign_model_info info;
    int code;
    ign_model_get_info(m, &info);
    g.n_vocab = (size_t)info.vocabulary;
    g.top = (size_t)knobs_int(c->k, "top");
    g.top = g.top < g.n_vocab ? g.top : g.n_vocab;
    g.all = knobs_bool(c->k, "all");
    if (prepare(&g, &e)) {
        code = cli_fail(c, &e);
    } else if (ign_session_create(m, 0, NULL, &s, &why)) {
        code = cli_fail_ign(c, &why);
    } else {
        code = compute(&g, m, s, ids);
    }
    ign_session_free(s);
    mem_free(g.raw);
    mem_free(g.best);
    return code;
}

static int run(struct cli *c) {
    struct err e = {0};
    struct buf ids;
    ign_model *m = NULL;
    int code;
    buf_init(&ids, (size_t)1 << 32);
    if (!cli_read_ids(c, &ids, &e) && ids.len == 0) {
        err_set(&e, ERR_USAGE, "there are no ids");
        err_hint(&e, "give --ids \"1 2 3\", or ids on standard input");
    }
    code = e.code ? cli_fail(c, &e) : engine_model_open(c, 0, &m);
    if (code == EXIT_DONE) {
        code = logits_of(c, m, &ids);
    }
    ign_model_close(m);
    buf_fini(&ids);
    return code;
}

const struct verb verb_logits = {
    .args = {.name = "logits",
             .operands = "",
             .about = "the model's scores after given tokens",
             .groups = KNOB_MODEL | KNOB_RUN | KNOB_AUDIT,
             .own = own,
             .n_own = sizeof own / sizeof *own},
    .run = run,
    .acts = true,
};
