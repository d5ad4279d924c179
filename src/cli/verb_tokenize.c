/* verb_tokenize.c: text to ids.
 *
 * Owns the choice of input: --text, --file or standard input, byte for byte, NUL included. Needs
 * only the tokenizer of a file.
 */
#include "cli/open_model.h"
#include "cli/verbs.h"

enum { TEXT_MAX = 256 << 20 };

static const struct knob own[] = {
    {.name = "text", .type = KNOB_STR, .unit = "TEXT", .help = "what to tokenize"},
    {.name = "file",
     .type = KNOB_STR,
     .unit = "FILE",
     .help = "read the text from a file; - is standard input, and the default"},
    {.name = "no-special",
     .type = KNOB_BOOL,
     .help = "spellings of control tokens are ordinary text"},
    {.name = "bos", .type = KNOB_BOOL, .help = "begin with the token that begins a text"},
    {.name = "no-bos", .type = KNOB_BOOL, .help = "do not, whatever the model says"},
    {.name = "pieces", .type = KNOB_BOOL, .help = "show each token's piece of the text, too"},
};

static enum err_code read_text(struct cli *c, struct buf *text, struct err *e) {
    const char *arg = knobs_str(c->k, "text"), *file = knobs_str(c->k, "file");
    if (arg && file) {
        err_set(e, ERR_USAGE, "--text and --file exclude each other");
        return ERR_USAGE;
    }
    if (knobs_bool(c->k, "bos") && knobs_bool(c->k, "no-bos")) {
        err_set(e, ERR_USAGE, "--bos and --no-bos exclude each other");
        return ERR_USAGE;
    }
    if (arg) {
        buf_puts(text, arg);
        return buf_check(text, e);
    }
    return cli_read(file ? file : "-", TEXT_MAX, text, e);
}

/* The bytes that each token stands for; JSON has U+FFFD for those that are not UTF-8. */
static enum err_code put_pieces_json(struct json_writer *w, const struct text_model *t,
                                     const struct ids *ids, struct err *e) {
    struct buf piece;
    enum err_code rc = ERR_OK;
    buf_init(&piece, 1 << 20);
    json_key(w, "pieces");
    json_open(w, '[');
    for (size_t i = 0; i < ids->n && !rc; i++) {
        buf_reset(&piece);
        rc = tokenizer_piece(t->tok, ids->id[i], true, &piece, e);
        json_put_str(w, str_of(piece.p, piece.len));
    }
    json_close(w, ']');
    buf_fini(&piece);
    return rc;
}

static enum err_code put_json(struct cli *c, const struct text_model *t, const struct ids *ids,
                              struct err *e) {
    struct json_writer w;
    enum err_code rc = ERR_OK;
    cli_json_begin(c, &w);
    json_key(&w, "ids");
    json_open(&w, '[');
    for (size_t i = 0; i < ids->n; i++) {
        json_put_int(&w, ids->id[i]);
    }
    json_close(&w, ']');
    if (knobs_bool(c->k, "pieces")) {
        rc = put_pieces_json(&w, t, ids, e);
    }
    if (!rc) {
        cli_json_end(c, &w);
    }
    return rc;
}

/* Ids on one line; with --pieces a line for each: the id, a tab, the piece as C would quote it. */
static enum err_code put_lines(struct cli *c, const struct text_model *t, const struct ids *ids,
                               struct err *e) {
    struct buf piece;
    enum err_code rc = ERR_OK;
    bool pieces = knobs_bool(c->k, "pieces");
    buf_init(&piece, 1 << 20);
    for (size_t i = 0; i < ids->n && !rc; i++) {
        if (!pieces) {
            cli_printf(c, "%s%d", i ? " " : "", ids->id[i]);
            continue;
        }
        buf_reset(&piece);
        rc = tokenizer_piece(t->tok, ids->id[i], true, &piece, e);
        cli_printf(c, "%d\t", ids->id[i]);
        for (size_t k = 0; k < piece.len; k++) {
            unsigned char b = (unsigned char)piece.p[k];
            if (b < 0x20 || b == '\\' || b >= 0x7F) {
                cli_printf(c, b == '\n' ? "\\n" : b == '\\' ? "\\\\" : "\\x%02x", b);
            } else {
                cli_put(c, &piece.p[k], 1);
            }
        }
        cli_puts(c, "\n");
    }
    if (!pieces) {
        cli_puts(c, "\n");
    }
    buf_fini(&piece);
    return rc;
}

static int tokenize(struct cli *c, const struct text_model *t, struct str text) {
    struct err e = {0};
    struct ids ids = {0};
    enum bos_mode bos = knobs_bool(c->k, "bos")      ? BOS_ALWAYS
                        : knobs_bool(c->k, "no-bos") ? BOS_NEVER
                                                     : BOS_AUTO;
    enum err_code rc = tokenizer_encode(t->tok, text.p, text.n, NULL,
                                        !knobs_bool(c->k, "no-special"), bos, 0, &ids, &e);
    if (!rc) {
        rc = (c->json ? put_json : put_lines)(c, t, &ids, &e);
    }
    ids_fini(&ids);
    return rc ? cli_fail(c, &e) : EXIT_DONE;
}

static int run(struct cli *c) {
    struct err e = {0};
    struct text_model t = {0};
    struct buf text;
    buf_init(&text, (size_t)2 * TEXT_MAX);
    int code = read_text(c, &text, &e) ? cli_fail(c, &e) : text_model_open(c, &t);
    if (code == EXIT_DONE) {
        code = tokenize(c, &t, str_of(text.p ? text.p : "", text.len));
    }
    text_model_close(&t);
    buf_fini(&text);
    return code;
}

const struct verb verb_tokenize = {
    .args = {.name = "tokenize",
             .operands = "",
             .about = "text to token ids",
             .groups = KNOB_MODEL,
             .own = own,
             .n_own = sizeof own / sizeof *own},
    .run = run,
};
