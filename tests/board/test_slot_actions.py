"""Two slots from a stock router to an upgrade that confirms itself, and every decision about them."""

from collections.abc import Callable
from typing import Any

import pytest

from .router import MakeRouter
from .scripts import agreed, second_write_lost
from .slotted import KINDS, NEW, SlotBench, kind_of_router, on_trial
from .upgrades import swap_when_tested

MakeSlots = Callable[..., SlotBench]
"""What the fixture ``slots`` gives."""

OLD = "25.12.5"


@pytest.fixture
def slots(router: MakeRouter) -> MakeSlots:
    """Return a function that switches a router on and gives it a script with slots of this kind."""

    def make(kind: str = "pair", plan_words: dict[str, Any] | None = None, **changes: Any) -> SlotBench:
        box = router(**{**kind_of_router(kind), **changes}).boot()
        return SlotBench(box, kind, **(plan_words or {}))

    return make


@pytest.mark.parametrize(
    ("kind", "shell"),
    [
        pytest.param("pair", "ash", marks=pytest.mark.quick),
        *((kind, "ash") for kind in KINDS if kind != "pair"),
        ("pair", "dash"),
        ("volume", "dash"),
    ],
)
def test_an_upgrade_is_tried_and_confirms_itself(slots: MakeSlots, kind: str, shell: str) -> None:
    """install, again, restart, upgrade, trial, confirmed; then the same into the other slot."""
    bench = slots(kind, shell=shell)
    box = bench.router
    box.put("/etc/config/mine", "config mine\n\toption word 'kept'\n")
    untouched = box.digests()
    assert bench.sh("check").ok().out.rstrip().endswith("install")
    assert "none made; to make them add --apply" in bench.sh("install").ok().out
    assert box.digests() == untouched

    bench.install()
    assert "nothing was changed" in bench.sh("install --apply").ok().out
    assert bench.restart() == ["a"]
    status = bench.status()
    assert (status["slot"], status["good"], status["as_planned"]) == ("a", "a", True), status
    assert "nothing was changed" in bench.sh("install --apply").ok().out

    image = bench.put_image()
    untouched = bench.idle_digests()
    assert "none made; to make them add --apply" in bench.sh(f"upgrade {image}").ok().out
    assert bench.idle_digests() == untouched
    told = bench.sh(f"upgrade {image} --apply").ok().out
    assert "100 %" in told
    assert bench.variables() == {"bp_good": "a", "bp_try": "b", "bp_left": "2"}
    assert "holds this very image, and is on trial" in bench.sh(f"upgrade {image} --apply").ok().out

    assert bench.restart() == ["b"]
    assert bench.variables() == {"bp_good": "b"}
    status = bench.status()
    assert (status["slot"], status["good"], status["as_planned"]) == ("b", "b", True), status
    assert (status["slot_a_version"], status["slot_b_version"]) == (OLD, NEW)
    assert f"DISTRIB_RELEASE='{NEW}'" in box.read("/etc/openwrt_release")
    assert "option word 'kept'" in box.read("/etc/config/mine")
    assert "nothing was changed" in bench.sh("install --apply").ok().out

    box.run("rm /etc/config/mine").ok()
    bench.upgraded(release="25.12.7")
    assert bench.restart() == ["a"]
    status = bench.status()
    assert (status["slot"], status["good"], status["slot_a_version"]) == ("a", "a", "25.12.7"), status
    assert not box.exists("/etc/config/mine")


def test_every_decision_is_in_both_copies_of_the_environment(slots: MakeSlots) -> None:
    """A copy that is damaged takes no decision back, and brings no slot that was given up."""
    bench = slots()

    def ours() -> dict[str, str]:
        """Return our variables, which both copies must say."""
        names = ("bp_good", "bp_try", "bp_left", "bp_again")
        return {name: value for name, value in agreed(bench.router).items() if name in names}

    bench.install()
    assert ours() == {"bp_good": "a"}
    bench.restart()
    bench.upgraded()
    assert ours() == {"bp_good": "a", "bp_try": "b", "bp_left": "2"}
    bench.sh("rollback --apply").ok()
    assert ours() == {"bp_good": "a"}
    bench.sh("switch --apply").ok()
    assert ours() == {"bp_good": "a", "bp_try": "b", "bp_left": "2"}
    assert bench.restart_all() == ["b"]
    assert ours() == {"bp_good": "b"}
    bench.sh("rollback --stock --apply").ok()
    assert ours() == {}


def test_a_cut_between_the_two_writes_of_a_decision(slots: MakeSlots) -> None:
    """The same command again writes the copy that still says what was before."""
    bench = slots()

    def twice(words: str) -> None:
        """Lose the second write of this command, then give it again."""
        with second_write_lost(bench.router):
            bench.sh(words).ok()
        bench.sh(words).ok()
        agreed(bench.router)
        assert "nothing was changed" in bench.sh(words).ok().out

    twice("install --apply")
    bench.restart()
    bench.upgraded()
    bench.sh("rollback --apply").ok()
    twice("switch --apply")
    on_trial(bench)
    twice("confirm --apply")


def test_switch_rollback_confirm_and_leave(slots: MakeSlots) -> None:
    """Each decision once, twice, and where it makes no sense."""
    bench = slots()
    bench.installed()
    assert "slot b holds no finished system" in bench.sh("switch --apply").out
    assert "it is already so" in bench.sh("confirm --apply").ok().out
    assert "slot b holds no finished system" in bench.sh("rollback --apply").out
    bench.upgraded()

    refused = bench.sh("confirm --apply")
    assert (refused.code, "only a slot that runs can be confirmed" in refused.out) == (3, True)
    assert "none made" in bench.sh("rollback").ok().out
    assert "The next start is slot a's" in bench.sh("rollback --apply").ok().out
    assert bench.variables() == {"bp_good": "a"}
    assert bench.restart() == ["a"]

    assert "slot b starts on trial" in bench.sh("switch b --apply").ok().out
    assert "it is already so" in bench.sh("switch --apply").ok().out
    assert bench.restart() == ["b"]
    assert bench.variables() == {"bp_good": "b"}
    assert bench.sh("switch c").code == 3

    assert "slot a starts on trial" in bench.sh("rollback --apply").ok().out
    assert bench.restart() == ["a"]
    assert bench.variables() == {"bp_good": "a"}

    refused = bench.sh("upgrade /tmp/none.itb --apply")
    assert (refused.code, "is no file that can be read" in refused.out) == (3, True)
    assert "the stock way" in bench.sh("rollback --stock --apply").ok().out
    env = bench.router.environment()
    assert not [name for name in env if name.startswith("bp_")]
    assert env["bootcmd"].startswith("if pstore check")
    assert bench.restart() == ["stock"]
    assert bench.router.run("cat /proc/cmdline").out.count("bootplan") == 0
    assert bench.sh("upgrade /tmp/none.itb").code == 3

    bench.sh("install --apply").ok()
    assert bench.restart() == ["a"]
    assert bench.status()["as_planned"] is True


def test_slots_after_leaving_them_on_the_other_letter(slots: MakeSlots) -> None:
    """Slots given up while b runs: b becomes the first slot again, nobody is moved to the old a."""
    bench = slots()
    bench.installed().upgraded()
    assert bench.restart() == ["b"]
    bench.sh("rollback --stock --apply").ok()
    assert bench.restart() == ["stock"]

    assert "becomes slot b" in bench.sh("install --apply").ok().out
    assert bench.restart() == ["b"]
    assert bench.status()["as_planned"] is True


def test_leaving_slots_with_root_on_the_disk_starts_the_stock_system(slots: MakeSlots) -> None:
    """The system on the boot medium was never touched, and is there again."""
    bench = slots("volume")
    bench.installed()
    bench.sh("rollback --stock --apply").ok()
    assert bench.restart() == ["stock"]
    assert bench.sh("status").code == 1
    status = bench.status()
    assert (status["root"], status["problems"]) == ("internal", ["no slots are installed"])


def test_room_is_made_by_a_sysupgrade(slots: MakeSlots) -> None:
    """Where rootfs_data has all the room: what to do is told, one variable is set, after a sysupgrade it goes on."""
    bench = slots(data_bytes=None)
    assert "3. sh r4.sh install" in bench.sh("install").ok().out
    assert "rootfs_data_max" not in bench.router.environment()
    assert "sysupgrade IMAGE" in bench.sh("install --apply").ok().out
    assert bench.router.environment()["rootfs_data_max"] == "0x1000000"
    assert "bp_good" not in bench.router.environment()

    image, *_ = bench.put_image(release=OLD).split()
    bench.router.put("/etc/config/mine", "config mine\n")
    bench.router.start(f"sysupgrade {image}")
    bench.router.wait_stopped()
    assert bench.restart() == ["stock"]
    assert bench.router.exists("/etc/config/mine")

    bench.installed()
    assert bench.status()["as_planned"] is True


def test_an_image_larger_than_the_last_one_gets_a_larger_volume(slots: MakeSlots) -> None:
    """The first slot's kernel volume is just as large as its first image; it is made anew when it is idle."""
    bench = slots()
    bench.installed().upgraded()
    assert bench.restart() == ["b"]
    bench.router.put("/etc/config/mine", "config mine\n")

    bench.upgraded(release="25.12.7", packages=("kmod-nvme", "block-mount", "sfdisk", "tcpdump"))

    assert bench.restart() == ["a"]
    assert bench.status()["slot_a_version"] == "25.12.7"


def test_what_is_kept_does_not_fit_into_ram(router: MakeRouter) -> None:
    """Settings travel through /tmp: too many are refused, by name, before the idle slot is touched."""
    bench = SlotBench(router(**kind_of_router("pair"), tmp_size="112m").boot(), "pair").installed().upgraded()
    assert bench.restart() == ["b"]
    box = bench.router
    box.run(
        "mkdir -p /srv/films /etc/small; head -c 2000000 /dev/urandom >/etc/small/one; "
        "for name in one two three; do head -c 20000000 /dev/urandom >/srv/films/$name; done; sync; "
        "printf '%s\\n' /etc/small /srv/films >>/etc/sysupgrade.conf"
    ).ok()
    words = bench.put_image(release="25.12.7")
    record = box.read("/etc/bootplan/slot-a")

    result = bench.sh(f"upgrade {words} --apply")

    assert (result.code, box.read("/etc/bootplan/slot-a")) == (3, record), result.out + result.err
    assert "KiB are needed for the settings: what is kept" in result.out
    assert "most of it: /srv/films (58596 KiB), /etc/small (1954 KiB), " in result.out
    box.run("sed -i /srv/d /etc/sysupgrade.conf").ok()
    bench.sh(f"upgrade {words} --apply").ok()


@pytest.mark.parametrize("kind", ["pair", "volume"])
def test_an_image_that_is_swapped_after_it_was_checked(slots: MakeSlots, kind: str) -> None:
    """Kernel and root of the slot are those whose SHA-256 was checked, whatever becomes of the file meanwhile."""
    bench = slots(kind)
    bench.installed()
    image = bench.put_image()
    swap_when_tested(bench.router, bench.put_image("/tmp/other.itb", release="25.12.9", kernel="6.12.99").split()[0])

    bench.sh(f"upgrade {image} --apply").ok()

    digest = image.split()[-1]
    bytes_of_b = bench.router.run("sed -n 's/^bytes //p' /etc/bootplan/slot-b").ok().out.strip()
    written = bench.router.run(
        "for volume in /sys/class/ubi/ubi0_*; do read -r name <$volume/name;"
        f" [ $name != fit_b ] || head -c {bytes_of_b} /dev/${{volume##*/}} | sha256sum; done"
    ).ok()
    assert written.out.split()[0] == digest
    assert bench.restart() == ["b"]
    assert f"DISTRIB_RELEASE='{NEW}'" in bench.router.read("/etc/openwrt_release")
