/* json_scan.c: see json_scan.h.
 */
#include "base/json_scan.h"

#include <string.h>

#include "base/utf8.h"

#define DEPTH_MAX 64

/* ---- where we are ------------------------------------------------------------------------- */

void json_scan_fail(struct json_scan *s, enum err_code code) {
    size_t line = 1, start = 0;
    if (s->code) {
        return;
    }
    s->code = code;
    for (size_t i = 0; i < s->at && i < s->n; i++) {
        if (s->p[i] == '\n') {
            line++;
            start = i + 1;
        }
    }
    err_where(s->e, "line %zu, column %zu", line, s->at - start + 1);
}

static bool fail(struct json_scan *s, const char *what) {
    if (!s->code) {
        err_set(s->e, ERR_FORMAT, "not valid JSON: %s", what);
        json_scan_fail(s, ERR_FORMAT);
    }
    return false;
}

/* Indents are most of some files: eight blanks at a time. */
static void skip_space(struct json_scan *s) {
    const char *p = s->p;
    size_t at = s->at, n = s->n;
    while (at < n && (p[at] == ' ' || p[at] == '\n' || p[at] == '\t' || p[at] == '\r')) {
        at++;
        while (n - at >= 8 && memcmp(p + at, "        ", 8) == 0) {
            at += 8;
        }
    }
    s->at = at;
}

/* The next character that is no white space; 0 at the end (and for a zero byte, which fits
 * nowhere). */
static char peek(struct json_scan *s) {
    skip_space(s);
    return s->at < s->n ? s->p[s->at] : '\0';
}

/* ---- strings ------------------------------------------------------------------------------ */

static int hex(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The unit of "uXXXX" at p[0..n); -1 if there is none. */
static int32_t unit(const char *p, size_t n) {
    int32_t u = 0;
    if (n < 5 || p[0] != 'u') {
        return -1;
    }
    for (int i = 1; i < 5; i++) {
        int h = hex(p[i]);
        if (h < 0) {
            return -1;
        }
        u = u * 16 + h;
    }
    return u;
}

/* The escape at p[0..n), behind its backslash: the character, and the bytes used; 0: none. */
static size_t escape(const char *p, size_t n, uint32_t *cp) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *at = n && p[0] ? strchr(from, p[0]) : NULL;
    if (at) {
        *cp = (uint32_t)to[at - from];
        return 1;
    }
    int32_t u = unit(p, n);
    if (u < 0 || (u >= 0xDC00 && u <= 0xDFFF)) {
        return 0;
    }
    *cp = (uint32_t)u;
    if (u < 0xD800 || u > 0xDBFF) {
        return 5;
    }
    int32_t low = n > 6 && p[5] == '\\' ? unit(p + 6, n - 6) : -1;
    if (low < 0xDC00 || low > 0xDFFF) {
        return 0;
    }
    *cp = 0x10000 + ((uint32_t)(u - 0xD800) << 10) + (uint32_t)(low - 0xDC00);
    return 11;
}

/* Whether some byte of eight is not ASCII that stands for itself in a string: the highest bit of
 * each one that is, and of none before the first. */
static uint64_t unlike_text(uint64_t w) {
    const uint64_t one = 0x0101010101010101u, high = 0x8080808080808080u;
    uint64_t quote = w ^ one * '"', back = w ^ one * '\\';
    return (w | ((quote - one) & ~quote) | ((back - one) & ~back) | ((w - one * 0x20) & ~w)) & high;
}

/* How many bytes at p[0..n) are ASCII that stands for itself. */
static size_t plain_run(const char *p, size_t n) {
    size_t i = 0;
    for (; n - i >= 8; i += 8) {
        uint64_t w;
        memcpy(&w, p + i, 8);
        if ((w = unlike_text(w))) {
            return i + (size_t)__builtin_ctzll(w) / 8;
        }
    }
    while (i < n && (unsigned char)p[i] < 0x80 && (unsigned char)p[i] >= 0x20 && p[i] != '"' &&
           p[i] != '\\') {
        i++;
    }
    return i;
}

/* Reads a string, its first quote included. */
static bool string(struct json_scan *s, struct str *text) {
    size_t start = ++s->at;
    uint32_t cp;
    for (;;) {
        s->at += plain_run(s->p + s->at, s->n - s->at);
        if (s->at == s->n) {
            break;
        }
        unsigned char c = (unsigned char)s->p[s->at];
        if (c == '"') {
            *text = str_of(s->p + start, s->at++ - start);
            return true;
        }
        if (c < 0x20) {
            return fail(s, "a control character in a string");
        }
        if (c == '\\') {
            size_t used = escape(s->p + s->at + 1, s->n - s->at - 1, &cp);
            if (!used) {
                return fail(s, "an escape that stands for no character");
            }
            s->at += 1 + used;
        } else {
            int len = utf8_decode(s->p + s->at, s->n - s->at, &cp);
            if (len < 0) {
                return fail(s, "a string is not UTF-8");
            }
            s->at += (size_t)len;
        }
    }
    return fail(s, "the text ends inside a string");
}

size_t json_unescape(struct str text, char *out) {
    size_t n = 0;
    for (size_t i = 0; i < text.n;) {
        const char *back = memchr(text.p + i, '\\', text.n - i);
        size_t run = back ? (size_t)(back - text.p) - i : text.n - i;
        memcpy(out + n, text.p + i, run);
        n += run;
        i += run;
        if (back) {
            uint32_t cp = UTF8_BAD;
            i += 1 + escape(text.p + i + 1, text.n - i - 1, &cp);
            n += (size_t)utf8_encode(cp, out + n);
        }
    }
    return n;
}

bool json_text_is(struct str text, const char *z) {
    char out[384]; /* each character may be an escape of six */
    if (text.n == strlen(z)) {
        return str_is(text, z);
    }
    return text.n <= sizeof out && memchr(text.p, '\\', text.n) &&
           str_is(str_of(out, json_unescape(text, out)), z);
}

/* ---- numbers and words -------------------------------------------------------------------- */

static bool digits(struct json_scan *s) {
    size_t start = s->at;
    while (s->at < s->n && s->p[s->at] >= '0' && s->p[s->at] <= '9') {
        s->at++;
    }
    return s->at > start;
}

static bool number(struct json_scan *s, enum json_kind *kind) {
    *kind = JSON_IS_INT;
    s->at += s->p[s->at] == '-';
    size_t start = s->at;
    if (!digits(s) || (s->p[start] == '0' && s->at - start > 1)) {
        return fail(s, "not a number");
    }
    if (s->at < s->n && s->p[s->at] == '.') {
        *kind = JSON_IS_REAL;
        s->at++;
        if (!digits(s)) {
            return fail(s, "a number without digits behind its point");
        }
    }
    if (s->at < s->n && (s->p[s->at] == 'e' || s->p[s->at] == 'E')) {
        *kind = JSON_IS_REAL;
        s->at++;
        s->at += s->at < s->n && (s->p[s->at] == '+' || s->p[s->at] == '-');
        if (!digits(s)) {
            return fail(s, "a number without digits in its exponent");
        }
    }
    return true;
}

bool json_text_u64(const struct json_value *v, uint64_t *u) {
    *u = 0;
    if (v->kind != JSON_IS_INT || v->text.p[0] == '-') {
        return false;
    }
    for (size_t i = 0; i < v->text.n; i++) {
        if (__builtin_mul_overflow(*u, (uint64_t)10, u) ||
            __builtin_add_overflow(*u, (uint64_t)(v->text.p[i] - '0'), u)) {
            return false;
        }
    }
    return true;
}

static bool word(struct json_scan *s, enum json_kind *kind) {
    static const struct {
        const char *text;
        enum json_kind kind;
    } words[] = {{"true", JSON_IS_BOOL}, {"false", JSON_IS_BOOL}, {"null", JSON_IS_NULL}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (str_starts(str_of(s->p + s->at, s->n - s->at), words[i].text)) {
            s->at += strlen(words[i].text);
            *kind = words[i].kind;
            return true;
        }
    }
    return fail(s, s->at < s->n ? "a value was expected" : "the text ends where a value should be");
}

/* ---- levels ------------------------------------------------------------------------------- */

static bool in_object(const struct json_scan *s) {
    return s->objects >> (s->depth - 1) & 1;
}

static bool enter(struct json_scan *s, char bracket) {
    if (s->depth == DEPTH_MAX) {
        err_set(s->e, ERR_LIMIT, "JSON is more than %d levels deep", DEPTH_MAX);
        json_scan_fail(s, ERR_LIMIT);
        return false;
    }
    uint64_t bit = (uint64_t)1 << s->depth++;
    s->objects = bracket == '{' ? s->objects | bit : s->objects & ~bit;
    s->first = true;
    s->at++;
    return true;
}

void json_scan_begin(struct json_scan *s, const char *p, size_t n, struct err *e) {
    *s = (struct json_scan){.p = p, .n = n, .e = e};
}

bool json_scan_open(struct json_scan *s, char bracket) {
    if (s->code) {
        return false;
    }
    if (peek(s) != bracket) {
        err_set(s->e, ERR_FORMAT, "%s was expected", bracket == '{' ? "an object" : "an array");
        json_scan_fail(s, ERR_FORMAT);
        return false;
    }
    return enter(s, bracket);
}

bool json_scan_next(struct json_scan *s, struct str *key) {
    struct str unused;
    if (s->code || !s->depth) {
        return false;
    }
    bool object = in_object(s);
    char c = peek(s);
    if (c == (object ? '}' : ']')) {
        s->at++;
        s->depth--;
        s->first = false;
        return false;
    }
    if (!s->first) {
        if (c != ',') {
            return fail(s, s->at < s->n ? "a comma or the end of the list was expected"
                                        : "the text ends inside a list");
        }
        s->at++;
    }
    s->first = false;
    if (!object) {
        return true;
    }
    if (peek(s) != '"') {
        return fail(s, "a key was expected");
    }
    if (!string(s, key ? key : &unused)) {
        return false;
    }
    if (peek(s) != ':') {
        return fail(s, "a colon was expected");
    }
    s->at++;
    return true;
}

static bool scalar(struct json_scan *s, char c, struct json_value *v) {
    size_t start = s->at;
    if (c == '"') {
        v->kind = JSON_IS_STR;
        return string(s, &v->text);
    }
    bool is_number = c == '-' || (c >= '0' && c <= '9');
    if (!(is_number ? number(s, &v->kind) : word(s, &v->kind))) {
        return false;
    }
    v->text = str_of(s->p + start, s->at - start);
    return true;
}

bool json_scan_value(struct json_scan *s, struct json_value *v) {
    struct json_value inner;
    unsigned base = s->depth;
    bool more = true;
    if (s->code) {
        return false;
    }
    char c = peek(s);
    if (c != '{' && c != '[') {
        return scalar(s, c, v);
    }
    size_t start = s->at;
    while (more) { /* stands before a value */
        c = peek(s);
        if (!(c == '{' || c == '[' ? enter(s, c) : scalar(s, c, &inner))) {
            return false;
        }
        more = false;
        while (s->depth > base && !s->code && !more) {
            more = json_scan_next(s, NULL);
        }
    }
    v->kind = s->p[start] == '{' ? JSON_IS_OBJECT : JSON_IS_ARRAY;
    v->text = str_of(s->p + start, s->at - start);
    return !s->code;
}

enum err_code json_scan_end(struct json_scan *s) {
    if (!s->code && peek(s) == '\0' && s->at == s->n) {
        return s->depth ? (fail(s, "the text ends inside a list"), s->code) : ERR_OK;
    }
    fail(s, "there is more text behind the value");
    return s->code;
}
