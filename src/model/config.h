/* config.h: from a file's metadata to numbers, through one descriptor per architecture.
 *
 * Owns the bounds: everything in `struct config` that leaves config_read is positive, finite and
 * small enough that no later product overflows. A descriptor (arch_llama.c, arch_qwen2.c) is data
 * and at most one function for what its family does differently.
 */
#ifndef IGN_MODEL_CONFIG_H
#define IGN_MODEL_CONFIG_H

#include "base/err.h"
#include "format/gguf.h"
#include "model/model.h"

#define CONFIG_D_HEAD_MAX 1024

struct arch {
    const char *name; /* general.architecture, and the prefix of its keys */
    bool rope_halves;
    bool qkv_bias; /* biases are required; else bound where the file has them */
    enum kern_act act;
    /* What only this family has; may be NULL. Called after the common keys have been read. */
    enum err_code (*extra)(struct config *c, const struct gguf *g, struct err *e);
};

extern const struct arch arch_llama, arch_qwen2;

/* ERR_UNSUPPORTED names an unknown architecture and lists the known ones; ERR_FORMAT names key,
 * value and bounds. */
enum err_code config_read(struct config *c, const struct gguf *g, struct err *e);

/* RoPE: angle per position of each rotated pair, with linear, Llama 3.1 (rope_freqs.weight) and
 * YaRN scaling included, freq [n_rot / 2]; sets c->rope_scale. ERR_FORMAT, ERR_UNSUPPORTED.
 * Sources: Su et al. 2021; Peng et al. 2023 (YaRN). */
enum err_code rope_freqs(struct config *c, const struct gguf *g, float *freq, struct err *e);

#endif
