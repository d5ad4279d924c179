/* audit.h: one line for each action, chained so that a change shows.
 *
 * Owns the log's format (a JSON object a line, docs/AUDIT.md), the chain (each line holds the hash
 * of the one before; the newest hash and the number of lines are kept apart in FILE.head) and the
 * lock that lets two processes write one chain (FILE.lock). Refuses to decide what is an action:
 * the verbs do.
 * Invariant: an action whose line could not be written whole is refused, and the log is as it was.
 */
#ifndef IGN_OBSERVE_AUDIT_H
#define IGN_OBSERVE_AUDIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "observe/digest.h"

struct audit_opts {
    const char *path; /* the log; NULL: no audit, audit_write and audit_ready do nothing */
    const char *key;  /* HMAC key, or NULL: plain SHA-256 */
    size_t n_key;
};

/* What was done. Strings are borrowed; NULL is written as null, but for the texts: left out. */
struct audit_entry {
    const char *verb;
    const char *outcome;       /* "done", or an error's name */
    const char *model;         /* name */
    const char *model_sha256;  /* as the store has it */
    const char *parameters;    /* a JSON object: flags by name, secrets and texts left out */
    struct str prompt, answer; /* only where the user has chosen so; p NULL: left out */
    int64_t prompt_tokens, new_tokens; /* -1: not that kind of action, written as null */
};

/* Appends a line: time, user, process, and what `a` says. Checks the newest line against the head;
 * earlier ones are audit_verify's. ERR_IO (a full disk), ERR_FORMAT (the log or its head has been
 * changed: says how to go on), ERR_USAGE (the log has a key, and none was given). */
enum err_code audit_write(const struct audit_opts *o, const struct audit_entry *a, struct err *e);
/* Whether a line could be written now: asked before an action is begun. */
enum err_code audit_ready(const struct audit_opts *o, struct err *e);

struct audit_report {
    uint64_t entries;      /* lines that are whole and in order */
    bool intact;           /* nothing was found */
    bool keyed;            /* the head says that a key was used */
    uint64_t first_bad;    /* number of the first line, from 1, that is not as written; 0: none */
    char hash[DIGEST_HEX]; /* of the newest line, as the head has it; "" without a head */
    char why[192];
};
/* Reads the whole log, also where nothing can be written. ERR_NOTFOUND, ERR_IO, ERR_USAGE as
 * audit_write; a broken chain is a report, not an error. */
enum err_code audit_verify(const struct audit_opts *o, struct audit_report *r, struct err *e);
/* Appends the last n whole lines to `out`. ERR_NOTFOUND, ERR_IO. */
enum err_code audit_tail(const struct audit_opts *o, size_t n, struct buf *out, struct err *e);

#endif
