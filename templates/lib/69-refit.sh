# ---- library: the root on the disk, made to fit another firmware ---------------------------------------------------
#
# The system runs from the boot medium, nothing uses the disk's root. The folders that belong to the system are renamed into
# .bootplan/before-ID, and those of the new system copied in their place, from the running one: firmware, migrated settings,
# packages. Everything else on the disk stays. Nothing is removed but what this itself left half copied:
#
#   .bootplan/state            says so until everything was read back; its third line then is ID
#   .bootplan/before-ID/names  what is moved, and what is new; written before the first rename

half='the old root, half made to fit another firmware' # as first line of .bootplan/state
fit_again="sh $service_script first-start"             # what goes on when that is mended which is in the way
users_places='root home srv mnt opt media var run tmp proc sys dev overlay rom lost+found .bootplan'

refit_root() { # - makes it fit, and points fstab at it; root_told says what is in the way
    local disk node id found node_state
    need_refit
    [ "$root_told" = ok ] || return 0
    phase=change
    disk=$(disk_named "$root_disk")
    node=/dev/${disk}p$root_number
    found=$uuid
    id=$(upgrade_says id)
    mkdir -p "$work/root" "$work/target" "$work/merged"
    mount -o bind / "$work/root"
    mount -o remount,bind,ro "$work/root"
    mount -t "$root_kind" "$node" "$work/target"
    node_state=$(sed -n 3p "$work/target/.bootplan/state")
    if [ "$node_state" = "$id" ]; then
        # It was finished, and lived in perhaps: a start that did not see the disk in time must not begin again.
        umount "$work/target"
        umount "$work/root"
        point_fstab "$found"
        return 0
    fi
    mkdir -p "$work/target/.bootplan/before-$id"
    write_file "$work/target/.bootplan/state" "$half$newline$id"
    set_aside "$work/target/.bootplan/before-$id"
    bring_new "$node"
    if [ -n "$differences" ]; then
        log_line "the system changed while it was copied; once more"
        mount -o remount,rw "$node" "$work/target"
        bring_new "$node"
        [ -z "$differences" ] || fail "the new root differs from the system: $differences"
    fi
    mount -o remount,rw "$node" "$work/target"
    finish_root
    umount "$work/target"
    umount "$work/root"
    point_fstab "$found"
}

need_refit() { # - the disk and its root are there, and nobody uses it
    local disk='' second=0 users
    while [ -z "$disk" ] && [ "$second" -le "$disk_seconds" ]; do
        [ "$second" -eq 0 ] || sleep 1
        disk=$(disk_named "$root_disk")
        second=$((second + 1))
    done
    if [ ! -b "/dev/${disk:-none}p$root_number" ]; then
        root_told="the disk '$root_disk' is not here"
        root_way="seat the disk, and see that kmod-nvme is installed; then: $fit_again"
        return 0
    fi
    probe "/dev/${disk}p$root_number" 0
    if [ "$kind/$label" != "$root_kind/$root_label" ]; then
        root_told="partition $root_number of $disk is no $root_kind file system '$root_label'"
        return 0
    fi
    users=$(users_of "${disk}p$root_number")
    if [ -n "$users" ]; then
        root_told="partition $root_number of $disk is in use:$users"
        root_way="umount it; then: $fit_again"
        return 0
    fi
    command -v block >/dev/null || {
        root_told="block-mount is not installed"
        root_way="$(install_line ' block-mount'); then: $fit_again"
        return 0
    }
    users=$uuid
    look_inside "${disk}p$root_number" "$kind"
    uuid=$users
    case $inside in
        "complete $root_content" | "$half") ;;
        *) root_told="partition $root_number of $disk holds $inside" ;;
    esac
}

upper_of() { # FOLDER - where below it the system's names are
    case $root_content in
        overlay) printf '%s/upper' "$1" ;;
        *) printf '%s' "$1" ;;
    esac
}

belongs_to_system() { # NAME - sets ours=yes for a top-level name that comes with the firmware
    ours=no
    case "/$1/" in
        *' '*) ;; # in no list of words
        *)
            case " $users_places " in *" $1 "*) return 0 ;; *) ;; esac
            case " $system_trees " in *" $1 "*) ours=yes ;; *) ;; esac
            ;;
    esac
    { [ ! -e "/rom/$1" ] && [ ! -L "/rom/$1" ]; } || ours=yes
}

ours=no # what belongs_to_system() found

list_top() { # FOLDER - the names in it that this is about, a line for each; one with a line break is the user's own
    local entry
    for entry in "$1"/* "$1"/.[!.]*; do
        { [ -e "$entry" ] || [ -L "$entry" ]; } || continue
        case ${entry##*/} in .bootplan | lost+found | *"$newline"*) ;; *) printf '%s\n' "${entry##*/}" ;; esac
    done
}

set_aside() { # FOLDER - the old system's folders into it; what stands in their place behind that is a copy that was cut
    local top source name what
    top=$(upper_of "$work/target")
    source=$(source_of_new)
    mkdir -p "$top"
    if [ ! -e "$1/names" ]; then
        list_top "$top" >"$work/top.old"
        list_top "$source" >"$work/top.new"
        {
            while IFS= read -r name; do
                belongs_to_system "$name"
                [ "$ours" = no ] || printf 'moved %s\n' "$name"
            done <"$work/top.old"
            while IFS= read -r name; do
                [ -e "$top/$name" ] || [ -L "$top/$name" ] || printf 'new %s\n' "$name"
            done <"$work/top.new"
        } >"$work/names.new"
        name=$(cat "$work/names.new")
        write_file "$1/names" "$name"
    fi
    while IFS= read -r what; do
        name=${what#* }
        case $what in 'moved '?* | 'new '?*) ;; *) continue ;; esac
        if [ "$what" = "moved $name" ] && [ ! -e "$1/$name" ] && [ ! -L "$1/$name" ]; then
            { [ ! -e "$top/$name" ] && [ ! -L "$top/$name" ]; } || mv "$top/$name" "$1/$name"
        else
            rm -rf "${top:?}/$name"
        fi
    done <"$1/names"
    sync
}

source_of_new() { # - where the new system's names are
    case $root_content in
        overlay) printf '/overlay/upper' ;;
        *) printf '%s' "$work/root" ;;
    esac
}

bring_new() { # NODE - copies what belongs to the system, and what is not there at all; reads it back from the disk; sets differences
    local top source entry name
    differences=''
    top=$(upper_of "$work/target")
    source=$(source_of_new)
    list_top "$source" >"$work/top.new"
    : >"$work/brought"
    while IFS= read -r name; do
        entry=$source/$name
        belongs_to_system "$name"
        grep -qxF "new $name" "$work/target/.bootplan/before-$id/names" || [ "$ours" = yes ] || continue
        printf '%s\n' "$name" >>"$work/brought"
        if [ -d "$entry" ] && [ ! -L "$entry" ]; then
            mkdir -p "$top/$name"
            copy_tree "$entry" "$top/$name"
        else
            rm -f "$top/$name"
            cp -a "$entry" "$top/$name"
        fi
    done <"$work/top.new"
    [ "$root_content" = root ] || keep_removed /overlay/upper "$top"
    sync
    umount "$work/target"
    mount -t "$root_kind" -o ro "$1" "$work/target"
    [ "$root_content" = root ] ||
        mount -t overlay -o "ro,lowerdir=$top:/rom" overlay "$work/merged"
    while IFS= read -r name; do
        compare_brought "$source" "$top" "$name"
    done <"$work/brought"
    [ "$root_content" = root ] || umount "$work/merged"
}

compare_brought() { # SOURCE TOP NAME - that top-level name is on the disk as it is here; sets differences
    local seen=$2 want have
    [ "$root_content" = root ] || seen=$work/merged
    if [ -d "$1/$3" ] && [ ! -L "$1/$3" ]; then
        compare_names "$work/root/$3" "$seen/$3"
        compare_bytes "$1/$3" "$2/$3"
        return 0
    fi
    want=$(ls -dln "$1/$3")
    have=$(ls -dln "$2/$3") || have=''
    [ "${want%%/*}" = "${have%%/*}" ] || differences="$differences $3"
    [ ! -f "$1/$3" ] || [ -L "$1/$3" ] || cmp -s "$1/$3" "$2/$3" || differences="$differences $3"
}

finish_root() { # - nothing of the old firmware is left in what fstools and overlayfs keep for themselves, and its fstab names no root
    local firmware top
    firmware=$(firmware_uuid)
    top=$(upper_of "$work/target")
    without_disk_root "$top/etc/config"
    if [ "$root_content" = overlay ]; then
        rm -rf "$work/target/work"
        mkdir "$work/target/work"
        # fstools of today compares it in rare cases only. One that does so always would leave this overlay alone.
        rm -f "$work/target/etc/.extroot-uuid"
    fi
    sync
    write_file "$work/target/.bootplan/state" "complete $root_content$newline$firmware$newline$id"
}

point_fstab() { # UUID - the root comes from that file system, from the next start on
    stage_root "$root_target" "$1"
    commit_fstab
}
