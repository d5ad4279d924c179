/* arch_gemma.c: Gemma 2 and Gemma 3 (their text models).
 *
 * Both normalize before and after each block, scale the embedding by sqrt(d_model), and take turns
 * of layers with a window and without. Their norms multiply by 1 + w: a GGUF file holds the sum.
 * Gemma 2 caps scores and logits; Gemma 3 normalizes queries and keys instead, and its local
 * layers rotate by a base of their own.
 * Sources: Gemma Team 2024 (Gemma 2), 2025 (Gemma 3).
 */
#include <math.h>
#include <stdio.h>

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

/* ---- folders ---------------------------------------------------------------------------- */

static const struct hf_name hf_names[] = {
    {"input_layernorm.weight", "attn_norm.weight", HF_PLUS_ONE},
    {"post_attention_layernorm.weight", "post_attention_norm.weight", HF_PLUS_ONE},
    {"pre_feedforward_layernorm.weight", "ffn_norm.weight", HF_PLUS_ONE},
    {"post_feedforward_layernorm.weight", "post_ffw_norm.weight", HF_PLUS_ONE},
    {"self_attn.q_norm.weight", "attn_q_norm.weight", HF_PLUS_ONE},
    {"self_attn.k_norm.weight", "attn_k_norm.weight", HF_PLUS_ONE},
    {"norm.weight", "output_norm.weight", HF_PLUS_ONE},
    {0},
};

/* Scores are scaled by what no key of a GGUF file says: it must be what the rule above gives. */
static enum err_code check_scale(struct gguf_build *b, const struct arch *a,
                                 const struct json *config, uint32_t largest, struct err *e) {
    double heads = hf_known_int(b, a, "attention.head_count");
    double want = hf_known_int(b, a, "block_count") == largest && heads > 0
                      ? hf_known_int(b, a, "embedding_length") / heads
                      : hf_known_int(b, a, "attention.key_length");
    double said = hf_number(b, config, "query_pre_attn_scalar", want);
    return said == want
               ? ERR_OK
               : err_set(e, ERR_UNSUPPORTED, "'query_pre_attn_scalar' is %g, not %g", said, want);
}

/* "layer_types", where it is not the custom of the family: every `period`-th layer sees all. */
static enum err_code put_locals(struct gguf_build *b, const struct arch *a,
                                const struct json *config, size_t period, struct err *e) {
    static const struct hf_key pattern = {.from = "sliding_window_pattern",
                                          .key = "attention.sliding_window_pattern",
                                          .kind = HF_INT};
    int32_t local[CONFIG_LAYER_MAX];
    uint32_t n_layer = hf_known_int(b, a, "block_count");
    bool usual = true, listed;
    if (n_layer > CONFIG_LAYER_MAX) {
        return b->code; /* config.c names the bound */
    }
    enum err_code rc = hf_layer_types(config, n_layer, local, &listed, e);
    if (rc || !listed) {
        return rc ? rc : hf_put_key(b, a, config, &pattern, e);
    }
    for (uint32_t i = 0; i < n_layer; i++) {
        usual = usual && local[i] == (i % period != period - 1);
    }
    if (!usual) {
        hf_put_locals(b, a, local, n_layer);
    }
    return b->code;
}

/* What the family's class has by default, and what cannot be taken from it by a null: descriptors
 * and other programs take the default where a GGUF file has no key. */
static enum err_code check_not_null(const struct json *config, const char *const *names,
                                    struct err *e) {
    for (; *names; names++) {
        const struct json *j = json_find(config, *names);
        if (j && json_kind(j) == JSON_IS_NULL) {
            return err_set(e, ERR_UNSUPPORTED, "'%s' is null: models of this kind have one",
                           *names);
        }
    }
    return ERR_OK;
}

static enum err_code gemma2_hf_extra(struct gguf_build *b, const struct arch *a,
                                     const struct json *config, struct err *e) {
    static const char *const own[] = {"sliding_window", "attn_logit_softcapping",
                                      "final_logit_softcapping", NULL};
    enum err_code rc = check_not_null(config, own, e);
    rc = rc ? rc : check_scale(b, a, config, 46, e);
    return rc ? rc : put_locals(b, a, config, 2, e);
}

/* The files of Gemma 3 leave out most of what their configuration class has as its defaults. */
static enum err_code gemma3_hf_extra(struct gguf_build *b, const struct arch *a,
                                     const struct json *config, struct err *e) {
    const struct json *all = json_find(config, "rope_parameters");
    const struct json *local =
        all && json_kind(all) == JSON_IS_OBJECT ? json_find(all, "sliding_attention") : NULL;
    const struct json *rope = hf_rope_of(config);
    static const char *const own[] = {"sliding_window", NULL};
    double base = hf_number(b, config, "rope_local_base_freq", 10000);
    if (local && json_kind(local) == JSON_IS_OBJECT) {
        base = hf_number(b, local, "rope_theta", base);
    }
    hf_put_real(b, a, "rope.freq_base_swa", base, "rope_local_base_freq");
    if (!json_find(config, "rope_theta") && !(rope && json_find(rope, "rope_theta"))) {
        hf_put_real(b, a, "rope.freq_base", 1e6, "rope_theta");
    }
    enum err_code rc = check_not_null(config, own, e);
    rc = rc ? rc : check_scale(b, a, config, 62, e);
    return rc ? rc : put_locals(b, a, config, 6, e);
}

static const char *const gemma2_types[] = {"gemma2", NULL};
static const char *const gemma3_types[] = {"gemma3_text", NULL};
static const char *const gemma2_classes[] = {"Gemma2ForCausalLM", NULL};
/* The second is of pictures, too; its text model is the same. */
static const char *const gemma3_classes[] = {"Gemma3ForCausalLM", "Gemma3ForConditionalGeneration",
                                             NULL};

static const struct hf_key gemma2_keys[] = {
    {"sliding_window", "attention.sliding_window", HF_INT, 4096, NULL},
    {"attn_logit_softcapping", "attn_logit_softcapping", HF_REAL, 0, NULL},
    {"final_logit_softcapping", "final_logit_softcapping", HF_REAL, 0, NULL},
    {0},
};

static const struct hf_key gemma3_keys[] = {
    {"num_attention_heads", "attention.head_count", HF_INT, 8, NULL},
    {"num_key_value_heads", "attention.head_count_kv", HF_INT, 4, NULL},
    {"head_dim", "attention.key_length", HF_INT, 256, NULL},
    {"head_dim", "attention.value_length", HF_INT, 256, NULL},
    {"max_position_embeddings", "context_length", HF_INT, 131072, NULL},
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon", HF_REAL, 1e-6, NULL},
    {"sliding_window", "attention.sliding_window", HF_INT, 4096, NULL},
    {"attn_logit_softcapping", "attn_logit_softcapping", HF_REAL, 0, NULL},
    {"final_logit_softcapping", "final_logit_softcapping", HF_REAL, 0, NULL},
    {0},
};

static const struct hf_family gemma2_hf = {.types = gemma2_types,
                                           .classes = gemma2_classes,
                                           .keys = gemma2_keys,
                                           .names = hf_names,
                                           .extra = gemma2_hf_extra};
static const struct hf_family gemma3_hf = {.types = gemma3_types,
                                           .classes = gemma3_classes,
                                           .local_base = true,
                                           .keys = gemma3_keys,
                                           .names = hf_names,
                                           .extra = gemma3_hf_extra};

const struct arch arch_gemma2 = {
    .name = "gemma2",
    .hf = &gemma2_hf,
    .rope_halves = true,
    .post_norm = true,
    .act = ACT_GELU,
    .extra = gemma2_extra,
};

const struct arch arch_gemma3 = {
    .name = "gemma3",
    .hf = &gemma3_hf,
    .rope_halves = true,
    .qk_norm = true,
    .post_norm = true,
    .act = ACT_GELU,
    .extra = gemma3_extra,
};
