"""The files of a release: what their names say, and what the right one for a plan is called."""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from bootplan.board import Board
from bootplan.diagnostics import short
from bootplan.plan import Plan
from bootplan.units import BINARY_UNITS

LARGE_MEMORY_BYTES = 8 * BINARY_UNITS["GiB"]
TITLES = {
    ("fallback", "image"): "image of the fallback card",
    ("bootloader", "bl2"): "BL2",
    ("bootloader", "fip"): "FIP",
    ("recovery", "image"): "recovery image",
    ("upgrade", "image"): "image to upgrade to",
}
"""What each of `Plan.files` is, in words."""

_VERSION = r"(?:openwrt-(?P<version>(?i:SNAPSHOT)|[0-9][0-9.]*(?:-(?i:SNAPSHOT)|-rc[0-9]+)?)-)?(?:.*-)?"

Kind = Literal["system", "recovery", "card", "bl2", "fip"]
"""The files of a release that a plan can name."""
PLACES: dict[Kind, tuple[str, str]] = {
    "system": ("upgrade", "image"),
    "recovery": ("recovery", "image"),
    "card": ("fallback", "image"),
    "bl2": ("bootloader", "bl2"),
    "fip": ("bootloader", "fip"),
}
"""Where a plan names them."""
KIND_TITLES: dict[Kind, str] = {
    "system": "a system for sysupgrade",
    "recovery": "a recovery system",
    "card": "an image of an SD card",
    "bl2": "a BL2",
    "fip": "a FIP",
}
"""What a file is, in words, whether a plan names it or not."""


@dataclass(frozen=True)
class ImageName:
    """What a file's name says: the release if it names one, the board's model, and which file it is.

    OpenWrt writes SNAPSHOT, the firmware selector's servers snapshot: *version* has the former.
    """

    version: str | None
    model: str
    part: str


def read_name(name: str, board: Board) -> ImageName | None:
    """What *name* says if it is that of a file for one of the boards called a BPI-R4, else None."""
    models = "|".join(re.escape(model) for model in sorted(board.models, key=len, reverse=True))
    match = re.fullmatch(f"{_VERSION}{re.escape(board.files.profile)}(?P<model>{models})-(?P<part>.+)", name)
    if match is None:
        return None
    version = match["version"] and re.sub("(?i)snapshot", "SNAPSHOT", match["version"])
    return ImageName(version, match["model"], match["part"])


def kind_of_part(part: str, board: Board) -> Kind | None:
    """What the file whose name ends with *part* is; None for one that no plan names."""
    files = board.files
    small = {large: one for one, large in files.large_memory.items()}.get(part, part)
    kinds: dict[str, Kind] = {files.system: "system", files.recovery: "recovery", files.card: "card"}
    kinds |= dict.fromkeys(files.bl2.values(), "bl2")
    kinds |= dict.fromkeys(files.fip.values(), "fip")
    return kinds.get(small)


def is_placeholder(sha256: str) -> bool:
    """Whether a sum only stands for one: what repeats itself, like 000… or 0123…, is no file's (1 chance in 2**128)."""
    return any(sha256 == sha256[:length] * (64 // length) for length in (1, 2, 4, 8, 16, 32))


def end_of_name(plan: Plan, board: Board, part: str) -> str:
    """How the name of the file *part* ends for the plan's board."""
    return f"{board.files.profile}{short(plan.board.model)}-{part}"


def for_memory(plan: Plan, board: Board, part: str) -> str:
    """The file *part*, or the same for 8 GiB when the plan's board has them."""
    return board.files.large_memory.get(part, part) if plan.board.ram == LARGE_MEMORY_BYTES else part


def is_of_release(name: ImageName, release: str, board: Board) -> bool:
    """Whether a file may be of *release*; a name without a release may be of any."""
    return name.version is None or fnmatchcase(name.version, board.releases[release].version_pattern)
