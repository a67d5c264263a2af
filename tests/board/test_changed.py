"""What an upgrade would keep and what not, and what an earlier one left."""

from .upgrades import MakeUpgradeBench, by_hand, plan


def test_what_would_be_kept_and_what_not(upgrade_bench: MakeUpgradeBench) -> None:
    """upgrade --list tells each changed file with a reason, and changes nothing."""
    made = upgrade_bench(
        "extroot-pivot", text=plan("extroot-pivot", more="upgrade: {backup: /srv/backup, keep: [/etc/kept]}\n")
    ).installed()
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


def test_what_an_upgrade_left_is_removed_when_asked(upgrade_bench: MakeUpgradeBench) -> None:
    """--clean shows it; --apply needs the disk's word; what is not proven stays."""
    made = upgrade_bench().installed()
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
