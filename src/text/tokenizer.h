/* tokenizer.h: text to ids and back.
 *
 * Owns encoding (pre-tokenizer, byte-level BPE, SentencePiece, WordPiece, special tokens),
 * decoding, and the streaming decoder. Thread-safe: a tokenizer is immutable, each call has its own
 * memory. Input is any bytes; broken UTF-8 is replaced first (base/utf8.h). Time is O(n log n) and
 * stack use is constant for every input. Sources: Sennrich et al. 2016 (BPE); Radford et al. 2019
 * (byte level); Kudo and Richardson 2018.
 */
#ifndef IGN_TEXT_TOKENIZER_H
#define IGN_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "text/runs.h"
#include "text/vocab.h"

struct tokenizer;

struct ids {
    int32_t *id;
    size_t n, cap;
};

void ids_fini(struct ids *ids);

/* Borrows `v`, which must outlive it. */
enum err_code tokenizer_create(struct tokenizer **t, const struct vocab *v, struct err *e);
void tokenizer_free(struct tokenizer *t); /* NULL is fine */
/* Bytes that it will take, the vocabulary not counted; see vocab_need. */
uint64_t tokenizer_need(const struct vocab_spec *spec, uint64_t text);

enum bos_mode {
    BOS_AUTO,   /* as the file says, and never twice */
    BOS_ALWAYS, /* never twice either */
    BOS_NEVER
};

/* Appends the ids of text[0..n) to *out. `rs` says which bytes are trusted; NULL means: all are,
 * if `parse_special`, else none. EOS is added behind where the file says so, unless BOS_NEVER.
 * `max` bounds the number of ids (ERR_LIMIT); 0 = no bound. */
enum err_code tokenizer_encode(const struct tokenizer *t, const char *text, size_t n,
                               const struct runs *rs, bool parse_special, enum bos_mode bos,
                               size_t max, struct ids *out, struct err *e);

/* The bytes of one id as decoding shows them (control tokens: none unless `special`), appended
 * to out. No space is stripped. ERR_RANGE if id is outside the vocabulary. */
enum err_code tokenizer_piece(const struct tokenizer *t, int32_t id, bool special, struct buf *out,
                              struct err *e);

/* Decodes ids[0..n) whole; SentencePiece's first space is removed if the model adds one. Bytes
 * that are not UTF-8 come out as U+FFFD. */
enum err_code tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n,
                               bool special, struct buf *out, struct err *e);

/* The same bytes as tokenizer_decode, piece by piece, never half a UTF-8 sequence. Plain data. */
struct detok {
    const struct tokenizer *t;
    bool special;
    bool started; /* the first space has been dealt with */
    unsigned n_held;
    char held[4]; /* the beginning of a sequence that is not complete */
};

void detok_init(struct detok *d, const struct tokenizer *t, bool special);
/* As detok_init, to continue after a prompt: no space is stripped. */
void detok_init_continue(struct detok *d, const struct tokenizer *t, bool special);
enum err_code detok_put(struct detok *d, int32_t id, struct buf *out, struct err *e);
/* Flushes what can no longer be completed, as U+FFFD. */
void detok_end(struct detok *d, struct buf *out);

#endif
