/* special.c: the automaton of special pieces.
 *
 * Owns the states: a trie over reversed spellings, built level by level from the sorted list, so
 * that the children of a state are neighbours in order of their byte. Each state knows the
 * longest piece that ends in it (begins, read forwards) and the next shorter one, and the longest
 * that may match anywhere. Invariant: a state's links lead to states of smaller depth.
 */
#include "text/special.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

enum { ROOT = 0 };

struct state {
    uint32_t child, n_child; /* its children are state[child .. child + n_child) */
    uint32_t fail;           /* the state of the longest proper suffix */
    uint32_t shorter;        /* the next state on that way with a piece; ROOT: none */
    int32_t id;              /* a piece that ends here, or -1 */
    int32_t any;             /* the longest user-defined piece here or on that way, or -1 */
    uint8_t byte;            /* that leads here */
};

struct special {
    const struct vocab *v;
    struct state *state;
    uint32_t n_state;
    uint32_t first[256]; /* the root's children by byte; ROOT: none */
};

/* ---- building --------------------------------------------------------------------------- */

struct word {
    const char *p; /* read from the end */
    uint32_t n;
    int32_t id;
};

static int word_order(const void *va, const void *vb) {
    const struct word *a = va, *b = vb;
    uint32_t n = a->n < b->n ? a->n : b->n;
    for (uint32_t i = 1; i <= n; i++) {
        int d = (uint8_t)a->p[a->n - i] - (uint8_t)b->p[b->n - i];
        if (d) {
            return d;
        }
    }
    if (a->n != b->n) {
        return a->n < b->n ? -1 : 1;
    }
    return a->id < b->id ? -1 : 1;
}

/* A piece that is not UTF-8 matches nothing: it would cut the text within a character. */
static bool is_special(const struct vocab *v, uint32_t id) {
    struct str p = vocab_at(v, id);
    return p.n && (vocab_hidden(v, id) || v->kind[id] == PIECE_USER) && utf8_valid(p.p, p.n);
}

/* The special pieces, sorted by their reversed spelling; *bytes: how many bytes they have. */
static struct word *sorted_words(const struct vocab *v, size_t *n, size_t *bytes) {
    *n = *bytes = 0;
    for (uint32_t id = 0; id < v->n_vocab; id++) {
        *n += is_special(v, id);
    }
    struct word *w = mem_alloc(*n, sizeof *w);
    if (!w) {
        return NULL;
    }
    size_t k = 0;
    for (uint32_t id = 0; id < v->n_vocab; id++) {
        if (is_special(v, id)) {
            struct str p = vocab_at(v, id);
            w[k++] = (struct word){p.p, (uint32_t)p.n, (int32_t)id};
            *bytes += p.n;
        }
    }
    qsort(w, *n, sizeof *w, word_order);
    return w;
}

/* State i stands for words [lo, hi), which agree in their last `depth` bytes. */
struct span {
    uint32_t lo, hi, depth;
};

static void grow_state(struct special *s, struct span *span, const struct word *w, uint32_t i) {
    struct span r = span[i];
    struct state *st = &s->state[i];
    st->child = s->n_state;
    st->id = -1;
    for (; r.lo < r.hi && w[r.lo].n == r.depth; r.lo++) {
        st->id = st->id < 0 ? w[r.lo].id : st->id; /* of two equal pieces the first */
    }
    while (r.lo < r.hi) {
        const char byte = w[r.lo].p[w[r.lo].n - r.depth - 1];
        uint32_t end = r.lo + 1;
        while (end < r.hi && w[end].p[w[end].n - r.depth - 1] == byte) {
            end++;
        }
        span[s->n_state] = (struct span){r.lo, end, r.depth + 1};
        s->state[s->n_state++].byte = (uint8_t)byte;
        st->n_child++;
        r.lo = end;
    }
}

static uint32_t child_of(const struct special *s, uint32_t i, uint8_t byte) {
    if (i == ROOT) {
        return s->first[byte];
    }
    uint32_t lo = s->state[i].child, hi = lo + s->state[i].n_child;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (s->state[mid].byte < byte) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    bool found = lo < s->state[i].child + s->state[i].n_child && s->state[lo].byte == byte;
    return found ? lo : ROOT;
}

static uint32_t step(const struct special *s, uint32_t i, uint8_t byte) {
    uint32_t to = child_of(s, i, byte);
    while (to == ROOT && i != ROOT) {
        i = s->state[i].fail;
        to = child_of(s, i, byte);
    }
    return to;
}

/* States come in order of depth, so a parent's links are ready before its children's. */
static void link_states(struct special *s) {
    for (uint32_t i = 0; i < s->n_state; i++) {
        struct state *st = &s->state[i];
        const struct state *f = &s->state[st->fail];
        st->shorter = st->fail == ROOT ? ROOT : f->id >= 0 ? st->fail : f->shorter;
        bool user = st->id >= 0 && s->v->kind[st->id] == PIECE_USER;
        st->any = user ? st->id : i == ROOT ? -1 : f->any;
        for (uint32_t c = st->child; c < st->child + st->n_child; c++) {
            s->state[c].fail = i == ROOT ? ROOT : step(s, st->fail, s->state[c].byte);
            if (i == ROOT) {
                s->first[s->state[c].byte] = c;
            }
        }
    }
}

enum err_code special_create(struct special **out, const struct vocab *v, struct err *e) {
    *out = NULL;
    size_t n, bytes;
    struct span *span = NULL;
    struct word *w = sorted_words(v, &n, &bytes);
    struct special *s = mem_zalloc(1, sizeof *s);
    if (!w || !s) {
        goto fail;
    }
    s->v = v;
    s->state = mem_zalloc(bytes + 1, sizeof *s->state); /* bytes < 2^32: vocab_create says so */
    span = mem_alloc(bytes + 1, sizeof *span);
    if (!s->state || !span) {
        goto fail;
    }
    span[ROOT] = (struct span){0, (uint32_t)n, 0};
    s->n_state = 1;
    for (uint32_t i = 0; i < s->n_state; i++) {
        grow_state(s, span, w, i);
    }
    link_states(s);
    mem_free(w);
    mem_free(span);
    *out = s;
    return ERR_OK;
fail:
    mem_free(w);
    mem_free(span);
    special_free(s);
    return err_set(e, ERR_NOMEM, "no memory for the special pieces of the vocabulary");
}

void special_free(struct special *s) {
    if (s) {
        mem_free(s->state);
        mem_free(s);
    }
}

/* ---- matching --------------------------------------------------------------------------- */

/* The longest piece that begins at a byte where the automaton is in state i and `room` trusted
 * bytes follow; -1: none. */
static int32_t longest(const struct special *s, uint32_t i, size_t room) {
    if (room == 0) {
        return s->state[i].any;
    }
    if (s->state[i].id < 0) {
        i = s->state[i].shorter;
    }
    for (; i != ROOT; i = s->state[i].shorter) {
        int32_t id = s->state[i].id;
        if (s->v->kind[id] == PIECE_USER || vocab_at(s->v, (uint32_t)id).n <= room) {
            return id;
        }
    }
    return -1;
}

struct found {
    struct special_match *m;
    size_t n, cap;
};

static bool found_put(struct found *f, size_t at, int32_t id) {
    if (f->n == f->cap) {
        size_t cap = f->cap ? f->cap * 2 : 16;
        struct special_match *m = mem_realloc(f->m, cap, sizeof *m);
        if (!m) {
            return false;
        }
        f->m = m;
        f->cap = cap;
    }
    f->m[f->n++] = (struct special_match){at, id};
    return true;
}

/* Matches come in falling order of place; turns the list and drops what overlaps. */
static size_t keep_leftmost(const struct vocab *v, struct special_match *m, size_t n) {
    for (size_t i = 0; i < n / 2; i++) {
        struct special_match t = m[i];
        m[i] = m[n - 1 - i];
        m[n - 1 - i] = t;
    }
    size_t k = 0, done = 0;
    for (size_t i = 0; i < n; i++) {
        if (m[i].at >= done) {
            done = m[i].at + vocab_at(v, (uint32_t)m[i].id).n;
            m[k++] = m[i];
        }
    }
    return k;
}

bool special_find(const struct special *s, const char *text, size_t n, const struct runs *rs,
                  bool trusted, struct special_match **m, size_t *n_m) {
    struct found f = {0};
    size_t run = rs ? rs->n : 0, begin = rs ? n : 0, end = n;
    uint32_t state = ROOT;
    for (size_t i = n; s->n_state > 1 && i-- > 0;) {
        while (rs && i < begin) { /* step into the run before */
            end = begin;
            run--;
            begin = run ? rs->r[run - 1].end : 0;
            trusted = rs->r[run].trusted;
        }
        state = step(s, state, (uint8_t)text[i]);
        if (state == ROOT) {
            continue;
        }
        int32_t id = longest(s, state, trusted ? end - i : 0);
        if (id >= 0 && !found_put(&f, i, id)) {
            mem_free(f.m);
            return false;
        }
    }
    *m = f.m;
    *n_m = keep_leftmost(s->v, f.m, f.n);
    return true;
}
