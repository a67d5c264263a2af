"""Several ways to bring one system onto one router, run in turn, each from the same start."""

import shutil
import statistics
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Times:
    """The seconds of the runs of one way."""

    seconds: list = field(default_factory=list)

    @property
    def middle(self):
        """Return the seconds of the run in the middle."""
        return statistics.median(self.seconds)

    def __str__(self):
        """Return the middle, the shortest and the longest."""
        return f"{self.middle:.2f} s ({min(self.seconds):.2f} to {max(self.seconds):.2f})"


def contest(folder, ways, runs):
    """Run each of ``ways``, {name: function that gets an empty folder and returns seconds}; return {name: :class:`Times`}.

    Every second round goes the other way round, so that none always comes first.
    """
    times = {name: Times() for name in ways}
    for number in range(runs):
        for name in list(ways) if number % 2 == 0 else reversed(ways):
            place = Path(folder) / f"{name}-{number}"
            place.mkdir(parents=True)
            times[name].seconds.append(ways[name](place))
            shutil.rmtree(place)
    return times
