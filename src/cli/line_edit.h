/* line_edit.h: the editor under the chat prompt.
 *
 * Owns the text being typed, the history, and the drawing: bytes of a terminal go in, an event and
 * bytes for a terminal come out, so that a test needs neither. Text may have several lines: from a
 * paste, from Alt-Enter or Ctrl-J, or from a backslash before Enter. Refuses to read or write: the
 * loop that does is line_edit_read's, at the end.
 * Invariant: 0 <= at <= text.len, and `at` is never inside a UTF-8 sequence.
 */
#ifndef IGN_CLI_LINE_EDIT_H
#define IGN_CLI_LINE_EDIT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

enum edit_event {
    EDIT_NONE,      /* go on */
    EDIT_SUBMIT,    /* Enter: the text is complete */
    EDIT_INTERRUPT, /* Ctrl-C; the text has been dropped, `had_text` says whether there was any */
    EDIT_END        /* Ctrl-D on an empty line, or the terminal is gone */
};

struct line_edit {
    struct buf text; /* UTF-8, lines parted by '\n' */
    size_t at;       /* byte offset of the cursor */
    bool had_text;

    char **history; /* [n_history] zero-terminated, oldest first */
    size_t n_history;
    size_t recalled;  /* the entry being shown; n_history: the draft itself */
    struct buf draft; /* what was typed before the history was entered */

    char key[16]; /* the beginning of an escape or UTF-8 sequence */
    size_t n_key;
    bool pasting; /* between ESC[200~ and ESC[201~ */

    int drawn_row; /* the cursor's row below the top of what was drawn last */

    char in[1024]; /* read but not used yet: typed ahead */
    size_t in_at, n_in;
};

void line_edit_init(struct line_edit *le);
void line_edit_fini(struct line_edit *le);

/* Remembers a line; the oldest is forgotten after LINE_EDIT_HISTORY. Out of memory: not remembered.
 */
#define LINE_EDIT_HISTORY 500
void line_edit_remember(struct line_edit *le, struct str line);

/* Takes bytes until an event or the end; *used says how many. The text of a SUBMIT stays until
 * line_edit_clear. */
enum edit_event line_edit_feed(struct line_edit *le, const char *p, size_t n, size_t *used);
void line_edit_clear(struct line_edit *le);

/* Appends the escape sequences that replace what was drawn before by prompt and text, on a
 * terminal of `columns`. Shows a window of rows around the cursor, or all of them if `last`, and
 * then leaves the cursor on the row after. */
void line_edit_draw(struct line_edit *le, const char *prompt, int columns, bool last,
                    struct buf *out);

/* Reads one text from the terminal on standard input, in raw mode; draws on standard output.
 * Ends with EDIT_END where *stop becomes positive (a signal). ERR_IO, ERR_NOMEM. */
enum err_code line_edit_read(struct line_edit *le, const char *prompt, const volatile int *stop,
                             enum edit_event *ev, struct err *e);

#endif
