/* duty.c: see duty.h.
 *
 * One thread at a time does the account: whoever finds `check_at` in the past and puts it into the
 * far future. Its result is `pause_until`, which all look at.
 */
#include "base/duty.h"

#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/mem.h"
#include "base/os.h"

#define CHECK_SECONDS  1e-3 /* between two accounts: the length of the team's bursts */
#define CREDIT_SECONDS 250e-3
#define SLICE_SECONDS  10e-3

struct member {
    atomic_int clock; /* of os_thread_clock; 0: has not worked yet */
    int clock_seen;   /* the rest is the account's */
    double used;
};

struct duty {
    double rate; /* processor seconds a second */
    int n_thread;
    _Atomic double check_at, pause_until; /* in os_now's seconds */
    _Atomic(const volatile int *) stop;
    double balance, wall;   /* processor seconds to spare; time of the last account */
    struct member member[]; /* [n_thread] */
};

enum err_code duty_create(struct duty **out, int n_thread, int percent, struct err *e) {
    *out = NULL;
    if (percent < 5 || percent > 100) {
        err_set(e, ERR_RANGE, "a duty of %d percent is not in 5..100", percent);
        return ERR_RANGE;
    }
    if (percent == 100) {
        return ERR_OK;
    }
    struct duty *d = mem_zalloc(1, sizeof *d + (size_t)n_thread * sizeof d->member[0]);
    if (!d) {
        return err_set(e, ERR_NOMEM, "out of memory for %d threads", n_thread);
    }
    d->rate = percent / 100.0 * n_thread;
    d->n_thread = n_thread;
    d->wall = os_now();
    *out = d;
    return ERR_OK;
}

void duty_free(struct duty *d) {
    mem_free(d);
}

void duty_watch(struct duty *d, const volatile int *stop) {
    if (d) {
        atomic_store(&d->stop, stop);
    }
}

/* Processor time of the team since the last account. A thread that is new in its place (another
 * caller) is counted from now on. */
static double duty_used(struct duty *d) {
    double sum = 0;
    for (int i = 0; i < d->n_thread; i++) {
        struct member *m = &d->member[i];
        int clock = atomic_load(&m->clock);
        if (!clock) {
            continue;
        }
        double used = os_clock_read(clock);
        if (clock == m->clock_seen && used > m->used) {
            sum += used - m->used;
        }
        m->clock_seen = clock;
        m->used = used;
    }
    return sum;
}

static void duty_account(struct duty *d, double now) {
    double most = d->rate * CREDIT_SECONDS;
    d->balance += d->rate * (now - d->wall) - duty_used(d);
    d->wall = now;
    if (d->balance > most) {
        d->balance = most;
    }
    if (d->balance < 0) {
        now += -d->balance / d->rate;
        atomic_store(&d->pause_until, now);
    }
    atomic_store(&d->check_at, now + CHECK_SECONDS);
}

void duty_pause(struct duty *d, int thread) {
    if (!d) {
        return;
    }
    int clock = os_thread_clock();
    if (atomic_load_explicit(&d->member[thread].clock, memory_order_relaxed) != clock) {
        atomic_store(&d->member[thread].clock, clock);
    }
    double now = os_now(), at = atomic_load(&d->check_at);
    if (now >= at && atomic_compare_exchange_strong(&d->check_at, &at, INFINITY)) {
        duty_account(d, now);
    }
    double left;
    while ((left = atomic_load(&d->pause_until) - os_now()) > 0 &&
           !os_stopped(atomic_load(&d->stop))) {
        os_sleep(left < SLICE_SECONDS ? left : SLICE_SECONDS);
    }
}
