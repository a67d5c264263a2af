"""Advice: nothing here is wrong, but an owner should know it."""

from collections.abc import Iterator

from bootplan.board import Board
from bootplan.diagnostics import Severity
from bootplan.packages import image_hint, missing, needed
from bootplan.plan import Plan
from bootplan.rules.rule import Finding, rule
from bootplan.units import BINARY_UNITS

AGAIN = "install --apply --recopy --wipe SERIAL"
_WITHOUT_PACKAGES = {
    "extroot-overlay": "the overlay on NVMe is still that of the old firmware",
    "extroot-pivot": "the root on NVMe is used again only if the image has the packages for it",
    "internal": "the partitions are mounted again only if the image has the packages for it",
}


@rule("BP901", Severity.NOTE, reads="boot media firmware root packages slots bootloader")
def packages_do_not_survive_an_upgrade(plan: Plan, board: Board) -> Iterator[Finding]:
    """After a sysupgrade, packages that are not in the image are gone.

    Sysupgrade writes a new system to the boot medium and keeps settings only. kmod-nvme,
    block-mount, sfdisk and what else the plan needs are missing until they are installed again:
    with both extroot methods the router then comes up on its internal overlay, and with
    `internal` the mount points are empty directories of the boot medium. An image with the
    packages baked in has them at once; the firmware selector and ImageBuilder make one from the
    PACKAGES line that `bootplan packages` prints.

    extroot-overlay needs more than packages: an overlay belongs to one squashfs, and the new
    system has another. OpenWrt compares nothing: where fstab names the old overlay it is put over
    the new system. The script's `upgrade IMAGE` brings it along: the first boot of the new system
    makes it fit. After a sysupgrade by hand `status` tells it, and `upgrade --refit --apply` and a
    reboot do the same.

    With `cmdline` the packages are on NVMe, where a sysupgrade does not write: see BP903. With
    slots the system is upgraded another way, with a way back: see BP724 and BP725.

    Told of:
        firmware: {release: "25.12", kernel: stock}
        root: {method: extroot-overlay, partition: root}

    Do:
        bootplan packages plan.yaml         # the line for an image that has them
        sh r4.sh upgrade IMAGE --apply      # with that image, on the router

    Source: OpenWrt sysupgrade keeps configuration files only; kmod-nvme and block-mount are not
    in the image (DEVICE_PACKAGES of bananapi_bpi-r4 in image/filogic.mk). fstools block.c,
    check_extroot: it ends at once where etc/.extroot-default is not on the overlay.
    """
    names = missing(needed(plan, board))
    if plan.root.method == "cmdline" or plan.slots is not None or not names:
        return
    hint = f"bake them in: {image_hint(names)}"
    if plan.root.method == "extroot-overlay":
        hint = f"upgrade by the script: upgrade IMAGE; the image needs {image_hint(names)}"
    yield Finding(("root", "method"), f"after a sysupgrade by hand, {_WITHOUT_PACKAGES[plan.root.method]}", hint)


@rule("BP902", Severity.NOTE, reads="board firmware")
def large_memory_needs_its_own_bl2(plan: Plan, board: Board) -> Iterator[Finding]:
    """A board with 8 GiB has a boot loader for 8 GiB on snapshot only.

    24.10 and 25.12 ship a BL2 for 4 GiB. Whoever installs that one on a board with 8 GiB
    replaces the right one, and the board then has half of its memory. That is no reason to run a
    snapshot: the BL2 that is on the board can stay. The compiled script writes BL2 only when it
    is told `reflash`.

    Told of:
        board: {model: bpi-r4, ram: 8GiB}
        firmware: {release: "25.12"}

    Do:
        Keep the BL2 that is on the board: write no *-preloader.bin of the release to it.

    Source: OpenWrt commits 02b2dd35 and 794b4dee, PR 21437: *-preloader-8g.bin, on main only.
    """
    if plan.board.ram == 8 * BINARY_UNITS["GiB"] and plan.firmware.release != "snapshot":
        yield Finding(
            ("board", "ram"),
            f"OpenWrt {plan.firmware.release} has no BL2 for 8GiB, only snapshot has",
            "keep the BL2 that is on the board",
        )


@rule("BP903", Severity.NOTE, reads="root slots")
def root_keeps_old_modules(plan: Plan, board: Board) -> Iterator[Finding]:
    """With the whole root on NVMe, a sysupgrade brings a new kernel and leaves the old modules there.

    The kernel comes from the boot medium, /lib/modules from NVMe, and nothing compares them.
    Modules of another kernel do not load: no Wi-Fi, perhaps no network. The script's `upgrade
    IMAGE` puts the new ones there before NVMe is used again. After a sysupgrade by hand `status`
    tells it, and `upgrade --refit --apply` and a restart do the same. With extroot-overlay the
    modules are on the boot medium, beside their kernel, and only the overlay is old: see BP901.

    With `cmdline` there is more: root=PARTUUID stays in U-Boot's environment, and OpenWrt's own
    image brings a kernel without NVMe, which never finds that root. Put the saved environment
    back first (restore-env FILE --apply), restart, and upgrade the system on the boot medium.
    With slots the idle one is upgraded instead: see BP724.

    Wrong:
        root: {method: extroot-pivot, partition: root}

    Right:
        root: {method: extroot-overlay, partition: root}

    Source: fstools block.c, mount_extroot: what fstab names is mounted, whatever it is.
    sysupgrade writes the FIT image and leaves the environment alone (OpenWrt
    package/utils/fitblk/files/fit.sh).
    """
    if plan.slots is not None:
        return  # another rule tells what a sysupgrade does to slots
    if plan.root.method == "extroot-pivot":
        yield Finding(
            ("root", "method"),
            "after a sysupgrade by hand, the new kernel finds the old modules on NVMe",
            "upgrade by the script: upgrade IMAGE; or choose extroot-overlay",
        )
    elif plan.root.method == "cmdline":
        yield Finding(
            ("root", "method"),
            "after a sysupgrade, the new kernel finds the old modules on NVMe, or no root at all without NVMe built in",
            f"before it: restore-env FILE --apply, and restart; after it: {AGAIN}",
        )


@rule("BP904", Severity.NOTE, reads="media root slots")
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
    roots = [name for name, _ in plan.roots()]
    if plan.root.method != "internal" and (not roots or any(plan.find_partition(name) is None for name in roots)):
        return  # another rule says that a root has no partition; it may well be this one
    for path, partition in plan.partitions():
        if partition.mount is None and partition.name not in roots:
            yield Finding(
                (*path, "name"),
                f"'{partition.name}' is neither root nor mounted, so nothing uses it",
                "give it a `mount:` if something should",
            )
