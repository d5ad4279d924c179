#!/usr/bin/env python3
"""Writes src/text/jinja_case_table.h: case of characters as Python's str methods know it.

    make_case_table.py > src/text/jinja_case_table.h

Rows cover runs of characters that are 1 or 2 apart; a run of one character has step 1.
"""
import unicodedata

CHARS = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def runs(points):
    """(first, last, step) of ascending points, greedily."""
    out = []
    for p in points:
        if out:
            first, last, step = out[-1]
            if first == last and p - last in (1, 2):
                out[-1] = (first, p, p - last)
                continue
            if p - last == step and first != last:
                out[-1] = (first, p, step)
                continue
        out.append((p, p, 1))
    return out


def print_rows(name, kind, rows, comment):
    print("\n/* %s */\nstatic const struct %s %s[] = {" % (comment, kind, name))
    line = "   "
    for row in rows:
        item = " {%s}," % ", ".join(row)
        if len(line) + len(item) > 98:
            print(line)
            line = "   "
        line += item
    print(line + "\n};")


def hexes(*numbers):
    return ["0x%X" % n for n in numbers]


def mapping(method, wanted=lambda ch, to: to != ch):
    by_delta = {}
    for ch in CHARS:
        to = getattr(ch, method)()
        if len(to) == 1 and wanted(ch, to):
            by_delta.setdefault(ord(to) - ord(ch), []).append(ord(ch))
    rows = [(f, l, s, d) for d, points in by_delta.items() for f, l, s in runs(points)]
    return [hexes(f, l) + [str(s), str(d)] for f, l, s, d in sorted(rows)]


def having(test):
    return [hexes(f, l) + [str(s)] for f, l, s in runs([ord(c) for c in CHARS if test(c)])]


def special():
    for ch in CHARS:
        u, t = ch.upper(), ch.title()
        if len(u) > 1 or len(t) > 1:
            yield hexes(ord(ch)) + ["{%s}" % ", ".join(hexes(*map(ord, x))) for x in (u, t)]


def main():
    print("/* jinja_case_table.h: case of characters as Python's str methods know it (Unicode %s)."
          % unicodedata.unidata_version)
    print(" *\n * Written by tools/make_case_table.py; included by jinja_unicode.c alone.\n */")
    print("#ifndef IGN_TEXT_JINJA_CASE_TABLE_H\n#define IGN_TEXT_JINJA_CASE_TABLE_H\n")
    print("#include <stdint.h>\n\n// clang-format off")
    print("struct case_run { uint32_t first, last, step; };")
    print("struct case_map { uint32_t first, last, step; int32_t delta; };")
    print("struct case_special { uint32_t cp, upper[3], title[3]; };")
    print_rows("case_to_upper", "case_map", mapping("upper"), "ascending by first; runs of step 2 may interleave")
    print_rows("case_to_lower", "case_map", mapping("lower"), "the same, to lower case")
    print_rows("case_to_title", "case_map",
               mapping("title", lambda ch, to: to != ch.upper()),
               "where title case is not upper case")
    print_rows("case_special", "case_special", special(), "upper or title case of several characters; ascending")
    print_rows("case_is_upper", "case_run", having(str.isupper), "isupper(), or title case that is upper")
    print_rows("case_is_lower", "case_run", having(str.islower), "islower()")
    print_rows("case_is_title", "case_run", having(lambda c: unicodedata.category(c) == "Lt"), "title case")
    print_rows("case_is_decimal", "case_run", having(str.isdecimal), "isdecimal()")
    print_rows("case_is_digit", "case_run", having(lambda c: c.isdigit() and not c.isdecimal()),
               "isdigit() and not decimal")
    print_rows("case_is_numeric", "case_run",
               having(lambda c: c.isnumeric() and unicodedata.category(c)[0] != "N"),
               "isnumeric() and not a number by category")
    print_rows("case_ignorable", "case_run",
               having(lambda c: unicodedata.category(c) in ("Cf", "Lm", "Sk") or c in "'.:\u00b7\u0387\u055f\u05f4\u2018\u2019\u2024\u2027\ufe13\ufe52\ufe55\uff07\uff0e\uff1a"),
               "ignored where the end of a word is looked for; marks are too")
    print("// clang-format on\n\n#endif")


if __name__ == "__main__":
    main()
