"""What the table of the bench shows of slots on the whole board: trials that are kept, trials that fail."""

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..cuts.journal import Cut, History, replay
from ..router import Disk
from ..running import Result
from ..scenario import Outcome, scenario
from ..scripts import SERIAL, Bench
from . import media
from .board import Machine

UP = 100
DISK = (Disk(serial=SERIAL),)
MiB = 1 << 20
ROOTS = """\
      - {name: root-a, size: 256MiB, filesystem: ext4}
      - {name: root-b, size: 256MiB, filesystem: ext4}
      - {name: data, size: rest, filesystem: ext4, mount: /srv}
"""
# For each case: root method, the word for `slots.kernel`, room on SPI-NAND and on a card, and what the board has.
BUILTIN: dict[str, Any] = {"kernel_nvme": "builtin", "packages": ("block-mount", "sfdisk")}
CASES: dict[str, tuple[str, str, str | None, dict[str, Any]]] = {
    "pairs": ("extroot-overlay", "own", "{firmware: 10MiB, data: 8MiB}", {}),
    "own": ("cmdline", "own", "{firmware: 10MiB}", BUILTIN),
    "shared": ("cmdline", "shared", None, BUILTIN),
}
DATA_BYTES = 8 * MiB
NOBODY = "11111111-1111-4111-8111-111111111111"  # a PARTUUID that no partition has
# The times of the plan, as the page has them, and the seconds that they are here: no rule lets a plan hurry so.
WAITS, HURRY = " 90 150\n", " 20 35\n"


def slots_plan(case: str, medium: str, *, tries: int = 2, on_crash: str = "recovery") -> str:
    """Return the text of a plan with slots; its names are those of :data:`CASES`."""
    method, kernel, room, _ = CASES[case]
    root = "{method: extroot-overlay}" if method == "extroot-overlay" else "{method: cmdline, rootwait: 3, panic: 2}"
    return (
        "version: 1\nname: bench\nboard: {model: bpi-r4}\n"
        f'firmware: {{release: "25.12", kernel: {"stock" if method == "extroot-overlay" else "nvme-builtin"}}}\n'
        f"boot: {{medium: {medium}}}\nmedia:\n  ssd:\n    type: nvme\n    serial: {SERIAL}\n    partitions:\n{ROOTS}"
        f"root: {root}\nslots:\n  a: {{root: root-a}}\n  b: {{root: root-b}}\n  kernel: {kernel}\n  tries: {tries}\n"
        + (f"  room: {room}\n" if room else "")
        + f"  on_crash: {on_crash}\n"
        "  confirm: {within: 90s, deadman: 150s, checks: [root, lan, wan, dns, ssh]}\n"
        "upgrade: {keep: [/etc/wireguard]}\n"
    )


def check(condition: object, *texts: object) -> None:
    """Raise :class:`AssertionError` with the texts when the condition does not hold."""
    if not condition:
        raise AssertionError("\n".join(map(str, texts)))


class Slots:
    """A board with slots: the machine, its script, and the words for what happens to them."""

    def __init__(self, machine: Machine, case: str, medium: str, **more: Any) -> None:
        """``machine`` is on."""
        self.machine = machine
        self.bench = Bench(machine, slots_plan(case, medium, **more))
        check(self.bench.script.count(WAITS) == 1, "the page does not say how long a trial may take")
        self.bench.script = self.bench.script.replace(WAITS, HURRY)
        machine.put(self.bench.name, self.bench.script)

    def status(self) -> Any:
        """Return what ``status --json`` tells."""
        self.machine.put(self.bench.name, self.bench.script)
        return json.loads(self.bench.sh("status --json").out)

    def runs(self, slot: str, release: str = "25.12.5") -> Any:
        """Check that this slot runs, is good and as planned, with this release; return the status."""
        told = self.status()
        check((told["slot"], told["good"], told["as_planned"]) == (slot, slot, True), told)
        check("trial" not in told and told["release"] == release, told)
        command = self.machine.read("/proc/cmdline").split()
        check(f"bootplan.slot={slot}" in command, command)
        return told

    def install(self) -> None:
        """Install the plan and restart: slot a runs, and installing again changes nothing.

        New partitions on the card that runs are known after a restart only: then the first install ends there.
        """
        said = self.bench.sh("install --apply", 200).ok().out
        if "Restart the router, then the same command again" in said:
            self.bench.restart()
            self.bench.sh("install --apply", 200).ok()
        self.bench.restart()
        self.runs("a")
        check("nothing was changed" in self.bench.sh("install --apply").ok().out)

    def upgrade(self, release: str, faults: Iterable[str] = ()) -> Result:
        """Write an image into the idle slot; its trial begins with the next start."""
        image = self.machine.firmware(release, faults).read_bytes()
        self.machine.put("/tmp/image.itb", image)
        digest = self.machine.run("sha256sum /tmp/image.itb").ok().out.split()[0]
        return self.bench.sh(f"upgrade /tmp/image.itb --sha256 {digest} --apply", 300).ok()

    def try_it(self, good: str, timeout: float = UP) -> dict[str, str]:
        """Restart into the trial and wait for its end; ``good`` must be the good slot then. Return the environment."""
        self.machine.start("reboot")
        return self.machine.settle(lambda env: "bp_try" not in env and env["bp_good"] == good, timeout)

    def started(self, since: int = 0) -> list[str]:
        """Return the slots that kernels were started with since a place of the console: ``b*`` is b on trial."""
        found = []
        for line in self.machine.console[since:].splitlines():
            if "Kernel command line:" in line:
                words = line.split()
                slot = [word.partition("=")[2] for word in words if word.startswith("bootplan.slot=")]
                found.append((slot[0] if slot else "stock") + ("*" if "bootplan.trial=1" in words else ""))
        return found


@contextlib.contextmanager
def board_with(
    folder: Path, case: str, medium: str, *, installed: bool = True, machine: dict[str, Any] | None = None, **more: Any
) -> Iterator[Slots]:
    """Give a running board with the slots of a case, installed unless said otherwise."""
    kind = {"disks": DISK, "data_bytes": DATA_BYTES, **CASES[case][3], **(machine or {})}
    with Machine(folder, medium=medium, **kind) as board:
        board.boot(UP)
        slots = Slots(board, case, medium, **more)
        if installed:
            slots.install()
        yield slots


def kept(slots: Slots) -> None:
    """From install to two upgrades that are kept, and back to the one before; what was set stays set."""
    slots.machine.put("/etc/wireguard/key", "secret\n", 0o600)
    slots.machine.run("uci set system.@system[0].hostname=mine && uci commit system && sync").ok()
    for good, release in (("b", "25.12.6"), ("a", "25.12.7")):
        slots.upgrade(release)
        slots.try_it(good)
        slots.runs(good, release)
        check(slots.machine.read("/etc/wireguard/key") == "secret\n")
        check(slots.machine.run("uci get system.@system[0].hostname").ok().out == "mine\n")
    # a rollback without a trial tries the other slot as it is
    slots.bench.sh("rollback --apply").ok()
    slots.try_it("b")
    slots.runs("b", "25.12.6")


@scenario(tier=3, title="slots, nand, pairs: install, two upgrades and a rollback confirm themselves; back to stock")
def board_slots_pairs(folder: Path) -> Outcome:
    """Each time the trial's own health check keeps it; at the end `rollback --stock` leaves the stock chain."""
    with board_with(folder, "pairs", "nand") as slots:
        kept(slots)
        tried = slots.started()
        slots.bench.sh("rollback --stock --apply").ok()
        slots.machine.reboot(UP)
        check(slots.started()[-1] == "stock", slots.started())
        left = [name for name in slots.machine.printed_env() if name.startswith("bp_")]
        check(not left, left)
        return Outcome(note="kernels: " + " ".join(tried))


def falls_back(
    slots: Slots,
    release: str,
    faults: Sequence[str],
    why: str,
    *,
    tries: int,
    spoil: str | None = None,
    timeout: float = 200,
) -> str:
    """A trial of slot b that fails: slot a is back by itself after so many tries, and `status` tells why.

    ``spoil`` is a command for the router between upgrade and restart. Return the kernels that were started.
    """
    machine = slots.machine
    slots.upgrade(release, faults)
    if spoil:
        machine.run(spoil).ok()
    since = len(machine.console)
    slots.try_it("a", timeout)
    started = slots.started(since)
    check(started == ["b*"] * tries + ["a"], started, machine.console[since:])
    told = slots.runs("a")
    check(f"slot b;why {why}" in told["last_trial"], told["last_trial"], faults)
    check(not machine.run("ls /sys/fs/pstore").ok().out, "a crash record is left")
    machine.put(slots.bench.name, slots.bench.script)
    return f"{' '.join(faults) or (spoil or '').split()[0]}: {' '.join(started)}"


@scenario(tier=3, title="slots, nand, pairs: a trial that panics and one that hangs, twice each; the good slot is back")
def board_slots_crash(folder: Path) -> Outcome:
    """A panic leaves a record that the good slot archives; a kernel that stands still is ended by the watchdog."""
    with board_with(folder, "pairs", "nand") as slots:
        found = [falls_back(slots, "25.12.6", ("panic",), "a crash (", tries=2)]
        kept_records = slots.machine.run("ls /etc/bootplan/crash").ok().out
        check("dmesg-ramoops" in kept_records, kept_records)
        found.append(falls_back(slots, "25.12.6", ("hang",), "it never came far enough to be checked", tries=2))
        slots.machine.reboot(UP)
        slots.runs("a")
        return Outcome(note=", ".join(found))


@scenario(tier=3, title="slots, nand, pairs: no network, no root, no end of the boot: one try each; status tells why")
def board_slots_unfit(folder: Path) -> Outcome:
    """A firmware whose WAN stays down, an overlay that is gone, and a service that never ends: dead-man."""
    with board_with(folder, "pairs", "nand", tries=1) as slots:
        found = [
            falls_back(slots, "25.12.6", ("wan",), "wan;", tries=1),
            falls_back(slots, "25.12.6", ("stuck",), "nothing was decided within 35 seconds", tries=1),
            falls_back(
                slots,
                "25.12.6",
                (),
                "root;",
                tries=1,
                spoil="dd if=/dev/zero of=/dev/nvme0n1p2 bs=1M count=8 conv=fsync",
            ),
        ]
        # the lost overlay is made anew by the next upgrade
        slots.upgrade("25.12.6")
        slots.try_it("b")
        slots.runs("b", "25.12.6")
        return Outcome(note=", ".join(found))


def one_of_each(folder: Path, case: str, medium: str) -> Outcome:
    """Install; a trial without a root, so that its kernel gives up; the same image again, which is kept."""
    with board_with(folder, case, medium) as slots:
        machine = slots.machine
        identity = machine.run("sfdisk --part-uuid /dev/nvme0n1 2").ok().out.strip()
        change = "sfdisk -q --no-reread --part-uuid /dev/nvme0n1 2 "
        found = falls_back(slots, "25.12.6", (), "a crash (", tries=2, spoil=change + NOBODY)
        check("Waiting for root device" in machine.console, "the kernel did not wait for its root")
        machine.run(change + identity).ok()
        slots.upgrade("25.12.6")
        slots.try_it("b")
        slots.runs("b", "25.12.6")
        return Outcome(note=found)


@scenario(tier=3, title="slots, nand, own kernels: a trial without a root falls back, the next one is kept", extra=True)
def board_slots_own_nand(folder: Path) -> Outcome:
    """Each slot has a UBI volume with its kernel, which mounts root=PARTUUID= itself."""
    return one_of_each(folder, "own", "nand")


@scenario(tier=3, title="slots, emmc, own kernels: a trial without a root falls back, the next one is kept")
def board_slots_own_emmc(folder: Path) -> Outcome:
    """Each slot has a partition with its kernel, which install puts behind those of OpenWrt."""
    return one_of_each(folder, "own", "emmc")


@scenario(tier=3, title="slots, sd, shared kernel: a trial without a root falls back, the next one is kept", extra=True)
def board_slots_shared(folder: Path) -> Outcome:
    """Both slots are started by the kernel that the card has."""
    return one_of_each(folder, "shared", "sd")


@scenario(tier=3, title="slots, nand, pairs: one copy of the environment damaged, both; both kernels; rollback")
def board_slots_damage(folder: Path) -> Outcome:
    """One copy: goes on. Both: the stock chain, and install takes the slots up again. Both kernels: recovery."""
    with board_with(folder, "pairs", "nand") as slots:
        machine = slots.machine
        slots.upgrade("25.12.6")
        slots.bench.sh("rollback --apply").ok()
        machine.off()
        machine.environment.damage(1)
        machine.boot(UP)
        slots.runs("a")
        machine.run("fw_setenv bench 1 && fw_setenv bench").ok()  # any write repairs the damaged copy
        machine.off()
        machine.environment.damage(1)
        machine.environment.damage(2)
        machine.boot(UP)
        check(slots.started() == ["stock"], slots.started(), machine.console)
        told = slots.status()
        check(told["problems"] == ["no slots are installed"], told)
        slots.install()
        machine.off()
        for name in ("fit", "fit_b"):
            media.spoil_volume(machine.image("flash"), name)
        machine.boot(UP)
        check(machine.chose == ["recovery"], machine.chose, machine.console)
    return Outcome()


def after_cut(folder: Path, journal: Path, cut: Cut, words: str) -> str:
    """Boot a board from what a cut left and wait for the end of a trial, if there is one; return the good slot.

    The slot that is good then runs, and when it is a, the upgrade can be made again and is kept.
    """
    with Machine(folder, medium="nand", disks=DISK, data_bytes=DATA_BYTES) as machine:
        replay(History(journal), cut, folder / "cut")
        machine.adopt(folder / "cut")
        machine.power_on()
        good = machine.settle(lambda env: "bp_try" not in env, 2 * UP)["bp_good"]
        slots = Slots(machine, "pairs", "nand")
        slots.runs(good, {"a": "25.12.5", "b": "25.12.6"}[good])
        if good == "a":
            slots.upgrade("25.12.6")
            slots.try_it("b")
            slots.runs("b", "25.12.6")
        return f"{words} {good}"


@scenario(
    tier=3, title="power cuts during upgrade and trial's start, nand, pairs: sampled, upgraded after each", extra=True
)
def board_slots_cuts(folder: Path) -> Outcome:
    """After a cut the old system or the new one is good and runs, and the upgrade can be made again."""
    journal = folder / "journal"
    with Machine(folder / "first", medium="nand", disks=DISK, data_bytes=DATA_BYTES) as machine:
        machine.boot(UP)
        slots = Slots(machine, "pairs", "nand")
        slots.install()
        machine.run("sync").ok()
        machine.off()
        with machine.recording(journal) as server:
            machine.boot(UP)
            machine.put(slots.bench.name, slots.bench.script)
            server.mark("upgrade")
            slots.upgrade("25.12.6")
            server.mark("restart")
            machine.start("reboot")
            machine.wait_up(UP)
            server.mark("up")
    begin, restart, up = (mark.step for mark in History(journal).marks)
    cuts = [
        ("upgrade", Cut(begin + (restart - begin) * part // 4, ("nvme0",) if part % 2 else ())) for part in (1, 2, 3)
    ]
    cuts += [("start", Cut(restart + (up - restart) * part // 4, ())) for part in (1, 2, 3)]
    bad, found = 0, []
    for words, cut in cuts:
        try:
            found.append(after_cut(folder / f"cut-{cut.step}", journal, cut, words))
        except Exception as problem:  # a bad state, whatever it is; the others are still looked at
            bad += 1
            found.append(f"{cut}: {problem!r}"[:300])
    return Outcome(cuts=len(cuts), bad=bad, note=f"of {restart - begin} and {up - restart} writes; {', '.join(found)}")


@scenario(tier=3, title="slots, nand, pairs: no room; rootfs_data_max, sysupgrade, install again")
def board_slots_room(folder: Path) -> Outcome:
    """rootfs_data has all that is left of the flash: the first install asks for a sysupgrade, the second is whole."""
    with board_with(folder, "pairs", "nand", installed=False, machine={"data_bytes": None}) as slots:
        machine = slots.machine
        machine.run("uci set system.@system[0].hostname=mine && uci commit system && sync").ok()
        said = slots.bench.sh("install --apply", 200).ok().out
        check("sysupgrade IMAGE" in said and "bp_good" not in machine.printed_env(), said)
        machine.put("/tmp/image.itb", machine.firmware("25.12.5").read_bytes())
        machine.start("sysupgrade /tmp/image.itb")
        machine.wait_up(UP)
        check("sysupgrade: restarting" in machine.console, machine.console)
        machine.put(slots.bench.name, slots.bench.script)
        slots.install()
        check(machine.run("uci get system.@system[0].hostname").ok().out == "mine\n")
        data = len(media.volumes(machine.image("flash"), ("rootfs_data",))["rootfs_data"])
        return Outcome(note=f"rootfs_data has {data >> 10} KiB")
