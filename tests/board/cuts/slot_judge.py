"""What is asked of a router with slots beyond what :mod:`judge` asks of every router.

The environment is that of before the action or that of after it, to the byte, and nothing between. The slot that ran
stays as it was, in its volumes and on the disk. A slot on trial is not disturbed at the first start: the boot scripts
do not run then, so nothing is confirmed while the judge looks. At the last start they run, and the slot must confirm
itself. Where the script is ready to `switch` after the cut, another power-on takes it at its word.
"""

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..loops import Loop
from ..running import Result
from .action import SCRIPT, Action, Place, Seen
from .box import Box, Tree, differences, tree_at
from .journal import Cut
from .judge import Before, Judge, last_words, partition_place

if TYPE_CHECKING:  # it imports this module
    from .harness import Bench

T = TypeVar("T")
SO = "it is already so; nothing was changed"
TRIAL = ("bp_try", "bp_left", "bp_fell", "bp_why")
REFUSED = 3


class SlotJudge(Judge):
    """A judge who knows slots; ``ready`` tells whether the script would have switched after the cut."""

    ready = False

    def judge(self) -> list[str]:
        """Judge the images as they are, the decision in the environment first."""
        env = self.box.env_tool.all()
        if env not in self.before.envs:
            told = " ".join(f"{name}={env[name]}" for name in (*TRIAL, "bp_good") if env and name in env)
            self.fault("decision", f"neither the old one nor the new: {told}")
        return self.quietly(super().judge)

    def judge_kill(self, point: int, tracer: Path) -> list[str]:
        """Judge the router after a kill."""
        return self.quietly(super().judge_kill, point, tracer)

    def judge_switch(self) -> list[str]:
        """Power on once more, and switch: what starts then must be whole."""
        known = len(self.faults)
        self.quietly(self.carefully, self.after_the_switch)
        return self.faults[known:]

    def quietly(self, judge: Callable[..., T], *operands: Any) -> T:
        """Judge, with no boot scripts until the last start."""
        self.box.lose_ram()
        self.box.services = False
        return judge(*operands)

    def restart(self) -> None:
        """Restart with the boot scripts, and wait until they have decided what there is to decide."""
        self.box.services = True
        self.box.reboot()
        self.box.wait_for_services()

    def first_start(self) -> bool:
        """As everywhere; and would the script switch?"""
        if not super().first_start():
            return False
        if self.action.asks and self.box.chose.chose != slot_of(self.action.new):
            asked = self.box.run(f"sh {SCRIPT} switch")
            self.ready = asked.code == 0
            if asked.code not in (0, REFUSED):
                self.fault("switch", f"ends with {asked.code}: {last_words(asked.out + asked.err)}")
        return True

    def is_right(self, way: Seen, wrong: list[str]) -> bool:
        """Tell whether the good slot runs, whole, and nothing is on trial."""
        env = self.box.fw_printenv() or {}
        return not wrong and slot_of(way) == env.get("bp_good") and "bp_try" not in env and not self.wrong_mounts()

    def check_status(self, status: Result) -> None:
        """It says that all is as planned when that is so, and at no other time."""
        super().check_status(status)
        if self.right and status.code != 0:
            self.fault("status", f"ends with {status.code} although slot {self.box.chose.chose} runs as it should")

    def again(self) -> bool:
        """Run the same command again; a refusal that the action names is an end, too: only a restart is missing."""
        if self.action.once and self.box.run(f"sh {SCRIPT} status").code == 0:
            return True
        if self.action.twice:
            self.ends(super().again)
            self.box.reboot()
            self.bring()
            self.right = None
        ended = self.ends(super().again)
        if self.answer and SO in self.answer.out and not self.decided_as(self.before.envs[1]):
            self.fault("half taken for whole", "the same command again says that it is already so")
        return ended

    def ends(self, again: Callable[[], bool]) -> bool:
        """Run the command; tell whether it came to an end, if only to a refusal that the action names."""
        known = len(self.faults)
        return again() or len(self.faults) == known

    def decided_as(self, wanted: dict[str, str]) -> bool:
        """Tell whether the environment has the same good slot and the same one on trial."""
        env = self.box.fw_printenv() or {}
        return all(env.get(name) == wanted.get(name) for name in ("bp_good", "bp_try"))

    def last_start(self) -> None:
        """As everywhere; and everything is decided."""
        super().last_start()
        self.look_at_decision()

    def look_at_decision(self) -> None:
        """The slot that runs is the good one, and there is no trial; without a slot there is no variable of ours."""
        env = self.box.fw_printenv() or {}
        letter = self.box.chose.chose
        ours = {name: value for name, value in env.items() if name.startswith("bp_")}
        if letter == "stock" and ours:
            self.fault("not finished", f"the stock system runs, and there are still {' '.join(sorted(ours))}")
        elif letter != "stock" and (ours.get("bp_good") != letter or set(TRIAL) & ours.keys()):
            told = " ".join(f"{name}={ours[name]}" for name in (*TRIAL, "bp_good") if name in ours)
            self.fault("not finished", f"slot {letter} runs, and the environment says {told}")

    def after_the_switch(self) -> None:
        """Power on, switch, restart, look."""
        action, box = self.action, self.box
        box.boot()
        self.bring()
        done = box.run(f"sh {SCRIPT} switch --apply")
        if done.code != 0:
            self.fault("switch", f"was ready, and ends with {done.code}: {last_words(done.out + done.err)}")
            return
        self.restart()
        way = box.root()
        if way != action.new:
            self.fault("half taken for whole", f"{way} after a switch that the script was ready for")
            return
        have = box.tree()
        wrong = min((differences(tree, have, self.allowed()) for tree in self.before.idle), key=len)
        if wrong:
            self.fault("half taken for whole", f"a switch starts a slot that is not whole: {'; '.join(wrong)}")
        self.look_at_decision()

    def look_at_disks(self) -> None:
        """With the power off: the files of what must not be touched."""
        super().look_at_disks()
        for place, tree in self.before.untouched.items():
            wrong = differences(tree, files_on(self.box, place), (*self.own_files(), *self.action.files))
            if wrong:
                self.fault("another target", f"on partition {place[1]} of {place[0]}: {'; '.join(wrong)}")


def slot_of(way: Seen) -> str:
    """Return what U-Boot chose."""
    return way[2] if len(way) == 3 else ""


def files_on(box: Box, place: Place) -> Tree:
    """Return the tree of a partition, (image, number), its journal replayed; the box is off."""
    return files_in(box.image(place[0]), place[1], box.folder / "look")


def files_in(image: Path, number: int, folder: Path) -> Tree:
    """Return the tree of a partition of an image, mounted at ``folder``; an empty one when Linux sees none there."""
    if partition_place(image, number) is None:
        return {}
    folder.mkdir(exist_ok=True)
    loop = Loop(image, partitions=True)
    try:
        subprocess.run(["partx", "-u", loop.path], check=True)
        subprocess.run(["mount", "-t", "ext4", "-o", "ro", f"{loop.path}p{number}", folder], check=True)
        try:
            return tree_at(str(folder), ("/lost+found",))
        finally:
            subprocess.run(["umount", folder], check=True)
    finally:
        loop.detach()


def see_whole(bench: "Bench", before: Before, first: Tree) -> tuple[Before, list[str]]:
    """Return ``before`` with what an action that nobody cut leads to, and the faults of that.

    ``first`` is the tree of the session's power-on: a copy may have been made of that one.
    """
    action = bench.action
    with bench.box("whole") as box:
        box.services = False

        def at(step: int) -> None:
            """Give the images of that moment, with the power off."""
            box.off()
            box.lose_ram()
            box.recorder.begin(bench.history.blocks(Cut(step)), bench.journal / "data")

        trees, idle, faults = dict(before.trees), [], []
        at(bench.first)
        untouched = {place: files_on(box, place) for place in action.untouched}
        if action.asks:
            idle = idle_tree(action, box)
            at(bench.first)
        box.boot()
        trees.setdefault(box.root(), [box.tree()])
        at(bench.last)
        envs = (before.env, box.env_tool.whole())
        if envs[0] != envs[1] and any(copy != envs[1] for copy in box.env_tool.copies()):
            faults.append("decision: after the action one copy of the environment says something else")
        box.boot()
        if action.twice:
            box.put(SCRIPT, action.text)
            box.run(action.command).ok()
            box.reboot()
        way, tree = box.root(), box.tree()
        if way != action.new:
            faults.append(f"not finished: {way} after the action")
        trees.setdefault(way, [tree])
        faults += action.proof(box, before.final, tree)
        for other in (*action.old, action.new):
            trees.setdefault(other, [before.final, first])
    return replace(
        before, trees=trees, final=trees[action.new][0], envs=envs, idle=(*idle, tree), untouched=untouched
    ), faults


def idle_tree(action: Action, box: Box) -> list[Tree]:
    """Return the tree of the idle slot before the action, in a list; an empty one when it cannot be started."""
    box.boot()
    box.put(SCRIPT, action.text)
    if box.run(f"sh {SCRIPT} switch --apply").code != 0:
        return []
    box.reboot()
    return [box.tree()]
