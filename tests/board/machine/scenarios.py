"""What the table of the bench shows of the whole board in QEMU."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..cuts.journal import Cut, History, replay
from ..router import BootError, Disk, Panic
from ..running import Timeout
from ..scenario import Outcome, scenario
from ..scripts import PARTITIONS, SERIAL, Bench, compiled, kind_of_router, plan
from . import board, card, console, loaders, slots, upgrades  # noqa: F401  # their rows come with them
from .board import Machine

UP = 100
# Digests of these change while the system runs from the boot medium, whatever the script does.
LIVE = ("rootfs_data", "mmcblk0")
CUTS_OF_A_RUN = 8
F2FS = tuple(line.replace("ext4", "f2fs") for line in PARTITIONS)


def build(report: Callable[[str], None]) -> None:
    """Build what these scenarios need; ``report`` gets a line for each part."""
    board.build(report)


def check(condition: object, *texts: object) -> None:
    """Raise :class:`AssertionError` with the texts when the condition does not hold."""
    if not condition:
        raise AssertionError("\n".join(map(str, texts)))


def root_of(machine: Machine) -> tuple[str, str]:
    """Return (source, type) of what the guest's kernel has mounted at /, the last one that counts."""
    return [(source, kind) for source, target, kind, _ in machine.mounts() if target == "/"][-1]


def source_of(machine: Machine, target: str) -> str:
    """Return what the guest's kernel has mounted at a place."""
    return [source for source, place, _, _ in machine.mounts() if place == target][-1]


def status_of(bench: Bench) -> tuple[int, dict[str, str]]:
    """Return the exit code of ``status`` and its lines as a dictionary; of a name the last line counts."""
    result = bench.sh("status")
    return result.code, dict(line.split(None, 1) for line in result.out.splitlines() if " " in line)


def as_planned(machine: Machine, bench: Bench, method: str) -> None:
    """Check that ``status`` and the kernel's own mounts agree that the plan is what runs."""
    code, lines = status_of(bench)
    check(code == 0 and lines["as-planned"] == "yes", lines)
    check(source_of(machine, "/srv").startswith("/dev/nvme0n1p"), machine.mounts())
    source, kind = root_of(machine)
    if method == "extroot-overlay":
        check(kind == "overlay" and source_of(machine, "/overlay") == "/dev/nvme0n1p1", machine.mounts())
    elif method == "extroot-pivot":
        check(source == "/dev/nvme0n1p1" and kind in ("ext4", "f2fs"), machine.mounts())
    elif method == "cmdline":
        number = (
            machine.run(
                "cat /sys/class/block/nvme0n1p1/dev; ls -di /; awk '$5 == \"/\" { print $3 }' /proc/self/mountinfo"
            )
            .ok()
            .out.split()
        )
        check(kind == "ext4" and number[0] == number[-1], number, machine.mounts())
    else:
        check(kind == "overlay" and not source_of(machine, "/overlay").startswith("/dev/nvme"), machine.mounts())


@contextlib.contextmanager
def installed(
    folder: Path, method: str, medium: str, partitions: Sequence[str] | None = None, **more: Any
) -> Iterator[tuple[Machine, Bench]]:
    """Give a running machine with its :class:`Bench` after ``install --apply``, not restarted yet."""
    with Machine(folder, medium=medium, **{**kind_of_router(method), **more}) as machine:
        machine.boot(UP)
        check(machine.chose == ["production"], machine.chose, machine.console)
        bench = Bench(machine, plan(method, medium, partitions=partitions))
        bench.sh("install --apply").ok()
        yield machine, bench


def unchanged(machine: Machine, before: dict[str, str]) -> None:
    """Check that all images but those that live have the digests they had before."""
    after = machine.digests()
    changed = [name for name in before if before[name] != after[name] and name not in LIVE]
    check(not changed, f"changed: {' '.join(changed)}")


def nothing_to_do(bench: Bench, words: str) -> None:
    """Check that an action that is done already says so."""
    result = bench.sh(words).ok()
    check("nothing was changed" in result.out, result)


def install(folder: Path, method: str, medium: str, **more: Any) -> Outcome:
    """Install, again, restart, and look: status, the kernel's mounts, U-Boot's choice. The same again changes nothing.

    Before the restart that is seen on the images: the looks between mount the new file systems and write nothing.
    """
    with installed(folder, method, medium, **more) as (machine, bench):
        before = machine.digests()
        nothing_to_do(bench, "install --apply")
        unchanged(machine, before)
        bench.restart()
        check(machine.chose == ["production"] * 2, machine.chose)
        as_planned(machine, bench, method)
        nothing_to_do(bench, f"install --apply --wipe {SERIAL}")
        as_planned(machine, bench, method)
    return Outcome()


def raises(error: type[Exception], function: Callable[..., object], *operands: Any) -> None:
    """Check that a call ends with this error."""
    try:
        function(*operands)
    except error:
        return
    check(False, f"no {error.__name__}")


@scenario(tier=3, title="the bench itself: commands, files, time limits, restart, power cut")
def board_itself(folder: Path) -> Outcome:
    """Exit codes, both outputs, input, time limits, files; what is there after a restart, and that off is off."""
    noise = b"\0\xff" * 100000
    with Machine(folder) as machine:
        machine.boot(UP)
        result = machine.run("echo out; echo err >&2; exit 3")
        check((result.code, result.out, result.err) == (3, "out\n", "err\n"), result)
        check(machine.run("kill -9 $$").code == 137)
        check(machine.run("cat", input=noise).ok().out == noise.decode(errors="replace"))
        check(len(machine.run("seq 100000").ok().out.split()) == 100000)
        raises(Timeout, machine.run, "echo before; sleep 100", 2)
        check(machine.run(["printf", "%s", "a b"]).out == "a b")
        machine.put("/etc/a/file", "text\n", 0o600)
        check(machine.read("/etc/a/file") == "text\n" and not machine.exists("/etc/a/other"))
        machine.reboot(UP)
        check(machine.read("/etc/a/file") == "text\n" and machine.chose == ["production"] * 2, machine.chose)
        check(machine.printed_env()["bootcmd"] == machine.run("fw_printenv -n bootcmd").out.rstrip("\n"))
        machine.power_cut()
        raises(BootError, machine.run, "true")
    return Outcome()


@scenario(tier=3, title="install extroot-overlay, nand: restart, status, mounts")
def board_nand_overlay(folder: Path) -> Outcome:
    """extroot-overlay on a board that boots from SPI-NAND."""
    return install(folder, "extroot-overlay", "nand")


@scenario(tier=3, title="install extroot-pivot, nand, disk with 4096-byte blocks")
def board_nand_pivot(folder: Path) -> Outcome:
    """extroot-pivot, with an NVMe disk that has 4096 bytes in a logical block."""
    return install(folder, "extroot-pivot", "nand", disks=(Disk(serial=SERIAL, logical=4096),))


@scenario(tier=3, title="install extroot-overlay, nand, f2fs")
def board_f2fs_overlay(folder: Path) -> Outcome:
    """The overlay and the data on f2fs, which the kernel of the private root cannot mount."""
    return install(folder, "extroot-overlay", "nand", partitions=F2FS)


@scenario(tier=3, title="install extroot-pivot, nand, f2fs", extra=True)
def board_f2fs_pivot(folder: Path) -> Outcome:
    """The whole root on f2fs."""
    return install(folder, "extroot-pivot", "nand", partitions=F2FS)


@scenario(tier=3, title="somebody's files on f2fs: refused, no image changes by a byte")
def board_f2fs_files(folder: Path) -> Outcome:
    """Kind and label are right; what is in the file system is no system that the script put there."""
    with installed(folder, "extroot-overlay", "nand", partitions=F2FS) as (machine, bench):
        machine.run("mount -t f2fs /dev/nvme0n1p1 /mnt && rm -r /mnt/.bootplan && umount /mnt").ok()
        before = machine.digests()
        result = bench.sh("install --apply")
        check((result.code, "files that this script did not put there" in result.out) == (3, True), result)
        unchanged(machine, before)
    return Outcome()


@scenario(tier=3, title="install internal, nand", extra=True)
def board_nand_internal(folder: Path) -> Outcome:
    """The root stays where it is, only data goes to the disk."""
    return install(folder, "internal", "nand")


@scenario(tier=3, title="install extroot-overlay, emmc", extra=True)
def board_emmc_overlay(folder: Path) -> Outcome:
    """extroot-overlay on a board that boots from eMMC."""
    return install(folder, "extroot-overlay", "emmc")


@scenario(tier=3, title="install extroot-pivot, sd", extra=True)
def board_sd_pivot(folder: Path) -> Outcome:
    """extroot-pivot on a board that boots from the SD card."""
    return install(folder, "extroot-pivot", "sd")


@scenario(tier=3, title="install cmdline, nand: the kernel itself mounts root=PARTUUID=")
def board_nand_cmdline(folder: Path) -> Outcome:
    """A firmware with NVMe built in: U-Boot passes root=PARTUUID=, the kernel mounts the partition."""
    return install(folder, "cmdline", "nand")


@scenario(tier=3, title="install cmdline, emmc: the kernel itself mounts root=PARTUUID=", extra=True)
def board_emmc_cmdline(folder: Path) -> Outcome:
    """The same with the environment on the eMMC."""
    return install(folder, "cmdline", "emmc")


@scenario(tier=3, title="a refused install writes nothing: digests of every image")
def board_refused(folder: Path) -> Outcome:
    """A plan for another disk, and one for another medium: exit code 3 or 2, and no medium changes by a byte."""
    with Machine(folder, medium="nand") as machine:
        machine.boot(UP)
        machine.put("/tmp/disk.sh", compiled(plan(disk="serial: NOT-THIS-ONE")))
        machine.put("/tmp/medium.sh", compiled(plan(medium="emmc")))
        before = machine.digests()
        for name in ("disk", "medium"):
            result = machine.run(f"sh /tmp/{name}.sh install --apply", 120)
            check(result.code not in (0, 1), result)
        unchanged(machine, before)
    return Outcome(note=f"{len(before)} images, the live ones aside")


@scenario(tier=3, title="one copy of the environment damaged: boots, the script works", extra=True)
def board_one_env_copy(folder: Path) -> Outcome:
    """Each of the two copies in turn: U-Boot takes the other one, and so does the script."""
    with Machine(folder, medium="nand") as machine:
        for number in (1, 2):
            machine.environment.damage(number)
            machine.boot(UP)
            check(machine.chose == ["production"], machine.console)
            bench = Bench(machine, plan())
            bench.sh("check").ok()
            # writing the environment as it is repairs the damaged copy, as any write does
            machine.run("fw_setenv bench 1 && fw_setenv bench").ok()
            machine.power_cut()
    return Outcome()


@scenario(tier=3, title="both copies of the environment damaged: first boot, then the script works")
def board_no_env_copy(folder: Path) -> Outcome:
    """U-Boot takes its compiled-in environment, saves it in both copies, and starts production."""
    with Machine(folder, medium="nand") as machine:
        machine.environment.damage(1)
        machine.environment.damage(2)
        check(machine.environment.all() is None)
        machine.boot(UP)
        check("bad CRC" in machine.console or "using default environment" in machine.console, machine.console)
        check(machine.chose[-1] == "production", machine.chose, machine.console)
        check("_firstboot" not in (machine.fw_printenv() or {"_firstboot": ""}), machine.fw_printenv())
        bench = Bench(machine, plan())
        result = bench.sh("check")
        return Outcome(note=f"check ends with {result.code}")


@scenario(tier=3, title="NVMe gone after extroot-overlay: the internal overlay boots")
def board_nvme_gone(folder: Path) -> Outcome:
    """The disk is taken out: the old system starts from the internal overlay after delay_root.

    Back in, it is the root.
    """
    with installed(folder, "extroot-overlay", "nand") as (machine, bench):
        machine.off()
        disks, machine.disks = machine.disks, []
        gone = machine.image("nvme0").rename(machine.folder / "nvme0.gone")
        machine.boot(UP)
        check(source_of(machine, "/overlay") == "ubi0:rootfs_data", machine.mounts())
        machine.put(bench.name, bench.script)
        code, lines = status_of(bench)
        check(code == 1 and lines["as-planned"] == "no", lines)
        machine.off()
        machine.disks = disks
        gone.rename(machine.image("nvme0"))
        machine.boot(UP)
        machine.put(bench.name, bench.script)
        as_planned(machine, bench, "extroot-overlay")
    return Outcome()


@scenario(tier=3, title="NVMe gone after cmdline: the kernel gives up, U-Boot starts recovery")
def board_cmdline_gone(folder: Path) -> Outcome:
    """The kernel waits for a limited time, panics, resets; U-Boot finds the record of it and starts recovery."""
    with installed(folder, "cmdline", "nand") as (machine, _):
        machine.off()
        machine.disks = []
        machine.image("nvme0").rename(machine.folder / "nvme0.gone")
        try:
            machine.boot(UP)
        except Panic:
            machine.wait_up(UP)
        else:
            check(False, "no panic", machine.console)
        check(machine.chose == ["production", "recovery"], machine.chose, machine.console)
        check(root_of(machine)[1] == "tmpfs", machine.mounts())
        check(machine.run("ls /sys/fs/pstore").ok().out.strip(), "no crash record")
    return Outcome()


@scenario(tier=3, title="a crash of the running system: recovery, and back after the record is removed")
def board_crash(folder: Path) -> Outcome:
    """A panic of the guest's kernel leaves a record in RAM; U-Boot finds it and starts recovery until it is removed."""
    with Machine(folder, medium="nand") as machine:
        machine.boot(UP)
        machine.start("echo c > /proc/sysrq-trigger")
        try:
            machine.wait_up(UP)
        except Panic:
            machine.wait_up(UP)
        check(machine.chose == ["production", "recovery"], machine.chose, machine.console)
        check(root_of(machine)[1] == "tmpfs", machine.mounts())
        machine.run("rm /sys/fs/pstore/*").ok()
        machine.reboot(UP)
        check(machine.chose == ["production", "recovery", "production"], machine.chose)
    return Outcome()


def after_cut(folder: Path, journal: Path, cut: Cut, method: str, medium: str) -> str:
    """Boot a board from what a cut left, check that it is a whole old or new system, finish the install.

    Return which of the two it was.
    """
    history = History(journal)
    with Machine(folder, medium=medium, **kind_of_router(method)) as machine:
        replay(history, cut, folder / "cut")
        machine.adopt(folder / "cut")
        machine.boot(UP)
        bench = Bench(machine, plan(method, medium))
        code, lines = status_of(bench)
        planned = code == 0 and lines["as-planned"] == "yes"
        if not planned:
            bench.sh("install --apply").ok()
            bench.restart()
        as_planned(machine, bench, method)
        return "new" if planned else "old"


def cuts_of_a_run(folder: Path, method: str, medium: str) -> Outcome:
    """Record an install, cut at moments spread over it, and finish it after each.

    At every second cut the NVMe disk also loses what it was not told to flush.
    """
    journal = folder / "journal"
    with Machine(folder / "first", medium=medium, **kind_of_router(method)) as machine:
        with machine.recording(journal) as server:
            machine.boot(UP)
            bench = Bench(machine, plan(method, medium))
            server.mark("begin")
            bench.sh("install --apply").ok()
            server.mark("end")
        first, last = (mark.step for mark in History(journal).marks)
        cuts = [
            Cut(first + (last - first) * number // CUTS_OF_A_RUN, ("nvme0",) if number % 2 else ())
            for number in range(1, CUTS_OF_A_RUN + 1)
        ]
        bad, found = 0, []
        for cut in cuts:
            try:
                found.append(after_cut(folder / f"cut-{cut.step}", journal, cut, method, medium))
            except Exception as problem:  # a bad state, whatever it is; the others are still looked at
                bad += 1
                found.append(f"{cut}: {problem!r}"[:200])
        return Outcome(cuts=len(cuts), bad=bad, note=f"of {last - first} writes; {', '.join(found)}")


@scenario(tier=3, title="power cuts during install extroot-overlay, nand: sampled, finished after each", extra=True)
def board_cuts_overlay(folder: Path) -> Outcome:
    """What the judge of tier 2 sees at every write, on the whole board at some."""
    return cuts_of_a_run(folder, "extroot-overlay", "nand")


@scenario(tier=3, title="power cuts during install cmdline, nand: sampled, finished after each", extra=True)
def board_cuts_cmdline(folder: Path) -> Outcome:
    """The same with the environment in UBI volumes and the kernel's own root."""
    return cuts_of_a_run(folder, "cmdline", "nand")
