/* models_pull.c: the catalogue as a person sees it, and models that come from it.
 *
 * Owns where catalogues are looked for, the question about a licence, and the report of a pull.
 * `ign models pull` is the one action of the program that opens a connection; `catalog` opens none.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "cli/models_job.h"
#include "config/folders.h"
#include "store/catalogue.h"
#include "store/pull.h"
#include "store/signature.h"

#define TOKEN_MOST 4096

/* ---- catalogues ------------------------------------------------------------------------------ */

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
static enum err_code catalogue_load(struct cli *c, struct catalogue *all, struct err *e) {
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

static void put_uint_or_null(struct json_writer *w, const char *key, uint64_t v) {
    json_key(w, key);
    if (v) {
        json_put_uint(w, v);
    } else {
        json_put_null(w);
    }
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
    put_uint_or_null(w, "bytes", catalogue_bytes(m));
    json_key(w, "files");
    json_open(w, '[');
    for (size_t i = 0; i < m->n_file; i++) {
        json_open(w, '{');
        json_member_z(w, "path", m->file[i].path);
        put_uint_or_null(w, "bytes", m->file[i].bytes);
        json_member_or_null(w, "sha256", m->file[i].sha256);
        json_member_or_null(w, "sha256_by", m->file[i].by);
        json_close(w, '}');
    }
    json_close(w, ']');
    put_sources(w, m);
    json_close(w, '}');
}

static void put_text(struct cli *c, const char *text, int width) {
    int n = (int)strlen(text);
    cli_put_text(c, text, (size_t)n);
    cli_printf(c, "%*s", n < width ? width - n : 0, "");
}

static void print_model(struct cli *c, const struct models_job *j,
                        const struct catalogue_model *m) {
    char size[32];
    uint64_t bytes = catalogue_bytes(m);
    put_text(c, m->name, 20);
    cli_printf(c, "%10s  %-9s ", bytes ? cli_bytes(bytes, size, sizeof size) : "?",
               in_store(j, m->store) ? "in store" : "");
    put_text(c, m->licence, 24);
    cli_puts(c, m->gated ? " must be accepted  " : "  ");
    put_text(c, m->about, 0);
    cli_puts(c, "\n");
}

int models_catalog(struct models_job *j) {
    struct cli *c = j->c;
    struct catalogue all;
    struct err e = {0};
    size_t n;
    catalogue_init(&all);
    enum err_code rc = catalogue_load(c, &all, &e);
    const struct catalogue_model *m = catalogue_at(&all, &n);
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
    }
    for (size_t i = 0; i < n && !rc && !c->json; i++) {
        print_model(c, j, &m[i]);
    }
    catalogue_fini(&all);
    return code;
}

/* ---- pull ------------------------------------------------------------------------------------ */

/* Shows a licence to whoever sits at the terminal, and waits for a whole "yes". */
static bool agree(void *arg, const struct catalogue_model *m) {
    struct models_job *j = arg;
    char word[64];
    size_t got = 0;
    struct buf b;
    if (!j->c->err_terminal || !os_is_terminal(0)) {
        return false;
    }
    buf_init(&b, 1 << 18);
    buf_printf(&b,
               "%s is under a licence that you must accept:\n  %s\n  %s\n%s%s"
               "Do you accept it? Type yes to go on: ",
               m->name, m->licence, m->licence_url, m->licence_text,
               m->licence_text[0] ? "\n" : "");
    bool asked = !buf_check(&b, NULL) && !os_write_fd(2, b.p, b.len, NULL) &&
                 !os_read_fd(0, word, sizeof word - 1, &got, -1, NULL);
    buf_fini(&b);
    word[asked ? got : 0] = '\0';
    word[strcspn(word, "\r\n")] = '\0';
    return asked && strcmp(word, "yes") == 0;
}

static enum err_code token_read(const char *path, char **token, struct err *e) {
    size_t n = 0;
    enum err_code rc = cli_read_secret(path, "the token", TOKEN_MOST, token, &n, e);
    if (!rc && (n == 0 || strcspn(*token, " \t\r\n") != n)) {
        rc = err_set(e, ERR_FORMAT, "not a token: one line, without blanks");
        err_where(e, "%s", path);
        err_hint(e, "write the token into the file, and nothing else");
    }
    return rc;
}

/* A password would be seen by everybody who lists the processes of this machine. */
static enum err_code proxy_check(const char *proxy, struct err *e) {
    if (!proxy || !strchr(proxy, '@')) {
        return ERR_OK;
    }
    err_set(e, ERR_USAGE, "a proxy's address with a name or a password in it");
    err_where(e, "--proxy");
    err_hint(e, "put such a one into the environment variable https_proxy");
    return ERR_USAGE;
}

static void put_result(struct models_job *j, const struct pull_result *r, double seconds) {
    static const char *const by[] = {[PULL_BY_CATALOGUE] = "catalogue",
                                     [PULL_BY_USER] = "--sha256",
                                     [PULL_BY_SERVER] = "server",
                                     [PULL_BY_NOBODY] = "nobody"};
    struct cli *c = j->c;
    char size[32];
    if (c->json) {
        struct json_writer w;
        cli_json_begin(c, &w);
        json_member_z(&w, "name", r->name);
        json_member_z(&w, "came", r->known ? "there already" : "pulled");
        json_member_uint(&w, "bytes", r->bytes);
        json_member_uint(&w, "kept", r->kept);
        json_member_or_null(&w, "source", r->source);
        json_member_or_null(&w, "sha256_by", r->known ? "" : by[r->by]);
        json_member_real(&w, "seconds", seconds);
        cli_json_end(c, &w);
        return;
    }
    cli_put_text(c, r->name, strlen(r->name));
    if (r->known) {
        cli_puts(c, ": there already\n");
    } else {
        cli_printf(c, ": pulled, %s\n", cli_bytes(r->bytes, size, sizeof size));
    }
    if (!r->known && r->by == PULL_BY_NOBODY) {
        cli_note(c, "nobody says what its SHA-256 must be: it was taken as it came");
    } else if (!r->known && r->by == PULL_BY_SERVER) {
        cli_note(c, "its SHA-256 is as the server says it; the catalogue does not know it");
    }
}

static int interrupted(struct models_job *j, struct err *e) {
    err_where(e, "ign models pull");
    err_hint(e, "what has come is kept; the same command goes on there");
    return models_fail(j, e);
}

int models_pull(struct models_job *j, const char *what) {
    struct cli *c = j->c;
    struct catalogue all;
    struct pull_result r = {0};
    struct err e = {0};
    char *token = NULL, user[128];
    const char *token_file = knobs_str(c->k, "token-file");
    double start = os_now();
    os_user_name(user, sizeof user);
    catalogue_init(&all);
    struct pull_opts o = {.what = what,
                          .from = knobs_str(c->k, "from"),
                          .hub = knobs_str(c->k, "hub"),
                          .name = knobs_str(c->k, "name"),
                          .sha256 = knobs_str(c->k, "sha256"),
                          .accept_licence = knobs_bool(c->k, "accept-licence"),
                          .accept_unverified = knobs_bool(c->k, "accept-unverified"),
                          .parts = (int)knobs_int(c->k, "pull-connections"),
                          .retries = (int)knobs_int(c->k, "pull-retries"),
                          .http = {.proxy = knobs_str(c->k, "proxy"),
                                   .ca_file = knobs_str(c->k, "ca-file"),
                                   .pin = knobs_str(c->k, "pin"),
                                   .rate = knobs_size(c->k, "pull-rate"),
                                   .stall = knobs_real(c->k, "pull-stall"),
                                   .stop = interrupt_count(c->intr)},
                          .user = user,
                          .agree = agree,
                          .arg = j};
    enum err_code rc = proxy_check(o.http.proxy, &e);
    rc = rc || !token_file ? rc : token_read(token_file, &token, &e);
    o.http.token = token;
    rc = rc || http_is_url(what) ? rc : catalogue_load(c, &all, &e);
    rc = rc ? rc : pull_model(&j->depot, &all, &o, &r, &e);
    progress_end(&j->bar);
    int code = rc == ERR_CANCELLED ? interrupted(j, &e) : rc ? models_fail(j, &e) : EXIT_DONE;
    if (!rc) {
        put_result(j, &r, os_now() - start);
    }
    if (token) {
        signature_wipe(token, strlen(token));
    }
    mem_free(token);
    mem_free(r.name);
    catalogue_fini(&all);
    return code;
}
