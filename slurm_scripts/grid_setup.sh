# shellcheck shell=bash
# What a job of `dora launch` and `dora grid` needs before Python starts. The script that submitit writes sources this, in
# the repository (conf/config.yaml, slurm.setup); it is the counterpart of prepare_python and run_tasks of common.sh.
# shellcheck source=slurm_scripts/common.sh
source slurm_scripts/common.sh "$PWD"
mode=job dry_run='' test_only='' signature_only=''
read_cluster_file
set +eu
if declare -F cluster_setup >/dev/null; then cluster_setup; fi
export NCCL_DEBUG=${NCCL_DEBUG:-WARN} OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1} MASTER_ADDR MASTER_PORT
unset RANK LOCAL_RANK WORLD_SIZE SLURM_EXPORT_ENV
MASTER_ADDR=$(first_node)
MASTER_PORT=$(free_port "$SLURM_JOB_ID")
