/* sampler.h: from logits to a token.
 *
 * Owns the chain, in this order: logit bias, mask (grammars), repeat / presence / frequency
 * penalties, then (temperature 0: the largest, ties to the lower id) top-k, typical, top-p, min-p,
 * temperature, draw. Plain data but for the arrays taken at init: sampler_copy forks it,
 * sampler_save writes it. No allocation after init.
 * Invariant: the same options, seed, history and logits give the same token.
 * Sources: Holtzman et al. 2020 (top-p); Meister et al. 2023 (typical); Keskar et al. 2019
 * (repetition penalty); Nguyen et al. 2024 (min-p).
 */
#ifndef IGN_SAMPLE_SAMPLER_H
#define IGN_SAMPLE_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/rng.h"

struct logit_bias {
    int32_t id;
    float bias; /* added; -INFINITY forbids */
};

struct sampler_opts {
    float temperature;                         /* 0: greedy */
    int top_k;                                 /* 0: off */
    float top_p;                               /* 1: off */
    float min_p;                               /* 0: off */
    float typical;                             /* 1: off */
    float repeat_penalty;                      /* 1: off */
    float presence_penalty, frequency_penalty; /* 0: off */
    int penalty_last; /* how many of the last tokens the penalties look at; 0: 64, <= 32768 */
    uint64_t seed;
    const struct logit_bias *bias; /* [n_bias]; copied */
    size_t n_bias;
};

/* Allowed tokens, a bit each, [n_vocab / 64 rounded up]; NULL: all. The grammar's place. */
typedef const uint64_t *sampler_mask;

struct sampler {
    struct sampler_opts o;
    struct rng rng;
    int n_vocab;
    int32_t *recent; /* [o.penalty_last] ring; the oldest is overwritten at `at` */
    int n_recent, at;
    uint16_t *seen;          /* [n_vocab] how often each id is in `recent` */
    struct logit_bias *bias; /* [o.n_bias]; o.bias points to it */
    struct candidate *cand;  /* [n_vocab] scratch */
};

struct token_prob {
    int32_t id;
    float logprob; /* natural logarithm, of the softmax over the raw logits */
};

/* Biases of the same id add up. ERR_RANGE names the option that is out of its bounds; ERR_NOMEM. */
enum err_code sampler_init(struct sampler *s, const struct sampler_opts *o, int n_vocab,
                           struct err *e);
void sampler_fini(struct sampler *s);
/* dst must be initialized with the same n_vocab: takes over options, rng and history. On an error
 * it is as before. */
enum err_code sampler_copy(struct sampler *dst, const struct sampler *src, struct err *e);

/* Whether sampler_pick without a mask picks the largest logit, ties to the lower id, whatever came
 * before: who knows that one needs no logits. */
bool sampler_is_greedy(const struct sampler *s);
/* Picks a token from logits [n_vocab] (unchanged). ERR_DEVICE if any is NaN or +infinity or none is
 * finite, ERR_RANGE if the mask and biases leave nothing. -infinity forbids a token. */
enum err_code sampler_pick(struct sampler *s, const float *logits, sampler_mask mask, int32_t *id,
                           struct err *e);
/* Records a token (of the prompt too) for the penalties. */
void sampler_accept(struct sampler *s, int32_t id);
/* Empties the history; options and rng stay. */
void sampler_forget(struct sampler *s);

/* The k largest of softmax(logits), best first, ties to the lower id, into top [k]; and id's own
 * logprob. The logits have passed sampler_pick's checks, or kern.argmax's; k <= n_vocab.
 */
void sampler_logprobs(const float *logits, int n_vocab, int32_t id, int k, struct token_prob *top,
                      float *own);

/* State (options, rng, history) as bytes, and back into an initialized sampler; load checks every
 * field (ERR_FORMAT, ERR_RANGE), says how many bytes it took in *used, and on an error changes
 * nothing. */
void sampler_save(const struct sampler *s, struct buf *out);
enum err_code sampler_load(struct sampler *s, const void *p, size_t n, size_t *used, struct err *e);

#endif
