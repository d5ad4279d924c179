/* err.h: how every function of the library says that it failed.
 *
 * Owns the list of error codes and the three texts of an error: what went wrong, where (file,
 * offset, field), and what to do. Refuses to own output: only cli/ prints, only cli/ exits.
 * Invariant: a function that returns a code other than ERR_OK has filled its `struct err`, and
 * an `err` that was filled once is never filled again on the way up, only given a wider `where`.
 */
#ifndef IGN_BASE_ERR_H
#define IGN_BASE_ERR_H

#include <stdarg.h>
#include <stddef.h>

enum err_code {
    ERR_OK = 0,
    ERR_NOMEM,       /* an allocation failed */
    ERR_IO,          /* read, write, map, or the file changed underneath us */
    ERR_NOTFOUND,    /* model or file is not there */
    ERR_FORMAT,      /* a file, template or text breaks its own format */
    ERR_UNSUPPORTED, /* well-formed, but of a kind that this program does not know */
    ERR_USAGE,       /* wrong call or flag */
    ERR_RANGE,       /* a value out of its bounds */
    ERR_NOFIT,       /* would not fit in memory or context: refused before loading */
    ERR_DEVICE,      /* a back end failed, or produced numbers that are not finite */
    ERR_LIMIT,       /* a bound on steps, depth or bytes was reached by hostile input */
    ERR_CANCELLED,   /* the caller asked to stop */
    ERR_N
};

struct err {
    enum err_code code;
    char what[320];
    char where[320];
    char hint[192];
};

#if defined(__GNUC__)
#define IGN_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define IGN_PRINTF(fmt, args)
#endif

/* Fills `e` (if not NULL and still empty) and returns `code`, so that a caller may write
 * `return err_set(e, ERR_FORMAT, "...")`. Control characters in the text are escaped as \xNN:
 * names come from hostile files and go to terminals. */
enum err_code err_set(struct err *e, enum err_code code, const char *fmt, ...) IGN_PRINTF(3, 4);
#ifdef __clang_analyzer__ /* cannot see from outside that `code` comes back */
#define err_set(e, code, ...) (err_set(e, code, __VA_ARGS__), (code))
#endif

/* Puts a place in front of the `where` text: the file outside, the offset and field inside. */
void err_where(struct err *e, const char *fmt, ...) IGN_PRINTF(2, 3);

/* Says what to do; the first hint given is kept. */
void err_hint(struct err *e, const char *fmt, ...) IGN_PRINTF(2, 3);

void err_clear(struct err *e);

/* "WHAT (WHERE); WHAT TO DO", as one line in `out` [n]; always terminated. Returns `out`. */
const char *err_line(const struct err *e, char *out, size_t n);

/* A stable lower-case name ("format", "not_found"), for --json. */
const char *err_name(enum err_code code);

#endif
