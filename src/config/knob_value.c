/* knob_value.c: from a text to a value of a knob's type, within its bounds.
 *
 * Owns what a number, a size and a switch may look like. Refuses to repair: a text that is not
 * wholly a value is an error that says what would be one.
 */
#include "config/knob_value.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool word_among(const char *word, const char *choices) {
    size_t n = strlen(word);
    for (const char *at = choices; n && at; at = strchr(at, '|')) {
        at += *at == '|';
        size_t len = strcspn(at, "|");
        if (len == n && memcmp(at, word, n) == 0) {
            return true;
        }
    }
    return false;
}

/* Digits with an optional sign: no spaces, no base prefix, nothing after them. */
static bool word_is_integer(const char *s) {
    s += *s == '-';
    return *s && s[strspn(s, "0123456789")] == '\0';
}

/* ---- sizes ------------------------------------------------------------------------------ */

static const char size_prefix[] = "kmgt";

/* What a unit stands for: K, KiB are 1024 bytes, KB is 1000; so for M, G, T. Capitals or not. 0 if
 * it is none. */
static double size_unit(const char *unit) {
    char low[4] = "";
    size_t n = strlen(unit);
    if (n >= sizeof low) {
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        low[i] = (char)tolower((unsigned char)unit[i]);
    }
    if (n == 0 || strcmp(low, "b") == 0) {
        return 1;
    }
    const char *prefix = strchr(size_prefix, low[0]);
    bool decimal = strcmp(low + 1, "b") == 0;
    if (!prefix || (n > 1 && !decimal && strcmp(low + 1, "ib") != 0)) {
        return 0;
    }
    return pow(decimal ? 1000 : 1024, (double)(prefix - size_prefix + 1));
}

/* In the largest unit that leaves a whole number: "64MiB". */
static const char *size_text(double bytes, char *out, size_t n) {
    int unit = -1;
    for (; size_prefix[unit + 1] && bytes >= 1024 && fmod(bytes, 1024) == 0; unit++) {
        bytes /= 1024;
    }
    snprintf(out, n, unit < 0 ? "%.0f" : "%.0f%ciB", bytes,
             unit < 0 ? 0 : toupper((unsigned char)size_prefix[unit]));
    return out;
}

/* ---- bounds ----------------------------------------------------------------------------- */

/* "0..2", "64MiB..8TiB", "f16|f32"; empty where there are none. */
static void bounds_text(const struct knob *k, char *out, size_t n) {
    char least[32], most[32];
    switch (k->type) {
    case KNOB_CHOICE: snprintf(out, n, "%s", k->choices); break;
    case KNOB_SIZE:
        snprintf(out, n, "%s..%s", size_text(k->min, least, sizeof least),
                 size_text(k->max, most, sizeof most));
        break;
    case KNOB_INT:
    case KNOB_REAL: snprintf(out, n, "%.15g..%.15g", k->min, k->max); break;
    default: out[0] = '\0';
    }
}

void knob_bounds(const struct knob *k, char *out, size_t n) {
    bounds_text(k, out, n);
    bool is_open = (k->type == KNOB_SIZE && k->max >= KNOB_SIZE_MAX) ||
                   ((k->type == KNOB_INT || k->type == KNOB_REAL) && k->max >= INT32_MAX);
    char *dots = is_open ? strstr(out, "..") : NULL;
    if (dots) {
        snprintf(dots, n - (size_t)(dots - out), " or more");
    }
}

/* `wrong`: what the text is not; NULL: it is out of its bounds. */
static enum err_code value_refuse(const struct knob *k, const char *text, const char *wrong,
                                  struct err *e) {
    char bounds[160];
    bounds_text(k, bounds, sizeof bounds);
    err_set(e, ERR_RANGE, "%s is not %s%s", text, wrong ? wrong : "in ", wrong ? "" : bounds);
    err_hint(e, "take a value of %s", bounds);
    return ERR_RANGE;
}

/* ---- values ----------------------------------------------------------------------------- */

static enum err_code value_int(struct value *v, bool lifted, struct err *e) {
    const struct knob *k = v->knob;
    const char *text = v->text;
    if (!word_is_integer(text)) {
        return value_refuse(v->knob, text, "a whole number", e);
    }
    errno = 0;
    long long i = strtoll(text, NULL, 10);
    bool passes = lifted || (v->origin != KNOB_DEFAULT && (k->flags & KNOB_MAY_PASS));
    double most = passes && k->max < INT32_MAX ? INT32_MAX : k->max;
    if (errno || (double)i < k->min || (double)i > most) {
        return value_refuse(k, text, NULL, e);
    }
    v->i = i;
    return ERR_OK;
}

static enum err_code value_uint64(struct value *v, struct err *e) {
    const char *text = v->text;
    errno = 0;
    v->u = strtoull(text, NULL, 10);
    if (errno || *text == '-' || !word_is_integer(text)) {
        err_set(e, ERR_RANGE, "%s is not a whole number in 0..%" PRIu64, text, UINT64_MAX);
        err_hint(e, "take a value of 0..%" PRIu64, UINT64_MAX);
        return ERR_RANGE;
    }
    return ERR_OK;
}

static enum err_code value_real(struct value *v, struct err *e) {
    const char *text = v->text;
    char *end;
    /* strtod also takes spaces, hexadecimal, "inf" and "nan". */
    if (!*text || text[strspn(text, "0123456789+-.eE")] != '\0') {
        return value_refuse(v->knob, text, "a number", e);
    }
    double r = strtod(text, &end);
    if (*end || !isfinite(r)) {
        return value_refuse(v->knob, text, "a number", e);
    }
    if (r < v->knob->min || r > v->knob->max) {
        return value_refuse(v->knob, text, NULL, e);
    }
    v->r = r;
    return ERR_OK;
}

/* A number, with a point perhaps, and a unit behind it. */
static enum err_code value_size(struct value *v, struct err *e) {
    const char *text = v->text, *unit = text + strspn(text, "0123456789.");
    char *end;
    double bytes = strtod(text, &end) * size_unit(unit);
    if (unit == text || end != unit || size_unit(unit) == 0) {
        return value_refuse(v->knob, text, "a size like 8GiB, 1.5G, 500MB or 1048576", e);
    }
    if (bytes < v->knob->min || bytes > v->knob->max) {
        return value_refuse(v->knob, text, NULL, e);
    }
    v->u = (uint64_t)bytes;
    return ERR_OK;
}

static enum err_code value_bool(struct value *v, struct err *e) {
    const char *text = v->text;
    v->b = word_among(text, "true|1|yes|on");
    if (!v->b && !word_among(text, "false|0|no|off")) {
        err_set(e, ERR_RANGE, "%s is neither true nor false", text);
        err_hint(e, "take one of the two");
        return ERR_RANGE;
    }
    return ERR_OK;
}

enum err_code value_set(struct value *v, bool lifted, struct err *e) {
    switch (v->knob->type) {
    case KNOB_BOOL: return value_bool(v, e);
    case KNOB_INT: return value_int(v, lifted, e);
    case KNOB_UINT64: return value_uint64(v, e);
    case KNOB_REAL: return value_real(v, e);
    case KNOB_SIZE: return value_size(v, e);
    case KNOB_CHOICE:
        if (!word_among(v->text, v->knob->choices)) {
            err_set(e, ERR_RANGE, "%s is not one of %s", v->text, v->knob->choices);
            err_hint(e, "take one of these");
            return ERR_RANGE;
        }
        return ERR_OK;
    case KNOB_STR:
    case KNOB_LIST: return ERR_OK;
    }
    return ERR_OK;
}
