# ---- library: the U-Boot environment --------------------------------------------------------------
#
# Two copies, each with a CRC; fw_setenv writes the older one, so a power cut leaves a whole one. What was decided is
# written twice, so that it is in both: a copy that gets damaged later takes nothing back. The environment is never
# erased: the MAC addresses live in it, and a tool that finds no valid copy would write defaults that cannot start this
# board. Where it is comes from the medium the router was started from, and /etc/fw_env.config has to say the same.

env_state=''             # what read_env() found: good, or what is wrong with it
env_copies=/etc/bootplan # where copies of the environment are kept

need_env() { # TITLE CONFIGURED [VARIABLE]... - readable, valid, of this medium; CONFIGURED no: the image brings no fw_env.config
    local title=$1 configured=$2 want='' have=''
    [ "$console" = no ] || return 0 # it is neither read nor written then
    plan_env
    if [ ! -s "$work/fw_env.config" ]; then
        refuse "no U-Boot environment found on $plan_medium"
        return 0
    fi
    shift 2
    want=$(env_places "$work/fw_env.config")
    [ ! -e /etc/fw_env.config ] || have=$(env_places /etc/fw_env.config)
    if [ -z "$have" ] && [ "$configured" = no ]; then
        say "  this image brings no /etc/fw_env.config for this board; using the places found"
    elif [ "$have" != "$want" ]; then
        refuse "/etc/fw_env.config says '${have:-nothing}', the environment of this medium is at '$want'; make it anew: rm -f /etc/config/ubootenv /etc/fw_env.config; sh /rom/etc/uci-defaults/30_uboot-envtools"
        return 0
    fi
    read_env
    if [ "$env_state" != good ]; then
        : >"$work/env"
        refuse "the U-Boot environment is $env_state; put a saved one back (restore-env FILE), or let U-Boot's menu reset its settings (the MAC addresses change then), or use --console"
        return 0
    fi
    env_is_stock "$title" "$@"
}

locate_env() { # KIND BYTES NAME MORE... - writes $work/fw_env.config from what is on the live medium; empty when it is not there
    # ubi: the volumes NAME and MORE, a copy in each; mmc: the partition NAME, a copy at each of the offsets MORE.
    local kind=$1 bytes=$2 name=$3 entry have device='' second=''
    : >"$work/fw_env.config"
    shift 3
    if [ "$kind" = ubi ]; then
        for entry in /sys/class/ubi/ubi*_*; do
            [ -e "$entry/name" ] || continue
            read -r have <"$entry/name"
            [ "$have" != "$name" ] || device=/dev/${entry##*/}
            [ "$have" != "$1" ] || second=/dev/${entry##*/}
        done
        [ -n "$device" ] && [ -n "$second" ] || return 0
        printf '%s 0x0 0x%x 0x%x 1\n' "$device" "$bytes" "$bytes" "$second" "$bytes" "$bytes" >"$work/fw_env.config"
    else
        for entry in /sys/class/block/mmcblk0p*; do
            ! grep -qsx "PARTNAME=$name" "$entry/uevent" || device=/dev/${entry##*/}
        done
        [ -n "$device" ] || return 0
        for second; do
            printf '%s 0x%x 0x%x 0x%x 1\n' "$device" "$second" "$bytes" "$bytes" >>"$work/fw_env.config"
        done
    fi
}

env_places() { # FILE - device, offset and size of each copy as that fw_env.config says, in one spelling, on one line
    local device offset size rest
    while read -r device offset size rest; do
        case $device in '' | '#'*) continue ;; *) ;; esac
        offset=$(in_decimal "$offset")
        size=$(in_decimal "$size")
        printf '%s %s %s ' "$device" "$offset" "$size"
    done <"$1"
}

in_decimal() { # WORD - a number, decimal or 0x..., in decimal; any other word as it is
    case ${1#0x} in
        '' | *[!0-9a-fA-F]*) printf '%s' "$1" ;;
        *[!0-9]*) [ "$1" != "${1#0x}" ] && printf '%d' "$(($1))" || printf '%s' "$1" ;;
        *) printf '%d' "$(($1))" ;;
    esac
}

read_env() { # - the environment into $work/env, sorted as stored; sets env_state: good, or what is wrong with it
    local lines
    env_state=good
    fw_printenv -c "$work/fw_env.config" >"$work/env" 2>"$work/env.err" || env_state='not readable'
    if grep -qi 'bad crc\|default environment' "$work/env.err"; then
        env_state='not valid (bad CRC)'
    fi
    lines=$(grep -cv '^[^ =][^ =]*=.' "$work/env") || true
    [ "$env_state" != good ] || [ "${lines:-0}" -eq 0 ] || env_state='of a form this script cannot save (a value with a line break)'
}

env_value() { # NAME - its value in $work/env
    sed -n "s/^$1=//p" "$work/env"
}

env_is_stock() { # TITLE [VARIABLE]... - these variables exist, and the menu title says this medium
    local title menu boot name missing=''
    title=$1
    shift
    menu=$(env_value bootmenu_title)
    case $menu in
        *"$title"*) ;;
        *)
            menu=$(printf '%s' "$menu" | tr -d '\001-\037')
            refuse "the environment's menu title is '$menu', not one of $title: it is another medium's"
            ;;
    esac
    boot=$(env_value bootcmd)
    case $boot in
        *'pstore check'*) ;;
        *) refuse "bootcmd is '$boot', not that of OpenWrt's U-Boot" ;;
    esac
    for name; do
        grep -q "^$name=" "$work/env" || missing="$missing $name"
    done
    [ -z "$missing" ] || refuse "the environment lacks variables that OpenWrt's U-Boot has:$missing"
}

save_env() { # BEFORE - a copy of the whole environment in /etc/bootplan, unless bootargs is already ours (BEFORE root=...)
    local copy have
    [ "$phase" = change ] && [ "$console" = no ] || return 0
    have=$(env_value bootargs)
    case $have in
        "$1 root=PARTUUID="*)
            for copy in "$env_copies"/env-*.txt; do
                [ ! -e "$copy.sha256" ] || env_copy=$copy
            done
            so "the environment was saved before it was changed${env_copy:+, in $env_copy}"
            return 0
            ;;
        *) ;;
    esac
    keep_env
}

keep_env() { # - a copy of the environment as it is, unless there is one already
    local copy now
    for copy in "$env_copies"/env-*.txt; do
        if [ -e "$copy.sha256" ] && cmp -s "$copy" "$work/env"; then
            so "the environment is saved in $copy"
            env_copy=$copy
            return 0
        fi
    done
    now=$(date +%Y%m%d-%H%M%S)
    env_copy=$env_copies/env-$now.txt
    run mkdir -p "$env_copies"
    run save_with_sum "$work/env" "$env_copy"
}

at_console=no # yes when the last change is left to the owner, at the U-Boot console
env_copy=''   # the copy that undoes what this run does

save_with_sum() { # FROM TO - a copy only root may read, wholly or not at all; TO.sha256, written last, is its proof
    (umask 077 && cat "$1" >"$2.new")
    cmp "$1" "$2.new"
    fsync "$2.new"
    mv "$2.new" "$2"
    (cd "${2%/*}" && sha256sum "${2##*/}") >"$2.sha256.new"
    fsync "$2.sha256.new"
    mv "$2.sha256.new" "$2.sha256"
    sync
}

root_not_from() { # DISK NUMBER KIND LABEL STOCK BEFORE - while that root is made anew, the kernel must not be told to use it
    local disk have id
    disk=$(disk_to_use "$1")
    [ -b "/dev/${disk:-none}" ] || return 0 # need_disk told it
    # The partitions of the plan are not looked up yet in this walk; the first walk left them in RAM.
    [ "$phase" = change ] && [ "$console" = no ] || return 0
    have=$(env_value bootargs)
    case $have in
        "$6 root=PARTUUID="*) ;;
        *) return 0 ;;
    esac
    judge "$disk" "$2" "$3" "$4" root
    id=$(part_uuid "$disk" "$2")
    case $verdict/$inside/$have in
        "keep/complete root/$6 root=PARTUUID=$id "* | "keep/in use/$6 root=PARTUUID=$id "*) return 0 ;;
        *) ;;
    esac
    [ "$apply" = no ] || boots='with the root on the boot medium, or as before if the environment was not written any more'
    set_bootargs "$5"
    [ "$apply" = no ] || boots='with the root on the boot medium'
}

set_bootargs() { # TEXT - one write, read back
    printf 'bootargs %s\n' "$1" >"$work/env.new"
    hold_env
    run fw_setenv -c "$work/fw_env.config" -s "$work/env.new"
    if [ "$apply" = yes ]; then
        env_reads_back bootargs "$1"
        run write_other_copy
        let_env_go
    else
        # The rehearsal goes on as if it were so.
        grep -v '^bootargs=' "$work/env" >"$work/env.rehearsed" || true
        printf 'bootargs=%s\n' "$1" >>"$work/env.rehearsed"
        mv "$work/env.rehearsed" "$work/env"
    fi
}

root_from_cmdline() { # DISK NUMBER STOCK BEFORE AFTER - the kernel gets root=PARTUUID=... between BEFORE and AFTER
    local disk id have want
    disk=$(disk_to_use "$1")
    [ -b "/dev/${disk:-none}" ] || return 0 # need_disk told it
    id=$(part_uuid "$disk" "$2")
    want="$4 root=PARTUUID=$id $5"
    if [ "$console" = yes ]; then
        [ "$phase" = look ] || print_console_lines bootargs "$want"
        return 0
    fi
    [ -s "$work/env" ] || return 0 # need_env told it
    have=$(env_value bootargs)
    if [ "$have" = "$want" ]; then
        [ "$phase" = change ] || return 0
        so "bootargs"
        printf 'bootargs\n' >"$work/env.new"
        write_left_copy
        return 0
    fi
    case $have in
        "$3" | "$4 root=PARTUUID="*) ;;
        *)
            refuse "bootargs is '$have'; this script only changes the medium's own '$3'"
            return 0
            ;;
    esac
    [ "$phase" = change ] || return 0
    [ "$apply" = no ] || boots="with root on ${disk}p$2, or as before if the environment was not written any more"
    set_bootargs "$want"
    [ "$apply" = no ] || boots="with root on ${disk}p$2"
    [ -z "$env_copy" ] || say "  to undo it: sh $this_script restore-env $env_copy --apply"
}

part_uuid() { # DISK NUMBER - the PARTUUID, in small letters; a word in its place while a rehearsal has none
    local have wanted id=''
    partitions_of "$1" >"$work/$1.now"
    have=$(cut -d ' ' -f 1-3,5- "$work/$1.now")
    wanted=$(cat "$work/$1.wanted")
    [ "$have" != "$wanted" ] || id=$(sfdisk --part-uuid "/dev/$1" "$2")
    [ -n "$id" ] || [ "$apply/$phase" != yes/change ] || fail "no PARTUUID for partition $2 of $1"
    [ -n "$id" ] || id=partuuid-of-$2
    printf '%s' "$id" | tr 'A-F' 'a-f'
}

hold_env() { # - until let_env_go() no other run of ours writes the environment; what was decided about slots is still so
    # A write of fw_setenv is whole by itself. This is for what it rests on: between look and write another run may decide.
    local second=0 seen have
    [ "$apply" = yes ] || return 0
    mkdir -p "${lock%/*}"
    [ ! -h "$lock.env" ] || fail "$lock.env is a link, which this script did not make; remove it: rm $lock.env"
    exec 7>>"$lock.env"
    until flock -n 7; do
        [ "$second" -lt 30 ] ||
            fail "another run of this script has been writing the environment for $second seconds; when it has ended (ps w), the same command again"
        sleep 1
        second=$((second + 1))
    done
    [ "$env_state" = good ] || return 0 # what is written makes it so
    seen=$(decided_in_env)
    read_env
    have=$(decided_in_env)
    [ "$env_state/$have" != "good/$seen" ] || return 0
    stands="the environment is as the other run left it"
    fail "another run decided about the slots meanwhile ($seen became $have), so nothing of this was written; look what holds now: sh $this_script status"
}

let_env_go() { # - the others may write
    exec 7>&-
}

decided_in_env() { # - what $work/env says about the slots, for a message
    local good try
    good=$(env_value bp_good)
    try=$(env_value bp_try)
    printf 'good %s, on trial %s' "${good:-none}" "${try:-none}"
}

env_reads_back() { # NAME VALUE - the stored environment is valid and says so
    local have
    read_env
    have=$(env_value "$1")
    [ "$env_state" = good ] || fail "the environment reads back as $env_state"
    [ "$have" = "$2" ] || fail "$1 reads back as '$have'"
}

write_other_copy() { # - after a write that was read back: the other copy says the same
    cp "$work/env" "$work/env.first"
    # fw_setenv writes nothing where nothing changes; the last line takes the first one back before it writes.
    printf 'bp_again 1\nbp_again\n' >"$work/env.again"
    fw_setenv -c "$work/fw_env.config" -s "$work/env.again"
    read_env
    [ "$env_state" = good ] || fail "the environment reads back as $env_state"
    cmp "$work/env" "$work/env.first" || fail "the environment changed while its other copy was written"
}

write_left_copy() { # - what $work/env.new names is already so: is it in both copies? A cut may have come between the two writes
    local copy
    copies_agree=yes
    cut -d ' ' -f 1 "$work/env.new" >"$work/env.names"
    pick_lines "$work/env" >"$work/env.said"
    while IFS= read -r copy; do
        # One line alone means an environment without a second copy, which is another format.
        printf '%s\n%s\n' "$copy" "$copy" >"$work/fw_env.copy"
        fw_printenv -c "$work/fw_env.copy" >"$work/env.copy" 2>"$work/env.err" || copies_agree=no
        ! grep -qi 'bad crc\|default environment' "$work/env.err" || copies_agree=no
        pick_lines "$work/env.copy" >"$work/env.there"
        cmp -s "$work/env.said" "$work/env.there" || copies_agree=no
    done <"$work/fw_env.config"
    [ "$copies_agree" = no ] || return 0
    say "  the other copy of the environment does not say so yet"
    hold_env
    run write_other_copy
    let_env_go
}

copies_agree=yes # what write_left_copy() found

pick_lines() { # FILE - what that environment says of the variables in $work/env.names, sorted; an empty name is all
    awk -F = 'NR == FNR { wanted[$1]; next } ("" in wanted) || ($1 in wanted)' "$work/env.names" "$1" >"$work/env.lines"
    sort "$work/env.lines"
}

stock_env_copy() { # - the newest saved environment that starts the stock system; what its name is like when there is none
    local copy found="$env_copies/env-....txt"
    for copy in "$env_copies"/env-*.txt; do
        [ -e "$copy.sha256" ] || continue
        ! grep -q '^bootargs=.*root=/dev/fit0' "$copy" || found=$copy
    done
    printf '%s' "$found"
}

print_console_lines() { # NAME VALUE - what to type at the U-Boot console instead of fw_setenv
    at_console=yes
    if [ "$apply" = no ]; then
        say "  the lines for the U-Boot console come with --apply: only then the partition has its PARTUUID"
        return 0
    fi
    say "  type this at the U-Boot console (serial, 115200 baud, 3.3 V; choose 'U-Boot console' in its menu):"
    say "    setenv $1 '$2'"
    say "    saveenv"
    say "    reset"
}
