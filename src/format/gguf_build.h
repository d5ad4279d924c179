/* gguf_build.h: a directory like a GGUF file's, made in memory out of something else.
 *
 * Owns the bytes of the values and names that it is given (they are copied) and the tables; the
 * tensors' data are views into the parts, which the caller opens into g->part. Failure is latched:
 * once memory ran out or a value was refused, the rest is ignored, and gguf_build_end says why.
 * Invariant: what gguf_build_end gives can be asked everything that an opened file can.
 */
#ifndef IGN_FORMAT_GGUF_BUILD_H
#define IGN_FORMAT_GGUF_BUILD_H

#include "format/gguf.h"

struct gguf_build {
    struct gguf *g; /* NULL where there was no memory */
    size_t cap_kv, cap_tensor;
    enum err_code code;
    struct err *e;
};

/* `path` is for messages. */
void gguf_build_begin(struct gguf_build *b, const char *path, struct err *e);
/* Sorts the tables and hands over; on an error *g = NULL and everything, parts included, is closed.
 * ERR_FORMAT: a key or a name is there twice. ERR_NOMEM. */
enum err_code gguf_build_end(struct gguf_build *b, struct gguf **g);

/* Room for n parts, which the caller opens one after the other, counting them in g->n_part. */
enum err_code gguf_build_parts(struct gguf_build *b, size_t n);

/* A key and its value. `from`: what the source calls it (NULL: the same), not copied. */
void gguf_build_u32(struct gguf_build *b, const char *key, uint32_t v, const char *from);
void gguf_build_f32(struct gguf_build *b, const char *key, float v, const char *from);
void gguf_build_bool(struct gguf_build *b, const char *key, bool v);
void gguf_build_str(struct gguf_build *b, const char *key, struct str v);
/* Arrays. */
void gguf_build_strs(struct gguf_build *b, const char *key, const struct str *v, size_t n);
void gguf_build_i32s(struct gguf_build *b, const char *key, const int32_t *v, size_t n);
/* An array of f32, or of f64 where one of them is no f32. */
void gguf_build_reals(struct gguf_build *b, const char *key, const double *v, size_t n);
void gguf_build_bytes(struct gguf_build *b, const char *key, struct str v); /* an array of u8 */

/* A tensor; its strings are copied, its `data` and `mat` are not. */
void gguf_build_tensor(struct gguf_build *b, const struct gguf_tensor *t);
/* Memory that lives as long as the directory; NULL (latched) when there is none. */
void *gguf_build_alloc(struct gguf_build *b, size_t n, size_t size);
/* A copy of a string, as above; empty on failure. */
struct str gguf_build_copy(struct gguf_build *b, struct str s);

#endif
