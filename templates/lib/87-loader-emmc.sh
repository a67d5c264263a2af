# ---- library: the boot loader on eMMC ------------------------------------------------------------------
#
# FIP in its partition, BL2 in the hardware partition boot0, and the setting that gives boot0 to the boot ROM.

need_emmc() { # - the eMMC is here, with its boot partition and OpenWrt's table
    local type=''
    [ ! -e /sys/class/block/mmcblk0/device/type ] || read -r type </sys/class/block/mmcblk0/device/type
    if [ "$started_from" = sd ] || [ "$type" = SD ]; then
        way_of_emmc
        refuse "this router was started from the SD card: card and eMMC share one controller, so Linux cannot see the eMMC; mmcblk0 is the card. The way above works"
    elif [ "$type" != MMC ] || [ ! -e /sys/class/block/mmcblk0boot0 ]; then
        way_of_emmc
        refuse "Linux sees no eMMC with a boot partition here (mmcblk0 is of type '${type:-none}'); the way above works"
    fi
}

put_block() { # WHAT DEVICE - the file to the beginning of that partition, saved before, flushed, and read back past the cache
    local users room have ro=''
    [ -s "$work/new.$1" ] || return 0 # need_file told it
    if [ -z "$2" ] || [ ! -b "/dev/${2:-none}" ]; then
        [ "$phase" = change ] || {
            way_of_emmc
            refuse "the eMMC has no partition for $1: it has no OpenWrt table; the way above makes one"
        }
        return 0
    fi
    room=$(room_of "$2")
    have=$(sum_of "/dev/$2" "$source_bytes")
    if [ "$have" = "$source_sum" ]; then
        [ "$phase" = look ] || so "/dev/$2"
        return 0
    fi
    if [ "$phase" = look ]; then
        users=$(users_of "$2")
        [ -z "$users" ] || refuse "/dev/$2 is in use:$users"
        [ "$source_bytes" -le "$room" ] || refuse "'$source' has $source_bytes bytes, /dev/$2 has $room"
        [ "$1" != recovery ] || return 0 # nothing starts from it but a router in trouble, and its image is at hand
        read_old "$1" "$2" "$room"
        need_in_place emmc "/dev/$2 has no second place" "start from SPI-NAND and repair the eMMC from there"
        return 0
    fi
    [ "$1" = recovery ] || save_old "$1" "${in_place_word:-}"
    [ ! -e "/sys/class/block/$2/force_ro" ] || ro=/sys/class/block/$2/force_ro
    if [ -n "$ro" ]; then
        [ "$apply" = no ] || unlocked=$ro
        run write_attribute "$ro" 0
    fi
    [ "$apply" = no ] || [ "$1" = recovery ] ||
        boots="nothing from eMMC until this was finished: start from SPI-NAND (SW3 A=${switch_nand%?} B=${switch_nand#?}) and give the same command"
    run pour "$work/new.$1" "$source_bytes" "$2"
    run reads_back "$source_bytes" "$source_sum" "/dev/$2"
    [ "$apply" = no ] || boots="with the new $1"
    lock_again
}

read_old() { # WHAT DEVICE ROOM - what is replaced, in $work/old.WHAT: all of a FIP that is there, else as much as U-Boot writes
    local size=$BL2_BYTES
    if [ "$1" = fip ]; then
        see_fip "/dev/$2" "$3"
        size=$fip_bytes
        [ "$size" -ge "$source_bytes" ] || size=$source_bytes
    fi
    dd if="/dev/$2" bs=4096 count=$(((size + 4095) / 4096)) of="$work/old.$1" 2>/dev/null || true
    need_room_for_old "$1" "$size"
}

partition_config() { # - byte 179 of the eMMC's EXT_CSD in hex; nothing when nobody tells
    local entry
    for entry in /sys/kernel/debug/mmc0/mmc0:*/ext_csd; do
        [ -e "$entry" ] || continue
        cut -c 359-360 "$entry"
        return 0
    done
    command -v mmc >/dev/null || return 0
    mmc extcsd read /dev/mmcblk0 >"$work/extcsd" 2>/dev/null || true
    sed -n 's/.*\[PARTITION_CONFIG: 0x\(..\)\].*/\1/p' "$work/extcsd"
}

starts_from_boot0() { # - prints yes when the boot ROM is told to start from boot0, no, or nothing when nobody tells
    local value
    value=$(partition_config)
    case $value in
        [0-9a-fA-F][0-9a-fA-F]) ;;
        *) return 0 ;;
    esac
    # BOOT_PARTITION_ENABLE, bits 3 to 5: 1 is boot0.
    [ $((0x$value & 0x38)) -eq 8 ] && printf 'yes' || printf 'no'
}

put_config() { # - the eMMC's own setting: it gives boot0 to the boot ROM
    local have
    have=$(starts_from_boot0)
    case $phase/$have in
        look/no)
            command -v mmc >/dev/null || refuse "the eMMC does not start from boot0, and mmc, which can set that, is missing; install mmc-utils"
            ;;
        look/) refuse "nobody tells which partition the eMMC starts from: there is no ext_csd in /sys/kernel/debug, and no command mmc; install mmc-utils" ;;
        change/yes) so "the eMMC starts from boot0" ;;
        change/*)
            # Behind BL2, so that the boot ROM is sent there only when it finds a whole one.
            run mmc bootpart enable 1 1 /dev/mmcblk0
            run config_reads_back
            ;;
        *) ;;
    esac
}

config_reads_back() { # - the setting was taken
    local have
    have=$(starts_from_boot0)
    [ "$have" = yes ] || fail "the eMMC still does not start from boot0"
}
