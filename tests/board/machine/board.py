"""The whole board in QEMU: power it on, run commands in it, reboot it, cut its power, look at its media.

    with Machine(folder, medium="nand") as board:
        board.boot()                                  # U-Boot, kernel, userland: 5 s
        result = board.run("sh /tmp/r4.sh check")     # the same words as the private root's Router
        board.reboot()

What is real and what is not is in :file:`README.md`.
"""

import contextlib
import re
import shlex
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from .. import images
from .. import parts as host_parts
from ..cache import build_parts
from ..debian import install
from ..router import BootError, Disk, Hang, Panic, die_with_parent
from ..running import Files, Result, Timeout
from . import kernel, media, nbd, programs, system, uboot

PARTS = (*programs.PARTS, kernel.PART, uboot.PART, system.AGENT)
ROUTER_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
BOOT_SECONDS = 90
MENU = b"Hit any key to stop autoboot"
PANIC = "Kernel panic - not syncing"
# The boot scripts say with a light which system they try; U-Boot's last words before the kernel say that it was found.
LIGHTS = re.compile(r"led (green|blue):status on\n|\n(Starting kernel)")


def build(report: Callable[[str], None] = lambda line: None) -> dict[str, Path]:
    """Build or find everything the board is made of and return ``{name: folder}``."""
    install(programs.APT_PACKAGES)
    return {"host": host_parts.build(report)["envtools"], **build_parts(PARTS, report)}


class Machine(Files):
    """One board with its media. Use it as a context manager."""

    def __init__(
        self,
        folder: str | Path,
        *,
        medium: str = "nand",
        shell: str = "ash",
        model: str = "bpi-r4",
        release: str = "25.12.5",
        board_name: str = "bananapi,bpi-r4",
        disks: Iterable[Disk] = (Disk(),),
        packages: Iterable[str] = ("kmod-nvme", "block-mount", "sfdisk"),
        kernel_nvme: str = "module",
        fstools_overlay_name: bool = True,
        env: Mapping[str, str | None] | None = None,
        memory: int = 1024,
        data_bytes: int | None = None,
        faults: Iterable[str] = (),
    ) -> None:
        """Describe a board that is off; the words mean what they mean for the Router. ``memory`` is in MiB.

        Of a :class:`Disk` only serial number, bytes and block size are there: QEMU has its own model name and places.
        ``data_bytes`` is the size of ``rootfs_data`` when it shall not be all that is left of the flash. ``faults`` are
        words for what the system does wrong: see :file:`guest/bench.init` and :file:`guest/ubus`.
        """
        self.folder = Path(folder).resolve()
        self.medium, self.model, self.disks, self.memory = medium, model, list(disks), memory
        self.kind: dict[str, Any] = {
            "release": release,
            "board_name": board_name,
            "packages": tuple(packages),
            "kernel_nvme": kernel_nvme,
            "shell": shell,
            "fstools_overlay_name": fstools_overlay_name,
            "faults": tuple(faults),
        }
        self.data_bytes = data_bytes
        self.env = dict(env or {})
        self.process: subprocess.Popen[bytes] | None = None
        self.port: socket.socket | None = None
        self.uboot_port: socket.socket | None = None
        self.received = b""
        self.ready_at = -1
        self.drives = self.file_drives

    # -- life -----------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Make the media."""
        self.parts = build()
        self.images = self.folder / "images"
        self.images.mkdir(parents=True)
        self.log = self.folder / "console.log"
        self.log.write_bytes(b"")
        self.make_media()
        # the name of a socket may have 107 bytes only, so they are in a folder with a short name
        self.ports = tempfile.TemporaryDirectory(prefix="board-")
        return self

    def __exit__(self, *_: object) -> None:
        """Switch off, whatever happened."""
        self.off()
        self.ports.cleanup()

    def port_path(self, name: str) -> Path:
        """Return the path of one of the sockets to QEMU."""
        return Path(self.ports.name) / name

    def make_media(self) -> None:
        """Make the flash, the card, and the NVMe disks, with the system and the environment on the medium."""
        folder = system.system(self.parts, self.model, **self.kind)
        for medium in dict.fromkeys(("nand", self.medium)):
            work = self.folder / f"env-{medium}"
            name = "flash" if medium == "nand" else "mmcblk0"
            environment = media.Environment(self.parts["host"], work, medium, self.image(name))
            values = {**images.stock_env(medium, self.model), **(self.env if medium == self.medium else {})}
            environment.make_files({name: value for name, value in values.items() if value is not None})
            if medium == "nand":
                media.make_flash(self.image("flash"), work, folder, self.data_bytes)
            else:
                media.make_card(self.image("mmcblk0"), work, medium, folder)
        self.environment = environment
        for index, disk in enumerate(self.disks):
            images.sparse(self.image(f"nvme{index}"), disk.size)

    def firmware(self, release: str, faults: Iterable[str] = (), kernel: str = "") -> Path:
        """Return the path of a sysupgrade image for this board.

        It is another release or kernel, or a system that does things wrong.
        """
        kind = {**self.kind, "release": release, "faults": tuple(faults), "kernel": kernel}
        return system.system(self.parts, self.model, **kind) / "sysupgrade.itb"

    def image(self, name: str) -> Path:
        """Return the path of an image: flash, mmcblk0, nvme0 and so on."""
        return self.images / f"{name}.img"

    # -- power ----------------------------------------------------------------------------------------------------

    def file_drives(self) -> dict[str, str]:
        """Return {image: QEMU's words for where its bytes are}: the image files themselves."""
        return {
            path.stem: f"driver=raw,file.driver=file,file.filename={path}" for path in sorted(self.images.glob("*.img"))
        }

    @contextlib.contextmanager
    def recording(self, folder: Path) -> Iterator[nbd.Server]:
        """While the block lasts, power-ons write to a journal in ``folder`` and not to the images; see :mod:`nbd`.

        The board must be off at its begin and is off at its end.
        """
        images = {path.stem: path for path in sorted(self.images.glob("*.img"))}
        place = self.port_path("nbd")
        with nbd.Server(place, folder, images) as server:
            self.drives = lambda: {
                name: f"driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={place},file.export={name}"
                for name in images
            }
            try:
                yield server
            finally:
                self.off()
                self.drives = self.file_drives

    def adopt(self, folder: Path) -> None:
        """Put the images of a folder in place of the board's own, which must be off."""
        for path in Path(folder).glob("*.img"):
            path.replace(self.image(path.stem))

    def command_line(self) -> list[str]:
        """Return QEMU's command line."""
        log = f"logfile={self.log},logappend=on"
        words = [
            *programs.qemu_command(self.parts["qemu"]),
            "-M",
            programs.MACHINE,
            "-cpu",
            "cortex-a72",
            "-smp",
            "1",
            "-accel",
            "tcg,tb-size=256",
            "-m",
            str(self.memory),
            "-nodefaults",
            "-display",
            "none",
            "-bios",
            self.parts["uboot-arm64"] / f"{self.medium}.bin",
            "-chardev",
            f"socket,id=uboot,path={self.port_path('uboot')},server=on,wait=off,{log}",
            "-serial",
            "chardev:uboot",
            "-chardev",
            f"null,id=kernel,{log}",
            "-device",
            "pci-serial,chardev=kernel",
            "-device",
            "virtio-rng-pci",
            "-device",
            "i6300esb",
            "-action",
            "watchdog=reset",
            "-device",
            "virtio-serial-pci",
            "-chardev",
            f"socket,id=agent,path={self.port_path('agent')},server=on,wait=off",
            "-device",
            "virtserialport,chardev=agent,name=bench",
        ]
        for name, place in self.drives().items():
            words += ["-drive", f"if={'pflash,unit=1' if name == 'flash' else 'none'},id={name},discard=unmap,{place}"]
        if self.medium != "nand":
            card = f"emmc,boot-partition-size={images.BOOT_PARTITION_BYTES}" if self.medium == "emmc" else "sd-card"
            words += ["-device", "sdhci-pci,id=mmc,capareg=0x056034b4", "-device", f"{card},drive=mmcblk0"]
        for index, disk in enumerate(self.disks):
            words += [
                "-device",
                (
                    f"nvme,serial={disk.serial},drive=nvme{index},logical_block_size={disk.logical},"
                    f"physical_block_size={disk.logical}"
                ),
            ]
        return [str(word) for word in words]

    def power_on(self) -> None:
        """Start QEMU and connect to U-Boot's console and to the port of the guest's agent."""
        if self.process is not None:
            raise BootError("the board is on already")
        for name in ("uboot", "agent"):
            self.port_path(name).unlink(missing_ok=True)
        self.start_of_log = self.log.stat().st_size
        self.trouble = open(self.folder / "qemu.log", "ab")  # noqa: SIM115  # closed with the power
        self.process = subprocess.Popen(
            self.command_line(),
            stdin=subprocess.DEVNULL,
            stdout=self.trouble,
            stderr=self.trouble,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - one system call, which takes no lock
        )
        self.uboot_port = self.connect("uboot")
        self.port = self.connect("agent")
        self.received = b""
        self.ready_at = -1
        threading.Thread(target=self.press_enter, args=(self.process, self.uboot_port), daemon=True).start()

    def connect(self, name: str) -> socket.socket:
        """Return a connection to one of QEMU's sockets."""
        end = time.monotonic() + 20
        assert self.process
        while True:
            link = socket.socket(socket.AF_UNIX)
            try:
                link.connect(str(self.port_path(name)))
                return link
            except OSError:
                link.close()
                if self.process.poll() is not None or time.monotonic() > end:
                    text = (self.folder / "qemu.log").read_text(errors="replace")
                    self.off()
                    raise BootError(f"QEMU does not start:\n{text}") from None
                time.sleep(0.02)

    def press_enter(self, process: subprocess.Popen[bytes], link: socket.socket) -> None:
        """Take the boot menu's first entry at once, as its three seconds would: each time it appears."""
        at = self.start_of_log
        while process.poll() is None:
            with open(self.log, "rb") as log:
                log.seek(at)
                new = log.read()
            place = new.find(MENU)
            try:
                if place >= 0:
                    at += place + len(MENU)
                    link.sendall(b"\r")
                link.setblocking(False)
                link.recv(65536)
            except OSError:
                pass
            finally:
                if link.fileno() >= 0:
                    link.setblocking(True)
            time.sleep(0.02)

    @property
    def console(self) -> str:
        """Return everything U-Boot and the kernel have printed since the power came on."""
        return self.log.read_bytes()[self.start_of_log :].decode(errors="replace").replace("\r\n", "\n")

    @property
    def chose(self) -> list[str]:
        """Return which systems U-Boot has started since the power came on: a list of production and recovery."""
        light, started = "", []
        for colour, kernel_starts in LIGHTS.findall(self.console):
            if kernel_starts:
                started.append({"green": "production", "blue": "recovery"}.get(light, "unknown"))
            light = colour or light
        return started

    def boot(self, timeout: float = BOOT_SECONDS) -> Self:
        """Switch on and wait for a system that takes commands.

        :class:`Panic` when a kernel panics on the way: the board stays on, and :meth:`wait_up` waits for what comes
        then. :class:`Hang` when nothing comes; the text of both is the console.
        """
        self.power_on()
        self.wait_up(timeout)
        return self

    def wait_up(self, timeout: float = BOOT_SECONDS) -> None:
        """Wait until the guest's agent says that it is ready; errors as for :meth:`boot`."""
        end = time.monotonic() + timeout
        known = self.console.count(PANIC)
        assert self.process
        while True:
            line = self.read_line(min(end, time.monotonic() + 0.2))
            if line == b"ready":
                self.ready_at = len(self.console)
                return
            if self.process.poll() is not None:
                raise BootError((self.folder / "qemu.log").read_text(errors="replace"))
            if self.console.count(PANIC) > known:
                raise Panic(self.console)
            if time.monotonic() > end:
                raise Hang(self.console)

    def settle(self, wanted: Callable[[dict[str, str]], bool], timeout: float) -> dict[str, str]:
        """Wait, over restarts and panics, for a system that is up while ``wanted(environment)`` is true; return that.

        The environment is read from the medium, so that the guest is not disturbed. :class:`Hang` when it takes longer.
        """
        end = time.monotonic() + timeout
        assert self.process
        while time.monotonic() < end:
            if self.read_line(min(end, time.monotonic() + 0.5)) == b"ready":
                self.ready_at = len(self.console)
            if self.process.poll() is not None:
                raise BootError((self.folder / "qemu.log").read_text(errors="replace"))
            if self.ready_at > self.console.rfind("\nStarting kernel"):
                with contextlib.suppress(media.FlashError):  # it is being written at this moment
                    environment = self.environment.all()
                    if environment is not None and wanted(environment):
                        return environment
        raise Hang(self.console)

    def off(self) -> None:
        """Take the power away; no error when the board is off. What the guest had given to its disks stays."""
        for link in (self.port, self.uboot_port):
            if link is not None:
                link.close()
        self.port = self.uboot_port = None
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.trouble.close()
        self.process = None

    def power_cut(self) -> None:
        """Take the power away at this moment."""
        self.off()

    def reboot(self, timeout: float = BOOT_SECONDS) -> Self:
        """Run ``reboot`` in the guest and wait until it is up again: a warm start, RAM keeps what it has."""
        self.start("reboot")
        self.wait_up(timeout)
        return self

    # -- the agent ------------------------------------------------------------------------------------------------

    def receive(self, end: float) -> bool:
        """Read what the agent sends until the time ``end``; tell whether something came."""
        left = end - time.monotonic()
        if left <= 0:
            return False
        assert self.port
        self.port.settimeout(left)
        try:
            piece = self.port.recv(1 << 20)
        except TimeoutError:
            return False
        except ConnectionError:
            piece = b""
        if not piece:
            raise BootError("QEMU ended: " + (self.folder / "qemu.log").read_text(errors="replace"))
        self.received += piece
        return True

    def read_line(self, end: float) -> bytes | None:
        """Return the next line of the agent without its end, or None when none came until the time ``end``."""
        while b"\n" not in self.received:
            if not self.receive(end):
                return None
        line, _, self.received = self.received.partition(b"\n")
        return line

    def read_block(self, size: int, end: float) -> bytes:
        """Return the next bytes of the agent; :class:`Timeout` when they do not come."""
        while len(self.received) < size:
            if not self.receive(end):
                raise Timeout(f"{len(self.received)} of {size} bytes came")
        block, self.received = self.received[:size], self.received[size:]
        return block

    def start(
        self, command: str | Sequence[str], *, env: Mapping[str, str] | None = None, input: str | bytes | None = None
    ) -> None:
        """Start a command in the guest; :meth:`finish` waits for it. One at a time."""
        if self.process is None or self.process.poll() is not None:
            raise BootError("the board is off")
        assert self.port
        words = command if isinstance(command, str) else shlex.join(command)
        settings = {"PATH": ROUTER_PATH, "HOME": "/root", "TERM": "linux", "USER": "root", **(env or {})}
        text = "export " + " ".join(f"{name}={shlex.quote(value)}" for name, value in settings.items()) + "\n" + words
        if input is not None:
            data = input if isinstance(input, bytes) else input.encode()
            self.port.sendall(b"in %d\n" % len(data) + data)
        data = text.encode()
        self.port.settimeout(30)
        self.port.sendall(b"run %d\n" % len(data) + data)
        self.started = time.monotonic()

    def finish(self, timeout: float = 60) -> Result:
        """Return the :class:`Result` of the started command; :class:`Timeout` after killing it."""
        end = self.started + timeout
        assert self.port
        output = {b"out": b"", b"err": b""}
        while True:
            line = self.read_line(end)
            if line is None:
                self.port.sendall(b"kill\n")
                self.drain()
                raise Timeout(f"no end after {timeout} s\n{(output[b'out'] + output[b'err']).decode(errors='replace')}")
            word, _, number = line.partition(b" ")
            if word in output:
                output[word] += self.read_block(int(number), end + 10)
            elif word == b"end":
                out, err = (output[name].decode(errors="replace") for name in (b"out", b"err"))
                return Result(int(number), out, err, time.monotonic() - self.started)
            else:
                raise BootError(f"the guest's agent says {line!r}: the board started again\n{self.console[-3000:]}")

    def drain(self) -> None:
        """Read until the killed command's end."""
        end = time.monotonic() + 20
        while (line := self.read_line(end)) is not None and not line.startswith(b"end "):
            if line.split()[0] in (b"out", b"err"):
                self.read_block(int(line.split()[1]), end)

    def run(
        self,
        command: str | Sequence[str],
        timeout: float = 60,
        *,
        env: Mapping[str, str] | None = None,
        input: str | bytes | None = None,
    ) -> Result:
        """Run a command to its end and return its :class:`Result`; :class:`Timeout` after ``timeout`` seconds."""
        self.start(command, env=env, input=input)
        return self.finish(timeout)

    def mounts(self) -> list[tuple[str, ...]]:
        """Return the guest kernel's mounts as (source, target, type, options)."""
        return [tuple(line.split()[:4]) for line in self.read("/proc/mounts").splitlines()]

    # -- media ----------------------------------------------------------------------------------------------------

    def sync(self) -> None:
        """Write everything the guest has written to its media; nothing to do when it is off."""
        if self.process is not None:
            self.run("sync").ok()

    def digests(self) -> dict[str, str]:
        """Return {name: sha256} of every disk image, and of bl2 and each UBI volume of the flash, after a sync."""
        self.sync()
        found = {path.stem: images.digest(path) for path in sorted(self.images.glob("*.img")) if path.stem != "flash"}
        with open(self.image("flash"), "rb") as flash:
            found["bl2"] = media.digest(flash.read(media.BL2_BYTES))
        return found | {name: media.digest(data) for name, data in media.volumes(self.image("flash")).items()}

    def fw_printenv(self) -> dict[str, str] | None:
        """Return the environment on the medium as the real tool reads it on the host; None when both are bad."""
        self.sync()
        return self.environment.all()

    def printed_env(self) -> dict[str, str]:
        """Return the same; :class:`~board.images.EnvError` when both are bad."""
        self.sync()
        return self.environment.whole()
