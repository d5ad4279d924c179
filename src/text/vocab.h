/* vocab.h: the pieces of a vocabulary and what they are for, as plain data.
 *
 * Owns the validated table; filled by model/vocab_load.c from a file's metadata, so that text/
 * knows no file format. Invariant after vocab_create: 0 < n_vocab < 2^24, every special id is -1 or
 * < n_vocab, every piece has at most VOCAB_PIECE_MAX bytes, byte pieces are well-formed.
 */
#ifndef IGN_TEXT_VOCAB_H
#define IGN_TEXT_VOCAB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define VOCAB_PIECE_MAX 65535

/* Byte-pair encoding by a list of merges; SentencePiece's, by scores; WordPiece; Unigram. */
enum vocab_model { VOCAB_BPE, VOCAB_SPM, VOCAB_WORDPIECE, VOCAB_UNIGRAM };

/* The numbers of the GGUF specification's tokenizer.ggml.token_type. */
enum piece_kind {
    PIECE_NORMAL = 1,
    PIECE_UNKNOWN = 2,
    PIECE_CONTROL = 3, /* matched only in trusted text, not shown when decoding */
    PIECE_USER = 4,    /* "user defined": matched whole in any text, shown */
    PIECE_UNUSED = 5,
    PIECE_BYTE = 6 /* "<0xNN>" of SentencePiece */
};

/* How a special piece is found, beside its spelling: bits. */
enum piece_flag {
    PIECE_LSTRIP = 1,     /* white space before it is part of it */
    PIECE_RSTRIP = 2,     /* and white space behind it */
    PIECE_WORD = 4,       /* only where no letter or digit is before or behind it */
    PIECE_NORMALIZED = 8, /* looked for in the normalized text, after the others */
    PIECE_WITHIN = 16,    /* of SentencePiece: not normalized, but part of the text around it */
    PIECE_ADDED = 32      /* never cut or merged out of a text, since the model's list lacks it */
};

/* U+2581 in front of a SentencePiece text, or of what stands between two special pieces. */
enum space_prefix {
    PREFIX_NONE,
    PREFIX_ALWAYS,
    PREFIX_UNLESS_SPACE, /* not where there is one already */
    PREFIX_FIRST         /* likewise, and only at the beginning of a text */
};

struct norm_step;  /* text/normalizer.h */
struct split_step; /* text/splitter.h */

/* What the file says. Strings are views that must outlive vocab_create only. */
struct vocab_spec {
    enum vocab_model model;
    uint32_t n_vocab;
    struct str pre;                 /* name of the pre-tokenizer, as in tokenizer.ggml.pre */
    const struct str *piece;        /* [n_vocab] */
    const double *score;            /* [n_vocab] or NULL (then rank by id) */
    const int32_t *kind;            /* [n_vocab] enum piece_kind, or NULL (all normal) */
    const uint8_t *flags;           /* [n_vocab] bits of enum piece_flag, or NULL (none) */
    const struct str *merge;        /* [n_merge] "left right", best first; BPE */
    const int32_t *end;             /* [n_end] more that end a generation */
    const struct norm_step *norm;   /* [n_norm] in order; beside what `pre` says */
    const struct split_step *split; /* [n_split] in order, in place of `pre`; see `steps` */
    uint32_t n_merge, n_end, n_norm, n_split;
    int32_t bos, eos, unk, sep, pad; /* -1: none */
    int32_t eot, eom;                /* end of turn, end of message; -1: look for known spellings */
    enum space_prefix space_prefix;  /* SentencePiece */
    int whole_words; /* BPE takes a word that is a piece whole: 1; not: -1; as `pre` has it: 0 */
    int first_space; /* decoding drops the first one: 1; not: -1; if one is put in front: 0 */
    bool add_bos, add_eos;
    bool has_add_bos;              /* the file said so; otherwise the model's custom decides */
    bool remove_extra_whitespaces; /* SentencePiece */
    bool lowercase, strip_accents; /* WordPiece */
    bool steps;        /* neither `pre` nor space_prefix counts, but `split`; BPE and Unigram */
    bool characters;   /* BPE's symbols are characters, and not bytes */
    bool fuse_unknown; /* and a run of unknown ones is one unknown piece */
    bool single;       /* Unigram adds scores in single precision */
};

struct vocab;

/* Validates and copies. ERR_FORMAT names the id and field; ERR_UNSUPPORTED names an unknown
 * pre-tokenizer; ERR_NOMEM. */
enum err_code vocab_create(struct vocab **v, const struct vocab_spec *spec, struct err *e);
void vocab_free(struct vocab *v); /* NULL is fine */
/* Bytes that it will take, known from `model`, `pre`, the two counts of pieces and merges,
 * whole_words, and the bytes of all pieces together: the rest of `spec` is not looked at; flags
 * take a byte for each piece more, steps what their strings have. */
uint64_t vocab_need(const struct vocab_spec *spec, uint64_t text);

uint32_t vocab_size(const struct vocab *v);
struct str vocab_piece(const struct vocab *v, int32_t id); /* as the file spells it */
enum piece_kind vocab_kind(const struct vocab *v, int32_t id);
int32_t vocab_find(const struct vocab *v, struct str piece); /* -1 if absent */
int32_t vocab_bos(const struct vocab *v);
int32_t vocab_eos(const struct vocab *v);
bool vocab_adds_bos(const struct vocab *v);
/* Whether id ends a generation: EOS, EOT, EOM, and control tokens with known end spellings. */
bool vocab_is_end(const struct vocab *v, int32_t id);

#endif
