/* jinja_value.c: values: making them, comparing them, walking them.
 *
 * Owns lists, dictionaries, generators and the conversion from JSON. Refuses text (jinja_str.c,
 * jinja_repr.c) and arithmetic (jinja_eval.c). Lists and dictionaries do not change after they
 * are made; namespaces do.
 * Invariant: whatever recurses over values counts it (jrun_enter): a template can nest them.
 */
#include <math.h>
#include <string.h>

#include "text/jinja_int.h"

struct jval jval_none(void) {
    return (struct jval){.kind = JV_NONE};
}

struct jval jval_bool(bool b) {
    return (struct jval){.kind = JV_BOOL, .u.b = b};
}

struct jval jval_int(int64_t i) {
    return (struct jval){.kind = JV_INT, .u.i = i};
}

struct jval jval_float(double f) {
    return (struct jval){.kind = JV_FLOAT, .u.f = f};
}

struct jval jval_undef(const char *why) {
    return (struct jval){.kind = JV_UNDEF, .u.why = why};
}

/* Undefined, with a message that names what was looked for. */
bool jval_undef_named(struct jrun *r, struct str name, struct jval *out) {
    size_t n = name.n < 64 ? name.n : 64;
    char *why = jrun_alloc(r, n + 32, 1);
    if (why == NULL) {
        return false;
    }
    why[0] = '\'';
    memcpy(why + 1, name.p, n);
    memcpy(why + 1 + n, "' is undefined", 15);
    *out = jval_undef(why);
    return true;
}

bool jval_fail_undef(struct jrun *r, struct jval v) {
    return jrun_fail(r, ERR_FORMAT, "%s", v.u.why != NULL ? v.u.why : "an undefined value is used");
}

const char *jval_type(struct jval v) {
    static const char *const name[] = {
        "nothing", "Undefined", "none",     "bool",   "int",       "float",     "str",
        "list",    "tuple",     "view",     "dict",   "namespace", "generator", "range",
        "macro",   "loop",      "function", "method", "cycler",    "joiner",
    };
    return name[v.kind];
}

bool jval_is_num(struct jval v) {
    return v.kind == JV_BOOL || v.kind == JV_INT || v.kind == JV_FLOAT;
}

bool jval_as_int(struct jval v, int64_t *out) {
    if (v.kind == JV_BOOL) {
        *out = v.u.b;
        return true;
    }
    *out = v.u.i;
    return v.kind == JV_INT;
}

double jval_as_float(struct jval v) {
    return v.kind == JV_FLOAT ? v.u.f : v.kind == JV_INT ? (double)v.u.i : (double)v.u.b;
}

/* ---- lists and dictionaries ---------------------------------------------------------- */

bool jval_list(struct jrun *r, enum jv_kind kind, size_t cap, struct jval *out) {
    struct jlist *l = jrun_alloc(r, 1, sizeof *l);
    if (l == NULL) {
        return false;
    }
    *l = (struct jlist){.cap = cap};
    if (cap > 0 && (l->v = jrun_alloc(r, cap, sizeof *l->v)) == NULL) {
        return false;
    }
    *out = (struct jval){.kind = kind, .u.l = l};
    return true;
}

bool jlist_add(struct jrun *r, struct jlist *l, struct jval v) {
    if (l->n == l->cap) {
        size_t cap = l->cap == 0 ? 4 : l->cap * 2;
        struct jval *grown = jrun_alloc(r, cap, sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        if (l->n > 0) {
            memcpy(grown, l->v, l->n * sizeof *grown);
        }
        l->v = grown;
        l->cap = cap;
    }
    l->v[l->n++] = v;
    return jrun_charge(r, 1);
}

bool jval_tuple2(struct jrun *r, struct jval a, struct jval b, struct jval *out) {
    return jval_list(r, JV_TUPLE, 2, out) && jlist_add(r, out->u.l, a) && jlist_add(r, out->u.l, b);
}

bool jval_dict(struct jrun *r, enum jv_kind kind, size_t cap, struct jval *out) {
    struct jdict *d = jrun_alloc(r, 1, sizeof *d);
    if (d == NULL) {
        return false;
    }
    *d = (struct jdict){.cap = cap};
    if (cap > 0) {
        d->key = jrun_alloc(r, cap, sizeof *d->key);
        d->val = jrun_alloc(r, cap, sizeof *d->val);
        if (d->key == NULL || d->val == NULL) {
            return false;
        }
    }
    *out = (struct jval){.kind = kind, .u.d = d};
    return true;
}

bool jval_hashable(struct jval v) {
    if (v.kind == JV_TUPLE) {
        for (size_t i = 0; i < v.u.l->n; i++) {
            if (!jval_hashable(v.u.l->v[i])) {
                return false;
            }
        }
        return true;
    }
    return v.kind != JV_LIST && v.kind != JV_DICT && v.kind != JV_VIEW;
}

/* Keys are compared one after the other: templates' dictionaries are small, and each comparison
 * is paid for. */
static bool dict_index(struct jrun *r, const struct jdict *d, struct jval key, size_t *at) {
    if (!jrun_charge(r, 1 + d->n / 8)) {
        return false;
    }
    for (*at = 0; *at < d->n; (*at)++) {
        struct jval k = d->key[*at];
        bool same;
        if (k.kind == JV_STR && key.kind == JV_STR) {
            same = str_eq(jstr_view(k.u.s), jstr_view(key.u.s));
        } else if (!jval_equal(r, k, key, &same)) {
            return false;
        }
        if (same) {
            break;
        }
    }
    return true;
}

bool jdict_find(struct jrun *r, const struct jdict *d, struct jval key, struct jval *out,
                bool *found) {
    size_t i;
    if (!dict_index(r, d, key, &i)) {
        return false;
    }
    *found = i < d->n;
    if (*found) {
        *out = d->val[i];
    }
    return true;
}

bool jdict_get(const struct jdict *d, struct str key, struct jval *out) {
    for (size_t i = 0; i < d->n; i++) {
        if (d->key[i].kind == JV_STR && str_eq(jstr_view(d->key[i].u.s), key)) {
            *out = d->val[i];
            return true;
        }
    }
    return false;
}

static bool dict_grow(struct jrun *r, struct jdict *d) {
    size_t cap = d->cap == 0 ? 4 : d->cap * 2;
    struct jval *key = jrun_alloc(r, cap, sizeof *key);
    struct jval *val = jrun_alloc(r, cap, sizeof *val);
    if (key == NULL || val == NULL) {
        return false;
    }
    if (d->n > 0) {
        memcpy(key, d->key, d->n * sizeof *key);
        memcpy(val, d->val, d->n * sizeof *val);
    }
    d->key = key;
    d->val = val;
    d->cap = cap;
    return true;
}

bool jdict_set(struct jrun *r, struct jdict *d, struct jval key, struct jval v) {
    size_t i;
    if (!jval_hashable(key)) {
        return jrun_fail(r, ERR_FORMAT, "a %s cannot be a key", jval_type(key));
    }
    if (!dict_index(r, d, key, &i)) {
        return false;
    }
    if (i == d->n) {
        if (d->n == d->cap && !dict_grow(r, d)) {
            return false;
        }
        d->key[d->n++] = key;
    }
    d->val[i] = v;
    return true;
}

bool jval_gen(struct jrun *r, const char *name, struct jval list, struct jval *out) {
    struct jgen *g = jrun_alloc(r, 1, sizeof *g);
    if (g == NULL) {
        return false;
    }
    memset(g, 0, sizeof *g);
    g->name = name;
    g->how = JGEN_PLAIN;
    *out = (struct jval){.kind = JV_GEN, .u.g = g};
    return jiter_init(r, &g->it, list);
}

/* ---- JSON ---------------------------------------------------------------------------- */

static bool data_to_list(struct jrun *r, const struct json *j, bool trusted, struct jval *out) {
    size_t n = json_count(j);
    if (!jval_list(r, JV_LIST, n, out)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        struct jval v;
        if (!jval_from_json(r, json_at(j, i), trusted, &v) || !jlist_add(r, out->u.l, v)) {
            return false;
        }
    }
    return true;
}

/* The fixed words for who speaks are the template's, not the speaker's: some templates spell
 * control tokens with them, '<|' ~ message.role ~ '|>'. */
static bool data_is_role(const struct json *j) {
    static const char *const word[] = {"system",    "user",     "assistant", "tool",
                                       "developer", "function", "ipython",   "model"};
    for (size_t i = 0; i < sizeof word / sizeof word[0]; i++) {
        if (json_kind(j) == JSON_IS_STR && str_is(json_str(j), word[i])) {
            return true;
        }
    }
    return false;
}

static bool data_to_dict(struct jrun *r, const struct json *j, bool trusted, struct jval *out) {
    if (!jval_dict(r, JV_DICT, json_count(j), out)) {
        return false;
    }
    struct jdict *d = out->u.d;
    void *iter = NULL;
    struct str key;
    const struct json *value;
    while (json_next(j, &iter, &key, &value)) {
        struct jval k, v;
        bool word = str_is(key, "role") && data_is_role(value);
        if (!jstr_make(r, key.p, key.n, trusted, &k) ||
            !jval_from_json(r, value, trusted || word, &v)) {
            return false;
        }
        if (d->n == d->cap && !dict_grow(r, d)) {
            return false;
        }
        d->key[d->n] = k; /* keys of JSON objects are unique */
        d->val[d->n++] = v;
    }
    return jrun_charge(r, d->n);
}

bool jval_from_json(struct jrun *r, const struct json *j, bool trusted, struct jval *out) {
    bool ok = true;
    if (!jrun_enter(r)) {
        return false;
    }
    switch (json_kind(j)) {
    case JSON_IS_NULL: *out = jval_none(); break;
    case JSON_IS_BOOL: *out = jval_bool(json_bool(j)); break;
    case JSON_IS_INT: *out = jval_int(json_int(j)); break;
    case JSON_IS_REAL: *out = jval_float(json_num(j)); break;
    case JSON_IS_STR: ok = jstr_make(r, json_str(j).p, json_str(j).n, trusted, out); break;
    case JSON_IS_ARRAY: ok = data_to_list(r, j, trusted, out); break;
    case JSON_IS_OBJECT: ok = data_to_dict(r, j, trusted, out); break;
    }
    jrun_leave(r);
    return ok;
}

/* ---- truth, equality, order ---------------------------------------------------------- */

bool jval_truth(struct jval v) {
    switch (v.kind) {
    case JV_MISSING:
    case JV_UNDEF:
    case JV_NONE: return false;
    case JV_BOOL: return v.u.b;
    case JV_INT: return v.u.i != 0;
    case JV_FLOAT: return v.u.f != 0;
    case JV_STR: return v.u.s->n > 0;
    case JV_LIST:
    case JV_TUPLE:
    case JV_VIEW: return v.u.l->n > 0;
    case JV_DICT: return v.u.d->n > 0;
    case JV_RANGE: return v.u.range->n > 0;
    default: return true;
    }
}

static bool list_equal(struct jrun *r, const struct jlist *a, const struct jlist *b, bool *out) {
    *out = a->n == b->n;
    for (size_t i = 0; *out && i < a->n; i++) {
        if (!jval_equal(r, a->v[i], b->v[i], out)) {
            return false;
        }
    }
    return true;
}

static bool dict_equal(struct jrun *r, const struct jdict *a, const struct jdict *b, bool *out) {
    *out = a->n == b->n;
    for (size_t i = 0; *out && i < a->n; i++) {
        struct jval other;
        if (!jdict_find(r, b, a->key[i], &other, out)) {
            return false;
        }
        if (*out && !jval_equal(r, a->val[i], other, out)) {
            return false;
        }
    }
    return true;
}

/* An integer and a float are equal only if they are so exactly. */
static int num_compare(struct jval a, struct jval b) {
    int64_t x, y;
    if (jval_as_int(a, &x) && jval_as_int(b, &y)) {
        return x < y ? -1 : x > y;
    }
    double f = jval_as_float(a), g = jval_as_float(b);
    if (f != g || a.kind == b.kind || fabs(f) < 9e15) {
        return f < g ? -1 : f > g ? 1 : f == g ? 0 : 2;
    }
    if (fabs(f) >= 9223372036854775808.0) {
        return a.kind == JV_FLOAT ? 1 : -1; /* 2^63 is past every integer that rounds to it */
    }
    x = a.kind == JV_FLOAT ? (int64_t)f : a.u.i;
    y = b.kind == JV_FLOAT ? (int64_t)g : b.u.i;
    return x < y ? -1 : x > y;
}

bool jval_equal(struct jrun *r, struct jval a, struct jval b, bool *out) {
    bool ok = true;
    if (jval_is_num(a) && jval_is_num(b)) {
        *out = num_compare(a, b) == 0;
        return true;
    }
    *out = false;
    if (a.kind != b.kind) {
        return true;
    }
    if (!jrun_enter(r) || !jrun_charge(r, 1)) {
        return false;
    }
    switch (a.kind) {
    case JV_MISSING:
    case JV_UNDEF:
    case JV_NONE: *out = true; break;
    case JV_STR:
        *out = str_eq(jstr_view(a.u.s), jstr_view(b.u.s));
        ok = jrun_charge(r, a.u.s->n / 64);
        break;
    case JV_LIST:
    case JV_TUPLE: ok = a.u.l == b.u.l ? (*out = true) : list_equal(r, a.u.l, b.u.l, out); break;
    case JV_VIEW:
        *out = a.u.l == b.u.l;
        ok = strcmp(a.u.l->view, b.u.l->view) != 0 || strcmp(a.u.l->view, "dict_values") == 0 ||
             list_equal(r, a.u.l, b.u.l, out);
        break;
    case JV_DICT: ok = a.u.d == b.u.d ? (*out = true) : dict_equal(r, a.u.d, b.u.d, out); break;
    case JV_RANGE:
        *out = a.u.range->n == b.u.range->n &&
               (a.u.range->n == 0 || (a.u.range->start == b.u.range->start &&
                                      (a.u.range->n == 1 || a.u.range->step == b.u.range->step)));
        break;
    case JV_METHOD:
        *out = strcmp(a.u.method->name, b.u.method->name) == 0 &&
               a.u.method->self.u.l == b.u.method->self.u.l;
        break;
    default: *out = a.u.l == b.u.l; break;
    }
    jrun_leave(r);
    return ok;
}

static bool list_less(struct jrun *r, const struct jlist *a, const struct jlist *b, bool *out) {
    size_t n = a->n < b->n ? a->n : b->n;
    for (size_t i = 0; i < n; i++) {
        bool same;
        if (!jval_equal(r, a->v[i], b->v[i], &same)) {
            return false;
        }
        if (!same) {
            return jval_less(r, a->v[i], b->v[i], out);
        }
    }
    *out = a->n < b->n;
    return true;
}

/* a < b as Python's sort asks it. */
bool jval_less(struct jrun *r, struct jval a, struct jval b, bool *out) {
    if (jval_is_num(a) && jval_is_num(b)) {
        *out = num_compare(a, b) == -1;
        return jrun_charge(r, 1);
    }
    if (a.kind == JV_UNDEF || b.kind == JV_UNDEF) {
        return jval_fail_undef(r, a.kind == JV_UNDEF ? a : b);
    }
    if (a.kind == JV_STR && b.kind == JV_STR) {
        size_t n = a.u.s->n < b.u.s->n ? a.u.s->n : b.u.s->n;
        int c = n > 0 ? memcmp(a.u.s->p, b.u.s->p, n) : 0; /* UTF-8 sorts as code points do */
        *out = c < 0 || (c == 0 && a.u.s->n < b.u.s->n);
        return jrun_charge(r, 1 + n / 64);
    }
    if (a.kind == b.kind && (a.kind == JV_LIST || a.kind == JV_TUPLE)) {
        if (!jrun_enter(r)) {
            return false;
        }
        bool ok = list_less(r, a.u.l, b.u.l, out);
        jrun_leave(r);
        return ok;
    }
    return jrun_fail(r, ERR_FORMAT, "a %s and a %s cannot be ordered", jval_type(a), jval_type(b));
}

/* ---- length, membership -------------------------------------------------------------- */

bool jval_length(struct jrun *r, struct jval v, size_t *out) {
    switch (v.kind) {
    case JV_UNDEF: *out = 0; return true;
    case JV_STR: *out = jstr_chars(v.u.s); return jrun_charge(r, v.u.s->n / 64);
    case JV_LIST:
    case JV_TUPLE:
    case JV_VIEW: *out = v.u.l->n; return true;
    case JV_DICT: *out = v.u.d->n; return true;
    case JV_RANGE: *out = v.u.range->n; return true;
    case JV_LOOP: {
        struct jval n;
        bool found;
        if (!jloop_attr(r, v.u.loop, str_c("length"), &n, &found)) {
            return false;
        }
        *out = (size_t)n.u.i;
        return true;
    }
    default: return jrun_fail(r, ERR_FORMAT, "a %s has no length", jval_type(v));
    }
}

bool jval_contains(struct jrun *r, struct jval seq, struct jval v, bool *out) {
    *out = false;
    if (seq.kind == JV_STR) {
        if (v.kind != JV_STR) {
            return jrun_fail(r, ERR_FORMAT, "'in' a string needs a string, not a %s", jval_type(v));
        }
        *out = jstr_find(seq.u.s, jstr_view(v.u.s), 0) != SIZE_MAX;
        return jrun_charge(r, 1 + seq.u.s->n / 16);
    }
    if (seq.kind == JV_DICT) {
        struct jval ignored;
        if (!jval_hashable(v)) {
            return jrun_fail(r, ERR_FORMAT, "a %s cannot be a key", jval_type(v));
        }
        return jdict_find(r, seq.u.d, v, &ignored, out);
    }
    struct jiter it;
    if (!jiter_init(r, &it, seq)) {
        return false;
    }
    struct jval item;
    int got;
    while ((got = jiter_next(r, &it, &item)) == 1) {
        if (!jval_equal(r, item, v, out)) {
            return false;
        }
        if (*out) {
            return true;
        }
    }
    return got == 0;
}

/* ---- walking ------------------------------------------------------------------------- */

bool jiter_init(struct jrun *r, struct jiter *it, struct jval v) {
    static const struct jlist nothing = {0};
    memset(it, 0, sizeof *it);
    switch (v.kind) {
    case JV_UNDEF: it->l = &nothing; return true;
    case JV_STR:
        it->kind = JITER_STR;
        it->s = v.u.s;
        return true;
    case JV_LIST:
    case JV_TUPLE:
    case JV_VIEW: it->l = v.u.l; return true;
    case JV_DICT: {
        struct jlist *keys = jrun_alloc(r, 1, sizeof *keys);
        if (keys == NULL) {
            return false;
        }
        *keys = (struct jlist){.v = v.u.d->key, .n = v.u.d->n, .cap = v.u.d->n};
        it->l = keys;
        return true;
    }
    case JV_RANGE:
        it->kind = JITER_RANGE;
        it->range = v.u.range;
        return true;
    case JV_GEN:
        it->kind = JITER_GEN;
        it->g = v.u.g;
        return true;
    default: return jrun_fail(r, ERR_FORMAT, "a %s cannot be iterated over", jval_type(v));
    }
}

static int iter_filter(struct jrun *r, struct jiter *it, struct jval *out) {
    int got;
    while ((got = jiter_next(r, it->source, out)) == 1) {
        struct jval test;
        it->scope->n = 0;
        if (!jexec_assign(r, it->scope, it->loop->a, *out) ||
            !jeval(r, it->loop->c, it->scope, &test)) {
            return -1;
        }
        if (jval_truth(test)) {
            return 1;
        }
    }
    return got;
}

int jiter_next(struct jrun *r, struct jiter *it, struct jval *out) {
    if (!jrun_charge(r, 1)) {
        return -1;
    }
    switch (it->kind) {
    case JITER_LIST:
        if (it->pos >= it->l->n) {
            return 0;
        }
        *out = it->l->v[it->pos++];
        return 1;
    case JITER_STR: {
        if (it->pos >= it->s->n) {
            return 0;
        }
        size_t len;
        jstr_cp(it->s, it->pos, &len);
        it->pos += len;
        return jstr_part(r, it->s, it->pos - len, it->pos, out) ? 1 : -1;
    }
    case JITER_RANGE:
        if (it->pos >= it->range->n) {
            return 0;
        }
        *out = jval_int(it->range->start + (int64_t)it->pos++ * it->range->step);
        return 1;
    case JITER_GEN: {
        if (!jrun_enter(r)) {
            return -1;
        }
        int got = jgen_next(r, it->g, out);
        jrun_leave(r);
        return got;
    }
    default: return iter_filter(r, it, out);
    }
}

bool jval_to_list(struct jrun *r, struct jval v, struct jval *out) {
    struct jiter it;
    struct jval item;
    int got;
    if (!jiter_init(r, &it, v) || !jval_list(r, JV_LIST, 0, out)) {
        return false;
    }
    while ((got = jiter_next(r, &it, &item)) == 1) {
        if (!jlist_add(r, out->u.l, item)) {
            return false;
        }
    }
    return got == 0;
}
