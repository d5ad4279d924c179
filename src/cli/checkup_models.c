/* checkup_models.c: the models of the store: whether each can be opened, and is what it was.
 *
 * Owns the reading of NAME.gguf.sha256, a line as sha256sum writes it. Refuses to compute with a
 * model: that its weights make sense is initialize's self-test. Everything here comes from files
 * that nobody vouches for.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "cli/checkup.h"
#include "cli/open_model.h"
#include "cli/progress.h"
#include "model/config.h"
#include "model/source.h"
#include "observe/digest.h"

enum { PIECE = 4 << 20, SIDECAR_MAX = 4096 };

/* "x-00002-of-00003.gguf": a part of a model that is opened by its first. */
static bool is_later_part(const char *name) {
    const char *of = strstr(name, "-of-");
    return of && of - name >= 6 && of[-6] == '-' && strspn(of - 5, "0123456789") == 5 &&
           strncmp(of - 5, "00001", 5) != 0;
}

/* A GGUF file by its name, or a folder with what a model's folder has. */
static bool is_model(struct buf *path, const char *folder, const char *name) {
    buf_reset(path);
    buf_printf(path, "%s/%s/config.json", folder, name);
    bool yes = str_ends(str_c(name), ".gguf") ||
               (name[0] != '.' && !path->failed && os_file_exists(path->p));
    buf_reset(path);
    buf_printf(path, "%s/%s", folder, name);
    return yes;
}

/* The digest in the file beside `path`; *there says whether one is. ERR_FORMAT, ERR_IO. */
static enum err_code sidecar_read(const char *path, char hex[DIGEST_HEX], bool *there,
                                  struct err *e) {
    struct buf b;
    char *text = NULL;
    size_t n = 0;
    buf_init(&b, 65536);
    buf_printf(&b, "%s.sha256", path);
    enum err_code rc = buf_check(&b, e);
    *there = !rc && os_file_exists(b.p);
    if (*there && !(rc = os_read_file(b.p, SIDECAR_MAX, &text, &n, e))) {
        if (strspn(text, "0123456789abcdefABCDEF") != DIGEST_HEX - 1 ||
            !strchr(" \n", text[DIGEST_HEX - 1])) {
            rc = err_set(e, ERR_FORMAT, "not a line as sha256sum writes it");
            err_where(e, "%s", b.p);
        }
        for (size_t i = 0; !rc && i < DIGEST_HEX - 1; i++) {
            hex[i] = text[i] >= 'A' && text[i] <= 'F' ? (char)(text[i] + 32) : text[i];
        }
        hex[DIGEST_HEX - 1] = '\0';
    }
    mem_free(text);
    buf_fini(&b);
    return rc;
}

/* SHA-256 of a whole file, with a bar. ERR_CANCELLED, ERR_IO, ERR_NOMEM. */
static enum err_code file_digest(struct checkup *u, const char *path, const char *name,
                                 char hex[DIGEST_HEX], struct err *e) {
    struct os_map m;
    struct progress bar;
    enum err_code rc = os_map_open(&m, path, false, e);
    if (rc) {
        return rc;
    }
    struct digest *d = digest_create();
    if (!d) {
        os_map_close(&m);
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    progress_begin(&bar, u->c, name);
    for (size_t at = 0; !rc && at < m.size; at += PIECE) {
        size_t n = m.size - at < PIECE ? m.size - at : PIECE;
        digest_add(d, m.data + at, n);
        progress_draw(&bar, (at + n) >> 20, m.size >> 20);
        rc = interrupt_seen(u->c->intr) ? err_set(e, ERR_CANCELLED, "interrupted") : ERR_OK;
    }
    progress_end(&bar);
    digest_end(d, hex);
    if (!rc && m.lost) {
        rc = err_set(e, ERR_IO, "the file could not be read to its end");
        err_where(e, "%s", path);
    }
    os_map_close(&m);
    return rc;
}

/* The file's own account of itself. */
static enum err_code model_look(const char *path, struct checkup_model *m, struct err *e) {
    struct gguf *g = NULL;
    struct config cfg = {0};
    struct str arch = {0};
    enum err_code rc = source_open(&g, path, false, e);
    if (!rc && !gguf_get_str(g, "general.architecture", &arch, NULL)) {
        snprintf(m->architecture, sizeof m->architecture, "%.*s", (int)(arch.n < 63 ? arch.n : 63),
                 arch.p);
    }
    for (size_t i = 0; !rc && g->version == 0 && i < g->n_part; i++) {
        m->bytes += g->part[i].size; /* of a folder: its files with weights */
    }
    for (size_t i = 0; !rc && i < g->n_tensor; i++) {
        const uint64_t *d = g->tensor[i].dim;
        m->parameters += d[0] * d[1] * d[2] * d[3]; /* which gguf_open has bounded */
    }
    if (!rc && g->n_tensor > 0 && !(rc = config_read(&cfg, g, e))) {
        m->context = (uint64_t)cfg.n_ctx;
    }
    if (!rc) {
        sampling_read(&m->sampling, g);
    }
    gguf_close(g);
    return rc;
}

static void fail_model(struct checkup *u, const char *check, const struct err *e, const char *fix) {
    char line[512];
    struct err head = *e;
    head.hint[0] = '\0';
    struct check *k = checkup_add(u, CHECK_FAILED, check, "%s", err_line(&head, line, sizeof line));
    check_fix(k, "%s", e->hint[0] ? e->hint : fix);
}

/* Its checksum, if it has one and that is asked for. Sets m->ok; ERR_CANCELLED, ERR_NOMEM. */
static enum err_code check_sum(struct checkup *u, const char *path, const char *check,
                               struct checkup_model *m, struct err *e) {
    char hex[DIGEST_HEX], size[32];
    struct err why = {0};
    bool there = false;
    enum err_code rc = sidecar_read(path, m->sha256, &there, &why);
    cli_bytes(m->bytes, size, sizeof size);
    if (!rc && there && u->thorough) {
        rc = file_digest(u, path, m->name, hex, &why);
    }
    if (rc == ERR_CANCELLED || rc == ERR_NOMEM) {
        *e = why;
        return rc;
    }
    if (rc) {
        fail_model(u, check, &why, "write its checksum again: sha256sum FILE > FILE.sha256");
    } else if (there && u->thorough && !digest_equal(hex, m->sha256)) {
        struct check *k = checkup_add(u, CHECK_FAILED, check,
                                      "its bytes are not those of its checksum (%.16s..., not "
                                      "%.16s...)",
                                      hex, m->sha256);
        check_fix(k, "get the file again; do not use this one");
    } else {
        m->ok = true;
        checkup_add(u, CHECK_OK, check, "%s, %s, %s", m->architecture, size,
                    !there        ? "no checksum beside it"
                    : u->thorough ? "as its checksum says"
                                  : "checksum not compared");
    }
    return ERR_OK;
}

static enum err_code check_model(struct checkup *u, const char *path, const char *name,
                                 struct err *e) {
    struct checkup_model m = {.name = mem_strdup(name, strlen(name))};
    struct os_file_info info;
    struct err why = {0};
    char check[160];
    if (!m.name) {
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    snprintf(check, sizeof check, "model %.150s", name);
    enum err_code rc = os_file_info(path, &info, &why);
    if (!rc) {
        m.bytes = info.is_folder ? 0 : info.size;
        m.mtime = info.mtime;
        if (!info.readable) {
            rc = err_set(&why, ERR_IO, "this user may not read it");
            err_where(&why, "%s", path);
            err_hint(&why, "chmod or chown it");
        }
    }
    if (!rc) {
        rc = is_later_part(name) ? ERR_OK : model_look(path, &m, &why);
    }
    if (rc) {
        fail_model(u, check, &why,
                   rc == ERR_IO ? "look at that disk, or get the file again"
                                : "get the file again");
        rc = ERR_OK;
    } else if (info.is_folder) {
        char size[32];
        m.ok = true;
        checkup_add(u, CHECK_OK, check, "%s, %s, a Hugging Face folder", m.architecture,
                    cli_bytes(m.bytes, size, sizeof size));
    } else {
        rc = check_sum(u, path, check, &m, e);
    }
    buf_put(&u->models, &m, sizeof m);
    if (u->models.failed) {
        mem_free(m.name);
        return buf_check(&u->models, e);
    }
    return rc;
}

enum err_code checkup_store(struct checkup *u, struct err *e) {
    char **names = NULL;
    size_t n = 0;
    struct buf path;
    enum err_code rc = ERR_OK;
    if (!u->store_path || os_list(u->store_path, &names, &n, NULL)) {
        return ERR_OK; /* the folder's own check has said so */
    }
    buf_init(&path, 65536);
    for (size_t i = 0; i < n && !rc; i++) {
        if (is_model(&path, u->store_path, names[i])) {
            rc = buf_check(&path, e);
            rc = rc ? rc : check_model(u, path.p, names[i], e);
        }
    }
    buf_fini(&path);
    mem_free(names);
    return rc;
}
