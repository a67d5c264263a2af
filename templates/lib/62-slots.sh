# ---- library: two slots ------------------------------------------------------------------------------
#
# A slot is a kernel and a root that belong together. The U-Boot environment alone says which one starts:
#
#   bp_good           the slot that is known to be good
#   bp_try, bp_left   the slot on trial, and how often it may still be started
#   bp_why            what was wrong when a trial gave up
#
# Each decision is one write of fw_setenv, and then the same once more into the other copy. The slot that runs is never written to.

slots_kind=none # none; pair, volume, partition, shared: where the kernel of a slot is
slots_method='' # overlay or root: what its partition on the disk is
slots_tries=0
slots_within=0  # seconds a trial has to prove itself
slots_deadman=0 # seconds after which it is ended by force
disk_a='' number_a=0 kind_a='' label_a=''
disk_b='' number_b=0 kind_b='' label_b=''

chooser_first='' # what bootcmd begins with, once U-Boot chooses

slot_good='' slot_try='' slot_left='' # what the environment says
slot_running=''                       # a or b; nothing when no slot runs
slot_idle=''                          # the other one
slot_told=''                          # which one U-Boot said it starts
on_trial=no                           # yes when the kernel was started as a trial

slot_disk='' slot_number=0 slot_kind='' slot_label='' # what use_slot() set

slots_are() { # KIND METHOD TRIES WITHIN DEADMAN - what both slots have in common
    slots_kind=$1 slots_method=$2 slots_tries=$3 slots_within=$4 slots_deadman=$5
}

no_slots() { # - this plan has none
    slots_kind=none
}

chooser_begins() { # TEXT - what bootcmd begins with, before what it was
    chooser_first=$1
}

slot() { # NAME DISK NUMBER KIND LABEL - where the root of that slot is
    case $1 in
        a) disk_a=$2 number_a=$3 kind_a=$4 label_a=$5 ;;
        *) disk_b=$2 number_b=$3 kind_b=$4 label_b=$5 ;;
    esac
}

use_slot() { # NAME - sets slot_disk, slot_number, slot_kind, slot_label
    case $1 in
        a) slot_disk=$disk_a slot_number=$number_a slot_kind=$kind_a slot_label=$label_a ;;
        *) slot_disk=$disk_b slot_number=$number_b slot_kind=$kind_b slot_label=$label_b ;;
    esac
}

other_slot() { # NAME - the one that is not NAME
    case $1 in a) printf 'b' ;; *) printf 'a' ;; esac
}

slot_of_root() { # - the slot whose partition the system runs from, after see_system(); nothing when it is none
    local name disk
    for name in a b; do
        use_slot "$name"
        disk=$(disk_named "$slot_disk")
        [ "$system/$system_block" != "$slots_method/${disk:-none}p$slot_number" ] || printf '%s' "$name"
    done
}

see_slots() { # - sets what is above from the environment ($work/env), the kernel's command line and the mounts
    local command='' letter
    slot_good=$(env_value bp_good)
    slot_try=$(env_value bp_try)
    slot_left=$(env_value bp_left)
    read -r command </proc/cmdline || true
    slot_told='' on_trial=no
    case " $command " in *' bootplan.slot=a '*) slot_told=a ;; *' bootplan.slot=b '*) slot_told=b ;; *) ;; esac
    case " $command " in *' bootplan.trial=1 '*) on_trial=yes ;; *) ;; esac
    see_system
    slot_running=$(slot_of_root)
    if [ -z "$slot_running" ] && [ "$slots_kind/$system" = pair/internal ] && [ -n "$slot_good" ]; then
        # The disk of the overlay did not come up: of a pair the kernel's letter still tells.
        slot_running=$slot_told
        for letter in a b; do
            command=$(volume_named "fit_$letter")
            [ -z "$command" ] || slot_running=$(other_slot "$letter")
        done
    fi
    slot_idle=''
    [ -z "$slot_running" ] || slot_idle=$(other_slot "$slot_running")
}

need_slots() { # - the plan's slots are installed, one of them runs, and all that tells which one agrees
    local letter
    if [ "$slots_kind" = none ]; then
        refuse "this plan has no slots"
        return 0
    fi
    [ -s "$work/env" ] || return 0 # need_env told it
    see_slots
    case $slot_good in
        a | b) ;;
        *)
            refuse "no slots are installed here: sh $this_script install"
            return 0
            ;;
    esac
    if [ -z "$slot_running" ]; then
        refuse "the router runs from neither slot ($system${system_block:+ on /dev/$system_block}); restart it, and if it comes back here: sh $this_script status"
    elif [ -n "$slot_told" ] && [ "$slot_told" != "$slot_running" ]; then
        refuse "U-Boot started slot $slot_told, but the root is that of slot $slot_running"
    elif [ "$slots_kind" = pair ]; then
        letter=$(volume_named "fit_$slot_running")
        [ -z "$letter" ] || refuse "the volume fit_$slot_running exists, although slot $slot_running runs"
    fi
    [ -n "$slot_told" ] || note "U-Boot did not start this by the slots; the next restart does"
}

need_no_trial_here() { # - the slot that runs is the good one, whole, and not itself on trial
    if [ "$slots_method/$system" = overlay/internal ]; then
        see_slot_root
        # One that fstab does not name, or that is for another firmware, does not come back: this is all there is of the slot.
        [ -n "$stale" ] ||
            refuse "slot $slot_running runs without its overlay on the disk: restart the router, and if it comes back so look at the disk: dmesg | grep -e nvme -e pcie"
    fi
    [ "$slot_try" != "${slot_running:-none}" ] ||
        refuse "slot $slot_running is on trial; first: sh $this_script confirm --apply, or: sh $this_script rollback --apply"
    [ -z "$slot_running" ] || [ "$slot_running" = "$slot_good" ] || [ "$slot_try" = "$slot_running" ] ||
        refuse "slot $slot_running runs, but slot $slot_good is the good one; restart the router first"
}

see_slot_root() { # - sets stale: why the root of the slot that runs is not for the firmware that runs, or does not come back
    local disk
    stale=''
    if [ "$system" = "$slots_method" ]; then
        see_running_state "$slots_method"
        return 0
    fi
    use_slot "$slot_running"
    disk=$(disk_named "$slot_disk")
    [ -b "/dev/${disk:-none}p$slot_number" ] || return 0
    probe "/dev/${disk}p$slot_number" 0
    look_inside "${disk}p$slot_number" "$kind"
    [ -z "$stale" ] || return 0
    find_disk_roots /etc/config
    # Also where it was not unmounted, and so cannot be looked into.
    [ -s "$work/roots" ] || stale='an overlay that its fstab does not name'
}

need_fitting_slot() { # - the root of the slot that runs is for the firmware that runs
    local way
    [ -n "$slot_running" ] || return 0 # need_slots told it
    see_slot_root
    way=$(mend_slot)
    [ -z "$stale" ] || refuse "the root of slot $slot_running is $stale; $way"
}

# ---- decisions

change_env() { # [NAME VALUE]... - these variables become so by one write, and read back; an empty VALUE deletes
    local have
    : >"$work/env.new"
    env_change=no
    while [ "$#" -ge 2 ]; do
        have=$(env_value "$1")
        [ "$have" = "$2" ] || env_change=yes
        printf '%s\n' "$1${2:+ $2}" >>"$work/env.new"
        shift 2
    done
    write_change
}

env_change=no # yes when something is to be written

write_change() { # - writes what $work/env.new says, and shows it, unless that is already so
    if [ "$env_change" = no ]; then
        write_left_copy
        return 0
    fi
    say "  the environment:"
    while IFS= read -r line; do
        say "    $line"
    done <"$work/env.new"
    hold_env
    run fw_setenv -c "$work/fw_env.config" -s "$work/env.new"
    run change_reads_back
    run write_other_copy
    let_env_go
}

change_reads_back() { # - the stored environment is valid and says what $work/env.new wanted
    local name value have
    read_env
    [ "$env_state" = good ] || fail "the environment reads back as $env_state"
    while read -r name value; do
        have=$(env_value "$name")
        [ "$have" = "$value" ] || fail "$name reads back as '$have'"
    done <"$work/env.new"
}

end_trial() { # - no slot is on trial any more
    [ "$phase" = change ] || return 0
    change_env bp_try '' bp_left '' bp_fell '' bp_why ''
    slot_try=''
    # A rehearsal goes on as if it were so.
    [ "$apply" = yes ] || sed -i -e '/^bp_try=/d' -e '/^bp_left=/d' "$work/env"
}

begin_trial() { # - the idle slot starts next, as often as the plan lets it try
    [ "$phase" = change ] || return 0
    [ "$apply" = no ] || boots="slot $slot_idle on trial, or slot $slot_good if the environment was not written any more"
    change_env bp_try "$slot_idle" bp_left "$slots_tries" bp_fell '' bp_why ''
    [ "$env_change" = yes ] || so "slot $slot_idle is on trial"
    [ "$apply" = no ] || boots="slot $slot_idle on trial"
}

confirm_trial() { # - the slot on trial is the good one from now on
    change_env bp_good "$slot_running" bp_try '' bp_left '' bp_fell '' bp_why ''
}

# ---- what is in a slot: /etc/bootplan/slot-a and slot-b of each system

slot_says() { # NAME KEY - what the record of that slot says
    [ ! -e "$env_copies/slot-$1" ] || sed -n "s/^$2 //p" "$env_copies/slot-$1"
}

record_slot() { # FOLDER NAME STATE VERSION HEX BYTES - what is in that slot, noted in the system below FOLDER
    local date
    date=$(date +%Y-%m-%dT%H:%M:%S)
    mkdir -p "$1$env_copies"
    write_file "$1$env_copies/slot-$2" "state $3${newline}version $4${newline}sha256 $5${newline}bytes $6${newline}written $date"
}

kernel_of() { # SLOT - the device of that slot's kernel: a UBI volume or a partition of the card; nothing when there is none
    local first
    case $slots_kind/$1 in
        "pair/$slot_running") volume_named fit ;;
        pair/* | volume/*) volume_named "fit_$1" ;;
        partition/*) card_part_named "fit_$1" ;;
        *) # both slots have the medium's own
            first=$(volume_named fit)
            [ "$plan_medium" = nand ] || first=$(card_part_named production)
            printf '%s' "$first"
            ;;
    esac
}

need_whole() { # SLOT - it was finished, and its kernel is what was written there
    local state sum size device have
    state=$(slot_says "$1" state)
    if [ "$state" != complete ]; then
        refuse "slot $1 holds no finished system (${state:-nothing was written there}); first: sh $this_script upgrade IMAGE"
        return 0
    fi
    [ "$slots_kind" != shared ] || return 0
    sum=$(slot_says "$1" sha256)
    size=$(slot_says "$1" bytes)
    device=$(kernel_of "$1")
    if [ -z "$device" ]; then
        refuse "the kernel of slot $1 is not there any more"
        return 0
    fi
    have=$(sum_of "/dev/$device" "$size")
    [ "$have" = "$sum" ] || refuse "the kernel of slot $1 is not what was written there"
}

mend_slot() { # - what to type when the system of the slot that runs is not whole: install copies nothing into a slot again
    local state kernel
    kernel=$(uname -r)
    state=$(slot_says "$slot_idle" state)
    case $slots_kind/$state in
        shared/*) printf 'sh %s upgrade IMAGE --apply, where IMAGE has the kernel that runs (%s), then reboot' "$this_script" "$kernel" ;;
        */complete) printf 'sh %s switch --apply, then reboot; when there is an image, from there: sh %s upgrade IMAGE' "$this_script" "$this_script" ;;
        *) printf 'sh %s upgrade IMAGE --apply, then reboot' "$this_script" ;;
    esac
}

need_idle_root() { # - the partition of the idle slot holds a finished system
    local disk
    use_slot "$slot_idle"
    disk=$(disk_named "$slot_disk")
    if [ ! -b "/dev/${disk:-none}p$slot_number" ]; then
        refuse "the disk of slot $slot_idle is not here"
        return 0
    fi
    probe "/dev/${disk}p$slot_number" 0
    look_inside "${disk}p$slot_number" "$kind"
    case $inside in
        "complete $slots_method" | unread*) ;;
        *) refuse "/dev/${disk}p$slot_number holds no finished system ($inside)" ;;
    esac
}

# ---- leaving slots

need_slots_to_leave() { # - what runs is what the stock commands start: the good slot's pair, or the stock system itself
    # When there is none, need_env told it.
    [ -s "$work/env" ] || return 0
    see_slots
    case $slots_kind/$system in
        pair/* | */root | */overlay) need_slots ;;
        *) [ -n "$slot_good" ] || refuse "no slots are installed here" ;;
    esac
}

leave_slots() { # - the stock commands alone, and none of our variables
    local boot name
    boot=$(env_value bootcmd)
    boot=${boot#"$chooser_first"}
    sed -n '/^bp_proven=/d; s/^\(bp_[^=]*\)=.*/\1/p' "$work/env" >"$work/env.ours"
    set -- bootcmd "$boot"
    while IFS= read -r name; do
        set -- "$@" "$name" ''
    done <"$work/env.ours"
    change_env "$@"
}
