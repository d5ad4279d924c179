/* conversation.h: the messages of a chat.
 *
 * Owns the list, its JSON form (a list of {"role", "content"}: what templates, history files and
 * the HTTP API use), and which of its oldest turns are no longer shown to the model. Refuses
 * tokens. Invariant: a system message, if any, is the first and is always shown; 1 <= shown.
 */
#ifndef IGN_CLI_CONVERSATION_H
#define IGN_CLI_CONVERSATION_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

enum role { ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT };

struct message {
    enum role role;
    char *text; /* [n] and a zero byte */
    size_t n;
};

struct conversation {
    struct message *m; /* [n] */
    size_t n, cap;
    size_t hidden; /* messages after the system message that are not shown any more */
};

void conversation_init(struct conversation *v);
void conversation_fini(struct conversation *v);

enum err_code conversation_add(struct conversation *v, enum role role, struct str text,
                               struct err *e);
/* The system message is `text`; an empty one is none. */
enum err_code conversation_set_system(struct conversation *v, struct str text, struct err *e);
const struct message *conversation_system(const struct conversation *v); /* NULL: none */
/* Takes the last message away. */
void conversation_pop(struct conversation *v);
/* Everything but the system message. */
void conversation_reset(struct conversation *v);
/* Hides the oldest question shown and its answer; false if only the last question is left. */
bool conversation_hide(struct conversation *v);

/* Appends the JSON list: of what is shown, or of all. */
enum err_code conversation_json(const struct conversation *v, bool all, struct buf *out,
                                struct err *e);
/* Replaces *v by a file's messages; ERR_NOTFOUND, ERR_FORMAT (message and field). */
enum err_code conversation_load(struct conversation *v, const char *path, struct err *e);
/* Written whole or not at all. */
enum err_code conversation_save(const struct conversation *v, const char *path, struct err *e);

#endif
