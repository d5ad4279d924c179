/* store.c: names to paths.
 *
 * Owns the search order: the path as typed, then the folder. Invariant: what is returned exists
 * at the time of the call.
 */
#include "store/store.h"

#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/os.h"

enum { PATH_MAX_BYTES = 65536 };

/* dir/name+suffix if it is there, else NULL; latches `failed` of *b where memory ran out. */
static char *path_try(struct buf *b, const char *dir, const char *name, const char *suffix) {
    buf_reset(b);
    buf_printf(b, "%s/%s%s", dir, name, suffix);
    return !b->failed && os_file_exists(b->p) ? b->p : NULL;
}

static bool is_model(const char *name) {
    return str_ends(str_c(name), ".gguf");
}

/* "a.gguf, b.gguf": what could have been meant. */
static void hint_names(const char *dir, struct err *e) {
    char **names = NULL;
    size_t n = 0;
    struct buf list;
    buf_init(&list, 120);
    if (dir && os_list(dir, &names, &n, NULL) == ERR_OK) {
        for (size_t i = 0; i < n; i++) {
            if (is_model(names[i])) {
                buf_printf(&list, "%s%s", list.len ? ", " : "", names[i]);
            }
        }
    }
    if (list.len > 0) {
        err_hint(e, "give the path of a GGUF file, or a name from %s: %s", dir, list.p);
    } else {
        err_hint(e, "give the path of a GGUF file; 'ign models pull demo' fetches a small model");
    }
    mem_free(names);
    buf_fini(&list);
}

static enum err_code resolve_demo(struct buf *b, const char *dir, char **path, struct err *e) {
    char *found = dir ? path_try(b, dir, STORE_DEMO_MODEL, "") : NULL;
    if (!found) {
        err_set(e, ERR_NOTFOUND, "no model was named, and the demo model is not in the store");
        err_where(e, "%s", dir ? dir : "no store: HOME is not set");
        err_hint(e, "give --model FILE, or fetch the demo model: ign models pull demo");
        return ERR_NOTFOUND;
    }
    *path = mem_strdup(found, strlen(found));
    return *path ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory");
}

static enum err_code resolve_name(struct buf *b, const char *dir, const char *name, char **path,
                                  struct err *e) {
    char *found = NULL;
    if (os_file_exists(name)) {
        *path = mem_strdup(name, strlen(name));
        return *path ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory");
    }
    if (dir && !strchr(name, '/')) {
        found = path_try(b, dir, name, "");
        if (!found) {
            found = path_try(b, dir, name, ".gguf");
        }
    }
    if (!found) {
        err_set(e, ERR_NOTFOUND, "no model '%s'", name);
        err_where(e, "neither a file nor a name in %s", dir ? dir : "a store: HOME is not set");
        hint_names(dir, e);
        return ERR_NOTFOUND;
    }
    *path = mem_strdup(found, strlen(found));
    return *path ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory");
}

enum err_code store_resolve(const char *dir, const char *name, char **path, struct err *e) {
    struct buf b;
    enum err_code rc;
    *path = NULL;
    buf_init(&b, PATH_MAX_BYTES);
    if (name && !*name) {
        rc = err_set(e, ERR_USAGE, "the name of the model is empty");
        err_hint(e, "give --model FILE or the name of a model in the store");
    } else {
        rc = name ? resolve_name(&b, dir, name, path, e) : resolve_demo(&b, dir, path, e);
    }
    buf_fini(&b);
    return rc;
}

void store_sha256(const char *path, char hex[65]) {
    struct buf b;
    char *text = NULL;
    size_t n = 0;
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    hex[0] = '\0';
    buf_init(&b, PATH_MAX_BYTES);
    buf_printf(&b, "%s.sha256", path);
    if (!b.failed && !os_read_file(b.p, PATH_MAX_BYTES, &text, &n, NULL) &&
        strspn(text, "0123456789abcdef") == 64 && text[64] == ' ' &&
        (text[65] == ' ' || text[65] == '*')) {
        text[66 + strcspn(text + 66, "\r\n")] = '\0';
        if (strcmp(text + 66, name) == 0) {
            memcpy(hex, text, 64);
            hex[64] = '\0';
        }
    }
    mem_free(text);
    buf_fini(&b);
}
