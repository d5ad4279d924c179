/* config.c: the descriptor table and the keys that all architectures share.
 *
 * The bounds below are far above any model that exists and low enough that the products made of
 * the fields (rows times columns, layers times pages) stay inside 64 bits. Whether the tensors
 * have the shapes that these numbers promise is checked where they are bound, in weights.c.
 */
#include "model/config.h"

#include <math.h>
#include <stdio.h>

#include "model/hparam.h"

enum {
    MAX_LAYER = CONFIG_LAYER_MAX,
    MAX_HEAD = 4096,
    MAX_D_MODEL = 1 << 17,
    MAX_D_FF = 1 << 20,
    MAX_VOCAB = (1 << 24) - 1, /* text/vocab.h has the same */
};

static const struct arch *const arch_list[] = {&arch_llama,  &arch_qwen2, &arch_qwen3, &arch_gemma2,
                                               &arch_gemma3, &arch_phi3,  &arch_bert};

static bool arch_known(struct str name, const struct arch **a) {
    for (size_t i = 0; i < sizeof arch_list / sizeof *arch_list; i++) {
        *a = arch_list[i];
        if (str_is(name, (*a)->name)) {
            return true;
        }
    }
    *a = NULL;
    return false;
}

const struct arch *arch_of_name(struct str name) {
    const struct arch *a;
    arch_known(name, &a);
    return a;
}

static enum err_code find_arch(const struct arch **a, const struct gguf *g, struct err *e) {
    struct str name;
    enum err_code rc = gguf_get_str(g, "general.architecture", &name, e);
    if (rc || arch_known(name, a)) {
        return rc;
    }
    char known[128];
    int n = 0;
    for (size_t i = 0; i < sizeof arch_list / sizeof *arch_list; i++) {
        n += snprintf(known + n, sizeof known - (size_t)n, "%s%s", i ? ", " : "",
                      arch_list[i]->name);
    }
    rc = err_set(e, ERR_UNSUPPORTED, "unknown architecture '%.*s'",
                 (int)(name.n < 64 ? name.n : 64), name.p);
    err_where(e, "%s, key 'general.architecture'", g->path);
    err_hint(e, "this program knows: %s", known);
    return rc;
}

enum err_code arch_of_type(const struct arch **a, struct str type, struct err *e) {
    char known[192] = "";
    size_t n = 0;
    for (size_t i = 0; i < sizeof arch_list / sizeof *arch_list; i++) {
        const char *const *t = arch_list[i]->hf ? arch_list[i]->hf->types : NULL;
        for (; t && *t; t++) {
            if (str_is(type, *t)) {
                *a = arch_list[i];
                return ERR_OK;
            }
            n += n < sizeof known
                     ? (size_t)snprintf(known + n, sizeof known - n, "%s%s", n ? ", " : "", *t)
                     : 0;
        }
    }
    enum err_code rc = err_set(e, ERR_UNSUPPORTED, "unknown model_type '%.*s'",
                               (int)(type.n < 64 ? type.n : 64), type.p);
    err_hint(e, "this program knows: %s", known);
    return rc;
}

/* Sizes of the residual stream, the heads and the feed-forward block. */
static enum err_code read_shape(struct config *c, const struct hparam *h) {
    enum err_code rc;
    if ((rc = hparam_int(h, "embedding_length", HPARAM_REQUIRED, 1, MAX_D_MODEL, &c->d_model)) ||
        (rc = hparam_int(h, "attention.head_count", HPARAM_REQUIRED, 1, MAX_HEAD, &c->n_head)) ||
        (rc = hparam_int(h, "attention.head_count_kv", c->n_head, 1, c->n_head, &c->n_kv)) ||
        (rc = hparam_int(h, "attention.key_length", 0, 1, CONFIG_D_HEAD_MAX, &c->d_head)) ||
        (rc = hparam_int(h, "feed_forward_length", HPARAM_REQUIRED, 1, MAX_D_FF, &c->d_ff)) ||
        (rc = hparam_int(h, "context_length", HPARAM_REQUIRED, 1, CONFIG_CTX_MAX, &c->n_ctx))) {
        return rc;
    }
    if (c->d_head == 0) { /* the usual case: the heads share out the residual stream */
        c->d_head = c->d_model % c->n_head ? 0 : c->d_model / c->n_head;
    }
    if (c->n_head % c->n_kv || c->d_head == 0 || c->d_head > CONFIG_D_HEAD_MAX) {
        rc = err_set(h->e, ERR_FORMAT,
                     "%d heads over %d key-value heads do not share out a width of %d", c->n_head,
                     c->n_kv, c->d_model);
        err_where(h->e, "%s, keys '%s.attention.*'", h->g->path, c->arch);
        return rc;
    }
    int d_value;
    if ((rc = hparam_int(h, "attention.value_length", c->d_head, 1, CONFIG_D_HEAD_MAX, &d_value))) {
        return rc;
    }
    if (d_value != c->d_head) {
        rc = err_set(h->e, ERR_UNSUPPORTED, "keys of %d dimensions and values of %d", c->d_head,
                     d_value);
        err_where(h->e, "%s, key '%s.attention.value_length'", h->g->path, c->arch);
        return rc;
    }
    c->attn_scale = (float)(1.0 / sqrt(c->d_head));
    return ERR_OK;
}

static enum err_code read_rope(struct config *c, const struct hparam *h) {
    double base;
    enum err_code rc;
    if ((rc = hparam_int(h, "rope.dimension_count", c->d_head, 2, c->d_head, &c->n_rot)) ||
        (rc = hparam_real(h, "rope.freq_base", 10000, 1.001, 1e15, &base))) {
        return rc;
    }
    if (c->n_rot % 2) {
        rc = err_set(h->e, ERR_FORMAT, "%d rotated dimensions do not make pairs", c->n_rot);
        err_where(h->e, "%s, key '%s.rope.dimension_count'", h->g->path, c->arch);
        return rc;
    }
    c->rope_base = (float)base;
    c->rope_scale = 1;
    return ERR_OK;
}

enum err_code config_window(struct config *c, const struct gguf *g, int def, int period,
                            struct err *e) {
    struct hparam h = {.g = g, .arch = c->arch, .n_layer = c->n_layer, .e = e};
    const char *pattern = "attention.sliding_window_pattern";
    enum err_code rc = hparam_int(&h, "attention.sliding_window", def, 0, INT32_MAX, &c->window);
    if (rc || c->window == 0) {
        return rc;
    }
    if (hparam_is_array(&h, pattern)) {
        return hparam_flags(&h, pattern, c->local);
    }
    if ((rc = hparam_int(&h, pattern, period, 1, CONFIG_LAYER_MAX, &period))) {
        return rc;
    }
    for (int i = 0; i < c->n_layer; i++) {
        c->local[i] = period == 0 || i % period != period - 1;
    }
    return ERR_OK;
}

enum err_code config_some_windows(struct config *c, const struct gguf *g, struct err *e) {
    struct hparam h = {.g = g, .arch = c->arch, .n_layer = c->n_layer, .e = e};
    return hparam_is_array(&h, "attention.sliding_window_pattern") ? config_window(c, g, 0, 0, e)
                                                                   : ERR_OK;
}

enum err_code config_caps(struct config *c, const struct gguf *g, double attn, double logit,
                          struct err *e) {
    struct hparam h = {.g = g, .arch = c->arch, .n_layer = c->n_layer, .e = e};
    enum err_code rc;
    if ((rc = hparam_real(&h, "attn_logit_softcapping", attn, 1e-3, 1e6, &attn)) ||
        (rc = hparam_real(&h, "final_logit_softcapping", logit, 1e-3, 1e6, &logit))) {
        return rc;
    }
    c->attn_cap = (float)attn;
    c->logit_cap = (float)logit;
    return ERR_OK;
}

/* The embedding table says how many tokens there are: not every file has the key. */
static enum err_code read_vocab(struct config *c, const struct hparam *h) {
    const struct gguf_tensor *t = gguf_find_tensor(h->g, "token_embd.weight");
    if (!t) {
        return hf_missing(h->g, "token_embd.weight", h->e);
    }
    if (t->dim[1] > MAX_VOCAB) {
        enum err_code rc =
            err_set(h->e, ERR_FORMAT, "tensor 'token_embd.weight' is larger than any vocabulary");
        err_where(h->e, "%s", h->g->path);
        return rc;
    }
    c->n_vocab = (int)t->dim[1];
    int said;
    return hparam_int(h, "vocab_size", c->n_vocab, c->n_vocab, c->n_vocab, &said);
}

enum err_code config_read(struct config *c, const struct gguf *g, struct err *e) {
    const struct arch *a = NULL;
    enum err_code rc = find_arch(&a, g, e);
    if (rc) {
        return rc;
    }
    *c = (struct config){.arch = a->name,
                         .act = a->act,
                         .qk_norm = a->qk_norm,
                         .post_norm = a->post_norm,
                         .fused = a->fused,
                         .encoder = a->encoder,
                         .embed_scale = 1,
                         .rope_halves = a->rope_halves || g->rope_halves};
    struct hparam h = {.g = g, .arch = a->name, .e = e};
    double eps;
    if ((rc = hparam_int(&h, "block_count", HPARAM_REQUIRED, 1, MAX_LAYER, &c->n_layer))) {
        return rc;
    }
    h.n_layer = c->n_layer;
    const char *eps_key =
        a->encoder ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon";
    int pooling;
    char headless[64];
    snprintf(headless, sizeof headless, "%s.ign.headless", a->name);
    if ((rc = read_shape(c, &h)) || (!a->encoder && (rc = read_rope(c, &h))) ||
        (rc = read_vocab(c, &h)) ||
        (rc = hparam_real(&h, eps_key, HPARAM_REQUIRED, 1e-30, 1, &eps)) ||
        (rc = hparam_int(&h, "pooling_type", POOL_NONE, POOL_NONE, POOL_RANK, &pooling)) ||
        (rc = hparam_int(&h, "truncation_length", 0, 2, CONFIG_CTX_MAX, &c->text_max)) ||
        (rc = gguf_get_bool_or(g, headless, false, &c->headless, e))) {
        return rc;
    }
    c->norm_eps = (float)eps;
    c->pooling = (enum model_pooling)pooling;
    c->qkv_bias = a->qkv_bias || gguf_find_tensor(g, "blk.0.attn_q.bias");
    c->out_bias = gguf_find_tensor(g, "blk.0.attn_output.bias") != NULL;
    bool own = gguf_find_tensor(g, "output.weight") != NULL;
    c->headless = c->headless && !own;
    c->tied = !c->headless && !own;
    if (c->tied && g->own_output) {
        return hf_missing(g, "output.weight", e);
    }
    return a->extra ? a->extra(c, g, e) : ERR_OK;
}
