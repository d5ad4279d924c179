/* toml.h: a small, strict subset of TOML 1.0, read and never trusted.
 *
 * Owns the syntax: comments, [table], key = value with strings ("" and ''), whole numbers, reals,
 * true and false, and arrays of strings. What else TOML has is refused by name. Refuses to know any
 * key: what a file says is understood in settings.c. A byte order mark in front is passed over.
 * Invariant: an entry's texts are what a flag would be given; the same key is not in a table twice.
 */
#ifndef IGN_CONFIG_TOML_H
#define IGN_CONFIG_TOML_H

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"

#define TOML_BYTES_MAX   ((size_t)1 << 20) /* of a file */
#define TOML_ENTRIES_MAX 1000              /* keys and tables of a file, together */

enum toml_kind { TOML_STRING, TOML_INTEGER, TOML_REAL, TOML_BOOL, TOML_ARRAY };

struct toml_table {
    const char *name; /* "": what stands before the first [table] */
    int line;         /* of its name; 0 for "" */
    struct toml_table *next;
};

struct toml_entry {
    const struct toml_table *table;
    const char *key;
    enum toml_kind kind;
    const char **texts; /* [n_text] one, but for an array; no text has a zero byte inside */
    size_t n_text;
    int line, column; /* of the key, in characters, from 1 */
    struct toml_entry *next;
};

struct toml {
    struct arena arena; /* everything below */
    struct toml_table *tables;
    struct toml_entry *entries; /* in the order of the file */
};

/* Reads p[0..n), which is not needed afterwards. ERR_USAGE with line and column: not in the subset;
 * ERR_LIMIT: too large, too many entries; ERR_NOMEM. On failure *t is empty. */
enum err_code toml_parse(struct toml *t, const char *p, size_t n, struct err *e);
void toml_fini(struct toml *t);

/* Appends a basic string with its quotes; `z` is UTF-8. */
void toml_put_string(struct buf *out, const char *z);

#endif
