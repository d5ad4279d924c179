/* cli.c: the streams, the errors and the exit codes.
 *
 * Owns buffering of standard output: it is written when it is large or when somebody waits for it
 * (cli_flush). Refuses stdio's stdout, whose errors are easily lost.
 */
#include "cli/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "base/utf8.h"
#include "cli/error_table.h"

enum { OUT_AT_ONCE = 65536 };

/* ---- standard output ------------------------------------------------------------------------ */

enum err_code cli_flush(struct cli *c) {
    if (!c->out_code) {
        c->out_code = buf_check(&c->out, &c->out_err);
        if (!c->out_code && c->out.len > 0) {
            c->out_begun = true;
            c->out_code = os_write_fd(1, c->out.p, c->out.len, &c->out_err);
        }
        if (c->out_code) {
            err_where(&c->out_err, "standard output");
        }
    }
    buf_reset(&c->out);
    return c->out_code;
}

void cli_drop(struct cli *c) {
    buf_reset(&c->out);
}

void cli_put(struct cli *c, const void *p, size_t n) {
    if (c->out_code) {
        return;
    }
    buf_put(&c->out, p, n);
    if (c->out.len >= OUT_AT_ONCE) {
        cli_flush(c);
    }
}

void cli_puts(struct cli *c, const char *z) {
    cli_put(c, z, strlen(z));
}

void cli_printf(struct cli *c, const char *fmt, ...) {
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (n > 0) {
        cli_put(c, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
    }
}

/* What a terminal would obey: C0 but for tab and newline, DEL, and C1, which in UTF-8 is C2 80 to
 * C2 9F. */
void cli_put_text(struct cli *c, const char *p, size_t n) {
    if (!c->out_terminal) {
        cli_put(c, p, n);
        return;
    }
    size_t i = 0;
    while (i < n) {
        uint32_t cp;
        int k = utf8_decode(p + i, n - i, &cp);
        size_t len = (size_t)(k < 0 ? -k : k);
        if (k < 0) {
            cli_put(c, "\xEF\xBF\xBD", 3);
        } else if ((cp < 0x20 && cp != '\n' && cp != '\t') || (cp >= 0x7F && cp < 0xA0)) {
            cli_put(c, (char[]){'^', (char)(cp == 0x7F ? '?' : '@' + (cp & 0x1F))}, 2);
        } else {
            cli_put(c, p + i, len);
        }
        i += len;
    }
}

void cli_json_begin(struct cli *c, struct json_writer *w) {
    json_writer_init(w, &c->out);
    json_open(w, '{');
}

void cli_json_end(struct cli *c, struct json_writer *w) {
    json_close(w, '}');
    cli_puts(c, "\n");
}

void cli_put_answer(struct cli *c, struct str text) {
    if (!c->json) {
        cli_put_text(c, text.p, text.n);
        return;
    }
    struct json_writer w;
    cli_json_begin(c, &w);
    json_key(&w, "text");
    json_put_str(&w, text);
    cli_json_end(c, &w);
}

/* ---- standard error ------------------------------------------------------------------------- */

void cli_note(struct cli *c, const char *fmt, ...) {
    char text[896], line[1024];
    if (c->quiet) {
        return;
    }
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (log_is_json_here()) {
        log_line(LOG_INFO, "%s", text + (strncmp(text, "ign: ", 5) == 0 ? 5 : 0));
        return;
    }
    int n = snprintf(line, sizeof line, "%s%s%s\n", c->color ? "\x1b[2m" : "", text,
                     c->color ? "\x1b[0m" : "");
    os_write_fd(2, line, (size_t)n, NULL);
}

void cli_note_settings(struct cli *c) {
    char line[900];
    const struct err *broken = settings_error(&c->settings);
    if (broken) {
        cli_note(c, "ign: warning: %s", err_line(broken, line, sizeof line));
    }
}

/* {"error":{"code","message","hint"}}, in place of a result that will not come. */
static void fail_json(struct cli *c, enum err_code code, struct str message, struct str hint) {
    struct json_writer w;
    cli_drop(c);
    cli_json_begin(c, &w);
    json_key(&w, "error");
    json_open(&w, '{');
    json_key(&w, "code");
    json_put_z(&w, err_name(code));
    json_key(&w, "message");
    json_put_str(&w, message);
    json_key(&w, "hint");
    json_put_str(&w, hint);
    json_close(&w, '}');
    cli_json_end(c, &w);
    cli_flush(c);
}

/* WHAT (WHERE); WHAT TO DO: a message that names no place gets the verb for one. */
static int fail_line(struct cli *c, enum err_code code, struct str message, const char *hint) {
    char text[1000], line[1200];
    bool placed = message.n > 0 && message.p[message.n - 1] == ')';
    int n = snprintf(text, sizeof text, "%.*s%s%s%s", (int)message.n, message.p,
                     placed    ? ""
                     : c->verb ? " (ign "
                               : " (command line",
                     !placed && c->verb ? c->verb->args.name : "", placed ? "" : ")");
    hint = *hint ? hint : error_row(code)->hint;
    int n_line = snprintf(line, sizeof line, "%sign: error:%s %s; %s\n",
                          c->color ? "\x1b[1;31m" : "", c->color ? "\x1b[0m" : "", text, hint);
    if (log_is_json_here()) {
        log_line(LOG_ERROR, "%s; %s", text, hint);
    } else {
        os_write_fd(2, line, (size_t)n_line, NULL);
        log_copy(LOG_ERROR, "%s; %s", text, hint);
    }
    c->failure = code;
    if (c->json && !c->out_code) {
        fail_json(c, code, str_of(text, (size_t)n), str_c(hint));
    }
    return error_row(code)->exit;
}

int cli_fail(struct cli *c, const struct err *e) {
    struct err head = *e;
    char message[896];
    head.hint[0] = 0;
    err_line(&head, message, sizeof message);
    return fail_line(c, e->code, str_c(message), e->hint);
}

/* The line is already made; the hint is what follows the place, or else the last semicolon. */
int cli_fail_ign(struct cli *c, const ign_error *e) {
    const char *cut = strstr(e->text, "); ");
    size_t n = strlen(e->text);
    if (cut) {
        n = (size_t)(cut + 1 - e->text);
    } else {
        for (const char *p = strstr(e->text, "; "); p; p = strstr(p + 2, "; ")) {
            n = (size_t)(p - e->text);
        }
    }
    return fail_line(c, (enum err_code)e->code, str_of(e->text, n),
                     e->text[n] ? e->text + n + 2 : "");
}

int cli_fail_data(struct cli *c, struct err *e) {
    if (e->code == ERR_USAGE || e->code == ERR_RANGE) {
        e->code = ERR_FORMAT;
    }
    return cli_fail(c, e);
}

int cli_fail_data_ign(struct cli *c, ign_error *e) {
    if (e->code == IGN_USAGE || e->code == IGN_RANGE) {
        e->code = IGN_FORMAT;
    }
    return cli_fail_ign(c, e);
}

_Static_assert((int)IGN_CANCELLED == (int)ERR_CANCELLED && (int)IGN_NOFIT == (int)ERR_NOFIT,
               "the codes of ign.h are those of base/err.h");

/* ---- input ---------------------------------------------------------------------------------- */

/* The open descriptor that a path stands for: a shell's <(...) is /dev/fd/63. -1: a file's name. */
static int fd_of(const char *path) {
    static const char folder[] = "/dev/fd/";
    const char *number = path + sizeof folder - 1;
    if (strcmp(path, "-") == 0 || strcmp(path, "/dev/stdin") == 0) {
        return 0;
    }
    if (strncmp(path, folder, sizeof folder - 1) != 0 || !*number || strlen(number) > 6 ||
        number[strspn(number, "0123456789")]) {
        return -1;
    }
    return (int)strtol(number, NULL, 10);
}

static void where_fd(int fd, struct err *e) {
    if (fd == 0) {
        err_where(e, "standard input");
    } else {
        err_where(e, "/dev/fd/%d", fd);
    }
}

static enum err_code read_fd(int fd, size_t max, struct buf *b, struct err *e) {
    char piece[65536];
    size_t got = 0, sum = 0;
    do {
        enum err_code rc = os_read_fd(fd, piece, sizeof piece, &got, -1, e);
        if (rc) {
            where_fd(fd, e);
            return rc;
        }
        sum += got;
        if (sum > max) {
            err_set(e, ERR_LIMIT, "more than %zu bytes", max);
            where_fd(fd, e);
            return ERR_LIMIT;
        }
        buf_put(b, piece, got);
    } while (got > 0 && !b->failed);
    return buf_check(b, e);
}

enum err_code cli_read(const char *path, size_t max, struct buf *b, struct err *e) {
    int fd = fd_of(path);
    if (fd >= 0) {
        return read_fd(fd, max, b, e);
    }
    char *p = NULL;
    size_t n = 0;
    enum err_code rc = os_read_file(path, max, &p, &n, e);
    if (!rc) {
        buf_put(b, p, n);
        rc = buf_check(b, e);
    }
    mem_free(p);
    return rc;
}

static bool is_gap(char ch) {
    return ch == ' ' || ch == ',' || ch == '\n' || ch == '\t' || ch == '\r';
}

enum err_code cli_read_secret(const char *path, const char *what, size_t max, char **text,
                              size_t *n, struct err *e) {
    struct os_file_info info;
    *text = NULL;
    *n = 0;
    enum err_code rc = os_file_info(path, &info, e);
    if (!rc && info.shared) {
        rc = err_set(e, ERR_USAGE, "other users may read or write %s", what);
        err_where(e, "%s", path);
        err_hint(e, "take that from them: chmod 600");
    }
    rc = rc ? rc : os_read_file(path, max, text, n, e);
    if (!rc) {
        *n -= *n > 0 && (*text)[*n - 1] == '\n';
        *n -= *n > 0 && (*text)[*n - 1] == '\r';
        (*text)[*n] = '\0';
    }
    return rc;
}

enum err_code cli_parse_ids(struct str text, struct buf *ids, struct err *e) {
    size_t i = 0;
    for (;;) {
        while (i < text.n && is_gap(text.p[i])) {
            i++;
        }
        if (i == text.n) {
            return buf_check(ids, e);
        }
        int64_t v = 0;
        bool minus = text.p[i] == '-', bad = false;
        i += minus;
        bad = i == text.n || is_gap(text.p[i]);
        for (; i < text.n && !is_gap(text.p[i]); i++) {
            bad |= text.p[i] < '0' || text.p[i] > '9';
            v = v > INT32_MAX ? v : v * 10 + (text.p[i] - '0');
        }
        if (bad || minus || v > INT32_MAX) {
            err_set(e, bad ? ERR_USAGE : ERR_RANGE, "word %zu is not a token id",
                    ids->len / sizeof(int32_t) + 1);
            err_hint(e, "ids are numbers from 0, with blanks between");
            return e->code;
        }
        int32_t id = (int32_t)v;
        buf_put(ids, &id, sizeof id);
    }
}

enum err_code cli_read_ids(struct cli *c, struct buf *ids, struct err *e) {
    const char *arg = knobs_str(c->k, "ids");
    if (arg) {
        return cli_parse_ids(str_c(arg), ids, e);
    }
    struct buf text;
    buf_init(&text, (size_t)1 << 31);
    enum err_code rc = cli_read("-", (size_t)1 << 30, &text, e);
    if (!rc) {
        rc = cli_parse_ids(str_of(text.p, text.len), ids, e);
    }
    buf_fini(&text);
    return rc;
}

const char *cli_bytes(uint64_t bytes, char *out, size_t n) {
    static const char *const unit[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double v = (double)bytes;
    size_t u = 0;
    while (v >= 1024 && u + 1 < sizeof unit / sizeof *unit) {
        v /= 1024;
        u++;
    }
    snprintf(out, n,
             u == 0    ? "%.0f %s"
             : v < 10  ? "%.2f %s"
             : v < 100 ? "%.1f %s"
                       : "%.0f %s",
             v, unit[u]);
    return out;
}
