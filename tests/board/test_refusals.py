"""What the script must not begin: each case is told by its reason, ends with 3, and no disk image changes."""

from typing import Any

import pytest

from .images import GiB, MiB
from .router import Disk, MakeRouter
from .scripts import Bench, kind_of_router, plan

TWO = "printf 'label: gpt\\nsize=64MiB,name=mine\\nname=other\\n' | sfdisk -q /dev/nvme0n1 >/dev/null 2>&1"
AS_PLANNED = (
    "printf 'label: gpt\\nstart=1MiB,size=256MiB,name=root\\nstart=257MiB,size=1790MiB,name=data\\n'"
    " | sfdisk -q /dev/nvme0n1 >/dev/null 2>&1"
)
IN_FSTAB = (
    "touch /etc/config/fstab; uci set fstab.bootplan_root=mount; uci set fstab.bootplan_root.target=/overlay; "
    "uci commit fstab"
)

Case = tuple[dict[str, Any], dict[str, Any], str, str]
# name: (what is special of the router, of the plan, commands before, words that must be told)
CASES: dict[str, Case] = {
    "another board": ({"board_name": "bananapi,bpi-r4-lite"}, {}, "", "this router is 'bananapi,bpi-r4-lite'"),
    "another release": ({"release": "24.10.2"}, {}, "", "this router runs '24.10.2'"),
    "another medium": ({"medium": "sd"}, {}, "", "for nand set SW3 to A=0 B=1, switch the power off and on"),
    "the vendor's flash layout": ({}, {}, "echo BL2 >/sys/class/mtd/mtd0/name", "OpenWrt's layout has bl2 and ubi"),
    "another boot loader": (
        {},
        {},
        "printf 'U-Boot 2024.10' >/sys/firmware/devicetree/base/chosen/u-boot,version",
        "not OpenWrt's U-Boot",
    ),
    "no such disk": ({}, {"disk": "serial: ANOTHER"}, "", "no disk here is 'serial:ANOTHER'; here are: nvme0n1 serial"),
    "two disks alike": (
        {"disks": (Disk(size=GiB), Disk(size=GiB, pci="0003:01:00.0"))},
        {},
        "",
        "more than one disk is",
    ),
    "a disk too small": ({"disks": (Disk(size=300 * MiB),)}, {}, "", "disk nvme0n1 holds 300 MiB, the plan needs 322"),
    "a disk at another place": (
        {},
        {"disk": 'serial: S4EWNF0M531930D\n    pci: "0003:01:00.0"'},
        "",
        "the plan says 0003:01:00.0",
    ),
    "a read-only disk": ({}, {}, "echo 1 >/sys/class/block/nvme0n1/ro", "disk nvme0n1 is read-only"),
    "another table": ({}, {}, TWO, "1 'mine', 64 MiB: blank"),
    "a file system without a table": ({}, {}, "mkfs.ext4 -q -F -L old /dev/nvme0n1", "at its beginning: ext4 'old'"),
    "data at the end of the disk": (
        {},
        {},
        "echo old | dd of=/dev/nvme0n1 bs=1M seek=2047 conv=notrunc",
        "is not blank",
    ),
    "data where a partition would be": (
        {},
        {},
        "echo old | dd of=/dev/nvme0n1 bs=1M seek=257 conv=notrunc",
        "is not blank",
    ),
    "data behind the last whole MiB": (
        {"disks": (Disk(size=2 * GiB + 688 * 512),)},
        {},
        "printf raid | dd of=/dev/nvme0n1 bs=512 seek=4194991 conv=notrunc",
        "is not blank",
    ),
    "one disk by serial number and by address": (
        {},
        {"more": "packages: []\n", "disk": "serial: S4EWNF0M531930D", "other": 'pci: "0002:01:00.0"'},
        "",
        "disk nvme0n1 is in the plan twice",
    ),
    "an entry of another plan in fstab": (
        {},
        {"method": "internal"},
        IN_FSTAB,
        "fstab already mounts something at /overlay; disable it first: uci set fstab.bootplan_root.enabled=0",
    ),
    "LUKS": ({}, {}, "printf 'LUKS\\272\\276\\000\\002' >/dev/nvme0n1", "at its beginning: LUKS"),
    "another file system in a partition": (
        {},
        {},
        f"{AS_PLANNED}; mkfs.ext4 -q -F -L other /dev/nvme0n1p1",
        "partition 1 of nvme0n1 holds ext4 'other'",
    ),
    "a file system with files": (
        {},
        {},
        (
            f"{AS_PLANNED}; mkfs.ext4 -q -F -L root /dev/nvme0n1p1; mkdir /tmp/m; mount /dev/nvme0n1p1 /tmp/m;"
            " echo mine >/tmp/m/mine; umount /tmp/m"
        ),
        "files that this script did not put there (mine)",
    ),
    "data at the end of a blank partition": (
        {},
        {},
        f"{AS_PLANNED}; echo raid | dd of=/dev/nvme0n1 bs=1M seek=256 conv=notrunc",
        "at its end",
    ),
    "a disk in use": (
        {},
        {},
        f"{TWO}; mkfs.ext4 -q -F -E lazy_itable_init=0 /dev/nvme0n1p2; mkdir /tmp/m; mount /dev/nvme0n1p2 /tmp/m",
        "the disk is in use: /tmp/m",
    ),
    "a boot layout on the disk": (
        {},
        {},
        "printf 'label: gpt\\nsize=64MiB,name=fip\\n' | sfdisk -q /dev/nvme0n1",
        "partitions of a boot layout (fip)",
    ),
    "a system that is too large": (
        {"tmp_size": "64m"},
        {},
        "dd if=/dev/urandom of=/root/big bs=1M count=220 2>/dev/null",
        "too much for a partition of 256 MiB",
    ),
    "no sfdisk": ({"packages": ("kmod-nvme", "block-mount")}, {}, "", "apk update && apk add sfdisk"),
    "no packages at all, 24.10": (
        {"packages": (), "release": "24.10.2"},
        {"release": "24.10"},
        "",
        "opkg update && opkg install kmod-nvme sfdisk block-mount",
    ),
    "the driver loaded too late": ({}, {}, "rm /etc/modules-boot.d/*nvme*", "does not load it early enough"),
    "another overlay in fstab": (
        {},
        {},
        "touch /etc/config/fstab; uci set fstab.x=mount; uci set fstab.x.target=/overlay; uci commit fstab",
        "fstab already mounts something at /overlay; disable it first: uci set fstab.x.enabled=0",
    ),
    "uncommitted changes in fstab": (
        {},
        {},
        "touch /etc/config/fstab; uci set fstab.x=mount",
        "uncommitted changes in fstab",
    ),
    "settings in RAM": ({}, {}, "mount -t tmpfs none /overlay", "settings that live in RAM only"),
}

ENVIRONMENT: dict[str, Case] = {
    "an overlay in fstab": (
        {},
        {},
        IN_FSTAB,
        "fstab already mounts something at /overlay",
    ),
    "NVMe as a module": (
        {"kernel_nvme": "module", "packages": ("kmod-nvme", "block-mount", "sfdisk")},
        {},
        "",
        "here it is a module",
    ),
    "old fstools": ({"fstools_overlay_name": False}, {}, "", "does not know fstools_overlay_name"),
    "both copies broken": ({}, {}, "for n in 1 2; do echo rubbish >/dev/ubi0_$n; done", "not valid (bad CRC)"),
    "a config for another medium": (
        {},
        {},
        "echo '/dev/mmcblk0p2 0x0 0x40000 0x40000 1' >/etc/fw_env.config",
        "the environment of this medium is at '/dev/ubi0_1",
    ),
    "a config that is none": (
        {},
        {},
        "echo '/dev/ubi0_1 here there $(reboot)' >/etc/fw_env.config",
        "says '/dev/ubi0_1 here there '",
    ),
    "no config": ({}, {}, "rm /etc/fw_env.config", "/etc/fw_env.config says 'nothing'"),
    "the menu of another medium": ({"env": {"bootmenu_title": "[SD card]"}}, {}, "", "it is another medium's"),
    "another boot command": ({"env": {"bootcmd": "bootp; bootm"}}, {}, "", "not that of OpenWrt's U-Boot"),
    "bootargs changed by hand": (
        {},
        {},
        "fw_setenv bootargs console=ttyS0",
        "this script only changes the medium's own",
    ),
    "variables missing": (
        {"env": {"bootconf": None}},
        {},
        "",
        "the environment lacks variables that OpenWrt's U-Boot has: bootconf",
    ),
}


def refused(router: MakeRouter, machine: dict[str, Any], plan_text: str, before: str, told: str) -> None:
    """The script tells the reason, for check, rehearsal and --apply, and changes nothing."""
    box = router(**machine).boot()
    bench = Bench(box, plan_text)
    if before:
        box.run(before, timeout=120)
    untouched = box.digests()

    for words in ("check", "install", "install --apply"):
        result = bench.sh(words)
        assert (result.code, told in result.out) == (3, True), result.out + result.err
        assert result.out.endswith("nothing was changed\n")
        assert box.digests() == untouched


@pytest.mark.parametrize("name", CASES)
def test_it_does_not_begin(router: MakeRouter, name: str) -> None:
    """On a router, a disk or with settings that are not what the plan is about."""
    machine, planned, before, told = CASES[name]
    refused(router, machine, plan(**planned), before, told)


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_it_does_not_touch_an_environment_it_does_not_know(router: MakeRouter, name: str) -> None:
    """With root on the kernel's command line."""
    machine, planned, before, told = ENVIRONMENT[name]
    refused(router, kind_of_router("cmdline") | machine, plan("cmdline", **planned), before, told)


def test_all_reasons_are_told_at_once(router: MakeRouter) -> None:
    """A wrong disk, a missing package and a wrong release in one run."""
    box = router(packages=("kmod-nvme",), release="24.10.2").boot()
    told = Bench(box, plan(disk="serial: ANOTHER")).sh("check").out

    assert told.count("refused: ") >= 3


def test_wipe_must_name_a_disk_of_the_plan(router: MakeRouter) -> None:
    """A serial number of another disk is a mistake, even when nothing would have to be wiped."""
    box = router().boot()
    bench = Bench(box, plan())
    untouched = box.digests()

    result = bench.sh("install --apply --wipe S4EWNF0M531930E")

    assert (result.code, "which is no disk of this plan" in result.out) == (3, True)
    assert box.digests() == untouched


def test_a_missing_command(router: MakeRouter) -> None:
    """Told as what it is, before anything else: not as a second run, not in the middle."""
    box = router(shell="dash").boot()
    bench = Bench(box, plan())
    box.run("rm /usr/bin/flock /bin/flock; true")

    result = bench.sh("install --apply")

    assert (result.code, result.err) == (3, "refused: commands of a stock image are missing: flock\n")


def test_a_full_tmp(router: MakeRouter) -> None:
    """Lists and the log need some room; without it nothing begins."""
    box = router(tmp_size="12m").boot()
    bench = Bench(box, plan())
    box.run("dd if=/dev/zero of=/tmp/full bs=1M count=7 2>/dev/null")
    untouched = box.digests()

    result = bench.sh("install --apply")

    assert (result.code, "8192 KiB are needed" in result.err) == (3, True)
    assert box.digests() == untouched


@pytest.mark.parametrize("shell", ["ash", "dash"])
def test_a_script_that_is_read_from_a_pipe(router: MakeRouter, shell: str) -> None:
    """Looking is all that it can do: what it puts into the system is itself, and that would be /bin/sh."""
    box = router(shell=shell).boot()
    bench = Bench(box, plan())
    untouched = box.digests()

    for action in ("install --apply", "backup /root"):
        result = box.run(f"cd /bin && cat {bench.name} | sh -s {action}")

        assert (result.code, "cannot read itself ('sh')" in result.err) == (3, True), result
    assert box.run(f"cat {bench.name} | sh -s check").code == 0
    assert box.run(f"cat {bench.name} | sh -s status").code == 1
    assert box.digests() == untouched


def test_a_second_run_at_the_same_time(router: MakeRouter) -> None:
    """The lock; status may look all the same."""
    box = router().boot()
    bench = Bench(box, plan())
    box.run("exec 9>/var/lock/bootplan.lock; flock 9; (sleep 20; true) >/dev/null 2>&1 &").ok()

    assert "another run of this script is under way" in bench.sh("install --apply").err
    assert bench.sh("check").code == 3
    assert bench.sh("status").code == 1


@pytest.mark.parametrize(
    "words",
    [
        "",
        "frobnicate",
        "install extra",
        "backup",
        "restore-env",
        "check --apply",
        "install --json",
        "install --wipe",
        "status --wipe X",
        "restore",
        "restore a b",
        "backup a --apply",
        "install --no-env",
        "backup a --with-network",
        "install --frobnicate",
        "install --recopy",
    ],
)
def test_wrong_usage(router: MakeRouter, words: str) -> None:
    """Ends with 2 and a sentence."""
    box = router().boot()
    result = Bench(box, plan()).sh(words)
    assert (result.code, result.out) == (2, "")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("shell", ["ash", "dash"])
def test_a_device_that_cannot_be_opened_holds_nothing_of_the_last_one(router: MakeRouter, shell: str) -> None:
    """A node without a device, as a disk that died leaves it, is not told to hold what was read before."""
    box = router(shell=shell).boot()
    bench = Bench(box, plan())
    bench.sh("install --apply").ok()
    functions = bench.script.rpartition('\nmain "$@"; exit\n}')[0]
    tries = "".join(f'probe {node} 0; echo "$kind/$label"; ' for node in ("/dev/nvme0n1p1", "/dev/gone"))
    box.put("/tmp/probe.sh", f"{functions}\nwork=/tmp/probe\nmkdir $work\n{tries}\nexit\n}}\n")

    told = box.run("mknod /dev/gone b 259 250; sh /tmp/probe.sh").ok().out

    assert told == "ext4/root\nnothing readable/\n"
