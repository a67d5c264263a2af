"""Card images for the bench: as OpenWrt makes them, compressed, with a table, a system, and parts to tell apart."""

import contextlib
import errno
import gzip
import hashlib
import os
import shutil
import signal
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import images
from .cache import command
from .cuts import fuse
from .images import KiB, MiB
from .sandbox import gpt

FILE = "openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-sdcard.img.gz"
SMALL_SYSTEM = 300 * KiB
INSTALL = {"bl2-nand": 44 * MiB, "fip-nand": 45 * MiB, "bl2-emmc": 51 * MiB, "fip-emmc": 52 * MiB, "gpt-emmc": 56 * MiB}


@dataclass(frozen=True)
class CardImage:
    """A compressed image of a card: its file, its SHA-256, and what it unpacks to."""

    path: Path
    sha256: str
    content: bytes


def squashfs(folder: Path) -> bytes:
    """Return a small real squashfs."""
    tree = folder / "squashfs-root"
    tree.mkdir(exist_ok=True)
    (tree / "file").write_bytes(hashlib.shake_128(b"file").digest(SMALL_SYSTEM))
    subprocess.run(
        ["mksquashfs", tree, folder / "small.squashfs", "-quiet", "-noappend", "-comp", "gzip", "-no-progress"],
        check=True,
        capture_output=True,
    )
    return (folder / "small.squashfs").read_bytes()


def noise() -> bytes:
    """Return a system that only looks like one, always the same: a squashfs's superblock, and nothing in it."""
    root = bytearray(hashlib.shake_128(b"root").digest(SMALL_SYSTEM))
    root[:48] = struct.pack("<4s24xHHQQ", b"hsqs", 4, 0, 0, len(root))
    return fit(bytes(root))


def fit(root: bytes) -> bytes:
    """Return what stands in production: a FIT as far as the script reads it, with that squashfs, then metadata."""
    header = b"\xd0\x0d\xfe\xed" + b"kernel and device trees " * 900
    return (
        header.ljust(-(-len(header) // 4096) * 4096, b"\0")
        + root.ljust(-(-len(root) // 4096) * 4096, b"\0")
        + b"metadata FWx0"
    )


def content(system: bytes, recovery: bytes = b"") -> bytes:
    """Return the bytes of a card's image: the board's table with its hybrid MBR, and something in each part."""
    image = bytearray(64 * MiB)
    table = gpt.stock("sd")
    image[: len(table)] = table
    for name, offset, _ in images.GPT["sd"]:
        if name in ("bl2", "fip", "recovery"):
            data = recovery if name == "recovery" and recovery else hashlib.shake_128(name.encode()).digest(200 * KiB)
            image[offset * KiB : offset * KiB + len(data)] = data
    for name, place in INSTALL.items():
        image[place : place + 6000] = name.encode() * (6000 // len(name)) + bytes(6000 % len(name))
    return bytes(image) + system


def make(
    folder: Path, name: str = FILE, change: Callable[[bytes], bytes] = lambda data: data, system: bytes | None = None
) -> CardImage:
    """Make an image in ``folder`` with that system; ``change`` gets the bytes before they are compressed."""
    data = change(content(fit(squashfs(folder)) if system is None else system))
    path = folder / name
    path.write_bytes(gzip.compress(data, 1, mtime=0))
    return of_file(path, data)


def of_file(path: Path, data: bytes = b"") -> CardImage:
    """Return the :class:`CardImage` of a file."""
    return CardImage(path, hashlib.sha256(path.read_bytes()).hexdigest(), data)


def plan_lines(image: CardImage, name: str = FILE) -> str:
    """Return the section of a plan for this image."""
    return f'fallback:\n  medium: sd\n  image: {{file: {name}, sha256: "{image.sha256}"}}\n'


def faults_of(card: Path, image: CardImage, folder: Path, script: str = "", plan: str = "") -> list[str]:
    """Return what is wrong with a finished card, seen from outside; with ``script`` and ``plan`` also in its kit."""
    folder.mkdir(parents=True, exist_ok=True)
    want = image.content
    with open(card, "rb") as file:
        have = file.read(len(want))
        size = file.seek(0, 2)
    faults = [
        f"{name} differs"
        for name, first, end in (
            ("mbr", 0, 512),
            ("bl2 to environment", 17 * KiB, 4 * MiB),
            ("the rest", 4608 * KiB, len(want)),
        )
        if have[first:end] != want[first:end]
    ]
    lines = command(["sfdisk", "--dump", card]).splitlines()
    table = [line.partition(" : ")[2] for line in lines if " : start=" in line]
    whole = folder / "table.img"
    images.sparse(whole, images.GPT_BYTES)
    images.fill_front(whole, want[:MiB])
    stock = [
        line.partition(" : ")[2] for line in command(["sfdisk", "--dump", whole]).splitlines() if " : start=" in line
    ]
    if table[:-1] != stock or 'name="bootplan"' not in table[-1]:
        return [*faults, f"table: {table}"]
    first, last = (gpt.header_of(gpt.read(card, place)) for place in (1, size // gpt.SECTOR - 1))
    if first is None or last is None or first[6] != size // gpt.SECTOR - 1:
        faults.append("the table does not end with the card")
    return faults + kit_faults(card, table[-1], folder, script, plan)


def kit_faults(card: Path, line: str, folder: Path, script: str, plan: str) -> list[str]:
    """Return what is wrong with the kit in the partition of that line."""
    start, size = (int(one.partition("=")[2]) for one in line.split(", ")[:2])
    part, files = folder / "kit.img", folder / "kit"
    with open(card, "rb") as reading, open(part, "wb") as writing:
        reading.seek(start * 512)
        writing.write(reading.read(size * 512))
    if files.exists():
        shutil.rmtree(files)
    files.mkdir()
    if subprocess.run(["e2fsck", "-fn", part], check=False, capture_output=True).returncode:
        return ["the kit's file system is damaged"]
    command(["debugfs", "-R", f"rdump / {files}", part])
    faults = []
    if subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=files, check=False, capture_output=True).returncode:
        faults.append("the sums of the kit")
    for name, text in (("r4.sh", script), ("plan.yaml", plan)):
        if text and (files / name).read_text() != text:
            faults.append(f"{name} in the kit")
    if not (files / "about").exists() or "made-at " not in (files / "about").read_text():
        faults.append("no about in the kit")
    return faults


class Faulty:
    """A disk for :mod:`cuts.fuse` that is not what it seems; ``image`` is its name and path.

    ``breaks`` after so many bytes were written; ``real`` bytes are there and what is beyond them lands in them again;
    ``flips`` a bit of what is written at that place; ``bad`` is a byte that cannot be read.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        breaks: int | None = None,
        real: int | None = None,
        flips: int | None = None,
        bad: int | None = None,
    ) -> None:
        """Open the image."""
        self.names, self.size = [name], {name: path.stat().st_size}
        self.file = open(path, "r+b", buffering=0)  # noqa: SIM115 - as long as the disk is there
        self.breaks, self.real, self.flips, self.bad, self.written = breaks, real, flips, bad, 0

    def place(self, offset: int) -> int:
        """Return where that offset really is."""
        return offset % self.real if self.real else offset

    def read(self, _: str, offset: int, length: int) -> bytes:
        """Read, where it can be."""
        if self.bad is not None and offset <= self.bad < offset + length:
            raise OSError(errno.EIO, "worn out")
        self.file.seek(self.place(offset))
        return self.file.read(length)

    def write(self, _: str, offset: int, data: bytes) -> None:
        """Write, as far as it does."""
        self.written += len(data)
        if self.breaks is not None and self.written > self.breaks:
            raise OSError(errno.EIO, "pulled out")
        if self.flips is not None and offset <= self.flips < offset + len(data):
            changed = bytearray(data)
            changed[self.flips - offset] ^= 1
            data = bytes(changed)
        self.file.seek(self.place(offset))
        self.file.write(data)

    def zero(self, name: str, offset: int, length: int) -> None:
        """Discard."""
        self.write(name, offset, bytes(length))

    def flush(self, _: str) -> None:
        """Nothing is kept back."""


@contextlib.contextmanager
def served(folder: Path, disks: Faulty) -> Iterator[Path]:
    """Serve faulty disks as files in ``folder``, from a process of its own."""
    folder.mkdir()
    requests = fuse.mount(folder)
    pid = os.fork()
    if pid == 0:
        try:
            files = fuse.Files(requests, disks)
            while files.serve_one():
                pass
        finally:
            os._exit(0)
    os.close(requests)
    try:
        yield folder
    finally:
        fuse.unmount(folder)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
