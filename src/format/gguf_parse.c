/* gguf_parse.c: one GGUF file's header, pairs and tensor directory, from bytes to structs.
 *
 * Owns the first look at every byte: each read is checked against what is left, each count
 * against the least that so many items need, before the arrays grow by what has really been
 * parsed. Refuses files (gguf.c opens them) and order (gguf_index.c sorts and finds duplicates).
 * Invariant: the position only moves forward, so that the time is linear in the header's size.
 */
#include "format/gguf_parse.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

/* The least that one pair (length, one byte of key, type, one byte of value) and one line of the
 * tensor directory (length, one byte of name, n_dims, one dimension, type, offset) take. */
#define MIN_KV_BYTES     (8 + 1 + 4 + 1)
#define MIN_TENSOR_BYTES (8 + 1 + 4 + 8 + 4 + 8)

struct cursor {
    struct gguf *g;
    const uint8_t *p;
    size_t n;    /* bytes that may belong to the header */
    size_t size; /* of the whole file */
    size_t pos;
    struct err *e;
};

enum err_code gguf_fail(struct err *e, enum err_code code, const struct gguf *g, uint64_t offset,
                        const char *field, const char *hint, const char *fmt, ...) {
    char text[sizeof e->what];
    va_list args;
    if (!e) {
        return code;
    }
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    err_set(e, code, "%s", text);
    err_where(e, "offset %llu, field %s", (unsigned long long)offset, field);
    err_where(e, "%s", g->path);
    err_hint(e, "%s", hint ? hint : GGUF_HINT_DAMAGED);
    return code;
}

int gguf_shown_bytes(struct str s) {
    size_t n = s.n < 80 ? s.n : 80;
    return (int)(n - utf8_pending(s.p, n));
}

/* ---- reading ----------------------------------------------------------------------------- */

static size_t left(const struct cursor *c) {
    return c->n - c->pos;
}

/* What to say when `field`, which starts at `at`, does not fit into what is left. */
static enum err_code fail_short(const struct cursor *c, size_t at, const char *field) {
    if (c->n < c->size) {
        return gguf_fail(c->e, ERR_LIMIT, c->g, at, field, NULL, "the header goes on past %zu MiB",
                         c->n >> 20);
    }
    return gguf_fail(c->e, ERR_FORMAT, c->g, at, field, NULL,
                     "the file ends after %zu bytes, inside its header", c->size);
}

static enum err_code read_int(struct cursor *c, const char *field, size_t bytes, uint64_t *v) {
    *v = 0;
    if (left(c) < bytes) {
        return fail_short(c, c->pos, field);
    }
    *v = gguf_load(c->p + c->pos, bytes);
    c->pos += bytes;
    return ERR_OK;
}

static enum err_code read_str(struct cursor *c, const char *field, struct str *s) {
    size_t at = c->pos;
    uint64_t n;
    enum err_code rc = read_int(c, field, 8, &n);
    if (rc) {
        return rc;
    }
    if (n > left(c)) {
        return gguf_fail(c->e, ERR_FORMAT, c->g, at, field, NULL,
                         "a string of %llu bytes, where %zu are left", (unsigned long long)n,
                         left(c));
    }
    *s = str_of((const char *)c->p + c->pos, (size_t)n);
    c->pos += (size_t)n;
    return ERR_OK;
}

/* A key or tensor name: what other code compares, prints and builds paths of keys from. */
static enum err_code read_name(struct cursor *c, const char *field, size_t max, struct str *s) {
    size_t at = c->pos;
    enum err_code rc = read_str(c, field, s);
    if (rc) {
        return rc;
    }
    if (s->n == 0 || s->n > max) {
        return gguf_fail(c->e, ERR_FORMAT, c->g, at, field, NULL,
                         "a name of %zu bytes; 1 to %zu are allowed", s->n, max);
    }
    if (memchr(s->p, 0, s->n) || !utf8_valid(s->p, s->n)) {
        return gguf_fail(c->e, ERR_FORMAT, c->g, at, field, NULL,
                         "a name with a zero byte or with broken UTF-8");
    }
    return ERR_OK;
}

/* `items` [n] with room for one more, moved if it must be; NULL when out of memory. Grows by
 * doubling what has really been read, and never by a number that the file declares. */
static void *grow(void *items, size_t n, size_t *cap, size_t size) {
    if (n < *cap) {
        return items;
    }
    size_t want = *cap ? 2 * *cap : 64;
    void *p = mem_realloc(items, want, size);
    *cap = p ? want : *cap;
    return p;
}

static enum err_code fail_memory(const struct cursor *c, const char *what) {
    err_set(c->e, ERR_NOMEM, "out of memory for the %s of %s", what, c->g->path);
    return ERR_NOMEM;
}

/* ---- the first 24 bytes -------------------------------------------------------------------- */

static const struct lookalike {
    const char *bytes;
    size_t n;
    enum err_code code;
    const char *what;
    const char *hint;
} lookalikes[] = {
    {"FUGG", 4, ERR_UNSUPPORTED, "a byte-swapped GGUF file", "get the little-endian file"},
    {"lmgg", 4, ERR_UNSUPPORTED, "a file in the old GGML format", "get the model as GGUF"},
    {"GGML", 4, ERR_UNSUPPORTED, "a file in the old GGML format", "get the model as GGUF"},
    {"fmgg", 4, ERR_UNSUPPORTED, "a file in the old GGMF format", "get the model as GGUF"},
    {"GGMF", 4, ERR_UNSUPPORTED, "a file in the old GGMF format", "get the model as GGUF"},
    {"tjgg", 4, ERR_UNSUPPORTED, "a file in the old GGJT format", "get the model as GGUF"},
    {"GGJT", 4, ERR_UNSUPPORTED, "a file in the old GGJT format", "get the model as GGUF"},
    {"algg", 4, ERR_UNSUPPORTED, "an adapter in the old GGLA format", "get it as GGUF"},
    {"\x1f\x8b", 2, ERR_FORMAT, "a gzip archive", "unpack it first (gunzip)"},
    {"PK\x03\x04", 4, ERR_FORMAT, "a zip archive or a PyTorch file", "unpack it, or get a GGUF"},
    {"BZh", 3, ERR_FORMAT, "a bzip2 archive", "unpack it first (bunzip2)"},
    {"\xfd\x37zXZ", 5, ERR_FORMAT, "an xz archive", "unpack it first (unxz)"},
    {"\x28\xb5\x2f\xfd", 4, ERR_FORMAT, "a zstd archive", "unpack it first (unzstd)"},
    {"\x7f\x45LF", 4, ERR_FORMAT, "an ELF program", NULL},
    {"MZ", 2, ERR_FORMAT, "a Windows program", NULL},
    {"%PDF", 4, ERR_FORMAT, "a PDF document", NULL},
    {"<", 1, ERR_FORMAT, "a web page", "the download gave an error page: look into the file"},
    {"version https://git-lfs", 23, ERR_FORMAT, "a Git LFS pointer, not the model itself",
     "fetch the model with git lfs pull"},
};

static enum err_code check_magic(const struct cursor *c) {
    const char *hint = "give a GGUF file";
    if (c->size >= 4 && memcmp(c->p, "GGUF", 4) == 0) {
        return ERR_OK;
    }
    if (c->size == 0) {
        return gguf_fail(c->e, ERR_FORMAT, c->g, 0, "magic", NULL, "the file is empty");
    }
    for (size_t i = 0; i < sizeof lookalikes / sizeof lookalikes[0]; i++) {
        const struct lookalike *l = &lookalikes[i];
        if (c->size >= l->n && memcmp(c->p, l->bytes, l->n) == 0) {
            return gguf_fail(c->e, l->code, c->g, 0, "magic", l->hint ? l->hint : hint,
                             "this is %s", l->what);
        }
    }
    if (c->size > 8 && c->p[8] == '{') {
        return gguf_fail(c->e, ERR_UNSUPPORTED, c->g, 0, "magic", "get the model as GGUF",
                         "this looks like a safetensors file");
    }
    return gguf_fail(c->e, ERR_FORMAT, c->g, 0, "magic", hint,
                     "not a GGUF file: it does not start with \"GGUF\"");
}

static enum err_code check_version(const struct cursor *c, uint64_t version) {
    c->g->version = (uint32_t)version;
    if (version == 2 || version == 3) {
        return ERR_OK;
    }
    if (version == 1) {
        return gguf_fail(c->e, ERR_UNSUPPORTED, c->g, 4, "version", "get the model in version 3",
                         "GGUF version 1 is not read any more");
    }
    if (version != 0 && (version & 0xffffff) == 0) {
        return gguf_fail(c->e, ERR_UNSUPPORTED, c->g, 4, "version", "get the little-endian file",
                         "a big-endian GGUF file");
    }
    return gguf_fail(c->e, version ? ERR_UNSUPPORTED : ERR_FORMAT, c->g, 4, "version",
                     version ? "get the model in version 3, or a newer ign" : NULL,
                     "GGUF version %llu; 2 and 3 are known", (unsigned long long)version);
}

static enum err_code check_count(const struct cursor *c, uint64_t n, uint64_t max, size_t least,
                                 size_t at, const char *field) {
    if (n > left(c) / least) {
        return gguf_fail(c->e, ERR_FORMAT, c->g, at, field, NULL,
                         "declares %llu, where the %zu bytes left hold at most %zu",
                         (unsigned long long)n, left(c), left(c) / least);
    }
    if (n > max) {
        return gguf_fail(c->e, ERR_LIMIT, c->g, at, field, NULL,
                         "declares %llu; more than %llu are not read", (unsigned long long)n,
                         (unsigned long long)max);
    }
    return ERR_OK;
}

static enum err_code read_header(struct cursor *c, uint64_t *n_tensor, uint64_t *n_kv) {
    uint64_t version;
    enum err_code rc = check_magic(c);
    if (rc) {
        return rc;
    }
    c->pos = 4;
    if ((rc = read_int(c, "version", 4, &version)) || (rc = check_version(c, version)) ||
        (rc = read_int(c, "tensor_count", 8, n_tensor)) ||
        (rc = read_int(c, "metadata_kv_count", 8, n_kv)) ||
        (rc = check_count(c, *n_tensor, GGUF_MAX_TENSOR, MIN_TENSOR_BYTES, 8, "tensor_count"))) {
        return rc;
    }
    return check_count(c, *n_kv, GGUF_MAX_KV, MIN_KV_BYTES, 16, "metadata_kv_count");
}

/* ---- pairs --------------------------------------------------------------------------------- */

static enum err_code read_type(struct cursor *c, const struct gguf_kv *kv, enum gguf_type *type) {
    size_t at = c->pos;
    uint64_t v;
    enum err_code rc = read_int(c, "value type", 4, &v);
    if (rc) {
        return rc;
    }
    if (v >= GGUF_TYPE_N) {
        return gguf_fail(c->e, ERR_FORMAT, c->g, at, "value type", NULL,
                         "key '%.*s' has a value of type %llu; 0 to %d are known",
                         GGUF_NAME(kv->key), (unsigned long long)v, GGUF_TYPE_N - 1);
    }
    *type = (enum gguf_type)v;
    return ERR_OK;
}

static enum err_code check_bools(const struct cursor *c, const struct gguf_kv *kv) {
    for (uint64_t i = 0; i < kv->n; i++) {
        if (kv->data[i] > 1) {
            return gguf_fail(c->e, ERR_FORMAT, c->g, (uint64_t)(kv->data - c->p) + i, "value", NULL,
                             "key '%.*s' has a boolean of %u; 0 and 1 are allowed",
                             GGUF_NAME(kv->key), kv->data[i]);
        }
    }
    return ERR_OK;
}

static enum err_code read_array(struct cursor *c, struct gguf_kv *kv) {
    size_t at = c->pos;
    enum err_code rc = read_type(c, kv, &kv->elem);
    if (rc || (rc = read_int(c, "array length", 8, &kv->n))) {
        return rc;
    }
    if (kv->elem == GGUF_ARRAY) {
        return gguf_fail(c->e, ERR_UNSUPPORTED, c->g, at, "array type",
                         "no known model uses them: check where the file comes from",
                         "key '%.*s' is an array of arrays", GGUF_NAME(kv->key));
    }
    size_t size = gguf_type_size(kv->elem);
    if (kv->n > left(c) / (size ? size : 8)) {
        return gguf_fail(c->e, ERR_FORMAT, c->g, at + 4, "array length", NULL,
                         "key '%.*s' declares %llu elements, where %zu bytes are left",
                         GGUF_NAME(kv->key), (unsigned long long)kv->n, left(c));
    }
    kv->data = c->p + c->pos;
    c->pos += (size_t)kv->n * size;
    for (uint64_t i = 0; size == 0 && i < kv->n; i++) {
        struct str s;
        if ((rc = read_str(c, "array element", &s))) {
            return rc;
        }
    }
    return kv->elem == GGUF_BOOL ? check_bools(c, kv) : ERR_OK;
}

static enum err_code read_kv(struct cursor *c, struct gguf_kv *kv) {
    *kv = (struct gguf_kv){.n = 1, .offset = c->pos};
    enum err_code rc = read_name(c, "key", GGUF_MAX_KEY, &kv->key);
    if (rc || (rc = read_type(c, kv, &kv->type))) {
        return rc;
    }
    kv->elem = kv->type;
    kv->data = c->p + c->pos;
    if (kv->type == GGUF_ARRAY) {
        rc = read_array(c, kv);
    } else if (kv->type == GGUF_STRING) {
        struct str s;
        rc = read_str(c, "string value", &s);
    } else {
        uint64_t v;
        rc = read_int(c, "value", gguf_type_size(kv->type), &v);
        if (!rc && kv->type == GGUF_BOOL) {
            rc = check_bools(c, kv);
        }
    }
    if (!rc) {
        kv->bytes = (uint64_t)(c->p + c->pos - kv->data);
    }
    return rc;
}

static enum err_code read_kvs(struct cursor *c, uint64_t n) {
    struct gguf *g = c->g;
    size_t cap = 0;
    for (uint64_t i = 0; i < n; i++) {
        struct gguf_kv *kv = grow(g->kv, g->n_kv, &cap, sizeof *kv);
        if (!kv) {
            return fail_memory(c, "keys");
        }
        g->kv = kv;
        enum err_code rc = read_kv(c, &kv[g->n_kv]);
        if (rc) {
            return rc;
        }
        g->n_kv++;
    }
    return gguf_index_keys(g, c->e);
}

static enum err_code read_alignment(struct cursor *c) {
    const struct gguf_kv *kv = gguf_find(c->g, "general.alignment");
    if (!kv) {
        c->g->alignment = 32;
        return ERR_OK;
    }
    if (kv->type != GGUF_U32) {
        return gguf_fail(c->e, ERR_FORMAT, c->g, kv->offset, "general.alignment", NULL,
                         "general.alignment is of type %s; u32 is expected",
                         gguf_type_name(kv->type));
    }
    uint32_t v = (uint32_t)gguf_load(kv->data, 4);
    if (v < 8 || v > GGUF_MAX_ALIGN || (v & (v - 1)) != 0) {
        return gguf_fail(c->e, ERR_FORMAT, c->g, kv->offset, "general.alignment", NULL,
                         "an alignment of %u; a power of two from 8 to %u is expected", v,
                         GGUF_MAX_ALIGN);
    }
    c->g->alignment = v;
    return ERR_OK;
}

/* ---- tensors ------------------------------------------------------------------------------- */

static enum err_code read_dims(struct cursor *c, struct gguf_tensor *t) {
    size_t at = c->pos;
    uint64_t n;
    enum err_code rc = read_int(c, "n_dims", 4, &n);
    if (rc) {
        return rc;
    }
    if (n < 1 || n > 4) {
        return gguf_fail(c->e, ERR_FORMAT, c->g, at, "n_dims", NULL,
                         "tensor '%.*s' has %llu dimensions; 1 to 4 are allowed",
                         GGUF_NAME(t->name), (unsigned long long)n);
    }
    t->n_dim = (uint32_t)n;
    for (uint32_t i = 0; i < 4; i++) {
        t->dim[i] = 1;
        if (i < t->n_dim && (rc = read_int(c, "dims", 8, &t->dim[i]))) {
            return rc;
        }
        if (t->dim[i] < 1 || t->dim[i] > GGUF_MAX_DIM) {
            return gguf_fail(c->e, ERR_FORMAT, c->g, c->pos - 8, "dims", NULL,
                             "tensor '%.*s' has a dimension of %llu; 1 to %llu are allowed",
                             GGUF_NAME(t->name), (unsigned long long)t->dim[i],
                             (unsigned long long)GGUF_MAX_DIM);
        }
    }
    return ERR_OK;
}

static enum err_code check_type(const struct cursor *c, const struct gguf_tensor *t, size_t at) {
    const struct dtype_info *info = dtype_info(t->type);
    if (info->block) {
        return ERR_OK;
    }
    const char *hint = "get the model in another quantization, such as Q4_K_M or Q8_0";
    if (info->name) {
        return gguf_fail(c->e, ERR_UNSUPPORTED, c->g, at, "type", hint,
                         "tensor '%.*s' is of type %s, which this program cannot read",
                         GGUF_NAME(t->name), info->name);
    }
    return gguf_fail(c->e, ERR_UNSUPPORTED, c->g, at, "type", hint,
                     "tensor '%.*s' is of type %u, which this program does not know",
                     GGUF_NAME(t->name), t->type);
}

/* Bytes of the tensor, from its dimensions; `at` is where they are in the file. */
static enum err_code measure_tensor(const struct cursor *c, struct gguf_tensor *t, size_t at) {
    const struct dtype_info *info = dtype_info(t->type);
    if (!dtype_row_bytes(t->type, t->dim[0], &t->bytes)) {
        return gguf_fail(c->e, ERR_FORMAT, c->g, at, "dims", NULL,
                         "tensor '%.*s' has %llu columns, not a multiple of %u as %s needs",
                         GGUF_NAME(t->name), (unsigned long long)t->dim[0], info->block,
                         info->name);
    }
    for (uint32_t i = 1; i < t->n_dim; i++) {
        if (!size_mul(t->bytes, (size_t)t->dim[i], &t->bytes)) {
            return gguf_fail(c->e, ERR_FORMAT, c->g, at, "dims", NULL,
                             "tensor '%.*s' of %llu x %llu x %llu x %llu is larger than any memory",
                             GGUF_NAME(t->name), (unsigned long long)t->dim[0],
                             (unsigned long long)t->dim[1], (unsigned long long)t->dim[2],
                             (unsigned long long)t->dim[3]);
        }
    }
    return ERR_OK;
}

/* One line of the directory; its offset stays relative to the data until place_tensors. */
static enum err_code read_tensor(struct cursor *c, struct gguf_tensor *t) {
    *t = (struct gguf_tensor){.entry = c->pos};
    enum err_code rc = read_name(c, "tensor name", GGUF_MAX_NAME, &t->name);
    if (rc) {
        return rc;
    }
    size_t dims_at = c->pos + 4;
    if ((rc = read_dims(c, t))) {
        return rc;
    }
    size_t type_at = c->pos;
    uint64_t type;
    if ((rc = read_int(c, "type", 4, &type))) {
        return rc;
    }
    t->type = (uint32_t)type;
    if ((rc = check_type(c, t, type_at)) || (rc = measure_tensor(c, t, dims_at))) {
        return rc;
    }
    size_t offset_at = c->pos;
    if ((rc = read_int(c, "offset", 8, &t->offset))) {
        return rc;
    }
    if (t->offset % c->g->alignment != 0) {
        return gguf_fail(c->e, ERR_FORMAT, c->g, offset_at, "offset", NULL,
                         "tensor '%.*s' starts at %llu, not a multiple of the alignment %u",
                         GGUF_NAME(t->name), (unsigned long long)t->offset, c->g->alignment);
    }
    return ERR_OK;
}

static enum err_code read_tensors(struct cursor *c, uint64_t n) {
    struct gguf *g = c->g;
    size_t cap = 0;
    for (uint64_t i = 0; i < n; i++) {
        struct gguf_tensor *t = grow(g->tensor, g->n_tensor, &cap, sizeof *t);
        if (!t) {
            return fail_memory(c, "tensor directory");
        }
        g->tensor = t;
        enum err_code rc = read_tensor(c, &t[g->n_tensor]);
        if (rc) {
            return rc;
        }
        g->n_tensor++;
    }
    return gguf_index_names(g, c->e);
}

/* The data follows the directory, padded to the alignment; every tensor must lie inside. */
static enum err_code place_tensors(struct cursor *c) {
    struct gguf *g = c->g;
    size_t align = g->alignment, start = c->pos, size = c->size;
    start += (align - start % align) % align; /* start <= GGUF_MAX_HEADER: cannot wrap */
    for (size_t i = 0; i < g->n_tensor; i++) {
        struct gguf_tensor *t = &g->tensor[i];
        size_t room = start < size ? size - start : 0;
        if (t->offset > room || t->bytes > room - t->offset) {
            return gguf_fail(c->e, ERR_FORMAT, g, t->entry, "offset", NULL,
                             "tensor '%.*s' needs %zu bytes at %llu of the data, which has %zu",
                             GGUF_NAME(t->name), t->bytes, (unsigned long long)t->offset, room);
        }
        t->offset += start;
        t->data = c->p + t->offset;
    }
    return gguf_check_overlap(g, c->e);
}

enum err_code gguf_parse_part(struct gguf *g, const void *p, size_t n, struct err *e) {
    size_t header = n < GGUF_MAX_HEADER ? n : GGUF_MAX_HEADER;
    struct cursor c = {.g = g, .p = p, .n = header, .size = n, .e = e};
    uint64_t n_tensor, n_kv;
    enum err_code rc = read_header(&c, &n_tensor, &n_kv);
    if (rc || (rc = read_kvs(&c, n_kv)) || (rc = read_alignment(&c)) ||
        (rc = read_tensors(&c, n_tensor))) {
        return rc;
    }
    return place_tensors(&c);
}
