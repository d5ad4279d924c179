/* arch_gemma.c: Gemma 2 and Gemma 3 (their text models).
 *
 * Both normalize before and after each block, scale the embedding by sqrt(d_model), and take turns
 * of layers with a window and without. Their norms multiply by 1 + w: a GGUF file holds the sum.
 * Gemma 2 caps scores and logits; Gemma 3 normalizes queries and keys instead, and its local
 * layers rotate by a base of their own.
 * Sources: Gemma Team 2024 (Gemma 2), 2025 (Gemma 3).
 */
#include <math.h>

#include "model/config.h"
#include "model/hparam.h"

/* The largest of each generation scores with the width of the residual stream that a head has, and
 * no key says so. */
static void scale_by_layers(struct config *c, int largest) {
    if (c->n_layer == largest) {
        c->attn_scale = (float)(1 / sqrt((double)c->d_model / c->n_head));
    }
    c->embed_scale = (float)sqrt(c->d_model);
}

static enum err_code gemma2_extra(struct config *c, const struct gguf *g, struct err *e) {
    scale_by_layers(c, 46);
    enum err_code rc = config_window(c, g, 4096, 2, e);
    return rc ? rc : config_caps(c, g, 50, 30, e);
}

static enum err_code gemma3_extra(struct config *c, const struct gguf *g, struct err *e) {
    struct hparam h = {.g = g, .arch = c->arch, .n_layer = c->n_layer, .e = e};
    double base;
    scale_by_layers(c, 62);
    enum err_code rc = config_window(c, g, 0, 6, e);
    if (rc || (rc = config_caps(c, g, 0, 0, e)) ||
        (rc = hparam_real(&h, "rope.freq_base_swa", 10000, 1.001, 1e15, &base))) {
        return rc;
    }
    c->rope_base_local = (float)base;
    return ERR_OK;
}

const struct arch arch_gemma2 = {
    .name = "gemma2",
    .rope_halves = true,
    .post_norm = true,
    .act = ACT_GELU,
    .extra = gemma2_extra,
};

const struct arch arch_gemma3 = {
    .name = "gemma3",
    .rope_halves = true,
    .qk_norm = true,
    .post_norm = true,
    .act = ACT_GELU,
    .extra = gemma3_extra,
};
