# ---- library: status -------------------------------------------------------------------------------
#
# Proves where root is from the device numbers of the mounts, not from names, and says what to do when it
# is not where the plan wants it.

as_planned=yes # no as soon as one thing is not
advice=''      # what to do about the first of them

tell() { # KEY TEXT - one line of the report
    printf '%s %s\n' "$1" "$2" | printable >>"$work/report"
}

tell_router() { # - what the router says of itself
    local board='' release rootdisk kernel
    [ ! -e "$tree/compatible" ] || board=$(tr '\0' '\n' <"$tree/compatible")
    board=$(printf '%s\n' "$board" | sed -n 1p)
    release=$(openwrt_says DISTRIB_RELEASE)
    rootdisk=$(rootdisk_now)
    kernel=$(uname -r)
    tell plan "$plan_name"
    tell board "${board:-unknown}"
    tell release "${release:-unknown}"
    tell kernel "$kernel"
    case $rootdisk in
        spim-nand) tell medium nand ;;
        *) tell medium "${rootdisk:-unknown}" ;;
    esac
}

not_as_planned() { # WHAT ADVICE... - the first of these is the one to act on
    as_planned=no
    [ -n "$advice" ] || advice=$2
    tell problem "$1"
}

tell_system() { # - how the router runs now
    see_system
    if [ -n "$system_block" ]; then
        tell root "$system on /dev/$system_block"
    else
        tell root "$system"
    fi
    [ "$system" != unknown ] ||
        not_as_planned "this is no installed system: recovery, or settings that live in RAM only" \
            "look for a crash record (ls /sys/fs/pstore; after reading it: rm /sys/fs/pstore/*) and for flag_recover in fw_printenv, then reboot"
}

tell_root_internal() { # - is root on the boot medium?
    local way
    tell_system
    tell wanted internal
    case $system in
        internal | unknown) ;;
        *)
            way=$(way_back)
            not_as_planned "root is on /dev/$system_block, the plan leaves it on the boot medium" "$way"
            ;;
    esac
}

tell_root() { # METHOD WANTED DISK NUMBER KIND LABEL - is root there? WANTED: overlay or root
    local disk install
    tell_system
    tell wanted "$1, partition $4 '$6' of $3"
    [ "$system" != unknown ] || return 0
    disk=$(disk_named "$3")
    if [ ! -b "/dev/${disk:-none}" ]; then
        look_for_packages
        install=$(install_line "$missing_packages")
        case "$missing_packages " in
            *' kmod-nvme '*) not_as_planned "the disk '$3' is not here, and neither is its driver" "$install; then: sh ${0##*/} status" ;;
            *)
                not_as_planned "the disk '$3' is not here" \
                    "power off, seat the disk, power on; then look at: dmesg | grep -e nvme -e pcie"
                ;;
        esac
    elif [ "$system/$system_block" != "$2/${disk}p$4" ]; then
        why_not "$1" "$disk" "$4" "$5" "$6"
    else
        is_whole "$2"
    fi
}

is_whole() { # METHOD - the system that runs from the disk is a finished copy, and fits the running kernel
    local kernel way fit
    kernel=$(uname -r)
    way=$(way_back)
    fit=$(how_to_fit)
    see_running_state "$1"
    if [ "$inside" != "complete $1" ]; then
        not_as_planned "this root is a copy that was never finished ($inside)" \
            "start the system of the boot medium alone ($way), then: sh ${0##*/} install --apply"
    elif [ ! -d "/lib/modules/$kernel" ]; then
        not_as_planned "this root has no modules for the running kernel $kernel: a sysupgrade brought a new one" \
            "start the system of the boot medium alone ($way), then: $fit"
    else
        tell_left_behind "$1"
    fi
}

why_not() { # METHOD DISK NUMBER KIND LABEL - the first thing that keeps the router from that root
    local have command chosen installed
    if [ "$busy" = yes ]; then
        not_as_planned "another run of this script is under way" "wait for its end, then look again"
        return 0
    fi
    installed=''
    [ ! -e "$just_installed" ] || read -r installed <"$just_installed"
    have=''
    if [ -b "/dev/$2p$3" ]; then
        probe "/dev/$2p$3" 0
        have="$kind/$label"
    fi
    if [ -z "$have" ] && sfdisk --dump "/dev/$2" 2>/dev/null | grep -q "^/dev/$2p$3 "; then
        not_as_planned "the kernel does not see partition $3 of $2, although its table has it" \
            "sh ${0##*/} install --apply, which writes the same table again"
        return 0
    fi
    if [ "$have" != "$4/$5" ]; then
        not_as_planned "partition $3 of $2 is no $4 file system '$5'" "sh ${0##*/} install, and read what it would do"
        return 0
    fi
    have=$uuid
    look_inside "$2p$3" "$4"
    [ "$inside" != "$half" ] || stale=$half
    case $inside/$stale/$root_content in
        complete*//*) ;;
        "complete $root_content"/* | "$half"/* | complete*/internal)
            see_waiting
            if [ "$waiting" = yes ]; then
                not_as_planned "partition $3 of $2 holds $stale; the upgrade under way brings it along" "sh $service_script first-start"
            else
                have=$(how_to_fit)
                not_as_planned "partition $3 of $2 holds $stale" "$have"
            fi
            return 0
            ;;
        *)
            not_as_planned "partition $3 of $2 holds no finished copy of the system ($inside)" \
                "sh ${0##*/} install, and read what it would do"
            return 0
            ;;
    esac
    if [ "$1" = cmdline ]; then
        read -r command </proc/cmdline
        not_as_planned "the kernel was started with: $command" \
            "sh ${0##*/} install sets bootargs; if it says they are set, the environment that U-Boot reads is another one"
        [ "$installed" != "$plan_digest" ] || advice=reboot
        return 0
    fi
    chosen=$(uci -q get fstab.bootplan_root.uuid) || chosen=''
    if [ "$chosen" != "$have" ]; then
        not_as_planned "fstab has no root entry for the file system $have" "sh ${0##*/} install --apply"
    elif [ "$installed" = "$plan_digest" ]; then
        not_as_planned "installed, and not restarted since" "reboot"
    else
        not_as_planned "fstools did not take the root from $2p$3 although fstab says so" \
            "look at: dmesg | grep -e extroot -e nvme; is kmod-nvme of this very kernel installed?"
    fi
}

tell_slots() { # - which slot runs, which is good, what is in both, and why the last trial failed
    local name key text
    plan_env
    env_state='not found'
    [ ! -s "$work/fw_env.config" ] || read_env
    [ "$env_state" = good ] || : >"$work/env"
    tell_system
    see_slots
    tell slot "${slot_running:-none}"
    tell good "${slot_good:-none}"
    if [ -n "$slot_try" ]; then
        tell trial "$slot_try"
        tell tries-left "${slot_left:-0}"
    fi
    for name in a b; do
        for key in state version sha256 written; do
            text=$(slot_says "$name" "$key")
            [ -z "$text" ] || tell "slot-$name-$key" "$text"
        done
    done
    if [ -e "$env_copies/last-trial" ]; then
        text=$(tr '\n' ';' <"$env_copies/last-trial")
        tell last-trial "${text%;}"
    fi
    judge_slots
}

judge_slots() { # - is everything as the plan wants it?
    if [ "$env_state" != good ]; then
        not_as_planned "the U-Boot environment is $env_state" "sh ${0##*/} restore-env FILE, with a copy from $env_copies or a backup"
    elif [ -z "$slot_good" ]; then
        not_as_planned "no slots are installed" "sh ${0##*/} install"
    elif [ -z "$slot_running" ]; then
        not_as_planned "the router runs from neither slot" "reboot; if it comes back here look at the disk: dmesg | grep -e nvme -e pcie"
    elif [ -n "$slot_told" ] && [ "$slot_told" != "$slot_running" ]; then
        not_as_planned "U-Boot started slot $slot_told, but the root is that of slot $slot_running" "reboot"
    elif [ "$slots_method/$system" = overlay/internal ]; then
        not_as_planned "slot $slot_running runs without its overlay on the disk" "reboot; if it comes back here look at the disk: dmesg | grep -e nvme -e pcie"
    elif [ -n "$slot_try" ] && [ "$slot_try" = "$slot_running" ]; then
        not_as_planned "slot $slot_running is on trial" "wait for its health check, or: sh ${0##*/} confirm --apply, or: sh ${0##*/} rollback --apply"
    elif [ -n "$slot_try" ]; then
        not_as_planned "slot $slot_try is to start on trial" "reboot, or: sh ${0##*/} rollback --apply"
    elif [ "$slot_running" != "$slot_good" ]; then
        not_as_planned "slot $slot_running runs, but slot $slot_good is the good one" "reboot"
    else
        is_whole "$slots_method"
        # install copies nothing into a slot again
        [ "$as_planned" = yes ] || advice="start the other slot: sh ${0##*/} switch --apply, then reboot; and from there: sh ${0##*/} upgrade IMAGE"
    fi
}

tell_mount() { # TARGET SECTION DISK NUMBER - is that partition mounted there?
    local disk part number='' there chosen enabled
    disk=$(disk_named "$3")
    part=${disk}p$4
    [ ! -e "/sys/class/block/$part/dev" ] || read -r number <"/sys/class/block/$part/dev"
    there=$(mounted_at "$1")
    if [ -n "$number" ] && [ "${there% *}" = "$number" ]; then
        tell mount "$1 is partition $4 of $disk"
        return 0
    elif [ -e "$just_installed" ]; then
        not_as_planned "$1 is not mounted yet" "reboot"
        return 0
    fi
    uuid=''
    [ -z "$number" ] || probe "/dev/$part" 0
    chosen=$(uci -q get "fstab.$2.uuid") || chosen=none
    enabled=$(uci -q get "fstab.$2.enabled") || enabled=1
    if [ -n "$number" ] && [ "$chosen/$enabled" != "$uuid/1" ]; then
        not_as_planned "fstab mounts another file system at $1, or none" "sh ${0##*/} install --apply, then reboot"
    else
        not_as_planned "$1 is not partition $4 of $3" "block mount; then look at: logread | grep block"
    fi
}

print_status() { # - the report as text or JSON; ends with 0 when all is as planned, else with 1
    local key text line='' separator='' problems mounts
    tell as-planned "$as_planned"
    [ -z "$advice" ] || tell advice "$advice"
    if [ "$json" = no ]; then
        while read -r key text; do
            printf '%-12s %s\n' "$key" "$text"
        done <"$work/report"
    else
        # Keys that may come more than once are lists.
        while read -r key text; do
            case $key in
                problem | mount) ;;
                as-planned)
                    [ "$text" = yes ] && text=true || text=false
                    line="$line$separator\"as_planned\": $text"
                    ;;
                *)
                    text=$(json_text "$text")
                    key=$(printf '%s' "$key" | tr - _)
                    line="$line$separator\"$key\": $text"
                    ;;
            esac
            [ -z "$line" ] || separator=', '
        done <"$work/report"
        problems=$(json_list problem)
        mounts=$(json_list mount)
        line="$line$separator\"problems\": $problems, \"mounts\": $mounts"
        printf '{%s}\n' "$line"
    fi
    [ "$as_planned" = yes ] || exit_code=1
}

json_list() { # KEY - all its texts in the report as a JSON list
    local key text separator=''
    printf '['
    while read -r key text; do
        [ "$key" = "$1" ] || continue
        printf '%s' "$separator"
        json_text "$text"
        separator=', '
    done <"$work/report"
    printf ']'
}

json_text() { # TEXT - as a JSON string
    local text
    text=$(printf '%s' "$1" | tr -d '\001-\037')
    text=$(printf '%s' "$text" | sed 's/[\\"]/\\&/g')
    printf '"%s"' "$text"
}
