/* log.c: one line, one write, to standard error.
 *
 * Owns the level and the prefix. Refuses timestamps and files: those belong to observe/.
 * Invariant: a line goes out whole, escaped like an error's text, even from several threads.
 */
#include "base/log.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/os.h"

static atomic_int log_level = LOG_WARN;

void log_set_level(enum log_level level) {
    atomic_store(&log_level, (int)level);
}

void log_line(enum log_level level, const char *fmt, ...) {
    static const char *const prefix[] = {"error: ", "warning: ", "", ""};
    if ((int)level > atomic_load(&log_level)) {
        return;
    }
    char raw[sizeof((struct err *)0)->what], line[512];
    struct err text = {0};
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(raw, sizeof raw, fmt, ap);
    va_end(ap);
    err_set(&text, ERR_IO, "%s", raw); /* for its escaping */
    int n = snprintf(line, sizeof line, "ign: %s%s\n", prefix[level], text.what);
    os_write_fd(2, line, (size_t)n, NULL);
}
