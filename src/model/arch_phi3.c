/* arch_phi3.c: Phi-3, Phi-3.5 and Phi-4, dense.
 *
 * One matrix gives q, k and v, another gate and up. The models of 128k positions bring two lists
 * of factors for the rotation (rope.c). The window of the 4k models is in force, as in the paper.
 * Sources: Abdin et al. 2024 (Phi-3); Ding et al. 2024 (LongRoPE).
 */
#include "model/config.h"

static enum err_code phi3_extra(struct config *c, const struct gguf *g, struct err *e) {
    return config_window(c, g, 0, 0, e);
}

static const char *const hf_types[] = {"phi3", NULL};
static const struct hf_key hf_keys[] = {
    {"sliding_window", "attention.sliding_window", HF_INT, 0, NULL},
    {0},
};
static const char *const hf_classes[] = {"Phi3ForCausalLM", NULL};
static const struct hf_name hf_names[] = {
    {"self_attn.qkv_proj.weight", "attn_qkv.weight", HF_AS_IT_IS},
    {"mlp.gate_up_proj.weight", "ffn_up.weight", HF_AS_IT_IS},
    {0},
};
static const struct hf_family phi3_hf = {.types = hf_types,
                                         .classes = hf_classes,
                                         .part_rotates = true,
                                         .keys = hf_keys,
                                         .names = hf_names};

const struct arch arch_phi3 = {
    .name = "phi3",
    .hf = &phi3_hf,
    .rope_halves = true,
    .fused = true,
    .act = ACT_SILU,
    .extra = phi3_extra,
};
