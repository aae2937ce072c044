#!/bin/bash
# A whole reproduction in one command; see `bash slurm_scripts/pipeline_slurm.sh --help`.
[ -n "${BASH_VERSION:-}" ] || { echo "$0 is for bash, not for sh: bash $0 $*" >&2; exit 2; }
set -euo pipefail
usage='Trains, exports, evaluates, separates two songs and reports: jobs with dependencies, submitted at once.
    bash slurm_scripts/pipeline_slurm.sh [--plain] [EPOCHS=390] [OVERRIDE...]
    bash slurm_scripts/pipeline_slurm.sh [EPOCHS] [OVERRIDE...] --with OVERRIDE... [--with OVERRIDE...]...
    bash slurm_scripts/pipeline_slurm.sh [EPOCHS] [OVERRIDE...] --seeds 42,43,44
    bash slurm_scripts/pipeline_slurm.sh --plain variant=openunmix --targets vocals,drums,bass,other [--seeds 42,43]
The second form is a sweep: a training for each --with, then one report that compares all of them with the first.
--seeds is short for several --with seed=NUMBER. Trainings that differ only in the seed are a sample of one
configuration, whose spread is drawn. A sweep of one training is refused.
The last form trains a network for each target, and for each seed. Of every target the network with the lowest
validation loss is kept, and the separator of these is exported, evaluated, used and reported as one model.
    --plain       train with the values of conf/ and these overrides, without the settings of train_slurm.sh
    --dry-run     print the signatures and the jobs      --test-only   ask Slurm when each job could start
    --local       run all steps in sequence on this machine; the default without Slurm
DEMUCS_EVALUATE_JOBS (10) jobs share each evaluation. If a step fails, the steps that need it are cancelled. A sweep is
reported with the trainings that were evaluated.'

here=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
# shellcheck source=slurm_scripts/common.sh
source "$here/slurm_scripts/common.sh" "$here"

begin "$@"
[[ $mode != job ]] || fail "this script submits jobs and is none: bash slurm_scripts/$name"
common=() flat=() starts=()     # overrides of all variants, concatenated, and the index where each variant starts
targets=() seeds=()
! take --plain || common=(--plain)
if [[ " ${arguments[*]} " == *" --targets "* ]]; then with_targets=1; else with_targets=''; fi
for ((index = 0; index < ${#arguments[@]}; index++)); do
    word=${arguments[index]}
    case $word in
        --targets)
            index=$((index + 1))
            [[ ${arguments[index]:-} =~ ^[[:alnum:]_-]+(,[[:alnum:]_-]+)+$ ]] \
                || fail "--targets takes two names of sources or more, with commas between them, such as vocals,drums"
            read -ra targets <<< "${arguments[index]//,/ }"
            ;;
        --with)
            [[ -z $with_targets ]] || fail "--with makes a sweep, and --targets one separator: leave one of them out"
            starts+=("${#flat[@]}")
            ;;
        --seeds)
            index=$((index + 1))
            [[ ${arguments[index]:-} =~ ^[0-9]+(,[0-9]+)*$ ]] || fail "--seeds takes numbers with commas between them"
            read -ra seeds <<< "${arguments[index]//,/ }"
            [[ -z $with_targets ]] || continue
            for seed in "${seeds[@]}"; do
                starts+=("${#flat[@]}")
                flat+=("seed=$seed")
            done
            ;;
        *)  if [[ ${#starts[@]} -eq 0 ]]; then common+=("$word"); else flat+=("$word"); fi ;;
    esac
done
for target in ${targets[@]+"${targets[@]}"}; do
    for seed in "${seeds[@]:-}"; do
        starts+=("${#flat[@]}")
        flat+=("dset.targets={$target:[$target]}" ${seed:+"seed=$seed"})
    done
done
[[ ${#starts[@]} -ne 1 ]] \
    || fail "a sweep needs two trainings at least: give --seeds more than one number, or a further --with"
[[ ${#starts[@]} -gt 0 ]] || starts=(0)

# words_of INDEX: sets `words` to the overrides of a variant.
words_of() {
    local end=${starts[$1 + 1]:-${#flat[@]}}
    words=("${flat[@]:starts[$1]:end - starts[$1]}")
}

submitted=()
# If this script ends before all jobs are submitted, those in the queue are cancelled.
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

# after DEPENDENCY: sets `waits`, options of sbatch for a step that depends on others. It is cancelled if one of them
# fails, but not if one is requeued.
after() {
    waits=()
    [[ -n $test_only ]] || waits=("--dependency=$1" --kill-on-invalid-dep=yes)
}

# choose_songs FOLDER: sets `songs` to links to two test songs, named after the songs.
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

# Prints the number of processes of a training: from the options of sbatch, else from the #SBATCH lines.
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

submit_training() {   # TRAINING ARGUMENTS...: sets `id`
    extra_sbatch_args=${DEMUCS_TRAIN_SBATCH_ARGS[*]:-}
    training_options
    [[ -z $test_only ]] || training_options=("--job-name=$signature")
    step train "${training_options[@]}" -- "$code/slurm_scripts/train_slurm.sh" "$@"
    extra_sbatch_args=''
}

submit_rest() {   # DEPENDENCY, ARGUMENTS OF slurm_release.sh...: all steps after the training of the model `signature`
    local release evaluate
    after "$1"
    step release "--job-name=$signature-release" "${waits[@]}" -- "$code/slurm_scripts/slurm_release.sh" "${@:2}"
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

local_options() {   # sets `options`
    options=(--local)
    [[ -z $dry_run ]] || options+=(--dry-run)
}

# The steps without Slurm. They stop at the first failure, since later ones would use results of an earlier run.
train_here() {   # TRAINING ARGUMENTS...
    local options
    local_options
    failed_at=training
    bash "$scripts/train_slurm.sh" "${options[@]}" "$@" || return 1
    [[ -n $dry_run ]] || trained+=("$signature")
}

rest_here() {   # ARGUMENTS OF slurm_release.sh...
    local options
    local_options
    [[ -z $dry_run ]] || { echo "    then export, evaluate and separate $signature"; return 0; }
    failed_at=release
    bash "$scripts/slurm_release.sh" "${options[@]}" "$@" || return 1
    failed_at=evaluation
    bash "$scripts/evaluate_slurm.sh" "${options[@]}" "$signature" || return 1
    scored+=("$signature")
    failed_at=separation
    [[ ${#songs[@]} -eq 0 ]] || bash "$scripts/slurm_separate.sh" "${options[@]}" "${songs[@]}" "$signature"
}

signatures=() folders=() evaluations=() trainings=() trained=() scored=() failed=()
ranks=$(training_ranks)
if [[ $mode == submit ]]; then keep_code; fi
# All signatures are checked before anything is submitted. The second line of the output is the folder of the test
# songs.
for index in "${!starts[@]}"; do
    words_of "$index"
    found=$(DEMUCS_CHECK_RANKS=$ranks bash "$scripts/train_slurm.sh" --signature "${common[@]}" "${words[@]}") || exit 2
    signature=${found%%$'\n'*}
    [[ " ${signatures[*]} " != *" $signature "* ]] || fail "two of these are the same experiment: $signature"
    signatures+=("$signature")
    folder=${found#"$signature"}
    folders+=("${folder#$'\n'}")
done
models=("${signatures[@]}")
[[ -z $with_targets ]] || models=("$(printf '%s\n' "${signatures[@]}" | sha1sum | cut -c1-8)")
for index in "${!starts[@]}"; do
    words_of "$index"
    signature=${signatures[index]}
    [[ -n $with_targets ]] || choose_songs "${folders[index]}"
    say "Signature $signature, in outputs/xps/$signature:" "$(quoted "${common[@]}" "${words[@]}")"
    if [[ $mode == submit ]]; then
        submit_training "${common[@]}" "${words[@]}"
        trainings+=("$id")
        [[ -n $with_targets ]] || submit_rest "afterok:$id" "$signature"
    elif ! train_here "${common[@]}" "${words[@]}"; then
        failed+=("$signature ($failed_at)")
    elif [[ -z $with_targets ]]; then
        rest_here "$signature" || failed+=("$signature ($failed_at)")
    fi
done
if [[ -n $with_targets && ${#failed[@]} -eq 0 ]]; then
    signature=${models[0]}
    choose_songs "${folders[0]}"
    say "Separator $signature: of each target the network with the lowest validation loss"
    release=(--separator "${signatures[@]}" --name "$signature")
    if [[ $mode == submit ]]; then
        submit_rest "afterok:$(IFS=:; echo "${trainings[*]}")" "${release[@]}"
    else
        rest_here "${release[@]}" || failed+=("$signature ($failed_at)")
    fi
fi

if [[ $mode == submit ]]; then
    parents=$(IFS=:; echo "${evaluations[*]}")
    if [[ ${#models[@]} -eq 1 ]]; then after "afterok:$parents"; else after "afterany:$parents"; fi
    step report "--job-name=${models[0]}-report" "${waits[@]}" \
        -- "$code/slurm_scripts/report_slurm.sh" "${models[@]}"
    submitted=()
    [[ -n $dry_run$test_only ]] \
        || say "The report will be demucs_results/report.html; python -m tools.runs shows the progress"
elif [[ -z $dry_run ]]; then
    [[ ${#trained[@]} -gt 0 ]] || fail "no training came to its end"
    [[ ${#scored[@]} -gt 0 ]] \
        || fail "trained, but not scored, so there is nothing to report; what failed: ${failed[*]}"
    status=0
    bash "$scripts/report_slurm.sh" --local "${models[@]}" || status=$?
    [[ ${#failed[@]} -eq 0 ]] || fail "these did not come to their end: ${failed[*]}"
    exit "$status"
fi
