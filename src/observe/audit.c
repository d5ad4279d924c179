/* audit.c: writing a line.
 *
 * Owns the order in which a line comes to be, under the log's lock: the head says what is begun
 * (its length and hash), the line is appended, the head counts it. Whoever stops in between leaves
 * one of three states behind, which the next writer can tell from every other: nothing of the line
 * is there, a piece of it, or all of it. All of it is counted; for the other two a line is written
 * that says that one was lost. Refuses to mend anything else. Invariant: no head counts a line that
 * is not in the log.
 */
#include "observe/audit.h"

#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"
#include "observe/audit_head.h"

enum { ROOM = 65536 }; /* bytes that must be free before an action is begun */

#define LINE_MAX_BYTES ((size_t)1 << 31)

/* ---- the state of the log ------------------------------------------------------------------ */

/* Whether log[..end) ends in a line of this hash; a log of no bytes has the hash of none. */
static bool ends_with(const struct audit_opts *o, const struct os_map *log, uint64_t end,
                      const char *hash) {
    char got[DIGEST_HEX];
    memset(got, '0', sizeof got - 1);
    got[sizeof got - 1] = '\0';
    if (end > 0) {
        size_t stop = (size_t)end - 1, start = stop;
        if (end > log->size || log->data[stop] != '\n') {
            return false;
        }
        while (start > 0 && log->data[start - 1] != '\n') {
            start--;
        }
        audit_hash(o, log->data + start, stop - start, got);
    }
    return digest_equal(got, hash);
}

static enum err_code changed(const struct audit_opts *o, const char *what, struct err *e) {
    err_set(e, ERR_FORMAT, "%s", what);
    err_where(e, "%s", o->path);
    err_hint(e, "see what 'ign audit verify' says; to begin a new log, move the old one and its "
                ".head away together");
    return ERR_FORMAT;
}

/* Takes a line that was begun into the head, if all of it is there. *lost: it is not; the log may
 * have a piece of it. */
static enum err_code settle(const struct audit_opts *o, struct audit_head *h, bool *lost,
                            struct err *e) {
    struct os_map log = {.slot = -1};
    struct err why = {0};
    enum err_code rc = os_map_open(&log, o->path, false, &why);
    *lost = false;
    if (rc && rc != ERR_NOTFOUND) {
        *e = why;
        return rc;
    }
    rc = ERR_OK;
    uint64_t whole = h->bytes + h->begun_bytes;
    if (!h->there && log.size > 0) {
        rc = changed(o, "the log has lines, and its .head is missing", e);
    } else if (!ends_with(o, &log, h->bytes, h->hash)) {
        rc = changed(o, "the log does not end as its .head says", e);
    } else if (h->begun_bytes && log.size == whole && ends_with(o, &log, whole, h->begun_hash)) {
        h->entries++;
        h->bytes = whole;
        memcpy(h->hash, h->begun_hash, sizeof h->hash);
        h->begun_bytes = 0;
    } else if (h->begun_bytes && log.size < whole) {
        *lost = true;
    } else if (log.size != h->bytes) {
        rc = changed(o, "the log is longer than its .head says", e);
    }
    if (log.lost) {
        err_clear(e);
        rc = err_set(e, ERR_IO, "the log became shorter while it was read");
    }
    os_map_close(&log);
    return rc;
}

/* ---- a line ---------------------------------------------------------------------------------- */

static void put_count(struct json_writer *w, const char *key, int64_t n) {
    json_key(w, key);
    if (n < 0) {
        json_put_null(w);
    } else {
        json_put_int(w, n);
    }
}

static void put_who(struct json_writer *w) {
    char text[256];
    os_stamp(text);
    json_key(w, "time");
    json_put_z(w, text);
    os_user_name(text, sizeof text);
    json_key(w, "user");
    json_put_z(w, text);
    json_key(w, "uid");
    json_put_uint(w, os_user_id());
    os_host_name(text, sizeof text);
    json_key(w, "host");
    json_put_z(w, text);
    json_key(w, "process");
    json_put_uint(w, os_process_id());
}

static void put_line(struct buf *line, const struct audit_head *h, const struct audit_entry *a) {
    struct json_writer w;
    json_writer_init(&w, line);
    json_open(&w, '{');
    json_key(&w, "n");
    json_put_uint(&w, h->entries + 1);
    put_who(&w);
    json_key(&w, "verb");
    json_put_z(&w, a->verb);
    json_key(&w, "outcome");
    json_put_z(&w, a->outcome);
    json_key(&w, "model");
    json_put_z(&w, a->model);
    json_key(&w, "model_sha256");
    json_put_z(&w, a->model_sha256);
    json_key(&w, "parameters");
    json_put_raw(&w, str_c(a->parameters ? a->parameters : "{}"));
    put_count(&w, "prompt_tokens", a->prompt_tokens);
    put_count(&w, "new_tokens", a->new_tokens);
    if (a->prompt.p) {
        json_key(&w, "prompt");
        json_put_str(&w, a->prompt);
    }
    if (a->answer.p) {
        json_key(&w, "answer");
        json_put_str(&w, a->answer);
    }
    json_key(&w, "prev");
    json_put_z(&w, h->hash);
    json_close(&w, '}');
    buf_puts(line, "\n");
}

/* One line on a log that is settled as *h says; `before` is the head to go back to. When the line
 * is in the log but could not be counted, the head still vouches for it as begun, and the next
 * writer counts it: that is no failure. */
static enum err_code append(const struct audit_opts *o, struct audit_head *h,
                            const struct audit_head *before, const struct audit_entry *a,
                            struct err *e) {
    struct buf line;
    buf_init(&line, LINE_MAX_BYTES);
    put_line(&line, h, a);
    enum err_code rc = buf_check(&line, e);
    if (rc) {
        goto done;
    }
    h->begun_bytes = line.len;
    audit_hash(o, line.p, line.len - 1, h->begun_hash);
    if ((rc = audit_head_write(o, h, e))) {
        goto done;
    }
    if ((rc = os_append_file(o->path, line.p, line.len, e))) {
        audit_head_write(o, before, NULL);
        goto done;
    }
    h->entries++;
    h->bytes += line.len;
    memcpy(h->hash, h->begun_hash, sizeof h->hash);
    h->begun_bytes = 0;
    audit_head_write(o, h, NULL);
done:
    buf_fini(&line);
    return rc;
}

/* Whoever began a line was stopped before it was whole, or somebody has taken it away: which of the
 * two nobody can tell, so the log says that a line is missing, and goes on. */
static enum err_code note_lost(const struct audit_opts *o, struct audit_head *h, struct err *e) {
    static const struct audit_entry note = {
        .verb = "audit", .outcome = "lost", .prompt_tokens = -1, .new_tokens = -1};
    enum err_code rc = os_file_exists(o->path) ? os_cut_file(o->path, h->bytes, e) : ERR_OK;
    struct audit_head before = *h;
    h->begun_bytes = 0;
    return rc ? rc : append(o, h, &before, &note, e);
}

/* ---- the two calls --------------------------------------------------------------------------- */

/* The log's lock, its head as it is, and as it is once a line that was begun has been counted. The
 * lock is to be dropped after a failure, too. */
static enum err_code begin(const struct audit_opts *o, struct os_lock **lock,
                           struct audit_head *found, struct audit_head *settled, bool *lost,
                           struct err *e) {
    char *path = NULL;
    *lock = NULL;
    *found = (struct audit_head){0};
    enum err_code rc = audit_path(o, ".lock", &path, e);
    if (!rc) {
        rc = os_lock_take(lock, path, AUDIT_WAIT, e);
        if (rc == ERR_CANCELLED) {
            err_clear(e);
            rc = err_set(e, ERR_IO, "another program has held the audit log's lock for %g seconds",
                         AUDIT_WAIT);
            err_where(e, "%s", path);
            err_hint(e, "see who has that file open, and end it");
        }
    }
    mem_free(path);
    if (!rc) {
        rc = audit_head_read(o, found, e);
    }
    *settled = *found;
    return rc ? rc : settle(o, settled, lost, e);
}

enum err_code audit_write(const struct audit_opts *o, const struct audit_entry *a, struct err *e) {
    struct os_lock *lock;
    struct audit_head found, h;
    bool lost = false;
    if (!o->path) {
        return ERR_OK;
    }
    enum err_code rc = begin(o, &lock, &found, &h, &lost, e);
    if (!rc && lost && !(rc = note_lost(o, &h, e))) {
        found = h;
    }
    if (!rc) {
        rc = append(o, &h, &found, a, e);
    }
    os_lock_drop(lock);
    return rc;
}

/* The head is written again as it is, and nothing appended to the log: both can be written then. */
enum err_code audit_ready(const struct audit_opts *o, struct err *e) {
    struct os_lock *lock;
    struct audit_head found, settled;
    uint64_t room = 0;
    bool lost = false;
    if (!o->path) {
        return ERR_OK;
    }
    enum err_code rc = begin(o, &lock, &found, &settled, &lost, e);
    if (!rc && !(rc = os_append_file(o->path, "", 0, e))) {
        rc = audit_head_write(o, &found, e);
    }
    if (!rc && !os_disk_free(o->path, &room, NULL) && room < ROOM) {
        rc = err_set(e, ERR_IO, "the disk of the audit log has %llu bytes left, less than %d",
                     (unsigned long long)room, ROOM);
        err_where(e, "%s", o->path);
        err_hint(e, "make room on that disk");
    }
    os_lock_drop(lock);
    return rc;
}
