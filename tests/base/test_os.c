/* test_os.c: files that are not files, files that shrink, whole writes, signals, threads.
 *
 * Works in a folder of its own under the current one, made with the system's own calls: this file
 * plays the neighbour who truncates a model while it is mapped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/os.h"

static char dir[] = "/tmp/ign_test_os_XXXXXX";

static const char *in_dir(const char *name) {
    static char path[4][256];
    static int turn;
    char *p = path[turn++ % 4];
    snprintf(p, 256, "%s/%s", dir, name);
    return p;
}

static void put(const char *path, size_t n) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (size_t i = 0; i < n; i++) {
        fputc((int)(i % 251) + 1, f);
    }
    assert_int_equal(fclose(f), 0);
}

static void test_map(void **state) {
    (void)state;
    put(in_dir("a"), 10000);
    for (int copy = 0; copy < 2; copy++) {
        struct os_map m;
        struct err e = {0};
        assert_int_equal(os_map_open(&m, in_dir("a"), copy, &e), ERR_OK);
        assert_int_equal(m.size, 10000);
        assert_int_equal(m.copied, copy);
        os_map_willneed(&m);
        for (size_t i = 0; i < m.size; i++) {
            assert_int_equal(m.data[i], i % 251 + 1);
        }
        assert_int_equal(m.lost, 0);
        os_map_close(&m);
        os_map_close(&m);
    }
    put(in_dir("empty"), 0);
    for (int copy = 0; copy < 2; copy++) {
        struct os_map m;
        struct err e = {0};
        assert_int_equal(os_map_open(&m, in_dir("empty"), copy, &e), ERR_OK);
        assert_int_equal(m.size, 0);
        assert_non_null(m.data);
        assert_int_equal(os_map_lock(&m, &e), ERR_OK);
        os_map_close(&m);
    }
    assert_int_equal(mem_live(), 0);
}

static void test_more_maps_than_slots(void **state) {
    (void)state;
    enum { MANY = 1100 };
    struct os_map *m = mem_zalloc(MANY, sizeof *m);
    struct err e = {0};
    put(in_dir("a"), 10);
    int open = 0;
    while (open < MANY && os_map_open(&m[open], in_dir("a"), false, &e) == ERR_OK) {
        open++;
    }
    assert_int_equal(open, 1024);
    assert_int_equal(e.code, ERR_LIMIT);
    for (int i = 0; i < open; i++) {
        os_map_close(&m[i]);
    }
    err_clear(&e);
    assert_int_equal(os_map_open(&m[0], in_dir("a"), false, &e), ERR_OK);
    os_map_close(&m[0]);
    mem_free(m);
    assert_int_equal(mem_live(), 0);
}

/* Half of the file goes away: its pages read as zeros, the mapping says so, others do not. */
static void test_map_truncated(void **state) {
    (void)state;
    struct os_map m, other;
    struct err e = {0};
    const size_t page = os_page_size();
    put(in_dir("t"), 8 * page);
    put(in_dir("o"), 2 * page);
    assert_int_equal(os_map_open(&m, in_dir("t"), false, &e), ERR_OK);
    assert_int_equal(os_map_open(&other, in_dir("o"), false, &e), ERR_OK);
    assert_int_equal(truncate(in_dir("t"), (off_t)(4 * page)), 0);
    assert_int_equal(m.data[0], 1);
    assert_int_equal(m.lost, 0);
    volatile unsigned sum = 0;
    for (size_t i = 4 * page; i < 8 * page; i += 512) {
        sum += m.data[i];
    }
    assert_int_equal(sum, 0);
    assert_int_equal(m.lost, 1);
    assert_int_equal(m.data[page], page % 251 + 1);
    assert_int_equal(other.lost, 0);
    os_map_close(&m);
    assert_int_equal(m.lost, 1);
    os_map_close(&other);
}

struct reader {
    const struct os_map *m;
    atomic_bool stop;
    size_t rounds, wrong;
};

static void read_all(void *arg) {
    struct reader *r = arg;
    do {
        for (size_t i = 0; i < r->m->size; i += 61) {
            r->wrong += *(const volatile uint8_t *)&r->m->data[i] != i % 251 + 1;
        }
        r->rounds++;
    } while (!atomic_load(&r->stop));
}

/* Pages move while another thread reads: every byte keeps its place and value, and what was moved
 * outlives the file's end. */
static void test_map_settle(void **state) {
    (void)state;
    struct os_map m;
    struct err e = {0};
    const size_t n = ((size_t)9 << 20) + 123;
    put(in_dir("s"), n);
    assert_int_equal(os_map_open(&m, in_dir("s"), false, &e), ERR_OK);
    struct reader r = {.m = &m};
    struct os_thread *t = NULL;
    assert_int_equal(os_thread_start(&t, read_all, &r, &e), ERR_OK);
    size_t at = 0, before = 0;
    int calls = 0;
    while (os_map_settle(&m, &at)) {
        assert_true(at >= before + OS_LARGE && at <= n);
        before = at;
        calls++;
    }
    atomic_store(&r.stop, true);
    os_thread_join(t);
    assert_true(r.rounds > 0);
    assert_int_equal(r.wrong, 0);
    assert_int_equal(m.settled, at > 0);
    assert_true(calls <= 4);
    double large = os_map_large(&m); /* -1 where the system does not tell */
    assert_true(large < 0 || (large <= 1 && large * (double)n + 1 >= (double)calls * OS_LARGE));
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(m.data[i], i % 251 + 1);
    }
    os_map_done(&m, m.data, n);
    assert_int_equal(truncate(in_dir("s"), 0), 0);
    if (at > 0) {
        assert_int_equal(m.data[at - 1], (at - 1) % 251 + 1);
        assert_int_equal(m.lost, 0);
    }
    os_map_close(&m);
    assert_int_equal(os_map_open(&m, in_dir("a"), true, &e), ERR_OK);
    at = 0;
    assert_false(os_map_settle(&m, &at)); /* a copy has nothing to move */
    assert_int_equal(at, 0);
    os_map_close(&m);
    assert_int_equal(mem_live(), 0);
}

static void read_lost(void *arg) {
    const volatile struct os_map *m = arg;
    for (size_t i = 0; i < m->size; i += 64) {
        (void)*(const volatile uint8_t *)&m->data[i];
    }
}

static void test_map_truncated_threads(void **state) {
    (void)state;
    struct os_map m;
    struct err e = {0};
    struct os_thread *t[4];
    put(in_dir("t"), 256 * os_page_size());
    assert_int_equal(os_map_open(&m, in_dir("t"), false, &e), ERR_OK);
    assert_int_equal(truncate(in_dir("t"), 0), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(os_thread_start(&t[i], read_lost, &m, &e), ERR_OK);
    }
    for (int i = 0; i < 4; i++) {
        os_thread_join(t[i]);
    }
    os_thread_join(NULL);
    assert_int_equal(m.lost, 1);
    os_map_close(&m);
    assert_int_equal(mem_live(), 0);
}

/* A fault outside of our mappings still ends the process with SIGBUS. */
static void test_foreign_sigbus(void **state) {
    (void)state;
    struct os_map m;
    struct err e = {0};
    put(in_dir("a"), 10);
    assert_int_equal(os_map_open(&m, in_dir("a"), false, &e), ERR_OK);
    pid_t pid = fork();
    if (pid == 0) {
        struct os_map second;
        signal(SIGBUS, SIG_DFL); /* the test framework has one too */
        alarm(10);
        if (os_map_open(&second, in_dir("a"), false, &e) != ERR_OK) {
            _exit(0);
        }
        raise(SIGBUS); /* si_addr is not an address of ours */
        raise(SIGBUS);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    /* A sanitizer's own handler, if there is one, exits with a report. */
    assert_true(WIFSIGNALED(status) ? WTERMSIG(status) == SIGBUS : WEXITSTATUS(status) != 0);
    os_map_close(&m);
}

static void refuses(const char *path, enum err_code code, const char *part) {
    for (int how = 0; how < 3; how++) {
        struct os_map m;
        struct err e = {0};
        char *text;
        size_t n;
        char line[1024];
        enum err_code got = how < 2 ? os_map_open(&m, path, how == 1, &e)
                                    : os_read_file(path, 1 << 20, &text, &n, &e);
        err_line(&e, line, sizeof line);
        if (got != code || e.code != code || !strstr(line, part)) {
            fail_msg("%s gave %s", path, line);
        }
    }
}

static void test_not_a_file(void **state) {
    (void)state;
    assert_int_equal(mkfifo(in_dir("fifo"), 0600), 0);
    assert_int_equal(symlink("nowhere", in_dir("dangling")), 0);
    assert_int_equal(symlink("loop", in_dir("loop")), 0);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s", in_dir("sock"));
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(s, (struct sockaddr *)&addr, sizeof addr), 0);
    refuses(dir, ERR_FORMAT, "is a directory");
    refuses(in_dir("fifo"), ERR_FORMAT, "is a FIFO");
    refuses("/dev/zero", ERR_FORMAT, "is a character device");
    refuses(in_dir("sock"), ERR_FORMAT, "is a socket");
    refuses(in_dir("missing"), ERR_NOTFOUND, "missing");
    refuses(in_dir("missing/below"), ERR_NOTFOUND, "missing/below");
    refuses(in_dir("dangling"), ERR_NOTFOUND, "dangling");
    refuses(in_dir("loop"), ERR_IO, "loop");
    refuses("", ERR_NOTFOUND, "No such file");
    char name[5000];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    refuses(name, ERR_IO, "nnn");
    close(s);
    assert_int_equal(mem_live(), 0);
}

static void test_read_file(void **state) {
    (void)state;
    char *text;
    size_t n;
    struct err e = {0};
    put(in_dir("r"), 1000);
    assert_int_equal(os_read_file(in_dir("r"), 1000, &text, &n, &e), ERR_OK);
    assert_int_equal(n, 1000);
    assert_int_equal(text[1000], 0);
    mem_free(text);
    assert_int_equal(os_read_file(in_dir("r"), 999, &text, &n, &e), ERR_LIMIT);
    assert_null(text);
    assert_int_equal(mem_live(), 0);
}

static size_t count_files(void) {
    char **names;
    size_t n;
    assert_int_equal(os_list(dir, &names, &n, NULL), ERR_OK);
    mem_free(names);
    return n;
}

static void test_write_file(void **state) {
    (void)state;
    struct err e = {0};
    struct stat st;
    char *text;
    size_t n;
    assert_int_equal(os_write_file(in_dir("w"), "one", 3, &e), ERR_OK);
    assert_int_equal(chmod(in_dir("w"), 0640), 0);
    assert_int_equal(symlink("w", in_dir("link")), 0);
    size_t files = count_files();
    assert_int_equal(os_write_file(in_dir("link"), "three", 5, &e), ERR_OK);
    assert_int_equal(count_files(), files);
    assert_int_equal(lstat(in_dir("link"), &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(stat(in_dir("w"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_int_equal(os_read_file(in_dir("w"), 100, &text, &n, &e), ERR_OK);
    assert_string_equal(text, "three");
    mem_free(text);

    assert_int_equal(os_write_file("/dev/null", "x", 1, &e), ERR_FORMAT);
    err_clear(&e);
    assert_int_equal(os_write_file(dir, "x", 1, &e), ERR_FORMAT);
    err_clear(&e);
    assert_int_equal(os_write_file(in_dir("no/such"), "x", 1, &e), ERR_NOTFOUND);
    assert_int_equal(count_files(), files);
}

/* Piece by piece: nothing is seen before the commit, nothing is left after a drop. */
static void test_out(void **state) {
    (void)state;
    struct err e = {0};
    struct os_out *o;
    const char *path = in_dir("out");
    char *text;
    size_t n, before = count_files();
    assert_int_equal(os_out_open(&o, path, &e), ERR_OK);
    assert_int_equal(os_out_write(o, "one", 3, &e), ERR_OK);
    assert_false(os_file_exists(path));
    os_out_drop(o);
    os_out_drop(NULL);
    assert_int_equal(count_files(), before);
    assert_int_equal(os_out_open(&o, path, &e), ERR_OK);
    assert_int_equal(os_out_write(o, "two", 3, &e), ERR_OK);
    assert_int_equal(os_out_write(o, " three", 6, &e), ERR_OK);
    assert_int_equal(os_out_commit(o, &e), ERR_OK);
    assert_int_equal(os_read_file(path, 100, &text, &n, &e), ERR_OK);
    assert_string_equal(text, "two three");
    mem_free(text);
    assert_int_equal(os_out_open(&o, in_dir("no/such"), &e), ERR_NOTFOUND);
    assert_null(o);
    err_clear(&e);
    assert_int_equal(os_out_open(&o, dir, &e), ERR_FORMAT);
    assert_null(o);
    assert_int_equal(mem_live(), 0);
}

/* A disk that is full while the file is written: the old one stays, no temporary file does. */
static void test_write_file_fails(void **state) {
    (void)state;
    put(in_dir("keep"), 100);
    size_t files = count_files();
    pid_t pid = fork();
    if (pid == 0) {
        struct err e = {0};
        static char big[1 << 16];
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){4096, 4096});
        _exit(os_write_file(in_dir("keep"), big, sizeof big, &e) == ERR_IO ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    struct stat st;
    assert_int_equal(stat(in_dir("keep"), &st), 0);
    assert_int_equal(st.st_size, 100);
    assert_int_equal(count_files(), files);
}

static void test_folders(void **state) {
    (void)state;
    struct err e = {0};
    char **names;
    size_t n;
    assert_int_equal(os_mkdirs(in_dir("x/y/z"), &e), ERR_OK);
    assert_int_equal(os_mkdirs(in_dir("x/y/z/"), &e), ERR_OK);
    assert_true(os_file_exists(in_dir("x/y/z")));
    assert_false(os_file_exists(in_dir("x/y/q")));
    put(in_dir("x/y/b"), 1);
    put(in_dir("x/y/a"), 1);
    assert_int_equal(os_list(in_dir("x/y"), &names, &n, &e), ERR_OK);
    assert_int_equal(n, 3);
    assert_string_equal(names[0], "a");
    assert_string_equal(names[1], "b");
    assert_string_equal(names[2], "z");
    mem_free(names);
    assert_int_equal(os_list(in_dir("x/y/z"), &names, &n, &e), ERR_OK);
    assert_int_equal(n, 0);
    mem_free(names);
    assert_int_equal(os_list(in_dir("nope"), &names, &n, &e), ERR_NOTFOUND);
    err_clear(&e);
    assert_int_equal(os_mkdirs(in_dir("x/y/a/below"), &e), ERR_IO);
    assert_int_equal(mem_live(), 0);
}

static void test_streams(void **state) {
    (void)state;
    int fd[2];
    char got[16];
    size_t n;
    struct err e = {0};
    assert_int_equal(pipe(fd), 0);
    assert_int_equal(os_write_fd(fd[1], "hello", 5, &e), ERR_OK);
    assert_int_equal(os_read_fd(fd[0], got, sizeof got, &n, 1000, &e), ERR_OK);
    assert_int_equal(n, 5);
    assert_memory_equal(got, "hello", 5);
    double t = os_now();
    assert_int_equal(os_read_fd(fd[0], got, sizeof got, &n, 20, &e), ERR_CANCELLED);
    assert_true(os_now() - t >= 0.019);
    err_clear(&e);
    close(fd[1]);
    assert_int_equal(os_read_fd(fd[0], got, sizeof got, &n, -1, &e), ERR_OK);
    assert_int_equal(n, 0);
    close(fd[0]);
    assert_int_equal(os_read_fd(-1, got, sizeof got, &n, 0, &e), ERR_CANCELLED);
    err_clear(&e);
    assert_int_equal(os_write_fd(-1, "x", 1, &e), ERR_IO);
    assert_false(os_is_terminal(fd[0]));
    assert_int_equal(os_terminal_width(fd[0]), 80);
    err_clear(&e);
    assert_int_equal(os_terminal_raw(fd[0], &e), ERR_IO);
}

/* In a child: the first signal is counted and ends a read, a broken pipe is an error, the second
 * signal ends the process with 130. */
static void test_signals(void **state) {
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        static volatile int count;
        struct err e = {0};
        int fd[2];
        char c;
        size_t n;
        os_signals_catch(&count);
        if (pipe(fd) != 0 || count != 0) {
            _exit(1);
        }
        pid_t child = fork();
        if (child == 0) {
            usleep(50000);
            kill(getppid(), SIGINT);
            _exit(0);
        }
        if (os_read_fd(fd[0], &c, 1, &n, -1, &e) != ERR_CANCELLED || count != 1) {
            _exit(2);
        }
        waitpid(child, NULL, 0); /* it has the pipe open too */
        close(fd[0]);
        err_clear(&e);
        if (os_write_fd(fd[1], "x", 1, &e) != ERR_IO) {
            _exit(3);
        }
        raise(SIGTERM);
        _exit(4);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 130);
}

static void test_pages(void **state) {
    (void)state;
    size_t page = os_page_size();
    char *p = os_pages(page + 1);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % page, 0);
    for (size_t i = 0; i < 2 * page; i++) {
        assert_int_equal(p[i], 0);
    }
    os_pages_protect(p, page + 1, false);
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL);
        *(volatile char *)p = 1;
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_not_equal(status, 0);
    os_pages_protect(p, page + 1, true);
    p[page] = 1;
    os_pages_free(p, page + 1);
    os_pages_free(NULL, 1);
    assert_true(os_memory_total() >= os_memory_available());
    assert_true(os_memory_available() > 0 && os_memory_peak() > 0);
}

/* What was given back is forgotten, where the system can forget. It counts in batches of pages. */
static void test_peak(void **state) {
    (void)state;
    const size_t n = (size_t)48 << 20, batch = (size_t)4 << 20;
    uint8_t *p = os_pages(n);
    assert_non_null(p);
    memset(p, 1, n);
    uint64_t peak = os_memory_peak();
    assert_true(peak + batch >= n && peak + batch >= os_memory_resident());
    os_pages_free(p, n);
    assert_true(os_memory_peak() + batch >= peak);
    if (os_memory_peak_reset()) {
        assert_true(os_memory_peak() <= peak - n / 2);
    }
    assert_true(os_memory_peak() > 0);
}

static void test_machine(void **state) {
    (void)state;
    char text[64];
    assert_true(os_cpu_count() >= 1);
    os_cpu_name(text, sizeof text);
    assert_true(strlen(text) > 0);
    assert_false(os_cpu_has("no such thing"));
    assert_true(!os_cpu_ask_tiles() || os_cpu_has("amxtile"));
    assert_true(os_random_seed() != os_random_seed());
    double t = os_now();
    os_sleep(0.01);
    assert_true(os_now() - t >= 0.0099);
    assert_true(os_wall_time() > 1700000000);
    setenv("TZ", "UTC", 1);
    assert_int_equal(os_strftime(text, sizeof text, "%Y-%m-%d", 86400), 10);
    assert_string_equal(text, "1970-01-02");
    assert_int_equal(os_strftime(text, 3, "%Y-%m-%d", 86400), 0);
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
        cmocka_unit_test(test_map),
        cmocka_unit_test(test_more_maps_than_slots),
        cmocka_unit_test(test_map_truncated),
        cmocka_unit_test(test_map_settle),
        cmocka_unit_test(test_map_truncated_threads),
        cmocka_unit_test(test_foreign_sigbus),
        cmocka_unit_test(test_not_a_file),
        cmocka_unit_test(test_read_file),
        cmocka_unit_test(test_write_file),
        cmocka_unit_test(test_out),
        cmocka_unit_test(test_write_file_fails),
        cmocka_unit_test(test_folders),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_peak),
        cmocka_unit_test(test_machine),
    };
    return cmocka_run_group_tests_name("os", tests, setup, teardown);
}
