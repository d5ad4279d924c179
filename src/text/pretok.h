/* pretok.h: how a byte-level vocabulary cuts text into words before merging.
 *
 * Owns one family of scanners for each pre-tokenizer name of GGUF files. A family is a sequence
 * of cuts, as in the models' own tokenizer.json: each one sees a piece of the one before as a
 * whole text. What a pattern does not match is a piece too, so that no byte is lost.
 * Refuses regular expressions at run time: each pattern is written out as a function, whose
 * comment quotes it. Every scan is linear in the text, with no memory of its own.
 */
#ifndef IGN_TEXT_PRETOK_H
#define IGN_TEXT_PRETOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define PRETOK_STAGE_MAX 6

/* The patterns that stand alone in a tokenizer.json's step, too. */
enum pretok_pattern {
    PATTERN_GPT2,
    PATTERN_LLAMA3,
    PATTERN_QWEN2,
    PATTERN_GPT4O,
    PATTERN_TEKKEN,
    PATTERN_NUMBERS3,
    PATTERN_IDEOGRAPHS,
    PATTERN_DEEPSEEK3
};

/* The length of the first piece of p[0..n), n >= 1, valid UTF-8: 1..n. */
typedef size_t (*pretok_scan)(const char *p, size_t n);

struct pretok {
    pretok_scan scan[PRETOK_STAGE_MAX]; /* NULL after the last */
    bool nfc;                           /* the model's normalizer is form C */
    bool ignore_merges; /* a word that is a piece of the vocabulary is taken whole */
    bool adds_bos;      /* where the file does not say */
};

/* The family for a name of tokenizer.ggml.pre; NULL if unknown. */
const struct pretok *pretok_find(struct str name);

pretok_scan pretok_scan_of(enum pretok_pattern pattern);
/* [\p{P}$+<=>^`|~], where \p{P} is that of Unicode 8, which the tokenizers library has kept. */
bool pretok_is_punct(uint32_t cp);

/* A walk over a text's words. */
struct pretok_walk {
    const struct pretok *f;
    const char *p;
    size_t n, at;
    size_t end[PRETOK_STAGE_MAX]; /* where each stage's present piece ends */
};

void pretok_begin(struct pretok_walk *w, const struct pretok *f, const char *p, size_t n);
/* The next word; false at the end. */
bool pretok_next(struct pretok_walk *w, struct str *word);

#endif
