/* verb_perplexity.c: how surprised a model is by a text.
 *
 * Owns what is reported of it, and the files of logits that one run saves and another compares
 * with. Refuses the walk over the text (chunks.h) and the measures (score.h).
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "cli/chunks.h"
#include "cli/score.h"
#include "cli/verbs.h"

static const struct knob own[] = {
    CHUNKS_FILE_KNOB,
    CHUNKS_CONTEXT_KNOB,
    {.name = "save-logits",
     .type = KNOB_STR,
     .unit = "FILE",
     .help = "write the logits of the scored positions as little-endian f32 [tokens, n_vocab]"},
    {.name = "against",
     .type = KNOB_STR,
     .unit = "FILE",
     .help = "compare with the logits that another model saved of the same text"},
};

struct measure {
    struct chunks text;
    struct score score;
    struct os_map other; /* of --against, where `mapped` */
    bool mapped;
};

/* The mean divergence of each chunk: positions of one chunk go wrong together, so that a standard
 * error is had from these, and that of a difference of two models from the differences. */
static void put_chunks(const struct measure *p, struct json_writer *w) {
    size_t each = p->score.n / p->text.n_chunk;
    json_key(w, "kl_of_chunks");
    json_open(w, '[');
    for (size_t i = 0; i < p->text.n_chunk; i++) {
        double sum = 0;
        for (size_t k = 0; k < each; k++) {
            sum += p->score.kl[i * each + k];
        }
        json_put_real(w, sum / (double)each);
    }
    json_close(w, ']');
}

static void put_json(struct measure *p, double ppl, double err) {
    struct json_writer w;
    cli_json_begin(p->text.c, &w);
    json_member_real(&w, "perplexity", ppl);
    json_member_real(&w, "standard_error", err);
    json_member_uint(&w, "tokens", p->score.n);
    json_member_uint(&w, "chunks", p->text.n_chunk);
    json_member_uint(&w, "context", (uint64_t)p->text.context);
    json_member_real(&w, "seconds", p->text.seconds);
    if (p->score.other) {
        put_chunks(p, &w); /* before they are sorted */
        struct score_apart d = score_apart(&p->score);
        json_member_real(&w, "kl_mean", d.mean);
        json_member_real(&w, "kl_standard_error", d.error);
        json_member_real(&w, "kl_p99", d.p99);
        json_member_real(&w, "top1_agreement", d.agreement);
    }
    cli_json_end(p->text.c, &w);
}

static void report(struct measure *p) {
    struct cli *c = p->text.c;
    double err, ppl = score_perplexity(&p->score, &err);
    size_t computed = p->text.n_chunk * (size_t)p->text.context;
    if (c->json) {
        put_json(p, ppl, err);
    } else {
        cli_printf(c, "perplexity %.4f +/- %.4f (%zu tokens in %zu chunks of %d)\n", ppl, err,
                   p->score.n, p->text.n_chunk, p->text.context);
        if (p->score.other) {
            struct score_apart d = score_apart(&p->score);
            cli_printf(c,
                       "divergence %.6f +/- %.6f (99 of 100 are below %.4f), same best token "
                       "%.2f %%\n",
                       d.mean, d.error, d.p99, 100 * d.agreement);
        }
    }
    double seconds = p->text.seconds;
    cli_note(c, "ign: %zu tokens computed in %.1f s (%.1f/s)", computed, seconds,
             seconds > 0 ? (double)computed / seconds : 0);
}

/* The logits of --against, which must be of as many positions and tokens as will be scored. */
static enum err_code open_other(struct measure *p, size_t n, struct err *e) {
    const char *path = knobs_str(p->text.c->k, "against");
    if (!path) {
        return ERR_OK;
    }
    enum err_code rc = os_map_open(&p->other, path, false, e);
    if (rc) {
        return rc;
    }
    p->mapped = true;
    if (p->other.size != n * p->text.n_vocab * sizeof(float)) {
        rc = err_set(e, ERR_FORMAT, "the file has %zu bytes, and %zu x %zu logits have %zu",
                     p->other.size, n, p->text.n_vocab, n * p->text.n_vocab * sizeof(float));
        err_where(e, "%s", path);
        err_hint(e, "save them with the same --file and --context");
        return rc;
    }
    p->score.other = p->other.data;
    p->score.kl = mem_alloc(n, sizeof *p->score.kl);
    return p->score.kl ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory for %zu positions", n);
}

static int measure(struct measure *p) {
    struct cli *c = p->text.c;
    struct err e = {0};
    size_t n = chunks_scored(&p->text), n_vocab = p->text.n_vocab;
    const char *save = knobs_str(c->k, "save-logits");
    if (save && answer_rows(n, n_vocab, "--save-logits", &p->score.raw, &e)) {
        return cli_fail(c, &e);
    }
    if (open_other(p, n, &e)) {
        return cli_fail_data(c, &e);
    }
    p->text.row = score_row;
    p->text.arg = &p->score;
    int code = chunks_run(&p->text, "perplexity");
    if (code != EXIT_DONE) {
        return code;
    }
    if (save && os_write_file(save, p->score.raw, n * n_vocab * sizeof *p->score.raw, &e)) {
        return cli_fail(c, &e);
    }
    if (p->mapped && p->other.lost) {
        err_set(&e, ERR_IO, "the other model's logits could not be read to their end");
        return cli_fail(c, &e);
    }
    report(p);
    return EXIT_DONE;
}

static int run(struct cli *c) {
    struct measure p = {0};
    const char *save = knobs_str(c->k, "save-logits");
    chunks_init(&p.text, c);
    int code = save ? chunks_output(c, save) : EXIT_DONE;
    if (code == EXIT_DONE) {
        code = chunks_read(&p.text);
    }
    if (code == EXIT_DONE) {
        code = chunks_open(&p.text, NULL);
    }
    if (code == EXIT_DONE) {
        code = measure(&p);
    }
    chunks_fini(&p.text);
    mem_free(p.score.raw);
    mem_free(p.score.kl);
    if (p.mapped) {
        os_map_close(&p.other);
    }
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
