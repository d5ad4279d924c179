/* encoder.h: the state of one call of tokenizer_encode.
 *
 * Owns what a call needs besides the immutable tokenizer: the ids so far, scratch memory for
 * merging, and a small cache of words. Nothing of it outlives the call, so calls on any number of
 * threads share only the tokenizer. Errors are latched in `code` and end the call.
 */
#ifndef IGN_TEXT_ENCODER_H
#define IGN_TEXT_ENCODER_H

#include "text/merger.h"
#include "text/tokenizer.h"
#include "text/vocab_table.h"

enum { WORD_BYTES = 22, WORD_IDS = 6 };

struct word {  /* 48 bytes */
    uint8_t n; /* bytes of the word; 0: the place is free */
    uint8_t n_id;
    char text[WORD_BYTES];
    int32_t id[WORD_IDS];
};

struct encoder {
    const struct vocab *v;
    struct ids *out;
    size_t max; /* ids allowed in *out; SIZE_MAX: no bound */
    struct merger merger;
    struct word *word; /* [n_word], a power of two; NULL: no cache */
    size_t n_word;
    enum err_code code; /* ERR_OK, ERR_NOMEM or ERR_LIMIT */
};

/* `n` is the size of the text to come: it decides the size of the cache. */
void encoder_init(struct encoder *x, const struct vocab *v, size_t n, struct ids *out, size_t max);
void encoder_fini(struct encoder *x);
void encoder_put(struct encoder *x, int32_t id);

/* If the word p[0..n), n >= 1, is in the cache: *found, and its ids are put. If not: the place to
 * remember it in, for encoder_remember; NULL if it is too long. */
struct word *encoder_recall(struct encoder *x, const char *p, size_t n, bool *found);
/* The ids out->id[first..) are those of the word p[0..n). `w` may be NULL. */
void encoder_remember(struct encoder *x, struct word *w, const char *p, size_t n, size_t first);

#endif
