"""The board's SPI-NAND as a file, and what OpenWrt's installation puts into its UBI.

A page lies after the other, 2048 bytes and 64 spare bytes, with every bit inverted: a hole in the file is erased flash.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from ..cache import command
from ..images import MiB
from ..ubi import LEB

PAGE, SPARE, BLOCK = 2048, 64, 0x20000
FLASH_BYTES = 128 * MiB
UBI_OFFSET = 2 * MiB
FILE_BYTES = FLASH_BYTES // PAGE * (PAGE + SPARE)
INVERTED = bytes(255 - value for value in range(256))
ROOT_DATA_BYTES = 64 * MiB
# Volumes as the installation makes them: name, bytes, static or dynamic. FITs take the room they need.
FIXED_VOLUMES = (("fip", 0x200000, "static"), ("ubootenv", 0x100000, "dynamic"), ("ubootenv2", 0x100000, "dynamic"))


def store(image: BinaryIO, offset: int, data: bytes) -> None:
    """Put ``data``, as programs see it, at a block's offset of the opened flash file; erased pages stay holes."""
    for start in range(0, len(data), PAGE):
        page = data[start : start + PAGE]
        if page.count(0xFF) != len(page):
            image.seek((offset + start) // PAGE * (PAGE + SPARE))
            image.write(page.translate(INVERTED))


def volumes(contents: Mapping[str, bytes]) -> list[tuple[str, int, str]]:
    """Return name, bytes and kind of each volume, in the order of their numbers; ``contents`` as for :func:`make`."""
    fixed = {name for name, _, _ in FIXED_VOLUMES}
    more = [(name, len(data), "dynamic") for name, data in contents.items() if name not in fixed]
    return [*FIXED_VOLUMES, *more, ("rootfs_data", ROOT_DATA_BYTES, "dynamic")]


def make(path: Path, contents: Mapping[str, bytes]) -> None:
    """Make the flash file with the board's volumes; ``contents`` is ``{volume: bytes}``, for ``recovery`` and so on."""
    work = path.with_suffix(".pieces")
    work.mkdir()
    lines = []
    for number, (name, size, kind) in enumerate(volumes(contents)):
        lines += [
            f"[{name}]",
            "mode=ubi",
            f"vol_id={number}",
            f"vol_type={kind}",
            f"vol_name={name}",
            f"vol_size={-(-size // LEB) * LEB}",
        ]
        if name in contents:
            (work / name).write_bytes(contents[name])
            lines.append(f"image={work / name}")
    (work / "ubi.ini").write_text("\n".join(lines) + "\n")
    command(["ubinize", "-p", str(BLOCK), "-m", str(PAGE), "-Q", "1", "-o", work / "ubi.bin", work / "ubi.ini"])
    with open(path, "wb") as image:
        store(image, 0, b"bl2 " * 1024)
        store(image, UBI_OFFSET, (work / "ubi.bin").read_bytes())
        image.truncate(FILE_BYTES)
    shutil.rmtree(work)


def extents(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the place and the bytes of each part of a file that is not a hole."""
    with open(path, "rb") as reader:
        end = os.fstat(reader.fileno()).st_size
        stop = 0
        while stop < end:
            try:
                start = os.lseek(reader.fileno(), stop, os.SEEK_DATA)
            except OSError:  # nothing but a hole is left
                return
            stop = os.lseek(reader.fileno(), start, os.SEEK_HOLE)
            yield start, os.pread(reader.fileno(), stop - start, start)


def copy_sparse(source: Path, target: Path, kept: Iterable[tuple[int, bytes]] | None = None) -> None:
    """Copy a file and leave its holes out; ``kept`` are its :func:`extents`, when they were read before."""
    with open(target, "wb") as writer:
        writer.truncate(os.path.getsize(source))
        for place, data in extents(source) if kept is None else kept:
            os.pwrite(writer.fileno(), data, place)
