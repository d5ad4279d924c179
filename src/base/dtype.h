/* dtype.h: the element types of tensors: their GGUF numbers, names and block sizes.
 *
 * Owns the numbers (those of the GGUF specification, which this program uses throughout) and
 * the arithmetic of sizes. Refuses to own layouts: those are quant/quant.h's.
 */
#ifndef IGN_BASE_DTYPE_H
#define IGN_BASE_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dtype {
    DT_F32 = 0,
    DT_F16 = 1,
    DT_Q4_0 = 2,
    DT_Q4_1 = 3,
    DT_Q5_0 = 6,
    DT_Q5_1 = 7,
    DT_Q8_0 = 8,
    DT_Q2_K = 10,
    DT_Q3_K = 11,
    DT_Q4_K = 12,
    DT_Q5_K = 13,
    DT_Q6_K = 14,
    DT_Q8_K = 15,
    DT_IQ4_NL = 20,
    DT_IQ4_XS = 23,
    DT_I8 = 24, /* of a KV cache only: no tensor of this type is read */
    DT_BF16 = 30,
    DT_MAX = 43 /* one past the largest number that the specification has given out */
};

struct dtype_info {
    const char *name; /* "Q4_K"; NULL for a number never given out */
    unsigned block;   /* elements in a block; 0 if this program cannot read the type */
    unsigned bytes;   /* bytes in a block */
};

/* Never NULL: a type out of range has a NULL name. Types that exist but are refused have a name
 * and block 0, so that the error can name them. */
const struct dtype_info *dtype_info(uint32_t type);
/* Bytes of a row of n elements; false if the type is unreadable, n is not a whole number of
 * blocks, or the size overflows. */
bool dtype_row_bytes(uint32_t type, uint64_t n, size_t *bytes);

/* Numbers of an int8 row in the KV cache that have a scale (bf16) together. */
enum { DTYPE_KV_GROUP = 32 };

/* What a KV cache of a type holds a layer's keys (value = 0) or values as: of an int8 cache the
 * first layer's keys are f16. They depend on the token alone, and where a model has biases of keys
 * they are where its rounding does most harm (docs/speed/ATTENTION.md). */
enum dtype dtype_kv_part(enum dtype cache, int layer, int value);
/* Bytes of n numbers of one position of such a part, scales included; 0 for a type that no KV cache
 * has. */
size_t dtype_kv_bytes(enum dtype part, int n);
/* Bytes of one position in a cache: keys and values of all layers. 0 likewise. */
size_t dtype_kv_position(enum dtype cache, int n_layer, int n_kv, int d_head);
/* "f32", "f16", "int8"; "unknown" for a type that no KV cache has. */
const char *dtype_kv_name(uint32_t type);

#endif
