# shellcheck shell=bash
# Set-up of a job of `dora launch` or `dora grid`. The batch script written by submitit sources this file in the
# repository (conf/config.yaml, slurm.setup). It is the counterpart of prepare_python and launch in common.sh.
# shellcheck source=slurm_scripts/common.sh
[ -n "${BASH_VERSION:-}" ] || { echo "$0 is for bash, not for sh: bash $0 $*" >&2; exit 2; }
source slurm_scripts/common.sh "$PWD"
mode=job dry_run='' test_only='' signature_only=''
read_cluster_file
set_up_node
if [[ -n ${DEMUCS_CONDA_ENV:-} ]]; then activate_conda; fi
set +eu
export NCCL_DEBUG=${NCCL_DEBUG:-WARN} OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}
unset RANK LOCAL_RANK WORLD_SIZE SLURM_EXPORT_ENV

# Replaces the last command of the script, srun OPTIONS... PYTHON -u -m submitit... FOLDER, so that the job ends like
# those of `launch train`.
srun() {
    local word python=''
    for word in "$@"; do
        [[ $word != -u ]] || break
        python=$word
    done
    exec "$python" -S -m tools.launch grid --mode job --name "$name" -- "$@"
}
