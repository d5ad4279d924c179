/* benchmark.h: what `ign benchmark` measures, as data, and the parts that it is made of.
 *
 * Owns the structs that the files benchmark_*.c share: run (requests side by side), profile (time
 * by stage), noise (whether the machine was quiet), report (figures for people and for programs),
 * compare (against an earlier result). verb_benchmark.c calls them in order. Refuses to measure
 * what was not checked: a request whose tokens are not what they must be counts as failed, and is
 * in no speed. Invariant: seconds, bytes and tokens everywhere; percentages and other units in the
 * output alone.
 */
#ifndef IGN_CLI_BENCHMARK_H
#define IGN_CLI_BENCHMARK_H

#include "base/rng.h"
#include "cli/cli.h"
#include "device/machine_load.h"
#include "kern/ceiling.h"
#include "model/cost.h"

/* ---- samples ------------------------------------------------------------------------------ */

enum { SERIES_MAX = 1 << 20 };

/* Of more than SERIES_MAX values, a random choice of that many. */
struct series {
    double *v; /* [n] in no order; mem_free */
    size_t n, cap, seen;
    bool sorted;
};

/* Out of memory: the value is left out of v and counted in seen. */
void series_put(struct series *s, double v);
/* The value below which a share q of all lie, by nearest rank; of an even number
 * the median is the mean of the two in the middle. NaN of none. Sorts. */
double series_quantile(struct series *s, double q);

/* ---- a benchmark -------------------------------------------------------------------------- */

/* What is asked for. */
struct benchmark_plan {
    int n_prompt, n_new; /* tokens of a request */
    int depth;           /* positions before them */
    int n_request;       /* one after the other; 0: until the time is over */
    double seconds;      /* no request is begun after this time; 0: n_request says it */
    int n_session;       /* requests side by side */
    int threads, context, batch, duty;
    bool profile;
};

/* What the requests gave. */
struct benchmark_result {
    struct series prefill, decode; /* tokens a second, of each request that succeeded */
    struct series first, next;     /* seconds to the first token, and from one to the next */
    size_t n_done, n_failed;
    char why[896];     /* the first failure; "" */
    double seconds;    /* from the first submit to the last end */
    double tokens;     /* new ones, of requests that succeeded */
    uint64_t peak_rss; /* bytes, the model and the requests; not the ceilings' memory */
    double large;      /* ign_model_large_pages after the last request */
    bool interrupted;
};

enum { BENCHMARK_REASONS = 6 };

struct benchmark_noise {
    struct machine_noise seen;
    double spread; /* of any ceiling within a measurement, before or after; the largest */
    double drift;  /* of any ceiling from the first measurement to the last; the largest */
    char reason[BENCHMARK_REASONS][96]; /* [n_reason] why it was not quiet */
    int n_reason;
};

/* Of --profile. Sums over all requests, seconds; [2]: prefill, decode. */
struct benchmark_profile {
    ign_profile phase[2]; /* as of the last step */
    double whole[2], tokenizing, templating;
    double at;  /* os_now where the last part of a whole ended */
    char *text; /* [n_text] of a prompt; ign_free */
    size_t n_text;
    struct buf message; /* the same as messages of a chat */
};

/* Lifetime: the verb's. */
struct benchmark {
    struct cli *c;
    struct benchmark_plan plan;
    int64_t time; /* seconds since 1970, when it began: once, for all that is said and kept */
    struct ceilings ceiling, after; /* before the model was loaded, and after the last request */
    struct model_cost cost;
    double kv_bytes_int8; /* of one position, were the KV cache int8 */
    ign_model *model;
    ign_model_info info;
    struct benchmark_result result;
    struct benchmark_noise noise;
    struct benchmark_profile profile;
    char *against; /* an earlier result's text for --compare; NULL: none */
    size_t n_against;
};

/* ---- benchmark_run.c ---------------------------------------------------------------------- */

/* A short request that is not counted, then all that the plan says, each one checked: right number
 * of tokens, ids in range, finite logits, and the same ids as every other. IGN_OK with failed
 * requests in b->result; else the model itself failed. Ctrl-C ends it: result.interrupted. */
ign_status benchmark_run(struct benchmark *b, ign_error *e);
void benchmark_result_fini(struct benchmark_result *r);

/* ---- benchmark_profile.c ------------------------------------------------------------------ */

/* After the warm-up: the prompt that will be asked, n ids. */
ign_status benchmark_profile_begin(struct benchmark *b, const int32_t *ids, int n, ign_error *e);
/* Before a request is submitted: its prompt's text through tokenizer and template. */
ign_status benchmark_profile_prompt(struct benchmark *b, ign_error *e);
/* After each step. */
void benchmark_profile_step(struct benchmark *b);
void benchmark_profile_put_json(const struct benchmark *b, struct json_writer *w);
void benchmark_profile_put_text(const struct benchmark *b);
void benchmark_profile_fini(struct benchmark_profile *p);

/* ---- benchmark_noise.c -------------------------------------------------------------------- */

/* Fills b->noise from two looks at the machine and both measurements of the ceilings. */
void benchmark_judge(struct benchmark *b, const struct machine_load *from,
                     const struct machine_load *to);

/* ---- benchmark_report.c ------------------------------------------------------------------- */

/* The better of both measurements. */
double benchmark_ceiling(const struct benchmark *b, enum ceiling which);
/* Tokens a second that the ceilings allow for: a prompt by its multiply-adds, each at the rate of
 * its format; a new token by the bytes that it reads. 0: not known. */
double benchmark_prefill_ceiling(const struct benchmark *b);
double benchmark_decode_ceiling(const struct benchmark *b);

/* The members of the document, without its braces: docs/BENCHMARK.md. The settings are its first
 * members, known once the model is. */
void benchmark_put_settings(const struct benchmark *b, struct json_writer *w);
void benchmark_put_json(struct benchmark *b, struct json_writer *w);
void benchmark_put_text(struct benchmark *b);

/* ---- benchmark_compare.c ------------------------------------------------------------------ */

/* Whether b->against is a result at all: ERR_FORMAT. */
enum err_code benchmark_compare_check(const struct benchmark *b, struct err *e);
/* Whether it answers the same question, once the model is known: ERR_USAGE where it is of another
 * model, device, number of threads or size of request. */
enum err_code benchmark_compare_same(const struct benchmark *b, struct err *e);
/* b->against and `now`, two documents of this program, as a member "compare" of w or as lines.
 * ERR_NOMEM. */
enum err_code benchmark_compare_json(const struct benchmark *b, struct str now,
                                     struct json_writer *w, struct err *e);
enum err_code benchmark_compare_text(const struct benchmark *b, struct str now, struct err *e);

#endif
