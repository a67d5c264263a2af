"""The two ways from the start to a new system in slot B: `upgrade` of the script, and `rauc install`.

Each way can be run to take its time (``timed``) and be recorded to count its writes and to cut it (``recorded``). Its
``systems`` are the slots as they may be after a cut, ``startable`` says which of them the boot loader may start.
"""

import hashlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from .. import images, parts
from ..cuts.action import Place
from ..cuts.box import Box
from ..cuts.recorder import Recorder
from ..router import Router
from ..running import Result
from ..scripts import Bench
from . import boot
from .contest import Run, waited_for
from .devices import BEGIN, END, Devices, copied, partition_range
from .install import Install
from .start import KIND, PLAN, Start

IMAGE = "/tmp/new.itb"
SECONDS = 300
# What U-Boot's part of RAUC begins with: both slots were installed, and A was marked as good.
GOOD = {"BOOT_ORDER": "A B", "BOOT_A_LEFT": "3", "BOOT_B_LEFT": "3"}


class Copied(Router):
    """A router whose images are copies of others; it was furnished before."""

    def __init__(self, folder: str | Path, originals: Mapping[str, Path], **kind: Any) -> None:
        """``originals`` is {name: path}."""
        super().__init__(folder, **kind)
        self.originals = originals

    def make_images(self) -> None:
        """Copy the images instead of making some."""
        copied(self.originals, self.images)
        self.env_tool = images.EnvTool(self.parts["envtools"], self.images, self.medium)
        self.booted_before = True


class ByScript:
    """The script's `upgrade` in the router itself, with the image in RAM."""

    startable = staticmethod(boot.of_script)

    def __init__(self, start: Start, image: str | Path) -> None:
        """``image`` is a sysupgrade image."""
        self.start, self.image = start, Path(image)

    def timed(self, folder: Path) -> Run:
        """Upgrade once, and return the :class:`Run` without the bench's `sysupgrade -T`, a much slower stand-in."""
        with Copied(folder / "router", self.start.images, **KIND) as router:
            bench = self.ready(router)
            check = measured(lambda: router.run(f"sysupgrade -T {IMAGE}").ok())
            return measured(lambda: self.upgrade(bench)) - check

    def recorded(self, folder: Path) -> Path:
        """Upgrade once, recorded, and return the folder of the journal."""
        with Recorder(folder / "record", self.start.images) as recorder:
            with Box(folder / "router", recorder, **KIND) as router:
                bench = self.ready(router)
                recorder.mark(BEGIN)
                self.upgrade(bench)
                router.sync()
                recorder.mark(END)
            recorder.finish()
        return recorder.journal

    def ready(self, router: Router) -> Bench:
        """Switch a router on, put the image there, and return it with the script on it."""
        router.boot()
        router.put(IMAGE, self.image.read_bytes())
        bench = Bench(router, PLAN)
        router.sync()
        return bench

    def upgrade(self, bench: Bench) -> Result:
        """Run the upgrade and return its result."""
        digest = hashlib.sha256(self.image.read_bytes()).hexdigest()
        return bench.sh(f"upgrade {IMAGE} --sha256 {digest} --apply", SECONDS).ok()


class ByRauc:
    """`rauc install` in a Debian of its own, with the bundle in RAM."""

    startable = staticmethod(boot.of_rauc)

    def __init__(self, start: Start, bundle: Path, kind: str) -> None:
        """``bundle`` is the folder of a bundle of this ``kind``: see :mod:`bundle`."""
        self.start, self.bundle, self.kind = start, bundle, kind

    def timed(self, folder: Path) -> Run:
        """Install once, and return the :class:`Run`."""
        with Devices(self.images(folder)) as devices, self.ready(folder, devices) as install:
            return install()

    def recorded(self, folder: Path) -> Path:
        """Install once, recorded, and return the folder of the journal."""
        copies = self.images(folder)
        with Recorder(folder / "record", copies) as recorder:
            with Devices({name: recorder.path(name) for name in copies}) as devices:
                with self.ready(folder, devices) as install:
                    devices.flush()
                    recorder.mark(BEGIN)
                    install()
                devices.flush()
                recorder.mark(END)
            recorder.finish()
        return recorder.journal

    def ready(self, folder: Path, devices: Devices) -> AbstractContextManager[Callable[[], Run]]:
        """Return a context that gives the function that installs."""
        return Install(folder / "system", devices, self.start.layout, self.bundle, self.kind).running()

    def images(self, folder: Path) -> dict[str, Path]:
        """Return copies of the images that RAUC works on: slot B is as A is, and U-Boot has RAUC's variables."""
        layout = self.start.layout
        names = {name for name, _ in layout.places}
        copies = copied({name: path for name, path in self.start.images.items() if name in names}, folder)
        for places in (layout.roots, layout.kernels):
            copy_place(copies, places["A"], places["B"])
        images.EnvTool(parts.build()["envtools"], folder, "nand").set(GOOD)
        return copies


def measured(function: Callable[[], Result]) -> Run:
    """Call a function that runs a command in a router and returns its result; return the :class:`Run`."""
    before = waited_for()
    return Run(function().seconds, waited_for() - before)


def copy_place(copies: Mapping[str, Path], source: Place, target: Place) -> None:
    """Copy one partition or image to another of the same size."""
    begin, end = partition_range(copies[source[0]], source[1])
    to, _ = partition_range(copies[target[0]], target[1])
    with open(copies[source[0]], "rb") as reading, open(copies[target[0]], "r+b") as writing:
        reading.seek(begin)
        writing.seek(to)
        while begin < end:
            data = reading.read(min(1 << 20, end - begin))
            if any(data):
                writing.write(data)
            else:
                writing.seek(len(data), 1)
            begin += len(data)
