/* buf.c: the growing byte buffer, and views of strings.
 *
 * Owns the growth (doubling, up to `max`). Refuses to report each failure: see buf.h.
 * Invariant: p[len] == 0 whenever p is not NULL, and len <= max.
 */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

void buf_init(struct buf *b, size_t max) {
    *b = (struct buf){.max = max};
}

/* Room for n more bytes and the zero after them; marks the buffer failed if there is none. */
static bool buf_room(struct buf *b, size_t n) {
    if (b->failed || n > b->max - b->len) {
        b->failed = true;
        return false;
    }
    size_t need = b->len + n;
    if (need == SIZE_MAX) {
        b->failed = true;
        return false;
    }
    if (need + 1 > b->cap) {
        size_t cap = b->cap < 64 ? 64 : b->cap > SIZE_MAX / 2 ? SIZE_MAX : b->cap * 2;
        cap = cap > need ? cap : need + 1;
        if (b->max < SIZE_MAX && cap > b->max + 1) {
            cap = b->max + 1;
        }
        char *p = mem_realloc(b->p, cap, 1);
        if (!p) {
            b->failed = true;
            return false;
        }
        b->p = p;
        b->cap = cap;
    }
    return true;
}

void buf_put(struct buf *b, const void *p, size_t n) {
    if (buf_room(b, n)) {
        if (n) {
            memcpy(b->p + b->len, p, n);
        }
        b->len += n;
        b->p[b->len] = '\0';
    }
}

void buf_puts(struct buf *b, const char *s) {
    buf_put(b, s, strlen(s));
}

void buf_putc(struct buf *b, char c) {
    buf_put(b, &c, 1);
}

void buf_printf(struct buf *b, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) {
        b->failed = true;
    } else if (buf_room(b, (size_t)n)) {
        va_start(ap, fmt);
        vsnprintf(b->p + b->len, (size_t)n + 1, fmt, ap);
        va_end(ap);
        b->len += (size_t)n;
    }
}

void buf_reset(struct buf *b) {
    b->len = 0;
    b->failed = false;
    if (b->p) {
        b->p[0] = '\0';
    }
}

void buf_fini(struct buf *b) {
    mem_free(b->p);
    *b = (struct buf){.max = b->max};
}

enum err_code buf_check(const struct buf *b, struct err *e) {
    if (!b->failed) {
        return ERR_OK;
    }
    /* A full buffer and a refused allocation look alike except in how much room was left. */
    if (b->cap > b->max || b->len >= b->max) {
        return err_set(e, ERR_LIMIT, "text is longer than %zu bytes", b->max);
    }
    return err_set(e, ERR_NOMEM, "out of memory after %zu bytes of text", b->len);
}

struct str str_c(const char *z) {
    return str_of(z, z ? strlen(z) : 0);
}

bool str_eq(struct str a, struct str b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool str_is(struct str a, const char *z) {
    return str_eq(a, str_c(z));
}

bool str_starts(struct str a, const char *z) {
    size_t n = strlen(z);
    return a.n >= n && (n == 0 || memcmp(a.p, z, n) == 0);
}

bool str_ends(struct str a, const char *z) {
    size_t n = strlen(z);
    return a.n > n && memcmp(a.p + a.n - n, z, n) == 0;
}
