/* jinja_method.c: methods of strings, dictionaries and lists, and the global functions.
 *
 * Owns the tables by name. Methods that change their value are not here (jinja_access.c refuses
 * them). Source: Python's built-in types; utils.py of Jinja2 3.1; transformers for
 * raise_exception and strftime_now.
 */
#include <string.h>

#include "base/os.h"
#include "text/jinja_filter.h"
#include "text/jinja_int.h"

#define METHOD(type, name)                                                                         \
    static bool type##_##name(struct jrun *r, struct jval self, const struct jargs *a,             \
                              struct jval *out)

static const char *const sep_names[] = {"sep", "maxsplit"};

static bool method_none(struct jrun *r, const char *what, const struct jargs *a) {
    return jargs_bind(r, what, a, NULL, 0, 0, NULL);
}

/* Positional arguments only, as most of Python's built-in methods take them. */
static bool method_args(struct jrun *r, const char *what, const struct jargs *a, size_t min,
                        size_t max, struct jval *v) {
    if (a->n_key > 0 || a->n < min || a->n > max) {
        return jrun_fail(r, ERR_FORMAT, "%s() takes %zu to %zu arguments and no names", what, min,
                         max);
    }
    for (size_t i = 0; i < max; i++) {
        v[i] = i < a->n ? a->pos[i] : (struct jval){.kind = JV_MISSING};
    }
    return true;
}

static bool method_want_str(struct jrun *r, const char *what, struct jval v) {
    return v.kind == JV_STR ||
           jrun_fail(r, ERR_FORMAT, "%s() needs a string, not a %s", what, jval_type(v));
}

/* A method of a Markup gives a Markup. */
static bool method_keep_markup(struct jval self, struct jval *out) {
    if (self.u.s->markup && out->kind == JV_STR && out->u.s != self.u.s) {
        ((struct jstr *)out->u.s)->markup = true; /* just made */
    }
    return true;
}

/* ---- strings: case and stripping ----------------------------------------------------- */

#define METHOD_CASE(name, how)                                                                     \
    METHOD(str, name) {                                                                            \
        return method_none(r, #name, a) && jstr_case(r, self.u.s, how, out) &&                     \
               method_keep_markup(self, out);                                                      \
    }

METHOD_CASE(upper, JCASE_UPPER)
METHOD_CASE(lower, JCASE_LOWER)
METHOD_CASE(capitalize, JCASE_CAPITALIZE)
METHOD_CASE(title, JCASE_TITLE)
METHOD_CASE(swapcase, JCASE_SWAP)

static bool str_strip_side(struct jrun *r, struct jval self, const struct jargs *a, unsigned side,
                           struct jval *out) {
    struct jval v;
    if (!method_args(r, "strip", a, 0, 1, &v)) {
        return false;
    }
    bool given = v.kind != JV_MISSING && v.kind != JV_NONE;
    return (!given || method_want_str(r, "strip", v)) &&
           jstr_strip(r, self.u.s, given ? v.u.s : NULL, side, out);
}

METHOD(str, strip) {
    return str_strip_side(r, self, a, JSIDE_LEFT | JSIDE_RIGHT, out);
}

METHOD(str, lstrip) {
    return str_strip_side(r, self, a, JSIDE_LEFT, out);
}

METHOD(str, rstrip) {
    return str_strip_side(r, self, a, JSIDE_RIGHT, out);
}

METHOD(str, removeprefix) {
    struct jval v;
    if (!method_args(r, "removeprefix", a, 1, 1, &v) || !method_want_str(r, "removeprefix", v)) {
        return false;
    }
    const struct jstr *s = self.u.s;
    bool has = v.u.s->n <= s->n && memcmp(s->p, v.u.s->p, v.u.s->n) == 0;
    return jstr_part(r, s, has ? v.u.s->n : 0, s->n, out);
}

METHOD(str, removesuffix) {
    struct jval v;
    if (!method_args(r, "removesuffix", a, 1, 1, &v) || !method_want_str(r, "removesuffix", v)) {
        return false;
    }
    const struct jstr *s = self.u.s;
    size_t n = v.u.s->n;
    bool has = n <= s->n && memcmp(s->p + s->n - n, v.u.s->p, n) == 0;
    return jstr_part(r, s, 0, has ? s->n - n : s->n, out);
}

/* ---- strings: splitting and joining -------------------------------------------------- */

static bool str_split_side(struct jrun *r, struct jval self, const struct jargs *a, bool right,
                           struct jval *out) {
    struct jval v[2];
    int64_t max;
    if (!jargs_bind(r, "split", a, sep_names, 2, 0, v) || !jargs_int(r, "split", v[1], -1, &max)) {
        return false;
    }
    bool given = v[0].kind != JV_MISSING && v[0].kind != JV_NONE;
    return (!given || method_want_str(r, "split", v[0])) &&
           jstr_split(r, self.u.s, given ? v[0].u.s : NULL, max, right, out);
}

METHOD(str, split) {
    return str_split_side(r, self, a, false, out);
}

METHOD(str, rsplit) {
    return str_split_side(r, self, a, true, out);
}

METHOD(str, splitlines) {
    static const char *const name[] = {"keepends"};
    struct jval v;
    return jargs_bind(r, "splitlines", a, name, 1, 0, &v) &&
           jstr_splitlines(r, self.u.s, jval_truth(v), out);
}

static bool str_partition_side(struct jrun *r, struct jval self, const struct jargs *a, bool right,
                               struct jval *out) {
    struct jval sep, part[3];
    if (!method_args(r, "partition", a, 1, 1, &sep) || !method_want_str(r, "partition", sep)) {
        return false;
    }
    const struct jstr *s = self.u.s;
    if (sep.u.s->n == 0) {
        return jrun_fail(r, ERR_FORMAT, "partition() needs a separator that is not empty");
    }
    size_t at =
        right ? jstr_rfind(s, jstr_view(sep.u.s), s->n) : jstr_find(s, jstr_view(sep.u.s), 0);
    bool found = at != SIZE_MAX;
    size_t cut[4] = {0, right ? 0 : s->n, right ? 0 : s->n, s->n};
    if (found) {
        cut[1] = at;
        cut[2] = at + sep.u.s->n;
    }
    if (!jrun_charge(r, 1 + s->n / 16) || !jval_list(r, JV_TUPLE, 3, out)) {
        return false;
    }
    for (int i = 0; i < 3; i++) {
        if (!jstr_part(r, s, cut[i], cut[i + 1], &part[i]) || !jlist_add(r, out->u.l, part[i])) {
            return false;
        }
    }
    return true;
}

METHOD(str, partition) {
    return str_partition_side(r, self, a, false, out);
}

METHOD(str, rpartition) {
    return str_partition_side(r, self, a, true, out);
}

METHOD(str, join) {
    struct jval v;
    return method_args(r, "join", a, 1, 1, &v) && jstr_join(r, self.u.s, v, false, out);
}

METHOD(str, replace) {
    struct jval v[3];
    int64_t count;
    return method_args(r, "replace", a, 2, 3, v) && method_want_str(r, "replace", v[0]) &&
           method_want_str(r, "replace", v[1]) && jargs_int(r, "replace", v[2], -1, &count) &&
           jstr_replace(r, self.u.s, v[0].u.s, v[1].u.s, count, out);
}

METHOD(str, format) {
    return jformat_braces(r, self.u.s, a, out);
}

/* ---- strings: searching -------------------------------------------------------------- */

/* The optional start and end of find and its siblings, as bytes; start past the end: false. */
static bool str_window(struct jrun *r, const struct jstr *s, struct jval from, struct jval to,
                       size_t *lo, size_t *hi, bool *past) {
    int64_t n = (int64_t)jstr_chars(s), a, b;
    if (from.kind == JV_NONE) {
        from.kind = JV_MISSING;
    }
    if (to.kind == JV_NONE) {
        to.kind = JV_MISSING;
    }
    if (!jargs_int(r, "find", from, 0, &a) || !jargs_int(r, "find", to, n, &b)) {
        return false;
    }
    a = a < 0 ? (a < -n ? 0 : a + n) : a;
    b = b < 0 ? (b < -n ? 0 : b + n) : b > n ? n : b;
    *past = a > n || b < a;
    *lo = jstr_byte_of(s, (size_t)(a > n ? n : a));
    *hi = jstr_byte_of(s, (size_t)b);
    return jrun_charge(r, 1 + s->n / 16);
}

/* Where sub is, in characters, or -1. */
static bool str_search(struct jrun *r, struct jval self, const struct jargs *a, bool right,
                       int64_t *at) {
    struct jval v[3];
    size_t lo, hi;
    bool past;
    if (!method_args(r, "find", a, 1, 3, v) || !method_want_str(r, "find", v[0]) ||
        !str_window(r, self.u.s, v[1], v[2], &lo, &hi, &past)) {
        return false;
    }
    struct jstr window = *self.u.s;
    *at = -1;
    if (past) {
        return true;
    }
    window.n = hi;
    size_t i = right ? jstr_rfind(&window, jstr_view(v[0].u.s), hi)
                     : jstr_find(&window, jstr_view(v[0].u.s), lo);
    if (i != SIZE_MAX && i >= lo) {
        window.n = i;
        *at = (int64_t)jstr_chars(&window);
    }
    return true;
}

#define METHOD_FIND(name, right, must)                                                             \
    METHOD(str, name) {                                                                            \
        int64_t at;                                                                                \
        if (!str_search(r, self, a, right, &at)) {                                                 \
            return false;                                                                          \
        }                                                                                          \
        *out = jval_int(at);                                                                       \
        return at >= 0 || !(must) || jrun_fail(r, ERR_FORMAT, #name "(): not found");              \
    }

METHOD_FIND(find, false, false)
METHOD_FIND(rfind, true, false)
METHOD_FIND(index, false, true)
METHOD_FIND(rindex, true, true)

METHOD(str, count) {
    struct jval v[3];
    size_t lo, hi;
    bool past;
    int64_t n = 0;
    if (!method_args(r, "count", a, 1, 3, v) || !method_want_str(r, "count", v[0]) ||
        !str_window(r, self.u.s, v[1], v[2], &lo, &hi, &past)) {
        return false;
    }
    struct jstr window = *self.u.s;
    window.p += lo;
    window.n = past ? 0 : hi - lo;
    window.origin = NULL;
    struct str sub = jstr_view(v[0].u.s);
    if (sub.n == 0) {
        n = past ? 0 : (int64_t)jstr_chars(&window) + 1;
    }
    for (size_t i = 0; sub.n > 0 && (i = jstr_find(&window, sub, i)) != SIZE_MAX; i += sub.n) {
        n++;
    }
    *out = jval_int(n);
    return true;
}

static bool str_affix(struct jrun *r, struct jval self, const struct jargs *a, bool end,
                      struct jval *out) {
    const char *what = end ? "endswith" : "startswith";
    struct jval v[3];
    size_t lo, hi;
    bool past;
    if (!method_args(r, what, a, 1, 3, v) ||
        !str_window(r, self.u.s, v[1], v[2], &lo, &hi, &past)) {
        return false;
    }
    bool many = v[0].kind == JV_TUPLE;
    bool yes = false;
    for (size_t i = 0; i < (many ? v[0].u.l->n : 1); i++) {
        struct jval sub = many ? v[0].u.l->v[i] : v[0];
        if (!method_want_str(r, what, sub)) {
            return false;
        }
        size_t n = sub.u.s->n;
        yes = yes || (!past && n <= hi - lo &&
                      memcmp(self.u.s->p + (end ? hi - n : lo), sub.u.s->p, n) == 0);
    }
    *out = jval_bool(yes);
    return true;
}

METHOD(str, startswith) {
    return str_affix(r, self, a, false, out);
}

METHOD(str, endswith) {
    return str_affix(r, self, a, true, out);
}

/* ---- strings: questions -------------------------------------------------------------- */

static bool uni_is_alnum(uint32_t cp) {
    return juni_is_alpha(cp) || juni_is_numeric(cp);
}

static bool uni_is_ascii(uint32_t cp) {
    return cp < 0x80;
}

/* Whether all characters are; `empty` is the answer for none. */
static bool str_all(struct jrun *r, struct jval self, const struct jargs *a, bool (*is)(uint32_t),
                    bool empty, struct jval *out) {
    const struct jstr *s = self.u.s;
    bool yes = s->n > 0 || empty;
    for (size_t i = 0, len; yes && i < s->n; i += len) {
        yes = is(jstr_cp(s, i, &len));
    }
    *out = jval_bool(yes);
    return jrun_charge(r, s->n / 8) && method_none(r, "is...", a);
}

#define METHOD_ALL(name, is, empty)                                                                \
    METHOD(str, name) {                                                                            \
        return str_all(r, self, a, is, empty, out);                                                \
    }

METHOD_ALL(isalpha, juni_is_alpha, false)
METHOD_ALL(isdecimal, juni_is_decimal, false)
METHOD_ALL(isdigit, juni_is_digit, false)
METHOD_ALL(isnumeric, juni_is_numeric, false)
METHOD_ALL(isspace, juni_is_space, false)
METHOD_ALL(isalnum, uni_is_alnum, false)
METHOD_ALL(isascii, uni_is_ascii, true)
METHOD_ALL(isprintable, juni_is_printable, true)

static bool str_is_case(struct jrun *r, struct jval self, const struct jargs *a, const char *test,
                        struct jval *out) {
    bool yes;
    if (!jtest_find(str_c(test))->fn(r, self, a, &yes)) {
        return false;
    }
    *out = jval_bool(yes);
    return true;
}

METHOD(str, isupper) {
    return str_is_case(r, self, a, "upper", out);
}

METHOD(str, islower) {
    return str_is_case(r, self, a, "lower", out);
}

METHOD(str, istitle) {
    bool some = false, ok = true, inside = false;
    const struct jstr *s = self.u.s;
    for (size_t i = 0, len; ok && i < s->n; i += len) {
        uint32_t cp = jstr_cp(s, i, &len);
        bool upper = juni_is_upper(cp) || juni_is_title(cp);
        ok = !(upper && inside) && !(juni_is_lower(cp) && !inside);
        inside = juni_is_cased(cp);
        some = some || inside;
    }
    *out = jval_bool(ok && some);
    return jrun_charge(r, s->n / 8) && method_none(r, "istitle", a);
}

/* ---- strings: padding ---------------------------------------------------------------- */

static bool str_pad(struct jrun *r, struct jval self, const struct jargs *a, int side,
                    struct jval *out) {
    struct jval v[2] = {0};
    struct jbuild b;
    int64_t width;
    jbuild_init(&b, r);
    if (!method_args(r, "just", a, 1, 2, v) || !jargs_int(r, "just", v[0], 0, &width)) {
        return false;
    }
    if (v[1].kind != JV_MISSING && (v[1].kind != JV_STR || jstr_chars(v[1].u.s) != 1)) {
        return jrun_fail(r, ERR_FORMAT, "the padding must be one character");
    }
    int64_t pad = width - (int64_t)jstr_chars(self.u.s);
    pad = pad > 0 ? pad : 0;
    if (pad > (int64_t)r->max_bytes) {
        return jrun_fail(r, ERR_LIMIT, "a text of more than %zu bytes", r->max_bytes);
    }
    int64_t left = side < 0 ? pad : side > 0 ? 0 : pad / 2 + (pad & width & 1);
    for (int64_t i = 0; i <= pad; i++) {
        if (i == left && !jbuild_put_str(&b, self.u.s)) {
            return false;
        }
        if (i < pad &&
            !(v[1].kind == JV_STR ? jbuild_put_str(&b, v[1].u.s) : jbuild_put(&b, " ", 1, true))) {
            return false;
        }
    }
    return jrun_charge(r, (size_t)pad / 4) && jbuild_end(&b, out);
}

METHOD(str, ljust) {
    return str_pad(r, self, a, 1, out);
}

METHOD(str, rjust) {
    return str_pad(r, self, a, -1, out);
}

METHOD(str, center) {
    return str_pad(r, self, a, 0, out);
}

METHOD(str, zfill) {
    struct jval v;
    struct jbuild b;
    int64_t width;
    jbuild_init(&b, r);
    if (!method_args(r, "zfill", a, 1, 1, &v) || !jargs_int(r, "zfill", v, 0, &width)) {
        return false;
    }
    const struct jstr *s = self.u.s;
    int64_t pad = width - (int64_t)jstr_chars(s);
    size_t sign = s->n > 0 && (s->p[0] == '-' || s->p[0] == '+');
    return jbuild_put_part(&b, s, 0, sign) &&
           jbuild_fill(&b, '0', pad > 0 ? (size_t)pad : 0, true) &&
           jbuild_put_part(&b, s, sign, s->n) && jbuild_end(&b, out);
}

/* ---- dictionaries and lists ---------------------------------------------------------- */

METHOD(dict, get) {
    struct jval v[2];
    bool found;
    if (!method_args(r, "get", a, 1, 2, v)) {
        return false;
    }
    if (!jval_hashable(v[0])) {
        return jrun_fail(r, ERR_FORMAT, "a %s cannot be a key", jval_type(v[0]));
    }
    if (!jdict_find(r, self.u.d, v[0], out, &found)) {
        return false;
    }
    if (!found) {
        *out = v[1].kind == JV_MISSING ? jval_none() : v[1];
    }
    return true;
}

static bool dict_view(struct jrun *r, const struct jargs *a, const char *name, struct jval list,
                      struct jval *out) {
    *out = list;
    out->kind = JV_VIEW;
    out->u.l->view = name;
    return method_none(r, name, a);
}

METHOD(dict, items) {
    struct jval list;
    return jfilter_dict_items(r, self, &list) && dict_view(r, a, "dict_items", list, out);
}

static bool dict_column(struct jrun *r, const struct jval *v, size_t n, struct jval *out) {
    if (!jval_list(r, JV_LIST, n, out)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (!jlist_add(r, out->u.l, v[i])) {
            return false;
        }
    }
    return true;
}

METHOD(dict, keys) {
    struct jval list;
    return dict_column(r, self.u.d->key, self.u.d->n, &list) &&
           dict_view(r, a, "dict_keys", list, out);
}

METHOD(dict, values) {
    struct jval list;
    return dict_column(r, self.u.d->val, self.u.d->n, &list) &&
           dict_view(r, a, "dict_values", list, out);
}

METHOD(dict, copy) {
    struct jval copy;
    if (!method_none(r, "copy", a) || !jval_dict(r, JV_DICT, self.u.d->n, &copy)) {
        return false;
    }
    for (size_t i = 0; i < self.u.d->n; i++) {
        if (!jdict_set(r, copy.u.d, self.u.d->key[i], self.u.d->val[i])) {
            return false;
        }
    }
    *out = copy;
    return true;
}

METHOD(seq, copy) {
    return method_none(r, "copy", a) && dict_column(r, self.u.l->v, self.u.l->n, out);
}

METHOD(seq, count) {
    struct jval v;
    int64_t n = 0;
    if (!method_args(r, "count", a, 1, 1, &v)) {
        return false;
    }
    for (size_t i = 0; i < self.u.l->n; i++) {
        bool same;
        if (!jval_equal(r, self.u.l->v[i], v, &same)) {
            return false;
        }
        n += same;
    }
    *out = jval_int(n);
    return jrun_charge(r, self.u.l->n);
}

METHOD(seq, index) {
    struct jval v[3];
    int64_t n = (int64_t)self.u.l->n, from, to;
    if (!method_args(r, "index", a, 1, 3, v) || !jargs_int(r, "index", v[1], 0, &from) ||
        !jargs_int(r, "index", v[2], n, &to)) {
        return false;
    }
    from = from < 0 ? (from < -n ? 0 : from + n) : from;
    to = to < 0 ? to + n : to > n ? n : to;
    for (int64_t i = from; i < to; i++) {
        bool same;
        if (!jrun_charge(r, 1) || !jval_equal(r, self.u.l->v[i], v[0], &same)) {
            return false;
        }
        if (same) {
            *out = jval_int(i);
            return true;
        }
    }
    return jrun_fail(r, ERR_FORMAT, "index(): not found");
}

/* ---- tables of methods --------------------------------------------------------------- */

static const struct jfilter str_methods[] = {
    {"capitalize", str_capitalize},
    {"center", str_center},
    {"count", str_count},
    {"endswith", str_endswith},
    {"find", str_find},
    {"format", str_format},
    {"index", str_index},
    {"isalnum", str_isalnum},
    {"isalpha", str_isalpha},
    {"isascii", str_isascii},
    {"isdecimal", str_isdecimal},
    {"isdigit", str_isdigit},
    {"islower", str_islower},
    {"isnumeric", str_isnumeric},
    {"isprintable", str_isprintable},
    {"isspace", str_isspace},
    {"istitle", str_istitle},
    {"isupper", str_isupper},
    {"join", str_join},
    {"ljust", str_ljust},
    {"lower", str_lower},
    {"lstrip", str_lstrip},
    {"partition", str_partition},
    {"removeprefix", str_removeprefix},
    {"removesuffix", str_removesuffix},
    {"replace", str_replace},
    {"rfind", str_rfind},
    {"rindex", str_rindex},
    {"rjust", str_rjust},
    {"rpartition", str_rpartition},
    {"rsplit", str_rsplit},
    {"rstrip", str_rstrip},
    {"split", str_split},
    {"splitlines", str_splitlines},
    {"startswith", str_startswith},
    {"strip", str_strip},
    {"swapcase", str_swapcase},
    {"title", str_title},
    {"upper", str_upper},
    {"zfill", str_zfill},
};

static const struct jfilter dict_methods[] = {
    {"copy", dict_copy}, {"get", dict_get},       {"items", dict_items},
    {"keys", dict_keys}, {"values", dict_values},
};

static const struct jfilter seq_methods[] = {
    {"copy", seq_copy},
    {"count", seq_count},
    {"index", seq_index},
};

static jfilter_fn method_find(const struct jfilter *table, size_t n, struct str name) {
    for (size_t i = 0; i < n; i++) {
        if (str_is(name, table[i].name)) {
            return table[i].fn;
        }
    }
    return NULL;
}

jfilter_fn jmethod_find_str(struct str name) {
    return method_find(str_methods, sizeof str_methods / sizeof str_methods[0], name);
}

jfilter_fn jmethod_find_dict(struct str name) {
    return method_find(dict_methods, sizeof dict_methods / sizeof dict_methods[0], name);
}

jfilter_fn jmethod_find_seq(struct str name) {
    return method_find(seq_methods, sizeof seq_methods / sizeof seq_methods[0], name);
}

/* ---- functions ----------------------------------------------------------------------- */

#define RANGE_MAX 100000 /* as Jinja2's sandbox */

static bool func_range(struct jrun *r, const struct jargs *a, struct jval *out) {
    struct jval v[3];
    struct jrange *g = jrun_alloc(r, 1, sizeof *g);
    int64_t n[3] = {0, 0, 1};
    if (g == NULL || !method_args(r, "range", a, 1, 3, v)) {
        return false;
    }
    for (size_t i = 0; i < a->n; i++) {
        size_t to = a->n == 1 ? 1 : i;
        if (!jargs_int(r, "range", v[i], 0, &n[to])) {
            return false;
        }
    }
    if (n[2] == 0) {
        return jrun_fail(r, ERR_FORMAT, "range() needs a step that is not zero");
    }
    *g = (struct jrange){n[0], n[1], n[2], 0};
    if (n[2] > 0 ? n[0] < n[1] : n[0] > n[1]) {
        uint64_t span =
            n[2] > 0 ? (uint64_t)n[1] - (uint64_t)n[0] : (uint64_t)n[0] - (uint64_t)n[1];
        uint64_t step = n[2] > 0 ? (uint64_t)n[2] : 0 - (uint64_t)n[2];
        uint64_t count = (span - 1) / step + 1;
        if (count > RANGE_MAX) {
            return jrun_fail(r, ERR_LIMIT, "a range of more than %d elements", RANGE_MAX);
        }
        g->n = (size_t)count;
    }
    *out = (struct jval){.kind = JV_RANGE, .u.range = g};
    return true;
}

/* dict(mapping or pairs, names...) */
static bool dict_fill(struct jrun *r, const struct jargs *a, struct jdict *d) {
    struct jval name;
    if (a->n > 1) {
        return jrun_fail(r, ERR_FORMAT, "dict() takes at most one value");
    }
    if (a->n == 1 && a->pos[0].kind == JV_DICT) {
        const struct jdict *from = a->pos[0].u.d;
        for (size_t i = 0; i < from->n; i++) {
            if (!jdict_set(r, d, from->key[i], from->val[i])) {
                return false;
            }
        }
    } else if (a->n == 1) {
        struct jiter it, pair;
        struct jval item, k, v, more;
        int got;
        if (!jiter_init(r, &it, a->pos[0])) {
            return false;
        }
        while ((got = jiter_next(r, &it, &item)) == 1) {
            if (!jiter_init(r, &pair, item)) {
                return false;
            }
            if (jiter_next(r, &pair, &k) != 1 || jiter_next(r, &pair, &v) != 1 ||
                jiter_next(r, &pair, &more) != 0) {
                return jrun_fail(r, ERR_FORMAT, "dict() needs pairs");
            }
            if (!jdict_set(r, d, k, v)) {
                return false;
            }
        }
        if (got < 0) {
            return false;
        }
    }
    for (size_t i = 0; i < a->n_key; i++) {
        if (!jstr_make(r, a->key[i].name.p, a->key[i].name.n, a->key[i].trusted, &name) ||
            !jdict_set(r, d, name, a->key[i].v)) {
            return false;
        }
    }
    return true;
}

static bool func_dict(struct jrun *r, const struct jargs *a, struct jval *out) {
    return jval_dict(r, JV_DICT, 0, out) && dict_fill(r, a, out->u.d);
}

static bool func_namespace(struct jrun *r, const struct jargs *a, struct jval *out) {
    if (!jval_dict(r, JV_SPACE, 0, out) || !dict_fill(r, a, out->u.d)) {
        return false;
    }
    for (size_t i = 0; i < out->u.d->n; i++) {
        struct jval k = out->u.d->key[i];
        if (k.kind == JV_STR && k.u.s->n > 0 && k.u.s->p[0] == '_') {
            return jrun_fail(r, ERR_FORMAT, "a namespace's attributes may not start with _");
        }
    }
    return true;
}

static bool func_raise(struct jrun *r, const struct jargs *a, struct jval *out) {
    static const char *const name[] = {"message"};
    struct jval v, s;
    (void)out;
    if (!jargs_bind(r, "raise_exception", a, name, 1, 1, &v) || !jval_str(r, v, &s)) {
        return false;
    }
    return jrun_fail(r, ERR_USAGE, "%.*s", (int)(s.u.s->n < 250 ? s.u.s->n : 250), s.u.s->p);
}

static bool func_strftime(struct jrun *r, const struct jargs *a, struct jval *out) {
    static const char *const name[] = {"format"};
    struct jval v;
    char fmt[128], text[512];
    if (!jargs_bind(r, "strftime_now", a, name, 1, 1, &v) ||
        !method_want_str(r, "strftime_now", v)) {
        return false;
    }
    if (v.u.s->n >= sizeof fmt || memchr(v.u.s->p, 0, v.u.s->n) != NULL) {
        return jrun_fail(r, ERR_LIMIT, "strftime_now: the format is too long");
    }
    memcpy(fmt, v.u.s->p, v.u.s->n);
    fmt[v.u.s->n] = 0;
    size_t n = v.u.s->n > 0 ? os_strftime(text, sizeof text, fmt, r->now) : 0;
    return jstr_make(r, text, n, jstr_all_trusted(v.u.s), out);
}

static bool func_cycler(struct jrun *r, const struct jargs *a, struct jval *out) {
    struct jcycler *c = jrun_alloc(r, 1, sizeof *c);
    if (c == NULL) {
        return false;
    }
    if (a->n == 0 || a->n_key > 0) {
        return jrun_fail(r, ERR_FORMAT, "cycler() needs values");
    }
    *c = (struct jcycler){.item = a->pos, .n = a->n};
    *out = (struct jval){.kind = JV_CYCLER, .u.cycler = c};
    return true;
}

static bool func_joiner(struct jrun *r, const struct jargs *a, struct jval *out) {
    static const char *const name[] = {"sep"};
    struct jjoiner *j = jrun_alloc(r, 1, sizeof *j);
    if (j == NULL || !jargs_bind(r, "joiner", a, name, 1, 0, &j->sep)) {
        return false;
    }
    if (j->sep.kind == JV_MISSING && !jstr_make(r, ", ", 2, true, &j->sep)) {
        return false;
    }
    j->used = false;
    *out = (struct jval){.kind = JV_JOINER, .u.joiner = j};
    return true;
}

const struct jfunc *jfunc_find(struct str name) {
    static const struct jfunc table[] = {
        {"namespace", func_namespace}, {"raise_exception", func_raise},
        {"range", func_range},         {"strftime_now", func_strftime},
        {"dict", func_dict},           {"cycler", func_cycler},
        {"joiner", func_joiner},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (str_is(name, table[i].name)) {
            return &table[i];
        }
    }
    return NULL;
}
