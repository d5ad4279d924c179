/* kv_cache.h: which pages of the KV pool belong to which sequence.
 *
 * Owns page numbers and reference counts, nothing else: the bytes are the back end's. Pages shared
 * by forks are read-only; the first write to one copies it (kv_copy_page is the only copy).
 * Invariant: a page with more than one owner is never handed out for writing, and the number of
 * owners of all pages plus the free list accounts for every page of the pool.
 * Source: Kwon et al. 2023 (paged attention).
 */
#ifndef IGN_CACHE_KV_CACHE_H
#define IGN_CACHE_KV_CACHE_H

#include <stdint.h>

#include "base/err.h"
#include "kern/kern.h"

struct kv_pool {
    const struct kern *kern;
    struct kern_dev *dev;
    int n_page, page_tok, n_free;
    int32_t *owners; /* [n_page] */
    int32_t *free;   /* [n_page], the first n_free are valid */
};

/* A sequence's pages. `page` has room for the longest context from the start: growing it in the
 * token loop allocates nothing. */
struct kv_seq {
    int32_t *page; /* [cap] */
    int n_page, cap;
    int n_tok; /* positions that hold computed keys and values */
};

/* The device's KV cache must be open. ERR_NOMEM. */
enum err_code kv_pool_init(struct kv_pool *p, const struct kern *k, struct kern_dev *d,
                           const struct kern_kv *kv, struct err *e);
void kv_pool_fini(struct kv_pool *p);

enum err_code kv_seq_init(struct kv_seq *s, const struct kv_pool *p, int max_tok, struct err *e);
/* Drops all pages and frees the table. */
void kv_seq_fini(struct kv_seq *s, struct kv_pool *p);

/* Makes positions n_tok..n_tok+n-1 writable: takes pages, copies a shared last one.
 * ERR_NOFIT if the pool or the sequence's bound is exhausted; then nothing has changed. */
enum err_code kv_seq_reserve(struct kv_seq *s, struct kv_pool *p, int n, struct err *e);
/* Keeps the first n_tok positions (at most those there are) and gives back whole pages past them,
 * reserved ones too. */
void kv_seq_truncate(struct kv_seq *s, struct kv_pool *p, int n_tok);
/* `dst` (initialized and empty) becomes a copy that shares the pages of src's n_tok positions.
 * ERR_NOFIT if dst's bound is too small for them. */
enum err_code kv_seq_fork(struct kv_seq *dst, const struct kv_seq *src, struct kv_pool *p,
                          struct err *e);

#endif
