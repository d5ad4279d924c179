/* splitter.c: see splitter.h.
 *
 * Owns the matches of each kind of step and what becomes of them. Words are views: into the text,
 * or, from the first step on that changes it, into a buffer that the step wrote.
 */
#include "text/splitter.h"

#include <string.h>

#include "base/mem.h"
#include "text/unicode.h"

void words_init(struct words *w) {
    *w = (struct words){0};
    buf_init(&w->text[0], SIZE_MAX);
    buf_init(&w->text[1], SIZE_MAX);
}

void words_fini(struct words *w) {
    mem_free(w->word);
    buf_fini(&w->text[0]);
    buf_fini(&w->text[1]);
    w->word = NULL;
}

/* The words that a step makes. */
struct list {
    struct str *word;
    size_t n, cap;
    bool failed;
    size_t begin;      /* its first of the piece that is being cut */
    bool was_match;    /* the segment before */
    struct str behind; /* WAY_BEHIND: a match that waits for what follows; n = 0: none */
};

static void list_put(struct list *l, struct str s) {
    if (l->failed || s.n == 0) {
        return;
    }
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 64;
        struct str *grown = mem_realloc(l->word, cap, sizeof *grown);
        if (!grown) {
            l->failed = true;
            return;
        }
        l->word = grown;
        l->cap = cap;
    }
    l->word[l->n++] = s;
}

/* ---- matches ---------------------------------------------------------------------------- */

static bool is_kind(enum split_kind kind, uint32_t cp) {
    return kind == SPLIT_SPACE   ? unicode_class(cp) & UC_SPACE
           : kind == SPLIT_PUNCT ? pretok_is_punct(cp)
                                 : unicode_class(cp) & UC_NUMBER;
}

static unsigned word_class(uint32_t cp) {
    return unicode_is_word(cp) ? 1 : unicode_class(cp) & UC_SPACE ? 0 : 2;
}

/* The first match at or behind p[i]: [*begin, *end), *begin = n if there is none. */
static void next_match(const struct split_step *step, const char *p, size_t n, size_t i,
                       size_t *begin, size_t *end) {
    size_t len;
    *begin = *end = n;
    if (step->kind == SPLIT_SCAN) {
        *begin = i;
        *end = i + step->scan(p + i, n - i);
    } else if (step->kind == SPLIT_WORD) {
        for (; i < n && word_class(unicode_at(p + i, &len)) == 0; i += len) {
        }
        unsigned class = i < n ? word_class(unicode_at(p + i, &len)) : 0;
        *begin = i;
        for (; i < n && word_class(unicode_at(p + i, &len)) == class; i += len) {
        }
        *end = i;
    } else if (step->kind == SPLIT_STRING || step->kind == SPLIT_METASPACE) {
        for (size_t k = step->text.n; i < n && k <= n - i; i++) {
            const char *at = memchr(p + i, step->text.p[0], n - i - k + 1);
            if (!at) {
                break;
            }
            i = (size_t)(at - p);
            if (memcmp(at, step->text.p, k) == 0) {
                *begin = i;
                *end = i + k;
                break;
            }
        }
    } else {
        for (; i < n; i += len) {
            if (is_kind(step->kind, unicode_at(p + i, &len))) {
                *begin = i;
                *end = i + len;
                break;
            }
        }
    }
}

/* ---- ways ------------------------------------------------------------------------------- */

/* Segments come in order and lie side by side, so a word grows by its length. */
static void put_segment(struct list *l, enum split_way way, struct str s, bool match) {
    bool was = l->was_match;
    if (s.n == 0) {
        return;
    }
    l->was_match = match;
    if (way == WAY_REMOVE && match) {
        return;
    }
    bool grows = l->n > l->begin &&
                 ((way == WAY_BEFORE && match && !was) || (way == WAY_JOIN && match == was));
    if (way != WAY_BEHIND && !grows) {
        list_put(l, s);
    } else if (grows) {
        l->word[l->n - 1].n += s.n;
    } else if (match) {
        list_put(l, l->behind);
        l->behind = s;
    } else {
        list_put(l, l->behind.n ? str_of(l->behind.p, l->behind.n + s.n) : s);
        l->behind.n = 0;
    }
}

static void cut(struct list *l, const struct split_step *step, struct str s) {
    size_t begin, end;
    l->begin = l->n;
    l->was_match = false;
    for (size_t i = 0; i < s.n; i = end) {
        next_match(step, s.p, s.n, i, &begin, &end);
        put_segment(l, step->way, str_of(s.p + i, begin - i), step->invert);
        put_segment(l, step->way, str_of(s.p + begin, end - begin), !step->invert);
    }
    list_put(l, l->behind);
    l->behind.n = 0;
}

static enum err_code cut_words(const struct split_step *step, struct words *w) {
    struct list l = {.behind = {"", 0}};
    for (size_t i = 0; i < w->n && !l.failed; i++) {
        cut(&l, step, w->word[i]);
    }
    mem_free(w->word);
    w->word = l.word;
    w->n = l.n;
    w->cap = l.cap;
    return l.failed ? ERR_NOMEM : ERR_OK;
}

/* ---- steps that write ------------------------------------------------------------------- */

/* Blanks as the step has them, and one in front where it wants that; `first`: it wants one at the
 * text's beginning, and that is here. */
static void rewrite(const struct split_step *step, struct str s, bool first, struct buf *out) {
    struct str blank = step->kind == SPLIT_METASPACE ? step->text : str_of(" ", 1);
    bool there = s.p[0] == ' ' || (s.n >= blank.n && memcmp(s.p, blank.p, blank.n) == 0);
    bool wants = step->kind == SPLIT_PREFIX || step->prefix == PREFIX_UNLESS_SPACE || first;
    if (wants && !there) {
        buf_put(out, blank.p, blank.n);
    }
    for (size_t i = 0; i < s.n;) {
        const char *space = memchr(s.p + i, ' ', s.n - i);
        size_t end = space ? (size_t)(space - s.p) : s.n;
        buf_put(out, s.p + i, end - i);
        if (space) {
            buf_put(out, blank.p, blank.n);
        }
        i = end + 1;
    }
}

/* *front: what begins before it begins the text; in the words as they were, then as they are. */
static enum err_code rewrite_words(const struct split_step *step, const char **front,
                                   struct words *w, struct buf *to) {
    size_t early = 0; /* words that do: the first ones */
    buf_reset(to);
    for (size_t i = 0; i < w->n; i++) {
        size_t begin = to->len;
        bool first = w->word[i].p < *front;
        early += first;
        rewrite(step, w->word[i], step->prefix == PREFIX_FIRST && first, to);
        w->word[i] = str_of(NULL, to->len - begin);
    }
    const char *at = to->p;
    for (size_t i = 0; i < w->n && !to->failed; at += w->word[i++].n) {
        w->word[i].p = at;
    }
    *front = early && !to->failed ? w->word[early - 1].p + 1 : to->p;
    return buf_check(to, NULL);
}

/* ---- a text ----------------------------------------------------------------------------- */

enum err_code splitter_run(const struct split_step *step, size_t n_step, const char *p, size_t n,
                           size_t front, struct words *w) {
    struct list l = {.behind = {"", 0}};
    unsigned turn = 0;
    list_put(&l, str_of(p, n));
    mem_free(w->word);
    w->word = l.word;
    w->n = l.n;
    w->cap = l.cap;
    enum err_code rc = l.failed ? ERR_NOMEM : ERR_OK;
    const char *early = p + front;
    for (size_t i = 0; i < n_step && !rc; i++) {
        bool writes = step[i].kind == SPLIT_METASPACE || step[i].kind == SPLIT_PREFIX;
        if (writes) {
            rc = rewrite_words(&step[i], &early, w, &w->text[turn++ % 2]);
        }
        if (!rc && (!writes || step[i].before)) {
            rc = cut_words(&step[i], w);
        }
    }
    return rc;
}
