/* gguf_write.c: the bytes of gguf_write.h.
 *
 * Owns the order: magic, version, counts, pairs, directory, padding, data. Invariant: the directory
 * is written once, before the first tensor, so that offsets are known and the file is a stream.
 */
#include "format/gguf_write.h"

#include <assert.h>
#include <string.h>

#define DIRECTORY_MAX ((size_t)512 << 20)

static void put_int(struct buf *b, uint64_t v, size_t bytes) {
    uint8_t p[8];
    for (size_t i = 0; i < bytes; i++) {
        p[i] = (uint8_t)(v >> (8 * i));
    }
    buf_put(b, p, bytes);
}

static void put_str(struct buf *b, struct str s) {
    put_int(b, s.n, 8);
    buf_put(b, s.p, s.n);
}

void gguf_write_init(struct gguf_writer *w, uint32_t alignment) {
    *w = (struct gguf_writer){.alignment = alignment};
    buf_init(&w->kv, DIRECTORY_MAX);
    buf_init(&w->info, DIRECTORY_MAX);
}

static void put_key(struct gguf_writer *w, struct str key, enum gguf_type type) {
    put_str(&w->kv, key);
    put_int(&w->kv, type, 4);
    w->n_kv++;
}

void gguf_write_kv(struct gguf_writer *w, const struct gguf_kv *kv) {
    put_key(w, kv->key, kv->type);
    if (kv->type == GGUF_ARRAY) {
        put_int(&w->kv, kv->elem, 4);
        put_int(&w->kv, kv->n, 8);
    }
    buf_put(&w->kv, kv->data, (size_t)kv->bytes);
}

void gguf_write_u32(struct gguf_writer *w, const char *key, uint32_t v) {
    put_key(w, str_c(key), GGUF_U32);
    put_int(&w->kv, v, 4);
}

void gguf_write_str(struct gguf_writer *w, const char *key, struct str v) {
    put_key(w, str_c(key), GGUF_STRING);
    put_str(&w->kv, v);
}

void gguf_write_strings(struct gguf_writer *w, const char *key, uint64_t n) {
    put_key(w, str_c(key), GGUF_ARRAY);
    put_int(&w->kv, GGUF_STRING, 4);
    put_int(&w->kv, n, 8);
}

void gguf_write_item(struct gguf_writer *w, struct str v) {
    put_str(&w->kv, v);
}

static uint64_t padded(const struct gguf_writer *w, uint64_t n) {
    return (n + w->alignment - 1) / w->alignment * w->alignment;
}

void gguf_write_tensor(struct gguf_writer *w, struct str name, uint32_t type, uint32_t n_dim,
                       const uint64_t *dim, uint64_t bytes) {
    put_str(&w->info, name);
    put_int(&w->info, n_dim, 4);
    for (uint32_t i = 0; i < n_dim; i++) {
        put_int(&w->info, dim[i], 8);
    }
    put_int(&w->info, type, 4);
    put_int(&w->info, w->next, 8);
    w->next += padded(w, bytes);
    w->n_tensor++;
}

/* Magic, version, two counts; pairs; directory. */
static uint64_t head_size(const struct gguf_writer *w) {
    return padded(w, 24 + w->kv.len + w->info.len);
}

uint64_t gguf_write_size(const struct gguf_writer *w) {
    return head_size(w) + w->next;
}

static enum err_code pad(struct gguf_writer *w, uint64_t at, struct err *e) {
    static const uint8_t zero[4096];
    uint64_t left = padded(w, at) - at;
    while (left > 0) {
        size_t n = left < sizeof zero ? (size_t)left : sizeof zero;
        enum err_code rc = os_out_write(w->file, zero, n, e);
        if (rc) {
            return rc;
        }
        left -= n;
    }
    return ERR_OK;
}

enum err_code gguf_write_begin(struct gguf_writer *w, const char *path, struct err *e) {
    struct buf head;
    enum err_code rc;
    buf_init(&head, 64);
    buf_puts(&head, "GGUF");
    put_int(&head, 3, 4);
    put_int(&head, w->n_tensor, 8);
    put_int(&head, w->n_kv, 8);
    if (!(rc = buf_check(&head, e)) && !(rc = buf_check(&w->kv, e)) &&
        !(rc = buf_check(&w->info, e)) && !(rc = os_out_open(&w->file, path, e)) &&
        !(rc = os_out_write(w->file, head.p, head.len, e)) &&
        !(rc = os_out_write(w->file, w->kv.p, w->kv.len, e)) &&
        !(rc = os_out_write(w->file, w->info.p, w->info.len, e))) {
        rc = pad(w, 24 + w->kv.len + w->info.len, e);
    }
    buf_fini(&head);
    return rc;
}

enum err_code gguf_write_data(struct gguf_writer *w, const void *p, size_t n, struct err *e) {
    w->done += n;
    return os_out_write(w->file, p, n, e);
}

enum err_code gguf_write_end(struct gguf_writer *w, struct err *e) {
    uint64_t at = w->done;
    w->done = padded(w, at);
    return pad(w, at, e);
}

enum err_code gguf_write_commit(struct gguf_writer *w, struct err *e) {
    assert(w->done == w->next);
    struct os_out *file = w->file;
    w->file = NULL;
    return os_out_commit(file, e);
}

void gguf_write_fini(struct gguf_writer *w) {
    os_out_drop(w->file);
    buf_fini(&w->kv);
    buf_fini(&w->info);
    w->file = NULL;
}
