/* jinja_exec.c: statements: output, branches, loops, macros, assignments.
 *
 * Owns scopes and the loop object. Refuses expressions (jinja_eval.c). A body's output goes to a
 * struct jbuild; macros, calls and blocks that capture have one of their own.
 * Invariant: a scope that a macro has seen is never reused.
 * Source: compiler.py and runtime.py of Jinja2 3.1.
 */
#include <string.h>

#include "text/jinja_int.h"

enum jump { JUMP_NONE, JUMP_BREAK, JUMP_CONTINUE };

static bool exec_body(struct jrun *r, const struct jnode *n, struct jscope *s, struct jbuild *out,
                      enum jump *jump);

/* ---- scopes -------------------------------------------------------------------------- */

static struct jscope *scope_create(struct jrun *r, struct jscope *up) {
    struct jscope *s = jrun_alloc(r, 1, sizeof *s);
    if (s != NULL) {
        *s = (struct jscope){.up = up};
    }
    return s;
}

bool jscope_set(struct jrun *r, struct jscope *s, const struct jsym *name, struct jval v) {
    if (!jrun_charge(r, 1 + s->n / 16)) {
        return false;
    }
    for (size_t i = 0; i < s->n; i++) {
        if (s->bind[i].name == name) {
            s->bind[i].v = v;
            return true;
        }
    }
    if (s->n == s->cap) {
        size_t cap = s->cap == 0 ? 4 : s->cap * 2;
        struct jbind *grown = jrun_alloc(r, cap, sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        if (s->n > 0) {
            memcpy(grown, s->bind, s->n * sizeof *grown);
        }
        s->bind = grown;
        s->cap = cap;
    }
    s->bind[s->n++] = (struct jbind){name, v};
    return true;
}

static bool scope_set_z(struct jrun *r, struct jscope *s, const char *name, struct jval v) {
    const struct jsym *y = jsym_find(r->t->syms, str_c(name));
    return y == NULL || jscope_set(r, s, y, v); /* a name that the template never says */
}

static void scope_capture(struct jscope *s) {
    for (; s != NULL && !s->captured; s = s->up) {
        s->captured = true;
    }
}

/* ---- assignment ---------------------------------------------------------------------- */

static bool assign_attr(struct jrun *r, struct jscope *s, const struct jnode *target,
                        struct jval v) {
    struct jnode name = *target;
    struct jval space, key;
    name.kind = JN_NAME;
    if (!jeval(r, &name, s, &space)) {
        return false;
    }
    r->at = target;
    struct str attr = target->b->sym->s;
    if (space.kind != JV_SPACE) {
        return jrun_fail(r, ERR_FORMAT, "an attribute can be set on a namespace only, not on a %s",
                         jval_type(space));
    }
    if (attr.p[0] == '_') {
        return jrun_fail(r, ERR_FORMAT, "a namespace's attributes may not start with _");
    }
    return jstr_make(r, attr.p, attr.n, true, &key) && jdict_set(r, space.u.d, key, v);
}

static bool assign_tuple(struct jrun *r, struct jscope *s, const struct jnode *target,
                         struct jval v) {
    struct jiter it;
    struct jval item;
    if (v.kind == JV_UNDEF || !jiter_init(r, &it, v)) {
        return jrun_fail(r, ERR_FORMAT, "a %s cannot be unpacked", jval_type(v));
    }
    for (uint32_t i = 0; i < target->n; i++) {
        int got = jiter_next(r, &it, &item);
        if (got == 0) {
            return jrun_fail(r, ERR_FORMAT, "%u names for %u values", target->n, i);
        }
        if (got < 0 || !jexec_assign(r, s, target->list[i], item)) {
            return false;
        }
    }
    int got = jiter_next(r, &it, &item);
    if (got == 1) {
        return jrun_fail(r, ERR_FORMAT, "more values than the %u names", target->n);
    }
    return got == 0;
}

bool jexec_assign(struct jrun *r, struct jscope *s, const struct jnode *target, struct jval v) {
    switch (target->kind) {
    case JN_NAME: return jscope_set(r, s, target->sym, v);
    case JN_NSREF: return assign_attr(r, s, target, v);
    default: {
        bool ok = jrun_enter(r) && assign_tuple(r, s, target, v);
        jrun_leave(r);
        return ok;
    }
    }
}

/* ---- the loop object ----------------------------------------------------------------- */

/* Asks for the next element once; MISSING is the end. */
static bool loop_peek(struct jrun *r, struct jloop *l) {
    if (l->after_known) {
        return true;
    }
    int got = jiter_next(r, l->it, &l->after);
    if (got == 0) {
        l->after = (struct jval){.kind = JV_MISSING};
    }
    l->after_known = got >= 0;
    return got >= 0;
}

static bool loop_length(struct jrun *r, struct jloop *l) {
    if (l->known) {
        return true;
    }
    l->known = true;
    if (l->sized) {
        l->length = l->size;
        return true;
    }
    struct jval rest;
    struct jval item;
    int got;
    if (!jval_list(r, JV_LIST, 0, &rest)) {
        return false;
    }
    while ((got = jiter_next(r, l->it, &item)) == 1) {
        if (!jlist_add(r, rest.u.l, item)) {
            return false;
        }
    }
    bool ahead = l->after_known && l->after.kind != JV_MISSING;
    l->length = rest.u.l->n + (size_t)(l->index0 + 1) + ahead;
    return got == 0 && jiter_init(r, l->it, rest);
}

static bool loop_cycle(struct jrun *r, struct jval self, const struct jargs *a, struct jval *out) {
    if (a->n == 0 || a->n_key > 0) {
        return jrun_fail(r, ERR_FORMAT, "loop.cycle needs values");
    }
    *out = a->pos[(size_t)self.u.loop->index0 % a->n];
    return true;
}

static bool loop_changed(struct jrun *r, struct jval self, const struct jargs *a,
                         struct jval *out) {
    struct jloop *l = self.u.loop;
    struct jval now;
    bool same = false;
    if (!jval_list(r, JV_TUPLE, a->n, &now)) {
        return false;
    }
    for (size_t i = 0; i < a->n; i++) {
        if (!jlist_add(r, now.u.l, a->pos[i])) {
            return false;
        }
    }
    if (l->changed.kind != JV_MISSING && !jval_equal(r, l->changed, now, &same)) {
        return false;
    }
    l->changed = now;
    *out = jval_bool(!same);
    return true;
}

static bool loop_method(struct jrun *r, struct jloop *l, const char *name, jfilter_fn fn,
                        struct jval *out) {
    struct jmethod *m = jrun_alloc(r, 1, sizeof *m);
    if (m == NULL) {
        return false;
    }
    *m = (struct jmethod){{.kind = JV_LOOP, .u.loop = l}, name, fn};
    *out = (struct jval){.kind = JV_METHOD, .u.method = m};
    return true;
}

bool jloop_attr(struct jrun *r, struct jloop *l, struct str name, struct jval *out, bool *found) {
    static const char *const names[] = {"index",    "index0",    "first",    "last",     "length",
                                        "revindex", "revindex0", "previtem", "nextitem", "depth",
                                        "depth0",   "cycle",     "changed"};
    size_t which = 0;
    size_t n_name = sizeof names / sizeof names[0];
    while (which < n_name && !str_is(name, names[which])) {
        which++;
    }
    *found = which < n_name;
    switch (which) {
    case 0: *out = jval_int(l->index0 + 1); return true;
    case 1: *out = jval_int(l->index0); return true;
    case 2: *out = jval_bool(l->index0 == 0); return true;
    case 3:
        if (!loop_peek(r, l)) {
            return false;
        }
        *out = jval_bool(l->after.kind == JV_MISSING);
        return true;
    case 4:
    case 5:
    case 6:
        if (!loop_length(r, l)) {
            return false;
        }
        *out = jval_int((int64_t)l->length - (which == 4   ? 0
                                              : which == 5 ? l->index0
                                                           : l->index0 + 1));
        return true;
    case 7:
        *out = l->index0 == 0 ? jval_undef("there is no previous item") : l->before;
        return true;
    case 8:
        if (!loop_peek(r, l)) {
            return false;
        }
        *out = l->after.kind == JV_MISSING ? jval_undef("there is no next item") : l->after;
        return true;
    case 9: *out = jval_int(l->depth0 + 1); return true;
    case 10: *out = jval_int(l->depth0); return true;
    case 11: return loop_method(r, l, "cycle", loop_cycle, out);
    case 12: return loop_method(r, l, "changed", loop_changed, out);
    default: return true;
    }
}

/* ---- for ----------------------------------------------------------------------------- */

static int loop_next(struct jrun *r, struct jloop *l, struct jval *out) {
    int got = 1;
    if (l->after_known) {
        got = l->after.kind != JV_MISSING;
        *out = l->after;
        l->after_known = false;
    } else {
        got = jiter_next(r, l->it, out);
    }
    if (got == 1) {
        l->index0++;
        l->before = l->current;
        l->current = *out;
    }
    return got;
}

/* The iterator of a loop, behind its filter if it has one. */
static bool for_iter(struct jrun *r, const struct jnode *n, struct jscope *s, struct jval items,
                     struct jloop *l) {
    l->it = jrun_alloc(r, 1, sizeof *l->it);
    if (l->it == NULL || !jiter_init(r, l->it, items)) {
        return false;
    }
    l->sized = items.kind != JV_GEN && n->c == NULL;
    if (l->sized) {
        return jval_length(r, items, &l->size);
    }
    if (n->c != NULL) {
        struct jiter *filter = jrun_alloc(r, 1, sizeof *filter);
        struct jscope *scope = scope_create(r, s);
        if (filter == NULL || scope == NULL) {
            return false;
        }
        *filter = (struct jiter){.kind = JITER_FILTER, .source = l->it, .loop = n, .scope = scope};
        l->it = filter;
    }
    return true;
}

static bool for_walk(struct jrun *r, const struct jnode *n, struct jscope *s, struct jloop *l,
                     struct jbuild *out, bool *completed) {
    struct jscope *inner = NULL;
    struct jval item, self = {.kind = JV_LOOP, .u.loop = l};
    int got;
    while ((got = loop_next(r, l, &item)) == 1) {
        enum jump jump = JUMP_NONE;
        if (inner == NULL || inner->captured) {
            inner = scope_create(r, s);
        }
        if (inner == NULL) {
            return false;
        }
        inner->n = 0;
        if (!scope_set_z(r, inner, "loop", self) || !jexec_assign(r, inner, n->a, item) ||
            !exec_body(r, n->list[0], inner, out, &jump)) {
            return false;
        }
        if (jump == JUMP_BREAK) {
            return true;
        }
        /* as Jinja2 compiles it: `else` asks whether the end of the body was ever reached */
        *completed = *completed || jump == JUMP_NONE;
    }
    return got == 0;
}

/* One walk over `items`; a recursive loop comes here again through loop(...). */
static bool exec_for(struct jrun *r, const struct jnode *n, struct jscope *s, struct jval items,
                     int64_t depth0, struct jbuild *out, enum jump *jump) {
    struct jloop *l = jrun_alloc(r, 1, sizeof *l);
    if (l == NULL) {
        return false;
    }
    memset(l, 0, sizeof *l);
    l->index0 = -1;
    l->depth0 = depth0;
    l->outer = s;
    l->recurse = n->op0 ? n : NULL;
    bool completed = false;
    if (!for_iter(r, n, s, items, l) || !for_walk(r, n, s, l, out, &completed)) {
        return false;
    }
    if (completed || n->n < 2) {
        return true;
    }
    struct jscope *inner = scope_create(r, s);
    return inner != NULL && exec_body(r, n->list[1], inner, out, jump);
}

bool jexec_call_loop(struct jrun *r, struct jloop *l, const struct jargs *a, struct jval *out) {
    struct jbuild b;
    enum jump jump = JUMP_NONE;
    if (l->recurse == NULL) {
        return jrun_fail(r, ERR_FORMAT, "a loop that is called must be 'recursive'");
    }
    if (a->n != 1 || a->n_key > 0) {
        return jrun_fail(r, ERR_FORMAT, "loop() takes one argument");
    }
    jbuild_init(&b, r);
    if (!jrun_enter(r)) {
        return false;
    }
    bool ok = exec_for(r, l->recurse, l->outer, a->pos[0], l->depth0 + 1, &b, &jump) &&
              jbuild_end(&b, out);
    jrun_leave(r);
    return ok;
}

/* ---- macros -------------------------------------------------------------------------- */

static bool macro_create(struct jrun *r, const struct jnode *n, struct jscope *s,
                         struct jval *out) {
    struct jmacro *m = jrun_alloc(r, 1, sizeof *m);
    if (m == NULL) {
        return false;
    }
    *m = (struct jmacro){n, s};
    scope_capture(s);
    *out = (struct jval){.kind = JV_MACRO, .u.macro = m};
    return true;
}

static bool macro_takes(const struct jnode *n, struct str name) {
    for (uint32_t i = 0; i < n->n; i++) {
        if (str_eq(n->list[i]->sym->s, name)) {
            return true;
        }
    }
    return false;
}

/* The parameters: by position, by name, by default, or undefined. */
static bool macro_bind(struct jrun *r, const struct jnode *n, struct jscope *s,
                       const struct jargs *a) {
    for (uint32_t i = 0; i < n->n; i++) {
        const struct jnode *p = n->list[i];
        struct jval v = {.kind = JV_MISSING};
        if (i < a->n) {
            v = a->pos[i];
        }
        for (size_t k = 0; i >= a->n && k < a->n_key; k++) {
            if (str_eq(a->key[k].name, p->sym->s)) {
                v = a->key[k].v;
            }
        }
        if (v.kind == JV_MISSING) {
            if (p->a == NULL) {
                v = jval_undef("a parameter was not provided");
            } else if (!jeval(r, p->a, s, &v)) {
                return false;
            }
        }
        if (!jscope_set(r, s, p->sym, v)) {
            return false;
        }
    }
    return true;
}

/* What is left over: caller, kwargs, varargs, or an error. */
static bool macro_rest(struct jrun *r, const struct jnode *n, struct jscope *s,
                       const struct jargs *a) {
    struct jval caller = jval_undef("no caller is defined"), kwargs, varargs, name;
    if (!jval_dict(r, JV_DICT, 0, &kwargs) || !jval_list(r, JV_TUPLE, 0, &varargs)) {
        return false;
    }
    for (size_t i = 0; i < a->n_key; i++) {
        struct str key = a->key[i].name;
        bool is_caller = str_is(key, "caller") && (n->op0 & JUSE_CALLER);
        size_t at = 0;
        while (at < n->n && !str_eq(n->list[at]->sym->s, key)) {
            at++;
        }
        if (is_caller) {
            caller = a->key[i].v.kind == JV_NONE ? caller : a->key[i].v;
        } else if (at >= n->n || at < a->n) {
            if (!(n->op0 & JUSE_KWARGS)) {
                return jrun_fail(r, ERR_FORMAT, "the macro does not take '%.*s'%s",
                                 (int)(key.n < 64 ? key.n : 64), key.p,
                                 macro_takes(n, key) ? " twice" : "");
            }
            if (!jstr_make(r, key.p, key.n, a->key[i].trusted, &name) ||
                !jdict_set(r, kwargs.u.d, name, a->key[i].v)) {
                return false;
            }
        }
    }
    if (a->n > n->n && !(n->op0 & JUSE_VARARGS)) {
        return jrun_fail(r, ERR_FORMAT, "the macro takes at most %u arguments", n->n);
    }
    for (size_t i = n->n; i < a->n; i++) {
        if (!jlist_add(r, varargs.u.l, a->pos[i])) {
            return false;
        }
    }
    return (!(n->op0 & JUSE_CALLER) || scope_set_z(r, s, "caller", caller)) &&
           (!(n->op0 & JUSE_KWARGS) || scope_set_z(r, s, "kwargs", kwargs)) &&
           (!(n->op0 & JUSE_VARARGS) || scope_set_z(r, s, "varargs", varargs));
}

bool jexec_call_macro(struct jrun *r, const struct jmacro *m, const struct jargs *a,
                      struct jval *out) {
    struct jscope *s = scope_create(r, m->scope);
    struct jbuild b;
    enum jump jump = JUMP_NONE;
    jbuild_init(&b, r);
    if (s == NULL || !jrun_enter(r)) {
        return false;
    }
    bool ok = macro_rest(r, m->node, s, a) && macro_bind(r, m->node, s, a) &&
              exec_body(r, m->node->a, s, &b, &jump) && jbuild_end(&b, out);
    jrun_leave(r);
    return ok;
}

/* ---- the other statements ------------------------------------------------------------ */

static bool exec_if(struct jrun *r, const struct jnode *n, struct jscope *s, struct jbuild *out,
                    enum jump *jump) {
    for (uint32_t i = 0; i + 1 < n->n; i += 2) {
        struct jval test = jval_bool(true);
        if (n->list[i] != NULL && !jeval(r, n->list[i], s, &test)) {
            return false;
        }
        if (jval_truth(test)) {
            return exec_body(r, n->list[i + 1], s, out, jump);
        }
    }
    return true;
}

/* A body's output as a value. */
static bool exec_capture(struct jrun *r, const struct jnode *body, struct jscope *s,
                         struct jval *out, enum jump *jump) {
    struct jbuild b;
    jbuild_init(&b, r);
    return exec_body(r, body, s, &b, jump) && jbuild_end(&b, out);
}

static bool exec_set_block(struct jrun *r, const struct jnode *n, struct jscope *s,
                           enum jump *jump) {
    struct jscope *inner = scope_create(r, s);
    struct jval text, v;
    if (inner == NULL || !exec_capture(r, n->c, inner, &text, jump)) {
        return false;
    }
    if (*jump != JUMP_NONE) {
        return true;
    }
    v = text;
    return (n->b == NULL || jeval_filter(r, n->b, text, inner, &v)) && jexec_assign(r, s, n->a, v);
}

static bool exec_filter_block(struct jrun *r, const struct jnode *n, struct jscope *s,
                              struct jbuild *out, enum jump *jump) {
    struct jscope *inner = scope_create(r, s);
    struct jval text, v;
    if (inner == NULL || !exec_capture(r, n->b, inner, &text, jump)) {
        return false;
    }
    return *jump != JUMP_NONE || (jeval_filter(r, n->a, text, inner, &v) && jval_put_str(out, v));
}

static bool exec_with(struct jrun *r, const struct jnode *n, struct jscope *s, struct jbuild *out,
                      enum jump *jump) {
    struct jscope *inner = scope_create(r, s);
    for (uint32_t i = 0; inner != NULL && i + 1 < n->n; i += 2) {
        struct jval v; /* values are the outer scope's */
        if (!jeval(r, n->list[i + 1], s, &v) || !jexec_assign(r, inner, n->list[i], v)) {
            return false;
        }
    }
    return inner != NULL && exec_body(r, n->a, inner, out, jump);
}

static bool exec_call_block(struct jrun *r, const struct jnode *n, struct jscope *s,
                            struct jbuild *out) {
    struct jkeyword caller = {.name = str_c("caller")};
    struct jval v;
    return macro_create(r, n, s, &caller.v) && jeval_call(r, n->b, s, &caller, &v) &&
           jval_put_str(out, v);
}

static bool exec_print(struct jrun *r, const struct jnode *n, struct jscope *s,
                       struct jbuild *out) {
    struct jval v;
    return jeval(r, n->a, s, &v) && jval_put_str(out, v);
}

static bool exec_for_statement(struct jrun *r, const struct jnode *n, struct jscope *s,
                               struct jbuild *out, enum jump *jump) {
    struct jval items;
    if (!jeval(r, n->b, s, &items)) {
        return false;
    }
    r->at = n;
    return exec_for(r, n, s, items, 0, out, jump);
}

static bool exec_statement(struct jrun *r, const struct jnode *n, struct jscope *s,
                           struct jbuild *out, enum jump *jump) {
    struct jval v;
    switch (n->kind) {
    case JN_DATA: return jbuild_put_str(out, n->value.u.s);
    case JN_PRINT: return exec_print(r, n, s, out);
    case JN_BODY: return exec_body(r, n, s, out, jump);
    case JN_IF: return exec_if(r, n, s, out, jump);
    case JN_FOR: return exec_for_statement(r, n, s, out, jump);
    case JN_SET: return jeval(r, n->b, s, &v) && jexec_assign(r, s, n->a, v);
    case JN_SETBLOCK: return exec_set_block(r, n, s, jump);
    case JN_MACRO: return macro_create(r, n, s, &v) && jscope_set(r, s, n->sym, v);
    case JN_CALLBLOCK: return exec_call_block(r, n, s, out);
    case JN_FILTERBLOCK: return exec_filter_block(r, n, s, out, jump);
    case JN_WITH: return exec_with(r, n, s, out, jump);
    case JN_SCOPE: {
        struct jscope *inner = scope_create(r, s);
        return inner != NULL && exec_body(r, n->a, inner, out, jump);
    }
    case JN_BREAK: *jump = JUMP_BREAK; return true;
    case JN_CONTINUE: *jump = JUMP_CONTINUE; return true;
    default: return jrun_fail(r, ERR_UNSUPPORTED, "this is not a statement");
    }
}

static bool exec_body(struct jrun *r, const struct jnode *n, struct jscope *s, struct jbuild *out,
                      enum jump *jump) {
    if (!jrun_enter(r)) {
        return false;
    }
    for (uint32_t i = 0; i < n->n && *jump == JUMP_NONE; i++) {
        r->at = n->list[i];
        if (!jrun_charge(r, 1) || !exec_statement(r, n->list[i], s, out, jump)) {
            return false;
        }
    }
    jrun_leave(r);
    return true;
}

bool jexec_node(struct jrun *r, const struct jnode *n, struct jscope *s, struct jbuild *out) {
    enum jump jump = JUMP_NONE;
    return exec_body(r, n, s, out, &jump);
}
