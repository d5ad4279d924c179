#!/usr/bin/env python3
"""house.py: the rules of the house that a compiler does not know.

    house.py check [ROOT]      every rule over every file; lists what breaks one
    house.py self-test         plants one violation of each rule and demands that it is found
    house.py exports LIBIGN    libign, shared or static, shows the symbols of include/ign.h, and no others
    house.py needed PROGRAM    the program links no library but those that it may
    house.py paths BUILD       what pages and scripts name under build/release is in that build

Standard library only. A rule is a generator of (path, line, message) over a Tree.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

RANKS = [
    ["base"],
    ["device", "format", "quant", "text", "observe", "config", "net"],
    ["kern", "sample", "know", "store"],
    ["cache"],
    ["model"],
    ["engine", "train"],
    ["feedback"],
    ["server"],
    ["cli"],
]
RANK = {folder: i for i, folders in enumerate(RANKS) for folder in folders}

STANDARD = set(
    """assert ctype errno float inttypes limits math setjmp signal stdalign stdarg stdatomic
    stdbool stddef stdint stdio stdlib stdnoreturn string time""".split()
)
# A header from outside, and the one file (or pattern of files) that may include it.
ADAPTERS = {
    "jansson.h": r"src/base/json\.c",
    "utf8proc.h": r"src/text/[a-z0-9_]+\.c",
    "nettle/hmac.h": r"src/observe/digest\.c",
    "nettle/sha2.h": r"src/observe/digest\.c",
    "nettle/eddsa.h": r"src/store/signature\.c",
    "curl/curl.h": r"src/net/http\.c",
}
ONE_FILE_EACH = ["utf8proc.h"]
OS_FILE = r"src/base/os_[a-z]+\.c"
ISA_FILE = r"src/(kern/cpu|quant)/[a-z0-9_]+_(avx2|avx512|amx|neon)\.[ch]"
ISA_CHOICE = ISA_FILE + r"|src/quant/quant_c\.c|src/kern/cpu/(cpu|(micro|peak)[a-z0-9_]*)\.[ch]|" + OS_FILE
ISA_HEADER = r"(immintrin|x86intrin|[a-z]+intrin|arm_neon|arm_sve|cpuid)\.h"

# Functions that only some files of src/ may call.
CALLS = [
    ("exit abort _exit _Exit quick_exit", r"src/cli/.*|" + OS_FILE, "only cli/ ends the program"),
    ("getenv secure_getenv setenv putenv", r"src/config/knobs\.c", "ask config/knobs.h"),
    (
        "printf fprintf vprintf vfprintf puts putchar fputs fputc putc fwrite perror",
        r"src/cli/.*",
        "only cli/ prints",
    ),
    (
        "malloc calloc realloc free strdup strndup aligned_alloc posix_memalign alloca",
        r"src/base/mem\.c",
        "memory comes from base/mem.h",
    ),
    (
        "fopen fread fgets open read write close rename remove time clock nanosleep system popen "
        "mmap fork signal raise",
        OS_FILE,
        "the system is asked through base/os.h",
    ),
    ("gets strcpy strcat sprintf vsprintf strtok rand srand atoi atof", r"(?!)", "never safe"),
]
MAX_LINES, MAX_KERNEL_LINES, MAX_COMMENT, MAX_BYTES = 1000, 1500, 20, 1 << 20
BUILD_FILE = r"(.*/)?(CMakeLists\.txt|Makefile|CMakePresets\.json|.*\.cmake|.*\.sh|check|demo)"


def bare(text):
    """C without comments and without what is inside of quotes; line numbers stay."""
    pattern = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''

    def blank(match):
        token = match.group()
        return token[0] + token[0] if token[0] in "\"'" else "\n" * token.count("\n") + " "

    return re.sub(pattern, blank, text, flags=re.S)


class Tree:
    def __init__(self, root):
        self.root = pathlib.Path(root)
        self.paths = sorted(p for p in self.list() if (self.root / p).is_file())
        self.texts = {}
        for p in self.paths:
            if re.search(r"\.(c|h|py|sh|txt|json|md|in|cmake)$|(^|/)(Makefile|check|demo|run)$", p):
                self.texts[p] = (self.root / p).read_text(encoding="utf-8", errors="replace")
        self.c = [p for p in self.paths if p.endswith((".c", ".h"))]
        self.src = [p for p in self.c if p.startswith("src/")]
        self.bare = {p: bare(self.texts[p]) for p in self.c}

    def list(self):
        git = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=self.root,
            capture_output=True,
        )
        if git.returncode == 0:
            return {p for p in git.stdout.decode().split("\0") if p}
        found = set()
        for folder, folders, names in os.walk(self.root):
            folders[:] = [f for f in folders if not f.startswith((".git", "build", "__pycache__"))]
            found |= {os.path.relpath(os.path.join(folder, n), self.root) for n in names}
        return found

    def includes(self, path):
        """(line, '<' or '"', header) of each include."""
        for i, line in enumerate(self.texts[path].split("\n"), 1):
            m = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
            if m:
                yield i, m.group(1), m.group(2)


def rule_layers(t):
    for p in t.src:
        own = p.split("/")[1]
        if own not in RANK:
            yield p, 1, f"src/{own} is not a folder of the design"
            continue
        for i, kind, header in t.includes(p):
            if kind == "<":
                continue
            if header == "ign.h":
                if RANK[own] < RANK["engine"]:
                    yield p, i, f"{own} includes the public interface, which is above it"
                continue
            folder = header.split("/")[0]
            if "/" not in header or folder not in RANK:
                yield p, i, f'"{header}" is not written as "folder/file.h"'
            elif folder != own and RANK[folder] >= RANK[own]:
                yield p, i, f"{own} includes {header}: dependencies point down"


def rule_headers(t):
    users = {}
    for p in t.c:
        inside = p.startswith(("src/", "examples/", "include/"))
        for i, kind, header in t.includes(p):
            if header in ADAPTERS:
                users.setdefault(header, set()).add(p)
                if not re.fullmatch(ADAPTERS[header], p):
                    yield p, i, f"{header} belongs to its adapter {ADAPTERS[header]} alone"
            elif re.fullmatch(ISA_HEADER, header):
                if not re.fullmatch(ISA_FILE + "|" + OS_FILE + r"|tests/kern/\w+\.c", p):
                    yield p, i, f"{header} belongs to ISA files"
            elif kind == "<" and inside and header[:-2] not in STANDARD:
                if not re.fullmatch(OS_FILE, p):
                    yield p, i, f"<{header}> is neither standard C nor in its adapter"
    for header in ONE_FILE_EACH:
        if len(users.get(header, ())) > 1:
            yield sorted(users[header])[1], 1, f"{header} is included by {sorted(users[header])}"


def rule_calls(t):
    for names, where, why in CALLS:
        pattern = re.compile(r"(?<![\w.>])(" + "|".join(names.split()) + r")\s*\(")
        for p in t.src:
            if re.fullmatch(where, p):
                continue
            for i, line in enumerate(t.bare[p].split("\n"), 1):
                m = pattern.search(line)
                if m and not line.lstrip().startswith("#"):
                    yield p, i, f"{m.group(1)}(): {why}"
    places = [p for p in t.src for _ in re.findall(r"\bgetenv\s*\(", t.bare[p])]
    if len(places) > 1:
        yield places[1], 1, f"getenv appears {len(places)} times"


def rule_isa(t):
    feature = re.compile(r"#\s*(el)?if.*__(AVX|SSE|FMA|F16C|ARM_FEATURE|ARM_NEON)")
    machine = re.compile(r"#\s*(el)?if.*(__x86_64__|__i386__|__aarch64__|__arm__)")
    for p in t.c:
        for i, line in enumerate(t.bare[p].split("\n"), 1):
            if feature.search(line) and not re.fullmatch(ISA_FILE, p):
                yield p, i, "#if on an instruction set: the choice is made at run time"
            elif machine.search(line) and p in t.src and not re.fullmatch(ISA_CHOICE, p):
                yield p, i, "#if on a processor outside of the files that choose"
    for p in t.paths:
        if not re.fullmatch(BUILD_FILE, p):
            continue
        for i, line in enumerate(t.texts.get(p, "").split("\n"), 1):
            if re.search(r"-m(arch|tune|cpu)=native", line):
                yield p, i, "the program is built for every machine, not for this one"
            if re.search(r"-m(avx|fma|f16c|sse|bmi)", line) and not re.fullmatch(
                r"src/(kern|quant)/CMakeLists\.txt", p
            ):
                yield p, i, "only ISA files get -m flags"


def rule_names(t):
    seen = {}
    for p in t.c:
        name = os.path.basename(p)
        if not re.fullmatch(r"[a-z][a-z0-9_]*\.[ch]", name):
            yield p, 1, "a file's name is in snake_case"
        if p.startswith("examples/"):
            continue  # each a program of its own, called what it shows
        if name in seen:
            yield p, 1, f"there is another {name}: {seen[name]}"
        seen[name] = p


def rule_sizes(t):
    for p in t.paths:
        size = (t.root / p).stat().st_size
        if size > MAX_BYTES:
            yield p, 1, f"{size} bytes: the repository holds no file over 1 MB"
        if size == 0 or not t.texts.get(p, "x").strip():
            yield p, 1, "an empty file"
    for p in t.c:
        n = t.texts[p].count("\n")
        most = MAX_KERNEL_LINES if re.match(r"src/(kern|quant)/", p) else MAX_LINES
        if n > most and not p.endswith("_golden.h"):
            yield p, n, f"{n} lines, {most} allowed"


def rule_opening(t):
    for p in t.c:
        name = os.path.basename(p)
        text = t.texts[p]
        if not text.startswith(f"/* {name}: "):
            yield p, 1, f'does not open with "/* {name}: what it owns, ..."'
        elif text.split("*/")[0].count("\n") > MAX_COMMENT:
            yield p, 1, f"opening comment longer than {MAX_COMMENT} lines"


def rule_words(t):
    later = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" + "XX"]) + r")\b")
    hosts = re.compile(r"pypi\.org|pythonhosted|npmjs\.(org|com)|huggingface\.co/[a-z]+/resolve")
    for p, text in t.texts.items():
        if p.endswith("house.py"):
            continue
        for i, line in enumerate(text.split("\n"), 1):
            if later.search(line) and p in t.c:
                yield p, i, "work for later is not left in the source"
            if hosts.search(line):
                yield p, i, "the name of a registry's host"
            if p in t.c and (line != line.rstrip() or "\t" in line):
                yield p, i, "a tab, or space at the end of a line"


RULES = [
    rule_layers,
    rule_headers,
    rule_calls,
    rule_isa,
    rule_names,
    rule_sizes,
    rule_opening,
    rule_words,
]


def check(root):
    tree = Tree(root)
    if not tree.src:
        sys.exit(f"{root} has no src/: nothing was checked")
    found = [(p, i, m) for rule in RULES for p, i, m in rule(tree)]
    for p, i, m in found:
        print(f"{p}:{i}: {m}")
    print(f"{len(tree.paths)} files, {len(RULES)} rules, {len(found)} violations")
    return 1 if found else 0


# Each planted file breaks the rule named beside it, in a way that the clean tree does not.
PLANTED = [
    (rule_layers, "src/text/a.c", '/* a.c: x */\n#include "kern/kern.h"\n'),
    (rule_layers, "src/text/a.c", '/* a.c: x */\n#include "format/gguf.h"\n'),
    (rule_layers, "src/model/a.c", '/* a.c: x */\n#include "ign.h"\n'),
    (rule_layers, "src/odd/a.c", "/* a.c: x */\n"),
    (rule_layers, "src/text/a.c", '/* a.c: x */\n#include "vocab.h"\n'),
    (rule_headers, "src/model/a.c", "/* a.c: x */\n#include <jansson.h>\n"),
    (rule_headers, "src/text/a.c", "/* a.c: x */\n#include <utf8proc.h>\n"),
    (rule_headers, "src/observe/a.c", "/* a.c: x */\n#include <nettle/sha2.h>\n"),
    (rule_headers, "src/model/a.c", "/* a.c: x */\n#include <unistd.h>\n"),
    (rule_headers, "src/model/a.c", "/* a.c: x */\n#include <sys/stat.h>\n"),
    (rule_headers, "src/model/a.c", "/* a.c: x */\n#include <cuda.h>\n"),
    (rule_headers, "src/kern/a.c", "/* a.c: x */\n#include <immintrin.h>\n"),
    (rule_headers, "tests/a.c", "/* a.c: x */\n#include <jansson.h>\n"),
    (rule_calls, "src/model/a.c", "/* a.c: x */\nvoid f(void) { exit(1); }\n"),
    (rule_calls, "src/model/a.c", "/* a.c: x */\nvoid f(void) { abort(); }\n"),
    (rule_calls, "src/cli/a.c", '/* a.c: x */\nvoid f(void) { getenv("X"); }\n'),
    (rule_calls, "src/model/a.c", '/* a.c: x */\nvoid f(void) { printf("x"); }\n'),
    (rule_calls, "src/model/a.c", "/* a.c: x */\nvoid f(void) { free(malloc(1)); }\n"),
    (rule_calls, "src/cli/a.c", "/* a.c: x */\nvoid f(void) { fopen(0, 0); }\n"),
    (rule_calls, "src/cli/a.c", "/* a.c: x */\nvoid f(char *p) { strcpy(p, p); }\n"),
    (rule_isa, "src/model/a.c", "/* a.c: x */\n#ifdef __AVX2__\n#endif\n"),
    (rule_isa, "src/model/a.c", "/* a.c: x */\n#if defined(__x86_64__)\n#endif\n"),
    (rule_isa, "src/model/CMakeLists.txt", "add_compile_options(-march=native)\n"),
    (rule_isa, "src/model/CMakeLists.txt", "add_compile_options(-mavx2)\n"),
    (rule_names, "src/model/ok.c", "/* ok.c: x */\n"),
    (rule_names, "src/model/Bad.c", "/* Bad.c: x */\n"),
    (rule_sizes, "src/model/a.c", ""),
    (rule_sizes, "docs/empty.md", "\n"),
    (rule_sizes, "docs/big.bin", "x" * (MAX_BYTES + 1)),
    (rule_sizes, "src/model/a.c", "/* a.c: x */\n" + "int x;\n" * MAX_LINES),
    (rule_opening, "src/model/a.c", "int x;\n"),
    (rule_opening, "src/model/a.c", "/* b.c: x */\n"),
    (rule_opening, "src/model/a.c", "/* a.c: x" + "\n * y" * 30 + " */\n"),
    (rule_words, "src/model/a.c", "/* a.c: x */\n/* TO" + "DO: later */\n"),
    (rule_words, "tools/get.sh", "curl https://py" + "pi.org\n"),
    (rule_words, "src/model/a.c", "/* a.c: x */\n\tint x;\n"),
]
CLEAN = {
    "src/base/ok.c": '/* ok.c: fine */\n#include <stdio.h>\n/* exit(1) */ char *s = "abort()";\n',
    "src/base/mem.c": "/* mem.c: fine */\nvoid *f(void) { return malloc(1); }\n",
    "src/config/knobs.c": '/* knobs.c: fine */\nvoid *f(void) { return getenv("X"); }\n',
    "src/text/unicode.c": "/* unicode.c: fine */\n#include <utf8proc.h>\n",
    "src/cli/main.c": '/* main.c: fine */\n#include "engine/e.h"\nint f(void) { exit(1); }\n',
    "src/kern/cpu/micro_avx2.c": "/* micro_avx2.c: fine */\n#include <immintrin.h>\n",
    "src/model/ops.c": "/* ops.c: fine */\nvoid f(struct k *k) { k->free(k); k->ops.exit(k); }\n",
}


def plant(files):
    with tempfile.TemporaryDirectory() as root:
        for path, text in files.items():
            target = pathlib.Path(root, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        tree = Tree(root)
        return {rule: [f"{p}: {m}" for p, _, m in rule(tree)] for rule in RULES}


def self_test():
    wrong = [f"the clean tree breaks {r.__name__}: {f}" for r, f in plant(CLEAN).items() if f]
    for rule, path, text in PLANTED:
        found = plant(CLEAN | {path: text})
        if not any(path in f for f in found[rule]):
            wrong.append(f"{rule.__name__} did not see {path}: {text[:60]!r}")
    missed = set(RULES) - {rule for rule, _, _ in PLANTED}
    wrong += [f"{rule.__name__} has no planted violation" for rule in missed]
    print("\n".join(wrong) or f"{len(PLANTED)} planted violations found, clean tree clean")
    return 1 if wrong else 0


def exports(library, header):
    which = "-g" if library.endswith(".a") else "-D"
    nm = subprocess.run(["nm", which, "--defined-only", library], capture_output=True, check=True)
    shown = {words[-1] for words in map(str.split, nm.stdout.decode().splitlines())
             if len(words) == 3}
    wanted = set(re.findall(r"IGN_API[^;(]*?\b(ign_\w+)\s*\(", pathlib.Path(header).read_text()))
    for name in sorted(shown ^ wanted):
        print(f"{name} is {'shown but not in' if name in shown else 'missing, but in'} ign.h")
    print(f"{len(wanted)} public functions")
    return 1 if shown != wanted or not wanted else 0


def needed(program):
    elf = subprocess.run(["readelf", "-d", program], capture_output=True, check=True)
    libraries = re.findall(r"\(NEEDED\).*\[([^]]+)\]", elf.stdout.decode())
    allowed = r"(libc|libm|libpthread|libjansson|libutf8proc|libnettle|libhogweed|ld-linux-[\w-]+)\.so\.\d+"
    wrong = [name for name in libraries if not re.fullmatch(allowed, name)]
    print(f"links {', '.join(libraries)}" + (f"; not allowed: {wrong}" if wrong else ""))
    return 1 if wrong or not libraries else 0


def paths(root, build):
    """Every build/release/... that a page or a script names is there once all is built."""
    pages = [root / "README.md", root / "demo", *(root / "docs").rglob("*.md"),
             *(p for p in (root / "tools").iterdir() if p.suffix in (".py", ".sh"))]
    named = [(page.relative_to(root), path) for page in pages
             for path in re.findall(r"\bbuild/release/([\w./-]*\w)", page.read_text())]
    missing = [(page, path) for page, path in named if not (pathlib.Path(build) / path).exists()]
    for page, path in missing:
        print(f"{page} names build/release/{path}, which no build makes")
    print(f"{len(named)} paths")
    return 1 if missing or not named else 0


def main(argv):
    root = pathlib.Path(__file__).resolve().parents[2]
    if argv[1:2] == ["check"]:
        return check(argv[2] if len(argv) > 2 else root)
    if argv[1:] == ["self-test"]:
        return self_test()
    if argv[1:2] == ["exports"] and len(argv) == 3:
        return exports(argv[2], root / "include/ign.h")
    if argv[1:2] == ["needed"] and len(argv) == 3:
        return needed(argv[2])
    if argv[1:2] == ["paths"] and len(argv) == 3:
        return paths(root, argv[2])
    sys.exit(__doc__)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
