"""Texts that tokenizers must agree on: made by script, the same on every run.

Each maker gives a list of strings (bytes for the broken UTF-8), at least 1 MB together. English
and code come from the Python standard library's own sources; the rest is drawn from Unicode ranges.
"""
import ast
import ctypes
import glob
import os
import random
import sysconfig
import unicodedata

MB = 1000 * 1000


def _sources():
    paths = sorted(glob.glob(os.path.join(sysconfig.get_paths()["stdlib"], "*.py")) +
                   glob.glob(os.path.join(sysconfig.get_paths()["stdlib"], "*", "*.py")))
    for path in paths:
        try:
            with open(path, encoding="utf-8") as f:
                yield f.read()
        except (UnicodeDecodeError, OSError):
            continue


def _fill(parts, size):
    out, total = [], 0
    for p in parts:
        if p:
            out.append(p)
            total += len(p.encode("utf-8"))
        if total >= size:
            return out
    return out * (size // max(total, 1) + 1)


def _chunks(text, n=20000):
    return [text[i:i + n] for i in range(0, len(text), n)]


def english(size=MB):
    def docs():
        for src in _sources():
            try:
                tree = ast.parse(src)
            except (SyntaxError, ValueError):
                continue
            for node in ast.walk(tree):
                if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                    yield ast.get_docstring(node) or ""
    return _fill(docs(), size)


def code(size=MB):
    return _fill((c for src in _sources() for c in _chunks(src)), size)


def jython(size=MB):
    rng = random.Random(7)
    names = "tank pump line conveyor motor valve press oven mixer batch recipe shift alarm".split()
    out, total = [], 0
    while total < size:
        a, b = rng.choice(names), rng.choice(names)
        n = rng.randrange(10000)
        s = (f'# Gateway event script: {a.title()} {n}\n'
             f'def valueChanged(tag, tagPath, previousValue, currentValue, initialChange, missedEvents):\n'
             f'\tif initialChange or currentValue.quality.isNotGood():\n\t\treturn\n'
             f'\tpaths = ["[default]Site/{a}{n}/{b}_PV", "[default]Site/{a}{n}/{b}.SP"]\n'
             f'\tvalues = system.tag.readBlocking(paths, {rng.randrange(100, 9999)})\n'
             f"\tlogger = system.util.getLogger('{a}.{b}')\n"
             f'\tif values[0].value > {rng.random() * 100:.{rng.randrange(1, 6)}f}:\n'
             f'\t\tsystem.db.runPrepUpdate("UPDATE {b} SET t_stamp = ? WHERE {a}_id = ?", '
             f'[system.date.now(), {n}], "DB{n % 7}")\n'
             f"\t\tlogger.infof('%s exceeded: %0.2f \\u00b0C', str(tagPath), values[0].value)\n"
             f'\t\tself.view.custom.{a}["{b}-{n:05d}"] = {{"ok": True, \'q\': None}}\r\n\n\n')
        out.append(s)
        total += len(s)
    return out


def _words(ranges, seps, rng, lo=1, hi=9, marks=(), size=MB):
    pool = [chr(c) for a, b in ranges for c in range(a, b + 1) if unicodedata.category(chr(c))[0] in "LMN"]
    out, total = [], 0
    while total < size:
        s = ""
        for _ in range(rng.randrange(20, 200)):
            for _ in range(rng.randrange(lo, hi)):
                s += rng.choice(pool)
                if marks and rng.random() < 0.3:
                    s += chr(rng.choice(marks))
            s += rng.choice(seps)
        out.append(s)
        total += len(s.encode("utf-8"))
    return out


def cjk(size=MB):
    seps = ["，", "。", "、", "：“", "”", " ", "\n", "！", "（", "）", "　", "1984年", "ABC"]
    return _words([(0x4E00, 0x9FA5), (0x4E00, 0x5500), (0x3040, 0x309F), (0x30A0, 0x30FF),
                   (0xAC00, 0xB200), (0x3400, 0x3500), (0x20000, 0x20100), (0xF900, 0xFA20)],
                  seps, random.Random(1), size=size)


def arabic(size=MB):
    return _words([(0x621, 0x64A), (0x671, 0x6D3), (0x660, 0x669)],
                  [" ", " ", " ", "، ", "؟ ", "\n", " 12 ", "ـ", "\u200f "], random.Random(2),
                  marks=range(0x64B, 0x653), size=size)


def hindi(size=MB):
    return _words([(0x905, 0x939), (0x915, 0x939), (0x958, 0x961), (0x966, 0x96F)],
                  [" ", " ", " ", "। ", "\n", ", ", "॥", " A", "\u200d"], random.Random(3),
                  marks=list(range(0x93E, 0x94E)) + [0x901, 0x902, 0x903, 0x93C], size=size)


def emoji(size=MB):
    rng = random.Random(4)
    base = [chr(c) for a, b in ((0x1F300, 0x1F64F), (0x1F680, 0x1F6C5), (0x1F900, 0x1F9FF),
                                (0x2600, 0x26FF), (0x2700, 0x27BF)) for c in range(a, b)]
    skin = [chr(c) for c in range(0x1F3FB, 0x1F400)]
    out, total = [], 0
    while total < size:
        s = ""
        for _ in range(rng.randrange(5, 80)):
            s += rng.choice(base)
            k = rng.random()
            if k < 0.2:
                s += rng.choice(skin)
            elif k < 0.4:
                s += "\u200d" + rng.choice(base) + rng.choice(["", "\ufe0f"])
            elif k < 0.5:
                s += chr(0x1F1E6 + rng.randrange(26)) + chr(0x1F1E6 + rng.randrange(26))
            elif k < 0.6:
                s += rng.choice([" ", "\n", "ok", "1\ufe0f\u20e3", "!", "\t"])
        out.append(s)
        total += len(s.encode("utf-8"))
    return out


def broken(size=MB):
    """Bytes: random ones, and good text with bytes lost, doubled and cut."""
    rng = random.Random(5)
    good = ("Grüße, 世界! Привет 😀 naïve " * 40).encode()
    out, total = [], 0
    while total < size:
        if rng.random() < 0.4:
            b = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 400)))
        else:
            b = bytearray(good[:rng.randrange(1, len(good))])
            for _ in range(rng.randrange(1, 20)):
                b[rng.randrange(len(b))] = rng.choice([0x80, 0xC0, 0xE2, 0xED, 0xF0, 0xF5, 0xFF, 0])
            b = bytes(b)
        out.append(b)
        total += len(b)
    return out


def controls(size=MB):
    rng = random.Random(6)
    pool = [chr(c) for c in list(range(0x20)) + list(range(0x7F, 0xA1)) + [0xAD, 0xFEFF, 0xFFFC] +
            list(range(0x2000, 0x2070)) + list(range(0xE0001, 0xE0080)) + [0x180E, 0x3000, 0x1680]]
    words = ["a", "Ab", "9", "12", "'", "'s", ".", " ", "  ", "\n", "\r\n", "é"]
    out, total = [], 0
    while total < size:
        s = "".join(rng.choice(pool) if rng.random() < 0.6 else rng.choice(words)
                    for _ in range(rng.randrange(1, 300)))
        out.append(s)
        total += len(s.encode("utf-8"))
    return out


def scalars():
    """Every Unicode scalar value alone."""
    return [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def _assigned():
    """The characters that both Python and the program's library, if it is here, know."""
    known = [c for c in scalars() if unicodedata.category(c) != "Cn"]
    try:
        lib = ctypes.CDLL("libutf8proc.so.2")
    except OSError:
        return known
    return [c for c in known if lib.utf8proc_category(ord(c))]


def newer_marks():
    """Combining marks that the library's normalizer, which has the tables of Unicode 9, does not
    know: it leaves one where canonical order puts a mark of class 1 before it."""
    from tokenizers import normalizers
    nfc = normalizers.NFC()
    marks = [c for c in scalars() if unicodedata.combining(c) > 1]
    return {c for c in marks if nfc.normalize_str("a" + c + "\u0334") == "a" + c + "\u0334"}


def randoms(n=100000):
    """Short strings of everything mixed. A character assigned after Unicode 15 has another class
    in a newer library, and a mark assigned after Unicode 9 another place in its normal form, so
    these stand alone (scalars) but not among neighbours."""
    rng = random.Random(8)
    newer = newer_marks()
    anything = [c for c in _assigned() if c not in newer]
    small = [c for c in anything if ord(c) < 0x3000]
    ascii_ = [chr(c) for c in range(128)]
    words = ["'s", "'T", "'re", "'VE", "'ll", "'\u017f", " ", "  ", "   ", "\n", "\r\n", "\t", " \n ",
             "the", " The", "HELLO", "123", "4567", "e\u0301", "\u1100\u1161\u11a8", "\u3000",
             "\u00a0", "<s>", "</s>", "<|im_end|>", "<0x0A>", "▁", "…", "’s", "가", "一", "ﬁ", "½"]
    out = []
    for _ in range(n):
        out.append("".join(
            rng.choice(words) if k < 0.35 else rng.choice(ascii_) if k < 0.65 else
            rng.choice(small) if k < 0.85 else rng.choice(anything)
            for k in (rng.random() for _ in range(rng.randrange(0, 40)))))
    return out


ALL = {"english": english, "code": code, "jython": jython, "cjk": cjk, "arabic": arabic,
       "hindi": hindi, "emoji": emoji, "broken": broken, "controls": controls,
       "scalars": scalars, "randoms": randoms}
