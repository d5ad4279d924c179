/* test_machine.c: machines of roots/, each with what must be found in it; and this one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/os.h"
#include "device/section_root.h"

#define GIB ((uint64_t)1 << 30)

static struct machine m;

static void look(const char *name) {
    char path[128], *all = NULL, *text = mem_alloc(SYS_TEXT_MAX, 1);
    size_t n = 0;
    struct err e = {0};
    assert_non_null(text);
    snprintf(path, sizeof path, "tests/device/roots/%s", name);
    if (os_read_file(path, SYS_TEXT_MAX, &all, &n, &e)) {
        fail_msg("%s: %s", path, e.what);
    }
    section_machine(&m, str_of(all, n), text);
    mem_free(all);
    mem_free(text);
}

static void expect_cpu(int sockets, int cores, int threads, int usable, int usable_cores) {
    assert_int_equal(m.cpu.sockets, sockets);
    assert_int_equal(m.cpu.cores, cores);
    assert_int_equal(m.cpu.threads, threads);
    assert_int_equal(m.cpu.usable, usable);
    assert_int_equal(m.cpu.usable_cores, usable_cores);
}

static void expect_warnings(int n) {
    for (int i = 0; i < m.n_warning && m.n_warning != n; i++) {
        print_error("warning: %s\n", m.warning[i]);
    }
    assert_int_equal(m.n_warning, n);
}

static bool has_isa(const char *name) {
    for (int i = 0; i < m.cpu.n_isa; i++) {
        if (strcmp(m.cpu.isa[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static void test_laptop(void **state) {
    (void)state;
    look("laptop");
    expect_cpu(1, 4, 8, 8, 4);
    assert_string_equal(m.platform, "linux x86_64");
    assert_string_equal(m.cpu.vendor, "GenuineIntel");
    assert_string_equal(m.cpu.name, "Intel(R) Core(TM) i5-8250U CPU @ 1.60GHz");
    assert_string_equal(m.cpu.affinity, "0-7");
    assert_true(has_isa("avx2") && has_isa("sse4.1") && has_isa("f16c"));
    assert_false(has_isa("avx512f"));
    assert_int_equal(m.cpu.budget, 8);
    assert_true(m.cpu.quota == 0);
    assert_int_equal(m.cpu.l1d, 32768);
    assert_int_equal(m.cpu.l2, 262144);
    assert_int_equal(m.cpu.l3, 6291456);
    assert_int_equal(m.memory.total, 16256432ull * 1024);
    assert_int_equal(m.memory.usable, 11800000ull * 1024);
    assert_int_equal(m.memory.limit, 0);
    assert_string_equal(m.memory.limit_from, "");
    expect_warnings(0);
}

/* 2 CPUs of 64 is a machine with 2; cached files are not memory in use. */
static void test_container_v2(void **state) {
    (void)state;
    look("server_v2");
    expect_cpu(2, 32, 64, 64, 32);
    assert_true(m.cpu.quota == 2);
    assert_string_equal(m.cpu.quota_from, "/sys/fs/cgroup/cpu.max");
    assert_int_equal(m.cpu.budget, 2);
    assert_true(has_isa("avxvnni") && has_isa("avx512vnni") && has_isa("avx512bf16"));
    assert_int_equal(m.memory.limit, 8 * GIB);
    assert_int_equal(m.memory.limit_left, 3 * GIB);
    assert_int_equal(m.memory.usable, 3 * GIB);
    assert_string_equal(m.memory.limit_from, "/sys/fs/cgroup/memory.max");
    expect_warnings(0);
}

/* A quota counts to its nearest thread: 1.5 is 2. */
static void test_container_v1(void **state) {
    (void)state;
    look("server_v1");
    assert_true(m.cpu.quota == 1.5);
    assert_string_equal(m.cpu.quota_from, "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us");
    assert_int_equal(m.cpu.budget, 2);
    assert_int_equal(m.memory.limit, 4 * GIB);
    assert_int_equal(m.memory.limit_left, 3 * GIB + 104857600);
    assert_string_equal(m.memory.limit_from, "/sys/fs/cgroup/memory/memory.limit_in_bytes");
    expect_warnings(0);
}

static void test_affinity(void **state) {
    (void)state;
    look("affinity");
    expect_cpu(2, 32, 64, 2, 1);
    assert_string_equal(m.cpu.affinity, "3,35");
    assert_int_equal(m.cpu.budget, 2);
    expect_warnings(0);
}

static void test_nested(void **state) {
    (void)state;
    look("nested");
    assert_true(m.cpu.quota == 2.5);
    assert_string_equal(m.cpu.quota_from, "/sys/fs/cgroup/plant.slice/cpu.max");
    assert_int_equal(m.cpu.budget, 3);
    assert_int_equal(m.memory.limit, 8 * GIB);
    assert_string_equal(m.memory.limit_from,
                        "/sys/fs/cgroup/plant.slice/gateway.slice/memory.high");
    assert_int_equal(m.memory.limit_left, 12884901888 - 12348030976);
    expect_warnings(0);
}

static void test_hybrid(void **state) {
    (void)state;
    look("hybrid");
    expect_cpu(1, 12, 16, 16, 12);
    assert_int_equal(m.cpu.slow_cores, 8);
}

static void test_arm(void **state) {
    (void)state;
    look("arm");
    expect_cpu(1, 4, 4, 4, 4);
    assert_string_equal(m.platform, "linux aarch64");
    assert_string_equal(m.cpu.vendor, "ARM");
    assert_string_equal(m.cpu.name, "ARM part 0xd0b");
    assert_true(has_isa("neon") && has_isa("dotprod"));
    assert_int_equal(m.cpu.n_isa, 2);
    expect_warnings(0);
}

static void test_bare(void **state) {
    (void)state;
    look("bare");
    expect_cpu(2, 4, 8, 8, 4);
    assert_int_equal(m.memory.available, 3000000ull * 1024);
    expect_warnings(2); /* affinity, MemAvailable */
}

static void test_empty(void **state) {
    (void)state;
    look("empty");
    expect_cpu(1, 1, 1, 1, 1);
    assert_int_equal(m.cpu.budget, 1);
    assert_int_equal(m.memory.total, 0);
    assert_int_equal(m.memory.usable, 0);
    expect_warnings(5);
}

static void test_hostile(void **state) {
    (void)state;
    look("hostile");
    expect_cpu(1, 1, 1, 1, 1);
    assert_string_equal(m.platform, "linux x86_64?[31mred and longer than");
    assert_string_equal(m.cpu.vendor, "?]0;title?AAAAAAAAAAAAAAAAAAAAA");
    assert_string_equal(m.cpu.name, "two blanks ?? ?? end");
    assert_int_equal(m.cpu.n_isa, 0);
    assert_int_equal(m.cpu.l1d, 0);
    assert_true(m.cpu.quota == 0);
    assert_int_equal(m.memory.limit, 0);
    assert_int_equal(m.memory.total, 0);
    assert_true(m.n_warning > 3);
}

static void test_absurd(void **state) {
    (void)state;
    look("absurd");
    assert_true(m.cpu.quota == 0);
    assert_int_equal(m.memory.available, m.memory.total);
    assert_int_equal(m.memory.limit, 1048576); /* believed: small is possible */
    assert_int_equal(m.memory.limit_left, 0);
    assert_int_equal(m.memory.usable, 0);
    expect_warnings(2); /* the quota, more available than there is */
}

static void test_cpu_lists(void **state) {
    (void)state;
    struct sys_cpus s;
    char text[16],
        *wrong[] = {"", "a", "1-", "-1", "3-2", "1,,2", "1,", "8192", "1 2", "0-9999999"};
    const char *right[] = {"0", "0-1", "8191", "0-2,5,7-8"};
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        assert_int_equal(sys_cpu_list(&s, right[i]), true);
        sys_cpu_text(&s, text, sizeof text);
        assert_string_equal(text, right[i]);
    }
    assert_int_equal(sys_cpu_list(&s, "1,3,5,7,9,11,13,15,17\n"), true);
    sys_cpu_text(&s, text, sizeof text);
    assert_string_equal(text, "1,3,5,7,9,11...");
    assert_int_equal(sys_cpu_count(&s), 9);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(sys_cpu_list(&s, wrong[i]), false);
        assert_int_equal(sys_cpu_count(&s), 0);
        assert_int_equal(sys_cpu_first(&s), -1);
    }
}

static void test_many_warnings(void **state) {
    (void)state;
    memset(&m, 0, sizeof m);
    for (int i = 0; i < 3 * MACHINE_WARNING_MAX; i++) {
        machine_warn(&m, "warning \x1b%d", i);
    }
    assert_int_equal(m.n_warning, MACHINE_WARNING_MAX);
    assert_string_equal(m.warning[0], "warning ?0");
    assert_string_equal(m.warning[MACHINE_WARNING_MAX - 1], "there is more to warn of");
}

static void test_this_machine(void **state) {
    (void)state;
    char platform[64];
    os_platform(platform, sizeof platform);
    machine_read(&m, NULL);
    assert_string_equal(m.platform, platform);
    assert_int_equal(m.cpu.usable, os_cpu_count());
    assert_true(m.cpu.budget >= 1 && m.cpu.budget <= m.cpu.usable);
    assert_true(m.cpu.name[0] != '\0');
    assert_true(has_isa("avx2") == os_cpu_has("avx2"));
    assert_in_range(m.memory.total, GIB / 4, (uint64_t)1 << 46);
    assert_true(m.memory.available > 0 && m.memory.available <= m.memory.total);
    assert_int_equal(mem_live(), 0);
}

static void test_no_memory(void **state) {
    (void)state;
    if (!mem_fail_at(1)) {
        skip();
    }
    machine_read(&m, "");
    mem_fail_at(0);
    assert_int_equal(m.cpu.budget, 1);
    expect_warnings(1);
}

/* A root that is not there is a machine of which nothing can be read. */
static void test_no_root(void **state) {
    (void)state;
    machine_read(&m, "/nowhere");
    expect_cpu(1, 1, 1, 1, 1);
    expect_warnings(5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_laptop),        cmocka_unit_test(test_container_v2),
        cmocka_unit_test(test_container_v1),  cmocka_unit_test(test_affinity),
        cmocka_unit_test(test_nested),        cmocka_unit_test(test_hybrid),
        cmocka_unit_test(test_arm),           cmocka_unit_test(test_bare),
        cmocka_unit_test(test_empty),         cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_cpu_lists),     cmocka_unit_test(test_absurd),
        cmocka_unit_test(test_many_warnings), cmocka_unit_test(test_this_machine),
        cmocka_unit_test(test_no_memory),     cmocka_unit_test(test_no_root),
    };
    return cmocka_run_group_tests_name("machine", tests, NULL, NULL);
}
