# ---- library: places for kernels -------------------------------------------------------------------
#
# A kernel comes as a FIT: kernel, device trees and the firmware's squashfs in one file. It lies in a UBI volume
# (SPI-NAND) or in a partition of the eMMC or SD card, from the first byte on.

fit_bytes=0   # what see_fit() found: the bytes up to the end of the squashfs,
rootfs_at=0   # where that begins,
rootfs_size=0 # and how long it is

named_in() { # NAME ENTRY... - which of these entries of sysfs has that name, like ubi0_7 or mtd0; nothing when none has
    local want=$1 entry have
    shift
    for entry; do
        [ -e "$entry/name" ] || continue
        read -r have <"$entry/name"
        [ "$have" != "$want" ] || printf '%s' "${entry##*/}"
    done
}

volume_named() { # NAME - the UBI volume's device, like ubi0_7; nothing when there is none
    named_in "$1" /sys/class/ubi/ubi0_*
}

card_part_named() { # NAME - the partition of the eMMC or SD card, like mmcblk0p5; nothing when there is none
    local entry
    for entry in /sys/class/block/mmcblk0p*; do
        ! grep -qsx "PARTNAME=$1" "$entry/uevent" || printf '%s' "${entry##*/}"
    done
}

room_of() { # DEVICE - the bytes a UBI volume or a partition has room for
    local count each
    case $1 in
        ubi*)
            read -r count <"/sys/class/ubi/$1/reserved_ebs"
            read -r each <"/sys/class/ubi/$1/usable_eb_size"
            ;;
        *)
            read -r count <"/sys/class/block/$1/size"
            each=512
            ;;
    esac
    printf '%s' $((count * each))
}

blocks_for() { # BYTES - the erase blocks a UBI volume of that size takes
    local each
    read -r each <"/sys/class/ubi/ubi0/eraseblock_size"
    printf '%s' $((($1 + each - 1) / each))
}

number_at() { # OFFSET COUNT - of $work/head, the little-endian number of 2, 4 or 8 bytes
    local hex number=''
    hex=$(bytes "$1" "$2")
    while [ -n "$hex" ]; do
        number=${hex%"${hex#??}"}$number
        hex=${hex#??}
    done
    printf '%s' $((0x${number:-0}))
}

see_fit() { # FILE - sets fit_bytes, rootfs_at and rootfs_size; fit_bytes=0 when it is no FIT with one squashfs in it
    local at size end mib
    fit_bytes=0
    dd if="$1" of="$work/head" bs=4096 count=1 2>/dev/null
    at=$(bytes 0 4)
    [ "$at" = d00dfeed ] || return 0
    # The squashfs begins at a multiple of 4096; what only looks like its first letters has no superblock behind them.
    # On a volume or partition the first one counts: behind the FIT may be anything, and to read all of it takes minutes.
    : >"$work/found"
    mib=0
    while [ "$mib" -lt 512 ]; do
        # shellcheck disable=SC2312 # a short list leads to no squashfs
        dd if="$1" bs=1048576 skip="$mib" count=16 2>/dev/null | strings -t d -n 4 |
            awk -v mib="$mib" '$2 ~ /^hsqs/ && $1 % 4096 == 0 { print mib * 1048576 + $1 }' >>"$work/found"
        case $1 in /dev/*) [ ! -s "$work/found" ] || break ;; *) ;; esac
        mib=$((mib + 16))
    done
    end=0
    while IFS= read -r at; do
        dd if="$1" of="$work/head" bs=4096 skip=$((at / 4096)) count=1 2>/dev/null
        size=$(bytes 28 4)
        [ "$size" = 04000000 ] || continue # version 4.0 (fs/squashfs/squashfs_fs.h of Linux)
        size=$(number_at 40 8)
        case $1 in
            /dev/*) [ "$end" -eq 0 ] || [ "$at" -lt "$end" ] || break ;; # what an overlay behind the FIT holds
            *) ;;
        esac
        [ "$end" -eq 0 ] || return 0 # a second one
        [ "$size" -gt 96 ] || continue
        end=$((at + size)) rootfs_at=$at rootfs_size=$size
    done <"$work/found"
    fit_bytes=$((end + (4096 - end % 4096) % 4096))
}

sum_of() { # FILE BYTES - the SHA-256 of its first BYTES, read past the page cache where that is a disk
    local sum how=fullblock
    case $1 in /dev/mmcblk* | /dev/nvme*) how=fullblock,direct ;; *) ;; esac
    # shellcheck disable=SC2312 # what could not be read has another sum
    sum=$(dd if="$1" bs=1048576 count=$((($2 + 1048575) / 1048576)) iflag="$how" 2>/dev/null | head -c "$2" | sha256sum)
    printf '%s' "${sum%% *}"
}

write_kernel() { # FILE BYTES DEVICE - the first BYTES of FILE into that volume or partition, read back
    local room
    room=$(room_of "$3")
    [ "$room" -ge "$2" ] || fail "$3 has room for $room bytes, not for $2"
    run pour "$1" "$2" "$3"
    run same_bytes "$1" "$2" "/dev/$3"
}

pour() { # FILE BYTES DEVICE - writes, and tells in per cent how far it is
    # shellcheck disable=SC2312 # a feed that broke off leaves its file
    case $3 in
        ubi*) feed "$1" "$2" | ubiupdatevol "/dev/$3" -s "$2" - ;;
        *) feed "$1" "$2" | dd of="/dev/$3" bs=1048576 iflag=fullblock conv=fsync,notrunc 2>/dev/null ;;
    esac
    [ ! -e "$work/torn" ] || fail "$1 could not be read to its end"
}

feed() { # FILE BYTES - the first BYTES to standard output; leaves $work/torn when it breaks off
    local mib=0 all=$((($2 + 1048575) / 1048576)) whole=$(($2 / 1048576)) count
    touch "$work/torn"
    while [ "$mib" -lt "$whole" ]; do
        count=$((all / 10 + 1)) # a tenth of it at a time
        [ "$count" -le $((whole - mib)) ] || count=$((whole - mib))
        dd if="$1" bs=1048576 skip="$mib" count="$count" 2>/dev/null
        mib=$((mib + count))
        progress $((mib - count)) "$mib" "$all"
    done
    # shellcheck disable=SC2312 # who takes them counts the bytes, and they are read back
    [ "$whole" -eq "$all" ] || dd if="$1" bs=1048576 skip="$whole" count=1 2>/dev/null | head -c $(($2 - whole * 1048576))
    [ "$whole" -eq "$all" ] || progress "$whole" "$all" "$all"
    rm "$work/torn"
}

progress() { # BEFORE DONE ALL - "  40 %", each ten per cent, for who watches
    local now=$(($2 * 10 / $3))
    [ "$now" -ne $(($1 * 10 / $3)) ] || return 0
    printf '  %s0 %%\n' "$now" >&3 2>/dev/null || true
}

same_bytes() { # FILE BYTES NODE - what was written reads back
    local want have
    want=$(sum_of "$1" "$2")
    have=$(sum_of "$3" "$2")
    [ "$want" = "$have" ] || fail "$3 does not read back as it was written"
}
