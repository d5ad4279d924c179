/* test_gguf_hostile.c: bytes that are no GGUF, or one that lies; each must be refused by name.
 *
 * Owns the container's items of the hostile-input list that need no file system: A01 to A28, A37,
 * A38. test_gguf_file.c has the others.
 */
#include "format/gguf_expect.h"
#include "format/gguf_samples.h"
#include "format/gguf_walk.h"

#define MAX64 UINT64_MAX

/* A header that declares the given counts, and `n` bytes after it. */
static void refuse_counts(uint64_t n_tensor, uint64_t n_kv, size_t n, enum err_code code,
                          const char *text) {
    struct builder b;
    builder_init(&b);
    builder_append_zeros(&b.kv, n);
    b.n_tensor = n_tensor;
    b.n_kv = n_kv;
    expect_builder_refused(&b, code, text);
    builder_fini(&b);
}

static void test_a01_empty_file(void **state) {
    (void)state;
    expect_refused("", 0, ERR_FORMAT, "the file is empty");
}

static void test_a02_magic_alone(void **state) {
    (void)state;
    expect_refused("GGUF", 4, ERR_FORMAT, "the file ends after 4 bytes");
    expect_refused("GGU", 3, ERR_FORMAT, "not a GGUF file");
    expect_refused("G", 1, ERR_FORMAT, "not a GGUF file");
}

static void test_a03_truncated_at_every_byte(void **state) {
    (void)state;
    struct builder b;
    size_t n;
    builder_init(&b);
    sample_small(&b);
    uint8_t *p = builder_take(&b, &n);
    builder_fini(&b);
    assert_int_equal(walk_parse(p, n), ERR_OK);
    for (size_t cut = 0; cut < n; cut++) {
        uint8_t *copy = malloc(cut ? cut : 1);
        assert_non_null(copy);
        memcpy(copy, p, cut);
        assert_int_equal(walk_parse(copy, cut), ERR_FORMAT);
        free(copy);
    }
    free(p);
}

static void test_a04_other_magic(void **state) {
    (void)state;
    static const char *const old[] = {"GGML", "lmgg", "GGMF", "fmgg", "GGJT", "tjgg", "algg"};
    uint8_t file[64] = {0};
    for (size_t i = 0; i < sizeof old / sizeof old[0]; i++) {
        memcpy(file, old[i], 4);
        expect_refused(file, sizeof file, ERR_UNSUPPORTED, "old GG");
    }
    memcpy(file, "FUGG", 4);
    expect_refused(file, sizeof file, ERR_UNSUPPORTED, "byte-swapped");
    memcpy(file, "gguf", 4);
    expect_refused(file, sizeof file, ERR_FORMAT, "not a GGUF file");
}

static void test_a05_version(void **state) {
    (void)state;
    static const struct {
        uint32_t version;
        enum err_code code;
        const char *text;
    } wrong[] = {
        {0, ERR_FORMAT, "GGUF version 0; 2 and 3 are known"},
        {1, ERR_UNSUPPORTED, "version 1 is not read any more"},
        {4, ERR_UNSUPPORTED, "GGUF version 4; 2 and 3 are known"},
        {0xffffffff, ERR_UNSUPPORTED, "GGUF version 4294967295"},
        {0x03000000, ERR_UNSUPPORTED, "big-endian"},
        {0x02000000, ERR_UNSUPPORTED, "big-endian"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct builder b;
        builder_init(&b);
        sample_values(&b);
        b.version = wrong[i].version;
        expect_builder_refused(&b, wrong[i].code, wrong[i].text);
        builder_fini(&b);
    }
}

static void test_a06_tensor_count(void **state) {
    (void)state;
    static const uint64_t counts[] = {MAX64, (uint64_t)1 << 63, (uint64_t)1 << 31, 1000000, 31};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        refuse_counts(counts[i], 0, 1000, ERR_FORMAT, "field tensor_count");
    }
    refuse_counts(30, 0, 1000, ERR_FORMAT, "a name of 0 bytes"); /* as many as could be there */
    refuse_counts((1 << 20) + 1, 0, 40 << 20, ERR_LIMIT, "more than 1048576 are not read");
}

static void test_a07_key_count(void **state) {
    (void)state;
    static const uint64_t counts[] = {MAX64, (uint64_t)1 << 63, (uint64_t)1 << 31, 1000000, 72};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        refuse_counts(0, counts[i], 1000, ERR_FORMAT, "field metadata_kv_count");
    }
    refuse_counts(0, 71, 1000, ERR_FORMAT, "a name of 0 bytes");
    refuse_counts(0, 65537, 1 << 20, ERR_LIMIT, "more than 65536 are not read");
}

static void test_a08_key_length(void **state) {
    (void)state;
    static const uint64_t lengths[] = {MAX64, (uint64_t)1 << 63, 101, 100 - 3};
    struct builder b;
    builder_init(&b);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        builder_append_int(&b.kv, lengths[i], 8);
        for (int k = 0; k < 100; k++) {
            builder_append(&b.kv, "k", 1);
        }
        b.n_kv = 1;
        expect_builder_refused(&b, ERR_FORMAT, i < 3 ? "where 100 are left" : "ends after");
    }
    builder_kv_u32(&b, "", 1);
    expect_builder_refused(&b, ERR_FORMAT, "a name of 0 bytes; 1 to 65535 are allowed");
    char *key = malloc(65537);
    assert_non_null(key);
    memset(key, 'k', 65536);
    key[65536] = '\0';
    builder_kv_u32(&b, key, 1);
    expect_builder_refused(&b, ERR_FORMAT, "a name of 65536 bytes");
    builder_kv_u32(&b, key + 1, 1);
    expect_builder_taken(&b);
    free(key);
    builder_fini(&b);
}

static void test_a09_key_bytes(void **state) {
    (void)state;
    struct builder b;
    builder_init(&b);
    builder_append_str(&b.kv, "a\0b", 3);
    builder_append_int(&b.kv, BT_U8, 4);
    builder_append_int(&b.kv, 1, 1);
    b.n_kv = 1;
    expect_builder_refused(&b, ERR_FORMAT, "a zero byte or with broken UTF-8");
    static const char *const broken[] = {
        "\xff", "a\x80", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"};
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        builder_kv_u32(&b, broken[i], 1);
        expect_builder_refused(&b, ERR_FORMAT, "broken UTF-8");
    }
    /* Allowed in a key, but not in a message: expect_line looks for control characters. */
    builder_kv_u32(&b, "a\r\n\x1b[31mred", 1);
    builder_kv_u32(&b, "a\r\n\x1b[31mred", 1);
    expect_builder_refused(&b, ERR_FORMAT, "key 'a\\x0d\\x0a\\x1b[31mred' is there twice");
    /* A long name is cut between characters. */
    char name[160];
    for (size_t i = 0; i < sizeof name - 1; i++) {
        name[i] = "\xe2\x82\xac"[i % 3];
    }
    name[sizeof name - 1] = '\0';
    builder_kv_raw(&b, name, 99, NULL, 0);
    expect_builder_refused(&b, ERR_FORMAT, "\xac' has a value of type 99");
    builder_fini(&b);
}

static void test_a10_duplicate_key(void **state) {
    (void)state;
    struct builder b;
    builder_init(&b);
    sample_values(&b);
    builder_kv_str(&b, "general.architecture", "llama");
    expect_builder_refused(&b, ERR_FORMAT, "key 'general.architecture' is there twice");
    builder_kv_u32(&b, "x", 1);
    builder_kv_f32(&b, "y", 1);
    builder_kv_str(&b, "x", "");
    expect_builder_refused(&b, ERR_FORMAT, "key 'x' is there twice");
    builder_kv_u32(&b, "x", 1);
    builder_kv_u32(&b, "x.", 1);
    builder_kv_u32(&b, "X", 1);
    expect_builder_taken(&b);
    builder_fini(&b);
}

static void test_a11_value_type(void **state) {
    (void)state;
    static const uint32_t types[] = {13, 255, 0xffffffff};
    struct builder b;
    builder_init(&b);
    for (size_t i = 0; i < 3; i++) {
        builder_kv_raw(&b, "general.architecture", types[i], "12345678", 8);
        expect_builder_refused(&b, ERR_FORMAT, "field value type");
    }
    builder_kv_int(&b, "flag", BT_BOOL, 2);
    expect_builder_refused(&b, ERR_FORMAT, "a boolean of 2");
    builder_kv_array(&b, "flags", BT_BOOL, "\0\1\377", 3, 3);
    expect_builder_refused(&b, ERR_FORMAT, "a boolean of 255");
    builder_fini(&b);
}

static void test_a12_string_length(void **state) {
    (void)state;
    static const uint64_t lengths[] = {MAX64, MAX64 - 7, (uint64_t)1 << 63, 1 << 30, 101};
    struct builder b;
    builder_init(&b);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        builder_kv_raw(&b, "general.name", BT_STRING, NULL, 0);
        builder_append_int(&b.kv, lengths[i], 8);
        builder_append_zeros(&b.kv, 100);
        expect_builder_refused(&b, ERR_FORMAT, "where 100 are left");
    }
    builder_fini(&b);
}

static void refuse_array(uint32_t elem, uint64_t n, enum err_code code, const char *text) {
    struct builder b;
    builder_init(&b);
    builder_kv_array_head(&b, "array", elem, n);
    builder_append_zeros(&b.kv, 100);
    expect_builder_refused(&b, code, text);
    builder_fini(&b);
}

static void test_a13_array_of_unknown_type(void **state) {
    (void)state;
    refuse_array(13, (uint64_t)1 << 60, ERR_FORMAT, "a value of type 13");
    refuse_array(0xffffffff, (uint64_t)1 << 60, ERR_FORMAT, "a value of type 4294967295");
}

static void test_a14_array_size_wraps(void **state) {
    (void)state;
    refuse_array(BT_U64, (uint64_t)1 << 61, ERR_FORMAT, "declares 2305843009213693952 elements");
    refuse_array(BT_U64, ((uint64_t)1 << 61) + 1, ERR_FORMAT, "field array length");
    refuse_array(BT_F32, (uint64_t)1 << 62, ERR_FORMAT, "field array length");
    refuse_array(BT_I16, (uint64_t)1 << 63, ERR_FORMAT, "field array length");
    refuse_array(BT_U8, MAX64, ERR_FORMAT, "field array length");
    refuse_array(BT_STRING, (uint64_t)1 << 61, ERR_FORMAT, "field array length");
    refuse_array(BT_F32, 26, ERR_FORMAT, "where 100 bytes are left");
}

static void test_a15_nested_array(void **state) {
    (void)state;
    static const int depths[] = {1, 64, 100000};
    for (size_t i = 0; i < 3; i++) {
        struct builder b;
        builder_init(&b);
        builder_kv_array_head(&b, "deep", BT_ARRAY, 1);
        for (int k = 1; k < depths[i]; k++) {
            builder_append_int(&b.kv, BT_ARRAY, 4);
            builder_append_int(&b.kv, 1, 8);
        }
        builder_append_zeros(&b.kv, 100);
        expect_builder_refused(&b, ERR_UNSUPPORTED, "key 'deep' is an array of arrays");
        builder_fini(&b);
    }
}

static void test_a16_strings_that_take_all(void **state) {
    (void)state;
    struct builder b;
    builder_init(&b);
    builder_kv_array_head(&b, "tokens", BT_STRING, 1000);
    for (uint64_t i = 0; i < 1000; i++) {
        builder_append_int(&b.kv, 8 * (999 - i), 8);
    }
    expect_builder_refused(&b, ERR_FORMAT, "field array element");
    builder_kv_array_head(&b, "tokens", BT_STRING, 2);
    builder_append_str(&b.kv, "", 0);
    builder_append_int(&b.kv, 1, 8);
    expect_builder_refused(&b, ERR_FORMAT, "a string of 1 bytes, where 0 are left");
    builder_fini(&b);
}

static void test_a17_alignment(void **state) {
    (void)state;
    static const uint32_t wrong[] = {0, 1, 3, 4, 13, 24, 1 << 21, 1 << 30, 1u << 31, 0xffffffff};
    static const uint32_t right[] = {8, 16, 64, 4096, 1 << 20};
    struct builder b;
    builder_init(&b);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        builder_kv_u32(&b, "general.alignment", wrong[i]);
        builder_tensor(&b, "t", DT_F32, 1, (uint64_t[]){32}, NULL);
        expect_builder_refused(&b, ERR_FORMAT, "field general.alignment");
    }
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
        builder_align(&b, right[i]);
        builder_tensor(&b, "a", DT_F32, 1, (uint64_t[]){1}, NULL);
        builder_tensor(&b, "b", DT_F32, 1, (uint64_t[]){1}, NULL);
        expect_builder_taken(&b);
    }
    builder_kv_int(&b, "general.alignment", BT_I32, 32);
    expect_builder_refused(&b, ERR_FORMAT, "of type i32; u32 is expected");
    builder_kv_str(&b, "general.alignment", "32");
    expect_builder_refused(&b, ERR_FORMAT, "of type string");
    builder_align(&b, 32);
    builder_align(&b, 64);
    expect_builder_refused(&b, ERR_FORMAT, "key 'general.alignment' is there twice");
    builder_fini(&b);
}

/* A directory of one tensor, and 64 KiB of data after it. */
static void refuse_tensor(uint32_t type, uint32_t n_dim, const uint64_t dim[4], uint64_t offset,
                          enum err_code code, const char *text) {
    struct builder b;
    builder_init(&b);
    builder_tensor_raw(&b, "blk.0.attn_q.weight", 19, type, n_dim, dim, n_dim < 4 ? n_dim : 4,
                       offset);
    b.pad = 65536;
    expect_builder_refused(&b, code, text);
    builder_fini(&b);
}

static void test_a18_dimension_count(void **state) {
    (void)state;
    static const uint32_t counts[] = {0, 5, 0xffffffff};
    for (size_t i = 0; i < 3; i++) {
        refuse_tensor(DT_F32, counts[i], (uint64_t[4]){32, 1, 1, 1}, 0, ERR_FORMAT, "field n_dims");
    }
}

static void test_a19_dimension_zero(void **state) {
    (void)state;
    for (uint32_t n = 1; n <= 4; n++) {
        uint64_t dim[4] = {32, 1, 1, 1};
        dim[n - 1] = 0;
        refuse_tensor(DT_F32, n, dim, 0, ERR_FORMAT, "has a dimension of 0");
    }
}

static void test_a20_dimension_negative(void **state) {
    (void)state;
    refuse_tensor(DT_F32, 1, (uint64_t[4]){(uint64_t)1 << 63}, 0, ERR_FORMAT, "field dims");
    refuse_tensor(DT_F32, 2, (uint64_t[4]){32, MAX64}, 0, ERR_FORMAT,
                  "a dimension of 18446744073709551615");
    refuse_tensor(DT_F32, 2, (uint64_t[4]){32, ((uint64_t)1 << 40) + 1}, 0, ERR_FORMAT,
                  "1 to 1099511627776 are allowed");
}

static void test_a21_product_wraps(void **state) {
    (void)state;
    const uint64_t k32 = (uint64_t)1 << 32, k31 = (uint64_t)1 << 31, k40 = (uint64_t)1 << 40;
    const char *large = "larger than any memory";
    refuse_tensor(DT_F32, 2, (uint64_t[4]){((uint64_t)1 << 42) + 1, 1 << 22}, 0, ERR_FORMAT,
                  "field dims");
    refuse_tensor(DT_F32, 2, (uint64_t[4]){k32, k32}, 0, ERR_FORMAT, large);
    refuse_tensor(DT_F32, 3, (uint64_t[4]){k32, k31, 2}, 0, ERR_FORMAT, large);
    refuse_tensor(DT_F32, 4, (uint64_t[4]){k40, k40, k40, k40}, 0, ERR_FORMAT, large);
    refuse_tensor(DT_F32, 2, (uint64_t[4]){k32, k32 + 1}, 0, ERR_FORMAT, large);
    refuse_tensor(DT_F32, 2, (uint64_t[4]){k31, k31}, 0, ERR_FORMAT, large); /* the bytes wrap */
    refuse_tensor(DT_F32, 2, (uint64_t[4]){k31, k31 - 1}, 0, ERR_FORMAT, "bytes at 0");
    refuse_tensor(DT_Q8_K, 2, (uint64_t[4]){k40, 1 << 24}, 0, ERR_FORMAT, large);
}

static void test_a22_sum_of_sizes_wraps(void **state) {
    (void)state;
    struct builder b;
    builder_init(&b);
    /* Two tensors of 0x7fffffffffffffc0 bytes each. */
    const uint64_t dim[3] = {((uint64_t)1 << 33) - 1, (uint64_t)1 << 26, 4};
    for (int i = 0; i < 2; i++) {
        builder_tensor_raw(&b, i ? "b" : "a", 1, DT_F32, 3, dim, 3, 0);
    }
    b.pad = 1024;
    expect_builder_refused(&b, ERR_FORMAT, "of the data, which has 1024");
    builder_fini(&b);
}

static void test_a23_padded_size_wraps(void **state) {
    (void)state;
    /* 2^64 - 8 bytes: one more block of alignment and the sum is small. */
    refuse_tensor(DT_F16, 3, (uint64_t[4]){4, ((uint64_t)1 << 40) - 1, 1 << 21}, 0, ERR_FORMAT,
                  "of the data, which has 65536");
    refuse_tensor(DT_F32, 1, (uint64_t[4]){32}, MAX64 - 31, ERR_FORMAT, "needs 128 bytes at");
    struct builder b;
    builder_init(&b);
    builder_align(&b, 1 << 20); /* the data would start behind the end of the file */
    builder_tensor_raw(&b, "t", 1, DT_F32, 1, (uint64_t[]){1}, 1, 0);
    b.alignment = 8;
    b.pad = 1000;
    expect_builder_refused(&b, ERR_FORMAT, "of the data, which has 0");
    builder_fini(&b);
}

static void test_a24_row_of_broken_blocks(void **state) {
    (void)state;
    refuse_tensor(DT_Q4_K, 2, (uint64_t[4]){300, 4}, 0, ERR_FORMAT,
                  "tensor 'blk.0.attn_q.weight' has 300 columns, not a multiple of 256 as Q4_K");
    for (uint32_t t = 0; t < DT_MAX; t++) {
        if (dtype_info(t)->block > 1) {
            refuse_tensor(t, 1, (uint64_t[4]){16}, 0, ERR_FORMAT, dtype_info(t)->name);
            refuse_tensor(t, 2, (uint64_t[4]){dtype_info(t)->block + 1, 32}, 0, ERR_FORMAT,
                          "field dims");
        }
    }
}

static void test_a25_tensor_type(void **state) {
    (void)state;
    const uint64_t dim[4] = {256, 1, 1, 1};
    static const uint32_t unknown[] = {255, 0xffffffff, DT_MAX, 1000};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        refuse_tensor(unknown[i], 2, dim, 0, ERR_UNSUPPORTED, "which this program does not know");
    }
    int named = 0;
    for (uint32_t t = 0; t < DT_MAX; t++) {
        char text[80];
        if (!dtype_info(t)->block && dtype_info(t)->name) {
            snprintf(text, sizeof text, "is of type %s, which this program cannot read",
                     dtype_info(t)->name);
            refuse_tensor(t, 2, dim, 0, ERR_UNSUPPORTED, text);
            named++;
        }
    }
    assert_true(named >= 20);
    refuse_tensor(4, 2, dim, 0, ERR_UNSUPPORTED, "Q4_2");
    refuse_tensor(5, 2, dim, 0, ERR_UNSUPPORTED, "Q4_3");
}

static void test_a26_offset(void **state) {
    (void)state;
    const uint64_t dim[4] = {32, 1, 1, 1}; /* 128 bytes */
    refuse_tensor(DT_F32, 1, dim, 4, ERR_FORMAT, "not a multiple of the alignment 32");
    refuse_tensor(DT_F32, 1, dim, MAX64, ERR_FORMAT, "not a multiple of the alignment 32");
    refuse_tensor(DT_F32, 1, dim, 65536, ERR_FORMAT, "field offset");
    refuse_tensor(DT_F32, 1, dim, 65536 - 96, ERR_FORMAT, "field offset");
    refuse_tensor(DT_F32, 1, dim, 65536 + 32, ERR_FORMAT, "field offset");
    refuse_tensor(DT_F32, 1, dim, (uint64_t)1 << 63, ERR_FORMAT, "field offset");
    refuse_tensor(DT_F32, 1, dim, MAX64 - 31, ERR_FORMAT, "field offset");
    refuse_tensor(DT_F32, 1, dim, MAX64 - 127, ERR_FORMAT, "field offset");
    struct builder b;
    builder_init(&b);
    builder_tensor_raw(&b, "last", 4, DT_F32, 1, dim, 1, 65536 - 128);
    b.pad = 65536;
    expect_builder_taken(&b);
    builder_fini(&b);
}

static void two_tensors(struct builder *b, uint64_t first, uint64_t second) {
    const uint64_t dim[1] = {32}; /* 128 bytes */
    builder_tensor_raw(b, "a", 1, DT_F32, 1, dim, 1, first);
    builder_tensor_raw(b, "b", 1, DT_F32, 1, dim, 1, second);
    b->pad = 4096;
}

static void test_a27_overlaps_and_gaps(void **state) {
    (void)state;
    struct builder b;
    builder_init(&b);
    two_tensors(&b, 0, 0);
    expect_builder_refused(&b, ERR_FORMAT, "shares bytes with tensor");
    two_tensors(&b, 256, 160);
    expect_builder_refused(&b, ERR_FORMAT, "tensor 'a' shares bytes with tensor 'b'");
    two_tensors(&b, 96, 0);
    expect_builder_refused(&b, ERR_FORMAT, "tensor 'a' shares bytes with tensor 'b'");
    two_tensors(&b, 0, 128); /* side by side */
    expect_builder_taken(&b);
    two_tensors(&b, 1024, 0); /* a gap, and not in order */
    expect_builder_taken(&b);
    two_tensors(&b, 0, MAX64 - 63); /* into the header, by wrapping */
    expect_builder_refused(&b, ERR_FORMAT, "field offset");
    /* One large tensor over many small ones. */
    for (uint64_t i = 0; i < 100; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%u", (unsigned)i);
        builder_tensor(&b, name, DT_F32, 1, (uint64_t[]){8}, NULL);
    }
    builder_tensor_raw(&b, "large", 5, DT_F32, 1, (uint64_t[]){160}, 1, 32 * 50);
    expect_builder_refused(&b, ERR_FORMAT, "'large'");
    builder_fini(&b);
}

static void test_a28_tensor_name(void **state) {
    (void)state;
    struct builder b;
    char name[66];
    const uint64_t dim[1] = {1};
    memset(name, 'n', sizeof name);
    builder_init(&b);
    builder_tensor(&b, "twice", DT_F32, 1, dim, NULL);
    builder_tensor(&b, "once", DT_F32, 1, dim, NULL);
    builder_tensor(&b, "twice", DT_F32, 1, dim, NULL);
    expect_builder_refused(&b, ERR_FORMAT, "tensor 'twice' is there twice");
    static const size_t wrong[] = {0, 65};
    for (size_t i = 0; i < 2; i++) {
        builder_tensor_raw(&b, name, wrong[i], DT_F32, 1, dim, 1, 0);
        b.pad = 64;
        expect_builder_refused(&b, ERR_FORMAT, "1 to 64 are allowed");
    }
    builder_tensor_raw(&b, name, 64, DT_F32, 1, dim, 1, 0);
    b.pad = 64;
    expect_builder_taken(&b);
    builder_append_int(&b.info, MAX64, 8);
    builder_append_zeros(&b.info, 100);
    b.n_tensor = 1;
    expect_builder_refused(&b, ERR_FORMAT, "field tensor name");
    builder_tensor_raw(&b, "a\0b", 3, DT_F32, 1, dim, 1, 0);
    b.pad = 64;
    expect_builder_refused(&b, ERR_FORMAT, "a zero byte");
    builder_fini(&b);
}

/* Names chosen to be slow to compare or to sort: still a matter of milliseconds. */
static void test_a28_many_names(void **state) {
    (void)state;
    enum { N = 100000 };
    struct builder b;
    builder_init(&b);
    builder_align(&b, 8);
    for (unsigned i = 0; i < N; i++) {
        char name[65];
        snprintf(name, sizeof name, "%052u.%06u", 0u, i % 2 ? i : N - i);
        builder_tensor_raw(&b, name, strlen(name), DT_F32, 1, (uint64_t[]){2}, 1, 8ull * i);
    }
    builder_append_zeros(&b.data, 8 * N);
    clock_t start = clock();
    expect_builder_taken(&b);
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 5.0);
    builder_fini(&b);
}

static void test_a37_bit_flip_at_every_byte(void **state) {
    (void)state;
    struct builder b;
    size_t n, taken = 0, refused = 0;
    builder_init(&b);
    sample_small(&b);
    uint8_t *p = builder_take(&b, &n);
    builder_fini(&b);
    assert_true(n > 3500 && n < 5000);
    for (size_t i = 0; i < n * 8; i++) {
        p[i / 8] ^= (uint8_t)(1 << i % 8);
        if (walk_parse(p, n)) {
            refused++;
        } else {
            taken++;
        }
        p[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    assert_true(taken > 1000 && refused > 1000);
    free(p);
}

static void test_a38_lookalikes(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *text;
    } files[] = {
        {"\x1f\x8b\x08\x00", 4, "this is a gzip archive"},
        {"PK\x03\x04", 4, "this is a zip archive"},
        {"\x7f\x45LF\x02\x01", 6, "this is an ELF program"},
        {"%PDF-1.7", 8, "this is a PDF document"},
        {"BZh9", 4, "this is a bzip2 archive"},
        {"\x28\xb5\x2f\xfd", 4, "this is a zstd archive"},
        {"MZ\x90", 3, "this is a Windows program"},
        {"<!DOCTYPE html>", 15, "this is a web page"},
        {"version https://git-lfs.github.com/spec/v1\n", 43, "this is a Git LFS pointer"},
        {"random bytes", 12, "does not start with \"GGUF\""},
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        uint8_t file[256] = {0};
        memcpy(file, files[i].bytes, files[i].n);
        expect_refused(file, sizeof file, ERR_FORMAT, files[i].text);
        expect_refused(file, files[i].n, ERR_FORMAT, files[i].text);
    }
    expect_refused("\x40\0\0\0\0\0\0\0{\"__metadata__\"", 23, ERR_UNSUPPORTED, "safetensors");
}

/* Every allocation of the parser fails once; only a torture build can do that. */
static void test_allocation_failures(void **state) {
    (void)state;
    struct builder b;
    size_t n, fail = 0;
    enum err_code rc = ERR_NOMEM;
    if (!mem_fail_at(0)) {
        skip();
    }
    builder_init(&b);
    sample_small(&b);
    uint8_t *p = builder_take(&b, &n);
    builder_fini(&b);
    while (rc) {
        struct gguf *g;
        struct err e = {0};
        size_t live = mem_live();
        mem_fail_at(++fail);
        rc = gguf_parse(&g, "sample.gguf", p, n, &e);
        mem_fail_at(0);
        assert_true(rc == ERR_OK || (rc == ERR_NOMEM && e.code == rc));
        gguf_close(g);
        assert_int_equal(mem_live(), live);
    }
    assert_true(fail > 6);
    free(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a01_empty_file),
        cmocka_unit_test(test_a02_magic_alone),
        cmocka_unit_test(test_a03_truncated_at_every_byte),
        cmocka_unit_test(test_a04_other_magic),
        cmocka_unit_test(test_a05_version),
        cmocka_unit_test(test_a06_tensor_count),
        cmocka_unit_test(test_a07_key_count),
        cmocka_unit_test(test_a08_key_length),
        cmocka_unit_test(test_a09_key_bytes),
        cmocka_unit_test(test_a10_duplicate_key),
        cmocka_unit_test(test_a11_value_type),
        cmocka_unit_test(test_a12_string_length),
        cmocka_unit_test(test_a13_array_of_unknown_type),
        cmocka_unit_test(test_a14_array_size_wraps),
        cmocka_unit_test(test_a15_nested_array),
        cmocka_unit_test(test_a16_strings_that_take_all),
        cmocka_unit_test(test_a17_alignment),
        cmocka_unit_test(test_a18_dimension_count),
        cmocka_unit_test(test_a19_dimension_zero),
        cmocka_unit_test(test_a20_dimension_negative),
        cmocka_unit_test(test_a21_product_wraps),
        cmocka_unit_test(test_a22_sum_of_sizes_wraps),
        cmocka_unit_test(test_a23_padded_size_wraps),
        cmocka_unit_test(test_a24_row_of_broken_blocks),
        cmocka_unit_test(test_a25_tensor_type),
        cmocka_unit_test(test_a26_offset),
        cmocka_unit_test(test_a27_overlaps_and_gaps),
        cmocka_unit_test(test_a28_tensor_name),
        cmocka_unit_test(test_a28_many_names),
        cmocka_unit_test(test_a37_bit_flip_at_every_byte),
        cmocka_unit_test(test_a38_lookalikes),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
