/* arch_qwen2.c: Qwen2 and Qwen2.5, dense. Source: Yang et al. 2024 (Qwen2 technical report). */
#include "model/config.h"

const struct arch arch_qwen2 = {
    .name = "qwen2",
    .rope_halves = true,
    .qkv_bias = true,
    .act = ACT_SILU,
};
