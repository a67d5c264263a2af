"""What a user may write: the plan language, version 1.

These models check shape only: which keys exist and what one value looks like. What a plan means
on the board is checked by the rules. A field's description is the plan reference and the text
editors show.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from bootplan.diagnostics import Path
from bootplan.fields import (
    Address,
    BackupPlace,
    Capacity,
    Days,
    DeadmanSeconds,
    FileName,
    KeptPath,
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
    Sha256,
    Size,
    Switch,
    Times,
    Version,
    WindowSeconds,
    wrong,
)
from bootplan.units import MIB

DEFAULT_ROOTWAIT_SECONDS = 30
DEFAULT_PANIC_SECONDS = 5
DEFAULT_FIRMWARE_BYTES = 24 * MIB
DEFAULT_DATA_BYTES = 16 * MIB
DEFAULT_TRIES = 3
DEFAULT_WINDOW_SECONDS = 600
DEFAULT_DEADMAN_MORE_SECONDS = 300
DEFAULT_FALLBACK_DAYS = 180
DEFAULT_TFTP_SERVER = "192.168.1.254"


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
    partition: str | None = Field(
        None, description="The name of the partition that becomes root or overlay; with slots they say it."
    )
    arguments: Annotated[tuple[KernelArgument, ...], Field(strict=False)] = Field(
        (), description="Extra kernel arguments, with method cmdline only."
    )
    rootwait: RootwaitSeconds | None = Field(
        None, description="Seconds the kernel waits for the disk, with method cmdline only; 30 when not written."
    )
    panic: PanicSeconds | None = Field(
        None, description="Seconds from a kernel panic to the reboot, with method cmdline only; 5 when not written."
    )


class Slot(_Strict):
    """A kernel and a root that switch together."""

    root: str = Field(description="The name of the partition that is this slot's root, or its overlay.")


class Room(_Strict):
    """How much of the boot medium a slot gets."""

    firmware_bytes: Size | None = Field(
        None,
        alias="firmware",
        description="Room for one FIT image, the kernel with its squashfs; 24MiB if not written.",
    )
    data_bytes: Size | None = Field(
        None,
        alias="data",
        description="Room for one rootfs_data, the overlay on SPI-NAND; with nand only, 16MiB if not written.",
    )


class Confirm(_Strict):
    """What a slot on trial must show before it counts as good, and until when."""

    within_seconds: WindowSeconds = Field(
        DEFAULT_WINDOW_SECONDS,
        alias="within",
        description="How long the checks may take to pass, like 10min or 90s: 30s to 60min; 10min if not written.",
    )
    deadman_seconds: DeadmanSeconds | None = Field(
        None,
        alias="deadman",
        description="When the router restarts by force if nothing was decided; 5min after `within` if not written.",
    )
    checks: Annotated[tuple[Literal["root", "lan", "wan", "dns", "ssh"], ...], Field(strict=False)] = Field(
        ("root", "lan", "wan", "dns"),
        description="What is checked; besides, the programs in /etc/bootplan/checks.d/ on the router.",
    )

    @property
    def forced_restart_seconds(self) -> int:
        """When the router restarts by force, written or not."""
        if self.deadman_seconds is None:
            return self.within_seconds + DEFAULT_DEADMAN_MORE_SECONDS
        return self.deadman_seconds


class GoodFirst(_Strict):
    """After a crash outside a trial, start the good slot so many times before the recovery system."""

    good: Times


def _on_crash(value: object) -> Literal["recovery"] | GoodFirst:
    """`recovery`, or `{good: N}`; a union of models would tell every mistake twice."""
    if value == "recovery":
        return "recovery"
    if isinstance(value, GoodFirst):
        return value
    if isinstance(value, dict) and list(value) == ["good"] and type(value["good"]) is int:
        times = value["good"]
        if 1 <= times <= 9:
            return GoodFirst(good=times)
        raise wrong("BP113", f"{times} times is out of range; write 1 to 9")
    raise wrong(
        "BP006", "'on_crash' is recovery, or how often the good slot starts before it", "write recovery, or {good: 3}"
    )


_ON_CRASH_SCHEMA = {
    "anyOf": [
        {"const": "recovery"},
        {
            "type": "object",
            "properties": {"good": {"type": "integer", "minimum": 1, "maximum": 9}},
            "required": ["good"],
            "additionalProperties": False,
        },
    ]
}


class Slots(_Strict):
    """Two systems, of which one runs and the other one is upgraded."""

    a: Slot = Field(description="The slot that `install` makes and that is good at first.")
    b: Slot = Field(description="The other slot.")
    kernel: Literal["own", "shared"] = Field(
        "own",
        description="own: each slot has its own FIT image; "
        "shared: both start the one FIT on the boot medium, with method cmdline only.",
    )
    room: Room | None = Field(None, description="How much of the boot medium a slot gets.")
    tries: Times = Field(DEFAULT_TRIES, description="How often a slot on trial is started: 1 to 9; 3 if not written.")
    confirm: Confirm = Field(
        default_factory=lambda: Confirm.model_validate({}), description="What makes a slot on trial the good one."
    )
    on_crash: Annotated[
        Literal["recovery"] | GoodFirst, PlainValidator(_on_crash), WithJsonSchema(_ON_CRASH_SCHEMA)
    ] = Field(
        "recovery",
        description="What starts after a crash of the good slot: recovery, as OpenWrt does, "
        "or {good: N}: the good slot N times (1 to 9), and then recovery.",
    )

    @property
    def firmware_bytes(self) -> int:
        """Room for one FIT image, written or not."""
        written = self.room.firmware_bytes if self.room else None
        return DEFAULT_FIRMWARE_BYTES if written is None else written

    @property
    def data_bytes(self) -> int:
        """Room for one rootfs_data, written or not."""
        written = self.room.data_bytes if self.room else None
        return DEFAULT_DATA_BYTES if written is None else written


class Image(_Strict):
    """A file of a release, and the proof that it is that very one."""

    file: FileName = Field(description="The file's name as in the release, like …-squashfs-sysupgrade.itb.")
    sha256: Sha256 = Field(description="Its SHA-256 sum, 64 hex digits, as sha256sum prints it.")


class Upgrade(_Strict):
    """What an upgrade writes and what it keeps: into the slot that does not run, or without slots by sysupgrade."""

    image: Image | None = Field(None, description="The image to upgrade to; without it any image that fits is taken.")
    keep: Annotated[tuple[KeptPath, ...], Field(strict=False)] = Field(
        (), description="Files and folders kept besides what sysupgrade keeps, as absolute paths."
    )
    settings: Literal["keep", "drop"] = Field(
        "keep",
        description="Without slots. keep: the settings come along; drop: they do not, which 24.10 to 25.12 needs.",
    )
    backup: BackupPlace | None = Field(
        None,
        description="Without slots: the folder for the backup that is made before each upgrade, or user@host:/folder.",
    )
    reinstall: bool = Field(
        False,
        description="Without slots. true: packages that the new system lacks are installed at its first start.",
    )


class Fallback(_Strict):
    """The SD card that starts the router when nothing else does."""

    medium: Literal["sd"] = Field(
        description="sd: the only medium that can be taken out, written on a PC and put back."
    )
    image: Image = Field(description="The image of the card: …bananapi_bpi-r4-sdcard.img.gz")
    max_age_days: Days = Field(
        DEFAULT_FALLBACK_DAYS,
        alias="max_age",
        description="After how many days a proven card counts as stale, like 180d; 180d if not written.",
    )


class Bootloader(_Strict):
    """The boot loader files that `reflash` may write: for the plan's own boot medium."""

    bl2: Image | None = Field(None, description="BL2, the first stage: …-snand-preloader.bin or …-emmc-preloader.bin")
    fip: Image | None = Field(None, description="FIP, with U-Boot: …-snand-bl31-uboot.fip or …-emmc-bl31-uboot.fip")
    mtd_rw: bool = Field(
        False,
        description="true: BL2 on SPI-NAND may be written by Linux with kmod-mtd-rw; a power cut there needs the card.",
    )


class Recovery(_Strict):
    """What the recovery card tells besides what every board has."""

    image: Image | None = Field(None, description="The recovery system: …bananapi_bpi-r4-initramfs-recovery.itb")
    server: Address = Field(
        DEFAULT_TFTP_SERVER,
        description=(
            "The PC with a TFTP server, as U-Boot asks for it; 192.168.1.254 if not written, as in stock U-Boot."
        ),
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
    slots: Slots | None = Field(None, description="Two systems with a way back; leave it out for one.")
    upgrade: Upgrade | None = Field(None, description="What an upgrade writes, and what it keeps.")
    fallback: Fallback | None = Field(None, description="The SD card that starts the router when nothing else does.")
    bootloader: Bootloader | None = Field(None, description="The boot loader files that `reflash` may write.")
    recovery: Recovery | None = Field(None, description="What the recovery card tells besides what every board has.")

    def disks(self) -> Iterator[tuple[str, Nvme]]:
        """The media that can have partitions, each with its name."""
        for name, medium in self.media.items():
            if isinstance(medium, Nvme):
                yield name, medium

    def files(self) -> dict[tuple[str, str], Image]:
        """Each file that the plan names, by its section and key."""
        fallback, loader, recovery, upgrade = self.fallback, self.bootloader, self.recovery, self.upgrade
        named = {
            ("fallback", "image"): fallback.image if fallback else None,
            ("bootloader", "bl2"): loader.bl2 if loader else None,
            ("bootloader", "fip"): loader.fip if loader else None,
            ("recovery", "image"): recovery.image if recovery else None,
            ("upgrade", "image"): upgrade.image if upgrade else None,
        }
        return {place: image for place, image in named.items() if image is not None}

    def partitions(self) -> Iterator[tuple[Path, Partition]]:
        """All partitions of all disks in the order they are written, each with its path."""
        for name, disk in self.disks():
            for index, partition in enumerate(disk.partitions):
                yield ("media", name, "partitions", index), partition

    def roots(self) -> Iterator[tuple[str, Path]]:
        """The names of the partitions that become root or overlay, each with the path of where that is written."""
        if self.slots is not None:
            yield self.slots.a.root, ("slots", "a", "root")
            yield self.slots.b.root, ("slots", "b", "root")
        elif self.root.partition is not None:
            yield self.root.partition, ("root", "partition")

    def find_partition(self, name: str) -> tuple[str, int, Partition] | None:
        """The partition called *name*: its medium's name, its place there counted from 0, and itself."""
        for medium_name, medium in self.media.items():
            for index, partition in enumerate(medium.partitions):
                if partition.name == name:
                    return medium_name, index, partition
        return None
