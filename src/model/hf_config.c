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
    {"num_hidden_layers", "block_count", HF_INT, 0, NULL},
    {"hidden_size", "embedding_length", HF_INT, 0, NULL},
    {"num_attention_heads", "attention.head_count", HF_INT, 0, NULL},
    {"num_key_value_heads", "attention.head_count_kv", HF_INT, 0, NULL},
    {"head_dim", "attention.key_length", HF_INT, 0, NULL},
    {"head_dim", "attention.value_length", HF_INT, 0, NULL},
    {"intermediate_size", "feed_forward_length", HF_INT, 0, NULL},
    {"max_position_embeddings", "context_length", HF_INT, 0, NULL},
    {"vocab_size", "vocab_size", HF_INT, 0, NULL},
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon", HF_REAL, 0, NULL},
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

double hf_number(struct gguf_build *b, const struct json *config, const char *name, double def) {
    const struct json *j = find(config, name);
    if (j && !is_number(j) && !b->code) {
        b->code = err_set(b->e, ERR_FORMAT, "'%s' is not a number", name);
    }
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

void hf_put_str(struct gguf_build *b, const struct arch *a, const char *key, struct str v) {
    gguf_build_str(b, key_of(a, key).s, v);
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

static struct str type_of(const struct json *config) {
    const struct json *j = find(config, "model_type");
    return j ? json_str(j) : str_of("", 0);
}

enum err_code hf_put_key(struct gguf_build *b, const struct arch *a, const struct json *config,
                         const struct hf_key *k, struct err *e) {
    const struct json *j = find(config, k->from);
    bool said = json_find(config, k->from) != NULL;
    if (known(b, a, k->key) || (!j && (said || k->def == 0)) ||
        (k->only && !str_is(type_of(config), k->only))) {
        return b->code;
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
        rc = hf_put_key(b, a, config, k, e);
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

static bool is_false(const struct json *j) {
    return !j || (json_kind(j) == JSON_IS_BOOL && !json_bool(j));
}

static enum err_code check_known(const struct arch *a, const struct json *config, struct err *e) {
    static const char *const unknown[] = {"mlp_bias", "use_qkv_bias", "is_encoder_decoder",
                                          "add_cross_attention", "use_bidirectional_attention"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        const struct json *j = find(config, unknown[i]);
        if (!is_false(j)) {
            return refuse(e, unknown[i],
                          json_kind(j) == JSON_IS_BOOL ? "true, which this program cannot compute"
                                                       : "not false, and else it is unknown",
                          NULL);
        }
    }
    const struct json *causal = json_find(config, "is_causal");
    if (causal && !a->encoder && !json_bool(causal)) { /* null, too, is not true to transformers */
        return refuse(e, "is_causal", "not true: each token would see those behind it, too", NULL);
    }
    enum err_code rc = check_quantized(config, e);
    return rc ? rc : check_act(a, config, e);
}

/* Whether `name` is one of `list`; those that are listed are added to known [cap], *n long. */
static bool is_class(const char *const *list, struct str name, char *known, size_t cap, size_t *n) {
    for (; list && *list; list++) {
        if (str_is(name, *list)) {
            return true;
        }
        if (*n < cap) {
            *n += (size_t)snprintf(known + *n, cap - *n, "%s%s", *n ? ", " : "", *list);
        }
    }
    return false;
}

/* The class that the weights were trained as: a classifier has a decoder's type, too, and its
 * weights but for the head. *headless: it has no output matrix. */
static enum err_code check_class(const struct arch *a, const struct json *config, bool *headless,
                                 struct err *e) {
    const struct json *list = find(config, "architectures");
    char known[256] = "";
    size_t n = 0;
    *headless = false;
    if (!list) {
        return ERR_OK;
    }
    const struct json *first =
        json_kind(list) == JSON_IS_ARRAY && json_count(list) ? json_at(list, 0) : NULL;
    struct str name = first ? json_str(first) : str_of("", 0);
    if (is_class(a->hf->classes, name, known, sizeof known, &n) ||
        (*headless = is_class(a->hf->bodies, name, known, sizeof known, &n))) {
        return ERR_OK;
    }
    if (!name.n) {
        err_set(e, ERR_FORMAT, "'architectures' does not begin with the name of a class");
        err_hint(e, "put the class of the weights there, one of %s; or leave the setting out",
                 known);
        return ERR_FORMAT;
    }
    char value[128];
    snprintf(value, sizeof value, "'%.*s', whose results are not what this program computes",
             (int)(name.n < 64 ? name.n : 64), name.p);
    refuse(e, "architectures", value, NULL);
    err_hint(e, "of these models it computes %s", known);
    return ERR_UNSUPPORTED;
}

/* ---- layers with a window --------------------------------------------------------------- */

enum err_code hf_layer_types(const struct json *config, uint32_t n_layer, int32_t *local,
                             bool *found, struct err *e) {
    const struct json *list = find(config, "layer_types");
    *found = list != NULL;
    if (list && (json_kind(list) != JSON_IS_ARRAY || json_count(list) != n_layer)) {
        return err_set(e, ERR_FORMAT,
                       "'layer_types' has %zu elements, but 'num_hidden_layers' is %u",
                       json_count(list), n_layer);
    }
    for (uint32_t i = 0; list && i < n_layer; i++) {
        struct str kind = json_str(json_at(list, i));
        local[i] = str_is(kind, "sliding_attention");
        if (!local[i] && !str_is(kind, "full_attention")) {
            return err_set(e, ERR_UNSUPPORTED, "'layer_types' has '%.*s'",
                           (int)(kind.n < 32 ? kind.n : 32), kind.p);
        }
    }
    return ERR_OK;
}

void hf_put_locals(struct gguf_build *b, const struct arch *a, const int32_t *local,
                   uint32_t n_layer) {
    gguf_build_i32s(b, key_of(a, "attention.sliding_window_pattern").s, local, n_layer);
}

enum err_code hf_some_windows(struct gguf_build *b, const struct arch *a, const struct json *config,
                              struct err *e) {
    static const struct hf_key window = {
        .from = "sliding_window", .key = "attention.sliding_window", .kind = HF_INT, .def = 4096};
    int32_t local[CONFIG_LAYER_MAX], any = 0;
    uint32_t n_layer = hf_known_int(b, a, "block_count");
    bool used = !is_false(find(config, "use_sliding_window")), listed;
    double first = hf_number(b, config, "max_window_layers", 28);
    if (n_layer > CONFIG_LAYER_MAX || b->code) {
        return b->code; /* config.c names the bound */
    }
    enum err_code rc = hf_layer_types(config, n_layer, local, &listed, e);
    for (uint32_t i = 0; !rc && i < n_layer; i++) {
        local[i] = listed ? local[i] : used && i >= first;
        any |= local[i];
    }
    if (!rc && any && !used) {
        return err_set(e, ERR_FORMAT,
                       "'layer_types' has 'sliding_attention', but 'use_sliding_window' is false");
    }
    if (rc || !any || (rc = hf_put_key(b, a, config, &window, e))) {
        return rc;
    }
    hf_put_locals(b, a, local, n_layer);
    return b->code;
}

/* Families whose layers are all of one kind: "layer_types" may say so, and nothing else. */
static enum err_code check_one_kind(struct gguf_build *b, const struct arch *a,
                                    const struct json *config, struct err *e) {
    int32_t local[CONFIG_LAYER_MAX];
    uint32_t n_layer = hf_known_int(b, a, "block_count");
    int32_t window = hf_known_int(b, a, "attention.sliding_window") > 0;
    bool listed;
    if (a->hf->extra || n_layer > CONFIG_LAYER_MAX) {
        return ERR_OK;
    }
    enum err_code rc = hf_layer_types(config, n_layer, local, &listed, e);
    for (uint32_t i = 0; !rc && listed && i < n_layer; i++) {
        if (local[i] != window) {
            return refuse(e, "layer_types",
                          window ? "not 'sliding_attention' everywhere, and 'sliding_window' is set"
                                 : "not 'full_attention' everywhere, and there is no window",
                          NULL);
        }
    }
    return rc;
}

/* ---- the file --------------------------------------------------------------------------- */

static enum err_code find_type(const struct arch **a, const struct json *config, struct err *e) {
    struct str type = type_of(config);
    if (!type.n) {
        return err_set(e, ERR_FORMAT, "'model_type' is missing");
    }
    return arch_of_type(a, type, e);
}

static enum err_code put_rotation(struct gguf_build *b, const struct arch *a,
                                  const struct json *config, struct err *e) {
    const struct json *rope = hf_rope_of(config);
    const struct json *where = rope && find(rope, "rope_theta") ? rope : config;
    if (find(where, "rope_theta")) {
        hf_put_real(b, a, "rope.freq_base", hf_number(b, where, "rope_theta", 0), "rope_theta");
    }
    double part = hf_number(b, config, "partial_rotary_factor",
                            rope ? hf_number(b, rope, "partial_rotary_factor", 1) : 1);
    uint32_t heads = hf_known_int(b, a, "attention.head_count");
    uint32_t d_head = hf_known_int(b, a, "attention.key_length");
    if (d_head == 0 && heads) {
        d_head = hf_known_int(b, a, "embedding_length") / heads;
    }
    if (!(part > 0 && part <= 1)) {
        return err_set(e, ERR_FORMAT, "'partial_rotary_factor' is %g, not above 0 and up to 1",
                       part);
    }
    if (part != 1 && !a->hf->part_rotates) {
        return refuse(e, "partial_rotary_factor", "not 1, which models of this kind do not have",
                      NULL);
    }
    hf_put_int(b, a, "rope.dimension_count", (uint32_t)(part * d_head), "partial_rotary_factor");
    return b->code;
}

static enum err_code read_config(struct gguf_build *b, const struct arch **a,
                                 const struct json *config, struct err *e) {
    const struct json *text =
        json_kind(config) == JSON_IS_OBJECT ? find(config, "text_config") : NULL;
    bool headless;
    enum err_code rc;
    if (json_kind(config) != JSON_IS_OBJECT || (text && json_kind(text) != JSON_IS_OBJECT)) {
        return err_set(e, ERR_FORMAT, "the settings are not an object");
    }
    if ((rc = check_quantized(config, e)) || (rc = find_type(a, text ? text : config, e)) ||
        (rc = check_class(*a, config, &headless, e))) {
        return rc;
    }
    config = text ? text : config;
    if ((rc = check_known(*a, config, e))) {
        return rc;
    }
    const struct hf_family *hf = (*a)->hf;
    gguf_build_str(b, "general.architecture", str_c((*a)->name));
    if (headless) {
        gguf_build_bool(b, key_of(*a, "ign.headless").s, true);
    }
    if ((rc = put_keys(b, *a, config, hf->keys, e)) || (rc = put_keys(b, *a, config, common, e)) ||
        (rc = check_one_kind(b, *a, config, e))) {
        return rc;
    }
    if (!(*a)->encoder && /* which has a table of positions */
        ((rc = put_rotation(b, *a, config, e)) || (rc = hf_rope(b, *a, config, e)))) {
        return rc;
    }
    rc = hf->extra ? hf->extra(b, *a, config, e) : ERR_OK;
    return rc ? rc : b->code;
}

enum err_code hf_config(struct gguf_build *b, const struct arch **a, const struct json *config,
                        const char *where, struct err *e) {
    enum err_code rc = read_config(b, a, config, e);
    if (rc && rc != ERR_NOMEM) {
        err_where(e, "%s", where);
    }
    return rc;
}
