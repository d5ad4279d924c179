/* gguf_builder.h: makes GGUF files, right ones and wrong ones, for the tests of any folder.
 *
 * Owns three growing buffers (pairs, tensor directory, tensor data), joined by builder_take or
 * builder_write. Refuses to judge: whatever it is told to declare it declares, so that a hostile
 * file is a right one with a field overridden. Not for the program: it allocates with malloc and
 * ends the test when memory is short. Header only: a test includes it and needs base, no more.
 *
 *     struct builder b;
 *     builder_init(&b);
 *     builder_kv_str(&b, "general.architecture", "llama");
 *     builder_kv_u32(&b, "llama.block_count", 2);
 *     builder_tensor(&b, "token_embd.weight", DT_F32, 2, (uint64_t[]){32, 100}, data);
 *     builder_write(&b, path);
 *     builder_fini(&b);
 */
#ifndef IGN_TESTS_FORMAT_GGUF_BUILDER_H
#define IGN_TESTS_FORMAT_GGUF_BUILDER_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/dtype.h"

/* Value types by their numbers in the file; the same as enum gguf_type. */
enum builder_type {
    BT_U8,
    BT_I8,
    BT_U16,
    BT_I16,
    BT_U32,
    BT_I32,
    BT_F32,
    BT_BOOL,
    BT_STRING,
    BT_ARRAY,
    BT_U64,
    BT_I64,
    BT_F64
};

struct builder_bytes {
    uint8_t *p;
    size_t n, cap;
};

struct builder {
    uint32_t version;        /* 3 */
    uint32_t alignment;      /* 32; builder_align also writes the key */
    uint64_t n_kv, n_tensor; /* as the header will declare them: may be overwritten */
    struct builder_bytes kv, info, data;
    size_t pad; /* zero bytes after the last tensor's data */
};

static inline void builder_append(struct builder_bytes *b, const void *p, size_t n) {
    if (b->n + n > b->cap) {
        b->cap = 2 * b->cap + n + 64;
        b->p = (uint8_t *)realloc(b->p, b->cap);
        if (!b->p) {
            abort();
        }
    }
    if (n) {
        memcpy(b->p + b->n, p, n);
    }
    b->n += n;
}

static inline void builder_append_zeros(struct builder_bytes *b, size_t n) {
    static const uint8_t zero[64];
    for (; n; n -= n < sizeof zero ? n : sizeof zero) {
        builder_append(b, zero, n < sizeof zero ? n : sizeof zero);
    }
}

static inline void builder_append_int(struct builder_bytes *b, uint64_t v, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        uint8_t c = (uint8_t)(v >> (8 * i));
        builder_append(b, &c, 1);
    }
}

/* u64 length and bytes. */
static inline void builder_append_str(struct builder_bytes *b, const char *s, size_t n) {
    builder_append_int(b, n, 8);
    builder_append(b, s, n);
}

static inline void builder_init(struct builder *b) {
    *b = (struct builder){.version = 3, .alignment = 32};
}

static inline void builder_fini(struct builder *b) {
    free(b->kv.p);
    free(b->info.p);
    free(b->data.p);
    *b = (struct builder){0};
}

/* ---- pairs ----------------------------------------------------------------------------- */

/* A pair of any type number whose value is the given bytes. */
static inline void builder_kv_raw(struct builder *b, const char *key, uint32_t type,
                                  const void *value, size_t n) {
    builder_append_str(&b->kv, key, strlen(key));
    builder_append_int(&b->kv, type, 4);
    builder_append(&b->kv, value, n);
    b->n_kv++;
}

/* Bytes of a number or boolean; 0 for strings and arrays. */
static inline size_t builder_size(uint32_t type) {
    static const uint8_t size[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return size[type];
}

/* A pair of a number type, whose value is the low bytes of v. */
static inline void builder_kv_int(struct builder *b, const char *key, uint32_t type, uint64_t v) {
    builder_kv_raw(b, key, type, NULL, 0);
    builder_append_int(&b->kv, v, builder_size(type));
}

static inline void builder_kv_u32(struct builder *b, const char *key, uint32_t v) {
    builder_kv_int(b, key, BT_U32, v);
}

static inline void builder_kv_u64(struct builder *b, const char *key, uint64_t v) {
    builder_kv_int(b, key, BT_U64, v);
}

static inline void builder_kv_bool(struct builder *b, const char *key, bool v) {
    builder_kv_int(b, key, BT_BOOL, v);
}

static inline void builder_kv_f32(struct builder *b, const char *key, float v) {
    builder_kv_raw(b, key, BT_F32, &v, sizeof v);
}

static inline void builder_kv_f64(struct builder *b, const char *key, double v) {
    builder_kv_raw(b, key, BT_F64, &v, sizeof v);
}

static inline void builder_kv_strn(struct builder *b, const char *key, const char *s, size_t n) {
    builder_kv_raw(b, key, BT_STRING, NULL, 0);
    builder_append_str(&b->kv, s, n);
}

static inline void builder_kv_str(struct builder *b, const char *key, const char *z) {
    builder_kv_strn(b, key, z, strlen(z));
}

/* The head of an array; n elements must follow by builder_append*(&b->kv, ...). */
static inline void builder_kv_array_head(struct builder *b, const char *key, uint32_t elem,
                                         uint64_t n) {
    builder_kv_raw(b, key, BT_ARRAY, NULL, 0);
    builder_append_int(&b->kv, elem, 4);
    builder_append_int(&b->kv, n, 8);
}

/* An array of numbers or booleans: n elements of `bytes` bytes in all at `p`. */
static inline void builder_kv_array(struct builder *b, const char *key, uint32_t elem,
                                    const void *p, uint64_t n, size_t bytes) {
    builder_kv_array_head(b, key, elem, n);
    builder_append(&b->kv, p, bytes);
}

static inline void builder_kv_f32s(struct builder *b, const char *key, const float *v, size_t n) {
    builder_kv_array(b, key, BT_F32, v, n, n * sizeof *v);
}

static inline void builder_kv_i32s(struct builder *b, const char *key, const int32_t *v, size_t n) {
    builder_kv_array(b, key, BT_I32, v, n, n * sizeof *v);
}

static inline void builder_kv_strs(struct builder *b, const char *key, const char *const *z,
                                   size_t n) {
    builder_kv_array_head(b, key, BT_STRING, n);
    for (size_t i = 0; i < n; i++) {
        builder_append_str(&b->kv, z[i], strlen(z[i]));
    }
}

/* Sets the alignment of the data and writes its key. Call it before the first tensor. */
static inline void builder_align(struct builder *b, uint32_t alignment) {
    b->alignment = alignment;
    builder_kv_u32(b, "general.alignment", alignment);
}

/* ---- tensors ----------------------------------------------------------------------------- */

/* A line of the directory alone: nothing is added to the data. */
static inline void builder_tensor_raw(struct builder *b, const char *name, size_t name_n,
                                      uint32_t type, uint32_t n_dim, const uint64_t *dim,
                                      uint32_t n_dim_written, uint64_t offset) {
    builder_append_str(&b->info, name, name_n);
    builder_append_int(&b->info, n_dim, 4);
    for (uint32_t i = 0; i < n_dim_written; i++) {
        builder_append_int(&b->info, dim[i], 8);
    }
    builder_append_int(&b->info, type, 4);
    builder_append_int(&b->info, offset, 8);
    b->n_tensor++;
}

/* A tensor with its data (NULL: zeros), padded to the alignment. dim[0] is the row length, as in
 * the file. The type must be readable and dim[0] a whole number of blocks. */
static inline void builder_tensor(struct builder *b, const char *name, uint32_t type,
                                  uint32_t n_dim, const uint64_t *dim, const void *data) {
    size_t bytes = 0;
    if (!dtype_row_bytes(type, dim[0], &bytes)) {
        abort();
    }
    for (uint32_t i = 1; i < n_dim; i++) {
        bytes *= dim[i];
    }
    builder_append_zeros(&b->data, (b->alignment - b->data.n % b->alignment) % b->alignment);
    builder_tensor_raw(b, name, strlen(name), type, n_dim, dim, n_dim, b->data.n);
    if (data) {
        builder_append(&b->data, data, bytes);
    } else {
        builder_append_zeros(&b->data, bytes);
    }
}

/* ---- the file -------------------------------------------------------------------------- */

/* The whole file (free), *n bytes. May be called again after more has been added. */
static inline uint8_t *builder_take(const struct builder *b, size_t *n) {
    struct builder_bytes out = {0};
    builder_append(&out, "GGUF", 4);
    builder_append_int(&out, b->version, 4);
    builder_append_int(&out, b->n_tensor, 8);
    builder_append_int(&out, b->n_kv, 8);
    builder_append(&out, b->kv.p, b->kv.n);
    builder_append(&out, b->info.p, b->info.n);
    if (b->info.n && b->alignment) {
        builder_append_zeros(&out, (b->alignment - out.n % b->alignment) % b->alignment);
    }
    builder_append(&out, b->data.p, b->data.n);
    builder_append_zeros(&out, b->pad);
    *n = out.n;
    return out.p;
}

static inline bool builder_write(const struct builder *b, const char *path) {
    size_t n;
    uint8_t *p = builder_take(b, &n);
    FILE *f = fopen(path, "wb");
    bool ok = f && fwrite(p, 1, n, f) == n;
    ok = f && fclose(f) == 0 && ok;
    free(p);
    return ok;
}

#endif
