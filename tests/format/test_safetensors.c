/* test_safetensors.c: the container's rules, items B01 to B08 of the hostile-input list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "format/safetensors.h"
#include "format/st_builder.h"

static enum err_code parse(const struct buf *b, struct safetensors **s, struct err *e) {
    return safetensors_parse(s, "test", b->p, b->len, e);
}

/* The file is refused with this code, and the message has this text. */
static void expect_bytes(const struct buf *b, enum err_code code, const char *text) {
    struct safetensors *s = NULL;
    struct err e = {0};
    char line[1024];
    size_t live = mem_live();
    enum err_code rc = parse(b, &s, &e);
    if (rc != code || !strstr(err_line(&e, line, sizeof line), text)) {
        fail_msg("'%.80s': code %d: %s (wanted %d, '%s')", b->p + 8, rc, line, code, text);
    }
    assert_null(s);
    assert_int_equal(mem_live(), live);
}

static void expect(const char *header, size_t n_data, const char *text) {
    struct buf b;
    st_build(&b, header, n_data);
    expect_bytes(&b, ERR_FORMAT, text);
    buf_fini(&b);
}

static struct safetensors *good(struct buf *b, const char *header, size_t n_data) {
    struct safetensors *s = NULL;
    struct err e = {0};
    char line[1024];
    st_build(b, header, n_data);
    if (parse(b, &s, &e)) {
        fail_msg("%s", err_line(&e, line, sizeof line));
    }
    return s;
}

#define ENTRY(type, shape, begin, end)                                                             \
    "{\"dtype\":\"" type "\",\"shape\":[" shape "],\"data_offsets\":[" begin "," end "]}"

static void reads_what_is_right(void **state) {
    (void)state;
    struct buf b;
    struct safetensors *s = good(
        &b,
        "{\"__metadata__\":{\"format\":\"pt\"}, \"b\":" ENTRY(
            "F32", "2,3", "8",
            "32") ", \"a\":" ENTRY("BF16", "4", "0",
                                   "8") ","
                                        "\"none\":" ENTRY("F32", "0,7", "32",
                                                          "32") ",\"one\":" ENTRY("I64", "", "32",
                                                                                  "40") "}   ",
        40);
    assert_int_equal(s->n_tensor, 4);
    const struct safetensor *t = safetensors_find(s, str_c("b"));
    uint64_t data = b.len - 40;
    assert_non_null(t);
    assert_string_equal(t->type, "F32");
    assert_int_equal(t->n_dim, 2);
    assert_int_equal(t->dim[0], 2);
    assert_int_equal(t->dim[1], 3);
    assert_int_equal(t->begin, data + 8);
    assert_int_equal(t->end, data + 32);
    assert_int_equal(safetensors_find(s, str_c("one"))->n_dim, 0);
    assert_null(safetensors_find(s, str_c("c")));
    safetensors_free(s);
    buf_fini(&b);
    s = good(&b, "{}", 0);
    assert_int_equal(s->n_tensor, 0);
    safetensors_free(s);
    buf_fini(&b);
    /* a name with an escape is the name that it spells; unknown members are nobody's business */
    s = good(&b, "{\"\\u0061\":{\"dtype\":\"U8\",\"x\":[{}],\"shape\":[1],\"data_offsets\":[0,1]}}",
             1);
    assert_non_null(safetensors_find(s, str_c("a")));
    safetensors_free(s);
    buf_fini(&b);
}

static void b01_lengths(void **state) {
    (void)state;
    struct buf b;
    st_build(&b, "{}", 0);
    for (size_t n = 0; n < 8; n++) {
        struct buf cut = b;
        cut.len = n;
        expect_bytes(&cut, ERR_FORMAT, "too few");
    }
    static const struct {
        uint64_t n;
        enum err_code code;
    } wrong[] = {{UINT64_MAX, ERR_LIMIT}, {(uint64_t)1 << 63, ERR_LIMIT},
                 {100000001, ERR_LIMIT},  {104857601, ERR_LIMIT},
                 {100000000, ERR_FORMAT}, {10, ERR_FORMAT},
                 {3, ERR_FORMAT},         {1, ERR_FORMAT},
                 {0, ERR_FORMAT}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        for (int k = 0; k < 8; k++) {
            b.p[k] = (char)(uint8_t)(wrong[i].n >> (8 * k));
        }
        expect_bytes(&b, wrong[i].code, wrong[i].n == 1 ? "JSON" : "header");
    }
    buf_fini(&b);
}

static void b02_headers(void **state) {
    (void)state;
    expect("", 0, "'{'");
    expect(" {}", 0, "'{'");
    expect("[]", 0, "'{'");
    expect("{}x", 0, "more text");
    expect("{", 0, "key was expected");
    expect("{\"a\xFF\":1}", 0, "UTF-8");
    expect("{\"a\":1}", 0, "object");
    expect("{\"__metadata__\":{\"a\":1}}", 0, "no string");
    expect("{\"__metadata__\":[]}", 0, "object");
    struct buf b;
    st_build_n(&b, "{}\0", 3, 0);
    expect_bytes(&b, ERR_FORMAT, "more text");
    buf_fini(&b);
}

static void b03_twice(void **state) {
    (void)state;
    expect("{\"a\":" ENTRY("U8", "1", "0", "1") ",\"a\":" ENTRY("U8", "1", "1", "2") "}", 2,
           "twice");
    expect("{\"a\":" ENTRY("U8", "1", "0", "1") ",\"\\u0061\":" ENTRY("U8", "1", "1", "2") "}", 2,
           "twice");
    expect("{\"__metadata__\":{},\"__metadata__\":{}}", 0, "twice");
    expect("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
           "'dtype' is there twice");
    expect("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
           "'shape' is there twice");
    expect("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"data_offsets\":[0,1]}}",
           1, "'data_offsets' is there twice");
}

static void b04_depth(void **state) {
    (void)state;
    size_t n = 100000;
    char *text = mem_alloc(n, 1);
    struct buf b;
    assert_non_null(text);
    memset(text, '[', n);
    memcpy(text, "{\"a\":", 5);
    st_build_n(&b, text, n, 0);
    expect_bytes(&b, ERR_LIMIT, "64 levels");
    buf_fini(&b);
    mem_free(text);
}

static void b05_types(void **state) {
    (void)state;
    expect("{\"a\":" ENTRY("f32", "1", "0", "4") "}", 4, "'dtype'");
    expect("{\"a\":" ENTRY("F32 ", "1", "0", "4") "}", 4, "'dtype'");
    expect("{\"a\":" ENTRY("", "1", "0", "4") "}", 4, "'dtype'");
    expect("{\"a\":{\"dtype\":32,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "'dtype'");
    expect("{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "'dtype' is missing");
}

static void b06_shapes(void **state) {
    (void)state;
    static const char *const numbers[] = {"-1",  "1.5",   "1e400", "18446744073709551616",
                                          "1e0", "\"1\"", "null",  "[1]"};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char header[160];
        snprintf(header, sizeof header,
                 "{\"a\":{\"dtype\":\"U8\",\"shape\":[%s],\"data_offsets\":[0,1]}}", numbers[i]);
        expect(header, 1, "'shape'");
    }
    expect("{\"a\":" ENTRY("U8", "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1", "0", "1") "}", 1,
           "too many");
    /* products that wrap to nothing, or to something small */
    expect("{\"a\":" ENTRY("F32", "4294967296,4294967296", "0", "0") "}", 0, "no number of bytes");
    expect("{\"a\":" ENTRY("F32", "4611686018427387905", "0", "4") "}", 4, "no number of bytes");
    expect("{\"a\":" ENTRY("U8", "18446744073709551615", "0", "1") "}", 1, "no number of bytes");
    expect("{\"a\":" ENTRY("U8", "4294967296,4294967296,0", "0", "0") "}", 0, "no number of bytes");
    expect("{\"a\":" ENTRY("F4", "3", "0", "1") "}", 1, "no number of bytes");
    expect("{\"a\":{\"dtype\":\"U8\",\"shape\":3,\"data_offsets\":[0,3]}}", 3, "array");
    expect("{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,3]}}", 3, "'shape' is missing");
}

static void b07_offsets(void **state) {
    (void)state;
    static const char *const lists[] = {"",     "0",     "0,1,2",   "-1,0",
                                        "0,-1", "0.0,1", "\"0\",1", "0,18446744073709551616"};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        char header[160];
        snprintf(header, sizeof header,
                 "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%s]}}", lists[i]);
        expect(header, 1, "'data_offsets'");
    }
    expect("{\"a\":" ENTRY("U8", "1", "1", "0") "}", 1, "ends before");
    expect("{\"a\":" ENTRY("U8", "2", "0", "2") "}", 1, "past the end");
    expect("{\"a\":" ENTRY("U8", "2", "0", "1") "}", 1, "shape and type");
    expect("{\"a\":" ENTRY("U8", "1", "0", "2") "}", 2, "shape and type");
    expect("{\"a\":" ENTRY("U8", "1", "1", "2") "}", 2, "gap");
    expect("{\"a\":" ENTRY("U8", "1", "0", "1") ",\"b\":" ENTRY("U8", "1", "2", "3") "}", 3, "gap");
    expect("{\"a\":" ENTRY("U8", "2", "0", "2") ",\"b\":" ENTRY("U8", "2", "1", "3") "}", 3,
           "shares bytes");
    expect("{\"a\":" ENTRY("U8", "2", "0", "2") ",\"b\":" ENTRY("U8", "2", "0", "2") "}", 2,
           "shares bytes");
    expect("{\"a\":" ENTRY("U8", "1", "0", "1") "}", 2, "the file has 2");
    expect("{}", 1, "the file has 1");
    expect("{\"a\":" ENTRY("U8", "1", "18446744073709551615", "18446744073709551615") "}", 1,
           "gap");
    expect("{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "'data_offsets' is missing");
}

/* Many tensors are read in no time; too many are refused. */
static void b08_many(void **state) {
    (void)state;
    struct buf h, b;
    for (int more = 0; more < 2; more++) {
        int n = more ? (int)SAFETENSORS_MAX_TENSOR + 1 : 100000;
        buf_init(&h, (size_t)1 << 30);
        for (int i = 0; i < n; i++) {
            buf_printf(&h, "%c\"t%d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}",
                       i ? ',' : '{', (i * 7919) % n, i, i + 1);
        }
        buf_putc(&h, '}');
        st_build_n(&b, h.p, h.len, (size_t)n);
        if (more) {
            expect_bytes(&b, ERR_LIMIT, "tensors; the bound is");
        } else {
            struct safetensors *s;
            clock_t start = clock();
            assert_int_equal(parse(&b, &s, NULL), ERR_OK);
            assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 5);
            assert_int_equal(s->n_tensor, n);
            assert_non_null(safetensors_find(s, str_c("t99999")));
            safetensors_free(s);
        }
        buf_fini(&h);
        buf_fini(&b);
    }
}

/* Every cut and every change of one byte is taken or refused, and nothing is left behind. */
static void any_byte_may_be_wrong(void **state) {
    (void)state;
    struct buf b;
    size_t live = mem_live();
    st_build(&b, "{\"a\":" ENTRY("F16", "2,2", "0", "8") ",\"b\":" ENTRY("U8", "3", "8", "11") "}",
             11);
    for (size_t n = 0; n < b.len; n++) {
        struct safetensors *s = NULL;
        char *cut = mem_strdup(b.p, n);
        assert_non_null(cut);
        assert_int_not_equal(safetensors_parse(&s, "test", cut, n, NULL), ERR_OK);
        mem_free(cut);
    }
    for (size_t i = 0; i < b.len; i++) {
        for (int bit = 0; bit < 8; bit++) {
            struct safetensors *s = NULL;
            b.p[i] = (char)(b.p[i] ^ (1 << bit));
            if (!safetensors_parse(&s, "test", b.p, b.len, NULL)) {
                safetensors_free(s);
            }
            b.p[i] = (char)(b.p[i] ^ (1 << bit));
        }
    }
    buf_fini(&b);
    assert_int_equal(mem_live(), live);
}

/* With memory refused at every place in turn. */
static void memory_may_run_out(void **state) {
    (void)state;
    struct buf b;
    st_build(&b, "{\"a\":" ENTRY("F16", "2,2", "0", "8") ",\"b\":" ENTRY("U8", "3", "8", "11") "}",
             11);
    size_t live = mem_live();
    for (size_t n = 1; mem_fail_at(n); n++) {
        struct safetensors *s = NULL;
        struct err e = {0};
        enum err_code rc = parse(&b, &s, &e);
        mem_fail_at(0);
        assert_true(rc == ERR_OK || rc == ERR_NOMEM);
        safetensors_free(s);
        assert_int_equal(mem_live(), live);
        if (!rc) {
            break;
        }
    }
    buf_fini(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_is_right),
        cmocka_unit_test(b01_lengths),
        cmocka_unit_test(b02_headers),
        cmocka_unit_test(b03_twice),
        cmocka_unit_test(b04_depth),
        cmocka_unit_test(b05_types),
        cmocka_unit_test(b06_shapes),
        cmocka_unit_test(b07_offsets),
        cmocka_unit_test(b08_many),
        cmocka_unit_test(any_byte_may_be_wrong),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests_name("safetensors", tests, NULL, NULL);
}
