/* gain.c: averages that forget, and the choice that follows from them.
 *
 * Owns the rates of forgetting. Time on a shared machine errs upwards only, so a cost falls fast
 * and rises slowly; one that was measured a few times is believed for a few steps, a cost measured
 * often for many: what was refused is tried again, ever more rarely.
 */
#include "engine/gain.h"

#include <stdbool.h>
#include <string.h>

#define ODDS_PRIOR  2   /* looks that came to nothing, before the first */
#define ODDS_WINDOW 16  /* looks that are remembered, about */
#define COST_FALL   0.5 /* of the way to a lower measurement */
#define COST_RISE   0.125
#define TRUST_FIRST 64  /* steps that one measurement is believed */
#define TRUST_MAX   512 /* and that many are */
#define GAIN_LEAST  1.1 /* the best of many guesses at a gain is too good by some of this */
#define HOPE        0.3 /* of the price of a single row, for a row more that was not measured */

/* ---- odds ------------------------------------------------------------------------------------ */

void odds_watch(struct odds *o, enum lookup_kind kind, const int32_t *tok, int n) {
    if (o->n_watch == 0 && n > 0) {
        memcpy(o->watch, tok, (size_t)n * sizeof *tok);
        o->n_watch = n;
        o->n_seen = 0;
        o->kind = kind;
    }
}

static void odds_add(struct odds *o, int i, bool hit) {
    int *looks = &o->looks[o->kind][i];
    float *p = &o->true_up_to[o->kind][i];
    *looks += *looks < ODDS_WINDOW - ODDS_PRIOR;
    *p += ((float)hit - *p) / (float)(*looks + ODDS_PRIOR);
}

void odds_see(struct odds *o, int32_t id) {
    if (o->n_watch == 0) {
        return;
    }
    if (id == o->watch[o->n_seen]) {
        odds_add(o, o->n_seen++, true);
    } else {
        for (int i = o->n_seen; i < LOOKUP_MAX; i++) {
            odds_add(o, i, false);
        }
        o->n_seen = o->n_watch;
    }
    if (o->n_seen == o->n_watch) {
        o->n_watch = 0;
    }
}

/* ---- costs ------------------------------------------------------------------------------------
 */

void costs_see(struct costs *c, int n, double seconds) {
    c->step++;
    if (n > GAIN_ROWS) {
        return;
    }
    double *cost = &c->seconds[n];
    if (c->looks[n] == 0) {
        *cost = seconds;
    } else {
        *cost += (seconds - *cost) * (seconds < *cost ? COST_FALL : COST_RISE);
    }
    c->looks[n]++;
    c->seen[n] = c->step;
}

static bool known(const struct costs *c, int n) {
    int64_t trust = TRUST_FIRST;
    for (int i = 1; i < c->looks[n] && trust < TRUST_MAX; i++) {
        trust *= 2;
    }
    return c->looks[n] > 0 && c->step - c->seen[n] < trust;
}

/* Seconds of a step with n rows: as measured, between two neighbours on the line through them,
 * beyond the largest at a price for each row that is hoped for. 0: nothing is known. */
static double cost_of(const struct costs *c, int n) {
    int lo = n, hi = n;
    while (lo > 0 && !known(c, lo)) {
        lo--;
    }
    while (hi <= GAIN_ROWS && !known(c, hi)) {
        hi++;
    }
    if (lo == n) {
        return c->seconds[n];
    }
    if (hi > GAIN_ROWS) {
        double row = c->looks[1] > 0 ? c->seconds[1] : lo > 0 ? c->seconds[lo] / lo : 0;
        return lo > 0 ? c->seconds[lo] + HOPE * row * (n - lo) : 0;
    }
    double from = lo > 0 ? c->seconds[lo] : 0;
    return from + (c->seconds[hi] - from) * (n - lo) / (hi - lo);
}

/* ---- choice -----------------------------------------------------------------------------------
 */

int gain_choose(const struct costs *c, const struct odds *o, enum lookup_kind kind, int n, int rows,
                double *expected) {
    double without = cost_of(c, rows), more = 0, best_more = 0;
    if (without <= 0) {
        return 0; /* the first step of its size is measured as it is */
    }
    double least = *expected / without * GAIN_LEAST;
    int best = 0;
    for (int k = 1; k <= n && rows + k <= GAIN_ROWS; k++) {
        more += (double)o->true_up_to[kind][k - 1];
        double rate = (*expected + more) / cost_of(c, rows + k);
        if (rate > least) {
            least = rate;
            best = k;
            best_more = more;
        }
    }
    *expected += best_more;
    return best;
}
