"""Where the partitions of a disk lie: sizes become places, in whole mebibytes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bootplan.diagnostics import Path
from bootplan.plan import Nvme, Partition, Plan
from bootplan.units import MIB

FIRST_MIB = 1  # the first MiB holds the partition table; 1 MiB is also the alignment fdisk and sfdisk use
LAST_MIB = 1  # the last MiB holds the backup table
SMALLEST_REST_MIB = 64  # a disk that leaves less for `rest` is too small


@dataclass(frozen=True)
class Place:
    """One partition on its disk: *number* from 1, *start_mib* from the disk's beginning; no size means the rest."""

    number: int
    name: str
    start_mib: int
    size_mib: int | None


def lay_out(partitions: Iterable[Partition]) -> tuple[Place, ...]:
    """The partitions one behind the other; only the last one may be without a size (a rule sees to it)."""
    places = []
    start = FIRST_MIB
    for number, partition in enumerate(partitions, start=1):
        size = None if partition.size_bytes is None else partition.size_bytes // MIB
        places.append(Place(number, partition.name, start, size))
        start += size or 0
    return tuple(places)


def smallest_disk_mib(places: tuple[Place, ...]) -> int:
    """The size of the smallest disk that holds *places* and both partition tables."""
    last = places[-1]
    return last.start_mib + (SMALLEST_REST_MIB if last.size_mib is None else last.size_mib) + LAST_MIB


@dataclass(frozen=True)
class Part:
    """One partition of a plan, with all that a step on it needs to know; *disk* is how the library names its disk."""

    medium: str
    disk: str
    place: Place
    partition: Partition
    path: Path

    @property
    def on_disk(self) -> tuple[str, int]:
        """Its disk and its number there."""
        return self.disk, self.place.number


def parts(plan: Plan) -> Iterator[Part]:
    """All partitions of a plan, disk by disk."""
    for name, disk in plan.disks():
        places = lay_out(disk.partitions)
        for index, (place, partition) in enumerate(zip(places, disk.partitions, strict=True)):
            yield Part(name, disk_id(disk), place, partition, ("media", name, "partitions", index))


def disk_id(medium: Nvme) -> str:
    """How the library names a disk: by serial number, or by PCI address when it has none."""
    return f"serial:{medium.serial}" if medium.serial else f"pci:{medium.pci}"
