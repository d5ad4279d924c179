/* vocab_table.h: the inside of struct vocab, for the files of text/ only.
 *
 * Owns the layout that vocab.c fills and the tokenizer reads. Invariant: what vocab.h promises;
 * and a merge never yields a control or unknown piece, so that no text can spell one.
 */
#ifndef IGN_TEXT_VOCAB_TABLE_H
#define IGN_TEXT_VOCAB_TABLE_H

#include "text/normalizer.h"
#include "text/piece_index.h"
#include "text/pretok.h"
#include "text/splitter.h"
#include "text/vocab.h"

#define VOCAB_END_MAX 64

struct vocab_merge {
    uint32_t left, right, id;
};

struct vocab {
    enum vocab_model model;
    const struct pretok *pre; /* BPE; NULL otherwise */
    uint64_t key;             /* of the hash tables */
    uint32_t n_vocab;
    char *text;                /* all pieces as spelled, one after the other */
    uint32_t *at;              /* [n_vocab + 1] where each begins in `text` */
    uint8_t *kind;             /* [n_vocab] enum piece_kind */
    uint8_t *flags;            /* [n_vocab] enum piece_flag; NULL: none has any */
    uint32_t *rank;            /* [n_vocab] SentencePiece: order of merging, smaller first */
    struct piece_index index;  /* of all pieces */
    struct vocab_merge *merge; /* [n_merge] best first */
    uint32_t n_merge;
    size_t piece_max; /* bytes of the longest piece */
    int32_t bos, eos, unk;
    bool add_bos, add_eos, remove_extra_whitespaces, whole_words;
    enum space_prefix space_prefix; /* PREFIX_NONE for BPE */
    bool lowercase, strip_accents;  /* WordPiece */
    double *score;                  /* [n_vocab] Unigram */
    struct norm_step *norm;         /* [n_norm] */
    struct split_step *split;       /* [n_split]; NULL: `pre` or SentencePiece's way */
    uint32_t n_norm, n_split;
    char *strings; /* of both */
    bool steps, characters, fuse_unknown, single, first_space;
    uint32_t n_end;
    int32_t end[VOCAB_END_MAX];
};

/* The byte that a piece "<0xNN>" stands for, or -1. */
int vocab_piece_byte(struct str piece);

static inline struct str vocab_at(const struct vocab *v, uint32_t id) {
    return str_of(v->text + v->at[id], v->at[id + 1] - v->at[id]);
}

/* Control and unknown pieces: matched only in trusted text, hidden when decoding. */
static inline bool vocab_hidden(const struct vocab *v, uint32_t id) {
    return v->kind[id] == PIECE_CONTROL || v->kind[id] == PIECE_UNKNOWN;
}

#endif
