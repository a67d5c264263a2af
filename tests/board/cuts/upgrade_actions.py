"""The first start after an upgrade without slots, cut everywhere, and the way there up to the flash.

The script of these rows stops before it restarts the router, or before sysupgrade begins: what it had written until
then is what a cut can meet, and the judge restarts the router itself. What a cut in the flash leaves is in
:file:`test_sysupgrade.py`: no writes of the script are in there.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from ..router import Router
from ..running import Timeout
from ..upgrades import NEW, UpgradeBench, kind_of, plan
from .action import Action, compiled
from .box import Box
from .judge import Judge
from .slot_actions import IMAGE, SLOT_FILES, UPGRADE, image_of, with_an_image

INTERNAL = ("overlay", ("overlay", 0), "stock")
ROOTS = {"extroot-overlay": ("overlay", ("nvme0", 1), "stock"), "extroot-pivot": ("root", ("nvme0", 1), "stock")}
MIB, GIB = 1 << 20, 1 << 30
# Where a file of the old root may be: in its place, or set aside.
PLACES = {"extroot-overlay": ("/upper", "/.bootplan/before-*"), "extroot-pivot": ("", "/.bootplan/before-*")}
KEPT = {"/etc/config/mine": "mine", "/etc/own": "own"}
NOTES = "/root/notes"


class UpgradeJudge(Judge):
    """A judge of routers that were upgraded.

    The boot scripts do not run before the last start, which closes the upgrade.
    """

    def judge(self) -> list[str]:
        """Judge the images as they are."""
        self.box.lose_ram()
        self.box.services = False
        return super().judge()

    def judge_kill(self, point: int, tracer: Path) -> list[str]:
        """Judge the router after a kill."""
        self.box.lose_ram()
        self.box.services = False
        return super().judge_kill(point, tracer)

    def restart(self) -> None:
        """Restart with the boot scripts, and wait until the first start has come to its end."""
        self.box.services = True
        self.box.reboot()
        if not UpgradeBench.first_start_ended(cast(UpgradeBench, self)):  # which asks for nothing but the router
            raise Timeout("the router restarted once more")

    @property
    def router(self) -> Box:
        """Return the box, under the name that the bench has for it."""
        return self.box


class RefitJudge(UpgradeJudge):
    """A judge of routers that are to have their first start before them: the boot scripts do not run at all."""

    def restart(self) -> None:
        """Restart."""
        self.box.reboot()


def lost_files(method: str) -> Callable[[Box], list[str]]:
    """Return a look that finds what is not on the disk any more, neither in its place nor set aside."""

    def look(box: Box) -> list[str]:
        """Look on the disk's root, mounted or not."""
        top = {"extroot-overlay": "/overlay", "extroot-pivot": ""}[method]
        away = box.root() == INTERNAL
        if away:
            top = "/tmp/in"
            # After a kill it may still be mounted by the script, for reading or for writing, and then can be in that
            # way only.
            mount = "mount -t ext4 /dev/nvme0n1p1 /tmp/in"
            done = box.run(f"mkdir -p /tmp/in && {mount} 2>/dev/null || {mount} -o ro")
            if done.code != 0:
                return [f"lost: the disk's root cannot be mounted: {done.err}"]
        faults = []
        own, aside = PLACES[method]
        for path, word in KEPT.items():
            if box.run(f"cat {top}{own}{path} {top}{aside}{path} 2>/dev/null | grep -qx {word}").code != 0:
                faults.append(f"lost: {path}")
        if box.run(f"grep -qx notes {top}{own}{NOTES}").code != 0:
            faults.append(f"lost: {NOTES}")
        if away:
            box.run("umount /tmp/in").ok()
        return faults

    return look


def lived_in(method: str) -> Callable[[Router], UpgradeBench]:
    """Return how a router gets there whose root is on the disk, with files of its owner."""

    def prepare(box: Router) -> UpgradeBench:
        """Install, restart, and put files there."""
        made = UpgradeBench(box, plan(method)).installed()
        for path, word in KEPT.items():
            box.put(path, f"{word}\n")
        box.put(NOTES, "notes\n")
        return made

    return prepare


def flashed(method: str) -> Callable[[Router], None]:
    """Return how a router gets to its first start: upgraded, and started once without its boot scripts."""

    def prepare(box: Router) -> None:
        """Upgrade, with the image flashed."""
        made = lived_in(method)(box)
        box.put(IMAGE, image_of(box, NEW))
        made.flash(f"{IMAGE} --sha256 $(sha256sum {IMAGE} | cut -d ' ' -f 1)")
        box.boot()

    return prepare


def without(text: str, call: str) -> str:
    """Return a script without the call that ends the router's life."""
    before, found, behind = text.partition(call)
    assert found, f"no {call!r} in the script"
    return f"{before}return 0\n{behind}"


def first_start(method: str, **more: Any) -> Action:
    """Return the first start, up to the restart."""
    text = plan(method)
    return Action(
        **{
            "name": f"first_start_{method.replace('-', '_')}",
            "title": f"first start after an upgrade, {method}, nand",
            "plan": text,
            "kind": kind_of(method),
            "words": "first-start",
            "prepare": flashed(method),
            "stops": without(compiled(text), "    reboot    # the last word\n"),
            "judge": UpgradeJudge,
            "old": (INTERNAL,),
            "new": ROOTS[method],
            "mounts": {"/srv": ("nvme0", 2)},
            "files": SLOT_FILES,
            "targets": {"overlay": None, "nvme0": (MIB, GIB - MIB)},
            "look": lost_files(method),
            "untouched": (("nvme0", 2),),
            **more,
        }
    )


def before_the_flash(method: str) -> Action:
    """Return an upgrade up to the moment at which sysupgrade begins: until then nothing but a backup is written."""
    stops = without(compiled(plan(method)), "    run begin_sysupgrade\n")
    made = first_start(method)
    return Action(
        **{
            **vars(made),
            "name": f"upgrade_in_place_{method.replace('-', '_')}",
            "title": f"upgrade without slots up to the flash, {method}, nand",
            "words": UPGRADE,
            "prepare": lived_in(method),
            "brings": with_an_image(NEW),
            "stops": stops,
            "old": (ROOTS[method],),
            "untouched": (),
        }
    )


def upgraded_by_hand(method: str) -> Callable[[Router], None]:
    """Return how a router gets a new firmware without the script."""

    def prepare(box: Router) -> None:
        """Flash the image as LuCI does, and start it; the script is where it was."""
        lived_in(method)(box)
        box.put(IMAGE, image_of(box, NEW))
        box.start(f"sysupgrade {IMAGE}")
        box.wait_stopped()
        box.off()
        box.boot()

    return prepare


def not_prepared(box: Router) -> list[str]:
    """Look whether the next start will be a first start.

    Then fstab names no root, and there are the service and a record, both whole.
    """
    service = (
        "[ -x /etc/init.d/bootplan ] && [ -L /etc/rc.d/S99bootplan ] && cmp -s /tmp/r4.sh /etc/bootplan/bootplan.sh"
    )
    record = "grep -qx 'state flashed' /etc/bootplan/upgrade && grep -qx 'settings keep' /etc/bootplan/upgrade"
    fstab = "[ $(uci -q get fstab.bootplan_root.enabled || echo 0) = 0 ]"
    return [f"not prepared: {what}" for what in (service, record, fstab) if box.run(what).code != 0]


def refit(method: str) -> Action:
    """Return what brings the root on the disk along after that: service and record, for the first start to come."""
    made = first_start(method)
    return Action(
        **{
            **vars(made),
            "name": f"refit_{method.replace('-', '_')}",
            "title": f"upgrade --refit, {method}, nand",
            "words": "upgrade --refit --apply",
            "prepare": upgraded_by_hand(method),
            "stops": "",
            "judge": RefitJudge,
            "new": INTERNAL,
            "planned": ROOTS[method],
            "end": not_prepared,
        }
    )


UPGRADE_ACTIONS = (
    *(first_start(method) for method in ROOTS),
    before_the_flash("extroot-overlay"),
    refit("extroot-overlay"),
)
