/* config_seeds.c: writes the seeds of fuzz_config, one for each family.
 *
 *     config_seeds tests/model/corpus_config
 *
 * The files have all keys, and of the tensors those that a configuration is read from.
 */
#include "model/small_model.h"

static void add_keys(struct builder *b, const char *arch) {
    static const uint8_t local[2] = {1, 0};
    char key[96];
#define KEY(name) (snprintf(key, sizeof key, "%s.%s", arch, name), key)
    builder_kv_u32(b, KEY("attention.sliding_window"), 8);
    if (strcmp(arch, "gemma3") == 0) {
        builder_kv_array(b, KEY("attention.sliding_window_pattern"), BT_BOOL, local, 2, 2);
        builder_kv_f32(b, KEY("rope.freq_base_swa"), 10000);
    } else {
        builder_kv_u32(b, KEY("attention.sliding_window_pattern"), 2);
    }
    builder_kv_f32(b, KEY("attn_logit_softcapping"), 50);
    builder_kv_f32(b, KEY("final_logit_softcapping"), 30);
    builder_kv_u32(b, KEY("attention.key_length"), 16);
    builder_kv_u32(b, KEY("rope.dimension_count"), 8);
    builder_kv_u32(b, KEY("rope.scaling.original_context_length"), 32);
    builder_kv_f32(b, KEY("rope.scaling.factor"), 2);
    builder_kv_f32(b, KEY("rope.scaling.attn_factor"), 1.2f);
    if (strcmp(arch, "qwen2") == 0) {
        builder_kv_str(b, KEY("rope.scaling.type"), "yarn");
    }
}

int main(int argc, char **argv) {
    static const char *const archs[] = {"llama",  "qwen2", "qwen3", "gemma2",
                                        "gemma3", "phi3",  "bert"};
    static const float factor[4] = {1, 1, 2, 4};
    bool ok = argc == 2;
    for (size_t i = 0; ok && i < sizeof archs / sizeof *archs; i++) {
        const char *arch = archs[i];
        struct builder b;
        struct small_opts o = {.arch = arch, .experts = i == 0, .no_tensors = true};
        char path[512];
        snprintf(path, sizeof path, "%s/%s.gguf", argv[1], arch);
        small_build(&b, &o);
        add_keys(&b, arch);
        builder_tensor(&b, "token_embd.weight", DT_Q4_0, 2, (uint64_t[]){SMALL_D, SMALL_VOCAB},
                       NULL);
        if (strcmp(arch, "phi3") == 0) {
            const uint64_t n[] = {4};
            builder_tensor(&b, "rope_factors_short.weight", DT_F32, 1, n, factor);
            builder_tensor(&b, "rope_factors_long.weight", DT_F32, 1, n, factor);
            builder_tensor(&b, "blk.0.attn_qkv.weight", DT_Q4_0, 2, (uint64_t[]){32, 64}, NULL);
            builder_tensor(&b, "blk.0.ffn_up.weight", DT_Q4_0, 2, (uint64_t[]){32, 8}, NULL);
        }
        if (strcmp(arch, "bert") == 0) {
            builder_kv_f32(&b, "bert.attention.layer_norm_epsilon", 1e-12f);
            builder_kv_u32(&b, "bert.pooling_type", 1);
            builder_kv_u32(&b, "bert.truncation_length", 20);
            builder_tensor(&b, "position_embd.weight", DT_F32, 2, (uint64_t[]){SMALL_D, 24}, NULL);
            builder_tensor(&b, "token_types.weight", DT_F32, 2, (uint64_t[]){SMALL_D, 2}, NULL);
        }
        ok = builder_write(&b, path);
        builder_fini(&b);
    }
    if (!ok) {
        fputs("usage: config_seeds FOLDER\n", stderr);
    }
    return ok ? 0 : 1;
}
