"""What an upgrade without slots refuses, with nothing written."""

import pytest

from .router import MakeRouter
from .upgrades import MakeUpgradeBench, UpgradeBench, plan


def test_images_that_are_refused(upgrade_bench: MakeUpgradeBench) -> None:
    """Of another board, of another release, damaged, without what the root needs, and none at all."""
    made = upgrade_bench().installed()

    made.refused("/tmp/none.itb", "is no file that can be read")
    image = made.put_image()
    made.refused(image.split()[0], "nothing says what the SHA-256 of the image is")
    made.refused(f"{image.split()[0]} --sha256 {'0' * 64}", "it is another file, or damaged")
    made.refused(made.put_image(defect="board"), "not supported by this image")
    made.refused(made.put_image(defect="metadata"), "Image metadata not present")
    made.refused(made.put_image(defect="truncated"), "sysupgrade -T does not accept")
    made.refused(made.put_image(defect="two"), "holds no FIT with one squashfs")
    made.refused(made.put_image(defect="hash"), "sysupgrade -T does not accept")
    made.refused(made.put_image(release="24.10.7"), "this plan is for 25.12")
    made.refused(made.put_image(packages=("sfdisk",)), "the image lacks kmod-nvme block-mount", "reinstall: true")


def test_places_for_the_backup_that_are_refused(upgrade_bench: MakeUpgradeBench) -> None:
    """RAM, the overlay that is made anew, a folder of the system, and none."""
    made = upgrade_bench(text=plan(more="")).installed()
    image = made.put_image()
    made.router.run("mkdir -p /etc/backup /root/backup").ok()

    made.refused(image, "nothing says where the backup goes")
    made.refused(f"{image} --backup /tmp", "is in RAM")
    made.refused(f"{image} --backup /srv/none", "is no folder that can be written")
    made.refused(f"{image} --backup /etc/backup", "in a folder of the system")
    assert "none made" in made.sh(f"upgrade {image} --backup /root/backup").ok().out

    alone = upgrade_bench("internal", text=plan("internal", more=""))
    alone.router.run("mkdir -p /root/backup").ok()
    image = alone.put_image()
    alone.refused(f"{image} --backup /root/backup", "which sysupgrade makes anew")
    alone.router.run("mkdir -p /mnt/bound && mount -o bind /root/backup /mnt/bound").ok()
    alone.refused(f"{image} --backup /mnt/bound", "which sysupgrade makes anew")


@pytest.mark.parametrize("method", ["internal", "extroot-overlay"])
def test_the_disk_for_the_backup_is_not_mounted(upgrade_bench: MakeUpgradeBench, method: str) -> None:
    """The folder below its mount point is none: the disk hides it when it is back."""
    made = upgrade_bench(method).installed()
    box, image = made.router, made.put_image()
    box.run("umount /srv && mkdir -p /srv/backup").ok()

    made.refused(image, "fstab mounts a disk at /srv, and it is not mounted")
    told = made.sh("backup /srv/backup")
    assert (told.code, "fstab mounts a disk at /srv" in told.out) == (3, True), told.out
    assert box.run("ls /srv/backup").ok().out == ""
    box.run(f"mount /dev/nvme0n1p{1 if method == 'internal' else 2} /srv").ok()
    assert "none made" in made.sh(f"upgrade {image}").ok().out
    box.run("cd /srv && mkdir -- -w").ok()
    assert "none made" in box.run(f"cd /srv && sh /tmp/r4.sh upgrade {image} --backup -w").ok().out


def test_a_router_that_is_not_ready(upgrade_bench: MakeUpgradeBench) -> None:
    """flag_recover, slots, a missing volume, no room on the flash, and another upgrade under way: all told at once."""
    made = upgrade_bench().installed()
    box, image = made.router, made.put_image()
    box.run("fw_setenv flag_recover 1 && fw_setenv bp_good a").ok()
    box.run("mkdir -p /etc/bootplan && printf 'state flashed\\nto 25.12.9\\n' >/etc/bootplan/upgrade").ok()
    box.run(
        "for volume in /sys/class/ubi/ubi0_*; do ! grep -q '^fip$' $volume/name || echo other >$volume/name; done"
    ).ok()

    made.refused(
        image,
        "flag_recover is set",
        "U-Boot chooses between slots",
        "the upgrade to 25.12.9 has not come to its end",
        "lacks the volumes fip",
    )

    box.run("rm -r /sys/class/ubi/ubi0 && rm /etc/bootplan/upgrade").ok()
    made.refused(image, "UBI is not attached: sysupgrade would format")


def test_a_flash_that_is_too_small(upgrade_bench: MakeUpgradeBench) -> None:
    """The volumes of the old system together have no room for a new one with an overlay."""
    made = upgrade_bench("internal", flash_blocks=130, data_bytes=None, text=plan("internal"))
    made.refused(f"{made.put_image()} --backup /tmp", "erase blocks for image and overlay")


def test_a_plan_with_root_on_the_command_line_is_told_why_not(router: MakeRouter) -> None:
    """The reason, and what does it."""
    box = router(slots=True, kernel_nvme="builtin", packages=("block-mount", "sfdisk")).boot()
    made = UpgradeBench(box, plan("cmdline", more=""))

    made.refused("/tmp/none.itb", "kernel and root must change together", "'slots:'")


def test_a_system_whose_root_is_away_is_not_upgraded(upgrade_bench: MakeUpgradeBench) -> None:
    """The settings of the boot medium are older than those on the disk; without the disk's root it is."""
    made = upgrade_bench().installed()
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
