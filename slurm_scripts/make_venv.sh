#!/bin/bash
# Creation or update of a Python environment with pinned packages:
#   make_venv.sh FOLDER PIP_ARGUMENT...      (run by make in the root of the repository)
# $PYTHON selects the interpreter; otherwise the first one found of 3.10 or newer.
[ -n "${BASH_VERSION:-}" ] || { echo "$0 is for bash, not for sh: bash $0 $*" >&2; exit 2; }
set -euo pipefail

folder=$1
shift

fail() { printf 'make_venv.sh: %s\n' "$*" >&2; exit 1; }

suits() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (4,))' 2>/dev/null
}

find_python() {
    local candidate
    if [[ -n ${PYTHON:-} ]]; then
        suits "$PYTHON" || fail "PYTHON=$PYTHON is not a Python from 3.10 to below 4"
        echo "$PYTHON"
        return
    fi
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
        if suits "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "no Python from 3.10 to below 4 found (python3 is $(python3 --version 2>&1 || true));" \
         "name one: make setup PYTHON=/path/to/python3.11"
}

if ! "$folder/bin/python" -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    "$python" -c 'import venv, ensurepip' 2>/dev/null \
        || fail "$python cannot make environments: apt-get install python3-venv (or python3.x-venv of its version)," \
                "or use conda: conda env create -f environment-cuda.yml"
    "$python" -m venv --clear "$folder"
fi

rm -f "$folder/.ready"
if ! "$folder/bin/python" -m pip install --disable-pip-version-check "$@"; then
    case "$*" in
        *quantize*) fail "if diffq failed to build: it has no wheels and needs gcc and Python's headers" \
                         "(apt-get install gcc python3-dev); without it, leave out the extra 'quantize'" ;;
        *) fail "pip could not install the packages into $folder; its reason stands above" ;;
    esac
fi
touch "$folder/.ready"
