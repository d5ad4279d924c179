#!/bin/sh
# build_preset.sh PRESET [TARGET]: configures and builds quietly, with Ninja where it is present; on
# failure shows what the compiler said. The log stays in build/PRESET.log.
set -eu
cd "$(dirname "$0")/.."
preset=$1
log=build/$preset.log
mkdir -p build

if [ -z "${CMAKE_GENERATOR:-}" ] && [ ! -f "build/$preset/CMakeCache.txt" ] &&
    command -v ninja >/dev/null; then
    export CMAKE_GENERATOR=Ninja
fi
echo "Building ($preset)" >&2
if ! { cmake --preset "$preset" &&
        cmake --build --preset "$preset" -j "$(nproc)" ${2:+--target "$2"}; } >"$log" 2>&1; then
    grep -n -A 8 -E 'error|Error|FAILED' "$log" | head -n 60 >&2 || tail -n 40 "$log" >&2
    echo "The build failed; the whole log is in $log" >&2
    exit 1
fi
