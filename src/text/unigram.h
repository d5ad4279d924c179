/* unigram.h: the likeliest cut of a text into pieces (Kudo 2018).
 *
 * Owns the search over all cuts: the one whose scores have the largest sum. A character that no
 * piece has alone costs ten more than the worst piece; a run of such becomes byte pieces, if the
 * vocabulary has them, or one unknown piece. Control, unknown and byte pieces are never part of a
 * cut, so that no text can spell one. Immutable after unigram_create.
 * Sums are kept in single precision, and the worst piece is a normal one, as SentencePiece has it
 * (vocab->single), or as the tokenizers library has it, in double precision and of all pieces.
 * Source: SentencePiece's unigram_model.cc (EncodeOptimized).
 */
#ifndef IGN_TEXT_UNIGRAM_H
#define IGN_TEXT_UNIGRAM_H

#include "text/encoder.h"

#define UNIGRAM_PIECE_MAX 1024 /* bytes of a piece: a text costs at most so much for each byte */

struct unigram;

/* Borrows `v`. ERR_LIMIT: a longer piece; ERR_NOMEM. */
enum err_code unigram_create(struct unigram **u, const struct vocab *v, struct err *e);
void unigram_free(struct unigram *u); /* NULL is fine */
/* Bytes that its tables will take at most; see vocab_need. */
uint64_t unigram_need(const struct vocab_spec *spec, uint64_t text);
/* Appends the ids of p[0..n), valid UTF-8. */
void unigram_encode(const struct unigram *u, struct encoder *x, const char *p, size_t n);

#endif
