/* os.h: everything that the program asks of the operating system.
 *
 * Owns the list; os_posix.c, os_output.c, os_process.c and os_terminal.c alone know the platform,
 * and twins for another system replace them whole. Refuses policy: what to map, where the store is
 * and which signals mean what is decided by the callers.
 */
#ifndef IGN_BASE_OS_H
#define IGN_BASE_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* ---- files --------------------------------------------------------------------------- */

/* A file's bytes, mapped read-only or (os_map with copy) read into memory.
 * A mapped file that shrinks or fails underneath us must not kill the process: the SIGBUS
 * handler puts a page of zeros in its place and sets `lost`, which stays set. The handler writes
 * through the address given to os_map_open: a struct os_map that is open stays where it is. */
struct os_map {
    const uint8_t *data;
    size_t size;
    bool copied;       /* heap copy, not a mapping */
    bool settled;      /* parts of it are memory of the process, no longer the file's */
    volatile int lost; /* a page could not be read: what came from here is void */
    int slot;          /* place in the SIGBUS handler's table; -1 if none */
};

/* Opens `path` without blocking, demands a regular file (ERR_FORMAT names what it is instead:
 * directory, FIFO, device), and maps it. ERR_NOTFOUND, ERR_IO. `copy` reads instead of mapping. */
enum err_code os_map_open(struct os_map *m, const char *path, bool copy, struct err *e);
void os_map_close(struct os_map *m);
/* Locks the mapping in memory; ERR_IO says the limit and how to raise it. */
enum err_code os_map_lock(struct os_map *m, struct err *e);
/* Tells the system that the whole mapping will be wanted soon. */
void os_map_willneed(struct os_map *m);
/* Tells the system that p [n] of the mapping is not wanted soon: its memory goes back. Nothing is
 * done to a mapping that was settled. */
void os_map_done(const struct os_map *m, const void *p, size_t n);
/* Moves the first OS_LARGE bytes of the mapping that lie behind *at into a large page of the
 * process's own, at the same addresses; *at becomes their end. The file's pages stay in the
 * system's cache for as long as it likes. False: nothing is left to move, or the system has no
 * large pages. */
bool os_map_settle(struct os_map *m, size_t *at);
#define OS_LARGE ((size_t)2 << 20)
/* The part of it, 0 to 1, that lies in large pages of memory now: of the file's own, or of the
 * process's. -1: the system does not tell. */
double os_map_large(const struct os_map *m);
/* The part of it, 0 to 1, that is in memory now, from a sample of its pages. As far as the system
 * tells: 1 for a file that this user could not write. */
double os_map_resident(const struct os_map *m);

/* Reads a whole regular file of at most `max` bytes into *out (mem_free), a zero byte after it. */
enum err_code os_read_file(const char *path, size_t max, char **out, size_t *n, struct err *e);
/* Reads the first bytes of a regular file into out [n], at most n - 1 and a zero byte after them,
 * whatever size the system claims: a file of /proc says 0. */
enum err_code os_read_head(const char *path, char *out, size_t n, size_t *got, struct err *e);
/* Writes a temporary file beside `path`, flushes it to disk and renames it: whole or not at all. */
enum err_code os_write_file(const char *path, const void *p, size_t n, struct err *e);
/* The same for a file that is written piece by piece: *out (os_out_commit or os_out_drop) on a
 * temporary file beside `path`. ERR_FORMAT if something else than a file is there; ERR_NOTFOUND,
 * ERR_IO, ERR_NOMEM. */
struct os_out;
enum err_code os_out_open(struct os_out **out, const char *path, struct err *e);
enum err_code os_out_write(struct os_out *o, const void *p, size_t n, struct err *e);
/* Flushes to disk and renames; `o` is gone afterwards in any case, and after a failure `path` is
 * what it was. */
enum err_code os_out_commit(struct os_out *o, struct err *e);
/* Gives up: nothing is left of it. NULL is fine. */
void os_out_drop(struct os_out *o);
/* A file that grows over several runs of the program. Opens it, made if need be, and cuts it to its
 * first `keep` bytes; what is written comes behind them. *g is os_grow_close's. ERR_FORMAT if it is
 * a link, or no file; ERR_NOTFOUND, ERR_IO, ERR_NOMEM. */
struct os_grow;
enum err_code os_grow_open(struct os_grow **g, const char *path, uint64_t keep, struct err *e);
enum err_code os_grow_write(struct os_grow *g, const void *p, size_t n, struct err *e);
/* Cuts it to `keep` bytes, to go on behind them. */
enum err_code os_grow_cut(struct os_grow *g, uint64_t keep, struct err *e);
enum err_code os_grow_flush(struct os_grow *g, struct err *e);
void os_grow_close(struct os_grow *g); /* NULL is fine */
bool os_file_exists(const char *path);
bool os_is_link(const char *path); /* a symbolic one, wherever it leads */
enum err_code os_mkdirs(const char *path, struct err *e);
/* Writes p[0..n) behind what the file holds and flushes it to disk; a file that is not there is
 * made with mode 0600. Whole or not at all: after a failure (ERR_IO on a full disk) the file has
 * the length that it had. The caller keeps other writers away (os_lock_take). */
enum err_code os_append_file(const char *path, const void *p, size_t n, struct err *e);
/* Opens a file for writes behind what it holds, each whole beside those of others; it is made with
 * mode 0600 if need be. *fd is the caller's. */
enum err_code os_open_end(const char *path, int *fd, struct err *e);
/* Cuts a file to its first `size` bytes and flushes that to disk. */
enum err_code os_cut_file(const char *path, uint64_t size, struct err *e);
/* ERR_NOTFOUND, ERR_IO. Links are followed. */
struct os_file_info {
    uint64_t size;
    int64_t mtime;          /* seconds since 1970 */
    int mtime_ns;           /* and the part of a second */
    uint64_t device, inode; /* together they name the file while it is there */
    bool is_folder;
    bool readable, writable; /* by this process, as access(2) says */
    bool shared;             /* users other than the owner may read or write it */
};
enum err_code os_file_info(const char *path, struct os_file_info *info, struct err *e);
/* Bytes that this user may still write to the file system that holds `path`. */
enum err_code os_disk_free(const char *path, uint64_t *bytes, struct err *e);
/* A path without links and without "." and "..", *out (mem_free), of what is there. */
enum err_code os_real_path(const char *path, char **out, struct err *e);
/* Removes a file; one that is not there is no error. */
enum err_code os_remove_file(const char *path, struct err *e);
/* Makes `to` a second name of the file `from` (links are followed). ERR_IO where something is there
 * already; ERR_UNSUPPORTED where the file system has no such names, or `from` lies
 * on another one. */
enum err_code os_link(const char *from, const char *to, struct err *e);
/* Gives a file or a folder another name, at once; a file that is there is replaced, a folder only
 * where it is empty. */
enum err_code os_rename(const char *from, const char *to, struct err *e);
/* Removes a folder that is empty; one that is not there is no error. */
enum err_code os_remove_folder(const char *path, struct err *e);
/* Names in a folder, sorted, in one block of zero-terminated strings, *n of them (mem_free). */
enum err_code os_list(const char *path, char ***names, size_t *n, struct err *e);

/* A lock that other processes see, on a file that is made if need be (mode 0600) and stays; a link
 * there is not followed: ERR_IO. The system gives it back when the process ends, however it ends.
 * Waits up to `seconds` (0: not at all) for one who has it, then ERR_CANCELLED. Two locks of one
 * process exclude each other too. */
struct os_lock;
enum err_code os_lock_take(struct os_lock **l, const char *path, double seconds, struct err *e);
void os_lock_drop(struct os_lock *l); /* NULL is fine */

/* Puts something into the places of those standard streams that are closed, so that no file which
 * is opened later becomes one of them: reading and writing there fail as before. */
void os_streams_hold(void);
/* Standard streams by number, whole writes, retried after signals. */
enum err_code os_write_fd(int fd, const void *p, size_t n, struct err *e);
/* Up to n bytes; *got = 0 at the end. With timeout_ms >= 0 waits at most that long and then
 * gives ERR_CANCELLED; a signal does too. */
enum err_code os_read_fd(int fd, void *p, size_t n, size_t *got, int timeout_ms, struct err *e);

/* ---- memory -------------------------------------------------------------------------- */

/* Zeroed memory straight from the system, n rounded up to pages, from the beginning of a page; what
 * is as large as a large page from the beginning of one. NULL on failure. */
void *os_pages(size_t n);
void os_pages_free(void *p, size_t n);
/* Asks for the pages of p[0..n) in large ones (2 MB, say) where the system has them: fewer
 * translations of addresses are missed there, and memory is committed in as large pieces. A hint,
 * and none for what is smaller than a large page. */
void os_pages_large(void *p, size_t n);
/* Takes away or gives back all access to whole pages (the plain back end's private memory). */
void os_pages_protect(void *p, size_t n, bool accessible);
size_t os_page_size(void);
uint64_t os_memory_total(void);
uint64_t os_memory_available(void);
/* The run of this machine, from its start to its end; false where the system does not say. */
enum { OS_BOOT_ID = 37 };
bool os_boot_id(char id[OS_BOOT_ID]);
/* Resident memory of this process, bytes: at its peak, and now. */
uint64_t os_memory_peak(void);
/* Lets the peak begin anew from what is resident now; false where the system cannot. */
bool os_memory_peak_reset(void);
uint64_t os_memory_resident(void);

/* What this process may have at most: open files; bytes locked in memory. UINT64_MAX: no limit. */
enum os_limit { OS_LIMIT_FILES, OS_LIMIT_LOCKED };
uint64_t os_limit(enum os_limit which);

/* ---- threads ------------------------------------------------------------------------- */

struct os_thread;
struct os_mutex;
struct os_cond;

enum err_code os_thread_start(struct os_thread **t, void (*fn)(void *), void *arg, struct err *e);
void os_thread_join(struct os_thread *t); /* NULL is fine */
struct os_mutex *os_mutex_create(void);
void os_mutex_free(struct os_mutex *m);
void os_mutex_lock(struct os_mutex *m);
void os_mutex_unlock(struct os_mutex *m);
struct os_cond *os_cond_create(void);
void os_cond_free(struct os_cond *c);
void os_cond_wait(struct os_cond *c, struct os_mutex *m);
void os_cond_broadcast(struct os_cond *c);
/* A clock of the processor time that the calling thread has had, which any thread may read;
 * never 0. */
int os_thread_clock(void);
double os_clock_read(int clock); /* seconds; 0 where that thread has ended */
/* CPUs this process may run on (affinity). */
int os_cpu_count(void);
/* The CPU that this thread is on now; -1 if unknown. */
int os_cpu_current(void);
/* Moves this thread to another CPU of those it may use, now; it may come back later. */
void os_cpu_leave(int cpu);
void os_yield(void);
/* Tells the processor that this thread is waiting in a loop. */
void os_relax(void);

/* ---- processes and libraries ---------------------------------------------------------- */

uint64_t os_process_id(void);
uint64_t os_user_id(void);
bool os_process_alive(uint64_t id);
/* Processor time of this process so far, all threads, user and system, seconds. */
double os_cpu_seconds(void);
/* "linux x86_64"; the login name of the user, or its number; the machine's name. */
void os_platform(char *out, size_t n);
void os_user_name(char *out, size_t n);
void os_host_name(char *out, size_t n);
/* The file of the running program, *path (mem_free). */
enum err_code os_self_path(char **path, struct err *e);

/* NORMAL leaves things as they are; LOW is nice 10, or what it is already where that is more; IDLE
 * runs only where nobody else wants the
 * processor or the disk (SCHED_IDLE and the idle I/O class on Linux). Of this thread and those that
 * it starts from now on: set it before any other. ERR_IO where the system refuses. */
enum os_priority { OS_PRIORITY_NORMAL, OS_PRIORITY_LOW, OS_PRIORITY_IDLE };
enum err_code os_priority_set(enum os_priority p, struct err *e);

/* Another program, run to its end under a time limit. */
enum os_child_end {
    OS_CHILD_EXITED,   /* `code` is its status */
    OS_CHILD_SIGNALED, /* `code` is the signal: a crash, or the out-of-memory killer */
    OS_CHILD_TIMEOUT,  /* killed when its time was over */
    OS_CHILD_FLOOD     /* killed when it printed more than out->max */
};
struct os_child {
    enum os_child_end end;
    int code;
};
/* Entry i of the environment, "NAME=value"; NULL past the last. Borrowed. */
const char *os_env_entry(size_t i);

/* Runs argv (ended by NULL; argv[0] is a path) with this environment, no standard input, standard
 * error thrown away, in a process group of its own; what it prints is appended to `out`, whatever
 * its end. A signal counted in *stop (may be NULL) kills it, too: ERR_CANCELLED. Nothing is left
 * behind. ERR_NOTFOUND, ERR_IO, ERR_NOMEM. */
enum err_code os_child_run(struct os_child *c, const char *const *argv, double seconds,
                           const volatile int *stop, struct buf *out, struct err *e);
/* For such a child: asks the system to end it should its parent die first, and to keep no image of
 * its memory should it crash. */
void os_child_bind(void);
/* For such a child, too: *fd is standard output from now on, and what others print there is lost.
 */
enum err_code os_output_take(int *fd, struct err *e);

/* A shared library opened at run time, by name or path. ERR_NOTFOUND with the loader's reason. */
struct os_library;
enum err_code os_library_open(struct os_library **l, const char *name, struct err *e);
void *os_library_find(struct os_library *l, const char *symbol); /* NULL if it has none */
void os_library_close(struct os_library *l);                     /* NULL is fine */

/* ---- time, signals, terminal ---------------------------------------------------------- */

double os_now(void);        /* monotonic seconds */
int64_t os_wall_time(void); /* seconds since 1970 */
/* Broken-down local time of `t` formatted by strftime's `fmt`; returns bytes written. */
size_t os_strftime(char *out, size_t n, const char *fmt, int64_t t);
/* Now, in UTC, as RFC 3339 writes it: "2026-11-25T21:32:04.123Z". */
enum { OS_STAMP = 32 };
void os_stamp(char out[OS_STAMP]);
uint64_t os_random_seed(void);
/* n bytes (at most 256) that nobody can guess; ERR_IO where the system has none. */
enum err_code os_random(void *p, size_t n, struct err *e);
void os_sleep(double seconds);

/* From now on SIGINT, SIGTERM, SIGHUP (if it is not ignored) and SIGQUIT add one to *count; the
 * second ends the process at once with status 130. SIGPIPE and SIGXFSZ are ignored, so that writes
 * give errors. */
void os_signals_catch(volatile int *count);

/* Whether a counter that another thread or a signal may raise is not 0; NULL never is. */
static inline bool os_stopped(const volatile int *count) {
    return count && __atomic_load_n(count, __ATOMIC_RELAXED) != 0;
}

bool os_is_terminal(int fd);
/* Columns of the terminal; 80 if unknown. */
int os_terminal_width(int fd);
/* Raw mode: no echo, no line buffering, Ctrl-C as a byte. `restore` brings back what was. */
enum err_code os_terminal_raw(int fd, struct err *e);
void os_terminal_restore(int fd);

/* CPUID-style names of the instruction sets that may be used: "avx2", "fma", "f16c", ...
 * What "amxtile" and "amxint8" name may be used after os_cpu_ask_tiles. */
bool os_cpu_has(const char *isa);
/* Asks the system for AMX's tile registers, 8 KB more for each thread that uses any, for this
 * process and for good; false if it refuses, as Linux does where a signal stack is too small, and
 * where there is no AMX. */
bool os_cpu_ask_tiles(void);
/* The processor's name as the system gives it. */
void os_cpu_name(char *out, size_t n);

#endif
