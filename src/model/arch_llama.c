/* arch_llama.c: Llama 2, 3, 3.1, 3.2, 3.3; Mistral; Mixtral.
 *
 * One name in GGUF for a whole family: Mistral differs by a sliding window, Mixtral by experts.
 * The file's query and key rows are in the order that rotates neighbours.
 * Sources: Touvron et al. 2023; Jiang et al. 2023 (Mistral 7B); Jiang et al. 2024 (Mixtral).
 */
#include "model/config.h"
#include "model/hparam.h"

/* Choosing costs n_exp * n_used^2 a token; the largest published models use 8 or fewer of 8 to 512.
 */
enum { MAX_EXP = 1024, MAX_USED = 64 };

static enum err_code llama_extra(struct config *c, const struct gguf *g, struct err *e) {
    struct hparam h = {.g = g, .arch = c->arch, .n_layer = c->n_layer, .e = e};
    enum err_code rc;
    if ((rc = config_window(c, g, 0, 0, e)) ||
        (rc = hparam_int(&h, "expert_count", 0, 0, MAX_EXP, &c->n_exp))) {
        return rc;
    }
    if (c->n_exp == 0) {
        return hparam_int(&h, "expert_used_count", 0, 0, 0, &c->n_used);
    }
    int most = c->n_exp < MAX_USED ? c->n_exp : MAX_USED;
    return hparam_int(&h, "expert_used_count", HPARAM_REQUIRED, 1, most, &c->n_used);
}

static const char *const hf_types[] = {"llama", "mistral", "mixtral", NULL};

/* The last two are of pictures, too; their text model is a Mistral or a Llama. */
static const char *const hf_classes[] = {"LlamaForCausalLM",
                                         "MistralForCausalLM",
                                         "MixtralForCausalLM",
                                         "Mistral3ForConditionalGeneration",
                                         "LlavaForConditionalGeneration",
                                         NULL};

static const char *const hf_bodies[] = {"LlamaModel", "MistralModel", "MixtralModel", NULL};

static const struct hf_key hf_keys[] = {
    {"sliding_window", "attention.sliding_window", HF_INT, 4096, "mistral"},
    {"sliding_window", "attention.sliding_window", HF_INT, 0, "mixtral"},
    {"num_local_experts", "expert_count", HF_INT, 8, "mixtral"},
    {"num_experts_per_tok", "expert_used_count", HF_INT, 2, "mixtral"},
    {0},
};

static const struct hf_name hf_names[] = {
    {"block_sparse_moe.gate.weight", "ffn_gate_inp.weight", HF_AS_IT_IS},
    {"block_sparse_moe.experts.#.w1.weight", "ffn_gate_exps.weight", HF_EXPERT},
    {"block_sparse_moe.experts.#.w2.weight", "ffn_down_exps.weight", HF_EXPERT},
    {"block_sparse_moe.experts.#.w3.weight", "ffn_up_exps.weight", HF_EXPERT},
    {0},
};

static const struct hf_family llama_hf = {.types = hf_types,
                                          .classes = hf_classes,
                                          .bodies = hf_bodies,
                                          .keys = hf_keys,
                                          .names = hf_names};

const struct arch arch_llama = {
    .name = "llama",
    .hf = &llama_hf,
    .act = ACT_SILU,
    .extra = llama_extra,
};
