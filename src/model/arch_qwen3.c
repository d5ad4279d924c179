/* arch_qwen3.c: Qwen3, dense. Source: Yang et al. 2025 (Qwen3 technical report). */
#include "model/config.h"

static const char *const hf_types[] = {"qwen3", NULL};
static const char *const hf_classes[] = {"Qwen3ForCausalLM", NULL};
static const char *const hf_bodies[] = {"Qwen3Model", NULL};
static const struct hf_family qwen3_hf = {
    .types = hf_types, .classes = hf_classes, .bodies = hf_bodies, .extra = hf_some_windows};

const struct arch arch_qwen3 = {
    .name = "qwen3",
    .hf = &qwen3_hf,
    .rope_halves = true,
    .qk_norm = true,
    .act = ACT_SILU,
    .extra = config_some_windows,
};
