"""What OpenWrt's fwtool appends to an image: metadata about what it is for."""

import json
import struct
import zlib
from dataclasses import dataclass
from typing import Any

from bootplan.formats.window import Damaged, Window

# package/system/fwtool, fwimage.h and fwtool.c: a chunk ends with magic, sum of all before it, kind, and the size of
# both; what is in a chunk has to fit into fwtool's buffer, and metadata begin with a version, which is 0.
_TRAILER = struct.Struct(">IIB3xI")
_MAGIC, _METADATA = 0x46577830, 1
_HEADER_BYTES = 8
_MOST_CHUNKS = 8
_LARGEST_BYTES = 32 << 10
_MOST_SHOWN = 200


@dataclass(frozen=True)
class Metadata:
    """For which boards an image is, of which release and target; *compat* is the generation of its settings."""

    devices: tuple[str, ...]
    compat: str
    message: str
    release: str
    revision: str
    target: str


def read_metadata(window: Window) -> Metadata | None:
    """The metadata at the end of *window* that sysupgrade goes by, None when there are none; raises Damaged."""
    chunks: list[tuple[int, int, int, int]] = []
    end = window.size
    while end >= _TRAILER.size and len(chunks) < _MOST_CHUNKS:
        magic, total, kind, size = _TRAILER.unpack(window.read(end - _TRAILER.size, _TRAILER.size))
        if magic != _MAGIC:
            break
        if not _TRAILER.size <= size <= end:
            raise Damaged("its metadata are damaged: a chunk is larger than the file")
        if size - _TRAILER.size > _LARGEST_BYTES:
            raise Damaged("its metadata are of no sane size")
        chunks.append((kind, total, end - size, end - _TRAILER.size))
        end -= size
    if not chunks:
        return None
    _check_sums(window, [(total, until) for _, total, _, until in chunks])
    for kind, _, begin, until in chunks:
        if kind == _METADATA:
            data = window.read(begin, until - begin)
            if len(data) < _HEADER_BYTES:
                raise Damaged("its metadata are of no sane size")
            if not any(data[:4]):
                return _metadata(data[_HEADER_BYTES:])
    return None


def _check_sums(window: Window, sums: list[tuple[int, int]]) -> None:
    """Compare the sums of everything up to each end, in one reading."""
    at = crc = 0
    for expected, until in sorted(sums, key=lambda one: one[1]):
        for data in window.pieces(at, until):
            crc = zlib.crc32(data, crc)
        at = until
        if crc ^ 0xFFFFFFFF != expected:
            raise Damaged("the sum in its metadata is wrong: it is damaged, or cut off and put together")


def _metadata(data: bytes) -> Metadata:
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        raise Damaged("its metadata are not JSON") from None
    if not isinstance(told, dict):
        raise Damaged("its metadata are no JSON object")
    version = told.get("version")
    version = version if isinstance(version, dict) else {}
    compat = told.get("compat_version", "") or "1.0"
    # fwtool_check_image in base-files' fwtool.sh: this choice, and no other list when the chosen one is not there
    devices = told.get("supported_devices" if compat == "1.0" else "new_supported_devices")
    return Metadata(
        tuple(_word(one) for one in devices[:32]) if isinstance(devices, list) else (),
        _word(compat),
        _word(told.get("compat_message", "")),
        _word(version.get("version", "")),
        _word(version.get("revision", "")),
        _word(version.get("target", "")),
    )


def _word(value: Any) -> str:
    return value[:_MOST_SHOWN] if isinstance(value, str) else ""
