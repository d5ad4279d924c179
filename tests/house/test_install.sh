#!/bin/sh
# test_install.sh CMAKE BUILD CC: installs under a prefix that the build was not configured for, and
# builds the example as a stranger would, through pkg-config: shared, and static where the libraries
# have archives.
set -eu
cmake=$1 build=$2 cc=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$cmake" --install "$build" --prefix "$work/there" >"$work/log"
"$work/there/bin/ign" version
for page in man/man1/ign.1 man/man1/ign-generate.1 man/man5/ign.toml.5 zsh/site-functions/_ign \
    bash-completion/completions/ign fish/vendor_completions.d/ign.fish; do
    test -s "$work/there/share/$page" || { echo "no share/$page"; exit 1; }
done
"$work/there/bin/ign" models catalog --store "$work/store" --json | grep -q "$work/there/bin/../share/ign" ||
    { echo "no catalogue of its own"; exit 1; }
PKG_CONFIG_PATH=$(dirname "$(find "$work/there" -name ign.pc)")
export PKG_CONFIG_PATH
test "$(pkg-config --variable=includedir ign | xargs realpath)" = "$(realpath "$work/there/include")"

# shellcheck disable=SC2046 # the flags are words
"$cc" -o "$work/shared" examples/chat.c $(pkg-config --cflags --libs ign)
LD_LIBRARY_PATH=$(pkg-config --variable=libdir ign) "$work/shared" 2>"$work/said" && exit 1
cat "$work/said"

jansson=$("$cc" -print-file-name=libjansson.a)
utf8proc=$("$cc" -print-file-name=libutf8proc.a)
if [ -f "$jansson" ] && [ -f "$utf8proc" ]; then
    # shellcheck disable=SC2046
    "$cc" -static -o "$work/static" examples/chat.c $(pkg-config --static --cflags --libs ign)
    "$work/static" 2>/dev/null && exit 1
    echo "static, too"
fi
