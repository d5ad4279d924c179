/* interrupt.h: from Ctrl-C to whatever is running.
 *
 * Owns one thread that looks at the signal's counter every 20 ms or sooner, and what it then does:
 * end the program (while a file is read or a model loads, when nothing has been produced yet),
 * cancel sessions (while they compute: what there is gets printed), or nothing (the verb looks at
 * the counter by itself). Refuses the second Ctrl-C: the handler in base/os ends the program.
 * Invariant: a session is cancelled only between interrupt_cancels and the next call.
 */
#ifndef IGN_CLI_INTERRUPT_H
#define IGN_CLI_INTERRUPT_H

#include <stdbool.h>

#include "base/err.h"
#include "ign.h"

struct interrupt;

/* Starts in the mode that ends the program, with status 130, a line on standard error and, if
 * `json`, an error document on standard output; `last` is called with `arg` before that. `count` is
 * what os_signals_catch counts in. */
enum err_code interrupt_create(struct interrupt **i, volatile int *count, bool json,
                               void (*last)(void *), void *arg, struct err *e);
void interrupt_free(struct interrupt *i); /* NULL is fine */

void interrupt_cancels(struct interrupt *i, ign_session *s);
/* Several that are stepped together; the list must last until the next call. */
void interrupt_cancels_all(struct interrupt *i, ign_session *const *s, size_t n);
void interrupt_waits(struct interrupt *i);
/* Ends the program again, as at the start. */
void interrupt_ends(struct interrupt *i);

/* Whether a signal came since the last interrupt_forget. */
bool interrupt_seen(const struct interrupt *i);
/* The counter itself, for loops that wait on something else. */
const volatile int *interrupt_count(const struct interrupt *i);
/* The chat goes on after an answer was stopped. */
void interrupt_forget(struct interrupt *i);

#endif
