/* toml.c: reading the subset, from left to right, in one pass and without recursion.
 *
 * Owns each refusal's words. Invariant: `at` never passes `end`, and every text that is kept is
 * shorter than the bytes that it was made of.
 */
#include "config/toml.h"

#include <string.h>

#include "base/utf8.h"

struct reader {
    struct toml *t;
    const char *start, *at, *end;
    const char *line_start;
    int line;
    struct toml_table *table;
    struct toml_table **last_table;
    struct toml_entry **last_entry;
    size_t n_entry;
    struct err *e;
};

#define BARE_KEY "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

static bool is_bare(char c) {
    return c && strchr(BARE_KEY, c);
}

/* Zero at the end; a zero byte of the file has been refused before. */
static char look(const struct reader *r) {
    return r->at < r->end ? *r->at : '\0';
}

static bool looking_at(const struct reader *r, const char *word) {
    size_t n = strlen(word);
    return (size_t)(r->end - r->at) >= n && memcmp(r->at, word, n) == 0;
}

/* The place of `at` in characters, for people. */
static int column_of(const struct reader *r, const char *at) {
    int column = 1;
    for (const char *p = r->line_start; p < at; p++) {
        column += ((unsigned char)*p & 0xC0) != 0x80;
    }
    return column;
}

static enum err_code fail_at(struct reader *r, const char *at, const char *what, const char *hint) {
    err_set(r->e, ERR_USAGE, "%s", what);
    err_where(r->e, "line %d, column %d", r->line, column_of(r, at));
    err_hint(r->e, "%s", hint);
    return ERR_USAGE;
}

static enum err_code unsupported(struct reader *r, const char *at, const char *what,
                                 const char *hint) {
    err_set(r->e, ERR_USAGE, "%s not supported here", what);
    err_where(r->e, "line %d, column %d", r->line, column_of(r, at));
    err_hint(r->e, "%s", hint);
    return ERR_USAGE;
}

static enum err_code no_memory(struct reader *r) {
    return err_set(r->e, ERR_NOMEM, "out of memory reading settings");
}

/* ---- blanks and lines ------------------------------------------------------------------- */

static void skip_blanks(struct reader *r) {
    while (look(r) == ' ' || look(r) == '\t') {
        r->at++;
    }
}

/* A comment up to its line's end, if one is here. */
static enum err_code skip_comment(struct reader *r) {
    if (look(r) != '#') {
        return ERR_OK;
    }
    for (; r->at < r->end && *r->at != '\n' && !looking_at(r, "\r\n"); r->at++) {
        if (((unsigned char)*r->at < 0x20 && *r->at != '\t') || *r->at == 0x7F) {
            return fail_at(r, r->at, "a control character in a comment", "take it out");
        }
    }
    return ERR_OK;
}

static bool skip_newline(struct reader *r) {
    size_t n = looking_at(r, "\r\n") ? 2 : look(r) == '\n';
    r->at += n;
    if (n) {
        r->line++;
        r->line_start = r->at;
    }
    return n > 0;
}

/* After a value or a [table]: nothing but a comment may follow on the line. */
static enum err_code end_line(struct reader *r) {
    skip_blanks(r);
    enum err_code rc = skip_comment(r);
    if (rc) {
        return rc;
    }
    if (r->at < r->end && !skip_newline(r)) {
        return fail_at(r, r->at, "something follows that does not belong to the line",
                       "begin a new line, or put # before a comment");
    }
    return ERR_OK;
}

/* ---- strings ---------------------------------------------------------------------------- */

static int hex_of(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* \uXXXX or \UXXXXXXXX: at the letter;. */
static enum err_code read_scalar(struct reader *r, char *out, size_t *n) {
    int digits = *r->at == 'u' ? 4 : 8;
    const char *at = r->at++;
    uint32_t cp = 0;
    for (int i = 0; i < digits; i++, r->at++) {
        int hex = hex_of(look(r));
        if (hex < 0) {
            return fail_at(r, at, "not as many hexadecimal digits as \\u or \\U needs",
                           "write \\u and four, or \\U and eight of them");
        }
        cp = cp << 4 | (uint32_t)hex;
    }
    if (cp == 0 || cp > 0x10FFFF || (cp >= 0xD800 && cp < 0xE000)) {
        return fail_at(r, at, "not the number of a character", "take it out");
    }
    *n = (size_t)utf8_encode(cp, out);
    return ERR_OK;
}

/* After a backslash. No escape is longer than what it stands for. */
static enum err_code read_escape(struct reader *r, char *out, size_t *n) {
    static const char letters[] = "btnfr\"\\", bytes[] = "\b\t\n\f\r\"\\";
    const char *letter = look(r) ? strchr(letters, look(r)) : NULL;
    if (look(r) == 'u' || look(r) == 'U') {
        return read_scalar(r, out, n);
    }
    if (!letter) {
        return fail_at(r, r->at - 1, "an unknown escape in a string",
                       "write \\\\ for a backslash, or put the string into ' '");
    }
    *out = bytes[letter - letters];
    *n = 1;
    r->at++;
    return ERR_OK;
}

/* How many bytes lie between the quote at `open` and the one that closes it, or the line's end. */
static size_t string_span(const struct reader *r, const char *open) {
    const char *p = open + 1;
    for (; p < r->end && *p != *open && *p != '\n'; p++) {
        p += *p == '\\' && *open == '"' && p + 1 < r->end && p[1] != '\n';
    }
    return (size_t)(p - open) - 1;
}

/* At a quote; *text is in the arena. */
static enum err_code read_string(struct reader *r, const char **text) {
    const char *open = r->at++;
    char quote = *open, *out = NULL;
    size_t n = 0;
    if (looking_at(r, quote == '"' ? "\"\"" : "''")) {
        return unsupported(r, open, "strings of several lines are",
                           "write one line, with \\n where a new one begins");
    }
    out = arena_alloc(&r->t->arena, string_span(r, open) + 1, 1);
    if (!out) {
        return no_memory(r);
    }
    while (look(r) != quote) {
        unsigned char c = (unsigned char)look(r);
        if (r->at >= r->end || c == '\n' || c == '\r') {
            return fail_at(r, open, "a string that does not end on its line",
                           "close it with the quote that opened it");
        }
        if ((c < 0x20 && c != '\t') || c == 0x7F) {
            return fail_at(r, r->at, "a control character in a string",
                           "write it in double quotes, as \\u00XX");
        }
        r->at++;
        size_t length = 1;
        if (c == '\\' && quote == '"') {
            enum err_code rc = read_escape(r, out + n, &length);
            if (rc) {
                return rc;
            }
        } else {
            out[n] = (char)c;
        }
        n += length;
    }
    r->at++;
    out[n] = '\0';
    *text = out;
    return ERR_OK;
}

/* ---- values ----------------------------------------------------------------------------- */

static size_t count_digits(const char *p) {
    return strspn(p, "0123456789");
}

/* "0.5" or "-12e3" as TOML spells numbers; NULL, or what is wrong with it. */
static const char *number_fault(const char *word, bool *is_real) {
    const char *p = word + (*word == '-' || *word == '+');
    size_t n = count_digits(p);
    *is_real = false;
    if (n == 0 || (n > 1 && *p == '0')) {
        return n ? "a number that begins with 0" : "not a value";
    }
    p += n;
    if (*p == '.') {
        *is_real = true;
        n = count_digits(++p);
        if (n == 0) {
            return "a number without a digit behind its point";
        }
        p += n;
    }
    if (*p == 'e' || *p == 'E') {
        *is_real = true;
        p += 1 + (p[1] == '-' || p[1] == '+');
        n = count_digits(p);
        if (n == 0) {
            return "a number without a digit in its exponent";
        }
        p += n;
    }
    return *p ? "not a value" : NULL;
}

/* What TOML has and this subset has not, as it would stand in place of a value. */
static const char *foreign_value(const char *word) {
    size_t sign = *word == '-' || *word == '+';
    size_t digits = count_digits(word);
    if (strcmp(word + sign, "inf") == 0 || strcmp(word + sign, "nan") == 0) {
        return "inf and nan are";
    }
    if (word[0] == '0' && word[1] && strchr("xob", word[1])) {
        return "hexadecimal, octal and binary numbers are";
    }
    if (digits && word[digits] == '_') {
        return "_ between digits is";
    }
    if ((digits == 4 && word[4] == '-') || (digits == 2 && word[2] == ':')) {
        return "dates and times are";
    }
    return NULL;
}

/* A value without quotes: a number, true, false, or an error that says what it is. */
static enum err_code read_word(struct reader *r, struct toml_entry *entry) {
    const char *start = r->at;
    while (is_bare(look(r)) || (look(r) && strchr("+.:", look(r)))) {
        r->at++;
    }
    char *word = arena_strdup(&r->t->arena, start, (size_t)(r->at - start));
    if (!word) {
        return no_memory(r);
    }
    entry->texts[0] = word;
    if (strcmp(word, "true") == 0 || strcmp(word, "false") == 0) {
        entry->kind = TOML_BOOL;
        return ERR_OK;
    }
    const char *foreign = foreign_value(word);
    if (foreign) {
        return unsupported(r, start, foreign, "write a plain decimal number or a string");
    }
    bool is_real = false;
    const char *fault = number_fault(word, &is_real);
    if (fault) {
        return fail_at(r, start, fault,
                       "a value is \"text\", a number, true, false, or [\"a\", \"b\"]");
    }
    entry->kind = is_real ? TOML_REAL : TOML_INTEGER;
    entry->texts[0] += *word == '+'; /* what a flag takes has no plus */
    return ERR_OK;
}

/* Blanks, comments and new lines between the elements of an array. */
static enum err_code skip_gap(struct reader *r) {
    enum err_code rc;
    do {
        skip_blanks(r);
        rc = skip_comment(r);
    } while (!rc && skip_newline(r));
    return rc;
}

/* Makes room for one more text; the array doubles, and the arena keeps what it was. */
static enum err_code array_grow(struct reader *r, struct toml_entry *entry, size_t *room) {
    if (entry->n_text < *room) {
        return ERR_OK;
    }
    *room = *room ? 2 * *room : 4;
    const char **texts = arena_alloc(&r->t->arena, *room, sizeof *texts);
    if (!texts) {
        return no_memory(r);
    }
    for (size_t i = 0; i < entry->n_text; i++) {
        texts[i] = entry->texts[i];
    }
    entry->texts = texts;
    return ERR_OK;
}

static enum err_code read_element(struct reader *r, struct toml_entry *entry, size_t *room) {
    if (look(r) != '"' && look(r) != '\'') {
        return unsupported(r, r->at, "arrays of anything but strings are",
                           "put each element into quotes, with commas between");
    }
    if (entry->n_text == TOML_ENTRIES_MAX) {
        return fail_at(r, r->at, "too many strings in an array", "take fewer than 1000");
    }
    enum err_code rc = array_grow(r, entry, room);
    rc = rc ? rc : read_string(r, &entry->texts[entry->n_text]);
    entry->n_text += !rc;
    return rc;
}

/* Strings with commas between, on any number of lines; the last may have a comma too. */
static enum err_code read_array(struct reader *r, struct toml_entry *entry) {
    size_t room = 1;
    entry->kind = TOML_ARRAY;
    entry->n_text = 0;
    bool more = true;
    r->at++;
    for (;;) {
        enum err_code rc = skip_gap(r);
        if (rc) {
            return rc;
        }
        if (look(r) == ']') {
            r->at++;
            return ERR_OK;
        }
        if (r->at >= r->end) {
            return fail_at(r, r->at, "an array that does not end", "close it with ]");
        }
        if (!more) {
            return fail_at(r, r->at, "no comma between two elements", "put one there");
        }
        rc = read_element(r, entry, &room);
        rc = rc ? rc : skip_gap(r);
        if (rc) {
            return rc;
        }
        more = look(r) == ',';
        r->at += more;
    }
}

static enum err_code read_value(struct reader *r, struct toml_entry *entry) {
    switch (look(r)) {
    case '"':
    case '\'': entry->kind = TOML_STRING; return read_string(r, &entry->texts[0]);
    case '[': return read_array(r, entry);
    case '{':
        return unsupported(r, r->at, "tables in braces are",
                           "write a line for each key, below a [verb] of their own");
    default: return read_word(r, entry);
    }
}

/* ---- lines ------------------------------------------------------------------------------ */

/* The bare word here, in the arena; `what`: a key, a table. */
static enum err_code read_name(struct reader *r, const char **name) {
    const char *start = r->at;
    if (look(r) == '"' || look(r) == '\'') {
        return unsupported(r, start, "names in quotes are", "write the name without them");
    }
    while (is_bare(look(r))) {
        r->at++;
    }
    if (r->at == start) {
        return fail_at(r, start, "no name where one must be",
                       "a line is: key = value, or [verb], or # and a comment");
    }
    const char *end = r->at;
    skip_blanks(r);
    if (look(r) == '.') {
        return unsupported(r, start, "names with dots are",
                           "write the keys of a verb below its [verb]");
    }
    *name = arena_strdup(&r->t->arena, start, (size_t)(end - start));
    return *name ? ERR_OK : no_memory(r);
}

static enum err_code count_entry(struct reader *r) {
    if (++r->n_entry > TOML_ENTRIES_MAX) {
        err_set(r->e, ERR_LIMIT, "more than %d settings", TOML_ENTRIES_MAX);
        err_where(r->e, "line %d", r->line);
        err_hint(r->e, "take some out: each may be there once for every verb, and once for each");
        return ERR_LIMIT;
    }
    return ERR_OK;
}

static enum err_code add_table(struct reader *r, const char *name) {
    struct toml_table *table = arena_zalloc(&r->t->arena, 1, sizeof *table);
    if (!table) {
        return no_memory(r);
    }
    *table = (struct toml_table){.name = name, .line = *name ? r->line : 0};
    *r->last_table = table;
    r->last_table = &table->next;
    r->table = table;
    return ERR_OK;
}

/* TOML has one name for a key and a table in front of which nothing stands. */
static enum err_code check_key_and_table(struct reader *r, const char *name) {
    for (const struct toml_entry *o = r->t->entries; o; o = o->next) {
        if (!o->table->name[0] && strcmp(o->key, name) == 0) {
            err_set(r->e, ERR_USAGE, "[%s] is a key in line %d already", name, o->line);
            err_where(r->e, "line %d", r->line);
            err_hint(r->e, "put the key below the [verb] that it is for, or use two files");
            return ERR_USAGE;
        }
    }
    return ERR_OK;
}

static enum err_code read_table(struct reader *r) {
    const char *open = r->at++, *name = NULL;
    if (look(r) == '[') {
        return unsupported(r, open, "arrays of tables are", "write [verb]");
    }
    skip_blanks(r);
    enum err_code rc = read_name(r, &name);
    if (rc) {
        return rc;
    }
    if (look(r) != ']') {
        return fail_at(r, r->at, "no ] behind the name of a table", "write [verb]");
    }
    r->at++;
    for (const struct toml_table *t = r->t->tables; t; t = t->next) {
        if (strcmp(t->name, name) == 0) {
            err_set(r->e, ERR_USAGE, "[%s] is there twice, first in line %d", name, t->line);
            err_where(r->e, "line %d", r->line);
            err_hint(r->e, "put all of its keys below the first");
            return ERR_USAGE;
        }
    }
    rc = count_entry(r);
    rc = rc ? rc : check_key_and_table(r, name);
    rc = rc ? rc : add_table(r, name);
    return rc ? rc : end_line(r);
}

static enum err_code check_twice(struct reader *r, const struct toml_entry *entry) {
    for (const struct toml_entry *o = r->t->entries; o; o = o->next) {
        if (o->table == entry->table && strcmp(o->key, entry->key) == 0) {
            err_set(r->e, ERR_USAGE, "%s is there twice, first in line %d", entry->key, o->line);
            err_where(r->e, "line %d, column %d", entry->line, entry->column);
            err_hint(r->e, "take one of them out");
            return ERR_USAGE;
        }
    }
    return ERR_OK;
}

static enum err_code read_entry(struct reader *r) {
    struct toml_entry *entry = arena_zalloc(&r->t->arena, 1, sizeof *entry);
    if (!entry || !(entry->texts = arena_zalloc(&r->t->arena, 1, sizeof *entry->texts))) {
        return no_memory(r);
    }
    entry->table = r->table;
    entry->line = r->line;
    entry->column = column_of(r, r->at);
    entry->n_text = 1;
    enum err_code rc = count_entry(r);
    rc = rc ? rc : read_name(r, &entry->key);
    if (rc) {
        return rc;
    }
    if (look(r) != '=') {
        return fail_at(r, r->at, "no = behind a key", "a line is: key = value");
    }
    r->at++;
    skip_blanks(r);
    rc = check_twice(r, entry);
    rc = rc ? rc : read_value(r, entry);
    rc = rc ? rc : end_line(r);
    if (!rc) {
        *r->last_entry = entry;
        r->last_entry = &entry->next;
    }
    return rc;
}

/* ---- the whole -------------------------------------------------------------------------- */

/* Text, and not too much of it: then a zero byte can mean the end everywhere else. */
static enum err_code check_bytes(struct reader *r) {
    if ((size_t)(r->end - r->start) > TOML_BYTES_MAX) {
        err_set(r->e, ERR_LIMIT, "more than %zu bytes", TOML_BYTES_MAX);
        err_hint(r->e, "settings are a page of text; take another file");
        return ERR_LIMIT;
    }
    const char *line_start = r->start;
    for (const char *p = r->start; p < r->end;) {
        uint32_t cp;
        int n = utf8_decode(p, (size_t)(r->end - p), &cp);
        if (n < 0 || cp == 0) {
            r->line_start = line_start;
            return fail_at(r, p, n < 0 ? "bytes that are not UTF-8" : "a zero byte",
                           "save the file as plain text in UTF-8");
        }
        p += n;
        r->line += cp == '\n';
        line_start = cp == '\n' ? p : line_start;
    }
    r->line = 1;
    return ERR_OK;
}

static enum err_code read_lines(struct reader *r) {
    enum err_code rc = add_table(r, "");
    while (!rc && r->at < r->end) {
        skip_blanks(r);
        char c = look(r);
        if (c == '[') {
            rc = read_table(r);
        } else if (!c || strchr("#\r\n", c)) {
            rc = end_line(r);
        } else {
            rc = read_entry(r);
        }
    }
    return rc;
}

enum err_code toml_parse(struct toml *t, const char *p, size_t n, struct err *e) {
    p = n > 0 ? p : ""; /* an empty file may have no bytes to point to */
    struct reader r = {
        .t = t, .start = p, .at = p, .end = p + n, .line_start = p, .line = 1, .e = e};
    *t = (struct toml){0};
    arena_init(&t->arena, 64 * TOML_BYTES_MAX);
    r.last_table = &t->tables;
    r.last_entry = &t->entries;
    enum err_code rc = check_bytes(&r);
    if (!rc) {
        r.at += looking_at(&r, "\xEF\xBB\xBF") ? 3 : 0;
        r.line_start = r.at;
        rc = read_lines(&r);
    }
    if (rc) {
        toml_fini(t);
    }
    return rc;
}

void toml_fini(struct toml *t) {
    arena_fini(&t->arena);
    t->tables = NULL;
    t->entries = NULL;
}

void toml_put_string(struct buf *out, const char *z) {
    buf_putc(out, '"');
    for (; *z; z++) {
        unsigned char c = (unsigned char)*z;
        if (c == '"' || c == '\\') {
            buf_putc(out, '\\');
            buf_putc(out, *z);
        } else if (c < 0x20 || c == 0x7F) {
            buf_printf(out, c == '\n' ? "\\n" : c == '\t' ? "\\t" : "\\u%04X", c);
        } else {
            buf_putc(out, *z);
        }
    }
    buf_putc(out, '"');
}
