#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck shell=dash enable=check-set-e-suppressed,check-extra-masked-returns,quote-safe-variables
# shellcheck disable=SC2329,SC2317,SC2016 # no plan calls all of the library; U-Boot expands its own variables
{ # the shell reads all of this up to the closing brace, the last line, before it runs any

# lab router, root on NVMe: OpenWrt 24.10 on a Banana Pi BPI-R4 (two SFP+ ports), booted from emmc
#
# This page is the plan: each line calls a function of the library below it. First come the looks, then the
# steps of `install`, in order. How to run it, on the router, as root:
#
#   sh THIS check               looks at everything, changes nothing
#   sh THIS install             rehearsal: shows every change, makes none
#   sh THIS install --apply     does it
#   sh THIS status              after a restart: is root where the plan wants it?
#
# Made by bootplan 0.2.0.dev0 from emmc-pivot.yaml; the same plan gives the same bytes.
#   plan     sha256 1006224e5fd5c01140b766ea3e8a9bb5bf8a1188c825bf6b4f54c90d9f4bd575
#   library  sha256 (that of the library)

plan_name='lab router, root on NVMe'
plan_digest='b4f2c15694e45e6c'
plan_medium='emmc'
plan_version='0.2.0.dev0'

# This plan has no slots; how its one system is upgraded.
plan_slots() {
    no_slots
    root_is 'root' '/' 'pci:0002:01:00.0' 1 'ext4' 'root'
    upgrade_is 'keep' '/srv/backup' 'no'
}

# Is this the router the plan was written for?
plan_who() {
    need_board 'mediatek,mt7988a' 'bananapi,bpi-r4'
    need_release '24.10' '24.10.*' 'mediatek/filogic' 'opkg'
    need_layout
    need_medium 'emmc' 'emmc' '10' '[eMMC]'
}

# Where this medium keeps the U-Boot environment.
plan_env() {
    locate_env 'mmc' 262144 'ubootenv' 0 262144
}

# What must be true before anything is changed.
plan_look() {
    plan_who
    need_memory 4096
    plan_packages
    no_package_missing 'opkg'
    need_disk 'pci:0002:01:00.0' 81986
    need_system 'pci:0002:01:00.0' 1 'root'
    need_fstab '/' 'bootplan_root' '/overlay' 'bootplan_root' '/srv' 'bootplan_ssd_2' '/srv/docker' 'bootplan_ssd_3'
}

# What the plan needs is installed.
plan_packages() {
    need_module 'nvme' 'kmod-nvme'
    need_command 'sfdisk' 'sfdisk'
    need_command 'mkfs.ext4' 'e2fsprogs'
    need_command 'block' 'block-mount'
    need_command 'mmc' 'mmc-utils'
}

# From the system on the boot medium to the one of the plan.
plan_install() {
    step 1 8 'partition table of ssd'    # emmc-pivot.yaml:23
    partition_disk 'pci:0002:01:00.0' 'root' 1 16384 'data' 16385 65536 'docker' 81921 'rest'
    step 2 8 'file system of root'    # emmc-pivot.yaml:23
    make_filesystem 'pci:0002:01:00.0' 1 'ext4' 'root' 'root'
    step 3 8 'file system of data'    # emmc-pivot.yaml:24
    make_filesystem 'pci:0002:01:00.0' 2 'ext4' 'data' 'data'
    step 4 8 'file system of docker'    # emmc-pivot.yaml:25
    make_filesystem 'pci:0002:01:00.0' 3 'ext4' 'docker' 'data'
    step 5 8 'data at /srv'    # emmc-pivot.yaml:24
    mount_at_boot 'bootplan_ssd_2' '/srv' 'pci:0002:01:00.0' 2 'data'
    step 6 8 'docker at /srv/docker'    # emmc-pivot.yaml:25
    mount_at_boot 'bootplan_ssd_3' '/srv/docker' 'pci:0002:01:00.0' 3 'docker'
    step 7 8 'the system on root'    # emmc-pivot.yaml:28
    copy_system 'pci:0002:01:00.0' 1 'ext4' 'root' 'root'
    step 8 8 'root on root, from the next start on'    # emmc-pivot.yaml:27
    root_from_disk '/' 'pci:0002:01:00.0' 1 'root'
}

# Can sysupgrade bring this image here?
plan_upgrade_look() {
    need_board 'mediatek,mt7988a' 'bananapi,bpi-r4'
    need_known_release 'mediatek/filogic' '24.10.*' '25.12.*' 'SNAPSHOT'
    need_layout
    need_medium 'emmc' 'emmc' '10' '[eMMC]'
    need_env '[eMMC]' 'yes' 'bootcmd' 'bootargs' 'bootmenu_title' 'bootconf' 'boot_production' 'boot_recovery' 'loadaddr'
    need_system 'pci:0002:01:00.0' 1 'root'
    need_next_start
    need_image '24.10.*' 'mediatek/filogic'
    need_place
    need_ram
    need_backup_place
}

# The image in place of the running system.
plan_upgrade() {
    step 1 4 'crash records'    # emmc-pivot.yaml:30
    put_crash_away
    step 2 4 'the settings that travel'    # emmc-pivot.yaml:30
    pack_settings
    step 3 4 'a backup'    # emmc-pivot.yaml:30
    backup_first
    step 4 4 'sysupgrade'    # emmc-pivot.yaml:30
    flash_image
}

# Is everything where the plan wants it?
plan_status() {
    tell_router
    tell_root 'extroot-pivot' 'root' 'pci:0002:01:00.0' 1 'ext4' 'root'
    tell_upgrade
    tell_mount '/srv' 'bootplan_ssd_2' 'pci:0002:01:00.0' 2
    tell_mount '/srv/docker' 'bootplan_ssd_3' 'pci:0002:01:00.0' 3
}

# The fallback to be proven, and what checklist asks.
plan_checklist() {
    fallback_is 180 '24.10.7' '[eMMC]'
    fallback_runs_on 'mediatek,mt7988a' 'mediatek/filogic' 'bananapi,bpi-r4' '11' '[SD card]'
    want_file 'openwrt-24.10.7-mediatek-filogic-bananapi_bpi-r4-sdcard.img.gz' '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef' 'image of the fallback card'
    want_file 'openwrt-24.10.7-mediatek-filogic-bananapi_bpi-r4-emmc-preloader.bin' '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef' 'BL2'
    want_file 'openwrt-24.10.7-mediatek-filogic-bananapi_bpi-r4-emmc-bl31-uboot.fip' '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef' 'FIP'
    ask_owner 'card-printed' 'the recovery card is printed and lies beside the router (bootplan card, on your computer)'
    ask_owner 'serial-cable' 'a serial cable is at hand (3.3 V, 115200 8N1) and was tried: you saw U-Boot'\''s menu'
    ask_owner 'switch' 'you know the switch SW3: A=1 B=0 for eMMC, A=1 B=1 for the card; it is read at power-on only'
    ask_owner 'backup' 'a backup of this router lies on another computer (backup USER@HOST:FOLDER, or copy the archive there)'
    ask_owner 'card-kept' 'the SD card lies where you find it, and says on it what it is'
}

# Is that file a saved environment of this router?
plan_saved_env() {
    need_saved_env '[eMMC]' 'bootcmd' 'bootargs' 'bootmenu_title' 'bootconf' 'boot_production' 'boot_recovery' 'loadaddr'
}

# The boot loader's files, for reflash.
plan_bootloader() {
    need_board 'mediatek,mt7988a' 'bananapi,bpi-r4'
    switches_are '01' '10' '11'
    bootloader_is 'emmc' 4096 '192.168.1.254' 'no'
    bootloader_file 'bl2' 'openwrt-24.10.7-mediatek-filogic-bananapi_bpi-r4-emmc-preloader.bin' '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef' 4096
    bootloader_file 'fip' 'openwrt-24.10.7-mediatek-filogic-bananapi_bpi-r4-emmc-bl31-uboot.fip' '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef' 0
}

# The card that starts the router when nothing else does.
plan_fallback() {
    fallback_card 'openwrt-24.10.7-mediatek-filogic-bananapi_bpi-r4-sdcard.img.gz' '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef' '24.10.7' 180 '11'
    card_place 'bl2' 34 8158
    card_place 'ubootenv' 8192 1024
    card_place 'factory' 9216 4096
    card_place 'fip' 13312 8192
    card_place 'recovery' 24576 65536
    card_place 'install' 90112 40960
    card_place 'production' 131072 917504
}

