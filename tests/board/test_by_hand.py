"""The root on the disk after a sysupgrade by hand: states in which ``upgrade --refit`` is asked for."""

from collections.abc import Callable
from typing import Any

import pytest

from . import slotted
from .router import Router
from .scripts import Bench
from .upgrades import NEW, ROOT, MakeUpgradeBench, UpgradeBench, by_hand, plan

HALF = "the old root, half made to fit another firmware"


def lived_in(made: UpgradeBench) -> UpgradeBench:
    """Put files on the root on the disk that must not be lost, and return the bench."""
    made.router.put("/etc/own", "own\n")
    made.router.put("/root/notes", "mine\n")
    return made


def fits(made: UpgradeBench, method: str = "extroot-overlay") -> dict[str, Any]:
    """Look whether the router runs from the disk, as planned, with all the files of :func:`lived_in`."""
    status = made.status()
    assert (status["root"], status["as_planned"]) == (ROOT[method], True), str(status)
    before = "/overlay/.bootplan" if method == "extroot-overlay" else "/.bootplan"
    assert made.router.run(f"cat {before}/before-*/etc/own").ok().out == "own\n"
    assert made.router.read("/root/notes") == "mine\n"
    return status


def disk_root(made: Bench, command: str) -> str:
    """Run a command in the folder of the disk's root, mounted, and return what it says."""
    return (
        made.router.run(
            f"mkdir -p /tmp/in && mount -t ext4 /dev/nvme0n1p1 /tmp/in && cd /tmp/in && {command}; "
            "cd / && umount /tmp/in"
        )
        .ok()
        .out
    )


def without_disks(box: Router) -> Callable[[], None]:
    """Take the disks out of a router that is off; returns the function that puts them back."""
    disks, box.disks = box.disks, ()
    hidden = box.image("nvme0").rename(box.folder / "away")

    def put_back() -> None:
        """Put them back, into a router that is off."""
        hidden.rename(box.image("nvme0"))
        box.disks = disks

    return put_back


def flash_without_disks(made: UpgradeBench, **changes: Any) -> None:
    """Start once without the disks, flash a new firmware as LuCI does, and put them back before its first start."""
    made.router.off()
    put_back = without_disks(made.router)
    assert made.follow() == 1
    made.flash_by_hand(put_back, **changes)


def test_a_pivot_root_that_fstools_would_take(upgrade_bench: MakeUpgradeBench) -> None:
    """It has no mark of its firmware, and fstab came along from the boot medium: the next start must not be its."""
    made = lived_in(upgrade_bench("extroot-pivot").installed())
    box = made.router
    flash_without_disks(made)
    assert box.run("uci get fstab.bootplan_root.enabled").ok().out == "1\n"

    assert "fstab.bootplan_root.enabled=0" in made.sh("upgrade --refit").ok().out
    assert box.run("uci get fstab.bootplan_root.enabled").ok().out == "1\n"
    made.sh("upgrade --refit --apply").ok()
    assert box.run("uci get fstab.bootplan_root.enabled").ok().out == "0\n"
    box.run("uci set fstab.bootplan_root.enabled=1; uci commit fstab").ok()
    assert "changes shown, none made" in made.sh("upgrade --refit").ok().out
    made.sh("upgrade --refit --apply").ok()
    box.off()

    assert made.follow() == 2
    fits(made, "extroot-pivot")


def test_the_record_of_an_upgrade_to_another_firmware(upgrade_bench: MakeUpgradeBench) -> None:
    """It was never finished, and another firmware was flashed behind it: its record stands in nobody's way."""
    made = lived_in(upgrade_bench().installed())
    box = made.router
    made.flash(made.put_image())
    put_back = without_disks(box)
    assert made.follow() == 1
    made.flash_by_hand(put_back, release="25.12.9")
    assert box.read("/etc/bootplan/upgrade").startswith("state flashed\n")

    told = made.sh("status").out
    assert "under way" not in told and "advice       sh r4.sh upgrade --refit" in told, told
    assert "an upgrade to 25.12.6 was not finished, and another firmware runs" in told, told
    made.sh("upgrade --refit --apply").ok()
    box.off()

    assert made.follow() == 2
    assert fits(made)["upgraded"].startswith("from another firmware to 25.12.9 on ")


def test_a_record_whose_root_was_not_taken(upgrade_bench: MakeUpgradeBench) -> None:
    """The same release, built once more: the first start of the last upgrade has nothing to do with it."""
    made = lived_in(upgrade_bench().installed())
    box = made.router
    made.flash_by_hand()
    box.put("/etc/bootplan/upgrade", f"state pointed\nid 1\nfrom 1\nto {NEW}\nmethod overlay\n")

    told = made.sh("status").out
    assert "under way" not in told and "advice       sh r4.sh upgrade --refit" in told, told
    made.sh("upgrade --refit --apply").ok()
    box.off()

    assert made.follow() == 2
    fits(made)


def test_a_root_half_made_to_fit_without_a_record(upgrade_bench: MakeUpgradeBench) -> None:
    """status and install name --refit, --wipe alone takes nothing; the packages of the old root are told."""
    made = lived_in(upgrade_bench().installed())
    box = made.router
    by_hand(box, "htop")
    made.flash_by_hand()
    disk_root(
        made,
        f"mkdir .bootplan/before-7 && mv upper/etc upper/lib .bootplan/before-7/ && mkdir upper/etc && "
        f"printf '%s\\n' '{HALF}' 7 >.bootplan/state",
    )

    told = made.sh("status").out
    assert HALF in told and "advice       sh r4.sh upgrade --refit" in told, told
    refused = made.sh("install --apply --wipe S4EWNF0M531930D")
    assert refused.code == 3 and "upgrade --refit" in refused.out, refused.out
    made.sh("upgrade --refit --apply").ok()
    box.off()

    assert made.follow() == 2
    status = fits(made)
    assert status["upgrade_packages"].startswith("not in the new system: htop; to have them: "), str(status)


def test_no_room_beside_the_old_root(upgrade_bench: MakeUpgradeBench) -> None:
    """Refused before the first change."""
    made = lived_in(upgrade_bench("extroot-pivot").installed())
    made.flash_by_hand()
    disk_root(made, "dd if=/dev/zero of=filler bs=1M 2>/dev/null; true")

    made.refused("--refit", "KiB free for the new root", "are needed beside the old one")

    disk_root(made, "rm filler")
    made.sh("upgrade --refit --apply").ok()
    made.router.off()
    assert made.follow() == 2
    fits(made, "extroot-pivot")


def test_what_is_in_the_way(upgrade_bench: MakeUpgradeBench) -> None:
    """A partition in use, a root that fits: refused, with what to type that is of use here."""
    made = lived_in(upgrade_bench().installed())
    box = made.router
    made.flash_by_hand()
    box.run("mkdir -p /mnt/in && mount -t ext4 /dev/nvme0n1p1 /mnt/in").ok()
    made.refused("--refit", "partition 1 of nvme0n1 is in use: /mnt/in; umount it; then: sh r4.sh upgrade --refit")
    box.run("umount /mnt/in").ok()
    disk_root(made, "mv .bootplan/state .bootplan/away")
    made.refused("--refit", "partition 1 of nvme0n1 holds files that this script did not put there")
    disk_root(made, "mv .bootplan/away .bootplan/state")
    disk_root(made, "sed -i '1s/.*/complete root/' .bootplan/state")
    told = made.sh("status").out
    assert "--refit" not in told, told


def test_an_image_without_the_disks_driver(upgrade_bench: MakeUpgradeBench) -> None:
    """The disk is not seen, wherever it is seated: status and --refit tell the line that installs it."""
    made = lived_in(upgrade_bench().installed())
    made.flash_by_hand(packages=("sfdisk",))
    status = made.status()
    assert status["advice"] == "apk update && apk add kmod-nvme block-mount; then: sh r4.sh status", str(status)
    assert "apk add kmod-nvme block-mount" in made.sh("upgrade --refit").out


def test_what_an_upgrade_would_have_left(upgrade_bench: MakeUpgradeBench) -> None:
    """The next sysupgrade by hand keeps the script and what the plan keeps; what else is here is told."""
    made = lived_in(upgrade_bench(text=plan(more="upgrade: {backup: /srv/backup, keep: [/etc/kept]}\n")).installed())
    made.flash_by_hand()
    told = made.sh("upgrade --refit --apply").ok().out
    assert "stays on the boot medium" in told
    assert {"/etc/bootplan/", "/etc/kept"} <= set(made.router.read("/etc/sysupgrade.conf").splitlines())


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--refit --wipe S4EWNF0M531930D", "--refit takes no --wipe"),
        (f"--refit --sha256 {'0' * 64}", "--refit takes no --sha256"),
        ("--refit --backup /srv", "--refit takes neither --backup nor --drop-settings"),
        ("--refit --clean", "--list, --refit and --clean: one at a time"),
        ("--refit /tmp/image", "takes 0 operands"),
    ],
)
def test_options_that_say_nothing_to_it(upgrade_bench: MakeUpgradeBench, words: str, reason: str) -> None:
    """They are no mistake to be passed over: wrong usage."""
    result = upgrade_bench().sh(f"upgrade {words}")
    assert result.code == 2 and reason in result.err, result.err


def test_slots_are_another_matter(upgrade_bench: MakeUpgradeBench) -> None:
    """What it says is true of a sysupgrade by hand, which replaces the slot that runs."""
    told = upgrade_bench(text=slotted.plan("pair")).sh("upgrade --refit")
    assert told.code == 3 and "stay as they are" not in told.out and "switch --apply" in told.out, told.out
