/* json_scan.h: JSON read from front to back, for texts too long to be held as a tree.
 *
 * Owns the grammar (RFC 8259): strict UTF-8, no lone surrogates, no control characters, at most 64
 * levels, nothing behind the value. What json.h takes is taken here, too. Nothing is allocated and
 * nothing recurses. Refuses meaning: numbers are not evaluated, and whether a key is there twice
 * is for the reader to find.
 * Failure is latched: after an error every question is answered with false, and `code` says it.
 * The text is walked like this:
 *
 *     json_scan_begin(&s, text, n, e);
 *     json_scan_open(&s, '{');
 *     while (json_scan_next(&s, &key)) {     stands before the value of `key`
 *         json_scan_value(&s, &value);       or json_scan_open, and so on
 *     }
 *     code = json_scan_end(&s);
 */
#ifndef IGN_BASE_JSON_SCAN_H
#define IGN_BASE_JSON_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/json.h"

struct json_scan {
    const char *p;
    size_t n, at;
    unsigned depth;
    uint64_t objects; /* bit per level: an object, else an array */
    bool first;       /* no element of the innermost level has been read */
    enum err_code code;
    struct err *e;
};

/* A string's text is what stands between the quotes, escapes and all. */
struct json_value {
    enum json_kind kind;
    struct str text; /* of the whole value */
};

/* Views into p[0..n), which must outlive the walk. */
void json_scan_begin(struct json_scan *s, const char *p, size_t n, struct err *e);
/* Enters an object or an array; ERR_FORMAT if the value is none. */
bool json_scan_open(struct json_scan *s, char bracket);
/* Goes to the next member (its key as it stands in the text; may be NULL) or element of the
 * innermost level; false behind the last, the level is left then. */
bool json_scan_next(struct json_scan *s, struct str *key);
/* Reads one whole value, checked to its end. */
bool json_scan_value(struct json_scan *s, struct json_value *v);
/* ERR_OK if the text was read without an error and holds nothing more. */
enum err_code json_scan_end(struct json_scan *s);
/* Latches an error of the reader's own, with the place; its text is in *e already. */
void json_scan_fail(struct json_scan *s, enum err_code code);

/* The text of a string, unescaped: out has room for text.n bytes; returns how many were used.
 * `text` comes from a scan that went well. */
size_t json_unescape(struct str text, char *out);
/* Whether a string says z (which has no escapes, and at most 63 bytes). */
bool json_text_is(struct str text, const char *z);
/* The value of a whole number from 0 to 2^64 - 1; false for any other. */
bool json_text_u64(const struct json_value *v, uint64_t *u);

#endif
