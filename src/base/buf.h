/* buf.h: a growing byte buffer that must say its maximum.
 *
 * Owns its bytes. Failure is latched: once an append did not fit (memory, or `max`) the buffer
 * is marked `failed`, keeps what it had, and ignores the rest, so that a writer checks once at
 * the end. Invariant: p[len] == 0 whenever p is not NULL.
 */
#ifndef IGN_BASE_BUF_H
#define IGN_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct buf {
    char *p;
    size_t len, cap, max;
    bool failed;
};

void buf_init(struct buf *b, size_t max);
void buf_put(struct buf *b, const void *p, size_t n);
void buf_puts(struct buf *b, const char *s);
void buf_putc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) IGN_PRINTF(2, 3);
/* len = 0, memory kept, failure forgotten. */
void buf_reset(struct buf *b);
void buf_fini(struct buf *b);
/* ERR_NOMEM or ERR_LIMIT if the buffer failed. */
enum err_code buf_check(const struct buf *b, struct err *e);

/* A view of bytes owned by somebody else; not terminated. */
struct str {
    const char *p;
    size_t n;
};

static inline struct str str_of(const char *p, size_t n) {
    return (struct str){p, n};
}
struct str str_c(const char *z);
bool str_eq(struct str a, struct str b);
bool str_is(struct str a, const char *z);
bool str_starts(struct str a, const char *z);
/* Whether a is something and then z: "x.gguf" ends in ".gguf", ".gguf" alone does not. */
bool str_ends(struct str a, const char *z);

#endif
