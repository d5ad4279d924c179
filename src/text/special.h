/* special.h: finds special pieces in a text, all in one pass.
 *
 * Owns the automaton over the spellings of control, unknown and user-defined pieces, and the
 * choice among matches: leftmost first, of these the longest, as the reference library chooses.
 * Control and unknown pieces match only where every byte is trusted.
 * It runs from the end of the text to its beginning (Aho and Corasick 1975, on reversed pieces),
 * since then the longest match that begins at a byte is known when the byte is reached: linear
 * time for any vocabulary and text, with nothing to read twice. Immutable after special_create.
 */
#ifndef IGN_TEXT_SPECIAL_H
#define IGN_TEXT_SPECIAL_H

#include "text/normalizer.h"
#include "text/runs.h"
#include "text/vocab_table.h"

struct special;

struct special_match {
    size_t at, n; /* its bytes in the text */
    int32_t id;
};

/* Of the pieces of one pass: those with neither of the flags PIECE_NORMALIZED and PIECE_WITHIN (0),
 * or with one of them. The spellings of PIECE_NORMALIZED are normalized by z, as the text will be.
 * Borrows `v`. ERR_NOMEM. */
enum err_code special_create(struct special **s, const struct vocab *v, const struct normalizer *z,
                             unsigned pass, struct err *e);
bool special_any(const struct special *s); /* whether there is any */
void special_free(struct special *s);      /* NULL is fine */

/* The matches in text[0..n) in order, without overlap: *m (mem_free), *n_m of them. rs == NULL:
 * all bytes are as `trusted` says. False when out of memory. */
bool special_find(const struct special *s, const char *text, size_t n, const struct runs *rs,
                  bool trusted, struct special_match **m, size_t *n_m);

#endif
