#!/usr/bin/env python3
"""count_loop.py OBJDUMP OBJECT FUNCTION INSTRUCTION [N]: the shortest loop of a function that has at
least N (default 1) of an instruction, counted by instruction; `stack`: how many touch the stack.
What it says is static: for a machine whose code can be built here but not timed."""
import collections
import re
import subprocess
import sys


def body(objdump, path, function):
    out = subprocess.run([objdump, "-d", "--no-show-raw-insn", path], check=True,
                         capture_output=True, text=True).stdout
    m = re.search(r"^[0-9a-f]+ <%s>:\n(.*?)(?:^\n|\Z)" % re.escape(function), out, re.M | re.S)
    if not m:
        sys.exit(f"{path} has no function {function}")
    return [re.split(r"\s+", line.strip(), maxsplit=2) for line in m.group(1).split("\n") if line]


def main():
    if len(sys.argv) not in (5, 6):
        sys.exit(__doc__)
    objdump, path, function, wanted = sys.argv[1:5]
    least = int(sys.argv[5]) if len(sys.argv) == 6 else 1
    lines = body(objdump, path, function)
    place = {line[0].rstrip(":"): i for i, line in enumerate(lines)}
    best = None
    for end, line in enumerate(lines):
        to = re.search(r"([0-9a-f]+) <", line[2]) if len(line) > 2 else None
        start = place.get(to.group(1)) if to and line[1][0] in "bcj" else None
        if start is None or start >= end:
            continue
        loop = lines[start:end + 1]
        if sum(i[1] == wanted for i in loop) >= least and (best is None or len(loop) < len(best)):
            best = loop
    if best is None:
        sys.exit(f"{function} has no loop with {least} {wanted}")
    count = collections.Counter(i[1] for i in best)
    stack = sum("[sp" in i[2] for i in best if len(i) > 2)
    print(f"{function}: {len(best)} instructions, stack {stack}:",
          ", ".join(f"{n} {name}" for name, n in count.most_common()))


if __name__ == "__main__":
    main()
