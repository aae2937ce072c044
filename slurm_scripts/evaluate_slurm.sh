#!/bin/bash
#SBATCH --job-name=demucs-evaluate
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --gres=gpu:1
#SBATCH --output=slurm_out/%x-%j.out
#SBATCH --open-mode=append
set -euo pipefail
usage='Scores a model on the test set, into demucs_results/runs/SIG; exports the experiment first where needed.
    sbatch slurm_scripts/evaluate_slurm.sh SIG [OPTION...]         options are those of tools.test_pretrained
    bash slurm_scripts/evaluate_slurm.sh [--dry-run] [--local] SIG [OPTION...]'

# Slurm runs a copy of this file, so the repository is looked for from the folder where the job was submitted.
here=${DEMUCS_REPO:-$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")}
[[ -n ${DEMUCS_REPO:-} || -f $here/common.sh ]] || here=${SLURM_SUBMIT_DIR:-$here}
until [[ -f $here/slurm_scripts/common.sh || $here == / ]]; do here=$(dirname "$here"); done
# shellcheck source=slurm_scripts/common.sh
source "$here/slurm_scripts/common.sh" "$here" || { echo "submit in the repository or set DEMUCS_REPO" >&2; exit 2; }

begin "$@"
set -- "${arguments[@]}"
[[ $# -gt 0 && $1 != -* ]] || fail "which model? $usage"
check_model "$1"

hand_over "$@"
signature=$1
shift
release_if_needed "$signature"
run_one -m tools.test_pretrained --repo ./release_models -n "$signature" "$@"
