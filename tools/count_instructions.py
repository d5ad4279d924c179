#!/usr/bin/env python3
"""count_instructions.py: instructions of the AVX2 kernels and of the token loop, against figures.

    tools/count_instructions.py kern build/release/tests/kern/kern_count
    tools/count_instructions.py step build/release/tests/engine/step_count \
        '$IGN_TEST_MODEL_DIR/SmolLM2-135M-Instruct.Q4_1.gguf'
    ... --write      puts what was counted into tests/instructions.json in place of comparing

A count does not depend on the machine, its load or its clock, so that a slower commit is seen
anywhere. It does depend on the compiler: figures of another one say nothing, and the check is
skipped with status 77, as it is without valgrind or AVX2. A count may differ from its figure by
2 %; one that is lower by more is an improvement to commit, with --write.

Needs valgrind. The program that it runs calls a function named `counted` for each figure, and
prints the compiler's version and then the figures' names.
"""
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile

FIGURES = pathlib.Path(__file__).resolve().parent.parent / "tests/instructions.json"
SLACK = 0.02
SKIP = 77


def skip(why):
    print(f"skipped: {why}")
    sys.exit(SKIP)


def totals(path):
    m = re.search(r"^(?:summary|totals): (\d+)", path.read_text(), re.M)
    return int(m.group(1)) if m else 0


def count(command):
    """(compiler, {name: instructions}) of one run under callgrind."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out"
        r = subprocess.run(
            ["valgrind", "--tool=callgrind", "--toggle-collect=counted", "--dump-after=counted",
             "--dump-instr=no", f"--callgrind-out-file={out}", *command],
            capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"})
        if r.returncode == SKIP:
            skip(r.stdout.strip())
        if r.returncode != 0:
            sys.exit(f"{' '.join(command)}: status {r.returncode}\n{r.stdout}{r.stderr}")
        compiler, *names = r.stdout.splitlines()
        counts = [totals(pathlib.Path(f"{out}.{i + 1}")) for i in range(len(names))]
    if 0 in counts or len(set(names)) < len(names):
        sys.exit(f"nothing was counted for some of {names}: {counts}")
    return compiler.removeprefix("compiler "), dict(zip(names, counts))


def compare(old, new):
    """Lines about what differs, worst first."""
    lines = []
    for name in sorted(old.keys() | new.keys()):
        a, b = old.get(name), new.get(name)
        if a is None or b is None:
            lines.append((9, f"{name}: {'no figure' if a is None else 'not counted any more'}"))
        elif abs(b - a) > SLACK * a:
            what = "more" if b > a else "fewer"
            lines.append((b / a, f"{name}: {b:,} instructions, {100 * abs(b / a - 1):.1f} % {what} "
                                 f"than {a:,}"))
    return [text for _, text in sorted(lines, reverse=True)]


def main():
    args = [a for a in sys.argv[1:] if a != "--write"]
    if len(args) < 2 or args[0] not in ("kern", "step"):
        sys.exit(__doc__)
    group, command = args[0], [os.path.expandvars(a) for a in args[1:]]
    if any("$" in a for a in command):
        skip("IGN_TEST_MODEL_DIR, the demo model's folder, is not set")
    if not shutil.which("valgrind"):
        skip("no valgrind here (apt-get install valgrind)")
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    here = {"machine": platform.machine(), "libc": " ".join(platform.libc_ver())}
    compiler, counts = count(command)
    here["compiler"] = compiler
    if "--write" in sys.argv:
        if any(figures.get(k, v) != v for k, v in here.items()):
            figures = {}  # of another compiler: all of it goes
        figures.update(here, **{group: counts})
        FIGURES.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")
        print(f"{len(counts)} figures written to {FIGURES}")
        return
    for key, value in here.items():
        if figures.get(key) != value:
            skip(f"the figures are of {key} {figures.get(key)}, this is {value}")
    wrong = compare(figures.get(group, {}), counts)
    for line in wrong:
        print(line)
    if wrong:
        sys.exit("If that is meant (or better), commit the new figures: the same command with "
                 "--write")
    print(f"{len(counts)} counts within {100 * SLACK:.0f} %")


if __name__ == "__main__":
    main()
