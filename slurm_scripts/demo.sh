#!/bin/bash
# The demo, from training to report: `make demo`, or `make demo-long`.
# It starts a private Slurm, synthesises songs, trains a small HDemucs on two nodes with train_slurm.sh, exports and
# evaluates it, separates one song, scores it on six seconds of a real song, writes the report, and stops Slurm. Without
# Slurm the batch scripts run locally. If it was interrupted, it continues where it stopped.
[ -n "${BASH_VERSION:-}" ] || { echo "$0 is for bash, not for sh: bash $0 $*" >&2; exit 2; }
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
scripts=$repository/slurm_scripts
python=${DEMUCS_PYTHON:-$repository/.venv/bin/python}
cd "$repository"

marker=demo epochs=4
[[ ${1:-} != --long ]] || { marker=demo-long epochs=24; }
songs=$repository/demo/songs real=$repository/demo/real
real_name="one excerpt of a real song of six seconds, not MUSDB18"     # of the test set, in records and in the report
export DEMUCS_MUSDB=$songs DEMUCS_DEVICE=cpu PYTHONUNBUFFERED=1
mkdir -p demo
: > demo/cluster.env
# An empty cluster file, so that settings of a real cluster have no effect.
export DEMUCS_CLUSTER=$repository/demo/cluster.env DEMUCS_SLURM_DIR=${TMPDIR:-/tmp}/demucs-demo-$UID
unset "${!SBATCH_@}"
begin=$SECONDS

# The settings of train_slurm.sh, reduced to a model that two CPU cores train in minutes.
overrides=(
    "dummy=$marker" hdemucs.channels=16 hdemucs.dconv_mode=0 hdemucs.cac=True hdemucs.hybrid_old=False
    hdemucs.norm_starts=4 svd.penalty=0 'ema.epoch=[]' 'ema.batch=[0.99]' optim.lr=0.003 batch_size=4
    dset.segment=3 dset.shift=1 augment.remix.group_size=2 augment.repitch.proba=0.1 model_segment=6
    test.sdr=False misc.num_workers=1
)

title() { printf '\n\033[1m[%d:%02d] %s\033[0m\n' $(((SECONDS - begin) / 60)) $(((SECONDS - begin) % 60)) "$*"; }

tail_pid=''
finish() {
    [[ -z $tail_pid ]] || kill "$tail_pid" 2>/dev/null || true
    [[ -z $slurm ]] || "$scripts/local_cluster.sh" stop
}
slurm=''
trap finish EXIT
trap 'exit 130' INT TERM
PATH=$PATH:/usr/sbin   # Debian's folder of daemons, not in the PATH of ordinary users

if command -v sbatch >/dev/null && command -v slurmctld >/dev/null && command -v slurmd >/dev/null; then
    title "A private Slurm of two nodes"
    slurm=1
    DEMUCS_SLURM_OWNER=$$ "$scripts/local_cluster.sh" start
    eval "$("$scripts/local_cluster.sh" env)"
else
    title "No Slurm here: the batch scripts run locally, with two processes"
    export DEMUCS_LOCAL_TASKS=2
fi

# follow SBATCH_OPTIONS... -- SCRIPT ARGUMENTS...: submit, show the log while the job runs, fail if it does.
follow() {
    local options=() job log state
    while [[ $1 != -- ]]; do options+=("$1"); shift; done
    shift
    if [[ -z $slurm ]]; then
        bash "$scripts/$1" --local "${@:2}"
        return
    fi
    job=$(timeout 60 sbatch --parsable "${options[@]}" "$scripts/$1" "${@:2}")
    echo "sbatch $1: job $job"
    log=$(timeout 60 scontrol show job --oneliner "$job" | grep -o 'StdOut=[^ ]*/slurm_out/[^ ]*')
    log=$repository/slurm_out/${log##*/}
    tail -n +1 -F "$log" 2>/dev/null & tail_pid=$!
    while state=$(timeout 60 scontrol show job --oneliner "$job" | grep -o 'JobState=[A-Z]*' | cut -d= -f2)
          [[ $state == PENDING || $state == RUNNING || $state == COMPLETING || $state == CONFIGURING ]]; do sleep 1; done
    sleep 0.5
    kill "$tail_pid"; wait "$tail_pid" 2>/dev/null || true
    tail_pid=''
    [[ $state == COMPLETED ]] || { echo "job $job ended as $state; its log is $log" >&2; exit 1; }
}

experiment() {   # prints the signature of the demo's training, if it has started
    local file
    for file in $(ls -t outputs/xps/*/.argv.json 2>/dev/null); do
        if grep -q "\"dummy=$marker\"" "$file"; then basename "$(dirname "$file")"; return; fi
    done
}

epochs_done() {  # SIGNATURE: prints the number of epochs trained
    [[ -f outputs/xps/$1/run_card.json ]] || { echo 0; return; }
    "$python" -c "import sys; from demucs import schema; print(schema.load(schema.RunCard, sys.argv[1]).epochs_done)" \
        "outputs/xps/$1/run_card.json"
}

title "Synthetic songs in the layout of MUSDB18-HQ, in demo/songs"
"$python" -m tools.make_synthetic "$songs" --train 40 --test 5 --valid 3 --seconds 20 --seed 1

signature=$(experiment)
if [[ -z $signature || $(epochs_done "$signature") -lt $epochs ]]; then
    title "Training in two tasks, $epochs epochs (continues if it was interrupted)"
    follow --nodes=2 --ntasks=2 --ntasks-per-node=1 --cpus-per-task=2 --gres=gpu:1 -- \
        train_slurm.sh "$epochs" "${overrides[@]}"
    signature=$(experiment)
fi
model=$repository/release_models/$signature.th
if [[ ! $model -nt outputs/xps/$signature/best.th ]]; then
    title "Export: the best weights of experiment $signature"
    follow -- slurm_release.sh "$signature"
fi
if [[ ! demucs_results/runs/$signature/evaluation_average_filter.json -nt $model ]]; then
    title "Evaluation on test songs, beside silence, the mixture and a fixed filter"
    follow -- evaluate_slurm.sh "$signature" --reference-separators
fi
song=$(find "$songs/test" -name mixture.wav | sort | head -n1)
if [[ ! $(find "separated/$signature" -name vocals.wav 2>/dev/null | head -n1) -nt $model ]]; then
    title "Separation of one song: $(basename "$(dirname "$song")")"
    follow -- slurm_separate.sh "$song" "$signature"
fi
title "A real song: $real_name"
# A test set of its own: its score is in a record of its own, and in no mean with those of the synthetic songs.
record=demucs_results/runs/$signature/evaluation_on_$(sed -E 's/[^[:alnum:]_.-]+/-/g' <<< "$real_name").json
if [[ ! $record -nt $model ]] && "$python" -m tools.real_song "$real"; then
    follow -- evaluate_slurm.sh "$signature" --musdb "$real" --dataset-name "$real_name"
fi
title "Figures and report"
"$python" graphing_scripts/plot_results.py "$signature"
"$python" graphing_scripts/plot_scores.py "$signature"
"$python" graphing_scripts/report.py "$signature"

title "Done. The report: demucs_results/report.html; the separated song: separated/$signature"
"$python" graphing_scripts/score_table.py "$signature"
