#!/bin/sh
# check_aarch64.sh: builds for 64-bit ARM on this machine and runs the engine's tests by QEMU, on
# processors with and without dot products and matrix products of bytes. Needs root or sudo for what
# it installs (Debian's cross compiler, QEMU, libraries of the architecture arm64). Takes about a
# quarter of an hour on two cores. Says nothing about speed: QEMU translates.
set -eu
cd "$(dirname "$0")/.."

if ! dpkg --print-foreign-architectures | grep -qx arm64; then
    if [ "$(id -u)" = 0 ]; then
        dpkg --add-architecture arm64
    else
        sudo dpkg --add-architecture arm64
    fi
fi
tools/install_packages.sh cmake ninja-build pkg-config gcc-aarch64-linux-gnu \
    libc6-dev-arm64-cross qemu-user-static libjansson-dev:arm64 libutf8proc-dev:arm64 \
    nettle-dev:arm64 libcurl4-openssl-dev:arm64 libcmocka-dev:arm64
tools/build_preset.sh aarch64
build=build/aarch64
golden=tests/model/golden

fail() {
    echo "check_aarch64.sh: $1" >&2
    exit 1
}

# The levels that each kind of processor must get, and the least of those that it must refuse.
for pair in max:i8mm: cortex-a76:dotprod:i8mm cortex-a72:neon:dotprod; do
    cpu=${pair%%:*} rest=${pair#*:}
    best=${rest%%:*} missing=${rest#*:}
    run="qemu-aarch64-static -cpu $cpu"
    $run $build/src/cli/ign detect-gpu | grep -qx "Kernels  *$best" ||
        fail "the kernels chosen on $cpu are not $best"
    if [ -n "$missing" ]; then
        said=$(IGN_CPU=$missing $run $build/src/cli/ign generate --model \
            $golden/tiny-mistral.gguf --prompt x 2>&1) && fail "$missing was not refused on $cpu"
        echo "$said" | grep -q "the level \"$missing\" needs" || fail "on $cpu: $said"
    fi
    echo "$cpu: $best"
    said=$($run $build/tests/kern/kern_check) || fail "kern_check on $cpu: $said"
    echo "$said" | tail -n 5
    for name in mistral mixtral yarn; do
        $run $build/tests/model/test_golden cpu 0 1e-2 0 0 $golden/tiny-$name.gguf \
            $golden/tiny-$name.golden >/dev/null 2>&1 || fail "test_golden of $name on $cpu"
    done
done

# The same bits at every level in a whole model, sessions, and what lies below them.
ctest --preset aarch64 -j "$(nproc)" -R "$(echo '^(test_(err|mem|utf8|number|os|pool|json|digest)
    |test_quant|test_(jinja|chat|tok_(pretok|encode|vocab))|test_(kern|shapes)|test_(config|cost|forward)
    |golden_(mistral|mixtral|mixtral-old|llama31|linear|yarn|yarn-attn)_(plain|cpu)
    |test_(kv_cache|sampler|session))$' | tr -d ' \n')"

# Ceilings and a benchmark at each level: figures that mean nothing here, but are there.
for level in c neon dotprod i8mm; do
    IGN_CPU=$level qemu-aarch64-static -cpu max $build/src/cli/ign benchmark --repeat 1 \
        --prompt-tokens 64 --new-tokens 4 --model $golden/tiny-mistral.gguf 2>/dev/null |
        grep -q "^ceilings  *$level: read" || fail "no benchmark at level $level"
done
echo "check_aarch64.sh: all passed"
