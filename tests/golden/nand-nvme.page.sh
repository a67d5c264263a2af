#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck shell=dash enable=check-set-e-suppressed,check-extra-masked-returns,quote-safe-variables
# shellcheck disable=SC2329,SC2317,SC2016 # no plan calls all of the library; U-Boot expands its own variables
{ # the shell reads all of this up to the closing brace, the last line, before it runs any

# home router, overlay on NVMe: OpenWrt 25.12 on a Banana Pi BPI-R4 (two SFP+ ports), booted from nand
#
# This page is the plan: each line calls a function of the library below it. First come the looks, then the
# steps of `install`, in order. How to run it, on the router, as root:
#
#   sh THIS check               looks at everything, changes nothing
#   sh THIS install             rehearsal: shows every change, makes none
#   sh THIS install --apply     does it
#   sh THIS status              after a restart: is root where the plan wants it?
#
# Made by bootplan 0.2.0.dev0 from nand-nvme.yaml; the same plan gives the same bytes.
#   plan     sha256 5d450952e243ff201d6fad663b0596e63dfd349d810a45baeac0c7810c2f25e2
#   library  sha256 (that of the library)

plan_name='home router, overlay on NVMe'
plan_digest='3d051d296921ef2a'
plan_medium='nand'
plan_version='0.2.0.dev0'

# This plan has no slots; how its one system is upgraded.
plan_slots() {
    no_slots
    root_is 'overlay' '/overlay' 'serial:S4EWNF0M531930D' 1 'ext4' 'root'
    upgrade_is 'keep' '/srv/backup' 'yes'
    keep '/etc/wireguard'
}

# Is this the router the plan was written for?
plan_who() {
    need_board 'mediatek,mt7988a' 'bananapi,bpi-r4'
    need_release '25.12' '25.12.*' 'mediatek/filogic' 'apk'
    need_layout
    need_medium 'nand' 'spim-nand' '01' '[SPI-NAND]'
}

# Where this medium keeps the U-Boot environment.
plan_env() {
    locate_env 'ubi' 126976 'ubootenv' 'ubootenv2'
}

# What must be true before anything is changed.
plan_look() {
    plan_who
    need_memory 4096
    plan_packages
    no_package_missing 'apk'
    need_disk 'serial:S4EWNF0M531930D' 8258
    need_system 'serial:S4EWNF0M531930D' 1 'overlay'
    need_fstab '/' 'bootplan_root' '/overlay' 'bootplan_root' '/srv' 'bootplan_ssd_2'
}

# What the plan needs is installed.
plan_packages() {
    need_module 'nvme' 'kmod-nvme'
    need_command 'sfdisk' 'sfdisk'
    need_command 'mkfs.ext4' 'e2fsprogs'
    need_command 'mkfs.f2fs' 'mkf2fs'
    need_command 'block' 'block-mount'
    want_package 'tcpdump'
}

# From the system on the boot medium to the one of the plan.
plan_install() {
    step 1 6 'partition table of ssd'    # nand-nvme.yaml:25
    partition_disk 'serial:S4EWNF0M531930D' 'root' 1 8192 'data' 8193 'rest'
    step 2 6 'file system of root'    # nand-nvme.yaml:25
    make_filesystem 'serial:S4EWNF0M531930D' 1 'ext4' 'root' 'overlay'
    step 3 6 'file system of data'    # nand-nvme.yaml:26
    make_filesystem 'serial:S4EWNF0M531930D' 2 'f2fs' 'data' 'data'
    step 4 6 'data at /srv'    # nand-nvme.yaml:26
    mount_at_boot 'bootplan_ssd_2' '/srv' 'serial:S4EWNF0M531930D' 2 'data'
    step 5 6 'the system on root'    # nand-nvme.yaml:29
    copy_system 'serial:S4EWNF0M531930D' 1 'ext4' 'root' 'overlay'
    step 6 6 'root on root, from the next start on'    # nand-nvme.yaml:28
    root_from_disk '/overlay' 'serial:S4EWNF0M531930D' 1 'root'
}

# Can sysupgrade bring this image here?
plan_upgrade_look() {
    need_board 'mediatek,mt7988a' 'bananapi,bpi-r4'
    need_known_release 'mediatek/filogic' '24.10.*' '25.12.*' 'SNAPSHOT'
    need_layout
    need_medium 'nand' 'spim-nand' '01' '[SPI-NAND]'
    need_env '[SPI-NAND]' 'yes' 'bootcmd' 'bootargs' 'bootmenu_title' 'bootconf' 'boot_production' 'boot_recovery' 'loadaddr'
    need_system 'serial:S4EWNF0M531930D' 1 'overlay'
    need_next_start
    need_image '25.12.*' 'mediatek/filogic'
    need_place
    need_ram
    need_backup_place
}

# The image in place of the running system.
plan_upgrade() {
    step 1 4 'crash records'    # nand-nvme.yaml:32
    put_crash_away
    step 2 4 'the settings that travel'    # nand-nvme.yaml:32
    pack_settings
    step 3 4 'a backup'    # nand-nvme.yaml:32
    backup_first
    step 4 4 'sysupgrade'    # nand-nvme.yaml:32
    flash_image
}

# Is everything where the plan wants it?
plan_status() {
    tell_router
    tell_root 'extroot-overlay' 'overlay' 'serial:S4EWNF0M531930D' 1 'ext4' 'root'
    tell_upgrade
    tell_mount '/srv' 'bootplan_ssd_2' 'serial:S4EWNF0M531930D' 2
}

# The fallback to be proven, and what checklist asks.
plan_checklist() {
    fallback_is 180 '25.12.5' '[SPI-NAND]'
    fallback_runs_on 'mediatek,mt7988a' 'mediatek/filogic' 'bananapi,bpi-r4' '11' '[SD card]'
    want_file 'openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-sdcard.img.gz' '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef' 'image of the fallback card'
    want_file 'openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-snand-preloader.bin' '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef' 'BL2'
    want_file 'openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-snand-bl31-uboot.fip' '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef' 'FIP'
    want_file 'openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-initramfs-recovery.itb' '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef' 'recovery image'
    ask_owner 'card-printed' 'the recovery card is printed and lies beside the router (bootplan card, on your computer)'
    ask_owner 'serial-cable' 'a serial cable is at hand (3.3 V, 115200 8N1) and was tried: you saw U-Boot'\''s menu'
    ask_owner 'switch' 'you know the switch SW3: A=0 B=1 for SPI-NAND, A=1 B=1 for the card; it is read at power-on only'
    ask_owner 'backup' 'a backup of this router lies on another computer (backup USER@HOST:FOLDER, or copy the archive there)'
    ask_owner 'card-kept' 'the SD card lies where you find it, and says on it what it is'
    ask_owner 'tftp' 'a computer can have the address 192.168.1.254, and has a TFTP server with the recovery image'
}

# Is that file a saved environment of this router?
plan_saved_env() {
    need_saved_env '[SPI-NAND]' 'bootcmd' 'bootargs' 'bootmenu_title' 'bootconf' 'boot_production' 'boot_recovery' 'loadaddr'
}

# The boot loader's files, for reflash.
plan_bootloader() {
    need_board 'mediatek,mt7988a' 'bananapi,bpi-r4'
    switches_are '01' '10' '11'
    bootloader_is 'nand' 4096 '192.168.1.254' 'no'
    bootloader_file 'bl2' 'openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-snand-preloader.bin' '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef' 4096
    bootloader_file 'fip' 'openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-snand-bl31-uboot.fip' '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef' 0
    bootloader_file 'recovery' 'openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-initramfs-recovery.itb' '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef' 0
}

# The card that starts the router when nothing else does.
plan_fallback() {
    fallback_card 'openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-sdcard.img.gz' '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef' '25.12.5' 180 '11'
    card_place 'bl2' 34 8158
    card_place 'ubootenv' 8192 1024
    card_place 'factory' 9216 4096
    card_place 'fip' 13312 8192
    card_place 'recovery' 24576 65536
    card_place 'install' 90112 40960
    card_place 'production' 131072 917504
}

