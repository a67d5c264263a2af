"""The recipe that many guides give (partition, copy, `fw_setenv bootargs`), block by block.

What the script does instead, or why it refuses. Each claim about a block is shown by running that block on the bench.
"""

from typing import Any

import pytest

from bootplan.compiler import check

from .router import Hang, MakeRouter
from .scripts import Bench, kind_of_router, plan

NAMED = ("{name: nvme-root, size: rest, filesystem: ext4}",)


def guide_plan(method: str = "extroot-pivot", **more: Any) -> str:
    """Return the guide's plan: one large ext4 partition labelled nvme-root."""
    return plan(method, partitions=NAMED, **more).replace("partition: root", "partition: nvme-root")


def told_by(text: str) -> set[str]:
    """Return the codes a plan is told."""
    return {one.code for one in check(text.encode(), "guide.yaml").diagnostics}


def test_step_1_looking_at_the_disk(router: MakeRouter) -> None:
    """lsblk is not on a stock router, and nvme0n1 is not a name to rely on: the disk is found by its serial number."""
    box = router().boot()
    assert box.run("lsblk").code == 127
    assert "disk serial:S4EWNF0M531930D is nvme0n1" in Bench(box, guide_plan()).sh("check").ok().out
    assert "BP002" in told_by(guide_plan(disk="device: /dev/nvme0n1"))


def test_step_1_one_large_partition(router: MakeRouter) -> None:
    """fdisk is not there either; sfdisk writes the same table from the plan."""
    box = router().boot()
    assert box.run("fdisk /dev/nvme0n1").code == 127

    told = Bench(box, guide_plan()).sh("install --apply").ok().out

    assert "partition 1 'nvme-root': from 1 MiB, 2046 MiB" in told
    assert 'name="nvme-root"' in box.run("sfdisk --dump /dev/nvme0n1").ok().out


def test_step_1_mkfs(router: MakeRouter) -> None:
    """The same command, with the plan's label, and only on a disk that may lose what it holds."""
    told = Bench(router().boot(), guide_plan()).sh("install").ok().out
    assert "+ mkfs.ext4 -q -F -L nvme-root /dev/nvme0n1p1" in told


def test_step_2_mount_and_copy(router: MakeRouter) -> None:
    """tar --exclude copies nothing with BusyBox; the script's copy is complete, and read back."""
    box = router().boot()
    box.run("mkdir -p /tmp/to").ok()
    box.run("tar -C / --exclude='./mnt' --exclude='./proc' -cf - . | tar -C /tmp/to -xf -")
    assert box.run("ls -A /tmp/to").out == ""

    told = Bench(box, guide_plan()).sh("install --apply").ok().out

    for verb in ("copy_tree", "compare_names", "compare_bytes"):
        assert f"+ {verb} " in told


def test_step_2_empty_mount_points(router: MakeRouter) -> None:
    """ash knows no braces: that mkdir makes one folder with a strange name; the copy has the real ones."""
    box = router().boot()
    box.run("mkdir -p /tmp/to/{proc,sys,dev,tmp,run,mnt}").ok()
    assert box.run("ls /tmp/to").out == "{proc,sys,dev,tmp,run,mnt}\n"

    Bench(box, guide_plan()).sh("install --apply").ok()

    box.run(
        "mount /dev/nvme0n1p1 /mnt && cd /mnt && [ -d proc ] && [ -d sys ] && [ -d dev ] && [ -d tmp ] && [ -d mnt ]"
    ).ok()


def test_step_3_bootargs_on_the_stock_kernel(router: MakeRouter) -> None:
    """The guide's line hangs the stock router for ever; a plan that wants it is refused."""
    box = router().boot()
    box.run("fw_setenv bootargs 'console=ttyS0,115200 root=/dev/nvme0n1p1 rootfstype=ext4 rootwait'").ok()
    with pytest.raises(Hang):
        box.reboot()

    assert "BP301" in told_by(guide_plan("cmdline").replace("nvme-builtin", "stock"))


def test_step_3_bootargs_on_a_kernel_with_nvme(router: MakeRouter) -> None:
    """By PARTUUID, with an end to the waiting, and with the arguments the medium's own line has."""
    box = router(**kind_of_router("cmdline")).boot()
    Bench(box, guide_plan("cmdline")).sh("install --apply").ok()

    args = box.run("fw_printenv -n bootargs").ok().out.split()

    assert {"console=ttyS0,115200n1", "pci=pcie_bus_perf", "ubi.block=0,fit", "rootfstype=ext4", "rootwait=30"} <= set(
        args
    )
    assert next(arg for arg in args if arg.startswith("root=")).startswith("root=PARTUUID=")


def test_step_3_without_fw_setenv(router: MakeRouter) -> None:
    """The same lines for the U-Boot console, with the values of this router."""
    told = (
        Bench(router(**kind_of_router("cmdline")).boot(), guide_plan("cmdline"))
        .sh("install --apply --console")
        .ok()
        .out
    )
    assert "setenv bootargs 'console=ttyS0,115200n1 " in told
    assert "    saveenv\n" in told


def test_step_3_proof_after_the_restart(router: MakeRouter) -> None:
    """`mount | grep nvme` and `df -h /` read names; status compares device numbers, and says what to do."""
    bench = Bench(router().boot(), guide_plan())
    bench.sh("install --apply").ok()
    bench.restart()
    assert "root         root on /dev/nvme0n1p1" in bench.sh("status").ok().out
