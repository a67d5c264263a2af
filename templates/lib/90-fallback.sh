# ---- library: the fallback that was proven -------------------------------------------------------------
#
# A card is a fallback when the router was started from it once. That start notes itself in the environment of the
# medium that the plan boots from, in one variable, because the system there has to know it:
#
#   bp_proven       the date, and the release that ran: 2026-11-22 25.12.5
#
# A system on the card sees SPI-NAND, but never the eMMC: there the owner carries the line over.

fallback_days=0     # after so many days a proven fallback is stale; 0: the plan has none
fallback_version='' # the release in the name of its image, if there is one
fallback_title=''   # the menu's title in the environment of the plan's medium
fallback_soc='' fallback_target='' fallback_boards='' fallback_switch='' fallback_menu=''
fallback_state=''            # what see_fallback() found: fresh, stale, never or unknown
fallback_says=''             # the same in words
record_why=''                # why the normal system's environment cannot be told from here, when at least the rescue kit can
record_line=''               # what to type there then
seen_date='' seen_release='' # what --seen told

no_fallback() { # - this plan has none
    fallback_days=0
}

fallback_is() { # DAYS VERSION TITLE - stale after so many days; its release; the title of the plan's own medium
    fallback_days=$1 fallback_version=$2 fallback_title=$3
}

fallback_runs_on() { # SOC TARGET BOARDS SWITCH TITLE - what a system on the card calls this board; how to start it
    fallback_soc=$1 fallback_target=$2 fallback_boards=$3 fallback_switch=$4 fallback_menu=$5
}

# ---- when it was proven

day_number() { # DATE - days since a day long ago; nothing when it is no date of the calendar
    awk -v date="$1" 'BEGIN {
        if (date !~ /^[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]$/) exit
        y = substr(date, 1, 4) + 0; m = substr(date, 6, 2) + 0; d = substr(date, 9, 2) + 0
        split("31 28 31 30 31 30 31 31 30 31 30 31", days, " ")
        if (y % 4 == 0 && (y % 100 != 0 || y % 400 == 0)) days[2] = 29
        if (y < 1970 || m < 1 || m > 12 || d < 1 || d > days[m]) exit
        if (m < 3) { m += 12; y-- }
        print 365 * y + int(y / 4) - int(y / 100) + int(y / 400) + int((153 * m - 457) / 5) + d
    }'
}

read_plan_env() { # - the environment of the plan's medium into $work/env; sets env_state
    plan_env
    env_state='not found'
    [ ! -s "$work/fw_env.config" ] || read_env
    [ "$env_state" = good ] || : >"$work/env"
}

see_fallback() { # - sets fallback_state and fallback_says from the environment
    local record day release proven today=0 now age
    fallback_state=unknown
    if [ "$plan_medium" = sd ]; then
        fallback_says='unknown: the plan boots from an SD card itself, and nothing tells which of two cards this one is'
        return 0
    fi
    read_plan_env
    if [ "$env_state" != good ]; then
        fallback_says="unknown: the U-Boot environment is $env_state"
        return 0
    fi
    record=$(env_value bootmenu_title)
    case $record in
        *"$fallback_title"*) ;;
        *)
            fallback_says="unknown: from here the U-Boot environment of $plan_medium is not seen"
            return 0
            ;;
    esac
    record=$(env_value bp_proven)
    record=$(printf '%s' "$record" | tr -d '\001-\037')
    if [ -z "$record" ]; then
        fallback_state=never
        fallback_says="never proven: start the router from the card once, and there: sh $this_script prove-fallback --apply"
        return 0
    fi
    day=${record%% *} release=${record#* }
    proven=$(day_number "$day")
    now=$(date +%Y-%m-%d)
    today=$(day_number "$now")
    if [ -z "$proven" ] || [ "$release" = "$record" ]; then
        fallback_says="unknown: bp_proven is '$record'"
        return 0
    fi
    fallback_says="proven $day with $release"
    age=$((${today:-0} - proven))
    if [ "$age" -lt 0 ]; then
        fallback_says="$fallback_says, but this router's clock says $now"
    elif [ "$age" -gt "$fallback_days" ]; then
        fallback_state=stale
        fallback_says="stale: $fallback_says, $age days ago; the plan allows $fallback_days: start the router from the card, and there: sh $this_script prove-fallback --apply"
    else
        fallback_state=fresh
        case $age in
            0) fallback_says="$fallback_says, today" ;;
            1) fallback_says="$fallback_says, 1 day ago" ;;
            *) fallback_says="$fallback_says, $age days ago" ;;
        esac
    fi
    now=$(openwrt_says DISTRIB_RELEASE)
    [ "$release" = "$now" ] || fallback_says="$fallback_says; this router runs ${now:-something else}"
    [ -z "$fallback_version" ] || [ "$release" = "$fallback_version" ] ||
        fallback_says="$fallback_says; the plan's card is $fallback_version"
}

tell_fallback() { # - a line of the report, when the plan has a fallback; it says nothing about root
    [ "$fallback_days" -gt 0 ] || return 0
    see_fallback
    tell fallback "$fallback_says"
}

# ---- to prove it

action_prove_fallback() { # - notes that the router was started from the card, where the normal system finds it
    plan_checklist
    if [ "$fallback_days" -eq 0 ]; then
        refuse "this plan has no fallback"
    elif [ "$plan_medium" = sd ]; then
        refuse "the plan boots from an SD card itself: nothing tells which of two cards this one is"
    elif [ -n "$seen_date" ]; then
        plan_who
        need_seen
    else
        need_card_system
    fi
    stop_if_refused
    need_record_place
    stop_if_refused
    phase=change at='noting the fallback'
    say "  the fallback was proven on $seen_date with OpenWrt $seen_release"
    [ -n "$record_why" ] || change_env bp_proven "$seen_date $seen_release"
    kit_remembers "$seen_date" "$seen_release"
    if [ -z "$record_why" ]; then
        finish "The normal system's status says so from now on."
        return 0
    fi
    [ "$apply" = yes ] || [ "$changes" -eq 0 ] || say "rehearsal: $changes changes shown, none made; to make them add --apply"
    say "this is half of it: $record_why"
    say "the card is fine: type this on the normal system: $record_line"
    exit_code=1
}

need_card_system() { # - started from the card, and by the card's own system; sets seen_date and seen_release
    local target medium type=''
    need_board "$fallback_soc" "$fallback_boards"
    target=$(openwrt_says DISTRIB_TARGET)
    [ "$target" = "$fallback_target" ] || refuse "this system's target is '${target:-unknown}', not $fallback_target"
    need_layout
    medium=$(rootdisk_now)
    [ ! -e /sys/class/block/mmcblk0/device/type ] || read -r type </sys/class/block/mmcblk0/device/type
    case $medium/$type in
        sd/SD) need_card_root ;;
        /SD) refuse "this is the card's recovery system, not the system that the card is for: look for a crash record (ls /sys/fs/pstore; after reading it: rm /sys/fs/pstore/*), restart, and choose 'Boot production system from SD card.' in U-Boot's menu" ;;
        sd/*) refuse "U-Boot says sd, but mmcblk0 is of type '${type:-unknown}'" ;;
        *)
            refuse "this router was started from '${medium:-an unknown medium}', not from the card; set SW3 to A=${fallback_switch%?} B=${fallback_switch#?}, switch the power off and on (switches are read at power-on only), and look for '$fallback_menu' in the U-Boot menu"
            [ "$plan_medium" = nand ] || note "after a start from the card, type here what it printed there: sh $this_script prove-fallback --seen DATE RELEASE --apply"
            ;;
    esac
    seen_date=$(date +%Y-%m-%d)
    seen_release=$(openwrt_says DISTRIB_RELEASE)
    need_release_word
    need_clock
    [ -z "$fallback_version" ] || [ "$seen_release" = "$fallback_version" ] ||
        note "the plan's card has OpenWrt $fallback_version, this one has $seen_release"
}

need_card_root() { # - the card's own system runs, with its settings on the card
    see_system
    case $system in
        internal) say "  the system on the card runs" ;;
        unknown) refuse "this is a system in RAM (recovery, or from the network), not the one on the card; restart, and choose 'Boot production system from SD card.' in U-Boot's menu" ;;
        *) refuse "the card's kernel runs with its root on /dev/${system_block:-some disk}: that proves nothing of what is on the card" ;;
    esac
}

need_clock() { # - it was set: the year is one in which this can be run
    case $seen_date in
        202[4-9]-* | 20[3-9]?-* | 2[1-9]??-*) say "  the clock says $seen_date; if that is not today: date -s 'YYYY-MM-DD hh:mm'" ;;
        *) refuse "the clock says $seen_date, so it was never set; set it: date -s 'YYYY-MM-DD hh:mm'" ;;
    esac
}

need_release_word() { # - what is to be noted as the release is one word
    case $seen_release in
        '' | *[!A-Za-z0-9._~+-]*) refuse "'$seen_release' is no release" ;;
        *) [ "${#seen_release}" -le 32 ] || refuse "'$seen_release' is no release" ;;
    esac
}

need_seen() { # - what the owner carried over from the card can be true
    local there here now
    now=$(date +%Y-%m-%d)
    there=$(day_number "$seen_date")
    here=$(day_number "$now")
    need_release_word
    case $seen_date in
        19* | 200* | 201* | 202[0-3]*) there='' ;;
        *) ;;
    esac
    if [ -z "$there" ]; then
        refuse "'$seen_date' is no date on which a card can have been tried; write it like 2026-11-22"
    elif [ "$there" -gt "${here:-0}" ]; then
        refuse "$seen_date is not over yet: this router's clock says $now"
    fi
}

need_record_place() { # - the environment of the plan's medium can be seen from here, is whole, and knows no later date
    local have before now medium
    medium=$(rootdisk_now)
    record_line="sh ${0##*/} prove-fallback --seen $seen_date $seen_release --apply"
    if [ "$plan_medium/$medium" = emmc/sd ]; then
        only_kit "$medium" 'a system on the card cannot see the eMMC (both share one controller)'
        return 0
    fi
    read_plan_env
    case $env_state in
        good) ;;
        'not found')
            only_kit "$medium" "the environment of $plan_medium cannot be seen from here"
            return 0
            ;;
        *)
            only_kit "$medium" "the U-Boot environment on $plan_medium is $env_state; put a saved one back first, on the normal system (restore-env FILE)"
            return 0
            ;;
    esac
    env_is_stock "$fallback_title"
    have=$(env_value bp_proven)
    before=$(day_number "${have%% *}")
    now=$(day_number "$seen_date")
    [ "${before:-0}" -le "$now" ] ||
        refuse "the fallback was proven on ${have%% *} already, and that is later than $seen_date: one of the clocks is wrong. If it is this one: date -s 'YYYY-MM-DD hh:mm'. If it was the other: on the normal system forget that note, by: fw_setenv bp_proven"
}

only_kit() { # MEDIUM WHY - the normal system cannot be told from here; without a rescue kit on this card there is nothing to do
    local part=''
    [ "$1" != sd ] || part=$(card_part_named "$kit_named")
    if [ -n "$part" ]; then
        record_why=$2
    else
        refuse "$2; the card is fine: type this on the normal system: $record_line"
    fi
}
