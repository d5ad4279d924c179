/* test_mem.c: allocation counts, arenas, the growing buffer, and the failing of allocations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/os.h"

static void test_counts(void **state) {
    (void)state;
    size_t count = mem_count();
    void *a = mem_alloc(3, 5), *z = mem_zalloc(0, 8), *al = mem_aligned(100, 1);
    char *s = mem_strdup("abc", 2);
    assert_int_equal(mem_live(), 4);
    assert_int_equal((uintptr_t)al % 64, 0);
    assert_non_null(z);
    assert_string_equal(s, "ab");
    a = mem_realloc(a, 1000, 1);
    assert_non_null(a);
    assert_int_equal(mem_live(), 4);
    assert_true(mem_count() - count == 5);
    mem_free(a);
    mem_free(z);
    mem_free(al);
    mem_free(s);
    mem_free(NULL);
    void *p = os_pages(1);
    assert_int_equal(mem_live(), 1);
    os_pages_free(p, 1);
    assert_int_equal(mem_live(), 0);
}

/* What is as large as a large page begins at one, and no more is kept than that. */
static void test_large(void **state) {
    (void)state;
    const size_t n[] = {OS_LARGE - 1, OS_LARGE, OS_LARGE + 1, 5 * OS_LARGE - 4096};
    for (size_t i = 0; i < sizeof n / sizeof *n; i++) {
        const size_t to = n[i] < OS_LARGE ? 64 : OS_LARGE;
        char *p = mem_aligned(n[i], 1), *q = os_pages(n[i]);
        assert_true(p && q);
        assert_int_equal((uintptr_t)p % to, 0);
        assert_int_equal((uintptr_t)q % (to == 64 ? os_page_size() : to), 0);
        memset(p, 1, n[i]);
        for (size_t k = 0; k < n[i]; k += 4095) {
            assert_int_equal(q[k], 0);
        }
        memset(q, 1, n[i]);
        mem_free(p);
        os_pages_free(q, n[i]);
    }
    assert_int_equal(mem_live(), 0);
}

static void test_overflow(void **state) {
    (void)state;
    struct arena a;
    assert_null(mem_alloc(SIZE_MAX, 2));
    assert_null(mem_zalloc(SIZE_MAX / 2, 3));
    assert_null(mem_aligned(SIZE_MAX, 1));
    assert_null(mem_aligned(SIZE_MAX / 2, 3));
    assert_null(mem_strdup("", SIZE_MAX));
    assert_null(os_pages(SIZE_MAX));
    void *p = mem_alloc(1, 1);
    assert_null(mem_realloc(p, SIZE_MAX, SIZE_MAX));
    mem_free(p);
    arena_init(&a, 0);
    assert_null(arena_alloc(&a, SIZE_MAX, 2));
    assert_null(arena_alloc(&a, SIZE_MAX, 1));
    assert_null(arena_alloc(&a, SIZE_MAX - 40, 1));
    assert_null(arena_strdup(&a, "", SIZE_MAX));
    arena_fini(&a);
    assert_int_equal(mem_live(), 0);
}

static void test_arena(void **state) {
    (void)state;
    struct arena a;
    arena_init(&a, 1 << 20);
    unsigned char *blocks[300];
    for (size_t i = 0; i < 300; i++) {
        blocks[i] = arena_alloc(&a, i * 7 + 1, 1);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        memset(blocks[i], (int)i & 255, i * 7 + 1);
    }
    for (size_t i = 0; i < 300; i++) {
        for (size_t j = 0; j < i * 7 + 1; j++) {
            assert_int_equal(blocks[i][j], i & 255);
        }
    }
    assert_true(mem_live() > 1);
    arena_reset(&a);
    assert_int_equal(mem_live(), 1);
    assert_int_equal(a.used, 0);
    assert_string_equal(arena_strdup(&a, "xyz", 3), "xyz");
    unsigned char *zeros = arena_zalloc(&a, 100, 4);
    for (int i = 0; i < 400; i++) {
        assert_int_equal(zeros[i], 0);
    }
    assert_null(arena_alloc(&a, 1 << 20, 1)); /* past its bound */
    assert_non_null(arena_alloc(&a, 1 << 19, 1));
    arena_fini(&a);
    arena_fini(&a);
    assert_int_equal(mem_live(), 0);
}

static void test_buf(void **state) {
    (void)state;
    struct buf b;
    struct err e = {0};
    buf_init(&b, 100000);
    assert_null(b.p);
    buf_put(&b, NULL, 0);
    buf_puts(&b, "ab");
    buf_putc(&b, 'c');
    buf_printf(&b, "%d-%s", 42, "z");
    assert_string_equal(b.p, "abc42-z");
    for (int i = 0; i < 10000; i++) {
        buf_putc(&b, (char)('a' + i % 26));
        assert_int_equal(b.p[b.len], 0);
    }
    assert_int_equal(b.len, 10007);
    assert_int_equal(buf_check(&b, &e), ERR_OK);
    buf_reset(&b);
    assert_string_equal(b.p, "");
    buf_fini(&b);

    buf_init(&b, 5);
    buf_puts(&b, "12345");
    assert_int_equal(buf_check(&b, &e), ERR_OK);
    buf_putc(&b, '6');
    assert_string_equal(b.p, "12345");
    assert_int_equal(buf_check(&b, &e), ERR_LIMIT);
    assert_non_null(strstr(e.what, "5 bytes"));
    buf_reset(&b);
    buf_puts(&b, "123");
    buf_printf(&b, "%d", 456);
    buf_putc(&b, 'x'); /* ignored: the failure is latched */
    assert_string_equal(b.p, "123");
    assert_true(b.failed);
    buf_fini(&b);

    assert_true(str_is(str_c("abc"), "abc"));
    assert_false(str_is(str_of("abc", 2), "abc"));
    assert_true(str_starts(str_c("abc"), "ab"));
    assert_false(str_starts(str_c("a"), "ab"));
    assert_true(str_ends(str_c("m.gguf"), ".gguf"));
    assert_false(str_ends(str_c(".gguf"), ".gguf"));
    assert_false(str_ends(str_c("gguf"), ".gguf"));
    assert_true(str_ends(str_c("m"), ""));
    assert_false(str_ends(str_c(""), ""));
    assert_true(str_eq(str_of(NULL, 0), str_c("")));
    assert_int_equal(mem_live(), 0);
}

/* Every allocation of a small program fails in turn, in the build that can do it. */
static void test_torture(void **state) {
    (void)state;
    if (!mem_fail_at(0)) {
        skip();
    }
    size_t n = 1;
    for (bool whole = false; !whole; n++) {
        struct arena a;
        struct buf b;
        mem_fail_at(n);
        arena_init(&a, 0);
        buf_init(&b, 1000);
        void *p = os_pages(5000);
        bool ok = p && arena_alloc(&a, 100, 1) && arena_alloc(&a, 100000, 1);
        buf_printf(&b, "%0200d", 1);
        buf_printf(&b, "%0200d", 1);
        whole = ok && !b.failed;
        if (b.failed) {
            struct err e = {0};
            assert_int_equal(buf_check(&b, &e), ERR_NOMEM);
        }
        buf_fini(&b);
        arena_fini(&a);
        os_pages_free(p, 5000);
        mem_fail_at(0);
        assert_int_equal(mem_live(), 0);
    }
    assert_int_equal(n, 7);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),   cmocka_unit_test(test_large),
        cmocka_unit_test(test_overflow), cmocka_unit_test(test_arena),
        cmocka_unit_test(test_buf),      cmocka_unit_test(test_torture),
    };
    return cmocka_run_group_tests_name("mem", tests, NULL, NULL);
}
