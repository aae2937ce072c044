#!/bin/bash
#SBATCH --job-name=demucs-continue
#SBATCH --nodes=1
#SBATCH --ntasks=8
#SBATCH --cpus-per-task=11
#SBATCH --gres=gpu:8
#SBATCH --output=slurm_out/%x-%j.out
#SBATCH --open-mode=append
set -euo pipefail
usage='Continues an experiment that was trained here.
    sbatch slurm_scripts/continue_run_slurm.sh SIG                 the same experiment goes on from its checkpoint
    sbatch slurm_scripts/continue_run_slurm.sh SIG OVERRIDE...     a new experiment starts from the weights of SIG
    bash slurm_scripts/continue_run_slurm.sh [--dry-run] [--local] SIG [OVERRIDE...]'

# Slurm runs a copy of this file, so the repository is looked for from the folder where the job was submitted.
here=${DEMUCS_REPO:-$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")}
[[ -n ${DEMUCS_REPO:-} || -f $here/common.sh ]] || here=${SLURM_SUBMIT_DIR:-$here}
until [[ -f $here/slurm_scripts/common.sh || $here == / ]]; do here=$(dirname "$here"); done
# shellcheck source=slurm_scripts/common.sh
source "$here/slurm_scripts/common.sh" "$here" || { echo "submit in the repository or set DEMUCS_REPO" >&2; exit 2; }

begin "$@"
set -- "${arguments[@]}"
[[ $# -gt 0 ]] || fail "which experiment? $usage"
check_experiment "$1"
check_overrides "${@:2}"

extra_sbatch_args=${DEMUCS_TRAIN_SBATCH_ARGS[*]:-}
hand_over "$@"
signature=$1
shift
if [[ $# -eq 0 ]]; then
    say "The same experiment goes on: $signature, from its checkpoint, in outputs/xps/$signature"
    run_tasks -m dora run -d -f "$signature"
else
    say "A new experiment: the settings of $signature with $(quoted "$@"), starting from the weights of $signature"
    run_tasks -m dora run -d -f "$signature" "$@" "continue_from=\"$signature\""
fi
