/* test_line_edit.c: keys in, text and pictures out, without a terminal.
 *
 * A small screen (rows of cells, cursor) plays the terminal, so that what is drawn is checked as
 * a person would see it, wide characters and wrapped rows included.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "cli/char_width.h"
#include "cli/line_edit.h"

/* ---- the screen ------------------------------------------------------------------------------ */

enum { ROWS = 64, COLS = 20 };

struct screen {
    char cell[ROWS][COLS][8]; /* one character each; "" behind a wide one */
    int row, col;
};

static void screen_clear_below(struct screen *s) {
    for (int c = s->col; c < COLS; c++) {
        strcpy(s->cell[s->row][c], " ");
    }
    for (int r = s->row + 1; r < ROWS; r++) {
        for (int c = 0; c < COLS; c++) {
            strcpy(s->cell[r][c], " ");
        }
    }
}

static void screen_init(struct screen *s) {
    memset(s, 0, sizeof *s);
    screen_clear_below(s);
}

static void screen_write(struct screen *s, const char *p, size_t n) {
    size_t i = 0;
    while (i < n) {
        if (p[i] == '\r') {
            s->col = 0;
            i++;
        } else if (p[i] == '\n') {
            s->row++;
            i++;
        } else if (p[i] == 0x1B) {
            assert_int_equal(p[i + 1], '[');
            char *end;
            long k = strtol(p + i + 2, &end, 10);
            s->row -= *end == 'A' ? (int)k : 0;
            s->col += *end == 'C' ? (int)k : 0;
            if (*end == 'J') {
                screen_clear_below(s);
            }
            i = (size_t)(end - p) + 1;
        } else {
            uint32_t cp;
            int k = utf8_decode(p + i, n - i, &cp), w;
            assert_true(k > 0);
            w = char_width(cp);
            assert_true(s->col + w <= COLS); /* the editor wraps, never the terminal */
            if (w == 0) {
                strncat(s->cell[s->row][s->col - 1], p + i, (size_t)k);
            } else {
                memcpy(s->cell[s->row][s->col], p + i, (size_t)k);
                s->cell[s->row][s->col][k] = 0;
            }
            if (w == 2) {
                s->cell[s->row][s->col + 1][0] = 0;
            }
            s->col += w;
            i += (size_t)k;
        }
        assert_in_range(s->row, 0, ROWS - 1);
    }
}

static void assert_row(const struct screen *s, int row, const char *want) {
    char got[COLS * 8] = "";
    for (int c = 0; c < COLS; c++) {
        strcat(got, s->cell[row][c]);
    }
    size_t n = strlen(got);
    while (n > 0 && got[n - 1] == ' ') {
        got[--n] = 0;
    }
    assert_string_equal(got, want);
}

static void draw(struct line_edit *le, struct screen *s, bool last) {
    struct buf out;
    buf_init(&out, 1 << 20);
    line_edit_draw(le, "> ", COLS, last, &out);
    assert_false(out.failed);
    screen_write(s, out.p, out.len);
    buf_fini(&out);
}

/* ---- helpers ----------------------------------------------------------------------------------
 */

static enum edit_event type(struct line_edit *le, const char *keys) {
    size_t used;
    enum edit_event ev = line_edit_feed(le, keys, strlen(keys), &used);
    assert_true(ev != EDIT_NONE || used == strlen(keys));
    return ev;
}

static void assert_text(const struct line_edit *le, const char *want, size_t at) {
    assert_string_equal(le->text.p ? le->text.p : "", want);
    assert_int_equal(le->at, at);
}

/* Types keys into an empty editor and compares text and cursor. */
static void check(const char *keys, const char *want, size_t at) {
    struct line_edit le;
    line_edit_init(&le);
    type(&le, keys);
    assert_text(&le, want, at);
    line_edit_fini(&le);
}

#define UP       "\x1b[A"
#define DOWN     "\x1b[B"
#define RIGHT    "\x1b[C"
#define LEFT     "\x1b[D"
#define PASTE(s) "\x1b[200~" s "\x1b[201~"

/* ---- tests ------------------------------------------------------------------------------------
 */

static void test_editing(void **state) {
    (void)state;
    check("hello", "hello", 5);
    check("hello\x7f\x08", "hel", 3);
    check("ac" LEFT "b", "abc", 2);
    check("bc\x01"
          "a\x05"
          "d",
          "abcd", 4);
    check("bc\x1b[Ha\x1b[Fd", "abcd", 4);
    check("bc\x1b[1~a\x1b[4~d", "abcd", 4);
    check("one two three\x17", "one two ", 8);
    check("one two three\x1b\x7f\x1b\x7f", "one ", 4);
    check("one two" LEFT LEFT LEFT "\x0b", "one ", 4);
    check("one two" LEFT LEFT LEFT "\x15", "two", 0);
    check("abc\x01\x04\x1b[3~", "c", 0);
    check("one two\x1b[1;5D\x1b[1;5D!", "!one two", 1);
    check("one two\x01\x1b"
          "f!",
          "one! two", 4);
    check(LEFT RIGHT UP DOWN "\x7f\x04", "", 0);
}

static void test_utf8(void **state) {
    (void)state;
    check("a\xC3\xA9z" LEFT "\x7f", "az", 1);
    check("\xE6\x97\xA5\xE6\x9C\xAC" LEFT "x", "\xE6\x97\xA5x\xE6\x9C\xAC", 4);
    /* An accent goes with its letter. */
    check("e\xCC\x81" LEFT "x", "xe\xCC\x81", 1);
    check("ae\xCC\x81\x7f", "a", 1);
    /* Broken bytes become U+FFFD, each on its own. */
    check("\xFF", "\xEF\xBF\xBD", 3);
    check("\x80z", "\xEF\xBF\xBDz", 4);

    /* Every way to cut the stream into reads gives the same text. */
    static const char keys[] = "\xF0\x9F\x91\xB7" LEFT "\xE2\x82\xAC" PASTE("p\r\nq") "\x1b[3~!";
    for (size_t cut = 0; cut < sizeof keys; cut++) {
        struct line_edit le;
        size_t used;
        line_edit_init(&le);
        line_edit_feed(&le, keys, cut, &used);
        line_edit_feed(&le, keys + cut, sizeof keys - 1 - cut, &used);
        assert_text(&le, "\xE2\x82\xACp\nq!", 7);
        line_edit_fini(&le);
    }
}

static void test_lines(void **state) {
    (void)state;
    check("one\x1b\rtwo", "one\ntwo", 7);
    check("one\ntwo", "one\ntwo", 7);
    check("one\\\rtwo", "one\ntwo", 7);
    check(PASTE("def f():\r\treturn 1\r\n\rx"), "def f():\n\treturn 1\n\nx", 21);
    check(PASTE("a\x03\x04\x1b[A\x01z"), "az", 2);
}

static void test_vertical(void **state) {
    (void)state;
    check("abcd\nef\nghij" UP "!", "abcd\nef!\nghij", 8);
    check("abcd\nef\nghij" UP UP "!", "ab!cd\nef\nghij", 3);
    check("ab\ncdef" UP DOWN "!", "ab\ncd!ef", 6);
}

static void test_events(void **state) {
    (void)state;
    struct line_edit le;
    size_t used;
    line_edit_init(&le);
    assert_int_equal(line_edit_feed(&le, "hi\rmore", 7, &used), EDIT_SUBMIT);
    assert_int_equal(used, 3);
    assert_text(&le, "hi", 2);
    line_edit_clear(&le);
    assert_int_equal(type(&le, "abc\x03"), EDIT_INTERRUPT);
    assert_true(le.had_text);
    assert_text(&le, "", 0);
    assert_int_equal(type(&le, "\x03"), EDIT_INTERRUPT);
    assert_false(le.had_text);
    assert_int_equal(type(&le, "\x04"), EDIT_END);
    line_edit_fini(&le);
}

static void test_history(void **state) {
    (void)state;
    struct line_edit le;
    line_edit_init(&le);
    line_edit_remember(&le, str_c("first"));
    line_edit_remember(&le, str_c("second"));
    line_edit_remember(&le, str_c("second")); /* not twice */
    type(&le, "draft" UP);
    assert_text(&le, "second", 6);
    type(&le, UP UP);
    assert_text(&le, "first", 5);
    type(&le, DOWN DOWN DOWN);
    assert_text(&le, "draft", 5);
    line_edit_clear(&le);
    for (int i = 0; i < LINE_EDIT_HISTORY + 10; i++) {
        char line[16];
        snprintf(line, sizeof line, "n%d", i);
        line_edit_remember(&le, str_c(line));
    }
    assert_int_equal(le.n_history, LINE_EDIT_HISTORY);
    assert_string_equal(le.history[0], "n10");
    line_edit_fini(&le);
    assert_int_equal(mem_live(), 0);
}

static void test_drawing(void **state) {
    (void)state;
    struct line_edit le;
    static struct screen s;
    screen_init(&s);
    line_edit_init(&le);
    type(&le, "abc" LEFT);
    draw(&le, &s, false);
    assert_row(&s, 0, "> abc");
    assert_int_equal(s.col, 4);

    /* 2 + 18 characters fill the row: the cursor waits on the next. */
    type(&le, "\x05"
              "defghijklmnopqr");
    draw(&le, &s, false);
    assert_row(&s, 0, "> abcdefghijklmnopqr");
    assert_int_equal(s.row, 1);
    assert_int_equal(s.col, 0);
    type(&le, "stu\x01");
    draw(&le, &s, false);
    assert_row(&s, 1, "stu");
    assert_int_equal(s.row, 0);
    assert_int_equal(s.col, 2);
    type(&le, "\x0b");
    draw(&le, &s, false);
    assert_row(&s, 0, ">");
    assert_row(&s, 1, "");

    /* A wide character does not fit in the last column. */
    type(&le, "12345678901234567\xE6\x97\xA5");
    draw(&le, &s, false);
    assert_row(&s, 0, "> 12345678901234567");
    assert_row(&s, 1, "\xE6\x97\xA5");
    assert_int_equal(s.col, 2);
    type(&le, "\x15"
              "e\xCC\x81\tx\ny");
    draw(&le, &s, false);
    assert_row(&s, 0, "> e\xCC\x81    x");
    assert_row(&s, 1, "  y");
    draw(&le, &s, true);
    assert_int_equal(s.row, 2);
    line_edit_fini(&le);
}

/* A long text shows the rows around the cursor, and all of them when it is sent. */
static void test_window(void **state) {
    (void)state;
    struct line_edit le;
    static struct screen s;
    screen_init(&s);
    line_edit_init(&le);
    for (int i = 0; i < 30; i++) {
        char line[16];
        snprintf(line, sizeof line, "%sline %d", i ? "\n" : "", i);
        type(&le, line);
        draw(&le, &s, false);
    }
    assert_row(&s, s.row, "  line 29");
    assert_int_equal(s.row, 11);
    assert_row(&s, 0, "  line 18");
    for (int i = 0; i < 29; i++) {
        type(&le, UP);
        draw(&le, &s, false);
    }
    assert_int_equal(s.row, 0);
    assert_row(&s, 0, "> line 0");
    assert_row(&s, 11, "  line 11");
    assert_row(&s, 12, "");
    type(&le, "\r");
    draw(&le, &s, true);
    assert_row(&s, 0, "> line 0");
    assert_row(&s, 29, "  line 29");
    assert_int_equal(s.row, 30);
    line_edit_fini(&le);
}

static void test_width(void **state) {
    (void)state;
    assert_int_equal(char_width('a'), 1);
    assert_int_equal(char_width(0xE9), 1);
    assert_int_equal(char_width(0x0301), 0);
    assert_int_equal(char_width(0x200D), 0);
    assert_int_equal(char_width(0x65E5), 2);
    assert_int_equal(char_width(0xFF21), 2);
    assert_int_equal(char_width(0x1F477), 2);
    assert_int_equal(char_width(0x20000), 2);
    assert_int_equal(char_width(0x10FFFF), 1);
    assert_int_equal(char_width(0x1B), 2);
}

/* Any bytes: no crash, the cursor stays on a border, the text stays UTF-8. */
static void test_noise(void **state) {
    (void)state;
    struct line_edit le;
    static struct screen s;
    uint32_t x = 1;
    line_edit_init(&le);
    for (int i = 0; i < 20000; i++) {
        static const char pick[] =
            "ab\t\n\x1b[ABCD~123OH\x7f\x01\x05\x0b\x15\x17\xE6\x97\xA5\xCC\x81";
        size_t used;
        x = x * 1664525u + 1013904223u;
        char c = x >> 31 ? (char)(x >> 16) : pick[(x >> 16) % (sizeof pick - 1)];
        line_edit_feed(&le, &c, 1, &used);
        assert_true(le.at <= le.text.len);
        if (le.text.len > 200) {
            line_edit_clear(&le);
        }
        if (i % 50 == 0 && le.text.len > 0) {
            assert_true(utf8_valid(le.text.p, le.text.len));
            assert_true(((unsigned char)le.text.p[le.at] & 0xC0) != 0x80);
            screen_init(&s);
            le.drawn_row = 0;
            draw(&le, &s, false);
        }
    }
    line_edit_fini(&le);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_editing), cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_lines),   cmocka_unit_test(test_vertical),
        cmocka_unit_test(test_events),  cmocka_unit_test(test_history),
        cmocka_unit_test(test_drawing), cmocka_unit_test(test_window),
        cmocka_unit_test(test_width),   cmocka_unit_test(test_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
