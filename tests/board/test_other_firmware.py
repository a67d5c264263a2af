"""A root on the disk that is made for another firmware than the one that runs: fstools takes it all the same."""

import pytest

from .router import MakeRouter
from .scripts import Bench, plan
from .slotted import SlotBench, kind_of_router
from .test_by_hand import disk_root, fits, flash_without_disks, lived_in
from .upgrades import MakeUpgradeBench

MADE_FOR_ANOTHER = {
    "extroot-overlay": "this root is an overlay for another firmware",
    "extroot-pivot": "this root has no",
}


def by_hand(bench: SlotBench) -> None:
    """Upgrade the slot that runs as LuCI does, and start twice: the first start does not have its settings yet."""
    image = bench.put_image(release="25.12.9").split()[0]
    bench.router.start(f"sysupgrade {image}")
    assert bench.router.wait_stopped() == "reboot"
    bench.restart()
    bench.restart()
    assert "DISTRIB_RELEASE='25.12.9'" in bench.router.read("/rom/etc/openwrt_release")


def test_a_slot_after_a_sysupgrade_by_hand(router: MakeRouter) -> None:
    """Its fstab names no root, so the old overlay is not taken; what status says starts the other slot."""
    bench = SlotBench(router(**kind_of_router("pair")).boot()).installed().upgraded()
    assert bench.restart_all() == ["b"]

    by_hand(bench)

    status = bench.status()
    assert (status["root"], status["as_planned"]) == ("internal", False), str(status)
    assert status["problems"][0].startswith(
        "slot b runs without its overlay on the disk, which is an overlay for another firmware ("
    ), str(status)
    assert status["advice"].startswith("sh r4.sh switch --apply, then reboot"), str(status)
    refused = bench.sh("install --apply")
    assert (refused.code, "switch --apply" in refused.out) == (3, True), refused.out

    bench.sh("switch --apply").ok()
    assert bench.restart_all() == ["a"]
    status = bench.status()
    assert (status["slot"], status["good"], status["as_planned"]) == ("a", "a", True), str(status)


def test_a_slot_whose_overlay_is_taken_after_a_sysupgrade_by_hand(router: MakeRouter) -> None:
    """Its fstab named a root when it was flashed: told, the other slot starts; a trial of this one fails."""
    bench = SlotBench(router(**kind_of_router("pair")).boot()).installed().upgraded()
    assert bench.restart_all() == ["b"]
    assert bench.status()["as_planned"] is True
    made_for = bench.router.run("sed -n 2p /overlay/.bootplan/state").ok().out.strip()
    assert f'/dev/fit0: VERSION="4.0" UUID="{made_for}" MOUNT="/rom"' in bench.router.run("block info").ok().out
    bench.router.run(
        "uci set fstab.r=mount; uci set fstab.r.target=/overlay; uci commit fstab; "
        """uci set fstab.r.uuid=$(block info /dev/nvme0n1p2 | sed 's/.* UUID="\\([^"]*\\)".*/\\1/'); uci commit fstab"""
    ).ok()
    told = bench.status()
    assert told["advice"] == "uci set fstab.r.enabled=0; uci commit fstab", str(told)

    by_hand(bench)

    status = bench.status()
    assert (status["root"], status["as_planned"]) == ("overlay on /dev/nvme0n1p2", False), str(status)
    assert status["problems"][0].startswith("this root is an overlay for another firmware ("), str(status)
    assert status["advice"].startswith("sh r4.sh switch --apply, then reboot"), str(status)
    bench.sh("switch --apply").ok()
    assert bench.restart_all() == ["a"]
    assert bench.status()["as_planned"] is True


def test_the_only_slot_after_a_sysupgrade_by_hand(router: MakeRouter) -> None:
    """There is no other slot to start: what status says makes it."""
    bench = SlotBench(router(**kind_of_router("pair")).boot()).installed()

    by_hand(bench)

    status = bench.status()
    assert (status["root"], status["as_planned"]) == ("internal", False), str(status)
    assert status["advice"] == "sh r4.sh upgrade IMAGE --apply, then reboot", str(status)
    bench.upgraded(release="25.12.9")
    assert bench.restart_all() == ["b"]
    status = bench.status()
    assert (status["slot"], status["good"], status["as_planned"]) == ("b", "b", True), str(status)


@pytest.mark.parametrize("medium", ["nand", "sd"])
@pytest.mark.parametrize("method", list(MADE_FOR_ANOTHER))
def test_a_sysupgrade_by_hand_while_the_disk_was_away(
    upgrade_bench: MakeUpgradeBench, method: str, medium: str
) -> None:
    """The fstab of the boot medium travels, and names the disk's root: told from there, and mended from there."""
    made = lived_in(upgrade_bench(method, medium).installed())
    box = made.router
    flash_without_disks(made)
    box.reboot()
    made.router.put(made.name, made.script)

    status = made.status()
    assert status["as_planned"] is False, str(status)
    assert any(one.startswith(MADE_FOR_ANOTHER[method]) for one in status["problems"]), str(status)
    assert status["advice"].startswith("sh r4.sh upgrade --refit "), str(status)
    assert "upgrade --refit" in made.sh("install --apply").out
    untouched = made.seen()
    assert "none made" in made.sh("upgrade --refit").ok().out and made.seen() == untouched

    made.sh("upgrade --refit --apply").ok()
    assert made.status()["advice"] == "reboot: the next start makes it fit"
    assert "nothing was changed" in made.sh("upgrade --refit --apply").ok().out
    box.off()
    assert made.follow() == 2
    fits(made, method)
    assert "its root there fits this firmware" in made.sh("upgrade --refit").out


def test_no_room_on_the_boot_medium(upgrade_bench: MakeUpgradeBench) -> None:
    """Told before anything is written there: a full overlay costs no fstab."""
    made = lived_in(upgrade_bench().installed())
    box = made.router
    flash_without_disks(made)
    box.run("dd if=/dev/zero of=/root/filler bs=4096 2>/dev/null; sync").ok()
    fstab = box.read("/etc/config/fstab")
    box.reboot()
    made.router.put(made.name, made.script)

    told = made.sh("upgrade --refit --apply")

    assert (told.code, "the overlay of the boot medium has" in told.out) == (1, True), told.out
    box.run("mkdir -p /mnt/in && mount -t ubifs ubi0:rootfs_data /mnt/in").ok()
    assert box.read("/mnt/in/upper/etc/config/fstab") == fstab
    box.run("rm /mnt/in/upper/root/filler; umount /mnt/in").ok()
    made.sh("upgrade --refit --apply").ok()
    box.off()
    assert made.follow() == 2
    fits(made)


@pytest.mark.parametrize(
    "before",
    [
        '    keep_over_sysupgrade "$1"\n    run record_refit',
        '    run without_disk_root "$work/target/upper/etc/config"\n    run sync',
        '    run sync\n    run umount "$work/target"\n    [ "$apply" = no ] || boots=',
    ],
    ids=["service", "record", "fstab"],
)
def test_the_power_goes_while_the_boot_medium_is_prepared(upgrade_bench: MakeUpgradeBench, before: str) -> None:
    """From the old root it starts as before, from the boot medium else; the same command finishes."""
    made = lived_in(upgrade_bench().installed())
    box = made.router
    flash_without_disks(made)
    box.reboot()
    assert made.script.count(before) == 1
    box.put(made.name, made.script.replace(before, f"    sync\n    kill -9 $$\n{before}"))
    assert made.sh("upgrade --refit --apply").code == 137
    box.power_cut()

    fstab_written = "umount" in before
    if fstab_written:
        assert made.follow() == 2
    else:
        box.boot()
        made.router.put(made.name, made.script)
        assert made.status()["advice"].startswith("sh r4.sh upgrade --refit ")
        made.sh("upgrade --refit --apply").ok()
        box.off()
        assert made.follow() == 2
    fits(made)


def test_a_copy_names_no_root(router: MakeRouter) -> None:
    """Not even where the fstab that is copied names one, as after a partition was made anew by hand."""
    box = router().boot()
    bench = Bench(box, plan())
    bench.sh("install --apply").ok()
    box.run("mkfs.ext4 -q -F -L root /dev/nvme0n1p1").ok()
    bench.restart()
    assert box.run("uci get fstab.bootplan_root.enabled").ok().out == "1\n"

    bench.sh("install --apply").ok()

    assert disk_root(bench, "cat upper/etc/config/fstab").count("option enabled '0'") == 1
    bench.restart()
    assert bench.sh("status").code == 0
