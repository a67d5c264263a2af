"""The picture of a chain: boxes and arrows with their places, across a page and down a telephone.

Lengths are in units of the picture's own; what a box looks like is said by the page. Text is broken by counting
characters, a little less than fit, since nobody knows the reader's fonts.
"""

from dataclasses import dataclass
from textwrap import wrap

from bootplan.chain import Chain, Stage, Way


@dataclass(frozen=True)
class Text:
    """One line of text, its middle or its beginning at *x*, on the base line *y*; *kind* is name, medium or small.

    *squeeze* is the width to press it into where its letters may be too wide, else 0.
    """

    x: int
    y: int
    kind: str
    text: str
    squeeze: int


@dataclass(frozen=True)
class Box:
    """A box of a link, or with *aside* of what starts instead, and its text."""

    x: int
    y: int
    width: int
    height: int
    aside: bool
    texts: tuple[Text, ...]


@dataclass(frozen=True)
class Arrow:
    """A line with a head at its end, through *points*; *aside* when it leaves the chain."""

    points: tuple[tuple[int, int], ...]
    aside: bool

    @property
    def path(self) -> str:
        """The line in SVG's words."""
        return "M" + " L".join(f"{x} {y}" for x, y in self.points)


@dataclass(frozen=True)
class Picture:
    """A picture: its size, and what is in it."""

    width: int
    height: int
    anchor: str
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


_LINE, _PAD = 14, 10


def across(chain: Chain) -> Picture:
    """The chain from left to right; under a link what starts instead, and left of that what starts instead of it."""
    gap, count = 22, len(chain.stages)
    width = (1000 - gap * (count - 1)) // count
    letters = width // 8
    lines = [_lines(stage, letters) for stage in chain.stages]
    height = 2 * _PAD + _LINE * max(map(len, lines))
    beside = [[_way_lines(way, letters) for way in chain.ways if way.stage == number] for number in range(count)]
    tall = 2 * _PAD + _LINE * max((len(text) for texts in beside for text in texts), default=0)
    top, under = 1, 1 + height + gap
    boxes, arrows = [], []
    for number, text in enumerate(lines):
        x = 1 + number * (width + gap)
        boxes.append(_box(x, top, width, height, False, text, x + width // 2))
        if number:
            arrows.append(Arrow(((x - gap, top + height // 2), (x, top + height // 2)), False))
        for place, aside in enumerate(beside[number]):
            left = x - place * (width + gap)
            boxes.append(_box(left, under, width, tall, True, aside, left + width // 2))
            if place:
                arrows.append(Arrow(((left + width + gap, under + tall // 2), (left + width, under + tall // 2)), True))
            else:
                arrows.append(Arrow(((x + width // 2, top + height), (x + width // 2, under)), True))
    return Picture(count * (width + gap) - gap + 2, under + tall + 1, "middle", tuple(boxes), tuple(arrows))


def down(chain: Chain) -> Picture:
    """The chain from top to bottom, and behind each link what starts instead, for a narrow screen."""
    width, inset, gap = 340, 40, 16
    boxes, arrows, y, bottom = [], [], 1, 0
    for number, stage in enumerate(chain.stages):
        if number:
            arrows.append(Arrow(((inset // 2, bottom), (inset // 2, y)), False))
        text = _lines(stage, 46)
        tall = 2 * _PAD + _LINE * len(text)
        boxes.append(_box(1, y, width - 2, tall, False, text, 1 + _PAD))
        bottom = y + tall
        y = bottom + gap
        for way in (way for way in chain.ways if way.stage == number):
            aside = _way_lines(way, 38)
            tall = 2 * _PAD + _LINE * len(aside)
            boxes.append(_box(inset + 20, y, width - inset - 22, tall, True, aside, inset + 20 + _PAD))
            arrows.append(Arrow(((inset, bottom), (inset, y + tall // 2), (inset + 20, y + tall // 2)), True))
            y += tall + gap
    return Picture(width, y - gap + 2, "start", tuple(boxes), tuple(arrows))


def _lines(stage: Stage, letters: int) -> list[tuple[str, str]]:
    texts = [("name", stage.name), ("medium", stage.medium), ("small", stage.place)]
    return [(kind, line) for kind, text in texts for line in _wrap(text, letters)]


def _way_lines(way: Way, letters: int) -> list[tuple[str, str]]:
    return [(kind, line) for kind, text in (("small", way.why), ("medium", way.to)) for line in _wrap(text, letters)]


def _wrap(text: str, letters: int) -> list[str]:
    return wrap(text, letters, break_long_words=False, break_on_hyphens=False)


def _box(x: int, y: int, width: int, height: int, aside: bool, lines: list[tuple[str, str]], at: int) -> Box:
    first = y + _PAD + _LINE - 3 + (height - 2 * _PAD - _LINE * len(lines)) // 2
    room = width - 8 if at > x + _PAD else width - 2 * _PAD
    texts = (
        Text(at, first + _LINE * number, kind, text, room if _width(text) > room else 0)
        for number, (kind, text) in enumerate(lines)
    )
    return Box(x, y, width, height, aside, tuple(texts))


def _width(text: str) -> float:
    """How wide *text* may be in a wide font: a W has about the width of its size, most others two thirds of it."""
    return sum(12 if letter in "WM@%mw" else 8.5 if letter.isupper() else 6.5 for letter in text)
