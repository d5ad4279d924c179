/* space.h: the address space of a back end whose memory is the host's.
 *
 * Owns buffers of floats, taken at load time and freed together, and the translation of a handle
 * to an address. Refuses to reuse or grow: a device takes its memory once.
 * Invariant: handles are offsets in floats that leave a gap after each buffer, so that a handle
 * plus an offset past the end of its buffer finds nothing instead of its neighbour.
 */
#ifndef IGN_KERN_SPACE_H
#define IGN_KERN_SPACE_H

#include <stdbool.h>
#include <stddef.h>

#include "kern/kern.h"

struct space_buf {
    kern_ref base;
    size_t n;     /* floats */
    size_t bytes; /* as taken from the system */
    float *p;
};

struct space {
    struct space_buf *buf; /* ascending bases */
    int n_buf, cap;
};

/* Zeroed memory for n floats. ERR_NOMEM. */
enum err_code space_take(struct space *s, size_t n, kern_ref *r, struct err *e);
/* Address of n floats at `r`; asserts that they lie in one buffer. NULL for r = 0. */
float *space_at(const struct space *s, kern_ref r, size_t n);
/* Takes away or gives back all access to all buffers. */
void space_protect(const struct space *s, bool accessible);
void space_fini(struct space *s);

#endif
