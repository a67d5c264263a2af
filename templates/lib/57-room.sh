# ---- library: room for the second slot -----------------------------------------------------------------
#
# On SPI-NAND OpenWrt gives all that is left to rootfs_data. Volumes for a second slot need a smaller one, which a
# sysupgrade makes when the environment has rootfs_data_max. So room is made in two runs, with a sysupgrade between.

room_missing='' # what has to be done before the slots can be made; nothing when there is room

make_volumes() { # FIRMWARE DATA - the UBI volumes of the slots that are not there yet, of so many bytes
    local names='' name device need=0 left
    [ "$slots_active" = no ] || return 0
    for name in $(slot_volumes); do
        device=$(volume_named "$name")
        [ -z "$device" ] || continue
        names="$names $name"
        left=$(volume_size "$name" "$1" "$2")
        left=$(blocks_for "$left")
        need=$((need + left))
    done
    if [ "$slots_kind" = pair ]; then # the first slot's kernel gets as much when an upgrade writes that slot
        device=$(volume_named fit) left=''
        [ -z "$device" ] || left=$(room_of "$device")
        left=$(blocks_for "${left:-$1}")
        device=$(blocks_for "$1")
        [ "$device" -le "$left" ] || need=$((need + device - left))
    fi
    if [ -z "$names" ]; then
        [ "$phase" = look ] || so "the volumes of the slots"
        return 0
    fi
    read -r left <"/sys/class/ubi/ubi0/avail_eraseblocks"
    if [ "$phase" = look ]; then
        [ "$left" -ge "$need" ] || see_room "$2" $((need - left))
        return 0
    fi
    for name in $names; do
        left=$(volume_size "$name" "$1" "$2")
        run ubimkvol /dev/ubi0 -N "$name" -s "$left"
        run volume_is_there "$name" "$left"
    done
}

slot_volumes() { # - the names of the volumes that must be there beside the stock ones
    local first
    case $slots_kind in
        pair)
            first=$(first_slot)
            first=$(other_slot "$first")
            printf 'fit_%s rootfs_data_%s' "$first" "$first"
            ;;
        volume) printf 'fit_a fit_b' ;;
        *) ;;
    esac
}

volume_size() { # NAME FIRMWARE DATA - the bytes that volume has to hold
    case $1 in rootfs_data*) printf '%s' "$3" ;; *) printf '%s' "$2" ;; esac
}

volume_is_there() { # NAME BYTES - it was made, as large as that, and its node is there
    local device room
    device=$(volume_named "$1")
    [ -n "$device" ] || fail "the volume $1 was not made"
    room=$(room_of "$device")
    [ "$room" -ge "$2" ] || fail "the volume $1 has $room bytes, not $2"
    wait_for_volume "$device"
}

wait_for_no_volume() { # DEVICE - until its node is gone; ten seconds at most, and then it may be gone later
    local second
    for second in 1 2 3 4 5 6 7 8 9 10; do
        [ -e "/dev/$1" ] || return 0
        sleep 1
    done
    note "/dev/$1 is still there after $second s"
}

wait_for_volume() { # DEVICE - until its node is there; ten seconds at most
    local second
    for second in 1 2 3 4 5 6 7 8 9 10; do
        [ ! -e "/dev/$1" ] || return 0
        sleep 1
    done
    fail "/dev/$1 does not appear (waited $second s)"
}

see_room() { # DATA BLOCKS - that many erase blocks are missing: can a smaller rootfs_data give them?
    local device have max
    device=$(volume_named rootfs_data)
    if [ -z "$device" ]; then
        refuse "there is no volume rootfs_data"
        return 0
    fi
    have=$(room_of "$device")
    max=$(blocks_for "$1")
    have=$(blocks_for "$have")
    if [ $((have - max)) -lt "$2" ]; then
        have=$(volumes_here)
        refuse "the SPI-NAND lacks $2 erase blocks for the volumes of the slots; here are:$have"
        return 0
    fi
    room_missing=$(printf '0x%x' "$1")
}

volumes_here() { # - every UBI volume and its size, for a message
    local entry name room
    for entry in /sys/class/ubi/ubi0_*; do
        [ -e "$entry/name" ] || continue
        read -r name <"$entry/name"
        room=$(room_of "${entry##*/}")
        printf ' %s (%s KiB)' "$name" $((room / 1024))
    done
}

make_room() { # - the next sysupgrade makes rootfs_data no larger than the plan says
    phase=change
    at='room for the second slot'
    change_env rootfs_data_max "$room_missing"
    [ "$env_change" = yes ] || so "rootfs_data_max"
    say "the SPI-NAND has no room for a second slot yet. What makes it, in this order:"
    say "  1. sh $this_script install --apply     (sets rootfs_data_max to $room_missing)"
    say "  2. sysupgrade IMAGE               (the image of this very release; keeps your settings, makes rootfs_data smaller, restarts)"
    say "  3. sh $this_script install             (again, with --apply when it shows what you want)"
}

make_card_partitions() { # MIB - partitions for two kernels, behind all others of the eMMC or SD card; nothing else of the table changes
    local name device all next end
    [ "$slots_active" = no ] || return 0
    device=$(card_part_named fit_b)
    name=$(card_part_named fit_a)
    if [ -n "$device" ] && [ -n "$name" ]; then
        [ "$phase" = look ] || so "the partitions fit_a and fit_b"
        return 0
    fi
    [ -z "$device$name" ] || refuse "only one of the partitions fit_a and fit_b exists; remove it first (sfdisk --delete /dev/mmcblk0 NUMBER)"
    sfdisk --dump /dev/mmcblk0 >"$work/card.dump" 2>/dev/null || true
    if grep -q 'name="fit_[ab]"' "$work/card.dump" && [ -z "$device$name" ]; then
        refuse "/dev/mmcblk0 has the partitions fit_a and fit_b, but the kernel does not know them yet; restart the router first"
        return 0
    fi
    grep -q '^label: gpt$' "$work/card.dump" || {
        refuse "/dev/mmcblk0 has no partition table of kind gpt"
        return 0
    }
    keep_card_table
    sed -n 's/.*start= *\([0-9]*\), size= *\([0-9]*\).*/\1 \2/p' "$work/card.dump" >"$work/card.places"
    end=$(awk '$1 + $2 > end { end = $1 + $2 } END { print end + 0 }' "$work/card.places")
    next=$(((end + 2047) / 2048 * 2048))
    read -r all </sys/class/block/mmcblk0/size
    if [ $((next + 2 * $1 * 2048 + 2048)) -gt "$all" ]; then
        refuse "/dev/mmcblk0 has no $((2 * $1)) MiB left behind its last partition"
        return 0
    fi
    [ "$phase" = change ] || return 0
    printf 'start=%s, size=%s, name="fit_a"\nstart=%s, size=%s, name="fit_b"\n' \
        "$next" $(($1 * 2048)) $((next + $1 * 2048)) $(($1 * 2048)) >"$work/card.new"
    while IFS= read -r name; do
        say "    $name"
    done <"$work/card.new"
    run append_partitions "$all"
    [ "$apply" = no ] || use_card_partitions
}

use_card_partitions() { # - goes on when the kernel knows the new partitions; it does not while it has another one of the card in use
    local second device name
    for second in 1 2 3; do
        device=$(card_part_named fit_a)
        name=$(card_part_named fit_b)
        [ ! -b "/dev/${device:-none}" ] || [ ! -b "/dev/${name:-none}" ] || return 0
        sleep 1
    done
    say "the partitions are made; the kernel, which has another one of the card in use, knows them after a restart (waited $second s)"
    say "nothing else was changed. Restart the router, then the same command again: sh $this_script install --apply"
    ended=yes
    exit 0
}

append_partitions() { # SECTORS - what $work/card.new says, behind what is in the table of a card of so many sectors
    # By three writes of one sector each, so that a cut leaves a table that U-Boot and Linux both read. Linux looks at no
    # second one, and sfdisk, on the card itself, would for a moment leave a first one whose sum is wrong. So: a header for
    # a table that ends before the new entries; the sector with the new entries; the header for the whole table.
    local length place
    length=$(awk -F '[p ]' '/^\/dev\/mmcblk0p/ && $2 < 128 && $2 > n { n = $2 } END { print int((n + 3) / 4) * 4 }' "$work/card.dump")
    place=$((2 + length / 4))
    sed -e '/^\/dev\//d' -e "s/^last-lba:.*/last-lba: $(($1 - 34))/" "$work/card.dump" >"$work/card.head"
    sed '/^\/dev\//!d' "$work/card.dump" >"$work/card.had"
    {
        printf 'table-length: %s\n' "$length"
        cat "$work/card.head"
        sed '/^\/dev\/mmcblk0p128 /d' "$work/card.had"
    } >"$work/card.short"
    {
        cat "$work/card.head" "$work/card.had"
        awk -v n="$length" '{ print "/dev/mmcblk0p" n + NR " : " $0 }' "$work/card.new"
    } >"$work/card.whole"
    table_in_ram short "$1"
    table_in_ram whole "$1"
    same_sectors short 2 $((length / 4))
    same_sectors whole 2 $((length / 4))
    same_sectors whole $((place + 1)) $((33 - place))
    write_sector short 1
    write_sector whole "$place"
    write_sector whole 1
    sfdisk --dump /dev/mmcblk0 >"$work/card.now"
    sed -e '/^\/dev\//!d' -e '/name="fit_[ab]"/d' "$work/card.now" >"$work/card.left"
    cmp "$work/card.had" "$work/card.left" || fail "other partitions of the card changed"
}

table_in_ram() { # NAME SECTORS - the table that $work/card.NAME says, on a file as long as the card, which takes a few pages
    dd if=/dev/mmcblk0 of="$work/table.$1" bs=512 count=34 2>/dev/null
    dd if=/dev/null of="$work/table.$1" bs=512 seek="$2" 2>/dev/null
    sfdisk --quiet --no-reread --no-tell-kernel "$work/table.$1" <"$work/card.$1"
}

same_sectors() { # NAME FIRST COUNT - these sectors of that file are the card's
    dd if=/dev/mmcblk0 bs=512 skip="$2" count="$3" of="$work/sectors" 2>/dev/null
    dd if="$work/table.$1" bs=512 skip="$2" count="$3" of="$work/sectors.new" 2>/dev/null
    cmp "$work/sectors" "$work/sectors.new" || fail "sfdisk would not keep the partitions of the card; nothing was written to it"
}

write_sector() { # NAME NUMBER - that sector of that file, to the card
    dd if="$work/table.$1" of=/dev/mmcblk0 bs=512 skip="$2" seek="$2" count=1 conv=notrunc,fsync 2>/dev/null
}

keep_card_table() { # - the card's table before it is changed; what an earlier run kept, when that was cut behind its first write
    local kept="$env_copies/card.dump" id='' have=none
    id=$(sed -n 's/^label-id: //p' "$work/card.dump")
    [ ! -e "$kept" ] || have=$(sed -n 's/^label-id: //p' "$kept")
    if grep -q '^table-length:' "$work/card.dump"; then
        if [ "$id" != "$have" ]; then
            refuse "the partition table of /dev/mmcblk0 has an unusual length, which this script does not change"
            return 0
        fi
        cp "$kept" "$work/card.dump"
    elif [ "$phase" = change ]; then
        run mkdir -p "$env_copies"
        have=$(cat "$work/card.dump")
        run write_file "$kept" "$have"
    fi
}
