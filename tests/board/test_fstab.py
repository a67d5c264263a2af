"""The fstab of the owner: it is there after every run, also where room is missing; a damaged one stops a run early."""

import pytest

from .router import MakeRouter
from .running import match_in
from .scripts import Bench, plan

OWN = "config mount 'mine'\n\toption target '/mnt/mine'\n\toption uuid 'of-mine'\n\toption enabled '0'\n"
FILL = "dd if=/dev/zero of=/etc/filler bs=64k 2>/dev/null; dd if=/dev/zero of=/etc/filler2 bs=1 2>/dev/null; sync; true"


@pytest.mark.parametrize("shell", ["ash", "dash"])
def test_a_full_overlay_is_seen_before_the_first_change(router: MakeRouter, shell: str) -> None:
    """uci would make the file empty, and not say so."""
    box = router(shell=shell).boot()
    box.put("/etc/config/fstab", OWN)
    bench = Bench(box, plan())
    box.run(FILL).ok()
    box.sync()
    untouched = box.digests()

    result = bench.sh("install --apply")

    assert (result.code, "no room for the fstab" in result.out) == (3, True), result.out
    box.sync()
    assert box.digests() == untouched
    assert box.read("/etc/config/fstab") == OWN


@pytest.mark.parametrize("shell", ["ash", "dash"])
def test_an_overlay_that_fills_up_during_the_run_costs_no_mount(router: MakeRouter, shell: str) -> None:
    """The fstab reads back wrong, and is put back; the same command goes on when there is room again."""
    box = router(shell=shell).boot()
    box.put("/etc/config/fstab", OWN)
    box.run("mkdir /root/real && mv /usr/sbin/mkfs.ext4 /root/real").ok()
    box.put("/usr/sbin/mkfs.ext4", f'#!/bin/sh\n/root/real/mkfs.ext4 "$@"\n{FILL}\n', 0o755)
    bench = Bench(box, plan())

    result = bench.sh("install --apply")

    assert result.code == 1, result.out
    assert box.read("/etc/config/fstab") == OWN
    assert "the fstab is what it was" in result.out

    box.run("rm /etc/filler /etc/filler2; mv /root/real/mkfs.ext4 /usr/sbin/mkfs.ext4").ok()
    bench.sh("install --apply").ok()
    assert "of-mine" in box.read("/etc/config/fstab")
    bench.restart()
    assert bench.sh("status").code == 0


def test_a_damaged_fstab_is_refused_before_the_first_change(router: MakeRouter) -> None:
    """No command of uci can read it, so nothing that a run needs could be written into it."""
    box = router().boot()
    box.put("/etc/config/fstab", OWN.replace("'/mnt/mine'", "'/mnt/mine"))
    bench = Bench(box, plan())
    box.sync()
    untouched = box.digests()

    for action in ("check", "install --apply"):
        result = bench.sh(action)

        assert (result.code, "fstab cannot be read" in result.out) == (3, True), result.out
    box.sync()
    assert box.digests() == untouched


@pytest.mark.parametrize("shell", ["ash", "dash"])
def test_files_under_a_new_mount_point_are_told(router: MakeRouter, shell: str) -> None:
    """They are out of sight from the next start on; where nothing is, nothing is said."""
    box = router(shell=shell).boot()
    box.run(
        "mkdir -p /opt/sub /srv; head -c 3000000 /dev/zero >'/opt/sub/one two'; echo 1 >/opt/.hidden; ln -s /x /opt/l"
    ).ok()
    used = "{name: used, size: 256MiB, filesystem: ext4, mount: /opt}"
    bench = Bench(box, plan("internal", partitions=(used, "{name: data, size: rest, filesystem: ext4, mount: /srv}")))
    told = "note: /opt holds 3 files (2930 KiB)"

    for words in ("check", "install", "install --apply"):
        out = bench.sh(words).ok().out
        assert told in out, out
        assert "/srv holds" not in out

    bench.restart()
    assert box.run("ls -A /opt").ok().out == "lost+found\n"
    assert "/opt holds" not in bench.sh("check").ok().out
    box.run(match_in("after the restart: (.*)", out)[1]).ok()
    assert sorted(box.run("ls -A /opt").ok().out.split()) == [".hidden", "l", "lost+found", "sub"]
    box.run("umount /opt").ok()
    assert told in bench.sh("check").ok().out
