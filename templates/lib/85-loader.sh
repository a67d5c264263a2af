# ---- library: the boot loader --------------------------------------------------------------------------
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
# SW3's digits
switch_nand='' switch_emmc='' switch_sd=''

in_place=no                  # yes with --in-place
given_sum=''                 # what --sha256 named
started_from=''              # spim-nand, emmc, sd, or nothing when nobody says
flash_layout=''              # openwrt, vendor, or nothing
source=''                    # the file that is to be written: what use_file() set
source_sum=''                # its SHA-256
source_bytes=0               # its bytes
fip_bytes=0                  # where the last part of a FIP ends, as see_fip() found; 0 when it is none
old_folder=/etc/bootplan/old # what was there before
old_copy=''                  # the copy in it that restores what is being replaced
unlocked=''                  # what has to be locked again, however this run ends: a module, or a file force_ro
BL2_BYTES=524288             # the room U-Boot gives one copy of BL2: on SPI-NAND it writes four of them, on eMMC one
VOLUME_BYTES=2097152         # the volume fip as OpenWrt makes it
old_bytes=0                  # what this run saves before it writes
in_place_word=' --in-place'  # what a repair of the eMMC needs when the router starts from it

# ---- what the plan says

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
    named_in "$1" /sys/class/mtd/mtd*
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

# ---- the file

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
    say "  to bring it back: sh $this_script reflash $1 $old_copy --apply$2"
}

# ---- every place

need_in_place() { # MEDIUM WHY INSTEAD - a cut would leave the medium that the router starts from unbootable; asked for by --in-place
    # A router that was started from another medium still starts when this goes wrong.
    [ "${started_from:-$1}" = "$1" ] || return 0
    [ "$in_place" = no ] || return 0
    refuse "$2; writing in place, a power cut leaves a router that does not start until it was repaired from another medium. $3, or have a proven card ready and add --in-place"
}

reads_back() { # BYTES HEX NODE - its first BYTES are what was to be written
    local have
    have=$(sum_of "$3" "$1")
    [ "$have" = "$2" ] || fail "$3 does not read back as it was written"
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
