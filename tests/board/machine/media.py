"""The media of the board in QEMU: flash, SD card or eMMC, NVMe disks; what lies on them, and how to read it back.

The flash is 64 MiB: bl2 in the first 2 MiB, then UBI. The image of the eMMC has its two hardware boot partitions before
the part that partitions are made on, as QEMU wants it.
"""

import hashlib
import shutil
import struct
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import BinaryIO

from .. import images
from ..cache import command
from ..images import KiB, MiB

FLASH_BYTES = 64 * MiB
BL2_BYTES = 2 * MiB
BLOCK_BYTES = 256 * KiB
UBI_HEADERS = 128
LEB_BYTES = BLOCK_BYTES - UBI_HEADERS
LAYOUT_VOLUME = 0x7FFFEFFF
VOLUME_RECORDS, RECORD_BYTES = 128, 172
# UBI volumes in the order of their numbers.
VOLUMES = ("fip", "ubootenv", "ubootenv2", "recovery", "fit", "rootfs_data")
# The volumes that are larger than what is put in; rootfs_data then takes all that is left, if it may.
SIZES = {"fip": 2 * MiB, "ubootenv": MiB, "ubootenv2": MiB, "rootfs_data": MiB}


def bytes_before_card(medium: str) -> int:
    """Return how many bytes of the card's image come before the card's own first byte."""
    return 2 * images.BOOT_PARTITION_BYTES if medium == "emmc" else 0


def make_flash(path: Path, folder: Path, system: Path, data_bytes: int | None = None) -> None:
    """Make the flash: ``folder`` has ``ubootenv.img`` and ``ubootenv2.img``, ``system`` the FIT images.

    ``rootfs_data`` gets ``data_bytes``, or all that is left.
    """
    images.filled(folder / "fip.img", 2 * MiB, "fip")
    sources = {
        "fip": folder / "fip.img",
        "ubootenv": folder / "ubootenv.img",
        "ubootenv2": folder / "ubootenv2.img",
        "recovery": system / "recovery.itb",
        "fit": system / "production.itb",
    }
    text = ""
    for number, name in enumerate(VOLUMES):
        text += f"[{name}]\nmode=ubi\nvol_id={number}\nvol_name={name}\n"
        text += "vol_type=static\n" if name == "fip" else "vol_type=dynamic\n"
        if name in sources:
            text += f"image={sources[name]}\n"
        size = data_bytes or SIZES[name] if name == "rootfs_data" else SIZES.get(name)
        text += f"vol_size={size}\n" if size else ""
        text += "vol_flags=autoresize\n" if name == "rootfs_data" and not data_bytes else ""
    (folder / "ubi.ini").write_text(text)
    command(["ubinize", "-m", "1", "-p", str(BLOCK_BYTES), "-o", folder / "ubi", folder / "ubi.ini"])
    images.filled(path, FLASH_BYTES, "bl2")
    with open(path, "r+b") as flash:
        flash.seek(BL2_BYTES)
        with open(folder / "ubi", "rb") as ubi:
            shutil.copyfileobj(ubi, flash)
        erased = b"\xff" * BLOCK_BYTES
        for place in range(flash.tell(), FLASH_BYTES, BLOCK_BYTES):
            flash.seek(place)
            flash.write(erased)


def make_card(path: Path, folder: Path, medium: str, system: Path) -> None:
    """Make the SD card or eMMC; ``folder`` gets a ``mmcblk0.img`` on the way, which has the environment already."""
    card = folder / "mmcblk0.img"
    places = {name: offset * KiB for name, offset, _ in images.GPT[medium]}
    with open(card, "r+b") as image:
        for name in ("recovery", "production"):
            image.seek(places[name])
            image.write((system / f"{name}.itb").read_bytes())
    before = bytes_before_card(medium)
    images.sparse(path, before + images.CARD_BYTES)
    command(["dd", f"if={card}", f"of={path}", "bs=1M", f"seek={before // MiB}", "conv=notrunc,sparse", "status=none"])
    if before:
        with open(path, "r+b") as image:
            image.write(b"bl2" * 1000)
    card.unlink()


class FlashError(Exception):
    """The flash holds no UBI that can be read."""


def is_volume_table(data: bytes) -> bool:
    """Tell whether every record of a UBI volume table has the right sum."""
    records = (data[at : at + RECORD_BYTES] for at in range(0, VOLUME_RECORDS * RECORD_BYTES, RECORD_BYTES))
    return all(zlib.crc32(one[:-4]) ^ 0xFFFFFFFF == int.from_bytes(one[-4:], "big") for one in records)


def scan(flash: BinaryIO) -> tuple[dict[tuple[int, int], int], dict[int, tuple[str, int]]]:
    """Return where the newest copy of each block is, {(volume, block): place}, and {volume: (name, blocks)}.

    :class:`FlashError` when there is no table of volumes, or it is being written at this moment.
    """
    newest: dict[tuple[int, int], tuple[int, int]] = {}
    names: dict[int, tuple[str, int]] = {}
    for place in range(BL2_BYTES, FLASH_BYTES, BLOCK_BYTES):
        flash.seek(place)
        head = flash.read(UBI_HEADERS)
        if head[:4] != b"UBI#" or head[64:68] != b"UBI!":
            continue
        key = struct.unpack_from(">II", head, 64 + 8)
        sequence = struct.unpack_from(">Q", head, 64 + 40)[0]
        newest[key] = max(newest.get(key, (-1, 0)), (sequence, place + UBI_HEADERS))
    places = {key: place for key, (_, place) in newest.items()}
    tables = [read_block(flash, places[LAYOUT_VOLUME, copy]) for copy in (0, 1) if (LAYOUT_VOLUME, copy) in places]
    table = next((table for table in tables if is_volume_table(table)), None)
    if table is None:
        raise FlashError(f"{flash.name}: no UBI volume table")
    for number in range(VOLUME_RECORDS):
        blocks, _, _, _, _, length = struct.unpack_from(">IIIBBH", table, number * RECORD_BYTES)
        if blocks:
            name = table[number * RECORD_BYTES + 16 : number * RECORD_BYTES + 16 + length]
            names[number] = name.decode(), blocks
    return places, names


def read_block(flash: BinaryIO, place: int) -> bytes:
    """Return the data of the block that is there."""
    flash.seek(place)
    return flash.read(LEB_BYTES)


def volumes(path: Path, only: Collection[str] | None = None) -> dict[str, bytes]:
    """Return {name: bytes} of every UBI volume on the flash, or of those in ``only``: its blocks one after the other.

    Of two copies of a block the one with the higher sequence number counts. A block that nobody wrote is 0xff.
    """
    erased = b"\xff" * LEB_BYTES
    with open(path, "rb") as flash:
        places, names = scan(flash)
        return {
            name: b"".join(
                read_block(flash, places[number, block]) if (number, block) in places else erased
                for block in range(blocks)
            )
            for number, (name, blocks) in names.items()
            if only is None or name in only
        }


def spoil_volume(path: Path, name: str) -> None:
    """Write zeros over the first bytes of a UBI volume."""
    with open(path, "r+b") as flash:
        places, names = scan(flash)
        number = next(number for number, (one, _) in names.items() if one == name)
        flash.seek(places[number, 0])
        flash.write(bytes(64))


def digest(data: bytes) -> str:
    """Return the sha256 of some bytes."""
    return hashlib.sha256(data).hexdigest()


class Environment:
    """U-Boot's environment on the media, read and written by the real tools on the host while the board is off."""

    def __init__(self, tools: Path, folder: str | Path, medium: str, path: str | Path) -> None:
        """``tools`` is the part with fw_printenv, ``path`` the image of the flash or card, ``folder`` for work."""
        self.folder, self.medium, self.path = Path(folder), medium, Path(path)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.tool = images.EnvTool(tools, self.folder, medium)

    def make_files(self, values: Mapping[str, str]) -> None:
        """Make the files with both copies, as the images are made of them, with these variables."""
        if self.medium == "nand":
            for name in ("ubootenv", "ubootenv2"):
                images.sparse(self.folder / f"{name}.img", images.ENV_COPY_BYTES["nand"])
        else:
            images.make_card(self.folder / "mmcblk0.img", self.medium)
        self.tool.blank()
        for _ in range(2):
            self.tool.set(values)

    def places(self) -> list[int]:
        """Return the two places of the copies on a card's image; the flash has volumes instead."""
        before = bytes_before_card(self.medium) + images.MMC_ENV_OFFSET
        return [before, before + images.ENV_COPY_BYTES[self.medium]]

    def copies(self) -> list[bytes]:
        """Return the bytes of both copies."""
        size = images.ENV_COPY_BYTES[self.medium]
        if self.medium == "nand":
            found = volumes(self.path, ("ubootenv", "ubootenv2"))
            if len(found) < 2:
                raise FlashError(f"{self.path}: no volumes for the environment")
            return [found[name][:size] for name in ("ubootenv", "ubootenv2")]
        with open(self.path, "rb") as image:
            return [(image.seek(place), image.read(size))[1] for place in self.places()]

    def all(self) -> dict[str, str] | None:
        """Return the variables as a dictionary, or None when both copies are bad."""
        self.fetch()
        return self.tool.all()

    def whole(self) -> dict[str, str]:
        """Return the same; :class:`~board.images.EnvError` when both copies are bad."""
        self.fetch()
        return self.tool.whole()

    def fetch(self) -> None:
        """Copy the environment to where the tool looks for it."""
        if self.medium == "nand":
            for name, data in zip(("ubootenv", "ubootenv2"), self.copies(), strict=True):
                (self.folder / f"{name}.img").write_bytes(data)
        else:
            with open(self.folder / "mmcblk0.img", "wb") as card:
                card.seek(images.MMC_ENV_OFFSET)
                for data in self.copies():
                    card.write(data)

    def damage(self, number: int) -> None:
        """Change one byte of copy 1 or 2 on the medium, so that its checksum is wrong."""
        with open(self.path, "r+b") as image:
            place = self.copy_place(number)
            image.seek(place + 100)
            byte = image.read(1)[0]
            image.seek(place + 100)
            image.write(bytes([byte ^ 0x55]))

    def copy_place(self, number: int) -> int:
        """Return where copy 1 or 2 starts on the medium's image."""
        if self.medium != "nand":
            return self.places()[number - 1]
        wanted = self.copies()[number - 1]
        data = self.path.read_bytes()
        found = [
            place
            for place in range(BL2_BYTES + UBI_HEADERS, FLASH_BYTES, BLOCK_BYTES)
            if data[place : place + len(wanted)] == wanted
        ]
        if len(found) != 1:
            raise FlashError(f"copy {number} of the environment was found {len(found)} times")
        return found[0]
