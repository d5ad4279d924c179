/* sentencepiece.h: SentencePiece's score-based merging of characters (Kudo and Richardson 2018).
 *
 * Owns the normalization that the file asks for (space prefix, extra white space, U+2581 for
 * space), the merging by score, and the fall back to byte pieces. Refuses special pieces: the
 * tokenizer has cut the text at them. Immutable after spm_create.
 */
#ifndef IGN_TEXT_SENTENCEPIECE_H
#define IGN_TEXT_SENTENCEPIECE_H

#include "text/encoder.h"

#define SPM_SPACE "\xE2\x96\x81" /* U+2581, three bytes */

struct spm;

/* Borrows `v`. */
enum err_code spm_create(struct spm **s, const struct vocab *v, struct err *e);
void spm_free(struct spm *s); /* NULL is fine */
/* Appends the ids of p[0..n), valid UTF-8 without special pieces, n >= 1: a text of its own, that
 * begins after a special piece or at the beginning. */
void spm_encode(const struct spm *s, struct encoder *x, const char *p, size_t n, bool first);

#endif
