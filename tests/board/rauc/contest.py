"""Several ways to bring one system onto one router, run in turn, each from the same start."""

import os
import resource
import shutil
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PARENT, TIMES = 1, slice(11, 15)  # fields of /proc/PID/stat behind the name: own and waited-for children's time


@dataclass(frozen=True)
class Run:
    """One run: its seconds, and those of a processor that its programs took, which other load changes less."""

    seconds: float
    processor: float

    def __sub__(self, other: "Run") -> "Run":
        """Return what is left of this run without a part of it."""
        return Run(self.seconds - other.seconds, self.processor - other.processor)


@dataclass
class Times:
    """The runs of one way; the figures are those in the middle."""

    runs: list[Run] = field(default_factory=list)

    def middle(self, what: str) -> float:
        """Return the middle of a figure of :class:`Run`."""
        return float(statistics.median(getattr(run, what) for run in self.runs))

    def __str__(self) -> str:
        """Return the figures as text."""
        seconds = [run.seconds for run in self.runs]
        return (
            f"{self.middle('seconds'):.2f} s ({min(seconds):.2f} to {max(seconds):.2f}), "
            f"processor {self.middle('processor'):.2f} s"
        )


def waited_for() -> float:
    """Return the seconds of a processor that the programs took that this process has started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def processor_seconds(pid: int) -> float:
    """Return the seconds of a processor that a process, and what descends from it, have taken so far."""
    family: dict[int, list[int]] = {}
    found: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        family.setdefault(int(fields[PARENT]), []).append(int(path.parent.name))
        found[int(path.parent.name)] = sum(map(int, fields[TIMES]))
    waiting, total = [pid], 0
    while waiting:
        one = waiting.pop()
        total += found.get(one, 0)
        waiting += family.get(one, [])
    return total / TICKS


def contest(folder: str | Path, ways: dict[str, Callable[[Path], Run]], runs: int) -> dict[str, Times]:
    """Run each of ``ways``, {name: function that gets an empty folder and returns a :class:`Run`}.

    Return {name: :class:`Times`}. Every second round goes the other way round, so that none always comes first.
    """
    times = {name: Times() for name in ways}
    for number in range(runs):
        for name in list(ways) if number % 2 == 0 else reversed(ways):
            place = Path(folder) / f"{name}-{number}"
            place.mkdir(parents=True)
            times[name].runs.append(ways[name](place))
            shutil.rmtree(place)
    return times
