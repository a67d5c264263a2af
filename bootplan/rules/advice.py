"""Advice: nothing here is wrong, but an owner should know it."""

from collections.abc import Iterator

from bootplan.board import Board
from bootplan.diagnostics import Severity
from bootplan.packages import image_variable, missing, needed
from bootplan.plan import Plan
from bootplan.rules.rule import Finding, rule
from bootplan.units import BINARY_UNITS


@rule("BP901", Severity.NOTE)
def packages_do_not_survive_an_upgrade(plan: Plan, board: Board) -> Iterator[Finding]:
    """After a sysupgrade, packages that are not in the image are gone.

    Then kmod-nvme and block-mount are missing, and the router comes up on its internal overlay
    instead of NVMe until they are installed again. An image with these packages baked in keeps
    NVMe; the firmware selector and ImageBuilder make one from the PACKAGES line that `bootplan
    packages` prints.

    Wrong:
        root: {method: extroot-overlay, partition: root}

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions: [{name: data, size: rest, filesystem: f2fs, mount: /srv}]
        root: {method: internal}

    Source: OpenWrt sysupgrade keeps configuration files only; fstools libfstools/extroot.c
    falls back.
    """
    if plan.root.method.startswith("extroot") and plan.firmware.kernel == "stock":
        yield Finding(
            ("root", "method"),
            "after a sysupgrade, NVMe is used again only if the image has the packages for it",
            f"bake them in: {image_variable(missing(needed(plan, board)))}",
        )


@rule("BP902", Severity.NOTE)
def large_memory_needs_its_own_bl2(plan: Plan, board: Board) -> Iterator[Finding]:
    """A board with 8 GiB has a boot loader for 8 GiB on snapshot only.

    24.10 and 25.12 ship a BL2 for 4 GiB. Whoever installs that one on a board with 8 GiB
    replaces the right one. The compiled script does not touch BL2.

    Wrong:
        board: {model: bpi-r4, ram: 8GiB}
        firmware: {release: "25.12"}

    Right:
        board: {model: bpi-r4, ram: 8GiB}
        firmware: {release: snapshot}

    Source: OpenWrt commits 02b2dd35 and 794b4dee, PR 21437: *-preloader-8g.bin, on main only.
    """
    if plan.board.ram == 8 * BINARY_UNITS["GiB"] and plan.firmware.release != "snapshot":
        yield Finding(
            ("board", "ram"),
            f"OpenWrt {plan.firmware.release} has no BL2 for 8GiB, only snapshot has",
            "keep the BL2 that is on the board",
        )


@rule("BP903", Severity.NOTE)
def pivot_keeps_old_modules(plan: Plan, board: Board) -> Iterator[Finding]:
    """With extroot-pivot, a sysupgrade brings a new kernel and leaves the old modules on NVMe.

    The kernel comes from the boot medium, /lib/modules from NVMe, and nothing compares them.
    Modules of another kernel do not load: no Wi-Fi, perhaps no network. extroot-overlay notices
    a new system and starts without NVMe instead.

    Wrong:
        root: {method: extroot-pivot, partition: root}

    Right:
        root: {method: extroot-overlay, partition: root}

    Source: fstools libfstools/extroot.c: .extroot-uuid is compared for the target /overlay
    only.
    """
    if plan.root.method == "extroot-pivot":
        yield Finding(
            ("root", "method"),
            "after a sysupgrade, the new kernel finds the old modules on NVMe",
            "copy the system again after each sysupgrade (install --recopy --wipe SERIAL), or choose extroot-overlay",
        )


@rule("BP904", Severity.NOTE)
def partition_is_used(plan: Plan, board: Board) -> Iterator[Finding]:
    """A partition that is neither root nor mounted is made and then left alone.

    That may be wanted, as room for later.

    Wrong:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root, size: 8GiB, filesystem: ext4}
              - {name: spare, size: 8GiB, filesystem: ext4}

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root, size: 8GiB, filesystem: ext4}
              - {name: spare, size: 8GiB, filesystem: ext4, mount: /srv}

    Source: the plan language itself.
    """
    if plan.root.method != "internal" and plan.find_partition(plan.root.partition or "") is None:
        return  # another rule says that root has no partition; it may well be this one
    for name, medium in plan.media.items():
        for index, partition in enumerate(medium.partitions):
            if partition.mount is None and partition.name != plan.root.partition:
                yield Finding(
                    ("media", name, "partitions", index, "name"),
                    f"'{partition.name}' is neither root nor mounted, so nothing uses it",
                    "give it a `mount:` if something should",
                )
