/* jinja_eval.c: expressions to values.
 *
 * Owns names, operators, calls with their arguments, filters and tests as they are written.
 * Refuses what the built-in ones do (jinja_filter.c and its neighbours) and statements.
 * Invariant: every node that is evaluated is paid for, and depth is counted.
 * Source: compiler.py of Jinja2 3.1; Python's arithmetic.
 */
#include <math.h>
#include <string.h>

#include "text/jinja_int.h"

/* ---- names --------------------------------------------------------------------------- */

static bool eval_name(struct jrun *r, const struct jnode *n, struct jscope *s, struct jval *out) {
    for (; s != NULL; s = s->up) {
        for (size_t i = 0; i < s->n; i++) {
            if (s->bind[i].name == n->sym) {
                *out = s->bind[i].v;
                return jrun_charge(r, i / 16);
            }
        }
        if (!jrun_charge(r, s->n / 16)) {
            return false;
        }
    }
    const struct jfunc *f = jfunc_find(n->sym->s);
    if (f != NULL) {
        *out = (struct jval){.kind = JV_FUNC, .u.func = f};
        return true;
    }
    if (str_is(n->sym->s, "self") || str_is(n->sym->s, "lipsum")) {
        return jrun_fail(r, ERR_UNSUPPORTED, "'%s' is not supported", n->sym->s.p);
    }
    return jval_undef_named(r, n->sym->s, out);
}

/* ---- arithmetic ---------------------------------------------------------------------- */

static bool binary_refuse(struct jrun *r, struct jval a, struct jval b) {
    if (a.kind == JV_UNDEF || b.kind == JV_UNDEF) {
        return jval_fail_undef(r, a.kind == JV_UNDEF ? a : b);
    }
    return jrun_fail(r, ERR_FORMAT, "an operator does not fit a %s and a %s", jval_type(a),
                     jval_type(b));
}

static bool int_pow(struct jrun *r, int64_t a, int64_t b, struct jval *out) {
    if (b < 0) {
        if (a == 0) {
            return jrun_fail(r, ERR_FORMAT, "zero has no negative power");
        }
        *out = jval_float(pow((double)a, (double)b));
        return true;
    }
    int64_t v = 1;
    bool over = false;
    for (; b > 0; b >>= 1) { /* square and multiply; the last square may overflow unused */
        if (b & 1) {
            over = over || __builtin_mul_overflow(v, a, &v);
        }
        if (b > 1 && __builtin_mul_overflow(a, a, &a)) {
            over = true;
        }
        if (over) {
            return jrun_fail(r, ERR_LIMIT, "an integer of more than 64 bits");
        }
    }
    *out = jval_int(v);
    return true;
}

static bool int_binary(struct jrun *r, enum jop op, int64_t a, int64_t b, struct jval *out) {
    int64_t v = 0;
    bool over = false;
    if ((op == JOP_DIV || op == JOP_FLOORDIV || op == JOP_MOD) && b == 0) {
        return jrun_fail(r, ERR_FORMAT, "a division by zero");
    }
    switch (op) {
    case JOP_ADD: over = __builtin_add_overflow(a, b, &v); break;
    case JOP_SUB: over = __builtin_sub_overflow(a, b, &v); break;
    case JOP_MUL: over = __builtin_mul_overflow(a, b, &v); break;
    case JOP_DIV: *out = jval_float((double)a / (double)b); return true;
    case JOP_POW: return int_pow(r, a, b, out);
    default: /* rounded towards minus infinity */
        if (b == -1) {
            over = op == JOP_FLOORDIV && __builtin_sub_overflow(0, a, &v);
            break;
        }
        v = a % b;
        bool adjust = v != 0 && (v < 0) != (b < 0);
        v = op == JOP_MOD ? v + (adjust ? b : 0) : a / b - adjust;
        break;
    }
    *out = jval_int(v);
    return !over || jrun_fail(r, ERR_LIMIT, "an integer of more than 64 bits");
}

static bool float_binary(struct jrun *r, enum jop op, double a, double b, struct jval *out) {
    if ((op == JOP_DIV || op == JOP_FLOORDIV || op == JOP_MOD) && b == 0) {
        return jrun_fail(r, ERR_FORMAT, "a division by zero");
    }
    double v, m;
    switch (op) {
    case JOP_ADD: v = a + b; break;
    case JOP_SUB: v = a - b; break;
    case JOP_MUL: v = a * b; break;
    case JOP_DIV: v = a / b; break;
    case JOP_POW:
        v = pow(a, b);
        if ((a < 0 && b != floor(b)) || (a == 0 && b < 0) || (isinf(v) && !isinf(a) && !isinf(b))) {
            return jrun_fail(r, ERR_FORMAT, "a power has no value that is a float");
        }
        break;
    default: /* the remainder has the sign of the divisor */
        m = fmod(a, b);
        v = (a - m) / b;
        if (m != 0 && (m < 0) != (b < 0)) {
            m += b;
            v -= 1;
        }
        if (op == JOP_MOD) {
            v = m != 0 ? m : copysign(0, b);
        } else {
            double whole = floor(v);
            v = v == 0 ? copysign(0, a / b) : v - whole > 0.5 ? whole + 1 : whole;
        }
        break;
    }
    *out = jval_float(v);
    return true;
}

static bool list_repeat(struct jrun *r, struct jval l, int64_t n, struct jval *out) {
    if (!jval_list(r, l.kind, 0, out)) {
        return false;
    }
    for (int64_t i = 0; l.u.l->n > 0 && i < n; i++) {
        for (size_t k = 0; k < l.u.l->n; k++) {
            if (!jlist_add(r, out->u.l, l.u.l->v[k])) {
                return false;
            }
        }
    }
    return true;
}

static bool binary_mul(struct jrun *r, struct jval a, struct jval b, struct jval *out) {
    int64_t n;
    if (jval_as_int(a, &n)) { /* 3 * 'a' is 'a' * 3 */
        a = b;
    } else if (!jval_as_int(b, &n)) {
        return binary_refuse(r, a, b);
    }
    if (a.kind == JV_STR) {
        return jstr_repeat(r, a.u.s, n, out);
    }
    if (a.kind == JV_LIST || a.kind == JV_TUPLE) {
        return list_repeat(r, a, n, out);
    }
    return binary_refuse(r, a, b);
}

static bool binary_add(struct jrun *r, struct jval a, struct jval b, struct jval *out) {
    if (a.kind == JV_STR && b.kind == JV_STR) {
        const struct jstr *x = a.u.s, *y = b.u.s;
        bool markup = x->markup || y->markup;
        if (markup && !x->markup) {
            if (!jstr_escape(r, x, &a)) {
                return false;
            }
        } else if (markup && !y->markup && !jstr_escape(r, y, &b)) {
            return false;
        }
        if (!jstr_concat(r, a.u.s, b.u.s, out)) {
            return false;
        }
        ((struct jstr *)out->u.s)->markup = markup; /* just made, not shared yet */
        return true;
    }
    if (a.kind != b.kind || (a.kind != JV_LIST && a.kind != JV_TUPLE)) {
        return binary_refuse(r, a, b);
    }
    if (!jval_list(r, a.kind, a.u.l->n + b.u.l->n, out)) {
        return false;
    }
    for (size_t i = 0; i < a.u.l->n + b.u.l->n; i++) {
        struct jval v = i < a.u.l->n ? a.u.l->v[i] : b.u.l->v[i - a.u.l->n];
        if (!jlist_add(r, out->u.l, v)) {
            return false;
        }
    }
    return true;
}

bool jval_binary(struct jrun *r, enum jop op, struct jval a, struct jval b, struct jval *out) {
    int64_t x, y;
    if (jval_as_int(a, &x) && jval_as_int(b, &y)) {
        return int_binary(r, op, x, y, out);
    }
    if (jval_is_num(a) && jval_is_num(b)) {
        return float_binary(r, op, jval_as_float(a), jval_as_float(b), out);
    }
    if (op == JOP_MOD && a.kind == JV_STR) {
        return jformat_percent(r, a.u.s, b, out);
    }
    if (op == JOP_ADD) {
        return binary_add(r, a, b, out);
    }
    return op == JOP_MUL ? binary_mul(r, a, b, out) : binary_refuse(r, a, b);
}

bool jval_compare_op(struct jrun *r, enum jop op, struct jval a, struct jval b, bool *out) {
    bool ok = false;
    switch (op) {
    case JOP_EQ:
    case JOP_NE: ok = jval_equal(r, a, b, out); break;
    case JOP_IN:
    case JOP_NOTIN: ok = jval_contains(r, b, a, out); break;
    case JOP_LT: return jval_less(r, a, b, out);
    case JOP_GT: return jval_less(r, b, a, out);
    case JOP_LE:
    case JOP_GE: {
        bool less, same;
        struct jval low = op == JOP_LE ? a : b, high = op == JOP_LE ? b : a;
        if (!jval_less(r, low, high, &less) || !jval_equal(r, low, high, &same)) {
            return false;
        }
        *out = less || same;
        return true;
    }
    default: break;
    }
    *out = op == JOP_NE || op == JOP_NOTIN ? !*out : *out;
    return ok;
}

static bool eval_tilde(struct jrun *r, const struct jnode *n, struct jscope *s, struct jval *out) {
    struct jbuild b;
    jbuild_init(&b, r);
    for (uint32_t i = 0; i < n->n; i++) {
        struct jval v = jval_none();
        if (!jeval(r, n->list[i], s, &v) || !jval_put_str(&b, v)) {
            return false;
        }
    }
    return jbuild_end(&b, out);
}

static bool eval_chain(struct jrun *r, const struct jnode *n, struct jscope *s, struct jval *out) {
    if (n->op[1] == JOP_TILDE) {
        return eval_tilde(r, n, s, out);
    }
    if (!jeval(r, n->list[0], s, out)) {
        return false;
    }
    for (uint32_t i = 1; i < n->n; i++) {
        struct jval right;
        if (n->op[i] == JOP_OR || n->op[i] == JOP_AND) {
            if (jval_truth(*out) == (n->op[i] == JOP_OR)) {
                return true;
            }
            if (!jeval(r, n->list[i], s, out)) {
                return false;
            }
            continue;
        }
        if (!jeval(r, n->list[i], s, &right)) {
            return false;
        }
        r->at = n->list[i];
        struct jval left = *out;
        if (!jval_binary(r, (enum jop)n->op[i], left, right, out)) {
            return false;
        }
    }
    return true;
}

static bool eval_compare(struct jrun *r, const struct jnode *n, struct jscope *s,
                         struct jval *out) {
    struct jval left;
    bool yes = true;
    if (!jeval(r, n->list[0], s, &left)) {
        return false;
    }
    for (uint32_t i = 1; yes && i < n->n; i++) {
        struct jval right;
        if (!jeval(r, n->list[i], s, &right)) {
            return false;
        }
        r->at = n;
        if (!jval_compare_op(r, (enum jop)n->op[i], left, right, &yes)) {
            return false;
        }
        left = right;
    }
    *out = jval_bool(yes);
    return true;
}

static bool eval_sign(struct jrun *r, const struct jnode *n, struct jscope *s, struct jval *out) {
    struct jval v;
    int64_t i;
    if (!jeval(r, n->a, s, &v)) {
        return false;
    }
    r->at = n;
    bool minus = n->kind == JN_NEG;
    if (jval_as_int(v, &i)) {
        if (minus && i == INT64_MIN) {
            return jrun_fail(r, ERR_LIMIT, "an integer of more than 64 bits");
        }
        *out = jval_int(minus ? -i : i);
        return true;
    }
    if (v.kind != JV_FLOAT) {
        return v.kind == JV_UNDEF ? jval_fail_undef(r, v)
                                  : jrun_fail(r, ERR_FORMAT, "a %s has no sign", jval_type(v));
    }
    *out = jval_float(minus ? -v.u.f : v.u.f);
    return true;
}

/* ---- literals, items ----------------------------------------------------------------- */

static bool eval_list(struct jrun *r, const struct jnode *n, struct jscope *s, struct jval *out) {
    if (!jval_list(r, n->kind == JN_LIST ? JV_LIST : JV_TUPLE, n->n, out)) {
        return false;
    }
    for (uint32_t i = 0; i < n->n; i++) {
        struct jval v;
        if (!jeval(r, n->list[i], s, &v) || !jlist_add(r, out->u.l, v)) {
            return false;
        }
    }
    return true;
}

static bool eval_dict(struct jrun *r, const struct jnode *n, struct jscope *s, struct jval *out) {
    if (!jval_dict(r, JV_DICT, n->n / 2, out)) {
        return false;
    }
    for (uint32_t i = 0; i + 1 < n->n; i += 2) {
        struct jval k, v;
        if (!jeval(r, n->list[i], s, &k) || !jeval(r, n->list[i + 1], s, &v) ||
            !jdict_set(r, out->u.d, k, v)) {
            return false;
        }
    }
    return true;
}

static bool eval_item(struct jrun *r, const struct jnode *n, struct jscope *s, struct jval *out) {
    struct jval o, key;
    if (!jeval(r, n->a, s, &o)) {
        return false;
    }
    if (n->b->kind == JN_SLICE) {
        const struct jnode *part[3] = {n->b->a, n->b->b, n->b->c};
        struct jval bound[3];
        for (int i = 0; i < 3; i++) {
            bound[i] = jval_none();
            if (part[i] != NULL && !jeval(r, part[i], s, &bound[i])) {
                return false;
            }
        }
        r->at = n;
        return jval_slice(r, o, bound, out);
    }
    if (!jeval(r, n->b, s, &key)) {
        return false;
    }
    r->at = n;
    return jval_item(r, o, key, out);
}

static bool eval_attr(struct jrun *r, const struct jnode *n, struct jscope *s, struct jval *out) {
    struct jval o;
    if (!jeval(r, n->a, s, &o)) {
        return false;
    }
    r->at = n;
    return jval_attr(r, o, n->sym->s, out);
}

/* ---- calls --------------------------------------------------------------------------- */

static bool args_add_key(struct jrun *r, struct jargs *a, size_t *cap, struct str name,
                         bool trusted, struct jval v) {
    for (size_t i = 0; i < a->n_key; i++) {
        if (str_eq(a->key[i].name, name)) {
            return jrun_fail(r, ERR_FORMAT, "an argument is given twice");
        }
    }
    if (a->n_key == *cap) {
        *cap = *cap * 2 + 4;
        struct jkeyword *grown = jrun_alloc(r, *cap, sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        if (a->n_key > 0) {
            memcpy(grown, a->key, a->n_key * sizeof *grown);
        }
        a->key = grown;
    }
    a->key[a->n_key++] = (struct jkeyword){name, trusted, v};
    return jrun_charge(r, 1 + a->n_key / 8);
}

static bool args_add_map(struct jrun *r, struct jargs *a, size_t *cap, struct jval map) {
    if (map.kind != JV_DICT) {
        return jrun_fail(r, ERR_FORMAT, "** needs a dict, not a %s", jval_type(map));
    }
    for (size_t i = 0; i < map.u.d->n; i++) {
        if (map.u.d->key[i].kind != JV_STR) {
            return jrun_fail(r, ERR_FORMAT, "** needs keys that are strings");
        }
        const struct jstr *name = map.u.d->key[i].u.s;
        if (!args_add_key(r, a, cap, jstr_view(name), jstr_all_trusted(name), map.u.d->val[i])) {
            return false;
        }
    }
    return true;
}

/* The arguments of a call, filter or test. */
static bool eval_args(struct jrun *r, const struct jnode *n, struct jscope *s,
                      const struct jkeyword *extra, struct jargs *a) {
    struct jval list, v;
    size_t cap = 0;
    *a = (struct jargs){0};
    if (!jval_list(r, JV_LIST, n->n, &list)) {
        return false;
    }
    for (uint32_t i = 0; i < n->n; i++) {
        const struct jnode *arg = n->list[i];
        struct jval more;
        bool ok;
        if (!jeval(r, arg->a, s, &v)) {
            return false;
        }
        switch (arg->op0) {
        case JARG_KEY: ok = args_add_key(r, a, &cap, arg->sym->s, true, v); break;
        case JARG_STARSTAR: ok = args_add_map(r, a, &cap, v); break;
        case JARG_STAR:
            ok = jval_to_list(r, v, &more);
            for (size_t k = 0; ok && k < more.u.l->n; k++) {
                ok = jlist_add(r, list.u.l, more.u.l->v[k]);
            }
            break;
        default: ok = jlist_add(r, list.u.l, v); break;
        }
        if (!ok) {
            return false;
        }
    }
    a->pos = list.u.l->v;
    a->n = list.u.l->n;
    return extra == NULL || args_add_key(r, a, &cap, extra->name, true, extra->v);
}

static bool call_joiner(struct jrun *r, struct jjoiner *j, struct jval *out) {
    if (j->used) {
        *out = j->sep;
        return true;
    }
    j->used = true;
    return jstr_make(r, "", 0, true, out);
}

bool jval_call(struct jrun *r, struct jval f, const struct jargs *a, struct jval *out) {
    switch (f.kind) {
    case JV_FUNC: return f.u.func->fn(r, a, out);
    case JV_METHOD:
        if (f.u.method->fn == NULL) {
            return jrun_fail(r, ERR_UNSUPPORTED, "the method '%s' is not supported",
                             f.u.method->name);
        }
        return f.u.method->fn(r, f.u.method->self, a, out);
    case JV_MACRO: return jexec_call_macro(r, f.u.macro, a, out);
    case JV_LOOP: return jexec_call_loop(r, f.u.loop, a, out);
    case JV_JOINER:
        if (a->n + a->n_key > 0) {
            return jrun_fail(r, ERR_FORMAT, "a joiner takes no arguments");
        }
        return call_joiner(r, f.u.joiner, out);
    case JV_UNDEF: return jval_fail_undef(r, f);
    default: return jrun_fail(r, ERR_FORMAT, "a %s cannot be called", jval_type(f));
    }
}

bool jeval_call(struct jrun *r, const struct jnode *n, struct jscope *s,
                const struct jkeyword *extra, struct jval *out) {
    struct jval f;
    struct jargs a;
    if (!jeval(r, n->a, s, &f) || !eval_args(r, n, s, extra, &a)) {
        return false;
    }
    r->at = n;
    return jval_call(r, f, &a, out);
}

/* ---- filters and tests --------------------------------------------------------------- */

bool jeval_filter(struct jrun *r, const struct jnode *n, struct jval in, struct jscope *s,
                  struct jval *out) {
    struct jargs a;
    struct jval v = in;
    if (n->a != NULL) { /* a chain: the innermost takes `in` if it has no input of its own */
        bool ok = n->a->kind == JN_FILTER ? jrun_enter(r) && jeval_filter(r, n->a, in, s, &v)
                                          : jeval(r, n->a, s, &v);
        if (!ok) {
            return false;
        }
        r->depth -= n->a->kind == JN_FILTER;
    }
    if (!jrun_charge(r, 1) || !eval_args(r, n, s, NULL, &a)) {
        return false;
    }
    r->at = n;
    if (n->fn == NULL) {
        return jrun_fail(r, ERR_UNSUPPORTED, "no filter named '%.*s'", (int)n->sym->s.n,
                         n->sym->s.p);
    }
    return ((const struct jfilter *)n->fn)->fn(r, v, &a, out);
}

static bool eval_test(struct jrun *r, const struct jnode *n, struct jscope *s, struct jval *out) {
    struct jargs a;
    struct jval v;
    bool yes = false;
    if (!jeval(r, n->a, s, &v) || !eval_args(r, n, s, NULL, &a)) {
        return false;
    }
    r->at = n;
    if (n->fn == NULL) {
        return jrun_fail(r, ERR_UNSUPPORTED, "no test named '%.*s'", (int)n->sym->s.n, n->sym->s.p);
    }
    if (!((const struct jtest *)n->fn)->fn(r, v, &a, &yes)) {
        return false;
    }
    *out = jval_bool(yes);
    return true;
}

static bool eval_cond(struct jrun *r, const struct jnode *n, struct jscope *s, struct jval *out) {
    struct jval test;
    if (!jeval(r, n->a, s, &test)) {
        return false;
    }
    const struct jnode *then = jval_truth(test) ? n->b : n->c;
    if (then == NULL) {
        *out = jval_undef("the inline if was false and has no else");
        return true;
    }
    return jeval(r, then, s, out);
}

static bool eval_inner(struct jrun *r, const struct jnode *n, struct jscope *s, struct jval *out) {
    struct jval v;
    switch (n->kind) {
    case JN_CONST: *out = n->value; return true;
    case JN_NAME: return eval_name(r, n, s, out);
    case JN_LIST:
    case JN_TUPLE: return eval_list(r, n, s, out);
    case JN_DICT: return eval_dict(r, n, s, out);
    case JN_CHAIN: return eval_chain(r, n, s, out);
    case JN_COMPARE: return eval_compare(r, n, s, out);
    case JN_NEG:
    case JN_POS: return eval_sign(r, n, s, out);
    case JN_COND: return eval_cond(r, n, s, out);
    case JN_ATTR: return eval_attr(r, n, s, out);
    case JN_ITEM: return eval_item(r, n, s, out);
    case JN_CALL: return jeval_call(r, n, s, NULL, out);
    case JN_FILTER: return jeval_filter(r, n, jval_none(), s, out);
    case JN_TEST: return eval_test(r, n, s, out);
    case JN_NOT:
        if (!jeval(r, n->a, s, &v)) {
            return false;
        }
        *out = jval_bool(!jval_truth(v));
        return true;
    default: return jrun_fail(r, ERR_UNSUPPORTED, "this is not an expression");
    }
}

bool jeval(struct jrun *r, const struct jnode *n, struct jscope *s, struct jval *out) {
    r->at = n;
    if (!jrun_enter(r) || !jrun_charge(r, 1)) {
        return false;
    }
    bool ok = eval_inner(r, n, s, out);
    jrun_leave(r);
    return ok;
}
