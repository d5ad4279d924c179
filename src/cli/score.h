/* score.h: how surprised a model is by a text, and how far it is from another one.
 *
 * Owns the measures: -log p of each token that came, and against another model's logits of the same
 * positions the Kullback-Leibler divergence from them and whether both have the same best token.
 * Refuses to compute logits. Invariant: sums are in double, in the order of the positions.
 */
#ifndef IGN_CLI_SCORE_H
#define IGN_CLI_SCORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Borrowed arrays, but for those of score_fini. */
struct score {
    double sum, sum2;  /* of -log p, and of its square */
    size_t n;          /* positions so far */
    float *raw;        /* [n, n_vocab] of n so far is kept here; NULL: nothing is kept */
    const void *other; /* f32 [all positions, n_vocab] at any address; NULL: no comparison */
    double *kl;        /* [n] divergence at each position so far, with `other` */
    size_t agree;      /* positions where both have the same largest logit */
};

/* Takes the next position; `score` is a struct score. For struct chunks. */
void score_row(void *score, const float *logit, int n_vocab, int32_t next);

/* exp of the mean, and its standard error by the delta method. */
double score_perplexity(const struct score *s, double *error);

struct score_apart {
    double mean, error, p99; /* of the divergence, error: the standard error of its mean */
    double agreement;        /* a share */
};
/* Sorts s->kl. */
struct score_apart score_apart(struct score *s);

#endif
