/* cli.h: what every verb is given, and how it speaks.
 *
 * Owns the two streams: results go to standard output through cli_put, everything else to standard
 * error through cli_note and cli_fail. Owns the exit codes. Refuses flags: those are config's.
 * Invariant: once a write to standard output has failed, nothing more is written there, and the
 * program does not end with 0.
 */
#ifndef IGN_CLI_CLI_H
#define IGN_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "cli/action.h"
#include "cli/interrupt.h"
#include "config/knobs.h"
#include "config/settings.h"
#include "ign.h"

enum exit_code {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,   /* I/O, broken model, device */
    EXIT_USAGE = 2,    /* wrong use, value out of range */
    EXIT_NOFIT = 3,    /* refused before loading */
    EXIT_NOTFOUND = 4, /* model or file */
    EXIT_INTERRUPTED = 130
};

struct cli;

struct verb {
    struct knob_verb args;
    int (*run)(struct cli *c); /* an exit code */
    bool any_settings;         /* runs though a settings file is broken, and says so itself */
    bool acts;                 /* what it does is written into the audit log; takes KNOB_AUDIT */
};

/* Lifetime: the process. */
struct cli {
    const struct verb *verb;
    struct settings settings; /* of all files, with what is wrong with each */
    struct knobs *k;
    struct interrupt *intr;    /* NULL for a verb that is done at once */
    struct instance *instance; /* from the first model that is opened to the end; may be NULL */
    struct action action;      /* what the audit log is told */
    enum err_code failure;     /* of the last error that was printed */
    bool json, quiet, verbose;
    bool color; /* escape sequences are welcome on standard error */
    bool out_terminal, err_terminal;
    struct buf out;         /* bytes for standard output, not written yet */
    bool out_begun;         /* some have been written */
    enum err_code out_code; /* the first failure of a write */
    struct err out_err;
};

/* The verbs, in the order of help, NULL at the end; and one by name, or NULL. */
extern const struct verb *const cli_verbs[];
const struct verb *cli_find(const char *name);
struct knob_verbs cli_knob_verbs(void); /* the same, as config/ knows them */

/* ---- standard output ------------------------------------------------------------------------ */

void cli_put(struct cli *c, const void *p, size_t n);
void cli_puts(struct cli *c, const char *z);
void cli_printf(struct cli *c, const char *fmt, ...) IGN_PRINTF(2, 3);
/* Text that a model or a file has made: on a terminal its control characters are shown as ^X
 * instead of being obeyed; elsewhere it goes out byte for byte. */
void cli_put_text(struct cli *c, const char *p, size_t n);
/* The text that is a verb's whole result: as it is, or {"text"} with --json. */
void cli_put_answer(struct cli *c, struct str text);
/* Forgets what has been put and not written. */
void cli_drop(struct cli *c);
/* Writes what has been put. ERR_IO if this or any earlier write failed. */
enum err_code cli_flush(struct cli *c);
/* A whole document and a newline; `w` is started on c->out by json_begin. */
void cli_json_begin(struct cli *c, struct json_writer *w);
void cli_json_end(struct cli *c, struct json_writer *w);

/* ---- standard error ------------------------------------------------------------------------- */

/* A line for the person who waits; not with --quiet. */
void cli_note(struct cli *c, const char *fmt, ...) IGN_PRINTF(2, 3);
/* A warning where a settings file is broken, for verbs that run nevertheless. */
void cli_note_settings(struct cli *c);
/* The error's line, with --json also its document; returns the exit code. */
int cli_fail(struct cli *c, const struct err *e);
/* As cli_fail, for what came out of ign.h. */
int cli_fail_ign(struct cli *c, const ign_error *e);
/* As cli_fail, for an error that a model file or a template has caused: a value out of range in
 * there is a broken file, not wrong use of the program. */
int cli_fail_data(struct cli *c, struct err *e);
int cli_fail_data_ign(struct cli *c, ign_error *e);

/* ---- input ---------------------------------------------------------------------------------- */

/* All bytes of a file, of standard input for "-", or of an open descriptor for /dev/fd/N, at most
 * `max`, appended to `b` (whose own maximum must be larger). ERR_LIMIT, ERR_IO, ERR_NOTFOUND. */
enum err_code cli_read(const char *path, size_t max, struct buf *b, struct err *e);
/* The text of a file that nobody but its owner can read (ERR_USAGE; `what` names it), without the
 * newline at its end: *text (mem_free), *n bytes and a zero byte. The caller overwrites it. */
enum err_code cli_read_secret(const char *path, const char *what, size_t max, char **text,
                              size_t *n, struct err *e);
/* Ids in `text`: decimal numbers with blanks or commas between; ERR_USAGE names the bad one. */
enum err_code cli_parse_ids(struct str text, struct buf *ids, struct err *e);
/* --ids TEXT of the verb, or standard input. int32_t values in `ids`. */
enum err_code cli_read_ids(struct cli *c, struct buf *ids, struct err *e);

/* "1.5 GiB" in out [n]. */
const char *cli_bytes(uint64_t bytes, char *out, size_t n);

#endif
