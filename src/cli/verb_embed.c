/* verb_embed.c: texts to vectors.
 *
 * Owns the choice of input (one text, or a text on each line of a file) and the two forms of the
 * result: a line of numbers for each text, or one document. Texts are taken PART at a time, so that
 * what is held of a long file is little, but for --json, whose document is written whole.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cli/open_model.h"
#include "cli/progress.h"
#include "cli/verbs.h"

enum { TEXT_MAX = 256 << 20, PART = 256 };

static const struct knob own[] = {
    {.name = "text",
     .type = KNOB_STR,
     .flags = KNOB_TEXT,
     .unit = "TEXT",
     .help = "one text, line breaks and all"},
    {.name = "file",
     .type = KNOB_STR,
     .unit = "FILE",
     .help = "a text on each line of a file; - is standard input, and the default"},
    {.name = "pooling",
     .type = KNOB_CHOICE,
     .unit = "HOW",
     .def = "auto",
     .choices = "auto|mean|cls|last",
     .help = "how the vectors of a text's tokens become one: their mean, the first, the last; auto "
             "is what the model's file says, or the mean"},
    {.name = "prompt",
     .type = KNOB_STR,
     .flags = KNOB_TEXT,
     .unit = "TEXT",
     .help =
         "in front of each text, in place of the one that the model's file names; \"\" is none"},
    {.name = "unscaled", .type = KNOB_BOOL, .help = "do not scale the vectors to the length 1"},
};

struct texts {
    struct buf bytes;
    struct buf line, length; /* const char *[n], size_t[n] */
    size_t n;
};

struct embedder {
    struct cli *c;
    ign_model *m;
    struct texts t;
    struct json_writer w;
    int dim;
    float *vector; /* [PART, dim] */
    int tokens[PART], cut[PART];
    uint64_t n_token;
    size_t n_cut;
};

/* ---- texts ------------------------------------------------------------------------------------
 */

static void add_text(struct texts *t, const char *p, size_t n) {
    buf_put(&t->line, &p, sizeof p);
    buf_put(&t->length, &n, sizeof n);
    t->n++;
}

/* A line ends at its break, which may be that of Windows; an empty one is a text, too. */
static void split_lines(struct texts *t) {
    const char *p = t->bytes.p, *end = p + t->bytes.len;
    while (p < end) {
        const char *nl = memchr(p, '\n', (size_t)(end - p)), *stop = nl ? nl : end;
        size_t n = (size_t)(stop - p);
        add_text(t, p, n > 0 && p[n - 1] == '\r' ? n - 1 : n);
        p = stop + 1;
    }
}

static enum err_code read_texts(struct embedder *x, struct err *e) {
    struct texts *t = &x->t;
    const char *text = knobs_str(x->c->k, "text"), *file = knobs_str(x->c->k, "file");
    enum err_code rc = ERR_OK;
    if (text && file) {
        return err_set(e, ERR_USAGE, "--text and --file exclude each other");
    }
    if (text) {
        add_text(t, text, strlen(text));
    } else if (!(rc = cli_read(file ? file : "-", TEXT_MAX, &t->bytes, e)) && t->bytes.len) {
        split_lines(t);
    }
    rc = rc ? rc : buf_check(&t->line, e);
    return rc ? rc : buf_check(&t->length, e);
}

/* ---- vectors ------------------------------------------------------------------------------------
 */

/* Nine digits give each f32 back; not finite, in JSON, is null. */
static void put_vector(struct embedder *x, const float *v) {
    char number[32];
    if (x->c->json) {
        json_open(&x->w, '[');
    }
    for (int i = 0; i < x->dim; i++) {
        int n = snprintf(number, sizeof number, "%.9g", (double)v[i]);
        if (!x->c->json) {
            cli_printf(x->c, "%s%s", i ? " " : "", number);
        } else if (v[i] - v[i] == 0) {
            json_put_raw(&x->w, str_of(number, (size_t)n));
        } else {
            json_put_null(&x->w);
        }
    }
    if (x->c->json) {
        json_close(&x->w, ']');
    } else {
        cli_puts(x->c, "\n");
    }
}

static void count(struct embedder *x, size_t first, size_t n) {
    for (size_t i = 0; i < n; i++) {
        x->n_token += (uint64_t)x->tokens[i];
        x->n_cut += x->cut[i] > 0;
        if (x->cut[i] > 0 && x->n_cut <= 8) {
            cli_note(x->c, "ign: text %zu was cut after %d tokens, %d or more were left out",
                     first + i + 1, x->tokens[i], x->cut[i]);
        }
    }
}

static ign_pooling pooling_of(struct cli *c) {
    static const char *const names[] = {"auto", "mean", "cls", "last"};
    const char *how = knobs_str(c->k, "pooling");
    for (int i = 0; i < 4; i++) {
        if (strcmp(how, names[i]) == 0) {
            return (ign_pooling)i;
        }
    }
    return IGN_POOL_AUTO;
}

static int embed_all(struct embedder *x) {
    struct progress bar;
    ign_error why = {0};
    ign_embed_request r = {.pooling = pooling_of(x->c),
                           .prompt = knobs_str(x->c->k, "prompt"),
                           .unscaled = knobs_bool(x->c->k, "unscaled"),
                           .cancel = interrupt_count(x->c->intr),
                           .vector = x->vector,
                           .tokens = x->tokens,
                           .cut = x->cut};
    ign_status rc = IGN_OK;
    progress_begin(&bar, x->c, "embed");
    for (size_t i = 0; i < x->t.n && !rc; i += r.n_text) {
        r.n_text = x->t.n - i < PART ? x->t.n - i : PART;
        r.text = (const char *const *)(const void *)x->t.line.p + i;
        r.n_bytes = (const size_t *)(const void *)x->t.length.p + i;
        progress_draw(&bar, i, x->t.n);
        rc = ign_embed(x->m, &r, &why);
        for (size_t k = 0; k < r.n_text && !rc; k++) {
            put_vector(x, x->vector + k * (size_t)x->dim);
        }
        if (!rc) {
            count(x, i, r.n_text);
        }
    }
    progress_end(&bar);
    if (x->n_cut > 8) {
        cli_note(x->c, "ign: and %zu more texts were cut", x->n_cut - 8);
    }
    return rc ? cli_fail_ign(x->c, &why) : EXIT_DONE;
}

static int embed(struct embedder *x) {
    struct err e = {0};
    ign_model_info info;
    ign_model_get_info(x->m, &info);
    x->dim = info.dimension;
    x->vector = mem_alloc((size_t)PART * (size_t)x->dim, sizeof *x->vector);
    if (!x->vector) {
        err_set(&e, ERR_NOMEM, "out of memory");
        return cli_fail(x->c, &e);
    }
    if (x->c->json) {
        cli_json_begin(x->c, &x->w);
        json_key(&x->w, "embeddings");
        json_open(&x->w, '[');
    }
    interrupt_waits(x->c->intr);
    int code = embed_all(x);
    action_count(x->c, (int)(x->n_token < INT32_MAX ? x->n_token : INT32_MAX), 0);
    if (code == EXIT_DONE && x->c->json) {
        json_close(&x->w, ']');
        json_member_int(&x->w, "dimension", x->dim);
        json_member_uint(&x->w, "tokens", x->n_token);
        json_member_uint(&x->w, "cut", x->n_cut);
        json_member_z(&x->w, "model", info.name);
        cli_json_end(x->c, &x->w);
    }
    return code;
}

static int run(struct cli *c) {
    struct embedder *x = mem_zalloc(1, sizeof *x);
    struct err e = {0};
    if (!x) {
        err_set(&e, ERR_NOMEM, "out of memory");
        return cli_fail(c, &e);
    }
    x->c = c;
    buf_init(&x->t.bytes, (size_t)2 * TEXT_MAX);
    buf_init(&x->t.line, SIZE_MAX);
    buf_init(&x->t.length, SIZE_MAX);
    int code = read_texts(x, &e) ? cli_fail(c, &e) : engine_model_open(c, 0, &x->m);
    if (code == EXIT_DONE) {
        code = embed(x);
    }
    ign_model_close(x->m);
    buf_fini(&x->t.bytes);
    buf_fini(&x->t.line);
    buf_fini(&x->t.length);
    mem_free(x->vector);
    mem_free(x);
    return code;
}

const struct verb verb_embed = {
    .args = {.name = "embed",
             .operands = "",
             .about = "texts to vectors, for searching and comparing",
             .groups = KNOB_MODEL | KNOB_RUN | KNOB_AUDIT,
             .own = own,
             .n_own = sizeof own / sizeof *own},
    .run = run,
    .acts = true,
};
