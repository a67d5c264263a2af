"""Disks that are too small, say what is not true, or hold something where nobody looks at once."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from . import cards, slotted
from .cache import SEARCH_PATH
from .images import GiB, MiB
from .router import Disk, MakeRouter, Router
from .scripts import PARTITIONS, SERIAL, Bench, kind_of_router, plan

KEEP = "mount /dev/nvme0n1p1 /mnt && echo mine >/mnt/mine && umount /mnt"
IN_USE = "mkfs.ext4 -q -F /dev/nvme0n1; mkdir /tmp/m; mount /dev/nvme0n1 /tmp/m"


@pytest.mark.parametrize("method", ["extroot-overlay", "cmdline"])
@pytest.mark.parametrize("words", ["check", "install", f"install --apply --wipe {SERIAL}"])
def test_a_disk_that_is_too_small_is_refused_once(router: MakeRouter, method: str, words: str) -> None:
    """Nothing else is asked of it: not what it holds, and not whether that may be lost; other reasons are told."""
    box = router(disks=(Disk(size=300 * MiB),), **kind_of_router(method)).boot()
    box.run(f"{IN_USE}; touch /etc/config/fstab; uci set fstab.x=mount").ok()
    untouched = box.digests()

    result = Bench(box, plan(method)).sh(words)

    refused = [line for line in result.out.splitlines() if line.startswith("refused: ")]
    assert (result.code, "fstab" in refused.pop(), result.err) == (3, True, ""), result.out
    told = "disk nvme0n1 holds 300 MiB, the plan needs 322 MiB; give its partitions less in the plan, or take a larger"
    assert refused == [f"refused: {told} disk"]
    assert "--wipe" not in result.out and "holds:" not in result.out and result.seconds < 5
    assert box.digests() == untouched


BIG = "dd if=/dev/urandom of=/root/big bs=1M count={} 2>/dev/null"
MANY = "mkdir /root/many; i=0; while [ $i -lt {} ]; do : >/root/many/$i; i=$((i + 1)); done"
SMALL_FS = (
    "printf 'label: gpt\\nstart=1MiB,size=256MiB,name=root\\nstart=257MiB,size=1790MiB,name=data\\n'"
    " | sfdisk -q /dev/nvme0n1 >/dev/null 2>&1; mkfs.ext4 -q -F -L root /dev/nvme0n1p1 100M"
)
# name: (MiB of the disk, method, partitions, commands before, what is told)
TOO_LARGE: dict[str, tuple[int, str, tuple[str, ...] | None, str, str]] = {
    "what is left of the disk": (
        250,
        "extroot-overlay",
        ("{name: root, size: rest, filesystem: ext4}",),
        BIG.format(200),
        "too much for a partition of 248 MiB",
    ),
    "what is left, for all of the system": (
        250,
        "extroot-pivot",
        ("{name: root, size: rest, filesystem: ext4}",),
        BIG.format(200),
        "too much for a partition of 248 MiB",
    ),
    "f2fs, which keeps a third of a small partition for itself": (
        1024,
        "extroot-overlay",
        ("{name: root, size: 256MiB, filesystem: f2fs}",),
        BIG.format(180),
        "too much for a partition of 256 MiB",
    ),
    "more files than the file system can have": (
        110,
        "extroot-overlay",
        ("{name: root, size: rest, filesystem: ext4}",),
        MANY.format(28000),
        "too much for a partition of 108 MiB",
    ),
    "a file system that is smaller than its partition": (
        2048,
        "extroot-overlay",
        None,
        f"{SMALL_FS}; {BIG.format(100)}",
        "the file system on nvme0n1p1 has",
    ),
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_a_system_that_does_not_fit_is_refused_in_the_look(router: MakeRouter, name: str) -> None:
    """By what there really is, also where the plan says `rest`; nothing is formatted."""
    size, method, partitions, before, told = TOO_LARGE[name]
    box = router(disks=(Disk(size=size * MiB),), tmp_size="64m").boot()
    box.run(before).ok()
    untouched = box.digests()
    bench = Bench(box, plan(method, partitions=partitions))

    for words in ("check", f"install --apply --wipe {SERIAL}"):
        result = bench.sh(words)
        assert (result.code, told in result.out, result.out.count("refused:")) == (3, True, 1), result.out
        assert box.digests() == untouched


def test_what_is_left_is_enough(router: MakeRouter) -> None:
    """A system that fits is not refused."""
    box = router(disks=(Disk(size=300 * MiB),)).boot()
    box.run(BIG.format(160)).ok()
    Bench(box, plan(partitions=("{name: root, size: rest, filesystem: ext4}",))).sh("install --apply").ok()


@pytest.mark.parametrize("rest", ["a", "b"])
def test_a_slot_that_is_what_is_left_must_hold_its_system(router: MakeRouter, rest: str) -> None:
    """The running one is asked for room before the slots are installed, that of an image before it is written."""
    other = "a" if rest == "b" else "b"
    parts = (
        f"{{name: root-{other}, size: 512MiB, filesystem: ext4}}",
        f"{{name: root-{rest}, size: rest, filesystem: f2fs}}",
    )
    box = router(**{**slotted.kind_of_router("shared"), "disks": (Disk(size=578 * MiB),)}).boot()
    bench = slotted.SlotBench(box, "shared", partitions=parts)
    if rest == "b":
        bench.installed()
    untouched = bench.idle_digests() if rest == "b" else box.digests()

    result = bench.sh(f"upgrade {bench.put_image()} --apply" if rest == "b" else "install --apply")

    assert (result.code, "too much for a partition of 64 MiB" in result.out) == (3, True), result.out
    assert (bench.idle_digests() if rest == "b" else box.digests()) == untouched


ZAP = "for at in 0 2047; do dd if=/dev/zero of=/dev/nvme0n1 bs=1M seek=$at count=1 conv=notrunc 2>/dev/null; done"
BEHIND = (
    "printf 'label: gpt\\nstart={0}MiB,size={1}MiB\\n' | sfdisk -q /dev/nvme0n1 >/dev/null 2>&1; "
    "mkfs.{2} /dev/nvme0n1p1 >/dev/null && " + ZAP
)
WRITE = "printf '{}' | dd of=/dev/nvme0n1 bs={} seek={} conv=notrunc 2>/dev/null"
# name: (commands before, what is told)
HIDDEN = {
    "bytes": (WRITE.format("old", "1M", 300), "at 300 MiB: unknown data ''"),
    "ext4 behind a table that was zapped": (
        BEHIND.format(301, 500, "ext4 -q -F -L photos"),
        "at 301 MiB: ext4 'photos'",
    ),
    "ext4 of few MiB": (BEHIND.format(499, 10, "ext4 -q -F -L few"), "at 499 MiB: ext4 'few'"),
    "f2fs": (BEHIND.format(401, 900, "f2fs -q -f -l pictures"), "at 401 MiB: f2fs 'pictures'"),
    "ext4 far behind": (BEHIND.format(1333, 600, "ext4 -q -F -L far"), "MiB: "),
    "btrfs": (WRITE.format("_BHRfS_M", "64", 271 * 16384 + 1025), "at 271 MiB: btrfs ''"),
    "XFS behind the first GiB": (WRITE.format("XFSB", "1M", 1025), "at 1025 MiB: XFS ''"),
    "LUKS at a whole GiB": (WRITE.format("LUKS\\272\\276", "1M", 1024), "at 1024 MiB: LUKS ''"),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_a_disk_is_not_blank_where_nobody_looks_at_once(router: MakeRouter, name: str) -> None:
    """No table, nothing at both ends and where the plan has its partitions: what is between is found, and named."""
    before, told = HIDDEN[name]
    box = router().boot()
    box.run(before).ok()
    untouched = box.digests()
    bench = Bench(box, plan())

    result = bench.sh("install --apply")

    assert (result.code, told in result.out) == (3, True), result.out
    assert f"if nothing of it is needed add: --wipe {SERIAL}" in result.out
    assert box.digests() == untouched


@pytest.mark.parametrize("mib", [5, 100, 1502])
def test_a_partition_is_not_blank_where_nobody_looks_at_once(router: MakeRouter, mib: int) -> None:
    """The table is the plan's, somebody made it by hand, and put something between the ends of a partition."""
    box = router().boot()
    box.run(SMALL_FS.partition(";")[0]).ok()
    box.run(WRITE.format("old", "1M", mib)).ok()
    untouched = box.digests()

    result = Bench(box, plan()).sh("install --apply")

    number = 1 if mib < 257 else 2
    assert (result.code, f"partition {number} of nvme0n1 holds unknown data '' at {mib} MiB" in result.out) == (3, True)
    assert box.digests() == untouched


def test_the_places_of_a_large_disk_have_a_bound(router: MakeRouter) -> None:
    """Each takes about a millisecond."""
    box = router(disks=(Disk(size=4096 * GiB),)).boot()
    bench = Bench(box, plan())
    box.run(f"sed -n '/^places_between()/,/^}}/p' {bench.name} >/tmp/places.sh").ok()
    for mib, most in ((64, 64), (2048, 1026), (1 << 20, 3600), (4 << 20, 3600), (64 << 20, 3600)):
        places = [int(line) for line in box.run(f". /tmp/places.sh; places_between 1 {mib - 1}").ok().out.split()]
        assert len(places) <= most and min(places) == 1 and max(places) < mib - 1
    box.run(WRITE.format("LUKS\\272\\276", "1M", 1 + 512 * 1024)).ok()
    assert "at 524289 MiB: LUKS" in bench.sh("check").out


def test_a_place_that_cannot_be_read_is_not_blank(router: MakeRouter, tmp_path: Path) -> None:
    """Nobody knows what was there."""
    box = router()
    path = box.image("nvme0")
    real = path.rename(tmp_path / "nvme0.real")
    with cards.served(tmp_path / "served", cards.Faulty("nvme0", real, bad=300 * MiB)):
        path.symlink_to(tmp_path / "served/nvme0")
        result = Bench(box.boot(), plan()).sh("install --apply")
        assert (result.code, "at 300 MiB: nothing readable" in result.out) == (3, True), result.out
        box.off()


# name: what the disk does
LYING = {
    "lands where a block of the same kind is": {"real": 1024 * MiB},
    "lands somewhere else": {"real": 700 * MiB + 4096 * 3},
    "is forgotten": {"drops": 1000 * MiB},
    "is forgotten near the end": {"drops": 2046 * MiB},
}


@pytest.mark.parametrize("name", LYING)
def test_a_disk_that_is_smaller_than_it_says_is_not_formatted(router: MakeRouter, tmp_path: Path, name: str) -> None:
    """What is written behind its true end tells it, before the first format; what is kept on it is as it was."""
    box = router()
    path = box.image("nvme0")
    before = f"{SMALL_FS.partition(';')[0]}; mkfs.ext4 -q -F -L root /dev/nvme0n1p1 && {KEEP}"
    if name == "lands somewhere else":
        box.boot().run(before).ok()
        box.off()
    real = path.rename(tmp_path / "nvme0.real")
    with cards.served(tmp_path / "served", cards.Faulty("nvme0", real, **LYING[name])):
        path.symlink_to(tmp_path / "served/nvme0")
        result = Bench(box.boot(), plan("internal", partitions=PARTITIONS)).sh("install --apply", 900)
        assert (result.code, "it is not as large as it says" in result.out) == (1, True), result.out + result.err
        assert "mkfs" not in result.out and "done." not in result.out
        box.off()
    if name == "lands somewhere else":
        path.unlink()
        real.rename(path)
        box.boot().run('mount /dev/nvme0n1p1 /mnt && [ "$(cat /mnt/mine)" = mine ] && umount /mnt').ok()
        box.run("e2fsck -fn /dev/nvme0n1p1").ok()


def test_a_cut_while_the_disk_is_asked_loses_nothing(router: MakeRouter) -> None:
    """The blocks are only where a file system will be, and the rerun knows that."""
    box = router().boot()
    box.run(f"{SMALL_FS.partition(';')[0]}; mkfs.ext4 -q -F -L data /dev/nvme0n1p2 && {KEEP.replace('p1', 'p2')}").ok()
    bench = Bench(box, plan())
    box.put(
        "/usr/sbin/cmp",
        '#!/bin/sh\ncase $* in *want*) sync; kill -9 $PPID; esac\nexec /usr/bin/cmp "$@"\n',
        0o755,
    )

    assert bench.sh("install --apply").code == 137
    assert box.run("dd if=/dev/nvme0n1p1 bs=4096 count=1 2>/dev/null | grep -c bootplan-proof").out == "1\n"
    box.power_cut()
    box.boot()
    box.run("rm -f /usr/sbin/cmp").ok()
    bench = Bench(box, plan())
    bench.sh("install --apply").ok()

    bench.restart()
    assert (bench.sh("status").code, box.read("/srv/mine")) == (0, "mine\n")


def test_what_is_behind_the_table_stays(router: MakeRouter) -> None:
    """The mark has no place there, so the disk is not asked."""
    box = router().boot()
    box.run(f"{SMALL_FS.partition(';')[0]}; {WRITE.format('mine', '4096', 128)}").ok()
    told = Bench(box, plan()).sh("install --apply").ok().out
    assert "something is kept in the gap behind the table of nvme0n1" in told and "prove_disk" not in told
    assert box.run("dd if=/dev/nvme0n1 bs=4096 skip=128 count=1 2>/dev/null | tr -d '\\000'").out == "mine"


LONG = "/".join(["d" * 100] * 20)
DEEP = "mkdir -p /root/{0} /root/b/{0}; mv /root/b /root/{0}/b; [ -d /root/{0} ]"


@pytest.mark.parametrize("method", ["extroot-overlay", "extroot-pivot"])
@pytest.mark.parametrize("part", [f"{LONG}/{'d' * 10}", f"{LONG}/{LONG[:300]}"], ids=["to copy", "to list"])
def test_a_path_that_is_too_long_is_told_in_the_look(router: MakeRouter, method: str, part: str) -> None:
    """Before the disk is touched, and by its beginning."""
    box = router().boot()
    box.run(DEEP.format(part)).ok()
    untouched = box.digests()

    result = Bench(box, plan(method)).sh("install --apply")

    assert (result.code, "a path of more than 4,040 bytes, which cannot be copied" in result.out) == (3, True), (
        result.out + result.err
    )
    assert "make it shorter, or remove it: /root/ddd" in result.out and len(result.out) < 1000
    assert box.digests() == untouched


def put_program(box: Router, path: str) -> None:
    """Put a program of this machine on the router, with what it loads."""
    name = Path(path).name
    loaded = re.findall(r"(/\S+)", subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout)
    for one in (path, *loaded):
        box.put(f"/usr/lib/{name}/{Path(one).name}", Path(one).read_bytes(), 0o755)
    loader = next(Path(one).name for one in loaded if "/ld-" in one)
    here = f"/usr/lib/{name}"
    box.put(f"/usr/sbin/{name}", f'#!/bin/sh\nexec {here}/{loader} --library-path {here} {here}/{name} "$@"\n', 0o755)


@pytest.mark.parametrize("method", ["extroot-overlay", "extroot-pivot"])
def test_what_a_copy_would_lack_is_told_in_the_look(router: MakeRouter, method: str) -> None:
    """Flags and capabilities, where the command that shows them is there; it stops nothing."""
    box = router().boot()
    for program in ("lsattr", "chattr", "getcap", "setcap"):
        put_program(box, shutil.which(program, path=SEARCH_PATH) or program)
    box.run("echo >'/root/my notes'; cp /usr/sbin/lsattr /root/tool; chattr +i '/root/my notes'").ok()
    box.run("setcap cap_net_raw+ep /root/tool").ok()

    told = Bench(box, plan(method)).sh("check").ok().out

    assert (
        "note: flags like immutable (lsattr) are not copied; give them again after the restart to: /root/my n" in told
    )
    assert "note: capabilities (getcap) are not copied; give them again after the restart to: /root/tool" in told
    box.run("chattr -i '/root/my notes'").ok()
