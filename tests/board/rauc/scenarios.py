"""The rows of the table beside RAUC: time and bytes, and the power cuts of both."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path

from .. import parts
from ..cuts.action import NEW_FILES, OWN_FILES
from ..cuts.box import differences
from ..cuts.journal import Cut, History
from ..cuts.workers import in_child
from ..scenario import Outcome, scenario
from ..ubi import VOLUME_IMAGES
from . import content, start, system
from .bundle import make_bundle
from .contest import Times, contest
from .devices import Written, written
from .start import Start
from .states import Report, Slot, States, known_tree
from .ways import ByRauc, ByScript

RUNS = 7
# UBI volumes are written synchronously; the overlay is a file system on one.
SYNCHRONOUS = ("ubi", *(name for name in VOLUME_IMAGES if name != "overlay"))
NOT_OF_THE_IMAGE = ("/etc/", *NEW_FILES)  # the settings are brought over


def build(report: Callable[[str], None]) -> None:
    """Build what these scenarios need."""
    parts.build(report)
    system.system_folder()
    report(f"{'rauc':14}        {system.version()}")


def mebibytes(count: int) -> str:
    """Return bytes as text."""
    return f"{count / (1 << 20):.1f} MiB"


def total(counts: Mapping[str, Written]) -> Written:
    """Return the sum of what was :class:`Written` to all devices."""
    return sum(counts.values(), Written())


@scenario(tier=2, title="side by side with RAUC: time and bytes", extra=True)
def rauc_side_by_side(folder: Path) -> Outcome:
    """The same image into the same slot, by the script and by RAUC with each kind of bundle."""
    begin = start.make(folder / "start")
    root, image = content.make(parts.build(), large=True)
    ways: dict[str, ByScript | ByRauc] = {"script": ByScript(begin, image)}
    for kind in ("tar", "ext4", "squashfs"):
        ways[f"rauc-{kind}"] = ByRauc(begin, make_bundle(folder / f"bundle-{kind}", kind, root, image), kind)
    times = contest(folder / "runs", {name: way.timed for name, way in ways.items()}, RUNS)
    bytes_of = {
        name: total(written(in_child(functools.partial(recorded, way, folder / f"record-{name}"))))
        for name, way in ways.items()
    }
    lines = [
        f"{name:14} {times[name]}, {mebibytes(bytes_of[name].bytes)} in {bytes_of[name].requests} writes"
        for name in ways
    ]
    for number, name in enumerate(list(ways)[1:], 1):
        lines[number] += (
            f"; the script has {compared(times['script'], times[name])}, "
            f"x {bytes_of['script'].bytes / bytes_of[name].bytes:.3f} bytes"
        )
    told = "".join(f"\n    {line}" for line in lines)
    return Outcome(note=f"{system.version()}, medians of {RUNS} runs in turn{told}")


def compared(script: Times, rauc: Times) -> str:
    """Return how the script's figures are to RAUC's, as text."""
    return ", ".join(
        f"x {script.middle(what) / rauc.middle(what):.2f} {word}"
        for what, word in (("seconds", "time"), ("processor", "processor"))
    )


def recorded(way: ByScript | ByRauc, folder: Path) -> Path:
    """Run a way once, recorded, and return the folder of the journal."""
    folder.mkdir()
    return way.recorded(folder)


def outcome_of(report: Report) -> Outcome:
    """Return a report as a row."""
    note = report.note + "".join(f"\n    {cut}: {'; '.join(faults)}" for cut, faults in report.bad[:3])
    return Outcome(cuts=report.cuts, bad=len(report.bad), note=note)


@scenario(tier=2, title="side by side with RAUC: rauc install, tar, cut everywhere")
def rauc_cut_tar(folder: Path) -> Outcome:
    """After a cut anywhere RAUC's boot script may only start slots that are whole."""
    return in_child(lambda: cut_rauc(folder, "tar"))


@scenario(tier=2, title="side by side with RAUC: rauc install, ext4, cut everywhere", extra=True)
def rauc_cut_ext4(folder: Path) -> Outcome:
    """The same for a root that is written block by block."""
    return in_child(lambda: cut_rauc(folder, "ext4"))


@scenario(tier=2, title="side by side with RAUC: upgrade of the script, the same question")
def rauc_cut_upgrade(folder: Path) -> Outcome:
    """After a cut anywhere the script's chooser may only start slots that are whole."""
    return in_child(lambda: cut_upgrade(folder))


def cut_rauc(folder: Path, kind: str) -> Outcome:
    """Record RAUC and look at every cut."""
    begin = start.make(folder / "start")
    root, image = content.make(parts.build(), large=False)
    way = ByRauc(begin, make_bundle(folder / "bundle", kind, root, image), kind)
    states = States(History(recorded(way, folder / "record"), SYNCHRONOUS), folder / "env", way.startable)
    old = begin_slots(states, begin)
    new = Slot(old["B"].root, old["B"].kernel, known_tree(root), image.read_bytes())
    states.systems = {"A": [old["A"]], "B": [old["B"], new]}
    return outcome_of(states.examine())


def cut_upgrade(folder: Path) -> Outcome:
    """Record the script and look at every cut."""
    begin = start.make(folder / "start")
    root, image = content.make(parts.build(), large=False)
    way = ByScript(begin, image)
    states = States(History(recorded(way, folder / "record"), SYNCHRONOUS), folder / "env", way.startable)
    old = begin_slots(states, begin, OWN_FILES)
    new = Slot(old["B"].root, old["B"].kernel, states.tree(Cut(states.last), old["B"].root), image.read_bytes())
    wrong = differences(known_tree(root), new.tree, NOT_OF_THE_IMAGE)
    if wrong:
        raise AssertionError(f"the upgrade brought another system than the image's: {'; '.join(wrong)}")
    states.systems = {"a": [old["A"]], "b": [new]}
    return outcome_of(states.examine())


def begin_slots(states: States, begin: Start, allowed: tuple[str, ...] = ()) -> dict[str, Slot]:
    """Return the slots as they were when the recorded run began, {"A": slot, "B": slot}; names may differ later."""
    cut, found = Cut(states.first), {}
    for slot, root in begin.layout.roots.items():
        kernel = begin.layout.kernels[slot]
        found[slot] = Slot(root, kernel, states.tree(cut, root), states.content(cut, kernel), allowed)
    return found
