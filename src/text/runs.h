/* runs.h: where each byte of a text comes from.
 *
 * A prompt is made of the template's own bytes and of bytes that users, tools and files brought.
 * Control tokens match only the former, so every text on its way to the tokenizer carries this
 * list. Owns the list; invariant: ends ascend, neighbours differ in origin, the last end is the
 * length of the text.
 */
#ifndef IGN_TEXT_RUNS_H
#define IGN_TEXT_RUNS_H

#include <stdbool.h>
#include <stddef.h>

struct run {
    size_t end;   /* one past the last byte */
    bool trusted; /* written by the template: control tokens are recognized */
};

struct runs {
    struct run *r;
    size_t n, cap;
    bool failed; /* out of memory; latched, like struct buf */
};

void runs_init(struct runs *rs);
/* Appends n bytes of one origin; joins them with the last run where the origin is the same. */
void runs_put(struct runs *rs, size_t n, bool trusted);
void runs_fini(struct runs *rs);

#endif
