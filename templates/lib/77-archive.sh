# ---- library: the archive of a backup ------------------------------------------------------------------
#
# One file, bootplan-BOARD-DATE.tar.gz, and beside it its SHA-256: it can be sent and kept without losing a part of it. In
# it is one folder of plain files; SHA256SUMS in that folder proves each of them. A file has the name of a backup
# only after what was written was read back.

backup_name=''  # the backup that make_backup() made: its name without .tar.gz
backup_sum=''   # its SHA-256
half_written='' # a file that has no name yet: at_exit() removes it
opened=''       # the folder that open_archive() unpacked a backup into

board_now() { # - the first name that the device tree has for this board
    local all=''
    [ ! -e "$tree/compatible" ] || all=$(tr '\0' '\n' <"$tree/compatible")
    printf '%s' "${all%%"$newline"*}"
}

mount_above() { # FOLDER - where the file system that holds it is mounted
    local table
    table=$(df -k "$1")
    printf '%s\n' "$table" | awk 'END { print $NF }'
}

need_lasting_folder() { # FOLDER - it exists, can be written, and is not in RAM
    local kind place
    if [ ! -d "$1" ] || [ ! -w "$1" ]; then
        refuse "'$1' is no folder that can be written"
        return 0
    fi
    place=$(mount_above "$1")
    kind=$(mounted_at "$place")
    [ "${kind#* }" != overlay ] || kind=$(mounted_at /overlay)
    case ${kind#* } in
        tmpfs | ramfs | rootfs | devtmpfs | '') refuse "'$1' is in RAM: it is gone after the restart that a backup is for; name a folder on a disk, or another computer: user@host:folder" ;;
        *) need_mounted "$1" ;;
    esac
}

need_mounted() { # FOLDER - what fstab mounts there, or above it, is mounted: else the disk would hide the folder later
    local all target section enabled here place
    place=$(readlink -f "$1")/
    all=$(uci -q show fstab) || return 0
    printf '%s\n' "$all" | sed -n "s|^fstab\\..*\\.target='\\(/..*\\)'\$|\\1|p" >"$work/targets"
    while IFS= read -r target; do
        [ "$target" != /overlay ] || continue
        case $place in "${target%/}/"*) ;; *) continue ;; esac
        here=$(mounted_at "${target%/}")
        [ -z "$here" ] || continue
        for section in $(sections_for "$target"); do
            enabled=$(uci -q get "fstab.$section.enabled") || enabled=1
            [ "$enabled" = 0 ] ||
                refuse "fstab mounts a disk at $target, and it is not mounted: '$1' is a folder below it; first: mount it (block mount), or look why it is not there"
        done
    done <"$work/targets"
}

on_boot_medium() { # FOLDER - prints yes when it is on the boot medium's overlay, which a sysupgrade makes anew; after see_system()
    local place have number=none
    place=$(mount_above "$1")
    have=$(mounted_at "$place")
    [ "${have#* }" != overlay ] || have=$(mounted_at /overlay)
    [ ! -e /sys/class/block/fitrw/dev ] || read -r number </sys/class/block/fitrw/dev
    [ "$system" != internal ] || number=$(mounted_at /overlay)
    if [ "${have% *}" = "${number% *}" ]; then printf yes; else printf no; fi
}

need_room_for_backup() { # FOLDER - the archive fits there
    local free bytes
    free=$(room_in "$1")
    bytes=$(wc -c <"$work/$backup_name.tar.gz")
    [ "$free" -gt $((bytes / 1024 + 64)) ] || refuse "'$1' has $free KiB left, the backup takes $((bytes / 1024 + 64)) KiB"
}

tell_half_written() { # FOLDER - what a run that was cut left there
    local entry
    for entry in "$1"/bootplan-*.part; do
        [ ! -e "$entry" ] || note "'$entry' is half a backup, of a run that was cut; it may be removed"
    done
}

keep_archive() { # FOLDER - the archive there, under its name when it was read back; its sum beside it
    local to=$1/$backup_name.tar.gz
    half_written=$to.part
    (umask 077 && dd if="$work/$backup_name.tar.gz" of="$half_written" bs=65536 conv=fsync 2>>"$log") ||
        fail "'$half_written' could not be written: the disk is full, or broken"
    # Past the page cache where the file system can do that: from the disk, not from what the kernel remembers.
    dd if="$half_written" of="$work/back" bs=4096 iflag=direct 2>>"$log" || cat "$half_written" >"$work/back"
    cmp "$work/$backup_name.tar.gz" "$work/back" || fail "'$half_written' does not read back as it was written"
    rm "$work/back"
    write_file "$to.sha256" "$backup_sum  $backup_name.tar.gz"
    mv "$half_written" "$to"
    half_written=''
    sync
}

drop_half_written() { # - what an archive left that was not finished
    [ -n "$half_written" ] || return 0
    rm -f "$half_written" "${half_written%.part}.sha256" "${half_written%.part}.sha256.new"
}

# ---- another computer

remote_login='' # user@host
remote_port=''
remote_path=''

is_remote() { # DESTINATION - prints yes when it is user@host:path, no when it is a folder here
    case ${1%%:*} in
        "$1" | */* | -* | @* | *@) printf no ;;
        *@*) printf yes ;;
        *) printf no ;;
    esac
}

see_remote() { # DESTINATION - sets what is above from user@host:path; user@host^port:path and user@[address]:path, too
    case $1 in
        *@\[*\]*)
            remote_path=${1#*\]}
            remote_login=${1%%\[*}${1#*\[}
            remote_login=${remote_login%%\]*}${remote_path%%:*}
            remote_path=${remote_path#*:}
            ;;
        *)
            remote_login=${1%%:*}
            remote_path=${1#*:}
            ;;
    esac
    remote_port=''
    case $remote_login in
        *^*)
            remote_port=${remote_login##*^}
            remote_login=${remote_login%^*}
            ;;
        *) ;;
    esac
    case $remote_port/$remote_login in
        *[!0-9]*/* | */*[!A-Za-z0-9._:%@-]* | */*@*@* | */*@ | */*@-*) refuse "'$1' is no user@host:folder" ;;
        *) command -v ssh >/dev/null || refuse "there is no ssh here: sending needs dropbear's, or openssh-client" ;;
    esac
    # A login begins in the home folder; its name is quoted there, so the shell would not know it.
    case $remote_path in
        '' | \~ | \~/) remote_path=. ;;
        \~/*) remote_path=${remote_path#\~/} ;;
        *) ;;
    esac
}

send_archive() { # - the archive to the other computer in one session, so that a password is asked for once
    local code=0 said='' here='' line
    [ ! -r /proc/sys/kernel/random/boot_id ] || read -r here </proc/sys/kernel/random/boot_id
    # For the sh of any computer, in one line for any login shell. What was written there is flushed and read again.
    # shellcheck disable=SC2016 # it is the other computer that expands this
    line='cd -- "$1" 2>/dev/null || exit 40; [ -w . ] || exit 41; [ -z "$4" ] || [ "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)" != "$4" ] || exit 42; [ ! -e "$2" ] || exit 43; umask 077; trap '\''rm -f -- "$2.part"'\'' EXIT; cat >"$2.part" || exit 44; dd if=/dev/null of="$2.part" conv=notrunc,fsync 2>/dev/null || sync; sum=$(sha256sum <"$2.part" 2>/dev/null || shasum -a 256 <"$2.part") || exit 45; sum=${sum%% *}; [ "$sum" = "$3" ] || exit 46; printf "%s  %s\n" "$sum" "$2" >"$2.sha256" && mv "$2.part" "$2" || exit 44; printf "%s\n" "$sum"'
    line=$(as_typed sh -c "$line" sh "$remote_path" "$backup_name.tar.gz" "$backup_sum" "$here")
    [ -z "$remote_port" ] || set -- -p "$remote_port"
    say "  sending it to $remote_login"
    # shellcheck disable=SC2029 # it is made here for there
    ssh "$@" "$remote_login" "$line" <"$work/$backup_name.tar.gz" >"$work/said" || code=$?
    case $code in
        0) ;;
        40 | 41) refuse "$remote_login has no folder '$remote_path' that can be written" ;;
        42) refuse "$remote_login is this very router" ;;
        43) refuse "'$backup_name.tar.gz' is there already" ;;
        44) fail "$remote_login could not write the archive: its disk is full, or broken" ;;
        45) fail "$remote_login has neither sha256sum nor shasum: nothing there proves what arrived, so it was not kept" ;;
        46) fail "what arrived at $remote_login is not what was sent" ;;
        *) fail "ssh ended with $code: it did not get in, or the connection broke; try first: ssh${remote_port:+ -p $remote_port} $remote_login" ;;
    esac
    stop_if_refused
    read -r said <"$work/said" || true
    [ "$said" = "$backup_sum" ] || fail "$remote_login does not say that the archive is whole"
}

# ---- looking into one

list_archive() { # FILE - its names in $work/names and its long list in $work/list; empty when it is no whole archive of plain names
    local wrong
    : >"$work/names"
    if ! tar -tzf "$1" >"$work/names.now" 2>"$work/tar.err" || ! tar -tvzf "$1" >"$work/list" 2>>"$work/tar.err"; then
        cat "$work/tar.err" >>"$log"
        refuse "'$1' is no archive, or was cut"
        return 0
    fi
    # tar itself takes a leading / away, and says so.
    if grep -qi 'leading\|skipp' "$work/tar.err" || grep -q '^/\|^\.\./\|/\.\./\|/\.\.$\|^\.\.$\|^$' "$work/names.now"; then
        refuse "'$1' has names that lead out of it"
        return 0
    fi
    LC_ALL=C tr -d '\n -~\200-\377' <"$work/names.now" >"$work/strange"
    wrong=$(wc -c <"$work/strange")
    wrong=$wrong/$(awk '!/^[-dl][^ ]* +[^ ]+ +[0-9]+ +[0-9-]+ +[0-9:]+ / { n++ } END { print n + 0 }' "$work/list")
    [ "$wrong" = 0/0 ] || {
        refuse "'$1' holds more than files, folders and links, or names that cannot be printed"
        return 0
    }
    mv "$work/names.now" "$work/names"
}

need_links_within() { # WHAT - each hard link that list_archive() listed is to a file that the archive holds: tar makes one to any file
    local strange
    # The line has an arrow and the link's target behind the name; only the list without them tells where the name ends.
    strange=$(awk '
        NR == FNR { name[NR] = $0; next }
        !/^-/ { next }
        {
            sub(/^([^ ]+ +){4}[^ ]+ /, "")
            here = name[FNR]
            target = substr($0, length(here) + 5)
            if ($0 == here) file[here]
            else if ($0 != here " -> " target || !(target in file)) { print "'\''" here "'\'' as a hard link to '\''" target "'\''"; exit }
        }
    ' "$work/names" "$work/list")
    [ -z "$strange" ] || refuse "$1 hold $strange, which is no file in it: what lies outside would be taken for a setting. No backup is made so: take another one"
}

need_room_to_unpack() { # FILE - RAM has room for what $work/list names
    local free need
    free=$(room_in "$work")
    need=$(awk '{ n += int($3 / 1024) + 8 } END { print n + 2048 }' "$work/list")
    [ "$free" -ge "$need" ] || refuse "/tmp has $free KiB left, $need KiB are needed to unpack '$1'"
}

open_archive() { # FILE FOLDER - unpacks a backup into a new FOLDER in RAM when it is whole; sets opened to what is in it, or to nothing
    local want have told=$refusals
    opened=''
    if [ ! -f "$1" ] || [ ! -r "$1" ]; then
        refuse "'$1' is no file that can be read"
        return 0
    fi
    if [ -e "$1.sha256" ]; then
        read -r want have <"$1.sha256" || true
        have=$(sha256sum <"$1")
        [ "${have%% *}" = "$want" ] || refuse "'$1' is not what its .sha256 says: it was cut or changed"
    fi
    [ "$told" -eq "$refusals" ] || return 0
    list_archive "$1"
    [ -s "$work/names" ] || return 0
    if grep -qv '^bootplan-[A-Za-z0-9._-]*/\([A-Za-z0-9][A-Za-z0-9._-]*\)*$' "$work/names" || grep -q '^l\| -> ' "$work/list"; then
        refuse "'$1' is no archive that backup made"
        return 0
    fi
    need_room_to_unpack "$1"
    [ "$told" -eq "$refusals" ] || return 0
    mkdir "$2"
    tar -C "$2" -xzf "$1" 2>>"$log" || {
        refuse "'$1' cannot be unpacked"
        return 0
    }
    have=$(find "$2" -mindepth 1 -maxdepth 1 -type d)
    want=$(find "$2" -mindepth 2 ! -type f)
    case $want$have in
        *"$newline"*) want=several ;;
        *) ;;
    esac
    if [ -n "$want" ] || [ ! -f "$have/SHA256SUMS" ] || [ ! -f "$have/about" ]; then
        refuse "'$1' is no archive that backup made"
        return 0
    fi
    need_all_sums "$1" "$have"
    [ "$told" -ne "$refusals" ] || opened=$have
}

need_all_sums() { # FILE FOLDER - SHA256SUMS there names every file, and each is what it says
    local name
    for name in "$2"/*; do
        [ "${name##*/}" = SHA256SUMS ] || printf '%s\n' "${name##*/}"
    done >"$work/names"
    sort "$work/names" >"$work/there"
    sed 's/^[0-9a-f]\{64\}  //' "$2/SHA256SUMS" >"$work/names"
    sort "$work/names" >"$work/summed"
    if ! cmp -s "$work/summed" "$work/there"; then
        refuse "'$1' holds other files than its SHA256SUMS names"
    elif ! (cd "$2" && sha256sum -c SHA256SUMS >>"$log" 2>&1); then
        refuse "what is in '$1' is not what its SHA256SUMS says: it was changed"
    elif ! grep -qx 'bootplan-backup 1' "$2/about"; then
        refuse "'$1' is a backup of a form that this script does not know"
    fi
}

backup_says() { # KEY - what the opened backup says about itself
    sed -n "s/^$1 //p" "$opened/about"
}
