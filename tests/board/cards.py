"""Card images for the bench: as OpenWrt makes them, compressed, with a table, a system, and parts to tell apart."""

import gzip
import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import images
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


def squashfs(folder):
    """Return a small real squashfs."""
    tree = folder / "squashfs-root"
    tree.mkdir(exist_ok=True)
    (tree / "file").write_bytes(hashlib.shake_128(b"file").digest(SMALL_SYSTEM))
    subprocess.run(["mksquashfs", tree, folder / "small.squashfs", "-quiet", "-noappend", "-comp", "gzip", "-no-progress"],
                   check=True, capture_output=True)
    return (folder / "small.squashfs").read_bytes()


def system(folder):
    """Return what stands in production: a FIT as far as the script reads it, and metadata behind it."""
    header = b"\xd0\x0d\xfe\xed" + b"kernel and device trees " * 900
    root = squashfs(folder)
    return header.ljust(-(-len(header) // 4096) * 4096, b"\0") + root.ljust(-(-len(root) // 4096) * 4096, b"\0") + b"metadata FWx0"


def content(fit, recovery=b""):
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
    return bytes(image) + fit


def make(folder, name=FILE, change=lambda data: data, behind=b""):
    """Make an image in ``folder``; ``change`` gets the bytes before they are compressed, ``behind`` follows the stream."""
    data = change(content(system(folder)))
    path = folder / name
    path.write_bytes(gzip.compress(data, 1, mtime=0) + behind)
    return of_file(path, data)


def of_file(path, data=b""):
    """Return the :class:`CardImage` of a file."""
    return CardImage(path, hashlib.sha256(path.read_bytes()).hexdigest(), data)


def plan_lines(image, name=FILE):
    """Return the section of a plan for this image."""
    return f'fallback:\n  medium: sd\n  image: {{file: {name}, sha256: "{image.sha256}"}}\n'
