"""The chain of one plan's start: who is started from where, and what starts instead when a link breaks."""

from dataclasses import dataclass

from bootplan.board import Board
from bootplan.layout import Part, parts
from bootplan.plan import DEFAULT_ROOTWAIT_SECONDS, DEFAULT_TFTP_SERVER, Nvme, Plan
from bootplan.slots import kernel_place


@dataclass(frozen=True)
class Stage:
    """One link: its *name*, the *medium* it comes from, and its *place* there."""

    name: str
    medium: str
    place: str


@dataclass(frozen=True)
class Way:
    """What starts instead: *why* the link number *stage* is left, and where the start goes on."""

    stage: int
    why: str
    to: str


@dataclass(frozen=True)
class Chain:
    """The links in order, the first one is the switch; and the ways beside it, in the order of their links."""

    stages: tuple[Stage, ...]
    ways: tuple[Way, ...]


def digits(switch: str) -> str:
    """SW3's digits as a person sets them."""
    return f"A={switch[0]} B={switch[1]}"


def chain(plan: Plan, board: Board) -> Chain:
    """The chain of *plan*."""
    medium = board.media[plan.boot.medium]
    title, places = medium.title, medium.stages
    stages = (
        Stage("SW3", digits(medium.switch), "read at power-on only"),
        Stage("boot ROM", "SoC", "loads from this medium only"),
        Stage("BL2", title, places.bl2),
        Stage("BL31 + U-Boot", title, places.fip),
        Stage("kernel", title, _kernel(plan, places.kernel)),
        Stage("root", *_root(plan, title)),
    )
    return Chain(stages, tuple(_ways(plan, board, stages)))


def _kernel(plan: Plan, stock: str) -> str:
    if plan.slots is None:
        return stock
    kind = stock.rpartition(" ")[0]
    match kernel_place(plan, plan.slots):
        case "shared":
            return stock
        case "pair":
            return f"{stock}, of the slot that starts"
        case _:
            return f"{kind} fit_a or fit_b"


def _root(plan: Plan, title: str) -> tuple[str, str]:
    """The medium of the root, and its place."""
    method, slots = plan.root.method, plan.slots
    known = {part.partition.name: part for part in parts(plan)}
    if slots is not None and {slots.a.root, slots.b.root} <= known.keys():
        kind = "overlay" if method == "extroot-overlay" else "root"
        places = " or ".join(_partition(known[slot.root]) for slot in (slots.a, slots.b))
        return _disk(plan, known[slots.a.root]), f"{kind} on {places}"
    part = known.get(plan.root.partition or "")
    if part is None:
        return title, "squashfs with its overlay"
    kind = "overlay" if method == "extroot-overlay" else "whole root"
    return _disk(plan, part), f"{kind} on {_partition(part)}"


def _disk(plan: Plan, part: Part) -> str:
    disk = plan.media[part.medium]
    assert isinstance(disk, Nvme)
    return f"NVMe {disk.serial or disk.pci}"


def _partition(part: Part) -> str:
    return f"p{part.place.number} {part.partition.name}"


def _ways(plan: Plan, board: Board, stages: tuple[Stage, ...]) -> list[Way]:
    medium, card = board.media[plan.boot.medium], board.media["sd"]
    server = plan.recovery.server if plan.recovery else DEFAULT_TFTP_SERVER
    uboot, kernel, root = 3, 4, len(stages) - 1
    ways = []
    if plan.boot.medium != "sd":
        ways.append(Way(0, f"SW3 {digits(card.switch)}, power-cycle", "SD card: BL2 to root are its own"))
    ways.append(
        Way(
            uboot,
            "crash record, flag_recover, or no kernel that is whole",
            f"recovery system ({medium.stages.recovery})",
        )
    )
    ways.append(Way(uboot, "no recovery system either", f"TFTP from {server}, for ever"))
    if plan.slots is not None:
        ways.append(Way(kernel, f"{plan.slots.tries} starts on trial failed", "the good slot"))
    if plan.root.method == "cmdline":
        seconds = DEFAULT_ROOTWAIT_SECONDS if plan.root.rootwait is None else plan.root.rootwait
        ways.append(Way(root, f"no disk within {seconds} s: panic, restart", "recovery system"))
    elif plan.root.method != "internal":
        ways.append(Way(root, "no disk", f"{medium.title} alone, as before the install"))
    return ways
