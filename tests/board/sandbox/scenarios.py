"""What the table of the bench shows of U-Boot alone: each medium in each state, and cuts at every write of a save."""

from collections.abc import Callable, Sequence
from pathlib import Path

from .. import parts
from ..router import Router
from ..scenario import Outcome, scenario
from ..scripts import Bench, kind_of_router, plan
from . import build as uboots
from . import cuts, flash, slot_scenarios
from .uboot import QUIT, Boot, UBoot, prepared

MEDIA = ("nand", "emmc", "sd")
OLD, NEW = "the old arguments", "the new arguments"


def build(report: Callable[[str], None]) -> None:
    """Build what these scenarios need; ``report`` gets a line for each part."""
    parts.build(report)
    uboots.build(report)
    for medium in MEDIA:
        for booted in (False, True):
            prepared(medium, booted)


def check(condition: object, boot: Boot) -> None:
    """Raise :class:`AssertionError` with the console when the condition does not hold."""
    if not condition:
        raise AssertionError(boot.console)


def stock_boots(medium: str, folder: Path) -> Outcome:
    """A new board starts production, and so it does the second time, from the saved environment."""
    with UBoot(folder, medium=medium, booted=False) as board:
        first = board.boot()
        second = board.boot()
        check(first.chose == second.chose == "production" and first.env == second.env, second)
        return Outcome(note=f"{second.seconds * 1000:.0f} ms")


def crash_record(medium: str, folder: Path) -> Outcome:
    """A crash record leads to recovery until it is cleared."""
    with UBoot(folder, medium=medium) as board:
        board.crash()
        boot = board.boot()
        check(boot.chose == "recovery", boot)
        board.forget_crash()
        boot = board.boot()
        check(boot.chose == "production", boot)
    return Outcome()


def damaged_production(medium: str, folder: Path) -> Outcome:
    """A production system with a wrong bit or without its header leads to recovery."""
    with UBoot(folder, medium=medium) as board:
        for where in ("data", "header"):
            board.damage("production", where)
            boot = board.boot()
            check(boot.chose == "recovery", boot)
    return Outcome()


def bad_copies(medium: str, folder: Path, numbers: Sequence[int]) -> Outcome:
    """The other copy of the environment is used; when both are bad, the board is as new."""
    with UBoot(folder, medium=medium) as board:
        stock = board.env.whole()["bootargs"]
        for words in (OLD, NEW):
            board.env.set({"bootargs": words})
        newer = next(number for number, data in enumerate(board.env.copies()) if NEW.encode() in data)
        board.env.spoil(*numbers)
        boot = board.boot()
        wanted = stock if len(numbers) == 2 else OLD if newer in numbers else NEW
        check(boot.chose == "production" and boot.bootargs == wanted, boot)
    return Outcome()


def bad_copy_1(medium: str, folder: Path) -> Outcome:
    """The first copy is bad."""
    return bad_copies(medium, folder, (0,))


def bad_copy_2(medium: str, folder: Path) -> Outcome:
    """The second copy is bad."""
    return bad_copies(medium, folder, (1,))


def bad_copies_both(medium: str, folder: Path) -> Outcome:
    """Both copies are bad."""
    return bad_copies(medium, folder, (0, 1))


def written_by_the_script(medium: str, folder: Path) -> Outcome:
    """The environment that an install leaves on a router starts production with its arguments."""
    with Router(folder / "router", medium=medium, **kind_of_router("cmdline")) as box:
        box.boot()
        Bench(box, plan("cmdline", medium)).sh("install --apply").ok()
        written = box.environment()
        with UBoot(folder / "uboot", medium=medium) as board:
            board.take_environment(box.images)
            boot = board.boot()
            check(boot.chose == "production" and boot.bootargs == written["bootargs"] and boot.env == written, boot)
    return Outcome()


def cut_saves(medium: str, folder: Path) -> Outcome:
    """Every write of U-Boot's saveenv and of fw_setenv is cut: it starts with the old or the new environment."""
    number = bad = 0
    with UBoot(folder, medium=medium) as board:
        for save in (save_by_uboot, save_by_linux):
            for _ in range(2):
                board.env.set({"bootargs": OLD})
            start = folder / "start.img"
            flash.copy_sparse(board.image, start)
            board.record()
            save(board)
            with open(start, "r+b") as truth:
                for _ in cuts.states(truth, board.recorded(), board):
                    number += 1
                    boot = board.boot(read_env=False)
                    bad += boot.chose != "production" or boot.bootargs not in (OLD, NEW)
            check(boot.bootargs == NEW, boot)
    return Outcome(cuts=number, bad=bad)


def save_by_uboot(board: UBoot) -> None:
    """Save the new arguments by commands typed on the console."""
    board.boot(QUIT + f"setenv bootargs '{NEW}'\rsaveenv\rreset\r", read_env=False)


def save_by_linux(board: UBoot) -> None:
    """Save the new arguments with fw_setenv -s."""
    board.env.set({"bootargs": NEW})


ROWS = (
    (stock_boots, "a new board starts"),
    (crash_record, "a crash record leads to recovery"),
    (damaged_production, "a damaged production system leads to recovery"),
    (bad_copy_1, "first copy of the environment bad"),
    (bad_copy_2, "second copy of the environment bad"),
    (bad_copies_both, "both copies of the environment bad"),
    (written_by_the_script, "the environment that the script writes"),
    (cut_saves, "saveenv and fw_setenv -s cut at each write"),
)


def register() -> None:
    """Make a row of the table for each medium and each function of :data:`ROWS`."""
    for function, title in ROWS:
        for medium in MEDIA:

            def run(folder: Path, function: Callable[[str, Path], Outcome] = function, medium: str = medium) -> Outcome:
                """Run the scenario on this medium."""
                return function(medium, folder)

            run.__name__ = f"uboot_{function.__name__}_{medium}"
            scenario(tier=1, title=f"{medium}: {title}", extra=medium == "sd")(run)


register()
slot_scenarios.register()
