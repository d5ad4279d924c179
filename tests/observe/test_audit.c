/* test_audit.c: every way to change a log is tried at every entry; writers are killed and refused
 * at every system call; disks are full; four processes write one chain.
 *
 * The calls that write are defined here too, in front of the system's, so that the n-th of them can
 * fail or be the process's last.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"
#include "observe/audit_head.h"

/* ---- system calls that fail ------------------------------------------------------------------ */

enum how { HOW_WELL, HOW_KILLED, HOW_KILLED_HALFWAY, HOW_FULL };
static enum how how;
static int calls_left;

/* Whether the call that is being made is the one; a killed process does not come back from here. */
static bool call_fails(void) {
    if (how == HOW_WELL || --calls_left != 0) {
        return false;
    }
    if (how == HOW_KILLED) {
        kill(getpid(), SIGKILL);
    }
    errno = ENOSPC;
    return true;
}

ssize_t write(int fd, const void *p, size_t n) {
    if (call_fails()) {
        if (how == HOW_KILLED_HALFWAY) {
            syscall(SYS_write, fd, p, n / 2);
            kill(getpid(), SIGKILL);
        }
        return -1;
    }
    return syscall(SYS_write, fd, p, n);
}

int fsync(int fd) {
    return call_fails() && how == HOW_FULL ? -1 : (int)syscall(SYS_fsync, fd);
}

int rename(const char *from, const char *to) {
    return call_fails() && how == HOW_FULL ? -1 : (int)syscall(SYS_renameat, -100, from, -100, to);
}

int ftruncate(int fd, off_t n) {
    return call_fails() && how == HOW_FULL ? -1 : (int)syscall(SYS_ftruncate, fd, n);
}

/* ---- files ----------------------------------------------------------------------------------- */

static char dir[64];
static char log_path[256], head_path[300];
static struct audit_opts opts;

struct bytes {
    char p[1 << 16];
    size_t n;
};

static struct bytes load(const char *path) {
    struct bytes b = {.n = 0};
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    b.n = fread(b.p, 1, sizeof b.p, f);
    assert_true(b.n < sizeof b.p);
    fclose(f);
    return b;
}

static void save(const char *path, const char *p, size_t n) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void fresh(const char *name, const char *key) {
    snprintf(log_path, sizeof log_path, "%s/%s%s", dir, name, key ? ".keyed" : "");
    snprintf(head_path, sizeof head_path, "%s.head", log_path);
    unlink(log_path);
    unlink(head_path);
    opts = (struct audit_opts){.path = log_path, .key = key, .n_key = key ? strlen(key) : 0};
}

static enum err_code add(int i, struct err *e) {
    char prompt[32], model[32];
    snprintf(prompt, sizeof prompt, "question \"%d\"\n", i);
    snprintf(model, sizeof model, "model-%d", i);
    struct audit_entry a = {.verb = "generate",
                            .outcome = "done",
                            .model = model,
                            .parameters = "{\"seed\":1}",
                            .prompt = str_c(prompt),
                            .prompt_tokens = i,
                            .new_tokens = 2 * i};
    return audit_write(&opts, &a, e);
}

static void write_lines(int n) {
    for (int i = 1; i <= n; i++) {
        struct err e = {0};
        assert_int_equal(add(i, &e), ERR_OK);
    }
}

static struct audit_report verify(void) {
    struct audit_report r;
    struct err e = {0};
    enum err_code rc = audit_verify(&opts, &r, &e);
    if (rc) {
        fail_msg("verify: %s (%s)", e.what, e.where);
    }
    assert_int_equal(r.intact, r.why[0] == '\0');
    return r;
}

static void expect_intact(uint64_t entries) {
    struct audit_report r = verify();
    if (!r.intact || r.entries != entries || r.first_bad != 0) {
        fail_msg("%llu entries, not %llu; line %llu: %s", (unsigned long long)r.entries,
                 (unsigned long long)entries, (unsigned long long)r.first_bad, r.why);
    }
}

static void expect_bad(uint64_t line, const char *what, size_t at) {
    struct audit_report r = verify();
    if (r.intact || r.first_bad != line || (line && r.entries != line - 1)) {
        fail_msg("%s at %zu: line %llu, not %llu (%s)", what, at, (unsigned long long)r.first_bad,
                 (unsigned long long)line, r.why);
    }
}

/* ---- what a line says ------------------------------------------------------------------------ */

static void test_line(void **state) {
    (void)state;
    struct json *j;
    struct err e = {0};
    fresh("line", NULL);
    int64_t before = os_wall_time();
    struct audit_entry a = {.verb = "chat",
                            .outcome = "interrupted",
                            .model = "m\x1b\xff",
                            .model_sha256 = "00",
                            .parameters = "{\"a\":[1]}",
                            .prompt_tokens = -1,
                            .new_tokens = 3};
    assert_int_equal(audit_write(&opts, &a, &e), ERR_OK);
    struct bytes b = load(log_path);
    assert_int_equal(b.p[b.n - 1], '\n');
    assert_int_equal(json_parse(b.p, b.n, &j, &e), ERR_OK);
    assert_int_equal(json_int(json_find(j, "n")), 1);
    assert_int_equal(json_int(json_find(j, "uid")), getuid());
    assert_int_equal(json_int(json_find(j, "process")), getpid());
    assert_true(json_str(json_find(j, "user")).n > 0);
    assert_true(json_str(json_find(j, "host")).n > 0);
    assert_true(str_is(json_str(json_find(j, "verb")), "chat"));
    assert_true(str_is(json_str(json_find(j, "outcome")), "interrupted"));
    assert_true(str_is(json_str(json_find(j, "model")), "m\x1b\xef\xbf\xbd"));
    assert_true(str_is(json_str(json_find(j, "model_sha256")), "00"));
    assert_int_equal(json_int(json_at(json_find(json_find(j, "parameters"), "a"), 0)), 1);
    assert_int_equal(json_kind(json_find(j, "prompt_tokens")), JSON_IS_NULL);
    assert_int_equal(json_int(json_find(j, "new_tokens")), 3);
    assert_null(json_find(j, "prompt"));
    assert_null(json_find(j, "answer"));
    struct tm tm = {0};
    struct str stamp = json_str(json_find(j, "time"));
    assert_int_equal(stamp.n, 24);
    assert_string_equal(strptime(stamp.p, "%Y-%m-%dT%H:%M:%S", &tm) + 4, "Z");
    assert_true(timegm(&tm) >= before && timegm(&tm) <= os_wall_time());
    json_free(j);
    struct stat st;
    assert_int_equal(stat(log_path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(mem_live(), 0);
}

static void test_off(void **state) {
    (void)state;
    struct audit_entry a = {.verb = "chat"};
    struct err e = {0};
    opts = (struct audit_opts){0};
    assert_int_equal(audit_ready(&opts, &e), ERR_OK);
    assert_int_equal(audit_write(&opts, &a, &e), ERR_OK);
}

static void test_tail(void **state) {
    (void)state;
    struct err e = {0};
    struct buf out;
    fresh("tail", NULL);
    buf_init(&out, 1 << 20);
    assert_int_equal(audit_tail(&opts, 3, &out, &e), ERR_NOTFOUND);
    err_clear(&e);
    write_lines(5);
    for (size_t n = 0; n < 8; n++) {
        buf_reset(&out);
        assert_int_equal(audit_tail(&opts, n, &out, &e), ERR_OK);
        size_t lines = 0;
        for (size_t i = 0; i < out.len; i++) {
            lines += out.p[i] == '\n';
        }
        assert_int_equal(lines, n < 5 ? n : 5);
        assert_true(n == 0 || strncmp(out.p, n == 2 ? "{\"n\":4," : "{\"n\":", 5) == 0);
    }
    buf_fini(&out);
    assert_int_equal(mem_live(), 0);
}

/* ---- changes --------------------------------------------------------------------------------- */

enum { LINES = 7 };

struct lines {
    struct bytes all;
    size_t start[LINES + 1];
};

static struct lines cut_lines(void) {
    struct lines l = {.all = load(log_path)};
    size_t k = 1;
    for (size_t i = 0; i < l.all.n; i++) {
        if (l.all.p[i] == '\n' && k <= LINES) {
            l.start[k++] = i + 1;
        }
    }
    assert_int_equal(k, LINES + 1);
    return l;
}

/* The log as lines[from[0]], lines[from[1]] ...; `from` ends with -1. */
static void save_order(const struct lines *l, const int *from) {
    struct bytes b = {.n = 0};
    for (; *from >= 0; from++) {
        size_t n = l->start[*from + 1] - l->start[*from];
        memcpy(b.p + b.n, l->all.p + l->start[*from], n);
        b.n += n;
    }
    save(log_path, b.p, b.n);
}

/* Every byte of the log changed: the line that it is in is named. */
static void try_edits(const struct lines *l) {
    static const char with[] = {'0', '"', '\n', ' ', '\0', '\x7f'};
    for (size_t i = 0; i < l->all.n; i++) {
        struct bytes b = l->all;
        size_t line = 1;
        while (i >= l->start[line]) {
            line++;
        }
        char c = with[i % sizeof with];
        b.p[i] = b.p[i] == c ? '1' : c;
        save(log_path, b.p, b.n);
        expect_bad(line, "an edit", i);
    }
}

static void try_orders(const struct lines *l) {
    for (int k = 0; k < LINES; k++) {
        int deleted[LINES + 2], twice[LINES + 2], swapped[LINES + 2], ends[LINES + 2];
        int d = 0, t = 0;
        for (int i = 0; i < LINES; i++) {
            deleted[d] = i;
            d += i != k;
            twice[t++] = i;
            if (i == k) {
                twice[t++] = i;
            }
            swapped[i] = i == k ? k + 1 : i == k + 1 ? k : i;
            ends[i] = i < k ? i : -1;
        }
        deleted[d] = twice[t] = swapped[LINES] = ends[LINES] = -1;
        save_order(l, deleted);
        expect_bad((uint64_t)k + 1, "a deletion", (size_t)k);
        save_order(l, twice);
        expect_bad((uint64_t)k + 2, "a duplicate", (size_t)k);
        save_order(l, ends);
        expect_bad((uint64_t)k + 1, "a truncation", (size_t)k);
        if (k + 1 < LINES) {
            save_order(l, swapped);
            expect_bad((uint64_t)k + 1, "a swap", (size_t)k);
        }
    }
    for (int i = 0; i < LINES; i++) { /* any line moved to any place */
        for (int to = 0; to < LINES; to++) {
            int moved[LINES + 1];
            moved[LINES] = -1;
            for (int k = 0; k < LINES; k++) {
                int rest = k - (k > to); /* place among the others */
                moved[k] = k == to ? i : rest < i ? rest : rest + 1;
            }
            save_order(l, moved);
            if (i == to) {
                expect_intact(LINES);
            } else {
                expect_bad((uint64_t)(i < to ? i : to) + 1, "a move", (size_t)i);
            }
        }
    }
}

/* Cut in the middle of each line, and at every byte of the last. */
static void try_cuts(const struct lines *l) {
    for (size_t i = 0; i < l->all.n; i += i < l->start[LINES - 1] ? 37 : 1) {
        size_t line = 1;
        while (i >= l->start[line]) {
            line++;
        }
        save(log_path, l->all.p, i);
        expect_bad(line, "a cut", i);
    }
}

/* A line that is made as well as a stranger can (without the key if there is one), put in at each
 * place, numbered as its place or as the one before. */
static void try_insertions(const struct lines *l) {
    for (int k = 0; k <= LINES; k++) {
        char prev[DIGEST_HEX] = "", line[400];
        struct bytes b = l->all;
        if (k == 0) {
            memset(prev, '0', DIGEST_HEX - 1);
        } else {
            audit_hash(&opts, l->all.p + l->start[k - 1], l->start[k] - l->start[k - 1] - 1, prev);
        }
        size_t n = (size_t)snprintf(
            line, sizeof line, "{\"n\":%d,\"verb\":\"generate\",\"prev\":\"%s\"}\n", k + 1, prev);
        memmove(b.p + l->start[k] + n, b.p + l->start[k], b.n - l->start[k]);
        memcpy(b.p + l->start[k], line, n);
        b.n += n;
        save(log_path, b.p, b.n);
        expect_bad((uint64_t)k + 1, "an insertion", (size_t)k);
        /* Something that is no line at all. */
        memset(b.p + l->start[k], ' ', n - 1);
        save(log_path, b.p, b.n);
        expect_bad((uint64_t)k + 1, "an empty line", (size_t)k);
    }
}

static void try_head(const struct lines *l) {
    struct bytes head = load(head_path);
    save(log_path, l->all.p, l->all.n);
    for (size_t i = 0; i < head.n; i++) {
        struct bytes b = head;
        b.p[i] = b.p[i] == '1' ? '2' : '1';
        save(head_path, b.p, b.n);
        assert_false(verify().intact);
        save(head_path, head.p, i);
        assert_false(verify().intact);
    }
    unlink(head_path);
    expect_bad(0, "no head", 0);
    save(head_path, head.p, head.n);
    unlink(log_path);
    expect_bad(1, "no log", 0);
    save(log_path, l->all.p, l->all.n);
}

static void test_changes(void **state) {
    for (int keyed = 0; keyed < 2; keyed++) {
        (void)state;
        fresh("changes", keyed ? "a key of sixteen" : NULL);
        write_lines(LINES);
        expect_intact(LINES);
        struct lines l = cut_lines();
        try_edits(&l);
        try_orders(&l);
        try_cuts(&l);
        try_insertions(&l);
        try_head(&l);
        expect_intact(LINES);
        assert_int_equal(mem_live(), 0);
    }
}

/* What a key is for: a stranger who knows all but the key, and how the program works. */
static void test_keys(void **state) {
    (void)state;
    static const char key[] = "a key of sixteen", other[] = "another key, 16+";
    struct audit_report r;
    struct err e = {0};
    fresh("keys", key);
    write_lines(LINES);
    expect_intact(LINES);
    struct lines l = cut_lines();
    struct bytes head = load(head_path);
    struct audit_opts right = opts;

    opts.key = NULL;
    assert_int_equal(audit_verify(&opts, &r, &e), ERR_USAGE);
    err_clear(&e);
    assert_int_equal(add(1, &e), ERR_USAGE);
    opts.key = other;
    assert_false(verify().intact);
    err_clear(&e);
    assert_int_equal(add(1, &e), ERR_FORMAT);
    opts = right;
    expect_intact(LINES);

    /* The end taken away, and a head made for what is left: its hash stands in the line that is
     * gone, but nobody can sign it. */
    for (int k = 0; k < LINES; k++) {
        struct audit_head forged;
        opts = right;
        save(head_path, head.p, head.n);
        assert_int_equal(audit_head_read(&opts, &forged, &e), ERR_OK);
        forged.entries = (uint64_t)k;
        forged.bytes = l.start[k];
        memset(forged.hash, '0', DIGEST_HEX - 1);
        if (k > 0) {
            audit_hash(&opts, l.all.p + l.start[k - 1], l.start[k] - l.start[k - 1] - 1,
                       forged.hash);
        }
        save(log_path, l.all.p, l.start[k]);
        opts.key = k % 2 ? other : NULL;
        assert_int_equal(audit_head_write(&opts, &forged, &e), ERR_OK);
        opts = right;
        assert_false(verify().intact);
    }
    /* The whole log made anew without the key. */
    fresh("keys", key);
    opts.key = NULL;
    write_lines(LINES);
    expect_intact(LINES);
    opts = right;
    assert_false(verify().intact);
    err_clear(&e);
    assert_int_equal(add(1, &e), ERR_FORMAT);

    /* What no key shows, and docs/AUDIT.md says so: both files as they were at an earlier time. */
    save(log_path, l.all.p, l.all.n);
    save(head_path, head.p, head.n);
    write_lines(2);
    expect_intact(LINES + 2);
    save(log_path, l.all.p, l.all.n);
    save(head_path, head.p, head.n);
    expect_intact(LINES);
}

/* A writer that finds the end of the log changed writes nothing. */
static void test_refuses(void **state) {
    (void)state;
    fresh("refuses", NULL);
    write_lines(LINES);
    struct lines l = cut_lines();
    struct bytes head = load(head_path);
    for (int k = 0; k < 5; k++) {
        struct err e = {0};
        struct bytes b = l.all;
        char line[1024];
        if (k == 0) {
            b.n = l.start[LINES - 1];
        } else if (k == 1) {
            b.p[b.n++] = '\n';
        } else if (k == 2) {
            b.p[l.start[LINES - 1] + 30] ^= 1;
        } else if (k == 3) {
            unlink(head_path);
        } else {
            b.n = 0;
        }
        save(log_path, b.p, b.n);
        assert_int_equal(audit_ready(&opts, &e), ERR_FORMAT);
        err_clear(&e);
        assert_int_equal(add(9, &e), ERR_FORMAT);
        assert_non_null(strstr(err_line(&e, line, sizeof line), "ign audit verify"));
        struct bytes after = load(log_path);
        assert_int_equal(after.n, b.n);
        assert_memory_equal(after.p, b.p, b.n);
        save(head_path, head.p, head.n);
    }
    save(log_path, l.all.p, l.all.n);
    write_lines(1);
    expect_intact(LINES + 1);
    /* Both files moved away: a new log begins. */
    unlink(log_path);
    unlink(head_path);
    struct err e = {0};
    assert_int_equal(audit_ready(&opts, &e), ERR_OK);
    expect_intact(0);
    write_lines(1);
    expect_intact(1);
    /* Places where no log can be. */
    const char *places[] = {dir, "/dev/null", "/proc/self/audit", "/no/such/folder/audit"};
    for (int k = 0; k < 4; k++) {
        struct audit_opts odd = {.path = places[k]};
        struct audit_entry a = {.verb = "chat"};
        err_clear(&e);
        assert_int_not_equal(audit_ready(&odd, &e), ERR_OK);
        err_clear(&e);
        assert_int_not_equal(audit_write(&odd, &a, &e), ERR_OK);
        char litter[300];
        snprintf(litter, sizeof litter, "%s.lock", places[k]);
        unlink(litter);
    }
}

/* ---- writers that are stopped ---------------------------------------------------------------- */

/* Adds line 9 in a child whose n-th call is its last (or fails); its exit status, -1 if killed. */
static int add_in_child(enum how end, int n) {
    pid_t pid = fork();
    if (pid == 0) {
        struct err e = {0};
        how = end;
        calls_left = n;
        enum err_code rc = add(9, &e);
        _exit(how != HOW_WELL && calls_left > 0 ? 100 : (int)rc);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static size_t count_text(const char *text) {
    struct bytes b = load(log_path);
    size_t n = 0;
    b.p[b.n] = '\0';
    for (const char *p = b.p; (p = strstr(p, text)); p++) {
        n++;
    }
    return n;
}

/* Whatever the moment: the line is there and counted, or it is not there and a line says that one
 * was lost, or it had not been begun. No line of before is lost, and the log goes on. */
static void test_killed(void **state) {
    (void)state;
    int lost = 0, kept = 0, not_begun = 0;
    for (enum how end = HOW_KILLED; end <= HOW_KILLED_HALFWAY; end++) {
        for (int n = 1;; n++) {
            struct audit_report r;
            fresh("killed", end == HOW_KILLED ? NULL : "a key of sixteen");
            write_lines(3);
            int code = add_in_child(end, n);
            if (code == 100) { /* fewer calls than n */
                assert_true(n > 6);
                break;
            }
            bool whole = count_text("\"prompt_tokens\":9,") == 1 && load(log_path).p[0] &&
                         load(log_path).p[load(log_path).n - 1] == '\n';
            r = verify();
            assert_int_equal(r.entries, whole ? 4 : 3);
            assert_true(r.intact || (!whole && r.first_bad == 4));
            bool begun = !r.intact;
            struct err e = {0};
            assert_int_equal(audit_ready(&opts, &e), ERR_OK);
            assert_int_equal(verify().intact, r.intact);
            write_lines(1);
            expect_intact(3 + whole + begun + 1);
            assert_int_equal(count_text("\"outcome\":\"lost\""), begun);
            lost += begun;
            kept += whole;
            not_begun += !whole && !begun;
        }
    }
    assert_true(lost > 0 && kept > 0 && not_begun > 0);
    assert_int_equal(mem_live(), 0);
}

/* Killed again and again while what was lost is being noted: it stays noted. */
static void test_killed_again(void **state) {
    (void)state;
    for (int n = 1; n < 20; n++) {
        fresh("again", NULL);
        write_lines(2);
        assert_int_equal(add_in_child(HOW_KILLED, 4), -1); /* begun, and nothing in the log */
        expect_bad(3, "a lost line", 4);
        int code = add_in_child(n % 2 ? HOW_KILLED : HOW_FULL, n);
        assert_true(code == -1 || code == ERR_IO || code == ERR_OK || code == 100);
        write_lines(1);
        assert_true(verify().intact);
        assert_true(count_text("\"outcome\":\"lost\"") >= 1);
    }
}

/* Every call refused for lack of room: an error, a log as it was, and then it goes on. */
static void test_refused_calls(void **state) {
    (void)state;
    int refused = 0;
    for (int n = 1;; n++) {
        fresh("full", NULL);
        write_lines(3);
        struct bytes before = load(log_path);
        int code = add_in_child(HOW_FULL, n);
        if (code == 100) {
            break;
        }
        struct bytes after = load(log_path);
        if (code == ERR_IO) {
            refused++;
            assert_int_equal(after.n, before.n);
            assert_memory_equal(after.p, before.p, before.n);
            expect_intact(3);
        } else { /* the head could not count a line that is whole: it counts it next time */
            assert_int_equal(code, ERR_OK);
            expect_intact(4);
        }
        write_lines(1);
        expect_intact(code == ERR_IO ? 4 : 5);
        assert_int_equal(count_text("lost"), 0);
    }
    assert_true(refused >= 4);
}

static void test_no_memory(void **state) {
    (void)state;
    size_t at = 1;
    fresh("memory", "a key of sixteen");
    write_lines(2);
    for (; mem_fail_at(at); at++) {
        struct err e = {0};
        struct audit_report r = {0};
        enum err_code rc = audit_ready(&opts, &e);
        rc = rc ? rc : audit_verify(&opts, &r, &e);
        rc = rc ? rc : add(3, &e);
        mem_fail_at(0);
        assert_int_equal(mem_live(), 0);
        if (!rc) {
            break;
        }
        assert_int_equal(rc, ERR_NOMEM);
        expect_intact(2);
    }
    assert_true(at == 1 || at > 10);
}

/* ---- a real full disk ------------------------------------------------------------------------ */

/* In a file system of one megabyte that is nearly full. In a child, whose mounts are its own. */
static void full_disk(void) {
    char filler[300];
    struct err e = {0};
    uint64_t left = 0;
    int i = 0;
    static char piece[4096];
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", dir, "tmpfs", 0, "size=1m") != 0) {
        _exit(77);
    }
    fresh("disk", NULL);
    write_lines(3);
    snprintf(filler, sizeof filler, "%s/filler", dir);
    while (audit_ready(&opts, &e) == ERR_OK) { /* full enough to refuse an action */
        assert_int_equal(os_append_file(filler, piece, sizeof piece, &e), ERR_OK);
    }
    assert_int_equal(e.code, ERR_IO);
    expect_intact(3);
    for (; os_append_file(filler, piece, sizeof piece, NULL) == ERR_OK; i++) {
    }
    assert_int_equal(os_disk_free(dir, &left, NULL), ERR_OK);
    for (i = 0; i < 100; i++) {
        err_clear(&e);
        if (add(4 + i, &e)) {
            break;
        }
    }
    assert_int_equal(e.code, ERR_IO);
    expect_intact(3 + (uint64_t)i);
    assert_int_equal(os_remove_file(filler, NULL), ERR_OK);
    write_lines(1);
    expect_intact(4 + (uint64_t)i);
    _exit(0);
}

static void test_full_disk(void **state) {
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        full_disk();
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        print_message("no file system can be mounted here: only the next test fills a disk\n");
    } else {
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

/* The same by a limit on the length of files: for the log and not for its head. */
static void test_file_limit(void **state) {
    (void)state;
    fresh("limit", NULL);
    write_lines(3);
    size_t size = load(log_path).n;
    pid_t pid = fork();
    if (pid == 0) {
        struct err e = {0};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){size + 100, size + 100});
        _exit(add(4, &e) == ERR_IO ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(load(log_path).n, size);
    expect_intact(3);
    write_lines(1);
    expect_intact(4);
}

/* ---- many writers ---------------------------------------------------------------------------- */

static void test_processes(void **state) {
    enum { WRITERS = 4, EACH = 200 };
    (void)state;
    pid_t pid[WRITERS];
    fresh("many", "a key of sixteen");
    for (int k = 0; k < WRITERS; k++) {
        pid[k] = fork();
        if (pid[k] == 0) {
            for (int i = 0; i < EACH; i++) {
                struct err e = {0};
                if (add(1000 * (k + 1) + i, &e)) {
                    _exit(1);
                }
            }
            _exit(0);
        }
    }
    for (int k = 0; k < WRITERS; k++) {
        int status = 0;
        assert_int_equal(waitpid(pid[k], &status, 0), pid[k]);
        assert_int_equal(status, 0);
    }
    expect_intact(WRITERS * EACH);
    char *text;
    size_t n;
    int next[WRITERS] = {0};
    struct err e = {0};
    assert_int_equal(os_read_file(log_path, 1 << 24, &text, &n, &e), ERR_OK);
    for (char *p = text; (p = strstr(p, "\"prompt_tokens\":")); p++) {
        int i = atoi(p + 16);
        assert_true(i >= 1000 && i < 1000 * (WRITERS + 1));
        assert_int_equal(i % 1000, next[i / 1000 - 1]++);
    }
    for (int k = 0; k < WRITERS; k++) {
        assert_int_equal(next[k], EACH);
    }
    mem_free(text);
}

/* Writers killed at moments that nobody chose: the chain holds, and each loss is noted. */
static void test_processes_killed(void **state) {
    (void)state;
    fresh("reaped", NULL);
    for (int k = 0; k < 20; k++) {
        pid_t pid = fork();
        if (pid == 0) {
            for (int i = 0;; i++) {
                struct err e = {0};
                if (add(i, &e)) {
                    _exit(1);
                }
            }
        }
        usleep((useconds_t)(500 * k));
        kill(pid, SIGKILL);
        int status = 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        struct err e = {0};
        assert_int_equal(add(1, &e), ERR_OK);
        assert_true(verify().intact);
    }
}

static int setup(void **state) {
    (void)state;
    /* In memory where that can be: thousands of lines are flushed one by one. */
    snprintf(dir, sizeof dir, "/dev/shm/ign_test_audit_XXXXXX");
    if (!mkdtemp(dir)) {
        snprintf(dir, sizeof dir, "/tmp/ign_test_audit_XXXXXX");
        return mkdtemp(dir) ? 0 : -1;
    }
    return 0;
}

static int teardown(void **state) {
    (void)state;
    char command[80];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_line),          cmocka_unit_test(test_off),
        cmocka_unit_test(test_tail),          cmocka_unit_test(test_changes),
        cmocka_unit_test(test_keys),          cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_killed),        cmocka_unit_test(test_killed_again),
        cmocka_unit_test(test_refused_calls), cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_full_disk),     cmocka_unit_test(test_file_limit),
        cmocka_unit_test(test_processes),     cmocka_unit_test(test_processes_killed),
    };
    return cmocka_run_group_tests_name("audit", tests, setup, teardown);
}
