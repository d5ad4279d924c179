#!/usr/bin/env python3
"""Compares the GGUF reader with the `gguf` package: every key, value and tensor of real files.

    tools/check_gguf.py build/tests/format/gguf_dump FILE.gguf...

Needs: pip install gguf numpy. Exit status 1 if anything differs. The package does not join
split sets, so only whole files can be compared.
"""
import argparse
import json
import math
import subprocess
import sys

import gguf

NAMES = {"u8": "UINT8", "i8": "INT8", "u16": "UINT16", "i16": "INT16", "u32": "UINT32",
         "i32": "INT32", "f32": "FLOAT32", "bool": "BOOL", "string": "STRING", "array": "ARRAY",
         "u64": "UINT64", "i64": "INT64", "f64": "FLOAT64"}


def same_value(ours, part, kind):
    if kind == "STRING":
        return ours == bytes(part).decode("utf-8", errors="replace")
    theirs = part[0].item()
    if kind.startswith("FLOAT"):
        return ours == theirs if math.isfinite(theirs) else ours is None
    return ours == theirs


def check_field(ours, field):
    types = [t.name for t in field.types]
    if not field.data:  # the package forgets the element type of an empty array
        return None if ours["type"] == "array" and not ours["values"] else "not empty"
    if NAMES[ours["type"]] != types[0] or NAMES[ours["elem"]] != types[-1]:
        return "type"
    if len(ours["values"]) != len(field.data):
        return "count"
    for value, at in zip(ours["values"], field.data):
        if not same_value(value, field.parts[at], types[-1]):
            return "value"
    return None


def check_file(program, path):
    bad = []
    run = subprocess.run([program, path], stdout=subprocess.PIPE, check=False)
    if run.returncode:
        return ["not read"]
    ours = json.loads(run.stdout)
    reader = gguf.GGUFReader(path)
    fields = {k: f for k, f in reader.fields.items() if not k.startswith("GGUF.")}
    if [kv["key"] for kv in ours["kv"]] != list(fields):
        bad.append("keys")
    for kv in ours["kv"]:
        why = check_field(kv, fields[kv["key"]]) if kv["key"] in fields else "missing"
        if why:
            bad.append(f"{kv['key']}: {why}")
    for mine, theirs in zip(ours["tensors"], reader.tensors):
        want = {"name": theirs.name, "type": theirs.tensor_type.name,
                "shape": [int(x) for x in theirs.shape], "part": 0,
                "offset": int(theirs.data_offset), "bytes": int(theirs.n_bytes)}
        if mine != want:
            bad.append(f"tensor {theirs.name}: {mine} instead of {want}")
    if len(ours["tensors"]) != len(reader.tensors) or ours["alignment"] != reader.alignment:
        bad.append("tensor count or alignment")
    print(f"{path}: {len(ours['kv'])} keys, {len(ours['tensors'])} tensors, "
          f"{'same' if not bad else 'DIFFERENT'}")
    return bad


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("program", help="the built gguf_dump")
    p.add_argument("files", nargs="+")
    a = p.parse_args()
    bad = [f"{path}: {what}" for path in a.files for what in check_file(a.program, path)]
    print("\n".join(bad) or "all the same")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
