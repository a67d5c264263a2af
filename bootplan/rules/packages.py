"""Rules about the packages a plan asks for."""

from collections.abc import Iterator
from itertools import pairwise

from bootplan.board import Board
from bootplan.diagnostics import Severity
from bootplan.packages import needed
from bootplan.plan import Plan
from bootplan.rules.rule import Finding, rule


@rule("BP401", reads="firmware packages")
def package_exists(plan: Plan, board: Board) -> Iterator[Finding]:
    """The list has names of packages: no commands, and no package manager.

    `mkfs.ext4` is a command, its package is `e2fsprogs`. The package manager is opkg up to
    24.10 and apk from 25.12 on; it is part of the image and cannot be chosen.

    Wrong:
        packages: [mkfs.ext4]

    Right:
        packages: [tcpdump]

    Source: OpenWrt package/utils; `USE_APK` is the default since 25.12.
    """
    managers = {release.package_manager for release in board.releases.values()}
    for index, name in enumerate(plan.packages):
        if name in managers:
            own = board.releases[plan.firmware.release].package_manager
            message = f"'{name}' is the package manager and already there"
            if name != own:
                message = f"'{name}' is not the package manager of {plan.firmware.release}, {own} is"
            yield Finding(("packages", index), message, "remove it")
        elif board.package_of.get(name, name) != name:
            yield Finding(
                ("packages", index),
                f"'{name}' is a command, not a package",
                f"its package is '{board.package_of[name]}'",
            )


@rule("BP402", reads="firmware packages")
def module_is_not_built_in(plan: Plan, board: Board) -> Iterator[Finding]:
    """A kernel with NVMe built in needs no kmod-nvme.

    The kmod-nvme in OpenWrt's feed belongs to OpenWrt's own kernel. Modules must match the
    running kernel exactly, so it does not even install beside a kernel you built.

    Wrong:
        firmware: {release: "25.12", kernel: nvme-builtin}
        packages: [kmod-nvme]

    Right:
        firmware: {release: "25.12", kernel: nvme-builtin}
        packages: [tcpdump]

    Source: kmod packages depend on the exact kernel build (OpenWrt include/kernel.mk).
    """
    if plan.firmware.kernel == "nvme-builtin" and "kmod-nvme" in plan.packages:
        yield Finding(
            ("packages", plan.packages.index("kmod-nvme")),
            "kernel nvme-builtin has the driver built in, and kmod-nvme belongs to the stock kernel",
            "remove it, or write `kernel: stock`",
        )


@rule("BP403", Severity.WARNING, reads="boot media firmware root packages slots bootloader")
def package_is_worth_listing(plan: Plan, board: Board) -> Iterator[Finding]:
    """A package is listed once, and only if it would not be there anyway.

    Wrong:
        packages: [sfdisk, tcpdump, tcpdump]

    Right:
        packages: [tcpdump]

    Source: DEFAULT_PACKAGES and DEVICE_PACKAGES in OpenWrt
    target/linux/mediatek/image/filogic.mk.
    """
    by_itself = {one.name: one for one in needed(plan, board) if one.origin_path[0] != "packages"}
    for index, name in enumerate(plan.packages):
        if name in plan.packages[:index]:
            yield Finding(("packages", index), f"'{name}' is listed twice", "remove one")
        elif name in board.stock_packages:
            yield Finding(("packages", index), f"'{name}' is in the stock image", "remove it")
        elif name in by_itself:
            yield Finding(
                ("packages", index),
                f"'{name}' is taken anyway: {by_itself[name].reason}",
                "remove it",
            )


@rule("BP404", Severity.WARNING, reads="boot media firmware root packages slots bootloader")
def package_is_spelled_right(plan: Plan, board: Board) -> Iterator[Finding]:
    """A name that is one letter from that of a known package is probably a slip.

    Which packages the feeds have only the package manager knows: a name that is in none of
    them shows on the router, when it is to be installed. Names differ by a digit for a
    reason (`kmod-usb2` and `kmod-usb3`), and short ones are near to many.

    Wrong:
        packages: [smartmontool]

    Right:
        packages: [smartmontools]

    Source: the packages that plans need, those of a stock image, and those whose commands
    are known here (schemas/boards).
    """
    by_itself = {one.name for one in needed(plan, board) if one.origin_path[0] != "packages"}
    known = {*board.stock_packages, *board.package_of.values(), *by_itself}
    for index, name in enumerate(plan.packages):
        if name in known | _NEIGHBOURS:
            continue
        close = sorted(one for one in known if _one_letter_off(name, one))
        if close:
            yield Finding(
                ("packages", index),
                f"'{name}' is almost '{close[0]}'",
                f"did you mean '{close[0]}'?",
            )


_NEIGHBOURS = frozenset({"cfdisk", "cgdisk", "rsyncd"})
"""Packages of their own that are one letter from a known one."""
_SHORT = 5


def _one_letter_off(name: str, known: str) -> bool:
    """Whether *name* becomes *known* by one letter more, less or another, or by two that change places; no digit."""
    if min(len(name), len(known)) < _SHORT or name == known or abs(len(name) - len(known)) > 1:
        return False
    if len(name) != len(known):
        long, short = (name, known) if len(name) > len(known) else (known, name)
        return any(long[:at] + long[at + 1 :] == short and not long[at].isdigit() for at in range(len(long)))
    wrong = [at for at in range(len(name)) if name[at] != known[at]]
    if len(wrong) == 1:
        return not (name[wrong[0]].isdigit() or known[wrong[0]].isdigit())
    return any(name[:a] + name[b] + name[a] + name[b + 1 :] == known for a, b in pairwise(range(len(name))))
