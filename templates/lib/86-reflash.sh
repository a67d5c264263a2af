# shellcheck shell=busybox enable=check-set-e-suppressed,check-extra-masked-returns,quote-safe-variables
# ---- library: the boot loader ------------------------------------------------------------------------
#
# BL2 is what the boot ROM starts, FIP what BL2 loads: BL31 and U-Boot. On SPI-NAND BL2 is at the beginning of the MTD bl2,
# which Linux may only read, and FIP is the UBI volume that BL2 finds by its name, fip (MediaTek's TF-A, io_ubi). On eMMC BL2 is
# in the hardware partition boot0, and FIP in the GPT partition fip. Whatever a power cut here could leave unbootable is
# done in one write of UBI's volume table, or is asked for by --in-place.

loader_medium=none # the plan's boot medium, which its boot loader files are for; none when the plan names none
loader_ram=0       # MiB of RAM, as the plan says; 0: it does not say
loader_server=''   # the PC with a TFTP server
loader_mtd_rw=no   # yes: BL2 on SPI-NAND may be written with kmod-mtd-rw
bl2_name='' bl2_sum='' bl2_ram=0
fip_name='' fip_sum=''
recovery_name='' recovery_sum=''
switch_nand='' switch_emmc='' switch_sd='' # SW3's digits
in_place=no # yes with --in-place
given_sum='' # what --sha256 named

started_from=''  # spim-nand, emmc, sd, or nothing when nobody says
flash_layout=''  # openwrt, vendor, or nothing
source=''        # the file that is to be written: what use_file() set
source_sum=''
source_bytes=0
fip_bytes=0      # where the last part of a FIP ends, as see_fip() found; 0 when it is none
old_folder=/etc/bootplan/old # what was there before
old_copy=''      # the copy in it that restores what is being replaced
unlocked=''      # what has to be locked again, however this run ends: a module, or a file force_ro
BL2_BYTES=524288 # the room U-Boot gives one copy of BL2: on SPI-NAND it writes four of them, on eMMC one
VOLUME_BYTES=2097152 # the volume fip as OpenWrt makes it
old_bytes=0      # what this run saves before it writes

bootloader_is() { # MEDIUM MIB SERVER MTDRW - whose boot loader it is, the board's RAM, the TFTP server, may BL2 on NAND be unlocked
    loader_medium=$1 loader_ram=$2 loader_server=$3 loader_mtd_rw=$4
}

no_bootloader() { # MIB SERVER - the plan names no boot loader files
    loader_ram=$1 loader_server=$2
}

switches_are() { # NAND EMMC SD - SW3's digits for each medium
    switch_nand=$1 switch_emmc=$2 switch_sd=$3
}

bootloader_file() { # WHAT NAME HEX MIB - a file of the plan, its SHA-256, and for which RAM it is (0: any)
    case $1 in
        bl2) bl2_name=$2 bl2_sum=$3 bl2_ram=$4 ;;
        fip) fip_name=$2 fip_sum=$3 ;;
        *) recovery_name=$2 recovery_sum=$3 ;;
    esac
}

# ---- what is here

see_flash() { # - sets flash_layout and started_from
    local loader='' mtds
    started_from=$(rootdisk_now)
    [ ! -e "$tree/chosen/u-boot,version" ] || loader=$(tr -d '\0' <"$tree/chosen/u-boot,version")
    mtds=$(cat /sys/class/mtd/mtd*/name 2>/dev/null) || mtds=''
    mtds=$(printf '%s\n' "$mtds" | sort -u)
    # shellcheck disable=SC2086 # names without blanks, on one line
    mtds=$(printf '%s ' $mtds)
    case "$loader/ $mtds" in
        *OpenWrt*'/ bl2 ubi ') flash_layout=openwrt ;;
        *OpenWrt*) ;;
        *)
            # MediaTek's SDK, with NMBM between these and the chip.
            case " $mtds" in *' BL2 '*) case " $mtds" in *' FIP '*) flash_layout=vendor ;; *) ;; esac ;; *) ;; esac
            ;;
    esac
    [ -n "$flash_layout" ] ||
        refuse "the flash has the partitions '${mtds% }' and the boot loader is '${loader:-unknown}': neither OpenWrt's layout (bl2, ubi) nor that of MediaTek's SDK (BL2, FIP)"
}

mtd_named() { # NAME - the MTD partition, like mtd0; nothing when there is none
    local entry have
    for entry in /sys/class/mtd/mtd*; do
        [ -e "$entry/name" ] || continue
        read -r have <"$entry/name"
        [ "$have" != "$1" ] || printf '%s' "${entry##*/}"
    done
}

mtd_is_writeable() { # DEVICE - prints yes or no
    local flags
    read -r flags <"/sys/class/mtd/$1/flags"
    # MTD_WRITEABLE of include/uapi/mtd/mtd-abi.h
    [ $((flags & 0x400)) -eq 0 ] && printf 'no' || printf 'yes'
}

see_fip() { # FILE BYTES - sets fip_bytes: 0 when its first BYTES are no FIP with BL31 and U-Boot, all of both inside
    local magic serial
    fip_bytes=0
    dd if="$1" of="$work/head" bs=4096 count=1 2>/dev/null || return 0
    magic=$(bytes 0 4)
    serial=$(bytes 4 4)
    # TOC_HEADER_NAME of TF-A's firmware_image_package.h; the serial number is never 0.
    [ "$magic" = 010064aa ] && [ "$serial" != 00000000 ] || return 0
    # An entry: UUID, offset, length, flags, of 8 bytes each; the last one has no UUID.
    hexdump -v -s 16 -n 4080 -e '16/1 "%02x" 6/4 " %u" "\n"' "$work/head" >"$work/entries"
    fip_bytes=$(awk -v bytes="$2" '
        { from = $2 + $3 * 4294967296; end = from + $4 + $5 * 4294967296 }
        $1 == "00000000000000000000000000000000" { last = 1; exit }
        from < 56 || end > bytes { exit }
        end > all { all = end }
        $1 == "47d4086d4cfe98469b952950cbbd5a00" { bl31 = 1 }
        $1 == "d6d0eea7fcead54b97829934f234b6e4" { bl33 = 1 }
        END { printf "%.0f", last && bl31 && bl33 ? all : 0 }
    ' "$work/entries")
}

bl2_is_for() { # FILE - nand, emmc, sd or other: which medium its header for the boot ROM is made for
    local head
    head=$(hexdump -v -n 10 -e '1/1 "%02x"' "$1")
    # The headers that U-Boot's own menus tell apart (MediaTek's board/mediatek/common/bl2_helper.h).
    case $head in
        5350494e414e4421*) printf 'nand' ;;   # SPINAND!
        454d4d435f424f4f54*) printf 'emmc' ;; # EMMC_BOOT
        53444d4d435f424f4f54) printf 'sd' ;;  # SDMMC_BOOT
        *) printf 'other' ;;
    esac
}

# ---- the file

use_file() { # WHAT WHERE - sets source and source_sum: the plan's file in the folder WHERE, or the file WHERE itself
    source='' source_sum=''
    if [ -f "$2" ]; then
        source=$2 source_sum=$given_sum
        case $source in */*) ;; *) source=./$source ;; esac
        [ -n "$source_sum" ] || [ ! -e "$source.sha256" ] || source_sum=$(cut -c 1-64 "$source.sha256")
        [ -n "$source_sum" ] || refuse "nothing says what the SHA-256 of '$source' is; add --sha256, or put $source.sha256 beside it"
        return 0
    fi
    case $1 in
        bl2) source=$bl2_name source_sum=$bl2_sum ;;
        fip) source=$fip_name source_sum=$fip_sum ;;
        *) source=$recovery_name source_sum=$recovery_sum ;;
    esac
    if [ -z "$source" ]; then
        refuse "the plan names no file for $1 (bootloader.$1)"
        return 0
    fi
    source=${2%/}/$source
    [ -f "$source" ] || {
        refuse "'$source' is not there; copy it from the PC: scp -O ${source##*/} root@192.168.1.1:${2%/}/"
        source=''
    }
}

need_file() { # WHAT WHERE - the file is there, is the one that the plan means, and is of the right kind; a copy of it in $work/new.WHAT
    local have free
    use_file "$1" "$2"
    [ -z "$source_sum" ] || need_own_of_vendor "$2"
    [ -n "$source" ] && [ -n "$source_sum" ] || return 0
    [ -r "$source" ] || {
        refuse "'$source' cannot be read"
        return 0
    }
    source_bytes=$(wc -c <"$source")
    free=$(room_in /tmp)
    if [ $((source_bytes / 1024 + 6144)) -gt "$free" ]; then
        refuse "/tmp has $free KiB left, $((source_bytes / 1024 + 6144)) KiB are needed for copies"
        return 0
    fi
    # What is checked here is what is written: the file itself may change in between.
    cat "$source" >"$work/new.$1"
    have=$(sum_of "$work/new.$1" "$source_bytes")
    if [ "$have" != "$source_sum" ]; then
        refuse "the SHA-256 of '$source' is $have, not $source_sum: it is another file, was cut off, or is damaged"
        return 0
    fi
    say "  $1 is $source, $source_bytes bytes, SHA-256 as it should be"
    case $1 in
        fip)
            see_fip "$work/new.fip" "$source_bytes"
            [ "$fip_bytes" -gt 0 ] || refuse "'$source' is no whole FIP with BL31 and U-Boot"
            need_own_fip
            ;;
        bl2) need_bl2 ;;
        *)
            have=$(hexdump -v -n 4 -e '1/1 "%02x"' "$work/new.$1")
            [ "$have" = d00dfeed ] || refuse "'$source' is no FIT image"
            ;;
    esac
}

need_own_of_vendor() { # WHERE - OpenWrt's files expect OpenWrt's layout: on the vendor's they would be the last thing that starts
    [ "$flash_layout/$loader_medium" = vendor/nand ] || return 0
    # The file was named by the plan or by its owner, with --sha256 or beside it: what counts is what it is.
    case $source_sum/${source##*/} in
        "$fip_sum"/* | "$bl2_sum"/* | */openwrt-*mediatek-filogic-*) ;;
        *) [ ! -f "$1" ] || return 0 ;;
    esac
    way_of_nand
    refuse "this is the layout of MediaTek's SDK (MTD partitions BL2 and FIP): OpenWrt's boot loader would not find its own there, and erase it. The way above makes OpenWrt's layout; a file of the SDK itself is written by: reflash fip FILE --sha256 HEX"
}

need_own_fip() { # - nothing in a FIP tells for which board and medium it is: it is the plan's, or was here before
    case $flash_layout/$loader_medium/$source in
        vendor/nand/*) return 0 ;; # need_own_of_vendor looked at it
        */*/"$old_folder"/fip-*) return 0 ;;
        *) ;;
    esac
    [ "$source_sum" = "$fip_sum" ] ||
        refuse "'$source' is not the plan's FIP: nobody can see in it for which board and medium it is, so only the plan's file, or one saved in $old_folder, is written"
}

need_bl2() { # - $work/new.bl2 is a BL2 for the plan's medium and for this board's RAM
    local medium size=$BL2_BYTES
    medium=$(bl2_is_for "$work/new.bl2")
    [ "$medium" = "$loader_medium" ] ||
        refuse "'$source' is no BL2 for $loader_medium (its header is one for: $medium); the boot ROM would not start it"
    case $source in
        "$old_folder"/bl2-*) # what this script saved here: it is this board's
            [ "$loader_medium" = emmc ] || size=$((4 * BL2_BYTES))
            ;;
        *)
            [ "$source_sum" = "$bl2_sum" ] ||
                refuse "'$source' is not the plan's BL2: nobody can see in it for which RAM it is, so only the plan's file, or one saved in $old_folder, is written"
            need_ram_of_bl2
            ;;
    esac
    [ "$source_bytes" -le "$size" ] || refuse "'$source' has $source_bytes bytes, there is room for $size"
}

need_ram_of_bl2() { # - a BL2 for 4 GiB starts a board of 8 GiB wrongly, and the other way round; nothing in the file tells them apart
    local kib
    kib=$(awk '/^MemTotal:/ { print $2 }' /proc/meminfo)
    if [ "$loader_ram" -eq 0 ]; then
        refuse "the plan does not say how much RAM the board has (board.ram); without that BL2 is not written"
    elif [ "$bl2_ram" -ne "$loader_ram" ]; then
        refuse "$bl2_name is for boards with $((bl2_ram / 1024)) GiB of RAM, the plan is for one with $((loader_ram / 1024)) GiB"
    elif [ "$kib" -gt $((loader_ram * 1024)) ]; then
        refuse "the plan says $((loader_ram / 1024)) GiB of RAM, this router has more: the kernel sees $((kib / 1024)) MiB; $bl2_name is not for it"
    elif [ "$kib" -lt $((loader_ram * 768)) ]; then
        refuse "the plan says $((loader_ram / 1024)) GiB of RAM, the kernel sees $((kib / 1024)) MiB: this is a smaller board, or one whose BL2 is already that of a smaller one, which cannot be told from here; a card with the image for $((loader_ram / 1024)) GiB shows it"
    fi
}

# ---- what was there before

saved_before() { # WHAT - the copy of $work/old.WHAT that an earlier run saved; nothing when there is none
    local copy have=''
    for copy in "$old_folder/$1"-*.bin; do
        [ ! -e "$copy.sha256" ] || ! cmp -s "$copy" "$work/old.$1" || have=$copy
    done
    printf '%s' "$have"
}

need_room_for_old() { # WHAT BYTES - in a folder that a restart leaves alone
    local free
    need_lasting_folder /etc
    free=$(saved_before "$1")
    [ -z "$free" ] || return 0
    old_bytes=$((old_bytes + $2)) # several parts are saved before the last one is written
    free=$(room_in /etc)
    [ "$free" -ge $((old_bytes / 1024 + 512)) ] ||
        refuse "/etc has $free KiB left, $((old_bytes / 1024 + 512)) KiB are needed for a copy of what is replaced; remove something (in $old_folder, perhaps)"
}

save_old() { # WHAT - $work/old.WHAT in $old_folder, unless a copy is there already; and how it is brought back
    local now
    old_copy=$(saved_before "$1")
    if [ -n "$old_copy" ]; then
        so "what is replaced is saved in $old_copy"
    else
        now=$(date +%Y%m%d-%H%M%S)
        old_copy=$old_folder/$1-$now.bin
        while [ -e "$old_copy" ]; do # of this very second
            old_copy=${old_copy%.bin}+.bin
        done
        run mkdir -p "$old_folder"
        run save_with_sum "$work/old.$1" "$old_copy"
    fi
    say "  to bring it back: sh ${0##*/} reflash $1 $old_copy --apply$2"
}

# ---- FIP in UBI

put_volume() { # - FIP into the volume fip: into a second one that takes its name, or in place
    local device need=$VOLUME_BYTES left spare name safe=yes
    [ -s "$work/new.fip" ] || return 0 # need_file told it
    device=$(volume_named fip)
    [ "$source_bytes" -le "$need" ] || need=$source_bytes
    need=$(blocks_for "$need")
    if [ ! -e /sys/class/ubi/ubi0 ]; then
        [ "$phase" = change ] || refuse "there is no UBI device: the SPI-NAND has to be made anew: sh ${0##*/} reflash nand tells how"
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

need_in_place() { # MEDIUM WHY INSTEAD - a cut would leave the medium that the router starts from unbootable; asked for by --in-place
    # A router that was started from another medium still starts when this goes wrong.
    [ "${started_from:-$1}" = "$1" ] || return 0
    [ "$in_place" = no ] || return 0
    refuse "$2; writing in place, a power cut leaves a router that does not start until it was repaired from another medium. $3, or have a proven card ready and add --in-place"
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

reads_back() { # BYTES HEX NODE - its first BYTES are what was to be written
    local have
    have=$(sum_of "$3" "$1")
    [ "$have" = "$2" ] || fail "$3 does not read back as it was written"
}

# ---- MTD partitions

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

lock_again() { # - what was made writeable for a moment is not any more; also when this run stops
    local what=$unlocked
    unlocked=''
    case $what in
        '') ;;
        mtd-rw) run rmmod mtd-rw ;;
        *) run write_attribute "$what" 1 ;;
    esac
}

write_attribute() { # FILE VALUE - a value for the kernel
    printf '%s\n' "$2" >"$1"
}

# ---- eMMC

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

in_place_word=' --in-place' # what a repair of the eMMC needs when the router starts from it

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

# ---- what only U-Boot can do

way_of_bl2() { # - BL2 on SPI-NAND
    say "  BL2 on SPI-NAND is written by U-Boot (serial console: 115200 baud, 8N1, 3.3 V):"
    say "    a PC with the address $loader_server on a LAN port, and on it a TFTP server with ${bl2_name:-the file of BL2}"
    say "    in the menu '[SPI-NAND]' choose 'U-Boot console' and type:"
    say "      setenv serverip $loader_server"
    say "      tftpboot \$loadaddr ${bl2_name:-FILE}"
    say "      hash sha256 \$loadaddr \$filesize"
    [ -z "$bl2_sum" ] || say "    it must show $bl2_sum; then:"
    say "      run snand_write_bl2"
    say "    if that goes wrong, or U-Boot does not start any more: sh ${0##*/} reflash nand tells the way by the card"
}

way_of_nand() { # - the whole SPI-NAND, from the card
    local copy saved=''
    for copy in "$env_copies"/env-*.txt; do
        [ ! -e "$copy.sha256" ] || saved=$copy
    done
    say "  the whole SPI-NAND is written by U-Boot, from an SD card made by: sh ${0##*/} make-sd DEVICE"
    say "  it loses the environment with the MAC addresses, the settings, and every slot's kernel. In this order:"
    say "    1. sh ${0##*/} backup FOLDER        (then copy it to a PC${saved:+, and with it $saved})"
    say "    2. power off, card in, SW3 to A=${switch_sd%?} B=${switch_sd#?}, power on; the menu must say '[SD card]'"
    say "    3. menu item 7, 'Install bootloader, recovery and production to NAND.'"
    say "    4. power off, SW3 to A=${switch_nand%?} B=${switch_nand#?}, power on; the menu must say '[SPI-NAND]'"
    say "    5. this script and the backup back to the router; of the old environment only the MAC addresses, by these lines:"
    say "         grep -E '^eth1?addr=' FOLDER/uboot-env.txt | tr = ' ' >/tmp/addresses"
    say "         cat /tmp/addresses && fw_setenv -s /tmp/addresses && fw_printenv ethaddr eth1addr"
    say "    6. sysupgrade -r FOLDER/config.tar.gz, restart, and: sh ${0##*/} install (slots and bootargs are made by it)"
}

way_of_emmc() { # - the eMMC: SPI-NAND first, then the eMMC from there
    say "  the eMMC is written by U-Boot when it was started from SPI-NAND:"
    say "    1. if SPI-NAND holds no OpenWrt U-Boot: sh ${0##*/} reflash nand tells how the card puts one there"
    say "    2. power off, SW3 to A=${switch_nand%?} B=${switch_nand#?}, power on; the menu must say '[SPI-NAND]'"
    say "    3. menu item 9, 'Install bootloader, recovery and production to eMMC.' (loses the eMMC's environment and settings)"
    say "    4. power off, SW3 to A=${switch_emmc%?} B=${switch_emmc#?}, power on; the menu must say '[eMMC]'"
    say "  or start Linux from SPI-NAND, and give the same command there: it keeps the environment"
}

# ---- the action

reflash_walk() { # PART WHERE - one walk: the files, and their places
    local what device list=$1
    # FIP before BL2: as long as BL2 is the old one it still starts, and says on the serial console what is wrong with a FIP
    # that was cut off; a torn BL2 says nothing. Recovery first: nothing depends on it.
    [ "$1" != emmc ] || list="${recovery_name:+recovery }fip bl2"
    for what in $list; do
        at="$what"
        if [ "$phase" = look ]; then
            source_bytes=0
            need_file "$what" "$2"
            printf '%s\n' "$source_sum" >"$work/sum.$what"
        else
            say "[$what]"
            read -r source_sum <"$work/sum.$what"
            source_bytes=$(wc -c <"$work/new.$what")
        fi
        case $loader_medium/$what/$flash_layout in
            nand/fip/openwrt) put_volume ;;
            nand/bl2/openwrt) put_mtd bl2 bl2 4 ;;
            nand/fip/vendor) put_mtd fip FIP 1 ;;
            nand/bl2/vendor) put_mtd bl2 BL2 1 ;;
            emmc/bl2/*)
                put_block bl2 mmcblk0boot0
                put_config
                ;;
            emmc/*)
                device=$(card_part_named "$what")
                put_block "$what" "$device"
                ;;
            *) ;;
        esac
    done
}

action_reflash() { # PART WHERE - a part of the boot loader anew
    plan_bootloader
    see_flash
    if [ "$1" = nand ]; then
        way_of_nand
        refuse "the whole SPI-NAND cannot be written while Linux runs; the way above works"
    elif [ "$loader_medium" = none ]; then
        refuse "this plan names no boot loader files (bootloader:)"
    elif [ "$1/$loader_medium" = emmc/nand ]; then
        way_of_emmc
        refuse "the plan's boot loader files are for SPI-NAND; the way above works"
    elif [ "$loader_medium" = emmc ]; then
        need_emmc
    fi
    stop_if_refused
    reflash_walk "$1" "$2"
    stop_if_refused
    phase=change
    reflash_walk "$1" "$2"
    finish "The next power-on starts $boots. Keep the card at hand until it did."
}
