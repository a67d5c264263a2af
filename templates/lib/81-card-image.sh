# ---- library: the fallback card's image ----------------------------------------------------------------
#
# What is known of it before a card is touched: that it is the plan's, unpacks to its end, and has the board's partitions
# and a system. Like all that makes and checks a card this uses only what a PC and the router both have.

fallback=no     # yes when the plan has one
card_file=''    # what the plan says of it: the image's name,
card_sum=''     # its SHA-256,
card_release='' # its release,
card_days=0     # and after how many days it is stale
card_switch=''  # SW3's digits at A and B for the SD card
image_wanted='' # --image
card_image=''   # the image's file
card_bytes=0    # its bytes when they are unpacked
card_mibs=0     # what is written: those, up to a whole MiB, and two more of zeros
image_rest=''   # the SHA-256 of that from the second MiB on
card_fit=0      # bytes of the FIT in production up to the end of its squashfs
card_faults=''  # what is wrong with the image, or with the card

fallback_card() { # FILE SUM RELEASE DAYS SWITCH - the plan has a fallback: that image; stale after so many days; SW3's digits for it
    fallback=yes card_file=$1 card_sum=$2 card_release=$3 card_days=$4 card_switch=$5
    : >"$work/card.layout"
}

card_place() { # NAME START SECTORS - a partition of the image's table
    printf '%s %s %s\n' "$1" "$2" "$3" >>"$work/card.layout"
}

no_card() { # - the plan has none
    fallback=no
}

need_fallback() { # - the plan has a fallback
    plan_fallback
    [ "$fallback" = yes ] || refuse "this plan has no fallback: section"
    stop_if_refused
}

# ---- the image

find_card_image() { # - sets card_image: --image, or the plan's file here or beside this script; nothing when it is nowhere
    local folder
    card_image=$image_wanted
    case $0 in */*) folder=${0%/*} ;; *) folder=. ;; esac
    if [ -z "$card_image" ] && [ -f "./$card_file" ]; then
        card_image=./$card_file
    elif [ -z "$card_image" ] && [ -f "$folder/$card_file" ]; then
        card_image=$folder/$card_file
    fi
}

need_card_image() { # - the image is the one the plan names, whole, and a card of this board
    local have
    find_card_image
    if [ -z "$card_image" ]; then
        refuse "the image $card_file is neither here nor beside this script; fetch it, or name it: --image FILE"
        return 0
    elif [ ! -f "$card_image" ] || [ ! -r "$card_image" ]; then
        refuse "'$card_image' is no file that can be read"
        return 0
    fi
    have=$(sum_of_image)
    if [ "$have" != "$card_sum" ]; then
        refuse "'$card_image' is not the image of the plan: its SHA-256 is $have, the plan says $card_sum"
        return 0
    fi
    see_card_image
    [ "$card_mibs" -eq 0 ] || say "  the image is whole: $((card_bytes / 1048576)) MiB, OpenWrt $card_release"
}

sum_of_image() { # - the SHA-256 of the image's file
    local sum
    sum=$(sha256sum <"$card_image")
    printf '%s' "${sum%% *}"
}

see_card_image() { # - sets card_bytes, card_mibs, card_fit and the files image.head and image.table; refuses what is no card
    local size end packed
    card_mibs=0
    rm -f "$work/torn"
    # shellcheck disable=SC2312 # what breaks off leaves its file
    size=$(unpacked | wc -c)
    size=$((size + 0)) # some put blanks before it
    if [ -e "$work/torn" ]; then
        refuse "'$card_image' is damaged: it cannot be unpacked to its end (gzip)"
        return 0
    fi
    # The last 4 bytes of a gzip stream are its content's length (RFC 1952). gzip ignores what stands behind a stream.
    tail -c 4 "$card_image" >"$work/packed"
    packed=$(number_in "$work/packed")
    if [ "$packed" -ne $((size % 4294967296)) ]; then
        refuse "'$card_image' has something behind its compressed stream: it is no card image of a release"
        return 0
    fi
    end=$(awk '$1 == "production" { print $2 + $3 }' "$work/card.layout")
    if [ "$size" -le 1048576 ] || [ $((size + 2097152)) -gt $((end * 512)) ]; then
        refuse "'$card_image' unpacks to $size bytes: that is no card image of this board"
        return 0
    fi
    card_bytes=$size
    image_bytes_at 0 1048576 >"$work/image.head"
    table_of_image "$end"
    compare_places "$work/image.table"
    if [ -n "$card_faults" ]; then
        refuse "'$card_image' has not the partitions of this board's card: $card_faults"
        return 0
    fi
    see_card_fit
    [ "$card_fit" -ne 0 ] || {
        refuse "'$card_image' has no system (a FIT with a squashfs) in its partition production"
        return 0
    }
    card_mibs=$(((size + 1048575) / 1048576 + 2))
}

unpacked() { # - the image's bytes; leaves $work/torn when they break off
    # 2 is a warning, of GNU's gzip alone: something stands behind the stream. The caller finds that out by itself.
    gzip -dc "$card_image" 2>>"$log" || [ "$?" -eq 2 ] || touch "$work/torn"
}

see_image_rest() { # - sets image_rest: what is going to be written is known before the first write
    rm -f "$work/torn"
    image_rest=$(image_sum_at 1048576 $(((card_mibs - 1) * 1048576)))
    [ ! -e "$work/torn" ] || refuse "'$card_image' could not be read to its end"
}

image_stream() { # - the image's bytes, and zeros behind them
    unpacked
    dd if=/dev/zero bs=1048576 count=4 2>/dev/null || true # who reads may have enough
}

image_bytes_at() { # OFFSET BYTES - these bytes of the image
    # shellcheck disable=SC2312 # who takes them counts or compares them
    image_stream | tail -c "+$(($1 + 1))" 2>/dev/null | head -c "$2"
}

number_in() { # FILE - the number that its few bytes are, the lowest first
    # cmp tells each byte that is not zero, in octal: neither hexdump nor od is everywhere.
    { cmp -l "$1" /dev/zero 2>/dev/null || true; } | awk '
        { digits = $2; value = 0
          for (i = 1; i <= length(digits); i++) value = value * 8 + substr(digits, i, 1)
          number += value * 256 ^ ($1 - 1) }
        END { printf "%.0f", number }'
}

see_card_fit() { # - sets card_fit: how long the FIT in production is, up to the end of its squashfs; 0 when there is none
    local start at
    card_fit=0
    start=$(awk '$1 == "production" { print $2 * 512 }' "$work/card.layout")
    image_bytes_at "$start" 4 >"$work/packed"
    printf '\320\015\376\355' | cmp -s - "$work/packed" || return 0
    squashfs_places "$start" >"$work/found"
    while IFS= read -r at; do
        [ "$card_fit" -eq 0 ] || break
        image_bytes_at $((start + at)) 96 >"$work/super"
        dd if="$work/super" of="$work/packed" bs=4 skip=7 count=1 2>/dev/null
        printf '\004\000\000\000' | cmp -s - "$work/packed" || continue # version 4.0 (fs/squashfs/squashfs_fs.h of Linux)
        dd if="$work/super" of="$work/packed" bs=8 skip=5 count=1 2>/dev/null
        card_fit=$(number_in "$work/packed")
        card_fit=$((at + (card_fit + 4095) / 4096 * 4096))
    done <"$work/found"
    [ $((start + card_fit)) -le $(((card_bytes + 4095) / 4096 * 4096)) ] || card_fit=0
}

squashfs_places() { # OFFSET - where, from there on, a squashfs may begin: each offset on a line
    # shellcheck disable=SC2312 # a short list leads to no squashfs
    if command -v strings >/dev/null; then
        image_bytes_at "$1" "$card_bytes" | strings -a -t d -n 4 2>/dev/null | awk '$2 ~ /^hsqs/ && $1 % 4096 == 0 { print $1 }'
    else
        image_bytes_at "$1" "$card_bytes" | LC_ALL=C grep -abo hsqs | awk -F : '$1 % 4096 == 0 { print $1 }'
    fi
}

image_sum_at() { # OFFSET BYTES - the SHA-256 of these bytes of the image, with zeros behind it
    local sum
    # shellcheck disable=SC2312 # what could not be read has another sum
    sum=$(image_bytes_at "$1" "$2" | sha256sum)
    printf '%s' "${sum%% *}"
}

# ---- its table

table_of_image() { # SECTORS - what sfdisk says of the image's table, in $work/image.table; on a file that is as long and takes no room
    cp "$work/image.head" "$work/image.file"
    dd if=/dev/null of="$work/image.file" bs=512 seek=$(($1 + 34)) 2>/dev/null
    dump_table "$work/image.file" >"$work/image.table"
    rm "$work/image.file"
}

dump_table() { # FILE - the lines of its GPT without the device's name: NUMBER : start=…; nothing when it has none
    sfdisk --dump "$1" >"$work/dump" 2>/dev/null || return 0
    grep -q '^label: gpt$' "$work/dump" || {
        sed -n 's/^label: /other /p' "$work/dump"
        return 0
    }
    sed -n 's/^\/[^ ]*[^0-9 ]\([0-9][0-9]* : start=.*\)/\1/p' "$work/dump"
}

compare_places() { # TABLE - sets card_faults when its first partitions are not those of the board's image
    awk 'NR == FNR { want[NR] = $0; all = NR; next }
        { line = $0; number = $1
          sub(/.*start= */, "", line); start = line + 0
          sub(/.*size= */, "", line); size = line + 0
          name = ""
          if (sub(/.*name="/, "", line)) { sub(/".*/, "", line); name = line }
          have[number] = name " " start " " size }
        END { for (i = 1; i <= all; i++) if (have[i] != want[i]) { print "partition " i " is \"" have[i] "\", not \"" want[i] "\""; exit } }' \
        "$work/card.layout" "$1" >"$work/places"
    card_faults=$(cat "$work/places")
}
