"""`reflash`: the boot loader anew, and everything that must stop it before the first write."""

import hashlib
from typing import Any

import pytest

from . import images, loaders
from .images import MiB
from .loaders import PREFIX, Files
from .router import MakeRouter, Router
from .scripts import Bench
from .ubi import LEB, Table

ROOM: dict[str, Any] = {"slots": True, "data_bytes": 24 * MiB}  # a flash with room for a second volume fip
FOUR, EIGHT = 4 * 1024 * 1024 - 90000, 8 * 1024 * 1024 - 150000  # KiB that a kernel sees of 4 and 8 GiB
NAND, EMMC = Files(), Files("emmc", image=True)
UNLOCKED = Files(mtd_rw=True)
RAW: dict[str, Any] = {
    "raw": True,
    "memory_kib": FOUR,
    "packages": ("kmod-nvme", "block-mount", "sfdisk", "kmod-mtd-rw"),
}
SAVED = "$(ls /etc/bootplan/old/{}-*.bin)"


def bench_of(box: Router, files: Files, **more: Any) -> Bench:
    """Return a bench with the script of the files' plan, and the files in /tmp."""
    files.put(box)
    return Bench(box, files.plan(**more))


def volume(box: Router, name: str = "fip") -> bytes:
    """Return the bytes of a UBI volume, and forget nothing that was written."""
    box.sync()
    return Table.read(box.images).content(name)


def names(box: Router) -> set[str]:
    """Return the names of the volumes."""
    return {one.name for one in Table.read(box.images).volumes}


def place(box: Router, name: str, bytes_: int, at: int = 0) -> bytes:
    """Return so many bytes of an image."""
    box.sync()
    with open(box.image(name), "rb") as image:
        image.seek(at)
        return image.read(bytes_)


def put_fip(box: Router, data: bytes) -> None:
    """Write a FIP into the volume fip, as U-Boot does: the volume is full, and what is behind it is rubbish."""
    box.run(
        "cat >/tmp/first && "
        "ubiupdatevol $(grep -lx fip /sys/class/ubi/ubi0_*/name | sed 's,/sys/class/ubi,/dev,;s,/name,,') "
        "/tmp/first && rm /tmp/first",
        input=data.ljust(0x200000, b"r"),
    ).ok()


def refused(bench: Bench, words: str, *told: str) -> str:
    """The script tells the reasons, in the rehearsal and with --apply, and writes nothing."""
    untouched = bench.router.digests()
    for more in ("", " --apply", " --apply --in-place"):
        result = bench.sh(words + more)
        assert (result.code, [word for word in told if word not in result.out]) == (3, []), result.out + result.err
        assert result.out.endswith("nothing was changed\n")
        assert bench.router.digests() == untouched
    return result.out


# ---- FIP in UBI


@pytest.mark.parametrize("shell", ["ash", "dash"])
def test_a_fip_with_room_for_a_second_one(router: MakeRouter, shell: str) -> None:
    """A rehearsal writes nothing; then the name moves, the old content is saved and comes back; a rerun is content."""
    box = router(**ROOM, shell=shell).boot()
    put_fip(box, loaders.fip("old"))
    bench = bench_of(box, NAND)
    before, untouched = volume(box), box.digests()

    rehearsal = bench.sh("reflash fip").ok().out
    assert "+ ubirename /dev/ubi0 fip fip_old fip_new fip" in rehearsal
    assert "none made; to make them add --apply" in rehearsal
    assert box.digests() == untouched

    done = bench.sh("reflash fip --apply").ok().out
    assert volume(box)[: len(loaders.fip())] == loaders.fip()
    assert "The next power-on starts with the new FIP" in done
    assert not names(box) & {"fip_new", "fip_old"}

    assert "it is already so; nothing was changed" in bench.sh("reflash fip --apply").ok().out
    box.run(f"cd /etc/bootplan/old && sha256sum -c {SAVED.format('fip')}.sha256").ok()
    back = next(line for line in done.splitlines() if "to bring it back: " in line).partition("sh r4.sh ")[2]
    bench.sh(back).ok()
    assert volume(box) == before


def test_a_fip_without_room(router: MakeRouter) -> None:
    """Refused, with what a cut would mean; --in-place writes it, and the old one comes back by the line told."""
    box = router().boot()
    put_fip(box, loaders.fip("old"))
    bench = bench_of(box, NAND)
    before, untouched = volume(box), box.digests()

    result = bench.sh("reflash fip --apply")
    assert (result.code, "no room for a second volume (17 erase blocks are needed, 0 are left)" in result.out) == (
        3,
        True,
    )
    assert "have a proven card ready and add --in-place" in result.out
    assert box.digests() == untouched

    done = bench.sh("reflash fip --apply --in-place").ok().out
    assert volume(box)[: len(loaders.fip())] == loaders.fip()
    bench.sh(next(line for line in done.splitlines() if "to bring it back: " in line).partition("sh r4.sh ")[2]).ok()
    assert volume(box) == before


def test_a_fip_larger_than_the_volume_that_openwrt_makes(router: MakeRouter) -> None:
    """The second volume is made as large as the file."""
    box = router(**ROOM).boot()
    text, contents = swapped(NAND, "fip", loaders.fip().ljust(2 * MiB + 500000, b"x"))
    box.run(f"cat >/tmp/{FIP_NAME}", input=contents["fip"]).ok()

    Bench(box, text).sh("reflash fip --apply").ok()

    assert volume(box)[: len(contents["fip"])] == contents["fip"]


def test_a_fip_that_was_cut_off_is_written_without_further_words(router: MakeRouter) -> None:
    """From the card, where the volume's update was not ended: there is nothing to save, and nothing to lose."""
    box = router(medium="sd").boot()
    box.run("head -c 1000000 /dev/zero >/tmp/short; ubiupdatevol /dev/ubi0_0 -s 2000000 /tmp/short; true")
    bench = bench_of(box, NAND)

    told = bench.sh("reflash fip --apply").ok().out

    assert "there is nothing to save" in told
    assert volume(box)[: len(loaders.fip())] == loaders.fip()


def test_what_a_cut_run_left_is_taken_away(router: MakeRouter) -> None:
    """A half fip_new, and a fip_old."""
    box = router(**ROOM).boot()
    put_fip(box, loaders.fip("old"))
    bench = bench_of(box, NAND)
    box.run("ubimkvol /dev/ubi0 -N fip_new -t static -s 2MiB && ubimkvol /dev/ubi0 -N fip_old -t static -s 2MiB").ok()

    bench.sh("reflash fip --apply").ok()

    assert volume(box)[: len(loaders.fip())] == loaders.fip()
    assert not names(box) & {"fip_new", "fip_old"}
    box.run("ubimkvol /dev/ubi0 -N fip_old -t static -s 2MiB").ok()
    bench.sh("reflash fip --apply").ok()
    assert "fip_old" not in names(box)


def test_a_volume_that_is_not_there_is_made(router: MakeRouter) -> None:
    """As after somebody removed it."""
    box = router(**ROOM).boot()
    box.run("ubirmvol /dev/ubi0 -N fip").ok()

    bench_of(box, NAND).sh("reflash fip --apply").ok()

    made = Table.read(box.images).volume("fip")
    assert (made.type, made.blocks) == ("static", -(-0x200000 // LEB))
    assert volume(box)[: len(loaders.fip())] == loaders.fip()


# ---- what is no file for this

FIP_NAME, BL2_NAME = NAND.names["fip"], NAND.names["bl2"]
CUT = f"head -c 300000 /tmp/{FIP_NAME} >/tmp/cut && mv /tmp/cut /tmp/{FIP_NAME}"

# name: (router, files, words, commands before, what is told)
CASES: dict[str, tuple[dict[str, Any], Files | None, str, str, tuple[str, ...]]] = {
    "another board": (
        {"board_name": "bananapi,bpi-r4-lite"},
        NAND,
        "fip",
        "",
        ("this router is 'bananapi,bpi-r4-lite'",),
    ),
    "no file": ({}, NAND, "fip", f"rm /tmp/{FIP_NAME}", ("is not there; copy it from the PC",)),
    "no such folder": ({}, NAND, "fip /nowhere", "", ("'/nowhere/",)),
    "another file of the same name": (
        {},
        NAND,
        "fip",
        f"echo x >>/tmp/{FIP_NAME}",
        ("it is another file, was cut off, or is damaged",),
    ),
    "a file that was cut off": ({}, NAND, "fip", CUT, ("it is another file, was cut off, or is damaged",)),
    "another layout": ({}, NAND, "fip", "echo kernel >/sys/class/mtd/mtd1/name", ("neither OpenWrt's layout",)),
    "another boot loader": (
        {},
        NAND,
        "fip",
        "printf 'U-Boot 2024.10' >/sys/firmware/devicetree/base/chosen/u-boot,version",
        ("neither OpenWrt's layout",),
    ),
    "no volume and no room": (
        {},
        NAND,
        "fip",
        "ubirmvol /dev/ubi0 -N fip; ubimkvol /dev/ubi0 -N x -s 1MiB",
        ("no room for one: 17 erase blocks are needed, 8 are left",),
    ),
    "a system in RAM": ({}, NAND, "fip", "mount -t tmpfs none /overlay; mount -t tmpfs none /etc", ("is in RAM",)),
    "no room for what was there": (
        {},
        NAND,
        "fip",
        "dd if=/dev/zero of=/overlay/full bs=1M 2>/dev/null; true",
        ("for a copy of what is replaced",),
    ),
    "a plan without files": ({}, None, "fip", "", ("this plan names no boot loader files",)),
    "BL2 that Linux may not write": (
        RAW,
        NAND,
        "bl2",
        "",
        ("Linux may only read the MTD partition bl2", "run snand_write_bl2", "setenv serverip 192.168.1.254"),
    ),
    "BL2 without the module": (
        {**RAW, "packages": ("kmod-nvme",)},
        UNLOCKED,
        "bl2",
        "",
        ("kmod-mtd-rw, which the plan allows, is not installed",),
    ),
    "BL2 on bad blocks": (
        RAW,
        UNLOCKED,
        "bl2",
        "echo 1 >/sys/class/mtd/mtd0/bad_blocks",
        ("the MTD partition bl2 has bad blocks: 1",),
    ),
    "BL2 where nobody counts bad blocks": (
        RAW,
        UNLOCKED,
        "bl2",
        "rm /sys/class/mtd/mtd0/bad_blocks",
        ("has bad blocks: unknown",),
    ),
    "BL2 for 4 GiB on a board of 8 GiB": (
        {**RAW, "memory_kib": EIGHT},
        UNLOCKED,
        "bl2",
        "",
        ("this router has more: the kernel sees 8045 MiB",),
    ),
    "BL2 for 8 GiB on a board of 4 GiB": (
        {**RAW, "release": "SNAPSHOT"},
        Files(ram="8GiB", suffix="-8g", mtd_rw=True, prefix=PREFIX.replace("25.12.5-", "")),
        "bl2",
        "",
        ("this is a smaller board",),
    ),
    "a command that is missing": (
        RAW,
        UNLOCKED,
        "bl2",
        "mount -o remount,rw /; rm /sbin/mtd",
        ("the command mtd is missing",),
    ),
    "the whole SPI-NAND": (
        {},
        NAND,
        "nand",
        "",
        ("cannot be written while Linux runs", "SW3 to A=1 B=1", "menu item 7", "fw_setenv -s"),
    ),
    "the eMMC of a plan for SPI-NAND": ({}, NAND, "emmc", "", ("are for SPI-NAND", "menu item 9")),
    "the eMMC, started from the card": (
        {"medium": "sd"},
        EMMC,
        "emmc",
        "",
        ("card and eMMC share one controller", "SW3 to A=0 B=1", "menu item 9"),
    ),
    "room on /etc for one of two parts": (
        {"emmc": True, "memory_kib": FOUR},
        EMMC,
        "emmc",
        (
            "left=$(df -k /overlay | awk 'END { print $(NF - 2) }'); "
            "dd if=/dev/zero of=/overlay/full bs=1024 count=$((left - 1700)) 2>/dev/null"
        ),
        ("for a copy of what is replaced",),
    ),
    "no eMMC": ({}, EMMC, "fip", "", ("Linux sees no eMMC",)),
    "an eMMC without a table": (
        {"emmc": True, "memory_kib": FOUR},
        EMMC,
        "emmc",
        "sed -i /PARTNAME/d /sys/class/block/mmcblk0p*/uevent",
        ("it has no OpenWrt table",),
    ),
    "an eMMC partition in use": (
        {"emmc": True, "memory_kib": FOUR},
        EMMC,
        "fip",
        "mke2fs -q -F /dev/mmcblk0p3 && mkdir /tmp/m && mount -t ext4 /dev/mmcblk0p3 /tmp/m",
        ("/dev/mmcblk0p3 is in use: /tmp/m",),
    ),
    "an eMMC that starts from its user area": (
        {"emmc": True, "memory_kib": FOUR, "partition_config": 0},
        EMMC,
        "bl2",
        "",
        ("install mmc-utils",),
    ),
    "an eMMC that tells nothing": (
        {"emmc": True, "memory_kib": FOUR},
        EMMC,
        "bl2",
        "rm -r /sys/kernel/debug/mmc0",
        ("nobody tells",),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_does_not_begin(router: MakeRouter, name: str) -> None:
    """Each is told by its reason, and no image changes."""
    machine, files, words, before, told = CASES[name]
    box = router(**machine).boot()
    release = {"release": "snapshot"} if machine.get("release") == "SNAPSHOT" else {}
    bench = Bench(box, NAND.plan().partition("bootloader:")[0]) if files is None else bench_of(box, files, **release)
    if before:
        box.run(before, timeout=120)
    refused(bench, f"reflash {words}", *told)


# What a file may be instead, under the plan's name and with the plan's sum: the plan itself was wrong.
def swapped(files: Files, what: str, data: bytes) -> tuple[str, dict[str, bytes]]:
    """Return a plan's text and the files, with something else in place of one of them."""
    contents = files.contents | {what: data}
    sums = {name: hashlib.sha256(one).hexdigest() for name, one in files.contents.items()}
    text = files.plan().replace(sums[what], hashlib.sha256(data).hexdigest())
    return text, contents


KINDS = {
    "BL2 of the eMMC for SPI-NAND": ("bl2", "emmc", "no BL2 for nand (its header is one for: emmc)"),
    "BL2 of a card for SPI-NAND": ("bl2", "sd", "no BL2 for nand (its header is one for: sd)"),
    "a FIP for BL2": ("bl2", "fip", "no BL2 for nand (its header is one for: other)"),
    "BL2 for a FIP": ("fip", "nand", "is no whole FIP with BL31 and U-Boot"),
    "half a FIP": ("fip", "half", "is no whole FIP with BL31 and U-Boot"),
    "a FIP's table only": ("fip", "table", "is no whole FIP with BL31 and U-Boot"),
    "a BL2 that is too large": ("bl2", "large", "there is room for 524288"),
    "an empty file": ("fip", "empty", "is no whole FIP with BL31 and U-Boot"),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_file_of_another_kind(router: MakeRouter, name: str) -> None:
    """The sum may be the plan's: what is in the file counts."""
    what, kind, told = KINDS[name]
    data = (
        loaders.bl2(kind)
        if kind in loaders.MEDIA
        else {
            "fip": loaders.fip(),
            "half": loaders.fip()[:500000],
            "table": loaders.fip()[:136],
            "empty": b"",
            "large": loaders.bl2().ljust(524289, b"x"),
        }[kind]
    )
    box = router(**RAW).boot()
    text, contents = swapped(UNLOCKED, what, data)
    for one, content in contents.items():
        box.run(f"cat >/tmp/{UNLOCKED.names[one]}", input=content).ok()

    refused(Bench(box, text), f"reflash {what}", told)


@pytest.mark.parametrize("medium", ["nand", "emmc"])
def test_a_fip_that_the_plan_does_not_name(router: MakeRouter, medium: str) -> None:
    """A whole FIP, but of another board, perhaps, or of another medium: its owner's word on its sum is not enough."""
    box = router(**({"emmc": True} if medium == "emmc" else ROOM)).boot()
    bench = bench_of(box, Files(medium))
    other = loaders.fip("old")
    box.run("mkdir /root/old && cat >/root/other.fip && cp /root/other.fip /root/old/fip-1.bin", input=other).ok()
    words = f"--sha256 {hashlib.sha256(other).hexdigest()}"
    for name in ("/root/other.fip", "/root/old/fip-1.bin"):
        refused(bench, f"reflash fip {name} {words}", "is not the plan's FIP")
        box.run(f"sha256sum {name} >{name}.sha256").ok()
        refused(bench, f"reflash fip {name}", "is not the plan's FIP")
    bench.sh(f"reflash fip /tmp/{Files(medium).names['fip']} --sha256 {hashlib.sha256(loaders.fip()).hexdigest()}").ok()


def test_the_addresses_after_a_whole_new_flash(router: MakeRouter) -> None:
    """U-Boot's menu makes an environment, its first Linux addresses: the lines told bring the old ones only."""
    box = router().boot()
    bench = bench_of(box, NAND)
    before = box.environment()
    assert {"ethaddr", "eth1addr"} <= set(before)
    bench.sh("backup /etc").ok()
    box.run("fw_setenv ethaddr 02:00:00:00:00:01; fw_setenv eth1addr 02:00:00:00:00:02; fw_setenv bootargs new").ok()
    lines = [line.strip() for line in bench.sh("reflash nand").out.splitlines() if "/tmp/addresses" in line]
    assert len(lines) == 2

    changed = box.fw_printenv()
    box.run("; ".join(lines))  # an archive that is not there
    assert box.fw_printenv() == changed
    shown = box.run("cd /etc && " + "; ".join(lines).replace("ARCHIVE", "$(echo bootplan-*.gz)")).ok().out

    assert box.environment() == before | {"bootargs": "new"}
    assert shown.splitlines()[-2:] == [f"{name}={before[name]}" for name in ("ethaddr", "eth1addr")]


def test_a_full_tmp(router: MakeRouter) -> None:
    """There must be room for copies in RAM."""
    box = router(tmp_size="16m").boot()
    bench = bench_of(box, NAND)
    box.run("dd if=/dev/zero of=/tmp/full bs=1M count=7 2>/dev/null")
    untouched = box.digests()

    result = bench.sh("reflash fip --apply --in-place")

    assert (result.code, box.digests()) == (3, untouched), result.out


@pytest.mark.parametrize(
    "words", ["reflash", "reflash everything", "reflash fip a b", "reflash fip --wipe X", "install --in-place"]
)
def test_wrong_usage(router: MakeRouter, words: str) -> None:
    """Ends with 2 and a sentence."""
    box = router().boot()
    result = Bench(box, NAND.plan()).sh(words)
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)


# ---- BL2 on SPI-NAND, and the vendor's layout


def test_bl2_by_the_module(router: MakeRouter) -> None:
    """Unlocked, written four times as U-Boot does, read back, locked again; the old content comes back."""
    box = router(**RAW).boot()
    bench = bench_of(box, UNLOCKED)
    before = place(box, "mtd-bl2", 2 * MiB)
    assert "has no second place" in bench.sh("reflash bl2 --apply").out

    done = bench.sh("reflash bl2 --apply --in-place").ok().out

    have = place(box, "mtd-bl2", 2 * MiB)
    for number in range(4):
        assert have[number * 524288 :][: len(loaders.bl2())] == loaders.bl2()
    assert box.read("/sys/class/mtd/mtd0/flags") == "0x0\n"
    assert "already so" in bench.sh("reflash bl2 --apply --in-place").ok().out
    back = next(line for line in done.splitlines() if "to bring it back: " in line).partition("sh r4.sh ")[2]
    assert "is no BL2 for nand" in bench.sh(back).out  # the bench's first content was none
    box.run("cat >/dev/mtd0", input=loaders.bl2(version="old").ljust(524288, b"\xff") * 4).ok()
    done = bench.sh("reflash bl2 --apply --in-place").ok().out
    bench.sh(next(line for line in done.splitlines() if "to bring it back: " in line).partition("sh r4.sh ")[2]).ok()
    assert place(box, "mtd-bl2", 2 * MiB) == loaders.bl2(version="old").ljust(524288, b"\xff") * 4
    assert before != have


def test_a_write_that_does_not_reach_the_flash(router: MakeRouter) -> None:
    """`mtd` says that all is well: what is read back counts, the partition is locked again, and the run fails."""
    box = router(**RAW).boot()
    bench = bench_of(box, UNLOCKED)
    box.put("/tmp/mtd", "#!/bin/sh\nexit 0\n", 0o755)
    box.run("mount --bind /tmp/mtd /sbin/mtd").ok()

    result = bench.sh("reflash bl2 --apply --in-place")

    assert (result.code, "does not read back as it was written" in result.out) == (1, True), result.out
    assert "the next power-on starts nothing from SPI-NAND until this was finished" in result.out
    assert box.read("/sys/class/mtd/mtd0/flags") == "0x0\n"


def vendor(router: MakeRouter) -> Router:
    """Return a router with the flash of MediaTek's SDK: another layout, another U-Boot, no word of the medium."""
    box = router(raw=True, layout="vendor", memory_kib=FOUR).boot()
    box.run(
        "cd /sys/firmware/devicetree/base/chosen && printf 'U-Boot 2022.10-mtk' >u-boot,version && rm rootdisk*"
    ).ok()
    return box


def test_the_vendors_layout_does_not_get_openwrts_files(router: MakeRouter) -> None:
    """They would look for a UBI that is not there; the way to OpenWrt's layout is told."""
    bench = bench_of(vendor(router), UNLOCKED)
    for part in ("fip", "bl2"):
        refused(bench, f"reflash {part}", "the layout of MediaTek's SDK", "menu item 7")
    refused(
        bench,
        f"reflash fip /tmp/{FIP_NAME} --sha256 {hashlib.sha256(loaders.fip()).hexdigest()}",
        "the layout of MediaTek's SDK",
    )
    for number, name in enumerate((FIP_NAME, BL2_NAME)):
        bench.router.run(
            f"cp /tmp/{name} /root/mine.{number} && cd /root && sha256sum mine.{number} >mine.{number}.sha256"
        ).ok()
        bench.router.run(f"cd /tmp && sha256sum {name} >{name}.sha256").ok()
        for file in (f"/tmp/{name}", f"/root/mine.{number}"):
            refused(bench, f"reflash {('fip', 'bl2')[number]} {file}", "the layout of MediaTek's SDK")
    other = "/root/openwrt-24.10.7-mediatek-filogic-bananapi_bpi-r4-snand-bl31-uboot.fip"
    bench.router.run(f"cat >{other} && sha256sum {other} >{other}.sha256", input=loaders.fip("old")).ok()
    refused(bench, f"reflash fip {other}", "the layout of MediaTek's SDK")


def test_the_vendors_layout_gets_the_vendors_fip(router: MakeRouter) -> None:
    """By its own name and sum, into the MTD partition, read back; bad blocks and a read-only partition stop it."""
    box = vendor(router)
    bench = bench_of(box, UNLOCKED)
    mine = loaders.fip("old")
    box.run("cat >/root/mine.fip", input=mine).ok()
    words = f"reflash fip /root/mine.fip --sha256 {hashlib.sha256(mine).hexdigest()}"
    box.run("echo 2 >/sys/class/mtd/mtd3/bad_blocks").ok()
    refused(bench, words, "the MTD partition FIP has bad blocks: 2")
    box.run("echo 0 >/sys/class/mtd/mtd3/bad_blocks; echo 0x0 >/sys/class/mtd/mtd3/flags").ok()
    refused(bench, words, "Linux may only read the MTD partition FIP")
    box.run("echo 0x400 >/sys/class/mtd/mtd3/flags").ok()

    assert "has no second place" in bench.sh(f"{words} --apply").out
    bench.sh(f"{words} --apply --in-place").ok()

    assert place(box, "mtd-FIP", len(mine)) == mine
    assert "already so" in bench.sh(f"{words} --apply --in-place").ok().out


# ---- eMMC

GPT = {name: (offset * 1024, size * 1024) for name, offset, size in images.GPT["emmc"]}


@pytest.mark.parametrize("machine", [{"emmc": True}, {"medium": "emmc"}], ids=["from SPI-NAND", "from eMMC"])
def test_the_emmc(router: MakeRouter, machine: dict[str, Any]) -> None:
    """Recovery, FIP and BL2, each read back; the environment, factory and production stay; boot0 is locked again."""
    box = router(**machine, memory_kib=FOUR).boot()
    bench = bench_of(box, EMMC)
    start = place(box, "mmcblk0", 64 * MiB)
    if "medium" in machine:
        assert "start from SPI-NAND and repair the eMMC from there" in bench.sh("reflash emmc --apply").out
        assert place(box, "mmcblk0", 64 * MiB) == start
    forced = " --in-place" if "medium" in machine else ""

    done = bench.sh(f"reflash emmc --apply{forced}").ok().out

    order = [done.index(word) for word in ("[recovery]", "[fip]", "[bl2]")]
    assert order == sorted(order)
    now = place(box, "mmcblk0", 64 * MiB)
    want = bytearray(start)
    for name, data in (("fip", loaders.fip()), ("recovery", loaders.recovery())):
        want[GPT[name][0] : GPT[name][0] + len(data)] = data
    assert now == bytes(want)
    assert place(box, "mmcblk0boot0", len(loaders.bl2("emmc"))) == loaders.bl2("emmc")
    assert box.read("/sys/class/block/mmcblk0boot0/force_ro") == "1\n"
    assert "write_attribute /sys/class/block/mmcblk0boot0/force_ro 0" in done
    assert "it is already so" in bench.sh("reflash emmc --apply").ok().out


def test_the_emmc_gives_boot0_to_the_boot_rom(router: MakeRouter) -> None:
    """With mmc-utils, behind a whole BL2; and what is read afterwards counts."""
    box = router(emmc=True, memory_kib=FOUR, partition_config=0, packages=("kmod-nvme", "mmc-utils")).boot()
    bench = bench_of(box, EMMC)

    done = bench.sh("reflash bl2 --apply").ok().out

    assert done.index("reads_back") < done.index("mmc bootpart enable 1 1 /dev/mmcblk0")
    assert box.read("/sys/kernel/debug/mmc0/mmc0:0001/ext_csd")[358:360] == "48"
    box.put("/tmp/mmc", "#!/bin/sh\nexit 0\n", 0o755)
    box.run("mount --bind /tmp/mmc /usr/bin/mmc").ok()
    box.put("/sys/kernel/debug/mmc0/mmc0:0001/ext_csd", "00" * 512 + "\n")
    box.run("dd if=/dev/zero of=/dev/mmcblk0boot0 bs=4096 count=1 conv=notrunc").ok()
    result = bench.sh("reflash bl2 --apply")
    assert (result.code, "the eMMC still does not start from boot0" in result.out) == (1, True), result.out


def test_the_emmc_gets_its_old_fip_back(router: MakeRouter) -> None:
    """By the line that is told."""
    box = router(emmc=True).boot()
    box.run("cat >/tmp/first && dd if=/tmp/first of=/dev/mmcblk0p3 conv=notrunc,fsync", input=loaders.fip("old")).ok()
    bench = bench_of(box, EMMC)
    before = place(box, "mmcblk0", GPT["fip"][1], GPT["fip"][0])
    box.put("/usr/sbin/date", "#!/bin/sh\necho 20261122-120000\n", 0o755)  # all of it in one second

    done = bench.sh("reflash fip --apply").ok().out
    assert place(box, "mmcblk0", len(loaders.fip()), GPT["fip"][0]) == loaders.fip()
    bench.sh(next(line for line in done.splitlines() if "to bring it back: " in line).partition("sh r4.sh ")[2]).ok()

    assert place(box, "mmcblk0", GPT["fip"][1], GPT["fip"][0]) == before
    box.run("dd if=/dev/zero of=/overlay/full bs=1M 2>/dev/null; dd if=/dev/zero of=/overlay/rest bs=1024 2>/dev/null")
    assert (
        "already so: what is replaced is saved" in bench.sh("reflash fip --apply").ok().out
    )  # no room is needed for that


def test_an_emmc_that_does_not_take_it(router: MakeRouter) -> None:
    """A partition that ends, or a disk that swallows writes: the run fails, and boot0 is locked again."""
    box = router(emmc=True, memory_kib=FOUR).boot()
    bench = bench_of(box, EMMC)
    box.put(
        "/usr/sbin/dd",
        '#!/bin/sh\ncase "$*" in *of=/dev/mmcblk0boot0*) cat >/dev/null ;; *) exec /bin/busybox dd "$@" ;; esac\n',
        0o755,
    )

    result = bench.sh("reflash bl2 --apply")

    assert (result.code, "does not read back as it was written" in result.out) == (1, True), result.out
    assert "start from SPI-NAND (SW3 A=0 B=1) and give the same command" in result.out
    assert box.read("/sys/class/block/mmcblk0boot0/force_ro") == "1\n"
