"""What the script does, as data: a plan becomes actions, an action is a list of calls in order.

Python decides what can be known from the plan; the library in templates/lib decides what only the router
knows. A step calls one function of that library with literal arguments.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

from bootplan.board import Board
from bootplan.bootargs import bootargs
from bootplan.bootloader import bootloader_facts
from bootplan.checklist import checklist_steps
from bootplan.diagnostics import Path
from bootplan.document import Document
from bootplan.fallback import Text, fallback_steps, kit_texts
from bootplan.layout import Part, disk_id, lay_out, parts, smallest_disk_mib
from bootplan.packages import needed
from bootplan.plan import Nvme, Plan
from bootplan.slots import Call, SlotSteps, Titled
from bootplan.sysupgrade import CONTENT, TARGET, UpgradeSteps
from bootplan.units import MIB

_PROOF = {  # package -> the look that shows it is there
    "kmod-nvme": ("need_module", "nvme"),
    "block-mount": ("need_command", "block"),
    "sfdisk": ("need_command", "sfdisk"),
    "e2fsprogs": ("need_command", "mkfs.ext4"),
    "mkf2fs": ("need_command", "mkfs.f2fs"),
    "uboot-envtools": ("need_command", "fw_setenv"),
    "mmc-utils": ("need_command", "mmc"),
}


@dataclass(frozen=True)
class Step:
    """One call on the router: a function of templates/lib and its arguments, in order.

    *origin* is the path of what the user wrote and the step comes from; *line* is its line in the plan.
    """

    title: str
    call: Call
    origin: Path
    line: int


@dataclass(frozen=True)
class Action:
    """A list of steps under one name; *numbered* when each step is announced to the reader."""

    name: str
    summary: str
    steps: tuple[Step, ...]
    numbered: bool = False


@dataclass(frozen=True)
class Program:
    """Everything a script is made from: the plan's file, its facts, its actions, and the texts it carries with it."""

    source: str
    source_sha256: str
    title: str
    facts: tuple[tuple[str, str], ...]
    actions: tuple[Action, ...]
    texts: tuple[Text, ...] = ()


def program(plan: Plan, board: Board, document: Document) -> Program:
    """The program of a plan that all rules accept."""
    steps = _Steps(plan, board, document, tuple(parts(plan)))
    actions = (
        *steps.slot_facts(),
        steps.action("who", "Is this the router the plan was written for?", steps.who()),
        steps.action("env", "Where this medium keeps the U-Boot environment.", steps.env()),
        steps.action("look", "What must be true before anything is changed.", steps.look()),
        steps.action("packages", "What the plan needs is installed.", steps.packages()),
        steps.action("install", "From the system on the boot medium to the one of the plan.", steps.install(), True),
        *steps.slot_actions(),
        steps.action("status", "Is everything where the plan wants it?", steps.status()),
        steps.action("checklist", "The fallback to be proven, and what checklist asks.", checklist_steps(plan, board)),
        steps.action("saved_env", "Is that file a saved environment of this router?", steps.saved_env()),
        steps.action("bootloader", "The boot loader's files, for reflash.", bootloader_facts(plan, board)),
        steps.action(
            "fallback", "The card that starts the router when nothing else does.", fallback_steps(plan, board)
        ),
    )
    calls = json.dumps([[step.call for step in action.steps] for action in actions])
    facts = (
        ("plan_name", plan.name),
        ("plan_digest", hashlib.sha256(calls.encode()).hexdigest()[:16]),
        ("plan_medium", plan.boot.medium),
    )
    model = board.models[plan.board.model]
    return Program(
        source=document.name.rpartition("/")[2],
        source_sha256=hashlib.sha256(document.text.encode()).hexdigest(),
        title=f"{plan.name}: OpenWrt {plan.firmware.release} on a {model.title}, booted from {plan.boot.medium}",
        facts=facts,
        actions=actions,
        texts=kit_texts(plan, board, document),
    )


def _section(part: Part) -> str:
    """The section of /etc/config/fstab that mounts *part*; a medium's name has no `_`, so no two are the same."""
    return f"bootplan_{part.medium.replace('-', '_')}_{part.place.number}"


class _Steps:
    """The steps of one plan; each method yields those of one action as (title, call, origin)."""

    def __init__(self, plan: Plan, board: Board, document: Document, parts: tuple[Part, ...]) -> None:
        self._plan, self._board, self._document, self._parts = plan, board, document, parts
        self._medium = board.media[plan.boot.medium]
        self._release = board.releases[plan.firmware.release]
        self._root = next((part for part in parts if part.partition.name == plan.root.partition), None)
        self._slots = None if plan.slots is None else SlotSteps(plan, plan.slots, board, parts)
        self._upgrade = UpgradeSteps(plan, board, self._root)
        self._mounts = tuple((part, part.partition.mount) for part in parts if part.partition.mount)

    def action(self, name: str, summary: str, steps: Iterator[Titled], numbered: bool = False) -> Action:
        """An action whose steps know the line of the plan they come from."""
        made = (Step(title, call, origin, self._document.span(origin).line) for title, call, origin in steps)
        return Action(name, summary, tuple(made), numbered)

    def slot_facts(self) -> Iterator[Action]:
        """What the library has to know of slots, or that there are none."""
        if self._slots:
            yield self.action("slots", "The two slots, and how one on trial proves itself.", self._slots.facts())
        else:
            yield self.action("slots", "This plan has no slots; how its one system is upgraded.", self.no_slots())

    def no_slots(self) -> Iterator[Titled]:
        """What the library has to know of a plan without slots."""
        yield "no slots", ("no_slots",), ("root",)
        yield from self._upgrade.facts()

    def slot_actions(self) -> Iterator[Action]:
        """What only a plan with slots can do, and the upgrade of one without."""
        if self._slots:
            yield self.action("decide", "What every decision about the slots looks at first.", self.decide())
            yield self.action(
                "upgrade_look", "Is the image one for the slot that does not run?", self.look_at_slot_upgrade()
            )
            yield self.action("upgrade", "A new system into the slot that does not run.", self._slots.upgrade(), True)
            yield self.action(
                "chooser", "What U-Boot runs at power-on, before its stock commands.", self._slots.chooser()
            )
        else:
            yield self.action("upgrade_look", "Can sysupgrade bring this image here?", self._upgrade.look())
            if self._plan.root.method != "cmdline":
                yield self.action("upgrade", "The image in place of the running system.", self._upgrade.upgrade(), True)

    def who(self) -> Iterator[Titled]:
        plan, board, medium = self._plan, self._board, self._medium
        names = board.models[plan.board.model].names[plan.firmware.release]
        yield "the board", ("need_board", board.soc, *names), ("board", "model")
        release, pattern, manager = plan.firmware.release, self._release.version_pattern, self._release.package_manager
        yield "the release", ("need_release", release, pattern, board.target, manager), ("firmware", "release")
        yield "the layout", ("need_layout",), ("firmware",)
        switch = ("need_medium", plan.boot.medium, medium.rootdisk, medium.switch, medium.menu_title)
        yield "the boot medium", switch, ("boot", "medium")

    def env(self) -> Iterator[Titled]:
        environment = self._medium.environment
        where: Call = environment.volumes
        if environment.kind == "mmc":
            where = (environment.partition, *environment.offsets)
        call = ("locate_env", environment.kind, environment.size_bytes, *where)
        yield "the environment's place", call, ("boot", "medium")

    def look(self) -> Iterator[Titled]:
        plan = self._plan
        yield "the router", ("plan_who",), ("board",)
        if plan.board.ram:
            yield "the memory", ("need_memory", plan.board.ram // MIB), ("board", "ram")
        yield "the packages", ("plan_packages",), ("packages",)
        yield "all packages", ("no_package_missing", self._release.package_manager), ("packages",)
        yield from self._look_at_disks()
        if self._slots:
            yield self._environment()
            yield from self._slots.look()
        else:
            place = (*self._root.on_disk, CONTENT[plan.root.method]) if self._root else ("none", 0, "internal")
            yield "the running system", ("need_system", *place), ("root",)
        target = TARGET.get(plan.root.method)
        owners = [("/", "bootplan_root" if target else "none"), ("/overlay", "bootplan_root" if target else "none")]
        owners += [(target, _section(part)) for part, target in self._mounts]
        yield "the mounts at boot", ("need_fstab", *(word for owner in owners for word in owner)), ("root", "method")
        if plan.root.method == "cmdline":
            yield from self._look_at_cmdline()

    def packages(self) -> Iterator[Titled]:
        """A look for each package of the plan; one that its owner asks for keeps nothing from beginning."""
        for package in needed(self._plan, self._board):
            asked_for = package.origin_path[0] == "packages"
            proof = ("want_package",) if asked_for else _PROOF.get(package.name, ("need_package",))
            yield f"package {package.name}", (*proof, package.name), package.origin_path

    def _look_at_disks(self) -> Iterator[Titled]:
        for name, disk in self._plan.disks():
            size = smallest_disk_mib(lay_out(disk.partitions))
            yield f"disk {name}", ("need_disk", disk_id(disk), size), ("media", name)
            if disk.serial and disk.pci:
                yield f"place of {name}", ("need_pci", disk_id(disk), disk.pci), ("media", name, "pci")

    def _look_at_cmdline(self) -> Iterator[Titled]:
        yield "NVMe in the kernel", ("need_nvme_builtin",), ("firmware", "kernel")
        reason = "rootwait=SECONDS is unknown to it, so a missing disk would hang the router for ever"
        yield "the kernel's age", ("need_kernel", 6, 6, reason), ("root", "rootwait")
        yield "fstools", ("need_overlay_switch",), ("root", "method")
        if not self._slots:
            yield self._environment()

    def _environment(self) -> Titled:
        medium = self._medium
        configured = "no" if self._plan.board.model in self._release.env_config_missing_on else "yes"
        call = ("need_env", medium.menu_title, configured, *medium.environment.required)
        return "the environment", call, ("boot", "medium")

    def decide(self) -> Iterator[Titled]:
        """What every decision about slots looks at first."""
        yield "the router", ("plan_who",), ("board",)
        yield self._environment()

    def install(self) -> Iterator[Titled]:
        if self._root and self._plan.root.method == "cmdline":
            yield from self._leave_root(self._root)
        if self._slots:
            yield from self._slots.make_places()
        for name, disk in self._plan.disks():
            yield self._table("partition_disk", name, disk)
        for part in self._parts:
            yield from self._make_filesystem(part)
        for part, target in self._mounts:
            call = ("mount_at_boot", _section(part), target, *part.on_disk, part.partition.name)
            yield f"{part.partition.name} at {target}", call, (*part.path, "mount")
        if self._root:
            yield from self._install_root(self._root)
        if self._slots:
            yield from self._slots.fill_first()

    def _table(self, verb: str, name: str, disk: Nvme) -> Titled:
        """The verb with the partition table of a disk: name, first MiB and size in MiB of each partition."""
        table = [
            word
            for place in lay_out(disk.partitions)
            for word in (place.name, place.start_mib, "rest" if place.size_mib is None else place.size_mib)
        ]
        return f"partition table of {name}", (verb, disk_id(disk), *table), ("media", name, "partitions")

    def look_at_slot_upgrade(self) -> Iterator[Titled]:
        """What must be true before the slot that does not run is written: also that its partition is the plan's."""
        assert self._slots
        yield from self._slots.look_at_image()
        used = {part.medium for part in self._slots.roots.values()}
        for name, disk in self._plan.disks():
            if name in used:
                yield self._table("need_table", name, disk)
        yield from self._slots.look_at_place()

    def _make_filesystem(self, part: Part) -> Iterator[Titled]:
        if self._slots and part in self._slots.roots.values():
            yield from self._slots.make_filesystem(part)
            return
        role = CONTENT[self._plan.root.method] if part is self._root else "data"
        kind, label = part.partition.filesystem, part.partition.name
        call = ("make_filesystem", *part.on_disk, kind, label, role)
        yield f"file system of {label}", call, (*part.path, "filesystem")

    def _leave_root(self, root: Part) -> Iterator[Titled]:
        before, _ = bootargs(self._plan, self._medium)
        kind, label = root.partition.filesystem, root.partition.name
        call = ("root_not_from", *root.on_disk, kind, label, self._medium.bootargs, before)
        yield f"the stock root while {label} is made anew", call, ("root", "method")

    def _install_root(self, root: Part) -> Iterator[Titled]:
        method, path = self._plan.root.method, ("root", "method")
        kind, label = root.partition.filesystem, root.partition.name
        before, behind = bootargs(self._plan, self._medium)
        if method == "cmdline":
            yield "a copy of the environment", ("save_env", before), path
        copy = ("copy_system", *root.on_disk, kind, label, CONTENT[method])
        yield f"the system on {label}", copy, ("root", "partition")
        if method == "cmdline":
            call = ("root_from_cmdline", *root.on_disk, self._medium.bootargs, before, behind)
            yield f"root on {label}, by the kernel's command line", call, path
        else:
            yield (
                f"root on {label}, from the next start on",
                ("root_from_disk", TARGET[method], *root.on_disk, label),
                path,
            )

    def status(self) -> Iterator[Titled]:
        yield "the router", ("tell_router",), ("board",)
        method = self._plan.root.method
        if self._slots:
            yield "the slots", ("tell_slots",), ("slots",)
        elif self._root:
            kind, label = self._root.partition.filesystem, self._root.partition.name
            call = ("tell_root", method, CONTENT[method], *self._root.on_disk, kind, label)
            yield "root", call, ("root",)
        else:
            yield "root", ("tell_root_internal",), ("root",)
        if not self._slots:
            yield "the last upgrade", ("tell_upgrade",), ("root",)
        for part, target in self._mounts:
            yield part.partition.name, ("tell_mount", target, _section(part), *part.on_disk), (*part.path, "mount")

    def saved_env(self) -> Iterator[Titled]:
        medium = self._medium
        call = ("need_saved_env", medium.menu_title, *medium.environment.required)
        yield "the saved environment", call, ("boot", "medium")
