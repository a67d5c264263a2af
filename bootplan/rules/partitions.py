"""Rules about partitions: their names, their sizes, and where they are mounted."""

from collections.abc import Iterator

from bootplan.board import Board
from bootplan.diagnostics import Path
from bootplan.layout import FIRST_MIB, LAST_MIB, SMALLEST_REST_MIB, lay_out
from bootplan.plan import Medium, Nvme, Partition, Plan
from bootplan.rules.rule import Finding, rule
from bootplan.units import MIB, show_roughly, show_size

SMALLEST_BYTES = {"ext4": 2 * MIB, "f2fs": 64 * MIB}
SMALLEST_ROOT_BYTES = 256 * MIB


def _partitions(plan: Plan) -> Iterator[tuple[Path, Partition]]:
    for name, medium in plan.media.items():
        for index, partition in enumerate(medium.partitions):
            yield ("media", name, "partitions", index), partition


@rule("BP207")
def name_is_not_reserved(plan: Plan, board: Board) -> Iterator[Finding]:
    """A partition has none of the names OpenWrt and U-Boot look for.

    fstools takes a partition called `rootfs_data` on any disk for the overlay, and the
    environment tools one called `ubootenv` for U-Boot's environment. Such a name on NVMe takes
    over the system's own.

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
    for path, partition in _partitions(plan):
        if partition.name.lower() in board.reserved_partition_names:
            yield Finding(
                (*path, "name"),
                f"OpenWrt looks for a partition called '{partition.name.lower()}' itself",
                "choose another name",
            )


@rule("BP208")
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
    for path, partition in _partitions(plan):
        here = (*path, "name")
        first = seen.setdefault(partition.name.lower(), here)
        if first != here:
            yield Finding(
                here,
                f"another partition is called '{partition.name}' already",
                "choose another name",
                related=(("it is first used here", first),),
            )


@rule("BP209")
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
    for name, medium in plan.media.items():
        for index, partition in enumerate(medium.partitions[:-1]):
            if partition.size_bytes is None:
                yield Finding(
                    ("media", name, "partitions", index, "size"),
                    f"'{partition.name}' takes the rest of the disk, and more partitions follow",
                    "give it a size, or write it last",
                )


@rule("BP210")
def partitions_fit(plan: Plan, board: Board) -> Iterator[Finding]:
    """The partitions fit on the disk, if the plan says how large that is.

    The first and the last MiB belong to the partition table and its copy. `capacity` is
    optional; the script compares with the real disk in any case, before it writes anything.

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
    for name, medium in plan.media.items():
        room = _room_bytes(medium, board)
        if room is None:
            continue
        for place in lay_out(medium.partitions):
            size_mib = SMALLEST_REST_MIB if place.size_mib is None else place.size_mib
            end = (place.start_mib + size_mib + LAST_MIB) * MIB
            if end > room:
                yield Finding(
                    ("media", name, "partitions", place.number - 1, "size"),
                    f"'{place.name}' ends {show_roughly(end - room + MIB - 1)} behind the end of the disk",
                    f"all partitions together have {show_roughly(max(0, room - (FIRST_MIB + LAST_MIB) * MIB))}",
                )
                break


def _room_bytes(medium: Medium, board: Board) -> int | None:
    """What *medium* has for partitions and their table, if that is known."""
    if isinstance(medium, Nvme):
        return medium.capacity
    known = board.media[medium.type]
    capacity = medium.capacity or known.capacity_bytes
    return None if capacity is None else max(0, capacity - known.used_bytes)


@rule("BP211")
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
    for path, partition in _partitions(plan):
        smallest, what = SMALLEST_BYTES[partition.filesystem], str(partition.filesystem)
        if partition.name == plan.root.partition:
            smallest, what = SMALLEST_ROOT_BYTES, "a root partition"
        if partition.size_bytes is not None and partition.size_bytes < smallest:
            yield Finding(
                (*path, "size"),
                f"{show_size(partition.size_bytes)} is too small for {what}",
                f"write at least {show_size(smallest)}",
            )


@rule("BP212")
def mount_points_do_not_hide_each_other(plan: Plan, board: Board) -> Iterator[Finding]:
    """No mount point is used twice, and one inside another is mounted after it.

    Partitions are mounted in the order of their disk. A later one on top hides the earlier one
    and its files. Which of two disks comes first is not fixed, so mount points inside one
    another are for partitions of one disk.

    Wrong:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root, size: 8GiB, filesystem: ext4}
              - {name: films, size: 64GiB, filesystem: f2fs, mount: /srv/films}
              - {name: data, size: rest, filesystem: f2fs, mount: /srv}

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root, size: 8GiB, filesystem: ext4}
              - {name: data, size: 64GiB, filesystem: f2fs, mount: /srv}
              - {name: films, size: rest, filesystem: f2fs, mount: /srv/films}

    Source: fstools block.c, main_mount and cache_load: devices in the order of their names.
    """
    earlier: list[tuple[Path, str]] = []
    for path, partition in sorted(_partitions(plan), key=_as_mounted):
        mount = partition.mount
        if mount is None:
            continue
        here = (*path, "mount")
        for other, before in earlier:
            related = (("the other mount point is here", other),)
            if mount == before:
                yield Finding(here, f"{mount} is used twice", "choose another mount point", related=related)
                break
            elif here[1] != other[1] and (mount.startswith(f"{before}/") or before.startswith(f"{mount}/")):
                yield Finding(
                    here,
                    f"{mount} and {before} lie inside one another, on two disks",
                    "which disk comes first is not fixed; choose separate mount points",
                    related=related,
                )
            elif before.startswith(f"{mount}/"):
                yield Finding(here, f"{mount} would hide {before}", "write this partition first", related=related)
        earlier.append((here, mount))


def _as_mounted(place: tuple[Path, Partition]) -> tuple[str, str]:
    """Order of mounting: by the name of the device, in which partition 10 comes before partition 2."""
    _, medium_name, _, index = place[0]
    return str(medium_name), str(int(index) + 1)


@rule("BP213")
def mount_point_is_free(plan: Plan, board: Board) -> Iterator[Finding]:
    """A mount point is no directory of the system.

    A file system mounted over /etc or /usr hides the system below it. /tmp and /var are in
    memory, /rom and /overlay belong to the root file system.

    Wrong:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root, size: 8GiB, filesystem: ext4}
              - {name: data, size: rest, filesystem: f2fs, mount: /var/lib}

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root, size: 8GiB, filesystem: ext4}
              - {name: data, size: rest, filesystem: f2fs, mount: /srv}

    Source: OpenWrt package/base-files/Makefile.
    """
    for path, partition in _partitions(plan):
        mount = partition.mount
        if mount is None:
            continue
        trees = [tree for tree in board.system_trees if f"{mount}/".startswith(f"{tree}/")]
        if mount in board.system_directories or trees:
            yield Finding(
                (*path, "mount"),
                f"{mount} belongs to the system",
                "choose a directory of your own, like /srv or /mnt/data",
            )
