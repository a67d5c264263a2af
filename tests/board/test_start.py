"""A router with slots from power-on to its boot scripts: which kernel and root start, what a health check finds."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from bootplan.chooser import Choice, Kernel, variables

from . import slots, ubi
from .images import GPT, GiB, MiB
from .loops import KEPT_FREE, FreeLoops, made_loop
from .router import FREE_LOOPS, Disk, MakeRouter, Panic, Recovery, Router
from .test_router import copy_root, fstab, left_behind, partition, root_source

STOCK = "if pstore check ; then run boot_recovery ; else run boot_ubi ; fi"
NEW = "25.12.6"
LINE = "console=ttyS0,115200n1 root=PARTUUID=$bp_root_{} rootwait=30 panic=5 fstools_overlay_name=none"


@pytest.fixture
def box(router: MakeRouter) -> MakeRouter:
    """Return a function that makes a router with slots, switched on."""

    def make(**kind: Any) -> Router:
        return router(**{"slots": True, "data_bytes": 16 * MiB, "disks": (Disk(size=GiB),), **kind}).boot()

    return make


def set_env(box: Router, **values: str | None) -> None:
    """Change the saved environment, as the running system does; None deletes a variable."""
    lines = "".join(f"{name} {value or ''}".rstrip() + "\n" for name, value in values.items())
    box.run("fw_setenv -s -", input=lines).ok()


def release(box: Router) -> str:
    """Return which release runs."""
    return box.run(". /etc/openwrt_release && echo $DISTRIB_RELEASE").ok().out.strip()


def make_pair(box: Router, image: Path | None = None) -> None:
    """Make the volumes of slot b, put a new system there, and tell U-Boot of two slots; a is good and active."""
    box.put("/tmp/image", (image or box.firmware(release=NEW)).read_bytes())
    box.run(
        "ubimkvol /dev/ubi0 -N fit_b -s 4MiB && ubimkvol /dev/ubi0 -N rootfs_data_b -s 16MiB && "
        "ubiupdatevol /dev/ubi0_6 /tmp/image"
    ).ok()
    set_env(box, bp_good="a", **variables(Choice(2, 1, "pair"), STOCK))


def names(box: Router) -> dict[str, int]:
    """Return {volume: number} of those that belong to slots."""
    return {one.name: one.number for one in ubi.Table.read(box.images).volumes if one.number >= 4}


def test_a_pair_changes_names_and_starts(box: MakeRouter) -> None:
    """Kernel, squashfs and internal overlay are the other slot's; then they are the first one's again."""
    one = box()
    make_pair(one)
    one.put("/etc/whose", "a\n")
    set_env(one, bp_try="b", bp_left="2")
    one.reboot()

    assert (one.chose.chose, one.chose.trial, one.chose.source) == ("b", True, "fit")
    assert names(one) == {"fit_a": 4, "rootfs_data_a": 5, "fit": 6, "rootfs_data": 7}
    assert release(one) == NEW and not one.exists("/etc/whose")
    assert "rootwait=30 panic=5 bootplan.slot=b bootplan.trial=1\n" in one.read("/proc/cmdline")
    assert one.environment()["bp_left"] == "1"
    assert [source for source, target, *_ in one.mounts() if target == "/overlay"] == ["/dev/ubi0_7"]
    set_env(one, bp_try=None, bp_left=None)
    one.reboot()
    assert (one.chose.chose, one.chose.trial, release(one), one.read("/etc/whose")) == ("a", False, "25.12.5", "a\n")
    assert names(one) == {"fit": 4, "rootfs_data": 5, "fit_b": 6, "rootfs_data_b": 7}


def test_the_slots_own_overlay_on_the_disk(box: MakeRouter) -> None:
    """The fstab in the internal overlay of a slot names its partition."""
    one = box()
    make_pair(one)
    uuid = partition(one)
    one.run(
        "mkdir -p /tmp/o && mount -t ubifs ubi0:rootfs_data_b /tmp/o && mkdir -p /tmp/o/upper/etc/config /tmp/o/work "
        "&& ln -s 2 /tmp/o/.fs_state"
    ).ok()
    one.put("/tmp/o/upper/etc/config/fstab", fstab("/overlay", uuid))
    one.run("umount /tmp/o").ok()
    set_env(one, bp_try="b", bp_left="2")
    one.reboot()

    assert ("/dev/nvme0n1p1", "/overlay") in [mount[:2] for mount in one.mounts()]


@pytest.mark.parametrize("defect", ["hash", "rootfs", "truncated", "marker"])
def test_a_kernel_that_is_not_whole_does_not_start(box: MakeRouter, defect: str) -> None:
    """U-Boot goes on with the good slot, in the same start."""
    one = box()
    make_pair(one, one.firmware(release=NEW, defect="" if defect == "marker" else defect))
    if defect == "marker":
        one.run("echo x | ubiupdatevol /dev/ubi0_6 -s 100 -")
    set_env(one, bp_try="b", bp_left="2")
    one.reboot()

    assert (one.chose.chose, release(one)) == ("a", "25.12.5")
    assert names(one)["fit"] == 4 and one.environment()["bp_left"] == "1"


def put_roots(one: Router) -> None:
    """Make two NVMe partitions that hold a copy of the running root, and tell U-Boot their PARTUUIDs."""
    one.run("sfdisk /dev/nvme0n1", input='label: gpt\nsize=256MiB, name="root-a"\nsize=256MiB, name="root-b"\n').ok()
    for number, slot in ((1, "a"), (2, "b")):
        one.run(f"mkfs.ext4 -q -F -L root-{slot} /dev/nvme0n1p{number}").ok()
    copy_root(one)
    one.run(
        "mkdir -p /tmp/m && mount -t ext4 /dev/nvme0n1p2 /tmp/m && mount -t ext4 /dev/nvme0n1p1 /tmp/n && "
        "cp -a /tmp/n/. /tmp/m && echo b >/tmp/m/etc/whose && echo a >/tmp/n/etc/whose && umount /tmp/m /tmp/n"
    ).ok()
    for number, slot in ((1, "a"), (2, "b")):
        identity = one.run(f"sfdisk --part-uuid /dev/nvme0n1 {number}").ok().out.strip().lower()
        set_env(one, **{f"bp_root_{slot}": identity})


@pytest.mark.parametrize("medium", ["nand", "emmc", "sd"])
def test_kernels_in_places_of_their_own(box: MakeRouter, medium: str) -> None:
    """Each slot starts its kernel with its root; the stock system has its own, for when a slot's kernel is bad."""
    one = box(medium=medium, kernel_nvme="builtin", packages=("block-mount", "sfdisk", "partx-utils"))
    if medium == "nand":
        one.run("for slot in a b; do ubimkvol /dev/ubi0 -N fit_$slot -s 4MiB; done").ok()
        places = {"a": "ubi0_6", "b": "ubi0_7"}
    else:
        one.run(
            "sfdisk -q --append --no-reread /dev/mmcblk0 && partx -u /dev/mmcblk0",
            input='size=16MiB, name="fit_a"\nsize=16MiB, name="fit_b"\n',
        ).ok()
        first = len(GPT[medium]) + 1
        places = {"a": f"mmcblk0p{first}", "b": f"mmcblk0p{first + 1}"}
    for slot, kernel in (("a", one.kernel), ("b", "6.12.95")):
        one.put("/tmp/image", one.firmware(release=NEW, kernel=kernel).read_bytes())
        write = (
            "ubiupdatevol /dev/{} /tmp/image" if medium == "nand" else "dd if=/tmp/image of=/dev/{} bs=64k conv=fsync"
        )
        one.run(write.format(places[slot])).ok()
    put_roots(one)
    stock = one.environment()["bootcmd"]
    kind: Kernel = "volume" if medium == "nand" else "partition"
    lines = {slot: LINE.format(slot) for slot in "ab"}
    set_env(one, bp_good="a", bp_try="b", bp_left="1", **variables(Choice(2, 1, kind, lines), stock))
    one.reboot()

    assert (one.chose.chose, one.chose.source, one.read("/etc/whose")) == ("b", "fit_b", "b\n")
    assert root_source(one) == ("/dev/root", "ext4")
    assert one.run("uname -r").out == "6.12.95\n" == one.read("/proc/sys/kernel/osrelease")
    one.reboot()
    assert (one.chose.chose, one.read("/etc/whose"), one.run("uname -r").out) == ("a", "a\n", f"{one.kernel}\n")
    one.run(f"dd if=/dev/zero of=/dev/{places['a']} bs=4096 count=1 conv=notrunc,fsync").ok()
    one.reboot()
    assert (one.chose.chose, one.chose.source) == ("stock", slots.PRODUCTION[medium])
    assert root_source(one)[1] == "overlay"


def test_a_crash_record_leads_to_recovery_until_it_is_gone(box: MakeRouter) -> None:
    """U-Boot sees it, Linux shows it, removing the file clears it; so does a power cut."""
    one = box()
    make_pair(one)
    one.crash()
    assert one.reboot().chose.chose == "a"
    assert "panic" in one.read("/sys/fs/pstore/dmesg-ramoops-0")
    with pytest.raises(Recovery):
        one.reboot()
    assert one.chose.chose == "recovery"
    set_env_off(one, bp_crashes=None)
    one.boot().run("rm /sys/fs/pstore/dmesg-ramoops-0").ok()
    assert one.reboot().run("ls /sys/fs/pstore").out == ""
    one.crash()
    one.power_cut()
    assert one.boot().environment().get("bp_crashes") == "1"


def set_env_off(box: Router, **values: str | None) -> None:
    """Change the environment of a router that is off."""
    box.env_tool.set(values)


def test_without_slots_a_crash_leads_to_recovery(box: MakeRouter) -> None:
    """The stock line alone."""
    one = box()
    one.crash()
    with pytest.raises(Recovery):
        one.reboot()


def test_a_kernel_that_panics_leaves_a_record_and_its_tries(box: MakeRouter) -> None:
    """Two tries, then the good slot; settle follows."""
    one = box()
    make_pair(one, one.firmware(release=NEW, faults=("init",)))
    set_env(one, bp_try="b", bp_left="2")
    with pytest.raises(Panic, match="No working init found"):
        one.reboot()
    assert one.crashed

    assert one.settle() == ["b (panic)", "a"]
    assert "bp_left" not in one.environment() or one.environment()["bp_left"] == "0"
    assert one.exists("/sys/fs/pstore/dmesg-ramoops-0")


def test_the_kernel_takes_the_volumes_by_name(box: MakeRouter) -> None:
    """/dev/fit0 is the squashfs of `fit`, whichever kernel was started; without rootfs_data the system lives in RAM."""
    one = box()
    one.put("/tmp/image", one.firmware(release=NEW).read_bytes())
    one.run("ubimkvol /dev/ubi0 -N other -s 4MiB && ubiupdatevol /dev/ubi0_6 /tmp/image").ok()
    set_env(one, ubi_read_production="ubi read $loadaddr other && iminfo $loadaddr")
    one.sync()
    one.off()
    ubi.Table.read(one.images).remove("rootfs_data")
    one.boot()

    assert (one.chose.source, release(one)) == ("other", "25.12.5")
    assert ("tmpfs", "/tmp/root") in [mount[:2] for mount in one.mounts()]


def test_an_overlay_that_is_not_marked_is_emptied(box: MakeRouter) -> None:
    """fstools deletes what it finds in one that never came up; a marked one stays."""
    one = box()
    one.put("/etc/kept", "kept\n")
    assert one.reboot().read("/etc/kept") == "kept\n"
    one.run("rm /overlay/.fs_state && ln -s 1 /overlay/.fs_state").ok()
    assert not one.reboot().exists("/etc/kept")
    assert one.run("readlink /overlay/.fs_state").out == "2\n"


def test_a_bad_environment_is_the_stock_one(box: MakeRouter) -> None:
    """Both copies bad: no slot is chosen."""
    one = box()
    make_pair(one)
    one.run("for number in 1 2; do dd if=/dev/zero of=/dev/ubi0_$number bs=4096 count=4 conv=notrunc,fsync; done").ok()

    assert one.reboot().chose.chose == "stock"


def test_boot_scripts_run_in_order_and_may_restart_the_router(box: MakeRouter) -> None:
    """Those that /etc/rc.d links, each to its end, as children of process 1; with what they print."""
    one = box()
    for number, name in (("10", "early"), ("99", "late")):
        one.put(
            f"/etc/init.d/{name}",
            "#!/bin/sh /etc/rc.common\nSTART="
            + number
            + "\nstart() {\n\techo "
            + name
            + " has run; logger -t "
            + name
            + " said\n}\n",
            0o755,
        )
        one.run(f"/etc/init.d/{name} enable").ok()
    one.put("/etc/uci-defaults/20_once", "echo once; exit 0\n")
    one.reboot()

    one.run("while ! grep -q ^done /tmp/log/boot; do sleep 1; done").ok()
    told = [
        line for line in one.read("/tmp/log/boot").splitlines() if line in ("once", "early has run", "late has run")
    ]
    assert told == ["once", "early has run", "late has run"] and not one.exists("/etc/uci-defaults/20_once")
    assert one.run("logread").out.count("user.notice") == 2
    one.run("/etc/init.d/late disable; [ ! -e /etc/rc.d/S99late ]").ok()
    one.put(
        "/etc/init.d/again",
        "#!/bin/sh /etc/rc.common\nSTART=98\nstart() {\n\t[ -e /root/was ] || { touch /root/was; sync; reboot; }\n}\n",
        0o755,
    )
    one.run("/etc/init.d/again enable; sync").ok()
    one.off()
    assert one.settle(quiet=8) == ["stock", "stock"]
    assert one.exists("/root/was")


def test_boot_scripts_can_be_left_out(box: MakeRouter) -> None:
    """The servers are there all the same."""
    one = box(services=False)

    assert not one.exists("/tmp/log/boot")
    one.run("while ! nslookup openwrt.org 127.0.0.1; do sleep 1; done").ok()


HEALTH = {
    "lan": "ubus call network.interface.lan status | grep -q '\"up\": true'",
    "wan": "ubus call network.interface.wan status | grep -q '\"up\": true'",
    "dns": "nslookup openwrt.org 127.0.0.1",
    "ssh": "grep -q ' 00000000:0016 00000000:0000 0A ' /proc/net/tcp",
}


def healthy(box: Router) -> set[str]:
    """Return which of the things in :data:`HEALTH` work, a moment after the start."""
    box.run("while ! grep -q ^done /tmp/log/boot; do sleep 1; done; sleep 1").ok()
    return {name for name, command in HEALTH.items() if box.run(command).code == 0}


def test_what_a_health_check_looks_at(box: MakeRouter) -> None:
    """All of it, but what the router or its firmware is made without."""
    one = box()
    assert healthy(one) == set(HEALTH)
    assert '"status": "running"' in one.run("ubus call system watchdog").ok().out
    one.run("rm /tmp/rig/up/dns").ok()
    assert healthy(one) == {"lan", "wan", "ssh"}
    one.run("touch /tmp/rig/up/dns").ok()
    assert healthy(one) == set(HEALTH)
    make_pair(one, one.firmware(release=NEW, faults=("wan", "ssh")))
    set_env(one, bp_try="b", bp_left="2")
    assert healthy(one.reboot()) == {"lan", "dns"}
    one.off()
    two = box(up=("lan",), watchdog="offline")
    assert healthy(two) == {"lan"}
    assert '"status": "offline"' in two.run("ubus call system watchdog").ok().out
    assert two.run("ubus call network.interface.none status").code == 4


def test_nothing_of_it_stays_on_the_host(board_parts: dict[str, Path], box: MakeRouter, tmp_path: Path) -> None:
    """Loop devices, also those that the router may use itself, mounts, the folder for its RAM."""
    one = box()
    one.run("dd if=/dev/fit0 of=/tmp/rootfs bs=64k; mkdir /tmp/m; mount -t squashfs -o loop,ro /tmp/rootfs /tmp/m").ok()
    assert one.free_loops
    numbers = one.free_loops.numbers
    assert all(minor >= KEPT_FREE for _, minor in numbers) and left_behind(one.folder)
    one.off()

    assert left_behind(one.folder) == []
    for _, minor in numbers:
        assert not Path(f"/sys/block/loop{minor}/loop/backing_file").exists()


def test_a_loop_device_that_still_has_an_image_is_no_free_one(board_parts: dict[str, Path], tmp_path: Path) -> None:
    """What a router that is gone left attached is let go a moment later: the next one waits for that."""
    image = tmp_path / "image"
    image.write_bytes(bytes(MiB))
    free = FreeLoops(FREE_LOOPS)
    minor = free.numbers[0][1]
    subprocess.run(["losetup", f"/dev/loop{minor}", image], check=True)
    with pytest.raises(TimeoutError):
        made_loop(minor, patience=0.2)

    subprocess.run(["losetup", "-d", f"/dev/loop{minor}"], check=True)

    assert made_loop(minor)[1] == minor
    free.let_go()


def test_no_two_routers_have_the_same_loop_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when they come from test runs with caches of their own: the numbers are the kernel's."""
    one = FreeLoops(FREE_LOOPS)
    monkeypatch.setenv("BOOTPLAN_CACHE", str(tmp_path))
    two = FreeLoops(FREE_LOOPS)

    assert not set(one.indexes) & set(two.indexes)

    first = one.indexes
    one.let_go()
    three = FreeLoops(FREE_LOOPS)
    assert three.indexes == first
    two.let_go()
    three.let_go()
