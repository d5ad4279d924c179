/* gguf_parse.h: what the files of the GGUF reader share with each other, and with nobody else.
 *
 * Owns the limits of what is read, the parser of one part, and the sorted indexes. Invariant:
 * nothing here trusts a number of the file that has not been compared with the bytes there are.
 */
#ifndef IGN_FORMAT_GGUF_PARSE_H
#define IGN_FORMAT_GGUF_PARSE_H

#include "format/gguf.h"

/* Far above every real file (a model has dozens of keys, at most tens of thousands of tensors,
 * some MB of vocabulary), low enough that a hostile one costs little. */
#define GGUF_MAX_KV     65536u
#define GGUF_MAX_TENSOR (1u << 20)
#define GGUF_MAX_HEADER ((size_t)256 << 20) /* bytes before the tensor data */
#define GGUF_MAX_KEY    65535u
#define GGUF_MAX_NAME   64u /* of a tensor; the specification's limit */
#define GGUF_MAX_ALIGN  (1u << 20)
#define GGUF_MAX_DIM    ((uint64_t)1 << 40)

#define GGUF_HINT_DAMAGED "the file is damaged or incomplete: get it again and compare its checksum"

/* Parses one part into an empty *g whose path is set. On an error *g is to be closed as it is. */
enum err_code gguf_parse_part(struct gguf *g, const void *p, size_t n, struct err *e);

/* Fills by_key, by_name; a key or name that is there twice is ERR_FORMAT. */
enum err_code gguf_index_keys(struct gguf *g, struct err *e);
enum err_code gguf_index_names(struct gguf *g, struct err *e);
/* ERR_FORMAT if two tensors of one part share a byte. */
enum err_code gguf_check_overlap(const struct gguf *g, struct err *e);

/* Bytes of one value; 0 for strings and arrays. */
size_t gguf_type_size(enum gguf_type t);

/* Fills the error: the text, "FILE, offset N, field F", and the hint (NULL: the file is damaged).
 * Returns `code`. */
enum err_code gguf_fail(struct err *e, enum err_code code, const struct gguf *g, uint64_t offset,
                        const char *field, const char *hint, const char *fmt, ...) IGN_PRINTF(7, 8);

/* A name for a message: at most 80 bytes of it, cut between characters. */
#define GGUF_NAME(s) gguf_shown_bytes(s), (s).p
int gguf_shown_bytes(struct str s);

/* Little-endian, unaligned. */
static inline uint64_t gguf_load(const uint8_t *p, size_t bytes) {
    uint64_t v = 0;
    for (size_t i = 0; i < bytes; i++) {
        v |= (uint64_t)p[i] << (8 * i);
    }
    return v;
}

#endif
