"""The compressed image of a card: its table, and what stands in its last partition, in one pass over the stream."""

import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

from bootplan.formats.window import Damaged, Window

SECTOR = 512
# UEFI specification, GPT header and entries.
_HEADER = struct.Struct("<8s4I4Q16sQ3I")
_ENTRY = struct.Struct("<16s16s3Q72s")
_HEADER_BYTES = 92
_MOST_ENTRIES = 128
_TABLE_BYTES = 34 * SECTOR
_SPOOLED_BYTES = 128 << 20
_PIECE = 1 << 18


@dataclass(frozen=True)
class Part:
    """A partition: its name, and its first byte and size."""

    name: str
    start: int
    size: int


@dataclass(frozen=True)
class CardImage:
    """The partitions of a card's image in the order of their places, and how many bytes it unpacks to."""

    parts: tuple[Part, ...]
    size: int


def read_card(window: Window, spool: BinaryIO, last: Part) -> tuple[CardImage, Window | None]:
    """The card in the gzip stream *window*, and what is in its *last* partition, put into *spool*; raises Damaged.

    It is read to its end, so a stream that was cut off is found, but not beyond where *last* shall end, whatever its
    own table says.
    """
    head, total, kept = b"", 0, 0
    parts: tuple[Part, ...] | None = None
    start = end = -1
    for piece in _Pieces(window):
        data = piece
        if parts is None:
            head += piece
            if len(head) < _TABLE_BYTES:
                continue
            parts = _table(head[:_TABLE_BYTES])
            start = next((part.start for part in parts if part.name == last.name), -1)
            end = min(max(part.start + part.size for part in parts), last.start + last.size)
            data = head
        if total + len(data) > end:
            raise Damaged("it unpacks to more than its partitions have room for")
        if start >= 0 and total + len(data) > start and kept < _SPOOLED_BYTES:
            kept += spool.write(data[max(0, start - total) :])
        total += len(data)
    if parts is None:
        raise Damaged("it is too short to have a partition table")
    if kept >= _SPOOLED_BYTES:
        raise Damaged(
            f"what is in its partition {last.name} has more than {_SPOOLED_BYTES >> 20} MiB: it is not looked into"
        )
    spool.flush()
    whole = kept and start + kept == total
    return CardImage(parts, total), Window(spool, 0, kept) if whole else None


class _Pieces:
    """What a gzip stream unpacks to, piece by piece; one stream with nothing behind it."""

    def __init__(self, window: Window) -> None:
        self._input = window.pieces()
        self._unpacker = zlib.decompressobj(wbits=31)
        self._waiting = b""

    def __iter__(self) -> "_Pieces":
        return self

    def __next__(self) -> bytes:
        while not self._unpacker.eof:
            source = self._waiting or next(self._input, b"")
            if not source:
                raise Damaged("its compressed stream is cut off")
            try:
                data = self._unpacker.decompress(source, _PIECE)
            except zlib.error:
                raise Damaged("its compressed stream is damaged") from None
            self._waiting = self._unpacker.unconsumed_tail
            if data:
                return data
        if self._unpacker.unused_data or next(self._input, b""):
            raise Damaged("something stands behind its compressed stream")
        raise StopIteration


def _table(head: bytes) -> tuple[Part, ...]:
    """The partitions in the first sectors of a card."""
    fields = list(_HEADER.unpack_from(head, SECTOR))
    entries_at, number, size, entries_sum = fields[10], fields[11], fields[12], fields[13]
    if fields[0] != b"EFI PART" or fields[2] != _HEADER_BYTES:
        raise Damaged("it has no GPT")
    expected, fields[3] = fields[3], 0
    entries = head[entries_at * SECTOR :][: number * size] if entries_at < 34 else b""
    if size != _ENTRY.size or not 0 < number <= _MOST_ENTRIES or len(entries) != number * size:
        raise Damaged("its GPT is of another kind")
    if zlib.crc32(_HEADER.pack(*fields)) != expected or zlib.crc32(entries) != entries_sum:
        raise Damaged("a sum in its GPT is wrong")
    parts = []
    for kind, _, first, last, _, name in _ENTRY.iter_unpack(entries):
        text = name.decode("utf-16le", "replace").partition("\0")[0]
        if any(kind) and text:  # an entry without a name is the gap that holds the table
            parts.append(Part(text, first * SECTOR, (last - first + 1) * SECTOR))
    if not parts or any(part.size <= 0 for part in parts):
        raise Damaged("its GPT has no partitions")
    return tuple(sorted(parts, key=lambda part: part.start))
