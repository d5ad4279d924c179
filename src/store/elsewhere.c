/* elsewhere.c: see elsewhere.h.
 *
 * Owns the walk over foreign folders. A name that could not be one of the store's is left out.
 */
#include "store/elsewhere.h"

#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"
#include "store/store_part.h"

enum { MANIFEST_MOST = 1 << 20, MODELS_MOST = 4096 };

void elsewhere_init(struct buf *out) {
    buf_init(out, MODELS_MOST * sizeof(struct elsewhere_model));
}

struct elsewhere_model *elsewhere_at(const struct buf *out, size_t *n) {
    *n = out->len / sizeof(struct elsewhere_model);
    return (struct elsewhere_model *)(void *)out->p;
}

static void model_free(struct elsewhere_model *m) {
    mem_free(m->name);
    mem_free(m->path);
    mem_free(m->here);
}

void elsewhere_fini(struct buf *out) {
    size_t n;
    struct elsewhere_model *m = elsewhere_at(out, &n);
    for (size_t i = 0; i < n; i++) {
        model_free(&m[i]);
    }
    buf_fini(out);
}

/* Takes *m, whose strings are there but for those that memory ran out for. */
static enum err_code add(struct buf *out, struct elsewhere_model *m, struct err *e) {
    enum err_code rc = m->name && m->path && m->here
                           ? ERR_OK
                           : err_set(e, ERR_NOMEM, "out of memory for a list of models");
    if (!rc && name_is_plain(m->here, strlen(m->here)) && os_file_exists(m->path)) {
        buf_put(out, m, sizeof *m);
        if (!(rc = buf_check(out, e))) {
            return ERR_OK;
        }
    }
    model_free(m);
    return rc;
}

/* Calls fn(arg, path, name) for each name of a folder that does not begin with a dot. */
static enum err_code each(const char *path,
                          enum err_code (*fn)(void *arg, const char *path, const char *name,
                                              struct err *e),
                          void *arg, struct err *e) {
    char **names = NULL;
    size_t n = 0;
    enum err_code rc = os_list(path, &names, &n, NULL);
    rc = rc == ERR_NOMEM ? err_set(e, ERR_NOMEM, "out of memory for a list of models") : ERR_OK;
    for (size_t i = 0; i < n && !rc; i++) {
        rc = names[i][0] == '.' ? ERR_OK : fn(arg, path, names[i], e);
    }
    mem_free(names);
    return rc;
}

/* ---- Ollama: MODELS/manifests/HOST/SPACE/NAME/TAG and MODELS/blobs/sha256-HASH
 * ------------------- */

struct ollama {
    const char *models;
    const char *name; /* of the model whose tags are walked */
    struct buf *out;
    int depth;
};

/* The hash of the layer that is the model, in hex; false if the manifest has none. */
static bool manifest_hash(const char *text, size_t n, char hex[65]) {
    struct json *root;
    bool found = false;
    if (json_parse(text, n, &root, NULL)) {
        return false;
    }
    const struct json *layers = json_find(root, "layers");
    for (size_t i = 0; i < json_count(layers) && !found; i++) {
        const struct json *layer = json_at(layers, i);
        struct str kind = json_str(json_find(layer, "mediaType"));
        struct str digest = json_str(json_find(layer, "digest"));
        if (str_is(kind, "application/vnd.ollama.image.model") && digest.n == 71 &&
            memcmp(digest.p, "sha256:", 7) == 0 && strspn(digest.p + 7, "0123456789abcdef") >= 64) {
            memcpy(hex, digest.p + 7, 64);
            hex[64] = '\0';
            found = true;
        }
    }
    json_free(root);
    return found;
}

static enum err_code ollama_tag(const struct ollama *o, const char *path, const char *tag,
                                struct err *e) {
    struct elsewhere_model m = {.kind = ELSEWHERE_OLLAMA};
    char *manifest, *text = NULL;
    size_t n = 0;
    enum err_code rc = store_path(&manifest, e, "%s/%s", path, tag);
    if (!rc && !os_read_file(manifest, MANIFEST_MOST, &text, &n, NULL) &&
        manifest_hash(text, n, m.sha256)) {
        if (!(rc = store_path(&m.name, e, "%s:%s", o->name, tag)) &&
            !(rc = store_path(&m.path, e, "%s/blobs/sha256-%s", o->models, m.sha256)) &&
            !(rc = store_path(&m.here, e, "%s-%s.gguf", o->name, tag))) {
            rc = add(o->out, &m, e);
        } else {
            model_free(&m);
        }
    }
    mem_free(text);
    mem_free(manifest);
    return rc;
}

/* One level of the manifests: host, space, name, tag. */
static enum err_code ollama_walk(void *arg, const char *path, const char *name, struct err *e) {
    struct ollama o = *(const struct ollama *)arg;
    char *below;
    if (o.depth == 3) {
        return ollama_tag(&o, path, name, e);
    }
    enum err_code rc = store_path(&below, e, "%s/%s", path, name);
    o.depth++;
    o.name = name;
    rc = rc ? rc : each(below, ollama_walk, &o, e);
    mem_free(below);
    return rc;
}

enum err_code elsewhere_ollama(const char *models, struct buf *out, struct err *e) {
    struct ollama o = {.models = models, .out = out};
    char *path;
    enum err_code rc = store_path(&path, e, "%s/manifests", models);
    rc = rc ? rc : each(path, ollama_walk, &o, e);
    mem_free(path);
    return rc;
}

/* ---- Hugging Face: HUB/models--ORG--NAME/refs/main, snapshots/REVISION/ ---------------------- */

/* The revision that refs/main names, in out [n]. */
static bool revision_read(const char *path, char *out, size_t n) {
    char *refs;
    size_t got = 0;
    if (store_path(&refs, NULL, "%s/refs/main", path)) {
        return false;
    }
    bool ok = !os_read_head(refs, out, n, &got, NULL);
    mem_free(refs);
    out[strcspn(out, "\r\n")] = '\0';
    return ok && name_is_plain(out, strlen(out));
}

/* "models--Qwen--Qwen2.5-0.5B" -> "Qwen/Qwen2.5-0.5B". */
static char *hub_name(const char *folder) {
    const char *rest = folder + strlen("models--");
    size_t n = strlen(rest);
    char *name = mem_strdup(rest, n);
    char *split = name ? strstr(name, "--") : NULL;
    if (split) {
        *split = '/';
        memmove(split + 1, split + 2, strlen(split + 2) + 1);
    }
    return name;
}

static bool is_gguf(const char *file) {
    return str_ends(str_c(file), ".gguf");
}

/* A GGUF file of a revision, a model by itself and called so where it is not the only one; or the
 * revision as a folder. */
static enum err_code hub_add(struct buf *out, const char *folder, const char *path,
                             const char *file, bool only, struct err *e) {
    struct elsewhere_model m = {.kind = ELSEWHERE_HUGGING_FACE, .name = hub_name(folder)};
    char *repository = m.name;
    if (repository && file && !only) {
        m.name = NULL;
        store_path(&m.name, NULL, "%s/%s", repository, file);
        mem_free(repository);
    }
    if (m.name) {
        const char *slash = strrchr(m.name, '/');
        m.here = file ? mem_strdup(file, strlen(file))
                      : mem_strdup(slash ? slash + 1 : m.name, strlen(slash ? slash + 1 : m.name));
    }
    enum err_code rc =
        file ? store_path(&m.path, e, "%s/%s", path, file) : store_path(&m.path, e, "%s", path);
    if (rc) {
        model_free(&m);
        return rc;
    }
    return add(out, &m, e);
}

static enum err_code hub_walk(void *arg, const char *path, const char *name, struct err *e) {
    char *model, *snapshot = NULL, revision[128], **files = NULL;
    size_t n = 0;
    if (strncmp(name, "models--", 8) != 0) {
        return ERR_OK;
    }
    enum err_code rc = store_path(&model, e, "%s/%s", path, name);
    if (rc || !revision_read(model, revision, sizeof revision) ||
        (rc = store_path(&snapshot, e, "%s/snapshots/%s", model, revision)) ||
        os_list(snapshot, &files, &n, NULL)) {
        goto done;
    }
    bool folder = false;
    size_t n_file = 0;
    for (size_t i = 0; i < n; i++) {
        folder = folder || strcmp(files[i], "config.json") == 0;
        n_file += is_gguf(files[i]);
    }
    for (size_t i = 0; i < n && !rc; i++) {
        if (is_gguf(files[i])) {
            rc = hub_add(arg, name, snapshot, files[i], n_file == 1 && !folder, e);
        }
    }
    if (!rc && folder) {
        rc = hub_add(arg, name, snapshot, NULL, true, e);
    }
done:
    mem_free(files);
    mem_free(snapshot);
    mem_free(model);
    return rc;
}

enum err_code elsewhere_hugging_face(const char *hub, struct buf *out, struct err *e) {
    return each(hub, hub_walk, out, e);
}
