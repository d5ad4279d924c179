/* os_posix.c: the operating system, for Linux and its POSIX relatives.
 *
 * Owns the system calls for files, memory, threads and time (os_process.c and os_terminal.c have
 * the rest), and the handler of SIGBUS. Refuses policy (see os.h). Invariant: a call interrupted by
 * a signal is retried, except the reads that say otherwise; a failed call leaves no descriptor,
 * mapping or temporary file behind.
 */
#define _GNU_SOURCE
#include "base/os.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/os_fail.h"

static void hint_room(struct err *e, int why) {
    if (why == ENOSPC || why == EDQUOT) {
        err_hint(e, "make room on that disk");
    }
}

enum err_code os_fail(struct err *e, const char *verb, const char *path) {
    int why = errno;
    enum err_code code = why == ENOENT || why == ENOTDIR ? ERR_NOTFOUND
                         : why == ENOMEM                 ? ERR_NOMEM
                                                         : ERR_IO;
    err_set(e, code, "cannot %s: %s", verb, strerror(why));
    err_where(e, "%s", path);
    hint_room(e, why);
    return code;
}

/* ---- mapped files and SIGBUS ----------------------------------------------------------- */

#define MAP_SLOTS 1024

/* Written by threads that hold slot_lock, read by the handler. `size` is set before `base`, and
 * `base` cleared before the memory goes away. */
static struct {
    _Atomic uintptr_t base;
    atomic_size_t size;
    _Atomic(struct os_map *) map;
} slots[MAP_SLOTS];

static pthread_mutex_t slot_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction bus_before;
static size_t page_size; /* set before the handler can run: sysconf is not for handlers */

static void bus_handler(int sig, siginfo_t *info, void *context) {
    (void)context;
    int saved = errno;
    uintptr_t at = (uintptr_t)info->si_addr;
    for (int i = 0; i < MAP_SLOTS; i++) {
        uintptr_t base = atomic_load(&slots[i].base);
        if (!base || at < base || at - base >= atomic_load(&slots[i].size)) {
            continue;
        }
        void *page = (char *)(at & ~(uintptr_t)(page_size - 1));
        if (mmap(page, page_size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
            MAP_FAILED) {
            break;
        }
        atomic_load(&slots[i].map)->lost = 1;
        errno = saved;
        return;
    }
    /* Not ours: the instruction runs again and meets whatever was in force before. */
    sigaction(sig, &bus_before, NULL);
    errno = saved;
}

/* Puts the handler in force: asked at each open, since the program that links us may have set its
 * own since the last one. Needs slot_lock. */
static bool bus_install(void) {
    struct sigaction ours = {.sa_sigaction = bus_handler, .sa_flags = SA_SIGINFO | SA_RESTART};
    struct sigaction now;
    sigemptyset(&ours.sa_mask);
    page_size = os_page_size();
    if (sigaction(SIGBUS, NULL, &now) != 0) {
        return false;
    }
    if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == bus_handler) {
        return true;
    }
    bus_before = now;
    return sigaction(SIGBUS, &ours, NULL) == 0;
}

static int slot_take(struct os_map *m) {
    int slot = -1;
    pthread_mutex_lock(&slot_lock);
    bool installed = bus_install();
    for (int i = 0; installed && i < MAP_SLOTS; i++) {
        if (!atomic_load(&slots[i].base)) {
            slot = i;
            atomic_store(&slots[i].map, m);
            atomic_store(&slots[i].size, m->size);
            atomic_store(&slots[i].base, (uintptr_t)m->data);
            break;
        }
    }
    pthread_mutex_unlock(&slot_lock);
    return slot;
}

/* ---- files ----------------------------------------------------------------------------- */

static const char *os_kind(mode_t mode) {
    return S_ISDIR(mode)    ? "a directory"
           : S_ISFIFO(mode) ? "a FIFO"
           : S_ISCHR(mode)  ? "a character device"
           : S_ISBLK(mode)  ? "a block device"
           : S_ISSOCK(mode) ? "a socket"
                            : "something else";
}

enum err_code os_not_file(struct err *e, unsigned mode, const char *path) {
    err_set(e, ERR_FORMAT, "it is %s, not a file", os_kind(mode));
    err_where(e, "%s", path);
    err_hint(e, "name a regular file");
    return ERR_FORMAT;
}

/* Opens a regular file for reading; *size is what fstat says. */
static enum err_code os_open_file(const char *path, int *fd, uint64_t *size, struct err *e) {
    struct stat st;
    /* Asked first: opening a socket fails, and opening a tape drive may move the tape. */
    if (stat(path, &st) != 0) {
        return os_fail(e, "open", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return os_not_file(e, st.st_mode, path);
    }
    do {
        *fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    } while (*fd < 0 && errno == EINTR);
    if (*fd < 0) {
        return os_fail(e, "open", path);
    }
    enum err_code code = ERR_OK;
    if (fstat(*fd, &st) != 0) {
        code = os_fail(e, "open", path);
    } else if (!S_ISREG(st.st_mode)) {
        code = os_not_file(e, st.st_mode, path);
    }
    if (code) {
        close(*fd);
        *fd = -1;
        return code;
    }
    *size = (uint64_t)st.st_size;
    return ERR_OK;
}

/* Reads until n bytes or the end; -1 with errno, else bytes read. */
static ssize_t os_read_all(int fd, char *p, size_t n) {
    size_t have = 0;
    while (have < n) {
        ssize_t k = read(fd, p + have, n - have < (1u << 30) ? n - have : 1u << 30);
        if (k == 0) {
            break;
        }
        if (k < 0 && errno != EINTR) {
            return -1;
        }
        have += k > 0 ? (size_t)k : 0;
    }
    return (ssize_t)have;
}

static enum err_code os_map_copy(struct os_map *m, int fd, const char *path, struct err *e) {
    char *p = mem_aligned(m->size, 1);
    if (!p) {
        err_set(e, ERR_NOMEM, "out of memory reading %zu bytes", m->size);
        err_where(e, "%s", path);
        return ERR_NOMEM;
    }
    m->data = (const uint8_t *)p;
    m->copied = true;
    ssize_t got = os_read_all(fd, p, m->size);
    if (got < 0) {
        return os_fail(e, "read", path);
    }
    if ((size_t)got != m->size) {
        err_set(e, ERR_IO, "file became shorter while it was read: %zd of %zu bytes", got, m->size);
        err_where(e, "%s", path);
        return ERR_IO;
    }
    return ERR_OK;
}

static enum err_code os_map_file(struct os_map *m, int fd, const char *path, struct err *e) {
    if (m->size == 0) {
        m->data = (const uint8_t *)"";
        return ERR_OK;
    }
    if (!mem_take()) {
        err_set(e, ERR_NOMEM, "out of memory mapping the file");
        err_where(e, "%s", path);
        return ERR_NOMEM;
    }
    void *p = mmap(NULL, m->size, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        mem_drop();
        enum err_code code = os_fail(e, "map", path);
        err_hint(e, "read it instead: --no-mmap");
        return code;
    }
    os_pages_large(p, m->size); /* where the system reads files so: if it is not in memory yet */
    m->data = p;
    m->slot = slot_take(m);
    if (m->slot < 0) {
        err_set(e, ERR_LIMIT, "more than %d files are mapped", MAP_SLOTS);
        err_where(e, "%s", path);
        return ERR_LIMIT;
    }
    return ERR_OK;
}

enum err_code os_map_open(struct os_map *m, const char *path, bool copy, struct err *e) {
    int fd = -1;
    uint64_t size = 0;
    *m = (struct os_map){.slot = -1};
    enum err_code code = os_open_file(path, &fd, &size, e);
    if (code) {
        return code;
    }
    if (size > SIZE_MAX / 2) {
        err_set(e, ERR_LIMIT, "%llu bytes are more than this machine can address",
                (unsigned long long)size);
        err_where(e, "%s", path);
        code = ERR_LIMIT;
    } else {
        m->size = (size_t)size;
        code = copy ? os_map_copy(m, fd, path, e) : os_map_file(m, fd, path, e);
    }
    close(fd); /* the mapping keeps the file */
    if (code) {
        os_map_close(m);
    }
    return code;
}

void os_map_close(struct os_map *m) {
    if (m->slot >= 0 && m->data && !m->copied) {
        atomic_store(&slots[m->slot].base, 0);
    }
    if (m->copied) {
        mem_free((void *)(uintptr_t)m->data);
    } else if (m->data && m->size) {
        munmap((void *)(uintptr_t)m->data, m->size);
        mem_drop();
    }
    *m = (struct os_map){.slot = -1, .lost = m->lost};
}

enum err_code os_map_lock(struct os_map *m, struct err *e) {
    if (!m->size || mlock(m->data, m->size) == 0) {
        return ERR_OK;
    }
    struct rlimit lim = {0};
    getrlimit(RLIMIT_MEMLOCK, &lim);
    err_set(e, ERR_IO, "cannot lock %zu bytes in memory: %s (the limit is %llu bytes)", m->size,
            strerror(errno), (unsigned long long)lim.rlim_cur);
    err_hint(e, "raise it with `ulimit -l unlimited` or LimitMEMLOCK=, or leave out --mlock");
    return ERR_IO;
}

void os_map_willneed(struct os_map *m) {
    if (m->size && !m->copied) {
        madvise((void *)(uintptr_t)m->data, m->size, MADV_WILLNEED);
    }
}

void os_map_done(const struct os_map *m, const void *p, size_t n) {
    uintptr_t page = os_page_size(), from = (uintptr_t)p, to = from + n;
    from = (from + page - 1) / page * page;
    to = to / page * page;
    if (!m->copied && !m->settled && !m->lost && to > from) {
        madvise((void *)from, to - from, MADV_DONTNEED);
    }
}

double os_map_resident(const struct os_map *m) {
    enum { SAMPLES = 512 }; /* asking for every page of gigabytes takes longer than loading them */
    size_t page = os_page_size(), pages = (m->size + page - 1) / page, in = 0;
    size_t n = pages < SAMPLES ? pages : SAMPLES;
    for (size_t i = 0; i < n && !m->copied; i++) {
        unsigned char there = 1;
        mincore((void *)(uintptr_t)(m->data + i * pages / n * page), page, &there);
        in += there & 1;
    }
    return n && !m->copied ? (double)in / (double)n : 1;
}

enum err_code os_read_file(const char *path, size_t max, char **out, size_t *n, struct err *e) {
    int fd = -1;
    uint64_t size = 0;
    char *p = NULL;
    *out = NULL;
    *n = 0;
    enum err_code code = os_open_file(path, &fd, &size, e);
    if (code) {
        return code;
    }
    if (size > max || size >= SIZE_MAX - 1) {
        err_set(e, ERR_LIMIT, "%llu bytes are more than the %zu allowed here",
                (unsigned long long)size, max);
        err_where(e, "%s", path);
        code = ERR_LIMIT;
        goto done;
    }
    p = mem_alloc((size_t)size + 1, 1);
    if (!p) {
        err_set(e, ERR_NOMEM, "out of memory reading %zu bytes", (size_t)size);
        err_where(e, "%s", path);
        code = ERR_NOMEM;
        goto done;
    }
    ssize_t got = os_read_all(fd, p, (size_t)size);
    if (got < 0) {
        code = os_fail(e, "read", path);
        goto done;
    }
    p[got] = '\0';
    *out = p;
    *n = (size_t)got;
    p = NULL;
done:
    mem_free(p);
    close(fd);
    return code;
}

enum err_code os_read_head(const char *path, char *out, size_t n, size_t *got, struct err *e) {
    int fd = -1;
    uint64_t size = 0;
    *got = 0;
    out[0] = '\0';
    enum err_code code = os_open_file(path, &fd, &size, e);
    if (code) {
        return code;
    }
    ssize_t k = os_read_all(fd, out, n - 1);
    if (k < 0) {
        code = os_fail(e, "read", path);
    } else {
        *got = (size_t)k;
    }
    out[*got] = '\0';
    close(fd);
    return code;
}

bool os_file_exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

bool os_is_link(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
}

enum err_code os_mkdirs(const char *path, struct err *e) {
    char part[PATH_MAX];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof part) {
        errno = n ? ENAMETOOLONG : ENOENT;
        return os_fail(e, "create folder", path);
    }
    memcpy(part, path, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (part[i] != '/' && part[i] != '\0') {
            continue;
        }
        char c = part[i];
        part[i] = '\0';
        if (mkdir(part, 0777) != 0) {
            int why = errno;
            struct stat st;
            if (stat(part, &st) != 0 || !S_ISDIR(st.st_mode)) {
                errno = why;
                return os_fail(e, "create folder", part);
            }
        }
        part[i] = c;
    }
    return ERR_OK;
}

enum err_code os_link(const char *from, const char *to, struct err *e) {
    if (linkat(AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW) == 0) {
        return ERR_OK;
    }
    int why = errno;
    if (why == EXDEV || why == EPERM || why == EMLINK || why == EOPNOTSUPP || why == ENOSYS) {
        return err_set(e, ERR_UNSUPPORTED, "no second name is possible there: %s", strerror(why));
    }
    return os_fail(e, "link", to);
}

enum err_code os_rename(const char *from, const char *to, struct err *e) {
    return rename(from, to) == 0 ? ERR_OK : os_fail(e, "rename to", to);
}

enum err_code os_remove_folder(const char *path, struct err *e) {
    return rmdir(path) == 0 || errno == ENOENT ? ERR_OK : os_fail(e, "remove", path);
}

static int os_compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

enum err_code os_list(const char *path, char ***names, size_t *n, struct err *e) {
    enum err_code code = ERR_OK;
    struct buf text;
    size_t count = 0, bytes;
    *names = NULL;
    *n = 0;
    buf_init(&text, SIZE_MAX / 4);
    DIR *d = opendir(path);
    if (!d) {
        return os_fail(e, "list", path);
    }
    for (struct dirent *de; errno = 0, (de = readdir(d));) {
        if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0) {
            buf_put(&text, de->d_name, strlen(de->d_name) + 1);
            count++;
        }
    }
    if (errno) {
        code = os_fail(e, "list", path);
        goto done;
    }
    code = buf_check(&text, e);
    if (code) {
        goto done;
    }
    size_t head = (count + 1) * sizeof(char *); /* cannot overflow: each name took 2 bytes */
    char **list = size_add(head, text.len, &bytes) ? mem_alloc(bytes, 1) : NULL;
    if (!list) {
        code = err_set(e, ERR_NOMEM, "out of memory for %zu file names", count);
        goto done;
    }
    char *at = (char *)list + head;
    if (text.len) {
        memcpy(at, text.p, text.len);
    }
    for (size_t i = 0; i < count; i++, at += strlen(at) + 1) {
        list[i] = at;
    }
    list[count] = NULL;
    qsort(list, count, sizeof *list, os_compare_names);
    *names = list;
    *n = count;
done:
    buf_fini(&text);
    closedir(d);
    return code;
}

enum err_code os_write_fd(int fd, const void *p, size_t n, struct err *e) {
    const char *at = p;
    while (n) {
        ssize_t k = write(fd, at, n < (1u << 30) ? n : 1u << 30);
        if (k >= 0) {
            at += k;
            n -= (size_t)k;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            struct pollfd pf = {.fd = fd, .events = POLLOUT};
            poll(&pf, 1, -1);
        } else if (errno != EINTR) {
            int why = errno;
            err_set(e, ERR_IO, "cannot write: %s", strerror(why));
            hint_room(e, why);
            return ERR_IO;
        }
    }
    return ERR_OK;
}

enum err_code os_read_fd(int fd, void *p, size_t n, size_t *got, int timeout_ms, struct err *e) {
    *got = 0;
    for (;;) {
        struct pollfd pf = {.fd = fd, .events = POLLIN};
        int ready = poll(&pf, 1, timeout_ms);
        if (ready == 0) {
            return err_set(e, ERR_CANCELLED, "no input within %d ms", timeout_ms);
        }
        ssize_t k = ready < 0 ? -1 : read(fd, p, n < (1u << 30) ? n : 1u << 30);
        if (k >= 0) {
            *got = (size_t)k;
            return ERR_OK;
        }
        if (errno == EINTR) {
            return err_set(e, ERR_CANCELLED, "interrupted");
        }
        if (errno != EAGAIN && errno != EWOULDBLOCK) {
            return err_set(e, ERR_IO, "cannot read: %s", strerror(errno));
        }
    }
}

/* ---- memory ---------------------------------------------------------------------------- */

static bool pages_round(size_t n, size_t *rounded) {
    size_t page = os_page_size();
    if (!size_add(n ? n : 1, page - 1, rounded)) {
        return false;
    }
    *rounded &= ~(page - 1);
    return true;
}

void *os_pages(size_t n) {
    size_t bytes, all;
    const size_t more = n < OS_LARGE ? 0 : OS_LARGE; /* to begin at a large page */
    if (!pages_round(n, &bytes) || !size_add(bytes, more, &all) || !mem_take()) {
        return NULL;
    }
    char *p = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        mem_drop();
        return NULL;
    }
    if (more) {
        size_t before = (OS_LARGE - (uintptr_t)p % OS_LARGE) % OS_LARGE;
        if (before) {
            munmap(p, before);
        }
        munmap(p + before + bytes, more - before); /* not empty, as before < OS_LARGE */
        p += before;
    }
    return p;
}

void os_pages_large(void *p, size_t n) {
#ifdef MADV_HUGEPAGE
    size_t before = (uintptr_t)p % os_page_size(), bytes;
    if (n >= OS_LARGE && size_add(n, before, &bytes) && pages_round(bytes, &bytes)) {
        madvise((char *)p - before, bytes, MADV_HUGEPAGE);
    }
#else
    (void)p;
    (void)n;
#endif
}

void os_pages_free(void *p, size_t n) {
    size_t bytes;
    if (p && pages_round(n, &bytes)) {
        munmap(p, bytes);
        mem_drop();
    }
}

void os_pages_protect(void *p, size_t n, bool accessible) {
    size_t bytes;
    if (p && pages_round(n, &bytes)) {
        mprotect(p, bytes, accessible ? PROT_READ | PROT_WRITE : PROT_NONE);
    }
}

size_t os_page_size(void) {
    return (size_t)sysconf(_SC_PAGESIZE);
}

uint64_t os_memory_total(void) {
    return (uint64_t)sysconf(_SC_PHYS_PAGES) * os_page_size();
}

/* The first line of `path` that starts with `key`: what follows it, in out [n]. */
static bool os_proc_line(const char *path, const char *key, char *out, size_t n) {
    char line[512];
    bool found = false;
    FILE *f = fopen(path, "re");
    if (!f) {
        return false;
    }
    while (!found && fgets(line, sizeof line, f)) {
        if (strncmp(line, key, strlen(key)) == 0) {
            const char *v = line + strlen(key);
            v += strspn(v, " \t:");
            snprintf(out, n, "%.*s", (int)strcspn(v, "\n"), v);
            found = true;
        }
    }
    fclose(f);
    return found;
}

uint64_t os_memory_available(void) {
    char text[64];
    if (os_proc_line("/proc/meminfo", "MemAvailable:", text, sizeof text)) {
        return strtoull(text, NULL, 10) * 1024;
    }
    return (uint64_t)sysconf(_SC_AVPHYS_PAGES) * os_page_size();
}

/* What getrusage says can be that of the program which started this one. */
uint64_t os_memory_peak(void) {
    struct rusage u = {0};
    char text[64];
    if (os_proc_line("/proc/self/status", "VmHWM:", text, sizeof text)) {
        return strtoull(text, NULL, 10) * 1024;
    }
    getrusage(RUSAGE_SELF, &u);
    return (uint64_t)u.ru_maxrss * 1024;
}

bool os_memory_peak_reset(void) {
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && write(fd, "5", 1) == 1;
    if (fd >= 0) {
        close(fd);
    }
    return done;
}

/* ---- threads --------------------------------------------------------------------------- */

struct os_thread {
    pthread_t id;
    void (*fn)(void *);
    void *arg;
};

struct os_mutex {
    pthread_mutex_t m;
};

struct os_cond {
    pthread_cond_t c;
};

static void *os_thread_main(void *p) {
    struct os_thread *t = p;
    t->fn(t->arg);
    return NULL;
}

enum err_code os_thread_start(struct os_thread **out, void (*fn)(void *), void *arg,
                              struct err *e) {
    *out = NULL;
    struct os_thread *t = mem_alloc(1, sizeof *t);
    if (!t) {
        return err_set(e, ERR_NOMEM, "out of memory for a thread");
    }
    t->fn = fn;
    t->arg = arg;
    /* Signals that ask the program to stop go to the first thread, which may be in a read that
     * they have to interrupt; faults stay with the thread that made them. */
    sigset_t all, old;
    sigfillset(&all);
    static const int faults[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGPROF};
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        sigdelset(&all, faults[i]);
    }
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int why = pthread_create(&t->id, NULL, os_thread_main, t);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (why) {
        mem_free(t);
        err_set(e, ERR_NOMEM, "cannot start a thread: %s", strerror(why));
        err_hint(e, "use fewer threads, or raise the limit of tasks: ulimit -u, or the container's "
                    "pids.max");
        return ERR_NOMEM;
    }
    *out = t;
    return ERR_OK;
}

void os_thread_join(struct os_thread *t) {
    if (t) {
        pthread_join(t->id, NULL);
        mem_free(t);
    }
}

struct os_mutex *os_mutex_create(void) {
    struct os_mutex *m = mem_alloc(1, sizeof *m);
    if (m && pthread_mutex_init(&m->m, NULL) != 0) {
        mem_free(m);
        m = NULL;
    }
    return m;
}

void os_mutex_free(struct os_mutex *m) {
    if (m) {
        pthread_mutex_destroy(&m->m);
        mem_free(m);
    }
}

void os_mutex_lock(struct os_mutex *m) {
    pthread_mutex_lock(&m->m);
}

void os_mutex_unlock(struct os_mutex *m) {
    pthread_mutex_unlock(&m->m);
}

struct os_cond *os_cond_create(void) {
    struct os_cond *c = mem_alloc(1, sizeof *c);
    if (c && pthread_cond_init(&c->c, NULL) != 0) {
        mem_free(c);
        c = NULL;
    }
    return c;
}

void os_cond_free(struct os_cond *c) {
    if (c) {
        pthread_cond_destroy(&c->c);
        mem_free(c);
    }
}

void os_cond_wait(struct os_cond *c, struct os_mutex *m) {
    pthread_cond_wait(&c->c, &m->m);
}

void os_cond_broadcast(struct os_cond *c) {
    pthread_cond_broadcast(&c->c);
}

int os_thread_clock(void) {
    clockid_t clock = CLOCK_THREAD_CPUTIME_ID;
    pthread_getcpuclockid(pthread_self(), &clock);
    return clock;
}

double os_clock_read(int clock) {
    struct timespec t = {0};
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int os_cpu_count(void) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) {
        return CPU_COUNT(&set);
    }
    long n = sysconf(_SC_NPROCESSORS_ONLN); /* more processors than cpu_set_t has bits */
    return n > 0 ? (int)n : 1;
}

int os_cpu_current(void) {
    return sched_getcpu();
}

void os_cpu_leave(int cpu) {
    cpu_set_t all, others;
    if (cpu < 0 || cpu >= CPU_SETSIZE || sched_getaffinity(0, sizeof all, &all) != 0) {
        return;
    }
    others = all;
    CPU_CLR(cpu, &others);
    if (CPU_COUNT(&others) > 0 && sched_setaffinity(0, sizeof others, &others) == 0) {
        sched_setaffinity(0, sizeof all, &all);
    }
}

void os_yield(void) {
    sched_yield();
}

void os_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* ---- time ------------------------------------------------------------------------------ */

double os_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int64_t os_wall_time(void) { /* not time(), which may lag behind the stamps' clock by a tick */
    struct timespec now = {0};
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec;
}

size_t os_strftime(char *out, size_t n, const char *fmt, int64_t t) {
    struct tm tm;
    time_t when = (time_t)t;
    if (n) {
        out[0] = '\0';
    }
    return localtime_r(&when, &tm) ? strftime(out, n, fmt, &tm) : 0;
}

void os_stamp(char out[OS_STAMP]) {
    struct timespec now = {0};
    struct tm tm = {0};
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    size_t n = strftime(out, OS_STAMP, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, OS_STAMP - n, ".%03dZ", (int)(now.tv_nsec / 1000000));
}

enum err_code os_random(void *p, size_t n, struct err *e) {
    ssize_t k;
    do {
        k = getrandom(p, n, 0);
    } while (k < 0 && errno == EINTR);
    return k == (ssize_t)n ? ERR_OK : err_set(e, ERR_IO, "the system gives no random bytes");
}

uint64_t os_random_seed(void) {
    uint64_t v;
    ssize_t k;
    do {
        k = getrandom(&v, sizeof v, 0);
    } while (k < 0 && errno == EINTR);
    if (k != (ssize_t)sizeof v) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        v = (uint64_t)t.tv_sec << 32 ^ (uint64_t)t.tv_nsec ^ (uint64_t)getpid() << 48;
    }
    return v;
}

void os_sleep(double seconds) {
    struct timespec t = {.tv_sec = (time_t)seconds};
    t.tv_nsec = (long)((seconds - (double)t.tv_sec) * 1e9);
    while (seconds > 0 && nanosleep(&t, &t) != 0 && errno == EINTR) {
    }
}

/* ---- processor ------------------------------------------------------------------------- */

void os_cpu_name(char *out, size_t n) {
    if (!os_proc_line("/proc/cpuinfo", "model name", out, n)) {
        snprintf(out, n, "unknown processor");
    }
}
