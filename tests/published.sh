#!/bin/bash
# Published Demucs 4.1.0 in folder $1, on the packages of our own environment: the peer of tests and benchmarks, so that
# both sides run on the same torch. Its code without its dependencies is small. All of it runs there, except that its
# training data loader needs two functions of torchaudio that 2.9 removed: benchmarks/peers/sound_files.py has them.
# The files of tests/golden were written with torch 2.8; made again here they are equal up to rounding.
[ -n "${BASH_VERSION:-}" ] || { echo "$0 is for bash, not for sh: bash $0 $*" >&2; exit 2; }
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=$(realpath -m "$1")
python=$PWD/.venv/bin/python
rm -rf "$folder"
mkdir -p "$folder/bin"
"$python" -m pip install --disable-pip-version-check --quiet --no-deps --target "$folder/lib" \
    demucs==4.1.0 sphn==0.2.1 einops==0.8.2 hydra-colorlog==1.2.0 colorlog==6.12.0
for program in python demucs; do
    printf '#!/bin/sh\nexport PYTHONPATH=%q${PYTHONPATH:+:$PYTHONPATH}\nexec %q %s "$@"\n' "$folder/lib" "$python" \
        "$([[ $program == python ]] || echo "-m $program")" > "$folder/bin/$program"
    chmod +x "$folder/bin/$program"
done
touch "$folder/.ready"
