/* fetch.h: one file from an HTTP server to the disk, however often the line breaks.
 *
 * Owns the file that grows and the note beside it, and what is asked of the server and when: parts
 * side by side, breaks, waits, servers that know no ranges, files that change underway. Every byte
 * is written as it comes. The file is always the beginning of the whole, and its hash is taken as
 * it grows; what other connections bring ahead of its turn waits in files of its own beside it. So
 * the lengths of the files are all there is to know after a kill. Invariant: a file has its name
 * only once every byte has come and its hash is the one wanted.
 */
#ifndef IGN_STORE_FETCH_H
#define IGN_STORE_FETCH_H

#include "net/http.h"
#include "store/store_part.h"

struct fetch {
    /* The caller's. */
    struct http *http;
    const struct depot *d;
    const char *url;
    const char *what;  /* for reports */
    const char *grow;  /* path of the file that grows; its folder is there */
    const char *note;  /* path of the note on it */
    int parts;         /* side by side, 1 to FETCH_PARTS */
    int retries;       /* failures one after another, without a byte, that are borne */
    char want[65];     /* SHA-256; "": not known */
    bool want_claimed; /* it is what the server said: a file that changes has another */
    bool gguf;         /* it must begin as a GGUF file does */
    uint64_t expect;   /* its size as the catalogue says it; 0: not known */
    /* What fetch_ask learns. */
    uint64_t bytes;   /* HTTP_UNKNOWN where neither the server nor `expect` says it */
    char claimed[65]; /* SHA-256 as the server says it; "" */
    uint64_t have;    /* on the disk already, from the beginning */
    uint64_t ahead;   /* on the disk, too, further on */
    /* fetch.c's own. */
    bool ranges;
    char version[HTTP_TEXT]; /* entity tag or date; "" */
    char at[HTTP_URL];       /* where redirects led last; "": nowhere */
    int failures;            /* since the last byte */
    double said;             /* until when it waits, as was said last, os_now */
    int restarts;
};

enum { FETCH_PARTS = 16 };

/* Asks for size, version and hash. ERR_NOTFOUND, ERR_IO, ERR_CANCELLED. */
enum err_code fetch_ask(struct fetch *f, struct err *e);
/* What of it is on the disk: f->have and f->ahead, once f->want is settled. */
void fetch_resume(struct fetch *f);
/* Fetches what is missing, and gives the file the name `to`; hex: its SHA-256. ERR_FORMAT for other
 * bytes than wanted: nothing is kept of them. After ERR_IO and ERR_CANCELLED what has come is kept,
 * where its size is known, and the next run goes on there. */
enum err_code fetch_run(struct fetch *f, const char *to, char hex[65], struct err *e);

#endif
