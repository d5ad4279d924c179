/* pull_folder.c: the files of a model from a folder of this machine: a stick, a share.
 *
 * Owns the copying. A file grows in the folder ".grow" as one from a server does, and a run that
 * was broken off is gone on with. Invariant: a file gets its name only with the hash wanted,
 * whoever wrote its beginning.
 */
#include <string.h>

#include "base/address.h"
#include "base/mem.h"
#include "base/os.h"
#include "observe/digest.h"
#include "store/pull_part.h"

enum { STEP = 4 << 20 };

/* Where a file is in the folder: as in a hub's repository, with or without that one's name, or as
 * in the store. */
static enum err_code find_in_folder(const struct pull *p, const struct pull_file *f, char **path,
                                    struct err *e) {
    const char *repository = p->source ? p->source->repository : "";
    const char *theirs = p->source ? f->from.path[0] : f->path;
    const char *top[] = {repository, "", "", ""};
    const char *tail[] = {theirs, theirs, f->path,
                          strrchr(f->path, '/') ? f->path + strlen(p->name) + 1 : f->path};
    *path = NULL;
    for (int i = 0; i < 4; i++) {
        enum err_code rc =
            store_path(path, e, "%s/%s%s%s", p->base, top[i], top[i][0] ? "/" : "", tail[i]);
        if (rc || os_file_exists(*path)) {
            return rc;
        }
        mem_free(*path);
        *path = NULL;
    }
    char shown[HTTP_TEXT]; /* it may be an address whose beginning was forgotten */
    err_set(e, ERR_NOTFOUND, "the folder does not have %s", theirs);
    err_where(e, "%s", address_shown(p->base, shown, sizeof shown));
    err_hint(e, "--from takes an existing folder, an address that begins with https://, or pip");
    return ERR_NOTFOUND;
}

/* A file that is copied. */
struct copying {
    const struct pull *p;
    const struct pull_file *f;
    struct os_map from;
    char *path; /* of what grows */
    struct os_grow *grow;
    struct digest *hash;
    char *step; /* [STEP] what is hashed is what is written, whatever happens to `from` */
};

/* How much of a file is there already: where somebody knows its hash, which will tell whether that
 * is its beginning. */
static uint64_t copy_kept(const struct copying *c) {
    struct os_file_info info;
    bool fits = c->f->want[0] && !os_is_link(c->path) && !os_file_info(c->path, &info, NULL) &&
                !info.is_folder && info.size <= c->from.size;
    return fits ? info.size : 0;
}

/* Hashes what an earlier run has left. */
static enum err_code copy_rehash(struct copying *c, uint64_t kept, struct err *e) {
    struct os_map m;
    enum err_code rc = os_map_open(&m, c->path, false, e);
    if (rc) {
        return rc;
    }
    if (m.size != kept) {
        rc = err_set(e, ERR_IO, "somebody has changed it");
    }
    for (uint64_t at = 0; at < kept && !rc; at += STEP) {
        size_t n = kept - at < STEP ? (size_t)(kept - at) : STEP;
        rc = depot_tell(c->p->d, c->f->path, at, c->from.size, e);
        digest_add(c->hash, m.data + at, n);
    }
    if (!rc && m.lost) {
        rc = err_set(e, ERR_IO, "what is there already cannot be read");
    }
    if (rc) {
        err_where(e, "%s", c->path);
    }
    os_map_close(&m);
    return rc;
}

/* Whether the stick has been pulled out: what is read of it then are zeros. */
static enum err_code copy_lost(const struct copying *c, struct err *e) {
    return c->from.lost ? err_set(e, ERR_IO, "it could not be read to its end") : ERR_OK;
}

/* Brings what is missing behind the first `kept` bytes; hex: the hash of all. */
static enum err_code copy_rest(struct copying *c, uint64_t kept, char hex[DIGEST_HEX],
                               struct err *e) {
    c->hash = digest_create();
    enum err_code rc = c->hash ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory for a hash");
    rc = rc ? rc : os_grow_open(&c->grow, c->path, kept, e);
    rc = rc || kept == 0 ? rc : copy_rehash(c, kept, e);
    for (uint64_t at = kept; at < c->from.size && !rc; at += STEP) {
        size_t n = c->from.size - at < STEP ? (size_t)(c->from.size - at) : STEP;
        rc = depot_tell(c->p->d, c->f->path, at, c->from.size, e);
        if (!rc) {
            memcpy(c->step, c->from.data + at, n);
            rc = copy_lost(c, e); /* before it is written: what grows is a beginning of the file */
        }
        if (!rc) {
            digest_add(c->hash, c->step, n);
            rc = os_grow_write(c->grow, c->step, n, e);
        }
    }
    rc = rc ? rc : os_grow_flush(c->grow, e);
    os_grow_close(c->grow);
    c->grow = NULL;
    if (c->hash) {
        digest_end(c->hash, hex);
        c->hash = NULL;
    }
    return rc;
}

/* What a broken run has left may be of another file, or what a power cut made of it. */
static enum err_code copy_whole(struct copying *c, uint64_t *kept, char hex[DIGEST_HEX],
                                struct err *e) {
    const char *want = c->f->want;
    *kept = copy_kept(c);
    enum err_code rc = copy_rest(c, *kept, hex, e);
    if (!rc && *kept > 0 && strcmp(hex, want) != 0) {
        *kept = 0;
        rc = copy_rest(c, 0, hex, e);
    }
    if (!rc && want[0] && strcmp(hex, want) != 0) {
        os_remove_file(c->path, NULL);
        rc = err_set(e, ERR_FORMAT, "its SHA-256 is %s, not %s: not kept", hex, want);
        err_hint(e, "the file was damaged on its way, or is another one: get it again");
    }
    return rc;
}

static enum err_code copy_file(struct pull *p, size_t i, const char *from, struct err *e) {
    struct pull_file *f = &p->file[i];
    struct copying c = {.p = p, .f = f, .step = mem_alloc(STEP, 1)};
    uint64_t kept = 0;
    enum err_code rc = c.step ? os_map_open(&c.from, from, false, e)
                              : err_set(e, ERR_NOMEM, "out of memory for a copy");
    if (!rc) {
        rc = store_path(&c.path, e, "%s/%zu.part", p->grow, i);
        rc = rc ? rc : copy_whole(&c, &kept, f->sha256, e);
        rc = rc ? rc : os_rename(c.path, f->to, e);
        if (rc && e && !e->where[0]) {
            err_where(e, "%s", from);
        }
        f->bytes = c.from.size;
        f->there = !rc;
        p->kept += f->there ? kept : 0;
        os_map_close(&c.from);
    }
    mem_free(c.path);
    mem_free(c.step);
    return rc;
}

/* A file, once it is known what it must be: its size, and whether it is there. */
static enum err_code copy_plan(struct pull *p, struct pull_file *f, const char *from,
                               struct err *e) {
    struct os_file_info info;
    enum err_code rc = os_file_info(from, &info, e);
    rc = rc ? rc : pull_want(p, f, "", e);
    if (rc) {
        return rc;
    }
    f->bytes = info.size;
    return pull_there(p, f, e);
}

/* Bytes of file i that an earlier run has not left: where nobody knows its hash, all of them. */
static enum err_code copy_left(const struct pull *p, size_t i, uint64_t *left, struct err *e) {
    const struct pull_file *f = &p->file[i];
    struct os_file_info info;
    char *path;
    enum err_code rc = store_path(&path, e, "%s/%zu.part", p->grow, i);
    uint64_t kept = !rc && f->want[0] && !os_file_info(path, &info, NULL) ? info.size : 0;
    *left = f->there || f->bytes <= kept ? 0 : f->bytes - kept;
    mem_free(path);
    return rc;
}

enum err_code pull_folder(struct pull *p, struct err *e) {
    uint64_t bytes = 0, left = 0;
    char **from = mem_zalloc(p->n, sizeof *from);
    enum err_code rc =
        from ? os_mkdirs(p->grow, e) : err_set(e, ERR_NOMEM, "out of memory for a pull");
    for (size_t i = 0; i < p->n && !rc; i++) {
        rc = find_in_folder(p, &p->file[i], &from[i], e);
        rc = rc ? rc : copy_plan(p, &p->file[i], from[i], e);
    }
    rc = rc ? rc : pull_twins(p, e);
    for (size_t i = 0; i < p->n && !rc; i++) {
        rc = copy_left(p, i, &left, e);
        bytes = left > UINT64_MAX - bytes ? UINT64_MAX : bytes + left;
    }
    rc = rc ? rc : room_check(p->d->dir, bytes, e);
    for (size_t i = 0; i < p->n && !rc; i++) {
        rc = p->file[i].there ? ERR_OK : copy_file(p, i, from[i], e);
    }
    for (size_t i = 0; i < p->n && from; i++) {
        mem_free(from[i]);
    }
    mem_free(from);
    return rc;
}
