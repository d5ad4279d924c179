/* progress.c: drawing the bar.
 *
 * Owns the estimate of the time left: of what counts bytes at the rate of the last seconds, as
 * lines are slow and fast in turn; of all else at the mean speed so far.
 */
#include "cli/progress.h"

#include <stdio.h>
#include <string.h>

#include "base/os.h"

enum { CELLS_MOST = 30, CELLS_LEAST = 5, NAME_MOST = 40, NAME_LEAST = 8 };
#define RATE_SECONDS 3.0 /* over which the rate is smoothed */

void progress_begin(struct progress *p, const struct cli *c, const char *what) {
    *p = (struct progress){.on = c->err_terminal && !c->quiet, .what = what};
}

/* The rate, from the bytes since the last draw. */
static void rate_note(struct progress *p, size_t done, double now) {
    double past = now - p->drawn;
    if (p->drawn > 0 && past > 0 && done >= p->last) {
        double rate = (double)(done - p->last) / past;
        double weight = past < RATE_SECONDS ? past / RATE_SECONDS : 1;
        p->rate += p->rate > 0 ? (rate - p->rate) * weight : rate;
    }
    p->last = done;
    p->drawn = now;
}

/* What stands behind the bar: how much, how fast, how long still; `brief`: in percent. */
static void write_tail(const struct progress *p, size_t done, size_t total, bool brief, char *out,
                       size_t n) {
    char a[32], b[32], c[32];
    double speed = p->bytes              ? p->rate
                   : p->drawn > p->start ? (double)(done - p->first) / (p->drawn - p->start)
                                         : 0;
    int len = 0;
    if (brief && total) {
        len = snprintf(out, n, "%d%%", (int)((double)done * 100 / (double)total));
    } else if (p->bytes) {
        len = snprintf(out, n, "%s/%s", cli_bytes(done, a, sizeof a),
                       total ? cli_bytes(total, b, sizeof b) : "?");
    } else {
        len = snprintf(out, n, "%zu/%zu", done, total);
    }
    size_t at = (size_t)len;
    if (p->bytes) {
        at += (size_t)snprintf(out + at, n - at, ", %s/s", cli_bytes((uint64_t)speed, c, sizeof c));
    }
    double left = speed > 0 && total > done ? (double)(total - done) / speed : -1;
    if (left >= 0 && left < 1e7 && at < n) {
        long s = (long)(left + 0.5);
        snprintf(out + at, n - at, ", %ld:%02ld left", s / 60, s % 60);
    }
}

/* The name, at most `most` bytes of it; none that a terminal would obey. */
static void write_name(const struct progress *p, size_t most, char out[NAME_MOST + 1]) {
    size_t n = 0;
    for (const char *s = p->what; *s && n < most; s++) {
        out[n++] = (unsigned char)*s < 0x20 || *s == 0x7f ? '?' : *s;
    }
    while (n > 0 && ((unsigned char)p->what[n] & 0xc0) == 0x80) {
        n--; /* not in the middle of a character */
    }
    out[n] = '\0';
}

/* The line, at most `width` columns of it: where they are few the name is cut first, then the bar
 * goes, then the words become short ones. */
static void write_line(const struct progress *p, size_t done, size_t total, int width, char *out,
                       size_t n) {
    char name[NAME_MOST + 1], tail[120] = "", bar[CELLS_MOST + 1];
    int most = width - 1; /* the last column would move the cursor on some */
    write_tail(p, done, total, false, tail, sizeof tail);
    int room = most - (int)strlen(tail) - 4 - CELLS_LEAST;
    if (room < NAME_LEAST) {
        write_tail(p, done, total, true, tail, sizeof tail);
        room = most - (int)strlen(tail) - 1;
        write_name(p, room < 0 ? 0 : room < NAME_MOST ? (size_t)room : NAME_MOST, name);
        snprintf(out, n, "%s%s%.*s", name, name[0] ? " " : "", most > 0 ? most : 0, tail);
        return;
    }
    write_name(p, room < NAME_MOST ? (size_t)room : NAME_MOST, name);
    room = CELLS_LEAST + room - (int)strlen(name);
    size_t cells = room > CELLS_MOST ? CELLS_MOST : (size_t)room;
    for (size_t i = 0; i < cells; i++) {
        bar[i] = total && (double)i < (double)done * (double)cells / (double)total ? '#' : '.';
    }
    bar[cells] = 0;
    snprintf(out, n, "%s [%s] %s", name, bar, tail);
}

void progress_draw(struct progress *p, size_t done, size_t total) {
    double now = os_now();
    if (!p->on || (total == 0 && !p->bytes) ||
        (p->drawn > 0 && now - p->drawn < 0.1 && (done < total || total == 0))) {
        return;
    }
    if (p->drawn == 0) {
        p->first = done;
        p->start = now;
    }
    rate_note(p, done, now);
    char text[256], line[320];
    write_line(p, done, total, os_terminal_width(2), text, sizeof text);
    int n = snprintf(line, sizeof line, "\r%s\x1b[K", text);
    os_write_fd(2, line, (size_t)n, NULL);
}

void progress_end(struct progress *p) {
    if (p->on && p->drawn > 0) {
        os_write_fd(2, "\r\x1b[K", 4, NULL);
    }
    p->on = false;
}
