"""Power cuts between, and inside, the writes that were recorded on a medium.

The writes are those of :meth:`~.uboot.UBoot.recorded`: ``("w", byte, data)`` on a card, ``("p", page, data)`` a flash
page with its spare bytes, ``("e", page, pages)`` an erased block. A card takes 512 bytes at once or not; a page whose
writing was cut has its first half; a block whose erasing was cut has lost its first half.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, BinaryIO, Literal

from . import flash

if TYPE_CHECKING:  # it imports this module
    from .uboot import UBoot

SECTOR = 512
CHUNK = flash.PAGE + flash.SPARE

# Recorded writes: the kind, the byte or the page, and the data or how many pages.
CardWrite = tuple[Literal["w"], int, bytes]
Write = CardWrite | tuple[Literal["p"], int, bytes] | tuple[Literal["e"], int, int]


def pieces(writes: Iterable[Write]) -> Iterator[Write]:
    """Return the writes of a card as single sectors; those of a flash are what they are."""
    for write in writes:
        if write[0] == "w":
            kind, place, data = write
            for start in range(0, len(data), SECTOR):
                yield kind, place + start, data[start : start + SECTOR]
        else:
            yield write


def perform(image: BinaryIO, piece: Write) -> None:
    """Do one recorded write on the opened image."""
    if piece[0] == "w":
        image.seek(piece[1])
        image.write(piece[2])
    elif piece[0] == "p":
        image.seek(piece[1] * CHUNK)
        image.write(piece[2].translate(flash.INVERTED))
    else:
        image.seek(piece[1] * CHUNK)
        image.write(bytes(piece[2] * CHUNK))


def torn(piece: Write) -> Write | None:
    """Return what a cut in the middle of this write leaves of it, or None where it is whole or not begun."""
    if piece[0] == "p":
        half = piece[2][: flash.PAGE // 2]
        return "p", piece[1], half + b"\xff" * (CHUNK - len(half))
    if piece[0] == "e":
        return "e", piece[1], piece[2] // 2
    return None


def span(piece: Write) -> tuple[int, int]:
    """Return the first byte and the end of what a recorded write touches in the image."""
    if piece[0] == "w":
        return piece[1], piece[1] + len(piece[2])
    return piece[1] * CHUNK, (piece[1] + (piece[2] if piece[0] == "e" else 1)) * CHUNK


def changes(image: BinaryIO, piece: Write) -> bool:
    """Tell whether a write would make a difference on the opened image."""
    if piece[0] != "w":
        return True
    _, place, data = piece
    image.seek(place)
    return image.read(len(data)) != data


def states(truth: BinaryIO, writes: Sequence[Write], board: "UBoot", distinct: bool = False) -> Iterator[str]:
    """Put the board's image into each state a cut can leave, and yield a word for it each time.

    ``truth`` is an opened copy of the image from before the writes; it goes along. In between, the board may be
    started: what it writes then is recorded and taken back. With ``distinct``, a state that is as the one before it is
    left out: most sectors of an environment are written as they were.
    """
    with open(board.image, "r+b") as image:

        def judged(word: str, *undo: Write) -> Iterator[str]:
            """Yield the word, then make the image as ``truth`` again: where the board wrote, and in ``undo``."""
            board.record()
            yield word
            for start, end in map(span, [*board.recorded(), *undo]):
                truth.seek(start)
                image.seek(start)
                image.write(truth.read(end - start))
            image.flush()

        for start, end in map(span, writes):
            truth.seek(start)
            image.seek(start)
            image.write(truth.read(end - start))
        image.flush()
        new = True
        for number, piece in enumerate(pieces(writes)):
            if new or not distinct:
                yield from judged(f"before write {number}")
            new = changes(truth, piece)
            half = torn(piece)
            if half:
                perform(image, half)
                image.flush()
                yield from judged(f"in write {number}", piece)
            for one in (image, truth):
                perform(one, piece)
                one.flush()
        yield from judged("after the last write")
