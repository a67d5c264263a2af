# ---- library: is this the router the plan was written for? -----------------------------------
#
# Looks only. Each tells what it found and what the plan wants. Sources of the facts compared here
# are in schemas/boards/ of the project that made this script.

tree=/sys/firmware/devicetree/base # the device tree U-Boot handed to the kernel
missing_packages=''                # what the plan needs, and this system lacks
wanted_packages=''                 # what its owner asks for besides

need_board() { # SOC NAME... - the router is one of the boards NAME, with this SoC
    local soc=$1 compatible='' name
    shift
    [ ! -e "$tree/compatible" ] || compatible=$(tr '\0' '\n' <"$tree/compatible")
    name=$(printf '%s\n' "$compatible" | sed -n 1p)
    case " $* " in
        *" ${name:-none} "*) ;;
        *)
            refuse "this plan is for '$*', this router is '${name:-unknown}'"
            return 0
            ;;
    esac
    case "$compatible" in
        *"$soc"*) say "  board is $name" ;;
        *) refuse "this router calls itself '$name' but its SoC is not $soc" ;;
    esac
}

need_memory() { # MIB - about that much RAM; told, never refused: a 4 GiB preloader on an 8 GiB board shows 4
    local kib
    kib=$(awk '/^MemTotal:/ { print $2 }' /proc/meminfo)
    # The kernel keeps some for itself: three quarters of what is soldered on is enough to be that size.
    if [ "$kib" -lt $(($1 * 768)) ] || [ "$kib" -gt $(($1 * 1024)) ]; then
        note "the plan says $1 MiB of RAM, the kernel sees $((kib / 1024)) MiB"
    fi
}

need_release() { # RELEASE PATTERN TARGET MANAGER - OpenWrt of that release (a shell pattern), for this target
    local have target
    have=$(openwrt_says DISTRIB_RELEASE)
    target=$(openwrt_says DISTRIB_TARGET)
    # shellcheck disable=SC2254 # PATTERN is a pattern
    case $have in
        $2) say "  release is $have" ;;
        *) refuse "this plan is for OpenWrt $1, this router runs '${have:-something else}'" ;;
    esac
    [ "$target" = "$3" ] || refuse "this plan is for target $3, this router's is '${target:-unknown}'"
    command -v "$4" >/dev/null || refuse "OpenWrt $1 has the package manager $4, this router has not"
}

openwrt_says() { # NAME - a value of /etc/openwrt_release
    [ -e /etc/openwrt_release ] || return 0
    sed -n "s/^$1=['\"]\\(.*\\)['\"]\$/\\1/p" /etc/openwrt_release
}

need_layout() { # - OpenWrt's own U-Boot and flash layout, not the vendor's and not Frank-W's
    local loader='' mtds
    [ ! -e "$tree/chosen/u-boot,version" ] || loader=$(tr -d '\0' <"$tree/chosen/u-boot,version")
    case $loader in
        *OpenWrt*) ;;
        *) refuse "the boot loader is '${loader:-unknown}', not OpenWrt's U-Boot" ;;
    esac
    mtds=$(cat /sys/class/mtd/mtd*/name 2>/dev/null) || mtds=''
    mtds=$(printf '%s\n' "$mtds" | sort -u)
    [ "$mtds" = "bl2${newline}ubi" ] || refuse "the flash has the partitions '$mtds', OpenWrt's layout has bl2 and ubi"
}

need_medium() { # MEDIUM ROOTDISK SWITCH TITLE - the router was started from that medium
    local found type=''
    found=$(rootdisk_now)
    if [ "$found" != "$2" ]; then
        refuse "the plan boots from $1, this router was started from '${found:-an unknown medium}'; for $1 set SW3 to A=${3%?} B=${3#?}, switch the power off and on (switches are read at power-on only), and look for '$4' in the U-Boot menu"
        return 0
    fi
    [ ! -e /sys/class/block/mmcblk0/device/type ] || read -r type </sys/class/block/mmcblk0/device/type
    case "$1/$type" in
        sd/MMC | emmc/SD) refuse "U-Boot says $1, but mmcblk0 is of type $type" ;;
        *) say "  boot medium is $1" ;;
    esac
}

rootdisk_now() { # - spim-nand, emmc or sd: what U-Boot says it was started from; nothing when it does not say
    local name
    [ -e "$tree/chosen/rootdisk" ] || return 0
    # All of them may be described; the one that rootdisk equals is the one.
    for name in spim-nand emmc sd; do
        [ -e "$tree/chosen/rootdisk-$name" ] || continue
        ! cmp -s "$tree/chosen/rootdisk" "$tree/chosen/rootdisk-$name" || printf '%s' "$name"
    done
}

need_command() { # COMMAND PACKAGE - a command that this package brings
    command -v "$1" >/dev/null || missing_packages="$missing_packages $2"
}

need_module() { # MODULE PACKAGE - a kernel module that is there for the running kernel, and loaded before root is mounted
    local kernel
    kernel=$(uname -r)
    if [ ! -e "/lib/modules/$kernel/$1.ko" ]; then
        missing_packages="$missing_packages $2"
    elif ! grep -qs "^$1\$" /etc/modules-boot.d/*; then
        refuse "module $1 is there, but /etc/modules-boot.d does not load it early enough for a root on it; install $2 again"
    fi
}

need_package() { # PACKAGE - installed, says the package manager
    local have
    have=$(is_installed "$1")
    [ "$have" = yes ] || missing_packages="$missing_packages $1"
}

want_package() { # PACKAGE - the plan's owner asks for it; nothing waits until it is there
    local have
    have=$(is_installed "$1")
    [ "$have" = yes ] || wanted_packages="$wanted_packages $1"
}

is_installed() { # NAME - yes when a package of that name is here, or one that provides it, as wget-ssl does wget
    local names
    if [ -e "/usr/lib/opkg/info/$1.control" ] || [ -e "/lib/apk/packages/$1.list" ]; then
        printf 'yes'
    elif command -v apk >/dev/null; then
        ! apk info -e "$1" >/dev/null 2>&1 || printf 'yes'
    else
        names=$(sed -n '/^Provides: */{ s///; s/([^)]*)//g; s/ //g; s/.*/,&,/; p; }' /usr/lib/opkg/info/*.control 2>/dev/null) || names=''
        case $names in *",$1,"*) printf 'yes' ;; *) ;; esac
    fi
}

need_stock_commands() { # - what this library calls and every stock image has; looked at before anything else
    local name missing=''
    for name in awk cat chmod chown cmp cp cut date dd df du find flock fsync fw_printenv fw_setenv grep gzip head \
        hexdump id ls md5sum mkdir mknod mktemp mount mv readlink rm sed sha256sum sleep sort sync sysupgrade tail tar touch tr uci umount \
        uname wc xargs; do
        command -v "$name" >/dev/null || missing="$missing $name"
    done
    [ -z "$missing" ] || {
        printf 'refused: commands of a stock image are missing:%s\n' "$missing" >&2
        exit 3
    }
}

look_for_packages() { # - sets missing_packages and wanted_packages to what this system lacks; that is no reason to stop
    local before=$refusals
    missing_packages='' wanted_packages=''
    plan_packages >>"$log"
    refusals=$before
}

no_package_missing() { # MANAGER - one line that installs all that the plan needs; what its owner asks for besides is told
    wanted_noted
    [ -n "$missing_packages" ] || return 0
    case $1 in
        apk) refuse "packages are missing; install them: apk update && apk add$missing_packages" ;;
        *) refuse "packages are missing; install them: opkg update && opkg install$missing_packages" ;;
    esac
}

wanted_noted() { # - the line for what the owner asks for: a root on the disk may have the room that the boot medium lacks
    local line
    [ -n "$wanted_packages" ] || return 0
    line=$(install_line "$wanted_packages")
    note "packages that the plan asks for are missing, and nothing waits for them; where there is room, now or after the restart: $line"
}

need_nvme_builtin() { # - the kernel drives NVMe disks without a module, or it could not mount its root from one
    local kernel
    kernel=$(uname -r)
    if [ -e /sys/module/nvme/initstate ] || [ -e "/lib/modules/$kernel/nvme.ko" ]; then
        refuse "the plan says the kernel has NVMe built in, here it is a module: with root= on NVMe this kernel would wait for its root for ever; use extroot-overlay or extroot-pivot"
    elif [ ! -e /sys/class/nvme ]; then
        refuse "the plan says the kernel has NVMe built in, here no NVMe driver is running"
    fi
}

need_kernel() { # MAJOR MINOR REASON - that version or a newer one
    local version major minor
    version=$(uname -r)
    major=${version%%.*}
    minor=${version#*.}
    minor=${minor%%[!0-9]*}
    if [ "$major" -lt "$1" ] || { [ "$major" -eq "$1" ] && [ "$minor" -lt "$2" ]; }; then
        refuse "kernel $version is older than $1.$2: $3"
    fi
}

need_overlay_switch() { # - fstools that can be told to put no overlay on the root
    grep -qs fstools_overlay_name /sbin/mount_root ||
        refuse "this router's mount_root does not know fstools_overlay_name: it would put the internal overlay on top of the new root"
}

recovery_noted() { # - a crash record or the flag flag_recover makes U-Boot start the recovery system next time
    local record flag
    read_plan_env
    flag=$(env_value flag_recover)
    [ -z "$flag" ] || note "flag_recover is set: the next boot starts the recovery system; to clear it: fw_setenv flag_recover"
    for record in /sys/fs/pstore/*; do
        [ -e "$record" ] || continue
        note "there is a crash record (${record##*/}): the next boot starts the recovery system; read it, then: rm /sys/fs/pstore/*"
        return 0
    done
}
