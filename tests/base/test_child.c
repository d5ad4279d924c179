/* test_child.c: other programs run to their end, shared libraries, and who this process is.
 *
 * The children are shells with a line to run. Nothing is timed but a limit that a child can never
 * keep; that a process is gone is asked of the system until it says so.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <signal.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/os.h"

enum { LONG = 300 }; /* seconds that no test takes */

static struct buf out;
static struct os_child child;
static struct err e;

static int begin(void **state) {
    (void)state;
    buf_init(&out, 65536);
    err_clear(&e);
    memset(&child, 0xff, sizeof child);
    return 0;
}

static int end(void **state) {
    (void)state;
    buf_fini(&out);
    return mem_live() != 0;
}

static enum err_code shell(const char *line, double seconds, const volatile int *stop) {
    const char *argv[] = {"/bin/sh", "-c", line, NULL};
    return os_child_run(&child, argv, seconds, stop, &out, &e);
}

static void expect(enum os_child_end how, int code, const char *text) {
    assert_int_equal(child.end, how);
    assert_int_equal(child.code, code);
    assert_string_equal(out.p ? out.p : "", text);
}

/* Gone, or dead and not yet buried by whoever inherited it. */
static bool gone(uint64_t id) {
    char path[64], text[256];
    size_t n;
    snprintf(path, sizeof path, "/proc/%llu/stat", (unsigned long long)id);
    return !os_process_alive(id) || os_read_head(path, text, sizeof text, &n, NULL) ||
           strstr(text, ") Z ");
}

/* A number that a shell has printed; the process of that number must be gone, soon. */
static void expect_gone(const char *text) {
    uint64_t id = strtoull(text, NULL, 10);
    assert_true(id > 1);
    for (double until = os_now() + LONG; !gone(id);) {
        assert_true(os_now() < until);
        os_sleep(0.01);
    }
}

static void test_exit(void **state) {
    (void)state;
    assert_int_equal(shell("echo one; echo two; exit 7", LONG, NULL), ERR_OK);
    expect(OS_CHILD_EXITED, 7, "one\ntwo\n");
    assert_int_equal(shell("exit 0", LONG, NULL), ERR_OK);
    expect(OS_CHILD_EXITED, 0, "one\ntwo\n"); /* appended to */
}

static void test_streams(void **state) {
    (void)state;
    assert_int_equal(shell("cat; echo lost >&2; echo $IGN_TEST_CHILD", LONG, NULL), ERR_OK);
    expect(OS_CHILD_EXITED, 0, "yes\n");
}

static void test_signal(void **state) {
    (void)state;
    assert_int_equal(shell("echo before; kill -SEGV $$; echo after", LONG, NULL), ERR_OK);
    expect(OS_CHILD_SIGNALED, SIGSEGV, "before\n");
}

/* A line that prints and never ends, under a limit that lets it print: how long a shell takes to
 * start is the machine's business. */
static void shell_stopped(const char *line) {
    for (double limit = 0.5; out.len == 0 && limit < LONG; limit *= 4) {
        assert_int_equal(shell(line, limit, NULL), ERR_OK);
        assert_int_equal(child.end, OS_CHILD_TIMEOUT);
    }
    expect_gone(out.p ? out.p : "");
}

static void test_timeout(void **state) {
    (void)state;
    shell_stopped("echo $$; trap '' TERM INT HUP; while :; do sleep 1000; done");
}

/* It says no more, and does not end. */
static void test_timeout_silent(void **state) {
    (void)state;
    shell_stopped("echo $$; exec >&-; exec sleep 1000");
}

static void test_flood(void **state) {
    (void)state;
    assert_int_equal(
        shell("echo $$; while :; do echo 0123456789012345678901234567890123456789; done", LONG,
              NULL),
        ERR_OK);
    assert_int_equal(child.end, OS_CHILD_FLOOD);
    assert_true(out.len <= out.max);
    expect_gone(out.p);
}

/* Whoever the child started goes with it, even where it holds the other end of the pipe. */
static void test_orphan(void **state) {
    (void)state;
    assert_int_equal(shell("sleep 1000 & echo $!; exit 3", LONG, NULL), ERR_OK);
    assert_int_equal(child.end, OS_CHILD_EXITED);
    assert_int_equal(child.code, 3);
    expect_gone(out.p);
}

static void test_stop(void **state) {
    (void)state;
    volatile int stop = 1;
    assert_int_equal(shell("sleep 1000", LONG, &stop), ERR_CANCELLED);
    assert_int_equal(e.code, ERR_CANCELLED);
}

static void test_missing(void **state) {
    (void)state;
    const char *argv[] = {"/nowhere/program", NULL};
    assert_int_equal(os_child_run(&child, argv, LONG, NULL, &out, &e), ERR_NOTFOUND);
    assert_non_null(strstr(e.where, "/nowhere/program"));
    err_clear(&e);
    argv[0] = "/tmp";
    assert_int_equal(os_child_run(&child, argv, LONG, NULL, &out, &e), ERR_IO);
}

/* Threads of ours block signals and one is ignored; a child begins as from a shell. */
static void in_thread(void *arg) {
    (void)arg;
    shell("kill -TERM $$; echo alive", LONG, NULL);
}

static void test_signals_not_inherited(void **state) {
    (void)state;
    struct os_thread *t;
    assert_int_equal(os_thread_start(&t, in_thread, NULL, &e), ERR_OK);
    os_thread_join(t);
    expect(OS_CHILD_SIGNALED, SIGTERM, "");
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(shell("kill -PIPE $$; echo alive", LONG, NULL), ERR_OK);
    signal(SIGPIPE, SIG_DFL);
    expect(OS_CHILD_SIGNALED, SIGPIPE, "");
}

/* A hundred children leave no descriptor behind. */
static void test_descriptors(void **state) {
    (void)state;
    int before = dup(0), after;
    close(before);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(shell("exit 0", LONG, NULL), ERR_OK);
    }
    after = dup(0);
    close(after);
    assert_int_equal(before, after);
}

static void test_output_take(void **state) {
    (void)state;
    int keep = dup(1), fd = -1, pipe_fd[2];
    char text[64] = "";
    fflush(stdout);
    assert_int_equal(pipe(pipe_fd), 0);
    assert_int_equal(dup2(pipe_fd[1], 1), 1);
    close(pipe_fd[1]);
    assert_int_equal(os_output_take(&fd, &e), ERR_OK);
    assert_int_equal(os_write_fd(1, "noise", 5, &e), ERR_OK);
    assert_int_equal(os_write_fd(fd, "said", 4, &e), ERR_OK);
    close(fd);
    dup2(keep, 1);
    close(keep);
    assert_int_equal(read(pipe_fd[0], text, sizeof text - 1), 4);
    close(pipe_fd[0]);
    assert_string_equal(text, "said");
}

static void test_library(void **state) {
    (void)state;
    struct os_library *l;
    assert_int_equal(os_library_open(&l, "libm.so.6", &e), ERR_OK);
    assert_non_null(os_library_find(l, "cos"));
    assert_null(os_library_find(l, "no_such_function"));
    os_library_close(l);
    os_library_close(NULL);
    assert_int_equal(os_library_open(&l, "libno-such-library.so.1", &e), ERR_NOTFOUND);
    assert_null(l);
    assert_non_null(strstr(e.what, "libno-such-library.so.1"));
    err_clear(&e);
    assert_int_equal(os_library_open(&l, "/etc/passwd", &e), ERR_NOTFOUND);
}

static void test_self(void **state) {
    (void)state;
    char *path, platform[64], small[8];
    struct utsname u;
    assert_int_equal(os_self_path(&path, &e), ERR_OK);
    assert_int_equal(path[0], '/');
    assert_string_equal(strrchr(path, '/'), "/test_child");
    assert_true(os_file_exists(path));
    mem_free(path);
    uname(&u);
    os_platform(platform, sizeof platform);
    assert_memory_equal(platform, "linux ", 6);
    assert_string_equal(platform + 6, u.machine);
    os_platform(small, sizeof small);
    assert_memory_equal(small, platform, 7);
    assert_int_equal(small[7], '\0');
    assert_true(os_process_alive(os_process_id()));
    assert_false(os_process_alive(0));
}

static void test_read_head(void **state) {
    (void)state;
    char text[64], all[4096];
    size_t n;
    assert_int_equal(os_read_head("/proc/self/comm", text, sizeof text, &n, &e), ERR_OK);
    assert_int_equal(n, strlen(text));
    assert_string_equal(text, "test_child\n"); /* though its size is 0 */
    assert_int_equal(os_read_head("/proc/self/status", text, sizeof text, &n, &e), ERR_OK);
    assert_int_equal(n, sizeof text - 1);
    assert_int_equal(os_read_head("/proc/self/status", all, sizeof all, &n, &e), ERR_OK);
    assert_int_equal(n, strlen(all));
    assert_non_null(strstr(all, "Cpus_allowed_list"));
    assert_int_equal(os_read_head("/nowhere", text, sizeof text, &n, &e), ERR_NOTFOUND);
    assert_string_equal(text, "");
    err_clear(&e);
    assert_int_equal(os_read_head("/dev/zero", text, sizeof text, &n, &e), ERR_FORMAT);
}

int main(void) {
    setenv("IGN_TEST_CHILD", "yes", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_exit, begin, end),
        cmocka_unit_test_setup_teardown(test_streams, begin, end),
        cmocka_unit_test_setup_teardown(test_signal, begin, end),
        cmocka_unit_test_setup_teardown(test_timeout, begin, end),
        cmocka_unit_test_setup_teardown(test_timeout_silent, begin, end),
        cmocka_unit_test_setup_teardown(test_flood, begin, end),
        cmocka_unit_test_setup_teardown(test_orphan, begin, end),
        cmocka_unit_test_setup_teardown(test_stop, begin, end),
        cmocka_unit_test_setup_teardown(test_missing, begin, end),
        cmocka_unit_test_setup_teardown(test_signals_not_inherited, begin, end),
        cmocka_unit_test_setup_teardown(test_descriptors, begin, end),
        cmocka_unit_test_setup_teardown(test_output_take, begin, end),
        cmocka_unit_test_setup_teardown(test_library, begin, end),
        cmocka_unit_test_setup_teardown(test_self, begin, end),
        cmocka_unit_test_setup_teardown(test_read_head, begin, end),
    };
    return cmocka_run_group_tests_name("child", tests, NULL, NULL);
}
