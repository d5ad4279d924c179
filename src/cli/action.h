/* action.h: what the audit log is told about the action in hand.
 *
 * Owns the flags --audit, --audit-key-file and --audit-text, and the record that fills while a verb
 * runs. An action is a run of a verb that says `acts`, or in a chat each turn. Refuses the log's
 * form: observe/audit.h.
 * Invariant: an action that was begun is written down once, whether it ends, fails or is
 * interrupted; without --audit nothing here does anything.
 */
#ifndef IGN_CLI_ACTION_H
#define IGN_CLI_ACTION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "observe/audit.h"

struct cli;
struct os_mutex;

struct action {
    struct audit_opts log;
    char *key;             /* [log.n_key] */
    struct buf parameters; /* a JSON object */
    struct os_mutex *lock; /* the thread that waits for Ctrl-C may end the action, too */
    bool texts;            /* --audit-text */
    bool open;             /* begun, and not written down yet */
    bool failed;           /* a line could not be written: nothing more is to be done */
    char model[256];       /* file's name, no folder; "": none yet */
    char model_sha256[DIGEST_HEX];
    int64_t prompt_tokens, new_tokens; /* -1: nothing was computed */
    struct buf prompt, answer;         /* with --audit-text */
};

/* --audit FILE to read its last lines or check it: the options in c->action.log, the key read. For
 * a verb with KNOB_AUDIT. ERR_USAGE, ERR_RANGE, ERR_NOTFOUND, ERR_IO. */
enum err_code action_log(struct cli *c, struct err *e);
/* The same, the error printed. Returns an exit code. */
int action_options(struct cli *c);
void action_fini(struct cli *c);

/* Refuses with an exit code, the error printed, where a line could not be written. One that is open
 * already goes on. */
int action_begin(struct cli *c);
/* Writes the line of the action that is open, if any. Returns `code`, or EXIT_FAILED with the error
 * printed where the line could not be written. */
int action_end(struct cli *c, int code);
/* The same for a program that is about to be ended by a signal. */
void action_interrupted(void *cli);

/* What the line is to say: the model's file; tokens that were computed, in addition to those so
 * far; what was asked and answered. */
void action_model(struct cli *c, const char *path);
void action_count(struct cli *c, int prompt_tokens, int new_tokens);
void action_texts(struct cli *c, struct str prompt, struct str answer);

#endif
