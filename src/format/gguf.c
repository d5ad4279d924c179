/* gguf.c: opens a GGUF file, or all files of a split set, and joins their directories.
 *
 * Owns the maps and the rules of a split set: part I of N is "NAME-0000I-of-0000N.gguf" (counted
 * from 1), holds split.no = I - 1 and split.count = N, and its tensors follow those of the parts
 * before it; the pairs that describe the model are in the first. Refuses parsing (gguf_parse.c).
 * Invariant: `part` is allocated once, before the first map is opened, because the handler of
 * lost pages keeps the addresses of its elements.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "format/gguf_parse.h"

#define SPLIT_SUFFIX 20 /* characters of "-00001-of-00003.gguf" */
#define SPLIT_MAX    65535

struct split {
    unsigned no, count; /* no counts from 1, as names do; count is 0 for another kind of name */
};

static bool parse_five(const char *p, unsigned *v) {
    *v = 0;
    for (int i = 0; i < 5; i++) {
        if (p[i] < '0' || p[i] > '9') {
            return false;
        }
        *v = *v * 10 + (unsigned)(p[i] - '0');
    }
    return true;
}

static struct split split_of_path(const char *path) {
    struct split s;
    size_t n = strlen(path);
    const char *p = path + (n > SPLIT_SUFFIX ? n - SPLIT_SUFFIX : 0);
    if (n > SPLIT_SUFFIX && p[0] == '-' && parse_five(p + 1, &s.no) &&
        memcmp(p + 6, "-of-", 4) == 0 && parse_five(p + 10, &s.count) &&
        strcmp(p + 15, ".gguf") == 0 && s.no >= 1 && s.no <= s.count && s.count <= SPLIT_MAX) {
        return s;
    }
    return (struct split){0, 0};
}

/* The path of another part of the same set (mem_free), or NULL. */
static char *part_path(const char *path, unsigned no) {
    size_t n = strlen(path);
    char *p = mem_strdup(path, n);
    char digits[8];
    if (p) {
        snprintf(digits, sizeof digits, "%05u", no % 100000);
        memcpy(p + n - SPLIT_SUFFIX + 1, digits, 5);
    }
    return p;
}

char *gguf_part_path(const struct gguf *g, size_t i) {
    return g->n_part > 1 ? part_path(g->path, (unsigned)i + 1)
                         : mem_strdup(g->path, strlen(g->path));
}

static enum err_code gguf_create(struct gguf **out, const char *name, struct err *e) {
    struct gguf *g = mem_zalloc(1, sizeof *g);
    if (g && !(g->path = mem_strdup(name, strlen(name)))) {
        mem_free(g);
        g = NULL;
    }
    *out = g;
    return g ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory opening %s", name);
}

enum err_code gguf_parse(struct gguf **out, const char *name, const void *p, size_t n,
                         struct err *e) {
    struct gguf *g;
    enum err_code rc = gguf_create(&g, name, e);
    if (!rc) {
        rc = gguf_parse_part(g, p, n, e);
    }
    if (rc) {
        gguf_close(g);
        g = NULL;
    }
    *out = g;
    return rc;
}

/* Maps the next part at `path` into g->part. */
static enum err_code open_map(struct gguf *g, const char *path, bool copy, struct err *e) {
    enum err_code rc = os_map_open(&g->part[g->n_part], path, copy, e);
    if (!rc) {
        g->n_part++;
    }
    return rc;
}

/* Parses a map into an empty *g. What could not be read is an error of the disk, not of the
 * format, whatever the parser made of the zeros in its place. */
static enum err_code parse_map(struct gguf *g, const struct os_map *m, struct err *e) {
    enum err_code rc = gguf_parse_part(g, m->data, m->size, e);
    if (!m->lost) {
        return rc;
    }
    err_clear(e);
    err_set(e, ERR_IO, "the file could not be read to its end: it changed, or the disk fails");
    err_where(e, "%s", g->path);
    return ERR_IO;
}

/* ---- split sets ---------------------------------------------------------------------------- */

static enum err_code fail_split(const struct gguf *g, const char *field, struct err *e,
                                const char *what) {
    const struct gguf_kv *kv = gguf_find(g, field);
    return gguf_fail(e, ERR_FORMAT, g, kv ? kv->offset : 0, field,
                     "give the first part, and keep all parts of one model in one folder", "%s",
                     what);
}

/* Is g, the first file given, the first of a set? *n = the parts to open; 1: no set. */
static enum err_code split_begin(const struct gguf *g, uint64_t *n, struct err *e) {
    char text[160];
    uint64_t no;
    struct split name = split_of_path(g->path);
    enum err_code rc = gguf_get_u64_or(g, "split.count", 1, n, e);
    if (rc || (rc = gguf_get_u64_or(g, "split.no", 0, &no, e))) {
        return rc;
    }
    if (*n <= 1 && no == 0) {
        *n = 1;
        return ERR_OK;
    }
    if (no >= *n || *n > SPLIT_MAX) {
        snprintf(text, sizeof text, "the file declares itself part %llu of %llu",
                 (unsigned long long)no + 1, (unsigned long long)*n);
        return fail_split(g, "split.count", e, text);
    }
    if (no != 0) {
        err_set(e, ERR_USAGE, "this is part %llu of a model in %llu files",
                (unsigned long long)no + 1, (unsigned long long)*n);
        err_where(e, "%s", g->path);
        if (name.count == *n && name.no == no + 1) {
            const char *p = g->path + strlen(g->path) - SPLIT_SUFFIX;
            err_hint(e, "give the first one, \"...-00001%s\"", p + 6);
        }
        err_hint(e, "give the first one");
        return ERR_USAGE;
    }
    if (name.count != *n || name.no != 1) {
        snprintf(text, sizeof text,
                 "the first of %llu parts must be named \"...-00001-of-%05llu.gguf\"",
                 (unsigned long long)*n, (unsigned long long)*n);
        return fail_split(g, "split.count", e, text);
    }
    return ERR_OK;
}

static enum err_code check_part(const struct gguf *g, const struct gguf *part, uint64_t no,
                                uint64_t count, struct err *e) {
    char text[160];
    uint64_t part_no, part_count;
    enum err_code rc = gguf_get_u64(part, "split.no", &part_no, e);
    if (rc || (rc = gguf_get_u64(part, "split.count", &part_count, e))) {
        return rc;
    }
    if (part_no != no || part_count != count) {
        snprintf(
            text, sizeof text,
            "the file declares itself part %llu of %llu, but stands where part %llu of %llu should",
            (unsigned long long)part_no + 1, (unsigned long long)part_count,
            (unsigned long long)no + 1, (unsigned long long)count);
        return fail_split(part, "split.no", e, text);
    }
    static const char *const same[] = {"split.tensors.count", "general.architecture",
                                       "general.name"};
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        const struct gguf_kv *a = gguf_find(g, same[i]), *b = gguf_find(part, same[i]);
        if (a && b && (a->bytes != b->bytes || memcmp(a->data, b->data, a->bytes) != 0)) {
            snprintf(text, sizeof text,
                     "the file belongs to another model: its %s is not the first part's", same[i]);
            return fail_split(part, same[i], e, text);
        }
    }
    return ERR_OK;
}

static enum err_code append_tensors(struct gguf *g, const struct gguf *part, unsigned no,
                                    struct err *e) {
    size_t n = g->n_tensor + part->n_tensor;
    if (n > GGUF_MAX_TENSOR) {
        return gguf_fail(e, ERR_LIMIT, part, 8, "tensor_count", NULL,
                         "more than %u tensors in all parts together", GGUF_MAX_TENSOR);
    }
    struct gguf_tensor *t = mem_realloc(g->tensor, n, sizeof *t);
    if (!t) {
        return err_set(e, ERR_NOMEM, "out of memory for %zu tensors", n);
    }
    g->tensor = t;
    for (size_t i = 0; i < part->n_tensor; i++) {
        t[g->n_tensor] = part->tensor[i];
        t[g->n_tensor++].part = no;
    }
    return ERR_OK;
}

static enum err_code open_part(struct gguf *g, unsigned no, unsigned count, bool copy,
                               struct err *e) {
    struct gguf *part = NULL;
    enum err_code rc;
    char *path = part_path(g->path, no + 1);
    if (!path) {
        rc = err_set(e, ERR_NOMEM, "out of memory opening part %u", no + 1);
        goto done;
    }
    if ((rc = open_map(g, path, copy, e))) {
        err_hint(e, "all %u parts of the model must be in one folder", count);
        goto done;
    }
    if ((rc = gguf_create(&part, path, e)) || (rc = parse_map(part, &g->part[no], e)) ||
        (rc = check_part(g, part, no, count, e))) {
        goto done;
    }
    rc = append_tensors(g, part, no, e);
done:
    gguf_close(part);
    mem_free(path);
    return rc;
}

static enum err_code open_rest(struct gguf *g, bool copy, struct err *e) {
    uint64_t count, total;
    enum err_code rc = split_begin(g, &count, e);
    if (rc || count == 1) {
        return rc;
    }
    for (unsigned no = 1; no < count; no++) {
        if ((rc = open_part(g, no, (unsigned)count, copy, e))) {
            return rc;
        }
    }
    if ((rc = gguf_get_u64_or(g, "split.tensors.count", g->n_tensor, &total, e))) {
        return rc;
    }
    if (total != g->n_tensor) {
        char text[96];
        snprintf(text, sizeof text, "the parts have %zu tensors, where %llu are declared",
                 g->n_tensor, (unsigned long long)total);
        return fail_split(g, "split.tensors.count", e, text);
    }
    return gguf_index_names(g, e);
}

/* ---- open and close -------------------------------------------------------------------------- */

enum err_code gguf_open(struct gguf **out, const char *path, bool copy, struct err *e) {
    struct gguf *g;
    struct split name = split_of_path(path);
    *out = NULL;
    enum err_code rc = gguf_create(&g, path, e);
    if (rc) {
        return rc;
    }
    g->part = mem_zalloc(name.count ? name.count : 1, sizeof *g->part);
    if (!g->part) {
        rc = err_set(e, ERR_NOMEM, "out of memory opening %s", path);
        goto fail;
    }
    if ((rc = open_map(g, path, copy, e)) || (rc = parse_map(g, &g->part[0], e)) ||
        (rc = open_rest(g, copy, e))) {
        goto fail;
    }
    *out = g;
    return ERR_OK;
fail:
    gguf_close(g);
    return rc;
}

void gguf_close(struct gguf *g) {
    if (!g) {
        return;
    }
    for (size_t i = 0; i < g->n_part; i++) {
        os_map_close(&g->part[i]);
    }
    mem_free(g->part);
    mem_free(g->by_name);
    mem_free(g->by_key);
    mem_free(g->tensor);
    mem_free(g->kv);
    mem_free(g->path);
    arena_fini(&g->own);
    mem_free(g);
}

bool gguf_lost(const struct gguf *g) {
    for (size_t i = 0; i < g->n_part; i++) {
        if (g->part[i].lost) {
            return true;
        }
    }
    return false;
}
