"""Slots on the real U-Boot: what takes seconds. The bench has the same on each medium and for each kind of kernel."""

import itertools
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bootplan import chooser

from .sandbox import gpt, slot_scenarios
from .sandbox.slot_table import TABLE, check_row
from .sandbox.slot_walk import Walk
from .sandbox.slots import CASES, ROOTS, SlotBoard

MakeSlots = Callable[[str, str], SlotBoard]
"""What the fixture ``slots`` gives."""

LONGEST = 1000
# The longest command line that a plan can lead to: the stock one of NAND and everything that slots add.
BOOTARGS = {
    slot: "console=ttyS0,115200n1 pci=pcie_bus_perf ubi.block=0,fit "
    f"root=PARTUUID=${chooser.ROOT[slot]} rootfstype=ext4 rootwait=300 panic=60 "
    "fstools_overlay_name=none fstools_overlay_fstype=none"
    for slot in ROOTS
}


@pytest.fixture
def slots(tmp_path: Path) -> MakeSlots:
    """Return a function that makes boards with two slots, of which a is good and active."""

    def make(medium: str, kernel: str) -> SlotBoard:
        return SlotBoard(tmp_path / "board", medium, kernel).__enter__()

    return make


def choices() -> list[chooser.Choice]:
    """Return choices of every kind, with counters of one digit each."""
    return [
        chooser.Choice(tries, starts, kernel, {} if kernel == "pair" else BOOTARGS)
        for kernel, tries, starts in itertools.product(chooser.KERNELS, (1, 9), (0, 9))
    ]


def test_no_variable_is_long() -> None:
    """Each can be read on a page and typed on a console."""
    stock = "if pstore check ; then run boot_recovery ; else run boot_sdmmc ; fi"
    for choice in choices():
        for name, text in chooser.variables(choice, stock).items():
            assert len(text) <= LONGEST, name
            assert "\n" not in text and text.isascii(), name


def test_every_variable_has_a_known_name() -> None:
    """Whatever a start sets is ours and named, or is put back, or is the stock commands' own."""
    for choice in choices():
        made = chooser.variables(choice, "")
        told = set(made) | set(re.findall(r"set(?:env|expr) (\w+)", " ".join(made.values())))
        assert told - set(chooser.names()) <= {"bootcmd", "bootargs", "part_default"}, choice
        for name in ("bootargs", "part_default"):
            sets = re.findall(rf'setenv {name} ("[^"]*"|\S+)', " ".join(made.values()))
            assert not sets or sets[-1] in ('"$bp_args"', '"$bp_part"'), choice
    assert set(chooser.STATE) <= set(chooser.names())


@pytest.mark.parametrize("case", [("nand", "pair"), ("emmc", "partition"), ("sd", "shared")], ids="-".join)
def test_each_state_and_event(slots: MakeSlots, case: tuple[str, str]) -> None:
    """One start from each state of the environment, after each event."""
    board = slots(*case)
    for one in TABLE:
        check_row(board, one)


@pytest.mark.parametrize("case", [case for case in CASES if case[0] != "nand"], ids="-".join)
def test_a_walk_keeps_the_promises(slots: MakeSlots, case: tuple[str, str]) -> None:
    """Starts after starts, where chance decides what fails."""
    Walk(slots(*case), seed=3).go(30)


def test_nothing_ever_comes_up(tmp_path: Path) -> None:
    """Panic after panic: the tries, then the good slot; when that panics, too, recovery, and it stays there."""
    slot_scenarios.endless("emmc", "partition", tmp_path)


def test_the_table_sees_an_uncounted_trial(slots: MakeSlots) -> None:
    """A chooser that starts the trial though its count could not be saved does not pass."""
    board = slots("emmc", "partition")
    trial = board.env.whole()["bp_trial"].replace("&& saveenv &&", "&& saveenv ;")
    board.env.set({"bp_trial": trial})
    board.keep()

    def check_all() -> None:
        for one in TABLE:
            check_row(board, one)

    with pytest.raises(AssertionError, match="saving fails"):
        check_all()


def test_without_slots_the_stock_commands_run(slots: MakeSlots) -> None:
    """Nothing of ours is left: as delivered."""
    board = slots("nand", "pair")
    board.env.set({**dict.fromkeys(chooser.names()), "bootcmd": board.stock["bootcmd"]})

    assert board.env.all() == board.stock
    assert board.power_on() == "stock"
    board.crash()
    assert board.power_on() == "recovery"


def test_the_reset_button_leaves_the_active_pair(slots: MakeSlots) -> None:
    """The environment is forgotten: no slot is chosen, no trial counted, no volume renamed."""
    board = slots("nand", "pair")
    board.set_state(good="a", trial="b", left="2")
    board.hold_button()

    assert board.power_on() == "recovery"

    board.hold_button(False)
    assert slot_scenarios.pair_volumes(board) == {"fit", "fit_b", "rootfs_data", "rootfs_data_b"}
    assert board.power_on() == "stock"


def test_every_state_of_the_volumes(tmp_path: Path) -> None:
    """Whatever a cut or a mishap left of the names: never a kernel with the other slot's data."""
    slot_scenarios.volume_states(tmp_path, [("b", "a")])


@pytest.mark.parametrize("medium", ["emmc", "sd"])
def test_partitions_are_added_to_a_card(tmp_path: Path, medium: str) -> None:
    """At each write the card starts: for the loader before U-Boot, for U-Boot and for Linux. sfdisk alone is not so."""
    safe = slot_scenarios.cut_table(medium, tmp_path / "safe", gpt.safe_writes, False)
    sfdisk = slot_scenarios.cut_table(medium, tmp_path / "sfdisk", gpt.sfdisk_writes, True)

    assert (safe.cuts, safe.bad) == (4, 0)
    assert sfdisk.bad > 1 and "not Linux" in sfdisk.note
