"""After every cut of a recorded update: which slots may the boot loader start by itself, and is each of them whole?

That is asked of RAUC and of the script alike. A slot is whole when its kernel has the right bytes and its root file
system, mounted as the next start would do it, has every name, kind, mode, owner, size, time, link and byte.
"""

import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import images, parts
from ..cuts.action import Place
from ..cuts.box import Tree, differences, tree_at
from ..cuts.journal import BLOCK, ZEROS, Cut, History
from ..cuts.moments import Moments
from ..loops import Loop
from .devices import BEGIN, END, partition_range
from .install import ENVIRONMENT

Range = tuple[str, int, int]  # an image, the first byte of a part of it, and the one after its last
NOT_CONTENT = ("/lost+found",)


@dataclass(frozen=True)
class Slot:
    """Where a slot is, and what is right in it.

    ``root`` and ``kernel`` are an image and the number of a partition in it or 0; ``tree`` is what the root must hold,
    ``bytes`` is what the kernel must begin with; names of the tree that match ``allowed`` may differ.
    """

    root: Place
    kernel: Place
    tree: Tree
    bytes: bytes
    allowed: tuple[str, ...] = ()


def tree_of(image: Path) -> Tree | None:
    """Return the tree of the file system in an image, its journal replayed; None when it cannot be mounted or read."""
    with tempfile.TemporaryDirectory() as folder:
        loop = Loop(image)
        try:
            if subprocess.run(["mount", loop.path, folder], capture_output=True, check=False).returncode != 0:
                return None
            try:
                return tree_at(folder, NOT_CONTENT)
            except OSError:
                return None
            finally:
                subprocess.run(["umount", folder], check=True)
        finally:
            loop.detach()


def known_tree(image: Path) -> Tree:
    """Return the tree of the file system in an image that is known to be whole."""
    tree = tree_of(image)
    assert tree is not None, f"{image} cannot be mounted or read"
    return tree


@dataclass
class Report:
    """What came out: power cuts, those after which a slot that may start is not whole, and what was looked at."""

    writes: int = 0
    cuts: int = 0
    bad: list[tuple[Cut, list[str]]] = field(default_factory=list)
    environments: int = 0
    slots: int = 0

    @property
    def note(self) -> str:
        """Return the figures as one line."""
        return (
            f"{self.writes} writes, {self.cuts} power cuts, {self.environments} environments and "
            f"{self.slots} slots looked at"
        )


class States:
    """The states of one recorded update.

    ``systems``, to be set first, are the slots as they may be, {name: [slots]}: a name is whole when one of its slots
    is. ``startable`` gets U-Boot's environment, or None when no copy is valid, and returns what may be started.
    """

    def __init__(
        self, history: History, folder: str | Path, startable: Callable[[dict[str, str] | None], Sequence[str]]
    ) -> None:
        """``folder`` is an empty place for what tools read."""
        self.history, self.startable = history, startable
        self.systems: dict[str, list[Slot]] = {}
        folder = Path(folder)
        folder.mkdir()
        self.env_tool = images.EnvTool(parts.build()["envtools"], folder, "nand")
        self.images = {name: folder / f"{name}.img" for name in ENVIRONMENT}
        self.seen_environments: dict[tuple[tuple[int | None, ...], ...], tuple[str, ...]] = {}
        self.seen_slots: dict[tuple[Any, ...], list[str]] = {}
        self.ranges: dict[Place, tuple[int, int]] = {}
        steps = {mark.text: mark.step for mark in history.marks}
        self.first, self.last = steps[BEGIN], steps[END]

    def examine(self) -> Report:
        """Look at every cut between the marks and return the :class:`Report`."""
        report = Report(writes=sum(self.first < end <= self.last for _, end in self.history.requests))
        for cut in Moments(self.history, self.first, self.last).cuts():
            report.cuts += 1
            faults = self.faults(cut)
            if faults:
                report.bad.append((cut, faults))
        report.environments, report.slots = len(self.seen_environments), len(self.seen_slots)
        return report

    def faults(self, cut: Cut) -> list[str]:
        """Return what is wrong after a cut, as lines."""
        names = self.names(cut)
        found = [] if names else ["there is nothing to start"]
        for name in names:
            wrong = min((self.of_slot(slot, cut) for slot in self.systems[name]), key=len)
            found += [f"{name} may be started and is not whole: {line}" for line in wrong]
        return found

    def names(self, cut: Cut) -> tuple[str, ...]:
        """Return the names of the slots that may be started after a cut."""
        key = tuple(self.key(cut, name, 0, self.size(name)) for name in self.images)
        if key not in self.seen_environments:
            for name, path in self.images.items():
                self.write(cut, name, 0, self.size(name), path)
            self.seen_environments[key] = tuple(self.startable(self.env_tool.all()))
        return self.seen_environments[key]

    def of_slot(self, slot: Slot, cut: Cut) -> list[str]:
        """Return what is wrong in a slot after a cut."""
        places = [(name, *self.range(name, number)) for name, number in (slot.root, slot.kernel)]
        key = (id(slot), *(self.key(cut, *place) for place in places))
        if key not in self.seen_slots:
            self.seen_slots[key] = self.look(slot, cut, *places)
        return self.seen_slots[key]

    def look(self, slot: Slot, cut: Cut, root: Range, kernel: Range) -> list[str]:
        """Mount the root, look at the kernel, and return what is wrong."""
        with tempfile.TemporaryDirectory(dir=self.history.folder) as folder:
            image = Path(folder) / "image"
            self.write(cut, *kernel, image)
            wrong = [] if image.read_bytes().startswith(slot.bytes) else ["the kernel has other bytes"]
            self.write(cut, *root, image)
            tree = tree_of(image)
            return wrong + (
                ["the root cannot be mounted or read"] if tree is None else differences(slot.tree, tree, slot.allowed)
            )

    def tree(self, cut: Cut, place: Place) -> Tree:
        """Return the tree of a partition, or of a whole image, after a cut."""
        with tempfile.TemporaryDirectory(dir=self.history.folder) as folder:
            image = Path(folder) / "image"
            self.write(cut, place[0], *self.range(*place), image)
            return known_tree(image)

    def content(self, cut: Cut, place: Place) -> bytes:
        """Return the bytes of a partition, or of a whole image, after a cut."""
        with tempfile.TemporaryDirectory(dir=self.history.folder) as folder:
            image = Path(folder) / "image"
            self.write(cut, place[0], *self.range(*place), image)
            return image.read_bytes()

    def range(self, name: str, number: int) -> tuple[int, int]:
        """Return the first byte of a partition and the one after its last."""
        if (name, number) not in self.ranges:
            self.ranges[name, number] = partition_range(self.history.images[name], number)
        return self.ranges[name, number]

    def size(self, name: str) -> int:
        """Return the bytes of an image."""
        return os.path.getsize(self.history.images[name])

    def key(self, cut: Cut, name: str, begin: int, end: int) -> tuple[int | None, ...]:
        """Return what is the same only for cuts after which this part of an image is the same."""
        blocks = sorted(block for block in self.history.versions[name] if begin <= block * BLOCK < end)
        return tuple(self.history.place(cut, name, block) for block in blocks)

    def write(self, cut: Cut, name: str, begin: int, end: int, path: Path) -> None:
        """Write a part of an image, as the cut leaves it, into a file; holes stay holes."""
        history = self.history
        with (
            open(path, "wb") as target,
            open(history.images[name], "rb") as base,
            open(history.folder / "data", "rb") as data,
        ):
            target.truncate(end - begin)
            for block in history.filled[name] | history.versions[name].keys():
                if not begin <= block * BLOCK < end:
                    continue
                where = history.place(cut, name, block)
                if where != ZEROS:
                    source, at = (base, block * BLOCK) if where is None else (data, where)
                    os.pwrite(target.fileno(), os.pread(source.fileno(), BLOCK, at), block * BLOCK - begin)
