/* score.c: see score.h.
 */
#include "cli/score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* log of the sum of exp(logit - largest), and the place of the largest. */
static double log_sum(const float *logit, int n_vocab, int *top) {
    double sum = 0;
    *top = 0;
    for (int i = 1; i < n_vocab; i++) {
        *top = logit[i] > logit[*top] ? i : *top;
    }
    for (int i = 0; i < n_vocab; i++) {
        sum += (double)expf(logit[i] - logit[*top]);
    }
    return log(sum);
}

/* The divergence of softmax(mine) from softmax(other): sum p (log p - log q), p of the other. `z`
 * and `top` are mine, of log_sum. */
static double divergence(const float *mine, double z, int top, const float *other, int n_vocab,
                         bool *same) {
    int best;
    double zo = log_sum(other, n_vocab, &best), sum = 0;
    *same = top == best && !isnan(zo);
    if (isnan(zo)) {
        return NAN; /* of the other nothing is known: not that both are the same */
    }
    for (int i = 0; i < n_vocab; i++) {
        double p = (double)(other[i] - other[best]) - zo, q = (double)(mine[i] - mine[top]) - z;
        if (p > -100) {
            sum += exp(p) * (p - q);
        }
    }
    return sum;
}

void score_row(void *score, const float *logit, int n_vocab, int32_t next) {
    struct score *s = score;
    size_t at = s->n * (size_t)n_vocab;
    int top;
    double z = log_sum(logit, n_vocab, &top), nll = z - (double)(logit[next] - logit[top]);
    if (s->raw) {
        memcpy(s->raw + at, logit, (size_t)n_vocab * sizeof *logit);
    }
    if (s->other) {
        bool same;
        s->kl[s->n] = divergence(logit, z, top, (const float *)s->other + at, n_vocab, &same);
        s->agree += same;
    }
    s->sum += nll;
    s->sum2 += nll * nll;
    s->n++;
}

double score_perplexity(const struct score *s, double *error) {
    double n = (double)s->n, mean = s->sum / n, var = s->sum2 / n - mean * mean;
    double perplexity = exp(mean);
    *error = s->n > 1 && var > 0 ? perplexity * sqrt(var / (n - 1)) : 0;
    return perplexity;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct score_apart score_apart(struct score *s) {
    double sum = 0, sum2 = 0, n = (double)s->n;
    for (size_t i = 0; i < s->n; i++) {
        sum += s->kl[i];
        sum2 += s->kl[i] * s->kl[i];
    }
    qsort(s->kl, s->n, sizeof *s->kl, compare_doubles);
    double mean = sum / n, var = sum2 / n - mean * mean;
    return (struct score_apart){.mean = mean,
                                .error = s->n > 1 && var > 0 ? sqrt(var / (n - 1)) : 0,
                                .p99 = s->kl[(size_t)(0.99 * (n - 1) + 0.5)],
                                .agreement = (double)s->agree / n};
}
