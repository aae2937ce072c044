#!/bin/bash
# A private Slurm on this machine, for tests and the demo: two emulated nodes (n1, n2) with eight emulated GPUs each.
# Any user can start it, without munge, cgroups or systemd.
#   local_cluster.sh start | stop | status
#   eval "$(local_cluster.sh env)"        lets sbatch, squeue and scancel of this shell use this cluster
# Settings: DEMUCS_SLURM_DIR (its folder), DEMUCS_SLURM_CPUS (CPUs per node, 96), DEMUCS_SLURM_GPUS (GPUs per node, 8),
#           DEMUCS_SLURM_KILL_WAIT (seconds from SIGTERM to SIGKILL, 5), DEMUCS_SLURM_PORTS (of srun --resv-ports),
#           DEMUCS_SLURM_OWNER (id of a process: the cluster stops when that process has ended for any reason).
# Jobs of its partition "urgent" preempt those of the default one, which have a minute to save and are requeued.
# It has no authentication: while it runs, every user of this machine can run jobs as you. Loopback and tests only.
[ -n "${BASH_VERSION:-}" ] || { echo "$0 is for bash, not for sh: bash $0 $*" >&2; exit 2; }
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

folder=$(realpath -m "${DEMUCS_SLURM_DIR:-${XDG_RUNTIME_DIR:-/tmp}/demucs-slurm-$UID}")
export SLURM_CONF=$folder/slurm.conf
host=$(uname -n)
host=${host%%.*}

say()  { printf 'local_cluster.sh: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# With a time limit: commands hang for minutes without a controller.
ask() { timeout 10 "$@" 2>/dev/null; }

# Ids of processes whose file /proc/PID/$1 has the line $2. Pid files do not suffice: a daemon removes its own before it
# ends, and processes started by jobs can outlive the daemons.
processes_with() { grep -lzxF -- "$2" /proc/[0-9]*/"$1" 2>/dev/null | cut -d/ -f3 || true; }

daemons() {
    local pid
    for pid in $(processes_with cmdline "$SLURM_CONF"); do
        case $(cat "/proc/$pid/comm" 2>/dev/null) in slurmctld | slurmd) echo "$pid" ;; esac
    done
}

# Ids of processes of jobs. Shells that use this cluster also have SLURM_CONF, but no name of a node.
steps() {
    local pid
    for pid in $(processes_with environ "SLURM_CONF=$SLURM_CONF"); do
        if [[ $(cat "/proc/$pid/comm" 2>/dev/null) == slurmstepd ]] \
                || grep -qzx 'SLURMD_NODENAME=n[12]' "/proc/$pid/environ" 2>/dev/null; then
            echo "$pid"
        fi
    done
}

# Number of nodes that answer, idle or busy.
nodes_up() {
    ask sinfo --noheader --Node --format='%N %T' | sort -u | grep -cE ' (idle|mixed|allocated|completing)$' || true
}

free_base_port() {
    local base tried
    base=$(( 7000 + $(cksum <<< "$folder" | cut -d' ' -f1) % 900 * 3 ))   # usually different for different clusters
    for ((tried = 0; tried < 900; tried++)); do
        if ! in_use "$base" && ! in_use $((base + 1)) && ! in_use $((base + 2)); then
            echo "$base"
            return
        fi
        base=$(( 7000 + (base - 7000 + 3) % 2700 ))
    done
    fail "no free ports between 7000 and 9700"
}

in_use() { (exec 5<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Job ids continue after those of former clusters in this folder, so that names of log files are unique.
first_job_id() {
    local minutes last place
    place=$(cksum <<< "$folder")             # clusters running at once differ in ids, and in ports derived from them
    minutes=$(( ($(date +%s) - 1577836800) / 60 + ${place%% *} % 97 * 613003 ))   # since 2020
    last=$(grep -o '^JobId=[0-9]*' "$folder/jobs.log" 2>/dev/null | cut -d= -f2 | sort -n | tail -n1 || true)
    echo $(( ${last:-0} >= minutes ? last + 1 : minutes ))
}

write_configuration() {
    local port=$1 user memory count=${DEMUCS_SLURM_GPUS:-8} gpu plugin=cgroup/v1
    user=$(id -un)
    memory=$(awk '/^MemTotal/ {print int($2 / 1024)}' /proc/meminfo)
    # A GPU must be some character device, otherwise Slurm does not set CUDA_VISIBLE_DEVICES.
    for ((gpu = 0; gpu < count; gpu++)); do ln -sf /dev/null "$folder/gpu$gpu"; done
    echo "Name=gpu File=$folder/gpu[0-$((count - 1))]" > "$folder/gres.conf"
    # slurmd loads a cgroup plugin even if it is not used. From 24.05 on it can be "disabled"; before that, the plugin
    # of version 1 needs neither a cgroup file system nor systemd.
    if [[ $(slurmd -V | grep -o '[0-9]*' | head -n1) -ge 24 ]]; then plugin=disabled; fi
    echo "CgroupPlugin=$plugin" > "$folder/cgroup.conf"
    cat > "$SLURM_CONF" <<END
ClusterName=demucs
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
ReturnToService=2
KillWait=${DEMUCS_SLURM_KILL_WAIT:-5}
${DEMUCS_SLURM_PORTS:+MpiParams=ports=$DEMUCS_SLURM_PORTS}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
FirstJobId=$(first_job_id)
MailProg=/bin/true
JobCompType=jobcomp/filetxt
JobCompLoc=$folder/jobs.log
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.%n.pid
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool.%n
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.%n.log
NodeName=DEFAULT CPUs=${DEMUCS_SLURM_CPUS:-96} RealMemory=$memory Gres=gpu:$count
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 1))
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 2))
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes=n1,n2 MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
END
}

start() {
    local program
    for program in slurmctld slurmd sbatch; do
        command -v "$program" >/dev/null || fail "$program is missing: apt-get install slurmctld slurmd slurm-client"
    done
    [[ $folder != *[[:space:]]* ]] || fail "Slurm takes no spaces in its paths: not DEMUCS_SLURM_DIR='$folder'"
    (umask 077 && mkdir -p "$folder")
    [[ -O $folder ]] || fail "$folder belongs to somebody else: choose another DEMUCS_SLURM_DIR"
    if [[ $(daemons | wc -l) == 3 && $(nodes_up) == 2 ]]; then
        say "already running in $folder"
        watch_owner
        return
    fi
    stop
    mkdir -p "$folder"/{state,spool.n1,spool.n2}
    rm -f "$folder"/*.log.old "$folder"/slurm*.log
    write_configuration "$(free_base_port)"
    watch_owner
    if slurmctld -c -f "$SLURM_CONF" && slurmd -N n1 -f "$SLURM_CONF" && slurmd -N n2 -f "$SLURM_CONF"; then
        wait_for_nodes && return
    fi
    tail -n 15 "$folder"/slurm*.log >&2
    stop
    fail "the nodes did not come up; the ends of their logs stand above"
}

# Starts a process that stops the daemons when the owner has ended. It has its own session, so signals to the owner's
# process group do not reach it. It exits when the cluster was stopped or started again.
watch_owner() {
    rm -f "$folder/owner"
    [[ -n ${DEMUCS_SLURM_OWNER:-} ]] || return 0
    [[ $DEMUCS_SLURM_OWNER =~ ^[0-9]+$ ]] \
        || fail "DEMUCS_SLURM_OWNER is the number of a process, not '$DEMUCS_SLURM_OWNER'"
    echo "$DEMUCS_SLURM_OWNER $$" > "$folder/owner"
    DEMUCS_SLURM_DIR=$folder setsid "$BASH" "$(realpath "$0")" watch "$DEMUCS_SLURM_OWNER $$" \
        < /dev/null > "$folder/watch.log" 2>&1 &
}

watch() {   # CONTENT of the file `owner`
    while [[ $(cat "$folder/owner" 2>/dev/null) == "$1" ]]; do
        is_alive "${1%% *}" || { stop; return; }
        sleep 1
    done
}

# Whether a process runs; one that has ended can remain as a zombie.
is_alive() { grep -q '^State:[[:space:]]*[^ZX[:space:]]' "/proc/$1/status" 2>/dev/null; }

wait_for_nodes() {
    local waited
    for ((waited = 0; waited < 150; waited++)); do   # 30 s
        if [[ $(nodes_up) == 2 ]]; then
            say "two nodes are up; state and logs in $folder"
            say "there is no authentication: every user of this machine can run jobs as you until you stop it"
            return
        fi
        sleep 0.2
    done
    return 1
}

stop() {
    local waited pids signal=TERM
    rm -f "$folder/owner"
    if [[ -f $SLURM_CONF && -n $(daemons) ]]; then
        ask squeue --noheader --format=%A | xargs -r timeout 10 scancel || true
        for ((waited = 0; waited < 40; waited++)); do   # 8 s: KillWait and a little more
            [[ -n $(ask squeue --noheader || true) || -n $(steps) ]] || break
            sleep 0.2
        done
    fi
    for ((waited = 0; waited < 50; waited++)); do
        daemons | xargs -r kill -s "$signal" 2>/dev/null || true
        steps | xargs -r kill -s KILL 2>/dev/null || true
        pids=$(daemons; steps)
        [[ -n $pids ]] || return 0
        [[ $waited -lt 25 ]] || signal=KILL
        sleep 0.2
    done
    fail "these processes do not end: $pids"
}

case ${1:-} in
    start)  start ;;
    stop)   stop ;;
    watch)  watch "$2" ;;
    status)
        [[ -f $SLURM_CONF && $(daemons | wc -l) == 3 ]] || { echo "not running"; exit 1; }
        ask sinfo --Node --partition=all --format='%N %T %c CPUs %G' || fail "the controller does not answer"
        ask squeue --format='%.9A %.20j %.8T %.10M %R'
        ;;
    # Gloo looks up the address of the host name, which may not have one; all tasks are on this machine. GPUs are
    # emulated, so computations run on the CPU.
    env)    printf 'export SLURM_CONF=%q GLOO_SOCKET_IFNAME=lo DEMUCS_DEVICE=cpu\n' "$SLURM_CONF" ;;
    *)      echo "usage: local_cluster.sh start | stop | status | env" >&2; exit 2 ;;
esac
