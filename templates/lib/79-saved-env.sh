# ---- library: a saved environment --------------------------------------------------------------------

saved_env='' # the file that restore-env was given

need_saved_env() { # TITLE [VARIABLE]... - $saved_env is a copy of this board's environment, of this medium
    local file=$saved_env lines mac_here mac_there slots_here slots_there
    if [ ! -r "$file" ] || [ ! -s "$file" ]; then
        refuse "'$file' cannot be read"
        return 0
    fi
    mac_here=$(env_value ethaddr)
    lines=$(grep -cv '^[^ =][^ =]*=.' "$file") || true
    [ "${lines:-0}" -eq 0 ] || refuse "'$file' is no saved environment: $lines of its lines are no NAME=VALUE"
    if [ ! -e "$file.sha256" ]; then
        refuse "there is no $file.sha256 to prove that '$file' is whole; if you know that it is: sha256sum $file >$file.sha256"
    elif ! (cd "${file%/*}" && sha256sum -c "${file##*/}.sha256" >>"$log" 2>&1); then
        refuse "'$file' is not what its .sha256 says: it was cut or changed"
    fi
    need_root_of_env "$file"
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

need_root_of_env() { # FILE - a root that its bootargs or its good slot name is here, and no half copy
    local good ids id
    good=$(sed -n 's/^bp_good=\([ab]\)$/\1/p' "$1")
    ids=$(sed -n "s/^bp_root_${good:-none}=\\([0-9a-fA-F-]*\\)$/\\1/p; s/^bootargs=.*root=PARTUUID=\\([0-9a-fA-F-]*\\).*/\\1/p" "$1")
    ids=$(printf '%s' "$ids" | tr 'A-F' 'a-f')
    for id in $ids; do
        if command -v sfdisk >/dev/null; then
            need_root_named "$1" "$id"
        else
            note "without sfdisk nobody sees whether its root is here: PARTUUID=$id"
        fi
    done
}

need_root_named() { # FILE ID - what need_root_of_env() says, of the partition with that PARTUUID
    local id=$2 entry name have found=''
    for entry in /sys/class/block/*; do
        [ -e "$entry/partition" ] || continue
        name=${entry##*/}
        read -r have <"$entry/partition"
        have=$(sfdisk --part-uuid "/dev/${name%p"$have"}" "$have" 2>>"$log") || have=''
        have=$(printf '%s' "$have" | tr 'A-F' 'a-f')
        [ "$have" != "$id" ] || found=$name
    done
    if [ -z "$found" ]; then
        refuse "with '$1' the kernel would wait for a root that is not here: PARTUUID=$id"
        return 0
    fi
    probe "/dev/$found" 0
    look_inside "$found" "$kind"
    case $inside in
        'complete root' | 'in use' | unread:*) ;;
        *) refuse "with '$1' the kernel would start /dev/$found, which holds no finished copy of the system ($inside)" ;;
    esac
}

write_env() { # FILE - the environment becomes what FILE says, and reads back so
    local name line
    sort "$work/env" >"$work/env.have"
    sort "$1" >"$work/env.want"
    if [ "$env_state" = good ] && cmp -s "$work/env.have" "$work/env.want"; then
        so "the environment"
        printf '\n' >"$work/env.new"
        write_left_copy
        return 0
    fi
    hold_env
    # Lines for fw_setenv -s: `name value` sets, `name` alone deletes what FILE does not have.
    awk -F = 'NR == FNR { want[$1]; next } !($1 in want) { print $1 }' "$1" "$work/env" >"$work/env.new"
    awk 'NR == FNR { have[$0]; next } !($0 in have) { sub("=", " "); print }' "$work/env" "$1" >>"$work/env.new"
    awk '{ print "    " $0 }' "$work/env.new" >>"$log"
    run fw_setenv -c "$work/fw_env.config" -s "$work/env.new"
    # It drops the blanks a value begins with (a menu title does): those follow by themselves.
    sed -n 's/^\([^=]*\)= .*/\1/p' "$1" >"$work/blanks"
    while IFS= read -r name; do
        line=$(grep "^$name= " "$1")
        grep -qxF "$line" "$work/env" || run fw_setenv -c "$work/fw_env.config" "$name" "${line#*=}"
    done <"$work/blanks"
    run env_equals "$1"
    run write_other_copy
    let_env_go
}

env_equals() { # FILE - the stored environment is valid and is what FILE says
    read_env
    [ "$env_state" = good ] || fail "the environment reads back as $env_state"
    sort "$work/env" >"$work/env.have"
    sort "$1" >"$work/env.want"
    cmp "$work/env.have" "$work/env.want" || fail "the environment does not read back as it was written"
}

action_restore_env() { # FILE - one write, read back; FILE may be a backup
    plan_who
    plan_env
    if [ -s "$work/fw_env.config" ]; then
        read_env
        saved_env=$1
        case $1 in
            *.tar.gz)
                open_archive "$1" "$work/restored"
                saved_env=$opened/uboot-env.txt
                ;;
            */*) ;;
            *) saved_env=./$1 ;;
        esac
        [ "$refusals" -gt 0 ] || plan_saved_env
    else
        refuse "no U-Boot environment found on $plan_medium"
    fi
    stop_if_refused
    phase=change
    at='writing the environment'
    [ "$apply" = no ] || boots='as the old environment says, or as the restored one does'
    write_env "$saved_env"
    [ "$apply" = yes ] || [ "$changes" -eq 0 ] || say "rehearsal: the environment was not changed; to change it add --apply"
}
