# ---- library: the fallback card ------------------------------------------------------------------------
#
# Made on a PC, or on the router with a card reader. The order is that of a card which, wherever it is cut, never looks
# finished:
#
#   1. a mark into the card's last MiB: this card is being made
#   2. zeros into its first MiB: no table, nothing that starts
#   3. the image from its second MiB on, and zeros behind it, so that no old overlay is found there; read back
#   4. the image's first MiB: MBR, GPT, BL2; read back
#   5. the table as long as the card, the partition `bootplan` behind all others, the rescue kit in it; read back
#   6. everything read once more; then the mark goes
#
# The mark names the image. A card with it that otherwise looks like ours is ours to write again.

card_state='' # blank, unfinished, finished, or other
card_mark=''  # what see_mark() found

# ---- what is on the card

need_card_commands() { # - what making and checking a card calls; looked at before anything else
    local name missing=''
    for name in awk cat cmp cp cut date dd df find flock grep gzip head id ls mkdir mkfs.ext4 mktemp mount mv readlink \
        rm sed sfdisk sha256sum sleep sort sync tail tar touch tr umount wc; do
        command -v "$name" >/dev/null || missing="$missing $name"
    done
    [ -z "$missing" ] || {
        printf 'refused: commands are missing:%s (sfdisk is in the package fdisk, sfdisk or util-linux; mkfs.ext4 in e2fsprogs)\n' "$missing" >&2
        exit 3
    }
}

need_room_on_card() { # - the image, the kit and the second table fit; sets kit_first and kit_sectors
    local end need
    end=$(awk '$1 == "production" { print $2 + $3 }' "$work/card.layout")
    kit_first=$(((end + 2047) / 2048 * 2048))
    # The last MiB is for the second table, and the mark.
    kit_sectors=$((card_sectors / 2048 * 2048 - 2048 - kit_first))
    need=65536
    if [ -n "$kit_wanted" ] && [ -d "$kit_wanted" ]; then
        need=$(du_sectors "$kit_wanted")
        need=$((need * 2 + 65536))
    fi
    if [ "$kit_sectors" -lt "$need" ]; then
        refuse "$card_node holds $((card_sectors / 2048)) MiB; image and kit need $(((kit_first + need + 4096) / 2048)) MiB"
        return 0
    fi
    # More is of no use, and takes time to make.
    [ "$need" -ge 524288 ] || need=524288
    [ "$kit_sectors" -le "$need" ] || kit_sectors=$((need / 2048 * 2048))
}

need_wipe_word() { # - what --wipe names is this card
    local name
    while IFS= read -r name; do
        [ -z "$name" ] || [ "$name" = "$card_word" ] ||
            refuse "--wipe names '$name', but $card_node is '$card_word'"
    done <<END
$wipe
END
}

judge_card() { # - sets card_state; refuses a card that holds something, unless --wipe names it
    local word
    dump_table "$card_node" >"$work/card.table"
    see_state
    case $card_state in
        blank) say "  $card_node is blank, $((card_sectors / 2048)) MiB" ;;
        finished) say "  $card_node is finished, and of this very plan" ;;
        unfinished) say "  $card_node is one of ours that was not finished" ;;
        *)
            case "$newline$wipe$newline" in
                *"$newline$card_word$newline"*) return 0 ;;
                *) ;;
            esac
            list_card
            word=$(as_typed "$card_word")
            refuse "$card_node is not blank; look at the list above, and if nothing of it is needed add: --wipe $word"
            ;;
    esac
}

list_card() { # - what it holds, as far as we can tell
    local model
    model=$(card_model "$card")
    say "  $card_node (${model:-no name}, $((card_sectors / 2048)) MiB) holds:"
    if [ ! -s "$work/card.table" ]; then
        say "    data without a partition table"
        return 0
    fi
    while IFS= read -r model; do
        say "    $model"
    done <"$work/card.table"
    [ -z "$card_faults" ] || say "  it is no finished card of this plan: $card_faults"
}

see_state() { # - sets card_state from what the card holds
    local place
    see_mark
    card_state=other card_faults=''
    if [ -n "$card_mark" ]; then
        card_faults='it was never finished'
        see_if_ours
        [ "$card_state" = other ] || return 0
    fi
    if [ -s "$work/card.table" ]; then
        [ -z "$card_mark" ] || return 0
        compare_places "$work/card.table"
        [ -n "$card_faults" ] || prove_card
        [ -n "$card_faults" ] || same_kit
        [ -n "$card_faults" ] || card_state=finished
        return 0
    fi
    awk '{ print int($2 / 2048) }' "$work/card.layout" >"$work/mibs"
    printf '%s\n%s\n' $((kit_first / 2048)) $((card_sectors / 2048 - 1)) >>"$work/mibs"
    while IFS= read -r place; do
        card_mib "$place"
        zeros_in_mib
        [ "$zeros" = yes ] || return 0
    done <"$work/mibs"
    # What is behind the last whole MiB.
    card_to "$work/mib" 512 $((card_sectors / 2048 * 2048)) $((card_sectors % 2048))
    zeros_in_mib
    [ "$zeros" = no ] || card_state=blank
}

see_mark() { # - sets card_mark: the image that the mark of an unfinished card names; nothing when there is none
    card_to "$work/mark" 4096 $(((card_sectors / 2048 - 1) * 256)) 1
    tr -d '\0' <"$work/mark" >"$work/mark.text"
    card_mark=$(sed -n '1s/^bootplan-card-unfinished \([0-9a-f]\{64\}\)$/\1/p' "$work/mark.text")
}

see_if_ours() { # - sets card_state to unfinished when the first MiB of a marked card is what a cut run left there
    # That is zeros, or the image's, or some of both. Without sectors 1 to 33: while the table grew, any part of it may
    # have been written. A table of somebody else's means that the card was used for something else since.
    [ ! -s "$work/card.table" ] || grep -q 'name="bl2"' "$work/card.table" || return 0
    card_mib 0
    { cmp -l "$work/mib" "$work/image.head" 2>/dev/null || true; } | awk '$2 != 0 && ($1 <= 512 || $1 > 17408)' >"$work/strange"
    [ -s "$work/strange" ] || card_state=unfinished
}

# ---- making it

make_card() { # - the steps, in the order that is told above
    step 1 6 'a mark: this card is being made'
    run write_card_mark
    step 2 6 'nothing that starts'
    run clear_head
    step 3 6 "the image, $card_mibs MiB"
    run pour_image
    run image_reads_back
    step 4 6 'its beginning'
    run write_head
    step 5 6 'the rescue kit'
    run grow_table
    run make_kit
    step 6 6 'all of it once more'
    run card_is_right
    run take_mark_away
}

write_card_mark() { # - in the last MiB: the mark, and zeros up to the card's end, where an old table was
    local rest=$((card_sectors % 2048))
    dd if=/dev/zero of="$work/mib" bs=1048576 count=1 2>/dev/null
    [ "$rest" -eq 0 ] || dd if=/dev/zero of="$work/mib" bs=512 seek=2048 count="$rest" conv=notrunc 2>/dev/null
    printf 'bootplan-card-unfinished %s\n' "$card_sum" | dd of="$work/mib" bs=4096 conv=notrunc 2>/dev/null
    need_same_card
    put_on_card if="$work/mib" bs=512 seek=$((card_sectors / 2048 * 2048 - 2048))
    mark_is_there
}

mark_is_there() { # - the mark reads back
    need_same_card
    see_mark
    [ "$card_mark" = "$card_sum" ] || fail "the end of the card does not read back: it is not as large as it says, or it is worn out"
}

clear_head() { # - the first MiB becomes zeros
    dd if=/dev/zero of="$work/mib" bs=1048576 count=1 2>/dev/null
    at_card 0 "$work/mib"
    card_mib 0
    zeros_in_mib
    [ "$zeros" = yes ] || fail "the beginning of the card does not read back as it was written"
}

pour_image() { # - the image from its second MiB on, and tells in per cent how far it is
    rm -f "$work/torn"
    # shellcheck disable=SC2312 # a stream that broke off leaves its file
    image_stream | put_pieces
    [ ! -e "$work/torn" ] || fail "'$card_image' could not be read to its end"
    mark_is_there
}

put_pieces() { # - standard input to the card, from the second MiB on
    local mib=1 count
    dd bs=1048576 count=1 iflag=fullblock of="$work/mib" 2>/dev/null # the first one comes last
    while [ "$mib" -lt "$card_mibs" ]; do
        count=8
        [ "$count" -le $((card_mibs - mib)) ] || count=$((card_mibs - mib))
        need_same_card
        put_on_card bs=1048576 seek="$mib" count="$count" iflag=fullblock
        need_same_card
        mib=$((mib + count))
        progress $((mib - count)) "$mib" "$card_mibs"
    done
}

image_reads_back() { # - what was written of the image
    local have
    have=$(card_sum_at 1048576 $(((card_mibs - 1) * 1048576)))
    need_same_card
    [ "$image_rest" = "$have" ] ||
        fail "the card does not read back what was written to it: it is broken, or not as large as it says, or '$card_image' was changed meanwhile"
}

write_head() { # - the image's first MiB, read back
    at_card 0 "$work/image.head"
    card_mib 0
    cmp "$work/mib" "$work/image.head" || fail "the beginning of the card does not read back as it was written"
}

take_mark_away() { # - the card is finished
    dd if=/dev/zero of="$work/mib" bs=4096 count=1 2>/dev/null
    need_same_card
    put_on_card if="$work/mib" bs=4096 seek=$(((card_sectors / 2048 - 1) * 256))
    need_same_card
    see_mark
    [ -z "$card_mark" ] || fail "the end of the card does not read back as it was written"
}

# ---- its table

try_table() { # - what grow_table() does, on a file that is as long as the card and takes no room: not every sfdisk can
    printf 'start=%s, size=%s, name="%s"\n' "$kit_first" "$kit_sectors" "$kit_named" >"$work/card.new"
    cp "$work/image.head" "$work/image.file"
    dd if=/dev/null of="$work/image.file" bs=512 seek="$card_sectors" 2>>"$log"
    if ! sfdisk --quiet --relocate gpt-bak-std "$work/image.file" >>"$log" 2>&1 ||
        ! sfdisk --quiet --append "$work/image.file" <"$work/card.new" >>"$log" 2>&1; then
        refuse "the sfdisk here cannot make the card's table as long as the card, and add to it (--relocate, --append); its words are in $log"
    else
        dump_table "$work/image.file" >"$work/card.table"
        head -c 1048576 "$work/image.file" >"$work/mib"
        compare_table
        [ -z "$card_faults" ] || refuse "the sfdisk here makes the card's table wrong: $card_faults"
    fi
    rm "$work/image.file"
}

grow_table() { # - the table as long as the card, and the kit's partition behind all others; nothing else of it changes
    need_same_card
    sfdisk --quiet --relocate gpt-bak-std "$card_node"
    sfdisk --quiet --append "$card_node" <"$work/card.new"
    need_same_card
    table_is_right
    [ -z "$card_faults" ] || fail "the table of the card: $card_faults"
    mark_is_there
}

# ---- the action

action_make_sd() { # DEVICE - the plan's fallback card
    at='looking at the card' stands='nothing was written to the card'
    need_fallback
    need_card "$1"
    need_card_image
    [ "$card_mibs" -eq 0 ] || see_image_rest
    need_kit
    if [ -n "$card" ]; then
        need_room_on_card
        [ "$card_mibs" -eq 0 ] || [ "$refusals" -gt 0 ] || try_table
        need_wipe_word
    fi
    stop_if_refused
    judge_card
    stop_if_refused
    phase=change
    if [ "$card_state" = finished ]; then
        so "$card_node is the card of this plan, and whole"
        tell_age
    else
        [ "$apply" = no ] || stands="the card is not finished, and does not pass for one"
        make_card
    fi
    finish "The card is finished. Try it: SW3 A=${card_switch%?} B=${card_switch#?}, power off and on; then put it where you find it."
    tell_if_mounted
}

tell_if_mounted() { # - a desktop may have mounted the kit by itself
    local blocks users
    blocks=$(card_blocks)
    # shellcheck disable=SC2086 # kernel names, split on purpose
    users=$(users_of $blocks)
    [ -z "$users" ] || note "something mounted the card meanwhile:$users; unmount that before you take it out"
}
