/* test_json.c: strict reading, and a writer whose output the reader accepts. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/utf8.h"

static void test_kinds(void **state) {
    (void)state;
    static const char text[] =
        " {\"z\": null, \"a\": [true, false, -9223372036854775808, 1.5e3, \"x\\u0000y\"], "
        "\"m\": {\"\xc3\xa9\": \"\\ud83d\\ude00\"}} ";
    struct json *root;
    struct err e = {0};
    assert_int_equal(json_parse(text, strlen(text), &root, &e), ERR_OK);
    assert_int_equal(json_kind(root), JSON_IS_OBJECT);
    assert_int_equal(json_count(root), 3);

    static const char *const keys[] = {"z", "a", "m"};
    void *iter = NULL;
    struct str key;
    const struct json *value;
    size_t n = 0;
    while (json_next(root, &iter, &key, &value)) {
        assert_true(str_is(key, keys[n++]));
        assert_ptr_equal(value, json_find(root, keys[n - 1]));
    }
    assert_int_equal(n, 3);

    assert_int_equal(json_kind(json_find(root, "z")), JSON_IS_NULL);
    assert_null(json_find(root, "y"));
    const struct json *a = json_find(root, "a");
    assert_int_equal(json_kind(a), JSON_IS_ARRAY);
    assert_int_equal(json_count(a), 5);
    assert_true(json_bool(json_at(a, 0)));
    assert_int_equal(json_kind(json_at(a, 1)), JSON_IS_BOOL);
    assert_false(json_bool(json_at(a, 1)));
    assert_int_equal(json_kind(json_at(a, 2)), JSON_IS_INT);
    assert_true(json_int(json_at(a, 2)) == INT64_MIN);
    assert_int_equal(json_kind(json_at(a, 3)), JSON_IS_REAL);
    assert_true(json_num(json_at(a, 3)) == 1500);
    assert_true(str_eq(json_str(json_at(a, 4)), str_of("x\0y", 3)));
    assert_null(json_at(a, 5));
    assert_true(str_is(json_str(json_find(json_find(root, "m"), "\xc3\xa9")), "\xf0\x9f\x98\x80"));
    assert_int_equal(json_int(json_find(root, "m")), 0);
    assert_int_equal(json_str(a).n, 0);
    json_free(root);
    json_free(NULL);
    assert_int_equal(mem_live(), 0);
}

static void refuses(const char *text, size_t n, enum err_code code) {
    struct json *root;
    struct err e = {0};
    if (json_parse(text, n, &root, &e) != code || e.code != code) {
        fail_msg("%.*s gave %s", (int)n, text, e.what);
    }
    assert_null(root);
    assert_true(code == ERR_OK || strstr(e.where, "line "));
    assert_int_equal(mem_live(), 0);
}

static void test_strict(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        " ",
        "{",
        "[1,]",
        "{\"a\":1,}",
        "{'a':1}",
        "[1] x",
        "1 2",
        "nul",
        "01",
        "+1",
        ".5",
        "1.",
        "0x10",
        "NaN",
        "Infinity",
        "-",
        "\"a",
        "\"\t\"",
        "\"\\x41\"",
        "\"\\ud800\"",
        "\"\\ud800\\u0041\"",
        "\"\\udc00\"",
        "\"\xff\"",
        "\"\xc0\x80\"",
        "\"\xed\xa0\x80\"",
        "{\"a\":1,\"a\":2}",
        "{\"\\u0061\":1,\"a\":2}",
        "9223372036854775808",
        "1e999",
        "-1e999",
        "[1 2]",
        "{\"a\" 1}",
        "{1:2}",
        "\xef\xbb\xbf{}",
        "// c\n1",
        "{\"a\\u0000b\":1}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        refuses(bad[i], strlen(bad[i]), ERR_FORMAT);
    }
    /* a zero byte ends a C string, but no JSON */
    static const char zero[][9] = {"[1]\0",    "[1]\0[2]", "\0[1]", "[1,\0 2]",
                                   "\"a\0b\"", "{}\0\0\0", "7\0",   "[1\0]",
                                   "true\0",   "[7 \0]",   " \0"};
    static const size_t zero_n[] = {4, 7, 4, 7, 5, 5, 2, 4, 5, 5, 2};
    for (size_t i = 0; i < sizeof zero / sizeof zero[0]; i++) {
        refuses(zero[i], zero_n[i], ERR_FORMAT);
    }
    struct json *root;
    struct err e = {0};
    assert_int_equal(json_parse("[1,\n  x]", 8, &root, &e), ERR_FORMAT);
    assert_non_null(strstr(e.where, "line 2, column 3"));
}

static void test_depth(void **state) {
    (void)state;
    char text[200];
    struct json *root;
    struct err e = {0};
    for (int n = 60; n < 70; n++) {
        memset(text, '[', (size_t)n);
        memset(text + n, ']', (size_t)n);
        if (n > 64) {
            refuses(text, 2 * (size_t)n, ERR_LIMIT);
        } else {
            assert_int_equal(json_parse(text, 2 * (size_t)n, &root, &e), ERR_OK);
            json_free(root);
        }
    }
    static const char quoted[] =
        "[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[["
        "\", \"\\\\\"]";
    assert_int_equal(json_parse(quoted, strlen(quoted), &root, &e), ERR_OK);
    json_free(root);
    size_t n = 1 << 20;
    char *deep = mem_alloc(n, 1);
    memset(deep, '[', n);
    assert_int_equal(json_parse(deep, n, &root, &e), ERR_LIMIT);
    mem_free(deep);
}

static void test_writer(void **state) {
    (void)state;
    struct buf b;
    struct json_writer w;
    buf_init(&b, 10000);
    json_writer_init(&w, &b);
    json_open(&w, '{');
    json_key(&w, "a\"\n");
    json_put_int(&w, INT64_MIN);
    json_key(&w, "b");
    json_open(&w, '[');
    json_put_bool(&w, true);
    json_put_null(&w);
    json_put_z(&w, NULL);
    json_put_real(&w, 0.1);
    json_put_real(&w, 3);
    json_put_real(&w, 1e300);
    json_put_real(&w, NAN);
    json_put_float(&w, 0.6f);
    json_put_float(&w, 16777216);
    json_put_float(&w, INFINITY);
    json_put_uint(&w, UINT64_MAX);
    json_open(&w, '{');
    json_close(&w, '}');
    json_put_str(&w, str_of("\xff\0\x7f\\\xf0\x9f", 6));
    json_close(&w, ']');
    json_key(&w, "c");
    json_put_z(&w, "\t\r\x1b");
    json_member_uint_or_null(&w, "d", 7);
    json_member_uint_or_null(&w, "e", 0);
    json_close(&w, '}');
    assert_int_equal(buf_check(&b, NULL), ERR_OK);
    assert_string_equal(b.p, "{\"a\\\"\\n\":-9223372036854775808,\"b\":[true,null,null,0.1,3.0,"
                             "1e+300,null,0.6,16777216.0,null,18446744073709551615,{},"
                             "\"\xef\xbf\xbd\\u0000\\u007f\\\\\xef\xbf\xbd\"],"
                             "\"c\":\"\\t\\r\\u001b\",\"d\":7,\"e\":null}");
    buf_fini(&b);
}

/* Any finite double. */
static double f64_random(struct rng *r) {
    double v;
    do {
        uint64_t bits = rng_next(r);
        memcpy(&v, &bits, sizeof v);
    } while (!isfinite(v));
    return v;
}

/* Random strings and numbers come back as they went in. */
static void test_round_trip(void **state) {
    (void)state;
    struct rng r;
    rng_seed(&r, 7);
    for (int round = 0; round < 2000; round++) {
        struct buf out, clean;
        struct json_writer w;
        struct json *root;
        struct err e = {0};
        char bytes[24];
        size_t n = rng_next(&r) % sizeof bytes;
        for (size_t i = 0; i < n; i++) {
            bytes[i] = (char)(rng_next(&r) >> (rng_next(&r) & 1 ? 56 : 57));
        }
        double v = f64_random(&r);
        int64_t k = (int64_t)rng_next(&r);
        buf_init(&out, 1 << 16);
        buf_init(&clean, 1 << 16);
        json_writer_init(&w, &out);
        json_open(&w, '[');
        json_put_str(&w, str_of(bytes, n));
        json_put_real(&w, v);
        json_put_int(&w, k);
        json_close(&w, ']');
        assert_int_equal(json_parse(out.p, out.len, &root, &e), ERR_OK);
        utf8_clean(&clean, bytes, n);
        assert_true(str_eq(json_str(json_at(root, 0)), str_of(clean.p, clean.len)));
        assert_int_equal(json_kind(json_at(root, 1)), JSON_IS_REAL);
        assert_true(json_num(json_at(root, 1)) == v);
        assert_true(json_int(json_at(root, 2)) == k);
        json_free(root);
        buf_fini(&out);
        buf_fini(&clean);
    }
    assert_int_equal(mem_live(), 0);
}

static void test_writer_bounds(void **state) {
    (void)state;
    struct buf b;
    struct json_writer w;
    buf_init(&b, 10000);
    json_writer_init(&w, &b);
    for (int i = 0; i < 100; i++) {
        json_open(&w, '[');
        json_put_int(&w, i);
    }
    assert_true(b.failed);
    for (int i = 0; i < 100; i++) {
        json_close(&w, ']');
    }
    buf_fini(&b);
}

static void test_torture(void **state) {
    (void)state;
    static const char text[] = "{\"a\":[1,2.5,\"text\",{\"b\":null}],\"c\":{}}";
    for (size_t n = 1; mem_fail_at(n); n++) {
        struct json *root;
        struct err e = {0};
        enum err_code code = json_parse(text, strlen(text), &root, &e);
        mem_fail_at(0);
        if (code == ERR_OK) {
            json_free(root);
            assert_true(n > 10);
            break;
        }
        assert_null(root);
        assert_int_equal(mem_live(), 0);
    }
    assert_int_equal(mem_live(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),      cmocka_unit_test(test_strict),
        cmocka_unit_test(test_depth),      cmocka_unit_test(test_writer),
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_writer_bounds),
        cmocka_unit_test(test_torture),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
