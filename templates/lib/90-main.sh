# shellcheck shell=busybox enable=check-set-e-suppressed,check-extra-masked-returns,quote-safe-variables
# ---- library: actions and the command line ---------------------------------------------------------------

exit_code=0

usage() { # - how to call this script
    cat <<END
$plan_name: a boot plan for this router, made by bootplan $plan_version

  sh ${0##*/} check                      look at everything, change nothing
  sh ${0##*/} install                    rehearsal: show each change, make none
  sh ${0##*/} install --apply            do it; a disk that holds something also needs --wipe SERIAL
  sh ${0##*/} status [--json]            is root where the plan wants it? if not, why, and what to do
  sh ${0##*/} backup FOLDER              save environment, tables and settings in a folder that is not in RAM
  sh ${0##*/} restore-env FILE [--apply] put a saved U-Boot environment back

  --apply        change things (without it an action is a rehearsal)
  --wipe SERIAL  what the disk with this serial number holds may be lost where it is in the way
  --recopy       with --wipe: copy the system again although a finished copy is there
  --console      for root= plans: leave the U-Boot environment alone, print the lines for its console

ends with 0 done, or already so; 1 a step failed (status: not as planned); 2 wrong usage;
3 refused, nothing was changed; 130, 143 stopped by a signal
END
}

misused() { # TEXT... - wrong usage: 2
    printf '%s: %s; sh %s --help tells how to call it\n' "${0##*/}" "$*" "${0##*/}" >&2
    exit 2
}

look_at_plan() { # - the first walk: everything is looked at, all reasons not to begin are told
    plan_look
    plan_install
    need_wipe_to_fit
    stop_if_refused
}

action_check() { # - all looks of install
    look_at_plan
    recovery_noted
    say "nothing stands in the way of: sh ${0##*/} install"
}

action_install() { # - both walks
    look_at_plan
    phase=change
    plan_install
    at='the last words'
    if [ "$at_console" = yes ] && [ "$apply" = yes ]; then
        say "done, but for the lines above: type them, then: sh ${0##*/} status"
    elif [ "$changes" -eq 0 ] && [ "$at_console" = no ]; then
        say "everything is already as the plan says; nothing was changed"
        [ "$restart" = no ] || {
            printf '%s\n' "$plan_digest" >"$just_installed"
            say "the router does not run from it yet: restart it, then: sh ${0##*/} status"
        }
    elif [ "$apply" = no ]; then
        say "rehearsal: $changes changes shown, none made; to make them add --apply"
    else
        printf '%s\n' "$plan_digest" >"$just_installed"
        recovery_noted
        say "done. Restart the router, then: sh ${0##*/} status"
    fi
}

action_status() { # - proof of where root is
    plan_status
    print_status
}

action_backup() { # FOLDER - saves what a repair would need
    plan_who
    need_lasting_folder "$1"
    stop_if_refused
    phase=change
    plan_env
    env_state='not found'
    [ ! -s "$work/fw_env.config" ] || read_env
    at='writing the backup'
    write_backup "$1"
    if [ "$env_state" != good ]; then
        say "the U-Boot environment is $env_state: it is not in this backup"
        exit_code=1
    fi
}

action_restore_env() { # FILE - one write, read back
    plan_who
    plan_env
    if [ -s "$work/fw_env.config" ]; then
        read_env
        case $1 in
            */*) saved_env=$1 ;;
            *) saved_env=./$1 ;;
        esac
        plan_saved_env
    else
        refuse "no U-Boot environment found on $plan_medium"
    fi
    stop_if_refused
    phase=change
    at='writing the environment'
    [ "$apply" = no ] || boots='as the old environment says, or as the restored one does'
    write_env "$1"
    [ "$apply" = yes ] || [ "$changes" -eq 0 ] || say "rehearsal: the environment was not changed; to change it add --apply"
}

main() { # ACTION [WORD]... - the command line
    set -eu
    umask 022
    export PATH=/usr/sbin:/usr/bin:/sbin:/bin
    local action='' operand='' operands=0
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
            --wipe)
                [ "$#" -ge 2 ] && [ -n "$2" ] || misused "--wipe needs the disk's serial number"
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
                fi
                ;;
        esac
        shift
    done
    check_usage "$action" "$operands"
    begin "$action"
    case $action in
        check) action_check ;;
        install) action_install ;;
        status) action_status ;;
        backup) action_backup "$operand" ;;
        restore-env) action_restore_env "$operand" ;;
        *) ;;
    esac
    ended=yes
    exit "$exit_code"
}

check_usage() { # ACTION OPERANDS - the action exists, and has the options and the operands it takes
    local wanted=0
    case $1 in
        check | install | status) ;;
        backup | restore-env) wanted=1 ;;
        '') misused "an action is needed" ;;
        *) misused "unknown action '$1'" ;;
    esac
    [ "$2" -eq "$wanted" ] || misused "$1 takes $wanted operands, not $2"
    case $1/$apply in install/* | restore-env/* | */no) ;; *) misused "$1 takes no --apply" ;; esac
    case $1/$json in status/* | */no) ;; *) misused "$1 takes no --json" ;; esac
    case $1/$recopy$console$wipe in install/* | check/* | */nono) ;; *) misused "--wipe, --recopy and --console belong to install and check" ;; esac
    [ "$recopy" = no ] || [ -n "$wipe" ] || misused "--recopy needs --wipe"
}
