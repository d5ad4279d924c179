/* jinja_filter.c: the filters on text, numbers and single values, and the table of all filters.
 *
 * Owns value|name(...) for everything but sequences (jinja_filter_seq.c). Filters that need a
 * host (random, urlize, pprint, ...) are not in the table: they are unknown names.
 * Source: filters.py of Jinja2 3.1.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "text/jinja_filter.h"
#include "text/jinja_int.h"

bool jargs_bind(struct jrun *r, const char *what, const struct jargs *a, const char *const *name,
                size_t n_name, size_t n_required, struct jval *out) {
    if (a->n > n_name) {
        return jrun_fail(r, ERR_FORMAT, "%s takes at most %zu arguments", what, n_name);
    }
    for (size_t i = 0; i < n_name; i++) {
        out[i] = i < a->n ? a->pos[i] : (struct jval){.kind = JV_MISSING};
    }
    for (size_t k = 0; k < a->n_key; k++) {
        size_t i = 0;
        while (i < n_name && !str_is(a->key[k].name, name[i])) {
            i++;
        }
        if (i == n_name || i < a->n) {
            return jrun_fail(r, ERR_FORMAT, "%s does not take '%.*s'", what,
                             (int)(a->key[k].name.n < 64 ? a->key[k].name.n : 64),
                             a->key[k].name.p);
        }
        out[i] = a->key[k].v;
    }
    for (size_t i = 0; i < n_required; i++) {
        if (out[i].kind == JV_MISSING) {
            return jrun_fail(r, ERR_FORMAT, "%s needs '%s'", what, name[i]);
        }
    }
    return true;
}

bool jargs_int(struct jrun *r, const char *what, struct jval v, int64_t fallback, int64_t *out) {
    *out = fallback;
    if (v.kind == JV_MISSING || jval_as_int(v, out)) {
        return true;
    }
    return v.kind == JV_UNDEF
               ? jval_fail_undef(r, v)
               : jrun_fail(r, ERR_FORMAT, "%s needs an integer, not a %s", what, jval_type(v));
}

static bool no_args(struct jrun *r, const char *what, const struct jargs *a) {
    return jargs_bind(r, what, a, NULL, 0, 0, NULL);
}

/* ---- text ---------------------------------------------------------------------------- */

static bool text_case(struct jrun *r, struct jval in, const struct jargs *a, enum jcase how,
                      const char *what, struct jval *out) {
    struct jval s;
    return no_args(r, what, a) && jval_str(r, in, &s) && jstr_case(r, s.u.s, how, out);
}

static bool filter_upper(struct jrun *r, struct jval in, const struct jargs *a, struct jval *out) {
    return text_case(r, in, a, JCASE_UPPER, "upper", out);
}

static bool filter_lower(struct jrun *r, struct jval in, const struct jargs *a, struct jval *out) {
    return text_case(r, in, a, JCASE_LOWER, "lower", out);
}

static bool filter_capitalize(struct jrun *r, struct jval in, const struct jargs *a,
                              struct jval *out) {
    return text_case(r, in, a, JCASE_CAPITALIZE, "capitalize", out);
}

static bool filter_title(struct jrun *r, struct jval in, const struct jargs *a, struct jval *out) {
    return text_case(r, in, a, JCASE_WORDS, "title", out);
}

static bool filter_string(struct jrun *r, struct jval in, const struct jargs *a, struct jval *out) {
    return no_args(r, "string", a) && jval_str(r, in, out);
}

static bool filter_safe(struct jrun *r, struct jval in, const struct jargs *a, struct jval *out) {
    struct jval s;
    if (!no_args(r, "safe", a) || !jval_str(r, in, &s) || !jstr_part(r, s.u.s, 0, s.u.s->n, out)) {
        return false;
    }
    ((struct jstr *)out->u.s)->markup = true; /* a copy of its own, not shared yet */
    return true;
}

static bool filter_escape(struct jrun *r, struct jval in, const struct jargs *a, struct jval *out) {
    struct jval s;
    if (!no_args(r, "escape", a) || !jval_str(r, in, &s)) {
        return false;
    }
    if (s.u.s->markup) {
        *out = s;
        return true;
    }
    return jstr_escape(r, s.u.s, out);
}

static bool filter_forceescape(struct jrun *r, struct jval in, const struct jargs *a,
                               struct jval *out) {
    struct jval s;
    return no_args(r, "forceescape", a) && jval_str(r, in, &s) && jstr_escape(r, s.u.s, out);
}

static bool filter_trim(struct jrun *r, struct jval in, const struct jargs *a, struct jval *out) {
    static const char *const name[] = {"chars"};
    struct jval chars, s;
    if (!jargs_bind(r, "trim", a, name, 1, 0, &chars) || !jval_str(r, in, &s)) {
        return false;
    }
    bool given = chars.kind != JV_MISSING && chars.kind != JV_NONE;
    if (given && chars.kind != JV_STR) {
        return jrun_fail(r, ERR_FORMAT, "trim needs a string, not a %s", jval_type(chars));
    }
    return jstr_strip(r, s.u.s, given ? chars.u.s : NULL, JSIDE_LEFT | JSIDE_RIGHT, out);
}

static bool filter_replace(struct jrun *r, struct jval in, const struct jargs *a,
                           struct jval *out) {
    static const char *const name[] = {"old", "new", "count"};
    struct jval v[3], s, from, to;
    int64_t count;
    if (!jargs_bind(r, "replace", a, name, 3, 2, v)) {
        return false;
    }
    if (v[2].kind == JV_NONE) {
        v[2].kind = JV_MISSING;
    }
    return jargs_int(r, "replace", v[2], -1, &count) && jval_str(r, in, &s) &&
           jval_str(r, v[0], &from) && jval_str(r, v[1], &to) &&
           jstr_replace(r, s.u.s, from.u.s, to.u.s, count, out);
}

static bool filter_indent(struct jrun *r, struct jval in, const struct jargs *a, struct jval *out) {
    static const char *const name[] = {"width", "first", "blank"};
    struct jval v[3], pad, lines;
    struct jbuild b, padding;
    int64_t width = 4;
    jbuild_init(&b, r);
    jbuild_init(&padding, r);
    if (in.kind != JV_STR) {
        return in.kind == JV_UNDEF
                   ? jval_fail_undef(r, in)
                   : jrun_fail(r, ERR_FORMAT, "indent needs a string, not a %s", jval_type(in));
    }
    if (!jargs_bind(r, "indent", a, name, 3, 0, v)) {
        return false;
    }
    if (v[0].kind == JV_STR) {
        pad = v[0];
    } else if (!jargs_int(r, "indent", v[0], 4, &width) ||
               !jbuild_fill(&padding, ' ', width > 0 ? (size_t)width : 0, true) ||
               !jbuild_end(&padding, &pad)) {
        return false;
    }
    /* Jinja2 adds a line end first, so that one at the end keeps its empty line */
    const struct jstr *s = in.u.s;
    struct jval whole;
    struct jstr newline = {.p = "\n", .n = 1, .trusted = true, .ascii = true};
    if (!jstr_concat(r, s, &newline, &whole) || !jstr_splitlines(r, whole.u.s, false, &lines)) {
        return false;
    }
    bool blank = jval_truth(v[2]), first = jval_truth(v[1]);
    for (size_t i = 0; i < lines.u.l->n; i++) {
        const struct jstr *line = lines.u.l->v[i].u.s;
        bool padded = i == 0 ? first : blank || line->n > 0;
        if ((i > 0 && !jbuild_put(&b, "\n", 1, true)) || (padded && !jbuild_put_str(&b, pad.u.s)) ||
            !jbuild_put_str(&b, line)) {
            return false;
        }
    }
    return jbuild_end(&b, out);
}

static bool filter_center(struct jrun *r, struct jval in, const struct jargs *a, struct jval *out) {
    static const char *const name[] = {"width"};
    struct jval v, s;
    struct jbuild b;
    int64_t width;
    jbuild_init(&b, r);
    if (!jargs_bind(r, "center", a, name, 1, 0, &v) || !jargs_int(r, "center", v, 80, &width) ||
        !jval_str(r, in, &s)) {
        return false;
    }
    int64_t pad = width - (int64_t)jstr_chars(s.u.s);
    pad = pad > 0 ? pad : 0;
    int64_t left = pad / 2 + (pad & width & 1); /* as CPython splits an odd padding */
    return jbuild_fill(&b, ' ', (size_t)left, true) && jbuild_put_str(&b, s.u.s) &&
           jbuild_fill(&b, ' ', (size_t)(pad - left), true) && jbuild_end(&b, out);
}

static bool filter_truncate(struct jrun *r, struct jval in, const struct jargs *a,
                            struct jval *out) {
    static const char *const name[] = {"length", "killwords", "end", "leeway"};
    static const struct jstr dots = {.p = "...", .n = 3, .trusted = true, .ascii = true};
    static const struct jstr space = {.p = " ", .n = 1, .trusted = true, .ascii = true};
    struct jval v[4], words;
    int64_t length, leeway;
    size_t chars;
    if (!jargs_bind(r, "truncate", a, name, 4, 0, v) || !jval_length(r, in, &chars)) {
        return false;
    }
    const struct jstr *end = v[2].kind == JV_STR ? v[2].u.s : &dots;
    if (v[3].kind == JV_NONE) {
        v[3].kind = JV_MISSING;
    }
    if (!jargs_int(r, "truncate", v[0], 255, &length) ||
        !jargs_int(r, "truncate", v[3], 5, &leeway)) {
        return false;
    }
    int64_t end_chars = (int64_t)jstr_chars(end);
    if (length < end_chars || leeway < 0 || length > INT32_MAX || leeway > INT32_MAX) {
        return jrun_fail(r, ERR_FORMAT, "truncate: a length is out of range");
    }
    *out = in;
    if ((int64_t)chars <= length + leeway) {
        return true;
    }
    if (in.kind != JV_STR) {
        return jrun_fail(r, ERR_FORMAT, "truncate cannot cut a %s", jval_type(in));
    }
    size_t to = jstr_byte_of(in.u.s, (size_t)(length - end_chars));
    if (!jstr_part(r, in.u.s, 0, to, out)) {
        return false;
    }
    if (!jval_truth(v[1])) {
        if (!jstr_split(r, out->u.s, &space, 1, true, &words)) {
            return false;
        }
        *out = words.u.l->v[0];
    }
    return jstr_concat(r, out->u.s, end, out);
}

static bool filter_wordcount(struct jrun *r, struct jval in, const struct jargs *a,
                             struct jval *out) {
    struct jval s;
    if (!no_args(r, "wordcount", a) || !jval_str(r, in, &s) || !jrun_charge(r, s.u.s->n / 4)) {
        return false;
    }
    int64_t n = 0;
    bool inside = false;
    for (size_t i = 0, len; i < s.u.s->n; i += len) {
        bool word = juni_is_word(jstr_cp(s.u.s, i, &len));
        n += word && !inside;
        inside = word;
    }
    *out = jval_int(n);
    return true;
}

static bool filter_format(struct jrun *r, struct jval in, const struct jargs *a, struct jval *out) {
    struct jval s, args, name;
    if (a->n > 0 && a->n_key > 0) {
        return jrun_fail(r, ERR_FORMAT, "format takes positional or named arguments, not both");
    }
    if (a->n_key == 0) {
        if (!jval_list(r, JV_TUPLE, a->n, &args)) {
            return false;
        }
        for (size_t i = 0; i < a->n; i++) {
            if (!jlist_add(r, args.u.l, a->pos[i])) {
                return false;
            }
        }
    } else if (!jval_dict(r, JV_DICT, a->n_key, &args)) {
        return false;
    }
    for (size_t i = 0; i < a->n_key; i++) {
        if (!jstr_make(r, a->key[i].name.p, a->key[i].name.n, a->key[i].trusted, &name) ||
            !jdict_set(r, args.u.d, name, a->key[i].v)) {
            return false;
        }
    }
    return jval_str(r, in, &s) && jformat_percent(r, s.u.s, args, out);
}

/* A value as part of a URL; `query`: a space is +, and / is escaped. */
static bool url_quote(struct jrun *r, struct jbuild *b, struct jval v, bool query) {
    struct jval s;
    char hex[4];
    if (!jval_str(r, v, &s)) {
        return false;
    }
    for (size_t i = 0; i < s.u.s->n; i++) {
        uint8_t c = (uint8_t)s.u.s->p[i];
        bool plain = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
                     strchr("_.-~", c) != NULL;
        bool trusted = jstr_origin(s.u.s, i);
        bool ok;
        if (c != 0 && (plain || (!query && c == '/'))) {
            ok = jbuild_put(b, (const char *)&c, 1, trusted);
        } else if (query && c == ' ') {
            ok = jbuild_put(b, "+", 1, trusted);
        } else {
            snprintf(hex, sizeof hex, "%%%02X", c);
            ok = jbuild_put(b, hex, 3, trusted);
        }
        if (!ok) {
            return false;
        }
    }
    return true;
}

static bool url_pairs(struct jrun *r, struct jbuild *b, struct jval pairs) {
    struct jiter it, pair;
    struct jval item, k, v, more;
    int got;
    if (!jiter_init(r, &it, pairs)) {
        return false;
    }
    for (bool first = true; (got = jiter_next(r, &it, &item)) == 1; first = false) {
        if (!jiter_init(r, &pair, item)) {
            return false;
        }
        if (jiter_next(r, &pair, &k) != 1 || jiter_next(r, &pair, &v) != 1 ||
            jiter_next(r, &pair, &more) != 0) {
            return jrun_fail(r, ERR_FORMAT, "urlencode needs pairs");
        }
        if ((!first && !jbuild_put(b, "&", 1, true)) || !url_quote(r, b, k, true) ||
            !jbuild_put(b, "=", 1, true) || !url_quote(r, b, v, true)) {
            return false;
        }
    }
    return got == 0;
}

static bool filter_urlencode(struct jrun *r, struct jval in, const struct jargs *a,
                             struct jval *out) {
    struct jbuild b;
    bool ok;
    jbuild_init(&b, r);
    if (!no_args(r, "urlencode", a)) {
        return false;
    }
    if (in.kind == JV_DICT) {
        struct jval items;
        ok = jfilter_dict_items(r, in, &items) && url_pairs(r, &b, items);
    } else if (in.kind == JV_LIST || in.kind == JV_TUPLE || in.kind == JV_VIEW ||
               in.kind == JV_GEN || in.kind == JV_RANGE || in.kind == JV_UNDEF) {
        ok = url_pairs(r, &b, in);
    } else {
        ok = url_quote(r, &b, in, false);
    }
    return ok && jbuild_end(&b, out);
}

/* ---- numbers ------------------------------------------------------------------------- */

static bool filter_abs(struct jrun *r, struct jval in, const struct jargs *a, struct jval *out) {
    int64_t i;
    if (!no_args(r, "abs", a)) {
        return false;
    }
    if (jval_as_int(in, &i)) {
        if (i == INT64_MIN) {
            return jrun_fail(r, ERR_LIMIT, "an integer of more than 64 bits");
        }
        *out = jval_int(i < 0 ? -i : i);
        return true;
    }
    if (in.kind != JV_FLOAT) {
        return jrun_fail(r, ERR_FORMAT, "abs needs a number, not a %s", jval_type(in));
    }
    *out = jval_float(fabs(in.u.f));
    return true;
}

/* int(float): what does not fit 64 bits is an error of ours, what has no integer gives *ok. */
static bool float_to_int(struct jrun *r, double f, struct jval *out, bool *ok) {
    *ok = !isnan(f) && !isinf(f);
    if (*ok && fabs(f) >= 9223372036854775808.0) {
        return jrun_fail(r, ERR_LIMIT, "an integer of more than 64 bits");
    }
    if (*ok) {
        *out = jval_int((int64_t)f);
    }
    return true;
}

static bool filter_int(struct jrun *r, struct jval in, const struct jargs *a, struct jval *out) {
    static const char *const name[] = {"default", "base"};
    struct jval v[2];
    int64_t base, i;
    bool overflow = false, ok = false;
    double f;
    if (!jargs_bind(r, "int", a, name, 2, 0, v) || !jargs_int(r, "int", v[1], 10, &base)) {
        return false;
    }
    *out = v[0].kind == JV_MISSING ? jval_int(0) : v[0];
    if (in.kind == JV_UNDEF) {
        return jval_fail_undef(r, in);
    }
    if (jval_as_int(in, &i)) {
        *out = jval_int(i);
        return true;
    }
    if (in.kind == JV_FLOAT) {
        if (isinf(in.u.f)) {
            return jrun_fail(r, ERR_FORMAT, "infinity is no integer");
        }
        return float_to_int(r, in.u.f, out, &ok);
    }
    if (in.kind != JV_STR) {
        return true;
    }
    bool base_ok = base == 0 || (base >= 2 && base <= 36);
    if (base_ok && jnum_parse_int(jstr_view(in.u.s), (int)base, &i, &overflow)) {
        *out = jval_int(i);
        return true;
    }
    if (overflow) {
        return jrun_fail(r, ERR_LIMIT, "an integer of more than 64 bits");
    }
    return !jnum_parse_float(jstr_view(in.u.s), &f) || float_to_int(r, f, out, &ok);
}

static bool filter_float(struct jrun *r, struct jval in, const struct jargs *a, struct jval *out) {
    static const char *const name[] = {"default"};
    struct jval v;
    double f;
    if (!jargs_bind(r, "float", a, name, 1, 0, &v)) {
        return false;
    }
    if (in.kind == JV_UNDEF) {
        return jval_fail_undef(r, in);
    }
    if (jval_is_num(in)) {
        *out = jval_float(jval_as_float(in));
    } else if (in.kind == JV_STR && jnum_parse_float(jstr_view(in.u.s), &f)) {
        *out = jval_float(f);
    } else {
        *out = v.kind == JV_MISSING ? jval_float(0) : v;
    }
    return true;
}

static bool filter_round(struct jrun *r, struct jval in, const struct jargs *a, struct jval *out) {
    static const char *const name[] = {"precision", "method"};
    struct jval v[2];
    int64_t digits;
    if (!jargs_bind(r, "round", a, name, 2, 0, v) || !jargs_int(r, "round", v[0], 0, &digits)) {
        return false;
    }
    struct str method = v[1].kind == JV_STR ? jstr_view(v[1].u.s) : str_c("common");
    if (str_is(method, "common") && v[1].kind != JV_NONE) {
        return jnum_round(r, in, digits, out);
    }
    bool up = str_is(method, "ceil");
    if ((!up && !str_is(method, "floor")) || !jval_is_num(in) || digits > 300 || digits < -300) {
        return jrun_fail(r, ERR_FORMAT, "round: no such method, or not a number");
    }
    double unit = pow(10, (double)digits);
    double x = jval_as_float(in) * unit;
    *out = jval_float((up ? ceil(x) : floor(x)) / unit);
    return true;
}

/* ---- anything ------------------------------------------------------------------------ */

static bool filter_default(struct jrun *r, struct jval in, const struct jargs *a,
                           struct jval *out) {
    static const char *const name[] = {"default_value", "boolean"};
    struct jval v[2];
    if (!jargs_bind(r, "default", a, name, 2, 0, v)) {
        return false;
    }
    *out = in;
    if (in.kind != JV_UNDEF && !(jval_truth(v[1]) && !jval_truth(in))) {
        return true;
    }
    *out = v[0];
    return v[0].kind != JV_MISSING || jstr_make(r, "", 0, true, out);
}

static bool filter_length(struct jrun *r, struct jval in, const struct jargs *a, struct jval *out) {
    size_t n;
    if (!no_args(r, "length", a) || !jval_length(r, in, &n)) {
        return false;
    }
    *out = jval_int((int64_t)n);
    return true;
}

static bool filter_attr(struct jrun *r, struct jval in, const struct jargs *a, struct jval *out) {
    static const char *const name[] = {"name"};
    struct jval v;
    if (!jargs_bind(r, "attr", a, name, 1, 1, &v)) {
        return false;
    }
    if (v.kind != JV_STR) {
        return jrun_fail(r, ERR_FORMAT, "attr needs a string, not a %s", jval_type(v));
    }
    if (in.kind == JV_DICT) { /* an attribute only, never an item */
        struct jval item;
        if (jdict_get(in.u.d, jstr_view(v.u.s), &item)) {
            struct jval empty;
            return jval_dict(r, JV_DICT, 0, &empty) && jval_attr(r, empty, jstr_view(v.u.s), out);
        }
    }
    return jval_attr(r, in, jstr_view(v.u.s), out);
}

static const struct jfilter filters[] = {
    {"abs", filter_abs},
    {"attr", filter_attr},
    {"batch", jfilter_batch},
    {"capitalize", filter_capitalize},
    {"center", filter_center},
    {"count", filter_length},
    {"d", filter_default},
    {"default", filter_default},
    {"dictsort", jfilter_dictsort},
    {"e", filter_escape},
    {"escape", filter_escape},
    {"first", jfilter_first},
    {"float", filter_float},
    {"forceescape", filter_forceescape},
    {"format", filter_format},
    {"groupby", jfilter_groupby},
    {"indent", filter_indent},
    {"int", filter_int},
    {"items", jfilter_items},
    {"join", jfilter_join},
    {"last", jfilter_last},
    {"length", filter_length},
    {"list", jfilter_list},
    {"lower", filter_lower},
    {"map", jfilter_map},
    {"max", jfilter_max},
    {"min", jfilter_min},
    {"reject", jfilter_reject},
    {"rejectattr", jfilter_rejectattr},
    {"replace", filter_replace},
    {"reverse", jfilter_reverse},
    {"round", filter_round},
    {"safe", filter_safe},
    {"select", jfilter_select},
    {"selectattr", jfilter_selectattr},
    {"slice", jfilter_slice},
    {"sort", jfilter_sort},
    {"string", filter_string},
    {"sum", jfilter_sum},
    {"title", filter_title},
    {"tojson", jval_tojson},
    {"trim", filter_trim},
    {"truncate", filter_truncate},
    {"unique", jfilter_unique},
    {"upper", filter_upper},
    {"urlencode", filter_urlencode},
    {"wordcount", filter_wordcount},
};

const struct jfilter *jfilter_find(struct str name) {
    for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++) {
        if (str_is(name, filters[i].name)) {
            return &filters[i];
        }
    }
    return NULL;
}
