/* test_gguf_file.c: GGUF files as the file system gives them: split sets, things that are no
 * files, sparse giants, and files that shrink while they are used.
 *
 * Owns items A32 to A35 of the hostile-input list and the files of A01. Works in a folder of its
 * own under TMPDIR, which it removes.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/gguf_expect.h"
#include "format/gguf_samples.h"
#include "format/gguf_walk.h"

static char folder[256];

/* A path in the test's folder; good until the eighth call after this one. */
static const char *in_folder(const char *name) {
    static char paths[8][512];
    static unsigned next;
    char *p = paths[next++ % 8];
    snprintf(p, sizeof paths[0], "%s/%s", folder, name);
    return p;
}

static int make_folder(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/ign_gguf_XXXXXX", tmp ? tmp : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    return rmdir(folder); /* fails unless every test has removed its files */
}

static void write_bytes(const char *path, const void *p, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void write_builder(struct builder *b, const char *path) {
    assert_true(builder_write(b, path));
    builder_fini(b);
    builder_init(b);
}

static int open_descriptors(void) {
    int n = 0;
    for (int fd = 0; fd < 256; fd++) {
        n += fcntl(fd, F_GETFD) >= 0;
    }
    return n;
}

/* gguf_open refuses `path`, in time, leaving neither memory nor descriptors. */
static void expect_not_opened(const char *path, enum err_code code, const char *text) {
    for (int copy = 0; copy < 2; copy++) {
        struct gguf *g = NULL;
        struct err e = {0};
        size_t live = mem_live();
        int fds = open_descriptors();
        clock_t start = clock();
        assert_int_equal(gguf_open(&g, path, copy, &e), code);
        assert_true((double)(clock() - start) / CLOCKS_PER_SEC <= REFUSE_SECONDS);
        assert_null(g);
        expect_line(&e, text);
        assert_int_equal(mem_live(), live);
        assert_int_equal(open_descriptors(), fds);
    }
}

static struct gguf *expect_opened(const char *path, bool copy) {
    struct gguf *g = NULL;
    struct err e = {0};
    char line[1024];
    if (gguf_open(&g, path, copy, &e)) {
        fail_msg("%s", err_line(&e, line, sizeof line));
    }
    assert_false(gguf_lost(g));
    walk_all(g);
    return g;
}

/* ---- single files ------------------------------------------------------------------------ */

static void test_mapped_and_copied(void **state) {
    (void)state;
    struct builder b;
    const char *path = in_folder("model.gguf");
    builder_init(&b);
    sample_small(&b);
    write_builder(&b, path);
    for (int copy = 0; copy < 2; copy++) {
        struct gguf *g = expect_opened(path, copy);
        assert_int_equal(g->n_part, 1);
        assert_int_equal(g->part[0].copied, copy);
        assert_string_equal(g->path, path);
        gguf_close(g);
    }
    unlink(path);
    expect_not_opened(path, ERR_NOTFOUND, path);
}

static void test_a01_empty_file(void **state) {
    (void)state;
    const char *path = in_folder("empty.gguf");
    write_bytes(path, "", 0);
    expect_not_opened(path, ERR_FORMAT, "the file is empty");
    write_bytes(path, "GGUF", 4);
    expect_not_opened(path, ERR_FORMAT, "the file ends after 4 bytes");
    unlink(path);
}

static void test_a33_not_a_file(void **state) {
    (void)state;
    const char *fifo = in_folder("fifo.gguf"), *loop = in_folder("loop.gguf");
    const char *other = in_folder("other.gguf");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    expect_not_opened(fifo, ERR_FORMAT, "a FIFO");
    unlink(fifo);
    expect_not_opened(folder, ERR_FORMAT, "a directory");
    expect_not_opened("/dev/zero", ERR_FORMAT, "a character device");
    expect_not_opened("/proc/self/mem", ERR_FORMAT, "the file is empty");
    assert_int_equal(symlink(other, loop), 0);
    assert_int_equal(symlink(loop, other), 0);
    expect_not_opened(loop, ERR_IO, loop);
    unlink(loop);
    unlink(other);
}

static void test_a33_no_permission(void **state) {
    (void)state;
    const char *path = in_folder("secret.gguf");
    if (geteuid() == 0) {
        skip(); /* root may read everything */
    }
    write_bytes(path, "GGUF", 4);
    chmod(path, 0);
    expect_not_opened(path, ERR_IO, "ermission");
    unlink(path);
}

/* ---- sparse giants ----------------------------------------------------------------------- */

#define TIB ((off_t)1 << 40)

static bool make_sparse(struct builder *b, const char *path) {
    write_builder(b, path);
    return truncate(path, TIB) == 0;
}

static void test_a34_sparse_tensors(void **state) {
    (void)state;
    struct builder b;
    struct err e = {0};
    struct gguf *g = NULL;
    const char *path = in_folder("sparse.gguf");
    const uint64_t dim[3] = {1 << 16, 1 << 12, 512}; /* F32: half a TiB */
    builder_init(&b);
    builder_kv_str(&b, "general.architecture", "llama");
    builder_tensor_raw(&b, "small", 5, DT_F32, 1, (uint64_t[]){32}, 1, (uint64_t)3 << 38);
    builder_tensor_raw(&b, "huge", 4, DT_F32, 3, dim, 3, 0);
    if (!make_sparse(&b, path)) {
        unlink(path);
        skip(); /* the file system cannot hold such a file */
    }
    uint64_t before = os_memory_peak();
    clock_t start = clock();
    assert_int_equal(gguf_open(&g, path, false, &e), ERR_OK);
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC <= REFUSE_SECONDS);
    assert_true(os_memory_peak() <= before + (16 << 20));
    assert_int_equal(gguf_find_tensor(g, "huge")->bytes, (uint64_t)1 << 39);
    assert_int_equal(gguf_find_tensor(g, "small")->data[127], 0);
    gguf_close(g);
    unlink(path);
    builder_fini(&b);
}

/* Headers that would go on through a TiB of zeros. */
static void test_a34_sparse_headers(void **state) {
    (void)state;
    static const uint32_t elems[] = {BT_U8, BT_BOOL, BT_STRING, BT_F64};
    const char *path = in_folder("sparse.gguf");
    for (size_t i = 0; i < 6; i++) {
        struct builder b;
        struct err e = {0};
        struct gguf *g = NULL;
        builder_init(&b);
        if (i < 4) {
            builder_kv_array_head(&b, "endless", elems[i], (uint64_t)1 << 36);
        } else {
            b.n_kv = i == 4 ? 65536 : 0;
            b.n_tensor = i == 5 ? 1 << 20 : 0;
        }
        if (!make_sparse(&b, path)) {
            unlink(path);
            skip();
        }
        uint64_t before = os_memory_peak();
        clock_t start = clock();
        assert_int_equal(gguf_open(&g, path, false, &e), ERR_FORMAT);
        assert_true((double)(clock() - start) / CLOCKS_PER_SEC <= REFUSE_SECONDS);
        assert_true(os_memory_peak() <= before + (16 << 20));
        expect_line(&e, path);
        builder_fini(&b);
    }
    unlink(path);
}

/* The header itself has a bound, far above real ones. */
static void test_a34_endless_header(void **state) {
    (void)state;
    struct builder b;
    struct gguf *g;
    struct err e = {0};
    const char *path = in_folder("sparse.gguf");
    const uint64_t limit = 256 << 20, head = 24 + (8 + 5 + 4) + (4 + 8);
    builder_init(&b);
    builder_kv_array_head(&b, "bytes", BT_U8, limit - head);
    b.n_kv = 2; /* the second one starts where reading ends */
    if (!make_sparse(&b, path)) {
        unlink(path);
        skip();
    }
    assert_int_equal(gguf_open(&g, path, false, &e), ERR_LIMIT);
    expect_line(&e, "the header goes on past 256 MiB");
    expect_line(&e, "offset 268435456, field key");
    unlink(path);
    builder_fini(&b);
}

/* ---- files that change while they are used ------------------------------------------------- */

static void test_a35_truncated_in_use(void **state) {
    (void)state;
    struct builder b;
    const char *path = in_folder("shrinks.gguf");
    builder_init(&b);
    builder_kv_str(&b, "general.architecture", "llama");
    builder_tensor(&b, "t", DT_F32, 2, (uint64_t[]){1024, 64}, NULL);
    memset(b.data.p, 0x55, b.data.n);
    write_builder(&b, path);
    struct gguf *g = expect_opened(path, false);
    const struct gguf_tensor *t = gguf_find_tensor(g, "t");
    volatile const uint8_t *last = t->data + t->bytes - 1;
    assert_int_equal(*last, 0x55);
    assert_int_equal(truncate(path, 4096), 0);
    assert_int_equal(*last, 0); /* a page of zeros in its place */
    assert_true(gguf_lost(g));
    gguf_close(g);
    /* A copy does not care. */
    sample_small(&b);
    write_builder(&b, path);
    g = expect_opened(path, true);
    assert_int_equal(truncate(path, 0), 0);
    walk_all(g);
    assert_false(gguf_lost(g));
    gguf_close(g);
    unlink(path);
    builder_fini(&b);
}

/* ---- split sets ---------------------------------------------------------------------------- */

#define N_PART 3

static const char *part_name(unsigned i, unsigned count) {
    char name[64];
    snprintf(name, sizeof name, "model-%05u-of-%05u.gguf", i + 1, count);
    return in_folder(name);
}

/* A right set: parts of 2, 3 and 1 tensors. */
static void write_set(void) {
    static const uint32_t tensors[N_PART] = {2, 3, 1};
    for (uint32_t i = 0; i < N_PART; i++) {
        struct builder b;
        builder_init(&b);
        sample_part(&b, i, N_PART, tensors[i], 6);
        write_builder(&b, part_name(i, N_PART));
    }
}

static void remove_set(void) {
    for (unsigned i = 0; i < N_PART; i++) {
        unlink(part_name(i, N_PART));
    }
}

/* Part i of the set is replaced by the builder's file, and the set refused. */
static void refuse_part(struct builder *b, unsigned i, enum err_code code, const char *text) {
    write_set();
    write_builder(b, part_name(i, N_PART));
    expect_not_opened(part_name(0, N_PART), code, text);
    remove_set();
}

static void test_split_set(void **state) {
    (void)state;
    write_set();
    for (int copy = 0; copy < 2; copy++) {
        struct gguf *g = expect_opened(part_name(0, N_PART), copy);
        assert_int_equal(g->n_part, N_PART);
        assert_int_equal(g->n_tensor, 6);
        assert_non_null(gguf_find(g, "general.architecture"));
        const struct gguf_tensor *t = gguf_find_tensor(g, "part1.tensor2");
        float first;
        assert_non_null(t);
        assert_int_equal(t->part, 1);
        memcpy(&first, t->data, sizeof first);
        assert_true(first == 102);
        assert_true(t->data == g->part[1].data + t->offset);
        gguf_close(g);
    }
    remove_set();
}

/* A set of one part, and a name like a part's on a file that is whole, are ordinary files. */
static void test_split_set_of_one(void **state) {
    (void)state;
    struct builder b;
    builder_init(&b);
    sample_part(&b, 0, 1, 2, 2);
    write_builder(&b, part_name(0, 1));
    gguf_close(expect_opened(part_name(0, 1), false));
    unlink(part_name(0, 1));
    sample_small(&b);
    write_builder(&b, part_name(1, N_PART));
    gguf_close(expect_opened(part_name(1, N_PART), false));
    remove_set();
    builder_fini(&b);
}

static void test_a32_missing_part(void **state) {
    (void)state;
    write_set();
    unlink(part_name(2, N_PART));
    expect_not_opened(part_name(0, N_PART), ERR_NOTFOUND, "model-00003-of-00003.gguf");
    expect_not_opened(part_name(0, N_PART), ERR_NOTFOUND, "all 3 parts");
    remove_set();
}

static void test_a32_other_than_the_first(void **state) {
    (void)state;
    write_set();
    expect_not_opened(part_name(1, N_PART), ERR_USAGE, "this is part 2 of a model in 3 files");
    expect_not_opened(part_name(1, N_PART), ERR_USAGE,
                      "give the first one, "
                      "\"...-00001-of-00003.gguf\"");
    const char *other = in_folder("renamed.gguf");
    assert_int_equal(rename(part_name(1, N_PART), other), 0);
    expect_not_opened(other, ERR_USAGE, "give the first one");
    assert_int_equal(rename(part_name(0, N_PART), other), 0);
    expect_not_opened(other, ERR_FORMAT, "must be named \"...-00001-of-00003.gguf\"");
    unlink(other);
    remove_set();
}

static void test_a32_split_count(void **state) {
    (void)state;
    struct builder b;
    builder_init(&b);
    sample_part(&b, 0, 65535, 1, 1);
    write_builder(&b, part_name(0, 65535));
    uint64_t before = os_memory_peak();
    expect_not_opened(part_name(0, 65535), ERR_NOTFOUND, "model-00002-of-65535.gguf");
    assert_true(os_memory_peak() <= before + (16 << 20));
    unlink(part_name(0, 65535));
    sample_part(&b, 0, 65535, 1, 1);
    refuse_part(&b, 0, ERR_FORMAT, "must be named \"...-00001-of-65535.gguf\"");
    builder_kv_u64(&b, "split.count", UINT64_MAX);
    refuse_part(&b, 0, ERR_FORMAT, "part 1 of 18446744073709551615");
    builder_kv_int(&b, "split.no", BT_U16, 7);
    builder_kv_int(&b, "split.count", BT_U16, 3);
    refuse_part(&b, 0, ERR_FORMAT, "part 8 of 3");
    builder_kv_str(&b, "split.count", "3");
    refuse_part(&b, 0, ERR_FORMAT, "key 'split.count' is of type string, not an integer");
    builder_fini(&b);
}

static void test_a32_parts_of_two_models(void **state) {
    (void)state;
    struct builder b;
    builder_init(&b);
    sample_part(&b, 1, N_PART, 3, 7);
    refuse_part(&b, 1, ERR_FORMAT, "its split.tensors.count is not the first part's");
    sample_part(&b, 1, N_PART, 3, 6);
    builder_kv_str(&b, "general.architecture", "qwen2");
    refuse_part(&b, 1, ERR_FORMAT, "its general.architecture is not the first part's");
    sample_part(&b, 1, 4, 3, 6);
    refuse_part(&b, 1, ERR_FORMAT, "declares itself part 2 of 4");
    sample_part(&b, 2, N_PART, 1, 6);
    refuse_part(&b, 1, ERR_FORMAT, "declares itself part 3 of 3");
    sample_part(&b, 1, N_PART, 2, 6);
    refuse_part(&b, 1, ERR_FORMAT, "the parts have 5 tensors, where 6 are declared");
    sample_small(&b);
    refuse_part(&b, 1, ERR_FORMAT, "key 'split.no' (integer) is missing");
    sample_part(&b, 1, N_PART, 2, 6);
    builder_tensor(&b, "part0.tensor1", DT_F32, 1, (uint64_t[]){1}, NULL);
    refuse_part(&b, 1, ERR_FORMAT, "tensor 'part0.tensor1' is there twice");
    builder_fini(&b);
}

static void test_a32_broken_part(void **state) {
    (void)state;
    struct builder b;
    write_set();
    assert_int_equal(truncate(part_name(2, N_PART), 200), 0);
    expect_not_opened(part_name(0, N_PART), ERR_FORMAT, "model-00003-of-00003.gguf, offset ");
    remove_set();
    /* The names of parts come from the path that was given, never from the file. */
    builder_init(&b);
    sample_part(&b, 0, N_PART, 2, 6);
    builder_kv_str(&b, "split.path", "../../../etc/passwd");
    write_set();
    write_builder(&b, part_name(0, N_PART));
    gguf_close(expect_opened(part_name(0, N_PART), false));
    remove_set();
    builder_fini(&b);
}

static void test_a35_truncated_part(void **state) {
    (void)state;
    struct builder b;
    write_set();
    builder_init(&b);
    sample_part(&b, 2, N_PART, 0, 6);
    builder_tensor(&b, "large", DT_F32, 1, (uint64_t[]){65536}, NULL);
    write_builder(&b, part_name(2, N_PART));
    struct gguf *g = expect_opened(part_name(0, N_PART), false);
    const struct gguf_tensor *t = gguf_find_tensor(g, "large");
    assert_int_equal(truncate(part_name(2, N_PART), 100), 0);
    assert_int_equal(((volatile const uint8_t *)t->data)[t->bytes - 1], 0);
    assert_true(gguf_lost(g));
    gguf_close(g);
    remove_set();
    builder_fini(&b);
}

/* Every allocation on the way to an open split set fails once; only a torture build can do that. */
static void test_allocation_failures(void **state) {
    (void)state;
    enum err_code rc = ERR_NOMEM;
    if (!mem_fail_at(0)) {
        skip();
    }
    write_set();
    int fds = open_descriptors();
    for (size_t fail = 1; rc; fail++) {
        struct gguf *g;
        struct err e = {0};
        size_t live = mem_live();
        mem_fail_at(fail);
        rc = gguf_open(&g, part_name(0, N_PART), fail % 2, &e);
        mem_fail_at(0);
        assert_true(rc == ERR_OK || (rc == ERR_NOMEM && e.code == rc && !g));
        gguf_close(g);
        assert_int_equal(mem_live(), live);
        assert_int_equal(open_descriptors(), fds);
        assert_true(fail < 1000);
    }
    remove_set();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mapped_and_copied),        cmocka_unit_test(test_a01_empty_file),
        cmocka_unit_test(test_a33_not_a_file),           cmocka_unit_test(test_a33_no_permission),
        cmocka_unit_test(test_a34_sparse_tensors),       cmocka_unit_test(test_a34_sparse_headers),
        cmocka_unit_test(test_a35_truncated_in_use),     cmocka_unit_test(test_split_set),
        cmocka_unit_test(test_split_set_of_one),         cmocka_unit_test(test_a32_missing_part),
        cmocka_unit_test(test_a32_other_than_the_first), cmocka_unit_test(test_a32_split_count),
        cmocka_unit_test(test_a32_parts_of_two_models),  cmocka_unit_test(test_a32_broken_part),
        cmocka_unit_test(test_a35_truncated_part),       cmocka_unit_test(test_a34_endless_header),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
