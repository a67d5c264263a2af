"""What --wipe takes, and what it leaves."""

from .scripts import SERIAL, Bench, plan

FOREIGN = "printf 'label: dos\\nsize=64MiB,type=83\\ntype=83\\n' | sfdisk -q /dev/nvme0n1; mkfs.ext4 -q -F -L precious /dev/nvme0n1p1"
KEEP = (
    "mkdir -p /tmp/m; mount /dev/nvme0n1p2 /tmp/m; echo mine >/tmp/m/mine; sync; umount /tmp/m"
)


def test_a_foreign_disk_is_wiped_only_by_its_serial_number(router):
    """Refused, listed, then done, then a no-op with the same words."""
    box = router().boot()
    box.run(FOREIGN).ok()
    bench = Bench(box, plan())

    assert "1 '', 64 MiB: ext4 'precious'" in bench.sh("install --apply").out
    bench.sh(f"install --apply --wipe {SERIAL}").ok()

    assert "nothing was changed" in bench.sh(f"install --apply --wipe {SERIAL}").ok().out
    bench.restart()
    assert bench.sh("status").code == 0


def test_data_stays_when_only_the_root_is_in_the_way(router):
    """--wipe destroys what must go, and nothing else."""
    box = router().boot()
    bench = Bench(box, plan())
    bench.sh("install --apply").ok()
    box.run(KEEP).ok()
    box.run("mkfs.ext4 -q -F -L other /dev/nvme0n1p1").ok()

    assert bench.sh("install --apply").code == 3
    bench.sh(f"install --apply --wipe {SERIAL}").ok()

    bench.restart()
    assert bench.sh("status").code == 0
    assert box.read("/srv/mine") == "mine\n"


def test_data_stays_when_the_table_must_change(router):
    """A partition that keeps its place keeps its content and its PARTUUID."""
    root = "{name: root, size: 256MiB, filesystem: ext4}"
    data = "{name: data, size: 512MiB, filesystem: ext4, mount: /srv}"
    more = "{name: more, size: rest, filesystem: ext4, mount: /opt}"
    box = router().boot()
    Bench(box, plan("internal", partitions=(root, data))).sh("install --apply").ok()
    box.run(KEEP).ok()
    before = box.run("sfdisk --part-uuid /dev/nvme0n1 2").ok().out
    bench = Bench(box, plan("internal", partitions=(root, data, more)))

    assert bench.sh("install --apply").code == 3
    bench.sh(f"install --apply --wipe {SERIAL}").ok()

    assert box.run("sfdisk --part-uuid /dev/nvme0n1 2").ok().out == before
    bench.restart()
    assert bench.sh("status").code == 0
    assert box.read("/srv/mine") == "mine\n"


def test_another_root_method_does_not_overwrite_a_system_in_use(router):
    """What a router ran from for a while is data, whoever copied it there."""
    box = router().boot()
    Bench(box, plan("extroot-overlay")).sh("install --apply").ok()
    pivot = Bench(box, plan("extroot-pivot"))
    untouched = box.digests()

    result = pivot.sh("install --apply")

    assert (result.code, "a system copied by another root method" in result.out) == (3, True)
    assert box.digests() == untouched


def test_a_hand_made_partition_of_that_name_is_not_taken(router):
    """Kind and label are right, but the files in it are somebody's."""
    box = router().boot()
    bench = Bench(box, plan())
    bench.sh("install --apply").ok()
    box.run("mount /dev/nvme0n1p1 /mnt; rm -r /mnt/.bootplan; umount /mnt").ok()

    result = bench.sh("install --apply")

    assert (result.code, "files that this script did not put there" in result.out) == (3, True)
