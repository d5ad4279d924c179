/* pool.h: a fixed team of threads that runs one parallel loop at a time.
 *
 * Owns the threads and the hand-out of work: items 0..n_item-1 are taken from a shared counter, a
 * share of those left at a time, so a thread that other processes slow down takes fewer. The caller
 * takes part. Refuses queues and futures. Invariant: nobody is inside `fn` when a loop returns; the
 * result must not depend on which thread took which item.
 */
#ifndef IGN_BASE_POOL_H
#define IGN_BASE_POOL_H

#include <stdbool.h>

#include "base/err.h"

struct pool;

/* fn(arg, item, thread): `thread` in 0..n_thread-1 picks a private scratch area. */
typedef void (*pool_fn)(void *arg, int item, int thread);
/* Items item..item+n-1, n >= 1, in one call. */
typedef void (*pool_part_fn)(void *arg, int item, int n, int thread);

enum err_code pool_create(struct pool **p, int n_thread, struct err *e);
void pool_free(struct pool *p); /* NULL is fine */
int pool_threads(const struct pool *p);
/* Holds the threads to `percent` (5..100) of their processors' time (duty.h). Once, before the
 * first loop. ERR_RANGE, ERR_NOMEM. */
enum err_code pool_limit(struct pool *p, int percent, struct err *e);
/* A limited pool's pauses end when *stop is not 0; NULL: they do not. Between loops. */
void pool_watch(struct pool *p, const volatile int *stop);
/* Seconds that threads have waited in loops for each other, the mean over the threads: a loop's
 * time less that of its items. Counted from the first call on, which returns 0. Called by the
 * caller of pool_run, between loops. */
double pool_waited(struct pool *p);
/* One caller at a time. Waiting threads spin for a few microseconds, then sleep. */
void pool_run(struct pool *p, pool_fn fn, void *arg, int n_item);
/* The same with one call for all items that a thread takes at a time, 64 at most: for items that
 * are better done together with their neighbours. `brief`: the whole loop takes some ten
 * microseconds. Threads then take twice as many, since taking costs more than it costs to finish a
 * little apart. */
void pool_run_parts(struct pool *p, pool_part_fn part, void *arg, int n_item, bool brief);

#endif
