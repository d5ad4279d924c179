/* test_instance.c: real processes that come, are killed and go; files that lie; folders that
 * refuse.
 *
 * Each process is a fork of this one that enters, says so through a pipe, and waits for its end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/os.h"
#include "observe/instance.h"

static char dir[] = "/tmp/ign_test_instance_XXXXXX";

static const char *in_dir(const char *name) {
    static char path[4][256];
    static int turn;
    char *p = path[turn++ % 4];
    snprintf(p, 256, "%s/%s", dir, name);
    return p;
}

static void put(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

/* A process with an entry that lives until a byte comes through `leave`. */
struct child {
    pid_t pid;
    int leave;
};

static struct child start(const char *folder, const char *model) {
    int said[2], leave[2];
    char c;
    assert_int_equal(pipe(said), 0);
    assert_int_equal(pipe(leave), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct instance_info info = {.verb = "generate", .device = "cpu", .memory = 1 << 20};
        struct instance *i = NULL;
        struct err e = {0};
        snprintf(info.model, sizeof info.model, "%s", model);
        close(said[0]);
        close(leave[1]);
        c = instance_enter(&i, folder, &info, &e) == ERR_OK ? 'y' : 'n';
        if (write(said[1], &c, 1) != 1 || read(leave[0], &c, 1) != 1) {
            _exit(1);
        }
        instance_leave(i);
        _exit(mem_live() == 0 ? 0 : 2);
    }
    close(said[1]);
    close(leave[0]);
    assert_int_equal(read(said[0], &c, 1), 1);
    assert_int_equal(c, 'y');
    close(said[0]);
    return (struct child){pid, leave[1]};
}

static void end(struct child c, bool kill_it) {
    int status = 0;
    if (kill_it) {
        kill(c.pid, SIGKILL);
    } else {
        assert_int_equal(write(c.leave, "x", 1), 1);
    }
    close(c.leave);
    assert_int_equal(waitpid(c.pid, &status, 0), c.pid);
    assert_true(kill_it ? WIFSIGNALED(status) : status == 0);
}

static size_t count(const char *folder) {
    struct instance_info *list;
    size_t n;
    struct err e = {0};
    assert_int_equal(instance_list(folder, &list, &n, &e), ERR_OK);
    mem_free(list);
    return n;
}

static size_t files_in(const char *folder) {
    char **names;
    size_t n;
    assert_int_equal(os_list(folder, &names, &n, NULL), ERR_OK);
    mem_free(names);
    return n;
}

static void test_come_and_go(void **state) {
    (void)state;
    const char *folder = in_dir("made/state");
    struct instance_info *list;
    size_t n = 7;
    struct err e = {0};
    struct child c[5];
    assert_int_equal(instance_list(folder, &list, &n, &e), ERR_OK); /* not there yet */
    assert_int_equal(n, 0);
    assert_null(list);
    for (int i = 0; i < 5; i++) {
        char model[32];
        snprintf(model, sizeof model, "model %d", i);
        c[i] = start(folder, model);
    }
    assert_int_equal(instance_list(folder, &list, &n, &e), ERR_OK);
    assert_int_equal(n, 5);
    for (size_t i = 0; i < n; i++) {
        bool known = false;
        for (int k = 0; k < 5; k++) {
            known |= list[i].process == (uint64_t)c[k].pid && list[i].model[6] == '0' + k;
        }
        assert_true(known);
        assert_true(i == 0 || list[i - 1].started <= list[i].started);
        assert_true(list[i].started <= os_wall_time() && list[i].started > os_wall_time() - 600);
        assert_string_equal(list[i].verb, "generate");
        assert_string_equal(list[i].device, "cpu");
        assert_int_equal(list[i].memory, 1 << 20);
    }
    mem_free(list);
    end(c[1], false);
    assert_int_equal(count(folder), 4);
    end(c[0], true); /* leaves its file behind */
    assert_int_equal(files_in(folder), 4 + 1);
    assert_int_equal(count(folder), 3);
    assert_int_equal(files_in(folder), 3 + 1);
    for (int i = 2; i < 5; i++) {
        end(c[i], i == 3);
    }
    assert_int_equal(count(folder), 0);
    assert_int_equal(files_in(folder), 1); /* the folder's lock */
    assert_int_equal(mem_live(), 0);
}

/* The number of a process that was killed is given to a new one. */
static void test_number_again(void **state) {
    (void)state;
    const char *folder = in_dir("again");
    struct instance_info info = {.verb = "chat"}, *list;
    struct instance *i, *second;
    size_t n;
    char path[300];
    struct err e = {0};
    assert_int_equal(os_mkdirs(folder, &e), ERR_OK);
    snprintf(path, sizeof path, "%s/run-%d.json", folder, (int)getpid());
    put(in_dir("precious"), "not an entry");
    assert_int_equal(symlink("../precious", path), 0);
    assert_int_equal(instance_enter(&i, folder, &info, &e), ERR_OK);
    assert_int_equal(instance_list(folder, &list, &n, &e), ERR_OK);
    assert_int_equal(n, 1);
    assert_int_equal(list[0].process, getpid());
    assert_string_equal(list[0].verb, "chat");
    mem_free(list);
    assert_int_equal(instance_enter(&second, folder, &info, &e), ERR_CANCELLED);
    assert_null(second);
    assert_int_equal(count(folder), 1); /* the first one is still there */
    instance_leave(i);
    instance_leave(NULL);
    assert_int_equal(count(folder), 0);
    char *text;
    assert_int_equal(os_read_file(in_dir("precious"), 100, &text, &n, NULL), ERR_OK);
    assert_string_equal(text, "not an entry");
    mem_free(text);
}

static void test_refused(void **state) {
    (void)state;
    struct instance_info info = {.verb = "chat"}, *list;
    struct instance *i;
    size_t n;
    put(in_dir("file"), "x");
    const char *places[] = {in_dir("file"), in_dir("file/below"), "/proc/self/state"};
    for (int k = 0; k < 3; k++) {
        struct err e = {0};
        assert_int_not_equal(instance_enter(&i, places[k], &info, &e), ERR_OK);
        assert_null(i);
        assert_true(e.code != ERR_OK && e.what[0]);
    }
    struct err e = {0};
    assert_int_not_equal(instance_list(in_dir("file"), &list, &n, &e), ERR_OK);
    assert_null(list);
    if (getuid() != 0) { /* whom no permission stops */
        assert_int_equal(mkdir(in_dir("readonly"), 0555), 0);
        err_clear(&e);
        assert_int_equal(instance_enter(&i, in_dir("readonly"), &info, &e), ERR_IO);
    }
    assert_int_equal(mem_live(), 0);
}

/* No file left over: neither for lack of room nor for lack of memory. */
static void test_full_disk(void **state) {
    (void)state;
    const char *folder = in_dir("full");
    pid_t pid = fork();
    if (pid == 0) {
        struct err e = {0};
        struct instance *i;
        struct instance_info info = {.verb = "chat"};
        signal(SIGXFSZ, SIG_IGN);
        alarm(60);
        if (setrlimit(RLIMIT_FSIZE, &(struct rlimit){10, 10}) != 0) {
            _exit(1);
        }
        _exit(instance_enter(&i, folder, &info, &e) == ERR_IO && !i ? 0 : 2);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(files_in(folder), 1);
    size_t at = 1;
    for (; mem_fail_at(at); at++) {
        struct err e = {0};
        struct instance *i;
        struct instance_info info = {.verb = "chat"}, *list = NULL;
        size_t n;
        enum err_code rc = instance_enter(&i, folder, &info, &e);
        rc = rc ? rc : instance_list(folder, &list, &n, &e);
        mem_fail_at(0);
        mem_free(list);
        instance_leave(i);
        assert_int_equal(mem_live(), 0);
        assert_int_equal(files_in(folder), 1);
        if (!rc) {
            break;
        }
        assert_int_equal(rc, ERR_NOMEM);
    }
    assert_true(at == 1 || at > 5);
}

/* Files that say anything, held by a living process or by none. */
static void test_hostile(void **state) {
    (void)state;
    static const char *const texts[] = {
        "",
        "{",
        "[]",
        "null",
        "{\"process\":true}",
        "{\"process\":1,\"process\":2}",
        "\xff\xfe",
        "{\"process\":%d,\"verb\":[],\"model\":5,\"memory\":-1,\"started\":\"x\"}",
        "{\"process\":%d,\"verb\":\"\\u001b[2J\",\"model\":\"\\u00e9\\u00e9\"}",
        "{\"process\":4,\"verb\":\"somebody else's\"}",
    };
    static const char cut[] = "x\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"
                              "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9";
    const char *folder = in_dir("hostile");
    struct err e = {0};
    char path[300], text[20000];
    assert_int_equal(os_mkdirs(folder, &e), ERR_OK);
    for (size_t i = 0; i < sizeof texts / sizeof *texts + 2; i++) {
        struct instance_info *list;
        struct os_lock *l = NULL;
        size_t n;
        snprintf(path, sizeof path, "%s/run-%d.json", folder, (int)getpid());
        if (i < sizeof texts / sizeof *texts) {
            snprintf(text, sizeof text, texts[i], (int)getpid());
        } else {
            /* Too long for a field, cut in the middle of a character; too long for an entry. */
            int room = i == sizeof texts / sizeof *texts ? 100 : 8000;
            int at = snprintf(text, sizeof text, "{\"process\":%d,\"verb\":\"x", (int)getpid());
            for (int k = 0; k < room; k++) {
                at += snprintf(text + at, sizeof text - (size_t)at, "\xc3\xa9");
            }
            snprintf(text + at, sizeof text - (size_t)at, "\"}");
        }
        put(path, text);
        assert_int_equal(os_lock_take(&l, path, 0, &e), ERR_OK);
        assert_int_equal(instance_list(folder, &list, &n, &e), ERR_OK);
        assert_int_equal(n, 1);
        assert_int_equal(list[0].process, getpid());
        assert_true(strlen(list[0].verb) < sizeof list[0].verb);
        assert_string_equal(list[0].verb, i == 8                              ? "\x1b[2J"
                                          : i == sizeof texts / sizeof *texts ? cut
                                                                              : "");
        mem_free(list);
        os_lock_drop(l);
        assert_int_equal(count(folder), 0);
        assert_false(os_file_exists(path));
    }
}

/* What is not an entry is not touched. */
static void test_strangers(void **state) {
    (void)state;
    const char *folder = in_dir("strangers");
    static const char *const names[] = {
        "benchmark.json", "notes",       "12",           "12.json.bak",
        "run-0.json",     "run--5.json", "run-1e3.json", "run-99999999999999999999.json",
        "2024.json"};
    char path[300];
    struct err e = {0};
    assert_int_equal(os_mkdirs(folder, &e), ERR_OK);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        put(path, "mine");
    }
    snprintf(path, sizeof path, "%s/run-77.json", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/run-78.json", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(count(folder), 0);
    assert_false(os_file_exists(path)); /* nobody's */
    assert_int_equal(files_in(folder), sizeof names / sizeof *names + 2);
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
        cmocka_unit_test(test_come_and_go), cmocka_unit_test(test_number_again),
        cmocka_unit_test(test_refused),     cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_hostile),     cmocka_unit_test(test_strangers),
    };
    return cmocka_run_group_tests_name("instance", tests, setup, teardown);
}
