/* models_pull.c: models that come from elsewhere.
 *
 * Owns the question about a licence, and the report of a pull. `ign models pull` is the one action
 * of the program that opens a connection.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "cli/models_job.h"
#include "store/catalogue.h"
#include "store/pull.h"
#include "store/signature.h"

#define TOKEN_MOST 4096

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

/* A password on the command line would be seen by everybody who lists the processes of this
 * machine; one with a '/' in it would be taken for a port and a path, and be looked up as a host's
 * name. */
static enum err_code proxy_check(const char *proxy, struct err *e) {
    static const char *const variables[] = {"https_proxy", "HTTPS_PROXY", "http_proxy", "all_proxy",
                                            "ALL_PROXY"};
    if (proxy && strchr(proxy, '@')) {
        err_set(e, ERR_USAGE, "a proxy's address with a name or a password in it");
        err_where(e, "--proxy");
        err_hint(e, "put such a one into the environment variable https_proxy");
        return ERR_USAGE;
    }
    for (size_t i = 0; !proxy && i < sizeof variables / sizeof *variables; i++) {
        const char *text = knobs_env(variables[i]);
        const char *scheme = text ? strstr(text, "://") : NULL, *host = scheme ? scheme + 3 : text;
        if (host && strchr(host + strcspn(host, "/?#"), '@')) {
            err_set(e, ERR_USAGE, "a proxy's address whose name or password has a '/', '?' or '#'");
            err_where(e, "the environment variable %s", variables[i]);
            err_hint(e, "write these signs as %%2F, %%3F and %%23 there");
            return ERR_USAGE;
        }
    }
    return ERR_OK;
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

static int interrupted(struct models_job *j, const struct pull_result *r, struct err *e) {
    err_where(e, "ign models pull");
    err_hint(e, r->one_piece
                    ? "this server sends a file in one piece only: the same command begins "
                      "with it anew"
                    : "what has come is kept; the same command goes on there");
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
    rc = rc || http_is_url(what) ? rc : models_catalogue(c, &all, &e);
    rc = rc ? rc : pull_model(&j->depot, &all, &o, &r, &e);
    progress_end(&j->bar);
    int code = rc == ERR_CANCELLED ? interrupted(j, &r, &e) : rc ? models_fail(j, &e) : EXIT_DONE;
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
