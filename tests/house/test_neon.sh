#!/bin/sh
# test_neon.sh CLANG [macos]: compiles the files for 64-bit ARM on a machine of another kind, with
# warnings as errors: for Linux by this system's headers, which on x86-64 name one that is there for
# 32 bits only; for macOS by a compiler that has Apple's (PyPI's ziglang: "python3 -m ziglang cc").
# tools/check_aarch64.sh builds and runs them.
set -eu
compiler=$1 system=${2:-linux}
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/gnu"
: >"$folder/gnu/stubs-32.h"
n=0
for file in src/base/os_cpu.c src/kern/cpu/micro_level.c src/kern/cpu/*_neon.c; do
    case $file in
    */peak_dot_neon.c) march=armv8.2-a+dotprod+i8mm+bf16 mcpu=apple_m2 ;;
    *dotprod*) march=armv8.2-a+dotprod mcpu=apple_m1 ;;
    *i8mm*) march=armv8.2-a+dotprod+i8mm mcpu=apple_m2 ;;
    *) march=armv8-a mcpu=generic ;;
    esac
    if [ "$system" = macos ]; then
        set -- -target aarch64-macos -mcpu=$mcpu
    else
        set -- --target=aarch64-linux-gnu -march=$march -isystem "$folder" \
            -isystem "/usr/include/$(uname -m)-linux-gnu"
    fi
    # The compiler may be several words.
    $compiler "$@" -std=gnu17 -O1 -Isrc -Iinclude -Wall -Wextra -Wshadow -Wstrict-prototypes \
        -Wvla -Wundef -Werror -fno-strict-aliasing -ffp-contract=off -c -o "$folder/out.o" "$file"
    n=$((n + 1))
done
[ "$n" -ge 8 ]
echo "$n files compile for 64-bit ARM, $system"
