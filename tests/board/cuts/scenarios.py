"""The rows of the table for power cuts: one for each action, and one for a sequence that is known to be unsafe."""

from collections.abc import Callable
from pathlib import Path

from .. import parts
from ..scenario import Outcome, scenario
from .action import Action
from .actions import ACTIONS, GUIDES
from .card_actions import CARD_ACTIONS
from .harness import Report, examine
from .loader_actions import LOADER_ACTIONS, TITLES
from .slot_actions import SLOT_ACTIONS
from .upgrade_actions import UPGRADE_ACTIONS

SHOWN = 3
# What another action shows already, but for the place of the environment or of a kernel.
REPEATS = (
    "bootargs_sd",
    "recopy_extroot_overlay",
    "install_slots_own_nand",
    "install_slots_own_emmc",
    "upgrade_own_nand",
    "upgrade_larger",
    "leave_own_nand",
    "make_sd_over_photos",
)


def build(report: Callable[[str], None]) -> None:
    """Build what the scenarios of this tier need."""
    parts.build(report)


def outcome_of(report: Report, folder: Path, expected_bad: bool = False) -> Outcome:
    """Return a report as a row; every bad state is in the file ``bad`` of the folder, the first ones in the row."""
    lines = [f"{one.count} x {one.cut}: {'; '.join(one.faults)}" for one in report.bad]
    (folder / "bad").write_text("".join(f"{line}\n" for line in lines))
    note = report.note
    if lines and not expected_bad:
        note += "".join(f"\n    {line}" for line in lines[:SHOWN])
    return Outcome(cuts=report.cuts + report.kills, bad=report.bad_count, note=note, expected_bad=expected_bad)


def register(name: str, title: str, make: Callable[[], Action]) -> None:
    """Register the scenario of the action that ``make`` returns."""

    def cut(folder: Path, limit: float | None) -> Outcome:
        """Cut the action everywhere, or as far as the time goes."""
        return outcome_of(examine(make(), folder, limit=limit), folder)

    cut.__name__ = f"cut_{name}"
    scenario(tier=2, title=f"cut everywhere: {title}", extra=name in REPEATS, limited=True)(cut)


def always(action: Action) -> Callable[[], Action]:
    """Return a function that returns this action."""
    return lambda: action


for one in (*ACTIONS, *SLOT_ACTIONS, *CARD_ACTIONS, *UPGRADE_ACTIONS):
    register(one.name, one.title, always(one))
for name in LOADER_ACTIONS:
    register(name, TITLES[name], LOADER_ACTIONS[name])


@scenario(tier=2, title="the judge's own test: the commands of a common guide", limited=True)
def cut_guide(folder: Path, limit: float | None) -> Outcome:
    """What is known to be unsafe must be found to be unsafe, or the judge is blind."""
    return outcome_of(examine(GUIDES, folder, limit=limit), folder, expected_bad=True)
