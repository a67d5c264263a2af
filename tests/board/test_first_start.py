"""The first start after an upgrade without slots: the root on the disk made to fit, and the packages."""

from collections.abc import Sequence

import pytest

from .test_interruptions import wait_for
from .upgrades import KERNEL, NEW, OLD, ROOT, MakeUpgradeBench, by_hand, plan


def test_the_disk_is_full_at_the_first_start(upgrade_bench: MakeUpgradeBench) -> None:
    """The old root is set aside whole, status says what is the matter, and with room the same start goes on."""
    made = upgrade_bench("extroot-pivot").installed()
    box = made.router
    box.put("/etc/own", "own\n")
    made.flash(made.put_image())
    box.services = False
    box.boot()
    made.router.put(made.name, made.script)
    box.run(
        "mkdir /mnt/in && mount -t ext4 /dev/nvme0n1p1 /mnt/in && dd if=/dev/zero of=/mnt/in/filler bs=1M 2>/dev/null; "
        "sync; umount /mnt/in"
    ).ok()

    assert box.run("sh /etc/bootplan/bootplan.sh first-start").code == 1

    status = made.status()
    assert (status["as_planned"], status["upgrade_root"]) == (
        False,
        "the root on the disk was begun, and is not finished",
    ), str(status)
    box.run(
        "mount -t ext4 /dev/nvme0n1p1 /mnt/in && rm /mnt/in/filler && "
        "cat /mnt/in/.bootplan/before-*/etc/own && umount /mnt/in"
    ).ok()
    box.off()
    box.services = True
    assert made.follow() == 2
    assert made.status()["as_planned"] is True
    assert box.run("cat /.bootplan/before-*/etc/own").ok().out == "own\n"


def test_a_root_on_the_disk_that_is_not_right(upgrade_bench: MakeUpgradeBench) -> None:
    """The second start says why in the status, and closes the upgrade when that is mended."""
    made = upgrade_bench("extroot-pivot").installed()
    box = made.router
    made.flash(made.put_image())
    assert len(box.settle(quiet=0.5)) >= 1
    assert made.first_start_ended() is False  # it restarts, from the disk
    box.off()
    box.services = False
    box.boot()
    box.run(f"mv /lib/modules/{KERNEL} /lib/modules/away").ok()
    made.router.put(made.name, made.script)

    assert box.run("sh /etc/bootplan/bootplan.sh first-start").code == 1

    status = made.status()
    assert status["upgrade_root"] == f"the root on the disk has no modules for the kernel {KERNEL}", str(status)
    box.run(f"mv /lib/modules/away /lib/modules/{KERNEL}").ok()
    box.run("sh /etc/bootplan/bootplan.sh first-start").ok()
    assert made.status()["as_planned"] is True


def test_packages_that_the_image_lacks_are_told(upgrade_bench: MakeUpgradeBench) -> None:
    """The line that installs them, in the words of the package manager; and nothing is wrong with the root."""
    made = upgrade_bench().installed()
    by_hand(made.router, "tcpdump", "htop")

    assert made.upgraded() == 2

    status = made.status()
    assert status["as_planned"] is True
    assert (
        status["upgrade_packages"]
        == "not in the new system: htop tcpdump; to have them: apk update && apk add htop tcpdump"
    )
    by_hand(made.router, "tcpdump", "htop")
    assert made.status()["upgrade_packages"] == "ok"


@pytest.mark.parametrize("packages", [("kmod-nvme", "block-mount", "sfdisk"), ("block-mount", "sfdisk"), ("sfdisk",)])
def test_packages_that_the_image_lacks_are_installed(upgrade_bench: MakeUpgradeBench, packages: Sequence[str]) -> None:
    """reinstall: true; also what the root on the disk itself needs."""
    made = upgrade_bench(text=plan(more="upgrade: {backup: /srv/backup, reinstall: true}\n")).installed()
    by_hand(made.router, "htop")

    # The bench does not load a module that comes with a package: its disk appears behind one more restart.
    assert made.upgraded(packages=packages) == (2 if "kmod-nvme" in packages else 3)

    status = made.status()
    assert (status["root"], status["as_planned"], status["upgrade_packages"]) == (
        ROOT["extroot-overlay"],
        True,
        "ok",
    ), str(status)


def test_a_package_that_is_gone_keeps_no_other_out(upgrade_bench: MakeUpgradeBench) -> None:
    """What the feeds do not have any more is told; what the root needs, and the other packages, are installed."""
    made = upgrade_bench(text=plan(more="upgrade: {backup: /srv/backup, reinstall: true}\n")).installed()
    by_hand(made.router, "gone-for-good", "htop")

    assert made.upgraded(packages=("kmod-nvme", "sfdisk")) == 2

    status = made.status()
    assert (status["root"], status["as_planned"]) == (ROOT["extroot-overlay"], True), str(status)
    assert (
        status["upgrade_packages"]
        == "not in the new system: gone-for-good; to have them: apk update && apk add gone-for-good"
    )
    assert "within 3 s: gone-for-good;" in made.router.read("/etc/bootplan/last-upgrade")


def test_packages_that_cannot_be_installed(upgrade_bench: MakeUpgradeBench) -> None:
    """No network in time: told, and the root stays on the boot medium; with a network the next start finishes."""
    made = upgrade_bench(text=plan(more="upgrade: {backup: /srv/backup, reinstall: true}\n"), up=("lan",)).installed()

    assert made.upgraded(packages=("sfdisk",)) == 1

    status = made.status()
    assert (status["root"], status["as_planned"]) == ("internal", False), str(status)
    assert any("has not come to its end" in one for one in status["problems"])
    made.router.put("/tmp/rig/up/dns", "")
    running = made.router.start("sh /etc/bootplan/bootplan.sh first-start")
    assert made.router.wait_stopped() == "reboot", running.out
    made.router.off()
    assert made.follow() == 2
    assert made.root() == ROOT["extroot-overlay"]


def test_packages_of_opkg(upgrade_bench: MakeUpgradeBench) -> None:
    """24.10: what was installed by hand, without what only came along with it; the line is opkg's."""
    made = upgrade_bench(text=plan(release="24.10"), release="24.10.7").installed()
    for name in ("htop", "libncurses"):
        made.router.put(f"/usr/lib/opkg/info/{name}.control", f"Package: {name}\nVersion: 1\n")
    made.router.put(
        "/usr/lib/opkg/status", "Package: libncurses\nVersion: 1\nAuto-Installed: yes\n\nPackage: htop\nVersion: 1\n"
    )

    assert made.upgraded(release="24.10.8") == 2

    status = made.status()
    assert (status["root"], status["as_planned"]) == (ROOT["extroot-overlay"], True), str(status)
    assert status["upgrade_packages"] == "not in the new system: htop; to have them: opkg update && opkg install htop"


def test_the_disk_is_away_at_the_first_start(upgrade_bench: MakeUpgradeBench) -> None:
    """The new system comes up on the boot medium, says why, and goes on when the disk is back."""
    made = upgrade_bench().installed()
    box = made.router
    made.flash(made.put_image())
    disks, box.disks = box.disks, ()
    hidden = box.image("nvme0").rename(box.folder / "away")

    assert made.follow() == 1
    status = made.status()
    assert (status["root"], status["upgrade_root"]) == ("internal", "the disk 'serial:S4EWNF0M531930D' is not here"), (
        str(status)
    )

    box.off()
    hidden.rename(box.image("nvme0"))
    box.disks = disks
    box.services = False
    box.boot()
    made.router.put(made.name, made.script)
    told = made.sh("status").out
    assert "the upgrade under way brings it along" in told and "--recopy" not in told, told
    box.off()
    box.services = True
    assert made.follow() == 2
    assert made.status()["as_planned"] is True


def test_odd_names_take_nothing_away(upgrade_bench: MakeUpgradeBench) -> None:
    """Blanks and line breaks in names at the top, of the disk's root and of the new system, are no other names."""
    made = upgrade_bench().installed()
    box = made.router
    for name in ("/a", "/b", "/srv", "/bin etc"):
        box.run(f"mkdir -p '{name}' && echo mine >'{name}/mine'").ok()
    box.run("umount /srv; mkdir -p /srv && echo mine >/srv/mine").ok()
    box.run("mount /dev/nvme0n1p2 /srv").ok()
    made.flash(made.put_image())
    disks, box.disks = box.disks, ()
    hidden = box.image("nvme0").rename(box.folder / "away")
    assert made.follow() == 1
    box.run("mkdir '/srv ' ' b' \"$(printf '/a\\nnew b')\" /ours && echo new >/ours/new").ok()
    box.off()
    hidden.rename(box.image("nvme0"))
    box.disks = disks

    assert made.follow() == 2

    assert made.root() == ROOT["extroot-overlay"]
    for name in ("a", "b", "srv", "bin etc"):
        assert box.read(f"/overlay/upper/{name}/mine") == "mine\n", box.run(
            "ls -la /overlay/upper /overlay/.bootplan/*"
        ).out
    assert box.read("/ours/new") == "new\n"


def test_a_finished_root_is_not_made_fit_again(upgrade_bench: MakeUpgradeBench) -> None:
    """A start on the boot medium months later, whose record says that the upgrade is not finished, takes nothing."""
    made = upgrade_bench().installed()
    assert made.upgraded() == 2
    box = made.router
    box.put("/etc/config/mine", "config mine\n\toption word 'later'\n")
    box.run("mkdir /mnt/in && mount -t ubifs ubi0:rootfs_data /mnt/in").ok()
    box.run("sed -i 's/^state .*/state flashed/' /mnt/in/upper/etc/bootplan/upgrade").ok()
    box.run(
        "uci -c /mnt/in/upper/etc/config set fstab.bootplan_root.enabled=0; "
        "uci -c /mnt/in/upper/etc/config commit fstab; umount /mnt/in"
    ).ok()
    box.off()

    assert made.follow() == 2
    assert made.root() == ROOT["extroot-overlay"]
    assert "option word 'later'" in box.read("/etc/config/mine")


@pytest.mark.parametrize("method", ["extroot-overlay", "extroot-pivot"])
def test_a_sysupgrade_by_hand(upgrade_bench: MakeUpgradeBench, method: str) -> None:
    """status says what to type; then the root on the disk fits, with the files that were there."""
    made = upgrade_bench(method).installed()
    box = made.router
    box.put("/etc/config/mine", "config mine\n\toption word 'kept'\n")
    box.put("/root/notes", "mine\n")
    box.put("/etc/own", "own\n")
    by_hand(box, "htop")
    made.flash_by_hand()

    told = made.sh("status").out
    assert "upgrade --refit" in told and made.root() == "internal", told
    assert "upgrade --refit" in made.sh("install").out
    untouched = made.seen()
    rehearsal = made.sh("upgrade --refit").ok().out
    assert "none made; to make them add --apply" in rehearsal and made.seen() == untouched
    made.sh("upgrade --refit --apply").ok()
    assert "restart the router" in made.sh("upgrade --refit --apply").ok().out
    box.off()

    assert made.follow() == 2
    status = made.status()
    assert (status["root"], status["as_planned"]) == (ROOT[method], True), str(status)
    assert status["upgraded"].startswith(f"from another firmware to {NEW} on ")
    assert "option word 'kept'" in box.read("/etc/config/mine") and box.read("/root/notes") == "mine\n"
    before = "/overlay/.bootplan" if method == "extroot-overlay" else "/.bootplan"
    assert box.run(f"cat {before}/before-*/etc/own").ok().out == "own\n"
    assert status["upgrade_packages"].startswith("not in the new system: htop; to have them: ")
    assert "why it is not used" not in made.sh("upgrade --refit").out
    assert "runs from the disk" in made.sh("upgrade --refit").out


def test_a_record_that_was_lost(upgrade_bench: MakeUpgradeBench) -> None:
    """A flash that was cut before the settings: the backup brings them back, and the disk's root is made to fit."""
    made = upgrade_bench().installed()
    box = made.router
    box.put("/etc/config/mine", "config mine\n")
    box.put("/root/notes", "mine\n")
    made.flash(made.put_image(), until="written")
    assert made.follow() == 1
    box.run(
        "mkdir -p /mnt/in && mount -t ext4 -o ro /dev/nvme0n1p2 /mnt/in && "
        "cp /mnt/in/backup/bootplan-*.tar.gz /tmp/saved.tar.gz"
    ).ok()
    box.run("umount /mnt/in").ok()

    made.sh("restore /tmp/saved.tar.gz --apply").ok()
    made.sh("upgrade --refit --apply").ok()
    box.off()

    assert made.follow() == 2
    assert made.status()["as_planned"] is True
    assert box.read("/etc/config/mine") == "config mine\n" and box.read("/root/notes") == "mine\n"


def test_another_firmware_since(upgrade_bench: MakeUpgradeBench) -> None:
    """What an upgrade found says nothing of a firmware that was flashed by hand behind it."""
    made = upgrade_bench("internal").installed()
    assert made.upgraded() == 1
    assert made.status()["upgraded"].startswith(f"from {OLD} to {NEW} on ")

    made.flash_by_hand(release="25.12.9")

    status = made.status()
    assert "upgraded" not in status and status["as_planned"] is True, str(status)


@pytest.mark.parametrize("shell", ["ash", "dash"])
def test_the_first_start_does_its_work_while_a_backup_waits(upgrade_bench: MakeUpgradeBench, shell: str) -> None:
    """A prompt for a password must not keep the root on the boot medium; the restart waits for the backup."""
    made = upgrade_bench("extroot-overlay", shell=shell).installed()
    box = made.router
    made.flash(made.put_image())
    box.services = False
    box.boot()
    box.put(made.name, made.script)
    box.put("/usr/bin/ssh", "#!/bin/sh\necho waiting >&2\nsleep 15\nexit 1\n", 0o755)
    backup = box.start(f"exec sh {made.name} backup me@there:folder", terminal=True)
    wait_for(backup, "waiting")

    first = box.start("exec sh /etc/bootplan/bootplan.sh first-start")
    wait_for(first, "fits the new system; restarting")

    refused = made.sh("install --apply")
    assert (refused.code, "under way" in refused.err) == (3, True), refused
    assert made.status()["advice"] == "wait for its end, then look again"
    assert "ssh ended with 1" in backup.wait(60).out
    assert box.wait_stopped(30) == "reboot"
    box.off()
    box.services = True
    assert made.follow() == 1
    assert made.status()["as_planned"] is True


def test_the_first_start_waits_for_who_changes_the_router(upgrade_bench: MakeUpgradeBench) -> None:
    """Two that write to the same disk are kept apart."""
    made = upgrade_bench("extroot-overlay").installed()
    box = made.router
    made.flash(made.put_image())
    box.services = False
    box.boot()
    box.put(made.name, made.script)
    box.run(
        "exec 9>>/var/lock/bootplan.lock 6>>/var/lock/bootplan.lock.change; flock 9; flock 6; "
        "(sleep 6; true) >/dev/null 2>&1 &"
    ).ok()

    first = box.start("exec sh /etc/bootplan/bootplan.sh first-start")

    assert box.run("sleep 3; cat /etc/bootplan/upgrade").ok().out.startswith("state flashed\n")
    assert box.wait_stopped(60) == "reboot", first.out
    assert "fits the new system; restarting" in first.out
