/* answer.h: one request, from submit to its last event.
 *
 * Owns what the events bring (text, ids, log probabilities) and the streaming of it. Refuses to
 * choose what is asked. Lifetime of the buffers: until answer_fini; answer_run empties them.
 */
#ifndef IGN_CLI_ANSWER_H
#define IGN_CLI_ANSWER_H

#include "cli/cli.h"

struct answer {
    struct cli *c;
    ign_session *s;
    void *user;         /* for the on_logits of the caller, whose argument is this struct */
    bool stream;        /* text goes to standard output as it comes */
    struct buf text;    /* UTF-8 */
    struct buf ids;     /* int32_t [n_ids] */
    struct buf logprob; /* float [n_ids], if asked for */
    struct buf top;     /* ign_token_logprob [n_ids * K], if asked for */
    size_t n_ids;
    ign_stop_reason stop;
    ign_error error; /* of IGN_STOP_ERROR */
    ign_timing timing;
};

void answer_init(struct answer *a, struct cli *c, bool stream);
void answer_fini(struct answer *a);

/* Submits, steps until the end, and lets Ctrl-C cancel. The request's callback and argument are
 * set here. What was generated is in `a` after a failure, too. */
ign_status answer_run(struct answer *a, ign_model *m, ign_session *s, ign_request *r, ign_error *e);

/* "eos", "stop", "length", "context", "interrupted". */
const char *answer_stop_name(ign_stop_reason stop);

/* tokens per second; 0 where nothing can be said. */
double answer_prefill_speed(const ign_timing *t);
double answer_decode_speed(const ign_timing *t);

/* The line of figures that follows an answer. */
void answer_note(const struct answer *a, uint64_t seed);

/* How to choose tokens, but for the bias and the seed, which stay as they are: what flags,
 * variables and files say, else what the model's own file says, else the defaults. */
void answer_sampling(struct cli *c, const ign_model *m, ign_sampling *o);
/* --logit-bias to biases in `bias` (ign_logit_bias values); ERR_USAGE. */
enum err_code answer_biases(struct cli *c, struct buf *bias, struct err *e);
/* Whether the flags suit the model's vocabulary; ERR_RANGE. */
enum err_code answer_check(struct cli *c, const ign_model *m, struct err *e);
/* Room for logits [n_tok, n_vocab] that `flag` asks to be written to a file: they are held until
 * then, so that it is written whole. ERR_NOFIT before anything is computed; *raw with mem_free. */
enum err_code answer_rows(size_t n_tok, size_t n_vocab, const char *flag, float **raw,
                          struct err *e);
/* --seed, or a random one. */
uint64_t answer_seed(struct cli *c);
/* What of the request comes from flags; *stop (mem_free) is the list that it borrows. */
enum err_code answer_request(struct cli *c, ign_request *r, const char ***stop, struct err *e);

#endif
