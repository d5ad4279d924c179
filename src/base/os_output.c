/* os_output.c: os.h's share of files that are written: whole or not at all, or growing.
 *
 * Owns the temporary file beside the place where the result will stand, and its removal. Invariant:
 * until os_out_commit has succeeded, what was there before is there unchanged; a growing file holds
 * what was written, in order, and nothing else.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/os_fail.h"

struct os_out {
    int fd;
    bool replaces; /* a file is there whose mode the new one takes */
    mode_t mode;
    char real[PATH_MAX];     /* where it will stand: links followed */
    char tmp[PATH_MAX + 32]; /* where it stands now */
};

/* A new file beside o->real. In a container every program has the same number, so that the number
 * alone would meet what a killed one left behind. */
static enum err_code out_create(struct os_out *o, struct err *e) {
    enum { TRIES = 16 };
    for (int i = 0; i < TRIES; i++) {
        int len = snprintf(o->tmp, sizeof o->tmp, "%s.%08x.%d.tmp", o->real,
                           (unsigned)os_random_seed(), (int)getpid());
        if (len < 0 || (size_t)len >= sizeof o->tmp) {
            errno = ENAMETOOLONG;
            return os_fail(e, "write", o->real);
        }
        do {
            o->fd = open(o->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
        } while (o->fd < 0 && errno == EINTR);
        if (o->fd >= 0) {
            return ERR_OK;
        }
        if (errno != EEXIST) {
            break;
        }
    }
    return os_fail(e, "write", o->tmp);
}

static enum err_code out_begin(struct os_out *o, const char *path, struct err *e) {
    struct stat st;
    *o = (struct os_out){.fd = -1};
    if (stat(path, &st) == 0) {
        if (!S_ISREG(st.st_mode)) {
            return os_not_file(e, st.st_mode, path);
        }
        if (!realpath(path, o->real)) { /* a link stays a link: what it names is replaced */
            return os_fail(e, "write", path);
        }
        o->replaces = true;
        o->mode = st.st_mode & 07777;
    } else if (errno != ENOENT) {
        return os_fail(e, "write", path);
    } else if (snprintf(o->real, sizeof o->real, "%s", path) >= (int)sizeof o->real) {
        errno = ENAMETOOLONG;
        return os_fail(e, "write", path);
    }
    return out_create(o, e);
}

enum err_code os_out_write(struct os_out *o, const void *p, size_t n, struct err *e) {
    enum err_code rc = os_write_fd(o->fd, p, n, e);
    if (rc) {
        err_where(e, "%s", o->tmp);
    }
    return rc;
}

/* The name is in the folder: it is on disk when the folder is. */
static void folder_flush(char *path) {
    char *slash = strrchr(path, '/');
    if (slash) {
        slash[slash == path] = '\0';
    }
    int fd = open(slash ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd); /* some file systems cannot, and then there is nothing to be done */
        close(fd);
    }
}

static void out_abandon(struct os_out *o) {
    if (o->fd >= 0) {
        close(o->fd);
    }
    unlink(o->tmp);
}

static enum err_code out_finish(struct os_out *o, struct err *e) {
    enum err_code rc = ERR_OK;
    if ((o->replaces && fchmod(o->fd, o->mode) != 0) || fsync(o->fd) != 0) {
        rc = os_fail(e, "write", o->tmp);
    }
    int fd = o->fd;
    o->fd = -1;
    if (close(fd) != 0 && !rc) {
        rc = os_fail(e, "write", o->tmp);
    }
    if (!rc && rename(o->tmp, o->real) != 0) {
        rc = os_fail(e, "rename to", o->real);
    }
    if (rc) {
        out_abandon(o);
        return rc;
    }
    folder_flush(o->tmp);
    return ERR_OK;
}

/* ---- the interface --------------------------------------------------------------------------- */

enum err_code os_out_open(struct os_out **out, const char *path, struct err *e) {
    struct os_out *o = mem_alloc(1, sizeof *o);
    *out = NULL;
    if (!o) {
        return err_set(e, ERR_NOMEM, "out of memory for a file");
    }
    enum err_code rc = out_begin(o, path, e);
    if (rc) {
        mem_free(o);
        return rc;
    }
    *out = o;
    return ERR_OK;
}

enum err_code os_out_commit(struct os_out *o, struct err *e) {
    enum err_code rc = out_finish(o, e);
    mem_free(o);
    return rc;
}

void os_out_drop(struct os_out *o) {
    if (o) {
        out_abandon(o);
        mem_free(o);
    }
}

enum err_code os_write_file(const char *path, const void *p, size_t n, struct err *e) {
    struct os_out o;
    enum err_code rc = out_begin(&o, path, e);
    if (rc) {
        return rc;
    }
    rc = os_out_write(&o, p, n, e);
    if (rc) {
        out_abandon(&o);
        return rc;
    }
    return out_finish(&o, e);
}

/* ---- growing files --------------------------------------------------------------------------- */

struct os_grow {
    int fd;
    char path[PATH_MAX];
};

enum err_code os_grow_cut(struct os_grow *g, uint64_t keep, struct err *e) {
    return ftruncate(g->fd, (off_t)keep) != 0 || lseek(g->fd, 0, SEEK_END) < 0
               ? os_fail(e, "cut", g->path)
               : ERR_OK;
}

enum err_code os_grow_open(struct os_grow **out, const char *path, uint64_t keep, struct err *e) {
    struct stat st;
    enum err_code rc = ERR_OK;
    struct os_grow *g = mem_alloc(1, sizeof *g);
    *out = NULL;
    if (!g) {
        return err_set(e, ERR_NOMEM, "out of memory for a file");
    }
    g->fd = -1;
    if (snprintf(g->path, sizeof g->path, "%s", path) >= (int)sizeof g->path) {
        errno = ENAMETOOLONG;
        rc = os_fail(e, "write", path);
        goto fail;
    }
    do {
        g->fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    } while (g->fd < 0 && errno == EINTR);
    if (g->fd < 0 || fstat(g->fd, &st) != 0) {
        rc = os_fail(e, "write", path);
        goto fail;
    }
    rc = S_ISREG(st.st_mode) ? os_grow_cut(g, keep, e) : os_not_file(e, st.st_mode, path);
    if (rc) {
        goto fail;
    }
    *out = g;
    return ERR_OK;
fail:
    os_grow_close(g);
    return rc;
}

enum err_code os_grow_write(struct os_grow *g, const void *p, size_t n, struct err *e) {
    enum err_code rc = os_write_fd(g->fd, p, n, e);
    if (rc) {
        err_where(e, "%s", g->path);
    }
    return rc;
}

enum err_code os_grow_flush(struct os_grow *g, struct err *e) {
    return fsync(g->fd) != 0 ? os_fail(e, "write", g->path) : ERR_OK;
}

void os_grow_close(struct os_grow *g) {
    if (g && g->fd >= 0) {
        close(g->fd);
    }
    mem_free(g);
}
