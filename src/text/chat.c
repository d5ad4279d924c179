/* chat.c: the variables of a chat template, and one call of the interpreter.
 *
 * Owns the template of a model with its first and last token. Refuses to make up a form where the
 * model brings none. Invariant: immutable after chat_create, so any thread may render.
 */
#include "text/chat.h"

#include "base/json.h"
#include "base/mem.h"

struct chat {
    struct jinja *tmpl;  /* NULL: the model has none */
    struct json *tokens; /* [bos, eos], as a template sees them */
};

/* bos and eos as JSON strings, since that is what variables are. */
static enum err_code chat_tokens(struct chat *c, struct str bos, struct str eos, struct err *e) {
    struct buf text;
    struct json_writer w;
    buf_init(&text, (size_t)1 << 20);
    json_writer_init(&w, &text);
    json_open(&w, '[');
    json_put_str(&w, bos);
    json_put_str(&w, eos);
    json_close(&w, ']');
    enum err_code code = buf_check(&text, e);
    if (code == ERR_OK) {
        code = json_parse(text.p, text.len, &c->tokens, e);
    }
    buf_fini(&text);
    return code;
}

enum err_code chat_create(struct chat **out, struct str tmpl, struct str bos, struct str eos,
                          struct err *e) {
    *out = NULL;
    struct chat *c = mem_zalloc(1, sizeof *c);
    if (c == NULL) {
        return err_set(e, ERR_NOMEM, "no memory for a chat template");
    }
    enum err_code code = chat_tokens(c, bos, eos, e);
    if (code == ERR_OK && tmpl.n > 0) {
        code = jinja_create(&c->tmpl, tmpl.p, tmpl.n, e);
        if (code != ERR_OK) {
            err_hint(
                e,
                "'ign generate --raw' needs no template; 'ign template --template' tries another");
        }
    }
    if (code != ERR_OK) {
        chat_free(c);
        return code;
    }
    *out = c;
    return ERR_OK;
}

void chat_free(struct chat *c) {
    if (c != NULL) {
        jinja_free(c->tmpl);
        json_free(c->tokens);
        mem_free(c);
    }
}

/* true, false and null as documents, so that they can be variables. */
static enum err_code chat_constants(struct json **out, struct err *e) {
    static const char text[] = "[true,false,null]";
    return json_parse(text, sizeof text - 1, out, e);
}

enum err_code chat_render(const struct chat *c, const struct chat_request *r, struct buf *out,
                          struct runs *origin, struct err *e) {
    if (c->tmpl == NULL) {
        err_set(e, ERR_UNSUPPORTED, "the model has no chat template");
        err_hint(e,
                 "'ign generate --raw' needs no template; 'ign template --template' tries another");
        return ERR_UNSUPPORTED;
    }
    enum { N_OWN = 6 };
    struct json *constant = NULL;
    struct jinja_var *var = mem_alloc(r->n_var + N_OWN, sizeof *var);
    enum err_code code = ERR_NOMEM;
    if (var == NULL) {
        err_set(e, ERR_NOMEM, "no memory for the variables of a chat template");
        goto end;
    }
    if ((code = chat_constants(&constant, e)) != ERR_OK) {
        goto end;
    }
    const struct json *null = json_at(constant, 2);
    /* the caller's own come last: they may replace ours, as in transformers */
    const struct jinja_var own[N_OWN] = {
        {"messages", r->messages, false},
        {"tools", r->tools != NULL ? r->tools : null, false},
        {"documents", null, false},
        {"add_generation_prompt", json_at(constant, r->add_generation_prompt ? 0 : 1), true},
        {"bos_token", json_at(c->tokens, 0), true},
        {"eos_token", json_at(c->tokens, 1), true},
    };
    for (size_t i = 0; i < N_OWN; i++) {
        var[i] = own[i];
    }
    for (size_t i = 0; i < r->n_var; i++) {
        var[N_OWN + i] = r->var[i];
    }
    code = jinja_render(c->tmpl, var, r->n_var + N_OWN, NULL, r->now, out, origin, e);
end:
    json_free(constant);
    mem_free(var);
    return code;
}
