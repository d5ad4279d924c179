/* depot_list.c: what the store has, and whether it is what it was: see depot.h.
 *
 * Owns the state of a model, as its record and its bytes have it, and the folder "quarantine".
 * Reads for minutes without the store's lock, which is held to list and to move a broken model
 * away. Invariant: no model is moved away but with the bytes that were found to be wrong.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/utf8.h"
#include "observe/digest.h"
#include "store/store_part.h"

enum { READS_MOST = 3 }; /* of a model that changes underway */

/* ---- what is there --------------------------------------------------------------------------- */

void depot_models_init(struct buf *models) {
    buf_init(models, (size_t)1 << 26);
}

static struct depot_model *models_at(const struct buf *models, size_t *n) {
    *n = models->len / sizeof(struct depot_model);
    return (struct depot_model *)(void *)models->p;
}

void depot_models_fini(struct buf *models) {
    size_t n;
    struct depot_model *m = models_at(models, &n);
    for (size_t i = 0; i < n; i++) {
        mem_free(m[i].name);
    }
    buf_fini(models);
}

/* m->why from what went wrong, whole characters of it. */
static void why_set(struct depot_model *m, const char *what, const char *where) {
    char text[1024];
    snprintf(text, sizeof text, "%.500s%s%.500s", what, where[0] ? ": " : "", where);
    size_t n = strnlen(text, sizeof m->why - 1);
    while (n > 0 && !utf8_valid(text, n)) {
        n--;
    }
    memcpy(m->why, text, n);
    m->why[n] = '\0';
}

/* What the record of a model says of it. */
static enum err_code model_record(const struct depot *d, struct depot_model *m, struct err *e) {
    struct store_files recorded;
    struct err why = {0};
    size_t n;
    files_init(&recorded);
    enum err_code rc = record_read(d->dir, m->name, &recorded, &why);
    if (!rc) {
        const struct store_file *one = files_at(&recorded, &n);
        m->state = DEPOT_RECORDED;
        if (!m->folder && n == 1) {
            memcpy(m->sha256, one->sha256, sizeof m->sha256);
        }
    } else if (rc != ERR_NOTFOUND) {
        why_set(m, why.what, why.where);
    }
    files_fini(&recorded);
    return rc == ERR_NOMEM ? err_set(e, rc, "out of memory for a record") : ERR_OK;
}

/* All of m but its name: what lies in the store under that. */
static enum err_code model_look(const struct depot *d, struct depot_model *m, struct err *e) {
    struct store_files there;
    struct err why = {0};
    size_t n;
    *m = (struct depot_model){.state = DEPOT_UNRECORDED, .name = m->name};
    files_init(&there);
    enum err_code rc = files_list(&there, d->dir, m->name, m->name, &why);
    if (!rc && !model_name_is_plain(m->name, strlen(m->name))) {
        snprintf(m->why, sizeof m->why, "a name that cannot be kept on every machine");
    }
    if (rc == ERR_NOMEM) {
        err_set(e, rc, "out of memory for a list of models");
    } else if (rc) {
        m->folder = true;
        m->state = DEPOT_BROKEN_HERE;
        why_set(m, why.what, why.where);
        rc = ERR_OK;
    } else {
        const struct store_file *file = files_at(&there, &n);
        m->bytes = files_bytes(&there);
        m->n_file = n;
        m->folder = n != 1 || strcmp(file->path, m->name) != 0;
        rc = model_record(d, m, e);
    }
    files_fini(&there);
    return rc;
}

/* Adds a model that is there. */
static enum err_code model_add(const struct depot *d, const char *name, struct buf *out,
                               struct err *e) {
    struct depot_model m = {.name = mem_strdup(name, strlen(name))};
    enum err_code rc =
        m.name ? model_look(d, &m, e) : err_set(e, ERR_NOMEM, "out of memory for a list of models");
    if (!rc) {
        buf_put(out, &m, sizeof m);
        rc = buf_check(out, e);
    }
    if (rc) {
        mem_free(m.name);
    }
    return rc;
}

enum err_code depot_list(const struct depot *d, struct buf *out, struct err *e) {
    char **names = NULL;
    size_t n = 0;
    if (!os_file_exists(d->dir)) {
        return ERR_OK;
    }
    enum err_code rc = os_list(d->dir, &names, &n, e);
    for (size_t i = 0; i < n && !rc; i++) {
        if (depot_is_model(d->dir, names[i])) {
            rc = model_add(d, names[i], out, e);
        }
    }
    mem_free(names);
    return rc;
}

enum err_code quarantine_path(const struct depot *d, char **away, struct err *e) {
    enum err_code rc = store_path(away, e, "%s/" STORE_QUARANTINE, d->dir);
    return rc ? rc : link_refuse(*away, e);
}

/* m, which was added last, is in quarantine. */
static enum err_code mark_quarantined(const struct depot *in, struct depot_model *m,
                                      struct err *e) {
    char *notes = record_notes(in->dir, m->name), *name, why[sizeof m->why];
    const char *at = notes;
    enum err_code rc = store_path(&name, e, STORE_QUARANTINE "/%s", m->name);
    if (!rc) {
        mem_free(m->name);
        m->name = name;
        m->state = DEPOT_QUARANTINED;
        snprintf(m->why, sizeof m->why, "%s",
                 note_next(&at, "quarantined", why, sizeof why) ? why : "it failed verification");
    }
    mem_free(notes);
    return rc;
}

enum err_code depot_list_quarantine(const struct depot *d, struct buf *out, struct err *e) {
    struct depot in = *d;
    struct os_file_info info;
    char *away, **names = NULL;
    size_t n = 0, n_all;
    enum err_code rc = quarantine_path(d, &away, e);
    in.dir = away;
    if (!rc && !os_file_info(away, &info, NULL) && info.is_folder) {
        rc = os_list(away, &names, &n, e);
    }
    for (size_t i = 0; i < n && !rc; i++) {
        if (depot_is_model(away, names[i]) && !(rc = model_add(&in, names[i], out, e))) {
            struct depot_model *all = models_at(out, &n_all);
            rc = mark_quarantined(&in, &all[n_all - 1], e);
        }
    }
    mem_free(names);
    mem_free(away);
    return rc;
}

/* ---- verify ---------------------------------------------------------------------------------- */

/* Where a path stands in a list of files, or NULL. */
static const struct store_file *file_find(const struct store_files *files, const char *path) {
    size_t n;
    const struct store_file *f = files_at(files, &n);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(f[i].path, path) == 0) {
            return &f[i];
        }
    }
    return NULL;
}

/* Reads one file against its line of the record. */
static enum err_code file_check(const struct depot *d, struct depot_model *m,
                                const struct store_file *f, struct err *e) {
    struct err why = {0};
    char *path, hex[65] = "";
    enum err_code rc = store_path(&path, e, "%s/%s", d->dir, f->path);
    if (rc) {
        return rc;
    }
    rc = file_hash(d, path, hex, &why);
    mem_free(path);
    if (rc == ERR_CANCELLED || rc == ERR_NOMEM) {
        return err_set(e, rc, "%s", why.what);
    }
    if (rc || strcmp(hex, f->sha256) != 0) {
        m->state = DEPOT_BROKEN;
        why_set(m, rc ? why.what : "its bytes are not those that were recorded", f->path);
    }
    return ERR_OK;
}

/* Reads a model's files against its record, and looks for others: what is wrong goes into m->why.
 */
static enum err_code model_check(const struct depot *d, struct depot_model *m, struct err *e) {
    struct store_files recorded, there;
    struct err why = {0};
    size_t n, n_there;
    if (m->state != DEPOT_RECORDED) {
        return ERR_OK;
    }
    files_init(&recorded);
    files_init(&there);
    enum err_code rc = record_read(d->dir, m->name, &recorded, &why);
    rc = rc ? rc : files_list(&there, d->dir, m->name, m->name, &why);
    const struct store_file *f = files_at(&recorded, &n), *t = files_at(&there, &n_there);
    m->state = rc ? DEPOT_BROKEN : DEPOT_VERIFIED;
    if (rc == ERR_NOMEM) {
        err_set(e, rc, "%s", why.what);
    } else if (rc) { /* it could be read a moment ago */
        why_set(m, why.what, why.where);
        rc = ERR_OK;
    }
    for (size_t i = 0; i < n && !rc && m->state == DEPOT_VERIFIED; i++) {
        rc = file_check(d, m, &f[i], e);
    }
    for (size_t i = 0; i < n_there && !rc && m->state == DEPOT_VERIFIED; i++) {
        if (!file_find(&recorded, t[i].path)) {
            m->state = DEPOT_BROKEN;
            why_set(m, "a file that its record does not name", t[i].path);
        }
    }
    files_fini(&there);
    files_fini(&recorded);
    return rc;
}

/* Moves a model and its record out of reach; one of that name which is there already goes. */
static enum err_code quarantine(const struct depot *d, const char *name, const char *why,
                                struct err *e) {
    char *from = NULL, *away = NULL, *to = NULL, line[320], stamp[OS_STAMP];
    enum err_code rc = quarantine_path(d, &away, e);
    if (rc || (rc = os_mkdirs(away, e)) || (rc = store_path(&from, e, "%s/%s", d->dir, name)) ||
        (rc = store_path(&to, e, "%s/%s", away, name)) ||
        (os_file_exists(to) && (rc = depot_take_out(away, name, e))) ||
        (rc = os_rename(from, to, e))) {
        goto done;
    }
    quarantine_sweep(d); /* the record follows */
    os_stamp(stamp);
    snprintf(line, sizeof line, "quarantined %s, %s", why, stamp);
    record_add_note(away, name, line, NULL);
done:
    mem_free(to);
    mem_free(away);
    mem_free(from);
    return rc;
}

/* The record of a model that was moved to quarantine, where it is still in the store. */
static void record_follow(const struct depot *d, const char *away, const char *name) {
    char *model = NULL, *from = NULL, *to = NULL;
    if (!store_path(&model, NULL, "%s/%s", d->dir, name) && !os_file_exists(model) &&
        !store_path(&from, NULL, "%s.sha256", model) &&
        !store_path(&to, NULL, "%s/%s.sha256", away, name) && !os_file_exists(to)) {
        os_rename(from, to, NULL);
    }
    mem_free(to);
    mem_free(from);
    mem_free(model);
}

void quarantine_sweep(const struct depot *d) {
    char *away, **names = NULL;
    size_t n = 0;
    if (!quarantine_path(d, &away, NULL) && !os_list(away, &names, &n, NULL)) {
        for (size_t i = 0; i < n; i++) {
            if (strncmp(names[i], DEPOT_GONE, strlen(DEPOT_GONE)) == 0) {
                gone_end(away, names[i], NULL);
            } else {
                record_follow(d, away, names[i]);
            }
        }
    }
    mem_free(names);
    mem_free(away);
}

static void stamp_add(const struct depot *d, const char *file, struct digest *h) {
    struct os_file_info info = {0};
    char path[4096], text[128];
    snprintf(path, sizeof path, "%s/%s", d->dir, file);
    os_file_info(path, &info, NULL); /* of one that has gone: zeros */
    snprintf(text, sizeof text, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRId64 ".%09d", info.device,
             info.inode, info.size, info.mtime, info.mtime_ns);
    digest_add(h, file, strlen(file) + 1);
    digest_add(h, text, strlen(text));
}

enum err_code depot_stamp(const struct depot *d, const char *name, char stamp[DIGEST_HEX],
                          struct err *e) {
    struct store_files there;
    struct digest *h = digest_create();
    char *record = NULL;
    size_t n;
    files_init(&there);
    enum err_code rc = h ? store_path(&record, e, "%s.sha256", name)
                         : err_set(e, ERR_NOMEM, "out of memory for a hash");
    if (!rc && files_list(&there, d->dir, name, name, NULL) == ERR_NOMEM) {
        rc = err_set(e, ERR_NOMEM, "out of memory for a list of files");
    }
    const struct store_file *f = files_at(&there, &n);
    for (size_t i = 0; i < n && !rc; i++) {
        stamp_add(d, f[i].path, h);
    }
    if (!rc) {
        stamp_add(d, record, h);
    }
    if (h) {
        digest_end(h, stamp);
    }
    mem_free(record);
    files_fini(&there);
    return rc;
}

/* Checks one model. Others may change the store meanwhile: only who is about to move a broken one
 * away keeps them out, and looks whether it still is what was read; if not, all begins anew, a few
 * times. *gone: it is not there any more. */
static enum err_code model_verify(const struct depot *d, struct depot_model *m, bool *gone,
                                  struct err *e) {
    char before[DIGEST_HEX], after[DIGEST_HEX];
    enum err_code rc = ERR_OK;
    bool again = true;
    for (int reads = 1; !rc && again && !(*gone = !depot_is_model(d->dir, m->name)); reads++) {
        struct os_lock *lock = NULL;
        again = false;
        if ((rc = depot_stamp(d, m->name, before, e)) || (rc = model_look(d, m, e)) ||
            (rc = model_check(d, m, e)) ||
            (m->state != DEPOT_BROKEN && m->state != DEPOT_BROKEN_HERE) ||
            (rc = depot_look(d, &lock, e)) || (rc = depot_stamp(d, m->name, after, e))) {
            /* said, or nothing to be done about it */
        } else if (strcmp(before, after) != 0) {
            again = reads < READS_MOST;
            m->state = DEPOT_BROKEN_HERE;
            why_set(m, "it is written to while it is read: verify it again when that has ended",
                    "");
        } else if (m->state == DEPOT_BROKEN && lock) {
            rc = quarantine(d, m->name, m->why, e);
            if (rc ==
                ERR_IO) { /* a full disk, perhaps: that it is broken is said, and of the others */
                err_clear(e);
                rc = ERR_OK;
                m->state = DEPOT_BROKEN_HERE;
            }
        } else {
            m->state = DEPOT_BROKEN_HERE;
        }
        os_lock_drop(lock);
    }
    return rc;
}

enum err_code depot_verify(const struct depot *d, const char *name, struct buf *out,
                           struct err *e) {
    struct os_lock *lock = NULL;
    char *found = NULL;
    size_t n, kept = 0;
    enum err_code rc = name ? depot_find(d, name, &found, e) : ERR_OK;
    if (rc || (!name && !os_file_exists(d->dir))) {
        return rc;
    }
    rc = depot_look(d, &lock, e);
    if (!rc) {
        rc = name ? model_add(d, found, out, e) : depot_list(d, out, e);
    }
    os_lock_drop(lock);
    struct depot_model *m = models_at(out, &n);
    for (size_t i = 0; i < n; i++) {
        bool gone = false;
        rc = rc ? rc : model_verify(d, &m[i], &gone, e);
        if (gone) {
            mem_free(m[i].name);
        } else {
            m[kept++] = m[i];
        }
    }
    out->len = kept * sizeof *m;
    if (!rc && name && kept == 0) {
        rc = depot_missing(d, name, e);
    }
    mem_free(found);
    return rc;
}
