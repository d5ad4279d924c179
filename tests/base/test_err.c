/* test_err.c: errors are filled once, widened outwards, and safe to print. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/utf8.h"

static void test_fill_once(void **state) {
    (void)state;
    struct err e = {0};
    char line[256];
    assert_int_equal(err_set(&e, ERR_FORMAT, "bad count %d", 7), ERR_FORMAT);
    assert_int_equal(err_set(&e, ERR_IO, "later"), ERR_IO);
    assert_int_equal(e.code, ERR_FORMAT);
    err_where(&e, "offset %d", 12);
    err_where(&e, "file.gguf");
    err_hint(&e, "get another");
    err_hint(&e, "not this one");
    assert_string_equal(e.where, "file.gguf, offset 12");
    assert_string_equal(err_line(&e, line, sizeof line),
                        "bad count 7 (file.gguf, offset 12); get another");
    err_clear(&e);
    assert_int_equal(e.code, ERR_OK);
    assert_int_equal(err_set(NULL, ERR_NOMEM, "nobody listens"), ERR_NOMEM);
    err_where(NULL, "x");
    err_hint(NULL, "x");
}

static void test_escapes(void **state) {
    (void)state;
    struct err e = {0};
    err_set(&e, ERR_FORMAT, "name \"%s\"", "\x1b[2J\n\x7f\xff caf\xc3\xa9 \xe2\x80\xae \xc2\x9b");
    assert_string_equal(e.what, "name \"\\x1b[2J\\x0a\\x7f\\xff caf\xc3\xa9 \\xe2\\x80\\xae "
                                "\\xc2\\x9b\"");
}

/* Whatever length the text has, what is kept is whole characters and whole escapes. */
static void test_truncates_on_a_border(void **state) {
    (void)state;
    char text[2000];
    for (size_t pad = 0; pad < 4; pad++) {
        struct err e = {0};
        memset(text, 'a', pad);
        for (size_t i = pad; i + 4 < sizeof text; i += 4) {
            memcpy(text + i, "\xf0\x9f\x98\x80", 5);
        }
        err_set(&e, ERR_IO, "%s", text);
        assert_true(strlen(e.what) >= sizeof e.what - 4);
        assert_true(utf8_valid(e.what, strlen(e.what)));
        err_where(&e, "%s", text);
        err_where(&e, "%s", text);
        assert_true(utf8_valid(e.where, strlen(e.where)));
        for (size_t n = 0; n < 64; n++) {
            char line[64];
            memset(line, 'x', sizeof line);
            err_line(&e, line, n);
            assert_true(n == 0 || strlen(line) < n);
            assert_true(n == 0 || utf8_valid(line, strlen(line)));
            assert_int_equal(line[n], 'x');
        }
    }
    struct err e = {0};
    memset(text, 1, sizeof text - 1);
    text[sizeof text - 1] = '\0';
    err_set(&e, ERR_IO, "%s", text);
    assert_int_equal(strlen(e.what) % 4, 0);
}

static void test_names(void **state) {
    (void)state;
    for (int i = 0; i < ERR_N; i++) {
        assert_non_null(err_name((enum err_code)i));
        for (int j = 0; j < i; j++) {
            assert_string_not_equal(err_name((enum err_code)i), err_name((enum err_code)j));
        }
    }
    assert_string_equal(err_name(ERR_N), "unknown");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fill_once),
        cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_truncates_on_a_border),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests_name("err", tests, NULL, NULL);
}
