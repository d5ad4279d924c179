/* jinja_lex.c: a template's bytes to tokens, with the whitespace rules of trim_blocks and
 * lstrip_blocks.
 *
 * Owns the modes (text, {{ }}, {% %}), comments, raw blocks, literals and their escapes. Refuses
 * grammar. Never looks back: each byte is read a bounded number of times.
 * Invariant: between tokens, src[pos] is the next byte that no token has covered.
 * Source: lexer.py of Jinja2 3.1, whose regular expressions these loops spell out.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/jinja_int.h"

/* ---- errors and positions ------------------------------------------------------------ */

bool(jlex_fail)(struct jlex *l, enum err_code code, uint32_t line, uint32_t col, const char *fmt,
                ...) {
    if (l->code != ERR_OK) {
        return false;
    }
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    l->code = err_set(l->e, code, "%s", text);
    err_where(l->e, "template, line %u, column %u", line, col);
    return false;
}

/* Brings `line` up to pos. */
static void lex_count(struct jlex *l) {
    for (; l->counted < l->pos; l->counted++) {
        if (l->src[l->counted] == '\n') {
            l->line++;
            l->line_pos = l->counted + 1;
        }
    }
}

static void lex_start(struct jlex *l, struct jtoken *t, enum jtok type) {
    lex_count(l);
    memset(t, 0, sizeof *t);
    t->type = type;
    t->line = l->line;
    t->col = (uint32_t)(l->pos - l->line_pos) + 1;
}

static bool lex_fail_here(struct jlex *l, enum err_code code, const char *what) {
    lex_count(l);
    return jlex_fail(l, code, l->line, (uint32_t)(l->pos - l->line_pos) + 1, "%s", what);
}

/* ---- start --------------------------------------------------------------------------- */

/* Copies the source with every line end as \n and without one at the very end. */
bool jlex_init(struct jlex *l, struct arena *a, const char *src, size_t n, struct err *e) {
    memset(l, 0, sizeof *l);
    l->arena = a;
    l->e = e;
    l->line = 1;
    l->line_starting = true;
    if (!utf8_valid(src, n)) {
        return jlex_fail(l, ERR_FORMAT, 1, 1, "the template is not UTF-8");
    }
    char *copy = arena_alloc(a, n + 1, 1);
    if (copy == NULL) {
        return jlex_fail(l, ERR_NOMEM, 1, 1, "out of memory");
    }
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        if (src[i] != '\r') {
            copy[k++] = src[i];
        } else if (i + 1 == n || src[i + 1] != '\n') {
            copy[k++] = '\n';
        }
    }
    if (k > 0 && copy[k - 1] == '\n') {
        k--;
    }
    copy[k] = 0;
    l->src = copy;
    l->n = k;
    return true;
}

/* ---- text, comments, raw blocks ------------------------------------------------------ */

static bool lex_at(const struct jlex *l, size_t i, const char *z) {
    size_t n = strlen(z);
    return l->n - i >= n && memcmp(l->src + i, z, n) == 0;
}

/* Skips white space from i. */
static size_t lex_space(const struct jlex *l, size_t i) {
    while (i < l->n) {
        uint32_t cp;
        int len = utf8_decode(l->src + i, l->n - i, &cp);
        if (len <= 0 || !juni_is_space(cp)) {
            break;
        }
        i += (size_t)len;
    }
    return i;
}

/* Where src[from..to) ends without the white space at its end. */
static size_t lex_space_before(const struct jlex *l, size_t from, size_t to) {
    while (to > from) {
        size_t i = to - 1;
        while (i > from && ((uint8_t)l->src[i] & 0xC0) == 0x80) {
            i--;
        }
        uint32_t cp;
        if (utf8_decode(l->src + i, to - i, &cp) <= 0 || !juni_is_space(cp)) {
            break;
        }
        to = i;
    }
    return to;
}

/* If an end of a tag ("%}", "#}") with its sign starts at i: one past what it swallows; else 0. */
static size_t lex_tag_end(const struct jlex *l, size_t i, const char *end) {
    if (lex_at(l, i, end)) {
        i += 2;
        return i < l->n && l->src[i] == '\n' ? i + 1 : i;
    }
    if (l->src[i] == '+' && i + 1 < l->n && lex_at(l, i + 1, end)) {
        return i + 3;
    }
    if (l->src[i] == '-' && i + 1 < l->n && lex_at(l, i + 1, end)) {
        return lex_space(l, i + 3);
    }
    return 0;
}

/* If "{% word %}" starts at i: one past it, and its sign; else 0. `trims`: as {% endraw %},
 * which takes a + and swallows a newline. */
static size_t lex_word_tag(const struct jlex *l, size_t i, const char *word, bool trims,
                           char *sign) {
    i += 2;
    *sign = 0;
    if (i < l->n && (l->src[i] == '-' || l->src[i] == '+')) {
        *sign = l->src[i++];
    }
    i = lex_space(l, i);
    if (!lex_at(l, i, word)) {
        return 0;
    }
    i = lex_space(l, i + strlen(word));
    if (i >= l->n) {
        return 0;
    }
    if (trims) {
        return lex_tag_end(l, i, "%}");
    }
    if (lex_at(l, i, "%}")) {
        return i + 2;
    }
    return lex_at(l, i, "-%}") ? lex_space(l, i + 3) : 0;
}

/* The text src[from..to) in front of a tag: `sign` is the tag's, `var` whether it is {{. */
static size_t lex_text_end(const struct jlex *l, size_t from, size_t to, char sign, bool var) {
    if (sign == '-') {
        return lex_space_before(l, from, to);
    }
    if (sign == '+' || var) {
        return to;
    }
    size_t line = to;
    while (line > from && l->src[line - 1] != '\n') {
        line--;
    }
    if ((line > from || l->line_starting) && lex_space(l, line) >= to) {
        return line;
    }
    return to;
}

static void lex_moved(struct jlex *l, size_t to) {
    l->line_starting = to > 0 && l->src[to - 1] == '\n';
    l->pos = to;
}

/* Puts src[from..to) in front of whatever was found after it. */
static void lex_data(struct jlex *l, struct jtoken *t, size_t from, size_t to) {
    t->type = JT_DATA;
    t->s = str_of(l->src + from, to - from);
}

/* After {% raw %}: its text, up to {% endraw %}. */
static bool lex_raw(struct jlex *l, struct jtoken *t) {
    size_t from = l->pos;
    if (from == l->n) {
        return true; /* as Jinja2: nothing there, nothing missing */
    }
    lex_start(l, t, JT_DATA);
    for (size_t i = from; i + 1 < l->n; i++) {
        char sign;
        size_t end = lex_at(l, i, "{%") ? lex_word_tag(l, i, "endraw", true, &sign) : 0;
        if (end != 0) {
            lex_data(l, t, from, lex_text_end(l, from, i, sign, false));
            lex_moved(l, end);
            return true;
        }
    }
    return lex_fail_here(l, ERR_FORMAT, "a raw block has no end");
}

static bool lex_comment(struct jlex *l) {
    size_t from = l->pos;
    if (from == l->n) {
        return true;
    }
    for (size_t i = from; i < l->n; i++) {
        size_t end = lex_tag_end(l, i, "#}");
        if (end != 0) {
            lex_moved(l, end);
            return true;
        }
    }
    return lex_fail_here(l, ERR_FORMAT, "a comment has no end");
}

/* One step in text: fills `t` with data, or leaves it at JT_EOF if there was none before the tag
 * that it consumed (whose token, if any, is now held). */
static bool lex_text(struct jlex *l, struct jtoken *t) {
    size_t from = l->pos;
    size_t i = from;
    while (i < l->n && !(l->src[i] == '{' && i + 1 < l->n && strchr("{%#", l->src[i + 1]))) {
        i++;
    }
    lex_start(l, t, JT_DATA);
    if (i == l->n) {
        lex_data(l, t, from, i);
        lex_moved(l, i);
        return true;
    }
    char kind = l->src[i + 1];
    char sign = 0;
    size_t raw = kind == '%' ? lex_word_tag(l, i, "raw", false, &sign) : 0;
    if (raw == 0) {
        sign = i + 2 < l->n && strchr("+-", l->src[i + 2]) ? l->src[i + 2] : 0;
    }
    lex_data(l, t, from, lex_text_end(l, from, i, sign, kind == '{'));
    lex_moved(l, raw != 0 ? raw : i + 2 + (sign != 0));
    struct jtoken *tag = &l->held[0];
    if (raw != 0) {
        l->n_held = 1;
        memset(tag, 0, sizeof *tag);
        return lex_raw(l, tag);
    }
    if (kind == '#') {
        return lex_comment(l);
    }
    l->n_held = 1;
    lex_start(l, tag, kind == '{' ? JT_VAR_BEGIN : JT_BLOCK_BEGIN);
    l->state = kind == '{' ? JLEX_VAR : JLEX_BLOCK;
    return true;
}

/* ---- literals ------------------------------------------------------------------------ */

static int hex_value(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* \xhh, \uhhhh, \Uhhhhhhhh at s[0..n), s behind the letter. */
static bool lex_hex_escape(struct jlex *l, const char *s, size_t n, size_t digits, uint32_t *cp) {
    *cp = 0;
    for (size_t i = 0; i < digits; i++) {
        int h = i < n ? hex_value(s[i]) : -1;
        if (h < 0) {
            return lex_fail_here(l, ERR_FORMAT, "a string has a broken escape");
        }
        *cp = *cp << 4 | (uint32_t)h;
    }
    if (*cp > 0x10FFFF || (*cp >= 0xD800 && *cp < 0xE000)) {
        return lex_fail_here(l, ERR_FORMAT, "a string's escape is no Unicode scalar value");
    }
    return true;
}

/* What a backslash before a character that is not ASCII gives: Jinja2 encodes first, so the
 * character's own escape loses its backslash to the one that was there. */
static size_t lex_escape_foreign(const char *s, size_t n, char *out, size_t *k) {
    static const char hex[] = "0123456789abcdef";
    uint32_t cp;
    int len = utf8_decode(s, n, &cp);
    unsigned digits = cp < 0x100 ? 2 : cp < 0x10000 ? 4 : 8;
    out[(*k)++] = '\\';
    out[(*k)++] = digits == 2 ? 'x' : digits == 4 ? 'u' : 'U';
    while (digits-- > 0) {
        out[(*k)++] = hex[cp >> (4 * digits) & 15];
    }
    return (size_t)len;
}

/* One escape at s[0] == '\\'; returns bytes read, 0 on error. Writes at most 10 bytes for every
 * 2 read, see lex_string. */
static size_t lex_escape(struct jlex *l, const char *s, size_t n, char *out, size_t *k) {
    static const char plain[] = "\\'\"abfnrtv";
    static const char value[] = "\\'\"\a\b\f\n\r\t\v";
    char c = s[1];
    const char *at = memchr(plain, c, sizeof plain - 1);
    if (at != NULL) {
        out[(*k)++] = value[at - plain];
        return 2;
    }
    if (c == '\n') {
        return 2;
    }
    uint32_t cp = 0;
    size_t used = 2;
    if (c >= '0' && c <= '7') {
        for (used = 1; used < 4 && used < n && s[used] >= '0' && s[used] <= '7'; used++) {
            cp = cp * 8 + (uint32_t)(s[used] - '0');
        }
    } else if (c == 'x' || c == 'u' || c == 'U') {
        size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        if (!lex_hex_escape(l, s + 2, n - 2, digits, &cp)) {
            return 0;
        }
        used += digits;
    } else if (c == 'N') {
        lex_fail_here(l, ERR_UNSUPPORTED, "names of characters in strings are not known");
        return 0;
    } else if ((uint8_t)c >= 0x80) {
        return 1 + lex_escape_foreign(s + 1, n - 1, out, k);
    } else {
        out[(*k)++] = '\\';
        out[(*k)++] = c;
        return 2;
    }
    *k += (size_t)utf8_encode(cp, out + *k);
    return used;
}

/* s[0..n) is what stands between the quotes. */
static bool lex_string_value(struct jlex *l, const char *s, size_t n, struct str *out) {
    if (memchr(s, '\\', n) == NULL) {
        *out = str_of(s, n);
        return true;
    }
    /* a backslash and a character of two bytes become \xNN: the most that three bytes give */
    char *p = arena_alloc(l->arena, 2 * n + 16, 1);
    if (p == NULL) {
        return lex_fail_here(l, ERR_NOMEM, "out of memory");
    }
    size_t k = 0;
    for (size_t i = 0; i < n;) {
        if (s[i] != '\\') {
            p[k++] = s[i++];
            continue;
        }
        size_t used = lex_escape(l, s + i, n - i, p, &k);
        if (used == 0) {
            return false;
        }
        i += used;
    }
    *out = str_of(p, k);
    return true;
}

/* 0: no string starts here. */
static bool lex_string(struct jlex *l, struct jtoken *t) {
    char quote = l->src[l->pos];
    size_t i = l->pos + 1;
    while (i < l->n && l->src[i] != quote) {
        i += l->src[i] == '\\' ? 2 : 1;
    }
    if (i >= l->n) {
        return lex_fail_here(l, ERR_FORMAT, "a string has no end");
    }
    lex_start(l, t, JT_STRING);
    if (!lex_string_value(l, l->src + l->pos + 1, i - l->pos - 1, &t->s)) {
        return false;
    }
    lex_moved(l, i + 1);
    return true;
}

/* (\d+_)*\d+ from i; one past it. */
static size_t lex_digits(const struct jlex *l, size_t i) {
    while (i < l->n && is_digit(l->src[i])) {
        i++;
        if (i + 1 < l->n && l->src[i] == '_' && is_digit(l->src[i + 1])) {
            i++;
        }
    }
    return i;
}

/* One past the float that starts at pos, or 0. */
static size_t lex_float_end(const struct jlex *l) {
    if (l->pos > 0 && l->src[l->pos - 1] == '.') {
        return 0;
    }
    size_t i = lex_digits(l, l->pos);
    bool is_float = false;
    if (i + 1 < l->n && l->src[i] == '.' && is_digit(l->src[i + 1])) {
        i = lex_digits(l, i + 1);
        is_float = true;
    }
    if (i < l->n && (l->src[i] | 0x20) == 'e') {
        size_t d = i + 1;
        if (d < l->n && (l->src[d] == '+' || l->src[d] == '-')) {
            d++;
        }
        if (d < l->n && is_digit(l->src[d])) {
            return lex_digits(l, d);
        }
    }
    return is_float ? i : 0;
}

/* One past the integer that starts at pos, and its base. */
static size_t lex_int_end(const struct jlex *l, int *base) {
    static const char letter[] = "box";
    static const int bases[] = {2, 8, 16};
    size_t i = l->pos;
    const char *which =
        l->src[i] == '0' && i + 1 < l->n ? strchr(letter, l->src[i + 1] | 0x20) : NULL;
    *base = 10;
    if (which != NULL && *which != 0) {
        int b = bases[which - letter];
        size_t d = i + 2;
        size_t end = 0;
        for (;;) {
            size_t at = d < l->n && l->src[d] == '_' ? d + 1 : d;
            int h = at < l->n ? hex_value(l->src[at]) : -1;
            if (h < 0 || h >= b) {
                break;
            }
            end = d = at + 1;
        }
        if (end != 0) {
            *base = b;
            return end;
        }
    }
    if (l->src[i] != '0') {
        return lex_digits(l, i);
    }
    for (i++; i < l->n; i++) { /* 0(_?0)* */
        if (l->src[i] == '_' && i + 1 < l->n && l->src[i + 1] == '0') {
            i++;
        }
        if (l->src[i] != '0') {
            break;
        }
    }
    return i;
}

static bool lex_number(struct jlex *l, struct jtoken *t) {
    size_t end = lex_float_end(l);
    int base = 10;
    lex_start(l, t, end != 0 ? JT_FLOAT : JT_INT);
    if (end == 0) {
        end = lex_int_end(l, &base);
    }
    char digits[128];
    size_t k = 0;
    for (size_t i = l->pos + (base == 10 ? 0 : 2); i < end; i++) {
        if (l->src[i] == '_') {
            continue;
        }
        if (k + 1 >= sizeof digits) {
            return lex_fail_here(l, ERR_UNSUPPORTED, "a number has too many digits");
        }
        digits[k++] = l->src[i];
    }
    digits[k] = 0;
    bool overflow = false;
    if (t->type == JT_FLOAT) {
        t->f = strtod(digits, NULL);
    } else if (!jnum_parse_int(str_of(digits, k), base, &t->i, &overflow)) {
        return lex_fail_here(l, ERR_UNSUPPORTED, "an integer of more than 64 bits");
    }
    lex_moved(l, end);
    return true;
}

/* ---- inside a tag -------------------------------------------------------------------- */

static bool is_name(char c) {
    return c == '_' || is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

static bool lex_bracket(struct jlex *l, char c) {
    if (c == '(' || c == '[' || c == '{') {
        if (l->n_open == l->cap_open) {
            size_t cap = l->cap_open == 0 ? 64 : l->cap_open * 2;
            char *open = arena_alloc(l->arena, cap, 1);
            if (open == NULL) {
                return lex_fail_here(l, ERR_NOMEM, "out of memory");
            }
            if (l->n_open > 0) {
                memcpy(open, l->open, l->n_open);
            }
            l->open = open;
            l->cap_open = cap;
        }
        l->open[l->n_open++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
        if (l->n_open == 0 || l->open[l->n_open - 1] != c) {
            return lex_fail_here(l, ERR_FORMAT, "a bracket is closed that was not opened");
        }
        l->n_open--;
    }
    return true;
}

static bool lex_operator(struct jlex *l, struct jtoken *t) {
    static const char two[][3] = {"//", "**", "==", "!=", ">=", "<="};
    char c = l->src[l->pos];
    size_t n = 0;
    for (size_t i = 0; i < sizeof two / sizeof two[0]; i++) {
        if (lex_at(l, l->pos, two[i])) {
            n = 2;
        }
    }
    if (n == 0 && strchr("+-/*%~[](){}><=.:|,;", c) != NULL && c != 0) {
        n = 1;
    }
    if (n == 0) {
        return lex_fail_here(l, ERR_FORMAT, "a character that means nothing in a tag");
    }
    if (n == 1 && !lex_bracket(l, c)) {
        return false;
    }
    lex_start(l, t, JT_OP);
    t->s = str_of(l->src + l->pos, n);
    lex_moved(l, l->pos + n);
    return true;
}

/* The end of the tag at pos, if it is there and no bracket is open: one past it, else 0. */
static size_t lex_own_end(const struct jlex *l) {
    if (l->n_open > 0) {
        return 0;
    }
    if (l->state == JLEX_BLOCK) {
        return lex_tag_end(l, l->pos, "%}");
    }
    if (lex_at(l, l->pos, "}}")) {
        return l->pos + 2;
    }
    return lex_at(l, l->pos, "-}}") ? lex_space(l, l->pos + 3) : 0;
}

static bool lex_tag(struct jlex *l, struct jtoken *t) {
    size_t end = 0;
    while (l->pos < l->n && (end = lex_own_end(l)) == 0) {
        size_t i = lex_space(l, l->pos);
        if (i == l->pos) {
            break;
        }
        lex_moved(l, i);
    }
    if (l->pos == l->n) {
        lex_start(l, t, JT_EOF);
        return true;
    }
    if (end != 0) {
        lex_start(l, t, l->state == JLEX_BLOCK ? JT_BLOCK_END : JT_VAR_END);
        l->state = JLEX_ROOT;
        lex_moved(l, end);
        return true;
    }
    char c = l->src[l->pos];
    if (is_digit(c)) {
        return lex_number(l, t);
    }
    if (c == '\'' || c == '"') {
        return lex_string(l, t);
    }
    if (!is_name(c)) {
        return lex_operator(l, t);
    }
    size_t i = l->pos;
    while (i < l->n && is_name(l->src[i])) {
        i++;
    }
    lex_start(l, t, JT_NAME);
    t->s = str_of(l->src + l->pos, i - l->pos);
    lex_moved(l, i);
    return true;
}

bool jlex_next(struct jlex *l, struct jtoken *t) {
    for (;;) {
        if (l->n_held > 0) {
            *t = l->held[0];
            l->n_held = 0;
            if (t->type != JT_EOF && (t->type != JT_DATA || t->s.n > 0)) {
                return true;
            }
            continue;
        }
        if (l->state != JLEX_ROOT) {
            return lex_tag(l, t);
        }
        if (l->pos >= l->n) {
            lex_start(l, t, JT_EOF);
            return true;
        }
        if (!lex_text(l, t)) {
            return false;
        }
        if (t->s.n > 0) {
            return true;
        }
    }
}
