/* pool.c: one parallel loop at a time, over threads that stay.
 *
 * Owns the hand-out of items, which is guided self-scheduling (Polychronopoulos and Kuck 1987).
 * `state` holds the number of the loop in its upper half and the items still to be taken in its
 * lower half; items are taken by a compare-and-swap on the whole, so a late thread can never take
 * an item of a loop other than the one it looked at. A loop waits only for threads that have taken
 * an item: one that the system does not run costs the loop nothing.
 * Invariant: the fields from `fn` to `cpu` describe the open loop; they change only while `state`
 * has no items left and `done` equals the last loop's n_item.
 */
#include "base/pool.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/duty.h"
#include "base/mem.h"
#include "base/os.h"

/* Between two operations of a layer there are microseconds: long enough to catch the next loop
 * awake, short enough to be no burden to a neighbour. */
#define SPIN_SECONDS 40e-6
#define LINE         64
/* At a time a thread takes (items left) / (threads * this), one at least. */
#define SHARES       2
#define SHARES_BRIEF 1
#define PART_MOST    64 /* items in one call, at most: a limited pool pauses between calls */

struct worker {
    struct pool *pool;
    struct os_thread *thread;
    int index;
};

/* Seconds that a thread has worked in the open loop; written by that thread. */
struct busy {
    _Alignas(LINE) double seconds;
};

struct pool {
    _Alignas(LINE) _Atomic uint64_t state;
    _Atomic(pool_part_fn) fn; /* from here to counts: written between loops only */
    _Atomic(void *) arg;
    atomic_int n_item;
    atomic_int shares;                /* SHARES or SHARES_BRIEF */
    atomic_int most;                  /* items taken at a time, at most */
    atomic_int cpu;                   /* where the caller was when the loop began */
    struct busy *busy;                /* [n_thread] */
    double waited;                    /* mean over the threads, seconds */
    bool counts;                      /* whether `busy` and `waited` are wanted */
    _Alignas(LINE) atomic_int done;   /* items finished */
    _Alignas(LINE) atomic_int asleep; /* workers on `wake` */
    atomic_bool waiting;              /* the caller is on `finish` */
    atomic_bool stop;
    bool spin; /* false with more threads than processors: spinning would keep the others out */
    int n_thread;
    struct duty *duty; /* NULL: no limit; set before the first loop */
    struct os_mutex *lock;
    struct os_cond *wake, *finish;
    struct worker *workers; /* [n_thread - 1] */
};

/* Takes the next *n items of the open loop and returns the first; -1 if none are left. Many while
 * many are left, since a swap costs as much as a small item; one by one towards the end, so that
 * all threads finish together. */
static int pool_take(struct pool *p, pool_part_fn *fn, void **arg, int *n) {
    uint64_t s = atomic_load_explicit(&p->state, memory_order_acquire);
    while ((uint32_t)s) {
        /* If these belong to a later loop, `state` has changed and the swap fails. */
        *fn = atomic_load_explicit(&p->fn, memory_order_relaxed);
        *arg = atomic_load_explicit(&p->arg, memory_order_relaxed);
        int shares = atomic_load_explicit(&p->shares, memory_order_relaxed);
        int left = (int)(uint32_t)s, share = left / (shares * p->n_thread);
        int item = atomic_load_explicit(&p->n_item, memory_order_relaxed) - left;
        int most = atomic_load_explicit(&p->most, memory_order_relaxed);
        *n = share > most ? most : share > 1 ? share : 1;
        if (atomic_compare_exchange_weak_explicit(&p->state, &s, s - (uint32_t)*n,
                                                  memory_order_acq_rel, memory_order_acquire)) {
            return item;
        }
    }
    return -1;
}

/* pool_run: a call for each item. */
struct each {
    struct duty *duty;
    pool_fn fn;
    void *arg;
};

static void each_part(void *arg, int item, int n, int thread) {
    const struct each *e = arg;
    for (int i = 0; i < n; i++) {
        if (i > 0) { /* whoever took the items has paused before the first */
            duty_pause(e->duty, thread);
        }
        e->fn(e->arg, item + i, thread);
    }
}

/* Works until no items are left; returns how many this thread did. */
static int pool_work(struct pool *p, int thread) {
    pool_part_fn fn;
    void *arg;
    int n = 0, share, item = pool_take(p, &fn, &arg, &share);
    if (item < 0) {
        return 0;
    }
    /* `counts` changes between loops only, and the item keeps this loop open. */
    double start = p->counts ? os_now() : 0;
    for (; item >= 0; item = pool_take(p, &fn, &arg, &share)) {
        duty_pause(p->duty, thread);
        fn(arg, item, share, thread);
        n += share;
    }
    if (start > 0) {
        p->busy[thread].seconds = os_now() - start;
    }
    return n;
}

/* Adds what the loop that began at `start`, and is over, waited. */
static void pool_count(struct pool *p, double start) {
    double busy = 0;
    for (int i = 0; i < p->n_thread; i++) {
        busy += p->busy[i].seconds;
        p->busy[i].seconds = 0;
    }
    p->waited += os_now() - start - busy / p->n_thread;
}

double pool_waited(struct pool *p) {
    p->counts = true;
    return p->waited;
}

/* Spins until `state` has items, at most SPIN_SECONDS. */
static bool pool_spin_items(struct pool *p) {
    double end = os_now() + SPIN_SECONDS;
    do {
        for (int i = 0; i < 32; i++) {
            if ((uint32_t)atomic_load_explicit(&p->state, memory_order_relaxed)) {
                return true;
            }
            os_relax();
        }
    } while (os_now() < end);
    return false;
}

static void pool_sleep(struct pool *p) {
    os_mutex_lock(p->lock);
    atomic_fetch_add(&p->asleep, 1);
    /* `asleep` is raised before `state` is read, and the caller writes `state` before it reads
     * `asleep`: one of the two sees the other. */
    while (!(uint32_t)atomic_load(&p->state) && !atomic_load(&p->stop)) {
        os_cond_wait(p->wake, p->lock);
    }
    atomic_fetch_sub(&p->asleep, 1);
    os_mutex_unlock(p->lock);
}

/* Where other processes keep every other CPU busy, the system wakes a thread on the CPU of the
 * thread that woke it, where the two would take turns instead of working side by side. */
static void pool_spread(struct pool *p) {
    int cpu = atomic_load_explicit(&p->cpu, memory_order_relaxed);
    if (p->spin && cpu >= 0 && cpu == os_cpu_current()) {
        os_cpu_leave(cpu);
    }
}

static void pool_worker(void *arg) {
    struct worker *w = arg;
    struct pool *p = w->pool;
    while (!atomic_load(&p->stop)) {
        int n = pool_work(p, w->index);
        if (n) {
            int target = atomic_load_explicit(&p->n_item, memory_order_relaxed);
            if (atomic_fetch_add(&p->done, n) + n == target && atomic_load(&p->waiting)) {
                os_mutex_lock(p->lock);
                os_cond_broadcast(p->finish);
                os_mutex_unlock(p->lock);
            }
        }
        if (!p->spin || !pool_spin_items(p)) {
            pool_sleep(p);
            pool_spread(p);
        }
    }
}

static void pool_wait_done(struct pool *p, int n_item) {
    double end = p->spin ? os_now() + SPIN_SECONDS : 0;
    do {
        for (int i = 0; i < 32; i++) {
            if (atomic_load_explicit(&p->done, memory_order_acquire) == n_item) {
                return;
            }
            os_relax();
        }
    } while (p->spin && os_now() < end);
    os_mutex_lock(p->lock);
    atomic_exchange(&p->waiting, true);
    while (atomic_load(&p->done) != n_item) {
        os_cond_wait(p->finish, p->lock);
    }
    atomic_store(&p->waiting, false);
    os_mutex_unlock(p->lock);
}

static void run(struct pool *p, pool_part_fn fn, void *arg, int n_item, int shares, int most) {
    if (n_item <= 1 || p->n_thread == 1) {
        for (int i = 0; i < n_item; i += most) {
            duty_pause(p->duty, 0);
            fn(arg, i, n_item - i < most ? n_item - i : most, 0);
        }
        return;
    }
    double start = p->counts ? os_now() : 0;
    atomic_store_explicit(&p->fn, fn, memory_order_relaxed);
    atomic_store_explicit(&p->arg, arg, memory_order_relaxed);
    atomic_store_explicit(&p->n_item, n_item, memory_order_relaxed);
    atomic_store_explicit(&p->shares, shares, memory_order_relaxed);
    atomic_store_explicit(&p->most, most, memory_order_relaxed);
    atomic_store_explicit(&p->cpu, os_cpu_current(), memory_order_relaxed);
    atomic_store_explicit(&p->done, 0, memory_order_relaxed);
    uint64_t loop = (atomic_load_explicit(&p->state, memory_order_relaxed) >> 32) + 1;
    /* A store would do here and for `waiting`, but QEMU 7.2, by which the tests of 64-bit ARM run,
     * lets the load that follows pass it. */
    atomic_exchange(&p->state, loop << 32 | (uint32_t)n_item);
    if (atomic_load(&p->asleep)) {
        os_mutex_lock(p->lock);
        os_cond_broadcast(p->wake);
        os_mutex_unlock(p->lock);
    }
    int n = pool_work(p, 0);
    if (atomic_fetch_add_explicit(&p->done, n, memory_order_acq_rel) + n != n_item) {
        pool_wait_done(p, n_item);
    }
    if (p->counts) {
        pool_count(p, start);
    }
}

void pool_run(struct pool *p, pool_fn fn, void *arg, int n_item) {
    struct each e = {p->duty, fn, arg};
    run(p, each_part, &e, n_item, SHARES, n_item);
}

void pool_run_parts(struct pool *p, pool_part_fn part, void *arg, int n_item, bool brief) {
    run(p, part, arg, n_item, brief ? SHARES_BRIEF : SHARES, PART_MOST);
}

enum err_code pool_limit(struct pool *p, int percent, struct err *e) {
    return duty_create(&p->duty, p->n_thread, percent, e);
}

void pool_watch(struct pool *p, const volatile int *stop) {
    duty_watch(p->duty, stop);
}

int pool_threads(const struct pool *p) {
    return p->n_thread;
}

enum err_code pool_create(struct pool **out, int n_thread, struct err *e) {
    *out = NULL;
    if (n_thread < 1 || n_thread > 1024) {
        return err_set(e, ERR_RANGE, "%d threads is not in 1..1024", n_thread);
    }
    enum err_code code = ERR_OK;
    struct pool *p = mem_aligned(1, sizeof *p);
    if (!p) {
        return err_set(e, ERR_NOMEM, "out of memory for %d threads", n_thread);
    }
    *p = (struct pool){.n_thread = n_thread, .shares = SHARES, .spin = n_thread <= os_cpu_count()};
    p->lock = os_mutex_create();
    p->wake = os_cond_create();
    p->finish = os_cond_create();
    p->workers = mem_zalloc((size_t)n_thread, sizeof *p->workers);
    p->busy = mem_aligned((size_t)n_thread, sizeof *p->busy);
    if (!p->lock || !p->wake || !p->finish || !p->workers || !p->busy) {
        code = err_set(e, ERR_NOMEM, "out of memory for %d threads", n_thread);
        goto fail;
    }
    for (int i = 0; i < n_thread; i++) {
        p->busy[i].seconds = 0;
    }
    for (int i = 0; i < n_thread - 1; i++) {
        struct worker *w = &p->workers[i];
        *w = (struct worker){.pool = p, .index = i + 1};
        code = os_thread_start(&w->thread, pool_worker, w, e);
        if (code) {
            goto fail;
        }
    }
    *out = p;
    return ERR_OK;
fail:
    pool_free(p);
    return code;
}

void pool_free(struct pool *p) {
    if (!p) {
        return;
    }
    if (p->lock && p->wake) {
        os_mutex_lock(p->lock);
        atomic_store(&p->stop, true);
        os_cond_broadcast(p->wake);
        os_mutex_unlock(p->lock);
    }
    for (int i = 0; p->workers && i < p->n_thread - 1; i++) {
        os_thread_join(p->workers[i].thread);
    }
    mem_free(p->workers);
    mem_free(p->busy);
    duty_free(p->duty);
    os_cond_free(p->finish);
    os_cond_free(p->wake);
    os_mutex_free(p->lock);
    mem_free(p);
}
