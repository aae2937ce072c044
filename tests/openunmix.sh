#!/bin/bash
# openunmix 1.3.0 in folder $1, on the packages of our own environment: the peer of tests and benchmarks of Open-Unmix. Its
# networks, Separator, command and files run there; its training script and file datasets do not, since torchaudio 2.9
# removed what they call.
[ -n "${BASH_VERSION:-}" ] || { echo "$0 is for bash, not for sh: bash $0 $*" >&2; exit 2; }
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=$(realpath -m "$1")
python=$PWD/.venv/bin/python
rm -rf "$folder"
mkdir -p "$folder/bin"
"$python" -m pip install --disable-pip-version-check --quiet --no-deps --target "$folder/lib" openunmix==1.3.0
printf '#!/bin/sh\nexport PYTHONPATH=%q${PYTHONPATH:+:$PYTHONPATH}\nexec %q "$@"\n' "$folder/lib" "$python" > "$folder/bin/python"
chmod +x "$folder/bin/python"
touch "$folder/.ready"
