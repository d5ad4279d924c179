/* space.c: see space.h. Buffers come straight from the system: page-aligned, zeroed, and committed
 * only when touched, so that a KV cache costs what is used of it.
 */
#include "kern/space.h"

#include <assert.h>

#include "base/mem.h"
#include "base/os.h"

#define SPACE_GAP 64 /* floats between buffers, and before the first: 0 is no handle */

enum err_code space_take(struct space *s, size_t n, kern_ref *r, struct err *e) {
    size_t bytes;
    if (!size_mul(n > 0 ? n : 1, sizeof(float), &bytes)) {
        return err_set(e, ERR_NOMEM, "a device buffer of %zu floats is too large", n);
    }
    if (s->buf == NULL || s->n_buf == s->cap) {
        int cap = s->cap > 0 ? 2 * s->cap : 16;
        struct space_buf *buf = mem_realloc(s->buf, (size_t)cap, sizeof *buf);
        if (buf == NULL) {
            return err_set(e, ERR_NOMEM, "out of memory for a list of %d device buffers", cap);
        }
        s->buf = buf;
        s->cap = cap;
    }
    float *p = os_pages(bytes);
    if (p == NULL) {
        return err_set(e, ERR_NOMEM, "out of memory for a device buffer of %zu bytes", bytes);
    }
    const struct space_buf *last = s->n_buf > 0 ? &s->buf[s->n_buf - 1] : NULL;
    kern_ref base = SPACE_GAP;
    if (last != NULL) {
        base = (last->base + last->n + 2 * SPACE_GAP - 1) / SPACE_GAP * SPACE_GAP;
    }
    s->buf[s->n_buf++] = (struct space_buf){base, n, bytes, p};
    *r = base;
    return ERR_OK;
}

float *space_at(const struct space *s, kern_ref r, size_t n) {
    if (r == 0) {
        return NULL;
    }
    int lo = 0, hi = s->n_buf - 1;
    while (lo < hi) { /* the last buffer that starts at or before r */
        int mid = (lo + hi + 1) / 2;
        if (s->buf[mid].base <= r) {
            lo = mid;
        } else {
            hi = mid - 1;
        }
    }
    assert(s->n_buf > 0 && r >= s->buf[lo].base);
    size_t off = (size_t)(r - s->buf[lo].base);
    assert(off <= s->buf[lo].n && n <= s->buf[lo].n - off);
    (void)n;
    return s->buf[lo].p + off;
}

void space_protect(const struct space *s, bool accessible) {
    for (int i = 0; i < s->n_buf; i++) {
        os_pages_protect(s->buf[i].p, s->buf[i].bytes, accessible);
    }
}

void space_fini(struct space *s) {
    for (int i = 0; i < s->n_buf; i++) {
        os_pages_free(s->buf[i].p, s->buf[i].bytes);
    }
    mem_free(s->buf);
    *s = (struct space){0};
}
