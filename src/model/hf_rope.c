/* hf_rope.c: how config.json says that a model's rotations are scaled.
 *
 * Owns the spellings ("rope_scaling" with "type" or "rope_type", and "rope_parameters") and what
 * GGUF files keep as tensors instead of keys: Llama 3's factor of each pair, and the factors of
 * long contexts. Refuses to scale: rope.c does.
 * Sources: transformers, modeling_rope_utils.py; Peng et al. 2023 (YaRN); Ding et al. 2024.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/config.h"
#include "model/hf.h"

static enum err_code missing(struct err *e, const char *name) {
    return err_set(e, ERR_FORMAT, "'%s' of the RoPE scaling is missing or out of range", name);
}

/* A number that must be there, in min..max. */
static enum err_code get(struct gguf_build *b, const struct json *j, const char *name, double min,
                         double max, double *v, struct err *e) {
    *v = hf_number(b, j, name, NAN);
    return *v >= min && *v <= max ? ERR_OK : missing(e, name);
}

static void put_vector(struct gguf_build *b, const char *name, const float *v, size_t n) {
    struct gguf_tensor t = {.name = str_c(name),
                            .type = DT_F32,
                            .n_dim = 1,
                            .dim = {n, 1, 1, 1},
                            .data = (const uint8_t *)v,
                            .bytes = n * sizeof *v};
    gguf_build_tensor(b, &t);
}

/* What the angles of each pair are divided by: 1 for fast pairs, the factor for slow ones. */
static enum err_code put_llama3(struct gguf_build *b, const struct json *j, double base,
                                size_t n_pair, struct err *e) {
    double factor, low, high, n_ctx;
    enum err_code rc;
    if ((rc = get(b, j, "factor", 1e-3, 1e6, &factor, e)) ||
        (rc = get(b, j, "low_freq_factor", 1e-6, 1e6, &low, e)) ||
        (rc = get(b, j, "high_freq_factor", 1e-6, 1e6, &high, e)) ||
        (rc = get(b, j, "original_max_position_embeddings", 1, 1 << 24, &n_ctx, e))) {
        return rc;
    }
    float *v = gguf_build_alloc(b, n_pair, sizeof *v);
    for (size_t i = 0; v && i < n_pair; i++) {
        double turn = 6.283185307179586 * pow(base, (double)i / (double)n_pair);
        double share = high > low ? (n_ctx / turn - low) / (high - low) : 1;
        share = turn < n_ctx / high ? 1 : turn > n_ctx / low ? 0 : share;
        v[i] = (float)(1 / ((1 - share) / factor + share));
    }
    if (v) {
        put_vector(b, "rope_freqs.weight", v, n_pair);
    }
    return b->code;
}

static enum err_code put_yarn(struct gguf_build *b, const struct arch *a, const struct json *j,
                              double n_ctx, struct err *e) {
    double factor;
    enum err_code rc = get(b, j, "factor", 1e-3, 1e6, &factor, e);
    if (rc) {
        return rc;
    }
    const struct json *cut = json_find(j, "truncate");
    if (cut && json_kind(cut) == JSON_IS_BOOL && !json_bool(cut)) {
        return err_set(e, ERR_UNSUPPORTED, "YaRN with 'truncate' false");
    }
    double mscale = hf_number(b, j, "mscale", 0), all = hf_number(b, j, "mscale_all_dim", 0);
    double attn = hf_number(b, j, "attention_factor", 0);
    if (attn == 0 && mscale != 0 && all != 0 && factor > 1) {
        attn = (0.1 * mscale * log(factor) + 1) / (0.1 * all * log(factor) + 1);
    }
    n_ctx = hf_number(b, j, "original_max_position_embeddings", n_ctx);
    if (!(n_ctx >= 1 && n_ctx <= 1 << 24)) {
        return missing(e, "original_max_position_embeddings");
    }
    hf_put_real(b, a, "rope.scaling.factor", factor, "factor");
    hf_put_int(b, a, "rope.scaling.original_context_length", (uint32_t)n_ctx,
               "original_max_position_embeddings");
    if (attn != 0) {
        hf_put_real(b, a, "rope.scaling.yarn_attn_factor", attn, "attention_factor");
    }
    if (hf_number(b, j, "beta_fast", 0) != 0) {
        hf_put_real(b, a, "rope.scaling.yarn_beta_fast", hf_number(b, j, "beta_fast", 0),
                    "beta_fast");
    }
    if (hf_number(b, j, "beta_slow", 0) != 0) {
        hf_put_real(b, a, "rope.scaling.yarn_beta_slow", hf_number(b, j, "beta_slow", 0),
                    "beta_slow");
    }
    return b->code;
}

/* "long_factor" or "short_factor": one number for each pair. */
static enum err_code put_factors(struct gguf_build *b, const struct json *j, const char *from,
                                 const char *to, size_t n_pair, struct err *e) {
    const struct json *list = json_find(j, from);
    if (!list || json_kind(list) != JSON_IS_ARRAY || json_count(list) != n_pair) {
        return err_set(e, ERR_FORMAT, "'%s' is not a list of %zu numbers", from, n_pair);
    }
    float *v = gguf_build_alloc(b, n_pair, sizeof *v);
    for (size_t i = 0; v && i < n_pair; i++) {
        v[i] = (float)json_num(json_at(list, i));
    }
    if (v) {
        put_vector(b, to, v, n_pair);
    }
    return b->code;
}

/* `config` has the two lengths, in some models; the scaling itself has them in others. */
static enum err_code put_long(struct gguf_build *b, const struct arch *a, const struct json *config,
                              const struct json *j, size_t n_pair, struct err *e) {
    double n_ctx = hf_number(b, config, "max_position_embeddings", 0), old = 0;
    old = hf_number(b, config, "original_max_position_embeddings",
                    hf_number(b, j, "original_max_position_embeddings", n_ctx));
    double factor = old > 0 ? hf_number(b, j, "factor", n_ctx / old) : 0;
    if (!(old >= 2 && old <= 1 << 24 && factor > 0 && factor <= 1e6)) {
        return missing(e, "original_max_position_embeddings");
    }
    double attn = factor > 1 ? sqrt(1 + log(factor) / log(old)) : 1;
    hf_put_real(b, a, "rope.scaling.attn_factor", hf_number(b, j, "attention_factor", attn),
                "attention_factor");
    hf_put_int(b, a, "rope.scaling.original_context_length", (uint32_t)old,
               "original_max_position_embeddings");
    enum err_code rc = put_factors(b, j, "long_factor", "rope_factors_long.weight", n_pair, e);
    return rc ? rc : put_factors(b, j, "short_factor", "rope_factors_short.weight", n_pair, e);
}

static enum err_code put_linear(struct gguf_build *b, const struct arch *a, const struct json *j,
                                struct err *e) {
    double factor;
    enum err_code rc = get(b, j, "factor", 1e-3, 1e6, &factor, e);
    if (!rc) {
        hf_put_real(b, a, "rope.scaling.factor", factor, "factor");
    }
    return rc ? rc : b->code;
}

const struct json *hf_rope_of(const struct json *config) {
    static const char *const names[] = {"rope_scaling", "rope_parameters"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct json *j = json_find(config, names[i]);
        if (j && json_kind(j) == JSON_IS_OBJECT) {
            const struct json *all = json_find(j, "full_attention");
            return all && json_kind(all) == JSON_IS_OBJECT ? all : j;
        }
    }
    return NULL;
}

static struct str kind_of(const struct json *j) {
    const struct json *kind = json_find(j, "rope_type");
    kind = kind ? kind : json_find(j, "type");
    return kind ? json_str(kind) : str_of("", 0);
}

/* The forms: one object for all layers, or one for each kind of layer, of which only the layers
 * that attend to all are scaled. */
static enum err_code check_layers(const struct arch *a, const struct json *config, struct err *e) {
    static const char *const names[] = {"rope_scaling", "rope_parameters"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct json *j = json_find(config, names[i]);
        if (!j || json_kind(j) == JSON_IS_NULL) {
            continue;
        }
        if (json_kind(j) != JSON_IS_OBJECT) {
            return err_set(e, ERR_FORMAT, "'%s' is not an object", names[i]);
        }
        const struct json *local = json_find(j, "sliding_attention");
        if (!local || json_kind(local) != JSON_IS_OBJECT) {
            continue;
        }
        struct str type = kind_of(local);
        if (!a->hf->local_base || (type.n && !str_is(type, "default"))) {
            return err_set(e, ERR_UNSUPPORTED, "'%s' scales 'sliding_attention' by '%.*s'",
                           names[i], (int)(type.n < 64 ? type.n : 64), type.p);
        }
    }
    return ERR_OK;
}

enum err_code hf_rope(struct gguf_build *b, const struct arch *a, const struct json *config,
                      struct err *e) {
    const struct json *j = hf_rope_of(config);
    enum err_code rc = b->code ? b->code : check_layers(a, config, e);
    if (rc || !j) {
        return rc;
    }
    struct str type = kind_of(j);
    double base = hf_number(b, j, "rope_theta", hf_number(b, config, "rope_theta", 10000));
    char key[64];
    snprintf(key, sizeof key, "%s.rope.scaling.type", a->name);
    /* "dynamic" changes nothing within the context that the model was trained for. */
    if (type.n == 0 || str_is(type, "default") || str_is(type, "dynamic")) {
        return ERR_OK;
    }
    size_t n_pair = hf_known_int(b, a, "rope.dimension_count") / 2;
    if (n_pair < 1 || n_pair > CONFIG_D_HEAD_MAX / 2) {
        return err_set(e, ERR_FORMAT, "the heads' dimensions do not make pairs to rotate");
    }
    if (str_is(type, "llama3")) {
        return put_llama3(b, j, base, n_pair, e);
    }
    if (str_is(type, "linear")) {
        gguf_build_str(b, key, str_c("linear"));
        return put_linear(b, a, j, e);
    }
    bool is_long = str_is(type, "longrope") || str_is(type, "su");
    if (str_is(type, "yarn") && !json_find(j, "long_factor")) {
        gguf_build_str(b, key, str_c("yarn"));
        return put_yarn(b, a, j, hf_number(b, config, "max_position_embeddings", 0), e);
    }
    if (is_long || str_is(type, "yarn")) { /* early files of Phi-3 say yarn, and have the lists */
        gguf_build_str(b, key, str_c("longrope"));
        return put_long(b, a, config, j, n_pair, e);
    }
    rc = err_set(e, ERR_UNSUPPORTED, "unknown RoPE scaling '%.*s'",
                 (int)(type.n < 64 ? type.n : 64), type.p);
    err_hint(e, "known are default, dynamic, linear, llama3, yarn and longrope");
    return rc;
}
