/* engine.h: what stands behind the two handles of include/ign.h.
 *
 * Owns the structs that engine.c, session.c, scheduler.c, state.c and prompt.c share, and the rules
 * of who may touch them. Refuses anything that the caller could see: that is ign.h's.
 *
 * Threads: everything belongs to the owner's thread, but for three atomics. `state` says whose a
 * session's request is: whoever moves it from IDLE to CLAIMED (submit on any thread, or an owner's
 * function that changes an idle session) has it alone until it stores the next state; QUEUED hands
 * it to the owner. `mark` and the model's `live` carry cancellation. There is no lock.
 * Invariant of a session: kv.n_tok <= n_known <= context, and tok[0..n_known) are its tokens, the
 * first kv.n_tok of them computed.
 */
#ifndef IGN_ENGINE_ENGINE_H
#define IGN_ENGINE_ENGINE_H

#include <stdatomic.h>

#include "cache/kv_cache.h"
#include "engine/gain.h"
#include "engine/lookup.h"
#include "engine/stop.h"
#include "ign.h"
#include "kern/profile.h"
#include "model/model.h"
#include "sample/sampler.h"

#define LOGPROBS_MAX 20

enum session_state {
    SESSION_IDLE,
    SESSION_CLAIMED, /* a function is at work on it */
    SESSION_QUEUED,  /* a request waits for the next step */
    SESSION_RUNNING
};

/* Cancelling: MARK_STEP is a session that the step in progress works for. */
enum session_mark { MARK_NONE, MARK_STEP, MARK_CANCEL };

/* One submitted request. Lifetime: until the next submit. */
struct request {
    int n_ids; /* tok[n_known..n_known + n_ids) wait to become known */
    int first; /* n_known when it began */
    int max_tokens, n_prompt, n_new;
    int32_t draft; /* what the next token was guessed to be; -1: nothing */
    int n_drafted, n_accepted;
    int logprobs;
    bool ignore_eos;
    double deadline;                  /* in os_now's seconds; 0: none */
    double t_submit, t_first, t_last; /* t_first, t_last: 0 until there is a new token */
    struct stop stop;
    void (*on_event)(void *arg, const ign_event *ev);
    void (*on_logits)(void *arg, int position, const float *logits, int n_vocab);
    void *arg;
};

struct ign_session {
    ign_model *model;
    _Atomic int state, mark;
    int context;
    int32_t *tok; /* [context] */
    int n_known;
    struct kv_seq kv;
    struct sampler sampler;
    /* The logits after token kv.n_tok - 1, if has_logits: in `logits` [n_vocab], or, of a session
     * that runs and until the next step begins, still in the device: row `row` of the last step. */
    float *logits;
    int row; /* -1: in `logits` */
    bool has_logits;
    struct lookup lookup; /* empty where the model does not speculate */
    struct odds odds;
    struct request r;
    struct detok detok;
    struct buf piece; /* bytes of the newest token; reserved for the longest */
    struct buf text;  /* of the next event; reserved likewise, and for a stop string held back */
};

/* What one session takes part in a step with: n_tok tokens, n_out rows of logits; the last n_draft
 * of both are guesses, which lie behind the known tokens in `tok`. */
struct part {
    ign_session *s;
    int n_tok, n_out, n_draft;
};

/* The arrays of `struct step`, at their largest from the start, and what is found of its logits. */
struct plan {
    int32_t *tok, *pos, *seq; /* [max_tok] */
    int32_t *out;             /* [max_out] */
    int32_t *best;            /* [max_out] what kern.argmax says of each row, if has_best */
    bool has_best;
    int32_t *page;       /* [sum of kv.cap over all sessions] */
    int32_t *page_start; /* [sessions + 1] */
    struct part *part;   /* [sessions] */
    int n_tok, n_out, n_part;
};

struct ign_model {
    struct model *m;
    bool loaded; /* has weights and a KV pool */
    char *name;
    int64_t clock;
    double load_seconds;
    struct kv_pool pool;
    int context;           /* positions in the pool */
    size_t piece_max;      /* bytes of text that one token can give */
    ign_session **session; /* [n_session] */
    int n_session, turn;   /* turn: who is asked first in the next step */
    bool speculate;
    struct costs costs;
    double (*now)(void); /* os_now; a test has its own */
    struct plan plan;
    struct profile *profile; /* NULL: nobody asked for one */
    _Atomic int live;        /* sessions of the step in progress that still want it */
    volatile int give_up;    /* struct step's cancel */
};

/* engine.c: turns an error of the library into one of the interface; returns its status. */
ign_status engine_fail(ign_error *e, const struct err *from);

/* session.c */
struct sampler_opts session_opts(const ign_sampling *o);
bool session_claim(ign_session *s);   /* IDLE -> CLAIMED */
void session_release(ign_session *s); /* CLAIMED -> IDLE */
/* Keeps the first n tokens; what is computed of them stays computed. */
void session_cut(ign_session *s, int n);
/* Fills an idle session up to n positions with copies of the pages that it has: for measuring at a
 * depth, not for answers. Needs a whole page of computed tokens, or n <= what is there (IGN_USAGE);
 * IGN_NOFIT. */
ign_status session_repeat(ign_session *s, int n, ign_error *e);

/* Takes the session's logits out of the device, if they are still there. */
void session_keep_logits(ign_session *s);

/* request.c: what a request does with its logits, and its events. Owner's thread. */
void request_begin(ign_session *s);
/* Ends the request if it was cancelled or its time is over; returns whether it goes on. */
bool request_check(ign_session *s);
/* Logits are there and all tokens are computed: picks the next token, or ends. */
void request_advance(ign_session *s);
/* The last event. `why` may be NULL. */
void request_end(ign_session *s, ign_stop_reason stop, const struct err *why);

/* step_plan.c */
enum err_code plan_init(struct plan *p, int max_tok, int max_out, struct err *e);
/* Room for n_session sessions with n_page pages in all. */
enum err_code plan_grow(struct plan *p, int n_session, size_t n_page, struct err *e);
void plan_fini(struct plan *p);

#endif
