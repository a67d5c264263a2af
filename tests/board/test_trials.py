"""Trials that fail, each in its own way: the good slot comes back by itself, and status tells why."""

from collections.abc import Callable
from typing import Any

import pytest

from .router import MakeRouter
from .slotted import SlotBench, kind_of_router, on_trial
from .test_interruptions import wait_for

MakeSlots = Callable[..., SlotBench]
"""What the fixture ``slots`` gives."""

TRIES = 2
BROKEN_ROOT = "dd if=/dev/zero of=/dev/nvme0n1p2 bs=1M count=8 2>/dev/null; sync"


@pytest.fixture
def slots(router: MakeRouter) -> MakeSlots:
    """Return a function that switches a router on, installs slots of this kind, and upgrades the idle one."""

    def make(
        kind: str = "pair",
        image: dict[str, Any] | None = None,
        plan_words: dict[str, Any] | None = None,
        **changes: Any,
    ) -> SlotBench:
        box = router(**{**kind_of_router(kind), **changes}).boot()
        return SlotBench(box, kind, **(plan_words or {})).installed().upgraded(**(image or {}))

    return make


def came_back(bench: SlotBench, seen: list[str], why: str) -> None:
    """Look whether the good slot runs, nothing is on trial, and the reason is told."""
    status = bench.status()
    assert seen[-1] == "a", seen
    assert bench.variables() == {"bp_good": "a"}
    assert (status["slot"], status["good"], status["as_planned"]) == ("a", "a", True), status
    assert why in status["last_trial"], status


@pytest.mark.parametrize("check", ["lan", pytest.param("wan", marks=pytest.mark.quick), "dns", "ssh"])
def test_a_check_that_does_not_pass(slots: MakeSlots, check: str) -> None:
    """The window passes, the router restarts, twice; then the old slot is back."""
    bench = slots(image={"faults": (check,)})

    seen = bench.restart_all()

    assert [one for one in seen if one == "b"] == ["b"] * TRIES
    came_back(bench, seen, f"why {check}")


def test_a_check_of_the_owner(slots: MakeSlots) -> None:
    """What lies in checks.d comes over into the new slot, and decides with the others."""
    bench = slots()
    bench.sh("rollback --apply").ok()
    bench.router.put("/etc/bootplan/checks.d/vpn", "#!/bin/sh\nexit 1\n", 0o755)
    bench.upgraded()

    seen = bench.restart_all()

    came_back(bench, seen, "why vpn")


def test_a_check_that_never_ends(slots: MakeSlots) -> None:
    """The dead-man restarts the router when nothing was decided."""
    bench = slots()
    bench.sh("rollback --apply").ok()
    bench.router.put("/etc/bootplan/checks.d/endless", "#!/bin/sh\nsleep 1000\n", 0o755)
    bench.upgraded()

    seen = bench.restart_all()

    came_back(bench, seen, "nothing was decided within 20 seconds")


@pytest.mark.parametrize("kind", ["volume", "shared"])
def test_a_root_that_is_no_file_system(slots: MakeSlots, kind: str) -> None:
    """The kernel panics; the crash record counts as the failed try it is and sends nobody to recovery."""
    bench = slots(kind)
    bench.router.run(BROKEN_ROOT).ok()

    seen = bench.restart_all()

    assert seen.count("b (panic)") == TRIES
    came_back(bench, seen, "why a crash")
    assert bench.router.run("ls /sys/fs/pstore").out == ""
    assert "dmesg-ramoops-0" in bench.router.run("ls /etc/bootplan/crash").out


def test_an_overlay_that_is_no_file_system(slots: MakeSlots) -> None:
    """The new system comes up on its internal overlay, which is not what the plan wants: not confirmed."""
    bench = slots("pair")
    bench.router.run(BROKEN_ROOT).ok()

    seen = bench.restart_all()

    came_back(bench, seen, "why root")


@pytest.mark.parametrize("kind", ["pair", "volume"])
def test_a_kernel_that_was_damaged(slots: MakeSlots, kind: str) -> None:
    """U-Boot does not start it, and takes the good slot in the same start."""
    bench = slots(kind)
    number = bench.router.run("grep -l '^fit_b$' /sys/class/ubi/ubi0_*/name").ok().out.split("/")[-2]
    bench.router.run(f"dd if=/dev/zero of=/dev/{number} bs=4096 seek=30 count=10 conv=notrunc,fsync 2>/dev/null").ok()
    assert "is not what was written there" in bench.sh("switch").out

    seen = bench.restart_all()

    came_back(bench, seen, "never came far enough to be checked")


def test_a_crash_of_the_good_slot_starts_recovery_or_the_good_slot(slots: MakeSlots) -> None:
    """on_crash: after a crash outside a trial the good slot starts as often as the plan says; no record stays."""
    bench = slots()
    bench.sh("rollback --apply").ok()
    bench.router.crash()
    bench.router.off()

    assert bench.router.settle() == ["recovery"]


def test_an_owner_decides_during_the_trial(slots: MakeSlots) -> None:
    """rollback in the slot on trial: the next start is the good slot's, whatever the checks say."""
    bench = slots(image={"faults": ("wan",)})
    bench.router.off()
    bench.router.boot()
    bench.router.put(bench.name, bench.script)

    assert bench.router.chose.chose == "b"
    assert bench.status()["trial"] == "b"
    refused = bench.sh("upgrade /tmp/none.itb --apply")
    assert (refused.code, "slot b is on trial; first:" in refused.out) == (3, True)
    assert "The next start is slot a's" in bench.sh("rollback --apply").ok().out
    assert bench.restart() == ["a"]
    assert bench.variables() == {"bp_good": "a"}


def test_an_owner_confirms_before_the_checks_pass(slots: MakeSlots) -> None:
    """confirm by hand is as good as by the checks."""
    bench = slots(image={"faults": ("wan",)})
    bench.router.off()
    bench.router.boot()
    bench.router.put(bench.name, bench.script)

    assert "Slot b is the good one" in bench.sh("confirm --apply").ok().out
    assert bench.restart() == ["b"]
    assert bench.status()["as_planned"] is True


def test_the_disk_is_gone_for_the_trial_and_comes_back(slots: MakeSlots) -> None:
    """Without the disk neither slot is healthy; with it again the good one runs as before."""
    bench = slots("pair")
    box = bench.router
    disks, box.disks = box.disks, ()
    box.off()
    hidden = box.image("nvme0").rename(box.folder / "away")

    assert bench.restart_all()[-1] == "a"
    assert bench.variables() == {"bp_good": "a"}

    box.off()
    hidden.rename(box.image("nvme0"))
    box.disks = disks
    assert bench.restart() == ["a"]
    assert bench.status()["as_planned"] is True


def test_links_that_somebody_left_in_tmp_are_not_followed(slots: MakeSlots) -> None:
    """The services of a trial run as root: a name in /tmp that others can make must lead them nowhere."""
    bench = slots()
    box = bench.router
    bench.restart_all()
    box.run("echo mine >/etc/victim; mkdir -p /sys/fs/pstore; echo record >/sys/fs/pstore/dmesg-ramoops-0").ok()
    for name in ("health.log", "health", "deadman.log", "deadman"):
        box.run(f"rm -rf /tmp/bootplan-{name}; ln -s /etc/victim /tmp/bootplan-{name}").ok()

    box.run("sh /etc/bootplan/bootplan.sh health && sh /etc/bootplan/bootplan.sh deadman").ok()

    assert "record" in box.run("cat /etc/bootplan/crash/*").ok().out
    assert box.read("/etc/victim") == "mine\n"


def test_a_log_that_is_a_link_is_refused(slots: MakeSlots) -> None:
    """Root would write through it."""
    bench = slots()
    box = bench.router
    bench.restart_all()
    box.run("echo mine >/etc/victim; rm -f /tmp/bootplan.log; ln -s /etc/victim /tmp/bootplan.log").ok()

    result = bench.sh("check")

    assert (result.code, "/tmp/bootplan.log is a link" in result.err) == (3, True), result
    assert box.read("/etc/victim") == "mine\n"


SLOW_SSH = "#!/bin/sh\n# asks for a password\necho waiting >&2\nsleep 12\nexit 1\n"
ENV_LOCK = "/var/lock/bootplan.lock.env"


def hold(bench: SlotBench, seconds: int) -> None:
    """Hold the lock around what is written to the environment for so long."""
    bench.router.run(f"exec 7>>{ENV_LOCK}; flock 7; (sleep {seconds}; true) >/dev/null 2>&1 &").ok()


@pytest.mark.parametrize("shell", ["ash", "dash"])
def test_a_trial_is_confirmed_while_a_backup_waits(slots: MakeSlots, shell: str) -> None:
    """Whoever sits at a prompt for a password must not cost a healthy trial its try."""
    bench = slots(shell=shell)
    on_trial(bench)
    box = bench.router
    box.put("/usr/bin/ssh", SLOW_SSH, 0o755)
    backup = box.start(f"exec sh {bench.name} backup me@there:folder", terminal=True)
    wait_for(backup, "waiting")

    box.run("sh /etc/bootplan/bootplan.sh health").ok()

    assert bench.variables() == {"bp_good": "b"}
    assert "ssh ended with 1" in backup.wait(30).out  # it still has all that it made in RAM
    assert bench.sh("check").code == 0


def test_a_decision_of_another_run_stands(slots: MakeSlots) -> None:
    """What was decided between the look and the write of a run is not written over, whoever comes second."""
    bench = slots()
    on_trial(bench)
    box = bench.router
    hold(bench, 4)
    late = box.start(f"exec sh {bench.name} confirm --apply")
    box.run("sleep 2; fw_setenv bp_left; fw_setenv bp_try").ok()  # as `rollback` would

    told = late.wait(30)

    assert (told.code, bench.variables()) == (1, {"bp_good": "a"}), told.out
    assert "another run decided about the slots meanwhile" in told.out
    assert "nothing of this was written" in told.out
    box.run("fw_setenv bp_try b; fw_setenv bp_left 1").ok()
    hold(bench, 4)
    late = box.start(f"exec sh {bench.name} rollback --apply")
    box.run("sleep 2; fw_setenv bp_try; fw_setenv bp_left; fw_setenv bp_good b").ok()  # as `confirm` would
    told = late.wait(30)
    assert (told.code, bench.variables()) == (1, {"bp_good": "b"}), told.out


def test_a_write_waits_for_another_one_but_not_for_ever(slots: MakeSlots) -> None:
    """The lock around a write is held for a moment; one that is not let go is told."""
    bench = slots()
    on_trial(bench)
    hold(bench, 3)
    assert "Slot b is the good one" in bench.sh("confirm --apply").ok().out

    hold(bench, 50)
    told = bench.sh("switch --apply")

    assert (told.code, bench.variables()) == (1, {"bp_good": "b"}), told.out
    assert "another run of this script has been writing the environment for" in told.out


def gives_up(bench: SlotBench, check: str) -> list[dict[str, str] | None]:
    """Let a trial fail by this check of the owner, and return what each copy of the environment says then."""
    box = bench.router
    box.put("/etc/bootplan/checks.d/vpn", f"#!/bin/sh\n{check}\nexit 1\n", 0o755)
    box.start("sh /etc/bootplan/bootplan.sh health")
    assert box.wait_stopped() == "reboot"
    return box.environments()


def test_why_a_trial_gave_up_is_in_both_copies(slots: MakeSlots) -> None:
    """It is written as all that is decided."""
    bench = slots()
    on_trial(bench)

    first, second = gives_up(bench, "")

    assert first is not None and first == second
    assert (first["bp_try"], first["bp_why"]) == ("b", "vpn")


def test_a_trial_that_gives_up_looks_whether_another_run_decided(slots: MakeSlots) -> None:
    """A slot that was confirmed during its last check has no trial that failed."""
    bench = slots()
    on_trial(bench)

    gives_up(bench, "fw_setenv bp_try; fw_setenv bp_left; fw_setenv bp_good b")  # as `confirm` would

    assert bench.variables() == {"bp_good": "b"}


def test_a_trial_that_gives_up_leaves_a_broken_environment_alone(slots: MakeSlots) -> None:
    """fw_setenv would save the tool's own defaults, which start nothing here; U-Boot's own start the stock way."""
    bench = slots()
    on_trial(bench)
    bench.router.run("for n in 1 2; do echo rubbish >/dev/ubi0_$n; done").ok()

    assert gives_up(bench, "") == [None, None]
