/* runner.h: runs a loaded model over sequences, for the tests of this folder.
 *
 * Owns a KV pool and the building of steps. A test says which tokens of which sequences go into a
 * step; the runner keeps the pages. Every failure fails the test.
 */
#ifndef IGN_TESTS_MODEL_RUNNER_H
#define IGN_TESTS_MODEL_RUNNER_H

#include "cache/kv_cache.h"
#include "model/model.h"

#define RUNNER_SEQ 8

struct runner {
    struct model *m;
    struct kv_pool pool;
    struct kv_seq seq[RUNNER_SEQ];
    float *logits; /* [n_vocab] of the last row asked for */
};

/* What one sequence brings to a step. */
struct feed {
    int seq;
    const int32_t *tok;
    int n;
    float *out; /* [n, n_vocab] logits of every token, or NULL: of none */
};

/* Opens and loads; NULL fields of `o` are defaults. */
void runner_open(struct runner *r, const char *path, const struct model_opts *o);
void runner_close(struct runner *r);
/* One step over feeds of ascending seq. */
void runner_step(struct runner *r, const struct feed *f, int n_feed);
/* One sequence in chunks of at most `chunk` tokens; out [n, n_vocab] or NULL. */
void runner_feed(struct runner *r, int seq, const int32_t *tok, int n, int chunk, float *out);
/* n greedy tokens (the lower id wins a tie) after tok [n_tok], from an empty sequence. */
void runner_greedy(struct runner *r, int seq, const int32_t *tok, int n_tok, int32_t *out, int n);

#endif
