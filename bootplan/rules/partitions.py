"""Rules about partitions: their names and their sizes."""

from collections.abc import Iterator

from bootplan.board import Board
from bootplan.diagnostics import Path
from bootplan.layout import FIRST_MIB, LAST_MIB, SMALLEST_REST_MIB, lay_out
from bootplan.plan import Plan
from bootplan.rules.rule import Finding, rule
from bootplan.units import MIB, show_roughly, show_size

SMALLEST_BYTES = {"ext4": 2 * MIB, "f2fs": 64 * MIB}
SMALLEST_ROOT_BYTES = 256 * MIB
MOST_PARTITIONS = 128  # the entries a GPT has room for, as sfdisk makes it


@rule("BP207", reads="media")
def name_is_not_reserved(plan: Plan, board: Board) -> Iterator[Finding]:
    """A partition has none of the names OpenWrt and U-Boot look for.

    fstools takes a partition called `rootfs_data` on any disk for the overlay, and the
    environment tools one called `ubootenv` for U-Boot's environment. Such a name on NVMe takes
    over the system's own. The names with `_a` and `_b` are those of slots on the boot medium.

    Wrong:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions: [{name: rootfs_data, size: 8GiB, filesystem: ext4}]

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions: [{name: root, size: 8GiB, filesystem: ext4}]

    Source: fstools libfstools/partname.c; OpenWrt
    package/boot/uboot-tools/uboot-envtools/files/mediatek_filogic.
    """
    for path, partition in plan.partitions():
        name = partition.name.lower()
        if name in board.reserved_partition_names:
            message = f"OpenWrt looks for a partition called '{name}' itself"
            if name.endswith(("_a", "_b")):
                message = f"slots have a place called '{name}' on the boot medium"
            yield Finding((*path, "name"), message, "choose another name")


@rule("BP208", reads="media")
def name_is_used_once(plan: Plan, board: Board) -> Iterator[Finding]:
    """Each partition of the plan has a name of its own, whatever its case.

    The script and the rest of the plan find a partition by its name. `Root` and `root` are too
    easily confused on a console at night.

    Wrong:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root, size: 8GiB, filesystem: ext4}
              - {name: Root, size: 8GiB, filesystem: ext4}

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root, size: 8GiB, filesystem: ext4}
              - {name: spare, size: 8GiB, filesystem: ext4}

    Source: the plan language itself.
    """
    seen: dict[str, Path] = {}
    for path, partition in plan.partitions():
        here = (*path, "name")
        first = seen.setdefault(partition.name.lower(), here)
        if first != here:
            yield Finding(
                here,
                f"another partition is called '{partition.name}' already",
                "choose another name",
                related=(("it is first used here", first),),
            )


@rule("BP209", reads="media")
def rest_comes_once_and_last(plan: Plan, board: Board) -> Iterator[Finding]:
    """Only the last partition of a disk may have the size `rest`.

    `rest` is what the partitions before it leave. Behind it nothing is left.

    Wrong:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: data, size: rest, filesystem: f2fs, mount: /srv}
              - {name: root, size: 8GiB, filesystem: ext4}

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root, size: 8GiB, filesystem: ext4}
              - {name: data, size: rest, filesystem: f2fs, mount: /srv}

    Source: the plan language itself.
    """
    for name, disk in plan.disks():
        for index, partition in enumerate(disk.partitions[:-1]):
            if partition.size_bytes is None:
                yield Finding(
                    ("media", name, "partitions", index, "size"),
                    f"'{partition.name}' takes the rest of the disk, and more partitions follow",
                    "give it a size, or write it last",
                )


@rule("BP210", reads="media")
def partitions_fit(plan: Plan, board: Board) -> Iterator[Finding]:
    """The partitions fit on the disk, if the plan says how large that is.

    The first and the last MiB belong to the partition table and its copy, and the table has 128
    entries. `capacity` is optional; the script compares with the real disk in any case, before
    it writes anything.

    Wrong:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            capacity: 256GB
            partitions: [{name: root, size: 256GiB, filesystem: ext4}]

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            capacity: 256GB
            partitions: [{name: root, size: 200GiB, filesystem: ext4}]

    Source: UEFI specification, GUID Partition Table; a disk's GB are 1000 x 1000 x 1000 bytes.
    """
    for name, disk in plan.disks():
        if len(disk.partitions) > MOST_PARTITIONS:
            path = ("media", name, "partitions", MOST_PARTITIONS)
            yield Finding(path, f"a partition table has {MOST_PARTITIONS} entries", "make fewer partitions")
        room = disk.capacity
        if room is None:
            continue
        for place in lay_out(disk.partitions):
            size_mib = SMALLEST_REST_MIB if place.size_mib is None else place.size_mib
            end = (place.start_mib + size_mib + LAST_MIB) * MIB
            if end > room:
                yield Finding(
                    ("media", name, "partitions", place.number - 1, "size"),
                    f"'{place.name}' ends {show_roughly(end - room + MIB - 1)} behind the end of the disk",
                    f"all partitions together have {show_roughly(max(0, room - (FIRST_MIB + LAST_MIB) * MIB))}",
                )
                break


@rule("BP211", reads="media root slots")
def partition_is_large_enough(plan: Plan, board: Board) -> Iterator[Finding]:
    """A partition is not smaller than its file system can be, and root has room to live.

    mkfs.ext4 1.47 leaves out the journal below 2 MiB. mkfs.f2fs 1.15 refuses less than 52 MiB;
    64 MiB leave a margin for other versions. A root of less than 256 MiB is full after a few
    packages.

    Wrong:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root, size: 8GiB, filesystem: ext4}
              - {name: data, size: 32MiB, filesystem: f2fs, mount: /srv}

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root, size: 8GiB, filesystem: ext4}
              - {name: data, size: 1GiB, filesystem: f2fs, mount: /srv}

    Source: measured with e2fsprogs 1.47.0 and f2fs-tools 1.15.0.
    """
    roots = {name for name, _ in plan.roots()}
    for name, disk in plan.disks():
        for place, partition in zip(lay_out(disk.partitions), disk.partitions, strict=True):
            here = ("media", name, "partitions", place.number - 1, "size")
            smallest, what = SMALLEST_BYTES[partition.filesystem], str(partition.filesystem)
            if partition.name in roots:
                smallest, what = SMALLEST_ROOT_BYTES, "a root partition"
            if partition.size_bytes is not None and partition.size_bytes < smallest:
                message = f"{show_size(partition.size_bytes)} is too small for {what}"
                yield Finding(here, message, f"write at least {show_size(smallest)}")
            elif partition.size_bytes is None and disk.capacity is not None:
                left = disk.capacity - (place.start_mib + LAST_MIB) * MIB
                if SMALLEST_REST_MIB * MIB <= left < smallest:
                    message = f"the rest of the disk, {show_roughly(left)}, is too small for {what}"
                    yield Finding(here, message, f"leave at least {show_size(smallest)}")
