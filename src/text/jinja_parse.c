/* jinja_parse.c: tokens to a tree: statements, and what the expression parser shares with them.
 *
 * Owns the token window, nodes, interned names and every {% tag %}. Refuses expressions
 * (jinja_expr.c). Recursion is counted (JPARSE_DEPTH), and so is the height of every tree, because
 * rendering recurses over it.
 * Invariant: a node's children are complete before jparse_done gives it its height.
 * Source: parser.py and compiler.py of Jinja2 3.1.
 */
#include <stdio.h>
#include <string.h>

#include "text/jinja_int.h"

/* ---- names --------------------------------------------------------------------------- */

static size_t sym_bucket(struct str s) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < s.n; i++) {
        h = (h ^ (uint8_t)s.p[i]) * 16777619u;
    }
    return h % JSYM_BUCKETS;
}

const struct jsym *jsym_find(const struct jsyms *t, struct str s) {
    const struct jsym *y = t->bucket[sym_bucket(s)];
    while (y != NULL && !str_eq(y->s, s)) {
        y = y->next;
    }
    return y;
}

const struct jsym *jsym_intern(struct jsyms *t, struct arena *a, struct str s) {
    const struct jsym *found = jsym_find(t, s);
    if (found != NULL) {
        return found;
    }
    struct jsym *y = arena_alloc(a, 1, sizeof *y);
    char *copy = arena_strdup(a, s.p, s.n);
    if (y == NULL || copy == NULL) {
        return NULL;
    }
    size_t b = sym_bucket(s);
    y->s = str_of(copy, s.n);
    y->next = t->bucket[b];
    t->bucket[b] = y;
    return y;
}

/* ---- tokens -------------------------------------------------------------------------- */

bool(jparse_fail)(struct jparse *p, enum err_code code, const char *fmt, ...) {
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return jlex_fail(&p->lex, code, p->cur.line, p->cur.col, "%s", text);
}

bool jparse_advance(struct jparse *p) {
    if (p->has_next) {
        p->cur = p->next;
        p->has_next = false;
        return true;
    }
    return jlex_next(&p->lex, &p->cur);
}

bool jparse_peek(struct jparse *p, struct jtoken **t) {
    if (!p->has_next) {
        if (!jlex_next(&p->lex, &p->next)) {
            return false;
        }
        p->has_next = true;
    }
    *t = &p->next;
    return true;
}

bool jparse_is_op(const struct jparse *p, const char *op) {
    return p->cur.type == JT_OP && str_is(p->cur.s, op);
}

bool jparse_is_name(const struct jparse *p, const char *name) {
    return p->cur.type == JT_NAME && str_is(p->cur.s, name);
}

bool jparse_skip_op(struct jparse *p, const char *op, bool *skipped) {
    *skipped = jparse_is_op(p, op);
    return !*skipped || jparse_advance(p);
}

bool jparse_skip_name(struct jparse *p, const char *name, bool *skipped) {
    *skipped = jparse_is_name(p, name);
    return !*skipped || jparse_advance(p);
}

bool jparse_expect_op(struct jparse *p, const char *op) {
    if (!jparse_is_op(p, op)) {
        return jparse_fail(p, ERR_FORMAT, "'%s' is missing here", op);
    }
    return jparse_advance(p);
}

bool jparse_expect_name(struct jparse *p, struct jtoken *t) {
    if (p->cur.type != JT_NAME) {
        return jparse_fail(p, ERR_FORMAT, "a name is missing here");
    }
    *t = p->cur;
    return jparse_advance(p);
}

/* ---- nodes --------------------------------------------------------------------------- */

struct jnode *jparse_node(struct jparse *p, enum jnode_kind kind, const struct jtoken *at) {
    struct jnode *n = arena_zalloc(p->arena, 1, sizeof *n);
    if (n == NULL) {
        bool full = p->arena->used + sizeof *n > p->arena->max;
        jparse_fail(p, full ? ERR_LIMIT : ERR_NOMEM,
                    full ? "the template is too large" : "out of memory");
        return NULL;
    }
    n->kind = (uint8_t)kind;
    n->line = at->line;
    n->col = at->col;
    n->height = 1;
    return n;
}

static void node_raise(struct jnode *n, const struct jnode *child) {
    if (child != NULL && child->height >= n->height) {
        n->height = child->height + 1;
    }
}

bool jparse_done(struct jparse *p, struct jnode *n) {
    node_raise(n, n->a);
    node_raise(n, n->b);
    node_raise(n, n->c);
    for (uint32_t i = 0; i < n->n; i++) {
        node_raise(n, n->list[i]);
    }
    if (n->height > JPARSE_HEIGHT) {
        return jlex_fail(&p->lex, ERR_LIMIT, n->line, n->col,
                         "the template is nested more than %d levels deep", JPARSE_HEIGHT);
    }
    return true;
}

bool jnodes_add(struct jparse *p, struct jnodes *ns, const struct jnode *n, uint8_t op) {
    if (ns->n == ns->cap) {
        size_t cap = ns->cap == 0 ? 4 : ns->cap * 2;
        const struct jnode **v = arena_alloc(p->arena, cap, sizeof(*v));
        uint8_t *o = arena_alloc(p->arena, cap, 1);
        if (v == NULL || o == NULL) {
            bool full = p->arena->used + cap * sizeof(*v) > p->arena->max;
            return jparse_fail(p, full ? ERR_LIMIT : ERR_NOMEM,
                               full ? "the template is too large" : "out of memory");
        }
        if (ns->n > 0) {
            memcpy(v, ns->v, ns->n * sizeof(*v));
            memcpy(o, ns->op, ns->n);
        }
        ns->v = v;
        ns->op = o;
        ns->cap = cap;
    }
    ns->v[ns->n] = n;
    ns->op[ns->n++] = op;
    return true;
}

static void node_take(struct jnode *n, const struct jnodes *ns) {
    n->list = ns->v;
    n->op = ns->op;
    n->n = (uint32_t)ns->n;
}

bool jparse_enter(struct jparse *p, uint32_t cost) {
    p->depth += cost;
    if (p->depth > JPARSE_DEPTH) {
        return jparse_fail(p, ERR_LIMIT, "the template is nested too deep");
    }
    return true;
}

void jparse_leave(struct jparse *p, uint32_t cost) {
    p->depth -= cost;
}

/* ---- bodies -------------------------------------------------------------------------- */

static bool parse_statement(struct jparse *p, const struct jnode **out);

static bool parse_at_end(const struct jparse *p, const char *const *ends) {
    for (size_t i = 0; ends != NULL && ends[i] != NULL; i++) {
        if (jparse_is_name(p, ends[i])) {
            return true;
        }
    }
    return false;
}

/* Jinja2 refuses an unknown filter or test when it compiles, except where a condition may keep
 * it from being reached. */
static bool parse_check_known(struct jparse *p) {
    const struct jtoken *t = &p->unknown;
    return t->s.p == NULL ||
           jlex_fail(&p->lex, ERR_UNSUPPORTED, t->line, t->col, "no filter or test is named '%.*s'",
                     (int)(t->s.n < 64 ? t->s.n : 64), t->s.p);
}

static bool parse_print(struct jparse *p, const struct jnode **out) {
    struct jnode *n = jparse_node(p, JN_PRINT, &p->cur);
    if (n == NULL || !jparse_advance(p) || !jexpr_tuple(p, JTUPLE_PLAIN, &n->a)) {
        return false;
    }
    if (p->cur.type != JT_VAR_END) {
        return jparse_fail(p, ERR_FORMAT, "'}}' is missing here");
    }
    *out = n;
    return jparse_advance(p) && jparse_done(p, n);
}

static bool parse_data(struct jparse *p, const struct jnode **out) {
    struct jnode *n = jparse_node(p, JN_DATA, &p->cur);
    struct jstr *s = arena_zalloc(p->arena, 1, sizeof *s);
    if (n == NULL || s == NULL) {
        return jparse_fail(p, ERR_NOMEM, "out of memory");
    }
    s->p = p->cur.s.p;
    s->n = p->cur.s.n;
    s->trusted = true;
    s->ascii = true;
    for (size_t i = 0; i < s->n; i++) {
        s->ascii = s->ascii && (uint8_t)s->p[i] < 0x80;
    }
    n->value.kind = JV_STR;
    n->value.u.s = s;
    *out = n;
    return jparse_advance(p);
}

static bool parse_expect_block_end(struct jparse *p) {
    if (p->cur.type != JT_BLOCK_END) {
        return jparse_fail(p, ERR_FORMAT, "'%%}' is missing here");
    }
    return jparse_advance(p);
}

/* Statements up to a tag whose name is in `ends` (the name is then the current token), or up to
 * the end of the template where ends is NULL. */
static bool parse_until(struct jparse *p, const char *const *ends, const struct jnode **out) {
    struct jnode *body = jparse_node(p, JN_BODY, &p->cur);
    struct jnodes ns = {0};
    if (body == NULL || !jparse_enter(p, 3)) {
        return false;
    }
    for (;;) {
        const struct jnode *n = NULL;
        if (p->cur.type == JT_EOF) {
            if (ends != NULL) {
                return jparse_fail(p, ERR_FORMAT, "the template ends before {%% %s %%}", ends[0]);
            }
            break;
        }
        if (p->cur.type == JT_DATA) {
            if (!parse_data(p, &n)) {
                return false;
            }
        } else if (p->cur.type == JT_VAR_BEGIN) {
            if (!parse_print(p, &n)) {
                return false;
            }
        } else {
            if (!jparse_advance(p)) {
                return false;
            }
            if (parse_at_end(p, ends)) {
                break;
            }
            if (!parse_statement(p, &n) || !parse_expect_block_end(p)) {
                return false;
            }
        }
        if (!parse_check_known(p)) {
            return false;
        }
        if (n != NULL && !jnodes_add(p, &ns, n, 0)) {
            return false;
        }
    }
    jparse_leave(p, 3);
    node_take(body, &ns);
    *out = body;
    return jparse_done(p, body);
}

/* The rest of an opening tag, and its body. The name of the end tag becomes the current token. */
static bool parse_body(struct jparse *p, const char *const *ends, const struct jnode **out) {
    bool colon;
    return jparse_skip_op(p, ":", &colon) && parse_expect_block_end(p) && parse_until(p, ends, out);
}

/* A body that is compiled as a place of its own: an unknown filter in it is an error at once. */
static bool parse_scope_body(struct jparse *p, const char *const *ends, const struct jnode **out) {
    bool soft = p->soft;
    p->soft = false;
    bool ok = parse_body(p, ends, out);
    p->soft = soft;
    return ok;
}

/* ---- tags ---------------------------------------------------------------------------- */

/* A target may be a name, a namespace's attribute, or a tuple of these. */
static bool parse_check_target(struct jparse *p, const struct jnode *n) {
    if (n->kind == JN_TUPLE) {
        for (uint32_t i = 0; i < n->n; i++) {
            if (!parse_check_target(p, n->list[i])) {
                return false;
            }
        }
        return true;
    }
    if (n->kind == JN_NAME) {
        if (str_is(n->sym->s, "loop")) {
            p->uses |= JUSE_SETS_LOOP;
        }
        return true;
    }
    if (n->kind == JN_NSREF) {
        return true;
    }
    return jlex_fail(&p->lex, ERR_FORMAT, n->line, n->col, "this cannot be assigned to");
}

static bool parse_target(struct jparse *p, unsigned how, const struct jnode **out) {
    return jexpr_tuple(p, how | JTUPLE_TARGET, out) && parse_check_target(p, *out);
}

static bool parse_set(struct jparse *p, const struct jtoken *at, const struct jnode **out) {
    static const char *const ends[] = {"endset", NULL};
    struct jnode *n = jparse_node(p, JN_SET, at);
    bool assign;
    if (n == NULL || !parse_target(p, JTUPLE_NSREF, &n->a) || !jparse_skip_op(p, "=", &assign)) {
        return false;
    }
    *out = n;
    if (assign) {
        return jexpr_tuple(p, JTUPLE_PLAIN, &n->b) && jparse_done(p, n);
    }
    n->kind = JN_SETBLOCK;
    if (jparse_is_op(p, "|") && !jexpr_filter(p, NULL, false, &n->b)) {
        return false;
    }
    return parse_scope_body(p, ends, &n->c) && jparse_advance(p) && jparse_done(p, n);
}

static bool parse_if(struct jparse *p, const struct jtoken *at, const struct jnode **out) {
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    static const char *const last[] = {"endif", NULL};
    struct jnode *n = jparse_node(p, JN_IF, at);
    struct jnodes ns = {0};
    bool soft = p->soft;
    p->soft = true;
    bool more = n != NULL;
    if (!more) {
        return false;
    }
    while (more) {
        const struct jnode *test, *body;
        bool is_else = false;
        if (!jexpr_tuple(p, JTUPLE_NO_COND, &test) || !parse_body(p, ends, &body) ||
            !jnodes_add(p, &ns, test, 0) || !jnodes_add(p, &ns, body, 0) ||
            !jparse_skip_name(p, "elif", &more) || !jparse_skip_name(p, "else", &is_else)) {
            return false;
        }
        if (is_else && !more) {
            if (!parse_body(p, last, &body) || !jnodes_add(p, &ns, NULL, 0) ||
                !jnodes_add(p, &ns, body, 0)) {
                return false;
            }
        }
        if (!more && !jparse_advance(p)) {
            return false;
        }
    }
    p->soft = soft;
    node_take(n, &ns);
    *out = n;
    return jparse_done(p, n);
}

static bool parse_for(struct jparse *p, const struct jtoken *at, const struct jnode **out) {
    static const char *const ends[] = {"endfor", "else", NULL};
    struct jnode *n = jparse_node(p, JN_FOR, at);
    struct jnodes ns = {0};
    const struct jnode *body = NULL, *other = NULL;
    bool has_if = false, recursive, has_else;
    unsigned uses = p->uses;
    p->uses &= ~(unsigned)JUSE_SETS_LOOP;
    if (n == NULL || !parse_target(p, JTUPLE_IN, &n->a)) {
        return false;
    }
    if (!jparse_is_name(p, "in")) {
        return jparse_fail(p, ERR_FORMAT, "'in' is missing here");
    }
    if (!jparse_advance(p) || !jexpr_tuple(p, JTUPLE_NO_COND | JTUPLE_RECURSIVE, &n->b) ||
        !jparse_skip_name(p, "if", &has_if) || (has_if && !jexpr_parse(p, true, &n->c)) ||
        !jparse_skip_name(p, "recursive", &recursive)) {
        return false;
    }
    p->n_loop++;
    if (!parse_scope_body(p, ends, &body)) {
        return false;
    }
    p->n_loop--;
    if (!jparse_skip_name(p, "else", &has_else) ||
        (has_else && !parse_scope_body(p, ends, &other)) || !jnodes_add(p, &ns, body, 0) ||
        (has_else && !jnodes_add(p, &ns, other, 0))) {
        return false;
    }
    if (p->uses & JUSE_SETS_LOOP) {
        return jlex_fail(&p->lex, ERR_FORMAT, n->line, n->col,
                         "the name 'loop' cannot be assigned to in a for statement");
    }
    p->uses |= uses;
    if (!jparse_is_name(p, "endfor")) {
        return jparse_fail(p, ERR_FORMAT, "a for statement has two else parts");
    }
    n->op0 = recursive;
    node_take(n, &ns);
    *out = n;
    return jparse_advance(p) && jparse_done(p, n);
}

/* "(a, b=1)": JN_ARG nodes, `a` their default. */
static bool parse_signature(struct jparse *p, struct jnodes *ns) {
    bool first = true, had_default = false;
    if (!jparse_expect_op(p, "(")) {
        return false;
    }
    while (!jparse_is_op(p, ")")) {
        if (!first && !jparse_expect_op(p, ",")) {
            return false;
        }
        first = false;
        struct jtoken name;
        struct jnode *n = jparse_node(p, JN_ARG, &p->cur);
        bool assign;
        if (n == NULL || !jparse_expect_name(p, &name) || !jparse_skip_op(p, "=", &assign)) {
            return false;
        }
        n->sym = jsym_intern(p->t->syms, p->arena, name.s);
        if (n->sym == NULL) {
            return jparse_fail(p, ERR_NOMEM, "out of memory");
        }
        if (assign && !jexpr_parse(p, true, &n->a)) {
            return false;
        }
        if (!assign && had_default) {
            return jparse_fail(p, ERR_FORMAT, "a parameter without default follows one with");
        }
        had_default = had_default || assign;
        for (size_t i = 0; i < ns->n; i++) {
            if (ns->v[i]->sym == n->sym) {
                return jparse_fail(p, ERR_FORMAT, "two parameters have the same name");
            }
        }
        if (!jparse_done(p, n) || !jnodes_add(p, ns, n, 0)) {
            return false;
        }
    }
    return jparse_advance(p);
}

/* The magic names that `n`'s parameters already define are not magic in its body. */
static bool parse_macro_uses(struct jparse *p, struct jnode *n, unsigned uses) {
    for (uint32_t i = 0; i < n->n; i++) {
        struct str s = n->list[i]->sym->s;
        if (str_is(s, "caller") && (uses & JUSE_CALLER)) {
            if (n->list[i]->a == NULL) {
                return jlex_fail(&p->lex, ERR_FORMAT, n->line, n->col,
                                 "the parameter 'caller' must have a default");
            }
            uses &= ~(unsigned)JUSE_CALLER;
        }
        uses &= str_is(s, "kwargs") ? ~(unsigned)JUSE_KWARGS : ~0u;
        uses &= str_is(s, "varargs") ? ~(unsigned)JUSE_VARARGS : ~0u;
    }
    n->op0 = (uint8_t)(uses & ~(unsigned)JUSE_SETS_LOOP);
    return true;
}

static bool parse_macro_body(struct jparse *p, struct jnode *n, const char *const *ends,
                             const struct jnodes *params) {
    unsigned uses = p->uses;
    unsigned n_loop = p->n_loop;
    p->uses = 0;
    p->n_loop = 0;
    node_take(n, params);
    if (!parse_scope_body(p, ends, &n->a) || !parse_macro_uses(p, n, p->uses)) {
        return false;
    }
    p->uses |= uses;
    p->n_loop = n_loop;
    return jparse_advance(p) && jparse_done(p, n);
}

static bool parse_macro(struct jparse *p, const struct jtoken *at, const struct jnode **out) {
    static const char *const ends[] = {"endmacro", NULL};
    struct jnode *n = jparse_node(p, JN_MACRO, at);
    struct jtoken name;
    struct jnodes params = {0};
    if (n == NULL || !jparse_expect_name(p, &name) || !parse_signature(p, &params)) {
        return false;
    }
    n->sym = jsym_intern(p->t->syms, p->arena, name.s);
    if (n->sym == NULL) {
        return jparse_fail(p, ERR_NOMEM, "out of memory");
    }
    *out = n;
    return parse_macro_body(p, n, ends, &params);
}

static bool parse_call_block(struct jparse *p, const struct jtoken *at, const struct jnode **out) {
    static const char *const ends[] = {"endcall", NULL};
    struct jnode *n = jparse_node(p, JN_CALLBLOCK, at);
    struct jnodes params = {0};
    if (n == NULL || (jparse_is_op(p, "(") && !parse_signature(p, &params)) ||
        !jexpr_parse(p, true, &n->b)) {
        return false;
    }
    if (n->b->kind != JN_CALL) {
        return jparse_fail(p, ERR_FORMAT, "a call block needs a call");
    }
    *out = n;
    return parse_macro_body(p, n, ends, &params);
}

static bool parse_filter_block(struct jparse *p, const struct jtoken *at,
                               const struct jnode **out) {
    static const char *const ends[] = {"endfilter", NULL};
    struct jnode *n = jparse_node(p, JN_FILTERBLOCK, at);
    *out = n;
    return n != NULL && jexpr_filter(p, NULL, true, &n->a) && parse_scope_body(p, ends, &n->b) &&
           jparse_advance(p) && jparse_done(p, n);
}

static bool parse_with(struct jparse *p, const struct jtoken *at, const struct jnode **out) {
    static const char *const ends[] = {"endwith", NULL};
    struct jnode *n = jparse_node(p, JN_WITH, at);
    struct jnodes ns = {0};
    if (n == NULL) {
        return false;
    }
    while (p->cur.type != JT_BLOCK_END) {
        const struct jnode *target, *value;
        if ((ns.n > 0 && !jparse_expect_op(p, ",")) || !parse_target(p, 0, &target) ||
            !jparse_expect_op(p, "=") || !jexpr_parse(p, true, &value) ||
            !jnodes_add(p, &ns, target, 0) || !jnodes_add(p, &ns, value, 0)) {
            return false;
        }
    }
    node_take(n, &ns);
    *out = n;
    return parse_scope_body(p, ends, &n->a) && jparse_advance(p) && jparse_done(p, n);
}

/* {% generation %} marks what the assistant says, for training; here it only makes a scope. */
static bool parse_generation(struct jparse *p, const struct jtoken *at, const struct jnode **out) {
    static const char *const ends[] = {"endgeneration", NULL};
    struct jnode *n = jparse_node(p, JN_SCOPE, at);
    unsigned n_loop = p->n_loop;
    p->n_loop = 0;
    *out = n;
    bool ok =
        n != NULL && parse_scope_body(p, ends, &n->a) && jparse_advance(p) && jparse_done(p, n);
    p->n_loop = n_loop;
    return ok;
}

/* {% print a, b %} */
static bool parse_print_tag(struct jparse *p, const struct jtoken *at, const struct jnode **out) {
    struct jnode *n = jparse_node(p, JN_BODY, at);
    struct jnodes ns = {0};
    if (n == NULL) {
        return false;
    }
    while (p->cur.type != JT_BLOCK_END) {
        struct jnode *one = jparse_node(p, JN_PRINT, &p->cur);
        if (one == NULL || (ns.n > 0 && !jparse_expect_op(p, ",")) ||
            !jexpr_parse(p, true, &one->a) || !jparse_done(p, one) || !jnodes_add(p, &ns, one, 0)) {
            return false;
        }
    }
    node_take(n, &ns);
    *out = n;
    return jparse_done(p, n);
}

static bool parse_jump(struct jparse *p, const struct jtoken *at, const struct jnode **out) {
    bool is_break = str_is(at->s, "break");
    if (p->n_loop == 0) {
        return jlex_fail(&p->lex, ERR_FORMAT, at->line, at->col, "'%s' is outside of a loop",
                         is_break ? "break" : "continue");
    }
    *out = jparse_node(p, is_break ? JN_BREAK : JN_CONTINUE, at);
    return *out != NULL;
}

static bool parse_statement(struct jparse *p, const struct jnode **out) {
    static const struct {
        const char *name;
        bool (*fn)(struct jparse *p, const struct jtoken *at, const struct jnode **out);
    } tag[] = {
        {"set", parse_set},         {"if", parse_if},
        {"for", parse_for},         {"macro", parse_macro},
        {"call", parse_call_block}, {"filter", parse_filter_block},
        {"with", parse_with},       {"generation", parse_generation},
        {"break", parse_jump},      {"continue", parse_jump},
        {"print", parse_print_tag},
    };
    static const char *const foreign[] = {"block",      "extends", "include", "import", "from",
                                          "autoescape", "do",      "trans",   "debug"};
    if (p->cur.type != JT_NAME) {
        return jparse_fail(p, ERR_FORMAT, "the name of a tag is missing here");
    }
    for (size_t i = 0; i < sizeof tag / sizeof tag[0]; i++) {
        if (jparse_is_name(p, tag[i].name)) {
            struct jtoken at = p->cur;
            return jparse_advance(p) && tag[i].fn(p, &at, out);
        }
    }
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++) {
        if (jparse_is_name(p, foreign[i])) {
            return jparse_fail(p, ERR_UNSUPPORTED, "the tag '%s' is not supported", foreign[i]);
        }
    }
    return jparse_fail(p, ERR_FORMAT, "unknown tag '%.*s'",
                       (int)(p->cur.s.n < 64 ? p->cur.s.n : 64), p->cur.s.p);
}

bool jparse_template(struct jparse *p, const struct jnode **out) {
    return jparse_advance(p) && parse_until(p, NULL, out);
}
