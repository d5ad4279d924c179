/* trie.h: a tree over the spellings of pieces, read from either end.
 *
 * Owns the nodes. Built level by level from the sorted list, so that the children of a node are
 * neighbours in order of their byte, and a parent's number is smaller than its children's.
 * Invariant: of two equal spellings the one with the smaller id is kept.
 */
#ifndef IGN_TEXT_TRIE_H
#define IGN_TEXT_TRIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TRIE_ROOT = 0 };

struct trie_word {
    const char *p;
    uint32_t n; /* 1 and more */
    int32_t id;
    uint64_t head; /* trie_build's: what it begins with, to be sorted by */
};

struct trie_node {
    uint32_t child, n_child; /* its children are node[child .. child + n_child) */
    int32_t id;              /* of the piece that ends here, or -1 */
    uint8_t byte;            /* that leads here */
};

struct trie {
    struct trie_node *node; /* [n], the root first */
    uint32_t n;
    uint32_t first[256]; /* the root's children by byte; TRIE_ROOT: none */
};

/* Sorts w[0..n), whose bytes together are less than 2^32, and builds the tree; `backwards`: over
 * spellings read from their end. False when out of memory. */
bool trie_build(struct trie *t, struct trie_word *w, size_t n, bool backwards);
void trie_fini(struct trie *t);
/* The child of node i that a byte leads to; TRIE_ROOT: none. */
uint32_t trie_child(const struct trie *t, uint32_t i, uint8_t byte);

#endif
