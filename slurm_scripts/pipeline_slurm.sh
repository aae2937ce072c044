#!/bin/bash
# A whole reproduction in one command; see `bash slurm_scripts/pipeline_slurm.sh --help`.
[ -n "${BASH_VERSION:-}" ] || { echo "$0 is for bash, not for sh: bash $0 $*" >&2; exit 2; }
set -euo pipefail
usage='Trains, releases, evaluates, separates two songs and reports: jobs that wait for one another, submitted at once.
    bash slurm_scripts/pipeline_slurm.sh [--plain] [EPOCHS=390] [OVERRIDE...]
    bash slurm_scripts/pipeline_slurm.sh [EPOCHS] [OVERRIDE...] --with OVERRIDE... [--with OVERRIDE...]...
    bash slurm_scripts/pipeline_slurm.sh [EPOCHS] [OVERRIDE...] --seeds 42,43,44
The second is a sweep: a training for each --with, and in the end one report that compares them. --seeds is short for
several --with seed=NUMBER. The first of them is what the others are held against; trainings that differ in their seed
alone are a sample of one configuration, whose spread is drawn. A sweep of one training is refused.
    --plain       train with the values of conf/ and these overrides, without the settings of train_slurm.sh
    --dry-run     print the signatures and what would be submitted      --test-only   ask Slurm when each job could run
    --local       all steps one after the other on this machine, as also where there is no Slurm
DEMUCS_EVALUATE_JOBS (10) jobs share each evaluation. A step whose parent fails is cancelled; a comparison is drawn of what
there is.'

here=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
# shellcheck source=slurm_scripts/common.sh
source "$here/slurm_scripts/common.sh" "$here"

begin "$@"
[[ $mode != job ]] || fail "this script submits jobs and is none: bash slurm_scripts/$name"
common=() flat=() starts=()     # the words of all variants, one after the other, and where each of them begins
! take --plain || common=(--plain)
for ((index = 0; index < ${#arguments[@]}; index++)); do
    word=${arguments[index]}
    case $word in
        --with)  starts+=("${#flat[@]}") ;;
        --seeds)
            index=$((index + 1))
            [[ ${arguments[index]:-} =~ ^[0-9]+(,[0-9]+)*$ ]] || fail "--seeds takes numbers with commas between them"
            for seed in ${arguments[index]//,/ }; do
                starts+=("${#flat[@]}")
                flat+=("seed=$seed")
            done
            ;;
        *)  if [[ ${#starts[@]} -eq 0 ]]; then common+=("$word"); else flat+=("$word"); fi ;;
    esac
done
[[ ${#starts[@]} -ne 1 ]] \
    || fail "a sweep needs two trainings at least: give --seeds more than one number, or a further --with"
[[ ${#starts[@]} -gt 0 ]] || starts=(0)

# Sets `words` to those of a variant, by its number.
words_of() {
    local end=${starts[$1 + 1]:-${#flat[@]}}
    words=("${flat[@]:starts[$1]:end - starts[$1]}")
}

submitted=()
# However this script ends before all is submitted, nothing of it stays in the queue.
undo() {
    [[ ${#submitted[@]} -gt 0 ]] || return 0
    say "Not all steps could be submitted; the others are cancelled: ${submitted[*]}" >&2
    scancel "${submitted[@]}" || true
}
if [[ $mode == submit ]]; then
    trap undo EXIT
    trap 'exit 130' INT TERM HUP
fi

[[ ${DEMUCS_EVALUATE_JOBS:=10} =~ ^[1-9][0-9]{0,3}$ ]] \
    || fail "DEMUCS_EVALUATE_JOBS is how many jobs evaluate together, a number from 1 on, not '$DEMUCS_EVALUATE_JOBS'"

# step NAME OPTIONS... -- SCRIPT ARGUMENTS...: sets `id` to that of a new job.
step() {
    local title=$1
    sbatch_command "${@:2}"
    id="<$title>"
    if [[ -n $dry_run ]]; then
        echo "    $(quoted "${command[@]}")"
    elif [[ -n $test_only ]]; then
        printf '    %-9s' "$title"
        submit_command 2>&1 || fail "Slurm would not run this step"
    else
        command=(sbatch --parsable "${command[@]:1}")
        id=$(submit_command) || fail "this step could not be submitted: $title; its reason stands above"
        id=${id%%;*}     # with several clusters: ID;CLUSTER
        submitted+=("$id")
        printf '    %-9s job %s\n' "$title" "$id"
    fi
}

# What a step waits for. A parent that fails cancels it; one that is put back into the queue does not.
after() {
    waits=()
    [[ -n $test_only ]] || waits=("--dependency=$1" --kill-on-invalid-dep=yes)
}

# Two songs of the test set in a folder, under names that tell them apart. Sets `songs`.
choose_songs() {
    local song musdb=${DEMUCS_MUSDB:-$repository/datasets/musdbhq} links=$repository/separated/songs
    [[ -z $1 || $1 -ef $musdb ]] || links+=/$signature
    songs=()
    for song in "${1:-$musdb}"/test/*/mixture.wav; do
        [[ -f $song && ${#songs[@]} -lt 2 ]] || continue
        songs+=("$links/$(basename "$(dirname "$song")").wav")
        [[ -z $dry_run$test_only ]] || continue
        mkdir -p "$links"
        ln -sfn "$(realpath "$song")" "${songs[-1]}"
    done
    [[ ${#songs[@]} -gt 0 ]] || say "Note: no song to separate in ${1:-$musdb}/test"
}

# Processes of a training: as its options of sbatch say, else its head.
training_ranks() {
    local words index ranks
    if [[ $mode == here ]]; then
        (signature_only=1; prepare_python; "$python" -S -m tools.launch count --name "$name")   # without a log
        return
    fi
    ranks=$(grep -oE '^#SBATCH --ntasks=[0-9]+' "$scripts/train_slurm.sh" | cut -d= -f2)
    read -rd '' -a words <<< "${DEMUCS_SBATCH_ARGS[*]:-} ${DEMUCS_TRAIN_SBATCH_ARGS[*]:-}" || true
    for ((index = 0; index < ${#words[@]}; index++)); do
        case ${words[index]} in
            --ntasks=*)   ranks=${words[index]#*=} ;;
            --ntasks|-n)  ranks=${words[index + 1]:-} ;;
            -n[0-9]*)     ranks=${words[index]#-n} ;;
        esac
    done
    echo "$ranks"
}

on_the_cluster() {   # TRAINING ARGUMENTS...
    local train release evaluate
    extra_sbatch_args=${DEMUCS_TRAIN_SBATCH_ARGS[*]:-}
    training_options
    [[ -z $test_only ]] || training_options=("--job-name=$signature")
    step train "${training_options[@]}" -- "$code/slurm_scripts/train_slurm.sh" "$@"
    train=$id extra_sbatch_args=''
    after "afterok:$train"
    step release "--job-name=$signature-release" "${waits[@]}" -- "$code/slurm_scripts/slurm_release.sh" "$signature"
    release=$id
    after "afterok:$release"
    step evaluate "--job-name=$signature-evaluate" "${waits[@]}" "--array=0-$((DEMUCS_EVALUATE_JOBS - 1))" \
        -- "$code/slurm_scripts/evaluate_slurm.sh" "$signature"
    evaluate=$id
    evaluations+=("$evaluate")
    [[ ${#songs[@]} -gt 0 ]] || return 0
    step separate "--job-name=$signature-separate" "${waits[@]}" \
        -- "$code/slurm_scripts/slurm_separate.sh" "${songs[@]}" "$signature"
}

here_in_turn() {   # TRAINING ARGUMENTS...
    local options=(--local)
    [[ -z $dry_run ]] || options+=(--dry-run)
    # In this order each step is refused, rather than made of something old, when the one before has failed.
    failed_at=training
    bash "$scripts/train_slurm.sh" "${options[@]}" "$@" || return 1
    [[ -z $dry_run ]] || { echo "    then release, evaluate and separate $signature"; return 0; }
    trained+=("$signature")
    failed_at=release
    bash "$scripts/slurm_release.sh" "${options[@]}" "$signature" || return 1
    failed_at=evaluation
    bash "$scripts/evaluate_slurm.sh" "${options[@]}" "$signature" || return 1
    scored+=("$signature")
    failed_at=separation
    [[ ${#songs[@]} -eq 0 ]] || bash "$scripts/slurm_separate.sh" "${options[@]}" "${songs[@]}" "$signature"
}

signatures=() folders=() evaluations=() trained=() scored=() failed=()
ranks=$(training_ranks)
if [[ $mode == submit ]]; then keep_code; fi
# All signatures first: what is wrong with one of them is told before anything is submitted. The second line is where the
# test songs are.
for index in "${!starts[@]}"; do
    words_of "$index"
    found=$(DEMUCS_CHECK_RANKS=$ranks bash "$scripts/train_slurm.sh" --signature "${common[@]}" "${words[@]}") || exit 2
    signature=${found%%$'\n'*}
    [[ " ${signatures[*]} " != *" $signature "* ]] || fail "two of these are the same experiment: $signature"
    signatures+=("$signature")
    folder=${found#"$signature"}
    folders+=("${folder#$'\n'}")
done
for index in "${!starts[@]}"; do
    words_of "$index"
    signature=${signatures[index]}
    choose_songs "${folders[index]}"
    say "Signature $signature, in outputs/xps/$signature:" "$(quoted "${common[@]}" "${words[@]}")"
    if [[ $mode == submit ]]; then
        on_the_cluster "${common[@]}" "${words[@]}"
    else
        here_in_turn "${common[@]}" "${words[@]}" || failed+=("$signature ($failed_at)")
    fi
done

if [[ $mode == submit ]]; then
    parents=$(IFS=:; echo "${evaluations[*]}")
    if [[ ${#signatures[@]} -eq 1 ]]; then after "afterok:$parents"; else after "afterany:$parents"; fi
    step report "--job-name=${signatures[0]}-report" "${waits[@]}" -- "$code/slurm_scripts/report_slurm.sh" "${signatures[@]}"
    submitted=()
    [[ -n $dry_run$test_only ]] || say "The report will be demucs_results/report.html; python3 -m tools.runs shows how it goes"
elif [[ -z $dry_run ]]; then
    [[ ${#trained[@]} -gt 0 ]] || fail "no training came to its end"
    [[ ${#scored[@]} -gt 0 ]] || fail "trained, but not scored, so there is nothing to report; what failed: ${failed[*]}"
    status=0
    bash "$scripts/report_slurm.sh" --local "${signatures[@]}" || status=$?
    [[ ${#failed[@]} -eq 0 ]] || fail "these did not come to their end: ${failed[*]}"
    exit "$status"
fi
