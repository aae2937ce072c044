# shellcheck shell=bash
# What a job of `dora launch` and `dora grid` needs. The script that submitit writes sources this, in the repository
# (conf/config.yaml, slurm.setup); it is the counterpart of prepare_python, run_tasks and train of common.sh.
# shellcheck source=slurm_scripts/common.sh
[ -n "${BASH_VERSION:-}" ] || { echo "$0 is for bash, not for sh: bash $0 $*" >&2; exit 2; }
source slurm_scripts/common.sh "$PWD"
mode=job dry_run='' test_only='' signature_only=''
read_cluster_file
set_up_node
if [[ -n ${DEMUCS_CONDA_ENV:-} ]]; then activate_conda; fi
set +eu
export NCCL_DEBUG=${NCCL_DEBUG:-WARN} OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1} MASTER_ADDR MASTER_PORT
unset RANK LOCAL_RANK WORLD_SIZE SLURM_EXPORT_ENV
MASTER_ADDR=$(first_node)
MASTER_PORT=$(free_port "$SLURM_JOB_ID")

# What the script calls last: srun OPTIONS... PYTHON -u -m submitit... FOLDER. The job then ends as one of `train` does.
srun() {
    local all=("$@") options=() experiment=''
    while [[ $# -gt 1 && $2 != -u ]]; do
        [[ $1 == --kill-on-bad-exit=* ]] || options+=("$1")
        shift
    done
    if lends_ports; then options+=(--resv-ports=1); fi
    python=$1
    experiment=$("$python" -m demucs.scheduling "${!#}" | tail -n1)
    if [[ $experiment != /* ]]; then
        say "Which experiment this is cannot be told, so submitit alone decides whether the job goes on"
        command srun "${all[@]}"
        return
    fi
    experiment_folders=${experiment%/*}
    leave_the_end_to_us
    supervise "${experiment##*/}" grid_step "$@"
}

grid_step() { DEMUCS_SUPERVISED=1 command srun "${step_end[@]}" "${options[@]}" "$@"; }

# An array is many experiments here, and no chain.
requeue() { "$python" -m tools.requeue "$@" --alone --experiments "${experiment_folders:?}"; }
go_on() { back_into_the_queue; }
