/* test_gguf_write.c: what the writer writes the reader reads, and what was dropped is not there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/os.h"
#include "format/gguf_builder.h"
#include "format/gguf_write.h"

static char folder[] = "/tmp/ign-write-XXXXXX";
static char from[64], to[64];

static int setup(void **state) {
    (void)state;
    if (!mkdtemp(folder)) {
        return 1;
    }
    snprintf(from, sizeof from, "%s/from.gguf", folder);
    snprintf(to, sizeof to, "%s/to.gguf", folder);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    unlink(from);
    unlink(to);
    return rmdir(folder); /* fails where something was left behind */
}

static void make(uint32_t alignment) {
    struct builder b;
    float data[96];
    for (int i = 0; i < 96; i++) {
        data[i] = (float)i * 0.5f;
    }
    builder_init(&b);
    builder_kv_str(&b, "general.architecture", "llama");
    builder_kv_u32(&b, "a.u32", 7);
    builder_kv_u64(&b, "a.u64", 1ull << 40);
    builder_kv_bool(&b, "a.bool", true);
    builder_kv_f32(&b, "a.f32", 1.5f);
    builder_kv_strs(&b, "a.strings", (const char *const[]){"one", "", "three"}, 3);
    builder_kv_i32s(&b, "a.ints", (const int32_t[]){-1, 2, 3}, 3);
    if (alignment != 32) {
        builder_align(&b, alignment);
    }
    builder_tensor(&b, "x.weight", DT_F32, 2, (uint64_t[]){3, 7}, data);
    builder_tensor(&b, "y.weight", DT_F32, 1, (uint64_t[]){1}, data + 30);
    builder_tensor(&b, "z.weight", DT_F32, 3, (uint64_t[]){2, 3, 4}, data + 40);
    builder_write(&b, from);
    builder_fini(&b);
}

/* Copies `from` to `to` by the writer; stops before the end where `drop`. */
static enum err_code copy(bool drop, struct err *e) {
    struct gguf *g;
    struct gguf_writer w;
    enum err_code rc = gguf_open(&g, from, false, e);
    if (rc) {
        return rc;
    }
    gguf_write_init(&w, g->alignment);
    for (size_t i = 0; i < g->n_kv; i++) {
        gguf_write_kv(&w, &g->kv[i]);
    }
    gguf_write_u32(&w, "b.new", 42);
    gguf_write_strings(&w, "b.list", 2);
    gguf_write_item(&w, str_c("p"));
    gguf_write_item(&w, str_c("qq"));
    for (size_t i = 0; i < g->n_tensor; i++) {
        const struct gguf_tensor *t = &g->tensor[i];
        gguf_write_tensor(&w, t->name, t->type, t->n_dim, t->dim, t->bytes);
    }
    rc = gguf_write_begin(&w, to, e);
    for (size_t i = 0; i < g->n_tensor && !rc; i++) {
        size_t half = g->tensor[i].bytes / 2;
        if (!(rc = gguf_write_data(&w, g->tensor[i].data, half, e)) &&
            !(rc = gguf_write_data(&w, g->tensor[i].data + half, g->tensor[i].bytes - half, e))) {
            rc = gguf_write_end(&w, e);
        }
    }
    uint64_t size = gguf_write_size(&w);
    if (!rc && !drop) {
        rc = gguf_write_commit(&w, e);
    }
    gguf_write_fini(&w);
    struct os_file_info info;
    if (!rc && !drop && (os_file_info(to, &info, NULL) || info.size != size)) {
        rc = err_set(e, ERR_FORMAT, "the file has another size than was said");
    }
    gguf_close(g);
    return rc;
}

static void compare(void) {
    struct gguf *g, *h;
    uint64_t v;
    struct err e = {0};
    assert_int_equal(gguf_open(&g, from, false, &e), ERR_OK);
    assert_int_equal(gguf_open(&h, to, false, &e), ERR_OK);
    assert_int_equal(h->n_kv, g->n_kv + 2);
    assert_int_equal(h->alignment, g->alignment);
    for (size_t i = 0; i < g->n_kv; i++) {
        const struct gguf_kv *a = &g->kv[i], *b = &h->kv[i];
        assert_true(str_eq(a->key, b->key));
        assert_int_equal(a->type, b->type);
        assert_int_equal(a->elem, b->elem);
        assert_int_equal(a->n, b->n);
        assert_int_equal(a->bytes, b->bytes);
        assert_memory_equal(a->data, b->data, a->bytes);
    }
    assert_int_equal(gguf_get_u64(h, "b.new", &v, &e), ERR_OK);
    assert_int_equal(v, 42);
    assert_int_equal(h->n_tensor, g->n_tensor);
    for (size_t i = 0; i < g->n_tensor; i++) {
        const struct gguf_tensor *a = &g->tensor[i], *b = &h->tensor[i];
        assert_true(str_eq(a->name, b->name));
        assert_memory_equal(a->dim, b->dim, sizeof a->dim);
        assert_int_equal(a->bytes, b->bytes);
        assert_memory_equal(a->data, b->data, a->bytes);
    }
    gguf_close(g);
    gguf_close(h);
}

static void test_round_trip(void **state) {
    (void)state;
    static const uint32_t alignments[] = {32, 8, 64, 4096};
    struct err e = {0};
    for (size_t i = 0; i < sizeof alignments / sizeof *alignments; i++) {
        make(alignments[i]);
        assert_int_equal(copy(false, &e), ERR_OK);
        compare();
    }
}

static void test_dropped(void **state) {
    (void)state;
    struct err e = {0};
    make(32);
    unlink(to);
    assert_int_equal(copy(true, &e), ERR_OK);
    assert_false(os_file_exists(to));
    assert_int_equal(copy(false, &e), ERR_OK);
    assert_int_equal(copy(true, &e), ERR_OK);
    compare(); /* the old one stays */
}

/* Each allocation fails in turn; what was there stays. */
static void test_no_memory(void **state) {
    (void)state;
    struct err e = {0};
    make(32);
    unlink(to);
    if (!mem_fail_at(0)) {
        skip();
    }
    size_t live = mem_live();
    for (size_t n = 1;; n++) {
        mem_fail_at(n);
        enum err_code rc = copy(false, &e);
        mem_fail_at(0);
        assert_int_equal(mem_live(), live);
        if (!rc) {
            break;
        }
        assert_int_equal(rc, ERR_NOMEM);
        assert_false(os_file_exists(to));
        err_clear(&e);
    }
    compare();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_dropped),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests_name("gguf_write", tests, setup, teardown);
}
