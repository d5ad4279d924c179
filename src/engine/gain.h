/* gain.h: whether a guess is worth computing, from what was measured.
 *
 * Owns two measurements. `odds`, of a session: how often the first, second, ... token of a guess of
 * each kind comes true; measured on all guesses, computed or not, so that it costs nothing to find
 * out that guessing has begun to pay. `costs`, of a model: what a step of n rows takes, by its own
 * clock. Refuses tokens and clocks: it is told.
 * Invariant: a guess is computed only where the tokens a second that are expected with it are more
 * than those without; where nothing was measured yet, a look is taken at the price of one step.
 * Source: Leviathan et al. 2023, whose expected gain this is, with measured numbers in its place.
 */
#ifndef IGN_ENGINE_GAIN_H
#define IGN_ENGINE_GAIN_H

#include <stdint.h>

#include "engine/lookup.h"

#define GAIN_ROWS 64 /* rows of the largest step that is measured */

/* Lifetime: the session's. Zero is the right start. */
struct odds {
    float true_up_to[LOOKUP_KINDS][LOOKUP_MAX]; /* [i]: guesses whose tokens 0..i came true */
    int looks[LOOKUP_KINDS][LOOKUP_MAX];        /* how many that was measured on */
    /* The guess under observation; n_watch == 0: none. */
    int32_t watch[LOOKUP_MAX];
    int n_watch, n_seen;
    enum lookup_kind kind;
};

/* Lifetime: the model's. Zero is the right start. */
struct costs {
    double seconds[GAIN_ROWS + 1]; /* of a step with so many rows, all with logits */
    int looks[GAIN_ROWS + 1];      /* 0: not known */
    int64_t seen[GAIN_ROWS + 1];   /* when it was measured last, in steps */
    int64_t step;
};

/* A guess tok[0..n) was made; it is observed if no other is. */
void odds_watch(struct odds *o, enum lookup_kind kind, const int32_t *tok, int n);
/* The next token is `id`. */
void odds_see(struct odds *o, int32_t id);

/* A step of n rows, all with logits, took this long. */
void costs_see(struct costs *c, int n, double seconds);

/* How many tokens of a guess of n to add to a step of `rows` rows that yields `expected` tokens
 * without it; 0..n. Adds to *expected what they promise. */
int gain_choose(const struct costs *c, const struct odds *o, enum lookup_kind kind, int n, int rows,
                double *expected);

#endif
