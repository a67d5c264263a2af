#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck shell=dash enable=check-set-e-suppressed,check-extra-masked-returns,quote-safe-variables
# shellcheck disable=SC2329,SC2317,SC2016 # no plan calls all of the library; U-Boot expands its own variables
{ # the shell reads all of this up to the closing brace, the last line, before it runs any

# bench router, own kernel: OpenWrt 25.12 on a Banana Pi BPI-R4 (two SFP+ ports), booted from nand
#
# This page is the plan: each line calls a function of the library below it. First come the looks, then the
# steps of `install`, in order. How to run it, on the router, as root:
#
#   sh THIS check               looks at everything, changes nothing
#   sh THIS install             rehearsal: shows every change, makes none
#   sh THIS install --apply     does it
#   sh THIS status              after a restart: is root where the plan wants it?
#
# Made by bootplan 0.2.0.dev0 from guide-cmdline.yaml; the same plan gives the same bytes.
#   plan     sha256 ebb645bff2846b4503cd1b8e2893aa916bd707b790d189ece06dd98117be8717
#   library  sha256 (that of the library)

plan_name='bench router, own kernel'
plan_digest='a30e67879fefb133'
plan_medium='nand'
plan_version='0.2.0.dev0'

# This plan has no slots; how its one system is upgraded.
plan_slots() {
    no_slots
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
    need_disk 'serial:S4EWNF0M531930D' 8258
    need_system 'serial:S4EWNF0M531930D' 1 'root'
    need_fstab '/' 'none' '/overlay' 'none' '/srv' 'bootplan_ssd_2'
    need_nvme_builtin
    need_kernel 6 6 'rootwait=SECONDS is unknown to it, so a missing disk would hang the router for ever'
    need_overlay_switch
    need_env '[SPI-NAND]' 'yes' 'bootcmd' 'bootargs' 'bootmenu_title' 'bootconf' 'boot_production' 'boot_recovery' 'loadaddr'
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
    step 1 8 'the stock root while root is made anew'    # guide-cmdline.yaml:27
    root_not_from 'serial:S4EWNF0M531930D' 1 'ext4' 'root' 'console=ttyS0,115200n1 pci=pcie_bus_perf root=/dev/fit0 rootwait ubi.block=0,fit' 'console=ttyS0,115200n1 pci=pcie_bus_perf ubi.block=0,fit'
    step 2 8 'partition table of ssd'    # guide-cmdline.yaml:24
    partition_disk 'serial:S4EWNF0M531930D' 'root' 1 8192 'data' 8193 'rest'
    step 3 8 'file system of root'    # guide-cmdline.yaml:24
    make_filesystem 'serial:S4EWNF0M531930D' 1 'ext4' 'root' 'root'
    step 4 8 'file system of data'    # guide-cmdline.yaml:25
    make_filesystem 'serial:S4EWNF0M531930D' 2 'ext4' 'data' 'data'
    step 5 8 'data at /srv'    # guide-cmdline.yaml:25
    mount_at_boot 'bootplan_ssd_2' '/srv' 'serial:S4EWNF0M531930D' 2 'data'
    step 6 8 'a copy of the environment'    # guide-cmdline.yaml:27
    save_env 'console=ttyS0,115200n1 pci=pcie_bus_perf ubi.block=0,fit'
    step 7 8 'the system on root'    # guide-cmdline.yaml:28
    copy_system 'serial:S4EWNF0M531930D' 1 'ext4' 'root' 'root'
    step 8 8 'root on root, by the kernel'\''s command line'    # guide-cmdline.yaml:27
    root_from_cmdline 'serial:S4EWNF0M531930D' 1 'console=ttyS0,115200n1 pci=pcie_bus_perf root=/dev/fit0 rootwait ubi.block=0,fit' 'console=ttyS0,115200n1 pci=pcie_bus_perf ubi.block=0,fit' 'rootfstype=ext4 rootwait=20 panic=5 fstools_overlay_name=none quiet'
}

# Can sysupgrade bring this image here?
plan_upgrade_look() {
    need_slots_to_upgrade
}

# Is everything where the plan wants it?
plan_status() {
    tell_router
    tell_root 'cmdline' 'root' 'serial:S4EWNF0M531930D' 1 'ext4' 'root'
    tell_upgrade
    tell_mount '/srv' 'bootplan_ssd_2' 'serial:S4EWNF0M531930D' 2
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

