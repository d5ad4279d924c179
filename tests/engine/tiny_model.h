/* tiny_model.h: a language model of a few hundred kilobytes with random weights, as a GGUF file.
 *
 * A Llama of two layers over a byte-level vocabulary of 267 pieces with a ChatML template: enough
 * for everything that does not ask for sense. The same options give the same file. Header only; for
 * the tests of any folder.
 */
#ifndef IGN_TESTS_ENGINE_TINY_MODEL_H
#define IGN_TESTS_ENGINE_TINY_MODEL_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "format/gguf_builder.h"

enum {
    TINY_END = 0,     /* "<|endoftext|>" */
    TINY_START = 1,   /* "<|im_start|>" */
    TINY_STOP = 2,    /* "<|im_end|>", the end token */
    TINY_BYTE = 3,    /* byte b is piece TINY_BYTE + b */
    TINY_MERGED = 259 /* eight longer pieces */
};
#define TINY_VOCAB 267

struct tiny_opts {
    uint64_t seed;     /* other weights */
    int context;       /* 0: 256 */
    int d_model;       /* 0: 64; a multiple of 64 */
    int window;        /* sliding window, 0: none */
    float rope;        /* base of the angles, 0: not said */
    bool ends;         /* the file asks for BOS and EOS around texts */
    int bos;           /* with `ends`: which id that is */
    bool nan;          /* every logit is NaN */
    float temperature; /* the file's own; 0: it has none */
};

static inline uint64_t tiny_random(uint64_t *s) { /* splitmix64 */
    uint64_t z = *s += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* A matrix [n_row, n_col] of about normal numbers with the given deviation, in f32. */
static inline void tiny_matrix(struct builder *b, const char *name, uint64_t n_col, uint64_t n_row,
                               double deviation, uint64_t *s) {
    float *w = (float *)malloc(n_col * n_row * sizeof *w);
    for (uint64_t i = 0; w && i < n_col * n_row; i++) {
        double sum = 0;
        for (int k = 0; k < 12; k++) {
            sum += (double)(tiny_random(s) >> 11) / 9007199254740992.0;
        }
        w[i] = (float)((sum - 6) * deviation);
    }
    builder_tensor(b, name, DT_F32, 2, (uint64_t[]){n_col, n_row}, w);
    free(w);
}

static inline void tiny_vector(struct builder *b, const char *name, uint64_t n, float value) {
    float *w = (float *)malloc(n * sizeof *w);
    for (uint64_t i = 0; w && i < n; i++) {
        w[i] = value;
    }
    builder_tensor(b, name, DT_F32, 1, &n, w);
    free(w);
}

/* GPT-2's spelling of a byte: itself where it is printable, else a code point from U+0100 on. */
static inline int tiny_spell(int byte, char out[4]) {
    int cp = 0x100;
    for (int i = 0; i <= byte; i++) {
        bool plain = (i >= 33 && i <= 126) || (i >= 161 && i <= 172) || i >= 174;
        if (i == byte && plain) {
            cp = byte;
        } else if (i < byte && !plain) {
            cp++;
        }
    }
    int n = 0;
    if (cp < 0x80) {
        out[n++] = (char)cp;
    } else {
        out[n++] = (char)(0xc0 | cp >> 6);
        out[n++] = (char)(0x80 | (cp & 0x3f));
    }
    return n;
}

static inline void tiny_vocab(struct builder *b, const struct tiny_opts *o) {
    /* U+0120 is how GPT-2 spells a space. */
    static const char *const merged[] = {"he", "\xc4\xa0t", "\xc4\xa0the", "in",
                                         "er", "\xc4\xa0o", "on",          "an"};
    static const char *const merges[] = {"h e", "\xc4\xa0 t", "\xc4\xa0t he", "i n",
                                         "e r", "\xc4\xa0 o", "o n",          "a n"};
    static const char *const control[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    int32_t kind[TINY_VOCAB];
    builder_kv_str(b, "tokenizer.ggml.model", "gpt2");
    builder_kv_str(b, "tokenizer.ggml.pre", "gpt-2");
    builder_kv_array_head(b, "tokenizer.ggml.tokens", BT_STRING, TINY_VOCAB);
    for (int i = 0; i < TINY_VOCAB; i++) {
        char spelled[4];
        const char *z = spelled;
        int n = 0;
        if (i >= TINY_BYTE && i < TINY_MERGED) {
            n = tiny_spell(i - TINY_BYTE, spelled);
        } else {
            z = i < TINY_BYTE ? control[i] : merged[i - TINY_MERGED];
            n = (int)strlen(z);
        }
        builder_append_str(&b->kv, z, (size_t)n);
        kind[i] = i < TINY_BYTE ? 3 : 1;
    }
    builder_kv_i32s(b, "tokenizer.ggml.token_type", kind, TINY_VOCAB);
    builder_kv_strs(b, "tokenizer.ggml.merges", merges, 8);
    builder_kv_u32(b, "tokenizer.ggml.bos_token_id", o->ends ? (uint32_t)o->bos : TINY_START);
    builder_kv_u32(b, "tokenizer.ggml.eos_token_id", TINY_STOP);
    builder_kv_bool(b, "tokenizer.ggml.add_bos_token", o->ends);
    builder_kv_bool(b, "tokenizer.ggml.add_eos_token", o->ends);
    builder_kv_str(b, "tokenizer.chat_template",
                   "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
                   "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}");
}

static inline void tiny_layer(struct builder *b, int i, uint64_t d, uint64_t *s) {
    double deviation = 1 / sqrt((double)d);
    const struct {
        const char *name;
        uint64_t n_col, n_row;
    } matrix[] = {{"attn_q", d, d},      {"attn_k", d, d / 2},   {"attn_v", d, d / 2},
                  {"attn_output", d, d}, {"ffn_gate", d, 2 * d}, {"ffn_up", d, 2 * d},
                  {"ffn_down", 2 * d, d}};
    char name[48];
    snprintf(name, sizeof name, "blk.%d.attn_norm.weight", i);
    tiny_vector(b, name, d, 1);
    snprintf(name, sizeof name, "blk.%d.ffn_norm.weight", i);
    tiny_vector(b, name, d, 1);
    for (size_t k = 0; k < sizeof matrix / sizeof *matrix; k++) {
        snprintf(name, sizeof name, "blk.%d.%s.weight", i, matrix[k].name);
        tiny_matrix(b, name, matrix[k].n_col, matrix[k].n_row, deviation, s);
    }
}

/* Writes the file; `o` may be NULL. */
static inline bool tiny_model_write(const char *path, const struct tiny_opts *o) {
    static const struct tiny_opts plain;
    struct builder b;
    o = o ? o : &plain;
    uint64_t d = o->d_model ? (uint64_t)o->d_model : 64, s = o->seed;
    builder_init(&b);
    builder_kv_str(&b, "general.architecture", "llama");
    builder_kv_str(&b, "general.name", "tiny");
    builder_kv_u32(&b, "llama.block_count", 2);
    builder_kv_u32(&b, "llama.context_length", o->context ? (uint32_t)o->context : 256);
    builder_kv_u32(&b, "llama.embedding_length", (uint32_t)d);
    builder_kv_u32(&b, "llama.feed_forward_length", (uint32_t)(2 * d));
    builder_kv_u32(&b, "llama.attention.head_count", 4);
    builder_kv_u32(&b, "llama.attention.head_count_kv", 2);
    builder_kv_f32(&b, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    if (o->window) {
        builder_kv_u32(&b, "llama.attention.sliding_window", (uint32_t)o->window);
    }
    if (o->rope > 0) {
        builder_kv_f32(&b, "llama.rope.freq_base", o->rope);
    }
    if (o->temperature > 0) {
        builder_kv_f32(&b, "general.sampling.temp", o->temperature);
    }
    tiny_vocab(&b, o);
    tiny_matrix(&b, "token_embd.weight", d, TINY_VOCAB, 1, &s);
    for (int i = 0; i < 2; i++) {
        tiny_layer(&b, i, d, &s);
    }
    tiny_vector(&b, "output_norm.weight", d, o->nan ? NAN : 1);
    tiny_matrix(&b, "output.weight", d, TINY_VOCAB, 3 / sqrt((double)d), &s);
    bool ok = builder_write(&b, path);
    builder_fini(&b);
    return ok;
}

#endif
