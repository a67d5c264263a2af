# ---- library: a new system into the idle slot -------------------------------------------------------------
#
# IMAGE is an OpenWrt sysupgrade image. It is copied into our folder first: what is checked there is what is written. Its FIT
# becomes the slot's kernel as it is; its squashfs is mounted from RAM, to look at what it brings and, where root is on
# the disk, to copy it there. The settings come over as sysupgrade would keep them. Nothing of the slot that runs is
# written to but its record of the other slot.

image=''      # the file
image_copy='' # the same in our folder, where nobody else can change it
image_sum=''  # its SHA-256
wanted_sum='' # what the plan or --sha256 says it is
image_bytes=0
image_version='' # the release in it
kept=''          # what the plan keeps besides, one a line

pin_image() { # HEX - the SHA-256 of the plan's image; --sha256 outranks it
    [ -n "$wanted_sum" ] || wanted_sum=$1
}

keep() { # PATH - kept from one slot to the next, besides what sysupgrade keeps
    kept="$kept$1$newline"
}

need_image() { # PATTERN TARGET - the image is whole, is for this board, and is of that release (a shell pattern)
    local text
    if [ ! -f "$image" ] || [ ! -r "$image" ]; then
        refuse "'$image' is no file that can be read"
        return 0
    fi
    image_bytes=$(wc -c <"$image")
    if [ -z "$wanted_sum" ]; then
        refuse "nothing says what the SHA-256 of the image is; add --sha256 with the one from the release's sha256sums, or write it into the plan"
        return 0
    fi
    say "  looking at $image, $((image_bytes / 1024)) KiB"
    take_image
    [ -n "$image_copy" ] || return 0
    image_sum=$(sum_of "$image_copy" "$image_bytes")
    if [ "$image_sum" != "$wanted_sum" ]; then
        refuse "the SHA-256 of '$image' is $image_sum, not $wanted_sum: it is another file, or damaged"
        return 0
    fi
    see_generation
    # shellcheck disable=SC2086,SC2248 # an option or nothing
    sysupgrade $test_option -T "$image_copy" >"$work/tested" 2>&1 || {
        cat "$work/tested" >>"$log"
        text=$(grep -v '^ *$' "$work/tested" | tail -n 3 | tr '\n' ' ') || true
        refuse "sysupgrade -T does not accept '$image': ${text:-it says nothing}"
        return 0
    }
    see_fit "$image_copy"
    if [ "$fit_bytes" -eq 0 ] || [ "$fit_bytes" -gt "$image_bytes" ]; then
        refuse "'$image' holds no FIT with one squashfs"
        return 0
    fi
    open_image
    [ -d "$work/image" ] || return 0
    need_system_in_image "$1" "$2"
}

take_image() { # - copies the image to where nobody else can change it: between its sum and its last use a file may become another one
    local free need=$((image_bytes / 1024 + 8192))
    free=$(room_in /tmp)
    if [ "$free" -lt "$need" ]; then
        refuse "/tmp has $free KiB left, $need KiB are needed for a copy of the image; remove there what is not needed"
        return 0
    fi
    if ! head -c "$image_bytes" "$image" >"$work/image.itb" 2>>"$log"; then
        refuse "'$image' could not be read to its end; copy it here again"
        return 0
    fi
    image_copy=$work/image.itb
    image_bytes=$(wc -c <"$image_copy")
}

open_image() { # - mounts the image's squashfs at $work/image, from a copy in RAM
    local free need=$((rootfs_size / 1024 + 8192)) told
    free=$(room_in /tmp)
    if [ "$free" -lt "$need" ]; then
        refuse "/tmp has $free KiB left, $need KiB are needed to look into the image"
        return 0
    fi
    dd if="$image_copy" of="$work/rootfs" bs=4096 skip=$((rootfs_at / 4096)) count=$(((rootfs_size + 4095) / 4096)) 2>/dev/null
    mkdir "$work/image"
    mount -t squashfs -o loop,ro "$work/rootfs" "$work/image" 2>"$work/told" || {
        rmdir "$work/image"
        told=$(tail -n 1 "$work/told")
        refuse "the squashfs in '$image' cannot be mounted: $told"
    }
}

need_system_in_image() { # PATTERN TARGET - what the image brings is a system that can be a slot of this plan
    local target modules
    image_version=$(release_in "$work/image" DISTRIB_RELEASE)
    target=$(release_in "$work/image" DISTRIB_TARGET)
    # shellcheck disable=SC2254 # PATTERN is a pattern
    case $image_version in
        $1) say "  it brings OpenWrt $image_version" ;;
        *) refuse "the image brings OpenWrt '${image_version:-of no version}', this plan is for $1" ;;
    esac
    [ "$target" = "$2" ] || refuse "the image is for target '${target:-unknown}', not for $2"
    modules=$(ls "$work/image/lib/modules") || modules=''
    case $modules in
        '' | *"$newline"*) refuse "the image has modules for no kernel, or for more than one" ;;
        *) need_modules_in_image "$modules" ;;
    esac
    [ -e "$work/image/usr/sbin/fw_setenv" ] || [ "$slots_kind" = none ] ||
        refuse "the image has no fw_setenv: a system in it could never be confirmed; build one with uboot-envtools"
}

need_modules_in_image() { # KERNEL - the image's modules are right for how this plan finds its root
    local running file folder="$work/image/lib/modules/$1" differing=''
    running=$(uname -r)
    case $slots_kind in
        none)
            need_root_in_image "$1"
            return 0
            ;;
        pair)
            if [ -e "/lib/modules/$running/nvme.ko" ] && { [ ! -e "$folder/nvme.ko" ] || ! grep -qs '^nvme$' "$work/image"/etc/modules-boot.d/*; }; then
                refuse "the image has no kmod-nvme: the new system would never find its overlay; build one with the packages of the plan"
            fi
            [ -e "$work/image/sbin/block" ] || refuse "the image has no block-mount: the new system would never mount its overlay; build one with the packages of the plan"
            return 0
            ;;
        *) ;;
    esac
    grep -qs fstools_overlay_name "$work/image/sbin/mount_root" ||
        refuse "the image's mount_root does not know fstools_overlay_name: it would put the internal overlay on top of the new root"
    if [ -e "$folder/nvme.ko" ]; then
        refuse "the image has NVMe as a module, so its kernel would not find its root; build one with CONFIG_BLK_DEV_NVME=y"
    elif [ "$slots_kind" = shared ]; then
        [ "$1" = "$running" ] || {
            refuse "both slots share the kernel $running, the image has modules for $1 only; a plan with 'kernel: own' gives each slot its own"
            return 0
        }
        for file in "$folder"/*.ko; do
            [ -e "$file" ] || continue
            [ ! -e "/lib/modules/$1/${file##*/}" ] || cmp -s "$file" "/lib/modules/$1/${file##*/}" || differing="$differing ${file##*/}"
        done
        [ -z "$differing" ] || refuse "the image's modules are of another build of kernel $1 than the running one's:$differing"
    fi
}

release_in() { # FOLDER NAME - a value of its etc/openwrt_release
    [ -e "$1/etc/openwrt_release" ] || return 0
    sed -n "s/^$2=['\"]\\(.*\\)['\"]\$/\\1/p" "$1/etc/openwrt_release"
}

need_idle_place() { # FIRMWARE - the idle slot's disk is here and not in use, and its kernel fits into FIRMWARE bytes
    local disk part users id making
    use_slot "$slot_idle"
    disk=$(disk_named "$slot_disk")
    part=${disk:-none}p$slot_number
    if [ ! -b "/dev/$part" ]; then
        refuse "the disk of slot $slot_idle is not here"
        return 0
    fi
    users=$(users_of "$part")
    [ -z "$users" ] || refuse "/dev/$part is in use:$users"
    # An upgrade that was cut inside mkfs leaves neither the old file system nor the new one, and nothing else.
    id=$(uuid_in_table "$disk" "$slot_number")
    making=$(slot_says "$slot_idle" making)
    probe "/dev/$part" 0
    if [ "$kind/$label" = "$slot_kind/$slot_label" ]; then
        judge_idle "$part" "$kind"
    elif [ "$kind" = blank ] || [ "$kind/${making:-none}" = "unknown data/$id" ]; then
        verdict=keep
    else
        verdict="$kind '$label', not $slot_kind '$slot_label'"
    fi
    if [ "$verdict" != keep ]; then
        case $slot_kind in ext4) id="mkfs.ext4 -L $slot_label" ;; *) id="mkfs.f2fs -f -l $slot_label" ;; esac
        refuse "/dev/$part holds $verdict; this script did not put it there. Save what you need of it, then empty it: $id /dev/$part"
    fi
    [ "$slots_method" = overlay ] || [ ! -d "$work/image" ] || need_room_in_slot "$part"
    [ "$slots_kind" = shared ] || need_kernel_place "$1"
}

need_room_in_slot() { # PART - the image's root fits there
    local sectors
    read -r sectors <"/sys/class/block/$1/size"
    see_size "$work/image"
    need_room "the image" "partition $slot_number" $((sectors / 2048)) "$slot_kind"
}

need_kernel_place() { # FIRMWARE - there is a place for the idle slot's kernel, or room to make one of FIRMWARE bytes
    local device data here=0 left
    [ "$image_bytes" -le "$1" ] || refuse "the image has $image_bytes bytes, the plan has room for $1 in a slot"
    device=$(kernel_of "$slot_idle")
    if [ "$slots_kind" = partition ]; then
        if [ -z "$device" ]; then
            refuse "there is no partition fit_$slot_idle: sh $this_script rollback --stock --apply, then: sh $this_script install"
            return 0
        fi
        here=$(room_of "$device")
        [ "$here" -ge "$image_bytes" ] || refuse "the image has $image_bytes bytes, /dev/$device has $here"
        return 0
    fi
    data=$(volume_named "rootfs_data_$slot_idle")
    [ -n "$data" ] || [ "$slots_kind" != pair ] ||
        refuse "there is no volume rootfs_data_$slot_idle: sh $this_script rollback --stock --apply, then: sh $this_script install"
    [ -z "$device" ] || here=$(room_of "$device")
    [ "$here" -lt "$image_bytes" ] || return 0
    # The volume has to be made anew, larger.
    read -r left <"/sys/class/ubi/ubi0/avail_eraseblocks"
    here=$(blocks_for "$here")
    data=$(blocks_for "$1")
    [ $((left + here)) -ge "$data" ] || refuse "the SPI-NAND lacks $((data - left - here)) erase blocks for a kernel of $1 bytes"
}

need_room_for_settings() { # - the settings fit where they travel through: /tmp, and of a pair the idle slot's internal overlay
    local device room
    weigh_settings
    need_room_for_kept $((settings_kib * 2)) "the settings"
    [ "$slots_kind" = pair ] || return 0
    device=$(volume_named "rootfs_data_$slot_idle")
    [ -n "$device" ] || return 0 # need_kernel_place told it
    room=$(room_of "$device")
    [ $((room / 1024)) -ge $((settings_kib + 4096)) ] ||
        refuse "the volume rootfs_data_$slot_idle has $((room / 1024)) KiB, too little for the settings: what is kept has $settings_kib KiB, most of it: $heaviest. Take what need not travel out of /etc/sysupgrade.conf, or of the plan's 'upgrade: {keep: [...]}'"
}

# ---- the changes

slot_is_unfinished() { # - whoever asks from now on: the idle slot holds nothing that can start
    [ "$phase" = change ] || return 0
    run record_slot '' "$slot_idle" unfinished "$image_version" "$image_sum" "$image_bytes"
}

slot_is_being_made() { # SLOT PARTUUID - from now on until the slot is finished, that partition may hold half a file system of ours
    local record
    record=$(sed '/^making /d' "$env_copies/slot-$1")
    write_file "$env_copies/slot-$1" "$record${newline}making $2"
}

put_kernel() { # FIRMWARE - the image into the place of the idle slot's kernel; a volume is made anew when it is too small
    local device room
    [ "$phase" = change ] || return 0
    device=$(kernel_of "$slot_idle")
    room=0
    [ -z "$device" ] || room=$(room_of "$device")
    if [ "$room" -lt "$image_bytes" ]; then
        if [ -n "$device" ]; then
            run ubirmvol /dev/ubi0 -N "fit_$slot_idle"
            run wait_for_no_volume "$device" # its number may be the new one's
        fi
        run ubimkvol /dev/ubi0 -N "fit_$slot_idle" -s "$1"
        run volume_is_there "fit_$slot_idle" "$1"
        device=$(volume_named "fit_$slot_idle")
    fi
    if [ "$apply" = no ]; then
        run write_kernel "$image_copy" "$image_bytes" "${device:-fit_$slot_idle}"
    else
        write_kernel "$image_copy" "$image_bytes" "$device"
    fi
}

keep_settings() { # - what sysupgrade would keep and what the plan keeps, this script and its services, the records: in RAM
    [ "$phase" = change ] || return 0
    keep_over_sysupgrade ''
    run sysupgrade -b "$work/settings.tar.gz"
    run mkdir "$work/settings"
    run tar -C "$work/settings" -xzf "$work/settings.tar.gz"
    # /var and /tmp of a system are RAM: sysupgrade would put these there too, and a folder would hide the link.
    run rm -rf "$work/settings/var" "$work/settings/tmp"
    run furnish "$work/settings"
    run without_disk_root "$work/settings/etc/config"
    run cp -p /etc/sysupgrade.conf "$work/settings/etc/"
    run record_slot "$work/settings" "$slot_idle" complete "$image_version" "$image_sum" "$image_bytes"
}

fill_root() { # - a new file system on the idle slot's partition, with the new system in it
    local node into id firmware
    [ "$phase" = change ] || return 0
    use_slot "$slot_idle"
    firmware=$(squashfs_uuid "$work/rootfs")
    node=$(disk_named "$slot_disk")
    id=$(uuid_in_table "$node" "$slot_number")
    node=/dev/${node}p$slot_number
    run slot_is_being_made "$slot_idle" "$id"
    case $slot_kind in
        ext4) run mkfs.ext4 -q -F -L "$slot_label" "$node" ;;
        *) run mkfs.f2fs -q -f -l "$slot_label" "$node" ;;
    esac
    run mkdir -p "$work/target"
    run mount -t "$slot_kind" "$node" "$work/target"
    run mkdir -p "$work/target/.bootplan"
    run write_file "$work/target/.bootplan/state" unfinished
    into=$work/target
    if [ "$slots_method" = overlay ]; then
        into=$work/target/upper
        run mkdir -p "$into" "$work/target/work"
    else
        run copy_image "$into"
        reread "$node"
        run new_root_reads_back
        run mount -o remount,rw "$node" "$work/target"
    fi
    run cp -a "$work/settings/." "$into/"
    reread "$node"
    run settings_read_back "$into"
    run mount -o remount,rw "$node" "$work/target"
    run write_file "$work/target/.bootplan/state" "complete $slots_method$newline$firmware"
    run umount "$work/target"
}

reread() { # NODE - mounts what is at $work/target anew, read-only: from the disk, not from what the kernel remembers
    run sync
    run umount "$work/target"
    run mount -t "$slot_kind" -o ro "$1" "$work/target"
}

name_overlay() { # NODE - the fstab in the settings names that file system for the overlay: for the boot medium only, see without_disk_root
    local option
    probe "$1" 0
    [ "$kind/$label" = "$slot_kind/$slot_label" ] || fail "no file system '$slot_label' on $1"
    mkdir -p "$work/settings/etc/config"
    touch "$work/settings/etc/config/fstab"
    for option in =mount .target=/overlay ".uuid=$uuid" .enabled=1; do
        uci -c "$work/settings/etc/config" -t "$work/uci" set "fstab.bootplan_root$option"
    done
    # As root_from_disk: the disk may appear a moment after its driver was loaded.
    option=$(uci -q -c "$work/settings/etc/config" get 'fstab.@global[0].delay_root') || option=0
    if [ "$option" -lt 15 ]; then
        option='@global[0]'
        uci -q -c "$work/settings/etc/config" get "fstab.$option" >/dev/null || option=bootplan_global
        uci -c "$work/settings/etc/config" -t "$work/uci" set "fstab.$option=global"
        uci -c "$work/settings/etc/config" -t "$work/uci" set "fstab.$option.delay_root=15"
    fi
    uci -c "$work/settings/etc/config" -t "$work/uci" commit fstab
}

copy_image() { # FOLDER - the image's root, and how far that is in per cent
    local entry count=0
    set -- "$1" "$work/image"/* "$work/image"/.[!.]*
    for entry; do
        [ "$entry" != "$1" ] || continue
        count=$((count + 1))
        { [ ! -e "$entry" ] && [ ! -L "$entry" ]; } || cp -a "$entry" "$1/"
        progress $((count - 1)) "$count" $(($# - 1))
    done
}

new_root_reads_back() { # - every name and byte of the image is on the new root
    differences=''
    compare_names "$work/image" "$work/target"
    compare_bytes "$work/image" "$work/target"
    [ -z "$differences" ] || fail "the new root differs from the image: $differences"
}

settings_read_back() { # FOLDER - every file of the settings is there
    differences=''
    compare_bytes "$work/settings" "$1"
    [ -z "$differences" ] || fail "the settings do not read back: $differences"
}

fill_internal() { # - the idle slot's rootfs_data: the same settings, whose fstab names the overlay on the disk
    local device
    [ "$phase" = change ] || return 0
    use_slot "$slot_idle"
    device=$(disk_named "$slot_disk")
    run name_overlay "/dev/${device}p$slot_number"
    device=$(volume_named "rootfs_data_$slot_idle")
    run ubiupdatevol "/dev/$device" -t
    run mkdir -p "$work/target"
    run mount -t ubifs "ubi0:rootfs_data_$slot_idle" "$work/target"
    run mkdir -p "$work/target/upper" "$work/target/work"
    run cp -a "$work/settings/." "$work/target/upper/"
    # fstools empties an overlay that is not marked as ready (libfstools/overlay.c: .fs_state, a link to 2).
    run ln -s 2 "$work/target/.fs_state"
    run sync
    run umount "$work/target"
    run mount -t ubifs -o ro "ubi0:rootfs_data_$slot_idle" "$work/target"
    run settings_read_back "$work/target/upper"
    run umount "$work/target"
}

slot_is_finished() { # - the idle slot can be started
    [ "$phase" = change ] || return 0
    run record_slot '' "$slot_idle" complete "$image_version" "$image_sum" "$image_bytes"
}
