#!/usr/bin/env python3
"""Writes the fuzzers' first inputs: tests/text/corpus_vocab_tok and corpus_detok.

The bytes are what tests/text/fuzz_vocab_tok.c and fuzz_detok.c read: see make_spec there.
Usage: tools/make_tokenizer_seeds.py
"""
import os
import struct

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "text")
TEXTS = ["Hello, world's 123 words\n\n  and <s>control</s> text",
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         "e\u0301\u0323 \u65e5\u672c\u8a9e \U0001f469\u200d\U0001f4bb \uac00\u11a8 \u200b\u3000x"]


def vocab_seed(flags, pre, pieces, merges, text, unk=255):
    b = bytes([flags, pre, len(pieces)])
    for kind, score, piece in pieces:
        b += bytes([kind, score & 255, len(piece)]) + piece
    b += bytes([len(merges)])
    for left, right in merges:
        b += struct.pack("<HH", left, right)
    return b + bytes([1, 2, unk]) + bytes([128]) + text


def main():
    control = [(3, 0, b"<s>"), (3, 0, b"</s>"), (4, 0, b"  ")]
    words = [(1, 0, b"aa"), (1, 0, b"aaaa"), (1, 0, b"he"), (1, 0, b"ll")]
    sp = "\u2581".encode()
    spm = [(1, -1, b"a"), (1, -2, b"aa"), (1, -3, sp), (1, -4, sp + b"a"), (1, -5, b"e")]
    a, h, e, l = 0x61, 0x68, 0x65, 0x6c
    merges = [(a, a), (259, 259), (h, e), (l, l)]
    seeds = [vocab_seed(48, pre, control + words, merges, TEXTS[pre % 3].encode())
             for pre in range(11)]
    seeds += [vocab_seed(1 | f, 0, control + spm, [], t.encode())
              for f in (2, 6, 8, 64) for t in TEXTS]
    word = [(1, 0, sp + b"hello"), (1, 0, sp + b"world"), (1, 0, b"s"), (1, 0, sp + b"a"), (1, 0, b"a"),
            (1, 0, sp + "e".encode()), (1, 0, sp + "\u65e5".encode()), (1, 0, b"\xe2\x96\x81")]
    seeds += [vocab_seed(f, 0, control + word, [], t.encode(), unk=1)
              for f in (128 | 48 | 64, 129 | 64, 133 | 64 | 2) for t in TEXTS]
    seeds.append(vocab_seed(0, 1, [], [], b"\xff\xc3\xe2\x82ok\xf0\x9f"))
    ids = [bytes([f]) + b"".join(struct.pack("<H", i) for i in row) for f in (0, 1) for row in (
        [256, 257, 258, 259], [260, 261, 262, 263, 260, 97], [0xE2, 0x82, 0xAC, 0xF0, 0x9F, 299],
        [266, 267, 257, 264, 265])]
    for name, files in (("corpus_vocab_tok", seeds), ("corpus_detok", ids)):
        folder = os.path.join(HERE, name)
        os.makedirs(folder, exist_ok=True)
        for i, data in enumerate(files):
            with open(os.path.join(folder, f"seed_{i:02d}"), "wb") as f:
                f.write(data)


if __name__ == "__main__":
    main()
