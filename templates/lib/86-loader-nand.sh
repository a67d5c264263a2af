# ---- library: the boot loader on SPI-NAND --------------------------------------------------------------
#
# OpenWrt's layout has BL2 in an MTD and FIP in a UBI volume, the vendor's both in MTDs. A volume is written beside the one
# that starts, and takes its name in one step, where there is room.

# ---- FIP as a UBI volume

put_volume() { # - FIP into the volume fip: into a second one that takes its name, or in place
    local device need=$VOLUME_BYTES left spare name safe=yes
    [ -s "$work/new.fip" ] || return 0 # need_file told it
    device=$(volume_named fip)
    [ "$source_bytes" -le "$need" ] || need=$source_bytes
    need=$(blocks_for "$need")
    if [ ! -e /sys/class/ubi/ubi0 ]; then
        [ "$phase" = change ] || refuse "there is no UBI device: the SPI-NAND has to be made anew: sh $this_script reflash nand tells how"
        return 0
    fi
    for name in fip_new fip_old; do # what a run that was cut left behind
        spare=$(volume_named "$name")
        [ -z "$spare" ] || {
            spare=$(room_of "$spare")
            spare=$(blocks_for "$spare")
            need=$((need - spare))
        }
    done
    read -r left <"/sys/class/ubi/ubi0/avail_eraseblocks"
    [ "$left" -ge "$need" ] || safe=no
    if [ "$phase" = look ]; then
        look_at_volume "$device" "$safe" "$need" "$left"
    else
        change_volume "$device" "$safe"
    fi
}

volume_holds() { # DEVICE - prints yes when the volume can be read, is as BL2 expects it, and begins with the file
    local kind marker bad size have
    read -r kind <"/sys/class/ubi/$1/type"
    read -r marker <"/sys/class/ubi/$1/upd_marker"
    read -r bad <"/sys/class/ubi/$1/corrupted"
    read -r size <"/sys/class/ubi/$1/data_bytes"
    [ "$kind$marker$bad" = static00 ] && [ "$size" -ge "$source_bytes" ] || return 0
    have=$(sum_of "/dev/$1" "$source_bytes")
    [ "$have" != "$source_sum" ] || printf 'yes'
}

look_at_volume() { # DEVICE SAFE NEED LEFT - what must be so before the volume is written
    local holds='' room marker=1
    if [ -z "$1" ]; then
        [ "$2" = yes ] || refuse "there is no volume fip, and no room for one: $3 erase blocks are needed, $4 are left"
        return 0
    fi
    holds=$(volume_holds "$1")
    [ "$holds" != yes ] || return 0
    read -r marker <"/sys/class/ubi/$1/upd_marker"
    read -r room <"/sys/class/ubi/$1/data_bytes"
    if [ "$marker" != 0 ] || ! head -c "$room" "/dev/$1" >"$work/old.fip" 2>>"$log"; then
        note "what the volume fip held cannot be read any more (a write was cut off): there is nothing to save"
        rm -f "$work/old.fip"
    else
        need_room_for_old fip "$room"
    fi
    [ "$2" = no ] || return 0
    room=$(room_of "$1")
    [ "$room" -ge "$source_bytes" ] || refuse "the volume fip has room for $room bytes, the file has $source_bytes"
    [ -e "$work/old.fip" ] || return 0
    need_in_place spim-nand "the SPI-NAND has no room for a second volume ($3 erase blocks are needed, $4 are left)" \
        "make room (a plan with smaller volumes, or rootfs_data_max and one sysupgrade)"
}

change_volume() { # DEVICE SAFE - the volume fip becomes the file
    local device=$1 holds='' how made name size=$VOLUME_BYTES spare
    [ -z "$device" ] || holds=$(volume_holds "$device")
    if [ "$holds" != yes ]; then
        case $2 in yes) how='' ;; *) how=' --in-place' ;; esac
        [ ! -e "$work/old.fip" ] || save_old fip "$how"
        if [ "$2" = no ]; then
            boots="nothing from SPI-NAND until this was finished: start from the card (SW3 A=${switch_sd%?} B=${switch_sd#?}) and give the same command"
            [ "$apply" = yes ] || boots=''
            run ubiupdatevol "/dev/$device" "$work/new.fip"
            run reads_back "$source_bytes" "$source_sum" "/dev/$device"
            boots='with the new FIP'
            return 0
        fi
        remove_volume fip_new
        remove_volume fip_old
        [ "$source_bytes" -le "$size" ] || size=$source_bytes
        run ubimkvol /dev/ubi0 -N fip_new -t static -s "$size"
        run volume_is_there fip_new "$source_bytes"
        made=$(volume_named fip_new)
        run ubiupdatevol "/dev/${made:-fip_new}" "$work/new.fip"
        run reads_back "$source_bytes" "$source_sum" "/dev/${made:-fip_new}"
        # One write of the volume table for all pairs (ubi_vtbl_rename_volumes of Linux): there is a whole fip at every moment.
        [ "$apply" = no ] || boots='with the old FIP, or with the new one'
        if [ -n "$device" ]; then
            run ubirename /dev/ubi0 fip fip_old fip_new fip
        else
            run ubirename /dev/ubi0 fip_new fip
        fi
        run volume_is "$made" fip
        run reads_back "$source_bytes" "$source_sum" "/dev/${made:-fip}"
        [ "$apply" = no ] || boots='with the new FIP'
        [ -z "$device" ] || run ubirmvol /dev/ubi0 -N fip_old
        return 0
    fi
    for name in fip_new fip_old; do
        spare=$(volume_named "$name")
        [ -z "$spare" ] || run ubirmvol /dev/ubi0 -N "$name"
    done
    so "the volume fip"
}

remove_volume() { # NAME - it goes, if it is there
    local device
    device=$(volume_named "$1")
    [ -n "$device" ] || return 0
    run ubirmvol /dev/ubi0 -N "$1"
    run wait_for_no_volume "$device"
}

volume_is() { # DEVICE NAME - that volume has this name now
    local device
    device=$(volume_named "$2")
    [ "$device" = "$1" ] || fail "the volume $2 is ${device:-not there}, not $1"
}

# ---- an MTD

put_mtd() { # WHAT NAME COPIES - the file into that MTD partition, from its beginning and COPIES times
    local device size holds bad
    [ -s "$work/new.$1" ] || return 0 # need_file told it
    device=$(mtd_named "$2")
    if [ -z "$device" ]; then
        [ "$phase" = change ] || refuse "there is no MTD partition $2"
        return 0
    fi
    read -r size <"/sys/class/mtd/$device/size"
    if [ "$phase" = look ] && [ "$source_bytes" -gt "$size" ]; then
        refuse "'$source' has $source_bytes bytes, the MTD partition $2 has $size"
        return 0
    fi
    [ "$source_bytes" -le $((size / $3)) ] || set -- "$1" "$2" 1 # a whole partition that was saved
    holds=$(mtd_holds "$1" "$device" "$3")
    if [ "$holds" = yes ]; then
        [ "$phase" = look ] || so "$2"
        return 0
    fi
    if [ "$phase" = change ]; then
        change_mtd "$1" "$2" "$3" "$device"
        return 0
    fi
    command -v mtd >/dev/null || refuse "the command mtd is missing; it is in the package mtd"
    bad=unknown
    [ ! -e "/sys/class/mtd/$device/bad_blocks" ] || read -r bad <"/sys/class/mtd/$device/bad_blocks"
    [ "$bad" = 0 ] || refuse "the MTD partition $2 has bad blocks: $bad; what is written there would not be where the loader looks for it"
    need_unlocked "$1" "$device" "$2"
    if dd if="/dev/$device" of="$work/old.$1" bs=1048576 2>/dev/null; then
        need_room_for_old "$1" "$size"
    else
        note "what $2 holds cannot be read: there is nothing to save"
        rm -f "$work/old.$1"
    fi
    need_in_place spim-nand "$2 has no second place" "leave it as it is"
}

mtd_holds() { # WHAT DEVICE COPIES - prints yes when each of the copies is the file
    local number=0 size have
    read -r size <"/sys/class/mtd/$2/size"
    size=$((size / $3))
    while [ "$number" -lt "$3" ]; do
        dd if="/dev/$2" of="$work/part" bs="$size" skip="$number" count=1 iflag=fullblock 2>/dev/null || return 0
        have=$(sum_of "$work/part" "$source_bytes")
        [ "$have" = "$source_sum" ] || return 0
        number=$((number + 1))
    done
    printf 'yes'
}

need_unlocked() { # WHAT DEVICE NAME - Linux may write it, or may make it so
    local kernel writeable
    writeable=$(mtd_is_writeable "$2")
    [ "$writeable" = no ] || return 0
    kernel=$(uname -r)
    if [ "$1/$loader_mtd_rw" != bl2/yes ]; then
        way_of_bl2
        refuse "Linux may only read the MTD partition $3; the way above works, or bootloader.mtd_rw in the plan, with kmod-mtd-rw"
    elif [ ! -e "/lib/modules/$kernel/mtd-rw.ko" ]; then
        way_of_bl2
        refuse "Linux may only read the MTD partition $3, and kmod-mtd-rw, which the plan allows, is not installed for kernel $kernel"
    fi
}

change_mtd() { # WHAT NAME COPIES DEVICE - written block by block from the beginning: at a cut one copy is torn, those behind are the old ones
    local number=0 size writeable
    read -r size <"/sys/class/mtd/$4/size"
    : >"$work/mtd"
    while [ "$number" -lt "$3" ]; do
        dd if="$work/new.$1" bs=$((size / $3)) conv=sync iflag=fullblock 2>/dev/null >>"$work/mtd"
        number=$((number + 1))
    done
    [ ! -e "$work/old.$1" ] || save_old "$1" ' --in-place'
    writeable=$(mtd_is_writeable "$4")
    if [ "$writeable" = no ]; then
        [ "$apply" = no ] || unlocked=mtd-rw
        run insmod mtd-rw i_want_a_brick=1
        run mtd_unlocked "$4" "$2"
    fi
    [ "$apply" = no ] || boots="nothing from SPI-NAND until this was finished: start from the card (SW3 A=${switch_sd%?} B=${switch_sd#?}), menu item 7"
    run mtd write "$work/mtd" "$2" # what it ends with says nothing: what it wrote is read
    run mtd_reads_back "$1" "$4" "$3" "$2"
    [ "$apply" = no ] || boots="with the new $1"
    lock_again
}

mtd_unlocked() { # DEVICE NAME - the module did what it is for
    local writeable
    writeable=$(mtd_is_writeable "$1")
    [ "$writeable" = yes ] || fail "the MTD partition $2 is still read-only"
}

mtd_reads_back() { # WHAT DEVICE COPIES NAME - each copy is the file
    local holds
    holds=$(mtd_holds "$1" "$2" "$3")
    [ "$holds" = yes ] || fail "$4 does not read back as it was written"
}
