"""Roots on f2fs, on a kernel that can mount it: run by tests/board/with-f2fs, not by a plain pytest."""

import pytest

from .images import GiB
from .router import Disk, MakeRouter
from .scripts import SERIAL, Bench, kind_of_router, plan

F2FS = ("{name: root, size: 512MiB, filesystem: f2fs}", "{name: data, size: rest, filesystem: f2fs, mount: /srv}")


@pytest.mark.parametrize("method", ["extroot-overlay", "extroot-pivot"])
def test_a_root_on_f2fs(router: MakeRouter, method: str) -> None:
    """Install, again, restart, status, again; the looks between mount it read-only and write nothing."""
    box = router(disks=(Disk(size=2 * GiB),), **kind_of_router(method)).boot()
    bench = Bench(box, plan(method, partitions=F2FS))
    bench.sh("install --apply", timeout=300).ok()

    installed = box.digests()
    assert "nothing was changed" in bench.sh("install --apply", timeout=300).ok().out
    assert box.digests() == installed

    bench.restart()
    assert bench.sh("status", timeout=300).code == 0, box.console
    assert "nothing was changed" in bench.sh(f"install --apply --wipe {SERIAL}", timeout=300).ok().out


def test_files_on_f2fs_are_not_taken(router: MakeRouter) -> None:
    """Kind and label are right, the files in it are somebody's."""
    box = router(disks=(Disk(size=2 * GiB),)).boot()
    bench = Bench(box, plan(partitions=F2FS))
    bench.sh("install --apply", timeout=300).ok()
    box.run("mount -t f2fs /dev/nvme0n1p1 /mnt && rm -r /mnt/.bootplan && umount /mnt", timeout=300).ok()
    untouched = box.digests()

    result = bench.sh("install --apply", timeout=300)

    assert (result.code, "files that this script did not put there" in result.out) == (3, True)
    assert box.digests() == untouched
