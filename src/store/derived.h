/* derived.h: files that this program has made of a model, kept so that they are made once.
 *
 * Owns their names, NAME.TYPE-KEY.gguf, where KEY is what the source's bytes, the type and the
 * version of whoever encodes hash to: other bytes or another encoder never find an old file. Such a
 * file is a model of the store as any other, with a record. Owns ".sums" there, too: the hashes of
 * sources, by device, inode, size and time of change, so that a start does not read gigabytes to
 * find out what they are; a record beside a source does not say when it was true. Refuses to make
 * anything: the caller writes `to`. Invariant: a derived file is there whole or not at all.
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
    char *staging;
    struct os_lock *lock;
    struct buf sums; /* lines that ".sums" does not have yet */
};

/* What of the model at `source`, a folder or a GGUF file, which consists of the files file[0..n)
 * (n 0: all in the folder), would be called as `type` by an encoder of this version; and whether it
 * is there. Hashes what is not known. ERR_IO, ERR_NOTFOUND, ERR_CANCELLED, ERR_NOMEM. */
enum err_code derived_open(struct derived *x, const struct depot *d, const char *source,
                           const char *const *file, size_t n, const char *type, unsigned version,
                           struct err *e);
/* Takes the store's lock and makes room for x->to; another program may have made the file
 * meanwhile: x->there. ERR_IO where the store cannot be written. */
enum err_code derived_begin(struct derived *x, struct err *e);
/* Hashes and records what lies at x->to, and gives it its name. */
enum err_code derived_commit(struct derived *x, struct err *e);
/* At any time; what was not committed is gone. */
void derived_close(struct derived *x);

#endif
