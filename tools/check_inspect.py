#!/usr/bin/env python3
"""check_inspect.py: compares `ign inspect --json --metadata` with the gguf package, key by key.

    pip install gguf
    tools/check_inspect.py build/release/src/cli/ign MODEL.gguf...

Metadata (every element of every array), and name, type, shape, offset and bytes of every tensor.
Floats are compared as f32. Exits with 1 at the first file that differs.
"""
import json
import struct
import subprocess
import sys

import gguf


def value_of(field):
    kind = field.types[0]
    if kind == gguf.GGUFValueType.ARRAY:
        of = field.types[1]
        parts = [field.parts[i] for i in field.data]
        return [scalar(p, of) for p in parts]
    return scalar(field.parts[field.data[0]], kind)


def scalar(part, kind):
    if kind == gguf.GGUFValueType.STRING:
        return bytes(part).decode("utf-8", errors="replace")
    if kind == gguf.GGUFValueType.BOOL:
        return bool(part[0])
    if kind in (gguf.GGUFValueType.FLOAT32, gguf.GGUFValueType.FLOAT64):
        return float(part[0])
    return int(part[0])


def same(a, b):
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    if isinstance(a, float) and isinstance(b, (int, float)):
        return struct.pack("<f", a) == struct.pack("<f", b)
    return type(a) is type(b) and a == b


def check(program, path):
    out = subprocess.run([program, "inspect", path, "--json", "--metadata"], check=True,
                         stdout=subprocess.PIPE).stdout
    ours = json.loads(out)
    theirs = gguf.GGUFReader(path)
    wrong = []
    fields = {k: f for k, f in theirs.fields.items() if not k.startswith("GGUF.")}
    if list(fields) != list(ours["metadata"]):
        wrong.append("the keys, or their order")
    for key, field in fields.items():
        if not same(value_of(field), ours["metadata"].get(key)):
            wrong.append(f"metadata {key}")
    if len(theirs.tensors) != len(ours["tensors"]):
        wrong.append("the number of tensors")
    for t, o in zip(theirs.tensors, ours["tensors"]):
        want = (t.name, t.tensor_type.name, [int(d) for d in t.shape], int(t.data_offset),
                int(t.n_bytes))
        got = (o["name"], o["type"], o["shape"], o["offset"], o["bytes"])
        if want != got:
            wrong.append(f"tensor {want} is told as {got}")
    elements = sum(int(t.n_elements) for t in theirs.tensors)
    if elements != ours["parameters"]:
        wrong.append(f"{elements} parameters are told as {ours['parameters']}")
    print(f"{path}: {len(fields)} keys, {len(theirs.tensors)} tensors: "
          f"{'the same' if not wrong else 'DIFFERENT'}")
    for line in wrong[:20]:
        print("   ", line)
    return not wrong


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    if not all([check(sys.argv[1], path) for path in sys.argv[2:]]):
        sys.exit(1)


if __name__ == "__main__":
    main()
