/* models_catalog.c: the catalogue as a person sees it: a table, and all that is known of one model.
 *
 * Owns where catalogues are looked for, and what fits on a terminal. Opens no connection.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "cli/models_job.h"
#include "config/folders.h"
#include "store/catalogue.h"

/* share/ign of the place where the program is installed: beside the folder that it lies in. */
static bool put_share(struct buf *out) {
    char *self = NULL;
    bool ok = !os_self_path(&self, NULL);
    char *slash = ok ? strrchr(self, '/') : NULL;
    if (slash) {
        buf_printf(out, "%.*s/../share/ign/catalogue.json", (int)(slash - self), self);
    }
    mem_free(self);
    return slash != NULL;
}

/* The catalogues that count: the first that is there, and those that it extends. */
enum err_code models_catalogue(struct cli *c, struct catalogue *all, struct err *e) {
    struct buf user, share;
    const char *paths[4], *given = knobs_str(c->k, "catalogue");
    size_t n = 0;
    enum err_code rc = ERR_OK;
    buf_init(&user, 65536);
    buf_init(&share, 65536);
    if (given) {
        if (!os_file_exists(given)) {
            rc = err_set(e, ERR_NOTFOUND, "there is no such catalogue");
            err_where(e, "%s", given);
            err_hint(e, "see to --catalogue");
        }
        paths[n++] = given;
    }
    if (folder_path(&user, FOLDER_CONFIG, "catalogue.json")) {
        paths[n++] = user.p;
    }
    paths[n++] = FOLDER_SYSTEM_CONFIG "/catalogue.json";
    if (put_share(&share)) {
        paths[n++] = share.p;
    }
    rc = rc ? rc : buf_check(&share, e);
    rc = rc ? rc : catalogue_read(all, paths, n, e);
    buf_fini(&share);
    buf_fini(&user);
    return rc;
}

static bool in_store(const struct models_job *j, const char *name) {
    struct buf path;
    buf_init(&path, 65536);
    buf_printf(&path, "%s/%s", j->depot.dir, name);
    bool there = !path.failed && os_file_exists(path.p);
    buf_fini(&path);
    return there;
}

static void put_sources(struct json_writer *w, const struct catalogue_model *m) {
    json_key(w, "sources");
    json_open(w, '[');
    for (size_t i = 0; i < m->n_source; i++) {
        const struct catalogue_source *s = &m->source[i];
        json_open(w, '{');
        if (s->kind == CATALOGUE_HUB) {
            json_member_z(w, "hub", s->repository);
            json_member_z(w, "revision", s->revision);
        } else {
            json_key(w, "pip");
            json_open(w, '[');
            for (size_t k = 0; k < s->n_package; k++) {
                json_put_z(w, s->package[k]);
            }
            json_close(w, ']');
        }
        json_close(w, '}');
    }
    json_close(w, ']');
}

static void put_model(struct json_writer *w, const struct models_job *j,
                      const struct catalogue_model *m) {
    json_open(w, '{');
    json_member_z(w, "name", m->name);
    json_member_or_null(w, "alias", m->alias);
    json_member_z(w, "family", m->family);
    json_member_z(w, "parameters", m->parameters);
    json_member_z(w, "about", m->about);
    json_key(w, "licence");
    json_open(w, '{');
    json_member_z(w, "name", m->licence);
    json_member_z(w, "address", m->licence_url);
    json_key(w, "gated");
    json_put_bool(w, m->gated);
    json_close(w, '}');
    json_member_z(w, "store", m->store);
    json_key(w, "in_store");
    json_put_bool(w, in_store(j, m->store));
    json_member_uint_or_null(w, "bytes", catalogue_bytes(m));
    json_key(w, "files");
    json_open(w, '[');
    for (size_t i = 0; i < m->n_file; i++) {
        json_open(w, '{');
        json_member_z(w, "path", m->file[i].path);
        json_member_uint_or_null(w, "bytes", m->file[i].bytes);
        json_member_or_null(w, "sha256", m->file[i].sha256);
        json_member_or_null(w, "sha256_by", m->file[i].by);
        json_close(w, '}');
    }
    json_close(w, ']');
    put_sources(w, m);
    json_close(w, '}');
}

/* ---- for people ------------------------------------------------------------------------------ */

enum { LABEL = 10, TABLE_LEAST = 72 };

/* Columns on a terminal: characters, of which the catalogue's are one column wide. */
static int columns(const char *text) {
    int n = 0;
    for (; *text; text++) {
        n += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return n;
}

static void put_padded(struct cli *c, const char *text, int width) {
    int n = columns(text);
    models_put(c, text);
    cli_printf(c, "%*s", n < width ? width - n : 0, "");
}

/* Bytes of the next piece of `text` of at most `room` columns: up to a blank, or a word's part. */
static size_t piece(const char *text, int room) {
    size_t n = 0, blank = 0;
    for (int k = 0; text[n] && (k < room || ((unsigned char)text[n] & 0xc0) == 0x80); n++) {
        k += ((unsigned char)text[n] & 0xc0) != 0x80;
        blank = text[n] == ' ' ? n : blank;
    }
    return !text[n] || text[n] == ' ' || blank == 0 ? n : blank;
}

/* "label     text", in lines of at most `width` columns; those that go on are indented. */
static void put_row(struct cli *c, const char *label, const char *text, int width) {
    int indent = LABEL, room = width - indent < 16 ? 16 : width - indent;
    put_padded(c, label, indent);
    for (bool more = false; *text || !more; more = true) {
        size_t n = piece(text, room);
        cli_printf(c, "%*s", more ? indent : 0, "");
        cli_put_text(c, text, n);
        cli_puts(c, "\n");
        text += n + strspn(text + n, " ");
    }
}

static void put_rowf(struct cli *c, int width, const char *label, const char *fmt, ...)
    IGN_PRINTF(4, 5);
static void put_rowf(struct cli *c, int width, const char *label, const char *fmt, ...) {
    char text[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    put_row(c, label, text, width);
}

/* A line of the table; where the terminal is too narrow for one, a few. */
static void print_line(const struct models_job *j, const struct catalogue_model *m, int width) {
    struct cli *c = j->c;
    char size[32];
    uint64_t bytes = catalogue_bytes(m);
    const char *mark = in_store(j, m->store) ? "+ " : "  ";
    const char *big = bytes ? cli_bytes(bytes, size, sizeof size) : "size ?";
    cli_puts(c, mark);
    if (width < TABLE_LEAST) {
        models_put(c, m->name);
        cli_puts(c, "\n");
        put_rowf(c, width, "", "%s, %s", m->family, big);
        put_rowf(c, width, "", "%s%s", m->licence, m->gated ? " !" : "");
        return;
    }
    put_padded(c, m->name, 20);
    put_padded(c, m->family, 15);
    cli_printf(c, "%10s  ", big);
    models_put(c, m->licence);
    cli_puts(c, m->gated ? " !\n" : "\n");
}

static void print_file(struct cli *c, const struct catalogue_file *f, int width) {
    char size[32];
    put_row(c, "file", f->path, width);
    if (f->bytes) {
        put_rowf(c, width, "", "%llu bytes, %s", (unsigned long long)f->bytes,
                 cli_bytes(f->bytes, size, sizeof size));
    } else {
        put_row(c, "", "its size is not known", width);
    }
    if (f->sha256[0]) {
        put_rowf(c, width, "", "sha256 %s", f->sha256);
        if (f->by[0]) {
            put_row(c, "", f->by, width);
        }
    } else {
        put_row(c, "", "its sha256 is not known", width);
    }
}

/* All that is known of one model. */
static void print_model(const struct models_job *j, const struct catalogue_model *m, int width) {
    struct cli *c = j->c;
    put_rowf(c, width, "name", "%s%s%s", m->name, m->alias[0] ? ", also " : "", m->alias);
    put_rowf(c, width, "family", "%s, %s parameters", m->family, m->parameters);
    put_row(c, "about", m->about, width);
    put_rowf(c, width, "licence", "%s%s", m->licence, m->gated ? ", which must be accepted" : "");
    put_row(c, "", m->licence_url, width);
    put_rowf(c, width, "store", "%s, %s", m->store, in_store(j, m->store) ? "there" : "not there");
    for (size_t i = 0; i < m->n_source; i++) {
        const struct catalogue_source *s = &m->source[i];
        if (s->kind == CATALOGUE_HUB) {
            put_rowf(c, width, "hub", "%s, revision %s", s->repository, s->revision);
        }
        for (size_t k = 0; k < s->n_package; k++) {
            put_row(c, k ? "" : "pip", s->package[k], width);
        }
    }
    for (size_t i = 0; i < m->n_file; i++) {
        print_file(c, &m->file[i], width);
    }
}

static void print_table(const struct models_job *j, const struct catalogue_model *m, size_t n) {
    struct cli *c = j->c;
    bool terminal = os_is_terminal(1), gated = false;
    int width = terminal ? os_terminal_width(1) : TABLE_LEAST; /* of a pipe: a line a model */
    if (n > 0 && width >= TABLE_LEAST) {
        cli_printf(c, "  %-20s%-15s%10s  %s\n", "NAME", "FAMILY", "SIZE", "LICENCE");
    }
    for (size_t i = 0; i < n; i++) {
        print_line(j, &m[i], width);
        gated = gated || m[i].gated;
    }
    cli_flush(c);
    cli_note(c, "+ is in the store%s", gated ? "; ! must be accepted" : "");
    cli_note(c, "'ign models catalog NAME' says more");
}

int models_catalog(struct models_job *j, const char *name) {
    struct cli *c = j->c;
    struct catalogue all;
    struct err e = {0};
    size_t n;
    catalogue_init(&all);
    enum err_code rc = models_catalogue(c, &all, &e);
    const struct catalogue_model *m = catalogue_at(&all, &n);
    if (!rc && name[0]) {
        m = catalogue_find(&all, name);
        n = m != NULL;
        rc = m ? ERR_OK : catalogue_unknown(&all, name, &e);
    }
    int code = rc ? models_fail(j, &e) : EXIT_DONE;
    if (!rc && c->json) {
        struct json_writer w;
        cli_json_begin(c, &w);
        json_key(&w, "catalogues");
        json_open(&w, '[');
        for (const char *p = all.paths.p; p && *p; p += strcspn(p, "\n") + 1) {
            json_put_str(&w, str_of(p, strcspn(p, "\n")));
        }
        json_close(&w, ']');
        json_key(&w, "models");
        json_open(&w, '[');
        for (size_t i = 0; i < n; i++) {
            put_model(&w, j, &m[i]);
        }
        json_close(&w, ']');
        cli_json_end(c, &w);
    } else if (!rc && name[0] && n > 0) {
        print_model(j, m, os_is_terminal(1) ? os_terminal_width(1) : 100);
    } else if (!rc && !name[0]) {
        print_table(j, m, n);
    }
    catalogue_fini(&all);
    return code;
}
