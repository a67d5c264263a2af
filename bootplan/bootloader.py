"""The boot loader as steps: what `reflash` has to know of its files."""

from collections.abc import Iterator

from bootplan.board import Board
from bootplan.plan import DEFAULT_TFTP_SERVER, Bootloader, Plan
from bootplan.slots import Titled
from bootplan.units import BINARY_UNITS, MIB

_LARGE, _SMALL = 8 * BINARY_UNITS["GiB"] // MIB, 4 * BINARY_UNITS["GiB"] // MIB


def bootloader_facts(plan: Plan, board: Board) -> Iterator[Titled]:
    """What `reflash` looks at and writes; a plan without boot loader files still gets the ways that U-Boot knows."""
    here = ("board",)
    yield "the board", ("need_board", board.soc, *board.models[plan.board.model].names[plan.firmware.release]), here
    yield "the switch", ("switches_are", *(board.media[name].switch for name in ("nand", "emmc", "sd"))), here
    ram = (plan.board.ram or 0) // MIB
    server = plan.recovery.server if plan.recovery else DEFAULT_TFTP_SERVER
    if plan.bootloader is None or plan.boot.medium == "sd":
        yield "no boot loader files", ("no_bootloader", ram, server), here
        return
    allowed = "yes" if plan.bootloader.mtd_rw else "no"
    yield "the boot loader", ("bootloader_is", plan.boot.medium, ram, server, allowed), ("bootloader",)
    yield from _files(plan, plan.bootloader, board)


def _files(plan: Plan, bootloader: Bootloader, board: Board) -> Iterator[Titled]:
    if bootloader.bl2 is not None:
        # Nothing in a BL2 tells for which RAM it is, its name does.
        ram = _LARGE if bootloader.bl2.file.endswith(tuple(board.files.large_memory.values())) else _SMALL
        call = ("bootloader_file", "bl2", bootloader.bl2.file, bootloader.bl2.sha256, ram)
        yield "BL2", call, ("bootloader", "bl2")
    if bootloader.fip is not None:
        call = ("bootloader_file", "fip", bootloader.fip.file, bootloader.fip.sha256, 0)
        yield "FIP", call, ("bootloader", "fip")
    recovery = plan.recovery.image if plan.recovery else None
    if recovery is not None:
        call = ("bootloader_file", "recovery", recovery.file, recovery.sha256, 0)
        yield "the recovery system", call, ("recovery", "image")
