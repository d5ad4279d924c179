/* depot.c: what comes into the store and what goes: see depot.h.
 *
 * Owns the lock, and the order of the steps. A model comes in like this: its files are hashed; they
 * are linked or copied into a folder ".new.*", and its record is written there; one rename puts the
 * record into its place, and one the model. It goes by one rename into such a folder. Whatever ends
 * the program before leaves a folder ".new.*", which the next writer removes.
 */
#include "store/depot.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "store/store_part.h"

#define LOCK_SECONDS 10.0 /* for another writer to end */
#define LOCK_STEP    0.2  /* between two looks at Ctrl-C */

/* ---- the lock -------------------------------------------------------------------------------- */

/* Removes what a writer has left who did not come to the end. A record that stands in the store
 * without its model goes along, where the model lies in that folder: it was about to come, or had
 * just gone. */
static void sweep(const struct depot *d, const char *left) {
    char *dir, **names = NULL;
    size_t n = 0;
    if (store_path(&dir, NULL, "%s/%s", d->dir, left)) {
        return;
    }
    if (!os_is_link(dir) && !os_list(dir, &names, &n, NULL)) {
        for (size_t i = 0; i < n; i++) {
            char *model = NULL, *record = NULL;
            if (model_name_is_plain(names[i], strlen(names[i])) &&
                !store_path(&model, NULL, "%s/%s", d->dir, names[i]) && !os_file_exists(model) &&
                !store_path(&record, NULL, "%s.sha256", model)) {
                os_remove_file(record, NULL);
            }
            mem_free(record);
            mem_free(model);
        }
    }
    mem_free(names);
    mem_free(dir);
    tree_remove(d->dir, left, NULL);
}

static enum err_code begin(const struct depot *d, bool late, struct os_lock **lock, struct err *e) {
    char *path = NULL, **names = NULL;
    size_t n = 0;
    *lock = NULL;
    enum err_code rc = os_mkdirs(d->dir, e);
    if (!rc && !(rc = store_path(&path, e, "%s/.lock", d->dir))) {
        rc = os_lock_take(lock, path, late ? LOCK_STEP : LOCK_SECONDS, e);
        while (late && rc == ERR_CANCELLED && !os_stopped(d->stop)) {
            err_clear(e);
            rc = os_lock_take(lock, path, LOCK_STEP, e);
        }
        if (rc == ERR_CANCELLED && !late) {
            err_clear(e);
            rc = err_set(e, ERR_IO, "another program is changing the store");
            err_where(e, "%s", d->dir);
            err_hint(e, "wait until it is done");
        }
    }
    if (!rc && !os_list(d->dir, &names, &n, NULL)) {
        for (size_t i = 0; i < n; i++) {
            if (strncmp(names[i], ".new.", 5) == 0) {
                sweep(d, names[i]);
            }
        }
        made_sweep(d);
    }
    mem_free(names);
    mem_free(path);
    return rc;
}

enum err_code depot_begin(const struct depot *d, struct os_lock **lock, struct err *e) {
    return begin(d, false, lock, e);
}

enum err_code depot_begin_late(const struct depot *d, struct os_lock **lock, struct err *e) {
    return begin(d, true, lock, e);
}

static enum err_code look(const struct depot *d, bool late, struct os_lock **lock, struct err *e) {
    struct os_file_info info;
    *lock = NULL;
    if (!os_file_info(d->dir, &info, NULL) && info.is_folder && !info.writable) {
        return ERR_OK;
    }
    return begin(d, late, lock, e);
}

enum err_code depot_look(const struct depot *d, struct os_lock **lock, struct err *e) {
    return look(d, false, lock, e);
}

enum err_code depot_look_late(const struct depot *d, struct os_lock **lock, struct err *e) {
    return look(d, true, lock, e);
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
    if (name[0] == '\0' || name[0] == '.' || strcmp(name, STORE_QUARANTINE) == 0 ||
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

enum err_code depot_missing(const struct depot *d, const char *name, struct err *e) {
    err_set(e, ERR_NOTFOUND, "no model '%s' in the store", name);
    err_where(e, "%s", d->dir);
    err_hint(e, "'ign models list' names those that are there");
    return ERR_NOTFOUND;
}

enum err_code depot_find(const struct depot *d, const char *name, char **found, struct err *e) {
    static const char *const ends[] = {"", ".gguf"};
    enum err_code rc = ERR_OK;
    *found = NULL;
    /* One part of a path, as it stands there: whoever has put a file there may have called it
     * anything, and wants to be rid of it. */
    for (size_t i = 0; i < 2 && !rc && !*found && !strchr(name, '/'); i++) {
        rc = store_path(found, e, "%s%s", name, ends[i]);
        if (!rc && !depot_is_model(d->dir, *found)) {
            mem_free(*found);
            *found = NULL;
        }
    }
    return rc || *found ? rc : depot_missing(d, name, e);
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
    if (!rc && info.is_folder && ends_with(wanted, ".gguf")) {
        rc = err_set(e, ERR_USAGE, "'%s' cannot be the name of a folder", wanted);
        err_hint(e, "give one with --name, without .gguf at its end");
    } else if (!rc && !model_name_is_plain(c->name, strlen(c->name))) {
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

/* The hash that a user gave, in lower case; "" for none. */
static enum err_code want_read(const struct coming *c, const char *text, char want[65],
                               struct err *e) {
    size_t n = text ? strlen(text) : 0;
    want[0] = '\0';
    if (n == 0) {
        return ERR_OK;
    }
    if (n != 64 || strspn(text, "0123456789abcdefABCDEF") != n) {
        err_set(e, ERR_USAGE, "'%s' is no SHA-256", text);
        err_hint(e, "--sha256 takes 64 hexadecimal digits");
        return ERR_USAGE;
    }
    if (!ends_with(c->name, ".gguf")) {
        err_set(e, ERR_USAGE, "a folder has no SHA-256 of its own");
        err_hint(e, "leave --sha256 out, or import a file");
        return ERR_USAGE;
    }
    for (size_t i = 0; i <= n; i++) {
        want[i] = text[i] >= 'A' && text[i] <= 'F' ? (char)(text[i] - 'A' + 'a') : text[i];
    }
    return ERR_OK;
}

static enum err_code hash_all(struct coming *c, const char *sha256, struct err *e) {
    size_t n;
    struct store_file *f = files_at(&c->files, &n);
    char want[65];
    enum err_code rc = want_read(c, sha256, want, e);
    for (size_t i = 0; i < n && !rc; i++) {
        char *path;
        rc = source_path(c, &f[i], &path, e);
        if (!rc && !(rc = file_hash(c->d, path, f[i].sha256, e)) && want[0] &&
            strcmp(want, f[i].sha256) != 0) {
            rc = err_set(e, ERR_FORMAT, "its SHA-256 is %s, not %s", f[i].sha256, want);
            err_where(e, "%s", path);
            err_hint(e, "the file was damaged on its way, or is another one: get it again");
        }
        mem_free(path);
    }
    return rc;
}

/* The record of a model, written beside those of the others: a link that is there is replaced. */
static enum err_code record_settle(const struct depot *d, const char *staging, const char *name,
                                   const struct store_files *files, struct err *e) {
    char *from = NULL, *to = NULL;
    enum err_code rc = record_write(staging, name, files, e);
    if (!rc && !(rc = store_path(&from, e, "%s/%s.sha256", staging, name)) &&
        !(rc = store_path(&to, e, "%s/%s.sha256", d->dir, name))) {
        rc = os_rename(from, to, e);
    }
    mem_free(to);
    mem_free(from);
    return rc;
}

/* Whether the files of a model that has no record are these; then it gets one. */
static enum err_code model_adopt(const struct depot *d, const char *name,
                                 const struct store_files *files, bool *same, struct err *e) {
    struct store_files there;
    char *staging = NULL;
    size_t n, n_there;
    const struct store_file *f = files_at(files, &n);
    files_init(&there);
    enum err_code rc = files_list(&there, d->dir, name, name, e);
    const struct store_file *t = files_at(&there, &n_there);
    *same = !rc && n == n_there;
    for (size_t i = 0; i < n && *same; i++) {
        *same = strcmp(f[i].path, t[i].path) == 0 && f[i].bytes == t[i].bytes;
    }
    for (size_t i = 0; i < n && *same && !rc; i++) {
        char *path, hex[65] = "";
        rc = store_path(&path, e, "%s/%s", d->dir, t[i].path);
        rc = rc ? rc : file_hash(d, path, hex, e);
        *same = !rc && strcmp(hex, f[i].sha256) == 0;
        mem_free(path);
    }
    if (!rc && *same && !(rc = staging_make(d->dir, &staging, e))) {
        rc = record_settle(d, staging, name, files, e);
        tree_remove(staging, "", NULL);
    }
    mem_free(staging);
    files_fini(&there);
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
    enum err_code rc = record_read(d->dir, name, &old, NULL);
    if (!rc) {
        const struct store_file *o = files_at(&old, &n_old);
        *known = n == n_old;
        for (size_t i = 0; i < n && *known; i++) {
            *known = strcmp(f[i].path, o[i].path) == 0 && strcmp(f[i].sha256, o[i].sha256) == 0;
        }
    }
    files_fini(&old);
    rc = rc == ERR_NOTFOUND ? model_adopt(d, name, files, known, e) : ERR_OK;
    if (rc || *known) {
        return rc;
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

enum err_code twin_link(const struct depot *d, const struct store_file *want, const char *to,
                        bool *linked, struct err *e) {
    char *twin = NULL, hex[65] = "";
    struct err why = {0};
    *linked = false;
    enum err_code rc = depot_twin(d, want, &twin, e);
    if (rc || !twin) {
        return rc;
    }
    rc = os_link(twin, to, NULL) ? ERR_UNSUPPORTED : file_hash(d, to, hex, &why);
    *linked = !rc && strcmp(hex, want->sha256) == 0;
    if (!*linked && rc != ERR_UNSUPPORTED) {
        os_remove_file(to, NULL); /* 'verify' will find what it is a second name of */
    }
    mem_free(twin);
    return rc == ERR_CANCELLED || rc == ERR_NOMEM ? err_set(e, rc, "%s", why.what) : ERR_OK;
}

enum err_code sibling_link(const char *staging, const struct store_files *files, size_t i,
                           bool *linked, struct err *e) {
    size_t n;
    const struct store_file *f = files_at(files, &n);
    char *to = NULL, *from = NULL;
    *linked = false;
    enum err_code rc = store_path(&to, e, "%s/%s", staging, f[i].path);
    rc = rc ? rc : folder_make(to, e);
    for (size_t k = 0; k < i && !rc && !*linked; k++) {
        if (strcmp(f[k].sha256, f[i].sha256) == 0 &&
            !(rc = store_path(&from, e, "%s/%s", staging, f[k].path))) {
            *linked = !os_link(from, to, NULL);
            mem_free(from);
        }
    }
    mem_free(to);
    return rc;
}

static bool is_same(const char *a, const char *b) {
    struct os_file_info x, y;
    return !os_file_info(a, &x, NULL) && !os_file_info(b, &y, NULL) && x.device == y.device &&
           x.inode == y.inode;
}

/* Makes `to` the name of what lies at `from`, where that is the same file already, too. */
static enum err_code put_over(const char *from, const char *to, struct err *e) {
    enum err_code rc = os_rename(from, to, e);
    os_remove_file(from, NULL); /* the system renames no file to itself: both names stay */
    return rc;
}

enum err_code twins_join(const struct depot *d, const char *staging,
                         const struct store_files *files, struct err *e) {
    size_t n;
    const struct store_file *f = files_at(files, &n);
    char *to = NULL, *twin = NULL;
    enum err_code rc = ERR_OK;
    for (size_t i = 0; i < n && !rc; i++) {
        bool linked = false;
        char *there = NULL;
        size_t k = 0;
        while (k < i && strcmp(f[k].sha256, f[i].sha256) != 0) {
            k++;
        }
        if ((rc = store_path(&to, e, "%s/%s", staging, f[i].path)) ||
            (rc = store_path(&twin, e, "%s/.twin", staging)) || (rc = os_remove_file(twin, e))) {
            /* said already */
        } else if (k < i) {
            char *from;
            rc = store_path(&from, e, "%s/%s", staging, f[k].path);
            linked = !rc && !os_link(from, twin, NULL);
            mem_free(from);
        } else if (!(rc = depot_twin(d, &f[i], &there, e)) && there && !is_same(there, to)) {
            rc = twin_link(d, &f[i], twin, &linked, e);
        }
        mem_free(there);
        if (!rc && linked) {
            rc = put_over(twin, to, e);
        }
        mem_free(twin);
        mem_free(to);
        to = twin = NULL;
    }
    return rc;
}

/* One file into the staging folder: a second name of the source or of what the store has; *there
 * says whether there could be one. */
static enum err_code file_link(struct coming *c, size_t i, bool *there, struct err *e) {
    size_t n;
    const struct store_file *f = files_at(&c->files, &n);
    char *to = NULL, *from = NULL;
    enum err_code rc = sibling_link(c->staging, &c->files, i, there, e);
    if (!rc && !*there && !(rc = store_path(&to, e, "%s/%s", c->staging, f[i].path)) &&
        !(rc = source_path(c, &f[i], &from, e)) && !(rc = twin_link(c->d, &f[i], to, there, e)) &&
        !*there) {
        *there = !os_link(from, to, NULL);
    }
    mem_free(from);
    mem_free(to);
    return rc;
}

/* The same by copying. */
static enum err_code file_copy(struct coming *c, const struct store_file *f, struct err *e) {
    char *to = NULL, *from = NULL, hex[65];
    struct os_map m = {.slot = -1};
    enum err_code rc = store_path(&to, e, "%s/%s", c->staging, f->path);
    if (!rc && !(rc = source_path(c, f, &from, e)) && !(rc = os_map_open(&m, from, false, e))) {
        rc = bytes_store(c->d, to, m.data, m.size, &m.lost, f->sha256, hex, e);
        os_map_close(&m);
    }
    mem_free(from);
    mem_free(to);
    return rc;
}

enum err_code depot_settle(const struct depot *d, const char *staging, const char *name,
                           const struct store_files *files, struct err *e) {
    char *from = NULL, *to = NULL;
    enum err_code rc = store_path(&from, e, "%s/%s", staging, name);
    if (!rc && !(rc = store_path(&to, e, "%s/%s", d->dir, name)) &&
        !(rc = record_settle(d, staging, name, files, e)) && (rc = os_rename(from, to, e))) {
        char *record;
        if (!store_path(&record, NULL, "%s.sha256", to)) {
            os_remove_file(record, NULL);
        }
        mem_free(record);
    }
    mem_free(to);
    mem_free(from);
    return rc;
}

/* All that can be is linked first: only then it is known how much room the rest takes. */
static enum err_code bring(struct coming *c, struct err *e) {
    size_t n;
    struct store_file *f = files_at(&c->files, &n);
    uint64_t left = 0;
    bool *there = mem_zalloc(n ? n : 1, sizeof *there);
    enum err_code rc = there ? staging_make(c->d->dir, &c->staging, e)
                             : err_set(e, ERR_NOMEM, "out of memory for a list of files");
    for (size_t i = 0; i < n && !rc; i++) {
        rc = file_link(c, i, &there[i], e);
        left += there[i] ? 0 : f[i].bytes; /* of files on this machine: no overflow */
        c->linked = (i == 0 || c->linked) && there[i];
    }
    rc = rc ? rc : room_check(c->d->dir, left, e);
    for (size_t i = 0; i < n && !rc; i++) {
        if (!there[i] && !(rc = sibling_link(c->staging, &c->files, i, &there[i], e)) &&
            !there[i]) {
            rc = file_copy(c, &f[i], e);
        }
    }
    mem_free(there);
    if (!c->staging) {
        return rc;
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

/* ---- remove ---------------------------------------------------------------------------------- */

/* Finds a model of `in`, the store or its quarantine, and takes the store's lock. It is looked for
 * before, so that no store is made for a name that is not there, and after: another program may
 * have removed it while this one waited. */
static enum err_code find_begin(const struct depot *d, const struct depot *in, const char *name,
                                struct os_lock **lock, char **found, struct err *e) {
    enum err_code rc = depot_find(in, name, found, e);
    mem_free(*found);
    *found = NULL;
    rc = rc ? rc : depot_begin(d, lock, e);
    return rc ? rc : depot_find(in, name, found, e);
}

/* Removes what is in quarantine, where nobody reads it. */
static enum err_code quarantine_remove(const struct depot *d, const char *name, struct err *e) {
    struct os_lock *lock = NULL;
    struct depot in = *d;
    char *away = NULL, *found = NULL, *record = NULL;
    enum err_code rc = quarantine_path(d, &away, e);
    in.dir = away;
    if (rc || (rc = find_begin(d, &in, name, &lock, &found, e)) ||
        (rc = tree_remove(away, found, e)) ||
        (rc = store_path(&record, e, "%s/%s.sha256", away, found))) {
        goto done;
    }
    rc = os_remove_file(record, e);
    os_remove_folder(away, NULL); /* if that was the last */
done:
    os_lock_drop(lock);
    mem_free(record);
    mem_free(found);
    mem_free(away);
    return rc;
}

enum err_code depot_remove(const struct depot *d, const char *name, struct err *e) {
    if (strncmp(name, STORE_QUARANTINE "/", sizeof STORE_QUARANTINE) == 0) {
        return quarantine_remove(d, name + sizeof STORE_QUARANTINE, e);
    }
    struct os_lock *lock = NULL;
    char *found = NULL, *record = NULL, *from = NULL, *to = NULL, *staging = NULL;
    enum err_code rc = find_begin(d, d, name, &lock, &found, e);
    rc = rc ? rc : staging_make(d->dir, &staging, e);
    if (rc == ERR_IO && staging) { /* a full disk has no room for a folder, and is to get some */
        err_clear(e);
        rc = store_path(&to, e, "%s", staging);
    } else if (!rc) {
        rc = store_path(&to, e, "%s/%s", staging, found);
    }
    if (rc || (rc = store_path(&record, e, "%s/%s.sha256", d->dir, found)) ||
        (rc = store_path(&from, e, "%s/%s", d->dir, found)) || (rc = os_rename(from, to, e))) {
        goto done;
    }
    rc = os_remove_file(record, e); /* the model is gone already: what is left is found by none */
done:
    if (staging) {
        enum err_code swept = tree_remove(d->dir, staging + strlen(d->dir) + 1, rc ? NULL : e);
        rc = rc ? rc : swept;
    }
    os_lock_drop(lock);
    mem_free(staging);
    mem_free(to);
    mem_free(from);
    mem_free(record);
    mem_free(found);
    return rc;
}
