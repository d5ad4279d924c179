/* derived.h: files that this program has made of a model, kept so that they are made once.
 *
 * Owns their names, NAME.TYPE-KEY.gguf, where KEY is what the source's bytes, the type and the
 * version of whoever encodes hash to: other bytes or another encoder never find an old file, and
 * the same bytes under another name find it. Such a file is a model of the store as any other; the
 * notes of its record say what it was made of. Owns ".sums" there, too: the hashes of sources, by
 * device, inode, size and time of change, so that a start does not read gigabytes to find out what
 * they are; a record beside a source does not say when it was true. Owns the folder ".made" and its
 * lock, where a file comes to be, one at a time, and which keeps no other writer out of the store.
 * Refuses to make anything: the caller writes `to`. Invariant: a derived file is there whole or not
 * at all.
 */
#ifndef IGN_STORE_DERIVED_H
#define IGN_STORE_DERIVED_H

#include <stdbool.h>

#include "base/buf.h"
#include "store/depot.h"

struct os_lock;

struct derived {
    const struct depot *d;
    char *name, *path; /* in the store: NAME.TYPE-KEY.gguf, and with the folder before it */
    char *to;          /* between derived_begin and derived_commit: where it is to be written */
    bool there;        /* nothing needs to be made */
    char key[65];      /* KEY */
    char *staging;
    struct os_lock *lock;
    struct buf sums;  /* lines that ".sums" does not have yet */
    struct buf notes; /* for the record */
};

/* What is made of a source. */
struct derived_as {
    const char *type; /* in the name: "int4" */
    unsigned kind;    /* types of one kind are other words for the same bytes */
    unsigned version; /* of whoever encodes */
};

/* What of the model at `source`, a folder or a GGUF file, which consists of the files file[0..n)
 * (n 0: all in the folder), would be called; and whether it is there. Hashes what is not known.
 * ERR_IO, ERR_NOTFOUND, ERR_CANCELLED, ERR_NOMEM. */
enum err_code derived_open(struct derived *x, const struct depot *d, const char *source,
                           const char *const *file, size_t n, const struct derived_as *as,
                           struct err *e);
/* Takes the lock and makes room for x->to; another program may have made the file meanwhile:
 * x->there. *busy: another is making one now; come again. ERR_IO where the store cannot be written.
 */
enum err_code derived_begin(struct derived *x, bool *busy, struct err *e);
/* Hashes and records what lies at x->to, and gives it its name, once no other writer is at work. */
enum err_code derived_commit(struct derived *x, struct err *e);
/* At any time; what was not committed is gone. What was hashed is remembered. */
void derived_close(struct derived *x);

/* Whether a model of the store was made by derived_commit, and what is to be said of it in out [n]:
 * "" while it is of use; else why it is of none: its source has changed, as far as that is known
 * without reading it, or has gone, or `version` is another now. */
bool derived_is(const struct depot *d, const char *name, unsigned version, char *out, size_t n);

#endif
