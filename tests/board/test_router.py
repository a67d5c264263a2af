"""Tests of the private router root itself: every claim that the tests of the generated script rely on."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from . import fstools
from .images import GiB, MiB
from .loops import Loop
from .router import Disk, Hang, MakeRouter, Panic, Router
from .running import Timeout

MEDIA = ("nand", "emmc", "sd")
TWO_PARTITIONS = 'label: gpt\nsize=256MiB, name="root-a"\nname="data"\n'
STOCK_ARGUMENTS = {
    "nand": "console=ttyS0,115200n1 pci=pcie_bus_perf root=/dev/fit0 rootwait ubi.block=0,fit",
    "emmc": "console=ttyS0,115200n1 pci=pcie_bus_perf root=/dev/fit0 rootwait",
    "sd": "console=ttyS0,115200n1 pci=pcie_bus_perf root=/dev/fit0 rootwait",
}


def writes_to(loop: Loop) -> int:
    """Return how many writes the device has had (Documentation/block/stat.rst)."""
    return int(Path("/sys/block", Path(loop.path).name, "stat").read_text().split()[4])


def partition(router: Router) -> str:
    """Partition the first disk, make its first file system and return that one's UUID."""
    router.run("sfdisk /dev/nvme0n1", input=TWO_PARTITIONS).ok()
    router.run("mkfs.ext4 -q -F -L root-a /dev/nvme0n1p1").ok()
    return router.run("""block info /dev/nvme0n1p1 | sed 's/.*UUID="\\([^"]*\\)".*/\\1/'""").ok().out.strip()


def fstab(target: str, uuid: str) -> str:
    """Return an fstab with one mount."""
    return f"config mount\n\toption enabled '1'\n\toption target '{target}'\n\toption uuid '{uuid}'\n"


def copy_overlay(router: Router) -> None:
    """Copy the internal overlay to the first partition."""
    router.run("mkdir /tmp/n && mount -t ext4 /dev/nvme0n1p1 /tmp/n && cp -a /overlay/. /tmp/n && umount /tmp/n").ok()


def copy_root(router: Router) -> None:
    """Copy the whole root, without what is mounted on it, to the first partition."""
    router.run(
        "mkdir -p /tmp/n /tmp/r && mount -t ext4 /dev/nvme0n1p1 /tmp/n && mount --bind / /tmp/r && "
        "tar -C /tmp/r -cf - . | tar -C /tmp/n -xf - && umount /tmp/r && umount /tmp/n"
    ).ok()


def root_source(router: Router) -> tuple[str, str]:
    """Return (source, type) of what is mounted on the root."""
    return [(source, kind) for source, target, kind, _ in router.mounts() if target == "/"][-1]


@pytest.mark.parametrize("medium", MEDIA)
def test_stock_boot(router: MakeRouter, medium: str) -> None:
    """A fresh router comes up on its internal overlay and says truly what it is."""
    box = router(medium=medium).boot()
    assert root_source(box) == ("overlayfs:/overlay", "overlay")
    overlay = [source for source, target, _, _ in box.mounts() if target == "/overlay"]
    assert overlay == ["/dev/ubi0_5" if medium == "nand" else "/dev/fitrw"]
    assert ("/dev/root", "/rom", "squashfs") in [mount[:3] for mount in box.mounts()]
    assert box.read("/proc/cmdline") == STOCK_ARGUMENTS[medium] + "\n"
    assert box.read("/tmp/sysinfo/board_name") == "bananapi,bpi-r4\n"
    chosen = (
        "cd /sys/firmware/devicetree/base/chosen; for m in spim-nand emmc sd; do "
        "[ -e rootdisk-$m ] && cmp -s rootdisk rootdisk-$m && echo $m; done; true"
    )
    assert box.run(chosen).ok().out.strip() == {"nand": "spim-nand"}.get(medium, medium)
    assert "OpenWrt" in box.read("/sys/firmware/devicetree/base/chosen/u-boot,version")
    assert box.run("cat /sys/class/mtd/mtd0/name /sys/class/mtd/mtd1/name").out == "bl2\nubi\n"
    title = {"nand": "[SPI-NAND]", "emmc": "[eMMC]", "sd": "[SD card]"}[medium]
    assert title in box.run("fw_printenv -n bootmenu_title").ok().out
    assert box.run("fw_printenv").ok().err == ""
    if medium != "nand":
        assert box.read("/sys/block/mmcblk0/device/type") == ("SD\n" if medium == "sd" else "MMC\n")
        assert box.exists("/sys/class/block/mmcblk0boot0") == (medium == "emmc")
        names = box.run("sed -n s/PARTNAME=//p /sys/class/block/mmcblk0p*/uevent").ok().out.split()
        assert "production" in names and ("bl2" in names) == (medium == "sd")


def test_environment_decides_the_command_line(router: MakeRouter) -> None:
    """What fw_setenv writes in the router is what the next power-on passes to the kernel, and both copies are real."""
    for medium in MEDIA:
        box = router(medium=medium).boot()
        wanted = STOCK_ARGUMENTS[medium] + " probe=1"
        box.run(f"fw_setenv bootargs '{wanted}'").ok()
        assert box.environment()["bootargs"] == wanted
        box.reboot()
        assert box.read("/proc/cmdline") == wanted + "\n"
        box.run("printf 'bp_a 1\\nbp_b two words\\nprobe\\n' | fw_setenv -s -").ok()
        assert box.environment()["bp_b"] == "two words"
        box.off()


def test_damaged_environment(router: MakeRouter) -> None:
    """One bad copy is no loss; with two bad copies the tool warns and the machine boots with the stock environment."""
    box = router(medium="nand", env={"mark": "old"}).boot()
    box.run("fw_setenv mark new").ok()
    box.run("dd if=/dev/zero of=/dev/ubi0_1 bs=4096 count=4 conv=notrunc,fsync").ok()
    assert box.environment()["mark"] in ("old", "new")
    box.run("dd if=/dev/zero of=/dev/ubi0_2 bs=4096 count=4 conv=notrunc,fsync").ok()
    assert "Bad CRC" in box.run("fw_printenv mark").err
    assert box.fw_printenv() is None
    box.reboot()
    assert box.read("/proc/cmdline") == STOCK_ARGUMENTS["nand"] + "\n"


@pytest.mark.parametrize("medium", MEDIA)
def test_extroot_overlay(router: MakeRouter, medium: str) -> None:
    """An fstab in the internal overlay moves /overlay to the disk; the files there are the ones that live on."""
    box = router(medium=medium).boot()
    uuid = partition(box)
    box.put("/etc/config/fstab", fstab("/overlay", uuid))
    copy_overlay(box)
    box.put("/etc/only-internal", "old\n")
    box.reboot()
    assert ("/dev/nvme0n1p1", "/overlay", "ext4") in [mount[:3] for mount in box.mounts()]
    assert not box.exists("/etc/only-internal")
    assert not box.exists("/overlay/etc/.extroot-uuid"), "fstools marks nothing"
    assert not box.exists("/usr/share/rig/00/file-0"), "a whiteout is a device node, which cp -a keeps"
    assert box.exists("/www/old/index.html"), "an opaque folder is marked by an attribute, which BusyBox's cp -a loses"


@pytest.mark.parametrize(
    ("marks", "taken"),
    [
        ("echo 1-2-3-4 >.extroot-uuid", True),
        (": >.extroot-default; echo 1-2-3-4 >.extroot-uuid", False),
        (": >.extroot-default", True),
    ],
)
def test_extroot_of_another_image(router: MakeRouter, marks: str, taken: bool) -> None:
    """An overlay is compared with the squashfs beside a marker only, which nothing in OpenWrt makes."""
    box = router().boot()
    box.put("/etc/config/fstab", fstab("/overlay", partition(box)))
    copy_overlay(box)
    box.run(
        f"mount -t ext4 /dev/nvme0n1p1 /mnt && mkdir -p /mnt/etc && cd /mnt/etc && {marks}; cd / && umount /mnt"
    ).ok()
    box.reboot()
    assert any("extroot: UUID mismatch" in line for line in box.console) is not taken
    assert ("/dev/nvme0n1p1" in [mount[0] for mount in box.mounts()]) is taken
    written = taken and "uuid" not in marks
    assert not written or box.read("/overlay/etc/.extroot-uuid") == fstools.squashfs_uuid(box.squashfs)


def test_extroot_pivot(router: MakeRouter) -> None:
    """A mount with target / makes the partition the root itself, with the squashfs at /rom and no internal overlay."""
    box = router(medium="sd").boot()
    uuid = partition(box)
    box.put("/etc/config/fstab", fstab("/", uuid))
    copy_root(box)
    box.reboot()
    assert root_source(box) == ("/dev/nvme0n1p1", "ext4")
    targets = {target for _, target, _, _ in box.mounts()}
    assert "/rom" in targets and "/overlay" not in targets
    assert box.read("/etc/lived-in/second") == "two names\n"
    box.run(
        "mkdir -p /tmp/i && mount -t ext4 /dev/fitrw /tmp/i && rm /tmp/i/upper/etc/config/fstab && umount /tmp/i"
    ).ok()
    box.reboot()
    assert root_source(box)[1] == "overlay"


def test_extroot_needs_its_parts(router: MakeRouter) -> None:
    """Without the driver there is no disk; with f2fs, which this kernel cannot mount, the internal overlay is used."""
    bare = router(packages=("sfdisk",)).boot()
    assert not bare.exists("/dev/nvme0n1") and not bare.exists("/sbin/block")
    bare.off()
    box = router().boot()
    box.run("sfdisk /dev/nvme0n1", input=TWO_PARTITIONS).ok()
    box.run("mkfs.f2fs -q -f -l root-a /dev/nvme0n1p1").ok()
    box.put("/etc/config/fstab", "config mount\n\toption target '/overlay'\n\toption label 'root-a'\n")
    box.reboot()
    assert any("f2fs not supported by kernel" in line for line in box.console)
    assert "/dev/ubi0_5" in [mount[0] for mount in box.mounts()]


def partuuid_router(router: MakeRouter, **kind: Any) -> tuple[Router, str]:
    """Return a router whose environment points the kernel at its first NVMe partition, which has a copy of the root."""
    box = router(medium="sd", **kind).boot()
    partition(box)
    copy_root(box)
    uuid = box.run("sfdisk --part-uuid /dev/nvme0n1 1").ok().out.strip()
    return box, f"console=ttyS0,115200n1 pci=pcie_bus_perf root=PARTUUID={uuid} rootwait fstools_overlay_name=none"


def test_partuuid_root(router: MakeRouter) -> None:
    """With the driver in the kernel the partition is the root, read-write, when fstools knows the argument."""
    box, arguments = partuuid_router(router, kernel_nvme="builtin")
    box.run(f"fw_setenv bootargs '{arguments}'").ok()
    box.reboot()
    assert root_source(box) == ("/dev/root", "ext4")
    box.put("/root/kept", "yes\n")
    box.reboot()
    assert box.read("/root/kept") == "yes\n"


def test_partuuid_root_under_an_overlay(router: MakeRouter) -> None:
    """An fstools that does not know the argument puts the internal overlay on top of the partition."""
    box, arguments = partuuid_router(router, kernel_nvme="builtin", fstools_overlay_name=False)
    box.run(f"fw_setenv bootargs '{arguments}'").ok()
    box.reboot()
    assert root_source(box)[1] == "overlay"
    assert ("/dev/root", "/rom", "ext4") in [mount[:3] for mount in box.mounts()]


def test_partuuid_root_on_a_stock_kernel(router: MakeRouter) -> None:
    """Without the driver in the kernel the machine waits for ever, or panics when the wait is finite."""
    box, arguments = partuuid_router(router)
    box.run(f"fw_setenv bootargs '{arguments}'").ok()
    box.sync()
    box.off()
    with pytest.raises(Hang, match="Waiting for root device PARTUUID="):
        box.boot()
    box.env_tool.set({"bootargs": arguments.replace("rootwait", "rootwait=10 panic=5")})
    with pytest.raises(Panic):
        box.boot()
    assert box.pid is None and not box.loops


def test_fstab_mounts_the_rest(router: MakeRouter) -> None:
    """Another enabled mount of the fstab is there after the boot."""
    box = router().boot()
    uuid = partition(box)
    box.run(
        ": > /etc/config/fstab; uci add fstab mount && uci set fstab.@mount[-1].target=/srv && "
        f"uci set fstab.@mount[-1].uuid={uuid} && uci commit fstab"
    ).ok()
    box.reboot()
    assert ("/dev/nvme0n1p1", "/srv", "ext4") in [mount[:3] for mount in box.mounts()]


def test_disk_attributes(router: MakeRouter) -> None:
    """The disks look as the kernel shows them: padded serial numbers, addresses, sizes, logical blocks, two names."""
    disks = (Disk(), Disk(serial="B", pci="0003:01:00.0", size=GiB, logical=4096))
    box = router(disks=disks).boot()
    assert box.run("cat /sys/class/nvme/nvme0/serial").out == "S4EWNF0M531930D     \n"
    assert (
        box.run("cat /sys/class/nvme/nvme1/address /sys/class/block/nvme1n1/queue/logical_block_size").out
        == "0003:01:00.0\n4096\n"
    )
    assert box.read("/sys/class/block/nvme1n1/size") == f"{GiB // 512}\n"
    controller = box.run("readlink -f /sys/class/nvme/nvme0").ok().out
    assert box.run("readlink -f /sys/class/block/nvme0n1/device").out == controller
    assert box.run("cat /sys/class/nvme/nvme0/device/current_link_width").out == "1\n"
    box.run("sfdisk /dev/nvme1n1", input='label: gpt\nsize=64MiB, name="a b"\n').ok()
    assert box.run("sed -n s/PARTNAME=//p /sys/class/block/nvme1n1p1/uevent").out == "a b\n"
    assert box.read("/sys/class/block/nvme1n1/nvme1n1p1/size") == f"{64 * MiB // 512}\n"
    assert box.read("/sys/class/block/nvme1n1p1/start") == f"{MiB // 512}\n"
    box.run("mkfs.ext4 -q -F /dev/nvme1n1p1").ok()
    box.run("sfdisk --delete /dev/nvme1n1 1").ok()
    assert not box.exists("/dev/nvme1n1p1") and not box.exists("/sys/class/block/nvme1n1p1")


def test_mounted_partition_keeps_the_table(router: MakeRouter) -> None:
    """sfdisk refuses a disk in use, by the kernel's own answer."""
    box = router().boot()
    partition(box)
    box.run("mkdir /tmp/n && mount -t ext4 /dev/nvme0n1p1 /tmp/n").ok()
    refused = box.run("sfdisk /dev/nvme0n1", input=TWO_PARTITIONS)
    assert refused.code != 0 and "in use" in refused.err


def test_busybox_is_stock(router: MakeRouter) -> None:
    """What stock BusyBox lacks is lacking, with the exit codes a script would see."""
    box = router().boot()
    for command in (
        "tar --exclude=x -cf /dev/null /etc/passwd",
        "dd if=/dev/null of=/dev/null status=none",
        "sleep 0.1",
        "find /tmp -name nothing -delete",
        "mount -L root-a /mnt",
    ):
        assert box.run(command).code != 0, command
    for command in (
        "stat",
        "od",
        "timeout",
        "realpath",
        "nohup",
        "losetup",
        "blkid",
        "lsblk",
        "partx",
        "base64",
        "tune2fs",
    ):
        assert box.run(f"command -v {command}").code != 0, command
    for command in ("sfdisk", "mkfs.ext4", "mkfs.f2fs", "e2fsck", "fw_setenv", "flock", "sha256sum", "hexdump", "apk"):
        assert box.run(f"command -v {command}").code == 0, command
    assert box.run("sleep 0.1").err == "sleep: invalid number '0.1'\n"
    assert box.run("set -o pipefail; false | true").code == 1


def test_shells_and_releases(router: MakeRouter) -> None:
    """The chosen shell is /bin/sh, and the package manager is that of the release."""
    box = router(shell="dash", release="24.10.7").boot()
    assert box.run("set -o pipefail").code == 2
    assert "kmod-nvme" in box.run("opkg list-installed").ok().out
    assert box.run("command -v apk").code != 0
    assert box.run("[ -e /usr/lib/opkg/info/sfdisk.control ]").code == 0
    other = router().boot()
    assert other.run("apk info -e kmod-nvme sfdisk").ok().out == "kmod-nvme\nsfdisk\n"
    assert other.run("apk info -e nothing").code == 1
    assert other.run("[ -e /lib/apk/packages/sfdisk.list ]").code == 0


def test_broken_env_configuration_of_the_2g5_board(router: MakeRouter) -> None:
    """The 2.5GE board has no fw_env.config since 25.12, so fw_printenv fails there."""
    box = router(board_name="bananapi,bpi-r4-2g5", model="bpi-r4-poe").boot()
    assert not box.exists("/etc/fw_env.config")
    assert box.run("fw_printenv bootcmd").code != 0
    assert box.environment()["bootconf"] == "config-mt7988a-bananapi-bpi-r4-poe"


def test_uci(router: MakeRouter) -> None:
    """The stand-in stages, shows, commits and reverts as the real one."""
    box = router().boot()
    box.put(
        "/etc/config/fstab",
        "# gone after a commit\nconfig mount\n\toption target '/x'\n\nconfig mount 'data'\n\tlist l 'a'\n",
    )
    box.run("uci set fstab.@mount[0].target=\"it's\" && uci add_list fstab.data.l='b c'").ok()
    assert box.run("uci changes fstab").out.count("\n") == 2
    assert "it's" not in box.read("/etc/config/fstab")
    assert box.run("uci show fstab").out == (
        "fstab.@mount[0]=mount\nfstab.@mount[0].target='it'\\''s'\nfstab.data=mount\nfstab.data.l='a' 'b c'\n"
    )
    box.run("uci commit fstab").ok()
    assert box.read("/etc/config/fstab") == (
        "\nconfig mount\n\toption target 'it'\\''s'\n\nconfig mount 'data'\n\tlist l 'a'\n\tlist l 'b c'\n\n"
    )
    assert box.run("uci get fstab.@mount[-1].l").out == "a b c\n"
    missing = box.run("uci get fstab.nothing")
    assert (missing.code, missing.err) == (1, "uci: Entry not found\n")
    assert box.run("uci -q get fstab.nothing.at.all").err == ""
    box.run("uci delete fstab.data && uci revert fstab").ok()
    assert box.run("uci get fstab.data").out == "mount\n"
    assert box.run("uci batch", input="set fstab.data.note='two words'\ncommit fstab\n").ok().code == 0
    assert "two words" in box.read("/etc/config/fstab")


def test_lived_in_root(router: MakeRouter) -> None:
    """The first root has the awkward things a copy must keep."""
    box = router().boot()
    assert box.run("[ -p /etc/lived-in/fifo ] && [ -c /etc/lived-in/node ] && [ -u /etc/lived-in/setuid ]").code == 0
    assert box.run("ls /etc/lived-in/-odd*").ok().out.startswith("/etc/lived-in/-odd \"name'")
    assert box.run("du -k /etc/lived-in/sparse | cut -f1").out.strip() != "3072"
    assert box.exists("/overlay/upper/usr/share/rig/00/file-0") and not box.exists("/usr/share/rig/00/file-0")
    assert box.exists("/rom/www/old/index.html") and not box.exists("/www/old/index.html")


def test_digests_see_changes_and_only_changes(router: MakeRouter) -> None:
    """Looking changes no image; writing changes exactly the image that was written."""
    box = router(medium="emmc").boot()
    before = box.digests()
    assert {"nvme0", "mmcblk0", "mmcblk0boot0", "overlay", "ubootenv", "fip"} <= before.keys()
    box.run("find / -xdev -type f | head -100 | xargs sha256sum; fw_printenv; dd if=/dev/nvme0n1 of=/dev/null count=10")
    assert box.digests() == before
    box.run("printf x | dd of=/dev/nvme0n1 bs=1 seek=1000000 conv=notrunc").ok()
    after = box.digests()
    assert [name for name in before if before[name] != after[name]] == ["nvme0"]


def test_power_cut_loses_what_was_not_synced(router: MakeRouter, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a cut a synced file is there, a file that was only in memory is not, and the overlay mounts.

    Any other router's sync would save the file: a cut before which the disk was written to once more does not count.
    """
    box = router().boot()
    box.put("/root/synced", "kept\n")
    release = box.release_devices
    written: list[int] = []

    def count_and_release() -> None:
        written.append(writes_to(box.loops["overlay"]))
        release()

    monkeypatch.setattr(box, "release_devices", count_and_release)
    for _ in range(10):
        box.run("sync").ok()
        box.put("/root/unsynced", "lost\n")
        before = writes_to(box.loops["overlay"])
        box.power_cut()
        box.boot()
        assert box.read("/root/synced") == "kept\n"
        if written[-1] == before:
            break
        box.run("rm -f /root/unsynced").ok()
    assert written[-1] == before, "each time somebody synced"
    assert not box.exists("/root/unsynced")


def test_reboot_and_poweroff_commands(router: MakeRouter) -> None:
    """reboot and poweroff in the router end the router, never the host."""
    box = router().boot()
    box.run("reboot", timeout=120)
    assert box.wait_stopped() == "reboot"
    box.reboot()
    box.run("poweroff", timeout=120)
    assert box.wait_stopped() == "poweroff"
    box.reboot()
    box.run("reboot -f", timeout=120)
    assert box.wait_stopped() == "killed"


def test_signals_and_terminals(router: MakeRouter) -> None:
    """A running command can be killed, hung up on and watched, while another runs beside it."""
    box = router().boot()
    stubborn = box.start("trap '' HUP; echo begun; sleep 1; echo done > /tmp/done; exit 7", terminal=True)
    while "begun" not in stubborn.out:
        time.sleep(0.01)
    stubborn.hang_up()
    assert box.run("echo beside").out == "beside\n"
    assert stubborn.wait(10).code == 7
    assert box.read("/tmp/done") == "done\n"
    weak = box.start("echo begun; sleep 60", terminal=True)
    while "begun" not in weak.out:
        time.sleep(0.01)
    weak.hang_up()
    assert weak.wait(10).code == 128 + signal.SIGHUP
    assert box.start("sleep 60").kill().code == 128 + signal.SIGKILL
    with pytest.raises(Timeout):
        box.run("sleep 60", timeout=0.3)
    assert "sleep" not in box.run("ps w | grep '[s]leep 60'").out


def left_behind(folder: Path) -> list[str]:
    """Return loop devices and mounts of the host that still refer to a folder."""
    line = ["losetup", "-l", "-n", "-O", "BACK-FILE"]
    loops = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    with open("/proc/mounts") as mounts:
        return [line for line in [*loops.splitlines(), *mounts] if str(folder) in line]


def test_nothing_is_left_behind(board_parts: dict[str, Path], tmp_path: Path) -> None:
    """After an error, with two routers on, a command running and a partition mounted in each: nothing stays."""
    processes: list[int | None] = []

    def work() -> None:
        with Router(tmp_path / "one") as one, Router(tmp_path / "two", medium="sd") as two:
            for box in (one, two):
                box.boot()
                partition(box)
                box.run("mkdir /tmp/n && mount -t ext4 /dev/nvme0n1p1 /tmp/n").ok()
                box.start("cd /tmp/n; sleep 600")
            processes.extend([box.pid for box in (one, two)])
            assert left_behind(tmp_path)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert left_behind(tmp_path) == []
    assert not [pid for pid in processes if os.path.exists(f"/proc/{pid}")]


def test_the_host_is_out_of_reach(router: MakeRouter) -> None:
    """The router's root and process list have nothing of the host, and the host's kernel settings are read-only."""
    box = router().boot()
    assert box.run("ps w >/tmp/ps; wc -l </tmp/ps").out.strip() == "4"
    assert box.run("echo 1 > /proc/sys/kernel/panic").code != 0
    assert box.run("uname -n").out == "OpenWrt\n"
    assert str(box.folder) not in box.run("cat /proc/mounts").out
