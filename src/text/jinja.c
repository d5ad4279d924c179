/* jinja.c: a template from its source to its text: limits, variables, provenance.
 *
 * Owns the outside of the interpreter: what jinja.h promises. Refuses the language itself.
 * Invariant: on any error nothing has been added to the caller's buffer and runs.
 */
#include <stdio.h>
#include <string.h>

#include "text/jinja_int.h"

#define SOURCE_MAX    (1u << 20)
#define DEFAULT_STEPS 20000000u
#define DEFAULT_DEPTH 200u
#define DEFAULT_BYTES ((size_t)64 << 20)
#define DEFAULT_MEM   ((size_t)512 << 20)

enum err_code jinja_create(struct jinja **out, const char *src, size_t n, struct err *e) {
    *out = NULL;
    if (n > SOURCE_MAX) {
        return err_set(e, ERR_LIMIT, "the template has %zu bytes, more than %u", n, SOURCE_MAX);
    }
    struct jparse p = {0};
    struct jinja *t = mem_zalloc(1, sizeof *t);
    if (t == NULL) {
        return err_set(e, ERR_NOMEM, "no memory for a template");
    }
    arena_init(&t->arena, JPARSE_BYTES);
    p.t = t;
    p.arena = &t->arena;
    t->syms = arena_zalloc(&t->arena, 1, sizeof *t->syms);
    if (t->syms == NULL) {
        p.lex.code = err_set(e, ERR_NOMEM, "no memory for a template");
        goto fail;
    }
    if (!jlex_init(&p.lex, &t->arena, src, n, e) || !jparse_template(&p, &t->body)) {
        goto fail;
    }
    *out = t;
    return ERR_OK;
fail:
    jinja_free(t);
    return p.lex.code;
}

void jinja_free(struct jinja *t) {
    if (t != NULL) {
        arena_fini(&t->arena);
        mem_free(t);
    }
}

/* ---- what a rendering may use -------------------------------------------------------- */

bool(jrun_fail)(struct jrun *r, enum err_code code, const char *fmt, ...) {
    if (r->code != ERR_OK) {
        return false;
    }
    char text[300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    r->code = err_set(r->e, code, "%s", text);
    if (r->at != NULL) {
        err_where(r->e, "template, line %u, column %u", r->at->line, r->at->col);
    }
    return false;
}

bool jrun_charge(struct jrun *r, size_t steps) {
    if (steps > r->steps) {
        r->steps = 0;
        return jrun_fail(r, ERR_LIMIT, "the template takes too many steps");
    }
    r->steps -= steps;
    return true;
}

bool jrun_enter(struct jrun *r) {
    if (r->depth >= r->max_depth) {
        return jrun_fail(r, ERR_LIMIT, "the template goes more than %u levels deep", r->max_depth);
    }
    r->depth++;
    return true;
}

void jrun_leave(struct jrun *r) {
    r->depth--;
}

void *jrun_alloc(struct jrun *r, size_t n, size_t size) {
    void *p = arena_alloc(&r->arena, n, size);
    if (p == NULL) {
        size_t bytes;
        bool full = !size_mul(n, size, &bytes) || bytes > r->arena.max - r->arena.used;
        if (full) {
            jrun_fail(r, ERR_LIMIT, "the template needs more than %zu bytes of memory",
                      r->arena.max);
        } else {
            jrun_fail(r, ERR_NOMEM, "out of memory");
        }
    }
    return p;
}

/* ---- rendering ----------------------------------------------------------------------- */

static void run_init(struct jrun *r, const struct jinja *t, const struct jinja_limits *limits,
                     int64_t now, struct err *e) {
    static const struct jinja_limits none = {0};
    limits = limits != NULL ? limits : &none;
    *r = (struct jrun){.t = t, .e = e, .now = now};
    r->steps = limits->steps != 0 ? limits->steps : DEFAULT_STEPS;
    r->max_depth = limits->depth != 0 ? limits->depth : DEFAULT_DEPTH;
    r->max_bytes = limits->bytes != 0 ? limits->bytes : DEFAULT_BYTES;
    arena_init(&r->arena, limits->memory != 0 ? limits->memory : DEFAULT_MEM);
}

/* Variables that the template never names are not even converted. */
static bool run_bind(struct jrun *r, struct jscope *s, const struct jinja_var *var, size_t n_var) {
    for (size_t i = 0; i < n_var; i++) {
        const struct jsym *name = jsym_find(r->t->syms, str_c(var[i].name));
        struct jval v;
        if (name == NULL) {
            continue;
        }
        if (!jval_from_json(r, var[i].value, var[i].trusted, &v) || !jscope_set(r, s, name, v)) {
            return false;
        }
    }
    return true;
}

static void run_put_runs(struct runs *origin, const struct jbuild *b) {
    if (b->origin == NULL) {
        runs_put(origin, b->n, b->trusted);
        return;
    }
    for (size_t from = 0, to; from < b->n; from = to) {
        to = from + 1;
        while (to < b->n && b->origin[to] == b->origin[from]) {
            to++;
        }
        runs_put(origin, to - from, b->origin[from] != 0);
    }
}

/* Gives the text to the caller, whole or not at all. */
static enum err_code run_deliver(struct jrun *r, const struct jbuild *b, struct buf *out,
                                 struct runs *origin) {
    size_t len = out->len, n_run = origin->n;
    struct run last = n_run > 0 ? origin->r[n_run - 1] : (struct run){0};
    buf_put(out, b->p, b->n);
    enum err_code code = buf_check(out, r->e);
    if (code == ERR_OK) {
        run_put_runs(origin, b);
        if (!origin->failed) {
            return ERR_OK;
        }
        code = err_set(r->e, ERR_NOMEM, "no memory for the origins of a text");
        origin->n = n_run;
        if (n_run > 0) {
            origin->r[n_run - 1] = last;
        }
    }
    out->len = len;
    if (out->p != NULL) {
        out->p[len] = 0;
    }
    return code;
}

enum err_code jinja_render(const struct jinja *t, const struct jinja_var *var, size_t n_var,
                           const struct jinja_limits *limits, int64_t now, struct buf *out,
                           struct runs *origin, struct err *e) {
    struct jrun r;
    struct jbuild b;
    struct jscope global = {0}, top = {.up = &global};
    run_init(&r, t, limits, now, e);
    jbuild_init(&b, &r);
    enum err_code code;
    if (run_bind(&r, &global, var, n_var) && jexec_node(&r, t->body, &top, &b)) {
        code = run_deliver(&r, &b, out, origin);
    } else {
        code = r.code;
    }
    arena_fini(&r.arena);
    return code;
}
