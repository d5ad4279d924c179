/* jinja_access.c: what o.name, o[key] and o[a:b] give.
 *
 * Owns the order in which attributes and items are tried, and the names that Python's own types
 * have: a name that Python has and we do not know must not look undefined. Refuses host objects:
 * there are none to reach; names with underscores in front are undefined, as in the sandbox.
 * Source: sandbox.py of Jinja2 3.1 (getattr, getitem, modifies_known_mutable).
 */
#include <string.h>

#include "text/jinja_int.h"

/* Names separated by spaces, with one at both ends. */
static bool names_have(const char *names, struct str name) {
    for (const char *p = names; *p != 0;) {
        size_t n = strcspn(p, " ");
        if (n == name.n && memcmp(p, name.p, n) == 0) {
            return true;
        }
        p += n + (p[n] == ' ');
    }
    return false;
}

static const char str_names[] =
    "capitalize casefold center count encode endswith expandtabs find format format_map index "
    "isalnum isalpha isascii isdecimal isdigit isidentifier islower isnumeric isprintable isspace "
    "istitle isupper join ljust lower lstrip maketrans partition removeprefix removesuffix replace "
    "rfind rindex rjust rpartition rsplit rstrip split splitlines startswith strip swapcase title "
    "translate upper zfill";
static const char dict_names[] = "copy fromkeys get items keys values";
static const char list_names[] = "copy count index";
static const char tuple_names[] = "count index";
static const char view_names[] = "isdisjoint mapping";
static const char int_names[] =
    "as_integer_ratio bit_count bit_length conjugate from_bytes to_bytes";
static const char float_names[] = "as_integer_ratio conjugate fromhex hex is_integer";
/* What would change a value: Jinja2's sandbox gives undefined, and an error when it is called. */
static const char dict_changes[] = "clear pop popitem setdefault update";
static const char list_changes[] = "append clear extend insert pop remove reverse sort";

static bool access_method(struct jrun *r, struct jval o, struct str name, const char *names,
                          jfilter_fn fn, struct jval *out, bool *found) {
    *found = names_have(names, name);
    if (!*found) {
        return true;
    }
    struct jmethod *m = jrun_alloc(r, 1, sizeof *m);
    char *copy = jrun_alloc(r, name.n + 1, 1);
    if (m == NULL || copy == NULL) {
        return false;
    }
    memcpy(copy, name.p, name.n);
    copy[name.n] = 0;
    *m = (struct jmethod){.self = o, .name = copy, .fn = fn};
    *out = (struct jval){.kind = JV_METHOD, .u.method = m};
    return true;
}

static bool access_change(struct jval o, struct str name, struct jval *out) {
    bool dict = o.kind == JV_DICT && names_have(dict_changes, name);
    bool list = o.kind == JV_LIST && names_have(list_changes, name);
    if (dict || list) {
        *out = jval_undef("a template may not change lists and dictionaries");
    }
    return dict || list;
}

static bool access_number(struct jrun *r, struct jval o, struct str name, struct jval *out,
                          bool *found) {
    bool is_int = o.kind != JV_FLOAT;
    int64_t i = 0;
    jval_as_int(o, &i);
    *found = true;
    if (str_is(name, "real") || (is_int && str_is(name, "numerator"))) {
        *out = is_int ? jval_int(i) : o;
    } else if (str_is(name, "imag")) {
        *out = is_int ? jval_int(0) : jval_float(0);
    } else if (is_int && str_is(name, "denominator")) {
        *out = jval_int(1);
    } else {
        return access_method(r, o, name, is_int ? int_names : float_names, NULL, out, found);
    }
    return true;
}

static bool access_range(const struct jrange *g, struct str name, struct jval *out) {
    *out = jval_int(str_is(name, "start") ? g->start : str_is(name, "stop") ? g->stop : g->step);
    return str_is(name, "start") || str_is(name, "stop") || str_is(name, "step");
}

static bool access_macro(struct jrun *r, const struct jmacro *m, struct str name, struct jval *out,
                         bool *found) {
    *found = str_is(name, "name");
    if (!*found) {
        return true;
    }
    if (m->node->sym == NULL) {
        *out = jval_none();
        return true;
    }
    return jstr_make(r, m->node->sym->s.p, m->node->sym->s.n, true, out);
}

static bool cycler_next(struct jrun *r, struct jval self, const struct jargs *a, struct jval *out) {
    (void)r, (void)a;
    struct jcycler *c = self.u.cycler;
    *out = c->item[c->pos];
    c->pos = (c->pos + 1) % c->n;
    return true;
}

static bool cycler_reset(struct jrun *r, struct jval self, const struct jargs *a,
                         struct jval *out) {
    (void)r, (void)a;
    self.u.cycler->pos = 0;
    *out = jval_none();
    return true;
}

static bool access_cycler(struct jrun *r, struct jval o, struct str name, struct jval *out,
                          bool *found) {
    if (str_is(name, "current")) {
        *out = o.u.cycler->item[o.u.cycler->pos];
        *found = true;
        return true;
    }
    jfilter_fn fn = str_is(name, "next") ? cycler_next : cycler_reset;
    return access_method(r, o, name, "next reset", fn, out, found);
}

/* What Python's getattr finds. */
static bool access_attr(struct jrun *r, struct jval o, struct str name, struct jval *out,
                        bool *found) {
    *found = false;
    if (name.n > 0 && name.p[0] == '_') {
        return true;
    }
    *found = access_change(o, name, out);
    if (*found) {
        return true;
    }
    switch (o.kind) {
    case JV_STR: return access_method(r, o, name, str_names, jmethod_find_str(name), out, found);
    case JV_DICT: return access_method(r, o, name, dict_names, jmethod_find_dict(name), out, found);
    case JV_LIST: return access_method(r, o, name, list_names, jmethod_find_seq(name), out, found);
    case JV_TUPLE:
        return access_method(r, o, name, tuple_names, jmethod_find_seq(name), out, found);
    case JV_VIEW: return access_method(r, o, name, view_names, NULL, out, found);
    case JV_BOOL:
    case JV_INT:
    case JV_FLOAT: return access_number(r, o, name, out, found);
    case JV_SPACE: *found = jdict_get(o.u.d, name, out); return true;
    case JV_LOOP: return jloop_attr(r, o.u.loop, name, out, found);
    case JV_MACRO: return access_macro(r, o.u.macro, name, out, found);
    case JV_RANGE: *found = access_range(o.u.range, name, out); return true;
    case JV_CYCLER: return access_cycler(r, o, name, out, found);
    default: return true;
    }
}

static bool access_index(struct jrun *r, struct jval o, int64_t i, struct jval *out, bool *found) {
    size_t n;
    if (!jval_length(r, o, &n)) {
        return false;
    }
    i += i < 0 ? (int64_t)n : 0;
    *found = i >= 0 && i < (int64_t)n;
    if (!*found) {
        return true;
    }
    if (o.kind == JV_RANGE) {
        *out = jval_int(o.u.range->start + i * o.u.range->step);
    } else if (o.kind == JV_STR) {
        size_t from = jstr_byte_of(o.u.s, (size_t)i), len;
        jstr_cp(o.u.s, from, &len);
        return jrun_charge(r, o.u.s->n / 64) && jstr_part(r, o.u.s, from, from + len, out);
    } else {
        *out = o.u.l->v[i];
    }
    return true;
}

/* What o[key] finds. */
static bool access_item(struct jrun *r, struct jval o, struct jval key, struct jval *out,
                        bool *found) {
    int64_t i;
    *found = false;
    if (o.kind == JV_DICT) {
        return !jval_hashable(key) || jdict_find(r, o.u.d, key, out, found);
    }
    bool sequence =
        o.kind == JV_STR || o.kind == JV_LIST || o.kind == JV_TUPLE || o.kind == JV_RANGE;
    return !sequence || !jval_as_int(key, &i) || access_index(r, o, i, out, found);
}

bool jval_attr(struct jrun *r, struct jval o, struct str name, struct jval *out) {
    bool found;
    if (o.kind == JV_UNDEF) {
        return jval_fail_undef(r, o);
    }
    if (!access_attr(r, o, name, out, &found)) {
        return false;
    }
    if (!found && o.kind == JV_DICT) {
        found = jdict_get(o.u.d, name, out);
        if (!jrun_charge(r, 1 + o.u.d->n / 8)) {
            return false;
        }
    }
    return found || jval_undef_named(r, name, out);
}

bool jval_item(struct jrun *r, struct jval o, struct jval key, struct jval *out) {
    bool found;
    if (o.kind == JV_UNDEF) {
        return jval_fail_undef(r, o);
    }
    if (!access_item(r, o, key, out, &found)) {
        return false;
    }
    if (!found && key.kind == JV_STR && !access_attr(r, o, jstr_view(key.u.s), out, &found)) {
        return false;
    }
    if (found) {
        return true;
    }
    return jval_undef_named(r, key.kind == JV_STR ? jstr_view(key.u.s) : str_c("item"), out);
}

/* ---- slices -------------------------------------------------------------------------- */

/* Python's slice.indices(): start, stop and step against a length. */
static bool slice_bounds(struct jrun *r, const struct jval bound[3], int64_t n, int64_t *start,
                         int64_t *stop, int64_t *step) {
    int64_t v[3] = {0, 0, 1};
    bool given[3];
    for (int i = 0; i < 3; i++) {
        given[i] = bound[i].kind != JV_NONE && bound[i].kind != JV_MISSING;
        if (given[i] && !jval_as_int(bound[i], &v[i])) {
            return bound[i].kind == JV_UNDEF
                       ? jval_fail_undef(r, bound[i])
                       : jrun_fail(r, ERR_FORMAT, "a slice needs integers, not a %s",
                                   jval_type(bound[i]));
        }
    }
    if (v[2] == 0) {
        return jrun_fail(r, ERR_FORMAT, "the step of a slice is zero");
    }
    *step = v[2] < -INT64_MAX ? -INT64_MAX : v[2];
    int64_t low = *step < 0 ? -1 : 0, high = *step < 0 ? n - 1 : n;
    for (int i = 0; i < 2; i++) {
        bool at_high = (i == 0) == (*step < 0);
        int64_t x = at_high ? high : low;
        if (given[i]) {
            x = v[i] < 0 ? (v[i] < -n ? low : v[i] + n) : v[i];
            x = x < low ? low : x > high ? high : x;
        }
        *(i == 0 ? start : stop) = x;
    }
    return true;
}

static bool slice_str(struct jrun *r, const struct jstr *s, int64_t start, int64_t step, size_t n,
                      struct jval *out) {
    if (n == 0) {
        return jstr_part(r, s, 0, 0, out);
    }
    if (step == 1) {
        size_t from = jstr_byte_of(s, (size_t)start);
        struct jstr rest = *s;
        rest.p += from;
        rest.n -= from;
        size_t to = from + jstr_byte_of(&rest, n);
        return jrun_charge(r, s->n / 64) && jstr_part(r, s, from, to, out);
    }
    struct jbuild b;
    jbuild_init(&b, r);
    if (!jrun_charge(r, s->n)) {
        return false;
    }
    size_t *at = jrun_alloc(r, s->n + 1, sizeof *at); /* byte of each character */
    if (at == NULL) {
        return false;
    }
    size_t chars = 0;
    for (size_t i = 0, len; i < s->n; i += len) {
        jstr_cp(s, i, &len);
        at[chars++] = i;
    }
    at[chars] = s->n;
    for (size_t k = 0; k < n; k++) {
        int64_t i = start + (int64_t)k * step;
        if (!jbuild_put_part(&b, s, at[i], at[i + 1])) {
            return false;
        }
    }
    return jbuild_end(&b, out);
}

bool jval_slice(struct jrun *r, struct jval o, const struct jval bound[3], struct jval *out) {
    size_t len;
    int64_t start = 0, stop = 0, step = 1;
    if (o.kind == JV_UNDEF) {
        return jval_fail_undef(r, o);
    }
    if (o.kind != JV_STR && o.kind != JV_LIST && o.kind != JV_TUPLE && o.kind != JV_RANGE) {
        return jrun_fail(r, ERR_FORMAT, "a %s cannot be sliced", jval_type(o));
    }
    if (!jval_length(r, o, &len) || !slice_bounds(r, bound, (int64_t)len, &start, &stop, &step)) {
        return false;
    }
    size_t n = 0;
    if (step > 0 ? start < stop : start > stop) {
        int64_t span = step > 0 ? stop - start - 1 : start - stop - 1;
        n = (size_t)(span / (step > 0 ? step : -step)) + 1;
    }
    if (o.kind == JV_STR) {
        return slice_str(r, o.u.s, start, step, n, out);
    }
    if (o.kind == JV_RANGE) {
        struct jrange *g = jrun_alloc(r, 1, sizeof *g);
        if (g == NULL) {
            return false;
        }
        g->start = o.u.range->start + start * o.u.range->step;
        g->step = n <= 1 && (step > 1000000 || step < -1000000) ? 1 : step * o.u.range->step;
        g->stop = o.u.range->start + stop * o.u.range->step;
        g->n = n;
        *out = (struct jval){.kind = JV_RANGE, .u.range = g};
        return true;
    }
    if (!jval_list(r, o.kind, n, out)) {
        return false;
    }
    for (size_t k = 0; k < n; k++) {
        if (!jlist_add(r, out->u.l, o.u.l->v[start + (int64_t)k * step])) {
            return false;
        }
    }
    return true;
}
