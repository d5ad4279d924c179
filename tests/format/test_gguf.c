/* test_gguf.c: right GGUF files, and that what was written is what is read.
 *
 * Owns the values of every type, the tensors of every type, and the getters with their errors.
 */
#include "format/gguf_expect.h"
#include "format/gguf_samples.h"
#include "format/gguf_walk.h"

static void test_versions_2_and_3(void **state) {
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        struct builder b;
        uint8_t *bytes;
        builder_init(&b);
        sample_small(&b);
        b.version = version;
        struct gguf *g = expect_taken(&b, &bytes);
        assert_int_equal(g->version, version);
        assert_int_equal(g->alignment, 8);
        assert_int_equal(g->n_tensor, 4);
        assert_string_equal(g->path, "right.gguf");
        walk_all(g);
        gguf_close(g);
        free(bytes);
        builder_fini(&b);
    }
}

static void test_nothing_inside(void **state) {
    (void)state;
    struct builder b;
    uint8_t *bytes;
    builder_init(&b);
    struct gguf *g = expect_taken(&b, &bytes);
    assert_int_equal(g->n_kv + g->n_tensor, 0);
    assert_int_equal(g->alignment, 32);
    assert_null(gguf_find(g, "general.architecture"));
    assert_null(gguf_find_tensor(g, "token_embd.weight"));
    gguf_close(g);
    free(bytes);
    /* A vocabulary without tensors, and without the padding that would follow the directory. */
    builder_kv_str(&b, "tokenizer.ggml.model", "gpt2");
    g = expect_taken(&b, &bytes);
    assert_int_equal(g->n_kv, 1);
    gguf_close(g);
    free(bytes);
    builder_fini(&b);
}

static void test_numbers_of_every_width(void **state) {
    (void)state;
    static const struct {
        uint32_t type;
        uint64_t bits;
        int64_t value;
    } ints[] = {
        {BT_U8, 0xff, 255},
        {BT_I8, 0xff, -1},
        {BT_I8, 0x7f, 127},
        {BT_U16, 0x8001, 0x8001},
        {BT_I16, 0x8001, -32767},
        {BT_U32, 0xffffffff, 0xffffffff},
        {BT_I32, 0x80000000, INT32_MIN},
        {BT_I32, 0x7fffffff, INT32_MAX},
        {BT_U64, INT64_MAX, INT64_MAX},
        {BT_I64, UINT64_MAX - 1, -2},
        {BT_I64, (uint64_t)INT64_MIN, INT64_MIN},
    };
    for (size_t i = 0; i < sizeof ints / sizeof ints[0]; i++) {
        struct builder b;
        struct err e = {0};
        uint8_t *bytes;
        uint64_t v = 0;
        builder_init(&b);
        builder_kv_int(&b, "n", ints[i].type, ints[i].bits);
        struct gguf *g = expect_taken(&b, &bytes);
        assert_true(gguf_int_at(gguf_find(g, "n"), 0) == ints[i].value);
        enum err_code rc = gguf_get_u64(g, "n", &v, &e);
        if (ints[i].value < 0) {
            assert_int_equal(rc, ERR_RANGE);
            expect_line(&e, "key 'n' is -");
            expect_line(&e, "right.gguf, offset 24, field n");
        } else {
            assert_int_equal(rc, ERR_OK);
            assert_true(v == (uint64_t)ints[i].value);
        }
        gguf_close(g);
        free(bytes);
        builder_fini(&b);
    }
}

static void test_getters(void **state) {
    (void)state;
    struct builder b;
    struct err e = {0};
    uint8_t *bytes;
    uint64_t u;
    double f;
    bool flag;
    struct str s;
    builder_init(&b);
    builder_kv_u64(&b, "big", UINT64_MAX);
    builder_kv_f32(&b, "f32", 0.1f);
    builder_kv_f64(&b, "f64", 0.1);
    builder_kv_bool(&b, "yes", true);
    builder_kv_strn(&b, "text", "a\0b", 3);
    struct gguf *g = expect_taken(&b, &bytes);
    assert_int_equal(gguf_get_u64(g, "big", &u, &e), ERR_OK);
    assert_true(u == UINT64_MAX && gguf_int_at(gguf_find(g, "big"), 0) == INT64_MAX);
    assert_int_equal(gguf_get_f64(g, "f32", &f, &e), ERR_OK);
    assert_true(f == (double)0.1f);
    assert_int_equal(gguf_get_f64(g, "f64", &f, &e), ERR_OK);
    assert_true(f == 0.1);
    assert_int_equal(gguf_get_bool_or(g, "yes", false, &flag, &e), ERR_OK);
    assert_true(flag);
    assert_int_equal(gguf_get_str(g, "text", &s, &e), ERR_OK);
    assert_true(s.n == 3 && memcmp(s.p, "a\0b", 3) == 0);
    /* Absent keys: the default, or an error that names the key. */
    assert_int_equal(gguf_get_u64_or(g, "none", 7, &u, &e), ERR_OK);
    assert_int_equal(gguf_get_f64_or(g, "none", 1.5, &f, &e), ERR_OK);
    assert_int_equal(gguf_get_bool_or(g, "none", false, &flag, &e), ERR_OK);
    assert_true(u == 7 && f == 1.5 && !flag);
    assert_int_equal(gguf_get_u64(g, "llama.block_count", &u, &e), ERR_FORMAT);
    expect_line(&e, "key 'llama.block_count' (integer) is missing (right.gguf)");
    err_clear(&e);
    assert_int_equal(gguf_get_str(g, "general.architecture", &s, &e), ERR_FORMAT);
    expect_line(&e, "key 'general.architecture' (string) is missing");
    gguf_close(g);
    free(bytes);
    builder_fini(&b);
}

static void test_wrong_types(void **state) {
    (void)state;
    struct builder b;
    uint8_t *bytes;
    uint64_t u;
    double f;
    bool flag;
    struct str s;
    const struct gguf_kv *kv;
    builder_init(&b);
    builder_kv_u32(&b, "int", 1);
    builder_kv_str(&b, "str", "1");
    builder_kv_f32s(&b, "floats", (float[]){1, 2}, 2);
    struct gguf *g = expect_taken(&b, &bytes);
    struct {
        const char *text;
        struct err e;
        enum err_code rc;
    } t[8] = {
        {.text = "key 'str' is of type string, not an integer"},
        {.text = "key 'floats' is of type array of f32, not an integer"},
        {.text = "key 'int' is of type u32, not a float"},
        {.text = "key 'int' is of type u32, not a boolean"},
        {.text = "key 'int' is of type u32, not a string"},
        {.text = "key 'str' is of type string, not an array of f32"},
        {.text = "key 'floats' is of type array of f32, not an array of string"},
        {.text = "key 'floats' is of type array of f32, not a float"},
    };
    t[0].rc = gguf_get_u64_or(g, "str", 0, &u, &t[0].e);
    t[1].rc = gguf_get_u64(g, "floats", &u, &t[1].e);
    t[2].rc = gguf_get_f64(g, "int", &f, &t[2].e);
    t[3].rc = gguf_get_bool_or(g, "int", true, &flag, &t[3].e);
    t[4].rc = gguf_get_str(g, "int", &s, &t[4].e);
    t[5].rc = gguf_get_array(g, "str", GGUF_F32, &kv, &t[5].e);
    t[6].rc = gguf_get_array(g, "floats", GGUF_STRING, &kv, &t[6].e);
    t[7].rc = gguf_get_f64_or(g, "floats", 0, &f, &t[7].e);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(t[i].rc, ERR_FORMAT);
        expect_line(&t[i].e, t[i].text);
        expect_line(&t[i].e, "right.gguf, offset ");
    }
    gguf_close(g);
    free(bytes);
    builder_fini(&b);
}

static void test_arrays(void **state) {
    (void)state;
    static const char *const words[] = {"", "one", "\xff\xfe", "two words"};
    struct builder b;
    struct err e = {0};
    uint8_t *bytes;
    const struct gguf_kv *kv;
    uint64_t pos = 0;
    builder_init(&b);
    builder_kv_strs(&b, "words", words, 4);
    builder_kv_i32s(&b, "ints", (int32_t[]){-1, 0, INT32_MAX}, 3);
    builder_kv_array(&b, "doubles", BT_F64, (double[]){0.1, -2}, 2, 16);
    builder_kv_array_head(&b, "none", BT_STRING, 0);
    struct gguf *g = expect_taken(&b, &bytes);
    assert_int_equal(gguf_get_array(g, "words", GGUF_STRING, &kv, &e), ERR_OK);
    assert_int_equal(kv->n, 4);
    for (int i = 0; i < 4; i++) {
        assert_true(str_is(gguf_next_str(kv, &pos), words[i]));
    }
    assert_null(gguf_next_str(kv, &pos).p);
    assert_null(gguf_next_str(kv, &pos).p);
    assert_int_equal(gguf_get_array(g, "ints", GGUF_U32, &kv, &e), ERR_OK);
    assert_true(gguf_int_at(kv, 0) == -1 && gguf_int_at(kv, 2) == INT32_MAX);
    assert_int_equal(gguf_get_array(g, "doubles", GGUF_F32, &kv, &e), ERR_OK);
    assert_true(gguf_f64_at(kv, 0) == 0.1 && gguf_f64_at(kv, 1) == -2);
    assert_int_equal(gguf_get_array(g, "none", GGUF_STRING, &kv, &e), ERR_OK);
    pos = 0;
    assert_true(kv->n == 0 && !gguf_next_str(kv, &pos).p);
    assert_int_equal(gguf_get_array(g, "absent", GGUF_STRING, &kv, &e), ERR_OK);
    assert_null(kv);
    gguf_close(g);
    free(bytes);
    builder_fini(&b);
}

static void test_tensors_of_every_type(void **state) {
    (void)state;
    struct builder b;
    uint8_t *bytes;
    size_t n = 0;
    builder_init(&b);
    sample_tensors(&b);
    for (size_t i = 0; i < b.data.n; i++) {
        b.data.p[i] = (uint8_t)(i * 7);
    }
    struct gguf *g = expect_taken(&b, &bytes);
    walk_all(g);
    for (uint32_t t = 0; t < DT_MAX; t++) {
        const struct dtype_info *info = dtype_info(t);
        for (uint64_t k = 0; info->block && k < 2; k++, n++) {
            char name[48];
            snprintf(name, sizeof name, "blk.%u.%s.weight", (unsigned)k, info->name);
            const struct gguf_tensor *x = gguf_find_tensor(g, name);
            assert_non_null(x);
            assert_int_equal(x->type, t);
            assert_int_equal(x->n_dim, n % 4 + 1);
            assert_int_equal(x->dim[0], info->block * (k + 1));
            assert_int_equal(x->dim[1], x->n_dim > 1 ? 1 + k : 1);
            assert_int_equal(x->dim[2], 1);
            assert_int_equal(x->dim[3], x->n_dim > 3 ? 2 : 1);
            assert_int_equal(x->offset % 32, 0);
            assert_ptr_equal(x->data, bytes + x->offset);
            size_t at = x->offset - g->tensor[0].offset;
            assert_int_equal(x->data[x->bytes - 1], (uint8_t)((at + x->bytes - 1) * 7));
        }
    }
    assert_int_equal(n, 32);
    assert_int_equal(g->n_tensor, n);
    gguf_close(g);
    free(bytes);
    builder_fini(&b);
}

/* A35, the other half: the file is overwritten in place while it is mapped. */
static void test_a35_overwritten_after_parsing(void **state) {
    (void)state;
    static const char *const words[] = {"one", "two", "three"};
    struct builder b;
    uint8_t *bytes;
    uint64_t pos = 0;
    builder_init(&b);
    builder_kv_str(&b, "name", "value");
    builder_kv_strs(&b, "words", words, 3);
    struct gguf *g = expect_taken(&b, &bytes);
    const struct gguf_kv *kv = gguf_find(g, "words");
    struct err e = {0};
    struct str s;
    assert_true(str_is(gguf_next_str(kv, &pos), "one"));
    memset((uint8_t *)(uintptr_t)kv->data + pos, 0xff, 8); /* the length of "two" */
    assert_null(gguf_next_str(kv, &pos).p);
    assert_null(gguf_next_str(kv, &pos).p);
    memset((uint8_t *)(uintptr_t)gguf_find(g, "name")->data, 0xff, 8);
    assert_int_equal(gguf_get_str(g, "name", &s, &e), ERR_OK);
    assert_int_equal(s.n, 5);
    gguf_close(g);
    free(bytes);
    builder_fini(&b);
}

static void test_type_names(void **state) {
    (void)state;
    assert_string_equal(gguf_type_name(GGUF_U8), "u8");
    assert_string_equal(gguf_type_name(GGUF_ARRAY), "array");
    assert_string_equal(gguf_type_name(GGUF_F64), "f64");
    assert_string_equal(gguf_type_name(GGUF_TYPE_N), "unknown");
    assert_int_equal((int)GGUF_TYPE_N, (int)BT_F64 + 1); /* the builder's numbers are these */
    gguf_close(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions_2_and_3),
        cmocka_unit_test(test_nothing_inside),
        cmocka_unit_test(test_numbers_of_every_width),
        cmocka_unit_test(test_getters),
        cmocka_unit_test(test_wrong_types),
        cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_tensors_of_every_type),
        cmocka_unit_test(test_a35_overwritten_after_parsing),
        cmocka_unit_test(test_type_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
