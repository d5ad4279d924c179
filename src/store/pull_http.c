/* pull_http.c: the files of a model from an HTTP server.
 *
 * Owns addresses: a hub's, or a mirror's by a pattern of its own. Invariant: every file's size is
 * known, as far as the server says it, and the disk asked, before the first byte is fetched.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "store/fetch.h"
#include "store/pull_part.h"

#define HUB_PATTERN "{repository}/resolve/{revision}/{file}"

/* Appends a path; what may not stand in an address is written as %XX. */
static void put_escaped(struct buf *b, const char *p) {
    static const char safe[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/";
    for (; *p; p++) {
        if (strchr(safe, *p)) {
            buf_putc(b, *p);
        } else {
            buf_printf(b, "%%%02X", (unsigned)(unsigned char)*p);
        }
    }
}

/* The address of a file: the base's pattern, or a hub's behind the base. */
static void put_address(struct buf *b, const struct pull *p, const struct pull_file *f) {
    const char *names[] = {"{repository}", "{revision}", "{file}"};
    const char *values[] = {p->source->repository, p->source->revision, f->from.path[0]};
    char pattern[HTTP_URL];
    size_t n = strlen(p->base);
    while (n > 0 && p->base[n - 1] == '/') {
        n--;
    }
    snprintf(pattern, sizeof pattern, "%.*s%s", (int)n, p->base,
             strchr(p->base, '{') ? "" : "/" HUB_PATTERN);
    for (const char *at = pattern; *at;) {
        size_t i = 0;
        while (i < 3 && strncmp(at, names[i], strlen(names[i])) != 0) {
            i++;
        }
        if (i < 3) {
            put_escaped(b, values[i]);
            at += strlen(names[i]);
        } else {
            buf_putc(b, *at++);
        }
    }
}

static enum err_code fetch_make(struct pull *p, struct http *http, size_t i, struct fetch *x,
                                struct err *e) {
    struct pull_file *f = &p->file[i];
    struct buf url, path;
    char *kept[3] = {NULL};
    buf_init(&url, HTTP_URL);
    buf_init(&path, 3 * HTTP_URL);
    if (p->source) {
        put_address(&url, p, f);
    } else {
        buf_puts(&url, p->base);
    }
    buf_printf(&path, "%s/%zu.part", p->grow, i);
    enum err_code rc = buf_check(&url, e);
    rc = rc ? rc : buf_check(&path, e);
    if (!rc) {
        kept[0] = arena_strdup(&p->arena, url.p, url.len);
        kept[1] = arena_strdup(&p->arena, path.p, path.len);
        buf_reset(&path);
        buf_printf(&path, "%s/%zu.json", p->grow, i);
        kept[2] = buf_check(&path, NULL) ? NULL : arena_strdup(&p->arena, path.p, path.len);
        rc = kept[0] && kept[1] && kept[2] ? http_check_url(http, kept[0], e)
                                           : err_set(e, ERR_NOMEM, "out of memory for a path");
    }
    buf_fini(&path);
    buf_fini(&url);
    const char *slash = strrchr(f->path, '/');
    *x = (struct fetch){.http = http,
                        .d = p->d,
                        .url = kept[0],
                        .grow = kept[1],
                        .note = kept[2],
                        .what = slash ? slash + 1 : f->path,
                        .expect = f->bytes,
                        .parts = p->o->parts,
                        .retries = p->o->retries,
                        .gguf = str_ends(str_c(f->path), ".gguf")};
    return rc;
}

/* Learns of a file what its server says, unless it is there. */
static enum err_code ask(struct pull *p, struct pull_file *f, struct fetch *x, struct err *e) {
    enum err_code rc = pull_there(p, f, e);
    if (rc || f->there || (rc = fetch_ask(x, e)) || (rc = pull_want(p, f, x->claimed, e))) {
        return rc;
    }
    if (f->bytes && x->bytes != HTTP_UNKNOWN && x->bytes != f->bytes) {
        err_set(e, ERR_FORMAT, "the server has %llu bytes, the catalogue says %llu",
                (unsigned long long)x->bytes, (unsigned long long)f->bytes);
        err_where(e, "%s", x->what);
        err_hint(e, "it is another file, or another version of it: see to the catalogue");
        return ERR_FORMAT;
    }
    f->bytes = x->bytes == HTTP_UNKNOWN ? 0 : x->bytes;
    memcpy(x->want, f->want, sizeof x->want);
    x->want_claimed = f->by == PULL_BY_SERVER;
    return pull_there(p, f, e);
}

static enum err_code fetch_all(struct pull *p, struct fetch *x, struct err *e) {
    uint64_t missing = 0;
    enum err_code rc = ERR_OK;
    for (size_t i = 0; i < p->n && !rc; i++) {
        rc = ask(p, &p->file[i], &x[i], e);
    }
    rc = rc ? rc : pull_twins(p, e);
    for (size_t i = 0; i < p->n && !rc; i++) {
        if (!p->file[i].there) {
            fetch_resume(&x[i]);
            uint64_t kept = x[i].have + x[i].ahead;
            uint64_t left = p->file[i].bytes > kept ? p->file[i].bytes - kept : 0;
            missing = left > UINT64_MAX - missing ? UINT64_MAX : missing + left;
        }
    }
    rc = rc ? rc : room_check(p->d->dir, missing, e);
    for (size_t i = 0; i < p->n && !rc; i++) {
        struct pull_file *f = &p->file[i];
        if (!f->there) {
            p->kept += x[i].have + x[i].ahead;
            p->one_piece = !x[i].ranges;
            rc = fetch_run(&x[i], f->to, f->sha256, e);
            f->there = !rc;
            memcpy(f->want, x[i].want, sizeof f->want);
            f->bytes = rc ? f->bytes : x[i].have;
        }
    }
    return rc;
}

enum err_code pull_http(struct pull *p, struct err *e) {
    struct http *http = NULL;
    struct http_opts o = p->o->http;
    struct fetch *x = mem_zalloc(p->n, sizeof *x);
    o.token_url = p->base;
    enum err_code rc =
        x ? os_mkdirs(p->grow, e) : err_set(e, ERR_NOMEM, "out of memory for a pull");
    rc = rc ? rc : http_open(&http, &o, e);
    for (size_t i = 0; i < p->n && !rc; i++) {
        rc = fetch_make(p, http, i, &x[i], e);
    }
    rc = rc ? rc : fetch_all(p, x, e);
    http_close(http);
    mem_free(x);
    return rc;
}
