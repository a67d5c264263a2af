"""Where both ways begin: a router that the script gave two slots, started from slot a, and no longer new."""

import re
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import images
from ..router import Disk, Router
from ..scripts import SERIAL, Bench
from ..ubi import VOLUME_IMAGES, Table
from .devices import Devices
from .install import Layout

KIND: dict[str, Any] = {
    "medium": "nand",
    "slots": True,
    "services": False,
    "kernel_nvme": "builtin",
    "packages": ("block-mount", "sfdisk"),
    "disks": (Disk(size=4 * images.GiB),),
    "data_bytes": 16 * images.MiB,
}
PLAN = f"""\
version: 1
name: bench
board: {{model: bpi-r4}}
firmware: {{release: "25.12", kernel: nvme-builtin}}
boot: {{medium: nand}}
media:
  ssd:
    type: nvme
    serial: {SERIAL}
    partitions:
      - {{name: root-a, size: 1GiB, filesystem: ext4}}
      - {{name: root-b, size: 1GiB, filesystem: ext4}}
      - {{name: data, size: rest, filesystem: ext4, mount: /srv}}
root: {{method: cmdline}}
slots:
  a: {{root: root-a}}
  b: {{root: root-b}}
"""
ROOTS, DATA = {"A": ("nvme0", 1), "B": ("nvme0", 2)}, ("nvme0", 3)
AGEING_SECONDS = 60


@dataclass(frozen=True)
class Start:
    """The images of the router, {name: path}, and where the slots are in them."""

    images: dict[str, Path]
    layout: Layout


def make(folder: Path) -> Start:
    """Make the router in a folder and return the :class:`Start`."""
    with Router(folder, **KIND) as router:
        router.boot()
        Bench(router, PLAN).sh("install --apply").ok()
        router.reboot()
        if router.chose.slot != "a":
            raise AssertionError("\n".join([f"U-Boot started {router.chose.chose}", *router.chose.said]))
        router.sync()
        found = {path.stem: path for path in sorted(router.images.glob("*.img"))}
        table = Table.read(router.images)
    for image, number in (ROOTS["A"], DATA):
        age(found[image], number)
    kernels = {slot: (VOLUME_IMAGES[number_of(table, f"fit_{slot.lower()}")], 0) for slot in ROOTS}
    return Start(found, Layout(ROOTS, kernels, DATA))


def number_of(table: Table, name: str) -> int:
    """Return the number of a volume that is there."""
    volume = table.find(name)
    assert volume, f"there is no volume {name}"
    return volume.number


def age(image: Path, number: int) -> None:
    """Let the kernel finish a file system that was made a moment ago, as it does in the first minutes of its use.

    It zeroes the tables of inodes then (ext4lazyinit): writes that are no part of the update of another partition.
    """
    with Devices({"disk": image}) as devices, tempfile.TemporaryDirectory() as folder:
        node = devices.node("disk", number)
        subprocess.run(["mount", "-o", "init_itable=0", node, folder], check=True)
        try:
            end = time.monotonic() + AGEING_SECONDS
            while tables_to_zero(node):
                if time.monotonic() > end:
                    raise TimeoutError(f"{node}: the kernel does not zero its tables of inodes")
                time.sleep(0.2)
                subprocess.run(["sync", "-f", folder], check=True)
        finally:
            subprocess.run(["umount", folder], check=True)


def tables_to_zero(node: str) -> int:
    """Return how many groups of a file system have a table of inodes that the kernel has not zeroed yet."""
    told = subprocess.run(["dumpe2fs", node], check=True, capture_output=True, text=True).stdout
    return len([line for line in told.splitlines() if re.match(r"Group \d", line) and "ITABLE_ZEROED" not in line])
