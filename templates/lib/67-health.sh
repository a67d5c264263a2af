# ---- library: a slot on trial has to prove itself -----------------------------------------------------------
#
# /etc/init.d/bootplan runs `health` behind all other services: when all checks pass within the window the slot is confirmed,
# else the router restarts, and U-Boot counts. /etc/init.d/bootplan-deadman, before all others, restarts it by force
# when nothing was decided until then. Outside a trial neither changes anything but what a crash left behind.

service_script=/etc/bootplan/bootplan.sh # this very script, as the services run it
checks_folder=/etc/bootplan/checks.d     # the owner's own checks: each must end with 0
crash_folder=/etc/bootplan/crash         # crash records, moved out of RAM
health_checks=''                         # which of the built-in checks the plan wants
failing=''                               # the checks that did not pass

check_health() { # NAME... - the built-in checks of the plan
    health_checks="$*"
}

# ---- the services

install_service() { # - the services, in the system that runs
    [ "$phase" = change ] || return 0
    if [ -e "$service_script" ] && cmp -s "$0" "$service_script" && [ -x /etc/init.d/bootplan ] && [ -x /etc/init.d/bootplan-deadman ] &&
        [ -L /etc/rc.d/S99bootplan ] && [ -L /etc/rc.d/S00bootplan-deadman ]; then
        so "the health service"
    else
        run furnish ''
    fi
    keep_over_sysupgrade ''
}

furnish() { # FOLDER - this script and its services, enabled, in the system below FOLDER; the second one is for slots
    local disabled=$1/etc/uci-defaults/10_disable_services
    mkdir -p "$1${service_script%/*}" "$1$checks_folder" "$1/etc/init.d" "$1/etc/rc.d"
    # What sysupgrade -b writes for the first start: a service that was off would be off there, and nothing would go on.
    [ -z "$1" ] || [ ! -e "$disabled" ] || sed -i '/\/bootplan\(-deadman\)\{0,1\} disable/d' "$disabled"
    cat "$0" >"$1$service_script.new"
    fsync "$1$service_script.new"
    mv "$1$service_script.new" "$1$service_script"
    if [ "$slots_kind" = none ]; then
        service_text 99 first-start >"$work/service"
    else
        service_text 99 health >"$work/service"
    fi
    put_service "$1/etc/init.d/bootplan"
    ln -sf ../init.d/bootplan "$1/etc/rc.d/S99bootplan"
    [ "$slots_kind" != none ] || return 0
    service_text 00 deadman >"$work/service"
    put_service "$1/etc/init.d/bootplan-deadman"
    ln -sf ../init.d/bootplan-deadman "$1/etc/rc.d/S00bootplan-deadman"
}

put_service() { # FILE - $work/service as an executable file, wholly or not at all
    cat "$work/service" >"$1.new"
    chmod 755 "$1.new"
    fsync "$1.new"
    mv "$1.new" "$1"
}

service_text() { # START ACTION - a boot script that runs this action of the script in the background
    cat <<END
#!/bin/sh /etc/rc.common
# Made by bootplan: does nothing unless a slot is on trial or failed, or an upgrade is to be finished.
START=$1

start()
{
	[ ! -e $service_script ] || sh $service_script $2 </dev/null >/dev/null 2>&1 &
}
END
}

keep_over_sysupgrade() { # FOLDER - a sysupgrade, and an upgrade, of the system below FOLDER keep the services and what the plan wants kept
    local file=$1/etc/sysupgrade.conf path
    conf_with_ours "$1"
    path=$(cat "$work/conf")
    cmp -s "$work/conf" "$file" || run write_file "$file" "$path"
}

conf_with_ours() { # FOLDER - $work/conf: /etc/sysupgrade.conf of the system below FOLDER with what is to be in it
    local file=$1/etc/sysupgrade.conf path deadman=''
    [ "$slots_kind" = none ] || deadman="/etc/init.d/bootplan-deadman$newline/etc/rc.d/S00bootplan-deadman"
    : >"$work/conf"
    [ ! -e "$file" ] || awk 1 "$file" >"$work/conf" # its last line may have no end
    while IFS= read -r path; do
        [ -z "$path" ] || grep -qxF "$path" "$work/conf" || printf '%s\n' "$path" >>"$work/conf"
    done <<END
/etc/bootplan/
/etc/init.d/bootplan
/etc/rc.d/S99bootplan
$deadman
$kept
END
}

# ---- the health of a system that has just started

quietly() { # NAME - no lock: this waits for minutes, and the owner may want to look or to decide meanwhile
    # A name that nobody else can have made before.
    work=$(mktemp -d "/tmp/bootplan-$1.XXXXXX")
    log=$work/log
    mkdir "$work/uci"
    trap '' HUP PIPE INT
    : >"$work/env"
    plan_env
    env_state='not found'
    [ ! -s "$work/fw_env.config" ] || read_env
    see_slots
}

decided=no # what see_decision() found

see_decision() { # - decided=yes only when an environment that can be read says that this slot is not on trial
    local good
    decided=no
    read_env
    good=$(env_value bp_good)
    slot_try=$(env_value bp_try)
    [ "$env_state" != good ] || [ -z "$good" ] || [ "$slot_try" = "$slot_told" ] || decided=yes
}

announce() { # TEXT - to the system's log
    local line
    line=$(printf '%s' "$*" | printable)
    logger -t bootplan "$line" || true
    say "$line"
}

action_health() { # - decides a trial; after one that failed, and after a crash, puts things in order
    local fell
    quietly health
    [ -n "$slot_told" ] || return 0
    if [ "$on_trial" = yes ] && { [ "$env_state" != good ] || [ "$slot_try" = "$slot_told" ]; }; then
        prove_slot
        return 0
    fi
    [ "$env_state" = good ] || return 0
    fell=$(env_value bp_fell)
    if [ "$slot_try" = "$slot_told" ]; then
        : # a trial, but not of this start
    elif [ -n "$slot_try" ] && [ "$slot_left/$fell" = "$slots_tries/" ]; then
        : # none of its tries was made: it was ordered since this start
    elif [ -n "$slot_try" ] && [ "$slot_told" = "$slot_good" ]; then
        close_failed_trial
    elif [ -z "$slot_try" ]; then
        close_crash
    fi
}

prove_slot() { # - checks again and again; confirms when all pass, restarts when the window is over
    local end now
    archive_crash # of the try before this one
    now=$(uptime_now)
    end=$((now + slots_within))
    announce "slot $slot_told is on trial; checking: $health_checks"
    while [ "$now" -lt "$end" ]; do
        see_decision
        [ "$decided" = no ] || return 0 # by somebody else meanwhile
        run_checks
        if [ -z "$failing" ]; then
            if (sh "$0" confirm --apply); then
                announce "slot $slot_told is healthy and confirmed"
                return 0
            fi
            failing=' confirm'
        fi
        sleep 5
        now=$(uptime_now)
    done
    give_up "${failing# }"
    reboot
}

uptime_now() { # - whole seconds since the start: the clock may jump
    local seconds
    read -r seconds </proc/uptime
    seconds=${seconds%% *}
    printf '%s' "${seconds%%.*}"
}

run_checks() { # - sets failing: the names of the checks that do not pass, each with a blank before it
    local name file
    failing=''
    for name in $health_checks; do
        (
            set +e
            "healthy_$name"
        ) >>"$log" 2>&1 </dev/null || failing="$failing $name"
    done
    for file in "$checks_folder"/*; do
        { [ -x "$file" ] && [ -f "$file" ]; } || continue
        "$file" >>"$log" 2>&1 </dev/null || failing="$failing ${file##*/}"
    done
}

healthy_root() { # - the root is the slot's own, finished, for this firmware, with modules for this kernel, and can be written
    local kernel here
    kernel=$(uname -r)
    see_system
    here=$(slot_of_root)
    see_running_state "$slots_method"
    [ "$here/$inside/$stale" = "$slot_told/complete $slots_method/" ] && [ -d "/lib/modules/$kernel" ] && touch "$env_copies/writable" && rm "$env_copies/writable"
}

healthy_lan() { # - the interface lan is up
    interface_up lan
}

healthy_wan() { # - one of the interfaces wan and wan6 is up
    interface_up wan wan6
}

interface_up() { # NAME... - one of these is up, says netifd
    local name told
    for name; do
        told=$(ubus call "network.interface.$name" status) || told=''
        case $told in *'"up": true'*) return 0 ;; *) ;; esac
    done
    return 1
}

healthy_dns() { # - the router's own resolver finds a name
    nslookup openwrt.org 127.0.0.1 >"$work/answer"
    grep -q '^Name:' "$work/answer" # it ends with 0 also without any address
}

healthy_ssh() { # - something accepts connections on the port of the SSH server
    local port
    port=$(uci -q get 'dropbear.@dropbear[0].Port') || port=22
    port=$(printf '%04X' "$port")
    cat /proc/net/tcp /proc/net/tcp6 >"$work/sockets"
    awk -v port=":$port" '$4 == "0A" && index($2, port) { found = 1 } END { exit !found }' "$work/sockets"
}

give_up() { # WHY - notes it where the good slot finds it
    announce "slot $slot_told gives up: $1"
    # Without a good environment fw_setenv would save its own defaults, which start nothing here.
    [ "$env_state" = good ] || return 0
    # Whatever becomes of it, the router restarts.
    set +e
    (
        set -e
        apply=yes phase=change
        change_env bp_why "$1"
    )
    set -e
}

action_deadman() { # - restarts a trial that nothing decided
    local guard
    quietly deadman
    [ "$on_trial" = yes ] || return 0
    sleep "$slots_deadman"
    # What follows runs programs from a disk that may hang: the kernel restarts without any in a minute.
    {
        sleep 60
        echo b >/proc/sysrq-trigger
    } &
    guard=$!
    see_decision
    if [ "$decided" = yes ]; then
        kill "$guard"
        return 0
    fi
    give_up "nothing was decided within $slots_deadman seconds"
    sync &
    sleep 10
    reboot -n -f
}

close_failed_trial() { # - this is the good slot, after a trial that failed: why, and no trial any more
    local why records date failed=$slot_try
    why=$(env_value bp_why)
    # First of all: U-Boot counts the starts until then, and a full or read-only file system must not keep it counting.
    apply=yes
    end_trial_here
    records=$(archive_crash)
    [ -z "$records" ] || why="${why:+$why; }a crash ($records)"
    [ -n "$why" ] || why='it never came far enough to be checked'
    date=$(date +%Y-%m-%dT%H:%M:%S)
    announce "the trial of slot $failed failed: $why"
    write_file "$env_copies/last-trial" "slot $failed${newline}why $why${newline}seen $date"
}

end_trial_here() { # - as end_trial, with nobody to read the steps
    phase=change
    change_env bp_try '' bp_left '' bp_fell '' bp_why '' bp_crashes ''
}

close_crash() { # - no trial: a crash record is moved out of RAM; the count of crashes ends when this system has proved to stay
    local records
    records=$(archive_crash)
    [ -z "$records" ] || announce "a crash was recorded: $records"
    records=$(env_value bp_crashes)
    [ -n "$records" ] || return 0
    sleep "$slots_within"
    read_env
    apply=yes phase=change
    change_env bp_crashes ''
}

archive_crash() { # - moves crash records to /etc/bootplan/crash, which keeps the last three; prints their names
    local record name date
    date=$(date +%Y%m%d-%H%M%S)
    for record in /sys/fs/pstore/*; do
        [ -e "$record" ] || continue
        mkdir -p "$crash_folder" || true
        name=$date-${record##*/}
        # Also where it cannot be kept: a record that stays in RAM sends this system to recovery at the next restart.
        head -c 65536 "$record" >"$crash_folder/$name" && fsync "$crash_folder/$name" || name="$name, not kept"
        rm "$record"
        printf '%s ' "$name"
    done
    # Their names begin with the date: the oldest come first.
    set -- "$crash_folder"/*
    while [ "$#" -gt 3 ]; do
        rm -f "$1"
        shift
    done
}
