/* benchmark_compare.c: two results side by side, and whether their difference means anything.
 *
 * Owns the list of figures that are compared, and the rule: ranges that overlap are the same. A
 * figure with a minimum and a maximum has that range, and so has its percentage of a ceiling; a
 * ceiling, the best of several turns, goes down to the least of them. What was measured once is
 * taken to be within BAND, or a time within what the ceilings varied by, if that is more. All is
 * read from documents, so that an old one and a new one are treated alike. Invariant: only results
 * of the same question are compared.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/benchmark.h"

#define BAND 0.05

struct item {
    const char *name;
    const char *path[3]; /* keys from the outside in */
    const char
        *from[3]; /* what its range follows: a figure's rates, or a ceiling's spread in percent */
    const char *unit;
    bool less_is_better;
    bool steady; /* does not change with what else the machine does */
};

#define SPREAD(name)                                                                               \
    { "ceilings", "spread_percent", name }
#define RATES(phase)                                                                               \
    { phase, "tokens_per_second" }

static const struct item items[] = {
    {"read bandwidth", {"ceilings", "read_gb_per_s"}, SPREAD("read"), "GB/s", false, false},
    {"int8 rate", {"ceilings", "int8_gmac_per_s"}, SPREAD("int8"), "GMAC/s", false, false},
    {"f32 rate", {"ceilings", "f32_gmac_per_s"}, SPREAD("f32"), "GMAC/s", false, false},
    {"load", {"load_seconds"}, {0}, "s", true, false},
    {"prefill", {"prefill", "tokens_per_second"}, {0}, "tokens/s", false, false},
    {"decode", {"decode", "tokens_per_second"}, {0}, "tokens/s", false, false},
    {"prefill of ceiling", {"prefill", "percent_of_ceiling"}, RATES("prefill"), "%", false, false},
    {"decode of ceiling", {"decode", "percent_of_ceiling"}, RATES("decode"), "%", false, false},
    {"all requests", {"requests", "tokens_per_second"}, {0}, "tokens/s", false, false},
    {"peak memory", {"peak_rss_bytes"}, {0}, "bytes", true, true},
};
enum { N_ITEM = sizeof items / sizeof *items };

/* What must be equal, or there is nothing to compare. */
static const char *const same[] = {"model",      "weights_bytes", "device",
                                   "threads",    "duty",          "prompt_tokens",
                                   "new_tokens", "batch",         "concurrent_requests"};

struct range {
    double min, median, max;
};

static const struct json *find(const struct json *doc, const char *const path[3]) {
    const struct json *j = doc;
    for (int i = 0; i < 3 && path[i] && j; i++) {
        j = json_find(j, path[i]);
    }
    return j;
}

static bool is_number(const struct json *j) {
    return j && (json_kind(j) == JSON_IS_INT || json_kind(j) == JSON_IS_REAL);
}

/* A machine that stands still at times can spread by more than all there is. */
static double at_most(double share) {
    return share < 0.9 ? share : 0.9;
}

/* The share by which a figure may be off that was measured once. */
static double band_of(const struct json *doc, const struct item *it) {
    static const char *const key[] = {
        "largest_ceiling_spread_percent", "ceiling_drift_percent",
        "ceiling_spread_percent" /* the first, before it was renamed */};
    const struct json *noise = json_find(doc, "noise");
    double band = BAND;
    for (int i = 0; i < 3 && noise && !it->steady; i++) {
        const struct json *j = json_find(noise, key[i]);
        double share = is_number(j) ? json_num(j) / 100 : 0;
        band = share > band ? share : band;
    }
    return at_most(band);
}

static bool is_range(const struct range *r) {
    return r->min > 0 && r->min <= r->median && r->median <= r->max;
}

/* An object of minimum, median and maximum. */
static bool read_range(const struct json *j, struct range *r) {
    if (!j || json_kind(j) != JSON_IS_OBJECT) {
        return false;
    }
    const struct json *min = json_find(j, "min"), *max = json_find(j, "max");
    const struct json *median = json_find(j, "median");
    if (!is_number(min) || !is_number(median) || !is_number(max)) {
        return false;
    }
    *r = (struct range){json_num(min), json_num(median), json_num(max)};
    return is_range(r);
}

/* False where the document has no such figure, or one that makes no sense. */
static bool range_of(const struct json *doc, const struct item *it, struct range *r) {
    const struct json *j = find(doc, it->path), *from = it->from[0] ? find(doc, it->from) : NULL;
    struct range rate;
    if (!is_number(j)) {
        return read_range(j, r);
    }
    double v = json_num(j), band = band_of(doc, it);
    if (read_range(from, &rate)) {
        *r = (struct range){v * rate.min / rate.median, v, v * rate.max / rate.median};
    } else if (is_number(from)) {
        *r = (struct range){v * (1 - at_most(json_num(from) / 100)), v, v};
    } else {
        *r = (struct range){v * (1 - band), v, v * (1 + band)};
    }
    return is_range(r);
}

static const char *verdict_of(const struct item *it, const struct range *old,
                              const struct range *now) {
    if (old->min <= now->max && now->min <= old->max) {
        return "same";
    }
    return (now->median > old->median) == it->less_is_better ? "worse" : "better";
}

/* The value of a member, for a message. */
static void show(const struct json *j, char *out, size_t n) {
    if (j && json_kind(j) == JSON_IS_STR) {
        struct str s = json_str(j);
        snprintf(out, n, "%.*s", (int)(s.n < n ? s.n : n - 1), s.p);
    } else if (is_number(j)) {
        snprintf(out, n, "%.15g", json_num(j));
    } else {
        snprintf(out, n, "nothing");
    }
}

static enum err_code parse(struct str text, struct json **doc, struct err *e) {
    enum err_code rc = json_parse(text.p, text.n, doc, e);
    if (!rc && json_kind(*doc) != JSON_IS_OBJECT) {
        rc = err_set(e, ERR_FORMAT, "not a result of ign benchmark --json");
    }
    return rc;
}

enum err_code benchmark_compare_check(const struct benchmark *b, struct err *e) {
    struct json *old = NULL;
    enum err_code rc = parse(str_of(b->against, b->n_against), &old, e);
    if (!rc && !json_find(old, "ceilings")) {
        rc = err_set(e, ERR_FORMAT, "not a result of ign benchmark --json");
    }
    json_free(old);
    if (rc) {
        err_where(e, "%s", knobs_str(b->c->k, "compare"));
    }
    return rc;
}

/* Member by member what must be equal. */
static enum err_code same_members(const struct json *old, const struct json *now, struct err *e) {
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        char was[128], is[128];
        show(json_find(old, same[i]), was, sizeof was);
        show(json_find(now, same[i]), is, sizeof is);
        if (strcmp(was, is) != 0) {
            err_set(e, ERR_USAGE, "the earlier result is of another %s: %s, now it is %s", same[i],
                    was, is);
            err_hint(e, "compare with a result of the same model, machine and request");
            return ERR_USAGE;
        }
    }
    return ERR_OK;
}

enum err_code benchmark_compare_same(const struct benchmark *b, struct err *e) {
    struct json *old = NULL, *now = NULL;
    struct json_writer w;
    struct buf text;
    buf_init(&text, 1 << 20);
    json_writer_init(&w, &text);
    json_open(&w, '{');
    benchmark_put_settings(b, &w);
    json_close(&w, '}');
    enum err_code rc = buf_check(&text, e);
    rc = rc ? rc : parse(str_of(b->against, b->n_against), &old, e);
    rc = rc ? rc : parse(str_of(text.p, text.len), &now, e);
    rc = rc ? rc : same_members(old, now, e);
    json_free(old);
    json_free(now);
    buf_fini(&text);
    if (rc) {
        err_where(e, "%s", knobs_str(b->c->k, "compare"));
    }
    return rc;
}

/* ---- the comparison -------------------------------------------------------------------------- */

struct comparison {
    struct json *old, *now;
    bool noisy[2];
};

static bool is_noisy(const struct json *doc) {
    const char *const path[3] = {"noise", "verdict", NULL};
    const struct json *j = find(doc, path);
    return j && !str_is(json_str(j), "quiet");
}

/* Both documents have been read before: what can fail here is memory. */
static enum err_code compare_open(struct comparison *c, const struct benchmark *b, struct str now,
                                  struct err *e) {
    *c = (struct comparison){0};
    enum err_code rc = parse(str_of(b->against, b->n_against), &c->old, e);
    rc = rc ? rc : parse(now, &c->now, e);
    if (!rc) {
        c->noisy[0] = is_noisy(c->old);
        c->noisy[1] = is_noisy(c->now);
    }
    return rc;
}

static void compare_close(struct comparison *c) {
    json_free(c->old);
    json_free(c->now);
}

static void put_range(struct json_writer *w, const char *key, const struct range *r) {
    const double v[3] = {r->min, r->median, r->max};
    static const char *const name[3] = {"min", "median", "max"};
    json_key(w, key);
    json_open(w, '{');
    for (int i = 0; i < 3; i++) {
        json_key(w, name[i]);
        json_put_real(w, v[i]);
    }
    json_close(w, '}');
}

static void put_item(struct json_writer *w, const struct item *it, const struct range *old,
                     const struct range *now) {
    json_open(w, '{');
    json_key(w, "name");
    json_put_z(w, it->name);
    json_key(w, "unit");
    json_put_z(w, it->unit);
    put_range(w, "old", old);
    put_range(w, "new", now);
    json_key(w, "ratio");
    json_put_real(w, now->median / old->median);
    json_key(w, "verdict");
    json_put_z(w, verdict_of(it, old, now));
    json_close(w, '}');
}

enum err_code benchmark_compare_json(const struct benchmark *b, struct str now,
                                     struct json_writer *w, struct err *e) {
    struct comparison c;
    enum err_code rc = compare_open(&c, b, now, e);
    if (!rc) {
        json_key(w, "compare");
        json_open(w, '{');
        json_key(w, "noisy");
        json_put_bool(w, c.noisy[0] || c.noisy[1]);
        json_key(w, "figures");
        json_open(w, '[');
        for (int i = 0; i < N_ITEM; i++) {
            struct range r[2];
            if (range_of(c.old, &items[i], &r[0]) && range_of(c.now, &items[i], &r[1])) {
                put_item(w, &items[i], &r[0], &r[1]);
            }
        }
        json_close(w, ']');
        json_close(w, '}');
    }
    compare_close(&c);
    return rc;
}

enum err_code benchmark_compare_text(const struct benchmark *b, struct str now, struct err *e) {
    struct comparison c;
    enum err_code rc = compare_open(&c, b, now, e);
    if (!rc) {
        cli_printf(b->c, "\n%-20s %12s %12s %7s\n", "", "before", "now", "ratio");
        for (int i = 0; i < N_ITEM; i++) {
            const struct item *it = &items[i];
            struct range r[2];
            if (range_of(c.old, it, &r[0]) && range_of(c.now, it, &r[1])) {
                bool bytes = strcmp(it->unit, "bytes") == 0;
                double scale = bytes ? 1e-6 : 1;
                cli_printf(b->c, "%-20s %12.2f %12.2f %7.2f  %s (%s)\n", it->name,
                           scale * r[0].median, scale * r[1].median, r[1].median / r[0].median,
                           verdict_of(it, &r[0], &r[1]), bytes ? "MB" : it->unit);
            }
        }
        if (c.noisy[0] || c.noisy[1]) {
            cli_printf(b->c, "the machine was not quiet %s: look at the ratios with care\n",
                       c.noisy[0] && c.noisy[1] ? "in both runs"
                       : c.noisy[0]             ? "in the earlier run"
                                                : "in this run");
        }
    }
    compare_close(&c);
    return rc;
}
