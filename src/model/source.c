/* source.c: see source.h.
 */
#include "model/source.h"

#include <string.h>

#include "model/config.h"
#include "model/hf.h"

enum { CONFIG_MAX = 16 << 20 };

bool source_is_folder(const char *path) {
    struct os_file_info info;
    return os_file_info(path, &info, NULL) == ERR_OK && info.is_folder;
}

/* A folder on its way to a directory. */
struct opening {
    struct gguf_build b;
    struct hf_folder f;
    struct json *config; /* config.json; NULL if there is none */
    struct hf_texts texts;
    struct err *e;
};

/* The model's name: its folder's, as other converters have it. */
static void put_name(struct gguf_build *b, const char *path) {
    size_t end = strlen(path), start;
    while (end > 1 && path[end - 1] == '/') {
        end--;
    }
    for (start = end; start > 0 && path[start - 1] != '/';) {
        start--;
    }
    gguf_build_str(b, "general.name", str_of(path + start, end - start));
}

/* A tensor of a directory whose tables are not sorted yet; NULL if there is none. */
static const struct gguf_tensor *find_tensor(const struct gguf *g, const char *name) {
    for (size_t i = 0; i < g->n_tensor; i++) {
        if (str_is(g->tensor[i].name, name)) {
            return &g->tensor[i];
        }
    }
    return NULL;
}

static uint32_t embedding_rows(const struct gguf *g) {
    const struct gguf_tensor *t = find_tensor(g, "token_embd.weight");
    return !t ? 0 : t->dim[1] < UINT32_MAX ? (uint32_t)t->dim[1] : UINT32_MAX;
}

/* What config.json says is true or false of the text model: 1, 0, or -1 for nothing. */
static int flag_of(const struct json *config, const char *name) {
    const struct json *text = json_find(config, "text_config");
    const struct json *own =
        text && json_kind(text) == JSON_IS_OBJECT ? json_find(text, name) : NULL;
    own = own ? own : json_find(config, name);
    return own && json_kind(own) == JSON_IS_BOOL ? json_bool(own) : -1;
}

/* The files with weights, for messages: the first three, and how many more. */
static enum err_code name_shards(struct opening *o) {
    struct buf b;
    const struct hf_folder *f = &o->f;
    buf_init(&b, 4096);
    for (size_t i = 0; i < f->n_shard && i < 3; i++) {
        buf_printf(&b, "%s%s", i ? ", " : "", f->name[i]);
    }
    if (f->n_shard > 3) {
        buf_printf(&b, " and %zu more", f->n_shard - 3);
    }
    enum err_code rc = buf_check(&b, o->e);
    if (!rc) {
        o->b.g->shards = gguf_build_copy(&o->b, str_of(b.p, b.len));
        rc = o->b.code;
    }
    buf_fini(&b);
    return rc;
}

static enum err_code put_weights(struct opening *o, bool copy) {
    const struct arch *a;
    struct gguf_build *b = &o->b;
    char *where = hf_folder_path_of(o->f.path, "config.json");
    enum err_code rc = where ? hf_config(b, &a, o->config, where, o->e)
                             : err_set(o->e, ERR_NOMEM, "out of memory opening a folder");
    mem_free(where);
    if (rc || (rc = name_shards(o)) || (rc = gguf_build_parts(b, o->f.n_shard)) ||
        (rc = hf_folder_open(&o->f, b->g->part, &b->g->n_part, copy, o->e))) {
        return rc;
    }
    b->g->rope_halves = true;
    if ((rc = hf_pooling(b, a, &o->texts))) {
        return rc;
    }
    int tied = flag_of(o->config, "tie_word_embeddings");
    b->g->own_output = tied == 0;
    rc = hf_tensors(b, a, &o->f, hf_known_int(b, a, "block_count"),
                    hf_known_int(b, a, "expert_count"), tied == 1, o->e);
    if (!rc && !a->qkv_bias && flag_of(o->config, "attention_bias") == 0 &&
        find_tensor(b->g, "blk.0.attn_q.bias")) {
        rc = err_set(o->e, ERR_FORMAT,
                     "'attention_bias' is false, but the layers have biases of attention");
    }
    return rc;
}

static enum err_code put_all(struct opening *o, bool copy) {
    bool found = false;
    const char *path = o->f.path;
    enum err_code rc = hf_folder_json(path, "config.json", CONFIG_MAX, &o->config, o->e);
    put_name(&o->b, path);
    o->texts = (struct hf_texts){.path = path, .config = o->config, .e = o->e};
    rc = rc ? rc : hf_texts_open(&o->texts);
    if (!rc && o->f.n_shard) {
        rc = o->config ? put_weights(o, copy)
                       : err_set(o->e, ERR_FORMAT, "the folder has weights but no config.json");
    }
    rc = rc ? rc : hf_text(&o->b, &o->texts, o->b.g ? embedding_rows(o->b.g) : 0, &found);
    if (!rc && !found) {
        rc = err_set(o->e, ERR_FORMAT, "the folder has %s",
                     o->f.n_shard ? "no tokenizer.json and no tokenizer.model"
                                  : "neither weights nor a tokenizer: it is no model's");
    }
    if (rc && rc != ERR_NOMEM && o->e && !o->e->where[0]) {
        err_where(o->e, "%s", path);
    }
    return rc;
}

static enum err_code open_folder(struct gguf **g, const char *path, bool copy, struct err *e) {
    struct opening o = {.e = e};
    *g = NULL;
    gguf_build_begin(&o.b, path, e);
    enum err_code rc = o.b.code ? o.b.code : hf_folder_find(&o.f, path, e);
    rc = rc ? rc : put_all(&o, copy);
    o.b.code = o.b.code ? o.b.code : rc;
    rc = gguf_build_end(&o.b, g);
    hf_texts_close(&o.texts);
    json_free(o.config);
    hf_folder_close(&o.f);
    return rc;
}

enum err_code source_open(struct gguf **g, const char *path, bool copy, struct err *e) {
    return source_is_folder(path) ? open_folder(g, path, copy, e) : gguf_open(g, path, copy, e);
}
