/* depot.c: see depot.h.
 *
 * Owns the order of the steps. A model comes in like this: its files are hashed; they are linked or
 * copied into a folder ".new.*"; the record is written; one rename puts the model into its place.
 * Whatever ends the program before leaves a folder ".new.*", which the next writer removes.
 */
#include "store/depot.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "store/store_part.h"

#define LOCK_SECONDS 10.0 /* for another writer to end */
#define QUARANTINE   "quarantine"

/* ---- the lock -------------------------------------------------------------------------------- */

enum err_code depot_begin(const struct depot *d, struct os_lock **lock, struct err *e) {
    char *path = NULL, **names = NULL;
    size_t n = 0;
    *lock = NULL;
    enum err_code rc = os_mkdirs(d->dir, e);
    if (!rc && !(rc = store_path(&path, e, "%s/.lock", d->dir))) {
        rc = os_lock_take(lock, path, LOCK_SECONDS, e);
        if (rc == ERR_CANCELLED) {
            err_clear(e);
            rc = err_set(e, ERR_IO, "another program is changing the store");
            err_where(e, "%s", d->dir);
            err_hint(e, "wait until it is done");
        }
    }
    if (!rc && !os_list(d->dir, &names, &n, NULL)) {
        for (size_t i = 0; i < n; i++) {
            if (strncmp(names[i], ".new.", 5) == 0) {
                tree_remove(d->dir, names[i], NULL);
            }
        }
    }
    mem_free(names);
    mem_free(path);
    return rc;
}

/* ---- what is there --------------------------------------------------------------------------- */

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n > m && strcmp(s + n - m, end) == 0;
}

bool depot_is_model(const char *root, const char *name) {
    struct os_file_info info;
    char *path, *config = NULL, **names = NULL;
    size_t n = 0;
    bool yes = false;
    if (name[0] == '.' || strcmp(name, QUARANTINE) == 0 ||
        store_path(&path, NULL, "%s/%s", root, name)) {
        return false;
    }
    if (!os_file_info(path, &info, NULL) && !info.is_folder) {
        yes = ends_with(name, ".gguf");
    } else if (!store_path(&config, NULL, "%s/config.json", path) && os_file_exists(config)) {
        yes = true;
    } else if (!os_list(path, &names, &n, NULL)) {
        for (size_t i = 0; i < n && !yes; i++) {
            yes = ends_with(names[i], ".gguf");
        }
    }
    mem_free(names);
    mem_free(config);
    mem_free(path);
    return yes;
}

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

/* Adds a model that is there; *m (borrowed, until the next one is added) is its place. */
static enum err_code model_add(const struct depot *d, const char *name, struct buf *out,
                               struct err *e) {
    struct store_files there, recorded;
    struct depot_model m = {.state = DEPOT_UNRECORDED};
    size_t n, n_recorded;
    files_init(&there);
    files_init(&recorded);
    enum err_code rc = files_list(&there, d->dir, name, name, e);
    if (!rc) {
        m.name = mem_strdup(name, strlen(name));
        rc = m.name ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory for a list of models");
    }
    if (!rc) {
        const struct store_file *file = files_at(&there, &n);
        m.bytes = files_bytes(&there);
        m.n_file = n;
        m.folder = n != 1 || strcmp(file->path, name) != 0;
        if (!record_read(d->dir, name, &recorded, NULL)) {
            const struct store_file *one = files_at(&recorded, &n_recorded);
            m.state = DEPOT_RECORDED;
            if (!m.folder && n_recorded == 1) {
                memcpy(m.sha256, one->sha256, sizeof m.sha256);
            }
        }
        buf_put(out, &m, sizeof m);
        rc = buf_check(out, e);
    }
    if (rc) {
        mem_free(m.name);
    }
    files_fini(&recorded);
    files_fini(&there);
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

enum err_code depot_find(const struct depot *d, const char *name, char **found, struct err *e) {
    *found = NULL;
    if (name_is_plain(name, strlen(name)) && depot_is_model(d->dir, name)) {
        return store_path(found, e, "%s", name);
    }
    enum err_code rc = store_path(found, e, "%s.gguf", name);
    if (!rc && (!name_is_plain(*found, strlen(*found)) || !depot_is_model(d->dir, *found))) {
        mem_free(*found);
        *found = NULL;
        rc = err_set(e, ERR_NOTFOUND, "no model '%s' in the store", name);
        err_where(e, "%s", d->dir);
        err_hint(e, "'ign models list' names those that are there");
    }
    return rc;
}

/* ---- import ---------------------------------------------------------------------------------- */

/* Something that comes in. */
struct coming {
    const struct depot *d;
    char *root, *from;        /* the source is root/from */
    char *name;               /* what it is to be called here */
    char *staging;            /* its files gather here, under their paths */
    struct store_files files; /* paths as they will be, relative to the store */
    bool linked;              /* no byte was copied */
};

/* Splits the source's path, and checks the name. */
static enum err_code coming_name(struct coming *c, const char *path, const char *name,
                                 struct err *e) {
    struct os_file_info info;
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') {
        n--;
    }
    size_t slash = n;
    while (slash > 0 && path[slash - 1] != '/') {
        slash--;
    }
    enum err_code rc = os_file_info(path, &info, e);
    if (rc) {
        return rc;
    }
    c->from = mem_strdup(path + slash, n - slash);
    c->root = slash > 0 ? mem_strdup(path, slash) : mem_strdup(".", 1);
    if (!c->from || !c->root) {
        return err_set(e, ERR_NOMEM, "out of memory for a path");
    }
    const char *wanted = name ? name : c->from;
    bool bare = !info.is_folder && !ends_with(wanted, ".gguf");
    rc = store_path(&c->name, e, "%s%s", wanted, bare ? ".gguf" : "");
    if (!rc && (!name_is_plain(c->name, strlen(c->name)) || strcmp(c->name, QUARANTINE) == 0)) {
        rc = err_set(e, ERR_USAGE, "'%s' cannot be the name of a model", c->name);
        err_hint(e, "give one with --name: letters, digits, and . _ - inside");
    }
    return rc;
}

/* The first bytes of a GGUF file; a folder is judged by whoever opens it. */
static enum err_code check_kind(const struct coming *c, struct err *e) {
    char head[8], *path;
    size_t got = 0;
    bool folder = !ends_with(c->name, ".gguf");
    if (folder && depot_is_model(c->root, c->from)) {
        return ERR_OK;
    }
    enum err_code rc = store_path(&path, e, "%s/%s", c->root, c->from);
    if (!rc && !folder) {
        rc = os_read_head(path, head, sizeof head, &got, e);
    }
    if (!rc && (folder || got < 4 || memcmp(head, "GGUF", 4) != 0)) {
        rc = err_set(e, ERR_FORMAT,
                     folder ? "a folder with neither config.json nor a GGUF file"
                            : "not a GGUF file");
        err_where(e, "%s", path);
        err_hint(e, "name a GGUF file, or the folder of a model from Hugging Face");
    }
    mem_free(path);
    return rc;
}

/* The path of a file at its source: below the name that it will have lies what it has there. */
static enum err_code source_path(const struct coming *c, const struct store_file *f, char **path,
                                 struct err *e) {
    return store_path(path, e, "%s/%s%s", c->root, c->from, f->path + strlen(c->name));
}

static enum err_code hash_all(struct coming *c, const char *want, struct err *e) {
    size_t n;
    struct store_file *f = files_at(&c->files, &n);
    enum err_code rc = ERR_OK;
    for (size_t i = 0; i < n && !rc; i++) {
        char *path;
        rc = source_path(c, &f[i], &path, e);
        if (!rc && !(rc = file_hash(c->d, path, f[i].sha256, e)) && want && want[0] &&
            strcmp(want, f[i].sha256) != 0) {
            rc = err_set(e, ERR_FORMAT, "its SHA-256 is %s, not %s", f[i].sha256, want);
            err_where(e, "%s", path);
            err_hint(e, "the file was damaged on its way, or is another one: get it again");
        }
        mem_free(path);
    }
    return rc;
}

enum err_code depot_compare(const struct depot *d, const char *name,
                            const struct store_files *files, bool *known, struct err *e) {
    struct store_files old;
    size_t n, n_old;
    *known = false;
    if (!depot_is_model(d->dir, name)) {
        return ERR_OK;
    }
    const struct store_file *f = files_at(files, &n);
    files_init(&old);
    if (!record_read(d->dir, name, &old, NULL)) {
        const struct store_file *o = files_at(&old, &n_old);
        *known = n == n_old;
        for (size_t i = 0; i < n && *known; i++) {
            *known = strcmp(f[i].path, o[i].path) == 0 && strcmp(f[i].sha256, o[i].sha256) == 0;
        }
    }
    files_fini(&old);
    if (*known) {
        return ERR_OK;
    }
    err_set(e, ERR_USAGE, "the store has another model called %s", name);
    err_where(e, "%s", d->dir);
    err_hint(e, "give this one another name with --name, or take that one away: ign models remove");
    return ERR_USAGE;
}

enum err_code depot_twin(const struct depot *d, const struct store_file *want, char **path,
                         struct err *e) {
    char **names = NULL;
    size_t n = 0;
    *path = NULL;
    enum err_code rc = os_list(d->dir, &names, &n, e);
    for (size_t i = 0; i < n && !rc && !*path; i++) {
        struct store_files files;
        size_t k, n_file;
        files_init(&files);
        if (depot_is_model(d->dir, names[i]) && !record_read(d->dir, names[i], &files, NULL)) {
            const struct store_file *f = files_at(&files, &n_file);
            for (k = 0; k < n_file && strcmp(f[k].sha256, want->sha256) != 0; k++) {
            }
            rc = k < n_file ? store_path(path, e, "%s/%s", d->dir, f[k].path) : ERR_OK;
        }
        files_fini(&files);
    }
    mem_free(names);
    return rc;
}

enum err_code folder_make(char *path, struct err *e) {
    char *slash = strrchr(path, '/');
    *slash = '\0';
    enum err_code rc = os_mkdirs(path, e);
    *slash = '/';
    return rc;
}

/* One file into the staging folder: a second name of what the store has or of the source, else a
 * copy. */
static enum err_code file_bring(struct coming *c, struct store_file *f, struct err *e) {
    char *to = NULL, *from = NULL, *twin = NULL, hex[65];
    struct os_map m = {.slot = -1};
    enum err_code rc = store_path(&to, e, "%s/%s", c->staging, f->path);
    if (rc || (rc = folder_make(to, e)) || (rc = source_path(c, f, &from, e)) ||
        (rc = depot_twin(c->d, f, &twin, e))) {
        goto done;
    }
    if ((twin && !os_link(twin, to, NULL)) || !os_link(from, to, NULL)) {
        goto done;
    }
    c->linked = false;
    rc = os_map_open(&m, from, false, e);
    if (!rc) {
        rc = bytes_store(c->d, to, m.data, m.size, &m.lost, f->sha256, hex, e);
        os_map_close(&m);
    }
done:
    mem_free(twin);
    mem_free(from);
    mem_free(to);
    return rc;
}

enum err_code depot_settle(const struct depot *d, const char *staging, const char *name,
                           const struct store_files *files, struct err *e) {
    char *from = NULL, *to = NULL;
    enum err_code rc = record_write(d->dir, name, files, e);
    if (!rc && !(rc = store_path(&from, e, "%s/%s", staging, name)) &&
        !(rc = store_path(&to, e, "%s/%s", d->dir, name))) {
        rc = os_rename(from, to, e);
    }
    mem_free(to);
    mem_free(from);
    return rc;
}

static enum err_code bring(struct coming *c, struct err *e) {
    size_t n;
    struct store_file *f = files_at(&c->files, &n);
    enum err_code rc = room_check(c->d->dir, files_bytes(&c->files), e);
    if (rc || (rc = staging_make(c->d->dir, &c->staging, e))) {
        return rc;
    }
    c->linked = true;
    for (size_t i = 0; i < n && !rc; i++) {
        rc = file_bring(c, &f[i], e);
    }
    rc = rc ? rc : depot_settle(c->d, c->staging, c->name, &c->files, e);
    tree_remove(c->staging, "", NULL);
    return rc;
}

enum err_code depot_import(const struct depot *d, const char *path, const char *name,
                           const char *sha256, enum depot_came *came, char **name_out,
                           struct err *e) {
    struct coming c = {.d = d};
    struct os_lock *lock = NULL;
    bool known = false;
    *name_out = NULL;
    files_init(&c.files);
    enum err_code rc = coming_name(&c, path, name, e);
    if (rc || (rc = check_kind(&c, e)) || (rc = files_list(&c.files, c.root, c.from, c.name, e)) ||
        (rc = hash_all(&c, sha256, e)) || (rc = depot_begin(d, &lock, e)) ||
        (rc = depot_compare(d, c.name, &c.files, &known, e)) || (!known && (rc = bring(&c, e)))) {
        goto done;
    }
    *came = known ? DEPOT_KNOWN : c.linked ? DEPOT_LINKED : DEPOT_COPIED;
    *name_out = c.name;
    c.name = NULL;
done:
    os_lock_drop(lock);
    files_fini(&c.files);
    mem_free(c.staging);
    mem_free(c.name);
    mem_free(c.from);
    mem_free(c.root);
    return rc;
}

/* ---- verify ---------------------------------------------------------------------------------- */

/* Reads a model's files against its record: what is wrong goes into m->why. */
static enum err_code model_check(const struct depot *d, struct depot_model *m, struct err *e) {
    struct store_files recorded;
    size_t n;
    files_init(&recorded);
    enum err_code rc = record_read(d->dir, m->name, &recorded, NULL);
    if (rc) {
        m->state = DEPOT_UNRECORDED;
        files_fini(&recorded);
        return rc == ERR_NOMEM ? err_set(e, ERR_NOMEM, "out of memory for a record") : ERR_OK;
    }
    const struct store_file *f = files_at(&recorded, &n);
    m->state = DEPOT_VERIFIED;
    for (size_t i = 0; i < n && !rc && m->state == DEPOT_VERIFIED; i++) {
        struct err why = {0};
        char *path, hex[65];
        rc = store_path(&path, e, "%s/%s", d->dir, f[i].path);
        enum err_code read = rc ? rc : file_hash(d, path, hex, &why);
        mem_free(path);
        if (read == ERR_CANCELLED || read == ERR_NOMEM) {
            rc = err_set(e, read, "%s", why.what);
        } else if (!rc && (read || strcmp(hex, f[i].sha256) != 0)) {
            m->state = DEPOT_BROKEN;
            snprintf(m->why, sizeof m->why, "%.100s: %.90s", f[i].path,
                     read ? why.what : "its bytes are not those that were recorded");
        }
    }
    files_fini(&recorded);
    return rc;
}

/* Moves a model and its record out of reach; one of that name which is there already goes. */
static enum err_code quarantine(const struct depot *d, const char *name, struct err *e) {
    char *from = NULL, *away = NULL, *to = NULL, *record = NULL, *record_to = NULL;
    enum err_code rc = store_path(&away, e, "%s/" QUARANTINE, d->dir);
    if (rc || (rc = os_mkdirs(away, e)) || (rc = tree_remove(away, name, e)) ||
        (rc = store_path(&from, e, "%s/%s", d->dir, name)) ||
        (rc = store_path(&to, e, "%s/%s", away, name)) || (rc = os_rename(from, to, e)) ||
        (rc = store_path(&record, e, "%s.sha256", from)) ||
        (rc = store_path(&record_to, e, "%s.sha256", to))) {
        goto done;
    }
    os_rename(record, record_to, NULL);
done:
    mem_free(record_to);
    mem_free(record);
    mem_free(to);
    mem_free(away);
    mem_free(from);
    return rc;
}

enum err_code depot_verify(const struct depot *d, const char *name, struct buf *out,
                           struct err *e) {
    struct os_lock *lock = NULL;
    char *found = NULL;
    size_t n;
    enum err_code rc = name ? depot_find(d, name, &found, e) : ERR_OK;
    if (rc || (!name && !os_file_exists(d->dir))) {
        return rc;
    }
    rc = depot_begin(d, &lock, e);
    if (!rc) {
        rc = name ? model_add(d, found, out, e) : depot_list(d, out, e);
    }
    struct depot_model *m = models_at(out, &n);
    for (size_t i = 0; i < n && !rc; i++) {
        rc = model_check(d, &m[i], e);
        if (!rc && m[i].state == DEPOT_BROKEN) {
            rc = quarantine(d, m[i].name, e);
        }
    }
    os_lock_drop(lock);
    mem_free(found);
    return rc;
}

/* ---- remove ---------------------------------------------------------------------------------- */

enum err_code depot_remove(const struct depot *d, const char *name, struct err *e) {
    struct os_lock *lock = NULL;
    char *found = NULL, *record = NULL;
    enum err_code rc = depot_find(d, name, &found, e);
    if (!rc && !(rc = depot_begin(d, &lock, e)) &&
        !(rc = store_path(&record, e, "%s.sha256", found)) &&
        !(rc = tree_remove(d->dir, found, e))) {
        rc = tree_remove(d->dir, record, e);
    }
    os_lock_drop(lock);
    mem_free(record);
    mem_free(found);
    return rc;
}
