#!/bin/bash
# Functions common to the batch scripts. Each of them sources this file with the root of the repository as argument,
# then calls
#   begin "$@"              options, cluster file; sets `mode` (job, submit, here) and `arguments`
#   ... its own checks ...
#   find_signature ARG...   for training: sets `signature`
#   hand_over ARGUMENT...   in mode "submit": sbatch, and the script ends
#   launch train|tasks|one ...    Python on every task, or once; a training may requeue its job
# Modes: "job": the batch script within its job; "submit": `bash x.sh` where sbatch exists; "here": without Slurm.

[ -n "${BASH_VERSION:-}" ] || { echo "$0 is for bash, not for sh: bash $0 $*" >&2; exit 2; }
set +o posix   # where sh is bash
repository=$(cd "$1" && pwd)
scripts=$repository/slurm_scripts
script=$(readlink -f "${BASH_SOURCE[1]}")
name=${script##*/}
[[ -f $scripts/$name ]] || name=${SLURM_JOB_NAME:-$name}   # inside a job the script is a copy called slurm_script

# shellcheck source=slurm_scripts/cluster_file.sh
source "$scripts/cluster_file.sh"

say()  { printf '[%s] %s\n' "$(date '+%F %T')" "$*"; }
fail() { printf '%s: %s\n' "$name" "$*" >&2; exit 2; }

# Prints a command line with shell quoting.
quoted() {
    local word line=''
    for word in "$@"; do
        [[ $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]] || word=${word@Q}
        line+=" $word"
    done
    printf '%s' "${line# }"
}

# Parses the options common to all scripts, at any position; all other words remain in `arguments`.
begin() {
    local argument forced='' in_job=''
    arguments=() dry_run='' test_only='' signature='' signature_only='' old=''
    for argument in "$@"; do
        case $argument in
            --local)   forced=1 ;;
            --dry-run) dry_run=1 ;;
            --test-only) test_only=1 ;;
            --signature) signature_only=1 ;;
            --help)    printf '%s\n' "${usage:?}"; exit 0 ;;
            *)         arguments+=("$argument") ;;
        esac
    done
    # Slurm runs a copy of the script, outside of the repository.
    [[ -z ${SLURM_JOB_ID:-} || -f $(dirname "$script")/common.sh ]] || in_job=1
    if [[ -n $forced ]]; then mode=here
    elif [[ -n $in_job ]]; then mode=job
    elif command -v sbatch >/dev/null; then mode=submit
    else mode=here
    fi
    [[ -z $test_only || $mode == submit ]] || fail "--test-only asks Slurm, and there is no sbatch here"
    read_cluster_file
}

# Whether an option is among `arguments`; removes it from them.
take() {
    local argument rest=() found=1
    for argument in "${arguments[@]}"; do
        if [[ $argument == "$1" ]]; then found=0; else rest+=("$argument"); fi
    done
    arguments=("${rest[@]}")
    return $found
}

# ------------------------------------------------------------------------------------------------ checks of arguments

# `old` is the experiment that goes on, if any.
check_overrides() {
    local override
    for override in "$@"; do
        case $override in
            -*)     fail "$override is not an override; these scripts pass key=value on, and no options of Dora" ;;
            *=*)    ;;
            *)      fail "$override is not an override of the form key=value" ;;
        esac
    done
    [[ -d ${DEMUCS_MUSDB:-$repository/datasets/musdbhq} ]] || without_musdb "$@" \
        || say "Note: no folder ${DEMUCS_MUSDB:-datasets/musdbhq} here; DEMUCS_MUSDB says where MUSDB18-HQ is" >&2
}

# Whether a training with these overrides, or the experiment `old`, needs no folder in DEMUCS_MUSDB: it trains on other
# songs only, or names the folder itself.
without_musdb() {
    local override
    for override in "$@"; do
        [[ ! ${override,,} =~ ^\+*dset\.use_musdb=(false|off|no|0)$ && $override != dset.musdb=* ]] || return 0
        [[ $override != dset=* ]] \
            || ! grep -qs '^ *use_musdb: false' "$repository/conf/dset/${override#dset=}.yaml" || return 0
    done
    [[ -n ${old:-} ]] && grep -qisE '"(\+*dset\.use_musdb=(false|off|no|0)"|dset\.musdb=)' \
        "$repository/outputs/xps/$old/.argv.json"
}

is_experiment() { [[ -n $1 && $1 != */* && -f $repository/outputs/xps/$1/.argv.json ]]; }

has_weights() { [[ -f $repository/outputs/xps/$1/best.th ]]; }

is_released() {
    local models=$repository/release_models
    [[ -n $1 && $1 != */* && -f $models/$1.th ]]
}

check_experiment() {
    is_experiment "$1" || fail "no experiment $1: $repository/outputs/xps/$1/.argv.json does not exist"
}

# A model can be used if it is exported, or if the experiment has weights to export.
check_model() {
    if ! is_released "$1"; then
        is_experiment "$1" || fail "no model $1: neither release_models/$1.th nor outputs/xps/$1 exists in $repository"
        has_weights "$1" || fail "experiment $1 has no weights yet (outputs/xps/$1 holds no best.th)"
    fi
}

# --------------------------------------------------------------------------------------------------------- submission

# Sets `signature` to that of the experiment with these overrides (or -f SIG and overrides). If Python's packages are
# missing, as on some login nodes, it stays empty until the job runs. Exits if an override is wrong.
find_signature() {
    local status=0 again=()
    if [[ -z $signature_only && ( $mode == here || -n $dry_run && $mode == job ) ]]; then return; fi
    prepare_python
    # A requeued job reuses the stored signature, which is faster; the training verifies it.
    [[ $mode != job || ${SLURM_RESTART_COUNT:-0} == 0 ]] || again=(--again)
    signature=$("$python" -m tools.signature ${again[@]+"${again[@]}"} "$@") || status=$?
    if [[ $status == 3 && -n $signature_only ]]; then
        fail "$python lacks packages that the signature follows from: run this where they are, or set DEMUCS_PYTHON"
    elif [[ $status == 3 && $mode == submit ]]; then
        say "Note: Python's packages are missing here, so the signature is known only once the job runs" >&2
    elif [[ $status != 0 ]]; then
        exit 2
    fi
    if [[ -n $signature_only ]]; then
        echo "$signature"
        exit 0
    fi
}

# extend SIG EPOCHS: prepares the experiment that continues SIG, with its complete state, to EPOCHS epochs in all. Sets
# `signature` to it.
extend() {
    local check=()
    prepare_python
    [[ -z $dry_run ]] || check=(--check)
    signature=$("$python" -m tools.extend "${check[@]}" "$1" "$2") || exit 2
}

# sbatch_command OPTIONS... -- SCRIPT ARGUMENTS...: sets `command` to sbatch with these options, those of the cluster
# file, and the script.
sbatch_command() {
    local extra
    command=(sbatch)
    [[ -z $test_only ]] || command+=(--test-only)
    while [[ $1 != -- ]]; do
        command+=("$1")
        shift
    done
    read -rd '' -a extra <<< "${DEMUCS_SBATCH_ARGS[*]:-} ${extra_sbatch_args:-}" || true   # -d '': may have line breaks
    command+=("${extra[@]}" "${@:2}")
}

# Runs `command` in the repository, without the variables of a job that this script may run in.
submit_command() {
    local variable clean=(-u RANK -u LOCAL_RANK -u WORLD_SIZE -u MASTER_ADDR -u MASTER_PORT)
    for variable in "${!SLURM_@}"; do
        [[ $variable == SLURM_CONF || $variable == SLURM_CLUSTERS ]] || clean+=(-u "$variable")
    done
    mkdir -p "$repository/slurm_out"
    # SLURM_SUBMIT_DIR and the relative log folder follow from where sbatch runs.
    (cd "$repository" && exec env "${clean[@]}" DEMUCS_REPO="${code:-$repository}" "${command[@]}")
}

# Sets `code` to a copy of the repository in its current state, for jobs that run later.
keep_code() {
    code=$repository
    [[ -z $dry_run$test_only ]] || return 0
    # shellcheck source=slurm_scripts/code_snapshot.sh
    source "$scripts/code_snapshot.sh"
    code=$(code_snapshot "$repository") \
        || fail "no copy of the code for the job; DEMUCS_CODE_SNAPSHOT=0 lets it run what is there when it starts"
}

# Sets `training_options`, the options of sbatch for a training: the job is named after the signature, and starts only
# when no earlier job of that name runs.
training_options() {
    training_options=()
    [[ -n $signature ]] || return 0
    training_options=("--job-name=$signature" --dependency=singleton)
    [[ -z ${DEMUCS_CHAIN:-} ]] || training_options+=("--array=1-$DEMUCS_CHAIN%1")
}

# In mode "submit": sbatch, and the script ends.
hand_over() {
    [[ $mode == submit ]] || return 0
    training_options
    keep_code
    sbatch_command "${training_options[@]}" -- "$code/slurm_scripts/$name" "$@"
    if [[ -n $dry_run ]]; then
        echo "Would submit, in $repository:"
        echo "    $(quoted "${command[@]}")"
        echo "The job would run:"
        return
    fi
    [[ -z $signature ]] || say "Signature $signature, in outputs/xps/$signature"
    submit_command \
        || fail "sbatch refused the job; its reason stands above (without a cluster: --local runs on this machine)"
    exit 0
}

# Sets `python`, and activates the conda environment. Modules are loaded in jobs only, not where they are submitted.
prepare_python() {
    [[ -z ${python:-} ]] || return 0
    if [[ $mode != submit ]]; then set_up_node; fi
    if [[ -n ${DEMUCS_CONDA_ENV:-} && ( $mode != submit || -z ${DEMUCS_PYTHON:-} ) ]]; then activate_conda; fi
    if   [[ -n ${DEMUCS_PYTHON:-} ]]; then python=$DEMUCS_PYTHON
    elif [[ -n ${DEMUCS_CONDA_ENV:-} ]] && command -v python >/dev/null; then python=python
    elif [[ -x $repository/.venv/bin/python ]]; then python=$repository/.venv/bin/python
    else python=python3
    fi
    # Symlinks are kept, since Python finds a virtual environment by the path of its link.
    [[ $python != */* ]] || python=$(realpath --no-symlinks "$python")
    command -v "$python" >/dev/null || fail "no Python at $python: run make setup, or set DEMUCS_PYTHON"
    cd "$repository"
    export DEMUCS_REPO=$repository PYTHONUNBUFFERED=1 NCCL_DEBUG=${NCCL_DEBUG:-WARN}
    unset RANK LOCAL_RANK WORLD_SIZE MASTER_ADDR MASTER_PORT
    unset SLURM_EXPORT_ENV                                  # --export=NONE would leave the tasks without environment
    export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}     # Slurm 22.05 to 23.02 do not pass it on to srun
    [[ $mode == submit || -n $dry_run$signature_only ]] || describe
}

set_up_node() {
    if declare -F cluster_setup >/dev/null; then of_the_cluster cluster_setup; fi
}

# Activates DEMUCS_CONDA_ENV in this shell.
activate_conda() {
    local - conda_base reason
    set +eu            # activation scripts of packages may fail under these options
    if ! find_conda; then
        # On the login node conda may be missing because cluster_setup, which loads it, runs in jobs only.
        ! conda_is_active && ! { [[ $mode == submit ]] && declare -F cluster_setup >/dev/null; } || return 0
        fail "DEMUCS_CONDA_ENV=$DEMUCS_CONDA_ENV, but there is no conda in PATH or CONDA_EXE here: load it in" \
             "cluster_setup of the cluster file, or set DEMUCS_PYTHON there to bin/python of the environment"
    fi
    reason=$({ load_conda && conda activate "$DEMUCS_CONDA_ENV"; } 2>&1 >/dev/null) \
        || fail "conda cannot activate DEMUCS_CONDA_ENV=$DEMUCS_CONDA_ENV: make it with conda env create -f" \
                "environment-cuda.yml, or correct the cluster file (conda says: ${reason//[[:space:]]/ })"
    { load_conda && conda activate "$DEMUCS_CONDA_ENV"; } >&2 \
        || fail "conda cannot activate $DEMUCS_CONDA_ENV a second time"
}

# Sets `conda_base` to the folder of conda.
find_conda() {
    local program=conda
    command -v conda >/dev/null || program=${CONDA_EXE:-}
    [[ -n $program ]] && conda_base=$("$program" info --base 2>/dev/null) && [[ -d $conda_base ]]
}

conda_is_active() {
    [[ -n ${CONDA_PREFIX:-} ]] \
        && [[ ${CONDA_DEFAULT_ENV:-} == "$DEMUCS_CONDA_ENV" || $CONDA_PREFIX == "$DEMUCS_CONDA_ENV" ]]
}

# Defines the function `conda`, which a script does not inherit from the calling shell.
load_conda() {
    if [[ -f $conda_base/etc/profile.d/conda.sh ]]; then
        # shellcheck source=/dev/null
        source "$conda_base/etc/profile.d/conda.sh"
    else
        eval "$("$conda_base/bin/conda" shell.bash hook)"
    fi
}

describe() {
    [[ $mode == job ]] || log_here
    say "$name on $(hostname), job ${SLURM_JOB_ID:-none}, nodes ${SLURM_JOB_NODELIST:-this one}," \
        "commit $(git -C "$repository" rev-parse --short HEAD 2>/dev/null || echo unknown)"
}

# Copies the output of a run without Slurm to a log file, named like those of jobs.
log_here() {
    local log
    log=$repository/slurm_out/${name%.sh}-local-$(date +%Y%m%d-%H%M%S)-$$.out
    mkdir -p "$repository/slurm_out"
    exec 3>&1 4>&2 > >(tee -ia "$log") 2>&1
    tee_pid=$!
    trap 'exec 1>&3 2>&4; wait "$tee_pid" || true' EXIT
    say "log: $log"
}

# ------------------------------------------------------------------------------------------------------------- launch

# Last step of a script: replaces this process by Python, which then receives the signals (demucs/runs/launch.py).
launch() {   # train SIGNATURE | tasks | one, further options, --, arguments of Python
    local words=()
    while [[ $1 != -- ]]; do
        words+=("$1")
        shift
    done
    prepare_python
    exec "$python" -S -m tools.launch "${words[@]}" --mode "$mode" --name "$name" ${dry_run:+--dry-run} \
        ${tee_pid:+--tee "$tee_pid"} -- "$python" "${@:2}"
}
