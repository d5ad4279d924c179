/* arch_qwen3.c: Qwen3, dense. Source: Yang et al. 2025 (Qwen3 technical report). */
#include "model/config.h"

const struct arch arch_qwen3 = {
    .name = "qwen3",
    .rope_halves = true,
    .qk_norm = true,
    .act = ACT_SILU,
};
