#!/bin/bash
#SBATCH --job-name=demucs-report
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=2
#SBATCH --output=slurm_out/%x-%j.out
#SBATCH --open-mode=append
#SBATCH --requeue
[ -n "${BASH_VERSION:-}" ] || { echo "$0 is for bash, not for sh: bash $0 $*" >&2; exit 2; }
set -euo pipefail
usage='Draws figures and a report for each evaluated model, and for several also a comparison of all with the first.
Models without an evaluation are left out and named; it is an error if none has one.
    sbatch slurm_scripts/report_slurm.sh SIG...
    bash slurm_scripts/report_slurm.sh [--dry-run] [--local] SIG...'

# Slurm runs a copy of this file, so the search for the repository starts in the folder where the job was submitted.
here=${DEMUCS_REPO:-$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")}
[[ -n ${DEMUCS_REPO:-} || -f $here/common.sh ]] || here=${SLURM_SUBMIT_DIR:-$here}
until [[ -f $here/slurm_scripts/common.sh || $here == / ]]; do here=$(dirname "$here"); done
# shellcheck source=slurm_scripts/common.sh
source "$here/slurm_scripts/common.sh" "$here" || { echo "submit in the repository or set DEMUCS_REPO" >&2; exit 2; }

begin "$@"
set -- "${arguments[@]}"
[[ $# -gt 0 ]] || fail "which models? $usage"
hand_over "$@"
prepare_python
cd "$repository"

evaluated=()
for signature in "$@"; do
    # Normally the last of the jobs that share an evaluation collects the parts. If it did not see all of them, this
    # does.
    if [[ -n $dry_run || -f demucs_results/runs/$signature/evaluation.json ]] \
            || "$python" -m tools.test_pretrained --collect -n "$signature"; then
        evaluated+=("$signature")
    else
        say "No evaluation of $signature: it is left out"
    fi
done
[[ ${#evaluated[@]} -gt 0 ]] || fail "none of these is evaluated: $*"
draw() {   # SCRIPT SIGNATURE...
    local command=("$python" "graphing_scripts/$1" --results demucs_results "${@:2}")
    if [[ -n $dry_run ]]; then
        echo "    $(quoted "${command[@]}")"
    else
        say "$(quoted "${command[@]}")"
        "${command[@]}"
    fi
}
for signature in "${evaluated[@]}"; do
    [[ ! -f demucs_results/runs/$signature/history.json ]] || draw plot_results.py "$signature"
    draw plot_scores.py "$signature"
    draw report.py "$signature"
done
if [[ ${#evaluated[@]} -gt 1 ]]; then
    draw plot_scores.py "${evaluated[@]}"
    draw report.py "${evaluated[@]}"
fi
say "The report: demucs_results/report.html"
[[ ${#evaluated[@]} -eq $# ]]
