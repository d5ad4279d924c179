/* merger.c: two ways to the same merges.
 *
 * Owns the choice: a short word is searched for its best pair again and again, which costs
 * nothing to set up; a long one gets a heap over a linked list. An entry of the heap is
 * stale once its left symbol is gone or has another key; a key names one merge, so an equal key
 * means the same merge. Invariant: both ways give the same symbols.
 */
#include "text/merger.h"

#include <string.h>

#include "base/mem.h"

enum { SHORT_WORD = 24, END = UINT32_MAX };

void merger_fini(struct merger *m) {
    mem_free(m->sym);
    mem_free(m->heap);
    *m = (struct merger){0};
}

bool merger_begin(struct merger *m, size_t n) {
    m->n = 0;
    if (n <= m->cap) {
        return true;
    }
    size_t cap = n < 64 ? 64 : n;
    mem_free(m->sym);
    m->cap = 0;
    m->sym = mem_alloc(cap, sizeof *m->sym);
    if (!m->sym) {
        return false;
    }
    m->cap = cap;
    return true;
}

/* ---- short words ------------------------------------------------------------------------ */

static void merge_short(struct merger *m, merger_pair pair, const void *ctx, const char *word) {
    struct symbol *s = m->sym;
    size_t n = m->n;
    for (size_t i = 0; i + 1 < n; i++) {
        s[i].key = pair(ctx, word, &s[i], &s[i + 1], &s[i].to);
    }
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++) {
            best = s[i].key < s[best].key ? i : best;
        }
        if (s[best].key == MERGER_NONE) {
            break;
        }
        s[best].n += s[best + 1].n;
        s[best].id = s[best].to;
        n--;
        memmove(&s[best + 1], &s[best + 2], (n - best - 1) * sizeof *s);
        if (best) {
            s[best - 1].key = pair(ctx, word, &s[best - 1], &s[best], &s[best - 1].to);
        }
        if (best + 1 < n) {
            s[best].key = pair(ctx, word, &s[best], &s[best + 1], &s[best].to);
        }
    }
    m->n = n;
}

/* ---- long words ------------------------------------------------------------------------- */

/* Four children each: half the levels of a binary heap, and siblings share a cache line. */
static void heap_down(uint64_t *h, size_t n, size_t i) {
    uint64_t v = h[i];
    for (size_t first = 4 * i + 1; first < n; first = 4 * i + 1) {
        size_t end = first + 4 < n ? first + 4 : n, k = first;
        for (size_t c = first + 1; c < end; c++) {
            k = h[c] < h[k] ? c : k;
        }
        if (h[k] >= v) {
            break;
        }
        h[i] = h[k];
        i = k;
    }
    h[i] = v;
}

static void heap_push(struct merger *m, uint64_t v) {
    size_t i = m->n_heap++;
    while (i && m->heap[(i - 1) / 4] > v) {
        m->heap[i] = m->heap[(i - 1) / 4];
        i = (i - 1) / 4;
    }
    m->heap[i] = v;
}

static uint64_t heap_pop(struct merger *m) {
    uint64_t v = m->heap[0];
    m->heap[0] = m->heap[--m->n_heap];
    heap_down(m->heap, m->n_heap, 0);
    return v;
}

static uint64_t heap_entry(uint32_t key, size_t i) {
    return (uint64_t)key << 32 | (uint32_t)i;
}

/* A merge takes one entry out and puts at most two in: never more than 2n at once. */
static bool heap_begin(struct merger *m) {
    m->n_heap = 0;
    if (m->cap_heap < 2 * m->n) {
        mem_free(m->heap);
        m->cap_heap = 0;
        m->heap = mem_alloc(m->n, 2 * sizeof *m->heap);
        if (!m->heap) {
            return false;
        }
        m->cap_heap = 2 * m->n;
    }
    return true;
}

static void look_right(struct merger *m, merger_pair pair, const void *ctx, const char *word,
                       uint32_t i) {
    struct symbol *s = &m->sym[i];
    s->key = MERGER_NONE;
    if (s->next != END) {
        s->key = pair(ctx, word, s, &m->sym[s->next], &s->to);
        if (s->key != MERGER_NONE) {
            heap_push(m, heap_entry(s->key, i));
        }
    }
}

static void merge_heap(struct merger *m, merger_pair pair, const void *ctx, const char *word) {
    struct symbol *s = m->sym;
    uint32_t n = (uint32_t)m->n;
    for (uint32_t i = 0; i < n; i++) {
        s[i].prev = i ? i - 1 : END;
        s[i].next = i + 1 < n ? i + 1 : END;
        s[i].key = i + 1 < n ? pair(ctx, word, &s[i], &s[i + 1], &s[i].to) : MERGER_NONE;
        if (s[i].key != MERGER_NONE) {
            m->heap[m->n_heap++] = heap_entry(s[i].key, i);
        }
    }
    for (size_t i = (m->n_heap + 2) / 4; i-- > 0;) {
        heap_down(m->heap, m->n_heap, i);
    }
    while (m->n_heap) {
        uint64_t top = heap_pop(m);
        uint32_t i = (uint32_t)top, r = s[i].next;
        if (s[i].n == 0 || s[i].key != (uint32_t)(top >> 32)) {
            continue;
        }
        s[i].n += s[r].n;
        s[i].id = s[i].to;
        s[i].next = s[r].next;
        s[r].n = 0;
        if (s[i].next != END) {
            s[s[i].next].prev = i;
        }
        if (s[i].prev != END) {
            look_right(m, pair, ctx, word, s[i].prev);
        }
        look_right(m, pair, ctx, word, i);
    }
    size_t k = 0;
    for (uint32_t i = 0; i != END; i = s[i].next) {
        s[k++] = s[i]; /* k <= i: the list ascends */
    }
    m->n = k;
}

bool merger_run(struct merger *m, merger_pair pair, const void *ctx, const char *word) {
    if (m->n <= SHORT_WORD) {
        merge_short(m, pair, ctx, word);
        return true;
    }
    if (!heap_begin(m)) {
        return false;
    }
    merge_heap(m, pair, ctx, word);
    return true;
}
