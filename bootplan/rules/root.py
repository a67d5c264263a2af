"""Rules about the root file system: where it lives, and what the method needs."""

from collections.abc import Iterator

from bootplan.board import Board
from bootplan.diagnostics import nearest, short
from bootplan.plan import Plan
from bootplan.rules.rule import Finding, rule


@rule("BP302", reads="root slots")
def method_has_its_partition(plan: Plan, board: Board) -> Iterator[Finding]:
    """Every method but `internal` says which partition becomes root.

    With slots it is they that say so.

    Wrong:
        root: {method: extroot-overlay}

    Right:
        root: {method: extroot-overlay, partition: root}

    Source: the plan language itself.
    """
    if plan.root.method != "internal" and plan.root.partition is None and plan.slots is None:
        yield Finding(
            ("root",), f"method {plan.root.method} needs a partition", "add `partition:` with its name", of_key=True
        )


@rule("BP303", reads="media root slots")
def partition_exists(plan: Plan, board: Board) -> Iterator[Finding]:
    """The root partition is one of the plan's partitions.

    Wrong:
        root: {method: extroot-overlay, partition: rot}

    Right:
        root: {method: extroot-overlay, partition: root}

    Source: the plan language itself.
    """
    name = plan.root.partition
    if (
        name is None
        or plan.slots is not None
        or plan.root.method == "internal"
        or plan.find_partition(name) is not None
    ):
        return
    known = [partition.name for medium in plan.media.values() for partition in medium.partitions]
    close = nearest(name, known)
    hint = f"did you mean '{close}'?" if close else short(f"the plan has: {', '.join(known) or 'no partition'}", 200)
    yield Finding(("root", "partition"), f"no partition is called '{short(name)}'", hint)


@rule("BP304", reads="media root slots")
def root_partition_is_not_mounted_elsewhere(plan: Plan, board: Board) -> Iterator[Finding]:
    """The root partition has no mount point of its own.

    It is mounted as root or overlay; a second entry for it in /etc/config/fstab contradicts the
    first.

    Wrong:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions: [{name: root, size: 8GiB, filesystem: ext4, mount: /srv}]

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions: [{name: root, size: 8GiB, filesystem: ext4}]

    Source: fstools libfstools/extroot.c takes the first match.
    """
    if plan.root.method == "internal" or plan.root.partition is None or plan.slots is not None:
        return
    place = plan.find_partition(plan.root.partition)
    if place is not None and place[2].mount is not None:
        yield Finding(
            ("media", place[0], "partitions", place[1], "mount"),
            f"'{plan.root.partition}' becomes root and cannot be mounted at {place[2].mount}, too",
            "remove `mount:`",
            related=(("it becomes root here", ("root", "partition")),),
        )


@rule("BP305", reads="root")
def internal_has_no_partition(plan: Plan, board: Board) -> Iterator[Finding]:
    """With the method `internal`, root stays on the boot medium and takes no partition.

    Wrong:
        root: {method: internal, partition: root}

    Right:
        root: {method: extroot-overlay, partition: root}

    Source: the plan language itself.
    """
    if plan.root.method == "internal" and plan.root.partition is not None:
        yield Finding(
            ("root", "partition"),
            "method internal keeps root on the boot medium",
            "remove `partition:`, or choose method extroot-overlay",
        )


@rule("BP306", reads="media root slots")
def internal_mounts_something(plan: Plan, board: Board) -> Iterator[Finding]:
    """With the method `internal`, at least one partition is mounted.

    Otherwise the disk is partitioned and then used for nothing.

    Wrong:
        root: {method: internal}

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions: [{name: data, size: rest, filesystem: f2fs, mount: /srv}]
        root: {method: internal}

    Source: the plan language itself.
    """
    mounts = [one.mount for medium in plan.media.values() for one in medium.partitions if one.mount is not None]
    if plan.root.method == "internal" and plan.slots is None and not mounts:  # with slots another rule says more
        yield Finding(
            ("root", "method"),
            "root stays on the boot medium and no partition is mounted, so the disk is used for nothing",
            "give a partition a `mount:`, or choose method extroot-overlay",
        )


@rule("BP310", reads="root")
def kernel_keys_belong_to_cmdline(plan: Plan, board: Board) -> Iterator[Finding]:
    """The keys `arguments`, `rootwait` and `panic` go with the method `cmdline` only.

    The other methods leave the kernel's command line as it is.

    Wrong:
        root: {method: extroot-overlay, partition: root, rootwait: 20}

    Right:
        root: {method: extroot-overlay, partition: root}

    Source: the plan language itself.
    """
    if plan.root.method == "cmdline":
        return
    for key in ("arguments", "rootwait", "panic"):
        if key in plan.root.model_fields_set:
            yield Finding(
                ("root", key),
                f"method {plan.root.method} does not change the kernel's command line",
                f"remove `{key}:`",
                of_key=True,
            )
