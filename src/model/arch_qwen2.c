/* arch_qwen2.c: Qwen2 and Qwen2.5, dense. Source: Yang et al. 2024 (Qwen2 technical report). */
#include "model/config.h"

static const char *const hf_types[] = {"qwen2", NULL};
static const char *const hf_classes[] = {"Qwen2ForCausalLM", NULL};
static const char *const hf_bodies[] = {"Qwen2Model", NULL};
static const struct hf_family qwen2_hf = {
    .types = hf_types, .classes = hf_classes, .bodies = hf_bodies, .extra = hf_some_windows};

const struct arch arch_qwen2 = {
    .name = "qwen2",
    .hf = &qwen2_hf,
    .rope_halves = true,
    .qkv_bias = true,
    .act = ACT_SILU,
    .extra = config_some_windows,
};
