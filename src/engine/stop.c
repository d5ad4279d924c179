/* stop.c: see stop.h. The text held back is not stored: it is the matched beginning of the string
 * that has matched the most.
 */
#include "engine/stop.h"

#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

static enum err_code check_string(const char *z, size_t i, struct err *e) {
    size_t n = z ? strnlen(z, STOP_BYTES_MAX + 1) : 0;
    if (n == 0) {
        return err_set(e, ERR_RANGE, "stop string %zu is empty", i + 1);
    }
    if (n > STOP_BYTES_MAX) {
        return err_set(e, ERR_RANGE, "stop string %zu is longer than %d bytes", i + 1,
                       STOP_BYTES_MAX);
    }
    if (!utf8_valid(z, n)) {
        return err_set(e, ERR_RANGE, "stop string %zu is not UTF-8", i + 1);
    }
    return ERR_OK;
}

static void find_borders(const char *p, int *border, int n) {
    border[0] = 0;
    for (int i = 1, k = 0; i < n; i++) {
        while (k > 0 && p[i] != p[k]) {
            k = border[k - 1];
        }
        k += p[i] == p[k];
        border[i] = k;
    }
}

enum err_code stop_init(struct stop *s, const char *const *z, size_t n, struct err *e) {
    *s = (struct stop){0};
    if (n > STOP_MAX) {
        return err_set(e, ERR_RANGE, "%zu stop strings, more than %d", n, STOP_MAX);
    }
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        enum err_code c = check_string(z[i], i, e);
        if (c) {
            return c;
        }
        total += strlen(z[i]);
    }
    if (n == 0) {
        return ERR_OK;
    }
    s->str = mem_alloc(n, sizeof *s->str);
    s->bytes = mem_alloc(total, 1);
    s->borders = mem_alloc(total, sizeof *s->borders);
    if (!s->str || !s->bytes || !s->borders) {
        stop_fini(s);
        return err_set(e, ERR_NOMEM, "no memory for %zu stop strings", n);
    }
    for (size_t i = 0, at = 0; i < n; i++) {
        size_t len = strlen(z[i]);
        memcpy(s->bytes + at, z[i], len);
        find_borders(s->bytes + at, s->borders + at, (int)len);
        s->str[i] = (struct stop_string){s->bytes + at, s->borders + at, (int)len, 0};
        at += len;
    }
    s->n = (int)n;
    return ERR_OK;
}

void stop_fini(struct stop *s) {
    mem_free(s->str);
    mem_free(s->bytes);
    mem_free(s->borders);
    *s = (struct stop){0};
}

size_t stop_held_max(const struct stop *s) {
    int max = 0;
    for (int i = 0; i < s->n; i++) {
        max = s->str[i].n > max ? s->str[i].n : max;
    }
    return (size_t)max;
}

/* The string that has matched the most; NULL if none has. */
static const struct stop_string *stop_longest(const struct stop *s) {
    const struct stop_string *best = NULL;
    for (int i = 0; i < s->n; i++) {
        if (s->str[i].matched > (best ? best->matched : 0)) {
            best = &s->str[i];
        }
    }
    return best;
}

/* Feeds one byte to every string; the length of the longest that is now complete, or 0. */
static int stop_feed(struct stop *s, char c) {
    int complete = 0;
    for (int i = 0; i < s->n; i++) {
        struct stop_string *t = &s->str[i];
        int k = t->matched;
        while (k > 0 && t->p[k] != c) {
            k = t->border[k - 1];
        }
        k += t->p[k] == c;
        t->matched = k;
        if (k == t->n && k > complete) {
            complete = k;
        }
    }
    return complete;
}

static void stop_forget(struct stop *s) {
    for (int i = 0; i < s->n; i++) {
        s->str[i].matched = 0;
    }
}

bool stop_put(struct stop *s, const char *p, size_t n, struct buf *out) {
    if (s->n == 0) {
        buf_put(out, p, n);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const struct stop_string *held = stop_longest(s);
        int n_held = held ? held->matched : 0;
        int complete = stop_feed(s, p[i]);
        const struct stop_string *now = stop_longest(s);
        /* Of the n_held bytes and this one, all but the last `keep` can go. */
        int keep = complete ? complete : now ? now->matched : 0;
        int go = n_held + 1 - keep;
        if (go > 0) {
            buf_put(out, held ? held->p : "", (size_t)(go < n_held ? go : n_held));
        }
        if (go > n_held) {
            buf_putc(out, p[i]);
        }
        if (complete) {
            stop_forget(s);
            return true;
        }
    }
    return false;
}

void stop_flush(struct stop *s, struct buf *out) {
    const struct stop_string *held = stop_longest(s);
    if (held) {
        buf_put(out, held->p, (size_t)held->matched);
    }
    stop_forget(s);
}
