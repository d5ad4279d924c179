/* arch_bert.c: BERT and what is built like it (all-MiniLM, bge, e5, gte): encoders of texts.
 *
 * Source: Devlin et al. 2019.
 */
#include <stdio.h>

#include "model/config.h"

static enum err_code bert_extra(struct config *c, const struct gguf *g, struct err *e) {
    const struct gguf_tensor *t = gguf_find_tensor(g, "position_embd.weight");
    if (!t || t->dim[1] < 2 || t->dim[1] > CONFIG_CTX_MAX) {
        enum err_code rc = err_set(e, ERR_FORMAT, "tensor 'position_embd.weight' is %s",
                                   t ? "not of a reasonable size" : "missing");
        err_where(e, "%s", g->path);
        return rc;
    }
    c->n_pos = (int)t->dim[1];
    c->n_ctx = c->n_ctx < c->n_pos ? c->n_ctx : c->n_pos;
    c->n_ctx = c->text_max && c->text_max < c->n_ctx ? c->text_max : c->n_ctx;
    t = gguf_find_tensor(g, "token_types.weight");
    c->n_type = t && t->dim[1] < CONFIG_CTX_MAX ? (int)t->dim[1] : 0;
    return ERR_OK;
}

static enum err_code bert_hf_extra(struct gguf_build *b, const struct arch *a,
                                   const struct json *config, struct err *e) {
    const struct json *where = json_find(config, "position_embedding_type");
    const struct json *decodes = json_find(config, "is_decoder");
    if (where && json_kind(where) == JSON_IS_STR && !str_is(json_str(where), "absolute")) {
        return err_set(e, ERR_UNSUPPORTED, "'position_embedding_type' is '%.*s', not 'absolute'",
                       (int)(json_str(where).n < 32 ? json_str(where).n : 32), json_str(where).p);
    }
    if (decodes && json_bool(decodes)) {
        return err_set(e, ERR_UNSUPPORTED, "'is_decoder' is true: a BERT that does not look ahead");
    }
    char key[64];
    snprintf(key, sizeof key, "%s.attention.causal", a->name);
    gguf_build_bool(b, key, false);
    double n_type = hf_number(b, config, "type_vocab_size", 2);
    if (!(n_type >= 0 && n_type <= INT32_MAX)) {
        return err_set(e, ERR_FORMAT, "'type_vocab_size' is %g", n_type);
    }
    gguf_build_u32(b, "tokenizer.ggml.token_type_count", (uint32_t)n_type, "type_vocab_size");
    return b->code;
}

static const char *const hf_types[] = {"bert", NULL};
/* The others' heads are on top of the same vectors. */
static const char *const hf_classes[] = {"BertModel", "BertForMaskedLM", "BertForPreTraining",
                                         NULL};

static const struct hf_key hf_keys[] = {
    {"layer_norm_eps", "attention.layer_norm_epsilon", HF_REAL, 1e-12, NULL},
    {0},
};

static const struct hf_name hf_names[] = {
    {"embeddings.word_embeddings.weight", "token_embd.weight", HF_AS_IT_IS},
    {"embeddings.position_embeddings.weight", "position_embd.weight", HF_AS_IT_IS},
    {"embeddings.token_type_embeddings.weight", "token_types.weight", HF_AS_IT_IS},
    {"embeddings.LayerNorm.weight", "token_embd_norm.weight", HF_AS_IT_IS},
    {"embeddings.LayerNorm.bias", "token_embd_norm.bias", HF_AS_IT_IS},
    {"embeddings.LayerNorm.gamma", "token_embd_norm.weight", HF_AS_IT_IS},
    {"embeddings.LayerNorm.beta", "token_embd_norm.bias", HF_AS_IT_IS},
    {"embeddings.position_ids", NULL, HF_DROP},
    {"pooler.dense.weight", NULL, HF_DROP}, /* of another task */
    {"pooler.dense.bias", NULL, HF_DROP},
    {"attention.self.query.weight", "attn_q.weight", HF_AS_IT_IS},
    {"attention.self.query.bias", "attn_q.bias", HF_AS_IT_IS},
    {"attention.self.key.weight", "attn_k.weight", HF_AS_IT_IS},
    {"attention.self.key.bias", "attn_k.bias", HF_AS_IT_IS},
    {"attention.self.value.weight", "attn_v.weight", HF_AS_IT_IS},
    {"attention.self.value.bias", "attn_v.bias", HF_AS_IT_IS},
    {"attention.output.dense.weight", "attn_output.weight", HF_AS_IT_IS},
    {"attention.output.dense.bias", "attn_output.bias", HF_AS_IT_IS},
    {"attention.output.LayerNorm.weight", "attn_output_norm.weight", HF_AS_IT_IS},
    {"attention.output.LayerNorm.bias", "attn_output_norm.bias", HF_AS_IT_IS},
    {"attention.output.LayerNorm.gamma", "attn_output_norm.weight", HF_AS_IT_IS},
    {"attention.output.LayerNorm.beta", "attn_output_norm.bias", HF_AS_IT_IS},
    {"intermediate.dense.weight", "ffn_up.weight", HF_AS_IT_IS},
    {"intermediate.dense.bias", "ffn_up.bias", HF_AS_IT_IS},
    {"output.dense.weight", "ffn_down.weight", HF_AS_IT_IS},
    {"output.dense.bias", "ffn_down.bias", HF_AS_IT_IS},
    {"output.LayerNorm.weight", "layer_output_norm.weight", HF_AS_IT_IS},
    {"output.LayerNorm.bias", "layer_output_norm.bias", HF_AS_IT_IS},
    {"output.LayerNorm.gamma", "layer_output_norm.weight", HF_AS_IT_IS},
    {"output.LayerNorm.beta", "layer_output_norm.bias", HF_AS_IT_IS},
    {0},
};

static const struct hf_family bert_hf = {.types = hf_types,
                                         .classes = hf_classes,
                                         .keys = hf_keys,
                                         .names = hf_names,
                                         .extra = bert_hf_extra};

const struct arch arch_bert = {
    .name = "bert",
    .hf = &bert_hf,
    .encoder = true,
    .act = ACT_GELU_ERF,
    .extra = bert_extra,
};
