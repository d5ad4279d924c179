/* wordpiece.h: BERT's tokenizer: a normalizer, words, and the longest pieces that make up each.
 *
 * Owns the three steps. In the vocabulary a piece that begins a word has U+2581 in front, as GGUF
 * files spell it; one that goes on with a word has nothing. Refuses special pieces: the tokenizer
 * has cut the text at them. Needs no memory of its own between calls.
 * Sources: Wu et al. 2016 (WordPiece); Devlin et al. 2019 and its published code (normalizer).
 */
#ifndef IGN_TEXT_WORDPIECE_H
#define IGN_TEXT_WORDPIECE_H

#include "text/encoder.h"

/* Appends the ids of p[0..n), valid UTF-8 without special pieces. */
void wordpiece_encode(const struct vocab *v, struct encoder *x, const char *p, size_t n);

#endif
