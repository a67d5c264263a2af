"""The console of a whole board as the log explainer reads it: what it says of a start, the kernel's words among it."""

import contextlib
import io
from pathlib import Path

from bootplan.board import load_board
from bootplan.bootlog import Explanation, Start, explain

from ..router import Hang, Panic
from ..scenario import Outcome, scenario
from .board import Machine

UP = 240
STUCK = 45
NOWHERE = "0507689b-0000-4000-8000-0123456789ab"


def check(condition: object, *texts: object) -> None:
    """Raise :class:`AssertionError` with the texts when the condition does not hold."""
    if not condition:
        raise AssertionError("\n".join(map(str, texts)))


def told(machine: Machine) -> Explanation:
    """Return what the explainer says of everything on the console since the board was made."""
    return explain(io.BytesIO(machine.console.encode()), load_board())


def names(start: Start) -> list[str]:
    """Return the names of the cases that hold in a start."""
    return [one.case.name for one in start.findings]


@scenario(tier=3, title="the log explainer on a whole board's console: good, crash, recovery, a root that never comes")
def board_console(folder: Path) -> Outcome:
    """A start without anything to say; a panic and the recovery after it; NVMe root on a stock kernel; no console."""
    with Machine(folder / "good", medium="nand") as machine:
        machine.boot(UP)
        good = told(machine)
        check(good.starts == 1 and names(good.last) == [], names(good.last), machine.console)
        check((good.last.stage, good.last.system) == ("userland", "production"), good.last, machine.console)

        machine.start("echo c > /proc/sysrq-trigger")
        try:
            machine.wait_up(UP)
        except Panic:
            machine.wait_up(UP)
        crashed = told(machine)
        check(names(crashed.last) == ["recovery-asked"], names(crashed.last), machine.console)
        check(crashed.last.system == "recovery" and crashed.before is not None, crashed, machine.console)
        assert crashed.before
        check(names(crashed.before) == ["panic"], names(crashed.before), machine.console)
    wait = "pci=pcie_bus_perf rootwait"
    ends(folder / "nvme", f"console=ttyS0,115200n1 root=/dev/nvme0n1p1 {wait}", "root-wait-nvme")
    ends(folder / "silent", f"console=ttyS7,115200n1 root=/dev/fit0 {wait}", "kernel-silent")
    ends(folder / "panic", f"console=ttyS0,115200n1 root=PARTUUID={NOWHERE} {wait}=3 panic=90", "panic-no-root")
    return Outcome()


def ends(folder: Path, arguments: str, case: str) -> None:
    """Restart a board with these kernel *arguments*, and check what the log says of the end that takes."""
    with Machine(folder, medium="nand") as machine:
        machine.boot(UP)
        machine.run(f"fw_setenv bootargs '{arguments}'").ok()
        with contextlib.suppress(Hang, Panic):
            machine.reboot(STUCK)
        check(names(told(machine).last) == [case], names(told(machine).last), machine.console)
