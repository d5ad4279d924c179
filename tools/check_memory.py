#!/usr/bin/env python3
"""Compares the memory that a plan predicts with the peak that a run then takes.

    tools/check_memory.py TOUCH_ALL MODEL... [--context 512 4096 32768] [--percent 5]

TOUCH_ALL is build/release/tests/model/touch_all. Prints a table in Markdown, as docs/MEMORY.md has
it; ends with 1 if a prediction is off by more than --percent. Cases that do not fit this machine
are said to be left out. Standard library only.
"""
import argparse
import json
import pathlib
import subprocess
import sys


def run(program, model, context, percent):
    done = subprocess.run([program, model, str(context), str(percent)], text=True,
                          capture_output=True)
    if not done.stdout:
        return None, done.stderr.strip()
    return json.loads(done.stdout), None


def main():
    args = argparse.ArgumentParser()
    args.add_argument("program")
    args.add_argument("model", nargs="+")
    args.add_argument("--context", nargs="+", type=int, default=[512, 4096, 32768])
    args.add_argument("--percent", type=float, default=5)
    args = args.parse_args()
    bad = 0
    print("| file | context | weights | KV cache | scratch | program and text | predicted | measured "
          "| off by |")
    print("| --- " * 9 + "|")
    for model in args.model:
        for context in args.context:
            r, why = run(args.program, model, context, args.percent)
            name = pathlib.Path(model).name
            if r is None:
                print(f"{name}, {context}: left out: {why}", file=sys.stderr)
                continue
            parts = [r["weights"], r["kv"], r["scratch"], r["program"], r["predicted"],
                     r["measured"]]
            print(f"| {name} | {context} | " + " | ".join(f"{p / 1e6:.1f}" for p in parts) +
                  f" | {r['percent']:+.1f} % |", flush=True)
            bad += abs(r["percent"]) > args.percent
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
