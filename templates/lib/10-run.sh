# ---- library: saying, running, stopping ------------------------------------------------------
#
# Every action is walked twice. In the first walk (phase=look) each verb only looks, and tells by
# `refuse` what it cannot accept; nothing is written anywhere but in RAM. Only when nothing was refused
# does the second walk (phase=change) begin, and even there run() shows what it would do unless
# --apply was given. Functions are never called in a condition: that would switch `set -e` off in them.

apply=no              # yes with --apply
wipe=''               # what each --wipe named, one a line: a disk's serial number, or its PCI address
recopy=no             # yes with --recopy
stock=no              # yes with --stock
console=no            # yes with --console
json=no               # yes with --json
phase=look            # look | change
refusals=0            # how many reasons not to begin were told
changes=0             # how many changes were made, or shown in a rehearsal
restart=no            # yes when the plan holds but for a restart
at=''                 # the step under way
ended=no              # yes when an action came to its end, whatever it had to say
stands=''             # what to say in place of boots
log=/tmp/bootplan.log # RAM: gone after a reboot
busy=no               # yes for a status beside a run that holds the lock
alone=yes             # no when this goes on beside a run that holds the lock
installed_stays=no    # yes in actions that leave alone what was installed
work=''               # our own folder in RAM: lists and mount points
work_stays=no         # yes while somebody else needs what is in it
own_mark=.of-a-run    # a file in each such folder: on a PC /tmp has other people's folders, too
this_script=${0##*/}  # as one types it; with its folder where it is the copy on the router

boots='what it would have started before this run' # the next power-on, if we stopped here
just_installed=/tmp/bootplan.installed             # RAM: gone after a restart
log_beside=/tmp/bootplan-beside.log                # the log of an action that goes on beside another run
lock=/var/lock/bootplan.lock
newline='
'

printable() { # - what comes in, with ? for each byte that is neither ASCII text nor the end of a line
    # Labels, models and names of files are written by others: a terminal obeys what is in them.
    LC_ALL=C tr '\001-\011\013-\037\177-\377' '?'
}

say() { # TEXT... - one line for the reader and for the log
    local line=$*
    case $line in
        *[!\ -~"$newline"]*) line=$(printf '%s' "$line" | printable) ;;
        *) ;;
    esac
    printf '%s\n' "$line" >>"$log" || true
    # The terminal may be gone (a dropped SSH session). Then go on without it, and let the first line
    # into the void also flush what the shell still holds back for the dead one.
    printf '%s\n' "$line" 2>/dev/null || {
        exec >/dev/null 2>&1
        printf '\n'
    }
}

note() { # TEXT... - something worth knowing that stops nothing
    say "note: $*"
}

refuse() { # TEXT... - a reason not to begin; the first walk goes on, so that all reasons are told at once
    say "refused: $*"
    refusals=$((refusals + 1))
    # In the second walk the router is not what it was a moment ago: stop where we are.
    [ "$phase" = look ] || exit 1
}

stop_if_refused() { # - ends here with 3 if anything was refused
    [ "$refusals" -gt 0 ] || return 0
    say "nothing was changed"
    exit 3
}

fail() { # TEXT... - a step did not do what it should; the EXIT trap says what state that leaves
    say "failed: $*"
    exit 1
}

step() { # NUMBER TOTAL TITLE - what the next call is about
    at=$3
    [ "$phase" = look ] || say "[$1/$2] $3"
}

so() { # TEXT... - this is already as the plan says
    say "  already so: $*"
}

run() { # COMMAND [ARGUMENT]... - the only way anything is changed: shown, then done unless this is a rehearsal
    local line
    line=$(as_typed "$@")
    say "  + $line"
    changes=$((changes + 1))
    [ "$apply" = yes ] || return 0
    [ "$installed_stays" = yes ] || rm -f "$just_installed" # what was installed before is being changed
    # What a command leaves running, as scripts of packages do, must not hold our locks.
    "$@" >>"$log" 2>&1 6>&- 7>&- 8>&- 9>&-
}

as_typed() { # WORD... - the words as one could type them
    local word line=''
    for word; do
        case $word in
            '' | *[!A-Za-z0-9_./:=,@%+-]*)
                word=$(printf '%s' "$word" | sed "s/'/'\\\\''/g")
                word="'$word'"
                ;;
            *) ;;
        esac
        line="$line $word"
    done
    printf '%s' "${line# }"
}

write_file() { # FILE TEXT - the file holds TEXT and a newline, wholly or not at all
    printf '%s\n' "$2" >"$1.new"
    fsync "$1.new"
    mv "$1.new" "$1"
    sync
}

begin() { # ACTION - log, lock and our folder in RAM
    local free=0 file
    case $1 in
        make-sd | check-sd) need_card_commands ;; # on a PC, too
        *) need_stock_commands ;;
    esac
    case $1 in make-sd | reflash | prove-fallback) installed_stays=yes ;; *) ;; esac
    # Whoever else began would leave a lock and a log that root cannot open either (fs.protected_regular of Linux).
    free=$(id -u)
    [ "$free" = 0 ] || {
        printf 'refused: this must be run as root\n' >&2
        exit 3
    }
    case $1 in
        check | check-sd | status | checklist) ;;
        *)
            # It is put into the system, into backups and onto the card, and is named in what is to be typed next.
            grep -qsxF "plan_digest='$plan_digest'" "$0" || {
                printf "refused: this script cannot read itself ('%s'); copy it here and run it as a file: sh /tmp/r4.sh %s\\n" "$0" "$1" >&2
                exit 3
            }
            ;;
    esac
    free=$(room_in /tmp)
    if [ "$free" -lt 8192 ]; then
        printf 'refused: /tmp has %s KiB left, 8192 KiB are needed for lists and the log\n' "$free" >&2
        exit 3
    fi
    mkdir -p "${lock%/*}"
    for file in "$log" "$log_beside" "$lock" "$lock.look" "$lock.change"; do # whoever made a link in /tmp would have root write through it
        [ ! -h "$file" ] || {
            printf 'refused: %s is a link, which this script did not make; remove it: rm %s\n' "$file" "$file" >&2
            exit 3
        }
    done
    if ! touch "$lock" "$log" 2>/dev/null; then
        printf 'refused: %s or %s cannot be written; do they belong to somebody else?\n' "$lock" "$log" >&2
        exit 3
    fi
    take_locks "$1"
    # What a run that was killed left mounted goes before anything else.
    [ "$1" = status ] || [ "$alone" = no ] || tidy_up /tmp/bootplan.??????
    exec 3>&1 # progress goes to who watches, not to the log
    work=$(mktemp -d /tmp/bootplan.XXXXXX)
    : >"$work/$own_mark"
    mkdir "$work/uci"
    printf '%s\n' "---- $plan_name: $*" >>"$log"
    trap at_exit EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap '' HUP PIPE # a dropped connection stops nothing
}

take_locks() { # ACTION - one run at a time; a status looks at disks only when no run is under way
    # Two go on beside another run: a trial must not lose a try, nor an upgrade its end, because a backup waits for a password.
    local second
    # The descriptors stay open until we end; what they lock is free again then, however we end.
    exec 9>>"$lock" 8>>"$lock.look"
    if [ "$1" = status ]; then
        flock -n -s 8 || busy=yes
        flock -n -s 9 || busy=yes
        flock -u 9
        exec 6>>"$lock.change"
        flock -n -s 6 || busy=yes
        exec 6>&-
        [ "$busy" = no ] || flock -u 8
        return 0
    fi
    if ! flock -n 9; then
        case $1 in
            confirm | first-start)
                alone=no log=$log_beside
                touch "$log"
                may_change "$1"
                return 0
                ;;
            *) ;;
        esac
        printf 'refused: another run of this script is under way; its log is %s\n' "$log" >&2
        exit 3
    fi
    for second in 1 2 3 4 5 6 7 8 9 10; do # a status that is looking has done so in a moment
        ! flock -n 8 || {
            may_change "$1"
            return 0
        }
        sleep 1
    done
    printf 'refused: a status of this script has not come to its end in %s seconds\n' "$second" >&2
    exit 3
}

may_change() { # ACTION - whoever changes more than the environment is alone in that; the first start after an upgrade waits for it
    local second=0 patient=0
    case $1/$apply in
        confirm/*) return 0 ;; # what it writes is in hold_env()
        first-start/*) patient=600 ;;
        */yes) ;;
        *) return 0 ;;
    esac
    exec 6>>"$lock.change"
    until flock -n 6; do
        [ "$second" -lt "$patient" ] || {
            printf 'refused: another run of this script that changes this router is under way; its log is %s or %s\n' "$log_beside" "$log" >&2
            exit 3
        }
        sleep 1
        second=$((second + 1))
    done
}

let_others_end() { # - before a restart: a run beside us that holds the lock gets five minutes
    local second=0
    [ "$alone" = no ] || return 0
    until flock -n 9; do
        [ "$second" -lt 300 ] || return 0
        sleep 1
        second=$((second + 1))
    done
}

room_in() { # FOLDER - KiB free in the file system that holds it
    local table
    table=$(df -k "$1")
    printf '%s\n' "$table" | awk 'END { print $(NF - 2) }'
}

at_exit() { # - the last words
    local code=$?
    trap - EXIT
    trap '' INT TERM # a second one must not stop the tidying
    set +e
    drop_half_written
    make_log_printable
    [ "$work_stays" = yes ] || tidy_up "$work"
    case $code/$phase/$ended in
        0/* | 3/look/* | */yes) ;;
        *)
            # What the last command had to say is in the log only.
            awk '/^  [+] / { n = 0; next } !/^\[/ { line[n++] = $0 } END { for (i = n > 20 ? n - 20 : 0; i < n; i++) print line[i] }' "$log"
            say "stopped in step '$at' (status $code); ${stands:-the next power-on starts $boots}"
            say "the log is $log; the same command again goes on from here"
            case $code in
                130 | 143) ;;
                *) code=1 ;;
            esac
            ;;
    esac
    lock_again
    exit "$code"
}

make_log_printable() { # - also what commands wrote there themselves
    local had have
    printable <"$log" >"$work/log"
    had=$(wc -c <"$log")
    have=$(wc -c <"$work/log") # fewer when /tmp is full
    [ "$had" != "$have" ] || cmp -s "$work/log" "$log" || cat "$work/log" >"$log"
}

tidy_up() { # FOLDER... - unmounts what is mounted below these folders of ours in /tmp, and removes them when nothing is
    local folder place
    for folder; do
        case $folder in
            /tmp/bootplan.??????) ;;
            *) continue ;;
        esac
        # Ours is root's, and so is the mark in it: nobody else can make both.
        { [ ! -h "$folder" ] && [ -O "$folder" ] && [ -f "$folder/$own_mark" ] && [ -O "$folder/$own_mark" ]; } || continue
        for place in target root merged look image; do
            grep -q " $folder/$place " /proc/mounts || continue
            umount "$folder/$place" || umount -l "$folder/$place" # a reader in it may not have ended yet
        done
        grep -q " $folder/" /proc/mounts || rm -rf "$folder"
    done
}
