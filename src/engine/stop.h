/* stop.h: strings that end a generation, found across the borders of tokens.
 *
 * Text goes in piece by piece and comes out once no stop string can begin in it any more; a stop
 * string itself never comes out. Owns copies of the strings. Refuses to decode: it is given whole
 * UTF-8 sequences and, because the strings are UTF-8 too, gives whole ones.
 * Invariant: what is held back is at most the longest string less one byte, and nothing is
 * allocated after stop_init.
 * Source: Knuth, Morris and Pratt 1977, one automaton per string.
 */
#ifndef IGN_ENGINE_STOP_H
#define IGN_ENGINE_STOP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

#define STOP_MAX       64   /* strings */
#define STOP_BYTES_MAX 4096 /* bytes of one */

struct stop_string {
    const char *p;
    const int *border; /* [n] length of the longest proper border of p[0..i] */
    int n, matched;    /* p[0..matched) are the last bytes that came in */
};

struct stop {
    struct stop_string *str; /* [n] */
    int n;
    char *bytes; /* of all strings */
    int *borders;
};

/* ERR_RANGE: too many, too long, empty, or not UTF-8; ERR_NOMEM. */
enum err_code stop_init(struct stop *s, const char *const *z, size_t n, struct err *e);
void stop_fini(struct stop *s);
/* Bytes that may be held back at most. */
size_t stop_held_max(const struct stop *s);
/* Appends to `out` what has become certain. True: a stop string is complete, and all text before
 * it has come out; of strings that end at the same byte the longest counts. */
bool stop_put(struct stop *s, const char *p, size_t n, struct buf *out);
/* Appends what is held back: no more will come. */
void stop_flush(struct stop *s, struct buf *out);

#endif
