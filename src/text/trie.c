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

/* The first eight bytes as a number that sorts as they do, zeros behind the end. */
static uint64_t head_of(const struct trie_word *w, bool backwards) {
    uint64_t head = 0;
    for (uint32_t i = 0; i < 8; i++) {
        head = head << 8 | (i < w->n ? byte_at(w, i, backwards) : 0);
    }
    return head;
}

static int compare(const struct trie_word *a, const struct trie_word *b, bool backwards) {
    if (a->head != b->head) {
        return a->head < b->head ? -1 : 1;
    }
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
    node->n_child = 0;
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

/* Of the tree of sorted words: the root, and for each word what it does not share with the one
 * before. */
static size_t count_nodes(const struct trie_word *w, size_t n, bool backwards) {
    size_t nodes = 1;
    for (size_t i = 0; i < n; i++) {
        uint32_t same = 0, most = i == 0 ? 0 : w[i].n < w[i - 1].n ? w[i].n : w[i - 1].n;
        while (same < most &&
               byte_at(&w[i], same, backwards) == byte_at(&w[i - 1], same, backwards)) {
            same++;
        }
        nodes += w[i].n - same;
    }
    return nodes;
}

bool trie_build(struct trie *t, struct trie_word *w, size_t n, bool backwards) {
    *t = (struct trie){0};
    for (size_t i = 0; i < n; i++) {
        w[i].head = head_of(&w[i], backwards);
    }
    qsort(w, n, sizeof *w, backwards ? order_backwards : order_forwards);
    const size_t nodes = count_nodes(w, n, backwards);
    struct span *span = mem_aligned(nodes, sizeof *span);
    t->node = mem_aligned(nodes, sizeof *t->node);
    if (!span || !t->node) {
        mem_free(span);
        trie_fini(t);
        return false;
    }
    t->node[TRIE_ROOT].byte = 0;
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
