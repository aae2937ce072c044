#!/bin/bash
#SBATCH --job-name=demucs-separate
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --gres=gpu:1
#SBATCH --output=slurm_out/%x-%j.out
#SBATCH --open-mode=append
#SBATCH --requeue
[ -n "${BASH_VERSION:-}" ] || { echo "$0 is for bash, not for sh: bash $0 $*" >&2; exit 2; }
set -euo pipefail
usage='Separates songs with a model trained here, into separated/SIG/SONG/*.wav.
    sbatch slurm_scripts/slurm_separate.sh FILE [FILE...] SIG [OPTION...]     options are those of demucs, such as -o
                                                                         FOLDER, and --recursive, with which FILE may
                                                                         be a folder
    bash slurm_scripts/slurm_separate.sh [--dry-run] [--local] FILE [FILE...] SIG [OPTION...]'

# Slurm runs a copy of this file, so the search for the repository starts in the folder where the job was submitted.
here=${DEMUCS_REPO:-$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")}
[[ -n ${DEMUCS_REPO:-} || -f $here/common.sh ]] || here=${SLURM_SUBMIT_DIR:-$here}
until [[ -f $here/slurm_scripts/common.sh || $here == / ]]; do here=$(dirname "$here"); done
# shellcheck source=slurm_scripts/common.sh
source "$here/slurm_scripts/common.sh" "$here" || { echo "submit in the repository or set DEMUCS_REPO" >&2; exit 2; }

begin "$@"
set -- "${arguments[@]}"
files=()
while [[ $# -gt 0 && $1 != -* ]]; do
    files+=("$1")
    shift
done
[[ ${#files[@]} -ge 2 ]] || fail "a file and a model are needed: $usage"
signature=${files[-1]}
unset 'files[-1]'
check_model "$signature"
recursive=
for option in "$@"; do
    case $option in -r | --rec*) recursive=1 ;; esac
done
for index in "${!files[@]}"; do
    file=$(realpath -m --no-symlinks -- "${files[index]}")
    [[ -f $file && -r $file || -d $file && $recursive ]] || fail "no such file: $file"
    [[ -s $file ]] || fail "the file is empty: $file"
    files[index]=$file
done
options=("$@")
for index in "${!options[@]}"; do   # the output folder is relative to the current folder, not to the repository
    case ${options[index]} in
        -o | --out) [[ -z ${options[index+1]:-} ]] || options[index+1]=$(realpath -m -- "${options[index+1]}") ;;
        --out=*)    options[index]=--out=$(realpath -m -- "${options[index]#--out=}") ;;
    esac
done

hand_over "${files[@]}" "$signature" "${options[@]}"
launch one --release "$signature" -- -m demucs --repo ./release_models -n "$signature" "${options[@]}" "${files[@]}"
