"""Rules about slots: what belongs to one, and where it lies."""

from collections.abc import Iterator

from bootplan.board import Board
from bootplan.diagnostics import Path, nearest, short
from bootplan.plan import Plan, Slots
from bootplan.rules.cmdline import with_own_kernel, with_stock_kernel
from bootplan.rules.rule import Finding, rule


@rule("BP701", reads="boot firmware root slots")
def method_can_switch(plan: Plan, board: Board) -> Iterator[Finding]:
    """Slots go with the methods `extroot-overlay` and `cmdline`.

    A slot is a kernel and a root that switch together. With `internal` no root is on NVMe, so
    there is nothing to switch. With `extroot-pivot` nothing compares the root on NVMe with the
    kernel that starts it: after one slip a kernel would run on the other slot's modules, and
    perhaps without a network. With an overlay the modules are in the FIT image of their kernel,
    and with `cmdline` one command of U-Boot names both kernel and root.

    Wrong:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root-a, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
        root: {method: extroot-pivot}
        slots: {a: {root: root-a}, b: {root: root-b}}

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root-a, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
        root: {method: extroot-overlay}
        slots: {a: {root: root-a}, b: {root: root-b}}

    Source: fstools block.c, mount_extroot: what fstab names for / is mounted, whatever it is.
    """
    if plan.slots is None:
        return
    reason = {
        "internal": "method internal has no root on NVMe, so there is nothing to switch",
        "extroot-pivot": "with method extroot-pivot nothing keeps a kernel from running on the other slot's modules",
    }.get(plan.root.method)
    if reason is not None:
        yield Finding(
            ("root", "method"),
            reason,
            f"write {with_stock_kernel(plan)}, or {with_own_kernel(plan, board)}",
            related=(("the slots are here", ("slots",)),),
        )


@rule("BP702", reads="media slots")
def slot_root_exists(plan: Plan, board: Board) -> Iterator[Finding]:
    """The root of a slot is one of the plan's partitions.

    Wrong:
        slots: {a: {root: root}, b: {root: root-b}}

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
        root: {method: extroot-overlay}
        slots: {a: {root: root}, b: {root: root-b}}

    Source: the plan language itself.
    """
    known = [partition.name for medium in plan.media.values() for partition in medium.partitions]
    for name, path in _roots(plan.slots):
        if name not in known:
            close = nearest(name, known)
            hint = (
                f"did you mean '{close}'?"
                if close
                else short(f"the plan has: {', '.join(known) or 'no partition'}", 200)
            )
            yield Finding(path, f"no partition is called '{short(name)}'", hint)


@rule("BP703", reads="slots")
def slots_have_two_roots(plan: Plan, board: Board) -> Iterator[Finding]:
    """Each slot has a partition of its own.

    An upgrade empties the partition of the slot that does not run. With one partition for both,
    that would be the root of the one that does.

    Wrong:
        slots: {a: {root: root}, b: {root: root}}

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
        root: {method: extroot-overlay}
        slots: {a: {root: root}, b: {root: root-b}}

    Source: the plan language itself.
    """
    if plan.slots is not None and plan.slots.a.root == plan.slots.b.root:
        yield Finding(
            ("slots", "b", "root"),
            f"'{short(plan.slots.b.root)}' is the root of slot a already",
            "make a second partition and name it here",
            related=(("slot a has it here", ("slots", "a", "root")),),
        )


@rule("BP704", reads="media slots")
def slot_root_is_not_mounted_elsewhere(plan: Plan, board: Board) -> Iterator[Finding]:
    """The root of a slot has no mount point of its own.

    One of the two is mounted as root or overlay; the other one must not be mounted at all while
    an upgrade makes it anew.

    Wrong:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4, mount: /srv}
        root: {method: extroot-overlay}
        slots: {a: {root: root}, b: {root: root-b}}

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
              - {name: data, size: rest, filesystem: f2fs, mount: /srv}
        root: {method: extroot-overlay}
        slots: {a: {root: root}, b: {root: root-b}}

    Source: the plan language itself.
    """
    for name, path in _roots(plan.slots):
        place = plan.find_partition(name)
        if place is not None and place[2].mount is not None:
            yield Finding(
                ("media", place[0], "partitions", place[1], "mount"),
                f"'{name}' is the root of slot {path[1]} and cannot be mounted at {place[2].mount}, too",
                "remove `mount:`",
                related=((f"slot {path[1]} has it here", path),),
            )


@rule("BP705", reads="root slots")
def slots_alone_name_the_roots(plan: Plan, board: Board) -> Iterator[Finding]:
    """With slots, `root.partition` is left out.

    The slots say which partitions become root. A third answer could only contradict them.

    Wrong:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
        root: {method: extroot-overlay, partition: root}
        slots: {a: {root: root}, b: {root: root-b}}

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
        root: {method: extroot-overlay}
        slots: {a: {root: root}, b: {root: root-b}}

    Source: the plan language itself.
    """
    if plan.slots is not None and plan.root.partition is not None:
        yield Finding(
            ("root", "partition"),
            "the slots say which partitions become root",
            "remove `partition:`",
            of_key=True,
            related=(("the slots are here", ("slots",)),),
        )


@rule("BP706", reads="boot firmware root slots")
def pairs_need_the_nand(plan: Plan, board: Board) -> Iterator[Finding]:
    """Slots with `extroot-overlay` need SPI-NAND as the boot medium.

    OpenWrt's own kernel finds its squashfs and its internal overlay by the names `fit` and
    `rootfs_data`. On SPI-NAND these are UBI volumes, and `ubi rename` gives both names to the
    other slot's. On eMMC and SD card the FIT image is the GPT partition `production`, and U-Boot
    would have to write the partition table at each switch; a cut there was never shown to be
    harmless. On eMMC and SD card two slots therefore need a kernel of your own that has NVMe
    built in (CONFIG_BLK_DEV_NVME=y): with it the method `cmdline` switches on every medium.

    Wrong:
        boot: {medium: emmc}
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root-a, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
        root: {method: extroot-overlay}
        slots: {a: {root: root-a}, b: {root: root-b}}

    Right:
        boot: {medium: emmc}
        firmware: {release: "25.12", kernel: nvme-builtin}
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root-a, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
        root: {method: cmdline}
        slots: {a: {root: root-a}, b: {root: root-b}}

    Source: OpenWrt package/boot/uboot-mediatek/patches/450-add-bpi-r4.patch; Build/mt798x-gpt in
    target/linux/mediatek/image/filogic.mk; CMD_UBI_RENAME is set in all three releases.
    """
    if plan.slots is not None and plan.root.method == "extroot-overlay" and plan.boot.medium != "nand":
        yield Finding(
            ("boot", "medium"),
            f"slots with extroot-overlay need SPI-NAND: a kernel on {board.media[plan.boot.medium].title} "
            "has no second name to switch",
            f"write {with_stock_kernel(plan)}, or {with_own_kernel(plan, board)}",
            related=(("the method is chosen here", ("root", "method")),),
        )


@rule("BP707", reads="boot firmware root slots")
def shared_kernel_needs_cmdline(plan: Plan, board: Board) -> Iterator[Finding]:
    """Both slots on one kernel go with the method `cmdline` only.

    An overlay belongs to one squashfs, which is in the FIT image together with the kernel: two
    overlays on one FIT image would be two copies of the same system, and none could be
    upgraded.

    Wrong:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root-a, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
        root: {method: extroot-overlay}
        slots: {a: {root: root-a}, b: {root: root-b}, kernel: shared}

    Right:
        firmware: {release: "25.12", kernel: nvme-builtin}
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root-a, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
        root: {method: cmdline}
        slots: {a: {root: root-a}, b: {root: root-b}, kernel: shared}

    Source: OpenWrt target/linux/mediatek/image/filogic.mk: kernel and squashfs are one FIT image.
    """
    if plan.slots is not None and plan.slots.kernel == "shared" and plan.root.method == "extroot-overlay":
        yield Finding(
            ("slots", "kernel"),
            "with extroot-overlay a slot's system is in its FIT image, so each slot needs its own",
            f"write {with_stock_kernel(plan)}, or {with_own_kernel(plan, board)}",
            related=(("the method is chosen here", ("root", "method")),),
        )


def _roots(slots: Slots | None) -> Iterator[tuple[str, Path]]:
    """The root of each slot and where it is written; the second one only if it is another."""
    if slots is not None:
        yield slots.a.root, ("slots", "a", "root")
        if slots.b.root != slots.a.root:
            yield slots.b.root, ("slots", "b", "root")
