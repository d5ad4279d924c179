#!/usr/bin/env python3
"""Compares the template interpreter with Jinja2 over all cases of make_template_corpus.py, live.

    check_templates.py --ours build/release/tests/text/template_driver [--templates DIR]...
                       [--gguf FILE]... [--random N]

Prints the first differences and ends with 1 if there are any. The real templates are read from
the folders given (*.jinja, tokenizer_config.json); they are not part of this repository.
"""
import argparse
import collections
import json
import os
import subprocess
import sys

import make_template_corpus as corpus


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--ours", required=True)
    p.add_argument("--templates", action="append", default=[])
    p.add_argument("--gguf", action="append", default=[])
    p.add_argument("--random", type=int, default=3000)
    p.add_argument("--show", type=int, default=20)
    a = p.parse_args()
    cases = list(corpus.all_cases(a.templates, a.gguf, a.random))
    ours = subprocess.Popen([a.ours], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            env=dict(os.environ, TZ="UTC"))
    count = collections.Counter()
    for case in cases:
        expect = corpus.render(case)
        if expect is not None and " at 0x" in expect:
            count["skipped: Python prints an address"] += 1
            continue
        request = {k: case[k] for k in ("template", "vars", "now")}
        ours.stdin.write(json.dumps(request).encode() + b"\n")
        ours.stdin.flush()
        got = json.loads(ours.stdout.readline())
        if got.get("text") == expect:
            count["text" if expect is not None else "error"] += 1
            continue
        count["DIFFERENT"] += 1
        if count["DIFFERENT"] <= a.show:
            print("--- %s\n%s" % (case.get("name", ""), case["template"][:600]))
            print("Jinja2: %r\nours:   %r" % (expect, got.get("text", got.get("error"))))
    ours.stdin.close()
    for k in sorted(count):
        print("%8d %s" % (count[k], k))
    return ours.wait() != 0 or count["DIFFERENT"] > 0


if __name__ == "__main__":
    sys.exit(main())
