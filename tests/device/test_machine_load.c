/* test_machine_load.c: looks at machines that are a folder each, and what lies between two looks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/os.h"
#include "device/machine_load.h"

static char root[] = "/tmp/ign-load-XXXXXX";
static const char *const paths[] = {"/proc/stat", "/proc/loadavg", "/proc/self/status",
                                    "/proc/cpuinfo",
                                    "/sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq"};

static const char *path_of(const char *tail) {
    static char path[256];
    snprintf(path, sizeof path, "%s%s", root, tail);
    return path;
}

static void put(const char *tail, const char *text) {
    struct err e = {0};
    char folder[256];
    snprintf(folder, sizeof folder, "%s%s", root, tail);
    *strrchr(folder, '/') = '\0';
    assert_int_equal(os_mkdirs(folder, &e), ERR_OK);
    assert_int_equal(os_write_file(path_of(tail), text, strlen(text), &e), ERR_OK);
}

static int clean(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        os_remove_file(path_of(paths[i]), NULL);
    }
    return 0;
}

#define STAT                                                                                       \
    "cpu  999 9 9 9 9 9 9 9 0 0\n"                                                                 \
    "cpu0 1 1 1 1 1 1 1 1 0 0\n"                                                                   \
    "cpu1 100 10 20 800 30 1 2 40 5 5\n"                                                           \
    "cpu2 100 10 20 800 30 1 2 40 5 5\n"                                                           \
    "intr 17 0 0\n"

static void test_read(void **state) {
    (void)state;
    struct machine_load l;
    put("/proc/stat", STAT);
    put("/proc/self/status", "Name:\tx\nCpus_allowed:\t6\nCpus_allowed_list:\t1-2\n");
    put("/proc/loadavg", "4.31 3.40 2.00 7/128 19964\n");
    put("/sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq", "3200000\n");
    machine_load_read(&l, root);
    assert_int_equal(l.cpus, 2);
    assert_int_equal(l.total, 2 * 1003);
    assert_int_equal(l.busy, 2 * 133);
    assert_int_equal(l.steal, 2 * 40);
    assert_true(fabs(l.average - 4.31) < 1e-9);
    assert_true(fabs(l.mhz - 3200) < 1e-9);
    assert_true(l.wall > 0 && l.own >= 0);
    assert_int_equal(mem_live(), 0);
}

static void test_frequency_of_cpuinfo(void **state) {
    (void)state;
    struct machine_load l;
    put("/proc/cpuinfo", "processor\t: 0\ncpu MHz\t\t: 2000.096\n\nprocessor\t: 1\n"
                         "cpu MHz\t\t: 3000.000\n");
    machine_load_read(&l, root);
    assert_true(fabs(l.mhz - 2500) < 1e-9);
}

/* Absent, cut, absurd and endless: not known, and never a crash. */
static void test_hostile(void **state) {
    (void)state;
    static const char *const stats[] = {
        "",
        "cpu",
        "cpu0",
        "cpu0 1 2 3",
        "cpu0 1 2 3 4 5 6 7 -8",
        "cpu0 99999999999999999999 1 1 1 1 1 1 1",
        "cpu0 18446744073709551615 18446744073709551615 1 1 1 1 1 1",
        "cpu99999999 1 1 1 1 1 1 1 1",
        "cpu18446744073709551616 1 1 1 1 1 1 1 1",
        "cpux 1 1 1 1 1 1 1 1",
        "\xff\xfe",
    };
    static const char *const averages[] = {
        "", "x", "1", "1.", "-1.00 1", "1.999 2", "99999999999999999999.00"};
    struct machine_load l;
    machine_load_read(&l, root); /* a machine without any file */
    assert_int_equal(l.cpus, 0);
    assert_true(isnan(l.average) && isnan(l.mhz));
    for (size_t i = 0; i < sizeof stats / sizeof *stats; i++) {
        put("/proc/stat", stats[i]);
        machine_load_read(&l, root);
        assert_int_equal(l.cpus, 0);
        assert_int_equal(l.total, 0);
    }
    for (size_t i = 0; i < sizeof averages / sizeof *averages; i++) {
        put("/proc/loadavg", averages[i]);
        machine_load_read(&l, root);
        assert_true(isnan(l.average));
    }
    put("/proc/cpuinfo", "cpu MHz\t\t: 99999999.0\ncpu MHz : x\ncpu MHz");
    machine_load_read(&l, root);
    assert_true(isnan(l.mhz));
}

static void test_between(void **state) {
    (void)state;
    /* Ten seconds of four processors, 100 ticks each a second: this process used 20 processor
     * seconds, all together 30, the hypervisor took 4. */
    struct machine_load from = {.wall = 5,
                                .own = 1,
                                .cpus = 4,
                                .total = 1000,
                                .busy = 100,
                                .steal = 10,
                                .average = 1,
                                .mhz = 3000};
    struct machine_load to = {.wall = 15,
                              .own = 21,
                              .cpus = 4,
                              .total = 5000,
                              .busy = 3100,
                              .steal = 410,
                              .average = 2.5,
                              .mhz = 2500};
    struct machine_noise n;
    machine_noise_between(&n, &from, &to, 2);
    assert_true(fabs(n.seconds - 10) < 1e-9);
    assert_true(fabs(n.steal_percent - 10) < 1e-9);
    assert_true(fabs(n.other_percent - 25) < 1e-9);
    assert_true(fabs(n.own_percent - 100) < 1e-9);
    assert_true(n.average == 2.5 && n.mhz_from == 3000 && n.mhz_to == 2500);

    struct machine_load busy = to;
    busy.busy = 110; /* less than this process alone: clocks that do not quite agree */
    machine_noise_between(&n, &from, &busy, 2);
    assert_true(n.other_percent == 0);

    struct machine_load gone = to;
    gone.cpus = 3;
    machine_noise_between(&n, &from, &gone, 2);
    assert_true(isnan(n.steal_percent) && isnan(n.other_percent) && n.own_percent == 100);
    gone = to;
    gone.steal = 0;
    machine_noise_between(&n, &from, &gone, 2);
    assert_true(isnan(n.steal_percent) && isnan(n.other_percent));
    machine_noise_between(&n, &from, &from, 2);
    assert_true(isnan(n.steal_percent) && isnan(n.own_percent));
}

/* The machine that the test is on; each figure is a percentage or is not known. */
static void test_here(void **state) {
    (void)state;
    struct machine_load from, to;
    struct machine_noise n;
    machine_load_read(&from, NULL);
    volatile uint64_t spin = 0;
    while (os_cpu_seconds() - from.own < 0.05) {
        spin = spin + 1;
    }
    machine_load_read(&to, NULL);
    machine_noise_between(&n, &from, &to, 1);
    assert_true(n.seconds > 0 && n.own_percent > 0 && n.own_percent <= 100);
    assert_true(isnan(n.steal_percent) || (n.steal_percent >= 0 && n.steal_percent <= 100));
    assert_true(isnan(n.other_percent) || (n.other_percent >= 0 && n.other_percent <= 100));
}

static int make_root(void **state) {
    (void)state;
    return mkdtemp(root) ? 0 : -1;
}

static int drop_root(void **state) {
    static const char *const folders[] = {"/proc/self",
                                          "/proc",
                                          "/sys/devices/system/cpu/cpu1/cpufreq",
                                          "/sys/devices/system/cpu/cpu1",
                                          "/sys/devices/system/cpu",
                                          "/sys/devices/system",
                                          "/sys/devices",
                                          "/sys",
                                          ""};
    (void)state;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        rmdir(path_of(folders[i]));
    }
    return access(root, F_OK) == 0 ? -1 : 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_read, clean),
        cmocka_unit_test_teardown(test_frequency_of_cpuinfo, clean),
        cmocka_unit_test_teardown(test_hostile, clean),
        cmocka_unit_test(test_between),
        cmocka_unit_test(test_here),
    };
    return cmocka_run_group_tests(tests, make_root, drop_root);
}
