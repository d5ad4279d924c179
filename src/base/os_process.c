/* os_process.c: this process among others, for Linux and its POSIX relatives.
 *
 * Owns the system calls for children, priorities, locks between processes, shared libraries, and
 * the few questions about files that only the manager of a machine asks. Refuses policy (see os.h).
 * Invariant: a child that was started is gone when os_child_run returns, and so is all that it
 * started in its process group.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/os_fail.h"

/* ---- files ----------------------------------------------------------------------------- */

enum err_code os_real_path(const char *path, char **out, struct err *e) {
    char real[PATH_MAX];
    *out = NULL;
    if (!realpath(path, real)) {
        return os_fail(e, "find", path);
    }
    *out = mem_strdup(real, strlen(real));
    return *out ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory for a path");
}

enum err_code os_open_end(const char *path, int *fd, struct err *e) {
    *fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0600);
    return *fd < 0 ? os_fail(e, "write", path) : ERR_OK;
}

enum err_code os_append_file(const char *path, const void *p, size_t n, struct err *e) {
    enum err_code code = ERR_OK;
    struct stat before;
    int fd = -1;
    if ((code = os_open_end(path, &fd, e))) {
        return code;
    }
    if (fstat(fd, &before) != 0) {
        code = os_fail(e, "write", path);
        goto done;
    }
    if (!S_ISREG(before.st_mode)) {
        code = err_set(e, ERR_FORMAT, "not a regular file");
        err_where(e, "%s", path);
        goto done;
    }
    if ((code = os_write_fd(fd, p, n, e))) {
        err_where(e, "%s", path);
    } else if (fsync(fd) != 0) {
        code = os_fail(e, "write", path);
    }
    if (code && ftruncate(fd, before.st_size) != 0) {
        err_hint(e, "the file's last line is incomplete; make room and remove that line");
    }
done:
    close(fd);
    return code;
}

enum err_code os_cut_file(const char *path, uint64_t size, struct err *e) {
    enum err_code code = ERR_OK;
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return os_fail(e, "cut", path);
    }
    if (ftruncate(fd, (off_t)size) != 0 || fsync(fd) != 0) {
        code = os_fail(e, "cut", path);
    }
    close(fd);
    return code;
}

void os_streams_hold(void) {
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0) { /* the lowest that is free, so it is this one */
            open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
        }
    }
}

enum err_code os_file_info(const char *path, struct os_file_info *info, struct err *e) {
    struct stat st;
    if (stat(path, &st) != 0) {
        return os_fail(e, "look at", path);
    }
    *info = (struct os_file_info){.size = (uint64_t)st.st_size,
                                  .mtime = st.st_mtime,
                                  .mtime_ns = (int)st.st_mtim.tv_nsec,
                                  .device = st.st_dev,
                                  .inode = st.st_ino,
                                  .is_folder = S_ISDIR(st.st_mode),
                                  .readable = access(path, R_OK) == 0,
                                  .writable = access(path, W_OK) == 0,
                                  .shared = (st.st_mode & 066) != 0};
    return ERR_OK;
}

enum err_code os_disk_free(const char *path, uint64_t *bytes, struct err *e) {
    struct statvfs v;
    if (statvfs(path, &v) != 0) {
        return os_fail(e, "look at the disk of", path);
    }
    *bytes = (uint64_t)v.f_bavail * v.f_frsize;
    return ERR_OK;
}

enum err_code os_remove_file(const char *path, struct err *e) {
    return unlink(path) != 0 && errno != ENOENT ? os_fail(e, "remove", path) : ERR_OK;
}

#define LOCK_LOOK 1e-3 /* seconds between two looks at a lock that is taken */

struct os_lock {
    int fd;
};

enum err_code os_lock_take(struct os_lock **out, const char *path, double seconds, struct err *e) {
    enum err_code code = ERR_OK;
    struct os_lock *l = mem_alloc(1, sizeof *l);
    *out = NULL;
    if (!l) {
        return err_set(e, ERR_NOMEM, "out of memory for a lock");
    }
    l->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW, 0600);
    if (l->fd < 0) {
        code = os_fail(e, "lock", path);
        if (os_is_link(path)) {
            err_hint(e, "a link stands where the lock belongs: remove it");
        }
        goto fail;
    }
    double until = os_now() + seconds;
    int rc;
    while ((rc = flock(l->fd, LOCK_EX | LOCK_NB)) != 0 &&
           (errno == EINTR || (errno == EWOULDBLOCK && os_now() < until))) {
        os_sleep(LOCK_LOOK);
    }
    if (rc != 0) {
        code = errno == EWOULDBLOCK ? err_set(e, ERR_CANCELLED, "somebody else has the lock")
                                    : os_fail(e, "lock", path);
        err_where(e, "%s", path);
        goto fail;
    }
    *out = l;
    return ERR_OK;
fail:
    os_lock_drop(l);
    return code;
}

void os_lock_drop(struct os_lock *l) {
    if (l && l->fd >= 0) {
        close(l->fd);
    }
    mem_free(l);
}

/* ---- this process ---------------------------------------------------------------------- */

bool os_boot_id(char id[OS_BOOT_ID]) {
    size_t got = 0;
    enum err_code rc = os_read_head("/proc/sys/kernel/random/boot_id", id, OS_BOOT_ID, &got, NULL);
    id[rc ? 0 : OS_BOOT_ID - 1] = '\0';
    return !rc && got >= OS_BOOT_ID - 1;
}

uint64_t os_process_id(void) {
    return (uint64_t)getpid();
}

uint64_t os_user_id(void) {
    return (uint64_t)getuid();
}

bool os_process_alive(uint64_t id) {
    return id > 0 && id <= INT_MAX && (kill((pid_t)id, 0) == 0 || errno == EPERM);
}

double os_cpu_seconds(void) {
    struct rusage u = {0};
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

uint64_t os_memory_resident(void) {
    unsigned long long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f) {
        return 0;
    }
    int n = fscanf(f, "%llu %llu", &size, &resident);
    fclose(f);
    return n == 2 ? resident * os_page_size() : 0;
}

uint64_t os_limit(enum os_limit which) {
    struct rlimit r;
    if (getrlimit(which == OS_LIMIT_FILES ? RLIMIT_NOFILE : RLIMIT_MEMLOCK, &r) != 0) {
        return 0;
    }
    return r.rlim_cur == RLIM_INFINITY ? UINT64_MAX : (uint64_t)r.rlim_cur;
}

void os_platform(char *out, size_t n) {
    struct utsname u;
    if (uname(&u) != 0) {
        snprintf(out, n, "unknown");
        return;
    }
    for (char *p = u.sysname; *p; p++) {
        *p = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
    }
    snprintf(out, n, "%s %s", u.sysname, u.machine);
}

void os_user_name(char *out, size_t n) {
    char text[1024];
    struct passwd p, *found = NULL;
    if (getpwuid_r(getuid(), &p, text, sizeof text, &found) == 0 && found) {
        snprintf(out, n, "%s", found->pw_name);
    } else {
        snprintf(out, n, "%u", (unsigned)getuid());
    }
}

void os_host_name(char *out, size_t n) {
    if (n == 0 || gethostname(out, n) != 0) {
        snprintf(out, n, "unknown");
    }
    if (n > 0) {
        out[n - 1] = '\0';
    }
}

enum err_code os_self_path(char **path, struct err *e) {
    char real[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", real, sizeof real);
    *path = NULL;
    if (n < 0) {
        return os_fail(e, "find this program", "/proc/self/exe");
    }
    *path = mem_strdup(real, (size_t)n);
    return *path ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory for a path");
}

enum err_code os_priority_set(enum os_priority p, struct err *e) {
    enum { WHO_PROCESS = 1, CLASS_SHIFT = 13, CLASS_IDLE = 3, NICE_LOW = 10, NICE_IDLE = 19 };
    if (p == OS_PRIORITY_NORMAL) {
        return ERR_OK;
    }
    int wanted = p == OS_PRIORITY_LOW ? NICE_LOW : NICE_IDLE;
    errno = 0; /* -1 is a nice value too */
    int now = getpriority(PRIO_PROCESS, 0);
    if (errno || (now < wanted && setpriority(PRIO_PROCESS, 0, wanted) != 0)) {
        os_fail(e, "lower the priority", "--priority");
        return err_hint(e, "leave --priority out, and start ign under nice instead"), e->code;
    }
    if (p == OS_PRIORITY_IDLE) {
        struct sched_param none = {0};
        if (sched_setscheduler(0, SCHED_IDLE, &none) != 0 ||
            syscall(SYS_ioprio_set, WHO_PROCESS, 0, CLASS_IDLE << CLASS_SHIFT) != 0) {
            return os_fail(e, "run only when idle", "--priority");
        }
    }
    return ERR_OK;
}

/* ---- children -------------------------------------------------------------------------- */

void os_child_bind(void) {
    struct rlimit none = {0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setrlimit(RLIMIT_CORE, &none);
}

enum err_code os_output_take(int *fd, struct err *e) {
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    *fd = fcntl(1, F_DUPFD_CLOEXEC, 3);
    if (nowhere < 0 || *fd < 0 || dup2(nowhere, 1) < 0) {
        return os_fail(e, "take over", "standard output");
    }
    close(nowhere);
    return ERR_OK;
}

static int spawn(pid_t *pid, const char *const *argv, int out_fd) {
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none, reset;
    sigemptyset(&none); /* threads of ours block signals, and one is ignored: not in the child */
    sigemptyset(&reset);
    sigaddset(&reset, SIGPIPE);
    int rc = posix_spawn_file_actions_init(&files);
    if (rc) {
        return rc;
    }
    if ((rc = posix_spawnattr_init(&attr))) {
        posix_spawn_file_actions_destroy(&files);
        return rc;
    }
    if (!(rc = posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0)) &&
        !(rc = posix_spawn_file_actions_adddup2(&files, out_fd, 1)) &&
        !(rc = posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0)) &&
        !(rc = posix_spawnattr_setpgroup(&attr, 0)) &&
        !(rc = posix_spawnattr_setsigmask(&attr, &none)) &&
        !(rc = posix_spawnattr_setsigdefault(&attr, &reset)) &&
        !(rc = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                                   POSIX_SPAWN_SETSIGDEF))) {
        rc = posix_spawn(pid, argv[0], &files, &attr, (char *const *)(uintptr_t)argv, environ);
    }
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    return rc;
}

const char *os_env_entry(size_t i) {
    return environ ? environ[i] : NULL;
}

/* Whether the child has ended. Its status stays to be asked for, and its number its own. */
static bool child_ended(pid_t pid) {
    siginfo_t info = {0};
    int rc = waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT);
    return rc == 0 ? info.si_pid == pid : errno != EINTR;
}

/* Appends what comes from `fd` until its end, the deadline, a signal, or more than out->max. Where
 * the child has ended and somebody whom it started holds the other end, what comes within a pause
 * is taken, and no more is waited for. */
static enum err_code child_listen(struct os_child *c, pid_t pid, int fd, double deadline,
                                  const volatile int *stop, struct buf *out, struct err *e) {
    enum { PAUSE_MS = 50 };
    char piece[4096];
    bool ended = false;
    for (;;) {
        double left = deadline - os_now();
        if (os_stopped(stop)) {
            return err_set(e, ERR_CANCELLED, "interrupted");
        }
        if (left <= 0) {
            c->end = OS_CHILD_TIMEOUT;
            return ERR_OK;
        }
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int ready = poll(&p, 1, left * 1000 < PAUSE_MS ? (int)(left * 1000) + 1 : PAUSE_MS);
        ssize_t n = ready > 0 ? read(fd, piece, sizeof piece) : -1;
        if (n == 0 || (ready == 0 && ended)) {
            return ERR_OK;
        }
        if (n > 0 && (size_t)n > out->max - out->len) {
            c->end = OS_CHILD_FLOOD;
            return ERR_OK;
        }
        if (n > 0) {
            buf_put(out, piece, (size_t)n);
        } else if (ready != 0 && errno != EINTR && errno != EAGAIN) {
            return os_fail(e, "listen to", "a child process");
        }
        ended = ended || (ready == 0 && child_ended(pid));
        if (out->failed) {
            return err_set(e, ERR_NOMEM, "out of memory for what a child process prints");
        }
    }
}

/* Waits for the child's end until the deadline, then kills it and its group. A process that hangs
 * inside of a driver cannot be killed before the driver lets go: it is not waited for longer than
 * two seconds. */
static void child_reap(struct os_child *c, pid_t pid, double deadline, bool kill_now) {
    int status = 0;
    pid_t got;
    bool killed = false;
    while (!child_ended(pid)) {
        if (!killed && (kill_now || os_now() > deadline)) {
            killed = true;
            if (!kill_now) {
                c->end = OS_CHILD_TIMEOUT;
            }
            deadline = os_now() + 2;
            kill(-pid, SIGKILL);
        } else if (killed && os_now() > deadline) {
            return;
        }
        os_sleep(0.001);
    }
    kill(-pid, SIGKILL); /* whoever it left behind in its group */
    do {
        got = waitpid(pid, &status, 0);
    } while (got < 0 && errno == EINTR);
    if (got == pid && !killed && !kill_now) {
        c->end = WIFSIGNALED(status) ? OS_CHILD_SIGNALED : OS_CHILD_EXITED;
        c->code = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
    }
}

enum err_code os_child_run(struct os_child *c, const char *const *argv, double seconds,
                           const volatile int *stop, struct buf *out, struct err *e) {
    double deadline = os_now() + seconds;
    int fd[2];
    pid_t pid = 0;
    *c = (struct os_child){.end = OS_CHILD_EXITED};
    if (pipe2(fd, O_CLOEXEC) != 0) {
        return os_fail(e, "start", argv[0]);
    }
    errno = spawn(&pid, argv, fd[1]);
    close(fd[1]);
    if (errno) {
        enum err_code code = os_fail(e, "start", argv[0]);
        close(fd[0]);
        return code;
    }
    enum err_code code = child_listen(c, pid, fd[0], deadline, stop, out, e);
    close(fd[0]);
    child_reap(c, pid, deadline, code || c->end != OS_CHILD_EXITED);
    return code;
}

/* ---- libraries ------------------------------------------------------------------------- */

enum err_code os_library_open(struct os_library **l, const char *name, struct err *e) {
    *l = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!*l) {
        const char *why = dlerror();
        err_set(e, ERR_NOTFOUND, "%s", why ? why : "cannot be loaded");
        err_where(e, "%s", name);
        return ERR_NOTFOUND;
    }
    return ERR_OK;
}

void *os_library_find(struct os_library *l, const char *symbol) {
    return dlsym(l, symbol);
}

void os_library_close(struct os_library *l) {
    if (l) {
        dlclose(l);
    }
}
