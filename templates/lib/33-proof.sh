# ---- library: does the disk keep what it is given? ---------------------------------------------------
#
# Asked when the table is written, before the first file system is made. A disk that says it is larger than it is loses
# what lies behind its true end, or puts it in place of something else. So blocks that name their place are written at
# both ends of each partition that this run makes, and at some 1,000 places between; then all of them must read back,
# past the page cache, and none may have come into the beginning of the disk, where the first of those behind a true end
# would be. Only partitions are written to that get a new file system anyway, and the mark names them first.

to_make=''      # the partitions that the first walk found to be made, like nvme0n1/2, each with a blank before it
proof_each=128  # MiB from one place to the next
proof_heads=0   # how many of the places are at the beginnings of partitions
proof_lost=''   # what the disk did with what was written
proof_undone='' # yes when what was there could be put back

will_make() { # DISK NUMBER - the second walk makes a file system there
    [ "$phase" = change ] || to_make="$to_make $1/$2"
}

with_made() { # DISK WORDS - these words of a mark, and the numbers of the partitions to be made on that disk
    local one words=$2
    for one in $to_make; do
        case "$1/ $words " in
            "${one%/*}/"*" ${one#*/} "*) ;;
            "${one%/*}/"*) words="$words ${one#*/}" ;;
            *) ;;
        esac
    done
    printf '%s' "${words# }"
}

prove_what_is_made() { # DISK - marks the partitions that will be made there, then asks whether the disk keeps what is written to them
    local had words numbers
    [ "$phase" = change ] || return 0
    numbers=$(with_made "$1" '')
    [ -n "$numbers" ] || return 0
    had=$(marked "$1")
    words=$(with_made "$1" "${had% proven}")
    [ "$had" != "$words proven" ] || return 0 # a run that was stopped has asked
    if [ "$had" != "$words" ]; then
        had=$(bytes_not_zero "$work/mark")
        if [ "$had" -ne 0 ] && ! grep -q '^bootplan-unfinished ' "$work/mark"; then
            note "something is kept in the gap behind the table of $1, so it is not asked whether $1 is as large as it says"
            return 0
        fi
        run write_mark "$1" "$words"
    fi
    run prove_disk "$1" "$numbers"
}

prove_disk() { # DISK NUMBERS - writes to these partitions and reads back; when that fails, what was there is put back
    local place
    proof_lost=''
    places_to_prove "$1" "$2" >"$work/places"
    read_proof "$1" >"$work/were"
    awk -v run="${work##*.}" '{ printf "%-4095s\n", "bootplan-proof " run " " $1 " " $2 }' "$work/places" >"$work/want"
    trust_the_lists
    write_proof "$1" "$work/want"
    [ -n "$proof_lost" ] || proof_reads_back "$1"
    [ -n "$proof_lost" ] || proof_is_nowhere_else "$1"
    if [ -n "$proof_lost" ]; then
        put_proof_back "$1"
        fail "disk $1 $proof_lost: it is not as large as it says, or it is broken${proof_undone:+; what was there is put back}. Take another disk"
    fi
    rm -f "$work/were" "$work/want" "$work/are"
    place=$(marked "$1")
    write_mark "$1" "${place% proven} proven"
}

places_to_prove() { # DISK NUMBERS - a line for each block of 4 KiB that is written: its MiB, and which block of that; the beginnings first
    local number place size
    read -r size <"/sys/class/block/$1/size"
    proof_each=128
    while [ $((proof_each * 1024)) -lt $((size / 2048)) ]; do
        proof_each=$((proof_each * 2))
    done
    proof_heads=0
    for number in $2; do
        place=$(place_of "$1" "$number")
        printf '%s 0\n%s 1\n' "${place% *}" "${place% *}"
        proof_heads=$((proof_heads + 2))
    done
    for number in $2; do
        place=$(place_of "$1" "$number")
        awk -v from="${place% *}" -v to="${place#* }" -v each="$proof_each" '
            BEGIN {
                for (at = (int(from / each) + 1) * each; at < to; at += each) print at, 0
                print to - 1, 255
            }
        '
    done
}

read_proof() { # DISK - the blocks at $work/places, past the page cache; zeros for one that cannot be read
    local mib block
    while read -r mib block; do
        dd if="/dev/$1" bs=4096 skip=$((mib * 256 + block)) count=1 iflag=direct || dd if=/dev/zero bs=4096 count=1
    done <"$work/places" 2>/dev/null
}

write_proof() { # DISK FILE - the blocks of that file to their places; sets proof_lost when one cannot be written
    local mib block number=0 how=notrunc,fsync
    while read -r mib block; do
        # What may still be found by its superblock must not lose anything else.
        [ "$number" -lt "$proof_heads" ] || how=notrunc
        dd if="$2" of="/dev/$1" bs=4096 skip="$number" seek=$((mib * 256 + block)) count=1 conv="$how" 2>>"$log" ||
            proof_lost="cannot be written at $mib MiB"
        number=$((number + 1))
        [ -z "$proof_lost" ] || return 0
    done <"$work/places"
    dd if=/dev/null of="/dev/$1" conv=notrunc,fsync 2>>"$log" || proof_lost="could not write all that it took"
}

proof_reads_back() { # DISK - sets proof_lost when a block is not what was written there
    read_proof "$1" >"$work/are"
    trust_the_lists
    cmp -s "$work/want" "$work/are" || proof_lost="does not read back what was written to it"
}

proof_is_nowhere_else() { # DISK - sets proof_lost when the beginning of the disk has more of the blocks than were written there
    local have want
    # shellcheck disable=SC2312 # what cannot be read has none
    have=$(dd if="/dev/$1" bs=1048576 count="$proof_each" iflag=direct 2>/dev/null | tr -cd ' -~\n' | grep -c "bootplan-proof ${work##*.} ") || true
    want=$(awk -v end="$proof_each" '$1 < end { n++ } END { print n + 0 }' "$work/places")
    [ "$have" -eq "$want" ] || proof_lost="has what was written far behind at its beginning, too"
}

put_proof_back() { # DISK - what was there, last written first: two of the places may be the same one
    local number place
    number=$(wc -l <"$work/places")
    while [ "$number" -gt 0 ]; do
        place=$(sed -n "${number}p" "$work/places")
        number=$((number - 1))
        dd if="$work/were" of="/dev/$1" bs=4096 skip="$number" seek=$((${place% *} * 256 + ${place#* })) count=1 conv=notrunc 2>/dev/null || true
    done
    dd if=/dev/null of="/dev/$1" conv=notrunc,fsync 2>/dev/null || true
    read_proof "$1" >"$work/are"
    proof_undone=''
    ! cmp -s "$work/were" "$work/are" || proof_undone=yes
}
