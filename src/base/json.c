/* json.c: the adapter of jansson, and the JSON writer.
 *
 * Owns the only include of <jansson.h> and the bounds that jansson does not know: depth 64.
 * A `struct json *` is a `json_t *`; nobody else can tell. Its memory goes through mem.h.
 * Invariant: the writer's output is valid JSON whatever strings and numbers it was given, as
 * long as brackets are closed in order.
 */
#include "base/json.h"

#include <jansson.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

#define DEPTH_MAX 64

static const json_t *node(const struct json *j) {
    return (const json_t *)j;
}

/* The parser takes some refusals of memory for mistakes in the text: this tells them apart. */
static _Thread_local bool refused;

static void *json_malloc(size_t n) {
    void *p = mem_alloc(n, 1);
    refused |= !p;
    return p;
}

static enum err_code refuse_at(enum err_code code, size_t line, size_t column, struct err *e) {
    if (code == ERR_LIMIT) {
        err_set(e, code, "JSON is more than %d levels deep", DEPTH_MAX);
    } else {
        err_set(e, code, "not valid JSON: a zero byte");
    }
    err_where(e, "line %zu, column %zu", line, column);
    return code;
}

/* Checks the depth before the library recurses: bracket counting outside of strings suffices. And
 * that no byte is zero, for the library takes one for the text's end. */
static enum err_code json_check_bytes(const char *p, size_t n, struct err *e) {
    size_t depth = 0, line = 1, start = 0;
    bool quoted = false;
    for (size_t i = 0; i < n; i++) {
        char c = p[i];
        if (c == '\n') {
            line++;
            start = i + 1;
        }
        if (c == '\0') {
            return refuse_at(ERR_FORMAT, line, i - start + 1, e);
        }
        if (quoted) {
            i += c == '\\';
            quoted = c != '"';
        } else if (c == '"') {
            quoted = true;
        } else if (c == '[' || c == '{') {
            if (++depth > DEPTH_MAX) {
                return refuse_at(ERR_LIMIT, line, i - start + 1, e);
            }
        } else if ((c == ']' || c == '}') && depth) {
            depth--;
        }
    }
    return ERR_OK;
}

enum err_code json_parse(const char *p, size_t n, struct json **root, struct err *e) {
    static atomic_int ready; /* 0: nobody yet, 1: somebody is at it, 2: done */
    int zero = 0;
    if (atomic_compare_exchange_strong(&ready, &zero, 1)) {
        json_set_alloc_funcs(json_malloc, mem_free);
        atomic_store(&ready, 2);
    }
    while (atomic_load(&ready) != 2) {
    }
    *root = NULL;
    enum err_code code = json_check_bytes(p, n, e);
    if (code) {
        return code;
    }
    json_error_t why;
    refused = false;
    json_t *j =
        json_loadb(n ? p : "", n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
    if (j) {
        *root = (struct json *)j;
        return ERR_OK;
    }
    if (refused || json_error_code(&why) == json_error_out_of_memory) {
        return err_set(e, ERR_NOMEM, "out of memory reading JSON");
    }
    /* The library repeats what it stumbled over: a key or a prompt, for all that we know. */
    char *near = strstr(why.text, " near '");
    if (near) {
        *near = '\0';
    }
    err_set(e, ERR_FORMAT, "not valid JSON: %s", why.text);
    err_where(e, "line %d, column %d", why.line, why.column);
    return ERR_FORMAT;
}

void json_free(struct json *root) {
    json_decref((json_t *)root);
}

enum json_kind json_kind(const struct json *j) {
    if (!j) { /* a member that json_find has not found */
        return JSON_IS_NULL;
    }
    switch (json_typeof(node(j))) {
    case JSON_OBJECT: return JSON_IS_OBJECT;
    case JSON_ARRAY: return JSON_IS_ARRAY;
    case JSON_STRING: return JSON_IS_STR;
    case JSON_INTEGER: return JSON_IS_INT;
    case JSON_REAL: return JSON_IS_REAL;
    case JSON_TRUE:
    case JSON_FALSE: return JSON_IS_BOOL;
    default: return JSON_IS_NULL;
    }
}

bool json_bool(const struct json *j) {
    return json_is_true(node(j));
}

int64_t json_int(const struct json *j) {
    return json_integer_value(node(j));
}

double json_num(const struct json *j) {
    return json_number_value(node(j));
}

struct str json_str(const struct json *j) {
    const char *p = json_string_value(node(j));
    return p ? str_of(p, json_string_length(node(j))) : str_of("", 0);
}

size_t json_count(const struct json *j) {
    return json_is_object(node(j)) ? json_object_size(node(j)) : json_array_size(node(j));
}

const struct json *json_at(const struct json *j, size_t i) {
    return (const struct json *)json_array_get(node(j), i);
}

const struct json *json_find(const struct json *j, const char *key) {
    return (const struct json *)json_object_get(node(j), key);
}

bool json_next(const struct json *j, void **iter, struct str *key, const struct json **value) {
    json_t *object = (json_t *)(uintptr_t)node(j); /* jansson's iterators are not const */
    *iter = *iter ? json_object_iter_next(object, *iter) : json_object_iter(object);
    if (!*iter) {
        return false;
    }
    *key = str_of(json_object_iter_key(*iter), json_object_iter_key_len(*iter));
    *value = (const struct json *)json_object_iter_value(*iter);
    return true;
}

/* ---- writer ---------------------------------------------------------------------------- */

void json_writer_init(struct json_writer *w, struct buf *out) {
    *w = (struct json_writer){.out = out};
}

/* The comma before an element of an array or a key of an object; nothing before a value. */
static void json_separate(struct json_writer *w) {
    if (w->after_key) {
        w->after_key = false;
        return;
    }
    if (w->depth) {
        uint64_t bit = (uint64_t)1 << (w->depth - 1);
        if (w->comma & bit) {
            buf_putc(w->out, ',');
        }
        w->comma |= bit;
    }
}

void json_open(struct json_writer *w, char bracket) {
    json_separate(w);
    if (w->depth == DEPTH_MAX) {
        w->out->failed = true;
        return;
    }
    w->comma &= ~((uint64_t)1 << w->depth);
    w->depth++;
    buf_putc(w->out, bracket);
}

void json_close(struct json_writer *w, char bracket) {
    w->depth -= w->depth > 0;
    buf_putc(w->out, bracket);
}

static void json_quote(struct json_writer *w, const char *p, size_t n) {
    buf_putc(w->out, '"');
    size_t i = 0, done = 0;
    while (i < n) {
        uint32_t cp;
        int k = utf8_decode(p + i, n - i, &cp);
        size_t used = (size_t)(k < 0 ? -k : k);
        if (k < 0 || cp < 0x20 || cp == 0x7f || cp == '"' || cp == '\\') {
            buf_put(w->out, p + done, i - done);
            if (cp == '"' || cp == '\\') {
                buf_put(w->out, (char[]){'\\', (char)cp}, 2);
            } else if (cp == '\n') {
                buf_puts(w->out, "\\n");
            } else if (cp == '\t') {
                buf_puts(w->out, "\\t");
            } else if (cp == '\r') {
                buf_puts(w->out, "\\r");
            } else if (k < 0) {
                buf_puts(w->out, "\xef\xbf\xbd");
            } else {
                buf_printf(w->out, "\\u%04x", (unsigned)cp);
            }
            done = i + used;
        }
        i += used;
    }
    buf_put(w->out, p + done, n - done);
    buf_putc(w->out, '"');
}

void json_key(struct json_writer *w, const char *key) {
    json_separate(w);
    json_quote(w, key, strlen(key));
    buf_putc(w->out, ':');
    w->after_key = true;
}

void json_put_str(struct json_writer *w, struct str s) {
    json_separate(w);
    json_quote(w, s.p, s.n);
}

void json_put_z(struct json_writer *w, const char *z) {
    if (z) {
        json_put_str(w, str_c(z));
    } else {
        json_put_null(w);
    }
}

void json_put_int(struct json_writer *w, int64_t v) {
    json_separate(w);
    buf_printf(w->out, "%lld", (long long)v);
}

void json_put_uint(struct json_writer *w, uint64_t v) {
    json_separate(w);
    buf_printf(w->out, "%llu", (unsigned long long)v);
}

/* The shortest text, tried from `digits` digits on, that reads back as v (with `single`: as the
 * same float), with a point or an exponent in it.
 */
static void json_shortest(struct json_writer *w, double v, int digits, bool single) {
    char text[40];
    if (!isfinite(v)) {
        json_put_null(w);
        return;
    }
    bool same = false;
    for (; !same && digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        same = single ? strtof(text, NULL) == (float)v : strtod(text, NULL) == v;
    }
    json_separate(w);
    buf_puts(w->out, text);
    if (!strpbrk(text, ".e")) {
        buf_puts(w->out, ".0");
    }
}

void json_put_real(struct json_writer *w, double v) {
    json_shortest(w, v, 15, false);
}

void json_put_float(struct json_writer *w, float v) {
    json_shortest(w, (double)v, 6, true);
}

void json_put_bool(struct json_writer *w, bool v) {
    json_separate(w);
    buf_puts(w->out, v ? "true" : "false");
}

void json_put_null(struct json_writer *w) {
    json_separate(w);
    buf_puts(w->out, "null");
}

void json_put_raw(struct json_writer *w, struct str json) {
    json_separate(w);
    buf_put(w->out, json.p, json.n);
}

void json_member_int(struct json_writer *w, const char *key, int64_t v) {
    json_key(w, key);
    json_put_int(w, v);
}

void json_member_uint(struct json_writer *w, const char *key, uint64_t v) {
    json_key(w, key);
    json_put_uint(w, v);
}

void json_member_real(struct json_writer *w, const char *key, double v) {
    json_key(w, key);
    json_put_real(w, v);
}

void json_member_z(struct json_writer *w, const char *key, const char *z) {
    json_key(w, key);
    json_put_z(w, z);
}

void json_member_or_null(struct json_writer *w, const char *key, const char *z) {
    json_member_z(w, key, z && z[0] ? z : NULL);
}

void json_member_uint_or_null(struct json_writer *w, const char *key, uint64_t v) {
    json_key(w, key);
    if (v) {
        json_put_uint(w, v);
    } else {
        json_put_null(w);
    }
}
