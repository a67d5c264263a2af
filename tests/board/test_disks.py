"""Disks that are too small, say what is not true, or hold something where nobody looks at once."""

from pathlib import Path

import pytest

from . import cards, slotted
from .images import GiB, MiB
from .router import Disk, MakeRouter
from .scripts import SERIAL, Bench, kind_of_router, plan

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
