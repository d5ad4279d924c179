/* charsmap.h: SentencePiece's precompiled map of characters.
 *
 * Owns the reading of the blob that a model carries: the bytes of a double array (little-endian
 * words), the array, then strings that end in a zero byte. No copy is made, and every index is
 * checked when it is used: any bytes do no harm.
 * Sources: SentencePiece's normalizer.cc (layout); Yata's darts-clone (the array's words).
 */
#ifndef IGN_TEXT_CHARSMAP_H
#define IGN_TEXT_CHARSMAP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

struct charsmap {
    const char *array;
    size_t n_unit;
    struct str strings;
};

/* Borrows the blob; false where its lengths do not fit or its strings are no UTF-8. */
bool charsmap_open(struct charsmap *m, struct str blob);
/* The string for a key that p[0..n) begins with: the shortest key, or else the longest. Returns
 * the key's length; 0: none. */
size_t charsmap_find(const struct charsmap *m, const char *p, size_t n, bool shortest,
                     struct str *to);

#endif
