#!/bin/bash
# Installation of the programs outside Python that this repository uses. As root, missing ones are installed with apt;
# otherwise they are listed, with the command to install them. Slurm is optional: without it the batch scripts run
# locally.
[ -n "${BASH_VERSION:-}" ] || { echo "$0 is for bash, not for sh: bash $0 $*" >&2; exit 2; }
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3}
PATH=$PATH:/usr/sbin:/sbin   # folders of daemons, not in the PATH of ordinary users

# Whether a test fails in the distribution's Python; for other Pythons apt has no packages.
python_lacks() {
    [[ $(command -v "$python") == /usr/bin/* ]] && ! "$python" -c "$1" >/dev/null 2>&1
}

# Prints the names of Debian packages whose command is missing.
missing() {
    [[ -x $repository/soundtouch/build/soundstretch || -x ${SOUNDSTRETCH:-} ]] || command -v soundstretch >/dev/null \
        || echo soundstretch
    command -v ffmpeg >/dev/null || echo ffmpeg
    command -v slurmctld >/dev/null || echo slurmctld
    command -v slurmd >/dev/null || echo slurmd
    command -v sbatch >/dev/null || echo slurm-client
    command -v gcc >/dev/null || echo gcc
    # Tests open the reports in a browser if there is one; continuous integration must have it.
    [[ -z ${CI:-} ]] || command -v chromium >/dev/null || command -v chromium-browser >/dev/null || echo chromium
    if python_lacks 'import venv, ensurepip'; then echo python3-venv; fi
    if python_lacks 'import os, sysconfig; os.stat(os.path.join(sysconfig.get_path("include"), "Python.h"))'; then
        echo python3-dev
    fi
}

# Debian starts installed daemons. The private Slurm of the demo starts its own, so policy-rc.d prevents that.
install() {
    local policy=/usr/sbin/policy-rc.d
    if [[ ! -e $policy ]]; then
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        printf '#!/bin/sh\nexit 101\n' > $policy
        chmod +x $policy
    fi
    apt-get update
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

mapfile -t packages < <(missing)
[[ ${#packages[@]} -gt 0 ]] || exit 0

if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
    echo "Installing ${packages[*]}"
    install "${packages[@]}" || echo "apt-get failed; its reason stands above" >&2
    mapfile -t packages < <(missing)
    [[ ${#packages[@]} -gt 0 ]] || exit 0
fi

echo "Not installed: ${packages[*]}"
echo "    sudo apt-get install -y ${packages[*]}"
for package in "${packages[@]}"; do
    case $package in
        soundstretch) echo "  $package (augmentation by repitching): or soundtouch/build.sh, or environment-cuda.yml" ;;
        ffmpeg) echo "  $package (reading mp3, m4a): or environment-cuda.yml" ;;
        slurm*) echo "  $package (private cluster of the demo): without it the same scripts run without Slurm" ;;
        gcc | python3-dev) echo "  $package: only for the extra 'quantize'" ;;
        python3-venv) echo "  $package: without it no environment can be made" ;;
    esac
done
