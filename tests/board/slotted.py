"""Plans with two slots for the bench, and a router that has them."""

import json
import time
from collections.abc import Sequence
from typing import Any, Self

from .images import GiB, MiB
from .router import BootError, Disk, Router
from .scripts import SERIAL, Bench

NEW = "25.12.6"
PARTITIONS = (
    "{name: root-a, size: 256MiB, filesystem: ext4}",
    "{name: root-b, size: 256MiB, filesystem: ext4}",
    "{name: data, size: rest, filesystem: ext4, mount: /srv}",
)
# How a plan's slots are called here: root method, boot medium, kernel.
KINDS = {
    "pair": ("extroot-overlay", "nand", "own"),
    "volume": ("cmdline", "nand", "own"),
    "partition": ("cmdline", "emmc", "own"),
    "partition-sd": ("cmdline", "sd", "own"),
    "shared": ("cmdline", "nand", "shared"),
}
UNTIL_HEALTH_ENDS = "while ps w | grep -q '[b]ootplan.sh health'; do sleep 1; done"
SECONDS = {"slots_within": 4, "slots_deadman": 20}  # a plan's own are minutes


def plan(
    kind: str,
    *,
    tries: int = 2,
    checks: str = "root, lan, wan, dns, ssh",
    partitions: Sequence[str] = PARTITIONS,
    more: str = "",
) -> str:
    """Return the text of a plan with slots of this kind; ``more`` is put at the end."""
    method, medium, kernel = KINDS[kind]
    lines = "".join(f"      - {partition}\n" for partition in partitions)
    firmware = "nvme-builtin" if method == "cmdline" else "stock"
    return (
        "version: 1\nname: bench\nboard: {model: bpi-r4}\n"
        f'firmware: {{release: "25.12", kernel: {firmware}}}\nboot: {{medium: {medium}}}\n'
        f"media:\n  ssd:\n    type: nvme\n    serial: {SERIAL}\n    partitions:\n{lines}"
        f"root: {{method: {method}}}\n"
        f"slots: {{a: {{root: root-a}}, b: {{root: root-b}}, kernel: {kernel}, tries: {tries},"
        f" confirm: {{checks: [{checks}]}}}}\n{more}"
    )


def kind_of_router(kind: str) -> dict[str, Any]:
    """Return what a router must have for slots of this kind."""
    method, medium, _ = KINDS[kind]
    more = {"kernel_nvme": "builtin", "packages": ("block-mount", "sfdisk")} if method == "cmdline" else {}
    return {"slots": True, "medium": medium, "disks": (Disk(size=GiB),), "data_bytes": 24 * MiB, **more}


class SlotBench(Bench):
    """A running router with a script that has slots; a trial of it has seconds in place of minutes."""

    router: Router

    def __init__(self, router: Router, kind: str = "pair", **plan_words: Any) -> None:
        """``router`` is on and made with :func:`kind_of_router`."""
        super().__init__(router, plan(kind, **plan_words))
        self.kind = kind
        head, _, tail = self.script.partition(" 600 900\n")
        assert tail, "the page has no window of ten minutes"
        self.script = f"{head} {SECONDS['slots_within']} {SECONDS['slots_deadman']}\n{tail}"
        router.put(self.name, self.script)

    def restart(self) -> list[str]:
        """Restart, follow the router until it stays up, and return the slots that were started on the way."""
        self.router.off()
        seen = self.router.settle()
        self.router.put(self.name, self.script)
        return seen

    def restart_all(self) -> list[str]:
        """Restart, follow a trial through all its tries to its decision, and return what was started on the way."""
        self.router.off()
        seen = self.router.settle(quiet=1)
        while self.router.chose.chose in ("a", "b") and not self.decided():
            seen += self.router.settle(quiet=1)
        self.router.put(self.name, self.script)
        return seen

    def decided(self) -> bool:
        """Wait until no trial is left, or the router went off; tell whether none is left. Else :class:`Timeout`."""
        end = time.monotonic() + SECONDS["slots_deadman"] + 20
        while time.monotonic() < end and not self.router.stopped():
            try:
                if "bp_try" not in self.variables():
                    self.router.run(UNTIL_HEALTH_ENDS)  # it writes the other copy of the environment, too
                    return True
            except (AssertionError, BootError):
                break  # it went off while it was asked
            time.sleep(0.5)
        self.router.wait_stopped()
        return False

    def installed(self) -> Self:
        """Install the slots and start the first one."""
        self.install()
        assert self.restart() == ["a"]
        return self

    def install(self) -> None:
        """Install the slots; on a card that takes a restart, after which the kernel knows the new partitions."""
        told = self.sh("install --apply").ok().out
        if "the same command again" in told:
            assert self.restart() == ["stock"]
            told = self.sh("install --apply").ok().out
        assert "done. Restart the router" in told

    def put_image(self, name: str = "/tmp/new.itb", **changes: Any) -> str:
        """Put a sysupgrade image on the router and return its name and the option that says its sum."""
        image = self.router.firmware(**{"release": NEW, **changes}).read_bytes()
        self.router.put(name, image)
        digest = self.router.run(f"sha256sum {name}").ok().out.split()[0]
        return f"{name} --sha256 {digest}"

    def upgraded(self, **changes: Any) -> Self:
        """Upgrade the idle slot; the next start is its trial."""
        self.sh(f"upgrade {self.put_image(**changes)} --apply").ok()
        return self

    def idle_digests(self) -> dict[str, str]:
        """Return one sum for each image, of the disk for slot b's partition only: the running slot's is in use."""
        digests = self.router.digests()
        digests["nvme0"] = self.router.run("dd if=/dev/nvme0n1p2 bs=1M iflag=direct 2>/dev/null | sha256sum").ok().out
        return digests

    def status(self) -> dict[str, Any]:
        """Return what ``status --json`` says."""
        result = self.sh("status --json")
        assert result.code in (0, 1), result.err
        told: dict[str, Any] = json.loads(result.out)
        return told

    def variables(self) -> dict[str, str]:
        """Return the state of the slots in U-Boot's environment, without its commands."""
        names = ("bp_good", "bp_try", "bp_left", "bp_fell", "bp_crashes", "bp_why")
        return {name: value for name, value in self.router.environment().items() if name in names}


def on_trial(bench: SlotBench) -> None:
    """Start slot b on trial, with nothing that checks it."""
    box = bench.router
    box.off()
    box.services = False
    box.boot()
    box.put(bench.name, bench.script)
    assert bench.variables() == {"bp_good": "a", "bp_try": "b", "bp_left": "1"}
