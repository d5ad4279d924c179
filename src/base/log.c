/* log.c: one line, one write.
 *
 * Owns the level, the form and the descriptor. Refuses to keep anything: there is no queue to lose.
 * Invariant: a line goes out whole, escaped like an error's text, even from several threads and
 * processes.
 */
#include "base/log.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/os.h"

enum { STANDARD_ERROR = 2 };

static const char *const names[] = {"error", "warn", "info", "debug"};
static atomic_int log_level = LOG_WARN;
static atomic_int log_fd = STANDARD_ERROR;
static atomic_bool log_json;
static atomic_bool log_lost; /* a line, which has been said */

enum log_level log_set_level(enum log_level level) {
    return (enum log_level)atomic_exchange(&log_level, (int)level);
}

enum err_code log_open(const char *file, bool json, struct err *e) {
    int fd = STANDARD_ERROR;
    enum err_code rc = file ? os_open_end(file, &fd, e) : ERR_OK;
    if (!rc) {
        atomic_store(&log_fd, fd);
        atomic_store(&log_json, json);
    }
    return rc;
}

bool log_is_json_here(void) {
    return atomic_load(&log_json) && atomic_load(&log_fd) == STANDARD_ERROR;
}

/* Of a log on standard error there is nobody left to tell. */
static void write_line(int fd, const char *line, size_t n) {
    struct err e = {0};
    char text[512], said[640];
    if (os_write_fd(fd, line, n, &e) && fd != STANDARD_ERROR && !atomic_exchange(&log_lost, true)) {
        int len = snprintf(said, sizeof said, "ign: warning: lines of the log are lost: %s\n",
                           err_line(&e, text, sizeof text));
        os_write_fd(STANDARD_ERROR, said, (size_t)len, NULL);
    }
}

static void put_json(int fd, enum log_level level, const char *text) {
    char stamp[OS_STAMP];
    struct buf line;
    struct json_writer w;
    os_stamp(stamp);
    buf_init(&line, 4096);
    json_writer_init(&w, &line);
    json_open(&w, '{');
    json_key(&w, "time");
    json_put_z(&w, stamp);
    json_key(&w, "level");
    json_put_z(&w, names[level]);
    json_key(&w, "process");
    json_put_uint(&w, os_process_id());
    json_key(&w, "text");
    json_put_z(&w, text);
    json_close(&w, '}');
    buf_puts(&line, "\n");
    if (!line.failed) {
        write_line(fd, line.p, line.len);
    }
    buf_fini(&line);
}

static void put_text(int fd, enum log_level level, const char *text) {
    static const char *const prefix[] = {"error: ", "warning: ", "", ""};
    char stamp[OS_STAMP], line[512];
    int n;
    if (fd == STANDARD_ERROR) {
        n = snprintf(line, sizeof line, "ign: %s%s\n", prefix[level], text);
    } else {
        os_stamp(stamp);
        n = snprintf(line, sizeof line, "%s %llu %s: %s\n", stamp,
                     (unsigned long long)os_process_id(), names[level], text);
    }
    write_line(fd, line, (size_t)n);
}

static void put(enum log_level level, const char *fmt, va_list ap) {
    char raw[sizeof((struct err *)0)->what];
    struct err text = {0};
    int fd = atomic_load(&log_fd);
    vsnprintf(raw, sizeof raw, fmt, ap);
    err_set(&text, ERR_IO, "%s", raw); /* for its escaping */
    if (atomic_load(&log_json)) {
        put_json(fd, level, text.what);
    } else {
        put_text(fd, level, text.what);
    }
}

void log_line(enum log_level level, const char *fmt, ...) {
    va_list ap;
    if ((int)level <= atomic_load(&log_level)) {
        va_start(ap, fmt);
        put(level, fmt, ap);
        va_end(ap);
    }
}

void log_copy(enum log_level level, const char *fmt, ...) {
    va_list ap;
    if ((int)level <= atomic_load(&log_level) && atomic_load(&log_fd) != STANDARD_ERROR) {
        va_start(ap, fmt);
        put(level, fmt, ap);
        va_end(ap);
    }
}
