#!/bin/bash
#SBATCH --job-name=demucs-continue
#SBATCH --nodes=1
#SBATCH --ntasks=8
#SBATCH --cpus-per-task=11
#SBATCH --gres=gpu:8
#SBATCH --output=slurm_out/%x-%j.out
#SBATCH --open-mode=append
#SBATCH --signal=USR2@300
#SBATCH --requeue
[ -n "${BASH_VERSION:-}" ] || { echo "$0 is for bash, not for sh: bash $0 $*" >&2; exit 2; }
set -euo pipefail
usage='Continues an experiment that was trained here.
    sbatch slurm_scripts/continue_run_slurm.sh SIG                 the same experiment, from its checkpoint
    sbatch slurm_scripts/continue_run_slurm.sh SIG EPOCHS          the same training, to EPOCHS epochs in all: it has
                                                                   another signature and the complete state of SIG
    sbatch slurm_scripts/continue_run_slurm.sh SIG OVERRIDE...     a new experiment, from the weights of SIG; with
                                                                   misc.KEY=VALUE or checkpoint.KEY=VALUE only, which
                                                                   are not part of the signature, the same experiment
    bash slurm_scripts/continue_run_slurm.sh [--dry-run] [--local] [--signature] SIG [EPOCHS | OVERRIDE...]'

# Slurm runs a copy of this file, so the search for the repository starts in the folder where the job was submitted.
here=${DEMUCS_REPO:-$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")}
[[ -n ${DEMUCS_REPO:-} || -f $here/common.sh ]] || here=${SLURM_SUBMIT_DIR:-$here}
until [[ -f $here/slurm_scripts/common.sh || $here == / ]]; do here=$(dirname "$here"); done
# shellcheck source=slurm_scripts/common.sh
source "$here/slurm_scripts/common.sh" "$here" || { echo "submit in the repository or set DEMUCS_REPO" >&2; exit 2; }

begin "$@"
set -- "${arguments[@]}"
[[ $# -gt 0 ]] || fail "which experiment? $usage"
check_experiment "$1"
old=$1
shift
extra_sbatch_args=${DEMUCS_TRAIN_SBATCH_ARGS[*]:-}
# Whether none of these settings is part of the signature (dora.exclude in conf/config.yaml).
outside_signature() {
    local setting
    for setting in "$@"; do
        [[ $setting == misc.*=* || $setting == checkpoint.*=* ]] || return 1
    done
}

if outside_signature "$@"; then
    if [[ $# -gt 0 ]]; then
        check_overrides "$@"
        find_signature -f "$old" "$@"
    fi
    [[ ${signature:=$old} == "$old" ]] \
        || fail "with these settings it would be experiment $signature, not $old: the configuration has changed since"
    [[ -z $signature_only ]] || { echo "$signature"; exit 0; }
    hand_over "$old" "$@"
    say "The same experiment goes on: $old, from its checkpoint, in outputs/xps/$old"
    launch train "$old" -- -m dora run -d -f "$old" "$@"
elif [[ $1 != *=* && $1 != -* ]]; then
    [[ $1 =~ ^[1-9][0-9]{0,5}$ ]] || fail "EPOCHS must be a whole number from 1 on, not '$1'"
    [[ $# -eq 1 ]] \
        || fail "$old goes on for $1 epochs as it is; other settings are another experiment: leave out the number"
    find_signature -f "$old" "epochs=$1"
    # Checked before submission if Python's packages are available here; otherwise in the job.
    [[ $mode != submit || -z $signature ]] || "$python" -m tools.extend --check "$old" "$1" >/dev/null || exit 2
    hand_over "$old" "$1"
    extend "$old" "$1"
    say "The training of $old goes on for $1 epochs in all, as $signature, in outputs/xps/$signature"
    launch train "$signature" -- -m dora run -d -f "$signature"
else
    check_overrides "$@"
    settings=(-f "$old" "$@" "continue_from=\"$old\"")
    find_signature "${settings[@]}"
    hand_over "$old" "$@"
    say "A new experiment: the settings of $old with $(quoted "$@"), starting from the weights of $old"
    launch train "$signature" -- -m dora run -d "${settings[@]}"
fi
