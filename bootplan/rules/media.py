"""Rules about media: which disk is meant, and who may lay it out."""

import re
from collections.abc import Iterator

from bootplan.board import Board
from bootplan.diagnostics import Severity
from bootplan.plan import Nvme, Plan
from bootplan.rules.rule import Finding, rule

_STAND_INS = frozenset(
    "a an change changeme disk example fill fixme goes here in insert me my na nvme of none null number placeholder "
    "replace serial serialnumber sn ssd tba tbd the this todo unknown value x xx xxx your yourserial".split()
)
"""Words that stand for a serial number when it is made of nothing else."""


@rule("BP204", reads="media")
def disk_is_named_by_what_never_changes(plan: Plan, board: Board) -> Iterator[Finding]:
    """An NVMe disk is chosen by its serial number, or by its PCI address.

    The board has two M.2 slots. Which disk becomes /dev/nvme0n1 depends on the order in which
    they answer, so that name may mean the other disk after a reboot.

    Wrong:
        media:
          ssd:
            type: nvme
            partitions: [{name: root, size: 8GiB, filesystem: ext4}]

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions: [{name: root, size: 8GiB, filesystem: ext4}]

    Source: openwrt issue 14767, where the disk of the other slot became nvme0.
    """
    for name, medium in plan.media.items():
        if isinstance(medium, Nvme) and medium.serial is None and medium.pci is None:
            yield Finding(
                ("media", name),
                f"nothing says which disk '{name}' is",
                "add `serial:`; on the router: cat /sys/class/nvme/nvme*/serial",
                of_key=True,
            )


@rule("BP215", Severity.WARNING, reads="media")
def serial_is_that_of_a_disk(plan: Plan, board: Board) -> Iterator[Finding]:
    """A serial number is the one that a disk reports, and no placeholder.

    Words like TODO, question marks, angle brackets and a row of X stand for a number that is
    still to come. The script compares them with what each disk reports, and finds none.

    Wrong:
        media:
          ssd:
            type: nvme
            serial: "<your serial>"
            partitions: [{name: root, size: 8GiB, filesystem: ext4}]

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions: [{name: root, size: 8GiB, filesystem: ext4}]

    Source: NVM Express base specification, Identify Controller, Serial Number: the vendor
    assigns it.
    """
    for name, medium in plan.disks():
        if medium.serial is not None and _stands_for_a_serial(medium.serial):
            yield Finding(
                ("media", name, "serial"),
                f"'{medium.serial}' is a placeholder, not a serial number",
                "write the one that the disk reports; on the router: cat /sys/class/nvme/nvme*/serial",
            )


def _stands_for_a_serial(text: str) -> bool:
    words = re.findall("[a-z]+", text.lower())
    return (
        re.search("[<>?]|[xX]{4}", text) is not None
        or not any(one.isalnum() for one in text)
        or (re.search("[0-9]", text) is None and set(words) <= _STAND_INS)
    )


@rule("BP205", reads="media")
def disk_is_described_once(plan: Plan, board: Board) -> Iterator[Finding]:
    """Each disk has one entry in the plan.

    Two entries for one disk would each make a partition table, and the second would destroy the
    first. A disk named by its serial number in one entry and by its PCI address in another is
    seen here only if an entry has both; else the script refuses it on the router, before it
    changes anything.

    Wrong:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions: [{name: root, size: 8GiB, filesystem: ext4}]
          store:
            type: nvme
            serial: S4EWNF0M531930D
            partitions: [{name: data, size: rest, filesystem: f2fs, mount: /srv}]

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root, size: 8GiB, filesystem: ext4}
              - {name: data, size: rest, filesystem: f2fs, mount: /srv}

    Source: a partition table describes the whole disk (UEFI specification, GUID Partition
    Table).
    """
    seen: dict[tuple[str, str], tuple[str | int, ...]] = {}
    for name, medium in plan.media.items():
        marks = [("type", medium.type)]
        if isinstance(medium, Nvme):
            marks = [(key, value) for key in ("serial", "pci") if (value := getattr(medium, key)) is not None]
        for key, value in marks:
            here = ("media", name, key)
            first = seen.setdefault((key, value), here)
            if first != here:
                yield Finding(
                    here,
                    f"'{name}' is the same disk as '{first[1]}'",
                    "put the partitions of one disk under one name",
                    related=(("the first description is here", first),),
                )


@rule("BP206", reads="media")
def only_nvme_is_partitioned(plan: Plan, board: Board) -> Iterator[Finding]:
    """Only NVMe disks get partitions; the other media belong to OpenWrt's own layout.

    U-Boot, the environment, the recovery system and sysupgrade find their places on SPI-NAND,
    eMMC and SD card by a fixed layout. Changing it stops the board from booting.

    Wrong:
        media:
          chip:
            type: emmc
            partitions: [{name: root, size: 1GiB, filesystem: ext4}]

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions: [{name: root, size: 1GiB, filesystem: ext4}]

    Source: Build/mt798x-gpt in OpenWrt target/linux/mediatek/image/filogic.mk.
    """
    for name, medium in plan.media.items():
        if not isinstance(medium, Nvme) and medium.partitions:
            yield Finding(
                ("media", name, "partitions"),
                f"the layout of {board.media[medium.type].title} belongs to OpenWrt",
                "partition an NVMe disk instead",
                of_key=True,
            )


@rule("BP214", reads="media")
def medium_is_used(plan: Plan, board: Board) -> Iterator[Finding]:
    """A medium in the plan has partitions.

    An entry without partitions asks for nothing. The boot medium needs no entry: `boot.medium`
    names it.

    Wrong:
        media:
          ssd: {type: nvme, serial: S4EWNF0M531930D}

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions: [{name: root, size: 8GiB, filesystem: ext4}]

    Source: the plan language itself.
    """
    for name, medium in plan.media.items():
        if not medium.partitions:
            hint = "add `partitions:`" if isinstance(medium, Nvme) else "remove it; `boot.medium` is enough"
            yield Finding(("media", name), f"'{name}' has no partitions, so nothing happens to it", hint, of_key=True)
