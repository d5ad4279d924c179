/* gguf_build.c: see gguf_build.h.
 *
 * Values are encoded as the file format has them, so that the readers of gguf_get.c need not know.
 */
#include "format/gguf_build.h"

#include <string.h>

#include "base/half.h"
#include "format/gguf_parse.h"

static void fail_memory(struct gguf_build *b) {
    if (!b->code) {
        b->code = err_set(b->e, ERR_NOMEM, "out of memory for a model's directory");
    }
}

static bool good(const struct gguf_build *b) {
    return b->g && !b->code;
}

void gguf_build_begin(struct gguf_build *b, const char *path, struct err *e) {
    *b = (struct gguf_build){.e = e};
    b->g = mem_zalloc(1, sizeof *b->g);
    if (!b->g) {
        fail_memory(b);
        return;
    }
    arena_init(&b->g->own, 0);
    b->g->alignment = 1;
    b->g->path = mem_strdup(path, strlen(path));
    if (!b->g->path) {
        fail_memory(b);
    }
}

enum err_code gguf_build_end(struct gguf_build *b, struct gguf **g) {
    if (good(b)) {
        b->code = gguf_index_keys(b->g, b->e);
    }
    if (good(b)) {
        b->code = gguf_index_names(b->g, b->e);
    }
    if (b->code) {
        gguf_close(b->g);
        b->g = NULL;
    }
    *g = b->g;
    return b->code;
}

enum err_code gguf_build_parts(struct gguf_build *b, size_t n) {
    if (good(b) && !(b->g->part = mem_zalloc(n, sizeof *b->g->part))) {
        fail_memory(b);
    }
    return b->code;
}

void *gguf_build_alloc(struct gguf_build *b, size_t n, size_t size) {
    void *p = good(b) ? arena_alloc(&b->g->own, n, size) : NULL;
    if (!p) {
        fail_memory(b);
    }
    return p;
}

struct str gguf_build_copy(struct gguf_build *b, struct str s) {
    char *p = gguf_build_alloc(b, s.n + 1, 1);
    if (!p) {
        return str_of("", 0);
    }
    if (s.n) {
        memcpy(p, s.p, s.n);
    }
    p[s.n] = '\0';
    return str_of(p, s.n);
}

/* Doubles a table of at least n + 1 elements; false (latched) when there is no memory. */
static bool room(struct gguf_build *b, void **table, size_t n, size_t *cap, size_t size) {
    if (n < *cap) {
        return true;
    }
    size_t more = *cap ? 2 * *cap : 64;
    void *grown = mem_realloc(*table, more, size);
    if (!grown) {
        fail_memory(b);
        return false;
    }
    *table = grown;
    *cap = more;
    return true;
}

/* A pair whose value has `bytes` bytes, to be written to what is returned; NULL on failure. */
static uint8_t *put_kv(struct gguf_build *b, const char *key, struct gguf_kv kv) {
    if (!good(b)) {
        return NULL;
    }
    void *table = b->g->kv;
    if (!room(b, &table, b->g->n_kv, &b->cap_kv, sizeof kv)) {
        return NULL;
    }
    b->g->kv = table;
    uint8_t *data = gguf_build_alloc(b, kv.bytes ? (size_t)kv.bytes : 1, 1);
    kv.key = gguf_build_copy(b, str_c(key));
    if (b->code) {
        return NULL;
    }
    kv.data = data;
    b->g->kv[b->g->n_kv++] = kv;
    return data;
}

static void store(uint8_t *p, uint64_t v, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        p[i] = (uint8_t)(v >> (8 * i));
    }
}

static void put_number(struct gguf_build *b, const char *key, enum gguf_type type, uint64_t v,
                       const char *from) {
    size_t bytes = gguf_type_size(type);
    struct gguf_kv kv = {.type = type, .elem = type, .n = 1, .bytes = bytes, .from = from};
    uint8_t *p = put_kv(b, key, kv);
    if (p) {
        store(p, v, bytes);
    }
}

void gguf_build_u32(struct gguf_build *b, const char *key, uint32_t v, const char *from) {
    put_number(b, key, GGUF_U32, v, from);
}

void gguf_build_f32(struct gguf_build *b, const char *key, float v, const char *from) {
    put_number(b, key, GGUF_F32, f32_bits(v), from);
}

void gguf_build_bool(struct gguf_build *b, const char *key, bool v) {
    put_number(b, key, GGUF_BOOL, v, NULL);
}

static uint8_t *store_str(uint8_t *p, struct str s) {
    store(p, s.n, 8);
    if (s.n) {
        memcpy(p + 8, s.p, s.n);
    }
    return p + 8 + s.n;
}

void gguf_build_str(struct gguf_build *b, const char *key, struct str v) {
    uint8_t *p = put_kv(
        b, key,
        (struct gguf_kv){.type = GGUF_STRING, .elem = GGUF_STRING, .n = 1, .bytes = 8 + v.n});
    if (p) {
        store_str(p, v);
    }
}

void gguf_build_strs(struct gguf_build *b, const char *key, const struct str *v, size_t n) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        bytes += 8 + v[i].n; /* of strings that are in memory */
    }
    uint8_t *p = put_kv(
        b, key, (struct gguf_kv){.type = GGUF_ARRAY, .elem = GGUF_STRING, .n = n, .bytes = bytes});
    for (size_t i = 0; p && i < n; i++) {
        p = store_str(p, v[i]);
    }
}

void gguf_build_i32s(struct gguf_build *b, const char *key, const int32_t *v, size_t n) {
    uint8_t *p = put_kv(
        b, key, (struct gguf_kv){.type = GGUF_ARRAY, .elem = GGUF_I32, .n = n, .bytes = 4 * n});
    for (size_t i = 0; p && i < n; i++) {
        store(p + 4 * i, (uint32_t)v[i], 4);
    }
}

void gguf_build_reals(struct gguf_build *b, const char *key, const double *v, size_t n) {
    bool single = true;
    for (size_t i = 0; i < n; i++) {
        single = single && (double)(float)v[i] == v[i];
    }
    size_t size = single ? 4 : 8;
    uint8_t *p = put_kv(
        b, key,
        (struct gguf_kv){
            .type = GGUF_ARRAY, .elem = single ? GGUF_F32 : GGUF_F64, .n = n, .bytes = size * n});
    for (size_t i = 0; p && i < n; i++) {
        uint64_t bits;
        memcpy(&bits, &v[i], sizeof bits);
        store(p + size * i, single ? f32_bits((float)v[i]) : bits, size);
    }
}

void gguf_build_bytes(struct gguf_build *b, const char *key, struct str v) {
    uint8_t *p = put_kv(
        b, key, (struct gguf_kv){.type = GGUF_ARRAY, .elem = GGUF_U8, .n = v.n, .bytes = v.n});
    if (p && v.n) {
        memcpy(p, v.p, v.n);
    }
}

void gguf_build_tensor(struct gguf_build *b, const struct gguf_tensor *t) {
    if (!good(b)) {
        return;
    }
    void *table = b->g->tensor;
    if (!room(b, &table, b->g->n_tensor, &b->cap_tensor, sizeof *t)) {
        return;
    }
    b->g->tensor = table;
    struct gguf_tensor copy = *t;
    copy.name = gguf_build_copy(b, t->name);
    copy.from = gguf_build_copy(b, t->from);
    if (!b->code) {
        b->g->tensor[b->g->n_tensor++] = copy;
    }
}
