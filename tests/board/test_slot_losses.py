"""What an upgrade must not take: partitions and files that are not the idle slot's."""

from collections.abc import Callable

import pytest

from .router import MakeRouter
from .slotted import PARTITIONS, SlotBench, kind_of_router

MakeSlots = Callable[[str], SlotBench]
MOVED = (PARTITIONS[0], PARTITIONS[2].replace("size: rest", "size: 256MiB"), PARTITIONS[1].replace("256MiB", "rest"))
UNFINISHED = "sed -i 's/^state .*/state unfinished/' /etc/bootplan/slot-b"
FILL = "mkdir -p /tmp/m; mount /dev/nvme0n1p{} /tmp/m; echo mine >/tmp/m/mine; sync; umount /tmp/m"


@pytest.fixture
def stopped(router: MakeRouter) -> MakeSlots:
    """Return a function that gives a router whose slot b was upgraded, confirmed and left, and then begun anew.

    What is in slot b's record is what an upgrade writes before its first change.
    """

    def make(kind: str) -> SlotBench:
        bench = SlotBench(router(**kind_of_router(kind)).boot(), kind).installed().upgraded()
        assert bench.restart_all() == ["b"]
        bench.sh("rollback --apply").ok()
        assert bench.restart_all() == ["a"]
        bench.router.run(UNFINISHED).ok()
        return bench

    return make


@pytest.mark.parametrize("kind", ["pair", "shared"])
def test_a_plan_whose_slot_is_another_partition_is_refused(stopped: MakeSlots, kind: str) -> None:
    """The owner moved root-b behind the data in the plan; the disk is as it was, and stays so."""
    bench = stopped(kind)
    box = bench.router
    box.run("umount /srv").ok()
    box.run(FILL.format(3)).ok()
    moved = SlotBench(box, kind, partitions=MOVED)
    before = box.run("dd if=/dev/nvme0n1p3 bs=1M iflag=direct 2>/dev/null | sha256sum").ok().out

    result = moved.sh(f"upgrade {moved.put_image()} --apply")

    assert result.code == 3, result.out
    assert "the partition table of nvme0n1 is not that of the plan" in result.out
    assert box.run("dd if=/dev/nvme0n1p3 bs=1M iflag=direct 2>/dev/null | sha256sum").ok().out == before


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ("mkfs.ext4 -q -F -L photos /dev/nvme0n1p2; " + FILL.format(2), "ext4 'photos'"),
        ("mkfs.ext4 -q -F -L root-b /dev/nvme0n1p2; " + FILL.format(2), "files that this script did not put there"),
        ("printf 'precious' | dd of=/dev/nvme0n1p2 bs=4096 conv=sync 2>/dev/null", "unknown data"),
    ],
    ids=["file-system", "files", "bytes"],
)
def test_what_the_owner_put_in_an_unfinished_slot_stays(stopped: MakeSlots, made: str, told: str) -> None:
    """Refused before the first change, also when a run of ours left the slot unfinished."""
    bench = stopped("pair")
    bench.router.run(made).ok()
    before = bench.idle_digests()

    result = bench.sh(f"upgrade {bench.put_image()} --apply")

    assert (result.code, told in result.out) == (3, True), result.out
    assert "empty it: mkfs.ext4 -L root-b /dev/nvme0n1p2" in result.out
    assert bench.idle_digests() == before


def test_half_a_file_system_of_an_upgrade_is_made_anew(stopped: MakeSlots) -> None:
    """mkfs takes the old superblock away first; the record says that it was ours, and where."""
    bench = stopped("pair")
    box = bench.router
    box.run(
        "mkfs.ext4 -q -F -L root-b /dev/nvme0n1p2; printf x | dd of=/dev/nvme0n1p2 bs=1024 seek=1 conv=sync,notrunc"
    ).ok()
    image = bench.put_image()
    assert bench.sh(f"upgrade {image} --apply").code == 3
    uuid = box.run("sfdisk --part-uuid /dev/nvme0n1 2").ok().out.strip()
    box.run(f"echo making {uuid} >>/etc/bootplan/slot-b").ok()

    bench.sh(f"upgrade {image} --apply").ok()

    assert "making" not in box.read("/etc/bootplan/slot-b")
    assert bench.restart() == ["b"]
