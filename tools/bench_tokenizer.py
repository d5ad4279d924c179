#!/usr/bin/env python3
"""Tokenizing speed of one thread beside the `tokenizers` library's, in one run on one text.

Usage: tools/bench_tokenizer.py --bench BUILD/tests/text/bench_tok [--text FILE] VOCABULARY...
A VOCABULARY is a tokenizer.json or a GGUF file, as for check_tokenizers.py. Both sides take turns,
three times; each one's best processor time counts. The library gets the text in lines of a few
hundred bytes (its faster way: whole texts make it slower) and one thread.
"""
import argparse
import json
import os
import re
import subprocess
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

from tokenizers import Tokenizer  # noqa: E402

import check_tokenizers  # noqa: E402
import token_texts  # noqa: E402
import tokenizer_to_gguf  # noqa: E402


def library_speed(library, parts, size):
    start = time.process_time()
    library.encode_batch_fast(parts, add_special_tokens=False)
    return size / (time.process_time() - start) / 1e6


def our_speed(bench, path, text):
    out = subprocess.run([bench, path, text, "3"], stdout=subprocess.PIPE, check=True, text=True)
    return float(re.search(r"([0-9.]+) MB/s", out.stdout).group(1))


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--bench", required=True)
    ap.add_argument("--text")
    ap.add_argument("vocabulary", nargs="+")
    a = ap.parse_args()
    if a.text:
        with open(a.text, encoding="utf-8") as f:
            docs = [f.read()]
    else:
        docs = token_texts.english(4 * token_texts.MB)
    text = "\n".join(docs)
    parts = [text[i:i + 400] for i in range(0, len(text), 400)]
    size = len(text.encode("utf-8"))
    with tempfile.TemporaryDirectory() as work:
        name = os.path.join(work, "text")
        with open(name, "w", encoding="utf-8", newline="") as f:
            f.write(text)
        print(f"{size / 1e6:.2f} MB of text, MB/s of processor time, one thread")
        for path in a.vocabulary:
            if path.endswith(".json"):
                library, gguf_path = Tokenizer.from_file(path), os.path.join(work, "v.gguf")
                with open(path, encoding="utf-8") as f:
                    tokenizer_to_gguf.convert(json.load(f), {}, gguf_path)
            else:
                library, gguf_path = check_tokenizers.library_from_gguf(path), path
            ours = theirs = 0.0
            for _ in range(3):
                ours = max(ours, our_speed(a.bench, gguf_path, name))
                theirs = max(theirs, library_speed(library, parts, size))
            label = "/".join(path.split("/")[-3:])
            print(f"{label:50} ign {ours:7.2f}   tokenizers {theirs:6.2f}   x{ours / theirs:.1f}",
                  flush=True)


if __name__ == "__main__":
    main()
