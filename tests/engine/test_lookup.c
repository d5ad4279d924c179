/* test_lookup.c: what is guessed from which past, and when a guess is computed: on measurements
 * that the test makes up.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "engine/gain.h"

#define CONTEXT 512

/* Tokens from text: a byte is a token. */
static int put(int32_t *tok, int n, const char *z) {
    for (; *z; z++) {
        tok[n++] = *z;
    }
    return n;
}

/* The guess as text. */
static const char *guess(struct lookup *l, int32_t *tok, int n, int max, enum lookup_kind *kind) {
    static char out[LOOKUP_MAX + 1];
    int k = lookup_guess(l, tok, n, max, kind);
    assert_in_range(k, 0, max);
    for (int i = 0; i < k; i++) {
        out[i] = (char)tok[n + i];
    }
    out[k] = '\0';
    return out;
}

static void test_guesses(void **state) {
    (void)state;
    struct lookup l;
    int32_t tok[CONTEXT];
    enum lookup_kind kind;
    assert_int_equal(lookup_init(&l, CONTEXT, NULL), ERR_OK);
    assert_string_equal(guess(&l, tok, 0, 5, &kind), "");
    int n = put(tok, 0, "ab");
    assert_string_equal(guess(&l, tok, n, 5, &kind), "");
    /* The longest past wins over a newer one, and of equals the newest. */
    n = put(tok, n, "cdefgh xyefgi xyz: abcdef");
    assert_string_equal(guess(&l, tok, n, 5, &kind), "gh xy");
    assert_int_equal(kind, LOOKUP_4);
    n = put(tok, n, "gq1 defg");
    assert_string_equal(guess(&l, tok, n, 2, &kind), "q1");
    assert_int_equal(kind, LOOKUP_4);
    n = put(tok, n, " 12ef");
    assert_string_equal(guess(&l, tok, n, 3, &kind), "g 1");
    assert_int_equal(kind, LOOKUP_2);
    /* A guess runs into itself. */
    n = put(tok, n, "-*-*-*");
    assert_string_equal(guess(&l, tok, n, 7, &kind), "-*-*-*-");
    assert_string_equal(guess(&l, tok, n, 0, &kind), "");
    lookup_fini(&l);
    lookup_fini(&l);
}

static void test_long_pasts(void **state) {
    (void)state;
    struct lookup l;
    int32_t tok[CONTEXT];
    enum lookup_kind kind;
    assert_int_equal(lookup_init(&l, CONTEXT, NULL), ERR_OK);
    int n = put(tok, 0, "The quick brown fox jumps. He: the quick brown");
    assert_string_equal(guess(&l, tok, n, 4, &kind), " fox");
    assert_int_equal(kind, LOOKUP_8);
    n = put(tok, n, " fox");
    assert_string_equal(guess(&l, tok, n, 6, &kind), " jumps");
    assert_int_equal(kind, LOOKUP_16);
    lookup_fini(&l);
}

/* What was cut off is found in the small table; what replaced it, in the index. */
static void test_after_a_cut(void **state) {
    (void)state;
    struct lookup l;
    int32_t tok[CONTEXT];
    enum lookup_kind kind;
    assert_int_equal(lookup_init(&l, CONTEXT, NULL), ERR_OK);
    int n = put(tok, 0, "Question: ");
    for (const char *z = "yes, you may."; *z; z++) {
        tok[n++] = *z;
        lookup_learn(&l, tok, n);
        guess(&l, tok, n, 3, &kind);
    }
    lookup_forget(&l);
    n = 10;
    assert_string_equal(guess(&l, tok, n, 6, &kind), "yes, y");
    assert_int_equal(kind, LOOKUP_RECENT);
    memset(tok + n, 0, sizeof tok - (size_t)n * sizeof *tok);
    assert_string_equal(guess(&l, tok, n, 15, &kind), "yes, you may.");
    lookup_fini(&l);
}

/* Cuts and other tokens in any order, and a language so small that every slot is crowded: a guess
 * stays within its bounds, and its kind tells the truth. */
static void test_any_past(void **state) {
    (void)state;
    struct lookup l;
    struct rng rng;
    int32_t tok[CONTEXT];
    enum lookup_kind kind;
    int n = 0, found = 0;
    rng_seed(&rng, 1);
    assert_int_equal(lookup_init(&l, CONTEXT, NULL), ERR_OK);
    for (int i = 0; i < 20000; i++) {
        if (n == CONTEXT || rng_double(&rng) < 0.01) {
            n = (int)(rng_double(&rng) * n);
            lookup_forget(&l);
        }
        tok[n++] = (int32_t)(rng_double(&rng) * 3);
        lookup_learn(&l, tok, n);
        int max = CONTEXT - n < LOOKUP_MAX ? CONTEXT - n : LOOKUP_MAX;
        int k = lookup_guess(&l, tok, n, max, &kind);
        assert_in_range(k, 0, max);
        for (int j = 0; j < k; j++) {
            assert_in_range(tok[n + j], 0, 2);
        }
        found += k > 0;
    }
    assert_true(found > 15000);
    lookup_fini(&l);
}

/* ---- gain --------------------------------------------------------------------------------------
 */

/* n guesses of ten tokens, of which the first `right` came true. */
static void see(struct odds *o, int n, int right) {
    const int32_t tok[LOOKUP_MAX] = {0};
    while (n-- > 0) {
        odds_watch(o, LOOKUP_4, tok, 10);
        for (int i = 0; i <= right && i < 10; i++) {
            odds_see(o, i < right ? 0 : 1);
        }
        assert_int_equal(o->n_watch, 0);
    }
}

static int choose(const struct costs *c, const struct odds *o) {
    double expected = 1;
    int k = gain_choose(c, o, LOOKUP_4, 10, 1, &expected);
    assert_true(k ? expected > 1 : expected == 1);
    return k;
}

static void test_choice(void **state) {
    (void)state;
    struct odds o = {0};
    struct costs c = {0};
    assert_int_equal(choose(&c, &o), 0);
    see(&o, 12, 10);
    assert_int_equal(choose(&c, &o), 0); /* no step has been measured */
    costs_see(&c, 1, 1.0);
    assert_int_equal(choose(&c, &o), 10); /* hope */
    costs_see(&c, 11, 3.0);
    assert_int_equal(choose(&c, &o), 10);
    /* The more of it is wrong, the less of it is computed. */
    see(&o, 40, 4);
    assert_in_range(choose(&c, &o), 4, 5);
    see(&o, 40, 0);
    assert_int_equal(choose(&c, &o), 0);
    /* Found out without computing a guess, it pays again. */
    see(&o, 40, 10);
    assert_int_equal(choose(&c, &o), 10);
}

static void test_costs(void **state) {
    (void)state;
    struct odds o = {0};
    struct costs c = {0};
    see(&o, 40, 10);
    costs_see(&c, 1, 1.0);
    for (int i = 0; i < 3; i++) {
        costs_see(&c, 11, 20.0);
        costs_see(&c, 6, 20.0);
        costs_see(&c, 2, 20.0);
    }
    assert_int_equal(choose(&c, &o), 0);
    /* Refused, it is tried again: rarely, for three measurements are believed for 256 steps. */
    int steps = 0;
    while (choose(&c, &o) == 0) {
        costs_see(&c, 1, 1.0);
        assert_true(steps++ < 1000);
    }
    assert_in_range(steps, 200, 300);
    /* A step that is over quickly is the truth; one that took long may have been disturbed. */
    costs_see(&c, 11, 2.0);
    costs_see(&c, 11, 2.0);
    costs_see(&c, 11, 2.0);
    costs_see(&c, 11, 20.0);
    assert_int_equal(choose(&c, &o), 10);
}

/* Steps of more rows than are measured are neither remembered nor chosen. */
static void test_most_rows(void **state) {
    (void)state;
    struct odds o = {0};
    struct costs c = {0}, before;
    double expected = 1;
    see(&o, 40, 10);
    costs_see(&c, GAIN_ROWS - 3, 1.0);
    costs_see(&c, GAIN_ROWS, 1.0);
    before = c;
    costs_see(&c, GAIN_ROWS + 1, 1.0);
    before.step++;
    assert_memory_equal(&c, &before, sizeof c);
    assert_int_equal(gain_choose(&c, &o, LOOKUP_4, 10, GAIN_ROWS - 3, &expected), 3);
    assert_int_equal(gain_choose(&c, &o, LOOKUP_4, 10, GAIN_ROWS, &expected), 0);
}

/* A token that was wrong makes all that come after it wrong, however short the guess was. */
static void test_miss(void **state) {
    (void)state;
    struct odds o = {0};
    const int32_t tok[2] = {5, 6};
    odds_watch(&o, LOOKUP_3, tok, 2);
    odds_see(&o, 5);
    odds_see(&o, 7);
    for (int i = 0; i < LOOKUP_MAX; i++) {
        assert_int_equal(o.looks[LOOKUP_3][i], 1);
        assert_true((o.true_up_to[LOOKUP_3][i] > 0) == (i == 0));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guesses),     cmocka_unit_test(test_long_pasts),
        cmocka_unit_test(test_after_a_cut), cmocka_unit_test(test_any_past),
        cmocka_unit_test(test_choice),      cmocka_unit_test(test_costs),
        cmocka_unit_test(test_most_rows),   cmocka_unit_test(test_miss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
