/* trie.c: see trie.h.
 *
 * Owns the order of the words and the growth of the tree from it: a node stands for a span of the
 * sorted list that agrees in its first bytes.
 */
#include "text/trie.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* Byte i of a word, from the end that the tree begins at. */
static uint8_t byte_at(const struct trie_word *w, uint32_t i, bool backwards) {
    return (uint8_t)w->p[backwards ? w->n - 1 - i : i];
}

static int compare(const struct trie_word *a, const struct trie_word *b, bool backwards) {
    uint32_t n = a->n < b->n ? a->n : b->n;
    for (uint32_t i = 0; i < n; i++) {
        int d = byte_at(a, i, backwards) - byte_at(b, i, backwards);
        if (d) {
            return d;
        }
    }
    return a->n != b->n ? (a->n < b->n ? -1 : 1) : a->id < b->id ? -1 : 1;
}

static int order_forwards(const void *a, const void *b) {
    return compare(a, b, false);
}

static int order_backwards(const void *a, const void *b) {
    return compare(a, b, true);
}

/* The words [lo, hi), which agree in `depth` bytes. */
struct span {
    uint32_t lo, hi, depth;
};

static void grow(struct trie *t, struct span *span, const struct trie_word *w, uint32_t i,
                 bool backwards) {
    struct span r = span[i];
    struct trie_node *node = &t->node[i];
    node->child = t->n;
    node->id = -1;
    for (; r.lo < r.hi && w[r.lo].n == r.depth; r.lo++) {
        node->id = node->id < 0 ? w[r.lo].id : node->id;
    }
    while (r.lo < r.hi) {
        uint8_t byte = byte_at(&w[r.lo], r.depth, backwards);
        uint32_t end = r.lo + 1;
        while (end < r.hi && byte_at(&w[end], r.depth, backwards) == byte) {
            end++;
        }
        span[t->n] = (struct span){r.lo, end, r.depth + 1};
        t->node[t->n].byte = byte;
        if (i == TRIE_ROOT) {
            t->first[byte] = t->n;
        }
        t->n++;
        node->n_child++;
        r.lo = end;
    }
}

bool trie_build(struct trie *t, struct trie_word *w, size_t n, bool backwards) {
    *t = (struct trie){0};
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        bytes += w[i].n;
    }
    struct span *span = mem_alloc(bytes + 1, sizeof *span);
    t->node = mem_zalloc(bytes + 1, sizeof *t->node);
    if (!span || !t->node) {
        mem_free(span);
        trie_fini(t);
        return false;
    }
    qsort(w, n, sizeof *w, backwards ? order_backwards : order_forwards);
    span[TRIE_ROOT] = (struct span){0, (uint32_t)n, 0};
    t->n = 1;
    for (uint32_t i = 0; i < t->n; i++) {
        grow(t, span, w, i, backwards);
    }
    mem_free(span);
    return true;
}

void trie_fini(struct trie *t) {
    mem_free(t->node);
    t->node = NULL;
}

uint32_t trie_child(const struct trie *t, uint32_t i, uint8_t byte) {
    if (i == TRIE_ROOT) {
        return t->first[byte];
    }
    uint32_t lo = t->node[i].child, end = lo + t->node[i].n_child, hi = end;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (t->node[mid].byte < byte) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo < end && t->node[lo].byte == byte ? lo : TRIE_ROOT;
}
