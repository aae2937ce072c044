#!/bin/bash
# How common.sh reads the cluster file: nothing that bash would stumble over half-way, or take into the values without a
# word, gets as far as a job. Bash and what it brings along, since which Python there is stands in that file.

[ -n "${BASH_VERSION:-}" ] || { echo "$0 is for bash, not for sh: bash $0 $*" >&2; exit 2; }

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
