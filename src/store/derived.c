/* derived.c: see derived.h.
 *
 * A line of ".sums" is HASH, a blank, and what identifies a file; the newest come first. It is only
 * written under the store's lock, and a line that is not of that form is of no use, but no harm.
 */
#include "store/derived.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "observe/digest.h"
#include "store/store.h"
#include "store/store_part.h"

enum { SUMS_MOST = 1 << 16, KEY_DIGITS = 16, BASE_MOST = 120 };

/* ---- hashes of sources ----------------------------------------------------------------------- */

/* " DEVICE INODE SIZE TIME\n": the end of a line of ".sums". */
static enum err_code identity_of(const char *path, char line[128], struct err *e) {
    struct os_file_info info;
    enum err_code rc = os_file_info(path, &info, e);
    if (!rc) {
        snprintf(line, 128, " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRId64 ".%09d\n", info.device,
                 info.inode, info.size, info.mtime, info.mtime_ns);
    }
    return rc;
}

/* The hash before `identity` in the lines of `text`; false if there is none. */
static bool sum_find(const char *text, const char *identity, char hex[65]) {
    for (const char *at = text; (at = strstr(at, identity)); at++) {
        const char *line = at - 64;
        if (at - text >= 64 && (line == text || line[-1] == '\n') &&
            strspn(line, "0123456789abcdef") == 64) {
            memcpy(hex, line, 64);
            hex[64] = '\0';
            return true;
        }
    }
    return false;
}

/* What ".sums" holds, *text (mem_free), "" where there is none. */
static enum err_code sums_read(const struct depot *d, char **text, struct err *e) {
    char *path;
    size_t n;
    *text = NULL;
    enum err_code rc = store_path(&path, e, "%s/.sums", d->dir);
    if (!rc && os_read_file(path, SUMS_MOST, text, &n, NULL)) {
        *text = mem_strdup("", 0);
        rc = *text ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory");
    }
    mem_free(path);
    return rc;
}

/* Of one file: as it was once computed, or as it is computed now. What is recorded beside the file
 * is not asked: a record says what the bytes were, and stays when other bytes take their place. */
static enum err_code sum_of(struct derived *x, const char *known, const char *path, char hex[65],
                            struct err *e) {
    char identity[128];
    enum err_code rc = identity_of(path, identity, e);
    if (rc) {
        return rc;
    }
    if (sum_find(known, identity, hex)) {
        return ERR_OK;
    }
    rc = file_hash(x->d, path, hex, e);
    if (!rc) {
        buf_printf(&x->sums, "%s%s", hex, identity);
        rc = buf_check(&x->sums, e);
    }
    return rc;
}

/* Of several files: the hash over their names in the model and their hashes. */
struct summing {
    struct derived *x;
    char *known;
    struct digest *all;
    char last[65];
};

static enum err_code sum_add(struct summing *s, const char *name, const char *path, struct err *e) {
    enum err_code rc = sum_of(s->x, s->known, path, s->last, e);
    if (!rc) {
        digest_add(s->all, name, strlen(name) + 1);
        digest_add(s->all, s->last, 65);
    }
    return rc;
}

static enum err_code sum_folder(struct summing *s, const char *source, struct err *e) {
    struct store_files files;
    size_t n;
    files_init(&files);
    enum err_code rc = files_list(&files, source, ".", "m", e); /* "m/config.json" */
    const struct store_file *f = files_at(&files, &n);
    for (size_t i = 0; i < n && !rc; i++) {
        char *path;
        rc = store_path(&path, e, "%s/%s", source, f[i].path + 2);
        rc = rc ? rc : sum_add(s, f[i].path, path, e);
        mem_free(path);
    }
    files_fini(&files);
    return rc;
}

static enum err_code sum_source(struct derived *x, const char *source, const char *const *file,
                                size_t n, char hex[65], struct err *e) {
    struct summing s = {.x = x, .all = digest_create()};
    char all[65] = "";
    enum err_code rc = s.all ? sums_read(x->d, &s.known, e) : ERR_NOMEM;
    if (!s.all) {
        return err_set(e, ERR_NOMEM, "out of memory for a hash");
    }
    for (size_t i = 0; i < n && !rc; i++) {
        rc = sum_add(&s, "", file[i], e);
    }
    if (!rc && n == 0) {
        rc = sum_folder(&s, source, e);
    }
    digest_end(s.all, all);
    memcpy(hex, n == 1 ? s.last : all, 65);
    mem_free(s.known);
    return rc;
}

/* ---- names ----------------------------------------------------------------------------------- */

/* The last part of the source's path, without .gguf; "model" where that can be no name. */
static struct str base_of(const char *source) {
    size_t n = strlen(source);
    while (n > 1 && source[n - 1] == '/') {
        n--;
    }
    size_t at = n;
    while (at > 0 && source[at - 1] != '/') {
        at--;
    }
    if (n - at > 5 && memcmp(source + n - 5, ".gguf", 5) == 0) {
        n -= 5;
    }
    bool plain = n - at <= BASE_MOST && model_name_is_plain(source + at, n - at);
    return plain ? str_of(source + at, n - at) : str_c("model");
}

enum err_code derived_open(struct derived *x, const struct depot *d, const char *source,
                           const char *const *file, size_t n, const char *type, unsigned version,
                           struct err *e) {
    char hex[65] = "", key[65], text[192];
    struct str base = base_of(source);
    *x = (struct derived){.d = d};
    buf_init(&x->sums, SUMS_MOST);
    enum err_code rc = sum_source(x, source, file, n, hex, e);
    int len = snprintf(text, sizeof text, "%s %s %u", hex, type, version);
    digest_sha256(text, (size_t)len, key);
    key[KEY_DIGITS] = '\0';
    rc = rc ? rc : store_path(&x->name, e, "%.*s.%s-%s.gguf", (int)base.n, base.p, type, key);
    rc = rc ? rc : store_path(&x->path, e, "%s/%s", d->dir, x->name);
    x->there = !rc && os_file_exists(x->path);
    return rc;
}

/* ---- making one ------------------------------------------------------------------------------ */

/* The new lines before the old ones, as many as there is room for. */
static enum err_code sums_write(struct derived *x, struct err *e) {
    char *path = NULL, *old = NULL;
    enum err_code rc = ERR_OK;
    if (x->sums.len == 0 || (rc = sums_read(x->d, &old, e)) ||
        (rc = store_path(&path, e, "%s/.sums", x->d->dir))) {
        goto done;
    }
    size_t room = SUMS_MOST - 1 - x->sums.len, n = strlen(old);
    while (n > room) { /* whole lines */
        n--;
        while (n > 0 && old[n - 1] != '\n') {
            n--;
        }
    }
    buf_put(&x->sums, old, n);
    rc = buf_check(&x->sums, e);
    rc = rc ? rc : os_write_file(path, x->sums.p, x->sums.len, e);
    buf_reset(&x->sums);
done:
    mem_free(old);
    mem_free(path);
    return rc;
}

enum err_code derived_begin(struct derived *x, struct err *e) {
    enum err_code rc = depot_begin(x->d, &x->lock, e);
    if (!rc) {
        x->there = os_file_exists(x->path);
        rc = sums_write(x, e);
    }
    if (!rc && !x->there && !(rc = staging_make(x->d->dir, &x->staging, e))) {
        rc = store_path(&x->to, e, "%s/%s", x->staging, x->name);
    }
    if (rc == ERR_IO) {
        err_hint(e, "name another store with --store FOLDER, or make the file yourself: ign "
                    "quantize");
    }
    return rc;
}

enum err_code derived_commit(struct derived *x, struct err *e) {
    struct store_files files;
    struct os_file_info info;
    char hex[65];
    files_init(&files);
    enum err_code rc = os_file_info(x->to, &info, e);
    if (rc || (rc = file_hash(x->d, x->to, hex, e)) ||
        (rc = files_add(&files, x->name, info.size, hex, e))) {
        goto done;
    }
    rc = depot_settle(x->d, x->staging, x->name, &files, e);
    x->there = !rc;
done:
    files_fini(&files);
    return rc;
}

void derived_close(struct derived *x) {
    if (x->staging) {
        tree_remove(x->staging, "", NULL);
    }
    os_lock_drop(x->lock);
    mem_free(x->staging);
    mem_free(x->to);
    mem_free(x->path);
    mem_free(x->name);
    buf_fini(&x->sums);
    *x = (struct derived){0};
}
