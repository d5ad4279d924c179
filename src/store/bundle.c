/* bundle.c: see bundle.h.
 *
 * Owns the manifest, and the two shapes of a bundle. Invariant: every name of a manifest is judged
 * before anything is written, and every file that comes out is hashed, wherever its bytes lay.
 */
#include "store/bundle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"
#include "observe/digest.h"
#include "store/signature.h"
#include "store/store_part.h"
#include "store/tar.h"

#define MANIFEST  "manifest.json"
#define SIGNATURE "manifest.json.sig"

enum { MANIFEST_MOST = 1 << 24, MODELS_MOST = 1024 };

/* A model of a manifest. */
struct packed {
    char *name;
    struct store_files files;
    size_t place; /* of its first file */
};

/* A file of a manifest, and where its bytes are. */
struct place {
    const struct store_file *file;
    size_t at;    /* in the manifest's order */
    size_t first; /* the place whose bytes are in the bundle for this one, too: `at` or less */
    const uint8_t *data; /* [file->bytes] of an archive, where it is its own first; else NULL */
};

struct manifest {
    struct packed model[MODELS_MOST];
    size_t n_model;
    int version;         /* 1: each file is there by itself; 2: of equal ones the first */
    struct place *place; /* [n_place] of all files, in order */
    size_t n_place;
};

static void manifest_free(struct manifest *m) {
    for (size_t i = 0; m && i < m->n_model; i++) {
        mem_free(m->model[i].name);
        files_fini(&m->model[i].files);
    }
    if (m) {
        mem_free(m->place);
    }
    mem_free(m);
}

static enum err_code manifest_create(struct manifest **m, struct err *e) {
    *m = mem_zalloc(1, sizeof **m);
    return *m ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory for a manifest");
}

static int by_hash(const void *a, const void *b) {
    const struct place *x = a, *y = b;
    int order = strcmp(x->file->sha256, y->file->sha256);
    return order ? order : (x->at > y->at) - (x->at < y->at);
}

static int by_order(const void *a, const void *b) {
    const struct place *x = a, *y = b;
    return (x->at > y->at) - (x->at < y->at);
}

/* Finds equal files by their hashes; *odd: the first that has another size than one of its hash. */
static void places_join(struct manifest *m, const struct store_file **odd) {
    struct place *p = m->place;
    qsort(p, m->n_place, sizeof *p, by_hash);
    for (size_t i = 1; i < m->n_place; i++) {
        if (strcmp(p[i].file->sha256, p[i - 1].file->sha256) == 0) {
            p[i].first = p[i - 1].first;
            *odd = p[i].file->bytes != p[i - 1].file->bytes ? p[i].file : *odd;
        }
    }
    qsort(p, m->n_place, sizeof *p, by_order);
}

/* The places of all files; each its own first. */
static enum err_code places_make(struct manifest *m, struct err *e) {
    size_t n = 0, k;
    for (size_t i = 0; i < m->n_model; i++) {
        files_at(&m->model[i].files, &k);
        m->model[i].place = n;
        n += k;
    }
    m->place = mem_zalloc(n ? n : 1, sizeof *m->place);
    if (!m->place) {
        return err_set(e, ERR_NOMEM, "out of memory for a manifest");
    }
    for (size_t i = 0; i < m->n_model; i++) {
        const struct store_file *f = files_at(&m->model[i].files, &k);
        for (size_t j = 0; j < k; j++, m->n_place++) {
            m->place[m->n_place] =
                (struct place){.file = &f[j], .at = m->n_place, .first = m->n_place};
        }
    }
    return ERR_OK;
}

static bool is_first(const struct place *p) {
    return p->first == p->at;
}

/* Of the files as they are in the bundle, and how many these are. */
static uint64_t places_bytes(const struct manifest *m, size_t *n) {
    uint64_t sum = 0;
    *n = 0;
    for (size_t i = 0; i < m->n_place; i++) {
        uint64_t bytes = is_first(&m->place[i]) ? m->place[i].file->bytes : 0;
        sum = bytes > UINT64_MAX - sum ? UINT64_MAX : sum + bytes;
        *n += is_first(&m->place[i]);
    }
    return sum;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* The sizes of the files that a record names, as they are now. */
static enum err_code sizes_fill(const struct depot *d, struct store_files *files, struct err *e) {
    size_t n;
    struct store_file *f = files_at(files, &n);
    enum err_code rc = ERR_OK;
    for (size_t i = 0; i < n && !rc; i++) {
        struct os_file_info info;
        char *path;
        rc = store_path(&path, e, "%s/%s", d->dir, f[i].path);
        if (!rc && !(rc = os_file_info(path, &info, e))) {
            f[i].bytes = info.size;
        }
        mem_free(path);
    }
    return rc;
}

static enum err_code manifest_gather(struct manifest *m, const struct depot *d,
                                     const char *const *names, size_t n, struct err *e) {
    if (n > MODELS_MOST) {
        return err_set(e, ERR_LIMIT, "a bundle holds at most %d models", MODELS_MOST);
    }
    enum err_code rc = ERR_OK;
    for (size_t i = 0; i < n && !rc; i++) {
        struct packed *p = &m->model[m->n_model++];
        files_init(&p->files);
        rc = depot_find(d, names[i], &p->name, e);
        for (size_t k = 0; !rc && k < i; k++) {
            if (strcmp(p->name, m->model[k].name) == 0) {
                rc = err_set(e, ERR_USAGE, "%s is named twice", p->name);
                err_hint(e, "name each model once");
            }
        }
        if (!rc && (rc = record_read(d->dir, p->name, &p->files, e)) == ERR_NOTFOUND) {
            err_clear(e);
            rc = err_set(e, ERR_NOTFOUND, "%s has no record of its SHA-256", p->name);
            err_where(e, "%s", d->dir);
            err_hint(e, "run 'ign models import' on it, which makes one");
        }
        rc = rc ? rc : sizes_fill(d, &p->files, e);
    }
    return rc ? rc : places_make(m, e);
}

/* Equal files are to be in the bundle once: version 2, where there are any. */
static enum err_code manifest_join(struct manifest *m, const struct depot *d, struct err *e) {
    const struct store_file *odd = NULL;
    places_join(m, &odd);
    if (odd) { /* one of the two has been cut */
        err_set(e, ERR_FORMAT, "its bytes are not those that were recorded");
        err_where(e, "%s/%s", d->dir, odd->path);
        err_hint(e, "'ign models verify' takes what is broken out of the store; get it again");
        return ERR_FORMAT;
    }
    m->version = 1;
    for (size_t i = 0; i < m->n_place; i++) {
        m->version = is_first(&m->place[i]) ? m->version : 2;
    }
    return ERR_OK;
}

static void manifest_text(const struct manifest *m, struct buf *out) {
    struct json_writer w;
    json_writer_init(&w, out);
    json_open(&w, '{');
    json_member_z(&w, "format", "ign-bundle");
    json_member_int(&w, "version", m->version);
    json_key(&w, "models");
    json_open(&w, '[');
    for (size_t i = 0; i < m->n_model; i++) {
        size_t n;
        const struct store_file *f = files_at(&m->model[i].files, &n);
        json_open(&w, '{');
        json_member_z(&w, "name", m->model[i].name);
        json_key(&w, "files");
        json_open(&w, '[');
        for (size_t k = 0; k < n; k++) {
            json_open(&w, '{');
            json_member_z(&w, "path", f[k].path);
            json_member_uint(&w, "bytes", f[k].bytes);
            json_member_z(&w, "sha256", f[k].sha256);
            json_close(&w, '}');
        }
        json_close(&w, ']');
        json_close(&w, '}');
    }
    json_close(&w, ']');
    json_close(&w, '}');
    buf_putc(out, '\n');
}

/* Where the pieces of a bundle go: into `out`, or below the folder `root`. */
struct sink {
    const struct depot *d;
    const char *root;
    struct os_out *out; /* NULL: a folder */
};

static enum err_code out_padded(struct os_out *out, const uint8_t *p, size_t n, struct err *e) {
    static const uint8_t zeros[TAR_BLOCK];
    enum err_code rc = os_out_write(out, p, n, e);
    return rc ? rc : os_out_write(out, zeros, (TAR_BLOCK - n % TAR_BLOCK) % TAR_BLOCK, e);
}

/* A short piece, whose bytes are in memory. */
static enum err_code sink_text(const struct sink *s, const char *name, const void *p, size_t n,
                               struct err *e) {
    uint8_t block[TAR_BLOCK];
    char *path;
    enum err_code rc;
    if (s->out) {
        rc = tar_header(block, name, n, e);
        if (!rc && !(rc = os_out_write(s->out, block, TAR_BLOCK, e))) {
            rc = out_padded(s->out, p, n, e);
        }
        return rc;
    }
    rc = store_path(&path, e, "%s/%s", s->root, name);
    if (!rc) {
        rc = os_write_file(path, p, n, e);
    }
    mem_free(path);
    return rc;
}

/* A file of the store into the archive, hashed on its way. */
static enum err_code out_file(const struct sink *s, const struct store_file *f,
                              const struct os_map *m, struct err *e) {
    enum { STEP = 4 << 20 }; /* a multiple of TAR_BLOCK */
    uint8_t block[TAR_BLOCK];
    char hex[DIGEST_HEX] = "";
    struct digest *h = digest_create();
    uint8_t *step = mem_alloc(STEP, 1); /* what is hashed is what is written */
    enum err_code rc = h && step ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory for a bundle");
    if (!rc && !(rc = tar_header(block, f->path, f->bytes, e))) {
        rc = os_out_write(s->out, block, TAR_BLOCK, e);
    }
    for (size_t at = 0; at < m->size && !rc && !m->lost; at += STEP) {
        size_t n = m->size - at < STEP ? m->size - at : STEP;
        rc = depot_tell(s->d, f->path, at, m->size, e);
        if (!rc) {
            memcpy(step, m->data + at, n);
            digest_add(h, step, n);
            rc = out_padded(s->out, step, n, e);
        }
    }
    if (h) {
        digest_end(h, hex);
    }
    mem_free(step);
    if (!rc && (m->lost || strcmp(hex, f->sha256) != 0)) {
        rc = err_set(e, ERR_FORMAT, "its bytes are not those that were recorded");
        err_hint(e, "'ign models verify' takes it out of the store; get it again");
    }
    return rc;
}

static enum err_code sink_file(const struct sink *s, const struct store_file *f, struct err *e) {
    struct os_map m;
    char *from = NULL, *to = NULL, hex[65];
    enum err_code rc = store_path(&from, e, "%s/%s", s->d->dir, f->path);
    if (rc || (rc = os_map_open(&m, from, false, e))) {
        mem_free(from);
        return rc;
    }
    if (m.size != f->bytes) {
        rc = err_set(e, ERR_IO, "it changed while it was bundled");
    } else if (s->out) {
        rc = out_file(s, f, &m, e);
    } else if (!(rc = store_path(&to, e, "%s/%s", s->root, f->path)) &&
               !(rc = folder_make(to, e))) {
        rc = bytes_store(s->d, to, m.data, m.size, &m.lost, f->sha256, hex, e);
    }
    if (rc) {
        err_where(e, "%s", from);
    }
    os_map_close(&m);
    mem_free(to);
    mem_free(from);
    return rc;
}

static enum err_code sink_models(const struct sink *s, const struct manifest *m, struct err *e) {
    enum err_code rc = ERR_OK;
    for (size_t i = 0; i < m->n_place && !rc; i++) {
        rc = is_first(&m->place[i]) ? sink_file(s, m->place[i].file, e) : ERR_OK;
    }
    return rc;
}

/* The signature of the manifest where there is a key. */
static enum err_code sink_signature(const struct sink *s, const struct buf *text,
                                    const char *secret, struct err *e) {
    char signature[SIGNATURE_HEX + 1];
    if (!secret) {
        return ERR_OK;
    }
    signature_make(secret, text->p, text->len, signature);
    memcpy(signature + SIGNATURE_HEX - 1, "\n", 2);
    return sink_text(s, SIGNATURE, signature, SIGNATURE_HEX, e);
}

/* Whether the disk that `dir` is on takes all of it, headers included. */
static enum err_code sink_room(const struct manifest *m, const struct buf *text, const char *dir,
                               struct err *e) {
    size_t n;
    uint64_t bytes = places_bytes(m, &n), more = text->len + n * 2 * TAR_BLOCK;
    return room_check_for(dir, bytes > UINT64_MAX - more ? bytes : bytes + more,
                          "make room there, take another medium, or fewer models at once", e);
}

/* In one file: whole or not at all. */
static enum err_code write_file(const struct depot *d, const struct manifest *m,
                                const struct buf *text, const char *to, const char *secret,
                                struct err *e) {
    static const uint8_t zeros[2 * TAR_BLOCK];
    struct sink s = {.d = d};
    if (os_file_exists(to) || os_is_link(to)) {
        err_set(e, ERR_USAGE, "something of that name is there");
        err_where(e, "%s", to);
        err_hint(e, "name another file, or remove that one");
        return ERR_USAGE;
    }
    const char *slash = strrchr(to, '/');
    char *dir;
    enum err_code rc = slash ? store_path(&dir, e, "%.*s", slash > to ? (int)(slash - to) : 1, to)
                             : store_path(&dir, e, ".");
    rc = rc ? rc : sink_room(m, text, dir, e);
    mem_free(dir);
    if (rc || (rc = os_out_open(&s.out, to, e))) {
        return rc;
    }
    if ((rc = sink_text(&s, MANIFEST, text->p, text->len, e)) ||
        (rc = sink_signature(&s, text, secret, e)) || (rc = sink_models(&s, m, e)) ||
        (rc = os_out_write(s.out, zeros, sizeof zeros, e))) {
        os_out_drop(s.out);
        return rc;
    }
    return os_out_commit(s.out, e);
}

/* Whether nothing in a folder has a name that the bundle would take: only then what is there after
 * a failure is ours to remove. */
static enum err_code folder_check(const struct manifest *m, const char *to, struct err *e) {
    enum err_code rc = ERR_OK;
    for (size_t i = 0; i < m->n_model + 2 && !rc; i++) {
        char *path;
        const char *name = i == 0 ? MANIFEST : i == 1 ? SIGNATURE : m->model[i - 2].name;
        rc = store_path(&path, e, "%s/%s", to, name);
        if (!rc && (os_file_exists(path) || os_is_link(path))) {
            rc = err_set(e, ERR_USAGE, "%s",
                         i < 2 ? "a bundle is there already" : "something of that name is there");
            err_where(e, "%s", path);
            err_hint(e, "name another folder, or remove that one");
        }
        mem_free(path);
    }
    return rc;
}

/* In a folder: without its manifest, which comes last, it is no bundle. */
static enum err_code write_folder(const struct depot *d, const struct manifest *m,
                                  const struct buf *text, const char *to, const char *secret,
                                  struct err *e) {
    struct sink s = {.d = d, .root = to};
    enum err_code rc = os_mkdirs(to, e);
    if (rc || (rc = folder_check(m, to, e)) || (rc = sink_room(m, text, to, e))) {
        return rc;
    }
    if (!(rc = sink_models(&s, m, e)) && !(rc = sink_signature(&s, text, secret, e))) {
        rc = sink_text(&s, MANIFEST, text->p, text->len, e);
    }
    if (rc) {
        for (size_t i = 0; i < m->n_model; i++) {
            tree_remove(to, m->model[i].name, NULL);
        }
        tree_remove(to, SIGNATURE, NULL);
    }
    return rc;
}

enum err_code bundle_write(const struct depot *d, const char *const *names, size_t n,
                           const char *to, const char *secret, uint64_t *bytes, struct err *e) {
    struct manifest *m;
    struct os_file_info info;
    struct os_lock *lock = NULL;
    struct buf text;
    size_t n_file;
    buf_init(&text, MANIFEST_MOST);
    enum err_code rc = manifest_create(&m, e);
    rc = rc ? rc : depot_look(d, &lock, e);
    rc = rc ? rc : manifest_gather(m, d, names, n, e);
    os_lock_drop(lock); /* a stick is slow: what others change meanwhile is seen by its hash */
    if (rc || (rc = manifest_join(m, d, e))) {
        goto done;
    }
    manifest_text(m, &text);
    rc = buf_check(&text, e);
    if (rc) {
        goto done;
    }
    *bytes = places_bytes(m, &n_file);
    bool folder = to[0] && to[strlen(to) - 1] == '/';
    folder = folder || (!os_file_info(to, &info, NULL) && info.is_folder);
    rc = folder ? write_folder(d, m, &text, to, secret, e) : write_file(d, m, &text, to, secret, e);
done:
    buf_fini(&text);
    manifest_free(m);
    return rc;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* A bundle that is read from its beginning to its end. */
struct pack {
    const char *root; /* a folder, or the file */
    bool folder;
    struct os_map map; /* of the file */
    size_t at;         /* of the next header in it */
};

/* Bytes of a bundle, borrowed from it or mapped. */
struct piece {
    const uint8_t *p;
    size_t n;
    const volatile int *lost;
    struct os_map map; /* of a file in a folder */
    bool mapped;
    char *text; /* a copy that nobody else can change (mem_free); NULL: p is not one */
};

static void piece_close(struct piece *x) {
    if (x->mapped) {
        os_map_close(&x->map);
    }
    x->mapped = false;
    mem_free(x->text);
    x->text = NULL;
}

/* Makes *x a copy, so that what is checked is what is used; on a medium that somebody else made a
 * file may change from one read to the next. At most MANIFEST_MOST bytes: ERR_FORMAT. */
static enum err_code piece_copy(struct piece *x, struct err *e) {
    if (x->n > MANIFEST_MOST) {
        err_set(e, ERR_FORMAT, "its manifest is too long");
        err_hint(e, "it must come from 'ign models bundle'");
        return ERR_FORMAT;
    }
    char *text = mem_alloc(x->n + 1, 1);
    if (!text) {
        return err_set(e, ERR_NOMEM, "out of memory for a manifest");
    }
    if (x->n > 0) {
        memcpy(text, x->p, x->n);
    }
    text[x->n] = '\0';
    if (x->mapped) {
        os_map_close(&x->map);
    }
    x->mapped = false;
    x->text = text;
    x->p = (const uint8_t *)text;
    return ERR_OK;
}

/* The next piece, which must have that name; ERR_NOTFOUND where it has another. *x stays where it
 * is until piece_close. */
static enum err_code pack_next(struct pack *k, const char *name, struct piece *x, struct err *e) {
    struct tar_member m;
    enum err_code rc;
    x->mapped = false;
    x->text = NULL;
    if (k->folder) {
        char *path;
        rc = store_path(&path, e, "%s/%s", k->root, name);
        if (!rc && !(rc = os_map_open(&x->map, path, false, e))) {
            x->mapped = true;
            x->p = x->map.data;
            x->n = x->map.size;
            x->lost = &x->map.lost;
        }
        mem_free(path);
        return rc;
    }
    rc = tar_read(k->map.data, k->map.size, k->at, &m, e);
    if (rc || strcmp(m.path, name) != 0) {
        return rc && rc != ERR_NOTFOUND ? rc : err_set(e, ERR_NOTFOUND, "no %s in it", name);
    }
    *x = (struct piece){.p = m.data, .n = (size_t)m.size, .lost = &k->map.lost};
    k->at = m.next;
    return ERR_OK;
}

static enum err_code refuse(const char *what, struct err *e) {
    err_set(e, ERR_FORMAT, "its manifest is not one: %s", what);
    err_hint(e, "it must come from 'ign models bundle'");
    return ERR_FORMAT;
}

/* "models": [{"files": [...]}], one file. */
static enum err_code file_read(struct packed *p, const struct json *j, struct err *e) {
    struct str path = json_str(json_find(j, "path")), hash = json_str(json_find(j, "sha256"));
    int64_t bytes = json_int(json_find(j, "bytes"));
    size_t n, len = strlen(p->name);
    if (!path_is_plain(path.p, path.n) || path.n < len || memcmp(path.p, p->name, len) != 0 ||
        (path.n > len && path.p[len] != '/')) {
        return refuse("a path that leads out of its model's folder, or too deep into it", e);
    }
    if (hash.n != 64 || strspn(hash.p, "0123456789abcdef") < 64 || bytes < 0 ||
        json_kind(json_find(j, "bytes")) != JSON_IS_INT) {
        return refuse("a file without a size or a hash", e);
    }
    char *name = mem_strdup(path.p, path.n), hex[65];
    if (!name) {
        return err_set(e, ERR_NOMEM, "out of memory for a manifest");
    }
    snprintf(hex, sizeof hex, "%.*s", (int)hash.n, hash.p);
    const struct store_file *f = files_at(&p->files, &n);
    enum err_code rc = ERR_OK;
    for (size_t i = 0; i < n && !rc; i++) {
        rc = strcmp(f[i].path, name) == 0 ? refuse("a file twice", e) : ERR_OK;
    }
    rc = rc ? rc : files_add(&p->files, name, (uint64_t)bytes, hex, e);
    mem_free(name);
    return rc;
}

static enum err_code model_read(struct manifest *m, const struct json *j, struct err *e) {
    const struct json *files = json_find(j, "files");
    struct str name = json_str(json_find(j, "name"));
    if (m->n_model == MODELS_MOST || !model_name_is_plain(name.p, name.n)) {
        return refuse("a model with no plain name, or too many of them", e);
    }
    struct packed *p = &m->model[m->n_model];
    p->name = mem_strdup(name.p, name.n);
    if (!p->name) {
        return err_set(e, ERR_NOMEM, "out of memory for a manifest");
    }
    files_init(&p->files);
    m->n_model++;
    enum err_code rc = json_count(files) ? ERR_OK : refuse("a model without files", e);
    for (size_t i = 0; i + 1 < m->n_model && !rc; i++) {
        rc = strcmp(m->model[i].name, p->name) == 0 ? refuse("a model twice", e) : ERR_OK;
    }
    for (size_t i = 0; !rc && i < json_count(files); i++) {
        rc = file_read(p, json_at(files, i), e);
    }
    return rc;
}

static enum err_code manifest_read(struct manifest *m, const struct piece *x, struct err *e) {
    struct json *root;
    struct err why = {0};
    enum err_code rc = json_parse((const char *)x->p, x->n, &root, &why);
    if (rc) { /* its place is a line of the manifest: the bundle's name is wanted, too */
        err_set(e, rc, "its manifest cannot be read: %s", why.what);
        err_hint(e, "copy it again; it must come from 'ign models bundle'");
        return rc;
    }
    const struct json *models = json_find(root, "models");
    int64_t version = json_int(json_find(root, "version"));
    if (!str_is(json_str(json_find(root, "format")), "ign-bundle") ||
        (version != 1 && version != 2)) {
        rc = refuse("neither its format nor its version is known here", e);
    } else if (json_kind(models) != JSON_IS_ARRAY || json_count(models) == 0) {
        rc = refuse("it names no model", e);
    }
    for (size_t i = 0; !rc && i < json_count(models); i++) {
        rc = model_read(m, json_at(models, i), e);
    }
    json_free(root);
    rc = rc ? rc : places_make(m, e);
    if (!rc && version == 2) {
        const struct store_file *odd = NULL;
        places_join(m, &odd);
        rc = odd ? refuse("two sizes of one hash", e) : ERR_OK;
    }
    return rc;
}

/* The manifest, once its signature has been looked at. */
static enum err_code open_manifest(struct pack *k, const char *open, struct manifest *m,
                                   struct err *e) {
    struct piece text, signature;
    struct err why = {0};
    enum err_code rc = pack_next(k, MANIFEST, &text, e);
    if (rc == ERR_NOTFOUND) {
        err_clear(e);
        rc = err_set(e, ERR_FORMAT, "not a bundle: it does not begin with a manifest");
        err_hint(e, "it must come from 'ign models bundle'");
    }
    if (rc) {
        return rc;
    }
    if ((rc = piece_copy(&text, e))) {
        piece_close(&text);
        return rc;
    }
    enum err_code signed_rc = pack_next(k, SIGNATURE, &signature, &why);
    if (!signed_rc && (signed_rc = piece_copy(&signature, &why))) {
        piece_close(&signature);
    }
    if (signed_rc && signed_rc != ERR_NOTFOUND) {
        rc = err_set(e, signed_rc, "%s", why.what);
        err_hint(e, "%s", why.hint);
    } else if (open && signed_rc == ERR_NOTFOUND) {
        rc = err_set(e, ERR_FORMAT, "it has no signature, and a key is configured");
        err_hint(e, "do not use it; ask for one that is signed, or see to --bundle-key");
    } else if (open) {
        rc = signature_check(open, text.p, text.n, (const char *)signature.p, signature.n, e);
    }
    rc = rc ? rc : manifest_read(m, &text, e);
    if (!signed_rc) {
        piece_close(&signature);
    }
    piece_close(&text);
    return rc;
}

static enum err_code missing(const struct store_file *f, struct err *e) {
    err_clear(e);
    err_set(e, ERR_FORMAT, "%s is missing in it, or not in its place", f->path);
    err_hint(e, "copy it again; it must come from 'ign models bundle'");
    return ERR_FORMAT;
}

/* Whether the archive holds the files of the manifest in its order, and no more: before any of them
 * is taken. */
static enum err_code archive_check(const struct pack *k, struct manifest *m, struct err *e) {
    struct tar_member x;
    size_t at = k->at;
    for (size_t i = 0; i < m->n_place; i++) {
        struct place *p = &m->place[i];
        if (!is_first(p)) {
            continue;
        }
        enum err_code rc = tar_read(k->map.data, k->map.size, at, &x, e);
        if (rc && rc != ERR_NOTFOUND) {
            return rc;
        }
        if (rc || strcmp(x.path, p->file->path) != 0 || x.size != p->file->bytes) {
            return missing(p->file, e);
        }
        p->data = x.data;
        at = x.next;
    }
    if (tar_read(k->map.data, k->map.size, at, &x, NULL) != ERR_NOTFOUND) {
        err_set(e, ERR_FORMAT, "there is more in it than its manifest names");
        err_hint(e, "do not use it: it was changed after it was made");
        return ERR_FORMAT;
    }
    return ERR_OK;
}

/* The bytes of a file, wherever they are; *x stays where it is until piece_close. */
static enum err_code pack_file(struct pack *k, const struct manifest *m, const struct place *p,
                               struct piece *x, struct err *e) {
    const struct place *first = &m->place[p->first];
    if (k->folder) {
        return pack_next(k, first->file->path, x, e);
    }
    *x = (struct piece){.p = first->data, .n = (size_t)first->file->bytes, .lost = &k->map.lost};
    return ERR_OK;
}

/* File i of a model of a bundle into `staging`; NULL: it is only looked at. */
static enum err_code file_take(const struct depot *d, struct pack *k, const struct manifest *m,
                               const struct packed *p, size_t i, const struct twins *twins,
                               const char *staging, struct err *e) {
    const struct place *place = &m->place[p->place + i];
    const struct store_file *f = place->file;
    struct piece x;
    char *to = NULL, hex[65];
    bool linked = false;
    enum err_code rc = pack_file(k, m, place, &x, e);
    if (rc) {
        return rc == ERR_NOTFOUND ? missing(f, e) : rc;
    }
    if (x.n != f->bytes) {
        rc = err_set(e, ERR_FORMAT, "%s has %zu bytes, not %llu", f->path, x.n,
                     (unsigned long long)f->bytes);
        err_hint(e, "copy it again; it must come from 'ign models bundle'");
    } else if (staging && !(rc = store_path(&to, e, "%s/%s", staging, f->path)) &&
               !(rc = sibling_link(staging, &p->files, i, &linked, e)) &&
               (linked || !(rc = twin_link(twins, d, f->sha256, to, &linked, e))) && !linked) {
        rc = bytes_store(d, to, x.p, x.n, x.lost, f->sha256, hex, e);
    }
    mem_free(to);
    piece_close(&x);
    return rc;
}

static enum err_code model_take(const struct depot *d, struct pack *k, const struct manifest *m,
                                const struct packed *p, const char *staging, struct buf *out,
                                struct err *e) {
    struct twins twins = {0};
    size_t n;
    bool known;
    files_at(&p->files, &n);
    enum err_code rc = depot_compare(d, p->name, &p->files, &known, e);
    rc = rc || known ? rc : twins_read(&twins, d, e);
    for (size_t i = 0; i < n && !rc; i++) {
        rc = file_take(d, k, m, p, i, &twins, known ? NULL : staging, e);
    }
    twins_fini(&twins);
    if (!rc && !known && !depot_is_model(staging, p->name)) {
        rc = refuse("something that is no model", e);
    }
    if (!rc && !known) {
        rc = depot_place(d, staging, p->name, &p->files, &known, e);
    }
    if (!rc) {
        buf_printf(out, "%s%s\n", known ? " " : "", p->name);
        rc = buf_check(out, e);
    }
    return rc;
}

/* Whether the models of a bundle can come: no other has their names, and there is room for what the
 * store does not have yet. */
static enum err_code models_check(const struct depot *d, const struct manifest *m, struct err *e) {
    struct twins twins;
    uint64_t wanted = 0;
    enum err_code rc = twins_read(&twins, d, e);
    for (size_t i = 0; i < m->n_model && !rc; i++) {
        size_t n;
        bool known;
        const struct store_file *f = files_at(&m->model[i].files, &n);
        rc = depot_compare(d, m->model[i].name, &m->model[i].files, &known, e);
        for (size_t j = 0; j < n && !rc && !known; j++) {
            /* one that is not the first of its hash will be a second name, where the disk has such
             */
            if (is_first(&m->place[m->model[i].place + j]) && !twins_find(&twins, f[j].sha256)) {
                wanted = f[j].bytes > UINT64_MAX - wanted ? UINT64_MAX : wanted + f[j].bytes;
            }
        }
    }
    twins_fini(&twins);
    return rc ? rc : room_check(d->dir, wanted, e);
}

enum err_code bundle_read(const struct depot *d, const char *from, const char *open,
                          struct buf *out, struct err *e) {
    struct manifest *m;
    struct os_file_info info;
    struct staging s = {0};
    struct pack k = {.root = from};
    enum err_code rc = manifest_create(&m, e);
    if (rc || (rc = os_file_info(from, &info, e))) {
        goto done;
    }
    k.folder = info.is_folder;
    if (!k.folder && (rc = os_map_open(&k.map, from, false, e))) {
        goto done;
    }
    if (!(rc = open_manifest(&k, open, m, e)) && (k.folder || !(rc = archive_check(&k, m, e))) &&
        !(rc = staging_begin(d, &s, e))) {
        rc = models_check(d, m, e);
    }
    for (size_t i = 0; i < m->n_model && !rc; i++) {
        rc = model_take(d, &k, m, &m->model[i], s.path, out, e);
    }
    staging_end(&s);
    if (rc && e && !e->where[0]) {
        err_where(e, "%s", from);
    }
    if (!k.folder) {
        os_map_close(&k.map);
    }
done:
    manifest_free(m);
    return rc;
}
