/* err.c: filling, widening and showing a `struct err`.
 *
 * Owns the escaping of what goes into an error: texts quote names from hostile files, and end up
 * on terminals and in logs. Refuses output.
 * Invariant: the three texts of an error are always terminated, valid UTF-8 and free of control
 * characters, whatever was formatted into them.
 */
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

/* Longer than any field of struct err, so that only the field's own size cuts the text. */
#define RAW_MAX 1024

/* C0, DEL and C1 controls, and the characters that reverse or hide the text around them. */
static bool err_is_control(uint32_t cp) {
    return cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || cp == 0x061c || cp == 0x200e || cp == 0x200f ||
           (cp >= 0x2028 && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069);
}

/* Appends raw[0..n) escaped to out [cap], which holds `len` bytes; whole characters or escapes
 * only. Returns the new length. */
static size_t err_escape(char *out, size_t cap, size_t len, const char *raw, size_t n) {
    static const char hex[] = "0123456789abcdef";
    size_t i = 0;
    while (i < n) {
        uint32_t cp;
        int k = utf8_decode(raw + i, n - i, &cp);
        size_t used = (size_t)(k < 0 ? -k : k);
        bool plain = k > 0 && !err_is_control(cp);
        if (len + (plain ? used : 4 * used) >= cap) {
            break;
        }
        for (size_t j = 0; j < used; j++) {
            unsigned char c = (unsigned char)raw[i + j];
            if (plain) {
                out[len++] = (char)c;
            } else {
                memcpy(out + len, (char[]){'\\', 'x', hex[c >> 4], hex[c & 15]}, 4);
                len += 4;
            }
        }
        i += used;
    }
    out[len] = '\0';
    return len;
}

/* Formats into out [cap] after its first `len` bytes. */
static size_t err_format(char *out, size_t cap, size_t len, const char *fmt, va_list ap) {
    char raw[RAW_MAX];
    int n = vsnprintf(raw, sizeof raw, fmt, ap);
    size_t have = n < 0 ? 0 : (size_t)n;
    if (have >= sizeof raw) {
        have = sizeof raw - 1;
        have -= utf8_pending(raw, have);
    }
    return err_escape(out, cap, len, raw, have);
}

/* In parentheses, since under the analyzer the name is a macro too. */
enum err_code(err_set)(struct err *e, enum err_code code, const char *fmt, ...) {
    if (e && e->code == ERR_OK) {
        va_list ap;
        err_clear(e);
        e->code = code;
        va_start(ap, fmt);
        err_format(e->what, sizeof e->what, 0, fmt, ap);
        va_end(ap);
    }
    return code;
}

void err_where(struct err *e, const char *fmt, ...) {
    if (!e) {
        return;
    }
    char inner[sizeof e->where];
    memcpy(inner, e->where, sizeof inner);
    va_list ap;
    va_start(ap, fmt);
    size_t len = err_format(e->where, sizeof e->where, 0, fmt, ap);
    va_end(ap);
    if (inner[0] && len + 2 < sizeof e->where) {
        memcpy(e->where + len, ", ", 3);
        err_escape(e->where, sizeof e->where, len + 2, inner, strlen(inner));
    }
}

void err_hint(struct err *e, const char *fmt, ...) {
    if (e && !e->hint[0]) {
        va_list ap;
        va_start(ap, fmt);
        err_format(e->hint, sizeof e->hint, 0, fmt, ap);
        va_end(ap);
    }
}

void err_clear(struct err *e) {
    if (e) {
        e->code = ERR_OK;
        e->what[0] = e->where[0] = e->hint[0] = '\0';
    }
}

const char *err_line(const struct err *e, char *out, size_t n) {
    const char *what = e->what[0] ? e->what : err_name(e->code);
    const char *parts[] = {
        what,    e->where[0] ? " (" : "", e->where, e->where[0] ? ")" : "", e->hint[0] ? "; " : "",
        e->hint,
    };
    size_t len = 0;
    if (n) {
        out[0] = '\0';
    }
    for (size_t i = 0; n && i < sizeof parts / sizeof parts[0]; i++) {
        len = err_escape(out, n, len, parts[i], strlen(parts[i]));
    }
    return out;
}

const char *err_name(enum err_code code) {
    static const char *const names[ERR_N] = {
        [ERR_OK] = "ok",         [ERR_NOMEM] = "no_memory",
        [ERR_IO] = "io",         [ERR_NOTFOUND] = "not_found",
        [ERR_FORMAT] = "format", [ERR_UNSUPPORTED] = "unsupported",
        [ERR_USAGE] = "usage",   [ERR_RANGE] = "range",
        [ERR_NOFIT] = "no_fit",  [ERR_DEVICE] = "device",
        [ERR_LIMIT] = "limit",   [ERR_CANCELLED] = "cancelled",
    };
    return (unsigned)code < ERR_N ? names[code] : "unknown";
}
