/* unigram.c: see unigram.h.
 *
 * Owns one table for a text: for each byte the best cut that ends there. It is filled from front to
 * back, so that a place is final before anything starts there. Invariant: only places between
 * characters are reached.
 */
#include "text/unigram.h"

#include <float.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "text/trie.h"
#include "text/unicode.h"

enum { UNREACHED = -2, UNKNOWN = -1, PENALTY = 10 };

struct unigram {
    const struct vocab *v;
    struct trie tree;
    double unknown; /* the score of an unknown character */
    int32_t byte[256];
    bool has_bytes; /* all 256 are there */
};

/* The best way to a place: with piece `id`, which begins at `from`. */
struct node {
    double score;
    uint32_t from;
    int32_t id;
};

static bool is_spelled(const struct vocab *v, uint32_t id) {
    struct str p = vocab_at(v, id);
    bool added = v->flags && (v->flags[id] & PIECE_ADDED);
    return p.n && !added && (v->kind[id] == PIECE_NORMAL || v->kind[id] == PIECE_USER) &&
           utf8_valid(p.p, p.n);
}

static void learn_scores(struct unigram *u) {
    double least = DBL_MAX;
    for (uint32_t id = u->v->n_vocab; id-- > 0;) {
        if (u->v->kind[id] == PIECE_NORMAL || !u->v->single) {
            least = u->v->score[id] < least ? u->v->score[id] : least;
        }
        if (u->v->kind[id] == PIECE_BYTE) {
            u->byte[vocab_piece_byte(vocab_at(u->v, id))] = (int32_t)id;
        }
    }
    u->unknown = u->v->single ? (float)least - (float)PENALTY : least - PENALTY;
    u->has_bytes = true;
    for (unsigned c = 0; c < 256; c++) {
        u->has_bytes = u->has_bytes && u->byte[c] >= 0;
    }
}

enum err_code unigram_create(struct unigram **out, const struct vocab *v, struct err *e) {
    *out = NULL;
    size_t n = 0;
    struct unigram *u = mem_zalloc(1, sizeof *u);
    struct trie_word *w = mem_alloc(v->n_vocab, sizeof *w);
    enum err_code rc = ERR_OK;
    for (uint32_t id = 0; w && id < v->n_vocab && !rc; id++) {
        struct str p = vocab_at(v, id);
        if (is_spelled(v, id)) {
            w[n++] = (struct trie_word){.p = p.p, .n = (uint32_t)p.n, .id = (int32_t)id};
            rc = p.n > UNIGRAM_PIECE_MAX
                     ? err_set(e, ERR_LIMIT, "piece %u has %zu bytes; with Unigram the bound is %d",
                               id, p.n, UNIGRAM_PIECE_MAX)
                     : ERR_OK;
        }
    }
    if (!rc && (!u || !w || !trie_build(&u->tree, w, n, false))) {
        rc = err_set(e, ERR_NOMEM, "no memory for the tree of %u pieces", v->n_vocab);
    }
    if (!rc) {
        u->v = v;
        for (unsigned c = 0; c < 256; c++) {
            u->byte[c] = -1;
        }
        learn_scores(u);
        *out = u;
    } else {
        unigram_free(u);
    }
    mem_free(w);
    return rc;
}

void unigram_free(struct unigram *u) {
    if (u) {
        trie_fini(&u->tree);
        mem_free(u);
    }
}

uint64_t unigram_need(const struct vocab_spec *s, uint64_t text) {
    return sizeof(struct unigram) + text * sizeof(struct trie_node) + 4 * (uint64_t)s->n_vocab;
}

/* ---- the search ------------------------------------------------------------------------- */

/* SentencePiece's user-defined pieces win over most cuts of theirs, by a score that is not in its
 * file: a tenth for each byte but the first, found with its release 0.2.3. (Until 0.2.1 it was
 * another one, and equal cuts fell otherwise.)
 */
static double score_of(const struct unigram *u, int32_t id, size_t n) {
    bool user = u->v->single && u->v->kind[id] == PIECE_USER;
    return user ? (double)(0.1f * (float)(n - 1)) : u->v->score[id];
}

static void reach(const struct unigram *u, struct node *node, uint32_t from, uint32_t to,
                  int32_t id, double score) {
    double sum = score + node[from].score;
    sum = u->v->single ? (double)(float)sum : sum;
    if (node[to].id == UNREACHED || sum > node[to].score) {
        node[to] = (struct node){sum, from, id};
    }
}

static void search(const struct unigram *u, struct node *node, const char *p, uint32_t n) {
    size_t len;
    node[0].score = 0;
    for (uint32_t i = 1; i <= n; i++) {
        node[i].id = UNREACHED;
    }
    for (uint32_t i = 0; i < n; i += (uint32_t)len) {
        bool alone = false;
        unicode_at(p + i, &len);
        uint32_t at = TRIE_ROOT;
        for (uint32_t k = i; k < n && (at = trie_child(&u->tree, at, (uint8_t)p[k])); k++) {
            int32_t id = u->tree.node[at].id;
            if (id >= 0) {
                reach(u, node, i, k + 1, id, score_of(u, id, k + 1 - i));
                alone = alone || k + 1 - i == len;
            }
        }
        if (!alone) {
            reach(u, node, i, i + (uint32_t)len, UNKNOWN, u->unknown);
        }
    }
}

/* Turns the way that was found round: node[i].from becomes where the piece that begins at i ends.
 */
static void turn(struct node *node, uint32_t n) {
    int32_t id = node[n].id;
    uint32_t from = node[n].from;
    for (uint32_t end = n; end > 0;) {
        uint32_t begin = from;
        int32_t next_id = node[begin].id;
        uint32_t next_from = node[begin].from;
        node[begin].id = id;
        node[begin].from = end;
        id = next_id;
        from = next_from;
        end = begin;
    }
}

void unigram_encode(const struct unigram *u, struct encoder *x, const char *p, size_t n) {
    struct node *node = n < UINT32_MAX ? mem_alloc(n + 1, sizeof *node) : NULL;
    if (!node) {
        x->code = ERR_NOMEM;
        return;
    }
    search(u, node, p, (uint32_t)n);
    turn(node, (uint32_t)n);
    bool unknown = false;
    for (size_t i = 0; i < n && !x->code; i = node[i].from) {
        if (node[i].id >= 0) {
            encoder_put(x, node[i].id);
        }
        for (size_t k = i; node[i].id < 0 && u->has_bytes && k < node[i].from; k++) {
            encoder_put(x, u->byte[(uint8_t)p[k]]);
        }
        if (node[i].id < 0 && !u->has_bytes && !unknown && u->v->unk >= 0) {
            encoder_put(x, u->v->unk);
        }
        unknown = node[i].id < 0;
    }
    mem_free(node);
}
