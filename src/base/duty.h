/* duty.h: a team of threads that takes no more than a part of its processors' time.
 *
 * Owns the account: processor time of the team's threads against wall time. When the team is ahead
 * of its share, every thread sleeps at its next duty_pause until the share has caught up. What it
 * did not use (it waited for a neighbour, or for input) it may use later, but no more than a
 * quarter of a second's worth. Refuses to know what the threads do.
 * Invariant: nobody spins in a pause, and none outlasts a stop by more than 10 ms.
 */
#ifndef IGN_BASE_DUTY_H
#define IGN_BASE_DUTY_H

#include "base/err.h"

struct duty;

/* At most `percent` (5..100) of n_thread processors. ERR_RANGE, ERR_NOMEM. With 100 *d is NULL,
 * which every function takes: no limit. */
enum err_code duty_create(struct duty **d, int n_thread, int percent, struct err *e);
void duty_free(struct duty *d);
/* By thread number `thread` of the team, between two pieces of work of about a millisecond or less:
 * sleeps if the team owes time. */
void duty_pause(struct duty *d, int thread);
/* From now on *stop being not 0 ends a pause; NULL: nothing does. By the team's owner. */
void duty_watch(struct duty *d, const volatile int *stop);

#endif
