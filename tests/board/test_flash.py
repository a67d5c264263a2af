"""UBI volumes that a router makes, fills, removes and renames, and partitions that it adds to its card."""

import signal
import time

import pytest

from . import ubi
from .images import GiB, MiB
from .router import Disk, MakeRouter, Router
from .running import Running
from .ubi import LEB

MORE = 'start=1048576, size=32768, name="fit_a"\nsize=32768, name="fit_b"\n'
APPEND = "sfdisk -q --append --no-reread --wipe never --wipe-partitions never /dev/mmcblk0"


@pytest.fixture
def flash(router: MakeRouter) -> Router:
    """Return a router, switched on, whose flash has room."""
    return router(slots=True, data_bytes=16 * MiB, disks=(Disk(size=GiB),)).boot()


def shown(box: Router, number: int, *names: str) -> list[str]:
    """Return what /sys says of a volume."""
    return [box.read(f"/sys/class/ubi/ubi0_{number}/{name}").strip() for name in names]


def available(box: Router) -> int:
    """Return how many erase blocks are left."""
    return int(box.read("/sys/class/ubi/ubi0/avail_eraseblocks"))


def test_the_board_has_126_mib_and_ubi_keeps_some(router: MakeRouter) -> None:
    """What a stock installation looks like: rootfs_data has all that is left."""
    box = router(slots=True).boot()
    used = [int(box.read(f"/sys/class/ubi/ubi0_{number}/reserved_ebs")) for number in range(6)]

    assert sum(used) == 1008 - 24 and available(box) == 0
    assert box.read("/sys/class/ubi/ubi0/total_eraseblocks") == "1008\n"
    full = box.run("ubimkvol /dev/ubi0 -N fit_b -s 24MiB")
    assert (full.code, "UBI device does not have free logical eraseblocks" in full.err) == (255, True)


def test_the_bench_without_slots_has_no_room(router: MakeRouter) -> None:
    """Its rootfs_data is larger than the flash of the board, and nothing else fits."""
    box = router().boot()

    assert box.run("ubimkvol /dev/ubi0 -N fit_b -s 1").code == 255
    assert available(box) == 0


def test_a_volume_is_made_and_survives(flash: Router) -> None:
    """Number, size in erase blocks, the words of mtd-utils; the same after a restart."""
    before = available(flash)
    made = flash.run("ubimkvol /dev/ubi0 -N fit_b -s 24MiB").ok().out

    assert made == (
        "Volume ID 6, size 199 LEBs (25268224 bytes, 24.1 MiB), LEB size 126976 bytes (124.0 KiB), dynamic, "
        'name "fit_b", alignment 1\n'
    )
    assert available(flash) == before - 199
    assert shown(
        flash, 6, "name", "type", "reserved_ebs", "data_bytes", "usable_eb_size", "upd_marker", "corrupted"
    ) == ["fit_b", "dynamic", "199", str(199 * LEB), str(LEB), "0", "0"]
    assert flash.run("wc -c </dev/ubi0_6").ok().out.strip() == str(199 * LEB)
    flash.reboot()
    assert shown(flash, 6, "name", "reserved_ebs") == ["fit_b", "199"] and available(flash) == before - 199


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("ubimkvol /dev/ubi0 -N fit -s 1MiB", "error 17 (File exists)"),
        ("ubimkvol /dev/ubi0 -N large -s 100MiB", "error 28 (No space left on device)"),
        ("ubimkvol /dev/ubi0 -s 1MiB", "volume name was not specified"),
        ("ubimkvol /dev/ubi0 -N x", "volume size was not specified"),
        ("ubimkvol /dev/ubi0 -N x -s much", "bad volume size"),
        ("ubimkvol /dev/ubi1 -N x -s 1MiB", "is not an UBI device node"),
        ("ubirmvol /dev/ubi0 -N nothing", 'cannot find UBI volume "nothing"'),
        ("ubirmvol /dev/ubi0 -N rootfs_data", "error 16"),
        ("ubirename /dev/ubi0 nothing x", "cannot find UBI volume"),
        ("ubiupdatevol /dev/ubi0_9 /etc/passwd", "error 19"),
        ("ubiupdatevol /dev/ubi0_4 /tmp/nothing", "error 2"),
        ("ubiupdatevol /dev/ubi0_4", "specify UBI device name and image file name"),
        ("ubiupdatevol /dev/ubi0_4 -", 'stat failed on "-"'),
        ("ubiupdatevol /dev/ubi0_5 -t", "error 16"),
        ("head -c 9000000 /dev/zero | ubiupdatevol /dev/ubi0_4 -s 9000000 -", "will not fit volume"),
    ],
)
def test_what_ubi_refuses(flash: Router, command: str, words: str) -> None:
    """255, and the reason; nothing changes."""
    before = flash.digests()
    refused = flash.run(command)

    assert refused.code == 255 and words in refused.err, refused.err
    assert flash.digests() == before


def test_an_update_replaces_all_that_a_volume_held(flash: Router) -> None:
    """From a file, from standard input, and nothing: what was there before is gone."""
    flash.run(
        "ubimkvol /dev/ubi0 -N fit_b -s 1MiB; head -c 300000 /dev/urandom >/tmp/long; echo short >/tmp/short"
    ).ok()
    flash.run("ubiupdatevol /dev/ubi0_6 /tmp/long && head -c 300000 /dev/ubi0_6 | cmp - /tmp/long").ok()
    flash.run("ubiupdatevol /dev/ubi0_6 -s 6 - </tmp/short && head -c 6 /dev/ubi0_6 | cmp - /tmp/short").ok()
    assert flash.run("tail -c +7 /dev/ubi0_6 | tr -d '\\0' | wc -c").out.strip() == "0"
    flash.run("ubiupdatevol /dev/ubi0_6 -t").ok()
    assert flash.run("tr -d '\\0' </dev/ubi0_6 | wc -c").out.strip() == "0"


def torn(flash: Router) -> Running:
    """Begin an update that never gets its last byte, and return the running command once the marker is set."""
    flash.run("ubimkvol /dev/ubi0 -N fit_b -s 2MiB; ubiupdatevol /dev/ubi0_6 /etc/passwd").ok()
    running = flash.start("{ head -c 400000 /dev/zero; sleep 60; } | ubiupdatevol /dev/ubi0_6 -s 500000 -")
    while shown(flash, 6, "upd_marker") != ["1"]:
        time.sleep(0.01)
    return running


def test_a_torn_update_cannot_be_read_until_it_is_made_again(flash: Router) -> None:
    """Neither now nor after a restart; U-Boot cannot read it either."""
    torn(flash).kill()
    assert shown(flash, 6, "upd_marker") == ["1"]
    assert flash.run("head -c 1 /dev/ubi0_6").code != 0
    assert ubi.Table.read(flash.images).volume("fit_b").marker
    with pytest.raises(ubi.UbiError):
        ubi.Table.read(flash.images).content("fit_b")
    flash.reboot()
    assert shown(flash, 6, "upd_marker") == ["1"] and flash.run("head -c 1 /dev/ubi0_6").code != 0
    flash.run("ubiupdatevol /dev/ubi0_6 /etc/passwd && head -c 5 /dev/ubi0_6").ok()
    assert shown(flash, 6, "upd_marker") == ["0"]


def test_an_input_that_ends_early_is_told(flash: Router) -> None:
    """As a broken pipe does it."""
    flash.run("ubimkvol /dev/ubi0 -N fit_b -s 2MiB").ok()
    short = flash.run("echo x | ubiupdatevol /dev/ubi0_6 -s 1000000 -")

    assert (short.code, "cannot read" in short.err) == (255, True)
    assert shown(flash, 6, "upd_marker") == ["1"]


def test_a_power_cut_in_an_update_leaves_the_marker(flash: Router) -> None:
    """The marker is on the flash before the first byte."""
    running = torn(flash)
    flash.power_cut()
    assert running.poll() is not None
    flash.boot()

    assert shown(flash, 6, "upd_marker") == ["1"]


def test_removed_volumes_give_their_room_and_their_number(flash: Router) -> None:
    """The next one gets the number, and nothing of what was there."""
    before = available(flash)
    flash.run(
        "ubimkvol /dev/ubi0 -N one -s 1MiB; ubimkvol /dev/ubi0 -N two -s 1MiB; ubiupdatevol /dev/ubi0_6 /etc/passwd"
    ).ok()
    flash.run("ubirmvol /dev/ubi0 -N one").ok()
    assert not flash.exists("/dev/ubi0_6") and not flash.exists("/sys/class/ubi/ubi0_6")
    flash.run("ubimkvol /dev/ubi0 -N three -S 2").ok()
    assert shown(flash, 6, "name", "reserved_ebs") == ["three", "2"]
    assert flash.run("tr -d '\\0' </dev/ubi0_6 | wc -c").out.strip() == "0"
    flash.run("ubirmvol /dev/ubi0 -n 7; ubirmvol /dev/ubi0 -N three").ok()
    assert available(flash) == before


def test_names_change_places_in_one_write(flash: Router) -> None:
    """The content stays with the number."""
    flash.run(
        "ubimkvol /dev/ubi0 -N one -S 1; ubimkvol /dev/ubi0 -N two -S 1; ubiupdatevol /dev/ubi0_6 /etc/passwd"
    ).ok()
    flash.run("ubirename /dev/ubi0 one two two one").ok()

    assert shown(flash, 6, "name") == ["two"] and shown(flash, 7, "name") == ["one"]
    flash.reboot()
    assert shown(flash, 6, "name") == ["two"]
    assert flash.run("head -c 4 /dev/ubi0_6").out == "root"


def test_an_empty_volume_gets_its_file_system_by_being_mounted(flash: Router) -> None:
    """As with UBIFS; not read-only, and not twice."""
    flash.run("ubimkvol /dev/ubi0 -N rootfs_data_b -s 16MiB; mkdir /tmp/u").ok()
    assert flash.run("mount -t ubifs -o ro ubi0:rootfs_data_b /tmp/u").code != 0
    flash.run("mount -t ubifs ubi0:rootfs_data_b /tmp/u && echo kept >/tmp/u/file && umount /tmp/u").ok()
    assert flash.run("mount -t ubifs -o ro /dev/ubi0_6 /tmp/u && cat /tmp/u/file; umount /tmp/u").out == "kept\n"
    flash.run("ubiupdatevol /dev/ubi0_6 -t && mount -t ubifs ubi0_6 /tmp/u && [ ! -e /tmp/u/file ]").ok()


def test_a_squashfs_is_mounted_from_a_file(flash: Router) -> None:
    """BusyBox's mount finds a free loop device of its own, and lets it go."""
    flash.run("dd if=/dev/fit0 of=/tmp/rootfs bs=64k; mkdir /tmp/one /tmp/two; cp /tmp/rootfs /tmp/other").ok()
    flash.run(
        "mount -t squashfs -o loop,ro /tmp/rootfs /tmp/one && mount -t squashfs -o loop,ro /tmp/other /tmp/two"
    ).ok()
    assert flash.run("cat /tmp/one/etc/openwrt_release").ok().out == flash.read("/rom/etc/openwrt_release")
    assert [source for source, target, *_ in flash.mounts() if target.startswith("/tmp/")] == [
        "/dev/loop0",
        "/dev/loop1",
    ]
    flash.run("umount /tmp/one && mount -t squashfs -o loop,ro /tmp/rootfs /tmp/one").ok()
    assert "loop0" in next(source for source, target, *_ in flash.mounts() if target == "/tmp/one")


@pytest.mark.parametrize("medium", ["emmc", "sd"])
def test_partitions_added_to_the_card_are_there_after_a_restart(router: MakeRouter, medium: str) -> None:
    """fitblk has production open, so the kernel does not read the table again; partx tells it."""
    box = router(slots=True, medium=medium, packages=("kmod-nvme", "block-mount", "sfdisk", "partx-utils")).boot()
    names = "grep -hs PARTNAME=fit_ /sys/class/block/mmcblk0p*/uevent | sort"
    stock = box.run("ls /dev/mmcblk0p*").out
    box.run(APPEND, input=MORE).ok()

    assert box.run(names).out == "" and box.run("ls /dev/mmcblk0p*").out == stock
    told = box.run("partx -a /dev/mmcblk0; " + names).out
    assert told == "PARTNAME=fit_a\nPARTNAME=fit_b\n"
    box.reboot()
    assert box.run(names).out == told
    assert box.chose.chose == "stock"
    number = {"emmc": 6, "sd": 8}[medium]
    box.run(f"echo kernel >/dev/mmcblk0p{number}; sync").ok()
    box.sync()
    with open(box.image("mmcblk0"), "rb") as card:
        card.seek(1048576 * 512)
        assert card.read(6) == b"kernel"


def test_a_killed_update_is_dead(flash: Router) -> None:
    """The signal reaches the tool as it would any other."""
    running = torn(flash)
    running.send(signal.SIGTERM)

    assert running.wait(10).code == 128 + signal.SIGTERM
