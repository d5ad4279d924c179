#!/usr/bin/env python3
"""Full logits against PyTorch, live: the long form of what tests/model/test_golden.c checks.

    tools/check_logits.py --ign build/release/src/cli/ign MODEL.gguf...
        [--device cpu plain] [--peer PROGRAM]

For each model and each text of tests/model/golden, PyTorch with transformers computes all logits in
f32 over the dequantized weights, and `ign logits --output` is compared with them on each device:
largest absolute difference, mean KL over all positions (the first included), KL of the first
position, share of positions with the same best token. --peer names another program to ask (see
tools/llama_logits.c). Ends with 1 where a bound is passed: --max-abs and --max-kl, which hold for
`plain` (2e-3, 1e-6), and --ratio, which holds for `cpu` against the peer (1.1).
Needs torch, transformers, gguf.
"""
import argparse
import os
import subprocess
import sys
import tempfile

import numpy as np

import golden_file
import make_golden

TEXTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/model/golden")


def read_logits(path, n_vocab):
    return np.fromfile(path, "<f4").reshape(-1, n_vocab)


def ask_ign(ign, device, model, ids, n_vocab, threads):
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "logits")
        # What is correct is not rounded on its way to being compared.
        kv_type = "f32" if device == "plain" else "f16"
        subprocess.run([ign, "logits", "--model", model, "--device", device, "--kv-type", kv_type,
                        "--threads", str(threads), "--ids", " ".join(map(str, ids)),
                        "--output", out],
                       check=True, stdout=subprocess.DEVNULL)
        return read_logits(out, n_vocab)


def ask_peer(program, model, ids, n_vocab):
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "logits")
        subprocess.run([program, model, out], check=True, input=" ".join(map(str, ids)).encode(),
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return read_logits(out, n_vocab)


class Score:
    """One model on one device, over all texts."""

    def __init__(self):
        self.max_abs, self.kl, self.first, self.same = 0.0, [], [], []

    def add(self, want, got):
        self.max_abs = max(self.max_abs, float(np.abs(want - got).max()))
        kl = golden_file.kl(want, got)
        self.kl.append(kl)
        self.first.append(kl[0])
        self.same.append(want.argmax(-1) == got.argmax(-1))

    def mean_kl(self):
        return float(np.concatenate(self.kl).mean())

    def __str__(self):
        return "max abs %.2e, mean KL %.3e (first %.2e), same best token %.1f %%" % (
            self.max_abs, self.mean_kl(), np.mean(self.first),
            100 * np.concatenate(self.same).mean())


def check_model(path, a):
    """Scores by who was asked: the devices, and "peer"."""
    model, tokenizer = make_golden.open_model(path)
    scores = {who: Score() for who in a.device + (["peer"] if a.peer else [])}
    for text in a.texts:
        with open(os.path.join(TEXTS, text + ".txt"), encoding="utf-8") as f:
            ids = tokenizer(f.read(), add_special_tokens=False)["input_ids"][:a.tokens]
        want = golden_file.logits_of(model, ids)
        for who, score in scores.items():
            if who == "peer":
                score.add(want, ask_peer(a.peer, path, ids, want.shape[1]))
            else:
                score.add(want, ask_ign(a.ign, who, path, ids, want.shape[1], a.threads))
    return scores


def main():
    p = argparse.ArgumentParser()
    p.add_argument("models", nargs="+")
    p.add_argument("--ign", required=True)
    p.add_argument("--device", nargs="+", default=["cpu"])
    p.add_argument("--peer")
    p.add_argument("--texts", nargs="+", default=make_golden.TEXTS)
    p.add_argument("--tokens", type=int, default=320)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--max-abs", type=float, default=2e-3)
    p.add_argument("--max-kl", type=float, default=1e-6)
    p.add_argument("--ratio", type=float, default=1.1)
    a = p.parse_args()
    failed = False
    for path in a.models:
        scores = check_model(path, a)
        for who, score in scores.items():
            print("%s, %s: %s" % (os.path.basename(path), who, score), flush=True)
        if "plain" in scores:
            s = scores["plain"]
            failed |= not (s.max_abs <= a.max_abs and s.mean_kl() <= a.max_kl)
        if "cpu" in scores and "peer" in scores:
            ratio = scores["cpu"].mean_kl() / scores["peer"].mean_kl()
            print("%s, cpu: %.2f x the peer's KL" % (os.path.basename(path), ratio), flush=True)
            failed |= not ratio <= a.ratio
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
