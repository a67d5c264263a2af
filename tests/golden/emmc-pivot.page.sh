#!/bin/sh
# shellcheck shell=busybox enable=check-set-e-suppressed,check-extra-masked-returns,quote-safe-variables
# shellcheck disable=SC2329,SC2317,SC2016 # one plan does not call all of the library; nothing is behind the last exit; U-Boot expands its own
{ # the shell reads up to the closing brace before it runs any of this
#
# lab router, root on NVMe: OpenWrt 24.10 on a Banana Pi BPI-R4 (two SFP+ ports), booted from emmc
#
# Made by bootplan 0.1.0 from emmc-pivot.yaml; the same plan gives the same bytes.
#   plan     sha256 867acb230346970d9da2462617d06af769dc46f646e3ff5d370999bc80d0489f
#   library  sha256 (that of the library)
#
# How to read it: this page is the plan, each line a call of a function of the library below it. First the
# looks, then the steps of `install`, in order. How to run it, on the router, as root:
#
#   sh THIS check                   look at everything, change nothing
#   sh THIS install                 rehearsal: every change is shown, none is made
#   sh THIS install --apply         do it
#   sh THIS status                  after a restart: is root where the plan wants it?

plan_name='lab router, root on NVMe'
plan_digest='761f5f991c2e4782'
plan_medium='emmc'
plan_version='0.1.0'

# This plan has no slots.
plan_slots() {
    no_slots
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
    need_module 'nvme' 'kmod-nvme'
    need_command 'sfdisk' 'sfdisk'
    need_command 'mkfs.ext4' 'e2fsprogs'
    need_command 'block' 'block-mount'
    no_package_missing 'opkg'
    need_disk 'pci:0002:01:00.0' 81986
    need_system 'pci:0002:01:00.0' 1 'root'
    need_fstab '/' 'bootplan_root' '/overlay' 'bootplan_root' '/srv' 'bootplan_ssd_2' '/srv/docker' 'bootplan_ssd_3'
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
    copy_system 'pci:0002:01:00.0' 1 'ext4' 'root' 'root' 16384
    step 8 8 'root on root, from the next start on'    # emmc-pivot.yaml:27
    root_from_disk '/' 'pci:0002:01:00.0' 1 'root'
}

# Is everything where the plan wants it?
plan_status() {
    tell_router
    tell_root 'extroot-pivot' 'root' 'pci:0002:01:00.0' 1 'ext4' 'root'
    tell_mount '/srv' 'bootplan_ssd_2' 'pci:0002:01:00.0' 2
    tell_mount '/srv/docker' 'bootplan_ssd_3' 'pci:0002:01:00.0' 3
}

# Is that file a saved environment of this router?
plan_saved_env() {
    need_saved_env '[eMMC]' 'bootcmd' 'bootargs' 'bootmenu_title' 'bootconf' 'boot_production' 'boot_recovery' 'loadaddr'
}

