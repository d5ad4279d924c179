/* tokenizer_int.h: the inside of struct tokenizer, shared by tokenizer.c and detokenizer.c.
 *
 * Owns what is computed once per vocabulary. Invariant: nothing changes after tokenizer_create.
 */
#ifndef IGN_TEXT_TOKENIZER_INT_H
#define IGN_TEXT_TOKENIZER_INT_H

#include "text/bpe.h"
#include "text/sentencepiece.h"
#include "text/special.h"
#include "text/unigram.h"
#include "text/wordpiece.h"

struct tokenizer {
    const struct vocab *v;
    char *raw;               /* the bytes that each piece stands for, one after the other */
    uint32_t *raw_at;        /* [n_vocab + 1] */
    struct normalizer *norm; /* NULL if there are no steps */
    struct special *special; /* looked for in the text as it is */
    struct special *second;  /* and in the normalized text */
    struct special *within;  /* SentencePiece's own: in both */
    struct bpe *bpe;         /* one of these three, or, with WordPiece, none */
    struct spm *spm;
    struct unigram *unigram;
};

#endif
