"""Disks that are too small, say what is not true, or hold something where nobody looks at once."""

import pytest

from .images import MiB
from .router import Disk, MakeRouter
from .scripts import PARTITIONS, SERIAL, Bench, kind_of_router, plan

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
    assert refused == [
        "refused: disk nvme0n1 holds 300 MiB, the plan needs 322 MiB; give its partitions less in the plan, or take a"
        " larger disk"
    ]
    assert "--wipe" not in result.out and "holds:" not in result.out and result.seconds < 5
    assert box.digests() == untouched
