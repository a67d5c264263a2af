"""A router whose images come from a recorder, and what an observer outside sees of it."""

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Collection, Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

from .. import images, slots
from ..fitread import Fit, read
from ..router import Router
from ..running import Result
from .action import Place, Seen
from .recorder import Recorder

SET_READ_AHEAD = 0x1262  # BLKRASET, in sectors
READ_AHEAD_SECTORS = 64  # reading far ahead would make it look as if everything had been looked at
TREE_SECTORS = 128  # the device tree at the beginning of a FIT is smaller
KERNEL = "(kernel)"
NOT_SYSTEM = ("proc", "sys", "dev", "tmp", "rom", "overlay", ".rig")


class Box(Router):
    """A router on the recorder's images. It was furnished before they became the base, and is not furnished again."""

    def __init__(self, folder: Path, recorder: Recorder, **kind: Any) -> None:
        """``kind`` is what the router was made with that the images come from."""
        super().__init__(folder, **kind)
        self.recorder = recorder

    def make_images(self) -> None:
        """Take the recorder's images instead of making some."""
        for name in self.recorder.images:
            self.image(name).symlink_to(self.recorder.path(name))
        self.env_tool = images.EnvTool(self.parts["envtools"], self.images, self.medium)
        self.booted_before = True

    def attach(self) -> None:
        """Attach the loop devices, and let the kernel read ahead only a little."""
        super().attach()
        for loop in self.loops.values():
            fcntl.ioctl(loop.descriptor, SET_READ_AHEAD, READ_AHEAD_SECTORS)

    def traced(self, command: str, tracer: Path, point: int, marks: int = -1, timeout: float = 120) -> Result:
        """Run a command under the tracer: it is killed at ``point``; with 0 its points go to the socket ``marks``."""
        running = self.start(command, under=(str(tracer), str(marks), str(point)), keep=(marks,) if marks >= 0 else ())
        try:
            return running.wait(timeout)
        finally:
            self.running.remove(running)

    def see(self, path: str) -> str:
        """Return where the host finds a path of the router."""
        return f"/proc/{self.pid}/root{path}"

    def partition_of(self, path: str) -> Place | None:
        """Return (image, partition number) of the device a folder is on, with 0 for a whole image; None for others."""
        device = os.stat(self.see(path)).st_dev
        number = (os.major(device), os.minor(device))
        for name, loop in self.loops.items():
            if loop.number == number:
                return name, 0
            for entry in Path(f"/sys/dev/block/{loop.number[0]}:{loop.number[1]}").glob("loop*/partition"):
                if (entry.parent / "dev").read_text().strip() == f"{number[0]}:{number[1]}":
                    return name, int(entry.read_text())
        return None

    def root(self) -> Seen:
        """Return how the router runs: ``overlay`` or ``root``, and the image and partition that hold it.

        With slots, what U-Boot chose comes third.
        """
        kinds = [kind for _, target, kind, _ in self.mounts() if target == "/"]
        kind, path = ("overlay", "/overlay") if kinds[-1] == "overlay" else ("root", "/")
        place = self.partition_of(path)
        return (kind, place, self.chose.chose) if self.slots else (kind, place)

    def tree(self) -> "Tree":
        """Return what is at / without what is mounted on it: {path: :class:`Entry`}; with slots its kernel, too."""
        mounted = {target for _, target, *_ in self.mounts()} - {"/"}
        found = tree_at(self.see("/"), {*mounted, *(f"/{name}" for name in NOT_SYSTEM)})
        if self.slots:
            assert self.chose.fit, "a system runs"
            found[KERNEL] = kernel_entry(self.chose.fit)
        return found

    def root_of_firmware(self) -> bytes | None:
        """Return the squashfs that the kernel finds as /dev/fit0; of a card's large partition only the FIT is read."""
        if self.medium == "nand":
            return super().root_of_firmware()
        card = slots.Card(self.images)
        first, _ = slots.partitions(card.path)[slots.PRODUCTION[self.medium]]
        size = read(card.sectors(first, TREE_SECTORS)).size
        return read(card.sectors(first, -(-size // slots.SECTOR))).rootfs()

    def lose_ram(self) -> None:
        """Let what a crash left in RAM be gone, as it is when the power was."""
        for path in self.ram.glob("*/*"):
            path.unlink()


class Entry(NamedTuple):
    """What is known of a name in a tree. ``content`` is a digest, a link's target or a device's number."""

    kind: int
    mode: int
    owner: tuple[int, ...]
    size: int
    time: int
    links: int
    content: str
    attributes: tuple[tuple[str, bytes], ...]


Tree = dict[str, Entry]


def kernel_entry(fit: Fit) -> Entry:
    """Return the :class:`Entry` for the FIT that was started; the trees of two slots differ in it, too."""
    whole = fit.data[: fit.size]
    return Entry(0, 0, (), len(whole), 0, 0, hashlib.blake2b(whole).hexdigest(), ())


def tree_at(folder: str, without: Collection[str] = ()) -> Tree:
    """Return {path: :class:`Entry`} of a folder; the names in ``without`` and what is below them are left out."""
    found = {}
    waiting = [""]
    base = folder.rstrip("/")
    while waiting:
        above = waiting.pop()
        with os.scandir(f"{base}{above}/") as names:
            for name in names:
                path = f"{above}/{name.name}"
                if path in without:
                    continue
                found[path] = entry_at(name.path)
                if found[path].kind == stat.S_IFDIR:
                    waiting.append(path)
    return found


def entry_at(path: str) -> Entry:
    """Return the :class:`Entry` of one name."""
    info = os.lstat(path)
    kind = stat.S_IFMT(info.st_mode)
    content, size, time, links = "", 0, 0, 0
    if kind == stat.S_IFREG:
        size, time, links = info.st_size, int(info.st_mtime), info.st_nlink
        with open(path, "rb") as file:
            content = hashlib.file_digest(file, "blake2b").hexdigest()
    elif kind == stat.S_IFLNK:
        content = os.readlink(path)
    elif kind in (stat.S_IFCHR, stat.S_IFBLK):
        content = f"{os.major(info.st_rdev)}:{os.minor(info.st_rdev)}"
    return Entry(
        kind, stat.S_IMODE(info.st_mode), (info.st_uid, info.st_gid), size, time, links, content, attributes_at(path)
    )


def attributes_at(path: str) -> tuple[tuple[str, bytes], ...]:
    """Return the extended attributes of a name, those of overlayfs left out."""
    try:
        names = [name for name in os.listxattr(path, follow_symlinks=False) if not name.startswith("trusted.overlay.")]
        return tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in sorted(names))
    except OSError as problem:
        if problem.errno in (errno.ENOTSUP, errno.ENODATA):
            return ()
        raise


def differences(want: Tree, have: Tree, allowed: Iterable[str] = ()) -> list[str]:
    """Return a line for each of the first five names in which two trees differ.

    ``allowed`` are patterns of paths that may differ; one that ends with a slash allows everything below it.
    """
    found = []
    for path in sorted({*want, *have}):
        if want.get(path) == have.get(path):
            continue
        if any(fnmatch(path, one) or (one.endswith("/") and (path + "/").startswith(one)) for one in allowed):
            continue
        before, after = want.get(path), have.get(path)
        if before is None or after is None:
            found.append(f"{path} is {'not there' if after is None else 'there and should not be'}")
        else:
            fields = [name for name, one, other in zip(Entry._fields, before, after, strict=True) if one != other]
            found.append(f"{path}: another {', '.join(fields)}")
    return found[:5]
