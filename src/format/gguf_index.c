/* gguf_index.c: the orders of a GGUF directory: keys and names by their bytes, data by offset.
 *
 * Owns sorting and what it shows: duplicates, overlaps, where a name is. Sorted arrays instead of
 * hash tables: no seed, and no choice of names can make them slow. Heap sort, because its worst
 * case is n log n and it needs no memory. Invariant: by_key and by_name are permutations.
 */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "format/gguf_parse.h"

typedef int (*index_compare)(const struct gguf *g, uint32_t a, uint32_t b);

static int compare_str(struct str a, struct str b) {
    size_t n = a.n < b.n ? a.n : b.n;
    int d = memcmp(a.p, b.p, n);
    return d ? d : (a.n > b.n) - (a.n < b.n);
}

static int compare_key(const struct gguf *g, uint32_t a, uint32_t b) {
    return compare_str(g->kv[a].key, g->kv[b].key);
}

static int compare_name(const struct gguf *g, uint32_t a, uint32_t b) {
    return compare_str(g->tensor[a].name, g->tensor[b].name);
}

static int compare_offset(const struct gguf *g, uint32_t a, uint32_t b) {
    uint64_t x = g->tensor[a].offset, y = g->tensor[b].offset;
    return (x > y) - (x < y);
}

/* Lets v[root] sink in the heap v[0..n). */
static void sink(uint32_t *v, size_t root, size_t n, const struct gguf *g, index_compare cmp) {
    uint32_t moving = v[root];
    for (size_t child; (child = 2 * root + 1) < n; root = child) {
        if (child + 1 < n && cmp(g, v[child], v[child + 1]) < 0) {
            child++;
        }
        if (cmp(g, moving, v[child]) >= 0) {
            break;
        }
        v[root] = v[child];
    }
    v[root] = moving;
}

/* The numbers 0..n-1 in the order of cmp (mem_free); NULL when out of memory. */
static uint32_t *sort_index(const struct gguf *g, size_t n, index_compare cmp) {
    uint32_t *v = mem_alloc(n, sizeof *v);
    if (!v) {
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        v[i] = (uint32_t)i;
    }
    for (size_t i = n / 2; i-- > 0;) {
        sink(v, i, n, g, cmp);
    }
    for (size_t i = n; i-- > 1;) {
        uint32_t top = v[0];
        v[0] = v[i];
        v[i] = top;
        sink(v, 0, i, g, cmp);
    }
    return v;
}

static enum err_code fail_memory(const struct gguf *g, struct err *e) {
    return err_set(e, ERR_NOMEM, "out of memory for the index of %s", g->path);
}

enum err_code gguf_index_keys(struct gguf *g, struct err *e) {
    mem_free(g->by_key);
    g->by_key = sort_index(g, g->n_kv, compare_key);
    if (!g->by_key) {
        return fail_memory(g, e);
    }
    for (size_t i = 1; i < g->n_kv; i++) {
        const struct gguf_kv *a = &g->kv[g->by_key[i - 1]], *b = &g->kv[g->by_key[i]];
        if (compare_str(a->key, b->key) == 0) {
            return gguf_fail(e, ERR_FORMAT, g, a->offset > b->offset ? a->offset : b->offset, "key",
                             NULL, "key '%.*s' is there twice", GGUF_NAME(a->key));
        }
    }
    return ERR_OK;
}

enum err_code gguf_index_names(struct gguf *g, struct err *e) {
    mem_free(g->by_name);
    g->by_name = sort_index(g, g->n_tensor, compare_name);
    if (!g->by_name) {
        return fail_memory(g, e);
    }
    for (size_t i = 1; i < g->n_tensor; i++) {
        const struct gguf_tensor *a = &g->tensor[g->by_name[i - 1]];
        const struct gguf_tensor *b = &g->tensor[g->by_name[i]];
        if (compare_str(a->name, b->name) == 0) {
            return gguf_fail(e, ERR_FORMAT, g, a->entry > b->entry ? a->entry : b->entry,
                             "tensor name", NULL,
                             "tensor '%.*s' is there twice (in parts %u and %u)",
                             GGUF_NAME(a->name), a->part + 1, b->part + 1);
        }
    }
    return ERR_OK;
}

enum err_code gguf_check_overlap(const struct gguf *g, struct err *e) {
    enum err_code rc = ERR_OK;
    uint64_t gaps = 0;
    uint32_t *order = sort_index(g, g->n_tensor, compare_offset);
    if (!order) {
        return fail_memory(g, e);
    }
    for (size_t i = 1; i < g->n_tensor; i++) {
        const struct gguf_tensor *a = &g->tensor[order[i - 1]], *b = &g->tensor[order[i]];
        if (b->offset < a->offset + a->bytes) {
            rc = gguf_fail(e, ERR_FORMAT, g, b->entry, "offset", NULL,
                           "tensor '%.*s' shares bytes with tensor '%.*s'", GGUF_NAME(b->name),
                           GGUF_NAME(a->name));
            break;
        }
        gaps += b->offset - a->offset - a->bytes >= g->alignment;
    }
    if (!rc && gaps) {
        log_line(LOG_DEBUG, "%s: %llu gaps between tensors", g->path, (unsigned long long)gaps);
    }
    mem_free(order);
    return rc;
}

const struct gguf_kv *gguf_find(const struct gguf *g, const char *key) {
    struct str want = str_c(key);
    for (size_t low = 0, high = g->n_kv; low < high;) {
        size_t mid = low + (high - low) / 2;
        const struct gguf_kv *kv = &g->kv[g->by_key[mid]];
        int d = compare_str(want, kv->key);
        if (d == 0) {
            return kv;
        }
        if (d < 0) {
            high = mid;
        } else {
            low = mid + 1;
        }
    }
    return NULL;
}

const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name) {
    struct str want = str_c(name);
    for (size_t low = 0, high = g->n_tensor; low < high;) {
        size_t mid = low + (high - low) / 2;
        const struct gguf_tensor *t = &g->tensor[g->by_name[mid]];
        int d = compare_str(want, t->name);
        if (d == 0) {
            return t;
        }
        if (d < 0) {
            high = mid;
        } else {
            low = mid + 1;
        }
    }
    return NULL;
}
