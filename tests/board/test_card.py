"""The lines of the recovery card, typed as they stand there: on the real U-Boot, and on a router."""

import hashlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self

import pytest
from card_plans import FILE, METHODS, SUM, plan_of, text_of, texts

from bootplan.board import load_board
from bootplan.failures import Failure, failures

from . import images
from .cache import command
from .router import MakeRouter
from .sandbox import flash
from .sandbox.slots import CASES, SlotBoard
from .sandbox.source import HERE
from .sandbox.uboot import DOWN, QUIT, UBoot, system_image

MEDIA = ("nand", "emmc", "sd")
BLOCK = flash.BLOCK
# What the SD card's image has for the other media, and where: bytes from the beginning of the card.
INSTALL = {
    "bl2": (44 * images.MiB, 2 * images.MiB),
    "fip": (45 * images.MiB, 2 * images.MiB),
    "emmc": (51 * images.MiB, 8 * images.MiB),
}
EMMC_FIP = (0x3400 * 512, 0x2000 * 512)
SYSTEMS_END = 80 * images.MiB  # behind the systems of the bench there is nothing
# The bench's eMMC is an SD card, which has no boot partitions: see sandbox/README.md.
NO_BOOT_PARTITIONS = ("mmc bootbus", "mmc partconf")

pytestmark = pytest.mark.usefixtures("board_parts")


class Both(UBoot):
    """A board whose U-Boot sees a flash chip and a card: what an SD card's or the SPI-NAND's sees on the real one."""

    def __enter__(self) -> Self:
        """Make a device tree with both, beside the same program."""
        super().__enter__()
        program = self.folder / "program"
        program.mkdir()
        (program / "u-boot").symlink_to(self.program / "u-boot")
        storage = "".join((HERE / f"{name}.dtsi").read_text() for name in ("nand", "mmc"))
        text = (HERE / "board.dts").read_text().replace("@BUTTON@", "17").replace("@STORAGE@", storage)
        (program / "board.dts").write_text(text)
        command([self.tools / "dtc", "-q", "-o", program / "board.dtb", program / "board.dts"])
        self.program = program
        return self


def failure(medium: str, method: str, name: str, slots: str = "", **more: Any) -> Failure:
    """Return a failure of the card of such a plan."""
    found = failures(plan_of(text_of(medium, method, slots, **more)), load_board())
    return next(one for one in found if one.name.startswith(name))


def groups(one: Failure) -> list[tuple[str, list[str]]]:
    """Return the U-Boot lines of a failure, those that stand together in one list with the medium before it."""
    found: list[tuple[str, list[str]]] = []
    before = None
    for line in one.steps:
        if line.where == "u-boot":
            if before is None or before.where != "u-boot":
                found.append((line.medium, []))
            found[-1][1].append(line.text)
        before = line
    return found


def typed(lines: Iterable[str]) -> str:
    """Return the keys that stop the menu and type lines, the countdown stopped as the card says."""
    return DOWN + QUIT + "".join(f"{line}\r" for line in lines)


def pattern(word: str, size: int) -> bytes:
    """Return bytes that are not like any others."""
    line = f"{word} of the card, " * 8
    return (line * (size // len(line) + 1)).encode()[:size]


def file_bytes(path: Path, place: int, size: int) -> bytes:
    """Return a piece of a file."""
    with open(path, "rb") as image:
        image.seek(place)
        return image.read(size)


def fill_card(card: Path) -> dict[str, bytes]:
    """Put the boot loaders for the other media on a card, as its image has them."""
    contents = {}
    with open(card, "r+b") as image:
        for name, (place, size) in INSTALL.items():
            contents[name] = pattern(name, size)
            image.seek(place)
            image.write(contents[name])
    return contents


def content_of_bl2(flash_file: Path) -> list[bytes]:
    """Return the four copies of BL2 on the flash, as programs see them."""
    raw = file_bytes(flash_file, 0, 16 * BLOCK // flash.PAGE * (flash.PAGE + flash.SPARE))
    pages = [raw[at : at + flash.PAGE] for at in range(0, len(raw), flash.PAGE + flash.SPARE)]
    data = b"".join(pages).translate(flash.INVERTED)
    return [data[at : at + 0x80000] for at in range(0, len(data), 0x80000)]


def with_flash(card_board: UBoot, nand: UBoot) -> None:
    """Put the flash of one board beside the card of another."""
    flash.copy_sparse(nand.image, card_board.folder / "nand.img")


def take_flash(nand: UBoot, card_board: UBoot) -> None:
    """Take the flash back."""
    nand.image.unlink()
    flash.copy_sparse(card_board.folder / "nand.img", nand.image)


# -- the systems are whole, something sends U-Boot elsewhere ---------------------------------------------------------


@pytest.mark.parametrize("medium", MEDIA)
def test_past_a_recovery_loop(board: Callable[..., UBoot], medium: str) -> None:
    """Past the crash record into production, and flag_recover is gone for good."""
    router = board(medium)
    stock = router.env.whole()
    router.env.set({"flag_recover": "1"})
    router.crash()
    assert router.boot().chose == "recovery"
    ((_, lines),) = groups(failure(medium, "extroot-overlay", "Recovery loop"))

    boot = router.boot(typed(lines))

    assert (boot.chose, boot.env) == ("production", stock), boot.console
    router.forget_crash()
    assert router.boot().chose == "production"


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_past_a_recovery_loop_with_slots(tmp_path: Path, case: tuple[str, str]) -> None:
    """The good slot starts, with its own root."""
    medium, kernel = case
    router = SlotBoard(tmp_path / "board", medium, kernel, starts=0).__enter__()
    method = "extroot-overlay" if kernel == "pair" else "cmdline"
    router.env.set({"flag_recover": "1"})
    router.crash()
    assert router.power_on() == "recovery"
    ((_, lines),) = groups(failure(medium, method, "Recovery loop", "shared" if kernel == "shared" else "own"))

    boot = router.boot(typed(lines))

    assert "bootplan.slot=a" in boot.bootargs and "bootplan.trial" not in boot.bootargs, boot.console
    router.forget_crash()
    assert router.power_on() == "a"


@pytest.mark.parametrize("medium", MEDIA)
def test_a_bad_environment_is_set_back(board: Callable[..., UBoot], medium: str) -> None:
    """The first lines set back what starts the router and keep the rest, the second ones everything."""
    router = board(medium)
    stock = router.env.whole()
    bad = {"bootargs": "root=/dev/nothing", "bootcmd": "run nothing", "ethaddr": "02:00:00:00:00:01", "mine": "kept"}
    first, second, addresses = groups(failure(medium, "cmdline", "Bad environment"))
    for (_, lines), expected in ((first, stock | {name: bad[name] for name in ("ethaddr", "mine")}), (second, stock)):
        for _ in range(2):
            router.env.set(bad)

        boot = router.boot(typed(lines))

        assert boot.chose == "reset", boot.console
        assert ("ethaddr=02:00:00:00:00:01" in boot.console) == (lines is first[1])
        boot = router.boot()
        assert (boot.chose, boot.env, boot.bootargs) == ("production", expected, stock["bootargs"]), boot.console
    # OpenWrt has saved new addresses at its first start.
    mine = {"ethaddr": "02:00:00:00:00:01", "eth1addr": "02:00:00:00:00:02"}
    router.env.set({"ethaddr": "06:00:00:00:00:07"})
    lines = [
        line.replace("ADDRESS", mine.get(line.split()[1], "")) if "ADDRESS" in line else line for line in addresses[1]
    ]

    assert router.boot(typed(lines)).chose == "reset"

    assert router.boot().env == stock | mine


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_a_bad_environment_with_slots(tmp_path: Path, case: tuple[str, str]) -> None:
    """After either lines the router starts the stock way, which `install` and `restore-env` go on from."""
    medium, kernel = case
    router = SlotBoard(tmp_path / "board", medium, kernel).__enter__()
    for _, lines in groups(failure(medium, "cmdline", "Bad environment", "own"))[:2]:
        router.restore()
        router.env.set({"bp_boot": "while true ; do reset ; done"})

        assert router.boot(typed(lines)).chose == "reset"

        expected = "a" if kernel == "pair" else "stock"
        assert router.boot(read_env=False).chose == ("slot-a" if expected == "a" else "production")


@pytest.mark.parametrize("medium", MEDIA)
@pytest.mark.parametrize("slots", ["", "own"])
def test_without_the_disk(board: Callable[..., UBoot], medium: str, slots: str) -> None:
    """The medium's own system, once: the saved environment stays as it is."""
    router = board(medium)
    stock = router.env.whole()
    if not slots:
        router.env.set({"bootargs": "root=PARTUUID=0a0a0a0a rootwait=30"})
    before = router.env.whole()
    router.crash()
    ((_, lines),) = groups(failure(medium, "cmdline", "NVMe gone", slots))

    boot = router.boot(typed(lines))

    assert (boot.chose, boot.bootargs, boot.env) == ("production", stock["bootargs"], before), boot.console


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_a_bad_slot(tmp_path: Path, case: tuple[str, str]) -> None:
    """The first lines end the trial and start the good slot; the second ones make the other slot the good one."""
    medium, kernel = case
    router = SlotBoard(tmp_path / "board", medium, kernel).__enter__()
    first, second = groups(
        failure(
            medium,
            "extroot-overlay" if kernel == "pair" else "cmdline",
            "Bad slot",
            "shared" if kernel == "shared" else "own",
        )
    )
    router.set_state(good="a", trial="b", left="2")
    router.crash()

    boot = router.boot(typed(first[1]))

    assert "bootplan.slot=a" in boot.bootargs and "bootplan.trial" not in boot.bootargs, boot.console
    assert boot.env and "bp_try" not in boot.env and boot.env["bp_good"] == "a"
    for good, other in (("a", "b"), ("b", "a")):
        if kernel != "shared":
            router.happen(f"kernel {good}")

        boot = router.boot(typed(second[1]))

        assert f"bootplan.slot={other}" in boot.bootargs, boot.console
        assert boot.env and boot.env["bp_good"] == other
        router.forget_crash()
        assert router.power_on() == other
        if kernel != "shared":
            router.put_kernel(good)


@pytest.mark.parametrize("medium", MEDIA)
def test_from_a_server(board: Callable[..., UBoot], medium: str) -> None:
    """The server and the file of the plan are asked for, and nothing is written."""
    router = board(medium)
    env = router.env.whole()
    (_, first), (_, last) = groups(failure(medium, "internal", "No system"))

    boot = router.boot(typed([*first, *last, "printenv serverip bootfile"]))

    assert (boot.chose, boot.env) == ("console", env), boot.console
    assert boot.console.count("No ethernet found.") == 2
    assert f"serverip=192.168.1.77\r\nbootfile={FILE.format('initramfs-recovery.itb')}\r\n" in boot.console


@pytest.mark.parametrize("medium", MEDIA)
@pytest.mark.parametrize("typed_before", [True, False])
def test_a_server_does_not_make_it_write(board: Callable[..., UBoot], medium: str, typed_before: bool) -> None:
    """What the endless loop has set is gone before there is a server, which is a file of the host here.

    This U-Boot polls for no Ctrl-C outside of its prompt and menu: how one comes out of the loop it cannot show.
    """
    router = board(medium)
    if medium == "nand":
        router.volumes.write("rootfs_data", b"settings" * 64)
    (router.folder / "served.itb").write_bytes(system_image("recovery"))
    (_, first), _ = groups(failure(medium, "internal", "No system"))
    asks = router.env.whole()["boot_tftp_recovery"].replace(
        "tftpboot $loadaddr $bootfile", "load hostfs - $loadaddr served.itb"
    )
    assert "served.itb" in asks
    before = router.volumes.read("recovery", 4096)
    router.volumes.write("recovery", bytes(4096))

    boot = router.boot(
        typed(
            [
                "setenv replacevol 1",
                *(first if typed_before else []),
                f"setenv asks '{asks}'",
                "setenv noboot 1",
                "run asks",
            ]
        )
    )

    assert boot.chose == "console", boot.console
    assert router.volumes.read("recovery", 4096) == (bytes(4096) if typed_before else before), boot.console
    if medium == "nand":
        assert router.volumes.read("rootfs_data", 512) == (b"settings" * 64 if typed_before else None), boot.console


@pytest.mark.parametrize("medium", MEDIA)
def test_the_servers_system_starts_with_its_medium(board: Callable[..., UBoot], medium: str) -> None:
    """With the overlay of the eMMC, or the card: what was started sees the medium that it is to repair."""
    router = board(medium)
    name = FILE.format("initramfs-recovery.itb")
    (router.folder / name).write_bytes(system_image("recovery"))
    (_, first), (_, last) = groups(failure(medium, "internal", "No system"))
    answer = f"setenv boot_tftp '{router.env.whole()['boot_tftp']}'"

    boot = router.boot(
        typed(
            line.replace("tftpboot $loadaddr $bootfile", "load hostfs - $loadaddr $bootfile")
            for line in [*first, answer, *last]
        )
    )

    assert boot.chose == "recovery", boot.console
    assert {"nand": "", "emmc": "emmc", "sd": "-sd"}[medium] in boot.fit_configuration, boot.fit_configuration
    assert bool(boot.overlays) == (medium != "nand"), boot.overlays


# -- the boot loader -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("there", [True, False])
def test_a_bad_fip_on_the_nand(board: Callable[..., UBoot], there: bool) -> None:
    """The card's FIP is written, whether its volume is there or not; everything else stays, also what is mounted."""
    nand, card = board("nand"), board("sd", kind=Both)
    nand.volumes.write("rootfs_data", b"settings" * 64)
    nand.run(["ubi part ubi", "ubi remove fip", *(["ubi create fip 0x200000 static"] if there else [])])
    contents, env = fill_card(card.image), nand.env.all()
    with_flash(card, nand)
    ((medium, lines),) = groups(failure("nand", "extroot-overlay", "Bad FIP"))
    assert medium == "sd"

    boot = card.boot(typed(lines))

    assert boot.chose == "console", boot.console
    take_flash(nand, card)
    assert nand.volumes.read("fip") == contents["fip"]
    assert nand.volumes.read("rootfs_data", 512) == b"settings" * 64
    assert nand.boot().chose == "production"
    assert nand.env.all() == env


def test_without_the_files_nothing_is_written(board: Callable[..., UBoot]) -> None:
    """A card and a SPI-NAND without the boot loaders: whoever types all the lines all the same, changes nothing."""
    nand, card, other = board("nand"), board("sd", kind=Both), board("nand", kind=Both)
    with open(card.image, "r+b") as image:
        image.write(bytes(34 * 512))  # no partition table: no partition `install`
    with_flash(card, nand)
    with open(other.folder / "mmcblk0.img", "wb") as image:
        image.truncate(images.GPT_BYTES)
    before = nand.volumes.read("fip"), content_of_bl2(nand.image)

    for name in ("Bad FIP", "Bad BL2"):
        card.boot(typed(groups(failure("nand", "extroot-overlay", name))[0][1]), read_env=False)
        other.boot(typed(groups(failure("emmc", "extroot-overlay", name))[-1][1]), read_env=False)

    take_flash(nand, card)
    assert (nand.volumes.read("fip"), content_of_bl2(nand.image)) == before
    assert not any(flash.extents(other.folder / "mmcblk0.img"))


def test_a_bad_bl2_on_the_nand(board: Callable[..., UBoot]) -> None:
    """Four copies of the card's BL2 are written, and nothing else."""
    nand, card = board("nand"), board("sd", kind=Both)
    contents, env = fill_card(card.image), nand.env.all()
    with_flash(card, nand)
    lines = groups(failure("nand", "extroot-overlay", "Bad BL2"))[0]

    boot = card.boot(typed(lines[1]))

    assert (lines[0], boot.chose) == ("sd", "console"), boot.console
    take_flash(nand, card)
    assert content_of_bl2(nand.image) == [contents["bl2"][:0x80000]] * 4
    assert (nand.boot().chose, nand.env.all()) == ("production", env)


def test_the_whole_nand_anew(board: Callable[..., UBoot]) -> None:
    """From a flash that holds nothing: BL2, FIP, both systems and the files for the eMMC; it starts as a new board."""
    card = board("sd", kind=Both)
    contents = fill_card(card.image)
    with open(card.folder / "nand.img", "wb") as empty:
        empty.truncate(flash.FILE_BYTES)
    lines = groups(failure("nand", "extroot-overlay", "Bad BL2"))[1]

    boot = card.boot(typed(lines[1]), timeout=60)

    assert (lines[0], boot.chose) == ("sd", "console"), boot.console
    nand = board("nand")
    take_flash(nand, card)
    assert content_of_bl2(nand.image) == [contents["bl2"][:0x80000]] * 4
    assert nand.boot().chose == "production"
    assert nand.volumes.read("fip") == contents["fip"]
    assert nand.volumes.read("emmc_install", INSTALL["emmc"][1]) == contents["emmc"]


def test_a_bad_fip_on_the_emmc(board: Callable[..., UBoot]) -> None:
    """From the SPI-NAND: the eMMC gets the FIP, and keeps its environment and both systems."""
    nand, emmc = board("nand", kind=Both), board("emmc")
    emmc.env.set({"mine": "kept"})
    env, files = emmc.env.all(), pattern("emmc", INSTALL["emmc"][1])
    nand.run(["ubi part ubi", "ubi remove rootfs_data", "ubi create emmc_install 0x800000 dynamic"])
    nand.volumes.write("emmc_install", files)
    before = file_bytes(emmc.image, 0, SYSTEMS_END)
    flash.copy_sparse(emmc.image, nand.folder / "mmcblk0.img")
    first, last = groups(failure("emmc", "cmdline", "Bad FIP"))
    assert first == ("sd", ["run ubi_init"])

    boot = nand.boot(typed(last[1]))

    assert (last[0], boot.chose) == ("nand", "console"), boot.console
    emmc.image.unlink()
    flash.copy_sparse(nand.folder / "mmcblk0.img", emmc.image)
    place, size = EMMC_FIP
    assert file_bytes(emmc.image, place, size) == files[0x100000 : 0x100000 + size]
    after = file_bytes(emmc.image, 0, SYSTEMS_END)
    assert after[:place] == before[:place] and after[place + size :] == before[place + size :]
    assert (emmc.boot().chose, emmc.env.all()) == ("production", env)


@pytest.mark.parametrize("medium", ["nand", "emmc"])
def test_no_bl2_without_a_server(board: Callable[..., UBoot], medium: str) -> None:
    """The file of the plan is asked for; nothing is written, also with the right sum from a line before."""
    router = board(medium)
    before = file_bytes(router.image, 0, SYSTEMS_END)
    ((_, lines),) = groups(failure(medium, "internal", "Wrong BL2"))

    boot = router.boot(typed([f"setenv sum {SUM}", *lines]), read_env=False)

    assert (boot.chose, file_bytes(router.image, 0, SYSTEMS_END)) == ("console", before), boot.console
    assert boot.console.count("No ethernet found.") == 2


@pytest.mark.parametrize("right", [True, False])
def test_the_right_bl2_from_a_server(board: Callable[..., UBoot], right: bool) -> None:
    """The file is written four times if it has the plan's sum, else not at all. A file of the host is the server."""
    router = board("nand")
    ((_, lines),) = groups(failure("nand", "internal", "Wrong BL2"))
    name, data = FILE.format("snand-preloader.bin"), pattern("the plan's BL2", 200_000)
    before = content_of_bl2(router.image)
    (router.folder / name).write_bytes(data)
    sum_of_it = hashlib.sha256(data if right else data + b"x").hexdigest()
    assert f"tftpboot $loadaddr {name} " in lines[1] and SUM in lines[1] and len(lines[1]) < 512
    lines[1] = lines[1].replace("tftpboot", "load hostfs -").replace(SUM, sum_of_it)

    boot = router.boot(typed(lines))

    assert boot.chose == "console", boot.console
    after = content_of_bl2(router.image)
    assert [one[: len(data)] for one in after] == [data] * 4 if right else after == before
    assert router.boot().chose == "production"


def test_every_line_is_known_to_its_uboot(board: Callable[..., UBoot]) -> None:
    """No line of any card has a word that the stock U-Boot of its medium does not know."""
    lines = {
        (line.medium, line.text)
        for text in texts()
        for one in failures(plan_of(text), load_board())
        for line in one.steps
        if line.where == "u-boot"
    }
    assert len(lines) > 40
    for medium, line in sorted(lines):
        if "bp_" in line:
            continue  # those need slots; the tests above type all of them
        router = board(medium, kind=Both)
        other = router.folder / ("mmcblk0.img" if medium == "nand" else "nand.img")
        with open(other, "wb") as empty:
            empty.truncate(flash.FILE_BYTES)

        console = router.boot(typed([line]), timeout=60, read_env=False).console

        seen = console.split(line, 1)[1]
        usage = any(word in line for word in NO_BOOT_PARTITIONS)
        assert usage or not re.search("Unknown command|Usage:|syntax error", seen), console
        assert "printenv" in line or '" not defined' not in seen, console


# -- Linux -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("medium", ["nand", "emmc"])
def test_the_lines_in_a_recovery_system(router: MakeRouter, medium: str) -> None:
    """The record is shown and deleted, flag_recover deleted, and the router restarts into its own system."""
    box = router(medium=medium, slots=True).boot()
    box.run("fw_setenv flag_recover 1").ok()
    box.crash()
    lines = [line.text for line in failure(medium, "internal", "Recovery loop").steps if line.where == "linux"]
    at = lines.index("reboot")

    for line in lines[:at]:
        box.run(line).ok()

    assert "flag_recover" not in box.environment()
    assert box.run("ls /sys/fs/pstore").out == ""
    assert lines[at + 1 :] == ["rm -f /sys/fs/pstore/*"]


@pytest.mark.parametrize("medium", ["nand", "emmc"])
def test_a_bad_environment_is_not_saved_over(router: MakeRouter, medium: str) -> None:
    """With two bad copies the tool has only its own environment; the line of the card saves nothing of it."""
    box = router(medium=medium).boot()
    for path, offset, *_ in (
        line.split() for line in box.read("/etc/fw_env.config").splitlines() if line.startswith("/")
    ):
        box.run(f"dd if=/dev/zero of={path} bs=4096 seek={int(offset, 16) // 4096} count=4 conv=notrunc,fsync").ok()
    (line,) = (one.text for one in failure(medium, "internal", "Recovery loop").steps if "fw_setenv" in one.text)
    assert "Bad CRC" in box.run("fw_printenv bootcmd").err

    box.run(line)

    assert box.fw_printenv() is None
    box.run("fw_setenv flag_recover 1").ok()
    assert "Bad CRC" not in box.run("fw_printenv bootcmd").err, "the line without its look does save"


def test_every_method_has_its_card() -> None:
    """Nothing above leaves out a way to have the root."""
    assert {method for text in texts() for method in METHODS if f"method: {method}" in text} == set(METHODS)
