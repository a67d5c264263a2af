"""Several ways to bring one system onto one router, in turn, each from the same start: seconds, bytes, requests."""

import shutil
import statistics
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from .devices import Written


@dataclass(frozen=True)
class Run:
    """One run: its seconds, and what was :class:`Written` to each device."""

    seconds: float
    written: dict


@dataclass
class Result:
    """The runs of one way; the figures are medians."""

    runs: list = field(default_factory=list)

    @property
    def seconds(self):
        """Return the seconds of the run in the middle."""
        return statistics.median(run.seconds for run in self.runs)

    @property
    def spread(self):
        """Return the shortest and the longest run."""
        return min(run.seconds for run in self.runs), max(run.seconds for run in self.runs)

    @property
    def bytes(self):
        """Return the bytes that were written to all devices."""
        return statistics.median(sum(one.bytes for one in run.written.values()) for run in self.runs)

    @property
    def requests(self):
        """Return the requests they came in."""
        return statistics.median(sum(one.requests for one in run.written.values()) for run in self.runs)

    def bytes_to(self, *names):
        """Return the bytes that were written to some of the devices."""
        nothing = Written(0, 0)
        return statistics.median(sum(run.written.get(name, nothing).bytes for name in names) for run in self.runs)


def contest(folder, ways, runs):
    """Run each of ``ways`` ({name: function that gets an empty folder and returns a :class:`Run`}) in turn.

    Return {name: :class:`Result`}. Every second round goes the other way round, so that none always comes first.
    """
    results = {name: Result() for name in ways}
    for number in range(runs):
        for name in list(ways) if number % 2 == 0 else reversed(ways):
            place = Path(folder) / f"{name}-{number}"
            place.mkdir(parents=True)
            results[name].runs.append(ways[name](place))
            shutil.rmtree(place)
    return results


def copied(images, folder):
    """Return {name: path} of copies of images in a folder; holes stay holes."""
    copies = {}
    for name, path in images.items():
        copies[name] = folder / f"{name}.img"
        subprocess.run(["cp", "--sparse=always", path, copies[name]], check=True)
    return copies
