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

/* Appends p[0..n), valid UTF-8 and what is left of a text that was not empty, as SentencePiece sees
 * it: spaces spelled U+2581, one in front and extra ones dropped as the vocabulary says; `first`:
 * nothing is before it. Out of memory: out->failed. */
void spm_normalize(const struct vocab *v, const char *p, size_t n, bool first, struct buf *out);
/* Appends the ids of p[0..n), which has come from spm_normalize, without special pieces. */
void spm_encode(const struct spm *s, struct encoder *x, const char *p, size_t n);

#endif
