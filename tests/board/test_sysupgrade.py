"""An upgrade without slots, on every kind of root: the settings, the flash, and its cuts."""

import subprocess
from pathlib import Path

import pytest

from .elsewhere import LOGIN, computer
from .upgrades import KERNEL, NEW, OLD, ROOT, MakeUpgradeBench, UpgradeBench, plan, swap_when_tested


@pytest.mark.parametrize(
    ("method", "medium", "shell"),
    [
        ("internal", "nand", "ash"),
        pytest.param("extroot-overlay", "nand", "ash", marks=pytest.mark.quick),
        ("extroot-pivot", "nand", "dash"),
        ("extroot-overlay", "emmc", "dash"),
        ("extroot-pivot", "sd", "ash"),
        ("internal", "emmc", "dash"),
    ],
)
def test_an_upgrade_brings_the_root_along(
    upgrade_bench: MakeUpgradeBench, method: str, medium: str, shell: str
) -> None:
    """Rehearsal, upgrade, first start, second start: new system and kernel, the settings, and the user's own files."""
    made = upgrade_bench(method, medium, shell=shell).installed()
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


@pytest.mark.parametrize("method", ["internal", "extroot-overlay"])
def test_settings_of_another_generation_stay_behind(upgrade_bench: MakeUpgradeBench, method: str) -> None:
    """24.10 to 25.12: explained and refused; with --drop-settings the new system has its own, the backup the old."""
    made = upgrade_bench(method, text=plan(method, release="24.10"), release="24.10.7").installed()
    box = made.router
    box.put("/etc/config/mine", "config mine\n")
    box.put("/root/notes", "mine\n")
    newer = UpgradeBench(box, plan(method, more="upgrade: {backup: /srv/backup, keep: [/etc/config/mine]}\n"))
    image = newer.put_image()

    newer.refused(image, "eth1 became sfp-lan", "--drop-settings")
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
    assert (
        "etc/config/lived"
        in box.run("cd /tmp && tar -xzf /srv/backup/bootplan-*.tar.gz && tar -tzf bootplan-*/config.tar.gz").ok().out
    )


def test_settings_with_odd_names(upgrade_bench: MakeUpgradeBench) -> None:
    """Blanks, quotes, globs and dashes come along; a name with a line break is refused while nothing was changed."""
    made = upgrade_bench(
        "internal", text=plan("internal", more="upgrade: {backup: /srv/backup, keep: [/etc/kept]}\n")
    ).installed()
    box = made.router
    names = ["-rf", " before", "behind ", "two  blanks", "it's", "*", "$(reboot)", "back\\slash"]
    for folder in ("/etc/kept", "/etc/config"):
        for name in names if folder == "/etc/kept" else (".odd ",):
            box.put(f"{folder}/{name}", f"{name}\n")
    box.run("printf x >\"$(printf '/etc/kept/line\\nbreak')\"").ok()
    image = made.put_image()

    made.refused(image, "these are to be kept, and are not there: '/etc/kept/line' 'break'")
    box.run("rm /etc/kept/line*").ok()
    assert made.upgraded() == 1

    for name in names:
        assert box.read(f"/etc/kept/{name}") == f"{name}\n"
    assert box.read("/etc/config/.odd ") == ".odd \n"


def test_the_service_was_off(upgrade_bench: MakeUpgradeBench) -> None:
    """sysupgrade takes along which services are disabled; the first start runs all the same, the others stay off."""
    made = upgrade_bench().installed()
    box = made.router
    assert made.upgraded() == 2
    box.run("/etc/init.d/bootplan disable").ok()
    image = made.put_image(release="25.12.7")

    made.flash(image)

    assert made.follow() == 2
    assert made.status()["as_planned"] is True


def test_a_sysupgrade_that_does_not_begin(upgrade_bench: MakeUpgradeBench) -> None:
    """Its last look may refuse what its first took: the old system is told, and is there."""
    made = upgrade_bench("internal").installed()
    box, image = made.router, made.put_image()
    box.run(
        "sed -i 's/^rm -f .CONF$/echo no >\\&2; exit 1/' /sbin/sysupgrade && grep -q '^echo no' /sbin/sysupgrade"
    ).ok()

    told = made.sh(f"upgrade {image} --apply")

    assert told.code == 1, told.out
    assert "sysupgrade did not begin (status 1)" in told.out
    assert "the next power-on starts the old system: nothing was written to the boot medium" in told.out
    box.off()
    assert box.settle() == ["stock"]
    assert f"DISTRIB_RELEASE='{OLD}'" in box.read("/etc/openwrt_release")


@pytest.mark.parametrize("says", ["Operation not supported", "Unknown error"])
def test_a_sysupgrade_that_procd_refuses(upgrade_bench: MakeUpgradeBench, says: str) -> None:
    """Behind "Commencing upgrade" procd looks at the image once more: its word is told at once, and the old system."""
    made = upgrade_bench("internal").installed()
    box, image = made.router, made.put_image()
    box.put(made.name, made.script.replace("\nflash_seconds=120 ", "\nflash_seconds=600 "))
    box.put("/tmp/rig/instead", f"die 'Command failed: {says}'\n")

    told = made.sh(f"upgrade {image} --apply")

    assert told.code == 1, told.out
    assert f"sysupgrade did not begin (status 1): procd says '{says}'; restart the router" in told.out
    assert told.out.count("the next power-on starts ") == 1
    assert "the next power-on starts the old system: nothing was written to the boot medium\n" in told.out
    assert box.run("ls -d /tmp/bootplan.?????? 2>/dev/null").out == ""
    box.off()
    assert box.settle() == ["stock"]
    assert f"DISTRIB_RELEASE='{OLD}'" in box.read("/etc/openwrt_release")


@pytest.mark.parametrize(
    ("instead", "boots"),
    [
        ("die 'Command failed: Connection failed'\n", "the old system: nothing was written"),
        ("exit 0\n", "the old system: nothing was written"),
        ("cat $image >/dev/{fit}\ndie 'Command failed: Request timed out'\n", "the new system, which may lack"),
        (
            "head -c 65536 $image | tail -c 4096 >/dev/{fit}\nexit 0\n",
            "the recovery system: what the boot medium holds",
        ),
    ],
    ids=["cut off", "no word", "all of it", "a part of it"],
)
def test_a_sysupgrade_that_leaves_the_system_running(upgrade_bench: MakeUpgradeBench, instead: str, boots: str) -> None:
    """Nobody answers, and nobody restarts the router: what the boot medium holds tells what the next start is."""
    made = upgrade_bench("internal").installed()
    made.router.put(made.name, made.script.replace("\nflash_seconds=120 ", "\nflash_seconds=2 "))
    image = made.put_image()
    fit = made.router.run("grep -lx fit /sys/class/ubi/ubi0_*/name").ok().out.split("/")[4]
    made.router.put("/tmp/rig/instead", instead.replace("{fit}", fit))

    told = made.sh(f"upgrade {image} --apply")

    assert told.code == 1, told.out
    assert "sysupgrade began, and 2 seconds later this system still runs; restart the router" in told.out
    assert f"the next power-on starts {boots}" in told.out


def test_a_crash_record_is_put_away_first(upgrade_bench: MakeUpgradeBench) -> None:
    """It would send the next start to the recovery system."""
    made = upgrade_bench().installed()
    made.router.crash()
    image = made.put_image()

    assert "to /etc/bootplan/crash: dmesg-ramoops-0" in made.flash(image)

    assert made.follow() == 2
    assert made.status()["as_planned"] is True
    assert "dmesg-ramoops-0" in made.router.run("ls /etc/bootplan/crash").out


def test_a_backup_on_another_computer(upgrade_bench: MakeUpgradeBench, tmp_path: Path) -> None:
    """Goes there before the flash; when it does not arrive nothing is flashed."""
    made = upgrade_bench("internal").installed()
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
def test_a_cut_of_the_flash_starts_recovery(upgrade_bench: MakeUpgradeBench, until: str) -> None:
    """No system is whole then: U-Boot starts the recovery system. The disk has the old root, and the backup."""
    made = upgrade_bench().installed()
    made.flash(made.put_image(), until=until)

    assert made.router.settle() == ["recovery"]


def test_a_cut_before_the_settings_are_written(upgrade_bench: MakeUpgradeBench) -> None:
    """The new system comes up with its own settings; the disk's root and the backup are whole."""
    made = upgrade_bench().installed()
    made.router.put("/etc/config/mine", "config mine\n")
    made.flash(made.put_image(), until="written")

    assert made.follow() == 1
    box = made.router
    assert made.root() == "internal"
    box.run("mkdir /mnt/in && mount -t ext4 -o ro /dev/nvme0n1p1 /mnt/in").ok()
    assert box.exists("/mnt/in/upper/etc/config/mine")
    box.run("umount /mnt/in && mount -t ext4 /dev/nvme0n1p2 /mnt/in").ok()
    assert box.run("cd /mnt/in/backup && sha256sum -c bootplan-*.sha256").code == 0


def test_an_image_that_is_not_in_ram(upgrade_bench: MakeUpgradeBench) -> None:
    """It is copied there; a rehearsal leaves no copy, and neither does an image that is refused."""
    made = upgrade_bench().installed()
    image = made.put_image("/srv/new.itb")
    made.sh(f"upgrade {image}").ok()
    assert made.sh(f"upgrade /srv/new.itb --sha256 {'0' * 64}").code == 3
    assert made.router.run("ls -d /tmp/sysupgrade.img /tmp/bootplan.?????? 2>/dev/null").out == ""

    made.flash(image)

    assert made.follow() == 2
    assert made.status()["as_planned"] is True


def test_an_image_that_is_swapped_after_it_was_checked(upgrade_bench: MakeUpgradeBench) -> None:
    """The system whose SHA-256 was checked is the one that is written, whatever becomes of the file meanwhile."""
    made = upgrade_bench("internal").installed()
    image = made.put_image()
    swap_when_tested(made.router, made.put_image("/tmp/other.itb", release="25.12.9").split()[0])

    made.flash(image)

    assert made.follow() == 1
    assert f"DISTRIB_RELEASE='{NEW}'" in made.router.read("/etc/openwrt_release")
    assert made.status()["as_planned"] is True
