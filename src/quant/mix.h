/* mix.h: which type each tensor of a model gets in a file of a given kind.
 *
 * Owns the kinds that can be written, their names and GGUF numbers, and the choices layer by layer.
 * Refuses files. The choices are those of llama.cpp (llama_tensor_get_type), so that a file of a
 * kind has the size that its name promises; `int8` and `int4` are names for the best of about 8.5
 * and 4.8 bits a weight.
 */
#ifndef IGN_QUANT_MIX_H
#define IGN_QUANT_MIX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/dtype.h"

struct mix_kind {
    const char *name;   /* "q4_k_m" */
    uint32_t file_type; /* general.file_type */
    enum dtype type;    /* of most tensors */
};

/* NULL if there is no such name. */
const struct mix_kind *mix_find(const char *name);

/* What the choices depend on beside the tensor. */
struct mix_model {
    int n_layer, n_exp; /* 0 experts: dense */
    int n_group;        /* query heads for each key head */
    bool tied;          /* no output.weight: the embedding table is used twice */
    bool importance;    /* there is an importance matrix */
    bool is_70b;        /* 80 layers, grouped heads (Llama 70B, Qwen 72B): its values are small
                           beside it */
};

/* The type for a tensor of n_dim dimensions and rows of n_col, which is of type `from` now. */
enum dtype mix_choose(const struct mix_kind *k, const struct mix_model *m, struct str name,
                      uint32_t n_dim, uint64_t n_col, enum dtype from);

#endif
