/* audit_head.h: the file beside the log that knows how it ends.
 *
 * Owns FILE.head, one JSON object, and what a hash of this log is (plain or keyed). Private to
 * audit.c and audit_verify.c. Invariant: a head that was read is byte for byte one that
 * audit_head_write would write with this key.
 */
#ifndef IGN_OBSERVE_AUDIT_HEAD_H
#define IGN_OBSERVE_AUDIT_HEAD_H

#include "observe/audit.h"

#define AUDIT_WAIT                                                                                 \
    30.0 /* seconds for another writer of the log to end: a line takes milliseconds */

struct audit_head {
    bool there;
    bool keyed;
    uint64_t entries, bytes;     /* of the log, all lines finished */
    char hash[DIGEST_HEX];       /* of the last of them; zeros where there is none */
    uint64_t begun_bytes;        /* of the line that is being written, its newline too; 0: none */
    char begun_hash[DIGEST_HEX]; /* of that line */
};

/* FILE.suffix in *out (mem_free). */
enum err_code audit_path(const struct audit_opts *o, const char *suffix, char **out, struct err *e);
/* The hash of a line without its newline. */
void audit_hash(const struct audit_opts *o, const void *p, size_t n, char hex[DIGEST_HEX]);
/* No head is no error: h->there. ERR_FORMAT: not written by this program, or with another key, or
 * without one; ERR_USAGE: written with a key, and `o` has none. */
enum err_code audit_head_read(const struct audit_opts *o, struct audit_head *h, struct err *e);
/* Whole or not at all. */
enum err_code audit_head_write(const struct audit_opts *o, const struct audit_head *h,
                               struct err *e);

#endif
