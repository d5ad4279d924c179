/* test_process.c: locks between processes, whole appends, questions about files, and who we are.
 *
 * Other processes are forks of this one. What they find they say by their exit status.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/os.h"

static char dir[] = "/tmp/ign_test_process_XXXXXX";

static const char *in_dir(const char *name) {
    static char path[4][256];
    static int turn;
    char *p = path[turn++ % 4];
    snprintf(p, 256, "%s/%s", dir, name);
    return p;
}

static int wait_for(pid_t pid) {
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect_file(const char *path, const char *want) {
    char *text;
    size_t n;
    struct err e = {0};
    assert_int_equal(os_read_file(path, 1 << 20, &text, &n, &e), ERR_OK);
    assert_string_equal(text, want);
    mem_free(text);
}

static void test_append(void **state) {
    (void)state;
    struct err e = {0};
    struct stat st;
    const char *path = in_dir("append");
    assert_int_equal(os_append_file(path, "one", 3, &e), ERR_OK);
    assert_int_equal(os_append_file(path, "", 0, &e), ERR_OK);
    assert_int_equal(os_append_file(path, "two", 3, &e), ERR_OK);
    expect_file(path, "onetwo");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(os_append_file(dir, "x", 1, &e), ERR_IO);
    err_clear(&e);
    assert_int_equal(os_append_file("/dev/null", "x", 1, &e), ERR_FORMAT);
    err_clear(&e);
    assert_int_equal(os_append_file(in_dir("no/such"), "x", 1, &e), ERR_NOTFOUND);
    assert_non_null(strstr(e.where, "no/such"));

    assert_int_equal(os_cut_file(path, 2, NULL), ERR_OK);
    expect_file(path, "on");
    err_clear(&e);
    assert_int_equal(os_cut_file(in_dir("missing"), 0, &e), ERR_NOTFOUND);
    assert_false(os_file_exists(in_dir("missing")));
}

/* A disk that is full in the middle of what is appended: the file is as it was. */
static void test_append_fails(void **state) {
    (void)state;
    const char *path = in_dir("full");
    assert_int_equal(os_append_file(path, "before", 6, NULL), ERR_OK);
    pid_t pid = fork();
    if (pid == 0) {
        static char big[8192];
        struct err e = {0};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){4096, 4096});
        _exit(os_append_file(path, big, sizeof big, &e) == ERR_IO && e.what[0] ? 0 : 1);
    }
    assert_int_equal(wait_for(pid), 0);
    expect_file(path, "before");
}

static void test_open_end(void **state) {
    (void)state;
    int a, b;
    struct err e = {0};
    const char *path = in_dir("end");
    assert_int_equal(os_open_end(path, &a, &e), ERR_OK);
    assert_int_equal(os_open_end(path, &b, &e), ERR_OK);
    assert_int_equal(os_write_fd(a, "a", 1, &e), ERR_OK);
    assert_int_equal(os_write_fd(b, "b", 1, &e), ERR_OK);
    assert_int_equal(os_write_fd(a, "c", 1, &e), ERR_OK);
    expect_file(path, "abc");
    close(a);
    close(b);
    assert_int_equal(os_open_end(dir, &a, &e), ERR_IO);
}

/* 0: it was free; 1: somebody has it. */
static int try_lock(const char *path) {
    pid_t pid = fork();
    if (pid == 0) {
        struct os_lock *l;
        struct err e = {0};
        enum err_code rc = os_lock_take(&l, path, 0, &e);
        _exit(rc == ERR_OK ? 0 : rc == ERR_CANCELLED && !l ? 1 : 2);
    }
    return wait_for(pid);
}

static void test_lock(void **state) {
    (void)state;
    struct os_lock *l, *second;
    struct err e = {0};
    const char *path = in_dir("lock");
    assert_int_equal(os_lock_take(&l, path, 0, &e), ERR_OK);
    assert_int_equal(try_lock(path), 1);
    assert_int_equal(os_lock_take(&second, path, 0, &e), ERR_CANCELLED);
    assert_null(second);
    double before = os_now();
    err_clear(&e);
    assert_int_equal(os_lock_take(&second, path, 0.05, &e), ERR_CANCELLED);
    assert_true(os_now() - before >= 0.05);
    os_lock_drop(l);
    os_lock_drop(NULL);
    assert_int_equal(try_lock(path), 0);
    assert_true(os_file_exists(path));
    err_clear(&e);
    assert_int_equal(os_lock_take(&l, in_dir("no/such"), 60, &e), ERR_NOTFOUND);
    err_clear(&e);
    assert_int_equal(os_lock_take(&l, dir, 60, &e), ERR_IO);
    assert_int_equal(mem_live(), 0);
}

/* Whoever waits gets the lock when its holder ends, even by kill -9; and it guards: of many
 * processes that read a number, wait and write it back, none is lost. */
static void test_lock_waits(void **state) {
    enum { WRITERS = 4, EACH = 25 };
    (void)state;
    const char *path = in_dir("held"), *number = in_dir("number");
    struct os_lock *l;
    struct err e = {0};
    int fd[2];
    char c;
    assert_int_equal(pipe(fd), 0);
    pid_t holder = fork();
    if (holder == 0) {
        if (os_lock_take(&l, path, 60, &e) || write(fd[1], "x", 1) != 1) {
            _exit(1);
        }
        for (;;) {
            pause();
        }
    }
    assert_int_equal(read(fd[0], &c, 1), 1);
    assert_int_equal(try_lock(path), 1);
    pid_t killer = fork();
    if (killer == 0) {
        usleep(20000);
        _exit(kill(holder, SIGKILL));
    }
    assert_int_equal(os_lock_take(&l, path, 60, &e), ERR_OK);
    assert_int_equal(wait_for(holder), -1);
    assert_int_equal(wait_for(killer), 0);
    os_lock_drop(l);

    pid_t pid[WRITERS];
    assert_int_equal(os_write_file(number, "0", 1, &e), ERR_OK);
    for (int k = 0; k < WRITERS; k++) {
        pid[k] = fork();
        for (int i = 0; pid[k] == 0 && i < EACH; i++) {
            char *text, next[16];
            size_t n;
            if (os_lock_take(&l, path, 60, &e) || os_read_file(number, 16, &text, &n, &e)) {
                _exit(1);
            }
            snprintf(next, sizeof next, "%d", atoi(text) + 1);
            mem_free(text);
            usleep(100);
            FILE *f = fopen(number, "w");
            if (!f || fputs(next, f) < 0 || fclose(f)) {
                _exit(1);
            }
            os_lock_drop(l);
        }
        if (pid[k] == 0) {
            _exit(0);
        }
    }
    for (int k = 0; k < WRITERS; k++) {
        assert_int_equal(wait_for(pid[k]), 0);
    }
    expect_file(number, "100");
}

static void test_remove(void **state) {
    (void)state;
    struct err e = {0};
    assert_int_equal(os_append_file(in_dir("gone"), "x", 1, &e), ERR_OK);
    assert_int_equal(os_remove_file(in_dir("gone"), &e), ERR_OK);
    assert_false(os_file_exists(in_dir("gone")));
    assert_int_equal(os_remove_file(in_dir("gone"), &e), ERR_OK);
    assert_int_equal(mkdir(in_dir("folder"), 0700), 0);
    assert_int_equal(os_remove_file(in_dir("folder"), &e), ERR_IO);
    assert_true(os_file_exists(in_dir("folder")));
}

static void test_file_info(void **state) {
    (void)state;
    struct os_file_info info;
    struct err e = {0};
    const char *path = in_dir("info");
    assert_int_equal(os_append_file(path, "12345", 5, &e), ERR_OK);
    for (mode_t mode = 0600; mode <= 0666; mode++) {
        assert_int_equal(chmod(path, mode), 0);
        assert_int_equal(os_file_info(path, &info, &e), ERR_OK);
        assert_int_equal(info.shared, (mode & 066) != 0);
        assert_true(info.readable && info.writable && !info.is_folder);
    }
    assert_int_equal(info.size, 5);
    assert_true(info.mtime <= os_wall_time() && info.mtime > os_wall_time() - 600);
    assert_int_equal(symlink("info", in_dir("link")), 0);
    assert_int_equal(os_file_info(in_dir("link"), &info, &e), ERR_OK);
    assert_int_equal(info.size, 5);
    assert_int_equal(os_file_info(dir, &info, &e), ERR_OK);
    assert_true(info.is_folder);
    if (getuid() != 0) {
        assert_int_equal(chmod(path, 0), 0);
        assert_int_equal(os_file_info(path, &info, &e), ERR_OK);
        assert_false(info.readable || info.writable);
    }
    assert_int_equal(os_file_info(in_dir("missing"), &info, &e), ERR_NOTFOUND);
}

static void test_disk_free(void **state) {
    (void)state;
    uint64_t bytes = 0;
    struct err e = {0};
    assert_int_equal(os_disk_free(dir, &bytes, &e), ERR_OK);
    assert_true(bytes > 1 << 20);
    if (os_file_exists("/proc/self")) { /* a file system without a disk */
        assert_int_equal(os_disk_free("/proc/self", &bytes, &e), ERR_OK);
        assert_int_equal(bytes, 0);
    }
    assert_int_equal(os_disk_free(in_dir("missing"), &bytes, &e), ERR_NOTFOUND);
}

static void test_alive(void **state) {
    (void)state;
    assert_int_equal(os_process_id(), getpid());
    assert_true(os_process_alive(os_process_id()));
    assert_true(os_process_alive(1)); /* somebody else's */
    assert_false(os_process_alive(0));
    assert_false(os_process_alive(UINT64_MAX));
    assert_false(os_process_alive((uint64_t)1 << 32));
    pid_t pid = fork();
    if (pid == 0) {
        _exit(0);
    }
    assert_int_equal(wait_for(pid), 0);
    assert_false(os_process_alive((uint64_t)pid));
}

static void test_names(void **state) {
    (void)state;
    char text[256], tiny[3];
    struct passwd *me = getpwuid(getuid());
    os_user_name(text, sizeof text);
    if (me) {
        assert_string_equal(text, me->pw_name);
    } else {
        assert_int_equal(atoi(text), getuid());
    }
    assert_int_equal(os_user_id(), getuid());
    char host[256];
    assert_int_equal(gethostname(host, sizeof host), 0);
    os_host_name(text, sizeof text);
    assert_string_equal(text, host);
    os_user_name(tiny, sizeof tiny);
    assert_true(strlen(tiny) < sizeof tiny);
    os_host_name(tiny, sizeof tiny);
    assert_true(strlen(tiny) < sizeof tiny);
    if (getuid() == 0) { /* a user without a name is a number */
        pid_t pid = fork();
        if (pid == 0) {
            if (setuid(54321) != 0) {
                _exit(1);
            }
            os_user_name(text, sizeof text);
            _exit(strcmp(text, "54321") == 0 ? 0 : 2);
        }
        assert_int_equal(wait_for(pid), 0);
    }
}

static void test_stamp(void **state) {
    (void)state;
    char text[OS_STAMP];
    struct tm tm = {0};
    setenv("TZ", "Asia/Kolkata", 1); /* half an hour off: local time would show */
    tzset();
    int64_t before = os_wall_time();
    os_stamp(text);
    assert_int_equal(strlen(text), 24);
    assert_int_equal(sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d.", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
                            &tm.tm_hour, &tm.tm_min, &tm.tm_sec),
                     6);
    tm.tm_year -= 1900;
    tm.tm_mon--;
    assert_true(timegm(&tm) >= before && timegm(&tm) <= os_wall_time());
    assert_int_equal(text[23], 'Z');
}

/* The places of closed standard streams are taken, and still neither read nor written. */
static void test_streams_hold(void **state) {
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        char c;
        size_t n;
        close(0);
        close(1);
        close(2);
        os_streams_hold();
        int fd = open("/dev/null", O_RDWR);
        int bad = fd <= 2;
        bad += os_write_fd(1, "x", 1, NULL) != ERR_IO;
        bad += os_write_fd(2, "x", 1, NULL) != ERR_IO;
        bad += os_read_fd(0, &c, 1, &n, -1, NULL) != ERR_IO;
        _exit(bad);
    }
    assert_int_equal(wait_for(pid), 0);
}

/* In a process of its own that is nice to degree `at` already, or more where this one is: what LOW
 * leaves there; -1: it failed. */
static int nice_after_low(int at) {
    pid_t pid = fork();
    if (pid == 0) {
        struct err e = {0};
        if (getpriority(PRIO_PROCESS, 0) < at) {
            setpriority(PRIO_PROCESS, 0, at);
        }
        _exit(os_priority_set(OS_PRIORITY_LOW, &e) ? 255 : getpriority(PRIO_PROCESS, 0));
    }
    int after = wait_for(pid);
    return after == 255 ? -1 : after;
}

/* Who is nicer already stays so: root would be raised, and anybody else refused. */
static void test_priority_low(void **state) {
    (void)state;
    int mine = getpriority(PRIO_PROCESS, 0);
    assert_int_equal(nice_after_low(0), mine > 10 ? mine : 10);
    assert_int_equal(nice_after_low(10), mine > 10 ? mine : 10);
    assert_int_equal(nice_after_low(15), mine > 15 ? mine : 15);
    assert_int_equal(nice_after_low(19), 19);
}

static int setup(void **state) {
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append),       cmocka_unit_test(test_append_fails),
        cmocka_unit_test(test_open_end),     cmocka_unit_test(test_lock),
        cmocka_unit_test(test_lock_waits),   cmocka_unit_test(test_remove),
        cmocka_unit_test(test_file_info),    cmocka_unit_test(test_disk_free),
        cmocka_unit_test(test_alive),        cmocka_unit_test(test_names),
        cmocka_unit_test(test_stamp),        cmocka_unit_test(test_streams_hold),
        cmocka_unit_test(test_priority_low),
    };
    return cmocka_run_group_tests_name("process", tests, setup, teardown);
}
