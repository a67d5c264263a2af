# ---- library: file systems -------------------------------------------------------------------
#
# A stock image has neither blkid nor lsblk, so the few bytes that tell a file system are read here.
# ext4: Documentation/filesystems/ext4/super.rst of Linux; f2fs: include/linux/f2fs_fs.h.

kind=''       # what probe() found: ext4, f2fs, blank, or a word for something else
label=''      # its label
uuid=''       # its UUID
unclean=no    # yes when it was not unmounted: what it holds is in part in its journal only
verdict=''    # what judge() decided: keep, make, or what is in the way
inside=''     # what look_inside() found there
made=''       # the partitions that got a new file system in this run, or would have in a rehearsal
stale=''      # why a finished copy there does not fit this system
room_inside=0 # KiB free there

probe() { # DEVICE MIB - sets kind, label and uuid of what begins MIB mebibytes into the device
    local magic features
    kind='' label='' uuid='' unclean=no
    : >"$work/head" # dd leaves it as it was when it cannot open the device
    dd if="$1" of="$work/head" bs=1048576 skip="$2" count=1 iflag=direct 2>/dev/null || true
    magic=$(wc -c <"$work/head") || magic=0
    [ "$magic" -eq 1048576 ] || {
        kind='nothing readable'
        return 0
    }
    magic=$(bytes 1080 2)
    if [ "$magic" = 53ef ]; then
        features=$(bytes 1120 1)
        kind='ext2'
        [ $((0x$features & 0x40)) -eq 0 ] || kind=ext4
        [ $((0x$features & 0x04)) -eq 0 ] || unclean=yes
        label=$(text_at 1144 16)
        uuid=$(uuid_at 1128)
        return 0
    fi
    magic=$(bytes 1024 4)
    if [ "$magic" = 1020f5f2 ]; then
        kind=f2fs
        label=$(text_at 1148 512) # UTF-16; our labels are ASCII
        uuid=$(uuid_at 1132)
        return 0
    fi
    other_kind
}

other_kind() { # - sets kind for what is neither ext4 nor f2fs, from $work/head
    local left
    left=$(bytes_not_zero "$work/head")
    if [ "$left" -eq 0 ]; then
        kind=blank
        return 0
    fi
    kind=$(bytes 0 8)
    case $kind in
        4c554b53babe*) kind=LUKS ;;
        58465342*) kind=XFS ;;
        68737173*) kind=squashfs ;;
        d00dfeed*) kind='a FIT image or device tree' ;;
        eb??904e54465320) kind=NTFS ;;
        eb??904558464154) kind=exFAT ;;
        *)
            kind='unknown data'
            known_at 65600 5f42485266535f4d btrfs
            known_at 4086 53574150535041434532 'swap space'
            known_at 512 4c4142454c4f4e45 'an LVM volume'
            known_at 4096 fc4e2ba9 'a RAID member'
            known_at 82 4641543332 FAT32
            known_at 54 46415431 FAT
            ;;
    esac
}

known_at() { # OFFSET BYTES WORD - sets kind to WORD when these bytes (in hex) stand at that place
    local have
    have=$(bytes "$1" $((${#2} / 2)))
    [ "$have" != "$2" ] || kind=$3
}

bytes() { # OFFSET COUNT - of $work/head, in hex
    hexdump -v -s "$1" -n "$2" -e '1/1 "%02x"' "$work/head"
}

text_at() { # OFFSET COUNT - of $work/head, without the NULs
    dd if="$work/head" of="$work/text" bs=1 skip="$1" count="$2" 2>/dev/null
    tr -d '\0\n' <"$work/text"
}

uuid_at() { # OFFSET - of $work/head, in the usual form
    local hex
    hex=$(bytes "$1" 16)
    printf '%s' "$hex" | sed 's/\(........\)\(....\)\(....\)\(....\)\(.*\)/\1-\2-\3-\4-\5/'
}

make_filesystem() { # DISK NUMBER KIND LABEL ROLE - that file system, with that label; ROLE is overlay, root, idle or data
    local id=$1 disk node
    disk=$(disk_to_use "$id")
    [ -b "/dev/${disk:-none}" ] || return 0 # need_disk told it
    node=/dev/${disk}p$2
    judge "$disk" "$2" "$3" "$4" "$5"
    case $verdict in
        keep)
            [ "$phase" = look ] || so "$3 '$4' on $node"
            unmark_what_is_done "$disk" "$2"
            return 0
            ;;
        make) ;;
        stale*)
            node=$(how_to_fit)
            refuse "partition $2 of $disk holds ${verdict#stale: }; $node"
            ;;
        *)
            [ "$phase" = change ] || say "  partition $2 of $disk holds $verdict"
            refuse_unless_disposable "$disk" "$id" "$5"
            ;;
    esac
    if [ "$phase" = look ]; then
        refuse_if_part_used "$disk" "$2"
        return 0
    fi
    run wait_for_part "$disk" "$2"
    case $3 in
        ext4) run mkfs.ext4 -q -F -L "$4" "$node" ;;
        f2fs) run mkfs.f2fs -q -f -l "$4" "$node" ;;
        *) fail "no way to make a file system of kind $3" ;;
    esac
    run check_filesystem "$disk" "$2" "$3" "$4"
    made="$made $disk/$2"
}

judge() { # DISK NUMBER KIND LABEL ROLE - sets verdict: keep, make, stale: WHY, or what is in the way
    local numbers place part
    verdict='make' inside=''
    # New places in the table hold nothing to keep; the table's own check asked whether that may be.
    numbers=$(numbers_to_make "$1")
    case "$numbers " in *" $2 "*) return 0 ;; *) ;; esac
    place=$(place_of "$1" "$2")
    part=$(part_at "$1" "$2")
    case $unseen in *" $1 "*) part=${part:-unseen} ;; *) ;; esac
    probe "/dev/$1" "${place% *}"
    numbers=$(marked "$1")
    case "$kind/ $numbers " in
        # An unfinished run of this plan was making it: what it left may go, but nothing that holds files.
        blank/*" $2 "* | unknown*/*" $2 "*) return 0 ;;
        ext4/*" $2 "* | f2fs/*" $2 "*)
            look_inside "$part" "$kind"
            case $inside in
                empty | unfinished | unread* | 'a '*) ;;
                # Also a copy at this very place: the table changed, and this run was to make it anew.
                *) verdict="$inside, in place of which an unfinished run was making a new file system" ;;
            esac
            return 0
            ;;
        *) ;;
    esac
    if [ "$kind" = blank ]; then
        blank_at "/dev/$1" $((${place#* } - 1)) 1048576
        [ "$blank" = yes ] || verdict='unknown data at its end'
    elif [ "$kind/$label" != "$3/$4" ]; then
        verdict="$kind '$label'"
    elif [ "$5" = data ]; then
        verdict=keep
    elif [ "$5" = idle ]; then
        judge_idle "$part" "$3"
    else
        judge_root "$part" "$3" "$5"
    fi
}

judge_root() { # PART KIND METHOD - the file system is ours by kind and label; is what it holds a root that we made?
    look_inside "$1" "$2"
    case $inside in
        'in use' | empty) verdict=keep ;;
        unread*)
            verdict=keep
            note "the file system '$label' ${inside#unread: }: what it holds can be seen with --apply only"
            ;;
        unfinished) verdict='make' ;;
        "complete $3")
            verdict=keep
            [ -z "$stale" ] || verdict="stale: $stale"
            [ "$recopy" = no ] || verdict='a finished copy of the system'
            ;;
        complete*) verdict='a system copied by another root method' ;;
        "$half")
            verdict="stale: $half"
            [ "$recopy" = no ] || verdict=$half
            ;;
        *) verdict=$inside ;;
    esac
}

place_of() { # DISK NUMBER - where the plan puts that partition: first MiB, and the MiB behind its last one
    local number start size name bytes
    bytes=$(sector_bytes "$1")
    while read -r number start size name; do
        [ "$number" != "$2" ] ||
            printf '%s %s' $((start * bytes / 1048576)) $(((start + size) * bytes / 1048576))
    done <"$work/$1.wanted"
}

part_at() { # DISK NUMBER - the kernel's name of what stands at that place now: a table about to change may number it otherwise
    local place entry start size
    place=$(place_of "$1" "$2")
    for entry in /sys/class/block/"$1"p*; do
        [ -e "$entry/start" ] || continue
        read -r start <"$entry/start" # both in 512-byte sectors
        read -r size <"$entry/size"
        [ "$start $((start + size))" != "$((${place% *} * 2048)) $((${place#* } * 2048))" ] || printf '%s' "${entry##*/}"
    done
}

wait_for_part() { # DISK NUMBER - until the kernel sees it at its place and its node is that device; ten seconds at most
    local second part='' node='' number=''
    for second in 1 2 3 4 5 6 7 8 9 10; do
        part=$(part_at "$1" "$2")
        if [ "$part" = "$1p$2" ] && [ -b "/dev/$part" ]; then
            node=$(ls -dln "/dev/$part")
            node=$(printf '%s' "$node" | awk '{ print $5 $6 }') # "259," "1"
            read -r number <"/sys/class/block/$part/dev"
            [ "$node" != "${number%:*},${number#*:}" ] || return 0
        fi
        sleep 1
    done
    fail "partition $2 of $1 does not appear where the table has it (waited $second s)"
}

look_inside() { # PART KIND - after probe(): sets inside: in use, empty, unfinished, complete METHOD, unread: WHY, or what it holds; and stale: why such a copy is old
    local users options
    inside='unread: has no device until the table is written' stale=''
    [ "$1" != unseen ] || return 0
    inside='a file system without a device'
    [ -b "/dev/${1:-none}" ] || return 0
    users=$(users_of "$1")
    inside='in use'
    [ -z "$users" ] || return 0
    # Mounting it as it is would read half of it, and replaying its journal writes to the disk: only with --apply.
    inside='unread: was not unmounted before the power went'
    [ "$unclean/$apply" != yes/no ] || return 0
    case $apply/$2 in
        yes/*) options=ro ;;
        */ext4) options=ro,noload ;;
        *) options=ro,norecovery ;;
    esac
    mkdir -p "$work/look"
    inside="a $2 file system that cannot be mounted"
    mount -t "$2" -o "$options" "/dev/$1" "$work/look" 2>>"$log" || return 0
    read_state "$work/look"
    see_stale "$work/look"
    room_inside=$(room_in "$work/look")
    umount "$work/look"
}

read_state() { # FOLDER - sets inside from the mounted file system there
    inside=$(find "$1" -xdev -mindepth 1 -maxdepth 2 ! -path "$1/.bootplan*" ! -name lost+found 2>>"$log") || {
        inside='a damaged file system'
        return 0
    }
    inside=$(printf '%s' "$inside" | sed -n 1p)
    if [ -e "$1/.bootplan/state" ] && [ -n "$inside" ]; then
        read -r inside <"$1/.bootplan/state" || true
        touch -r "$1/.bootplan/state" "$work/copied"
    elif [ -n "$inside" ]; then
        inside="files that this script did not put there (${inside##*/})"
    elif [ -e "$1/.bootplan" ]; then
        inside=unfinished # or a finished one whose files somebody removed
    else
        inside=empty
    fi
}

see_stale() { # FOLDER - after read_state(): sets stale when the copy there was made for another kernel or firmware than this one
    local kernel
    stale=''
    kernel=$(uname -r)
    if [ "$inside" = 'complete root' ] && [ ! -d "$1/lib/modules/$kernel" ]; then
        stale="a copy of the system without modules for the running kernel $kernel"
    fi
    case $stale/$inside/$slots_kind in
        # fstools takes what fstab names, whatever firmware it was made for.
        '/complete overlay/'*) see_other_firmware "$1" 'an overlay' ;;
        '/complete root/none') see_other_firmware "$1" 'a root' ;;
        '/complete root/volume' | '/complete root/partition') see_other_slot "$1" ;;
        *) ;; # with a shared kernel the firmware of the boot medium is no slot's
    esac
}

see_other_firmware() { # FOLDER WORD - sets stale when the state there names another firmware than the one that runs
    local have now
    have=$(sed -n 2p "$1/.bootplan/state")
    now=$(firmware_uuid)
    [ -z "$now" ] || [ -z "$have" ] || [ "$have" = "$now" ] ||
        stale="$2 for another firmware ($have, this is $now)"
}

see_other_slot() { # FOLDER - sets stale for a slot with a kernel of its own that was given up: install would put the stock kernel beside it
    local have now
    [ -e "$1$env_copies/slot-a" ] || return 0
    have=$(sed -n 's/^sha256 //p' "$1$env_copies/slot-a")
    now=$(slot_says a sha256)
    [ -z "$now" ] || [ "$have" = "$now" ] || stale='a slot that was upgraded since it was copied'
}

firmware_uuid() { # - the UUID of the running firmware's squashfs; nothing where there is none at /rom
    local device block number
    device=$(mounted_at /rom)
    case $device in *' squashfs') ;; *) return 0 ;; esac
    for block in /sys/class/block/*; do
        [ -e "$block/dev" ] || continue
        read -r number <"$block/dev"
        [ "$number" != "${device% *}" ] || squashfs_uuid "/dev/${block##*/}"
    done
}

squashfs_uuid() { # FILE - as `block info` has it: the MD5 of the superblock, its bytes backwards (fstools, libblkid-tiny/squashfs.c)
    dd if="$1" of="$work/superblock" bs=96 count=1 2>/dev/null || return 0
    md5sum "$work/superblock" >"$work/text"
    awk '{ for (i = 31; i > 0; i -= 2) printf "%s%s", substr($1, i, 2), (i == 25 || i == 17 || i == 9 ? "-" : "") }' "$work/text"
}

refuse_if_part_used() { # DISK NUMBER - what becomes a new file system must not be in use
    local part users way
    part=$(part_at "$1" "$2")
    [ -n "$part" ] || return 0
    users=$(users_of "$part")
    way=$(how_to_leave "$users")
    [ -z "$users" ] || refuse "$part must get a new file system, but it is in use:$users$way"
}

check_filesystem() { # DISK NUMBER KIND LABEL - reads back from the disk what mkfs wrote, then takes the number off the mark
    local place
    place=$(place_of "$1" "$2")
    probe "/dev/$1" "${place% *}"
    [ "$kind/$label" = "$3/$4" ] || fail "partition $2 of $1 reads back as '$kind' '$label', not as '$3' '$4'"
    unmark "$1" "$2"
}

uuid_on() { # DISK NUMBER NAME - the UUID of the file system there; a word in its place while a rehearsal has none
    local disk place
    disk=$(disk_named "$1")
    place=$(place_of "$disk" "$2")
    probe "/dev/$disk" "${place% *}"
    case "$apply$made " in
        no*" $disk/$2 "*) kind='' ;; # a rehearsal was to replace it
        *) ;;
    esac
    case $kind/$label in
        "ext4/$3" | "f2fs/$3") printf '%s' "$uuid" ;;
        *)
            [ "$apply" = no ] || fail "no file system '$3' on partition $2 of $disk"
            printf 'UUID-OF-%s' "$3"
            ;;
    esac
}
