"""The comparison's own parts: who may be started, whether the judge sees, and whether each way brings the system."""

from pathlib import Path

import pytest

from ..cuts.journal import Cut, History
from ..cuts.workers import in_child
from . import content, start
from .boot import of_rauc, of_script
from .bundle import KINDS, make_bundle
from .devices import written
from .scenarios import SYNCHRONOUS, begin_slots
from .states import Slot, States, known_tree
from .ways import ByRauc


@pytest.mark.parametrize(
    ("environment", "slots"),
    [
        (None, ["A", "B"]),
        ({}, ["A", "B"]),
        ({"BOOT_ORDER": "B A"}, ["B", "A"]),
        ({"BOOT_ORDER": "A", "BOOT_A_LEFT": "1", "BOOT_B_LEFT": "3"}, ["A"]),
        ({"BOOT_ORDER": "B A", "BOOT_B_LEFT": "0", "BOOT_A_LEFT": "3"}, ["A"]),
        ({"BOOT_ORDER": "A", "BOOT_A_LEFT": "0", "BOOT_B_LEFT": "0"}, ["A"]),
        ({"BOOT_ORDER": "A B", "BOOT_A_LEFT": "0", "BOOT_B_LEFT": "0"}, ["A", "B"]),
    ],
)
def test_what_rauc_may_start(environment: dict[str, str] | None, slots: list[str]) -> None:
    """The first of the order that has tries left; all of the order get new tries when none has."""
    assert of_rauc(environment) == slots


@pytest.mark.parametrize(
    ("environment", "slots"),
    [
        (None, ["stock"]),
        ({"bootcmd": "run boot_ubi"}, ["stock"]),
        ({"bp_good": "a"}, ["a"]),
        ({"bp_good": "a", "bp_try": "b"}, ["a"]),
        ({"bp_good": "a", "bp_try": "b", "bp_left": "0"}, ["a"]),
        ({"bp_good": "a", "bp_try": "b", "bp_left": "3"}, ["b", "a"]),
    ],
)
def test_what_the_script_may_start(environment: dict[str, str] | None, slots: list[str]) -> None:
    """The slot on trial while it has tries left, and the good one."""
    assert of_script(environment) == slots


@pytest.fixture(scope="module")
def begin(board_parts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> start.Start:
    """Where both ways begin."""
    folder = tmp_path_factory.mktemp("start")  # made here: only the process that asks first knows where they all are
    return in_child(lambda: start.make(folder / "router"))


@pytest.fixture(scope="module")
def system(board_parts: dict[str, Path]) -> tuple[Path, Path]:
    """The new system: its squashfs and its image."""
    return content.make(board_parts, large=False)


@pytest.mark.parametrize("kind", KINDS)
def test_rauc_brings_the_system_and_the_judge_knows_half_of_it(
    begin: start.Start, system: tuple[Path, Path], kind: str, tmp_path: Path
) -> None:
    """Slot B is whole before and after; what is between the two is found as soon as a boot loader may start it."""
    root, image = system
    (tmp_path / "run").mkdir()
    way = ByRauc(begin, make_bundle(tmp_path / "bundle", kind, root, image), kind)
    journal = in_child(lambda: way.recorded(tmp_path / "run"))

    def look() -> list[list[str]]:
        """Return what is wrong at the beginning, half way, and at the end, when B may start in any case."""
        states = States(History(journal, SYNCHRONOUS), tmp_path / "env", lambda environment: ["B"])
        old = begin_slots(states, begin)["B"]
        states.systems = {"B": [old, Slot(old.root, old.kernel, known_tree(root), image.read_bytes())]}
        return [states.faults(Cut(step)) for step in (states.first, (states.first + states.last) // 2, states.last)]

    before, half, after = in_child(look)
    assert before == after == []
    assert half[0].startswith("B may be started and is not whole")
    assert written(journal)["ubootenv"].requests > 0
