"""A backup comes back: what would change is shown, what is not of here stays out, a hostile archive is refused."""

import hashlib
import io
import re
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from . import slotted
from .router import MakeRouter, Router
from .running import match_in
from .scripts import METHODS, Bench, kind_of_router, plan
from .test_backup import bench_for, contents, taken

Whole = tuple[Router, Bench, dict[str, bytes]]
Members = Mapping[str, bytes | tarfile.TarInfo]

AT = "/root/here.tar.gz"
# Kind, mode, owner, size, name and target of all settings, and the sums of the files.
LISTED = (
    "cd /etc && find config secret passwd shadow sysupgrade.conf "
    "\\( -type l -o -type f -exec sha256sum {} \\; \\) -exec ls -ln {} \\; | "
    "sed 's/  *[A-Z][a-z][a-z]  *[0-9]*  *[0-9:]* / /'"
)


def backup_of(box: Router, bench: Bench) -> bytes:
    """Make a backup and return its bytes; it stays at :data:`AT`, too."""
    box.run("mkdir -p /root/b").ok()
    path = match_in("saved in (.*)", bench.sh("backup /root/b").ok().out)[1]
    box.run(f"mv {path} {AT}; rm -r /root/b").ok()
    return taken(box, AT)


def archive(files: Members, name: str = "bootplan-x-1") -> bytes:
    """Return an archive of {name: bytes, or a TarInfo} below one folder, with the files' sums unless they are given."""
    whole = dict(files)
    if "SHA256SUMS" not in whole:
        sums = [
            f"{hashlib.sha256(data).hexdigest()}  {one}\n"
            for one, data in sorted(whole.items())
            if isinstance(data, bytes)
        ]
        whole["SHA256SUMS"] = "".join(sums).encode()
    return packed({f"{name}/{one}" if name else one: data for one, data in whole.items()})


def packed(files: Members) -> bytes:
    """Return a tar.gz of {name: bytes, or a TarInfo}."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz", format=tarfile.GNU_FORMAT) as tar:
        for one, data in files.items():
            if isinstance(data, tarfile.TarInfo):
                data.name = one
                tar.addfile(data)
                continue
            info = tarfile.TarInfo(one)
            info.size, info.mode = len(data), 0o644
            tar.addfile(info, io.BytesIO(data))
    return made.getvalue()


def special(kind: bytes, target: str = "") -> tarfile.TarInfo:
    """Return a member of another kind, to be given a name."""
    info = tarfile.TarInfo("")
    info.type, info.linkname = kind, target
    return info


def put(box: Router, data: bytes, path: str = AT) -> None:
    """Write bytes to the router."""
    box.run(f"cat >{path}", input=data).ok()


def refused(box: Router, bench: Bench, told: str, words: str = "") -> None:
    """The archive at AT is refused before any change, for that reason."""
    box.sync()
    before = box.digests()
    result = bench.sh(f"restore {AT} --apply {words}")
    box.sync()
    assert (result.code, told in result.out) == (3, True), result.out + result.err
    assert box.digests() == before


@pytest.mark.parametrize(("medium", "shell"), [pytest.param("nand", "ash", marks=pytest.mark.quick), ("sd", "dash")])
def test_what_changed_comes_back(router: MakeRouter, medium: str, shell: str) -> None:
    """Files and environment to the letter; a rehearsal changes nothing, nor does a rerun; it can be undone."""
    box, bench = bench_for(router, medium=medium, shell=shell)
    bench.sh("install --apply").ok()
    box.run(
        "echo /etc/secret >>/etc/sysupgrade.conf; echo /etc/sysupgrade.conf >/lib/upgrade/keep.d/mine; "
        "mkdir /etc/secret; echo key >'/etc/secret/a b'; chmod 400 /etc/secret/*; chown 65534:65534 /etc/secret/*; "
        "ln -s /tmp/x /etc/secret/link"
    ).ok()
    backup_of(box, bench)
    env, listed = box.fw_printenv(), LISTED
    before = box.run(listed).out
    box.run(
        "rm -r /etc/secret /etc/config/dhcp; echo changed >>/etc/config/network; chmod 644 /etc/config/dropbear; "
        "fw_setenv mine 1; fw_setenv bootdelay 9"
    ).ok()
    box.sync()
    untouched = box.digests()

    told = bench.sh(f"restore {AT}").ok().out
    box.sync()
    assert box.digests() == untouched
    assert re.findall("(?m)^  (new|changed) +(/.*|variable [a-z]*)", told) == [
        ("new", "/etc/config/dhcp"),
        ("changed", "/etc/config/dropbear"),
        ("changed", "/etc/config/network"),
        ("new", "/etc/secret/a b"),
        ("new", "/etc/secret/link"),
        ("changed", "variable bootdelay"),
        ("changed", "variable mine"),
    ]
    bench.sh(f"restore {AT} --apply").ok()
    assert box.run(listed).out == before
    assert box.fw_printenv() == env
    again = bench.sh(f"restore {AT} --apply").ok().out
    assert "it is already so; nothing was changed" in again
    bench.restart()
    assert bench.sh("status").code == 0
    assert (box.run(listed).out, box.fw_printenv()) == (before, env)

    bench.sh("restore /etc/bootplan/bootplan-*.tar.gz --apply").ok()
    assert "changed" in box.read("/etc/config/network")
    assert (box.environment()["mine"], box.environment()["bootdelay"]) == ("1", "9")


@pytest.mark.parametrize("empty", [False, True])
def test_accounts_of_services_stay(router: MakeRouter, empty: bool) -> None:
    """What a package or a newer release added to passwd since is not lost; what both have is the backup's."""
    box, bench = bench_for(router)
    bench.sh("install --apply").ok()
    old = box.read("/etc/passwd")
    box.run(f"printf %s '{'' if empty else old.strip()}' >/etc/passwd").ok()
    backup_of(box, bench)
    box.put("/etc/passwd", old.replace("/root:", "/elsewhere:") + "mosquitto:x:200:200::/:/bin/false\n")

    bench.sh(f"restore {AT} --apply").ok()

    have = old.replace("/root:", "/elsewhere:") if empty else old
    assert box.read("/etc/passwd") == have + "mosquitto:x:200:200::/:/bin/false\n"
    assert "it is already so" in bench.sh(f"restore {AT} --apply").ok().out


def test_a_backup_of_another_medium(router: MakeRouter) -> None:
    """Made on the SD card, restored on SPI-NAND: the settings come, the environment and where it is do not."""
    card, script = bench_for(router, medium="sd")
    card.run("uci set system.@system[0].hostname=from-the-card; uci commit system; fw_setenv mine card").ok()
    data = backup_of(card, script)
    assert "/dev/mmcblk0p2" in card.read("/etc/fw_env.config")
    card.off()
    box, bench = bench_for(router)
    put(box, data)
    env, places = box.fw_printenv(), (box.read("/etc/fw_env.config"), box.read("/etc/config/ubootenv"))

    told = bench.sh(f"restore {AT} --apply").ok().out

    assert "the backup's U-Boot environment is that of sd, this router was started from nand: it stays" in told
    assert "stays    /etc/fw_env.config: it belongs to the medium" in told
    assert box.fw_printenv() == env
    assert (box.read("/etc/fw_env.config"), box.read("/etc/config/ubootenv")) == places
    assert "from-the-card" in box.read("/etc/config/system")


@pytest.mark.parametrize("shell", ["ash", "dash"])
def test_settings_of_another_generation(router: MakeRouter, shell: str) -> None:
    """Those of 24.10 under 25.12: compat_version stays this firmware's, network and wireless only when asked for."""
    old, script = bench_for(router, plan("internal", release="24.10"), release="24.10.7", shell=shell)
    old.run(
        "uci set system.@system[0].hostname=old; uci set system.@system[0].compat_version=1.0; uci commit system; "
        "echo '# of the old one' >>/etc/config/network; echo '# radio' >/etc/config/wireless"
    ).ok()
    data = backup_of(old, script)
    old.off()
    box, bench = bench_for(router, shell=shell)
    put(box, data)
    told = bench.sh(f"restore {AT} --apply").ok().out
    assert "eth1 and eth2 of 24.10 are sfp-lan or lan4, and sfp-wan in 25.12" in told
    assert box.run("uci get system.@system[0].compat_version; uci get system.@system[0].hostname").out.split() == [
        "1.1",
        "old",
    ]
    assert "of the old one" not in box.read("/etc/config/network") and not box.exists("/etc/config/wireless")
    assert "nothing was changed" in bench.sh(f"restore {AT} --apply").ok().out
    bench.sh(f"restore {AT} --apply --with-network").ok()
    assert "of the old one" in box.read("/etc/config/network") and box.exists("/etc/config/wireless")


@pytest.mark.parametrize("method", [one for one in METHODS if one != "internal"])
def test_a_root_on_the_disk_stays_the_root(router: MakeRouter, method: str) -> None:
    """A backup from before the root moved to the disk does not lead the router back, nor to a file system made anew."""
    box = router(**kind_of_router(method)).boot()
    bench = Bench(box, plan(method))
    box.run("echo '# mine' >>/etc/config/firewall").ok()
    data = backup_of(box, bench)
    bench.sh("install --apply").ok()
    bench.restart()
    status = bench.sh("status").ok().out
    box.run("sed -i '/mine/d' /etc/config/firewall").ok()
    put(box, data)

    told = bench.sh(f"restore {AT} --apply{' --no-env' if method == 'cmdline' else ''}").ok().out

    assert "changed  /etc/config/firewall" in told
    bench.restart()
    assert bench.sh("status").ok().out == status
    assert "# mine" in box.read("/etc/config/firewall")


def test_an_environment_whose_root_is_gone(router: MakeRouter) -> None:
    """Its kernel would wait for a partition that is not here any more, or start half a copy: refused."""
    box = router(**kind_of_router("cmdline")).boot()
    bench = Bench(box, plan("cmdline"))
    bench.sh("install --apply").ok()
    backup_of(box, bench)
    bench.sh("restore-env $(ls /etc/bootplan/env-*.txt) --apply").ok()
    put(box, b"#!/bin/sh\n", "/tmp/nothing")
    box.run("mount /dev/nvme0n1p1 /mnt && echo unfinished >/mnt/.bootplan/state && umount /mnt").ok()
    refused(box, bench, "which holds no finished copy of the system (unfinished)")
    bench.sh(f"restore {AT} --no-env").ok()
    box.run("sfdisk -q --part-uuid /dev/nvme0n1 1 11111111-2222-3333-4444-555555555555").ok()
    refused(box, bench, "would wait for a root that is not here")


def test_archives_that_are_not_whole(router: MakeRouter, tmp_path: Path) -> None:
    """Cut anywhere, changed in any byte of it: refused, and the same bytes as they were are taken."""
    box, bench = bench_for(router)
    data = backup_of(box, bench)
    box.put(f"{AT}.sha256", f"{'0' * 64}  here.tar.gz\n")
    refused(box, bench, "is not what its .sha256 says")
    box.run(f"rm {AT}.sha256").ok()
    for length in (0, 1, 100, len(data) // 2, len(data) - 9, len(data) - 1):
        put(box, data[:length])
        refused(box, bench, f"'{AT}' is no")
    for place in (20, len(data) // 3, len(data) - 5):
        put(box, data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        refused(box, bench, f"'{AT}' ")
    have = contents(data, tmp_path)
    put(box, archive({**have, "macs.txt": have["macs.txt"] + b"x"}))
    refused(box, bench, "was changed")
    put(box, archive({**have, "more": b"x"}))
    refused(box, bench, "holds other files than its SHA256SUMS names")
    put(box, archive({name: one for name, one in have.items() if name != "mounts"}))
    refused(box, bench, "holds other files than its SHA256SUMS names")
    put(
        box,
        archive({**{name: one for name, one in have.items() if name != "SHA256SUMS"}, "about": b"bootplan-backup 2\n"}),
    )
    refused(box, bench, "of a form that this script does not know")
    refused_file = bench.sh("restore /nowhere --apply")
    assert (refused_file.code, "is no file that can be read" in refused_file.out) == (3, True)
    put(box, data)
    bench.sh(f"restore {AT}").ok()


@pytest.fixture(scope="module")
def whole(board_parts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """A router, its script, and what is in a backup of it."""
    folder = tmp_path_factory.mktemp("hostile")
    with Router(folder / "router", tmp_size="64m") as box:
        box.boot()
        bench = Bench(box, plan("internal"))
        have = contents(backup_of(box, bench), folder)
        del have["SHA256SUMS"]
        yield box, bench, have


def test_a_backup_of_another_board(whole: Whole) -> None:
    """By its name, and by its MAC addresses; the settings of a board that was replaced can be had."""
    box, bench, have = whole
    put(box, archive({**have, "about": have["about"].replace(b"bananapi,bpi-r4", b"bananapi,bpi-r4-lite")}))
    refused(box, bench, "is of another board: 'bananapi,bpi-r4-lite'")
    env = have["uboot-env.txt"].replace(b"ethaddr=02:11:22:33:44:55", b"ethaddr=02:11:22:33:44:99")
    other = {
        **have,
        "uboot-env.txt": env,
        "uboot-env.txt.sha256": f"{hashlib.sha256(env).hexdigest()}  uboot-env.txt\n".encode(),
    }
    put(box, archive(other))
    refused(box, bench, "is of another board: its ethaddr")
    bench.sh(f"restore {AT} --no-env").ok()


@pytest.mark.parametrize(
    "outer",
    [
        {"../up": b"x"},
        {"/etc/abs": b"x"},
        {"sub/deep": b"x"},
        {"link": special(tarfile.SYMTYPE, "/etc/passwd")},
        {"hard": special(tarfile.LNKTYPE, "/etc/passwd")},
        {"dev": special(tarfile.CHRTYPE)},
        {"pipe": special(tarfile.FIFOTYPE)},
        {"-rf": b"x"},
        {"a\nb": b"x"},
        {"..": special(tarfile.DIRTYPE)},
        {".hidden": b"x"},
    ],
    ids=lambda one: repr(next(iter(one))),
)
def test_tricks_in_a_backup(whole: Whole, outer: Members) -> None:
    """Nothing is written outside of its folder in RAM, and nothing of it is taken."""
    box, bench, have = whole
    name, data = next(iter(outer.items()))
    files: dict[str, bytes | tarfile.TarInfo] = {f"bootplan-x-1/{one}": content for one, content in have.items()}
    files["bootplan-x-1/SHA256SUMS"] = b"".join(
        f"{hashlib.sha256(content).hexdigest()}  {one}\n".encode() for one, content in have.items()
    )
    files[name if name.startswith("/") else f"bootplan-x-1/{name}"] = data
    put(box, packed(files))
    passwd = box.read("/etc/passwd")
    refused(box, bench, f"'{AT}' ")
    assert box.read("/etc/passwd") == passwd and not box.exists("/etc/abs") and not box.exists("/tmp/up")


@pytest.mark.parametrize(
    "inner",
    [
        {"../../../etc/up": b"x"},
        {"/etc/abs": b"x"},
        {"etc/../../up": b"x"},
        {"etc/dev": special(tarfile.CHRTYPE)},
        {"etc/a\nb": b"x"},
        {"etc/out": special(tarfile.SYMTYPE, "/root"), "etc/out/file": b"x"},
        {"etc/config": b"a file in the place of a folder"},
        {"etc/passwd/below": b"x"},
        {"etc/back\tslash": b"x"},
        {"etc/esc\x1b[2J": b"x"},
        {"etc/hard": special(tarfile.LNKTYPE, "/etc/passwd")},
    ],
    ids=lambda one: repr(list(one)[-1]),
)
def test_tricks_in_the_settings(whole: Whole, inner: Members) -> None:
    """The same inside the settings, whose links are links."""
    box, bench, have = whole
    put(box, archive({**have, "config.tar.gz": packed({"etc/config/dhcp": b"other\n", **inner})}))
    passwd = box.read("/etc/passwd")
    refused(box, bench, "refused: ", "--no-env")
    assert box.read("/etc/passwd") == passwd
    assert not [path for path in ("/etc/up", "/etc/abs", "/up", "/root/file", "/tmp/up") if box.exists(path)]


@pytest.mark.parametrize(
    "target", ["/tmp/outside", "../../../tmp/outside", "../restored/bootplan-x-1/about", "etc/none"]
)
def test_a_hard_link_that_leads_out_of_the_settings(whole: Whole, target: str) -> None:
    """Nothing outside of the archive is taken for a setting, or written to; which name it is, is told."""
    box, bench, have = whole
    box.put("/tmp/outside", "config system\n\toption hostname 'other'\n")
    inner: Members = {"etc/config/dhcp": b"other\n", "etc/config/system": special(tarfile.LNKTYPE, target)}
    put(box, archive({**have, "config.tar.gz": packed(inner)}))
    refused(box, bench, f"hold 'etc/config/system' as a hard link to '{target}', which is no file in it", "--no-env")
    assert box.read("/tmp/outside") == "config system\n\toption hostname 'other'\n"


def test_a_hard_link_within_the_settings(whole: Whole) -> None:
    """Two names of one file, as tar packs them, are two files that come back; a name may look like a link."""
    box, bench, have = whole
    inner: Members = {
        "etc/one -> two": b"odd\n",
        "etc/sub/one": b"both\n",
        "etc/sub/other name": special(tarfile.LNKTYPE, "etc/sub/one"),
    }
    put(box, archive({**have, "config.tar.gz": packed(inner)}))
    bench.sh(f"restore {AT} --apply --no-env").ok()
    assert box.run("cat '/etc/sub/other name' /etc/sub/one '/etc/one -> two'").out == "both\nboth\nodd\n"


def test_more_than_fits_in_ram(whole: Whole) -> None:
    """An archive that says it is larger than what is left in RAM is not unpacked."""
    box, bench, have = whole
    put(box, archive({**have, "large": b"\0" * (100 << 20)}))
    refused(box, bench, "are needed to unpack")


def test_what_is_no_setting_stays(whole: Whole) -> None:
    """Records of this script, and what belongs to the medium, are never taken from a backup; the owner's checks are."""
    box, bench, have = whole
    inner = {
        "etc/bootplan/slot-a": b"state complete\n",
        "etc/bootplan/checks.d/mine": b"#!/bin/sh\n",
        "etc/init.d/bootplan": b"#!/bin/sh\n",
        "etc/fw_sys.config": b"x\n",
        "etc/fw_env.config": b"/dev/mmcblk0p2 0 0x40000\n",
        "etc/config/fstab": (
            b"config mount 'bootplan_root'\n\toption target '/overlay'\n\toption uuid 'x'\n\toption enabled '1'\n"
        ),
    }
    put(box, archive({**have, "config.tar.gz": packed(inner)}))
    told = bench.sh(f"restore {AT} --apply").ok().out
    assert re.findall("(?m)^  stays +/([^:]*)", told) == sorted(set(inner) - {"etc/bootplan/checks.d/mine"})
    assert box.read("/etc/bootplan/checks.d/mine") == "#!/bin/sh\n"
    assert not [
        path for path in ("/etc/bootplan/slot-a", "/etc/init.d/bootplan", "/etc/fw_sys.config") if box.exists(path)
    ]
    assert "/overlay" not in (box.read("/etc/config/fstab") if box.exists("/etc/config/fstab") else "")


@pytest.mark.parametrize("shell", ["ash", "dash"])
def test_places_of_every_kind(router: MakeRouter, shell: str) -> None:
    """Another file system, a folder that is gone, a link to a folder where a file was: each is as it was, no more."""
    box, bench = bench_for(router, shell=shell)
    bench.sh("install --apply").ok()
    bench.restart()
    box.run(
        "printf '%s\\n' /srv/mine /etc/deep /etc/turned /etc/pointed >>/etc/sysupgrade.conf; "
        "mkdir -p /etc/deep/er /etc/folder; echo 1 >/srv/mine; "
        "echo 2 >/etc/deep/er/file; echo 3 >/etc/turned; ln -s /etc/folder /etc/pointed"
    ).ok()
    backup_of(box, bench)
    box.run(
        "echo changed >/srv/mine; rm -r /etc/deep /etc/turned /etc/pointed; "
        "ln -s /etc/folder /etc/turned; ln -s /tmp /etc/pointed"
    ).ok()
    bench.sh(f"restore {AT} --apply").ok()
    assert box.run(
        "cat /srv/mine /etc/deep/er/file /etc/turned; readlink /etc/pointed; [ -h /etc/turned ] || echo file; "
        "ls -A /etc/folder /tmp | grep -e turned -e pointed; ls -A /srv /etc/bootplan | grep restored"
    ).out.split() == ["1", "2", "3", "/etc/folder", "file"]


def test_a_system_in_ram(router: MakeRouter) -> None:
    """What is restored there is gone after the restart; neither does a backup stay there."""
    box, bench = bench_for(router)
    backup_of(box, bench)
    box.run("mount -t tmpfs none /overlay").ok()  # so it looks where mount_root found no overlay
    refused(box, bench, "what is restored here is gone after the restart")
    assert "is in RAM" in bench.sh("backup /root").out


def test_no_room_for_what_is_replaced(router: MakeRouter) -> None:
    """Without room for the copy of what is here nothing is begun."""
    box, bench = bench_for(router)
    backup_of(box, bench)
    box.run(
        "echo >>/etc/config/dhcp; dd if=/dev/zero of=/root/big bs=1M 2>/dev/null; "
        "dd if=/dev/zero of=/root/more bs=1k 2>/dev/null; sync"
    )
    refused(box, bench, "KiB left, the backup takes")


@pytest.mark.parametrize("kind", ["pair", "volume"])
def test_a_backup_of_the_other_slot(router: MakeRouter, kind: str) -> None:
    """Its environment would start what that slot holds now: refused. Its settings come, no slot forgets which it is."""
    box = router(**slotted.kind_of_router(kind)).boot()
    bench = slotted.SlotBench(box, kind).installed()
    box.run("echo '# of slot a' >>/etc/config/firewall").ok()
    data = backup_of(box, bench)
    box.run("sed -i '/slot a/d' /etc/config/firewall").ok()
    bench.upgraded()
    bench.restart_all()
    assert bench.variables()["bp_good"] == "b"
    put(box, data)
    before = bench.status()
    env = box.fw_printenv()
    result = bench.sh(f"restore {AT} --apply")
    assert (result.code, "starts slot a (trial: ), the router's environment slot b (trial: )" in result.out) == (
        3,
        True,
    ), result.out
    assert (box.fw_printenv(), "slot a" in box.read("/etc/config/firewall")) == (env, False)
    told = bench.sh(f"restore {AT} --apply --no-env").ok().out
    assert "changed  /etc/config/firewall" in told and not re.search(
        "(?m)^  (new|changed) +/etc/(bootplan|init.d|rc.d)", told
    )
    bench.restart()
    assert bench.status() == before
    assert "# of slot a" in box.read("/etc/config/firewall")


@pytest.mark.parametrize("shell", ["ash", "dash"])
def test_names_that_begin_or_end_in_blanks(router: MakeRouter, shell: str) -> None:
    """Each file comes back under its own name, and the same again has nothing to do."""
    box, bench = bench_for(router, shell=shell)
    names = ("' in front'", "'behind '", "' '", "'back\\slash'")
    box.run("echo /etc/secret >>/etc/sysupgrade.conf; mkdir /etc/secret").ok()
    for name in names:
        box.run(f"echo {name} >/etc/secret/{name}").ok()
    before = box.run('cd /etc/secret; for one in *; do printf \'%s|\' "$one"; cat "$one"; done').ok().out
    backup_of(box, bench)
    box.run("rm -r /etc/secret").ok()

    bench.sh(f"restore {AT} --apply").ok()

    assert box.run('cd /etc/secret; for one in *; do printf \'%s|\' "$one"; cat "$one"; done').ok().out == before
    assert "nothing was changed" in bench.sh(f"restore {AT} --apply").ok().out
