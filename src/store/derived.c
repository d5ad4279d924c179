/* derived.c: see derived.h.
 *
 * A line of ".sums" is HASH, a blank, and what identifies a file; the newest come first. It is only
 * written under the store's lock, and a line that is not of that form is of no use, but no harm.
 */
#include "store/derived.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
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

/* The hash of several files: over their names in the model and their hashes. */
struct summing {
    struct derived *x;
    bool look; /* hash nothing: ERR_NOTFOUND for what is not known */
    char *known;
    struct digest *all;
    char last[65];
};

/* Of one file: as it was once computed, or as it is computed now. What is recorded beside the file
 * is not asked: a record says what the bytes were, and stays when other bytes take their place. */
static enum err_code sum_of(struct summing *s, const char *path, char hex[65], struct err *e) {
    char identity[128];
    enum err_code rc = identity_of(path, identity, e);
    if (rc) {
        return rc;
    }
    if (sum_find(s->known, identity, hex)) {
        return ERR_OK;
    }
    rc = s->look ? ERR_NOTFOUND : file_hash(s->x->d, path, hex, e);
    if (!rc) {
        buf_printf(&s->x->sums, "%s%s", hex, identity);
        rc = buf_check(&s->x->sums, e);
    }
    return rc;
}

static enum err_code sum_add(struct summing *s, const char *name, const char *path, struct err *e) {
    enum err_code rc = sum_of(s, path, s->last, e);
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
                                size_t n, bool look, char hex[65], struct err *e) {
    struct summing s = {.x = x, .look = look, .all = digest_create()};
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
    if (str_ends(str_of(source + at, n - at), ".gguf")) {
        n -= strlen(".gguf");
    }
    bool plain = n - at <= BASE_MOST && model_name_is_plain(source + at, n - at);
    return plain ? str_of(source + at, n - at) : str_c("model");
}

/* Another name that the same file has in the store: *.TYPE-KEY.gguf, whatever the type is called.
 */
static enum err_code find_by_key(struct derived *x, struct err *e) {
    char end[96], **names = NULL;
    size_t n = 0, len = (size_t)snprintf(end, sizeof end, "-%s.gguf", x->key);
    enum err_code rc = os_list(x->d->dir, &names, &n, NULL); /* else there is none to be found */
    rc = rc == ERR_NOMEM ? err_set(e, rc, "out of memory for a list of models") : ERR_OK;
    for (size_t i = 0; i < n && !rc && !x->there; i++) {
        size_t k = strlen(names[i]);
        if (k > len && strcmp(names[i] + k - len, end) == 0 && model_name_is_plain(names[i], k)) {
            mem_free(x->name);
            mem_free(x->path);
            x->path = NULL;
            rc = store_path(&x->name, e, "%s", names[i]);
            rc = rc ? rc : store_path(&x->path, e, "%s/%s", x->d->dir, x->name);
            x->there = !rc;
        }
    }
    mem_free(names);
    return rc;
}

/* What the record is to say: the encoder, the source's hash, and where its files were. */
static enum err_code put_notes(struct derived *x, const char *source, const char *const *file,
                               size_t n, const char *hex, const struct derived_as *as,
                               struct err *e) {
    enum err_code rc = ERR_OK;
    buf_printf(&x->notes, "made as %s by version %u\nmade of sha256 %s\n", as->type, as->version,
               hex);
    for (size_t i = 0; i < (n ? n : 1) && !rc; i++) {
        char *real;
        rc = os_real_path(n ? file[i] : source, &real, e);
        if (!rc && !real[strcspn(real, "\r\n")]) {
            buf_printf(&x->notes, "made of path %s\n", real);
        }
        mem_free(real);
    }
    return rc ? rc : buf_check(&x->notes, e);
}

enum err_code derived_open(struct derived *x, const struct depot *d, const char *source,
                           const char *const *file, size_t n, const struct derived_as *as,
                           struct err *e) {
    char hex[65] = "", text[192];
    struct str base = base_of(source);
    *x = (struct derived){.d = d};
    buf_init(&x->sums, SUMS_MOST);
    buf_init(&x->notes, (size_t)1 << 20);
    enum err_code rc = sum_source(x, source, file, n, false, hex, e);
    int len = snprintf(text, sizeof text, "%s %u %u", hex, as->kind, as->version);
    digest_sha256(text, (size_t)len, x->key);
    x->key[KEY_DIGITS] = '\0';
    rc = rc ? rc : put_notes(x, source, file, n, hex, as, e);
    rc =
        rc ? rc : store_path(&x->name, e, "%.*s.%s-%s.gguf", (int)base.n, base.p, as->type, x->key);
    rc = rc ? rc : store_path(&x->path, e, "%s/%s", d->dir, x->name);
    x->there = !rc && os_file_exists(x->path);
    return rc || x->there ? rc : find_by_key(x, e);
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

/* The lock of ".made", and what a killed program has left there swept up. */
static enum err_code made_begin(struct derived *x, bool *busy, struct err *e) {
    char *path = NULL;
    enum err_code rc = store_path(&x->staging, e, "%s/" STORE_MADE, x->d->dir);
    rc = rc ? rc : link_refuse(x->staging, e);
    rc = rc ? rc : os_mkdirs(x->staging, e);
    rc = rc ? rc : store_path(&path, e, "%s/.lock", x->staging);
    made_sweep(x->d);
    if (!rc && (rc = os_lock_take(&x->lock, path, 0, e)) == ERR_CANCELLED) {
        err_clear(e);
        *busy = true;
        rc = ERR_OK;
    }
    if (rc || *busy) {
        mem_free(x->staging);
        x->staging = NULL;
    }
    mem_free(path);
    return rc;
}

enum err_code derived_begin(struct derived *x, bool *busy, struct err *e) {
    *busy = false;
    enum err_code rc = made_begin(x, busy, e);
    if (*busy) {
        return rc;
    }
    if (!rc) {
        x->there = os_file_exists(x->path);
        rc = x->there ? ERR_OK : find_by_key(x, e);
        rc = rc ? rc : sums_write(x, e);
    }
    if (!rc && !x->there) {
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
    bool known;
    files_init(&files);
    files.notes = x->notes.p;
    enum err_code rc = os_file_info(x->to, &info, e);
    rc = rc ? rc : file_hash(x->d, x->to, hex, e);
    rc = rc ? rc : files_add(&files, x->name, info.size, hex, e);
    rc = rc ? rc : depot_place(x->d, x->staging, x->name, &files, &known, e);
    x->there = !rc;
    files_fini(&files);
    return rc;
}

void derived_close(struct derived *x) {
    bool busy = false;
    if (!x->lock && x->there && x->sums.len > 0) {
        made_begin(x, &busy, NULL); /* where it cannot be remembered, it is hashed again */
    }
    if (x->lock) {
        sums_write(x, NULL);
        if (x->to) {
            os_remove_file(x->to, NULL);
        }
        os_lock_drop(x->lock);
        x->lock = NULL;
        made_sweep(x->d);
    }
    mem_free(x->staging);
    mem_free(x->to);
    mem_free(x->path);
    mem_free(x->name);
    buf_fini(&x->notes);
    buf_fini(&x->sums);
    *x = (struct derived){0};
}

/* ---- what became of their sources ------------------------------------------------------------ */

/* The hash of the files at these paths as far as it is known, and whether they are there. */
static enum err_code source_now(const struct depot *d, const char *notes, char hex[65],
                                bool *gone) {
    enum { FILES = 1024 };
    struct derived x = {.d = d};
    struct os_file_info info = {0};
    struct buf paths;
    const char *file[FILES], *at = notes;
    char path[4096];
    size_t n = 0;
    buf_init(&x.sums, SUMS_MOST);
    buf_init(&paths, (size_t)1 << 20);
    while (n < FILES && note_next(&at, "made of path", path, sizeof path)) {
        buf_put(&paths, path, strlen(path) + 1);
        n++;
    }
    enum err_code rc = n > 0 && !paths.failed ? ERR_OK : ERR_NOTFOUND;
    for (size_t i = 0, k = 0; i < n && !rc; k += strlen(paths.p + k) + 1, i++) {
        file[i] = paths.p + k;
        *gone = *gone || !os_file_exists(file[i]);
    }
    if (!rc && !*gone) {
        bool folder = n == 1 && !os_file_info(file[0], &info, NULL) && info.is_folder;
        rc = sum_source(&x, file[0], file, folder ? 0 : n, true, hex, NULL);
    }
    buf_fini(&paths);
    buf_fini(&x.sums);
    return rc;
}

bool derived_is(const struct depot *d, const char *name, unsigned version, char *out, size_t n) {
    char was[65], now[65] = "", word[64];
    char *notes = record_notes(d->dir, name);
    const char *at = notes;
    bool gone = false, yes = note_next(&at, "made as", word, sizeof word);
    out[0] = '\0';
    if (yes && note_next(&at, "made of sha256", was, sizeof was)) {
        const char *by = strstr(word, " by version ");
        enum err_code rc = source_now(d, at, now, &gone);
        if (gone) {
            snprintf(out, n, "its source has gone");
        } else if (!rc && strcmp(was, now) != 0) {
            snprintf(out, n, "its source has changed");
        } else if (by && strtoul(by + 12, NULL, 10) != version) {
            snprintf(out, n, "made by another version of the program");
        }
    }
    mem_free(notes);
    return yes;
}
