/* mix.h: which type each tensor of a model gets in a file of a given kind.
 *
 * Owns the kinds that can be written, their names and GGUF numbers, and the choices layer by layer.
 * Refuses files. The choices are those of llama.cpp (llama_tensor_get_type), so that a file of a
 * kind has the size that its name promises; where the head's rows are no whole super-blocks the
 * same bytes are spread better, and a type is no more than a promise of size. `int8` and `int4` are
 * names for the best of about 8.5 and 4.8 bits a weight.
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
    enum dtype type;    /* of most tensors, where nothing is spread */
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
    uint64_t align;     /* of a tensor's bytes in the file */
};

struct mix_tensor {
    struct str name;
    uint32_t n_dim;
    uint64_t n_col, n_row; /* of a row; of all matrices */
    enum dtype from, to;   /* now; in the file */
    double weight;         /* what its errors cost, of mix_plan's own use */
};

/* Fills in `to` of t [n], all tensors of a model: a type whose blocks divide the row. Together they
 * are no larger than with llama.cpp's choices, and no tensor but the head (what the logits are made
 * of) has fewer bits. */
void mix_plan(const struct mix_kind *k, const struct mix_model *m, struct mix_tensor *t, size_t n);

#endif
