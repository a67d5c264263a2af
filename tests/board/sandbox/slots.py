"""Boards with two slots, in every way that the chooser knows, and what they start.

    with SlotBoard(folder, "nand", "pair") as board:
        board.set_state(good="a", trial="b", left="2")
        assert board.power_on() == "trial b"

Each slot has a kernel that says whose it is; the first byte of a slot's ``rootfs_data`` names the slot, too.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Self, cast

from bootplan import chooser

from . import flash, gpt
from .uboot import UBoot, Volumes, damaged, system_image

CASES = (
    ("nand", "pair"),
    ("nand", "volume"),
    ("nand", "shared"),
    ("emmc", "partition"),
    ("emmc", "shared"),
    ("sd", "partition"),
    ("sd", "shared"),
)
TRIES, STARTS = 2, 1
MEGABYTE = 0x100000
OTHER = {"a": "b", "b": "a"}
ROOTS = {"a": "0a0a0a0a-0000-4000-8000-00000000000a", "b": "0b0b0b0b-0000-4000-8000-00000000000b"}
WAITING = "rootwait=30 panic=5 fstools_overlay_name=none"
COUNTERS = (chooser.LEFT, chooser.FELL, chooser.CRASHES)
VARIABLES = {
    "good": chooser.GOOD,
    "trial": chooser.TRY,
    "left": chooser.LEFT,
    "fell": chooser.FELL,
    "crashes": chooser.CRASHES,
    "why": chooser.WHY,
}


class SlotBoard(UBoot):
    """A board that has the chooser for slots of one kind; slot a is good and, where slots change names, active."""

    def __init__(self, folder: Path, medium: str, kernel: str, tries: int = TRIES, starts: int = STARTS) -> None:
        """``kernel`` is the chooser's word for where a slot's kernel is."""
        super().__init__(folder, medium=medium)
        self.kernel, self.tries, self.starts = kernel, tries, starts

    def __enter__(self) -> Self:
        """Make the medium, the slots on it and their environment."""
        super().__enter__()
        make: dict[str, Callable[[], None]] = {
            "pair": self.make_pairs,
            "volume": self.make_volumes,
            "partition": self.make_partitions,
            "shared": lambda: None,
        }
        make[self.kernel]()
        self.stock = self.env.whole()
        args = self.stock["bootargs"].replace("root=/dev/fit0 rootwait ", "").removesuffix(" root=/dev/fit0 rootwait")
        choice = chooser.Choice(
            self.tries,
            self.starts,
            cast(chooser.Kernel, self.kernel),
            {}
            if self.kernel == "pair"
            else {slot: f"{args} root=PARTUUID=${chooser.ROOT[slot]} rootfstype=ext4 {WAITING}" for slot in ROOTS},
        )
        roots = {} if self.kernel == "pair" else {chooser.ROOT[slot]: ROOTS[slot] for slot in ROOTS}
        for _ in range(2):  # both copies have slots, as soon as anything was saved after the installation
            self.env.set({chooser.GOOD: "a", **roots, **chooser.variables(choice, self.stock["bootcmd"])})
        self.begin = self.folder / "begin.img"
        self.keep()
        return self

    def make_pairs(self) -> None:
        """Make the second pair of volumes, and write to each whose it is."""
        self.run(
            [
                "ubi part ubi",
                "ubi remove rootfs_data",
                f"ubi create fit_b {MEGABYTE:#x} dynamic",
                f"ubi create rootfs_data {MEGABYTE:#x} dynamic",
                f"ubi create rootfs_data_b {MEGABYTE:#x} dynamic",
            ]
        )
        for slot, end in (("a", ""), ("b", "_b")):
            self.volumes.write(f"fit{end}", system_image(f"slot-{slot}"))
            self.volumes.write(f"rootfs_data{end}", slot.encode() * 64)

    def make_volumes(self) -> None:
        """Make a volume for each slot's kernel."""
        self.run(["ubi part ubi", *(f"ubi create fit_{slot} {MEGABYTE:#x} dynamic" for slot in OTHER)])
        self.write_kernels()

    def make_partitions(self) -> None:
        """Make a partition for each slot's kernel, as a router does."""
        assert isinstance(self.volumes, Volumes)
        with open(self.image, "r+b") as card:
            for _, place, data in gpt.safe_writes(self.image, self.folder):
                card.seek(place)
                card.write(data)
        for name, first, last in gpt.entries_of(gpt.read(self.image, gpt.ENTRIES_LBA, gpt.TABLE_SECTORS)):
            self.volumes.places[name] = first * gpt.SECTOR, (last - first + 1) * gpt.SECTOR
        self.write_kernels()

    def write_kernels(self) -> None:
        """Write the kernels of slots that have a place of their own for them."""
        for slot in OTHER:
            self.volumes.write(f"fit_{slot}", system_image(f"slot-{slot}"))

    # -- what happens to the board ----------------------------------------------------------------------------------

    def keep(self) -> None:
        """Make what is on the medium now what :meth:`restore` goes back to."""
        flash.copy_sparse(self.image, self.begin)
        self.kept = list(flash.extents(self.begin))

    def restore(self) -> None:
        """Make everything as it was at the beginning."""
        flash.copy_sparse(self.begin, self.image, self.kept)
        self.forget_crash()
        self.hold_button(False)

    def set_state(self, **state: str | None) -> None:
        """Put the environment into a state: the words are those of :data:`VARIABLES`; what is not named, is deleted."""
        self.env.set({name: state.get(word) for word, name in VARIABLES.items()})

    def kernel_of(self, slot: str) -> tuple[str, str]:
        """Return where a slot's kernel is, and which one it should be."""
        if self.kernel == "shared":
            return ("fit" if self.medium == "nand" else "production"), "production"
        if self.kernel == "pair":
            volumes = self.run(["ubi part ubi", "ubi info l"])
            return (f"fit_{slot}" if f" fit_{slot}\r" in volumes else "fit"), f"slot-{slot}"
        return f"fit_{slot}", f"slot-{slot}"

    def put_kernel(self, slot: str, whole: bool = True) -> None:
        """Write a slot's kernel, whole or with a wrong bit."""
        place, system = self.kernel_of(slot)
        image = system_image(system)
        self.volumes.write(place, image if whole else damaged(image))

    def happen(self, event: str) -> None:
        """Let one of these happen, before the power comes on."""
        if event.startswith("kernel "):
            self.put_kernel(event[-1], whole=False)
        elif event.startswith("no root "):
            self.env.set({chooser.ROOT[event[-1]]: None})
        elif event.endswith(" copy bad"):
            numbers = [data[4] for data in self.env.copies()]  # the newer has the higher number, from 255 on to 0
            newer = int((numbers[1] - numbers[0]) % 256 == 1)
            self.env.spoil(newer if event.startswith("newer") else 1 - newer)
        else:
            {
                "crash": self.crash,
                "button": self.hold_button,
                "recovery damaged": lambda: self.damage("recovery"),
                "both copies bad": lambda: self.env.spoil(0, 1),
                "saving fails": self.make_saving_fail,
            }[event]()

    def make_saving_fail(self) -> None:
        """Let the environment grow beyond its place before it is saved; on the board the flash may be worn out."""
        grow = "setenv more $pad ; for n in 1 2 3 4 5 6 7 8 ; do setenv more $more$more ; done"
        self.env.set({"pad": "x" * 2048, "bootcmd": f"{grow} ; {self.env.whole()['bootcmd']}"})

    # -- starts -----------------------------------------------------------------------------------------------------

    def power_on(self) -> str:
        """Start once and return what runs: ``a``, ``trial a``, ``stock`` (the medium's own), ``recovery`` or ``tftp``.

        Kernel, root, data and command line must belong together, or :class:`AssertionError` has the console.
        """
        boot = self.boot(read_env=False)
        self.console = boot.console
        marked = re.search(r" bootplan\.slot=(\w)( bootplan\.trial=1)? *$", boot.bootargs)
        if not marked:
            assert "bootplan" not in boot.bootargs, boot.console
            assert not boot.bootargs or boot.bootargs == self.stock["bootargs"], boot.console
            return boot.chose if boot.chose in ("recovery", "tftp") else "stock"
        slot = marked[1]
        assert boot.chose == ("production" if self.kernel == "shared" else f"slot-{slot}"), boot.console
        if self.kernel == "pair":
            assert boot.bootargs.startswith(f"{self.stock['bootargs']} rootwait=30 panic=5 "), boot.console
            assert self.volumes.read("rootfs_data", 1) == slot.encode(), boot.console
        else:
            assert f" root=PARTUUID={ROOTS[slot]} " in boot.bootargs, boot.console
            assert "/dev/fit0" not in boot.bootargs and WAITING in boot.bootargs, boot.console
        return f"trial {slot}" if marked[2] else slot

    def saved(self) -> dict[str, str]:
        """Return what the saved environment says beside the counters."""
        return {name: value for name, value in self.env.whole().items() if name not in COUNTERS}

    def counters(self) -> tuple[int, ...]:
        """Return the saved counters as numbers; 0 for one that is absent or none."""
        env = self.env.whole()
        return tuple(int(env[name]) if re.fullmatch(r"\d", env.get(name, "")) else 0 for name in COUNTERS)
