#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck shell=dash enable=check-set-e-suppressed,check-extra-masked-returns,quote-safe-variables
# shellcheck disable=SC2329,SC2317,SC2016 # no plan calls all of the library; U-Boot expands its own variables
{ # the shell reads all of this up to the closing brace, the last line, before it runs any

# storage router: OpenWrt 25.12 on a Banana Pi BPI-R4 2g5/PoE (one SFP+ port, one 2.5GE port), booted from sd
#
# This page is the plan: each line calls a function of the library below it. First come the looks, then the
# steps of `install`, in order. How to run it, on the router, as root:
#
#   sh THIS check               looks at everything, changes nothing
#   sh THIS install             rehearsal: shows every change, makes none
#   sh THIS install --apply     does it
#   sh THIS status              after a restart: is root where the plan wants it?
#
# Made by bootplan 0.2.0.dev0 from data-only.yaml; the same plan gives the same bytes.
#   plan     sha256 a0c5c7cd1bf103eda639aa420b7a67378fc491838b02e9b02289978d88ab064d
#   library  sha256 (that of the library)

plan_name='storage router'
plan_digest='bb3cd8d9cfc505c7'
plan_medium='sd'
plan_version='0.2.0.dev0'

# This plan has no slots; how its one system is upgraded.
plan_slots() {
    no_slots
    upgrade_is 'keep' '' 'no'
}

# Is this the router the plan was written for?
plan_who() {
    need_board 'mediatek,mt7988a' 'bananapi,bpi-r4-2g5'
    need_release '25.12' '25.12.*' 'mediatek/filogic' 'apk'
    need_layout
    need_medium 'sd' 'sd' '11' '[SD card]'
}

# Where this medium keeps the U-Boot environment.
plan_env() {
    locate_env 'mmc' 262144 'ubootenv' 0 262144
}

# What must be true before anything is changed.
plan_look() {
    plan_who
    plan_packages
    no_package_missing 'apk'
    need_disk 'serial:S4EWNF0M531930D' 204866
    need_system 'none' 0 'internal'
    need_fstab '/' 'none' '/overlay' 'none' '/srv/shares' 'bootplan_store_1' '/srv/video' 'bootplan_store_2'
}

# What the plan needs is installed.
plan_packages() {
    need_module 'nvme' 'kmod-nvme'
    need_command 'sfdisk' 'sfdisk'
    need_command 'mkfs.ext4' 'e2fsprogs'
    need_command 'block' 'block-mount'
    need_command 'mkfs.f2fs' 'mkf2fs'
}

# From the system on the boot medium to the one of the plan.
plan_install() {
    step 1 5 'partition table of store'    # data-only.yaml:21
    partition_disk 'serial:S4EWNF0M531930D' 'shares' 1 204800 'video' 204801 'rest'
    step 2 5 'file system of shares'    # data-only.yaml:21
    make_filesystem 'serial:S4EWNF0M531930D' 1 'ext4' 'shares' 'data'
    step 3 5 'file system of video'    # data-only.yaml:22
    make_filesystem 'serial:S4EWNF0M531930D' 2 'f2fs' 'video' 'data'
    step 4 5 'shares at /srv/shares'    # data-only.yaml:21
    mount_at_boot 'bootplan_store_1' '/srv/shares' 'serial:S4EWNF0M531930D' 1 'shares'
    step 5 5 'video at /srv/video'    # data-only.yaml:22
    mount_at_boot 'bootplan_store_2' '/srv/video' 'serial:S4EWNF0M531930D' 2 'video'
}

# Can sysupgrade bring this image here?
plan_upgrade_look() {
    need_board 'mediatek,mt7988a' 'bananapi,bpi-r4-poe' 'bananapi,bpi-r4-2g5'
    need_known_release 'mediatek/filogic' '24.10.*' '25.12.*' 'SNAPSHOT'
    need_layout
    need_medium 'sd' 'sd' '11' '[SD card]'
    need_env '[SD card]' 'no' 'bootcmd' 'bootargs' 'bootmenu_title' 'bootconf' 'boot_production' 'boot_recovery' 'loadaddr'
    need_system 'none' 0 'internal'
    need_next_start
    need_image '25.12.*' 'mediatek/filogic'
    need_place
    need_ram
    need_backup_place
}

# The image in place of the running system.
plan_upgrade() {
    step 1 4 'crash records'    # data-only.yaml:24
    put_crash_away
    step 2 4 'the settings that travel'    # data-only.yaml:24
    pack_settings
    step 3 4 'a backup'    # data-only.yaml:24
    backup_first
    step 4 4 'sysupgrade'    # data-only.yaml:24
    flash_image
}

# Is everything where the plan wants it?
plan_status() {
    tell_router
    tell_root_internal
    tell_upgrade
    tell_mount '/srv/shares' 'bootplan_store_1' 'serial:S4EWNF0M531930D' 1
    tell_mount '/srv/video' 'bootplan_store_2' 'serial:S4EWNF0M531930D' 2
}

# The fallback to be proven, and what checklist asks.
plan_checklist() {
    no_fallback
    ask_owner 'card-printed' 'the recovery card is printed and lies beside the router (bootplan card, on your computer)'
    ask_owner 'serial-cable' 'a serial cable is at hand (3.3 V, 115200 8N1) and was tried: you saw U-Boot'\''s menu'
    ask_owner 'switch' 'you know the switch SW3: A=1 B=1 for SD card; it is read at power-on only'
    ask_owner 'backup' 'a backup of this router lies on another computer (backup USER@HOST:FOLDER, or copy the archive there)'
}

# Is that file a saved environment of this router?
plan_saved_env() {
    need_saved_env '[SD card]' 'bootcmd' 'bootargs' 'bootmenu_title' 'bootconf' 'boot_production' 'boot_recovery' 'loadaddr'
}

# The boot loader's files, for reflash.
plan_bootloader() {
    need_board 'mediatek,mt7988a' 'bananapi,bpi-r4-2g5'
    switches_are '01' '10' '11'
    no_bootloader 0 '192.168.1.254'
}

# The card that starts the router when nothing else does.
plan_fallback() {
    no_card
}

