# shellcheck shell=busybox enable=check-set-e-suppressed,check-extra-masked-returns,quote-safe-variables
# ---- library: disks and partition tables -----------------------------------------------------
#
# A disk is named by what does not change: serial:TEXT or pci:ADDRESS. What a disk holds is lost only
# when it is blank, when an unfinished run of this very plan wrote its mark there, or with --wipe.
#
# $work/DISK.had     the partitions found before any change   each line: number start size uuid name
# $work/DISK.wanted  the partitions of the plan                each line: number start size name
# Start and size are in the disk's own sectors, as sfdisk counts them.
#
# A disk and its partitions are read past the page cache (iflag=direct): the kernel caches /dev/nvme0n1 and
# /dev/nvme0n1p1 apart, and one would show what was there before the other was written.

not_ours=''   # blocks of 4 KiB in the next MiB that blank_at() does not look at, like 0-7
blank=no      # what blank_disk() and blank_at() found
planned_disks='' # the kernel names of the disks that need_disk() found
planned_ids=''   # what --wipe may name, one a line

disk_named() { # DISK - the kernel's names of the disks that are DISK, one a line
    local entry have
    for entry in /sys/class/block/nvme*; do
        [ -e "$entry/device/serial" ] || continue # a partition is no device of its own
        have=''
        case $1 in
            serial:*) read -r have <"$entry/device/serial" || true ;;
            *) read -r have <"$entry/device/address" || true ;;
        esac
        [ "$have" != "${1#*:}" ] || printf '%s\n' "${entry##*/}"
    done
}

disks_here() { # - every NVMe disk of this router, for a message
    local entry serial model
    for entry in /sys/class/block/nvme*; do
        [ -e "$entry/device/serial" ] || continue
        serial='' model=''
        read -r serial <"$entry/device/serial" || true
        read -r model <"$entry/device/model" || true
        printf " %s serial '%s' (%s)" "${entry##*/}" "$serial" "$model"
    done
}

need_disk() { # DISK MIB - exactly one disk here is DISK, and it holds MIB mebibytes or more
    local names here size read_only
    planned_ids="$planned_ids$newline${1#*:}"
    names=$(disk_named "$1")
    case $names in
        '')
            here=$(disks_here)
            refuse "no disk here is '$1'; here are:${here:- none (is kmod-nvme loaded, does the M.2 link come up?)}"
            return 0
            ;;
        *[!0-9a-z]*)
            names=$(printf '%s' "$names" | tr '\n' ' ')
            refuse "more than one disk is '$1': $names"
            return 0
            ;;
        *) ;;
    esac
    read -r size <"/sys/class/block/$names/size"
    size=$((size / 2048))
    read_only=0
    [ ! -e "/sys/class/block/$names/ro" ] || read -r read_only <"/sys/class/block/$names/ro"
    if [ "$size" -lt "$2" ]; then
        refuse "disk $names holds $size MiB, the plan needs $2 MiB"
    elif [ "$read_only" != 0 ]; then
        refuse "disk $names is read-only"
    else
        case " $planned_disks " in
            *" $names "*)
                refuse "disk $names is in the plan twice: it is also '$1'"
                stop_if_refused # the plan's partitions cannot be looked at one disk at a time any more
                ;;
            *) say "  disk $1 is $names, $size MiB" ;;
        esac
        planned_disks="$planned_disks $names"
        tell_link "$names"
    fi
}

tell_link() { # DISK - how its PCIe link came up, for the log: a flaky link often comes up narrow or slow
    local width='' speed='' pci="/sys/class/block/$1/device/device"
    [ ! -e "$pci/current_link_width" ] || read -r width <"$pci/current_link_width"
    [ ! -e "$pci/current_link_speed" ] || read -r speed <"$pci/current_link_speed"
    [ -z "$width" ] || say "  its PCIe link is x$width${speed:+ at $speed}"
}

need_pci() { # DISK ADDRESS - that disk sits at that PCI address
    local disk have=''
    disk=$(disk_named "$1")
    [ -b "/dev/${disk:-none}" ] || return 0 # need_disk told it
    read -r have <"/sys/class/block/$disk/device/address" || true
    [ "$have" = "$2" ] || refuse "disk '$1' is at PCI address $have, the plan says $2"
}

need_wipe_to_fit() { # - what --wipe names are disks of this plan
    local name
    while read -r name; do
        case "$planned_ids$newline" in
            *"$newline$name$newline"*) ;;
            *) [ -z "$name" ] || refuse "--wipe names '$name', which is no disk of this plan" ;;
        esac
    done <<END
$wipe
END
}

partition_disk() { # DISK [NAME START SIZE]... - a GPT with these partitions and no others; MiB, and rest for what is left
    local id=$1 disk had wanted numbers
    disk=$(disk_named "$id")
    [ -b "/dev/${disk:-none}" ] || return 0 # need_disk told it
    shift
    wanted_partitions "$disk" "$@" >"$work/$disk.wanted"
    if [ "$phase" = look ]; then
        partitions_of "$disk" >"$work/$disk.had"
    fi
    had=$(cut -d ' ' -f 1-3,5- "$work/$disk.had")
    wanted=$(cat "$work/$disk.wanted")
    if [ "$had" = "$wanted" ]; then
        [ "$phase" = look ] || so "partition table of $disk"
        unmark_what_is_done "$disk" table # a run ended just behind the writing
        return 0
    fi
    if [ "$phase" = look ]; then
        refuse_if_used "$disk"
        refuse_if_openwrts "$disk"
        refuse_unless_blank "$disk" "$id"
        return 0
    fi
    show_wanted "$disk"
    numbers=$(numbers_to_make "$disk")
    run write_mark "$disk" "table$numbers"
    run write_table "$disk"
    run write_mark "$disk" "${numbers# }"
}

show_wanted() { # DISK - the partitions about to be
    local number start size name bytes
    bytes=$(sector_bytes "$1")
    while read -r number start size name; do
        say "    partition $number '$name': from $((start * bytes / 1048576)) MiB, $((size * bytes / 1048576)) MiB"
    done <"$work/$1.wanted"
}

sector_bytes() { # DISK - bytes of one sector as sfdisk counts them
    cat "/sys/class/block/$1/queue/logical_block_size"
}

wanted_partitions() { # DISK [NAME START SIZE]... - the plan's partitions in this disk's sectors
    local disk=$1 number=0 start size total bytes per_mib
    shift
    bytes=$(sector_bytes "$disk")
    per_mib=$((1048576 / bytes))
    read -r total <"/sys/class/block/$disk/size" # always in 512-byte sectors
    total=$((total / 2048))
    while [ "$#" -ge 3 ]; do
        number=$((number + 1))
        start=$2 size=$3
        # The last MiB is the backup table's.
        [ "$size" != rest ] || size=$((total - 1 - start))
        printf '%s %s %s %s\n' "$number" $((start * per_mib)) $((size * per_mib)) "$1"
        shift 3
    done
}

partitions_of() { # DISK - what its table says; nothing when it has none, one line "other LABEL" when it is no GPT
    local dump="$work/$1.dump" kind
    sfdisk --dump "/dev/$1" >"$dump" 2>/dev/null || return 0
    kind=$(sed -n 's/^label: //p' "$dump")
    [ "$kind" = gpt ] || printf 'other %s\n' "$kind"
    sed -n -e '/^\/dev\//!d' \
        -e 's/^[^:]*[^0-9]\([0-9]*\) : start= *\([0-9]*\), size= *\([0-9]*\),.* uuid=\([0-9A-Fa-f-]*\).*name="\(.*\)".*/\1 \2 \3 \4 \5/p;t' \
        -e 's/^[^:]*[^0-9]\([0-9]*\) : start= *\([0-9]*\), size= *\([0-9]*\),.* uuid=\([0-9A-Fa-f-]*\).*/\1 \2 \3 \4 /p;t' \
        -e 's/^[^:]*[^0-9]\([0-9]*\) : start= *\([0-9]*\), size= *\([0-9]*\).*/\1 \2 \3 - /p' "$dump"
}

kept_uuid() { # DISK START SIZE - the PARTUUID of what was at this very place before; - if it had none; nothing if nothing was there
    sed -n "s/^[0-9]* $2 $3 \\([0-9A-Fa-f-][0-9A-Fa-f-]*\\) .*/\\1/p" "$work/$1.had"
}

numbers_to_make() { # DISK - the planned partitions that were not at that place before, each with a blank before it
    local number start size name uuid
    while read -r number start size name; do
        uuid=$(kept_uuid "$1" "$start" "$size")
        [ -n "$uuid" ] || printf ' %s' "$number"
    done <"$work/$1.wanted"
}

write_table() { # DISK - writes $work/DISK.wanted as a GPT and reads it back
    local number start size name uuid have want
    {
        printf 'label: gpt\n'
        while read -r number start size name; do
            uuid=$(kept_uuid "$1" "$start" "$size")
            case $uuid in
                '' | -) ;;
                *) uuid=", uuid=$uuid" ;;
            esac
            printf 'start=%s, size=%s%s, name="%s"\n' "$start" "$size" "$uuid" "$name"
        done <"$work/$1.wanted"
    } >"$work/$1.sfdisk"
    sfdisk --wipe always --wipe-partitions never "/dev/$1" <"$work/$1.sfdisk"
    partitions_of "$1" >"$work/$1.now"
    have=$(cut -d ' ' -f 1-3,5- "$work/$1.now")
    want=$(cat "$work/$1.wanted")
    [ "$have" = "$want" ] || fail "the partition table of $1 does not read back as it was written"
    while read -r number start size name; do
        wait_for_part "$1" "$number"
    done <"$work/$1.wanted"
}

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
    local blocks users
    blocks=$(blocks_of "$1")
    # shellcheck disable=SC2086 # kernel names, split on purpose
    users=$(users_of $blocks)
    [ -z "$users" ] || refuse "the partition table of $1 must change, but the disk is in use:$users"
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

# The mark says which parts of a disk were being made new when a run was cut off, so that the same
# command again may go on without --wipe. It stands in the gap before the first partition, at 512 KiB,
# one block, and only while something is unfinished.

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
