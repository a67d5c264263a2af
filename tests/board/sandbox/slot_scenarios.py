"""What the table of the bench shows of slots: states and events, endless failures, walks, and cuts at each write."""

import itertools
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from ..scenario import Outcome, scenario
from . import cuts, flash, gpt
from .cuts import CardWrite
from .slot_table import TABLE, check_row
from .slot_walk import Walk
from .slots import CASES, MEGABYTE, SlotBoard
from .uboot import ADDRESS, UBoot, system_image

NAMES = ("a,b", "b,a", "a", "b", "-,a,b")  # whose the plain name is, then who has a letter
SEEDS = (1, 2)
SHORT = {("nand", "pair"), ("nand", "volume"), ("emmc", "partition"), ("emmc", "shared")}  # the others repeat these
STEPS = {"nand": 60, "emmc": 120, "sd": 120}
# What is cut, from which state, what may run after the cut, and whether the trial slot is active before.
STARTS = {
    "a trial": ({"good": "a", "trial": "b", "left": "2"}, {"trial b"}, False),
    "a fall back": ({"good": "a", "trial": "b", "left": "0"}, {"a"}, True),
    "a crash": ({"good": "a"}, {"a"}, False),
}
DECISIONS = {
    "upgrade": ({"good": "a"}, {"good": "a", "trial": "b", "left": "2"}, {"a", "trial b"}, False),
    "confirm": ({"good": "a", "trial": "b", "left": "1"}, {"good": "b"}, {"trial b", "b"}, True),
    "rollback": ({"good": "a", "trial": "b", "left": "1"}, {"good": "a"}, {"trial b", "a"}, True),
}


def table(medium: str, kernel: str, folder: Path) -> Outcome:
    """Each row of the table of single starts."""
    with SlotBoard(folder, medium, kernel) as board:
        for one in TABLE:
            check_row(board, one)
    return Outcome(note=f"{len(TABLE)} starts")


def walk(medium: str, kernel: str, folder: Path) -> Outcome:
    """Walks of chance."""
    seen: dict[str, int] = {}
    for seed in SEEDS:
        with SlotBoard(folder / str(seed), medium, kernel) as board:
            one = Walk(board, seed)
            one.go(STEPS[medium])
            seen = {word: seen.get(word, 0) + one.seen.get(word, 0) for word in {**seen, **one.seen}}
    if not {"a", "b", "trial a", "trial b", "recovery"} <= seen.keys():
        raise AssertionError(f"the walk came by too little: {seen}")
    return Outcome(note=", ".join(f"{count} {word}" for word, count in sorted(seen.items())))


def endless(medium: str, kernel: str, folder: Path) -> Outcome:
    """Kernels that panic at each start: the tries, then the good slot, then recovery, and it stays there."""
    with SlotBoard(folder, medium, kernel) as board:
        for good, trial in (("a", "b"), ("b", "a")):
            for tries in range(1, board.tries + 1):
                board.restore()
                board.set_state(good=good, trial=trial, left=str(tries))
                words = []
                for _ in range(tries + board.tries + 2):
                    words.append(board.power_on())
                    board.crash()
                if words != [f"trial {trial}"] * tries + [good] * board.tries + ["recovery"] * 2:
                    raise AssertionError(f"{good}, {trial}, {tries}: {words}\n{board.console}")
    return Outcome()


def begin(board: SlotBoard, state: dict[str, str], active: bool) -> Path:
    """Put a board into a state, ``active`` after a start of the slot on trial, and return a copy of its medium."""
    board.restore()
    if active:
        board.set_state(good="a", trial="b", left="1")
        board.power_on()
    board.set_state(**state)
    before = board.folder / "before.img"
    flash.copy_sparse(board.image, before)
    board.record()
    return before


def cut(board: SlotBoard, before: Path, wanted: Collection[str]) -> tuple[int, list[str]]:
    """Cut what was recorded at each write, start, and return the numbers of cuts and of starts that are not wanted."""
    number, bad = 0, []
    with open(before, "r+b") as truth:
        for word in cuts.states(truth, board.recorded(), board, distinct=True):
            number += 1
            board.forget_crash()  # memory does not outlive the cut
            runs = board.power_on()
            if runs not in wanted:
                bad.append(f"{word}: {runs}")
    return number, bad


def cut_starts(medium: str, kernel: str, folder: Path) -> Outcome:
    """Every write of a start is cut: the next start is the one that it was, or the one after it."""
    number = 0
    bad: list[str] = []
    with SlotBoard(folder, medium, kernel) as board:
        for word, (state, wanted, active) in STARTS.items():
            before = begin(board, state, active)
            if word == "a crash":
                board.crash()
            board.power_on()
            more, worse = cut(board, before, wanted)
            number, bad = number + more, bad + worse
    return Outcome(cuts=number, bad=len(bad), note="; ".join(bad[:3]))


def cut_decisions(medium: str, kernel: str, folder: Path) -> Outcome:
    """Every write of what Linux decides is cut: the next start is from before it or from after it."""
    number = 0
    bad: list[str] = []
    with SlotBoard(folder, medium, kernel) as board:
        for before_it, after_it, wanted, active in DECISIONS.values():
            before = begin(board, before_it, active)
            board.set_state(**after_it)
            more, worse = cut(board, before, wanted)
            number, bad = number + more, bad + worse
    return Outcome(cuts=number, bad=len(bad), note="; ".join(bad[:3]))


def complete(card: Path, folder: Path, dump: list[str], wanted: set[str]) -> None:
    """Add the partitions to a copy of a card that was cut while they were added.

    What is ``wanted`` must be there then.
    """
    copy = folder / "again.img"
    flash.copy_sparse(card, copy)
    with open(copy, "r+b") as image:
        for one in gpt.safe_writes(copy, folder, dump):
            cuts.perform(image, one)
    if gpt.seen_by_linux(copy) != wanted:
        raise AssertionError(gpt.seen_by_linux(copy))


def cut_table(medium: str, folder: Path, write: Callable[[Path, Path], list[CardWrite]], expected_bad: bool) -> Outcome:
    """Two partitions are added to a card and each sector written is cut.

    BL2 finds ``fip``, U-Boot starts production, and Linux sees every partition that there was; or the state is bad.
    From each state that is not, the safe way leads to the end.
    """
    number, bad = 0, []
    with UBoot(folder, medium=medium) as board:
        dump, whole = gpt.dumped(board.image), gpt.seen_by_linux(board.image)
        there = whole - {""}  # an entry without a name fills the gap before the first partition of an eMMC
        before = folder / "before.img"
        flash.copy_sparse(board.image, before)
        with open(before, "r+b") as truth:
            for word in cuts.states(truth, write(board.image, folder), board):
                number += 1
                well = {
                    "BL2": gpt.seen_by_bl2(board.image).get("fip") == gpt.seen_by_bl2(before).get("fip"),
                    "U-Boot": board.boot(read_env=False).chose == "production",
                    "Linux": there <= gpt.seen_by_linux(board.image),
                }
                if not all(well.values()):
                    bad.append(f"{word} not {', '.join(one for one in well if not well[one])}")
                if not expected_bad:
                    complete(board.image, folder, dump, whole | set(gpt.MORE))
        added = board.run(["mmc dev 0", "part start mmc 0 fit_a first", "part size mmc 0 fit_b size", "printenv size"])
        if "size=c000" not in added or not {"fit_a", "fit_b"} <= gpt.seen_by_linux(board.image):
            raise AssertionError(added)
    return Outcome(cuts=number, bad=len(bad), note="; ".join(bad[:1] + bad[1:][-1:]), expected_bad=expected_bad)


def pair_volumes(board: SlotBoard) -> set[str]:
    """Return the names of the volumes that belong to slots."""
    return set(re.findall(r"name\s+((?:fit|rootfs_data)\w*)", board.run(["ubi part ubi", "ubi info l"])))


def commands_for(prefix: str, names: str) -> list[str]:
    """Return the commands that make the volumes of one kind: the slot that has the plain name, then the other.

    ``-,a,b`` is the moment between two renames: nobody has the plain name.
    """
    commands = []
    for position, slot in enumerate(names.split(",")):
        name = f"{prefix}_{slot}" if position else prefix
        if slot != "-":
            commands += [
                f"ubi create {name} {MEGABYTE:#x} dynamic",
                f"load hostfs - {ADDRESS:#x} {prefix}-{slot}",
                f"ubi write {ADDRESS:#x} {name} $filesize",
            ]
    return commands


def volume_states(
    folder: Path, wanted: Sequence[tuple[str, str | None]] = (("a", "b"), ("b", "a"), ("a", None), ("b", None))
) -> Outcome:
    """Each state of the names of volumes; ``wanted`` are the good slot and the one on trial.

    Where the pair that should start is there under any of its names, it starts. Where the data have no letter, so that
    names cannot tell whose they are, no slot starts. A kernel alone belongs to the data that have the plain name, as it
    does while the other is made anew: that slot starts, and no other. A pair of plain names beside both letters was
    installed by somebody else, and starts the stock way.
    """
    number = 0
    with SlotBoard(folder, "nand", "pair") as board:
        for slot, system in (("a", "slot-a"), ("b", "slot-b"), ("n", "production")):
            (board.folder / f"fit-{slot}").write_bytes(system_image(system))
            (board.folder / f"rootfs_data-{slot}").write_bytes(slot.encode() * 64)
        board.run(["ubi part ubi", *(f"ubi remove {name}" for name in sorted(pair_volumes(board)))])
        board.keep()
        base = board.folder / "base.img"
        for good, trial in wanted:
            board.restore()
            board.set_state(good=good, trial=trial, left="1" if trial else None)
            flash.copy_sparse(board.image, base)
            for kernel, data in (*itertools.product(NAMES, repeat=2), ("n,a,b", "n,a,b")):
                flash.copy_sparse(base, board.image)
                board.run(["ubi part ubi", *commands_for("fit", kernel), *commands_for("rootfs_data", data)])
                if len(kernel) == 1 and kernel != data[0]:
                    continue  # it belongs to other data: nothing that we write leads there, and names cannot tell
                word = board.power_on()
                number += 1
                told = f"good {good}, trial {trial}, kernels {kernel}, data {data}: {word}\n{board.console}"
                first = f"trial {trial}" if trial else good
                if kernel == "n,a,b":
                    assert word == "stock" and board.volumes.read("rootfs_data", 1) == b"n", told
                elif len(kernel) > 1 and len(data) > 1:
                    assert word == first, told
                elif len(data) > 1:
                    assert word == (first if kernel == (trial or good) else good if kernel == good else "stock"), told
                else:
                    assert word == ("recovery" if "-" in kernel else "stock"), told
    return Outcome(note=f"{number} starts")


ROWS = (
    (table, "each state, each event", CASES),
    (endless, "nothing ever comes up", CASES),
    (walk, "a walk of chance", CASES),
    (cut_starts, "starts cut at each write", CASES),
    (cut_decisions, "what Linux decides cut at each write", (CASES[0], CASES[3], CASES[5])),
)
TABLES = (
    (gpt.safe_writes, "partitions", "two partitions more, cut at each write", False),
    (gpt.sfdisk_writes, "partitions_sfdisk", "the same by sfdisk on the card itself", True),
)


def slots_volume_states(folder: Path) -> Outcome:
    """Each state of the names of volumes, for each slot that should start."""
    return volume_states(folder)


def register() -> None:
    """Make the rows of the table."""
    for function, title, cases in ROWS:
        for medium, kernel in cases:

            def run(
                folder: Path,
                function: Callable[[str, str, Path], Outcome] = function,
                medium: str = medium,
                kernel: str = kernel,
            ) -> Outcome:
                """Run the scenario on this medium with kernels of this kind."""
                return function(medium, kernel, folder)

            run.__name__ = f"slots_{function.__name__}_{medium}_{kernel}"
            scenario(tier=1, title=f"{medium}, slots, {kernel}: {title}", extra=(medium, kernel) not in SHORT)(run)
    scenario(tier=1, title="nand, slots, pair: each state of the volumes' names")(slots_volume_states)
    for write, name, title, bad in TABLES:
        for medium in ("emmc", "sd"):

            def run_table(
                folder: Path,
                write: Callable[[Path, Path], list[CardWrite]] = write,
                medium: str = medium,
                bad: bool = bad,
            ) -> Outcome:
                """Run the scenario on this medium."""
                return cut_table(medium, folder, write, bad)

            run_table.__name__ = f"slots_{name}_{medium}"
            scenario(tier=1, title=f"{medium}: {title}", extra=medium == "sd")(run_table)
