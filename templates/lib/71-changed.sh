# ---- library: what an upgrade would keep, what it would not, and what earlier ones left ------------------------------

upgrade_word='' # list, refit or clean: upgrade without an image

action_upgrade_list() { # - changes nothing
    need_no_slots_here
    stop_if_refused
    see_system
    case $system in unknown) refuse "this is no installed system: nothing of it would be kept" ;; *) ;; esac
    stop_if_refused
    list_kept
    say "what an upgrade keeps:"
    [ "$upgrade_settings" = keep ] || say "  (the plan drops the settings: 'upgrade: {settings: drop}')"
    tell_lines '  ' <"$work/kept"
    [ "$system" = internal ] || say "  and on the disk everything outside of the folders of the system ($system_trees)"
    list_changed
    say "what was changed, and would not be kept:"
    [ -s "$work/lost" ] || say "  nothing"
    tell_lines '  ' <"$work/lost"
    [ "$system" = internal ] || say "on the disk these are set aside in .bootplan/before-..., until: sh $this_script upgrade --clean"
    say "to keep one: its path in the plan's 'upgrade: {keep: [...]}', or a line in /etc/sysupgrade.conf"
}

need_no_slots_here() { # - a plan with slots has another upgrade
    [ "$slots_kind" = none ] || refuse "with slots an upgrade replaces nothing that runs: both systems stay as they are"
}

tell_lines() { # BEFORE - each line that comes in
    local line
    while IFS= read -r line; do
        say "$1$line"
    done
}

list_changed() { # - in $work/lost: each changed name of the system that is not kept, a blank, and why it was there
    local name folders=''
    : >"$work/lost"
    cat /usr/lib/opkg/info/*.list /lib/apk/packages/*.list 2>/dev/null >"$work/have" || true
    sed 's|^[^/]|/&|' "$work/have" >"$work/packaged"
    packages_by_hand '' >"$work/by-hand"
    if [ "$system" = root ]; then
        for name in $system_trees; do
            [ ! -d "/$name" ] || [ -L "/$name" ] || folders="$folders $name"
        done
        mkdir -p "$work/root"
        mount -o bind / "$work/root"
        mount -o remount,bind,ro "$work/root"
        # shellcheck disable=SC2086 # names of folders, split on purpose
        (cd "$work/root" && find $folders ! -type d) >"$work/have"
        while IFS= read -r name; do
            compare_with_firmware "$name"
            [ "$same" = yes ] || printf '/%s\n' "$name"
        done <"$work/have" >"$work/changed"
        umount "$work/root"
    else
        (cd /overlay/upper && find . ! -type d) >"$work/have"
        sed 's|^\.||' "$work/have" >"$work/changed"
    fi
    grep -vxFf "$work/kept" "$work/changed" >"$work/left" || true
    while IFS= read -r name; do
        why_changed "$name"
    done <"$work/left" >"$work/lost.all"
    sort -u "$work/lost.all" >"$work/lost"
}

same=no # what compare_with_firmware() found, or compare_with_here()

compare_with_firmware() { # NAME - sets same=yes when the firmware has the same there
    local here there
    same=no
    if [ -L "$work/root/$1" ] && [ -L "/rom/$1" ]; then
        here=$(readlink "$work/root/$1")
        there=$(readlink "/rom/$1")
        [ "$here" != "$there" ] || same=yes
    elif [ -L "$work/root/$1" ] || [ -L "/rom/$1" ]; then
        : # a link in place of something else
    elif [ -f "$work/root/$1" ] && [ -f "/rom/$1" ]; then
        ! cmp -s "$work/root/$1" "/rom/$1" || same=yes
    elif [ ! -f "$work/root/$1" ] && [ -e "/rom/$1" ]; then
        same=yes
    fi
}

why_changed() { # PATH - the line for it, if it is one
    local package
    case $1 in
        "$env_copies"/* | /etc/.extroot-uuid) return 0 ;;
        /usr/lib/opkg/* | /lib/apk/* | /etc/apk/*)
            [ ! -s "$work/by-hand" ] || {
                package=$(tr '\n' ' ' <"$work/by-hand")
                printf 'packages installed since: %s(the first start tells the line that installs them again)\n' "$package"
            }
            return 0
            ;;
        *) ;;
    esac
    see_belonging "$1"
    if [ "$ours" = no ]; then
        return 0
    elif [ ! -e "$1" ] && [ ! -L "$1" ]; then
        printf '%s (removed here; comes back with the new firmware)\n' "$1"
    elif [ -e "/rom$1" ] || [ -L "/rom$1" ]; then
        printf '%s (changed here; the new firmware brings its own)\n' "$1"
    elif grep -qxF "$1" "$work/packaged"; then
        : # its package is told as a whole
    else
        printf '%s (neither the firmware'"'"'s nor a package'"'"'s)\n' "$1"
    fi
}

see_belonging() { # PATH - sets ours=yes when an upgrade replaces the folder it is in
    local top
    ours=yes
    [ "$system" != internal ] || return 0
    top=${1#/}
    belongs_to_system "${top%%/*}"
}

# ---- what earlier upgrades left

action_upgrade_clean() { # - old systems that were set aside, images in RAM; with --apply they go
    local entry top word state id root
    need_no_slots_here
    stop_if_refused
    see_system
    case $system in
        overlay) top=/overlay ;;
        root) top=/ ;;
        *) top='' ;;
    esac
    state=$(upgrade_says state)
    id=$(upgrade_says id)
    root=$(last_says root)
    : >"$work/old"
    for entry in "${top%/}"/.bootplan/before-*; do
        { [ -n "$top" ] && [ -e "$entry" ]; } || continue
        if [ "$entry" = "${top%/}/.bootplan/before-$id" ] && [ "$state/$root" != done/ok ]; then
            note "$entry stays: the upgrade that set it aside is not proven"
            continue
        fi
        word=$(du -sk "$entry")
        say "  $entry, ${word%%[!0-9]*} KiB: the system before an upgrade"
        printf '%s\n' "$entry" >>"$work/old"
    done
    [ ! -s "$work/old" ] || need_wipe_of_root
    stop_if_refused
    phase=change at='what earlier upgrades left'
    while IFS= read -r entry; do
        run rm -rf "$entry"
    done <"$work/old"
    for entry in /tmp/*-squashfs-sysupgrade.itb /tmp/sysupgrade.img; do
        { [ -f "$entry" ] && [ ! -L "$entry" ]; } || continue
        run rm -f "$entry"
    done
    word=$(packages_lost)
    if [ "$state/$word" = 'done/' ]; then
        run rm -f "$env_copies/upgrade"
    fi
    run_sync
    finish "What earlier upgrades left is gone."
}

run_sync() { # - a sync, which changes nothing by itself
    [ "$apply" = no ] || sync
}

need_wipe_of_root() { # - what was set aside is lost only with --wipe and the word for the disk it is on
    local word
    case "$newline$wipe$newline" in
        *"$newline${root_disk#*:}$newline"*) return 0 ;;
        *) ;;
    esac
    word=$(as_typed "${root_disk#*:}")
    [ "$apply" = no ] || refuse "what was set aside above would be lost; if nothing of it is needed add: --wipe $word"
    say "  to remove it: --apply --wipe $word"
}
