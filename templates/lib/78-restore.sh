# ---- library: putting a backup back --------------------------------------------------------------------
#
# The settings first, file by file, each whole or not at all; the environment last, in one write. What belongs to the
# medium, to the firmware or to this script's own records is not a setting: it stays as it is here. A run that was cut is
# finished by the same command, which does what still differs. What it replaces is in a backup that it makes before.

with_network=no  # yes with --with-network
no_env=no        # yes with --no-env
back_env=no      # yes when the environment of the backup is to be restored
backup_folder='' # the backup, unpacked

need_backup() { # ARCHIVE - a whole backup of this board; its settings unpacked in $work/settings
    local here there
    open_archive "$1" "$work/restored"
    backup_folder=$opened
    [ -n "$backup_folder" ] || return 0
    here=$(board_now)
    there=$(backup_says board)
    [ "$here" = "$there" ] || refuse "'$1' is of another board: '$there', this one is '$here'"
    here=$(backup_says digest)
    there=$(backup_says plan)
    [ "$here" = "$plan_digest" ] || note "the backup was made by a script of another plan, or of another state of this one: '$there'"
    there=$(backup_says made)
    here=$(backup_says release)
    say "  the backup is of $there, of OpenWrt $here"
    need_settings "$backup_folder/config.tar.gz"
}

need_settings() { # FILE - the settings in a backup are plain files and links that stay below /; unpacked in $work/settings
    local told=$refusals strange
    list_archive "$1"
    [ "$told" -eq "$refusals" ] || return 0
    # What lies below a link would be written to where the link leads.
    strange=$(awk '
        NR == FNR { if (/^l/) { sub(/^([^ ]+ +){5}/, ""); sub(/ -> .*/, ""); link[$0] } next }
        { for (name in link) if (index($0, name "/") == 1) { print; exit } }
    ' "$work/list" "$work/names")
    [ -z "$strange" ] || refuse "the settings in the backup have '$strange' below a link"
    need_links_within "the settings in the backup"
    need_room_to_unpack "$1"
    [ "$told" -eq "$refusals" ] || return 0
    mkdir "$work/settings"
    if ! tar -C "$work/settings" -xzf "$1" 2>>"$log"; then
        refuse "the settings in the backup cannot be unpacked"
        return 0
    fi
    strange=$(find "$work/settings" ! -type f ! -type d ! -type l)
    [ -z "$strange" ] || refuse "the settings in the backup hold more than files, folders and links"
}

# ---- what of it is for this system

fit_settings() { # - the generation of settings is this firmware's; an fstab with another root, and network names of another generation stay out
    local here there folder=$work/settings/etc/config
    [ -d "$folder" ] || return 0
    here=$(compat_of /etc/config)
    there=$(compat_of "$folder")
    if [ "$here" != "$there" ]; then
        note "the backup's settings are of generation $there (compat_version), this firmware's are of $here; system says $here afterwards"
        set_compat "$here"
        if [ "$with_network" = no ]; then
            note "between these OpenWrt gave network devices other names (eth1 and eth2 of 24.10 are sfp-lan or lan4, and sfp-wan in 25.12): network and wireless stay as they are here; to have the backup's add --with-network, and correct the names before you restart"
        fi
    fi
    [ "$here" != "$there" ] || with_network=yes
    keep_accounts
    root_in_fstab /etc/config >"$work/fstab.here"
    root_in_fstab "$folder" >"$work/fstab.there"
}

keep_accounts() { # - accounts that only this system has stay: its services run as them (OpenWrt's own restore does so, too)
    local name file
    for name in passwd group shadow; do
        file=$work/settings/etc/$name
        { [ -f "$file" ] && [ ! -h "$file" ] && [ -f "/etc/$name" ]; } || continue
        awk -F : -v theirs="$file" 'FILENAME == theirs { have[$1]; next } !($1 in have)' "$file" "/etc/$name" >"$work/accounts"
        # The last line of the backup's may have no end. Mode and owner stay.
        awk 1 "$file" "$work/accounts" >"$work/accounts.all"
        [ ! -s "$work/accounts" ] || cat "$work/accounts.all" >"$file"
    done
}

set_compat() { # VERSION - the backup's file `system` says so
    local file=$work/settings/etc/config/system
    [ -f "$file" ] && [ ! -h "$file" ] || return 0
    rm -rf "$work/compat"
    mkdir -p "$work/compat"
    cp "$file" "$work/compat/system"
    uci -q -c "$work/compat" -t "$work/uci" get 'system.@system[0]' >/dev/null || return 0
    uci -c "$work/compat" -t "$work/uci" set "system.@system[0].compat_version=$1"
    uci -c "$work/compat" -t "$work/uci" commit system
    cat "$work/compat/system" >"$file" # its mode and owner stay
}

root_in_fstab() { # FOLDER - what the fstab there says about / and /overlay, sorted
    local all
    all=$(uci -q -c "$1" -t "$work/uci" show fstab) || return 0
    printf '%s\n' "$all" >"$work/fstab.all"
    awk '
        { line[NR] = $0 }
        /\.target=.(\/|\/overlay).$/ { name = $0; sub(/\.target=.*/, "", name); root[name] }
        END { for (i = 1; i <= NR; i++) for (name in root) if (line[i] == name || index(line[i], name ".") == 1 || index(line[i], name "=") == 1) print line[i] }
    ' "$work/fstab.all" >"$work/fstab.root"
    sort "$work/fstab.root"
}

see_settings() { # - $work/todo: the names that differ and are to come back; shows them, and what stays as it is here
    local name same=0 new=0 changed=0 how why
    : >"$work/todo"
    (cd "$work/settings" && find . ! -type d) >"$work/names"
    sed -i 's|^\./||' "$work/names"
    sort "$work/names" >"$work/all"
    while IFS= read -r name; do
        how=$(how_different "$name")
        case $how in
            same)
                same=$((same + 1))
                continue
                ;;
            'in the way')
                refuse "/$name is a folder here and none in the backup, or the other way round"
                continue
                ;;
            *) ;;
        esac
        why=$(why_not_back "$name")
        if [ -n "$why" ]; then
            say "  stays    /$name: $why"
            continue
        fi
        if [ "$how" = new ]; then
            new=$((new + 1))
            say "  new      /$name"
        else
            changed=$((changed + 1))
            say "  changed  /$name"
        fi
        printf '%s\n' "$name" >>"$work/todo"
    done <"$work/all"
    say "  settings: $new new, $changed changed, $same the same; files that only this system has stay"
}

how_different() { # NAME - prints same, new, changed, or `in the way`
    local from="$work/settings/$1" to="/$1" parent how=changed here there
    parent=${to%/*}
    while [ -n "$parent" ]; do
        if [ -e "$parent" ] && [ ! -d "$parent" ]; then how='in the way'; fi
        parent=${parent%/*}
    done
    if [ -d "$to" ] && [ ! -h "$to" ]; then
        how='in the way'
    elif [ ! -e "$to" ] && [ ! -h "$to" ]; then
        [ "$how" != changed ] || how=new
    elif [ -h "$from" ] && [ -h "$to" ]; then
        here=$(readlink "$to")
        there=$(readlink "$from")
        [ "$here" != "$there" ] || how=same
    elif [ ! -h "$from" ] && [ ! -h "$to" ] && cmp -s "$from" "$to"; then
        here=$(mode_of "$to")
        there=$(mode_of "$from")
        [ "$here" != "$there" ] || how=same
    fi
    printf '%s' "$how"
}

mode_of() { # FILE - kind, permissions and owner
    local line
    line=$(ls -lnd "$1")
    printf '%s\n' "$line" | awk '{ print $1, $3, $4 }'
}

why_not_back() { # NAME - why this file is not restored; nothing when it is
    local enabled
    case $1 in
        etc/fw_env.config | etc/fw_sys.config | etc/config/ubootenv) printf 'it belongs to the medium, not to the settings' ;;
        etc/bootplan/checks.d/*) ;;
        etc/bootplan/* | etc/init.d/bootplan* | etc/rc.d/S[0-9][0-9]bootplan*) printf 'a record of this script, of what is here' ;;
        etc/config/network | etc/config/wireless) [ "$with_network" = yes ] || printf 'of another generation of settings' ;;
        etc/config/fstab) cmp -s "$work/fstab.here" "$work/fstab.there" || printf 'the one of the backup takes the root from another file system' ;;
        etc/uci-defaults/10_disable_services)
            enabled=$(still_enabled "$work/settings/$1")
            [ -n "$enabled" ] || printf 'the services that it disables are disabled'
            ;;
        *) ;;
    esac
}

still_enabled() { # FILE - the services that FILE disables at the next start, and that are here and enabled
    local service word
    while read -r service word; do
        case $word/$service in
            disable/*/../*) ;;
            disable/etc/init.d/* | disable//etc/init.d/*)
                [ ! -x "$service" ] || ! "$service" enabled >/dev/null 2>&1 || printf '%s\n' "$service"
                ;;
            *) ;;
        esac
    done <"$1"
}

need_env_of_backup() { # - the environment of the backup, when it is of this medium and differs
    local name
    if [ "$no_env" = yes ]; then
        say "  stays    the U-Boot environment"
        return 0
    fi
    name=$(backup_says medium)
    if [ "$name" != "$plan_medium" ]; then
        note "the backup's U-Boot environment is that of $name, this router was started from $plan_medium: it stays as it is here"
        return 0
    elif [ ! -e "$backup_folder/uboot-env.txt" ]; then
        note "the backup has no U-Boot environment: it stays as it is here"
        return 0
    elif [ ! -s "$work/fw_env.config" ]; then
        refuse "no U-Boot environment found on $plan_medium; to restore the settings alone add --no-env"
        return 0
    fi
    saved_env=$backup_folder/uboot-env.txt
    name=$refusals
    plan_saved_env
    [ "$name" -eq "$refusals" ] || {
        note "to restore the settings alone add --no-env"
        return 0
    }
    back_env=yes
    show_env_changes "$saved_env"
}

show_env_changes() { # FILE - the variables in which FILE differs from the stored environment
    [ "$env_state" = good ] || say "  changed  the U-Boot environment, which is $env_state"
    awk '
        { name = $0; sub(/=.*/, "", name); value = substr($0, length(name) + 2); names[name] }
        NR == FNR { here[name] = value; next }
        { there[name] = value }
        END {
            for (name in names) {
                old = (name in here) ? here[name] : "(none)"
                new = (name in there) ? there[name] : "(none)"
                if (old != new) printf "changed  variable %s: %.60s -> %.60s\n", name, old, new
            }
        }
    ' "$work/env" "$1" >"$work/env.changes"
    tr '\001-\011\013-\037' '?' <"$work/env.changes" >"$work/env.shown"
    sort "$work/env.shown" >"$work/env.changes"
    while IFS= read -r name; do
        say "  $name"
    done <"$work/env.changes"
}

# ---- the changes

put_back() { # NAME - that file of the backup in its place, whole or not at all
    local to="/$1" folder new home there
    folder=${to%/*}
    [ -n "$folder" ] || folder=/
    mkdir -p "$folder"
    # Not beside it where that can be helped: what watches a folder would see a half file in it.
    new=$env_copies/.restored
    home=$(mount_above "$env_copies")
    there=$(mount_above "$folder")
    [ "$home" = "$there" ] || new=$folder/.bootplan-restored
    rm -f "$new"
    cp -dp "$work/settings/$1" "$new"
    if [ -h "$new" ]; then
        rm -f "$to"
    else
        fsync "$new"
        [ ! -h "$to" ] || rm -f "$to" # a link to a folder would take the file in
    fi
    mv "$new" "$to"
}

settings_are_back() { # - every file is as the backup has it
    local name how
    sync
    while IFS= read -r name; do
        how=$(how_different "$name")
        [ "$how" = same ] || fail "/$name is not as the backup has it"
    done <"$work/todo"
}

action_restore() { # ARCHIVE - the settings of a backup, and the environment when it is of this medium
    local name
    plan_who
    see_system
    if [ "$system" = unknown ]; then
        refuse "this is no installed system, but recovery or settings in RAM: what is restored here is gone after the restart"
    else
        say "  the running system is $system${system_block:+, /dev/$system_block}"
    fi
    read_plan_env
    need_backup "$1"
    stop_if_refused
    fit_settings
    see_settings
    need_env_of_backup
    stop_if_refused
    if [ -s "$work/todo" ] || [ -s "$work/env.changes" ]; then
        at='a backup of what is here'
        make_backup "$env_copies"
        need_room_for_backup /etc
        stop_if_refused
        phase=change
        run mkdir -p "$env_copies"
        run keep_archive "$env_copies"
    fi
    phase=change at='the settings'
    while IFS= read -r name; do
        run put_back "$name"
    done <"$work/todo"
    [ ! -s "$work/todo" ] || run settings_are_back
    if [ "$back_env" = yes ]; then
        at='the environment'
        [ "$apply" = no ] || boots='as the old environment says, or as the restored one does'
        write_env "$saved_env"
    fi
    finish "Restart the router. What was here before is in $env_copies/$backup_name.tar.gz, which restore takes, too."
}
