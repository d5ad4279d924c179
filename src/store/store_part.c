/* store_part.c: see store_part.h.
 *
 * Owns names, and the walk over the files of a model. Invariant: a name that comes out of a folder
 * is judged like one that somebody typed.
 */
#include "store/store_part.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/utf8.h"

enum { PATH_MOST = 4096, NAME_MOST = 200, FILES_MOST = 4096, DEEP = 3, REMOVE_DEEP = 16 };

enum err_code store_path(char **out, struct err *e, const char *fmt, ...) {
    char text[PATH_MOST];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    *out = NULL;
    if (n < 0 || (size_t)n >= sizeof text) {
        return err_set(e, ERR_LIMIT, "a path is longer than %d bytes", PATH_MOST - 1);
    }
    *out = mem_strdup(text, (size_t)n);
    return *out ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory for a path");
}

/* Whether Windows takes a name for a device, whatever follows its first dot. Source: "Naming Files,
 * Paths, and Namespaces" of the Win32 documentation. */
static bool is_device(const char *p, size_t n) {
    static const char *const devices[] = {"con", "prn", "aux", "nul", "conin$", "conout$"};
    char head[8] = "";
    size_t len = 0;
    while (len < n && p[len] != '.') {
        len++;
    }
    while (len > 0 && p[len - 1] == ' ') {
        len--;
    }
    for (size_t i = 0; i < len && len < sizeof head; i++) {
        head[i] = p[i] >= 'A' && p[i] <= 'Z' ? (char)(p[i] - 'A' + 'a') : p[i];
    }
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
        if (strcmp(head, devices[i]) == 0) {
            return true;
        }
    }
    bool port = strncmp(head, "com", 3) == 0 || strncmp(head, "lpt", 3) == 0;
    return port && ((len == 4 && head[3] >= '0' && head[3] <= '9') ||
                    strcmp(head + 3, "\xc2\xb9") == 0 || strcmp(head + 3, "\xc2\xb2") == 0 ||
                    strcmp(head + 3, "\xc2\xb3") == 0); /* superscript digits, too */
}

bool name_is_plain(const char *p, size_t n) {
    if (n == 0 || n > NAME_MOST || p[0] == '.' || p[n - 1] == '.' || p[0] == ' ' ||
        p[n - 1] == ' ' || !utf8_valid(p, n) || is_device(p, n)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        if (c < 0x20 || c == 0x7f || strchr("/\\:*?\"<>|", c)) {
            return false;
        }
    }
    return true;
}

bool model_name_is_plain(const char *p, size_t n) {
    static const char record[] = ".sha256";
    const size_t len = sizeof record - 1;
    return name_is_plain(p, n) && !(n == 10 && memcmp(p, "quarantine", n) == 0) &&
           !(n > len && memcmp(p + n - len, record, len) == 0);
}

bool path_is_plain(const char *p, size_t n) {
    size_t start = 0, parts = 0;
    for (size_t i = 0; i <= n; i++) {
        if (i == n || p[i] == '/') {
            if (!name_is_plain(p + start, i - start)) {
                return false;
            }
            start = i + 1;
            parts++;
        }
    }
    return n < PATH_MOST / 2 && parts <= DEEP + 1;
}

enum err_code sha256_read(const char *text, char hex[65], struct err *e) {
    if (strlen(text) != 64 || strspn(text, "0123456789abcdefABCDEF") != 64) {
        err_set(e, ERR_USAGE, "'%s' is no SHA-256", text);
        err_where(e, "--sha256");
        err_hint(e, "--sha256 takes 64 hexadecimal digits");
        return ERR_USAGE;
    }
    for (size_t i = 0; i <= 64; i++) {
        hex[i] = text[i] >= 'A' && text[i] <= 'F' ? (char)(text[i] - 'A' + 'a') : text[i];
    }
    return ERR_OK;
}

/* ---- the files of a model -------------------------------------------------------------------- */

void files_init(struct store_files *f) {
    f->notes = NULL;
    buf_init(&f->all, FILES_MOST * sizeof(struct store_file));
}

struct store_file *files_at(const struct store_files *f, size_t *n) {
    *n = f->all.len / sizeof(struct store_file);
    return (struct store_file *)(void *)f->all.p;
}

void files_fini(struct store_files *f) {
    size_t n;
    struct store_file *file = files_at(f, &n);
    for (size_t i = 0; i < n; i++) {
        mem_free(file[i].path);
    }
    buf_fini(&f->all);
}

enum err_code files_add(struct store_files *f, const char *path, uint64_t bytes, const char *sha256,
                        struct err *e) {
    struct store_file file = {.bytes = bytes};
    if (f->all.len / sizeof file >= FILES_MOST) {
        err_set(e, ERR_LIMIT, "a model of more than %d files", FILES_MOST);
        err_where(e, "%s", path);
        err_hint(e, "name the folder that has config.json, and nothing that is no part of it");
        return ERR_LIMIT;
    }
    file.path = mem_strdup(path, strlen(path));
    if (!file.path) {
        return err_set(e, ERR_NOMEM, "out of memory for the list of a model's files");
    }
    snprintf(file.sha256, sizeof file.sha256, "%s", sha256);
    buf_put(&f->all, &file, sizeof file);
    if (f->all.failed) {
        mem_free(file.path);
    }
    return buf_check(&f->all, e);
}

uint64_t files_bytes(const struct store_files *f) {
    size_t n;
    uint64_t sum = 0;
    const struct store_file *file = files_at(f, &n);
    for (size_t i = 0; i < n; i++) {
        sum = file[i].bytes > UINT64_MAX - sum ? UINT64_MAX : sum + file[i].bytes;
    }
    return sum;
}

static enum err_code bad_name(const char *path, struct err *e) {
    err_set(e, ERR_FORMAT, "a name that cannot be kept on every machine");
    err_where(e, "%s", path);
    err_hint(e, "rename it: no control characters, none of \\ : * ? \" < > |, no dot or blank at "
                "its ends, no name of a device (con, nul)");
    return ERR_FORMAT;
}

static enum err_code walk(struct store_files *f, const char *path, const char *as, int deep,
                          struct err *e);

/* One name of a folder. */
static enum err_code walk_name(struct store_files *f, const char *path, const char *as,
                               const char *name, int deep, struct err *e) {
    char *below = NULL, *below_as = NULL;
    if (name[0] == '.') {
        return ERR_OK;
    }
    enum err_code rc = store_path(&below, e, "%s/%s", path, name);
    if (!rc && !name_is_plain(name, strlen(name))) {
        rc = bad_name(below, e);
    }
    if (!rc && !(rc = store_path(&below_as, e, "%s/%s", as, name))) {
        rc = walk(f, below, below_as, deep, e);
    }
    mem_free(below);
    mem_free(below_as);
    return rc;
}

static enum err_code walk(struct store_files *f, const char *path, const char *as, int deep,
                          struct err *e) {
    struct os_file_info info;
    char **names = NULL;
    size_t n = 0;
    enum err_code rc = os_file_info(path, &info, e);
    if (rc) {
        return rc;
    }
    if (!info.is_folder) {
        return files_add(f, as, info.size, "", e);
    }
    if (deep == DEEP) {
        err_set(e, ERR_LIMIT, "folders in folders, over %d deep", DEEP);
        err_where(e, "%s", path);
        err_hint(e, "name the folder that has config.json");
        return ERR_LIMIT;
    }
    rc = os_list(path, &names, &n, e);
    for (size_t i = 0; i < n && !rc; i++) {
        rc = walk_name(f, path, as, names[i], deep + 1, e);
    }
    mem_free(names);
    return rc;
}

enum err_code files_list(struct store_files *f, const char *root, const char *name, const char *as,
                         struct err *e) {
    char *path;
    enum err_code rc = store_path(&path, e, "%s/%s", root, name);
    if (!rc) {
        rc = walk(f, path, as, 0, e);
    }
    mem_free(path);
    return rc;
}

uint64_t bytes_below(const char *path) {
    struct store_files files;
    files_init(&files);
    uint64_t bytes = walk(&files, path, "x", 0, NULL) ? 0 : files_bytes(&files);
    files_fini(&files);
    return bytes;
}

/* ---- folders of our own ---------------------------------------------------------------------- */

/* Whatever can be unlinked is no folder, a link to one included: links are not followed. */
static enum err_code path_remove(const char *path, int deep, struct err *e) {
    struct os_file_info info;
    char **names = NULL;
    size_t n = 0;
    if (!os_remove_file(path, NULL)) {
        return ERR_OK;
    }
    enum err_code rc = os_file_info(path, &info, e);
    if (rc || !info.is_folder) {
        return rc ? rc : os_remove_file(path, e);
    }
    rc = os_list(path, &names, &n, e);
    for (size_t i = 0; i < n && !rc && deep < REMOVE_DEEP; i++) {
        char *below;
        rc = store_path(&below, e, "%s/%s", path, names[i]);
        if (!rc) {
            rc = path_remove(below, deep + 1, e);
        }
        mem_free(below);
    }
    mem_free(names);
    return rc ? rc : os_remove_folder(path, e);
}

enum err_code tree_remove(const char *root, const char *name, struct err *e) {
    char *path;
    enum err_code rc = store_path(&path, e, "%s/%s", root, name);
    if (!rc) {
        rc = path_remove(path, 0, e);
    }
    mem_free(path);
    return rc;
}

enum err_code link_refuse(const char *path, struct err *e) {
    if (!os_is_link(path)) {
        return ERR_OK;
    }
    err_set(e, ERR_FORMAT, "a link stands where the store has a folder of its own");
    err_where(e, "%s", path);
    err_hint(e, "remove it");
    return ERR_FORMAT;
}

void made_sweep(const struct depot *d) {
    char *dir = NULL, *path = NULL, **names = NULL;
    struct os_lock *lock = NULL;
    size_t n = 0;
    if (!store_path(&dir, NULL, "%s/" STORE_MADE, d->dir) && os_file_exists(dir) &&
        !os_is_link(dir) && !store_path(&path, NULL, "%s/.lock", dir) &&
        !os_lock_take(&lock, path, 0, NULL) && !os_list(dir, &names, &n, NULL)) {
        for (size_t i = 0; i < n; i++) {
            if (strcmp(names[i], ".lock") != 0) {
                tree_remove(dir, names[i], NULL);
            }
        }
    }
    os_lock_drop(lock);
    mem_free(names);
    mem_free(path);
    mem_free(dir);
}
