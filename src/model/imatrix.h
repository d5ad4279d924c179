/* imatrix.h: how much each column of each linear layer matters: the mean square of its inputs.
 *
 * Owns the sums over a calibration text, and their files: llama.cpp's GGUF form (a tensor
 * NAME.in_sum2 [n_mat, n_col] and one NAME.counts [n_mat] for each layer) and its older one (.dat).
 * Refuses to compute: who runs the model hands the inputs in. Invariant: every value is finite and
 * not negative; files are read and never trusted.
 */
#ifndef IGN_MODEL_IMATRIX_H
#define IGN_MODEL_IMATRIX_H

#include "format/gguf.h"
#include "format/gguf_write.h"

struct imatrix_entry {
    char *name; /* of the weight's tensor */
    uint32_t n_mat, n_col;
    float *sum;   /* [n_mat, n_col] of squares */
    float *count; /* [n_mat] rows that were summed */
};

struct imatrix {
    struct imatrix_entry *entry; /* [n] sorted by name once it was read or sorted */
    size_t n, cap;
    size_t last;                 /* where imatrix_take found the last one */
    uint32_t n_chunk, chunk_tok; /* of the text: chunks, and tokens in each */
    char *dataset;               /* the text's file, or "" */
    char *path;                  /* where it was read from, or "" */
};

enum err_code imatrix_create(struct imatrix **im, struct err *e);
void imatrix_free(struct imatrix *im); /* NULL is fine */

/* The entry of a layer, made with zeros if need be; NULL: no memory, or another shape than it had.
 */
struct imatrix_entry *imatrix_take(struct imatrix *im, const char *name, uint32_t n_mat,
                                   uint32_t n_col);
/* Adds the squares of x [n_col] to matrix m. */
void imatrix_add(struct imatrix_entry *t, uint32_t m, const float *x);

/* Reads either form. ERR_FORMAT, ERR_LIMIT, ERR_NOTFOUND, ERR_IO, ERR_NOMEM. */
enum err_code imatrix_read(struct imatrix **im, const char *path, struct err *e);
/* The older form from memory. */
enum err_code imatrix_parse(struct imatrix **im, const char *name, const uint8_t *p, size_t n,
                            struct err *e);
/* Writes the GGUF form, or with `old` the other. */
enum err_code imatrix_save(struct imatrix *im, const char *path, bool old, struct err *e);

/* The keys by which a quantized file says what it was made with. */
void imatrix_put_keys(const struct imatrix *im, struct gguf_writer *w);
/* The importance of matrix m of a tensor's columns, mean 1, into weight [dim[0]], and *out =
 * weight; *out = NULL where `im` is NULL or has no such layer. ERR_FORMAT: a layer of another
 * shape. */
enum err_code imatrix_weights(const struct imatrix *im, const struct gguf_tensor *t, uint64_t m,
                              float *weight, const float **out, struct err *e);

#endif
