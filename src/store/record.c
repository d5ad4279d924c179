/* record.c: the hashes of a model, in a file beside it that sha256sum reads and writes, too.
 *
 * Owns the form: "HEX  path\n" for each file, paths relative to the store, then "# NOTE\n".
 * Invariant: a record that is read names only files of its own model.
 */
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "store/store_part.h"

enum { RECORD_MOST = 1 << 22 };

static enum err_code record_path(const char *dir, const char *name, char **path, struct err *e) {
    return store_path(path, e, "%s/%s.sha256", dir, name);
}

/* Whether a path is the model itself, or lies in its folder. */
static bool is_of(const char *path, size_t n, const char *name) {
    size_t len = strlen(name);
    return n >= len && memcmp(path, name, len) == 0 && (n == len || path[len] == '/');
}

static enum err_code read_line(const char *p, size_t n, const char *name, struct store_files *f,
                               struct err *e) {
    char hex[65] = "", *path;
    const char *file = p + 66;
    if (n < 67 || strspn(p, "0123456789abcdef") != 64 || p[64] != ' ' ||
        (p[65] != ' ' && p[65] != '*') || !path_is_plain(file, n - 66) ||
        !is_of(file, n - 66, name)) {
        return err_set(e, ERR_FORMAT, "not a line \"HASH  %s...\"", name);
    }
    memcpy(hex, p, 64);
    path = mem_strdup(file, n - 66);
    if (!path) {
        return err_set(e, ERR_NOMEM, "out of memory for a record");
    }
    enum err_code rc = files_add(f, path, 0, hex, e);
    mem_free(path);
    return rc;
}

enum err_code record_read(const char *dir, const char *name, struct store_files *f, struct err *e) {
    char *path = NULL, *text = NULL;
    size_t n = 0;
    int line = 1;
    enum err_code rc = record_path(dir, name, &path, e);
    if (!rc) {
        rc = os_read_file(path, RECORD_MOST, &text, &n, e);
    }
    for (const char *p = text; !rc && p < text + n; line++) {
        size_t len = strcspn(p, "\n");
        size_t bare = len > 0 && p[len - 1] == '\r' ? len - 1 : len;
        rc = *p == '#' ? ERR_OK : read_line(p, bare, name, f, e);
        if (rc == ERR_FORMAT) {
            err_where(e, "%s, line %d", path, line);
            err_hint(e,
                     "write it anew: sha256sum in the store's folder, after a look at the model");
        }
        p += len + 1;
    }
    if (!rc && f->all.len == 0) {
        rc = err_set(e, ERR_FORMAT, "a record that names no file");
        err_where(e, "%s", path);
        err_hint(e, "remove it, and 'ign models import' the model again");
    }
    mem_free(text);
    mem_free(path);
    return rc;
}

char *record_notes(const char *dir, const char *name) {
    char *path = NULL, *text = NULL, *notes = NULL;
    size_t n = 0, len = 0;
    if (!record_path(dir, name, &path, NULL) && !os_read_file(path, RECORD_MOST, &text, &n, NULL) &&
        (notes = mem_alloc(n + 1, 1))) {
        for (const char *p = text; p < text + n && *p;) {
            size_t line = strcspn(p, "\n"), skip = strncmp(p, "# ", 2) == 0 ? 2 : 0;
            if (skip) {
                memcpy(notes + len, p + skip, line - skip);
                len += line - skip;
                notes[len++] = '\n';
            }
            p += line + (p[line] == '\n');
        }
        notes[len] = '\0';
    }
    mem_free(text);
    mem_free(path);
    if (notes && !notes[0]) {
        mem_free(notes);
        notes = NULL;
    }
    return notes;
}

bool note_next(const char **at, const char *key, char *out, size_t n) {
    size_t k = strlen(key);
    for (const char *p = *at; p && *p;) {
        size_t line = strcspn(p, "\n");
        const char *next = p + line + (p[line] == '\n');
        if (strncmp(p, key, k) == 0 && p[k] == ' ' && line - k - 1 < n) {
            memcpy(out, p + k + 1, line - k - 1);
            out[line - k - 1] = '\0';
            *at = next;
            return true;
        }
        p = next;
    }
    return false;
}

enum err_code record_remove(const char *dir, const char *name, struct err *e) {
    struct os_file_info info;
    char *path;
    enum err_code rc = record_path(dir, name, &path, e);
    if (!rc && (os_is_link(path) || os_file_info(path, &info, NULL) || !info.is_folder)) {
        rc = os_remove_file(path, e);
    }
    mem_free(path);
    return rc;
}

enum err_code record_add_note(const char *dir, const char *name, const char *line, struct err *e) {
    struct buf b;
    char *path;
    buf_init(&b, 65536);
    buf_printf(&b, "# %s\n", line);
    enum err_code rc = buf_check(&b, e);
    if (!rc && !(rc = record_path(dir, name, &path, e))) {
        rc = os_append_file(path, b.p, b.len, e);
        mem_free(path);
    }
    buf_fini(&b);
    return rc;
}

/* Notes, a '#' before each line; what would be no text is written as '?'. */
static void put_notes(struct buf *b, const char *notes) {
    bool fresh = true;
    for (const char *p = notes ? notes : ""; *p; p++) {
        if (fresh) {
            buf_puts(b, "# ");
        }
        fresh = *p == '\n';
        buf_putc(b, (unsigned char)*p < 0x20 && !fresh ? '?' : *p);
    }
}

enum err_code record_write(const char *dir, const char *name, const struct store_files *f,
                           struct err *e) {
    struct buf text;
    char *path = NULL;
    size_t n;
    const struct store_file *file = files_at(f, &n);
    buf_init(&text, RECORD_MOST);
    for (size_t i = 0; i < n; i++) {
        buf_printf(&text, "%s  %s\n", file[i].sha256, file[i].path);
    }
    put_notes(&text, f->notes);
    enum err_code rc = buf_check(&text, e);
    if (!rc && !(rc = record_path(dir, name, &path, e))) {
        rc = os_write_file(path, text.p, text.len, e);
    }
    mem_free(path);
    buf_fini(&text);
    return rc;
}
