# ---- library: what a copy of the system would lack ----------------------------------------------------
#
# Names that are too long stop each of BusyBox's commands. Capabilities, ACLs and flags like immutable are lost on the
# way: no stock command copies them, and none sees them. Who gave them to a file has the command that shows them.

names_seen=no # yes when see_names() could list everything

see_names() { # FOLDER - lists all that is in it into $work/list; refuses names that are too long to be copied
    local long=''
    names_seen=no
    # What went away meanwhile is no reason.
    find "$1" -print0 >"$work/names" 2>"$work/told" || long=$(sed -n '/name too long/p' "$work/told" | cut -c 7-100)
    tr '\n\0' '?\n' <"$work/names" >"$work/list"
    # The copy's mount point is 36 bytes long, and the whole must stay below 4,096.
    [ -n "$long" ] || long=$(awk -v most=$((${#1} + 4040)) 'length($0) > most { print substr($0, 1, 94); exit }' "$work/list")
    if [ -n "$long" ]; then
        long=${long%%"$newline"*}
        refuse "the system has a path of more than 4,040 bytes, which cannot be copied; make it shorter, or remove it: ${long#"$1"}..."
        return 0
    fi
    names_seen=yes
}

tell_uncopied() { # FOLDER ROOT - files with flags, capabilities or ACLs, as far as a command that shows them is installed
    # An overlay keeps immutable in an attribute of its own, and shows it only in what is merged.
    show_with lsattr -R -a "$2"
    awk -v from="$2" '
        $1 ~ /^[-A-Za-z]*$/ && $1 ~ /[ai]/ {
            name = substr($0, index($0, " ") + 1)
            if (index(name, from "/") == 1) print substr(name, length(from) + 1)
        }
    ' "$work/shown" >"$work/uncopied"
    tell_first 'flags like immutable (lsattr)'
    show_with getcap -r "$1"
    sed -n -e "s|^$1\\(/.*\\) = .*|\\1|p;t" -e "s|^$1\\(/.*\\) [^ ]*=.*|\\1|p" "$work/shown" >"$work/uncopied"
    tell_first 'capabilities (getcap)'
    show_with getfacl -R -s -p "$1"
    sed -n "s|^# file: $1\\(/.*\\)|\\1|p" "$work/shown" >"$work/uncopied"
    tell_first 'access control lists (getfacl)'
}

show_with() { # COMMAND WORD... - what it prints to $work/shown; nothing when it is not installed
    : >"$work/shown"
    ! command -v "$1" >/dev/null || "$@" >"$work/shown" 2>>"$log" || true
}

tell_first() { # WHAT - the first of the files in $work/uncopied
    local names
    names=$(head -n 3 "$work/uncopied" | tr '\n' ' ')
    [ -z "$names" ] || note "$1 are not copied; give them again after the restart to: $names"
}
