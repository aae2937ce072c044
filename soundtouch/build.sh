#!/bin/bash
# Puts the soundstretch program (pitch and tempo augmentation) at soundtouch/build/soundstretch, without root:
#   soundtouch/build.sh            download the source archive, check it, compile it (needs g++, tar with xz, curl)
#   soundtouch/build.sh ARCHIVE    the same from an archive that is here already
#   soundtouch/build.sh --link     only a link to the soundstretch found in PATH
# Another version of the source: SOUNDTOUCH_URL and SOUNDTOUCH_SHA256 (both), or ARCHIVE and SOUNDTOUCH_SHA256.
[ -n "${BASH_VERSION:-}" ] || { echo "$0 is for bash, not for sh: bash $0 $*" >&2; exit 2; }
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Version 2.3.2 as Debian 12 and Ubuntu 24.04 distribute its source.
urls=(http://deb.debian.org/debian/pool/main/s/soundtouch/soundtouch_2.3.2+ds1.orig.tar.xz
      http://archive.ubuntu.com/ubuntu/pool/universe/s/soundtouch/soundtouch_2.3.2+ds1.orig.tar.xz)
checksum=${SOUNDTOUCH_SHA256:-9f07b1583d798c3b1caa4a45941468992441688ce5c9164bed7121f12d3032a5}
[[ -z ${SOUNDTOUCH_URL:-} ]] || urls=("$SOUNDTOUCH_URL")
target=$here/build/soundstretch

fail() { printf 'soundtouch/build.sh: %s\n' "$*" >&2; exit 1; }

mkdir -p "$here/build" "$here/src"

if [[ ${1:-} == --link ]]; then
    program=$(command -v soundstretch) || fail "no soundstretch in PATH: apt-get install soundstretch, or run without --link"
    ln -sf "$program" "$target"
    echo "$target -> $program"
    exit
fi

command -v g++ >/dev/null || fail "g++ is missing: apt-get install g++ (on a cluster: module load gcc)"
if [[ -n ${1:-} ]]; then
    archive=$1
    [[ -f $archive ]] || fail "no such archive: $archive"
else
    archive=$here/src/${urls[0]##*/}
    for url in "${urls[@]}"; do
        [[ -s $archive ]] && break
        echo "Downloading $url"
        curl --fail --location --silent --show-error --max-time 300 --output "$archive.part" "$url" || continue
        mv "$archive.part" "$archive"
    done
    [[ -s $archive ]] || fail "no source could be downloaded; get it elsewhere and run: soundtouch/build.sh ARCHIVE"
fi
echo "$checksum  $archive" | sha256sum --check --quiet \
    || fail "$archive is not the expected source (sha256 $checksum); delete it, or set SOUNDTOUCH_SHA256"

source=$(mktemp -d "$here/src/unpacked.XXXXXX")
trap 'rm -rf "$source"' EXIT
tar --extract --file "$archive" --directory "$source" --strip-components=1
# -ffast-math as in the project's own build files: the output is then that of the distributions' binary, bit for bit.
g++ -O3 -ffast-math -DSOUNDTOUCH_FLOAT_SAMPLES -I"$source/include" "$source"/source/SoundTouch/*.cpp \
    "$source"/source/SoundStretch/{main,RunParameters,WavFile}.cpp -o "$source/soundstretch"
# The program ends with status -1 after it has printed its name and version.
version=$("$source/soundstretch" 2>&1 | grep -m1 -o 'SoundStretch v[0-9.]*' || true)
[[ -n $version ]] || fail "the compiled program does not run"
mv "$source/soundstretch" "$target"
echo "$target: $version"
