/* log.h: what happened, to stderr, for the person who runs the program.
 *
 * Owns levels and the one-line format. Library code logs choices (which kernels, which device)
 * at LOG_INFO and details at LOG_DEBUG; errors are returned, never logged here.
 */
#ifndef IGN_BASE_LOG_H
#define IGN_BASE_LOG_H

#include "base/err.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_set_level(enum log_level level);
void log_line(enum log_level level, const char *fmt, ...) IGN_PRINTF(2, 3);

#endif
