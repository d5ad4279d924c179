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

const struct arch arch_phi3 = {
    .name = "phi3",
    .rope_halves = true,
    .fused = true,
    .act = ACT_SILU,
    .extra = phi3_extra,
};
