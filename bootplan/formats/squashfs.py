"""What is in a squashfs, as far as a plan needs to know it.

The library that reads it trusts the image, and reads every file in it; so it gets a window that ends, a budget for all
that it reads and unpacks, and is stopped from going further than it is asked to: whatever is in an image, looking into
it takes a limited time and memory.
"""

import lzma
import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from PySquashfsImage import SquashFsImage  # type: ignore[import-untyped]
from PySquashfsImage.file import filetype  # type: ignore[import-untyped]

from bootplan.formats.window import Damaged, Window

# fs/squashfs/squashfs_fs.h in Linux: struct squashfs_super_block.
_SUPER = struct.Struct("<5I6H8Q")
_MAGIC = 0x73717368
_LARGEST_BLOCK = 1 << 20
_METADATA_BYTES = 8192
_MOST_INODES, _MOST_FRAGMENTS = 1 << 20, 1 << 16
_GZIP, _LZMA, _XZ = 1, 2, 4
_FOLDER = 1
_SIZE_BITS = (1 << 24) - 1
_BUDGET_BYTES = 96 << 20
_READ_COST = 1024
_LARGEST_FILE = 4 << 20
_MOST_PACKAGES = 10_000
_MOST_LINKS = 8
_LONGEST_NAME = 256
# package/system/fstools: the init script of block-mount, switched on by the image build.
_MOUNTS = re.compile(r"S[0-9]+fstab")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")


@dataclass(frozen=True)
class System:
    """The system in an image: release and target, the kernel its modules are for, what is installed.

    *packages* is None when no package manager's list was found; *provided* are the other names that they go by, as
    wget-ssl by wget; *mounts_at_boot*: whether block-mount's service is on.
    """

    release: str
    target: str
    kernels: tuple[str, ...]
    packages: frozenset[str] | None
    provided: frozenset[str]
    has_init: bool
    has_block: bool
    has_nvme_module: bool
    mounts_at_boot: bool
    knows_overlay_name: bool


def read_system(window: Window) -> System:
    """The system in the squashfs *window*; raises Damaged."""
    size = _check_super(window)
    try:
        return _Tree(_Image(window.part(0, size))).system()
    except Damaged:
        raise
    except Exception as error:
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


class _Budget:
    """How many more bytes may be read and unpacked; each reading costs, too."""

    def __init__(self) -> None:
        self._left = _BUDGET_BYTES

    def pay(self, size: int) -> None:
        self._left -= size + _READ_COST
        if self._left < 0:
            raise Damaged("its squashfs has more in it than an image of this board can have")


class _Stream:
    """A window as the stream that the library wants, paid from the budget."""

    def __init__(self, window: Window, budget: _Budget) -> None:
        self._window, self._budget, self._at = window, budget, 0

    def seek(self, at: int) -> None:
        self._at = at

    def read(self, size: int) -> bytes:
        if self._at + size > self._window.size:
            raise Damaged("its squashfs ends too early")
        self._budget.pay(size)
        self._at += size
        return self._window.read(self._at - size, size)


class _Unpacking:
    """The library's decompression, which gives no more than a block has."""

    def __init__(self, kind: int, budget: _Budget) -> None:
        self._kind, self._budget = kind, budget

    def uncompress(self, data: bytes, _: int, expected: int) -> bytes:
        most = max(expected, _METADATA_BYTES)  # the library expects nothing of a last block that is full
        if self._kind == _GZIP:
            result = zlib.decompressobj().decompress(data, most + 1)
        else:
            result = lzma.LZMADecompressor(memlimit=1 << 26).decompress(data, most + 1)
        if len(result) > most:
            raise Damaged("a block of its squashfs unpacks to more than a block")
        self._budget.pay(len(result))
        return result


class _Image(SquashFsImage):  # type: ignore[misc]
    """The library's reader, bounded: a folder is read when somebody looks into it, a file when somebody wants it."""

    def __init__(self, window: Window) -> None:
        self._budget = _Budget()
        super().__init__(_Stream(window, self._budget))

    def child(self, folder: Any, name: str) -> Any | None:
        """What is called *name* in a folder, or None."""
        entry = folder.entries.get(name)
        if entry is None:
            return None
        place, kind = (entry["start_block"], entry["offset"]), filetype[entry["type"]]
        if kind is filetype[_FOLDER]:
            return self._dir_scan(*place)
        return kind(self, self._read_inode(*place), entry["name"], folder)

    def _dir_scan(self, start_block: int, offset: int) -> Any:
        """One folder; the library's own goes through all folders below it, by recursion."""
        folder = self._opendir(start_block, offset)
        folder.entries = {entry["name"].decode("utf-8", "replace"): entry for entry in folder.entries}
        return folder

    def _read_inode_data(self, block: int, offset: int, length: int) -> Any:
        return super()._read_inode_data(block, offset, self._paid(length, _METADATA_BYTES))

    def _read_directory_data(self, block: int, offset: int, length: int) -> Any:
        return super()._read_directory_data(block, offset, self._paid(length, _LONGEST_NAME))

    def _paid(self, length: int, most: int) -> int:
        if length > most:
            raise Damaged("a piece of its squashfs's tables is too long")
        self._budget.pay(length)
        return length

    def _read_data_block(self, start: int, size: int) -> Any:
        """A block of a file; the library's own keeps the last ones in memory, of all images."""
        if size & _SIZE_BITS > self.sblk.block_size:
            raise Damaged("a block of a file in its squashfs is larger than a block")
        return super()._read_data_block.__wrapped__(self, start, size)

    def _get_compressor(self, compression_id: int) -> _Unpacking:
        return _Unpacking(compression_id, self._budget)

    def _read_xattrs_from_disk(self) -> None:
        """Nobody asks for them."""


class _Tree:
    """The files of a squashfs by their paths; links are followed a few times."""

    def __init__(self, image: _Image) -> None:
        self._image = image

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
            self._provided(),
            self._find("/sbin/init") is not None,
            self._find("/sbin/block") is not None,
            any("nvme.ko" in self._names(f"/lib/modules/{kernel}") for kernel in kernels),
            any(_MOUNTS.fullmatch(name) for name in self._names("/etc/rc.d")),
            b"fstools_overlay_name" in self._content("/sbin/mount_root"),
        )

    def _packages(self) -> frozenset[str] | None:
        """The installed packages: apk's list, or opkg's; each says in one word what a line is about."""
        apk = re.finditer(r"^P:(.*)$", self._text("/lib/apk/db/installed"), re.MULTILINE)
        listed = (name for name, _ in _installed(self._text("/usr/lib/opkg/status")))
        names = _named(match[1] for match in apk) or _named(listed)
        if names:
            return names
        for folder, end in (("/lib/apk/packages", ".list"), ("/usr/lib/opkg/info", ".control")):
            names = _named(name.removesuffix(end) for name in self._names(folder) if name.endswith(end))
            if names:
                return names
        return None

    def _provided(self) -> frozenset[str]:
        """The names that the lists say installed packages provide; apk has them with a version, opkg with commas."""
        apk = re.finditer(r"^p:(.*)$", self._text("/lib/apk/db/installed"), re.MULTILINE)
        opkg = _installed(self._text("/usr/lib/opkg/status"))
        lists = chain((match[1] for match in apk), (names.replace(",", " ") for _, names in opkg))
        return _named(re.split("[<>=~]", name)[0] for names in lists for name in names.split())

    def _names(self, path: str) -> list[str]:
        node = self._find(path)
        return list(node.entries) if node is not None and node.is_dir else []

    def _text(self, path: str) -> str:
        return self._content(path).decode("utf-8", "replace")

    def _content(self, path: str) -> bytes:
        node = self._find(path)
        if node is None or not node.is_file:
            return b""
        if node.size > _LARGEST_FILE:
            raise Damaged(f"{path} in its squashfs has {node.size} bytes")
        data: bytes = node.read_bytes()
        return data

    def _find(self, path: str) -> Any | None:
        """What is at *path*, or None."""
        left, links = [part for part in path.split("/") if part][::-1], 0
        trail = [self._image.root]
        while left:
            part = left.pop()
            if part == ".." and len(trail) > 1:
                trail.pop()
            if part in ("", ".", ".."):
                continue
            node = self._image.child(trail[-1], part) if trail[-1].is_dir else None
            if node is None:
                return None
            if not node.is_symlink:
                trail.append(node)
                continue
            links += 1
            if links > _MOST_LINKS:
                return None
            target = node.readlink()
            if target.startswith("/"):
                trail = trail[:1]
            left += target.split("/")[::-1]
        return trail[-1]


def _installed(status: str) -> Iterator[tuple[str, str]]:
    """The packages that opkg's list says are there, and what each provides.

    Those that were removed, or are only wanted, are in that list, too.
    """
    name = provides = ""
    for match in re.finditer(r"^(?:Package: (.*)|Provides: (.*)|Status: .* (\S+))$", status, re.MULTILINE):
        if match[1] is not None:
            if name:
                yield name, provides
            name, provides = match[1], ""
        elif match[2] is not None:
            provides = match[2]
        elif match[3] == "not-installed":
            name = ""
    if name:
        yield name, provides


def _named(matches: Iterable[str]) -> frozenset[str]:
    """Those that can be names of packages; no image has more than some."""
    return frozenset(name for name in islice(matches, _MOST_PACKAGES) if _NAME.fullmatch(name))
