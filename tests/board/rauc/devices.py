"""The devices of an update: images as block devices, and what a recorded run wrote to them."""

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ..cuts.journal import MARK, RECORD, WRITE, Record
from ..loops import Loop

SECTOR = 512
BEGIN, END = "begin", "end"  # the marks of a recorded run


def partition_range(image: str | Path, number: int) -> tuple[int, int]:
    """Return the first byte of a partition of an image, and the one after its last; all of it for number 0."""
    if number == 0:
        return 0, os.path.getsize(image)
    words = ["partx", "-g", "-r", "-b", "-o", "START,SIZE", "-n", str(number), str(image)]
    start, size = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    return int(start) * SECTOR, int(start) * SECTOR + int(size)


@dataclass(frozen=True)
class Written:
    """What was written to a device: bytes, in whole blocks of 4096, and the requests they came in."""

    bytes: int = 0
    requests: int = 0

    def __add__(self, other: "Written") -> "Written":
        """Return the sum of both."""
        return Written(self.bytes + other.bytes, self.requests + other.requests)


def written(journal: Path) -> dict[str, Written]:
    """Return {image: :class:`Written`} between the marks of a recorded run.

    A request to make zeros, which has no data, is no write: mkfs asks the disk for many of them.
    """
    names = sorted(json.loads((journal / "images.json").read_text()))
    found: dict[str, Written] = {}
    counting = False
    with open(journal / "data", "rb") as data:
        for record in map(Record._make, RECORD.iter_unpack((journal / "records").read_bytes())):
            if record.kind == MARK:
                counting = os.pread(data.fileno(), record.length, record.place).decode() == BEGIN
            elif record.kind == WRITE and counting:
                name = names[record.image]
                found[name] = found.get(name, Written()) + Written(record.length, 1)
    return found


class Devices:
    """Images as loop devices, while the block runs."""

    def __init__(self, images: Mapping[str, Path]) -> None:
        """``images`` is {name: path}; what has a partition table gets partitions, also on a kernel without GPT."""
        self.images = images
        self.loops: dict[str, Loop] = {}

    def __enter__(self) -> Self:
        """Attach."""
        try:
            for name, path in self.images.items():
                self.loops[name] = Loop(path, partitions=True)
                subprocess.run(["partx", "-u", self.loops[name].path], check=False, capture_output=True)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Let go."""
        for loop in self.loops.values():
            loop.detach()

    def flush(self) -> None:
        """Write what the devices' caches hold into the images."""
        for loop in self.loops.values():
            loop.flush()

    def node(self, name: str, number: int = 0) -> str:
        """Return the path of a device, or of one of its partitions."""
        return f"{self.loops[name].path}p{number}" if number else self.loops[name].path


def copied(images: Mapping[str, Path], folder: str | Path) -> dict[str, Path]:
    """Return {name: path} of copies of images in a folder; holes stay holes."""
    copies = {}
    for name, path in images.items():
        copies[name] = Path(folder) / f"{name}.img"
        subprocess.run(["cp", "--sparse=always", path, copies[name]], check=True)
    return copies
