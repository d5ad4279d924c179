/* jinja_repr.c: values as text: str(), repr() and json.dumps().
 *
 * Owns the three ways in which Python prints a value. What data said stays data's, quotes
 * included: brackets and commas that the printer adds are trusted only where nothing untrusted
 * was printed inside them, which is decided for the value as a whole.
 * Invariant: recursion over values is counted.
 * Source: Python 3's repr and json modules.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "text/jinja_int.h"

/* ---- whether a value is the template's own ------------------------------------------- */

/* Whether no byte of data would be printed; numbers and constants have no bytes of their own.
 * `budget` bounds the look: what is too large to check counts as data. */
static bool repr_trusted(struct jval v, unsigned depth, size_t *budget) {
    if (depth > 32 || *budget == 0) {
        return false;
    }
    --*budget;
    if (v.kind == JV_STR) {
        return jstr_all_trusted(v.u.s);
    }
    if (v.kind == JV_LIST || v.kind == JV_TUPLE || v.kind == JV_VIEW) {
        for (size_t i = 0; i < v.u.l->n; i++) {
            if (!repr_trusted(v.u.l->v[i], depth + 1, budget)) {
                return false;
            }
        }
    }
    if (v.kind == JV_DICT || v.kind == JV_SPACE) {
        for (size_t i = 0; i < v.u.d->n; i++) {
            if (!repr_trusted(v.u.d->key[i], depth + 1, budget) ||
                !repr_trusted(v.u.d->val[i], depth + 1, budget)) {
                return false;
            }
        }
    }
    return true;
}

static bool repr_is_trusted(struct jval v) {
    size_t budget = 100000;
    return repr_trusted(v, 0, &budget);
}

/* ---- repr ---------------------------------------------------------------------------- */

struct printer {
    struct jbuild *b;
    bool trusted;
    /* JSON only */
    bool ascii, sort;
    const struct jstr *indent; /* NULL: one line */
    const struct jstr *comma, *colon;
};

static bool put(struct printer *p, const char *z) {
    return jbuild_put_z(p->b, z, p->trusted);
}

static bool repr_str(struct printer *p, const struct jstr *s) {
    bool single = s->n > 0 && memchr(s->p, '\'', s->n) != NULL;
    bool twice = s->n > 0 && memchr(s->p, '"', s->n) != NULL;
    char quote = single && !twice ? '"' : '\'';
    char text[16];
    size_t len, done = 0;
    if ((s->markup && !put(p, "Markup(")) || !jbuild_put(p->b, &quote, 1, p->trusted)) {
        return false;
    }
    for (size_t i = 0; i < s->n; i += len) {
        uint32_t cp = jstr_cp(s, i, &len);
        const char *named = cp == '\n' ? "\\n" : cp == '\r' ? "\\r" : cp == '\t' ? "\\t" : NULL;
        if (cp == '\\' || cp == (uint8_t)quote) {
            snprintf(text, sizeof text, "\\%c", (int)cp);
        } else if (named != NULL) {
            snprintf(text, sizeof text, "%s", named);
        } else if (cp < 0x20 || cp == 0x7F || (cp > 0x7F && !juni_is_printable(cp))) {
            if (cp < 0x100) {
                snprintf(text, sizeof text, "\\x%02x", (unsigned)cp);
            } else {
                snprintf(text, sizeof text, cp < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)cp);
            }
        } else {
            continue;
        }
        if (!jbuild_put(p->b, s->p + done, i - done, p->trusted) || !put(p, text)) {
            return false;
        }
        done = i + len;
    }
    return jbuild_put(p->b, s->p + done, s->n - done, p->trusted) &&
           jbuild_put(p->b, &quote, 1, p->trusted) && (!s->markup || put(p, ")"));
}

static bool repr_value(struct printer *p, struct jval v);

static bool repr_items(struct printer *p, const struct jlist *l, const char *open,
                       const char *close) {
    if (!put(p, open)) {
        return false;
    }
    for (size_t i = 0; i < l->n; i++) {
        if ((i > 0 && !put(p, ", ")) || !repr_value(p, l->v[i])) {
            return false;
        }
    }
    return put(p, close);
}

static bool repr_dict(struct printer *p, const struct jdict *d) {
    if (!put(p, "{")) {
        return false;
    }
    for (size_t i = 0; i < d->n; i++) {
        if ((i > 0 && !put(p, ", ")) || !repr_value(p, d->key[i]) || !put(p, ": ") ||
            !repr_value(p, d->val[i])) {
            return false;
        }
    }
    return put(p, "}");
}

static bool repr_loop(struct printer *p, struct jloop *l) {
    struct jval n;
    bool found;
    char text[80];
    if (!jloop_attr(p->b->r, l, str_c("length"), &n, &found)) {
        return false;
    }
    snprintf(text, sizeof text, "<LoopContext %lld/%lld>", (long long)l->index0 + 1,
             (long long)n.u.i);
    return put(p, text);
}

static bool repr_range(struct printer *p, const struct jrange *g) {
    char text[96];
    if (g->step == 1) {
        snprintf(text, sizeof text, "range(%lld, %lld)", (long long)g->start, (long long)g->stop);
    } else {
        snprintf(text, sizeof text, "range(%lld, %lld, %lld)", (long long)g->start,
                 (long long)g->stop, (long long)g->step);
    }
    return put(p, text);
}

static bool repr_object(struct printer *p, struct jval v) {
    struct jbuild *b = p->b;
    switch (v.kind) {
    case JV_SPACE: return put(p, "<Namespace ") && repr_dict(p, v.u.d) && put(p, ">");
    case JV_RANGE: return repr_range(p, v.u.range);
    case JV_LOOP: return repr_loop(p, v.u.loop);
    case JV_MACRO:
        if (v.u.macro->node->sym == NULL) {
            return put(p, "<Macro anonymous>");
        }
        return put(p, "<Macro '") &&
               jbuild_put(b, v.u.macro->node->sym->s.p, v.u.macro->node->sym->s.n, true) &&
               put(p, "'>");
    default:
        /* Python prints an address here, which no template can mean */
        return jrun_fail(b->r, ERR_UNSUPPORTED, "a %s cannot be printed", jval_type(v));
    }
}

static bool repr_inner(struct printer *p, struct jval v) {
    char text[64];
    switch (v.kind) {
    case JV_MISSING:
    case JV_UNDEF: return put(p, "Undefined");
    case JV_NONE: return put(p, "None");
    case JV_BOOL: return put(p, v.u.b ? "True" : "False");
    case JV_INT: snprintf(text, sizeof text, "%lld", (long long)v.u.i); return put(p, text);
    case JV_FLOAT: jnum_print_float(v.u.f, text); return put(p, text);
    case JV_STR: return repr_str(p, v.u.s);
    case JV_LIST: return repr_items(p, v.u.l, "[", "]");
    case JV_TUPLE: return repr_items(p, v.u.l, "(", v.u.l->n == 1 ? ",)" : ")");
    case JV_VIEW: return put(p, v.u.l->view) && repr_items(p, v.u.l, "([", "])");
    case JV_DICT: return repr_dict(p, v.u.d);
    default: return repr_object(p, v);
    }
}

static bool repr_value(struct printer *p, struct jval v) {
    if (!jrun_enter(p->b->r) || !jrun_charge(p->b->r, 1)) {
        return false;
    }
    bool ok = repr_inner(p, v);
    jrun_leave(p->b->r);
    return ok;
}

bool jval_put_repr(struct jbuild *b, struct jval v) {
    struct printer p = {.b = b, .trusted = repr_is_trusted(v)};
    return repr_value(&p, v);
}

bool jval_put_str(struct jbuild *b, struct jval v) {
    if (v.kind == JV_STR) {
        return jbuild_put_str(b, v.u.s);
    }
    return v.kind == JV_UNDEF || jval_put_repr(b, v);
}

bool jval_str(struct jrun *r, struct jval v, struct jval *out) {
    if (v.kind == JV_STR) {
        *out = v;
        return true;
    }
    struct jbuild b;
    jbuild_init(&b, r);
    return jval_put_str(&b, v) && jbuild_end(&b, out);
}

/* ---- JSON ---------------------------------------------------------------------------- */

static bool tojson_str(struct printer *p, const struct jstr *s) {
    static const char plain[] = "\"\\\n\r\t\f\b";
    static const char *const escape[] = {"\\\"", "\\\\", "\\n", "\\r", "\\t", "\\f", "\\b"};
    char text[24];
    size_t len, done = 0;
    if (!put(p, "\"")) {
        return false;
    }
    for (size_t i = 0; i < s->n; i += len) {
        uint32_t cp = jstr_cp(s, i, &len);
        const char *at = cp < 0x80 && cp != 0 ? strchr(plain, (int)cp) : NULL;
        if (at != NULL) {
            snprintf(text, sizeof text, "%s", escape[at - plain]);
        } else if (cp < 0x20 || (cp > 0x7E && p->ascii && cp < 0x10000)) {
            snprintf(text, sizeof text, "\\u%04x", (unsigned)cp);
        } else if (cp >= 0x10000 && p->ascii) {
            snprintf(text, sizeof text, "\\u%04x\\u%04x", (unsigned)(0xD7C0 + (cp >> 10)),
                     (unsigned)(0xDC00 + (cp & 0x3FF)));
        } else {
            continue;
        }
        if (!jbuild_put(p->b, s->p + done, i - done, p->trusted) || !put(p, text)) {
            return false;
        }
        done = i + len;
    }
    return jbuild_put(p->b, s->p + done, s->n - done, p->trusted) && put(p, "\"");
}

static bool tojson_value(struct printer *p, struct jval v, unsigned level);

/* A separator or indent, which may itself be data. */
static bool tojson_put(struct printer *p, const struct jstr *s) {
    return p->trusted ? jbuild_put_str(p->b, s) : jbuild_put(p->b, s->p, s->n, false);
}

static bool tojson_line(struct printer *p, unsigned level) {
    if (p->indent == NULL) {
        return true;
    }
    bool ok = put(p, "\n");
    for (unsigned i = 0; ok && i < level; i++) {
        ok = tojson_put(p, p->indent);
    }
    return ok;
}

static bool tojson_list(struct printer *p, const struct jlist *l, unsigned level) {
    if (l->n == 0) {
        return put(p, "[]");
    }
    if (!put(p, "[")) {
        return false;
    }
    for (size_t i = 0; i < l->n; i++) {
        if ((i > 0 && !tojson_put(p, p->comma)) || !tojson_line(p, level + 1) ||
            !tojson_value(p, l->v[i], level + 1)) {
            return false;
        }
    }
    return tojson_line(p, level) && put(p, "]");
}

static bool tojson_float(struct printer *p, double f) {
    char text[64];
    if (isnan(f) || isinf(f)) {
        return put(p, isnan(f) ? "NaN" : f > 0 ? "Infinity" : "-Infinity");
    }
    jnum_print_float(f, text);
    return put(p, text);
}

/* Keys that are numbers or constants become strings. */
static bool tojson_key(struct printer *p, struct jval k) {
    if (k.kind == JV_STR) {
        return tojson_str(p, k.u.s);
    }
    if (k.kind != JV_NONE && !jval_is_num(k)) {
        return jrun_fail(p->b->r, ERR_FORMAT, "tojson: a %s cannot be a key", jval_type(k));
    }
    return put(p, "\"") && tojson_value(p, k, 0) && put(p, "\"");
}

static bool tojson_dict(struct printer *p, const struct jdict *d, unsigned level) {
    struct jrun *r = p->b->r;
    if (d->n == 0) {
        return put(p, "{}");
    }
    size_t *order = jrun_alloc(r, d->n, sizeof *order);
    if (order == NULL || !put(p, "{")) {
        return false;
    }
    for (size_t i = 0; i < d->n; i++) { /* insertion sort: dictionaries are small, and paid for */
        size_t at = i;
        bool less = p->sort;
        for (; at > 0; at--) {
            if (less && !jval_less(r, d->key[i], d->key[order[at - 1]], &less)) {
                return false;
            }
            if (!less) {
                break;
            }
            order[at] = order[at - 1];
        }
        order[at] = i;
    }
    for (size_t i = 0; i < d->n; i++) {
        if ((i > 0 && !tojson_put(p, p->comma)) || !tojson_line(p, level + 1) ||
            !tojson_key(p, d->key[order[i]]) || !tojson_put(p, p->colon) ||
            !tojson_value(p, d->val[order[i]], level + 1)) {
            return false;
        }
    }
    return tojson_line(p, level) && put(p, "}");
}

static bool tojson_value(struct printer *p, struct jval v, unsigned level) {
    struct jrun *r = p->b->r;
    bool ok;
    if (!jrun_enter(r) || !jrun_charge(r, 1)) {
        return false;
    }
    switch (v.kind) {
    case JV_NONE: ok = put(p, "null"); break;
    case JV_BOOL: ok = put(p, v.u.b ? "true" : "false"); break;
    case JV_INT: ok = repr_inner(p, v); break;
    case JV_FLOAT: ok = tojson_float(p, v.u.f); break;
    case JV_STR: ok = tojson_str(p, v.u.s); break;
    case JV_LIST:
    case JV_TUPLE: ok = tojson_list(p, v.u.l, level); break;
    case JV_DICT: ok = tojson_dict(p, v.u.d, level); break;
    default: ok = jrun_fail(r, ERR_FORMAT, "tojson: a %s has no JSON", jval_type(v)); break;
    }
    jrun_leave(r);
    return ok;
}

/* indent: an integer is so many spaces (none: line ends only), a string is itself. */
static bool tojson_indent(struct jrun *r, struct printer *p, struct jval v) {
    struct jval text;
    if (v.kind == JV_MISSING || v.kind == JV_NONE) {
        return true;
    }
    if (v.kind == JV_STR) {
        p->indent = v.u.s;
        return true;
    }
    int64_t n;
    struct jbuild b;
    jbuild_init(&b, r);
    if (!jval_as_int(v, &n)) {
        return jrun_fail(r, ERR_FORMAT, "tojson: indent is a %s", jval_type(v));
    }
    if (!jbuild_fill(&b, ' ', n > 0 ? (size_t)n : 0, true) || !jbuild_end(&b, &text)) {
        return false;
    }
    p->indent = text.u.s;
    return true;
}

bool jval_tojson(struct jrun *r, struct jval in, const struct jargs *a, struct jval *out) {
    static const char *const name[] = {"ensure_ascii", "indent", "separators", "sort_keys"};
    static const struct jstr comma = {.p = ",", .n = 1, .trusted = true},
                             colon = {.p = ": ", .n = 2, .trusted = true},
                             comma_space = {.p = ", ", .n = 2, .trusted = true};
    struct jval v[4];
    struct jbuild b;
    jbuild_init(&b, r);
    struct printer p = {.b = &b, .colon = &colon};
    if (!jargs_bind(r, "tojson", a, name, 4, 0, v) || !tojson_indent(r, &p, v[1])) {
        return false;
    }
    p.trusted = repr_is_trusted(in);
    p.ascii = jval_truth(v[0]);
    p.comma = p.indent != NULL ? &comma : &comma_space;
    p.sort = jval_truth(v[3]);
    if (v[2].kind == JV_LIST || v[2].kind == JV_TUPLE) {
        const struct jlist *l = v[2].u.l;
        if (l->n != 2 || l->v[0].kind != JV_STR || l->v[1].kind != JV_STR) {
            return jrun_fail(r, ERR_FORMAT, "tojson: separators must be two strings");
        }
        p.comma = l->v[0].u.s;
        p.colon = l->v[1].u.s;
    } else if (v[2].kind != JV_MISSING && v[2].kind != JV_NONE) {
        return jrun_fail(r, ERR_FORMAT, "tojson: separators must be two strings");
    }
    return tojson_value(&p, in, 0) && jbuild_end(&b, out);
}
