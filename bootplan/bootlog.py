"""Read a serial log: which stage a start came to, what most likely broke, and what to type next.

The log is read once, piece by piece. Of each start only the first and the last sight of each pattern are kept, so
memory stays small whatever the log is; the cases of schemas/bootlog.yaml are judged at the end. The last start counts.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
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
WIDEST = 160  # characters of a line of the log that are shown

_CURSOR = re.compile(r"\x1b\[[0-9;?]*[A-HJKSTfhlsu]|\x1b[78DEHMc]|[\r\x0b\x0c]+")  # what comes next is somewhere else
_COLOUR = re.compile(r"\x1b\[[0-9;?]*m|\x1b\([AB0]|[\x00-\x08\x0e-\x1f\x7f]+")
_NOTHING = bytes(range(33))
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
    line = starts = 0
    now, before, end = _Seen(1), None, None
    for at, (line, piece) in enumerate(_pieces(stream), start=1):
        if len(piece) < watch.shortest and (not piece or piece.isalnum()):
            end = (line, at, piece) if piece else end
            continue
        text = bare(piece, watch.shortest)
        if not text:
            continue
        hits = watch.hits(text)
        begun = next((watch.begins[one] for one in hits if one in watch.begins), None)
        if begun is not None and now.is_over(begun):
            now.end = end
            before, now, starts = now, _Seen(line), starts + 1
        end = line, at, piece
        if hits:
            now.add(_sight(*end), hits, watch.stages, begun)
    now.end = end
    return Explanation(line, starts + bool(now.first), judge.start(now), judge.start(before) if before else None)


def bare(piece: str, shortest: int = 0) -> str:
    """A *piece* of a line without what terminals, logread and the kernel put before and into it.

    What has less than *shortest* characters is left as it is: no pattern is in it.
    """
    text = _COLOUR.sub("", piece).strip()
    if len(text) < shortest:
        return text
    for stamp in _STAMPS:
        found = stamp.match(text)
        if found and found.end() < len(text):
            text = text[found.end() :]
    return text


def _pieces(stream: BinaryIO) -> Iterator[tuple[int, str]]:
    """The pieces of all lines, each with its line's number: what stands together, and is not too long to look at."""
    number, size, whole = 1, 0, True
    while raw := stream.readline(LONGEST_PIECE):
        size += len(raw)
        if size > LARGEST_LOG:
            raise Unreadable(f"more than {LARGEST_LOG >> 20} MiB; give only the end of it, like `tail -c 10M LOG`")
        whole = raw.endswith(b"\n")
        if not raw.strip(_NOTHING):
            yield number, ""
            number += whole
            continue
        for piece in _CURSOR.split(raw.decode("utf-8", "replace").rstrip("\n")):
            yield number, piece
        number += whole


def _sight(line: int, at: int, piece: str) -> Sight:
    text = visible(_COLOUR.sub("", piece).strip().replace("\t", " "))
    return Sight(line, at, text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…")


class _Watch:
    """All patterns, ready to be looked for."""

    def __init__(self, cases: Cases) -> None:
        watched = [(one, plain_text(one), re.compile(one).search) for one in cases.patterns]
        sized = ((len(plain), plain, one, search) for one, plain, search in watched)
        self._all = sorted(sized, key=lambda one: one[:3])
        self.shortest = self._all[0][0]
        self.stages = {one: place for place, stage in enumerate(cases.stages) for one in (*stage.starts, *stage.signs)}
        self.begins = {one: place for place, stage in enumerate(cases.stages) for one in stage.starts}

    def hits(self, text: str) -> list[str]:
        """The patterns that are in *text*."""
        found, size = [], len(text)
        for least, plain, one, search in self._all:
            if least > size:
                break
            if plain in text and search(text):
                found.append(one)
        return found


@dataclass
class _Seen:
    """What was seen of one start."""

    first_line: int
    first: dict[str, Sight] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)
    reached: dict[int, int] = field(default_factory=dict)
    began: int | None = None
    end: tuple[int, int, str] | None = None

    def is_over(self, begun: int) -> bool:
        """Whether the beginning of stage *begun* is that of another start: this one is beyond it, or began with it."""
        if not self.first:
            return False
        stage = max(self.reached, default=None)
        return stage is None or stage > begun or stage == begun == self.began

    def add(self, sight: Sight, hits: list[str], stages: dict[str, int], begun: int | None) -> None:
        """Remember a *sight* of the patterns in *hits*."""
        for one in hits:
            self.first.setdefault(one, sight)
            self.last[one] = sight.at
            if one in stages:
                self.reached[stages[one]] = sight.at
        if begun is not None and self.began is None:
            self.began = begun

    def earliest(self, patterns: tuple[str, ...]) -> Sight | None:
        """The first sight of any of the *patterns*."""
        return min((self.first[one] for one in patterns if one in self.first), key=lambda one: one.at, default=None)

    def up_to(self, pattern: str, at: int) -> bool:
        """Whether the *pattern* was seen up to the piece number *at*."""
        return pattern in self.first and self.first[pattern].at <= at

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
            _sight(*seen.end) if seen.end else NO_SIGHT,
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
            sights = [seen.last[sign] if last else seen.first[sign].at for sign in one.signs if sign in seen.first]
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
