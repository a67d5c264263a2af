"""A GPT whose first copy is damaged: Linux sees no partition, sfdisk reads the second copy, and nothing may be lost."""

import pytest

from .router import MakeRouter, Panic, Router
from .scripts import SERIAL, Bench, kind_of_router, plan
from .slotted import SlotBench
from .slotted import kind_of_router as kind_of_slots

DAMAGE = "dd if=/dev/zero of=/dev/nvme0n1 bs=512 seek=1 count=1 conv=notrunc,fsync 2>/dev/null"
FILES = "cd /srv && find . -type f -exec sha256sum {} +; sfdisk --dump /dev/nvme0n1 2>/dev/null | grep uuid="


def damaged(box: Router) -> None:
    """Damage the first header as a power cut between the two copies does, and restart."""
    box.run(DAMAGE).ok()
    box.power_cut()
    box.boot()


@pytest.mark.parametrize(
    ("method", "shell"), [("extroot-overlay", "ash"), ("extroot-pivot", "dash"), ("internal", "ash")]
)
def test_the_same_table_is_written_again(router: MakeRouter, method: str, shell: str) -> None:
    """check and install say so without a word of --wipe, install does it, and all that was there is there."""
    box = router(shell=shell, **kind_of_router(method)).boot()
    bench = Bench(box, plan(method))
    bench.sh("install --apply").ok()
    bench.restart()
    box.run("echo mine >/srv/mine; sync").ok()
    before = box.run(FILES).ok().out
    damaged(box)
    box.put(bench.name, bench.script)
    assert not box.exists("/dev/nvme0n1p1")

    told = bench.sh("check").ok().out
    assert "is damaged; the same table is written again" in told and "wipe" not in told
    told = bench.sh("install").ok().out
    assert "write_table nvme0n1" in told and "mkfs" not in told
    if method != "internal":
        status = bench.sh("status")
        assert (status.code, "although its table has it" in status.out) == (1, True), status.out
    bench.sh("install --apply").ok()

    bench.restart()
    assert bench.sh("status").code == 0
    assert box.run(FILES).ok().out == before
    assert "nothing was changed" in bench.sh("install --apply").ok().out


def test_a_kernel_that_wants_its_root_there_finds_none(router: MakeRouter) -> None:
    """root=PARTUUID= names a partition that only the second copy has: Linux panics when it has waited for it."""
    box = router(**kind_of_router("cmdline")).boot()
    bench = Bench(box, plan("cmdline"))
    bench.sh("install --apply").ok()
    bench.restart()

    with pytest.raises(Panic):
        damaged(box)


def test_a_foreign_file_system_stays_all_the_same(router: MakeRouter) -> None:
    """What is seen when the table is there again may be another one's: refused, and only with --wipe made anew."""
    box = router().boot()
    bench = Bench(box, plan())
    bench.sh("install --apply").ok()
    box.run("mkfs.ext4 -q -F -L root /dev/nvme0n1p1; mount /dev/nvme0n1p1 /mnt; echo x >/mnt/photo; umount /mnt").ok()
    damaged(box)
    box.put(bench.name, bench.script)

    assert bench.sh("install --apply").code == 1
    assert box.run("mount /dev/nvme0n1p1 /mnt; cat /mnt/photo; umount /mnt").ok().out == "x\n"
    assert (bench.sh("install --apply").code, SERIAL) == (3, SERIAL)


def test_an_upgrade_of_a_slot_asks_for_install(router: MakeRouter) -> None:
    """The slot's partition is not there; what writes the table again is named."""
    box = router(**kind_of_slots("pair")).boot()
    bench = SlotBench(box, "pair").installed()
    image = bench.put_image()
    box.run(DAMAGE + "; partx -d /dev/nvme0n1 2>/dev/null; true").ok()

    result = bench.sh(f"upgrade {image} --apply")

    assert result.code == 3, result.out
