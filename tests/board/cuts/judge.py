"""The judge: what is wrong with a router whose power was cut. It looks from outside and believes the script no word.

:func:`judge` powers the router on with the images as the cut left them, compares what comes up with the trees that were
seen before the action, runs the same command again, restarts, and compares once more. It returns faults: a word for
the kind of the fault, a colon, and what was seen. An empty list is a good state. :func:`judge_kill` does the same for a
script that was killed while the router went on.
"""

import re
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from ..cache import HERE
from ..loops import Loop
from ..router import BootError, Hang, Panic
from ..running import Result, Timeout
from .action import NEW_FILES, SCRIPT, Action, Place, Seen
from .box import Box, Tree, differences, tree_at
from .journal import BLOCK

SECONDS = 120
WORK = "work"  # the folder that overlayfs keeps beside upper
KILLED = 137
ALREADY = "everything is already as the plan says"
ONLY_A_RESTART = "does not run from it yet"

Observer = Callable[[Box], list[str]]


@dataclass(frozen=True)
class Before:
    """What was seen before the action.

    ``trees`` has for each way the router may run the trees that are right after a cut, ``final`` is the tree of the
    system that is to come up in the end, ``env`` U-Boot's environment, ``overlay`` the files of the internal overlay.

    With slots: ``envs`` are the environments before and after the action, ``idle`` the trees that are right in the slot
    it is about, {partition: tree} in ``untouched`` the files of what must stay as it is.
    """

    trees: dict[Seen, list[Tree]]
    final: Tree
    env: dict[str, str]
    overlay: Tree
    envs: tuple[dict[str, str], ...] = ()
    idle: tuple[Tree, ...] = ()
    untouched: dict[Place, Tree] = field(default_factory=dict)


class Judge:
    """Judges one state of one box; ``faults`` is what was found."""

    def __init__(self, action: Action, box: Box, before: Before, observers: Sequence[Observer] = ()) -> None:
        """``observers`` look first: each gets the box while it is off, and returns faults."""
        self.action, self.box, self.before, self.observers = action, box, before, observers
        self.faults: list[str] = []

    def fault(self, kind: str, text: str) -> None:
        """Note a fault."""
        self.faults.append(f"{kind}: {text}")

    def judge(self) -> list[str]:
        """Judge the images as they are: the power is off."""
        for observer in self.observers:
            self.faults += observer(self.box)
        self.look_at_env()
        self.carefully(self.after_the_cut)
        self.look_at_disks()
        return self.faults

    def judge_kill(self, point: int, tracer: Path) -> list[str]:
        """Start the action, kill it at a point, and judge the router, which is still on."""
        self.carefully(lambda: self.after_the_kill(point, tracer))
        self.look_at_disks()
        return self.faults

    def carefully(self, looks: Callable[[], object]) -> None:
        """Make these looks; a router that does not come up, or a command that does not end, is a fault.

        :class:`BootError` comes when a root has not even the files that a power-on looks at.
        """
        try:
            looks()
        except Timeout as problem:
            self.fault("no end", last_words(str(problem)))
        except (Hang, Panic, BootError) as problem:
            self.fault("no start", f"{type(problem).__name__}: {last_words(str(problem))}")
        finally:
            self.box.off()

    def after_the_cut(self) -> None:
        """Power on, look, run the same command again, restart, look."""
        self.box.boot()
        if self.first_start() and self.again():
            self.restart()
            self.last_start()

    def restart(self) -> None:
        """Restart."""
        self.box.reboot()

    def bring(self) -> None:
        """Put into RAM what the command needs, the script first."""
        self.box.put(SCRIPT, self.action.text)
        self.action.brings(self.box)

    def after_the_kill(self, point: int, tracer: Path) -> None:
        """Power on, run the action up to the point, look, run it again, restart, look."""
        box = self.box
        box.boot()
        if self.action.session:
            self.action.session(box)
        self.bring()
        killed = box.traced(self.action.command, tracer, point)
        if killed.code not in (KILLED, 0):
            words = last_words(killed.out + killed.err)
            self.fault("no kill", f"the run to be killed ended with {killed.code}: {words}")
        self.faults += self.action.look(box)
        if self.again():
            self.restart()
            self.last_start()

    def look_at_env(self) -> None:
        """One copy of the environment must be valid, and only the action's variables may differ."""
        now, before = self.box.env_tool.all(), self.before.env
        if now is None:
            self.fault("environment", "both copies are bad")
            return
        changed = sorted(name for name in {*now, *before} if now.get(name) != before.get(name))
        wrong = [name for name in changed if not any(fnmatch(name, one) for one in self.action.variables)]
        if wrong:
            self.fault("environment", f"changed: {' '.join(wrong)}")

    def allowed(self) -> tuple[str, ...]:
        """Return the names in which the systems may differ."""
        return (*self.action.files, *NEW_FILES, *self.action.mounts)

    def own_files(self) -> tuple[str, ...]:
        """Return the names in an overlay's own file system in which it may differ."""
        own = (*self.action.files, *self.action.mounts)
        return (*(f"/upper{path}" for path in own), f"/{WORK}/")

    def first_start(self) -> bool:
        """The old or the new system must have come up, whole; tell whether it makes sense to go on."""
        action, box = self.action, self.box
        way = box.root()
        if way not in (*action.old, action.new):
            self.fault("another system", f"{way}")
            return False
        have = box.tree()
        wrong = min((differences(tree, have, self.allowed()) for tree in self.before.trees[way]), key=len)
        if wrong:
            self.fault("not whole", f"{way}: {'; '.join(wrong)}")
        self.faults += action.look(box)
        self.bring()
        if action.script:
            return way != action.new
        self.right = self.is_right(way, wrong)
        self.check_status(box.run(f"sh {SCRIPT} status"))
        return True

    finished = False  # whether the same command came to its end, and the new system was started
    right: bool | None = (
        None  # whether the first start already was as the plan wants it; None when there was none to see
    )
    answer: Result | None = None  # what the same command again said
    ready = False  # whether another command is to be tried after the same cut: see :class:`slot_judge.SlotJudge`

    def is_right(self, way: Seen, wrong: list[str]) -> bool:
        """Tell whether the router runs as the plan wants it, where ``wrong`` is not as it should be."""
        return not wrong and way == self.action.wanted and not self.wrong_mounts()

    def check_status(self, status: Result) -> None:
        """It says that all is as planned only when that is so."""
        if status.code == 0 and not self.right:
            ways = f"{self.box.root()} and /srv on {self.box.partition_of('/srv')}"
            self.fault("half taken for whole", f"status ends with 0, with {ways}")
        elif status.code not in (0, 1):
            self.fault("status", f"ends with {status.code}: {last_words(status.out + status.err)}")

    def wrong_mounts(self) -> list[str]:
        """Return the data partitions that are not mounted where the plan wants them."""
        wanted = self.action.mounts.items()
        return [target for target, partition in wanted if self.box.partition_of(target) != partition]

    def again(self) -> bool:
        """Run the same command again; tell whether it came to its end."""
        result = self.answer = self.box.run(self.action.command, SECONDS)
        if result.code == 0:
            if ALREADY in result.out and ONLY_A_RESTART not in result.out and self.right is False:
                self.fault("half taken for whole", "the same command again says that all is as the plan says")
            return True
        if result.code != 3 or not any(re.search(words, result.out) for words in self.action.refusals):
            words = last_words(result.out + result.err)
            self.fault("does not finish", f"the same command again ends with {result.code}: {words}")
        return False

    def last_start(self) -> None:
        """After the same command again and a restart the new system runs, whole, with its data partitions."""
        action, box = self.action, self.box
        way = box.root()
        if way != action.new:
            self.fault("not finished", f"{way} after the same command again and a restart")
            return
        self.finished = True
        wrong = differences(self.before.final, box.tree(), self.allowed())
        if wrong:
            self.fault("not finished", f"the system is not whole: {'; '.join(wrong)}")
        for target in self.wrong_mounts():
            self.fault("not finished", f"{target} is not mounted from its partition")
        self.faults += action.look(box)
        if action.script:
            return
        self.bring()
        self.faults += action.end(box)
        status = box.run(f"sh {SCRIPT} status")
        if (status.code == 0) != (action.wanted == action.new):
            self.fault("not finished", f"status ends with {status.code}: {last_words(status.out)}")

    def look_at_disks(self) -> None:
        """With the power off: the environment, the internal overlay's files, the file systems."""
        action, box = self.action, self.box
        self.look_at_env()
        wrong = differences(self.before.overlay, overlay_files(box), self.own_files())
        if wrong:
            self.fault("another target", f"in the internal overlay: {'; '.join(wrong)}")
        if not self.finished:
            return
        for image, number in sorted({action.new[1], *action.mounts.values()} - {("overlay", 0)}):
            place = partition_place(box.image(image), number)
            if place is None:
                self.fault("damaged", f"Linux sees no partition {number} of {image}")
                continue
            done = run_on_host("e2fsck", "-fn", f"{box.image(image)}?offset={place}")
            if done.returncode != 0:
                self.fault("damaged", f"partition {number} of {image}: {last_words(done.stdout + done.stderr)}")


def last_words(text: str) -> str:
    """Return the last two lines of what was printed."""
    return " / ".join(text.strip().splitlines()[-2:])[:400]


def run_on_host(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command of the host and return what it did."""
    return subprocess.run(words, check=False, capture_output=True, text=True)


def partition_place(image: Path, number: int) -> int | None:
    """Return where a partition begins in an image, in bytes, or None when Linux sees none of that number there."""
    done = run_on_host("sh", HERE / "standin/partitions", image)
    found = (row.split(" ") for row in done.stdout.splitlines())
    return next((int(start) * 512 for one, start, *_ in found if int(one) == number), None)


def overlay_files(box: Box) -> Tree:
    """Return the tree of the internal overlay as the next start finds it, its journal replayed; the box is off."""
    place = box.folder / "look"
    place.mkdir(exist_ok=True)
    loop = Loop(box.image("overlay"))
    try:
        subprocess.run(["mount", "-t", "ext4", "-o", "ro", loop.path, place], check=True)
        try:
            return tree_at(str(place), ("/lost+found",))
        finally:
            subprocess.run(["umount", place], check=True)
    finally:
        loop.detach()


def outside(action: Action, changed: Mapping[str, Iterable[int]]) -> list[str]:
    """Return a fault for each image with blocks in ``changed`` ({image: block numbers}) that is no target."""
    faults = []
    for name, blocks in sorted(changed.items()):
        allowed = action.targets.get(name, (0, 0))
        if allowed is None:
            continue
        places = allowed if isinstance(allowed[0], tuple) else (allowed,)
        wrong = sorted(
            block * BLOCK for block in blocks if not any(first <= block * BLOCK < end for first, end in places)
        )
        if wrong:
            faults.append(f"another target: {len(wrong)} blocks of {name} changed, the first at {wrong[0]:#x}")
    return faults
