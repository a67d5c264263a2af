# ---- library: is a card whole? -------------------------------------------------------------------------
#
# Asked at the end of making one, and by check-sd. A card without a rescue kit is compared with the image, when that is at
# hand; of one with a kit those parts are compared that a running card does not change.

# ---- its table

table_is_right() { # - sets card_faults unless the card's table is the image's and one partition more, and its MBR the image's
    dump_table "$card_node" >"$work/card.table"
    card_mib 0
    compare_table
}

compare_table() { # - the same of the table in $work/card.table and the first MiB in $work/mib
    card_faults=''
    grep -q ": start= *$kit_first, size= *$kit_sectors,.* name=\"$kit_named\"" "$work/card.table" ||
        card_faults="no partition $kit_named where it should be"
    grep -v "name=\"$kit_named\"" "$work/card.table" >"$work/table.left" || true
    cmp -s "$work/table.left" "$work/image.table" || card_faults='other partitions than the image has'
    head -c 512 "$work/mib" >"$work/mbr"
    head -c 512 "$work/image.head" >"$work/mbr.image"
    cmp -s "$work/mbr" "$work/mbr.image" || card_faults='another MBR than the image has'
}

# ---- all of it

prove_card() { # - sets card_faults: what is wrong with a card that was made once; empty when it is whole
    card_faults=''
    see_mark
    if [ -n "$card_mark" ]; then
        card_faults='it was never finished'
        return 0
    fi
    parts_are_right
}

parts_are_right() { # - sets card_faults from the kit, and from the parts of the card that its `about` has the sums of
    local word name offset bytes want have all=' '
    card_faults=''
    look_into_kit
    [ -z "$card_faults" ] || return 0
    grep '^part ' "$work/about" >"$work/parts" || true
    while read -r word name offset bytes want; do
        see_number "$offset"
        offset=$plain
        see_number "$bytes"
        if [ -z "$offset" ] || [ -z "$plain" ]; then
            card_faults="its rescue kit does not say where its $word $name is"
            return 0
        fi
        all="$all$name "
        have=$(card_sum_at "$offset" "$plain")
        [ "$have" = "$want" ] || card_faults="${card_faults:+$card_faults; }its $word $name is not what was written"
    done <"$work/parts"
    for name in mbr bl2 fip recovery install production; do
        case $all in
            *" $name "*) ;;
            *) card_faults="${card_faults:+$card_faults; }its rescue kit has no sum of its part $name" ;;
        esac
    done
}

compare_with_image() { # - sets card_faults for a card without a kit: its parts against the image's, when that is at hand
    local name start sectors want have
    find_card_image
    if [ -z "$card_image" ]; then
        card_faults="$card_faults; with the image at hand (--image FILE) its parts can be compared"
        return 0
    fi
    need_card_image
    stop_if_refused
    card_faults=''
    printf 'mbr 0 1\n' >"$work/parts"
    cat "$work/card.layout" >>"$work/parts"
    while read -r name start sectors; do
        sectors=$((sectors * 512))
        case $name in
            mbr | bl2 | fip | recovery | install) ;;
            production) sectors=$card_fit ;;
            *) continue ;;
        esac
        want=$(image_sum_at $((start * 512)) "$sectors")
        have=$(card_sum_at $((start * 512)) "$sectors")
        [ "$have" = "$want" ] || card_faults="${card_faults:+$card_faults; }its part $name is not that of the image"
    done <"$work/parts"
    [ -n "$card_faults" ] || note "it has no rescue kit: another program wrote it; when, nobody knows"
}

card_is_right() { # - the last look before the mark goes: all of the image again, the table, the kit
    local have
    have=$(sum_of_image)
    [ "$have" = "$card_sum" ] || fail "'$card_image' was changed meanwhile: it is not the image of the plan any more"
    image_reads_back
    table_is_right
    [ -n "$card_faults" ] || parts_are_right
    [ -z "$card_faults" ] || fail "the card: $card_faults"
    need_same_card
}

# ---- the action

action_check_sd() { # DEVICE - is that a finished card, of which release, how old?
    local path have
    card_reading=yes at='looking at the card' stands='nothing was written to the card'
    need_fallback
    see_card "$1"
    stop_if_refused
    path=$(readlink -f "/sys/class/block/$card")
    need_removable "$path"
    stop_if_refused
    card_mib 0
    dump_table "$card_node" >"$work/card.table"
    compare_places "$work/card.table"
    if [ -n "$card_faults" ]; then
        say "not a card of this board: $card_faults"
        exit_code=1
        return 0
    fi
    prove_card
    if [ -s "$work/about" ]; then
        tell_age
        have=$(about_says sha256)
        [ "$have" = "$card_sum" ] || card_faults="${card_faults:+$card_faults; }it is of another image than the plan's"
    elif [ "$card_faults" = "$no_kit" ]; then
        compare_with_image
    fi
    if [ -n "$card_faults" ]; then
        say "the card is not proven: $card_faults"
        exit_code=1
        return 0
    fi
    say "the card is whole: table, bl2, fip, recovery, install, the FIT in production${kit_first:+, and the rescue kit} read back as they were written"
}

tell_age() { # - release and age of the card
    local made now release days day
    release=$(about_says release)
    day=$(about_says made)
    made=$(about_says made-at)
    see_number "$made"
    made=${plain:-0}
    now=$(date +%s)
    days=$(((now - made) / 86400))
    if [ "$now" -lt "$made" ]; then
        say "  OpenWrt $release, made $day; the clock here is before that"
    else
        say "  OpenWrt $release, made $days days ago ($day)"
        [ "$days" -le "$card_days" ] || note "that is more than the $card_days days of the plan: make it anew"
    fi
    if [ -s "$work/proven" ]; then
        day=$(cat "$work/proven")
        say "  a router was started from it: $day"
    else
        say "  its kit does not know that a router was ever started from it"
    fi
}
