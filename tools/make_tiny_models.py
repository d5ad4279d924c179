#!/usr/bin/env python3
"""Makes tiny random models, each for one thing that the real test models lack, and their golden
logits from transformers:

    tools/make_tiny_models.py [--out tests/model/golden] [NAME...]

    tiny-mistral      window of 12 positions, shorter than the text; heads wider than the stream
    tiny-mixtral      experts, stacked in one tensor a layer
    tiny-mixtral-old  the same weights with one tensor for each expert
    tiny-llama31      rope_freqs.weight
    tiny-linear       linear RoPE scaling; biases on all of attention; untied output
    tiny-yarn         YaRN on Qwen2's halves and biases
    tiny-yarn-attn    YaRN on Llama's neighbours, with betas and an attention factor of its own
    tiny-qwen3        norms of query and key heads; heads wider than the stream
    tiny-gemma2       sandwich norms, GELU, caps, a scaled embedding, every second layer local
    tiny-gemma3       two bases of rotation, the global one scaled; five layers local, one not
    tiny-phi3         fused matrices, a window, part of each head rotates
    tiny-phi35        short and long factors: values for both (-long), by the context of the run

The weights are quantized first and PyTorch computes with what the file says. Needs torch,
transformers, gguf. The random numbers are fixed: running it again changes nothing.
"""
import argparse
import os

import gguf
import numpy as np
import torch
import transformers
from gguf import GGMLQuantizationType as Q
from transformers import (Gemma2Config, Gemma2ForCausalLM, Gemma3ForCausalLM, Gemma3TextConfig,
                          LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM,
                          MixtralConfig, MixtralForCausalLM, Phi3Config, Phi3ForCausalLM,
                          Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)

import golden_file

N_VOCAB, N_TOK, GREEDY_FROM, N_GREEDY = 256, 48, 16, 16
BASE = dict(vocab_size=N_VOCAB, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
            rms_norm_eps=1e-5, tie_word_embeddings=True, use_cache=True)


def byte_pieces():
    """GPT-2's visible spelling of the bytes 0 to 254."""
    visible = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b <= 255]
    spare, out = 256, []
    for b in range(255):
        if b in visible:
            out.append(chr(b))
        else:
            out.append(chr(spare))
            spare += 1
    return out


def add_tokenizer(w, merges):
    """A byte for each id, and an end: any text encodes, and generation can stop. With `merges` the
    last byte, which no text has, makes room for a pair: llama.cpp reads no vocabulary without."""
    pieces = byte_pieces()
    if merges:
        pieces[-1] = "ee"
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(pieces + ["<|end|>"])
    w.add_token_types([gguf.TokenType.NORMAL] * 255 + [gguf.TokenType.CONTROL])
    w.add_token_merges(["e e"] if merges else [])
    w.add_eos_token_id(255)
    w.add_add_bos_token(False)


def add_config(w, c):
    w.add_block_count(c.num_hidden_layers)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(c.num_key_value_heads)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    rope_of = c.rope_parameters
    if "full_attention" in rope_of:  # Gemma: one for each kind of layer
        local = rope_of["sliding_attention"]["rope_theta"]
        rope_of = rope_of["full_attention"]
        if local != 10000.0:
            w.add_rope_freq_base_swa(local)
    w.add_rope_freq_base(rope_of["rope_theta"])
    w.add_vocab_size(c.vocab_size)
    head_dim = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    w.add_rope_dimension_count(int(head_dim * rope_of.get("partial_rotary_factor", 1.0)))
    if head_dim * c.num_attention_heads != c.hidden_size:
        w.add_key_length(head_dim)
        w.add_value_length(head_dim)
    if getattr(c, "sliding_window", None):
        w.add_sliding_window(c.sliding_window)
    if getattr(c, "num_local_experts", 0):
        w.add_expert_count(c.num_local_experts)
        w.add_expert_used_count(c.num_experts_per_tok)
    if getattr(c, "attn_logit_softcapping", None):
        w.add_attn_logit_softcapping(c.attn_logit_softcapping)
    if getattr(c, "final_logit_softcapping", None):
        w.add_final_logit_softcapping(c.final_logit_softcapping)
    add_rope_scaling(w, rope_of, head_dim)


def add_rope_scaling(w, rope, head_dim):
    kind = rope.get("rope_type", "default")
    if kind == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(rope["factor"])
    elif kind == "yarn":
        w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        w.add_rope_scaling_factor(rope["factor"])
        w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        if "attention_factor" in rope:
            w.add_rope_scaling_yarn_attn_factor(rope["attention_factor"])
        if "beta_fast" in rope:
            w.add_rope_scaling_yarn_beta_fast(rope["beta_fast"])
        if "beta_slow" in rope:
            w.add_rope_scaling_yarn_beta_slow(rope["beta_slow"])
    elif kind == "longrope":
        n_orig = rope["original_max_position_embeddings"]
        w.add_rope_scaling_orig_ctx_len(n_orig)
        w.add_rope_scaling_attn_factors(
            float(np.sqrt(1 + np.log(BASE["max_position_embeddings"] / n_orig) / np.log(n_orig))))
        for x in ("long", "short"):
            w.add_tensor("rope_factors_%s.weight" % x, np.array(rope[x + "_factor"], np.float32))
    elif kind == "llama3":
        w.add_tensor("rope_freqs.weight", llama3_factors(rope, head_dim))


def llama3_factors(rope, head_dim):
    """How much slower each pair turns (Llama 3.1's own formula)."""
    n_orig, factor = rope["original_max_position_embeddings"], rope["factor"]
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    turn = 2 * np.pi * rope["rope_theta"] ** (np.arange(0, head_dim, 2) / head_dim)
    smooth = np.clip((n_orig / turn - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)


def randomize(model, rng):
    """Weights that make attention sharp and logits spread: errors have to show."""
    for name, p in model.named_parameters():
        shape = tuple(p.shape)
        if name.endswith("norm.weight"):
            v = 0.2 * rng.standard_normal(shape)
            v += 0 if model.config.model_type.startswith("gemma") else 1  # which adds it itself
        elif name.endswith(".bias"):
            v = 0.3 * rng.standard_normal(shape)
        elif "embed_tokens" in name or "lm_head" in name:
            v = 0.35 * rng.standard_normal(shape)
        else:
            v = 1.4 / np.sqrt(shape[-1]) * rng.standard_normal(shape)
        p.data = torch.from_numpy(v.astype(np.float32))


def neighbours(v, n_head):
    """Rows of each head reordered so that rotated pairs are neighbours, as GGUF's llama has them."""
    return np.ascontiguousarray(
        v.reshape(n_head, 2, v.shape[0] // n_head // 2, -1).swapaxes(1, 2).reshape(v.shape))


class Writer:
    """Quantizes parameters in place and writes them under their GGUF names."""

    def __init__(self, w, config, qtype, permute):
        self.w, self.c, self.qtype, self.permute = w, config, qtype, permute
        self.gemma = config.model_type.startswith("gemma")

    def tensor(self, name, p, qtype=None, rows=None):
        """`p` becomes what the file will say; `rows` reorders for the file only."""
        v = p.data.numpy()
        qtype = qtype if qtype is not None else (Q.F32 if v.ndim == 1 else self.qtype)
        v = gguf.dequantize(gguf.quantize(v, qtype), qtype).astype(np.float32).reshape(v.shape)
        p.data = torch.from_numpy(v.copy())
        self.raw(name, rows(v) if rows else v, qtype)

    def raw(self, name, v, qtype):
        data = gguf.quantize(v, qtype)
        assert np.array_equal(gguf.dequantize(data, qtype).reshape(v.shape), v), name
        self.w.add_tensor(name, data, raw_dtype=qtype)

    def norm(self, name, p):
        self.tensor(name, p, rows=(lambda v: v + 1) if self.gemma else None)

    def attention(self, blk, attn):
        heads = {"q": self.c.num_attention_heads, "k": self.c.num_key_value_heads}
        for x in "qk":
            if hasattr(attn, x + "_norm"):
                self.norm(blk + "attn_%s_norm.weight" % x, getattr(attn, x + "_norm").weight)
        if hasattr(attn, "qkv_proj"):
            self.tensor(blk + "attn_qkv.weight", attn.qkv_proj.weight)
            return
        for x in "qkv":
            proj = getattr(attn, x + "_proj")
            rows = None
            if self.permute and x in heads:
                rows = lambda v, n=heads[x]: neighbours(v, n)
            self.tensor(blk + "attn_%s.weight" % x, proj.weight, rows=rows)
            if proj.bias is not None:
                self.tensor(blk + "attn_%s.bias" % x, proj.bias, rows=rows)

    def layer(self, i, layer, split_experts):
        blk, attn = "blk.%d." % i, layer.self_attn
        self.attention(blk, attn)
        self.tensor(blk + "attn_output.weight", attn.o_proj.weight)
        if attn.o_proj.bias is not None:
            self.tensor(blk + "attn_output.bias", attn.o_proj.bias)
        self.norm(blk + "attn_norm.weight", layer.input_layernorm.weight)
        if self.gemma:
            self.norm(blk + "post_attention_norm.weight", layer.post_attention_layernorm.weight)
            self.norm(blk + "ffn_norm.weight", layer.pre_feedforward_layernorm.weight)
            self.norm(blk + "post_ffw_norm.weight", layer.post_feedforward_layernorm.weight)
        else:
            self.norm(blk + "ffn_norm.weight", layer.post_attention_layernorm.weight)
        if hasattr(layer.mlp, "gate_up_proj"):
            self.tensor(blk + "ffn_up.weight", layer.mlp.gate_up_proj.weight)
            self.tensor(blk + "ffn_down.weight", layer.mlp.down_proj.weight)
            return
        if getattr(self.c, "num_local_experts", 0):
            self.experts(blk, layer.mlp, split_experts)
            return
        for x in ("gate", "up", "down"):
            self.tensor(blk + "ffn_%s.weight" % x, getattr(layer.mlp, x + "_proj").weight)

    def experts(self, blk, moe, split):
        self.tensor(blk + "ffn_gate_inp.weight", moe.gate.weight, qtype=Q.F32)
        for p in (moe.experts.gate_up_proj, moe.experts.down_proj):
            v = p.data.numpy()
            p.data = torch.from_numpy(
                gguf.dequantize(gguf.quantize(v, self.qtype), self.qtype).reshape(v.shape).copy())
        gate, up = np.split(moe.experts.gate_up_proj.data.numpy(), 2, axis=1)
        down = moe.experts.down_proj.data.numpy()
        for x, v in (("gate", gate), ("up", up), ("down", down)):
            if split:
                for j in range(v.shape[0]):
                    self.raw(blk + "ffn_%s.%d.weight" % (x, j), v[j], self.qtype)
            else:
                self.raw(blk + "ffn_%s_exps.weight" % x, v, self.qtype)


def write_gguf(path, model, arch, qtype, split_experts=False):
    w = gguf.GGUFWriter(path, arch)
    add_tokenizer(w, merges=arch not in ("llama", "qwen2"))
    add_config(w, model.config)
    out = Writer(w, model.config, qtype, permute=arch == "llama")
    out.tensor("token_embd.weight", model.model.embed_tokens.weight)
    out.norm("output_norm.weight", model.model.norm.weight)
    if not model.config.tie_word_embeddings:
        out.tensor("output.weight", model.lm_head.weight)
    for i, layer in enumerate(model.model.layers):
        out.layer(i, layer, split_experts)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def closest_choice(model, ids):
    """The smallest distance, over layers and positions, between the last expert chosen and the
    first one left out. Near 0 the least rounding changes the choice, and with it everything."""
    seen = []
    hooks = [layer.mlp.gate.register_forward_hook(lambda m, i, out: seen.append(out[0]))
             for layer in model.model.layers]
    golden_file.logits_of(model, ids)
    for h in hooks:
        h.remove()
    ranked = torch.cat(seen).sort(-1, descending=True).values
    k = model.config.num_experts_per_tok
    return float((ranked[:, k - 1] - ranked[:, k]).min())


def steady_ids(model, rng):
    """Of many random texts, the one whose experts are chosen most clearly."""
    texts = [rng.integers(0, N_VOCAB - 1, N_TOK).tolist() for _ in range(400)]
    return max(texts, key=lambda ids: closest_choice(model, ids))


def rope(kind, theta=10000.0, **more):
    return dict(rope_type=kind, rope_theta=theta, **more)


MODELS = {
    "tiny-mistral": (MistralForCausalLM, "llama", Q.F16,
                     MistralConfig(**{**BASE, "head_dim": 32, "num_attention_heads": 3,
                                      "num_key_value_heads": 1}, sliding_window=12)),
    "tiny-mixtral": (MixtralForCausalLM, "llama", Q.Q4_0,
                     MixtralConfig(**{**BASE, "intermediate_size": 64}, num_local_experts=4,
                                   num_experts_per_tok=2, sliding_window=None)),
    "tiny-llama31": (LlamaForCausalLM, "llama", Q.BF16,
                     LlamaConfig(**BASE, rope_parameters=rope(
                         "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                         original_max_position_embeddings=64))),
    "tiny-linear": (LlamaForCausalLM, "llama", Q.Q4_1,
                    LlamaConfig(**{**BASE, "tie_word_embeddings": False}, attention_bias=True,
                                rope_parameters=rope("linear", factor=3.0))),
    "tiny-yarn": (Qwen2ForCausalLM, "qwen2", Q.Q5_1,
                  Qwen2Config(**BASE, rope_parameters=rope(
                      "yarn", theta=1000.0, factor=4.0, original_max_position_embeddings=128))),
    "tiny-yarn-attn": (LlamaForCausalLM, "llama", Q.Q8_0,
                       LlamaConfig(**BASE, rope_parameters=rope(
                           "yarn", theta=100.0, factor=8.0, original_max_position_embeddings=64,
                           beta_fast=4.0, beta_slow=2.0, attention_factor=1.15))),
    "tiny-qwen3": (Qwen3ForCausalLM, "qwen3", Q.Q8_0,
                   Qwen3Config(**{**BASE, "num_attention_heads": 3, "num_key_value_heads": 1},
                               head_dim=32, rope_parameters=rope("default", theta=1e6))),
    "tiny-gemma2": (Gemma2ForCausalLM, "gemma2", Q.Q5_0,
                    Gemma2Config(**BASE, head_dim=16, query_pre_attn_scalar=16, sliding_window=12,
                                 attn_logit_softcapping=3.0, final_logit_softcapping=6.0,
                                 rope_parameters=rope("default"))),
    "tiny-gemma3": (Gemma3ForCausalLM, "gemma3", Q.Q4_1,
                    Gemma3TextConfig(**{**BASE, "num_hidden_layers": 6}, head_dim=16,
                                     query_pre_attn_scalar=16, sliding_window=12,
                                     rope_parameters=dict(
                                         full_attention=rope("linear", theta=1000.0, factor=2.0),
                                         sliding_attention=rope("default", theta=100.0)))),
    "tiny-phi3": (Phi3ForCausalLM, "phi3", Q.Q4_0,
                  Phi3Config(**BASE, original_max_position_embeddings=512, sliding_window=12,
                             pad_token_id=None, rope_parameters=rope(
                                 "default", partial_rotary_factor=0.5))),
    "tiny-phi35": (Phi3ForCausalLM, "phi3", Q.F16,
                   Phi3Config(**{**BASE, "tie_word_embeddings": False}, pad_token_id=None,
                              original_max_position_embeddings=256,
                              rope_parameters=rope(
                                  "longrope", short_factor=[1 + 0.02 * i for i in range(8)],
                                  original_max_position_embeddings=256,
                                  long_factor=[1 + i * i / 4 for i in range(8)]))),
}


class Long:
    """transformers takes the factors by the length of the text; what it then computes with lies in
    the module of the rotation, and comes from the long list inside of this."""

    def __init__(self, model):
        self.rope = model.model.rotary_emb

    def __enter__(self):
        c = self.rope.config.rope_parameters
        self.short, c["short_factor"] = c["short_factor"], c["long_factor"]
        self.reset()

    def __exit__(self, *_):
        self.rope.config.rope_parameters["short_factor"] = self.short
        self.reset()

    def reset(self):
        freq, _ = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS["longrope"](
            self.rope.config, None, seq_len=1)
        self.rope.inv_freq = self.rope.original_inv_freq = freq


def write_golden(path, model, ids):
    logits = golden_file.logits_of(model, ids)
    greedy, margins = golden_file.greedy_of(model, ids[:GREEDY_FROM], N_GREEDY)
    golden_file.write(path, ids, logits, GREEDY_FROM, greedy, 0, np.arange(N_VOCAB))
    print("%-24s logits %.2f +- %.2f, smallest greedy margin %.4f" %
          (os.path.basename(path), logits.mean(), logits.std(), min(margins)))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--out", default=os.path.join(os.path.dirname(__file__),
                                                 "../tests/model/golden"))
    p.add_argument("names", nargs="*", default=list(MODELS))
    a = p.parse_args()
    torch.set_num_threads(1)  # the models are too small to share
    for seed, (name, (kind, arch, qtype, config)) in enumerate(MODELS.items()):
        if name not in a.names:
            continue
        rng = np.random.default_rng(seed)
        model = kind(config).eval()
        randomize(model, rng)
        path = os.path.join(a.out, name)
        write_gguf(path + ".gguf", model, arch, qtype)
        if name == "tiny-mixtral":
            write_gguf(path + "-old.gguf", model, arch, qtype, split_experts=True)
        if getattr(config, "num_local_experts", 0):
            ids = steady_ids(model, rng)
        else:
            ids = rng.integers(0, N_VOCAB - 1, N_TOK).tolist()
        write_golden(path + ".golden", model, ids)
        if config.rope_parameters.get("rope_type") == "longrope":
            with Long(model):
                write_golden(path + "-long.golden", model, ids)


if __name__ == "__main__":
    main()
