/* json.h: the one place that knows the JSON library (jansson), and a streaming writer of our own.
 *
 * Reading is strict: duplicate keys, broken UTF-8, lone surrogates, numbers out of range, more
 * than 64 levels and trailing text are errors with line and column. A parsed document is one
 * object that is freed whole; nodes are borrowed from it. Object members keep file order.
 * The writer appends to a `struct buf`, escapes what must be, and turns broken UTF-8 into U+FFFD.
 */
#ifndef IGN_BASE_JSON_H
#define IGN_BASE_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct json; /* any node */

/* The names stay clear of jansson's, which are JSON_NULL, json_string() and so on. */
enum json_kind {
    JSON_IS_NULL,
    JSON_IS_BOOL,
    JSON_IS_INT,
    JSON_IS_REAL,
    JSON_IS_STR,
    JSON_IS_ARRAY,
    JSON_IS_OBJECT
};

enum err_code json_parse(const char *p, size_t n, struct json **root, struct err *e);
void json_free(struct json *root); /* NULL is fine */

enum json_kind json_kind(const struct json *j);
/* The value of a node of that kind; false, 0 or the empty string for any other. */
bool json_bool(const struct json *j);
int64_t json_int(const struct json *j);
double json_num(const struct json *j); /* of an integer or a real */
struct str json_str(const struct json *j);
size_t json_count(const struct json *j);                             /* elements or members */
const struct json *json_at(const struct json *j, size_t i);          /* element i */
const struct json *json_find(const struct json *j, const char *key); /* NULL if absent */

/* Members in file order: *iter = NULL starts; false at the end. */
bool json_next(const struct json *j, void **iter, struct str *key, const struct json **value);

struct json_writer {
    struct buf *out;
    unsigned depth;
    uint64_t comma; /* bit per level: an element has been written */
    bool after_key;
};

void json_writer_init(struct json_writer *w, struct buf *out);
void json_open(struct json_writer *w, char bracket); /* '{' or '[' */
void json_close(struct json_writer *w, char bracket);
void json_key(struct json_writer *w, const char *key);
void json_put_str(struct json_writer *w, struct str s);
void json_put_z(struct json_writer *w, const char *z); /* NULL becomes null */
void json_put_int(struct json_writer *w, int64_t v);
void json_put_uint(struct json_writer *w, uint64_t v);
void json_put_real(struct json_writer *w, double v); /* not finite becomes null */
void json_put_float(struct json_writer *w, float v); /* in as few digits as give the same float */
void json_put_bool(struct json_writer *w, bool v);
void json_put_null(struct json_writer *w);
/* A key and its value. */
void json_member_int(struct json_writer *w, const char *key, int64_t v);
void json_member_uint(struct json_writer *w, const char *key, uint64_t v);
void json_member_real(struct json_writer *w, const char *key, double v);
void json_member_z(struct json_writer *w, const char *key, const char *z);
void json_member_or_null(struct json_writer *w, const char *key, const char *z);   /* "" is null */
void json_member_uint_or_null(struct json_writer *w, const char *key, uint64_t v); /* 0 is null */
void json_put_raw(struct json_writer *w, struct str json); /* a whole value, not looked at */

#endif
