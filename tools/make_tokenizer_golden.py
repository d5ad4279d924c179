#!/usr/bin/env python3
"""Golden values of the tokenizers, from the `tokenizers` library: tests/text/tok_golden.h.

Usage: tools/make_tokenizer_golden.py [--demo SmolLM2-135M-Instruct.Q4_1.gguf] > tests/text/tok_golden.h
Three parts: how each family cuts one mixed text into words; two small vocabularies, trained here,
with the ids of some texts; normalization form C of some strings; and, with --demo, the ids of the
mixed text in the demo model's vocabulary.
"""
import argparse
import json
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, trainers
from tokenizers import pre_tokenizers as pt

import check_tokenizers
import tokenizer_to_gguf

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

MIXED = (
    "Hello, world! It's I'LL we'Re don'T 'tis 'S '\u017fa x'\u017f rock'n'roll they'd've\n"
    "  two  spaces   three\t\ttabs \t mixed \n \n\n lines\r\n\r\nend   \n"
    "1 12 123 1234 12345 1,234.56 0x1F \u0663\u0664\u0665\u0666 \u2163\u00bd\u00b2\u00b3 x1y22z333w4444\n"
    "def f(x):\n\treturn {'a': [1, 2.5e-3], \"b\": x[0] != None}  # comment\n"
    "\u4f60\u597d\uff0c\u4e16\u754c\u30022024\u5e74\u3000\u5168\u89d2 \u3053\u3093\u306b\u3061\u306f\u30ab\u30bf"
    "\uff76 \ud55c\uad6d\uc5b4 \u1112\u1161\u11ab mix\u6df7ed\u5b57\n"
    "\u0645\u064e\u0631\u0652\u062d\u064e\u0628\u064b\u0627\u060c \u0628\u0643\u061f \u0928\u092e\u0938\u094d\u0924\u0947 \u0915\u094d\u0937\u0964 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 "
    "Cu\u031b\u0309a Vi\u00ea\u0323t na\u00efve nai\u0308ve \u01c5 \u02b0 \u0391\u03b2 \u041f\u0440\u0438\u0432\u0435\u0442 \u10d0\u10d1 \u13a0\n"
    "\U0001f600 \U0001f469\u200d\U0001f4bb\U0001f44d\U0001f3fd \U0001f1e9\U0001f1ea 1\ufe0f\u20e3 \u2764\ufe0f!! \u2026\u2014\u2018q\u2019 \u201cw\u201d \u00a1\u00bf "
    "$5 \u20ac7 a+b=c <tag> `code` ^~| \u00a9\u00ae \u2200x\u2203y \u00a7\n"
    "\u0000\u0001\u001b[0m\u007f\u0085\u00a0\u00ad\u200b\u2028\u2029\u202f\ufeff\ufffd\ufffe\ue000\U000f0000 "
    "a\u0000b \u0001c 1\u00022 \u0378x \u0903\u0903 \u0488a \u203f_\u30fb \u300a\u300b\u00ab\u00bb\u207d\u0bf3\u309b!\u3000\u3002\u3000"
    " trailing   ")

FAMILIES = ["llama-bpe", "qwen2", "gpt-2", "mpt", "smollm", "starcoder", "refact", "command-r",
            "falcon", "deepseek-llm", "deepseek-coder", "dbrx", "gpt-4o", "tekken"]
OTHER = {
    "deepseek-v3": [check_tokenizers.split(r"\p{N}{1,3}"), check_tokenizers.split("[一-龥\u3040-ゟ゠-ヿ]+"),
                    check_tokenizers.split(
                        "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?"
                        "[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"),
                    check_tokenizers.byte_level(False)],
    "default": [check_tokenizers.split(r"[\p{P}\$\+<=>\^~\|]+"), check_tokenizers.split(GPT2),
                check_tokenizers.split(r"\p{N}+"), check_tokenizers.split("[0-9][0-9][0-9]"),
                check_tokenizers.byte_level(False)],
}

TRAIN = ["the quick brown fox jumps over the lazy dog's back", "she said: \"don't do that, they're here!\"",
         "system.tag.readBlocking(['[default]Tank 1/Level'], 1000)", "def valueChanged(tag, value):\n\treturn value",
         "Grüße aus München, naïve café", "世界，你好。世界", "1234567890 100 200 300", "aaaa aaaaaaaa aaaaaaaaaaaaaaaa",
         "hello    world\n\n\n    indent\n        more"] * 8

CASES = [
    "", "a", " ", "  ", "Hello world", " hello  world ", "the lazy dog's tank", "don't DON'T 'tis", "aaaaaaaaaaaaaaaaaaaaaaaaa",
    "\n\n    def x():\n\t\treturn 1234567\n", "世界你好世", "naïve café München ßẞ", "😀👩\u200d💻", "\x00\x01\x7f", "<s></s><0x41>",
    "<|im_start|>user<|im_end|>", "a<tool>b<tool><tool>", "value▁changed ▁▁x", "x" * 100, "the " * 30, "1 22 333 4444",
]

NFC = ["e\u0301", "\u0301\u0323", "a\u0323\u0301", "a\u0301\u0323", "\u1112\u1161\u11ab", "\uac00\u11a8", "\uac00\u11a7",
       "\u212b\u2126\u212a", "\u0958\u09dc", "\u0344", "q\u0307\u0323", "\u1e0b\u0323", "\u1e0d\u0307", "\u0f43\u0fb9", "\u2adc",
       "\ufb1d\ufb1f", "\U0001d15e\U0001d1bb", "\U0002f800\uf900", "a\u0315\u0300\u05ae\u0300\u0062", "\u0b47\u0b3e\u0bc6\u0bbe",
       "x" + "\u0301\u0323" * 40, "plain ascii", "\u00e9 \u00c5", "\u1100\u1161\u1100\u1161\u11a7", "\u09c7\u09be\u0cc6\u0cc2\u0cd5"]


def c_char(c):
    ch = chr(c)
    return "\\" + ch if ch in '"\\' else ch if 32 <= c < 127 and ch != "?" else "\\%03o" % c


def c_string(b):
    return "".join(c_char(c) for c in b)


def literal(b, indent="    "):
    lines, line = [], ""
    for c in b:
        if len(line) > 88:
            lines.append(line)
            line = ""
        line += c_char(c)
    return "\n".join(f'{indent}"{t}"' for t in lines + [line])


def numbers(values):
    lines, line = [], "    "
    for v in values:
        if len(line) + len(str(v)) > 96:
            lines.append(line.rstrip())
            line = "    "
        line += f"{v}, "
    return "\n".join(lines + [line.rstrip()])


def lengths(name):
    if name in OTHER:
        pre, nfc = OTHER[name], False
    else:
        pre, nfc, _ = check_tokenizers.HF_PRE[name]
    del nfc  # the cuts alone: the text is given as it is
    return [len(piece) for piece, _ in pt.Sequence(pre).pre_tokenize_str(MIXED)]


def train(spm):
    specials = ["<unk>", "<s>", "</s>"] if spm else ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    if spm:
        specials += [f"<0x{b:02X}>" for b in range(256)]
        t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        t.pre_tokenizer = pt.Split(Regex("▁"), "merged_with_next")
        alphabet = []
    else:
        t = Tokenizer(models.BPE())
        t.pre_tokenizer = pt.Sequence(check_tokenizers.DIGITS)
        alphabet = pt.ByteLevel.alphabet()
    t.train_from_iterator(TRAIN, trainers.BpeTrainer(
        vocab_size=460, special_tokens=specials, initial_alphabet=alphabet, show_progress=False))
    tok = json.loads(t.to_str())
    tok["added_tokens"] = [a for a in tok["added_tokens"] if not a["content"].startswith("<0x")]
    tok["pre_tokenizer"] = None if spm else tok["pre_tokenizer"]
    t = Tokenizer.from_str(json.dumps(tok))
    t.add_tokens([AddedToken("<tool>", normalized=False)])
    return t, json.loads(t.to_str())


def print_vocabulary(name, spm):
    library, tok = train(spm)
    pieces = tokenizer_to_gguf.pieces_of(tok)
    print(f"\nstatic const struct golden_piece {name}_piece[] = {{")
    scores = tokenizer_to_gguf.scores_of(tok, len(pieces)) if spm else [0] * len(pieces)
    for (p, kind), score in zip(pieces, scores):
        print(f'    {{"{c_string(p.encode())}", {len(p.encode())}, {kind}, {int(score)}}},')
    print("};")
    if not spm:
        print(f"\nstatic const char *const {name}_merge[] = {{")
        for a, b in tokenizer_to_gguf.pairs(tok["model"]["merges"]):
            print(f'    "{c_string((a + " " + b).encode())}",')
        print("};")
    rows, ids = [], []
    for text in CASES:
        for special in (False, True):
            library.encode_special_tokens = not special
            got = library.encode(text, add_special_tokens=False).ids
            rows.append((text.encode(), special, len(ids), len(got)))
            ids += got
    print(f"\nstatic const int32_t {name}_ids[] = {{\n{numbers(ids)}\n}};")
    print(f"\nstatic const struct golden_case {name}_case[] = {{")
    for text, special, at, n in rows:
        print(f'    {{"{c_string(text)}", {len(text)}, {int(special)}, {at}, {n}}},')
    print("};")


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--demo")
    a = ap.parse_args()
    print("/* tok_golden.h: what the `tokenizers` library says; made by tools/make_tokenizer_golden.py. */")
    print("/* clang-format off */")
    print("struct golden_piece {\n    const char *p;\n    size_t n;\n    int32_t kind;\n    int score;\n};\n")
    print("struct golden_case {\n    const char *p;\n    size_t n;\n    bool special;\n"
          "    size_t at, n_id; /* in the list of ids */\n};\n")
    print(f"static const char golden_mixed[] =\n{literal(MIXED.encode())};\n")
    print("/* The lengths of the words that each family cuts golden_mixed into. */")
    for name in FAMILIES + list(OTHER):
        ident = name.replace("-", "_")
        print(f"static const uint16_t cut_{ident}[] = {{\n{numbers(lengths(name))}\n}};")
    print("\nstatic const struct {\n    const char *pre;\n    const uint16_t *len;\n    size_t n;\n} golden_cut[] = {")
    for name in FAMILIES + list(OTHER):
        ident = name.replace("-", "_")
        print(f'    {{"{name}", cut_{ident}, sizeof cut_{ident} / sizeof *cut_{ident}}},')
    print("};\n\nstatic const struct {\n    const char *from, *to;\n} golden_nfc[] = {")
    for s in NFC:
        print(f'    {{"{c_string(s.encode())}",\n     "{c_string(unicodedata.normalize("NFC", s).encode())}"}},')
    print("};")
    print_vocabulary("small_bpe", False)
    print_vocabulary("small_spm", True)
    if a.demo:
        ids = check_tokenizers.library_from_gguf(a.demo).encode(MIXED, add_special_tokens=False).ids
        print(f"\n/* The mixed text in the demo model's vocabulary. */\nstatic const int32_t demo_ids[] = {{\n{numbers(ids)}\n}};")


if __name__ == "__main__":
    main()
