#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck shell=dash enable=check-set-e-suppressed,check-extra-masked-returns,quote-safe-variables
# shellcheck disable=SC2329,SC2317,SC2016 # no plan calls all of the library; U-Boot expands its own variables
{ # the shell reads all of this up to the closing brace, the last line, before it runs any

# bench router, A and B on NVMe: OpenWrt 25.12 on a Banana Pi BPI-R4 (two SFP+ ports), booted from nand
#
# This page is the plan: each line calls a function of the library below it. First come the looks, then the
# steps of `install`, in order. How to run it, on the router, as root:
#
#   sh THIS check               looks at everything, changes nothing
#   sh THIS install             rehearsal: shows every change, makes none
#   sh THIS install --apply     does it
#   sh THIS status              after a restart: is root where the plan wants it?
#
# Made by bootplan 0.2.0.dev0 from guide-ab.yaml; the same plan gives the same bytes.
#   plan     sha256 d563cee5aa9099203211fa77d4331302bf340b46229b5945c46ce67115fa0988
#   library  sha256 (that of the library)

plan_name='bench router, A and B on NVMe'
plan_digest='9116ae97803c87b8'
plan_medium='nand'
plan_version='0.2.0.dev0'

# The two slots, and how one on trial proves itself.
plan_slots() {
    slots_are 'volume' 'root' 3 300 480
    slot 'a' 'serial:S4EWNF0M531930D' 1 'ext4' 'root-a'
    slot 'b' 'serial:S4EWNF0M531930D' 2 'ext4' 'root-b'
    check_health 'root' 'lan' 'wan' 'dns' 'ssh'
    chooser_begins 'if env exists bp_good ; then run bp_boot ; fi ; '
    keep '/etc/wireguard'
    keep '/root/notes'
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
    need_stock_bootargs 'console=ttyS0,115200n1 pci=pcie_bus_perf root=/dev/fit0 rootwait ubi.block=0,fit'
    need_fstab '/' 'none' '/overlay' 'none' '/srv' 'bootplan_ssd_3'
    need_nvme_builtin
    need_kernel 6 6 'rootwait=SECONDS is unknown to it, so a missing disk would hang the router for ever'
    need_overlay_switch
}

# What the plan needs is installed.
plan_packages() {
    need_command 'sfdisk' 'sfdisk'
    need_command 'mkfs.ext4' 'e2fsprogs'
    need_command 'block' 'block-mount'
    need_command 'fw_setenv' 'uboot-envtools'
}

# From the system on the boot medium to the one of the plan.
plan_install() {
    step 1 12 'volumes for the slots'    # guide-ab.yaml:37
    make_volumes 20971520 16777216
    step 2 12 'partition table of ssd'    # guide-ab.yaml:28
    partition_disk 'serial:S4EWNF0M531930D' 'root-a' 1 8192 'root-b' 8193 8192 'data' 16385 'rest'
    step 3 12 'file system of root-a'    # guide-ab.yaml:37
    make_slot 'a'
    step 4 12 'file system of root-b'    # guide-ab.yaml:38
    make_slot 'b'
    step 5 12 'file system of data'    # guide-ab.yaml:30
    make_filesystem 'serial:S4EWNF0M531930D' 3 'ext4' 'data' 'data'
    step 6 12 'data at /srv'    # guide-ab.yaml:30
    mount_at_boot 'bootplan_ssd_3' '/srv' 'serial:S4EWNF0M531930D' 3 'data'
    step 7 12 'the health service'    # guide-ab.yaml:43
    install_service
    step 8 12 'what is known of the first slot'    # guide-ab.yaml:37
    record_first_slot
    step 9 12 'the system in the first slot'    # guide-ab.yaml:37
    copy_to_slot
    step 10 12 'the kernel of the first slot'    # guide-ab.yaml:37
    copy_kernel 20971520
    step 11 12 'a copy of the environment'    # guide-ab.yaml:37
    save_env_before_slots
    step 12 12 'U-Boot chooses between the slots'    # guide-ab.yaml:37
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
    need_idle_place 20971520
}

# A new system into the slot that does not run.
plan_upgrade() {
    step 1 7 'no slot is on trial while one is written'    # guide-ab.yaml:37
    end_trial
    step 2 7 'the idle slot is unfinished'    # guide-ab.yaml:37
    slot_is_unfinished
    step 3 7 'the kernel of the idle slot'    # guide-ab.yaml:37
    put_kernel 20971520
    step 4 7 'the settings'    # guide-ab.yaml:37
    keep_settings
    step 5 7 'the system of the idle slot'    # guide-ab.yaml:37
    fill_root
    step 6 7 'the idle slot is finished'    # guide-ab.yaml:37
    slot_is_finished
    step 7 7 'the idle slot is on trial'    # guide-ab.yaml:37
    begin_trial
}

# What U-Boot runs at power-on, before its stock commands.
plan_chooser() {
    uboot_variable 'bp_boot' 'if test -n "$bp_try" ; then run bp_trial || run bp_fallback ; elif pstore check ; then run bp_crashed ; else run bp_use_$bp_good ; fi'
    uboot_variable 'bp_trial' 'setexpr bp_left 0$bp_left % a ; test "$bp_left" -ge 1 && setexpr bp_left $bp_left - 1 && saveenv && run bp_counted'
    uboot_variable 'bp_counted' 'setenv bp_mark bootplan.trial=1 ; run bp_use_$bp_try ; setenv bp_mark ; run bp_use_$bp_good ; true'
    uboot_variable 'bp_fallback' 'if test "$bp_fell" -ge 3 ; then run boot_recovery ; else setexpr bp_fell 0$bp_fell + 1 ; saveenv ; run bp_use_$bp_good ; fi'
    uboot_variable 'bp_crashed' 'test "$bp_crashes" -ge 2 || if setexpr bp_crashes 0$bp_crashes + 1 && saveenv ; then run bp_use_$bp_good ; fi'
    uboot_variable 'bp_kernel' 'led $bootled_pwr on ; ubi read $loadaddr fit_$bp_slot && iminfo $loadaddr && bootm $loadaddr#$bootconf#$bootconf_extra ; led $bootled_pwr off'
    uboot_variable 'bp_use_a' 'if test -n "$bp_root_a" ; then setenv bp_slot a ; setenv bp_other b ; setenv bp_args "$bootargs" ; setenv bootargs "console=ttyS0,115200n1 pci=pcie_bus_perf ubi.block=0,fit root=PARTUUID=$bp_root_a rootfstype=ext4 rootwait=20 panic=5 fstools_overlay_name=none softlockup_panic=1 bootplan.slot=a $bp_mark" ; run bp_kernel ; setenv bootargs "$bp_args" ; fi'
    uboot_variable 'bp_use_b' 'if test -n "$bp_root_b" ; then setenv bp_slot b ; setenv bp_other a ; setenv bp_args "$bootargs" ; setenv bootargs "console=ttyS0,115200n1 pci=pcie_bus_perf ubi.block=0,fit root=PARTUUID=$bp_root_b rootfstype=ext4 rootwait=20 panic=5 fstools_overlay_name=none softlockup_panic=1 bootplan.slot=b $bp_mark" ; run bp_kernel ; setenv bootargs "$bp_args" ; fi'
}

# Is everything where the plan wants it?
plan_status() {
    tell_router
    tell_slots
    tell_mount '/srv' 'bootplan_ssd_3' 'serial:S4EWNF0M531930D' 3
}

# The fallback to be proven, and what checklist asks.
plan_checklist() {
    no_fallback
    ask_owner 'card-printed' 'the recovery card is printed and lies beside the router (bootplan card, on your computer)'
    ask_owner 'serial-cable' 'a serial cable is at hand (3.3 V, 115200 8N1) and was tried: you saw U-Boot'\''s menu'
    ask_owner 'switch' 'you know the switch SW3: A=0 B=1 for SPI-NAND, A=1 B=1 for the card; it is read at power-on only'
    ask_owner 'backup' 'a backup of this router lies on another computer (backup USER@HOST:FOLDER, or copy the archive there)'
}

# Is that file a saved environment of this router?
plan_saved_env() {
    need_saved_env '[SPI-NAND]' 'bootcmd' 'bootargs' 'bootmenu_title' 'bootconf' 'boot_production' 'boot_recovery' 'loadaddr'
}

# The boot loader's files, for reflash.
plan_bootloader() {
    need_board 'mediatek,mt7988a' 'bananapi,bpi-r4'
    switches_are '01' '10' '11'
    no_bootloader 0 '192.168.1.254'
}

# The card that starts the router when nothing else does.
plan_fallback() {
    no_card
}

