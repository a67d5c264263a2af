"""Pieces of large files, read where they are needed: never more at once than is asked for."""

import hashlib
import zlib
from collections.abc import Iterator
from typing import BinaryIO

PIECE_BYTES = 1 << 20


class Damaged(Exception):
    """These bytes are not what they begin as; the text says why."""


class Window:
    """A piece of a file: *size* bytes from *start*."""

    def __init__(self, stream: BinaryIO, start: int, size: int) -> None:
        self._stream, self._start, self.size = stream, start, size

    def read(self, at: int, length: int) -> bytes:
        """The *length* bytes at *at*; raises Damaged when they are not all there."""
        if at < 0 or length < 0 or at + length > self.size:
            raise Damaged("it ends too early")
        self._stream.seek(self._start + at)
        data = self._stream.read(length)
        if len(data) != length:
            raise Damaged("it ends too early")
        return data

    def part(self, at: int, size: int) -> "Window":
        """The piece of *size* bytes at *at*; raises Damaged when it is not all inside."""
        if at < 0 or size < 0 or at + size > self.size:
            raise Damaged("it ends too early")
        return Window(self._stream, self._start + at, size)

    def pieces(self, at: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from *at* to *end*, a MiB at a time."""
        end = self.size if end is None else end
        while at < end:
            data = self.read(at, min(PIECE_BYTES, end - at))
            at += len(data)
            yield data

    def sums(self, kinds: set[str]) -> dict[str, bytes]:
        """The sums of these *kinds* of all of it: of crc32, md5, sha1, sha256, sha384 and sha512, in one reading."""
        digests = {kind: hashlib.new(kind) for kind in kinds if kind != "crc32"}
        crc = 0
        for data in self.pieces():
            for digest in digests.values():
                digest.update(data)
            if "crc32" in kinds:
                crc = zlib.crc32(data, crc)
        found = {kind: digest.digest() for kind, digest in digests.items()}
        if "crc32" in kinds:
            found["crc32"] = crc.to_bytes(4, "big")
        return found
