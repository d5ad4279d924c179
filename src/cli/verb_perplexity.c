/* verb_perplexity.c: how surprised a model is by a text.
 *
 * Owns the measure, which is that of llama.cpp's perplexity program, so that numbers compare: the
 * text is cut into chunks of --context tokens, each computed afresh, its first token replaced by
 * BOS where the model uses one; the second half of each chunk is scored, and what is left over at
 * the end is not. Owns the comparison with another model's logits on the same text, too: the
 * Kullback-Leibler divergence from them at each scored position. Refuses any other use of the
 * logits.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "cli/answer.h"
#include "cli/open_model.h"
#include "cli/progress.h"
#include "cli/verbs.h"

enum { TEXT_MAX = 256 << 20 };

static const struct knob own[] = {
    {.name = "file",
     .type = KNOB_STR,
     .unit = "FILE",
     .help = "the text; - is standard input, and the default"},
    {.name = "context",
     .type = KNOB_INT,
     .flags = KNOB_MAY_PASS,
     .unit = "N",
     .def = "512",
     .min = 8,
     .max = 32768,
     .help = "tokens in a chunk"},
    {.name = "save-logits",
     .type = KNOB_STR,
     .unit = "FILE",
     .help = "write the logits of the scored positions as little-endian f32 [tokens, n_vocab]"},
    {.name = "against",
     .type = KNOB_STR,
     .unit = "FILE",
     .help = "compare with the logits that another model saved of the same text"},
};

struct score {
    const int32_t *ids; /* of the chunk, [n_chunk_tok] */
    int first, last;    /* positions whose next token is scored: [first, last) */
    double sum, sum2;   /* of -log p, and of its square */
    size_t n;
    float *raw;           /* [n, n_vocab] of n so far, for --save-logits; NULL without it */
    const uint8_t *other; /* f32 [tokens, n_vocab] of --against; NULL without it */
    double *kl;           /* [n] divergence at each position so far, with `other` */
    size_t agree;         /* positions where both have the same largest logit */
};

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

/* The divergence of softmax(mine) from softmax(other): sum p (log p - log q), p of the other. */
static double divergence(const float *mine, const float *other, int n_vocab, bool *same) {
    int a, b;
    double za = log_sum(mine, n_vocab, &a), zb = log_sum(other, n_vocab, &b), sum = 0;
    for (int i = 0; i < n_vocab; i++) {
        double p = (double)(other[i] - other[b]) - zb, q = (double)(mine[i] - mine[a]) - za;
        if (p > -100) {
            sum += exp(p) * (p - q);
        }
    }
    *same = a == b;
    return sum;
}

/* Compares position s->n with the other model's; its row may lie at any byte. */
static void compare(struct score *s, const float *logit, int n_vocab) {
    bool same;
    const float *row = (const float *)(const void *)(s->other + s->n * (size_t)n_vocab * 4);
    s->kl[s->n] = divergence(logit, row, n_vocab, &same);
    s->agree += same;
}

/* -log softmax(logit)[id], summed in double. */
static double surprise(const float *logit, int n_vocab, int32_t id) {
    double sum = 0;
    float max = logit[0];
    for (int i = 1; i < n_vocab; i++) {
        max = logit[i] > max ? logit[i] : max;
    }
    for (int i = 0; i < n_vocab; i++) {
        sum += (double)expf(logit[i] - max);
    }
    return log(sum) - (double)(logit[id] - max);
}

static void on_logits(void *arg, int position, const float *logit, int n_vocab) {
    struct answer *a = arg;
    struct score *s = a->user;
    if (position >= s->first && position < s->last) {
        double nll = surprise(logit, n_vocab, s->ids[position + 1]);
        if (s->raw) {
            memcpy(s->raw + s->n * (size_t)n_vocab, logit, (size_t)n_vocab * sizeof *logit);
        }
        if (s->other) {
            compare(s, logit, n_vocab);
        }
        s->sum += nll;
        s->sum2 += nll * nll;
        s->n++;
    }
}

struct measure {
    struct cli *c;
    ign_model *m;
    ign_session *s;
    struct answer a;
    struct score score;
    int32_t *ids; /* [n_ids] of the whole text */
    size_t n_ids, n_chunk, n_vocab;
    int context;
    int32_t bos;         /* -1: the model begins with none */
    struct os_map other; /* of --against, where `mapped` */
    bool mapped;
};

/* The first half only fills the cache: its logits are not computed. */
static ign_status run_chunk(struct measure *p, int32_t *ids, ign_error *e) {
    int half = p->context / 2, n = p->context;
    int32_t kept = ids[0];
    ign_request first = {.ids = ids, .n_ids = (size_t)half, .logprobs = -1};
    ign_request second = {.ids = ids + half, .n_ids = (size_t)(n - half), .logprobs = -1};
    ign_status rc = ign_session_truncate(p->s, 0, e);
    second.on_logits = on_logits;
    p->score.ids = ids;
    p->score.first = half;
    p->score.last = n - 1;
    if (p->bos >= 0) {
        ids[0] = p->bos;
    }
    if (!rc) {
        rc = answer_run(&p->a, p->m, p->s, &first, e);
    }
    if (!rc && p->a.stop != IGN_STOP_CANCELLED) {
        rc = answer_run(&p->a, p->m, p->s, &second, e);
    }
    ids[0] = kept;
    return rc;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct apart {
    double mean, p99, agreement;
};

static struct apart apart_of(struct score *s) {
    double sum = 0;
    for (size_t i = 0; i < s->n; i++) {
        sum += s->kl[i];
    }
    qsort(s->kl, s->n, sizeof *s->kl, compare_doubles);
    return (struct apart){.mean = sum / (double)s->n,
                          .p99 = s->kl[(size_t)(0.99 * (double)(s->n - 1) + 0.5)],
                          .agreement = (double)s->agree / (double)s->n};
}

/* The estimate and its standard error, by the delta method. */
static void report(struct measure *p, double seconds) {
    struct score *s = &p->score;
    struct apart d = {0};
    double mean = s->sum / (double)s->n, var = s->sum2 / (double)s->n - mean * mean;
    double ppl = exp(mean), err = s->n > 1 && var > 0 ? ppl * sqrt(var / (double)(s->n - 1)) : 0;
    if (s->other) {
        d = apart_of(s);
    }
    if (p->c->json) {
        struct json_writer w;
        cli_json_begin(p->c, &w);
        json_key(&w, "perplexity");
        json_put_real(&w, ppl);
        json_key(&w, "standard_error");
        json_put_real(&w, err);
        json_key(&w, "tokens");
        json_put_uint(&w, s->n);
        json_key(&w, "chunks");
        json_put_uint(&w, p->n_chunk);
        json_key(&w, "context");
        json_put_int(&w, p->context);
        json_key(&w, "seconds");
        json_put_real(&w, seconds);
        if (s->other) {
            json_member_real(&w, "kl_mean", d.mean);
            json_member_real(&w, "kl_p99", d.p99);
            json_member_real(&w, "top1_agreement", d.agreement);
        }
        cli_json_end(p->c, &w);
    } else {
        cli_printf(p->c, "perplexity %.4f +/- %.4f (%zu tokens in %zu chunks of %d)\n", ppl, err,
                   s->n, p->n_chunk, p->context);
        if (s->other) {
            cli_printf(p->c,
                       "divergence %.6f (99 of 100 are below %.4f), same best token %.2f %%\n",
                       d.mean, d.p99, 100 * d.agreement);
        }
    }
}

static int measure_chunks(struct measure *p) {
    struct err e = {0};
    ign_error why = {0};
    struct progress bar;
    double start = os_now();
    int code = EXIT_DONE;
    progress_begin(&bar, p->c, "perplexity");
    for (size_t i = 0; i < p->n_chunk && code == EXIT_DONE; i++) {
        progress_draw(&bar, i, p->n_chunk);
        ign_status rc = run_chunk(p, p->ids + i * (size_t)p->context, &why);
        bool stopped = !rc && p->a.stop == IGN_STOP_CANCELLED;
        if (rc || stopped) {
            progress_end(&bar);
        }
        if (rc) {
            code = cli_fail_ign(p->c, &why);
        } else if (stopped) {
            err_set(&e, ERR_CANCELLED, "interrupted after %zu of %zu chunks", i, p->n_chunk);
            code = cli_fail(p->c, &e);
        }
    }
    progress_end(&bar);
    double seconds = os_now() - start;
    if (code == EXIT_DONE && p->score.raw &&
        os_write_file(knobs_str(p->c->k, "save-logits"), p->score.raw,
                      p->score.n * p->n_vocab * sizeof *p->score.raw, &e)) {
        code = cli_fail(p->c, &e);
    }
    if (code == EXIT_DONE && p->mapped && p->other.lost) {
        err_set(&e, ERR_IO, "the other model's logits could not be read to their end");
        code = cli_fail(p->c, &e);
    }
    if (code == EXIT_DONE) {
        report(p, seconds);
        cli_note(p->c, "ign: %zu tokens computed in %.1f s (%.1f/s)",
                 p->n_chunk * (size_t)p->context, seconds,
                 seconds > 0 ? (double)p->n_chunk * p->context / seconds : 0);
    }
    return code;
}

/* Ids of the text, as the model wants it to begin; and its BOS, which is what it makes of nothing.
 */
static ign_status encode(struct measure *p, const struct buf *text, ign_error *e) {
    int32_t *none = NULL;
    size_t n = 0;
    ign_status rc = ign_encode(p->m, "", 0, false, -1, &none, &n, e);
    if (!rc) {
        p->bos = n > 0 ? none[0] : -1;
        rc = ign_encode(p->m, text->p ? text->p : "", text->len, false, -1, &p->ids, &p->n_ids, e);
    }
    ign_free(none);
    return rc;
}

/* The logits of --against, which must be of as many positions and tokens as will be scored. */
static enum err_code open_other(struct measure *p, size_t n, struct err *e) {
    const char *path = knobs_str(p->c->k, "against");
    if (!path) {
        return ERR_OK;
    }
    enum err_code rc = os_map_open(&p->other, path, false, e);
    if (rc) {
        return rc;
    }
    p->mapped = true;
    if (p->other.size != n * p->n_vocab * sizeof(float)) {
        rc = err_set(e, ERR_FORMAT, "the file has %zu bytes, and %zu x %zu logits have %zu",
                     p->other.size, n, p->n_vocab, n * p->n_vocab * sizeof(float));
        err_where(e, "%s", path);
        err_hint(e, "save them with the same --file and --context");
        return rc;
    }
    p->score.other = p->other.data;
    p->score.kl = mem_alloc(n, sizeof *p->score.kl);
    return p->score.kl ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory for %zu positions", n);
}

static int measure(struct measure *p, const struct buf *text) {
    struct err e = {0};
    ign_error why = {0};
    if (encode(p, text, &why)) {
        return cli_fail_data_ign(p->c, &why);
    }
    p->n_chunk = p->n_ids / (size_t)p->context;
    if (p->n_chunk == 0) {
        err_set(&e, ERR_USAGE, "the text has %zu tokens, less than one chunk of %d", p->n_ids,
                p->context);
        err_hint(&e, "take a longer text, or a smaller --context");
        return cli_fail(p->c, &e);
    }
    size_t scored = (size_t)(p->context - 1 - p->context / 2);
    if (knobs_str(p->c->k, "save-logits") &&
        answer_rows(p->n_chunk * scored, p->n_vocab, "--save-logits", &p->score.raw, &e)) {
        return cli_fail(p->c, &e);
    }
    if (open_other(p, p->n_chunk * scored, &e)) {
        return cli_fail_data(p->c, &e);
    }
    if (ign_session_create(p->m, 0, NULL, &p->s, &why)) {
        return cli_fail_ign(p->c, &why);
    }
    return measure_chunks(p);
}

/* Without --context a model that was trained for less gets chunks of what it has. */
static int open_model(struct measure *p) {
    p->context = (int)knobs_int(p->c->k, "context");
    int code = engine_model_open(p->c, p->context, &p->m);
    if (code == EXIT_DONE) {
        ign_model_info info;
        ign_model_get_info(p->m, &info);
        p->n_vocab = (size_t)info.vocabulary;
        if (info.context_trained < p->context && !knobs_given(p->c->k, "context")) {
            p->context = info.context_trained;
        }
    }
    return code;
}

static int run(struct cli *c) {
    struct measure p = {.c = c};
    struct err e = {0};
    struct buf text;
    const char *file = knobs_str(c->k, "file");
    int code;
    buf_init(&text, (size_t)2 * TEXT_MAX);
    answer_init(&p.a, c, false);
    p.a.user = &p.score;
    code = cli_read(file ? file : "-", TEXT_MAX, &text, &e) ? cli_fail(c, &e) : open_model(&p);
    if (code == EXIT_DONE) {
        code = measure(&p, &text);
    }
    ign_session_free(p.s);
    ign_model_close(p.m);
    mem_free(p.score.raw);
    mem_free(p.score.kl);
    if (p.mapped) {
        os_map_close(&p.other);
    }
    ign_free(p.ids);
    answer_fini(&p.a);
    buf_fini(&text);
    return code;
}

const struct verb verb_perplexity = {
    .args = {.name = "perplexity",
             .operands = "",
             .about = "how well a model predicts a text",
             .groups = KNOB_MODEL | KNOB_RUN | KNOB_AUDIT,
             .own = own,
             .n_own = sizeof own / sizeof *own},
    .run = run,
    .acts = true,
};
