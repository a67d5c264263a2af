"""Read a FIT image as U-Boot reads it: which pieces it has, where they lie, whether their sums are right."""

import gzip
import hashlib
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

MAGIC = 0xD00DFEED
BEGIN, END, PROPERTY, NOTHING, LAST = 1, 2, 3, 4, 9
SQUASHFS = b"hsqs"
Node = dict[str, Any]
"""A node of a device tree: properties are bytes, other nodes are nodes."""


class NoFit(ValueError):
    """These bytes are no FIT image that could be started; the text says why."""


@dataclass(frozen=True)
class Piece:
    """One image of a FIT: its type (``kernel``, ``flat_dt``, ``filesystem``), where it begins, its bytes, its sums."""

    type: str
    offset: int
    size: int
    sums: dict[str, bytes]


@dataclass(frozen=True)
class Fit:
    """A FIT image: its description, ``pieces`` by name, ``configurations`` by name, and the bytes up to its end."""

    data: bytes = field(repr=False)
    description: str
    pieces: dict[str, Piece]
    configurations: dict[str, Node]
    size: int

    def content(self, name: str) -> bytes:
        """Return the bytes of a piece."""
        piece = self.pieces[name]
        return self.data[piece.offset : piece.offset + piece.size]

    def wrong(self) -> list[str]:
        """Return the names of the pieces that are not there as a whole or have a wrong sum."""
        return [
            name
            for name, piece in self.pieces.items()
            if len(self.content(name)) < piece.size or not sums_hold(piece.sums, self.content(name))
        ]

    def kernel(self) -> str:
        """Return the first line of the kernel: on the bench it says the release that ``uname -r`` tells then."""
        names = [name for name, piece in self.pieces.items() if piece.type == "kernel"]
        if not names:
            raise NoFit("no kernel")
        try:
            return gzip.decompress(self.content(names[0])).split(b"\n")[0].decode()
        except (OSError, EOFError, zlib.error):
            raise NoFit("the kernel cannot be unpacked") from None

    def rootfs(self) -> bytes | None:
        """Return the bytes of the first file system, or None when there is none."""
        found = [self.content(name) for name, piece in self.pieces.items() if piece.type == "filesystem"]
        return found[0] if found else None


SUMS: dict[str, Callable[[bytes], bytes]] = {
    "crc32": lambda content: struct.pack(">I", zlib.crc32(content)),
    "sha1": lambda content: hashlib.sha1(content).digest(),
    "sha256": lambda content: hashlib.sha256(content).digest(),
}


def sums_hold(sums: dict[str, bytes], content: bytes) -> bool:
    """Tell whether the sums of a piece are those of its content; one of an unknown kind is not."""
    return all(name in SUMS and SUMS[name](content) == value for name, value in sums.items())


def text(value: bytes) -> str:
    """Return a property that is one text."""
    return value.rstrip(b"\0").decode(errors="replace")


def number(value: bytes) -> int:
    """Return a property that is one number."""
    return int.from_bytes(value, "big")


def nodes(data: bytes) -> Node:
    """Return the device tree at the beginning of ``data`` as nested dictionaries; properties are bytes."""
    if len(data) < 40:
        raise NoFit("too short")
    magic, total, structure, strings, *_ = struct.unpack_from(">10I", data)
    if magic != MAGIC:
        raise NoFit(f"begins with {data[:4].hex()}")
    if total > len(data):
        raise NoFit("its tree is cut off")
    root: Node = {}
    at: int = structure
    path = [root]
    while at + 4 <= total:
        (token,) = struct.unpack_from(">I", data, at)
        at += 4
        if token == BEGIN:
            end = data.index(b"\0", at)
            child = path[-1].setdefault(data[at:end].decode(errors="replace"), {})
            path.append(child)
            at = -(-(end + 1) // 4) * 4
        elif token == END:
            path.pop()
        elif token == PROPERTY:
            length, name = struct.unpack_from(">II", data, at)
            start = strings + name
            path[-1][data[start : data.index(b"\0", start)].decode()] = data[at + 8 : at + 8 + length]
            at += -(-(8 + length) // 4) * 4
        elif token == LAST:
            found: Node = root[""]
            return found
        elif token != NOTHING:
            break
    raise NoFit("its tree is damaged")


def read(data: bytes) -> Fit:
    """Return the :class:`Fit` at the beginning of ``data``; :class:`NoFit` when there is none."""
    try:
        root = nodes(data)
        total = struct.unpack_from(">I", data, 4)[0]
        after = -(-total // 4) * 4  # where external data begin
        pieces = {name: piece_of(node, after) for name, node in root["images"].items() if isinstance(node, dict)}
    except (KeyError, IndexError, ValueError, struct.error) as problem:
        raise NoFit(str(problem)) from None
    configurations = {name: node for name, node in root.get("configurations", {}).items() if isinstance(node, dict)}
    end = max([total, *(piece.offset + piece.size for piece in pieces.values())])
    return Fit(data, text(root.get("description", b"")), pieces, configurations, end)


def piece_of(node: Node, after: int) -> Piece:
    """Return the :class:`Piece` that a node describes, with its data outside the tree."""
    inside = "data-position" in node
    offset = number(node["data-position"]) if inside else after + number(node["data-offset"])
    sums = {text(child["algo"]): child["value"] for child in node.values() if isinstance(child, dict)}
    return Piece(text(node["type"]), offset, number(node["data-size"]), sums)


def squashfs_in(data: bytes) -> list[int]:
    """Return where each squashfs begins in an image, at any multiple of 4096: what a router can find without a tree."""
    return [
        at
        for at in range(0, len(data) - 96, 4096)
        if data[at : at + 4] == SQUASHFS and struct.unpack_from("<H", data, at + 28)[0] == 4
    ]
