#!/bin/bash
# Copy of the code for queued jobs, in outputs/code/, so that a job runs the code that it was submitted with.
#   source slurm_scripts/code_snapshot.sh; folder=$(code_snapshot REPOSITORY)
#   slurm_scripts/code_snapshot.sh [REPOSITORY]
# Prints the folder of the copy: COMMIT, or COMMIT-HASH if tracked files differ from the commit; the copy has them as
# they are. Untracked files are not copied. Everything but code (outputs, data, models, results, .venv) is a symbolic
# link to the repository, so a job that runs in the copy writes to the usual folders. The same code gives the same
# folder.
# With DEMUCS_CODE_SNAPSHOT=0, or without a git checkout, it prints REPOSITORY itself. git is needed at submission only.

[ -n "${BASH_VERSION:-}" ] || { echo "$0 is for bash, not for sh: bash $0 $*" >&2; exit 2; }
code_links=(outputs release_models separated metadata datasets demo .venv slurm_out demucs_results soundtouch/build
            slurm_scripts/cluster.env)

code_snapshot() {
    local repository commit target fresh unknown status=0
    repository=$(cd "$1" && pwd -P) || return 1
    if [[ ${DEMUCS_CODE_SNAPSHOT:-1} == 0 || ! -e $repository/.git || $repository == */outputs/code/* ]]; then
        echo "$repository"
        return
    fi
    commit=$(git -C "$repository" rev-parse --verify --short=12 'HEAD^{commit}') || return 1
    unknown=$(git -C "$repository" ls-files --others --exclude-standard -- demucs conf tools slurm_scripts)
    [[ -z $unknown ]] \
        || echo "Note: git does not track these, so the job will not have them: ${unknown//$'\n'/, }" >&2
    mkdir -p "$repository/outputs/code" || return 1
    fresh=$(mktemp -d "$repository/outputs/code/.new-XXXXXX") || return 1
    code_snapshot_name "$repository" "$fresh" "$commit" \
        && code_snapshot_make "$repository" "$fresh" "$commit" || status=1
    rm -rf "$fresh"
    [[ $status == 0 ]] \
        || { echo "code_snapshot.sh: cannot copy the code of $repository to outputs/code" >&2; return 1; }
    echo "$target"
}

# code_snapshot_name REPOSITORY FRESH COMMIT: sets `target`, and writes the difference from the commit to FRESH/diff.
code_snapshot_name() {
    local hash
    git -C "$1" diff HEAD --binary --no-color --no-ext-diff -- . ':(exclude)demucs_results' > "$2/diff" || return 1
    target=$1/outputs/code/$3
    [[ -s $2/diff ]] || return 0
    hash=$(git hash-object "$2/diff") || return 1
    target+=-${hash:0:8}
}

# Creates `target` unless it exists. It is renamed when complete, so that other processes never see a part of it.
code_snapshot_make() {
    [[ ! -d $target ]] || return 0
    chmod 755 "$2" && code_snapshot_fill "$@" || return 1
    mv -T "$2/code" "$target" 2>/dev/null || [[ -d $target ]]
}

# A clone, not a worktree: later changes of the repository do not affect it.
code_snapshot_fill() {
    local repository=$1 code=$2/code path
    git clone --quiet --no-checkout "$repository" "$code" || return 1
    git -C "$code" checkout --quiet --detach "$3" || return 1
    [[ ! -s $2/diff ]] || git -C "$code" apply --binary --whitespace=nowarn "$2/diff" || return 1
    # Jobs write results, which are committed in the repository only: git in the copy treats them as unchanged.
    git -C "$code" ls-files -z demucs_results slurm_out \
        | git -C "$code" update-index -z --skip-worktree --stdin || return 1
    for path in "${code_links[@]}"; do
        [[ $path == */* || $path == .venv || -e $repository/$path ]] || mkdir -p "$repository/$path" || return 1
        [[ -e $repository/$path ]] || continue
        rm -rf "${code:?}/$path" || return 1
        mkdir -p "$(dirname "$code/$path")" && ln -s "$repository/$path" "$code/$path" || return 1
    done
    printf '/%s\n' "${code_links[@]}" >> "$code/.git/info/exclude"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    set -uo pipefail
    code_snapshot "${1:-$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")}"
fi
