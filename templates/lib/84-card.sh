# shellcheck shell=busybox enable=check-set-e-suppressed,check-extra-masked-returns,quote-safe-variables
# ---- library: the fallback card -------------------------------------------------------------------------
#
# Written on a PC, or on the router with a card reader. So this part uses only what both have. The order is that of a
# card which, wherever it is cut, never looks finished:
#
#   1. a mark into the card's last MiB: this card is being made
#   2. zeros into its first MiB: no table, nothing that starts
#   3. the image from its second MiB on, and zeros behind it, so that no old overlay is found there; read back
#   4. the image's first MiB: MBR, GPT, BL2; read back
#   5. the table as long as the card, the partition `bootplan` behind all others, the rescue kit in it; read back
#   6. everything read once more; then the mark goes
#
# The mark names the image. A card with it that otherwise looks like ours is ours to write again.

fallback=no       # yes when the plan has one
card_file=''      # what the plan says of it: the image's name,
card_sum=''       # its SHA-256,
card_release=''   # its release,
card_days=0       # and after how many days it is stale
card_switch=''    # SW3's digits at A and B for the SD card
image_wanted=''   # --image
kit_wanted=''     # --kit
card_image=''     # the image's file
card_bytes=0      # its bytes when they are unpacked
card_mibs=0       # what is written: those, up to a whole MiB, and two more of zeros
image_rest=''     # the SHA-256 of that from the second MiB on
card_fit=0        # bytes of the FIT in production up to the end of its squashfs
card=''           # the kernel's name of the card, like sdb or mmcblk0
card_node=''      # /dev/ and that
card_id=''        # what tells that it is still the same one
card_word=''      # what --wipe must name
card_sectors=0    # its size
card_state=''     # blank, unfinished, finished, or other
card_mark=''      # what see_mark() found
card_faults=''    # what prove_card() found
kit_first=0       # the kit's partition: its first sector,
kit_sectors=0     # and its size
kit_node=''       # its device
plain=''          # what see_number() found
kit_named=bootplan
kit_label=bootplan-kit
no_kit='it has no partition with a rescue kit'

fallback_card() { # FILE SUM RELEASE DAYS SWITCH - the plan has a fallback: that image; stale after so many days; SW3's digits for it
    fallback=yes card_file=$1 card_sum=$2 card_release=$3 card_days=$4 card_switch=$5
    : >"$work/card.layout"
}

card_place() { # NAME START SECTORS - a partition of the image's table
    printf '%s %s %s\n' "$1" "$2" "$3" >>"$work/card.layout"
}

no_card() { # - the plan has none
    fallback=no
}

need_card_commands() { # - what making and checking a card calls; looked at before anything else
    local name missing=''
    for name in awk cat cmp cp cut date dd df find flock grep gzip head id ls mkdir mkfs.ext4 mktemp mount mv readlink \
        rm sed sfdisk sha256sum sleep sort sync tail touch tr umount wc; do
        command -v "$name" >/dev/null || missing="$missing $name"
    done
    [ -z "$missing" ] || {
        printf 'refused: commands are missing:%s (sfdisk is in the package fdisk, sfdisk or util-linux; mkfs.ext4 in e2fsprogs)\n' "$missing" >&2
        exit 3
    }
}

need_fallback() { # - the plan has a fallback
    plan_fallback
    [ "$fallback" = yes ] || refuse "this plan has no fallback: section"
    stop_if_refused
}

# -- the image --------------------------------------------------------------------------------------------

find_card_image() { # - sets card_image: --image, or the plan's file here or beside this script; nothing when it is nowhere
    local folder
    card_image=$image_wanted
    case $0 in */*) folder=${0%/*} ;; *) folder=. ;; esac
    if [ -z "$card_image" ] && [ -f "./$card_file" ]; then
        card_image=./$card_file
    elif [ -z "$card_image" ] && [ -f "$folder/$card_file" ]; then
        card_image=$folder/$card_file
    fi
}

need_card_image() { # - the image is the one the plan names, whole, and a card of this board
    local have
    find_card_image
    if [ -z "$card_image" ]; then
        refuse "the image $card_file is neither here nor beside this script; fetch it, or name it: --image FILE"
        return 0
    elif [ ! -f "$card_image" ] || [ ! -r "$card_image" ]; then
        refuse "'$card_image' is no file that can be read"
        return 0
    fi
    have=$(sum_of_image)
    if [ "$have" != "$card_sum" ]; then
        refuse "'$card_image' is not the image of the plan: its SHA-256 is $have, the plan says $card_sum"
        return 0
    fi
    see_card_image
    [ "$card_mibs" -eq 0 ] || say "  the image is whole: $((card_bytes / 1048576)) MiB, OpenWrt $card_release"
}

sum_of_image() { # - the SHA-256 of the image's file
    local sum
    sum=$(sha256sum <"$card_image")
    printf '%s' "${sum%% *}"
}

see_card_image() { # - sets card_bytes, card_mibs, card_fit and the files image.head and image.table; refuses what is no card
    local size end packed
    card_mibs=0
    rm -f "$work/torn"
    # shellcheck disable=SC2312 # what breaks off leaves its file
    size=$(unpacked | wc -c)
    size=$((size + 0)) # some put blanks before it
    if [ -e "$work/torn" ]; then
        refuse "'$card_image' is damaged: it cannot be unpacked to its end (gzip)"
        return 0
    fi
    # The last 4 bytes of a gzip stream are its content's length (RFC 1952). gzip ignores what stands behind a stream.
    tail -c 4 "$card_image" >"$work/packed"
    packed=$(number_in "$work/packed")
    if [ "$packed" -ne $((size % 4294967296)) ]; then
        refuse "'$card_image' has something behind its compressed stream: it is no card image of a release"
        return 0
    fi
    end=$(awk '$1 == "production" { print $2 + $3 }' "$work/card.layout")
    if [ "$size" -le 1048576 ] || [ $((size + 2097152)) -gt $((end * 512)) ]; then
        refuse "'$card_image' unpacks to $size bytes: that is no card image of this board"
        return 0
    fi
    card_bytes=$size
    image_bytes_at 0 1048576 >"$work/image.head"
    table_of_image "$end"
    compare_places "$work/image.table"
    if [ -n "$card_faults" ]; then
        refuse "'$card_image' has not the partitions of this board's card: $card_faults"
        return 0
    fi
    see_card_fit
    [ "$card_fit" -ne 0 ] || {
        refuse "'$card_image' has no system (a FIT with a squashfs) in its partition production"
        return 0
    }
    card_mibs=$(((size + 1048575) / 1048576 + 2))
}

unpacked() { # - the image's bytes; leaves $work/torn when they break off
    # 2 is a warning, of GNU's gzip alone: something stands behind the stream. The caller finds that out by itself.
    gzip -dc "$card_image" 2>>"$log" || [ "$?" -eq 2 ] || touch "$work/torn"
}

see_image_rest() { # - sets image_rest: what is going to be written is known before the first write
    rm -f "$work/torn"
    image_rest=$(image_sum_at 1048576 $(((card_mibs - 1) * 1048576)))
    [ ! -e "$work/torn" ] || refuse "'$card_image' could not be read to its end"
}

image_stream() { # - the image's bytes, and zeros behind them
    unpacked
    dd if=/dev/zero bs=1048576 count=4 2>/dev/null || true # who reads may have enough
}

image_bytes_at() { # OFFSET BYTES - these bytes of the image
    # shellcheck disable=SC2312 # who takes them counts or compares them
    image_stream | tail -c "+$(($1 + 1))" 2>/dev/null | head -c "$2"
}

number_in() { # FILE - the number that its few bytes are, the lowest first
    # cmp tells each byte that is not zero, in octal: neither hexdump nor od is everywhere.
    { cmp -l "$1" /dev/zero 2>/dev/null || true; } | awk '
        { digits = $2; value = 0
          for (i = 1; i <= length(digits); i++) value = value * 8 + substr(digits, i, 1)
          number += value * 256 ^ ($1 - 1) }
        END { printf "%.0f", number }'
}

table_of_image() { # SECTORS - what sfdisk says of the image's table, in $work/image.table; on a file that is as long and takes no room
    cp "$work/image.head" "$work/image.file"
    dd if=/dev/null of="$work/image.file" bs=512 seek=$(($1 + 34)) 2>/dev/null
    dump_table "$work/image.file" >"$work/image.table"
    rm "$work/image.file"
}

dump_table() { # FILE - the lines of its GPT without the device's name: NUMBER : start=…; nothing when it has none
    sfdisk --dump "$1" >"$work/dump" 2>/dev/null || return 0
    grep -q '^label: gpt$' "$work/dump" || {
        sed -n 's/^label: /other /p' "$work/dump"
        return 0
    }
    sed -n 's/^\/[^ ]*[^0-9 ]\([0-9][0-9]* : start=.*\)/\1/p' "$work/dump"
}

compare_places() { # TABLE - sets card_faults when its first partitions are not those of the board's image
    awk 'NR == FNR { want[NR] = $0; all = NR; next }
        { line = $0; number = $1
          sub(/.*start= */, "", line); start = line + 0
          sub(/.*size= */, "", line); size = line + 0
          name = ""
          if (sub(/.*name="/, "", line)) { sub(/".*/, "", line); name = line }
          have[number] = name " " start " " size }
        END { for (i = 1; i <= all; i++) if (have[i] != want[i]) { print "partition " i " is \"" have[i] "\", not \"" want[i] "\""; exit } }' \
        "$work/card.layout" "$1" >"$work/places"
    card_faults=$(cat "$work/places")
}

see_card_fit() { # - sets card_fit: how long the FIT in production is, up to the end of its squashfs; 0 when there is none
    local start at
    card_fit=0
    start=$(awk '$1 == "production" { print $2 * 512 }' "$work/card.layout")
    image_bytes_at "$start" 4 >"$work/packed"
    printf '\320\015\376\355' | cmp -s - "$work/packed" || return 0
    squashfs_places "$start" >"$work/found"
    while read -r at; do
        [ "$card_fit" -eq 0 ] || break
        image_bytes_at $((start + at)) 96 >"$work/super"
        dd if="$work/super" of="$work/packed" bs=4 skip=7 count=1 2>/dev/null
        printf '\004\000\000\000' | cmp -s - "$work/packed" || continue # version 4.0 (fs/squashfs/squashfs_fs.h of Linux)
        dd if="$work/super" of="$work/packed" bs=8 skip=5 count=1 2>/dev/null
        card_fit=$(number_in "$work/packed")
        card_fit=$((at + (card_fit + 4095) / 4096 * 4096))
    done <"$work/found"
    [ $((start + card_fit)) -le $(((card_bytes + 4095) / 4096 * 4096)) ] || card_fit=0
}

squashfs_places() { # OFFSET - where, from there on, a squashfs may begin: each offset on a line
    # shellcheck disable=SC2312 # a short list leads to no squashfs
    if command -v strings >/dev/null; then
        image_bytes_at "$1" "$card_bytes" | strings -a -t d -n 4 2>/dev/null | awk '$2 ~ /^hsqs/ && $1 % 4096 == 0 { print $1 }'
    else
        image_bytes_at "$1" "$card_bytes" | LC_ALL=C grep -abo hsqs | awk -F : '$1 % 4096 == 0 { print $1 }'
    fi
}

# -- the card ---------------------------------------------------------------------------------------------

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

card_reading=no # yes when nothing is to be written: check-sd

device_number() { # NODE - its numbers as sysfs writes them, like 8:16
    local line
    line=$(ls -ldnL "$1" 2>/dev/null) || line='' # it may be gone by now
    printf '%s' "$line" | awk '{ sub(",", "", $5); print $5 ":" $6 }'
}

cards_here() { # - what could be a card, for a message
    local entry size model
    for entry in /sys/class/block/sd* /sys/class/block/mmcblk*; do
        [ -e "$entry/dev" ] && [ ! -e "$entry/partition" ] || continue
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
    printf '%s' "$model"
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
}

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

need_room_on_card() { # - the image, the kit and the second table fit; sets kit_first and kit_sectors
    local end need
    end=$(awk '$1 == "production" { print $2 + $3 }' "$work/card.layout")
    kit_first=$(((end + 2047) / 2048 * 2048))
    # The last MiB is for the second table, and the mark.
    kit_sectors=$((card_sectors / 2048 * 2048 - 2048 - kit_first))
    need=65536
    if [ -n "$kit_wanted" ] && [ -d "$kit_wanted" ]; then
        need=$(du_sectors "$kit_wanted")
        need=$((need * 2 + 65536))
    fi
    if [ "$kit_sectors" -lt "$need" ]; then
        refuse "$card_node holds $((card_sectors / 2048)) MiB; image and kit need $(((kit_first + need + 4096) / 2048)) MiB"
        return 0
    fi
    # More is of no use, and takes time to make.
    [ "$need" -ge 524288 ] || need=524288
    [ "$kit_sectors" -le "$need" ] || kit_sectors=$((need / 2048 * 2048))
}

du_sectors() { # FOLDER - what its files take, in sectors
    local table
    table=$(du -sk "$1")
    printf '%s' "$table" | awk 'END { print $1 * 2 }'
}

need_kit() { # - what --kit names is a folder as `backup` makes it, and whole
    local name
    [ -f "$0" ] && [ -r "$0" ] || refuse "this script cannot read itself ('$0'): run it as a file"
    [ -n "$kit_wanted" ] || return 0
    if [ ! -d "$kit_wanted" ] || [ ! -f "$kit_wanted/SHA256SUMS" ]; then
        refuse "'$kit_wanted' is no folder that the action backup made: it has no SHA256SUMS"
        return 0
    fi
    (cd "$kit_wanted" && sha256sum -c SHA256SUMS) >>"$log" 2>&1 ||
        refuse "'$kit_wanted' is not what its SHA256SUMS says"
    name=$(find "$kit_wanted" -mindepth 1 ! -type f)
    [ -z "$name" ] || refuse "'$kit_wanted' holds more than files"
    find "$kit_wanted" >"$work/names"
    name=$(LC_ALL=C tr -d '\n -[]-~' <"$work/names")
    [ -z "$name" ] || refuse "'$kit_wanted' holds a name with letters that are not ASCII, or with a backslash"
}

need_wipe_word() { # - what --wipe names is this card
    local name
    while read -r name; do
        [ -z "$name" ] || [ "$name" = "$card_word" ] ||
            refuse "--wipe names '$name', but $card_node is '$card_word'"
    done <<END
$wipe
END
}

judge_card() { # - sets card_state; refuses a card that holds something, unless --wipe names it
    local word
    dump_table "$card_node" >"$work/card.table"
    see_state
    case $card_state in
        blank) say "  $card_node is blank, $((card_sectors / 2048)) MiB" ;;
        finished) say "  $card_node is finished, and of this very plan" ;;
        unfinished) say "  $card_node is one of ours that was not finished" ;;
        *)
            case "$newline$wipe$newline" in
                *"$newline$card_word$newline"*) return 0 ;;
                *) ;;
            esac
            list_card
            word=$(as_typed "$card_word")
            refuse "$card_node is not blank; look at the list above, and if nothing of it is needed add: --wipe $word"
            ;;
    esac
}

list_card() { # - what it holds, as far as we can tell
    local model
    model=$(card_model "$card")
    say "  $card_node (${model:-no name}, $((card_sectors / 2048)) MiB) holds:"
    if [ ! -s "$work/card.table" ]; then
        say "    data without a partition table"
        return 0
    fi
    while read -r model; do
        say "    $model"
    done <"$work/card.table"
    [ -z "$card_faults" ] || say "  it is no finished card of this plan: $card_faults"
}

see_state() { # - sets card_state from what the card holds
    local place
    see_mark
    card_state=other card_faults=''
    if [ -n "$card_mark" ]; then
        card_faults='it was never finished'
        see_if_ours
        [ "$card_state" = other ] || return 0
    fi
    if [ -s "$work/card.table" ]; then
        [ -z "$card_mark" ] || return 0
        compare_places "$work/card.table"
        [ -n "$card_faults" ] || prove_card
        [ -n "$card_faults" ] || same_kit
        [ -n "$card_faults" ] || card_state=finished
        return 0
    fi
    awk '{ print int($2 / 2048) }' "$work/card.layout" >"$work/mibs"
    printf '%s\n%s\n' $((kit_first / 2048)) $((card_sectors / 2048 - 1)) >>"$work/mibs"
    while read -r place; do
        card_mib "$place"
        zeros_in_mib
        [ "$zeros" = yes ] || return 0
    done <"$work/mibs"
    # What is behind the last whole MiB.
    card_to "$work/mib" 512 $((card_sectors / 2048 * 2048)) $((card_sectors % 2048))
    zeros_in_mib
    [ "$zeros" = no ] || card_state=blank
}

zeros='' # what zeros_in_mib() found: yes or no

zeros_in_mib() { # - sets zeros: is there nothing else in $work/mib?
    local left
    left=$(bytes_not_zero "$work/mib")
    zeros=no
    [ "$((left))" -ne 0 ] || zeros=yes
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

see_mark() { # - sets card_mark: the image that the mark of an unfinished card names; nothing when there is none
    card_to "$work/mark" 4096 $(((card_sectors / 2048 - 1) * 256)) 1
    tr -d '\0' <"$work/mark" >"$work/mark.text"
    card_mark=$(sed -n '1s/^bootplan-card-unfinished \([0-9a-f]\{64\}\)$/\1/p' "$work/mark.text")
}

see_if_ours() { # - sets card_state to unfinished when the first MiB of a marked card is what a cut run left there
    # That is zeros, or the image's, or some of both. Without sectors 1 to 33: while the table grew, any part of it may
    # have been written. A table of somebody else's means that the card was used for something else since.
    [ ! -s "$work/card.table" ] || grep -q 'name="bl2"' "$work/card.table" || return 0
    card_mib 0
    { cmp -l "$work/mib" "$work/image.head" 2>/dev/null || true; } | awk '$2 != 0 && ($1 <= 512 || $1 > 17408)' >"$work/strange"
    [ -s "$work/strange" ] || card_state=unfinished
}

# -- writing ----------------------------------------------------------------------------------------------

make_card() { # - the steps, in the order that is told above
    step 1 6 'a mark: this card is being made'
    run write_card_mark
    step 2 6 'nothing that starts'
    run clear_head
    step 3 6 "the image, $card_mibs MiB"
    run pour_image
    run image_reads_back
    step 4 6 'its beginning'
    run write_head
    step 5 6 'the rescue kit'
    run grow_table
    run make_kit
    step 6 6 'all of it once more'
    run card_is_right
    run take_mark_away
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

write_card_mark() { # - in the last MiB: the mark, and zeros up to the card's end, where an old table was
    local rest=$((card_sectors % 2048))
    dd if=/dev/zero of="$work/mib" bs=1048576 count=1 2>/dev/null
    [ "$rest" -eq 0 ] || dd if=/dev/zero of="$work/mib" bs=512 seek=2048 count="$rest" conv=notrunc 2>/dev/null
    printf 'bootplan-card-unfinished %s\n' "$card_sum" | dd of="$work/mib" bs=4096 conv=notrunc 2>/dev/null
    need_same_card
    put_on_card if="$work/mib" bs=512 seek=$((card_sectors / 2048 * 2048 - 2048))
    mark_is_there
}

mark_is_there() { # - the mark reads back
    need_same_card
    see_mark
    [ "$card_mark" = "$card_sum" ] || fail "the end of the card does not read back: it is not as large as it says, or it is worn out"
}

clear_head() { # - the first MiB becomes zeros
    dd if=/dev/zero of="$work/mib" bs=1048576 count=1 2>/dev/null
    at_card 0 "$work/mib"
    card_mib 0
    zeros_in_mib
    [ "$zeros" = yes ] || fail "the beginning of the card does not read back as it was written"
}

pour_image() { # - the image from its second MiB on, and tells in per cent how far it is
    rm -f "$work/torn"
    # shellcheck disable=SC2312 # a stream that broke off leaves its file
    image_stream | put_pieces
    [ ! -e "$work/torn" ] || fail "'$card_image' could not be read to its end"
    mark_is_there
}

put_pieces() { # - standard input to the card, from the second MiB on
    local mib=1 count
    dd bs=1048576 count=1 iflag=fullblock of="$work/mib" 2>/dev/null # the first one comes last
    while [ "$mib" -lt "$card_mibs" ]; do
        count=8
        [ "$count" -le $((card_mibs - mib)) ] || count=$((card_mibs - mib))
        need_same_card
        put_on_card bs=1048576 seek="$mib" count="$count" iflag=fullblock
        need_same_card
        mib=$((mib + count))
        progress $((mib - count)) "$mib" "$card_mibs"
    done
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

image_sum_at() { # OFFSET BYTES - the SHA-256 of these bytes of the image, with zeros behind it
    local sum
    # shellcheck disable=SC2312 # what could not be read has another sum
    sum=$(image_bytes_at "$1" "$2" | sha256sum)
    printf '%s' "${sum%% *}"
}

image_reads_back() { # - what was written of the image
    local have
    have=$(card_sum_at 1048576 $(((card_mibs - 1) * 1048576)))
    need_same_card
    [ "$image_rest" = "$have" ] ||
        fail "the card does not read back what was written to it: it is broken, or not as large as it says, or '$card_image' was changed meanwhile"
}

write_head() { # - the image's first MiB, read back
    at_card 0 "$work/image.head"
    card_mib 0
    cmp "$work/mib" "$work/image.head" || fail "the beginning of the card does not read back as it was written"
}

try_table() { # - what grow_table() does, on a file that is as long as the card and takes no room: not every sfdisk can
    printf 'start=%s, size=%s, name="%s"\n' "$kit_first" "$kit_sectors" "$kit_named" >"$work/card.new"
    cp "$work/image.head" "$work/image.file"
    dd if=/dev/null of="$work/image.file" bs=512 seek="$card_sectors" 2>>"$log"
    if ! sfdisk --quiet --relocate gpt-bak-std "$work/image.file" >>"$log" 2>&1 ||
        ! sfdisk --quiet --append "$work/image.file" <"$work/card.new" >>"$log" 2>&1; then
        refuse "the sfdisk here cannot make the card's table as long as the card, and add to it (--relocate, --append); its words are in $log"
    else
        dump_table "$work/image.file" >"$work/card.table"
        head -c 1048576 "$work/image.file" >"$work/mib"
        compare_table
        [ -z "$card_faults" ] || refuse "the sfdisk here makes the card's table wrong: $card_faults"
    fi
    rm "$work/image.file"
}

grow_table() { # - the table as long as the card, and the kit's partition behind all others; nothing else of it changes
    need_same_card
    sfdisk --quiet --relocate gpt-bak-std "$card_node"
    sfdisk --quiet --append "$card_node" <"$work/card.new"
    need_same_card
    table_is_right
    [ -z "$card_faults" ] || fail "the table of the card: $card_faults"
    mark_is_there
}

table_is_right() { # - sets card_faults unless the card's table is the image's and one partition more, and its MBR the image's
    dump_table "$card_node" >"$work/card.table"
    card_mib 0
    compare_table
}

compare_table() { # - the same of the table in $work/card.table and the first MiB in $work/mib
    card_faults=''
    grep -q ": start= *$kit_first, size= *$kit_sectors,.* name=\"$kit_named\"" "$work/card.table" ||
        card_faults="no partition $kit_named where it should be"
    grep -v "name=\"$kit_named\"" "$work/card.table" >"$work/table.left" || true
    cmp -s "$work/table.left" "$work/image.table" || card_faults='other partitions than the image has'
    head -c 512 "$work/mib" >"$work/mbr"
    head -c 512 "$work/image.head" >"$work/mbr.image"
    cmp -s "$work/mbr" "$work/mbr.image" || card_faults='another MBR than the image has'
}

# -- the kit ----------------------------------------------------------------------------------------------

see_kit_node() { # - sets kit_node: the partition that begins at kit_first, when the kernel and its node are there
    local entry start number have
    kit_node=''
    for entry in "/sys/class/block/$card/$card"*; do
        [ -e "$entry/start" ] || continue
        read -r start <"$entry/start"
        [ "$start" -eq "$kit_first" ] && [ -b "/dev/${entry##*/}" ] || continue
        read -r number <"$entry/dev"
        have=$(device_number "/dev/${entry##*/}")
        [ "$have" != "$number" ] || kit_node=/dev/${entry##*/}
    done
}

wait_for_kit_node() { # - ten seconds at most
    local second
    for second in 1 2 3 4 5 6 7 8 9 10; do
        see_kit_node
        [ -z "$kit_node" ] || return 0
        sleep 1
    done
    fail "the partition $kit_named of the card does not appear (waited $second s); is something else using the card?"
}

kit_users() { # - who has the kit's partition, for a message; nothing when nobody has
    local number users more
    users=$(users_of "${kit_node##*/}")
    read -r number <"/sys/class/block/${kit_node##*/}/dev"
    more=$(sources_of "$number")
    case "$users " in *"$more "*) ;; *) users="$users$more" ;; esac
    printf '%s' "$users"
}

refuse_if_kit_used() { # - who has it mounted, like many a desktop by itself, may be writing to it
    local users
    [ -n "$kit_node" ] || return 0
    users=$(kit_users)
    [ -z "$users" ] || refuse "the card's rescue kit is in use:$users; unmount it first: umount $kit_node"
    stop_if_refused
}

need_kit_alone() { # - nobody else has it; while we write it somebody else's mount would keep back what ours unmounts
    local users
    users=$(kit_users)
    [ -z "$users" ] || fail "something else mounted the card's rescue kit meanwhile:$users; unmount it (umount $kit_node)"
}

to_card() { # FILE... - what was written to these files is on the card, whoever else has them open; fsync is not everywhere
    local file
    for file; do
        dd if=/dev/null of="$file" conv=notrunc,fsync 2>>"$log"
    done
}

kit_files() { # - what this script itself puts into the kit, in $work/kit
    rm -rf "$work/kit"
    mkdir "$work/kit"
    cat "$0" >"$work/kit/r4.sh"
    kit_plan >"$work/kit/plan.yaml"
    kit_card >"$work/kit/card.md"
}

kit_sums() { # - the sums of all that goes into the kit, taken from where it comes from
    (cd "$work/kit" && sha256sum -- *)
    [ -n "$kit_wanted" ] || return 0
    (cd "$kit_wanted" && sha256sum -- *) >"$work/backup.sums"
    sed 's/^\([0-9a-f]*  \)/\1backup\//' "$work/backup.sums"
}

make_kit() { # - a file system, the files, and last of all `about`
    wait_for_kit_node
    need_kit_alone
    mkfs.ext4 -q -F -L "$kit_label" -E lazy_itable_init=0,lazy_journal_init=0 "$kit_node"
    need_same_card
    kit_files
    about_card >"$work/kit/about"
    kit_sums >"$work/kit.sums"
    mkdir -p "$work/target"
    need_kit_alone
    mount -t ext4 "$kit_node" "$work/target"
    cp "$work/kit/r4.sh" "$work/kit/plan.yaml" "$work/kit/card.md" "$work/target/"
    cp "$work/kit.sums" "$work/target/SHA256SUMS"
    if [ -n "$kit_wanted" ]; then
        mkdir "$work/target/backup"
        cp "$kit_wanted"/* "$work/target/backup/"
        to_card "$work/target/backup"/*
    fi
    to_card "$work/target/r4.sh" "$work/target/plan.yaml" "$work/target/card.md" "$work/target/SHA256SUMS"
    umount "$work/target" # all of that is on the card before `about` says so
    need_kit_alone
    mount -t ext4 "$kit_node" "$work/target"
    cp "$work/kit/about" "$work/target/about.new"
    to_card "$work/target/about.new"
    mv "$work/target/about.new" "$work/target/about"
    to_card "$work/target/about"
    umount "$work/target"
    need_kit_alone
    need_same_card
}

about_card() { # - what the card is, and the sums of those parts that a running card does not change
    local name start sectors sum
    printf 'bootplan-card 1\nrelease %s\nimage %s\nsha256 %s\nplan %s\nversion %s\n' "$card_release" "$card_file" "$card_sum" \
        "$plan_name" "$plan_version"
    date '+made %Y-%m-%d%nmade-at %s'
    sum=$(card_sum_at 0 512)
    printf 'part mbr 0 512 %s\n' "$sum"
    while read -r name start sectors; do
        case $name in
            bl2 | fip | recovery | install) sectors=$((sectors * 512)) ;;
            production) sectors=$card_fit ;;
            *) continue ;; # the environment, and what is the board's own
        esac
        sum=$(card_sum_at $((start * 512)) "$sectors")
        printf 'part %s %s %s %s\n' "$name" $((start * 512)) "$sectors" "$sum"
    done <"$work/card.layout"
}

see_number() { # WORD - sets plain: that number without the zeros before it, which mean octal to a shell; nothing unless it is 1 to 15 digits
    plain=''
    case $1 in '' | *[!0-9]* | ????????????????*) return 0 ;; *) ;; esac
    plain=$1
    while [ "${#plain}" -gt 1 ] && [ "$plain" != "${plain#0}" ]; do
        plain=${plain#0}
    done
}

about_says() { # WORD - what `about` says of it, from $work/about
    sed -n "s/^$1 //p" "$work/about"
}

look_into_kit() { # - the kit read from the card: its sums; `about`, SHA256SUMS and `proven` go to $work
    local failed strange
    rm -f "$work/about" "$work/sums" "$work/proven"
    dump_table "$card_node" >"$work/card.table"
    kit_first=$(sed -n "s/.*start= *\\([0-9]*\\),.*name=\"$kit_named\".*/\\1/p" "$work/card.table")
    [ -n "$kit_first" ] || {
        card_faults=$no_kit
        return 0
    }
    see_kit_node
    mkdir -p "$work/look"
    refuse_if_kit_used
    if [ -z "$kit_node" ] || ! mount -t ext4 -o ro,noload,nodev,nosuid,noexec "$kit_node" "$work/look" 2>>"$log"; then
        card_faults='its rescue kit cannot be mounted (is something else using it?)'
        return 0
    fi
    # Anybody may have written it: it names no file outside the kit, and what of it is used or shown is short and plain.
    failed=no
    strange=$(find "$work/look" ! -type f ! -type d)
    if [ -z "$strange" ]; then
        short_and_plain SHA256SUMS 1048576 >"$work/sums"
        short_and_plain about 8192 >"$work/about"
        short_and_plain proven 100 >"$work/proven.said"
        tr -cd '0-9A-Za-z. -' <"$work/proven.said" >"$work/proven"
        grep -q '.' "$work/sums" || failed=yes
        ! grep -Ev '^[0-9a-f]{64}  [^/]' "$work/sums" >>"$log" || failed=yes
        ! grep -E '(  |/)\.\.(/|$)' "$work/sums" >>"$log" || failed=yes
        [ "$failed" = yes ] || (cd "$work/look" && sha256sum -c "$work/sums") >>"$log" 2>&1 || failed=yes
    fi
    umount "$work/look"
    [ "$failed" = no ] || card_faults='its rescue kit is not what its SHA256SUMS says'
    grep -qs '^bootplan-card 1$' "$work/about" || card_faults='its rescue kit is not finished'
    [ -z "$strange" ] || card_faults='its rescue kit holds more than files'
}

short_and_plain() { # NAME BYTES - so much of that file of the kit, what is printable and ends of lines; nothing when there is none
    [ -f "$work/look/$1" ] || return 0
    # shellcheck disable=SC2312 # what could not be read is missing afterwards
    head -c "$2" "$work/look/$1" | LC_ALL=C tr -cd '\n -~'
}

prove_card() { # - sets card_faults: what is wrong with a card that was made once; empty when it is whole
    card_faults=''
    see_mark
    if [ -n "$card_mark" ]; then
        card_faults='it was never finished'
        return 0
    fi
    parts_are_right
}

parts_are_right() { # - sets card_faults from the kit, and from the parts of the card that its `about` has the sums of
    local word name offset bytes want have all=' '
    card_faults=''
    look_into_kit
    [ -z "$card_faults" ] || return 0
    grep '^part ' "$work/about" >"$work/parts" || true
    while read -r word name offset bytes want; do
        see_number "$offset"
        offset=$plain
        see_number "$bytes"
        if [ -z "$offset" ] || [ -z "$plain" ]; then
            card_faults="its rescue kit does not say where its $word $name is"
            return 0
        fi
        all="$all$name "
        have=$(card_sum_at "$offset" "$plain")
        [ "$have" = "$want" ] || card_faults="${card_faults:+$card_faults; }its $word $name is not what was written"
    done <"$work/parts"
    for name in mbr bl2 fip recovery install production; do
        case $all in
            *" $name "*) ;;
            *) card_faults="${card_faults:+$card_faults; }its rescue kit has no sum of its part $name" ;;
        esac
    done
}

same_kit() { # - sets card_faults unless the finished card is the one that would be made now
    local have
    have=$(about_says sha256)
    if [ "$have" != "$card_sum" ]; then
        card_faults='it is of another image'
        return 0
    fi
    kit_files
    kit_sums >"$work/kit.sums"
    # Which also has the sum of `about`, of another day.
    grep -v '  about$' "$work/sums" >"$work/sums.have" || true
    if [ -z "$kit_wanted" ]; then # a backup that is there stays
        grep -v '  backup/' "$work/sums.have" >"$work/sums.left" || true
        mv "$work/sums.left" "$work/sums.have"
    fi
    cmp -s "$work/sums.have" "$work/kit.sums" || card_faults='its rescue kit is of another plan, script or backup'
}

compare_with_image() { # - sets card_faults for a card without a kit: its parts against the image's, when that is at hand
    local name start sectors want have
    find_card_image
    if [ -z "$card_image" ]; then
        card_faults="$card_faults; with the image at hand (--image FILE) its parts can be compared"
        return 0
    fi
    need_card_image
    stop_if_refused
    card_faults=''
    printf 'mbr 0 1\n' >"$work/parts"
    cat "$work/card.layout" >>"$work/parts"
    while read -r name start sectors; do
        sectors=$((sectors * 512))
        case $name in
            mbr | bl2 | fip | recovery | install) ;;
            production) sectors=$card_fit ;;
            *) continue ;;
        esac
        want=$(image_sum_at $((start * 512)) "$sectors")
        have=$(card_sum_at $((start * 512)) "$sectors")
        [ "$have" = "$want" ] || card_faults="${card_faults:+$card_faults; }its part $name is not that of the image"
    done <"$work/parts"
    [ -n "$card_faults" ] || note "it has no rescue kit: another program wrote it; when, nobody knows"
}

card_is_right() { # - the last look before the mark goes: all of the image again, the table, the kit
    local have
    have=$(sum_of_image)
    [ "$have" = "$card_sum" ] || fail "'$card_image' was changed meanwhile: it is not the image of the plan any more"
    image_reads_back
    table_is_right
    [ -n "$card_faults" ] || parts_are_right
    [ -z "$card_faults" ] || fail "the card: $card_faults"
    need_same_card
}

take_mark_away() { # - the card is finished
    dd if=/dev/zero of="$work/mib" bs=4096 count=1 2>/dev/null
    need_same_card
    put_on_card if="$work/mib" bs=4096 seek=$(((card_sectors / 2048 - 1) * 256))
    need_same_card
    see_mark
    [ -z "$card_mark" ] || fail "the end of the card does not read back as it was written"
}

# -- the actions ------------------------------------------------------------------------------------------

action_make_sd() { # DEVICE - the plan's fallback card
    at='looking at the card' stands='nothing was written to the card'
    need_fallback
    need_card "$1"
    need_card_image
    [ "$card_mibs" -eq 0 ] || see_image_rest
    need_kit
    if [ -n "$card" ]; then
        need_room_on_card
        [ "$card_mibs" -eq 0 ] || [ "$refusals" -gt 0 ] || try_table
        need_wipe_word
    fi
    stop_if_refused
    judge_card
    stop_if_refused
    phase=change
    if [ "$card_state" = finished ]; then
        so "$card_node is the card of this plan, and whole"
        tell_age
    else
        [ "$apply" = no ] || stands="the card is not finished, and does not pass for one"
        make_card
    fi
    finish "The card is finished. Try it: SW3 A=${card_switch%?} B=${card_switch#?}, power off and on; then put it where you find it."
    tell_if_mounted
}

tell_if_mounted() { # - a desktop may have mounted the kit by itself
    local blocks users
    blocks=$(card_blocks)
    # shellcheck disable=SC2086 # kernel names, split on purpose
    users=$(users_of $blocks)
    [ -z "$users" ] || note "something mounted the card meanwhile:$users; unmount that before you take it out"
}

action_check_sd() { # DEVICE - is that a finished card, of which release, how old?
    local path have
    card_reading=yes at='looking at the card' stands='nothing was written to the card'
    need_fallback
    see_card "$1"
    stop_if_refused
    path=$(readlink -f "/sys/class/block/$card")
    need_removable "$path"
    stop_if_refused
    card_mib 0
    dump_table "$card_node" >"$work/card.table"
    compare_places "$work/card.table"
    if [ -n "$card_faults" ]; then
        say "not a card of this board: $card_faults"
        exit_code=1
        return 0
    fi
    prove_card
    if [ -s "$work/about" ]; then
        tell_age
        have=$(about_says sha256)
        [ "$have" = "$card_sum" ] || card_faults="${card_faults:+$card_faults; }it is of another image than the plan's"
    elif [ "$card_faults" = "$no_kit" ]; then
        compare_with_image
    fi
    if [ -n "$card_faults" ]; then
        say "the card is not proven: $card_faults"
        exit_code=1
        return 0
    fi
    say "the card is whole: table, bl2, fip, recovery, install, the FIT in production${kit_first:+, and the rescue kit} read back as they were written"
}

tell_age() { # - release and age of the card
    local made now release days day
    release=$(about_says release)
    day=$(about_says made)
    made=$(about_says made-at)
    see_number "$made"
    made=${plain:-0}
    now=$(date +%s)
    days=$(((now - made) / 86400))
    if [ "$now" -lt "$made" ]; then
        say "  OpenWrt $release, made $day; the clock here is before that"
    else
        say "  OpenWrt $release, made $days days ago ($day)"
        [ "$days" -le "$card_days" ] || note "that is more than the $card_days days of the plan: make it anew"
    fi
    if [ -s "$work/proven" ]; then
        day=$(cat "$work/proven")
        say "  a router was started from it: $day"
    else
        say "  its kit does not know that a router was ever started from it"
    fi
}

kit_remembers() { # DAY RELEASE - this system runs from the card: its rescue kit knows from now on that it does
    local part have=''
    part=$(card_part_named "$kit_named")
    [ -n "$part" ] || return 0
    mkdir -p "$work/look"
    mount -t ext4 -o ro,noload "/dev/$part" "$work/look" 2>>"$log" || {
        note "the rescue kit on /dev/$part cannot be mounted"
        return 0
    }
    [ ! -f "$work/look/proven" ] || have=$(cat "$work/look/proven")
    umount "$work/look"
    if [ "$have" = "$1 with OpenWrt $2" ]; then
        so "the rescue kit knows it"
        return 0
    fi
    run tell_kit "$part" "$1 with OpenWrt $2"
}

tell_kit() { # PART LINE - that line into the kit
    mkdir -p "$work/target"
    mount -t ext4 "/dev/$1" "$work/target"
    write_file "$work/target/proven" "$2"
    umount "$work/target"
}
