"""One action, recorded once, cut everywhere, and judged; see :mod:`judge` for what is asked of each state.

Cuts that leave the same images share one judgement. So do cuts that differ only in blocks which the judgement did not
read before it wrote them: it could not have told them apart. Kills share a judgement when nothing that outlives the
script was changed between their points. Nothing is left out beyond that, unless the time is limited: then the cuts, and
after them the kills, are taken from coarse to fine until it is up, and the report says how many had no turn.
"""

import collections
import contextlib
import functools
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar

from .. import parts
from ..images import VOLUMES
from ..router import Router
from .action import SCRIPT, Action, Seen
from .box import Box, Tree
from .journal import Blocks, Cut, History
from .judge import Before, Judge, Observer, outside, overlay_files
from .moments import Moments
from .recorder import Recorder
from .slot_judge import SlotJudge, see_whole
from .workers import Worker, crew, in_child, ready

T = TypeVar("T")
WORKERS = max(2, os.cpu_count() or 2)
BEGIN, END = "begin", "end"
# A volume of UBI is written synchronously: neither the stand-in's loop device nor UBI has a cache that could lose it.
SYNCHRONOUS = tuple(name for name, _ in VOLUMES if name != "rootfs_data")


@dataclass(frozen=True)
class Bad:
    """A bad state: the cut in words, how many cuts lead to it or to one that cannot be told from it, and its faults."""

    cut: str
    count: int
    faults: tuple[str, ...]


@dataclass
class Report:
    """What came out for one action.

    ``commands`` points at which the script can be killed, ``writes`` it gave to the disks; ``cuts`` of the power and
    ``kills`` made; ``distinct`` images after the cuts, ``judged`` of these by a run; ``kill_runs`` for the kills;
    ``left_out`` of the cuts and kills when the time was limited, which the other figures do not count.
    """

    action: str
    commands: int = 0
    writes: int = 0
    cuts: int = 0
    distinct: int = 0
    judged: int = 0
    kills: int = 0
    kill_runs: int = 0
    left_out: int = 0
    bad: list[Bad] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def bad_count(self) -> int:
        """Return how many cuts and kills end badly."""
        return sum(one.count for one in self.bad)

    @property
    def note(self) -> str:
        """Return the figures as one line."""
        kills = f"; {self.kills} kills, {self.kill_runs} run" if self.kills else ""
        rest = f"; the time was up for {self.left_out} more" if self.left_out else ""
        return (
            f"{self.commands} commands, {self.writes} writes, {self.cuts} power cuts, {self.distinct} states, "
            f"{self.judged} judged{kills}{rest}"
        )


class Bench:
    """One action in one folder: its base images, its recorded run, and what was seen before it."""

    def __init__(self, action: Action, folder: str | Path, observers: Sequence[Observer] = ()) -> None:
        """Prepare the base, record the run, and look at what was there before."""
        self.action, self.folder, self.observers = action, Path(folder), observers
        self.journal = self.folder / "record/journal"
        self.tracer = parts.build()["standins"] / "bin/trace"
        in_child(self.prepare)
        self.images = {path.stem: path for path in sorted((self.folder / "base/images").glob("*.img"))}
        ways, env = in_child(self.record)
        self.history = History(self.journal, (*SYNCHRONOUS, *action.volumes))
        steps = {mark.text: mark.step for mark in self.history.marks}
        self.first, self.last = steps[BEGIN], steps[END]
        self.points = [mark for mark in self.history.marks if mark.text not in (BEGIN, END)]
        overlay = in_child(lambda: self.see_overlay(self.history.blocks(Cut(self.first))))
        trees = {way: [now] for way, (_, now) in ways.items()}
        ((way, (first, now)),) = ways.items()
        for way_there in (*self.action.old, self.action.new):
            trees.setdefault(way_there, [now, first])
        self.before = Before(trees, now, env, overlay)
        self.faults: list[str] = []
        if action.slots:
            self.before, self.faults = in_child(lambda: see_whole(self, Before({way: [now]}, now, env, overlay), first))

    def prepare(self) -> None:
        """Make the base images."""
        with Router(self.folder / "base", **self.action.kind) as router:
            router.services = False
            router.boot()
            self.action.prepare(router)
            router.sync()

    @contextlib.contextmanager
    def box(self, name: str) -> Iterator[Box]:
        """Give a box on the base images."""
        folder = self.folder / name
        with Recorder(folder, self.images) as recorder, Box(folder / "box", recorder, **self.action.kind) as box:
            yield box

    @contextlib.contextmanager
    def place_to_work(self) -> Iterator[tuple[Self, Box]]:
        """Give what a worker needs: this bench, and a box of its own."""
        with self.box(f"worker-{os.getpid()}") as box:
            yield self, box

    def record(self) -> tuple[dict[Seen, tuple[Tree, Tree]], dict[str, str]]:
        """Run the action under the tracer; return {way: (first tree, tree just before it)} and the environment."""
        with self.box("record") as box:
            box.services = False
            box.recorder.begin()
            box.boot()
            first = box.tree()
            if self.action.session:
                self.action.session(box)
            way, now = box.root(), box.tree()
            box.put(SCRIPT, self.action.text)
            self.action.brings(box)
            box.sync()
            env = box.env_tool.whole()
            box.recorder.mark(BEGIN)
            box.traced(self.action.command, self.tracer, 0, box.recorder.marks.fileno()).ok()
            box.sync()
            box.recorder.mark(END)
            box.recorder.finish()
        return {way: (first, now)}, env

    def see_overlay(self, blocks: Blocks) -> Tree:
        """Return the files of the internal overlay as they were when the action began."""
        with self.box("before") as box:
            box.recorder.begin(blocks, self.journal / "data")
            return overlay_files(box)

    def judge_cut(self, box: Box, blocks: Blocks) -> tuple[list[str], dict[str, set[int]]]:
        """Judge one cut in a worker; return its faults and what the judgement read."""
        box.recorder.begin(blocks, self.journal / "data")
        judge = self.judge(box, self.observers)
        faults = judge.judge() + self.strangers(box)
        seen = box.recorder.finish()
        if isinstance(judge, SlotJudge) and judge.ready:
            box.recorder.begin(blocks, self.journal / "data")
            faults += judge.judge_switch() + self.strangers(box)
            seen = {name: seen[name] | more for name, more in box.recorder.finish().items()}
        return faults, seen

    def judge(self, box: Box, observers: Sequence[Observer] = ()) -> Judge:
        """Return the judge for this action."""
        judge = self.action.judge or (SlotJudge if self.action.slots else Judge)
        return judge(self.action, box, self.before, observers)

    def judge_kill(self, box: Box, point: int) -> list[str]:
        """Judge one kill in a worker; return its faults."""
        box.recorder.begin()
        return self.judge(box).judge_kill(point, self.tracer) + self.strangers(box)

    def strangers(self, box: Box) -> list[str]:
        """Return the faults of images that are no targets and that the judgement changed."""
        names = [name for name in self.images if self.action.targets.get(name, ()) is not None]
        return outside(self.action, box.recorder.changed(names))

    def outside(self, cut: Cut) -> list[str]:
        """Return the faults of images that are no targets and that the action changed."""
        return outside(self.action, self.history.blocks(cut)) if self.has_strangers else []

    @functools.cached_property
    def has_strangers(self) -> bool:
        """Tell whether the action ever wrote anything else than its targets."""
        ever = {
            name: [block for block, (_, places) in versions.items() if set(places) != {None}]
            for name, versions in self.history.versions.items()
        }
        return bool(outside(self.action, ever))


def judge_cut(given: tuple[Bench, Box], cut: Cut, blocks: Blocks) -> tuple[list[str], dict[str, set[int]]]:
    """Judge one cut: a worker's job."""
    bench, box = given
    return bench.judge_cut(box, blocks)


def judge_kill(given: tuple[Bench, Box], point: int, what: str, count: int) -> list[str]:
    """Judge one kill: a worker's job."""
    bench, box = given
    return bench.judge_kill(box, point)


class Judged:
    """A judgement, and the blocks that must be the same for it to hold."""

    def __init__(self, history: History, cut: Cut, faults: list[str], seen: dict[str, set[int]]) -> None:
        """``seen`` is {image: blocks that were read before they were written}."""
        self.history, self.faults = history, faults
        self.wanted = collections.deque(
            (name, block, history.place(cut, name, block))
            for name, blocks in seen.items()
            for block in blocks & history.versions[name].keys()
        )

    def holds_for(self, cut: Cut) -> bool:
        """Tell whether a cut leaves these blocks the same; what told the last one apart is looked at first."""
        for count, (name, block, place) in enumerate(self.wanted):
            if self.history.place(cut, name, block) != place:
                self.wanted.rotate(-count)
                return False
        return True


def examine(
    action: Action,
    folder: str | Path | None = None,
    *,
    workers: int = WORKERS,
    observers: Sequence[Observer] = (),
    limit: float | None = None,
) -> Report:
    """Record an action, cut it everywhere and return the :class:`Report`.

    With a ``limit`` cuts have two thirds of these seconds and kills the rest; at least one of each is judged.
    """
    start = time.monotonic()
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="cuts-"))
        bench = Bench(action, folder, observers)
        report = Report(action.name, commands=len(bench.points))
        if bench.faults:
            report.bad.append(Bad("nothing was cut", 1, tuple(bench.faults)))
        report.writes = sum(bench.first < end <= bench.last for _, end in bench.history.requests)
        team = stack.enter_context(crew(workers, bench.place_to_work))
        cut_everywhere(bench, team, report, limit and limit * 2 / 3)
        if action.kills:
            kill_everywhere(bench, team, report, limit and limit / 3)
    report.seconds = time.monotonic() - start
    return report


def states_of(bench: Bench, report: Report) -> dict[tuple[int, ...], list[Cut]]:
    """Return {signature: [cuts]} of all cuts, those before each command among them."""
    moments = Moments(bench.history, bench.first, bench.last)
    states = collections.defaultdict(list)
    for cut in moments.cuts():
        states[moments.signature(cut)].append(cut)
    for mark in bench.points:
        states[moments.signature(Cut(mark.step))].append(Cut(mark.step))
    report.cuts = sum(map(len, states.values()))
    report.distinct = len(states)
    return states


def coarse_to_fine(things: Sequence[T]) -> list[T]:
    """Return a list in another order: halves, then quarters, and so on, so that each beginning is spread over it."""
    bits = max(1, len(things) - 1).bit_length()
    order = (int(f"{number:0{bits}b}"[::-1], 2) for number in range(1 << bits))
    return [things[number] for number in order if number < len(things)]


class Clock:
    """Tells when a limited time is up; without a limit it never is."""

    def __init__(self, limit: float | None) -> None:
        """Begin now."""
        self.end = None if limit is None else time.monotonic() + limit

    def is_up(self) -> bool:
        """Tell whether there is no more time."""
        return self.end is not None and time.monotonic() > self.end


def cut_everywhere(bench: Bench, team: Sequence[Worker], report: Report, limit: float | None = None) -> None:
    """Judge every state; the first worker takes them from the front, the others from the back."""
    cuts = {group[0]: len(group) for group in states_of(bench, report).values()}
    waiting, clock = list(cuts), Clock(limit)
    if limit:
        waiting = coarse_to_fine(waiting)

    def give(worker: Worker) -> None:
        """Give a worker the next state that has no judgement yet."""
        if waiting and not clock.is_up():
            cut = waiting.pop(0 if limit or worker is team[0] else -1)
            worker.give(judge_cut, cut, bench.history.blocks(cut))

    for worker in team:
        give(worker)
    while any(worker.job for worker in team):
        for worker in ready(team):
            cut = worker.operands[0]
            faults, seen = worker.take()
            report.judged += 1
            judged = Judged(bench.history, cut, faults, seen)
            same = [other for other in waiting if judged.holds_for(other)]
            for other in (cut, *same):
                found = [*bench.outside(other), *faults]
                if found:
                    report.bad.append(Bad(in_words(bench, other), cuts[other], tuple(found)))
            waiting[:] = [other for other in waiting if other not in set(same)]
            give(worker)
    missed = sum(cuts[cut] for cut in waiting)
    report.left_out += missed
    report.cuts -= missed
    report.distinct -= len(waiting)


def kill_everywhere(bench: Bench, team: Sequence[Worker], report: Report, limit: float | None = None) -> None:
    """Kill the script before every command; points between which nothing lasting changed share a run."""
    groups: list[tuple[int, str, list[int]]] = []
    clock = Clock(limit)
    for number, mark in enumerate(bench.points, 1):
        _, changed, what = mark.text.split(" ", 2)
        if changed == "1" or not groups:
            groups.append((number, what, []))
        groups[-1][2].append(number)
    if limit:
        groups = coarse_to_fine(groups)

    def give(worker: Worker) -> None:
        """Give a worker the next group."""
        if groups and not clock.is_up():
            number, what, members = groups.pop(0)
            report.kills += len(members)
            report.kill_runs += 1
            worker.give(judge_kill, number, what, len(members))

    for worker in team:
        give(worker)
    while any(worker.job for worker in team):
        for worker in ready(team):
            number, what, count = worker.operands
            faults = worker.take()
            if faults:
                report.bad.append(Bad(f"killed at point {number}, before {what}", count, tuple(faults)))
            give(worker)
    report.left_out += sum(len(members) for _, _, members in groups)


def in_words(bench: Bench, cut: Cut) -> str:
    """Return a cut as a text: after which write, before which command, what is lost."""
    written = sum(bench.first < end <= cut.step for _, end in bench.history.requests)
    torn = any(begin <= cut.step < end for begin, end in bench.history.requests)
    point = next((mark.text.split(" ", 2)[2] for mark in bench.points if mark.step >= cut.step), "the end")
    words = f"after write {written}{' and part of the next' if torn else ''}, before {point}"
    if cut.lost:
        words += f", without what {' and '.join(cut.lost)} had not flushed"
    if cut.missing:
        words += f", without {len(cut.missing)} blocks that were being flushed"
    return words
