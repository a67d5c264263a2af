"""Read a serial log: which stage a start came to, what most likely broke, and what to type next.

The log is read once, in chunks of whole lines. Of each start only the first and the last sight of each pattern are
kept, so memory stays small whatever the log is; the cases of schemas/bootlog.yaml are judged at the end. The last start
counts. A chunk is searched for the plain text of each pattern first, and only pieces of lines that have some are looked
at: what a log costs grows with its size alone.
"""

import os
import re
import stat
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import BinaryIO, NamedTuple

from bootplan.board import Board
from bootplan.failures import Line, failures
from bootplan.images import end_of_name, for_memory
from bootplan.logcases import VALUES, Case, Cases, load_cases, plain_text
from bootplan.plan import DEFAULT_TFTP_SERVER, Plan
from bootplan.report import visible
from bootplan.units import BINARY_UNITS

LONGEST_PIECE = 4096
LARGEST_LOG = 2**26
_CHUNK = 2**16
_MOST_KNOWN, _LONGEST_KNOWN = 4096, 200  # answers that are kept, and the longest text one is kept for
WIDEST = 160  # characters of a line of the log that are shown

_CURSOR = re.compile(r"\x1b\[[0-9;?]*[A-HJKSTfhlsu]|\x1b[78DEHMc]|[\r\x0b\x0c]+")  # what comes next is somewhere else
_COLOUR = re.compile(r"\x1b\[[0-9;?]*m|\x1b\([AB0]|[\x00-\x08\x0e-\x1f\x7f]+")
_DAY, _TIME = r"\d{4}-\d\d-\d\d", r"\d\d:\d\d:\d\d(?:[.,:]\d{1,6})?"
_STAMPS = tuple(
    re.compile(stamp)
    for stamp in (
        r"(?:> ?){1,4}",  # of a quotation
        rf"\[?(?:{_DAY}[T ])?{_TIME}Z?\]?[ >:|]*",  # the terminal program's
        rf"\w{{3}} +\d{{1,2}} {_TIME} ",  # of ts
        rf"\w{{3}} \w{{3}} +\d{{1,2}} {_TIME} \d{{4}} \w{{1,9}}\.\w{{1,9}} \w{{1,16}}: ",  # logread's
        r"(?:<\d{1,3}>)?\[ {0,8}\d{1,8}\.\d{6}\](?:\[ *[CT]\d+\])? ?",  # the kernel's
    )
)
_PROMPTS = {"U-Boot> ": "u-boot", "# ": "linux", "$ ": "pc"}


class Unreadable(Exception):
    """A log that is too large to be one; the text says so."""


class Sight(NamedTuple):
    """Where something stands in the log: its line, counted from 1, its number among all pieces, and its text."""

    line: int
    at: int
    text: str


NO_SIGHT = Sight(1, 0, "")

_Place = tuple[int, int, str]
"""A sight before it is made fit to be shown."""
_Hits = tuple[tuple[str, ...], int | None]
"""The patterns that are in a piece, and the stage that begins there."""


@dataclass(frozen=True)
class Finding:
    """One case that holds, its proof, what it means, and what to do: lines to type, or things to do by hand."""

    case: Case
    proof: Sight
    means: str
    steps: tuple[Line, ...]


@dataclass(frozen=True)
class Start:
    """One start of the board: its lines, the last stage it came to, where it came from, and what was found.

    Without a *stage* nothing in it looked like a start of this board.
    """

    first_line: int
    last: Sight
    stage: str | None
    medium: str | None
    system: str | None
    findings: tuple[Finding, ...]

    @property
    def causes(self) -> tuple[Finding, ...]:
        """What went wrong, the earliest first."""
        return tuple(one for one in self.findings if one.case.kind != "note")

    @property
    def notes(self) -> tuple[Finding, ...]:
        """What only looks as if something went wrong."""
        return tuple(one for one in self.findings if one.case.kind == "note")


@dataclass(frozen=True)
class Explanation:
    """What there is to say about a log: how many *starts* are in it, the *last* one, and the one *before* that."""

    lines: int
    starts: int
    last: Start
    before: Start | None


def explain(stream: BinaryIO, board: Board, plan: Plan | None = None) -> Explanation:
    """Read the log in *stream*; with a *plan* its values are in the steps. Raises Unreadable."""
    judge = _Judge(load_cases(), board, plan)
    watch = _Watch(judge.cases)
    lines = starts = at = 0
    now, before = _Seen(1), None
    end: _Place | None = None
    for first, lines, text in _chunks(stream):  # noqa: B007, it is the number of all of them in the end
        plains = watch.in_chunk(text)
        pieces, numbers = _pieces(first, text) if plains else _last_piece(first, text)
        for place, (hits, begun) in watch.hits(pieces, plains):
            if begun is not None and now.is_over(begun):
                now.end = _last(pieces, numbers, at, place) or end
                before, now, starts = now, _Seen(numbers[place]), starts + 1
            now.add((numbers[place], at + place, pieces[place]), hits, watch.stages, begun)
        end = _last(pieces, numbers, at, len(pieces)) or end
        at += len(pieces)
    now.end = end
    return Explanation(lines, starts + bool(now.first), judge.start(now), judge.start(before) if before else None)


def bare(piece: str) -> str:
    """A *piece* of a line without what terminals, logread and the kernel put before and into it."""
    text = _COLOUR.sub("", piece).strip()
    for stamp in _STAMPS:
        found = stamp.match(text)
        if found and found.end() < len(text):
            text = text[found.end() :]
    return text


def _chunks(stream: BinaryIO) -> Iterator[tuple[int, int, str]]:
    """Whole lines, as many as are read at once: the numbers of the first and the last one, and their text.

    A line that is longer comes in parts. What comes next somewhere else on the screen begins behind a carriage return;
    there are no other control characters.
    """
    number, size, rest = 1, 0, b""
    _refuse_if_larger(_size(stream))
    while raw := stream.read(_CHUNK):
        size += len(raw)
        _refuse_if_larger(size)
        raw = rest + raw
        cut = raw.rfind(b"\n") + 1 or len(raw)
        raw, rest = raw[:cut], raw[cut:]
        more = raw.count(b"\n")
        yield number, number + more - raw.endswith(b"\n"), _plain(raw)
        number += more
    if rest:
        yield number, number, _plain(rest)


def _refuse_if_larger(size: int) -> None:
    if size > LARGEST_LOG:
        raise Unreadable(f"more than {LARGEST_LOG >> 20} MiB; give only the end of it, like `tail -c 10M LOG`")


def _size(stream: BinaryIO) -> int:
    """How much is to be read from a file; of what is none, nobody knows."""
    try:
        facts = os.fstat(stream.fileno())
        return facts.st_size - stream.tell() if stat.S_ISREG(facts.st_mode) else 0
    except OSError:
        return 0


def _plain(raw: bytes) -> str:
    text = raw.decode("utf-8", "replace").removesuffix("\n")
    return _COLOUR.sub("", _CURSOR.sub("\r", text))


def _pieces(first: int, text: str) -> tuple[Sequence[str], Sequence[int]]:
    """The pieces of all lines of *text*, and the line's number of each: what is not too long to look at."""
    lines = text.split("\n")
    if "\r" not in text and max(map(len, lines)) <= LONGEST_PIECE:
        return lines, range(first, first + len(lines))
    pieces, numbers = [], []
    for number, line in enumerate(lines, start=first):
        for part in line.split("\r"):
            for begin in range(0, len(part), LONGEST_PIECE):
                pieces.append(part[begin : begin + LONGEST_PIECE])
                numbers.append(number)
    return pieces, numbers


def _last_piece(first: int, text: str) -> tuple[Sequence[str], Sequence[int]]:
    """The last of the `_pieces` that is not empty, alone: nothing else of *text* matters."""
    text = text.rstrip()
    begin = max(text.rfind("\n"), text.rfind("\r")) + 1
    return [text[begin:][-LONGEST_PIECE:]], [first + text.count("\n")]


def _last(pieces: Sequence[str], numbers: Sequence[int], at: int, behind: int) -> _Place | None:
    """The last of the *pieces* ahead of number *behind* that is not empty; *at* is the number of the first one."""
    for place in range(behind - 1, -1, -1):
        if pieces[place].strip():
            return numbers[place], at + place, pieces[place]
    return None


def _sight(place: _Place) -> Sight:
    line, at, piece = place
    text = visible(piece.strip().replace("\t", " "))
    return Sight(line, at, text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…")


class _Watch:
    """All patterns, ready to be looked for."""

    def __init__(self, cases: Cases) -> None:
        self._by_plain: dict[str, list[str]] = {}
        for one in sorted(cases.patterns, key=lambda one: (len(plain_text(one)), one)):
            self._by_plain.setdefault(plain_text(one), []).append(one)
        self._searches = {one: re.compile(one).search for one in cases.patterns}
        self._known: dict[str, _Hits] = {}
        self.stages = {one: place for place, stage in enumerate(cases.stages) for one in (*stage.starts, *stage.signs)}
        self._begins = {one: place for place, stage in enumerate(cases.stages) for one in stage.starts}

    def in_chunk(self, text: str) -> list[str]:
        """The plain texts that are in *text*: without one no pattern is."""
        return [plain for plain in self._by_plain if plain in text]

    def hits(self, pieces: Sequence[str], plains: list[str]) -> Iterator[tuple[int, _Hits]]:
        """The *pieces* that patterns are in, by number, and which; all patterns have one of the *plains*."""
        if not plains:
            return
        text = "\n".join(pieces)
        begins = list(accumulate((len(piece) + 1 for piece in pieces), initial=0))
        near: dict[int, list[str]] = {}
        for plain in plains:
            found = text.find(plain)
            while found >= 0:
                place = bisect_right(begins, found) - 1
                near.setdefault(place, []).append(plain)
                found = text.find(plain, begins[place + 1])
        for place in sorted(near):
            hits = self._known.get(pieces[place]) or self._hits(pieces[place], near[place])
            if hits[0]:
                yield place, hits

    def _hits(self, piece: str, plains: list[str]) -> _Hits:
        """What is in a *piece*; it is kept, since logs of many starts have the same pieces again and again."""
        text = bare(piece)
        found = tuple(one for plain in plains for one in self._by_plain[plain] if self._searches[one](text))
        hits = found, next((self._begins[one] for one in found if one in self._begins), None)
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        if len(piece) <= _LONGEST_KNOWN:
            self._known[piece] = hits
        return hits


@dataclass
class _Seen:
    """What was seen of one start."""

    first_line: int
    first: dict[str, _Place] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)
    reached: dict[int, int] = field(default_factory=dict)
    began: int | None = None
    end: _Place | None = None

    def is_over(self, begun: int) -> bool:
        """Whether the beginning of stage *begun* is that of another start: this one is beyond it, or began with it."""
        if not self.first:
            return False
        stage = max(self.reached, default=None)
        return stage is None or stage > begun or stage == begun == self.began

    def add(self, place: _Place, hits: tuple[str, ...], stages: dict[str, int], begun: int | None) -> None:
        """Remember that the patterns in *hits* were seen at this *place*."""
        at = place[1]
        for one in hits:
            self.first.setdefault(one, place)
            self.last[one] = at
            if one in stages:
                self.reached[stages[one]] = at
        if begun is not None and self.began is None:
            self.began = begun

    def earliest(self, patterns: tuple[str, ...]) -> Sight | None:
        """The first sight of any of the *patterns*."""
        places = [self.first[one] for one in patterns if one in self.first]
        return _sight(min(places, key=lambda one: one[1])) if places else None

    def up_to(self, pattern: str, at: int) -> bool:
        """Whether the *pattern* was seen up to the piece number *at*."""
        return pattern in self.first and self.first[pattern][1] <= at

    def behind(self, pattern: str, at: int) -> bool:
        """Whether the *pattern* was seen behind the piece number *at*."""
        return self.last.get(pattern, at) > at


class _Judge:
    """What the cases say about starts, on this board and for this plan."""

    def __init__(self, cases: Cases, board: Board, plan: Plan | None) -> None:
        self.cases, self._board, self._plan = cases, board, plan
        self._failures = {one.name: one.steps for one in failures(plan, board)} if plan else {}

    def start(self, seen: _Seen) -> Start:
        """The start that was *seen*."""
        stage = max(seen.reached, default=None)
        medium = self._of(seen, self.cases.boot_media)
        values = self._values(medium or (self._plan.boot.medium if self._plan else None))
        found: list[Finding] = []
        for case in self.cases.cases:
            proof = self._proof(case, seen, medium)
            if proof is not None and not any(one.case.name in case.unless_case for one in found):
                found.append(Finding(case, proof, case.means.format_map(values), self._steps(case, medium, values)))
        found.sort(key=lambda one: (one.case.kind == "note", one.proof.at))
        return Start(
            seen.first_line,
            _sight(seen.end) if seen.end else NO_SIGHT,
            None if stage is None else self.cases.stages[stage].name,
            medium,
            self._of(seen, self.cases.systems, last=True),
            tuple(found),
        )

    @staticmethod
    def _of(seen: _Seen, marks: dict, last: bool = False) -> str | None:  # type: ignore[type-arg]
        """Which of the *marks* was seen: first, or last."""
        when = {}
        for name, one in marks.items():
            sights = [seen.last[sign] if last else seen.first[sign][1] for sign in one.signs if sign in seen.first]
            if sights:
                when[name] = max(sights) if last else min(sights)
        if not when:
            return None
        chosen: str = max(when, key=when.__getitem__) if last else min(when, key=when.__getitem__)
        return chosen

    def _proof(self, case: Case, seen: _Seen, medium: str | None) -> Sight | None:
        """The proof that *case* holds, or None."""
        if not self._fits(case, medium):
            return None
        patterns = case.seen
        if case.plan == "other-medium" and medium is not None:
            patterns = self.cases.boot_media[medium].signs  # type: ignore[index]
        proof = seen.earliest(patterns)
        if proof is None:
            return None
        at = proof.at
        reached = len(self.cases.stages) if case.unless_reached is None else self.cases.place(case.unless_reached)
        wanted = 0 if case.needs_reached is None else self.cases.place(case.needs_reached)
        holds = (
            all(seen.up_to(one, at) for one in case.needs)
            and (not case.needs_any or any(seen.up_to(one, at) for one in case.needs_any))
            and (not wanted or any(stage >= wanted for stage in seen.reached))
            and not any(one in seen.first for one in case.unless)
            and not any(seen.up_to(one, at - 1) for one in case.unless_before)
            and not any(seen.behind(one, at) for one in case.unless_after)
            and not any(stage >= reached and last > at for stage, last in seen.reached.items())
        )
        return proof if holds else None

    def _fits(self, case: Case, medium: str | None) -> bool:
        """Whether *case* is about this plan, and the *medium* of this start."""
        plan = self._plan
        if case.media and (medium or (plan and plan.boot.medium)) not in case.media:
            return False
        if case.plan in ("any", "no-disk") and plan is None:
            return True
        if plan is None:
            return False
        ram = None if plan.board.ram is None else f"ram-{plan.board.ram // BINARY_UNITS['GiB']}GiB"
        return {
            "any": True,
            "disk": any(True for _ in plan.disks()),
            "no-disk": not any(True for _ in plan.disks()),
            "other-medium": medium is not None and medium != plan.boot.medium,
        }.get(case.plan, case.plan == ram)

    def _steps(self, case: Case, medium: str | None, values: dict[str, str]) -> tuple[Line, ...]:
        """What to do: as the recovery card of the plan says it, where that has a failure for the *case*."""
        plan = self._plan
        own = plan is not None and medium in (None, plan.boot.medium)
        if plan is not None and own and case.failure in self._failures:
            slots, method = plan.slots is not None, plan.root.method
            if {"any": True, "slots": slots, "cmdline": method == "cmdline"}[case.failure_with]:
                return self._failures[case.failure]
        medium = medium or (plan.boot.medium if plan else None)
        steps = case.on.get(medium, case.do) if medium else case.do  # type: ignore[call-overload]
        if case.with_slots and plan is not None and own and plan.slots is not None:
            steps = case.with_slots
        return tuple(_line(one.format_map(values), medium or "") for one in steps)

    def _values(self, medium: str | None) -> dict[str, str]:
        """What the steps of a start from *medium* may name; without a plan the names as OpenWrt's images have them."""
        plan, media, files = self._plan, self._board.media, self._board.files
        switches = {name: f"A={one.switch[0]} B={one.switch[1]}" for name, one in media.items()}
        wanted = plan.boot.medium if plan else None
        flash = "emmc" if medium == "emmc" else "nand"
        values = {
            "bl2": self._file("bootloader", "bl2", files.bl2[flash]),
            "fip": self._file("bootloader", "fip", files.fip[flash]),
            "card": self._file("fallback", "image", files.card),
            "recovery": self._file("recovery", "image", files.recovery),
            "system": self._file("upgrade", "image", files.system),
            "server": plan.recovery.server if plan and plan.recovery else DEFAULT_TFTP_SERVER,
            "switch": switches[wanted] if wanted else ", ".join(f"{media[one].title} {switches[one]}" for one in media),
            "plan": media[wanted].title if wanted else "",
            "title": media[wanted].menu_title if wanted else "",
            **switches,
        }
        assert set(values) == set(VALUES)
        return values

    def _file(self, section: str, key: str, part: str) -> str:
        """The plan's own file, or how the names of OpenWrt's end: the file *part* for this board."""
        plan = self._plan
        if plan is None:
            return f"…{self._board.files.profile}bpi-r4-{part}"
        image = plan.files().get((section, key))
        return image.file if image else f"…{end_of_name(plan, self._board, for_memory(plan, self._board, part))}"


def _line(text: str, medium: str) -> Line:
    for prompt, where in _PROMPTS.items():
        if text.startswith(prompt):
            return Line(where, text.removeprefix(prompt), medium if where == "u-boot" else "")  # type: ignore[arg-type]
    return Line("hand", text)
