#!/usr/bin/env python3
"""Makes tests/quant/quant_golden.h from the `gguf` package, and checks the C decoder live.

    tools/make_quant_golden.py                      write tests/quant/quant_golden.h
    tools/make_quant_golden.py --check PROGRAM      decode fresh random blocks with PROGRAM
                                                    (build/tests/quant/quant_dump) and compare

Needs: pip install gguf numpy. The blocks are not stored: block b of type t is made from a counter
hashed by splitmix64's finalizer, here and in tests/quant/test_quant.c alike, and then its scale
is set to the bits b, so that 65,536 blocks hold every binary16 scale; a second scale runs through
all of them in another order. Q8_K has a binary32 scale: its upper half is b. The decoded floats
are compared by a hash of their bits and positions, all NaNs as one.

`gguf` does not decode Q8_K (it never occurs in files): its definition, d times q, is written here.
"""
import argparse
import os
import subprocess
import sys

import gguf
import numpy as np

U64 = np.uint64
GOLDEN = U64(0x9E3779B97F4A7C15)

# name: offset of the scale, offset of the second scale or None
TYPES = {
    "F32": (2, None), "F16": (0, None), "BF16": (0, None),
    "Q4_0": (0, None), "Q4_1": (0, 2), "Q5_0": (0, None), "Q5_1": (0, 2), "Q8_0": (0, None),
    "Q2_K": (80, 82), "Q3_K": (108, None), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208, None),
    "Q8_K": (2, None), "IQ4_NL": (0, None), "IQ4_XS": (0, None),
}
SHOWN_BLOCK = 0x2E66  # scale 0.1


def mix(x):
    x = (x ^ (x >> U64(30))) * U64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> U64(27))) * U64(0x94D049BB133111EB)
    return x ^ (x >> U64(31))


def put_u16(blocks, offset, value):
    blocks[:, offset:offset + 2] = value.astype("<u2").view(np.uint8).reshape(-1, 2)


def make_blocks(name, size, first, count):
    """uint8 [count, size]: blocks first .. first + count - 1 of the type."""
    number = int(gguf.GGMLQuantizationType[name])
    words = (size + 7) // 8
    i = np.arange(first * words, (first + count) * words, dtype=U64)
    raw = mix(((U64(number) << U64(40)) + i + U64(1)) * GOLDEN)
    blocks = raw.astype("<u8").view(np.uint8).reshape(count, words * 8)[:, :size].copy()
    b = np.arange(first, first + count, dtype=np.uint32)
    scale, second = TYPES[name]
    put_u16(blocks, scale, b)
    if second is not None:
        put_u16(blocks, second, b * 40503)  # odd: a permutation of the 65,536
    return blocks


def decode(name, blocks):
    """float32 [count, elements of a block]"""
    if name == "Q8_K":
        d = blocks[:, :4].copy().view("<f4")
        return d * blocks[:, 4:260].view(np.int8).astype(np.float32)
    return gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[name])


def bits_of(values):
    bits = values.astype("<f4").view("<u4").ravel().copy()
    bits[np.isnan(values).ravel()] = 0x7FC00000
    return bits


def golden_of(name):
    elements, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    total, chunk = 0, 4096
    for first in range(0, 65536, chunk):
        bits = bits_of(decode(name, make_blocks(name, size, first, chunk)))
        i = np.arange(first * elements, (first + chunk) * elements, dtype=U64)
        total += int(mix(((i << U64(32)) | bits) * GOLDEN).sum(dtype=U64))
    shown = bits_of(decode(name, make_blocks(name, size, SHOWN_BLOCK, 8)))[:8]
    return total % 2**64, shown


def write_golden(path):
    lines = [
        "/* quant_golden.h: what `gguf.quants` decodes; made by tools/make_quant_golden.py.",
        " * For each type: the hash over all 65,536 test blocks, and the bits of the first eight",
        f" * elements from block 0x{SHOWN_BLOCK:04x} on. */",
        "/* clang-format off */",
        "static const struct {",
        "    enum dtype type;",
        "    int scale, second; /* offsets of the scales in a block; -1: none */",
        "    uint64_t hash;",
        "    uint32_t first[8];",
        "} quant_golden[] = {",
    ]
    for name, (scale, second) in TYPES.items():
        total, shown = golden_of(name)
        bits = [f"0x{x:08x}" for x in shown]
        lines += [f"    {{DT_{name}, {scale}, {-1 if second is None else second}, "
                  f"0x{total:016x},",
                  f"     {{{', '.join(bits[:4])},", f"      {', '.join(bits[4:])}}}}},"]
        print(f"{name:7} {total:016x}")
    lines += ["};", "/* clang-format on */"]
    with open(path, "w", encoding="ascii") as f:
        f.write("\n".join(lines) + "\n")


def check(program, seed, count):
    rng = np.random.default_rng(seed)
    bad = 0
    for name in TYPES:
        _, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
        blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
        out = subprocess.run([program, name], input=blocks.tobytes(), stdout=subprocess.PIPE,
                             check=True).stdout
        want = bits_of(decode(name, blocks))
        got = bits_of(np.frombuffer(out, dtype="<f4"))
        same = got.size == want.size and bool((got == want).all())
        print(f"{name:7} {count} random blocks: {'same bits' if same else 'DIFFERENT'}")
        bad += not same
    return bad


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--output", default=os.path.join(here, "../tests/quant/quant_golden.h"))
    p.add_argument("--check", metavar="PROGRAM", help="compare quant_dump instead of writing")
    p.add_argument("--seed", type=int, default=None, help="of --check (default: a new one)")
    p.add_argument("--blocks", type=int, default=4096, help="of each type, in --check")
    a = p.parse_args()
    with np.errstate(all="ignore"):
        if not a.check:
            write_golden(a.output)
            return 0
        seed = a.seed if a.seed is not None else int.from_bytes(os.urandom(4), "little")
        print(f"seed {seed}")
        return 1 if check(a.check, seed, a.blocks) else 0


if __name__ == "__main__":
    sys.exit(main())
