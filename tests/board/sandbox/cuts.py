"""Power cuts between, and inside, the writes that were recorded on a medium.

The writes are those of :meth:`~.uboot.UBoot.recorded`: ``("w", byte, data)`` on a card, ``("p", page, data)`` a flash
page with its spare bytes, ``("e", page, pages)`` an erased block. A card takes 512 bytes at once or not; a page whose
writing was cut has its first half; a block whose erasing was cut has lost its first half.
"""

from . import flash

SECTOR = 512
CHUNK = flash.PAGE + flash.SPARE


def pieces(writes):
    """Return the writes of a card as single sectors; those of a flash are what they are."""
    for kind, place, data in writes:
        if kind == "w":
            for start in range(0, len(data), SECTOR):
                yield kind, place + start, data[start : start + SECTOR]
        else:
            yield kind, place, data


def perform(image, piece):
    """Do one recorded write on the opened image."""
    kind, place, data = piece
    if kind == "w":
        image.seek(place)
        image.write(data)
    elif kind == "p":
        image.seek(place * CHUNK)
        image.write(data.translate(flash.INVERTED))
    else:
        image.seek(place * CHUNK)
        image.write(bytes(data * CHUNK))


def torn(piece):
    """Return what a cut in the middle of this write leaves of it, or None where it is whole or not begun."""
    kind, place, data = piece
    if kind == "p":
        half = data[: flash.PAGE // 2]
        return kind, place, half + b"\xff" * (CHUNK - len(half))
    if kind == "e":
        return kind, place, data // 2
    return None


def span(piece):
    """Return the first byte and the end of what a recorded write touches in the image."""
    kind, place, data = piece
    if kind == "w":
        return place, place + len(data)
    return place * CHUNK, (place + (data if kind == "e" else 1)) * CHUNK


def changes(image, piece):
    """Tell whether a write would make a difference on the opened image."""
    kind, place, data = piece
    if kind != "w":
        return True
    image.seek(place)
    return image.read(len(data)) != data


def states(truth, writes, board, distinct=False):
    """Put the board's image into each state a cut can leave, and yield a word for it each time.

    ``truth`` is an opened copy of the image from before the writes; it goes along. In between, the board may be
    started: what it writes then is recorded and taken back. With ``distinct``, a state that is as the one before it is
    left out: most sectors of an environment are written as they were.
    """
    with open(board.image, "r+b") as image:

        def judged(word, *undo):
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
