/* os.h: everything that the program asks of the operating system.
 *
 * Owns the list; os_posix.c is the only file that knows the platform, and a twin for another
 * system replaces it whole. Refuses policy: what to map, where the store is and which signals
 * mean what is decided by the callers.
 */
#ifndef IGN_BASE_OS_H
#define IGN_BASE_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

/* Reads a whole regular file of at most `max` bytes into *out (mem_free), a zero byte after it. */
enum err_code os_read_file(const char *path, size_t max, char **out, size_t *n, struct err *e);
/* Writes a temporary file beside `path`, flushes it to disk and renames it: whole or not at all. */
enum err_code os_write_file(const char *path, const void *p, size_t n, struct err *e);
bool os_file_exists(const char *path);
enum err_code os_mkdirs(const char *path, struct err *e);
/* Names in a folder, sorted, in one block of zero-terminated strings, *n of them (mem_free). */
enum err_code os_list(const char *path, char ***names, size_t *n, struct err *e);

/* Standard streams by number, whole writes, retried after signals. */
enum err_code os_write_fd(int fd, const void *p, size_t n, struct err *e);
/* Up to n bytes; *got = 0 at the end. With timeout_ms >= 0 waits at most that long and then
 * gives ERR_CANCELLED; a signal does too. */
enum err_code os_read_fd(int fd, void *p, size_t n, size_t *got, int timeout_ms, struct err *e);

/* ---- memory -------------------------------------------------------------------------- */

/* Zeroed, page-aligned memory straight from the system, n rounded up to pages; NULL on failure. */
void *os_pages(size_t n);
void os_pages_free(void *p, size_t n);
/* Takes away or gives back all access to whole pages (the plain back end's private memory). */
void os_pages_protect(void *p, size_t n, bool accessible);
size_t os_page_size(void);
uint64_t os_memory_total(void);
uint64_t os_memory_available(void);
/* Peak resident memory of this process, bytes. */
uint64_t os_memory_peak(void);

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
/* CPUs this process may run on (affinity). */
int os_cpu_count(void);
/* The CPU that this thread is on now; -1 if unknown. */
int os_cpu_current(void);
/* Moves this thread to another CPU of those it may use, now; it may come back later. */
void os_cpu_leave(int cpu);
void os_yield(void);
/* Tells the processor that this thread is waiting in a loop. */
void os_relax(void);

/* ---- time, signals, terminal, process ------------------------------------------------ */

double os_now(void);        /* monotonic seconds */
int64_t os_wall_time(void); /* seconds since 1970 */
/* Broken-down local time of `t` formatted by strftime's `fmt`; returns bytes written. */
size_t os_strftime(char *out, size_t n, const char *fmt, int64_t t);
uint64_t os_random_seed(void);
void os_sleep(double seconds);

/* From now on SIGINT and SIGTERM add one to *count; the second ends the process at once with
 * status 130. SIGPIPE is ignored, so that writes give errors. */
void os_signals_catch(volatile int *count);

bool os_is_terminal(int fd);
/* Columns of the terminal; 80 if unknown. */
int os_terminal_width(int fd);
/* Raw mode: no echo, no line buffering, Ctrl-C as a byte. `restore` brings back what was. */
enum err_code os_terminal_raw(int fd, struct err *e);
void os_terminal_restore(int fd);

/* CPUID-style names of the instruction sets that may be used: "avx2", "fma", "f16c", ... */
bool os_cpu_has(const char *isa);
/* The processor's name as the system gives it. */
void os_cpu_name(char *out, size_t n);

#endif
