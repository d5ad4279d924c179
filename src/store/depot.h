/* depot.h: the models of the store: what is there, what comes in, what is checked, what goes.
 *
 * Owns the folder and the records beside the models: NAME.gguf or a folder NAME, and
 * NAME.gguf.sha256 or NAME.sha256, which sha256sum checks too. A file that comes in and is there
 * already, by its hash, becomes a second name of the same bytes. Refuses to fetch anything.
 * Invariant: a model is there whole or not at all, whenever the program or the machine ends; one
 * writer at a time holds the lock ".lock"; what failed verification lies in "quarantine".
 */
#ifndef IGN_STORE_DEPOT_H
#define IGN_STORE_DEPOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* Where, and whom to tell. */
struct depot {
    const char *dir;          /* the store; made if need be */
    const volatile int *stop; /* not 0: end with ERR_CANCELLED; may be NULL */
    /* done of total bytes of what is going on with a file; may be NULL */
    void (*report)(void *arg, const char *what, uint64_t done, uint64_t total);
    /* a line for the person who waits, without its end: why nothing goes on; may be NULL */
    void (*say)(void *arg, const char *text);
    void *arg; /* of both */
};

enum depot_state {
    DEPOT_RECORDED,    /* has a record; its hashes were not looked at now */
    DEPOT_UNRECORDED,  /* nobody has said what its hash is */
    DEPOT_VERIFIED,    /* every byte is as recorded */
    DEPOT_BROKEN,      /* it was not, and is in quarantine now */
    DEPOT_BROKEN_HERE, /* it was not, or its files cannot be listed; it is where it was */
    DEPOT_QUARANTINED  /* it was not, some time ago */
};

struct depot_model {
    char *name; /* as --model takes it: "x.gguf", or the name of a folder */
    bool folder;
    uint64_t bytes; /* of all its files */
    size_t n_file;
    char sha256[65]; /* of a single file; "" where it is not recorded */
    enum depot_state state;
    char why[200]; /* which file, and what is wrong with it or with the record; "" if nothing */
};

/* Models sorted by name: an array in `out` (struct depot_model; depot_models_fini). A store that is
 * not there is empty; a model whose files cannot be listed does not hide the others. */
enum err_code depot_list(const struct depot *d, struct buf *out, struct err *e);
/* Adds what is in quarantine, under names that begin with "quarantine/", with the reason. */
enum err_code depot_list_quarantine(const struct depot *d, struct buf *out, struct err *e);
void depot_models_init(struct buf *models);
void depot_models_fini(struct buf *models);

enum depot_came { DEPOT_COPIED, DEPOT_LINKED, DEPOT_KNOWN };

/* Takes the model at `path`, a file or a folder, under `name` (NULL: its own). Linked where the
 * file system can, copied where not, and hashed; `sha256` ("" or NULL: unknown; 64
 * digits, of either case) is what a single file's hash must be: ERR_USAGE with a folder. *came says
 * how; DEPOT_KNOWN: the same is there under that name. *name_out (mem_free) is its name. ERR_USAGE
 * where another model has the name, or the name cannot be one; ERR_FORMAT for a wrong hash, or what
 * is no model; ERR_NOTFOUND, ERR_IO, ERR_CANCELLED. */
enum err_code depot_import(const struct depot *d, const char *path, const char *name,
                           const char *sha256, enum depot_came *came, char **name_out,
                           struct err *e);

/* Reads every byte of `name` (NULL: all models) against its record. What differs, or holds
 * a file that its record does not name, is moved to quarantine where this user may write to the
 * store and there is room for it, and nobody writes to it all the while. The result as depot_list
 * gives it. ERR_NOTFOUND for a name that is not there. */
enum err_code depot_verify(const struct depot *d, const char *name, struct buf *out, struct err *e);

/* Removes a model and its record; "quarantine/NAME" is one that is there. ERR_NOTFOUND. */
enum err_code depot_remove(const struct depot *d, const char *name, struct err *e);

#endif
