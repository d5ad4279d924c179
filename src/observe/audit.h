/* audit.h: one line for each action, chained so that a change shows.
 *
 * Owns the log's format (a JSON object a line, docs/AUDIT.md), the chain (each line holds the hash
 * of the one before; the newest hash and the number of lines are kept apart in FILE.head) and the
 * lock that lets two processes write one chain. Refuses to decide what is an action: the verbs do.
 * Invariant: an action whose line could not be written whole is refused, and the log is as it was.
 */
#ifndef IGN_OBSERVE_AUDIT_H
#define IGN_OBSERVE_AUDIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct audit_opts {
    const char *path; /* the log; NULL: no audit, every call is ERR_OK and does nothing */
    const char *key;  /* HMAC key, or NULL: plain SHA-256 */
    size_t n_key;
};

/* What was done. Strings are borrowed; NULL is left out of the line. */
struct audit_entry {
    const char *verb;
    const char *outcome;         /* "done", or an error's name */
    const char *model;           /* name */
    const char *model_sha256;    /* as the store has it */
    const char *parameters;      /* a JSON object: flags by name, secrets and texts left out */
    const char *prompt, *answer; /* only where the user has chosen so */
    int64_t prompt_tokens, new_tokens; /* -1: not that kind of action */
};

/* Appends a line: time, user, process, and what `a` says. ERR_IO (a full disk), ERR_FORMAT (the log
 * or its head has been changed: says how to go on). */
enum err_code audit_write(const struct audit_opts *o, const struct audit_entry *a, struct err *e);
/* Whether a line could be written now: asked before an action is begun. */
enum err_code audit_ready(const struct audit_opts *o, struct err *e);

struct audit_report {
    uint64_t entries;   /* lines that are whole and in order */
    bool intact;        /* nothing was found */
    uint64_t first_bad; /* number of the first line, from 1, that is not as written; 0: none */
    char why[192];
};
/* Reads the whole log. ERR_NOTFOUND, ERR_IO; a broken chain is a report, not an error. */
enum err_code audit_verify(const struct audit_opts *o, struct audit_report *r, struct err *e);
/* Appends the last n lines to `out`. */
enum err_code audit_tail(const struct audit_opts *o, size_t n, struct buf *out, struct err *e);

#endif
