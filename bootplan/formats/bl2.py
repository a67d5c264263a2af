"""A BL2 as mkimage makes it for the boot ROM: is all of it there, and is its sum right?"""

import struct

from bootplan.formats.window import Damaged, Window

# U-Boot, tools/mtk_image.h: behind the header for the medium (on SPI-NAND a page, else gen_device_header) comes
# gfh_file_info: magic, version, size, kind, name, then kind of sum (1: SHA-256), load address, size of all from here,
# and of its sum at the end.
_FILE_INFO = struct.Struct("<3sBHH12s4x3xBIIIII8x")
_PAGE = struct.Struct("<16xI")
_BEHIND_HEADER = 0x600
_PAGES = (2048, 4096)
_SHA256, _SHA256_BYTES = 1, 32


def check_bl2(window: Window, medium: str) -> None:
    """Raise Damaged when the BL2 *window* for this *medium* is cut off, or its sum is wrong."""
    at = _PAGE.unpack(window.read(0, _PAGE.size))[0] if medium == "nand" else _BEHIND_HEADER
    if medium == "nand" and at not in _PAGES:
        raise Damaged(f"its header is for SPI-NAND with pages of {at} bytes")
    magic, _, size, kind, name, sum_kind, _, total, _, _, sum_size = _FILE_INFO.unpack(window.read(at, _FILE_INFO.size))
    if magic != b"MMM" or size != _FILE_INFO.size or kind or name.rstrip(b"\0") != b"FILE_INFO":
        raise Damaged("there is no BL2 behind its header for the boot ROM")
    if at + total > window.size:
        raise Damaged(f"it says that it ends at {at + total}, the file ends at {window.size}: it is cut off")
    if sum_kind != _SHA256:
        return  # MediaTek's own tool can sign it: nothing here knows the key
    if sum_size != _SHA256_BYTES or total < _FILE_INFO.size + _SHA256_BYTES:
        raise Damaged("what its header says of its sum is wrong")
    body = window.part(at, total - _SHA256_BYTES)
    if body.sums({"sha256"})["sha256"] != window.read(at + body.size, _SHA256_BYTES):
        raise Damaged("its SHA-256 is wrong: it is damaged")
