# shellcheck shell=busybox enable=check-set-e-suppressed,check-extra-masked-returns,quote-safe-variables
# ---- library: backup and restore ----------------------------------------------------------------------

need_lasting_folder() { # FOLDER - it exists, can be written, and is not in RAM
    local kind place
    [ -d "$1" ] && [ -w "$1" ] || {
        refuse "'$1' is no folder that can be written"
        return 0
    }
    # The file system of a folder is that of the longest mount point above it; df finds it.
    place=$(df -k "$1")
    place=$(printf '%s\n' "$place" | awk 'END { print $NF }')
    kind=$(mounted_at "$place")
    [ "${kind#* }" != overlay ] || kind=$(mounted_at /overlay)
    case ${kind#* } in
        tmpfs | ramfs | rootfs) refuse "'$1' is in RAM: it is gone after the restart that a backup is for; name a folder on a disk" ;;
        *) ;;
    esac
}

write_backup() { # FOLDER - a new folder in it, with a name only when it is complete and its sums were checked
    local to part entry name
    to=$(date +%Y%m%d-%H%M%S)
    while [ -e "$1/bootplan-$to" ] || [ -e "$1/bootplan-$to.part" ]; do
        sleep 1 # a run that ended, or was stopped, a moment ago has this name
        to=$(date +%Y%m%d-%H%M%S)
    done
    to=$1/bootplan-$to
    part=$to.part
    umask 077
    mkdir "$part"
    [ "$env_state" != good ] || save_with_sum "$work/env" "$part/uboot-env.txt"
    for entry in /etc/fw_env.config /etc/config/fstab /etc/openwrt_release /proc/cmdline /proc/mounts; do
        [ ! -e "$entry" ] || cat "$entry" >"$part/${entry##*/}"
    done
    for entry in /sys/class/block/nvme*; do
        [ -e "$entry/device/serial" ] || continue
        sfdisk --dump "/dev/${entry##*/}" >"$part/${entry##*/}.sfdisk" 2>/dev/null || rm -f "$part/${entry##*/}.sfdisk"
    done
    for entry in /sys/class/ubi/ubi*_*; do
        [ -e "$entry/name" ] || continue
        read -r name <"$entry/name"
        printf '%s %s\n' "${entry##*/}" "$name" >>"$part/ubi-volumes.txt"
    done
    sysupgrade -b "$part/config.tar.gz" >>"$log" 2>&1 || fail "sysupgrade -b made no archive of the settings"
    cat "$0" >"$part/${0##*/}"
    (cd "$part" && sha256sum -- * >"$work/sums" && cp "$work/sums" SHA256SUMS)
    sync
    (cd "$part" && sha256sum -c SHA256SUMS >>"$log")
    mv "$part" "$to"
    sync
    say "saved in $to:"
    for entry in "$to"/*; do
        say "  ${entry##*/}"
    done
}

saved_env='' # the file that restore-env was given

need_saved_env() { # TITLE [VARIABLE]... - $saved_env is a copy of this board's environment, of this medium
    local file=$saved_env lines mac_here mac_there slots_here slots_there
    [ -r "$file" ] && [ -s "$file" ] || {
        refuse "'$file' cannot be read"
        return 0
    }
    mac_here=$(env_value ethaddr)
    lines=$(grep -cv '^[^ =][^ =]*=.' "$file") || true
    [ "${lines:-0}" -eq 0 ] || refuse "'$file' is no saved environment: $lines of its lines are no NAME=VALUE"
    if [ ! -e "$file.sha256" ]; then
        refuse "there is no $file.sha256 to prove that '$file' is whole; if you know that it is: sha256sum $file >$file.sha256"
    elif ! (cd "${file%/*}" && sha256sum -c "${file##*/}.sha256" >>"$log" 2>&1); then
        refuse "'$file' is not what its .sha256 says: it was cut or changed"
    fi
    cp "$work/env" "$work/env.live"
    cat "$file" >"$work/env" # env_is_stock looks there
    env_is_stock "$@"
    mac_there=$(env_value ethaddr)
    slots_there=$(env_value bp_good)
    slots_there=$slots_there/"$(env_value bp_try)"
    cp "$work/env.live" "$work/env"
    slots_here=$(env_value bp_good)
    slots_here=$slots_here/"$(env_value bp_try)"
    case $slots_there in
        / | "$slots_here") ;;
        *)
            [ "$env_state" != good ] || [ "$slots_here" = / ] ||
                refuse "'$file' starts slot ${slots_there%%/*} (trial: ${slots_there#*/}), the router's environment slot ${slots_here%%/*} (trial: ${slots_here#*/}): what that slot holds may be newer, older or half of it"
            ;;
    esac
    if [ "$env_state" = good ] && [ "${mac_here:-$mac_there}" != "$mac_there" ]; then
        refuse "'$file' is of another board: its ethaddr is '$mac_there', here it is '$mac_here'"
    fi
}

write_env() { # FILE - the environment becomes what FILE says, and reads back so
    local name line
    sort "$work/env" >"$work/env.have"
    sort "$1" >"$work/env.want"
    if [ "$env_state" = good ] && cmp -s "$work/env.have" "$work/env.want"; then
        so "the environment"
        return 0
    fi
    # Lines for fw_setenv -s: `name value` sets, `name` alone deletes what FILE does not have.
    awk -F = 'NR == FNR { want[$1]; next } !($1 in want) { print $1 }' "$1" "$work/env" >"$work/env.new"
    awk 'NR == FNR { have[$0]; next } !($0 in have) { sub("=", " "); print }' "$work/env" "$1" >>"$work/env.new"
    awk '{ print "    " $0 }' "$work/env.new" >>"$log"
    run fw_setenv -c "$work/fw_env.config" -s "$work/env.new"
    # It drops the blanks a value begins with (a menu title does): those follow by themselves.
    sed -n 's/^\([^=]*\)= .*/\1/p' "$1" >"$work/blanks"
    while read -r name; do
        line=$(grep "^$name= " "$1")
        grep -qxF "$line" "$work/env" || run fw_setenv -c "$work/fw_env.config" "$name" "${line#*=}"
    done <"$work/blanks"
    run env_equals "$1"
}

env_equals() { # FILE - the stored environment is valid and is what FILE says
    read_env
    [ "$env_state" = good ] || fail "the environment reads back as $env_state"
    sort "$work/env" >"$work/env.have"
    sort "$1" >"$work/env.want"
    cmp "$work/env.have" "$work/env.want" || fail "the environment does not read back as it was written"
}
