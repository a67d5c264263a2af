# ---- library: after a sysupgrade that this script did not make -----------------------------------------------------
#
# Somebody ran sysupgrade by hand, or a cut took the record of an upgrade: the firmware is new, and the root on the disk is
# still made for the old one. Nothing is copied here. The record and the service are written that an upgrade would
# have left, so that the next start is the first start of one, and nothing on the disk is lost.

how_to_fit() { # - what to type when the disk's root is made for another firmware
    if [ "$root_content" = internal ]; then
        printf 'save what you need of it, then rehearse: sh %s install --recopy --wipe SERIAL' "${0##*/}"
    else
        printf 'sh %s upgrade --refit makes it fit and keeps your files; install --recopy --wipe SERIAL makes it anew, without them' "${0##*/}"
    fi
}

waiting=no # what see_waiting() found

see_waiting() { # - sets waiting=yes when the next start of the firmware that runs goes on with an upgrade
    local have want
    waiting=no
    have=$(upgrade_says state)
    want="flashed "$(upgrade_says to)
    have="$have "$(openwrt_says DISTRIB_RELEASE)
    [ "$have" != "$want" ] || waiting=yes
}

action_upgrade_refit() { # - the next start makes the root on the disk fit the firmware that runs
    case $slots_kind in
        none) ;;
        shared) refuse "with slots nothing is made to fit: a sysupgrade by hand replaces the kernel that both share. From the slot that runs: sh ${0##*/} upgrade IMAGE --apply, where IMAGE has that very kernel, then reboot" ;;
        *) refuse "with slots nothing is made to fit: a sysupgrade by hand replaces the system of a slot. Start the other one (sh ${0##*/} switch --apply, then reboot), and upgrade this one from there" ;;
    esac
    [ "$slots_kind/$root_content" != none/internal ] || refuse "this plan has no root on a disk that OpenWrt itself mounts"
    stop_if_refused
    fit_again="sh ${0##*/} upgrade --refit"
    see_system
    see_waiting
    if [ "$system/$waiting" = internal/yes ]; then
        phase=change at='preparing the next start'
        leave_disk_root
        if [ "$changes" -gt 0 ]; then
            finish "Restart the router: this start makes the root on the disk fit, and restarts once more."
            return 0
        fi
        say "the next start makes the root on the disk fit: restart the router. To give that up: rm $env_copies/upgrade"
        return 0
    fi
    plan_look
    need_root_to_fit
    stop_if_refused
    see_env
    phase=change at='preparing the next start'
    say "  the settings of this system come along; those on the disk are set aside there with the old system, in .bootplan/before-..."
    say "  what is in /root, /home and such of this system stays on the boot medium: the disk has its own"
    leave_disk_root
    run furnish ''
    keep_over_sysupgrade
    run record_refit
    finish "Restart the router: this start makes the root on the disk fit, and restarts once more. Then: sh $service_script status"
}

need_root_to_fit() { # - it is one that this script finished, for another firmware
    local way
    [ "$refusals" -eq 0 ] || return 0 # the disk may not be the right one
    if [ "$system" != internal ]; then
        way=$(way_back)
        refuse "this system runs from the disk, and only that of the boot medium can make it fit; to start that one: $way"
        return 0
    fi
    need_refit
    case $inside in
        unread*) note "the partition was not unmounted before the power went: what it holds can be seen with --apply only" ;;
        *)
            if [ "$root_told" != ok ]; then
                refuse "$root_told${root_way:+; $root_way}"
            elif [ "$inside" != "$half" ] && [ -z "$stale" ]; then
                refuse "the root on the disk fits this firmware; why it is not used: sh ${0##*/} status"
            else
                need_room_to_fit
            fi
            ;;
    esac
}

need_room_to_fit() { # - the new system has room on the disk beside the old one, which is set aside
    local source name size need=16384
    mkdir -p "$work/root"
    mount -o bind / "$work/root"
    mount -o remount,bind,ro "$work/root"
    source=$(source_of_new)
    list_top "$source" >"$work/top.new"
    while IFS= read -r name; do
        belongs_to_system "$name"
        [ "$ours" = yes ] || continue
        size=$(du -sk "$source/$name")
        need=$((need + ${size%%[!0-9]*} * 5 / 4))
    done <"$work/top.new"
    umount "$work/root"
    [ "$room_inside" -ge "$need" ] ||
        refuse "the disk has $room_inside KiB free for the new root, $need are needed beside the old one: mount it and make room; what earlier upgrades set aside is in .bootplan/before-..."
}

leave_disk_root() { # - fstab names no root on the disk: a whole one is taken whatever firmware it was made for
    local enabled
    enabled=$(uci -q get fstab.bootplan_root) || return 0
    enabled=$(uci -q get fstab.bootplan_root.enabled) || enabled=1
    [ "$enabled" != 0 ] || return 0
    [ "$apply" = no ] || boots='the system of the boot medium, or as before if fstab was not written any more'
    stage bootplan_root mount enabled 0
    commit_fstab
}

record_refit() { # - as an upgrade would have left it
    local disk top aside
    running_version='another firmware' image_sum=''
    image_version=$(openwrt_says DISTRIB_RELEASE)
    system=$root_content upgrade_settings=keep upgrade_backup=''
    disk=$(disk_named "$root_disk")
    mkdir -p "$work/look"
    mount -t "$root_kind" -o ro "/dev/${disk}p$root_number" "$work/look"
    top=$(upper_of "$work/look")
    # Where the old root was half made to fit, its folders are set aside.
    aside=$(awk -v half="$half" 'NR == 1 && $0 != half { exit } NR == 2' "$work/look/.bootplan/state")
    record_upgrade '' "$top" ${aside:+"$work/look/.bootplan/before-$aside"}
    umount "$work/look"
}
