/* benchmark_run.c: requests side by side, each checked.
 *
 * Owns the loop: every session that has none is given a request until there are enough or the time
 * is over; those begun then are finished. Time is taken in the callbacks, as a user would see it.
 * Invariant: the same prompt is asked each time, greedily: every request must give the same ids.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "cli/benchmark.h"
#include "cli/progress.h"
#include "engine/engine.h"

/* Enough to touch every weight once. */
enum { WARM_PROMPT = 32, WARM_NEW = 2 };
/* Tokens whose keys and values fill a depth. */
enum { FILL_PROMPT = 512 };

/* ---- samples ------------------------------------------------------------------------------- */

void series_put(struct series *s, double v) {
    static struct rng random = {{1, 2, 3, 4}};
    s->seen++;
    if (s->n == s->cap && s->cap < SERIES_MAX) {
        size_t cap = s->cap > 0 ? 2 * s->cap : 256;
        double *grown = mem_realloc(s->v, cap, sizeof *grown);
        if (!grown) {
            return;
        }
        s->v = grown;
        s->cap = cap;
    }
    size_t at = s->n;
    if (s->n == SERIES_MAX) {
        at = (size_t)(rng_double(&random) * (double)s->seen);
    }
    if (at < s->cap) {
        s->v[at] = v;
        s->n += at == s->n;
        s->sorted = false;
    }
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double series_quantile(struct series *s, double q) {
    if (s->n == 0) {
        return NAN;
    }
    if (!s->sorted) {
        qsort(s->v, s->n, sizeof *s->v, by_value);
        s->sorted = true;
    }
    if (q == 0.5 && s->n % 2 == 0) {
        return (s->v[s->n / 2 - 1] + s->v[s->n / 2]) / 2;
    }
    double rank = ceil(q * (double)s->n);
    return s->v[rank < 1 ? 0 : (size_t)rank - 1];
}

void benchmark_result_fini(struct benchmark_result *r) {
    struct series *const all[] = {&r->prefill, &r->decode, &r->first, &r->next};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        mem_free(all[i]->v);
        *all[i] = (struct series){0};
    }
}

/* ---- the prompt ---------------------------------------------------------------------------- */

/* What the program is asked on a plant floor: prose, a list, Jython, SQL. */
static const char text[] =
    "The filler on line 4 stopped at 06:12 because the infeed starved; the operator cleared the "
    "jam, acknowledged the alarm and restarted after three minutes and forty seconds. Since the "
    "shift began the line has made 18,240 bottles, 412 of which the checkweigher rejected. What "
    "should maintenance look at first, and which tags would show it?\n\n"
    "Tags of interest: [default]Line4/Filler/State, Line4/Filler/Speed, Line4/Infeed/Accumulation, "
    "Line4/Checkweigher/RejectCount, Line4/CIP/ReturnTemperature.\n\n"
    "def shiftReport(line, start, end):\n"
    "    path = '[default]%s/Filler/State' % line\n"
    "    data = system.tag.queryTagHistory(paths=[path], startDate=start, endDate=end)\n"
    "    stops = [row for row in system.dataset.toPyDataSet(data) if row[1] != 5]\n"
    "    return {'line': line, 'stops': len(stops)}\n\n"
    "SELECT reason, COUNT(*) AS stops, SUM(DATEDIFF(second, began, ended)) / 60.0 AS minutes\n"
    "FROM downtime WHERE line_id = 4 AND began >= '2026-11-02' GROUP BY reason ORDER BY "
    "minutes;\n\n"
    "A valve that opens slowly on a cold morning and well in the afternoon is rarely a fault of "
    "the valve: look at the supply pressure, at the lubrication of the actuator, and at how long "
    "the trap upstream has been leaking. Write the finding in the log so that the night shift can "
    "read it without calling anyone.\n\n";

/* The text once as the model wants a text to begin, then over and over without that. */
static ign_status make_prompt(const struct benchmark *b, int32_t *ids, size_t want, ign_error *e) {
    size_t n = 0;
    ign_status rc = IGN_OK;
    while (n < want && !rc) {
        int32_t *piece = NULL;
        size_t n_piece = 0;
        rc = ign_encode(b->model, text, sizeof text - 1, false, n == 0 ? -1 : 0, &piece, &n_piece,
                        e);
        if (!rc && n_piece == 0) {
            rc = e->code = IGN_FORMAT;
            snprintf(e->text, sizeof e->text, "the tokenizer makes nothing of English text");
        }
        for (size_t i = 0; i < n_piece && n < want; i++) {
            ids[n++] = piece[i];
        }
        ign_free(piece);
    }
    return rc;
}

/* ---- one request --------------------------------------------------------------------------- */

struct seat {
    ign_session *s;
    int32_t *ids;  /* [n_new] */
    double *when;  /* [n_new] os_now of each */
    int n, n_most; /* tokens that came; room for them */
    double began;
    bool busy, ended;
    ign_stop_reason stop;
    ign_error error;
};

struct round {
    struct benchmark *b;
    struct seat *seat;     /* [n_session] */
    ign_session **session; /* [n_session] the same sessions, for Ctrl-C */
    int32_t *prompt;       /* [n_prompt] */
    int32_t *ids;          /* [n_session + 1, n_new]: the seats', then those of the first request */
    double *when;          /* [n_session, n_new] */
    bool has_first;
    int n_begun;
    double start, end;
    struct progress bar;
};

static void on_event(void *arg, const ign_event *ev) {
    struct seat *seat = arg;
    if (ev->id >= 0 && seat->n < seat->n_most) {
        seat->when[seat->n] = os_now();
        seat->ids[seat->n++] = ev->id;
    }
    if (ev->stop != IGN_STOP_NONE) {
        seat->ended = true;
        seat->stop = ev->stop;
        seat->error = ev->error;
    }
}

static ign_status seat_begin(struct seat *seat, int depth, const int32_t *ids, int n_ids, int n_new,
                             ign_error *e) {
    ign_request q = {.ids = ids,
                     .n_ids = (size_t)n_ids,
                     .max_tokens = n_new,
                     .ignore_eos = true,
                     .logprobs = -1,
                     .on_event = on_event,
                     .arg = seat};
    ign_status rc = ign_session_truncate(seat->s, (size_t)depth, e);
    seat->n = 0;
    seat->n_most = n_new;
    seat->ended = false;
    seat->began = os_now();
    rc = rc ? rc : ign_session_submit(seat->s, &q, e);
    seat->busy = !rc;
    return rc;
}

static bool all_finite(const float *v, int n) {
    float sum = 0; /* of zeros, or NaN */
    for (int i = 0; i < n; i++) {
        sum += v[i] * 0.0f;
    }
    return sum == 0;
}

/* Says why the tokens of a request are not what they must be; false if they are. */
static bool seat_wrong(const struct round *r, const struct seat *seat, char *why, size_t n) {
    int n_vocab = r->b->info.vocabulary, n_new = r->b->plan.n_new;
    const int32_t *first = r->ids + (size_t)r->b->plan.n_session * (size_t)n_new;
    const float *logits = ign_session_logits(seat->s);
    if (seat->stop == IGN_STOP_ERROR) {
        snprintf(why, n, "%s", seat->error.text);
        return true;
    }
    if (seat->stop != IGN_STOP_LENGTH || seat->n != n_new) {
        snprintf(why, n, "%d tokens came where %d were asked for", seat->n, n_new);
        return true;
    }
    if (logits && !all_finite(logits, n_vocab)) {
        snprintf(why, n, "the last logits are not finite");
        return true;
    }
    for (int i = 0; i < n_new; i++) {
        if (seat->ids[i] < 0 || seat->ids[i] >= n_vocab) {
            snprintf(why, n, "token %d has the id %d of %d", i + 1, seat->ids[i], n_vocab);
            return true;
        }
        if (r->has_first && seat->ids[i] != first[i]) {
            snprintf(why, n, "the same prompt gave another token %d than before: %d, not %d", i + 1,
                     seat->ids[i], first[i]);
            return true;
        }
    }
    return false;
}

/* The figures of a request that has ended; one that was interrupted has none. */
static void seat_end(struct round *r, struct seat *seat) {
    struct benchmark_result *to = &r->b->result;
    const struct benchmark_plan *p = &r->b->plan;
    char why[sizeof to->why];
    seat->busy = false;
    action_count(r->b->c, seat->n > 0 ? p->n_prompt : 0, seat->n);
    if (seat->stop == IGN_STOP_CANCELLED) {
        return;
    }
    if (seat_wrong(r, seat, why, sizeof why)) {
        if (to->n_failed++ == 0) {
            memcpy(to->why, why, sizeof why);
        }
        return;
    }
    if (!r->has_first) {
        memcpy(r->ids + (size_t)p->n_session * (size_t)p->n_new, seat->ids,
               (size_t)p->n_new * sizeof *seat->ids);
        r->has_first = true;
    }
    double first = seat->when[0] - seat->began, rest = seat->when[p->n_new - 1] - seat->when[0];
    to->n_done++;
    to->tokens += p->n_new;
    series_put(&to->first, first);
    series_put(&to->prefill, p->n_prompt / first);
    series_put(&to->decode, (p->n_new - 1) / rest);
    for (int i = 1; i < p->n_new; i++) {
        series_put(&to->next, seat->when[i] - seat->when[i - 1]);
    }
}

/* ---- all of them ---------------------------------------------------------------------------- */

static bool more_wanted(const struct round *r) {
    const struct benchmark_plan *p = &r->b->plan;
    if (interrupt_seen(r->b->c->intr)) {
        return false;
    }
    return p->n_request > 0 ? r->n_begun < p->n_request : os_now() - r->start < p->seconds;
}

static void draw(struct round *r) {
    const struct benchmark_plan *p = &r->b->plan;
    if (p->n_request > 0) {
        size_t each = (size_t)(p->n_prompt + p->n_new), done = r->b->result.n_done * each;
        const struct seat *s = r->seat; /* one after the other: all are in the first */
        done += s->busy && s->n > 0 ? (size_t)(p->n_prompt + s->n) : 0;
        progress_draw(&r->bar, done, (size_t)p->n_request * each);
    } else {
        double seconds = os_now() - r->start;
        progress_draw(&r->bar, (size_t)(seconds < p->seconds ? seconds : p->seconds),
                      (size_t)ceil(p->seconds));
    }
}

/* One step after the other until nothing is left to do. */
static ign_status run_all(struct round *r, ign_error *e) {
    const struct benchmark_plan *p = &r->b->plan;
    ign_status rc = IGN_OK;
    int busy = 0;
    r->start = r->end = os_now();
    do {
        for (int i = 0; i < p->n_session && !rc; i++) {
            if (!r->seat[i].busy && more_wanted(r)) {
                rc = p->profile ? benchmark_profile_prompt(r->b, e) : IGN_OK;
                rc = rc ? rc
                        : seat_begin(&r->seat[i], p->depth, r->prompt, p->n_prompt, p->n_new, e);
                r->n_begun++;
            }
        }
        if (rc) {
            return rc;
        }
        draw(r);
        rc = ign_step(r->b->model, &busy, e);
        if (p->profile) {
            benchmark_profile_step(r->b);
        }
        for (int i = 0; i < p->n_session; i++) {
            if (r->seat[i].busy && r->seat[i].ended) {
                seat_end(r, &r->seat[i]);
                r->end = os_now();
            }
        }
    } while (!rc && (busy > 0 || more_wanted(r)));
    return rc;
}

/* A request from position 0 on that is not counted. */
static ign_status ask_uncounted(struct round *r, struct seat *seat, const int32_t *ids, int n,
                                int n_new, ign_error *e) {
    int busy = 1;
    ign_status rc = seat_begin(seat, 0, ids, n, n_new, e);
    while (!rc && busy > 0) {
        rc = ign_step(r->b->model, &busy, e);
    }
    seat->busy = false;
    if (!rc && seat->stop == IGN_STOP_ERROR) {
        *e = seat->error;
        rc = e->code;
    }
    return rc;
}

/* Touches every weight; what it takes is not counted. */
static ign_status warm_up(struct round *r, ign_error *e) {
    int n = r->b->plan.n_prompt;
    return ask_uncounted(r, r->seat, r->prompt, n < WARM_PROMPT ? n : WARM_PROMPT, WARM_NEW, e);
}

/* Gives every session the positions that are to be there before its requests. */
static ign_status fill_depth(struct round *r, ign_error *e) {
    const struct benchmark_plan *p = &r->b->plan;
    int32_t ids[FILL_PROMPT];
    int n = p->depth < FILL_PROMPT ? p->depth : FILL_PROMPT;
    if (n == 0) {
        return IGN_OK;
    }
    ign_status rc = make_prompt(r->b, ids, (size_t)n, e);
    for (int i = 0; i < p->n_session && !rc && !interrupt_seen(r->b->c->intr); i++) {
        rc = ask_uncounted(r, &r->seat[i], ids, n, 0, e);
        rc = rc || interrupt_seen(r->b->c->intr) ? rc : session_repeat(r->seat[i].s, p->depth, e);
    }
    return rc;
}

static ign_status out_of_memory(ign_error *e) {
    snprintf(e->text, sizeof e->text, "out of memory for the requests");
    return e->code = IGN_NOMEM;
}

static ign_status run_open(struct round *r, ign_error *e) {
    const struct benchmark_plan *p = &r->b->plan;
    const ign_sampling greedy = {.top_p = 1, .typical = 1, .repeat_penalty = 1};
    size_t n = (size_t)p->n_session, n_new = (size_t)p->n_new;
    r->seat = mem_zalloc(n, sizeof *r->seat);
    r->session = mem_zalloc(n, sizeof(ign_session *));
    r->prompt = mem_alloc((size_t)p->n_prompt, sizeof *r->prompt);
    r->ids = mem_alloc((n + 1) * n_new, sizeof *r->ids);
    r->when = mem_alloc(n * n_new, sizeof *r->when);
    if (!r->seat || !r->session || !r->prompt || !r->ids || !r->when) {
        return out_of_memory(e);
    }
    for (size_t i = 0; i < n; i++) {
        struct seat *seat = &r->seat[i];
        ign_status rc = ign_session_create(r->b->model, p->depth + p->n_prompt + p->n_new, &greedy,
                                           &seat->s, e);
        if (rc) {
            return rc;
        }
        r->session[i] = seat->s;
        seat->ids = r->ids + i * n_new;
        seat->when = r->when + i * n_new;
    }
    return make_prompt(r->b, r->prompt, (size_t)p->n_prompt, e);
}

static void run_close(struct round *r) {
    for (int i = 0; r->seat && i < r->b->plan.n_session; i++) {
        ign_session_free(r->seat[i].s);
    }
    mem_free(r->seat);
    mem_free(r->session);
    mem_free(r->prompt);
    mem_free(r->ids);
    mem_free(r->when);
}

ign_status benchmark_run(struct benchmark *b, ign_error *e) {
    struct round r = {.b = b};
    struct interrupt *intr = b->c->intr;
    ign_status rc = run_open(&r, e);
    if (!rc) {
        interrupt_cancels_all(intr, r.session, (size_t)b->plan.n_session);
        progress_begin(&r.bar, b->c, b->plan.n_request > 0 ? "tokens" : "seconds");
        rc = warm_up(&r, e);
        rc = rc || interrupt_seen(intr) ? rc : fill_depth(&r, e);
        if (!rc && b->plan.profile) {
            rc = benchmark_profile_begin(b, r.prompt, b->plan.n_prompt, e);
        }
        rc = rc || interrupt_seen(intr) ? rc : run_all(&r, e);
        progress_end(&r.bar);
        interrupt_waits(intr);
    }
    b->result.seconds = r.end - r.start;
    b->result.interrupted = interrupt_seen(intr);
    b->result.peak_rss = os_memory_peak();
    b->result.large = ign_model_large_pages(b->model);
    run_close(&r);
    return rc;
}
