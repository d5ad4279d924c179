/* store_bytes.c: the reading and the copying of large files, with their hashes.
 *
 * Owns the steps: a few MiB at a time, each reported, each an occasion to stop.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "observe/digest.h"
#include "store/store_part.h"

enum { STEP = 4 << 20 };

enum err_code depot_tell(const struct depot *d, const char *what, uint64_t done, uint64_t total,
                         struct err *e) {
    if (os_stopped(d->stop)) {
        return err_set(e, ERR_CANCELLED, "interrupted");
    }
    if (d->report) {
        d->report(d->arg, what, done, total);
    }
    return ERR_OK;
}

void depot_say(const struct depot *d, const char *fmt, ...) {
    char text[512];
    va_list ap;
    if (d->say) {
        va_start(ap, fmt);
        vsnprintf(text, sizeof text, fmt, ap);
        va_end(ap);
        d->say(d->arg, text);
    }
}

static enum err_code lost_check(const volatile int *lost, struct err *e) {
    return lost && *lost ? err_set(e, ERR_IO, "it could not be read to its end") : ERR_OK;
}

enum err_code file_hash(const struct depot *d, const char *path, char hex[65], struct err *e) {
    struct os_map m;
    enum err_code rc = os_map_open(&m, path, false, e);
    if (rc) {
        return rc;
    }
    const char *slash = strrchr(path, '/');
    struct digest *h = digest_create();
    rc = h ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory for a hash");
    for (size_t at = 0; at < m.size && !rc && !m.lost; at += STEP) {
        size_t n = m.size - at < STEP ? m.size - at : STEP;
        rc = depot_tell(d, slash ? slash + 1 : path, at, m.size, e);
        if (!rc) {
            digest_add(h, m.data + at, n);
        }
    }
    if (h) {
        digest_end(h, hex);
    }
    if (!rc && (rc = lost_check(&m.lost, e))) {
        err_where(e, "%s", path);
    }
    os_map_close(&m);
    return rc;
}

enum err_code bytes_store(const struct depot *d, const char *to, const void *p, size_t n,
                          const volatile int *lost, const char *want, char hex[65], struct err *e) {
    struct os_out *out = NULL;
    const char *slash = strrchr(to, '/');
    /* What is hashed is what is written, whatever happens to a mapped file in between. */
    char *step = mem_alloc(STEP, 1);
    struct digest *h = digest_create();
    enum err_code rc = h && step ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory for a hash");
    if (!rc) {
        rc = os_out_open(&out, to, e);
    }
    for (size_t at = 0; at < n && !rc && !(lost && *lost); at += STEP) {
        size_t k = n - at < STEP ? n - at : STEP;
        rc = depot_tell(d, slash ? slash + 1 : to, at, n, e);
        if (!rc) {
            memcpy(step, (const char *)p + at, k);
            digest_add(h, step, k);
            rc = os_out_write(out, step, k, e);
        }
    }
    if (h) {
        digest_end(h, hex);
    }
    mem_free(step);
    rc = rc ? rc : lost_check(lost, e);
    if (!rc && want[0] && strcmp(hex, want) != 0) {
        rc = err_set(e, ERR_FORMAT, "its SHA-256 is %s, not %s", hex, want);
        err_hint(e, "the file was damaged on its way, or is another one: get it again");
    }
    if (rc) {
        os_out_drop(out);
        return rc;
    }
    return os_out_commit(out, e);
}

enum err_code room_check(const char *dir, uint64_t bytes, struct err *e) {
    return room_check_for(dir, bytes,
                          "make room there, or name a store on another disk: --store FOLDER", e);
}

enum err_code room_check_for(const char *dir, uint64_t bytes, const char *hint, struct err *e) {
    const uint64_t spare = 16 << 20; /* records, and the file system's own */
    uint64_t room;
    if (os_disk_free(dir, &room, NULL) || bytes == 0 || (bytes <= room && room - bytes >= spare)) {
        return ERR_OK; /* where the system cannot tell, the write itself will */
    }
    err_set(e, ERR_IO, "the disk has %llu bytes left, and %llu are wanted",
            (unsigned long long)room,
            (unsigned long long)(bytes > UINT64_MAX - spare ? bytes : bytes + spare));
    err_where(e, "%s", dir);
    err_hint(e, "%s", hint);
    return ERR_IO;
}
