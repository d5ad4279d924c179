#!/usr/bin/env python3
"""Writes the vocabulary of a Hugging Face tokenizer.json as a GGUF file without tensors.

Usage: tools/tokenizer_to_gguf.py TOKENIZER.json OUT.gguf [--pre NAME]
Needs the gguf package. The tokenizer_config.json beside the file, if any, gives BOS, EOS and the
chat template.

Byte-level BPE becomes model "gpt2" with the name of the pre-tokenizer that fits its pattern;
BPE with byte fallback becomes "llama" (SentencePiece): a piece's score is minus the rank of its
first merge, which orders merges as the file does. User-defined pieces keep their spelling, U+2581
included, so that they match what the library matches.
"""
import argparse
import json
import os

import gguf

NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

# The last pattern of the sequence that decides, and the name GGUF files use for it.
PRE = [
    (r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*", "llama-bpe"),
    (r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*", "qwen2"),
    (r"?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[" + "\r\n]*", "deepseek-v3"),
]


def patterns(pre):
    if pre is None:
        return []
    if pre["type"] == "Sequence":
        return [p for part in pre["pretokenizers"] for p in patterns(part)]
    return [pre["pattern"].get("Regex", "")] if pre["type"] == "Split" else []


def pre_name(pre):
    for pattern in patterns(pre):
        for part, name in PRE:
            if part in pattern:
                return name
    raise SystemExit(f"no known pre-tokenizer has these patterns: {patterns(pre)}; use --pre")


def pairs(merges):
    return [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in merges]


def pieces_of(tok):
    """Spellings and kinds by id; ids that nothing names are unused."""
    model = tok["model"]
    named = {i: (p, NORMAL) for p, i in model["vocab"].items()}
    for p, i in model["vocab"].items():
        if model.get("byte_fallback") and len(p) == 6 and p.startswith("<0x"):
            named[i] = (p, BYTE)
        elif p == model.get("unk_token"):
            named[i] = (p, UNKNOWN)
    for a in tok.get("added_tokens", []):
        if named.get(a["id"], ("", 0))[1] != UNKNOWN:
            named[a["id"]] = (a["content"], CONTROL if a["special"] else USER)
    n = max(named) + 1
    return [named.get(i, (f"[UNUSED{i}]", UNUSED)) for i in range(n)]


def scores_of(tok, n):
    vocab, score = tok["model"]["vocab"], [0.0] * n
    seen = set()
    for rank, (a, b) in enumerate(pairs(tok["model"]["merges"])):
        i = vocab[a + b]
        if i not in seen:
            seen.add(i)
            score[i] = float(-rank - 1)
    return score


def adds_space(tok):
    normal = tok.get("normalizer") or {}
    parts = normal.get("normalizers", [normal])
    return any(p.get("type") == "Prepend" for p in parts)


def special_ids(config, pieces):
    ids = {p: i for i, (p, _) in enumerate(pieces)}

    def find(key):
        value = config.get(key)
        value = value["content"] if isinstance(value, dict) else value
        return ids.get(value)
    return find("bos_token"), find("eos_token")


def convert(tok, config, out, pre=None):
    pieces = pieces_of(tok)
    spm = bool(tok["model"].get("byte_fallback"))
    w = gguf.GGUFWriter(out, "llama")
    w.add_tokenizer_model("llama" if spm else "gpt2")
    if not spm:
        w.add_tokenizer_pre(pre or pre_name(tok["pre_tokenizer"]))
        w.add_token_merges([" ".join(m) for m in pairs(tok["model"]["merges"])])
    w.add_token_list([p.encode("utf-8") for p, _ in pieces])
    w.add_token_types([k for _, k in pieces])
    if spm:
        w.add_token_scores(scores_of(tok, len(pieces)))
        w.add_add_space_prefix(adds_space(tok))
    bos, eos = special_ids(config, pieces)
    if bos is not None:
        w.add_bos_token_id(bos)
    if eos is not None:
        w.add_eos_token_id(eos)
    post = json.dumps(tok.get("post_processor"))
    w.add_add_bos_token(bos is not None and "TemplateProcessing" in post)
    if isinstance(config.get("chat_template"), str):
        w.add_chat_template(config["chat_template"])
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.close()


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("tokenizer")
    ap.add_argument("out")
    ap.add_argument("--pre")
    a = ap.parse_args()
    with open(a.tokenizer, encoding="utf-8") as f:
        tok = json.load(f)
    beside = os.path.join(os.path.dirname(a.tokenizer), "tokenizer_config.json")
    config = {}
    if os.path.exists(beside):
        with open(beside, encoding="utf-8") as f:
            config = json.load(f)
    convert(tok, config, a.out, a.pre)


if __name__ == "__main__":
    main()
