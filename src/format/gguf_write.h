/* gguf_write.h: writes GGUF version 3, as a stream: the directory first, then the tensors in order.
 *
 * Owns the header, the alignment of each tensor's data, and the temporary file that becomes `path`
 * when everything is there. Refuses meaning: what keys say is the caller's. Invariant: a file that
 * is not committed is not there. Source: the GGUF specification.
 */
#ifndef IGN_FORMAT_GGUF_WRITE_H
#define IGN_FORMAT_GGUF_WRITE_H

#include "format/gguf.h"

struct gguf_writer {
    struct buf kv, info; /* pairs and directory lines */
    uint32_t alignment;
    uint64_t n_kv, n_tensor, next; /* next: offset of the next tensor's data */
    struct os_out *file;           /* NULL before gguf_write_begin */
    uint64_t done;                 /* bytes of tensor data so far, padding included */
};

void gguf_write_init(struct gguf_writer *w, uint32_t alignment);
/* Pairs: one that was read, as it is; or made here. */
void gguf_write_kv(struct gguf_writer *w, const struct gguf_kv *kv);
void gguf_write_u32(struct gguf_writer *w, const char *key, uint32_t v);
void gguf_write_str(struct gguf_writer *w, const char *key, struct str v);
/* The header of an array of n strings, which follow as gguf_write_item. */
void gguf_write_strings(struct gguf_writer *w, const char *key, uint64_t n);
void gguf_write_item(struct gguf_writer *w, struct str v);
/* The next line of the directory: its data, `bytes`, will come in this order. */
void gguf_write_tensor(struct gguf_writer *w, struct str name, uint32_t type, uint32_t n_dim,
                       const uint64_t *dim, uint64_t bytes);
/* Bytes that the whole file will have. */
uint64_t gguf_write_size(const struct gguf_writer *w);
/* Opens the temporary file and writes the directory. ERR_IO, ERR_NOMEM. */
enum err_code gguf_write_begin(struct gguf_writer *w, const char *path, struct err *e);
/* Data of the tensor in hand, in pieces; gguf_write_end after its last fills up to the alignment.
 */
enum err_code gguf_write_data(struct gguf_writer *w, const void *p, size_t n, struct err *e);
enum err_code gguf_write_end(struct gguf_writer *w, struct err *e);
/* Flushes and renames. */
enum err_code gguf_write_commit(struct gguf_writer *w, struct err *e);
void gguf_write_fini(struct gguf_writer *w); /* drops a file that was not committed */

#endif
