"""What U-Boot does at power-on, on the images of a router: it runs the environment that is there, whatever it says.

    start = power_on(images, "nand", tool, crash=False)
    start.chose, start.slot, start.trial, start.bootargs, start.fit

The environment's own commands are run by :mod:`hush` on the real images: counters are saved, volumes renamed, FITs read
and their sums compared. What counts as a start is the first ``bootm`` that finds all of its FIT right.
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from . import images
from .fitread import Fit, NoFit, read
from .hush import Hush, HushError, hexadecimal
from .ubi import Table, UbiError

SECTOR = 512
GPT_SIGNATURE = b"EFI PART"
FIRST = "run boot_default"  # what the boot menu starts when nobody types
PRODUCTION, RECOVERY = {"nand": "fit", "emmc": "production", "sd": "production"}, "recovery"
MARK = re.compile(r"(?:^| )bootplan\.slot=(\w*)")
TRIAL = re.compile(r"(?:^| )bootplan\.trial=1(?: |$)")


@dataclass(frozen=True)
class Start:
    """How a power-on went, up to the kernel.

    ``chose`` is ``a``, ``b``, ``stock``, ``recovery``, ``tftp`` (U-Boot asks a server for ever) or ``reset``. Where a
    kernel was started, ``source`` is the volume or partition it came from, ``fit`` the whole FIT, ``bootargs`` its
    command line; ``said`` is what U-Boot did on the way.
    """

    chose: str
    source: str = ""
    bootargs: str = ""
    fit: Fit | None = field(default=None, repr=False)
    said: tuple[str, ...] = field(default=(), repr=False)

    @property
    def slot(self) -> str:
        """Return the slot that the kernel was told, or nothing."""
        return self.chose if self.chose in ("a", "b") else ""

    @property
    def trial(self) -> bool:
        """Tell whether the kernel was told that it is on trial."""
        return bool(TRIAL.search(self.bootargs))


class Ended(Exception):
    """U-Boot goes no further; the value is the :class:`Start`."""

    def __init__(self, start: Start) -> None:
        """Remember it."""
        super().__init__(start.chose)
        self.start = start


def partitions(path: Path) -> dict[str, tuple[int, int]]:
    """Return {name: (first sector, sectors)} of the GPT in an image, of its second copy where the first is bad."""
    with open(path, "rb") as image:
        size = image.seek(0, 2)
        for place in (SECTOR, size - SECTOR):
            image.seek(place)
            header = image.read(92)
            if header[:8] != GPT_SIGNATURE:
                continue
            first, count, length = struct.unpack_from("<QII", header, 72)
            image.seek(first * SECTOR)
            entries = image.read(count * length)
            found: dict[str, tuple[int, int]] = {}
            for at in range(0, len(entries) - length + 1, length):
                begin, end = struct.unpack_from("<QQ", entries, at + 32)
                if any(entries[at : at + 16]):
                    name = entries[at + 56 : at + 128].decode("utf-16-le", "replace").split("\0")[0]
                    found.setdefault(name, (begin, end - begin + 1))
            return found
    return {}


def flash_of(images_folder: Path, medium: str) -> "Nand | Card":
    """Return the media of a kind: what U-Boot's commands for it work on."""
    return Nand(images_folder) if medium == "nand" else Card(images_folder)


class Nand:
    """The commands for UBI."""

    def __init__(self, folder: Path) -> None:
        """``folder`` has the images."""
        self.table = Table.read(folder)
        self.commands = {"ubi": self.ubi}

    def content(self, name: str) -> bytes | None:
        """Return the bytes of a volume; None when it cannot be read."""
        try:
            return self.table.content(name)
        except UbiError:
            return None

    def ubi(self, shell: "Shell", words: list[str]) -> int:
        """Do what U-Boot's ``ubi`` does with volumes."""
        what, *operands = words[1:]
        try:
            if what == "part":
                return 0
            if what == "check":
                return int(self.table.find(operands[0]) is None)
            if what == "rename":
                self.table.rename(*operands)
            elif what == "remove":
                self.table.remove(operands[0])
            elif what == "create":
                size = None if operands[1:2] in ([], ["-"]) else hexadecimal(operands[1])
                self.table.create(operands[0], size, operands[2] if len(operands) > 2 else "dynamic")
            elif what == "read":
                data = self.table.content(operands[1])
                shell.load(operands[0], data[: hexadecimal(operands[2])] if len(operands) > 2 else data, operands[1])
            else:
                raise HushError(f"unknown command: {' '.join(words)}")
        except UbiError as problem:
            shell.say(str(problem))
            return 1
        return 0


class Card:
    """The commands for eMMC and SD card."""

    def __init__(self, folder: Path) -> None:
        """``folder`` has the image."""
        self.path = folder / "mmcblk0.img"
        self.commands = {"mmc": self.mmc, "part": self.part, "imszb": self.size_of_fit}

    def content(self, name: str) -> bytes | None:
        """Return the bytes of a partition; None when there is none."""
        place = partitions(self.path).get(name)
        return None if place is None else self.sectors(*place)

    def sectors(self, first: int, count: int) -> bytes:
        """Return sectors of the card."""
        with open(self.path, "rb") as image:
            image.seek(first * SECTOR)
            return image.read(count * SECTOR)

    def part(self, shell: "Shell", words: list[str]) -> int:
        """``part start|size mmc 0 NAME VARIABLE``."""
        _, what, _, _, name, variable = words
        place = partitions(self.path).get(name)
        if place is None or what not in ("start", "size"):
            return 1
        shell.variables[variable] = f"{place[what == 'size']:x}"
        return 0

    def mmc(self, shell: "Shell", words: list[str]) -> int:
        """``mmc dev`` and ``mmc read ADDRESS SECTOR COUNT``."""
        if words[1] == "dev":
            return 0
        if words[1] != "read":
            raise HushError(f"unknown command: {' '.join(words)}")
        first, count = hexadecimal(words[3]), hexadecimal(words[4])
        names = [name for name, (start, _) in partitions(self.path).items() if start == first]
        shell.load(words[2], self.sectors(first, count), names[0] if names else "")
        return 0

    def size_of_fit(self, shell: "Shell", words: list[str]) -> int:
        """``imszb ADDRESS VARIABLE``: how many sectors the FIT takes whose beginning is in memory."""
        try:
            fit = read(shell.memory[hexadecimal(words[1])][0])
        except (KeyError, NoFit) as problem:
            shell.say(f"no image: {problem}")
            return 1
        shell.variables[words[2]] = f"{-(-fit.size // SECTOR):x}"
        return 0


class Shell(Hush):
    """U-Boot's shell with the commands that its environments use."""

    def __init__(
        self,
        variables: dict[str, str],
        medium: Nand | Card,
        save: Callable[[dict[str, str | None]], object],
        room: int,
        crash: bool,
    ) -> None:
        """``save(changed)`` saves the environment, which may have ``room`` bytes; ``crash`` is a record in RAM."""
        own = {
            "pstore": self.pstore,
            "saveenv": self.saveenv,
            "bootm": self.bootm,
            "iminfo": self.iminfo,
            "led": lambda words: 0,
            "sleep": lambda words: 0,
            "button": lambda words: 1,
            "tftpboot": self.tftpboot,
            "reset": self.reset,
        }
        wrapped = {
            name: lambda words, command=command: command(self, words) for name, command in medium.commands.items()
        }
        super().__init__(dict(variables), {**own, **wrapped})
        self.saved, self.save, self.room, self.crash = dict(variables), save, room, crash
        self.memory: dict[int, tuple[bytes, str]] = {}
        self.said: list[str] = []

    def say(self, line: str) -> None:
        """Note what U-Boot says."""
        self.said.append(line)

    def run_simple(self, words: list[str]) -> int:
        """Note each command, and run it."""
        self.say("> " + " ".join(words))
        return super().run_simple(words)

    def load(self, address: str, data: bytes, source: str) -> None:
        """Put what was read into memory."""
        self.memory[hexadecimal(address)] = (data, source)
        self.variables["filesize"] = f"{len(data):x}"
        self.variables["fileaddr"] = address.removeprefix("0x")

    def pstore(self, words: list[str]) -> int:
        """``pstore check``: is there a crash record."""
        return int(not self.crash)

    def saveenv(self, words: list[str]) -> int:
        """Save all variables, unless they are too many."""
        now = {name: value for name, value in self.variables.items() if value}
        if sum(len(name) + len(os_bytes(value)) + 2 for name, value in now.items()) + 1 > self.room:
            self.say("the environment is too large")
            return 1
        changed = {name: now.get(name) for name in {*now, *self.saved} if now.get(name) != self.saved.get(name)}
        if changed:
            self.save(changed)
        self.saved = now
        return 0

    def whole_fit(self, address: str) -> tuple[Fit, str] | None:
        """Return the FIT in memory and where it came from; None when it is not all right."""
        data, source = self.memory.get(hexadecimal(address), (b"", ""))
        try:
            fit = read(data)
            wrong = fit.wrong()
        except NoFit as problem:
            self.say(f"{source}: no FIT: {problem}")
            return None
        if wrong:
            self.say(f"{source}: bad hash of {' '.join(wrong)}")
            return None
        return fit, source

    def iminfo(self, words: list[str]) -> int:
        """Compare all sums of the FIT in memory."""
        return int(self.whole_fit(words[1]) is None)

    def bootm(self, words: list[str]) -> int:
        """Start a kernel, if its FIT is right and has that configuration."""
        address, *names = words[1].split("#")
        found = self.whole_fit(address)
        if found is None:
            return 1
        fit, source = found
        if names and names[0] not in fit.configurations:
            self.say(f"{source}: no configuration {names[0]}")
            return 1
        bootargs = self.variables.get("bootargs", "")
        slot = MARK.search(bootargs)
        chose = slot[1] if slot else RECOVERY if source == RECOVERY else "stock"
        raise Ended(Start(chose, source, bootargs, fit, tuple(self.said)))

    def tftpboot(self, words: list[str]) -> NoReturn:
        """There is no server: U-Boot asks for ever."""
        raise Ended(Start("tftp", said=tuple(self.said)))

    def reset(self, words: list[str]) -> NoReturn:
        """Start again."""
        raise Ended(Start("reset", said=tuple(self.said)))


def os_bytes(text: str) -> bytes:
    """Return a value of the environment as the tool's output had it."""
    return text.encode(errors="surrogateescape")


def power_on(folder: Path, medium: str, tool: images.EnvTool, variables: dict[str, str], crash: bool = False) -> Start:
    """Run U-Boot's commands on the images in ``folder`` and return the :class:`Start`.

    ``tool`` is the :class:`~board.images.EnvTool` of the medium, ``variables`` the environment that it found.
    """
    room = images.ENV_COPY_BYTES[medium] - 5
    shell = Shell(variables, flash_of(folder, medium), tool.set, room, crash)
    try:
        shell.run(FIRST)
    except Ended as end:
        return end.start
    return Start("console", said=tuple(shell.said))
