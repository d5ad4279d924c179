/* test_probe.c: what is believed of a child's lines, and what is said of a child's end.
 *
 * The lines are written here, as no driver would make the real child write them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "device/probe.h"

#define END "{\"end\":true}\n"

static struct machine m;

static int no_leak(void **state) {
    (void)state;
    return mem_live() != 0;
}

static void report(const char *lines, enum os_child_end end, int code) {
    struct os_child child = {.end = end, .code = code};
    memset(&m, 0, sizeof m);
    probe_report(&m, GPU_CUDA, str_c(lines), &child, 5);
}

static void lines(const char *text) {
    report(text, OS_CHILD_EXITED, 0);
}

static void expect_warning(const char *part) {
    assert_int_equal(m.n_warning, 1);
    if (!strstr(m.warning[0], part)) {
        fail_msg("'%s' is not in '%s'", part, m.warning[0]);
    }
}

/* A good device but for the members in `more`, which come last and must be new or wrong alone. */
#define DEVICE(index, more)                                                                        \
    "{\"device\":{\"index\":" index                                                                \
    ",\"name\":\"A\",\"driver\":\"D\",\"why\":\"\",\"cuda\":12040,"                                \
    "\"major\":9,\"minor\":0,\"unified\":false" more "}}\n"
#define GOOD                                                                                       \
    ",\"memory_total\":8589934592,\"memory_free\":1,\"link_generation\":4,\"link_width\":16"

static void test_good(void **state) {
    (void)state;
    lines("{\"step\":\"cuInit\"}\n" DEVICE("3", GOOD) END);
    assert_int_equal(m.n_warning, 0);
    assert_int_equal(m.n_gpu, 1);
    assert_int_equal(m.gpu[0].kind, GPU_CUDA);
    assert_int_equal(m.gpu[0].index, 3);
    assert_true(m.gpu[0].usable);
    assert_int_equal(m.gpu[0].memory_total, (uint64_t)8 << 30);
    assert_int_equal(m.gpu[0].link_width, 16);
    assert_non_null(strstr(m.gpu[0].why, "not yet used"));
}

/* NVIDIA's OpenCL shows the cards that CUDA reaches: each counts once. */
static void test_same_card(void **state) {
    (void)state;
    struct os_child child = {.end = OS_CHILD_EXITED};
    lines(DEVICE("0", GOOD) END);
    probe_report(&m, GPU_OPENCL, str_c(DEVICE("0", GOOD) END), &child, 5);
    assert_int_equal(m.n_gpu, 2);
    assert_true(m.gpu[0].usable);
    assert_false(m.gpu[1].usable);
    assert_string_equal(m.gpu[1].why, "it is a card of CUDA's (cuda:0)");
    lines("{\"device\":{\"index\":0,\"name\":\"A\",\"cuda\":12040" GOOD "}}\n" END);
    assert_false(m.gpu[0].usable);
    probe_report(&m, GPU_OPENCL, str_c(DEVICE("0", GOOD) END), &child, 5);
    assert_true(m.gpu[1].usable); /* the only way to it */
}

static void test_not_devices(void **state) {
    (void)state;
    static const char *const bad[] = {
        "nonsense\n",
        "[]\n",
        "{}\n" /* says nothing, which is no harm */,
        "{\"device\":7}\n",
        "{\"device\":{}}\n",
        DEVICE("-1", GOOD),
        DEVICE("16", GOOD),
        DEVICE("1e3", GOOD),
        DEVICE("\"1\"", GOOD),
        DEVICE("99999999999999999999", GOOD),
        "\xff\xfe\n",
        "{\"device\":{\"index\":0,\"index\":1}}\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[1024];
        strcpy(text, bad[i]);
        strcat(text, END);
        lines(text);
        assert_int_equal(m.n_gpu, 0);
        assert_int_equal(m.n_warning, i != 2);
    }
    lines(END "{\"device\":{\"index\":0"); /* a line without its end is none */
    assert_int_equal(m.n_gpu, 0);
    assert_int_equal(m.n_warning, 0);
}

static void test_wrong_members(void **state) {
    (void)state;
    static const struct {
        const char *more, *why;
    } bad[] = {
        {",\"memory_total\":-1", "cannot be"},
        {",\"memory_total\":281474976710657", "cannot be"},
        {",\"memory_total\":\"much\"", "cannot be"},
        {"", "cannot be"},
        {",\"memory_total\":2147483647", "too little"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[1024] = "{\"device\":{\"index\":0,\"cuda\":12040,\"major\":9,\"minor\":0";
        strcat(text, bad[i].more);
        strcat(text, "}}\n" END);
        lines(text);
        assert_int_equal(m.n_gpu, 1);
        assert_false(m.gpu[0].usable);
        assert_non_null(strstr(m.gpu[0].why, bad[i].why));
        assert_string_equal(m.gpu[0].name, "unnamed NVIDIA device");
    }
    lines("{\"device\":{\"index\":0,\"name\":\"a\\u001b[31m\\u202eb\\n\",\"driver\":[],\"why\":{},"
          "\"cuda\":-5,\"major\":100,\"minor\":0,\"memory_total\":9000000000,"
          "\"memory_free\":9000000001,\"link_generation\":10,\"link_width\":65,\"unified\":1}}"
          "\n" END);
    assert_string_equal(m.gpu[0].name, "a?[31m???b");
    assert_int_equal(m.gpu[0].memory_free, 0);
    assert_int_equal(m.gpu[0].link_generation, 0);
    assert_int_equal(m.gpu[0].link_width, 0);
    assert_false(m.gpu[0].unified);
    assert_non_null(strstr(m.gpu[0].why, "compute capability"));
    expect_warning("more memory free than it has");
}

static void test_many(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    for (int i = 0; i < 100; i++) {
        buf_printf(&b, "%s%s", DEVICE("0", GOOD), "{\"warning\":\"w\"}\n");
    }
    buf_puts(&b, END);
    lines(b.p);
    assert_int_equal(m.n_gpu, MACHINE_GPU_MAX);
    assert_int_equal(m.n_warning, 5); /* four of the driver, one of ours */
    assert_non_null(strstr(m.warning[4], "84 NVIDIA devices are left out"));
    buf_fini(&b);
}

static void test_ends(void **state) {
    (void)state;
    lines(END);
    assert_int_equal(m.n_warning, 0);
    lines("");
    expect_warning("ended the process that asked it (its start, exit code 0)");
    report("{\"step\":\"cuInit\"}\n", OS_CHILD_EXITED, 3);
    expect_warning("(cuInit, exit code 3)");
    report("{\"step\":\"cuInit\"}\n", OS_CHILD_SIGNALED, 11);
    expect_warning("crashed (cuInit, signal 11)");
    report("{\"step\":\"a\"}\n{\"step\":\"b\"}\n", OS_CHILD_TIMEOUT, 0);
    expect_warning("did not answer within 5 s (b)");
    report(END, OS_CHILD_FLOOD, 0);
    expect_warning("printed without end");
}

/* A program that is not there is a warning of each kind, and no error. */
static void test_no_program(void **state) {
    (void)state;
    struct probe_opts o = {.program = "/nowhere/ign"};
    struct err e = {0};
    memset(&m, 0, sizeof m);
    assert_int_equal(probe_devices(&m, &o, &e), ERR_OK);
    assert_int_equal(m.n_warning, 3);
    volatile int stop = 1;
    o = (struct probe_opts){.program = "/bin/cat", .stop = &stop};
    assert_int_equal(probe_devices(&m, &o, &e), ERR_CANCELLED);
}

/* Every allocation failed in turn: fewer devices or an error, and nothing left behind. */
static void test_no_memory(void **state) {
    (void)state;
    if (!mem_fail_at(1)) {
        skip();
    }
    mem_fail_at(0);
    struct probe_opts o = {.program = "/bin/true"};
    for (size_t n = 1; n < 100; n++) {
        struct err e = {0};
        memset(&m, 0, sizeof m);
        mem_fail_at(n);
        lines(DEVICE("0", GOOD) END);
        enum err_code code = probe_devices(&m, &o, &e);
        mem_fail_at(0);
        assert_true(code == ERR_OK || code == ERR_NOMEM);
        assert_int_equal(mem_live(), 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_good, no_leak),
        cmocka_unit_test_teardown(test_same_card, no_leak),
        cmocka_unit_test_teardown(test_not_devices, no_leak),
        cmocka_unit_test_teardown(test_wrong_members, no_leak),
        cmocka_unit_test_teardown(test_many, no_leak),
        cmocka_unit_test_teardown(test_ends, no_leak),
        cmocka_unit_test_teardown(test_no_program, no_leak),
        cmocka_unit_test_teardown(test_no_memory, no_leak),
    };
    return cmocka_run_group_tests_name("probe", tests, NULL, NULL);
}
