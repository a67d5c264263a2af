# ---- library: a card in a reader -----------------------------------------------------------------------
#
# Which disk is a card, which word names it, who uses it, and how it is read and written: past the page cache, and only
# as long as it is the same card.

card=''         # the kernel's name of the card, like sdb or mmcblk0
card_node=''    # /dev/ and that
card_id=''      # what tells that it is still the same one
card_word=''    # what --wipe must name
card_sectors=0  # its size
card_reading=no # yes when nothing is to be written: check-sd
zeros=''        # what zeros_in_mib() found: yes or no

need_card() { # DEVICE - it is a card in a reader, and not in use; sets card and what belongs to it
    local path number
    see_card "$1"
    [ -n "$card" ] || return 0
    path=$(readlink -f "/sys/class/block/$card")
    need_removable "$path"
    see_word "$path"
    refuse_if_card_used
    card_id=$(card_identity)
}

see_card() { # DEVICE - sets card, card_node and card_sectors; card stays empty, and the reason is told, when it is no whole disk
    local node number entry have read_only=0 each=512
    card=''
    node=$(readlink -f "$1") || node=''
    if [ ! -b "${node:-/nowhere}" ]; then
        have=$(cards_here)
        refuse "'$1' is no block device; the cards and disks here are:${have:- none (on the router: is kmod-usb-storage installed?)}"
        return 0
    fi
    number=$(device_number "$node")
    for entry in /sys/class/block/*; do
        [ -e "$entry/dev" ] || continue
        read -r have <"$entry/dev"
        [ "$have" != "$number" ] || card=${entry##*/}
    done
    if [ -z "$card" ]; then
        refuse "the kernel has no disk with the number $number of '$1'"
        return 0
    fi
    entry=/sys/class/block/$card
    if [ -e "$entry/partition" ]; then
        entry=$(readlink -f "$entry")
        entry=${entry%/*}
        refuse "'$1' is a partition; name the whole card: /dev/${entry##*/}"
        card=''
        return 0
    fi
    card_node=/dev/$card
    have=''
    [ ! -b "$card_node" ] || have=$(device_number "$card_node")
    if [ "$have" != "$number" ]; then
        refuse "$card_node is not the device '$1'"
        card=''
        return 0
    fi
    read -r card_sectors <"$entry/size"
    [ ! -e "$entry/ro" ] || read -r read_only <"$entry/ro"
    [ ! -e "$entry/queue/logical_block_size" ] || read -r each <"$entry/queue/logical_block_size"
    if [ "$card_sectors" -eq 0 ]; then
        refuse "$card_node has no card in it"
        card=''
    elif [ "$each" -ne 512 ]; then
        refuse "$card_node has sectors of $each bytes; the image is for cards with 512"
        card=''
    elif [ "$read_only" != 0 ] && [ "$card_reading" = no ]; then
        refuse "$card_node is read-only (the little switch at the card's edge?)"
    fi
}

device_number() { # NODE - its numbers as sysfs writes them, like 8:16
    local line
    line=$(ls -ldnL "$1" 2>/dev/null) || line='' # it may be gone by now
    printf '%s' "$line" | awk '{ sub(",", "", $5); print $5 ":" $6 }'
}

cards_here() { # - what could be a card, for a message
    local entry size model
    for entry in /sys/class/block/sd* /sys/class/block/mmcblk*; do
        { [ -e "$entry/dev" ] && [ ! -e "$entry/partition" ]; } || continue
        read -r size <"$entry/size"
        model=$(card_model "${entry##*/}")
        printf ' /dev/%s (%s, %s MiB)' "${entry##*/}" "${model:-no name}" $((size / 2048))
    done
}

card_model() { # DISK - what its maker calls it
    local file model=''
    for file in model name; do
        [ -n "$model" ] || [ ! -e "/sys/class/block/$1/device/$file" ] ||
            read -r model <"/sys/class/block/$1/device/$file" || true
    done
    printf '%s' "$model" | printable
}

need_removable() { # PATH - that disk (its folder in sysfs) is a card or a stick, and not part of this computer
    local type='' flag=0 rootdisk
    case $card in
        mmcblk*)
            [ ! -e "$1/device/type" ] || read -r type <"$1/device/type"
            if [ "$type" != SD ] || [ -e "/sys/class/block/${card}boot0" ]; then
                refuse "$card_node is no SD card but of type ${type:-unknown}: the eMMC is part of the board"
            fi
            # On the board itself this is the one controller that cards and eMMC share.
            rootdisk=$(rootdisk_now)
            case $card_reading/$rootdisk in
                no/spim-nand | yes/*) ;;
                *)
                    [ ! -e "$tree/compatible" ] || ! grep -qs mt7988a "$tree/compatible" ||
                        refuse "$card_node is what this router was started from"
                    ;;
            esac
            ;;
        sd*)
            [ ! -e "$1/removable" ] || read -r flag <"$1/removable"
            case $1/$flag in
                */usb[0-9]* | */1) ;;
                *) refuse "$card_node is neither removable nor on USB: it is a disk of this computer" ;;
            esac
            ;;
        *) refuse "$card_node is no card in a reader (those are called sdX or mmcblkN)" ;;
    esac
    if [ "$card_sectors" -gt 4294967296 ]; then
        refuse "$card_node holds $((card_sectors / 2097152)) GiB: that is no card"
    fi
}

see_word() { # PATH - sets card_word: the serial number of the card, or its reader; or model and size
    local folder=$1 model
    card_word=''
    case $card in
        mmcblk*) [ ! -e "$1/device/serial" ] || read -r card_word <"$1/device/serial" || true ;;
        *)
            while [ "${#folder}" -gt 5 ] && [ ! -e "$folder/idVendor" ]; do
                folder=${folder%/*}
            done
            if [ -e "$folder/idVendor" ]; then
                [ ! -e "$folder/serial" ] || read -r card_word <"$folder/serial" || true
            fi
            if [ -z "$card_word" ] && [ -e "$1/device/vpd_pg80" ]; then
                # 4 bytes of a header, then the number
                tail -c +5 "$1/device/vpd_pg80" >"$work/serial"
                card_word=$(tr -cd '!-~' <"$work/serial")
            fi
            ;;
    esac
    if [ -z "$card_word" ]; then
        model=$(card_model "$card")
        card_word="${model:-card}:$((card_sectors * 512))"
    fi
    card_word=$(printf '%s' "$card_word" | printable)
}

card_blocks() { # - the kernel's names of the card and its partitions, on one line
    local entry
    printf '%s' "$card"
    for entry in "/sys/class/block/$card/$card"*; do
        [ ! -e "$entry/partition" ] || printf ' %s' "${entry##*/}"
    done
}

refuse_if_card_used() { # - nothing of the card may be mounted, swapped to, or part of another device
    local blocks block users='' more number
    blocks=$(card_blocks)
    # shellcheck disable=SC2086 # kernel names, split on purpose
    users=$(users_of $blocks)
    for block in $blocks; do
        read -r number <"/sys/class/block/$block/dev"
        more=$(sources_of "$number")
        case " $users " in *"$more "*) ;; *) users="$users$more" ;; esac
    done
    if [ -n "$users" ]; then
        refuse "$card_node is in use:$users; unmount it first, if it is the right one"
        return 0
    fi
    # What nothing in /proc and /sys tells, like the second disk of a btrfs: with -n nothing is written, and nothing is
    # but tried that somebody else has for himself.
    users=$(LC_ALL=C mkfs.ext4 -n -F "$card_node" 2>&1 </dev/null) || true
    case $users in
        *' in use by the system'* | *' is mounted'*) refuse "$card_node is in use by another program or device" ;;
        *) ;;
    esac
}

sources_of() { # NUMBER - where something is mounted, or swapped to, from a device with that number, by whatever name
    local source place rest
    while read -r source place rest; do
        case $source in
            /dev/*) same_number "$source" "$1" "$place" ;;
            *) ;;
        esac
    done </proc/mounts
    while read -r source rest; do
        case $source in
            /dev/*) same_number "$source" "$1" swap ;;
            *) ;;
        esac
    done </proc/swaps
}

same_number() { # NODE NUMBER WORD - prints WORD when that node has that number
    local have
    [ -b "$1" ] || return 0
    have=$(device_number "$1")
    [ "$have" != "$2" ] || printf ' %s' "$3"
}

# ---- to and from it

card_identity() { # - number, size, word and the kernel's count of media: another card in the same reader is another one
    local size='' number='' sequence=''
    [ ! -e "/sys/class/block/$card/size" ] || read -r size <"/sys/class/block/$card/size"
    [ ! -b "$card_node" ] || number=$(device_number "$card_node")
    [ ! -e "/sys/class/block/$card/diskseq" ] || read -r sequence <"/sys/class/block/$card/diskseq"
    printf '%s %s %s %s' "$number" "$size" "$card_word" "$sequence"
}

need_same_card() { # - nobody pulled it out: what is written to a node that is gone would land in RAM, and read back well
    local now
    now=$(card_identity)
    [ "$now" != "$card_id" ] || return 0
    [ ! -f "$card_node" ] || rm -f "$card_node"
    fail "the card is not there any more, or another one is"
}

card_to() { # FILE SIZE FIRST COUNT - so many blocks of that size of the card into a file, read past the page cache; or the run ends here
    if dd if="$card_node" of="$1" bs="$2" skip="$3" count="$4" iflag=fullblock,direct 2>"$work/dd"; then
        return 0
    fi
    cat "$work/dd" >>"$log"
    [ "$phase" = look ] || fail "the card cannot be read at byte $(($2 * $3))"
    refuse "the card cannot be read at byte $(($2 * $3)): it is broken, or was pulled out"
    stop_if_refused
}

card_mib() { # NUMBER - that MiB of the card to $work/mib
    card_to "$work/mib" 1048576 "$1" 1
}

card_sum_at() { # OFFSET BYTES - the SHA-256 of these bytes of the card, read past the page cache
    local each=1048576 sum
    while [ $(($1 % each)) -ne 0 ]; do
        each=$((each / 2))
    done
    # shellcheck disable=SC2312 # what could not be read has another sum
    sum=$(dd if="$card_node" bs="$each" skip=$(($1 / each)) count=$((($2 + each - 1) / each)) iflag=fullblock,direct 2>/dev/null |
        head -c "$2" | sha256sum)
    printf '%s' "${sum%% *}"
}

zeros_in_mib() { # - sets zeros: is there nothing else in $work/mib?
    local left
    left=$(bytes_not_zero "$work/mib")
    zeros=no
    [ "$((left))" -ne 0 ] || zeros=yes
}

put_on_card() { # WORD... - dd with these words, to the card and on it; the reason when it does not go there
    dd "$@" of="$card_node" conv=notrunc,fsync 2>>"$log" || {
        need_same_card
        fail "$card_node cannot be written any more"
    }
}

at_card() { # MIB FILE - that file (a MiB, or less) to that place of the card, and on it
    need_same_card
    put_on_card if="$2" bs=4096 seek=$(($1 * 256))
    need_same_card
}
