/* instance.c: entries come and go under the folder's lock.
 *
 * Owns the form of an entry: {"process","started","verb","model","device","memory"}. Refuses to
 * trust one: the lock says that somebody lives, the file's name says who, and its bytes are as
 * hostile as any other file's. Invariant: an entry is made, removed and judged stale only by
 * whoever holds the folder's lock, so that nobody removes the file of a process that is just
 * beginning.
 */
#include "observe/instance.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"
#include "base/utf8.h"

enum { PATH_BYTES = 65536, ENTRY_BYTES = 8192, TRIES = 100 };

struct instance {
    struct os_lock *lock; /* of the entry */
    char path[];
};

/* folder/name in *b. */
static enum err_code path_make(struct buf *b, const char *folder, const char *name, struct err *e) {
    buf_reset(b);
    buf_printf(b, "%s/%s", folder, name);
    return buf_check(b, e);
}

/* The folder's lock is held for moments; whoever keeps it for a second is stopped or ill, and is
 * not waited for. */
static enum err_code folder_lock(struct os_lock **l, const char *folder, struct err *e) {
    struct buf path;
    buf_init(&path, PATH_BYTES);
    enum err_code rc = path_make(&path, folder, "lock", e);
    for (int i = 0; !rc; i++) {
        struct err why = {0};
        rc = os_lock_take(l, path.p, 0, &why);
        if (rc != ERR_CANCELLED || i == TRIES) {
            *e = why;
            break;
        }
        rc = ERR_OK;
        os_sleep(0.01);
    }
    buf_fini(&path);
    return rc;
}

/* ---- this process ----------------------------------------------------------------------------
 */

static enum err_code entry_write(const char *path, const struct instance_info *info,
                                 struct err *e) {
    struct buf text;
    struct json_writer w;
    buf_init(&text, ENTRY_BYTES);
    json_writer_init(&w, &text);
    json_open(&w, '{');
    json_key(&w, "process");
    json_put_uint(&w, os_process_id());
    json_key(&w, "started");
    json_put_int(&w, os_wall_time());
    json_key(&w, "verb");
    json_put_z(&w, info->verb);
    json_key(&w, "model");
    json_put_z(&w, info->model);
    json_key(&w, "device");
    json_put_z(&w, info->device);
    json_key(&w, "memory");
    json_put_uint(&w, info->memory);
    json_close(&w, '}');
    buf_puts(&text, "\n");
    enum err_code rc = buf_check(&text, e);
    if (!rc) {
        rc = os_append_file(path, text.p, text.len, e);
    }
    buf_fini(&text);
    return rc;
}

/* What is left there under this process's number is a dead one's, and a link, which cannot be
 * locked, is nobody's. Removed first: the new file is then surely this process's own. */
static enum err_code entry_take(struct instance *i, const struct instance_info *info,
                                struct err *e) {
    struct os_lock *stale = NULL;
    enum err_code rc = os_is_link(i->path) ? os_remove_file(i->path, e) : ERR_OK;
    if (!rc) {
        rc = os_lock_take(&stale, i->path, 0, e);
    }
    if (!rc) {
        rc = os_remove_file(i->path, e);
    }
    os_lock_drop(stale);
    if (!rc) {
        rc = os_lock_take(&i->lock, i->path, 0, e);
    }
    return rc ? rc : entry_write(i->path, info, e);
}

enum err_code instance_enter(struct instance **out, const char *folder,
                             const struct instance_info *info, struct err *e) {
    struct os_lock *lock = NULL;
    struct instance *i = NULL;
    char name[32];
    *out = NULL;
    enum err_code rc = os_mkdirs(folder, e);
    if (!rc) {
        rc = folder_lock(&lock, folder, e);
    }
    if (rc) {
        goto fail;
    }
    snprintf(name, sizeof name, "run-%llu.json", (unsigned long long)os_process_id());
    size_t n = strlen(folder) + sizeof name + 1;
    i = mem_zalloc(1, sizeof *i + n);
    if (!i) {
        rc = err_set(e, ERR_NOMEM, "out of memory");
        goto fail;
    }
    snprintf(i->path, n, "%s/%s", folder, name);
    rc = entry_take(i, info, e);
    if (rc) {
        goto fail;
    }
    os_lock_drop(lock);
    *out = i;
    return ERR_OK;
fail:
    if (i && i->lock) { /* the file is this process's own, half written or empty */
        os_remove_file(i->path, NULL);
        os_lock_drop(i->lock);
    }
    os_lock_drop(lock);
    mem_free(i);
    return rc;
}

/* The file goes while it is locked: there is no moment at which it looks stale. */
void instance_leave(struct instance *i) {
    if (i) {
        os_remove_file(i->path, NULL);
        os_lock_drop(i->lock);
        mem_free(i);
    }
}

/* ---- all of them -----------------------------------------------------------------------------
 */

/* The number in "run-NUMBER.json"; 0 for any other name. */
static uint64_t process_of(const char *name) {
    const char *number = strncmp(name, "run-", 4) == 0 ? name + 4 : "";
    size_t n = strspn(number, "0123456789");
    if (n == 0 || n > 19 || number[0] == '0' || strcmp(number + n, ".json") != 0) {
        return 0;
    }
    return strtoull(number, NULL, 10);
}

/* As much of a member as fits, ending between two characters. */
static void text_copy(char *out, size_t n, const struct json *entry, const char *key) {
    struct str s = json_str(json_find(entry, key));
    size_t len = s.n < n ? s.n : n - 1;
    len -= utf8_pending(s.p, len);
    memcpy(out, s.p, len);
    out[len] = '\0';
}

static void entry_read(const char *path, struct instance_info *info) {
    char *text = NULL;
    size_t n = 0;
    struct json *entry = NULL;
    if (!os_read_file(path, ENTRY_BYTES, &text, &n, NULL) && !json_parse(text, n, &entry, NULL) &&
        (uint64_t)json_int(json_find(entry, "process")) == info->process) {
        int64_t memory = json_int(json_find(entry, "memory"));
        info->started = json_int(json_find(entry, "started"));
        info->memory = memory > 0 ? (uint64_t)memory : 0;
        text_copy(info->verb, sizeof info->verb, entry, "verb");
        text_copy(info->model, sizeof info->model, entry, "model");
        text_copy(info->device, sizeof info->device, entry, "device");
    }
    json_free(entry);
    mem_free(text);
}

/* Whether somebody lives behind the file; one that nobody holds is removed. What cannot be locked
 * for another reason (a folder, another user's file) is nobody's, and is left alone. */
static bool entry_lives(const char *path) {
    struct os_lock *l = NULL;
    enum err_code rc = os_lock_take(&l, path, 0, NULL);
    if (!rc) {
        os_remove_file(path, NULL);
        os_lock_drop(l);
    }
    return rc == ERR_CANCELLED;
}

static int compare(const void *a, const void *b) {
    const struct instance_info *x = a, *y = b;
    return x->started < y->started   ? -1
           : x->started > y->started ? 1
           : x->process < y->process ? -1
                                     : x->process > y->process;
}

enum err_code instance_list(const char *folder, struct instance_info **list, size_t *n,
                            struct err *e) {
    struct os_lock *lock = NULL;
    char **names = NULL;
    size_t n_name = 0;
    struct buf path;
    *list = NULL;
    *n = 0;
    buf_init(&path, PATH_BYTES);
    enum err_code rc = os_file_exists(folder) ? folder_lock(&lock, folder, e) : ERR_OK;
    if (rc || !lock) {
        goto done;
    }
    if ((rc = os_list(folder, &names, &n_name, e))) {
        goto done;
    }
    *list = mem_zalloc(n_name, sizeof **list);
    if (!*list) {
        rc = err_set(e, ERR_NOMEM, "out of memory for %zu entries", n_name);
        goto done;
    }
    for (size_t i = 0; i < n_name && !rc; i++) {
        struct instance_info *info = &(*list)[*n];
        info->process = process_of(names[i]);
        if (info->process && !(rc = path_make(&path, folder, names[i], e)) && entry_lives(path.p)) {
            entry_read(path.p, info);
            (*n)++;
        }
    }
    qsort(*list, *n, sizeof **list, compare);
done:
    if (rc) {
        mem_free(*list);
        *list = NULL;
        *n = 0;
    }
    mem_free(names);
    os_lock_drop(lock);
    buf_fini(&path);
    return rc;
}
