# ---- library: after a sysupgrade that this script did not make -----------------------------------------------------
#
# Somebody ran sysupgrade by hand, or a cut took the record of an upgrade: the firmware is new, and the root on the disk is
# still made for the old one. Nothing is copied here. The record and the service are written that an upgrade would
# have left, so that the next start is the first start of one, and nothing on the disk is lost.

how_to_fit() { # - after see_system(): what to type when the disk's root is made for another firmware
    see_prepared
    if [ "$root_content" = internal ]; then
        printf 'save what you need of it, then rehearse: sh %s install --recopy --wipe SERIAL' "$this_script"
    elif [ "$prepared" = yes ]; then
        printf 'reboot: the next start makes it fit'
    elif [ "$system" != internal ]; then
        printf 'sh %s upgrade --refit makes it fit, by way of the system on the boot medium, and keeps your files' "$this_script"
    else
        printf 'sh %s upgrade --refit makes it fit and keeps your files; install --recopy --wipe SERIAL makes it anew, without them' "$this_script"
    fi
}

prepared=no # what see_prepared() found

see_prepared() { # - sets prepared=yes when the boot medium goes on with that at the next start, while the system runs from the disk
    local said=''
    [ ! -e "$just_installed" ] || read -r said <"$just_installed"
    prepared=no
    [ "$said" != refit ] || prepared=yes
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
    local way
    case $slots_kind in
        none) ;;
        shared) refuse "with slots nothing is made to fit: a sysupgrade by hand replaces the kernel that both share. From the slot that runs: sh $this_script upgrade IMAGE --apply, where IMAGE has that very kernel, then reboot" ;;
        *) refuse "with slots nothing is made to fit: a sysupgrade by hand replaces the system of a slot. Start the other one (sh $this_script switch --apply, then reboot), and upgrade this one from there" ;;
    esac
    way=$(leave_old_slots)
    if [ -n "$way" ]; then
        refuse_old_slots "$way"
    elif [ "$slots_kind/$root_content" = none/internal ]; then
        refuse "this plan has no root on a disk that OpenWrt itself mounts"
    fi
    stop_if_refused
    fit_again="sh $this_script upgrade --refit"
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
    case $system in
        internal | unknown)
            plan_look
            need_root_to_fit
            ;;
        *)
            plan_who
            need_running_root_to_fit
            ;;
    esac
    stop_if_refused
    see_prepared
    if [ "$prepared" = yes ]; then
        so "the next start makes the root on the disk fit: restart the router"
        finish ''
        return 0
    fi
    see_env
    phase=change at='preparing the next start'
    say "  the settings of the system on the boot medium come along; those on the disk are set aside there with the old system, in .bootplan/before-..."
    say "  what is in /root, /home and such of that system stays on the boot medium: the disk has its own"
    if [ "$system" = internal ]; then
        leave_disk_root
        prepare_refit ''
        finish "Restart the router: this start makes the root on the disk fit, and restarts once more. Then: sh $service_script status"
        return 0
    fi
    say "  to have those of the disk: backup before this, restore behind it"
    run mkdir -p "$work/target"
    run open_boot_medium
    prepare_refit "$work/target/upper"
    [ "$apply" = no ] || boots='the system of the boot medium, or as before if its fstab was not written any more'
    run without_disk_root "$work/target/upper/etc/config"
    run sync
    run umount "$work/target"
    [ "$apply" = no ] || boots='the system of the boot medium'
    [ "$apply" = no ] || printf 'refit\n' >"$just_installed"
    finish "Restart the router: it starts from the boot medium, makes the root on the disk fit, and restarts once more. Then: sh $service_script status"
}

prepare_refit() { # FOLDER - the system of the boot medium, which is below FOLDER, begins with that at its next start
    run furnish "$1"
    keep_over_sysupgrade "$1"
    run record_refit "$1"
}

open_boot_medium() { # - its overlay at $work/target, while the system runs from the disk, with room for what is to be written
    local room need
    if [ "$plan_medium" = nand ]; then
        mount -t ubifs ubi0:rootfs_data "$work/target"
    else
        mount /dev/fitrw "$work/target"
    fi
    [ -d "$work/target/upper" ] || fail "the boot medium holds no overlay of OpenWrt"
    room=$(room_in "$work/target")
    need=$(wc -c <"$0")
    need=$((need / 1024 + fstab_room * 2))
    [ "$room" -ge "$need" ] || fail "the overlay of the boot medium has $room KiB left, $need are needed"
}

need_running_root_to_fit() { # - the system runs from the plan's root on the disk, which this script finished, for another firmware
    local disk way
    disk=$(disk_named "$root_disk")
    way=$(way_back)
    see_running_state "$root_content"
    if [ "$system/$system_block" != "$root_content/${disk:-none}p$root_number" ]; then
        refuse "the system runs from /dev/${system_block:-something unknown} ($system), which is not the root of this plan; start it from the boot medium alone first: $way"
    elif [ "$inside" != "complete $root_content" ]; then
        refuse "the system runs from a copy that was never finished ($inside); start the one on the boot medium, then run this again: $way"
    elif [ -z "$stale" ]; then
        refuse "the system runs from the disk, and its root there fits this firmware"
    else
        case $root_content in
            overlay) room_inside=$(room_in /overlay) ;;
            *) room_inside=$(room_in /) ;;
        esac
        need_room_to_fit
    fi
}

need_root_to_fit() { # - it is one that this script finished, for another firmware
    # The disk may not be the right one.
    [ "$refusals" -eq 0 ] || return 0
    need_refit
    case $inside in
        unread*) note "the partition was not unmounted before the power went: what it holds can be seen with --apply only" ;;
        *)
            if [ "$root_told" != ok ]; then
                refuse "$root_told${root_way:+; $root_way}"
            elif [ "$inside" != "$half" ] && [ -z "$stale" ]; then
                refuse "the root on the disk fits this firmware; why it is not used: sh $this_script status"
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

record_refit() { # FOLDER - as an upgrade would have left it, in the system below FOLDER
    local disk top aside
    running_version='another firmware' image_sum='' upgrade_settings=keep upgrade_backup=''
    if [ "$system" != internal ]; then
        # A whole root says of what release it is itself.
        image_version=$(release_in /rom DISTRIB_RELEASE)
        top=/overlay/upper
        [ "$root_content" = overlay ] || top=''
        record_upgrade "$1" "$top"
        return 0
    fi
    image_version=$(openwrt_says DISTRIB_RELEASE)
    system=$root_content
    disk=$(disk_named "$root_disk")
    mkdir -p "$work/look"
    mount -t "$root_kind" -o ro "/dev/${disk}p$root_number" "$work/look"
    top=$(upper_of "$work/look")
    # Where the old root was half made to fit, its folders are set aside.
    aside=$(awk -v half="$half" 'NR == 1 && $0 != half { exit } NR == 2' "$work/look/.bootplan/state")
    record_upgrade "$1" "$top" ${aside:+"$work/look/.bootplan/before-$aside"}
    umount "$work/look"
}
