#!/bin/bash
# Published Demucs 4.1.0 in folder $1, on the packages of our own environment: what tests compare with. Its code without
# its dependencies is small, and runs for all but training. `make oracle` gives it an environment of its own, with the
# torch that it was made for.
[ -n "${BASH_VERSION:-}" ] || { echo "$0 is for bash, not for sh: bash $0 $*" >&2; exit 2; }
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=$(realpath -m "$1")
python=$PWD/.venv/bin/python
rm -rf "$folder"
mkdir -p "$folder/bin"
"$python" -m pip install --disable-pip-version-check --quiet --no-deps --target "$folder/lib" demucs==4.1.0 sphn==0.2.1 einops==0.8.2
for program in python demucs; do
    printf '#!/bin/sh\nPYTHONPATH=%q exec %q %s "$@"\n' "$folder/lib" "$python" \
        "$([[ $program == python ]] || echo "-m $program")" > "$folder/bin/$program"
    chmod +x "$folder/bin/$program"
done
touch "$folder/.ready"
