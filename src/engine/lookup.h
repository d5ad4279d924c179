/* lookup.h: what may come next, looked up in what was there before.
 *
 * Owns two tables over one session's tokens: an index of where each three (and each two) tokens
 * were followed by what, and a small table of the newest continuations of three tokens, which
 * outlives a truncation: an answer that is asked for again is in it. Refuses to say whether a guess
 * is worth computing: gain.h does. Refuses other sessions' tokens.
 * Invariant: a table is only a hint. Every position is compared with the tokens that are there
 * before it is used, so that no content of the tables can make a guess more than wrong.
 * Sources: Ziv and Lempel 1977, with zlib's hash chains; Saxena 2023 (prompt lookup decoding).
 */
#ifndef IGN_ENGINE_LOOKUP_H
#define IGN_ENGINE_LOOKUP_H

#include <stdint.h>

#include "base/err.h"

#define LOOKUP_MAX 31 /* tokens in a guess */

/* How a guess was found, by how many tokens before it agree: each kind has its own odds. */
enum lookup_kind {
    LOOKUP_RECENT, /* the small table */
    LOOKUP_2,
    LOOKUP_3,
    LOOKUP_4, /* 4 to 7 */
    LOOKUP_8,
    LOOKUP_16, /* or more */
    LOOKUP_KINDS
};

struct recent {
    int32_t before[3], next;
};

/* Lifetime: the session's; all memory is taken by lookup_init. */
struct lookup {
    int n_slot;            /* of each table, a power of two */
    int32_t *three, *two;  /* [n_slot] newest position after these tokens, 0: none */
    int32_t *older;        /* [context] the position before this one in its chain of `three` */
    struct recent *recent; /* [n_slot]; before[0] < 0: empty */
    int n;                 /* positions below this are in the index */
};

/* For at most `context` tokens. ERR_NOMEM. */
enum err_code lookup_init(struct lookup *l, int context, struct err *e);
void lookup_fini(struct lookup *l);
/* The tokens are no longer those that were indexed: begin again. The small table stays. */
void lookup_forget(struct lookup *l);
/* Puts the continuation tok[n - 1] of the tokens before it into the small table. */
void lookup_learn(struct lookup *l, const int32_t *tok, int n);
/* Guesses what follows tok[0..n), at most `max` <= LOOKUP_MAX tokens, and writes the guess to
 * tok[n..]; returns its length, 0: no idea. Indexes what is new in tok first. */
int lookup_guess(struct lookup *l, int32_t *tok, int n, int max, enum lookup_kind *kind);

#endif
