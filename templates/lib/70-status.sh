# ---- library: status -------------------------------------------------------------------------------
#
# Proves where root is from the device numbers of the mounts, not from names, and says what to do when it
# is not where the plan wants it.

as_planned=yes  # no as soon as one thing is not
advice=''       # what to do about the first of them
told_missing='' # packages that tell_upgrade() told

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
    local way
    see_system
    if [ -n "$system_block" ]; then
        tell root "$system on /dev/$system_block"
    else
        tell root "$system"
    fi
    [ "$system" != unknown ] ||
        not_as_planned "this is no installed system: recovery, or settings that live in RAM only" \
            "look for a crash record (ls /sys/fs/pstore; after reading it: rm /sys/fs/pstore/*) and for flag_recover in fw_printenv, then reboot"
    way=$(leave_old_slots)
    [ -z "$way" ] || not_as_planned "U-Boot chooses between slots here, and the plan has none" "$way"
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
    local disk
    tell_system
    tell wanted "$1, partition $4 '$6' of $3"
    [ "$system" != unknown ] || return 0
    disk=$(disk_named "$3")
    if [ ! -b "/dev/${disk:-none}" ]; then
        tell_no_disk "$3"
    elif [ "$system/$system_block" != "$2/${disk}p$4" ]; then
        why_not "$1" "$disk" "$4" "$5" "$6" "$2"
    else
        is_whole "$2"
        tell_own_fstab
    fi
}

tell_no_disk() { # DISK - it is not here; is its driver?
    local install
    look_for_packages
    install=$(install_line "$missing_packages")
    case "$missing_packages " in
        *' kmod-nvme '*) not_as_planned "the disk '$1' is not here, and neither is its driver" "$install; then: sh $this_script status" ;;
        *)
            not_as_planned "the disk '$1' is not here" \
                "power off, seat the disk, power on; then look at: dmesg | grep -e nvme -e pcie"
            ;;
    esac
}

is_whole() { # METHOD - the system that runs from the disk is a finished copy, and fits the running kernel
    local kernel way fit
    kernel=$(uname -r)
    way=$(way_back)
    fit=$(how_to_fit)
    [ "$root_content" != internal ] || fit="start the system of the boot medium alone ($way), then: $fit"
    see_running_state "$1"
    if [ "$inside" != "complete $1" ]; then
        not_as_planned "this root is a copy that was never finished ($inside)" \
            "start the system of the boot medium alone ($way), then: sh $this_script install --apply"
    elif [ ! -d "/lib/modules/$kernel" ]; then
        not_as_planned "this root has no modules for the running kernel $kernel: a sysupgrade brought a new one" \
            "$fit"
    elif [ -n "$stale" ]; then
        not_as_planned "this root is $stale: a sysupgrade brought another one" "$fit"
    else
        tell_left_behind "$1"
    fi
}

tell_own_fstab() { # - the fstab of a system on the disk names no root on a disk; that of the boot medium does
    local section
    find_disk_roots /etc/config
    section=$(sed -n 1p "$work/roots")
    [ -n "$section" ] || return 0
    section=$(as_typed uci set "fstab.$section.enabled=0")
    not_as_planned "the fstab of this system, which is on the disk, names a root on a disk: a sysupgrade by hand would put that over another firmware" \
        "$section; uci commit fstab"
}

why_not() { # METHOD DISK NUMBER KIND LABEL WANTED - the first thing that keeps the router from that root
    local have command installed users way
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
            "sh $this_script install --apply, which writes the same table again"
        return 0
    fi
    if [ "$have" != "$4/$5" ]; then
        not_as_planned "partition $3 of $2 is no $4 file system '$5'" "sh $this_script install, and read what it would do"
        return 0
    fi
    have=$uuid
    users=$(users_of "$2p$3")
    if [ -n "$users" ]; then
        way=$(how_to_leave "$users")
        way=${way:-; find out what uses it}
        not_as_planned "partition $3 of $2 is in use:$users" "${way#; }; then: sh $this_script status"
        return 0
    fi
    look_inside "$2p$3" "$4"
    [ "$inside" != "$half" ] || stale=$half
    case $inside/$stale/$root_content in
        "complete $6"//*) ;;
        complete*//*)
            not_as_planned "partition $3 of $2 holds a system copied by another root method" "sh $this_script install, and read what it would do"
            return 0
            ;;
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
                "sh $this_script install, and read what it would do"
            return 0
            ;;
    esac
    if [ "$1" = cmdline ]; then
        read -r command </proc/cmdline
        not_as_planned "the kernel was started with: $command" \
            "sh $this_script install sets bootargs; if it says they are set, the environment that U-Boot reads is another one"
        [ "$installed" != "$plan_digest" ] || advice=reboot
        return 0
    fi
    see_waiting
    see_entry bootplan_root "$have" "$root_target"
    if [ "$waiting" = yes ]; then
        not_as_planned "the upgrade under way has not come to the root on $2p$3" "sh $service_script first-start"
    elif [ "$entry" = off ]; then
        not_as_planned "the root's entry in fstab is off, as behind the way back to the boot medium" "sh $this_script install --apply, then reboot"
    elif [ "$entry" = other ]; then
        not_as_planned "fstab has no root entry for the file system $have" "sh $this_script install --apply, then reboot"
    elif [ "$installed" = "$plan_digest" ]; then
        not_as_planned "installed, and not restarted since" "reboot"
    else
        not_as_planned "fstools did not take the root from $2p$3 although fstab says so" \
            "look at: dmesg | grep -e extroot -e nvme; is kmod-nvme of this very kernel installed?"
    fi
}

entry='' # what see_entry() found: right, off or other

see_entry() { # SECTION UUID TARGET - does that section of fstab mount that file system there?
    local have where on
    have=$(uci -q get "fstab.$1.uuid") || have=''
    where=$(uci -q get "fstab.$1.target") || where=''
    on=$(uci -q get "fstab.$1.enabled") || on=1
    case $have/$where/$on in
        /*) entry=other ;;
        "$2/$3/1") entry=right ;;
        "$2/$3/"*) entry=off ;;
        *) entry=other ;;
    esac
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
    local way boot installed='' look="reboot; if it comes back here look at the disk: dmesg | grep -e nvme -e pcie"
    boot=$(env_value bootcmd)
    [ ! -e "$just_installed" ] || read -r installed <"$just_installed"
    if [ "$env_state" != good ]; then
        not_as_planned "the U-Boot environment is $env_state" "sh $this_script restore-env FILE, with a copy from $env_copies or a backup"
    elif [ -z "$slot_good" ]; then
        not_as_planned "no slots are installed" "sh $this_script install"
    elif [ "${boot#"$chooser_first"}" = "$boot" ]; then
        not_as_planned "bootcmd does not begin with the slots' own command: U-Boot starts the stock way" "sh $this_script install --apply, then reboot"
    elif [ -z "$slot_told" ] && [ "$installed" = "$plan_digest" ]; then
        not_as_planned "installed, and not restarted since" "reboot"
    elif [ -z "$slot_told" ]; then
        not_as_planned "U-Boot did not start this system by the slots" "$look"
    elif [ -z "$slot_running" ]; then
        not_as_planned "the router runs from neither slot" "$look"
    elif [ -n "$slot_told" ] && [ "$slot_told" != "$slot_running" ]; then
        not_as_planned "U-Boot started slot $slot_told, but the root is that of slot $slot_running" "reboot"
    elif [ "$slots_method/$system" = overlay/internal ]; then
        see_slot_root
        way=$look
        [ -z "$stale" ] || way=$(mend_slot)
        not_as_planned "slot $slot_running runs without its overlay on the disk${stale:+, which is $stale}" "$way"
    elif [ -n "$slot_try" ] && [ "$slot_try" = "$slot_running" ]; then
        not_as_planned "slot $slot_running is on trial" "wait for its health check, or: sh $this_script confirm --apply, or: sh $this_script rollback --apply"
    elif [ -n "$slot_try" ]; then
        not_as_planned "slot $slot_try is to start on trial" "reboot, or: sh $this_script rollback --apply"
    elif [ "$slot_running" != "$slot_good" ]; then
        not_as_planned "slot $slot_running runs, but slot $slot_good is the good one" "reboot"
    else
        is_whole "$slots_method"
        [ "$as_planned" = yes ] || advice=$(mend_slot)
        tell_own_fstab
    fi
}

tell_mount() { # TARGET SECTION DISK NUMBER - is that partition mounted there?
    local disk part number='' there installed=''
    disk=$(disk_named "$3")
    part=${disk}p$4
    [ ! -e "/sys/class/block/$part/dev" ] || read -r number <"/sys/class/block/$part/dev"
    there=$(mounted_at "$1")
    [ ! -e "$just_installed" ] || read -r installed <"$just_installed"
    if [ -n "$number" ] && [ "${there% *}" = "$number" ]; then
        tell mount "$1 is partition $4 of $disk"
        return 0
    elif [ "$installed" = "$plan_digest" ]; then
        not_as_planned "$1 is not mounted yet" "reboot"
        return 0
    elif [ ! -b "/dev/${disk:-none}" ]; then
        tell_no_disk "$3"
        return 0
    fi
    uuid=''
    [ -z "$number" ] || probe "/dev/$part" 0
    see_entry "$2" "$uuid" "$1"
    if [ "$entry" != right ]; then
        # Whoever had to unmount another one for the table is not sent to mount it again.
        case $advice in 'block mount'*) advice='' ;; *) ;; esac
        not_as_planned "fstab does not mount partition $4 of $3 at $1" "sh $this_script install --apply, then reboot"
    elif [ -n "$there" ]; then
        not_as_planned "something else is mounted at $1" "umount $1; block mount; then look at: logread | grep block"
    else
        not_as_planned "$1 is not partition $4 of $3" "block mount; then look at: logread | grep block"
    fi
}

tell_packages() { # - what the plan's owner asks for, and this system lacks; behind all else that is not as planned
    local name missing=''
    [ "$system" != unknown ] || return 0
    look_for_packages
    for name in $wanted_packages; do
        case "$told_missing " in *" $name "*) ;; *) missing="$missing $name" ;; esac
    done
    [ -n "$missing" ] || return 0
    name=$(install_line "$missing")
    not_as_planned "packages that the plan asks for are missing:$missing" "$name"
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
