/* hf_config.c: config.json to the keys of a GGUF file.
 *
 * Owns the settings that most families share. Only kinds are judged here (a whole number, a real):
 * the bounds are config.c's, for both kinds of model. Settings that change what a model computes
 * and that this program does not have are refused by name.
 */
#include <stdio.h>
#include <string.h>

#include "model/config.h"
#include "model/hf.h"

static const struct hf_key common[] = {
    {"num_hidden_layers", "block_count", HF_INT, 0},
    {"hidden_size", "embedding_length", HF_INT, 0},
    {"num_attention_heads", "attention.head_count", HF_INT, 0},
    {"num_key_value_heads", "attention.head_count_kv", HF_INT, 0},
    {"head_dim", "attention.key_length", HF_INT, 0},
    {"head_dim", "attention.value_length", HF_INT, 0},
    {"intermediate_size", "feed_forward_length", HF_INT, 0},
    {"max_position_embeddings", "context_length", HF_INT, 0},
    {"vocab_size", "vocab_size", HF_INT, 0},
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon", HF_REAL, 0},
    {0},
};

/* ---- one setting ------------------------------------------------------------------------ */

static const struct json *find(const struct json *config, const char *name) {
    const struct json *j = json_find(config, name);
    return j && json_kind(j) != JSON_IS_NULL ? j : NULL;
}

static bool is_number(const struct json *j) {
    return j && (json_kind(j) == JSON_IS_INT || json_kind(j) == JSON_IS_REAL);
}

double hf_number(const struct json *config, const char *name, double def) {
    const struct json *j = find(config, name);
    return is_number(j) ? json_num(j) : def;
}

struct full_key {
    char s[128];
};

static struct full_key key_of(const struct arch *a, const char *key) {
    struct full_key k;
    snprintf(k.s, sizeof k.s, "%s.%s", a->name, key);
    return k;
}

void hf_put_int(struct gguf_build *b, const struct arch *a, const char *key, uint32_t v,
                const char *from) {
    gguf_build_u32(b, key_of(a, key).s, v, from);
}

void hf_put_real(struct gguf_build *b, const struct arch *a, const char *key, double v,
                 const char *from) {
    gguf_build_f32(b, key_of(a, key).s, (float)v, from);
}

static const struct gguf_kv *known(const struct gguf_build *b, const struct arch *a,
                                   const char *key) {
    struct full_key k = key_of(a, key);
    for (size_t i = 0; b->g && i < b->g->n_kv; i++) {
        if (str_is(b->g->kv[i].key, k.s)) {
            return &b->g->kv[i];
        }
    }
    return NULL;
}

uint32_t hf_known_int(const struct gguf_build *b, const struct arch *a, const char *key) {
    const struct gguf_kv *kv = known(b, a, key);
    return kv && kv->type == GGUF_U32 ? (uint32_t)gguf_int_at(kv, 0) : 0;
}

static enum err_code put_key(struct gguf_build *b, const struct arch *a, const struct json *config,
                             const struct hf_key *k, struct err *e) {
    const struct json *j = find(config, k->from);
    if (known(b, a, k->key) || (!j && k->def == 0)) {
        return ERR_OK;
    }
    bool whole =
        !j || (json_kind(j) == JSON_IS_INT && json_int(j) >= 0 && json_int(j) <= UINT32_MAX);
    if (k->kind == HF_INT ? !whole : j && !is_number(j)) {
        return err_set(e, ERR_FORMAT, "'%s' is not a %s", k->from,
                       k->kind == HF_INT ? "whole number from 0 to 4294967295" : "number");
    }
    double v = j ? json_num(j) : k->def;
    if (k->kind == HF_INT) {
        hf_put_int(b, a, k->key, (uint32_t)v, k->from);
    } else {
        hf_put_real(b, a, k->key, v, k->from);
    }
    return b->code;
}

static enum err_code put_keys(struct gguf_build *b, const struct arch *a, const struct json *config,
                              const struct hf_key *k, struct err *e) {
    enum err_code rc = ERR_OK;
    for (; !rc && k && k->from; k++) {
        rc = put_key(b, a, config, k, e);
    }
    return rc;
}

/* ---- what is refused -------------------------------------------------------------------- */

static enum err_code refuse(struct err *e, const char *name, const char *value, const char *hint) {
    err_set(e, ERR_UNSUPPORTED, "'%s' is %s", name, value);
    if (hint) {
        err_hint(e, "%s", hint);
    }
    return ERR_UNSUPPORTED;
}

static enum err_code check_quantized(const struct json *config, struct err *e) {
    const struct json *q = find(config, "quantization_config");
    if (!q) {
        return ERR_OK;
    }
    struct str how = json_kind(q) == JSON_IS_OBJECT && json_find(q, "quant_method")
                         ? json_str(json_find(q, "quant_method"))
                         : str_of("", 0);
    char value[96];
    snprintf(value, sizeof value, "given ('%.*s'): the weights are quantized for another program",
             (int)(how.n < 32 ? how.n : 32), how.p);
    return refuse(e, "quantization_config", value,
                  "get the model as it was published, in F16, BF16 or F32");
}

static enum err_code check_act(const struct arch *a, const struct json *config, struct err *e) {
    static const struct {
        const char *name;
        enum kern_act act;
    } known[] = {{"silu", ACT_SILU},     {"swish", ACT_SILU},
                 {"gelu", ACT_GELU_ERF}, {"gelu_pytorch_tanh", ACT_GELU},
                 {"gelu_new", ACT_GELU}, {"gelu_fast", ACT_GELU}};
    const struct json *j = find(config, "hidden_activation");
    j = j ? j : find(config, "hidden_act");
    struct str name = j ? json_str(j) : str_of("", 0);
    bool right = !j;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        right = right || (str_is(name, known[i].name) && known[i].act == a->act);
    }
    if (right) {
        return ERR_OK;
    }
    char value[96];
    snprintf(value, sizeof value, "'%.*s', which models of this kind do not have",
             (int)(name.n < 32 ? name.n : 32), name.p);
    return refuse(e, "hidden_act", value, NULL);
}

static bool is_true(const struct json *config, const char *name) {
    const struct json *j = find(config, name);
    return j && json_bool(j);
}

static enum err_code check_known(const struct arch *a, const struct json *config, struct err *e) {
    static const char *const unknown[] = {"mlp_bias", "use_sliding_window", "use_qkv_bias"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        if (is_true(config, unknown[i])) {
            return refuse(e, unknown[i], "true, which this program cannot compute", NULL);
        }
    }
    enum err_code rc = check_quantized(config, e);
    return rc ? rc : check_act(a, config, e);
}

/* ---- the file --------------------------------------------------------------------------- */

static enum err_code find_type(const struct arch **a, const struct json *config, struct err *e) {
    const struct json *j = find(config, "model_type");
    struct str type = j ? json_str(j) : str_of("", 0);
    if (!type.n) {
        return err_set(e, ERR_FORMAT, "'model_type' is missing");
    }
    return arch_of_type(a, type, e);
}

static void put_rotation(struct gguf_build *b, const struct arch *a, const struct json *config) {
    const struct json *rope = hf_rope_of(config);
    const struct json *where = rope && find(rope, "rope_theta") ? rope : config;
    if (is_number(find(where, "rope_theta"))) {
        hf_put_real(b, a, "rope.freq_base", hf_number(where, "rope_theta", 0), "rope_theta");
    }
    double part = hf_number(config, "partial_rotary_factor",
                            rope ? hf_number(rope, "partial_rotary_factor", 1) : 1);
    uint32_t heads = hf_known_int(b, a, "attention.head_count");
    uint32_t d_head = hf_known_int(b, a, "attention.key_length");
    if (d_head == 0 && heads) {
        d_head = hf_known_int(b, a, "embedding_length") / heads;
    }
    if (part >= 0 && part <= 1) {
        hf_put_int(b, a, "rope.dimension_count", (uint32_t)(part * d_head),
                   "partial_rotary_factor");
    }
}

static enum err_code read_config(struct gguf_build *b, const struct arch **a,
                                 const struct json *config, struct err *e) {
    const struct json *text =
        json_kind(config) == JSON_IS_OBJECT ? find(config, "text_config") : NULL;
    enum err_code rc;
    if (json_kind(config) != JSON_IS_OBJECT || (text && json_kind(text) != JSON_IS_OBJECT)) {
        return err_set(e, ERR_FORMAT, "the settings are not an object");
    }
    if ((rc = check_quantized(config, e))) {
        return rc;
    }
    config = text ? text : config;
    if ((rc = find_type(a, config, e)) || (rc = check_known(*a, config, e))) {
        return rc;
    }
    const struct hf_family *hf = (*a)->hf;
    gguf_build_str(b, "general.architecture", str_c((*a)->name));
    if ((rc = put_keys(b, *a, config, hf->keys, e)) || (rc = put_keys(b, *a, config, common, e))) {
        return rc;
    }
    if (!(*a)->encoder) { /* which has a table of positions */
        put_rotation(b, *a, config);
        if ((rc = hf_rope(b, *a, config, e))) {
            return rc;
        }
    }
    return hf->extra ? hf->extra(b, *a, config, e) : b->code;
}

enum err_code hf_config(struct gguf_build *b, const struct arch **a, const struct json *config,
                        const char *where, struct err *e) {
    enum err_code rc = read_config(b, a, config, e);
    if (rc && rc != ERR_NOMEM) {
        err_where(e, "%s", where);
    }
    return rc;
}
