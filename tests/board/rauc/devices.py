"""The devices of an update: images as block devices, and how much is written to them."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..images import GiB, MiB
from ..loops import Loop

SECTOR = 512
WRITES, SECTORS_WRITTEN = 4, 6  # fields of /sys/block/*/stat


def partitioned(path, sizes, total=GiB):
    """Make an image with a GPT of partitions: {name: MiB, or None for the rest}."""
    with open(path, "wb") as image:
        image.truncate(total)
    lines = [f'name="{name}"' + (f", size={size * MiB // SECTOR}" if size else "") for name, size in sizes.items()]
    subprocess.run(["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", path], input="label: gpt\n" + "\n".join(lines),
                   text=True, check=True, capture_output=True)


def partition_range(image, number):
    """Return the first byte of a partition of an image, and the one after its last; all of it for number 0."""
    if number == 0:
        return 0, Path(image).stat().st_size
    words = ["partx", "-g", "-r", "-b", "-o", "START,SIZE", "-n", str(number), str(image)]
    start, size = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    return int(start) * SECTOR, int(start) * SECTOR + int(size)


@dataclass(frozen=True)
class Written:
    """What was written to one device: bytes, and the requests they came in."""

    bytes: int
    requests: int


def counted(loop):
    """Return what has been :class:`Written` to a loop device so far, as the kernel counts it."""
    major, minor = loop.number
    fields = Path(f"/sys/dev/block/{major}:{minor}/stat").read_text().split()
    return Written(int(fields[SECTORS_WRITTEN]) * SECTOR, int(fields[WRITES]))


def counts(loops):
    """Return {name: :class:`Written`} of loop devices, after everything that waits was written."""
    for loop in loops.values():
        loop.flush()
    return {name: counted(loop) for name, loop in loops.items()}


def difference(before, after):
    """Return {name: :class:`Written`} between two counts."""
    return {name: Written(count.bytes - before[name].bytes, count.requests - before[name].requests)
            for name, count in after.items()}


class Devices:
    """Images as loop devices, while the block runs."""

    def __init__(self, images):
        """``images`` is {name: path}; what has a partition table gets partitions, also on a kernel that reads no GPT."""
        self.images, self.loops = images, {}

    def __enter__(self):
        """Attach."""
        try:
            for name, path in self.images.items():
                self.loops[name] = Loop(path, partitions=True)
                subprocess.run(["partx", "-u", self.loops[name].path], check=False, capture_output=True)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        """Let go."""
        for loop in self.loops.values():
            loop.detach()

    def node(self, name, number=0):
        """Return the path of a device, or of one of its partitions."""
        return f"{self.loops[name].path}p{number}" if number else self.loops[name].path
