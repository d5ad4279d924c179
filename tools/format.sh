#!/bin/sh
# format.sh [--check]: lays out every C file as .clang-format says; with --check only tells which
# files differ, and fails if one does. Golden values are written by scripts and left alone.
set -eu
cd "$(dirname "$0")/.."
format=$(command -v clang-format-14 || command -v clang-format)
files=$(find src include tests examples bench -name '*.[ch]' ! -name '*_golden.h' 2>/dev/null | sort)
if [ "${1:-}" = --check ]; then
    # shellcheck disable=SC2086
    exec $format --dry-run -Werror $files
fi
exec $format -i $files
