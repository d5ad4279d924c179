/* test_json_scan.c: the walk over JSON, against the tree reader and against its own promises. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json_scan.h"
#include "base/mem.h"

static enum err_code scan_all(const char *p, size_t n, struct err *e) {
    struct json_scan s;
    struct json_value v;
    json_scan_begin(&s, p, n, e);
    json_scan_value(&s, &v);
    return json_scan_end(&s);
}

/* Texts on which both readers must agree. */
static void grammar_is_the_tree_readers(void **state) {
    (void)state;
    static const char *const texts[] = {
        "{}",
        "[]",
        " [ ] ",
        "{\"a\":1}",
        "{\"a\":1,\"b\":[true,false,null]}",
        "[1,2.5,-3e4,0]",
        "\"x\"",
        "12",
        "[\"\\u00e9\\n\\ud83d\\ude00\"]",
        "[[[]],{\"a\":{}}]",
        "\t{\r\n}\n",
        /* broken ones */
        "",
        " ",
        "{",
        "[",
        "]",
        "}",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{'a':1}",
        "{\"a\":1 \"b\":2}",
        "[01]",
        "[1.]",
        "[.5]",
        "[1e]",
        "[+1]",
        "[-]",
        "[- 1]",
        "[0x1]",
        "[NaN]",
        "[Infinity]",
        "[tru]",
        "[truex]",
        "[nul",
        "[\"\\x\"]",
        "[\"\\u12\"]",
        "[\"\\ud800\"]",
        "[\"\\ud800\\u0041\"]",
        "[\"\\udc00\"]",
        "[\"a",
        "[\"a\nb\"]",
        "[\"\x80\"]",
        "[\"\xC0\xAF\"]",
        "[\"\xED\xA0\x80\"]",
        "{}{}",
        "[]x",
        "{\"a\":1]",
        "[1}",
        "\xEF\xBB\xBF[]",
        "[1]\f",
        "//x\n[]",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct err a = {0}, b = {0};
        struct json *root;
        enum err_code tree = json_parse(texts[i], strlen(texts[i]), &root, &a);
        enum err_code scan = scan_all(texts[i], strlen(texts[i]), &b);
        json_free(root);
        if (tree != scan) {
            fail_msg("'%s': the tree reader gives %d, the walk %d (%s)", texts[i], tree, scan,
                     b.what);
        }
        assert_int_equal(b.code, scan);
    }
}

/* Every byte at every place of strings of 0 to 20 others: they are read eight bytes at a time. */
static void every_byte_in_a_string(void **state) {
    (void)state;
    for (size_t n = 1; n <= 20; n++) {
        for (size_t at = 1; at <= n; at++) {
            for (unsigned byte = 0; byte < 256; byte++) {
                char text[24];
                struct json *root;
                memset(text, 'x', sizeof text);
                text[0] = text[n + 1] = '"';
                text[at] = (char)byte;
                enum err_code tree = json_parse(text, n + 2, &root, NULL);
                enum err_code scan = scan_all(text, n + 2, NULL);
                json_free(root);
                if (tree != scan) {
                    fail_msg("byte %02x at %zu of %zu: the tree reader gives %d, the walk %d", byte,
                             at, n, tree, scan);
                }
            }
        }
    }
}

static void white_space_of_any_length(void **state) {
    (void)state;
    char text[80];
    for (size_t n = 0; n < 40; n++) {
        for (size_t at = 0; at <= n; at++) {
            memset(text, ' ', sizeof text);
            text[at] = at % 4 == 0 ? '\n' : at % 4 == 1 ? '\t' : at % 4 == 2 ? '\r' : ' ';
            text[n] = '[';
            text[2 * n + 1] = ']';
            assert_int_equal(scan_all(text, 2 * n + 2, NULL), ERR_OK);
            assert_int_equal(scan_all(text, 2 * n + 1, NULL), ERR_FORMAT);
            text[at] = at == n ? '[' : '\f';
            assert_int_equal(scan_all(text, 2 * n + 2, NULL), at == n ? ERR_OK : ERR_FORMAT);
        }
    }
}

static void depth_has_a_bound(void **state) {
    (void)state;
    for (int depth = 63; depth <= 66; depth++) {
        char text[200] = "";
        struct err e = {0};
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        assert_int_equal(scan_all(text, strlen(text), &e), depth <= 64 ? ERR_OK : ERR_LIMIT);
    }
    size_t n = 200000;
    char *deep = mem_alloc(n, 1);
    struct err e = {0};
    assert_non_null(deep);
    memset(deep, '[', n);
    assert_int_equal(scan_all(deep, n, &e), ERR_LIMIT);
    assert_non_null(strstr(e.where, "line 1, column 65"));
    mem_free(deep);
}

static void walks_members_and_elements(void **state) {
    (void)state;
    static const char text[] =
        "{\"a\": [1, \"two\", {\"x\": 3}], \"b\\u0063\": {\"k\": 7}, \"z\": 0}";
    struct json_scan s;
    struct json_value v;
    struct str key;
    uint64_t u = 0;
    json_scan_begin(&s, text, strlen(text), NULL);
    assert_true(json_scan_open(&s, '{'));
    assert_true(json_scan_next(&s, &key) && str_is(key, "a"));
    assert_true(json_scan_open(&s, '['));
    assert_true(json_scan_next(&s, NULL) && json_scan_value(&s, &v) && json_text_u64(&v, &u));
    assert_int_equal(u, 1);
    assert_true(json_scan_next(&s, NULL) && json_scan_value(&s, &v));
    assert_true(v.kind == JSON_IS_STR && str_is(v.text, "two"));
    assert_true(json_scan_next(&s, NULL) && json_scan_value(&s, &v));
    assert_true(v.kind == JSON_IS_OBJECT && str_is(v.text, "{\"x\": 3}"));
    assert_false(json_scan_next(&s, NULL)); /* the end of the list */
    assert_true(json_scan_next(&s, &key) && json_text_is(key, "bc"));
    assert_false(json_scan_open(&s, '[')); /* it is an object: latched */
    assert_false(json_scan_next(&s, &key));
    assert_int_equal(json_scan_end(&s), ERR_FORMAT);
}

static void numbers_and_escapes(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool fits;
        uint64_t u;
    } numbers[] = {
        {"0", true, 0},
        {"18446744073709551615", true, UINT64_MAX},
        {"18446744073709551616", false, 0},
        {"100000000000000000000000000000", false, 0},
        {"-1", false, 0},
        {"-0", false, 0},
        {"1.0", false, 0},
        {"1e3", false, 0},
        {"\"1\"", false, 0},
        {"null", false, 0},
    };
    struct json_scan s;
    struct json_value v;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        uint64_t u;
        json_scan_begin(&s, numbers[i].text, strlen(numbers[i].text), NULL);
        assert_true(json_scan_value(&s, &v));
        assert_int_equal(json_text_u64(&v, &u), numbers[i].fits);
        assert_true(!numbers[i].fits || u == numbers[i].u);
    }
    static const char text[] = "\"\\u00e9\\\"\\/\\b\\u0000\\ud83d\\ude00x\"";
    static const char want[] = "\xC3\xA9\"/\b\0\xF0\x9F\x98\x80x";
    char out[64];
    json_scan_begin(&s, text, strlen(text), NULL);
    assert_true(json_scan_value(&s, &v));
    assert_int_equal(json_unescape(v.text, out), sizeof want - 1);
    assert_memory_equal(out, want, sizeof want - 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grammar_is_the_tree_readers), cmocka_unit_test(every_byte_in_a_string),
        cmocka_unit_test(white_space_of_any_length),   cmocka_unit_test(depth_has_a_bound),
        cmocka_unit_test(walks_members_and_elements),  cmocka_unit_test(numbers_and_escapes),
    };
    return cmocka_run_group_tests_name("json_scan", tests, NULL, NULL);
}
