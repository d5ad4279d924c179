/* mix.c: see mix.h.
 *
 * Owns the table of kinds and the rules. A tensor's layer is read from its name, so that a choice
 * depends on nothing that was chosen before. Invariant: the type returned has a block that divides
 * the row.
 */
#include "quant/mix.h"

#include <string.h>

static const struct mix_kind kinds[] = {
    {"f32", 0, DT_F32},      {"f16", 1, DT_F16},      {"bf16", 32, DT_BF16},
    {"q8_0", 7, DT_Q8_0},    {"q4_0", 2, DT_Q4_0},    {"q4_1", 3, DT_Q4_1},
    {"q5_0", 8, DT_Q5_0},    {"q5_1", 9, DT_Q5_1},    {"q2_k", 10, DT_Q2_K},
    {"q3_k_m", 12, DT_Q3_K}, {"q4_k_s", 14, DT_Q4_K}, {"q4_k_m", 15, DT_Q4_K},
    {"q5_k_m", 17, DT_Q5_K}, {"q6_k", 18, DT_Q6_K},   {"int8", 7, DT_Q8_0},
    {"int4", 15, DT_Q4_K},
};

/* By general.file_type, where rules differ within a type. */
enum {
    FT_Q4_0 = 2,
    FT_Q5_0 = 8,
    FT_Q2_K = 10,
    FT_Q3_K_M = 12,
    FT_Q4_K_S = 14,
    FT_Q4_K_M = 15,
    FT_Q5_K_M = 17
};

const struct mix_kind *mix_find(const char *name) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kinds[i].name, name) == 0) {
            return &kinds[i];
        }
    }
    return NULL;
}

static bool holds(struct str s, const char *part) {
    size_t n = strlen(part);
    for (size_t i = 0; i + n <= s.n; i++) {
        if (memcmp(s.p + i, part, n) == 0) {
            return true;
        }
    }
    return false;
}

static bool ends(struct str s, const char *part) {
    size_t n = strlen(part);
    return s.n >= n && memcmp(s.p + s.n - n, part, n) == 0;
}

/* I of "blk.I.", else 0; clamped to the layers that there are. */
static int layer_of(struct str name, int n_layer) {
    int v = 0;
    if (!str_starts(name, "blk.")) {
        return 0;
    }
    for (size_t i = 4; i < name.n && name.p[i] >= '0' && name.p[i] <= '9' && v < 100000; i++) {
        v = v * 10 + (name.p[i] - '0');
    }
    return v < n_layer ? v : n_layer > 0 ? n_layer - 1 : 0;
}

/* The first and the last eighth of the layers, and every third between. */
static bool more_bits(int layer, int n_layer) {
    return layer < n_layer / 8 || layer >= 7 * n_layer / 8 || (layer - n_layer / 8) % 3 == 2;
}

/* Norms, biases, the router of experts and what is counted by position are small, and stay. */
static bool stays(struct str name, uint32_t n_dim) {
    return n_dim < 2 || !ends(name, "weight") || holds(name, "_norm.weight") ||
           holds(name, "ffn_gate_inp.weight") || str_is(name, "position_embd.weight") ||
           str_is(name, "token_types.weight");
}

static enum dtype choose_value(const struct mix_kind *k, const struct mix_model *m, int layer) {
    if (m->n_exp == 8) {
        return DT_Q8_0; /* small beside eight experts */
    }
    enum dtype type = k->type;
    switch (k->file_type) {
    case FT_Q2_K: type = m->n_group >= 4 ? DT_Q4_K : DT_Q3_K; break;
    case FT_Q3_K_M: type = layer < 2 ? DT_Q5_K : DT_Q4_K; break;
    case FT_Q4_K_S: type = layer < 4 ? DT_Q5_K : type; break;
    case FT_Q4_K_M:
    case FT_Q5_K_M: type = more_bits(layer, m->n_layer) ? DT_Q6_K : type; break;
    default: break;
    }
    return m->is_70b && (type == DT_Q3_K || type == DT_Q4_K) ? DT_Q5_K : type;
}

static enum dtype choose_down(const struct mix_kind *k, const struct mix_model *m, int layer) {
    switch (k->file_type) {
    case FT_Q2_K: return DT_Q3_K;
    case FT_Q3_K_M: return layer < m->n_layer / 16 ? DT_Q5_K : DT_Q4_K;
    case FT_Q4_K_S: return layer < m->n_layer / 8 ? DT_Q5_K : k->type;
    case FT_Q4_K_M:
    case FT_Q5_K_M: return more_bits(layer, m->n_layer) ? DT_Q6_K : k->type;
    case FT_Q4_0: return m->importance && layer < m->n_layer / 8 ? DT_Q4_1 : k->type;
    case FT_Q5_0: return m->importance && layer < m->n_layer / 8 ? DT_Q5_1 : k->type;
    default: return k->type;
    }
}

static enum dtype choose_output(const struct mix_kind *k, const struct mix_model *m) {
    switch (k->file_type) {
    case FT_Q2_K: return m->n_exp == 8 ? DT_Q5_K : DT_Q3_K;
    case FT_Q3_K_M: return m->n_exp == 8 ? DT_Q5_K : DT_Q4_K;
    case FT_Q4_K_S:
    case FT_Q4_K_M: return m->n_exp == 8 ? DT_Q5_K : k->type;
    default: return k->type;
    }
}

/* The logits are made of it: finer than the rest. */
static enum dtype choose_head(const struct mix_kind *k, uint64_t n_col) {
    bool fits = n_col % dtype_info(k->type)->block == 0;
    return !fits || k->type == DT_Q8_0 ? DT_Q8_0 : DT_Q6_K;
}

static enum dtype choose_quantized(const struct mix_kind *k, const struct mix_model *m,
                                   struct str name, uint64_t n_col) {
    int layer = layer_of(name, m->n_layer);
    if (str_is(name, "output.weight") || (m->tied && str_is(name, "token_embd.weight"))) {
        return choose_head(k, n_col);
    }
    if (holds(name, "attn_v.weight") || holds(name, "attn_qkv.weight")) {
        return choose_value(k, m, layer);
    }
    if (holds(name, "attn_k.weight")) {
        return m->n_exp == 8 ? DT_Q8_0 : k->type;
    }
    if (holds(name, "ffn_down")) {
        return choose_down(k, m, layer);
    }
    return holds(name, "attn_output.weight") ? choose_output(k, m) : k->type;
}

/* What fits rows that super-blocks do not divide. */
static enum dtype fall_back(enum dtype type, uint64_t n_col) {
    if (n_col % dtype_info(type)->block != 0) {
        switch (type) {
        case DT_Q2_K:
        case DT_Q3_K: type = DT_Q4_0; break;
        case DT_Q4_K: type = DT_Q5_0; break;
        case DT_Q5_K: type = DT_Q5_1; break;
        case DT_Q6_K: type = DT_Q8_0; break;
        default: break;
        }
    }
    return n_col % dtype_info(type)->block == 0 ? type : DT_F16;
}

enum dtype mix_choose(const struct mix_kind *k, const struct mix_model *m, struct str name,
                      uint32_t n_dim, uint64_t n_col, enum dtype from) {
    if (stays(name, n_dim)) { /* in f32, as whoever computes norms expects */
        return from == DT_F16 || from == DT_BF16 ? DT_F32 : from;
    }
    if (dtype_info(k->type)->block == 1) {
        return k->type;
    }
    return fall_back(choose_quantized(k, m, name, n_col), n_col);
}
