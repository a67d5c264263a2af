"""A backup: one archive that proves itself, on a disk or on another computer, and nothing that only looks like one."""

import hashlib
import re
import signal
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .elsewhere import LOGIN, computer
from .router import Disk, MakeRouter, Router
from .running import match_in
from .scripts import Bench, plan

NAME = re.compile(r"bootplan-bananapi-bpi-r4-[0-9]{8}-[0-9]{6}\.tar\.gz")
FILES = {
    "about",
    "SHA256SUMS",
    "uboot-env.txt",
    "uboot-env.txt.sha256",
    "fw_env.config",
    "ubootenv",
    "fstab",
    "openwrt_release",
    "board.json",
    "cmdline",
    "mounts",
    "config.tar.gz",
    "macs.txt",
    "packages.txt",
    "ubi-volumes.txt",
    "nvme0n1.head",
    "nvme0n1.sfdisk",
    "r4.sh",
}


def bench_for(router: MakeRouter, text: str | None = None, **kind: Any) -> tuple[Router, Bench]:
    """Return a running router with the plan of a data disk, and the script on it."""
    box = router(**kind).boot()
    return box, Bench(box, text or plan("internal", kind.get("medium", "nand")))


def contents(data: bytes, folder: Path) -> dict[str, bytes]:
    """Return {name: bytes} of a backup, after every sum in it was found right, from outside."""
    path = folder / "seen.tar.gz"
    path.write_bytes(data)
    with tarfile.open(path) as archive:
        tops = {name.partition("/")[0] for name in archive.getnames()}
        assert len(tops) == 1
        have = {
            one.name.partition("/")[2]: file.read()
            for one in archive.getmembers()
            if one.isfile() and (file := archive.extractfile(one))
        }
        assert {one.mode for one in archive.getmembers() if one.isfile()} == {0o600}
    listed = (line.split("  ") for line in have["SHA256SUMS"].decode().splitlines())
    sums = {name: total for total, name in listed}
    assert sums == {name: hashlib.sha256(content).hexdigest() for name, content in have.items() if name != "SHA256SUMS"}
    return have


def taken(box: Router, path: str) -> bytes:
    """Return the bytes of a file on the router."""
    size, place = box.run(f"wc -c <{path}").ok().out, "/tmp/taken"
    text = box.run(f"hexdump -v -e '1/1 \"%02x\"' {path} >{place}; cat {place}; rm {place}").ok().out
    assert len(text) == 2 * int(size)
    return bytes.fromhex(text)


@pytest.mark.parametrize(
    ("medium", "shell", "release"),
    [
        pytest.param("nand", "ash", "25.12.5", marks=pytest.mark.quick),
        ("sd", "dash", "25.12.5"),
        ("emmc", "ash", "24.10.7"),
    ],
)
def test_everything_is_in_it(router: MakeRouter, tmp_path: Path, medium: str, shell: str, release: str) -> None:
    """One file and its sum; the parts say what the router says."""
    box, bench = bench_for(
        router, plan("internal", medium, release=release[:5]), medium=medium, shell=shell, release=release
    )
    bench.sh("install --apply").ok()
    later = "/usr/lib/opkg/info/tcpdump.control" if release.startswith("24") else "/lib/apk/packages/tcpdump.list"
    box.put(later, "")
    box.run("mkdir /root/b").ok()

    told = bench.sh("backup /root/b").ok().out

    path = match_in("saved in (.*)", told)[1]
    assert NAME.fullmatch(path.removeprefix("/root/b/"))
    assert "that is on the boot medium: a sysupgrade" in told
    assert sorted(box.run("ls /root/b").out.split()) == sorted(
        [path.rpartition("/")[2], f"{path.rpartition('/')[2]}.sha256"]
    )
    box.run(f"cd /root/b && sha256sum -c {path}.sha256").ok()
    have = contents(taken(box, path), tmp_path)
    card = set() if medium == "nand" else {"mmcblk0.head", "mmcblk0.sfdisk"}
    world = set() if release.startswith("24") else {"apk-world"}
    assert set(have) == FILES | card | world
    about = dict(line.split(" ", 1) for line in have["about"].decode().splitlines())
    assert (about["medium"], about["board"], about["release"], about["compat"], about["loader"]) == (
        medium,
        "bananapi,bpi-r4",
        release,
        "1.0" if release.startswith("24") else "1.1",
        "U-Boot 2025.10-OpenWrt-r32071",
    )
    assert dict(line.split("=", 1) for line in have["uboot-env.txt"].decode().splitlines()) == box.fw_printenv()
    assert have["macs.txt"].decode().splitlines() == [
        "eth1addr=02:11:22:33:44:56",
        "ethaddr=02:11:22:33:44:55",
        "eth0 02:11:22:33:44:55",
        "sfp-wan 02:11:22:33:44:56",
    ]
    packages = dict(line.split("\t") for line in have["packages.txt"].decode().splitlines())
    assert (packages["base-files"], packages["tcpdump"]) == ("rom", "overlay")
    head = hashlib.sha256(have["nvme0n1.head"]).hexdigest()
    box.run(f"dd if=/dev/nvme0n1 bs=512 count=34 2>/dev/null | sha256sum | grep {head}").ok()
    assert have["fstab"].decode() == box.read("/etc/config/fstab")
    assert "ubi0_1 ubootenv 1142784 dynamic" in have["ubi-volumes.txt"].decode()
    assert have["r4.sh"].decode() == bench.script


def test_a_table_of_long_sectors_is_whole(router: MakeRouter, tmp_path: Path) -> None:
    """A disk of 4096 bytes in a block has its 16 KiB of entries in other sectors."""
    box, bench = bench_for(router, disks=(Disk(logical=4096),))
    bench.sh("install --apply").ok()
    box.run("mkdir /root/b").ok()
    path = match_in("saved in (.*)", bench.sh("backup /root/b").ok().out)[1]
    head = contents(taken(box, path), tmp_path)["nvme0n1.head"]
    assert (len(head), head[4096:4104]) == (6 * 4096, b"EFI PART")


@pytest.mark.parametrize(
    ("folder", "told"),
    [
        ("/tmp", "is in RAM"),
        ("/dev", "is in RAM"),
        ("/tmp/deep", "is in RAM"),
        ("/root/link", "is in RAM"),
        ("/nowhere", "no folder that can be written"),
        ("/rom", "0 KiB left"),
        ("/etc/passwd", "no folder that can be written"),
        ("'a b@c:d/e@'", "no user@host:folder"),
        ("user@-oProxyCommand=x:d", "no user@host:folder"),
        ("'u;reboot@h:d'", "no user@host:folder"),
        ("-@h:d", "unknown option"),
    ],
)
def test_where_a_backup_is_refused(router_for_refusals: tuple[Router, Bench], folder: str, told: str) -> None:
    """Nothing is written, and what is wrong is said."""
    box, bench = router_for_refusals
    before = box.digests()
    result = bench.sh(f"backup {folder}")
    assert (result.code, told in result.out + result.err) == (2 if told == "unknown option" else 3, True), (
        result.out + result.err
    )
    assert box.digests() == before


@pytest.fixture(scope="module")
def router_for_refusals(
    board_parts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Router, Bench]]:
    """A router that no refused command changes."""
    with Router(tmp_path_factory.mktemp("refusals") / "router") as box:
        box.boot()
        box.run("mkdir /tmp/deep; ln -s /tmp/deep /root/link").ok()
        yield box, Bench(box, plan("internal"))


@pytest.mark.parametrize("shell", ["ash", "dash"])
def test_a_full_disk(router: MakeRouter, shell: str) -> None:
    """No room is seen before; a disk that fills in the middle leaves no half and no success."""
    box, bench = bench_for(router, shell=shell)
    bench.sh("install --apply").ok()
    bench.restart()
    box.run(
        "mkdir /srv/b; dd if=/dev/zero of=/srv/big bs=1M 2>/dev/null; "
        "dd if=/dev/zero of=/srv/more bs=1k 2>/dev/null; sync"
    )
    refused = bench.sh("backup /srv/b")
    assert (refused.code, "KiB left, the backup takes" in refused.out, box.run("ls /srv/b").out) == (3, True, "")
    # As on a file system that promises more than it has.
    box.put("/usr/sbin/df", "#!/bin/sh\n/bin/df \"$@\" | awk 'NR > 1 { $(NF - 2) = 99999 } 1'\n", 0o755)
    broken = bench.sh("backup /srv/b")
    assert (broken.code, "could not be written" in broken.out, box.run("ls -A /srv/b").out) == (1, True, ""), broken.out


def test_two_of_one_second_are_two(router: MakeRouter) -> None:
    """A clock that stands still, or is set back, does not make one backup replace another."""
    box, bench = bench_for(router)
    box.run("mkdir /root/b").ok()
    for _ in range(3):
        bench.sh("backup /root/b").ok()
    assert len(box.run("ls /root/b").out.split()) == 6


@pytest.mark.parametrize("shell", ["ash", "dash"])
def test_half_a_backup(router: MakeRouter, shell: str) -> None:
    """A run that is stopped takes away what it wrote; what a power cut left is told, and has no name of a backup."""
    box, bench = bench_for(router, shell=shell)
    box.run("mkdir /root/b").ok()
    box.put("/usr/sbin/dd", '#!/bin/sh\n/bin/dd "$@" || exit\ncase "$*" in *of=*.part*) sleep 20 ;; esac\n', 0o755)
    running = box.start(f"sh {bench.name} backup /root/b")
    while ".part" not in box.run("ls /root/b").out:
        assert running.poll() is None
    running.send(signal.SIGTERM)
    assert running.wait().code == 143
    end = time.monotonic() + 10
    while "the same command again" not in running.out and time.monotonic() < end:  # what started it may end before it
        time.sleep(0.05)
    assert ("stopped in step 'writing the backup'" in running.out, box.run("ls -A /root/b").out) == (True, ""), (
        running.out
    )
    box.run("rm /usr/sbin/dd; echo half >/root/b/bootplan-x.tar.gz.part").ok()
    assert "note: '/root/b/bootplan-x.tar.gz.part' is half a backup" in bench.sh("backup /root/b").ok().out


def test_backups_do_not_hold_each_other(router: MakeRouter, tmp_path: Path) -> None:
    """With /etc/bootplan kept over sysupgrades each would be larger than all before it."""
    box, bench = bench_for(router)
    box.run("echo /etc/bootplan/ >>/etc/sysupgrade.conf; mkdir -p /etc/bootplan; echo kept >/etc/bootplan/mine").ok()
    bench.sh("backup /etc/bootplan").ok()
    path = match_in("saved in (.*)", bench.sh("backup /etc/bootplan").ok().out)[1]
    (tmp_path / "settings").write_bytes(contents(taken(box, path), tmp_path)["config.tar.gz"])
    with tarfile.open(tmp_path / "settings") as settings:
        names = settings.getnames()
    assert "etc/bootplan/mine" in names and not any("tar.gz" in name for name in names)


@pytest.mark.parametrize("shell", ["ash", "dash"])
def test_settings_that_do_not_fit_into_ram(router: MakeRouter, shell: str) -> None:
    """A folder on a disk that is kept by mistake is named; /tmp is not filled first."""
    box, bench = bench_for(router, shell=shell, tmp_size="48m")
    bench.sh("install --apply").ok()
    bench.restart()
    box.run(
        "mkdir /srv/films; head -c 30000000 /dev/urandom >'/srv/films/a film'; echo /srv/films >>/etc/sysupgrade.conf"
    ).ok()

    result = bench.sh("backup /srv")

    assert (result.code, "nothing was changed" in result.out) == (3, True), result.out + result.err
    assert "most of it: /srv/films (29297 KiB)" in result.out and "/etc/sysupgrade.conf" in result.out
    assert box.run("ls /srv").out.split() == ["films", "lost+found"]
    box.run("sed -i /srv/d /etc/sysupgrade.conf").ok()
    bench.sh("backup /srv").ok()


def test_settings_that_are_small_when_they_are_packed(router: MakeRouter, tmp_path: Path) -> None:
    """RAM has to hold them as they are once, and beside them what they were packed to."""
    box, bench = bench_for(router, tmp_size="48m")
    bench.sh("install --apply").ok()
    bench.restart()
    box.run(
        "mkdir /srv/logs; dd if=/dev/zero of=/srv/logs/one bs=1M count=30; echo /srv/logs >>/etc/sysupgrade.conf"
    ).ok()

    path = match_in("saved in (.*)", bench.sh("backup /srv").ok().out)[1]

    (tmp_path / "settings").write_bytes(contents(taken(box, path), tmp_path)["config.tar.gz"])
    with tarfile.open(tmp_path / "settings") as settings:
        assert settings.getmember("srv/logs/one").size == 30 << 20
    box.run("mkdir -p /etc/bootplan; cp /srv/bootplan-* /etc/bootplan/; echo /etc/bootplan >>/etc/sysupgrade.conf").ok()
    bench.sh("backup /srv").ok()


@pytest.mark.parametrize("shell", ["ash", "dash"])
def test_to_another_computer(router: MakeRouter, tmp_path: Path, shell: str) -> None:
    """By ssh, with a path that a shell could stumble over; its sum is compared there."""
    box, bench = bench_for(router, shell=shell)
    with computer(box, tmp_path / "pc") as home:
        strange = 'it\'s a $(touch hit) `touch hit`; "touch hit" & * folder'
        (home / strange).mkdir()
        quoted = "'" + f"{LOGIN}:{strange}".replace("'", "'\\''") + "'"
        told = bench.sh(f"backup {quoted}").ok().out
        names = sorted(path.name for path in (home / strange).iterdir())
        assert len(names) == 2 and NAME.fullmatch(names[0]) and names[1] == f"{names[0]}.sha256"
        assert f"saved in {LOGIN}:{strange}/{names[0]}" in told
        data = (home / strange / names[0]).read_bytes()
        assert (home / strange / names[1]).read_text() == f"{hashlib.sha256(data).hexdigest()}  {names[0]}\n"
        assert set(contents(data, tmp_path)) == FILES - {"fstab", "nvme0n1.sfdisk"} | {"apk-world"}
        assert (home / strange / names[0]).stat().st_mode & 0o777 == 0o600
        assert not list(home.rglob("hit")) and not box.exists("/hit")
        bench.sh(f"backup {LOGIN}:").ok()
        box.run("sleep 1")
        bench.sh(f"backup '{LOGIN}:~/'").ok()
        assert len(list(home.glob("bootplan-*.gz"))) == 2


def test_another_port(router: MakeRouter, tmp_path: Path) -> None:
    """user@host^port:folder, as dropbear's own ssh writes it."""
    box, bench = bench_for(router)
    with computer(box, tmp_path / "pc", port=2222) as home:
        bench.sh(f"backup {LOGIN}^2222:").ok()
        assert "try first: ssh -p 2222 root@::1" in bench.sh("backup 'root@[::1]^2222:'").out
        assert len(list(home.glob("bootplan-*.gz"))) == 1


def test_what_another_computer_may_answer(router: MakeRouter, tmp_path: Path) -> None:
    """No folder, no room, another host behind that name, the router itself, nobody: no backup, and no success."""
    box, bench = bench_for(router)
    before = box.digests()
    nobody = bench.sh(f"backup {LOGIN}:")
    assert (nobody.code, "ssh ended with" in nobody.out) == (1, True), nobody.out
    with computer(box, tmp_path / "pc") as home:
        result = bench.sh(f"backup {LOGIN}:none")
        assert (result.code, "has no folder 'none' that can be written" in result.out) == (3, True), result.out
        result = bench.sh(f"backup {LOGIN}:full")
        assert (result.code, "could not write the archive" in result.out) == (1, True), result.out
        assert box.run(f"ssh {LOGIN} ls -A full").ok().out == ""
        box.run("sed -i 's/AAAA/AAAB/' /root/.ssh/known_hosts").ok()
        result = bench.sh(f"backup {LOGIN}:")
        assert (result.code, "ssh ended with" in result.out) == (1, True), result.out
        assert not list(home.glob("bootplan-*"))
    with computer(box, tmp_path / "unknown", known=False) as home:
        box.run("rm /root/.ssh/known_hosts").ok()
        result = bench.sh(f"backup {LOGIN}:")
        assert (result.code, "ssh ended with" in result.out, list(home.glob("bootplan-*"))) == (1, True, []), result.out
    with computer(box, tmp_path / "same", same_boot=True) as home:
        result = bench.sh(f"backup {LOGIN}:")
        assert (result.code, "is this very router" in result.out, list(home.glob("bootplan-*"))) == (3, True, []), (
            result.out
        )
    images = {name for name, digest in box.digests().items() if digest != before[name]}
    assert images <= {"overlay"}  # the keys


def test_a_computer_that_changes_what_it_gets(router: MakeRouter, tmp_path: Path) -> None:
    """Its sum is another one: nothing is kept there under the name of a backup."""
    box, bench = bench_for(router)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "cat").write_text('#!/bin/sh\n[ $# -eq 0 ] || exec /bin/cat "$@"\n/bin/cat | tr a b\n')
    (tools / "cat").chmod(0o755)
    with computer(box, tmp_path / "pc") as home:
        (home / ".bashrc").write_text(f"PATH={tools}:$PATH\n")
        (home / ".profile").write_text(f"PATH={tools}:$PATH\n")
        box.put("/root/.ssh/environment", "")
        result = bench.sh(f"backup {LOGIN}:")
        assert (result.code, "is not what was sent" in result.out, list(home.glob("bootplan-*"))) == (1, True, []), (
            result.out
        )


def test_a_backup_without_the_environment_is_not_a_success(router: MakeRouter, tmp_path: Path) -> None:
    """The rest is saved all the same."""
    box, bench = bench_for(router)
    box.run("mkdir /root/b; for n in 1 2; do echo rubbish >/dev/ubi0_$n; done").ok()
    result = bench.sh("backup /root/b")
    assert (result.code, "it is not in this backup" in result.out) == (1, True)
    have = contents(taken(box, match_in("saved in (.*)", result.out)[1]), tmp_path)
    assert "config.tar.gz" in have and "uboot-env.txt" not in have
