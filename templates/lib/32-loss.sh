# ---- library: what may be lost ------------------------------------------------------------------
#
# Nothing, unless it is blank, or --wipe names its disk. And what this plan itself left unfinished, told by
# the mark: one block at 512 KiB, in the gap before the first partition.
#
#   `table 1 2`   before a new table is written   half of it, at both ends of the disk, may be overwritten
#   `1 2`         when it reads back              these partitions may get a file system, unless they hold files
#   `2`           when 1 has its file system
#   nothing       when all have

blank=no    # what blank_disk() and blank_at() found
not_ours='' # blocks of 4 KiB in the next MiB that blank_at() does not look at, like 0-7

users_of() { # BLOCK... - what uses these block devices (kernel names), for a message; nothing when nothing does
    local block number holder
    for block; do
        read -r number <"/sys/class/block/$block/dev" || continue
        awk -v number="$number" '$3 == number { printf " %s", $5 }' /proc/self/mountinfo
        awk -v device="/dev/$block" '$1 == device { printf " swap" }' /proc/swaps
        for holder in /sys/class/block/"$block"/holders/*; do
            [ ! -e "$holder" ] || printf ' %s' "${holder##*/}"
        done
    done
}

blocks_of() { # DISK - the kernel names of a disk and of its partitions, on one line
    local entry
    printf '%s' "$1"
    for entry in /sys/class/block/"$1"p*; do
        [ ! -e "$entry/partition" ] || printf ' %s' "${entry##*/}"
    done
}

refuse_if_used() { # DISK - nothing of it may be in use when its table changes
    local blocks users way
    blocks=$(blocks_of "$1")
    # shellcheck disable=SC2086 # kernel names, split on purpose
    users=$(users_of $blocks)
    way=$(how_to_leave "$users")
    [ -z "$users" ] || refuse "the partition table of $1 must change, but the disk is in use:$users$way"
}

how_to_leave() { # USERS - what users_of() told: what to type first; when the running root is among them, how to start without it
    local user
    case "$1 " in
        *' / '* | *' /overlay '* | *' /rom '*)
            printf '; start the router from the boot medium alone first: '
            way_back
            return 0
            ;;
        *) ;;
    esac
    set -f # a mount point may look like a pattern
    for user in $1; do
        case $user in /*) printf '; umount %s' "$user" ;; *) ;; esac
    done
    set +f
}

refuse_if_openwrts() { # DISK - it must not carry what the router boots from, not even with --wipe
    local names
    names=$(sed -n 's/^[0-9]* [0-9]* [0-9]* [^ ]* \(bl2\|fip\|ubootenv\|factory\)$/\1/p' "$work/$1.had")
    [ -z "$names" ] || refuse "disk $1 has partitions of a boot layout ($names); this script does not touch them"
}

refuse_unless_blank() { # DISK ID - a new table needs a blank disk, or one on which this plan's first table was cut off, or --wipe
    local mark torn=no
    mark=$(marked "$1")
    case " $mark " in *' table '*) torn=yes ;; *) ;; esac
    blank_disk "$1" "$torn"
    [ "$blank" = yes ] || refuse_unless_disposable "$1" "$2" table
}

refuse_unless_disposable() { # DISK ID ROLE - what the disk holds may be lost only with --wipe ID; lists it
    local word
    case "$newline$wipe$newline" in
        *"$newline${2#*:}$newline"*)
            # With --recopy it is the copy of the system that may be lost, nothing else.
            case $recopy/$3 in no/* | */root | */overlay) return 0 ;; *) ;; esac
            ;;
        *) ;;
    esac
    list_disk "$1"
    word=$(as_typed "${2#*:}")
    refuse "disk $1 is not blank and is not as the plan wants it; look at the list above, and if nothing of it is needed add: --wipe $word"
}

list_disk() { # DISK - what it holds, as far as we can tell
    local number start size uuid name kind bytes
    bytes=$(sector_bytes "$1")
    say "  disk $1 holds:"
    while read -r number start size uuid name; do
        if [ "$number" = other ]; then
            say "    a partition table of kind '$start'"
            continue
        fi
        probe "/dev/$1p$number" 0
        say "    $number '$name', $((size * bytes / 1048576)) MiB: $kind '$label'"
    done <"$work/$1.had"
    if [ ! -s "$work/$1.had" ]; then
        probe "/dev/$1" 0
        say "    no partitions; at its beginning: $kind '$label'"
    fi
}

blank_disk() { # DISK TORN - sets blank=yes when it has no table and holds zeros wherever a table, the plan or RAID data would be
    # TORN yes: this plan was writing the first table there; half of it, at both ends, and our mark are no one's data.
    local disk=$1 torn=$2 total start bytes number rest
    blank=no
    [ ! -s "$work/$disk.had" ] || return 0
    if [ "$torn" = yes ]; then
        probe "/dev/$disk" 0
        [ "$kind" = 'unknown data' ] || return 0
    fi
    bytes=$(sector_bytes "$disk")
    read -r total <"/sys/class/block/$disk/size"
    total=$((total * 512 / bytes))
    not_ours=''
    [ "$torn" = no ] || not_ours='0-7 128-128'
    blank_at "/dev/$disk" 0 1048576
    # The last MiB counted from the very end: disks are no whole number of MiB, and RAID data stand there.
    [ "$torn" = no ] || not_ours='248-255'
    [ "$blank" = no ] || blank_at "/dev/$disk" $((total - 1048576 / bytes)) "$bytes"
    not_ours=''
    while [ "$blank" = yes ] && read -r number start rest; do
        blank_at "/dev/$disk" $((start * bytes / 1048576)) 1048576
    done <"$work/$disk.wanted"
}

blank_at() { # DEVICE BLOCK BYTES - sets blank=yes when the MiB that begins at that block (of so many bytes) is all zeros
    local left got
    dd if="$1" of="$work/head" bs="$3" skip="$2" count=$((1048576 / $3)) iflag=direct 2>/dev/null
    got=$(wc -c <"$work/head")
    for left in $not_ours; do
        dd if=/dev/zero of="$work/head" bs=4096 seek="${left%-*}" count=$((${left#*-} - ${left%-*} + 1)) conv=notrunc 2>/dev/null
    done
    left=$(bytes_not_zero "$work/head")
    blank=no
    [ "$got/$left" != 1048576/0 ] || blank=yes
}

bytes_not_zero() { # FILE - how many
    tr -d '\0' <"$1" >"$work/left"
    wc -c <"$work/left"
}

write_mark() { # DISK WHAT - WHAT: blank-separated `table` and numbers; empty takes the mark away
    if [ -n "$2" ]; then
        printf 'bootplan-unfinished %s %s\n' "$plan_digest" "$2" >"$work/mark"
    else
        printf '\0' >"$work/mark"
    fi
    dd if="$work/mark" of="/dev/$1" bs=4096 seek=128 count=1 conv=sync,notrunc,fsync 2>/dev/null
}

marked() { # DISK - what the mark of this very plan names, blank-separated; nothing when there is none
    dd if="/dev/$1" of="$work/mark" bs=4096 skip=128 count=1 iflag=direct 2>/dev/null
    sed -n "1s/^bootplan-unfinished $plan_digest //p" "$work/mark"
}

unmark_what_is_done() { # DISK WORD - takes the word off the mark if it is on it and the second walk is under way
    local words
    words=$(marked "$1")
    case "$phase: $words " in
        'change:'*" $2 "*) run unmark "$1" "$2" ;;
        *) ;;
    esac
}

unmark() { # DISK WORD - that partition (its number) is made, or the table is written
    local number rest=''
    for number in $(marked "$1"); do
        [ "$number" = "$2" ] || rest="$rest $number"
    done
    write_mark "$1" "${rest# }"
}
