/* chat.h: messages to a prompt, through the model's own template.
 *
 * Owns the variables that templates expect (messages, tools, add_generation_prompt, bos_token,
 * eos_token, and the extra ones a caller gives) and the plain fallback used where a model has no
 * template. Refuses tokenizing. Thread-safe: immutable after chat_create.
 */
#ifndef IGN_TEXT_CHAT_H
#define IGN_TEXT_CHAT_H

#include "text/jinja.h"

struct chat;

/* `tmpl` may be empty: then a plain ChatML-like form is NOT invented; rendering gives
 * ERR_UNSUPPORTED with the hint to use --raw or --template. */
enum err_code chat_create(struct chat **c, struct str tmpl, struct str bos, struct str eos,
                          struct err *e);
void chat_free(struct chat *c); /* NULL is fine */

struct chat_request {
    const struct json *messages; /* a list of {"role", "content", ...} */
    const struct json *tools;    /* a list, or NULL */
    bool add_generation_prompt;
    const struct jinja_var *var; /* [n_var] extra variables */
    size_t n_var;
    int64_t now;
};

/* Appends the prompt to `out` and its origins to `origin`. */
enum err_code chat_render(const struct chat *c, const struct chat_request *r, struct buf *out,
                          struct runs *origin, struct err *e);

#endif
