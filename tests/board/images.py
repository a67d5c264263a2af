"""The disk images of a router: what lies on SPI-NAND, eMMC, SD card and NVMe before the first power-on."""

import binascii
import hashlib
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from . import ubi
from .cache import HERE, command
from .ubi import LEB

KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30

# UBI volumes in the order of their numbers: name and bytes. The writable rootfs_data comes last, as ubi0_5, and is
# larger than the board's flash, where nobody makes volumes.
VOLUMES = (
    ("fip", 0x200000),
    ("ubootenv", 9 * LEB),
    ("ubootenv2", 9 * LEB),
    ("recovery", 65 * LEB),
    ("fit", 97 * LEB),
    ("rootfs_data", 256 * MiB),
)
VOLUME_NUMBERS = {name: number for number, (name, _) in enumerate(VOLUMES)}
# The board's GPT: name, offset and size in KiB. It ends with production at 512 MiB; the card is larger.
GPT = {
    "sd": (
        ("bl2", 17, 4079),
        ("ubootenv", 4096, 512),
        ("factory", 4608, 2048),
        ("fip", 6656, 4096),
        ("recovery", 12288, 32768),
        ("install", 45056, 20480),
        ("production", 65536, 458752),
    ),
    "emmc": (
        ("ubootenv", 4096, 512),
        ("factory", 4608, 2048),
        ("fip", 6656, 4096),
        ("recovery", 12288, 32768),
        ("production", 65536, 458752),
    ),
}
GPT_BYTES = 513 * MiB
CARD_BYTES = GiB
BOOT_PARTITION_BYTES = 4 * MiB
ENV_COPY_BYTES = {"nand": 0x1F000, "emmc": 0x40000, "sd": 0x40000}
MMC_ENV_OFFSET = 0x400000
HASH_BLOCK = 64 * KiB
# Variables that end with the first boot.
FIRST_BOOT = ("_firstboot", "_init_env", "_switch_to_menu", "_bootmenu_update_title", "bootmenu_0d")
# What the board's own U-Boot adds at its start, and Linux after it (the MAC addresses).
BOARD_ENV = {
    "arch": "arm",
    "baudrate": "115200",
    "board": "mt7988",
    "console": "earlycon=uart8250,mmio32,0x11000000 console=ttyS0",
    "eth1addr": "02:11:22:33:44:56",
    "ethaddr": "02:11:22:33:44:55",
    "soc": "mediatek",
    "stderr": "serial@11000000",
    "stdin": "serial@11000000",
    "stdout": "serial@11000000",
    "vendor": "mediatek",
    "ver": "U-Boot 2025.10-OpenWrt-r32071 (Jun 28 2026 - 10:00:00 +0000)",
}


class EnvError(Exception):
    """The U-Boot environment could not be read or written on the images."""


def sparse(path: Path, size: int) -> None:
    """Make an image of ``size`` bytes that takes no room."""
    with open(path, "wb") as image:
        image.truncate(size)


def filled(path: Path, size: int, word: str) -> None:
    """Make an image that starts with recognisable bytes, so that a test sees when something touched it."""
    sparse(path, size)
    with open(path, "r+b") as image:
        image.write(word.encode() * (16 * KiB // len(word)))


def make_card(path: Path, medium: str) -> None:
    """Make the SD card or eMMC with the board's GPT."""
    sparse(path, GPT_BYTES)
    lines = ["label: gpt", "first-lba: 34"]
    lines += [f'start={offset * 2}, size={size * 2}, name="{name}"' for name, offset, size in GPT[medium]]
    subprocess.run(
        ["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", str(path)],
        input="\n".join(lines) + "\n",
        text=True,
        check=True,
        capture_output=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    with open(path, "r+b") as image:
        image.truncate(CARD_BYTES)
        for name, offset, _ in GPT[medium]:
            if name != "ubootenv":
                image.seek(offset * KiB)
                image.write(name.encode() * 1000)


def fill_front(path: Path, data: bytes) -> None:
    """Put data at the beginning of an image, and leave the rest as it is."""
    with open(path, "r+b") as image:
        image.write(data)


def make_volumes(folder: Path, spare_blocks: int = 0) -> None:
    """Make the volumes of a flash with room for so many more blocks; :func:`make_overlay` makes the overlay's files."""
    volumes = []
    for number, (name, size) in enumerate(VOLUMES):
        if name != "rootfs_data":
            filled(folder / f"{name}.img", size, name)
        static = name == "fip"
        volumes.append(
            ubi.Volume(number, name, -(-size // LEB), "static" if static else "dynamic", bytes=size * static)
        )
    if spare_blocks:
        sparse(folder / f"{ubi.SPARE_IMAGES[0]}.img", spare_blocks * LEB)
    write_table(folder, volumes, ubi.KEPT_BLOCKS + sum(one.blocks for one in volumes) + spare_blocks)


def make_board_volumes(
    folder: Path, fit: bytes, recovery: bytes, data_bytes: int | None = None, blocks: int = ubi.FLASH_BLOCKS
) -> None:
    """Make the volumes of a flash as on the board: ``fit`` and ``recovery`` are FIT images, rootfs_data has the rest.

    With ``data_bytes`` rootfs_data has only that many, as after a sysupgrade with ``rootfs_data_max``.
    """
    volumes = []
    fixed = {**dict(VOLUMES), "fit": len(fit), "recovery": len(recovery)}
    for number, (name, _) in enumerate(VOLUMES[:-1]):
        static = name == "fip"
        volumes.append(
            ubi.Volume(
                number, name, -(-fixed[name] // LEB), "static" if static else "dynamic", bytes=fixed[name] * static
            )
        )
    left = blocks - ubi.KEPT_BLOCKS - sum(one.blocks for one in volumes)
    wanted = left if data_bytes is None else min(left, -(-data_bytes // LEB))
    volumes.append(ubi.Volume(len(volumes), "rootfs_data", wanted))
    for number, name in enumerate(ubi.VOLUME_IMAGES):
        if number < VOLUME_NUMBERS["fit"]:
            filled(folder / f"{name}.img", volumes[number].room, name)
        else:
            sparse(folder / f"{name}.img", ubi.FLASH_BLOCKS * LEB)
    fill_front(folder / "recovery.img", recovery)
    fill_front(folder / "fit.img", fit)
    write_table(folder, volumes, blocks)


def flash_system(folder: Path, fit: bytes, settings: Path | None = None, data_bytes: int = 0) -> Iterator[str]:
    """Write a system as sysupgrade does on SPI-NAND, from step to step; a cut is where nobody asks for the next one.

    New volumes fit and rootfs_data, the image, and in rootfs_data the settings' archive. rootfs_data has
    ``data_bytes``, or all that is left. Yields what was done.
    """
    table = ubi.Table.read(folder)
    for name in ("fit", "rootfs_data"):
        if table.find(name):
            table.remove(name)
    yield "removed"
    table.create("fit", len(fit))
    table.create("rootfs_data", min(data_bytes, table.available * LEB) or None)
    yield "made"
    table.mark("fit", True)
    fill_front(table.image(table.volume("fit")), fit[: len(fit) // 2])
    yield "half"
    fill_front(table.image(table.volume("fit")), fit)
    table.mark("fit", False)
    yield "written"
    if settings:
        volume = table.volume("rootfs_data")
        make_data(table.image(volume), settings, volume.room)
    yield "settings"


def flash_card(folder: Path, medium: str, fit: bytes, settings: Path | None = None) -> Iterator[str]:
    """Write a system as sysupgrade does on eMMC and SD card, from step to step: the FIT, and behind it the settings.

    What is behind the FIT is the image ``overlay`` on the bench.
    """
    place = {name: offset * KiB for name, offset, _ in GPT[medium]}["production"]
    with open(folder / "mmcblk0.img", "r+b") as image:
        image.seek(place)
        image.write(fit[: len(fit) // 2])
        image.flush()
        yield "half"
        image.write(fit[len(fit) // 2 :])
    overlay = folder / "overlay.img"
    size = overlay.stat().st_size
    ubi.erase(overlay)
    yield "written"
    if settings:
        make_data(overlay, settings, size)
    else:
        make_overlay(overlay)
    yield "settings"


def make_data(path: Path, settings: Path, room: int) -> None:
    """Make a file system in which fstools finds the settings' archive."""
    with tempfile.TemporaryDirectory() as content:
        shutil.copy(settings, f"{content}/sysupgrade.tgz")
        command(
            [
                "mkfs.ext4",
                "-q",
                "-F",
                "-L",
                "rootfs_data",
                "-d",
                content,
                "-E",
                "lazy_itable_init=0,lazy_journal_init=0,nodiscard",
                path,
                f"{room >> 10}k",
            ]
        )


def write_table(folder: Path, volumes: list[ubi.Volume], blocks: int) -> None:
    """Write a new volume table."""
    table = ubi.Table(folder)
    sparse(table.path, ubi.IMAGE_BYTES)
    table.volumes, table.blocks = volumes, blocks
    table.write()


def put_on_card(path: Path, medium: str, systems: dict[str, bytes]) -> None:
    """Put FIT images, {partition: bytes}, on the card."""
    places = {name: offset * KiB for name, offset, _ in GPT[medium]}
    with open(path, "r+b") as image:
        for name, data in systems.items():
            image.seek(places[name])
            image.write(data)


def make_overlay(path: Path) -> None:
    """Make the empty internal overlay."""
    sparse(path, dict(VOLUMES)["rootfs_data"])
    command(
        [
            "mkfs.ext4",
            "-q",
            "-F",
            "-L",
            "rootfs_data",
            "-J",
            "size=8",
            "-E",
            "lazy_itable_init=0,lazy_journal_init=0,nodiscard",
            path,
        ]
    )


def env_places(folder: Path, medium: str) -> list[str]:
    """Return the lines of a fw_env.config that names the images themselves: where the two copies are."""
    size = ENV_COPY_BYTES[medium]
    if medium == "nand":
        return [f"{folder}/{name}.img 0x0 {size:#x} {size:#x} 1" for name in ("ubootenv", "ubootenv2")]
    return [f"{folder}/mmcblk0.img {MMC_ENV_OFFSET + index * size:#x} {size:#x} {size:#x} 1" for index in (0, 1)]


def router_env_config(medium: str) -> str:
    """Return the text of the router's own /etc/fw_env.config."""
    if medium == "nand":
        numbers = [index for index, (name, _) in enumerate(VOLUMES) if name.startswith("ubootenv")]
        return "".join(f"/dev/ubi0_{number} 0x0 0x1f000 0x1f000 1\n" for number in numbers)
    number = [name for name, _, _ in GPT[medium]].index("ubootenv") + 1
    return "".join(f"/dev/mmcblk0p{number} {offset} 0x40000 0x40000 1\n" for offset in ("0x0", "0x40000"))


def compiled_env(medium: str, model: str = "bpi-r4") -> dict[str, str]:
    """Return the environment that is compiled into a medium's U-Boot as a dictionary, empty variables left out."""
    lines = (HERE / "env" / f"{medium}.env").read_text().splitlines()
    pairs = [line.split("=", 1) for line in lines if line and not line.startswith("#")]
    conf = "config-mt7988a-bananapi-"
    text = {name: value.replace("\\e", "\x1b") for name, value in pairs if value}
    return {name: value.replace(f"{conf}bpi-r4", conf + model) for name, value in text.items()}


def first_booted(env: dict[str, str], version: str) -> dict[str, str]:
    """Return what the first boot of a U-Boot of this ``version`` makes of a compiled-in environment and saves."""
    after = {name: value for name, value in env.items() if name not in FIRST_BOOT}
    after |= {"bootdelay": "3", "bootmenu_delay": "3", "bootmenu_0": env["bootmenu_0d"]}
    after["bootmenu_title"] = f"{env['bootmenu_title']}       {version}"
    return after


def stock_env(medium: str, model: str) -> dict[str, str]:
    """Return the environment of a fresh install as a dictionary: saved by the first boot, the rest from Linux."""
    return first_booted(compiled_env(medium, model), BOARD_ENV["ver"]) | BOARD_ENV


class EnvTool:
    """The real fw_printenv and fw_setenv on the images of a medium, run on the host."""

    def __init__(self, tools: Path, folder: Path, medium: str) -> None:
        """Write the tool's configuration into ``folder``."""
        self.folder, self.medium = Path(folder), medium
        self.config = self.folder / f"fw_env-{medium}.config"
        self.config.write_text("\n".join(env_places(folder, medium)) + "\n")
        self.print_program = Path(tools) / "bin/fw_printenv"
        self.set_program = self.folder / "fw_setenv"
        if not self.set_program.exists():
            self.set_program.symlink_to(self.print_program)

    def run(self, program: Path, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run one of the two programs."""
        return subprocess.run(
            [str(program), "-c", str(self.config), "-l", str(self.folder), *arguments],
            input=text,
            capture_output=True,
            text=True,
            errors="surrogateescape",
        )

    def blank(self) -> None:
        """Write two valid copies of an environment without any variable."""
        size = ENV_COPY_BYTES[self.medium]
        data = bytes(size - 5)
        copy = struct.pack("<IB", binascii.crc32(data), 1) + data
        for line in env_places(self.folder, self.medium):
            path, offset = line.split()[:2]
            with open(path, "r+b") as image:
                image.seek(int(offset, 16))
                image.write(copy)

    def set(self, values: Mapping[str, str | None]) -> None:
        """Set variables (None deletes one) with one fw_setenv -s; :class:`EnvError` when the tool fails."""
        lines = "".join(f"{name} {value or ''}".rstrip(" ") + "\n" for name, value in values.items())
        done = self.run(self.set_program, "-s", "-", text=lines)
        if done.returncode != 0:
            raise EnvError(f"fw_setenv: {done.stderr}")
        for name, value in values.items():
            if value and value.startswith(" ") and self.run(self.set_program, name, value).returncode != 0:
                raise EnvError(f"fw_setenv: {name}")

    def all(self) -> dict[str, str] | None:
        """Return the environment as a dictionary, or None when both copies are bad, as U-Boot then takes its own."""
        done = self.run(self.print_program)
        if "Bad CRC" in done.stderr or done.returncode != 0:
            return None
        return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)

    def copies(self) -> list[dict[str, str] | None]:
        """Return what each of the two copies says by itself; None for one whose CRC is wrong."""
        found: list[dict[str, str] | None] = []
        for line in env_places(self.folder, self.medium):
            path, offset, size = line.split()[:3]
            with open(path, "rb") as image:
                image.seek(int(offset, 16))
                copy = image.read(int(size, 16))
            right = binascii.crc32(copy[5:]) == struct.unpack("<I", copy[:4])[0]
            lines = copy[5:].partition(b"\0\0")[0].decode(errors="surrogateescape").split("\0")
            found.append(dict(one.split("=", 1) for one in lines if one) if right else None)
        return found

    def whole(self) -> dict[str, str]:
        """Return the same; :class:`EnvError` when both copies are bad."""
        env = self.all()
        if env is None:
            raise EnvError("both copies of the environment are bad")
        return env


def digest(path: Path) -> str:
    """Return a sha256 over the blocks that are not all zero and their places; holes cost nothing."""
    total = hashlib.sha256()
    zero = bytes(HASH_BLOCK)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        position = 0
        while position < size:
            try:
                start = os.lseek(descriptor, position, os.SEEK_DATA)
            except OSError:
                break
            end = os.lseek(descriptor, start, os.SEEK_HOLE)
            for place in range(start - start % HASH_BLOCK, end, HASH_BLOCK):
                block = os.pread(descriptor, HASH_BLOCK, place)
                if block != zero[: len(block)]:
                    total.update(place.to_bytes(8, "big") + block)
            position = -(-end // HASH_BLOCK) * HASH_BLOCK
    finally:
        os.close(descriptor)
    return total.hexdigest()
