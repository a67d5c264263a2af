"""A BPI-R4 with OpenWrt, made of a private root: power it on, run commands in it, cut its power, look at its disks.

    with Router(folder, medium="nand") as router:
        router.boot()
        result = router.run("fw_printenv -n bootcmd")
        router.reboot()

Everything lies below ``folder`` and goes when the block ends: processes, mounts, loop devices. Only root can do this.
"""

import ctypes
import fcntl
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Self

from . import firmware, images, parts, slots, sysfs, tree, ubi
from .cache import HERE, SEARCH_PATH
from .fitread import NoFit, read
from .images import GiB
from .loops import FreeLoops, Loop
from .running import Command, Files, Input, Result, Running, Timeout
from .sandbox import gpt

ROUTER_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1
BOOT_SECONDS = 60
REBOOT, POWER_OFF = 10, 11
FREE_LOOPS = 2
SERVICES = ("lan", "wan", "dns", "ssh")
CRASH_RECORD = "Panic#1 Part1\n<0>[   12.345678] Kernel panic - not syncing: the bench's\n"


class Hang(Exception):
    """The kernel waits for its root for ever; the text is the console."""


class Panic(Exception):
    """The kernel gave up on its root and would reboot; the text is the console."""


class Recovery(Exception):
    """U-Boot started the recovery system, or none at all; the text is its console."""


class BootError(Exception):
    """The bench itself failed while powering on; the text says where."""


@dataclass(frozen=True)
class Disk:
    """One NVMe disk: serial number, PCI address, bytes, model name, bytes in a logical block."""

    serial: str = "S4EWNF0M531930D"
    pci: str = "0002:01:00.0"
    size: int = 2 * GiB
    model: str = "Samsung SSD 970 EVO Plus"
    logical: int = 512


@dataclass(frozen=True)
class Reader:
    """A card in a reader, or another disk beside the router's own: its kernel name, what it hangs on, and what it says.

    ``bus`` is ``usb``, ``ata`` or ``mmc``; ``type`` is of an mmc device.
    """

    name: str = "sda"
    serial: str = "000000009451"
    model: str = "STORAGE DEVICE"
    size: int = GiB
    bus: str = "usb"
    type: str = "SD"
    removable: bool = True
    read_only: bool = False
    logical: int = 512


class Router(Files):
    """One router with its disks. Use it as a context manager.

    ``chose`` is what U-Boot started, where there are slots.
    """

    chose: slots.Start

    def __init__(
        self,
        folder: str | Path,
        *,
        medium: str = "nand",
        shell: str = "ash",
        model: str = "bpi-r4",
        release: str = "25.12.5",
        board_name: str = "bananapi,bpi-r4",
        disks: Sequence[Disk] = (Disk(),),
        packages: Sequence[str] = ("kmod-nvme", "block-mount", "sfdisk"),
        kernel_nvme: str = "module",
        fstools_overlay_name: bool = True,
        env: Mapping[str, str | None] | None = None,
        tmp_size: str = "1g",
        slots: bool = False,
        kernel: str | None = None,
        flash_blocks: int = ubi.FLASH_BLOCKS,
        data_bytes: int | None = None,
        services: bool | None = None,
        up: Sequence[str] = SERVICES,
        watchdog: str = "running",
        layout: str = "openwrt",
        raw: bool = False,
        emmc: bool = False,
        partition_config: int = 0x48,
        memory_kib: int = 0,
        spare_blocks: int = 0,
        readers: Sequence[Reader] = (),
        pc: bool = False,
    ) -> None:
        """Describe a router that is off.

        ``folder`` must be on a file system that loop devices can use (not tmpfs on old kernels). ``env`` are changes
        to the stock environment of the medium; a value of None deletes a variable.

        ``slots`` makes a router whose media hold real FIT images and whose U-Boot runs its environment: see
        :mod:`slots`. Its flash has ``flash_blocks`` erase blocks, and rootfs_data ``data_bytes`` or all that is left;
        ``kernel`` is the release of its kernel. Its boot scripts run unless ``services`` is False, ``up`` are the
        interfaces and servers that work, ``watchdog`` is what procd says of it.

        ``layout`` is the flash's, openwrt or vendor; with ``raw`` the MTD partitions outside UBI have content and can
        be written. ``emmc`` puts an eMMC beside the SPI-NAND, ``partition_config`` is its register of that name.
        ``memory_kib`` is the RAM that the kernel sees, when it is not this machine's. ``spare_blocks`` is the room for
        more volumes on a flash without slots.

        ``readers`` are cards in card readers. With ``pc`` this is no router: it has the tools of a Debian, and nothing
        that only a router has.
        """
        if os.geteuid() != 0:
            raise PermissionError("the private router root needs root: mounts, namespaces and loop devices")
        self.folder = Path(folder).resolve()
        self.medium, self.shell, self.model, self.release = medium, shell, model, release
        self.board_name, self.disks, self.packages = board_name, tuple(disks), tuple(packages)
        self.kernel_nvme, self.fstools_overlay_name = kernel_nvme, fstools_overlay_name
        self.env, self.tmp_size = dict(env or {}), tmp_size
        self.slots, self.kernel = slots, kernel or tree.kernel_release()
        self.flash_blocks, self.data_bytes = flash_blocks, data_bytes
        self.services = slots if services is None else services
        self.up, self.watchdog = tuple(up), watchdog
        self.readers, self.pc = tuple(readers), pc
        self.layout, self.raw, self.partition_config = layout, raw, partition_config
        self.emmc = emmc or medium == "emmc"
        self.memory_kib, self.spare_blocks = memory_kib, spare_blocks
        self.ram = self.folder / "ram"
        self.free_loops: FreeLoops | None = None
        self.flash_cut = ""
        self.console: list[str] = []
        self.loops: dict[str, Loop] = {}
        self.running: list[Running] = []
        self.power: subprocess.Popen[bytes] | None = None
        self.pid: int | None = None
        self.space: int | None = None
        self.booted_before = False
        self.command_number = 0

    # -- life -----------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Make the disk images."""
        self.parts = parts.build()
        self.images = self.folder / "images"
        self.images.mkdir(parents=True)
        (self.folder / "stage").mkdir()
        (self.folder / "output").mkdir()
        for name in ("pstore", "stage2"):
            (self.ram / name).mkdir(parents=True)
        if self.slots:
            self.squashfs = self.folder / "root.squashfs"
        else:
            self.squashfs = tree.squashfs(
                self.parts,
                release=self.release,
                board_name=self.board_name,
                packages=self.packages,
                kernel_nvme=self.kernel_nvme,
                shell=self.shell,
                fstools_overlay_name=self.fstools_overlay_name,
                **({"pc": True} if self.pc else {}),
            )
        self.make_images()
        return self

    def firmware(self, **changes: Any) -> Path:
        """Return the path of a sysupgrade image for this router, with these changes: see :mod:`firmware`."""
        kind = {
            "release": self.release,
            "board_name": self.board_name,
            "packages": self.packages,
            "shell": self.shell,
            "kernel_nvme": self.kernel_nvme,
            "fstools_overlay_name": self.fstools_overlay_name,
            "kernel": self.kernel,
            "model": self.model,
        }
        return firmware.make(self.parts, **{**kind, **changes})

    def __exit__(self, *_: object) -> None:
        """Switch off and leave nothing behind, whatever happened."""
        self.off()

    def make_images(self) -> None:
        """Make every disk image and fill the environments."""
        if self.slots:
            systems = {
                "production": self.firmware().read_bytes(),
                "recovery": self.firmware(defect="none").read_bytes(),
            }
        if self.slots and self.medium == "nand":
            images.make_board_volumes(
                self.images, systems["production"], systems["recovery"], self.data_bytes, self.flash_blocks
            )
        else:
            images.make_volumes(self.images, self.spare_blocks)
            images.make_overlay(self.image("overlay"))
        if self.has_card:
            images.make_card(self.image("mmcblk0"), "emmc" if self.emmc else self.medium)
        if self.slots and self.medium != "nand":
            gpt.write(self.image("mmcblk0"), self.medium)
            images.put_on_card(self.image("mmcblk0"), self.medium, systems)
        if self.emmc:
            images.filled(self.image("mmcblk0boot0"), images.BOOT_PARTITION_BYTES, "bl2")
        for name, size, _ in sysfs.MTD[self.layout] if self.raw else ():
            if name != "ubi":
                images.filled(self.image(f"mtd-{name}"), size, name)
        for index, disk in enumerate(self.disks):
            images.sparse(self.image(f"nvme{index}"), disk.size)
        for reader in self.readers:
            images.sparse(self.image(reader.name), reader.size)
        for medium in {"nand", self.medium}:
            tool = images.EnvTool(self.parts["envtools"], self.images, medium)
            tool.blank()
            for _ in range(2):
                tool.set(images.stock_env(medium, self.model))
        self.env_tool = images.EnvTool(self.parts["envtools"], self.images, self.medium)
        if self.env:
            self.env_tool.set(self.env)

    @property
    def has_card(self) -> bool:
        """Tell whether there is an SD card or an eMMC."""
        return self.medium != "nand" or self.emmc

    def image(self, name: str) -> Path:
        """Return the path of a disk image: nvme0, mmcblk0, overlay, or a UBI volume's name."""
        return self.images / f"{name}.img"

    # -- power ----------------------------------------------------------------------------------------------------

    def boot(self) -> Self:
        """Switch on. :class:`Hang` and :class:`Panic` say that the kernel finds no root; the console says why.

        With slots, :class:`Recovery` says that U-Boot started no system of ours, and ``chose`` what it started.
        """
        if self.pid is not None:
            raise BootError("the router is on already")
        self.finish_sysupgrade()
        env = self.env_tool.all()
        if env is None:
            env = images.stock_env(self.medium, self.model)
        try:
            kernel, cmdline = self.run_uboot(env) if self.slots else (self.kernel, env.get("bootargs", ""))
            self.attach()
            self.power_on(self.describe(env, kernel, cmdline))
        except BaseException as problem:
            self.off()
            if self.slots and isinstance(problem, Panic):
                self.crash()
            raise
        self.booted_before = True
        return self

    def finish_sysupgrade(self) -> None:
        """Do what a sysupgrade does from RAM, when one was begun: the image, and the settings in RAM's archive.

        The power goes behind the step ``flash_cut``, when that is set: see :func:`images.flash_system`.
        """
        stage2 = self.ram / "stage2"
        if not (stage2 / "max").exists():
            return
        image, settings = (stage2 / "image").read_bytes(), stage2 / "sysupgrade.tgz"
        kept = settings if settings.exists() else None
        if self.medium == "nand":
            steps = images.flash_system(self.images, image, kept, int((stage2 / "max").read_text()))
        else:
            steps = images.flash_card(self.images, self.medium, image, kept)
        for done in steps:
            if done == self.flash_cut:
                break
        for path in stage2.iterdir():
            path.unlink()

    def run_uboot(self, env: dict[str, str]) -> tuple[str, str]:
        """Let U-Boot choose; return the release and the command line of the kernel it starts."""
        self.console = []
        self.chose = slots.power_on(self.images, self.medium, self.env_tool, env, self.crashed)
        if self.chose.chose not in ("a", "b", "stock"):
            raise Recovery("\n".join([*self.chose.said, f"U-Boot started: {self.chose.chose}"]))
        self.squashfs.unlink(missing_ok=True)
        rootfs = self.root_of_firmware()
        if rootfs is not None:
            self.squashfs.write_bytes(rootfs)
        assert self.chose.fit, "a system was started"
        return self.chose.fit.kernel(), self.chose.bootargs

    def root_of_firmware(self) -> bytes | None:
        """Return the squashfs that the kernel finds as /dev/fit0: that of the plain name, whatever was started."""
        data = slots.flash_of(self.images, self.medium).content(slots.PRODUCTION[self.medium])
        try:
            return None if data is None else read(data).rootfs()
        except NoFit:
            return None

    @property
    def crashed(self) -> bool:
        """Tell whether there is a crash record in RAM."""
        return any((self.ram / "pstore").iterdir())

    def crash(self) -> None:
        """Leave in RAM what a kernel leaves there when it crashes; starts find it until somebody removes it."""
        (self.ram / "pstore/dmesg-ramoops-0").write_text(CRASH_RECORD)

    def settle(self, quiet: float = 3, starts: int = 10, patience: float = 120) -> list[str]:
        """Follow the router through restarts and return what each of them chose, as words.

        It ends when a system has stayed up for ``quiet`` seconds, when no system of ours was started, or after
        that many ``starts``. :class:`Timeout` when a router that is off does not get there in ``patience`` seconds.
        """
        seen: list[str] = []
        end = time.monotonic() + patience
        while len(seen) < starts:
            if self.power is None or self.stopped():
                if time.monotonic() > end:
                    raise Timeout(f"still restarting after {patience} s: {' '.join(seen)}")
                self.off()
                try:
                    self.boot()
                except Recovery:
                    return [*seen, self.chose.chose]
                except Panic:
                    seen.append(f"{self.chose.chose} (panic)")
                    continue
                seen.append(self.chose.chose)
            try:
                self.wait_stopped(quiet)
            except Timeout:
                return seen
        return seen

    def wait_for_services(self, seconds: float = 30) -> None:
        """Wait until the boot scripts and the health check have come to their end; :class:`Timeout` otherwise."""
        end = time.monotonic() + seconds
        while self.run("grep -q ^done /tmp/log/boot && ! ps w | grep -q '[b]ootplan.sh health'").code != 0:
            if time.monotonic() > end:
                raise Timeout(f"the health check is still busy: {self.run('tail -n 2 /tmp/bootplan-health.*/log').out}")
            time.sleep(0.1)

    def attach(self) -> None:
        """Attach a loop device to every image."""
        table = ubi.Table.read(self.images)
        rooms = dict.fromkeys(ubi.VOLUME_IMAGES, 0) | {ubi.VOLUME_IMAGES[one.number]: one.room for one in table.volumes}
        readers = {reader.name: reader for reader in self.readers}
        if self.squashfs.exists():
            self.loops["root"] = Loop(self.squashfs, read_only=True)
        for path in sorted(self.images.glob("*.img")):
            name = path.stem
            disk = self.disks[int(name[4:])] if name.startswith("nvme") else readers.get(name)
            limit = rooms.get(name, 0) if self.slots and self.medium == "nand" else 0
            self.loops[name] = Loop(
                path,
                sector=disk.logical if disk else 512,
                limit=limit,
                partitions=disk is not None or name == "mmcblk0",
            )
        if self.slots:
            self.free_loops = FreeLoops(FREE_LOOPS)

    def device(self, loop: str, name: str, **more: Any) -> dict[str, Any]:
        """Describe a loop device as the router's device ``name``."""
        one = self.loops[loop]
        return {"name": name, "number": one.number, "bytes": os.path.getsize(one.image), **more}

    def describe(self, env: dict[str, str], kernel: str, cmdline: str) -> dict[str, Any]:
        """Return everything :mod:`inside` must know, as a dictionary for JSON."""
        table = ubi.Table.read(self.images)
        data = table.find("rootfs_data")
        rw = "fitrw" if self.medium != "nand" else f"ubi0_{data.number}" if data else None
        kind = {"type": "SD" if self.medium == "sd" else "MMC", "card": "SC16G" if self.medium == "sd" else "8GTF4R"}
        mmc = [self.device("mmcblk0", "mmcblk0", partitions=True, **kind)] if self.has_card else []
        if self.emmc:
            mmc.append(self.device("mmcblk0boot0", "mmcblk0boot0", partitions=False, read_only=True, **kind))
        fit = [self.device("root", "fit0", read_only=True)] if "root" in self.loops else []
        if self.medium != "nand":
            fit.append(self.device("overlay", "fitrw"))
        broken_defaults = self.board_name == "bananapi,bpi-r4-2g5" and tree.uses_apk(self.release)
        compatible = [self.board_name, "mediatek,mt7988a"]
        if self.board_name not in ("bananapi,bpi-r4", "bananapi,bpi-r4-lite"):
            compatible.insert(1, "bananapi,bpi-r4")
        return {
            "stage": str(self.folder / "stage"),
            "hidden": str(self.parts["hidden"]),
            "init": str(self.parts["standins"] / "bin/init"),
            "servers": str(self.parts["standins"] / "bin/servers"),
            "refresh": str(HERE / "standin/refresh"),
            "partitions": str(HERE / "standin/partitions"),
            "rcS": str(HERE / "standin/rcS"),
            "tmp_size": self.tmp_size,
            "medium": self.medium,
            "cmdline": cmdline,
            "kernel": kernel,
            "slots": self.slots,
            "services": self.services,
            "up": self.up,
            "watchdog": self.watchdog,
            "ram": str(self.ram),
            "free_loops": self.free_loops.numbers if self.free_loops else [],
            "kernel_nvme": self.kernel_nvme,
            "furnish": not self.booted_before,
            "overlay_source": rw and f"/dev/{rw}",
            "fw_env": "" if broken_defaults else images.router_env_config(self.medium),
            "flash": self.describe_flash(table),
            "compatible": compatible,
            "model": "Banana Pi BPI-R4",
            "bootconf": env.get("bootconf", ""),
            "mmc": mmc,
            "fit": fit,
            "layout": self.layout,
            "mtd": [
                self.device(f"mtd-{name}", f"mtd{number}")
                for number, (name, _, _) in enumerate(sysfs.MTD[self.layout])
                if f"mtd-{name}" in self.loops
            ],
            "partition_config": self.partition_config,
            "memory_kib": self.memory_kib,
            "root": self.device("root", "root") if "root" in self.loops else None,
            "pc": self.pc,
            "readers": [asdict(one) | self.device(one.name, one.name) for one in self.readers],
            "nvme": [
                self.device(f"nvme{index}", f"nvme{index}n1", **asdict(disk)) for index, disk in enumerate(self.disks)
            ],
        }

    def describe_flash(self, table: ubi.Table) -> dict[str, Any]:
        """Return what :mod:`inside` must know of UBI: the table's device, and those that can hold volumes."""
        volumes = [{**asdict(one), "used": one.used} for one in table.volumes]
        holders = [
            self.device(name, f"ubi0_{number}")
            for number, name in enumerate(ubi.VOLUME_IMAGES)
            if name in self.loops and (name != "overlay" or self.medium == "nand")
        ]
        return {
            "blocks": table.blocks,
            "available": table.available,
            "kept_for_bad": ubi.BAD_BLOCKS,
            "volumes": volumes,
            "holders": holders,
            "table": self.device("ubi", "ubi"),
        }

    def power_on(self, described: dict[str, Any]) -> None:
        """Start process 1 in its namespaces and wait for its report."""
        spec = self.folder / "power-on.json"
        spec.write_text(json.dumps(described))
        program = [
            shutil.which("unshare", path=SEARCH_PATH) or "unshare",
            "--mount",
            "--pid",
            "--uts",
            "--net",
            "--fork",
            "--kill-child=SIGKILL",
            sys.executable,
            str(HERE / "inside.py"),
            str(spec),
        ]
        power = self.power = subprocess.Popen(
            program,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - one call of the kernel and nothing else
        )
        assert power.stdout and power.stderr
        line = read_line(power.stdout, BOOT_SECONDS)
        if not line:
            power.kill()
            raise BootError(power.communicate()[1].decode(errors="replace"))
        report = json.loads(line)
        self.console = report["console"]
        if report["outcome"] == "hang":
            raise Hang("\n".join(self.console))
        if report["outcome"] == "panic":
            raise Panic("\n".join(self.console))
        if report["outcome"] != "up":
            raise BootError("\n".join([*self.console, report["trouble"]]))
        self.pid = report["pid"]
        self.space = os.open(f"/proc/{self.pid}/ns/mnt", os.O_RDONLY)
        for stream in (power.stdout, power.stderr):
            stream.close()

    def stopped(self) -> str | None:
        """Return None while the router is on, else ``reboot``, ``poweroff`` or ``killed`` for what ended it."""
        if self.power is None or self.power.poll() is None:
            return None
        return {REBOOT: "reboot", POWER_OFF: "poweroff"}.get(self.power.returncode, "killed")

    def wait_stopped(self, timeout: float = 120) -> str | None:
        """Wait until the router has stopped by itself and return :meth:`stopped`; :class:`Timeout` otherwise.

        Before it stops it syncs, and that waits for everything the host still has to write.
        """
        if self.power is None:
            raise BootError("the router is off")
        try:
            self.power.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Timeout(f"the router is still on after {timeout} s") from None
        return self.stopped()

    def kill_all(self) -> None:
        """End every process in the router at once."""
        if self.power is None:
            return
        if self.pid is not None and self.power.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        try:
            self.power.wait(10)
        except subprocess.TimeoutExpired:
            self.power.kill()
            self.power.wait()
        for command in self.running:
            command.process.wait()
            if command.terminal >= 0:
                command.hang_up()
        self.running.clear()
        self.power, self.pid = None, None

    def release_devices(self) -> None:
        """Let the last reference to the mounts go, then the loop devices."""
        if self.space is not None:
            os.close(self.space)
            self.space = None
        failed = []
        for name, loop in list(self.loops.items()):
            try:
                loop.detach()
            except TimeoutError as problem:
                failed.append(str(problem))
            del self.loops[name]
        if self.free_loops:
            self.free_loops.let_go()
            self.free_loops = None
        if failed:
            raise BootError("; ".join(failed))

    def off(self) -> None:
        """Switch off after everything was written; no error when it is off."""
        self.kill_all()
        self.release_devices()

    def reboot(self) -> Self:
        """Sync, switch off, boot."""
        self.sync()
        self.off()
        return self.boot()

    def power_cut(self) -> None:
        """Take the power away: every process ends, and only what the disks have at that moment stays.

        The images are copied before the kernel writes back what its caches hold, and the copies become the disks.
        """
        self.kill_all()
        for path in self.ram.glob("*/*"):
            path.unlink()
        for name in self.loops:
            if name != "root":
                subprocess.run(["cp", "--sparse=always", self.image(name), f"{self.image(name)}.cut"], check=True)
        try:
            self.release_devices()
        finally:
            for path in self.images.glob("*.img.cut"):
                path.rename(path.with_suffix(""))

    # -- commands -------------------------------------------------------------------------------------------------

    def start(
        self,
        command: Command,
        *,
        env: Mapping[str, str] | None = None,
        input: Input | None = None,
        terminal: bool = False,
        under: Sequence[str] = (),
        keep: Sequence[int] = (),
    ) -> Running:
        """Start a command (text for the router's shell, or a list) and return a :class:`Running`.

        ``terminal`` gives it a terminal of its own instead of files; ``input`` is its standard input otherwise.
        ``under`` are the words of a program of the host that runs all this, ``keep`` the descriptors it gets.
        """
        if self.pid is None or self.stopped():
            raise BootError(f"the router is off ({self.stopped() or 'never switched on'})")
        self.command_number += 1
        words = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
        variables = {"PATH": ROUTER_PATH, "HOME": "/root", "TERM": "linux", "USER": "root", **(env or {})}
        reading, writing = os.pipe()
        master, streams, files = self.streams(input, terminal)
        enter = str(self.parts["standins"] / "bin/enter")
        line = [*under, enter, str(self.pid), str(writing), str(int(terminal)), *words]
        try:
            process = subprocess.Popen(
                line,
                env=variables,
                pass_fds=[writing, *keep],
                start_new_session=True,
                cwd="/",
                stdin=streams[0],
                stdout=streams[1],
                stderr=streams[2],
            )
        finally:
            os.close(writing)
            for stream in set(streams):
                os.close(stream)
        with os.fdopen(reading) as report:
            pid = report.readline().strip()
        if not pid:
            raise BootError(f"the router could not be entered: {process.wait()}")
        running = Running(process, int(pid), files, master)
        self.running.append(running)
        return running

    def streams(
        self, input: Input | None, terminal: bool
    ) -> tuple[int, tuple[int, int, int], tuple[str | None, str | None]]:
        """Return (terminal or -1, three descriptors, names of the output files) for a command."""
        if terminal:
            master, slave = pty.openpty()
            return master, (slave, slave, slave), (None, None)
        base = self.folder / "output" / str(self.command_number)
        files = (f"{base}.out", f"{base}.err")
        source = "/dev/null"
        if input is not None:
            source = f"{base}.in"
            Path(source).write_bytes(input if isinstance(input, bytes) else input.encode())
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        out, err = (os.open(name, flags, 0o600) for name in files)
        return -1, (os.open(source, os.O_RDONLY), out, err), files

    def run(
        self, command: Command, timeout: float = 60, *, env: Mapping[str, str] | None = None, input: Input | None = None
    ) -> Result:
        """Run a command to its end and return its :class:`Result`; :class:`Timeout` after ``timeout`` seconds."""
        running = self.start(command, env=env, input=input)
        try:
            return running.wait(timeout)
        finally:
            self.running.remove(running)

    def mounts(self) -> list[tuple[str, str, str, str]]:
        """Return the router's mounts as (source, target, type, options)."""
        with open(f"/proc/{self.pid}/mounts") as table:
            words = [line.split() for line in table]
        return [(source, target, kind, options) for source, target, kind, options, *_ in words]

    # -- disks ----------------------------------------------------------------------------------------------------

    def sync(self) -> None:
        """Write everything the router has written to its images; nothing to do when it is off."""
        if self.pid is not None and self.stopped() is None:
            self.run("sync", timeout=120).ok()
        for name, loop in self.loops.items():
            if name != "root":
                loop.flush()

    def digests(self) -> dict[str, str]:
        """Return {image: sha256} of every disk image, after a sync."""
        self.sync()
        return {path.stem: images.digest(path) for path in sorted(self.images.glob("*.img"))}

    def fw_printenv(self) -> dict[str, str] | None:
        """Return the U-Boot environment on the images, read by the real tool on the host; None when both are bad."""
        self.sync()
        return self.env_tool.all()

    def environment(self) -> dict[str, str]:
        """Return the same; :class:`~board.images.EnvError` when both are bad."""
        self.sync()
        return self.env_tool.whole()

    def environments(self) -> list[dict[str, str] | None]:
        """Return what each copy of it says by itself; None for a bad one."""
        self.sync()
        return self.env_tool.copies()


MakeRouter = Callable[..., Router]
"""What the fixture ``router`` gives; its words are those of :class:`Router`."""


def die_with_parent() -> None:
    """Ask the kernel to end this process when the one that started it ends."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def read_line(stream: IO[bytes], seconds: float) -> bytes:
    """Return one line from a pipe, or what came until it closed or the time was up."""
    line = b""
    end = time.monotonic() + seconds
    descriptor = stream.fileno()
    fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_NONBLOCK)
    while not line.endswith(b"\n"):
        if not select.select([descriptor], [], [], max(0, end - time.monotonic()))[0]:
            break
        piece = os.read(descriptor, 65536)
        if not piece:
            break
        line += piece
    return line
