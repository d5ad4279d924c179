#!/bin/sh
# test_examples.sh CHAT TWO_MODELS TINY_FILE: runs the programs of examples/ on tiny models.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$3" "$dir/a.gguf" seed=1 context=4096
"$3" "$dir/b.gguf" seed=2 context=4096

fail() {
    echo "test_examples: $1" >&2
    cat "$dir/out" "$dir/err" >&2
    exit 1
}

# Two turns: the second does not compute the first one's 41 tokens again.
printf 'The "pump" is hot\nand now?\n' | "$1" "$dir/a.gguf" >"$dir/out" 2>"$dir/err" || fail "chat"
[ -s "$dir/out" ] || fail "chat says nothing"
set -- "$@" $(sed -n 's/^\[\([0-9]*\) tokens computed.*/\1/p' "$dir/err")
[ $# -eq 5 ] || fail "chat has not had two turns"
[ "$4" -gt 30 ] || fail "the first turn computed $4 tokens"
"$1" "$dir/none.gguf" </dev/null >"$dir/out" 2>"$dir/err" && fail "chat without a model"
grep -q none.gguf "$dir/err" || fail "chat does not name the missing file"

"$2" "$dir/a.gguf" "$dir/b.gguf" "The pump" >"$dir/out" 2>"$dir/err" || fail "two_models"
[ "$(grep -a -c '^--- tiny' "$dir/out")" -eq 2 ] || fail "two_models has not two voices"
"$2" "$dir/a.gguf" "$dir/a.gguf" "The pump" >"$dir/out" 2>"$dir/err" || fail "one file twice"
