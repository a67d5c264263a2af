"""What a user may write: the plan language, version 1.

These models check shape only: which keys exist and what one value looks like. What a plan means
on the board is checked by the rules. A field's description is the plan reference and the text
editors show.
"""

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from bootplan.units import BINARY_UNITS, parse_capacity, parse_size, show_size

DEFAULT_ROOTWAIT_SECONDS = 30
DEFAULT_PANIC_SECONDS = 5
RAM_BYTES = (4 * BINARY_UNITS["GiB"], 8 * BINARY_UNITS["GiB"])


def wrong(code: str, message: str, hint: str = "") -> PydanticCustomError:
    """An error of pydantic that carries our code, sentence and hint unchanged."""
    return PydanticCustomError(code, "{message}", {"message": message, "hint": hint})


def _matches(code: str, pattern: str, message: str, hint: str) -> tuple[AfterValidator, WithJsonSchema]:
    """Accept text that *pattern* matches as a whole, and say so in the schema; `{}` in *message* is the text."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise wrong(code, message.format(text[:80]), hint)
        return text

    return AfterValidator(check), WithJsonSchema({"type": "string", "pattern": f"^({pattern})$"})


def _measured(parse: Callable[[str], int], rest: bool = False) -> BeforeValidator:
    """Turn a written size into bytes; with *rest*, the word `rest` into None."""

    def check(value: Any) -> Any:
        if not isinstance(value, str):
            raise wrong("BP005", f"a size is text with a unit, not {value!r:.40}", "write it like 8GiB")
        if rest and value == "rest":
            return None
        try:
            return parse(value)
        except ValueError as error:
            raise wrong("BP101", str(error)) from None

    return BeforeValidator(check)


def _seconds(smallest: int, largest: int) -> AfterValidator:
    def check(value: int) -> int:
        if not smallest <= value <= largest:
            raise wrong("BP110", f"{value} seconds is out of range; write {smallest} to {largest}")
        return value

    return AfterValidator(check)


def _check_version(value: int) -> int:
    if value != 1:
        raise wrong("BP006", f"plans of version {value} are unknown here", "write `version: 1`")
    return value


def _check_ram(value: int) -> int:
    if value not in RAM_BYTES:
        raise wrong("BP006", f"no BPI-R4 has {show_size(value)} of memory", "write 4GiB or 8GiB")
    return value


def _check_plan_name(text: str) -> str:
    if not text.strip() or not text.isprintable() or len(text) > 64:
        raise wrong("BP107", "the plan's name must be 1 to 64 printable characters and not blank")
    return text


def _check_serial(text: str) -> str:
    if not (text.isascii() and text.isprintable() and 1 <= len(text) <= 20 and text == text.strip()):
        raise wrong(
            "BP103",
            f"'{text[:40]}' is not a disk's serial number",
            "1 to 20 printable ASCII characters, no blank at either end; "
            "on the router: cat /sys/class/nvme/nvme*/serial",
        )
    return text


_SIZE_SCHEMA = {"type": "string", "pattern": "^[0-9]+ ?(MiB|GiB|TiB)$"}
_CAPACITY_SCHEMA = {"type": "string", "pattern": "^[0-9]+ ?(kB|MB|GB|TB|MiB|GiB|TiB)$"}
_PARTITION_SIZE_SCHEMA = {"type": "string", "pattern": "^(rest|[0-9]+ ?(MiB|GiB|TiB))$"}

Size = Annotated[int, _measured(parse_size), WithJsonSchema(_SIZE_SCHEMA)]
Ram = Annotated[Size, AfterValidator(_check_ram)]
Capacity = Annotated[int, _measured(parse_capacity), WithJsonSchema(_CAPACITY_SCHEMA)]
PartitionSize = Annotated[int | None, _measured(parse_size, rest=True), WithJsonSchema(_PARTITION_SIZE_SCHEMA)]
Version = Annotated[int, AfterValidator(_check_version), WithJsonSchema({"const": 1})]
PlanName = Annotated[str, AfterValidator(_check_plan_name)]
MediumName = Annotated[
    str,
    *_matches(
        "BP108",
        "[a-z][a-z0-9-]{0,15}",
        "'{}' cannot name a medium",
        "1 to 16 characters: a lower-case letter, then lower-case letters, digits and '-'",
    ),
]
PartitionName = Annotated[
    str,
    *_matches(
        "BP102",
        "[A-Za-z0-9][A-Za-z0-9._-]{0,15}",
        "'{}' cannot name a partition",
        "1 to 16 characters: letters, digits, '.', '_' and '-', the first one a letter or digit",
    ),
]
Serial = Annotated[str, AfterValidator(_check_serial)]
PciAddress = Annotated[
    str,
    *_matches(
        "BP104",
        "[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f][.][0-7]",
        "'{}' is not a PCI address",
        "write domain:bus:device.function in lower-case hex, like 0002:01:00.0",
    ),
]
MountPoint = Annotated[
    str,
    *_matches(
        "BP105",
        r"(?=.{2,128}$)(/(?!\.{1,2}(?:/|$))[A-Za-z0-9._+-]+)+",
        "'{}' is not a mount point",
        "write an absolute path like /srv/data: at most 128 letters, digits and '._+-', no '..', no '/' at the end",
    ),
]
PackageName = Annotated[
    str,
    *_matches(
        "BP106",
        "[a-z0-9][a-z0-9+._-]{0,63}",
        "'{}' cannot be a package",
        "a package name has lower-case letters, digits and '+._-'; one name per list entry",
    ),
]
KernelArgument = Annotated[
    str,
    *_matches(
        "BP109",
        "[A-Za-z0-9_.,:=/@+-]{1,200}",
        "'{}' cannot be one kernel argument",
        "letters, digits and '_.,:=/@+-', no blanks or quotes; one argument per list entry",
    ),
]
Switch = Annotated[
    str,
    *_matches(
        "BP111",
        "[01]{2}",
        "'{}' is not a position of SW3",
        'write the digits printed at A and B, like "01"; pictures of the lever directions contradict each other',
    ),
]


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
    rootwait: Annotated[int, _seconds(1, 300)] | None = Field(
        None, description="Seconds the kernel waits for the disk, with method cmdline only; 30 when not written."
    )
    panic: Annotated[int, _seconds(1, 60)] | None = Field(
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
        min_length=1, description="The media the plan uses, each under a name of your choice."
    )
    root: Root
    packages: Annotated[tuple[PackageName, ...], Field(strict=False)] = Field(
        (), description="Packages you want besides what the plan itself needs."
    )

    def find_partition(self, name: str) -> tuple[str, int, Partition] | None:
        """The partition called *name*: its medium's name, its place there counted from 0, and itself."""
        for medium_name, medium in self.media.items():
            for index, partition in enumerate(medium.partitions):
                if partition.name == name:
                    return medium_name, index, partition
        return None
