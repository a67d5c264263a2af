"""What an OpenWrt file is: its kind, what it is for, what is in it, and whether it is whole."""

import tempfile
from dataclasses import dataclass, field
from typing import BinaryIO

from bootplan.board import Board
from bootplan.formats.bl2 import check_bl2
from bootplan.formats.card import CardImage, Part, read_card
from bootplan.formats.fip import Fip, read_fip
from bootplan.formats.fit import Fit, read_fit
from bootplan.formats.fwtool import Metadata, read_metadata
from bootplan.formats.headers import HEAD_BYTES, Format, read_header
from bootplan.formats.squashfs import System, read_system
from bootplan.formats.window import Damaged, Window
from bootplan.images import Kind


@dataclass
class Content:
    """What is in a file; *faults* are what is wrong with it whoever wants it, *kind* is None for what no plan names."""

    size: int
    sha256: str
    kind: Kind | None = None
    format: Format | None = None
    medium: str | None = None
    fit: Fit | None = None
    metadata: Metadata | None = None
    system: System | None = None
    card: CardImage | None = None
    fip: Fip | None = None
    faults: list[str] = field(default_factory=list)

    @property
    def release(self) -> str:
        """The release that it says it is of; nothing when it does not say."""
        told = self.metadata.release if self.metadata else ""
        return told or (self.system.release if self.system else "")


def inspect(stream: BinaryIO, board: Board) -> Content:
    """Look into a file that can be read here and there; whatever it holds, nothing is raised but OSError."""
    size = stream.seek(0, 2)
    window = Window(stream, 0, size)
    content = Content(size, window.sums({"sha256"})["sha256"].hex())
    header = read_header(window.read(0, min(size, HEAD_BYTES)))
    if header is None:
        content.faults.append("it begins as no file of OpenWrt for this board" if size else "it is empty")
        return content
    content.format, content.medium = header
    try:
        if header.format == "fit":
            _look_at_fit(content, window)
        elif header.format == "gzip":
            _look_at_card(content, window, board)
        elif header.format == "fip":
            content.kind = "fip"
            content.fip = read_fip(window)
            content.faults += content.fip.faults()
        elif header.medium is not None and header.medium in board.files.bl2:
            content.kind = "bl2"
            check_bl2(window, header.medium)
        else:
            content.faults.append("a BL2 for an SD card comes in the image of the card, and in no file of its own")
    except Damaged as damage:
        content.faults.append(str(damage))
    return content


def _look_at_fit(content: Content, window: Window) -> None:
    content.fit = fit = read_fit(window)
    content.faults += fit.faults()
    systems = fit.of_type("filesystem")
    content.kind = "system" if systems else "recovery"
    try:
        content.metadata = read_metadata(window)
    except Damaged as damage:
        content.faults.append(str(damage))
    if len(systems) > 1:
        content.faults.append(f"it has {len(systems)} file systems; which one would be root, nobody says")
    elif systems and systems[0].whole:
        try:
            content.system = read_system(window.part(systems[0].offset, systems[0].size))
        except Damaged as damage:
            content.faults.append(str(damage))
    if content.system is not None and not content.system.has_init:
        content.faults.append("its system has no /sbin/init: it does not start")


def _look_at_card(content: Content, window: Window, board: Board) -> None:
    """The card's table is the board's; its last partition has what a sysupgrade image has."""
    expected = next(medium.image for medium in board.media.values() if medium.image is not None)
    places = tuple(Part(name, start * 1024, size * 1024) for name, (start, size) in expected.partitions.items())
    with tempfile.TemporaryFile() as spool:
        content.card, production = read_card(window, spool, places[-1])
        content.kind = "card"
        if content.card.parts != places:
            content.faults.append("its partitions are not those of the board's card")
        if production is None:
            content.faults.append(f"there is no system in its partition {places[-1].name}")
            return
        inside = Content(production.size, "")
        try:
            _look_at_fit(inside, production)
        except Damaged as damage:
            inside.faults.append(str(damage))
    content.fit, content.metadata, content.system = inside.fit, inside.metadata, inside.system
    content.faults += [f"the system in {places[-1].name}: {fault}" for fault in inside.faults]
    if inside.kind == "recovery":
        content.faults.append(f"the system in {places[-1].name} has no file system")
