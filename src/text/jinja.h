/* jinja.h: chat templates: the part of Jinja2 that real templates use, interpreted.
 *
 * Owns parsing and rendering, with the settings of transformers (trim_blocks, lstrip_blocks, loop
 * controls, tojson without HTML escapes, raise_exception, strftime_now). A template comes from a
 * model file and is hostile: steps, depth and output are bounded, and there is no file, no
 * environment and no host object to reach. What it does not know is an error with line and column.
 * Every byte of the output knows whether the template or the data wrote it (text/runs.h); a string
 * computed from both is as little trusted as its least trusted part, byte by byte.
 * Source: the Jinja2 template designer documentation; behaviour of Jinja2 3.1.
 */
#ifndef IGN_TEXT_JINJA_H
#define IGN_TEXT_JINJA_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "text/runs.h"

struct jinja;

struct jinja_limits {
    uint64_t steps; /* evaluated nodes; 0 = default */
    uint32_t depth; /* of nesting while parsing and of calls while rendering; 0 = default */
    size_t bytes;   /* of output, and of any one string; 0 = default */
    size_t memory;  /* of all values made while rendering; 0 = default */
};

/* Parses src[0..n), at most 1 MiB. ERR_FORMAT, ERR_UNSUPPORTED (with line and column),
 * ERR_LIMIT, ERR_NOMEM. */
enum err_code jinja_create(struct jinja **t, const char *src, size_t n, struct err *e);
void jinja_free(struct jinja *t); /* NULL is fine */

/* A global variable of the template. `trusted`: its strings count as the template's own bytes
 * (bos_token, eos_token), not as data. */
struct jinja_var {
    const char *name;
    const struct json *value;
    bool trusted;
};

/* Renders. `now` is what strftime_now sees, in seconds since 1970, local time. On any error `out`
 * holds nothing new. A raise_exception in the template is ERR_USAGE with its text. */
enum err_code jinja_render(const struct jinja *t, const struct jinja_var *var, size_t n_var,
                           const struct jinja_limits *limits, int64_t now, struct buf *out,
                           struct runs *origin, struct err *e);

#endif
