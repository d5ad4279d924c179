#!/usr/bin/env python3
"""Compares every step that a tokenizer.json or a SentencePiece model may have with its library.

Usage: tools/check_tokenizer_steps.py --driver BUILD/tests/text/tok_driver [--only WORD] [--texts N]
       tools/check_tokenizer_steps.py --golden tests/model/golden/tokenizer_steps.jsonl
Trains small vocabularies (BPE of characters and of bytes, Unigram; SentencePiece's two types), gives
each of them every normalizer, pre-tokenizer and kind of added token in turn, and compares the ids of
N short random texts (20,000) with those of `tokenizers` and `sentencepiece`, which pip installs.
Prints one line for each case; ends with status 1 if any id differs. With --golden a share of the
cases, over smaller vocabularies and a few texts, is written for test_hf_steps, with the ids.
"""
import argparse
import base64
import json
import os
import random
import resource
import sys
import tempfile
import unicodedata

import sentencepiece
import sentencepiece.sentencepiece_model_pb2 as pb
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from tokenizers import normalizers as normalizers_of_library

import token_texts
from check_tokenizers import drive, report

BAR = "\u2581"
TRAIN = ["The quick brown fox jumps over the lazy dog, 123 times; it's 4567 \u00e9t\u00e9s!",
         "na\u00efve caf\u00e9 \u4e16\u754c \u3053\u3093\u306b\u3061\u306f \ud55c\uad6d\uc5b4 \u041f\u0440\u0438\u0432\u0435\u0442 " + BAR + "x",
         "def f(x):\n\treturn x + 1  # comment\r\n", "HELLO hello Hello don't we'll \ufb01ne \u00bd"] * 40


def small_rule():
    """A file of normalization rules: lower case for a few letters, ligatures, white space."""
    pairs = [("E", "e"), ("E\u0301", "\u00e9"), ("\ufb01", "fi"), ("\u00bd", "1/2"), ("\t", " "),
             ("\n", " "), ("\u3000", " "), ("\u00a0", " "), ("\u200b", "")]
    path = os.path.join(tempfile.gettempdir(), "ign_small_rule.tsv")
    with open(path, "w", encoding="utf-8") as f:
        for a, b in pairs:
            f.write("\t".join(" ".join(f"{ord(c):X}" for c in x) for x in (a, b)) + "\n")
    return path


def charsmap(rule):
    """The precompiled map of one of SentencePiece's normalizers; None: of a few characters."""
    few = {} if rule else {"normalization_rule_tsv": small_rule()}
    with tempfile.TemporaryDirectory() as d:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=iter(TRAIN), model_prefix=d + "/m", vocab_size=150,
            normalization_rule_name=rule or "identity", hard_vocab_limit=False, minloglevel=2,
            **few)
        m = pb.ModelProto()
        with open(d + "/m.model", "rb") as f:
            m.ParseFromString(f.read())
    return base64.b64encode(m.normalizer_spec.precompiled_charsmap).decode()


def of_bytes(kind):
    return kind in ("bytes", "bytes-few")


def trained(kind, size=500):
    """A tokenizer.json as a dictionary; "bytes-few" has no letter for most bytes, but an unknown
    token."""
    if kind == "unigram" or kind == "unigram-bytes":
        t = Tokenizer(models.Unigram())
        trainer = trainers.UnigramTrainer(vocab_size=min(size, 300), unk_token="<unk>", show_progress=False,
                                          special_tokens=["<s>", "<unk>"])
    else:
        t = Tokenizer(models.BPE(unk_token=None if kind == "bytes" else "<unk>"))
        alphabet = pre_tokenizers.ByteLevel.alphabet() if kind == "bytes" else []
        trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False, initial_alphabet=alphabet,
                                      special_tokens=["<s>", "<unk>"])
    t.pre_tokenizer = (pre_tokenizers.ByteLevel(add_prefix_space=False) if of_bytes(kind)
                       else pre_tokenizers.Metaspace(prepend_scheme="first"))
    t.train_from_iterator(TRAIN[:1] if kind == "bytes-few" else TRAIN, trainer)
    j = json.loads(t.to_str())
    j["pre_tokenizer"] = None
    if kind.endswith("-bytes"):
        names = [f"<0x{b:02X}>" for b in range(256)]
        j["model"]["byte_fallback"] = True
        if kind.startswith("unigram"):
            j["model"]["vocab"] += [[n, -20.0] for n in names]
        else:
            n = len(j["model"]["vocab"])
            j["model"]["vocab"].update({name: n + i for i, name in enumerate(names)})
            j["model"]["fuse_unk"] = True
    return j


def normalizers(rules=("nmt_nfkc", "nfkc_cf")):
    def replace(a, b):
        return {"type": "Replace", "pattern": {"String": a}, "content": b}
    simple = [{"type": t} for t in
              ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt")]
    more = [{"type": "Strip", "strip_left": a, "strip_right": b} for a in (0, 1) for b in (0, 1)]
    more = [dict(m, strip_left=bool(m["strip_left"]), strip_right=bool(m["strip_right"]))
            for m in more]
    more += [{"type": "Prepend", "prepend": BAR}, {"type": "Prepend", "prepend": " x"},
             replace(" ", BAR), replace("a", ""), replace("\u00e9", "e'"), replace("''", '"'),
             {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": BAR}]
    maps = [{"type": "Precompiled", "precompiled_charsmap": charsmap(r)}
            for r in rules]
    lists = [[], [{"type": "NFD"}, {"type": "StripAccents"}, {"type": "Lowercase"}],
             [{"type": "Nmt"}, {"type": "NFKC"},
              {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}],
             [{"type": "Prepend", "prepend": BAR}, replace(" ", BAR)], [maps[0], simple[4]]]
    return ([None] + simple + more + maps +
            [{"type": "Sequence", "normalizers": x} for x in lists])


def cutters():
    ways = ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous")
    one = [{"type": t} for t in ("Whitespace", "WhitespaceSplit", "BertPreTokenizer")]
    one += [{"type": "Digits", "individual_digits": x} for x in (False, True)]
    one += [{"type": "Punctuation", "behavior": w} for w in ways]
    one += [{"type": "Split", "pattern": {"String": p}, "behavior": w, "invert": i}
            for p in (" ", "aa", "'") for w in ways for i in (False, True)]
    one += [{"type": "Metaspace", "replacement": r, "prepend_scheme": s, "split": c}
            for r in (BAR, "_") for s in ("always", "first", "never") for c in (True, False)]
    one += [{"type": "CharDelimiterSplit", "delimiter": "e"}]
    llama = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+"
             r"[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    one += [{"type": "Split", "pattern": {"Regex": llama}, "behavior": b, "invert": i}
            for b, i in (("Isolated", False), ("Removed", True))]
    meta = {"type": "Metaspace", "replacement": BAR, "prepend_scheme": "always", "split": True}
    first = dict(meta, prepend_scheme="first")
    lists = [[one[1], meta], [one[4], first], [one[0], one[9]], [first, one[3]],
             [one[1], dict(meta, split=False)]]
    return [None] + one + [{"type": "Sequence", "pretokenizers": x} for x in lists]


def fronts(n, rules):
    """Random lists of normalizers and cutters before a Metaspace that writes at the text's front."""
    rng = random.Random(5)
    norms = [x for x in normalizers(rules) if x and "normalizers" not in x]
    cuts = [x for x in cutters() if x and x["type"] not in ("Metaspace", "Sequence")]
    first = {"type": "Metaspace", "replacement": BAR, "prepend_scheme": "first", "split": True}
    for _ in range(n):
        yield ({"type": "Sequence", "normalizers": rng.choices(norms, k=rng.randrange(1, 4))},
               {"type": "Sequence",
                "pretokenizers": rng.choices(cuts, k=rng.randrange(0, 3)) + [first]})


def byte_level(prefix, regex):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True,
            "use_regex": regex}


def with_bytes(cutter, prefix, regex):
    steps = [] if cutter is None else cutter.get("pretokenizers", [cutter])
    return {"type": "Sequence", "pretokenizers": steps + [byte_level(prefix, regex)]}


def added(vocab, normalized):
    """Added tokens of every kind. The library gives those that are pieces their pieces' ids, and
    the others the next free one, whatever the file says."""
    out = []
    for content, more in (("<A>", {}), ("\u00c9t\u00e9", {}), ("<B>", {"special": True}),
                          ("fox", {"single_word": True}), ("the", {"lstrip": True}),
                          ("it", {"rstrip": True}), ("<C>", {"normalized": not normalized}),
                          ("x" + BAR, {}), ("aa", {"normalized": not normalized})):
        new = len(vocab) + sum(t["content"] not in vocab for t in out)
        out.append(dict({"id": vocab.get(content, new), "content": content, "single_word": False,
                         "lstrip": False, "rstrip": False, "normalized": normalized,
                         "special": False}, **more))
    return out


def json_cases(kinds, size=500, rules=("nmt_nfkc", "nfkc_cf")):
    base = {k: trained(k, size) for k in kinds}

    def case(kind, norm, pre, tokens=(), **model):
        j = json.loads(json.dumps(base[kind]))
        j["normalizer"], j["pre_tokenizer"] = norm, pre
        j["added_tokens"] += tokens
        j["model"].update(model)
        return j
    for kind in kinds:
        vocab = base[kind]["model"]["vocab"]
        if isinstance(vocab, list):
            vocab = {p: i for i, (p, _) in enumerate(vocab)}
        split = {"type": "Metaspace", "replacement": BAR, "prepend_scheme": "first", "split": True}
        for norm in normalizers(rules):
            pre = with_bytes(None, False, True) if of_bytes(kind) else split
            yield f"{kind} {json.dumps(norm)[:90]}", case(kind, norm, pre)
            for normalized in (False, True):
                if norm and norm.get("content") == "":
                    continue  # a token that is normalized to nothing stops the library
                yield (f"{kind} added, normalized={normalized} {json.dumps(norm)[:70]}",
                       case(kind, norm, pre, added(vocab, normalized)))
        for i, cut in enumerate(cutters()):
            if of_bytes(kind):
                cut = with_bytes(cut, i % 2 == 1, i % 3 == 1)
            yield f"{kind} {json.dumps(cut)[:110]}", case(kind, None, cut)
        if not of_bytes(kind):
            for i, (norm, cut) in enumerate(fronts(60, rules)):
                for tokens in ((), added(vocab, True)):
                    yield (f"{kind} front {i} {'added, normalized=True' if tokens else ''}",
                           case(kind, norm, cut, tokens))
        yield f"{kind} ignore_merges", case(kind, None, split if not of_bytes(kind) else
                                            with_bytes(None, False, True),
                                            **({} if "unigram" in kind else {"ignore_merges": True}))
        if kind == "characters":
            yield "characters fuse_unk", case(kind, None, split, fuse_unk=True)
        if kind == "bytes-few":  # one pre-tokenizer that has a name, and one that has none
            for cut in (None, {"type": "Whitespace"}):
                for fuse in (False, True):
                    yield (f"bytes-few fuse_unk={fuse} {json.dumps(cut)}",
                           case(kind, None, with_bytes(cut, False, True), fuse_unk=fuse))


def texts_of(n):
    rng = random.Random(3)
    marks = token_texts.newer_marks()
    strip = normalizers_of_library.StripAccents()  # with the marks of Unicode 9
    compat = normalizers_of_library.NFKC()
    marks |= {c for c in token_texts.scalars()
              if unicodedata.category(c)[0] == "M" and strip.normalize_str(c) or
              compat.normalize_str(c) != unicodedata.normalize("NFKC", c)}
    words = ["the", " the", "fox", " fox", "it", "aa", "aaa", "<A>", "<B>", "<C>", "<s>", "<unk>",
             "\u00c9t\u00e9", "\u00e9t\u00e9", "E\u0301te\u0301", "x" + BAR, BAR, " ", "  ", "   ",
             "\n", "HELLO", "12", "'", "''", "don't", "\u4e16\u754c", "\ud55c", "\u1100\u1161\u11a8", ".",
             "\u3000", "\u00a0", "\ufb01", "\u00bd", "\u0130", "\u03a3", "_", "e", "\u200b", "\t", "\u0338", "\u24b6"]
    out = ["".join(rng.choice(words) for _ in range(rng.randrange(0, 14))) for _ in range(n // 2)]
    out += [t for t in token_texts.randoms(n - n // 2) if not marks & set(t)]
    return [t for t in out if "<0x" not in t]  # a byte piece is never spelled, by design


def check_json(a, texts):
    failed = False
    raw = [t.encode("utf-8") for t in texts]
    with tempfile.TemporaryDirectory() as d:
        for name, j in json_cases(("bytes", "bytes-few", "characters", "characters-bytes",
                                   "unigram", "unigram-bytes")):
            if a.only and a.only not in name:
                continue
            with open(d + "/tokenizer.json", "w", encoding="utf-8") as f:
                json.dump(j, f, ensure_ascii=False)
            library = Tokenizer.from_file(d + "/tokenizer.json")
            theirs = [e.ids for e in library.encode_batch_fast(texts, add_special_tokens=False)]
            failed |= report(name, "", raw, drive(a.driver, d, raw, True), theirs)
    return failed


def check_sentencepiece(a, texts):
    failed = False
    options = [{"model_type": t, "byte_fallback": b, "normalization_rule_name": r}
               for t in ("unigram", "bpe") for b in (False, True)
               for r in ("identity", "nmt_nfkc", "nfkc_cf")]
    options += [dict(o, add_dummy_prefix=p, remove_extra_whitespaces=e)
                for o in options[:2] + options[6:8] for p in (False, True) for e in (False, True)]
    options += [dict(o, user_defined_symbols=["<A>", "aa", "fox", " it", "\u00e9"]) for o in options]
    raw = [t.encode("utf-8") for t in texts]
    for o in options:
        name = "sentencepiece " + " ".join(f"{k}={v}" for k, v in o.items())
        if a.only and a.only not in name:
            continue
        with tempfile.TemporaryDirectory() as d:
            sentencepiece.SentencePieceTrainer.Train(
                sentence_iterator=iter(TRAIN), model_prefix=d + "/tokenizer", minloglevel=2,
                vocab_size=600 if o["byte_fallback"] else 340, hard_vocab_limit=False, **o)
            library = sentencepiece.SentencePieceProcessor(model_file=d + "/tokenizer.model")
            theirs = library.encode(texts)
            failed |= report(name, "", raw, drive(a.driver, d, raw, False), theirs)
    return failed


def golden(path):
    """A line for each vocabulary: {"name", "model"}; one for each case: {"vocabulary", "head", "ids"}
    or {"sentencepiece" (in hexadecimal), "ids"}; the first one has the texts."""
    texts = texts_of(200)[:12]
    lines = [{"texts": texts}]
    seen = set()
    for name, j in json_cases(("bytes", "bytes-few", "characters-bytes", "unigram"), 290,
                              (None,)):
        kind = name.split()[0]
        model = j.pop("model")
        if kind not in seen:
            seen.add(kind)
            lines.append({"name": kind, "model": json.dumps(model, ensure_ascii=False)})
        # Normalizers once, pre-tokenizers once, added tokens twice.
        step = "normalizer" if j["normalizer"] else "pre_tokenizer"
        wanted = {"bytes": "pre_tokenizer", "characters-bytes": "pre_tokenizer",
                  "unigram": "normalizer"}.get(kind)
        if kind == "bytes-few" and "fuse_unk=False" not in name:
            continue
        if "added" in name and "null" not in name or "ignore_merges" in name or \
                wanted and step != wanted and "added" not in name:
            continue
        library = Tokenizer.from_str(json.dumps(dict(j, model=model)))
        head = {k: j[k] for k in ("added_tokens", "normalizer", "pre_tokenizer")}
        lines.append({"vocabulary": kind, "head": json.dumps(head, ensure_ascii=False),
                      "ids": [library.encode(t, add_special_tokens=False).ids for t in texts]})
    for o in ({"model_type": "unigram"}, {"model_type": "bpe"},
              {"model_type": "bpe", "remove_extra_whitespaces": False, "add_dummy_prefix": False}):
        with tempfile.TemporaryDirectory() as d:
            sentencepiece.SentencePieceTrainer.Train(
                sentence_iterator=iter(TRAIN), model_prefix=d + "/m", minloglevel=2, vocab_size=90,
                user_defined_symbols=["<A>", "aa", " it"], hard_vocab_limit=False,
                normalization_rule_tsv=small_rule(), **o)
            with open(d + "/m.model", "rb") as f:
                blob = f.read()
            library = sentencepiece.SentencePieceProcessor(model_proto=blob)
            lines.append({"sentencepiece": blob.hex(),
                          "ids": library.encode(texts)})
    with open(path, "w", encoding="utf-8") as f:
        for x in lines:
            f.write(json.dumps(x, ensure_ascii=False, separators=(",", ":")) + "\n")


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--driver")
    ap.add_argument("--golden", help="write this file")
    ap.add_argument("--only", help="cases whose name has this in it")
    ap.add_argument("--texts", type=int, default=20000)
    a = ap.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))  # the library may run wild
    if a.golden:
        golden(a.golden)
        return
    texts = texts_of(a.texts)
    failed = check_json(a, texts)
    failed |= check_sentencepiece(a, texts)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
