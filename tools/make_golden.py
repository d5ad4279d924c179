#!/usr/bin/env python3
"""Writes the golden logits of a GGUF model: PyTorch with transformers, in f32, over the weights as
the `gguf` package dequantizes them.

    tools/make_golden.py MODEL.gguf PREFIX [--out tests/model/golden] [--tokens 320]

makes PREFIX-prose.golden, PREFIX-jython.golden and PREFIX-multilingual.golden from the texts beside
them. Needs torch, transformers, gguf. tools/golden_file.py describes the format.
"""
import argparse
import os

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import golden_file

TEXTS = ("prose", "jython", "multilingual")
N_TOP, N_FIXED = 64, 64
GREEDY_FROM, N_GREEDY = 32, 64


def open_model(path):
    folder, name = os.path.split(os.path.abspath(path))
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(folder, gguf_file=name)


def fixed_ids(n_vocab):
    """Spread over the whole vocabulary, the first and the last id among them."""
    return np.linspace(0, n_vocab - 1, N_FIXED).astype(int)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("model")
    p.add_argument("prefix")
    p.add_argument("--out", default=os.path.join(os.path.dirname(__file__),
                                                 "../tests/model/golden"))
    p.add_argument("--tokens", type=int, default=320)
    a = p.parse_args()
    model, tokenizer = open_model(a.model)
    for text in TEXTS:
        with open(os.path.join(a.out, text + ".txt"), encoding="utf-8") as f:
            ids = tokenizer(f.read(), add_special_tokens=False)["input_ids"][:a.tokens]
        logits = golden_file.logits_of(model, ids)
        greedy, margins = golden_file.greedy_of(model, ids[:GREEDY_FROM], N_GREEDY)
        path = os.path.join(a.out, "%s-%s.golden" % (a.prefix, text))
        golden_file.write(path, ids, logits, GREEDY_FROM, greedy, N_TOP,
                          fixed_ids(logits.shape[1]))
        print("%s: %d tokens, smallest greedy margin %.4f" % (path, len(ids), min(margins)))


if __name__ == "__main__":
    main()
