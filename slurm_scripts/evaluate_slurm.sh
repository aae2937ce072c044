#!/bin/bash
#SBATCH --job-name=demucs-evaluate
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --gres=gpu:1
#SBATCH --output=slurm_out/%x-%j.out
#SBATCH --open-mode=append
#SBATCH --requeue
[ -n "${BASH_VERSION:-}" ] || { echo "$0 is for bash, not for sh: bash $0 $*" >&2; exit 2; }
set -euo pipefail
usage='Scores a model on the test set, into demucs_results/runs/SIG; exports the experiment first if necessary.
    sbatch slurm_scripts/evaluate_slurm.sh SIG [OPTION...]         options are those of tools.test_pretrained
    sbatch --array=0-7 slurm_scripts/evaluate_slurm.sh SIG         eight jobs, each with an eighth of the songs
    sbatch --ntasks=4 --gres=gpu:4 slurm_scripts/evaluate_slurm.sh SIG   four processes that share the songs
    bash slurm_scripts/evaluate_slurm.sh [--dry-run] [--local] SIG [OPTION...]
SIG may also be the name of a published model or bag, or a folder of separated songs (a path with a /), which is scored
by tools.evaluate. Songs that were scored before with the same settings are not scored again.'

# Slurm runs a copy of this file, so the search for the repository starts in the folder where the job was submitted.
here=${DEMUCS_REPO:-$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")}
[[ -n ${DEMUCS_REPO:-} || -f $here/common.sh ]] || here=${SLURM_SUBMIT_DIR:-$here}
until [[ -f $here/slurm_scripts/common.sh || $here == / ]]; do here=$(dirname "$here"); done
# shellcheck source=slurm_scripts/common.sh
source "$here/slurm_scripts/common.sh" "$here" || { echo "submit in the repository or set DEMUCS_REPO" >&2; exit 2; }

begin "$@"
set -- "${arguments[@]}"
[[ $# -gt 0 && $1 != -* ]] || fail "which model? $usage"

is_published() {
    local remote=$repository/demucs/remote
    [[ $1 == hf://* || ( $1 != */* && -f $remote/$1.yaml ) ]] || grep -qsF "/$1-" "$remote/files.txt"
}

what=$1 release=()
if [[ $1 == */* && -d $1 ]]; then
    what=$(realpath "$1")
    scoring=(tools.evaluate "$what")
elif ! is_released "$1" && ! is_experiment "$1" && is_published "$1"; then
    scoring=(tools.test_pretrained -n "$1")
else
    check_model "$1"
    scoring=(tools.test_pretrained --repo ./release_models -n "$1") release=(--release "$1")
fi
shift

hand_over "$what" "$@"
# The songs are shared by the tasks of the job and by the jobs of the array; in mode "here" by the tasks only.
export DEMUCS_SHARED_SCORING=$mode
# A process that separates on CPUs uses all its cores; in training the loader workers use them.
launch tasks --all-cores "${release[@]}" -- -m "${scoring[@]}" "$@"
