/* mem.h: all memory of the program, named by how long it lives.
 *
 * Owns allocation: nothing else calls malloc, so that the torture build can fail the n-th call.
 * Lifetimes are process, model, session, request and step; an `arena` serves one of them and is
 * freed whole. Sizes are products checked for overflow here, never at the call site.
 * Invariant: mem_live() is 0 after everything has been closed.
 */
#ifndef IGN_BASE_MEM_H
#define IGN_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

/* NULL on failure or if n * size overflows; n * size == 0 gives a unique freeable pointer. */
void *mem_alloc(size_t n, size_t size);
void *mem_zalloc(size_t n, size_t size);
/* Grows or shrinks; on failure the old block is untouched and NULL is returned. */
void *mem_realloc(void *p, size_t n, size_t size);
void mem_free(void *p);
/* A copy of s[0..n) with a zero byte after it. */
char *mem_strdup(const char *s, size_t n);
/* 64-byte aligned, or in large pages of the system (os_pages_large) where it is as large as one;
 * free with mem_free. */
void *mem_aligned(size_t n, size_t size);

/* Blocks and allocations so far: for leak tests and for "no allocation in the token loop". */
size_t mem_live(void);
size_t mem_count(void);
/* Fails the n-th allocation from now (1 = the next) and every one after; 0 turns it off.
 * Works only in a build with IGN_TORTURE; returns whether it does. */
bool mem_fail_at(size_t n);
/* For os.h alone, whose pages come from the system and not from malloc: counts one block (false
 * if the torture build wants it to fail), and uncounts it. */
bool mem_take(void);
void mem_drop(void);

/* a + b and a * b; false if the result does not fit. */
static inline bool size_add(size_t a, size_t b, size_t *out) {
    return !__builtin_add_overflow(a, b, out);
}
static inline bool size_mul(size_t a, size_t b, size_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}

/* A bump allocator over chunks; everything in it is freed at once. Not thread-safe. */
struct arena {
    struct arena_chunk *top;
    size_t used; /* bytes handed out */
    size_t max;  /* refuses to go past this; 0 = no bound */
};

void arena_init(struct arena *a, size_t max);
/* 16-byte aligned, not zeroed; NULL when out of memory or past max. */
void *arena_alloc(struct arena *a, size_t n, size_t size);
void *arena_zalloc(struct arena *a, size_t n, size_t size);
char *arena_strdup(struct arena *a, const char *s, size_t n);
/* Empties, keeping the first chunk for the next request. */
void arena_reset(struct arena *a);
void arena_fini(struct arena *a);

#endif
