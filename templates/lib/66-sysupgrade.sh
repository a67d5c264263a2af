# ---- library: an upgrade without slots -------------------------------------------------------------------------
#
# OpenWrt's sysupgrade replaces the system on the boot medium: the FIT with kernel and squashfs, and the internal overlay.
# It does not touch the NVMe disk. Until it begins nothing of the running system is changed; what
# comes behind it is the first start's.

drop_settings=no      # yes with --drop-settings
backup_wanted=''      # what --backup named
running_version=''    # the release that runs
test_option=''        # -n: the settings do not have to fit the image
root_content=internal # what the plan's root is: internal, or an overlay or a root on the disk below
root_target='' root_disk='' root_number=0 root_kind='' root_label=''

# top-level names that belong to the system, in every release
system_trees='bin etc init lib lib64 sbin usr www'

root_is() { # CONTENT TARGET DISK NUMBER KIND LABEL - where the plan has its root, and where fstools mounts it
    root_content=$1 root_target=$2 root_disk=$3 root_number=$4 root_kind=$5 root_label=$6
}

# ---- looks

need_slots_to_upgrade() { # - a root that the kernel's command line names
    refuse "with root= on the kernel's command line, kernel and root must change together, and sysupgrade changes the kernel only: the old root has no modules for the new one. A plan with 'slots:' does both; or put the saved environment back (restore-env FILE --apply), restart, and upgrade the system of the boot medium"
}

need_known_release() { # TARGET PATTERN... - the system that runs is of a release that is known, for this target
    local target=$1 pattern
    running_version=$(openwrt_says DISTRIB_RELEASE)
    shift
    for pattern; do
        # shellcheck disable=SC2254 # it is a pattern
        case $running_version in
            $pattern)
                say "  running is $running_version"
                pattern=''
                break
                ;;
            *) ;;
        esac
    done
    [ -z "$pattern" ] || refuse "this router runs '${running_version:-something else}': no release that this script knows"
    pattern=$(openwrt_says DISTRIB_TARGET)
    [ "$pattern" = "$target" ] || refuse "this plan is for target $target, this router's is '${pattern:-unknown}'"
}

need_next_start() { # - U-Boot starts what sysupgrade writes, and no other upgrade waits for its first start
    local have
    have=$(upgrade_says state)
    case $have in
        flashed | pointed)
            have=$(upgrade_says to)
            refuse "the upgrade to $have has not come to its end: sh $this_script status; to give it up: rm $env_copies/upgrade"
            ;;
        *) ;;
    esac
    [ -s "$work/env" ] || return 0 # need_env told it
    have=$(env_value bootargs)
    case " $have " in
        *' root=/dev/fit0 '*) ;;
        *) refuse "bootargs is '$have': U-Boot would not start the system that sysupgrade writes" ;;
    esac
    have=$(env_value flag_recover)
    [ -z "$have" ] || refuse "flag_recover is set: the next start would be the recovery system's; to clear it: fw_setenv flag_recover"
    case $system in
        internal) need_no_other_root ;;
        unknown) ;;
        *) need_finished_root ;;
    esac
}

need_no_other_root() { # - the boot medium's overlay is the one that is lived in: its settings are those that travel
    local enabled
    enabled=$(uci -q get fstab.bootplan_root.enabled) || enabled=0
    if [ "$enabled" != 0 ]; then
        refuse "fstab takes the root from the disk, but the system runs from the boot medium, whose settings are older: restart the router, and if it comes back so: sh $this_script status; to go on without the disk's root: uci set fstab.bootplan_root.enabled=0; uci commit fstab"
    else
        tell_root_left_behind
    fi
}

tell_root_left_behind() { # - a root on the disk that does not run is not part of the upgrade
    local disk way="to bring it along start it first: sh $this_script status tells how; or later: sh $this_script upgrade --refit"
    [ "$root_content" != internal ] || return 0
    disk=$(disk_named "$root_disk")
    if [ ! -b "/dev/${disk:-none}p$root_number" ]; then
        note "the disk '$root_disk' is not here: when it has a root, the root on the disk stays behind, made for the firmware that runs now; $way"
        return 0
    fi
    probe "/dev/${disk}p$root_number" 0
    [ "$kind/$label" = "$root_kind/$root_label" ] || return 0
    look_inside "${disk}p$root_number" "$kind"
    case $inside in
        complete* | "$half" | unread* | 'in use')
            note "the system runs from the boot medium alone: the root on the disk stays behind, made for the firmware that runs now; $way"
            ;;
        *) ;;
    esac
}

need_finished_root() { # - the disk that the system runs from holds a finished copy
    see_running_state "$root_content"
    [ "$inside" = "complete $root_content" ] ||
        refuse "the system runs from a copy that was never finished ($inside)"
}

see_generation() { # - do the settings of this system fit the image? 1.0 to 1.1: other names of interfaces
    local have wanted
    [ "$slots_kind" = none ] || return 0
    [ "$upgrade_settings" = keep ] || test_option=-n
    fwtool -q -i "$work/metadata" "$image_copy" 2>>"$log" || return 0 # sysupgrade -T tells it
    have=$(compat_of /etc/config)
    wanted=$(sed -n 's/.*"compat_version": *"\([^"]*\)".*/\1/p' "$work/metadata")
    wanted=${wanted:-1.0}
    [ "$have" != "$wanted" ] && [ "${have%%.*}" = "${wanted%%.*}" ] || return 0
    if [ "$upgrade_settings" = drop ]; then
        note "the settings stay behind: they are of generation $have, the image's of $wanted"
        return 0
    fi
    test_option=-n
    refuse "the settings of this system are of generation $have, the image's of $wanted. Between 1.0 (24.10) and 1.1 (25.12) the ports that are not the switch's got other names: eth1 became sfp-lan (lan4 on the board with the 2.5GE port), eth2 became sfp-wan. With the settings of the other generation the network does not come up. To upgrade without settings: --drop-settings, or in the plan 'upgrade: {settings: drop}'; the backup that is made first has them"
}

need_root_in_image() { # KERNEL - the image's kernel finds the root on the disk, where there is one
    local missing=''
    [ "$root_content" != internal ] || return 0
    if [ ! -e /sys/module/nvme/initstate ] && [ ! -e "$work/image/lib/modules/$1/nvme.ko" ] && [ -e /sys/class/nvme ]; then
        : # the driver is built in, in both
    elif [ ! -e "$work/image/lib/modules/$1/nvme.ko" ] || ! grep -qs '^nvme$' "$work/image"/etc/modules-boot.d/*; then
        missing=' kmod-nvme'
    fi
    [ -e "$work/image/sbin/block" ] || missing="$missing block-mount"
    [ -n "$missing" ] || return 0
    if [ "$upgrade_reinstall" = yes ]; then
        note "the image lacks$missing: the root comes from the disk only when the first start has installed that"
    else
        refuse "the image lacks$missing: the new system would never find its root on the disk; build one with the packages of the plan, or let the first start install them ('upgrade: {reinstall: true}')"
    fi
}

need_place() { # - the image and the settings fit where sysupgrade puts them
    # When there is none, need_image told it.
    [ "$image_bytes" -gt 0 ] || return 0
    weigh_settings
    if [ "$plan_medium" = nand ]; then need_ubi; else need_production; fi
    case $system in
        internal | unknown) ;;
        *) need_room_beside ;;
    esac
}

need_ubi() { # - UBI is there with all its volumes, or sysupgrade would format the flash; and has the room
    local number name missing='' left here want
    if [ ! -e /sys/class/ubi/ubi0/mtd_num ]; then
        refuse "UBI is not attached: sysupgrade would format the whole SPI-NAND, boot loader included"
        return 0
    fi
    read -r number </sys/class/ubi/ubi0/mtd_num
    read -r name <"/sys/class/mtd/mtd$number/name" || name=''
    [ "$name" = ubi ] || refuse "ubi0 is on '${name:-nothing}', not on the partition ubi: sysupgrade would format that one"
    for name in fip fit rootfs_data ubootenv ubootenv2; do
        here=$(volume_named "$name")
        [ -n "$here" ] || missing="$missing $name"
    done
    [ -z "$missing" ] || refuse "the SPI-NAND lacks the volumes$missing: this is no whole OpenWrt, and sysupgrade is not for it"
    here=$(volume_named recovery)
    [ -n "$here" ] || note "the SPI-NAND has no volume recovery: if sysupgrade is cut only the card, or TFTP, starts the router"
    read -r left </sys/class/ubi/ubi0/avail_eraseblocks
    for name in fit rootfs_data; do
        here=$(volume_named "$name")
        [ -n "$here" ] || return 0
        read -r here <"/sys/class/ubi/$here/reserved_ebs"
        left=$((left + here))
    done
    want=$(blocks_for $((image_bytes + settings_kib * 1024 + 8388608))) # an overlay of 8 MiB at least
    [ "$left" -ge "$want" ] || refuse "the SPI-NAND has $left erase blocks for image and overlay, $want are needed"
}

need_production() { # - the partition production has the room
    local part room
    part=$(card_part_named production)
    if [ -z "$part" ]; then
        refuse "there is no partition production on the boot medium"
        return 0
    fi
    room=$(room_of "$part")
    [ "$room" -ge $((image_bytes + settings_kib * 1024 + 16777216)) ] ||
        refuse "/dev/$part has $room bytes, too little for the image and an overlay"
}

need_room_beside() { # - the new system fits on the disk beside the old one, which is set aside
    local free need
    [ -d "$work/image" ] || return 0 # need_image told it
    if [ "$root_content" = root ]; then
        need=$(du -sk "$work/image")
        free=$(room_in /)
    else
        need=$settings_kib
        free=$(room_in /overlay)
    fi
    need=$((${need%%[!0-9]*} * 5 / 4 + settings_kib + 16384))
    [ "$free" -ge "$need" ] ||
        refuse "the disk has $free KiB free for the new root, $need are needed beside the old one: sh $this_script upgrade --clean"
}

need_ram() { # - /tmp and the memory have room for what sysupgrade does there
    local free need=$((settings_kib * 4 + 8192))
    [ "$image_bytes" -gt 0 ] || return 0
    free=$(room_in /tmp)
    [ "$free" -ge "$need" ] || refuse "/tmp has $free KiB left, $need are needed for the settings: what is kept has $settings_kib KiB, most of it: $heaviest"
    free=$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)
    [ "${free:-0}" -ge $((need + 32768)) ] || refuse "there are $free KiB of memory, $((need + 32768)) are needed: stop what uses it"
}

need_backup_place() { # - somebody said where the backup goes, and neither a restart nor sysupgrade takes it from there
    local place kind
    case $upgrade_backup in -*) upgrade_backup=./$upgrade_backup ;; *) ;; esac
    if [ -z "$upgrade_backup" ]; then
        refuse "nothing says where the backup goes: --backup FOLDER, or in the plan 'upgrade: {backup: /srv/backup}'"
        return 0
    fi
    kind=$(is_remote "$upgrade_backup")
    if [ "$kind" = yes ]; then
        see_remote "$upgrade_backup"
        return 0
    fi
    need_lasting_folder "$upgrade_backup"
    [ -d "$upgrade_backup" ] || return 0
    kind=$(on_boot_medium "$upgrade_backup")
    if [ "$kind" = yes ]; then
        refuse "'$upgrade_backup' is on the boot medium's overlay, which sysupgrade makes anew: name a folder on a disk"
        return 0
    fi
    place=$(mount_above "$upgrade_backup")
    case $place in / | /overlay | /rom) ;; *) return 0 ;; esac
    place=$(readlink -f "$upgrade_backup")/
    for kind in $system_trees overlay rom; do
        case $place in "/$kind/"*) refuse "'$upgrade_backup' is in a folder of the system, which an upgrade sets aside: name another one" ;; *) ;; esac
    done
}

already_flashed() { # - sets flashed=yes when the boot medium holds this very image
    flashed=no
    sum_wanted=$(sum_of "$image_copy" "$fit_bytes")
    sum_before=$(sum_of_medium)
    [ "$sum_wanted" != "$sum_before" ] || flashed=yes
}

flash_seconds=120 # sysupgrade that began has ended us long before
nothing_written='the old system: nothing was written to the boot medium'
flashed=no                  # what already_flashed() found:
sum_wanted='' sum_before='' # of the image, and of as many bytes of the boot medium

sum_of_medium() { # - the SHA-256 of what the boot medium has in the image's place
    local device
    if [ "$plan_medium" = nand ]; then device=$(volume_named fit); else device=$(card_part_named production); fi
    sum_of "/dev/${device:-none}" "$fit_bytes"
}

# ---- changes

put_crash_away() { # - crash records would send the next start to the recovery system
    local record found=''
    [ "$phase" = change ] || return 0
    for record in /sys/fs/pstore/*; do
        [ ! -e "$record" ] || found="$found ${record##*/}"
    done
    if [ -z "$found" ]; then
        so "no crash record"
        return 0
    fi
    say "  to $crash_folder:$found"
    run archive_crash
}

backup_first() { # - what a repair would need
    [ "$phase" = change ] || return 0
    say "  + save_backup $upgrade_backup"
    changes=$((changes + 1))
    [ "$apply" = no ] || save_backup "$upgrade_backup"
}

flash_image() { # - sysupgrade, which restarts the router; what it needs is in RAM by then
    [ "$phase" = change ] || return 0
    run close_image
    run sync
    [ "$apply" = no ] || boots='the old system, or the new one if sysupgrade was already done; when it was cut in between, the recovery system'
    [ "$apply" = no ] || say "sysupgrade writes the new system, and the router restarts by itself. Then: sh $service_script status"
    run begin_sysupgrade
}

close_image() { # - RAM for sysupgrade
    [ ! -d "$work/image" ] || umount "$work/image"
    rm -rf "$work/rootfs" "$work/settings" "$work/kept.tar.gz"
}

begin_sysupgrade() { # - does not come back: procd ends us; the connection to it is cut then, which sysupgrade takes for an error
    local code=0 first now answer
    ended=yes work_stays=yes # it ends us like every other process, and reads the image behind that
    read -r first </proc/1/comm
    # -f outranks -n, which only says that the old settings need not fit (OpenWrt's sysupgrade: SAVE_CONFIG and CONF_IMAGE).
    # shellcheck disable=SC2086,SC2248 # an option or nothing
    sysupgrade $test_option -f "$work/upgrade.tar.gz" "$image_copy" >"$work/told" 2>&1 || code=$?
    cat "$work/told" >>"$log"
    if ! grep -q 'Commencing upgrade' "$work/told"; then
        ended=no work_stays=no boots=$nothing_written
        fail "sysupgrade did not begin (status $code)"
    fi
    # procd answers only when it refuses. Else it stops its services, becomes another program, and nobody is there to answer.
    answer=$(sed -n -e 's/.*Command failed: //p' -e '/^Failed to connect/p' "$work/told")
    read -r now </proc/1/comm
    case $now/$answer in
        "$first/" | *'Connection failed' | *'timed out' | *'No response') answer='' ;;
        "$first/"*) ;;
        *) answer='' ;;
    esac
    [ -n "$answer" ] || sleep "$flash_seconds"
    ended=no work_stays=no
    see_medium
    [ -z "$answer" ] || fail "sysupgrade did not begin (status $code): procd says '$answer'; restart the router before you try again, it may have stopped services"
    fail "sysupgrade began, and $flash_seconds seconds later this system still runs; restart the router"
}

see_medium() { # - sets boots to what the boot medium holds, now that sysupgrade did not end us
    local have
    have=$(sum_of_medium)
    case $have in
        "$sum_before") boots=$nothing_written ;;
        "$sum_wanted") boots='the new system, which may lack its settings: they are in the backup' ;;
        *) boots='the recovery system: what the boot medium holds is neither the old system nor the new one' ;;
    esac
}

action_sysupgrade() { # IMAGE - the image in place of the running system
    image=$1
    plan_upgrade_look
    stop_if_refused
    already_flashed
    phase=change
    if [ "$flashed" = yes ]; then
        so "this very image is on the boot medium"
    else
        plan_upgrade
    fi
    finish ''
}
