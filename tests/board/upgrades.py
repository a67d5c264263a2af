"""A running router with a plan without slots, and its upgrades."""

import json
import re
import time
from collections.abc import Callable
from typing import Any, Self

from . import scripts
from .images import GiB, MiB
from .router import BootError, Disk, Router
from .running import Timeout
from .scripts import Bench, kind_of_router

OLD, NEW = "25.12.5", "25.12.6"
KERNEL = "6.12.95"
"""The release of the new image's kernel, which is never this machine's."""
UPGRADE = "upgrade: {backup: /srv/backup}\n"
ROOT = {"extroot-overlay": "overlay on /dev/nvme0n1p1", "extroot-pivot": "root on /dev/nvme0n1p1"}
"""How ``status`` names the root that each method makes."""


def kind_of(method: str = "extroot-overlay", medium: str = "nand") -> dict[str, Any]:
    """Return what a router is made with whose media hold real images."""
    data = {"data_bytes": 24 * MiB} if medium == "nand" else {}
    return {"slots": True, "medium": medium, "disks": (Disk(size=GiB),), **data, **kind_of_router(method)}


def plan(method: str = "extroot-overlay", medium: str = "nand", *, more: str = UPGRADE, release: str = "25.12") -> str:
    """Return the text of a plan with a data partition for the backups."""
    return scripts.plan(method, medium, more=more, release=release)


def by_hand(box: Router, *names: str) -> None:
    """Note packages as installed since the firmware was flashed, with a file each."""
    for name in names:
        box.put(f"/lib/apk/packages/{name}.list", f"/usr/bin/{name}\n")
        box.put(f"/usr/bin/{name}", f"#!/bin/sh\n# {name}\n", 0o755)
        box.run(f"echo {name} >>/etc/apk/world").ok()


def swap_when_tested(box: Router, other: str) -> None:
    """From now on, whoever has ``sysupgrade`` test an image finds another one in /tmp/new.itb behind that."""
    wrapper = (
        '#!/bin/sh\n/sbin/sysupgrade.real "$@"\ncode=$?\n'
        f'case " $* " in *" -T "*) cp {other} /tmp/swap && mv /tmp/swap /tmp/new.itb ;; esac\nexit $code\n'
    )
    box.run("mv /sbin/sysupgrade /sbin/sysupgrade.real").ok()
    box.put("/sbin/sysupgrade", wrapper, 0o755)


class UpgradeBench(Bench):
    """A running router and its script; the first start waits for seconds in place of minutes."""

    router: Router

    def __init__(self, router: Router, text: str) -> None:
        """``router`` is on and made with :func:`kind_of`; ``text`` is a plan."""
        super().__init__(router, text)
        self.script = re.sub("(?m)^patience=300 ", "patience=3 ", self.script)
        self.script = re.sub("(?m)^disk_seconds=15 ", "disk_seconds=1 ", self.script)
        router.put(self.name, self.script)

    def installed(self) -> Self:
        """Install, restart, and make the folder for the backups."""
        self.sh("install --apply").ok()
        self.restart()
        self.router.run("mkdir -p /srv/backup").ok()
        return self

    def seen(self) -> dict[str, str]:
        """Return a sum for each image, and of the disk the names with their sizes and times.

        ext4 fills the tables of a new file system for a while after it was mounted: its image has no lasting sum.
        """
        digests = self.router.digests()
        find = "find /srv /root /etc /usr /overlay/.bootplan /.bootplan -print0 2>/dev/null"
        digests["nvme0"] = self.router.run(f"{find} | xargs -0 ls -dln --full-time").ok().out
        return digests

    def put_image(self, name: str = "/tmp/new.itb", **changes: Any) -> str:
        """Put a sysupgrade image on the router and return its name and the option that says its sum."""
        image = self.router.firmware(**{"release": NEW, "kernel": KERNEL, **changes}).read_bytes()
        self.router.put(name, image)
        digest = self.router.run(f"sha256sum {name}").ok().out.split()[0]
        return f"{name} --sha256 {digest}"

    def flash(self, words: str, until: str = "") -> str:
        """Run ``upgrade`` with these words until the router goes off; ``until`` is the last step of the flash."""
        self.router.flash_cut = until
        running = self.router.start(f"sh {self.name} upgrade {words} --apply")
        assert self.router.wait_stopped() == "reboot", running.out + running.err
        self.router.off()
        return running.out

    def follow(self) -> int:
        """Start, follow the router until it stays up, and return how often it was started."""
        starts = 0
        while starts < 10:
            starts += len(self.router.settle(quiet=0.5))
            self.router.flash_cut = ""
            if self.first_start_ended():
                self.router.put(self.name, self.script)
                return starts
        raise Timeout(f"still restarting after {starts} starts")

    def first_start_ended(self, seconds: int = 60) -> bool:
        """Wait for the end of the boot scripts and of what they began; False when the router restarted meanwhile."""
        end = time.monotonic() + seconds
        while not self.router.stopped():
            try:
                if self.router.run("grep -q ^done /tmp/log/boot && ! ps w | grep -q '[f]irst-start'").code == 0:
                    break
            except BootError:
                continue  # it went off while it was asked
            if time.monotonic() > end:
                raise Timeout(self.router.run("tail -n 20 /tmp/bootplan.log").out)
            time.sleep(0.1)
        try:
            self.router.wait_stopped(2)  # a restart that it asked for takes a moment
        except Timeout:
            return True
        return False

    def upgraded(self, more: str = "", **changes: Any) -> int:
        """Upgrade, and follow the starts behind it; returns how many there were."""
        self.flash(f"{self.put_image(**changes)} {more}")
        return self.follow()

    def flash_by_hand(self, meanwhile: Callable[[], object] | None = None, **changes: Any) -> None:
        """Upgrade as LuCI does, without the script, and start; the old root on the disk stays as it is.

        ``meanwhile`` is called while the router is off.
        """
        image = self.put_image(**changes).split()[0]
        self.router.start(f"sysupgrade {image}")
        assert self.router.wait_stopped() == "reboot"
        self.router.off()
        if meanwhile:
            meanwhile()
        assert self.follow() == 1

    def refused(self, words: str, *reasons: str) -> None:
        """Look whether an upgrade with these words is refused for all these reasons, and nothing was written."""
        untouched = self.seen()
        result = self.sh(f"upgrade {words} --apply")
        assert result.code == 3, result.out
        assert result.out.endswith("nothing was changed\n")
        for reason in reasons:
            assert reason in result.out, result.out
        assert self.seen() == untouched

    def status(self) -> dict[str, Any]:
        """Return what ``status --json`` says."""
        result = self.sh("status --json")
        assert result.code in (0, 1), result.err
        told: dict[str, Any] = json.loads(result.out)
        return told

    def root(self) -> str:
        """Return how the router runs: what holds the overlay, or the root."""
        return str(self.status()["root"])


MakeUpgradeBench = Callable[..., UpgradeBench]
"""What the fixture ``upgrade_bench`` gives."""
