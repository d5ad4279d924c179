/* mem.c: malloc behind one door, and arenas.
 *
 * Owns the only calls of malloc and its kin, the counts of blocks, and (in the torture build)
 * the failing of the n-th one. Refuses to end the program: out of memory is an answer.
 * Invariant: every block counted when handed out is uncounted exactly once, by mem_free.
 */
#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"

#define ARENA_CHUNK ((size_t)64 << 10)

static atomic_size_t live, count;

#ifdef IGN_TORTURE

/* Allocations until the failures begin, that one included; 0: none fails. */
static atomic_size_t fail_in;

bool mem_fail_at(size_t n) {
    atomic_store(&fail_in, n);
    return true;
}

static bool mem_admit(void) {
    size_t n = atomic_load(&fail_in);
    while (n > 1 && !atomic_compare_exchange_weak(&fail_in, &n, n - 1)) {
    }
    return n != 1;
}

#else

bool mem_fail_at(size_t n) {
    (void)n;
    return false;
}

static bool mem_admit(void) {
    return true;
}

#endif

bool mem_take(void) {
    if (!mem_admit()) {
        return false;
    }
    atomic_fetch_add_explicit(&live, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&count, 1, memory_order_relaxed);
    return true;
}

void mem_drop(void) {
    atomic_fetch_sub_explicit(&live, 1, memory_order_relaxed);
}

/* Either the block, counted, or NULL, uncounted. */
static void *mem_counted(void *p) {
    if (!p) {
        mem_drop();
    }
    return p;
}

void *mem_alloc(size_t n, size_t size) {
    size_t bytes;
    if (!size_mul(n, size, &bytes) || !mem_take()) {
        return NULL;
    }
    return mem_counted(malloc(bytes ? bytes : 1));
}

void *mem_zalloc(size_t n, size_t size) {
    size_t bytes;
    if (!size_mul(n, size, &bytes) || !mem_take()) {
        return NULL;
    }
    return mem_counted(calloc(bytes ? bytes : 1, 1));
}

void *mem_realloc(void *p, size_t n, size_t size) {
    size_t bytes;
    if (!p) {
        return mem_alloc(n, size);
    }
    if (!size_mul(n, size, &bytes) || !mem_take()) {
        return NULL;
    }
    void *q = realloc(p, bytes ? bytes : 1);
    mem_drop(); /* on success the old block is gone, on failure the new one never was */
    return q;
}

void mem_free(void *p) {
    if (p) {
        mem_drop();
        free(p);
    }
}

char *mem_strdup(const char *s, size_t n) {
    size_t bytes;
    char *p = size_add(n, 1, &bytes) ? mem_alloc(bytes, 1) : NULL;
    if (p) {
        if (n) {
            memcpy(p, s, n);
        }
        p[n] = '\0';
    }
    return p;
}

void *mem_aligned(size_t n, size_t size) {
    size_t bytes;
    void *p = NULL;
    if (!size_mul(n, size, &bytes) || !mem_take()) {
        return NULL;
    }
    if (posix_memalign(&p, bytes < OS_LARGE ? 64 : OS_LARGE, bytes ? bytes : 1)) {
        p = NULL;
    }
    os_pages_large(p, p ? bytes : 0);
    return mem_counted(p);
}

size_t mem_live(void) {
    return atomic_load(&live);
}

size_t mem_count(void) {
    return atomic_load(&count);
}

/* ---- arenas -------------------------------------------------------------------------- */

struct arena_chunk {
    struct arena_chunk *below;
    size_t used, cap; /* of the bytes after this header */
};

/* The header rounded up, so that what follows is aligned like it. */
#define CHUNK_HEAD ((sizeof(struct arena_chunk) + 15) & ~(size_t)15)

void arena_init(struct arena *a, size_t max) {
    *a = (struct arena){.max = max};
}

static bool arena_grow(struct arena *a, size_t bytes) {
    size_t cap = bytes > ARENA_CHUNK ? bytes : ARENA_CHUNK, total;
    struct arena_chunk *c = size_add(cap, CHUNK_HEAD, &total) ? mem_alloc(total, 1) : NULL;
    if (!c) {
        return false;
    }
    *c = (struct arena_chunk){.below = a->top, .cap = cap};
    a->top = c;
    return true;
}

void *arena_alloc(struct arena *a, size_t n, size_t size) {
    size_t bytes, used;
    if (!size_mul(n, size, &bytes) || !size_add(bytes ? bytes : 1, 15, &bytes)) {
        return NULL;
    }
    bytes &= ~(size_t)15;
    if (!size_add(a->used, bytes, &used) || (a->max && used > a->max)) {
        return NULL;
    }
    if ((!a->top || bytes > a->top->cap - a->top->used) && !arena_grow(a, bytes)) {
        return NULL;
    }
    void *p = (char *)a->top + CHUNK_HEAD + a->top->used;
    a->top->used += bytes;
    a->used = used;
    return p;
}

void *arena_zalloc(struct arena *a, size_t n, size_t size) {
    void *p = arena_alloc(a, n, size);
    return p ? memset(p, 0, n * size) : NULL;
}

char *arena_strdup(struct arena *a, const char *s, size_t n) {
    size_t bytes;
    char *p = size_add(n, 1, &bytes) ? arena_alloc(a, bytes, 1) : NULL;
    if (p) {
        if (n) {
            memcpy(p, s, n);
        }
        p[n] = '\0';
    }
    return p;
}

void arena_reset(struct arena *a) {
    while (a->top && a->top->below) {
        struct arena_chunk *c = a->top;
        a->top = c->below;
        mem_free(c);
    }
    if (a->top) {
        a->top->used = 0;
    }
    a->used = 0;
}

void arena_fini(struct arena *a) {
    while (a->top) {
        struct arena_chunk *c = a->top;
        a->top = c->below;
        mem_free(c);
    }
    a->used = 0;
}
