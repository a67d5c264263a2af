# ---- library: the list of what there is to do ----------------------------------------------------------
#
# What the router sees it ticks, and says from what; the rest it asks.

tab=$(printf '\t')

want_file() { # NAME SHA TITLE - a file that the plan names
    printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>"$work/wanted-files"
}

ask_owner() { # ID TEXT - something that no router can see
    printf '%s\t%s\n' "$1" "$2" >>"$work/asked"
}

action_checklist() { # - what the router sees of it, and what it has to ask
    plan_status
    plan_checklist
    : >"$work/items"
    check_router
    check_root
    check_environment
    check_env_copy
    check_crash
    check_fallback
    check_slots
    check_packages
    check_files
    check_asked
    print_list
}

item() { # ID STATE TEXT EVIDENCE - a line of the list; STATE: ticked, open or ask
    local evidence
    evidence=$(printf '%s' "$4" | tr '\n\t' '  ' | printable)
    printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$evidence" >>"$work/items"
}

said_of() { # KEY - the first such line of the report
    first_of "$1" "$work/report"
}

first_of() { # WORD FILE - what the first line that begins with WORD says behind it
    awk -v word="$1 " 'index($0, word) == 1 { print substr($0, length(word) + 1); exit }' "$2"
}

check_router() { # - board, release, layout and medium
    local board release medium told
    board=$(said_of board)
    release=$(said_of release)
    medium=$(said_of medium)
    (
        refusals=0
        plan_who
    ) >"$work/said"
    told=$(first_of refused: "$work/said")
    if [ -z "$told" ]; then
        item router ticked 'this is the router of the plan' "$board, OpenWrt $release, started from $medium"
    else
        item router open 'this is the router of the plan' "$told"
    fi
}

check_root() { # - as status sees it
    local text
    if [ "$as_planned" = yes ]; then
        text=$(said_of root)
        item root ticked 'root is where the plan wants it' "$text"
    else
        text=$(said_of problem)
        item root open 'root is where the plan wants it' "$text; $advice"
    fi
}

check_environment() { # - both copies, each by its own CRC
    local device offset size rest whole=0 wrong=''
    read_plan_env
    if [ "$env_state" != good ]; then
        item environment open 'both copies of the U-Boot environment are whole' "it is $env_state"
        return 0
    fi
    while read -r device offset size rest; do
        offset=$(in_decimal "$offset")
        size=$(in_decimal "$size")
        dd if="$device" of="$work/copy" bs="$size" skip=$((offset / size)) count=1 2>>"$log"
        rest=$(crc_of_copy)
        if [ "$rest" = yes ]; then whole=$((whole + 1)); else wrong="$wrong $device"; fi
    done <"$work/fw_env.config"
    if [ -z "$wrong" ]; then
        item environment ticked 'both copies of the U-Boot environment are whole' "$whole copies, each with its CRC"
    else
        item environment open 'both copies of the U-Boot environment are whole' "bad CRC:$wrong; the next write of fw_setenv makes it whole"
    fi
}

crc_of_copy() { # - yes when the CRC that $work/copy begins with is that of its data, which begins behind one more byte
    local have want
    have=$(hexdump -n 4 -e '4/1 "%02x"' "$work/copy")
    # A gzip file ends with the same CRC of what it was made from, and its length.
    tail -c +6 "$work/copy" >"$work/data"
    gzip -c "$work/data" >"$work/data.gz"
    tail -c 8 "$work/data.gz" >"$work/crc"
    want=$(hexdump -n 4 -e '4/1 "%02x"' "$work/crc")
    [ "$have" = "$want" ] && printf 'yes' || printf 'no'
}

check_env_copy() { # - a copy of the environment that its sum proves
    local copy sums whole=''
    for copy in "$env_copies"/env-*.txt "$env_copies"/bootplan-*.tar.gz; do
        sums=$copy.sha256
        { [ -e "$copy" ] && [ -e "$sums" ]; } || continue
        case $copy in
            *.tar.gz)
                tar -tzf "$copy" >"$work/names" 2>>"$log" || continue
                grep -q '/uboot-env\.txt\.sha256$' "$work/names" || continue
                ;;
            *) ;;
        esac
        ! (cd "${copy%/*}" && sha256sum -c "${sums##*/}" >>"$log" 2>&1) || whole=$copy
    done
    if [ -n "$whole" ]; then
        item env-copy ticked 'a copy of the U-Boot environment is on the router' "$whole"
    else
        item env-copy open 'a copy of the U-Boot environment is on the router' "none is in $env_copies; make one: mkdir -p $env_copies; sh $this_script backup $env_copies"
    fi
}

check_crash() { # - nothing sends the next start to the recovery system
    local told
    recovery_noted >"$work/said"
    told=$(first_of note: "$work/said")
    if [ -z "$told" ] && [ "$env_state" != good ]; then
        told="no crash record, but whether flag_recover is set cannot be seen: the U-Boot environment is $env_state"
    fi
    if [ -z "$told" ]; then
        item crash ticked 'nothing makes U-Boot start the recovery system' 'no crash record, and flag_recover is not set'
    else
        item crash open 'nothing makes U-Boot start the recovery system' "$told"
    fi
}

check_fallback() { # - there is one, and it was proven not long ago
    local text='the fallback card was proven, and not long ago'
    if [ "$fallback_days" -eq 0 ]; then
        [ "$plan_medium" = sd ] || item fallback ask 'there is a card that starts the router when nothing else does' 'the plan has no fallback'
        return 0
    fi
    see_fallback
    case $fallback_state/$plan_medium in
        */sd) item fallback ask "$text" "$fallback_says" ;;
        fresh/*) item fallback ticked "$text" "$fallback_says" ;;
        *) item fallback open "$text" "$fallback_says" ;;
    esac
}

check_slots() { # - both are installed, none is on trial, and the service that confirms is enabled
    local state text='two slots are installed, and none is on trial'
    [ "$slots_kind" != none ] || return 0
    state=$(slot_says a state)
    state=$state/$(slot_says b state)
    if [ -z "$slot_good" ]; then
        item slots open "$text" "no slots are installed: sh $this_script install"
    elif [ -n "$slot_try" ]; then
        item slots open "$text" "slot $slot_try is on trial"
    elif [ "$state" != complete/complete ]; then
        item slots open "$text" "slot $slot_good is good, the other one is not complete: sh $this_script upgrade IMAGE"
    else
        item slots ticked "$text" "slot $slot_good is the good one"
    fi
    text='the health service is enabled'
    if [ -e "$service_script" ] && [ -x /etc/init.d/bootplan ] && [ -x /etc/init.d/bootplan-deadman ] &&
        [ -L /etc/rc.d/S99bootplan ] && [ -L /etc/rc.d/S00bootplan-deadman ]; then
        item service ticked "$text" "$service_script"
    else
        item service open "$text" "sh $this_script install"
    fi
}

check_packages() { # - what the plan needs is installed
    local told
    missing_packages='' wanted_packages=''
    (
        plan_packages
        say "missing:$missing_packages$wanted_packages"
    ) >"$work/said"
    told=$(first_of refused: "$work/said")
    [ -n "$told" ] || told=$(sed -n 's/^missing: /missing: /p' "$work/said")
    if [ -z "$told" ]; then
        item packages ticked 'the packages of the plan are installed' 'none is missing'
    else
        item packages open 'the packages of the plan are installed' "$told"
    fi
}

check_files() { # - the files that the plan names, where this script would look for them
    local name sum title folder have state evidence
    [ -e "$work/wanted-files" ] || return 0
    while IFS=$tab read -r name sum title; do
        state=ask evidence="$name with SHA-256 $sum"
        for folder in . "${0%/*}" /tmp; do
            { [ "$state" = ask ] && [ -f "$folder/$name" ]; } || continue
            have=$(sha256sum "$folder/$name")
            have=${have%% *}
            if [ "$have" = "$sum" ]; then
                state=ticked evidence="$folder/$name has the plan's SHA-256"
            else
                state=open evidence="$folder/$name is another file than the plan names: its SHA-256 is $have"
            fi
        done
        item "file-$name" "$state" "the $title is at hand" "$evidence"
    done <"$work/wanted-files"
}

check_asked() { # - what no router can see
    local name text
    while IFS=$tab read -r name text; do
        item "$name" ask "$text" ''
    done <"$work/asked"
}

print_list() { # - as text or JSON; ends with 1 when something is open
    local name state text evidence mark separator='' ticked=0 open=0 asked=0
    name=$(json_text "$plan_name")
    [ "$json" = no ] || printf '{"plan": %s, "items": [' "$name"
    while IFS=$tab read -r name state text evidence; do
        case $state in
            ticked) mark='[x]' ticked=$((ticked + 1)) ;;
            open) mark='[ ]' open=$((open + 1)) ;;
            *) mark='[?]' asked=$((asked + 1)) ;;
        esac
        if [ "$json" = no ]; then
            printf '%s %s\n' "$mark" "$text"
            [ -z "$evidence" ] || printf '      %s\n' "$evidence"
        else
            name=$(json_text "$name")
            text=$(json_text "$text")
            evidence=$(json_text "$evidence")
            printf '%s{"id": %s, "state": "%s", "text": %s, "evidence": %s}' "$separator" "$name" "$state" "$text" "$evidence"
            separator=', '
        fi
    done <"$work/items"
    if [ "$json" = no ]; then
        printf '%s ticked, %s open, %s for you to answer: [?] is what no router can see\n' "$ticked" "$open" "$asked"
    else
        printf '], "ticked": %s, "open": %s, "asked": %s}\n' "$ticked" "$open" "$asked"
    fi
    [ "$open" -eq 0 ] || exit_code=1
}
