/* jinja_filter_seq.c: the filters on sequences, and generators.
 *
 * Owns sorting, grouping, selecting, mapping. select, reject and map are lazy, as in Jinja2: they
 * give a generator, which is walked once, and whose errors come when they are reached.
 * Source: filters.py of Jinja2 3.1.
 */
#include <string.h>

#include "text/jinja_filter.h"
#include "text/jinja_int.h"

/* ---- attributes by path -------------------------------------------------------------- */

/* "a.b.0" step by step; an integer is itself, MISSING and none the value. `fallback` replaces
 * what is undefined on the way unless it is MISSING or none. */
static bool seq_path(struct jrun *r, struct jval v, struct jval path, struct jval fallback,
                     struct jval *out) {
    bool has = fallback.kind != JV_MISSING && fallback.kind != JV_NONE;
    *out = v;
    if (path.kind == JV_MISSING || path.kind == JV_NONE) {
        return true;
    }
    if (path.kind != JV_STR) {
        if (!jval_item(r, v, path, out)) {
            return false;
        }
        *out = out->kind == JV_UNDEF && has ? fallback : *out;
        return true;
    }
    const struct jstr *s = path.u.s;
    for (size_t from = 0; from <= s->n;) {
        size_t to = jstr_find(s, str_c("."), from);
        to = to == SIZE_MAX ? s->n : to;
        struct str part = str_of(s->p + from, to - from);
        struct jval key, next;
        int64_t i;
        bool overflow;
        bool number = part.n > 0 && strspn(part.p, "0123456789") >= part.n &&
                      jnum_parse_int(part, 10, &i, &overflow);
        if (number) {
            key = jval_int(i);
        } else if (!jstr_part(r, s, from, to, &key)) {
            return false;
        }
        if (!jval_item(r, *out, key, &next)) {
            return false;
        }
        *out = next.kind == JV_UNDEF && has ? fallback : next;
        from = to + 1;
    }
    return true;
}

/* Lower case if it is a string and case does not count. */
static bool seq_fold(struct jrun *r, struct jval v, bool case_sensitive, struct jval *out) {
    if (v.kind == JV_STR && !case_sensitive) {
        return jstr_case(r, v.u.s, JCASE_LOWER, out);
    }
    *out = v;
    return true;
}

static bool seq_key(struct jrun *r, struct jval v, struct jval path, struct jval fallback,
                    bool case_sensitive, struct jval *out) {
    struct jval found;
    return seq_path(r, v, path, fallback, &found) && seq_fold(r, found, case_sensitive, out);
}

/* Like seq_key, for "a,b": a list with the key of each. */
static bool seq_keys(struct jrun *r, struct jval v, struct jval path, bool case_sensitive,
                     struct jval *out) {
    static const struct jval none = {.kind = JV_MISSING};
    static const struct jstr comma = {.p = ",", .n = 1, .ascii = true};
    struct jval paths, key;
    if (!jval_list(r, JV_LIST, 1, out)) {
        return false;
    }
    if (path.kind != JV_STR) {
        return seq_key(r, v, path, none, case_sensitive, &key) && jlist_add(r, out->u.l, key);
    }
    if (!jstr_split(r, path.u.s, &comma, -1, false, &paths)) {
        return false;
    }
    for (size_t i = 0; i < paths.u.l->n; i++) {
        if (!seq_key(r, v, paths.u.l->v[i], none, case_sensitive, &key) ||
            !jlist_add(r, out->u.l, key)) {
            return false;
        }
    }
    return true;
}

/* ---- sorting ------------------------------------------------------------------------- */

/* Merges item[lo..mid) and item[mid..hi), ordered by key, through the spare arrays. */
static bool sort_merge(struct jrun *r, struct jval *item, struct jval *key, struct jval *item2,
                       struct jval *key2, const size_t at[3], bool reverse) {
    size_t a = at[0], b = at[1];
    for (size_t k = at[0]; k < at[2]; k++) {
        bool take_b = a >= at[1];
        if (!take_b && b < at[2]) { /* b first only if it is really smaller: stable */
            bool ok = reverse ? jval_less(r, key[a], key[b], &take_b)
                              : jval_less(r, key[b], key[a], &take_b);
            if (!ok) {
                return false;
            }
        }
        size_t from = take_b ? b++ : a++;
        item2[k] = item[from];
        key2[k] = key[from];
    }
    memcpy(item + at[0], item2 + at[0], (at[2] - at[0]) * sizeof *item);
    memcpy(key + at[0], key2 + at[0], (at[2] - at[0]) * sizeof *key);
    return true;
}

/* Sorts `list` by the keys in `keys`; both are changed. */
static bool seq_sort(struct jrun *r, struct jlist *list, struct jlist *keys, bool reverse) {
    size_t n = list->n;
    struct jval *item2 = jrun_alloc(r, n + 1, sizeof *item2);
    struct jval *key2 = jrun_alloc(r, n + 1, sizeof *key2);
    if (item2 == NULL || key2 == NULL) {
        return false;
    }
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t lo = 0; lo + width < n; lo += 2 * width) {
            size_t at[3] = {lo, lo + width, lo + 2 * width < n ? lo + 2 * width : n};
            if (!sort_merge(r, list->v, keys->v, item2, key2, at, reverse)) {
                return false;
            }
        }
    }
    return true;
}

JFILTER(sort) {
    static const char *const name[] = {"reverse", "case_sensitive", "attribute"};
    struct jval v[3], keys, key;
    if (!jargs_bind(r, "sort", a, name, 3, 0, v) || !jval_to_list(r, in, out) ||
        !jval_list(r, JV_LIST, out->u.l->n, &keys)) {
        return false;
    }
    for (size_t i = 0; i < out->u.l->n; i++) {
        if (!seq_keys(r, out->u.l->v[i], v[2], jval_truth(v[1]), &key) ||
            !jlist_add(r, keys.u.l, key)) {
            return false;
        }
    }
    return seq_sort(r, out->u.l, keys.u.l, jval_truth(v[0]));
}

bool jfilter_dict_items(struct jrun *r, struct jval dict, struct jval *out) {
    const struct jdict *d = dict.u.d;
    if (!jval_list(r, JV_LIST, d->n, out)) {
        return false;
    }
    for (size_t i = 0; i < d->n; i++) {
        struct jval pair;
        if (!jval_tuple2(r, d->key[i], d->val[i], &pair) || !jlist_add(r, out->u.l, pair)) {
            return false;
        }
    }
    return true;
}

JFILTER(dictsort) {
    static const char *const name[] = {"case_sensitive", "by", "reverse"};
    struct jval v[3], keys, key;
    if (!jargs_bind(r, "dictsort", a, name, 3, 0, v)) {
        return false;
    }
    struct str by = v[1].kind == JV_STR ? jstr_view(v[1].u.s) : str_c("key");
    if (!str_is(by, "key") && !str_is(by, "value")) {
        return jrun_fail(r, ERR_FORMAT, "dictsort sorts by 'key' or 'value'");
    }
    if (in.kind != JV_DICT) {
        return jrun_fail(r, ERR_FORMAT, "dictsort needs a dict, not a %s", jval_type(in));
    }
    if (!jfilter_dict_items(r, in, out) || !jval_list(r, JV_LIST, out->u.l->n, &keys)) {
        return false;
    }
    for (size_t i = 0; i < out->u.l->n; i++) {
        struct jval part = str_is(by, "key") ? in.u.d->key[i] : in.u.d->val[i];
        if (!seq_fold(r, part, jval_truth(v[0]), &key) || !jlist_add(r, keys.u.l, key)) {
            return false;
        }
    }
    return seq_sort(r, out->u.l, keys.u.l, jval_truth(v[2]));
}

JFILTER(groupby) {
    static const char *const name[] = {"attribute", "default", "case_sensitive"};
    struct jval v[3], sorted, keys, key, group = {0}, pair;
    if (!jargs_bind(r, "groupby", a, name, 3, 1, v) || !jval_to_list(r, in, &sorted) ||
        !jval_list(r, JV_LIST, 0, &keys) || !jval_list(r, JV_LIST, 0, out)) {
        return false;
    }
    struct jlist *l = sorted.u.l;
    for (size_t i = 0; i < l->n; i++) {
        if (!seq_key(r, l->v[i], v[0], v[1], jval_truth(v[2]), &key) ||
            !jlist_add(r, keys.u.l, key)) {
            return false;
        }
    }
    if (!seq_sort(r, l, keys.u.l, false)) {
        return false;
    }
    for (size_t i = 0; i < l->n; i++) {
        bool same = false;
        if (i > 0 && !jval_equal(r, keys.u.l->v[i - 1], keys.u.l->v[i], &same)) {
            return false;
        }
        if (!same) { /* the name of a group is that of its first element, as it is written */
            if (!seq_path(r, l->v[i], v[0], v[1], &key) || !jval_list(r, JV_LIST, 0, &group) ||
                !jval_tuple2(r, key, group, &pair) || !jlist_add(r, out->u.l, pair)) {
                return false;
            }
        }
        if (!jlist_add(r, group.u.l, l->v[i])) {
            return false;
        }
    }
    return true;
}

/* min and max: the first of the smallest, the first of the largest. */
static bool seq_extreme(struct jrun *r, struct jval in, const struct jargs *a, bool max,
                        struct jval *out) {
    static const char *const name[] = {"case_sensitive", "attribute"};
    struct jval v[2], best_key = {0}, item, key, none = {.kind = JV_MISSING};
    struct jiter it;
    int got;
    bool better = true;
    if (!jargs_bind(r, max ? "max" : "min", a, name, 2, 0, v) || !jiter_init(r, &it, in)) {
        return false;
    }
    *out = jval_undef("no aggregated item, the sequence was empty");
    for (bool first = true; (got = jiter_next(r, &it, &item)) == 1; first = false) {
        if (!seq_key(r, item, v[1], none, jval_truth(v[0]), &key)) {
            return false;
        }
        if (!first &&
            !(max ? jval_less(r, best_key, key, &better) : jval_less(r, key, best_key, &better))) {
            return false;
        }
        if (better) {
            *out = item;
            best_key = key;
        }
    }
    return got == 0;
}

JFILTER(min) {
    return seq_extreme(r, in, a, false, out);
}

JFILTER(max) {
    return seq_extreme(r, in, a, true, out);
}

/* ---- plain ones ---------------------------------------------------------------------- */

JFILTER(list) {
    return jargs_bind(r, "list", a, NULL, 0, 0, NULL) && jval_to_list(r, in, out);
}

JFILTER(first) {
    struct jiter it;
    if (!jargs_bind(r, "first", a, NULL, 0, 0, NULL) || !jiter_init(r, &it, in)) {
        return false;
    }
    int got = jiter_next(r, &it, out);
    if (got == 0) {
        *out = jval_undef("no first item, the sequence was empty");
    }
    return got >= 0;
}

JFILTER(last) {
    struct jval list;
    if (!jargs_bind(r, "last", a, NULL, 0, 0, NULL)) {
        return false;
    }
    if (in.kind == JV_GEN) {
        return jrun_fail(r, ERR_FORMAT, "a generator has no last item");
    }
    if (!jval_to_list(r, in, &list)) {
        return false;
    }
    *out = list.u.l->n > 0 ? list.u.l->v[list.u.l->n - 1]
                           : jval_undef("no last item, the sequence was empty");
    return true;
}

JFILTER(reverse) {
    static const struct jval none = {.kind = JV_NONE};
    const struct jval bound[3] = {none, none, {.kind = JV_INT, .u.i = -1}};
    struct jval list, back;
    if (!jargs_bind(r, "reverse", a, NULL, 0, 0, NULL)) {
        return false;
    }
    if (in.kind == JV_STR) {
        return jval_slice(r, in, bound, out);
    }
    if (!jval_to_list(r, in, &list) || !jval_slice(r, list, bound, &back)) {
        return false;
    }
    if (in.kind == JV_GEN) { /* Python cannot reverse it and makes a list */
        *out = back;
        return true;
    }
    return jval_gen(r, "reversed", back, out);
}

JFILTER(items) {
    struct jval list;
    if (!jargs_bind(r, "items", a, NULL, 0, 0, NULL)) {
        return false;
    }
    if (in.kind == JV_DICT) {
        return jfilter_dict_items(r, in, &list) && jval_gen(r, "items", list, out);
    }
    if (in.kind != JV_UNDEF) {
        return jrun_fail(r, ERR_FORMAT, "items needs a dict, not a %s", jval_type(in));
    }
    return jval_gen(r, "items", in, out);
}

JFILTER(join) {
    static const char *const name[] = {"d", "attribute"};
    static const struct jval none = {.kind = JV_MISSING};
    struct jval v[2], sep, list, picked;
    if (!jargs_bind(r, "join", a, name, 2, 0, v)) {
        return false;
    }
    if (v[0].kind == JV_MISSING ? !jstr_make(r, "", 0, true, &sep) : !jval_str(r, v[0], &sep)) {
        return false;
    }
    if (v[1].kind == JV_MISSING || v[1].kind == JV_NONE) {
        return jstr_join(r, sep.u.s, in, true, out);
    }
    if (!jval_to_list(r, in, &list) || !jval_list(r, JV_LIST, list.u.l->n, &picked)) {
        return false;
    }
    for (size_t i = 0; i < list.u.l->n; i++) {
        struct jval found;
        if (!seq_path(r, list.u.l->v[i], v[1], none, &found) || !jlist_add(r, picked.u.l, found)) {
            return false;
        }
    }
    return jstr_join(r, sep.u.s, picked, true, out);
}

JFILTER(sum) {
    static const char *const name[] = {"attribute", "start"};
    struct jval v[2], item, found, none = {.kind = JV_MISSING};
    struct jiter it;
    int got;
    if (!jargs_bind(r, "sum", a, name, 2, 0, v) || !jiter_init(r, &it, in)) {
        return false;
    }
    *out = v[1].kind == JV_MISSING ? jval_int(0) : v[1];
    if (out->kind == JV_STR) {
        return jrun_fail(r, ERR_FORMAT, "sum does not add strings");
    }
    while ((got = jiter_next(r, &it, &item)) == 1) {
        struct jval left = *out;
        if (!seq_path(r, item, v[0], none, &found) || !jval_binary(r, JOP_ADD, left, found, out)) {
            return false;
        }
    }
    return got == 0;
}

JFILTER(unique) {
    static const char *const name[] = {"case_sensitive", "attribute"};
    struct jval v[2], seen, list, item, key, none = {.kind = JV_MISSING};
    struct jiter it;
    int got;
    if (!jargs_bind(r, "unique", a, name, 2, 0, v) || !jiter_init(r, &it, in) ||
        !jval_dict(r, JV_DICT, 0, &seen) || !jval_list(r, JV_LIST, 0, &list)) {
        return false;
    }
    while ((got = jiter_next(r, &it, &item)) == 1) {
        size_t before = seen.u.d->n;
        if (!seq_key(r, item, v[1], none, jval_truth(v[0]), &key) ||
            !jdict_set(r, seen.u.d, key, item) ||
            (seen.u.d->n > before && !jlist_add(r, list.u.l, item))) {
            return false;
        }
    }
    return got == 0 && jval_gen(r, "unique", list, out);
}

JFILTER(batch) {
    static const char *const name[] = {"linecount", "fill_with"};
    struct jval v[2], list, rows, row = {0};
    int64_t width;
    if (!jargs_bind(r, "batch", a, name, 2, 1, v) || !jargs_int(r, "batch", v[0], 0, &width) ||
        !jval_to_list(r, in, &list) || !jval_list(r, JV_LIST, 0, &rows)) {
        return false;
    }
    for (size_t i = 0; i < list.u.l->n; i++) {
        bool fresh = rows.u.l->n == 0 || (int64_t)row.u.l->n == width;
        if (fresh && i == 0 && width == 0) { /* Jinja2 gives the empty row that it starts with */
            if (!jval_list(r, JV_LIST, 0, &row) || !jlist_add(r, rows.u.l, row)) {
                return false;
            }
        }
        if (fresh && (!jval_list(r, JV_LIST, 0, &row) || !jlist_add(r, rows.u.l, row))) {
            return false;
        }
        if (!jlist_add(r, row.u.l, list.u.l->v[i])) {
            return false;
        }
    }
    bool fill = v[1].kind != JV_MISSING && v[1].kind != JV_NONE && rows.u.l->n > 0;
    while (fill && (int64_t)row.u.l->n < width) {
        if (!jlist_add(r, row.u.l, v[1])) {
            return false;
        }
    }
    return jval_gen(r, "batch", rows, out);
}

JFILTER(slice) {
    static const char *const name[] = {"slices", "fill_with"};
    struct jval v[2], list, parts, part;
    int64_t n;
    if (!jargs_bind(r, "slice", a, name, 2, 1, v) || !jargs_int(r, "slice", v[0], 0, &n) ||
        !jval_to_list(r, in, &list) || !jval_list(r, JV_LIST, 0, &parts)) {
        return false;
    }
    if (n == 0) {
        return jrun_fail(r, ERR_FORMAT, "slice: a division by zero");
    }
    bool fill = v[1].kind != JV_MISSING && v[1].kind != JV_NONE;
    size_t at = 0;
    for (int64_t i = 0; i < n; i++) {
        bool extra = i < (int64_t)list.u.l->n % n;
        size_t size = list.u.l->n / (size_t)n + extra;
        if (!jval_list(r, JV_LIST, size + 1, &part) || !jlist_add(r, parts.u.l, part)) {
            return false;
        }
        for (size_t k = 0; k < size; k++) {
            if (!jlist_add(r, part.u.l, list.u.l->v[at++])) {
                return false;
            }
        }
        if (fill && !extra && !jlist_add(r, part.u.l, v[1])) {
            return false;
        }
    }
    return jval_gen(r, "slice", parts, out);
}

/* ---- lazy ones ----------------------------------------------------------------------- */

/* Whether an element passes, or what it is mapped to. 1: *out is an element of the result,
 * 0: it is not, -1: failed. */
static int gen_apply(struct jrun *r, struct jgen *g, struct jval item, struct jval *out) {
    struct jval v;
    bool yes;
    if (g->how == JGEN_PLAIN) {
        *out = item;
        return 1;
    }
    if (!seq_path(r, item, g->attr, g->fallback, &v)) {
        return -1;
    }
    if (g->how == JGEN_MAP) {
        *out = v;
        return g->filter == NULL || g->filter->fn(r, v, &g->args, out) ? 1 : -1;
    }
    yes = jval_truth(v);
    if (g->test != NULL && !g->test->fn(r, v, &g->args, &yes)) {
        return -1;
    }
    *out = item;
    return yes != g->reject;
}

int jgen_next(struct jrun *r, struct jgen *g, struct jval *out) {
    struct jval item;
    int got;
    while ((got = jiter_next(r, &g->it, &item)) == 1) {
        got = gen_apply(r, g, item, out);
        if (got != 0) {
            return got;
        }
    }
    return got;
}

/* A generator over `in` that keeps the arguments from a->pos[skip] on for its filter or test. */
static bool gen_create(struct jrun *r, struct jval in, const struct jargs *a, size_t skip,
                       struct jgen **g, struct jval *out) {
    struct jval source = jval_truth(in) ? in : jval_undef(NULL);
    if (!jval_gen(r, "generator", source, out)) {
        return false;
    }
    *g = out->u.g;
    (*g)->attr.kind = JV_MISSING;
    (*g)->fallback.kind = JV_MISSING;
    skip = skip < a->n ? skip : a->n;
    (*g)->args = *a;
    (*g)->args.pos = a->n > 0 ? a->pos + skip : NULL;
    (*g)->args.n = a->n - skip;
    return true;
}

static bool seq_select(struct jrun *r, struct jval in, const struct jargs *a, bool attr,
                       bool reject, struct jval *out) {
    struct jgen *g;
    size_t off = attr ? 1 : 0;
    if (!gen_create(r, in, a, off + 1, &g, out)) {
        return false;
    }
    g->how = JGEN_SELECT;
    g->reject = reject;
    if (!jval_truth(in)) {
        return true;
    }
    if (attr && a->n == 0) {
        return jrun_fail(r, ERR_FORMAT, "selectattr and rejectattr need an attribute");
    }
    if (attr) {
        g->attr = a->pos[0];
    }
    if (a->n <= off) {
        return true;
    }
    struct jval test = a->pos[off];
    g->test = test.kind == JV_STR ? jtest_find(jstr_view(test.u.s)) : NULL;
    return g->test != NULL || jrun_fail(r, ERR_UNSUPPORTED, "no such test");
}

JFILTER(select) {
    return seq_select(r, in, a, false, false, out);
}

JFILTER(reject) {
    return seq_select(r, in, a, false, true, out);
}

JFILTER(selectattr) {
    return seq_select(r, in, a, true, false, out);
}

JFILTER(rejectattr) {
    return seq_select(r, in, a, true, true, out);
}

JFILTER(map) {
    struct jgen *g;
    if (!gen_create(r, in, a, 1, &g, out)) {
        return false;
    }
    g->how = JGEN_MAP;
    if (!jval_truth(in)) {
        return true;
    }
    if (a->n == 0) {
        static const char *const name[] = {"attribute", "default"};
        struct jval v[2];
        if (!jargs_bind(r, "map", a, name, 2, 1, v)) {
            return false;
        }
        g->attr = v[0];
        g->fallback = v[1];
        return true;
    }
    g->filter = a->pos[0].kind == JV_STR ? jfilter_find(jstr_view(a->pos[0].u.s)) : NULL;
    return g->filter != NULL || jrun_fail(r, ERR_UNSUPPORTED, "map: no such filter");
}
