#!/usr/bin/env python3
"""Compares the verdict on safetensors files, good and broken ones, with the `safetensors` package.

Usage: tools/check_safetensors.py BUILD/tests/format/st_driver [--files N] [--seed S]
Makes N files (40,000): each item B01-B08 of the hostile inputs by hand, then random headers, and
good ones with bytes changed, cut and doubled. Where the package takes a file, so must the program, and
the other way round; what is stricter here on purpose is listed in STRICTER and counted. Ends with
status 1 if any other verdict differs. Needs safetensors, which pip installs.
"""
import argparse
import json
import random
import struct
import subprocess
import sys

from safetensors import deserialize

# A header with blanks in front, "__metadata__": null, more than 16 dimensions.
STRICTER = ("does not begin with '{'", "an object was expected", "holds too many numbers")
SIZE = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1,
        "BOOL": 1}


def build(header, data=b""):
    h = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(h)) + h + data


def good(rng):
    at, header = 0, {}
    for i in range(rng.randrange(0, 5)):
        dtype = rng.choice(list(SIZE))
        shape = [rng.randrange(0, 4) for _ in range(rng.randrange(0, 4))]
        n = SIZE[dtype]
        for d in shape:
            n *= d
        header[f"t{i}"] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + n]}
        at += n
    if rng.random() < 0.3:
        header["__metadata__"] = {"format": "pt"}
    return header, bytes(at)


def by_hand():
    one = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}

    def with_(**kw):
        return build({"a": dict(one, **kw)}, bytes(8))
    yield b""
    yield from (bytes(n) for n in (1, 7, 8, 9))
    yield from (struct.pack("<Q", n) + b"{}" for n in (1, 2, 3, 10, 2**63, 2**64 - 1, (100 << 20) + 1))
    yield from (build(h) for h in (b"{}", b"{} ", b"{}  \n", b" {}", b"[]", b"null", b"{", b"{}x",
                                   b"\xff{}", b'{"\xff":1}', b'{"a":NaN}', b"{" * 100000))
    text = json.dumps(one).encode()
    yield build(b'{"a":' + text + b',"a":' + text + b"}", bytes(8))
    yield build(b'{"__metadata__":{},"__metadata__":{},"a":' + text + b"}", bytes(8))
    yield from (build({"__metadata__": m, "a": one}, bytes(8)) for m in ({}, {"x": "y"}, {"x": 1}, [], None))
    yield from (with_(dtype=d) for d in ("F33", "f32", 1, None, "", "I32", "F8_E4M3", "C64"))
    yield from (with_(shape=s) for s in (
        [], [-2], [1.5], [2**64], [1] * 20 + [2], [2**63, 2], [2**32, 2**32], [0], [2, 0], "2", None,
        [[2]], [2**62, 4], [4294967296, 4294967296, 2]))
    yield from (with_(data_offsets=o) for o in (
        [], [0], [0, 8, 8], [-8, 0], [8, 0], [0, 16], [0, 4], [4, 8], [0, 2**64], [0.0, 8.0], "08"))
    yield from (build({k: v}, bytes(8)) for k, v in (("a", {}), ("a", []), ("a", 1), ("", one)))
    yield build({"a": dict(one, more=1)}, bytes(8))
    yield build({"a": one, "b": one}, bytes(8))
    yield build({"a": one, "b": dict(one, data_offsets=[12, 20])}, bytes(20))
    yield build({"a": one, "b": dict(one, data_offsets=[4, 12])}, bytes(12))
    yield build({"b": dict(one, data_offsets=[8, 16]), "a": one}, bytes(16))
    yield from (build({"a": one}, bytes(n)) for n in (0, 7, 9))


def broken(rng):
    header, data = good(rng)
    if rng.random() < 0.5 and header:
        t = header[rng.choice([k for k in header])]
        if "shape" in t:
            kind = rng.randrange(4)
            if kind == 0:
                t["data_offsets"][rng.randrange(2)] += rng.choice([-1, 1, 8, 2**40])
            elif kind == 1:
                t["shape"].append(rng.choice([0, 1, 2, -1, 2**61]))
            elif kind == 2:
                t["dtype"] = rng.choice([*SIZE, "X"])
            else:
                del t[rng.choice(list(t))]
    b = bytearray(build(header, data))
    for _ in range(rng.choice([0, 0, 1, 1, 2])):
        i = rng.randrange(len(b))
        kind = rng.randrange(4)
        if kind == 0:
            b[i] = rng.randrange(256)
        elif kind == 1:
            b[i] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del b[i:i + rng.randrange(1, 9)]
        else:
            b[i:i] = b[i:i + rng.randrange(1, 9)]
        if not b:
            break
    return bytes(b)


def theirs(b):
    try:
        return len(deserialize(b)), ""
    except Exception as e:  # the package has one class of its own, and others of Python's
        return None, str(e)


def has_twins(b):
    """Whether a key stands twice in one object: there the last one counts, here it is refused."""
    twins = []

    def pairs(items):
        twins.extend(items[i][0] for i in range(len(items)) if items[i][0] in dict(items[:i]))
        return dict(items)
    n, = struct.unpack_from("<Q", b)
    json.loads(b[8:8 + n], object_pairs_hook=pairs)
    return bool(twins)


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("driver")
    ap.add_argument("--files", type=int, default=40000)
    ap.add_argument("--seed", type=int, default=1)
    a = ap.parse_args()
    rng = random.Random(a.seed)
    files = list(by_hand())
    files += [broken(rng) for _ in range(a.files - len(files))]
    data = b"".join(struct.pack("<I", len(f)) + f for f in files)
    out = subprocess.run([a.driver], input=data, stdout=subprocess.PIPE, check=True).stdout
    lines = out.decode("utf-8", "replace").split("\n")[:-1]
    assert len(lines) == len(files)
    same = taken = stricter = 0
    bad = []
    for f, line in zip(files, lines):
        n, why = theirs(f)
        taken += n is not None
        if line.startswith("ok") == (n is not None) and (n is None or int(line[3:]) == n):
            same += 1
        elif n is not None and (any(w in line for w in STRICTER) or has_twins(f)):
            stricter += 1
        else:
            bad.append((f, line, n, why))
    print(f"{len(files)} files, {taken} of them good: {same} verdicts equal, {stricter} stricter here, "
          f"{len(bad)} differ")
    for f, line, n, why in bad[:20]:
        print(f"    {f[:160]!r}: here '{line[:100]}', package {n if n is not None else why[:100]}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
