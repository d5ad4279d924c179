/* test_stop.c: stop strings against a search of the whole text, over every way to cut the text in
 * two and random ways to cut it in many.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "engine/stop.h"

/* Where the text ends by definition: the earliest end of a stop string, the longest of those. */
static bool reference(const char *text, const char *const *z, size_t n, size_t *cut) {
    for (size_t end = 1; end <= strlen(text); end++) {
        size_t best = 0;
        for (size_t i = 0; i < n; i++) {
            size_t len = strlen(z[i]);
            if (len <= end && len > best && !memcmp(text + end - len, z[i], len)) {
                best = len;
            }
        }
        if (best) {
            *cut = end - best;
            return true;
        }
    }
    *cut = strlen(text);
    return false;
}

/* Feeds pieces that end at the cuts [n_cut], ascending. */
static void check(const char *text, const char *const *z, size_t n, const size_t *cuts,
                  size_t n_cut) {
    struct stop s;
    struct err e = {0};
    struct buf out;
    size_t want, at = 0;
    bool stops = reference(text, z, n, &want), stopped = false;
    buf_init(&out, SIZE_MAX);
    assert_int_equal(stop_init(&s, z, n, &e), ERR_OK);
    for (size_t i = 0; i <= n_cut && !stopped; i++) {
        size_t end = i < n_cut ? cuts[i] : strlen(text);
        stopped = stop_put(&s, text + at, end - at, &out);
        assert_true(out.len <= want);
        assert_true(utf8_valid(out.p ? out.p : "", out.len));
        assert_true(stopped || end - out.len < stop_held_max(&s) || end == out.len);
        at = end;
    }
    assert_int_equal(stopped, stops);
    if (!stopped) {
        stop_flush(&s, &out);
    }
    assert_int_equal(out.len, want);
    assert_memory_equal(out.len ? out.p : "", text, want);
    stop_fini(&s);
    buf_fini(&out);
}

static void check_all_cuts(const char *text, const char *const *z, size_t n) {
    check(text, z, n, NULL, 0);
    for (size_t cut = 0; cut <= strlen(text); cut++) {
        if (utf8_valid(text, cut)) { /* the decoder gives whole sequences */
            check(text, z, n, &cut, 1);
        }
    }
}

static void test_cases(void **state) {
    (void)state;
    static const struct {
        const char *text, *stop[4];
    } cases[] = {
        {"no stop at all", {"xyz"}},
        {"ends here STOP not here", {"STOP"}},
        {"STOP", {"STOP"}},
        {"STO", {"STOP"}},
        {"STOSTOP", {"STOP"}},
        {"aaaaab", {"aab"}},
        {"abababac", {"ababac"}},
        {"one\n\nUser: two", {"\nUser:", "\n\nUser"}},
        {"xab", {"ab", "xab"}},
        {"abcd", {"bc", "abcd"}},
        {"aabaaab", {"aaab", "aabaab", "b!"}},
        {"price 5 \xe2\x82\xac, then", {"\xe2\x82\xac"}},
        {"price 5 \xe2\x82\xac\xe2\x82\xac", {"\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac"}},
        {"\xe2\x82\xac\xe2\x82\xad", {"\xe2\x82\xac\xe2\x82\xac", "\xe2\x82\xad!"}},
        {"\xf0\x9f\x98\x80 and", {"\xf0\x9f\x98\x81", "an!"}},
        {"", {"x"}},
        {"same twice", {"twice", "twice"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = 0;
        while (n < 4 && cases[i].stop[n]) {
            n++;
        }
        check_all_cuts(cases[i].text, cases[i].stop, n);
    }
    check_all_cuts("nothing stops this", NULL, 0);
}

/* Letters of two or three kinds make every overlap that there is. */
static void test_random(void **state) {
    (void)state;
    static const char *const letter[] = {"a", "b", "\xc3\xa9", "\xc3\xaa"};
    struct rng rng;
    rng_seed(&rng, 1);
    for (int round = 0; round < 20000; round++) {
        char text[64] = "", stop[3][16];
        const char *z[3];
        size_t cuts[40], n_cut = 0, n = 1 + rng_next(&rng) % 3;
        uint64_t kinds = 2 + rng_next(&rng) % 3;
        for (size_t i = 0; i < n; i++) {
            stop[i][0] = '\0';
            for (uint64_t k = 0, len = 1 + rng_next(&rng) % 6; k < len; k++) {
                strcat(stop[i], letter[rng_next(&rng) % kinds]);
            }
            z[i] = stop[i];
        }
        for (uint64_t k = 0, len = rng_next(&rng) % 25; k < len; k++) {
            strcat(text, letter[rng_next(&rng) % kinds]);
            if (rng_next(&rng) % 2) {
                cuts[n_cut++] = strlen(text);
            }
        }
        check(text, z, n, cuts, n_cut);
    }
}

static void test_largest(void **state) {
    (void)state;
    static char strings[STOP_MAX][STOP_BYTES_MAX + 1];
    const char *z[STOP_MAX];
    struct stop s;
    struct err e = {0};
    struct buf out;
    size_t live = mem_live();
    for (int i = 0; i < STOP_MAX; i++) {
        memset(strings[i], 'a', STOP_BYTES_MAX);
        strings[i][STOP_BYTES_MAX - 1] = (char)('A' + i / 2);
        z[i] = strings[i];
    }
    buf_init(&out, SIZE_MAX);
    assert_int_equal(stop_init(&s, z, STOP_MAX, &e), ERR_OK);
    assert_int_equal(stop_held_max(&s), STOP_BYTES_MAX);
    for (int i = 0; i < 20000; i++) {
        assert_false(stop_put(&s, "a", 1, &out));
    }
    assert_int_equal(out.len, 20000 - (STOP_BYTES_MAX - 1));
    assert_true(stop_put(&s, "C", 1, &out));
    assert_int_equal(out.len, 20000 - (STOP_BYTES_MAX - 1));
    stop_fini(&s);
    buf_fini(&out);
    assert_int_equal(mem_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_largest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
