/* http.h: requests to HTTP servers, several side by side: the one place that knows libcurl.
 *
 * Owns connections, TLS, proxies, redirects and the bound on bytes per second over all of them.
 * Refuses policy: what is asked for again, and when, is the caller's. libcurl is opened by
 * http_open and not before, so that the program runs where there is none, and so that whoever
 * looks for the door to the network finds one call.
 * Invariant: from https no redirect leads to http; the token goes to the origin that it is for,
 * over https, and nowhere else, and into no text.
 */
#ifndef IGN_NET_HTTP_H
#define IGN_NET_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct http_opts {
    const char *proxy;     /* "http://HOST:PORT"; NULL: as the environment says */
    const char *ca_file;   /* certificates in PEM to believe; NULL: the system's */
    const char *pin;       /* "sha256//BASE64[;...]": public keys; NULL: any certified one */
    const char *token;     /* a bearer's; NULL: none */
    const char *token_url; /* to whose origin it goes */
    uint64_t rate;         /* bytes per second of all requests together; 0: no bound */
    double stall;          /* a request that brings almost nothing for so many seconds is broken */
    const volatile int *stop; /* not 0: http_step ends with ERR_CANCELLED; may be NULL */
};

struct http;

/* ERR_NOTFOUND where there is no libcurl (the hint says what to install); ERR_USAGE for a token
 * without https; ERR_NOMEM. Strings are borrowed. */
enum err_code http_open(struct http **h, const struct http_opts *o, struct err *e);
void http_close(struct http *h); /* NULL is fine */

/* Whether a text is an address that can be asked: http or https, a host, no name or password. */
bool http_is_url(const char *text);
/* ERR_USAGE with the reason, for one that a user gave. */
enum err_code http_check_url(struct http *h, const char *url, struct err *e);

#define HTTP_UNKNOWN UINT64_MAX
enum { HTTP_TEXT = 200, HTTP_URL = 4096 };

/* What an answer says of itself. */
struct http_head {
    int status;               /* 0: none has come */
    uint64_t length;          /* Content-Length */
    uint64_t from, to, total; /* Content-Range: first, last, of all */
    char etag[HTTP_TEXT];     /* with its quotes; "" */
    char modified[HTTP_TEXT]; /* Last-Modified; "" */
    char sha256[65];          /* of the whole file, as this server or one that led to it says; "" */
    double retry_after;       /* seconds; below 0: not said */
    bool packed;              /* Content-Encoding: gzip or the like, which nobody asked for */
};

enum http_end {
    HTTP_RUNNING,
    HTTP_WHOLE,   /* the answer has come to its end */
    HTTP_ENOUGH,  /* `begin` or `take` has ended it */
    HTTP_BROKEN,  /* may go well another time: no connection, a stall, an answer cut short */
    HTTP_REFUSED, /* will not: a certificate, a redirect that leads astray */
};

/* One request. It must stay where it is from http_start until it has ended or is dropped. */
struct http_get {
    /* The caller's. */
    const char *url;
    uint64_t from, n;     /* bytes to ask for; n 0: all, without a range */
    const char *if_range; /* they are wanted only of this version; NULL */
    /* When an answer that is no redirect begins, then for each piece of a 2xx; false ends it. */
    bool (*begin)(void *arg, const struct http_head *head);
    bool (*take)(void *arg, const void *p, size_t n);
    void *arg;
    /* What came of it. */
    enum http_end end;
    struct http_head head;
    char at[HTTP_URL]; /* the address asked last: `url`, or where redirects have led */
    struct err why;    /* of HTTP_BROKEN and HTTP_REFUSED */
    /* http.c's own. */
    struct http *http;
    void *easy;
    void *headers;
    int hops;
    size_t passed; /* bytes of a redirect's page, which nobody reads, */
    size_t heads;  /* and of headers */
    bool begun;
    char error[256]; /* CURL_ERROR_SIZE */
};

enum err_code http_start(struct http *h, struct http_get *g, struct err *e);
/* Moves all requests on, waiting at most `seconds` for something to happen. ERR_CANCELLED. */
enum err_code http_step(struct http *h, double seconds, struct err *e);
/* Forgets a request, whether it has ended or not; one that was never started is fine. */
void http_drop(struct http_get *g);

#endif
