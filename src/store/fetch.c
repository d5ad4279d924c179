/* fetch.c: see fetch.h.
 *
 * Owns the note: {"key", "bytes", "safe", "boot"}. `key` is what makes two beginnings the same
 * file: its SHA-256, or where nobody knows that the address's, in which secrets may be, and the
 * version. `safe` bytes were flushed to the disk before the note was written; past them a machine
 * that lost its power may have left anything. `boot` is the run of the machine: while it goes on,
 * what a killed program has written is there.
 */
#include "store/fetch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"
#include "base/rng.h"
#include "observe/digest.h"

enum {
    PIECE_MOST = 8 << 20,   /* bytes of a part */
    AHEAD_MOST = 64 << 20,  /* of all parts */
    PIECE_LEAST = 64 << 10, /* of a small file's */
    ALIVE = 64 << 10,       /* bytes that make a broken request no failure */
    NOTE_MOST = 4096,
    RESTARTS_MOST = 3,
    NOTE_EVERY = 64 << 20 /* bytes between two notes, at most */
};
#define NOTE_SECONDS 2.0  /* between two notes, at most */
#define WAIT_FIRST   0.25 /* seconds before a second try; twice that before a third ... */
#define WAIT_MOST    30.0
#define WAIT_ASKED   120.0 /* longest wait that a server may ask for */
#define WAIT_SAID    2.0   /* shortest of these that is said */
#define STEP         0.1   /* seconds between two looks at Ctrl-C */

/* A part of the file: bytes from..from + n, of which `got` have come. The first part's go to the
 * end of the file; those of the others, which are ahead of their turn, into a file of their own. */
struct part {
    uint64_t from;
    size_t n, got, before; /* before: when the request began */
    struct os_grow *ahead; /* that file; NULL: there is none */
    bool running;
    bool by_link;    /* the request skips the hub */
    double again;    /* not before that, os_now */
    const char *lie; /* what was wrong with an answer */
    struct run *run;
    struct http_get get;
};

struct run {
    struct fetch *f;
    struct os_grow *grow;
    struct digest *hash;
    size_t piece;    /* bytes of a part */
    uint64_t next;   /* the first byte that is in no part */
    uint64_t noted;  /* f->have when the note was written, */
    double when;     /* and the time, os_now */
    size_t first, n; /* ring of parts that are under way, in order */
    size_t n_part;
    struct part *part; /* [n_part] */
    struct buf ahead;  /* struct ahead: what an earlier run has left, in order; not in a part yet */
    size_t taken;      /* of these */
    struct rng rng;
    bool changed;     /* the server has another file now */
    bool no_ranges;   /* it sends the whole, whatever is asked for */
    bool resumed;     /* the beginning is of an earlier run */
    const char *lie;  /* of the whole in one piece */
    enum err_code rc; /* of the disk: nothing more is written */
    struct err why;
};

/* ---- the note -------------------------------------------------------------------------------- */

static void key_write(const struct fetch *f, struct buf *b) {
    if (f->want[0]) {
        buf_printf(b, "sha256:%s", f->want);
    } else {
        char hex[DIGEST_HEX];
        digest_sha256(f->url, strlen(f->url), hex);
        buf_printf(b, "address:%s %s", hex, f->version);
    }
}

static enum err_code note_write(const struct fetch *f, struct err *e) {
    struct buf b, key;
    struct json_writer w;
    char boot[OS_BOOT_ID];
    buf_init(&b, 4 * NOTE_MOST);
    buf_init(&key, NOTE_MOST);
    key_write(f, &key);
    json_writer_init(&w, &b);
    json_open(&w, '{');
    json_member_z(&w, "key", key.p);
    json_member_uint(&w, "bytes", f->bytes);
    json_member_uint(&w, "safe", f->have);
    json_member_z(&w, "boot", os_boot_id(boot) ? boot : "");
    json_close(&w, '}');
    buf_putc(&b, '\n');
    enum err_code rc = buf_check(&key, e);
    if (!rc && !(rc = buf_check(&b, e))) {
        rc = os_write_file(f->note, b.p, b.len, e);
    }
    buf_fini(&key);
    buf_fini(&b);
    return rc;
}

/* ---- what came ahead of its turn ------------------------------------------------------------- */

/* A file GROW.OFFSET.part, OFFSET in 16 hexadecimal digits: bytes from..from + n of the whole. */
struct ahead {
    uint64_t from, n;
};

static enum err_code ahead_path(const struct fetch *f, uint64_t from, char **path, struct err *e) {
    return store_path(path, e, "%s.%016" PRIx64 ".part", f->grow, from);
}

static void ahead_remove(const struct fetch *f, uint64_t from) {
    char *path;
    if (!ahead_path(f, from, &path, NULL)) {
        os_remove_file(path, NULL);
    }
    mem_free(path);
}

/* Whether a name of the folder is such a file's, and its offset. */
static bool ahead_name(const struct fetch *f, const char *name, uint64_t *from) {
    const char *slash = strrchr(f->grow, '/'), *base = slash ? slash + 1 : f->grow;
    size_t n = strlen(base);
    const char *digits = name + n + 1;
    if (strncmp(name, base, n) != 0 || name[n] != '.' || strspn(digits, "0123456789abcdef") != 16 ||
        strcmp(digits + 16, ".part") != 0) {
        return false;
    }
    *from = strtoull(digits, NULL, 16);
    return true;
}

/* Calls fn for each, in order. */
static void ahead_each(const struct fetch *f,
                       void (*fn)(const struct fetch *f, uint64_t from, void *arg), void *arg) {
    char *folder, **names = NULL;
    size_t n = 0;
    uint64_t from;
    if (store_path(&folder, NULL, "%s", f->grow)) {
        return;
    }
    *strrchr(folder, '/') = '\0';
    if (!os_list(folder, &names, &n, NULL)) {
        for (size_t i = 0; i < n; i++) {
            if (ahead_name(f, names[i], &from)) {
                fn(f, from, arg);
            }
        }
    }
    mem_free(names);
    mem_free(folder);
}

static void drop_one(const struct fetch *f, uint64_t from, void *arg) {
    (void)arg;
    ahead_remove(f, from);
}

/* Keeps it in `arg`, a buffer, where it fits; removes what does not. */
static void keep_one(const struct fetch *f, uint64_t from, void *arg) {
    struct buf *out = arg;
    struct os_file_info info;
    struct ahead a = {.from = from}, last = {.from = f->have};
    char *path = NULL;
    if (out->len > 0) {
        memcpy(&last, out->p + out->len - sizeof last, sizeof last);
    }
    bool fits = from >= last.from + last.n && from < f->bytes &&
                !ahead_path(f, from, &path, NULL) && !os_is_link(path) &&
                !os_file_info(path, &info, NULL) && !info.is_folder && info.size > 0 &&
                info.size <= PIECE_MOST && info.size <= f->bytes - from;
    mem_free(path);
    if (fits) {
        a.n = info.size;
        buf_put(out, &a, sizeof a); /* out of memory for it: it is fetched again */
    } else {
        ahead_remove(f, from);
    }
}

void fetch_resume(struct fetch *f) {
    char *text = NULL, boot[OS_BOOT_ID];
    size_t n = 0;
    struct json *j = NULL;
    struct buf key, ahead;
    struct os_file_info info;
    bool all = false; /* whatever was written is there */
    buf_init(&key, NOTE_MOST);
    buf_init(&ahead, 1 << 16);
    key_write(f, &key);
    f->have = f->ahead = 0;
    if ((f->want[0] || f->version[0]) && !os_file_info(f->grow, &info, NULL) && !info.is_folder &&
        !os_read_file(f->note, 4 * NOTE_MOST, &text, &n, NULL) && !json_parse(text, n, &j, NULL) &&
        buf_check(&key, NULL) == ERR_OK && str_is(json_str(json_find(j, "key")), key.p) &&
        (uint64_t)json_int(json_find(j, "bytes")) == f->bytes && info.size <= f->bytes) {
        uint64_t safe = (uint64_t)json_int(json_find(j, "safe"));
        all = f->want[0] && os_boot_id(boot) && str_is(json_str(json_find(j, "boot")), boot);
        f->have = all || info.size < safe ? info.size : safe;
    }
    if (all && f->ranges) {
        ahead_each(f, keep_one, &ahead);
    } else {
        ahead_each(f, drop_one, NULL);
    }
    for (size_t i = 0; i < ahead.len; i += sizeof(struct ahead)) {
        struct ahead a;
        memcpy(&a, ahead.p + i, sizeof a);
        f->ahead += a.n;
    }
    json_free(j);
    mem_free(text);
    buf_fini(&ahead);
    buf_fini(&key);
}

/* ---- failures -------------------------------------------------------------------------------- */

static double wait_of(struct fetch *f, struct rng *r, const struct http_get *g) {
    double wait = WAIT_FIRST;
    for (int i = 1; i < f->failures && wait < WAIT_MOST; i++) {
        wait *= 2;
    }
    wait = (wait < WAIT_MOST ? wait : WAIT_MOST) * (0.5 + rng_double(r) / 2);
    return g->head.retry_after > wait ? g->head.retry_after : wait;
}

/* "90 seconds", "4 hours": rounded. */
static const char *time_text(double seconds, char out[32]) {
    static const struct {
        double seconds;
        const char *name;
    } units[] = {{365.25 * 86400, "years"}, {86400, "days"}, {3600, "hours"}, {60, "minutes"}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (seconds >= 2 * units[i].seconds) {
            snprintf(out, 32, "%.0f %s", seconds / units[i].seconds, units[i].name);
            return out;
        }
    }
    snprintf(out, 32, "%.0f seconds", seconds);
    return out;
}

/* Says once for all connections that a server has asked for a wait. */
static void wait_say(struct fetch *f, const struct http_get *g, double wait) {
    double until = os_now() + wait;
    char text[32];
    if (g->head.retry_after >= WAIT_SAID && until > f->said + 1) {
        f->said = until;
        depot_say(f->d, "%s: the server answers %d and asks for a wait; trying again in %s",
                  f->what, g->head.status, time_text(wait, text));
    }
}

static bool may_pass(int status) {
    return status == 408 || status == 425 || status == 429 || status >= 500;
}

static enum err_code fail_status(const struct http_get *g, struct err *e) {
    char shown[HTTP_TEXT];
    int status = g->head.status;
    bool who = status == 401 || status == 403 || status == 407;
    enum err_code rc = status == 404 || status == 410 ? ERR_NOTFOUND : ERR_IO;
    err_set(e, rc, "the server answers %d%s", status,
            who                  ? ": it wants to know who asks, or forbids it"
            : rc == ERR_NOTFOUND ? ": it has no such file"
            : status == 206      ? " with a range that was not asked for"
            : may_pass(status)   ? ""
                                 : ", which is no file");
    err_where(e, "%s", address_shown(g->at, shown, sizeof shown));
    err_hint(e, "%s",
             status == 407 ? "the proxy wants a name and a password: in the variable https_proxy"
             : who ? "a gated model wants a token of somebody who accepted its licence there: "
                     "--token-file FILE"
             : may_pass(status) ? "try again later; what has come is kept"
                                : "see to the base address (hub) and the catalogue's repository");
    return rc;
}

/* The server asks for a wait that nobody sits through. */
static enum err_code fail_asked(const struct http_get *g, struct err *e) {
    char shown[HTTP_TEXT], text[32];
    err_set(e, ERR_IO, "the server answers %d and asks for a wait of %s", g->head.status,
            time_text(g->head.retry_after, text));
    err_where(e, "%s", address_shown(g->at, shown, sizeof shown));
    err_hint(e, "give the same command again then, or take another source: --from");
    return ERR_IO;
}

static enum err_code pass_on(const struct err *why, struct err *e) {
    if (e) {
        *e = *why;
    }
    return why->code;
}

/* What is to be done about a request that brought nothing: ERR_OK with the time to wait, or the
 * error that ends all. `lie`: what was wrong with the answer, NULL if that is not it. A link that a
 * hub has given out runs out some time: the next request asks the hub again. */
static enum err_code judge(struct fetch *f, struct rng *r, const struct http_get *g, bool by_link,
                           const char *lie, double *wait, struct err *e) {
    char shown[HTTP_TEXT];
    int status = g->head.status;
    bool answered = g->end == HTTP_WHOLE || g->end == HTTP_ENOUGH;
    *wait = 0;
    if (g->end == HTTP_REFUSED) {
        return pass_on(&g->why, e);
    }
    bool run_out = by_link && answered && status >= 400 && status < 500;
    if (!lie && answered && status != 200 && status != 206 && !may_pass(status) && !run_out) {
        return fail_status(g, e);
    }
    f->at[0] = '\0';
    if (run_out && !may_pass(status)) {
        return ERR_OK;
    }
    if (answered && g->head.retry_after > WAIT_ASKED) {
        return fail_asked(g, e);
    }
    if (++f->failures <= f->retries) {
        *wait = wait_of(f, r, g);
        wait_say(f, g, *wait);
        return ERR_OK;
    }
    if (lie) {
        err_set(e, ERR_IO, "%s", lie);
        err_where(e, "%s", address_shown(g->at, shown, sizeof shown));
        err_hint(e, "the server is broken, or something between it and us");
        return ERR_IO;
    }
    if (answered) {
        return fail_status(g, e);
    }
    pass_on(&g->why, e);
    err_hint(e, "given up after %d tr%s; %s", f->failures, f->failures == 1 ? "y" : "ies",
             f->ranges || f->bytes == 0 ? "the same command goes on where it stands"
                                        : "this server sends a file in one piece only, so that the "
                                          "same command begins it anew");
    return g->why.code;
}

/* Waits, unless somebody wants to stop. */
static enum err_code rest(struct fetch *f, double seconds, struct err *e) {
    double until = os_now() + seconds;
    enum err_code rc = ERR_OK;
    while (!rc && os_now() < until) {
        rc = http_step(f->http, STEP, e);
    }
    return rc;
}

/* ---- the first question ---------------------------------------------------------------------- */

static bool ask_begin(void *arg, const struct http_head *head) {
    (void)arg;
    (void)head;
    return false; /* its head is all that is wanted */
}

static bool ask_take(void *arg, const void *p, size_t n) {
    (void)arg;
    (void)p;
    (void)n;
    return false;
}

/* The version that may stand in If-Range: a strong tag, or the date. */
static const char *version_of(const struct http_head *head) {
    return head->etag[0] && strncmp(head->etag, "W/", 2) != 0 ? head->etag : head->modified;
}

/* Parts need not go by the hub each time. */
static void keep_at(struct fetch *f, const struct http_get *g) {
    snprintf(f->at, sizeof f->at, "%s", strcmp(g->at, f->url) == 0 ? "" : g->at);
}

static void learn(struct fetch *f, const struct http_get *g) {
    const struct http_head *head = &g->head;
    f->ranges = head->status == 206 && head->from == 0 && head->total != HTTP_UNKNOWN;
    f->bytes = head->status == 206 ? head->total : head->length;
    if (f->bytes == HTTP_UNKNOWN && f->expect) {
        f->bytes = f->expect;
    }
    snprintf(f->version, sizeof f->version, "%s", version_of(head));
    memcpy(f->claimed, head->sha256, sizeof f->claimed);
    keep_at(f, g);
}

enum err_code fetch_ask(struct fetch *f, struct err *e) {
    struct rng r;
    struct http_get *g = mem_zalloc(1, sizeof *g);
    enum err_code rc = g ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory for a request");
    bool known = false;
    rng_seed(&r, os_random_seed());
    f->failures = 0;
    f->at[0] = '\0';
    while (!rc && !known) {
        double wait = 0;
        *g = (struct http_get){.url = f->url, .n = 1, .begin = ask_begin, .take = ask_take};
        rc = http_start(f->http, g, e);
        while (!rc && g->end == HTTP_RUNNING) {
            rc = http_step(f->http, STEP, e);
        }
        if (!rc && (g->end == HTTP_WHOLE || g->end == HTTP_ENOUGH) &&
            (g->head.status == 200 || g->head.status == 206)) {
            learn(f, g);
            known = true;
        } else if (!rc && g->head.status == 416 && g->head.total == 0) {
            learn(f, g);
            f->bytes = 0; /* there is no first byte to ask for */
            known = true;
        } else if (!rc) {
            rc = judge(f, &r, g, false, NULL, &wait, e);
        }
        http_drop(g);
        rc = rc ? rc : rest(f, wait, e);
    }
    mem_free(g);
    f->failures = 0;
    return rc;
}

/* ---- bytes to the disk ----------------------------------------------------------------------- */

static enum err_code begins_well(const char *p, size_t n, struct err *e) {
    if (n > 0 && memcmp(p, "GGUF", n < 4 ? n : 4) == 0) {
        return ERR_OK;
    }
    bool pointer = n >= 8 && memcmp(p, "version ", 8) == 0;
    err_set(e, ERR_FORMAT,
            pointer ? "the server has a pointer to the file, not the file"
                    : "the server sends something that is no GGUF file");
    err_hint(e, pointer ? "have the mirror fetch its large files (git lfs pull)"
                        : "a page of a proxy or a login, perhaps: open the address in a browser");
    return ERR_FORMAT;
}

/* Flushes the file, and says so in the note. */
static enum err_code note_safe(struct run *r, struct err *e) {
    enum err_code rc = os_grow_flush(r->grow, e);
    r->noted = r->f->have;
    r->when = os_now();
    return rc ? rc : note_write(r->f, e);
}

/* Appends bytes to the file, and to its hash. */
static enum err_code append(struct run *r, const char *p, size_t n, struct err *e) {
    struct fetch *f = r->f;
    enum err_code rc = f->have == 0 && f->gguf ? begins_well(p, n, e) : ERR_OK;
    if (!rc && !(rc = os_grow_write(r->grow, p, n, e))) {
        digest_add(r->hash, p, n);
        f->have += n;
    }
    bool full = f->have - r->noted >= NOTE_EVERY;
    if (!rc && full && f->bytes == HTTP_UNKNOWN) { /* nobody could ask the disk for the whole */
        rc = room_check(f->d->dir, NOTE_EVERY, e);
    }
    if (!rc && (full || os_now() - r->when >= NOTE_SECONDS)) {
        rc = note_safe(r, e);
    }
    r->rc = rc;
    return rc;
}

static struct ahead ahead_at(const struct run *r, size_t i) {
    struct ahead a;
    memcpy(&a, r->ahead.p + i * sizeof a, sizeof a);
    return a;
}

static enum err_code tell(const struct run *r, struct err *e) {
    uint64_t done = r->f->have;
    for (size_t i = 0; i < r->n; i++) {
        const struct part *p = &r->part[(r->first + i) % r->n_part];
        done += i || p->ahead ? p->got : 0; /* else it is in the file */
    }
    for (size_t i = r->taken; i < r->ahead.len / sizeof(struct ahead); i++) {
        done += ahead_at(r, i).n;
    }
    return depot_tell(r->f->d, r->f->what, done, r->f->bytes == HTTP_UNKNOWN ? 0 : r->f->bytes, e);
}

/* Everything from the beginning. */
static enum err_code begin_anew(struct run *r, struct err *e) {
    char hex[65];
    r->next = r->f->have = r->f->ahead = r->noted = 0;
    r->first = r->n = r->taken = 0;
    r->changed = r->resumed = false;
    buf_reset(&r->ahead);
    ahead_each(r->f, drop_one, NULL);
    if (r->hash) {
        digest_end(r->hash, hex);
    }
    r->hash = digest_create();
    return r->hash ? os_grow_cut(r->grow, 0, e) : err_set(e, ERR_NOMEM, "out of memory for a hash");
}

/* Hashes what an earlier run has left, a piece at a time. */
static enum err_code rehash(struct run *r, struct err *e) {
    struct os_map m;
    struct fetch *f = r->f;
    const size_t step = 4 << 20;
    if (f->have == 0) {
        return ERR_OK;
    }
    enum err_code rc = os_map_open(&m, f->grow, false, e);
    if (rc) {
        return rc;
    }
    for (size_t at = 0; at < f->have && !rc; at += step) {
        size_t n = f->have - at < step ? (size_t)(f->have - at) : step;
        digest_add(r->hash, m.data + at, n);
        rc = depot_tell(f->d, f->what, at, f->bytes, e);
    }
    if (!rc && m.lost) {
        rc = err_set(e, ERR_IO, "what is there already cannot be read");
        err_where(e, "%s", f->grow);
    }
    os_map_close(&m);
    return rc;
}

/* ---- the whole in one piece ------------------------------------------------------------------ */

static bool whole_begin(void *arg, const struct http_head *head) {
    struct run *r = arg;
    if (head->status == 200 && head->length != HTTP_UNKNOWN && head->length != r->f->bytes) {
        r->changed = true;
    }
    return head->status == 200 && !r->changed;
}

static bool whole_take(void *arg, const void *p, size_t n) {
    struct run *r = arg;
    if (n > r->f->bytes - r->f->have) { /* of unknown length: never more than that */
        r->lie = "the server sends more bytes than the file has";
        return false;
    }
    return append(r, p, n, &r->why) == ERR_OK;
}

/* From a server that knows no ranges: a break means to begin again. */
static enum err_code run_whole(struct run *r, struct err *e) {
    struct fetch *f = r->f;
    struct http_get *g = mem_zalloc(1, sizeof *g);
    enum err_code rc = g ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory for a request");
    bool done = f->bytes == f->have;
    while (!rc && !done) {
        double wait = 0;
        bool by_link = f->at[0] != '\0';
        if ((rc = begin_anew(r, e))) {
            break;
        }
        r->lie = NULL;
        *g = (struct http_get){
            .url = f->at[0] ? f->at : f->url, .begin = whole_begin, .take = whole_take, .arg = r};
        rc = http_start(f->http, g, e);
        while (!rc && g->end == HTTP_RUNNING && !(rc = http_step(f->http, STEP, e))) {
            rc = tell(r, e);
        }
        http_drop(g);
        rc = r->rc ? pass_on(&r->why, e) : rc;
        done = g->end == HTTP_WHOLE && g->head.status == 200 &&
               (f->bytes == HTTP_UNKNOWN || f->have == f->bytes);
        if (!rc && r->changed) {
            break;
        }
        if (!rc && !done) {
            r->lie = g->end == HTTP_WHOLE && g->head.status == 200
                         ? "the server sends fewer bytes than it said"
                         : r->lie;
            rc = judge(f, &r->rng, g, by_link, r->lie, &wait, e);
            rc = rc ? rc : rest(f, wait, e);
        }
    }
    mem_free(g);
    return rc;
}

/* ---- in parts -------------------------------------------------------------------------------- */

static bool part_begin(void *arg, const struct http_head *head) {
    struct part *p = arg;
    struct run *r = p->run;
    const struct fetch *f = r->f;
    const char *version = version_of(head);
    bool other = (head->status == 206 || head->status == 200) && version[0] && f->version[0] &&
                 strcmp(version, f->version) != 0;
    if (head->status == 416 || other ||
        (head->status == 206 && head->total != HTTP_UNKNOWN && head->total != f->bytes)) {
        r->changed = true;
    } else if (head->status == 200) {
        r->no_ranges = true;
    } else if (head->status == 206 &&
               (head->from != p->from + p->got || head->to < head->from || head->to >= f->bytes)) {
        p->lie = "the server sends another range than was asked for";
    }
    return head->status == 206 && !r->changed && !p->lie;
}

/* Writes bytes where they belong now. */
static enum err_code part_write(struct run *r, struct part *p, const void *bytes, size_t n,
                                struct err *e) {
    if (p == &r->part[r->first] && !p->ahead) {
        return append(r, bytes, n, e);
    }
    enum err_code rc = ERR_OK;
    if (!p->ahead) {
        char *path;
        rc = ahead_path(r->f, p->from, &path, e);
        rc = rc ? rc : os_grow_open(&p->ahead, path, 0, e);
        mem_free(path);
    }
    rc = rc ? rc : os_grow_write(p->ahead, bytes, n, e);
    r->rc = rc;
    return rc;
}

static bool part_take(void *arg, const void *bytes, size_t n) {
    struct part *p = arg;
    if (n > p->n - p->got) {
        p->lie = "the server sends more bytes than were asked for";
        return false;
    }
    if (part_write(p->run, p, bytes, n, &p->run->why)) {
        return false;
    }
    p->got += n;
    return true;
}

/* Its turn has come: what came of it ahead goes to the end of the file. */
static enum err_code part_bring(struct run *r, struct part *p, struct err *e) {
    struct os_map m;
    char *path;
    if (!p->ahead) {
        return ERR_OK;
    }
    os_grow_close(p->ahead);
    p->ahead = NULL;
    enum err_code rc = ahead_path(r->f, p->from, &path, e);
    if (rc || (rc = os_map_open(&m, path, false, e))) {
        mem_free(path);
        return rc;
    }
    rc = m.size == p->got ? append(r, (const char *)m.data, m.size, e)
                          : err_set(e, ERR_IO, "somebody has changed it");
    if (!rc && m.lost) { /* its hash will tell; where nobody knows one, nothing may be kept */
        rc = err_set(e, ERR_IO, "it could not be read to its end");
    }
    if (rc) {
        err_where(e, "%s", path);
    }
    os_map_close(&m);
    os_remove_file(path, NULL);
    mem_free(path);
    return rc;
}

static enum err_code part_start(struct run *r, struct part *p, struct err *e) {
    struct fetch *f = r->f;
    p->get = (struct http_get){.url = f->at[0] ? f->at : f->url,
                               .from = p->from + p->got,
                               .n = p->n - p->got,
                               .if_range = f->version[0] ? f->version : NULL,
                               .begin = part_begin,
                               .take = part_take,
                               .arg = p};
    p->before = p->got;
    p->lie = NULL;
    p->by_link = f->at[0] != '\0';
    p->running = true;
    return http_start(f->http, &p->get, e);
}

/* What came of a request that has ended. */
static enum err_code part_end(struct run *r, struct part *p, struct err *e) {
    struct fetch *f = r->f;
    double wait;
    bool good = p->get.head.status == 206 && !p->lie;
    http_drop(&p->get);
    p->running = false;
    if (r->changed || r->no_ranges) {
        return ERR_OK;
    }
    if (p->got == p->n || (good && p->got - p->before >= ALIVE)) {
        f->failures = 0;
        keep_at(f, &p->get);
        return ERR_OK;
    }
    const char *lie =
        good && p->get.end == HTTP_WHOLE ? "the server sends fewer bytes than it said" : p->lie;
    enum err_code rc = judge(f, &r->rng, &p->get, p->by_link, lie, &wait, e);
    p->again = os_now() + wait;
    return rc;
}

/* The next part: up to where something has come already, or that. */
static enum err_code part_aim(struct run *r, struct part *p, struct err *e) {
    struct fetch *f = r->f;
    size_t n_ahead = r->ahead.len / sizeof(struct ahead);
    enum err_code rc = ERR_OK;
    p->from = r->next;
    p->n = f->bytes - r->next < r->piece ? (size_t)(f->bytes - r->next) : r->piece;
    p->got = 0;
    p->again = 0;
    if (r->taken < n_ahead && ahead_at(r, r->taken).from == p->from) {
        char *path;
        p->got = (size_t)ahead_at(r, r->taken++).n;
        p->n = p->n < p->got ? p->got : p->n;
        rc = ahead_path(f, p->from, &path, e);
        rc = rc ? rc : os_grow_open(&p->ahead, path, p->got, e);
        mem_free(path);
    }
    if (r->taken < n_ahead && ahead_at(r, r->taken).from - p->from < p->n) {
        p->n = (size_t)(ahead_at(r, r->taken).from - p->from);
    }
    r->next += p->n;
    return rc;
}

/* Hands out the bytes that are in no part yet, and starts what may be started. */
static enum err_code parts_start(struct run *r, struct err *e) {
    struct fetch *f = r->f;
    double now = os_now();
    int running = 0;
    enum err_code rc = ERR_OK;
    while (!rc && r->n < r->n_part && r->next < f->bytes) {
        rc = part_aim(r, &r->part[(r->first + r->n++) % r->n_part], e);
    }
    for (size_t i = 0; i < r->n; i++) {
        running += r->part[(r->first + i) % r->n_part].running;
    }
    for (size_t i = 0; i < r->n && !rc && running < f->parts; i++) {
        struct part *p = &r->part[(r->first + i) % r->n_part];
        if (!p->running && p->got < p->n && now >= p->again) {
            rc = part_start(r, p, e);
            running++;
        }
    }
    return rc;
}

/* Looks after requests that have ended, and gives the next part its turn where one is whole. */
static enum err_code parts_end(struct run *r, struct err *e) {
    enum err_code rc = ERR_OK;
    for (size_t i = 0; i < r->n && !rc; i++) {
        struct part *p = &r->part[(r->first + i) % r->n_part];
        if (p->running && p->get.end != HTTP_RUNNING) {
            rc = part_end(r, p, e);
        }
    }
    while (!rc && !r->changed && r->n > 0) {
        struct part *p = &r->part[r->first];
        if ((rc = part_bring(r, p, e)) || p->running || p->got < p->n) {
            break;
        }
        r->first = (r->first + 1) % r->n_part;
        r->n--;
    }
    return rc;
}

static void parts_drop(struct run *r) {
    for (size_t i = 0; i < r->n_part && r->part; i++) {
        if (r->part[i].running) {
            http_drop(&r->part[i].get);
        }
        r->part[i].running = false;
        os_grow_close(r->part[i].ahead);
        r->part[i].ahead = NULL;
    }
}

static enum err_code run_parts(struct run *r, struct err *e) {
    enum err_code rc = ERR_OK;
    r->next = r->f->have;
    while (!rc && !r->changed && !r->no_ranges && r->f->have < r->f->bytes) {
        rc = parts_start(r, e);
        rc = rc ? rc : http_step(r->f->http, STEP, e);
        rc = rc || !r->rc ? rc : pass_on(&r->why, e);
        rc = rc ? rc : parts_end(r, e);
        rc = rc ? rc : tell(r, e);
    }
    parts_drop(r);
    return rc;
}

static enum err_code parts_make(struct run *r, struct err *e) {
    const struct fetch *f = r->f;
    uint64_t share = f->bytes == HTTP_UNKNOWN ? PIECE_MOST : f->bytes / (uint64_t)(4 * f->parts);
    r->n_part = 2 * (size_t)f->parts;
    size_t most = AHEAD_MOST / r->n_part < PIECE_MOST ? AHEAD_MOST / r->n_part : PIECE_MOST;
    r->piece = share > most ? most : share < PIECE_LEAST ? PIECE_LEAST : (size_t)share;
    r->part = mem_zalloc(r->n_part, sizeof *r->part);
    if (!r->part) {
        return err_set(e, ERR_NOMEM, "out of memory for requests");
    }
    for (size_t i = 0; i < r->n_part; i++) {
        r->part[i].run = r;
    }
    return ERR_OK;
}

/* ---- all of it ------------------------------------------------------------------------------- */

/* The bytes, by whichever way the server knows; begins again where its file changes. */
static enum err_code run_bytes(struct run *r, struct err *e) {
    struct fetch *f = r->f;
    enum err_code rc = ERR_OK;
    while (!rc) {
        rc = f->ranges && f->bytes != HTTP_UNKNOWN ? run_parts(r, e) : run_whole(r, e);
        if (!rc && r->no_ranges) {
            r->no_ranges = f->ranges = false;
        } else if (rc || !r->changed) {
            return rc;
        } else if (++f->restarts > RESTARTS_MOST) {
            err_set(e, ERR_IO, "the file on the server changes again and again");
            err_where(e, "%s", f->what);
            err_hint(e, "wait until whoever writes it has ended");
            return ERR_IO;
        } else if ((rc = begin_anew(r, e)) || (rc = fetch_ask(f, e))) {
            return rc;
        } else {
            if (f->want_claimed && f->claimed[0]) {
                memcpy(f->want, f->claimed, sizeof f->want);
            }
            rc = note_write(f, e);
        }
    }
    return rc;
}

/* The file's hash, judged. *again: the beginning of an earlier run may be what is wrong. */
static enum err_code settle_hash(struct run *r, char hex[65], bool *again, struct err *e) {
    struct fetch *f = r->f;
    digest_end(r->hash, hex);
    r->hash = NULL;
    *again = false;
    if (f->gguf && f->have == 0) {
        return begins_well("", 0, e);
    }
    if (!f->want[0] || strcmp(hex, f->want) == 0) {
        return ERR_OK;
    }
    if (r->resumed) {
        *again = true;
        return begin_anew(r, e);
    }
    os_remove_file(f->grow, NULL);
    os_remove_file(f->note, NULL);
    err_set(e, ERR_FORMAT, "its SHA-256 is %s, not %s: not kept", hex, f->want);
    err_where(e, "%s", f->what);
    err_hint(e, "the server has another file, or a damaged one: try another source");
    return ERR_FORMAT;
}

enum err_code fetch_run(struct fetch *f, const char *to, char hex[65], struct err *e) {
    struct run r = {.f = f, .hash = digest_create(), .resumed = f->have > 0};
    bool again = true;
    rng_seed(&r.rng, os_random_seed());
    buf_init(&r.ahead, 1 << 16);
    f->restarts = f->failures = 0;
    enum err_code rc = r.hash ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory for a hash");
    if (rc || (rc = parts_make(&r, e)) || (rc = note_write(f, e)) ||
        (rc = os_grow_open(&r.grow, f->grow, f->have, e)) || (rc = rehash(&r, e))) {
        goto done;
    }
    if (f->ahead) {
        ahead_each(f, keep_one, &r.ahead);
    }
    r.noted = f->have;
    r.when = os_now();
    while (again && !rc && !(rc = run_bytes(&r, e))) {
        rc = settle_hash(&r, hex, &again, e);
    }
    if (!rc && !(rc = os_grow_flush(r.grow, e))) {
        rc = os_rename(f->grow, to, e);
    }
done:
    if (rc && r.grow && f->bytes == HTTP_UNKNOWN) {
        os_grow_cut(r.grow, 0, NULL); /* run_whole would begin anew: it only fills the disk */
    } else if (rc && r.grow && f->have > r.noted) {
        note_safe(&r, NULL);
    }
    os_grow_close(r.grow);
    if (r.hash) {
        digest_end(r.hash, (char[65]){0});
    }
    buf_fini(&r.ahead);
    mem_free(r.part);
    return rc;
}
