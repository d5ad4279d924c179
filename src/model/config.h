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
#include "model/hf.h"
#include "model/model.h"

#define CONFIG_D_HEAD_MAX 1024
#define CONFIG_CTX_MAX    (1 << 24) /* positions are exact as floats up to here */

struct arch {
    const char *name; /* general.architecture, and the prefix of its keys */
    bool rope_halves;
    bool qkv_bias;                  /* biases are required; else bound where the file has them */
    bool qk_norm, post_norm, fused; /* as in struct config */
    bool encoder;                   /* as in struct config */
    enum kern_act act;
    const struct hf_family *hf; /* what Hugging Face folders of it say; model/hf.h */
    /* What only this family has; may be NULL. Called after the common keys have been read. */
    enum err_code (*extra)(struct config *c, const struct gguf *g, struct err *e);
};

extern const struct arch arch_llama, arch_qwen2, arch_qwen3, arch_gemma2, arch_gemma3, arch_phi3,
    arch_bert;

/* The architecture of this name; NULL if it is unknown. */
const struct arch *arch_of_name(struct str name);
/* The architecture that reads folders of this model_type. ERR_UNSUPPORTED lists the known ones. */
enum err_code arch_of_type(const struct arch **a, struct str type, struct err *e);

/* ERR_UNSUPPORTED names an unknown architecture and lists the known ones; ERR_FORMAT names key,
 * value and bounds. */
enum err_code config_read(struct config *c, const struct gguf *g, struct err *e);

/* For descriptors: c->window from attention.sliding_window (`def` where the key is absent), and
 * c->local: every `period`-th layer attends to all, the others are local; 0: all are local. What
 * the file says in attention.sliding_window_pattern, a period or a flag for each layer, counts
 * more. ERR_FORMAT. */
enum err_code config_window(struct config *c, const struct gguf *g, int def, int period,
                            struct err *e);
/* A descriptor's `extra`: as config_window, where the file flags the local layers; without flags
 * there is no window, though there may be its length: layers of Qwen have it and do not use it. */
enum err_code config_some_windows(struct config *c, const struct gguf *g, struct err *e);
/* For descriptors: attn_logit_softcapping and final_logit_softcapping, 0: none. ERR_FORMAT. */
enum err_code config_caps(struct config *c, const struct gguf *g, double attn, double logit,
                          struct err *e);

/* RoPE: angle per position of each rotated pair, all scaling included: linear, Llama 3.1
 * (rope_freqs.weight), YaRN, long factors (rope_factors_short.weight up to the context that the
 * model was trained for at first, rope_factors_long.weight where n_ctx, the positions that there
 * is room for, is more). freq [n_rot / 2]; sets c->rope_scale. ERR_FORMAT, ERR_UNSUPPORTED.
 * Sources: Su et al. 2021; Peng et al. 2023 (YaRN); Ding et al. 2024 (LongRoPE). */
enum err_code rope_freqs(struct config *c, const struct gguf *g, int n_ctx, float *freq,
                         struct err *e);
/* The same for local layers, whose angles are those of c->rope_base_local, which is not 0. */
void rope_freqs_local(const struct config *c, float *freq);

#endif
