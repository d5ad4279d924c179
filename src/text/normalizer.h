/* normalizer.h: how a tokenizer changes a text before it is cut into words.
 *
 * Owns the steps of a tokenizer.json's "normalizer" that this program knows, as plain data, and
 * their meaning. What a step makes of untrusted bytes is untrusted. Refuses to read files.
 * Invariant: valid UTF-8 in, valid UTF-8 out; each step takes time O(n log n), and its text is at
 * most NORMALIZER_GROWTH times as long as the one that came in (ERR_LIMIT).
 * Sources: the `normalizers` of the tokenizers library; for the map of characters SentencePiece's
 * normalizer.cc and Yata's darts-clone, whose array it is.
 */
#ifndef IGN_TEXT_NORMALIZER_H
#define IGN_TEXT_NORMALIZER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "text/runs.h"

#define NORMALIZER_GROWTH 32

enum norm_kind {
    NORM_C, /* Unicode's normalization forms */
    NORM_D,
    NORM_KC,
    NORM_KD,
    NORM_LOWERCASE,
    NORM_STRIP_ACCENTS,  /* all marks */
    NORM_STRIP,          /* white space at the ends: `left`, `right` */
    NORM_REPLACE,        /* each `find` by `with` */
    NORM_REPLACE_SPACES, /* each two and more blanks by `with` */
    NORM_PREPEND,        /* `with`, in front of a text that is not empty */
    NORM_NMT,            /* no control characters; blanks for what looks like one */
    NORM_CHARSMAP,       /* SentencePiece's map of characters, `find`: the longest match */
    NORM_CHARSMAP_WHOLE  /* the same map on whole graphemes, as the tokenizers library reads it */
};

struct norm_step {
    enum norm_kind kind;
    bool left, right;
    struct str find, with; /* NORM_REPLACE: find.n >= 1; NORM_CHARSMAP: the bytes of the map */
};

struct normalizer;

/* Copies no strings: they must outlive it. ERR_FORMAT: a map that is none; ERR_NOMEM. */
enum err_code normalizer_create(struct normalizer **z, const struct norm_step *step, size_t n,
                                struct err *e);
void normalizer_free(struct normalizer *z); /* NULL is fine */

/* Whether p[0..n) is surely as normalizer_run would leave it; z may be NULL: it is. */
bool normalizer_quick(const struct normalizer *z, const char *p, size_t n);
/* Appends p[0..n), normalized, to *out. With `in`, the origins of p's bytes, appends those of the
 * new bytes to *origin; both may be NULL. *front: how many bytes at p's front come from the first
 * character of all text, as the tokenizers library counts; then how many of the new ones do. NULL:
 * nobody asks. ERR_LIMIT, ERR_NOMEM. */
enum err_code normalizer_run(const struct normalizer *z, const char *p, size_t n,
                             const struct runs *in, struct buf *out, struct runs *origin,
                             size_t *front);

#endif
