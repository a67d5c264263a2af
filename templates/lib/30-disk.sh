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

unseen=''        # disks, each between blanks, whose partitions the kernel does not have as their table says
planned_disks='' # the kernel names of the disks that need_disk() found
planned_ids=''   # what --wipe may name, one a line
too_small=''     # disks, each between blanks, that need_disk() found too small for the plan

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

disk_to_use() { # DISK - the same, but nothing when need_disk() found it too small: what it holds does not matter then
    local names
    names=$(disk_named "$1")
    case $too_small in *" ${names:-none} "*) ;; *) printf '%s' "$names" ;; esac
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
        refuse "disk $names holds $size MiB, the plan needs $2 MiB; give its partitions less in the plan, or take a larger disk"
        too_small="$too_small $names "
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
    while IFS= read -r name; do
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
    disk=$(disk_to_use "$id")
    [ -b "/dev/${disk:-none}" ] || return 0 # need_disk told it
    shift
    wanted_partitions "$disk" "$@" >"$work/$disk.wanted"
    if [ "$phase" = look ]; then
        partitions_of "$disk" >"$work/$disk.had"
    fi
    had=$(cut -d ' ' -f 1-3,5- "$work/$disk.had")
    wanted=$(cat "$work/$disk.wanted")
    if [ "$had" = "$wanted" ]; then
        write_again_if_damaged "$disk"
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

write_again_if_damaged() { # DISK - its table is the plan's, in one of its two copies; the kernel reads the first one only
    local lost why
    lost=$(parts_not_seen "$1")
    why=$(first_copy_of_table "$1")
    if [ -z "$lost$why" ]; then
        [ "$phase" = look ] || so "partition table of $1"
        return 0
    fi
    say "  ${why:-the kernel does not see partition$lost of $1 where the table has it}; the same table is written again, nothing else changes"
    if [ "$phase" = look ]; then
        [ -z "$lost" ] || refuse_if_used "$1"
        [ -z "$lost" ] || unseen="$unseen $1 "
        return 0
    fi
    run write_table "$1"
    [ "$apply" = no ] || unseen=''
}

parts_not_seen() { # DISK - the planned partitions that the kernel has elsewhere than the plan, or not at all, each with a blank before it
    local number start size name part
    while read -r number start size name; do
        part=$(part_at "$1" "$number")
        [ "$part" = "$1p$number" ] || printf ' %s' "$number"
    done <"$work/$1.wanted"
}

first_copy_of_table() { # DISK - what is wrong with it, after partitions_of(): Linux takes a GPT without it for none (block/partitions/efi.c)
    ! grep -q 'primary GPT table is corrupt' "$work/$1.said" || printf 'the first copy of the partition table of %s is damaged' "$1"
}

need_table() { # DISK [NAME START SIZE]... - the disk's table is the plan's: who writes to a partition by its number asks first
    local disk had wanted
    disk=$(disk_named "$1")
    [ -b "/dev/${disk:-none}" ] || return 0 # whoever needs the disk tells it
    shift
    wanted_partitions "$disk" "$@" >"$work/$disk.wanted"
    partitions_of "$disk" >"$work/$disk.had"
    had=$(cut -d ' ' -f 1-3,5- "$work/$disk.had")
    wanted=$(cat "$work/$disk.wanted")
    if [ "$had" != "$wanted" ]; then
        list_disk "$disk"
        refuse "the partition table of $disk is not that of the plan: correct the plan, or see what would change with: sh $this_script install"
        return 0
    fi
    had=$(parts_not_seen "$disk")
    [ -z "$had" ] || had="the kernel does not see partition$had of $disk where the table has it"
    wanted=$(first_copy_of_table "$disk")
    [ -z "$had$wanted" ] || refuse "${wanted:-$had}; what writes the same table again: sh $this_script install --apply"
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
    sfdisk --dump "/dev/$1" >"$dump" 2>"$work/$1.said" || return 0
    kind=$(sed -n 's/^label: //p' "$dump")
    [ "$kind" = gpt ] || printf 'other %s\n' "$kind"
    sed -n -e '/^\/dev\//!d' \
        -e 's/^[^:]*[^0-9]\([0-9]*\) : start= *\([0-9]*\), size= *\([0-9]*\),.* uuid=\([0-9A-Fa-f-]*\).*name="\(.*\)".*/\1 \2 \3 \4 \5/p;t' \
        -e 's/^[^:]*[^0-9]\([0-9]*\) : start= *\([0-9]*\), size= *\([0-9]*\),.* uuid=\([0-9A-Fa-f-]*\).*/\1 \2 \3 \4 /p;t' \
        -e 's/^[^:]*[^0-9]\([0-9]*\) : start= *\([0-9]*\), size= *\([0-9]*\).*/\1 \2 \3 - /p' "$dump"
}

uuid_in_table() { # DISK NUMBER - the PARTUUID of that partition as need_table() found it; nothing when it has none
    sed -n "s/^$2 [0-9]* [0-9]* \\([0-9A-Fa-f-]*\\) .*/\\1/p" "$work/$1.had"
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
    # A disk that is in use gets the very table that the kernel has: no need to read it again, which it would refuse.
    have=$(blocks_of "$1")
    # shellcheck disable=SC2086 # kernel names, split on purpose
    have=$(users_of $have)
    sfdisk --wipe always --wipe-partitions never ${have:+--no-reread --no-tell-kernel} "/dev/$1" <"$work/$1.sfdisk"
    partitions_of "$1" >"$work/$1.now"
    have=$(cut -d ' ' -f 1-3,5- "$work/$1.now")
    want=$(cat "$work/$1.wanted")
    [ "$have" = "$want" ] || fail "the partition table of $1 does not read back as it was written"
    while read -r number start size name; do
        wait_for_part "$1" "$number"
    done <"$work/$1.wanted"
}
