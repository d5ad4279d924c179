/* benchmark_noise.c: whether the machine was quiet enough for the figures to mean something.
 *
 * Owns the bounds, in one table. Each is far above what an idle machine shows and small against
 * the difference that a user would act on. Invariant: what could not be read is no reason.
 */
#include <math.h>
#include <stdio.h>

#include "cli/benchmark.h"

/* The largest relative change of a ceiling between the two measurements, larger over smaller. */
static double drift_of(const struct benchmark *b) {
    double worst = 0;
    for (int i = 0; i < CEILING_N; i++) {
        double x = ceiling_rate(&b->ceiling, i), y = ceiling_rate(&b->after, i);
        if (x > 0 && y > 0) {
            double change = x > y ? x / y - 1 : y / x - 1;
            worst = change > worst ? change : worst;
        }
    }
    return worst;
}

void benchmark_judge(struct benchmark *b, const struct machine_load *from,
                     const struct machine_load *to) {
    struct benchmark_noise *n = &b->noise;
    machine_noise_between(&n->seen, from, to, b->plan.threads);
    n->spread = b->after.spread > b->ceiling.spread ? b->after.spread : b->ceiling.spread;
    n->drift = drift_of(b);
    const struct {
        double value, bound; /* more than the bound is a reason; NaN never is */
        const char *say;
    } rules[BENCHMARK_REASONS] = {
        {n->seen.steal_percent, 2, "the hypervisor took %.0f %% of the processors' time"},
        {n->seen.other_percent, 10, "other processes used %.0f %% of the processors' time"},
        {100 * n->spread, 20, "the ceilings varied by %.0f %% while they were measured"},
        {100 * n->drift, 10, "the ceilings changed by %.0f %% from before the run to after it"},
        {100 * (n->seen.mhz_from / n->seen.mhz_to - 1), 10,
         "the processors slowed down by %.0f %%"},
        {100 * (1 - n->seen.own_percent / b->plan.duty), 40,
         "the program could not use %.0f %% of the time of its threads"},
    };
    n->n_reason = 0;
    for (int i = 0; i < BENCHMARK_REASONS; i++) {
        bool last = i == BENCHMARK_REASONS - 1; /* only where nothing else explains it */
        if (rules[i].value > rules[i].bound && !(last && n->n_reason > 0)) {
            snprintf(n->reason[n->n_reason++], sizeof *n->reason, rules[i].say, rules[i].value);
        }
    }
}
