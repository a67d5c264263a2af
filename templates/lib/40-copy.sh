# shellcheck shell=busybox enable=check-set-e-suppressed,check-extra-masked-returns,quote-safe-variables
# ---- library: a verified copy of the system ----------------------------------------------------
#
# overlay: what was changed since the firmware was flashed (/overlay/upper), for an overlay on the disk.
# root:    the whole system as it is seen at /, for a root on the disk. A plain bind mount of / shows it
#          without /proc /sys /dev /tmp /rom /overlay and whatever else is mounted.
#
# .bootplan/state on the new file system says `unfinished` until every name, kind, mode, owner, size,
# time, link target, device number and byte was read back from the disk; then `complete METHOD`.

differences='' # what compare_names() and compare_bytes() found
system=''       # how the router runs: internal, overlay, root or unknown
system_block='' # kernel name of the block device that holds it, if it is one

see_system() { # - sets system and system_block from the mounts of this moment
    local device kind block number
    kind=$(mounted_at /)
    system=root
    if [ "${kind#* }" = overlay ]; then
        kind=$(mounted_at /overlay)
        system=overlay
    fi
    device=${kind% *} kind=${kind#* }
    system_block=''
    for block in /sys/class/block/*; do
        [ -e "$block/dev" ] || continue
        read -r number <"$block/dev"
        [ "$number" != "$device" ] || system_block=${block##*/}
    done
    case $system/$kind/$system_block in
        overlay/tmpfs/* | overlay//* | root/tmpfs/* | root/ramfs/* | root/rootfs/*) system=unknown ;;
        # rootfs_data is a UBI volume, which is no block device, or what fitblk leaves of the medium's partition.
        overlay/*/ | overlay/*/fitrw) system=internal ;;
        *) ;; # an overlay or a root on some disk
    esac
}

mounted_at() { # FOLDER - device number and kind of the file system mounted there; the last one where mounts are stacked
    awk -v place="$1" '
        $5 == place { for (i = 7; $i != "-"; i++); found = $3 " " $(i + 1) }
        END { print found }
    ' /proc/self/mountinfo
}

see_running_state() { # METHOD - sets inside to the state of the copy that the system runs from
    case $1 in
        overlay) read_state /overlay ;;
        *) read_state / ;;
    esac
}

need_system() { # DISK NUMBER METHOD - started from the internal system, or already from where the plan wants it
    local disk way
    see_system
    disk=$(disk_named "$1")
    case $system in
        internal) say "  the system runs from the boot medium" ;;
        unknown) refuse "this is no installed system (recovery, or settings that live in RAM only); start the production system first" ;;
        *)
            if [ -n "$disk" ] && [ "$system/$system_block" = "$3/${disk}p$2" ]; then
                say "  the system already runs from /dev/$system_block"
            else
                way=$(way_back)
                refuse "the system runs from /dev/${system_block:-something unknown} ($system); start it from the boot medium alone first: $way"
            fi
            ;;
    esac
}

way_back() { # - what to type to start the router from its boot medium alone
    local command='' mount='mount /dev/fitrw /mnt'
    read -r command </proc/cmdline || true
    case $command in
        *root=PARTUUID=*)
            printf 'sh %s restore-env %s/env-....txt --apply; reboot' "${0##*/}" "$env_copies"
            return 0
            ;;
        *) ;;
    esac
    [ "$plan_medium" != nand ] || mount='mount -t ubifs ubi0:rootfs_data /mnt'
    printf '%s; uci -c /mnt/upper/etc/config set fstab.bootplan_root.enabled=0; uci -c /mnt/upper/etc/config commit fstab; reboot' "$mount"
}

copy_system() { # DISK NUMBER KIND LABEL METHOD MIB - the running system on that partition, verified; METHOD overlay or root
    local disk node way
    disk=$(disk_named "$1")
    [ -b "/dev/${disk:-none}" ] || return 0 # need_disk told it
    node=/dev/${disk}p$2
    see_system
    if [ "$system/$system_block" = "$5/${disk}p$2" ]; then
        see_running_state "$5"
        way=$(way_back)
        if [ "$inside" != "complete $5" ]; then
            refuse "the system runs from a copy that was never finished ($inside); start the one on the boot medium, then run this again: $way"
        elif [ "$recopy" = yes ]; then
            refuse "--recopy copies the system of the boot medium; start that one first: $way"
        else
            [ "$phase" = look ] || so "the system runs from $node"
        fi
        return 0
    fi
    [ "$system" = internal ] || return 0 # need_system told it
    judge "$disk" "$2" "$3" "$4" "$5"
    case $verdict/$inside in
        "keep/complete $5")
            [ "$phase" = look ] || so "a complete copy of the system on $node"
            [ "$phase" = look ] || changed_since
            restart=yes
            return 0
            ;;
        'keep/in use') refuse "$node is mounted somewhere; unmount it first" ;;
        *) ;;
    esac
    if [ "$phase" = look ]; then
        need_space "$5" "$6"
        [ "$5" = overlay ] || need_modules
        return 0
    fi
    run mkdir -p "$work/root" "$work/target" "$work/merged"
    run mount -o bind / "$work/root"
    run mount -o remount,bind,ro "$work/root"
    run mount -t "$3" "$node" "$work/target"
    run mkdir -p "$work/target/.bootplan"
    run write_file "$work/target/.bootplan/state" unfinished
    fill "$3" "$node" "$5"
    if [ -n "$differences" ]; then
        note "the system changed while it was copied; once more"
        run mount -o remount,rw "$node" "$work/target"
        run empty_folder "$work/target"
        fill "$3" "$node" "$5"
        [ -z "$differences" ] || fail "the copy differs from the system: $differences"
    fi
    run mount -o remount,rw "$node" "$work/target"
    way=$(firmware_uuid)
    run write_file "$work/target/.bootplan/state" "complete $5$newline$way"
    run umount "$work/target"
    run umount "$work/root"
}

fill() { # KIND NODE METHOD - copies onto $work/target, reads it back from the disk, sets differences
    differences=''
    case $3 in
        overlay)
            run mkdir -p "$work/target/upper" "$work/target/work"
            run copy_tree /overlay/upper "$work/target/upper"
            run keep_removed /overlay/upper "$work/target/upper"
            ;;
        *) run copy_tree "$work/root" "$work/target" ;;
    esac
    # A new mount reads from the disk, not from what the kernel remembers of the writing.
    run sync
    run umount "$work/target"
    run mount -t "$1" -o ro "$2" "$work/target"
    case $3 in
        overlay)
            run mount -t overlay -o "ro,lowerdir=$work/target/upper:/rom" overlay "$work/merged"
            run compare_names "$work/root" "$work/merged"
            run umount "$work/merged"
            run compare_bytes /overlay/upper "$work/target/upper"
            ;;
        *)
            run compare_names "$work/root" "$work/target"
            run compare_bytes "$work/root" "$work/target"
            ;;
    esac
}

need_space() { # METHOD MIB - the system fits into that many MiB (0: what is left of the disk), with room to live
    local kib
    if [ "$1" = overlay ]; then
        kib=$(du -sk /overlay/upper)
    else
        mkdir -p "$work/root"
        mount -o bind / "$work/root"
        kib=$(du -sk "$work/root")
        umount "$work/root"
    fi
    kib=${kib%%[!0-9]*}
    [ "$2" -eq 0 ] || [ $((kib * 5 / 4 + 16384)) -le $(($2 * 1024)) ] ||
        refuse "the system holds $((kib / 1024)) MiB, too much for a partition of $2 MiB"
}

need_modules() { # - the system that is copied whole has the modules of the kernel that will run it
    local kernel
    kernel=$(uname -r)
    [ -d "/lib/modules/$kernel" ] || refuse "there are no modules for the running kernel: /lib/modules/$kernel"
}

changed_since() { # - tells what changed in the running system since the finished copy was made
    local changed
    # fstab and the copies of the environment are this script's own doing.
    changed=$(find /overlay/upper -type f -newer "$work/copied" ! -path '*/etc/config/fstab' ! -path '*/etc/bootplan/*')
    changed=$(printf '%s\n' "$changed" | sed -n 1,3p)
    [ -z "$changed" ] || note "changed here since that copy was made (a new copy: --recopy --wipe SERIAL, rehearse it first): $changed"
}

copy_tree() { # FROM TO - all of FROM with kinds, modes, owners, times, links, device nodes; holes stay holes
    local sparse
    (cd "$1" && find . -type f -size +2047 -print0) >"$work/names"
    for_each_name "$1" ls -dlns >"$work/list"
    # Fields: KiB it occupies, mode, links, owner, group, bytes it is long.
    sparse=$(awk '$1 * 1024 + 65536 < $6' "$work/list")
    [ -z "$sparse" ] || copy_sparse_files "$1" "$2"
    # -u: what copy_sparse_files has put there is as new as its original and stays.
    cp -au "$1/." "$2/"
}

copy_sparse_files() { # FROM TO - files above 1 MiB that occupy less than they are long: the length, then what is not zero
    # shellcheck disable=SC2016 # the inner shell expands it
    (cd "$1" && find . -type f -size +2047 -exec sh -c '
        set -eu
        to=$1/$3 piece=$2 from=$3
        set -- $(ls -dln "$from" | head -n 1)
        owner=$3:$4 size=$5
        mode=$(printf "%s\n" "$1" | awk "$mode_in_octal")
        used=$(du -k "$from" | head -n 1)
        used=${used%%[!0-9]*}
        [ "$((used * 1024 + 65536))" -lt "$size" ] || exit 0
        mkdir -p "${to%/*}"
        dd if=/dev/null of="$to" bs=1 seek="$size" 2>/dev/null
        block=0
        while [ "$((block * 1048576))" -lt "$size" ]; do
            dd if="$from" of="$piece" bs=1048576 skip="$block" count=1 2>/dev/null
            if [ "$(tr -d "\\0" <"$piece" | head -c 1 | wc -c)" -ne 0 ]; then
                dd if="$piece" of="$to" bs=1048576 seek="$block" conv=notrunc 2>/dev/null
            fi
            block=$((block + 1))
        done
        chown "$owner" "$to"
        chmod "$mode" "$to"
        touch -r "$from" "$to"
    ' sh "$2" "$work/piece" {} \;)
}

# awk: the first column of ls -l as an octal number
# shellcheck disable=SC2016 # awk expands it
export mode_in_octal='{
    for (i = 2; i <= 10; i++) {
        c = substr($1, i, 1)
        if (c !~ /[-ST]/) mode += 2 ^ (10 - i)
        if (c ~ /[sStT]/) mode += 2 ^ (9 + (10 - i) / 3)
    }
    printf "%o", mode
}'

keep_removed() { # UPPER TO - what is removed from /rom stays removed
    # A folder that was removed and made again hides all that /rom has in it. Its mark is an extended
    # attribute, which no stock command can copy: hide each of those names by itself instead.
    # shellcheck disable=SC2016 # the inner shell expands it
    (cd "$1" && find . -type d -exec sh -c '
        set -eu
        from=$1 to=$2/$4 seen=$3/$4 rom=/rom/$4 added=no
        [ -d "$rom" ] && [ ! -L "$rom" ] || exit 0
        for entry in "$rom"/* "$rom"/.[!.]* "$rom"/..?*; do
            name=${entry##*/}
            { [ -e "$entry" ] || [ -L "$entry" ]; } || continue
            if [ ! -e "$seen/$name" ] && [ ! -L "$seen/$name" ] && [ ! -e "$to/$name" ]; then
                mknod "$to/$name" c 0 0
                added=yes
            fi
        done
        [ "$added" = no ] || touch -r "$from/$4" "$to"
    ' sh "$1" "$2" "$work/root" {} \;)
}

empty_folder() { # FOLDER - everything in it but our state and the file system's lost+found
    find "$1" -mindepth 1 -maxdepth 1 ! -name .bootplan ! -name lost+found -exec rm -rf {} \;
}

compare_names() { # WANT HAVE - every entry's kind, mode, owner, size, time, link target, device number; sets differences
    local want have
    rm -f "$work/incomplete"
    (cd "$1" && find . -mindepth 1 -print0) >"$work/names"
    list_entries "$1" >"$work/want"
    [ ! -e "$work/incomplete" ] || differences="$differences not every name could be found again"
    list_entries "$2" >"$work/have"
    tell_difference
    want=$(count_names <"$work/names")
    have=$(wc -l <"$work/want")
    [ "$have" -ge "$want" ] || differences="$differences only $have of $want names were listed"
    (cd "$2" && find . -mindepth 1 ! -path './.bootplan*' ! -path './lost+found*' -print0) >"$work/have"
    have=$(count_names <"$work/have")
    [ "$want" -eq "$have" ] || differences="$differences $want entries became $have"
    trust_the_lists
}

trust_the_lists() { # - several commands do not notice a full file system, and half a list is like half a list
    local free
    free=$(room_in /tmp)
    [ "$free" -ge 1024 ] || fail "/tmp is full ($free KiB): what was compared there cannot be trusted"
}

for_each_name() { # FOLDER COMMAND [WORD]... - the command, in that folder, with all of $work/names; leaves $work/incomplete if it failed
    # By a pipe, not by a redirection: BusyBox runs an applet without exec, and when that applet exits, musl
    # sets a file it shares as standard input back by what xargs has read ahead; names would come twice.
    # shellcheck disable=SC2002,SC2312
    (cd "$1" && shift && cat "$work/names" | xargs -0 -r "$@") || touch "$work/incomplete"
}

count_names() { # - how many NUL-terminated names come in
    tr -dc '\0' >"$work/nuls"
    wc -c <"$work/nuls"
}

list_entries() { # FOLDER - a line for each name in $work/names; a missing one has no line
    # Left out: link counts; sizes of folders and times of links, which belong to the file system.
    for_each_name "$1" ls -dln --full-time >"$work/list" 2>/dev/null
    awk '
        { $2 = "" }
        /^d/ { $5 = "" }
        /^l/ { $6 = $7 = "" }
        { print }
    ' "$work/list"
}

compare_bytes() { # WANT HAVE - every regular file by SHA-256; sets differences
    rm -f "$work/incomplete"
    (cd "$1" && find . -type f -print0) >"$work/names"
    for_each_name "$2" sha256sum >"$work/have" 2>/dev/null &
    for_each_name "$1" sha256sum >"$work/want"
    wait "$!"
    # A file that could be read on neither side must not pass for equal.
    [ ! -e "$work/incomplete" ] || differences="$differences not every file could be read"
    tell_difference
    trust_the_lists
}

tell_difference() { # - adds the first lines of $work/want that $work/have lacks to differences
    ! cmp -s "$work/want" "$work/have" || return 0
    local lines
    lines=$(awk 'NR == FNR { have[$0]; next } !($0 in have) && n++ < 3' "$work/have" "$work/want")
    differences="$differences ${lines:-something that is there and should not be}"
}
