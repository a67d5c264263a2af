"""What the board can do: models for the facts in schemas/boards/, and their loader.

Lists of names are written as words with blanks between them. Every group of facts names its source.
`proven: false` marks what follows from source code only, or rests on contradicting reports, and was never
shown on the hardware.
"""

from functools import cache
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from bootplan.assets import SCHEMAS

_Words = Annotated[
    tuple[str, ...], BeforeValidator(lambda text: tuple(text.split()) if isinstance(text, str) else text)
]


class _Facts(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, defer_build=True)


class _Sourced(_Facts):
    """A group of facts and where they come from."""

    source: str = Field(min_length=1)
    proven: bool = True


class Model(_Sourced):
    """One board of Banana Pi; *names* are its first `compatible` strings by release.

    One that is not *supported* has a *reason*, and *instead* the model that means the same board.
    """

    title: str
    supported: bool
    reason: str | None = None
    instead: str | None = None
    names: dict[str, _Words] = {}


class Environment(_Sourced):
    """Where a medium keeps U-Boot's environment: two copies of *size_bytes* each.

    Kind mmc: *offsets*, in bytes from the start of the GPT partition called *partition*.
    Kind ubi: two *volumes*. *required* are variables that every stock environment has.
    """

    kind: Literal["ubi", "mmc"]
    size_bytes: int
    partition: str = ""
    offsets: Annotated[tuple[int, ...], Field(strict=False)] = ()
    volumes: _Words = ()
    required: _Words


class Allowance(_Sourced):
    """A size that nobody tells, and what this program allows for it."""

    size_bytes: int


class Ubi(_Sourced):
    """The UBI device of SPI-NAND, *size_bytes* of a chip of *chip_bytes*.

    Of each physical eraseblock of *peb_bytes* a volume gets *leb_bytes*. UBI keeps *own_blocks* for itself, and for bad
    ones *bad_per_1024* of each 1024 of the whole chip. *volumes* are OpenWrt's own that have one size in every
    release; *recovery* is as large as its image.
    """

    size_bytes: int
    chip_bytes: int
    peb_bytes: int
    leb_bytes: int
    own_blocks: int
    bad_per_1024: int
    volumes: dict[str, int]
    recovery: Allowance

    def blocks(self, size_bytes: int) -> int:
        """The eraseblocks that a volume of *size_bytes* takes."""
        return -(-size_bytes // self.leb_bytes)

    @property
    def free_blocks(self) -> int:
        """The eraseblocks that are left for kernels and their overlays."""
        bad = -(-(self.chip_bytes // self.peb_bytes) * self.bad_per_1024 // 1024)
        taken = sum(self.blocks(size) for size in (*self.volumes.values(), self.recovery.size_bytes))
        return self.size_bytes // self.peb_bytes - self.own_blocks - bad - taken


class Gpt(_Sourced):
    """OpenWrt's partitions on eMMC and SD card; *production_bytes* is the room for its own FIT image."""

    production_bytes: int


class CardImage(_Sourced):
    """The image of a whole card: the *partitions* of its table in order, each with first KiB and size in KiB."""

    partitions: dict[str, Annotated[tuple[int, int], Field(strict=False)]]


class Stages(_Sourced):
    """Where the stages of a start lie on a medium, and which media a system started from it can use.

    *bl2_build* is what BL2 calls itself in its first line on a board with 4 GiB; the one for 8 GiB adds *-4bg*.
    """

    bl2: str
    bl2_build: str
    fip: str
    kernel: str
    recovery: str
    sees: str
    recovery_sees: str


class Console(_Sourced):
    """The serial console: its *settings*, its *level*, U-Boot's *prompt*, and how long its menu waits for a key."""

    settings: str
    level: str
    prompt: str
    menu_seconds: int


class BootMedium(_Sourced):
    """A medium the boot ROM can start from; *switch* are SW3's digits at A and B. It has a UBI device, or a GPT."""

    title: str
    switch: str
    menu_title: str
    rootdisk: str
    bootargs: str
    environment: Environment
    stages: Stages
    ubi: Ubi | None = None
    gpt: Gpt | None = None
    image: CardImage | None = None


class Release(_Sourced):
    """One OpenWrt release; *overlay_switch* tells whether fstools knows fstools_overlay_name, *_since* from when on.

    *large_memory* tells whether it has boot loader files for boards with 8 GiB, *compat* is the generation of its
    settings.
    """

    package_manager: Literal["opkg", "apk"]
    compat: str
    version_pattern: str
    overlay_switch: bool
    large_memory: bool
    overlay_switch_since: str | None = None
    env_config_missing_on: _Words = ()


class Files(_Sourced):
    """What the files of a release are called: *profile*, a model's name, a dash, and one of the others.

    *system* is what sysupgrade takes, *bl2* and *fip* are those of a boot medium. *large_memory* is a file -> the same
    file for boards with 8 GiB.
    """

    profile: str
    system: str
    card: str
    recovery: str
    bl2: dict[str, str]
    fip: dict[str, str]
    large_memory: dict[str, str]


class Uboot(_Sourced):
    """What the environment says that U-Boot comes with: the router's own *address*.

    *configuration* begins the name of the one in a FIT that it starts; the model's name follows. With it the production
    system is started with one more, *overlay*, by medium.
    """

    address: str
    configuration: str
    overlay: dict[str, str]


class Words(_Sourced):
    """A sourced list of names."""

    names: _Words


class Commands(_Sourced):
    """A sourced table: package -> the commands in it."""

    in_package: dict[str, _Words]


class Directories(_Sourced):
    """Directories of the running system: *taken* themselves, *trees* with everything beneath them."""

    taken: _Words
    trees: _Words


class Identity(_Sourced):
    """What every model of the board has in common."""

    soc: str
    target: str
    shared_controller: _Words


class Board(_Facts):
    """All facts about one board."""

    identity: Identity
    console: Console
    models: dict[str, Model]
    media: dict[str, BootMedium]
    releases: dict[str, Release]
    files: Files
    uboot: Uboot
    stock: Words
    commands: Commands
    reserved: Words
    directories: Directories

    @property
    def soc(self) -> str:
        """A `compatible` string that every model has."""
        return self.identity.soc

    @property
    def target(self) -> str:
        """OpenWrt's target, as in DISTRIB_TARGET."""
        return self.identity.target

    @property
    def stock_packages(self) -> tuple[str, ...]:
        """Packages the stock image has."""
        return self.stock.names

    @property
    def package_of(self) -> dict[str, str]:
        """Command -> the package that has it."""
        return {command: package for package, commands in self.commands.in_package.items() for command in commands}

    @property
    def reserved_partition_names(self) -> tuple[str, ...]:
        """Names that OpenWrt or U-Boot look for on any disk."""
        return self.reserved.names

    @property
    def system_directories(self) -> tuple[str, ...]:
        """Directories that cannot be mount points."""
        return self.directories.taken

    @property
    def system_trees(self) -> tuple[str, ...]:
        """Directories beneath which nothing can be a mount point."""
        return self.directories.trees


class WrongBoard(Exception):
    """A board file is wrong: a mistake of its author, not of the user."""


@cache
def load_board(name: str = "bpi-r4") -> Board:
    """The facts in schemas/boards/NAME.yaml; raises WrongBoard with every mistake and its place."""
    from bootplan.document import parse
    from bootplan.shape import read

    path = SCHEMAS / "boards" / f"{name}.yaml"
    document = parse(path.read_bytes(), str(path))
    board, diagnostics = read(Board, document)
    if board is None or diagnostics:
        raise WrongBoard(
            "\n".join(f"{path}:{one.span.line}:{one.span.column}: {one.message} [{one.code}]" for one in diagnostics)
        )
    return board
