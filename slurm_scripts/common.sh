#!/bin/bash
# What the batch scripts share. Each of them sources this file with the root of the repository as argument, then calls
#   begin "$@"              options, cluster file; sets `mode` (job, submit, here) and `arguments`
#   ... its own checks ...
#   find_signature ARG...   for training: sets `signature`
#   hand_over ARGUMENT...   in mode "submit": sbatch, and the script ends
#   train, run_tasks or run_one    Python on every task, or once; `train` may put its job back into the queue
# Modes: "job" is the batch script inside its job, "submit" is `bash x.sh` where sbatch exists, "here" is without Slurm.

[ -n "${BASH_VERSION:-}" ] || { echo "$0 is for bash, not for sh: bash $0 $*" >&2; exit 2; }
set +o posix   # where sh is bash
repository=$(cd "$1" && pwd)
scripts=$repository/slurm_scripts
script=$(readlink -f "${BASH_SOURCE[1]}")
name=${script##*/}
[[ -f $scripts/$name ]] || name=${SLURM_JOB_NAME:-$name}   # inside a job the script is a copy called slurm_script

say()  { printf '[%s] %s\n' "$(date '+%F %T')" "$*"; }
fail() { printf '%s: %s\n' "$name" "$*" >&2; exit 2; }

# A command line as one would type it.
quoted() {
    local word line=''
    for word in "$@"; do
        [[ $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]] || word=${word@Q}
        line+=" $word"
    done
    printf '%s' "${line# }"
}

# Options of ours may stand anywhere; everything else is left in `arguments`.
begin() {
    local argument forced='' in_job=''
    arguments=() dry_run='' test_only='' signature='' signature_only=''
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
    # Slurm runs a copy of the script, which lies in no repository.
    [[ -z ${SLURM_JOB_ID:-} || -f $(dirname "$script")/common.sh ]] || in_job=1
    if [[ -n $forced ]]; then mode=here
    elif [[ -n $in_job ]]; then mode=job
    elif command -v sbatch >/dev/null; then mode=submit
    else mode=here
    fi
    [[ -z $test_only || $mode == submit ]] || fail "--test-only asks Slurm, and there is no sbatch here"
    read_cluster_file
}

# The one place where a cluster is described: a file of settings, and a function cluster_setup for modules.
read_cluster_file() {
    cluster_file=$scripts/cluster.env
    if [[ -n ${DEMUCS_CLUSTER:-} ]]; then
        cluster_file=$(realpath -m "$DEMUCS_CLUSTER")
        [[ -e $cluster_file ]] || fail "DEMUCS_CLUSTER names no file: $DEMUCS_CLUSTER"
        export DEMUCS_CLUSTER=$cluster_file
    fi
    if [[ -e $cluster_file || -L $cluster_file ]]; then
        check_cluster_file
        of_the_cluster source "$cluster_file"
        check_settings
    fi
    # Jobs run in a copy of the code, from where a relative path leads elsewhere.
    if [[ ${DEMUCS_MUSDB:-/} != /* ]]; then
        if [[ -d $DEMUCS_MUSDB ]]; then DEMUCS_MUSDB=$PWD/$DEMUCS_MUSDB; else DEMUCS_MUSDB=$repository/$DEMUCS_MUSDB; fi
        export DEMUCS_MUSDB
    fi
}

# What bash would stumble over half-way, or take into the values without a word.
check_cluster_file() {
    local reason
    [[ -f $cluster_file && -r $cluster_file ]] || fail "$cluster_file cannot be read: it must be a file that you may read"
    ! grep -q $'\r' "$cluster_file" \
        || fail "$cluster_file has lines that end as on Windows (CRLF): sed -i 's/\\r\$//' ${cluster_file@Q}"
    ! LC_ALL=C grep -q $'^\xef\xbb\xbf' "$cluster_file" \
        || fail "$cluster_file begins with a byte order mark: sed -i '1s/^\\xef\\xbb\\xbf//' ${cluster_file@Q}"
    reason=$(BASH_ENV='' LC_ALL=C bash -n "$cluster_file" 2>&1) || true
    reason=${reason%%$'\n'*}
    [[ -z $reason ]] || fail "$cluster_file is no bash that can be read: ${reason#"$cluster_file: "}; correct that line" \
                             "(a quote that is not closed shows at the end of the file)"
    check_substitutions
}

# Of a ${...} that it cannot read bash only says so, leaves its command out, and goes on with the next. Comments and what is
# in single quotes do not count.
check_substitutions() {
    local LC_ALL=C line number=0 rest quoted="'[^']*'" \
          legal='\$\{[!#]?([A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*#?$!-])[]}:=?+#%/^,@[*-]' left='(^|[^\\])\$\{'
    while IFS= read -r line || [[ -n $line ]]; do
        number=$((number + 1)) rest=$line
        [[ ! $line =~ ^[[:space:]]*'#' ]] || continue
        while [[ $rest =~ $quoted || $rest =~ $legal ]]; do rest=${rest/"${BASH_REMATCH[0]}"/}; done
        [[ ! $rest =~ $left ]] || fail "$cluster_file: line $number has a \${...} that bash cannot read; correct it:" \
                                       "${line:0:100}"
    done < "$cluster_file"
}

# Runs code of the cluster file. It and what it calls, such as modules, is not written for the options of these scripts,
# and may print, which must not be taken for a result. A command of its own that fails ends the script, as does an exit.
of_the_cluster() {
    local - IFS=$' \t\n' cluster_status cluster_level=$BASH_SUBSHELL cluster_from=$PWD cluster_code=("$@")
    # Its own variables may be called as ours.
    local repository=$repository scripts=$scripts script=$script name=$name mode=${mode:-} cluster_file=${cluster_file:-} \
          dry_run=${dry_run:-} test_only=${test_only:-} signature=${signature:-} signature_only=${signature_only:-} \
          arguments=("${arguments[@]}") usage=${usage:-}
    set --             # a file that is sourced sees these
    set +eu -E
    trap 'cluster_failed "it ends the script, by exit or by an option such as set -u: leave that out"' EXIT
    trap 'cluster_status=$?; cluster_command_failed "$LINENO" "${FUNCNAME[0]:-}" "${BASH_SOURCE[0]:-}"' ERR
    "${cluster_code[@]}" >&2
    cluster_status=$?
    trap - ERR EXIT
    # A condition that is the last line leaves 1.
    [[ $cluster_status -le 1 ]] || cluster_failed "it returned $cluster_status"
    cd "$cluster_from" || cluster_failed "it left $cluster_from, which is gone"
    share_settings
}

# Of commands in the file itself and in cluster_setup: those of others may fail and be asked about it.
cluster_command_failed() {   # LINE FUNCTION FILE
    [[ $BASH_SUBSHELL == "$cluster_level" && $3 == "$cluster_file" && ( $2 == source || $2 == cluster_setup ) ]] || return 0
    local lines=() text
    mapfile -t lines < "$cluster_file"
    read -r text <<< "${lines[$1 - 1]}"   # without its indentation
    [[ ${#text} -le 200 ]] || text=${text:0:200}...
    cluster_failed "line $1 failed with status $cluster_status: $text; correct it, or end it with || true"
}

cluster_failed() {
    trap - ERR EXIT
    fail "$cluster_file: $*"
}

# Settings count for sbatch and Python, whether the file exports or declares them or not. Options of sbatch are read by
# these scripts only, and would come twice where a file adds to them.
share_settings() {
    local setting attributes
    for setting in "${!SBATCH_@}" "${!DEMUCS_@}" "${!NCCL_@}" "${!GLOO_@}"; do
        attributes=$(declare -p "$setting" 2>/dev/null) || true
        attributes=${attributes#declare -} attributes=${attributes%% *}
        [[ $attributes != *[aA]* ]] || continue
        [[ $attributes != *r* ]] || cluster_failed "it makes $setting read-only: leave readonly, or declare -r, out"
        if [[ $setting == DEMUCS_*ARGS ]]; then
            declare -g "$setting=${!setting}"
        else
            declare -gx "$setting=${!setting}"
        fi
    done
}

# A value that came out empty or of two lines is a command that failed or a quote that was forgotten.
check_settings() {
    local setting
    for setting in "${!SBATCH_@}" DEMUCS_MUSDB; do
        grep -q "^[^#]*$setting=" "$cluster_file" && [[ -n ${!setting+set} ]] || continue
        [[ -n ${!setting} ]] || fail "$cluster_file leaves $setting empty: give it a value, or leave its line out"
        [[ ${!setting} != *$'\n'* ]] || fail "$cluster_file gives $setting a value of several lines: close its quote"
    done
}

# ------------------------------------------------------------------------------------------------ checks of arguments

check_overrides() {
    local override
    for override in "$@"; do
        case $override in
            -*)     fail "$override is not an override; these scripts pass key=value on, and no options of Dora" ;;
            *=*)    ;;
            *)      fail "$override is not an override of the form key=value" ;;
        esac
    done
    [[ -d ${DEMUCS_MUSDB:-$repository/datasets/musdbhq} ]] \
        || say "Note: no folder ${DEMUCS_MUSDB:-datasets/musdbhq} here; DEMUCS_MUSDB says where MUSDB18-HQ is" >&2
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

# A model can be used when it is exported, or can be exported first.
check_model() {
    if ! is_released "$1"; then
        is_experiment "$1" || fail "no model $1: neither release_models/$1.th nor outputs/xps/$1 exists in $repository"
        has_weights "$1" || fail "experiment $1 has no weights yet (outputs/xps/$1 holds no best.th)"
    fi
}

release_if_needed() {
    local best=$repository/outputs/xps/$1/best.th model=$repository/release_models/$1.th
    if is_released "$1"; then
        [[ $best -nt $model ]] || return 0
        say "release_models/$1.th is older than the weights of experiment $1: exporting them again"
    else
        say "release_models/$1.th does not exist: exporting experiment $1 first"
    fi
    run_one -m tools.export "$1"
}

# ------------------------------------------------------------------------------------------------------- handing over

# Sets `signature` to that of the experiment that these overrides (or -f SIG and overrides) mean. Where the packages are
# missing, as on some login nodes, it stays empty until the job runs. Ends the script where an override is wrong.
find_signature() {
    local status=0 again=()
    if [[ -z $signature_only && ( $mode == here || -n $dry_run && $mode == job ) ]]; then return; fi
    prepare_python
    # A job that was put back knows it, and its training ends where that is not so any more.
    [[ $mode != job || ${SLURM_RESTART_COUNT:-0} == 0 ]] || again=(--again)
    signature=$("$python" -m tools.signature ${again[@]+"${again[@]}"} "$@") || status=$?
    if [[ $status == 3 && -n $signature_only ]]; then
        fail "$python lacks packages that the signature follows from: run this where they are, or set DEMUCS_PYTHON"
    elif [[ $status == 3 && $mode == submit ]]; then
        say "Note: without the packages of Python the signature is known only once the job runs" >&2
    elif [[ $status != 0 ]]; then
        exit 2
    fi
    if [[ -n $signature_only ]]; then
        echo "$signature"
        exit 0
    fi
}

# Sets `signature` to the experiment that goes on for EPOCHS epochs with all that experiment SIG has, and prepares it.
extend() {
    local check=()
    prepare_python
    [[ -z $dry_run ]] || check=(--check)
    signature=$("$python" -m tools.extend "${check[@]}" "$1" "$2") || exit 2
}

# Sets `command` to sbatch with its options, what the cluster file adds, `--` and then a script with its arguments.
sbatch_command() {
    local extra
    command=(sbatch)
    [[ -z $test_only ]] || command+=(--test-only)
    while [[ $1 != -- ]]; do
        command+=("$1")
        shift
    done
    read -rd '' -a extra <<< "${DEMUCS_SBATCH_ARGS[*]:-} ${extra_sbatch_args:-}" || true   # of any number of lines
    command+=("${extra[@]}" "${@:2}")
}

# Runs `command` in the repository, with nothing of a job that we may be in ourselves.
submit_command() {
    local variable clean=(-u RANK -u LOCAL_RANK -u WORLD_SIZE -u MASTER_ADDR -u MASTER_PORT)
    for variable in "${!SLURM_@}"; do
        [[ $variable == SLURM_CONF || $variable == SLURM_CLUSTERS ]] || clean+=(-u "$variable")
    done
    mkdir -p "$repository/slurm_out"
    # SLURM_SUBMIT_DIR and the relative log folder follow from where sbatch runs.
    (cd "$repository" && exec env "${clean[@]}" DEMUCS_REPO="${code:-$repository}" "${command[@]}")
}

# Sets `code` to the repository as it is now, for jobs that run later.
keep_code() {
    code=$repository
    [[ -z $dry_run$test_only ]] || return 0
    # shellcheck source=slurm_scripts/code_snapshot.sh
    source "$scripts/code_snapshot.sh"
    code=$(code_snapshot "$repository") \
        || fail "no copy of the code for the job; DEMUCS_CODE_SNAPSHOT=0 lets it run what is there when it starts"
}

# Sets `training_options`, of sbatch for a job that trains: its signature is its name, and it runs when no earlier one of
# that name does.
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

# Python and its conda environment, wherever something of Python runs; modules only in jobs, not where they are submitted.
prepare_python() {
    [[ -z ${python:-} ]] || return 0
    if [[ $mode != submit ]]; then set_up_node; fi
    if [[ -n ${DEMUCS_CONDA_ENV:-} && ( $mode != submit || -z ${DEMUCS_PYTHON:-} ) ]]; then activate_conda; fi
    if   [[ -n ${DEMUCS_PYTHON:-} ]]; then python=$DEMUCS_PYTHON
    elif [[ -n ${DEMUCS_CONDA_ENV:-} ]] && command -v python >/dev/null; then python=python
    elif [[ -x $repository/.venv/bin/python ]]; then python=$repository/.venv/bin/python
    else python=python3
    fi
    [[ $python != */* ]] || python=$(realpath --no-symlinks "$python")   # an environment is found by the link
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

# Makes DEMUCS_CONDA_ENV the environment of this shell.
activate_conda() {
    local - conda_base reason
    set +eu            # what runs at activation is not written for these
    if ! find_conda; then
        # On the node where one submits it may be cluster_setup that would bring it.
        ! conda_is_active && ! { [[ $mode == submit ]] && declare -F cluster_setup >/dev/null; } || return 0
        fail "DEMUCS_CONDA_ENV=$DEMUCS_CONDA_ENV, but there is no conda in PATH or CONDA_EXE here: load it in" \
             "cluster_setup of the cluster file, or set DEMUCS_PYTHON there to bin/python of the environment"
    fi
    reason=$({ load_conda && conda activate "$DEMUCS_CONDA_ENV"; } 2>&1 >/dev/null) \
        || fail "conda cannot activate DEMUCS_CONDA_ENV=$DEMUCS_CONDA_ENV: make it with conda env create -f" \
                "environment-cuda.yml, or correct the cluster file (conda says: ${reason//[[:space:]]/ })"
    { load_conda && conda activate "$DEMUCS_CONDA_ENV"; } >&2 || fail "conda cannot activate $DEMUCS_CONDA_ENV a second time"
}

# Sets `conda_base` to the folder of conda.
find_conda() {
    local program=conda
    command -v conda >/dev/null || program=${CONDA_EXE:-}
    [[ -n $program ]] && conda_base=$("$program" info --base 2>/dev/null) && [[ -d $conda_base ]]
}

conda_is_active() {
    [[ -n ${CONDA_PREFIX:-} && ( ${CONDA_DEFAULT_ENV:-} == "$DEMUCS_CONDA_ENV" || $CONDA_PREFIX == "$DEMUCS_CONDA_ENV" ) ]]
}

# The function `conda`, which a script does not inherit from the shell that calls it.
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

# A log of its own for a run without Slurm, named like those of jobs.
log_here() {
    local log
    log=$repository/slurm_out/${name%.sh}-local-$(date +%Y%m%d-%H%M%S)-$$.out
    mkdir -p "$repository/slurm_out"
    exec 3>&1 4>&2 > >(tee -ia "$log") 2>&1
    tee_pid=$!
    trap 'exec 1>&3 2>&4; wait "$tee_pid" || true' EXIT
    say "log: $log"
}

# ------------------------------------------------------------------------------------------------------------ running

step_end=(--kill-on-bad-exit=1)   # options of srun: what becomes of the tasks when one ends badly

# Every task runs Python with these arguments and finds RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT.
run_tasks() {
    local count
    prepare_python
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}   # the CPUs of a task are its loader workers'
    if [[ $mode == here ]]; then
        export MASTER_ADDR=127.0.0.1 MASTER_PORT
        MASTER_PORT=$(free_port $$)
        count=$(local_tasks)
        say_idle "$count" "$(visible_gpus)"
        run_here "$count" "$@"
        return
    fi
    # Expanded by each task: only there are the ranks known. exec leaves no shell between Slurm's signals and Python.
    # shellcheck disable=SC2016
    local step_options=() task='export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS
        export MASTER_PORT=${SLURM_STEP_RESV_PORTS:-$MASTER_PORT}
        MASTER_PORT=${MASTER_PORT%%[-,]*}; exec "$@"'   # of several, the first
    if [[ $mode == job && -z $dry_run ]]; then
        spread_tasks
        export MASTER_ADDR MASTER_PORT
        MASTER_ADDR=$(first_node)
        MASTER_PORT=$(free_port "$SLURM_JOB_ID")
        if lends_ports; then
            step_options+=(--resv-ports=1)
            MASTER_PORT=''
        fi
        say "$SLURM_NTASKS tasks, rendezvous at $MASTER_ADDR:${MASTER_PORT:-a port that Slurm reserves}"
    fi
    run srun "${step_end[@]}" "${step_options[@]}" bash -c "$task" task "$python" "$@"
}

# What srun says about the first task that ended badly goes to the file $1; everything goes on to the log.
watch_step() {
    local line killer=''
    while IFS= read -r line || [[ -n $line ]]; do
        printf '%s\n' "$line"
        if [[ ! -s $1 && $line =~ ^srun:\ error:\ (.*:\ tasks?\ .*) ]]; then
            printf '%s' "${BASH_REMATCH[1]}" > "$1"
            end_step >/dev/null 2>&1 &
            killer=$!
        fi
    done
    [[ -z $killer ]] || kill "$killer" 2>/dev/null || true   # or it would meet the next start of this job
}

# Ends the tasks that a dead one has left, ten seconds after its death at the latest. srun would send them a SIGTERM,
# which they only note while they wait for the dead one, and then nothing for all of KillWait (30 s, by default). Here
# they get time to say what they saw of it, then SIGQUIT, by which they print where they stand, and then SIGKILL.
end_step() {
    local steps
    sleep 4 &
    steps=$(steps_of_job) || true
    wait $!
    signal_steps QUIT || true
    sleep 2
    until signal_steps KILL; do   # the controller may be away for a while
        sleep 1
        steps=$(steps_of_job) || true
    done
}

steps_of_job() { timeout 20 squeue --noheader --steps --jobs="$(this_job)" --format=%i | grep -E '[.][0-9]+$'; }

# shellcheck disable=SC2086
signal_steps() { [[ -n $steps ]] && timeout 20 scancel --signal="$1" $steps; }

# Where end_step can do its work, srun does nothing when a task ends badly, or long before the others.
leave_the_end_to_us() {
    if command -v squeue >/dev/null && command -v scancel >/dev/null; then
        step_end=(--kill-on-bad-exit=0 --wait=0)
    fi
}

# Training of SIGNATURE with the rest as arguments of Python. A job that was interrupted goes back into the queue; which
# interruptions count is written in tools/requeue.py.
train() {
    signature=$1
    shift
    # What waits for this job relies on the signature that it was named by.
    if [[ $mode == job && ${SLURM_JOB_NAME:-} =~ ^[0-9a-f]{8}$ && -n $signature && $SLURM_JOB_NAME != "$signature" ]]; then
        fail "these settings are experiment $signature now, but were submitted as $SLURM_JOB_NAME: the configuration that" \
             "they override has changed since. Submit them again"
    fi
    [[ -z $signature ]] || export DEMUCS_EXPECTED_SIGNATURE=$signature
    leave_the_end_to_us
    if [[ $mode != job || -n $dry_run ]]; then
        run_tasks "$@"
        return
    fi
    prepare_python
    supervise "$signature" run_tasks "$@"
}

# Runs the rest, which calls srun, and ends the job as the account of experiment $1 says.
supervise() {
    local status=0 verdict=0 experiment=$1 words word_file watcher
    shift
    requeue begin "$experiment" || verdict=$?
    [[ $verdict != 13 ]] || exit 0
    [[ $verdict == 0 ]] || exit 2
    word_file=$(mktemp)
    exec 5> >(watch_step "$word_file" >&2)
    watcher=$!
    set +e   # a subshell, since set -e means nothing in a function whose status is looked at
    (set -e; "$@") 2>&5 5>&-
    status=$?
    set -e
    exec 5>&-
    wait "$watcher" || true   # for the last words
    words=$(cat "$word_file")
    rm -f "$word_file"
    [[ $status != 2 ]] || exit 2   # refused before it began
    # shellcheck disable=SC2046
    requeue end "$experiment" --exit "$status" --words "$words" $(preempted) || verdict=$?
    case $verdict in
        0)  exit 0 ;;
        10) go_on ;;
        *)  exit $(( status > 0 ? status : 1 )) ;;
    esac
}

requeue() { "$python" -m tools.requeue "$@"; }

# What Slurm calls this job and no other: one element of an array has the number of the whole array.
this_job() {
    if [[ -n ${SLURM_ARRAY_JOB_ID:-} ]]; then echo "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"; else echo "$SLURM_JOB_ID"; fi
}

# One field of this job's record. The controller may be away for a while.
job_field() {
    local attempt record
    for ((attempt = 0; attempt < 20; attempt++)); do
        if record=$(timeout 30 scontrol show job --oneliner "$(this_job)" 2>/dev/null); then
            grep -oE "(^| )$1=[^ ]*" <<< "$record" | head -n1 | cut -d= -f2
            return
        fi
        command -v scontrol >/dev/null || return 0
        sleep 5
    done
}

# Slurm preempts by SIGTERM, as scancel does, and puts the job back into the queue only if it is still there in the end.
preempted() {
    if [[ $(job_field PreemptTime) =~ ^[0-9] ]]; then echo --preempted; fi
}

# The last thing that a job does which is not finished.
go_on() {
    if [[ -n ${SLURM_ARRAY_TASK_ID:-} ]]; then
        [[ $SLURM_ARRAY_TASK_ID != "${SLURM_ARRAY_TASK_MAX:-}" ]] \
            || fail "the chain of jobs has come to its end before the training: submit once more, or raise DEMUCS_CHAIN"
        say "The next job of the chain goes on"
        exit 0
    fi
    back_into_the_queue
}

back_into_the_queue() {
    local attempt state
    command -v scontrol >/dev/null \
        || fail "the state is saved, but this node has no scontrol to put the job back into the queue: submit it again" \
                "to go on, and set DEMUCS_CHAIN=N in the cluster file for a chain of N jobs"
    state=$(job_field JobState)
    [[ $state == RUNNING ]] || fail "the job is $state: it stays so"   # a cancelled job would really start again
    say "Back into the queue"
    for ((attempt = 0; attempt < 20; attempt++)); do
        timeout 60 scontrol requeue "$(this_job)" && exit 0
        sleep 10
    done
    fail "the state is saved, but scontrol requeue failed: submit it again to go on"
}

# Python once, on one task and one GPU.
run_one() {
    prepare_python
    if [[ $mode == here ]]; then
        run_here 1 "$@"
    else
        [[ $mode != job || -n $dry_run ]] || say_idle 1 "$(gpus_of_job)"
        run srun --nodes=1 --ntasks=1 --kill-on-bad-exit=1 "$python" "$@"
    fi
}

run() {
    if [[ -n $dry_run ]]; then
        echo "    $(quoted "$@")"
    else
        say "$(quoted "$@")"
        "$@"
    fi
}

# COUNT processes on this machine. When one fails, the others are ended and its status is ours. A TERM or Ctrl-C that this
# script gets is a TERM for them: they save and leave, for which they have time. A second one ends them at once.
run_here() {
    local count=$1 rank result status=0 launcher=$BASHPID
    shift
    if [[ -n $dry_run ]]; then
        echo "Would run here, in $count process(es):"
        echo "    $(quoted "$python" "$@")"
        return
    fi
    say "$count process(es): $(quoted "$python" "$@")"
    children=() asked='' heard=''
    trap 'ask_children 143' TERM
    trap 'ask_children 130' INT
    for ((rank = 0; rank < count; rank++)); do
        RANK=$rank LOCAL_RANK=$rank WORLD_SIZE=$count DEMUCS_LAUNCHER=$launcher "$python" "$@" &
        children+=($!)
    done
    while ((count > 0)); do
        result=0
        wait -n || result=$?
        # Either a process has ended, or a signal has ended the waiting.
        if [[ -n $heard && $result -gt 128 ]] && kill -0 "${children[@]}" 2>/dev/null; then heard=''; continue; fi
        count=$((count - 1))
        [[ $result == 0 ]] || { status=$result; break; }
    done
    [[ $status == 0 ]] || end_children
    trap - TERM INT
    [[ -z $asked ]] || exit "$asked"
    return $status
}

ask_children() {
    if [[ -n $asked ]]; then
        kill -KILL "${children[@]}" 2>/dev/null || true
        exit "$asked"
    fi
    asked=$1 heard=1
    say "Asked to stop: waiting for the processes to save and leave. Once more ends it at once"
    kill "${children[@]}" 2>/dev/null || true
}

# As end_step: ranks only note a SIGTERM while they wait for a dead one, by SIGQUIT they print where they stand.
end_children() {
    kill "${children[@]}" 2>/dev/null || true
    children_left 5 || return 0
    kill -QUIT "${children[@]}" 2>/dev/null || true
    children_left 2 || return 0
    kill -KILL "${children[@]}" 2>/dev/null || true
    wait "${children[@]}" 2>/dev/null || true
}

# Whether any of them still runs after so many seconds.
children_left() {
    local tenth
    for ((tenth = 0; tenth < 10 * $1; tenth++)); do
        kill -0 "${children[@]}" 2>/dev/null || return 1
        sleep 0.1
    done
}

# Processes of a run without Slurm: DEMUCS_LOCAL_TASKS, else one for each visible GPU, else one.
local_tasks() {
    local count
    if [[ -n ${DEMUCS_LOCAL_TASKS:-} ]]; then
        [[ $DEMUCS_LOCAL_TASKS =~ ^[1-9][0-9]*$ ]] || fail "DEMUCS_LOCAL_TASKS must be a whole number from 1 on"
        echo "$DEMUCS_LOCAL_TASKS"
    else
        count=$(visible_gpus)
        echo $(( count > 0 ? count : 1 ))
    fi
}

visible_gpus() {
    local devices
    if [[ -n ${CUDA_VISIBLE_DEVICES+set} ]]; then
        IFS=, read -ra devices <<< "${CUDA_VISIBLE_DEVICES/#-1*/}"
        echo "${#devices[@]}"
    else
        nvidia-smi --list-gpus 2>/dev/null | grep -c '^GPU' || true
    fi
}

gpus_of_job() { echo $(( ${SLURM_GPUS_ON_NODE:-0} * ${SLURM_NNODES:-1} )); }

# GPUs that nobody uses are lent, and counted, all the same.
say_idle() {   # TASKS GPUS
    [[ $2 -le $1 ]] || say "Note: $(( $2 - $1 )) of $2 GPUs idle: each task uses one, and there are only $1; ask for fewer" \
                           "GPUs, or for as many tasks where this script shares its work"
}

# Address of the node of rank 0: the one Slurm itself uses, which need not be a name that resolves.
first_node() {
    local node=${SLURMD_NODENAME:-$(hostname)} address=''   # the batch script runs on the first node
    if command -v scontrol >/dev/null; then
        node=$(timeout 60 scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n1)
        address=$(timeout 60 scontrol show node --oneliner "$node" | grep -o ' NodeAddr=[^ ]*' | cut -d= -f2) || true
    fi
    echo "${address:-$node}"
}

# A port that follows from the number given, below the range from which systems lend ports to clients. Two jobs on one
# node get different ones; one that somebody else listens on is passed over. Runs on the node of rank 0.
free_port() {
    local port=$(( 10000 + $1 % 22000 ))
    while (exec 5<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
        port=$(( 10000 + (port - 10000 + 7919) % 22000 ))
    done
    echo "$port"
}

# Whether this Slurm reserves ports for steps, which no other step then gets. The port is known to the tasks only.
lends_ports() { [[ $(timeout 60 scontrol show config 2>/dev/null) =~ MpiParams\ *=[^$'\n']*ports= ]]; }

# Slurm fills the first node: four tasks on two nodes of two GPUs become 3 + 1. They are evened out here, by naming the
# node of each task; the CPUs stay where Slurm put them. More tasks than GPUs would share GPUs without a word.
spread_tasks() {
    local entry node places='' most=0 even=$(( (SLURM_NTASKS + SLURM_NNODES - 1) / SLURM_NNODES ))
    for entry in ${SLURM_TASKS_PER_NODE//,/ }; do   # "4(x2)" or "3,1"
        entry=${entry%%(*}
        most=$(( entry > most ? entry : most ))
    done
    if [[ $most -gt $even ]]; then
        for node in $(timeout 60 scontrol show hostnames "$SLURM_JOB_NODELIST"); do
            for ((entry = 0; entry < even; entry++)); do places+=,$node; done
        done
        places=$(cut -d, -f "2-$((SLURM_NTASKS + 1))" <<< "$places")
        step_options=(--overcommit --distribution=arbitrary "--nodelist=$places")
        say "Slurm put $SLURM_TASKS_PER_NODE tasks and $SLURM_JOB_CPUS_PER_NODE CPUs on the nodes; $even run on each" \
            "(with --ntasks-per-node=$even their CPUs are even too)"
    fi
    [[ $even -le ${SLURM_GPUS_ON_NODE:-$even} ]] \
        || fail "$even tasks on a node with $SLURM_GPUS_ON_NODE GPUs: --ntasks, --nodes and --gres do not fit together"
    say_idle "$SLURM_NTASKS" "$(gpus_of_job)"
}
