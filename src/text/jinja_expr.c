/* jinja_expr.c: expressions: precedence, calls, filters, tests, subscripts, literals.
 *
 * Owns the expression grammar. Refuses statements (jinja_parse.c). One function climbs all levels
 * of precedence, so that a level of parentheses costs a few stack frames and not a dozen.
 * Invariant: operators of one level make one node with many operands, so that the tree's height
 * is that of the nesting, not of the length.
 * Source: parser.py of Jinja2 3.1.
 */
#include <string.h>

#include "text/jinja_int.h"

enum level {
    LEVEL_OR = 1,
    LEVEL_AND,
    LEVEL_NOT,
    LEVEL_COMPARE,
    LEVEL_ADD,
    LEVEL_TILDE,
    LEVEL_MUL,
    LEVEL_POW,
    LEVEL_UNARY
};

static const struct {
    const char *s;
    bool word;
    enum level level;
    enum jop op;
} operators[] = {
    {"or", true, LEVEL_OR, JOP_OR},         {"and", true, LEVEL_AND, JOP_AND},
    {"==", false, LEVEL_COMPARE, JOP_EQ},   {"!=", false, LEVEL_COMPARE, JOP_NE},
    {"<", false, LEVEL_COMPARE, JOP_LT},    {"<=", false, LEVEL_COMPARE, JOP_LE},
    {">", false, LEVEL_COMPARE, JOP_GT},    {">=", false, LEVEL_COMPARE, JOP_GE},
    {"in", true, LEVEL_COMPARE, JOP_IN},    {"+", false, LEVEL_ADD, JOP_ADD},
    {"-", false, LEVEL_ADD, JOP_SUB},       {"~", false, LEVEL_TILDE, JOP_TILDE},
    {"*", false, LEVEL_MUL, JOP_MUL},       {"/", false, LEVEL_MUL, JOP_DIV},
    {"//", false, LEVEL_MUL, JOP_FLOORDIV}, {"%", false, LEVEL_MUL, JOP_MOD},
    {"**", false, LEVEL_POW, JOP_POW},
};

static bool expr_level(struct jparse *p, enum level level, const struct jnode **out);
static bool expr_args(struct jparse *p, struct jnodes *ns);

static bool expr_no_memory(struct jparse *p) {
    bool full = p->arena->used + 4096 > p->arena->max;
    return jparse_fail(p, full ? ERR_LIMIT : ERR_NOMEM,
                       full ? "the template is too large" : "out of memory");
}

static const struct jsym *expr_sym(struct jparse *p, struct str s) {
    const struct jsym *y = jsym_intern(p->t->syms, p->arena, s);
    if (y == NULL) {
        expr_no_memory(p);
    }
    return y;
}

static void expr_take(struct jnode *n, const struct jnodes *ns) {
    n->list = ns->v;
    n->op = ns->op;
    n->n = (uint32_t)ns->n;
}

/* ---- literals and names -------------------------------------------------------------- */

static bool expr_string(struct jparse *p, const struct jnode **out) {
    struct jnode *n = jparse_node(p, JN_CONST, &p->cur);
    struct jstr *s = arena_zalloc(p->arena, 1, sizeof *s);
    if (n == NULL || s == NULL) {
        return expr_no_memory(p);
    }
    s->p = p->cur.s.p;
    s->n = p->cur.s.n;
    if (!jparse_advance(p)) {
        return false;
    }
    size_t cap = 0;
    while (p->cur.type == JT_STRING) { /* neighbours are one string */
        size_t need = s->n + p->cur.s.n;
        if (need > cap) {
            cap = need * 2;
            char *joined = arena_alloc(p->arena, cap, 1);
            if (joined == NULL) {
                return expr_no_memory(p);
            }
            memcpy(joined, s->p, s->n);
            s->p = joined;
        }
        memcpy((char *)s->p + s->n, p->cur.s.p, p->cur.s.n);
        s->n = need;
        if (!jparse_advance(p)) {
            return false;
        }
    }
    s->trusted = true;
    s->ascii = true;
    for (size_t i = 0; i < s->n; i++) {
        s->ascii = s->ascii && (uint8_t)s->p[i] < 0x80;
    }
    n->value.kind = JV_STR;
    n->value.u.s = s;
    *out = n;
    return true;
}

static bool expr_name(struct jparse *p, enum jprimary how, const struct jnode **out) {
    struct jtoken t = p->cur;
    struct jnode *n = jparse_node(p, JN_CONST, &t);
    if (n == NULL || !jparse_advance(p)) {
        return false;
    }
    *out = n;
    if (str_is(t.s, "true") || str_is(t.s, "True")) {
        n->value = jval_bool(true);
        return true;
    }
    if (str_is(t.s, "false") || str_is(t.s, "False")) {
        n->value = jval_bool(false);
        return true;
    }
    if (str_is(t.s, "none") || str_is(t.s, "None")) {
        n->value = jval_none();
        return true;
    }
    n->kind = JN_NAME;
    if ((n->sym = expr_sym(p, t.s)) == NULL) {
        return false;
    }
    if (how == JPRIMARY_SET && jparse_is_op(p, ".")) {
        struct jtoken attr;
        struct jnode *b = jparse_node(p, JN_NAME, &p->cur);
        if (b == NULL || !jparse_advance(p) || !jparse_expect_name(p, &attr)) {
            return false;
        }
        n->kind = JN_NSREF;
        b->sym = expr_sym(p, attr.s);
        n->b = b;
        return b->sym != NULL;
    }
    if (how != JPRIMARY_VALUE) {
        return true;
    }
    p->uses |= str_is(t.s, "caller")    ? JUSE_CALLER
               : str_is(t.s, "kwargs")  ? JUSE_KWARGS
               : str_is(t.s, "varargs") ? JUSE_VARARGS
                                        : 0;
    return true;
}

static bool expr_list(struct jparse *p, const struct jnode **out) {
    struct jnode *n = jparse_node(p, JN_LIST, &p->cur);
    struct jnodes ns = {0};
    if (n == NULL || !jparse_advance(p)) {
        return false;
    }
    while (!jparse_is_op(p, "]")) {
        const struct jnode *item;
        if (ns.n > 0 && !jparse_expect_op(p, ",")) {
            return false;
        }
        if (jparse_is_op(p, "]")) {
            break;
        }
        if (!jexpr_parse(p, true, &item) || !jnodes_add(p, &ns, item, 0)) {
            return false;
        }
    }
    expr_take(n, &ns);
    *out = n;
    return jparse_advance(p) && jparse_done(p, n);
}

static bool expr_dict(struct jparse *p, const struct jnode **out) {
    struct jnode *n = jparse_node(p, JN_DICT, &p->cur);
    struct jnodes ns = {0};
    if (n == NULL || !jparse_advance(p)) {
        return false;
    }
    while (!jparse_is_op(p, "}")) {
        const struct jnode *key, *value;
        if (ns.n > 0 && !jparse_expect_op(p, ",")) {
            return false;
        }
        if (jparse_is_op(p, "}")) {
            break;
        }
        if (!jexpr_parse(p, true, &key) || !jparse_expect_op(p, ":") ||
            !jexpr_parse(p, true, &value) || !jnodes_add(p, &ns, key, 0) ||
            !jnodes_add(p, &ns, value, 0)) {
            return false;
        }
    }
    expr_take(n, &ns);
    *out = n;
    return jparse_advance(p) && jparse_done(p, n);
}

static bool expr_number(struct jparse *p, const struct jnode **out) {
    struct jnode *n = jparse_node(p, JN_CONST, &p->cur);
    if (n == NULL) {
        return false;
    }
    n->value = p->cur.type == JT_INT ? jval_int(p->cur.i) : jval_float(p->cur.f);
    *out = n;
    return jparse_advance(p);
}

bool jexpr_primary(struct jparse *p, enum jprimary how, const struct jnode **out) {
    switch (p->cur.type) {
    case JT_NAME: return expr_name(p, how, out);
    case JT_STRING: return expr_string(p, out);
    case JT_INT:
    case JT_FLOAT: return expr_number(p, out);
    default: break;
    }
    if (jparse_is_op(p, "(")) {
        return jparse_advance(p) && jexpr_tuple(p, JTUPLE_PARENS, out) && jparse_expect_op(p, ")");
    }
    if (jparse_is_op(p, "[")) {
        return expr_list(p, out);
    }
    if (jparse_is_op(p, "{")) {
        return expr_dict(p, out);
    }
    return jparse_fail(p, ERR_FORMAT, "an expression is missing here");
}

static bool expr_tuple_end(const struct jparse *p, unsigned how) {
    return p->cur.type == JT_VAR_END || p->cur.type == JT_BLOCK_END || jparse_is_op(p, ")") ||
           ((how & JTUPLE_IN) && jparse_is_name(p, "in")) ||
           ((how & JTUPLE_RECURSIVE) && jparse_is_name(p, "recursive"));
}

bool jexpr_tuple(struct jparse *p, unsigned how, const struct jnode **out) {
    struct jtoken at = p->cur;
    struct jnodes ns = {0};
    bool is_tuple = false;
    for (;;) {
        const struct jnode *item;
        if (ns.n > 0 && !jparse_expect_op(p, ",")) {
            return false;
        }
        if (expr_tuple_end(p, how)) {
            break;
        }
        if (how & JTUPLE_TARGET) {
            enum jprimary kind = how & JTUPLE_NSREF ? JPRIMARY_SET : JPRIMARY_TARGET;
            if (!jparse_enter(p, 1) || !jexpr_primary(p, kind, &item)) {
                return false;
            }
            jparse_leave(p, 1);
        } else if (!jexpr_parse(p, !(how & JTUPLE_NO_COND), &item)) {
            return false;
        }
        if (!jnodes_add(p, &ns, item, 0)) {
            return false;
        }
        if (!jparse_is_op(p, ",")) {
            break;
        }
        is_tuple = true;
    }
    if (!is_tuple && ns.n == 1) {
        *out = ns.v[0];
        return true;
    }
    if (!is_tuple && !(how & JTUPLE_PARENS)) {
        return jparse_fail(p, ERR_FORMAT, "an expression is missing here");
    }
    struct jnode *n = jparse_node(p, JN_TUPLE, &at);
    if (n == NULL) {
        return false;
    }
    expr_take(n, &ns);
    *out = n;
    return jparse_done(p, n);
}

/* ---- what follows a value ------------------------------------------------------------ */

static bool expr_arg(struct jparse *p, struct jnodes *ns, enum jarg *seen) {
    struct jnode *n = jparse_node(p, JN_ARG, &p->cur);
    enum jarg how = JARG_POS;
    if (n == NULL) {
        return false;
    }
    if (jparse_is_op(p, "*")) {
        how = JARG_STAR;
    } else if (jparse_is_op(p, "**")) {
        how = JARG_STARSTAR;
    } else if (p->cur.type == JT_NAME) {
        struct jtoken *next;
        if (!jparse_peek(p, &next)) {
            return false;
        }
        if (next->type == JT_OP && str_is(next->s, "=")) {
            how = JARG_KEY;
            if ((n->sym = expr_sym(p, p->cur.s)) == NULL || !jparse_advance(p)) {
                return false;
            }
        }
    }
    /* positional, then named; * after which only names; ** last */
    if (*seen == JARG_STARSTAR || (how == JARG_POS && *seen != JARG_POS) ||
        (how == JARG_STAR && *seen == JARG_STAR)) {
        return jparse_fail(p, ERR_FORMAT, "the arguments of a call are in a wrong order");
    }
    *seen = how > *seen ? how : *seen;
    n->op0 = (uint8_t)how;
    if ((how != JARG_POS && !jparse_advance(p)) || !jexpr_parse(p, true, &n->a)) {
        return false;
    }
    for (size_t i = 0; how == JARG_KEY && i < ns->n; i++) {
        if (ns->v[i]->op0 == JARG_KEY && ns->v[i]->sym == n->sym) {
            return jparse_fail(p, ERR_FORMAT, "an argument is given twice");
        }
    }
    return jparse_done(p, n) && jnodes_add(p, ns, n, 0);
}

static bool expr_args(struct jparse *p, struct jnodes *ns) {
    enum jarg seen = JARG_POS;
    if (!jparse_expect_op(p, "(")) {
        return false;
    }
    while (!jparse_is_op(p, ")")) {
        if (ns->n > 0) {
            if (!jparse_expect_op(p, ",")) {
                return false;
            }
            if (jparse_is_op(p, ")")) {
                break;
            }
        }
        if (!expr_arg(p, ns, &seen)) {
            return false;
        }
    }
    return jparse_advance(p);
}

static bool expr_call(struct jparse *p, const struct jnode *callee, const struct jnode **out) {
    struct jnode *n = jparse_node(p, JN_CALL, &p->cur);
    struct jnodes ns = {0};
    if (n == NULL || !expr_args(p, &ns)) {
        return false;
    }
    n->a = callee;
    expr_take(n, &ns);
    *out = n;
    return jparse_done(p, n);
}

/* One index or slice inside brackets. */
static bool expr_subscribed(struct jparse *p, const struct jnode **out) {
    struct jnode *n = jparse_node(p, JN_SLICE, &p->cur);
    const struct jnode *part[3] = {NULL, NULL, NULL};
    bool colon;
    if (n == NULL) {
        return false;
    }
    if (!jparse_is_op(p, ":") && !jexpr_parse(p, true, &part[0])) {
        return false;
    }
    if (!jparse_is_op(p, ":")) {
        *out = part[0];
        return true;
    }
    for (int i = 1; i < 3; i++) {
        if (!jparse_skip_op(p, ":", &colon)) {
            return false;
        }
        if (colon && !jparse_is_op(p, ":") && !jparse_is_op(p, "]") && !jparse_is_op(p, ",") &&
            !jexpr_parse(p, true, &part[i])) {
            return false;
        }
    }
    n->a = part[0];
    n->b = part[1];
    n->c = part[2];
    *out = n;
    return jparse_done(p, n);
}

static bool expr_bracket(struct jparse *p, const struct jnode *object, const struct jnode **out) {
    struct jnode *n = jparse_node(p, JN_ITEM, &p->cur);
    struct jnode *tuple = jparse_node(p, JN_TUPLE, &p->cur);
    struct jnodes ns = {0};
    if (n == NULL || tuple == NULL || !jparse_advance(p)) {
        return false;
    }
    while (!jparse_is_op(p, "]")) {
        const struct jnode *item;
        if ((ns.n > 0 && !jparse_expect_op(p, ",")) || !expr_subscribed(p, &item) ||
            !jnodes_add(p, &ns, item, 0)) {
            return false;
        }
    }
    if (ns.n != 1) {
        for (size_t i = 0; i < ns.n; i++) {
            if (ns.v[i]->kind == JN_SLICE) {
                return jparse_fail(p, ERR_UNSUPPORTED, "a slice of several dimensions");
            }
        }
        expr_take(tuple, &ns);
        if (!jparse_done(p, tuple)) {
            return false;
        }
    }
    n->a = object;
    n->b = ns.n == 1 ? ns.v[0] : tuple;
    *out = n;
    return jparse_advance(p) && jparse_done(p, n);
}

static bool expr_dot(struct jparse *p, const struct jnode *object, const struct jnode **out) {
    struct jnode *n = jparse_node(p, JN_ATTR, &p->cur);
    if (n == NULL || !jparse_advance(p)) {
        return false;
    }
    n->a = object;
    *out = n;
    if (p->cur.type == JT_INT) {
        n->kind = JN_ITEM;
        return expr_number(p, &n->b) && jparse_done(p, n);
    }
    if (p->cur.type != JT_NAME) {
        return jparse_fail(p, ERR_FORMAT, "a name or number is missing here");
    }
    return (n->sym = expr_sym(p, p->cur.s)) != NULL && jparse_advance(p) && jparse_done(p, n);
}

static bool expr_postfix(struct jparse *p, const struct jnode **n) {
    for (;;) {
        if (jparse_is_op(p, ".")) {
            if (!expr_dot(p, *n, n)) {
                return false;
            }
        } else if (jparse_is_op(p, "[")) {
            if (!expr_bracket(p, *n, n)) {
                return false;
            }
        } else if (jparse_is_op(p, "(")) {
            if (!expr_call(p, *n, n)) {
                return false;
            }
        } else {
            return true;
        }
    }
}

/* A dotted name is one unknown name. */
static bool expr_dotted(struct jparse *p, struct jtoken *name) {
    if (!jparse_expect_name(p, name)) {
        return false;
    }
    if (jparse_is_op(p, ".")) {
        return jparse_fail(p, ERR_UNSUPPORTED, "no filter or test has a dot in its name");
    }
    return true;
}

bool jexpr_filter(struct jparse *p, const struct jnode *in, bool inline_start,
                  const struct jnode **out) {
    *out = in;
    while (inline_start || jparse_is_op(p, "|")) {
        struct jtoken name;
        struct jnodes ns = {0};
        if ((!inline_start && !jparse_advance(p)) || !expr_dotted(p, &name)) {
            return false;
        }
        inline_start = false;
        struct jnode *n = jparse_node(p, JN_FILTER, &name);
        if (n == NULL || (n->sym = expr_sym(p, name.s)) == NULL ||
            (jparse_is_op(p, "(") && !expr_args(p, &ns))) {
            return false;
        }
        n->a = *out;
        n->fn = jfilter_find(name.s);
        if (n->fn == NULL && !p->soft) {
            p->unknown = name;
        }
        expr_take(n, &ns);
        *out = n;
        if (!jparse_done(p, n)) {
            return false;
        }
    }
    return true;
}

/* A test's argument without parentheses. */
static bool expr_test_arg(struct jparse *p, struct jnodes *ns) {
    bool starts = p->cur.type == JT_NAME || p->cur.type == JT_STRING || p->cur.type == JT_INT ||
                  p->cur.type == JT_FLOAT || jparse_is_op(p, "[") || jparse_is_op(p, "{");
    if (!starts || jparse_is_name(p, "else") || jparse_is_name(p, "or") ||
        jparse_is_name(p, "and")) {
        return true;
    }
    if (jparse_is_name(p, "is")) {
        return jparse_fail(p, ERR_FORMAT, "tests cannot be chained with 'is'");
    }
    struct jnode *n = jparse_node(p, JN_ARG, &p->cur);
    return n != NULL && jexpr_primary(p, JPRIMARY_VALUE, &n->a) && expr_postfix(p, &n->a) &&
           jparse_done(p, n) && jnodes_add(p, ns, n, 0);
}

static bool expr_test(struct jparse *p, const struct jnode **io) {
    struct jtoken at = p->cur, name;
    struct jnodes ns = {0};
    bool negated;
    if (!jparse_advance(p) || !jparse_skip_name(p, "not", &negated) || !expr_dotted(p, &name)) {
        return false;
    }
    struct jnode *n = jparse_node(p, JN_TEST, &at);
    if (n == NULL || (n->sym = expr_sym(p, name.s)) == NULL ||
        !(jparse_is_op(p, "(") ? expr_args(p, &ns) : expr_test_arg(p, &ns))) {
        return false;
    }
    n->a = *io;
    n->fn = jtest_find(name.s);
    if (n->fn == NULL && !p->soft) {
        p->unknown = name;
    }
    expr_take(n, &ns);
    *io = n;
    if (!negated) {
        return jparse_done(p, n);
    }
    struct jnode *not = jparse_node(p, JN_NOT, &at);
    if (not == NULL || !jparse_done(p, n)) {
        return false;
    }
    not ->a = n;
    *io = not ;
    return jparse_done(p, not );
}

static bool expr_filters_and_tests(struct jparse *p, const struct jnode **n) {
    for (;;) {
        if (jparse_is_op(p, "|")) {
            if (!jexpr_filter(p, *n, false, n)) {
                return false;
            }
        } else if (jparse_is_name(p, "is")) {
            if (!expr_test(p, n)) {
                return false;
            }
        } else if (jparse_is_op(p, "(")) {
            if (!expr_call(p, *n, n)) {
                return false;
            }
        } else {
            return true;
        }
    }
}

/* ---- operators ----------------------------------------------------------------------- */

/* `filters`: whether | and `is` may follow: they bind the whole of -x, not the x in it. */
static bool expr_unary(struct jparse *p, bool filters, const struct jnode **out) {
    if (!jparse_enter(p, 1)) {
        return false;
    }
    if (jparse_is_op(p, "-") || jparse_is_op(p, "+")) {
        struct jnode *n = jparse_node(p, jparse_is_op(p, "-") ? JN_NEG : JN_POS, &p->cur);
        if (n == NULL || !jparse_advance(p) || !expr_unary(p, false, &n->a) || !jparse_done(p, n)) {
            return false;
        }
        *out = n;
    } else if (!jexpr_primary(p, JPRIMARY_VALUE, out)) {
        return false;
    }
    if (!expr_postfix(p, out) || (filters && !expr_filters_and_tests(p, out))) {
        return false;
    }
    jparse_leave(p, 1);
    return true;
}

/* The operator at the current token, if it is of `level` or binds tighter; not consumed. */
static bool expr_operator(struct jparse *p, enum level level, enum level *got, enum jop *op) {
    *op = JOP_NONE;
    if (p->cur.type != JT_OP && p->cur.type != JT_NAME) {
        return true;
    }
    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++) {
        if (operators[i].word == (p->cur.type == JT_NAME) && str_is(p->cur.s, operators[i].s)) {
            *got = operators[i].level;
            *op = *got >= level ? operators[i].op : JOP_NONE;
            return true;
        }
    }
    if (level <= LEVEL_COMPARE && jparse_is_name(p, "not")) {
        struct jtoken *next;
        if (!jparse_peek(p, &next)) {
            return false;
        }
        if (next->type == JT_NAME && str_is(next->s, "in")) {
            *got = LEVEL_COMPARE;
            *op = JOP_NOTIN;
        }
    }
    return true;
}

/* All operators of one level in a row: one node. */
static bool expr_row(struct jparse *p, enum level level, enum jop op, const struct jnode **io) {
    struct jnode *n = jparse_node(p, level == LEVEL_COMPARE ? JN_COMPARE : JN_CHAIN, &p->cur);
    struct jnodes ns = {0};
    if (n == NULL || !jnodes_add(p, &ns, *io, JOP_NONE)) {
        return false;
    }
    for (enum level got = level; op != JOP_NONE && got == level;) {
        const struct jnode *right;
        if (!jparse_advance(p) || (op == JOP_NOTIN && !jparse_advance(p)) ||
            !expr_level(p, level + 1, &right) || !jnodes_add(p, &ns, right, (uint8_t)op) ||
            !expr_operator(p, level, &got, &op)) {
            return false;
        }
    }
    expr_take(n, &ns);
    *io = n;
    return jparse_done(p, n);
}

static bool expr_level(struct jparse *p, enum level level, const struct jnode **out) {
    if (!jparse_enter(p, 1)) {
        return false;
    }
    if (level <= LEVEL_NOT && jparse_is_name(p, "not")) {
        struct jnode *n = jparse_node(p, JN_NOT, &p->cur);
        if (n == NULL || !jparse_advance(p) || !expr_level(p, LEVEL_NOT, &n->a) ||
            !jparse_done(p, n)) {
            return false;
        }
        *out = n;
    } else if (!expr_unary(p, true, out)) {
        return false;
    }
    for (;;) {
        enum level got = LEVEL_UNARY;
        enum jop op;
        if (!expr_operator(p, level, &got, &op)) {
            return false;
        }
        if (op == JOP_NONE) {
            break;
        }
        if (!expr_row(p, got, op, out)) {
            return false;
        }
    }
    jparse_leave(p, 1);
    return true;
}

bool jexpr_parse(struct jparse *p, bool cond, const struct jnode **out) {
    struct jtoken at = p->cur;
    bool is_if, is_else, soft = p->soft;
    struct jtoken unknown = p->unknown;
    if (!jparse_enter(p, 1) || !expr_level(p, LEVEL_OR, out)) {
        return false;
    }
    while (cond && jparse_is_name(p, "if")) {
        struct jnode *n = jparse_node(p, JN_COND, &at);
        if (n == NULL || !jparse_skip_name(p, "if", &is_if)) {
            return false;
        }
        n->b = *out;
        p->soft = true;
        p->unknown = unknown; /* what stands before the if may never be reached */
        if (!expr_level(p, LEVEL_OR, &n->a) || !jparse_skip_name(p, "else", &is_else) ||
            (is_else && !jexpr_parse(p, true, &n->c)) || !jparse_done(p, n)) {
            return false;
        }
        p->soft = soft;
        *out = n;
    }
    jparse_leave(p, 1);
    return true;
}
