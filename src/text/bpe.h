/* bpe.h: byte-pair encoding, of bytes or of characters.
 *
 * Owns the alphabet that spells bytes as printable characters (Radford et al. 2019, as GPT-2's
 * encoder.py has it), the table of merges, and the encoding of words. Refuses special pieces:
 * the tokenizer has cut the text at them. Immutable after bpe_create.
 */
#ifndef IGN_TEXT_BPE_H
#define IGN_TEXT_BPE_H

#include "text/encoder.h"

struct bpe;

/* Borrows `v`, and raw: the bytes of each piece, [n_vocab + 1] offsets into `raw`. */
enum err_code bpe_create(struct bpe **b, const struct vocab *v, const char *raw,
                         const uint32_t *raw_at, struct err *e);
void bpe_free(struct bpe *b); /* NULL is fine */
/* Bytes that its tables will take; see vocab_need. */
uint64_t bpe_need(const struct vocab_spec *spec);
/* Appends the ids of p[0..n), valid UTF-8 without special pieces, normalized, in the words that the
 * vocabulary's pre-tokenizer makes of it. */
void bpe_encode(const struct bpe *b, struct encoder *x, const char *p, size_t n);
/* The same of one word, n >= 1. */
void bpe_encode_word(const struct bpe *b, struct encoder *x, const char *p, size_t n);

/* The bytes that a piece spells, appended to out [at least piece.n bytes]; returns how many. A
 * piece with a character outside the alphabet stands for itself. */
size_t bpe_unspell(struct str piece, char *out);
/* The character that spells a byte. */
uint32_t bpe_letter(uint8_t byte);

#endif
