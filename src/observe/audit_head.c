/* audit_head.c: reading and writing FILE.head.
 *
 * Owns its form: {"entries","bytes","hash","begun":null|{"bytes","hash"},"mac"}, where mac is the
 * HMAC of everything before it, or null without a key. Refuses to look at the log.
 */
#include "observe/audit_head.h"

#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"

enum { HEAD_BYTES = 1024 };

enum err_code audit_path(const struct audit_opts *o, const char *suffix, char **out,
                         struct err *e) {
    size_t n = strlen(o->path), m = strlen(suffix) + 1;
    *out = mem_alloc(n + m, 1);
    if (!*out) {
        return err_set(e, ERR_NOMEM, "out of memory for a path");
    }
    memcpy(*out, o->path, n);
    memcpy(*out + n, suffix, m);
    return ERR_OK;
}

void audit_hash(const struct audit_opts *o, const void *p, size_t n, char hex[DIGEST_HEX]) {
    if (o->key) {
        digest_hmac(o->key, o->n_key, p, n, hex);
    } else {
        digest_sha256(p, n, hex);
    }
}

static void put_end(struct json_writer *w, uint64_t bytes, const char *hash) {
    json_key(w, "bytes");
    json_put_uint(w, bytes);
    json_key(w, "hash");
    json_put_z(w, hash);
}

/* The file's bytes. */
static void head_put(const struct audit_opts *o, const struct audit_head *h, struct buf *text) {
    struct json_writer w;
    char mac[DIGEST_HEX];
    json_writer_init(&w, text);
    json_open(&w, '{');
    json_key(&w, "entries");
    json_put_uint(&w, h->entries);
    put_end(&w, h->bytes, h->hash);
    json_key(&w, "begun");
    if (h->begun_bytes) {
        json_open(&w, '{');
        put_end(&w, h->begun_bytes, h->begun_hash);
        json_close(&w, '}');
    } else {
        json_put_null(&w);
    }
    if (o->key && !text->failed) {
        audit_hash(o, text->p, text->len, mac);
    }
    json_key(&w, "mac");
    json_put_z(&w, o->key ? mac : NULL);
    json_close(&w, '}');
    buf_puts(text, "\n");
}

enum err_code audit_head_write(const struct audit_opts *o, const struct audit_head *h,
                               struct err *e) {
    struct buf text;
    char *path = NULL;
    buf_init(&text, HEAD_BYTES);
    head_put(o, h, &text);
    enum err_code rc = buf_check(&text, e);
    if (!rc && !(rc = audit_path(o, ".head", &path, e))) {
        rc = os_write_file(path, text.p, text.len, e);
    }
    mem_free(path);
    buf_fini(&text);
    return rc;
}

static void end_read(const struct json *j, uint64_t *bytes, char hash[DIGEST_HEX]) {
    struct str s = json_str(json_find(j, "hash"));
    *bytes = (uint64_t)json_int(json_find(j, "bytes"));
    memset(hash, 0, DIGEST_HEX);
    memcpy(hash, s.p, s.n < DIGEST_HEX ? s.n : DIGEST_HEX - 1);
}

/* What the numbers are does not matter before the whole has been compared with what would be
 * written for them. */
static enum err_code head_parse(const struct audit_opts *o, const char *p, size_t n,
                                struct audit_head *h, struct err *e) {
    struct json *j = NULL;
    struct buf again;
    buf_init(&again, HEAD_BYTES);
    enum err_code rc = json_parse(p, n, &j, e);
    if (rc) {
        goto done;
    }
    end_read(j, &h->bytes, h->hash);
    end_read(json_find(j, "begun"), &h->begun_bytes, h->begun_hash);
    h->entries = (uint64_t)json_int(json_find(j, "entries"));
    h->keyed = json_str(json_find(j, "mac")).n > 0;
    h->there = true;
    if (h->keyed && !o->key) {
        rc = err_set(e, ERR_USAGE, "the log is written with a key");
        err_hint(e, "give the key that it began with: --audit-key-file FILE");
        goto done;
    }
    head_put(o, h, &again);
    rc = buf_check(&again, e);
    if (!rc && (again.len != n || memcmp(again.p, p, n) != 0)) {
        rc = err_set(e, ERR_FORMAT, "%s",
                     !o->key    ? "is not as this program wrote it"
                     : h->keyed ? "has been changed, or was written with another key"
                                : "has been changed, or was written without a key");
    }
done:
    json_free(j);
    buf_fini(&again);
    return rc;
}

enum err_code audit_head_read(const struct audit_opts *o, struct audit_head *h, struct err *e) {
    char *path = NULL, *text = NULL;
    size_t n = 0;
    struct err why = {0};
    *h = (struct audit_head){0};
    memset(h->hash, '0', DIGEST_HEX - 1);
    enum err_code rc = audit_path(o, ".head", &path, e);
    if (rc) {
        return rc;
    }
    rc = os_read_file(path, HEAD_BYTES, &text, &n, &why);
    if (rc == ERR_NOTFOUND) {
        rc = ERR_OK;
    } else if (rc) {
        *e = why;
    } else if ((rc = head_parse(o, text, n, h, e))) {
        err_where(e, "%s", path);
    }
    mem_free(text);
    mem_free(path);
    return rc;
}
