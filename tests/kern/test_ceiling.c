/* test_ceiling.c: the ceilings are numbers that can be divided by, in an order that the loops
 * imply.
 *
 * Refuses to say how large they must be: that is the machine's. Only figures of one call are
 * compared.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "kern/ceiling.h"
#include "kern/cpu/micro.h"

/* Of a figure that another must not be below: the clock changes from one to the next. */
#define ROOM 0.8

static void measure(struct ceilings *c, const char *level, int threads) {
    struct err e = {0};
    assert_int_equal(ceilings_measure(c, level, threads, 0.3, NULL, &e), ERR_OK);
    printf("%s, %d threads:", c->level, c->threads);
    for (int i = 0; i < CEILING_N; i++) {
        printf(" %s %.1f +- %.0f %%", ceiling_name((enum ceiling)i),
               ceiling_rate(c, (enum ceiling)i), 50 * c->spread_of[i]);
    }
    printf("\n");
}

static bool has_level(const char *level) {
    struct micro m;
    return micro_choose(&m, level, NULL) == ERR_OK;
}

static void test_figures(void **state) {
    (void)state;
    for (int l = 0; micro_level(l) != NULL; l++) {
        struct ceilings c;
        if (!has_level(micro_level(l))) {
            continue;
        }
        measure(&c, micro_level(l), 1);
        assert_string_equal(c.level, micro_level(l));
        assert_int_equal(c.threads, 1);
        for (int i = 0; i < CEILING_N; i++) {
            double rate = ceiling_rate(&c, (enum ceiling)i);
            assert_true(isfinite(rate) && isfinite(c.spread_of[i]));
            assert_true(i == CEILING_BF16 ? rate >= 0 : rate > 0);
            assert_true(c.spread_of[i] >= 0 && c.spread_of[i] <= c.spread);
        }
        assert_true(c.read_gb_per_s == ceiling_rate(&c, CEILING_READ));
        assert_true(c.int8_gmac_per_s == ceiling_rate(&c, CEILING_INT8));
    }
}

/* Fewer bits never cost more than more bits, nor bytes more than floats (C's may). Some processors
 * multiply bf16 at half the rate of f32. */
static bool in_order(const struct ceilings *c) {
    double q4 = c->quant_gmac_per_s[DT_Q4_K], q5 = c->quant_gmac_per_s[DT_Q5_K];
    double q6 = c->quant_gmac_per_s[DT_Q6_K], q8 = c->quant_gmac_per_s[DT_Q8_0];
    return q4 >= ROOM * q5 && q5 >= ROOM * q6 && q6 >= ROOM * q8 && q8 == c->int8_gmac_per_s &&
           (q8 >= ROOM * c->f32_gmac_per_s || strcmp(c->level, "c") == 0) &&
           (strcmp(c->level, "avx512") != 0 || q4 == q8) &&
           (c->bf16_gmac_per_s == 0 || c->bf16_gmac_per_s >= ROOM / 2 * c->f32_gmac_per_s);
}

/* A neighbour may spoil one measurement, and not every one; nor is a wider level slower. */
static void test_order(void **state) {
    (void)state;
    double before = 0;
    for (int l = 0; micro_level(l) != NULL; l++) {
        struct ceilings c;
        bool good = false;
        if (!has_level(micro_level(l))) {
            continue;
        }
        for (int i = 0; i < 10 && !good; i++) {
            measure(&c, micro_level(l), 1);
            good = in_order(&c) && c.quant_gmac_per_s[DT_Q4_K] >= ROOM * before;
        }
        assert_true(good);
        before = c.quant_gmac_per_s[DT_Q4_K];
    }
}

/* Every type that can be multiplied by has a figure: an integer one, or that of floats. */
static void test_formats(void **state) {
    (void)state;
    struct ceilings c;
    measure(&c, NULL, 0);
    assert_true(c.threads >= 1);
    for (int t = 0; t < DT_MAX; t++) {
        enum micro_kind kind;
        bool quantized = micro_block((enum dtype)t, &kind) != NULL;
        assert_true((c.quant_gmac_per_s[t] > 0) == quantized);
        if (quantized) {
            enum ceiling of = ceiling_of((enum dtype)t);
            assert_true(c.quant_gmac_per_s[t] == ceiling_rate(&c, of));
            assert_true(of != CEILING_F32);
        }
    }
    assert_int_equal(ceiling_of(DT_BF16), CEILING_F32);
}

static void test_stop(void **state) {
    (void)state;
    volatile int stop = 1;
    struct ceilings c;
    struct err e = {0};
    /* An hour if nobody looks. */
    assert_int_equal(ceilings_measure(&c, NULL, 1, 3600, &stop, &e), ERR_CANCELLED);
    assert_int_equal(e.code, ERR_CANCELLED);
}

static void test_refused(void **state) {
    (void)state;
    struct ceilings c;
    struct err e = {0};
    assert_int_equal(ceilings_measure(&c, "abacus", 1, 1, NULL, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.what, "abacus"));
    err_clear(&e);
    assert_int_equal(ceilings_measure(&c, "c", 100000, 1, NULL, &e), ERR_RANGE);
}

/* Every allocation failed in turn, in a build that can. */
static void test_no_memory(void **state) {
    (void)state;
    struct ceilings c;
    enum err_code code = ERR_NOMEM;
    if (!mem_fail_at(0)) {
        skip();
    }
    for (size_t n = 1; code != ERR_OK; n++) {
        struct err e = {0};
        mem_fail_at(n);
        code = ceilings_measure(&c, "c", 2, 0.01, NULL, &e);
        mem_fail_at(0);
        assert_true(code == ERR_OK || code == ERR_NOMEM);
        assert_int_equal(mem_live(), 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_figures), cmocka_unit_test(test_order),
        cmocka_unit_test(test_formats), cmocka_unit_test(test_stop),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
