# ---- library: two trees, compared -------------------------------------------------------------------
#
# Lists in RAM: $work/names (NUL-terminated), $work/want and $work/have (a line for each name).

differences='' # what compare_names() and compare_bytes() found

compare_names() { # WANT HAVE - every entry's kind, mode, owner, size, time, link target, device number; sets differences
    local want have
    rm -f "$work/incomplete"
    (cd "$1" && find . -mindepth 1 -print0) >"$work/names"
    list_entries "$1" >"$work/want"
    [ ! -e "$work/incomplete" ] || differences="$differences not every name could be found again"
    list_entries "$2" >"$work/have"
    tell_difference
    want=$(count_names <"$work/names")
    have=$(wc -l <"$work/want")
    [ "$have" -ge "$want" ] || differences="$differences only $have of $want names were listed"
    (cd "$2" && find . -mindepth 1 ! -path './.bootplan*' ! -path './lost+found*' -print0) >"$work/have"
    have=$(count_names <"$work/have")
    [ "$want" -eq "$have" ] || differences="$differences $want entries became $have"
    trust_the_lists
}

trust_the_lists() { # - several commands do not notice a full file system, and half a list is like half a list
    local free
    free=$(room_in /tmp)
    [ "$free" -ge 1024 ] || fail "/tmp is full ($free KiB): what was compared there cannot be trusted"
}

for_each_name() { # FOLDER COMMAND [WORD]... - the command, in that folder, with all of $work/names; leaves $work/incomplete if it failed
    # By a pipe, not by a redirection: BusyBox runs an applet without exec, and when that applet exits, musl
    # sets a file it shares as standard input back by what xargs has read ahead; names would come twice.
    # shellcheck disable=SC2002,SC2312
    (cd "$1" && shift && cat "$work/names" | xargs -0 -r "$@") || touch "$work/incomplete"
}

count_names() { # - how many NUL-terminated names come in
    tr -dc '\0' >"$work/nuls"
    wc -c <"$work/nuls"
}

list_entries() { # FOLDER - a line for each name in $work/names; a missing one has no line
    # Left out: link counts; sizes of folders and times of links, which belong to the file system.
    for_each_name "$1" ls -dln --full-time >"$work/list" 2>/dev/null
    awk '
        { $2 = "" }
        /^d/ { $5 = "" }
        /^l/ { $6 = $7 = "" }
        { print }
    ' "$work/list"
}

compare_bytes() { # WANT HAVE - every regular file by SHA-256; sets differences
    rm -f "$work/incomplete"
    (cd "$1" && find . -type f -print0) >"$work/names"
    for_each_name "$2" sha256sum >"$work/have" 2>/dev/null &
    for_each_name "$1" sha256sum >"$work/want"
    wait "$!"
    # A file that could be read on neither side must not pass for equal.
    [ ! -e "$work/incomplete" ] || differences="$differences not every file could be read"
    tell_difference
    trust_the_lists
}

tell_difference() { # - adds the first lines of $work/want that $work/have lacks to differences
    ! cmp -s "$work/want" "$work/have" || return 0
    local lines
    lines=$(awk 'NR == FNR { have[$0]; next } !($0 in have) && n++ < 3' "$work/have" "$work/want")
    differences="$differences ${lines:-something that is there and should not be}"
}
