#!/bin/sh
# test_examples.sh CHAT TWO_MODELS TINY_FILE NEAREST: runs the programs of examples/ on tiny models.
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

nearest=$4
bert=tests/model/golden/tiny-bert
printf 'hot\nthe pump is hot\nthe pump is over there\n' | "$nearest" "$bert" "The pump is hot" \
    >"$dir/out" 2>"$dir/err" || fail "nearest"
[ "$(head -n 1 "$dir/out")" = "1.0000 the pump is hot" ] || fail "nearest does not find the same text"
[ "$(wc -l <"$dir/out")" -eq 3 ] || fail "nearest loses lines"
"$nearest" "$dir/none.gguf" x </dev/null >"$dir/out" 2>"$dir/err" && fail "nearest without a model"

# Two turns: the second does not compute the first one's 41 tokens again.
printf 'The "pump" is hot\nand now?\n' | "$1" "$dir/a.gguf" >"$dir/out" 2>"$dir/err" || fail "chat"
[ -s "$dir/out" ] || fail "chat says nothing"
set -- "$@" $(sed -n 's/^\[\([0-9]*\) tokens computed.*/\1/p' "$dir/err")
[ $# -eq 6 ] || fail "chat has not had two turns"
[ "$5" -gt 30 ] || fail "the first turn computed $5 tokens"
"$1" "$dir/none.gguf" </dev/null >"$dir/out" 2>"$dir/err" && fail "chat without a model"
grep -q none.gguf "$dir/err" || fail "chat does not name the missing file"

"$2" "$dir/a.gguf" "$dir/b.gguf" "The pump" >"$dir/out" 2>"$dir/err" || fail "two_models"
[ "$(grep -a -c '^--- tiny' "$dir/out")" -eq 2 ] || fail "two_models has not two voices"
"$2" "$dir/a.gguf" "$dir/a.gguf" "The pump" >"$dir/out" 2>"$dir/err" || fail "one file twice"
