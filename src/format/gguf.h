/* gguf.h: the GGUF container (versions 2 and 3, little-endian), read and never trusted.
 *
 * Owns the parsed directory of a file or of a split set: key-value pairs and tensors, as views
 * into the mapping. Every count, length, offset and size is checked against the bytes that are
 * there before anything is allocated or touched. Refuses meaning: what a key says about a model
 * is model/config.h's, what it says about a vocabulary is model/load.c's.
 * The directory is also what other kinds of model files are read into (gguf_build.h): its keys and
 * names are the one vocabulary that the program has for models.
 * Invariant: after gguf_open succeeds, every view lies inside its mapping and no two tensors share
 * a byte. Source: the GGUF specification (docs/gguf.md of the ggml project).
 */
#ifndef IGN_FORMAT_GGUF_H
#define IGN_FORMAT_GGUF_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/dtype.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/os.h"

/* clang-format off */
enum gguf_type {
    GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL,
    GGUF_STRING, GGUF_ARRAY, GGUF_U64, GGUF_I64, GGUF_F64, GGUF_TYPE_N
};
/* clang-format on */

struct gguf_kv {
    struct str key;
    enum gguf_type type;
    enum gguf_type elem; /* of an array (never an array again); else = type */
    uint64_t n;          /* elements of an array, else 1 */
    const uint8_t *data; /* little-endian, unaligned; strings: u64 length, bytes, ... */
    uint64_t bytes;      /* bytes at data */
    uint64_t offset;     /* of the pair in its file, for messages */
    const char *from;    /* what the file calls it, where that is something else; else NULL */
};

struct gguf_tensor {
    struct str name;
    uint32_t type;       /* enum dtype, readable */
    uint32_t n_dim;      /* 1..4 */
    uint64_t dim[4];     /* as in the file: dim[0] is the row length; unused ones are 1 */
    const uint8_t *data; /* [bytes], aligned to the file's alignment; see gguf_matrix */
    const uint8_t *const
        *mat;        /* [dim[2]] where its matrices lie apart; NULL: one after the other */
    size_t bytes;    /* of all of them */
    uint64_t offset; /* of the data, from the start of its file */
    uint64_t entry;  /* of its line in the directory, for messages */
    unsigned part;   /* which file of a split set */
    struct str from; /* its name in the file, where that is another; else empty */
};

/* Matrix i of dim[2], and the bytes of one: where not all of `data` is wanted at once. */
static inline const uint8_t *gguf_matrix(const struct gguf_tensor *t, uint64_t i) {
    return t->mat ? t->mat[i] : t->data + (size_t)i * (t->bytes / (size_t)t->dim[2]);
}
static inline size_t gguf_matrix_bytes(const struct gguf_tensor *t) {
    return t->bytes / (size_t)t->dim[2];
}

struct gguf {
    char *path;       /* of the first part, or of the folder */
    uint32_t version; /* 0: not a GGUF file, the directory was built from something else */
    bool rope_halves; /* rows of Q and K lie as their model computes, not as GGUF files have them */
    bool own_output;  /* settings say that the output matrix is not the embedding table */
    uint32_t alignment;
    size_t n_kv, n_tensor, n_part;
    struct gguf_kv *kv; /* of the first part, in file order */
    struct gguf_tensor *tensor;
    struct os_map *part; /* [n_part] */
    uint32_t *by_key;    /* [n_kv] sorted by key, for gguf_find */
    uint32_t *by_name;   /* [n_tensor] sorted by name */
    struct arena own;    /* what a built directory holds beside its parts; else empty */
    struct str shards;   /* of a folder: the files that tensors were looked for in; else empty */
};

/* Opens a file or, given the first file of a split set ("...-00001-of-0000N.gguf"), all of it.
 * ERR_NOTFOUND, ERR_IO, ERR_FORMAT (file, offset, field), ERR_UNSUPPORTED, ERR_NOMEM. */
enum err_code gguf_open(struct gguf **g, const char *path, bool copy, struct err *e);
/* The path of file i of those that it lies in (mem_free), NULL: out of memory. Not of a folder. */
char *gguf_part_path(const struct gguf *g, size_t i);
/* The parser alone, on one part's bytes, which must outlive *g; `name` is for messages. */
enum err_code gguf_parse(struct gguf **g, const char *name, const void *p, size_t n, struct err *e);
void gguf_close(struct gguf *g); /* NULL is fine */
/* True once a page of any part could not be read: everything computed since is void. */
bool gguf_lost(const struct gguf *g);

const struct gguf_kv *gguf_find(const struct gguf *g, const char *key); /* NULL if absent */
const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name);

/* get: the value, or an error that names file, key and expected type. Integers of any width are
 * taken where they fit, floats of either. ERR_FORMAT, ERR_RANGE (a negative number). `_or` gives
 * `def` if the key is absent, and still fails on a wrong type. A string is as the file has it:
 * any bytes. */
enum err_code gguf_get_u64(const struct gguf *g, const char *key, uint64_t *v, struct err *e);
enum err_code gguf_get_f64(const struct gguf *g, const char *key, double *v, struct err *e);
enum err_code gguf_get_str(const struct gguf *g, const char *key, struct str *v, struct err *e);
enum err_code gguf_get_u64_or(const struct gguf *g, const char *key, uint64_t def, uint64_t *v,
                              struct err *e);
enum err_code gguf_get_f64_or(const struct gguf *g, const char *key, double def, double *v,
                              struct err *e);
enum err_code gguf_get_bool_or(const struct gguf *g, const char *key, bool def, bool *v,
                               struct err *e);
/* An array of the given element type (any integer type for an integer type, either float type
 * for a float type); *kv = NULL if absent. */
enum err_code gguf_get_array(const struct gguf *g, const char *key, enum gguf_type elem,
                             const struct gguf_kv **kv, struct err *e);

/* Element i < n of an array of integers (a u64 past INT64_MAX gives INT64_MAX), booleans or
 * floats. */
int64_t gguf_int_at(const struct gguf_kv *kv, uint64_t i);
double gguf_f64_at(const struct gguf_kv *kv, uint64_t i);
/* Walks an array of strings: *pos = 0 starts; p = NULL after the last one. A mapped file that is
 * overwritten meanwhile can end the walk early, but never leads it outside of the mapping. */
struct str gguf_next_str(const struct gguf_kv *kv, uint64_t *pos);

const char *gguf_type_name(enum gguf_type t);

#endif
