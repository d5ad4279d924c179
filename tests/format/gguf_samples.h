/* gguf_samples.h: right GGUF files that the tests bend and the fuzzer starts from.
 *
 * Owns three builders: every kind of value, every tensor type, and one part of a split set.
 * Header only, for tests and the seed program.
 */
#ifndef IGN_TESTS_FORMAT_GGUF_SAMPLES_H
#define IGN_TESTS_FORMAT_GGUF_SAMPLES_H

#include "format/gguf_builder.h"

/* One pair of each type, arrays of each element type, an empty array and an empty string. */
static inline void sample_values(struct builder *b) {
    static const uint8_t bytes[8 * 3] = {1, 2, 0xff, 0, 0, 0x80, 0x7f, 0xff, 0xff, 0xff, 0x80};
    static const uint8_t bools[3] = {1, 0, 1};
    static const char *const tokens[] = {"<s>", "", "\xe2\x96\x81the", "a\nb"};
    builder_kv_str(b, "general.architecture", "llama");
    builder_kv_str(b, "general.name", "");
    for (uint32_t t = 0; t <= BT_F64; t++) {
        char key[32];
        if (t == BT_STRING || t == BT_ARRAY) {
            continue;
        }
        snprintf(key, sizeof key, "value.%u", (unsigned)t);
        builder_kv_int(b, key, t, t == BT_BOOL ? 1 : 0xfffefdfcfbfaf9f8u);
        snprintf(key, sizeof key, "array.%u", (unsigned)t);
        builder_kv_array(b, key, t, t == BT_BOOL ? bools : bytes, 3, 3 * builder_size(t));
    }
    builder_kv_strs(b, "tokenizer.ggml.tokens", tokens, 4);
    builder_kv_array_head(b, "array.empty", BT_F32, 0);
    builder_kv_f32(b, "llama.rope.freq_base", 10000.0f);
}

/* Two tensors of each readable type, with one to four dimensions. */
static inline void sample_tensors(struct builder *b) {
    uint32_t n_dim = 1;
    for (uint32_t t = 0; t < DT_MAX; t++) {
        const struct dtype_info *info = dtype_info(t);
        for (uint64_t k = 0; info->block && k < 2; k++) {
            char name[48];
            const uint64_t dim[4] = {info->block * (k + 1), 1 + k, 1, 2};
            snprintf(name, sizeof name, "blk.%u.%s.weight", (unsigned)k, info->name);
            builder_tensor(b, name, t, n_dim, dim, NULL);
            n_dim = n_dim % 4 + 1;
        }
    }
}

/* About 4 KB that hold everything, for tests that try every byte. */
static inline void sample_small(struct builder *b) {
    builder_align(b, 8);
    sample_values(b);
    builder_tensor(b, "token_embd.weight", DT_F32, 2, (uint64_t[]){32, 18}, NULL);
    builder_tensor(b, "blk.0.attn_q.weight", DT_Q4_0, 2, (uint64_t[]){64, 3}, NULL);
    builder_tensor(b, "blk.0.attn_k.weight", DT_Q6_K, 1, (uint64_t[]){256}, NULL);
    builder_tensor(b, "output_norm.weight", DT_F16, 3, (uint64_t[]){5, 3, 2}, NULL);
}

/* Part `no` (from 0) of `count`, with `n` tensors out of `total`. */
static inline void sample_part(struct builder *b, uint32_t no, uint32_t count, uint32_t n,
                               uint32_t total) {
    if (no == 0) {
        builder_kv_str(b, "general.architecture", "llama");
    }
    builder_kv_int(b, "split.no", BT_U16, no);
    builder_kv_int(b, "split.count", BT_U16, count);
    builder_kv_int(b, "split.tensors.count", BT_I32, total);
    for (uint32_t i = 0; i < n; i++) {
        char name[48];
        float row[32];
        for (uint32_t k = 0; k < 32; k++) {
            row[k] = (float)(100 * no + i);
        }
        snprintf(name, sizeof name, "part%u.tensor%u", (unsigned)no, (unsigned)i);
        builder_tensor(b, name, DT_F32, 1, (uint64_t[]){32}, row);
    }
}

#endif
