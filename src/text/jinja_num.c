/* jinja_num.c: numbers as Python reads, rounds and prints them, and its two kinds of formatting.
 *
 * Owns float repr, int() and float() of text, round(), the % operator on strings and str.format.
 * Refuses values other than by asking jinja_repr.c for their text.
 * Invariant: widths and precisions are bounded before anything is printed.
 * Source: Python 3: "Format Specification Mini-Language", "printf-style String Formatting".
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/jinja_int.h"

/* ---- reading and printing ------------------------------------------------------------ */

/* The shortest digits that read back as f, laid out as repr() does. */
void jnum_print_float(double f, char out[64]) {
    char digits[40];
    if (isnan(f) || isinf(f)) {
        snprintf(out, 64, "%s", isnan(f) ? "nan" : f > 0 ? "inf" : "-inf");
        return;
    }
    for (int precision = 0; precision < 18; precision++) {
        snprintf(digits, sizeof digits, "%.*e", precision, f);
        if (strtod(digits, NULL) == f) {
            break;
        }
    }
    char *e = strchr(digits, 'e');
    long exponent = strtol(e + 1, NULL, 10);
    *e = 0;
    if (exponent < -4 || exponent >= 16) {
        snprintf(out, 64, "%se%c%02ld", digits, exponent < 0 ? '-' : '+', labs(exponent));
        return;
    }
    long n_digit = (long)strlen(digits) - (digits[0] == '-') - (strchr(digits, '.') != NULL);
    long places = n_digit - 1 - exponent;
    snprintf(out, 64, "%.*f", places < 1 ? 1 : (int)places, f);
}

/* Digits with single underscores between them, without white space around: into out[0..cap). */
static bool num_strip(struct str s, char *out, size_t cap) {
    while (s.n > 0 && (uint8_t)s.p[0] < 0x80 && juni_is_space((uint8_t)s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && (uint8_t)s.p[s.n - 1] < 0x80 && juni_is_space((uint8_t)s.p[s.n - 1])) {
        s.n--;
    }
    size_t k = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '_') {
            bool between = i > 0 && i + 1 < s.n && s.p[i - 1] != '_' && s.p[i + 1] != '_' &&
                           s.p[i - 1] >= '0' && s.p[i + 1] >= '0';
            if (!between) {
                return false;
            }
            continue;
        }
        if (k + 1 >= cap || s.p[i] == 0) {
            return false;
        }
        out[k++] = s.p[i];
    }
    out[k] = 0;
    return k > 0;
}

/* As int(s, base); base 0 takes it from a prefix. *overflow: a number, but of more than 64 bits. */
bool jnum_parse_int(struct str s, int base, int64_t *out, bool *overflow) {
    char text[256];
    *overflow = false;
    if (!num_strip(s, text, sizeof text)) {
        return false;
    }
    const char *p = text;
    bool negative = *p == '-';
    p += *p == '-' || *p == '+';
    int prefix = p[0] != '0'            ? 0
                 : (p[1] | 0x20) == 'x' ? 16
                 : (p[1] | 0x20) == 'o' ? 8
                 : (p[1] | 0x20) == 'b' ? 2
                                        : 0;
    if (prefix != 0 && (base == 0 || base == prefix)) {
        base = prefix;
        p += 2;
    }
    base = base == 0 ? 10 : base;
    uint64_t v = 0;
    if (*p == 0) {
        return false;
    }
    for (; *p != 0; p++) {
        int d = *p >= '0' && *p <= '9'                     ? *p - '0'
                : (*p | 0x20) >= 'a' && (*p | 0x20) <= 'z' ? (*p | 0x20) - 'a' + 10
                                                           : 99;
        if (d >= base) {
            return false;
        }
        *overflow = *overflow || v > (UINT64_MAX - (uint64_t)d) / (uint64_t)base;
        v = v * (uint64_t)base + (uint64_t)d;
    }
    *overflow = *overflow || v > (uint64_t)INT64_MAX;
    *out = negative ? -(int64_t)v : (int64_t)v;
    return !*overflow;
}

bool jnum_parse_float(struct str s, double *out) {
    char text[512];
    if (!num_strip(s, text, sizeof text)) {
        return false;
    }
    const char *p = text + (text[0] == '-' || text[0] == '+');
    char lower[12] = {0};
    for (size_t i = 0; i < sizeof lower - 1 && p[i] != 0; i++) {
        lower[i] = (char)(p[i] >= 'A' && p[i] <= 'Z' ? p[i] | 0x20 : p[i]);
    }
    bool word =
        strcmp(lower, "inf") == 0 || strcmp(lower, "infinity") == 0 || strcmp(lower, "nan") == 0;
    if (!word && strspn(p, "0123456789.eE+-") != strlen(p)) {
        return false; /* strtod also knows hexadecimal floats */
    }
    char *end;
    *out = strtod(text, &end);
    return end != text && *end == 0;
}

/* round(v, digits): half to even in decimal, as far as the digits of a double go. */
bool jnum_round(struct jrun *r, struct jval v, int64_t digits, struct jval *out) {
    int64_t i;
    if (jval_as_int(v, &i)) {
        if (digits >= 0) {
            *out = jval_int(i);
            return true;
        }
        if (digits < -18) {
            *out = jval_int(0);
            return true;
        }
        int64_t unit = 1;
        for (; digits < 0; digits++) {
            unit *= 10;
        }
        int64_t rest = i % unit;
        int64_t low = i - rest - (rest < 0 ? unit : 0);
        rest = i - low;
        bool up = rest > unit - rest || (rest == unit - rest && (low / unit) % 2 != 0);
        *out = jval_int(up ? low + unit : low);
        return true;
    }
    if (v.kind != JV_FLOAT) {
        return jrun_fail(r, ERR_FORMAT, "a %s cannot be rounded", jval_type(v));
    }
    char text[512];
    if (isnan(v.u.f) || isinf(v.u.f) || digits > 22) {
        *out = v;
        return true;
    }
    if (digits >= 0) {
        snprintf(text, sizeof text, "%.*f", (int)digits, v.u.f);
        *out = jval_float(strtod(text, NULL));
        return true;
    }
    double unit = pow(10, digits < -308 ? 308 : (double)-digits);
    *out = jval_float(rint(v.u.f / unit) * unit);
    return true;
}

/* ---- one formatted field ------------------------------------------------------------- */

struct spec {
    uint32_t fill;
    char align, sign, type, group; /* 0: not given */
    bool alt, zero, given_fill;
    bool trusted;         /* the whole format string is the template's */
    int width, precision; /* precision -1: not given */
};

#define SPEC_MAX 4096 /* of width and precision */

/* The digits of an integer in a base, with its prefix if `alt`. */
static void spec_int_digits(const struct spec *s, uint64_t v, char out[80]) {
    const char *fmt = s->type == 'x' ? "%llx" : s->type == 'X' ? "%llX" : "%llu";
    if (s->type == 'o') {
        snprintf(out, 80, "%llo", (unsigned long long)v);
        return;
    }
    if (s->type != 'b') {
        snprintf(out, 80,
                 fmt[3] == 'x'   ? "%llx"
                 : fmt[3] == 'X' ? "%llX"
                                 : "%llu",
                 (unsigned long long)v);
        return;
    }
    size_t n = 1;
    while (n < 64 && v >> n != 0) {
        n++;
    }
    for (size_t i = 0; i < n; i++) {
        out[i] = (char)('0' + (v >> (n - 1 - i) & 1));
    }
    out[n] = 0;
}

/* Puts a separator between groups of three digits in front of the point. */
static void spec_group(char *text, size_t cap, char sep) {
    size_t whole = strspn(text, "0123456789"), n = strlen(text);
    size_t extra = whole == 0 ? 0 : (whole - 1) / 3;
    if (n + extra + 1 > cap) {
        return;
    }
    memmove(text + whole + extra, text + whole, n - whole + 1);
    for (size_t from = whole, to = whole + extra, k = 0; from > 0; k++) {
        if (k > 0 && k % 3 == 0) {
            text[--to] = sep;
        }
        text[--to] = text[--from];
    }
}

/* Sign, prefix and digits with padding; `sign` is 0 or a character. */
static bool spec_put_num(struct jbuild *b, const struct spec *s, char sign, const char *prefix,
                         const char *digits) {
    size_t n = strlen(digits) + strlen(prefix) + (sign != 0);
    size_t pad = s->width > 0 && (size_t)s->width > n ? (size_t)s->width - n : 0;
    char align = s->align != 0 ? s->align : s->zero ? '=' : '>';
    uint32_t fill = s->given_fill ? s->fill : s->zero ? '0' : ' ';
    size_t left = align == '>' ? pad : align == '^' ? pad / 2 : 0;
    size_t mid = align == '=' ? pad : 0;
    size_t right = pad - left - mid;
    for (size_t i = 0; i < left; i++) {
        if (!jbuild_put_cp(b, fill, s->trusted)) {
            return false;
        }
    }
    if ((sign != 0 && !jbuild_put(b, &sign, 1, s->trusted)) ||
        !jbuild_put_z(b, prefix, s->trusted)) {
        return false;
    }
    for (size_t i = 0; i < mid; i++) {
        if (!jbuild_put_cp(b, fill, s->trusted)) {
            return false;
        }
    }
    if (!jbuild_put_z(b, digits, s->trusted)) {
        return false;
    }
    for (size_t i = 0; i < right; i++) {
        if (!jbuild_put_cp(b, fill, s->trusted)) {
            return false;
        }
    }
    return true;
}

static char spec_sign(const struct spec *s, bool negative) {
    return negative ? '-' : s->sign == '+' || s->sign == ' ' ? s->sign : 0;
}

static bool spec_put_int(struct jbuild *b, const struct spec *s, int64_t v, bool percent) {
    char digits[SPEC_MAX + 128] = {0};
    char text[80];
    spec_int_digits(s, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, text);
    size_t n = strlen(text);
    size_t want = percent && s->precision > (int)n ? (size_t)s->precision : n;
    memset(digits, '0', want - n);
    memcpy(digits + want - n, text, n + 1);
    if (s->group != 0) {
        spec_group(digits, sizeof digits, s->group);
    }
    const char *prefix = !s->alt          ? ""
                         : s->type == 'x' ? "0x"
                         : s->type == 'X' ? "0X"
                         : s->type == 'o' ? "0o"
                         : s->type == 'b' ? "0b"
                                          : "";
    return spec_put_num(b, s, spec_sign(s, v < 0), prefix, digits);
}

/* A float without a type prints as repr, or as g with a point if it has a precision. */
static bool spec_put_float(struct jbuild *b, const struct spec *s, double f) {
    char digits[SPEC_MAX + 512];
    char type = s->type == 0 || s->type == 'n' ? 'g' : s->type == '%' ? 'f' : s->type;
    bool negative = signbit(f) && !isnan(f);
    double v = fabs(f) * (s->type == '%' ? 100 : 1);
    if (s->type == 0 && s->precision < 0) {
        jnum_print_float(v, digits);
    } else {
        const char fmt[] = {
            '%', s->alt ? '#' : '.', s->alt ? '.' : '*', s->alt ? '*' : type, s->alt ? type : 0, 0};
        int precision = s->precision < 0 ? 6 : s->precision;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(digits, sizeof digits - 3, fmt, precision, v);
#pragma GCC diagnostic pop
    }
    size_t n = strlen(digits);
    bool bare = s->type == 0 && strpbrk(digits, ".en") == NULL;
    memcpy(digits + n, s->type == '%' ? "%" : bare ? ".0" : "", s->type == '%' ? 2 : bare ? 3 : 1);
    if (s->group != 0) {
        spec_group(digits, sizeof digits, s->group);
    }
    return spec_put_num(b, s, spec_sign(s, negative), "", digits);
}

static bool spec_put_str(struct jbuild *b, const struct spec *s, const struct jstr *str,
                         char align) {
    size_t chars = jstr_chars(str);
    if (s->precision >= 0 && (size_t)s->precision < chars) {
        chars = (size_t)s->precision;
    }
    size_t pad = s->width > 0 && (size_t)s->width > chars ? (size_t)s->width - chars : 0;
    size_t left = align == '>' ? pad : align == '^' ? pad / 2 : 0;
    uint32_t fill = s->given_fill ? s->fill : ' ';
    for (size_t i = 0; i < left; i++) {
        if (!jbuild_put_cp(b, fill, s->trusted)) {
            return false;
        }
    }
    if (!jbuild_put_part(b, str, 0, jstr_byte_of(str, chars))) {
        return false;
    }
    for (size_t i = left; i < pad; i++) {
        if (!jbuild_put_cp(b, fill, s->trusted)) {
            return false;
        }
    }
    return true;
}

/* str(v) or repr(v) in one piece, so that it can be padded. */
static bool spec_text(struct jrun *r, struct jval v, bool repr, struct jval *out) {
    struct jbuild b;
    jbuild_init(&b, r);
    if (!repr) {
        return jval_str(r, v, out);
    }
    return jval_put_repr(&b, v) && jbuild_end(&b, out);
}

/* ---- the % operator ------------------------------------------------------------------ */

struct percent {
    const char *p, *end;
    struct jval args; /* a tuple, a mapping, or a single value */
    size_t next;
    bool mapped;
    bool trusted; /* the format string is the template's */
};

static bool percent_arg(struct jrun *r, struct percent *f, struct jval *out) {
    bool tuple = f->args.kind == JV_TUPLE;
    size_t n = tuple ? f->args.u.l->n : 1;
    if (f->next >= n) {
        return jrun_fail(r, ERR_FORMAT, "not enough values for a format");
    }
    *out = tuple ? f->args.u.l->v[f->next] : f->args;
    f->next++;
    return true;
}

static bool percent_number(struct jrun *r, struct percent *f, int *out) {
    if (f->p < f->end && *f->p == '*') {
        struct jval v;
        int64_t n;
        f->p++;
        if (!percent_arg(r, f, &v)) {
            return false;
        }
        if (!jval_as_int(v, &n) || n < -SPEC_MAX || n > SPEC_MAX) {
            return jrun_fail(r, ERR_FORMAT, "a width or precision of a format is wrong");
        }
        *out = (int)n;
        return true;
    }
    int64_t n = 0;
    while (f->p < f->end && *f->p >= '0' && *f->p <= '9') {
        n = n * 10 + (*f->p++ - '0');
        if (n > SPEC_MAX) {
            return jrun_fail(r, ERR_LIMIT, "a width or precision of a format is too large");
        }
    }
    *out = (int)n;
    return true;
}

static bool percent_key(struct jrun *r, struct percent *f, struct jval *v, bool *has) {
    *has = f->p < f->end && *f->p == '(';
    if (!*has) {
        return true;
    }
    const char *from = ++f->p;
    for (int open = 1; f->p < f->end; f->p++) {
        open += *f->p == '(' ? 1 : *f->p == ')' ? -1 : 0;
        if (open == 0) {
            break;
        }
    }
    if (f->p == f->end || f->args.kind != JV_DICT) {
        return jrun_fail(r, ERR_FORMAT, "a format asks for a mapping");
    }
    struct str key = str_of(from, (size_t)(f->p++ - from));
    f->mapped = true;
    if (!jdict_get(f->args.u.d, key, v)) {
        return jrun_fail(r, ERR_FORMAT, "a format asks for a key that is not there");
    }
    return true;
}

static bool percent_int(struct jrun *r, struct jval v, bool truncate, int64_t *out) {
    if (jval_as_int(v, out)) {
        return true;
    }
    if (v.kind == JV_UNDEF) {
        return jval_fail_undef(r, v);
    }
    if (v.kind != JV_FLOAT || !truncate || !(fabs(v.u.f) < 9.2e18)) {
        return jrun_fail(r, ERR_FORMAT, "a format needs an integer, not a %s", jval_type(v));
    }
    *out = (int64_t)v.u.f;
    return true;
}

static bool percent_char(struct jrun *r, struct jbuild *b, const struct spec *s, struct jval v) {
    struct jval text = v;
    int64_t cp;
    if (jval_as_int(v, &cp)) {
        struct jbuild one;
        jbuild_init(&one, r);
        if (cp < 0 || cp > 0x10FFFF || (cp >= 0xD800 && cp < 0xE000)) {
            return jrun_fail(r, ERR_FORMAT, "a format's character is out of range");
        }
        if (!jbuild_put_cp(&one, (uint32_t)cp, false) || !jbuild_end(&one, &text)) {
            return false;
        }
    } else if (v.kind != JV_STR || jstr_chars(v.u.s) != 1) {
        return jrun_fail(r, ERR_FORMAT, "a format needs one character");
    }
    return spec_put_str(b, s, text.u.s, s->align == '<' ? '<' : '>');
}

static bool percent_put(struct jrun *r, struct jbuild *b, struct spec *s, struct jval v) {
    struct jval text;
    int64_t i;
    switch (s->type) {
    case 's':
    case 'r':
    case 'a':
        return spec_text(r, v, s->type != 's', &text) &&
               spec_put_str(b, s, text.u.s, s->align == '<' ? '<' : '>');
    case 'c': return percent_char(r, b, s, v);
    case 'd':
    case 'i':
    case 'u': return percent_int(r, v, true, &i) && spec_put_int(b, s, i, true);
    case 'x':
    case 'X':
    case 'o': return percent_int(r, v, false, &i) && spec_put_int(b, s, i, true);
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G': break;
    default: return jrun_fail(r, ERR_FORMAT, "a format has an unknown conversion");
    }
    double f;
    if (v.kind == JV_STR || !jval_is_num(v)) {
        return v.kind == JV_UNDEF ? jval_fail_undef(r, v)
                                  : jrun_fail(r, ERR_FORMAT, "a format needs a number");
    }
    f = jval_as_float(v);
    s->precision = s->precision < 0 ? 6 : s->precision;
    return spec_put_float(b, s, f);
}

/* One conversion behind its %. */
static bool percent_field(struct jrun *r, struct percent *f, struct jbuild *b) {
    struct spec s = {.precision = -1, .trusted = f->trusted};
    struct jval v = {0};
    bool has;
    if (!percent_key(r, f, &v, &has)) {
        return false;
    }
    for (; f->p < f->end && strchr("-+ #0", *f->p) != NULL && *f->p != 0; f->p++) {
        s.align = *f->p == '-' ? '<' : s.align;
        s.sign = *f->p == '+' ? '+' : *f->p == ' ' && s.sign == 0 ? ' ' : s.sign;
        s.alt = s.alt || *f->p == '#';
        s.zero = s.zero || *f->p == '0';
    }
    if (!percent_number(r, f, &s.width)) {
        return false;
    }
    if (s.width < 0) {
        s.align = '<';
        s.width = -s.width;
    }
    if (f->p < f->end && *f->p == '.') {
        f->p++;
        if (!percent_number(r, f, &s.precision)) {
            return false;
        }
        s.precision = s.precision < 0 ? 0 : s.precision;
    }
    while (f->p < f->end && strchr("hlL", *f->p) != NULL && *f->p != 0) {
        f->p++;
    }
    if (f->p == f->end) {
        return jrun_fail(r, ERR_FORMAT, "a format is not complete");
    }
    s.type = *f->p++;
    if (s.type == '%') {
        return jbuild_put_z(b, "%", s.trusted);
    }
    return (has || percent_arg(r, f, &v)) && percent_put(r, b, &s, v);
}

bool jformat_percent(struct jrun *r, const struct jstr *fmt, struct jval args, struct jval *out) {
    struct percent f = {
        .p = fmt->p, .end = fmt->p + fmt->n, .args = args, .trusted = jstr_all_trusted(fmt)};
    struct jbuild b;
    jbuild_init(&b, r);
    while (f.p < f.end) {
        const char *at = memchr(f.p, '%', (size_t)(f.end - f.p));
        size_t from = (size_t)(f.p - fmt->p);
        size_t to = at != NULL ? (size_t)(at - fmt->p) : fmt->n;
        if (!jbuild_put_part(&b, fmt, from, to)) {
            return false;
        }
        if (at == NULL) {
            break;
        }
        f.p = at + 1;
        if (!jrun_charge(r, 1) || !percent_field(r, &f, &b)) {
            return false;
        }
    }
    size_t n = args.kind == JV_TUPLE ? args.u.l->n : 1;
    bool container = args.kind == JV_DICT || args.kind == JV_LIST || args.kind == JV_RANGE ||
                     args.kind == JV_UNDEF;
    if (f.next < n && !f.mapped && !container) {
        return jrun_fail(r, ERR_FORMAT, "not all values of a format were used");
    }
    return jbuild_end(&b, out);
}

/* ---- str.format ---------------------------------------------------------------------- */

struct braces {
    const struct jstr *fmt;
    const struct jargs *args;
    size_t i;     /* position in fmt */
    int64_t next; /* automatic number; -1 once numbers were given */
    bool automatic;
};

static int spec_digits(struct jrun *r, struct str s, size_t *i, int *out) {
    int64_t n = 0;
    size_t from = *i;
    while (*i < s.n && s.p[*i] >= '0' && s.p[*i] <= '9') {
        n = n * 10 + (s.p[(*i)++] - '0');
        if (n > SPEC_MAX) {
            return jrun_fail(r, ERR_LIMIT, "a width or precision of a format is too large");
        }
    }
    if (*i > from) {
        *out = (int)n;
    }
    return true;
}

static bool spec_is_align(char c) {
    return c == '<' || c == '>' || c == '^' || c == '=';
}

static bool spec_parse(struct jrun *r, struct str s, struct spec *out) {
    *out = (struct spec){.precision = -1};
    size_t i = 0;
    uint32_t cp = 0;
    size_t len = s.n > 0 ? (size_t)utf8_decode(s.p, s.n, &cp) : 0;
    if (len > 0 && len < s.n && spec_is_align(s.p[len])) {
        out->fill = cp;
        out->given_fill = true;
        out->align = s.p[len];
        i = len + 1;
    } else if (s.n > 0 && spec_is_align(s.p[0])) {
        out->align = s.p[i++];
    }
    if (i < s.n && (s.p[i] == '+' || s.p[i] == '-' || s.p[i] == ' ')) {
        out->sign = s.p[i++];
    }
    if (i < s.n && s.p[i] == '#') {
        out->alt = true;
        i++;
    }
    if (i < s.n && s.p[i] == '0') {
        out->zero = true;
        i++;
    }
    if (!spec_digits(r, s, &i, &out->width)) {
        return false;
    }
    if (i < s.n && (s.p[i] == ',' || s.p[i] == '_')) {
        out->group = s.p[i++];
    }
    if (i < s.n && s.p[i] == '.') {
        size_t from = ++i;
        if (!spec_digits(r, s, &i, &out->precision)) {
            return false;
        }
        if (i == from) {
            return jrun_fail(r, ERR_FORMAT, "a format has no precision behind its point");
        }
    }
    if (i < s.n) {
        out->type = s.p[i++];
    }
    return i == s.n || jrun_fail(r, ERR_FORMAT, "a format specification is wrong");
}

static bool braces_put(struct jrun *r, struct jbuild *b, struct str text, bool trusted,
                       struct jval v) {
    struct spec s;
    struct jval str;
    int64_t i;
    if (!spec_parse(r, text, &s)) {
        return false;
    }
    s.trusted = trusted;
    if (v.kind == JV_STR) {
        if ((s.type != 0 && s.type != 's') || s.align == '=' || s.sign != 0 || s.group != 0 ||
            s.alt) {
            return jrun_fail(r, ERR_FORMAT, "a format does not fit a string");
        }
        if (s.zero && !s.given_fill) {
            s.given_fill = true;
            s.fill = '0';
        }
        return spec_put_str(b, &s, v.u.s, s.align != 0 ? s.align : '<');
    }
    if (text.n == 0) {
        return jval_str(r, v, &str) && jbuild_put_str(b, str.u.s);
    }
    bool int_type = s.type == 0 || (strchr("dxXobn", s.type) != NULL && s.precision < 0);
    if (jval_as_int(v, &i) && int_type && s.precision < 0) {
        return spec_put_int(b, &s, i, false);
    }
    if (jval_is_num(v) && (s.type == 0 || strchr("eEfFgGn%", s.type) != NULL) &&
        !(s.type == 0 && v.kind != JV_FLOAT)) {
        return spec_put_float(b, &s, jval_as_float(v));
    }
    return jrun_fail(r, ERR_FORMAT, "a format does not fit a %s", jval_type(v));
}

/* The value that a field's first part names. */
static bool braces_first(struct jrun *r, struct braces *f, struct str name, struct jval *out) {
    const struct jargs *a = f->args;
    bool overflow;
    int64_t index;
    if (name.n == 0) {
        if (f->next < 0) {
            return jrun_fail(r, ERR_FORMAT, "a format mixes numbered and plain fields");
        }
        index = f->next++;
        f->automatic = true;
    } else if (name.p[0] >= '0' && name.p[0] <= '9' &&
               jnum_parse_int(name, 10, &index, &overflow)) {
        if (f->automatic) {
            return jrun_fail(r, ERR_FORMAT, "a format mixes numbered and plain fields");
        }
        f->next = -1;
    } else {
        for (size_t i = 0; i < a->n_key; i++) {
            if (str_eq(a->key[i].name, name)) {
                *out = a->key[i].v;
                return true;
            }
        }
        return jrun_fail(r, ERR_FORMAT, "a format asks for a name that is not there");
    }
    if ((uint64_t)index >= a->n) {
        return jrun_fail(r, ERR_FORMAT, "a format asks for a value that is not there");
    }
    *out = a->pos[index];
    return true;
}

/* "name.attr[key]" */
static bool braces_value(struct jrun *r, struct braces *f, struct str path, struct jval *out) {
    size_t i = 0;
    while (i < path.n && path.p[i] != '.' && path.p[i] != '[') {
        i++;
    }
    if (!braces_first(r, f, str_of(path.p, i), out)) {
        return false;
    }
    while (i < path.n) {
        bool item = path.p[i] == '[';
        size_t from = ++i;
        while (i < path.n && (item ? path.p[i] != ']' : path.p[i] != '.' && path.p[i] != '[')) {
            i++;
        }
        struct str part = str_of(path.p + from, i - from);
        struct jval key, next;
        bool overflow;
        int64_t n;
        if (part.n == 0 || (item && i == path.n)) {
            return jrun_fail(r, ERR_FORMAT, "a format's field is wrong");
        }
        if (!item) {
            if (!jval_attr(r, *out, part, &next)) {
                return false;
            }
        } else {
            i++;
            bool number =
                part.p[0] >= '0' && part.p[0] <= '9' && jnum_parse_int(part, 10, &n, &overflow);
            if (number) {
                key = jval_int(n);
            } else if (!jstr_make(r, part.p, part.n, false, &key)) {
                return false;
            }
            if (!jval_item(r, *out, key, &next)) {
                return false;
            }
        }
        *out = next;
    }
    return true;
}

/* The field at fmt[i], behind its brace. */
static bool braces_field(struct jrun *r, struct braces *f, struct jbuild *b) {
    const struct jstr *s = f->fmt;
    size_t from = f->i, bracket = 0;
    while (f->i < s->n && s->p[f->i] != '}' &&
           (bracket > 0 || (s->p[f->i] != ':' && s->p[f->i] != '!'))) {
        bracket += s->p[f->i] == '[';
        bracket -= s->p[f->i] == ']' && bracket > 0;
        if (s->p[f->i] == '{') {
            return jrun_fail(r, ERR_FORMAT, "a format's field is wrong");
        }
        f->i++;
    }
    struct str path = str_of(s->p + from, f->i - from);
    char conversion = 0;
    if (f->i + 1 < s->n && s->p[f->i] == '!') {
        conversion = s->p[f->i + 1];
        f->i += 2;
        if (strchr("rsa", conversion) == NULL ||
            (f->i < s->n && s->p[f->i] != ':' && s->p[f->i] != '}')) {
            return jrun_fail(r, ERR_FORMAT, "a format's conversion is wrong");
        }
    }
    struct str spec = {s->p + f->i, 0};
    if (f->i < s->n && s->p[f->i] == ':') {
        from = ++f->i;
        while (f->i < s->n && s->p[f->i] != '}' && s->p[f->i] != '{') {
            f->i++;
        }
        spec = str_of(s->p + from, f->i - from);
        if (f->i < s->n && s->p[f->i] == '{') {
            return jrun_fail(r, ERR_UNSUPPORTED, "a format inside a format");
        }
    }
    if (f->i >= s->n || s->p[f->i] != '}') {
        return jrun_fail(r, ERR_FORMAT, "a format's brace is not closed");
    }
    f->i++;
    struct jval v, text;
    if (!braces_value(r, f, path, &v)) {
        return false;
    }
    if (conversion != 0) {
        if (!spec_text(r, v, conversion != 's', &text)) {
            return false;
        }
        v = text;
    }
    return braces_put(r, b, spec, jstr_all_trusted(s), v);
}

bool jformat_braces(struct jrun *r, const struct jstr *fmt, const struct jargs *a,
                    struct jval *out) {
    struct braces f = {.fmt = fmt, .args = a};
    struct jbuild b;
    jbuild_init(&b, r);
    while (f.i < fmt->n) {
        size_t from = f.i;
        while (f.i < fmt->n && fmt->p[f.i] != '{' && fmt->p[f.i] != '}') {
            f.i++;
        }
        if (!jbuild_put_part(&b, fmt, from, f.i)) {
            return false;
        }
        if (f.i == fmt->n) {
            break;
        }
        if (f.i + 1 < fmt->n && fmt->p[f.i + 1] == fmt->p[f.i]) {
            if (!jbuild_put_part(&b, fmt, f.i, f.i + 1)) {
                return false;
            }
            f.i += 2;
            continue;
        }
        if (fmt->p[f.i++] == '}') {
            return jrun_fail(r, ERR_FORMAT, "a format has a brace too many");
        }
        if (!jrun_charge(r, 1) || !braces_field(r, &f, &b)) {
            return false;
        }
    }
    return jbuild_end(&b, out);
}
