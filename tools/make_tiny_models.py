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

The weights are quantized first and PyTorch computes with what the file says. Needs torch,
transformers, gguf. The random numbers are fixed: running it again changes nothing.
"""
import argparse
import os

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Q
from transformers import (LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM,
                          MixtralConfig, MixtralForCausalLM, Qwen2Config, Qwen2ForCausalLM)

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


def add_tokenizer(w):
    """A byte for each id, and an end: any text encodes, and generation can stop."""
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(byte_pieces() + ["<|end|>"])
    w.add_token_types([gguf.TokenType.NORMAL] * 255 + [gguf.TokenType.CONTROL])
    w.add_token_merges([])
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
    w.add_rope_freq_base(c.rope_parameters["rope_theta"])
    w.add_vocab_size(c.vocab_size)
    head_dim = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    w.add_rope_dimension_count(head_dim)
    if head_dim * c.num_attention_heads != c.hidden_size:
        w.add_key_length(head_dim)
        w.add_value_length(head_dim)
    if getattr(c, "sliding_window", None):
        w.add_sliding_window(c.sliding_window)
    if getattr(c, "num_local_experts", 0):
        w.add_expert_count(c.num_local_experts)
        w.add_expert_used_count(c.num_experts_per_tok)
    add_rope_scaling(w, c.rope_parameters, head_dim)


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
            v = 1 + 0.2 * rng.standard_normal(shape)
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

    def layer(self, i, layer, split_experts):
        blk, attn = "blk.%d." % i, layer.self_attn
        heads = {"q": self.c.num_attention_heads, "k": self.c.num_key_value_heads}
        for x in "qkv":
            proj = getattr(attn, x + "_proj")
            rows = None
            if self.permute and x in heads:
                rows = lambda v, n=heads[x]: neighbours(v, n)
            self.tensor(blk + "attn_%s.weight" % x, proj.weight, rows=rows)
            if proj.bias is not None:
                self.tensor(blk + "attn_%s.bias" % x, proj.bias, rows=rows)
        self.tensor(blk + "attn_output.weight", attn.o_proj.weight)
        if attn.o_proj.bias is not None:
            self.tensor(blk + "attn_output.bias", attn.o_proj.bias)
        self.tensor(blk + "attn_norm.weight", layer.input_layernorm.weight)
        self.tensor(blk + "ffn_norm.weight", layer.post_attention_layernorm.weight)
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
    add_tokenizer(w)
    add_config(w, model.config)
    out = Writer(w, model.config, qtype, permute=arch == "llama")
    out.tensor("token_embd.weight", model.model.embed_tokens.weight)
    out.tensor("output_norm.weight", model.model.norm.weight)
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
}


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
        logits = golden_file.logits_of(model, ids)
        greedy, margins = golden_file.greedy_of(model, ids[:GREEDY_FROM], N_GREEDY)
        golden_file.write(path + ".golden", ids, logits, GREEDY_FROM, greedy, 0,
                          np.arange(N_VOCAB))
        print("%-16s logits %.2f +- %.2f, smallest greedy margin %.4f" %
              (name, logits.mean(), logits.std(), min(margins)))


if __name__ == "__main__":
    main()
