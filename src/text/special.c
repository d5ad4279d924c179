/* special.c: the automaton of special pieces.
 *
 * Owns the states: a trie over reversed spellings. Each one knows the longest piece that ends in it
 * (begins, read forwards) and the next shorter one, and the longest that may match anywhere.
 * Invariant: a state's links lead to states of smaller depth.
 */
#include "text/special.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "text/trie.h"

enum { ROOT = TRIE_ROOT };

struct link {
    uint32_t fail;    /* the state of the longest proper suffix */
    uint32_t shorter; /* the next state on that way with a piece; ROOT: none */
    uint32_t any;     /* the state of the longest user-defined piece here or on that way, or ROOT */
    uint32_t depth;   /* bytes that lead here */
};

struct special {
    const struct vocab *v;
    struct trie tree;  /* of reversed spellings */
    struct link *link; /* [tree.n] */
};

/* ---- building --------------------------------------------------------------------------- */

/* A piece that is not UTF-8 matches nothing: it would cut the text within a character. */
static bool is_special(const struct vocab *v, uint32_t id, unsigned pass) {
    struct str p = vocab_at(v, id);
    unsigned own = v->flags ? v->flags[id] & (PIECE_NORMALIZED | PIECE_WITHIN) : 0;
    return p.n && own == pass && (vocab_hidden(v, id) || v->kind[id] == PIECE_USER) &&
           utf8_valid(p.p, p.n);
}

/* The special pieces of one pass: w[0..*n), and their spellings one behind the other in *text. */
static struct trie_word *spell(const struct vocab *v, const struct normalizer *z, unsigned pass,
                               size_t *n, struct buf *text) {
    size_t k = 0;
    *n = 0;
    for (uint32_t id = 0; id < v->n_vocab; id++) {
        *n += is_special(v, id, pass);
    }
    struct trie_word *w = mem_alloc(*n, sizeof *w);
    for (uint32_t id = 0; w && id < v->n_vocab && !text->failed; id++) {
        size_t begin = text->len;
        struct str p = vocab_at(v, id);
        if (!is_special(v, id, pass)) {
            continue;
        }
        if (pass != PIECE_NORMALIZED) {
            buf_put(text, p.p, p.n);
        } else if (normalizer_run(z, p.p, p.n, NULL, text, NULL, NULL)) {
            text->failed = true;
        }
        if (text->len > begin) {
            w[k++] = (struct trie_word){.n = (uint32_t)(text->len - begin), .id = (int32_t)id};
        }
    }
    *n = k;
    const char *at = text->p;
    for (size_t i = 0; w && i < k; at += w[i++].n) {
        w[i].p = at;
    }
    return w;
}

static uint32_t step(const struct special *s, uint32_t i, uint8_t byte) {
    uint32_t to = trie_child(&s->tree, i, byte);
    while (to == ROOT && i != ROOT) {
        i = s->link[i].fail;
        to = trie_child(&s->tree, i, byte);
    }
    return to;
}

/* States come in order of depth, so a parent's links are ready before its children's. */
static void link_states(struct special *s) {
    for (uint32_t i = 0; i < s->tree.n; i++) {
        const struct trie_node *node = &s->tree.node[i];
        struct link *at = &s->link[i];
        uint32_t fail = at->fail;
        at->shorter = fail == ROOT                 ? ROOT
                      : s->tree.node[fail].id >= 0 ? fail
                                                   : s->link[fail].shorter;
        bool user = node->id >= 0 && s->v->kind[node->id] == PIECE_USER;
        at->any = user ? i : i == ROOT ? ROOT : s->link[fail].any;
        for (uint32_t c = node->child; c < node->child + node->n_child; c++) {
            s->link[c].fail = i == ROOT ? ROOT : step(s, fail, s->tree.node[c].byte);
            s->link[c].depth = at->depth + 1;
        }
    }
}

enum err_code special_create(struct special **out, const struct vocab *v,
                             const struct normalizer *z, unsigned pass, struct err *e) {
    *out = NULL;
    size_t n;
    struct buf text;
    buf_init(&text, UINT32_MAX - 1);
    struct trie_word *w = spell(v, z, pass, &n, &text);
    struct special *s = mem_zalloc(1, sizeof *s);
    bool made = w && s && !text.failed && trie_build(&s->tree, w, n, true) &&
                (s->link = mem_aligned(s->tree.n, sizeof *s->link));
    if (made) {
        s->v = v;
        s->link[ROOT] = (struct link){0};
        link_states(s);
        *out = s;
    } else {
        special_free(s);
    }
    mem_free(w);
    buf_fini(&text);
    return made ? ERR_OK
                : err_set(e, ERR_NOMEM, "no memory for the special pieces of the vocabulary");
}

void special_free(struct special *s) {
    if (s) {
        trie_fini(&s->tree);
        mem_free(s->link);
        mem_free(s);
    }
}

bool special_any(const struct special *s) {
    return s->tree.n > 1;
}

/* ---- matching --------------------------------------------------------------------------- */

/* The state of the longest piece that begins at a byte where the automaton is in state i and `room`
 * trusted bytes follow; ROOT: none. */
static uint32_t longest(const struct special *s, uint32_t i, size_t room) {
    if (room == 0) {
        return s->link[i].any;
    }
    if (s->tree.node[i].id < 0) {
        i = s->link[i].shorter;
    }
    for (; i != ROOT; i = s->link[i].shorter) {
        int32_t id = s->tree.node[i].id;
        if (s->v->kind[id] == PIECE_USER || s->link[i].depth <= room) {
            return i;
        }
    }
    return ROOT;
}

struct found {
    struct special_match *m;
    size_t n, cap;
};

static bool found_put(struct found *f, struct special_match match) {
    if (f->n == f->cap) {
        size_t cap = f->cap ? f->cap * 2 : 16;
        struct special_match *m = mem_realloc(f->m, cap, sizeof *m);
        if (!m) {
            return false;
        }
        f->m = m;
        f->cap = cap;
    }
    f->m[f->n++] = match;
    return true;
}

/* Matches come in falling order of place; turns the list and drops what overlaps. */
static size_t keep_leftmost(struct special_match *m, size_t n) {
    for (size_t i = 0; i < n / 2; i++) {
        struct special_match t = m[i];
        m[i] = m[n - 1 - i];
        m[n - 1 - i] = t;
    }
    size_t k = 0, done = 0;
    for (size_t i = 0; i < n; i++) {
        if (m[i].at >= done) {
            done = m[i].at + m[i].n;
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
    for (size_t i = n; special_any(s) && i-- > 0;) {
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
        uint32_t at = longest(s, state, trusted ? end - i : 0);
        if (at != ROOT &&
            !found_put(&f, (struct special_match){i, s->link[at].depth, s->tree.node[at].id})) {
            mem_free(f.m);
            return false;
        }
    }
    *m = f.m;
    *n_m = keep_leftmost(f.m, f.n);
    return true;
}
