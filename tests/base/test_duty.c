/* test_duty.c: a limited pool stays below its share, in loops of any shape, and a stop ends a
 * pause.
 *
 * What is asked of the clock is only what holds on a machine of any load: processor time against
 * wall time has an upper bound. That the share is reached is for bench/neighbour to say.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/duty.h"
#include "base/mem.h"
#include "base/os.h"
#include "base/pool.h"

/* *arg: processor seconds that each item takes. */
static void work(void *arg, int item, int thread) {
    int clock = os_thread_clock();
    double end = os_clock_read(clock) + *(double *)arg;
    (void)item;
    (void)thread;
    while (os_clock_read(clock) < end) {
    }
}

static struct pool *limited(int n_thread, int percent) {
    struct pool *p;
    struct err e = {0};
    assert_int_equal(pool_create(&p, n_thread, &e), ERR_OK);
    assert_int_equal(pool_limit(p, percent, &e), ERR_OK);
    return p;
}

static void below_share(int n_thread, int percent, int n_item, double item, int loops) {
    struct pool *p = limited(n_thread, percent);
    double wall = os_now(), used = os_cpu_seconds(), rate = percent / 100.0 * n_thread;
    for (int i = 0; i < loops; i++) {
        pool_run(p, work, &item, n_item);
    }
    wall = os_now() - wall;
    used = os_cpu_seconds() - used;
    /* The last items, one a thread, are not paid for yet; 10 ms for the rest of this program. */
    double most = rate * wall + n_thread * (item + 1e-3) + 0.01;
    if (used > most) {
        fail_msg("%d threads, %d %%: used %.3f s of at most %.3f s", n_thread, percent, used, most);
    }
    assert_true(used >= loops * n_item * item);
    pool_free(p);
}

static void test_below_share(void **state) {
    (void)state;
    below_share(2, 50, 16, 1e-3, 12);
    below_share(2, 20, 1, 1e-3, 60); /* serial loops: one thread, below its share of two */
    below_share(2, 20, 2, 1e-3, 40); /* an item a thread: paused before it */
    below_share(1, 20, 64, 1e-3, 1); /* one long loop: paused inside */
    below_share(3, 10, 64, 1e-3, 1);
    below_share(2, 99, 2, 1e-4, 300);
}

/* Another caller in thread 0's place is not charged with what it used before. */
static void caller(void *arg) {
    double item = 1e-3;
    pool_run(arg, work, &item, 8);
}

static void test_other_caller(void **state) {
    (void)state;
    struct pool *p = limited(2, 50);
    for (int i = 0; i < 5; i++) {
        struct os_thread *t;
        struct err e = {0};
        assert_int_equal(os_thread_start(&t, caller, p, &e), ERR_OK);
        os_thread_join(t);
    }
    double before = 0.4, t = os_now();
    work(&before, 0, 0); /* in this thread, which the pool has not seen */
    double alone = os_now() - t;
    t = os_now();
    caller(p);
    assert_true(os_now() - t < alone);
    pool_free(p);
}

static void test_stop(void **state) {
    (void)state;
    volatile int stop = 1;
    double item = 20e-3; /* at 5 % of one thread: 400 ms each */
    struct pool *p = limited(1, 5);
    pool_watch(p, &stop);
    double t = os_now();
    pool_run(p, work, &item, 4);
    double stopped = os_now() - t;
    pool_watch(p, NULL);
    t = os_now();
    pool_run(p, work, &item, 2);
    assert_true(os_now() - t > 2 * stopped);
    pool_free(p);
}

static void test_bounds(void **state) {
    (void)state;
    struct duty *d;
    struct err e = {0};
    assert_int_equal(duty_create(&d, 2, 4, &e), ERR_RANGE);
    assert_null(d);
    err_clear(&e);
    assert_int_equal(duty_create(&d, 2, 101, &e), ERR_RANGE);
    err_clear(&e);
    assert_int_equal(duty_create(&d, 2, 100, &e), ERR_OK);
    assert_null(d);
    duty_watch(d, NULL);
    duty_pause(d, 0);
    duty_free(d);
    if (mem_fail_at(1)) { /* in the torture build */
        assert_int_equal(duty_create(&d, 2, 50, &e), ERR_NOMEM);
        mem_fail_at(0);
    }
    assert_int_equal(mem_live(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_below_share),
        cmocka_unit_test(test_other_caller),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests_name("duty", tests, NULL, NULL);
}
