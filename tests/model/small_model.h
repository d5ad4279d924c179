/* small_model.h: the smallest model that this program accepts, to be broken one field at a time.
 *
 * Two layers, a vocabulary of six, all weights f32. A test names the key or tensor to leave out and
 * puts its own in place. Header only.
 */
#ifndef IGN_TESTS_MODEL_SMALL_MODEL_H
#define IGN_TESTS_MODEL_SMALL_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "format/gguf_builder.h"

enum { SMALL_D = 32, SMALL_FF = 64, SMALL_KV = 16, SMALL_VOCAB = 6, SMALL_EXP = 4 };

struct small_opts {
    const char *arch;        /* NULL: "llama" */
    const char *skip_key;    /* after the architecture's prefix, or whole */
    const char *skip_tensor; /* whole name */
    bool experts;
    bool biases;                    /* of q, k, v */
    bool qk_norm, post_norm, fused; /* as in struct config */
    float weight;                   /* every weight, instead of a pattern; 0: the pattern */
    bool no_tensors;
};

static inline bool small_wants(const char *name, const char *skip) {
    return !skip || strcmp(name, skip) != 0;
}

static inline void small_u32(struct builder *b, const struct small_opts *o, const char *name,
                             uint32_t v) {
    char key[96];
    snprintf(key, sizeof key, "%s.%s", o->arch ? o->arch : "llama", name);
    if (small_wants(name, o->skip_key)) {
        builder_kv_u32(b, key, v);
    }
}

/* Numbers between -0.5 and 0.5 that do not repeat with the row length. */
static inline void small_tensor(struct builder *b, const struct small_opts *o, const char *name,
                                uint64_t n_col, uint64_t n_row, uint64_t n_mat) {
    static float w[SMALL_EXP * SMALL_D * SMALL_FF];
    uint64_t n = n_col * n_row * n_mat;
    for (uint64_t i = 0; i < n; i++) {
        w[i] = o->weight != 0 ? o->weight : (float)(i * 7919 % 1009) / 1009 - 0.5f;
    }
    if (small_wants(name, o->skip_tensor)) {
        builder_tensor(b, name, DT_F32,
                       n_mat > 1   ? 3
                       : n_row > 1 ? 2
                                   : 1,
                       (uint64_t[]){n_col, n_row, n_mat}, w);
    }
}

static inline void small_layer(struct builder *b, const struct small_opts *o, int layer) {
    const uint64_t e = o->experts ? SMALL_EXP : 1;
    const char *exps = o->experts ? "_exps" : "";
    const struct {
        const char *name, *more;
        uint64_t n_col, n_row, n_mat;
        bool absent;
    } all[] = {
        {"attn_norm", "", SMALL_D, 1, 1, false},
        {"attn_q", "", SMALL_D, SMALL_D, 1, o->fused},
        {"attn_k", "", SMALL_D, SMALL_KV, 1, o->fused},
        {"attn_v", "", SMALL_D, SMALL_KV, 1, o->fused},
        {"attn_qkv", "", SMALL_D, SMALL_D + 2 * SMALL_KV, 1, !o->fused},
        {"attn_q_norm", "", SMALL_KV, 1, 1, !o->qk_norm},
        {"attn_k_norm", "", SMALL_KV, 1, 1, !o->qk_norm},
        {"post_attention_norm", "", SMALL_D, 1, 1, !o->post_norm},
        {"post_ffw_norm", "", SMALL_D, 1, 1, !o->post_norm},
        {"attn_output", "", SMALL_D, SMALL_D, 1, false},
        {"ffn_norm", "", SMALL_D, 1, 1, false},
        {"ffn_gate_inp", "", SMALL_D, SMALL_EXP, 1, !o->experts},
        {"ffn_gate", exps, SMALL_D, SMALL_FF, e, o->fused},
        {"ffn_up", exps, SMALL_D, o->fused ? 2 * SMALL_FF : SMALL_FF, e, false},
        {"ffn_down", exps, SMALL_FF, SMALL_D, e, false},
    };
    char name[64];
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        snprintf(name, sizeof name, "blk.%d.%s%s.weight", layer, all[i].name, all[i].more);
        if (!all[i].absent) {
            small_tensor(b, o, name, all[i].n_col, all[i].n_row, all[i].n_mat);
        }
    }
    for (int i = 0; o->biases && i < 3; i++) {
        snprintf(name, sizeof name, "blk.%d.attn_%c.bias", layer, "qkv"[i]);
        small_tensor(b, o, name, i ? SMALL_KV : SMALL_D, 1, 1);
    }
}

static inline void small_vocab(struct builder *b) {
    static const char *const piece[SMALL_VOCAB] = {"a", "b", "c", "d", "e", "<|end|>"};
    static const int32_t kind[SMALL_VOCAB] = {1, 1, 1, 1, 1, 3};
    builder_kv_str(b, "tokenizer.ggml.model", "gpt2");
    builder_kv_str(b, "tokenizer.ggml.pre", "gpt-2");
    builder_kv_strs(b, "tokenizer.ggml.tokens", piece, SMALL_VOCAB);
    builder_kv_i32s(b, "tokenizer.ggml.token_type", kind, SMALL_VOCAB);
    builder_kv_u32(b, "tokenizer.ggml.eos_token_id", SMALL_VOCAB - 1);
}

/* Everything but what is to be left out; the caller adds its own and finishes the builder. */
static inline void small_build(struct builder *b, const struct small_opts *o) {
    const char *eps = "attention.layer_norm_rms_epsilon";
    char key[96];
    builder_init(b);
    if (small_wants("general.architecture", o->skip_key)) {
        builder_kv_str(b, "general.architecture", o->arch ? o->arch : "llama");
    }
    small_u32(b, o, "block_count", 2);
    small_u32(b, o, "context_length", 64);
    small_u32(b, o, "embedding_length", SMALL_D);
    small_u32(b, o, "feed_forward_length", SMALL_FF);
    small_u32(b, o, "attention.head_count", 2);
    small_u32(b, o, "attention.head_count_kv", 1);
    if (o->experts) {
        small_u32(b, o, "expert_count", SMALL_EXP);
        small_u32(b, o, "expert_used_count", 2);
    }
    snprintf(key, sizeof key, "%s.%s", o->arch ? o->arch : "llama", eps);
    if (small_wants(eps, o->skip_key)) {
        builder_kv_f32(b, key, 1e-5f);
    }
    small_vocab(b);
    if (o->no_tensors) {
        return;
    }
    small_tensor(b, o, "token_embd.weight", SMALL_D, SMALL_VOCAB, 1);
    small_tensor(b, o, "output_norm.weight", SMALL_D, 1, 1);
    for (int i = 0; i < 2; i++) {
        small_layer(b, o, i);
    }
}

#endif
