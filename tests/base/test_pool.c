/* test_pool.c: every item exactly once, nobody inside after the loop, no matter how many threads.
 *
 * With --bench: what a loop costs beyond the work in it, hot and after a pause.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/pool.h"

#define ITEMS 1000

struct job {
    atomic_int seen[ITEMS];
    atomic_int inside;
    int n_thread;
    int plain[ITEMS]; /* written without atomics: the loop's end must publish it */
    bool slow;
};

static void mark(void *arg, int item, int thread) {
    struct job *j = arg;
    atomic_fetch_add(&j->inside, 1);
    if (thread < 0 || thread >= j->n_thread) {
        atomic_fetch_add(&j->seen[item], 100);
    }
    atomic_fetch_add(&j->seen[item], 1);
    j->plain[item]++;
    if (j->slow && item % 7 == 0) {
        os_sleep(50e-6);
    }
    atomic_fetch_sub(&j->inside, 1);
}

static void mark_part(void *arg, int item, int n, int thread) {
    struct job *j = arg;
    if (n < 1 || n > 64) {
        atomic_fetch_add(&j->seen[item], 100);
    }
    for (int i = item; i < item + n; i++) {
        mark(arg, i, thread);
    }
}

static void run_and_check(struct pool *p, struct job *j, int n_item, bool brief) {
    for (int i = 0; i < ITEMS; i++) {
        atomic_store(&j->seen[i], 0);
        j->plain[i] = 0;
    }
    if (brief) {
        pool_run_parts(p, mark_part, j, n_item, n_item % 2 == 0);
    } else {
        pool_run(p, mark, j, n_item);
    }
    assert_int_equal(atomic_load(&j->inside), 0);
    for (int i = 0; i < ITEMS; i++) {
        if (atomic_load(&j->seen[i]) != (i < n_item) || j->plain[i] != (i < n_item)) {
            fail_msg("item %d of %d ran %d times", i, n_item, atomic_load(&j->seen[i]));
        }
    }
}

static void test_every_item_once(void **state) {
    (void)state;
    static const int threads[] = {1, 2, 3, 8, 33};
    for (size_t t = 0; t < sizeof threads / sizeof threads[0]; t++) {
        struct pool *p;
        struct err e = {0};
        struct job *j = mem_zalloc(1, sizeof *j);
        assert_non_null(j);
        assert_int_equal(pool_create(&p, threads[t], &e), ERR_OK);
        assert_int_equal(pool_threads(p), threads[t]);
        j->n_thread = threads[t];
        for (int n = 0; n < 100; n++) {
            run_and_check(p, j, n, false);
            run_and_check(p, j, n, true);
        }
        run_and_check(p, j, ITEMS, false);
        run_and_check(p, j, ITEMS, true);
        j->slow = true;
        run_and_check(p, j, 60, false);
        run_and_check(p, j, 60, true);
        pool_free(p);
        mem_free(j);
    }
    assert_int_equal(mem_live(), 0);
}

static void count(void *arg, int item, int thread) {
    (void)item;
    (void)thread;
    atomic_fetch_add((atomic_long *)arg, 1);
}

static void count_part(void *arg, int item, int n, int thread) {
    (void)item;
    (void)thread;
    atomic_fetch_add((atomic_long *)arg, n);
}

/* Back to back, and with pauses around the time that a thread spins before it sleeps. */
static void test_stress(void **state) {
    (void)state;
    struct pool *p;
    struct err e = {0};
    assert_int_equal(pool_create(&p, 4, &e), ERR_OK);
    atomic_long total = 0;
    long want = 0;
    for (int i = 0; i < 20000; i++) {
        int n = i % 5 == 0 ? 2 : i % 9;
        if (i % 2) {
            pool_run_parts(p, count_part, &total, n, i % 4 == 1);
        } else {
            pool_run(p, count, &total, n);
        }
        want += n;
        assert_int_equal(atomic_load(&total), want);
        if (i % 16 == 0) {
            os_sleep((double)(i / 16 % 20) * 5e-6);
        }
    }
    pool_free(p);
}

static void sleep_first(void *arg, int item, int thread) {
    (void)arg;
    (void)thread;
    if (item == 0) {
        os_sleep(0.05);
    }
}

/* One of two threads has nothing to do while the other sleeps: half of the time is waited, at
 * least, and never more than all of it. */
static void test_waited(void **state) {
    (void)state;
    for (int n = 1; n <= 2; n++) {
        struct pool *p;
        assert_int_equal(pool_create(&p, n, NULL), ERR_OK);
        pool_run(p, sleep_first, NULL, 2);
        assert_true(pool_waited(p) == 0);
        double start = os_now();
        pool_run(p, sleep_first, NULL, 2);
        double all = os_now() - start, waited = pool_waited(p);
        assert_true(n == 1 ? waited == 0 : waited > 0.02 && waited <= all);
        pool_free(p);
    }
}

static void test_bounds(void **state) {
    (void)state;
    struct pool *p;
    struct err e = {0};
    assert_int_equal(pool_create(&p, 0, &e), ERR_RANGE);
    assert_null(p);
    err_clear(&e);
    assert_int_equal(pool_create(&p, 1025, &e), ERR_RANGE);
    pool_free(NULL);
    for (size_t n = 1; mem_fail_at(n); n++) { /* in the torture build: no leak, no hang */
        err_clear(&e);
        enum err_code code = pool_create(&p, 3, &e);
        mem_fail_at(0);
        if (code == ERR_OK) {
            pool_free(p);
            break;
        }
        assert_int_equal(code, ERR_NOMEM);
        assert_int_equal(mem_live(), 0);
    }
    assert_int_equal(mem_live(), 0);
}

/* arg: seconds of work. */
static void work(void *arg, int item, int thread) {
    (void)item;
    (void)thread;
    double end = os_now() + *(const double *)arg;
    while (os_now() < end) {
    }
}

/* What a loop of two items for each thread costs beyond the work in it, and a serial gap follows
 * each loop as it does between the operations of a layer. */
static int bench(void) {
    for (int n = 1; n <= os_cpu_count(); n++) {
        struct pool *p;
        const int rounds = 5000;
        double item = 10e-6, gap = 3e-6, hot = 0, cold = 0;
        if (pool_create(&p, n, NULL)) {
            return 1;
        }
        for (int i = 0; i < rounds; i++) {
            double t = os_now();
            pool_run(p, work, &item, n * 2);
            hot += (os_now() - t - 2 * item) / rounds;
            work(&gap, 0, 0);
        }
        for (int i = 0; i < 200; i++) {
            os_sleep(1e-3);
            double t = os_now();
            pool_run(p, work, &item, n * 2);
            cold += (os_now() - t - 2 * item) / 200;
        }
        printf("%d threads: %.2f us more than the work when hot, %.2f us after a sleep\n", n,
               hot * 1e6, cold * 1e6);
        pool_free(p);
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--bench") == 0) {
        return bench();
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_item_once),
        cmocka_unit_test(test_stress),
        cmocka_unit_test(test_waited),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
