"""The fallback card: made on a PC and on a router, refused, pulled out, lied about."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from . import cards
from .cards import CardImage
from .desk import CARD, HERE, KINDS, PC, SMALL, WORD, Desk, text_for
from .images import KiB, MiB, digest
from .router import MakeRouter, Reader, Router
from .scripts import Bench, compiled, plan
from .test_backup import taken


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> CardImage:
    """An image as a release has it."""
    return cards.make(tmp_path_factory.mktemp("image"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_card_is_made_and_proven(router: MakeRouter, image: CardImage, tmp_path: Path, kind: str) -> None:
    """From blank to finished; a rehearsal writes nothing, nor does a rerun; what a running card changes is left out."""
    box = router(readers=(Reader(size=SMALL),), **KINDS[kind]).boot()
    desk = Desk(box, image)
    blank = digest(box.image("sda"))

    rehearsal = desk.sh(f"make-sd {CARD}").ok()
    box.sync()
    assert "9 changes shown, none made" in rehearsal.out and digest(box.image("sda")) == blank
    assert desk.sh(f"check-sd {CARD}").code == 1

    made = desk.sh(f"make-sd {CARD} --apply").ok()
    assert "10 %" in made.out and "SW3 A=1 B=1" in made.out and made.err == ""
    assert desk.faults(tmp_path / "outside") == []

    before = digest(box.image("sda"))
    assert "already so" in desk.sh(f"make-sd {CARD} --apply").ok().out
    checked = desk.sh(f"check-sd {CARD}").ok()
    assert "OpenWrt 25.12.5, made 0 days ago" in checked.out and "is whole" in checked.out
    assert digest(box.image("sda")) == before
    assert [line for line in box.mounts() if "sda" in line[0]] == [] and box.run("ls -d /tmp/bootplan.??????").code != 0

    behind = 64 * MiB + len(image.content) - 64 * MiB + 2 * MiB
    for place in (4 * MiB, 4609 * KiB, behind):  # environment, factory, overlay
        box.run(f"echo used | dd of={CARD} bs=1024 seek={place // 1024} conv=notrunc 2>/dev/null").ok()
    assert desk.sh(f"check-sd {CARD}").code == 0


def test_with_bash_and_a_backup(router: MakeRouter, image: CardImage, tmp_path: Path) -> None:
    """Another shell; a backup goes along, and only a whole one."""
    box = router(readers=(Reader(size=SMALL, serial="", model="SD  Reader"),), **PC).boot()
    desk = Desk(box, image)
    box.run(
        "mkdir /tmp/kit && cd /tmp/kit && echo 'a=b' >uboot-env.txt && echo c >config.tar.gz && sha256sum * >SHA256SUMS"
    ).ok()
    box.run(f"echo old | dd of={CARD} bs=1M seek=44 conv=notrunc").ok()

    refused = desk.sh(f"make-sd {CARD} --kit /tmp/kit --apply", shell="bash")
    assert (refused.code, "add: --wipe 'SD  Reader:671088640'" in refused.out) == (3, True), refused.out
    desk.sh(f"make-sd {CARD} --kit /tmp/kit --wipe 'SD  Reader:671088640' --apply", shell="bash").ok()
    assert desk.faults(tmp_path / "outside") == []
    assert (tmp_path / "outside/kit/backup/uboot-env.txt").read_text() == "a=b\n"
    assert "already so" in desk.sh(f"make-sd {CARD} --apply").ok().out

    box.run("echo d >>/tmp/kit/config.tar.gz").ok()
    refused = desk.sh(f"make-sd {CARD} --kit /tmp/kit --apply")
    assert (refused.code, "is not what its SHA256SUMS says" in refused.out) == (3, True)


def test_an_archive_as_the_kit(router: MakeRouter, image: CardImage, tmp_path: Path) -> None:
    """What the router's `backup` made goes into the kit as it is, by the PC's own tar; a damaged one does not."""
    own = router().boot()
    own.run("mkdir /root/b").ok()
    Bench(own, plan("internal")).sh("backup /root/b").ok()
    data = taken(own, own.run("ls /root/b/*.gz").out.strip())
    own.off()
    box = router(readers=(Reader(size=SMALL),), **PC).boot()
    desk = Desk(box, image)
    box.run("cat >/tmp/it.tar.gz", input=data[:-40]).ok()
    refused = desk.sh(f"make-sd {CARD} --kit /tmp/it.tar.gz --apply")
    assert (refused.code, "is no archive, or was cut" in refused.out) == (3, True), refused.out
    box.run("cat >/tmp/it.tar.gz", input=data).ok()

    desk.sh(f"make-sd {CARD} --kit /tmp/it.tar.gz --apply").ok()

    assert desk.faults(tmp_path / "outside") == []
    assert "ethaddr=02:11:22:33:44:55" in (tmp_path / "outside/kit/backup/uboot-env.txt").read_text()
    assert "already so" in desk.sh(f"make-sd {CARD} --kit /tmp/it.tar.gz --apply").ok().out


@pytest.fixture(scope="module")
def readers(board_parts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, image: CardImage) -> Iterator[Desk]:
    """A PC with readers and disks of every kind."""
    described = (
        Reader(size=SMALL),
        Reader("sdb", bus="ata", removable=False, size=SMALL),
        Reader("sdc", size=540 * MiB),
        Reader("sdd", size=SMALL),
        Reader("mmcblk1", bus="mmc", type="MMC", size=SMALL),
        Reader("mmcblk2", bus="mmc", serial="0x12345678", model="SC16G", size=SMALL),
        Reader("sde", logical=4096, size=SMALL),
    )
    with Router(tmp_path_factory.mktemp("pc") / "pc", readers=described, **PC) as box:
        box.boot()
        box.run(
            "printf 'size=32MiB\\n' | sfdisk -q /dev/sdd; "
            "mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 /dev/sdd1; mkdir /tmp/m"
        ).ok()
        box.run("echo photos | dd of=/dev/mmcblk2 conv=notrunc").ok()
        yield Desk(box, image)


UMOUNT = "umount /tmp/m /home 2>/dev/null; true"
SYS = "/sys/class/block/sda"
# name: (commands before, device and words, what is told, commands after)
REFUSED = {
    "a partition": ("", "/dev/sdd1", "is a partition; name the whole card: /dev/sdd", ""),
    "a file": (
        "echo >/tmp/file",
        "/tmp/file",
        "is no block device; the cards and disks here are: /dev/sda (STORAGE DEVICE, 640 MiB)",
        "",
    ),
    "nothing": ("", "/dev/sdz", "is no block device", ""),
    "a disk of the computer": ("", "/dev/sdb", "/dev/sdb is neither removable nor on USB", ""),
    "NVMe": ("", "/dev/nvme0n1", "is no card in a reader", ""),
    "a virtual disk": ("", "/dev/fit0", "is no card in a reader", ""),
    "an eMMC": ("", "/dev/mmcblk1", "is no SD card but of type MMC", ""),
    "large sectors": ("", "/dev/sde", "has sectors of 4096 bytes", ""),
    "a card too small": ("", "/dev/sdc", "/dev/sdc holds 540 MiB; image and kit need 546 MiB", ""),
    "write protected": (f"echo 1 >{SYS}/ro", CARD, "is read-only", f"echo 0 >{SYS}/ro"),
    "an empty reader": (f"echo 0 >{SYS}/size", CARD, "has no card in it", f"echo {SMALL // 512} >{SYS}/size"),
    "a very large disk": (f"echo 8589934592 >{SYS}/size", CARD, "holds 4096 GiB", f"echo {SMALL // 512} >{SYS}/size"),
    "a part of another device": (f"mkdir {SYS}/holders/dm-0", CARD, "is in use: dm-0", f"rmdir {SYS}/holders/dm-0"),
    "mounted": ("mount -o ro /dev/sdd1 /tmp/m", "/dev/sdd", "is in use: /tmp/m", UMOUNT),
    "mounted by another name": (
        "mkdir -p /dev/disk; ln -sf ../sdd1 /dev/disk/x; mount -o ro /dev/disk/x /tmp/m",
        "/dev/sdd",
        "is in use: /tmp/m",
        UMOUNT,
    ),
    "the system's disk": ("mkdir -p /home; mount -o ro /dev/sdd1 /home", "/dev/sdd", "is in use: /home", UMOUNT),
    "swap": (
        (
            "printf 'Filename\\tType\\tSize\\tUsed\\tPriority\\n/dev/sdd1 partition 1 0 -2\\n' >/tmp/swaps; "
            "mount --bind /tmp/swaps /proc/swaps"
        ),
        "/dev/sdd",
        "is in use: swap",
        "umount /proc/swaps",
    ),
    "something on it": (
        "",
        "/dev/sdd",
        f"is not blank; look at the list above, and if nothing of it is needed add: --wipe {WORD}",
        "",
    ),
    "an SD card with photos": ("", "/dev/mmcblk2", "--wipe 0x12345678", ""),
    "another serial number": (
        "",
        "/dev/sdd --wipe 000000009452",
        f"--wipe names '000000009452', but /dev/sdd is '{WORD}'",
        "",
    ),
    "another serial number for a blank card": ("", f"{CARD} --wipe 1", "--wipe names '1'", ""),
    "two words, one of them wrong": ("", f"/dev/sdd --wipe {WORD} --wipe 1", "--wipe names '1'", ""),
    "no image": (
        f"mv /tmp/{cards.FILE} /tmp/away",
        CARD,
        "is neither here nor beside this script",
        f"mv /tmp/away /tmp/{cards.FILE}",
    ),
    "another image": (
        "echo >/tmp/other",
        f"{CARD} --image /tmp/other",
        "is not the image of the plan: its SHA-256 is",
        "",
    ),
    "no such kit": ("", f"{CARD} --kit /tmp/m", "is no backup, and no folder", ""),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_does_not_begin(readers: Desk, name: str) -> None:
    """Told by its reason, 3, and no disk changes; with --wipe for the right word where that is not the reason."""
    before, words, told, after = REFUSED[name]
    box = readers.box
    if before:
        box.run(before).ok()
    untouched = box.digests()
    try:
        result = readers.sh(f"make-sd {words} --apply")
        if name not in ("something on it", "an SD card with photos") and "--wipe" not in words:
            forced = readers.sh(f"make-sd {words} --wipe {WORD} --apply")
            assert forced.code == 3, forced.out
    finally:
        if after:
            box.run(after).ok()
    assert (result.code, told in result.out) == (3, True), result.out + result.err
    assert result.out.endswith("nothing was changed\n")
    assert box.digests() == untouched


def test_a_card_that_something_has_for_itself(router: MakeRouter, image: CardImage) -> None:
    """Where no mount and no holder tells: like the second disk of a btrfs."""
    box = router(readers=(Reader(size=SMALL),), **PC).boot()
    desk = Desk(box, image)
    taken = os.open(box.loops["sda"].path, os.O_RDONLY | os.O_EXCL)
    untouched = digest(box.image("sda"))
    try:
        result = desk.sh(f"make-sd {CARD} --apply")
    finally:
        os.close(taken)
    box.sync()
    assert (result.code, "is in use by another program or device" in result.out) == (3, True), result.out
    assert digest(box.image("sda")) == untouched


def cut_short(path: Path) -> None:
    """Take the end of a compressed image away."""
    path.write_bytes(path.read_bytes()[:-2000])


def turn_a_byte(path: Path) -> None:
    """Change a byte in the middle of a compressed image."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def append(text: bytes) -> Callable[[Path], None]:
    """Return a function that puts something behind a compressed image."""

    def work(path: Path) -> None:
        with open(path, "ab") as file:
            file.write(text)

    return work


def other_table(data: bytes) -> bytes:
    """Rename a partition, without making new sums: the table is bad, too."""
    return data.replace("fip".encode("utf-16le"), "fib".encode("utf-16le"), 1)


def no_system(data: bytes) -> bytes:
    """Take the squashfs away."""
    return data.replace(b"hsqs", b"hsqx")


# name: (how the image is made, what is done to the file, what is told)
IMAGES: dict[str, tuple[dict[str, Any], Callable[[Path], None] | None, str]] = {
    "cut short": ({}, cut_short, "is damaged: it cannot be unpacked to its end"),
    "a wrong byte": ({}, turn_a_byte, "is damaged"),
    "something behind it": ({}, append(b"x" * 700), "has something behind its compressed stream"),
    "metadata behind it": ({}, append(b'{"metadata"}FWx0' + bytes(12)), "has something behind its compressed stream"),
    "another table": ({"change": other_table}, None, "has not the partitions of this board's card"),
    "no system": ({"change": no_system}, None, "has no system"),
    "no image at all": ({"change": lambda data: b"hello"}, None, "unpacks to 5 bytes"),
}


@pytest.mark.parametrize("kind", ["a PC", "a router"])
@pytest.mark.parametrize("name", IMAGES)
def test_an_image_that_is_none(router: MakeRouter, tmp_path: Path, name: str, kind: str) -> None:
    """Although its sum is the plan's."""
    how, change, told = IMAGES[name]
    spoiled = cards.make(tmp_path, **how)
    if change:
        change(spoiled.path)
        spoiled = cards.of_file(spoiled.path)
    box = router(readers=(Reader(size=SMALL),), **KINDS[kind]).boot()
    desk = Desk(box, spoiled)
    untouched = box.digests()

    result = desk.sh(f"make-sd {CARD} --apply")

    assert (result.code, told in result.out) == (3, True), result.out + result.err
    assert box.digests() == untouched


def test_a_plan_without_a_fallback(router: MakeRouter) -> None:
    """There is nothing to make, or to check."""
    box = router(readers=(Reader(size=SMALL),), **PC).boot()
    box.put("/tmp/r4.sh", compiled(plan("internal")))
    for words in (f"make-sd {CARD}", f"check-sd {CARD}"):
        result = box.run(f"sh /tmp/r4.sh {words}")
        assert (result.code, "this plan has no fallback" in result.out) == (3, True)


def test_a_missing_command(router: MakeRouter, image: CardImage) -> None:
    """Told as what it is, before anything else."""
    box = router(readers=(Reader(size=SMALL),), packages=("kmod-nvme", "block-mount")).boot()
    result = Desk(box, image).sh(f"make-sd {CARD}")
    assert (result.code, "commands are missing: sfdisk (" in result.err) == (3, True)


@pytest.mark.parametrize(
    "words",
    [
        "make-sd",
        "check-sd",
        "make-sd /dev/sda /dev/sdb",
        "check-sd /dev/sda --apply",
        "check-sd /dev/sda --wipe x",
        "install --kit /tmp",
        "make-sd /dev/sda --image",
        "status --image x",
    ],
)
def test_wrong_usage(readers: Desk, words: str) -> None:
    """2, and a sentence."""
    result = readers.sh(words)
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)


@pytest.mark.parametrize("medium", ["sd", "emmc"])
def test_never_the_medium_it_runs_from(router: MakeRouter, image: CardImage, medium: str) -> None:
    """On a router that was started from a card that card is refused, and the eMMC is no card; looking is allowed."""
    box = router(medium=medium).boot()
    desk = Desk(box, image)
    serial = box.run("cat /sys/block/mmcblk0/device/serial").out.strip() or "SC16G:1073741824"
    untouched = box.digests()
    result = desk.sh(f"make-sd /dev/mmcblk0 --wipe {serial} --apply")
    told = {"sd": "/dev/mmcblk0 is what this router was started from", "emmc": "is no SD card but of type MMC"}[medium]
    assert (result.code, told in result.out) == (3, True), result.out
    if medium == "sd":
        assert desk.sh("check-sd /dev/mmcblk0").code == 1
    assert box.digests() == untouched


# name: (what the disk does, what is told)
FAULTY: dict[str, tuple[dict[str, Any], str]] = {
    "pulled out at once": ({"breaks": 3 * MiB // 2}, ""),
    "pulled out in the middle": ({"breaks": 30 * MiB}, ""),
    "pulled out while the kit is written": ({"breaks": 71 * MiB}, ""),
    "smaller than it says": ({"real": 96 * MiB}, "it is not as large as it says"),
    "smaller than it says, and no power of two": ({"real": 500 * MiB}, ""),
    "one bit wrong in the system": ({"flips": 64 * MiB + 9000}, "does not read back"),
    "one bit wrong in BL2": ({"flips": 18 * KiB}, "does not read back"),
    "one bit wrong in the table": ({"flips": 1100}, "does not read back"),
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_card_that_fails(router: MakeRouter, image: CardImage, tmp_path: Path, name: str) -> None:
    """1, never "done"; the card does not pass for a finished one; with a good reader the same command finishes."""
    how, told = FAULTY[name]
    made = router(readers=(Reader(size=SMALL),), **PC)
    path = made.image("sda")
    real = path.rename(tmp_path / "sda.real")
    with cards.served(tmp_path / "served", cards.Faulty("sda", real, **how)):
        path.symlink_to(tmp_path / "served/sda")
        desk = Desk(made.boot(), image)
        result = desk.sh(f"make-sd {CARD} --apply")
        assert (result.code, "done." in result.out, told in result.out) == (1, False, True), result.out + result.err
        assert "the card is not finished, and does not pass for one" in result.out
        made.off()
    path.unlink()
    real.rename(path)
    desk = Desk(made.boot(), image)
    assert desk.sh(f"check-sd {CARD}").code == 1
    if "real" not in how:
        # A bit that stays where zeros should be could be somebody's.
        desk.sh(
            f"make-sd {CARD} --wipe {WORD} --apply" if name == "one bit wrong in BL2" else f"make-sd {CARD} --apply"
        ).ok()
        assert desk.faults(tmp_path / "outside") == []


@pytest.mark.parametrize("place", [600 * KiB, SMALL - MiB, 64 * MiB])
def test_a_card_that_cannot_be_read(router: MakeRouter, image: CardImage, tmp_path: Path, place: int) -> None:
    """Told as that, before anything is written."""
    box = router(readers=(Reader(size=SMALL),), **PC)
    path = box.image("sda")
    real = path.rename(tmp_path / "sda.real")
    with cards.served(tmp_path / "served", cards.Faulty("sda", real, bad=place)):
        path.symlink_to(tmp_path / "served/sda")
        desk = Desk(box.boot(), image)
        untouched = digest(real)
        for words in (f"make-sd {CARD} --apply", f"check-sd {CARD}")[: 2 if place < MiB else 1]:
            result = desk.sh(words)
            assert (result.code, "the card cannot be read at byte " in result.out) == (3, True), result.out + result.err
            assert result.out.endswith("nothing was changed\n")
        assert digest(real) == untouched
        box.off()


AS_USER = "start-stop-daemon -S -c guest -x /bin/sh --"
WRAPPED = '#!/bin/sh\n{}\nexec /usr/bin/{} "$@"\n'
# name: what an sfdisk does that cannot do, or does not do well, what the card needs
OTHER_SFDISK = {
    "an old one": (
        "case \"$*\" in *--relocate*) echo 'sfdisk: unrecognized option' >&2; exit 1 ;; esac",
        "the sfdisk here cannot",
    ),
    "no --append": ('case "$*" in *--append*) exit 1 ;; esac', "the sfdisk here cannot"),
    "one that makes the MBR anew": (
        (
            'case "$*" in *--append*) for last; do :; done; /usr/bin/sfdisk "$@"; code=$?\n'
            'printf XYZ | dd of="$last" bs=1 seek=446 conv=notrunc 2>/dev/null; exit $code ;; esac'
        ),
        "another MBR than the image has",
    ),
}


@pytest.mark.parametrize("name", OTHER_SFDISK)
def test_an_sfdisk_that_cannot(router: MakeRouter, image: CardImage, name: str) -> None:
    """Refused in the look, not after the image was written."""
    box = router(readers=(Reader(size=SMALL),), **PC).boot()
    desk = Desk(box, image)
    how, told = OTHER_SFDISK[name]
    box.run("mv /usr/sbin/sfdisk /usr/bin/").ok()
    box.put("/usr/sbin/sfdisk", WRAPPED.format(how, "sfdisk"), 0o755)
    untouched = box.digests()
    result = desk.sh(f"make-sd {CARD} --apply")
    assert (result.code, told in result.out) == (3, True), result.out + result.err
    assert box.digests() == untouched


# name: when the file changes, and how
CHANGES = {
    "before it is written": f'case "$*" in *of={CARD}*) [ ! -e /tmp/other ] || mv /tmp/other /tmp/{cards.FILE} ;; esac',
    "after it was written": f'case "$*" in *if=/dev/null*fsync*) echo >>/tmp/{cards.FILE} ;; esac',
}


@pytest.mark.parametrize("when", CHANGES)
def test_an_image_that_changes_meanwhile(router: MakeRouter, image: CardImage, tmp_path: Path, when: str) -> None:
    """What was proven is what must be on the card, and the file is proven once more in the end."""
    other = cards.make(tmp_path, change=lambda data: data[:-5000] + bytes(100) + data[-4900:])
    box = router(readers=(Reader(size=SMALL),), **PC).boot()
    desk = Desk(box, image)
    box.put("/tmp/other", other.path.read_bytes())
    box.put("/usr/sbin/dd", WRAPPED.format(CHANGES[when], "dd"), 0o755)
    result = desk.sh(f"make-sd {CARD} --apply")
    assert (result.code, "was changed meanwhile" in result.out, "done." in result.out) == (1, True, False), (
        result.out + result.err
    )
    box.run("rm /usr/sbin/dd").ok()
    assert desk.sh(f"check-sd {CARD}").code == 1


def test_a_desktop_that_mounts_the_kit(router: MakeRouter, image: CardImage, tmp_path: Path) -> None:
    """While it is made: told, and the card does not pass for finished; later: to be unmounted, then it is proven."""
    box = router(readers=(Reader(size=SMALL),), **PC).boot()
    desk = Desk(box, image)
    box.run("mkdir /tmp/m; mv /usr/sbin/mkfs.ext4 /usr/bin/").ok()
    mounts = (
        'case "$*" in *lazy*) /usr/bin/mkfs.ext4 "$@" || exit; for last; do :; done; exec mount "$last" /tmp/m ;; esac'
    )
    box.put("/usr/sbin/mkfs.ext4", WRAPPED.format(mounts, "mkfs.ext4"), 0o755)
    result = desk.sh(f"make-sd {CARD} --apply")
    assert (result.code, "something else mounted the card's rescue kit meanwhile: /tmp/m" in result.out) == (1, True), (
        result.out
    )
    box.run("umount /tmp/m; mv /usr/bin/mkfs.ext4 /usr/sbin/").ok()
    assert desk.sh(f"check-sd {CARD}").code == 1
    desk.sh(f"make-sd {CARD} --apply").ok()
    assert desk.faults(tmp_path / "outside") == []

    box.run(f"mount {CARD}8 /tmp/m").ok()
    result = desk.sh(f"check-sd {CARD}")
    assert (result.code, f"is in use: /tmp/m; unmount it first: umount {CARD}8" in result.out) == (3, True), result.out
    box.run("umount /tmp/m").ok()
    assert desk.sh(f"check-sd {CARD}").code == 0


@pytest.mark.parametrize("kind", KINDS)
def test_not_as_root(router: MakeRouter, image: CardImage, kind: str) -> None:
    """Refused before it leaves a lock or a log that root could not open afterwards."""
    box = router(readers=(Reader(size=SMALL),), **KINDS[kind]).boot()
    desk = Desk(box, image)
    box.run(
        "echo guest:x:1000:1000::/:/bin/sh >>/etc/passwd; chmod 1777 /tmp; mkdir -p /var/lock; chmod 1777 /var/lock"
    ).ok()
    result = box.run(f"cd /tmp && {AS_USER} /tmp/r4.sh check-sd {CARD}")
    assert (result.code, result.err) == (3, "refused: this must be run as root\n"), result.out + result.err
    assert box.run("ls /tmp/bootplan.log /var/lock/bootplan.lock").out == ""
    assert desk.sh(f"check-sd {CARD}").code == 1


@pytest.mark.parametrize("how", ["gone", "another one", "killed"])
def test_an_end_in_the_middle(router: MakeRouter, image: CardImage, tmp_path: Path, how: str) -> None:
    """The card is pulled out or exchanged, the script killed: nothing lands elsewhere, a rerun finishes."""
    box = router(readers=(Reader(size=SMALL),), **PC).boot()
    desk = Desk(box, image)
    running = box.start(f"{HERE}sh r4.sh make-sd {CARD} --apply")
    end = time.monotonic() + 60
    while "30 %" not in running.out and time.monotonic() < end:
        time.sleep(0.01)
    if how == "killed":
        assert running.kill().code == 137
    else:
        box.run(f"rm {CARD}" if how == "gone" else f"echo 99 >{SYS}/diskseq").ok()
        result = running.wait(60)
        assert (result.code, "not there any more" in box.read("/tmp/bootplan.log")) == (1, True), result.out
        assert not box.exists(CARD) or how == "another one"
    box.reboot()
    desk = Desk(box, image)
    assert desk.sh(f"check-sd {CARD}").code == 1
    assert "one of ours that was not finished" in desk.sh(f"make-sd {CARD} --apply").ok().out
    assert desk.faults(tmp_path / "outside") == []


def test_an_unfinished_card_that_was_used_for_something_else(router: MakeRouter, image: CardImage) -> None:
    """A mark alone makes nothing disposable."""
    box = router(readers=(Reader(size=SMALL),), **PC).boot()
    desk = Desk(box, image)
    running = box.start(f"{HERE}sh r4.sh make-sd {CARD} --apply")
    while "make_kit" not in running.out and running.poll() is None:
        time.sleep(0.01)
    running.kill()
    box.run(f"printf 'start=1MiB, size=600MiB, type=c\\n' | sfdisk -q --wipe always --label dos {CARD}").ok()
    untouched = box.digests()

    result = desk.sh(f"make-sd {CARD} --apply")

    assert (result.code, "is not blank" in result.out) == (3, True), result.out
    assert box.digests() == untouched


def test_the_plan_in_the_script_is_the_plan(tmp_path: Path) -> None:
    """To the byte, also when it is hostile to a shell; in every shell."""
    image = cards.CardImage(tmp_path, "ab" * 32, b"")
    hostile = "# it's `reboot` $(reboot) \"\\n\\0101 %s \\\\ \tEOF\r\n#é ü 👩‍🔧 -n\n"
    for text in (text_for(image), hostile + text_for(image), text_for(image).rstrip("\n"), text_for(image) + "\n\n"):
        lines = compiled(text).splitlines()
        begin = next(number for number, line in enumerate(lines) if line.startswith("kit_plan() {"))
        body = "\n".join(lines[begin : lines.index("}", begin) + 1])
        for shell in ("dash", "bash"):
            done = subprocess.run([shell, "-c", f"{body}\nkit_plan"], capture_output=True, check=True)
            assert done.stdout == text.encode()
