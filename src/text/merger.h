/* merger.h: greedy merging of neighbours, best pair first: the loop that BPE and SentencePiece
 * share.
 *
 * Owns the symbols of one word and the queue; refuses to know what a pair is worth, which the
 * caller's function says. The best pair is the one with the smallest key, of these the leftmost.
 * Time is O(n log n), memory is reused from word to word, the stack is constant.
 */
#ifndef IGN_TEXT_MERGER_H
#define IGN_TEXT_MERGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MERGER_NONE UINT32_MAX

struct symbol {
    uint32_t at, n; /* its bytes in the word */
    int32_t id;     /* -1: not a piece of the vocabulary */
    uint32_t key;   /* of the pair with the next symbol; MERGER_NONE: no such merge */
    int32_t to;     /* the id that this pair becomes */
    uint32_t prev;  /* neighbours, while a long word is merged */
    uint32_t next;
};

/* The key of (l, r), or MERGER_NONE; *to gets the id of both together. `word` holds their bytes. */
typedef uint32_t (*merger_pair)(const void *ctx, const char *word, const struct symbol *l,
                                const struct symbol *r, int32_t *to);

struct merger {
    struct symbol *sym; /* [cap] */
    size_t n, cap;
    uint64_t *heap; /* [2 * cap] key above, index of the left symbol below */
    size_t n_heap, cap_heap;
};

void merger_fini(struct merger *m);
/* Room for n symbols, and an empty list; false when out of memory. */
bool merger_begin(struct merger *m, size_t n);
static inline void merger_put(struct merger *m, uint32_t at, uint32_t n, int32_t id) {
    m->sym[m->n++] = (struct symbol){.at = at, .n = n, .id = id};
}
/* Merges until no pair is left; the result is sym[0..n). False when out of memory. */
bool merger_run(struct merger *m, merger_pair pair, const void *ctx, const char *word);

#endif
