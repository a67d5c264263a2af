"""Every root method from a stock router to a restart on the NVMe disk, under both shells, on real parts."""

import json

import pytest

from .images import GiB
from .router import Disk, MakeRouter
from .running import match_in
from .scripts import SERIAL, Bench, kind_of_router, plan

CASES = [
    pytest.param("extroot-overlay", "nand", "ash", marks=pytest.mark.quick),
    ("extroot-overlay", "sd", "dash"),
    ("extroot-pivot", "emmc", "ash"),
    pytest.param("extroot-pivot", "nand", "dash", marks=pytest.mark.quick),
    pytest.param("cmdline", "nand", "dash", marks=pytest.mark.quick),
    ("cmdline", "sd", "ash"),
    ("cmdline", "emmc", "ash"),
    ("internal", "nand", "ash"),
    pytest.param("internal", "emmc", "dash", marks=pytest.mark.quick),
]
# What is seen at / before and after must be the same: names, kinds, modes, owners, times, targets, contents.
LISTING = (
    "mkdir -p /tmp/view; mount -o bind / /tmp/view; cd /tmp/view;"
    " find . -mindepth 1 ! -path './.bootplan*' ! -path './lost+found*' ! -path './etc/config/fstab'"
    " ! -path './etc/bootplan*' ! -path './etc' ! -path './etc/config' ! -path './srv*' ! -path './.rig*'"
    " ! -type d -print0 | sort >/tmp/names;"
    ' cat /tmp/names | xargs -0 ls -dln --full-time | awk \'{ $2 = "" } /^l/ { $6 = $7 = "" } { print }\' | sort;'
    " find . -type f ! -path './etc/config/fstab' ! -path './etc/bootplan*' ! -path './.bootplan*' ! -path './srv*'"
    " ! -path './.rig*' -print0 | xargs -0 sha256sum | sort;"
    " cd /; umount /tmp/view"
)


@pytest.mark.parametrize(("method", "medium", "shell"), CASES)
def test_a_stock_router_gets_its_root_on_the_disk(router: MakeRouter, method: str, medium: str, shell: str) -> None:
    """check, rehearsal, install, again, restart, status, again."""
    box = router(medium=medium, shell=shell, **kind_of_router(method)).boot()
    bench = Bench(box, plan(method, medium))
    seen_before = box.run(LISTING).ok().out
    untouched = box.digests()

    assert "nothing stands in the way" in bench.sh("check").ok().out
    rehearsal = bench.sh("install").ok().out
    assert "none made; to make them add --apply" in rehearsal
    assert box.digests() == untouched

    assert "done. Restart the router" in bench.sh("install --apply").ok().out
    waiting = bench.sh("status")
    assert (waiting.code, "reboot" in waiting.out) == (1, True)

    installed = box.digests()
    assert "nothing was changed" in bench.sh("install --apply").ok().out
    assert box.digests() == installed

    bench.restart()
    status = bench.sh("status").ok().out
    assert "as-planned   yes" in status
    assert "nothing was changed" in bench.sh(f"install --apply --wipe {SERIAL}").ok().out
    assert box.run(LISTING).ok().out == seen_before
    where = {target: source for source, target, *_ in box.mounts()}
    assert where["/srv"].startswith("/dev/nvme0n1p")
    if method != "internal":
        assert where["/overlay" if method == "extroot-overlay" else "/"] in ("/dev/nvme0n1p1", "/dev/root")


def test_what_was_removed_from_the_firmware_stays_removed(router: MakeRouter) -> None:
    """An overlay folder that was removed and made again hides what the firmware has in it, also after the copy."""
    box = router().boot()
    box.run("rm -r /etc/init.d && mkdir /etc/init.d && echo own >/etc/init.d/own && rm /etc/profile").ok()
    bench = Bench(box, plan())
    bench.sh("install --apply").ok()

    bench.restart()

    assert bench.sh("status").code == 0
    assert box.run("ls -A /etc/init.d").ok().out == "own\n"
    assert not box.exists("/etc/profile")


def test_holes_stay_holes_and_hard_links_stay_one_file(router: MakeRouter) -> None:
    """A file that is longer than the partition is copied by what it holds."""
    box = router().boot()
    box.run(
        "dd if=/dev/null of=/root/hole bs=1M seek=400; echo end >>/root/hole; chown 7:9 /root/hole;"
        " chmod 4751 /root/hole; echo x >/root/one; ln /root/one /root/two"
    ).ok()
    bench = Bench(box, plan("extroot-pivot"))
    bench.sh("install --apply").ok()

    bench.restart()

    assert bench.sh("status").code == 0
    size, used = box.run("ls -ln /root/hole; du -k /root/hole").ok().out.splitlines()
    assert size.split()[:5] == ["-rwsr-x--x", "1", "7", "9", str(400 * 2**20 + 4)]
    assert int(used.split()[0]) < 3000
    assert box.run("tail -c 4 /root/hole").out == "end\n"
    assert box.run("ls -i /root/one /root/two | awk '{ print $1 }' | sort -u | wc -l").out.strip() == "1"


def test_a_disk_is_found_by_its_serial_number_whatever_its_place(router: MakeRouter) -> None:
    """Two disks, the wanted one second; the first one is not touched."""
    disks = (Disk(serial="OTHER", pci="0003:01:00.0", size=GiB), Disk())
    box = router(disks=disks).boot()
    bench = Bench(box, plan())
    first = box.digests()["nvme0"]

    bench.sh("install --apply").ok()

    assert box.digests()["nvme0"] == first
    bench.restart()
    assert "overlay on /dev/nvme1n1p1" in bench.sh("status").ok().out


def test_a_disk_without_serial_number_is_found_by_its_address(router: MakeRouter) -> None:
    """The PCI address takes the serial number's place, for --wipe too."""
    box = router(disks=(Disk(serial=""),)).boot()
    bench = Bench(box, plan(disk='pci: "0002:01:00.0"'))
    box.run("echo old >/dev/nvme0n1").ok()

    assert bench.sh("install --apply").code == 3
    bench.sh("install --apply --wipe 0002:01:00.0").ok()

    bench.restart()
    assert bench.sh("status").code == 0


def test_a_disk_with_sectors_of_4_kib(router: MakeRouter) -> None:
    """All numbers are counted in the disk's own sectors."""
    box = router(disks=(Disk(logical=4096),)).boot()
    bench = Bench(box, plan())

    bench.sh("install --apply").ok()

    bench.restart()
    assert bench.sh("status").code == 0
    assert box.run("cat /sys/class/block/nvme0n1p1/size").out == "524288\n"


def test_f2fs_is_made_and_recognised(router: MakeRouter) -> None:
    """The kernel here cannot mount f2fs; making it and reading its superblock need no kernel."""
    box = router().boot()
    data = "{name: data, size: rest, filesystem: f2fs, mount: /srv}"
    bench = Bench(box, plan("internal", partitions=(data,)))

    bench.sh("install --apply").ok()

    assert "already so: f2fs 'data'" in bench.sh("install --apply").ok().out
    wanted = box.run("uci get fstab.bootplan_ssd_1.uuid").ok().out.strip()
    assert wanted in box.run("block info").ok().out


def test_changes_after_the_copy_are_told_and_copied_again_on_request(router: MakeRouter) -> None:
    """A finished copy is never overwritten unless that was asked for twice."""
    box = router().boot()
    bench = Bench(box, plan())
    bench.sh("install --apply").ok()
    box.run("sleep 1; echo later >/etc/later").ok()

    assert "/etc/later" in bench.sh("install --apply").ok().out
    assert bench.sh("install --apply --recopy").code == 2
    bench.sh(f"install --apply --recopy --wipe {SERIAL}").ok()

    bench.restart()
    assert box.read("/etc/later") == "later\n"
    assert bench.sh("status").code == 0


@pytest.mark.parametrize(
    ("method", "medium", "shell"),
    [("extroot-overlay", "nand", "ash"), ("extroot-pivot", "emmc", "dash"), ("cmdline", "nand", "ash")],
)
def test_settings_changed_before_the_restart_are_told(router: MakeRouter, method: str, medium: str, shell: str) -> None:
    """They are not in the copy: install says so before, status afterwards, until the owner has seen it."""
    box = router(medium=medium, shell=shell, **kind_of_router(method)).boot()
    bench = Bench(box, plan(method, medium))
    done = bench.sh("install --apply").ok().out
    assert "done. Restart the router (what is changed here until then is not in the copy)" in done
    box.run("sleep 2; echo '# later' >>/etc/config/dhcp; echo 1 >'/etc/a b'").ok()

    bench.restart()

    said = bench.sh("status")
    line = match_in("left-behind +(.*)", said.ok().out)[1]
    assert line.startswith("2 files were changed on the boot medium after the copy was made"), line
    assert "/etc/config/dhcp" in line and "/etc/a b" in line
    assert json.loads(bench.sh("status --json").ok().out)["left_behind"] == line
    assert not [mount for mount in box.mounts() if "/look" in mount[1]]
    box.run(match_in("(mount [^;]*)", line)[1] + " && grep later /mnt/upper/etc/config/dhcp; umount /mnt").ok()
    box.run(match_in("(touch .*)", line)[1]).ok()
    assert "left-behind" not in bench.sh("status").ok().out


def test_no_settings_are_told_where_none_changed(router: MakeRouter) -> None:
    """What is as it was copied is no change, also where it is newer: links get no time of their own from cp and tar."""
    box = router().boot()
    bench = Bench(box, plan())
    box.run("ln -s ../init.d/mine /etc/rc.d/S98mine; echo 1 >/etc/mine").ok()
    bench.sh("install --apply").ok()
    box.run("sleep 2; rm /etc/rc.d/S98mine; ln -s ../init.d/mine /etc/rc.d/S98mine; touch /etc/mine").ok()
    bench.restart()

    assert "left-behind" not in bench.sh("status").ok().out
