/* verb_detokenize.c: ids to text.
 *
 * Owns nothing but its flags. The text goes out byte for byte, without a newline of our own.
 */
#include "cli/open_model.h"
#include "cli/verbs.h"

static const struct knob own[] = {
    {.name = "ids",
     .type = KNOB_STR,
     .unit = "\"1 2 3\"",
     .help = "token ids with blanks between; from standard input when not given"},
    {.name = "special", .type = KNOB_BOOL, .help = "show control tokens, too"},
};

static int detokenize(struct cli *c, const struct text_model *t, const struct buf *ids) {
    struct err e = {0};
    struct buf text;
    buf_init(&text, (size_t)1 << 36);
    enum err_code rc = tokenizer_decode(t->tok, (const int32_t *)ids->p, ids->len / sizeof(int32_t),
                                        knobs_bool(c->k, "special"), &text, &e);
    if (!rc) {
        rc = buf_check(&text, &e);
    }
    if (!rc) {
        cli_put_answer(c, str_of(text.p, text.len));
    }
    buf_fini(&text);
    return rc ? cli_fail(c, &e) : EXIT_DONE;
}

static int run(struct cli *c) {
    struct err e = {0};
    struct text_model t = {0};
    struct buf ids;
    buf_init(&ids, (size_t)1 << 32);
    int code = cli_read_ids(c, &ids, &e) ? cli_fail(c, &e) : text_model_open(c, &t);
    if (code == EXIT_DONE) {
        code = detokenize(c, &t, &ids);
    }
    text_model_close(&t);
    buf_fini(&ids);
    return code;
}

const struct verb verb_detokenize = {
    .args = {.name = "detokenize",
             .operands = "",
             .about = "token ids to text",
             .groups = KNOB_MODEL,
             .own = own,
             .n_own = sizeof own / sizeof *own},
    .run = run,
};
