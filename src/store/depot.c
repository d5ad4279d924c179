/* depot.c: what comes into the store and what goes: see depot.h.
 *
 * Owns the lock, and the order of the steps. A model comes in like this: its files are hashed, and
 * linked or copied into a folder ".new.*", while others work; then, with the lock, its record is
 * written there, one rename puts the record into its place, and one the model. It goes by one
 * rename to ".gone.NAME", its record after it. Whatever ends the program between two steps leaves
 * one of these two, by which the next writer knows what is to be removed.
 */
#include "store/depot.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/os.h"
#include "store/store_part.h"

#define LOCK_STEP 0.2 /* seconds between two looks at Ctrl-C */
#define LOCK_SAID 10  /* of these steps before the wait is said */

/* ---- the lock -------------------------------------------------------------------------------- */

static bool in_store(const struct depot *d, const char *name) {
    char path[4096]; /* not of memory that may run out: a record would be taken for an orphan */
    int n = snprintf(path, sizeof path, "%s/%s", d->dir, name);
    return n < 0 || (size_t)n >= sizeof path || os_file_exists(path);
}

/* Of a model that lies in a folder of the store's own, and not in the store: it was about to come,
 * or had just gone. A record of it that stands in the store goes along. */
static void record_sweep(const struct depot *d, const char *name) {
    if (!in_store(d, name)) {
        record_remove(d->dir, name, NULL);
    }
}

/* Of a pull that was killed when its model was in the store: what it had no time to remove. */
static void pull_sweep(const struct depot *d, const char *name) {
    struct os_lock *busy = NULL;
    char *left = NULL, *lock = NULL;
    record_sweep(d, name);
    if (in_store(d, name) && !store_path(&left, NULL, STORE_PULLS "/%s", name) &&
        !store_path(&lock, NULL, "%s/%s.lock", d->dir, left) &&
        !os_lock_take(&busy, lock, 0, NULL)) {
        tree_remove(d->dir, left, NULL);
    }
    os_lock_drop(busy);
    mem_free(lock);
    mem_free(left);
}

/* Calls fn for what could be a model in `left`, a folder of the store's own. */
static void each_left(const struct depot *d, const char *left,
                      void (*fn)(const struct depot *d, const char *name)) {
    char *dir, **names = NULL;
    size_t n = 0;
    if (!store_path(&dir, NULL, "%s/%s", d->dir, left) && !os_is_link(dir) &&
        !os_list(dir, &names, &n, NULL)) {
        for (size_t i = 0; i < n; i++) {
            if (model_name_is_plain(names[i], strlen(names[i]))) {
                fn(d, names[i]);
            }
        }
    }
    mem_free(names);
    mem_free(dir);
}

/* Removes a folder ".new.*" whose owner did not come to the end: nobody holds its lock. */
static void new_sweep(const struct depot *d, const char *left) {
    struct os_file_info info;
    struct os_lock *alive = NULL;
    char *dir = NULL, *lock = NULL;
    if (!store_path(&dir, NULL, "%s/%s", d->dir, left) &&
        !store_path(&lock, NULL, "%s/.lock", dir)) {
        bool folder = !os_is_link(dir) && !os_file_info(dir, &info, NULL) && info.is_folder;
        if (!folder || !os_lock_take(&alive, lock, 0, NULL)) {
            each_left(d, left, record_sweep);
            tree_remove(d->dir, left, NULL);
        }
    }
    os_lock_drop(alive);
    mem_free(lock);
    mem_free(dir);
}

static void sweep(const struct depot *d) {
    char **names = NULL;
    size_t n = 0;
    os_list(d->dir, &names, &n, NULL);
    for (size_t i = 0; i < n; i++) {
        if (strncmp(names[i], ".new.", 5) == 0) {
            new_sweep(d, names[i]);
        } else if (strncmp(names[i], DEPOT_GONE, strlen(DEPOT_GONE)) == 0) {
            gone_end(d->dir, names[i], NULL);
        }
    }
    mem_free(names);
    each_left(d, STORE_PULLS, pull_sweep);
    each_left(d, STORE_MADE, record_sweep);
    made_sweep(d);
    quarantine_sweep(d);
}

enum err_code depot_begin(const struct depot *d, struct os_lock **lock, struct err *e) {
    char *path = NULL;
    *lock = NULL;
    enum err_code rc = os_mkdirs(d->dir, e);
    rc = rc ? rc : store_path(&path, e, "%s/.lock", d->dir);
    for (int look = 0; !rc && !*lock; look++) {
        rc = os_lock_take(lock, path, LOCK_STEP, e);
        if (rc == ERR_CANCELLED) {
            err_clear(e);
            rc = os_stopped(d->stop) ? err_set(e, ERR_CANCELLED, "interrupted") : ERR_OK;
        }
        if (look == LOCK_SAID && !rc && !*lock) {
            depot_say(d, "another program is changing the store; waiting for it");
        }
    }
    mem_free(path);
    if (!rc) {
        sweep(d);
    }
    return rc;
}

enum err_code depot_look(const struct depot *d, struct os_lock **lock, struct err *e) {
    struct os_file_info info;
    *lock = NULL;
    if (!os_file_info(d->dir, &info, NULL) && info.is_folder && !info.writable) {
        return ERR_OK;
    }
    return depot_begin(d, lock, e);
}

enum err_code staging_begin(const struct depot *d, struct staging *s, struct err *e) {
    struct os_lock *lock = NULL;
    char *path = NULL;
    enum err_code rc = depot_begin(d, &lock, e);
    rc = rc ? rc
            : store_path(&s->path, e, "%s/.new.%016llx", d->dir,
                         (unsigned long long)os_random_seed());
    rc = rc ? rc : os_mkdirs(s->path, e);
    rc = rc ? rc : store_path(&path, e, "%s/.lock", s->path);
    rc = rc ? rc : os_lock_take(&s->alive, path, 0, e);
    os_lock_drop(lock);
    mem_free(path);
    return rc;
}

void staging_end(struct staging *s) {
    if (s->path) {
        tree_remove(s->path, "", NULL);
    }
    os_lock_drop(s->alive);
    mem_free(s->path);
    *s = (struct staging){0};
}

/* ---- what is there --------------------------------------------------------------------------- */

bool depot_is_model(const char *root, const char *name) {
    struct os_file_info info;
    char path[4096], **names = NULL; /* without memory a model would not be seen */
    size_t n = 0;
    int len = snprintf(path, sizeof path, "%s/%s/config.json", root, name);
    bool yes = false;
    if (name[0] == '\0' || name[0] == '.' || strcmp(name, STORE_QUARANTINE) == 0 || len < 0 ||
        (size_t)len >= sizeof path) {
        return false;
    }
    bool config = os_file_exists(path);
    path[(size_t)len - strlen("/config.json")] = '\0';
    if (!os_file_info(path, &info, NULL) && !info.is_folder) {
        yes = str_ends(str_c(name), ".gguf");
    } else if (config) {
        yes = true;
    } else if (!os_list(path, &names, &n, NULL)) {
        for (size_t i = 0; i < n && !yes; i++) {
            yes = str_ends(str_c(names[i]), ".gguf");
        }
    }
    mem_free(names);
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
    struct staging staging;   /* its files gather here, under their paths */
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
    bool bare = !info.is_folder && !str_ends(str_c(wanted), ".gguf");
    rc = store_path(&c->name, e, "%s%s", wanted, bare ? ".gguf" : "");
    if (!rc && info.is_folder && str_ends(str_c(wanted), ".gguf")) {
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
    bool folder = !str_ends(str_c(c->name), ".gguf");
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

/* The hash that a user gave; "" for none. */
static enum err_code want_read(const struct coming *c, const char *text, char want[65],
                               struct err *e) {
    want[0] = '\0';
    if (!text || !text[0]) {
        return ERR_OK;
    }
    if (!str_ends(str_c(c->name), ".gguf")) {
        err_set(e, ERR_USAGE, "a folder has no SHA-256 of its own");
        err_hint(e, "leave --sha256 out, or import a file");
        return ERR_USAGE;
    }
    return sha256_read(text, want, e);
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

enum err_code depot_check_place(const struct depot *d, const char *name, struct err *e) {
    struct os_file_info info;
    char *model = NULL, *record = NULL;
    enum err_code rc = store_path(&model, e, "%s/%s", d->dir, name);
    rc = rc ? rc : store_path(&record, e, "%s.sha256", model);
    if (!rc && os_file_exists(model) && !depot_is_model(d->dir, name)) {
        rc = err_set(e, ERR_FORMAT, "something that is no model has its name");
        err_where(e, "%s", model);
    } else if (!rc && !os_file_info(record, &info, NULL) && info.is_folder) {
        rc = err_set(e, ERR_FORMAT, "a folder stands where the record of a model belongs");
        err_where(e, "%s", record);
    }
    if (rc == ERR_FORMAT) {
        err_hint(e, "move it out of the store, or give the model another name with --name");
    }
    mem_free(record);
    mem_free(model);
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

/* Whether the files of a model that has no record are these. */
static enum err_code files_same(const struct depot *d, const char *name,
                                const struct store_files *files, bool *same, struct err *e) {
    struct store_files there;
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
    files_fini(&there);
    return rc;
}

/* Gives a model that has no record, and whose files are these, the record: if it is still the one
 * that was read. */
static enum err_code model_adopt(const struct depot *d, const char *name,
                                 const struct store_files *files, bool *same, struct err *e) {
    char before[DIGEST_HEX], after[DIGEST_HEX];
    struct staging s = {0};
    struct os_lock *lock = NULL;
    enum err_code rc = depot_stamp(d, name, before, e);
    if (rc || (rc = files_same(d, name, files, same, e)) || !*same ||
        (rc = staging_begin(d, &s, e)) || (rc = depot_begin(d, &lock, e)) ||
        (rc = depot_stamp(d, name, after, e))) {
        goto done;
    }
    *same = strcmp(before, after) == 0;
    rc = *same ? record_settle(d, s.path, name, files, e) : ERR_OK;
done:
    os_lock_drop(lock);
    staging_end(&s);
    return rc;
}

enum match {
    MATCH_NONE, /* no record, or none that can be read as one */
    MATCH_OTHER,
    MATCH_SAME
};

/* Compares a model's record with these files. ERR_NOMEM. */
static enum err_code record_match(const struct depot *d, const char *name,
                                  const struct store_files *files, enum match *match,
                                  struct err *e) {
    struct store_files old;
    size_t n, n_old;
    files_init(&old);
    enum err_code rc = record_read(d->dir, name, &old, NULL);
    const struct store_file *f = files_at(files, &n), *o = files_at(&old, &n_old);
    bool same = !rc && n == n_old;
    for (size_t i = 0; i < n && same; i++) {
        same = strcmp(f[i].path, o[i].path) == 0 && strcmp(f[i].sha256, o[i].sha256) == 0;
    }
    *match = same ? MATCH_SAME : rc == ERR_NOTFOUND || rc == ERR_FORMAT ? MATCH_NONE : MATCH_OTHER;
    files_fini(&old);
    return rc == ERR_NOMEM ? err_set(e, rc, "out of memory for a record") : ERR_OK;
}

static enum err_code other_model(const struct depot *d, const char *name, struct err *e) {
    err_set(e, ERR_USAGE, "the store has another model called %s", name);
    err_where(e, "%s", d->dir);
    err_hint(e, "give this one another name with --name, or take that one away: ign models remove");
    return ERR_USAGE;
}

enum err_code depot_compare(const struct depot *d, const char *name,
                            const struct store_files *files, bool *known, struct err *e) {
    *known = false;
    enum err_code rc = depot_check_place(d, name, e);
    if (rc || !depot_is_model(d->dir, name)) {
        return rc;
    }
    enum match match;
    rc = record_match(d, name, files, &match, e);
    *known = match == MATCH_SAME;
    if (!rc && match == MATCH_NONE) {
        rc = model_adopt(d, name, files, known, e);
    }
    return rc || *known ? rc : other_model(d, name, e);
}

enum err_code folder_make(char *path, struct err *e) {
    char *slash = strrchr(path, '/');
    *slash = '\0';
    enum err_code rc = os_mkdirs(path, e);
    *slash = '/';
    return rc;
}

/* One file into the staging folder: a second name of the source or of what the store has; *there
 * says whether there could be one. */
static enum err_code file_link(struct coming *c, const struct twins *t, size_t i, bool *there,
                               struct err *e) {
    size_t n;
    const struct store_file *f = files_at(&c->files, &n);
    char *to = NULL, *from = NULL;
    enum err_code rc = sibling_link(c->staging.path, &c->files, i, there, e);
    if (!rc && !*there && !(rc = store_path(&to, e, "%s/%s", c->staging.path, f[i].path)) &&
        !(rc = source_path(c, &f[i], &from, e)) &&
        !(rc = twin_link(t, c->d, f[i].sha256, to, there, e)) && !*there) {
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
    enum err_code rc = store_path(&to, e, "%s/%s", c->staging.path, f->path);
    if (!rc && !(rc = source_path(c, f, &from, e)) && !(rc = os_map_open(&m, from, false, e))) {
        rc = bytes_store(c->d, to, m.data, m.size, &m.lost, f->sha256, hex, e);
        os_map_close(&m);
    }
    mem_free(from);
    mem_free(to);
    return rc;
}

/* Brings the record to its place, then the model. */
static enum err_code settle(const struct depot *d, const char *staging, const char *name,
                            const struct store_files *files, struct err *e) {
    char *from = NULL, *to = NULL;
    enum err_code rc = store_path(&from, e, "%s/%s", staging, name);
    if (!rc && !(rc = store_path(&to, e, "%s/%s", d->dir, name)) &&
        !(rc = record_settle(d, staging, name, files, e)) && (rc = os_rename(from, to, e))) {
        record_remove(d->dir, name, NULL);
    }
    mem_free(to);
    mem_free(from);
    return rc;
}

enum err_code depot_place(const struct depot *d, const char *staging, const char *name,
                          const struct store_files *files, bool *known, struct err *e) {
    struct os_lock *lock = NULL;
    *known = false;
    /* Twins are read and hashed: once before the lock, so that with it there is none left to read.
     */
    enum err_code rc = twins_join(d, staging, files, e);
    if (rc || (rc = depot_begin(d, &lock, e)) || (rc = depot_check_place(d, name, e))) {
        goto done;
    }
    if (depot_is_model(d->dir, name)) {
        enum match match;
        rc = record_match(d, name, files, &match, e);
        *known = match == MATCH_SAME;
        rc = rc || *known ? rc : other_model(d, name, e);
    } else if (!(rc = twins_join(d, staging, files, e))) {
        rc = settle(d, staging, name, files, e);
    }
done:
    os_lock_drop(lock);
    return rc;
}

/* All that can be is linked first: only then it is known how much room the rest takes. */
static enum err_code bring(struct coming *c, bool *known, struct err *e) {
    size_t n;
    struct store_file *f = files_at(&c->files, &n);
    struct twins twins = {0};
    uint64_t left = 0;
    bool *there = mem_zalloc(n ? n : 1, sizeof *there);
    enum err_code rc = there ? staging_begin(c->d, &c->staging, e)
                             : err_set(e, ERR_NOMEM, "out of memory for a list of files");
    rc = rc ? rc : twins_read(&twins, c->d, e);
    for (size_t i = 0; i < n && !rc; i++) {
        rc = file_link(c, &twins, i, &there[i], e);
        left += there[i] ? 0 : f[i].bytes; /* of files on this machine: no overflow */
        c->linked = (i == 0 || c->linked) && there[i];
    }
    rc = rc ? rc : room_check(c->d->dir, left, e);
    for (size_t i = 0; i < n && !rc; i++) {
        if (!there[i] && !(rc = sibling_link(c->staging.path, &c->files, i, &there[i], e)) &&
            !there[i]) {
            rc = file_copy(c, &f[i], e);
        }
    }
    rc = rc ? rc : depot_place(c->d, c->staging.path, c->name, &c->files, known, e);
    staging_end(&c->staging);
    twins_fini(&twins);
    mem_free(there);
    return rc;
}

enum err_code depot_import(const struct depot *d, const char *path, const char *name,
                           const char *sha256, enum depot_came *came, char **name_out,
                           struct err *e) {
    struct coming c = {.d = d};
    bool known = false;
    *name_out = NULL;
    files_init(&c.files);
    enum err_code rc = coming_name(&c, path, name, e);
    if (rc || (rc = check_kind(&c, e)) || (rc = files_list(&c.files, c.root, c.from, c.name, e)) ||
        (rc = hash_all(&c, sha256, e)) || (rc = depot_compare(d, c.name, &c.files, &known, e)) ||
        (!known && (rc = bring(&c, &known, e)))) {
        goto done;
    }
    *came = known ? DEPOT_KNOWN : c.linked ? DEPOT_LINKED : DEPOT_COPIED;
    *name_out = c.name;
    c.name = NULL;
done:
    files_fini(&c.files);
    mem_free(c.name);
    mem_free(c.from);
    mem_free(c.root);
    return rc;
}

/* ---- remove ---------------------------------------------------------------------------------- */

/* A name is cut where it could have no record: one is longer by as much. */
enum { RECORDED_MOST = 255 - sizeof ".sha256" + 1 };

enum err_code depot_take_out(const char *root, const char *name, struct err *e) {
    char gone[sizeof DEPOT_GONE + RECORDED_MOST], *from = NULL, *to = NULL;
    snprintf(gone, sizeof gone, DEPOT_GONE "%s", name);
    enum err_code rc = store_path(&from, e, "%s/%s", root, name);
    rc = rc ? rc : store_path(&to, e, "%s/%s", root, gone);
    rc = rc ? rc : os_rename(from, to, e);
    rc = rc ? rc : gone_end(root, gone, e);
    mem_free(to);
    mem_free(from);
    return rc;
}

enum err_code gone_end(const char *root, const char *gone, struct err *e) {
    const char *name = gone + strlen(DEPOT_GONE);
    char *model;
    enum err_code rc = store_path(&model, e, "%s/%s", root, name);
    if (!rc && !os_file_exists(model)) {
        rc = record_remove(root, name, e);
    }
    mem_free(model);
    return rc ? rc : tree_remove(root, gone, e);
}

enum err_code depot_remove(const struct depot *d, const char *name, struct err *e) {
    bool kept = strncmp(name, STORE_QUARANTINE "/", sizeof STORE_QUARANTINE) == 0;
    struct depot in = *d;
    struct os_lock *lock = NULL;
    char *away = NULL, *found = NULL;
    enum err_code rc = kept ? quarantine_path(d, &away, e) : ERR_OK;
    name += kept ? sizeof STORE_QUARANTINE : 0;
    in.dir = kept ? away : d->dir;
    /* It is looked for before, so that no store is made for a name that is not there, and after:
     * another program may have removed it while this one waited. */
    rc = rc ? rc : depot_find(&in, name, &found, e);
    mem_free(found);
    found = NULL;
    if (!rc && !(rc = depot_begin(d, &lock, e)) && !(rc = depot_find(&in, name, &found, e))) {
        rc = depot_take_out(in.dir, found, e);
    }
    if (kept && !rc) {
        os_remove_folder(away, NULL); /* if that was the last */
    }
    os_lock_drop(lock);
    mem_free(found);
    mem_free(away);
    return rc;
}
