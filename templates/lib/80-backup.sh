# ---- library: what a backup holds ----------------------------------------------------------------------
#
# All that a repair needs and this router alone knows. The packages' files, the data partitions and the boot loader are not
# in it: those come from OpenWrt again, or are too large for it.

make_backup() { # [FOLDER] - the archive in RAM, under a name of this board and this second, which no other in FOLDER has
    local board folder
    need_ram_for_backup
    board=$(board_now)
    board=$(printf '%s' "$board" | tr -c 'A-Za-z0-9.\n' -)
    backup_name=$(date "+bootplan-${board:-unknown}-%Y%m%d-%H%M%S")
    while [ -e "${1:-$work}/$backup_name.tar.gz" ] || [ -e "${1:-$work}/$backup_name.tar.gz.part" ]; do
        sleep 1 # one of a moment ago, or the clock was set back
        backup_name=$(date "+bootplan-${board:-unknown}-%Y%m%d-%H%M%S")
    done
    folder=$work/made/$backup_name
    mkdir -p "$folder"
    umask 077 # keys and passwords are in it
    gather_backup "$folder"
    (cd "$folder" && sha256sum -- * >"$work/sums" && cp "$work/sums" SHA256SUMS)
    tar -C "$work/made" -czf "$work/$backup_name.tar.gz" "$backup_name" || fail "no archive could be made: is /tmp full?"
    umask 022
    rm -r "$work/made"
    # What cannot be opened again is no backup.
    open_archive "$work/$backup_name.tar.gz" "$work/made"
    [ -n "$opened" ] || fail "the archive that was made is not whole"
    rm -r "$work/made"
    backup_sum=$(sha256sum <"$work/$backup_name.tar.gz")
    backup_sum=${backup_sum%% *}
}

need_ram_for_backup() { # - /tmp holds the settings if they do not get smaller when they are packed
    # What sysupgrade -b takes, whatever an upgrade would leave behind.
    local upgrade_settings=keep
    list_kept
    weigh_kept
    need_room_for_kept "$settings_kib" "a backup"
    stop_if_refused
}

need_ram_for_archive() { # FILE - and beside the packed settings the archive that holds them, or what is unpacked to prove it
    local bytes
    bytes=$(wc -c <"$1")
    need_room_for_kept $((bytes / 1024)) "the archive of a backup"
    stop_if_refused
}

save_backup() { # DESTINATION - a new backup there: in a folder, or on another computer
    local remote
    remote=$(is_remote "$1")
    if [ "$remote" = yes ]; then
        see_remote "$1"
        make_backup
        send_archive
        say "saved in $remote_login:$remote_path/$backup_name.tar.gz"
    else
        make_backup "$1"
        keep_archive "$1"
        say "saved in $1/$backup_name.tar.gz"
    fi
}

gather_backup() { # FOLDER - everything, as plain files
    local entry
    about_backup >"$1/about"
    [ "$env_state" != good ] || save_with_sum "$work/env" "$1/uboot-env.txt"
    for entry in /etc/fw_env.config /etc/fw_sys.config /etc/config/ubootenv /etc/config/fstab /etc/openwrt_release \
        /etc/board.json /proc/cmdline /proc/mounts; do
        [ ! -e "$entry" ] || cat "$entry" >"$1/${entry##*/}"
    done
    [ ! -e /etc/apk/world ] || cat /etc/apk/world >"$1/apk-world"
    save_tables "$1"
    list_volumes >"$1/ubi-volumes.txt"
    list_addresses >"$1/macs.txt"
    list_packages >"$1/packages.txt"
    sysupgrade -b "$1/config.tar.gz" >>"$log" 2>&1 || fail "sysupgrade -b made no archive of the settings"
    without_backups "$1/config.tar.gz"
    need_ram_for_archive "$1/config.tar.gz"
    cat "$0" >"$1/r4.sh"
}

about_backup() { # - what this is a backup of, a word and its value in each line
    local value
    printf 'bootplan-backup 1\nplan %s\ndigest %s\nversion %s\nmedium %s\n' "$plan_name" "$plan_digest" "$plan_version" "$plan_medium"
    value=$(board_now)
    printf 'board %s\n' "$value"
    value=$(openwrt_says DISTRIB_RELEASE)
    printf 'release %s\n' "$value"
    value=$(openwrt_says DISTRIB_REVISION)
    printf 'revision %s\n' "$value"
    value=$(compat_of /etc/config)
    printf 'compat %s\n' "$value"
    value=$(uname -r)
    printf 'kernel %s\n' "$value"
    value=''
    [ ! -e "$tree/chosen/u-boot,version" ] || value=$(tr -d '\0\n' <"$tree/chosen/u-boot,version")
    printf 'loader %s\n' "$value"
    if [ "$env_state" = good ]; then
        value=$(env_value ver)
        [ -z "$value" ] || printf 'loader-of-environment %s\n' "$value"
    fi
    see_system
    printf 'root %s%s\n' "$system" "${system_block:+ /dev/$system_block}"
    date '+made %Y-%m-%d %H:%M:%S'
}

compat_of() { # FOLDER - the generation of settings that the file `system` there is of; 1.0 when it does not say
    local have
    have=$(uci -q -c "$1" -t "$work/uci" get 'system.@system[0].compat_version') || have=''
    printf '%s' "${have:-1.0}"
}

save_tables() { # FOLDER - of each disk the sectors that hold its partition table, and sfdisk's words for it
    local entry name bytes size
    for entry in /sys/class/block/*; do
        name=${entry##*/}
        case $name in
            *boot[0-9] | *rpmb) continue ;;
            nvme* | mmcblk* | sd*) ;;
            *) continue ;;
        esac
        { [ ! -e "$entry/partition" ] && [ -b "/dev/$name" ]; } || continue
        read -r size <"$entry/size"
        [ "$size" -gt 0 ] || continue
        read -r bytes <"$entry/queue/logical_block_size"
        # MBR, GPT header and its 16 KiB of entries.
        dd if="/dev/$name" of="$1/$name.head" bs="$bytes" count=$((16384 / bytes + 2)) 2>>"$log" || {
            note "/dev/$name cannot be read: its partition table is not in the backup"
            rm -f "$1/$name.head"
            continue
        }
        command -v sfdisk >/dev/null || continue
        sfdisk --dump "/dev/$name" >"$1/$name.sfdisk" 2>/dev/null || rm -f "$1/$name.sfdisk"
    done
}

list_volumes() { # - device, name, bytes and type of each UBI volume
    local entry name blocks bytes type
    for entry in /sys/class/ubi/ubi*_*; do
        [ -e "$entry/name" ] || continue
        read -r name <"$entry/name"
        read -r blocks <"$entry/reserved_ebs"
        read -r bytes <"$entry/usable_eb_size"
        read -r type <"$entry/type"
        printf '%s %s %s %s\n' "${entry##*/}" "$name" $((blocks * bytes)) "$type"
    done
}

list_addresses() { # - the MAC addresses of the environment and of each network device
    local entry address
    [ "$env_state" != good ] || grep '^eth[0-9]*addr=' "$work/env" || true
    for entry in /sys/class/net/*; do
        [ -r "$entry/address" ] || continue
        read -r address <"$entry/address" || continue
        printf '%s %s\n' "${entry##*/}" "$address"
    done
}

list_packages() { # - each package, a tab, and where it is from: rom (the image, even if updated later), overlay, unknown
    local file name from
    # As `sysupgrade -k` does; it knows apk's records since 25.12. With the whole root on the disk nobody can tell any more.
    for file in /usr/lib/opkg/info/*.control /lib/apk/packages/*.list; do
        [ -e "$file" ] || continue
        name=${file##*/}
        name=${name%.list}
        from=unknown
        if [ -e "/rom$file" ]; then from=rom; elif [ -e "/overlay/upper$file" ]; then from=overlay; fi
        printf '%s\t%s\n' "${name%.control}" "$from"
    done
}

without_backups() { # FILE - the settings without the backups in /etc/bootplan: each would hold all before it
    tar -tzf "$1" >"$work/names" 2>>"$log"
    grep -q '^etc/bootplan/bootplan-' "$work/names" || return 0
    need_room_for_kept "$settings_kib" "a backup without the ones before it"
    stop_if_refused
    grep -v '^etc/bootplan/bootplan-' "$work/names" >"$work/names.kept"
    mkdir "$work/settings.all"
    tar -C "$work/settings.all" -xzf "$1" 2>>"$log"
    tar -C "$work/settings.all" -czf "$1" -T "$work/names.kept"
    rm -r "$work/settings.all"
}

action_backup() { # DESTINATION - saves what a repair would need, in a folder or on another computer
    local remote folder=$1
    plan_who
    remote=$(is_remote "$1")
    case $remote/$1 in
        yes/*) see_remote "$1" ;;
        no/-*) folder=./$1 ;;
        *) ;;
    esac
    [ "$remote" = yes ] || need_lasting_folder "$folder"
    stop_if_refused
    read_plan_env
    at='making the backup'
    if [ "$remote" = yes ]; then make_backup; else make_backup "$folder"; fi
    [ "$remote" = yes ] || need_room_for_backup "$folder"
    stop_if_refused
    at='writing the backup'
    if [ "$remote" = yes ]; then
        send_archive
        phase=change
        say "saved in $remote_login:$remote_path/$backup_name.tar.gz"
    else
        phase=change
        tell_half_written "$folder"
        keep_archive "$folder"
        say "saved in $folder/$backup_name.tar.gz"
        remote=$(on_boot_medium "$folder")
        [ "$remote" = no ] || note "that is on the boot medium: a sysupgrade, or setting it back to defaults, takes the backup with it; copy it to another computer"
    fi
    if [ "$env_state" != good ]; then
        say "the U-Boot environment is $env_state: it is not in this backup"
        exit_code=1
    fi
}
