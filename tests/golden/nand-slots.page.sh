#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck shell=dash enable=check-set-e-suppressed,check-extra-masked-returns,quote-safe-variables
# shellcheck disable=SC2329,SC2317,SC2016 # no plan calls all of the library; U-Boot expands its own variables
{ # the shell reads all of this up to the closing brace, the last line, before it runs any

# home router, two slots: OpenWrt 25.12 on a Banana Pi BPI-R4 (two SFP+ ports), booted from nand
#
# This page is the plan: each line calls a function of the library below it. First come the looks, then the
# steps of `install`, in order. How to run it, on the router, as root:
#
#   sh THIS check               looks at everything, changes nothing
#   sh THIS install             rehearsal: shows every change, makes none
#   sh THIS install --apply     does it
#   sh THIS status              after a restart: is root where the plan wants it?
#
# Made by bootplan 0.2.0.dev0 from nand-slots.yaml; the same plan gives the same bytes.
#   plan     sha256 84e8c300aaf03efceb661c9e9694e2414f59e586b66781cecd07e151a7f2b256
#   library  sha256 (that of the library)

plan_name='home router, two slots'
plan_digest='0ec57b7d9747c7bc'
plan_medium='nand'
plan_version='0.2.0.dev0'

# The two slots, and how one on trial proves itself.
plan_slots() {
    slots_are 'pair' 'overlay' 3 600 900
    slot 'a' 'serial:S4EWNF0M531930D' 1 'ext4' 'root-a'
    slot 'b' 'serial:S4EWNF0M531930D' 2 'ext4' 'root-b'
    check_health 'root' 'lan' 'wan' 'dns'
    chooser_begins 'if env exists bp_good ; then run bp_boot ; fi ; '
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
    plan_packages
    no_package_missing 'apk'
    need_disk 'serial:S4EWNF0M531930D' 16450
    need_env '[SPI-NAND]' 'yes' 'bootcmd' 'bootargs' 'bootmenu_title' 'bootconf' 'boot_production' 'boot_recovery' 'loadaddr'
    need_place_for_slots
    need_kernel 6 6 'rootwait=SECONDS is unknown to it, so a trial without a root would hang the router for ever'
    need_watchdog
    need_fstab '/' 'bootplan_root' '/overlay' 'bootplan_root' '/srv' 'bootplan_ssd_3'
}

# What the plan needs is installed.
plan_packages() {
    need_module 'nvme' 'kmod-nvme'
    need_command 'sfdisk' 'sfdisk'
    need_command 'mkfs.ext4' 'e2fsprogs'
    need_command 'mkfs.f2fs' 'mkf2fs'
    need_command 'block' 'block-mount'
    need_command 'fw_setenv' 'uboot-envtools'
}

# From the system on the boot medium to the one of the plan.
plan_install() {
    step 1 12 'volumes for the slots'    # nand-slots.yaml:32
    make_volumes 25165824 16777216
    step 2 12 'partition table of ssd'    # nand-slots.yaml:26
    partition_disk 'serial:S4EWNF0M531930D' 'root-a' 1 8192 'root-b' 8193 8192 'data' 16385 'rest'
    step 3 12 'file system of root-a'    # nand-slots.yaml:32
    make_slot 'a'
    step 4 12 'file system of root-b'    # nand-slots.yaml:33
    make_slot 'b'
    step 5 12 'file system of data'    # nand-slots.yaml:28
    make_filesystem 'serial:S4EWNF0M531930D' 3 'f2fs' 'data' 'data'
    step 6 12 'data at /srv'    # nand-slots.yaml:28
    mount_at_boot 'bootplan_ssd_3' '/srv' 'serial:S4EWNF0M531930D' 3 'data'
    step 7 12 'the health service'    # nand-slots.yaml:36
    install_service
    step 8 12 'what is known of the first slot'    # nand-slots.yaml:32
    record_first_slot
    step 9 12 'the system in the first slot'    # nand-slots.yaml:32
    copy_to_slot
    step 10 12 'the overlay of the first slot'    # nand-slots.yaml:32
    overlay_from_slot
    step 11 12 'a copy of the environment'    # nand-slots.yaml:32
    save_env_before_slots
    step 12 12 'U-Boot chooses between the slots'    # nand-slots.yaml:32
    choose_slots
}

# What every decision about the slots looks at first.
plan_decide() {
    plan_who
    need_env '[SPI-NAND]' 'yes' 'bootcmd' 'bootargs' 'bootmenu_title' 'bootconf' 'boot_production' 'boot_recovery' 'loadaddr'
}

# Is the image one for the slot that does not run?
plan_upgrade_look() {
    need_image '25.12.*' 'mediatek/filogic'
    need_table 'serial:S4EWNF0M531930D' 'root-a' 1 8192 'root-b' 8193 8192 'data' 16385 'rest'
    need_idle_place 25165824
}

# A new system into the slot that does not run.
plan_upgrade() {
    step 1 8 'no slot is on trial while one is written'    # nand-slots.yaml:32
    end_trial
    step 2 8 'the idle slot is unfinished'    # nand-slots.yaml:32
    slot_is_unfinished
    step 3 8 'the kernel of the idle slot'    # nand-slots.yaml:32
    put_kernel 25165824
    step 4 8 'the settings'    # nand-slots.yaml:32
    keep_settings
    step 5 8 'the system of the idle slot'    # nand-slots.yaml:32
    fill_root
    step 6 8 'the internal overlay of the idle slot'    # nand-slots.yaml:32
    fill_internal
    step 7 8 'the idle slot is finished'    # nand-slots.yaml:32
    slot_is_finished
    step 8 8 'the idle slot is on trial'    # nand-slots.yaml:32
    begin_trial
}

# What U-Boot runs at power-on, before its stock commands.
plan_chooser() {
    uboot_variable 'bp_boot' 'if test -n "$bp_try" ; then run bp_trial || run bp_fallback ; elif pstore check ; then run bp_crashed ; else run bp_use_$bp_good ; fi'
    uboot_variable 'bp_trial' 'setexpr bp_left 0$bp_left % a ; test "$bp_left" -ge 1 && setexpr bp_left $bp_left - 1 && saveenv && run bp_counted'
    uboot_variable 'bp_counted' 'setenv bp_mark bootplan.trial=1 ; run bp_use_$bp_try ; setenv bp_mark ; run bp_use_$bp_good ; true'
    uboot_variable 'bp_fallback' 'if test "$bp_fell" -ge 3 ; then run boot_recovery ; else setexpr bp_fell 0$bp_fell + 1 ; saveenv ; run bp_use_$bp_good ; fi'
    uboot_variable 'bp_crashed' 'test "$bp_crashes" -ge 0 || if setexpr bp_crashes 0$bp_crashes + 1 && saveenv ; then run bp_use_$bp_good ; fi'
    uboot_variable 'bp_kernel' 'run bp_pair && run boot_production'
    uboot_variable 'bp_pair' 'run bp_data && if run bp_kernels ; then run bp_both ; else run bp_alone ; fi'
    uboot_variable 'bp_kernels' 'ubi check fit_a || ubi check fit_b'
    uboot_variable 'bp_data' 'ubi check rootfs_data_a || ubi check rootfs_data_b'
    uboot_variable 'bp_both' 'setenv bp_volume rootfs_data ; run bp_swap && setenv bp_volume fit && run bp_swap'
    uboot_variable 'bp_alone' 'ubi check rootfs_data_$bp_other && ubi check rootfs_data'
    uboot_variable 'bp_swap' 'if ubi check ${bp_volume}_$bp_slot ; then if ubi check $bp_volume ; then ubi rename $bp_volume ${bp_volume}_$bp_other ; fi ; ubi rename ${bp_volume}_$bp_slot $bp_volume ; else ubi check $bp_volume ; fi'
    uboot_variable 'bp_use_a' 'setenv bp_slot a ; setenv bp_other b ; setenv bp_args "$bootargs" ; setenv bootargs "$bootargs rootwait=30 panic=5 bootplan.slot=a $bp_mark" ; run bp_kernel ; setenv bootargs "$bp_args"'
    uboot_variable 'bp_use_b' 'setenv bp_slot b ; setenv bp_other a ; setenv bp_args "$bootargs" ; setenv bootargs "$bootargs rootwait=30 panic=5 bootplan.slot=b $bp_mark" ; run bp_kernel ; setenv bootargs "$bp_args"'
}

# Is everything where the plan wants it?
plan_status() {
    tell_router
    tell_slots
    tell_mount '/srv' 'bootplan_ssd_3' 'serial:S4EWNF0M531930D' 3
}

# The fallback to be proven, and what checklist asks.
plan_checklist() {
    fallback_is 90 '25.12.5' '[SPI-NAND]'
    fallback_runs_on 'mediatek,mt7988a' 'mediatek/filogic' 'bananapi,bpi-r4' '11' '[SD card]'
    want_file 'openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-sdcard.img.gz' '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef' 'image of the fallback card'
    want_file 'openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-snand-bl31-uboot.fip' '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef' 'FIP'
    ask_owner 'card-printed' 'the recovery card is printed and lies beside the router (bootplan card, on your computer)'
    ask_owner 'serial-cable' 'a serial cable is at hand (3.3 V, 115200 8N1) and was tried: you saw U-Boot'\''s menu'
    ask_owner 'switch' 'you know the switch SW3: A=0 B=1 for SPI-NAND, A=1 B=1 for the card; it is read at power-on only'
    ask_owner 'backup' 'a backup of this router lies on another computer (backup USER@HOST:FOLDER, or copy the archive there)'
    ask_owner 'card-kept' 'the SD card lies where you find it, and says on it what it is'
}

# Is that file a saved environment of this router?
plan_saved_env() {
    need_saved_env '[SPI-NAND]' 'bootcmd' 'bootargs' 'bootmenu_title' 'bootconf' 'boot_production' 'boot_recovery' 'loadaddr'
}

# The boot loader's files, for reflash.
plan_bootloader() {
    need_board 'mediatek,mt7988a' 'bananapi,bpi-r4'
    switches_are '01' '10' '11'
    bootloader_is 'nand' 0 '192.168.1.254' 'no'
    bootloader_file 'fip' 'openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-snand-bl31-uboot.fip' '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef' 0
}

# The card that starts the router when nothing else does.
plan_fallback() {
    fallback_card 'openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-sdcard.img.gz' '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef' '25.12.5' 90 '11'
    card_place 'bl2' 34 8158
    card_place 'ubootenv' 8192 1024
    card_place 'factory' 9216 4096
    card_place 'fip' 13312 8192
    card_place 'recovery' 24576 65536
    card_place 'install' 90112 40960
    card_place 'production' 131072 917504
}

