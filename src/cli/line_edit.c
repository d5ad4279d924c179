/* line_edit.c: keys to edits, edits to escape sequences.
 *
 * Owns the decoding of keys (ANSI sequences of xterm and its heirs) and a redraw that needs only
 * "up", "carriage return" and "clear to the end". Refuses terminfo: every terminal in use today,
 * tmux and the Windows console among them, knows these.
 * Invariant: a draw starts where the last one left the cursor, `drawn_row` rows below its top.
 */
#include "cli/line_edit.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/utf8.h"
#include "cli/char_width.h"

enum { TEXT_MAX = 1 << 20, ROWS_SHOWN = 12, ESC = 0x1B };

static const char paste_on[] = "\x1b[?2004h", paste_off[] = "\x1b[?2004l";

void line_edit_init(struct line_edit *le) {
    memset(le, 0, sizeof *le);
    buf_init(&le->text, TEXT_MAX);
    buf_init(&le->draft, TEXT_MAX);
}

void line_edit_fini(struct line_edit *le) {
    for (size_t i = 0; i < le->n_history; i++) {
        mem_free(le->history[i]);
    }
    mem_free(le->history);
    buf_fini(&le->text);
    buf_fini(&le->draft);
    memset(le, 0, sizeof *le);
}

void line_edit_remember(struct line_edit *le, struct str line) {
    if (line.n == 0 || (le->n_history > 0 && str_is(line, le->history[le->n_history - 1]))) {
        return;
    }
    if (!le->history) {
        le->history = mem_zalloc(LINE_EDIT_HISTORY, sizeof *le->history);
    }
    char *copy = le->history ? mem_strdup(line.p, line.n) : NULL;
    if (!copy) {
        return;
    }
    if (le->n_history == LINE_EDIT_HISTORY) {
        mem_free(le->history[0]);
        memmove(le->history, le->history + 1, (LINE_EDIT_HISTORY - 1) * sizeof *le->history);
        le->n_history--;
    }
    le->history[le->n_history++] = copy;
    le->recalled = le->n_history;
}

void line_edit_clear(struct line_edit *le) {
    buf_reset(&le->text);
    buf_reset(&le->draft);
    le->at = 0;
    le->recalled = le->n_history;
}

/* ---- positions: a character and the marks that sit on it move as one ------------------------ */

static int char_at(const struct line_edit *le, size_t at, uint32_t *cp) {
    int n = utf8_decode(le->text.p + at, le->text.len - at, cp);
    return n < 0 ? -n : n;
}

static size_t char_next(const struct line_edit *le, size_t at) {
    uint32_t cp;
    if (at >= le->text.len) {
        return at;
    }
    at += (size_t)char_at(le, at, &cp);
    while (at < le->text.len) {
        int n = char_at(le, at, &cp);
        if (cp == '\n' || char_width(cp) != 0) {
            break;
        }
        at += (size_t)n;
    }
    return at;
}

static size_t char_prev(const struct line_edit *le, size_t at) {
    uint32_t cp;
    while (at > 0) {
        do {
            at--;
        } while (at > 0 && ((unsigned char)le->text.p[at] & 0xC0) == 0x80);
        char_at(le, at, &cp);
        if (cp == '\n' || char_width(cp) != 0) {
            break;
        }
    }
    return at;
}

static size_t line_start(const struct line_edit *le, size_t at) {
    while (at > 0 && le->text.p[at - 1] != '\n') {
        at--;
    }
    return at;
}

static size_t line_end(const struct line_edit *le, size_t at) {
    while (at < le->text.len && le->text.p[at] != '\n') {
        at++;
    }
    return at;
}

static bool is_blank(char c) {
    return c == ' ' || c == '\n' || c == '\t';
}

static size_t word_prev(const struct line_edit *le, size_t at) {
    while (at > 0 && is_blank(le->text.p[at - 1])) {
        at--;
    }
    while (at > 0 && !is_blank(le->text.p[at - 1])) {
        at--;
    }
    return at;
}

static size_t word_next(const struct line_edit *le, size_t at) {
    while (at < le->text.len && is_blank(le->text.p[at])) {
        at++;
    }
    while (at < le->text.len && !is_blank(le->text.p[at])) {
        at++;
    }
    return at;
}

/* ---- edits ---------------------------------------------------------------------------------- */

static void edit_insert(struct line_edit *le, const char *p, size_t n) {
    size_t tail = le->text.len - le->at;
    buf_put(&le->text, p, n);
    if (le->text.failed) { /* full: what is there stays, and later keys are tried again */
        le->text.failed = false;
        return;
    }
    memmove(le->text.p + le->at + n, le->text.p + le->at, tail);
    memcpy(le->text.p + le->at, p, n);
    le->at += n;
}

static void edit_delete(struct line_edit *le, size_t from, size_t to) {
    if (from >= to) {
        return;
    }
    memmove(le->text.p + from, le->text.p + to, le->text.len - to);
    le->text.len -= to - from;
    le->text.p[le->text.len] = 0;
    le->at = from;
}

static void edit_recall(struct line_edit *le, size_t entry) {
    if (entry > le->n_history) {
        return;
    }
    if (le->recalled == le->n_history) {
        buf_reset(&le->draft);
        buf_put(&le->draft, le->text.p, le->text.len);
    }
    struct str s =
        entry == le->n_history ? str_of(le->draft.p, le->draft.len) : str_c(le->history[entry]);
    buf_reset(&le->text);
    buf_put(&le->text, s.p, s.n);
    le->recalled = entry;
    le->at = le->text.len;
}

/* Up and down: to the neighbouring line at the same number of characters; past the first or last
 * line, to the neighbouring entry of the history. */
static void edit_vertical(struct line_edit *le, bool up) {
    size_t start = line_start(le, le->at), end = line_end(le, le->at), steps = 0;
    if (up ? start == 0 : end == le->text.len) {
        if (up && le->recalled > 0) {
            edit_recall(le, le->recalled - 1);
        } else if (!up && le->recalled < le->n_history) {
            edit_recall(le, le->recalled + 1);
        }
        return;
    }
    for (size_t i = start; i < le->at; i = char_next(le, i)) {
        steps++;
    }
    le->at = up ? line_start(le, start - 1) : end + 1;
    for (; steps > 0 && le->at < le->text.len && le->text.p[le->at] != '\n'; steps--) {
        le->at = char_next(le, le->at);
    }
}

/* ---- keys ----------------------------------------------------------------------------------- */

/* A complete escape sequence, key[0] = ESC. */
static void key_escape(struct line_edit *le) {
    static const struct {
        const char *seq;
        char what;
    } keys[] = {
        {"[A", 'A'},    {"OA", 'A'}, {"[B", 'B'},    {"OB", 'B'},    {"[C", 'C'},  {"OC", 'C'},
        {"[D", 'D'},    {"OD", 'D'}, {"[H", 'H'},    {"OH", 'H'},    {"[1~", 'H'}, {"[7~", 'H'},
        {"[F", 'F'},    {"OF", 'F'}, {"[4~", 'F'},   {"[8~", 'F'},   {"[3~", 'X'}, {"[1;5C", 'f'},
        {"[1;3C", 'f'}, {"f", 'f'},  {"[1;5D", 'b'}, {"[1;3D", 'b'}, {"b", 'b'},   {"\x7f", 'w'},
        {"\r", 'n'},    {"\n", 'n'}, {"[200~", 'P'},
    };
    char what = 0;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (str_is(str_of(le->key + 1, le->n_key - 1), keys[i].seq)) {
            what = keys[i].what;
        }
    }
    switch (what) {
    case 'A': edit_vertical(le, true); break;
    case 'B': edit_vertical(le, false); break;
    case 'C': le->at = char_next(le, le->at); break;
    case 'D': le->at = char_prev(le, le->at); break;
    case 'H': le->at = line_start(le, le->at); break;
    case 'F': le->at = line_end(le, le->at); break;
    case 'X': edit_delete(le, le->at, char_next(le, le->at)); break;
    case 'f': le->at = word_next(le, le->at); break;
    case 'b': le->at = word_prev(le, le->at); break;
    case 'w': edit_delete(le, word_prev(le, le->at), le->at); break;
    case 'n': edit_insert(le, "\n", 1); break;
    case 'P': le->pasting = true; break;
    default: break;
    }
}

/* Whether key[0..n_key), which starts with ESC, is a whole sequence. */
static bool key_is_whole(const struct line_edit *le) {
    if (le->n_key < 2) {
        return false;
    }
    if (le->key[1] == 'O') {
        return le->n_key == 3;
    }
    if (le->key[1] != '[') {
        return true;
    }
    unsigned char c = (unsigned char)le->key[le->n_key - 1];
    return le->n_key > 2 && c >= 0x40 && c <= 0x7E;
}

static enum edit_event key_enter(struct line_edit *le) {
    if (le->at > 0 && le->at == le->text.len && le->text.p[le->at - 1] == '\\') {
        le->text.p[le->at - 1] = '\n';
        return EDIT_NONE;
    }
    le->at = le->text.len;
    return EDIT_SUBMIT;
}

static enum edit_event key_control(struct line_edit *le, unsigned char c) {
    switch (c) {
    case '\r': return key_enter(le);
    case '\n': edit_insert(le, "\n", 1); break;
    case '\t': edit_insert(le, "\t", 1); break;
    case 0x01: le->at = line_start(le, le->at); break;
    case 0x02: le->at = char_prev(le, le->at); break;
    case 0x03:
        le->had_text = le->text.len > 0;
        line_edit_clear(le);
        return EDIT_INTERRUPT;
    case 0x04:
        if (le->text.len == 0) {
            return EDIT_END;
        }
        edit_delete(le, le->at, char_next(le, le->at));
        break;
    case 0x05: le->at = line_end(le, le->at); break;
    case 0x06: le->at = char_next(le, le->at); break;
    case 0x08:
    case 0x7F: edit_delete(le, char_prev(le, le->at), le->at); break;
    case 0x0B: edit_delete(le, le->at, line_end(le, le->at)); break;
    case 0x0E: edit_vertical(le, false); break;
    case 0x10: edit_vertical(le, true); break;
    case 0x15: edit_delete(le, line_start(le, le->at), le->at); break;
    case 0x17: edit_delete(le, word_prev(le, le->at), le->at); break;
    default: break;
    }
    return EDIT_NONE;
}

/* A byte of pasted text: everything goes in, except what would not be text. */
static void key_pasted(struct line_edit *le, char c) {
    if (c == '\r' || c == '\n') {
        bool crlf = c == '\n' && le->n_key == 1 && le->key[0] == '\r';
        le->n_key = 0;
        if (!crlf) {
            edit_insert(le, "\n", 1);
        }
        if (c == '\r') { /* remembered, so that the '\n' of a pair is not a second line */
            le->key[le->n_key++] = '\r';
        }
        return;
    }
    if (c == '\t' || (unsigned char)c >= 0x20) {
        edit_insert(le, &c, 1);
    }
    le->n_key = 0;
}

/* Bytes of one UTF-8 sequence are gathered in `key` first: the cursor never splits one. */
static void key_text(struct line_edit *le, char c) {
    le->key[le->n_key++] = c;
    if (utf8_pending(le->key, le->n_key) == le->n_key && le->n_key < 4) {
        return;
    }
    if (utf8_valid(le->key, le->n_key)) {
        edit_insert(le, le->key, le->n_key);
    } else {
        edit_insert(le, "\xEF\xBF\xBD", 3);
    }
    le->n_key = 0;
}

static enum edit_event feed_byte(struct line_edit *le, char c) {
    unsigned char u = (unsigned char)c;
    if (le->n_key > 0 && le->key[0] == ESC) {
        if (le->n_key == sizeof le->key) { /* no key is this long: drop it */
            le->n_key = 0;
            return EDIT_NONE;
        }
        le->key[le->n_key++] = c;
        if (!key_is_whole(le)) {
            return EDIT_NONE;
        }
        if (!le->pasting) {
            key_escape(le);
        } else if (str_is(str_of(le->key + 1, le->n_key - 1), "[201~")) {
            le->pasting = false;
        }
        le->n_key = 0;
        return EDIT_NONE;
    }
    if (u == ESC) {
        le->key[0] = c;
        le->n_key = 1;
        return EDIT_NONE;
    }
    if (u >= 0x80) {
        if (le->n_key == 1 && le->key[0] == '\r') {
            le->n_key = 0;
        }
        key_text(le, c);
        return EDIT_NONE;
    }
    if (le->pasting) {
        key_pasted(le, c);
        return EDIT_NONE;
    }
    le->n_key = 0;
    if (u >= 0x20 && u != 0x7F) {
        edit_insert(le, &c, 1);
        return EDIT_NONE;
    }
    return key_control(le, u);
}

enum edit_event line_edit_feed(struct line_edit *le, const char *p, size_t n, size_t *used) {
    enum edit_event ev = EDIT_NONE;
    size_t i = 0;
    while (i < n && ev == EDIT_NONE) {
        ev = feed_byte(le, p[i++]);
    }
    *used = i;
    return ev;
}

/* ---- drawing -------------------------------------------------------------------------------- */

/* Walks the rows of prompt and text; what lies in rows [top, bottom) is written to `out`. */
struct pen {
    struct buf *out;
    int columns, row, col;
    int top, bottom;
};

static void pen_break(struct pen *p) {
    p->row++;
    p->col = 0;
    if (p->out && p->row > p->top && p->row < p->bottom) {
        buf_puts(p->out, "\r\n");
    }
}

static void pen_put(struct pen *p, const char *s, size_t n, int width) {
    if (p->col + width > p->columns) {
        pen_break(p);
    }
    if (p->out && p->row >= p->top && p->row < p->bottom) {
        buf_put(p->out, s, n);
    }
    p->col += width;
}

static void pen_text(struct pen *p, const char *s, size_t n) {
    size_t i = 0;
    while (i < n) {
        uint32_t cp;
        int k = utf8_decode(s + i, n - i, &cp);
        size_t len = (size_t)(k < 0 ? -k : k);
        if (cp == '\n') {
            pen_break(p);
            pen_put(p, "  ", 2, 2);
        } else if (cp == '\t') {
            pen_put(p, "    ", 4, 4);
        } else if (cp < 0x20 || (cp >= 0x7F && cp < 0xA0)) {
            char caret[2] = {'^', (char)('@' + (cp & 0x1F))};
            pen_put(p, caret, 2, 2);
        } else if (k < 0) {
            pen_put(p, "\xEF\xBF\xBD", 3, 1);
        } else {
            pen_put(p, s + i, len, char_width(cp));
        }
        i += len;
    }
}

/* Everything, or (upto_cursor) as far as the cursor; a cursor past the last column is on the next
 * row. */
static void pen_run(struct pen *p, const struct line_edit *le, const char *prompt, size_t upto) {
    p->row = p->col = 0;
    pen_text(p, prompt, strlen(prompt));
    pen_text(p, le->text.p, upto);
    if (p->col >= p->columns) {
        pen_break(p);
    }
}

void line_edit_draw(struct line_edit *le, const char *prompt, int columns, bool last,
                    struct buf *out) {
    struct pen p = {.columns = columns < 8 ? 8 : columns};
    pen_run(&p, le, prompt, le->at);
    int row = p.row, col = p.col;

    p.top = last || row < ROWS_SHOWN ? 0 : row - ROWS_SHOWN + 1;
    p.bottom = last ? row + 1 + TEXT_MAX : p.top + ROWS_SHOWN;
    p.out = out;
    if (le->drawn_row > 0) {
        buf_printf(out, "\x1b[%dA", le->drawn_row);
    }
    buf_puts(out, "\r\x1b[J");
    pen_run(&p, le, prompt, le->text.len);
    if (last) {
        buf_puts(out, "\r\n");
        le->drawn_row = 0;
        return;
    }
    int bottom = p.row < p.bottom ? p.row : p.bottom - 1;
    if (bottom > row) {
        buf_printf(out, "\x1b[%dA", bottom - row);
    }
    buf_puts(out, "\r");
    if (col > 0) {
        buf_printf(out, "\x1b[%dC", col);
    }
    le->drawn_row = row - p.top;
}

/* ---- the loop ------------------------------------------------------------------------------- */

static enum err_code draw_now(struct line_edit *le, const char *prompt, bool last, struct err *e) {
    struct buf out;
    buf_init(&out, 8 * TEXT_MAX);
    line_edit_draw(le, prompt, os_terminal_width(1), last, &out);
    enum err_code rc = buf_check(&out, e);
    if (!rc) {
        rc = os_write_fd(1, out.p, out.len, e);
    }
    buf_fini(&out);
    return rc;
}

/* Bytes that arrive together are drawn once: a paste does not flicker. */
static enum err_code read_loop(struct line_edit *le, const char *prompt, const volatile int *stop,
                               enum edit_event *ev, struct err *e) {
    bool stale = true;
    for (;;) {
        if (le->in_at == le->n_in) {
            enum err_code rc = stale ? draw_now(le, prompt, false, e) : ERR_OK;
            if (rc) {
                return rc;
            }
            le->in_at = 0;
            rc = os_read_fd(0, le->in, sizeof le->in, &le->n_in, 200, e);
            if (rc == ERR_CANCELLED) { /* time is up, or a signal came */
                err_clear(e);
                le->n_in = 0;
                if (le->n_key == 1 && le->key[0] == ESC) {
                    le->n_key = 0; /* the Escape key itself */
                }
            } else if (rc) {
                return rc;
            } else if (le->n_in == 0) {
                *ev = EDIT_END;
                return ERR_OK;
            }
            stale = le->n_in > 0;
        }
        if (os_stopped(stop)) {
            *ev = EDIT_END;
            return ERR_OK;
        }
        size_t used;
        *ev = line_edit_feed(le, le->in + le->in_at, le->n_in - le->in_at, &used);
        le->in_at += used;
        if (*ev != EDIT_NONE) {
            return ERR_OK;
        }
    }
}

enum err_code line_edit_read(struct line_edit *le, const char *prompt, const volatile int *stop,
                             enum edit_event *ev, struct err *e) {
    enum err_code rc = os_terminal_raw(0, e);
    if (rc) {
        return rc;
    }
    le->drawn_row = 0;
    rc = os_write_fd(1, paste_on, sizeof paste_on - 1, e);
    if (!rc) {
        rc = read_loop(le, prompt, stop, ev, e);
    }
    if (!rc) {
        rc = draw_now(le, prompt, true, e);
    }
    if (!rc) {
        rc = os_write_fd(1, paste_off, sizeof paste_off - 1, e);
    }
    os_terminal_restore(0);
    return rc;
}
