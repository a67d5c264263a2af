"""A board that has U-Boot and its boot medium and nothing else: put things on the medium, start it, see what it chose.

    with UBoot(folder, medium="nand") as board:
        board.env.set({"bootargs": "root=/dev/fit0"})
        board.crash()
        boot = board.boot()
        assert boot.chose == "recovery"

A start runs the real program once. It ends where Linux would begin, at a reset, when it waits for a key that nobody
types, or when it asks a TFTP server for ever. Nothing is left running, whatever happens.
"""

import functools
import os
import re
import select
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from .. import images, parts
from ..cache import Part, build_parts, command, digest_of, named, recipe_of
from . import build, fit, flash, gpt, source
from .cuts import Write

ENTER, DOWN, QUIT = "\r", "\x1b[B", "\x03"
PROMPT = "MT7988> "
SYSTEMS = {"production": "fit", "recovery": "recovery"}  # and the UBI volume of each
KERNELS = (*SYSTEMS, "slot-a", "slot-b")  # what the first line of a kernel can say
ENV_VOLUMES = ("ubootenv", "ubootenv2")
NO_SERVER, LOOKS = "No ethernet found.", 2  # one look at the start; a second try comes only from a loop
LOG, CRASH, TREE = "writes.log", "crash.bin", "handed-over.dtb"
ADDRESS = 0x50000000
CRASH_BYTES, RECORD_SIGNATURE = 0x10000, 0x43474244
HEAD = struct.Struct("<cQI")
SECONDS = 10
MADE_OF = (source.HERE / "flash.py", source.HERE / "gpt.py", source.HERE.parent / "images.py")


class UBootError(Exception):
    """U-Boot ended, or did not end, as it never should; the text is its console."""


@dataclass
class Boot:
    """One start: what it ended with, and what was seen until then.

    ``chose`` is one of :data:`KERNELS` (that kernel was started), ``tftp`` (it asks a server for ever), ``menu`` or
    ``console`` (it waits for a key there) or ``reset``. ``fit_configuration`` and ``bootargs`` are those of the started
    kernel, from memory; ``overlays`` are the names of the overlays in its device tree. ``console`` is the whole output.
    """

    chose: str
    console: str
    seconds: float
    env: dict[str, str] | None
    fit_configuration: str = ""
    bootargs: str = ""
    overlays: tuple[str, ...] = ()
    tree: str = field(default="", repr=False)


class Volumes:
    """The pieces of a boot medium by name, whole: GPT partitions of a card."""

    def __init__(self, board: "UBoot") -> None:
        """``board`` is a :class:`UBoot` on eMMC or SD card."""
        self.board = board
        self.places = {
            name: (offset * images.KiB, size * images.KiB) for name, offset, size in images.GPT[board.medium]
        }

    def read(self, name: str, size: int | None = None) -> bytes:
        """Return the first ``size`` bytes of a piece, or all."""
        offset, room = self.places[name]
        with open(self.board.image, "rb") as image:
            image.seek(offset)
            return image.read(room if size is None else size)

    def write(self, name: str, data: bytes) -> None:
        """Write ``data`` at the beginning of a piece."""
        with open(self.board.image, "r+b") as image:
            image.seek(self.places[name][0])
            image.write(data)


class UbiVolumes:
    """The same for UBI volumes, read and written by U-Boot's own UBI on the flash file."""

    def __init__(self, board: "UBoot") -> None:
        """``board`` is a :class:`UBoot` on NAND."""
        self.board = board

    def read(self, name: str, size: int | None = None) -> bytes | None:
        """Return the first ``size`` bytes of a volume, or all; None when UBI does not give it (a torn update)."""
        return self.read_all((name,), size)[0]

    def read_all(self, names: Iterable[str], size: int | None = None) -> list[bytes | None]:
        """Return :meth:`read` of several volumes with one start of U-Boot."""
        length = "" if size is None else f"{size:#x}"
        files = [self.board.folder / f"{name}.bin" for name in names]
        for path in files:
            path.unlink(missing_ok=True)
        self.board.run(
            [
                "ubi part ubi",
                *(
                    f"if ubi read {ADDRESS:#x} {name} {length} ; then save hostfs - {ADDRESS:#x} {name}.bin "
                    f"{length or '$filesize'} ; fi"
                    for name in names
                ),
            ]
        )
        return [path.read_bytes() if path.exists() else None for path in files]

    def write(self, name: str, data: bytes) -> None:
        """Write a volume as a whole."""
        (self.board.folder / f"{name}.bin").write_bytes(data)
        told = self.board.run(
            ["ubi part ubi", f"load hostfs - {ADDRESS:#x} {name}.bin", f"ubi write {ADDRESS:#x} {name} {len(data):#x}"]
        )
        if f"{len(data)} bytes written to volume {name}" not in told:
            raise UBootError(told)


class Environment:
    """The saved environment, through the real fw_printenv and fw_setenv.

    They work on the card itself, or on copies of the two UBI volumes; U-Boot's UBI writes back the copy that changed.
    """

    def __init__(self, board: "UBoot", tools: Path) -> None:
        """``tools`` is the folder with fw_printenv."""
        self.board = board
        self.size = images.ENV_COPY_BYTES[board.medium]
        self.tool = images.EnvTool(tools, board.folder, board.medium)

    def copies(self) -> list[bytes]:
        """Return the two copies as they are on the medium, each as bytes."""
        volumes = self.board.volumes
        if isinstance(volumes, UbiVolumes):
            read = volumes.read_all(ENV_VOLUMES, self.size)
            return [data if data is not None else bytes(self.size) for data in read]
        whole = volumes.read("ubootenv", 2 * self.size)
        return [whole[: self.size], whole[self.size :]]

    def put(self, number: int, data: bytes) -> None:
        """Write copy 0 or 1."""
        if self.board.medium == "nand":
            self.board.volumes.write(ENV_VOLUMES[number], data)
        else:
            place = images.MMC_ENV_OFFSET + number * self.size
            with open(self.board.image, "r+b") as image:
                image.seek(place)
                image.write(data)
            self.board.note("w", place, data)

    def spoil(self, *numbers: int) -> None:
        """Turn one bit in the middle of these copies, so that their sums are wrong."""
        copies = self.copies()
        for number in numbers:
            data = bytearray(copies[number])
            data[self.size // 2] ^= 1
            self.put(number, bytes(data))

    def fetch(self) -> list[bytes]:
        """Copy the volumes to where the tool looks for them and return them; on a card it looks at the card."""
        copies = self.copies()
        if self.board.medium == "nand":
            for name, data in zip(ENV_VOLUMES, copies, strict=True):
                (self.board.folder / f"{name}.img").write_bytes(data)
        return copies

    def all(self) -> dict[str, str] | None:
        """Return the environment as a dictionary; None when both copies are bad."""
        self.fetch()
        return self.tool.all()

    def whole(self) -> dict[str, str]:
        """Return the same; :class:`~board.images.EnvError` when both copies are bad."""
        self.fetch()
        return self.tool.whole()

    def set(self, values: Mapping[str, str | None]) -> None:
        """Set variables with one ``fw_setenv -s``; None deletes one.

        On a card the tool writes the one copy that it changes from its beginning to its end, and is recorded as that.
        """
        before = self.fetch()
        self.tool.set(values)
        for number, name in enumerate(ENV_VOLUMES):
            if self.board.medium == "nand":
                data = (self.board.folder / f"{name}.img").read_bytes()
            else:
                data = self.copies()[number]
            if data == before[number]:
                continue
            if self.board.medium == "nand":
                self.put(number, data)
            else:
                self.board.note("w", images.MMC_ENV_OFFSET + number * self.size, data)


class UBoot:
    """One board. Use it as a context manager; everything lies below ``folder``."""

    def __init__(self, folder: str | Path, *, medium: str = "nand", booted: bool = True) -> None:
        """Describe a board whose medium holds recovery and production.

        ``booted`` says whether its environment is that of a board which was started before, or there is none yet.
        """
        self.folder, self.medium, self.booted = Path(folder).resolve(), medium, booted
        self.held = False

    def __enter__(self) -> Self:
        """Make the medium."""
        self.folder.mkdir(parents=True, exist_ok=True)
        made = prepared(self.medium, self.booted)
        self.program, self.tools = made["uboot"] / self.medium, made["uboot"] / "bin"
        self.image = self.folder / image_name(self.medium)
        original = made["medium"] / self.image.name
        flash.copy_sparse(original, self.image, kept_extents(original))
        self.volumes: UbiVolumes | Volumes = UbiVolumes(self) if self.medium == "nand" else Volumes(self)
        self.env = Environment(self, made["envtools"])
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing runs between two starts."""

    # -- what happens to the board ----------------------------------------------------------------------------------

    def hold_button(self, held: bool = True) -> None:
        """Hold the reset button (WPS) from now on, or let it go."""
        self.held = held

    def crash(self, record: int = 0) -> None:
        """Leave in RAM what a kernel leaves there when it crashes: one of the records of ``ramoops``."""
        text = b"====1782640800.000000-D\nOops#1 Part1\nKernel panic - not syncing\n"
        memory = bytearray(CRASH_BYTES)
        struct.pack_into("<III", memory, record * 0x1000, RECORD_SIGNATURE, 0, len(text))
        memory[record * 0x1000 + 12 : record * 0x1000 + 12 + len(text)] = text
        (self.folder / CRASH).write_bytes(memory)

    def forget_crash(self) -> None:
        """Clear that RAM, as the system does that has saved the record."""
        (self.folder / CRASH).unlink(missing_ok=True)

    def damage(self, system: str, where: str = "data") -> None:
        """Damage ``production`` or ``recovery``: its ``header`` is gone, or a bit of the kernel's ``data`` is wrong."""
        name = SYSTEMS[system] if self.medium == "nand" else system
        whole = self.volumes.read(name, len(system_image(system)))
        assert whole is not None, f"{name} cannot be read"
        self.volumes.write(name, damaged(whole, where))

    def take_environment(self, folder: Path) -> None:
        """Take over both copies of the environment from the images of a :class:`~board.router.Router`."""
        for number, place in enumerate(images.env_places(folder, self.medium)):
            path, offset = place.split()[:2]
            with open(path, "rb") as image:
                image.seek(int(offset, 16))
                self.env.put(number, image.read(self.env.size))

    def put_system(self, system: str, data: bytes) -> None:
        """Write other bytes where ``production`` or ``recovery`` lies."""
        self.volumes.write(SYSTEMS[system] if self.medium == "nand" else system, data)

    # -- starts -----------------------------------------------------------------------------------------------------

    def start(
        self, arguments: Sequence[str], keys: str, timeout: float, done: Callable[[str], bool] = lambda console: False
    ) -> tuple[str, int | None, float]:
        """Run the program until it ends or ``done(console)``; return the console, the exit code (None) and seconds."""
        tree = self.program / ("held.dtb" if self.held else "board.dtb")
        begin = time.monotonic()
        process = subprocess.Popen(
            [self.program / "u-boot", "-d", tree, *arguments],
            cwd=self.folder,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        seen, ended = bytearray(), False
        assert process.stdin and process.stdout
        try:
            process.stdin.write(keys.encode())
            process.stdin.close()
            while not ended and not done(seen.decode(errors="replace")):
                left = begin + timeout - time.monotonic()
                if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                    raise UBootError(f"no end after {timeout} s\n{seen.decode(errors='replace')}")
                piece = os.read(process.stdout.fileno(), 1 << 16)
                seen, ended = seen + piece, not piece
        finally:
            if not ended:
                process.kill()
            process.wait()
            process.stdout.close()
        return seen.decode(errors="replace"), process.returncode, time.monotonic() - begin

    def run(self, commands: Iterable[str], timeout: float = SECONDS) -> str:
        """Run commands in U-Boot, without its boot commands, and return the console; the medium may change by them."""
        return self.start(["-c", " ; ".join(commands)], "", timeout)[0]

    def boot(self, keys: str = "", timeout: float = SECONDS, read_env: bool = True) -> Boot:
        """Switch on, type ``keys`` on the console when U-Boot looks for them, and return the :class:`Boot`.

        ``read_env=False`` leaves out the environment that is left behind, which on NAND costs another start.
        """
        (self.folder / TREE).unlink(missing_ok=True)
        console, code, seconds = self.start([], keys, timeout, lambda seen: seen.count(NO_SERVER) > LOOKS)
        left_behind = self.env.all() if read_env else None
        told = dict(re.findall(r"^bench: (\w+)=(.*?)\r?$", console, re.MULTILINE))
        if "bench: started" in console:
            tree = command([self.tools / "dtc", "-q", "-I", "dtb", "-O", "dts", self.folder / TREE])
            overlays = tuple(sorted(re.findall(r"^\toverlay-(\w+);", tree, re.MULTILINE)))
            return Boot(
                told["kernel"], console, seconds, left_behind, told["configuration"], told["bootargs"], overlays, tree
            )
        if "bench: reset" in console:
            chose = "reset"
        elif "bench: waits for a key" in console:
            chose = "console" if console.split("bench: waits")[0].rstrip("\r\n").endswith(PROMPT) else "menu"
        elif console.count(NO_SERVER) > LOOKS:
            chose = "tftp"
        else:
            raise UBootError(f"ended with {code}\n{console}")
        return Boot(chose, console, seconds, left_behind)

    # -- what is written --------------------------------------------------------------------------------------------

    def record(self) -> None:
        """Forget what was recorded, and record every write to the medium from now on."""
        (self.folder / LOG).write_bytes(b"")

    def note(self, kind: str, place: int, data: bytes) -> None:
        """Add a write to the record, if there is one, that was made on the medium by something else than U-Boot."""
        if (self.folder / LOG).exists():
            with open(self.folder / LOG, "ab") as log:
                log.write(HEAD.pack(kind.encode(), place, len(data)) + data)

    def recorded(self) -> list[Write]:
        """Stop to record, and return the writes in order as ``(kind, place, data)``: see :mod:`.cuts`."""
        data = (self.folder / LOG).read_bytes()
        (self.folder / LOG).unlink()
        writes: list[Write] = []
        place = 0
        while place < len(data):
            kind, where, length = HEAD.unpack_from(data, place)
            place += HEAD.size
            if kind == b"e":
                writes.append(("e", where, length))
                continue
            taken = data[place : place + length]
            writes.append(("w", where, taken) if kind == b"w" else ("p", where, taken))
            place += length
        return writes


@functools.cache
def kept_extents(path: Path) -> list[tuple[int, bytes]]:
    """Return the extents of an image that many boards begin with; some megabytes."""
    return list(flash.extents(path))


def image_name(medium: str) -> str:
    """Return the name of the file that is the medium."""
    return "nand.img" if medium == "nand" else "mmcblk0.img"


def system_image(system: str) -> bytes:
    """Return the FIT image of one of :data:`KERNELS` as bytes."""
    return (prepared_systems() / f"{system}.itb").read_bytes()


def damaged(image: bytes, where: str = "data") -> bytes:
    """Return a FIT image without its ``header``, or with a wrong bit in the kernel's ``data``."""
    data = bytearray(image)
    if where == "header":
        data[:64] = bytes(64)
    else:
        data[data.index(b"\x1f\x8b\x08") + fit.KERNEL_BYTES // 2] ^= 1
    return bytes(data)


@functools.cache
def tools_part() -> dict[str, Path]:
    """Build or find what everything here needs, and return ``{part: folder}``."""
    return {**build.build(), **build_parts([part for part in parts.PARTS if part.name == "envtools"])}


@functools.cache
def prepared_systems() -> Path:
    """Return the folder with the FIT images."""
    tools = tools_part()["uboot"]

    def make(folder: Path) -> None:
        """Make the FIT images."""
        for system in KERNELS:
            fit.make(system, tools / "bin", folder)

    return build_parts([Part("fit", make, lambda: digest_of(repr(KERNELS), str(tools), source.HERE / "fit.py"))])["fit"]


def new_medium(medium: str, folder: Path) -> None:
    """Make the image of a medium as the installation leaves it: both systems, and no environment saved."""
    systems = {name: (prepared_systems() / f"{name}.itb").read_bytes() for name in SYSTEMS}
    if medium == "nand":
        contents = {"fip": b"fip " * (0x200000 // 4)}
        flash.make(folder / image_name(medium), contents | {SYSTEMS[name]: data for name, data in systems.items()})
        return
    images.make_card(folder / image_name(medium), medium)
    gpt.write(folder / image_name(medium), medium)
    places = {name: offset * images.KiB for name, offset, _ in images.GPT[medium]}
    with open(folder / image_name(medium), "r+b") as image:
        for name, data in systems.items():
            image.seek(places[name])
            image.write(data)


def booted_medium(medium: str, folder: Path) -> None:
    """Make the image of a medium after the board's first start, which U-Boot itself does."""
    with UBoot(folder / "board", medium=medium, booted=False) as board:
        boot = board.boot()
        if boot.chose != "production":
            raise UBootError(boot.console)
        board.image.rename(folder / board.image.name)
    shutil.rmtree(folder / "board")


@functools.cache
def prepared(medium: str, booted: bool) -> dict[str, Path]:
    """Return ``{part: folder}`` with the medium's image in the part ``medium``."""
    made = tools_part()
    make = booted_medium if booted else new_medium

    def key() -> str:
        """Return a text that changes with everything the image is made of."""
        recipe = recipe_of(new_medium, booted_medium)
        return digest_of(recipe, str(made["uboot"]), str(prepared_systems()), *named(MADE_OF), repr((medium, booted)))

    return {**made, **build_parts([Part("medium", lambda folder: make(medium, folder), key)])}
