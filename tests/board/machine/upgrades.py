"""Upgrades without slots on the whole board: sysupgrade's flash on UBI, the first start, and the root on the disk."""

from pathlib import Path
from typing import Any

from ..images import GiB, MiB
from ..router import Disk
from ..scenario import Outcome, scenario
from ..scripts import Bench, plan
from .board import Machine

UP = 120
OLD, NEW = "25.12.5", "25.12.6"
KERNEL = "6.12.999"
KIND: dict[str, Any] = {"disks": (Disk(size=GiB),), "data_bytes": 24 * MiB}
DONE = "grep -qx 'state done' /etc/bootplan/upgrade"


def check(condition: object, *texts: object) -> None:
    """Raise :class:`AssertionError` with the texts when the condition does not hold."""
    if not condition:
        raise AssertionError("\n".join(map(str, texts)))


def status_of(bench: Bench) -> dict[str, str]:
    """Return the lines of ``status`` as a dictionary."""
    bench.router.put(bench.name, bench.script)
    return dict(line.split(None, 1) for line in bench.sh("status").out.splitlines() if " " in line)


def kernels(machine: Machine) -> int:
    """Return how many kernels were started."""
    return machine.console.count("Kernel command line:")


def wait_for_restarts(machine: Machine, wanted: int) -> None:
    """Wait until so many kernels were started in all, and the last of these is up."""
    while kernels(machine) < wanted or machine.ready_at < machine.console.rfind("Kernel command line:"):
        machine.wait_up(UP)


def upgraded(folder: Path, method: str) -> Outcome:
    """Install, upgrade, follow both starts behind it, and look where root is."""
    with Machine(folder, medium="nand", **KIND) as machine:
        machine.boot(UP)
        bench = Bench(machine, plan(method, "nand", more="upgrade: {backup: /srv/backup, keep: [/etc/wireguard]}\n"))
        bench.sh("install --apply", 200).ok()
        bench.restart()
        machine.put("/etc/wireguard/key", "secret\n", 0o600)
        machine.put("/root/notes", "mine\n")
        machine.put("/etc/own", "own\n")
        machine.run("mkdir -p /srv/backup && sync").ok()
        machine.put("/tmp/new-squashfs-sysupgrade.itb", machine.firmware(NEW, kernel=KERNEL).read_bytes())
        image = "/tmp/new-squashfs-sysupgrade.itb"
        digest = machine.run(f"sha256sum {image}").ok().out.split()[0]
        said = bench.sh(f"upgrade {image} --sha256 {digest}", 200).ok().out
        check("none made" in said, said)
        started = kernels(machine)
        machine.start(f"sh {bench.name} upgrade {image} --sha256 {digest} --apply")
        wait_for_restarts(machine, started + 2)
        check("sysupgrade: restarting" in machine.console, machine.console)
        machine.run(f"second=0; while [ $second -lt 60 ] && ! {DONE}; do second=$((second + 1)); sleep 1; done", 90)
        told = status_of(bench)
        check(told["as-planned"] == "yes" and told["release"] == NEW, told, machine.run("cat /tmp/bootplan.log").out)
        check(told["upgraded"].startswith(f"from {OLD} to {NEW}"), told)
        check([told[f"upgrade-{key}"] for key in ("version", "env", "root", "packages")] == ["ok"] * 4, told)
        check(machine.run("uname -r").ok().out.strip() == KERNEL, machine.console)
        check(machine.run("cat /proc/modules").ok().out.startswith("nvme"), "the module is not that of the new kernel")
        check(machine.run("ls /lib/modules").ok().out.split() == [KERNEL], "modules of another kernel")
        place = [source for source, target, _, _ in machine.mounts() if target in ("/overlay", "/")][-1]
        check(
            "/dev/nvme0n1p1" in {source for source, target, _, _ in machine.mounts() if target in ("/", "/overlay")},
            machine.mounts(),
            place,
        )
        check(machine.read("/etc/wireguard/key") == "secret\n" and machine.read("/root/notes") == "mine\n")
        check(not machine.exists("/etc/own"))
        check(kernels(machine) == started + 2, machine.console)
        said = bench.sh("install --apply", 200).ok().out
        check("nothing was changed" in said, said)
        return Outcome(
            note=f"{started + 2} starts: {OLD}, twice; "
            f"{NEW} with kernel {KERNEL} on the boot medium, then with root on the disk"
        )


@scenario(tier=3, title="upgrade without slots, extroot-overlay, nand: both starts behind it")
def board_upgrade_overlay(folder: Path) -> Outcome:
    """The overlay on the disk belongs to the new squashfs, whose UUID fstools compares."""
    return upgraded(folder, "extroot-overlay")


@scenario(tier=3, title="upgrade without slots, extroot-pivot, nand: both starts behind it", extra=True)
def board_upgrade_pivot(folder: Path) -> Outcome:
    """The whole root on the disk is that of the new squashfs, with the settings."""
    return upgraded(folder, "extroot-pivot")
