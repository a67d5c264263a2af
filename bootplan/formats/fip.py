"""Boot loader files: what is in a FIP, and what the boot ROM's header of a BL2 says."""

import struct
from dataclasses import dataclass

from bootplan.formats.window import Damaged, Window

# TF-A, include/tools_share/firmware_image_package.h: the table's header, and its entries; the last one has no UUID.
_MAGIC = 0xAA640001
_HEADER = struct.Struct("<IIQ")
_ENTRY = struct.Struct("<16sQQQ")
_MOST_ENTRIES = 64
_NAMES = {
    bytes.fromhex("47d4086d4cfe98469b952950cbbd5a00"): "BL31",
    bytes.fromhex("d6d0eea7fcead54b97829934f234b6e4"): "BL33",
}


@dataclass(frozen=True)
class Fip:
    """The parts of a FIP by name, with their sizes, and where the last one ends."""

    parts: dict[str, int]
    size: int

    def faults(self) -> list[str]:
        """What BL2 would stumble over."""
        words = {"BL31": "BL31", "BL33": "BL33 (U-Boot)"}
        return [f"it has no {words[name]}" for name in _NAMES.values() if not self.parts.get(name)]


def read_fip(window: Window) -> Fip:
    """The table of the FIP *window*; raises Damaged."""
    magic, serial, _ = _HEADER.unpack(window.read(0, _HEADER.size))
    if magic != _MAGIC or not serial:
        raise Damaged("it does not begin as a FIP")
    parts: dict[str, int] = {}
    last = at = _HEADER.size
    for _ in range(_MOST_ENTRIES):
        identity, offset, size, _ = _ENTRY.unpack(window.read(at, _ENTRY.size))
        at += _ENTRY.size
        if not any(identity):
            return Fip(parts, last)
        name = _NAMES.get(identity, identity.hex())
        if offset < _HEADER.size or offset + size > window.size:
            raise Damaged(f"its part {name} ends at {offset + size}, the file at {window.size}: it is cut off")
        parts[name] = size
        last = max(last, offset + size)
    raise Damaged("its table has no end")
