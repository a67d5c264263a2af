"""What a user may write: the plan language, version 1.

These models check shape only: which keys exist and what one value looks like. What a plan means
on the board is checked by the rules. A field's description is the plan reference and the text
editors show.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from bootplan.diagnostics import Path
from bootplan.fields import (
    Capacity,
    KernelArgument,
    MediumName,
    MountPoint,
    PackageName,
    PanicSeconds,
    PartitionName,
    PartitionSize,
    PciAddress,
    PlanName,
    Ram,
    RootwaitSeconds,
    Serial,
    Switch,
    Version,
)

DEFAULT_ROOTWAIT_SECONDS = 30
DEFAULT_PANIC_SECONDS = 5


class _Strict(BaseModel):
    """No unknown keys, no guessed types, no changes after reading."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, defer_build=True)


class BoardChoice(_Strict):
    """Which board the plan is for."""

    model: str = Field(
        description="The board: bpi-r4, or bpi-r4-poe (the board with the 2.5GE port).",
        json_schema_extra={"enum": ["bpi-r4", "bpi-r4-poe"]},
    )
    ram: Ram | None = Field(None, description="The board's memory, 4GiB or 8GiB; used for advice only.")


class Firmware(_Strict):
    """The OpenWrt that runs on the router when the script is used."""

    release: Literal["24.10", "25.12", "snapshot"] = Field(
        description="The OpenWrt release, in quotes: an unquoted 25.12 is a number."
    )
    kernel: Literal["stock", "nvme-builtin"] = Field(
        "stock",
        description="stock: the kernel OpenWrt ships, with NVMe as a module; "
        "nvme-builtin: your own kernel with CONFIG_BLK_DEV_NVME=y.",
    )


class Boot(_Strict):
    """Where the board finds its boot loader and kernel."""

    medium: Literal["nand", "emmc", "sd"] = Field(
        description="The medium that holds BL2, FIP and the kernel; switch SW3 selects it."
    )
    switch: Switch | None = Field(
        None, description='The digits of SW3 at A and B as printed on the board, like "01"; checked against the medium.'
    )


class Partition(_Strict):
    """One partition of an NVMe disk."""

    name: PartitionName = Field(description="Name in the partition table, and label of the file system.")
    size_bytes: PartitionSize = Field(alias="size", description="Size like 8GiB, or `rest` for what the others leave.")
    filesystem: Literal["ext4", "f2fs"] = Field(description="The file system: ext4 or f2fs.")
    mount: MountPoint | None = Field(
        None, description="Where the router mounts it; leave it out for the root partition."
    )


Partitions = Annotated[tuple[Partition, ...], Field(strict=False)]  # YAML knows lists only


class Nvme(_Strict):
    """An NVMe disk, chosen by what never changes: its serial number or its slot's PCI address."""

    type: Literal["nvme"]
    serial: Serial | None = Field(
        None, description="The serial number the disk reports; /dev/nvme0n1 depends on the order of discovery."
    )
    pci: PciAddress | None = Field(
        None, description="The disk's PCI address instead, for a disk that reports no serial number."
    )
    capacity: Capacity | None = Field(
        None, description="The disk's capacity like 256GB; the partitions are checked against it."
    )
    partitions: Partitions = Field((), description="The partitions, in the order they lie on the disk.")


class _OnBoard(_Strict):
    """A medium whose layout belongs to OpenWrt; described so that a rule can say so."""

    capacity: Capacity | None = Field(None, description="The medium's capacity.")
    partitions: Partitions = Field((), description="Leave it out: OpenWrt lays this medium out itself.")


class Emmc(_OnBoard):
    """The eMMC chip of the board."""

    type: Literal["emmc"]


class Sd(_OnBoard):
    """The microSD card."""

    type: Literal["sd"]


class Nand(_OnBoard):
    """The SPI-NAND chip of the board."""

    type: Literal["nand"]


Medium = Annotated[Nvme | Emmc | Sd | Nand, Field(discriminator="type")]


class Root(_Strict):
    """Where the running system's root file system lives."""

    method: Literal["extroot-overlay", "extroot-pivot", "cmdline", "internal"] = Field(
        description="extroot-overlay: OpenWrt's squashfs with its writable overlay on NVMe; "
        "extroot-pivot: the whole root on NVMe; "
        "cmdline: root= on the kernel command line, for a kernel with NVMe built in; "
        "internal: the root stays on the boot medium, NVMe carries data."
    )
    partition: str | None = Field(None, description="The name of the partition that becomes root or overlay.")
    arguments: Annotated[tuple[KernelArgument, ...], Field(strict=False)] = Field(
        (), description="Extra kernel arguments, with method cmdline only."
    )
    rootwait: RootwaitSeconds | None = Field(
        None, description="Seconds the kernel waits for the disk, with method cmdline only; 30 when not written."
    )
    panic: PanicSeconds | None = Field(
        None, description="Seconds from a kernel panic to the reboot, with method cmdline only; 5 when not written."
    )


class Plan(_Strict):
    """How one BPI-R4 shall boot."""

    version: Version = Field(description="The version of the plan language: 1.")
    name: PlanName = Field(description="What you call this router: 1 to 64 printable characters.")
    board: BoardChoice
    firmware: Firmware
    boot: Boot
    media: dict[MediumName, Medium] = Field(
        min_length=1,
        description="The media the plan uses, each under a name of your choice.",
        json_schema_extra={"additionalProperties": False},
    )
    root: Root
    packages: Annotated[tuple[PackageName, ...], Field(strict=False)] = Field(
        (), description="Packages you want besides what the plan itself needs."
    )

    def disks(self) -> Iterator[tuple[str, Nvme]]:
        """The media that can have partitions, each with its name."""
        for name, medium in self.media.items():
            if isinstance(medium, Nvme):
                yield name, medium

    def partitions(self) -> Iterator[tuple[Path, Partition]]:
        """All partitions of all disks in the order they are written, each with its path."""
        for name, disk in self.disks():
            for index, partition in enumerate(disk.partitions):
                yield ("media", name, "partitions", index), partition

    def find_partition(self, name: str) -> tuple[str, int, Partition] | None:
        """The partition called *name*: its medium's name, its place there counted from 0, and itself."""
        for medium_name, medium in self.media.items():
            for index, partition in enumerate(medium.partitions):
                if partition.name == name:
                    return medium_name, index, partition
        return None
