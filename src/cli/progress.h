/* progress.h: a bar for the person who waits, where standard error is a terminal.
 *
 * Owns one line of the terminal between its first draw and progress_end. Refuses to be the only
 * place that says anything: without a terminal nothing is printed at all.
 */
#ifndef IGN_CLI_PROGRESS_H
#define IGN_CLI_PROGRESS_H

#include "cli/cli.h"

struct progress {
    bool on;
    bool bytes; /* what is counted: shown as such, with their rate; the caller may set it */
    const char *what;
    double start, drawn; /* seconds, os_now; start: of the first draw */
    size_t first, last;  /* done at the first draw and at the last */
    double rate;         /* of the last seconds, per second */
};

void progress_begin(struct progress *p, const struct cli *c, const char *what);
/* done of total (0: not known); at most ten draws a second. */
void progress_draw(struct progress *p, size_t done, size_t total);
/* Clears the line. */
void progress_end(struct progress *p);

#endif
