#!/bin/bash
#SBATCH --job-name=demucs-train
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
usage='Trains HDemucs with the published settings of one student reproduction (180 epochs: signature 162f67a7).
    sbatch slurm_scripts/train_slurm.sh [EPOCHS=390] [OVERRIDE...]     an override is key=value, as in conf/config.yaml
    sbatch slurm_scripts/train_slurm.sh --plain [EPOCHS] [OVERRIDE...] the values of conf/ with these overrides only
    bash slurm_scripts/train_slurm.sh [--dry-run] [--local] ...        checks, then submits itself, or runs locally
    bash slurm_scripts/train_slurm.sh --signature ...                  only prints the signature
Other numbers of nodes and GPUs: sbatch --nodes=2 --ntasks=4 --ntasks-per-node=2 --gres=gpu:2 \
    slurm_scripts/train_slurm.sh 180'

# Slurm runs a copy of this file, so the search for the repository starts in the folder where the job was submitted.
here=${DEMUCS_REPO:-$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")}
[[ -n ${DEMUCS_REPO:-} || -f $here/common.sh ]] || here=${SLURM_SUBMIT_DIR:-$here}
until [[ -f $here/slurm_scripts/common.sh || $here == / ]]; do here=$(dirname "$here"); done
# shellcheck source=slurm_scripts/common.sh
source "$here/slurm_scripts/common.sh" "$here" || { echo "submit in the repository or set DEMUCS_REPO" >&2; exit 2; }

begin "$@"
plain=()
! take --plain || plain=(--plain)
set -- "${arguments[@]}"
epochs=''
if [[ $# -gt 0 && $1 != *=* ]]; then
    epochs=$1
    [[ $epochs =~ ^[1-9][0-9]{0,5}$ ]] || fail "EPOCHS must be a whole number from 1 on, not '$epochs'"
    shift
fi
check_overrides "$@"

extra_sbatch_args=${DEMUCS_TRAIN_SBATCH_ARGS[*]:-}
if [[ ${#plain[@]} -gt 0 ]]; then
    settings=(${epochs:+"epochs=$epochs"} "$@")
else
    epochs=${epochs:-390}
    settings=("epochs=$epochs" test.every=100 batch_size=32 hdemucs.norm_starts=100 hdemucs.cac=False test.split=True
        valid_apply=True model=hdemucs hdemucs.dconv_lstm=4 'ema.epoch=[0.9,0.95]' 'ema.batch=[0.9995,0.9999]' seed=42
        hdemucs.hybrid_old=True svd=base svd.penalty=1e-05 svd.dim=80 svd.convtr=True optim.lr=0.0003 "$@")
fi
find_signature "${settings[@]}"
hand_over "${plain[@]}" ${epochs:+"$epochs"} "$@"
launch train "$signature" -- -m dora run -d "${settings[@]}"
