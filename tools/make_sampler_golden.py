#!/usr/bin/env python3
"""Writes tests/sample/sampler_golden.h: the probability of every token under many settings of the
sampler, computed as the papers say it, with whole sorts and in double precision.

Needs numpy. Run from the root of the project:  python3 tools/make_sampler_golden.py
"""
import numpy as np

OUT = "tests/sample/sampler_golden.h"


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def best_first(key):
    """Descending, ties to the lower index."""
    return np.lexsort((np.arange(len(key)), -key))


def keep(x, chosen):
    out = np.full_like(x, -np.inf)
    out[chosen] = x[chosen]
    return out


def mass(x, key, p):
    """The fewest tokens, best key first, whose probabilities reach p."""
    prob = softmax(x)
    order = [i for i in best_first(key) if prob[i] > 0]
    n = int(np.searchsorted(np.cumsum(prob[order]), p)) + 1
    return keep(x, order[:n])


def reference(logits, history, c):
    x = logits.astype(np.float64).copy()
    for i, b in c["bias"]:
        x[i] += b
    if c["mask"]:
        x = keep(x, [i for i in range(len(x)) if i % c["mask"]])
    for i in sorted(set(history[-c["last"]:])):
        n = history[-c["last"]:].count(i)
        x[i] = x[i] / c["repeat"] if x[i] > 0 else x[i] * c["repeat"]
        x[i] -= c["presence"] + n * c["frequency"]
    if 0 < c["top_k"] < np.isfinite(x).sum():
        x = keep(x, best_first(x)[:c["top_k"]])
    if c["typical"] < 1:
        p = softmax(x)
        with np.errstate(divide="ignore", invalid="ignore"):
            surprise = -np.log(p)
            entropy = np.sum(np.where(p > 0, p * surprise, 0))
            x = mass(x, -np.abs(surprise - entropy), c["typical"])
    if c["top_p"] < 1:
        x = mass(x, x, c["top_p"])
    if c["min_p"] > 0:
        p = softmax(x)
        x = keep(x, p >= c["min_p"] * p.max())
    return softmax(x / c["temperature"])


def case(name, logits, **changes):
    c = dict(name=name, logits=logits, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, typical=1.0,
             repeat=1.0, presence=0.0, frequency=0.0, last=64, bias=[], mask=0)
    c.update(changes)
    return c


CASES = [
    case("plain", 0),
    case("cold", 0, temperature=0.5),
    case("hot", 0, temperature=1.75),
    case("top-k", 0, top_k=7),
    case("top-k of biased tokens", 0, top_k=3, bias=[(5, 20.0), (9, 20.0), (40, 20.0), (41, 20.0)]),
    case("top-k past the vocabulary", 0, top_k=1000),
    case("top-p", 0, top_p=0.8),
    case("top-p, one token", 0, top_p=0.01),
    case("min-p", 0, min_p=0.1),
    case("min-p, all", 0, min_p=1.0),
    case("typical", 0, typical=0.6),
    case("typical, hot", 0, typical=0.3, temperature=1.5),
    case("repeat penalty", 0, repeat=1.5),
    case("repeat reward", 0, repeat=0.75),
    case("presence penalty", 0, presence=1.5),
    case("frequency penalty", 0, frequency=0.75),
    case("penalties, short memory", 0, repeat=1.25, presence=0.5, frequency=0.5, last=4),
    case("bias", 0, bias=[(3, 5.0), (17, -2.5), (63, -np.inf), (3, 0.5)]),
    case("mask", 0, mask=3),
    case("mask and top-k", 0, mask=2, top_k=5),
    case("the usual", 0, temperature=0.7, top_k=40, top_p=0.9),
    case("everything", 0, temperature=0.8, top_k=30, typical=0.95, top_p=0.9, min_p=0.02,
         repeat=1.1, presence=0.25, frequency=0.125, bias=[(1, 2.0)], mask=5),
    case("large", 1),
    case("large, top-k", 1, top_k=50),
    case("large, top-p", 1, top_p=0.9),
    case("large, typical", 1, typical=0.7),
    case("large, min-p", 1, min_p=0.05, temperature=1.25),
    case("large, the usual", 1, temperature=0.7, top_k=40, top_p=0.9),
]


def number(v):
    return "-INFINITY" if v == -np.inf else f"{float(v):.9g}f" if v % 1 else f"{int(v)}"


def main():
    rng = np.random.default_rng(3)
    logits = [np.float32(rng.normal(size=n) * s) for n, s in ((64, 1.3), (600, 2.5))]
    history = [int(i) for i in rng.integers(0, 64, size=24)] + [5, 5, 5, 9]
    out = ["/* sampler_golden.h: written by tools/make_sampler_golden.py; do not edit. */", "",
           "static const int32_t golden_history[] = {" + ", ".join(map(str, history)) + "};", ""]
    for k, x in enumerate(logits):
        out += [f"static const float golden_logits_{k}[{len(x)}] = {{",
                ", ".join(f"{v:.9g}f" if v % 1 else f"{v:.1f}f" for v in x) + "};", ""]
    for k, c in enumerate(CASES):
        p = reference(logits[c["logits"]], history, c)
        out += [f"static const double golden_p_{k}[{len(p)}] = {{",
                ", ".join(f"{v:.8g}" for v in p) + "};"]
        if c["bias"]:
            out += [f"static const struct logit_bias golden_bias_{k}[] = {{" +
                    ", ".join(f"{{{i}, {number(b)}}}" for i, b in c["bias"]) + "};"]
    out += ["", "static const struct golden_case golden_cases[] = {"]
    for k, c in enumerate(CASES):
        bias = f".bias = golden_bias_{k}, .n_bias = {len(c['bias'])}, " if c["bias"] else ""
        out += [f'    {{"{c["name"]}", golden_logits_{c["logits"]}, golden_p_{k}, '
                f'{len(logits[c["logits"]])}, {c["mask"]},',
                f'     {{.temperature = {number(c["temperature"])}, .top_k = {c["top_k"]}, '
                f'.top_p = {number(c["top_p"])}, .min_p = {number(c["min_p"])}, '
                f'.typical = {number(c["typical"])}, .repeat_penalty = {number(c["repeat"])}, '
                f'.presence_penalty = {number(c["presence"])}, '
                f'.frequency_penalty = {number(c["frequency"])}, {bias}'
                f'.penalty_last = {c["last"]}}}}},']
    out += ["};", ""]
    with open(OUT, "w", encoding="ascii") as f:
        for line in out:
            while len(line) > 100:  # break at a comma
                cut = line.rindex(", ", 0, 99) + 1
                f.write(line[:cut] + "\n")
                line = "    " + line[cut:].lstrip()
            f.write(line + "\n")


if __name__ == "__main__":
    main()
