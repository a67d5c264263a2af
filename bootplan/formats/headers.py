"""The first bytes of a file, and what they say it is."""

from typing import Literal, NamedTuple

HEAD_BYTES = 16

Format = Literal["fit", "gzip", "bl2", "fip"]


class Header(NamedTuple):
    """The format of a file; a BL2's says for which medium's boot ROM header it was made."""

    format: Format
    medium: str | None = None


# OpenWrt's and TF-A's own words: FDT_MAGIC; RFC 1952; the boot ROM's headers that U-Boot's bl2_helper.h tells apart;
# TOC_HEADER_NAME of firmware_image_package.h.
_BEGINNINGS = {
    b"\xd0\x0d\xfe\xed": Header("fit"),
    b"\x1f\x8b\x08": Header("gzip"),
    b"SPINAND!": Header("bl2", "nand"),
    b"EMMC_BOOT": Header("bl2", "emmc"),
    b"SDMMC_BOOT": Header("bl2", "sd"),
    b"\x01\x00\x64\xaa": Header("fip"),
}


def read_header(head: bytes) -> Header | None:
    """What a file that begins with *head* is, or None."""
    return next((header for begin, header in _BEGINNINGS.items() if head.startswith(begin)), None)
