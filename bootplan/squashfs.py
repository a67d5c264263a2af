"""What is in a squashfs, as far as a plan needs to know it.

The library that reads it trusts the image; so it gets a window that ends, sums that are bounded, and a budget: whatever
is in an image, looking into it takes a limited time and memory.
"""

import io
import lzma
import re
import struct
import zlib
from dataclasses import dataclass
from itertools import islice
from typing import Any

from dissect.squashfs import SquashFS  # type: ignore[import-untyped]

from bootplan.window import Damaged, Window

# fs/squashfs/squashfs_fs.h in Linux: struct squashfs_super_block.
_SUPER = struct.Struct("<5I6H8Q")
_MAGIC = 0x73717368
_LARGEST_BLOCK = 1 << 20
_METADATA_BYTES = 8192
_MOST_INODES, _MOST_FRAGMENTS = 1 << 20, 1 << 18
_GZIP, _LZMA, _XZ = 1, 2, 4
_BUDGET_BYTES = 96 << 20
_BLOCK_COST = 256
_MOST_ENTRIES = 20_000
_LARGEST_FILE = 8 << 20
_MOST_LINKS = 8
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")


@dataclass(frozen=True)
class System:
    """The system in an image: release and target, the kernel its modules are for, what is installed.

    *packages* is None when no package manager's list was found.
    """

    release: str
    target: str
    kernels: tuple[str, ...]
    packages: frozenset[str] | None
    has_init: bool
    has_block: bool
    has_nvme_module: bool
    knows_overlay_name: bool


def read_system(window: Window) -> System:
    """The system in the squashfs *window*; raises Damaged."""
    size = _check_super(window)
    try:
        return _Tree(_Bounded(window.part(0, size))).system()
    except Damaged:
        raise
    except Exception as error:  # whatever the library stumbles over, the image is what is wrong
        raise Damaged(f"its squashfs cannot be read ({type(error).__name__})") from None


def _check_super(window: Window) -> int:
    """The size that a sane superblock tells; what the library would believe is looked at first."""
    fields = _SUPER.unpack(window.read(0, _SUPER.size))
    magic, inodes, _, block_size, fragments, compression, block_log, _, _, major = fields[:10]
    size: int = fields[12]
    if magic != _MAGIC or major != 4:
        raise Damaged("its file system is no squashfs 4")
    if not 4096 <= block_size <= _LARGEST_BLOCK or block_size != 1 << min(block_log, 32):
        raise Damaged(f"its squashfs has blocks of {block_size} bytes")
    if inodes > _MOST_INODES or fragments > _MOST_FRAGMENTS:
        raise Damaged(f"its squashfs claims {inodes} files and {fragments} fragments")
    if compression not in (_GZIP, _LZMA, _XZ):
        raise Damaged(f"its squashfs is compressed in way {compression}; known are gzip, lzma and xz")
    if size > window.size:
        raise Damaged(f"its squashfs has {size} bytes, of which {window.size} are here")
    return size


class _Spent(Damaged):
    """Looking into an image took more than any image needs."""


class _Stream(io.RawIOBase):
    """A window as the stream that the library wants, paid from the budget."""

    def __init__(self, window: Window, budget: "_Budget") -> None:
        super().__init__()
        self._window, self._budget, self._at = window, budget, 0

    def seek(self, offset: int, whence: int = 0) -> int:
        base = {0: 0, 1: self._at, 2: self._window.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._window.size - self._at)
        size = left if size is None or size < 0 else min(size, left)
        self._budget.pay(size)
        data = self._window.read(self._at, size)
        self._at += size
        return data


class _Budget:
    """How many more bytes may be read and unpacked."""

    def __init__(self) -> None:
        self._left = _BUDGET_BYTES

    def pay(self, size: int) -> None:
        self._left -= size + _BLOCK_COST
        if self._left < 0:
            raise _Spent("its squashfs has more in it than an image of this board can have")


class _Unpacking:
    """The library's decompression, which gives no more than is expected."""

    def __init__(self, kind: int, budget: _Budget) -> None:
        self._kind, self._budget = kind, budget

    def decompress(self, data: bytes, expected: int) -> bytes:
        if self._kind == _GZIP:
            result = zlib.decompressobj().decompress(data, expected + 1)
        else:
            result = lzma.LZMADecompressor(memlimit=1 << 26).decompress(data, expected + 1)
        if len(result) > expected:
            raise Damaged("a block of its squashfs unpacks to more than a block")
        self._budget.pay(len(result))
        return result


class _Bounded(SquashFS):  # type: ignore[misc]
    """The library's reader, bounded."""

    def __init__(self, window: Window) -> None:
        budget = _Budget()
        super().__init__(_Stream(window, budget))
        self._compression = _Unpacking(self.sb.compression, budget)

    def _read_metadata(self, block: int, offset: int, length: int) -> tuple[int, int, bytes]:
        if length > _LARGEST_BLOCK:
            raise Damaged("a piece of its squashfs's tables is too long")
        found = b""
        while length:
            behind, data = self._read_block(block)
            if len(data) > _METADATA_BYTES or offset >= len(data):
                raise Damaged("the tables of its squashfs are damaged")
            piece = data[offset : offset + length]
            found, length, offset = found + piece, length - len(piece), offset + len(piece)
            if offset == len(data):
                block, offset = behind, 0
        return block, offset, found


class _Tree:
    """The files of a squashfs by their paths; links are followed a few times."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self._folders: dict[int, dict[str, Any]] = {}

    def system(self) -> System:
        """What a plan needs to know."""
        released = dict(
            re.findall(r"^(DISTRIB_\w+)=['\"]?([^'\"\n]*)", self._text("/etc/openwrt_release"), re.MULTILINE)
        )
        kernels = tuple(sorted(self._names("/lib/modules")))[:8]
        return System(
            released.get("DISTRIB_RELEASE", "")[:64],
            released.get("DISTRIB_TARGET", "")[:64],
            kernels,
            self._packages(),
            self._find("/sbin/init") is not None,
            self._find("/sbin/block") is not None,
            any("nvme.ko" in self._names(f"/lib/modules/{kernel}") for kernel in kernels),
            b"fstools_overlay_name" in self._content("/sbin/mount_root"),
        )

    def _packages(self) -> frozenset[str] | None:
        """The installed packages: apk's list, or opkg's; each says in one word what a line is about."""
        for path, pattern in (("/lib/apk/db/installed", r"^P:(.*)$"), ("/usr/lib/opkg/status", r"^Package: (.*)$")):
            names = re.findall(pattern, self._text(path), re.MULTILINE)
            if names:
                return frozenset(name for name in names if _NAME.fullmatch(name))
        for folder, end in (("/lib/apk/packages", ".list"), ("/usr/lib/opkg/info", ".control")):
            names = [name.removesuffix(end) for name in self._names(folder) if name.endswith(end)]
            if names:
                return frozenset(name for name in names if _NAME.fullmatch(name))
        return None

    def _names(self, path: str) -> list[str]:
        node = self._find(path)
        return list(self._folder(node)) if node is not None and node.is_dir() else []

    def _text(self, path: str) -> str:
        return self._content(path).decode("utf-8", "replace")

    def _content(self, path: str) -> bytes:
        node = self._find(path)
        if node is None or not node.is_file():
            return b""
        if node.size > _LARGEST_FILE:
            raise Damaged(f"{path} in its squashfs has {node.size} bytes")
        data: bytes = node.open().read(node.size)
        return data

    def _folder(self, node: Any) -> dict[str, Any]:
        key = node.block << 16 | node.offset
        if key not in self._folders:
            entries = list(islice(node.iterdir(), _MOST_ENTRIES + 1))
            if len(entries) > _MOST_ENTRIES:
                raise Damaged("a folder in its squashfs has too many files")
            self._folders[key] = {entry.name: entry for entry in entries}
        return self._folders[key]

    def _find(self, path: str) -> Any | None:
        """The node at *path*, or None."""
        left, links = [part for part in path.split("/") if part][::-1], 0
        trail = [self._reader.root]
        while left:
            part = left.pop()
            if part == ".." and len(trail) > 1:
                trail.pop()
            if part in ("", ".", ".."):
                continue
            node = self._folder(trail[-1]).get(part) if trail[-1].is_dir() else None
            if node is None:
                return None
            if not node.is_symlink():
                trail.append(node)
                continue
            links += 1
            target = node.link
            if links > _MOST_LINKS or len(target) > 4096:
                return None
            if target.startswith("/"):
                trail = trail[:1]
            left += target.split("/")[::-1]
        return trail[-1]
