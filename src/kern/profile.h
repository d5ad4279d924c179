/* profile.h: where the time of steps goes, by stage.
 *
 * Owns a clock of laps and a back end that puts it around another's table: what passes between two
 * laps belongs to the stage that the second one names. The scheduler and the sampler lap on their
 * own; all else is timed here, so that neither the forward step nor a kernel knows of it. Refuses
 * to judge: shares and bars are the program's.
 * Without a profile nothing is wrapped, and what is left of it is a test of a pointer for NULL.
 * Invariant: from profile_begin to the last lap each moment is in exactly one stage of one phase.
 */
#ifndef IGN_KERN_PROFILE_H
#define IGN_KERN_PROFILE_H

#include "kern/kern.h"

enum profile_stage {
    STAGE_EMBED,      /* rows of the embedding table */
    STAGE_NORM,       /* all RMS norms */
    STAGE_QKV,        /* the products that give q, k and v, activations prepared for them */
    STAGE_ROPE,       /* rotations */
    STAGE_KV_STORE,   /* rounding to the cache, where that is no part of attention */
    STAGE_ATTEND,     /* scores, softmax, weighted sums; storing, where a device does both in one */
    STAGE_PROJECT,    /* attention's output product */
    STAGE_FFN,        /* dense: both products and the activation between them */
    STAGE_MOE,        /* routing and experts */
    STAGE_LOGITS,     /* the rows wanted, their norm apart, times the output matrix */
    STAGE_SAMPLE,     /* logits out of the device, the choice, its accounts */
    STAGE_DETOKENIZE, /* text of a token, stop strings */
    STAGE_SCHEDULE,   /* what goes into a step, the device's begin and end, forward's own code */
    STAGE_SYNC,       /* threads that wait for others in a loop: mean over the threads */
    STAGE_CALLER,     /* events' callbacks, and what the owner does between steps */
    STAGE_N
};

enum profile_phase { PHASE_PREFILL, PHASE_DECODE, PHASE_N };

struct profile {
    double (*now)(void); /* seconds */
    double at;           /* of the last lap */
    int row;             /* phase of the step in progress; PHASE_N: not known yet */
    double seconds[PHASE_N + 1][STAGE_N];
    uint64_t n_step[PHASE_N], n_tok[PHASE_N];
    /* of the device around which it lies: kern.h's `waited` */
    double (*waited)(struct kern_dev *d);
    struct kern_dev *dev;
    double waited_before;
};

const char *profile_stage_name(enum profile_stage s);

/* Everything back to 0, and the first lap begins. p->now and what is wrapped stay. */
void profile_begin(struct profile *p);
/* What has passed since the last lap was this stage, but for what threads waited. */
void profile_take(struct profile *p, enum profile_stage s);
/* The phase of the step in progress is known: laps since the last step's end are its, too. */
void profile_step(struct profile *p, enum profile_phase phase, int n_tok);
/* The step is over; the next laps belong to a step whose phase will be known. */
void profile_step_end(struct profile *p);

/* Of a profile that may be NULL. */
static inline void profile_lap(struct profile *p, enum profile_stage s) {
    if (p) {
        profile_take(p, s);
    }
}

/* Puts the clock around *k and *d: they become a back end that laps at each operation, with the
 * device inside. Its close closes both. p stays the caller's, and outlives it. ERR_NOMEM: nothing
 * has changed. */
enum err_code profile_wrap(struct profile *p, const struct kern **k, struct kern_dev **d,
                           struct err *e);

#endif
