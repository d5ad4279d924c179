/* kv_cache.c: reference counts over the pages of one KV pool.
 *
 * Owns the free list (a stack of page numbers) and the owner counts. A sequence's table lists its
 * pages in order of position; entries past the page of position n_tok - 1 are reserved, hold
 * nothing yet and have one owner always, so that the only page a write can find shared is the
 * one that position n_tok falls into. Refuses to say who is evicted when the pool is full: the
 * caller gets ERR_NOFIT and decides.
 */
#include "cache/kv_cache.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"

static int pages_of(const struct kv_pool *p, int n_tok) {
    return (int)(((int64_t)n_tok + p->page_tok - 1) / p->page_tok);
}

enum err_code kv_pool_init(struct kv_pool *p, const struct kern *k, struct kern_dev *d,
                           const struct kern_kv *kv, struct err *e) {
    assert(kv->n_page > 0 && kv->page_tok > 0);
    *p = (struct kv_pool){.kern = k, .dev = d, .n_page = kv->n_page, .page_tok = kv->page_tok};
    p->owners = mem_zalloc((size_t)p->n_page, sizeof *p->owners);
    p->free = mem_alloc((size_t)p->n_page, sizeof *p->free);
    if (!p->owners || !p->free) {
        kv_pool_fini(p);
        return err_set(e, ERR_NOMEM, "no memory for the table of %d KV pages", kv->n_page);
    }
    /* The lowest page is on top: a short context stays in few pages of the mapping. */
    for (int i = 0; i < p->n_page; i++) {
        p->free[i] = p->n_page - 1 - i;
    }
    p->n_free = p->n_page;
    return ERR_OK;
}

void kv_pool_fini(struct kv_pool *p) {
    mem_free(p->owners);
    mem_free(p->free);
    *p = (struct kv_pool){0};
}

static int32_t page_take(struct kv_pool *p) {
    assert(p->n_free > 0);
    int32_t page = p->free[--p->n_free];
    assert(p->owners[page] == 0);
    p->owners[page] = 1;
    return page;
}

static void page_drop(struct kv_pool *p, int32_t page) {
    assert(p->owners[page] > 0);
    if (--p->owners[page] == 0) {
        p->free[p->n_free++] = page;
    }
}

enum err_code kv_seq_init(struct kv_seq *s, const struct kv_pool *p, int max_tok, struct err *e) {
    *s = (struct kv_seq){.cap = pages_of(p, max_tok)};
    s->page = mem_alloc((size_t)s->cap, sizeof *s->page);
    if (!s->page) {
        s->cap = 0;
        return err_set(e, ERR_NOMEM, "no memory for a page table of %d positions", max_tok);
    }
    return ERR_OK;
}

void kv_seq_fini(struct kv_seq *s, struct kv_pool *p) {
    if (s->n_page > 0) {
        kv_seq_truncate(s, p, 0);
    }
    mem_free(s->page);
    *s = (struct kv_seq){0};
}

enum err_code kv_seq_reserve(struct kv_seq *s, struct kv_pool *p, int n, struct err *e) {
    assert(n >= 0);
    if (n == 0) {
        return ERR_OK;
    }
    int64_t end = (int64_t)s->n_tok + n;
    if (end > (int64_t)s->cap * p->page_tok) {
        return err_set(e, ERR_NOFIT, "%lld positions do not fit in a context of %lld",
                       (long long)end, (long long)s->cap * p->page_tok);
    }
    int want = pages_of(p, (int)end);
    int first = s->n_tok / p->page_tok; /* page of the first new position */
    bool shared = first < s->n_page && p->owners[s->page[first]] > 1;
    int take = (want > s->n_page ? want - s->n_page : 0) + shared;
    if (take > p->n_free) {
        return err_set(e, ERR_NOFIT, "the KV cache has %d free pages of %d, and %d are needed",
                       p->n_free, p->n_page, take);
    }
    if (shared) {
        int32_t copy = page_take(p);
        p->kern->kv_copy_page(p->dev, copy, s->page[first]);
        page_drop(p, s->page[first]);
        s->page[first] = copy;
    }
    while (s->n_page < want) {
        s->page[s->n_page++] = page_take(p);
    }
    return ERR_OK;
}

void kv_seq_truncate(struct kv_seq *s, struct kv_pool *p, int n_tok) {
    assert(n_tok >= 0 && n_tok <= s->n_tok);
    int keep = pages_of(p, n_tok);
    while (s->n_page > keep) {
        page_drop(p, s->page[--s->n_page]);
    }
    s->n_tok = n_tok;
}

enum err_code kv_seq_fork(struct kv_seq *dst, const struct kv_seq *src, struct kv_pool *p,
                          struct err *e) {
    assert(dst->n_page == 0 && dst->n_tok == 0);
    int n = pages_of(p, src->n_tok);
    if (n > dst->cap) {
        return err_set(e, ERR_NOFIT, "%d positions do not fit in a context of %lld", src->n_tok,
                       (long long)dst->cap * p->page_tok);
    }
    for (int i = 0; i < n; i++) {
        p->owners[src->page[i]]++;
    }
    memcpy(dst->page, src->page, (size_t)n * sizeof *dst->page);
    dst->n_page = n;
    dst->n_tok = src->n_tok;
    return ERR_OK;
}
