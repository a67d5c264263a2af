# ---- library: the rescue kit on the card ---------------------------------------------------------------
#
# A partition behind all others, with this script, the plan, the recovery card, a backup, SHA256SUMS of
# all of it, and `about`: what the card is, and the sums of those of its parts that a running card does not change. That
# comes last. Whoever wrote the card may have written anything there.

kit_wanted='' # --kit
kit_first=0   # the kit's partition: its first sector,
kit_sectors=0 # and its size
kit_node=''   # its device
plain=''      # what see_number() found
kit_named=bootplan
kit_label=bootplan-kit
no_kit='it has no partition with a rescue kit'

need_kit() { # - what --kit names is a backup, or a folder that one was unpacked into, and whole
    local name
    [ -n "$kit_wanted" ] || return 0
    if [ -f "$kit_wanted" ]; then
        open_archive "$kit_wanted" "$work/unpacked"
        kit_wanted=$opened
        [ -n "$kit_wanted" ] || return 0
    fi
    if [ ! -d "$kit_wanted" ] || [ ! -f "$kit_wanted/SHA256SUMS" ]; then
        refuse "'$kit_wanted' is no backup, and no folder that one was unpacked into: it has no SHA256SUMS"
        return 0
    fi
    (cd "$kit_wanted" && sha256sum -c SHA256SUMS) >>"$log" 2>&1 ||
        refuse "'$kit_wanted' is not what its SHA256SUMS says"
    name=$(find "$kit_wanted" -mindepth 1 ! -type f)
    [ -z "$name" ] || refuse "'$kit_wanted' holds more than files"
    find "$kit_wanted" >"$work/names"
    name=$(LC_ALL=C tr -d '\n -[]-~' <"$work/names")
    [ -z "$name" ] || refuse "'$kit_wanted' holds a name with letters that are not ASCII, or with a backslash"
}

du_sectors() { # FOLDER - what its files take, in sectors
    local table
    table=$(du -sk "$1")
    printf '%s' "$table" | awk 'END { print $1 * 2 }'
}

# ---- its partition

see_kit_node() { # - sets kit_node: the partition that begins at kit_first, when the kernel and its node are there
    local entry start number have
    kit_node=''
    for entry in "/sys/class/block/$card/$card"*; do
        [ -e "$entry/start" ] || continue
        read -r start <"$entry/start"
        { [ "$start" -eq "$kit_first" ] && [ -b "/dev/${entry##*/}" ]; } || continue
        read -r number <"$entry/dev"
        have=$(device_number "/dev/${entry##*/}")
        [ "$have" != "$number" ] || kit_node=/dev/${entry##*/}
    done
}

wait_for_kit_node() { # - ten seconds at most
    local second
    for second in 1 2 3 4 5 6 7 8 9 10; do
        see_kit_node
        [ -z "$kit_node" ] || return 0
        sleep 1
    done
    fail "the partition $kit_named of the card does not appear (waited $second s); is something else using the card?"
}

kit_users() { # - who has the kit's partition, for a message; nothing when nobody has
    local number users more
    users=$(users_of "${kit_node##*/}")
    read -r number <"/sys/class/block/${kit_node##*/}/dev"
    more=$(sources_of "$number")
    case "$users " in *"$more "*) ;; *) users="$users$more" ;; esac
    printf '%s' "$users"
}

refuse_if_kit_used() { # - who has it mounted, like many a desktop by itself, may be writing to it
    local users
    [ -n "$kit_node" ] || return 0
    users=$(kit_users)
    [ -z "$users" ] || refuse "the card's rescue kit is in use:$users; unmount it first: umount $kit_node"
    stop_if_refused
}

need_kit_alone() { # - nobody else has it; while we write it somebody else's mount would keep back what ours unmounts
    local users
    users=$(kit_users)
    [ -z "$users" ] || fail "something else mounted the card's rescue kit meanwhile:$users; unmount it (umount $kit_node)"
}

to_card() { # FILE... - what was written to these files is on the card, whoever else has them open; fsync is not everywhere
    local file
    for file; do
        dd if=/dev/null of="$file" conv=notrunc,fsync 2>>"$log"
    done
}

# ---- what is in it

kit_files() { # - what this script itself puts into the kit, in $work/kit
    rm -rf "$work/kit"
    mkdir "$work/kit"
    cat "$0" >"$work/kit/r4.sh"
    kit_plan >"$work/kit/plan.yaml"
    kit_card >"$work/kit/card.md"
}

kit_sums() { # - the sums of all that goes into the kit, taken from where it comes from
    (cd "$work/kit" && sha256sum -- *)
    [ -n "$kit_wanted" ] || return 0
    (cd "$kit_wanted" && sha256sum -- *) >"$work/backup.sums"
    sed 's/^\([0-9a-f]*  \)/\1backup\//' "$work/backup.sums"
}

make_kit() { # - a file system, the files, and last of all `about`
    wait_for_kit_node
    need_kit_alone
    mkfs.ext4 -q -F -L "$kit_label" -E lazy_itable_init=0,lazy_journal_init=0 "$kit_node"
    need_same_card
    kit_files
    about_card >"$work/kit/about"
    kit_sums >"$work/kit.sums"
    mkdir -p "$work/target"
    need_kit_alone
    mount -t ext4 "$kit_node" "$work/target"
    cp "$work/kit/r4.sh" "$work/kit/plan.yaml" "$work/kit/card.md" "$work/target/"
    cp "$work/kit.sums" "$work/target/SHA256SUMS"
    if [ -n "$kit_wanted" ]; then
        mkdir "$work/target/backup"
        cp "$kit_wanted"/* "$work/target/backup/"
        to_card "$work/target/backup"/*
    fi
    to_card "$work/target/r4.sh" "$work/target/plan.yaml" "$work/target/card.md" "$work/target/SHA256SUMS"
    umount "$work/target" # all of that is on the card before `about` says so
    need_kit_alone
    mount -t ext4 "$kit_node" "$work/target"
    cp "$work/kit/about" "$work/target/about.new"
    to_card "$work/target/about.new"
    mv "$work/target/about.new" "$work/target/about"
    to_card "$work/target/about"
    umount "$work/target"
    need_kit_alone
    need_same_card
}

about_card() { # - what the card is, and the sums of those parts that a running card does not change
    local name start sectors sum
    printf 'bootplan-card 1\nrelease %s\nimage %s\nsha256 %s\nplan %s\nversion %s\n' "$card_release" "$card_file" "$card_sum" \
        "$plan_name" "$plan_version"
    date '+made %Y-%m-%d%nmade-at %s'
    sum=$(card_sum_at 0 512)
    printf 'part mbr 0 512 %s\n' "$sum"
    while read -r name start sectors; do
        case $name in
            bl2 | fip | recovery | install) sectors=$((sectors * 512)) ;;
            production) sectors=$card_fit ;;
            *) continue ;; # the environment, and what is the board's own
        esac
        sum=$(card_sum_at $((start * 512)) "$sectors")
        printf 'part %s %s %s %s\n' "$name" $((start * 512)) "$sectors" "$sum"
    done <"$work/card.layout"
}

see_number() { # WORD - sets plain: that number without the zeros before it, which mean octal to a shell; nothing unless it is 1 to 15 digits
    plain=''
    case $1 in '' | *[!0-9]* | ????????????????*) return 0 ;; *) ;; esac
    plain=$1
    while [ "${#plain}" -gt 1 ] && [ "$plain" != "${plain#0}" ]; do
        plain=${plain#0}
    done
}

about_says() { # WORD - what `about` says of it, from $work/about
    sed -n "s/^$1 //p" "$work/about"
}

look_into_kit() { # - the kit read from the card: its sums; `about`, SHA256SUMS and `proven` go to $work
    local failed strange
    rm -f "$work/about" "$work/sums" "$work/proven"
    dump_table "$card_node" >"$work/card.table"
    kit_first=$(sed -n "s/.*start= *\\([0-9]*\\),.*name=\"$kit_named\".*/\\1/p" "$work/card.table")
    [ -n "$kit_first" ] || {
        card_faults=$no_kit
        return 0
    }
    see_kit_node
    mkdir -p "$work/look"
    refuse_if_kit_used
    if [ -z "$kit_node" ] || ! mount -t ext4 -o ro,noload,nodev,nosuid,noexec "$kit_node" "$work/look" 2>>"$log"; then
        card_faults='its rescue kit cannot be mounted (is something else using it?)'
        return 0
    fi
    # Anybody may have written it: it names no file outside the kit, and what of it is used or shown is short and plain.
    failed=no
    strange=$(find "$work/look" ! -type f ! -type d)
    if [ -z "$strange" ]; then
        short_and_plain SHA256SUMS 1048576 >"$work/sums"
        short_and_plain about 8192 >"$work/about"
        short_and_plain proven 100 >"$work/proven.said"
        tr -cd '0-9A-Za-z. -' <"$work/proven.said" >"$work/proven"
        grep -q '.' "$work/sums" || failed=yes
        ! grep -Ev '^[0-9a-f]{64}  [^/]' "$work/sums" >>"$log" || failed=yes
        ! grep -E '(  |/)\.\.(/|$)' "$work/sums" >>"$log" || failed=yes
        [ "$failed" = yes ] || (cd "$work/look" && sha256sum -c "$work/sums") >>"$log" 2>&1 || failed=yes
    fi
    umount "$work/look"
    [ "$failed" = no ] || card_faults='its rescue kit is not what its SHA256SUMS says'
    grep -qs '^bootplan-card 1$' "$work/about" || card_faults='its rescue kit is not finished'
    [ -z "$strange" ] || card_faults='its rescue kit holds more than files'
}

short_and_plain() { # NAME BYTES - so much of that file of the kit, what is printable and ends of lines; nothing when there is none
    [ -f "$work/look/$1" ] || return 0
    # shellcheck disable=SC2312 # what could not be read is missing afterwards
    head -c "$2" "$work/look/$1" | LC_ALL=C tr -cd '\n -~'
}

same_kit() { # - sets card_faults unless the finished card is the one that would be made now
    local have
    have=$(about_says sha256)
    if [ "$have" != "$card_sum" ]; then
        card_faults='it is of another image'
        return 0
    fi
    kit_files
    kit_sums >"$work/kit.sums"
    # Which also has the sum of `about`, of another day.
    grep -v '  about$' "$work/sums" >"$work/sums.have" || true
    if [ -z "$kit_wanted" ]; then # a backup that is there stays
        grep -v '  backup/' "$work/sums.have" >"$work/sums.left" || true
        mv "$work/sums.left" "$work/sums.have"
    fi
    cmp -s "$work/sums.have" "$work/kit.sums" || card_faults='its rescue kit is of another plan, script or backup'
}

kit_remembers() { # DAY RELEASE - this system runs from the card: its rescue kit knows from now on that it does
    local part have=''
    part=$(card_part_named "$kit_named")
    [ -n "$part" ] || return 0
    mkdir -p "$work/look"
    mount -t ext4 -o ro,noload "/dev/$part" "$work/look" 2>>"$log" || {
        note "the rescue kit on /dev/$part cannot be mounted"
        return 0
    }
    [ ! -f "$work/look/proven" ] || have=$(cat "$work/look/proven")
    umount "$work/look"
    if [ "$have" = "$1 with OpenWrt $2" ]; then
        so "the rescue kit knows it"
        return 0
    fi
    run tell_kit "$part" "$1 with OpenWrt $2"
}

tell_kit() { # PART LINE - that line into the kit
    mkdir -p "$work/target"
    mount -t ext4 "/dev/$1" "$work/target"
    write_file "$work/target/proven" "$2"
    umount "$work/target"
}
