"""Rules about the room that slots get on the boot medium."""

from collections.abc import Iterator

from bootplan.board import Board, Ubi
from bootplan.diagnostics import Path
from bootplan.plan import Plan, Slots
from bootplan.rules.rule import Finding, rule
from bootplan.units import MIB, show_size

SMALLEST_FIRMWARE_BYTES = 8 * MIB
SMALLEST_DATA_BYTES = 4 * MIB


@rule("BP708", reads="boot root slots")
def slots_fit(plan: Plan, board: Board) -> Iterator[Finding]:
    """What the slots get fits on the boot medium.

    SPI-NAND has 126 MiB for UBI. UBI keeps some eraseblocks, and U-Boot, its environment, the
    recovery system and the installer for the eMMC have their volumes. The rest is for the
    slots, counted in eraseblocks of 124 KiB: with extroot-overlay two FIT images and two
    overlays; with cmdline the FIT images of both slots, and the FIT image and the overlay of
    the stock system, which stays. How large the recovery volume is follows from the image in
    it; 16 MiB are allowed for it here. A chip with more bad blocks has less room: the script
    looks before it changes anything.

    On eMMC and SD card a FIT image may be as large as OpenWrt's own partition for it. Less than
    8MiB for a FIT image or 4MiB for an overlay is refused on any medium; these two limits are
    our own choice.

    Wrong:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root-a, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
        root: {method: extroot-overlay}
        slots: {a: {root: root-a}, b: {root: root-b}, room: {firmware: 40MiB}}

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root-a, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
        root: {method: extroot-overlay}
        slots: {a: {root: root-a}, b: {root: root-b}, room: {firmware: 20MiB, data: 24MiB}}

    Source: schemas/boards/bpi-r4.yaml, media.nand.ubi and media.emmc.gpt, which name theirs.
    """
    if plan.slots is None or plan.slots.kernel == "shared":
        return
    slots, medium = plan.slots, board.media[plan.boot.medium]
    yield from _too_small(slots)
    if medium.ubi is not None:
        yield from _too_much_for_nand(plan, slots, medium.ubi)
    elif medium.gpt is not None and slots.firmware_bytes > medium.gpt.production_bytes:
        yield Finding(
            ("slots", "room", "firmware"),
            f"{show_size(slots.firmware_bytes)} is more than OpenWrt has for its own FIT image on {medium.title}",
            f"write at most {show_size(medium.gpt.production_bytes)}",
        )


def _too_small(slots: Slots) -> Iterator[Finding]:
    for key, size, smallest, what in (
        ("firmware", slots.firmware_bytes, SMALLEST_FIRMWARE_BYTES, "a FIT image"),
        ("data", slots.data_bytes, SMALLEST_DATA_BYTES, "an overlay"),
    ):
        if size < smallest:
            message = f"{show_size(size)} is too small for {what}"
            yield Finding(("slots", "room", key), message, f"write at least {show_size(smallest)}")


def _too_much_for_nand(plan: Plan, slots: Slots, ubi: Ubi) -> Iterator[Finding]:
    firmwares, overlays = (2, 2) if plan.root.method == "extroot-overlay" else (3, 1)
    need = firmwares * ubi.blocks(slots.firmware_bytes) + overlays * ubi.blocks(slots.data_bytes)
    if need <= ubi.free_blocks:
        return
    images = f"{firmwares} FIT images of {show_size(slots.firmware_bytes)}"
    data = f"{overlays} overlay{'s' * (overlays > 1)} of {show_size(slots.data_bytes)}"
    path: Path = ("slots",) if slots.room is None else ("slots", "room")
    yield Finding(
        path,
        f"{images} and {data} need {-(-need * ubi.leb_bytes // MIB)}MiB, "
        f"and the SPI-NAND has {ubi.free_blocks * ubi.leb_bytes // MIB}MiB for them",
        "write less at `room:`; an image must fit into `firmware`, and what it keeps into `data`",
        of_key=True,
    )


@rule("BP709", reads="boot slots")
def room_is_used(plan: Plan, board: Board) -> Iterator[Finding]:
    """Room is asked for only where something is made.

    With `kernel: shared` nothing is made on the boot medium, so `room` says nothing. `data` is
    the size of a rootfs_data, a volume that only SPI-NAND has.

    Wrong:
        boot: {medium: sd}
        firmware: {release: "25.12", kernel: nvme-builtin}
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root-a, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
        root: {method: cmdline}
        slots: {a: {root: root-a}, b: {root: root-b}, room: {firmware: 24MiB, data: 16MiB}}

    Right:
        boot: {medium: sd}
        firmware: {release: "25.12", kernel: nvme-builtin}
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root-a, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
        root: {method: cmdline}
        slots: {a: {root: root-a}, b: {root: root-b}, room: {firmware: 24MiB}}

    Source: Build/mt798x-gpt in OpenWrt target/linux/mediatek/image/filogic.mk: on eMMC and SD card
    the overlay is what `production` has left behind the FIT image.
    """
    if plan.slots is None or plan.slots.room is None:
        return
    if plan.slots.kernel == "shared":
        message = "with `kernel: shared` the slots need no room on the boot medium"
        yield Finding(("slots", "room"), message, "remove `room:`", of_key=True)
    elif plan.slots.room.data_bytes is not None and plan.boot.medium != "nand":
        yield Finding(
            ("slots", "room", "data"),
            f"{board.media[plan.boot.medium].title} has no rootfs_data",
            "remove `data:`",
            of_key=True,
        )
