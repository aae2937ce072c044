#!/bin/bash
#SBATCH --job-name=demucs-release
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --gres=gpu:1
#SBATCH --output=slurm_out/%x-%j.out
#SBATCH --open-mode=append
#SBATCH --requeue
[ -n "${BASH_VERSION:-}" ] || { echo "$0 is for bash, not for sh: bash $0 $*" >&2; exit 2; }
set -euo pipefail
usage='Exports trained experiments to release_models/SIG.th, or networks of several targets to one separator.
    sbatch slurm_scripts/slurm_release.sh [SIG...] [OPTION...]     without SIG: the newest experiment that has weights
    sbatch slurm_scripts/slurm_release.sh --separator SIG... [OPTION...]   options are those of tools.export_separator
    bash slurm_scripts/slurm_release.sh [--dry-run] [--local] ...  options are those of tools.export, last'

# Slurm runs a copy of this file, so the search for the repository starts in the folder where the job was submitted.
here=${DEMUCS_REPO:-$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")}
[[ -n ${DEMUCS_REPO:-} || -f $here/common.sh ]] || here=${SLURM_SUBMIT_DIR:-$here}
until [[ -f $here/slurm_scripts/common.sh || $here == / ]]; do here=$(dirname "$here"); done
# shellcheck source=slurm_scripts/common.sh
source "$here/slurm_scripts/common.sh" "$here" || { echo "submit in the repository or set DEMUCS_REPO" >&2; exit 2; }

# Prints the signature of the experiment whose best.th was written last.
newest_experiment() {
    local folder newest='' time latest=0
    for folder in "$repository"/outputs/xps/*/; do
        folder=${folder%/}
        if ! is_experiment "${folder##*/}" || ! has_weights "${folder##*/}"; then continue; fi
        time=$(stat -c %Y "$folder/best.th" 2>/dev/null || true)
        if [[ $time -ge $latest ]]; then
            latest=$time newest=${folder##*/}
        fi
    done
    echo "$newest"
}

begin "$@"
module=tools.export separator=()
if take --separator; then module=tools.export_separator separator=(--separator); fi
set -- "${arguments[@]}"
[[ $# -gt 0 && $1 != -* || ${#separator[@]} -eq 0 ]] || fail "which networks? $usage"
if [[ $# -eq 0 || $1 == -* ]]; then
    newest=$(newest_experiment)
    [[ -n $newest ]] || fail "no experiment in $repository/outputs/xps has weights"
    say "The newest experiment with weights is $newest"
    set -- "$newest" "$@"
fi
for signature in "$@"; do
    [[ $signature != -* ]] || break
    check_experiment "$signature"
    has_weights "$signature" || fail "experiment $signature has no weights yet (no best.th)"
done

hand_over ${separator[@]+"${separator[@]}"} "$@"
launch one -- -m "$module" "$@"
