# ---- library: a verified copy of the system ----------------------------------------------------
#
# overlay: what was changed since the firmware was flashed (/overlay/upper), for an overlay on the disk.
# root:    the whole system as it is seen at /, for a root on the disk. A plain bind mount of / shows it
#          without /proc /sys /dev /tmp /rom /overlay and whatever else is mounted.
#
# .bootplan/state on the new file system says `unfinished` until every name, kind, mode, owner, size,
# time, link target, device number and byte was read back from the disk; then `complete METHOD`, and on a
# second line the firmware it was made for.

copy_system() { # DISK NUMBER KIND LABEL METHOD - the running system on that partition, verified; METHOD overlay or root
    local disk
    disk=$(disk_to_use "$1")
    [ -b "/dev/${disk:-none}" ] || return 0 # need_disk told it
    see_system
    copy_wanted=no
    if [ "$system/$system_block" = "$5/${disk}p$2" ]; then
        judge_running_copy "$5"
    elif [ "$system" = internal ]; then # need_system tells what else there may be
        judge "$disk" "$2" "$3" "$4" "$5"
        judge_copy "${disk}p$2" "$5"
    fi
    case $copy_wanted/$phase in
        yes/look)
            need_space "$disk" "$2" "$3" "$5"
            [ "$5" = overlay ] || need_modules
            ;;
        yes/change) make_copy "$3" "/dev/${disk}p$2" "$5" ;;
        *) ;;
    esac
}

copy_wanted=no # yes when judge_copy() found no finished copy

judge_running_copy() { # METHOD - the system runs from there already: is it a finished copy, and is that wanted?
    local way fit
    way=$(way_back)
    fit=$(how_to_fit)
    see_running_state "$1"
    if [ "$inside" != "complete $1" ]; then
        refuse "the system runs from a copy that was never finished ($inside); start the one on the boot medium, then run this again: $way"
    elif [ "$recopy" = yes ]; then
        refuse "--recopy copies the system of the boot medium; start that one first: $way"
    elif [ -n "$stale" ]; then
        refuse "the system runs from $stale; $fit"
    elif [ "$phase" = change ]; then
        so "the system runs from /dev/$system_block"
    fi
}

judge_copy() { # PART METHOD - after judge(): sets copy_wanted
    case $verdict/$inside in
        "keep/complete $2")
            restart=yes
            [ "$phase" = look ] || so "a complete copy of the system on /dev/$1"
            [ "$phase" = look ] || changed_since
            ;;
        'keep/in use') refuse "/dev/$1 is mounted somewhere; unmount it first" ;;
        *) copy_wanted=yes ;;
    esac
}

make_copy() { # KIND NODE METHOD - a copy that says itself whether it was finished
    local firmware top=$work/target
    [ "$3" = root ] || top=$top/upper
    firmware=$(firmware_uuid)
    run mkdir -p "$work/root" "$work/target" "$work/merged"
    run mount -o bind / "$work/root"
    run mount -o remount,bind,ro "$work/root"
    run mount -t "$1" "$2" "$work/target"
    run mkdir -p "$work/target/.bootplan"
    run write_file "$work/target/.bootplan/state" unfinished
    fill "$1" "$2" "$3"
    if [ -n "$differences" ]; then
        note "the system changed while it was copied; once more"
        run mount -o remount,rw "$2" "$work/target"
        run empty_folder "$work/target"
        fill "$1" "$2" "$3"
        [ -z "$differences" ] || fail "the copy differs from the system: $differences"
    fi
    run mount -o remount,rw "$2" "$work/target"
    run without_disk_root "$top/etc/config"
    run write_file "$work/target/.bootplan/state" "complete $3$newline$firmware"
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

system_kib=0   # what see_size() found: KiB,
system_names=0 # and files, folders and links

need_space() { # DISK NUMBER KIND METHOD - after judge(): the system fits there, with room to live, and can be copied
    local place from=/overlay/upper
    place=$(place_of "$1" "$2")
    mkdir -p "$work/root"
    mount -o bind / "$work/root"
    [ "$4" = overlay ] || from=$work/root
    see_size "$from"
    [ "$names_seen" = no ] || tell_uncopied "$from" "$work/root"
    umount "$work/root"
    need_room "the system" "partition $2 of $1" $((${place#* } - ${place% *})) "$3"
    # A file system that is there already and stays can be smaller than its partition.
    if [ "$verdict/$inside" = keep/empty ] && [ "$room_inside" -lt $((system_kib + system_names * 4 + 4096)) ]; then
        case $3 in ext4) place="mkfs.ext4 -L $label" ;; *) place="mkfs.f2fs -f -l $label" ;; esac
        refuse "the file system on $1p$2 has $((room_inside / 1024)) MiB free, the system holds $((system_kib / 1024)) MiB; it is empty, make it as large as its partition: $place /dev/$1p$2"
    fi
}

see_size() { # FOLDER - sets system_kib and system_names
    system_kib=0 system_names=0
    see_names "$1"
    [ "$names_seen" = yes ] || return 0
    system_kib=$(du -sk "$1" 2>>"$log") || true
    system_kib=${system_kib%%[!0-9]*}
    system_names=$(wc -l <"$work/list")
}

need_room() { # WHAT PLACE MIB KIND - after see_size(): a partition of so many MiB, with that file system, holds it
    local need=$((system_kib * 5 / 4 + 16384)) least
    # What the file system keeps for itself, and for each name: rounded up from what mkfs makes of 64 MiB to 8 GiB.
    case $4 in
        f2fs) least=$((system_kib + system_names * 6 + ($3 / 6 + 52) * 1024)) ;;
        *)
            least=$((system_kib + system_names * 4 + ($3 / 7 + 12) * 1024))
            # How many names it can have is fixed: one for each 4 KiB, from 512 MiB on one for each 16 KiB.
            [ "$3" -lt 512 ] || [ "$least" -ge $((system_names * 16)) ] || least=$((system_names * 16))
            ;;
    esac
    [ "$least" -le "$need" ] || need=$least
    [ "$need" -le $(($3 * 1024)) ] ||
        refuse "$1 holds $((system_kib / 1024)) MiB in $system_names files and folders, too much for a partition of $3 MiB: about $((need / 1024 + 1)) MiB are needed; make $2 larger in the plan"
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

tell_left_behind() { # METHOD - for status: what changed in the system of the boot medium after the running copy of it was made
    local state=/.bootplan/state how='-o ro /dev/fitrw' count names name
    [ "$busy" = no ] || return 0
    [ "$1" = root ] || state=/overlay/.bootplan/state
    [ "$plan_medium" != nand ] || how='-t ubifs -o ro ubi0:rootfs_data'
    mkdir -p "$work/look"
    # shellcheck disable=SC2086 # words
    mount $how "$work/look" 2>>"$log" || return 0 # somebody else has it mounted
    # Less what changed_since() leaves out, and the seed of a start. What was removed has no time of its own.
    (cd "$work/look" && find upper \( -type f -o -type l \) -newer "$state" ! -path '*/etc/config/fstab' ! -path '*/etc/bootplan/*' \
        ! -path '*/etc/urandom.seed') >"$work/newer" 2>>"$log" || : >"$work/newer"
    while IFS= read -r name; do
        compare_with_here "$work/look/$name" "${name#upper}"
        [ "$same" = yes ] || printf '%s\n' "$name"
    done <"$work/newer" >"$work/left"
    umount "$work/look"
    [ -s "$work/left" ] || return 0
    count=$(wc -l <"$work/left")
    names=$(awk 'NR < 4 { sub(/^upper/, ""); printf "%s%s", (NR == 1 ? "" : ", "), $0 }' "$work/left")
    tell left-behind "$count files were changed on the boot medium after the copy was made, and are not so here: $names; to see them: mount $how /mnt; ls -lt /mnt/upper/etc; when none is missed: touch $state"
}

compare_with_here() { # FILE HERE - sets same=yes when both are links to the same, or files of the same bytes
    # By its time alone a link is always newer: cp and tar of BusyBox give it none.
    local there here
    same=no
    there=$(readlink "$1") || there=''
    here=$(readlink "$2") || here=''
    if [ -n "$there$here" ]; then
        [ "$there" != "$here" ] || same=yes
    elif [ -f "$2" ]; then
        ! cmp -s "$1" "$2" || same=yes
    fi
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
