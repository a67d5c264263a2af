# ---- library: the first start after a sysupgrade ---------------------------------------------------------------
#
# /etc/init.d/bootplan runs `first-start` behind all other services. Without a record of an upgrade it does nothing. The first
# start is that of the boot medium alone: it proves what it can see, makes the root on the disk fit the new firmware, points
# fstab at it and restarts, once. The second one runs from the disk and writes down how it went. A cut anywhere is
# repeated by the next start; a start that does not find the disk's root where it was pointed to stays where it is.

patience=300    # seconds to wait for a network and its package server
disk_seconds=15 # seconds to wait for a disk
root_told=ok    # what keeps the root from the disk, and what to type
root_way=''

action_first_start() { # - goes on with an upgrade where it is
    local state target
    state=$(upgrade_says state)
    case $state in flashed | pointed) ;; *) return 0 ;; esac
    apply=yes
    at='the first start after an upgrade'
    log_line "the first start of an upgrade, $state"
    prove_system
    if [ "$proof_version" != ok ]; then
        root_told='nobody looked at it'
        write_result
        return 0
    fi
    see_system
    target=$(upgrade_says method)
    if [ "$target" = internal ]; then
        close_upgrade
    elif [ "$system" = "$target" ]; then
        see_disk_root
        if [ "$root_told" != ok ]; then
            log_line "the upgrade is not done: $root_told"
            write_result
            exit_code=1
            return 0
        fi
        close_upgrade
    elif [ "$state" = pointed ]; then
        root_told="fstools did not take the root from the disk although fstab says so"
        root_way="dmesg | grep -e extroot -e nvme; then: sh $service_script status"
        write_result
    else
        move_to_disk
    fi
}

log_line() { # TEXT - to the system's log
    announce "$*"
}

proof_version=ok proof_env=ok # what prove_system() found

prove_system() { # - release, environment and packages are what they are to be
    local have want
    want=$(upgrade_says to)
    have=$(openwrt_says DISTRIB_RELEASE)
    [ "$have" = "$want" ] || proof_version="OpenWrt ${have:-of no version} runs, the upgrade was to $want"
    prove_env
    look_for_packages
    have=$missing_packages$wanted_packages
    log_line "release: $proof_version; environment: $proof_env; packages: ${have:-ok}"
}

see_env() { # - sets env_state, and $work/env when it is good
    : >"$work/env"
    plan_env
    env_state='not found'
    [ ! -s "$work/fw_env.config" ] || read_env
}

prove_env() { # - the environment is good and says what it said before
    local name have want
    see_env
    if [ "$env_state" != good ]; then
        proof_env="the U-Boot environment is $env_state"
        return 0
    fi
    for name in bootargs bootcmd; do
        have=$(env_value "$name")
        want=$(upgrade_says "$name")
        [ "$have" = "$want" ] || proof_env="$name is not what it was before"
    done
}

see_disk_root() { # - the system runs from the disk: from the plan's partition, finished, with modules of this kernel
    local disk kernel
    disk=$(disk_named "$root_disk")
    kernel=$(uname -r)
    see_running_state "$root_content"
    if [ "$system_block" != "${disk:-none}p$root_number" ]; then
        root_told="the root is on /dev/$system_block, not on partition $root_number of $root_disk"
    elif [ "$inside" != "complete $root_content" ]; then
        root_told="the root on the disk is not finished ($inside)"
    elif [ ! -d "/lib/modules/$kernel" ]; then
        root_told="the root on the disk has no modules for the kernel $kernel"
    elif [ -n "$stale" ]; then
        root_told="the root on the disk is $stale" root_way="$(how_to_fit)"
    fi
}

move_to_disk() { # - the disk's root made to fit, fstab pointed at it, and one restart
    # A root whose driver is not in the image is seen only when that is installed. The user's own packages have more room there.
    if [ "$upgrade_reinstall" = yes ] && [ -n "$missing_packages" ]; then
        reinstall "$missing_packages"
        look_for_packages
    fi
    # What status tells when this is cut, or fails half way: a disk that is full, for instance.
    root_told='the root on the disk was begun, and is not finished' root_way="what it said last is in $log; to go on: sh $service_script first-start"
    write_result
    root_told=ok root_way=''
    refit_root
    if [ "$root_told" != ok ]; then
        log_line "the root stays on the boot medium: $root_told"
        write_result
        [ "$reinstalled/$missing_packages" = ok/ ] || return 0
        # A driver may need a start of its own. The next one has nothing to install, and so does not come here again.
        log_line "packages were installed; restarting"
        go_down
        return 0
    fi
    mark_upgrade pointed
    log_line "the root on the disk fits the new system; restarting"
    go_down
}

go_down() { # - restarts
    let_others_end
    sync
    ended=yes # procd may end us before it comes back
    reboot    # the last word
}

close_upgrade() { # - nothing is left but packages
    local lost
    lost=$(packages_lost)
    if [ "$upgrade_reinstall" = yes ] && [ -n "$missing_packages$wanted_packages$lost" ]; then
        reinstall "$missing_packages$wanted_packages$lost"
        look_for_packages
    fi
    # In this order: who finds it done finds the result, too.
    write_result
    mark_upgrade 'done'
    log_line "the upgrade is done"
}

reinstalled='' # what became of packages that were to be installed

reinstall() { # NAMES - installs them one by one, as soon as there is a network: one that is not in the feeds any more keeps no other out
    local now end name left=$1 failed updated
    now=$(uptime_now)
    end=$((now + patience))
    log_line "installing:$1"
    while [ "$now" -lt "$end" ]; do
        updated=yes failed=''
        if command -v apk >/dev/null; then
            apk update >>"$log" 2>&1 6>&- 8>&- 9>&- || updated=no
        else
            opkg update >>"$log" 2>&1 6>&- 8>&- 9>&- || updated=no
        fi
        for name in $left; do
            if [ "$updated" = no ]; then
                failed=$left
                break
            elif command -v apk >/dev/null; then
                apk add "$name" >>"$log" 2>&1 6>&- 8>&- 9>&- || failed="$failed $name"
            else
                opkg install "$name" >>"$log" 2>&1 6>&- 8>&- 9>&- || failed="$failed $name"
            fi
        done
        left=$failed
        if [ -z "$left" ]; then
            reinstalled=ok
            return 0
        fi
        sleep 10
        now=$(uptime_now)
    done
    reinstalled="could not be installed within $patience s:$left; see $log"
}

write_result() { # - what `status` tells: /etc/bootplan/last-upgrade, on the root that runs
    local text='' date key
    date=$(date +%Y-%m-%dT%H:%M:%S)
    for key in id from to settings backup; do
        text="$text$key $(upgrade_says "$key")$newline"
    done
    text="${text}date $date${newline}version $proof_version${newline}env $proof_env${newline}root $root_told"
    [ -z "$root_way" ] || text="$text${newline}way $root_way"
    [ -z "$reinstalled" ] || text="$text${newline}reinstalled $reinstalled"
    for key in $missing_packages $wanted_packages; do
        text="$text${newline}package $key"
    done
    write_file "$env_copies/last-upgrade" "$text"
}

last_says() { # KEY - what the first start wrote down; a line for each
    [ ! -e "$env_copies/last-upgrade" ] || sed -n "s/^$1 //p" "$env_copies/last-upgrade"
}

# ---- status

tell_upgrade() { # - the last upgrade, and what is left to do of it
    local state from to date key text way lost have
    [ "$slots_kind" = none ] || return 0
    state=$(upgrade_says state)
    from=$(last_says from)
    to=$(last_says to)
    date=$(last_says date)
    way="sh $service_script first-start"
    text=$(upgrade_says to)
    see_waiting
    if [ "$waiting" = yes ]; then
        not_as_planned "the upgrade to $text has not come to its end" "wait for the first start to end; after that: $way"
    elif [ "$state" = flashed ]; then
        way=$(how_to_fit)
        [ "$root_content" != internal ] || way="rm $env_copies/upgrade"
        not_as_planned "an upgrade to $text was not finished, and another firmware runs" "$way"
    fi
    [ -n "$to" ] || return 0
    text=$(last_says version)
    have=$(openwrt_says DISTRIB_RELEASE)
    [ "$text" != ok ] || [ "$have" = "$to" ] || return 0 # another firmware was flashed since
    tell upgraded "from $from to $to on $date"
    for key in version env root; do
        text=$(last_says "$key")
        case $key/$text/$system/$root_content in
            root/ok/internal/internal) ;;
            root/ok/internal/*) # tell_root told where it is
                tell upgrade-root "ok, of the boot medium alone; the root on the disk was no part of it"
                continue
                ;;
            *) ;;
        esac
        tell "upgrade-$key" "$text"
        [ "$key" != root ] || way=$(last_says way)
        [ "$text" = ok ] || not_as_planned "after the upgrade: $text" "${way:-look at logread | grep bootplan}"
    done
    text=$(last_says settings)
    way=$(last_says backup)
    [ "$text" != drop ] || tell upgrade-settings "left behind; they are in the backup that was made in $way: sh $service_script restore BACKUP tells what of them fits here; set a password"
    last_says package >"$work/recorded"
    lost=$(not_installed)
    if [ -n "$lost" ]; then
        text=$(install_line "$lost")
        not_as_planned "packages of the plan are missing:$lost" "$text"
        told_missing=$lost
    fi
    text=$(packages_lost)
    if [ -n "$text" ]; then
        lost=$(install_line "$text")
        tell upgrade-packages "not in the new system:$text; to have them: $lost"
    elif [ -z "$lost" ]; then
        tell upgrade-packages ok
    fi
}
