"""Every moment at which the power may go, as cuts of a :class:`journal.History`, and which leave the same images.

- after each write, in order (a write is what the kernel gave the disk as one);
- in each write of more than one block: only its first block, all but its last block;
- after each write, without what had not been flushed: on every disk, and on each disk alone;
- before each flush that had something to do: seeded random parts of what it would make last are missing.
"""

import bisect
import itertools
import random
from collections.abc import Iterator

from .journal import Cut, History

SUBSETS = 6
MISSING_SHARES = (0.1, 0.5, 0.9)


class Moments:
    """The cuts between two steps of a history, and the signature of the images after each."""

    def __init__(self, history: History, first: int, last: int) -> None:
        """``first`` and ``last`` are the steps between which the power may go."""
        self.history, self.first, self.last = history, first, last
        self.lines = self.signatures()

    def signatures(self) -> dict[str, tuple[list[int], list[int]]]:
        """Return {image: (steps, what the image's content is then)}; equal numbers are equal contents."""
        lines = {name: ([0], [0]) for name in self.history.names}
        now = dict.fromkeys(self.history.names, 0)
        places: dict[tuple[str, int], int | None] = {}
        for step, (name, blocks) in enumerate(self.history.pieces, 1):
            for block, place in blocks.items():
                now[name] ^= part(name, block, places.get((name, block))) ^ part(name, block, place)
                places[name, block] = place
            lines[name][0].append(step)
            lines[name][1].append(now[name])
        return lines

    def at(self, name: str, step: int) -> int:
        """Return the signature of an image after a step."""
        steps, values = self.lines[name]
        return values[bisect.bisect_right(steps, step) - 1]

    def signature(self, cut: Cut) -> tuple[int, ...]:
        """Return the signature of all images after a cut."""
        history = self.history
        concerned = {history.pieces[step - 1][0] for step in cut.missing}
        return tuple(
            self.without(name, cut)
            if name in concerned
            else self.at(name, history.flushed(name, cut.step) if name in cut.lost else cut.step)
            for name in history.names
        )

    def without(self, name: str, cut: Cut) -> int:
        """Return the signature of an image after a cut at which some steps are missing."""
        since = min(cut.missing) - 1
        value = self.at(name, since)
        blocks: dict[int, int | None] = {}
        for step in range(since + 1, cut.step + 1):
            if self.history.pieces[step - 1][0] == name and step not in cut.missing:
                blocks.update(self.history.pieces[step - 1][1])
        for block, place in blocks.items():
            value ^= part(name, block, self.history.place(Cut(since), name, block)) ^ part(name, block, place)
        return value

    def cuts(self) -> Iterator[Cut]:
        """Yield every cut."""
        yield Cut(self.first)
        yield from self.losses(self.first)
        for begin, end in self.history.requests:
            if not self.first < end <= self.last:
                continue
            torn = {begin, end - 1} if end > begin else ()
            for step in sorted(torn):
                yield Cut(step)
            yield Cut(end)
            yield from self.losses(end)
        yield from self.subsets()

    def losses(self, step: int) -> Iterator[Cut]:
        """Yield the cuts after a step that lose what was not flushed."""
        history = self.history
        open_disks = tuple(
            name for name in history.names if self.at(name, history.flushed(name, step)) != self.at(name, step)
        )
        if open_disks:
            yield Cut(step, open_disks)
        if len(open_disks) > 1:
            for name in open_disks:
                yield Cut(step, (name,))

    def subsets(self) -> Iterator[Cut]:
        """Yield cuts just before a flush ends, with parts of what it makes last missing."""
        chance = random.Random(1)
        history = self.history
        for name in history.names:
            if name in history.synchronous:
                continue
            for before, after in itertools.pairwise(history.flushes[name]):
                window = [step for step in range(before + 1, after + 1) if history.pieces[step - 1][0] == name]
                if len(window) < 2 or not self.first < after <= self.last:
                    continue
                for number in range(SUBSETS):
                    share = MISSING_SHARES[number % len(MISSING_SHARES)]
                    yield Cut(after, (), frozenset(step for step in window if chance.random() < share))


def part(name: str, block: int, place: int | None) -> int:
    """Return what a block adds to a signature; nothing when it is as in the base."""
    return 0 if place is None else hash((name, block, place))
