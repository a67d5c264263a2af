"""Disks that are too small, say what is not true, or hold something where nobody looks at once."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from . import slotted
from .cache import SEARCH_PATH
from .debian import install
from .images import MiB
from .router import Disk, MakeRouter, Router
from .scripts import SERIAL, Bench, kind_of_router, plan

APT_PACKAGES = ("e2fsprogs", "libcap2-bin")
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
    install(APT_PACKAGES)
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
