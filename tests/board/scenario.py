"""The table of the bench: what is shown, on which tier, and how it ended.

    @scenario(tier=2, title="install, extroot-overlay: a cut before each command")
    def install_overlay(folder):
        ...
        return Outcome(cuts=931, bad=0)

A scenario gets an empty folder. It failed when it raises; it returns an :class:`Outcome` otherwise. The scenarios of a
tier are in the module ``scenarios`` of its packages, beside ``build(report)``, which builds what they need.
"""

import importlib
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from .cache import BuildError, Report

TIERS = {1: "U-Boot alone", 2: "the private root", 3: "the whole board"}
PACKAGES = {1: ("sandbox",), 2: ("cuts", "rauc"), 3: ("machine",)}


SHORT_SECONDS = 5
"""How long a row of the short table judges cuts and kills."""


@dataclass(frozen=True)
class Outcome:
    """How a scenario ended: power cuts made, bad states among them, and a remark for the table.

    ``expected_bad`` is for a sequence that is known to be unsafe: bad states are then what must be found.
    """

    cuts: int = 0
    bad: int = 0
    note: str = ""
    expected_bad: bool = False

    @property
    def ok(self) -> bool:
        """Tell whether this is what should have come out."""
        return (self.bad > 0) == self.expected_bad


Function = Callable[..., Outcome]


@dataclass(frozen=True)
class Scenario:
    """One row of the table; ``extra`` when it is not in the short table: another row shows the same, or it measures.

    A ``limited`` one takes a second argument: for how many seconds it may judge cuts, or None.
    """

    name: str
    tier: int
    title: str
    function: Function
    extra: bool = False
    limited: bool = False


@dataclass(frozen=True)
class Row:
    """A row that was run; ``trouble`` is the error that ended it, or empty."""

    name: str
    tier: int
    title: str
    seconds: float
    outcome: Outcome = field(default_factory=Outcome)
    trouble: str = ""

    @property
    def ok(self) -> bool:
        """Tell whether the scenario ended as it should."""
        return not self.trouble and self.outcome.ok

    @property
    def result(self) -> str:
        """Return the word for the table."""
        if self.trouble:
            return "ERROR"
        return ("caught" if self.outcome.expected_bad else "pass") if self.outcome.ok else "FAIL"


REGISTRY: list[Scenario] = []


def scenario(*, tier: int, title: str, extra: bool = False, limited: bool = False) -> Callable[[Function], Function]:
    """Register a function as a scenario of a tier; its name must be the only one of that name."""

    def register(function: Function) -> Function:
        """Add the function to the registry and return it unchanged."""
        if any(one.name == function.__name__ for one in REGISTRY):
            raise ValueError(f"two scenarios are called {function.__name__}")
        REGISTRY.append(Scenario(function.__name__, tier, title, function, extra, limited))
        return function

    return register


def scenarios_of(tier: int) -> list[ModuleType]:
    """Return the modules with a tier's scenarios; to import them registers these."""
    return [importlib.import_module(f".{package}.scenarios", __package__) for package in PACKAGES[tier]]


def build(tiers: Iterable[int], report: Report) -> None:
    """Build or find what these tiers need; ``report`` gets a line for each part and one for all of it.

    A part that fails keeps no other from being built; :class:`~board.cache.BuildError` then says which failed, and why.
    """
    start, failures = time.monotonic(), []
    for tier in tiers:
        for module in scenarios_of(tier):
            try:
                module.build(report)
            except BuildError as failure:
                failures.append(str(failure))
    report(f"{'all of it':14} {time.monotonic() - start:6.1f} s")
    if failures:
        raise BuildError("\n".join(dict.fromkeys(failures)))


def perform(one: Scenario, folder: Path, short: bool = False) -> Row:
    """Run a scenario in a folder and return its :class:`Row`; no error leaves this function."""
    start, limit = time.monotonic(), [SHORT_SECONDS if short else None] if one.limited else []
    try:
        outcome, trouble = one.function(folder, *limit), ""
    except Exception:  # whatever it was, the other rows go on and the table shows it
        outcome, trouble = Outcome(), traceback.format_exc()
    return Row(one.name, one.tier, one.title, time.monotonic() - start, outcome, trouble)
