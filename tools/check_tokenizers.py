#!/usr/bin/env python3
"""Compares token ids with the `tokenizers` library, over megabytes of every kind of text.

Usage: tools/check_tokenizers.py --driver BUILD/tests/text/tok_driver [--texts english,code,...]
       [--work FOLDER] VOCABULARY...
A VOCABULARY is a folder with a tokenizer.json, which is read as it is; a tokenizer.json (converted
by tokenizer_to_gguf.py first); or a GGUF file, whose
byte-level vocabulary is given to the library with the pre-tokenizer and normalizer that the model
was published with (HF_PRE below). A SentencePiece GGUF file has merges made from its scores, as
transformers' converter makes them. Needs tokenizers, gguf and, for tokenizer.json, nothing more.

With --llama PATH/llama-tokenize, GGUF files are compared with llama.cpp instead, text by text.
Prints one line for each vocabulary and text; ends with status 1 if any id differs.
"""
import argparse
import json
import os
import random
import struct
import subprocess
import sys
import tempfile

import gguf
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers as pt

import token_texts
import tokenizer_to_gguf

SPECIAL = 0x80000000


def byte_level(regex):
    return pt.ByteLevel(add_prefix_space=False, use_regex=regex)


def split(pattern):
    return pt.Split(Regex(pattern), "isolated")


# The cased letters that DeepSeek LLM's first pattern lists, as code points.
CASED = "".join(r"\x{%s}" % r.replace("-", "}-\\x{") for r in """
    41-5A 61-7A B5 C0-D6 D8-F6 F8-1BA 1BC-1BF 1C4-293 295-2AF 370-373 376 377 37B-37D 37F
    386 388-38A 38C 38E-3A1 3A3-3F5 3F7-481 48A-52F 531-556 10A0-10C5 13A0-13F5 13F8-13FD
    1C90-1CBA 1CBD-1CBF 1D00-1D2B 1D6B-1D77 1D79-1D9A 1E00-1F15 1F18-1F1D 1F20-1F45
    1F48-1F4D 1F50-1F57 1F59 1F5B 1F5D 1F5F-1F7D 1F80-1FB4 1FB6-1FBC 1FBE 1FC2-1FC4
    1FC6-1FCC 1FD0-1FD3 1FD6-1FDB 1FE0-1FEC 1FF2-1FF4 1FF6-1FFC 2102 2107 210A-2113 2115
    2119-211D 2124 2126 2128 212A-212D 212F-2134 2139 213C-213F 2145-2149 214E 2183 2184
    2C00-2C7B 2C7E-2CE4 2CEB-2CEE 2CF2 2CF3 A640-A66D A680-A69B A722-A76F A771-A787
    A78B-A78E AB70-ABBF FB00-FB06 FB13-FB17 FF21-FF3A FF41-FF5A 10400-1044F 104B0-104D3
    104D8-104FB 10C80-10CB2 10CC0-10CF2 118A0-118DF 1E900-1E943
""".split())
WIDE = r"[一-龥ࠀ-一가-퟿]+"
LLAMA = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*"
         r"|\s*[\r\n]+|\s+(?!\S)|\s+")
GPT2 = [byte_level(True)]
DIGITS = [pt.Digits(individual_digits=True), byte_level(True)]

CASED_WORD = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]%s[\p{Ll}\p{Lm}\p{Lo}\p{M}]%s"
BY_CASE = (r"[^\r\n\p{L}\p{N}]?" + CASED_WORD % ("*", "+") + r"%s|[^\r\n\p{L}\p{N}]?" +
           CASED_WORD % ("+", "*") +
           r"%s|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
ENDINGS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"

# name: (pre-tokenizers, whether the normalizer is NFC, ignore_merges)
HF_PRE = {
    "gpt-2": (GPT2, False, False),
    "mpt": (GPT2, True, False),
    "smollm": (DIGITS, False, False),
    "starcoder": (DIGITS, False, False),
    "refact": (DIGITS, False, False),
    "command-r": (DIGITS, True, False),
    "llama-bpe": ([split(LLAMA % "{1,3}"), byte_level(False)], False, True),
    "dbrx": ([split(LLAMA % "{1,3}"), byte_level(False)], False, False),
    "gpt-4o": ([split(BY_CASE % (ENDINGS, ENDINGS, "{1,3}")), byte_level(False)], False, False),
    "tekken": ([split(BY_CASE % ("", "", "")), byte_level(False)], False, True),
    "qwen2": ([split(LLAMA % ""), byte_level(False)], True, False),
    "falcon": ([pt.Punctuation("contiguous"), byte_level(True), pt.Digits(individual_digits=False),
                split("[0-9][0-9][0-9]")], False, False),
    "deepseek-coder": ([split(r"[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split(WIDE),
                        pt.Digits(individual_digits=True), byte_level(False)], False, False),
    "deepseek-llm": ([split(r"[\r\n]"), split(r"\s?[" + CASED + "]+"),
                      split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"), split(r"\s+$"), split(WIDE),
                      split(r"\p{N}+"), byte_level(False)], False, False),
}


def field(reader, key):
    f = reader.fields.get("tokenizer.ggml." + key)
    return f.contents() if f else None


def spm_merges(pieces, scores):
    """As transformers makes them from a SentencePiece model: best score first."""
    ids = {p: i for i, p in enumerate(pieces)}
    merges = []
    for p, s in zip(pieces, scores):
        parts = [(p[:i], p[i:]) for i in range(1, len(p)) if p[:i] in ids and p[i:] in ids]
        merges += [(s, ids[a], ids[b], a, b) for a, b in parts]
    merges.sort(key=lambda m: (-m[0], m[1], m[2]))
    return [(a, b) for _, _, _, a, b in merges]


def library_from_gguf(path):
    r = gguf.GGUFReader(path)
    pieces, kinds = field(r, "tokens"), field(r, "token_type")
    vocab = {p: i for i, p in enumerate(pieces)}
    if field(r, "model") == "llama":
        plain = [p if k in (1, 4, 5) else "" for p, k in zip(pieces, kinds)]
        t = Tokenizer(models.BPE(vocab, spm_merges(plain, field(r, "scores")), unk_token=pieces[0],
                                 fuse_unk=True, byte_fallback=True))
        steps = [normalizers.Replace(" ", "▁")]
        if field(r, "add_space_prefix") is not False:
            steps.insert(0, normalizers.Prepend("▁"))
        t.normalizer = normalizers.Sequence(steps)
    else:
        pre, nfc, whole = HF_PRE[field(r, "pre")]
        merges = [tuple(m.split(" ")) for m in field(r, "merges")]
        t = Tokenizer(models.BPE(vocab, merges, ignore_merges=whole))
        t.pre_tokenizer = pt.Sequence(pre)
        if nfc:
            t.normalizer = normalizers.NFC()
        t.decoder = decoders.ByteLevel()
    # Phi-3's tokenizer.json drops the white space after its special pieces, but for these three.
    phi3 = field(r, "model") == "llama" and r.fields["general.architecture"].contents() == "phi3"

    def added(kinds_wanted):
        return [AddedToken(p, normalized=False, special=k != 4,
                           rstrip=phi3 and p not in ("<unk>", "<s>", "<|endoftext|>"))
                for p, k in zip(pieces, kinds) if k in kinds_wanted]
    t.add_special_tokens(added((2, 3)))
    t.add_tokens(added((4,)))
    return t


def drive(driver, path, texts, special):
    data = b"".join(struct.pack("<I", len(t) | (SPECIAL if special else 0)) + t for t in texts)
    out = subprocess.run([driver, path], input=data, stdout=subprocess.PIPE, check=True).stdout
    ids, at = [], 0
    while at < len(out):
        n, = struct.unpack_from("<I", out, at)
        ids.append(list(struct.unpack_from(f"<{n}i", out, at + 4)))
        at += 4 + 4 * n
    return ids


def report(name, kind, texts, ours, theirs):
    bad = [i for i in range(len(texts)) if ours[i] != theirs[i]]
    size = sum(len(t) for t in texts)
    tokens = sum(len(t) for t in theirs)
    print(f"{name:24} {kind:9} {len(texts):8} texts {size / 1e6:6.2f} MB {tokens:8} ids  "
          f"{'equal' if not bad else f'{len(bad)} TEXTS DIFFER'}", flush=True)
    for i in bad[:3]:
        k = next((k for k, (a, b) in enumerate(zip(ours[i], theirs[i])) if a != b),
                 min(len(ours[i]), len(theirs[i])))
        print(f"    {texts[i][:60]!r}: at token {k}: {ours[i][k:k + 8]}, library {theirs[i][k:k + 8]}")
    return bool(bad)


def added_texts(library, n=20000):
    """Short strings of a vocabulary's own added tokens among words and white space."""
    rng = random.Random(9)
    tokens = [t.content for t in library.get_added_tokens_decoder().values()]
    tokens = tokens[-20:] + rng.sample(tokens, min(20, len(tokens)))
    other = [" ", "  ", "\n", "\t ", "\u00a0", "\u3000", "a", "word", "7", "_", "é", "\u0301", "\u200d", ".",
             "(", "\u24b6", "世", " The end", "😀"]
    return ["".join(rng.choice(tokens if rng.random() < 0.4 else other)
                    for _ in range(rng.randrange(1, 16))) for _ in range(n)]


def compare_library(a, path, texts):
    name, temp = os.path.basename(path), None
    if os.path.isdir(path):
        library = Tokenizer.from_file(os.path.join(path, "tokenizer.json"))
        name = os.path.basename(os.path.dirname(os.path.abspath(path))) or name
    elif path.endswith(".json"):
        library = Tokenizer.from_file(path)
        name = os.path.basename(os.path.dirname(os.path.dirname(path))) or name
        temp = os.path.join(a.work, name + ".gguf")
        with open(path, encoding="utf-8") as f:
            tokenizer_to_gguf.convert(json.load(f), {}, temp)
        path = temp
    else:
        library = library_from_gguf(path)
    library.no_padding()
    library.no_truncation()
    failed = False
    for kind, list_ in [*texts.items(), ("added", added_texts(library))]:
        strings = [t if isinstance(t, str) else t.decode("utf-8", "replace") for t in list_]
        raw = [t if isinstance(t, bytes) else t.encode("utf-8") for t in list_]
        for special in {"randoms": (False, True), "added": (True,)}.get(kind, (False,)):
            library.encode_special_tokens = not special
            theirs = [e.ids for e in library.encode_batch_fast(strings, add_special_tokens=False)]
            failed |= report(name, kind + ("+" if special else ""), raw,
                             drive(a.driver, path, raw, special), theirs)
    return failed


def compare_llama(a, path, texts):
    """llama.cpp reads a text from a file; texts are joined, since each run loads the vocabulary."""
    failed = False
    for kind, list_ in texts.items():
        raw = b"\n".join(t if isinstance(t, bytes) else t.encode("utf-8") for t in list_)
        raw = raw.decode("utf-8", "replace").replace("\0", " ").encode("utf-8")
        with tempfile.NamedTemporaryFile(dir=a.work, suffix=".txt") as f:
            f.write(raw)
            f.flush()
            out = subprocess.run([a.llama, "-m", path, "-f", f.name, "--ids", "--no-bos",
                                  "--no-parse-special", "--no-escape", "--log-disable"],
                                 stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
        theirs = json.loads(out.stdout[out.stdout.index(b"["):])
        failed |= report(os.path.basename(path), kind, [raw], drive(a.driver, path, [raw], False),
                         [theirs])
    return failed


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--driver", required=True)
    ap.add_argument("--texts", default=",".join(token_texts.ALL))
    ap.add_argument("--work", default=tempfile.gettempdir())
    ap.add_argument("--llama")
    ap.add_argument("vocabulary", nargs="+")
    a = ap.parse_args()
    texts = {k: token_texts.ALL[k]() for k in a.texts.split(",")}
    failed = False
    for path in a.vocabulary:
        failed |= (compare_llama if a.llama else compare_library)(a, path, texts)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
