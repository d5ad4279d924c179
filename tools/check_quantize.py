#!/usr/bin/env python3
"""Compares files of `ign quantize` with those of llama.cpp's llama-quantize: every key, the type of
every tensor, and the size, for each type. Where rows of the head (the output matrix, or a table that
is both) are no whole super-blocks, types differ on purpose (src/quant/mix.c): there no tensor but the
head may have fewer bits, and the file may be no larger.

    tools/check_quantize.py --peer FOLDER [--imatrix FILE] MODEL.gguf...   real models
    tools/check_quantize.py --peer FOLDER                                  shapes of families

FOLDER has llama-quantize. The shapes have the layers, heads and experts of real models, on which
the choices depend, and narrow rows, on which they depend only where super-blocks do not divide
them. Needs: pip install gguf numpy. Exit status 1 if anything differs.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import gguf
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
TYPES = "q8_0 q4_0 q4_1 q5_0 q5_1 q2_k q3_k_m q4_k_s q4_k_m q5_k_m q6_k".split()
MOST = 20  # differences that are printed
BITS = {"F32": 32, "F16": 16, "BF16": 16, "Q8_0": 8.5, "Q6_K": 6.5625, "Q5_1": 6, "Q5_0": 5.5,
        "Q5_K": 5.5, "Q4_1": 5, "Q4_0": 4.5, "Q4_K": 4.5, "Q3_K": 3.4375, "Q2_K": 2.625}
SMOL = dict(d_head=64, d_model=576, d_ff=1536)
SHAPES = {
    "Qwen2.5 0.5B": dict(arch="qwen2", n_layer=24, n_head=14, n_kv=2, tied=True),
    "Qwen2.5 7B": dict(arch="qwen2", n_layer=28, n_head=28, n_kv=4),
    "Qwen2.5 72B": dict(arch="qwen2", n_layer=80, n_head=64, n_kv=8),
    "Qwen3 8B": dict(arch="qwen3", n_layer=36, n_head=32, n_kv=8),
    "Llama 3.2 1B": dict(arch="llama", n_layer=16, n_head=32, n_kv=8, tied=True),
    "Llama 3.1 8B": dict(arch="llama", n_layer=32, n_head=32, n_kv=8),
    "Llama 2 7B": dict(arch="llama", n_layer=32, n_head=32, n_kv=32),
    "Llama 3.1 70B": dict(arch="llama", n_layer=80, n_head=64, n_kv=8),
    "Mixtral 8x7B": dict(arch="llama", n_layer=32, n_head=32, n_kv=8, n_exp=8, d_ff=256),
    "SmolLM2 135M": dict(arch="llama", n_layer=30, n_head=9, n_kv=3, tied=True, **SMOL),
    "SmolLM2 135M, untied": dict(arch="llama", n_layer=30, n_head=9, n_kv=3, **SMOL),
    "SmolLM2 135M, large table": dict(arch="llama", n_layer=3, n_head=9, n_kv=3, tied=True, **SMOL),
    "Qwen2.5 0.5B, rows of 896": dict(arch="qwen2", n_layer=24, n_head=14, n_kv=2, d_head=64,
                                      d_model=896, d_ff=4864, tied=True),
    "Gemma 3 270M": dict(arch="gemma3", n_layer=18, n_head=4, n_kv=1, d_head=256, d_model=640,
                         d_ff=2048, tied=True, post=True),
    "experts, rows of 320": dict(arch="llama", n_layer=8, n_head=40, n_kv=8, n_exp=8, d_model=320,
                                 d_ff=544),
    "Gemma 3 4B": dict(arch="gemma3", n_layer=34, n_head=8, n_kv=4, tied=True, post=True),
    "Phi-3 mini": dict(arch="phi3", n_layer=32, n_head=32, n_kv=32, fused=True),
    "rows of 320": dict(arch="llama", n_layer=12, n_head=40, n_kv=40, d_model=320, d_ff=544),
}


def copy_keys(w, reader, wanted):
    for name, f in reader.fields.items():
        if wanted(name):
            kind = f.types[0]
            w.add_key_value(name, f.contents(), kind, f.types[-1] if len(f.types) > 1 else None)


def layer(arch, n_head, n_kv, d_head, d_model, d_ff, n_exp, fused, post):
    """Shapes of a layer's tensors by name; numpy's order."""
    d, q, kv = d_model, n_head * d_head, n_kv * d_head
    t = {"attn_norm": (d,), "ffn_norm": (d,), "attn_output": (d, q)}
    t |= {"attn_qkv": (q + 2 * kv, d)} if fused else {
        "attn_q": (q, d), "attn_k": (kv, d), "attn_v": (kv, d)}
    t |= {"post_attention_norm": (d,), "post_ffw_norm": (d,)} if post else {}
    t |= {"attn_q_norm": (d_head,), "attn_k_norm": (d_head,)} if arch in ("qwen3", "gemma3") else {}
    if n_exp:
        return t | {"ffn_gate_inp": (n_exp, d), "ffn_gate_exps": (n_exp, d_ff, d),
                    "ffn_up_exps": (n_exp, d_ff, d), "ffn_down_exps": (n_exp, d, d_ff)}
    return t | ({"ffn_up": (2 * d_ff, d)} if fused else {
        "ffn_gate": (d_ff, d), "ffn_up": (d_ff, d)}) | {"ffn_down": (d, d_ff)}


def make(out, arch, n_layer, n_head, n_kv, d_head=8, d_model=256, d_ff=512, n_exp=0, tied=False,
         fused=False, post=False):
    """A model of zeros; its vocabulary is that of a tiny one of the tests."""
    reader = gguf.GGUFReader(ROOT / "tests/model/golden/tiny-mistral.gguf")
    n_vocab = len(reader.fields["tokenizer.ggml.tokens"].data)
    w = gguf.GGUFWriter(out, arch)
    copy_keys(w, reader, lambda name: name.startswith("tokenizer."))
    w.add_block_count(n_layer)
    w.add_context_length(2048)
    w.add_embedding_length(d_model)
    w.add_feed_forward_length(d_ff)
    w.add_head_count(n_head)
    w.add_head_count_kv(n_kv)
    w.add_key_length(d_head)
    w.add_value_length(d_head)
    w.add_rope_dimension_count(d_head)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_vocab_size(n_vocab)
    w.add_file_type(1)
    w.add_sliding_window(512)
    w.add_rope_scaling_orig_ctx_len(2048)
    if n_exp:
        w.add_expert_count(n_exp)
        w.add_expert_used_count(2)
    tensors = {"token_embd": (n_vocab, d_model), "output_norm": (d_model,)}
    tensors |= {} if tied else {"output": (n_vocab, d_model)}
    for i in range(n_layer):
        tensors |= {f"blk.{i}.{name}": shape for name, shape in layer(
            arch, n_head, n_kv, d_head, d_model, d_ff, n_exp, fused, post).items()}
    for name, shape in tensors.items():
        small = len(shape) == 1 or "gate_inp" in name
        w.add_tensor(name + ".weight", np.zeros(shape, np.float32 if small else np.float16))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def look(a, file):
    """Keys; types of tensors; whether the head's rows are no whole super-blocks."""
    p = subprocess.run([a.ign, "inspect", file, "--json", "--metadata", "--tensors"],
                       capture_output=True, check=True)
    doc = json.loads(p.stdout)
    tensors = {t["name"]: t for t in doc["tensors"]}
    head = "output.weight" if "output.weight" in tensors else "token_embd.weight"
    narrow = head if tensors[head]["shape"][0] % 256 else None
    return doc["metadata"], {n: t["type"] for n, t in tensors.items()}, narrow


def differ(what, x, y):
    return [f"{what} {n}: {str(x.get(n))[:40]}, llama.cpp {str(y.get(n))[:40]}"
            for n in sorted(x.keys() | y.keys()) if x.get(n) != y.get(n)]


def apart(a, folder, model, kind):
    """What differs between both programs' files and should not, as text; bytes of both."""
    ours, theirs = f"{folder}/ours.gguf", f"{folder}/theirs.gguf"
    more = ["--imatrix", a.imatrix] if a.imatrix else []
    subprocess.run([a.ign, "quantize", model, ours, "--type", kind, *more], check=True,
                   capture_output=True)
    subprocess.run([f"{a.peer}/llama-quantize", *more, "--allow-requantize", model, theirs, kind],
                   check=True, capture_output=True, env=dict(os.environ, LD_LIBRARY_PATH=a.peer))
    (keys, types, head), (their_keys, their_types, _) = look(a, ours), look(a, theirs)
    seen = differ(kind, keys, their_keys)
    if head:
        seen += [f"{kind} {n}: {types.get(n)} has fewer bits than llama.cpp's {t}"
                 for n, t in their_types.items()
                 if n not in types or n != head and BITS[types[n]] < BITS[t]]
    else:
        seen += differ(kind, types, their_types)
    sizes = os.path.getsize(ours), os.path.getsize(theirs)
    if sizes[0] > sizes[1] or sizes[0] < sizes[1] and not head:
        seen += [f"{kind}: {sizes[0]} bytes, llama.cpp {sizes[1]}"]
    return seen, sizes, types != their_types


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("models", nargs="*")
    p.add_argument("--peer", required=True)
    p.add_argument("--ign", default=ROOT / "build/release/src/cli/ign")
    p.add_argument("--imatrix")
    p.add_argument("--types", type=str.split, default=TYPES)
    p.add_argument("--shapes", type=lambda s: s.split(","), default=list(SHAPES))
    a = p.parse_args()
    wrong = False
    with tempfile.TemporaryDirectory() as folder:
        for name in a.models or a.shapes:
            model = name
            if not a.models:
                model = f"{folder}/model.gguf"
                make(model, **SHAPES[name])
            results = [apart(a, folder, model, kind) for kind in a.types]
            seen = [x for r in results for x in r[0]]
            wrong |= bool(seen)
            more = [f"and {len(seen) - MOST} more"] if len(seen) > MOST else []
            least = min(ours / theirs for _, (ours, theirs), _ in results)
            spread = sum(other for _, _, other in results)
            print(f"{name}: {len(a.types)} types, " +
                  ("\n  ".join(["differ", *seen[:MOST], *more]) if seen else
                   "keys, types and sizes equal" if not spread else
                   f"keys equal; bits of {spread} spread otherwise, in {100 * least:.2f} % of the "
                   "bytes at least, 100 % at most"), flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
