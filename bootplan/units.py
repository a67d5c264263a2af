"""Sizes and durations: written with a unit by people, held in bytes and seconds by the program."""

import re

from bootplan.diagnostics import short

BINARY_UNITS = {"MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
DECIMAL_UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
MIB = BINARY_UNITS["MiB"]
LARGEST_BYTES = 64 * BINARY_UNITS["TiB"]

SECONDS = {"min": 60, "s": 1}

_DURATION = re.compile(r"([0-9]{1,15}) ?([A-Za-z]*)")
_SIZE = re.compile(r"([0-9]{1,15}) ?([A-Za-z]*)")


def parse_size(text: str) -> int:
    """The bytes in *text*, an integer and MiB, GiB or TiB (`8GiB`); ValueError says what is wrong."""
    return _parse(text, BINARY_UNITS, "MiB or GiB")


def parse_capacity(text: str) -> int:
    """The bytes in *text*, also with the decimal units disks are sold in (`256GB`)."""
    return _parse(text, BINARY_UNITS | DECIMAL_UNITS, "GB or GiB")


def show_size(size_bytes: int) -> str:
    """*size_bytes* in the largest unit that shows it exactly: `8GiB`, `256GB`, `1000 bytes`."""
    for units in (BINARY_UNITS, DECIMAL_UNITS):
        for unit, factor in reversed(units.items()):
            if size_bytes and size_bytes % factor == 0:
                return f"{size_bytes // factor}{unit}"
    return f"{size_bytes} bytes"


def show_roughly(size_bytes: int) -> str:
    """*size_bytes* in GiB with one decimal, rounded down; in MiB when it is less than one GiB."""
    gib = BINARY_UNITS["GiB"]
    return f"{size_bytes * 10 // gib / 10}GiB" if size_bytes >= gib else f"{size_bytes // MIB}MiB"


def parse_duration(text: str) -> int:
    """The seconds in *text*, a whole number and s or min (`10min`); ValueError says what is wrong."""
    match = _DURATION.fullmatch(text)
    shown = short(text)
    if match is None:
        raise ValueError(f"duration '{shown}' is not a whole number and a unit; write it like 10min or 90s")
    number, unit = match.groups()
    if unit not in SECONDS:
        raise ValueError(f"duration '{shown}' has no unit{' we know' if unit else ''}; write min or s")
    return int(number) * SECONDS[unit]


def show_duration(seconds: int) -> str:
    """*seconds* in minutes when they are whole ones: `10min`, `90s`."""
    return f"{seconds // 60}min" if seconds and seconds % 60 == 0 else f"{seconds}s"


def _parse(text: str, units: dict[str, int], remedy: str) -> int:
    match = _SIZE.fullmatch(text)
    shown = short(text)
    if match is None:
        raise ValueError(f"size '{shown}' is not a whole number and a unit; write it like 8GiB")
    number, unit = match.groups()
    if not unit:
        raise ValueError(f"size '{shown}' has no unit; write {remedy}")
    if unit not in units:
        raise ValueError(f"size '{shown}' has no unit we know; write {remedy}")
    size_bytes = int(number) * units[unit]
    if size_bytes == 0:
        raise ValueError(f"size '{shown}' is nothing at all; write at least 1MiB")
    if size_bytes > LARGEST_BYTES:
        raise ValueError(f"size '{shown}' is more than 64TiB; no disk for this board is that large")
    return size_bytes
