#!/bin/sh
# tidy.sh BUILD [FILE...]: runs clang-tidy as .clang-tidy says over the project's C files, or only
# those named, with the compile commands of a build folder. Fails on the first kind of warning.
set -eu
cd "$(dirname "$0")/.."
build=${1:?usage: tools/tidy.sh BUILD [FILE...]}
shift
tidy=$(command -v clang-tidy-14 || command -v clang-tidy)
if [ $# = 0 ]; then
    # Only what this build compiles: an ISA file of another processor has no command here.
    set -- $(python3 -c '
import json, os, sys
files = {os.path.relpath(c["file"]) for c in json.load(open(sys.argv[1]))}
print("\n".join(sorted(f for f in files if f.startswith(("src/", "examples/")))))
' "$build/compile_commands.json")
fi
printf '%s\n' "$@" | xargs -P "$(nproc)" -n 4 "$tidy" -p "$build" --quiet --warnings-as-errors='*'
