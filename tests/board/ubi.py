"""UBI's volume table on the bench, as the host and U-Boot's model see it; :file:`standin/ubi.c` is the router's side.

The table is the first block of the image ``ubi``. Volume N is the image ``VOLUME_IMAGES[N]``, whatever its name is: a
rename changes the table and nothing else, in one write.
"""

import ctypes
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

LEB = 0x1F000
TABLE_BYTES, IMAGE_BYTES = 4096, 64 << 10
# The board's 126 MiB, and what UBI keeps: 20 for bad blocks, 2 for its table, one each for moving and for changes.
FLASH_BLOCKS, KEPT_BLOCKS, BAD_BLOCKS = 1008, 24, 20
# The images that hold a volume; more than the stock ones only where there are slots.
STOCK_IMAGES = ("fip", "ubootenv", "ubootenv2", "recovery", "fit", "overlay")
SPARE_IMAGES = ("ubi6", "ubi7", "ubi8", "ubi9")
VOLUME_IMAGES = STOCK_IMAGES + SPARE_IMAGES


LIBC = ctypes.CDLL(None, use_errno=True)
KEEP_SIZE, PUNCH_HOLE = 1, 2


class UbiError(Exception):
    """What UBI does not do; the text is its reason."""


def erase(path: Path) -> None:
    """Make a whole image zero; it keeps its size."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        size = ctypes.c_long(os.fstat(descriptor).st_size)
        if LIBC.fallocate(descriptor, KEEP_SIZE | PUNCH_HOLE, ctypes.c_long(0), size) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"{path}: {os.strerror(number)}")
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Volume:
    """A volume: its number and name, erase blocks, whether an update was begun and not ended, bytes of a static one."""

    number: int
    name: str
    blocks: int
    type: str = "dynamic"
    marker: bool = False
    bytes: int = 0

    @property
    def room(self) -> int:
        """Return how many bytes the volume has."""
        return self.blocks * LEB

    @property
    def used(self) -> int:
        """Return how many bytes of it count as data."""
        return self.bytes if self.type == "static" else self.room


class Table:
    """The volume table in a folder of images. Every change is written at once, as a whole."""

    def __init__(self, folder: str | Path) -> None:
        """``folder`` is where the images are."""
        self.folder = Path(folder)
        self.path = self.folder / "ubi.img"
        self.blocks, self.kept = FLASH_BLOCKS, KEPT_BLOCKS
        self.volumes: list[Volume] = []

    @classmethod
    def read(cls, folder: str | Path) -> Self:
        """Return the table that is in the folder's images."""
        table = cls(folder)
        with open(table.path, "rb") as image:
            lines = image.read(TABLE_BYTES).split(b"\0")[0].decode().splitlines()
        for line in lines:
            words = line.split()
            if words[0] == "ubi":
                table.blocks, table.kept = int(words[1]), int(words[2])
            else:
                table.volumes.append(
                    Volume(int(words[0]), words[1], int(words[3]), words[2], words[4] == "1", int(words[5]))
                )
        return table

    def write(self) -> None:
        """Write the table into the image."""
        lines = [f"ubi {self.blocks} {self.kept}\n"]
        lines += [
            f"{one.number} {one.name} {one.type} {one.blocks} {int(one.marker)} {one.bytes}\n"
            for one in sorted(self.volumes, key=lambda one: one.number)
        ]
        with open(self.path, "r+b") as image:
            image.write("".join(lines).encode().ljust(TABLE_BYTES, b"\0"))

    @property
    def available(self) -> int:
        """Return how many erase blocks no volume has."""
        return self.blocks - self.kept - sum(one.blocks for one in self.volumes)

    def find(self, name: str) -> Volume | None:
        """Return the volume of that name, or None."""
        return next((one for one in self.volumes if one.name == name), None)

    def volume(self, name: str) -> Volume:
        """Return the volume of that name; :class:`UbiError` where it is not there."""
        found = self.find(name)
        if found is None:
            raise UbiError(f"Volume {name} not found!")
        return found

    def image(self, volume: Volume) -> Path:
        """Return the path of the image that holds a volume."""
        return self.folder / f"{VOLUME_IMAGES[volume.number]}.img"

    def content(self, name: str) -> bytes:
        """Return all bytes of a volume; :class:`UbiError` where UBI gives none."""
        volume = self.volume(name)
        if volume.marker:
            raise UbiError(f"volume {name} is damaged: its update was not finished")
        with open(self.image(volume), "rb") as image:
            return image.read(volume.used).ljust(volume.used, b"\0")

    def rename(self, old: str, new: str) -> None:
        """Give a volume another name; :class:`UbiError` where it is not there or the name is taken."""
        volume = self.volume(old)
        if self.find(new):
            raise UbiError(f"Volume {new} already exists")
        self.volumes[self.volumes.index(volume)] = replace(volume, name=new)
        self.write()

    def create(self, name: str, size: int | None = None, kind: str = "dynamic") -> None:
        """Make an empty volume of ``size`` bytes, or of all that is left; :class:`UbiError` when that cannot be."""
        blocks = self.available if size is None else -(-size // LEB)
        taken = {one.number for one in self.volumes}
        number = next((one for one in range(len(VOLUME_IMAGES)) if one not in taken), None)
        if self.find(name):
            raise UbiError(f"Volume {name} already exists")
        if (
            blocks < 1
            or blocks > self.available
            or number is None
            or not (self.folder / f"{VOLUME_IMAGES[number]}.img").exists()
        ):
            raise UbiError(f"not enough room for {name}")
        volume = Volume(number, name, blocks, kind)
        erase(self.image(volume))
        self.volumes.append(volume)
        self.write()

    def mark(self, name: str, marker: bool) -> None:
        """Set or clear the marker of an update that was begun."""
        volume = self.volume(name)
        self.volumes[self.volumes.index(volume)] = replace(volume, marker=marker)
        self.write()

    def remove(self, name: str) -> None:
        """Remove a volume; :class:`UbiError` where it is not there."""
        volume = self.volume(name)
        self.volumes.remove(volume)
        self.write()
