#!/bin/bash
# A queued job runs the code that it was submitted with: a copy of the repository as it is now, in outputs/code/.
#   source slurm_scripts/code_snapshot.sh; folder=$(code_snapshot REPOSITORY)
#   slurm_scripts/code_snapshot.sh [REPOSITORY]
# Prints the folder of the copy: COMMIT, or COMMIT-HASH where tracked files differ from the commit, which the copy has
# as they are. Files that git does not track are not copied. What is no code (outputs, data, models, results, .venv) are
# links back, so a job that starts in the copy leaves everything where it belongs. The same code gives the same folder.
# DEMUCS_CODE_SNAPSHOT=0, and a repository that is no git checkout: prints REPOSITORY itself. Needs git, once, here.

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
    code_snapshot_name "$repository" "$fresh" "$commit" && code_snapshot_make "$repository" "$fresh" "$commit" || status=1
    rm -rf "$fresh"
    [[ $status == 0 ]] || { echo "code_snapshot.sh: cannot copy the code of $repository to outputs/code" >&2; return 1; }
    echo "$target"
}

# Sets `target`, and writes what differs from the commit to $2/diff.
code_snapshot_name() {
    local hash
    git -C "$1" diff HEAD --binary --no-color --no-ext-diff -- . ':(exclude)demucs_results' > "$2/diff" || return 1
    target=$1/outputs/code/$3
    [[ -s $2/diff ]] || return 0
    hash=$(git hash-object "$2/diff") || return 1
    target+=-${hash:0:8}
}

# Fills `target`, where nobody else has: at once, with a clone that is complete.
code_snapshot_make() {
    [[ ! -d $target ]] || return 0
    chmod 755 "$2" && code_snapshot_fill "$@" || return 1
    mv -T "$2/code" "$target" 2>/dev/null || [[ -d $target ]]
}

# A clone of its own: what happens to the repository later does not touch it.
code_snapshot_fill() {
    local repository=$1 code=$2/code path
    git clone --quiet --no-checkout "$repository" "$code" || return 1
    git -C "$code" checkout --quiet --detach "$3" || return 1
    [[ ! -s $2/diff ]] || git -C "$code" apply --binary --whitespace=nowarn "$2/diff" || return 1
    # Results are written by jobs and committed by people. To git in the copy they are as they were.
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
