#!/usr/bin/env python3
"""Folders beside the GGUF files that llama.cpp's own converter makes of them, live:

    tools/check_converter.py --ign build/release/src/cli/ign --llama LLAMA.CPP [FOLDER...]

LLAMA.CPP is its source tree, with convert_hf_to_gguf.py. Without folders, all of
tests/model/golden. The logits of both by `ign logits` on `plain` must agree to 2e-4: rows of Q and K
in another order, norms with 1 added and experts in one tensor are what the converter changes. The
converter knows tokenizers by checksum, and not these: what
it would write of the vocabulary is written for it. Ends with 1 where a folder differs. Needs torch, transformers, sentencepiece, and what else the converter imports.
"""
import argparse
import glob
import os
import subprocess
import sys
import tempfile

import numpy as np

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/model/golden")
IDS = "3 1 4 1 5 9 2 6 5 3 58 97 93 23 84 62 64 133 83 127 95 40 28 200"
# What the converter leaves out, or llama.cpp calls by a name of its own.
KNOWN = {
    "tiny-mistral": "the window is not in the file",
    "tiny-qwen2-window": "the window is not in the file",
    "tiny-gemma3-image": "'layer_types' is not in the file",
    "tiny-mistral3": "the architecture is 'mistral3' there",
}
# The converter as a program of its own, but for the vocabulary: it knows a tokenizer by a checksum.
RUN = """
import json, os, runpy, sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/gguf-py"]
from conversion import base

def set_vocab(self):
    with open(os.path.join(self.dir_model, "tokenizer.json"), encoding="utf-8") as f:
        j = json.load(f)
    ids = {**j["model"]["vocab"], **{t["content"]: t["id"] for t in j["added_tokens"]}}
    w = self.gguf_writer
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(sorted(ids, key=ids.get))
    w.add_token_types([1] * len(ids))
    w.add_token_merges([])

def everything(kind):
    for k in kind.__subclasses__():
        yield k
        yield from everything(k)

import conversion
for name in os.listdir(os.path.dirname(conversion.__file__)):
    if name.endswith(".py") and name[:-3] in ("llama", "mistral", "mistral3", "qwen", "gemma", "phi", "bert"):
        __import__("conversion." + name[:-3])
for k in everything(base.ModelBase):
    k.set_vocab = set_vocab
sys.argv = ["convert_hf_to_gguf.py", *sys.argv[2:]]
runpy.run_path(sys.path[0] + "/convert_hf_to_gguf.py", run_name="__main__")
"""


def logits(ign, model):
    with tempfile.TemporaryDirectory() as work:
        out = os.path.join(work, "logits")
        r = subprocess.run([ign, "logits", "--model", model, "--device", "plain", "--kv-type", "f32",
                            "--ids", IDS, "--output", out], capture_output=True)
        if r.returncode:
            print(r.stderr.decode().strip())
            return np.zeros(0)
        return np.fromfile(out, "<f4")


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--ign", required=True)
    p.add_argument("--llama", required=True)
    p.add_argument("folders", nargs="*")
    a = p.parse_args()
    bad = 0
    tiny = sorted(f for f in glob.glob(os.path.join(GOLDEN, "tiny-*/")) if "bert" not in f)
    for folder in a.folders or tiny:
        with tempfile.TemporaryDirectory() as work:
            gguf = os.path.join(work, "m.gguf")
            r = subprocess.run([sys.executable, "-c", RUN, os.path.abspath(a.llama), folder,
                                "--outtype", "f32", "--outfile", gguf], capture_output=True)
            name = os.path.basename(folder.rstrip("/"))
            if r.returncode:
                print("%-20s not converted: %s" % (name, r.stderr.decode().strip().split("\n")[-1]))
                continue
            x, y = logits(a.ign, folder), logits(a.ign, gguf)
            off = float(np.abs(x - y).max()) if x.size and x.shape == y.shape else float("nan")
            known = KNOWN.get(name, "")
            print("%-20s differs by at most %.2e%s" % (name, off, known and ": " + known))
            bad += not off < 2e-4 and not known
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
