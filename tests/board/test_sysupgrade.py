"""An upgrade without slots, on every kind of root: refusals, the flash, the first start, and what is left behind."""

import subprocess

import pytest

from .elsewhere import LOGIN, computer
from .upgrades import KERNEL, NEW, OLD, UpgradeBench, kind_of, plan

ROOT = {"extroot-overlay": "overlay on /dev/nvme0n1p1", "extroot-pivot": "root on /dev/nvme0n1p1"}


@pytest.fixture
def bench(router):
    """Return a function that switches a router on whose root is where its plan wants it."""
    def make(method="extroot-overlay", medium="nand", *, text="", **changes):
        box = router(**{**kind_of(method, medium), **changes}).boot()
        return UpgradeBench(box, text or plan(method, medium))
    return make


@pytest.mark.parametrize(
    ("method", "medium", "shell"),
    [
        ("internal", "nand", "ash"),
        ("extroot-overlay", "nand", "ash"),
        ("extroot-pivot", "nand", "dash"),
        ("extroot-overlay", "emmc", "dash"),
        ("extroot-pivot", "sd", "ash"),
        ("internal", "emmc", "dash"),
    ],
)
def test_an_upgrade_brings_the_root_along(bench, method, medium, shell):
    """Rehearsal, upgrade, first start, second start: new system and kernel, the settings, and the user's own files."""
    made = bench(method, medium, shell=shell).installed()
    box = made.router
    box.put("/etc/config/mine", "config mine\n\toption word 'kept'\n")
    box.put("/root/notes", "mine\n")
    box.put("/etc/not-kept", "old\n")
    box.run("printf 'changed\\n' >/www/index.html").ok()
    image = made.put_image()
    untouched = made.seen()
    rehearsal = made.sh(f"upgrade {image}").ok().out
    assert "none made; to make them add --apply" in rehearsal
    assert made.seen() == untouched
    env = box.fw_printenv()

    told = made.flash(image)
    assert "the router restarts by itself" in told, told
    starts = made.follow()
    assert starts == (1 if method == "internal" else 2), box.run("tail -n 40 /tmp/bootplan.log; tail /tmp/log/boot").out

    assert f"DISTRIB_RELEASE='{NEW}'" in box.read("/etc/openwrt_release")
    assert box.run("uname -r").out.strip() == KERNEL
    assert box.exists(f"/lib/modules/{KERNEL}/nvme.ko")
    assert "option word 'kept'" in box.read("/etc/config/mine")
    assert box.fw_printenv() == env
    status = made.status()
    root = ROOT.get(method, "internal" if medium == "nand" else "internal on /dev/fitrw")
    assert (status["root"], status["as_planned"]) == (root, True), str(status)
    assert status["upgraded"].startswith(f"from {OLD} to {NEW} on ")
    assert [status[f"upgrade_{key}"] for key in ("version", "env", "root", "packages")] == ["ok"] * 4
    assert box.read("/www/index.html") == "<p>OpenWrt</p>\n"
    assert not box.exists("/etc/not-kept")
    if method != "internal":
        assert box.read("/root/notes") == "mine\n"
        before = "/overlay/.bootplan" if method == "extroot-overlay" else "/.bootplan"
        assert box.run(f"cat {before}/before-*/etc/not-kept").ok().out == "old\n"
    assert "nothing was changed" in made.sh("install --apply").ok().out
    assert len(box.run("ls -d /srv/backup/bootplan-*.tar.gz").ok().out.split()) == 1
    again = made.put_image()
    assert "it is already so" in made.sh(f"upgrade {again} --apply").ok().out


def refused(made, words, *reasons):
    """Look whether an upgrade with these words is refused for all these reasons, and nothing was written."""
    untouched = made.seen()
    result = made.sh(f"upgrade {words} --apply")
    assert result.code == 3, result.out
    assert result.out.endswith("nothing was changed\n")
    for reason in reasons:
        assert reason in result.out, result.out
    assert made.seen() == untouched


def test_images_that_are_refused(bench):
    """Of another board, of another release, damaged, without what the root needs, and none at all."""
    made = bench().installed()

    refused(made, "/tmp/none.itb", "is no file that can be read")
    image = made.put_image()
    refused(made, image.split()[0], "nothing says what the SHA-256 of the image is")
    refused(made, f"{image.split()[0]} --sha256 {'0' * 64}", "it is another file, or damaged")
    refused(made, made.put_image(defect="board"), "not supported by this image")
    refused(made, made.put_image(defect="metadata"), "Image metadata not present")
    refused(made, made.put_image(defect="truncated"), "sysupgrade -T does not accept")
    refused(made, made.put_image(defect="two"), "holds no FIT with one squashfs")
    refused(made, made.put_image(defect="hash"), "sysupgrade -T does not accept")
    refused(made, made.put_image(release="24.10.7"), "this plan is for 25.12")
    refused(made, made.put_image(packages=("sfdisk",)), "the image lacks kmod-nvme block-mount", "reinstall: true")


def test_places_for_the_backup_that_are_refused(bench):
    """RAM, the overlay that is made anew, a folder of the system, and none."""
    made = bench(text=plan(more="")).installed()
    image = made.put_image()
    made.router.run("mkdir -p /etc/backup /root/backup").ok()

    refused(made, image, "nothing says where the backup goes")
    refused(made, f"{image} --backup /tmp", "is in RAM")
    refused(made, f"{image} --backup /srv/none", "is no folder that can be written")
    refused(made, f"{image} --backup /etc/backup", "in a folder of the system")
    assert "none made" in made.sh(f"upgrade {image} --backup /root/backup").ok().out

    alone = bench("internal", text=plan("internal", more=""))
    alone.router.run("mkdir -p /root/backup").ok()
    image = alone.put_image()
    refused(alone, f"{image} --backup /root/backup", "which sysupgrade makes anew")
    alone.router.run("mkdir -p /mnt/bound && mount -o bind /root/backup /mnt/bound").ok()
    refused(alone, f"{image} --backup /mnt/bound", "which sysupgrade makes anew")


@pytest.mark.parametrize("method", ["internal", "extroot-overlay"])
def test_the_disk_for_the_backup_is_not_mounted(bench, method):
    """The folder below its mount point is none: the disk hides it when it is back."""
    made = bench(method).installed()
    box, image = made.router, made.put_image()
    box.run("umount /srv && mkdir -p /srv/backup").ok()

    refused(made, image, "fstab mounts a disk at /srv, and it is not mounted")
    told = made.sh("backup /srv/backup")
    assert (told.code, "fstab mounts a disk at /srv" in told.out) == (3, True), told.out
    assert box.run("ls /srv/backup").ok().out == ""
    box.run(f"mount /dev/nvme0n1p{1 if method == 'internal' else 2} /srv").ok()
    assert "none made" in made.sh(f"upgrade {image}").ok().out
    box.run("cd /srv && mkdir -- -w").ok()
    assert "none made" in box.run(f"cd /srv && sh /tmp/r4.sh upgrade {image} --backup -w").ok().out


def test_a_router_that_is_not_ready(bench):
    """flag_recover, slots, a volume that is missing, no room on the flash, and another upgrade under way: all told at once."""
    made = bench().installed()
    box, image = made.router, made.put_image()
    box.run("fw_setenv flag_recover 1 && fw_setenv bp_good a").ok()
    box.run("mkdir -p /etc/bootplan && printf 'state flashed\\nto 25.12.9\\n' >/etc/bootplan/upgrade").ok()
    box.run("for volume in /sys/class/ubi/ubi0_*; do ! grep -q '^fip$' $volume/name || echo other >$volume/name; done").ok()

    refused(made, image, "flag_recover is set", "U-Boot chooses between slots", "the upgrade to 25.12.9 has not come to its end",
            "lacks the volumes fip")

    box.run("rm -r /sys/class/ubi/ubi0 && rm /etc/bootplan/upgrade").ok()
    refused(made, image, "UBI is not attached: sysupgrade would format")


def test_a_flash_that_is_too_small(bench):
    """The volumes of the old system together have no room for a new one with an overlay."""
    made = bench("internal", flash_blocks=130, data_bytes=None, text=plan("internal"))
    refused(made, f"{made.put_image()} --backup /tmp", "erase blocks for image and overlay")


def test_a_plan_with_root_on_the_command_line_is_told_why_not(router):
    """The reason, and what does it."""
    box = router(slots=True, kernel_nvme="builtin", packages=("block-mount", "sfdisk")).boot()
    made = UpgradeBench(box, plan("cmdline", more=""))

    refused(made, "/tmp/none.itb", "kernel and root must change together", "'slots:'")


@pytest.mark.parametrize("method", ["internal", "extroot-overlay"])
def test_settings_of_another_generation_stay_behind(bench, method):
    """24.10 to 25.12: explained and refused; with --drop-settings the new system has its own, and the backup the old."""
    made = bench(method, text=plan(method, release="24.10"), release="24.10.7").installed()
    box = made.router
    box.put("/etc/config/mine", "config mine\n")
    box.put("/root/notes", "mine\n")
    newer = UpgradeBench(box, plan(method, more="upgrade: {backup: /srv/backup, keep: [/etc/config/mine]}\n"))
    image = newer.put_image()

    refused(newer, image, "eth1 became sfp-lan", "--drop-settings")
    newer.flash(f"{image} --drop-settings")
    assert newer.follow() == (1 if method == "internal" else 2)

    status = newer.status()
    assert (status["release"], status["as_planned"]) == (NEW, True), str(status)
    assert status["upgraded"].startswith("from 24.10.7 to 25.12.6")
    assert "left behind; they are in the backup that was made in /srv/backup" in status["upgrade_settings"]
    assert box.run("uci get system.@system[0].compat_version").out == "1.1\n"
    assert box.exists("/etc/config/mine")
    assert not box.exists("/etc/config/lived")
    assert box.exists("/root/notes") is (method != "internal")
    assert "etc/config/lived" in box.run("cd /tmp && tar -xzf /srv/backup/bootplan-*.tar.gz && tar -tzf bootplan-*/config.tar.gz").ok().out


def test_settings_with_odd_names(bench):
    """Blanks, quotes, globs and dashes come along; a name with a line break is refused while nothing was changed."""
    made = bench("internal", text=plan("internal", more="upgrade: {backup: /srv/backup, keep: [/etc/kept]}\n")).installed()
    box = made.router
    names = ["-rf", " before", "behind ", "two  blanks", "it's", "*", "$(reboot)", "back\\slash"]
    for folder in ("/etc/kept", "/etc/config"):
        for name in names if folder == "/etc/kept" else (".odd ",):
            box.put(f"{folder}/{name}", f"{name}\n")
    box.run("printf x >\"$(printf '/etc/kept/line\\nbreak')\"").ok()
    image = made.put_image()

    refused(made, image, "these are to be kept, and are not there: '/etc/kept/line' 'break'")
    box.run("rm /etc/kept/line*").ok()
    assert made.upgraded() == 1

    for name in names:
        assert box.read(f"/etc/kept/{name}") == f"{name}\n"
    assert box.read("/etc/config/.odd ") == ".odd \n"


def test_the_service_was_off(bench):
    """sysupgrade takes along which services are disabled; the first start runs all the same, and the others stay off."""
    made = bench().installed()
    box = made.router
    assert made.upgraded() == 2
    box.run("/etc/init.d/bootplan disable").ok()
    image = made.put_image(release="25.12.7")

    made.flash(image)

    assert made.follow() == 2
    assert made.status()["as_planned"] is True


def test_a_sysupgrade_that_does_not_begin(bench):
    """Its last look may refuse what its first took: the old system is told, and is there."""
    made = bench("internal").installed()
    box, image = made.router, made.put_image()
    box.run("sed -i 's/^rm -f .CONF$/echo no >\\&2; exit 1/' /sbin/sysupgrade && grep -q '^echo no' /sbin/sysupgrade").ok()

    told = made.sh(f"upgrade {image} --apply")

    assert told.code == 1, told.out
    assert "sysupgrade did not begin (status 1)" in told.out
    assert "the next power-on starts the old system: nothing was written to the boot medium" in told.out
    box.off()
    assert box.settle() == ["stock"]
    assert f"DISTRIB_RELEASE='{OLD}'" in box.read("/etc/openwrt_release")


def test_the_disk_is_full_at_the_first_start(bench):
    """The old root is set aside whole, status says what is the matter, and with room the same start goes on."""
    made = bench("extroot-pivot").installed()
    box = made.router
    box.put("/etc/own", "own\n")
    made.flash(made.put_image())
    box.services = False
    box.boot()
    made.router.put(made.name, made.script)
    box.run("mkdir /mnt/in && mount -t ext4 /dev/nvme0n1p1 /mnt/in && dd if=/dev/zero of=/mnt/in/filler bs=1M 2>/dev/null; "
            "sync; umount /mnt/in").ok()

    assert box.run("sh /etc/bootplan/bootplan.sh first-start").code == 1

    status = made.status()
    assert (status["as_planned"], status["upgrade_root"]) == (False, "the root on the disk was begun, and is not finished"), str(status)
    box.run("mount -t ext4 /dev/nvme0n1p1 /mnt/in && rm /mnt/in/filler && cat /mnt/in/.bootplan/before-*/etc/own && umount /mnt/in").ok()
    box.off()
    box.services = True
    assert made.follow() == 2
    assert made.status()["as_planned"] is True
    assert box.run("cat /.bootplan/before-*/etc/own").ok().out == "own\n"


def test_a_root_on_the_disk_that_is_not_right(bench):
    """The second start says why in the status, and closes the upgrade when that is mended."""
    made = bench("extroot-pivot").installed()
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


def test_a_crash_record_is_put_away_first(bench):
    """It would send the next start to the recovery system."""
    made = bench().installed()
    made.router.crash()
    image = made.put_image()

    assert "to /etc/bootplan/crash: dmesg-ramoops-0" in made.flash(image)

    assert made.follow() == 2
    assert made.status()["as_planned"] is True
    assert "dmesg-ramoops-0" in made.router.run("ls /etc/bootplan/crash").out


def by_hand(box, *names):
    """Note packages as installed since the firmware was flashed, with a file each."""
    for name in names:
        box.put(f"/lib/apk/packages/{name}.list", f"/usr/bin/{name}\n")
        box.put(f"/usr/bin/{name}", f"#!/bin/sh\n# {name}\n", 0o755)


def test_packages_that_the_image_lacks_are_told(bench):
    """The line that installs them, in the words of the package manager; and nothing is wrong with the root."""
    made = bench().installed()
    by_hand(made.router, "tcpdump", "htop")

    assert made.upgraded() == 2

    status = made.status()
    assert status["as_planned"] is True
    assert status["upgrade_packages"] == "not in the new system: htop tcpdump; to have them: apk update && apk add htop tcpdump"
    by_hand(made.router, "tcpdump", "htop")
    assert made.status()["upgrade_packages"] == "ok"


@pytest.mark.parametrize("packages", [("kmod-nvme", "block-mount", "sfdisk"), ("block-mount", "sfdisk"), ("sfdisk",)])
def test_packages_that_the_image_lacks_are_installed(bench, packages):
    """reinstall: true; also what the root on the disk itself needs."""
    made = bench(text=plan(more="upgrade: {backup: /srv/backup, reinstall: true}\n")).installed()
    by_hand(made.router, "htop")

    # The bench does not load a module that comes with a package: its disk appears behind one more restart.
    assert made.upgraded(packages=packages) == (2 if "kmod-nvme" in packages else 3)

    status = made.status()
    assert (status["root"], status["as_planned"], status["upgrade_packages"]) == (ROOT["extroot-overlay"], True, "ok"), str(status)


def test_a_package_that_is_gone_keeps_no_other_out(bench):
    """What the feeds do not have any more is told; what the root needs, and the other packages, are installed."""
    made = bench(text=plan(more="upgrade: {backup: /srv/backup, reinstall: true}\n")).installed()
    by_hand(made.router, "gone-for-good", "htop")

    assert made.upgraded(packages=("kmod-nvme", "sfdisk")) == 2

    status = made.status()
    assert (status["root"], status["as_planned"]) == (ROOT["extroot-overlay"], True), str(status)
    assert status["upgrade_packages"] == "not in the new system: gone-for-good; to have them: apk update && apk add gone-for-good"
    assert "within 3 s: gone-for-good;" in made.router.read("/etc/bootplan/last-upgrade")


def test_packages_that_cannot_be_installed(bench):
    """No network in time: told, and the root stays on the boot medium; with a network the first start again finishes."""
    made = bench(text=plan(more="upgrade: {backup: /srv/backup, reinstall: true}\n"), up=("lan",)).installed()

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


def test_the_disk_is_away_at_the_first_start(bench):
    """The new system comes up on the boot medium, says why, and goes on when the disk is back."""
    made = bench().installed()
    box = made.router
    made.flash(made.put_image())
    disks, box.disks = box.disks, ()
    hidden = box.image("nvme0").rename(box.folder / "away")

    assert made.follow() == 1
    status = made.status()
    assert (status["root"], status["upgrade_root"]) == ("internal", "the disk 'serial:S4EWNF0M531930D' is not here"), str(status)

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


def test_odd_names_take_nothing_away(bench):
    """Blanks and line breaks in names at the top, of the disk's root and of the new system, are no other names."""
    made = bench().installed()
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
        assert box.read(f"/overlay/upper/{name}/mine") == "mine\n", box.run("ls -la /overlay/upper /overlay/.bootplan/*").out
    assert box.read("/ours/new") == "new\n"


def test_a_system_whose_root_is_away_is_not_upgraded(bench):
    """The settings of the boot medium are older than those on the disk; without the disk's root it is."""
    made = bench().installed()
    box = made.router
    disks, box.disks = box.disks, ()
    box.off()
    hidden = box.image("nvme0").rename(box.folder / "away")
    assert made.follow() == 1
    image = made.put_image()
    box.run("mkdir -p /mnt/backup && mount -t tmpfs tmpfs /mnt/backup").ok()

    told = made.sh(f"upgrade {image} --backup /mnt/backup")
    assert (told.code, "whose settings are older" in told.out) == (3, True), told.out
    box.run("uci set fstab.bootplan_root.enabled=0; uci commit fstab").ok()
    assert "whose settings are older" not in made.sh(f"upgrade {image} --backup /mnt/backup").out
    box.off()
    hidden.rename(box.image("nvme0"))
    box.disks = disks


def test_a_finished_root_is_not_made_fit_again(bench):
    """A start on the boot medium months later, whose record says that the upgrade is not finished, takes nothing away."""
    made = bench().installed()
    assert made.upgraded() == 2
    box = made.router
    box.put("/etc/config/mine", "config mine\n\toption word 'later'\n")
    box.run("mkdir /mnt/in && mount -t ubifs ubi0:rootfs_data /mnt/in").ok()
    box.run("sed -i 's/^state .*/state flashed/' /mnt/in/upper/etc/bootplan/upgrade").ok()
    box.run("uci -c /mnt/in/upper/etc/config set fstab.bootplan_root.enabled=0; "
            "uci -c /mnt/in/upper/etc/config commit fstab; umount /mnt/in").ok()
    box.off()

    assert made.follow() == 2
    assert made.root() == ROOT["extroot-overlay"]
    assert "option word 'later'" in box.read("/etc/config/mine")


def test_a_backup_on_another_computer(bench, tmp_path):
    """Goes there before the flash; when it does not arrive nothing is flashed."""
    made = bench("internal").installed()
    box = made.router
    box.put("/etc/config/mine", "config mine\n")
    image = made.put_image()
    with computer(box, tmp_path / "other", port=2222) as home:
        untouched = made.seen()
        told = made.sh(f"upgrade {image} --backup {LOGIN}^2222:full --apply")
        assert (told.code, "its disk is full" in told.out) == (1, True), told.out
        assert made.seen() == untouched and not list((home / "full").glob("*.tar.gz"))
        made.flash(f"{image} --backup {LOGIN}^2222:.")
        (archive,) = home.glob("bootplan-*.tar.gz")
        subprocess.run(["sha256sum", "-c", f"{archive.name}.sha256"], cwd=home, check=True)
    assert made.follow() == 1
    assert f"DISTRIB_RELEASE='{NEW}'" in box.read("/etc/openwrt_release")
    assert box.read("/etc/config/mine") == "config mine\n"


@pytest.mark.parametrize("until", ["removed", "made", "half"])
def test_a_cut_of_the_flash_starts_recovery(bench, until):
    """No system is whole then: U-Boot starts the recovery system. The disk has the old root, and the backup."""
    made = bench().installed()
    made.flash(made.put_image(), until=until)

    assert made.router.settle() == ["recovery"]


def test_a_cut_before_the_settings_are_written(bench):
    """The new system comes up with its own settings; the disk's root and the backup are whole."""
    made = bench().installed()
    made.router.put("/etc/config/mine", "config mine\n")
    made.flash(made.put_image(), until="written")

    assert made.follow() == 1
    box = made.router
    assert made.root() == "internal"
    box.run("mkdir /mnt/in && mount -t ext4 -o ro /dev/nvme0n1p1 /mnt/in").ok()
    assert box.exists("/mnt/in/upper/etc/config/mine")
    box.run("umount /mnt/in && mount -t ext4 /dev/nvme0n1p2 /mnt/in").ok()
    assert box.run("cd /mnt/in/backup && sha256sum -c bootplan-*.sha256").code == 0


def test_what_would_be_kept_and_what_not(bench):
    """upgrade --list tells each changed file with a reason, and changes nothing."""
    made = bench("extroot-pivot", text=plan("extroot-pivot", more="upgrade: {backup: /srv/backup, keep: [/etc/kept]}\n")).installed()
    box = made.router
    box.put("/etc/kept/a", "a\n")
    box.put("/etc/own", "own\n")
    box.put("/root/notes", "mine\n")
    box.run("printf 'changed\\n' >/www/index.html").ok()
    by_hand(box, "htop")
    untouched = made.seen()

    told = made.sh("upgrade --list").ok().out

    assert made.seen() == untouched
    kept, lost = told.split("what was changed, and would not be kept:")
    assert "  /etc/kept/a\n" in kept
    assert "  /etc/config/network\n" in kept
    assert "  /etc/own (neither the firmware's nor a package's)\n" in lost
    assert "  /www/index.html (changed here; the new firmware brings its own)\n" in lost
    assert "  packages installed since: htop (" in lost
    assert "/root/notes" not in lost
    assert "/usr/bin/htop" not in lost


def test_what_an_upgrade_left_is_removed_when_asked(bench):
    """--clean shows it; --apply needs the disk's word; what is not proven stays."""
    made = bench().installed()
    assert made.upgraded() == 2
    box = made.router
    box.put("/tmp/openwrt-25.12.6-squashfs-sysupgrade.itb", "x")
    (left,) = box.run("ls -d /overlay/.bootplan/before-*").ok().out.split()

    assert left in made.sh("upgrade --clean").ok().out
    assert made.sh("upgrade --clean --apply").code == 3
    box.run("sed -i 's/^root ok/root no/' /etc/bootplan/last-upgrade").ok()
    assert "is not proven" in made.sh("upgrade --clean --apply --wipe S4EWNF0M531930D").ok().out
    assert box.exists(left)
    box.run("sed -i 's/^root no/root ok/' /etc/bootplan/last-upgrade").ok()
    made.sh("upgrade --clean --apply --wipe S4EWNF0M531930D").ok()
    assert not box.exists(left)
    assert not box.exists("/tmp/openwrt-25.12.6-squashfs-sysupgrade.itb")
    assert "it is already so" in made.sh("upgrade --clean --apply").ok().out
    assert made.status()["as_planned"] is True


def test_packages_of_opkg(bench):
    """24.10: what was installed by hand, without what only came along with it; the line is opkg's."""
    made = bench(text=plan(release="24.10"), release="24.10.7").installed()
    for name in ("htop", "libncurses"):
        made.router.put(f"/usr/lib/opkg/info/{name}.control", f"Package: {name}\nVersion: 1\n")
    made.router.put("/usr/lib/opkg/status", "Package: libncurses\nVersion: 1\nAuto-Installed: yes\n\nPackage: htop\nVersion: 1\n")

    assert made.upgraded(release="24.10.8") == 2

    status = made.status()
    assert (status["root"], status["as_planned"]) == (ROOT["extroot-overlay"], True), str(status)
    assert status["upgrade_packages"] == "not in the new system: htop; to have them: opkg update && opkg install htop"


def test_an_image_that_is_not_in_ram(bench):
    """sysupgrade copies it there; a rehearsal leaves no copy."""
    made = bench().installed()
    image = made.put_image("/srv/new.itb")
    made.sh(f"upgrade {image}").ok()
    assert not made.router.exists("/tmp/sysupgrade.img")

    made.flash(image)

    assert made.follow() == 2
    assert made.status()["as_planned"] is True
