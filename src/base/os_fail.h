/* os_fail.h: errno as an error, for the files that ask the operating system.
 * One invariant: called before anything else can change errno.
 */
#ifndef IGN_BASE_OS_FAIL_H
#define IGN_BASE_OS_FAIL_H

#include "base/err.h"

/* "cannot VERB: why", at `path`: ERR_NOTFOUND, ERR_NOMEM or ERR_IO by errno. Returns the code. */
enum err_code os_fail(struct err *e, const char *verb, const char *path);

/* What stands at `path` instead of a file, by the mode that stat gives: ERR_FORMAT. */
enum err_code os_not_file(struct err *e, unsigned mode, const char *path);

#endif
