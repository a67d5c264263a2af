"""Where both ways begin: a router that the script gave two slots, started from slot a; and the two ways from there."""

import hashlib
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from .. import images, parts
from ..router import Disk, Router
from ..scripts import SERIAL, Bench
from ..ubi import VOLUME_IMAGES, Table
from . import install
from .contest import Run, copied
from .devices import Devices, counts, difference

KIND = {"medium": "nand", "slots": True, "services": False, "kernel_nvme": "builtin",
        "packages": ("block-mount", "sfdisk"), "disks": (Disk(size=4 * images.GiB),), "data_bytes": 16 * images.MiB}
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
IMAGE = "/tmp/new.itb"
GROWING_SECONDS = 60
# What U-Boot's part of RAUC begins with: slot A was marked as good.
GOOD = {"BOOT_ORDER": "A B", "BOOT_A_LEFT": "3", "BOOT_B_LEFT": "3"}


class Copied(Router):
    """A router whose images are copies of others; it was furnished before."""

    def __init__(self, folder, originals, **kind):
        """``originals`` is {name: path}."""
        super().__init__(folder, **kind)
        self.originals = originals

    def make_images(self):
        """Copy the images instead of making some."""
        copied(self.originals, self.images)
        self.env_tool = images.EnvTool(self.parts["envtools"], self.images, self.medium)
        self.booted_before = True


@dataclass(frozen=True)
class Start:
    """The images of the router that is where both ways begin, {name: path}, and where the slots are in them."""

    images: dict
    layout: install.Layout


def make(folder):
    """Make the router in a folder and return the :class:`Start`."""
    with Router(folder, **KIND) as router:
        router.boot()
        Bench(router, PLAN).sh("install --apply").ok()
        router.reboot()
        if router.chose.slot != "a":
            raise AssertionError(f"U-Boot started {router.chose.chose}\n" + "\n".join(router.chose.said))
        router.sync()
        found = {path.stem: path for path in sorted(router.images.glob("*.img"))}
        table = Table.read(router.images)
    for number in (1, 3):
        grow_old(found["nvme0"], number)
    kernels = {slot: (VOLUME_IMAGES[table.find(f"fit_{slot.lower()}").number], 0) for slot in ("A", "B")}
    roots = {"A": ("nvme0", 1), "B": ("nvme0", 2)}
    return Start(found, install.Layout(roots, kernels, ("nvme0", 3)))


def grow_old(image, number):
    """Let the kernel finish a file system that was made a moment ago, as it does in the first minutes of its use.

    The tables of inodes are zeroed then (ext4lazyinit): writes that are no part of an update of another partition.
    """
    with Devices({"disk": image}) as devices, tempfile.TemporaryDirectory() as folder:
        node = devices.node("disk", number)
        subprocess.run(["mount", "-o", "init_itable=0", node, folder], check=True)
        try:
            end = time.monotonic() + GROWING_SECONDS
            while tables_to_zero(node):
                if time.monotonic() > end:
                    raise TimeoutError(f"{node}: the kernel does not zero its tables of inodes")
                time.sleep(0.2)
                subprocess.run(["sync", "-f", folder], check=True)
        finally:
            subprocess.run(["umount", folder], check=True)


def tables_to_zero(node):
    """Return how many groups of a file system have a table of inodes that the kernel has not zeroed yet."""
    told = subprocess.run(["dumpe2fs", node], check=True, capture_output=True, text=True).stdout
    return len([line for line in told.splitlines() if re.match(r"Group \d", line) and "ITABLE_ZEROED" not in line])


def upgrade_command(image):
    """Return the command line of the script that brings an image, which is in RAM, into the idle slot."""
    return f"upgrade {IMAGE} --sha256 {hashlib.sha256(Path(image).read_bytes()).hexdigest()} --apply"


def by_script(start, image):
    """Return the way of the script, for :func:`contest.contest`."""
    def way(folder):
        """Upgrade once."""
        with Copied(folder / "router", start.images, **KIND) as router:
            bench = ready(router, image)
            loops = {name: loop for name, loop in router.loops.items() if name != "root"}
            before = counts(loops)
            result = bench.sh(upgrade_command(image)).ok()
            return Run(result.seconds, difference(before, counts(loops)))
    return way


def ready(router, image):
    """Switch a router on, put the image there, and return it with the script on it."""
    router.boot()
    router.put(IMAGE, Path(image).read_bytes())
    bench = Bench(router, PLAN)
    router.sync()
    return bench


def by_rauc(start, bundle, kind):
    """Return RAUC's way with a bundle of this kind, for :func:`contest.contest`."""
    def way(folder):
        """Install once."""
        with Devices(for_rauc(start, folder)) as devices:
            with install.Install(folder / "rauc", devices, start.layout, bundle, kind).running() as go:
                before = counts(devices.loops)
                seconds = go()
            return Run(seconds, difference(before, counts(devices.loops)))
    return way


def for_rauc(start, folder):
    """Return copies of the images that RAUC works on, with its variables in U-Boot's environment."""
    names = {name for name, _ in start.layout.places}
    copies = copied({name: path for name, path in start.images.items() if name in names}, folder)
    images.EnvTool(parts.build()["envtools"], folder, "nand").set(GOOD)
    return copies
