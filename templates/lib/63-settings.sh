# ---- library: the settings that travel over a sysupgrade -----------------------------------------------------
#
# sysupgrade gets them as an archive of ours (its option -f): what it would keep itself and what the plan keeps, this script
# with its service, its records, and the fstab without a root on the disk, so that the first start is always that of the
# boot medium alone. It is made in RAM: the running system keeps what it has, also its fstab.

upgrade_settings=keep # keep or drop: do the settings travel?
upgrade_backup=''     # where the backup goes
upgrade_reinstall=no  # yes: missing packages are installed at the first start
settings_kib=0        # what travels, as far as it is known before it is packed
heaviest=''           # the largest parts of it, for a message

upgrade_is() { # SETTINGS BACKUP REINSTALL - what the plan says of an upgrade; --drop-settings and --backup outrank it
    [ "$drop_settings" = yes ] || upgrade_settings=$1
    upgrade_backup=${backup_wanted:-$2}
    upgrade_reinstall=$3
}

upgrade_says() { # KEY - what the record of the last upgrade says; a line for each
    [ ! -e "$env_copies/upgrade" ] || sed -n "s/^$1 //p" "$env_copies/upgrade"
}

list_kept() { # - every file that travels, a line for each, with a slash before it, in $work/kept
    local path
    : >"$work/kept"
    [ "$upgrade_settings" = drop ] || sysupgrade -l >"$work/kept" 2>>"$log"
    # /var and /tmp of a system are RAM: what is unpacked there would hide the link.
    sed -i -e '/^\/tmp\//d' -e '/^\/var\//d' "$work/kept"
    while IFS= read -r path; do
        [ -z "$path" ] || { [ ! -e "$path" ] && [ ! -L "$path" ]; } || find "$path" \( -type f -o -type l \) >>"$work/kept"
    done <<END
/etc/config/fstab
$env_copies
$kept
END
    sort -u "$work/kept" >"$work/kept.all"
    grep -vxF "$env_copies/upgrade" "$work/kept.all" >"$work/kept" || true
}

weigh_settings() { # - sets settings_kib; what travels can be named in a list
    local path missing=''
    list_kept
    while IFS= read -r path; do
        [ -e "$path" ] || [ -L "$path" ] || missing="$missing '$path'"
    done <"$work/kept"
    [ -z "$missing" ] || refuse "these are to be kept, and are not there:$missing. sysupgrade cannot keep a name with a line break: rename it, or move it elsewhere"
    weigh_kept
}

weigh_kept() { # - sets settings_kib and heaviest from $work/kept; nothing of what it names is read
    tr '\n' '\0' <"$work/kept" >"$work/names"
    for_each_name / ls -dln >"$work/list" 2>>"$log"
    awk '
        { kib = ($1 ~ /^-/ ? int($5 / 1024) : 0) + 1; sub(/^([^ ]+ +){8}/, "") }
        { n = split($0, part, "/"); all += kib; of["/" part[2] (n > 2 ? "/" part[3] : "")] += kib }
        END { for (name in of) printf "%.0f %s\n", of[name], name; printf "%.0f .\n", all }
    ' "$work/list" >"$work/weights"
    settings_kib=$(sed -n 's/ \.$//p' "$work/weights")
    settings_kib=$((settings_kib + 256)) # and this script
    sed -i '/ \.$/d' "$work/weights"
    sort -rn "$work/weights" >"$work/heavy"
    heaviest=$(awk 'NR < 4 { kib = $1; sub(/^[^ ]+ /, ""); printf "%s%s (%s KiB)", (NR == 1 ? "" : ", "), $0, kib }' "$work/heavy")
}

need_room_for_kept() { # KIB WHAT - after weigh_settings(), or weigh_kept(): /tmp holds that much of it, for WHAT
    local free need=$(($1 + 4096))
    free=$(room_in /tmp)
    [ "$free" -ge "$need" ] ||
        refuse "/tmp has $free KiB left, $need KiB are needed for $2: what is kept has $settings_kib KiB, most of it: $heaviest. What lies on a disk need not be kept: take it out of /etc/sysupgrade.conf, or of the plan's 'upgrade: {keep: [...]}'"
}

pack_settings() { # - the archive that sysupgrade gets, read back
    [ "$phase" = change ] || return 0
    run gather_settings
    run furnish "$work/settings"
    run record_upgrade "$work/settings" ''
    run without_disk_root "$work/settings/etc/config"
    run archive_settings
    if [ "$upgrade_settings" = drop ]; then
        say "  the settings stay behind: the new system is at 192.168.1.1, without a password; what travels is fstab, what the plan keeps, and this script"
    else
        say "  the settings come along"
    fi
}

gather_settings() { # - what list_kept() tells, at $work/settings
    local path missing=''
    mkdir "$work/settings"
    list_kept
    if [ "$upgrade_settings" = keep ]; then
        sysupgrade -b "$work/kept.tar.gz" >>"$log" 2>&1
        tar -C "$work/settings" -xzf "$work/kept.tar.gz"
        rm -rf "$work/settings/var" "$work/settings/tmp"
    fi
    sed 's|^/||' "$work/kept" >"$work/kept.names"
    : >"$work/kept.left"
    while IFS= read -r path; do
        [ -e "$work/settings/$path" ] || [ -L "$work/settings/$path" ] || printf '%s\n' "$path" >>"$work/kept.left"
    done <"$work/kept.names"
    if [ -s "$work/kept.left" ]; then
        tar -C / -cf "$work/kept.tar" -T "$work/kept.left"
        tar -C "$work/settings" -xf "$work/kept.tar"
        rm "$work/kept.tar"
    fi
    while IFS= read -r path; do
        [ -e "$work/settings/$path" ] || [ -L "$work/settings/$path" ] || missing="$missing /$path"
    done <"$work/kept.names"
    [ -z "$missing" ] || fail "not in the archive of the settings:$missing"
    mkdir -p "$work/settings/etc"
    conf_with_ours ''
    cat "$work/conf" >"$work/settings/etc/sysupgrade.conf"
}

without_disk_root() { # FOLDER - in the fstab of this configuration folder nothing is mounted as / or /overlay
    local section
    find_disk_roots "$1"
    [ -s "$work/roots" ] || return 0
    while IFS= read -r section; do
        uci -c "$1" -t "$work/uci" set "fstab.$section.enabled=0"
    done <"$work/roots"
    uci -c "$1" -t "$work/uci" commit fstab
    fsync "$1/fstab"
    find_disk_roots "$1"
    [ ! -s "$work/roots" ] || fail "$1/fstab would still take the root from the disk"
}

find_disk_roots() { # FOLDER - in $work/roots: the sections of the fstab there by which fstools would take the root from a disk
    local all section enabled
    : >"$work/roots"
    all=$(uci -q -c "$1" -t "$work/uci" show fstab) || return 0
    printf '%s\n' "$all" | sed -n "s#^fstab\\.\\(.*\\)\\.target='/\\(overlay\\)\\{0,1\\}'\$#\\1#p" >"$work/roots.all"
    while IFS= read -r section; do
        enabled=$(uci -q -c "$1" -t "$work/uci" get "fstab.$section.enabled") || enabled=1
        case $enabled in
            0 | no | off | false | disabled) ;;
            *) printf '%s\n' "$section" >>"$work/roots" ;;
        esac
    done <"$work/roots.all"
}

archive_settings() { # - $work/upgrade.tar.gz from $work/settings; files only, so that no folder's mode changes by it
    (cd "$work/settings" && find . ! -type d) >"$work/kept.found"
    sed 's|^\./||' "$work/kept.found" >"$work/kept.names"
    tar -C "$work/settings" -czf "$work/upgrade.tar.gz" -T "$work/kept.names"
    mkdir "$work/again"
    tar -C "$work/again" -xzf "$work/upgrade.tar.gz"
    differences=''
    compare_bytes "$work/settings" "$work/again"
    (cd "$work/again" && find . ! -type d) >"$work/have"
    [ -z "$differences" ] || fail "the archive of the settings does not read back: $differences"
    sort "$work/kept.found" >"$work/want"
    sort "$work/have" >"$work/have.sorted"
    cmp "$work/want" "$work/have.sorted" || fail "the archive of the settings lacks names"
    rm -rf "$work/again"
}

record_upgrade() { # FOLDER OLD... - what the first start of the new system, whose settings are in FOLDER, has to know of the one at OLD
    local id boot command now folder=$1 old
    read -r id </proc/sys/kernel/random/uuid # the clock may say the same twice
    now=$(date +%Y%m%d-%H%M%S)
    boot=$(env_value bootargs)
    command=$(env_value bootcmd)
    shift
    for old; do
        packages_by_hand "$old"
    done >"$work/by-hand.all"
    sort -u "$work/by-hand.all" >"$work/by-hand"
    {
        printf 'state flashed\nid %s-%s\nfrom %s\nto %s\nsha256 %s\n' "$now" "${id%%-*}" "$running_version" "$image_version" "$image_sum"
        printf 'method %s\nsettings %s\nbackup %s\nbootargs %s\nbootcmd %s\n' "$system" "$upgrade_settings" "$upgrade_backup" "$boot" "$command"
        sed 's/^/package /' "$work/by-hand"
    } >"$work/record"
    boot=$(cat "$work/record")
    mkdir -p "$folder$env_copies"
    write_file "$folder$env_copies/upgrade" "$boot"
}

mark_upgrade() { # STATE - the record of the running system says so
    local text
    text=$(sed "s/^state .*/state $1/" "$env_copies/upgrade")
    write_file "$env_copies/upgrade" "$text"
}

# ---- packages

packages_by_hand() { # TOP - what the system below TOP has and the firmware has not, a line for each; packages that others need are left out
    local file name
    if [ -e "$1/etc/apk/world" ]; then
        world_by_hand "$1"
        return 0
    fi
    for file in "$1"/usr/lib/opkg/info/*.control "$1"/lib/apk/packages/*.list; do
        { [ -e "$file" ] && [ ! -e "/rom${file#"$1"}" ]; } || continue
        name=${file##*/}
        name=${name%.*}
        if [ -e "$1/usr/lib/opkg/status" ]; then
            awk -v name="$name" '
                /^Package: / { here = ($2 == name) }
                here && /^Auto-Installed: yes/ { found = 1 }
                END { exit !found }
            ' "$1/usr/lib/opkg/status" && continue
        fi
        printf '%s\n' "$name"
    done
}

world_by_hand() { # TOP - the same from apk's list of what was asked for, which has the words that were typed
    local name record
    sed 's/[<>=~@].*//' "$1/etc/apk/world" >"$work/world"
    while IFS= read -r name; do
        record=$(record_of "$1" "$name")
        { [ -n "$record" ] && [ ! -e "/rom/lib/apk/packages/$record.list" ]; } || continue
        printf '%s\n' "$name"
    done <"$work/world"
}

record_of() { # TOP NAME - the package of the system below TOP that has, or provides, that name for apk; nothing when none does
    if [ -e "$1/lib/apk/packages/$2.list" ] || [ -e "/rom/lib/apk/packages/$2.list" ]; then
        printf '%s' "$2"
    elif [ -e "$1/lib/apk/db/installed" ]; then
        awk -v name="$2" '
            /^P:/ { package = substr($0, 3) }
            /^p:/ {
                count = split(substr($0, 3), words, " ")
                for (i = 1; i <= count; i++) {
                    sub(/[<>=~].*/, "", words[i])
                    if (words[i] == name) { printf "%s", package; exit }
                }
            }
        ' "$1/lib/apk/db/installed"
    fi
}

packages_lost() { # - the recorded packages that this system lacks, on one line
    upgrade_says package >"$work/recorded"
    not_installed
}

not_installed() { # - those of the names in $work/recorded that the package manager does not know, on one line
    local name have
    while IFS= read -r name; do
        have=$(is_installed "$name")
        [ "$have" = yes ] || printf ' %s' "$name"
    done <"$work/recorded"
}

install_line() { # NAMES - one line that installs these, with the package manager of this system
    if command -v apk >/dev/null; then
        printf 'apk update && apk add%s' "$1"
    else
        printf 'opkg update && opkg install%s' "$1"
    fi
}
