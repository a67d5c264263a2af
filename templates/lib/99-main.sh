# ---- library: actions and the command line ---------------------------------------------------------------

exit_code=0

usage() { # - how to call this script
    cat <<END
$plan_name: a boot plan for this router, made by bootplan $plan_version

  sh $this_script check                      look at everything, change nothing
  sh $this_script install                    rehearsal: show each change, make none
  sh $this_script install --apply            do it; a disk that holds something also needs --wipe SERIAL
  sh $this_script status [--json]            is root where the plan wants it? if not, why, and what to do
  sh $this_script backup FOLDER              save environment, tables and settings: one archive in a folder that is not in RAM
  sh $this_script backup USER@HOST:FOLDER    the same on another computer, by ssh
  sh $this_script restore ARCHIVE [--apply]  what a backup would change here; then do it
  sh $this_script restore-env FILE [--apply] put a saved U-Boot environment back
  sh $this_script upgrade IMAGE [--apply]    by sysupgrade, and the root on the disk with it; slots: into the one that does not run
  sh $this_script upgrade --list             what an upgrade would keep, and what it would not
  sh $this_script upgrade --refit [--apply]  after a sysupgrade by hand: the root on the disk made to fit, with its files
  sh $this_script upgrade --clean [--apply]  what earlier upgrades left
  sh $this_script switch [SLOT] [--apply]    slots: the other one on trial, as it is
  sh $this_script confirm [--apply]          slots: the one on trial is good (its health check does so by itself)
  sh $this_script rollback [--apply]         slots: no trial any more; when there is none, the other one on trial
  sh $this_script rollback --stock [--apply] slots: none any more, U-Boot starts the stock way
  sh $this_script make-sd DEVICE [--apply]   on a PC or the router: the plan's fallback card, with a rescue kit
  sh $this_script check-sd DEVICE            is that card whole, of which release, how old?
  sh $this_script reflash PART [FOLDER] [--apply]   the boot loader: fip, bl2, emmc or nand, from the plan's files in FOLDER
  sh $this_script prove-fallback [--apply]   on a system started from that card: the normal one knows it from then on
  sh $this_script checklist [--json]         what there is to do for this plan; what the router can see is ticked

  --apply        change things (without it an action is a rehearsal)
  --wipe SERIAL  what the disk with this serial number holds may be lost where it is in the way
  --recopy       with --wipe: copy the system again although a finished copy is there
  --sha256 HEX   the SHA-256 of IMAGE, from the release's sha256sums, when the plan does not say it
  --backup WHERE    upgrade: where the backup goes, when the plan does not say it: a folder, or USER@HOST:FOLDER
  --drop-settings   upgrade: the settings stay behind, as between 24.10 and 25.12 they have to
  --in-place     reflash: write where a power cut leaves a router that has to be started from another medium
  --image FILE   make-sd: the card's image, when it is neither here nor beside this script
  --kit FOLDER   make-sd: the backup that goes into the rescue kit, too
  --with-network restore: network and wireless, too, although they are of another generation of settings
  --no-env       restore: leave the U-Boot environment as it is
  --seen DATE RELEASE   prove-fallback, on the normal system: what it printed on the card's
  --console      for root= plans: leave the U-Boot environment alone, print the lines for its console

ends with 0 done, or already so; 1 a step failed (status: not as planned); 2 wrong usage;
3 refused, nothing was changed; 130, 143 stopped by a signal
END
}

misused() { # TEXT... - wrong usage: 2
    printf '%s: %s; sh %s --help tells how to call it\n' "${0##*/}" "$*" "$this_script" >&2
    exit 2
}

look_at_plan() { # - the first walk: everything is looked at, all reasons not to begin are told
    plan_look
    plan_install
    need_wipe_to_fit
    stop_if_refused
}

look_at_slots() { # - the same for every decision about slots
    local way
    if [ "$slots_kind" = none ]; then
        way=$(leave_old_slots)
        refuse "this plan has no slots${way:+, but U-Boot chooses between those of another one; to leave them: $way}"
    else
        plan_decide
        if [ "$stock" = yes ]; then need_slots_to_leave; else need_slots; fi
    fi
}

finish() { # TEXT - the last words of an action that changes something
    at='the last words'
    if [ "$changes" -eq 0 ]; then
        say "it is already so; nothing was changed"
    elif [ "$apply" = no ]; then
        say "rehearsal: $changes changes shown, none made; to make them add --apply"
    else
        say "done. $1"
    fi
}

action_check() { # - all looks of install
    look_at_plan
    recovery_noted
    say "nothing stands in the way of: sh $this_script install"
}

action_install() { # - both walks
    local meanwhile=''
    look_at_plan
    if [ -n "$room_missing" ]; then
        make_room
        return 0
    fi
    phase=change
    plan_install
    at='the last words'
    if [ "$at_console" = yes ] && [ "$apply" = yes ]; then
        say "done, but for the lines above: type them, then: sh $this_script status"
    elif [ "$changes" -eq 0 ] && [ "$at_console" = no ]; then
        say "everything${wanted_packages:+ but the packages above} is already as the plan says; nothing was changed"
        [ "$restart" = no ] || {
            printf '%s\n' "$plan_digest" >"$just_installed"
            say "the router does not run from it yet: restart it, then: sh $this_script status"
        }
    elif [ "$apply" = no ]; then
        say "rehearsal: $changes changes shown, none made; to make them add --apply"
    else
        printf '%s\n' "$plan_digest" >"$just_installed"
        recovery_noted
        wanted_noted
        [ "$copy_wanted/$restart" = no/no ] || meanwhile=' (what is changed here until then is not in the copy)'
        say "done. Restart the router$meanwhile, then: sh $this_script status"
    fi
}

action_status() { # - proof of where root is
    plan_status
    tell_packages
    plan_checklist
    tell_fallback
    print_status
}

action_upgrade() { # IMAGE - a new system into the idle slot, and on trial
    local have
    if [ "$slots_kind" = none ]; then
        action_sysupgrade "$1"
        return 0
    fi
    image=$1
    look_at_slots
    stop_if_refused
    need_no_trial_here
    stop_if_refused
    plan_upgrade_look
    need_room_for_settings
    stop_if_refused
    phase=change
    have=$(slot_says "$slot_idle" state)
    have="$have "$(slot_says "$slot_idle" sha256)
    if [ "$slot_try/$have" = "$slot_idle/complete $image_sum" ]; then
        so "slot $slot_idle holds this very image, and is on trial"
    else
        plan_upgrade
    fi
    finish "Restart the router: slot $slot_idle starts on trial, and is kept when its checks pass; else slot $slot_good comes back by itself."
}

action_switch() { # [SLOT] - the idle slot on trial, as it is
    look_at_slots
    stop_if_refused
    case ${1:-$slot_idle} in
        "$slot_idle") ;;
        "$slot_running")
            [ -z "$slot_try" ] || refuse "slot $slot_running runs; to end the trial of slot $slot_try: sh $this_script rollback"
            stop_if_refused
            so "slot $1 runs"
            finish ''
            return 0
            ;;
        *) refuse "there is no slot '$1': write a or b" ;;
    esac
    need_no_trial_here
    need_whole "$slot_idle"
    need_idle_root
    stop_if_refused
    phase=change
    begin_trial
    finish "Restart the router: slot $slot_idle starts on trial, and is kept when its checks pass; else slot $slot_good comes back by itself."
}

action_confirm() { # - the slot that runs on trial is the good one
    look_at_slots
    stop_if_refused
    if [ "$slots_method/$system" = overlay/internal ]; then
        refuse "slot $slot_running runs without its overlay on the disk"
    elif [ -n "$slot_try" ] && [ "$slot_try" != "$slot_running" ]; then
        refuse "slot $slot_try is on trial, but slot $slot_running runs; only a slot that runs can be confirmed"
    elif [ -z "$slot_try" ] && [ "$slot_running" != "$slot_good" ]; then
        refuse "slot $slot_running runs without being on trial, slot $slot_good is the good one; restart the router first"
    fi
    stop_if_refused
    phase=change at='confirming the trial'
    confirm_trial
    finish "Slot $slot_running is the good one."
}

action_rollback() { # - back to the good slot; when there is no trial, to the other slot, on trial
    look_at_slots
    stop_if_refused
    if [ "$stock" = yes ]; then
        rollback_to_stock
    elif [ -n "$slot_try" ]; then
        phase=change at='ending the trial'
        end_trial
        finish "The next start is slot $slot_good's."
    else
        action_switch ''
    fi
}

rollback_to_stock() { # - no slots any more
    if [ -n "$slot_running" ]; then
        [ -z "$slot_try" ] || refuse "slot $slot_try is on trial; first: sh $this_script rollback --apply, or: sh $this_script confirm --apply"
        [ "$slot_running" = "$slot_good" ] ||
            refuse "slot $slot_good is the good one, but slot $slot_running runs; restart the router first"
    fi
    stop_if_refused
    phase=change at='leaving the slots'
    [ "$apply" = no ] || boots="the stock way, or slot $slot_good if the environment was not written any more"
    leave_slots
    finish "U-Boot starts the stock way from the next start on. What is in the slots stays where it is."
}

main() { # ACTION [WORD]... - the command line
    set -eu
    umask 022
    export PATH=/usr/sbin:/usr/bin:/sbin:/bin
    local action='' operand='' operands=0 first=''
    [ "$0" != "$service_script" ] || this_script=$service_script
    while [ "$#" -gt 0 ]; do
        case $1 in
            -h | --help)
                usage
                exit 0
                ;;
            --apply) apply=yes ;;
            --recopy) recopy=yes ;;
            --console) console=yes ;;
            --json) json=yes ;;
            --stock) stock=yes ;;
            --list) upgrade_word="${upgrade_word}list" ;;
            --refit) upgrade_word="${upgrade_word}refit" ;;
            --clean) upgrade_word="${upgrade_word}clean" ;;
            --drop-settings) drop_settings=yes upgrade_settings=drop ;;
            --backup)
                { [ "$#" -ge 2 ] && [ -n "$2" ]; } || misused "--backup needs a folder, or USER@HOST:FOLDER"
                backup_wanted=$2
                shift
                ;;
            --in-place) in_place=yes ;;
            --with-network) with_network=yes ;;
            --no-env) no_env=yes ;;
            --sha256)
                [ "$#" -ge 2 ] || misused "--sha256 needs 64 hexadecimal digits in small letters"
                case $2 in
                    *[!0-9a-f]*) misused "--sha256 needs 64 hexadecimal digits in small letters" ;;
                    *) [ "${#2}" -eq 64 ] || misused "--sha256 needs 64 hexadecimal digits in small letters" ;;
                esac
                wanted_sum=$2 given_sum=$2
                shift
                ;;
            --image)
                { [ "$#" -ge 2 ] && [ -n "$2" ]; } || misused "--image needs a file"
                image_wanted=$2
                shift
                ;;
            --kit)
                { [ "$#" -ge 2 ] && [ -n "$2" ]; } || misused "--kit needs a backup"
                kit_wanted=$2
                shift
                ;;
            --seen)
                { [ "$#" -ge 3 ] && [ -n "$2" ]; } || misused "--seen needs a date and a release"
                seen_date=$2 seen_release=$3
                shift 2
                ;;
            --wipe)
                { [ "$#" -ge 2 ] && [ -n "$2" ]; } || misused "--wipe needs the disk's serial number"
                wipe="$wipe$newline$2"
                shift
                ;;
            -*) misused "unknown option '$1'" ;;
            *)
                if [ -z "$action" ]; then
                    action=$1
                else
                    operand=$1
                    operands=$((operands + 1))
                    [ -n "$first" ] || first=$1
                fi
                ;;
        esac
        shift
    done
    check_usage "$action" "$operands" "$first"
    plan_slots
    case $action in
        health | deadman)
            "action_$action"
            exit 0
            ;;
        *) ;;
    esac
    begin "$action"
    case $action in
        check) action_check ;;
        install) action_install ;;
        status) action_status ;;
        backup) action_backup "$operand" ;;
        restore) action_restore "$operand" ;;
        restore-env) action_restore_env "$operand" ;;
        upgrade)
            case $upgrade_word in
                list) action_upgrade_list ;;
                refit) action_upgrade_refit ;;
                clean) action_upgrade_clean ;;
                *) action_upgrade "$operand" ;;
            esac
            ;;
        first-start) action_first_start ;;
        switch) action_switch "$operand" ;;
        confirm) action_confirm ;;
        rollback) action_rollback ;;
        make-sd) action_make_sd "$operand" ;;
        check-sd) action_check_sd "$operand" ;;
        reflash)
            [ "$operands" -eq 2 ] || operand=/tmp
            action_reflash "$first" "$operand"
            ;;
        prove-fallback) action_prove_fallback ;;
        checklist) action_checklist ;;
        *) ;;
    esac
    ended=yes
    exit "$exit_code"
}

check_usage() { # ACTION OPERANDS FIRST - the action exists, and has the options and the operands it takes
    local wanted=0
    case $1 in
        check | install | status | confirm | rollback | health | deadman | first-start | prove-fallback | checklist) ;;
        upgrade) [ -n "$upgrade_word" ] || wanted=1 ;;
        backup | restore | restore-env | make-sd | check-sd) wanted=1 ;;
        switch) [ "$2" -gt 1 ] || wanted=$2 ;;
        reflash)
            case $3 in fip | bl2 | nand | emmc) ;; *) misused "reflash takes one of fip, bl2, nand and emmc" ;; esac
            wanted=1
            [ "$2" -ne 2 ] || wanted=2
            ;;
        '') misused "an action is needed" ;;
        *) misused "unknown action '$1'" ;;
    esac
    [ "$2" -eq "$wanted" ] || misused "$1 takes $wanted operands, not $2"
    case $1/$apply in install/* | restore/* | restore-env/* | upgrade/* | switch/* | confirm/* | rollback/* | prove-fallback/* | reflash/* | make-sd/* | */no) ;; *) misused "$1 takes no --apply" ;; esac
    case $1/$json in status/* | checklist/* | */no) ;; *) misused "$1 takes no --json" ;; esac
    case $1/$recopy$console in install/* | check/* | */nono) ;; *) misused "--recopy and --console belong to install and check" ;; esac
    case $1/$wipe in install/* | check/* | make-sd/* | upgrade/* | */) ;; *) misused "--wipe belongs to install, check, make-sd and upgrade --clean" ;; esac
    case $1/$upgrade_word$backup_wanted$drop_settings in upgrade/* | */no) ;; *) misused "--list, --refit, --clean, --backup and --drop-settings belong to upgrade" ;; esac
    case $upgrade_word in '' | list | refit | clean) ;; *) misused "--list, --refit and --clean: one at a time" ;; esac
    case $upgrade_word/$backup_wanted$drop_settings in /* | */no) ;; *) misused "--$upgrade_word takes neither --backup nor --drop-settings" ;; esac
    case $upgrade_word/$wanted_sum in /* | */) ;; *) misused "--$upgrade_word takes no --sha256" ;; esac
    case $upgrade_word/$wipe in /* | clean/* | */) ;; *) misused "--$upgrade_word takes no --wipe" ;; esac
    case $upgrade_word/$apply in list/yes) misused "--list takes no --apply" ;; *) ;; esac
    case $1/$kit_wanted in make-sd/* | */) ;; *) misused "--kit belongs to make-sd" ;; esac
    case $1/$image_wanted in make-sd/* | check-sd/* | */) ;; *) misused "--image belongs to make-sd and check-sd" ;; esac
    case $1/$seen_date in prove-fallback/* | */) ;; *) misused "--seen belongs to prove-fallback" ;; esac
    case $1/$stock in rollback/* | */no) ;; *) misused "--stock belongs to rollback" ;; esac
    case $1/$wanted_sum in upgrade/* | reflash/* | */) ;; *) misused "--sha256 belongs to upgrade and reflash" ;; esac
    case $1/$with_network$no_env in restore/* | */nono) ;; *) misused "--with-network and --no-env belong to restore" ;; esac
    case $1/$in_place in reflash/* | */no) ;; *) misused "--in-place belongs to reflash" ;; esac
    [ "$recopy" = no ] || [ -n "$wipe" ] || misused "--recopy needs --wipe"
}
