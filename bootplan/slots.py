"""Slots as steps: what the library has to know of them, and what `install` and `upgrade` do."""

from collections.abc import Iterator

from bootplan.board import Board
from bootplan.bootargs import bootargs
from bootplan.chooser import PAIR_BOOTARGS, ROOT, Choice, Kernel, variables
from bootplan.diagnostics import Path
from bootplan.layout import Part
from bootplan.plan import Plan, Slots
from bootplan.units import MIB

Call = tuple[str | int, ...]
Titled = tuple[str, Call, Path]
"""What a step does and says: its title, the call, and the path of what the user wrote."""


def kernel_place(plan: Plan, slots: Slots) -> Kernel:
    """Where the kernel of a slot is, in the words of the chooser."""
    if plan.root.method == "extroot-overlay":
        return "pair"
    if slots.kernel == "shared":
        return "shared"
    return "volume" if plan.boot.medium == "nand" else "partition"


class SlotSteps:
    """The steps that only a plan with slots has; each method yields some of them as (title, call, origin)."""

    def __init__(self, plan: Plan, slots: Slots, board: Board, parts: tuple[Part, ...]) -> None:
        self._plan, self._slots, self._board = plan, slots, board
        self._medium = board.media[plan.boot.medium]
        self._release = board.releases[plan.firmware.release]
        self._kernel = kernel_place(plan, slots)
        by_name = {part.partition.name: part for part in parts}
        self.roots = {"a": by_name[slots.a.root], "b": by_name[slots.b.root]}

    def facts(self) -> Iterator[Titled]:
        """What every action has to know of the slots."""
        slots, confirm = self._slots, self._slots.confirm
        method = "overlay" if self._kernel == "pair" else "root"
        call = ("slots_are", self._kernel, method, slots.tries, confirm.within_seconds, confirm.forced_restart_seconds)
        yield "the slots", call, ("slots",)
        for name, part in self.roots.items():
            kind, label = part.partition.filesystem, part.partition.name
            yield f"slot {name}", ("slot", name, *part.on_disk, kind, label), ("slots", name)
        yield "the checks", ("check_health", *confirm.checks), ("slots", "confirm")
        yield "U-Boot's command", ("chooser_begins", self._variables()["bootcmd"]), ("slots",)
        upgrade = self._plan.upgrade
        if upgrade is not None and upgrade.image is not None:
            yield "the image", ("pin_image", upgrade.image.sha256), ("upgrade", "image")
        for index, path in enumerate(upgrade.keep if upgrade is not None else ()):
            yield f"{path} is kept", ("keep", path), ("upgrade", "keep", index)

    def chooser(self) -> Iterator[Titled]:
        """The commands for U-Boot's environment, but for bootcmd, which goes on with what it was."""
        for name, value in self._variables().items():
            if name != "bootcmd":
                yield name, ("uboot_variable", name, value), ("slots",)

    def look(self) -> Iterator[Titled]:
        """What must be true before slots are installed, behind the looks at the environment."""
        yield "the running system", ("need_place_for_slots",), ("slots",)
        reason = "rootwait=SECONDS is unknown to it, so a trial without a root would hang the router for ever"
        yield "the kernel's age", ("need_kernel", 6, 6, reason), ("slots",)
        yield "a watchdog", ("need_watchdog",), ("slots",)
        if self._kernel != "pair":
            yield "the stock command line", ("need_stock_bootargs", self._medium.bootargs), ("root", "method")

    def make_places(self) -> Iterator[Titled]:
        """Room for what belongs to a slot on the boot medium."""
        firmware, data = self._slots.firmware_bytes, self._slots.data_bytes
        if self._kernel == "partition":
            yield "partitions for two kernels", ("make_card_partitions", firmware // MIB), ("slots",)
        elif self._kernel != "shared":
            yield "volumes for the slots", ("make_volumes", firmware, data), ("slots",)

    def make_filesystem(self, part: Part) -> Iterator[Titled]:
        """The file system of a slot's partition."""
        for name, root in self.roots.items():
            if root is part:
                yield f"file system of {part.partition.name}", ("make_slot", name), ("slots", name)

    def fill_first(self) -> Iterator[Titled]:
        """The running system becomes a slot, and U-Boot learns of both."""
        here = ("slots",)
        yield "the health service", ("install_service",), (*here, "confirm")
        yield "what is known of the first slot", ("record_first_slot",), here
        yield "the system in the first slot", ("copy_to_slot",), here
        if self._kernel == "pair":
            yield "the overlay of the first slot", ("overlay_from_slot",), here
        elif self._kernel != "shared":
            yield "the kernel of the first slot", ("copy_kernel", self._slots.firmware_bytes), here
        yield "a copy of the environment", ("save_env_before_slots",), here
        yield "U-Boot chooses between the slots", ("choose_slots",), here

    def look_at_image(self) -> Iterator[Titled]:
        """What must be true of the image before the idle slot is written."""
        image = ("need_image", self._release.version_pattern, self._board.target)
        yield "the image", image, ("firmware", "release")

    def look_at_place(self) -> Iterator[Titled]:
        """What must be true of the idle slot's places before it is written."""
        yield "the idle slot", ("need_idle_place", self._slots.firmware_bytes), ("slots",)

    def upgrade(self) -> Iterator[Titled]:
        """A new system into the idle slot."""
        here, firmware = ("slots",), self._slots.firmware_bytes
        yield "no slot is on trial while one is written", ("end_trial",), here
        yield "the idle slot is unfinished", ("slot_is_unfinished",), here
        if self._kernel != "shared":
            yield "the kernel of the idle slot", ("put_kernel", firmware), here
        yield "the settings", ("keep_settings",), here
        yield "the system of the idle slot", ("fill_root",), here
        if self._kernel == "pair":
            yield "the internal overlay of the idle slot", ("fill_internal",), here
        yield "the idle slot is finished", ("slot_is_finished",), here
        yield "the idle slot is on trial", ("begin_trial",), here

    def _variables(self) -> dict[str, str]:
        slots, lines = self._slots, {}
        for name, part in self.roots.items():
            if self._kernel == "pair":
                lines[name] = PAIR_BOOTARGS
            else:
                before, behind = bootargs(self._plan, self._medium, part.partition.name)
                lines[name] = f"{before} root=PARTUUID=${ROOT[name]} {behind}"
        starts = 0 if slots.on_crash == "recovery" else slots.on_crash.good
        return variables(Choice(slots.tries, starts, self._kernel, lines), "")
