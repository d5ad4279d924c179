/* splitter.h: how a tokenizer cuts a text into words, step by step.
 *
 * Owns the steps of a tokenizer.json's "pre_tokenizer" that this program knows, as plain data, and
 * their meaning; byte-level vocabularies whose steps are those of a name in GGUF files go through
 * pretok.h instead, which makes one pass of it. Each step sees a piece of the step before as a
 * whole text. Refuses regular expressions but those that pretok.h has. Time is linear in the text
 * for each step. Source: the `pre_tokenizers` of the tokenizers library.
 */
#ifndef IGN_TEXT_SPLITTER_H
#define IGN_TEXT_SPLITTER_H

#include "text/pretok.h"
#include "text/vocab.h"

enum split_kind {
    SPLIT_STRING,    /* `text` */
    SPLIT_SCAN,      /* a pattern that is written out: `scan` */
    SPLIT_SPACE,     /* each character of white space */
    SPLIT_WORD,      /* \w+|[^\w\s]+ */
    SPLIT_PUNCT,     /* each character of punctuation */
    SPLIT_DIGIT,     /* each number of one character */
    SPLIT_METASPACE, /* blanks become `text`, in front too as `prefix` says; cut before each if
                        `before` */
    SPLIT_PREFIX     /* a blank in front of what does not begin with one */
};

/* What becomes of a match: nothing; a piece of its own; part of the piece before or behind it; with
 * those beside it one piece. */
enum split_way { WAY_REMOVE, WAY_ISOLATE, WAY_BEFORE, WAY_BEHIND, WAY_JOIN };

struct split_step {
    enum split_kind kind;
    enum split_way way;
    bool invert; /* what does not match is a match */
    struct str text;
    pretok_scan scan;
    enum space_prefix prefix; /* SPLIT_METASPACE: none, unless there is one, or likewise at first */
    bool before;
};

struct words {
    struct str *word; /* [n] */
    size_t n, cap;
    struct buf text[2]; /* what steps have written; words point into it, or into the text itself */
};

void words_init(struct words *w);
void words_fini(struct words *w);
/* The words of p[0..n), which must outlive them; `front`: how many of its first bytes come from the
 * first character of all text. ERR_LIMIT, ERR_NOMEM. */
enum err_code splitter_run(const struct split_step *step, size_t n_step, const char *p, size_t n,
                           size_t front, struct words *w);

#endif
