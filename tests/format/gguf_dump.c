/* gguf_dump.c: prints a GGUF directory as JSON, for tools/check_gguf.py.
 *
 *     gguf_dump FILE
 */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "format/gguf.h"

static void put_value(struct json_writer *w, const struct gguf_kv *kv, uint64_t i, uint64_t *pos) {
    switch (kv->elem) {
    case GGUF_STRING: json_put_str(w, gguf_next_str(kv, pos)); break;
    case GGUF_BOOL: json_put_bool(w, gguf_int_at(kv, i) != 0); break;
    case GGUF_F32:
    case GGUF_F64: json_put_real(w, gguf_f64_at(kv, i)); break;
    case GGUF_U64: {
        uint64_t v; /* gguf_int_at stops at INT64_MAX */
        memcpy(&v, kv->data + 8 * i, sizeof v);
        json_put_uint(w, v);
        break;
    }
    default: json_put_int(w, gguf_int_at(kv, i)); break;
    }
}

static void put_kv(struct json_writer *w, const struct gguf_kv *kv) {
    uint64_t pos = 0;
    json_open(w, '{');
    json_key(w, "key");
    json_put_str(w, kv->key);
    json_key(w, "type");
    json_put_z(w, gguf_type_name(kv->type));
    json_key(w, "elem");
    json_put_z(w, gguf_type_name(kv->elem));
    json_key(w, "values");
    json_open(w, '[');
    for (uint64_t i = 0; i < kv->n; i++) {
        put_value(w, kv, i, &pos);
    }
    json_close(w, ']');
    json_close(w, '}');
}

static void put_tensor(struct json_writer *w, const struct gguf_tensor *t) {
    json_open(w, '{');
    json_key(w, "name");
    json_put_str(w, t->name);
    json_key(w, "type");
    json_put_z(w, dtype_info(t->type)->name);
    json_key(w, "shape");
    json_open(w, '[');
    for (uint32_t i = 0; i < t->n_dim; i++) {
        json_put_uint(w, t->dim[i]);
    }
    json_close(w, ']');
    json_key(w, "part");
    json_put_uint(w, t->part);
    json_key(w, "offset");
    json_put_uint(w, t->offset);
    json_key(w, "bytes");
    json_put_uint(w, t->bytes);
    json_close(w, '}');
}

static void put_all(struct json_writer *w, const struct gguf *g) {
    json_open(w, '{');
    json_key(w, "version");
    json_put_uint(w, g->version);
    json_key(w, "alignment");
    json_put_uint(w, g->alignment);
    json_key(w, "kv");
    json_open(w, '[');
    for (size_t i = 0; i < g->n_kv; i++) {
        put_kv(w, &g->kv[i]);
    }
    json_close(w, ']');
    json_key(w, "tensors");
    json_open(w, '[');
    for (size_t i = 0; i < g->n_tensor; i++) {
        put_tensor(w, &g->tensor[i]);
    }
    json_close(w, ']');
    json_close(w, '}');
}

int main(int argc, char **argv) {
    struct gguf *g = NULL;
    struct err e = {0};
    struct buf out;
    struct json_writer w;
    char line[1024];
    if (argc != 2) {
        fputs("usage: gguf_dump FILE\n", stderr);
        return 2;
    }
    buf_init(&out, (size_t)1 << 30);
    if (gguf_open(&g, argv[1], false, &e)) {
        goto fail;
    }
    json_writer_init(&w, &out);
    put_all(&w, g);
    if (buf_check(&out, &e)) {
        goto fail;
    }
    fwrite(out.p, 1, out.len, stdout);
    gguf_close(g);
    buf_fini(&out);
    return 0;
fail:
    fprintf(stderr, "gguf_dump: error: %s\n", err_line(&e, line, sizeof line));
    gguf_close(g);
    buf_fini(&out);
    return 1;
}
