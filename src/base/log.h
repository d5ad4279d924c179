/* log.h: what happened, for the person who runs the program.
 *
 * Owns levels, the two forms of a line (text and JSON) and where lines go: standard error, or a
 * file. Library code logs choices (which kernels, which device) at LOG_INFO and details at
 * LOG_DEBUG; errors are returned, never logged here. No line holds what a user or a model said.
 * Invariant: a line that cannot be written is lost, which stops nothing; of a file standard error
 * hears of the first such line.
 */
#ifndef IGN_BASE_LOG_H
#define IGN_BASE_LOG_H

#include <stdbool.h>

#include "base/err.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* LOG_WARN until it is set. Returns what it was. */
enum log_level log_set_level(enum log_level level);
/* From now on lines go to the end of `file` (made with mode 0600 if need be; NULL: to standard
 * error), as JSON objects or as text. In a file each line has its time and level. To be called
 * once, before threads log. ERR_NOTFOUND, ERR_IO: nothing has changed then. */
enum err_code log_open(const char *file, bool json, struct err *e);
void log_line(enum log_level level, const char *fmt, ...) IGN_PRINTF(2, 3);
/* Whether standard error is to hold JSON lines alone: what would be written there as text goes
 * through log_line. */
bool log_is_json_here(void);
/* For what standard error has been told in another way: a line where the log is a file. */
void log_copy(enum log_level level, const char *fmt, ...) IGN_PRINTF(2, 3);

#endif
