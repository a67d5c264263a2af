# ---- library: slots onto a running system ---------------------------------------------------------------
#
# The system that runs becomes the first slot, as `install` without slots would copy it; the other one stays empty until
# the first upgrade. U-Boot learns of the slots last, by one write.

slots_active=no # yes when the environment already has slots

first_slot() { # - which slot the running system becomes: a, but b where a pair is left of slots that were given up
    local letter
    letter=$(volume_named fit_a)
    letter=$letter$(volume_named rootfs_data_a)
    if [ "$slots_kind" = pair ] && [ -n "$letter" ]; then printf 'b'; else printf 'a'; fi
}

need_place_for_slots() { # - the system that runs can become a slot, or already is one
    local first way
    [ "$console" = no ] || refuse "--console cannot be used with slots: the script itself decides by writing the environment"
    [ -s "$work/env" ] || return 0 # need_env told it
    see_slots
    case $slot_good in
        a | b)
            slots_active=yes
            if [ "$system/$slot_told" = internal/ ]; then
                restart=yes # slots are installed, and U-Boot has not started one yet
            else
                need_slots
                need_fitting_slot
            fi
            return 0
            ;;
        *) ;;
    esac
    first=$(first_slot)
    case $system/$slot_running in
        internal/* | */"$first") say "  the running system becomes slot $first" ;;
        unknown/*) refuse "this is no installed system (recovery, or settings that live in RAM only); start the production system first" ;;
        *)
            if [ -n "$slot_told" ]; then
                refuse "the system runs from slot $slot_told, and the slots were given up: restart the router first"
                return 0
            fi
            way=$(way_back)
            refuse "the system runs from /dev/${system_block:-something unknown} ($system); start it from the boot medium alone first: $way"
            ;;
    esac
}

need_stock_bootargs() { # TEXT - bootargs are the medium's own, so that the stock system still starts when the slots are left
    local have
    [ -s "$work/env" ] || return 0 # need_env told it
    have=$(env_value bootargs)
    [ "$have" = "$1" ] || refuse "bootargs is '$have', not the medium's own '$1'; put that back first (restore-env FILE)"
}

need_watchdog() { # - procd feeds a watchdog that restarts a router which hangs
    local told
    told=$(ubus call system watchdog 2>/dev/null) || told=''
    case $told in
        *'"status": "running"'*) ;;
        *) refuse "procd runs no watchdog here (ubus call system watchdog): a trial that hangs would hang for ever" ;;
    esac
}

make_slot() { # SLOT - the file system of that slot's partition
    local first
    use_slot "$1"
    if [ "$slots_active" = yes ]; then
        [ "$phase" = look ] || so "slot $1 is on partition $slot_number of $slot_disk"
        return 0
    fi
    first=$(first_slot)
    if [ "$1" = "$first" ]; then
        make_filesystem "$slot_disk" "$slot_number" "$slot_kind" "$slot_label" "$slots_method"
    else
        make_filesystem "$slot_disk" "$slot_number" "$slot_kind" "$slot_label" idle
    fi
}

judge_idle() { # PART KIND - the file system is ours by kind and label; may the next upgrade replace what it holds?
    look_inside "$1" "$2"
    case $inside in
        empty | unfinished | unread* | "complete $slots_method" | 'in use') verdict=keep ;;
        'a '*) verdict=keep ;; # a damaged one with the slot's own name: an upgrade makes it anew
        *) verdict=$inside ;;
    esac
}

copy_to_slot() { # - the running system onto the first slot's partition
    local first
    first=$(first_slot)
    use_slot "$first"
    if [ "$slots_active" = yes ]; then
        [ "$phase" = look ] || so "the system is in a slot"
        return 0
    fi
    copy_system "$slot_disk" "$slot_number" "$slot_kind" "$slot_label" "$slots_method"
}

overlay_from_slot() { # - fstools takes the overlay from the first slot's partition
    local first
    [ "$slots_active" = no ] || return 0
    first=$(first_slot)
    use_slot "$first"
    root_from_disk /overlay "$slot_disk" "$slot_number" "$slot_label"
}

copy_kernel() { # FIRMWARE - the kernel that runs, into the first slot's place of so many bytes
    local from to='' first
    [ "$slots_active" = no ] || return 0
    first=$(first_slot)
    if [ "$slot_told" = "$first" ]; then # slots that were given up, and not restarted since: it runs from there
        [ "$phase" = look ] || so "the kernel that runs is in slot $first"
        return 0
    fi
    from=$(volume_named fit)
    [ "$plan_medium" = nand ] || from=$(card_part_named production)
    if [ -z "$from" ]; then
        refuse "the place of the running kernel is not found"
        return 0
    fi
    see_fit "/dev/$from"
    if [ "$fit_bytes" -eq 0 ]; then
        refuse "/dev/$from holds no FIT with one squashfs"
        return 0
    elif [ "$fit_bytes" -gt "$1" ]; then
        refuse "the kernel that runs has $fit_bytes bytes, the plan has room for $1 in a slot"
        return 0
    fi
    [ "$phase" = change ] || return 0
    case $slots_kind in
        volume) to=$(volume_named fit_a) ;;
        *) to=$(card_part_named fit_a) ;;
    esac
    if [ "$apply" = no ]; then
        run write_kernel "/dev/$from" "$fit_bytes" "${to:-fit_a}"
    else
        write_kernel "/dev/$from" "$fit_bytes" "$to"
    fi
}

record_first_slot() { # - what is known of the system that becomes a slot
    local first from version sum
    [ "$phase" = change ] && [ "$slots_active" = no ] || return 0
    first=$(first_slot)
    [ "$slot_told" != "$first" ] || return 0 # it has its record, and its kernel need not be the stock one
    from=$(volume_named fit)
    [ "$plan_medium" = nand ] || from=$(card_part_named production)
    see_fit "/dev/$from"
    sum=$(sum_of "/dev/$from" "$fit_bytes")
    version=$(openwrt_says DISTRIB_RELEASE)
    # In the copy it is read from, so it is written before the copy is made.
    if [ -e "$env_copies/slot-$first" ]; then
        have=$(slot_says "$first" sha256)
        [ "$have" != "$sum" ] || {
            so "the record of slot $first"
            return 0
        }
    fi
    run record_slot '' "$first" complete "$version" "$sum" "$fit_bytes"
}

uboot_variable() { # NAME VALUE - one of the commands U-Boot gets
    printf '%s %s\n' "$1" "$2" >>"$work/chooser"
}

choose_slots() { # - U-Boot chooses between the slots from the next start on
    local boot first name value have
    [ "$phase" = change ] || return 0
    first=$(first_slot)
    [ "$slots_active" = no ] || first=$slot_good
    boot=$(env_value bootcmd)
    boot=${boot#"$chooser_first"}
    : >"$work/chooser"
    plan_chooser
    if [ "$slots_method" = root ]; then
        root_variable a
        root_variable b
    fi
    uboot_variable bp_good "$first"
    uboot_variable bootcmd "$chooser_first$boot"
    env_change=no
    while read -r name value; do
        have=$(env_value "$name")
        [ "$have" = "$value" ] || env_change=yes
    done <"$work/chooser"
    cp "$work/chooser" "$work/env.new"
    if [ "$env_change" = no ]; then
        so "U-Boot chooses between the slots"
        write_change
        return 0
    fi
    [ "$apply" = no ] || boots="slot $first, or as before if the environment was not written any more"
    write_change
    [ "$apply" = no ] || boots="slot $first"
}

root_variable() { # SLOT - the PARTUUID that the kernel finds that slot's root by
    local disk id
    use_slot "$1"
    disk=$(disk_named "$slot_disk")
    id=$(part_uuid "$disk" "$slot_number")
    uboot_variable "bp_root_$1" "$id"
}

save_env_before_slots() { # - a copy of the whole environment in /etc/bootplan, unless it already has slots
    [ "$phase" = change ] && [ "$slots_active" = no ] || return 0
    keep_env
}
