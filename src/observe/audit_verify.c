/* audit_verify.c: reading a log and saying what is wrong with it.
 *
 * Owns the walk along the chain and the blame: which line it is that does not fit. Refuses to write
 * anything (but for the lock, where that can be made): a log on a disk that is read-only is checked
 * as well.
 * Invariant: a report is intact only where every byte of the log is under a hash that the next line
 * or the head has.
 */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"
#include "observe/audit_head.h"

struct walk {
    const struct audit_opts *o;
    const struct audit_head *h;
    struct audit_report *r;
    uint64_t bytes;          /* of the log */
    const char *at, *end;    /* what is left of it */
    uint64_t p;              /* number of the line in hand, from 1 */
    struct str line, before; /* it and the one before, without newlines */
    char hash[DIGEST_HEX];   /* of the line in hand */
    char hash_before[DIGEST_HEX];
    char hash_counted[DIGEST_HEX]; /* of line number h->entries */
};

static void blame(struct walk *w, uint64_t line, const char *why) {
    w->r->first_bad = line;
    w->r->entries = line - 1;
    snprintf(w->r->why, sizeof w->r->why, "%s", why);
}

/* The two members of a line that the chain needs; false for what is no line of a log. */
static bool line_parse(struct str line, uint64_t *n, char prev[DIGEST_HEX]) {
    struct json *j = NULL;
    bool good = false;
    if (!json_parse(line.p, line.n, &j, NULL)) {
        struct str s = json_str(json_find(j, "prev"));
        good = s.n == DIGEST_HEX - 1;
        memcpy(prev, s.p, good ? s.n : 0);
        prev[DIGEST_HEX - 1] = '\0';
        *n = (uint64_t)json_int(json_find(j, "n"));
    }
    json_free(j);
    return good;
}

/* Whether what comes behind the line in hand (the next line, or the head) has its hash: then it is
 * as it was written, whatever it says itself. */
static bool vouched(const struct walk *w) {
    char prev[DIGEST_HEX];
    uint64_t n;
    const char *stop = w->at < w->end ? memchr(w->at, '\n', (size_t)(w->end - w->at)) : NULL;
    if (stop) {
        return line_parse(str_of(w->at, (size_t)(stop - w->at)), &n, prev) &&
               digest_equal(prev, w->hash);
    }
    return digest_equal(w->hash, w->h->begun_bytes ? w->h->begun_hash : w->h->hash) ||
           digest_equal(w->hash, w->h->hash);
}

/* Takes the next line into hand; false where it is the bad one, or there is none. */
static bool line_next(struct walk *w) {
    const char *stop = memchr(w->at, '\n', (size_t)(w->end - w->at));
    if (!stop) {
        blame(w, w->p + 1,
              w->h->begun_bytes && w->p == w->h->entries
                  ? "its writer was stopped in the middle of it; the next action writes that down"
                  : "it is cut off");
        return false;
    }
    w->before = w->line;
    memcpy(w->hash_before, w->hash, sizeof w->hash);
    w->line = str_of(w->at, (size_t)(stop - w->at));
    audit_hash(w->o, w->line.p, w->line.n, w->hash);
    w->at = stop + 1;
    w->p++;
    if (w->p == w->h->entries) {
        memcpy(w->hash_counted, w->hash, sizeof w->hash);
    }
    return true;
}

/* Whether the line in hand fits to the one before. */
static bool line_fits(struct walk *w) {
    char prev[DIGEST_HEX], text[192];
    uint64_t n = 0;
    if (!line_parse(w->line, &n, prev)) {
        blame(w, w->p, "it is not a line that this program writes");
        return false;
    }
    if (n != w->p) {
        bool strange_before = n + 1 == w->p && !str_eq(w->line, w->before) && vouched(w);
        snprintf(text, sizeof text, "the line in its place is number %llu", (unsigned long long)n);
        blame(w, strange_before ? w->p - 1 : w->p,
              strange_before ? "it stands between two that belong together" : text);
        return false;
    }
    if (!digest_equal(prev, w->hash_before)) {
        bool before = w->p > 1 && vouched(w);
        blame(w, before ? w->p - 1 : w->p,
              before ? "it is not what the line behind it was written after"
                     : "it was not written after the one before");
        return false;
    }
    return true;
}

/* All lines fit to each other: do they end as the head says? */
static void judge_end(struct walk *w) {
    const struct audit_head *h = w->h;
    bool counted = h->entries == 0 || digest_equal(w->hash_counted, h->hash);
    if (w->p < h->entries) {
        char text[192];
        snprintf(text, sizeof text, "the log ends before it; its .head counts %llu",
                 (unsigned long long)h->entries);
        blame(w, w->p + 1, text);
    } else if (!counted) {
        blame(w, h->entries, "it is not the one that the .head counts last");
    } else if (w->p == h->entries && h->begun_bytes) {
        blame(w, w->p + 1,
              "it was begun and is not there: its writer was stopped, or it was taken away; the "
              "next action writes that down");
    } else if (w->p > h->entries && !(w->p == h->entries + 1 && h->begun_bytes &&
                                      digest_equal(w->hash, h->begun_hash))) {
        blame(w, h->entries + 1, "the .head does not know of it");
    } else if (w->bytes != h->bytes + h->begun_bytes) {
        snprintf(w->r->why, sizeof w->r->why, "its .head has another length for it");
    } else {
        w->r->entries = w->p;
        w->r->intact = true;
    }
}

static void walk_log(const struct audit_opts *o, const struct audit_head *h, const char *p,
                     size_t n, struct audit_report *r) {
    struct walk w = {.o = o, .h = h, .r = r, .bytes = n, .at = p, .end = p + n};
    memset(w.hash, '0', DIGEST_HEX - 1);
    while (w.at < w.end) {
        if (!line_next(&w) || !line_fits(&w)) {
            return;
        }
    }
    judge_end(&w);
}

static enum err_code report(const struct audit_opts *o, struct audit_report *r, struct err *e) {
    struct os_map log = {.slot = -1};
    struct audit_head h;
    struct err head_why = {0}, log_why = {0};
    enum err_code rc = audit_head_read(o, &h, &head_why);
    *r = (struct audit_report){.keyed = h.keyed};
    if (rc && rc != ERR_FORMAT) {
        *e = head_why;
        return rc;
    }
    memcpy(r->hash, h.hash, h.there && !rc ? sizeof r->hash : 0);
    enum err_code log_rc = os_map_open(&log, o->path, false, &log_why);
    if (log_rc && (log_rc != ERR_NOTFOUND || (!rc && !h.there))) {
        *e = log_why;
        err_hint(e, "see --audit");
        return log_rc;
    }
    if (rc) {
        snprintf(r->why, sizeof r->why, "its .head %.160s", head_why.what);
    } else if (!h.there && log.size > 0) {
        snprintf(r->why, sizeof r->why,
                 "its .head is missing: nobody can tell whether lines are missing too");
    } else {
        walk_log(o, &h, log.data ? (const char *)log.data : "", log.size, r);
    }
    if (log.lost) {
        rc = err_set(e, ERR_IO, "the log became shorter while it was read");
        err_where(e, "%s", o->path);
    } else {
        rc = ERR_OK;
    }
    os_map_close(&log);
    return rc;
}

/* The lock keeps writers away. Where it cannot be had (another user's log, a disk that is
 * read-only) nobody is likely to write either. Nothing is made for a log that is not there. */
enum err_code audit_verify(const struct audit_opts *o, struct audit_report *r, struct err *e) {
    struct os_lock *lock = NULL;
    char *path = NULL;
    enum err_code rc = audit_path(o, ".lock", &path, e);
    if (rc) {
        return rc;
    }
    if (os_file_exists(o->path)) {
        os_lock_take(&lock, path, AUDIT_WAIT, NULL);
    }
    rc = report(o, r, e);
    os_lock_drop(lock);
    mem_free(path);
    return rc;
}

enum err_code audit_tail(const struct audit_opts *o, size_t n, struct buf *out, struct err *e) {
    struct os_map log;
    enum err_code rc = os_map_open(&log, o->path, false, e);
    if (rc) {
        return rc;
    }
    const char *p = (const char *)log.data;
    size_t end = log.size;
    while (end > 0 && p[end - 1] != '\n') { /* a line that is being written */
        end--;
    }
    size_t start = end;
    for (size_t k = 0; k < n && start > 0; k++) {
        for (start--; start > 0 && p[start - 1] != '\n'; start--) {
        }
    }
    buf_put(out, p + start, end - start);
    rc = log.lost ? err_set(e, ERR_IO, "the log became shorter while it was read")
                  : buf_check(out, e);
    os_map_close(&log);
    return rc;
}
