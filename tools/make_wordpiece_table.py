#!/usr/bin/env python3
"""Makes src/text/wordpiece_table.h: where BERT's normalizer in the `tokenizers` library knows other
general categories than utf8proc, since its tables are those of an older Unicode:

    tools/make_wordpiece_table.py >src/text/wordpiece_table.h

The library is asked about every character. Needs tokenizers, and unicodedata2 15.0.0, whose
Unicode is utf8proc's.
"""
import unicodedata2
from tokenizers import normalizers, pre_tokenizers

PER_LINE = 5


def normalizer(**on):
    off = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    return normalizers.BertNormalizer(**{**off, **on}).normalize_str


def main():
    assert unicodedata2.unidata_version == "15.0.0"
    clean, strip = normalizer(clean_text=True), normalizer(strip_accents=True)
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    young, odd = [], []
    last = True  # whether the character before, of those that matter, was young
    for c in range(0x80, 0x110000):
        kind = unicodedata2.category(chr(c))
        if kind == "Cs" or c == 0xFFFD:
            continue
        ours = "C" if kind in ("Cc", "Cf", "Co") else "M" if kind == "Mn" else "P" if kind[0] == "P" else ""
        theirs = ("C" if clean(chr(c)) == "" else "M" if strip(chr(c)) == "" else
                  "P" if len(split("a" + chr(c) + "a")) == 3 else "")
        if theirs and theirs != ours:
            odd.append((c, theirs))
        elif ours and not theirs:
            if last and young:
                young[-1][1] = c
            else:
                young.append([c, c])
            last = True
        elif theirs:
            last = False
    once = {k: ", ".join("0x%X" % c for c, kind in odd if kind == k) for k in "PM"}
    assert all(kind in once for _, kind in odd), odd
    print("/* wordpiece_table.h: characters that BERT's normalizer sees otherwise than Unicode 15 does.")
    print(" *\n * Written by tools/make_wordpiece_table.py; included by wordpiece.c alone.\n */")
    print("#ifndef IGN_TEXT_WORDPIECE_TABLE_H\n#define IGN_TEXT_WORDPIECE_TABLE_H\n")
    print("#include <stdint.h>\n\n// clang-format off")
    print("/* Those in here are neither marks, punctuation nor control characters, whatever their")
    print(" * category: they came after the tables that models were trained with. */")
    print("static const uint32_t young[][2] = {")
    for i in range(0, len(young), PER_LINE):
        print("    " + " ".join("{0x%X, 0x%X}," % tuple(r) for r in young[i:i + PER_LINE]))
    print("};")
    print("/* And these are punctuation, and marks. */")
    print("static const uint32_t once_punctuation[] = {%s};" % once["P"])
    print("static const uint32_t once_mark[] = {%s};" % once["M"])
    print("// clang-format on\n\n#endif")


if __name__ == "__main__":
    main()
