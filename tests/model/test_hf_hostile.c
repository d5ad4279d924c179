/* test_hf_hostile.c: folders that lie, items B04 and B09 to B14 of the hostile-input list.
 *
 *     test_hf_hostile GOLDEN
 *
 * Each case is a folder that transformers wrote, with one thing changed, and what must be said.
 */
#include <sys/stat.h>
#include <time.h>

#include "model/folder_rig.h"
#include "model/model.h"
#include "model/source.h"

struct change {
    const char *file, *from, *to;
    enum err_code code;
    const char *said;
};

/* Opens and loads; the message must have the text. */
static enum err_code load(const char *said) {
    struct model_opts o = {.device = "plain", .n_ctx = 16, .max_tok = 8};
    struct model *m = NULL;
    struct err e = {0};
    char line[1200];
    clock_t start = clock();
    size_t live = mem_live(); /* not 0 once a case has failed */
    enum err_code rc = model_open(&m, rig_folder, &o, &e);
    rc = rc ? rc : model_load(m, &o, &e);
    model_close(m);
    assert_int_equal(mem_live(), live);
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 5);
    if (rc && !strstr(err_line(&e, line, sizeof line), said)) {
        fail_msg("'%s' does not say '%s'", line, said);
    }
    if (rc && !strstr(e.where, rig_folder)) {
        fail_msg("'%s' does not say where", line);
    }
    return rc;
}

static void run(const char *folder, const struct change *c, size_t n) {
    for (size_t i = 0; i < n; i++) {
        rig_copy(folder);
        rig_replace(c[i].file, c[i].from, c[i].to);
        enum err_code rc = load(c[i].said);
        if (rc != c[i].code) {
            fail_msg("case %zu (%s: %s): code %d", i, c[i].file, c[i].to, rc);
        }
    }
}

#define CONFIG(from, to, code, said)                                                               \
    { "config.json", from, to, code, said }
#define BAD     ERR_FORMAT
#define UNKNOWN ERR_UNSUPPORTED

static void b11_config(void **state) {
    (void)state;
    static const char hidden[] = "\"hidden_size\": 64", heads[] = "\"num_attention_heads\": 4";
    static const char layers[] = "\"num_hidden_layers\": 2";
    const struct change c[] = {
        CONFIG(hidden, "\"hidden_size\": 32", BAD, "shape"),
        CONFIG(hidden, "\"hidden_size\": -1", BAD, "'hidden_size'"),
        CONFIG(hidden, "\"hidden_size\": 64.0", BAD, "'hidden_size'"),
        CONFIG(hidden, "\"hidden_size\": \"64\"", BAD, "'hidden_size'"),
        CONFIG(hidden, "\"hidden_size\": 1e400", BAD, "config.json"),
        CONFIG(hidden, "\"hidden_size\": 99999999999999999999", BAD, "config.json"),
        CONFIG(hidden, "\"hidden_size\": 4294967296", BAD, "'hidden_size'"),
        CONFIG(hidden, "\"hidden_size\": null", BAD, "embedding_length"),
        CONFIG(heads, "\"num_attention_heads\": 0", BAD, "'num_attention_heads'"),
        CONFIG(heads, "\"num_attention_heads\": 3", BAD, "share"),
        CONFIG("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 8", BAD,
               "'num_key_value_heads'"),
        CONFIG("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 1", BAD, "shape"),
        CONFIG(layers, "\"num_hidden_layers\": 0", BAD, "'num_hidden_layers' is 0"),
        CONFIG(layers, "\"num_hidden_layers\": 1", BAD, "'layer_types' has 2 elements"),
        CONFIG(layers, "\"layer_types\": null, \"num_hidden_layers\": 1, \"old\"", BAD,
               "duplicate"),
        CONFIG(layers, "\"num_hidden_layers\": 4000000000", BAD, "'num_hidden_layers'"),
        CONFIG("\"intermediate_size\": 96", "\"intermediate_size\": 64", BAD, "shape"),
        CONFIG("\"vocab_size\": 256", "\"vocab_size\": 255", BAD, "'vocab_size'"),
        CONFIG("\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": 0", BAD, "'rms_norm_eps'"),
        CONFIG("\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": -1e-5", BAD, "'rms_norm_eps'"),
        CONFIG("\"max_position_embeddings\": 512", "\"max_position_embeddings\": 0", BAD,
               "'max_position_embeddings'"),
        CONFIG("\"rope_theta\": 10000.0", "\"rope_theta\": 0", BAD, "'rope_theta'"),
        CONFIG("\"rope_type\": \"default\"", "\"rope_type\": \"spiral\"", UNKNOWN, "'spiral'"),
        CONFIG("\"rope_type\": \"default\"", "\"rope_type\": \"llama3\"", BAD, "'factor'"),
        CONFIG("\"rope_type\": \"default\"", "\"rope_type\": \"yarn\", \"factor\": 0", BAD,
               "'factor'"),
        CONFIG("\"model_type\": \"qwen2\"", "\"model_type\": \"gpt_neox\"", UNKNOWN, "'gpt_neox'"),
        CONFIG("\"model_type\": \"qwen2\"", "\"model_type\": 2", BAD, "'model_type'"),
        CONFIG("\"hidden_act\": \"silu\"", "\"hidden_act\": \"relu\"", UNKNOWN, "'relu'"),
        CONFIG("\"hidden_act\"", "\"quantization_config\": {\"quant_method\": \"gptq\"}, \"a\"",
               UNKNOWN, "'gptq'"),
        CONFIG("\"hidden_act\"", "\"mlp_bias\": true, \"hidden_act\"", UNKNOWN, "'mlp_bias'"),
        CONFIG("\"hidden_act\"", "\"hidden_size\": 64, \"hidden_act\"", BAD, "duplicate"),
        CONFIG(NULL, "", BAD, "config.json"),
        CONFIG(NULL, "[]", BAD, "not an object"),
        CONFIG(NULL, "{", BAD, "config.json"),
        CONFIG(NULL, "{\"model_type\":\"qwen2\"}", BAD, "layer that config.json does not"),
    };
    run("tiny-qwen2", c, sizeof c / sizeof *c);
    const struct change experts[] = {
        CONFIG("\"num_local_experts\": 4", "\"num_local_experts\": 5", BAD, "expert 4"),
        CONFIG("\"num_local_experts\": 4", "\"num_local_experts\": 3", BAD, "expert that"),
        CONFIG("\"num_local_experts\": 4", "\"num_local_experts\": 4000000000", BAD, "experts"),
        CONFIG("\"num_local_experts\": 4", "\"num_local_experts\": 0", BAD, "expert that"),
        CONFIG("\"num_experts_per_tok\": 2", "\"num_experts_per_tok\": 0", BAD,
               "'num_experts_per_tok'"),
        CONFIG("\"num_experts_per_tok\": 2", "\"num_experts_per_tok\": 5", BAD,
               "'num_experts_per_tok'"),
        {"model.safetensors", "experts.3.w1", "experts.2.w1", BAD, "twice"},
        {"model.safetensors", "experts.3.w1", "experts.9.w1", BAD, "expert that"},
    };
    run("tiny-mixtral", experts, sizeof experts / sizeof *experts);
}

/* Settings that change what a model computes: done as transformers does, or refused by name. */
static void settings_of_other_models(void **state) {
    (void)state;
    static const char own[] = "\"Qwen2ForCausalLM\"", classes[] = "\"architectures\": [";
    static const char layers[] = "\"layer_types\": [\n    \"full";
#define MORE(more, code, said)                                                                     \
    CONFIG("\"vocab_size\": 256", more ", \"vocab_size\": 256", code, said)
    const struct change c[] = {
        CONFIG(own, "\"Qwen2ForSequenceClassification\"", UNKNOWN,
               "'Qwen2ForSequenceClassification'"),
        CONFIG(own, "\"Qwen2ForTokenClassification\"", UNKNOWN, "'architectures'"),
        CONFIG(own, "\"Qwen2Model\"", ERR_OK, ""), /* and an output matrix */
        CONFIG(own, "\"Qwen3Model\"", UNKNOWN, "Qwen2ForCausalLM, Qwen2Model"),
        CONFIG(own, "\"\"", BAD, "'architectures'"),
        CONFIG(own, "7", BAD, "'architectures'"),
        CONFIG(own, "", BAD, "'architectures'"),
        CONFIG(classes, "\"architectures\": {}, \"a\": [", BAD, "'architectures'"),
        CONFIG(classes, "\"architectures\": null, \"a\": [", ERR_OK, ""),
        MORE("\"use_bidirectional_attention\": true", UNKNOWN, "'use_bidirectional_attention'"),
        MORE("\"use_bidirectional_attention\": \"all\"", UNKNOWN, "'use_bidirectional_attention'"),
        MORE("\"use_bidirectional_attention\": false", ERR_OK, ""),
        MORE("\"is_causal\": false", UNKNOWN, "'is_causal'"),
        MORE("\"is_causal\": null", UNKNOWN, "'is_causal'"),
        MORE("\"is_causal\": true", ERR_OK, ""),
        MORE("\"is_encoder_decoder\": true", UNKNOWN, "'is_encoder_decoder'"),
        MORE("\"add_cross_attention\": true", UNKNOWN, "'add_cross_attention'"),
        MORE("\"partial_rotary_factor\": 0.5", UNKNOWN, "'partial_rotary_factor'"),
        MORE("\"partial_rotary_factor\": -1", BAD, "'partial_rotary_factor'"),
        MORE("\"partial_rotary_factor\": \"1\"", BAD, "'partial_rotary_factor'"),
        MORE("\"rope_scaling\": [1]", BAD, "'rope_scaling'"),
        MORE("\"rope_scaling\": {\"type\": \"mrope\"}", UNKNOWN, "'mrope'"),
        MORE("\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2.0}", ERR_OK, ""),
        MORE("\"rope_scaling\": {\"full_attention\": {}, \"sliding_attention\": {}}", UNKNOWN,
             "'sliding_attention'"),
        MORE("\"rope_scaling\": {\"type\": \"linear\", \"factor\": \"2\"}", BAD, "'factor'"),
        CONFIG("\"rope_theta\": 10000.0", "\"rope_theta\": \"10000\"", BAD, "'rope_theta'"),
        MORE("\"text_config\": []", BAD, "not an object"),
        MORE("\"text_config\": {}", BAD, "'model_type'"),
        MORE("\"quantization_config\": {\"quant_method\": \"awq\"}", UNKNOWN, "'awq'"),
        MORE("\"quantization_config\": {\"load_in_4bit\": true}", UNKNOWN, "'quantization_config'"),
        MORE("\"head_dim\": 32", BAD, "shape"),
        MORE("\"head_dim\": null", ERR_OK, ""),
        MORE("\"torch_dtype\": \"float16\"", ERR_OK, ""), /* the files' own types count */
        CONFIG(layers, "\"layer_types\": [\n    \"chunked", UNKNOWN, "'chunked_attention'"),
        CONFIG(layers, "\"layer_types\": [\n    \"sliding", BAD, "'use_sliding_window'"),
        CONFIG("\"layer_types\": [", "\"layer_types\": 2, \"a\": [", BAD, "'layer_types'"),
        CONFIG("\"sliding_window\": null", "\"sliding_window\": 131072", ERR_OK, ""),
    };
    run("tiny-qwen2", c, sizeof c / sizeof *c);
#undef MORE
}

static void settings_of_one_family(void **state) {
    (void)state;
    static const char window[] = "\"sliding_window\": 12",
                      scalar[] = "\"query_pre_attn_scalar\": 16";
    static const char cap[] = "\"attn_logit_softcapping\": 3.0", list[] = "\"layer_types\": [";
    static const char part[] = "\"partial_rotary_factor\": 0.75";
    static const char kind[] = "\"rope_type\": \"longrope\"";
    const struct change windows[] = {
        CONFIG(window, "\"sliding_window\": \"12\"", BAD, "'sliding_window'"),
        CONFIG(window, "\"sliding_window\": -12", BAD, "'sliding_window'"),
        CONFIG("\"max_window_layers\": 1", "\"max_window_layers\": []", BAD, "'max_window_layers'"),
    };
    const struct change mistral[] = {
        CONFIG(window,
               "\"sliding_window\": 12, \"layer_types\": [\"full_attention\", \"full_attention\"]",
               UNKNOWN, "'layer_types'"),
        CONFIG(
            window,
            "\"sliding_window\": null, \"layer_types\": [\"full_attention\", \"full_attention\"]",
            ERR_OK, ""),
        CONFIG(window, "\"sliding_window\": 12, \"layer_types\": [\"chunked_attention\"]", BAD,
               "'layer_types'"),
    };
    const struct change gemma2[] = {
        CONFIG(cap, "\"attn_logit_softcapping\": null", UNKNOWN, "'attn_logit_softcapping'"),
        CONFIG(cap, "\"attn_logit_softcapping\": -3", BAD, "'attn_logit_softcapping'"),
        CONFIG("\"final_logit_softcapping\": 6.0", "\"final_logit_softcapping\": null", UNKNOWN,
               "'final_logit_softcapping'"),
        CONFIG(scalar, "\"query_pre_attn_scalar\": 24", UNKNOWN, "'query_pre_attn_scalar'"),
        CONFIG(scalar, "\"query_pre_attn_scalar\": \"16\"", BAD, "'query_pre_attn_scalar'"),
        CONFIG(window, "\"sliding_window\": null", UNKNOWN, "'sliding_window'"),
        CONFIG("Gemma2ForCausalLM", "Gemma2ForTokenClassification", UNKNOWN, "'architectures'"),
    };
    const struct change gemma3[] = {
        CONFIG("\"rope_theta\": 100.0,\n      \"rope_type\": \"default\"",
               "\"rope_theta\": 100.0, \"factor\": 2, \"rope_type\": \"linear\"", UNKNOWN,
               "'sliding_attention'"),
        CONFIG("\"rope_theta\": 100.0", "\"rope_theta\": []", BAD, "'rope_theta'"),
        CONFIG(list, "\"layer_types\": null, \"sliding_window_pattern\": -1, \"a\": [", BAD,
               "'sliding_window_pattern'"),
        CONFIG(list, "\"layer_types\": null, \"sliding_window_pattern\": 0, \"a\": [", BAD,
               "'sliding_window_pattern'"),
    };
    const struct change bias[] = {
        CONFIG("\"attention_bias\": true", "\"attention_bias\": false", BAD, "'attention_bias'"),
        CONFIG("LlamaForCausalLM", "LlamaForSequenceClassification", UNKNOWN, "'architectures'"),
    };
    const struct change phi[] = {
        CONFIG(kind, "\"rope_type\": \"yarn\"", ERR_OK, ""), /* what early files called it */
        CONFIG(kind, "\"rope_type\": \"su\"", ERR_OK, ""),
        CONFIG(part, "\"partial_rotary_factor\": 1", BAD, "'long_factor'"),
        CONFIG(part, "\"partial_rotary_factor\": 1.5", BAD, "'partial_rotary_factor'"),
    };
    const struct change nested[] = {
        CONFIG("\"model_type\": \"mistral\"", "\"model_type\": \"qwen2_vl_text\"", UNKNOWN,
               "'qwen2_vl_text'"),
        CONFIG("\"Mistral3ForConditionalGeneration\"", "\"PaliGemmaForConditionalGeneration\"",
               UNKNOWN, "'architectures'"),
        CONFIG("\"attention_dropout\": 0.0",
               "\"quantization_config\": {\"quant_method\": \"fp8\"}, \"a\": 0.0", UNKNOWN,
               "'fp8'"),
        CONFIG("\"sliding_window\": null", "\"sliding_window\": 12.5", BAD, "'sliding_window'"),
    };
    const struct change bert[] = {
        CONFIG("\"BertModel\"", "\"BertForMaskedLM\"", ERR_OK, ""),
        CONFIG("\"BertModel\"", "\"BertForSequenceClassification\"", UNKNOWN, "'architectures'"),
        CONFIG("\"type_vocab_size\": 2", "\"type_vocab_size\": -1", BAD, "'type_vocab_size'"),
        CONFIG("\"is_decoder\": false", "\"is_decoder\": true", UNKNOWN, "'is_decoder'"),
    };
    run("tiny-qwen2-window", windows, sizeof windows / sizeof *windows);
    run("tiny-mistral", mistral, sizeof mistral / sizeof *mistral);
    run("tiny-gemma2", gemma2, sizeof gemma2 / sizeof *gemma2);
    run("tiny-gemma3", gemma3, sizeof gemma3 / sizeof *gemma3);
    run("tiny-linear", bias, sizeof bias / sizeof *bias);
    run("tiny-phi4", phi, sizeof phi / sizeof *phi);
    run("tiny-mistral3", nested, sizeof nested / sizeof *nested);
    run("tiny-bert", bert, sizeof bert / sizeof *bert);
}

static void b04_depth(void **state) {
    (void)state;
    static const char *const files[] = {"config.json", "tokenizer.json", "tokenizer_config.json",
                                        "generation_config.json"};
    static const char head[] = {'{', '"', 'a', '"', ':'};
    static char deep[100000];
    memset(deep, '[', sizeof deep);
    memcpy(deep, head, sizeof head);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        rig_copy("tiny-qwen2");
        rig_write(files[i], deep, sizeof deep);
        assert_int_equal(load(files[i]), ERR_LIMIT);
    }
}

static void tensors_that_lie(void **state) {
    (void)state;
    static const char st[] = "model.safetensors";
    const struct change c[] = {
        {st, "model.layers.1.mlp.up_proj", "model.layers.0.mlp.up_proj", BAD, "twice"},
        {st, "model.layers.1.mlp.up_proj", "model.layers.7.mlp.up_proj", BAD, "layer that"},
        {st, "\"dtype\":\"BF16\"", "\"dtype\":\"I16\" ", UNKNOWN, "I16"},
        {st, "\"dtype\":\"BF16\"", "\"dtype\":\"F32\" ", BAD, "shape and type"},
        {st, "[256,64]", "[64,256]", BAD, "shape"},
    };
    run("tiny-qwen2", c, sizeof c / sizeof *c);
}

/* What is not there is named as the folder names it, with the files that it is not in. */
static void missing_tensors(void **state) {
    (void)state;
    static const struct {
        const char *folder, *name;
    } all[] = {
        {"tiny-qwen2", "model.embed_tokens.weight"},
        {"tiny-qwen2", "model.norm.weight"},
        {"tiny-qwen2", "model.layers.1.mlp.up_proj.weight"},
        {"tiny-qwen2", "model.layers.0.self_attn.q_proj.weight"},
        {"tiny-qwen2", "model.layers.1.self_attn.v_proj.bias"},
        {"tiny-qwen2", "lm_head.weight"},
        {"tiny-qwen3", "model.layers.0.self_attn.k_norm.weight"},
        {"tiny-gemma3", "model.layers.1.pre_feedforward_layernorm.weight"},
        {"tiny-gemma3", "model.layers.0.post_attention_layernorm.weight"},
        {"tiny-phi35", "model.layers.1.self_attn.qkv_proj.weight"},
        {"tiny-phi35", "model.layers.0.mlp.gate_up_proj.weight"},
        {"tiny-mixtral", "model.layers.1.block_sparse_moe.gate.weight"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char from[128], to[128], said[160];
        snprintf(from, sizeof from, "\"%s\"", all[i].name);
        snprintf(to, sizeof to, "%s", from);
        to[1] = 'X';
        snprintf(said, sizeof said, "tensor '%s' is missing", all[i].name);
        const struct change c = {"model.safetensors", from, to, BAD, said};
        run(all[i].folder, &c, 1);
        assert_int_equal(load("it is not in model.safetensors"), BAD);
    }
    rig_copy("tiny-llama31");
    rig_replace("model.safetensors.index.json", "\"model.norm.weight\"", "\"model.nose.weight\"");
    rig_replace("model-00003-of-00003.safetensors", "\"model.norm.weight\"",
                "\"model.nose.weight\"");
    assert_int_equal(load("'model.norm.weight' is missing"), BAD);
    assert_int_equal(load("it is not in model-00001-of-00003.safetensors, "
                          "model-00002-of-00003.safetensors, model-00003-of-00003.safetensors"),
                     BAD);
}

static void b09_b10_index(void **state) {
    (void)state;
    static const char index[] = "model.safetensors.index.json";
    static const char first[] = "\"model-00001-of-00003.safetensors\"";
    const struct change c[] = {
        {index, first, "\"../../etc/passwd\"", BAD, "no name of"},
        {index, first, "\"/etc/x.safetensors\"", BAD, "no name of"},
        {index, first, "\"..\\\\x.safetensors\"", BAD, "no name of"},
        {index, first, "\"https://x/y.safetensors\"", BAD, "no name of"},
        {index, first, "\".hidden.safetensors\"", BAD, "no name of"},
        {index, first, "\"a\\u0000.safetensors\"", BAD, "no name of"},
        {index, first, "\"pytorch_model.bin\"", BAD, "no name of"},
        {index, first, "\"\"", BAD, "no name of"},
        {index, first, "7", BAD, "no name"},
        {index, first, "\"other.safetensors\"", ERR_NOTFOUND, "other.safetensors"},
        {index, first, "\"model-00002-of-00003.safetensors\"", BAD, "index names it"},
        {index, "\"weight_map\": {",
         "\"weight_map\": {\"nowhere\": \"model-00001-of-00003.safetensors\",", BAD,
         "index names it"},
        {index, "\"weight_map\": {",
         "\"weight_map\": {\"model.norm.weight\": \"model-00001-of-00003.safetensors\",", BAD,
         "twice"},
        {index, "\"weight_map\"", "\"other_map\"", BAD, "missing"},
        {index, NULL, "{\"weight_map\":{}}", BAD, "empty"},
        {index, NULL, "{\"weight_map\":{},\"weight_map\":{}}", BAD, "twice"},
        {index, NULL, "{\"weight_map\":[]}", BAD, "object"},
        {index, NULL, "", BAD, "index.json"},
    };
    run("tiny-llama31", c, sizeof c / sizeof *c);
    /* the same tensors in two files, one of them with one name changed */
    char *text;
    size_t n;
    rig_copy("tiny-llama31");
    rig_read(rig_path("model-00001-of-00003.safetensors"), &text, &n);
    rig_write("extra.safetensors", text, n);
    mem_free(text);
    rig_replace(index, "\"weight_map\": {",
                "\"weight_map\": {\"model.embed_tokens.weighX\": \"extra.safetensors\",");
    rig_replace("extra.safetensors", "model.embed_tokens.weight", "model.embed_tokens.weighX");
    assert_int_equal(load("two files"), BAD);
}

static void b12_tokenizer(void **state) {
    (void)state;
    static const char tok[] = "tokenizer.json";
    static const char model[] = "\"type\": \"BPE\"";
    const struct change c[] = {
        {tok, model, "\"type\": \"WordPiece\"", UNKNOWN, "continuing_subword_prefix"},
        {tok, model, "\"type\": \"WordLevel\"", UNKNOWN, "'model.type' is not known: 'WordLevel'"},
        {tok, model, "\"type\": \"Unigram\"", BAD, "'model.vocab' is missing"},
        {tok, "\"dropout\": null", "\"dropout\": 0.1", UNKNOWN, "at random"},
        {tok, "\"merges\": []", "\"merges\": [\"a zz\"]", BAD, "not there"},
        {tok, "\"merges\": []", "\"merges\": [\"a b\"]", BAD, "not there"},
        {tok, "\"merges\": []", "\"merges\": [\"ab\"]", BAD, "not two pieces"},
        {tok, "\"merges\": []", "\"merges\": [[\"a\"]]", BAD, "not two pieces"},
        {tok, "\"merges\": []", "\"merges\": [[\"a\",\"b\",\"c\"]]", BAD, "not two pieces"},
        {tok, "\"merges\": []", "\"merges\": [7]", BAD, "not two pieces"},
        {tok, "\"merges\": []", "\"merges\": 7", BAD, "'model.merges'"},
        {tok, "\"a\": 97", "\"a\": 98", BAD, "two tokens"},
        {tok, "\"a\": 97", "\"a\": -1", BAD, "whole number"},
        {tok, "\"a\": 97", "\"a\": 1e1", BAD, "whole number"},
        {tok, "\"a\": 97", "\"a\": 16777215", BAD, "past any"},
        {tok, "\"a\": 97", "\"a\": 18446744073709551616", BAD, "whole number"},
        {tok, "\"id\": 255", "\"id\": 64", BAD, "in the vocabulary it is"},
        {tok, "\"id\": 255", "\"id\": 4294967296", BAD, "past any"},
        {tok, "\"id\": 255", "\"id\": \"x\"", BAD, "no id"},
        {tok, "\"content\": \"<|end|>\"", "\"content\": 3", BAD, "no content"},
        {tok, "\"TemplateProcessing\"", "\"FooProcessing\"", UNKNOWN,
         "'post_processor' is not known: 'FooProcessing'"},
        {tok, "\"TemplateProcessing\"", "\"RobertaProcessing\"", BAD, "not there"},
        {tok, "\"single\": [", "\"single\": [{\"SpecialToken\": {\"id\": \"nobody\"}},", UNKNOWN,
         "not there"},
        {tok, "\"single\": [",
         "\"single\": [{\"SpecialToken\": {\"id\": \"a\"}}, {\"SpecialToken\": {\"id\": \"b\"}},",
         UNKNOWN, "more than one"},
        {tok, "\"normalizer\": null", "\"normalizer\": null, \"normalizer\": null", BAD, "twice"},
        {tok, NULL, "{}", BAD, "'model'"},
        {tok, NULL, "", BAD, "tokenizer.json"},
        {tok, NULL,
         "{\"model\":{\"vocab\":{},\"merges\":[]},\"pre_tokenizer\":{\"type\":"
         "\"ByteLevel\",\"add_prefix_space\":false}}",
         BAD, "tokens"},
    };
    run("tiny-qwen2", c, sizeof c / sizeof *c);
}

/* What would change ids and is not known is refused by its place in the file. */
static void b12_steps(void **state) {
    (void)state;
    static const char tok[] = "tokenizer.json", norm[] = "\"normalizer\": null",
                      pre[] = "\"pre_tokenizer\": {", dec[] = "\"decoder\": {";
#define NORM(step) "\"normalizer\": " step
#define LIST(step) NORM("{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"}," step "]}")
#define PRE(step)  "\"pre_tokenizer\": " step ", \"other\": {"
    const struct change c[] = {
        {tok, norm, NORM("{\"type\":\"Lowercase\"}"), ERR_OK, ""},
        {tok, norm, NORM("{\"type\":\"BertNormalizer\"}"), UNKNOWN,
         "'normalizer.type' is not known: 'BertNormalizer'"},
        {tok, norm, LIST("{\"type\":\"ByteLevel\"}"), UNKNOWN,
         "'normalizer.normalizers[1].type' is not known: 'ByteLevel'"},
        {tok, norm, LIST("{\"type\":\"Sequence\",\"normalizers\":[]}"), UNKNOWN, "[1].type"},
        {tok, norm, LIST("7"), UNKNOWN, "[1].type"},
        {tok, norm, NORM("7"), BAD, "'normalizer' is not an object"},
        {tok, norm, NORM("{\"type\":\"Sequence\",\"normalizers\":{}}"), BAD,
         "'normalizer.normalizers'"},
        {tok, norm, LIST("{\"type\":\"Prepend\"}"), BAD, "[1].prepend' is missing"},
        {tok, norm, LIST("{\"type\":\"Replace\",\"content\":\"\"}"), BAD,
         "[1].pattern.String' is missing"},
        {tok, norm, LIST("{\"type\":\"Replace\",\"content\":\"\",\"pattern\":{\"String\":\"\"}}"),
         BAD, "[1].pattern.String' is missing or empty"},
        {tok, norm, LIST("{\"type\":\"Replace\",\"content\":\"\",\"pattern\":{\"Regex\":\"a+\"}}"),
         UNKNOWN, "[1].pattern.Regex' is not known: 'a+'"},
        {tok, norm, LIST("{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"?\"}"), BAD,
         "[1].precompiled_charsmap' is not Base64"},
        {tok, pre, PRE("{\"type\":\"UnicodeScripts\"}"), UNKNOWN,
         "'pre_tokenizer.type' is not known: 'UnicodeScripts'"},
        {tok, pre,
         PRE("{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\"},"
             "{\"type\":\"Whitespace\"}]}"),
         UNKNOWN, "'pre_tokenizer.pretokenizers[1].type' is a step behind ByteLevel"},
        {tok, pre,
         PRE("{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":\"x+\"}}"),
         UNKNOWN, "'pre_tokenizer.pattern.Regex' is not known: 'x+'"},
        {tok, pre,
         PRE("{\"type\":\"Split\",\"behavior\":\"Removed\",\"pattern\":{\"Regex\":"
             "\"\\\\p{N}{1,3}\"}}"),
         UNKNOWN, "'pre_tokenizer.behavior' is not known: 'Removed'"},
        {tok, pre,
         PRE("{\"type\":\"Split\",\"behavior\":\"Often\",\"pattern\":{\"String\":\"x\"}}"), UNKNOWN,
         "'pre_tokenizer.behavior' is not known: 'Often'"},
        {tok, pre,
         PRE("{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"last\"}"), UNKNOWN,
         "'pre_tokenizer.prepend_scheme' is not known: 'last'"},
        {tok, pre,
         PRE("{\"type\":\"Sequence\",\"pretokenizers\":["
             "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"never\"},"
             "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"first\"}]}"),
         UNKNOWN,
         "'pre_tokenizer.pretokenizers[1].prepend_scheme' is not computed behind another "
         "Metaspace: 'first'"},
        {tok, pre, PRE("{\"type\":\"Metaspace\",\"replacement\":\"ab\"}"), UNKNOWN,
         "'pre_tokenizer.replacement'"},
        {tok, dec, "\"decoder\": {\"type\":\"CTC\"}, \"other\": {", UNKNOWN,
         "'decoder' is not known: 'CTC'"},
        {tok, dec,
         "\"decoder\": {\"type\":\"Sequence\",\"decoders\":[{\"type\":\"ByteLevel\"},"
         "{\"type\":\"BPEDecoder\"}]}, \"other\": {",
         UNKNOWN, "'decoder.decoders[1]' is not known: 'BPEDecoder'"},
    };
#undef NORM
#undef LIST
#undef PRE
    run("tiny-qwen2", c, sizeof c / sizeof *c);
}

static void b12_tokenizer_sizes(void **state) {
    (void)state;
    /* A gigabyte of nothing: refused by its size, and not read. */
    rig_copy("tiny-qwen2");
    rig_write_text("tokenizer.json", "{");
    assert_int_equal(truncate(rig_path("tokenizer.json"), (off_t)1 << 30), 0);
    assert_int_equal(load("bound"), ERR_LIMIT);
    /* More tokens than the embedding table has rows. */
    rig_copy("tiny-qwen2");
    rig_replace("tokenizer.json", "\"id\": 255", "\"id\": 256");
    assert_int_equal(load("257"), BAD);
    /* A string to look for, which would cost its length at each place of a text. */
    static char split[2048];
    for (int n = 1024; n <= 1025; n++) {
        rig_copy("tiny-qwen2");
        snprintf(split, sizeof split,
                 "\"pre_tokenizer\": {\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":"
                 "{\"String\":\"%0*d\"}}, \"other\": {",
                 n, 0);
        rig_replace("tokenizer.json", "\"pre_tokenizer\": {", split);
        rig_replace("tokenizer.json", "\"decoder\": {", "\"decoder\": null, \"more\": {");
        enum err_code rc = load("'pre_tokenizer.pattern.String' has 1025 bytes; the bound is 1024");
        assert_int_equal(rc, n > 1024 ? ERR_LIMIT : ERR_OK);
    }
    /* Every cut of the file. */
    char *text;
    size_t n;
    rig_copy("tiny-qwen2");
    rig_read(rig_path("tokenizer.json"), &text, &n);
    size_t live = mem_live();
    for (size_t cut = 0; cut + 2 < n; cut += 97) {
        struct gguf *g = NULL;
        rig_write("tokenizer.json", text, cut);
        assert_int_equal(source_open(&g, rig_folder, false, NULL), BAD);
        assert_int_equal(mem_live(), live);
    }
    mem_free(text);
}

/* A pickle is never opened: here it is a pipe, on which opening would wait. */
static void b13_pickles(void **state) {
    (void)state;
    static const char *const names[] = {"pytorch_model.bin", "consolidated.00.pth", "model.pt"};
    for (size_t i = 0; i < 3; i++) {
        rig_copy("tiny-qwen2");
        assert_int_equal(mkfifo(rig_path(names[i]), 0600), 0);
        assert_int_equal(load(""), ERR_OK); /* beside safetensors it is of no concern */
        unlink(rig_path("model.safetensors"));
        assert_int_equal(load("pickle"), UNKNOWN);
    }
    rig_copy("tiny-qwen2");
    unlink(rig_path("config.json"));
    assert_int_equal(load("no config.json"), BAD);
    rig_copy("tiny-qwen2");
    unlink(rig_path("tokenizer.json"));
    assert_int_equal(load("no tokenizer.json"), BAD);
    rig_clear();
    assert_int_equal(load("neither weights nor a tokenizer"), BAD);
    rig_write_text("x.gguf", "");
    assert_int_equal(load("give one of the files"), ERR_USAGE);
    rig_clear();
    rig_write_text("model-00001-of-00002.safetensors", "");
    assert_int_equal(load("index"), BAD);
    rig_clear();
    assert_int_equal(symlink("../blobs/gone", rig_path("model.safetensors")), 0);
    assert_int_equal(load("a link that leads to no file"), BAD);
}

static void b14_generation(void **state) {
    (void)state;
    static const char gen[] = "generation_config.json", eos[] = "\"eos_token_id\": 255";
    const struct change c[] = {
        {gen, eos, "\"eos_token_id\": 256", BAD, "'eos_token_id'"},
        {gen, eos, "\"eos_token_id\": -1", BAD, "'eos_token_id'"},
        {gen, eos, "\"eos_token_id\": [255, 1e9]", BAD, "'eos_token_id'"},
        {gen, eos, "\"eos_token_id\": \"x\"", BAD, "'eos_token_id'"},
        {gen, eos, "\"eos_token_id\": 9223372036854775808", BAD, "generation_config.json"},
        {gen, NULL, "{\"eos_token_id\": {}}", BAD, "'eos_token_id'"},
        {gen, NULL, "[]", BAD, "generation_config.json"},
        {"tokenizer_config.json", NULL, "7", BAD, "tokenizer_config.json"},
        {"tokenizer_config.json", NULL, "{\"eos_token\":1,\"eos_token\":2}", BAD, "duplicate"},
        /* what nobody reads may be as absurd as it likes */
        {gen, eos, "\"eos_token_id\": 255, \"temperature\": -1e30, \"top_k\": \"many\"", ERR_OK,
         ""},
    };
    run("tiny-qwen2", c, sizeof c / sizeof *c);
}

/* What sentence-transformers says beside the model. */
static void settings_of_pooling(void **state) {
    (void)state;
    static const char modules[] = "modules.json", pooling[] = RIG_POOLING "/config.json",
                      limit[] = "sentence_bert_config.json",
                      ways[] = "config_sentence_transformers.json";
    static const char mean[] = "\"pooling_mode_mean_tokens\": true", most[] = ": 40";
    const struct change c[] = {
        {modules, NULL, "{}", BAD, "list of modules"},
        {modules, NULL, "[7]", UNKNOWN, "'[0].type'"},
        {modules, NULL, "[]", ERR_OK, ""},
        {modules, "models.Pooling", "models.Dense", UNKNOWN, "models.Dense"},
        {modules, "models.Pooling", "models.NoPooling", UNKNOWN, "'[1].type'"},
        {modules, "\"1_Pooling\"", "\"../1_Pooling\"", BAD, "'[1].path'"},
        {modules, "\"1_Pooling\"", "\"\"", BAD, "'[1].path'"},
        {modules, "\"1_Pooling\"", "\"2_Pooling\"", BAD, "2_Pooling/config.json"},
        {pooling, mean, "\"pooling_mode_mean_tokens\": false", UNKNOWN, "pooled"},
        {pooling, mean, "\"pooling_mode_max_tokens\": true", UNKNOWN, "pooled"},
        {pooling, mean, "\"pooling_mode_lasttoken\": true", ERR_OK, ""},
        {pooling, mean, "\"pooling_mode_lasttoken\": true, \"pooling_mode_mean_tokens\": true",
         UNKNOWN, "one of them"},
        {pooling, mean, "\"pooling_mode\": \"lasttoken\"", ERR_OK, ""},
        {pooling, mean, "\"pooling_mode\": [\"mean\", \"max\"]", UNKNOWN, "pooled"},
        {pooling, mean, "\"pooling_mode\": \"max\", \"pooling_mode_mean_tokens\": true", UNKNOWN,
         "pooled"},
        {limit, most, ": null", ERR_OK, ""},
        {limit, most, ": 1", BAD, "'max_seq_length'"},
        {limit, most, ": 40.5", BAD, "'max_seq_length'"},
        {limit, most, ": 4294967296", BAD, "'max_seq_length'"},
        {limit, "_case\": false", "_case\": true", UNKNOWN, "'do_lower_case'"},
        {"tokenizer_config.json", "{", "{\"truncation_side\": \"left\",", UNKNOWN,
         "'truncation_side'"},
        {"tokenizer_config.json", "{", "{\"truncation_side\": \"right\",", ERR_OK, ""},
        {"tokenizer_config.json", "{", "{\"model_max_length\": 1000000000000000019884624838656,",
         ERR_OK, ""},
        {pooling, mean, "\"include_prompt\": false, \"pooling_mode\": \"mean\"", UNKNOWN,
         "'include_prompt'"},
        {ways, NULL, "{\"truncate_dim\": 16}", UNKNOWN, "'truncate_dim'"},
        {ways, NULL, "{\"truncate_dim\": null, \"default_prompt_name\": null}", ERR_OK, ""},
        {ways, NULL, "{\"prompts\": {\"a\": \"x\"}, \"default_prompt_name\": \"a\"}", ERR_OK, ""},
        {ways, NULL, "{\"prompts\": {\"a\": \"x\"}, \"default_prompt_name\": \"b\"}", BAD,
         "'default_prompt_name' is 'b'"},
        {ways, NULL, "{\"prompts\": [\"a\"], \"default_prompt_name\": \"a\"}", BAD, "'prompts'"},
        {ways, NULL, "{\"prompts\": {\"a\": 7}, \"default_prompt_name\": \"a\"}", BAD, "'prompts'"},
        {ways, NULL, "{\"prompts\": {\"a\": \"x\"}, \"default_prompt_name\": 7}", BAD, "'prompts'"},
    };
    run("tiny-bert", c, sizeof c / sizeof *c);
}

int main(int argc, char **argv) {
    rig_golden = argc > 1 ? argv[1] : "tests/model/golden";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(b04_depth),
        cmocka_unit_test(tensors_that_lie),
        cmocka_unit_test(missing_tensors),
        cmocka_unit_test(b09_b10_index),
        cmocka_unit_test(b11_config),
        cmocka_unit_test(b12_tokenizer),
        cmocka_unit_test(b12_steps),
        cmocka_unit_test(b12_tokenizer_sizes),
        cmocka_unit_test(b13_pickles),
        cmocka_unit_test(b14_generation),
        cmocka_unit_test(settings_of_other_models),
        cmocka_unit_test(settings_of_one_family),
        cmocka_unit_test(settings_of_pooling),
    };
    return cmocka_run_group_tests_name("hf_hostile", tests, rig_setup, rig_teardown);
}
