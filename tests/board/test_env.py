"""The U-Boot environment: one write, read back, saved, restored; and the lines to type where it cannot be written."""

from typing import Any

import pytest

from . import slotted
from .router import MakeRouter, Router
from .running import match_in
from .scripts import Bench, agreed, kind_of_router, plan, second_write_lost

STOCK = {
    "nand": "console=ttyS0,115200n1 pci=pcie_bus_perf root=/dev/fit0 rootwait ubi.block=0,fit",
    "emmc": "console=ttyS0,115200n1 pci=pcie_bus_perf root=/dev/fit0 rootwait",
    "sd": "console=ttyS0,115200n1 pci=pcie_bus_perf root=/dev/fit0 rootwait",
}


def bench_for(router: MakeRouter, medium: str = "nand", text: str | None = None, **kind: Any) -> tuple[Router, Bench]:
    """Return a running router for a root= plan, and the script on it."""
    box = router(medium=medium, **kind_of_router("cmdline"), **kind).boot()
    return box, Bench(box, text or plan("cmdline", medium))


@pytest.mark.parametrize(("medium", "shell"), list(zip(STOCK, ("dash", "ash", "dash"), strict=True)))
def test_only_bootargs_changes_and_comes_back(router: MakeRouter, medium: str, shell: str) -> None:
    """Everything else in the environment stays, and restore-env brings the old one back to the letter."""
    box, bench = bench_for(router, medium, shell=shell)
    before = box.environment()
    assert before["bootargs"] == STOCK[medium]

    told = bench.sh("install --apply").ok().out

    after = box.environment()
    partuuid = box.run("sfdisk --part-uuid /dev/nvme0n1 1").ok().out.strip().lower()
    kept = STOCK[medium].replace(" root=/dev/fit0 rootwait", "")
    assert after["bootargs"] == (
        f"{kept} root=PARTUUID={partuuid} rootfstype=ext4 rootwait=30 panic=5 fstools_overlay_name=none"
    )
    assert {**after, "bootargs": ""} == {**before, "bootargs": ""}

    bench.restart()
    saved = match_in("restore-env (/etc/bootplan/env-[0-9-]*.txt) --apply", told)[1]
    assert "already so" not in bench.sh(f"restore-env {saved}").ok().out
    assert box.fw_printenv() == after
    bench.sh(f"restore-env {saved} --apply").ok()
    assert box.fw_printenv() == before
    assert "already so" in bench.sh(f"restore-env {saved} --apply").ok().out
    bench.restart()
    assert "root         internal" in bench.sh("status").out


@pytest.mark.parametrize("medium", STOCK)
def test_both_copies_say_what_was_decided(router: MakeRouter, medium: str) -> None:
    """The newer one may be damaged at once: what was decided, or restored, is not taken back."""
    box, bench = bench_for(router, medium)
    before = box.environment()

    told = bench.sh("install --apply").ok().out
    assert "root=PARTUUID=" in agreed(box)["bootargs"]
    saved = match_in("restore-env (/etc/bootplan/env-[0-9-]*.txt) --apply", told)[1]
    bench.sh(f"restore-env {saved} --apply").ok()

    assert agreed(box) == before


@pytest.mark.parametrize("shell", ["ash", "dash"])
def test_the_same_command_again_writes_the_copy_that_a_cut_left_behind(router: MakeRouter, shell: str) -> None:
    """Both copies say so only after that, and only then it is already so."""
    box, bench = bench_for(router, shell=shell)
    before = box.environment()
    with second_write_lost(box):
        told = bench.sh("install --apply").ok().out
    saved = match_in("restore-env (/etc/bootplan/env-[0-9-]*.txt) --apply", told)[1]
    untouched = box.digests()
    assert "rehearsal: 1 changes shown, none made" in bench.sh("install").ok().out
    assert box.digests() == untouched

    bench.sh("install --apply").ok()

    assert "root=PARTUUID=" in agreed(box)["bootargs"]
    assert "nothing was changed" in bench.sh("install --apply").ok().out
    with second_write_lost(box):
        bench.sh(f"restore-env {saved} --apply").ok()
    bench.sh(f"restore-env {saved} --apply").ok()
    assert agreed(box) == before
    assert "already so" in bench.sh(f"restore-env {saved} --apply").ok().out


def test_what_differs_between_the_copies_else_is_left(router: MakeRouter) -> None:
    """U-Boot and the owner write one copy, too: that is no decision of the script."""
    box, bench = bench_for(router)
    bench.sh("install --apply").ok()
    box.run("fw_setenv mine 1").ok()

    assert "nothing was changed" in bench.sh("install --apply").ok().out


@pytest.mark.parametrize("copy", ["/dev/ubi0_1", "/dev/ubi0_2"])
def test_a_copy_that_is_damaged_right_after_install(router: MakeRouter, copy: str) -> None:
    """The root comes from the disk all the same, whichever copy it was."""
    box, bench = bench_for(router)
    bench.sh("install --apply").ok()
    box.run(f"echo rubbish >{copy}").ok()

    bench.restart()

    assert bench.sh("status").code == 0


def test_one_broken_copy_is_no_obstacle(router: MakeRouter) -> None:
    """That is what the second copy is for."""
    box, bench = bench_for(router)
    box.run("echo rubbish >/dev/ubi0_1").ok()

    bench.sh("install --apply").ok()

    bench.restart()
    assert bench.sh("status").code == 0


def test_a_broken_environment_is_repaired_from_a_saved_one(router: MakeRouter) -> None:
    """Also the variables that the tool's own defaults bring are gone afterwards."""
    box, bench = bench_for(router)
    before = box.fw_printenv()
    box.run("mkdir -p /root/b").ok()
    archive = match_in("saved in (.*)", bench.sh("backup /root/b").ok().out)[1]
    box.run("for n in 1 2; do echo rubbish >/dev/ubi0_$n; done").ok()
    assert box.fw_printenv() is None

    bench.sh(f"restore-env {archive} --apply").ok()

    assert box.fw_printenv() == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("s/^ethaddr=.*/ethaddr=02:00:00:00:00:99/", "is of another board"),
        ("s/SPI-NAND/SD card/", "it is another medium's"),
        ("s/^bootcmd=.*/bootcmd=bootp/", "not that of OpenWrt's U-Boot"),
        ("/^bootconf=/d", "lacks variables"),
        ("s/^loadaddr=/loadaddr/", "are no NAME=VALUE"),
    ],
)
def test_a_file_that_is_no_environment_of_this_router(router: MakeRouter, change: str, told: str) -> None:
    """Refused before any change."""
    box, bench = bench_for(router)
    box.run(f"fw_printenv | sed '{change}' >/tmp/env").ok()
    untouched = box.digests()

    result = bench.sh("restore-env /tmp/env --apply")

    assert (result.code, told in result.out) == (3, True), result.out
    assert box.digests() == untouched


def test_the_lines_for_the_console(router: MakeRouter) -> None:
    """--console leaves the environment alone, even a broken one, and prints what to type."""
    box, bench = bench_for(router)
    box.run("for n in 1 2; do echo rubbish >/dev/ubi0_$n; done").ok()
    before = {name: digest for name, digest in box.digests().items() if name.startswith("ubootenv")}

    told = bench.sh("install --apply --console").ok().out

    assert {name: digest for name, digest in box.digests().items() if name.startswith("ubootenv")} == before
    line = match_in("    (setenv bootargs '.*')\n    saveenv\n    reset\n".replace("    ", " +"), told)[1]
    partuuid = box.run("sfdisk --part-uuid /dev/nvme0n1 1").ok().out.strip().lower()
    assert f"root=PARTUUID={partuuid} " in line
    box.env_tool.set({"bootargs": line[len("setenv bootargs '") : -1]})


def test_the_board_without_fw_env_config(router: MakeRouter) -> None:
    """OpenWrt 25.12 generates none for the 2.5GE board; the places are found on the medium."""
    text = plan("cmdline", model="bpi-r4-poe")
    box, bench = bench_for(router, text=text, board_name="bananapi,bpi-r4-2g5", model="bpi-r4-poe")
    assert not box.exists("/etc/fw_env.config")

    bench.sh("install --apply").ok()

    bench.restart()
    assert bench.sh("status").code == 0


def test_the_overlay_of_old_fstools_would_be_seen(router: MakeRouter) -> None:
    """status is not fooled by a root= that an internal overlay covers."""
    box, bench = bench_for(router)
    bench.sh("install --apply").ok()
    args = box.environment()["bootargs"].replace("fstools_overlay_name=none", "")
    box.run(f"fw_setenv bootargs '{args}'").ok()

    bench.restart()

    status = bench.sh("status")
    assert (status.code, "as-planned   no" in status.out) == (1, True)


def test_a_saved_environment_that_was_cut_is_not_restored(router: MakeRouter) -> None:
    """Its sum says so; without a sum it is not believed either."""
    box, bench = bench_for(router)
    told = bench.sh("install --apply").ok().out
    saved = match_in("restore-env (/etc/bootplan/env-[0-9-]*.txt) --apply", told)[1]
    box.run(f"sed -i '/^ubi_/d' {saved}").ok()
    untouched = box.digests()

    assert "it was cut or changed" in bench.sh(f"restore-env {saved} --apply").out
    box.run(f"rm {saved}.sha256").ok()
    assert "to prove that" in bench.sh(f"restore-env {saved} --apply").out

    assert box.digests() == untouched | {"overlay": box.digests()["overlay"]}


def test_a_saved_environment_whose_good_slot_lost_its_root(router: MakeRouter) -> None:
    """The root of a slot is in a variable of its own: a start of it would wait for a disk that is gone."""
    box = router(**slotted.kind_of_router("volume")).boot()
    bench = slotted.SlotBench(box, "volume")
    bench.installed()
    gone = "0badc0de-0000-4000-8000-000000000001"
    box.run(f"cd /tmp && fw_printenv | sed 's/^bp_root_a=.*/bp_root_a={gone}/' >env && sha256sum env >env.sha256").ok()
    before = box.environment()

    told = bench.sh("restore-env /tmp/env --apply")

    assert (told.code, f"a root that is not here: PARTUUID={gone}" in told.out) == (3, True), told.out
    assert box.environment() == before


def test_a_saved_environment_whose_root_cannot_be_looked_for(router: MakeRouter) -> None:
    """Behind a sysupgrade sfdisk is gone, and that is what would find it."""
    box, bench = bench_for(router)
    bench.sh("install --apply").ok()
    box.run("cd /tmp && fw_printenv >env && sha256sum env >env.sha256 && rm /usr/sbin/sfdisk").ok()

    told = bench.sh("restore-env /tmp/env").ok().out

    assert "note: without sfdisk nobody sees whether its root is here: PARTUUID=" in told, told
