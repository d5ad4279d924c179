/* tok_small.h: the two small vocabularies of tok_golden.h as specifications, for the tests.
 *
 * Owns the filling of struct vocab_spec; the test changes what it wants to see refused.
 */
#ifndef IGN_TESTS_TEXT_TOK_SMALL_H
#define IGN_TESTS_TEXT_TOK_SMALL_H

#include "text/tok_golden.h"
#include "text/tokenizer.h"

enum { SMALL_MAX = 600 };

struct small {
    struct vocab_spec spec;
    struct str piece[SMALL_MAX], merge[SMALL_MAX];
    int32_t kind[SMALL_MAX];
    double score[SMALL_MAX];
};

static inline void small_pieces(struct small *s, const struct golden_piece *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        s->piece[i] = str_of(p[i].p, p[i].n);
        s->kind[i] = p[i].kind;
        s->score[i] = p[i].score;
    }
    s->spec = (struct vocab_spec){.n_vocab = (uint32_t)n,
                                  .piece = s->piece,
                                  .kind = s->kind,
                                  .bos = 1,
                                  .eos = 2,
                                  .unk = -1,
                                  .sep = -1,
                                  .pad = -1,
                                  .eot = -1,
                                  .eom = -1,
                                  .has_add_bos = true};
}

static inline void small_make(struct small *s, enum vocab_model model) {
    if (model == VOCAB_BPE) {
        small_pieces(s, small_bpe_piece, sizeof small_bpe_piece / sizeof *small_bpe_piece);
        s->spec.pre = str_c("smollm");
        s->spec.n_merge = sizeof small_bpe_merge / sizeof *small_bpe_merge;
        for (size_t i = 0; i < s->spec.n_merge; i++) {
            s->merge[i] = str_c(small_bpe_merge[i]);
        }
        s->spec.merge = s->merge;
    } else {
        small_pieces(s, small_spm_piece, sizeof small_spm_piece / sizeof *small_spm_piece);
        s->spec.score = s->score;
        s->spec.space_prefix = PREFIX_ALWAYS;
        s->spec.unk = 0;
    }
    s->spec.model = model;
}

#endif
