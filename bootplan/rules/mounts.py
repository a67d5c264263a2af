"""Rules about mount points: none hides another, none hides the system."""

from collections.abc import Iterator

from bootplan.board import Board
from bootplan.diagnostics import Path
from bootplan.plan import Partition, Plan
from bootplan.rules.rule import Finding, rule

OWN_TREE = "/.bootplan"
"""The folder of the script at the top of a root on the disk: templates/lib/65-upgrade.sh."""


@rule("BP212", reads="media")
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
    for path, partition in sorted(plan.partitions(), key=_as_mounted):
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
                yield Finding(here, f"{mount} would hide {before}", _order(here, other), related=related)
        earlier.append((here, mount))


def _order(outer: Path, inner: Path) -> str:
    """How to have *outer* mounted before *inner*, two mount points on one disk."""
    behind, before = int(outer[3]) + 1, int(inner[3]) + 1
    if behind > before:
        return "write this partition first"
    return f"partition {before} is mounted before partition {behind}; move both, so that their numbers are equally long"


def _as_mounted(place: tuple[Path, Partition]) -> tuple[str, str]:
    """Order of mounting: by the name of the device, in which partition 10 comes before partition 2."""
    _, medium_name, _, index = place[0]
    return str(medium_name), str(int(index) + 1)


@rule("BP213", reads="media")
def mount_point_is_free(plan: Plan, board: Board) -> Iterator[Finding]:
    """A mount point is no directory of the system.

    A file system mounted over /etc/config, or anywhere else in /etc, /lib, /usr or /www, hides
    the system below it: its settings, its modules, its programs. /tmp and /var are in memory,
    /rom and /overlay belong to the root file system. In /.bootplan the script keeps the old system
    while it upgrades a root on the disk, and notes how far it is. Directories of your own in /mnt
    and /root are free.

    Wrong:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root, size: 8GiB, filesystem: ext4}
              - {name: data, size: rest, filesystem: f2fs, mount: /etc/config}

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
    for path, partition in plan.partitions():
        mount = partition.mount
        if mount is None:
            continue
        trees = [tree for tree in board.system_trees if f"{mount}/".startswith(f"{tree}/")]
        if f"{mount}/".startswith(f"{OWN_TREE}/"):
            yield Finding(
                (*path, "mount"),
                f"{mount} is where the script keeps the old system during an upgrade",
                "choose a directory of your own, like /srv or /mnt/data",
            )
        elif mount in board.system_directories or trees:
            yield Finding(
                (*path, "mount"),
                f"{mount} belongs to the system",
                "choose a directory of your own, like /srv or /mnt/data",
            )
