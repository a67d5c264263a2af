"""Disks that are too small, say what is not true, or hold something where nobody looks at once."""

import pytest

from . import slotted
from .images import MiB
from .router import Disk, MakeRouter
from .scripts import SERIAL, Bench, kind_of_router, plan

# Without that option the kernel itself would go on writing to a new ext4 for a while.
IN_USE = "mkfs.ext4 -q -F /dev/nvme0n1; mkdir /tmp/m; mount -o noinit_itable /dev/nvme0n1 /tmp/m"


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
