/* hf_folder.c: see hf_folder.h.
 */
#include "format/hf_folder.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json_scan.h"
#include "base/log.h"

#define SINGLE "model.safetensors"
#define INDEX  "model.safetensors.index.json"

enum { INDEX_MAX = 64 << 20, NAME_MAX_BYTES = 255 };

/* ---- paths ------------------------------------------------------------------------------ */

char *hf_folder_path_of(const char *path, const char *name) {
    struct buf b;
    buf_init(&b, 65536);
    buf_printf(&b, "%s/%s", path, name);
    char *copy = b.failed ? NULL : mem_strdup(b.p, b.len);
    buf_fini(&b);
    return copy;
}

enum err_code hf_folder_read(const char *path, const char *name, size_t max, char **text, size_t *n,
                             struct err *e) {
    char *file = hf_folder_path_of(path, name);
    enum err_code rc = ERR_OK;
    *text = NULL;
    *n = 0;
    if (!file) {
        return err_set(e, ERR_NOMEM, "out of memory reading '%s'", name);
    }
    if (os_file_exists(file)) {
        rc = os_read_file(file, max, text, n, e);
    }
    mem_free(file);
    return rc;
}

enum err_code hf_folder_json(const char *path, const char *name, size_t max, struct json **root,
                             struct err *e) {
    char *text;
    size_t n;
    enum err_code rc = hf_folder_read(path, name, max, &text, &n, e);
    *root = NULL;
    if (rc || !text) {
        return rc;
    }
    rc = json_parse(text, n, root, e);
    if (rc && rc != ERR_NOMEM) {
        err_where(e, "%s/%s", path, name);
    }
    mem_free(text);
    return rc;
}

static bool file_there(const struct hf_folder *f, const char *name, bool *there) {
    char *file = hf_folder_path_of(f->path, name);
    *there = file && os_file_exists(file);
    mem_free(file);
    return file != NULL;
}

static enum err_code no_memory(const struct hf_folder *f, struct err *e) {
    return err_set(e, ERR_NOMEM, "out of memory for the files of %s", f->path);
}

/* ---- what is there ---------------------------------------------------------------------- */

static bool is_pickle(const char *name) {
    static const char *const ends[] = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        if (str_ends(str_c(name), ends[i])) {
            return true;
        }
    }
    return false;
}

/* No safetensors to open: says so where there are weights of another kind. */
static enum err_code look_around(const struct hf_folder *f, struct err *e) {
    char **names = NULL;
    size_t n = 0;
    const char *pickle = NULL, *other = NULL, *gguf = NULL;
    bool there = true;
    enum err_code rc = os_list(f->path, &names, &n, e);
    for (size_t i = 0; !rc && i < n; i++) {
        pickle = !pickle && is_pickle(names[i]) ? names[i] : pickle;
        other = !other && str_ends(str_c(names[i]), ".safetensors") ? names[i] : other;
        gguf = !gguf && str_ends(str_c(names[i]), ".gguf") ? names[i] : gguf;
    }
    if (other && !file_there(f, other, &there)) {
        rc = no_memory(f, e);
    } else if (gguf) {
        rc = err_set(e, ERR_USAGE, "a folder with GGUF files is no model: give one of the files");
        err_hint(e, "--model %s/%s", f->path, gguf);
    } else if (!there) { /* in the cache of a hub, whose files are links to others */
        rc = err_set(e, ERR_FORMAT, "'%s' is a link that leads to no file", other);
        err_hint(e, "get the model again, or what the link leads to");
    } else if (other) {
        rc = err_set(e, ERR_FORMAT, "'%s' is there, but neither " SINGLE " nor " INDEX, other);
        err_hint(e, "get the whole model again, with its index");
    } else if (pickle) {
        rc = err_set(e, ERR_UNSUPPORTED,
                     "'%s' is a pickle: to read it is to run whatever program is in it", pickle);
        err_hint(e, "get the model as safetensors, or write it so where you trust it");
    }
    if (rc) {
        err_where(e, "%s", f->path);
    }
    mem_free(names);
    return rc;
}

/* ---- the index -------------------------------------------------------------------------- */

/* A name of a file in this folder, and nothing else. */
static bool is_shard_name(struct str s) {
    return s.n > 0 && s.n <= NAME_MAX_BYTES && s.p[0] != '.' && !memchr(s.p, '/', s.n) &&
           !memchr(s.p, '\\', s.n) && !memchr(s.p, '\0', s.n) && !memchr(s.p, ':', s.n) &&
           str_ends(s, ".safetensors");
}

static struct str unescape(struct hf_folder *f, struct str text) {
    char *p = arena_alloc(&f->mem, text.n + 1, 1);
    if (!p) {
        return str_of(NULL, 0);
    }
    size_t n = json_unescape(text, p);
    p[n] = '\0';
    return str_of(p, n);
}

/* The number of the shard of that name, which is taken up if it is new. */
static enum err_code take_shard(struct hf_folder *f, struct json_scan *s, struct str text,
                                uint32_t *shard) {
    struct str name = unescape(f, text);
    if (!name.p) {
        return no_memory(f, s->e);
    }
    if (!is_shard_name(name)) {
        err_set(s->e, ERR_FORMAT, "'%.*s' is no name of a safetensors file in this folder",
                (int)(name.n < 80 ? name.n : 80), name.p);
        json_scan_fail(s, ERR_FORMAT);
        return s->code;
    }
    for (size_t i = f->n_shard; i-- > 0;) {
        if (strcmp(f->name[i], name.p) == 0) {
            *shard = (uint32_t)i;
            return ERR_OK;
        }
    }
    if (f->n_shard == HF_FOLDER_MAX_SHARD) {
        err_set(s->e, ERR_LIMIT, "more than %d files of weights", HF_FOLDER_MAX_SHARD);
        json_scan_fail(s, ERR_LIMIT);
        return s->code;
    }
    if (!(f->name[f->n_shard] = mem_strdup(name.p, name.n))) {
        return no_memory(f, s->e);
    }
    *shard = (uint32_t)f->n_shard++;
    return ERR_OK;
}

static int compare_str(struct str a, struct str b) {
    size_t n = a.n < b.n ? a.n : b.n;
    int d = memcmp(a.p, b.p, n);
    return d ? d : (a.n > b.n) - (a.n < b.n);
}

static int compare_entry(const void *a, const void *b) {
    return compare_str(((const struct hf_folder_entry *)a)->tensor,
                       ((const struct hf_folder_entry *)b)->tensor);
}

/* "weight_map" of the index; with f->entry NULL only counts. */
static enum err_code walk_map(struct hf_folder *f, struct json_scan *s) {
    struct json_value v;
    struct str key;
    size_t n = 0;
    if (!json_scan_open(s, '{')) {
        return s->code;
    }
    while (json_scan_next(s, &key) && json_scan_value(s, &v)) {
        if (v.kind != JSON_IS_STR || n == SAFETENSORS_MAX_TENSOR) {
            err_set(s->e, ERR_FORMAT, "'weight_map' %s",
                    n < SAFETENSORS_MAX_TENSOR ? "holds something that is no name"
                                               : "is longer than any model's");
            json_scan_fail(s, ERR_FORMAT);
        } else if (f->entry) {
            struct hf_folder_entry *x = &f->entry[n];
            enum err_code rc = take_shard(f, s, v.text, &x->shard);
            x->tensor = unescape(f, key);
            if (rc || !x->tensor.p) {
                return rc ? rc : no_memory(f, s->e);
            }
        }
        n++;
    }
    f->n_entry = n;
    return s->code;
}

static enum err_code walk_index(struct hf_folder *f, const char *text, size_t n, struct err *e) {
    struct json_scan s;
    struct json_value v;
    struct str key;
    unsigned maps = 0;
    json_scan_begin(&s, text, n, e);
    json_scan_open(&s, '{');
    while (json_scan_next(&s, &key)) {
        if (!json_text_is(key, "weight_map")) {
            json_scan_value(&s, &v);
            continue;
        }
        enum err_code rc = maps++ ? ERR_OK : walk_map(f, &s);
        if (rc) {
            return rc;
        }
        if (maps > 1) {
            err_set(e, ERR_FORMAT, "'weight_map' is there twice");
            json_scan_fail(&s, ERR_FORMAT);
        }
    }
    enum err_code rc = json_scan_end(&s);
    return rc || maps ? rc : err_set(e, ERR_FORMAT, "'weight_map' is missing");
}

static enum err_code read_index(struct hf_folder *f, const char *text, size_t n, struct err *e) {
    enum err_code rc = walk_index(f, text, n, e);
    if (rc) {
        return rc;
    }
    f->entry = mem_zalloc(f->n_entry, sizeof *f->entry);
    f->name = mem_zalloc(HF_FOLDER_MAX_SHARD, sizeof *f->name);
    if (!f->entry || !f->name) {
        return no_memory(f, e);
    }
    if ((rc = walk_index(f, text, n, e))) {
        return rc;
    }
    qsort(f->entry, f->n_entry, sizeof *f->entry, compare_entry);
    for (size_t i = 1; i < f->n_entry; i++) {
        if (compare_entry(&f->entry[i - 1], &f->entry[i]) == 0) {
            struct str name = f->entry[i].tensor;
            return err_set(e, ERR_FORMAT, "tensor '%.*s' is in 'weight_map' twice",
                           (int)(name.n < 80 ? name.n : 80), name.p);
        }
    }
    return f->n_shard ? ERR_OK : err_set(e, ERR_FORMAT, "'weight_map' is empty");
}

enum err_code hf_folder_find(struct hf_folder *f, const char *path, struct err *e) {
    bool single = false;
    char *text = NULL;
    size_t n = 0;
    *f = (struct hf_folder){.path = mem_strdup(path, strlen(path))};
    arena_init(&f->mem, 0);
    if (!f->path || !file_there(f, SINGLE, &single)) {
        return err_set(e, ERR_NOMEM, "out of memory opening '%s'", path);
    }
    if (single) {
        f->name = mem_zalloc(1, sizeof *f->name);
        if (!f->name || !(f->name[0] = mem_strdup(SINGLE, strlen(SINGLE)))) {
            return no_memory(f, e);
        }
        f->n_shard = 1;
        return ERR_OK;
    }
    enum err_code rc = hf_folder_read(path, INDEX, INDEX_MAX, &text, &n, e);
    if (rc || !text) {
        return rc ? rc : look_around(f, e);
    }
    if ((rc = read_index(f, text, n, e)) && rc != ERR_NOMEM) {
        err_where(e, "%s/" INDEX, path);
    }
    mem_free(text);
    return rc;
}

/* ---- the shards ------------------------------------------------------------------------- */

static const struct hf_folder_entry *find_entry(const struct hf_folder *f, struct str tensor) {
    const struct hf_folder_entry want = {.tensor = tensor};
    return f->n_entry ? bsearch(&want, f->entry, f->n_entry, sizeof want, compare_entry) : NULL;
}

bool hf_folder_has(const struct hf_folder *f, size_t shard, struct str tensor) {
    const struct hf_folder_entry *x = f->entry ? find_entry(f, tensor) : NULL;
    return !f->entry || (x && x->shard == shard);
}

/* Every line of the index must be true, and no tensor may be in a second file, too. */
static enum err_code check_index(const struct hf_folder *f, struct err *e) {
    for (size_t i = 0; i < f->n_entry; i++) {
        const struct hf_folder_entry *x = &f->entry[i];
        if (!safetensors_find(f->dir[x->shard], x->tensor)) {
            err_set(e, ERR_FORMAT, "tensor '%.*s' is missing, though the index names it",
                    (int)(x->tensor.n < 80 ? x->tensor.n : 80), x->tensor.p);
            err_where(e, "%s/%s", f->path, f->name[x->shard]);
            return ERR_FORMAT;
        }
    }
    for (size_t s = 0; f->entry && s < f->n_shard; s++) {
        size_t more = 0;
        for (size_t i = 0; i < f->dir[s]->n_tensor; i++) {
            struct str name = f->dir[s]->tensor[i].name;
            const struct hf_folder_entry *x = find_entry(f, name);
            if (x && x->shard != s) {
                err_set(e, ERR_FORMAT, "tensor '%.*s' is in two files",
                        (int)(name.n < 80 ? name.n : 80), name.p);
                err_where(e, "%s: %s and %s", f->path, f->name[x->shard], f->name[s]);
                return ERR_FORMAT;
            }
            more += !x;
        }
        if (more) {
            log_line(LOG_WARN, "%s/%s: %zu tensors are not in the index, and not used", f->path,
                     f->name[s], more);
        }
    }
    return ERR_OK;
}

static enum err_code open_shard(struct hf_folder *f, size_t i, struct os_map *map, size_t *n_map,
                                bool copy, struct err *e) {
    char *file = hf_folder_path_of(f->path, f->name[i]);
    if (!file) {
        return no_memory(f, e);
    }
    enum err_code rc = os_map_open(&map[i], file, copy, e);
    if (rc == ERR_NOTFOUND) {
        err_hint(
            e, "it is one of the %zu files that the index names: get it, or the whole model again",
            f->n_shard);
    } else if (!rc) {
        ++*n_map;
        rc = safetensors_parse(&f->dir[i], file, map[i].data, map[i].size, e);
        if (map[i].lost) {
            err_clear(e);
            rc = err_set(e, ERR_IO, "the file could not be read to its end");
            err_where(e, "%s", file);
        }
    }
    mem_free(file);
    return rc;
}

enum err_code hf_folder_open(struct hf_folder *f, struct os_map *map, size_t *n_map, bool copy,
                             struct err *e) {
    enum err_code rc = ERR_OK;
    *n_map = 0;
    f->dir = mem_zalloc(f->n_shard, sizeof(struct safetensors *));
    if (!f->dir) {
        return no_memory(f, e);
    }
    for (size_t i = 0; i < f->n_shard && !rc; i++) {
        rc = open_shard(f, i, map, n_map, copy, e);
    }
    return rc ? rc : check_index(f, e);
}

void hf_folder_close(struct hf_folder *f) {
    for (size_t i = 0; i < f->n_shard; i++) {
        mem_free(f->name[i]);
        if (f->dir) {
            safetensors_free(f->dir[i]);
        }
    }
    mem_free(f->name);
    mem_free(f->dir);
    mem_free(f->entry);
    mem_free(f->path);
    arena_fini(&f->mem);
    *f = (struct hf_folder){0};
}
