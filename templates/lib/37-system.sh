# ---- library: where the running system lives ------------------------------------------------------

system=''       # how the router runs: internal, overlay, root or unknown
system_block='' # kernel name of the block device that holds it, if it is one

see_system() { # - sets system and system_block from the mounts of this moment
    local device kind block number
    kind=$(mounted_at /)
    system=root
    if [ "${kind#* }" = overlay ]; then
        kind=$(mounted_at /overlay)
        system=overlay
    fi
    device=${kind% *} kind=${kind#* }
    system_block=''
    for block in /sys/class/block/*; do
        [ -e "$block/dev" ] || continue
        read -r number <"$block/dev"
        [ "$number" != "$device" ] || system_block=${block##*/}
    done
    case $system/$kind/$system_block in
        overlay/tmpfs/* | overlay//* | root/tmpfs/* | root/ramfs/* | root/rootfs/*) system=unknown ;;
        # rootfs_data is a UBI volume, which is no block device, or what fitblk leaves of the medium's partition.
        overlay/*/ | overlay/*/fitrw) system=internal ;;
        *) ;; # an overlay or a root on some disk
    esac
}

mounted_at() { # FOLDER - device number and kind of the file system mounted there; the last one where mounts are stacked
    awk -v place="$1" '
        $5 == place { for (i = 7; $i != "-"; i++); found = $3 " " $(i + 1) }
        END { print found }
    ' /proc/self/mountinfo
}

see_running_state() { # METHOD - sets inside to the state of the copy that the system runs from, and stale
    case $1 in
        overlay)
            read_state /overlay
            see_stale /overlay
            ;;
        *)
            read_state /
            see_stale ''
            ;;
    esac
}

need_system() { # DISK NUMBER METHOD - started from the internal system, or already from where the plan wants it
    local disk way
    see_system
    way=$(leave_old_slots)
    if [ -n "$way" ]; then
        refuse_old_slots "$way"
        return 0
    fi
    disk=$(disk_named "$1")
    case $system in
        internal) say "  the system runs from the boot medium" ;;
        unknown) refuse "this is no installed system (recovery, or settings that live in RAM only); start the production system first" ;;
        *)
            if [ -n "$disk" ] && [ "$system/$system_block" = "$3/${disk}p$2" ]; then
                say "  the system already runs from /dev/$system_block"
            else
                way=$(way_back)
                refuse "the system runs from /dev/${system_block:-something unknown} ($system); start it from the boot medium alone first: $way"
            fi
            ;;
    esac
}

way_back() { # - what to type to start the router from its boot medium alone
    local command='' mount='mount /dev/fitrw /mnt' copy
    copy=$(leave_old_slots)
    if [ -n "$copy" ]; then
        printf '%s' "$copy"
        return 0
    fi
    read -r command </proc/cmdline || true
    case $command in
        *root=PARTUUID=*)
            copy=$(stock_env_copy)
            printf 'sh %s restore-env %s --apply; reboot' "$this_script" "$copy"
            return 0
            ;;
        *) ;;
    esac
    [ "$plan_medium" != nand ] || mount='mount -t ubifs ubi0:rootfs_data /mnt'
    printf '%s; uci -c /mnt/upper/etc/config set fstab.bootplan_root.enabled=0; uci -c /mnt/upper/etc/config commit fstab; reboot' "$mount"
}

refuse_old_slots() { # WAY - what leave_old_slots() told
    refuse "U-Boot chooses between slots here, and this plan has none; first: $1"
}

leave_old_slots() { # - what to type first when U-Boot chooses between slots, and the plan has none; nothing when that is not so
    local good
    [ "$slots_kind" = none ] || return 0
    plan_env
    [ -s "$work/fw_env.config" ] || return 0
    good=$(fw_printenv -c "$work/fw_env.config" -n bp_good 2>/dev/null) || good=''
    [ -n "$good" ] || return 0
    # What they put into the environment is known to the script of their plan only.
    if grep -qs '^    slots_are ' "$service_script"; then
        printf 'sh %s rollback --stock --apply; reboot' "$service_script"
    else
        printf 'sh %s rollback --stock --apply, with the script that made the slots; reboot' "$this_script"
    fi
}
