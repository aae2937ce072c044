#!/bin/bash
# Reading and checking of the cluster file, for common.sh. Errors in it that would stop bash in the middle of the file,
# or silently change a value, are found before a job is submitted. Written in bash, since the file defines which Python
# to use.

[ -n "${BASH_VERSION:-}" ] || { echo "$0 is for bash, not for sh: bash $0 $*" >&2; exit 2; }

# Reads the settings of the cluster, and the function cluster_setup, which loads modules.
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
    # Jobs run in a copy of the code, where a relative path would be wrong.
    if [[ ${DEMUCS_MUSDB:-/} != /* ]]; then
        if [[ -d $DEMUCS_MUSDB ]]; then DEMUCS_MUSDB=$PWD/$DEMUCS_MUSDB; else DEMUCS_MUSDB=$repository/$DEMUCS_MUSDB; fi
        export DEMUCS_MUSDB
    fi
}

check_cluster_file() {
    local reason
    [[ -f $cluster_file && -r $cluster_file ]] \
        || fail "$cluster_file cannot be read: it must be a file that you may read"
    ! grep -q $'\r' "$cluster_file" \
        || fail "$cluster_file has lines that end as on Windows (CRLF): sed -i 's/\\r\$//' ${cluster_file@Q}"
    ! LC_ALL=C grep -q $'^\xef\xbb\xbf' "$cluster_file" \
        || fail "$cluster_file begins with a byte order mark: sed -i '1s/^\\xef\\xbb\\xbf//' ${cluster_file@Q}"
    reason=$(BASH_ENV='' LC_ALL=C bash -n "$cluster_file" 2>&1) || true
    reason=${reason%%$'\n'*}
    [[ -z $reason ]] \
        || fail "$cluster_file is no bash that can be read: ${reason#"$cluster_file: "}; correct that line" \
                "(a quote that is not closed shows at the end of the file)"
    check_substitutions
}

# Finds an invalid ${...}: bash only prints a message for it, skips the command and continues. Comments and text in
# single quotes are ignored.
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

# Runs code of the cluster file, without the shell options of these scripts, which modules and similar programs do not
# expect. Its output goes to stderr, so that it is not taken for a result. A failing command of the file itself ends the
# script, as does an exit.
of_the_cluster() {
    local - IFS=$' \t\n' cluster_status cluster_level=$BASH_SUBSHELL cluster_from=$PWD cluster_code=("$@")
    # Local copies: the file may have variables of the same names.
    local repository=$repository scripts=$scripts script=$script name=$name mode=${mode:-} dry_run=${dry_run:-} \
          cluster_file=${cluster_file:-} test_only=${test_only:-} signature=${signature:-} \
          signature_only=${signature_only:-} arguments=("${arguments[@]}") usage=${usage:-}
    set --             # a sourced file would see the positional parameters
    set +eu -E
    trap 'cluster_failed "it ends the script, by exit or by an option such as set -u: leave that out"' EXIT
    trap 'cluster_status=$?; cluster_command_failed "$LINENO" "${FUNCNAME[0]:-}" "${BASH_SOURCE[0]:-}"' ERR
    "${cluster_code[@]}" >&2
    cluster_status=$?
    trap - ERR EXIT
    # Status 1 is accepted: the last line may be a condition that is false.
    [[ $cluster_status -le 1 ]] || cluster_failed "it returned $cluster_status"
    cd "$cluster_from" || cluster_failed "it left $cluster_from, which is gone"
    share_settings
}

# Handler for failing commands in the file itself and in cluster_setup. Commands in functions that these call may fail.
cluster_command_failed() {   # LINE FUNCTION FILE
    [[ $BASH_SUBSHELL == "$cluster_level" && $3 == "$cluster_file" && ( $2 == source || $2 == cluster_setup ) ]] \
        || return 0
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

# Exports the settings for sbatch and Python, even if the file does not. Options of sbatch (DEMUCS_*ARGS) are not
# exported: only these scripts read them, and a file that appends to them would append again in the job.
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

# Rejects empty values and values of several lines: the result of a failed command or a missing quote.
check_settings() {
    local setting
    for setting in "${!SBATCH_@}" DEMUCS_MUSDB; do
        grep -q "^[^#]*$setting=" "$cluster_file" && [[ -n ${!setting+set} ]] || continue
        [[ -n ${!setting} ]] || fail "$cluster_file leaves $setting empty: give it a value, or leave its line out"
        [[ ${!setting} != *$'\n'* ]] || fail "$cluster_file gives $setting a value of several lines: close its quote"
    done
}
