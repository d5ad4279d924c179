/* catalogue.c: see catalogue.h.
 *
 * Owns the checks. A key that is not known is refused: a word misspelt in a site's own file would
 * else be a checksum that nobody looks at.
 */
#include "store/catalogue.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/address.h"
#include "base/json.h"
#include "base/os.h"
#include "store/store_part.h"

enum {
    BYTES_MOST = 4 << 20,
    MODELS_MOST = 1000,
    FILES_MOST = 1000,
    PARTS_MOST = 1000,
    TEXT_MOST = 4096
};
#define SIZE_MOST ((int64_t)1 << 50)

/* What is being read, and where in it we are. */
struct reading {
    struct catalogue *c;
    const char *where;
    struct err *e;
    char at[160]; /* "models[3].files[0]" */
    enum err_code rc;
};

/* Latches an error at a field; always false. */
static bool refuse(struct reading *r, const char *field, const char *fmt, ...) IGN_PRINTF(3, 4);
static bool refuse(struct reading *r, const char *field, const char *fmt, ...) {
    char text[200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (!r->rc) {
        r->rc = err_set(r->e, ERR_FORMAT, "%s", text);
        err_where(r->e, "%s, %s%s%s", r->where, r->at, r->at[0] && field[0] ? "." : "", field);
        err_hint(r->e, "mend the catalogue; docs/MODELS.md shows its form");
    }
    return false;
}

static bool no_memory(struct reading *r) {
    if (!r->rc) {
        r->rc = err_set(r->e, ERR_NOMEM, "out of memory for a catalogue");
    }
    return false;
}

/* Every member of an object is one of `known` (a blank between the words). */
static bool only(struct reading *r, const struct json *j, const char *known) {
    void *iter = NULL;
    struct str key;
    const struct json *value;
    if (json_kind(j) != JSON_IS_OBJECT) {
        return refuse(r, "", "not an object");
    }
    while (json_next(j, &iter, &key, &value)) {
        const char *p = known;
        size_t n = strcspn(p, " ");
        while (*p && !(n == key.n && memcmp(p, key.p, n) == 0)) {
            p += n + (p[n] == ' ');
            n = strcspn(p, " ");
        }
        if (!*p) {
            return refuse(r, "", "a member that is not known: %.*s", (int)(key.n < 60 ? key.n : 60),
                          key.p);
        }
    }
    return true;
}

/* A text of one line, or of several where `lines`. Terminals take U+0080 to U+009F for controls,
 * too: C2 80 to C2 9F in UTF-8. */
static bool text_is_clean(struct str s, bool lines) {
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c < 0x20 && !(lines && (c == '\n' || c == '\t'))) || c == 0x7f ||
            (c == 0xc2 && i + 1 < s.n && (unsigned char)s.p[i + 1] < 0xa0)) {
            return false;
        }
    }
    return s.n <= (lines ? 16 * TEXT_MOST : TEXT_MOST);
}

static const char *keep(struct reading *r, struct str s) {
    const char *kept = arena_strdup(&r->c->arena, s.n ? s.p : "", s.n);
    if (!kept) {
        no_memory(r);
    }
    return kept;
}

/* A string member; where it may be left out, "" stands for it. */
static bool text(struct reading *r, const struct json *j, const char *field, bool must,
                 const char **out) {
    const struct json *v = json_find(j, field);
    struct str s = json_str(v);
    if (!v && !must) {
        *out = "";
        return true;
    }
    if (!v || json_kind(v) != JSON_IS_STR || (must && s.n == 0)) {
        return refuse(r, field, v ? "not a text" : "is missing");
    }
    if (!text_is_clean(s, strcmp(field, "text") == 0)) {
        return refuse(r, field, "too long, or with control characters");
    }
    return (*out = keep(r, s)) != NULL;
}

static bool plain_path(struct reading *r, const char *field, const char *p) {
    return path_is_plain(p, strlen(p)) ||
           refuse(r, field, "not a path that can be kept on every machine");
}

/* ---- files ----------------------------------------------------------------------------------- */

static bool is_single(const struct catalogue_model *m) {
    return str_ends(str_c(m->store), ".gguf");
}

static bool read_hash(struct reading *r, const struct json *j, struct catalogue_file *f) {
    const struct json *v = json_find(j, "sha256");
    struct str s = json_str(v);
    if (!v || json_kind(v) == JSON_IS_NULL) {
        return true;
    }
    if (s.n != 64 || strspn(s.p, "0123456789abcdef") < 64) {
        return refuse(r, "sha256", "not 64 hexadecimal digits in lower case; null: not known");
    }
    memcpy(f->sha256, s.p, 64);
    return true;
}

static bool read_size(struct reading *r, const struct json *j, struct catalogue_file *f) {
    const struct json *v = json_find(j, "bytes");
    if (!v || json_kind(v) == JSON_IS_NULL) {
        return true;
    }
    if (json_kind(v) != JSON_IS_INT || json_int(v) <= 0 || json_int(v) > SIZE_MOST) {
        return refuse(r, "bytes", "not a number of bytes; null: not known");
    }
    f->bytes = (uint64_t)json_int(v);
    return true;
}

static bool read_file(struct reading *r, const struct json *j, struct catalogue_model *m,
                      struct catalogue_file *f) {
    const char *path;
    char whole[2 * TEXT_MOST];
    if (!only(r, j, "path bytes sha256 sha256_by") || !text(r, j, "path", true, &path) ||
        !plain_path(r, "path", path) || !read_size(r, j, f) || !read_hash(r, j, f) ||
        !text(r, j, "sha256_by", false, &f->by)) {
        return false;
    }
    if (is_single(m) && strcmp(path, m->store) != 0) {
        return refuse(r, "path", "must be the same as `store`");
    }
    snprintf(whole, sizeof whole, is_single(m) ? "%s" : "%s/%s", is_single(m) ? path : m->store,
             path);
    if (!path_is_plain(whole, strlen(whole))) {
        return refuse(r, "path", "in too many folders");
    }
    for (const struct catalogue_file *o = m->file; o < f; o++) {
        if (strcmp(o->path, whole) == 0) {
            return refuse(r, "path", "there twice");
        }
    }
    return (f->path = keep(r, str_c(whole))) != NULL;
}

static bool read_files(struct reading *r, const struct json *j, struct catalogue_model *m) {
    const struct json *files = json_find(j, "files");
    size_t n = json_count(files), len = strlen(r->at);
    if (json_kind(files) != JSON_IS_ARRAY || n == 0 || n > FILES_MOST) {
        return refuse(r, "files", "not a list of 1 to %d files", FILES_MOST);
    }
    if (is_single(m) && n != 1) {
        return refuse(r, "files", "`store` names one file, and here are %zu", n);
    }
    m->file = arena_zalloc(&r->c->arena, n, sizeof *m->file);
    if (!m->file) {
        return no_memory(r);
    }
    m->n_file = n;
    for (size_t i = 0; i < n && !r->rc; i++) {
        snprintf(r->at + len, sizeof r->at - len, ".files[%zu]", i);
        read_file(r, json_at(files, i), m, &m->file[i]);
        r->at[len] = '\0';
    }
    return !r->rc;
}

/* ---- sources --------------------------------------------------------------------------------- */

/* A text or a list of them. */
static bool read_list(struct reading *r, const struct json *j, const char *field, size_t *n,
                      const char ***out) {
    bool one = json_kind(j) == JSON_IS_STR;
    *n = one ? 1 : json_count(j);
    if ((!one && json_kind(j) != JSON_IS_ARRAY) || *n == 0 || *n > PARTS_MOST) {
        return refuse(r, field, "neither a text nor a list of 1 to %d", PARTS_MOST);
    }
    *out = arena_zalloc(&r->c->arena, *n, sizeof **out);
    for (size_t i = 0; i < *n && *out; i++) {
        const struct json *v = one ? j : json_at(j, i);
        struct str s = json_str(v);
        if (json_kind(v) != JSON_IS_STR || s.n == 0 || s.p[0] == '-' || !text_is_clean(s, false)) {
            return refuse(r, field, "not a list of names");
        }
        if (!((*out)[i] = keep(r, s))) {
            return false;
        }
    }
    return *out || no_memory(r);
}

/* The path of a file as the catalogue has it: without the model's folder. */
static const char *short_path(const struct catalogue_model *m, const struct catalogue_file *f) {
    return is_single(m) ? f->path : f->path + strlen(m->store) + 1;
}

/* Where each file is found at the source. */
static bool read_from(struct reading *r, const struct json *j, const struct catalogue_model *m,
                      struct catalogue_source *s) {
    const struct json *map = json_find(j, "files");
    s->from = arena_zalloc(&r->c->arena, m->n_file, sizeof *s->from);
    if (!s->from) {
        return no_memory(r);
    }
    if (map && json_kind(map) != JSON_IS_OBJECT) {
        return refuse(r, "files", "not an object");
    }
    size_t named = 0;
    for (size_t i = 0; i < m->n_file; i++) {
        const char *path = short_path(m, &m->file[i]);
        const struct json *v = json_find(map, path);
        struct catalogue_parts *p = &s->from[i];
        if (!v && s->kind == CATALOGUE_PIP) {
            return refuse(r, "files", "does not say where '%.100s' is", path);
        }
        if (v && !read_list(r, v, "files", &p->n, &p->path)) {
            return false;
        }
        if (!v) {
            p->n = 1;
            p->path = arena_zalloc(&r->c->arena, 1, sizeof *p->path);
            if (!p->path) {
                return no_memory(r);
            }
            p->path[0] = path;
        }
        named += v != NULL;
        for (size_t k = 0; k < p->n; k++) {
            if (!plain_path(r, "files", p->path[k])) {
                return false;
            }
        }
        if (s->kind == CATALOGUE_HUB && p->n != 1) {
            return refuse(r, "files", "a file of a hub is in one piece");
        }
    }
    return named == json_count(map) || refuse(r, "files", "names a file that the model has not");
}

/* "OWNER/NAME" or deeper, and "main" or a commit: what may stand in an address as it is. */
static bool is_id(const char *p, bool slash) {
    const char *safe = slash ? "/ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
                             : "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    return p[0] && strspn(p, safe) == strlen(p) && path_is_plain(p, strlen(p));
}

/* "NAME" or "NAME==VERSION": what pip looks up in its index. It would take a path or an address,
 * too, and run the setup.py that lies there. */
static bool is_package(const char *p) {
    static const char safe[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-+!";
    size_t n = strspn(p, safe);
    const char *version = p[n] ? p + n + 2 : "1";
    return n > 0 && *p != '.' && *p != '-' && (!p[n] || strncmp(p + n, "==", 2) == 0) && *version &&
           !version[strspn(version, safe)];
}

static bool read_source(struct reading *r, const struct json *j, const struct catalogue_model *m,
                        struct catalogue_source *s) {
    const struct json *pip = json_find(j, "pip");
    if (!only(r, j, "hub revision pip files")) {
        return false;
    }
    s->kind = pip ? CATALOGUE_PIP : CATALOGUE_HUB;
    s->repository = s->revision = "";
    if (pip) {
        if (json_find(j, "hub") || json_find(j, "revision")) {
            return refuse(r, "pip", "a source is one or the other");
        }
        if (!read_list(r, pip, "pip", &s->n_package, &s->package)) {
            return false;
        }
        for (size_t i = 0; i < s->n_package; i++) {
            if (!is_package(s->package[i])) {
                return refuse(r, "pip", "neither NAME nor NAME==VERSION of a package");
            }
        }
        return read_from(r, j, m, s);
    }
    if (!text(r, j, "hub", true, &s->repository) || !text(r, j, "revision", false, &s->revision)) {
        return false;
    }
    if (!s->revision[0]) {
        s->revision = "main";
    }
    if (!is_id(s->repository, true) || !is_id(s->revision, false)) {
        return refuse(r, "hub", "not the id of a repository and of its revision");
    }
    return read_from(r, j, m, s);
}

static bool read_sources(struct reading *r, const struct json *j, struct catalogue_model *m) {
    const struct json *sources = json_find(j, "sources");
    size_t n = json_count(sources), len = strlen(r->at);
    if (json_kind(sources) != JSON_IS_ARRAY || n == 0 || n > 16) {
        return refuse(r, "sources", "not a list of 1 to 16 sources");
    }
    m->source = arena_zalloc(&r->c->arena, n, sizeof *m->source);
    if (!m->source) {
        return no_memory(r);
    }
    m->n_source = n;
    for (size_t i = 0; i < n && !r->rc; i++) {
        snprintf(r->at + len, sizeof r->at - len, ".sources[%zu]", i);
        read_source(r, json_at(sources, i), m, &m->source[i]);
        r->at[len] = '\0';
    }
    return !r->rc;
}

/* ---- models ---------------------------------------------------------------------------------- */

static bool read_licence(struct reading *r, const struct json *j, struct catalogue_model *m) {
    const struct json *l = json_find(j, "licence"), *gated = json_find(l, "gated");
    size_t len = strlen(r->at);
    snprintf(r->at + len, sizeof r->at - len, ".licence");
    bool ok = only(r, l, "name address gated text") && text(r, l, "name", true, &m->licence) &&
              text(r, l, "address", true, &m->licence_url) &&
              text(r, l, "text", false, &m->licence_text) &&
              (!gated || json_kind(gated) == JSON_IS_BOOL ||
               refuse(r, "gated", "neither true nor false"));
    m->gated = json_bool(gated);
    r->at[len] = '\0';
    return ok;
}

static bool read_model(struct reading *r, const struct json *j, struct catalogue_model *m) {
    if (!only(r, j, "name alias family parameters about licence store files sources") ||
        !text(r, j, "name", true, &m->name) || !text(r, j, "alias", false, &m->alias) ||
        !text(r, j, "family", true, &m->family) ||
        !text(r, j, "parameters", true, &m->parameters) || !text(r, j, "about", true, &m->about) ||
        !text(r, j, "store", true, &m->store) || !read_licence(r, j, m)) {
        return false;
    }
    if (!model_name_is_plain(m->name, strlen(m->name)) ||
        (m->alias[0] && !model_name_is_plain(m->alias, strlen(m->alias)))) {
        return refuse(r, "name", "cannot be the name of a model");
    }
    if (!model_name_is_plain(m->store, strlen(m->store))) {
        return refuse(r, "store", "cannot be a name in the store");
    }
    return read_files(r, j, m) && read_sources(r, j, m);
}

static bool read_models(struct reading *r, const struct json *models) {
    size_t before = r->c->models.len / sizeof(struct catalogue_model), n_now;
    if (json_kind(models) != JSON_IS_ARRAY || json_count(models) > MODELS_MOST) {
        return refuse(r, "models", "not a list of at most %d models", MODELS_MOST);
    }
    for (size_t i = 0; i < json_count(models) && !r->rc; i++) {
        struct catalogue_model m = {0};
        snprintf(r->at, sizeof r->at, "models[%zu]", i);
        if (!read_model(r, json_at(models, i), &m)) {
            return false;
        }
        const struct catalogue_model *all = catalogue_at(r->c, &n_now);
        size_t k = 0;
        while (k < n_now && strcmp(all[k].name, m.name) != 0) {
            k++;
        }
        if (k < n_now && k >= before) {
            return refuse(r, "name", "there twice");
        }
        if (k == n_now) {
            buf_put(&r->c->models, &m, sizeof m);
            if (r->c->models.failed) {
                return no_memory(r);
            }
        }
    }
    r->at[0] = '\0';
    return !r->rc;
}

/* ---- the interface --------------------------------------------------------------------------- */

void catalogue_init(struct catalogue *c) {
    arena_init(&c->arena, (size_t)64 << 20);
    buf_init(&c->models, 4 * MODELS_MOST * sizeof(struct catalogue_model));
    buf_init(&c->paths, 1 << 16);
}

void catalogue_fini(struct catalogue *c) {
    buf_fini(&c->paths);
    buf_fini(&c->models);
    arena_fini(&c->arena);
}

const struct catalogue_model *catalogue_at(const struct catalogue *c, size_t *n) {
    *n = c->models.len / sizeof(struct catalogue_model);
    return (const struct catalogue_model *)(const void *)c->models.p;
}

enum err_code catalogue_parse(struct catalogue *c, const char *p, size_t n, const char *where,
                              bool *extends, struct err *e) {
    struct json *root = NULL;
    struct reading r = {.c = c, .where = where, .e = e};
    enum err_code rc = json_parse(p, n, &root, e);
    *extends = false;
    if (rc) {
        err_where(e, "%s", where);
        err_hint(e, "mend the catalogue; docs/MODELS.md shows its form");
        return rc;
    }
    const struct json *more = json_find(root, "extends");
    if (only(&r, root, "format version extends models")) {
        if (!str_is(json_str(json_find(root, "format")), "ign-catalogue") ||
            json_int(json_find(root, "version")) != 1) {
            refuse(&r, "format", "neither \"ign-catalogue\" nor version 1");
        } else if (more && json_kind(more) != JSON_IS_BOOL) {
            refuse(&r, "extends", "neither true nor false");
        } else {
            *extends = json_bool(more);
            read_models(&r, json_find(root, "models"));
        }
    }
    json_free(root);
    return r.rc;
}

enum err_code catalogue_read(struct catalogue *c, const char *const *paths, size_t n,
                             struct err *e) {
    enum err_code rc = ERR_OK;
    bool more = true, found = false;
    for (size_t i = 0; i < n && more && !rc; i++) {
        char *text;
        size_t len;
        if (!os_file_exists(paths[i])) {
            continue;
        }
        if (!(rc = os_read_file(paths[i], BYTES_MOST, &text, &len, e))) {
            rc = catalogue_parse(c, text, len, paths[i], &more, e);
            buf_printf(&c->paths, "%s\n", paths[i]);
            mem_free(text);
        }
        found = true;
    }
    if (!rc && !found) {
        rc = err_set(e, ERR_NOTFOUND, "there is no catalogue of models");
        err_where(e, "%s", n ? paths[n - 1] : "no folder is known");
        err_hint(e, "name one with --catalogue FILE, or give an address to 'ign models pull'");
    }
    return rc ? rc : buf_check(&c->paths, e);
}

const struct catalogue_model *catalogue_find(const struct catalogue *c, const char *name) {
    size_t n;
    const struct catalogue_model *m = catalogue_at(c, &n);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(m[i].name, name) == 0 || strcmp(m[i].store, name) == 0 ||
            (m[i].alias[0] && strcmp(m[i].alias, name) == 0)) {
            return &m[i];
        }
    }
    return NULL;
}

enum err_code catalogue_unknown(const struct catalogue *c, const char *name, struct err *e) {
    size_t n;
    const struct catalogue_model *m = catalogue_at(c, &n);
    char names[160] = "", shown[512];
    for (size_t i = 0, at = 0; i < n && at < sizeof names; i++) {
        at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", i ? ", " : "", m[i].name);
    }
    err_set(e, ERR_NOTFOUND, "the catalogue has no model '%s'",
            address_shown(name, shown, sizeof shown)); /* it may be an address, mistyped */
    err_where(e, "it has %s", n ? names : "none at all");
    err_hint(e, "'ign models catalog' shows them; or give the address of a GGUF file");
    return ERR_NOTFOUND;
}

uint64_t catalogue_bytes(const struct catalogue_model *m) {
    uint64_t sum = 0; /* of at most 1000 times 2^50 */
    for (size_t i = 0; i < m->n_file; i++) {
        if (m->file[i].bytes == 0) {
            return 0;
        }
        sum += m->file[i].bytes;
    }
    return sum;
}
