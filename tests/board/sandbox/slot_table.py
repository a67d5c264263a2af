"""One start from each state of the environment, after each event: what runs, and what is counted.

The cases are at least those of the tests of RAUC's boot chooser (rauc/rauc, test/bootchooser.c), in the words of
ours: which slot is primary, attempts that are left or not, marked good, marked bad, made primary, none that can be
started, values that are missing or make no sense.
"""

from dataclasses import dataclass
from typing import Any

from .slots import SlotBoard


@dataclass(frozen=True)
class Row:
    """One start: from ``state``, after ``events``, ``wanted`` runs and ``counted`` is saved.

    ``wanted`` may differ by the kind of kernel: words for ``pair``, ``own`` (volume or partition) and ``shared``.
    """

    state: dict[str, str | None]
    events: tuple[str, ...]
    wanted: str | dict[str, str]
    counted: tuple[int, int, int] | None = None

    def wanted_of(self, kernel: str) -> str:
        """Return what should run with kernels of this kind."""
        if isinstance(self.wanted, str):
            return self.wanted
        return self.wanted["own" if kernel in ("volume", "partition") else kernel]


def row(
    good: str | None,
    wanted: str | dict[str, str],
    *events: str,
    counted: tuple[int, int, int] | None = None,
    **state: str,
) -> Row:
    """Return a row of :data:`TABLE`."""
    return Row({"good": good, **state}, events, wanted, counted)


def by(pair: str, own: str, shared: str) -> dict[str, str]:
    """Return the words for each kind of kernel."""
    return {"pair": pair, "own": own, "shared": shared}


TRIAL: dict[str, Any] = {"trial": "b", "left": "2"}
SPENT: dict[str, Any] = {"trial": "b", "left": "0"}
TABLE = (
    # The good slot starts, and nothing is counted.
    row("a", "a", counted=(0, 0, 0)),
    row("b", "b", counted=(0, 0, 0)),
    row("b", "b", why="wan dns"),
    # It left a crash record: as often as the plan says, then recovery.
    row("a", "a", "crash", counted=(0, 0, 1)),
    row("b", "recovery", "crash", crashes="1", counted=(0, 0, 1)),
    row("a", "a", crashes="1", counted=(0, 0, 1)),
    row("a", "recovery", "crash", "saving fails"),
    # Its kernel is broken: the stock chain, which has a system of its own where slots have kernels of their own.
    row("a", by("recovery", "stock", "recovery"), "kernel a"),
    row("b", by("recovery", "stock", "recovery"), "kernel a", "kernel b"),
    row("a", by("a", "a", "recovery"), "kernel b"),
    row("a", "recovery", "kernel a", "crash"),
    row("a", by("tftp", "stock", "tftp"), "kernel a", "recovery damaged"),
    row("a", by("a", "stock", "stock"), "no root a"),
    row("a", "a", "no root b"),
    # A trial starts while tries are left, and each start is counted, whatever the last one left in RAM.
    row("a", "trial b", **TRIAL, counted=(1, 0, 0)),
    row("b", "trial a", trial="a", left="2", counted=(1, 0, 0)),
    row("a", "trial b", trial="b", left="1", counted=(0, 0, 0)),
    row("a", "trial b", trial="b", left="9", counted=(8, 0, 0)),
    row("a", "trial b", "crash", **TRIAL, counted=(1, 0, 0)),
    row("a", "trial b", "crash", **TRIAL, crashes="1", counted=(1, 0, 1)),
    row("a", "trial b", **TRIAL, why="lan", counted=(1, 0, 0)),
    row("a", "trial a", trial="a", left="1", counted=(0, 0, 0)),
    # Its kernel or root is missing: the good slot in the same start, and the try is counted.
    row("a", by("a", "a", "recovery"), "kernel b", **TRIAL, counted=(1, 0, 0)),
    row("b", by("b", "b", "recovery"), "kernel a", "crash", trial="a", left="1", counted=(0, 0, 0)),
    row("a", by("trial b", "a", "a"), "no root b", **TRIAL, counted=(1, 0, 0)),
    row("a", by("recovery", "stock", "recovery"), "kernel a", "kernel b", **TRIAL, counted=(1, 0, 0)),
    row("a", "trial b", "no root a", **TRIAL, counted=(1, 0, 0)),
    row("a", by("trial b", "trial b", "recovery"), "kernel a", **TRIAL, counted=(1, 0, 0)),
    # The count cannot be saved: no trial.
    row("a", "a", "saving fails", **TRIAL, counted=(2, 0, 0)),
    row("a", "a", "saving fails", "crash", **TRIAL, counted=(2, 0, 0)),
    # No tries are left: the good slot, whose starts are counted; recovery when it never comes up.
    row("a", "a", **SPENT, counted=(0, 1, 0)),
    row("b", "b", trial="a", left="0", counted=(0, 1, 0)),
    row("a", "a", "crash", **SPENT, counted=(0, 1, 0)),
    row("a", "a", "crash", **SPENT, fell="1", counted=(0, 2, 0)),
    row("a", "recovery", **SPENT, fell="2", counted=(0, 2, 0)),
    row("a", "recovery", "crash", **SPENT, fell="2", crashes="0"),
    row("a", "a", **SPENT, why="wan", counted=(0, 1, 0)),
    row("a", "a", "saving fails", **SPENT, counted=(0, 0, 0)),
    row("a", by("recovery", "stock", "recovery"), "kernel a", **SPENT, counted=(0, 1, 0)),
    row("a", "recovery", "kernel a", "crash", **SPENT),
    row("a", by("a", "stock", "stock"), "no root a", **SPENT),
    row("a", by("a", "a", "recovery"), "kernel b", **SPENT),
    # What nobody writes: no trial can be read out of it, or one that ends.
    row("a", "a", trial="b"),
    row("a", "a", trial="b", left="x"),
    row("a", "a", trial="b", left="-1"),
    row("a", "a", trial="b", left="0x2"),
    row("a", "trial b", trial="b", left="ff", counted=(4, 0, 0)),
    row("a", "a", trial="c", left="2", counted=(1, 0, 0)),
    row("a", "a", left="2"),
    row("a", "a", fell="2"),
    row("a", "a", **SPENT, fell="x", counted=(0, 1, 0)),
    row("a", "recovery", **SPENT, fell="9"),
    row("a", "a", "crash", crashes="x", counted=(0, 0, 1)),
    row("c", "stock"),
    row("c", "recovery", "crash"),
    row("c", "trial b", **TRIAL),
    row("c", by("recovery", "stock", "recovery"), "kernel b", **TRIAL, counted=(1, 0, 0)),
    row("c", "stock", **SPENT),
    row(None, "stock"),
    row(None, "stock", **TRIAL, counted=(2, 0, 0)),
    row(None, "recovery", "crash"),
    # The environment is read from the other copy, or there is none: as before the installation.
    row("a", "trial b", "older copy bad", **TRIAL),
    row("a", "a", "newer copy bad", **TRIAL),
    row("a", "stock", "both copies bad", **TRIAL),
    row("a", "recovery", "both copies bad", "crash"),
    row("a", "recovery", "button", **TRIAL),
)


def check_row(board: SlotBoard, one: Row) -> None:
    """Start a board as a row of the table says; :class:`AssertionError` where something else happens."""
    board.restore()
    board.set_state(**one.state)
    for event in one.events:
        board.happen(event)
    kept = None if {"both copies bad", "button"} & {*one.events} else board.saved()
    word = board.power_on()
    told = f"{board.medium} {board.kernel}: {one}: {word}\n{board.console}"
    assert word == one.wanted_of(board.kernel), told
    assert kept is None or board.saved() == kept, told
    assert one.counted in (None, board.counters()), f"{board.counters()} {told}"
