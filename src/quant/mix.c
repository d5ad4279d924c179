/* mix.c: see mix.h.
 *
 * Owns the table of kinds and the rules. A tensor's layer is read from its name, so that a choice
 * does not depend on the order of the tensors. Invariant: the type has a block that divides the
 * row.
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
    return n_dim < 2 || !str_ends(name, "weight") || holds(name, "_norm.weight") ||
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

/* The logits are made of it; or it is an encoder's table, for which the same choices serve
 * (docs/speed/QUANTIZING.md). */
static bool is_head(const struct mix_model *m, struct str name) {
    return str_is(name, m->tied ? "token_embd.weight" : "output.weight");
}

/* Finer than the rest. */
static enum dtype choose_head(const struct mix_kind *k, uint64_t n_col) {
    bool fits = n_col % dtype_info(k->type)->block == 0;
    return !fits || k->type == DT_Q8_0 ? DT_Q8_0 : DT_Q6_K;
}

static enum dtype choose_quantized(const struct mix_kind *k, const struct mix_model *m,
                                   struct str name, uint64_t n_col) {
    int layer = layer_of(name, m->n_layer);
    if (is_head(m, name)) {
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

static enum dtype choose(const struct mix_kind *k, const struct mix_model *m,
                         const struct mix_tensor *t) {
    if (stays(t->name, t->n_dim)) { /* in f32, as whoever computes norms expects */
        return t->from == DT_F16 || t->from == DT_BF16 ? DT_F32 : t->from;
    }
    if (dtype_info(k->type)->block == 1) {
        return k->type;
    }
    return fall_back(choose_quantized(k, m, t->name, t->n_col), t->n_col);
}

/* ---- a head of rows that super-blocks do not divide --------------------------------------------
 *
 * Such a head falls back to Q8_0: 8.5 bits for up to two thirds of a small model, where the rest
 * has 4.5 to 5.5. Fewer do, and half of what they save goes where errors cost more: each other
 * tensor climbs from the type above for as long as a bit takes at least `level` off the divergence,
 * and the level is the lowest that the bytes allow. Of the head's types the one is taken with which
 * the estimated divergence is least. The other half is left: two threads read blocks of 4 and 5
 * bits at 0.9 of Q8_0's rate, and with all of it spent a model decoded up to 16 % slower
 * (docs/speed/QUANTIZING.md).
 */

#define LEVEL_MOST  1024.0 /* at which no tensor climbs */
#define SPENT_SHARE 2      /* one byte of so many that the head saves is spent */

struct rung {
    enum dtype type, next; /* itself: the last */
    double error;          /* mean square, Q4_0's being 1: SmolLM2-135M's matrices */
};

/* Q4_1 is left out between Q4_0 and Q5_0: it takes away less than half as much, for half the bits.
 */
static const struct rung *rung_of(enum dtype type) {
    static const struct rung rungs[] = {
        {DT_Q4_0, DT_Q5_0, 1},     {DT_Q4_1, DT_Q5_0, 0.72},  {DT_Q5_0, DT_Q5_1, 0.242},
        {DT_Q5_1, DT_Q8_0, 0.165}, {DT_Q8_0, DT_Q8_0, 0.004}, {DT_Q2_K, DT_Q3_K, 12},
        {DT_Q3_K, DT_Q4_K, 3.17},  {DT_Q4_K, DT_Q5_K, 0.73},  {DT_Q5_K, DT_Q6_K, 0.168},
        {DT_Q6_K, DT_Q8_0, 0.042},
    };
    for (size_t i = 0; i < sizeof rungs / sizeof *rungs; i++) {
        if (rungs[i].type == type) {
            return &rungs[i];
        }
    }
    return NULL;
}

/* What an element's error adds to the divergence, one of the head's being 1: means of SmolLM2-135M
 * and Qwen2.5-Coder-0.5B, each group of tensors rounded alone (docs/speed/QUANTIZING.md). Thirds of
 * the layers did not differ: an earlier one goes first, so that the level can part them. */
static double weight_of(const struct mix_model *m, struct str name) {
    static const struct {
        const char *part;
        double weight;
    } roles[] = {
        {"attn_v.", 20}, {"attn_", 1.5}, {"ffn_down", 1.7}, {"ffn_up", 0.85}, {"ffn_gate", 0.5},
    };
    int layer = layer_of(name, m->n_layer);
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        if (holds(name, roles[i].part)) {
            return roles[i].weight * (1 - 0.001 * layer / (m->n_layer + 1));
        }
    }
    return 0; /* the head, and a table that is read a row at a time: they do not climb */
}

static double bits_of(enum dtype type) {
    return 8.0 * dtype_info(type)->bytes / dtype_info(type)->block;
}

static enum dtype climb(const struct mix_tensor *t, double level) {
    const struct rung *r = rung_of(t->to);
    while (r && r->next != r->type) {
        const struct rung *up = rung_of(r->next);
        double bits = bits_of(up->type) - bits_of(r->type);
        if (t->weight * (r->error - up->error) < level * bits) {
            break;
        }
        r = up;
    }
    return r ? r->type : t->to;
}

static uint64_t bytes_at(const struct mix_model *m, const struct mix_tensor *t, size_t n,
                         double level) {
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        const struct dtype_info *d = dtype_info(climb(&t[i], level));
        uint64_t bytes = t[i].n_col / d->block * d->bytes * t[i].n_row;
        sum += (bytes + m->align - 1) / m->align * m->align;
    }
    return sum;
}

/* The lowest level at which t is no larger than `most`, which it is where none climbs. */
static double level_of(const struct mix_model *m, const struct mix_tensor *t, size_t n,
                       uint64_t most) {
    double low = 0, high = LEVEL_MOST;
    for (int i = 0; i < 40; i++) {
        double level = (low + high) / 2;
        if (bytes_at(m, t, n, level) <= most) {
            high = level;
        } else {
            low = level;
        }
    }
    return high;
}

/* The estimated divergence, in arbitrary units. */
static double divergence_at(const struct mix_tensor *t, size_t n, double level,
                            const struct mix_tensor *head) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        const struct rung *r = rung_of(climb(&t[i], level));
        double weight = &t[i] == head ? 1 : t[i].weight;
        sum += r ? weight * r->error * (double)t[i].n_col * (double)t[i].n_row : 0;
    }
    return sum;
}

/* Starts from the file that llama.cpp would write, which is what happens if none is better. */
static void spread(const struct mix_kind *k, const struct mix_model *m, struct mix_tensor *t,
                   size_t n, struct mix_tensor *head) {
    enum dtype type = head->to, lowest = fall_back(k->type, head->n_col);
    double level = LEVEL_MOST, least = divergence_at(t, n, level, head);
    uint64_t most = bytes_at(m, t, n, level);
    for (const struct rung *r = rung_of(lowest); r && r->type != DT_Q8_0; r = rung_of(r->next)) {
        head->to = r->type;
        uint64_t saved = most - bytes_at(m, t, n, LEVEL_MOST);
        double l = level_of(m, t, n, most - saved + saved / SPENT_SHARE);
        double d = divergence_at(t, n, l, head);
        if (d < least) {
            type = r->type;
            level = l;
            least = d;
        }
    }
    head->to = type;
    for (size_t i = 0; i < n; i++) {
        t[i].to = climb(&t[i], level);
    }
}

void mix_plan(const struct mix_kind *k, const struct mix_model *m, struct mix_tensor *t, size_t n) {
    struct mix_tensor *head = NULL;
    for (size_t i = 0; i < n; i++) {
        t[i].to = choose(k, m, &t[i]);
        t[i].weight = stays(t[i].name, t[i].n_dim) ? 0 : weight_of(m, t[i].name);
        head = is_head(m, t[i].name) ? &t[i] : head;
    }
    if (head && head->to == DT_Q8_0) {
        spread(k, m, t, n, head);
    }
}
