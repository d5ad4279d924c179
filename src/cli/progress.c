/* progress.c: drawing the bar.
 *
 * Owns the estimate of the time left: what was done so far, at its mean speed.
 */
#include "cli/progress.h"

#include <stdio.h>

#include "base/os.h"

enum { CELLS = 30 };

void progress_begin(struct progress *p, const struct cli *c, const char *what) {
    *p = (struct progress){.on = c->err_terminal && !c->quiet, .what = what, .start = os_now()};
}

void progress_draw(struct progress *p, size_t done, size_t total) {
    double now = os_now();
    if (!p->on || total == 0 || (p->drawn > 0 && now - p->drawn < 0.1 && done < total)) {
        return;
    }
    char bar[CELLS + 1], line[160], left[32] = "";
    size_t full = done * CELLS / total;
    for (size_t i = 0; i < CELLS; i++) {
        bar[i] = i < full ? '#' : '.';
    }
    bar[CELLS] = 0;
    if (done > 0) {
        long s = (long)((now - p->start) / (double)done * (double)(total - done) + 0.5);
        snprintf(left, sizeof left, ", %ld:%02ld left", s / 60, s % 60);
    }
    int n =
        snprintf(line, sizeof line, "\r%s [%s] %zu/%zu%s\x1b[K", p->what, bar, done, total, left);
    os_write_fd(2, line, (size_t)n, NULL);
    p->drawn = now;
}

void progress_end(struct progress *p) {
    if (p->on && p->drawn > 0) {
        os_write_fd(2, "\r\x1b[K", 4, NULL);
    }
    p->on = false;
}
