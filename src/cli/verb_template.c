/* verb_template.c: messages through a chat template, as text.
 *
 * Owns where template, variables and messages come from: a model's file with its own BOS and EOS,
 * or a template file. The text goes out byte for byte.
 */
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "cli/open_model.h"
#include "cli/verbs.h"
#include "text/chat.h"

enum { INPUT_MAX = 64 << 20, TEMPLATE_MAX = 64 << 20 };

static const struct knob own[] = {
    {.name = "messages",
     .type = KNOB_STR,
     .unit = "FILE",
     .help = "a JSON list of messages; - is standard input, and the default"},
    {.name = "tools", .type = KNOB_STR, .unit = "FILE", .help = "a JSON list of tools"},
    {.name = "no-generation-prompt",
     .type = KNOB_BOOL,
     .help = "end after the last message, not with the beginning of an answer"},
    {.name = "template",
     .type = KNOB_STR,
     .unit = "FILE",
     .help = "a Jinja template in place of the model's"},
    {.name = "bos", .type = KNOB_STR, .unit = "TEXT", .help = "what bos_token is"},
    {.name = "eos", .type = KNOB_STR, .unit = "TEXT", .help = "what eos_token is"},
    {.name = "var",
     .type = KNOB_LIST,
     .unit = "NAME=JSON",
     .help = "a variable that the template can see"},
};

struct page {
    struct cli *c;
    struct text_model model; /* not opened if there is a template file */
    struct chat *chat;
    struct json *messages, *tools;
    struct jinja_var *var; /* [n_var] */
    char **name;           /* [n_var] of the variables */
    struct json **value;   /* [n_var] */
    size_t n_var;
};

/* ---- input
 * ---------------------------------------------------------------------------------------- */

static enum err_code read_list(const char *path, struct json **list, struct err *e) {
    struct buf text;
    buf_init(&text, (size_t)2 * INPUT_MAX);
    enum err_code rc = cli_read(path, INPUT_MAX, &text, e);
    if (!rc) {
        rc = json_parse(text.p ? text.p : "", text.len, list, e);
        if (!rc && json_kind(*list) != JSON_IS_ARRAY) {
            rc = err_set(e, ERR_FORMAT, "not a JSON list");
        }
        if (rc) {
            err_where(e, "%s", strcmp(path, "-") == 0 ? "standard input" : path);
        }
    }
    buf_fini(&text);
    return rc;
}

static enum err_code read_var(struct page *p, size_t i, struct err *e) {
    const char *text = knobs_item(p->c->k, "var", i), *eq = strchr(text, '=');
    enum err_code rc;
    if (!eq || eq == text) {
        err_set(e, ERR_USAGE, "'%s' is not NAME=JSON", text);
        err_where(e, "--var");
        err_hint(e, "for example --var enable_thinking=false");
        return ERR_USAGE;
    }
    p->name[i] = mem_strdup(text, (size_t)(eq - text));
    if (!p->name[i]) {
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    rc = json_parse(eq + 1, strlen(eq + 1), &p->value[i], e);
    if (rc) {
        err_where(e, "--var %s", p->name[i]);
        err_hint(e, "the value is JSON: text in it has quotes");
        return e->code = rc == ERR_FORMAT ? ERR_USAGE : rc;
    }
    p->var[i] = (struct jinja_var){.name = p->name[i], .value = p->value[i]};
    return ERR_OK;
}

static enum err_code read_vars(struct page *p, struct err *e) {
    p->n_var = knobs_count(p->c->k, "var");
    p->var = mem_zalloc(p->n_var, sizeof *p->var);
    p->name = mem_zalloc(p->n_var, sizeof *p->name);
    p->value = mem_zalloc(p->n_var, sizeof *p->value);
    enum err_code rc = ERR_OK;
    if (!p->var || !p->name || !p->value) {
        p->n_var = 0;
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    for (size_t i = 0; i < p->n_var && !rc; i++) {
        rc = read_var(p, i, e);
    }
    return rc;
}

/* ---- the template
 * ----------------------------------------------------------------------------------- */

static struct str token_or(const char *given, const struct vocab *v, int32_t id) {
    if (given) {
        return str_c(given);
    }
    return v && id >= 0 ? vocab_piece(v, id) : str_of("", 0);
}

/* From a file: no model is opened. */
static int chat_from_file(struct page *p, const char *path) {
    struct err e = {0};
    struct buf text;
    buf_init(&text, (size_t)2 * TEMPLATE_MAX);
    if (!cli_read(path, TEMPLATE_MAX, &text, &e)) {
        if (chat_create(&p->chat, str_of(text.p ? text.p : "", text.len),
                        token_or(knobs_str(p->c->k, "bos"), NULL, -1),
                        token_or(knobs_str(p->c->k, "eos"), NULL, -1), &e)) {
            err_where(&e, "%s", path);
        }
    }
    buf_fini(&text);
    return e.code ? cli_fail_data(p->c, &e) : EXIT_DONE;
}

static int chat_from_model(struct page *p) {
    static const char key[] = "tokenizer.chat_template";
    struct err e = {0};
    struct str text = {0};
    int code = text_model_open(p->c, &p->model);
    if (code != EXIT_DONE) {
        return code;
    }
    const struct vocab *v = p->model.vocab;
    if ((gguf_find(p->model.file, key) && gguf_get_str(p->model.file, key, &text, &e)) ||
        chat_create(&p->chat, text, token_or(knobs_str(p->c->k, "bos"), v, vocab_bos(v)),
                    token_or(knobs_str(p->c->k, "eos"), v, vocab_eos(v)), &e)) {
        err_where(&e, "%s", p->model.file->path);
        return cli_fail_data(p->c, &e);
    }
    return EXIT_DONE;
}

/* ---- the text
 * --------------------------------------------------------------------------------------- */

static int render(struct page *p) {
    struct err e = {0};
    struct buf text;
    struct runs origin;
    struct cli *c = p->c;
    struct chat_request r = {
        .messages = p->messages,
        .tools = p->tools,
        .add_generation_prompt = !knobs_bool(c->k, "no-generation-prompt"),
        .var = p->var,
        .n_var = p->n_var,
        .now = knobs_given(c->k, "clock") ? knobs_int(c->k, "clock") : os_wall_time(),
    };
    buf_init(&text, (size_t)1 << 32);
    runs_init(&origin);
    enum err_code rc = chat_render(p->chat, &r, &text, &origin, &e);
    if (!rc) {
        cli_put_answer(c, str_of(text.p, text.len));
    }
    runs_fini(&origin);
    buf_fini(&text);
    return rc ? cli_fail_data(c, &e) : EXIT_DONE;
}

static int run(struct cli *c) {
    struct page p = {.c = c};
    struct err e = {0};
    const char *messages = knobs_str(c->k, "messages"), *tools = knobs_str(c->k, "tools");
    const char *file = knobs_str(c->k, "template");
    int code = EXIT_DONE;
    if (file && knobs_origin(c->k, "model") == KNOB_FLAG) {
        err_set(&e, ERR_USAGE, "--template and --model exclude each other");
        code = cli_fail(c, &e);
    } else if (read_vars(&p, &e) || read_list(messages ? messages : "-", &p.messages, &e) ||
               (tools && read_list(tools, &p.tools, &e))) {
        code = cli_fail(c, &e);
    } else {
        code = file ? chat_from_file(&p, file) : chat_from_model(&p);
    }
    if (code == EXIT_DONE) {
        code = render(&p);
    }
    for (size_t i = 0; i < p.n_var; i++) {
        mem_free(p.name[i]);
        json_free(p.value[i]);
    }
    mem_free(p.var);
    mem_free(p.name);
    mem_free(p.value);
    json_free(p.tools);
    json_free(p.messages);
    chat_free(p.chat);
    text_model_close(&p.model);
    return code;
}

const struct verb verb_template = {
    .args = {.name = "template",
             .operands = "",
             .about = "messages to the text that a model sees",
             .groups = KNOB_TEMPLATE | KNOB_MODEL,
             .own = own,
             .n_own = sizeof own / sizeof *own},
    .run = run,
};
