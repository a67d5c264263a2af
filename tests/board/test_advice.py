"""What `status` advises, followed to its end, from states that an owner's own commands leave."""

import re

import pytest

from . import slotted
from .advice import OnlyAHuman, follow_advice, take
from .router import MakeRouter
from .scripts import SERIAL, Bench, kind_of_router, plan
from .slotted import KINDS, SlotBench
from .upgrades import KERNEL, MakeUpgradeBench

ROOT = "{name: root, size: 256MiB, filesystem: ext4}"
DATA = "{name: data, size: 256MiB, filesystem: ext4, mount: /srv}"
MORE = "{name: more, size: rest, filesystem: ext4, mount: /opt}"


def go_back(bench: Bench) -> None:
    """Start the system of the boot medium alone, by the script's own line."""
    refused = bench.sh(f"install --recopy --wipe {SERIAL}")
    assert refused.code == 3 and "start that one first: " in refused.out, refused.out
    take(bench, refused.out.partition("start that one first: ")[2].splitlines()[0], {})


def with_slots(router: MakeRouter, kind: str) -> SlotBench:
    """Return a running router and a script with slots of this kind; nothing is installed."""
    return SlotBench(router(**slotted.kind_of_router(kind)).boot(), kind)


@pytest.mark.parametrize(
    ("method", "medium"),
    [("extroot-overlay", "nand"), ("extroot-pivot", "emmc"), ("cmdline", "nand")],
)
def test_behind_the_way_back_install_is_the_answer(router: MakeRouter, method: str, medium: str) -> None:
    """The entry in fstab is off, or bootargs are the medium's own: nothing is wrong with the driver."""
    box = router(medium=medium, **kind_of_router(method)).boot()
    bench = Bench(box, plan(method, medium))
    bench.sh("install --apply").ok()
    bench.restart()

    go_back(bench)

    told = bench.sh("status").out
    assert "root         internal" in told and "kmod-nvme" not in told, told
    followed = follow_advice(bench)
    assert len(followed) == 1 and followed[0].startswith("sh r4.sh install"), followed


@pytest.mark.parametrize("method", ["extroot-overlay", "cmdline"])
def test_the_plan_takes_the_root_back(router: MakeRouter, method: str) -> None:
    """The way back is all there is to do, and is written out."""
    box = router(**kind_of_router(method)).boot()
    partitions = (ROOT, DATA)
    assert len(follow_advice(Bench(box, plan(method, partitions=partitions)))) <= 2

    text = plan("internal", partitions=partitions)
    if method == "cmdline":
        text = text.replace("kernel: stock", "kernel: nvme-builtin")

    assert len(follow_advice(Bench(box, text))) == 1


def test_a_mount_point_of_the_root_that_somebody_changed(router: MakeRouter) -> None:
    """fstab has the file system, but not as the root."""
    bench = Bench(router().boot(), plan())
    bench.sh("install --apply").ok()
    bench.router.run("uci set fstab.bootplan_root.target=/mnt; uci commit fstab").ok()
    bench.restart()

    assert follow_advice(bench) == ["umount /mnt; then: sh r4.sh status", "sh r4.sh install --apply, then reboot"]


@pytest.mark.parametrize("medium", ["nand", "emmc"])
def test_nothing_is_installed_yet(router: MakeRouter, medium: str) -> None:
    """With the root on the boot medium the plan has mounts only; there is nothing to mount yet."""
    bench = Bench(router(medium=medium).boot(), plan("internal", medium))

    assert follow_advice(bench) == ["sh r4.sh install --apply, then reboot"]


def test_a_partition_is_added_to_the_plan(router: MakeRouter) -> None:
    """Nothing can be mounted that is not made."""
    box = router().boot()
    bench = Bench(box, plan("internal", partitions=(DATA,)))
    assert len(follow_advice(bench)) == 1

    box.put("/srv/photo", "mine\n")
    more = Bench(box, plan("internal", partitions=(DATA, MORE)))

    with pytest.raises(OnlyAHuman, match="look at the list above"):
        follow_advice(more)
    assert set(follow_advice(more, wipe=SERIAL)) == {"sh r4.sh install --apply, then reboot"}
    assert {"/srv", "/opt"} <= {target for _, target, *_ in box.mounts()}
    assert box.read("/srv/photo") == "mine\n"


def test_a_partition_is_added_beside_the_root(router: MakeRouter) -> None:
    """The table can change only while nothing of the disk is in use: by the way back and again."""
    box = router().boot()
    bench = Bench(box, plan(partitions=(ROOT, DATA)))
    assert len(follow_advice(bench)) <= 2
    box.put("/root/notes", "mine\n")

    more = Bench(box, plan(partitions=(ROOT, DATA, MORE)))

    followed = follow_advice(more, most=6, wipe=SERIAL)
    assert not [one for one in followed if "block mount" in one], followed
    assert {"/srv", "/opt"} <= {target for _, target, *_ in box.mounts()}
    assert box.read("/root/notes") == "mine\n"


def test_a_mount_point_of_the_plan_moves(router: MakeRouter) -> None:
    """The entry has the file system, and another place."""
    box = router().boot()
    bench = Bench(box, plan(partitions=(ROOT, DATA)))
    follow_advice(bench)

    moved = Bench(box, plan(partitions=(ROOT, DATA.replace("/srv", "/opt"))))

    assert follow_advice(moved) == ["sh r4.sh install --apply, then reboot"]
    assert "/opt" in {target for _, target, *_ in box.mounts()}


def test_a_plan_that_changed_before_the_restart(router: MakeRouter) -> None:
    """Another plan was installed: a restart alone mounts nothing of this one."""
    box = router().boot()
    Bench(box, plan("internal", partitions=(DATA,))).sh("install --apply").ok()

    moved = Bench(box, plan("internal", partitions=(DATA.replace("/srv", "/opt"),)))

    assert follow_advice(moved) == ["sh r4.sh install --apply, then reboot"]


def test_somebody_unmounted_a_partition(router: MakeRouter) -> None:
    """Only then `block mount` is the answer."""
    bench = Bench(router().boot(), plan())
    follow_advice(bench)
    bench.router.run("umount /srv").ok()

    assert follow_advice(bench) == ["block mount; then look at: logread | grep block"]


def test_something_else_is_mounted_in_place_of_a_partition(router: MakeRouter) -> None:
    """It is in the way of `block mount`."""
    bench = Bench(router().boot(), plan())
    follow_advice(bench)
    bench.router.run("umount /srv && mount -t tmpfs tmpfs /srv").ok()

    assert follow_advice(bench) == ["umount /srv; block mount; then look at: logread | grep block"]


def test_the_disk_of_a_mount_is_away(router: MakeRouter) -> None:
    """No command brings it back."""
    bench = Bench(router(disks=()).boot(), plan("internal"))

    told = bench.sh("status").out

    assert "advice       power off, seat the disk, power on" in told, told


def test_shared_slots_after_a_sysupgrade_by_hand(router: MakeRouter) -> None:
    """No slot has modules for the new kernel: only an upgrade from the one that runs brings them."""
    bench = with_slots(router, "shared")
    bench.installed()
    image = bench.put_image(kernel=KERNEL)
    bench.router.start(f"sysupgrade {image.split()[0]}")
    assert bench.router.wait_stopped() == "reboot"
    assert bench.restart() == ["a"]
    status = bench.status()
    assert "no modules for the running kernel" in str(status["problems"]), status
    assert "switch" not in status["advice"], status
    assert "upgrade IMAGE --apply" in bench.sh("upgrade --refit").out

    image = bench.put_image(kernel=KERNEL)
    followed = follow_advice(bench, IMAGE=image)

    assert len(followed) == 1, followed
    assert bench.status()["slot"] == "b"


def test_a_slot_that_is_not_whole_while_the_other_one_is_empty(router: MakeRouter) -> None:
    """There is nothing to switch to: the upgrade goes into the other one at once."""
    bench = with_slots(router, "volume")
    bench.installed()
    bench.router.run("rm -r /lib/modules/$(uname -r)").ok()
    image = bench.put_image()

    assert len(follow_advice(bench, IMAGE=image)) == 1
    assert bench.status()["slot"] == "b"


def test_a_slot_that_is_not_whole_beside_one_that_is(router: MakeRouter) -> None:
    """The other one starts as it is."""
    bench = with_slots(router, "volume")
    bench.installed().upgraded()
    assert bench.restart_all() == ["b"]
    bench.router.run("rm -r /lib/modules/$(uname -r)").ok()

    followed = follow_advice(bench)

    assert len(followed) == 1 and followed[0].startswith("sh r4.sh switch --apply, then reboot"), followed
    assert bench.status()["slot"] == "a"


def test_slots_again_before_the_restart(router: MakeRouter) -> None:
    """The system already runs from where slot a is, but U-Boot did not start it as a slot."""
    bench = with_slots(router, "pair")
    bench.installed()
    bench.sh("rollback --stock --apply").ok()
    assert bench.restart() == ["stock"]
    bench.sh("install --apply").ok()

    status = bench.status()
    assert (status["as_planned"], status["advice"]) == (False, "reboot"), status
    assert follow_advice(bench) == ["reboot"]
    assert bench.status()["slot"] == "a"


def test_the_script_on_the_router_is_named_with_its_folder(router: MakeRouter) -> None:
    """Who started the copy by its path stands in any folder: what it says to type works there, too."""
    bench = with_slots(router, "pair")
    bench.installed()
    bench.router.run("rm -r /lib/modules/$(uname -r)").ok()
    copy = "/etc/bootplan/bootplan.sh"

    for words in ("--help", "check", "install", "status", "checklist", "upgrade /tmp/x", "rollback", "confirm", "no"):
        told = bench.router.run(f"cd / && sh {copy} {words}")
        assert set(re.findall(r"\bsh (\S*\.sh)\b", told.out + told.err)) <= {copy}, (words, told)
        assert "r4.sh" not in told.out, told.out

    image = bench.put_image()
    advice = bench.router.run(f"cd / && sh {copy} status").out.partition("advice ")[2].strip()
    assert advice.startswith(f"sh {copy} upgrade IMAGE --apply"), advice
    take(bench, advice, {"IMAGE": image})
    assert bench.status()["slot"] == "b"


@pytest.mark.parametrize("kind", KINDS)
def test_slots_from_the_first_status_on(router: MakeRouter, kind: str) -> None:
    """Nothing but the advice is followed, on a stock router."""
    bench = with_slots(router, kind)

    followed = follow_advice(bench)

    assert bench.status()["slot"] == "a", followed


@pytest.mark.parametrize("kind", ["pair", "volume"])
def test_slots_whose_first_command_was_reset(router: MakeRouter, kind: str) -> None:
    """U-Boot's menu has entries that reset bootcmd: a restart alone never comes back to the slots."""
    bench = with_slots(router, kind)
    bench.installed()
    stock = bench.router.environment()["bootcmd"]
    stock = stock[stock.index("if pstore check") :]
    bench.router.run(["fw_setenv", "bootcmd", stock]).ok()
    assert bench.restart() == ["stock"]

    assert follow_advice(bench) == ["sh r4.sh install --apply, then reboot"]
    assert bench.status()["slot"] == "a"


@pytest.mark.parametrize("method", ["extroot-overlay", "extroot-pivot"])
def test_an_upgrade_that_leaves_the_root_on_the_disk_behind(upgrade_bench: MakeUpgradeBench, method: str) -> None:
    """It says so before it begins; status calls the root no success, and its advice brings it along."""
    made = upgrade_bench(method).installed()
    box = made.router
    box.put("/root/notes", "mine\n")
    go_back(made)
    assert made.root() == "internal"
    box.run("mkdir -p /srv/backup").ok()
    image = made.put_image()

    for words in (f"upgrade {image}", ""):
        told = made.sh(words).ok().out if words else made.flash(image)
        assert "the root on the disk stays behind" in told, told
        assert told.index("stays behind") < told.index("[1/")
    assert made.follow() == 1

    status = made.status()
    assert (status["as_planned"], status["upgrade_root"] == "ok") == (False, False), status
    assert "the root on the disk was no part of it" in status["upgrade_root"], status
    follow_advice(made)
    status = made.status()
    assert status["upgrade_root"] == "ok", status
    assert box.read("/root/notes") == "mine\n"


@pytest.mark.parametrize("kind", ["pair", "volume", "shared"])
def test_slots_taken_out_of_the_plan(router: MakeRouter, kind: str) -> None:
    """Every refusal and status name `rollback --stock` first; behind it all is as the plan without slots says."""
    bench = with_slots(router, kind)
    bench.installed()
    method = "extroot-overlay" if kind == "pair" else "internal"
    without = Bench(bench.router, without_slots(kind, method))
    leave = "sh /etc/bootplan/bootplan.sh rollback --stock --apply; reboot"

    for words in (
        "check",
        "install",
        "install --apply",
        "upgrade --refit",
        "upgrade /tmp/none.itb",
        "rollback --stock",
    ):
        told = without.sh(words)
        first = told.out.partition("refused: ")[2].splitlines()[0]
        assert (told.code, first.endswith(leave)) == (3, True), (words, told.out)
    told = without.sh("status")
    assert (told.code, f"advice       {leave}" in told.out) == (1, True), told.out
    assert "problem      U-Boot chooses between slots" in told.out, told.out

    followed = follow_advice(without)

    assert followed[0] == leave and len(followed) <= 2, followed
    assert bench.router.chose.chose == "stock"


def test_slots_taken_out_of_the_plan_and_their_script_lost(router: MakeRouter) -> None:
    """Only who has it can go on: that is what is said."""
    bench = with_slots(router, "pair")
    bench.installed()
    bench.router.run("rm /etc/bootplan/bootplan.sh").ok()
    without = Bench(bench.router, without_slots("pair", "extroot-overlay"))

    told = without.sh("status").out

    assert "rollback --stock --apply, with the script that made the slots" in told, told


def without_slots(kind: str, method: str) -> str:
    """Return a plan with the disk and the medium of one with slots of that kind."""
    _, medium, _ = KINDS[kind]
    text = plan(method, medium, partitions=slotted.PARTITIONS)
    if kind != "pair":
        text = text.replace("kernel: stock", "kernel: nvme-builtin")
    return text.replace("partition: root}", "partition: root-a}")
