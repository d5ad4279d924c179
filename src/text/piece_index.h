/* piece_index.h: from the bytes of a piece to its id.
 *
 * Owns a hash table over pieces that lie one behind the other in memory, by open addressing. Half
 * of a hash is kept beside the id, so that what is not there is seldom compared with what is. The
 * tables of a large vocabulary are in no near cache: who looks for many pieces seeks some of them
 * first and finds them then, so that their memory is on its way at the same time.
 * Refuses to own the pieces. Invariant: of two pieces with one spelling the first is found.
 */
#ifndef IGN_TEXT_PIECE_INDEX_H
#define IGN_TEXT_PIECE_INDEX_H

#include "base/buf.h"
#include "text/text_hash.h"

#define SOUGHT_AHEAD 16 /* what is sought before the first of it is found */

struct piece_index {
    const char *text;   /* the pieces, borrowed */
    const uint32_t *at; /* [n + 1] where each begins; borrowed */
    uint64_t key;       /* of the hashes */
    uint64_t *slot;     /* [mask + 1] half a hash above, id + 1 below; 0: free */
    size_t mask;
    bool twins; /* some have one spelling */
};

struct sought {
    struct str piece;
    uint64_t hash;
};

/* Of n pieces those that are not empty and, unless `kind` [n] is NULL, of kind `only`. False: no
 * memory. */
bool piece_index_init(struct piece_index *x, const char *text, const uint32_t *at, uint32_t n,
                      const uint8_t *kind, uint8_t only, uint64_t key);
void piece_index_fini(struct piece_index *x); /* all zeros is fine */
/* Bytes that it takes. */
uint64_t piece_index_need(uint32_t n);

/* Its place in the table is on its way. */
static inline struct sought piece_seek(const struct piece_index *x, struct str piece) {
    struct sought s = {piece, hash_bytes(piece.p, piece.n, x->key)};
    __builtin_prefetch(&x->slot[s.hash & x->mask]);
    return s;
}

/* So are the bytes that most likely are its own: called when the place has come. */
static inline void piece_seek_bytes(const struct piece_index *x, const struct sought *s) {
    uint32_t id = (uint32_t)x->slot[s->hash & x->mask];
    if (id) {
        __builtin_prefetch(x->text + x->at[id - 1]);
    }
}

/* The id, or -1. */
int32_t piece_found(const struct piece_index *x, const struct sought *s);

static inline int32_t piece_find(const struct piece_index *x, struct str piece) {
    struct sought s = piece_seek(x, piece);
    return piece_found(x, &s);
}

#endif
