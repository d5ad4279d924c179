/* shapes.c: models known by name, and the bytes of their weights in each quantization.
 *
 * Owns the table of shapes, the spellings that users give them, and the recipes: which element type
 * each tensor gets in fp32, fp16, int8 (Q8_0) and int4 (Q4_K_M, as llama.cpp mixes it). Refuses
 * files: model/ fills a plan_model from those. Invariant: a size is a sum over tensors, each a
 * whole number of blocks, never bits per weight times parameters.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/dtype.h"
#include "device/plan.h"

/* ---- names ------------------------------------------------------------------------------------
 */

/* What a model's tensors have beside the common ones. */
enum shape_has {
    TIED = 1,       /* the output matrix is the embedding table */
    BIAS = 2,       /* of q, k, v */
    QK_NORM = 4,    /* of heads of q and k */
    POST_NORM = 8,  /* after attention and feed-forward */
    FUSED = 16,     /* q, k, v are one matrix; gate and up another */
    A_FACTORS = 32, /* lists of factors for the rotation, from here up */
};
#define FACTORS(n) ((n)*A_FACTORS)

/* From each model's config.json. `alias`: other spellings, as plain() leaves them. */
static const struct shape {
    const char *name, *alias;
    int n_layer, d_model, n_head, n_kv, d_head, d_ff, n_vocab, n_ctx, n_exp, n_used;
    int has; /* sum of enum shape_has */
} shapes[] = {
    /* clang-format off */
    /*               layer model head kv head    ff   vocab     ctx  exp */
    {"llama2-7b", "llama2",
                     32, 4096, 32, 32, 128, 11008,  32000,   4096, 0, 0, 0},
    {"llama2-13b", "",
                     40, 5120, 40, 40, 128, 13824,  32000,   4096, 0, 0, 0},
    {"llama3.1-8b", "llama38b llama31 llama3 llama8b",
                     32, 4096, 32,  8, 128, 14336, 128256, 131072, 0, 0, FACTORS(1)},
    {"llama3.2-1b", "llama1b",
                     16, 2048, 32,  8,  64,  8192, 128256, 131072, 0, 0, TIED + FACTORS(1)},
    {"llama3.2-3b", "llama32 llama3b",
                     28, 3072, 24,  8, 128,  8192, 128256, 131072, 0, 0, TIED + FACTORS(1)},
    {"llama3.3-70b", "llama33 llama370b llama3170b llama70b",
                     80, 8192, 64,  8, 128, 28672, 128256, 131072, 0, 0, FACTORS(1)},
    {"mistral-7b", "mistral",
                     32, 4096, 32,  8, 128, 14336,  32768,  32768, 0, 0, 0},
    {"mixtral-8x7b", "mistral8x7b mixtral",
                     32, 4096, 32,  8, 128, 14336,  32000,  32768, 8, 2, 0},
    {"qwen2.5-7b", "qwen258b qwen25 qwen7b qwen8b",
                     28, 3584, 28,  4, 128, 18944, 152064,  32768, 0, 0, BIAS},
    {"qwen2.5-coder-0.5b", "qwen2505b",
                     24,  896, 14,  2,  64,  4864, 151936,  32768, 0, 0, TIED + BIAS},
    {"qwen2.5-coder-1.5b", "qwen2515b",
                     28, 1536, 12,  2, 128,  8960, 151936,  32768, 0, 0, TIED + BIAS},
    {"qwen2.5-coder-3b", "qwen253b",
                     36, 2048, 16,  2, 128, 11008, 151936,  32768, 0, 0, TIED + BIAS},
    {"qwen2.5-coder-7b", "qwen25coder",
                     28, 3584, 28,  4, 128, 18944, 152064,  32768, 0, 0, BIAS},
    {"qwen2.5-coder-14b", "qwen2514b",
                     48, 5120, 40,  8, 128, 13824, 152064,  32768, 0, 0, BIAS},
    {"qwen3-0.6b", "",
                     28, 1024, 16,  8, 128,  3072, 151936,  40960, 0, 0, TIED + QK_NORM},
    {"qwen3-1.7b", "",
                     28, 2048, 16,  8, 128,  6144, 151936,  40960, 0, 0, TIED + QK_NORM},
    {"qwen3-4b", "",
                     36, 2560, 32,  8, 128,  9728, 151936,  40960, 0, 0, TIED + QK_NORM},
    {"qwen3-8b", "qwen3",
                     36, 4096, 32,  8, 128, 12288, 151936,  40960, 0, 0, QK_NORM},
    {"qwen3-14b", "",
                     40, 5120, 40,  8, 128, 17408, 151936,  40960, 0, 0, QK_NORM},
    {"qwen3-32b", "",
                     64, 5120, 64,  8, 128, 25600, 151936,  40960, 0, 0, QK_NORM},
    {"gemma2-2b", "",
                     26, 2304,  8,  4, 256,  9216, 256000,   8192, 0, 0, TIED + POST_NORM},
    {"gemma2-9b", "gemma2",
                     42, 3584, 16,  8, 256, 14336, 256000,   8192, 0, 0, TIED + POST_NORM},
    {"gemma3-1b", "",
                     26, 1152,  4,  1, 256,  6912, 262144,  32768, 0, 0, TIED + QK_NORM + POST_NORM},
    {"gemma3-4b", "gemma3",
                     34, 2560,  8,  4, 256, 10240, 262208, 131072, 0, 0, TIED + QK_NORM + POST_NORM},
    {"gemma3-12b", "",
                     48, 3840, 16,  8, 256, 15360, 262208, 131072, 0, 0, TIED + QK_NORM + POST_NORM},
    {"gemma3-27b", "",
                     62, 5376, 32, 16, 128, 21504, 262208, 131072, 0, 0, TIED + QK_NORM + POST_NORM},
    {"phi3-mini", "phi3 phi3mini4k",
                     32, 3072, 32, 32,  96,  8192,  32064,   4096, 0, 0, FUSED},
    {"phi3.5-mini", "phi35",
                     32, 3072, 32, 32,  96,  8192,  32064, 131072, 0, 0, FUSED + FACTORS(2)},
    {"smollm2-135m", "smollm2 smollm135m",
                     30,  576,  9,  3,  64,  1536,  49152,   8192, 0, 0, TIED},
    /* clang-format on */
};

/* A vocabulary of 151,936 tokens with its merges takes 24.5 MB, and one of 49,152 takes 6.7. */
enum { TEXT_BYTES_A_TOKEN = 160, N_SHAPE = sizeof shapes / sizeof *shapes };

static bool drop_end(char *s, const char *end) {
    size_t n = strlen(s), k = strlen(end);
    if (n <= k || strcmp(s + n - k, end) != 0) {
        return false;
    }
    s[n - k] = 0;
    return true;
}

/* What is left of a spelling when organisation, separators, case, and words that change neither
 * shape nor size are gone: "meta-llama/Llama-3.1-8B-Instruct" is "llama318b". */
static void plain(char *out, size_t n, const char *name) {
    static const char *const noise[] = {"gguf", "q4km", "instruct", "chat", "base", "latest",
                                        "hf",   "it",   "v01",      "v02",  "v03"};
    const char *slash = strrchr(name, '/');
    size_t k = 0;
    for (const char *p = slash ? slash + 1 : name; *p && k + 1 < n; p++) {
        if (isalnum((unsigned char)*p)) {
            out[k++] = (char)tolower((unsigned char)*p);
        }
    }
    out[k] = 0;
    for (size_t i = 0; i < sizeof noise / sizeof *noise; i++) {
        if (drop_end(out, noise[i])) {
            i = (size_t)-1; /* from the first again: "instruct-v0.3-gguf" */
        }
    }
    if (strncmp(out, "metallama", 9) == 0) {
        memmove(out, out + 4, strlen(out + 4) + 1);
    }
}

static bool has_word(const char *list, const char *word) {
    size_t n = strlen(word);
    for (const char *p = list; (p = strstr(p, word)) != NULL; p += n) {
        if ((p == list || p[-1] == ' ') && (p[n] == ' ' || p[n] == 0)) {
            return true;
        }
    }
    return false;
}

/* One more name of a list, which says a family's sizes after its first: "qwen3-0.6b|1.7b|4b". */
static size_t name_append(char *out, size_t n, const char *last, const char *name) {
    const char *size = strrchr(name, '-');
    size_t family = size ? (size_t)(size - name) + 1 : 0;
    bool same = last && family && strncmp(last, name, family) == 0 && !strchr(last + family, '-');
    int k = snprintf(out, n, "%s%s", !last ? "" : same ? "|" : ", ", same ? name + family : name);
    return k < 0 ? 0 : (size_t)k < n ? (size_t)k : n - 1;
}

static void shape_copy(struct plan_model *m, const struct shape *s) {
    *m = (struct plan_model){
        .n_layer = s->n_layer,
        .d_model = s->d_model,
        .n_head = s->n_head,
        .n_kv = s->n_kv,
        .d_head = s->d_head,
        .d_ff = s->d_ff,
        .n_vocab = s->n_vocab,
        .n_ctx = s->n_ctx,
        .n_exp = s->n_exp,
        .n_used = s->n_used,
        .tied = s->has & TIED,
        .bias = s->has & BIAS,
        .qk_norm = s->has & QK_NORM,
        .post_norm = s->has & POST_NORM,
        .fused = s->has & FUSED,
        .n_factors = s->has / A_FACTORS,
        .text_bytes = (uint64_t)s->n_vocab * TEXT_BYTES_A_TOKEN,
    };
    snprintf(m->name, sizeof m->name, "%s", s->name);
    plan_sizes(m);
}

enum err_code plan_known(struct plan_model *model, const char *name, struct err *e) {
    char want[64], own[64], known[256] = "";
    size_t n = 0;
    plain(want, sizeof want, name);
    for (int i = 0; i < N_SHAPE; i++) {
        const struct shape *s = &shapes[i];
        plain(own, sizeof own, s->name);
        if (want[0] && (!strcmp(want, own) || has_word(s->alias, want))) {
            shape_copy(model, s);
            return ERR_OK;
        }
        n += name_append(known + n, sizeof known - n, i ? shapes[i - 1].name : NULL, s->name);
    }
    err_set(e, ERR_NOTFOUND, "no model is known as '%.48s', only %s", name, known);
    err_hint(e, "take one of these names, or give a file");
    return ERR_NOTFOUND;
}

/* ---- recipes ----------------------------------------------------------------------------------
 */

enum part { EMBED, OUTPUT, VECTOR, ROUTE, WQ, WK, WV, WO, QKV, GATE, UP, DOWN };

/* llama.cpp gives more bits to the first and last eighth of the layers and to every third between.
 */
static bool wants_more(int layer, int n_layer) {
    return layer < n_layer / 8 || layer >= 7 * n_layer / 8 || (layer - n_layer / 8) % 3 == 2;
}

/* Q4_K_M (llama_tensor_get_type of llama.cpp), for rows that are whole super-blocks. */
static enum dtype q4km_type(const struct plan_model *m, enum part p, int layer) {
    bool eight = m->n_exp == 8, large = m->n_layer == 80; /* of 70 billion parameters */
    switch (p) {
    case OUTPUT: return DT_Q6_K;
    case EMBED: return m->tied ? DT_Q6_K : DT_Q4_K;
    case WK: return eight ? DT_Q8_0 : DT_Q4_K;
    case WO: return eight ? DT_Q5_K : DT_Q4_K;
    case WV:
        return eight                           ? DT_Q8_0
               : wants_more(layer, m->n_layer) ? DT_Q6_K
               : large                         ? DT_Q5_K
                                               : DT_Q4_K;
    case QKV:
    case DOWN: return wants_more(layer, m->n_layer) ? DT_Q6_K : DT_Q4_K;
    default: return DT_Q4_K;
    }
}

static enum dtype type_of(const struct plan_model *m, enum plan_quant q, enum part p, int layer,
                          int n_col) {
    static const enum dtype whole[] = {[PLAN_FP32] = DT_F32, [PLAN_FP16] = DT_F16};
    if (p == VECTOR || p == ROUTE) {
        return DT_F32; /* too small to be worth rounding; every recipe leaves them */
    }
    if (q == PLAN_FP32 || q == PLAN_FP16) {
        return whole[q];
    }
    enum dtype t = q == PLAN_INT8 ? DT_Q8_0 : q4km_type(m, p, layer);
    if (t != DT_Q8_0 && n_col % 256 != 0) { /* the types that fill in where rows are shorter */
        t = t == DT_Q4_K ? DT_Q5_0 : t == DT_Q5_K ? DT_Q5_1 : DT_Q8_0;
    }
    return n_col % 32 != 0 ? DT_F16 : t;
}

struct sum {
    const struct plan_model *m;
    enum plan_quant q;
    uint64_t param, bytes, active;
};

/* n_mat matrices of which a token uses `used`. */
static void add(struct sum *s, enum part p, int layer, int n_mat, int used, int n_row, int n_col) {
    size_t row = 0;
    dtype_row_bytes(type_of(s->m, s->q, p, layer, n_col), (uint64_t)n_col, &row);
    uint64_t one = (uint64_t)n_row * row;
    s->param += (uint64_t)n_mat * (uint64_t)n_row * (uint64_t)n_col;
    s->bytes += (uint64_t)n_mat * one;
    s->active += (uint64_t)used * one;
}

static void add_layer(struct sum *s, int l) {
    const struct plan_model *m = s->m;
    int q = m->n_head * m->d_head, kv = m->n_kv * m->d_head, d = m->d_model;
    int n_exp = m->n_exp ? m->n_exp : 1, used = m->n_exp ? m->n_used : 1;
    int norms = m->post_norm ? 4 : 2;
    add(s, VECTOR, l, norms, norms, 1, d);
    if (m->fused) {
        add(s, QKV, l, 1, 1, q + 2 * kv, d);
    } else {
        add(s, WQ, l, 1, 1, q, d);
        add(s, WK, l, 1, 1, kv, d);
        add(s, WV, l, 1, 1, kv, d);
    }
    add(s, WO, l, 1, 1, d, q);
    if (m->qk_norm) {
        add(s, VECTOR, l, 2, 2, 1, m->d_head);
    }
    if (m->bias) {
        add(s, VECTOR, l, 1, 1, 1, q);
        add(s, VECTOR, l, 2, 2, 1, kv);
    }
    if (m->n_exp) {
        add(s, ROUTE, l, 1, 1, m->n_exp, d);
    }
    add(s, GATE, l, n_exp, used, m->d_ff, d);
    add(s, UP, l, n_exp, used, m->d_ff, d);
    add(s, DOWN, l, n_exp, used, d, m->d_ff);
}

void plan_sizes(struct plan_model *m) {
    for (int q = 0; q < PLAN_QUANT_N; q++) {
        struct sum s = {.m = m, .q = (enum plan_quant)q};
        add(&s, EMBED, 0, 1, m->tied ? 1 : 0, m->n_vocab, m->d_model); /* else one row a token */
        add(&s, VECTOR, 0, 1, 1, 1, m->d_model);
        if (!m->tied) {
            add(&s, OUTPUT, 0, 1, 1, m->n_vocab, m->d_model);
        }
        add(&s, VECTOR, 0, m->n_factors, m->n_factors > 0, 1, m->d_head / 2);
        for (int l = 0; l < m->n_layer; l++) {
            add_layer(&s, l);
        }
        m->n_param = s.param;
        m->weights_bytes[q] = s.bytes;
        m->active_bytes[q] = s.active;
    }
}
