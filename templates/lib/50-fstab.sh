# ---- library: mounts at boot --------------------------------------------------------------------
#
# /etc/config/fstab, by UCI. All options of a step are staged in our own folder in RAM (uci -t), so that a run
# that was cut leaves nothing half staged, and come into force with one commit, which replaces the file by a rename: a power cut leaves the old file or the new one. For a root on
# the disk fstools reads the fstab of the internal overlay, so this is written while running from there.

need_fstab() { # [TARGET SECTION]... - nothing else is staged, and only SECTION (none: nothing) may be mounted at TARGET
    local staged section enabled
    [ -w /etc/config ] || refuse "/etc/config cannot be written"
    if [ -e /etc/config/fstab ] && ! uci -q show fstab >/dev/null; then
        refuse "/etc/config/fstab cannot be read, 'uci show fstab' says why; correct it, or move it away: mv /etc/config/fstab /root/"
    fi
    # uci asks neither whether it could write nor whether it could sync, and puts what it has in the file's place.
    staged=$(room_in /etc/config)
    [ "$staged" -ge "$fstab_room" ] ||
        refuse "there is no room for the fstab: /etc/config has $staged KiB left, $fstab_room KiB are needed; find what is large: du -xk /overlay | sort -n | tail"
    staged=$(uci -q changes fstab) || true
    [ -z "$staged" ] || refuse "uncommitted changes in fstab; commit or revert them first (uci changes fstab)"
    while [ "$#" -ge 2 ]; do
        for section in $(sections_for "$1"); do
            enabled=$(uci -q get "fstab.$section.enabled") || enabled=1
            case $section/$enabled in
                "$2"/* | */0) ;;
                *) refuse "fstab already mounts something at $1; disable it first: uci set fstab.$section.enabled=0; uci commit fstab" ;;
            esac
        done
        shift 2
    done
}

sections_for() { # TARGET - the sections of fstab with that mount point, one a line
    local all
    all=$(uci -q show fstab) || return 0
    printf '%s\n' "$all" | sed -n "s|^fstab\\.\\(.*\\)\\.target='$1'\$|\\1|p"
}

tell_hidden() { # TARGET - what is in that folder now is out of sight as soon as a disk is mounted there
    local there count kib
    there=$(mounted_at "$1")
    { [ -z "$there" ] && [ -d "$1" ]; } || return 0
    find "$1/" -xdev ! -type d -print0 >"$work/names" 2>>"$log" || true
    count=$(count_names <"$work/names")
    [ "$count" -gt 0 ] || return 0
    # Not by du -x: files of an overlay have another device number than their folders.
    for_each_name / ls -dln >"$work/list" 2>>"$log"
    kib=$(awk '/^[-l]/ { n += $5 } END { printf "%.0f", n / 1024 }' "$work/list")
    note "$1 holds $count files ($kib KiB), which are out of sight from the next start on, when a disk is mounted there; to have them on that disk, after the restart: mkdir /tmp/below; mount -o bind / /tmp/below; cp -a /tmp/below$1/. $1/; umount /tmp/below"
}

mount_at_boot() { # SECTION TARGET DISK NUMBER LABEL - from the next boot on that file system is mounted there
    local id
    [ "$phase" = change ] || {
        tell_hidden "$2"
        return 0
    }
    id=$(uuid_on "$3" "$4" "$5")
    make_fstab
    stage "$1" mount target "$2" uuid "$id" enabled 1
    commit_fstab
}

fstab_made=no # yes when it was made, or shown to be made, in this run

make_fstab() { # - uci changes a file only if it is there
    [ ! -e /etc/config/fstab ] && [ "$fstab_made" = no ] || return 0
    run touch /etc/config/fstab
    fstab_made=yes
}

stage() { # SECTION TYPE [OPTION VALUE]... - stages what is not so yet
    local section=$1 have
    have=$(uci -q get "fstab.$1") || have=''
    [ "$have" = "$2" ] || run uci -t "$work/uci" set "fstab.$1=$2"
    shift 2
    while [ "$#" -ge 2 ]; do
        have=$(uci -q get "fstab.$section.$1") || have=''
        if [ "$have" != "$2" ]; then
            run uci -t "$work/uci" set "fstab.$section.$1=$2"
            staged=yes
        fi
        shift 2
    done
}

staged=no     # yes when something waits for commit_fstab
fstab_room=64 # KiB, for the file that uci writes and for the folders beside it

commit_fstab() { # - brings what was staged into force, all of it at once, and reads the file back
    if [ "$staged" = no ]; then
        so "fstab"
        return 0
    fi
    if [ "$apply" = yes ]; then
        cp -p /etc/config/fstab "$work/fstab.had"
        uci -t "$work/uci" show fstab >"$work/fstab.wanted"
    fi
    run uci -t "$work/uci" commit fstab
    run fsync /etc/config/fstab
    run sync
    run fstab_reads_back
    staged=no
}

fstab_reads_back() { # - the file says what was staged, and all that it said before; if not, it is put back
    local first saved
    uci -q show fstab >"$work/fstab.now" || true
    ! cmp -s "$work/fstab.wanted" "$work/fstab.now" || return 0
    first=$(grep -vxF -f "$work/fstab.now" "$work/fstab.wanted" | sed -n 1p) || first='more than was written'
    cat "$work/fstab.had" >/etc/config/fstab || true
    fsync /etc/config/fstab || true
    if ! cmp -s "$work/fstab.had" /etc/config/fstab; then
        saved=$(mktemp /tmp/bootplan-fstab.XXXXXX)
        cp "$work/fstab.had" "$saved"
        stands="/etc/config/fstab is damaged. Make room, then, before any restart: cp $saved /etc/config/fstab"
        fail "fstab does not read back as it was written ($first), and could not be put back"
    fi
    boots='what it would have started before this run'
    fail "fstab does not read back as it was written ($first); the fstab is what it was. Is /overlay full? df /overlay"
}

root_from_disk() { # TARGET DISK NUMBER LABEL - fstools takes the overlay (/overlay) or the whole root (/) from that partition
    local disk id
    [ "$phase" = change ] || return 0
    disk=$(disk_named "$2")
    see_system
    if [ "$system_block" = "${disk}p$3" ]; then
        so "the system was started from /dev/$system_block"
        return 0
    fi
    id=$(uuid_on "$2" "$3" "$4")
    stage_root "$1" "$id"
    [ "$apply" = no ] || boots="with ${disk}p$3 as $1, or as before if fstab was not written any more"
    commit_fstab
    [ "$apply" = no ] || boots="with ${disk}p$3 as $1"
}

stage_root() { # TARGET UUID - stages that fstools takes the overlay or the root from the file system UUID
    local delay
    make_fstab
    # NVMe disks appear a moment after their driver was loaded: fstools tries once more after that many seconds.
    delay=$(uci -q get 'fstab.@global[0].delay_root') || delay=0
    if [ "$delay" -lt 15 ]; then
        if uci -q get 'fstab.@global[0]' >/dev/null; then
            stage '@global[0]' global delay_root 15
        else
            stage bootplan_global global delay_root 15
        fi
    fi
    stage bootplan_root mount target "$1" uuid "$2" enabled 1
}
