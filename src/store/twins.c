/* twins.c: files that come in and are there already, by their hashes.
 *
 * Owns the list of what the records name, read once for a model that comes, searched by hash. A
 * record says what the bytes were: a twin is read before it gets a second name. Invariant: where no
 * file can have two names, or a twin is not what it was, nothing is said and nothing done.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "store/store_part.h"

static struct store_file *twins_at(const struct twins *t, size_t *n) {
    *n = t->files.len / sizeof(struct store_file);
    return (struct store_file *)(void *)t->files.p;
}

void twins_fini(struct twins *t) {
    size_t n;
    struct store_file *f = twins_at(t, &n);
    for (size_t i = 0; i < n; i++) {
        mem_free(f[i].path);
    }
    buf_fini(&t->files);
}

/* Adds what the record of a model names. */
static enum err_code twins_add(struct twins *t, const struct depot *d, const char *model,
                               struct err *e) {
    struct store_files files;
    size_t n;
    files_init(&files);
    enum err_code rc = record_read(d->dir, model, &files, NULL);
    struct store_file *f = files_at(&files, &n);
    for (size_t i = 0; i < n && !rc && !t->files.failed; i++) {
        buf_put(&t->files, &f[i], sizeof f[i]);
        f[i].path = t->files.failed ? f[i].path : NULL; /* it has moved there */
    }
    files_fini(&files);
    return rc == ERR_NOMEM ? err_set(e, rc, "out of memory for a record") : buf_check(&t->files, e);
}

static int by_hash(const void *a, const void *b) {
    return strcmp(((const struct store_file *)a)->sha256, ((const struct store_file *)b)->sha256);
}

enum err_code twins_read(struct twins *t, const struct depot *d, struct err *e) {
    char **names;
    size_t n;
    buf_init(&t->files, SIZE_MAX / 4);
    enum err_code rc = os_list(d->dir, &names, &n, e);
    for (size_t i = 0; i < n && !rc; i++) {
        rc = depot_is_model(d->dir, names[i]) ? twins_add(t, d, names[i], e) : ERR_OK;
    }
    mem_free(names);
    struct store_file *f = twins_at(t, &n);
    if (n > 0) {
        qsort(f, n, sizeof *f, by_hash);
    }
    return rc;
}

const struct store_file *twins_find(const struct twins *t, const char *sha256) {
    struct store_file want = {0};
    size_t n;
    const struct store_file *f = twins_at(t, &n);
    memcpy(want.sha256, sha256, strnlen(sha256, sizeof want.sha256 - 1));
    return n > 0 ? bsearch(&want, f, n, sizeof *f, by_hash) : NULL;
}

/* Makes `to` a second name of `twin`, which is read and hashed for that. */
static enum err_code link_checked(const struct depot *d, const char *twin, const char *sha256,
                                  const char *to, bool *linked, struct err *e) {
    struct err why = {0};
    char hex[65] = "";
    if (os_link(twin, to, NULL)) {
        return ERR_OK;
    }
    enum err_code rc = file_hash(d, to, hex, &why);
    *linked = !rc && strcmp(hex, sha256) == 0;
    if (!*linked) {
        os_remove_file(to, NULL); /* 'verify' will find what it is a second name of */
    }
    return rc == ERR_CANCELLED || rc == ERR_NOMEM ? err_set(e, rc, "%s", why.what) : ERR_OK;
}

enum err_code twin_link(const struct twins *t, const struct depot *d, const char *sha256,
                        const char *to, bool *linked, struct err *e) {
    const struct store_file *f = twins_find(t, sha256);
    char *twin;
    *linked = false;
    if (!f) {
        return ERR_OK;
    }
    enum err_code rc = store_path(&twin, e, "%s/%s", d->dir, f->path);
    rc = rc ? rc : link_checked(d, twin, sha256, to, linked, e);
    mem_free(twin);
    return rc;
}

enum err_code sibling_link(const char *staging, const struct store_files *files, size_t i,
                           bool *linked, struct err *e) {
    size_t n;
    const struct store_file *f = files_at(files, &n);
    char *to = NULL, *from = NULL;
    *linked = false;
    enum err_code rc = store_path(&to, e, "%s/%s", staging, f[i].path);
    rc = rc ? rc : folder_make(to, e);
    for (size_t k = 0; k < i && !rc && !*linked; k++) {
        if (strcmp(f[k].sha256, f[i].sha256) == 0 &&
            !(rc = store_path(&from, e, "%s/%s", staging, f[k].path))) {
            *linked = !os_link(from, to, NULL);
            mem_free(from);
        }
    }
    mem_free(to);
    return rc;
}

static bool is_same(const char *a, const char *b) {
    struct os_file_info x, y;
    return !os_file_info(a, &x, NULL) && !os_file_info(b, &y, NULL) && x.device == y.device &&
           x.inode == y.inode;
}

/* File i: a second name of one before it, or of what the store has. */
static enum err_code join_one(const struct twins *t, const struct depot *d, const char *staging,
                              const struct store_file *f, size_t i, struct err *e) {
    char *to = NULL, *by = NULL, *from = NULL;
    bool linked = false;
    size_t k = 0;
    while (k < i && strcmp(f[k].sha256, f[i].sha256) != 0) {
        k++;
    }
    const struct store_file *twin = k < i ? &f[k] : twins_find(t, f[i].sha256);
    enum err_code rc = store_path(&to, e, "%s/%s", staging, f[i].path);
    if (!twin || rc || (rc = store_path(&from, e, "%s/%s", k < i ? staging : d->dir, twin->path)) ||
        is_same(from, to) || (rc = store_path(&by, e, "%s/.twin", staging)) ||
        (rc = os_remove_file(by, e))) {
        goto done;
    }
    if (k < i) {
        linked = !os_link(from, by, NULL);
    } else {
        rc = link_checked(d, from, twin->sha256, by, &linked, e);
    }
    rc = linked ? os_rename(by, to, e) : rc;
done:
    mem_free(from);
    mem_free(by);
    mem_free(to);
    return rc;
}

enum err_code twins_join(const struct depot *d, const char *staging,
                         const struct store_files *files, struct err *e) {
    struct twins t;
    size_t n;
    const struct store_file *f = files_at(files, &n);
    enum err_code rc = twins_read(&t, d, e);
    for (size_t i = 0; i < n && !rc; i++) {
        rc = join_one(&t, d, staging, f, i, e);
    }
    twins_fini(&t);
    return rc;
}
